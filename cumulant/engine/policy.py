"""Policy: what a run leaves behind. Acts on one observation or a batch, saves itself, loads anywhere.

On disk it is ``NAME.safetensors`` (weights and observation statistics) and ``card.json`` (what they are: environment, spaces,
network, configuration, evaluation). Loading runs no code that the files name.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from cumulant.envs.actions import to_native
from cumulant.envs.spaces import array_space, flatten
from cumulant.errors import ConfigError, RunError
from cumulant.nn.build import build
from cumulant.nn.network import is_own
from cumulant.run.checkpoint import write_atomic
from cumulant.run.manifest import host

FORMAT = 2  # 1: the Gaussian head's numbers meant something else


# What reading a card or weights that hold anything at all can raise
_DAMAGED = (
    OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError, OverflowError, MemoryError, RuntimeError,
    SafetensorError,
)  # fmt: skip


class Policy:
    """A trained policy.

    Args:
        net: A network with ``encode``, ``mode``, ``sample``, ``head`` and ``spec``; with ``step`` where features come between.
        card: What is known about it; ``save`` adds the format, the machine, the spaces and the network.

    A policy with a memory remembers what it was shown: call ``forget`` when an episode starts.
    """

    def __init__(self, net: Any, card: Mapping[str, Any] | None = None) -> None:
        self.net = net
        self.card = dict(card or {})
        self.observation_space: gymnasium.Space = net.observation_space
        self.action_space: gymnasium.Space = net.action_space
        self._remembered: torch.Tensor | None = None

    def forget(self, ended: np.ndarray | None = None) -> None:
        """Start anew where an episode has ended; without a memory this does nothing.

        Args:
            ended: Which rows of the batch, ``[B]`` bool; None for all.
        """
        if self._remembered is not None and ended is not None:
            self._remembered[torch.from_numpy(ended).to(self._remembered.device)] = 0.0
        elif ended is None:
            self._remembered = None

    @torch.no_grad()
    def act(self, obs: Any, deterministic: bool = True, generator: torch.Generator | None = None) -> Any:
        """Choose actions.

        Args:
            obs: One observation, or a batch ``[B, ...]`` of them; for a Dict or Tuple space a dict or tuple of arrays.
            deterministic: Whether to take the most probable action rather than to sample.
            generator: Source of the samples; without one they are unpredictable.

        Returns:
            One action that ``env.step`` takes, or a batch of them: ``[B]`` int64 for Discrete, ``[B, *shape]`` in the dtype of
            the space for any other array, and dicts or tuples of these.

        Raises:
            ConfigError: If the observation has the wrong shape (message names both) or lacks a part.
        """
        array, shape = self._as_array(obs), array_space(self.observation_space).shape
        single = array.shape == shape
        if not single and array.shape[1:] != shape:
            raise ConfigError(f"observation of shape {array.shape}: this policy takes {shape}, or a batch [B, {shape}]")
        action = self.act_batch(array[None] if single else array, deterministic, generator)
        return to_native(self.action_space, action[0] if single else action)

    def _as_array(self, obs: Any) -> np.ndarray:
        """Return an observation, or a batch of them, as an array; one that is flat already stays as it is."""
        if isinstance(obs, np.ndarray):
            return obs
        try:
            return flatten(self.observation_space, obs)
        except ValueError as problem:
            raise ConfigError(f"the observation does not fit {self.observation_space}: {problem}") from problem

    @torch.no_grad()
    def act_batch(
        self, obs: np.ndarray, deterministic: bool = True, generator: torch.Generator | None = None
    ) -> np.ndarray:
        """Choose actions as ``VectorEnv.step`` takes them: ``[B]`` indices from 0, ``[B, A]`` within the box, ``[B, C]``.

        Args:
            obs: Observations as arrays, ``[B, ...]``; those of a Dict or Tuple flat.
            deterministic: As in ``act``.
            generator: As in ``act``.
        """
        net = self.net
        device = next(iter(net.state_dict().values())).device
        encoded = net.encode(torch.from_numpy(np.ascontiguousarray(obs)).to(device))
        if hasattr(net, "step"):
            memory = net.memory
            if memory is not None and (self._remembered is None or len(self._remembered) != len(obs)):
                self._remembered = memory.start(len(obs))
            encoded, self._remembered = net.step(encoded, self._remembered)
        if deterministic:
            action = net.mode(encoded)
        else:
            if generator is None:
                generator = torch.Generator()
                generator.seed()
            action = net.sample(encoded, net.head.noise((len(obs),), generator).to(device))
        return net.head.to_env(action.cpu().numpy())

    def save(self, folder: Path | str, name: str = "policy") -> None:
        """Write ``folder/NAME.safetensors`` and ``folder/card.json``, each atomically.

        Raises:
            StorageError: If the disk refuses.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.net.state_dict().items()}
        write_atomic(folder / f"{name}.safetensors", save_tensors(tensors))
        # a card that came from another machine keeps saying so
        card = {"host": host(), **self.card} | {
            "format": FORMAT,
            "network": self.net.spec,
            "observation_space": describe(self.observation_space),
            "action_space": describe(self.action_space),
        }
        write_atomic(folder / "card.json", (json.dumps(card, indent=1) + "\n").encode())

    @classmethod
    def load(cls, folder: Path | str, name: str = "policy", trust: bool = False) -> Policy:
        """Read a saved policy.

        Args:
            folder: Where it is.
            name: Which one.
            trust: Whether to import a network of the user's own that the card names.

        Raises:
            RunError: If a file is missing or damaged (message names it), if it is of another format, or if it names code and is
                not trusted.
        """
        folder = Path(folder)
        weights = folder / f"{name}.safetensors"
        try:
            card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
            if card["format"] != FORMAT:
                raise RunError(
                    f"the policy in {folder} has format {card['format']!r}, and this version reads {FORMAT}: "
                    "use the version that wrote it, or train it again"
                )
            tensors = load_tensors(weights.read_bytes())
            observation_space, action_space = undescribe(card["observation_space"]), undescribe(card["action_space"])
            _refuse_absurd(card["network"], observation_space, action_space, tensors)
            net = build(card["network"], observation_space, action_space, trust)
            net.load_state_dict(tensors)
        except FileNotFoundError as problem:
            raise RunError(f"there is no policy in {folder}: {Path(problem.filename).name} is missing") from problem
        except _DAMAGED as problem:
            raise RunError(f"the policy in {folder} cannot be read: {type(problem).__name__}: {problem}") from problem
        net.eval()
        if name != "best":
            card.pop("evaluation", None)  # the card is shared, and the evaluation is the best one's
        return cls(net, card)


def code_named_in(folder: Path | str) -> tuple[list[str], Any]:
    """Return the code that loading a saved policy would import, and which machine wrote it; nothing of a damaged card."""
    try:
        card = json.loads((Path(folder) / "card.json").read_text(encoding="utf-8"))
        net = card["network"].get("net", "")
        return [net] if is_own(net) else [], card.get("host")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [], None


def _refuse_absurd(
    network: Mapping[str, Any], observed: gymnasium.Space, action: gymnasium.Space, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Refuse a network that needs more numbers than there are, before memory is taken for it.

    Raises:
        ValueError: If the description is of a larger network than the file.
    """
    if is_own(str(network.get("net", ""))):  # somebody's own code, which is trusted by now
        return
    with torch.device("meta"):  # shapes without memory
        needed = sum(tensor.numel() for tensor in build(network, observed, action).state_dict().values())
    stored = sum(tensor.numel() for tensor in tensors.values())
    if needed > stored:
        raise ValueError(f"a network of {needed} numbers, and only {stored} numbers in the file")


def describe(space: gymnasium.Space) -> dict[str, Any]:
    """Return a space as plain JSON values (infinite bounds as None, bounds of integers as integers).

    Raises:
        ConfigError: If it holds anything but Box, Discrete, MultiBinary, MultiDiscrete, Dict and Tuple.
    """
    if isinstance(space, spaces.Dict):  # pairs, because their order is that of the flat vector
        return {"kind": "Dict", "parts": [[key, describe(inner)] for key, inner in space.spaces.items()]}
    if isinstance(space, spaces.Tuple):
        return {"kind": "Tuple", "parts": [describe(inner) for inner in space.spaces]}
    if isinstance(space, spaces.MultiDiscrete):
        kind, dtype = "MultiDiscrete", str(space.dtype)
        return {"kind": kind, "n": space.nvec.tolist(), "start": space.start.tolist(), "dtype": dtype}
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "MultiBinary", "shape": list(space.shape)}
    if isinstance(space, spaces.Box):
        low, high = (
            [x if math.isfinite(x) else None for x in bound.reshape(-1).tolist()] for bound in (space.low, space.high)
        )
        return {"kind": "Box", "shape": list(space.shape), "dtype": str(space.dtype), "low": low, "high": high}
    raise ConfigError(
        f"a policy over {type(space).__name__} cannot be saved: Box, Discrete, MultiBinary, MultiDiscrete and Dict or Tuple of "
        "them can"
    )


def undescribe(described: Mapping[str, Any]) -> gymnasium.Space:
    """Undo ``describe``."""
    if described["kind"] == "Dict":
        return spaces.Dict(OrderedDict((key, undescribe(inner)) for key, inner in described["parts"]))
    if described["kind"] == "Tuple":
        return spaces.Tuple([undescribe(inner) for inner in described["parts"]])
    if described["kind"] == "MultiDiscrete":
        sizes, start = (np.array(described[name], np.int64) for name in ("n", "start"))
        return spaces.MultiDiscrete(sizes, dtype=np.dtype(described["dtype"]).type, start=start)
    if described["kind"] == "Discrete":
        return spaces.Discrete(int(described["n"]), start=int(described["start"]))
    shape = tuple(int(size) for size in described["shape"])
    if described["kind"] == "MultiBinary":
        return spaces.MultiBinary(shape[0] if len(shape) == 1 else shape)
    # as objects first: an integer above 2**53 must not pass through a float
    low = np.array([-np.inf if x is None else x for x in described["low"]], dtype=object).astype(described["dtype"])
    high = np.array([np.inf if x is None else x for x in described["high"]], dtype=object).astype(described["dtype"])
    return spaces.Box(low.reshape(shape), high.reshape(shape), dtype=np.dtype(described["dtype"]).type)
