"""Where a policy may fail: subgroups, the patients who fare worst, other worlds than its own, its own expectations.

Axes: T days, B patients.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from cumulant.envs.warfarin import protocols, shield
from cumulant.envs.warfarin.course import held_out, play_agent
from cumulant.envs.warfarin.env import Warfarin
from cumulant.envs.warfarin.field import Agent, Field, gain, measure, play
from cumulant.envs.warfarin.patients import Patients
from cumulant.seeds import merged_interval, over_seeds
from cumulant.stats import bootstrap_interval, mean_interval

UW = ("uw", "uw_initiation", "uw_initiation_10")
MARGIN, LEAST_MEMBERS = 0.5, 500
TAILS = (0.10, 0.05)
BURDENS: dict[str, Any] = {"drugs": "cohort", "adherence": 0.79}
_BURDENED = ("Interacting drug", "Doses missed")
CALIBRATION_DAYS = (1, 8, 15, 22)


def subgroups(field: Field, patients: Patients) -> list[dict[str, Any]]:
    """Return for every subgroup what the agent returns, and how much more than UW and than the best protocol there.

    Non-inferior: the one-sided 95 % bound of the difference to the better UW rule in the subgroup is above -``MARGIN``; judged
    from ``LEAST_MEMBERS`` patients on.
    """
    rivals = field.rivals
    found = []
    for title, members in patients.divisions().items():
        if sum(bool(who.any()) for _, who in members) < 2:  # nobody differs
            continue
        rows = []
        for name, who in members:
            if who.sum() < 2:
                continue
            uw = max((rule for rule in UW), key=lambda rule: rivals[rule][who].mean())
            best = max(rivals, key=lambda rule: rivals[rule][who].mean())
            bound = gain(field, rivals[uw], who, level=0.90).low  # both sides 90 %: one side 95 %
            judged = int(who.sum()) >= LEAST_MEMBERS
            rows.append(
                {
                    "label": name,
                    "episodes": int(who.sum()),
                    "return": measure(over_seeds([own[who] for own in field.agent_returns])),
                    "ttr": _share(field, "in_range", who),
                    "above_4": _share(field, "above_4", who),
                    "uw": protocols.make(uw).label,
                    "uw_return": measure(mean_interval(rivals[uw][who])),
                    "uw_above_4": _share_of([field.others[uw]], "above_4", who),
                    "gain_on_uw": measure(gain(field, rivals[uw], who)),
                    "bound_on_uw": float(bound),
                    "non_inferior": bool(bound > -MARGIN) if judged else None,
                    "best": protocols.make(best).label,
                    "gain_on_best": measure(gain(field, rivals[best], who)),
                }
            )
        found.append({"title": title, "rows": rows})
    return found


def _share(field: Field, column: str, who: np.ndarray) -> dict[str, Any]:
    return _share_of(list(field.agents.values()), column, who)


def _share_of(courses: list[Any], column: str, who: np.ndarray) -> dict[str, Any]:
    """Return the share of patients' days, in percent and within 0 and 100."""
    each = [100.0 * ((c.columns[column] * c.live).sum(axis=0) / c.live.sum(axis=0))[who] for c in courses]
    found = over_seeds(each)
    return {"mean": found.mean, "interval": [max(found.low, 0.0), min(found.high, 100.0)]}


def tails(field: Field, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return the mean return of the worst tenth and twentieth of the patients (CVaR), of the agent and of those beside it.

    Args:
        field: Everybody.
        rng: Of the bootstrap.
    """
    shown = list(dict.fromkeys([*list(field.rivals)[:3], *UW]))
    own = {"agent": field.agent_returns} | {name: [field.rivals[name]] for name in shown}
    rows = []
    for name, samples in own.items():
        row: dict[str, Any] = {"name": name, "label": "agent" if name == "agent" else protocols.make(name).label}
        for share in TAILS:
            parts = [
                bootstrap_interval(values, rng, lambda x, axis, s=share: cvar(x, s), resamples=400)
                for values in samples
            ]
            row[f"cvar_{100 * share:.0f}"] = measure(merged_interval(parts))
        row["worst"] = float(np.mean([values.min() for values in samples]))
        rows.append(row)
    return rows


def cvar(values: np.ndarray, share: float) -> np.ndarray:
    """Return the mean of the lowest share of the values along the last axis.

    >>> float(cvar(np.arange(10.0), 0.2))
    0.5
    """
    count = max(1, int(values.shape[-1] * share))
    return np.partition(values, count - 1, axis=-1)[..., :count].mean(axis=-1)


def burdened(agents: Mapping[int, Agent], options: Warfarin, episodes: int, seed: int) -> list[dict[str, Any]]:
    """Return the subgroups by drug and by missed doses in a world that has both, where the policy's own has none.

    Args:
        agents: By seed.
        options: What they were trained in.
        episodes: B.
        seed: Which patients.
    """
    changed = dataclasses.replace(options, **BURDENS)
    patients = Patients.from_state(held_out(changed, episodes, seed).state)
    groups = subgroups(play(agents, changed, episodes, seed), patients)
    with_both = "in a world with drugs and missed doses"
    return [group | {"title": f"{group['title']}, {with_both}"} for group in groups if group["title"] in _BURDENED]


def worlds(options: Warfarin) -> dict[str, dict[str, Any]]:
    """Return other worlds than the policy's own: name -> options that change."""
    found: dict[str, dict[str, Any]] = {
        "as it was trained": {},
        "Hamberg 2007": {"model": "hamberg2007"},
        "Hamberg 2010": {"model": "hamberg2010"},
        "variability of real doses": {"variability": "calibrated"},
        "published omegas as variances": {"variability": "variance"},
        "EC50 of real doses": {"calibration": "iwpc"},
        "measurement noise 20 %": {"noise_cv": 0.20},
        "INR that drifts, 9 %": {"biological_cv": 0.09},
        "21 % of doses missed": {"adherence": 0.79},
        "vitamin K, s.d. 100 ug a day": {"vitamin_k_sd": 100.0},
        "interacting drugs, started": {"drugs": "starting"},
        "IWPC patients of three races": {"cohort": "iwpc"},
        "each genotype as often": {"cohort": "uniform"},
    }
    return {name: changed for name, changed in found.items() if not changed or _differs(options, changed)}


def _differs(options: Warfarin, changed: Mapping[str, Any]) -> bool:
    return any(getattr(options, name) != value for name, value in changed.items())


def robustness(agents: Mapping[int, Agent], options: Warfarin, episodes: int, seed: int) -> list[dict[str, Any]]:
    """Return how the agents fare in other worlds, beside the best protocol of each world.

    Args:
        agents: By seed.
        options: What they were trained in.
        episodes: B.
        seed: Which patients.
    """
    rows = []
    for name, changed in worlds(options).items():
        field = play(agents, dataclasses.replace(options, **changed), episodes, seed)
        best, best_returns = next(iter(field.rivals.items()))
        everybody = np.ones(len(best_returns), bool)
        rows.append(
            {
                "world": name,
                "options": changed,
                "return": measure(over_seeds(field.agent_returns)),
                "ttr": _share(field, "in_range", everybody),
                "above_4": _share(field, "above_4", everybody),
                "best": protocols.make(best).label,
                "best_return": measure(mean_interval(best_returns)),
                "gain_on_best": measure(gain(field, best_returns)),
            }
        )
    return rows


def shielded(agents: Mapping[int, Agent], options: Warfarin, episodes: int, seed: int) -> dict[str, Any]:
    """Return how the agents fare with a shield, their own or the standard one, and without it, and how often each rule speaks.

    A policy that needs its shield often is not safe by itself; one that was trained without it and meets it now may do worse
    behind it than without.

    Args:
        agents: By seed.
        options: What they were trained in.
        episodes: B.
        seed: Which patients.
    """
    own = options.shield or "standard"
    rows = []
    for name, on in (("without", ""), ("with", own)):
        world = dataclasses.replace(options, shield=on)
        field = Field({number: play_agent(a.act, world, episodes, seed) for number, a in agents.items()}, {}, {})
        everybody = np.ones(episodes, bool)
        row: dict[str, Any] = {"label": name, "return": measure(over_seeds(field.agent_returns))}
        row |= {column: _share(field, column, everybody) for column in ("in_range", "above_4")}
        row["overrides"] = _share(field, "override", everybody) if on else None
        rows.append(row)
    rules = {rule.name: rule for rule in shield.resolve(own)}
    fired = {name: _share(field, f"override_{name}", everybody) for name in rules}
    return {
        "rows": rows,
        "trained_with": options.shield,
        "rules": [{"name": name, "says": rules[name].says, "share": share} for name, share in fired.items()],
    }


def calibration(agents: Mapping[int, Agent], options: Warfarin, episodes: int, seed: int) -> list[dict[str, Any]]:
    """Return what the agents expected beside what came, from some days on.

    Args:
        agents: By seed.
        options: What they were trained in.
        episodes: B.
        seed: Which patients.

    Returns:
        A row for each day: means of the expected and of the realised discounted return from that day on, their difference, and
        ``bins``: the patients in ten groups by what was expected, mean expected and mean realised of each. None of agents
        that expect nothing.
    """
    known = [agent for agent in agents.values() if agent.value is not None]
    runs = [_expected_and_realised(agent, options, episodes, seed) for agent in known]
    rows = []
    for day in (day for day in CALIBRATION_DAYS if day <= options.days and runs):
        expected = [value[day] for value, _ in runs]
        realised = [came[day] for _, came in runs]
        parts = [np.array_split(np.argsort(e, kind="stable"), 10) for e in expected]
        bins = [
            [
                float(np.mean([of[seed][parts[seed][k]].mean() for seed in range(len(runs))]))
                for of in (expected, realised)
            ]
            for k in range(10)
        ]
        rows.append(
            {
                "day": day,
                "expected": measure(over_seeds(expected)),
                "realised": measure(over_seeds(realised)),
                "difference": measure(over_seeds([e - r for e, r in zip(expected, realised)])),
                "correlation": float(np.mean([_correlation(e, r) for e, r in zip(expected, realised)])),
                "bins": bins,
            }
        )
    return rows


def _expected_and_realised(
    agent: Agent, options: Warfarin, episodes: int, seed: int
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    batch = held_out(options, episodes, seed)
    expected, rewards = {}, []
    alive = np.ones(episodes, bool)
    assert agent.value is not None
    for day in range(1, options.days + 1):
        if day in CALIBRATION_DAYS:
            expected[day] = np.where(alive, agent.value(batch.obs), 0.0)
        batch.step(np.asarray(agent.act(batch.obs)).reshape(episodes, *(batch.action_space.shape or ())))
        rewards.append(batch.reward * alive)
        alive &= ~batch.terminated
    came, total = {}, np.zeros(episodes)
    for day in range(options.days, 0, -1):
        total = rewards[day - 1] + agent.gamma * total
        came[day] = total.copy()
    return expected, came


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else 0.0
