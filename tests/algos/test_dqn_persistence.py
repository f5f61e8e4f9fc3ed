"""Random actions that are kept up: how long, when they end, what they find, and that a resumed run keeps up the same ones."""

import numpy as np
import pytest
import torch

from cumulant.algos import dqn
from cumulant.engine.persistence import Persistence
from cumulant.engine.vector import make_vector


def gumbel(rng, shape):
    return rng.gumbel(size=shape).astype(np.float32)


def test_a_length_of_at_least_n_has_probability_one_in_n():
    num, rng = 100_000, np.random.default_rng(0)
    persistence = Persistence(num, torch.Generator().manual_seed(0))
    action = np.zeros(num, np.int64)
    persistence.choose(np.zeros((num, 3), np.float32), 1.0, gumbel(rng, (num, 3)), action)
    length = persistence.left + 1  # one of them was taken just now
    for n in (1, 2, 3, 10, 100):
        assert np.mean(length >= n) == pytest.approx(1 / n, abs=4 * np.sqrt(0.25 / num))
    np.testing.assert_allclose(np.bincount(action) / num, [1 / 3] * 3, atol=0.01)


def test_it_is_kept_up_to_its_end_and_the_best_action_is_taken_otherwise():
    rng = np.random.default_rng(0)
    persistence = Persistence(2, torch.Generator().manual_seed(0))
    persistence.action[:], persistence.left[:] = 2, (3, 0)
    q, action, taken = np.array([[5.0, 0.0, 0.0]] * 2, np.float32), np.zeros(2, np.int64), []
    for _ in range(5):
        persistence.choose(q, 0.0, gumbel(rng, (2, 3)), action)
        taken.append(action.copy())
    np.testing.assert_array_equal(np.stack(taken), [[2, 0], [2, 0], [2, 0], [0, 0], [0, 0]])


def test_a_forbidden_action_is_given_up():
    persistence = Persistence(1, torch.Generator().manual_seed(0))
    persistence.action[:], persistence.left[:] = 1, 1000
    q, action = np.array([[0.0, -np.inf, -1.0]], np.float32), np.zeros(1, np.int64)
    persistence.choose(q, 0.0, np.zeros((1, 3), np.float32), action)
    assert (action[0], persistence.left[0]) == (0, 0)


@pytest.mark.parametrize(("epsilon_greedy", "found"), [(True, 0), (False, 5)])
def test_it_climbs_the_mountain_that_independent_actions_never_do(epsilon_greedy, found):
    num, rng = 1000, np.random.default_rng(0)
    envs = make_vector("mountain-car", num, 0, {})
    persistence = Persistence(num, torch.Generator().manual_seed(0))
    action, reached = np.zeros(num, np.int64), 0
    for _ in range(199):
        if epsilon_greedy:
            persistence.left[:] = 0
        persistence.choose(np.zeros((num, 3), np.float32), 1.0, gumbel(rng, (num, 3)), action)
        envs.step(action)
        persistence.left[envs.ended] = 0
        reached += int(envs.terminated.sum())
    envs.close()
    assert reached >= found
    assert (reached == 0) == epsilon_greedy


def test_nothing_is_kept_up_beyond_the_end_of_an_episode(train_one, monkeypatch):
    made, seen = [], []
    real_make, real_choose = dqn.make_vector, Persistence.choose

    def make(*args, **kwargs):
        made.append(real_make(*args, **kwargs))
        return made[-1]

    def choose(self, *args):
        seen.extend(self.left[made[0].ended])
        real_choose(self, *args)

    monkeypatch.setattr(dqn, "make_vector", make)
    monkeypatch.setattr(Persistence, "choose", choose)
    fields = {"strategy": "persistent", "epsilon": 1.0, "total_steps": 1000, "warmup_steps": 1000, "eval_episodes": 2}
    train_one("dqn", "cartpole", 0, **fields, hidden=(8,))
    assert len(seen) > 20
    assert not any(seen)


def test_stopped_and_resumed_is_undisturbed(train_one):
    from cumulant import api

    fields = {
        "total_steps": 5 * 64,
        "num_envs": 4,
        "horizon": 16,
        "warmup_steps": 32,
        "eval_episodes": 2,
        "hidden": (8,),
        "strategy": "persistent",
        "checkpoint_seconds": 0.0,
    }

    def stop(seed, row):
        if row["iteration"] == 3:
            raise KeyboardInterrupt

    whole = train_one("dqn", "mountain-car", 1, **fields, name="whole")
    with pytest.raises(KeyboardInterrupt):
        train_one("dqn", "mountain-car", 1, **fields, name="torn", progress=stop)
    torn = whole.with_name("torn")
    (torn / "state" / "00000004.pt").unlink(missing_ok=True)
    api.train_one(api.read_spec(torn), torn, resume=True)
    for name in ("metrics.jsonl", "policy/last.safetensors"):
        assert (torn / name).read_bytes() == (whole / name).read_bytes()
