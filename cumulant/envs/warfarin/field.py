"""A trained policy, which may be several seeds, among everybody else on the same held-out patients.

Several seeds of a training are one agent: its figures are means over seeds, and its intervals hold both what another
seed would have learned and what other patients would have shown (``seeds.merged_interval``).

Axes: T days, B patients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cumulant.envs.warfarin import protocols
from cumulant.envs.warfarin.course import Act, Course, play_agent, play_protocol
from cumulant.envs.warfarin.env import Warfarin
from cumulant.envs.warfarin.measures import COLUMNS, metrics, returns
from cumulant.seeds import merged_interval, over_seeds
from cumulant.stats import Interval


@dataclass(frozen=True)
class Agent:
    """A trained policy.

    Args:
        act: Observations ``[B, D]`` -> actions; it may have ``forget``.
        value: Observations ``[B, D]`` -> the discounted return that it expects from here, in units of the reward; or None.
        gamma: Discount of that return.
    """

    act: Act
    value: Callable[[np.ndarray], np.ndarray] | None = None
    gamma: float = 1.0


@dataclass(frozen=True)
class Field:
    """Everybody on the same patients and the same test days.

    Args:
        agents: Courses by seed.
        others: Courses of the protocols, ceilings and floors by name.
        kinds: What each of these is.
    """

    agents: dict[int, Course]
    others: dict[str, Course]
    kinds: dict[str, str]

    @property
    def agent_returns(self) -> list[np.ndarray]:
        """Every seed's returns, ``[B]`` each."""
        return [returns(course) for course in self.agents.values()]

    @property
    def rivals(self) -> dict[str, np.ndarray]:
        """Every protocol's returns, the best on average first, ``[B]`` each."""
        found = {name: returns(course) for name, course in self.others.items() if self.kinds[name] == "protocol"}
        return dict(sorted(found.items(), key=lambda pair: -pair[1].mean()))


def play(agents: Mapping[int, Agent], options: Warfarin, episodes: int, seed: int, *, own: bool = False) -> Field:
    """Play the agents and everybody else on the same patients.

    Args:
        agents: By seed.
        options: The environment that they meet; its schedule is everybody's, unless ``own``.
        episodes: B.
        seed: Which patients.
        own: Whether the protocols test by their own schedules.
    """
    return Field(
        {number: play_agent(agent.act, options, episodes, seed) for number, agent in agents.items()},
        {name: play_protocol(name, options, episodes, seed, own_schedule=own) for name in protocols.PROTOCOLS},
        {name: protocols.make(name).kind for name in protocols.PROTOCOLS},
    )


def measure(found: Interval) -> dict[str, Any]:
    """Return a mean and its interval as plain values."""
    return {"mean": float(found.mean), "interval": [float(found.low), float(found.high)]}


def gain(field: Field, rival: np.ndarray, who: np.ndarray | None = None, level: float = 0.95) -> Interval:
    """Return how much more the agents return than somebody, patient by patient."""
    who = np.ones(len(rival), bool) if who is None else who
    return over_seeds([(own - rival)[who] for own in field.agent_returns], level)


def comparison(field: Field, key: str, title: str, note: str, label: str) -> dict[str, Any]:
    """Return a table of everybody: agent, protocols, ceilings and floors, each the best first."""
    best, best_returns = next(iter(field.rivals.items()))
    order = ("agent", "protocol", "ceiling", "floor")
    rows: list[dict[str, Any]] = []
    for name in sorted(
        field.others, key=lambda name: (order.index(field.kinds[name]), -returns(field.others[name]).mean())
    ):
        found = metrics(field.others[name])
        if name != best:
            found["return_gain"] = measure(over_seeds([returns(field.others[name]) - best_returns]))
        rows.append({"name": name, "label": protocols.make(name).label, "kind": field.kinds[name], "metrics": found})
    every = [metrics(course) for course in field.agents.values()]
    own = {name: measure(merged_interval([_interval(each[name]) for each in every])) for name in every[0]}
    own["return_gain"] = measure(gain(field, best_returns))
    rows.insert(0, {"name": "agent", "label": label, "kind": "agent", "metrics": own})
    for row in rows:
        row["metrics"] = {name: row["metrics"][name] for name in COLUMNS if name in row["metrics"]}
    against = protocols.make(best).label
    return {"key": key, "title": title, "note": f"{note} Gains are paired, against {against}.", "rows": rows}


def _interval(found: Mapping[str, Any]) -> Interval:
    return Interval(found["mean"], *found["interval"])
