"""The warfarin environment with a shield inside: the same kernel, with the rules between action and dose.

Axes: B patients, R rules.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from cumulant.envs.batched import Kernel
from cumulant.envs.warfarin import actions, patients, shield

if TYPE_CHECKING:
    from cumulant.envs.warfarin.env import Warfarin


def shielded(options: Warfarin) -> Kernel:
    """Return the kernel of an environment whose doses go through the rules that ``options.shield`` names.

    Changes start from the last dose that no rule withheld, so that a hold interrupts a course and does not restart it. The
    overrides of a day are outcome columns: ``override`` for any that counts, ``override_<rule>`` for each rule.

    Args:
        options: With a shield.

    Raises:
        ConfigError: If there is no such shield.
    """
    from cumulant.envs.warfarin import env  # it imports this module

    rules = shield.resolve(options.shield)
    inner = dataclasses.replace(options, actions="dose", shield="").kernel()
    table, orders = actions.table(options.actions, options.tablets_mg), options.schedule == "ordered"
    own, first = inner.state_size, len(inner.outcome_names)
    bleed, dose = (inner.outcome_names.index(name) for name in ("major_bleed", "dose_mg"))
    moves = int(table[0])

    def reset(mask: np.ndarray, key: np.ndarray, params: np.ndarray, state: np.ndarray, obs: np.ndarray) -> None:
        inner.reset(mask, key, params, state, obs)
        shield.start(state[:, own:], mask, state[:, env.DOSE], state[:, patients.MAINTENANCE] > 0.0)

    def step(
        key: np.ndarray,
        clock: np.ndarray,
        action: np.ndarray,
        params: np.ndarray,
        state: np.ndarray,
        obs: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        outcomes: np.ndarray,
    ) -> None:
        memory, day = state[:, own:], clock + 1.0
        since = day - state[:, patients.DRUG_DAY]
        columns = np.asarray(action, np.float64).reshape(len(clock), -1)
        wanted = actions.proposed_by(table, shield.base_mg(memory), columns)
        now = shield.situation(
            memory,
            day,
            state[:, env.MEASURED],
            day - state[:, env.TEST_DAY],
            state[:, patients.AGE],
            state[:, patients.WEIGHT],
            (state[:, patients.DRUG] > 0.0) & (state[:, patients.DRUG_DAY] >= 1.0) & (np.abs(since - 1.0) <= 1.0),
        )
        ordered = (columns[:, 0] >= moves if moves else columns[:, -1] > 0.5) if orders else None
        decision = shield.decide(rules, now, wanted, ordered)
        given = [decision.dose_mg, decision.test] if orders else [decision.dose_mg]
        inner.step(
            key, clock, np.stack(given, axis=1).astype(np.float32), params, state, obs, reward, terminated, outcomes
        )
        outcomes[:, first] = decision.override
        outcomes[:, first + 1 :] = decision.fired
        shield.remember(memory, day, wanted, outcomes[:, dose], outcomes[:, bleed])

    return dataclasses.replace(
        inner,
        action_space=actions.space(options.actions, orders),
        state_size=own + shield.MEMORY,
        reset=reset,
        step=step,
        outcome_names=(*inner.outcome_names, "override", *(f"override_{rule.name}" for rule in rules)),
    )
