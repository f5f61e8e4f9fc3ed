"""Two ways to the same thing give the same thing: mostly the same bytes."""

import os

import gymnasium
import numpy as np
import pytest
import torch

import cumulant
from cumulant import api
from cumulant.engine.collect import collect
from cumulant.engine.evaluate import play
from cumulant.engine.policy import Policy
from cumulant.engine.vector import GymVector, make_vector
from cumulant.envs.batched import Batch
from cumulant.maths.policy import clipped_policy_loss
from cumulant.maths.value import value_loss
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.flat import Flat

BYTES = ("config.json", "metrics.jsonl", "evaluation.json", "policy/best.safetensors", "policy/last.safetensors")
SMALL = {"total_steps": 2048, "num_envs": 4, "horizon": 64, "eval_episodes": 8}
WORDS = ("--total-steps", "2048", "--num-envs", "4", "--horizon", "64", "--eval-episodes", "8", "--quiet")


def fingerprint(run):
    return {name: (run / name).read_bytes() for name in BYTES}


@pytest.mark.parametrize(
    ("algo", "env", "words", "call"),
    [
        (
            "ppo",
            "CartPole-v1",  # with a preset
            (
                "--gamma",
                "0.98",
                "--hidden",
                "16",
                "8",
                "--normalize-obs",
                "--value-clip",
                "0.3",
                "--activation",
                "relu",
            ),
            {"gamma": 0.98, "hidden": (16, 8), "normalize_obs": True, "value_clip": 0.3, "activation": "relu"},
        ),
        ("q_learning", "slippery-lake", ("--slip", "0.5"), {"env_options": {"slip": 0.5}}),
        ("sarsa", "FrozenLake-v1", ("--env-option", "is_slippery=false"), {"env_options": {"is_slippery": False}}),
    ],
    ids=["ppo", "native options", "keywords"],
)
def test_the_command_line_is_the_python_call(cli, workspace, algo, env, words, call):
    answer = cli("train", algo, env, *WORDS, *words, "--seed", "5", "--out", "shell", "--json")
    assert answer.code == 0, answer.err
    result = cumulant.train(algo, env=env, seed=5, out="python", **SMALL, **call)
    assert fingerprint(workspace / "shell") == fingerprint(workspace / "python")
    told, known = answer.json, result.summary()
    for key in ("run", "seconds", "training_seconds", "steps_per_second"):
        told.pop(key), known.pop(key)
    assert told == known
    evaluation = cumulant.evaluate(result.policy, env, episodes=100, seed=0)
    assert evaluation["return_mean"] == told["return_mean"]


def test_seeds_of_a_group_are_the_seeds_trained_alone(workspace):
    result = cumulant.train("ppo", env="CartPole-v1", seed=3, seeds=2, out="group", **SMALL)
    assert result.seeds == (3, 4)
    for seed in result.seeds:
        cumulant.train("ppo", env="CartPole-v1", seed=seed, out=f"alone_{seed}", **SMALL)
        assert fingerprint(workspace / "group" / f"seed_{seed}") == fingerprint(workspace / f"alone_{seed}")


def test_a_saved_config_repeats_its_run(workspace):
    """A finished run can be repeated from its own config.json alone."""
    first = cumulant.train("ppo", env="probe-both", seed=2, out="first", **SMALL, env_options={"tabular": True})
    api.train_one(api.read_spec(first.run), workspace / "again")
    assert fingerprint(first.run) == fingerprint(workspace / "again")


@pytest.mark.parametrize(
    ("algo", "fields"),
    [("q_learning", {}), ("sarsa", {}), ("sarsa", {"expected": True})],
    ids=["q_learning", "sarsa", "expected sarsa"],
)
def test_the_compiled_loop_is_the_loop_that_can_be_read(train_one, monkeypatch, algo, fields):
    """A table environment is learned in one compiled call, any other step by step: with the same table, the same bytes."""
    setting = {"total_steps": 4096, "horizon": 128, "eval_episodes": 4, "env_options": {"max_steps": 20}, **fields}
    compiled = train_one(algo, "cliff-walking", 3, **setting, name="compiled")
    monkeypatch.setattr(f"cumulant.algos.{algo}.is_table", lambda kernel: False)
    monkeypatch.setattr(f"cumulant.algos.{algo}.train_on_table", None)
    assert fingerprint(train_one(algo, "cliff-walking", 3, **setting, name="read")) == fingerprint(compiled)


class Peer(gymnasium.Wrapper):
    """Gymnasium's own CartPole, by the path of a class, so that the native one does not replace it."""

    def __init__(self):
        super().__init__(gymnasium.make("CartPole-v1"))


def test_cartpole_through_gymnasium_and_native_are_one_task():
    """Each step agrees (tests/envs); here whole episodes through both adapters, from their own starts, do too."""

    def follow_the_pole(obs):
        return (obs[:, 2] > 0.0).astype(np.int64)

    theirs, ours = make_vector(f"{__file__}:Peer", 8, seed=1), make_vector("CartPole-v1", 800, seed=1)
    assert isinstance(theirs, GymVector)
    assert isinstance(ours, Batch)
    returns = [play(follow_the_pole, envs, 800)["return"] for envs in (theirs, ours)]
    means, errors = zip(*((r.mean(), r.std() / np.sqrt(len(r))) for r in returns))
    assert 30 < means[0] < 60
    assert abs(means[0] - means[1]) < 4 * np.hypot(*errors)
    assert np.hypot(*errors) < 0.02 * means[0]


def test_the_gradient_of_a_batch_is_the_mean_over_its_parts():
    """What PPO minimises, whole or in equal micro-batches; advantages are whitened beforehand."""
    envs = make_vector("CartPole-v1", 8, seed=0)
    net = ActorCritic(envs.observation_space, envs.action_space, generator=torch.Generator().manual_seed(0))
    rollout = collect(envs, net, 64, torch.Generator().manual_seed(1))
    flat = Flat(net)
    with torch.no_grad():
        flat.parameter += 0.05 * torch.randn(flat.parameter.shape, generator=torch.Generator().manual_seed(2))
    advantage = torch.randn(512, generator=torch.Generator().manual_seed(3))
    obs, action, logp_old = (x.flatten(0, 1) for x in (rollout.obs, rollout.action, rollout.logp))

    def gradient(parts):
        flat.zero_grad()
        for index in torch.arange(512).tensor_split(parts):
            logp, entropy = net.logp_entropy(obs[index], action[index])
            loss = clipped_policy_loss(logp, logp_old[index], advantage[index], 0.2).mean()
            loss = loss + 0.5 * value_loss(net.value(obs[index]), advantage[index]).mean() - 0.01 * entropy.mean()
            (loss / parts).backward()
        return flat.parameter.grad.clone()

    whole = gradient(1)
    for parts in (2, 8, 64):
        torch.testing.assert_close(gradient(parts), whole, rtol=1e-4, atol=1e-6)
    assert whole.abs().max() > 0.01


def test_acting_on_one_and_on_a_batch_is_the_same(workspace):
    result = cumulant.train("ppo", env="CartPole-v1", out="run", **SMALL)
    policy = cumulant.load(result.run)
    obs = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    batch = policy.act(obs)
    assert [policy.act(row) for row in obs] == batch.tolist()
    assert isinstance(policy.act(obs[0]), int)
    assert len(set(batch.tolist())) == 2
    assert isinstance(policy, Policy)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core runs one seed after the other")
def test_seeds_train_at_the_same_time(cli, workspace):
    """Each seed's environment waits until the other has begun, which never happens one after the other."""
    (workspace / "meet.py").write_text(
        "import os, pathlib, time\n"
        "import gymnasium\n"
        "class Meet(gymnasium.Wrapper):\n"
        "    def __init__(self):\n"
        "        super().__init__(gymnasium.make('CartPole-v1'))\n"
        "        pathlib.Path(f'here-{os.getpid()}').touch()\n"
        "        patience = time.monotonic() + 60\n"
        "        while len(list(pathlib.Path().glob('here-*'))) < 2:\n"
        "            time.sleep(0.01)\n"
        "            if time.monotonic() > patience:\n"
        "                raise TimeoutError('alone')\n"
    )
    answer = cli("train", "q_learning", "meet.py:Meet", "--seeds", "2", "--out", "group", "--quiet")
    assert "needs Discrete observations" in answer.err  # nobody was alone; a run that stops there is the shortest
    assert answer.code == 2
    assert not (workspace / "group").exists()
