"""Simulated patient-days a second: the warfarin environment, its bare model, and the same model under scipy and numpy.

A complete environment step is what an agent trains on: pharmacology, measurement noise, bleeds and clots, reward terms,
episode log, and new patients where episodes end. The others compute the INR and nothing else, so the ratios are on the
cautious side. All run in this process on one core with one thread, in turns; compilation is not counted.

Accuracy is the largest |INR difference| over random patients and doses from LSODA at rtol 1e-10, which integrates the drug
amounts as well and shares no code with any contender.

    python benchmarks/warfarin_simulation.py
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from typing import Any

from measure import Spread, default_core, facts, facts_lines, one_thread, pin, table, write_results

one_thread()  # before numpy and numba are imported

import numpy as np  # noqa: E402
from numba import njit  # noqa: E402
from scipy.integrate import odeint, solve_ivp  # noqa: E402

from cumulant.envs.batched import Batch  # noqa: E402
from cumulant.envs.warfarin import model  # noqa: E402
from cumulant.envs.warfarin.env import Warfarin  # noqa: E402
from cumulant.envs.warfarin.patients import Patients  # noqa: E402

DAYS = 30
BATCHES = (1, 64, 1024, 16384)
YARDSTICK = "complete environment step, batch 1024"
K_QUICK, K_SLOW = 3.0 / model.MTT_QUICK, 3.0 / model.MTT_SLOW
# A contender simulates whole months and returns how many patient-days those were.
Contender = Callable[[], int]


class Cohort:
    """Patients of the environment's cohort, and doses for a month: ``cl, v, ec50`` are ``[B]``, ``dose_mg`` is ``[T, B]``."""

    def __init__(self, num_patients: int, seed: int) -> None:
        people = Patients.from_state(Batch(Warfarin().kernel(), num_patients, seed).state)
        self.cl, self.v, self.ec50 = people.cl, people.v, people.ec50
        self.dose_mg = np.random.default_rng(seed).choice([0.0, 2.5, 5.0, 7.5, 10.0], size=(DAYS, num_patients))


# -- ours ------------------------------------------------------------------------------------------------------------


def complete_step(num_envs: int, months: int) -> Contender:
    """Return a contender that steps the environment with random actions, and drains the episode log once a month."""
    batch = Batch(Warfarin(days=DAYS).kernel(), num_envs, seed=1)
    actions = np.random.default_rng(0).integers(0, 3, size=(DAYS, num_envs))

    def run() -> int:
        for _ in range(months):
            for action in actions:
                batch.step(action)
            assert len(batch.episodes.drain()["return"]) == num_envs
        return months * DAYS * num_envs

    return run


@njit(error_model="numpy")
def _month(bodies, dose_mg):
    last = 0.0
    for day in range(dose_mg.shape[0]):
        for i in range(dose_mg.shape[1]):
            last = model.advance(bodies, i, 0, dose_mg[day, i])
    return last


def bare_model(num_patients: int, months: int) -> Contender:
    """Return a contender that advances the model alone, in one compiled loop."""
    cohort = Cohort(num_patients, seed=1)
    bodies = np.zeros((num_patients, model.BODY_SIZE))
    for i in range(num_patients):
        model.start(bodies, i, 0, cohort.cl[i], cohort.v[i], cohort.ec50[i])

    def run() -> int:
        for _ in range(months):
            _month(bodies, cohort.dose_mg)
        return months * DAYS * num_patients

    return run


# -- the same model by other means -------------------------------------------------------------------------------------


def by_odeint(cohort: Cohort, rtol: float = 1e-6) -> np.ndarray:
    """One patient at a time; LSODA through scipy's quickest interface, the plasma concentration in closed form."""
    inr = np.empty((DAYS + 1, len(cohort.cl)))
    inr[0] = model.INR_BASE
    for i, (cl, v, ec50) in enumerate(zip(cohort.cl.tolist(), cohort.v.tolist(), cohort.ec50.tolist())):
        ke = cl / v
        rise = model.S_SHARE * model.KA / (v * (model.KA - ke))
        slow = fast = 0.0

        def slope(y, t, ke=ke, ec50=ec50):
            concentration = slow * math.exp(-ke * t) + fast * math.exp(-model.KA * t)  # noqa: B023  (called at once)
            inhibition = 0.0
            if concentration > 1e-12:
                inhibition = 1.0 / (1.0 + (ec50 / concentration) ** model.GAMMA)
            q1, q2, q3, s1, s2, s3 = y.tolist()
            return (
                K_QUICK * (inhibition - q1), K_QUICK * (q1 - q2), K_QUICK * (q2 - q3),
                K_SLOW * (inhibition - s1), K_SLOW * (s1 - s2), K_SLOW * (s2 - s3),
            )  # fmt: skip

        y = np.zeros(6)
        for day, dose in enumerate(cohort.dose_mg[:, i].tolist()):
            slow, fast = slow + dose * rise, fast - dose * rise
            y = odeint(slope, y, (0.0, 24.0), rtol=rtol, atol=1e-8)[-1]
            slow, fast = slow * math.exp(-24.0 * ke), fast * math.exp(-24.0 * model.KA)
            inr[day + 1, i] = model.INR_BASE + 0.5 * model.INR_MAX * (y[2] + y[5])
    return inr


def by_solve_ivp(cohort: Cohort, rtol: float = 1e-6, atol: float = 1e-8) -> np.ndarray:
    """All patients as one system of 8 B equations, drug amounts included; the inner loop is numpy's."""
    n = len(cohort.cl)

    def slope(_, y):
        gut, blood = y[:n], y[n : 2 * n]
        q1, q2, q3, s1, s2, s3 = y[2 * n :].reshape(6, n)
        powered = (np.maximum(blood, 0.0) / (cohort.v * cohort.ec50)) ** model.GAMMA
        inhibition = powered / (1.0 + powered)
        absorbed = model.KA * gut
        return np.concatenate([
            -absorbed, absorbed - cohort.cl / cohort.v * blood,
            K_QUICK * (inhibition - q1), K_QUICK * (q1 - q2), K_QUICK * (q2 - q3),
            K_SLOW * (inhibition - s1), K_SLOW * (s1 - s2), K_SLOW * (s2 - s3),
        ])  # fmt: skip

    y = np.zeros(8 * n)
    inr = np.empty((DAYS + 1, n))
    inr[0] = model.INR_BASE
    for day, dose in enumerate(cohort.dose_mg):
        y[:n] += model.S_SHARE * dose
        y = solve_ivp(slope, (0.0, 24.0), y, method="LSODA", rtol=rtol, atol=atol).y[:, -1]
        inr[day + 1] = model.INR_BASE + 0.5 * model.INR_MAX * (y[4 * n : 5 * n] + y[7 * n :])
    return inr


def by_numpy(cohort: Cohort, steps_per_day: int = 24) -> np.ndarray:
    """All patients at once: Runge-Kutta of order 4 with a fixed step, the plasma concentration in closed form."""
    n, h = len(cohort.cl), 24.0 / steps_per_day
    ke = cohort.cl / cohort.v
    rise = model.S_SHARE * model.KA / (cohort.v * (model.KA - ke))
    slow, fast = np.zeros(n), np.zeros(n)
    k = np.array([[K_QUICK], [K_SLOW]])
    y = np.zeros((3, 2, n))  # compartment, chain, patient
    inr = np.empty((DAYS + 1, n))
    inr[0] = model.INR_BASE

    def slope(y, inhibition):
        return k * (np.concatenate([np.broadcast_to(inhibition, (1, 2, n)), y[:2]]) - y)

    for day, dose in enumerate(cohort.dose_mg):
        slow, fast = slow + dose * rise, fast - dose * rise
        times = np.arange(2 * steps_per_day + 1)[:, None] * (h / 2)
        concentration = np.maximum(slow * np.exp(-ke * times) + fast * np.exp(-model.KA * times), 1e-12)
        inhibition = 1.0 / (1.0 + (cohort.ec50 / concentration) ** model.GAMMA)
        for step in range(steps_per_day):
            start, middle, end = inhibition[2 * step : 2 * step + 3]
            k1 = slope(y, start)
            k2 = slope(y + (h / 2) * k1, middle)
            k3 = slope(y + (h / 2) * k2, middle)
            k4 = slope(y + h * k3, end)
            y = y + (h / 6) * (k1 + 2 * k2 + 2 * k3 + k4)
        slow, fast = slow * np.exp(-24.0 * ke), fast * math.exp(-24.0 * model.KA)
        inr[day + 1] = model.INR_BASE + 0.5 * model.INR_MAX * (y[2, 0] + y[2, 1])
    return inr


def simulated(function: Callable[[Cohort], np.ndarray], num_patients: int) -> Contender:
    """Return a contender that simulates a month of a cohort."""
    cohort = Cohort(num_patients, seed=1)

    def run() -> int:
        function(cohort)
        return DAYS * num_patients

    return run


# -- the comparison ----------------------------------------------------------------------------------------------------


def contenders(work: float) -> dict[str, tuple[Contender, str]]:
    """Return what is timed and the method whose accuracy applies; ``work`` scales how long a measurement takes."""

    def months(num: int, per_measurement: float) -> int:
        return max(1, round(work * per_measurement / (DAYS * num)))

    found: dict[str, tuple[Contender, str]] = {}
    for num in BATCHES:
        found[f"complete environment step, batch {num}"] = (complete_step(num, months(num, 4e5 * min(num, 8))), "ours")
    for num in BATCHES:
        found[f"bare model, batch {num}"] = (bare_model(num, months(num, 3e6)), "ours")
    few, many = (8, 1024) if work >= 1.0 else (1, 16)
    found["scipy odeint (LSODA, rtol 1e-6), one patient at a time"] = (simulated(by_odeint, few), "odeint")
    found[f"scipy solve_ivp (LSODA, rtol 1e-6), {many} patients as one system"] = (
        simulated(by_solve_ivp, many),
        "solve_ivp",
    )
    found[f"numpy Runge-Kutta 4, 1 h steps, batch {many}"] = (simulated(by_numpy, many), "numpy")
    return found


def accuracy(num_patients: int) -> dict[str, float]:
    """Return each method's largest |INR difference| from the reference."""
    cohort = Cohort(num_patients, seed=2)
    exact = by_solve_ivp(cohort, rtol=1e-10, atol=1e-12)
    found = {
        "ours": model.simulate(cohort.cl, cohort.v, cohort.ec50, cohort.dose_mg),
        "odeint": by_odeint(cohort),
        "solve_ivp": by_solve_ivp(cohort),
        "numpy": by_numpy(cohort),
    }
    return {name: float(np.abs(inr - exact).max()) for name, inr in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="alternating measurements of each")
    parser.add_argument(
        "--work", type=float, default=1.0, help="scales the length of a measurement; 1 is good for figures"
    )
    parser.add_argument("--patients", type=int, default=24, help="patients whose month is compared with the reference")
    parser.add_argument("--core", type=int, default=default_core(), help="core to pin everything to; -1 for none")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/warfarin_simulation.md, too")
    options = parser.parse_args()
    pin(options.core)
    errors = accuracy(options.patients)
    timed = contenders(options.work)
    for run, _ in timed.values():
        run()  # compiles and warms up
    cpu: dict[str, list[float]] = {name: [] for name in timed}
    wall: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(options.repeats):
        for name, (run, _) in timed.items():
            began_cpu, began = time.process_time(), time.perf_counter()
            days = run()
            cpu[name].append(days / max(time.process_time() - began_cpu, 1e-9))
            wall[name].append(days / (time.perf_counter() - began))

    rows, summary = [], {}
    for name, (_, method) in timed.items():
        ratio = Spread.of([mine / theirs for mine, theirs in zip(cpu[YARDSTICK], cpu[name])])  # within a turn
        summary[name] = {
            "patient_days_per_cpu_second": Spread.of(cpu[name])._asdict(),
            "patient_days_per_second": Spread.of(wall[name])._asdict(),
            "complete_step_is_faster_by": ratio._asdict(),
            "max_inr_error": errors[method],
        }
        figures = f"{ratio:.2f}x" if ratio.median < 10 else f"{ratio:,.0f}x"
        rows.append(
            [
                name,
                f"{Spread.of(cpu[name]):,.0f}",
                f"{Spread.of(wall[name]).median:,.0f}",
                figures,
                f"{errors[method]:.1e}",
            ]
        )
    known: dict[str, Any] = facts(options.core, ("cumulant", "numpy", "numba", "scipy"))
    if options.json:
        print(json.dumps({"repeats": options.repeats, "runs": summary, "facts": known}))
        return
    head = [
        "warfarin",
        "patient-days per CPU-second",
        "per second (wall)",
        "complete step, batch 1024, is faster by",
        "max INR error",
    ]
    text = (
        f"Median (range) of {options.repeats} alternating measurements. A complete step is pharmacology, noise, harm, reward and "
        "restart; the bare model, scipy and numpy compute the INR only. The error is the largest |INR difference| from LSODA at "
        f"rtol 1e-10 over {options.patients} patients and {DAYS} days."
    )
    parts = [text, table(head, rows), "\n".join(f"- {line}" for line in facts_lines(known))]
    print("\n\n".join(parts))
    if options.write:
        print(f"\nwritten: {write_results('warfarin_simulation', 'Simulated patient-days a second', parts)}")


if __name__ == "__main__":
    main()
