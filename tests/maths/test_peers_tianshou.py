"""C51 and prioritised replay on Tianshou's numbers (fixtures: benchmarks/peers/make_tianshou_fixtures.py), to 1e-5.

Axes: M transitions, A actions, K atoms.
"""

import json
from pathlib import Path

import numpy as np
import torch
from gymnasium import spaces

from cumulant.data.replay import Replay, ReplayConfig
from cumulant.maths.distributional import categorical_loss, categorical_target

FOLDER = Path(__file__).parents[1] / "fixtures" / "tianshou"


def load(name):
    raw = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return {key: torch.tensor(value) if isinstance(value, list) else value for key, value in raw.items()}


def agree(ours, theirs, **tolerance):
    torch.testing.assert_close(ours, theirs, **({"rtol": 1e-5, "atol": 1e-5} | tolerance))


def test_fixtures_say_what_made_them():
    pinned = (Path(__file__).parents[2] / "benchmarks" / "peers_tianshou.txt").read_text(encoding="utf-8").split()
    for path in FOLDER.glob("*.json"):
        made_with = json.loads(path.read_text(encoding="utf-8"))["made_with"]
        assert f"tianshou=={made_with['tianshou']}" in pinned


def test_categorical_dqn():
    x = load("c51")
    rows = torch.arange(len(x["reward"]))
    q = (x["online_next"].softmax(-1) * x["support"]).sum(-1)  # the online network chooses, the slow one judges
    following = x["slow_next"][rows, q.argmax(-1)].softmax(-1)
    assert (q.argmax(-1) != (x["slow_next"].softmax(-1) * x["support"]).sum(-1).argmax(-1)).any()
    target = categorical_target(x["reward"], following, x["terminated"], x["gamma"], x["support"])
    agree(target, x["target"])
    assert (target.amax(-1) > 0.99).any()  # some places are beyond the support or of steps that nothing follows

    logits = x["logits"].clone().requires_grad_()
    loss = categorical_loss(logits[rows, x["action"]], target)
    # They add 1e-8 under the logarithm.
    agree(loss.detach(), x["each"], atol=1e-4)
    (loss * x["weight"]).mean().backward()
    agree((loss.detach() * x["weight"]).mean(), torch.tensor(x["loss"]), atol=1e-4)
    agree(logits.grad, x["logits_grad"])


def test_prioritised_replay(tmp_path):
    x = load("prioritised")
    config = ReplayConfig(capacity=24, prioritised=True, priority_power=x["priority_power"])
    replay = Replay(config, 1, spaces.Box(-9.0, 9.0, (1,), np.float32), spaces.Discrete(3), 0.9, tmp_path)

    def add(count):
        for _ in range(count):
            none = np.zeros(1, bool)
            replay.add(np.zeros((1, 1), np.float32), np.zeros(1, np.int64), np.zeros(1), np.zeros((1, 1)), none, none)

    add(20)
    replay.prioritise(x["index"].numpy(), x["error"].numpy())
    add(x["count"] - 20)
    # New steps get the largest priority so far: theirs is the largest error to the power, and ours was one already.
    priorities = torch.from_numpy(replay._tree.priorities[: x["count"]].copy())
    agree(priorities, x["priority"].double())
    assert len(priorities.unique()) == len(x["index"]) + 1
    point = x["point"].double().numpy() * replay._tree.total
    np.testing.assert_array_equal(replay._tree.find(point), x["drawn"])

    drawn = replay.sample(16, 1, torch.Generator().manual_seed(0), x["weight_power"])
    place = {int(slot): k for k, slot in enumerate(x["drawn"])}
    both = [k for k, slot in enumerate(drawn.slot) if int(slot) in place]
    theirs = x["weight"].float()[[place[int(drawn.slot[k])] for k in both]]
    ours = drawn.weight[both]
    assert len(set(ours.tolist())) >= 3
    # Both are divided by the largest of their own minibatch.
    agree(ours / ours.max(), theirs / theirs.max())
