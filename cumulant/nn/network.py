"""What networks are made of: a trunk that turns encoded observations into vectors, and towers on top of it.

For vectors the trunk does nothing, and every output (policy, value) has a tower of its own, a perceptron. For images the trunk is
convolutional and shared by the towers. A user's own module takes the trunk's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import torch
from gymnasium import spaces
from torch import nn

from cumulant.errors import ConfigError, CumulantError, did_you_mean
from cumulant.loading import load_attribute
from cumulant.nn.conv import Pixels, cnn, impala
from cumulant.nn.encoder import encoded_size, is_image, mask_size, parts
from cumulant.nn.mlp import mlp, residual_mlp
from cumulant.run.config import require

NETS = ("auto", "mlp", "cnn", "impala", "residual")


@dataclass(frozen=True)
class NetworkConfig:
    """The network."""

    net: str = "auto"
    """What reads observations: auto (convolutions for images), mlp, cnn, impala, residual, or path:Class of your own."""
    hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of each output (policy, value); blocks of one width for residual."""
    activation: Literal["tanh", "relu", "silu"] = "tanh"
    """Activation after each hidden layer."""
    normalize_obs: bool = False
    """Normalise observations by running statistics, saved with the policy."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Products of convolutions, and on the CPU of perceptrons in SAC, TD3 and TQC: bfloat16 is coarser, and faster where the
    processor has it; weights stay float32."""

    def __post_init__(self) -> None:
        check_net(self)
        require(self, "hidden", all(size >= 1 for size in self.hidden), "sizes of at least 1")


def check_net(config: Any) -> None:
    """Refuse a config whose field ``net`` is no network."""
    require(config, "net", config.net in NETS or is_own(config.net), f"path:Class; {did_you_mean(config.net, NETS)}")


def is_own(net: str) -> bool:
    """Return whether a network is a class of the user's."""
    return ":" in net


class Trunk(nn.Module):
    """Encoded observations without their mask -> vectors, ``[..., D] -> [..., size]``.

    Args:
        observation_space: Of one environment.
        net: See ``NetworkConfig``.
        generator: Source of the initial weights; None where they are loaded anyway.
        precision: See ``NetworkConfig``; without images it changes nothing.

    Attributes:
        size: Length of the vectors.
        reads: Whether it does anything; otherwise the vectors are the encoded observations.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        net: str,
        generator: torch.Generator | None,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        kept = parts(observation_space)
        self.parts = kept[:-1] if mask_size(observation_space) else kept
        readers: list[nn.Module] = []
        self.size = 0
        images = any(is_image(part.space) for part in self.parts)
        if net in ("cnn", "impala") and not images:
            raise ConfigError(
                f"net = {net} reads images [height, width, channels], and observations are {observation_space}"
            )
        for part in self.parts:
            reader: nn.Module = nn.Identity()
            size = part.size
            if is_image(part.space):
                assert isinstance(part.space, spaces.Box)
                if net in ("auto", "cnn"):
                    reader, size = cnn(part.space, generator)
                elif net == "impala":
                    reader, size = impala(part.space, generator)
                else:
                    reader = nn.Sequential(Pixels(part.space), nn.Flatten())
            readers.append(reader)
            self.size += size
        self.plain, self.coarse = not images, precision == "bfloat16"
        self.reads = images
        self.readers = nn.ModuleList(readers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the vectors, ``[..., size]``."""
        if self.plain:
            return x
        rows = x.reshape(-1, x.shape[-1])
        columns = rows.split([part.size for part in self.parts], -1) if len(self.parts) > 1 else [rows]
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.coarse):
            read = [
                # in a Dict the bytes of an image have become floats
                reader(column.byte() if _is_bytes(part.space) else column).float()
                for reader, column, part in zip(self.readers, columns, self.parts)
            ]
        out = torch.cat(read, -1) if len(read) > 1 else read[0]
        return out.reshape(*x.shape[:-1], out.shape[-1])


class OwnTrunk(nn.Module):
    """A user's module in the place of the trunk.

    It is made with the observation space (without the mask of allowed actions) and maps observations to vectors ``[N, K]``. It
    gets them as the environment gave them: ``[N, *shape]``, one-hot for Discrete, and a dict or tuple of such for Dict and Tuple.

    Args:
        observation_space: Of one environment.
        path: Of the class.
        generator: Source of the seed of the initial weights; None where they are loaded anyway.

    Raises:
        ConfigError: If it is no module, cannot be made, or does not return ``[N, K]``.
    """

    def __init__(self, observation_space: gymnasium.Space, path: str, generator: torch.Generator | None) -> None:
        super().__init__()
        space: gymnasium.Space = observation_space
        if mask_size(space):
            assert isinstance(space, spaces.Dict)
            rest = {name: inner for name, inner in space.spaces.items() if name != "action_mask"}
            space = rest["observation"] if len(rest) == 1 else spaces.Dict(rest)
        self.space, self.reads = space, True
        made = load_attribute(path)
        with torch.random.fork_rng(devices=[]):  # its layers draw from the global generator
            torch.manual_seed(0 if generator is None else int(torch.randint(2**62, (), generator=generator)))
            try:
                self.module = made(space)
                if not isinstance(self.module, nn.Module):
                    raise TypeError(f"it is a {type(self.module).__name__}, not a torch.nn.Module")
                with torch.no_grad():
                    tried = self.module(_as_given(space, torch.zeros(2, encoded_size(space))))
                if tried.ndim != 2 or tried.shape[0] != 2:
                    raise ValueError(f"two observations gave {tuple(tried.shape)}, not (2, K)")
            except CumulantError:
                raise
            except Exception as problem:
                raise ConfigError(f"net = {path}: {type(problem).__name__}: {problem}") from problem
        self.size = int(tried.shape[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the vectors, ``[..., size]``."""
        rows = x.reshape(-1, x.shape[-1])
        out = self.module(_as_given(self.space, rows))
        return out.reshape(*x.shape[:-1], out.shape[-1])


def _is_bytes(space: gymnasium.Space) -> bool:
    return is_image(space) and space.dtype == "uint8"


def _as_given(space: gymnasium.Space, rows: torch.Tensor) -> Any:
    """Undo the flattening of encoded observations ``[N, D]``, but for what is one-hot."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inner = list(space.spaces.items()) if isinstance(space, spaces.Dict) else list(enumerate(space.spaces))
        columns = rows.split([encoded_size(each) for _, each in inner], -1)
        given = {name: _as_given(each, column) for (name, each), column in zip(inner, columns)}
        return given if isinstance(space, spaces.Dict) else tuple(given.values())
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        rows = rows.byte() if _is_bytes(space) else rows
        return rows.reshape(-1, *space.shape)
    return rows


def trunk(
    observation_space: gymnasium.Space, net: str, generator: torch.Generator | None, precision: str = "float32"
) -> Trunk | OwnTrunk:
    """Make what reads encoded observations; a module of the user's sets its own precision.

    Raises:
        ConfigError: If the network cannot read such observations.
    """
    if is_own(net):
        return OwnTrunk(observation_space, net, generator)
    return Trunk(observation_space, net, generator, precision)


def tower(
    net: str,
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    activation: str,
    last_gain: float,
    generator: torch.Generator | None,
) -> nn.Sequential:
    """Make the layers between vectors and one output: residual for ``net="residual"``, plain otherwise; see ``mlp``."""
    make = residual_mlp if net == "residual" else mlp
    return make(inputs, hidden, outputs, activation, last_gain, generator)
