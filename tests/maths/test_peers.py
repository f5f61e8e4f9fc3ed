"""Our formulas on the numbers that went into the peers' own code, against what came out of it.

The fixtures are written by benchmarks/peers/make_fixtures.py in the peers' environment (Stable-Baselines3 and sb3-contrib; each
file says which versions). They are float32, so agreement is asked for to 1e-5, relative and absolute. Where a definition differs
from ours, by a factor or by how it is reduced, a comment says so and the test converts; nothing else is adjusted.

Axes: T time, B environments, M transitions or samples, A actions, C critics, K quantiles.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cumulant.data.replay import Replay, ReplayConfig
from cumulant.maths.distributional import quantile_huber_loss, quantile_target, truncated_mixture
from cumulant.maths.kl import kl_estimate
from cumulant.maths.policy import clip_fraction, clipped_policy_loss, policy_gradient_loss, smoothed_action
from cumulant.maths.returns import gae, lambda_return
from cumulant.maths.soft import sac_policy_loss, sac_target, squashed_gaussian_logp, temperature_loss
from cumulant.maths.value import clipped_value_loss, huber_loss, one_step_target, q_learning_target, value_loss
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.nn.heads import Categorical, Gaussian
from cumulant.nn.memory import Memory
from cumulant.nn.normalisation import RewardScale, RunningNorm

FOLDER = Path(__file__).parents[1] / "fixtures" / "peers"


def load(name: str) -> dict[str, Any]:
    """Return a fixture: lists as tensors (float32, int64 or bool), the rest as it is."""
    raw = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return {key: torch.tensor(value) if isinstance(value, list) else value for key, value in raw.items()}


def agree(ours: Tensor | float, theirs: Tensor | float) -> None:
    """Compare to 1e-5, in whatever shape the peer has it."""
    mine = torch.as_tensor(ours, dtype=torch.float64)
    other = torch.as_tensor(theirs, dtype=torch.float64)
    torch.testing.assert_close(mine.reshape(other.shape), other, rtol=1e-5, atol=1e-5)


def leaf(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_()


def test_fixtures_say_what_made_them_and_stay_small() -> None:
    files = sorted(FOLDER.glob("*.json"))
    assert sum(path.stat().st_size for path in files) < 100_000
    pinned = (Path(__file__).parents[2] / "benchmarks" / "peers.txt").read_text(encoding="utf-8").split()
    for path in files:
        made_with = json.loads(path.read_text(encoding="utf-8"))["made_with"]
        for package in ("stable-baselines3", "sb3-contrib"):
            assert f"{package}=={made_with[package]}" in pinned


def test_advantages_and_returns() -> None:
    x = load("gae")
    ended = x["terminated"] | x["truncated"]
    # They add gamma * value(final observation) to the reward of a truncated step; here it is the step's next value.
    next_value = torch.cat([x["value"][1:], x["last_value"].unsqueeze(0)])
    next_value = torch.where(x["truncated"], x["final_value"], next_value)
    given = (next_value, x["terminated"], ended, x["gamma"], x["lam"])
    agree(gae(x["reward"], x["value"], *given), x["advantage"])
    agree(lambda_return(x["reward"], *given), x["returns"])


@pytest.mark.parametrize("name", ["ppo_discrete", "ppo_box_value_clip", "ppo_masked", "a2c"])
def test_policy_gradients(name: str) -> None:
    """From the outputs of the networks to the logged losses, and back to the gradients of those outputs."""
    x = load(name)
    outputs, value = leaf(x["head"]), leaf(x["value"])
    logits = outputs
    if x["log_std"] is None:
        head: Categorical | Gaussian = Categorical(gymnasium.spaces.Discrete(outputs.shape[1]))
        action = x["action"].long().flatten()
        if x["mask"] is not None:  # they put -1e8 in the place of a forbidden logit; here it is -inf
            logits = head.forbid(outputs, x["mask"].reshape(outputs.shape).bool())
    else:
        head, action = Gaussian(gymnasium.spaces.Box(-1.0, 1.0, (outputs.shape[1],))), x["action"]
        head.log_std.data = x["log_std"]
    logp, entropy = head.logp_entropy(logits, action)

    advantage = x["advantage"]
    if x["normalize_advantage"]:
        std, mean = torch.std_mean(advantage)
        advantage = (advantage - mean) / (std + 1e-8)
    if x["clip"] is None:
        policy_loss = policy_gradient_loss(logp, advantage).mean()
    else:
        policy_loss = clipped_policy_loss(logp, x["logp_old"], advantage, x["clip"]).mean()
    if x["value_clip"] is None:
        critic_loss = value_loss(value, x["returns"]).mean()
    else:  # they take the loss of the moved value, not the larger one of the two as the source does
        moved = x["value_old"] + (value - x["value_old"]).clamp(-x["value_clip"], x["value_clip"])
        critic_loss = value_loss(moved, x["returns"]).mean()
        ours = clipped_value_loss(value, x["value_old"], x["returns"], x["value_clip"])
        both = torch.maximum(value_loss(moved, x["returns"]), value_loss(value, x["returns"]))
        assert torch.equal(ours, both)
        assert (ours > value_loss(moved, x["returns"])).any()
    # Their squared errors are not halved.
    loss = policy_loss + 2.0 * x["value_coef"] * critic_loss - x["entropy_coef"] * entropy.mean()
    loss.backward()

    logged = x["logged"]
    agree(2.0 * critic_loss.detach(), logged["value_loss"])
    agree(-entropy.mean().detach(), logged["entropy_loss"])
    agree(policy_loss.detach(), logged["policy_loss" if name == "a2c" else "policy_gradient_loss"])
    if name != "a2c":
        agree(loss.detach(), logged["loss"])
        agree(kl_estimate(x["logp_old"], logp, "k3").mean().detach(), logged["approx_kl"])
        agree(clip_fraction(logp, x["logp_old"], x["clip"]).mean(), logged["clip_fraction"])
        assert 0.1 < logged["clip_fraction"] < 0.9  # both sides of the clip are in the numbers
    assert outputs.grad is not None
    assert value.grad is not None
    agree(outputs.grad, x["head_grad"])
    agree(value.grad, x["value_grad"])
    if isinstance(head, Gaussian):
        assert head.log_std.grad is not None
        agree(head.log_std.grad, x["log_std_grad"])


def test_recurrent_policy_gradient() -> None:
    """From observations and remembered states through an LSTM to the logged losses, and back to all weights.

    Its rollout starts within episodes, so with states that are not zero, and others end in it.
    """
    x = load("ppo_recurrent")
    num_obs, size = x["obs"].shape[-1], x["state"].shape[-1] // 2
    memory = Memory("lstm", num_obs, size, None)
    policy, critic = nn.Linear(size, 3), nn.Linear(size, 1)
    places = {"lstm_weight_ih_l0": memory.input.weight, "lstm_bias_ih_l0": memory.input.bias}
    places |= {"lstm_weight_hh_l0": memory.recurrent.weight, "lstm_bias_hh_l0": memory.recurrent.bias}
    places |= {"policy_weight": policy.weight, "policy_bias": policy.bias}
    places |= {"value_weight": critic.weight, "value_bias": critic.bias}
    # Their gates are write, keep, new, read; ours have the last two the other way round.
    gates = torch.arange(4 * size).reshape(4, size)[[0, 1, 3, 2]].flatten()
    theirs = {name: x[name][gates] if name.startswith("lstm") else x[name] for name in places}
    grads = {name: x[f"{name}_grad"][gates] if name.startswith("lstm") else x[f"{name}_grad"] for name in places}
    with torch.no_grad():
        for name, parameter in places.items():
            parameter.copy_(theirs[name])

    start = x["episode_start"]  # [T, B]; ours says of a step whether the episode ends with it
    ended = torch.cat([start[1:], torch.zeros_like(start[:1])])
    state = x["state"] * ~start[0].unsqueeze(-1)
    seen = memory(x["obs"].transpose(0, 1), state, ended.T).transpose(0, 1)
    head = Categorical(gymnasium.spaces.Discrete(3))
    logp, entropy = head.logp_entropy(policy(seen), x["action"].long().squeeze(-1))
    std, mean = torch.std_mean(x["advantage"])
    advantage = (x["advantage"] - mean) / (std + 1e-8)
    policy_loss = clipped_policy_loss(logp, x["logp_old"], advantage, x["clip"]).mean()
    value = critic(seen.detach()).squeeze(-1)  # their value teaches a shared LSTM nothing; ours does
    critic_loss = value_loss(value, x["returns"]).mean()
    loss = policy_loss + 2.0 * x["value_coef"] * critic_loss - x["entropy_coef"] * entropy.mean()
    loss.backward()

    logged = x["logged"]
    agree(policy_loss.detach(), logged["policy_gradient_loss"])
    agree(2.0 * critic_loss.detach(), logged["value_loss"])
    agree(-entropy.mean().detach(), logged["entropy_loss"])
    agree(loss.detach(), logged["loss"])
    agree(kl_estimate(x["logp_old"], logp, "k3").mean().detach(), logged["approx_kl"])
    agree(clip_fraction(logp, x["logp_old"], x["clip"]).mean(), logged["clip_fraction"])
    for name, parameter in places.items():
        assert parameter.grad is not None
        agree(parameter.grad, grads[name])
        assert parameter.grad.abs().max() > 1e-3


def test_a_step_with_clipped_gradients() -> None:
    """PPO's last lines: the global norm, the clip, and Adam with eps 1e-5."""
    x = load("ppo_discrete")["adam"]
    before, grad, after = (torch.tensor(x[name]) for name in ("before", "grad", "after"))
    module = nn.Linear(len(before), 1, bias=False)
    module.weight.data[0] = before
    flat = Flat(module)
    assert flat.parameter.grad is not None
    flat.parameter.grad.copy_(grad)
    agree(flat.clip_grad_norm(x["limit"]), x["norm"])
    assert x["norm"] > x["limit"]
    FlatAdam(flat, x["learning_rate"], eps=x["eps"]).step()
    assert (after - before).abs().max() > 0.5 * x["learning_rate"]
    torch.testing.assert_close(flat.parameter.detach() - before, after - before, rtol=1e-3, atol=1e-7)


def test_dqn() -> None:
    x = load("dqn")
    target = q_learning_target(x["reward"], x["next_q"], x["terminated"], x["gamma"])
    agree(target, x["target"])
    q = leaf(x["q"])
    loss = huber_loss(q.gather(1, x["action"].long().unsqueeze(1)).squeeze(1), target).mean()
    loss.backward()
    agree(loss.detach(), x["loss"])
    assert q.grad is not None
    agree(q.grad, x["q_grad"])
    slope = q.grad.abs().sum(1) * len(q)
    assert slope.max() > 0.999  # both pieces are in the numbers
    assert slope.min() < 0.9


def test_quantile_regression_dqn() -> None:
    x = load("qrdqn")
    rows = torch.arange(len(x["reward"]))
    best = x["next_quantiles"].mean(1).argmax(1)
    target = quantile_target(x["reward"], x["next_quantiles"][rows, :, best], x["terminated"], x["gamma"])
    agree(target, x["target"])
    quantiles = leaf(x["quantiles"])
    loss = quantile_huber_loss(quantiles[rows, :, x["action"].long()], target).mean()
    loss.backward()
    agree(loss.detach(), x["loss"])
    assert quantiles.grad is not None
    agree(quantiles.grad, x["quantiles_grad"])


@pytest.mark.parametrize("name", ["sac", "tqc"])
def test_squashed_gaussian(name: str) -> None:
    x = load(name)
    ours = squashed_gaussian_logp(x["raw"], x["mean"], x["log_std"])
    agree(x["raw"].tanh(), x["action"])
    # They add 1e-6 under the logarithm of the slope 1 - tanh(raw)^2; the difference is that and nothing else.
    slope = 1.0 - x["raw"].double().tanh().square()
    agree(ours - ((slope + 1e-6).log() - slope.log()).sum(-1), x["logp"])


@pytest.mark.parametrize("name", ["sac", "tqc"])
def test_temperature(name: str) -> None:
    x = load(name)
    log_temperature = leaf(x["log_temperature"][0])
    loss = temperature_loss(log_temperature, -x["logp"], x["target_entropy"]).mean()
    loss.backward()
    agree(loss.detach(), x["logged"]["ent_coef_loss"])
    agree(log_temperature.detach().exp(), x["logged"]["ent_coef"])
    assert log_temperature.grad is not None
    agree(log_temperature.grad, x["log_temperature_grad"][0])


def test_sac() -> None:
    x = load("sac")
    temperature = x["log_temperature"][0].exp()
    target = sac_target(x["reward"], x["next_q"].amin(1), x["next_logp"], x["terminated"], x["gamma"], temperature)
    agree(target, x["target"])
    q = leaf(x["q"])
    # The mean over samples of the sum over critics; halved, as here.
    loss = value_loss(q, target.unsqueeze(1).expand_as(q)).sum(1).mean()
    loss.backward()
    agree(loss.detach(), x["logged"]["critic_loss"])
    assert q.grad is not None
    agree(q.grad, x["q_grad"])

    logp = leaf(x["logp"])
    loss = sac_policy_loss(x["q_of_policy"].amin(1), logp, temperature).mean()
    loss.backward()
    agree(loss.detach(), x["logged"]["actor_loss"])
    assert logp.grad is not None
    agree(logp.grad, x["logp_grad"])


def test_td3() -> None:
    x = load("td3")
    agree(smoothed_action(x["next_action"], x["noise"], 1.0, x["noise_limit"]), x["smoothed"])  # scaled already
    target = one_step_target(x["reward"], x["next_q"].amin(1), x["terminated"], x["gamma"])
    agree(target, x["target"])
    q = leaf(x["q"])
    loss = 2.0 * value_loss(q, target.unsqueeze(1).expand_as(q)).sum(1).mean()  # theirs is not halved
    loss.backward()
    agree(loss.detach(), x["logged"]["critic_loss"])
    assert q.grad is not None
    agree(q.grad, x["q_grad"])
    agree(-x["q_of_policy"].mean(), x["logged"]["actor_loss"])


def test_truncated_quantile_critics() -> None:
    x = load("tqc")
    temperature = x["log_temperature"][0].exp()
    soft = truncated_mixture(x["next_q"], x["drop"]) - temperature * x["next_logp"].unsqueeze(1)
    target = quantile_target(x["reward"], soft, x["terminated"], x["gamma"])
    agree(target, x["target"])
    quantiles = leaf(x["q"])  # [M, C, K]
    each = quantile_huber_loss(quantiles, target.unsqueeze(1).expand(-1, quantiles.shape[1], -1))
    loss = each.mean() / quantiles.shape[-1]  # they take the mean over their own quantiles; here it is the sum
    loss.backward()
    agree(loss.detach(), x["logged"]["critic_loss"])
    assert quantiles.grad is not None
    agree(quantiles.grad, x["q_grad"])
    mean = x["q_of_policy"].mean((1, 2))  # the mean over critics, where SAC takes the smallest
    agree(sac_policy_loss(mean, x["logp"], temperature).mean(), x["logged"]["actor_loss"])


def test_n_step_replay(tmp_path: Path) -> None:
    """Windows that meet an end, a cut, and the newest step; the ring has wrapped around."""
    x = load("n_step_replay")
    space = gymnasium.spaces.Box(0, 100, (1,), np.float32)
    options = ReplayConfig(capacity=x["capacity"], n_step=x["n_step"])
    replay = Replay(options, 1, space, gymnasium.spaces.Discrete(3), x["gamma"], tmp_path)
    for t in range(len(x["obs"])):
        row = {name: x[name][t : t + 1].numpy() for name in ("obs", "action", "reward", "next_obs", "terminated")}
        ended = row["terminated"] | x["truncated"][t : t + 1].numpy()
        replay.add(row["obs"][None], row["action"], row["reward"], row["next_obs"][None], row["terminated"], ended)
    drawn = replay.sample(400, 1, torch.Generator().manual_seed(0))
    theirs = {float(obs): k for k, obs in enumerate(x["drawn_obs"])}
    assert {float(obs) for obs in drawn.obs} == set(theirs)  # every step that is remembered came up
    where = torch.tensor([theirs[float(obs)] for obs in drawn.obs])
    agree(drawn.reward, x["drawn_reward"][where])
    agree(drawn.next_obs, x["drawn_next_obs"][where].unsqueeze(1))
    agree(drawn.discount, x["drawn_discount"][where])
    assert torch.equal(drawn.terminated, x["drawn_terminated"][where])
    assert len(set(x["drawn_discount"].tolist())) == 3  # windows of one, two and three steps


def test_running_normalisation() -> None:
    x = load("normalisation")
    norm = RunningNorm(3)
    for row in x["obs"]:  # [B, 3], as they see it
        norm.update(row)
    agree(norm.mean, x["mean"])
    agree(norm.var, x["var"])
    agree(norm(x["probe"]), x["probe_normalised"])
    assert x["probe_normalised"].max() == 10.0  # the clip is in the numbers

    # Their spread grows with every step; here it is brought up to date once a rollout, so only the end can be compared.
    scale = RewardScale(x["reward"].shape[1], x["gamma"])
    scaled = scale(x["reward"], x["ended"])
    agree(scale.norm.var, [x["return_var"]])
    agree(scale.running, x["running"])
    agree(scaled, x["reward_scaled"])
