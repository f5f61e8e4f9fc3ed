"""The probes of masks and of memory, with every algorithm that can learn them: exact values, allowed actions.

Left out are, of the masks, q_learning and sarsa (their tables have no place for a mask) and bandit (more than one step); of the
memory, every algorithm that has none: what they can get is tested in ``tests/envs/test_env_probes.py`` to be 0.
"""

import json

import numpy as np
import pytest
import torch

from cumulant.engine.policy import Policy
from cumulant.envs.special_probes import ProbeMask, ProbeMemory

GAMMA = 0.9
FIELDS = {"num_envs": 8, "gamma": GAMMA, "hidden": (32,), "learning_rate": 1e-2, "eval_episodes": 64}
ON_POLICY = {
    "ppo": {"total_steps": 8192, "horizon": 32},
    "a2c": {"total_steps": 8192, "horizon": 64, "num_steps": 4},
    "reinforce": {"total_steps": 16_384, "horizon": 8},
}
DQN = {
    "total_steps": 4096,
    "horizon": 32,
    "learning_rate": 5e-3,
    "batch_size": 32,
    "warmup_steps": 64,
    "target_every": 20,
}
DQN_MODES = {
    "plain": {},
    "double, dueling": {"double": True, "dueling": True},
    "c51": {"head": "c51", "num_atoms": 41, "value_range": (-1.0, 2.0)},
    "quantile, 3 steps": {"head": "quantile", "num_atoms": 11, "n_step": 3},
    "boltzmann": {"strategy": "boltzmann"},
}
CASES = [
    *ON_POLICY.items(),
    *(("dqn", {**DQN, **mode}) for mode in DQN_MODES.values()),
]


@pytest.mark.parametrize(("algo", "fields"), CASES, ids=[*ON_POLICY, *(f"dqn, {mode}" for mode in DQN_MODES)])
def test_what_is_forbidden_is_neither_taken_nor_counted_on(train_one, algo, fields):
    """Who bootstraps from the forbidden action is off by 0.45 in the first step, who takes it by 0.5 in the second."""
    run = train_one(algo, "probe-mask", **{**FIELDS, "eval_every_steps": fields["total_steps"], **fields})
    policy, probe = Policy.load(run / "policy", "last"), ProbeMask()
    obs = probe.observations()
    with torch.no_grad():
        value = policy.net.value(policy.net.encode(torch.from_numpy(obs))).numpy()
    np.testing.assert_allclose(value, probe.exact_value(obs, GAMMA), atol=0.05)
    np.testing.assert_array_equal(policy.act(obs), probe.best_action(obs))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {row["outcome/forbidden"] for row in rows if "outcome/forbidden" in row} == {0.0}


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_a_memory_learns_what_was_shown(train_one, memory):
    """Some entropy, because a policy that never tries the other action cannot find out."""
    fields = {**FIELDS, **ON_POLICY["ppo"], "memory": memory, "entropy_coef": 0.02}
    policy = Policy.load(train_one("ppo", "probe-memory", **fields, eval_every_steps=8192) / "policy", "last")
    probe, first = ProbeMemory(), np.array([[-1.0, 0.0], [1.0, 0.0]], np.float32)
    for obs in (first, np.array([[0.0, 0.5]] * 2, np.float32), np.array([[0.0, 1.0]] * 2, np.float32)):
        action = policy.act(obs)
    np.testing.assert_array_equal(action, probe.best_action(obs, first))


def test_without_a_memory_there_is_nothing_to_learn(train_one):
    run = train_one("ppo", "probe-memory", **FIELDS, **ON_POLICY["ppo"], eval_every_steps=8192)
    policy = Policy.load(run / "policy", "last")
    obs = np.array([[0.0, 1.0]], np.float32)
    with torch.no_grad():
        value = policy.net.value(policy.net.encode(torch.from_numpy(obs))).item()
    assert abs(value - ProbeMemory().exact_value(obs, GAMMA, memory=False)[0]) < 0.5  # with a memory it would be 1
