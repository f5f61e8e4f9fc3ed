"""A search with one player: it finds the best way where looking one step ahead, or nothing but first thoughts, does not."""

from dataclasses import replace

import numpy as np
import pytest

from cumulant.engine.planning import EXPLORING, plan
from cumulant.envs.games.planning import as_game
from cumulant.envs.gridworlds import FourRooms, Garnet, SlipperyLake
from cumulant.envs.mdp import TabularMDP
from cumulant.errors import ConfigError


def lure(steps=4, gamma=0.95):
    """A path of places: to the left there is always a small reward and the end, at its far end on the right a large one."""
    next_obs = np.array([[[0], [min(at + 1, steps - 1)]] for at in range(steps)])
    reward = np.array([[[0.3], [-0.05 if at < steps - 1 else 1.0]] for at in range(steps)])
    terminated = np.array([[[True], [at == steps - 1]] for at in range(steps)])
    mdp = TabularMDP(next_obs, np.ones((steps, 2, 1)), reward, terminated, np.eye(steps)[0])
    return mdp, as_game(mdp, longest=10, gamma=gamma)


@pytest.mark.parametrize("method", ["gumbel", "puct"])
def test_planning_sees_what_greed_does_not(method):
    mdp, problem = lure()
    best = mdp.value_iteration(0.95)
    greedy = mdp.reward[0, :, 0].argmax()
    assert greedy == 0
    assert mdp.reward[0, greedy, 0] < best[0].max() - 0.2
    found = plan(problem, 300, config=replace(EXPLORING, method=method))
    assert found.actions == (1,) * 4
    assert found.reward == pytest.approx(best[0].max())
    assert plan(problem, 2, config=replace(EXPLORING, method=method)).actions == (0,), "nothing is seen so soon"


def best_in(mdp, moves, gamma):
    value = np.zeros(mdp.num_states)
    for _ in range(moves):
        value = mdp.backup(value, gamma).max(1)
    return value


@pytest.mark.parametrize("instance", [0, 1, 2])
def test_random_problems_are_solved_as_by_dynamic_programming(instance):
    mdp = Garnet(12, 3, 1, instance).mdp()
    best = best_in(mdp, 7, 0.9)[4]
    problem = as_game(mdp, longest=7, gamma=0.9, start=4)
    assert plan(problem, 4000).reward == pytest.approx(best)
    state, greedy = 4, 0.0
    for move in range(7):
        action = mdp.reward[state, :, 0].argmax()
        greedy += 0.9**move * mdp.reward[state, action, 0]
        state = mdp.next_obs[state, action, 0]
    assert greedy < best - 0.01


def test_first_thoughts_guide_a_search_through_rooms():
    """Twenty moves away, found with the values of a player who wanders about; without them it would see nothing."""
    mdp = FourRooms().mdp()
    wandering = mdp.policy_evaluation(np.full((mdp.num_states, 4), 0.25), 0.95)
    best = mdp.value_iteration(0.95).max(1)
    start = int(np.where(best > 0, best, np.inf).argmin())
    problem = as_game(mdp, longest=40, gamma=0.95, start=start)

    def evaluate(planes):
        return np.zeros((len(planes), 4), np.float32), (planes[:, 0, 0] @ wandering).astype(np.float32)

    assert plan(problem, 200, evaluate).reward == pytest.approx(best[start])
    assert plan(problem, 200).reward < best[start]


def test_rewards_may_be_of_any_size():
    mdp, _ = lure()
    large = TabularMDP(mdp.next_obs, mdp.prob, 1000.0 * mdp.reward - 300.0, mdp.terminated, mdp.start)
    best = large.value_iteration(0.95)[0].max()
    assert plan(as_game(large, 10, 0.95), 300).reward == pytest.approx(best)


def test_chance_is_refused():
    with pytest.raises(ConfigError, match="problem: chance plays a part"):
        as_game(SlipperyLake().mdp(), 20, 0.9)


def test_a_start_that_is_no_state_is_refused():
    with pytest.raises(ConfigError, match="start = 104: it must be one of the 104 states"):
        as_game(FourRooms().mdp(), longest=6, gamma=0.9, start=104)
