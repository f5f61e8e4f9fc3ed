"""Multi-layer perceptrons: plain, and residual with layer normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import nn

from cumulant.errors import ConfigError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": partial(nn.ReLU, inplace=True),  # a linear layer does not need its own output again
    "silu": nn.SiLU,
}
_EXPANSION = 4  # of the layer inside a residual block


def linear(inputs: int, outputs: int, gain: float, generator: torch.Generator | None) -> nn.Linear:
    """Make a linear layer with orthogonal weights and zero biases; without a generator all is zero, to be loaded."""
    layer = nn.Linear(inputs, outputs, device="meta")  # draws nothing from the global generator
    layer.weight, layer.bias = nn.Parameter(torch.zeros(outputs, inputs)), nn.Parameter(torch.zeros(outputs))
    if generator is not None:
        nn.init.orthogonal_(layer.weight, gain, generator=generator)
    return layer


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
    for fan_in, fan_out in pairwise([inputs, *hidden]):
        layers += [linear(fan_in, fan_out, math.sqrt(2.0), generator), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, linear([inputs, *hidden][-1], outputs, last_gain, generator))


class _Block(nn.Module):
    """``x + expand(activate(contract(normalise(x))))``."""

    def __init__(self, width: int, activation: str, generator: torch.Generator | None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = mlp(width, [width * _EXPANSION], width, activation, math.sqrt(2.0), generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(self.norm(x))


def residual_mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    activation: str,
    last_gain: float,
    generator: torch.Generator | None,
) -> nn.Sequential:
    """Make a residual perceptron: a linear layer, a block for each hidden size, layer normalisation, a linear layer.

    It stays trainable when it is wide and updated often, with normalised observations; arguments as of ``mlp``.

    Raises:
        ConfigError: If ``hidden`` is empty or its sizes differ: all blocks have one width.

    Source:
        Lee et al. 2024, "SimBa: Simplicity Bias for Scaling Up Parameters in Deep Reinforcement Learning", section 4.
    """
    if len(set(hidden)) != 1:
        raise ConfigError(f"hidden = {tuple(hidden)}: blocks of a residual network have one width, such as (256, 256)")
    width = hidden[0]
    blocks = [_Block(width, activation, generator) for _ in hidden]
    first, last = linear(inputs, width, 1.0, generator), linear(width, outputs, last_gain, generator)
    return nn.Sequential(first, *blocks, nn.LayerNorm(width), last)
