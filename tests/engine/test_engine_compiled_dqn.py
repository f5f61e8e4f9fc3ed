"""The compiled engine of DQN: when it is taken, what it says, and that it values and learns what torch does."""

import json

import numpy as np
import pytest
import torch

from cumulant import api
from cumulant.engine.choice import choose_engine
from cumulant.engine.compiled_dqn import CompiledDQN, obstacle
from cumulant.engine.vector import make_vector
from cumulant.errors import ConfigError
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.nn.q_network import QNetwork

DQN = "cumulant.algos.dqn"


def use_compiled(engine, net, module):
    return choose_engine(engine, obstacle(net), module)


def network(env="cartpole", **fields):
    envs = make_vector(env, 3, 0, masks="offered")
    return QNetwork(envs.observation_space, envs.action_space, (16, 8), **fields, generator=torch.Generator()), envs


@pytest.mark.parametrize(
    ("env", "fields", "missing"),
    [
        ("cartpole", {"head": "c51"}, "distributions of returns (c51)"),
        ("cartpole", {"head": "quantile"}, "distributions of returns (quantile)"),
        ("cartpole", {"noisy": True}, "noisy weights"),
        ("minatar-breakout", {}, "layers but a perceptron's"),
    ],
)
def test_what_it_cannot_do_is_left_to_torch_and_refused_if_it_is_forced(env, fields, missing):
    net = network(env, **fields)[0]
    line = f"engine: torch, because the compiled one has no {missing}"
    assert use_compiled("auto", net, DQN) == (False, line)
    with pytest.raises(ConfigError, match="engine = compiled: it has no "):
        use_compiled("compiled", net, DQN)
    assert use_compiled("torch", net, DQN) == (False, "engine: torch, as asked for")


def test_a_copy_is_not_stood_in_for():
    net = network(dueling=True)[0]
    assert use_compiled("auto", net, "mine.dqn")[0] is False
    for engine in ("auto", "compiled"):
        assert use_compiled(engine, net, DQN) == (True, "engine: compiled, for perceptrons on vectors on the CPU")


@pytest.mark.parametrize("env", ["cartpole", "slippery-lake", "Taxi-v4"])
def test_values_are_those_of_the_network(env):
    net, envs = network(env, dueling=True)
    flat = Flat(net)
    flat.parameter.data += 0.3 * torch.randn(flat.parameter.shape, generator=torch.Generator().manual_seed(1))
    found = CompiledDQN(net, flat, FlatAdam(flat, 1e-3), True, 10.0).values(envs.obs)
    expected = net.q(net.encode(torch.from_numpy(envs.obs))).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


FIELDS = {
    "plain": {},
    "all of it": {"dueling": True, "double": True, "n_step": 3, "prioritised": True},
    "boltzmann": {"strategy": "boltzmann"},
    "persistent": {"strategy": "persistent"},
}
SMALL = {"num_envs": 3, "horizon": 40, "hidden": (16,), "warmup_steps": 60, "batch_size": 16, "eval_episodes": 2}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("env", ["CartPole-v1", "FrozenLake-v1", "Taxi-v4"])
def test_both_engines_begin_alike(env, fields, tmp_path):
    """The same random numbers: until rounding tells them apart, both do the same to the same digits."""
    rows = {}
    for engine in ("torch", "compiled"):
        settings = {**SMALL, "double": False, "total_steps": 480, "engine": engine, **fields}
        spec = api.make_spec("dqn", env, 0, **settings)
        api.train_one(spec, tmp_path / engine)
        rows[engine] = [json.loads(line) for line in (tmp_path / engine / "metrics.jsonl").read_text().splitlines()]
    assert len(rows["torch"]) == 4
    for one, other in zip(rows["torch"], rows["compiled"]):
        for name in one.keys() & {"loss/value", "value/mean", "episode/return", "episode/length"}:
            assert other[name] == pytest.approx(one[name], rel=2e-3, abs=1e-4), name
    assert "loss/value" in rows["torch"][-1]


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_the_engine_is_said_with_the_first_row_only(engine, tmp_path):
    notes = []
    spec = api.make_spec("dqn", "CartPole-v1", 0, **SMALL, total_steps=240, engine=engine)
    api.train_one(spec, tmp_path / "run", progress=lambda _, row: notes.append(row.get("note")))
    said = (
        "engine: torch, as asked for"
        if engine == "torch"
        else "engine: compiled, for perceptrons on vectors on the CPU"
    )
    assert notes == [said, None]
