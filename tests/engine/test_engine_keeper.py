"""Which policy is kept: the best return, and under a limit on costs the best return of those within it."""

from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces

from cumulant.engine import evaluate
from cumulant.engine.policy import Policy
from cumulant.nn.actor_critic import ActorCritic
from cumulant.run.run import Run


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


@pytest.mark.parametrize(("env", "episodes"), [("ALE/Pong-v5", 20), ("CartPole-v1", 100), ("warfarin", 300)])
def test_periodic_evaluations_take_no_more_episodes_than_the_final_one(tmp_path, env, episodes):
    run = Run(tmp_path / "run", dict.fromkeys(("algo", "env", "env_options", "config"), "") | {"seed": 0})
    net = ActorCritic(spaces.Box(-1, 1, (2,)), spaces.Discrete(2))
    assert evaluate.Keeper(Policy(net), run, env, {}, 300).episodes == episodes
