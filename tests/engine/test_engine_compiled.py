"""The compiled engine: when it is taken, what it says, and that it collects and learns what torch would."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from cumulant import api
from cumulant.algos import a2c, reinforce
from cumulant.algos.ppo import Config
from cumulant.engine.compiled import CompiledPPO, use_compiled
from cumulant.engine.compiled_plain import CompiledPlain
from cumulant.engine.vector import make_vector
from cumulant.errors import ConfigError, NumericsError
from cumulant.maths.returns import gae
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.flat import Flat, FlatAdam, FlatRMSProp
from cumulant.nn.normalisation import RewardScale
from cumulant.reward import Product, Reward, Term

PPO = "cumulant.algos.ppo"


def make(env="cartpole", num_envs=4, horizon=24, options=None, **network):
    envs = make_vector(env, num_envs, 0, options, masks="offered")
    net = ActorCritic(
        envs.observation_space, envs.action_space, (16, 8), **network, generator=torch.Generator().manual_seed(0)
    )
    return net, CompiledPPO(net, FlatAdam(Flat(net), 1e-3, eps=1e-5), envs, horizon, 1, 2)


@pytest.mark.parametrize(
    ("network", "missing"),
    [
        ({"memory": "gru"}, "memory"),
        ({"costs": True}, "critic of costs"),
        ({"activation": "silu"}, "SiLU layers"),
        ({"net": "residual", "hidden": (8, 8)}, "layers"),
        ({"hidden": ()}, "network without hidden layers"),
    ],
)
def test_what_it_cannot_do_is_left_to_torch_and_refused_if_it_is_forced(network, missing):
    envs = make_vector("cartpole", 1, 0)
    net = ActorCritic(envs.observation_space, envs.action_space, **network)
    possible, line = use_compiled("auto", net, envs, PPO)
    assert not possible
    assert line.startswith("engine: torch, because the compiled one has no ")
    assert missing in line
    with pytest.raises(ConfigError, match=f"engine = compiled: it has no .*{missing}"):
        use_compiled("compiled", net, envs, PPO)
    assert use_compiled("torch", net, envs, PPO) == (False, "engine: torch, as asked for")


@pytest.mark.parametrize(
    ("env", "options", "rollouts"),
    [
        ("cartpole", {}, "whole rollouts in one call"),
        ("warfarin", {}, "whole rollouts in one call"),
        ("warfarin@outcome", {}, "whole rollouts in one call"),
        ("warfarin", {"shield": "standard"}, "steps from Python, because its steps are not compiled as a whole"),
        ("cliff-walking", {}, "steps from Python, because its observations are names of states"),
    ],
)
def test_plain_perceptrons_are_taken(env, options, rollouts):
    envs = make_vector(env, 2, 0, options)
    net = ActorCritic(envs.observation_space, envs.action_space, (8,))
    for engine in ("auto", "compiled"):
        line = f"engine: compiled, for perceptrons on vectors on the CPU; {rollouts}"
        assert use_compiled(engine, net, envs, PPO) == (True, line)


def calm(outcomes):
    """A term of Python."""
    return (outcomes["inr"] < 3.0) * 1.0


def test_environments_of_python_and_rewards_of_python_are_stepped_from_python(tmp_path):
    for env, options, why in [
        ("warfarin", {"reward": f"{__file__}:calm"}, "its reward has terms of Python"),
        ("gymnasium.envs.classic_control:CartPoleEnv", {}, "the environment is not a native one"),
    ]:
        envs = make_vector(env, 2, 0, options)
        net = ActorCritic(envs.observation_space, envs.action_space, (8,))
        possible, line = use_compiled("auto", net, envs, PPO)
        assert possible
        assert line.endswith(f"; steps from Python, because {why}")
        assert CompiledPPO(net, FlatAdam(Flat(net), 1e-3, eps=1e-5), envs, 4, 1, 2).native is None


@pytest.mark.parametrize(
    ("env", "options", "network"),
    [
        ("cartpole", {"max_steps": 7}, {"activation": "relu"}),
        ("pendulum", {"max_steps": 9}, {"normalize_obs": True}),
        ("probe-mask", {}, {}),
        ("warfarin", {"days": 5, "reward": "measured_days", "schedule": "clinic"}, {"normalize_obs": True}),
    ],
)
def test_a_rollout_in_one_call_is_the_steps_one_by_one(env, options, network):
    """To the last bit: what is remembered, the environments, and the episodes that ended."""
    (_, whole), (_, single) = (make(env, 21, 24, options, **network) for _ in range(2))
    assert whole.native is not None
    single.native = None
    logs = []
    for engine in (whole, single):
        for iteration in (-1, 0, 1):
            engine.collect(iteration)
            engine.observe()
        logs.append(engine.envs.episodes.drain())
    cut = single.ended & ~single.terminated
    for name in ("flat", "allowed", "choice", "numbers", "logp", "reward", "terminated", "ended"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(single, name), err_msg=name)
    np.testing.assert_array_equal(whole.final[cut], single.final[cut])
    assert cut.any() == ("max_steps" in options)
    for name in (
        "obs",
        "next_obs",
        "state",
        "key",
        "episode",
        "clock",
        "reward",
        "cost",
        "truncated",
        "outcomes",
        "terms",
    ):
        np.testing.assert_array_equal(getattr(whole.envs, name), getattr(single.envs, name), err_msg=name)
    np.testing.assert_array_equal(whole.envs.episodes.open, single.envs.episodes.open)
    assert len(logs[0]["return"]) > 10
    for column in logs[0]:
        np.testing.assert_array_equal(logs[0][column], logs[1][column], err_msg=column)


def test_a_reward_that_is_no_number_is_named_whichever_way_it_is_collected():
    for in_one_call in (True, False):
        _, engine = make("warfarin", 3, 4)
        engine.envs.state[1] = np.nan  # a broken patient
        engine.envs.products[1][:] = 0  # the INR itself
        reward = Reward("inr", (*(Term(name, 1.0, Product("inr")) for name in engine.envs.term_names),))
        engine.envs.kernel = dataclasses.replace(engine.envs.kernel, reward=reward)
        if not in_one_call:
            engine.native = None
        with pytest.raises(NumericsError, match="reward 'inr', term 'in_range' became nan in environment 1"):
            engine.collect(0)


@pytest.mark.parametrize(
    ("env", "options", "network"),
    [
        ("cartpole", {"max_steps": 7}, {}),
        ("pendulum", {"max_steps": 9}, {"normalize_obs": True}),
        ("Acrobot-v1", {"max_steps": 6}, {"activation": "relu"}),
        ("CliffWalking-v1", {}, {}),  # discrete observations
    ],
)
def test_what_it_collects_is_what_torch_would_make_of_it(env, options, network, monkeypatch):
    """Values, log-probabilities and advantages of the steps that were taken, truncations included."""
    net, engine = make(env, options=options, **network)
    engine.collect(-1)
    if net.norm is not None:
        engine.observe()
    engine.collect(0)
    given = {}
    monkeypatch.setattr("cumulant.engine.compiled.ppo.update", lambda *a: given.update(enumerate(a)) or 0)
    engine.learn(0, Config(), 0.0, None)
    with torch.no_grad():
        seen = net.normalise(torch.from_numpy(engine.flat))
        value = net.value(seen)
        next_value = value[1:].clone()
        cut = torch.from_numpy(engine.ended & ~engine.terminated)
        assert cut.any() or env == "CliffWalking-v1"
        final = net.normalise(torch.from_numpy(engine.final))
        next_value[cut] = net.value(final)[cut]
        assert not cut.any() or (final[cut] - seen[1:][cut]).abs().max() > 1e-3  # not what the next episode begins with
        action = torch.from_numpy(engine.numbers if engine.continuous else engine.choice)
        logp = net.logp_entropy(seen[:-1], action)[0]
        flags = (torch.from_numpy(engine.terminated), torch.from_numpy(engine.ended))
        advantage = gae(torch.from_numpy(engine.reward), value[:-1], next_value, *flags, 0.99, 0.95)
    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(engine.logp, logp, **close)
    np.testing.assert_allclose(given[17].reshape(value[:-1].shape), advantage, **close)
    np.testing.assert_allclose(given[18].reshape(value[:-1].shape), advantage + value[:-1], **close)


def test_rewards_are_scaled_as_by_torch():
    engines = [make("pendulum")[1] for _ in range(2)]
    for engine, scale in zip(engines, (None, RewardScale(4, 0.99))):
        engine.collect(0)
        engine.learn(0, Config(), 0.0, scale)
    vectors = [engine._vector() for engine in engines]
    assert np.isfinite(vectors).all()
    assert not np.array_equal(*vectors)


@pytest.mark.parametrize(
    ("env", "network", "options"),
    [
        ("cartpole", {}, {"normalize_advantage": True, "normalize_reward": True}),
        ("pendulum", {"normalize_obs": True}, {"lam": 0.9}),
        ("probe-mask", {}, {}),
    ],
)
def test_a2c_takes_the_step_that_torch_takes(env, network, options):
    envs = make_vector(env, 6, 0, {"max_steps": 7} if "probe" not in env else {}, masks="offered")
    made = []
    for _ in range(2):
        net = ActorCritic(
            envs.observation_space, envs.action_space, (16, 8), **network, generator=torch.Generator().manual_seed(0)
        )
        made.append((net, FlatRMSProp(Flat(net), 3e-3, 0.99, eps=1e-5), RewardScale(6, 0.99)))
    (net, ours, scale), (theirs_net, theirs, their_scale) = made
    engine, config = CompiledPlain(net, ours, envs, 20, 1), a2c.Config(**options)
    for step in range(3):
        engine.collect(20 * step)
        rollout = engine.rollout()
        before = ours.flat.parameter.detach().clone()
        measured = engine.learn(config, 0.02, scale if config.normalize_reward else None)
        expected = a2c.learn(theirs_net, theirs.flat, theirs, rollout, config, 0.02, their_scale)
        assert measured == pytest.approx(expected, rel=1e-3, abs=1e-5)
        assert (ours.flat.parameter - before).abs().max() > 1e-3
        torch.testing.assert_close(ours.flat.parameter, theirs.flat.parameter, rtol=1e-3, atol=3e-5)
        theirs.flat.parameter.data.copy_(ours.flat.parameter.data)  # rounding must not add up


@pytest.mark.parametrize("baseline", ["value", "none"])
def test_reinforce_takes_the_step_that_torch_takes(baseline):
    envs = make_vector("pendulum", 4, 0, {"max_steps": 9}, masks="offered")
    nets = [
        ActorCritic(envs.observation_space, envs.action_space, (16,), generator=torch.Generator().manual_seed(0))
        for _ in range(2)
    ]
    ours, theirs = (FlatAdam(Flat(net), 1e-3, eps=1e-5) for net in nets)
    engine = CompiledPlain(nets[0], ours, envs, 20, 1)
    config = reinforce.Config(num_envs=4, horizon=20, value_coef=0.5 if baseline == "value" else 0.0)
    engine.collect(0)
    rollout = engine.rollout()
    counts = torch.rand(20, 4, generator=torch.Generator().manual_seed(1)) < 0.7
    returns = torch.randn(int(counts.sum()), generator=torch.Generator().manual_seed(2))
    advantage = returns - rollout.value[counts]
    measured = engine.learn_episodes(rollout, counts, advantage, returns, 1 / 80, config, 0.01)
    expected = reinforce.learn(nets[1], theirs.flat, theirs, rollout, counts, advantage, returns, config, 0.01)
    assert measured == pytest.approx(expected, rel=1e-3, abs=1e-5)
    torch.testing.assert_close(ours.flat.parameter, theirs.flat.parameter, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("algo", ["a2c", "reinforce"])
def test_the_other_policy_gradients_say_and_take_the_engine(algo, tmp_path):
    rows = []
    spec = api.make_spec(algo, "CartPole-v1", 0, total_steps=3000, eval_episodes=2, num_envs=4, normalize_obs=True)
    api.train_one(spec, tmp_path / "run", progress=lambda _, row: rows.append(row))
    assert rows[0]["note"].startswith(
        "engine: compiled, for perceptrons on vectors on the CPU; whole rollouts in one call"
    )
    assert rows[-1]["loss/grad_norm"] > 0.0


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_the_engine_is_said_with_the_first_row_only(engine, tmp_path):
    rows = []
    spec = api.make_spec("ppo", "CartPole-v1", 0, total_steps=2048, engine=engine, eval_episodes=2)
    api.train_one(spec, tmp_path / "run", progress=lambda _, row: rows.append(row))
    said = (
        "engine: torch, as asked for"
        if engine == "torch"
        else "engine: compiled, for perceptrons on vectors on the CPU; whole rollouts in one call"
    )
    assert [row.get("note") for row in rows] == [said, None]
    kept = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert not any("note" in row for row in kept)


def test_a_copy_of_ppo_computes_what_it_says_itself() -> None:
    net, engine = make()
    possible, line = use_compiled("auto", net, engine.envs, "greedy")
    assert not possible
    assert "a copy of an algorithm" in line
    assert use_compiled("compiled", net, engine.envs, "greedy")[0]  # as asked for
