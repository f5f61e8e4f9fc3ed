"""Which policy is kept: the best return, and under a limit on costs the best return of those within it."""

from types import SimpleNamespace

import numpy as np
import pytest

from cumulant.engine import evaluate


@pytest.mark.parametrize(("limit", "kept"), [(None, [0, 1, 3]), (2.0, [0, 2, 4]), (0.1, [0, 2])])
def test_the_best_policy_within_the_limit_is_kept(monkeypatch, tmp_path, limit, kept):
    played = iter([(5.0, 9.0), (7.0, 9.0), (1.0, 1.0), (8.0, 3.0), (2.0, 2.0)])  # return, cost

    def play(*_):
        returned, cost = next(played)
        return {"return": np.array([returned]), "cost": np.array([cost])}

    monkeypatch.setattr(evaluate, "episodes_of", play)
    saved, rounds = [], []
    policy = SimpleNamespace(save=lambda folder, name: saved.append(len(rounds)))
    run = SimpleNamespace(
        spec=dict.fromkeys(("algo", "env", "env_options", "config", "seed")),
        log=lambda **_: None, seed_for=lambda _: 0, directory=tmp_path,
    )  # fmt: skip
    keeper = evaluate.Keeper(policy, run, "CartPole-v1", {}, 1, limit)
    for _ in range(5):
        again = evaluate.Keeper(policy, run, "CartPole-v1", {}, 1, limit)
        again.load_state_dict(keeper.state_dict())
        keeper = again
        keeper.update()
        rounds.append(keeper)
    assert saved == kept
