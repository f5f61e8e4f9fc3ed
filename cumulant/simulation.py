"""Simulate patients under a fixed dose or a protocol, with no learning at all: a table, a file for every patient, a picture."""

from __future__ import annotations

import csv
import dataclasses
import io
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from cumulant.envs import lookup
from cumulant.errors import ConfigError, UsageError
from cumulant.stats import mean_interval

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
FEWEST = 20  # patients that a class must have for a row of its own
MEASURES = {  # of a group of patients: label, unit, digits
    "ttr": ("True TTR", "%", 1),
    "below_2": ("INR < 2", "%", 1),
    "above_4": ("INR > 4", "%", 2),
    "bleeds": ("Major bleeds", "/100 py", 2),
    "thromboembolisms": ("Thrombo-embolisms", "/100 py", 2),
    "dose_mg": ("Dose", "mg", 2),
    "needs_mg": ("Dose for 2.5", "mg", 2),
    "tests": ("INR tests", "", 1),
    "missed": ("Missed", "%", 1),
}
_WHO = ("age_years", "weight_kg", "height_cm", "female", "race", "cyp2c9", "vkorc1", "sensitivity", "drug")


def simulate(
    env: str = "warfarin",
    *,
    patients: int = 1000,
    dose: float | None = None,
    protocol: str | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    env_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Let simulated patients live under one dose or one protocol, and write what became of them.

    The directory gets ``patients.csv`` (who each patient is, and what became of them), ``days.csv`` (quantiles of the INR on each
    day) and ``inr.png``. A protocol tests the INR on its own schedule.

    Args:
        env: An environment with patients: "warfarin".
        patients: How many.
        dose: The same dose for everybody every day, mg; with a maintenance start and neither, everybody's own.
        protocol: Name of a protocol (``cumulant list protocols``) instead of a dose.
        seed: Which patients.
        out: Directory; by default the next free ``runs/simulate-warfarin-NNN``.
        env_options: Options of the environment: model, cohort, days and what else describes the patients.

    Returns:
        Plain JSON values: ``policy``, ``patients``, ``days``, ``options``, ``groups`` of patients with their measures and 95 %
        intervals, ``curve`` with the INR's quantiles on each day, ``files`` and ``notice``.

    Raises:
        UsageError: If there is no such protocol, or both a dose and a protocol (or neither) were given.
        ConfigError: If a number or an option makes no sense.
        DataError: If the file of a cohort cannot be used.
    """
    from cumulant.envs.warfarin import NOTICE
    from cumulant.envs.warfarin.actions import DOSE_MAX

    found = lookup.find(env)
    if found is None or found.name != "warfarin":
        raise UsageError(f"'{env}' has no patients; `cumulant simulate warfarin` has")
    if patients < 2:
        raise ConfigError(f"patients = {patients}: an interval needs at least 2")
    fixed = {"actions": "dose", "schedule": "daily", "observe": "standard", "tablets_mg": (), "shield": ""}
    refused = sorted(set(env_options or {}) & set(fixed))
    if refused:
        raise UsageError(f"{', '.join(refused)}: an option of what an agent sees and does; here nobody learns")
    options = lookup.with_options(env, {**(env_options or {}), **fixed})
    own_dose = options.start == "maintenance" and dose is None and protocol is None
    if not own_dose and (dose is None) == (protocol is None):
        raise UsageError("say what the patients are given: either --dose MG or --protocol NAME")
    if dose is not None and not 0.0 <= dose <= DOSE_MAX:
        raise ConfigError(f"dose = {dose:g}: give 0 to {DOSE_MAX:g} mg")
    began = time.perf_counter()
    label, days, who = _live(options, patients, dose, protocol, seed)
    groups = _groups(days, who)
    curve = {
        "day": list(range(1, options.days + 1)),
        **{f"q{round(100 * q)}": np.quantile(days["inr"], q, axis=1).round(3).tolist() for q in QUANTILES},
        "in_range": days["in_range"].mean(axis=1).round(4).tolist(),
        "below_2": days["below"].mean(axis=1).round(4).tolist(),
        "above_4": days["above_4"].mean(axis=1).round(4).tolist(),
    }
    teaching = options.hazard_multiplier != 1.0
    result = {
        "environment": found.gym_id,
        "options": dataclasses.asdict(options),
        "policy": label,
        "patients": patients,
        "days": options.days,
        "seed": seed,
        "seconds": round(time.perf_counter() - began, 3),
        "measures": {name: dict(zip(("label", "unit", "digits"), about)) for name, about in MEASURES.items()},
        "groups": groups,
        "curve": curve,
        "notice": f"FOR TEACHING: risks times {options.hazard_multiplier:g}. {NOTICE}" if teaching else NOTICE,
    }
    with _place(out) as directory:
        result["files"] = _write(directory, result, days, who)
    return result


def _live(
    options: Any, patients: int, dose: float | None, protocol: str | None, seed: int
) -> tuple[str, dict[str, np.ndarray], Any]:
    """Return what the patients were given, the outcome columns ``[T, B]`` and who they are."""
    from cumulant.envs.batched import Batch
    from cumulant.envs.warfarin import protocols
    from cumulant.envs.warfarin.course import follow
    from cumulant.envs.warfarin.patients import Patients
    from cumulant.envs.warfarin.protocols.simple import Constant

    batch = Batch(options.kernel(), patients, seed, autoreset=False)
    who = Patients.from_state(batch.state)
    if protocol is not None:
        rule = protocols.make(protocol)
    elif dose is None:
        rule = Constant(who.maintenance_mg, "everybody's own dose")
    else:
        rule = Constant(np.full(patients, dose), f"{dose:g} mg a day")
    course = follow(rule, batch, options.days)
    own = {"inr": course.inr, "dose_mg": course.dose_mg, "tested": course.tested.astype(np.float64)}
    return rule.label, {**course.columns, **own}, who


def _per_patient(days: Mapping[str, np.ndarray], who: Any) -> dict[str, np.ndarray]:
    """Return each measure of every patient, ``[B]``."""
    mean = {name: column.mean(axis=0) for name, column in days.items()}
    return {
        "ttr": 100.0 * mean["in_range"],
        "below_2": 100.0 * mean["below"],
        "above_4": 100.0 * mean["above_4"],
        "bleeds": 36500.0 * mean["bleed_risk"],
        "thromboembolisms": 36500.0 * mean["thromboembolism_risk"],
        "dose_mg": mean["dose_mg"],
        "needs_mg": who.dose_for(2.5),
        "tests": days["tested"].sum(axis=0),
        "missed": 100.0 * mean["missed"],
    }


def _groups(days: Mapping[str, np.ndarray], who: Any) -> list[dict[str, Any]]:
    """Return the measures of everybody, and by sensitivity, age, race and drug where there are several."""
    measures = _per_patient(days, who)
    shown = [name for name in MEASURES if name not in ("tests", "missed") or measures[name].any()]
    kinds = {"Everybody": [("all patients", np.ones(len(who), bool))], **who.divisions()}
    groups = []
    for title, members in kinds.items():
        present = [(label, mask) for label, mask in members if mask.sum() >= (2 if title == "Everybody" else FEWEST)]
        if len(present) < 2 and title != "Everybody":
            continue
        for label, mask in present:
            found = {}
            for name in shown:
                mean, low, high = mean_interval(measures[name][mask])
                low = max(float(low), 0.0)
                high = min(float(high), 100.0) if MEASURES[name][1] == "%" else float(high)
                found[name] = {"mean": float(mean), "interval": [low, high]}
            groups.append({"title": title, "label": label, "patients": int(mask.sum()), "measures": found})
    return groups


def _place(out: Path | str | None) -> AbstractContextManager[Path]:
    from cumulant.run.place import next_free

    return next_free("simulate-warfarin") if out is None else nullcontext(Path(out))


def _write(directory: Path, result: Mapping[str, Any], days: Mapping[str, np.ndarray], who: Any) -> dict[str, str]:
    """Write both tables and the picture; return where they are."""
    from cumulant.envs.warfarin.model import CYP2C9, VKORC1
    from cumulant.envs.warfarin.patients import DRUGS, RACES, SENSITIVITIES
    from cumulant.report import plots, simulation_plots
    from cumulant.run.checkpoint import refused, write_atomic

    names = {"race": RACES, "cyp2c9": CYP2C9, "vkorc1": VKORC1, "sensitivity": SENSITIVITIES, "drug": DRUGS}
    columns: dict[str, Sequence[Any]] = {"patient": range(len(who))}
    for name in _WHO:
        column = getattr(who, name)
        columns[name] = (
            [names[name][k] for k in column] if name in names else np.round(column.astype(float), 1).tolist()
        )
    columns["female"] = who.female.astype(int).tolist()
    columns |= {name: np.round(values, 3).tolist() for name, values in _per_patient(days, who).items()}
    columns |= {
        "inr_last": np.round(days["inr"][-1], 2).tolist(),
        "inr_highest": np.round(days["inr"].max(axis=0), 2).tolist(),
        "major_bleeds_drawn": days["major_bleed"].sum(axis=0).astype(int).tolist(),
        "of_them_intracranial": days["intracranial"].sum(axis=0).astype(int).tolist(),
        "thromboembolisms_drawn": days["thromboembolism"].sum(axis=0).astype(int).tolist(),
        "died_of_a_bleed": (days["death"].sum(axis=0) > 0).astype(int).tolist(),
    }
    title = f"{result['patients']:,} simulated patients, {result['policy']}"
    curves = [
        (SENSITIVITIES[k], np.median(days["inr"][:, who.sensitivity == k], axis=1).tolist())
        for k in range(len(SENSITIVITIES))
        if (who.sensitivity == k).any()
    ]
    picture = simulation_plots.course(title, result["curve"], curves, result["notice"])
    files = {
        "patients.csv": _csv(columns).encode(),
        "days.csv": _csv(result["curve"]).encode(),
        "inr.png": plots.png(picture),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise refused(directory, problem) from problem
    for name, content in files.items():
        write_atomic(directory / name, content)
    return {name: str(directory / name) for name in files}


def _csv(columns: Mapping[str, Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values()))
    return text.getvalue()
