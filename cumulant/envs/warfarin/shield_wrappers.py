"""The safety shield as Gymnasium wrappers: around one environment, or around a vector of them.

For any environment whose action is a dose in mg (a Box; further numbers of it pass untouched) and whose observation tells what
the rules need. What they need is read by a function, ``read(obs) -> Seen``; the default reads the warfarin environment's. Every
override is counted by rule in ``counts`` and reported in the info of its step.

Axes: B environments, D observation size, A actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from cumulant.envs.warfarin import shield
from cumulant.envs.warfarin.shield import RULES, Rule
from cumulant.errors import UsageError


class Seen(NamedTuple):
    """What an observation tells the shield, arrays ``[B]``; see ``shield.Situation``."""

    day: np.ndarray
    inr: np.ndarray
    inr_age_days: np.ndarray
    last_mg: np.ndarray
    age_years: np.ndarray
    weight_kg: np.ndarray


def warfarin(obs: np.ndarray) -> Seen:
    """Read the warfarin environment's observations, ``[B, D]``."""
    columns = np.asarray(obs, np.float64)
    return Seen(columns[:, 11], columns[:, 0], columns[:, 4], columns[:, 8], columns[:, 12], columns[:, 13])


class Shield:
    """Rules with a memory of B patients, and the count of what they did.

    Args:
        num_patients: B.
        rules: The rules, in order.
        read: What an observation tells.

    Attributes:
        days: Patient-days so far.
        counts: Overrides so far, by rule; "any" for those of any rule that counts.
    """

    def __init__(
        self, num_patients: int, rules: Sequence[Rule] = RULES, read: Callable[[np.ndarray], Seen] = warfarin
    ) -> None:
        self.rules, self.read = shield.checked(rules), read
        self.memory = np.zeros((num_patients, shield.MEMORY))
        self.days = 0
        self.counts = {"any": 0} | {rule.name: 0 for rule in self.rules}

    def meet(self, obs: np.ndarray, who: np.ndarray) -> None:
        """Start the patients ``who [B]`` anew, from their first observation ``[B, D]``."""
        shield.start(self.memory, who, self.read(obs).last_mg)

    def decide(self, obs: np.ndarray, wanted_mg: np.ndarray) -> shield.Decision:
        """Return what the rules make of the wanted doses, ``[B]``, and count it."""
        seen = self.read(obs)
        now = shield.situation(self.memory, seen.day, seen.inr, seen.inr_age_days, seen.age_years, seen.weight_kg)
        decision = shield.decide(self.rules, now, wanted_mg)
        self.days += len(wanted_mg)
        self.counts["any"] += int(decision.override.sum())
        for rule, fired in zip(self.rules, decision.fired.T):
            self.counts[rule.name] += int(fired.sum())
        return decision

    def remember(self, obs: np.ndarray, wanted_mg: np.ndarray, given_mg: np.ndarray, bled: np.ndarray) -> None:
        """Note what became of the day that began with these observations."""
        shield.remember(self.memory, self.read(obs).day, wanted_mg, given_mg, bled)


def _dose_space(space: gymnasium.Space) -> None:
    if not (isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1):
        raise UsageError(
            f'the shield needs a dose in mg as the action, a Box, and not {space}; warfarin: actions="dose"'
        )


class ShieldedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Put a shield around one environment whose action is a dose in mg.

    The info of a step has ``dose_wanted_mg``, and ``overrides``: the names of the rules that changed it.

    Args:
        env: The environment.
        rules: The rules, in order.
        read: What an observation tells.

    Raises:
        UsageError: If the action is no dose.

    >>> from cumulant.envs.batched import SingleEnv
    >>> env = ShieldedEnv(SingleEnv("warfarin", actions="dose"))
    >>> _ = env.reset(seed=0)
    >>> _ = env.step(np.array([13.0], np.float32))
    >>> env.shield.counts["range"], env.shield.days
    (1, 1)
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], rules: Sequence[Rule] = RULES, read: Callable[[np.ndarray], Seen] = warfarin
    ) -> None:
        super().__init__(env)
        _dose_space(env.action_space)
        self.shield = Shield(1, rules, read)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Start a new episode; see ``gymnasium.Env.reset``."""
        obs, info = self.env.reset(**kwargs)
        self._obs = np.asarray(obs)[None]
        self.shield.meet(self._obs, np.ones(1, bool))
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Give the dose that the rules allow; see ``gymnasium.Env.step``."""
        given = np.array(action, np.float32)
        wanted = np.array([given[0]], np.float64)
        decision = self.shield.decide(self._obs, wanted)
        given[0] = decision.dose_mg[0]
        obs, reward, terminated, truncated, info = self.env.step(given)
        bled = np.array([info.get("major_bleed", 0.0)])
        self.shield.remember(self._obs, wanted, decision.dose_mg, bled)
        self._obs = np.asarray(obs)[None]
        fired = [rule.name for rule, did in zip(self.shield.rules, decision.fired[0]) if did]
        return obs, reward, terminated, truncated, info | {"dose_wanted_mg": float(wanted[0]), "overrides": fired}


class ShieldedVectorEnv(gymnasium.vector.VectorWrapper):
    """Put a shield around a vector of environments whose action is a dose in mg, and which restart in the step that ends.

    The info of a step has ``dose_wanted_mg`` and ``override_<rule>``, ``[B]`` each.

    Args:
        env: The environments (autoreset mode ``SAME_STEP``, as Cumulant's own).
        rules: The rules, in order.
        read: What an observation tells.

    Raises:
        UsageError: If the action is no dose, or the environments restart otherwise.
    """

    def __init__(
        self,
        env: gymnasium.vector.VectorEnv,
        rules: Sequence[Rule] = RULES,
        read: Callable[[np.ndarray], Seen] = warfarin,
    ) -> None:
        super().__init__(env)
        _dose_space(env.single_action_space)
        if env.metadata.get("autoreset_mode") != gymnasium.vector.AutoresetMode.SAME_STEP:
            raise UsageError(
                "the shield needs environments that restart in the step that ends: autoreset mode SAME_STEP"
            )
        self.shield = Shield(env.num_envs, rules, read)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Start new episodes; see ``gymnasium.vector.VectorEnv.reset``."""
        obs, info = self.env.reset(**kwargs)
        self._obs = np.asarray(obs)
        self.shield.meet(self._obs, np.ones(self.num_envs, bool))
        return obs, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Give the doses that the rules allow; see ``gymnasium.vector.VectorEnv.step``."""
        given = np.array(actions, np.float32)
        wanted = given[:, 0].astype(np.float64)
        decision = self.shield.decide(self._obs, wanted)
        given[:, 0] = decision.dose_mg
        obs, reward, terminated, truncated, info = self.env.step(given)
        self.shield.remember(
            self._obs, wanted, decision.dose_mg, np.asarray(info.get("major_bleed", np.zeros(len(wanted))))
        )
        self._obs = np.asarray(obs)
        ended = np.asarray(terminated) | np.asarray(truncated)
        if ended.any():
            self.shield.meet(self._obs, ended)
        fired = {f"override_{rule.name}": column for rule, column in zip(self.shield.rules, decision.fired.T)}
        return obs, reward, terminated, truncated, info | {"dose_wanted_mg": wanted} | fired
