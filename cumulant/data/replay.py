"""Replay: remember the newest transitions and draw from them, uniformly or by priority, as n-step transitions.

Steps are stored as they happened; n steps are put together when a transition is drawn. Its window stops early where the
episode ends, and at the newest step; it is then shorter but as valid: what followed its last step bootstraps, which is the
final observation at a truncation, never the first one of the next episode.

An observation is stored once: what followed a step is what the next one starts from (see ``data.following``).

Axes: L rows of the ring, B parallel environments, one row each per step; N = L * B slots; M drawn transitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from cumulant.data.following import Following
from cumulant.data.her import GoalReward, Hindsight
from cumulant.data.shards import Shards
from cumulant.data.sum_tree import SumTree
from cumulant.envs.spaces import array_space
from cumulant.errors import ConfigError
from cumulant.run import checkpoint
from cumulant.run.config import require

_SMALLEST_ERROR = 1e-6  # so that what was learned by heart may still be drawn


@dataclass(frozen=True)
class ReplayConfig:
    """Options of a replay buffer."""

    capacity: int = 100_000
    """Steps that are remembered, all environments together."""
    n_step: int = 1
    """Rewards that are summed before bootstrapping."""
    prioritised: bool = False
    """Draw transitions by how wrong their value was when last seen, not uniformly."""
    priority_power: float = 0.6
    """How strongly: priorities are errors to this power (alpha); 0 is uniform."""
    weight_power: float = 0.4
    """Correction of that bias at the start (beta): losses are weighted by probability ** -power."""
    weight_power_end: float = 1.0
    """Correction at the end; 1 is the whole bias. Linear in between."""
    hindsight: float = 0.0
    """Share of drawn transitions whose goal becomes one that was reached later (HER); 0.8 is usual for goals."""

    def __post_init__(self) -> None:
        for name in ("capacity", "n_step"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("priority_power", "weight_power", "weight_power_end", "hindsight"):
            require(self, name, 0.0 <= getattr(self, name) <= 1.0, "in [0, 1]")


@dataclass(frozen=True)
class Transitions:
    """Drawn transitions.

    Args:
        obs: Observation before the first step, ``[M, ...]``, as the environment gave it.
        action: Action taken there, ``[M]`` int64 or ``[M, A]`` float32.
        reward: Discounted sum of the rewards of the window, ``[M]``.
        next_obs: What followed its last step, ``[M, ...]``; the final observation where the episode ended with it.
        terminated: Whether nothing follows, ``[M]`` bool.
        discount: What the value of ``next_obs`` counts: gamma to the length of the window, ``[M]``.
        weight: Correction of prioritised drawing, ``[M]`` in (0, 1], or None if drawn uniformly.
        slot: Where they are in the ring, ``[M]`` int64, for ``Replay.prioritise``.
        sums: Further numbers that were remembered (``Replay(sums=...)``), summed like the reward, ``[M]`` each.
    """

    obs: torch.Tensor
    action: torch.Tensor
    reward: torch.Tensor
    next_obs: torch.Tensor
    terminated: torch.Tensor
    discount: torch.Tensor
    weight: torch.Tensor | None
    slot: np.ndarray
    sums: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def split(self, size: int) -> Iterator[Transitions]:
        """Yield parts of ``size`` transitions, such as the minibatches that were drawn together."""
        for start in range(0, len(self.slot), size):
            rows = slice(start, start + size)
            yield Transitions(
                self.obs[rows],
                self.action[rows],
                self.reward[rows],
                self.next_obs[rows],
                self.terminated[rows],
                self.discount[rows],
                None if self.weight is None else self.weight[rows],
                self.slot[rows],
                {name: numbers[rows] for name, numbers in self.sums.items()},
            )


class Replay:
    """A ring of the newest steps of B environments, in preallocated arrays.

    Its state survives a kill without being rewritten: a checkpoint appends the steps since the one before as a shard in
    ``folder`` and names all shards that hold the ring. Only the priorities, which change everywhere, are saved whole.

    Args:
        config: Options; the capacity is rounded down to whole rows.
        num_envs: B.
        observation_space: Of one environment.
        action_space: Of one environment.
        gamma: Discount per step, for n-step rewards.
        folder: Of the shards; nothing else may be in it.
        sums: Names of further numbers per step that are summed over a window like the reward, such as "cost".
        goal_reward: What achieved goals are worth under desired ones, for hindsight: ``goal_reward`` of the environments.

    Raises:
        ConfigError: If the capacity holds less than a row more than ``n_step`` rows, or hindsight is asked for where there are
            no goals or more than one step.

    Source:
        Lin 1992; Mnih et al. 2015. Prioritised: Schaul et al. 2016, proportional variant. Differs from source: weights are
        divided by the largest one drawn, not by the largest possible one.
    """

    def __init__(
        self,
        config: ReplayConfig,
        num_envs: int,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        gamma: float,
        folder: Path,
        sums: Sequence[str] = (),
        goal_reward: GoalReward | None = None,
    ) -> None:
        self.config, self.num_envs, self.gamma, self.sums = config, num_envs, gamma, tuple(sums)
        self.num_rows = config.capacity // num_envs
        if self.num_rows <= config.n_step:
            raise ConfigError(
                f"capacity = {config.capacity}: {num_envs} environments and n_step = {config.n_step} need at least "
                f"{num_envs * (config.n_step + 1)}"
            )
        shown = array_space(observation_space)
        shape, dtype = shown.shape or (), shown.dtype
        discrete = isinstance(action_space, spaces.Discrete)
        action_shape, action_dtype = ((), np.int64) if discrete else ((_size(action_space),), np.float32)
        self._rows: dict[str, np.ndarray] = {
            "obs": np.zeros((self.num_rows, num_envs, *shape), dtype),
            "action": np.zeros((self.num_rows, num_envs, *action_shape), action_dtype),
            "reward": np.zeros((self.num_rows, num_envs), np.float32),
            "terminated": np.zeros((self.num_rows, num_envs), bool),
            "ended": np.zeros((self.num_rows, num_envs), bool),
            **{name: np.zeros((self.num_rows, num_envs), np.float32) for name in self.sums},
        }
        # The same memory by slot; the step that followed the one in a slot is B slots further on.
        self._slots = {name: rows.reshape(-1, *rows.shape[2:]) for name, rows in self._rows.items()}
        self._following = Following(self._rows["obs"])
        self.added = 0  # rows ever
        self._hindsight = None
        if config.hindsight > 0.0:
            if config.n_step > 1:
                raise ConfigError(
                    f"hindsight = {config.hindsight}: it knows rewards of one step, and n_step = {config.n_step}"
                )
            self._hindsight = Hindsight(config.hindsight, observation_space, goal_reward, self.num_rows, num_envs)
        self._tree = SumTree(self.num_rows * num_envs) if config.prioritised else None
        self._largest = 1.0  # priority so far: what new steps get, so that each is drawn soon
        self._shards = Shards(folder)
        self._saved: list[int] = []  # ``added`` at the last checkpoints, oldest first

    def __len__(self) -> int:
        """Steps in the ring."""
        return min(self.added, self.num_rows) * self.num_envs

    def add(
        self,
        obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        next_obs: np.ndarray,
        terminated: np.ndarray,
        ended: np.ndarray,
        **sums: np.ndarray,
    ) -> None:
        """Remember one step of every environment, ``[B, ...]`` each; the oldest one is forgotten when the ring is full.

        Args:
            obs: Observations before the step (a copy: environments reuse theirs).
            action: Actions taken.
            reward: Rewards.
            next_obs: What followed: the final observation where an episode ended.
            terminated: Whether the episode reached an end of its own.
            ended: Whether it stopped at all: terminated or truncated.
            **sums: The further numbers, under the names that the buffer was made with.
        """
        row = self.added % self.num_rows
        rows = self._rows
        self._following.add(row, obs, next_obs)
        rows["obs"][row], rows["action"][row], rows["reward"][row] = obs, action, reward
        rows["terminated"][row], rows["ended"][row] = terminated, ended
        for name in self.sums:
            rows[name][row] = sums[name]
        self.added += 1
        if self._hindsight is not None:
            self._hindsight.add(ended)
        if self._tree is not None:
            slots = np.arange(row * self.num_envs, (row + 1) * self.num_envs)
            self._tree.set(slots, np.full(self.num_envs, self._largest))

    def sample(
        self,
        batch_size: int,
        num_batches: int,
        generator: torch.Generator,
        weight_power: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> Transitions:
        """Draw minibatches, with replacement.

        Args:
            batch_size: Transitions of each.
            num_batches: How many; drawing many at once is cheaper.
            generator: Source of the choice, on the CPU.
            weight_power: Of the correction if drawn by priority, in [0, 1].
            device: Where the tensors are wanted.

        Returns:
            M = ``batch_size * num_batches`` transitions; every ``batch_size`` of them are a sample of the whole ring.

        Raises:
            ConfigError: If the ring is empty.
        """
        if self.added == 0:
            raise ConfigError("there is nothing to draw from: add steps to the replay buffer first")
        weight = None
        if self._tree is None:
            slot = torch.randint(len(self), (num_batches * batch_size,), generator=generator).numpy()
        else:
            # One point in each of ``batch_size`` equal parts of the priorities: less noise than independent points.
            point = torch.rand(num_batches, batch_size, generator=generator, dtype=torch.float64).numpy()
            total = self._tree.total
            slot = self._tree.find(((point + np.arange(batch_size)) * (total / batch_size)).reshape(-1))
            weight = (self._tree.priorities[slot] * (len(self) / total)) ** -weight_power
            weight = (weight / weight.max()).astype(np.float32)
        slots = self._slots
        last, discount, (reward, *sums) = self._windows(slot)
        arrays = {
            "obs": slots["obs"].take(slot, 0),
            "action": slots["action"].take(slot, 0),
            "reward": reward,
            "next_obs": self._following.take(last),
            "terminated": slots["terminated"].take(last),
            "discount": discount,
        }
        if self._hindsight is not None:
            chance = torch.rand(2, len(slot), generator=generator).numpy()
            changed = (arrays["obs"], arrays["next_obs"], reward)
            self._hindsight.relabel(slot, chance, *changed, self._following.take)
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return Transitions(
            **tensors,
            weight=None if weight is None else torch.from_numpy(weight).to(device),
            slot=slot,
            sums={name: torch.from_numpy(array).to(device) for name, array in zip(self.sums, sums)},
        )

    def _windows(self, slot: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Return the last slot of each window, gamma to its length, and its discounted rewards and sums, ``[M]`` each."""
        columns, ended = [self._slots[name] for name in ("reward", *self.sums)], self._slots["ended"]
        totals, discount = [column.take(slot) for column in columns], np.full(len(slot), self.gamma, np.float32)
        if self.config.n_step == 1:
            return slot, discount, totals
        newest, num_slots = (self.added - 1) % self.num_rows, self.num_rows * self.num_envs
        following = (newest - slot // self.num_envs) % self.num_rows  # steps after this one, of its environment
        last, goes_on = slot, ~ended.take(slot)
        for k in range(1, self.config.n_step):
            goes_on = goes_on & (following >= k)
            last = np.where(goes_on, (last + self.num_envs) % num_slots, last)
            for total, column in zip(totals, columns):
                total += np.where(goes_on, discount * column.take(last), np.float32(0.0))
            discount = np.where(goes_on, discount * np.float32(self.gamma), discount)
            goes_on &= ~ended.take(last)
        return last, discount, totals

    def prioritise(self, slot: np.ndarray, error: np.ndarray) -> None:
        """Set how wrong the values of drawn transitions were; does nothing if drawn uniformly.

        Args:
            slot: ``Transitions.slot``.
            error: Absolute errors, or losses, ``[M]``.
        """
        if self._tree is None:
            return
        priority = (error.astype(np.float64) + _SMALLEST_ERROR) ** self.config.priority_power
        self._tree.set(slot, priority)
        self._largest = max(self._largest, float(priority.max()))

    def state_dict(self) -> dict[str, Any]:
        """Append what is new to the shards and return what finds everything again.

        Shards that no checkpoint needs any more, the older ones on the disk included, are deleted.
        """
        start = self._shards.records[-1] if self._shards.records else {"first": 0, "rows": 0}
        first = max(start["first"] + start["rows"], self.added - self.num_rows)
        if self.added > first:
            new = np.arange(first, self.added) % self.num_rows
            columns = {name: rows[new] for name, rows in self._rows.items()}
            self._shards.append(first, columns | self._following.own(new))
        if len(self._saved) == checkpoint.KEEP:
            self._shards.drop(self._saved[0] - self.num_rows)
        self._saved = [*self._saved, self.added][-checkpoint.KEEP :]
        return {
            "added": self.added,
            "saved": list(self._saved),
            "shards": [dict(record) for record in self._shards.records],
            "priorities": None if self._tree is None else self._tree.priorities[: len(self)].copy(),
            "largest": self._largest,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``.

        Raises:
            CheckpointError: If a shard is missing or damaged (message names it).
        """
        self.added, self._saved, self._largest = int(state["added"]), list(state["saved"]), float(state["largest"])
        start = self.added - self.num_rows
        self._following = Following(self._rows["obs"])
        for first, columns in self._shards.restore(state["shards"], start):
            cut = max(0, start - first)
            place = np.arange(first + cut, first + len(columns["reward"])) % self.num_rows
            obs, at, own = columns["obs"], columns["next_at"], columns["next_obs"]
            for k, row in enumerate(place.tolist(), start=cut):
                self._following.add(row, obs[k], self._following.rebuilt(obs, at, own, k))
            for name, rows in self._rows.items():
                rows[place] = columns[name][cut:]
        if self._hindsight is not None:
            first = max(0, start)
            self._hindsight.restart(first, self._rows["ended"][np.arange(first, self.added) % self.num_rows])
        if self._tree is not None:
            self._tree = SumTree(self._tree.size)
            self._tree.set(np.arange(len(self)), state["priorities"])


def _size(space: gymnasium.Space) -> int:
    return int(torch.Size(space.shape or ()).numel())
