"""Networks that are large enough for ``nn.backward``: the updates are those of autograd, and a stop leaves no trace in them."""

import json

import pytest

from cumulant import api
from cumulant.nn import backward

ENVS = {"sac": "Pendulum-v1", "td3": "Pendulum-v1", "tqc": "Pendulum-v1", "dqn": "CartPole-v1"}
FIELDS = {
    "total_steps": 160, "updates_per_step": 0.25, "num_envs": 4, "horizon": 8, "warmup_steps": 32,
    "hidden": (256, 256), "batch_size": 128, "eval_episodes": 4, "checkpoint_seconds": 0.0, "engine": "torch",
}  # fmt: skip
pytestmark = [
    pytest.mark.skipif(not backward._available, reason="this PyTorch was built without oneDNN"),
    pytest.mark.parametrize(("algo", "env"), ENVS.items(), ids=ENVS),
]


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_updates_are_those_of_autograd(algo, env, train_one, monkeypatch):
    fields = {**FIELDS, "total_steps": 64}
    taken = []
    for name in ("run_plan", "_forward"):
        run = getattr(backward, name)
        monkeypatch.setattr(backward, name, lambda *args, run=run: taken.append(1) or run(*args))
    by_hand = train_one(algo, env, **fields, name="by_hand")
    assert taken  # the last bits may well be autograd's, on some processors
    taken.clear()
    monkeypatch.setattr(backward, "_available", False)
    by_autograd = train_one(algo, env, **fields, name="by_autograd")
    assert not taken
    mine, theirs = rows(by_hand)[-1], rows(by_autograd)[-1]
    compared = [name for name in mine if name.startswith(("loss/", "value/", "policy/"))]
    assert len(compared) >= 3
    assert [mine[name] for name in compared] == pytest.approx([theirs[name] for name in compared], rel=1e-4, abs=1e-5)


def test_stopped_and_resumed_is_undisturbed(algo, env, train_one):
    def stop(seed, row):
        if row["iteration"] == 3:
            raise KeyboardInterrupt

    whole = train_one(algo, env, **FIELDS, name="whole")
    with pytest.raises(KeyboardInterrupt):
        train_one(algo, env, **FIELDS, name="torn", progress=stop)
    torn = whole.with_name("torn")
    api.train_one(api.read_spec(torn), torn, resume=True)
    for name in ("metrics.jsonl", "policy/last.safetensors"):
        assert (torn / name).read_bytes() == (whole / name).read_bytes()
