"""SAC on the analytic probes: exact values and best actions, with both kinds of actions, in every mode."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from cumulant.algos import sac
from cumulant.engine.policy import Policy
from cumulant.envs import lookup, probes
from cumulant.errors import ConfigError

GAMMA = 0.9
SETTING = {
    "total_steps": 2048,
    "num_envs": 8,
    "horizon": 32,
    "learning_rate": 5e-3,
    "gamma": GAMMA,
    "batch_size": 32,
    "updates_per_step": 0.25,
    "warmup_steps": 64,
    "polyak": 0.2,
    "hidden": (32,),
    "activation": "tanh",  # smooth: a few hundred updates bring it within 0.1
    "temperature": 0.01,  # soft values count entropy: 0.01 nats of it are nothing
    "eval_every_steps": 4096,
    "eval_episodes": 8,
}
MODES = {
    "plain": {},
    "3 steps": {"n_step": 3},
    "prioritised": {"prioritised": True},
    "simba": {"net": "residual", "normalize_obs": True, "weight_decay": 0.01, "learning_rate": 2e-3},
}
TABLES = [name for name in probes.ENVIRONMENTS if name != "probe-continuous"]
ONLY_ONE = ("probe-value", "probe-action", "probe-truncation")  # the other observation never occurs
DECIDES = ("probe-action", "probe-both")  # elsewhere every action is as good


@pytest.fixture
def learn(train_one, monkeypatch):
    """Train; return the policy and what its critics say: ``values(obs)``, the smaller one of the policy's action or actions."""
    made = []

    class Watched(sac.QCritics):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(sac, "QCritics", Watched)

    def run(env, seed=0, **fields):
        directory = train_one("sac", env, seed, **{**SETTING, **fields})
        policy = Policy.load(directory / "policy", "last")

        @torch.no_grad()
        def values(obs):
            encoded = policy.net.encode(torch.from_numpy(obs))
            if made[0].discrete:
                q = made[0](encoded)[:2].amin(0)
                return (policy.net(encoded).softmax(-1) * q).sum(-1).numpy()
            return made[0](encoded, policy.net.mode(encoded))[:2].amin(0).numpy()

        return policy, values

    return run


@pytest.mark.parametrize(
    ("mode", "name"),
    [*(("plain", name) for name in TABLES), *((mode, "probe-both") for mode in MODES if mode != "plain")],
)
def test_discrete_values_are_exact_and_actions_best(learn, mode, name):
    policy, values = learn(name, **MODES[mode])
    probe = lookup.options_class(name)()
    obs = np.array([[-1.0], [1.0]], np.float32)[name in ONLY_ONE :]
    # a truncation taken for an end would be off by 6
    np.testing.assert_allclose(values(obs), probe.exact_value(obs, GAMMA), atol=0.1)
    if name in DECIDES:
        np.testing.assert_array_equal(policy.act(obs), probe.best_action(obs))


@pytest.mark.parametrize("mode", ["plain", "simba"])
def test_continuous_values_are_exact_and_actions_best(learn, mode):
    policy, values = learn("probe-continuous", **{**MODES[mode], "total_steps": 4096})
    obs = np.array([[-1.0], [1.0]], np.float32)
    np.testing.assert_allclose(values(obs), [0.0, 0.0], atol=0.1)
    np.testing.assert_allclose(policy.act(obs), obs / 2, atol=0.1)


class CutBeforeThePrize(gymnasium.Env):
    """Start at -1 or 1. At 1: reward 10, the end. At -1: go to 1, but be cut there. The values are 9 and 10.

    Who bootstraps from the first observation of the next episode, which is 1 half of the time only, learns 8.2 for -1.
    """

    def __init__(self):
        self.observation_space, self.action_space = (
            spaces.Box(-1, 1, (1,), np.float32),
            spaces.Box(-1, 1, (1,), np.float32),
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.array([self.np_random.choice([-1.0, 1.0])], np.float32)
        return self.place, {}

    def step(self, action):
        prize = self.place[0] > 0
        return np.ones(1, np.float32), 10.0 * prize, bool(prize), not prize, {}


def test_truncations_bootstrap_from_the_final_observation(learn):
    _, values = learn(f"{__file__}:CutBeforeThePrize", learning_rate=0.01)
    np.testing.assert_allclose(values(np.array([[-1.0], [1.0]], np.float32)), [9.0, 10.0], atol=0.1)


@pytest.mark.parametrize(("env", "wanted"), [("probe-continuous", -1.0), ("probe-both", 0.5 * np.log(2.0))])
def test_the_temperature_keeps_the_entropy_where_it_is_wanted(train_one, env, wanted):
    rows = []
    fields = SETTING | {"temperature": None, "target_entropy": 0.5, "learning_rate": 0.02}
    train_one("sac", env, **fields, progress=lambda _, row: rows.append(row))
    assert np.mean([row["policy/entropy"] for row in rows[-3:]]) == pytest.approx(wanted, abs=0.15)


class Unbounded(CutBeforeThePrize):
    """Its action may be anything."""

    def __init__(self):
        super().__init__()
        self.action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)


def test_what_is_not_supported_is_one_line_at_construction(train_one):
    with pytest.raises(ConfigError, match="actions without bounds cannot be squashed"):
        train_one("sac", f"{__file__}:Unbounded")
