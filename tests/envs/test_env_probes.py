"""The probes' exact values, against returns simulated under the best policy."""

import dataclasses

import numpy as np
import pytest

from cumulant.envs import lookup, probes
from cumulant.envs.batched import Batch, BatchVectorEnv, SingleEnv
from cumulant.envs.special_probes import ProbeMask, ProbeMemory
from cumulant.errors import ConfigError

GAMMA = 0.9
TABLES = [name for name in probes.ENVIRONMENTS if name != "probe-continuous"]
VARIANTS = [(name, {"tabular": tabular}) for name in TABLES for tabular in (False, True)] + [("probe-continuous", {})]


def simulate(options, num_envs=64, max_steps=None):
    """First observations and discounted returns of one episode each under the best policy, [num_envs]."""
    kernel = options.kernel()
    if max_steps:
        kernel = dataclasses.replace(kernel, max_steps=max_steps)
    batch = Batch(kernel, num_envs, seed=5, autoreset=False)
    first, returns, alive, discount = batch.obs.copy(), np.zeros(num_envs), np.ones(num_envs, bool), 1.0
    while alive.any():
        batch.step(options.best_action(batch.obs))
        returns += alive * discount * batch.reward
        discount *= GAMMA
        if isinstance(options, probes.ProbeCut):  # what is cut off counts by the value of the final observation
            returns += alive * batch.truncated * discount * options.exact_value(batch.next_obs, GAMMA)
        alive &= ~batch.ended
    return first, returns


@pytest.mark.parametrize(("name", "fields"), VARIANTS)
def test_exact_value_is_the_return_of_the_best_policy(name, fields):
    options = lookup.options_class(name)(**fields)
    horizon = 400 if name == "probe-truncation" else None  # long enough for 0.9^400 to vanish
    obs, returns = simulate(options, max_steps=horizon)
    np.testing.assert_allclose(returns, options.exact_value(obs, GAMMA), atol=1e-6)
    if name in ("probe-observation", "probe-both", "probe-cut", "probe-continuous"):
        assert len(np.unique(obs)) == 2


@pytest.mark.parametrize("fields", [{}, {"tabular": True}])
def test_discount_probe_shows_its_second_step(fields):
    """Its second observation is the other symbol, and its value is 1."""
    options = probes.ProbeDiscount(**fields)
    batch = Batch(options.kernel(), 3, autoreset=False)
    np.testing.assert_allclose(options.exact_value(batch.obs, GAMMA), GAMMA)
    batch.step(np.zeros(3, np.int64))
    assert not batch.ended.any()
    np.testing.assert_allclose(batch.reward, 0)
    np.testing.assert_allclose(options.exact_value(batch.next_obs, GAMMA), 1)


def test_truncation_probe_is_only_ever_truncated():
    options = probes.ProbeTruncation(max_steps=4)
    batch = Batch(options.kernel(), 2)
    flags = []
    for _ in range(12):
        batch.step(np.zeros(2, np.int64))
        assert not batch.terminated.any()
        flags.append(bool(batch.truncated.all()))
    assert flags == [False, False, False, True] * 3
    np.testing.assert_allclose(options.exact_value(batch.obs, GAMMA), 10.0)


@pytest.mark.parametrize(("name", "worse"), [("probe-action", -1.0), ("probe-both", -1.0), ("probe-value", 1.0)])
def test_the_other_action_earns_what_it_should(name, worse):
    options = lookup.options_class(name)()
    batch = Batch(options.kernel(), 32, autoreset=False)
    batch.step(1 - options.best_action(batch.obs))
    np.testing.assert_allclose(batch.reward, worse)


def test_continuous_probe_is_quadratic():
    options = probes.ProbeContinuous()
    batch = Batch(options.kernel(), 32, autoreset=False)
    batch.step(options.best_action(batch.obs) + np.float32(0.25))
    np.testing.assert_allclose(batch.reward, -(0.25**2), rtol=1e-5)


def test_cut_probe_is_cut_before_the_prize_and_ends_with_it():
    batch = Batch(probes.ProbeCut().kernel(), 64, autoreset=False)
    at_prize = batch.obs[:, 0] > 0
    batch.step(np.zeros(64, np.int64))
    np.testing.assert_array_equal(batch.terminated, at_prize)
    np.testing.assert_array_equal(batch.truncated, ~at_prize)
    np.testing.assert_array_equal(batch.reward, 10.0 * at_prize)
    assert (batch.next_obs == 1).all()
    assert 16 < at_prize.sum() < 48


def test_memory_probe_is_worth_what_it_says_with_a_memory_and_nothing_without():
    """The third observation is the same after both signs, so that the best that can be done without the first is 0."""
    probe, returns = ProbeMemory(), {"matching": 0.0, "always 1": 0.0}
    for policy in returns:
        batch = Batch(probe.kernel(), 4000, seed=1, autoreset=False)
        first = batch.obs.copy()
        np.testing.assert_allclose(probe.exact_value(first, GAMMA), GAMMA**2)
        for step in range(3):
            np.testing.assert_allclose(probe.exact_value(batch.obs, GAMMA), GAMMA ** (2 - step))
            assert step == 0 or len(np.unique(batch.obs, axis=0)) == 1
            assert (probe.exact_value(batch.obs, GAMMA, memory=False) == 0).all()
            action = probe.best_action(batch.obs, first) if policy == "matching" else np.ones(4000, np.int64)
            batch.step(action)
            assert (batch.reward == 0).all() or step == 2
        assert batch.terminated.all()
        returns[policy] = batch.reward.mean()
    assert returns["matching"] == 1
    assert abs(returns["always 1"]) < 4 / np.sqrt(4000)


def test_mask_probe_is_worth_what_it_says_and_tempts():
    probe = ProbeMask()
    second, first = probe.observations()
    batch = Batch(probe.kernel(), 2, autoreset=False)
    np.testing.assert_array_equal(batch.obs, [first, first])
    batch.step(probe.best_action(batch.obs))
    np.testing.assert_array_equal(batch.next_obs, [second, second])
    earned = batch.reward.copy()
    assert (batch.outcomes == 0).all()
    assert not batch.ended.any()
    batch.step(np.array([probe.best_action(batch.next_obs)[0], 1]))  # the second copy does what is forbidden
    assert batch.outcomes[:, 0].tolist() == [0, 1]
    assert batch.reward[1] > batch.reward[0]
    np.testing.assert_allclose(probe.exact_value(np.stack([first]), GAMMA), earned[:1] + GAMMA * batch.reward[:1])
    np.testing.assert_allclose(probe.exact_value(np.stack([second]), GAMMA), batch.reward[:1])
    allowed = probe.observations()[:, :2]
    assert allowed[np.arange(2), probe.best_action(probe.observations())].all()


def test_gymnasium_sees_the_mask_in_a_dictionary():
    one, many = SingleEnv("probe-mask"), BatchVectorEnv("probe-mask", 3)
    assert one.reset(seed=0)[0].keys() == {"observation", "action_mask"}
    obs, reward, *_ = one.step(1)
    assert (obs["action_mask"].tolist(), obs["observation"].tolist(), reward) == ([1, 0], [-1.0], 0.25)
    assert obs["action_mask"].dtype == np.int8
    many.reset(seed=0)
    assert many.step(np.ones(3, np.int64))[0]["action_mask"].tolist() == [[1, 0]] * 3
    obs, *_, info = many.step(np.zeros(3, np.int64))
    assert obs["action_mask"].tolist() == [[1, 1]] * 3
    assert info["final_obs"][2]["action_mask"].tolist() == [1, 0]


def test_truncation_probe_refuses_one_step():
    with pytest.raises(ConfigError, match="max_steps = 1"):
        probes.ProbeTruncation(max_steps=1)
