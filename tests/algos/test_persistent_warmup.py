"""Random actions before the first update that are kept up: lengths, masks, what they find, and that resumed runs keep them up."""

import importlib

import numpy as np
import pytest
import torch

from cumulant.engine.persistence import Persistence
from cumulant.engine.vector import make_vector


def test_a_length_of_at_least_n_has_probability_one_in_n():
    num, rng = 50_000, np.random.default_rng(0)
    persistence = Persistence(num, torch.Generator().manual_seed(0), 2)
    first = persistence.keep_up(rng.uniform(-1, 1, (num, 2)).astype(np.float32))
    kept = np.ones(num, bool)
    for n in range(2, 12):
        kept &= (persistence.keep_up(rng.uniform(-1, 1, (num, 2)).astype(np.float32)) == first).all(1)
        assert np.mean(kept) == pytest.approx(1 / n, abs=4 * np.sqrt(0.25 / num))


def test_what_is_forbidden_is_given_up_for_what_was_drawn():
    persistence = Persistence(2, torch.Generator().manual_seed(0))
    persistence.action[:], persistence.left[:] = (1, 1), (1000, 1000)
    allowed = np.array([[True, False, True], [True, True, True]])
    np.testing.assert_array_equal(persistence.keep_up(np.array([2, 2]), allowed), [2, 1])
    assert persistence.left[1] == 999


@pytest.mark.parametrize(("kept_up", "found"), [(False, (0, 4)), (True, (40, 1000))])
def test_it_climbs_the_continuous_mountain_that_independent_actions_hardly_ever_do(kept_up, found):
    num, rng = 200, np.random.default_rng(0)
    envs = make_vector("mountain-car-continuous", num, 0, {})
    persistence, reached = Persistence(num, torch.Generator().manual_seed(0), 1), 0
    for _ in range(999):
        action = rng.uniform(-1, 1, (num, 1)).astype(np.float32)
        envs.step(persistence.keep_up(action) if kept_up else action)
        persistence.left[envs.ended] = 0
        reached += int(envs.terminated.sum())
    envs.close()
    assert found[0] <= reached <= found[1]


CASES = [("sac", "cartpole"), ("sac", "pendulum"), ("td3", "pendulum"), ("tqc", "pendulum")]


@pytest.mark.parametrize(("algo", "env"), CASES)
def test_stopped_and_resumed_is_undisturbed(algo, env, train_one):
    from cumulant import api

    fields = {
        "total_steps": 6 * 64,
        "num_envs": 2,
        "horizon": 32,
        "warmup_steps": 5 * 64,
        "warmup": "persistent",
        "eval_episodes": 2,
        "hidden": (8,),
        "checkpoint_seconds": 0.0,
    }

    def stop(seed, row):
        if row["iteration"] == 3:
            raise KeyboardInterrupt

    whole = train_one(algo, env, 1, **fields, name="whole")
    with pytest.raises(KeyboardInterrupt):
        train_one(algo, env, 1, **fields, name="torn", progress=stop)
    torn = whole.with_name("torn")
    (torn / "state" / "00000004.pt").unlink(missing_ok=True)
    api.train_one(api.read_spec(torn), torn, resume=True)
    for name in ("metrics.jsonl", "policy/last.safetensors"):
        assert (torn / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(("algo", "env"), CASES)
def test_nothing_is_kept_up_beyond_the_end_of_an_episode(algo, env, train_one, monkeypatch):
    module, made, seen = importlib.import_module(f"cumulant.algos.{algo}"), [], []
    real_make, real_keep_up = module.make_vector, Persistence.keep_up

    def make(*args, **kwargs):
        made.append(real_make(*args, **kwargs))
        return made[-1]

    def keep_up(self, *args):
        seen.extend(self.left[made[0].ended])
        return real_keep_up(self, *args)

    monkeypatch.setattr(module, "make_vector", make)
    monkeypatch.setattr(Persistence, "keep_up", keep_up)
    steps = {"total_steps": 1500, "warmup_steps": 1500, "horizon": 50}
    train_one(algo, env, 0, **steps, warmup="persistent", eval_episodes=2, hidden=(8,))
    assert len(seen) >= 6
    assert not any(seen)
