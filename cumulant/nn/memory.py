"""Recurrent cells that forget where an episode ends. Axes: B batch, T time, D inputs, H outputs, S state."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cumulant.nn.mlp import linear

KINDS = ("none", "gru", "lstm")


class Memory(nn.Module):
    """A GRU or an LSTM over observations, one step or a whole sequence at a time.

    The state is one vector per environment, zero at the start of an episode, so that a rollout stores it as any other array.
    An LSTM's state is its output and its cell, side by side.

    Args:
        kind: "gru" or "lstm".
        inputs: D.
        size: H.
        generator: Source of the initial weights; None where they are loaded anyway.

    Attributes:
        state_size: S: H for a GRU, 2 H for an LSTM.

    Source:
        Cho et al. 2014 (GRU, in the variant of cuDNN: the reset gate acts after the product); Hochreiter & Schmidhuber 1997 and
        Gers et al. 2000 (LSTM with a forget gate, whose bias starts at 1).
    """

    def __init__(self, kind: str, inputs: int, size: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.kind, self.size = kind, size
        gates = 3 if kind == "gru" else 4
        self.state_size = size if kind == "gru" else 2 * size
        self.input = linear(inputs, gates * size, 1.0, generator)
        self.recurrent = linear(size, gates * size, 1.0, generator)
        if kind == "lstm":
            with torch.no_grad():
                self.input.bias[size : 2 * size] = 1.0

    def start(self, num: int) -> torch.Tensor:
        """Return the state before the first step of episodes, ``[num, S]``."""
        return self.input.weight.new_zeros(num, self.state_size)

    def step(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one step.

        Args:
            x: ``[B, D]``.
            state: ``[B, S]``.

        Returns:
            The output ``[B, H]`` and the next state ``[B, S]``.
        """
        return self._step(self.input(x), state)

    def _step(self, gates: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one step from what the input says of the gates."""
        if self.kind == "gru":
            (x_reset, x_keep, x_new), (h_reset, h_keep, h_new) = (
                gates.chunk(3, -1),
                self.recurrent(state).chunk(3, -1),
            )
            new = torch.tanh(x_new + torch.sigmoid(x_reset + h_reset) * h_new)
            state = torch.lerp(new, state, torch.sigmoid(x_keep + h_keep))
            return state, state
        output, cell = state.chunk(2, -1)
        write, keep, read, new = (gates + self.recurrent(output)).chunk(4, -1)
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(write) * torch.tanh(new)
        output = torch.sigmoid(read) * torch.tanh(cell)
        return output, torch.cat([output, cell], -1)

    def forward(self, x: torch.Tensor, state: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
        """Run over sequences.

        Args:
            x: ``[B, T, D]``.
            state: Before the first step, ``[B, S]``.
            ended: Whether the episode ended with each step, ``[B, T]`` bool: the next step starts from nothing.

        Returns:
            Outputs, ``[B, T, H]``.
        """
        gates, goes_on = self.input(x).unbind(1), (~ended).unsqueeze(-1).to(x.dtype).unbind(1)
        outputs = []
        for now, stays in zip(gates, goes_on):
            output, state = self._step(now, state)
            outputs.append(output)
            state = state * stays
        return torch.stack(outputs, 1)


class Remembered:
    """The state of a recurrent network in every environment, from one rollout to the next.

    Args:
        memory: Of the network, or None for one without.
        num_envs: B.

    Attributes:
        state: ``[B, S]``; None without a memory.
    """

    def __init__(self, memory: Memory | None, num_envs: int) -> None:
        self.state = None if memory is None else memory.start(num_envs)

    def state_dict(self) -> dict[str, Any]:
        """The state."""
        return {"state": self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        if self.state is not None:
            self.state = state["state"].to(self.state.device)
