"""Simulated patient-days a second: the warfarin environment, its bare model, and the same by scipy, numpy and ReiL.

A complete environment step is what an agent trains on: pharmacology, measurement noise, bleeds and clots, reward terms,
episode log, and new patients where episodes end. The scipy environment (``warfarin_peers``) does the same for one patient at a
time, with the loosest tolerance at which it is as accurate as ours. The others compute the INR and nothing else, so those ratios
are on the cautious side. All run in this process on one core with one thread, in turns; compilation is not counted.

Accuracy is the largest |INR difference| over random patients and doses from LSODA at rtol 1e-10, which integrates the drug
amounts as well and shares no code with any contender. ReiL's is the difference of its typical patient from our Hamberg 2007.

    python benchmarks/warfarin_simulation.py
    pip download --no-deps reil==0.1.0 && python benchmarks/warfarin_simulation.py --reil ReiL-0.1.0-py3-none-any.whl
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import Spread, default_core, facts, facts_lines, one_thread, pin, table, write_results

one_thread()  # before numpy and numba are imported

import numpy as np  # noqa: E402
from numba import njit  # noqa: E402
from scipy.integrate import solve_ivp  # noqa: E402
from warfarin_peers import ScipyEnvironment, by_reil, load_reil, loosest  # noqa: E402

from cumulant.envs.batched import Batch  # noqa: E402
from cumulant.envs.warfarin import model, model2007  # noqa: E402
from cumulant.envs.warfarin.env import Warfarin  # noqa: E402
from cumulant.envs.warfarin.patients import Patients  # noqa: E402

DAYS = 30
BATCHES = (1, 64, 1024, 16384)
YARDSTICK = "complete environment step, batch 1024"
YARDSTICK_2007 = "complete environment step, Hamberg 2007, batch 1024"
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


def complete_step(num_envs: int, months: int, **options: Any) -> Contender:
    """Return a contender that steps the environment with random actions, and drains the episode log once a month."""
    batch = Batch(Warfarin(days=DAYS, **options).kernel(), num_envs, seed=1)
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


def scipy_environment(method: str, rtol: float, months: int) -> Contender:
    """Return a contender that steps the scipy environment with random actions."""
    env = ScipyEnvironment(Cohort(64, seed=1), method, rtol)
    actions = np.random.default_rng(0).integers(0, 3, size=months * DAYS).tolist()

    def run() -> int:
        env.reset()
        for action in actions:
            if env.step(action)[2]:
                env.reset()
        return len(actions)

    return run


def reil_model(reil: Any, months: int) -> Contender:
    """Return a contender that doses ReiL's patient and asks for the INR every day."""

    def run() -> int:
        for _ in range(months):
            by_reil(reil, np.full(DAYS, 5.0))
        return months * DAYS

    return run


def simulated(function: Callable[[Cohort], np.ndarray], num_patients: int) -> Contender:
    """Return a contender that simulates a month of a cohort."""
    cohort = Cohort(num_patients, seed=1)

    def run() -> int:
        function(cohort)
        return DAYS * num_patients

    return run


# -- the comparison ----------------------------------------------------------------------------------------------------


def contenders(work: float, tolerances: dict[str, float], reil: Any) -> dict[str, tuple[Contender, str]]:
    """Return what is timed and the method whose accuracy applies; ``work`` scales how long a measurement takes."""

    def months(num: int, per_measurement: float) -> int:
        return max(1, round(work * per_measurement / (DAYS * num)))

    found: dict[str, tuple[Contender, str]] = {}
    for num in BATCHES:
        found[f"complete environment step, batch {num}"] = (complete_step(num, months(num, 4e5 * min(num, 8))), "ours")
    found[YARDSTICK_2007] = (complete_step(1024, months(1024, 2e6), model="hamberg2007"), "2007")
    for num in BATCHES:
        found[f"bare model, batch {num}"] = (bare_model(num, months(num, 3e6)), "ours")
    many = 1024 if work >= 0.1 else 16
    for method, rtol in tolerances.items():
        what = "odeint (LSODA)" if method == "odeint" else f"solve_ivp ({method})"
        found[f"scipy environment, {what}, rtol {rtol:g}"] = (scipy_environment(method, rtol, months(1, 9e3)), method)
    if reil is not None:
        found["ReiL 0.1.0, Hamberg 2007, INR only"] = (reil_model(reil, months(1, 9e3)), "ReiL")
    found[f"scipy solve_ivp (LSODA, rtol 1e-6), {many} patients as one system"] = (
        simulated(by_solve_ivp, many),
        "solve_ivp",
    )
    found[f"numpy Runge-Kutta 4, 1 h steps, batch {many}"] = (simulated(by_numpy, many), "numpy")
    return found


def accuracy(num_patients: int, reil: Any) -> tuple[dict[str, float], dict[str, float]]:
    """Return each method's largest |INR difference| from the reference, and the tolerances with which scipy reaches ours."""
    cohort = Cohort(num_patients, seed=2)
    exact = by_solve_ivp(cohort, rtol=1e-10, atol=1e-12)
    computed = {
        "ours": model.simulate(cohort.cl, cohort.v, cohort.ec50, cohort.dose_mg),
        "solve_ivp": by_solve_ivp(cohort),
        "numpy": by_numpy(cohort),
    }
    found = {name: float(np.abs(inr - exact).max()) for name, inr in computed.items()}
    found["2007"] = error_2007(num_patients)
    tolerances = {}
    for method in ("odeint", "LSODA", "RK45"):
        tolerances[method], found[method] = loosest(cohort, method, exact, found["ours"])
    if reil is not None:  # it multiplies an apparent clearance by a bioavailability of 0.9 once more: so do we, here
        usual = np.full(DAYS, 5.0)
        typical = (np.array([0.314]), np.array([13.8]), np.array([4.61]))
        ours = model2007.simulate(*typical, 0.9 * usual[:, None])[1:, 0]
        found["ReiL"] = float(np.abs(by_reil(reil, usual) - ours).max())
    return found, tolerances


def error_2007(num_patients: int) -> float:
    """Return the largest |INR difference| of our Hamberg 2007 from LSODA at rtol 1e-10, typical transit times, random doses."""
    cohort = Cohort(num_patients, seed=2)
    n, v1 = num_patients, np.full(num_patients, model2007.VOLUME)
    k10, k12, k21 = cohort.cl / v1, model2007.FLOW / v1, model2007.FLOW / model2007.VOLUME2
    k1, k2 = 6.0 / model2007.MTT_QUICK, 1.0 / model2007.MTT_SLOW

    def slope(_, y):
        gut, blood, tissue, chain = y[:n], y[n : 2 * n], y[2 * n : 3 * n], y[3 * n :].reshape(7, n)
        powered = (np.maximum(blood, 0.0) / cohort.ec50) ** model2007.GAMMA
        arriving = powered / (1.0 + powered)
        quick = k1 * (np.concatenate([arriving[None], chain[:5]]) - chain[:6])
        flows = [-2.0 * gut, 2.0 * gut - (k10 + k12) * blood + k21 * tissue, k12 * blood - k21 * tissue]
        return np.concatenate([*flows, *quick, k2 * (arriving - chain[6])])

    y, inr = np.zeros(10 * n), [np.ones(n)]
    for dose in cohort.dose_mg:
        y[:n] += model2007.S_SHARE * dose / v1
        y = solve_ivp(slope, (0.0, 24.0), y, method="LSODA", rtol=1e-10, atol=1e-13).y[:, -1]
        missing = 1.0 - (1.0 - y[8 * n : 9 * n]) * (1.0 - y[9 * n :])
        inr.append(model2007.INR_BASE + model2007.INR_MAX * missing**model2007.LAMBDA)
    ours = model2007.simulate(cohort.cl, v1, cohort.ec50, cohort.dose_mg)
    return float(np.abs(ours - np.array(inr)).max())


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
    parser.add_argument("--reil", type=Path, help="wheel of ReiL 0.1.0, for the public coding of Hamberg 2007")
    options = parser.parse_args()
    pin(options.core)
    reil = None if options.reil is None else load_reil(options.reil)
    errors, tolerances = accuracy(options.patients, reil)
    timed = contenders(options.work, tolerances, reil)
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
        same_model = YARDSTICK_2007 if method == "ReiL" else YARDSTICK
        ratio = Spread.of([mine / theirs for mine, theirs in zip(cpu[same_model], cpu[name])])  # within a turn
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
        "restart, and so is a step of the scipy environments, at the loosest tolerance at which they "
        "are as accurate as ours. The bare model, the 1024 patients as one system, numpy and ReiL compute the INR only. ReiL is "
        "compared with our complete step of the same model. The error is the largest |INR difference| from LSODA at "
        f"rtol 1e-10 over {options.patients} patients and {DAYS} days (ReiL's, from our Hamberg 2007)."
    )
    parts = [text, table(head, rows), "\n".join(f"- {line}" for line in facts_lines(known))]
    print("\n\n".join(parts))
    if options.write:
        print(f"\nwritten: {write_results('warfarin_simulation', 'Simulated patient-days a second', parts)}")


if __name__ == "__main__":
    main()
