"""The compiled engine of SAC: when it is taken, and that it learns what torch does."""

import json

import pytest
import torch
from gymnasium import spaces

from cumulant import api
from cumulant.engine.choice import choose_engine
from cumulant.engine.compiled_sac import obstacle
from cumulant.nn.actor import Actor
from cumulant.nn.q_critic import QCritics

BOX = spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,))


@pytest.mark.parametrize(
    ("found", "network", "critics", "weight_decay", "missing"),
    [
        (BOX, {}, 2, 0.0, ""),
        (BOX, {"activation": "tanh", "normalize_obs": True}, 2, 0.0, ""),
        ((BOX[0], spaces.Discrete(2)), {}, 2, 0.0, "discrete actions"),
        (BOX, {}, 3, 0.0, "critic of costs"),
        (BOX, {}, 2, 0.01, "weight decay"),
        (BOX, {"activation": "silu"}, 2, 0.0, "layers but a perceptron's"),
        (BOX, {"net": "residual"}, 2, 0.0, "layers but a perceptron's"),
        (BOX, {"hidden": ()}, 2, 0.0, "layers but a perceptron's"),
    ],
)
def test_what_it_cannot_do_is_named(found, network, critics, weight_decay, missing):
    shape = {"hidden": (8, 8), **network, "generator": torch.Generator()}
    why_not = obstacle(Actor(*found, **shape), QCritics(*found, critics, **shape), weight_decay)
    assert why_not.startswith(missing)
    assert bool(why_not) == bool(missing)
    possible, line = choose_engine("auto", why_not, "cumulant.algos.sac")
    assert possible == (not missing)
    assert line.startswith("engine: compiled" if possible else "engine: torch, because the compiled one has no ")


SMALL = {"num_envs": 3, "horizon": 40, "hidden": (16, 16), "warmup_steps": 60, "batch_size": 16, "eval_episodes": 2}
FIELDS = {
    "plain": {},
    "all of it": {
        "n_step": 3,
        "prioritised": True,
        "normalize_obs": True,
        "activation": "tanh",
        "updates_per_step": 0.5,
    },
    "fixed temperature": {"temperature": 0.2},
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_both_engines_begin_alike(fields, tmp_path):
    """The same random numbers: until rounding tells them apart, both do the same to the same digits."""
    rows = {}
    for engine in ("torch", "compiled"):
        spec = api.make_spec("sac", "Pendulum-v1", 0, **SMALL | fields, total_steps=240, engine=engine)
        api.train_one(spec, tmp_path / engine)
        rows[engine] = [json.loads(line) for line in (tmp_path / engine / "metrics.jsonl").read_text().splitlines()]
    compared = {"loss/value", "loss/policy", "value/mean", "policy/entropy", "policy/temperature"}
    assert compared <= rows["torch"][-1].keys()
    for one, other in zip(rows["torch"], rows["compiled"]):
        assert one.keys() == other.keys()
        for name in one.keys() & compared:
            assert other[name] == pytest.approx(one[name], rel=5e-3, abs=1e-3), name
