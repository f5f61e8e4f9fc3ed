"""Our formulas on the numbers that went into TRL's trainers, against what came out of them.

The fixtures are written by benchmarks/peers/make_trl_fixtures.py in TRL's environment (each file says which version), in double
precision; agreement is asked for to 1e-6, relative and absolute, for losses, logged figures and gradients. Where a definition
differs from ours, a comment says so and the test converts; nothing else is adjusted.

Axes: B sequences (chosen before rejected), T tokens, G group.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cumulant.maths.group import group_relative_advantage
from cumulant.maths.kl import kl_estimate
from cumulant.maths.masked import masked_mean, masked_sum
from cumulant.maths.policy import clipped_policy_loss
from cumulant.maths.preference import bradley_terry_loss, dpo_loss, implicit_reward, ipo_loss

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "fixtures" / "trl"


def tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: tensors(inner) for key, inner in value.items()}
    if not isinstance(value, list):
        return value
    tensor = torch.tensor(value, dtype=None if isinstance(value[0], list) else torch.float64)
    return tensor.double() if tensor.is_floating_point() else tensor


def load(name: str) -> dict[str, Any]:
    return tensors(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def agree(ours: Tensor | float, theirs: Tensor | float) -> None:
    mine, other = (torch.as_tensor(x, dtype=torch.float64) for x in (ours, theirs))
    torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)


def test_fixtures_say_what_made_them_and_stay_small() -> None:
    files = sorted(FOLDER.glob("*.json"))
    assert [path.stem for path in files] == ["dpo", "grpo", "reward"]
    assert sum(path.stat().st_size for path in files) < 20_000
    pinned = (ROOT / "benchmarks" / "peers_text.txt").read_text(encoding="utf-8").split()
    for path in files:
        made_with = json.loads(path.read_text(encoding="utf-8"))["made_with"]
        for package in ("trl", "transformers", "torch"):
            assert f"{package}=={made_with[package].partition('+')[0]}" in pinned


@pytest.mark.parametrize("kind", ["sigmoid", "robust", "ipo"])
def test_direct_preference_losses(kind: str) -> None:
    """From the log-probability of each token to the loss and the logged figures, and back to its gradient."""
    x = load("dpo")
    theirs, mask, beta = x["losses"][kind], x["completion"], x["beta"]
    logp = x["logp"].requires_grad_()
    chosen, rejected = masked_sum(logp - x["logp_ref"], mask, dim=1).chunk(2)
    if kind == "ipo":
        chosen, rejected = masked_mean(logp - x["logp_ref"], mask, dim=1).chunk(2)
        loss = ipo_loss(chosen, rejected, beta)
    else:  # their sigmoid loss takes no label smoothing
        eps = x["label_smoothing"] if kind == "robust" else 0.0
        loss = dpo_loss(chosen, rejected, beta, label_smoothing=eps, smoothing="robust")
    agree(loss.mean(), theirs["loss"])
    loss.mean().backward()
    assert logp.grad is not None
    agree(logp.grad, theirs["logp_grad"] * mask)  # theirs adds a zero for every token that does not count

    reward, reward_rejected = implicit_reward(
        masked_sum(logp, mask, dim=1), masked_sum(x["logp_ref"], mask, dim=1), beta
    ).chunk(2)
    agree(reward.mean(), theirs["logged"]["rewards/chosen"])
    agree(reward_rejected.mean(), theirs["logged"]["rewards/rejected"])
    agree((reward - reward_rejected).mean(), theirs["logged"]["rewards/margins"])
    agree((reward > reward_rejected).double().mean(), theirs["logged"]["rewards/accuracies"])


def test_conservative_smoothing_is_a_mixture_of_their_sigmoid_losses() -> None:
    """Their sigmoid loss has no smoothing; by its definition it is their loss of a pair and of the pair turned round."""
    x = load("dpo")
    chosen, rejected = masked_sum(x["logp"] - x["logp_ref"], x["completion"], dim=1).chunk(2)
    eps, beta = x["label_smoothing"], x["beta"]
    plain = x["losses"]["sigmoid"]["loss"]
    # The loss of a pair turned round is larger by the difference of the implicit rewards.
    turned = plain + x["losses"]["sigmoid"]["logged"]["rewards/margins"]
    ours = dpo_loss(chosen, rejected, beta, label_smoothing=eps)
    agree(ours.mean(), (1.0 - eps) * plain + eps * turned)


def test_reward_model_loss_with_margin_and_centring() -> None:
    x = load("reward")
    score = x["score"].requires_grad_()
    chosen, rejected = score.chunk(2)
    loss = bradley_terry_loss(chosen - rejected, margin=x["margin"])
    # They square the sum of a pair's scores.
    total = loss.mean() + x["centring"] * (chosen + rejected).square().mean()
    agree(total, x["loss"])
    total.backward()
    assert score.grad is not None
    agree(score.grad, x["score_grad"])
    agree((chosen > rejected).double().mean(), x["logged"]["accuracy"])
    agree((chosen - rejected).mean(), x["logged"]["margin"])


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo", "dapo"])
def test_group_relative_losses(kind: str) -> None:
    """From rewards to advantages, and from the log-probability of each token to the loss and its gradient."""
    x = load("grpo")
    theirs, mask = x["losses"][kind], x["completion"]
    advantage = group_relative_advantage(x["reward"], standardise=kind != "dr_grpo")
    agree(advantage.flatten(), theirs["advantage"])
    assert (advantage != 0).any()

    logp = x["logp"].requires_grad_()
    ratio = (logp - x["logp_old"]).exp()
    each = clipped_policy_loss(logp, x["logp_old"], advantage.flatten()[:, None].expand_as(logp), x["clip"])
    # They minimise k3 times the ratio, whose gradient flows: the gradient of the reverse divergence, as kl_loss has it.
    each = each + x["beta"] * ratio * kl_estimate(logp, x["logp_ref"], "k3")
    if kind == "grpo":
        loss = masked_mean(each, mask, dim=1).mean()
    elif kind == "dr_grpo":
        loss = masked_mean(each, mask, denominator=len(each) * x["max_completion_length"])
    else:
        loss = masked_mean(each, mask)
    agree(loss, theirs["loss"])
    loss.backward()
    assert logp.grad is not None
    agree(logp.grad, theirs["logp_grad"])
    agree(masked_mean(ratio * kl_estimate(logp, x["logp_ref"], "k3"), mask), theirs["logged"]["kl"])
    above = (ratio > 1 + x["clip"]) & (advantage.flatten()[:, None] > 0)
    assert masked_mean(above.double(), mask) > 0
    agree(masked_mean(above.double(), mask), theirs["logged"]["clip_ratio/high_mean"])
