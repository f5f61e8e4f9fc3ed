"""What the warfarin simulation is compared with: the same environment over scipy, and the public coding of Hamberg 2007 in ReiL.

The scipy environment is what one would write without compiled code: one patient, a day's integration by scipy, then the
measurement with its noise, the hazards of bleeding and clots with their draws, the reward, and the observation of 14 numbers;
a new patient where an episode ends.

ReiL (MIT licence) computes concentrations and the INR, and nothing else. Its package needs TensorFlow; only the file of the
model is loaded, from a wheel that the user downloaded (``pip download --no-deps reil==0.1.0``), with stand-ins for what that
file imports.
"""

from __future__ import annotations

import math
import sys
import types
import typing
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import odeint, solve_ivp

from cumulant.envs.warfarin import harm, model

K_QUICK, K_SLOW = 3.0 / model.MTT_QUICK, 3.0 / model.MTT_SLOW
DAYS = 30
REIL_FILE = "reil/healthcare/mathematical_models/hamberg_pkpd.py"


class Body:
    """One patient's pharmacology by scipy: chains integrated, the plasma concentration in closed form.

    Args:
        cl: Clearance, L/h.
        v: Volume, L.
        ec50: Concentration that halves synthesis, mg/L.
        method: "odeint", or a method of ``solve_ivp``.
        rtol: Relative tolerance; the absolute one is a hundredth of it.
    """

    def __init__(self, cl: float, v: float, ec50: float, method: str, rtol: float) -> None:
        self.ke, self.ec50, self.method, self.rtol = cl / v, ec50, method, rtol
        self.rise = model.S_SHARE * model.KA / (v * (model.KA - self.ke))
        self.slow = self.fast = 0.0
        self.y: Any = [0.0] * 6

    def day(self, dose_mg: float) -> float:
        """Give a dose and return the INR 24 h later."""
        self.slow += dose_mg * self.rise
        self.fast -= dose_mg * self.rise
        slow, fast, ke, ec50 = self.slow, self.fast, self.ke, self.ec50

        def slope(t: float, y: Any) -> tuple[float, ...]:
            concentration = slow * math.exp(-ke * t) + fast * math.exp(-model.KA * t)
            inhibition = 0.0
            if concentration > 1e-12:
                inhibition = 1.0 / (1.0 + (ec50 / concentration) ** model.GAMMA)
            q1, q2, q3, s1, s2, s3 = y.tolist()
            return (
                K_QUICK * (inhibition - q1), K_QUICK * (q1 - q2), K_QUICK * (q2 - q3),
                K_SLOW * (inhibition - s1), K_SLOW * (s1 - s2), K_SLOW * (s2 - s3),
            )  # fmt: skip

        atol = 0.01 * self.rtol
        if self.method == "odeint":
            self.y = odeint(slope, self.y, (0.0, 24.0), rtol=self.rtol, atol=atol, tfirst=True)[-1]
        else:
            self.y = solve_ivp(slope, (0.0, 24.0), self.y, method=self.method, rtol=self.rtol, atol=atol).y[:, -1]
        self.slow, self.fast = slow * math.exp(-24.0 * ke), fast * math.exp(-24.0 * model.KA)
        return float(model.INR_BASE + 0.5 * model.INR_MAX * (self.y[2] + self.y[5]))


class ScipyEnvironment:
    """The dosing environment for one patient at a time, over scipy: daily tests, steps of 1 mg, the default reward.

    Args:
        cohort: Anything with ``cl, v, ec50``, ``[B]``; patients are taken from it in turn.
        method: As in ``Body``.
        rtol: As in ``Body``.
    """

    def __init__(self, cohort: Any, method: str, rtol: float) -> None:
        self.cohort, self.method, self.rtol = cohort, method, rtol
        self.rng = np.random.default_rng(0)
        self.patient = -1

    def reset(self) -> np.ndarray:
        """Begin with the next patient."""
        self.patient = (self.patient + 1) % len(self.cohort.cl)
        i = self.patient
        self.body = Body(
            float(self.cohort.cl[i]), float(self.cohort.v[i]), float(self.cohort.ec50[i]), self.method, self.rtol
        )
        self.age, self.weight = self.rng.normal(67.3, 13.43), self.rng.normal(90.4, 24.8)
        self.dose, self.doses = 5.0, [5.0, 5.0, 5.0]
        self.day, self.alive = 1, True
        self.measured, self.test_days = [self._measure(1.0)] * 4, [1] * 4
        return self._observe()

    def _measure(self, inr: float) -> float:
        noisy = inr * math.exp(0.1 * self.rng.standard_normal())
        return min(max(math.floor(noisy * 10.0 + 0.5) / 10.0, 0.8), 25.0)

    def _observe(self) -> np.ndarray:
        waits = [self.day - day for day in self.test_days]
        return np.array([*self.measured, *waits, *self.doses, self.day, self.age, self.weight], np.float32)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, dict[str, float]]:
        """Live a day; return observation, reward, whether it was the last, and what happened."""
        self.dose = min(max(self.dose + action - 1, 0.0), 15.0)
        inr = self.body.day(self.dose)
        bleed_risk, clot_risk = harm.bleed_probability(inr), harm.thromboembolism_probability(inr)
        bleed = self.alive and self.rng.random() < bleed_risk
        clot = self.alive and self.rng.random() < clot_risk
        death = bleed and self.rng.random() < harm.BLEED_FATALITY
        self.alive = self.alive and not death
        self.day += 1
        self.doses = [self.dose, *self.doses[:2]]
        self.measured, self.test_days = [self._measure(inr), *self.measured[:3]], [self.day, *self.test_days[:3]]
        reward = (1.0 if 2.0 <= inr <= 3.0 else 0.0) - (0.5 if inr < 2.0 else 0.0) - (2.0 if inr > 4.0 else 0.0)
        info = {"inr": inr, "major_bleed": float(bleed), "thromboembolism": float(clot), "alive": float(self.alive)}
        return self._observe(), reward - 5.0 * bleed, self.day > DAYS, info


def by_scipy(cohort: Any, method: str, rtol: float) -> np.ndarray:
    """Return the INR of a month, ``[T + 1, B]``, from the scipy environment's pharmacology."""
    inr = np.ones((DAYS + 1, len(cohort.cl)))
    for i in range(len(cohort.cl)):
        body = Body(float(cohort.cl[i]), float(cohort.v[i]), float(cohort.ec50[i]), method, rtol)
        for day, dose in enumerate(cohort.dose_mg[:, i].tolist()):
            inr[day + 1, i] = body.day(dose)
    return inr


def loosest(cohort: Any, method: str, exact: np.ndarray, allowed: float) -> tuple[float, float]:
    """Return the largest relative tolerance with which a method is as accurate as allowed, and its largest INR error."""
    for rtol in (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7):
        error = float(np.abs(by_scipy(cohort, method, rtol) - exact).max())
        if error <= allowed:
            return rtol, error
    raise RuntimeError(f"{method} does not come within {allowed:g} of the reference")


def load_reil(wheel: Path) -> Any:
    """Return ReiL's class HambergPKPD from its wheel, without its package."""

    def stand_in(name: str, **attributes: Any) -> None:
        module = types.ModuleType(name)
        module.__path__ = []  # type: ignore[attr-defined]
        for key, value in attributes.items():
            setattr(module, key, value)
        sys.modules[name] = module

    for name in ("reil", "reil.datatypes", "reil.healthcare", "reil.healthcare.mathematical_models", "reil.utils"):
        stand_in(name)
    stand_in("reil.utils.functions", random_lognormal_truncated=None, random_categorical=None, random_uniform=None)
    feature = types.new_class("Feature", (typing.Generic[typing.TypeVar("T")],))  # type: ignore[misc]
    stand_in("reil.datatypes.feature", Feature=feature)
    stand_in("reil.healthcare.mathematical_models.health_math_model", HealthMathModel=object)
    with zipfile.ZipFile(wheel) as archive:
        source = archive.read(REIL_FILE).decode("utf-8")
    name = "reil.healthcare.mathematical_models.hamberg_pkpd"
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, f"{wheel.name}/{REIL_FILE}", "exec"), module.__dict__)  # the user named the wheel
    return module.__dict__["HambergPKPD"]


def by_reil(reil: Any, dose_mg: np.ndarray) -> np.ndarray:
    """Return the INR of ReiL's typical patient (*1/*1, G/G, 71 years) after each dose, without its noise, ``[T]``.

    It is given a dose and asked for the INR every day, as an agent would.
    """

    def known(value: Any) -> Any:
        return types.SimpleNamespace(value=value)

    patient = reil(randomized=False, cache_size=len(dose_mg))
    patient.setup(
        age=known(71.0), CYP2C9=known("*1/*1"), MTT_1=known(11.6), MTT_2=known(120.0), V1=known(13.8), V2=known(6.59),
        EC_50=known(4.61), CL_S_cyp_1_1=known(0.314),
    )  # fmt: skip
    inr = []
    for day, dose in enumerate(dose_mg.tolist()):
        patient.dose = {day: dose}
        inr += patient.INR([day + 1])
    return np.array(inr)
