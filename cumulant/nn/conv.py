"""Convolutional networks: images to vectors. Axes: N images, C channels."""

from __future__ import annotations

import math

import torch
from gymnasium import spaces
from torch import nn

from cumulant.errors import ConfigError
from cumulant.nn.mlp import linear

_NATURE_SMALLEST = 36  # pixels; below, its three convolutions leave nothing


class Pixels(nn.Module):
    """Flat images as ``[N, C, height, width]`` floats, divided by the highest that the space allows where that is above 1.

    So bytes of pictures become shares of 255, whatever their type; boards of cells, and images without bounds, stay as they are.

    Channels are the smaller of the first and the last axis. Images with channels last are not copied: the result is a view
    whose memory is in the order that convolutions are fastest with.
    """

    def __init__(self, space: spaces.Box) -> None:
        super().__init__()
        self.shape = tuple(space.shape)
        self.last = self.shape[2] <= self.shape[0]
        self.channels = self.shape[2] if self.last else self.shape[0]
        self.height, self.width = self.shape[:2] if self.last else self.shape[1:]
        highest = max(float(space.high.max(initial=0)), 1.0)  # 255 for pictures, 1 for boards of cells
        self.scale = 1.0 / highest if highest < 1e6 else 1.0  # beyond that, a bound only says that there is none

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[N, D]`` as ``[N, C, height, width]`` of the type that convolutions are computed in."""
        device = x.device.type
        # bfloat16 has every byte exactly, and half as much to move
        coarse = torch.is_autocast_enabled(device)
        x = x.to(torch.get_autocast_dtype(device) if coarse else torch.float32).reshape(-1, *self.shape)
        x = x.permute(0, 3, 1, 2) if self.last else x
        return x if self.scale == 1.0 else x * self.scale


def conv(
    inputs: int, outputs: int, size: int, stride: int, padding: int, generator: torch.Generator | None
) -> nn.Conv2d:
    """Make a convolution with orthogonal weights and zero biases; without a generator all is zero, to be loaded."""
    layer = nn.Conv2d(inputs, outputs, size, stride, padding, device="meta")  # draws nothing from the global generator
    layer.weight, layer.bias = nn.Parameter(torch.zeros(layer.weight.shape)), nn.Parameter(torch.zeros(outputs))
    if generator is not None:
        nn.init.orthogonal_(layer.weight, math.sqrt(2.0), generator=generator)
    return layer


def cnn(space: spaces.Box, generator: torch.Generator | None) -> tuple[nn.Sequential, int]:
    """Make the usual small network for images of a game and return it with the length of its vectors.

    From 36 pixels on three convolutions and a layer of 512 units; below, as for boards of 10 x 10 cells, one convolution and
    128 units.

    Source:
        Mnih et al. 2015 (three convolutions); Young & Tian 2019 (one).
    """
    pixels = Pixels(space)
    smallest = min(pixels.height, pixels.width)
    if smallest >= _NATURE_SMALLEST:
        layers = [(32, 8, 4), (64, 4, 2), (64, 3, 1)]
    elif smallest >= 3:
        layers = [(16, 3, 1)]
    else:
        raise ConfigError(f"images of {pixels.height} x {pixels.width} are too small for convolutions: use net = mlp")
    modules: list[nn.Module] = [pixels]
    channels, height, width = pixels.channels, pixels.height, pixels.width
    for outputs, size, stride in layers:
        modules += [conv(channels, outputs, size, stride, 0, generator), nn.ReLU()]
        channels, height, width = outputs, (height - size) // stride + 1, (width - size) // stride + 1
    units = 512 if len(layers) == 3 else 128
    modules += [nn.Flatten(), linear(channels * height * width, units, math.sqrt(2.0), generator), nn.ReLU()]
    return nn.Sequential(*modules), units


class _Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.first = conv(channels, channels, 3, 1, 1, generator)
        self.second = conv(channels, channels, 3, 1, 1, generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x.relu()).relu())


def impala(space: spaces.Box, generator: torch.Generator | None) -> tuple[nn.Sequential, int]:
    """Make the residual network for images and return it with the length of its vectors: slower than ``cnn``, often better.

    Source:
        Espeholt et al. 2018, figure 3 (right), without its recurrent part.
    """
    pixels = Pixels(space)
    modules: list[nn.Module] = [pixels]
    channels, height, width = pixels.channels, pixels.height, pixels.width
    for outputs in (16, 32, 32):
        modules += [conv(channels, outputs, 3, 1, 1, generator), nn.MaxPool2d(3, 2, 1)]
        modules += [_Residual(outputs, generator), _Residual(outputs, generator)]
        channels, height, width = outputs, (height + 1) // 2, (width + 1) // 2
    flat = channels * height * width
    modules += [nn.ReLU(), nn.Flatten(), linear(flat, 256, math.sqrt(2.0), generator), nn.ReLU()]
    return nn.Sequential(*modules), 256
