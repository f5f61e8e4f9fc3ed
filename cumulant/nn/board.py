"""Networks for board games: a residual tower with a policy, a value and, where the game has it, who owns each point.

Axes: N positions, C planes, H rows and w columns of the board, K channels, A actions.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cumulant.errors import ConfigError
from cumulant.nn.conv import conv
from cumulant.nn.mlp import linear
from cumulant.nn.packed import PackedConv, can_pack
from cumulant.run.config import require


@dataclass(frozen=True)
class BoardNetConfig:
    """The network of a board game."""

    channels: int = 64
    """Channels of the residual tower."""
    blocks: int = 4
    """Residual blocks, of two convolutions each."""
    pooling: bool = False
    """Let every other block see the whole board at once (global pooling); worth it on large boards."""
    ownership: bool = True
    """Also learn who owns each point at the end, where the game knows that."""

    def __post_init__(self) -> None:
        require(self, "channels", self.channels >= 4, "at least 4")
        require(self, "blocks", self.blocks >= 1, "at least 1")


class Outputs(NamedTuple):
    """What the network says.

    Args:
        logits: Of the actions, legal or not, ``[N, A]``.
        result: Logit of a win rather than a loss for the player to move, ``[N]``; ``tanh(result / 2)`` is the value.
        ownership: Logits that each point is in the end the player's, ``[N, H * w]``; None of a network without.
    """

    logits: Tensor
    result: Tensor
    ownership: Tensor | None

    @property
    def value(self) -> Tensor:
        """Return the result that is expected, in [-1, 1]."""
        return torch.tanh(self.result / 2.0)


class _Layer(nn.Module):
    """A convolution, its output normalised over the batch, perhaps added to something, and rectified."""

    def __init__(self, inputs: int, outputs: int, size: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs, size, 1, size // 2, generator)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.packed: PackedConv | None = None

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        if self.packed is not None:
            return self.packed(x, beside)  # type: ignore[no-any-return]
        y = self.norm(self.conv(x))
        return F.relu(y if beside is None else beside + y)

    def fuse(self) -> None:
        """Make one convolution of convolution and normalisation, as inference may."""
        assert isinstance(self.norm, nn.BatchNorm2d)
        self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()

    def pack(self, rows: int, columns: int) -> None:
        """Make one operation of all, of a layer that is fused already."""
        if can_pack(self.conv.weight):
            self.packed = PackedConv(self.conv, rows, columns)


class _Block(nn.Module):
    """Two layers beside a shortcut; with pooling, means and highest values over the board shift what is between them."""

    def __init__(self, channels: int, pooling: bool, generator: torch.Generator | None) -> None:
        super().__init__()
        self.first = _Layer(channels, channels, 3, generator)
        self.second = _Layer(channels, channels, 3, generator)
        self.pool = linear(2 * channels, channels, 0.1, generator) if pooling else None

    def forward(self, x: Tensor) -> Tensor:
        inner = self.first(x)
        if self.pool is not None:
            inner = inner + self.pool(_pooled(inner))[:, :, None, None]
        return self.second(inner, beside=x)  # type: ignore[no-any-return]


def _pooled(x: Tensor) -> Tensor:
    return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


class BoardNet(nn.Module):
    """A residual tower with heads.

    Args:
        observation_space: Planes, a Box of shape ``[C, H, w]``.
        action_space: Discrete, A actions.
        channels: K.
        blocks: Of the tower.
        pooling: See ``BoardNetConfig``.
        ownership: Whether there is a head for it.
        generator: Source of the initial weights; None where they are loaded anyway.

    Raises:
        ConfigError: If the observations are no planes.

    Source:
        Silver et al. 2018 (tower and heads); Wu 2019 (global pooling, ownership). Differs from source: the result is a logit.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Discrete,
        channels: int = 64,
        blocks: int = 4,
        pooling: bool = False,
        ownership: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if len(observation_space.shape) != 3:
            raise ConfigError(f"a board network reads planes [C, rows, columns], not {observation_space}")
        self.observation_space, self.action_space = observation_space, action_space
        self.spec = {
            "kind": "board", "channels": channels, "blocks": blocks, "pooling": pooling, "ownership": ownership,
        }  # fmt: skip
        planes, rows, columns = observation_space.shape
        points, narrow = rows * columns, max(2, channels // 8)
        self.stem = _Layer(planes, channels, 3, generator)
        self.tower = nn.Sequential(*(_Block(channels, pooling and i % 2 == 1, generator) for i in range(blocks)))
        self.policy_layer = _Layer(channels, narrow, 1, generator)
        self.policy = linear(narrow * points, int(action_space.n), 0.1, generator)
        self.value_layer = _Layer(channels, narrow, 1, generator)
        self.value_hidden = linear(narrow * points, channels, 2.0**0.5, generator)
        self.value = linear(channels, 1, 0.1, generator)
        self.owner = conv(channels, 1, 1, 1, 0, generator) if ownership else None

    def forward(self, planes: Tensor) -> Outputs:
        """Return what is said of positions, ``[N, C, H, w]``."""
        x = self.tower(self.stem(planes))
        logits = self.policy(self.policy_layer(x).flatten(1))
        hidden = F.relu(self.value_hidden(self.value_layer(x).flatten(1)))
        result = self.value(hidden).squeeze(-1)
        return Outputs(logits, result, None if self.owner is None else self.owner(x).flatten(1))

    # -- as ``engine.policy.Policy`` uses it: the policy alone, without search ---------------------------------------------

    @property
    def head(self) -> BoardNet:
        """Return itself: choices need no head of their own."""
        return self

    def encode(self, obs: Tensor) -> Tensor:
        """Return observations as the tower reads them."""
        return obs.float()

    def mode(self, planes: Tensor) -> Tensor:
        """Return the likeliest action, legal or not, ``[N]``."""
        return self(planes).logits.argmax(-1)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return Gumbel noise of the actions, ``[*shape, A]``."""
        return -torch.empty(*shape, int(self.action_space.n)).exponential_(generator=generator).log()

    def sample(self, planes: Tensor, noise: Tensor) -> Tensor:
        """Return actions drawn by given noise, ``[N]``."""
        return (self(planes).logits + noise).argmax(-1)

    def to_env(self, action: Any) -> Any:
        """Return actions as they are."""
        return action


def for_inference(net: BoardNet, precision: str = "auto") -> BoardNet:
    """Return a copy that only evaluates: each layer one operation, channels last, perhaps bfloat16.

    Args:
        net: The network.
        precision: float32, bfloat16, or auto for what this processor is faster with.
    """
    made = copy.deepcopy(net).eval().requires_grad_(False)
    for module in made.modules():
        if isinstance(module, _Layer):
            module.fuse()
    made = made.to(torch.bfloat16 if is_coarse(precision, made.value.weight.device) else torch.float32)
    made = made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in made.modules():
        if isinstance(module, _Layer):
            module.pack(*net.observation_space.shape[1:])
    return made


def is_coarse(precision: str, device: torch.device) -> bool:
    """Return whether products are made in bfloat16.

    Args:
        precision: float32, bfloat16, or auto for what is faster there.
        device: Where.
    """
    return precision == "bfloat16" or (precision == "auto" and (device.type == "cuda" or _has_bfloat16()))


@cache
def _has_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16 numbers in hardware."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
