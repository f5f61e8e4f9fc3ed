"""What becomes of held-out patients under a policy or a protocol, day by day.

Everybody meets the same people, the same measurement errors and the same draws for bleeds and thrombo-embolisms
(common random numbers: all of them are functions of seed, patient and day).

An evaluation with seed s plays under the batch seed ``HELD_OUT + s``. A training run's batch seed is small or a hash of
64 bits, so that its patients are others (a hash meets the held-out range once in 2**32 runs).

Axes: T days, B patients.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container
from dataclasses import dataclass

import numpy as np

from cumulant.envs.batched import Batch, Kernel, as_batch_action
from cumulant.envs.warfarin import actions, protocols
from cumulant.envs.warfarin.env import DOSE, MEASURED, Warfarin
from cumulant.envs.warfarin.patients import Patients

HELD_OUT = 2**62

Act = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Course:
    """What happened to B patients under one policy.

    Args:
        inr: True INR 24 h after each dose, ``[T, B]``.
        dose_mg: Doses, ``[T, B]``.
        measured: INR that the laboratory would report each morning, ``[T, B]``.
        tested: Mornings on which the policy saw it, ``[T, B]`` bool.
        live: Days that belong to the episode, ``[T, B]`` bool (all, unless death ends it).
        columns: Other outcome columns and "reward", ``[T, B]`` each.
    """

    inr: np.ndarray
    dose_mg: np.ndarray
    measured: np.ndarray
    tested: np.ndarray
    live: np.ndarray
    columns: dict[str, np.ndarray]


class Recorder:
    """Collects a course day by day.

    Args:
        batch: The patients.
        scored: Whose reward is recorded instead of the batch's own: of what was tested as this recorder is told, and with
            zeros for what it counts and the batch does not (a protocol overrides no shield).
    """

    def __init__(self, batch: Batch, scored: Kernel | None = None) -> None:
        self.batch, self.scored = batch, scored
        self.live = np.ones(batch.num_envs, bool)
        self.days: list[dict[str, np.ndarray]] = []

    def step(self, action: np.ndarray, tested: np.ndarray | None = None) -> None:
        """Live one day; ``tested`` replaces the environment's own column."""
        batch = self.batch
        before = {"measured": batch.state[:, MEASURED].copy(), "live": self.live.copy()}
        batch.step(as_batch_action(batch.action_space, action))
        row = before | {name: batch.outcomes[:, k].copy() for k, name in enumerate(batch.outcome_names)}
        row["reward"] = batch.reward.astype(np.float64)
        row["tested"] = (row["tested"] > 0.5) if tested is None else tested.copy()
        if self.scored is not None and self.scored.reward is not None:
            columns = {name: row.get(name, np.zeros(batch.num_envs)) for name in self.scored.outcome_names}
            columns["tested"] = row["tested"].astype(np.float64)
            row["reward"] = self.scored.reward.split(columns).sum(axis=1)
        self.live &= ~batch.terminated
        self.days.append(row)

    def course(self) -> Course:
        """Return what was recorded."""
        whole = {name: np.stack([day[name] for day in self.days]) for name in self.days[0]}
        own = {name: whole.pop(name) for name in ("inr", "dose_mg", "measured", "tested", "live")}
        return Course(**own, columns=whole)


def held_out(options: Warfarin, episodes: int, seed: int) -> Batch:
    """Return a batch of held-out patients on the morning of day 1."""
    return Batch(options.kernel(), episodes, HELD_OUT + int(seed) % 2**31, autoreset=False)


def play_agent(act: Act, options: Warfarin, episodes: int, seed: int) -> Course:
    """Play an agent on held-out patients.

    Args:
        act: Maps observations ``[B, D]`` to actions ``[B]`` (or ``[B, A]`` with ``actions="dose"``).
        options: The environment that it was trained on.
        episodes: B.
        seed: Which patients.
    """
    batch = held_out(options, episodes, seed)
    recorder = Recorder(batch)
    if hasattr(act, "forget"):  # these patients are new to it
        act.forget()
    for _ in range(options.days):
        recorder.step(np.asarray(act(batch.obs)).reshape(episodes, *(batch.action_space.shape or ())))
    return recorder.course()


def play_steered(
    act: Act, options: Warfarin, episodes: int, seed: int, steer: Callable[[int, np.ndarray], np.ndarray]
) -> Course:
    """Play an agent whose doses somebody may change before they are given.

    Args:
        act: As in ``play_agent``.
        options: The environment that it was trained on; it must not order its tests.
        episodes: B.
        seed: Which patients.
        steer: Day and the agent's doses in mg, ``[B]`` -> the doses that are given.
    """
    batch = held_out(dataclasses.replace(options, actions="dose", tablets_mg=()), episodes, seed)
    recorder = Recorder(batch)
    if hasattr(act, "forget"):
        act.forget()
    for day in range(1, options.days + 1):
        last = batch.state[:, DOSE].copy()
        wanted = actions.proposed(options.actions, options.tablets_mg, last, np.asarray(act(batch.obs)))
        recorder.step(steer(day, wanted)[:, None])
    return recorder.course()


def play_protocol(name: str, options: Warfarin, episodes: int, seed: int, *, own_schedule: bool = False) -> Course:
    """Play a protocol on the same patients, measurement errors and chances.

    Args:
        name: Name in ``protocols.PROTOCOLS``.
        options: As the agent's: the schedule says when the protocol sees the INR, unless ``own_schedule``.
        episodes: B.
        seed: Which patients.
        own_schedule: Test when the protocol asks for it.
    """
    plain = dataclasses.replace(
        options, schedule="daily", actions="dose", observe="standard", belief=False, shield="", reward=Warfarin.reward
    )
    batch = held_out(plain, episodes, seed)
    test_days = None if own_schedule else options.test_days
    return follow(protocols.make(name), batch, options.days, test_days, options.kernel())


def follow(
    protocol: protocols.Protocol,
    batch: Batch,
    days: int,
    test_days: Container[int] | None = None,
    scored: Kernel | None = None,
) -> Course:
    """Let a protocol treat patients from day 1 on.

    Args:
        protocol: A new one.
        batch: Patients on the morning of day 1, treated by naming doses, who show their INR every day.
        days: T.
        test_days: When everybody is tested; None for when the protocol asks for it.
        scored: See ``Recorder``.
    """
    protocol.start(Patients.from_state(batch.state))
    recorder = Recorder(batch, scored)
    for day in range(1, days + 1):
        tested = protocol.next_test_day <= day if test_days is None else np.full(batch.num_envs, day in test_days)
        dose = protocol.dose(day, batch.state[:, MEASURED].copy(), tested)
        recorder.step(dose[:, None], tested)
    return recorder.course()
