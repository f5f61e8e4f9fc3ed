"""Multi-layer perceptrons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU}


def mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    activation: str,
    last_gain: float,
    generator: torch.Generator | None,
) -> nn.Sequential:
    """Make a perceptron with orthogonal weights and zero biases.

    Args:
        inputs: Input size.
        hidden: Sizes of the hidden layers.
        outputs: Output size.
        activation: "tanh", "relu" or "silu", after every hidden layer.
        last_gain: Scale of the last layer's weights: 0.01 makes a nearly uniform policy, 1 a value.
        generator: Source of the initial weights; None leaves them at zero, to be loaded.

    Source:
        Saxe et al. 2014 (orthogonal initialisation); the gains are those of Andrychowicz et al. 2021.
    """
    layers: list[nn.Module] = []
    sizes = [inputs, *hidden, outputs]
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        last = i == len(sizes) - 2
        linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out)  # its own would draw from the global generator
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        if generator is not None:
            nn.init.orthogonal_(linear.weight, last_gain if last else math.sqrt(2.0), generator=generator)
        layers += [linear] if last else [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)
