"""Episodes of a policy, counted under every reward at once: the reward, the reward without each term, the outcome.

The episodes are those of the environment as it is; because the terms and the outcome of every step are known, one episode says
what it would have returned under any of those rewards.

Axes: T steps, B environments, R environments whose first episode is kept step by step, K terms, Q quantities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from cumulant.engine.evaluate import LENGTH, MAX_NATIVE_ENVS, held_out, sum_up
from cumulant.engine.masks import Masks
from cumulant.engine.vector import VectorEnv, make_vector
from cumulant.envs import lookup
from cumulant.envs.actions import from_native
from cumulant.envs.batched import Batch
from cumulant.envs.spaces import mask_slice
from cumulant.envs.views import OUTCOME, REWARD, WITHOUT
from cumulant.errors import EnvironmentFault
from cumulant.stats import mean_interval

MOST_TERMS, MOST_QUANTITIES, MOST_ACTIONS = 32, 40, 20
REST = "(no term)"  # what the reward gave and no term explains
_GYM_ENVS, _TRACED, _TRACED_STEPS = 16, 256, 2000

Act = Callable[[VectorEnv], np.ndarray]


@dataclass(frozen=True)
class Played:
    """What episodes of a policy showed.

    Args:
        figures: Plain JSON values.
        trace: First episodes step by step: ``reward, outcome [T, R]``, ``terms [T, R, K]``, ``quantities [T, R, Q]``,
            ``action [T, R, A]``, ``live [T, R]``; empty if none were kept.
    """

    figures: dict[str, Any]
    trace: dict[str, np.ndarray]


class _Reader:
    """Reads terms and quantities of a batch's last step, the same way for native environments and for Gymnasium's."""

    def __init__(self, envs: VectorEnv) -> None:
        self.envs = envs
        self.native = isinstance(envs, Batch)
        self.terms: list[str] = list(envs.term_names)
        self.quantities: tuple[str, ...] = envs.outcome_names
        if not self.native:
            width = int(np.prod(envs.next_obs.shape[1:]))
            self.quantities = tuple(f"observation {k}" for k in range(width)) if width <= MOST_QUANTITIES else ()
            self.quantities = ("observation",) if envs.next_obs.ndim == 1 else self.quantities

    def read_terms(self, into: np.ndarray) -> None:
        """Write the terms of the last step, ``[B, MOST_TERMS]``; a term that a step does not name is 0 there."""
        if isinstance(self.envs, Batch):
            if self.envs.terms is not None:
                into[:, : len(self.terms)] = self.envs.terms[:, :MOST_TERMS]
            return
        into[:] = 0.0
        for i, told in enumerate(self.envs.told_terms):  # type: ignore[attr-defined]
            for name, value in told.items():
                if name not in self.terms:
                    if len(self.terms) == MOST_TERMS:
                        raise EnvironmentFault(f"info['reward_terms'] has more than {MOST_TERMS} names, '{name}' too")
                    self.terms.append(name)
                into[i, self.terms.index(name)] = value

    def read_quantities(self) -> np.ndarray:
        """Return what may explain a reward, ``[B, Q]``: outcome columns, or the observation."""
        if isinstance(self.envs, Batch):
            return self.envs.outcomes
        return self.envs.next_obs.reshape(self.envs.num_envs, -1)[:, : len(self.quantities)]


def play(
    act: Act,
    env: str,
    options: Mapping[str, Any],
    episodes: int,
    seed: int,
    masks: Masks = "never",
    forget: Callable[[np.ndarray], None] | None = None,
    trace: bool = True,
) -> Played:
    """Play whole episodes of an environment that says what really matters.

    Args:
        act: The batch -> actions as its ``step`` takes them.
        env: Environment, without a view.
        options: Its options.
        episodes: How many, shared out among environments beforehand.
        seed: Of the evaluation: the same for everybody who is compared.
        masks: As for ``make_vector``.
        forget: Told where episodes have ended, for what remembers them.
        trace: Whether to keep the first episodes step by step.

    Raises:
        ConfigError: If the environment says no outcome.
        EnvironmentFault: If what it says is no number.
    """
    native = lookup.find(env) is not None
    num_envs = min(episodes, MAX_NATIVE_ENVS if native else _GYM_ENVS)
    envs = make_vector(f"{env}@{REWARD}", num_envs, held_out(seed), options, masks, training=False)
    try:
        return _play(act, envs, episodes, forget, trace)
    finally:
        envs.close()


def _play(act: Act, envs: VectorEnv, episodes: int, forget: Callable[[np.ndarray], None] | None, trace: bool) -> Played:
    reader, kept = _Reader(envs), _Trace(min(envs.num_envs, _TRACED) if trace else 0)
    terms = np.zeros((envs.num_envs, MOST_TERMS))
    actions = _Actions(envs.action_space)

    def step(sums: np.ndarray, counted: np.ndarray, first: np.ndarray) -> None:
        action = act(envs)
        actions.add(action[counted])
        envs.step(action)
        assert envs.outcome is not None
        reader.read_terms(terms)
        quantities = reader.read_quantities()
        sums[:, 0] += envs.reward
        sums[:, LENGTH] += 1.0
        sums[:, 2] += envs.outcome
        sums[:, 3 : 3 + MOST_TERMS] += terms
        sums[:, 3 + MOST_TERMS :] += quantities
        kept.add(envs, terms, quantities, action, first)

    table = sum_up(step, envs, episodes, 3 + MOST_TERMS + len(reader.quantities), forget)
    return Played(_figures(table, reader, actions), kept.arrays(reader))


def _figures(table: np.ndarray, reader: _Reader, actions: _Actions) -> dict[str, Any]:
    """Sum episodes up, ``[E, 3 + MOST_TERMS + Q]``."""
    returned, length, outcome = table[:, 0], table[:, LENGTH], table[:, 2]
    terms = {name: table[:, 3 + k] for k, name in enumerate(reader.terms)}
    returns = {REWARD: returned, OUTCOME: outcome}
    if len(terms) > 1:
        # what is left of single precision where nothing is left is no return
        least = 1e-5 * max(float(np.abs(returned).max()), 1e-9)
        left = {name: returned - values for name, values in terms.items()}
        returns |= {f"{WITHOUT}{name}": np.where(np.abs(rest) < least, 0.0, rest) for name, rest in left.items()}
    rest = returned - sum(terms.values(), np.zeros(len(table)))
    shares = {name: float(values.mean()) for name, values in terms.items()}
    if not terms or np.abs(rest).mean() > 1e-4 * max(np.abs(returned).mean(), 1e-9):
        shares[REST] = float(rest.mean())
    by_length, count = np.unique(length, return_counts=True)
    return {
        "schema": 1,
        "episodes": len(table),
        "steps": int(length.sum()),
        "lengths": [[int(a), int(b)] for a, b in zip(by_length[-2000:], count[-2000:])],
        "length": float(length.mean()),
        "returns": {name: _measure(values) for name, values in returns.items()},
        "terms": shares,
        "quantities": {
            name: float(table[:, 3 + MOST_TERMS + k].sum() / length.sum()) for k, name in enumerate(reader.quantities)
        },
        "actions": actions.figures(),
        "names": {"terms": reader.terms, "quantities": list(reader.quantities)},
    }


def _measure(values: np.ndarray) -> dict[str, Any]:
    mean, low, high = mean_interval(values)
    return {"mean": float(mean), "interval": [float(low), float(high)] if len(values) > 1 else [float(mean)] * 2}


class _Actions:
    """Counts what was done: how often each of a few choices, or mean and spread of numbers."""

    def __init__(self, space: gymnasium.Space) -> None:
        few = isinstance(space, gymnasium.spaces.Discrete) and space.n <= MOST_ACTIONS
        self._counts = np.zeros(int(space.n), np.int64) if few else None  # type: ignore[attr-defined]
        self._sum: Any = 0.0
        self._squares: Any = 0.0
        self._number = 0

    def add(self, action: np.ndarray) -> None:
        """Count the actions of one step, ``[B]`` or ``[B, A]``."""
        self._number += len(action)
        if self._counts is not None:
            self._counts += np.bincount(action, minlength=len(self._counts))
        else:
            columns = action.reshape(len(action), -1).astype(np.float64)
            self._sum, self._squares = self._sum + columns.sum(axis=0), self._squares + (columns**2).sum(axis=0)

    def figures(self) -> dict[str, Any]:
        """Return shares of the choices, or means and standard deviations."""
        if self._counts is not None:
            return {"shares": (self._counts / max(self._number, 1)).tolist()}
        mean = self._sum / max(self._number, 1)
        spread = np.sqrt(np.maximum(self._squares / max(self._number, 1) - mean**2, 0.0))
        return {"mean": mean[:MOST_ACTIONS].tolist(), "sd": spread[:MOST_ACTIONS].tolist()}


class _Trace:
    """Keeps the first episode of R environments, step by step."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._rows: list[tuple[np.ndarray, ...]] = []

    def add(
        self, envs: VectorEnv, terms: np.ndarray, quantities: np.ndarray, action: np.ndarray, first: np.ndarray
    ) -> None:
        """Keep a step of those that are still in their first episode."""
        n = self.count
        if n == 0 or len(self._rows) == _TRACED_STEPS or not first[:n].any():
            return
        assert envs.outcome is not None
        columns = action.reshape(len(action), -1)[:n, :MOST_ACTIONS]
        values = (envs.reward[:n], envs.outcome[:n], terms[:n], quantities[:n], columns)
        self._rows.append((*(np.array(each, np.float32) for each in values), first[:n].copy()))

    def arrays(self, reader: _Reader) -> dict[str, np.ndarray]:
        """Return what was kept, stacked over steps."""
        if not self._rows:
            return {}
        names = ("reward", "outcome", "terms", "quantities", "action", "live")
        found = {name: np.stack(column) for name, column in zip(names, zip(*self._rows))}
        return found | {"terms": found["terms"][..., : len(reader.terms)]}


def random_actions(seed: int) -> Act:
    """Return a policy that does anything that is allowed, uniformly (numbers without bounds: normally)."""
    rng = np.random.default_rng(seed)

    def act(envs: VectorEnv) -> np.ndarray:
        space, count = envs.action_space, envs.num_envs
        if isinstance(space, gymnasium.spaces.Discrete):
            liked = rng.random((count, int(space.n)))
            where = mask_slice(envs.observation_space)
            return (liked if where is None else liked * (envs.obs[:, where] > 0)).argmax(axis=1)
        if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
            low, high = space.low.reshape(-1), space.high.reshape(-1)
            bounded = np.isfinite(low) & np.isfinite(high)
            drawn = rng.normal(size=(count, len(low)))
            inside = rng.uniform(np.where(bounded, low, 0.0), np.where(bounded, high, 1.0), (count, len(low)))
            return np.where(bounded, inside, np.clip(drawn, low, high)).astype(np.float32)
        return np.stack([from_native(space, _sample(space, rng)) for _ in range(count)])

    return act


def _sample(space: gymnasium.Space, rng: np.random.Generator) -> Any:
    space.seed(int(rng.integers(2**31)))
    return space.sample()


def constant_action(value: float) -> Act:
    """Return a policy that always does the same: a choice, or a number in every dimension."""

    def act(envs: VectorEnv) -> np.ndarray:
        if isinstance(envs.action_space, gymnasium.spaces.Discrete):
            return np.full(envs.num_envs, int(value), np.int64)
        return np.full((envs.num_envs, int(np.prod(envs.action_space.shape or (1,)))), value, np.float32)

    return act
