"""Hamberg 2007: from a daily dose of warfarin to the INR, advanced exactly one day at a time; the second model.

Two compartments of S-warfarin, absorbed from the gut, inhibit the synthesis of clotting factors; a quick chain of six
compartments and a slow one of one carry the inhibition on to the INR:

    g' = -ka g,  c' = ka g - (k10 + k12) c + k21 p,  p' = k12 c - k21 p          amounts over V1, mg/L
    I  = c^gamma / (EC50^gamma + c^gamma)                                        share of the synthesis that is inhibited
    v1' = k1 (I - v1), ..., v6' = k1 (v5 - v6),  k1 = 6 / MTT1;  v7' = k2 (I - v7),  k2 = 1 / MTT2
    INR = BASE + INR_MAX (1 - (1 - v6) (1 - v7))^lambda

with k10 = CL / V1, k12 = Q / V1, k21 = Q / V2. The published chain variables are 1 - v. The method is that of ``model``; the
quick chain's kernel is narrow, and with 14 nodes the INR is within 2e-4 of an ODE solver's.

| parameter | value | source |
|---|---|---|
| CL of ``*1/*1`` at 71 years | 0.314 L/h, CL / F: no bioavailability is applied again | table 2, by [R] and [K] |
| reduction for ``*1/*2 *1/*3 *2/*2 *2/*3 *3/*3`` | .315 .453 .722 .690 .852 | the same |
| age on CL | -.0091 per year from 71 | the same |
| V1, Q, V2, ka | 13.8 L, .131 L/h, 6.59 L, 2 /h | the same |
| EC50 of G/G, G/A, A/A; gamma; Emax | 4.61, 3.02, 2.20 mg/L; .424; 1 | the same |
| MTT1, MTT2, lambda, INR_MAX | 11.6 h, 120 h, 3.61, 20 | the same |
| omega of CL, V1, V2, MTT1, MTT2, EC50 | .310 .262 .991 .141 1.02 .409 | the same; see ``people`` |

Source: Hamberg et al. 2007, Clin Pharmacol Ther 81:529, doi 10.1038/sj.clpt.6100084; values as in two independent codings of it,
ReiL's ``hamberg_pkpd`` [R] and kravvaz/PGxCATraining ``hamberg_2007.R`` by Patil and Fusaro [K].
Differs from source: BASE is 1 for everybody (measured in the paper). [K] lets age act above 71 years only; here, as in [R], it
acts below, too. The paper prints k1 = 1 / MTT1, and both codings use 6 / MTT1, since there are six compartments; so do we. The
reductions are as published although that of ``*2/*2`` exceeds that of ``*2/*3``: few subjects had either.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_REDUCTION = (0.0, 0.315, 0.453, 0.722, 0.690, 0.852)  # in the order of model.CYP2C9
CL_TYPICAL = 0.314 * (1.0 - np.array(_REDUCTION))  # L/h, at 71 years
EC50_TYPICAL = np.array([4.61, 3.02, 2.20])  # mg/L, in the order of model.VKORC1
AGE_ON_CL = -0.0091  # per year from 71
VOLUME, VOLUME2, FLOW = 13.8, 6.59, 0.131  # V1 L, V2 L, Q L/h
KA = 2.0  # 1/h
GAMMA, LAMBDA = 0.424, 3.61
MTT_QUICK, MTT_SLOW = 11.6, 120.0  # h
INR_MAX, INR_BASE = 20.0, 1.0
S_SHARE = 0.5  # the tablet is racemic; only S-warfarin is modelled

# What is remembered of one patient's body.
GUT, CENTRAL, PERIPHERAL = 0, 1, 2  # amounts over V1, mg/L
CHAIN, NUM_COMPARTMENTS = 3, 7  # inhibition that has reached v1 to v7
LOG_EC50 = CHAIN + NUM_COMPARTMENTS
RISE, ALPHA, BETA, K12, K21 = range(
    LOG_EC50 + 1, LOG_EC50 + 6
)  # 1/V1 times the S-share; rates of the two exponentials, 1/h
K_QUICK, K_SLOW = K21 + 1, K21 + 2
NUM_NODES = 14
ALPHA_DECAY = K_SLOW + 1  # exp(-alpha t) at each node, and exp(-24 alpha)
BETA_DECAY = ALPHA_DECAY + NUM_NODES + 1
QUICK_WEIGHT = BETA_DECAY + NUM_NODES + 1  # weight k1 exp(-k1 (24 - t)) at each node, and exp(-24 k1)
SLOW_WEIGHT = QUICK_WEIGHT + NUM_NODES + 1
BODY_SIZE = SLOW_WEIGHT + NUM_NODES + 1


def _nodes() -> tuple[np.ndarray, np.ndarray]:
    """Return hours and weights of the quadrature over a day, dense where the concentration rises after the dose."""
    x, w = np.polynomial.legendre.leggauss(NUM_NODES)
    s, w = (x + 1) / 2, w / 2
    return 24.0 * s**1.75, w * 42.0 * s**0.75


NODE_H, _WEIGHT = _nodes()
_GUT_NODE = np.exp(-KA * NODE_H)
_GUT_DAY = math.exp(-KA * 24.0)


@njit(cache=True, error_model="numpy")
def _set_rates(state: np.ndarray, i: int, at: int, cl: float, v: float, v2: float) -> None:
    k10, k12, k21 = cl / v, FLOW / v, FLOW / v2
    total = k10 + k12 + k21
    root = math.sqrt(total * total - 4.0 * k21 * k10)
    alpha = 0.5 * (total + root)
    beta = k21 * k10 / alpha
    state[i, at + ALPHA], state[i, at + BETA], state[i, at + K12], state[i, at + K21] = alpha, beta, k12, k21
    for n in range(NUM_NODES):
        state[i, at + ALPHA_DECAY + n], state[i, at + BETA_DECAY + n] = (
            math.exp(-alpha * NODE_H[n]),
            math.exp(-beta * NODE_H[n]),
        )
    state[i, at + ALPHA_DECAY + NUM_NODES], state[i, at + BETA_DECAY + NUM_NODES] = (
        math.exp(-alpha * 24.0),
        math.exp(-beta * 24.0),
    )


@njit(cache=True, error_model="numpy")
def start(
    state: np.ndarray, i: int, at: int, cl: float, v: float, ec50: float, v2: float, mtt_quick: float, mtt_slow: float
) -> None:
    """Write an untreated patient.

    Args:
        state: ``[B, S]``.
        i: Row.
        at: Column at which the body begins, ``BODY_SIZE`` of them.
        cl: Apparent clearance of S-warfarin, L/h.
        v: Central volume, L.
        ec50: Concentration that halves synthesis, mg/L.
        v2: Peripheral volume, L.
        mtt_quick: Mean transit time of the quick chain, h.
        mtt_slow: Of the slow one, h.
    """
    for k in range(LOG_EC50):
        state[i, at + k] = 0.0
    state[i, at + LOG_EC50] = math.log(ec50)
    state[i, at + RISE] = S_SHARE / v
    _set_rates(state, i, at, cl, v, v2)
    k1, k2 = 6.0 / mtt_quick, 1.0 / mtt_slow
    state[i, at + K_QUICK], state[i, at + K_SLOW] = k1, k2
    for n in range(NUM_NODES):
        state[i, at + QUICK_WEIGHT + n] = _WEIGHT[n] * k1 * math.exp(-k1 * (24.0 - NODE_H[n]))
        state[i, at + SLOW_WEIGHT + n] = _WEIGHT[n] * k2 * math.exp(-k2 * (24.0 - NODE_H[n]))
    state[i, at + QUICK_WEIGHT + NUM_NODES], state[i, at + SLOW_WEIGHT + NUM_NODES] = (
        math.exp(-24.0 * k1),
        math.exp(-24.0 * k2),
    )


@njit(cache=True, error_model="numpy")
def set_clearance(state: np.ndarray, i: int, at: int, cl: float, v: float, v2: float) -> None:
    """Change the clearance from now on; what is in the gut, in the blood and beyond stays.

    Args:
        state: ``[B, S]``.
        i: Row.
        at: Column at which the body begins, ``BODY_SIZE`` of them.
        cl: New apparent clearance, L/h.
        v: Central volume, L, as at the start.
        v2: Peripheral volume, L, as at the start.
    """
    _set_rates(state, i, at, cl, v, v2)


@njit(cache=True, error_model="numpy")
def _by_gut(state: np.ndarray, i: int, at: int) -> tuple[float, float, float]:
    """Return what 1 mg/L in the gut adds to the exponentials of the concentration: alpha, beta, ka."""
    alpha, beta, k21 = state[i, at + ALPHA], state[i, at + BETA], state[i, at + K21]
    return (
        KA * (k21 - alpha) / ((KA - alpha) * (beta - alpha)),
        KA * (k21 - beta) / ((KA - beta) * (alpha - beta)),
        KA * (k21 - KA) / ((alpha - KA) * (beta - KA)),
    )


@njit(cache=True, error_model="numpy")
def _day(state: np.ndarray, i: int, at: int, gut: float, a: float, b: float, arrive: np.ndarray) -> None:
    """Let the drug live a day, from its exponentials right after the dose, and write what reaches each compartment."""
    alpha, beta, k12, k21 = state[i, at + ALPHA], state[i, at + BETA], state[i, at + K12], state[i, at + K21]
    absorbed = gut * _by_gut(state, i, at)[2]
    log_ec50, k1 = state[i, at + LOG_EC50], state[i, at + K_QUICK]
    for j in range(NUM_COMPARTMENTS):
        arrive[j] = 0.0
    for n in range(NUM_NODES):
        concentration = a * state[i, at + ALPHA_DECAY + n] + b * state[i, at + BETA_DECAY + n] + absorbed * _GUT_NODE[n]
        if concentration > 1e-12:
            inhibition = 1.0 / (1.0 + math.exp(GAMMA * (log_ec50 - math.log(concentration))))
            share, waited = inhibition * state[i, at + QUICK_WEIGHT + n], k1 * (24.0 - NODE_H[n])
            arrive[0] += share
            for j in range(1, 6):
                share *= waited / j
                arrive[j] += share
            arrive[6] += inhibition * state[i, at + SLOW_WEIGHT + n]
    a, b = a * state[i, at + ALPHA_DECAY + NUM_NODES], b * state[i, at + BETA_DECAY + NUM_NODES]
    absorbed *= _GUT_DAY
    state[i, at + GUT], state[i, at + CENTRAL] = gut * _GUT_DAY, a + b + absorbed
    state[i, at + PERIPHERAL] = k12 * (a / (k21 - alpha) + b / (k21 - beta) + absorbed / (k21 - KA))


@njit(cache=True, error_model="numpy")
def _inr(state: np.ndarray, i: int, at: int) -> float:
    missing = 1.0 - (1.0 - state[i, at + CHAIN + 5]) * (1.0 - state[i, at + CHAIN + 6])
    return INR_BASE + INR_MAX * max(missing, 0.0) ** LAMBDA


@njit(cache=True, error_model="numpy")
def advance(state: np.ndarray, i: int, at: int, dose_mg: float) -> float:
    """Give a patient a dose and return the INR 24 h later.

    Args:
        state: ``[B, S]``, updated in place.
        i: Row.
        at: Column at which the body begins, ``BODY_SIZE`` of them.
        dose_mg: Racemic warfarin, mg.
    """
    alpha, beta, k21 = state[i, at + ALPHA], state[i, at + BETA], state[i, at + K21]
    gut, central, peripheral = (
        state[i, at + GUT] + dose_mg * state[i, at + RISE],
        state[i, at + CENTRAL],
        state[i, at + PERIPHERAL],
    )
    by_alpha, by_beta, _ = _by_gut(state, i, at)
    a = gut * by_alpha + (central * (k21 - alpha) + peripheral * k21) / (beta - alpha)
    b = gut * by_beta - (central * (k21 - beta) + peripheral * k21) / (beta - alpha)
    arrive = np.empty(NUM_COMPARTMENTS)
    _day(state, i, at, gut, a, b, arrive)
    day = 24.0 * state[i, at + K_QUICK]
    for j in range(5, -1, -1):
        term = state[i, at + QUICK_WEIGHT + NUM_NODES]
        for back in range(j + 1):  # what was `back` compartments before it
            arrive[j] += term * state[i, at + CHAIN + j - back]
            term *= day / (back + 1)
    arrive[6] += state[i, at + SLOW_WEIGHT + NUM_NODES] * state[i, at + CHAIN + 6]
    for j in range(NUM_COMPARTMENTS):
        state[i, at + CHAIN + j] = arrive[j]
    return _inr(state, i, at)


@njit(cache=True, error_model="numpy")
def settle(state: np.ndarray, i: int, at: int, dose_mg: float) -> float:
    """Put a patient where this dose every day has brought him for ever, and return the INR there, 24 h after a dose.

    Args:
        state: ``[B, S]``, after ``start``.
        i: Row.
        at: Column at which the body begins, ``BODY_SIZE`` of them.
        dose_mg: Racemic warfarin, mg a day.
    """
    rise = dose_mg * state[i, at + RISE]
    by_alpha, by_beta, _ = _by_gut(state, i, at)
    a = rise * by_alpha / (1.0 - state[i, at + ALPHA_DECAY + NUM_NODES])  # of all doses so far, right after the last
    b = rise * by_beta / (1.0 - state[i, at + BETA_DECAY + NUM_NODES])
    arrive = np.empty(NUM_COMPARTMENTS)
    _day(state, i, at, rise / (1.0 - _GUT_DAY), a, b, arrive)
    day, carry = 24.0 * state[i, at + K_QUICK], state[i, at + QUICK_WEIGHT + NUM_NODES]
    for j in range(6):  # a day leaves every compartment as it was
        term = carry
        for back in range(1, j + 1):
            term *= day / back
            arrive[j] += term * arrive[j - back]
        arrive[j] /= 1.0 - carry
    arrive[6] /= 1.0 - state[i, at + SLOW_WEIGHT + NUM_NODES]
    for j in range(NUM_COMPARTMENTS):
        state[i, at + CHAIN + j] = arrive[j]
    return _inr(state, i, at)


@njit(cache=True, error_model="numpy")
def concentration_now(state: np.ndarray, i: int, at: int) -> float:
    """Return the plasma concentration of S-warfarin, mg/L."""
    return state[i, at + CENTRAL]


@njit(cache=True, error_model="numpy")
def _simulate(state: np.ndarray, dose_mg: np.ndarray, inr: np.ndarray) -> None:
    for day in range(dose_mg.shape[0]):
        for i in range(dose_mg.shape[1]):
            inr[day + 1, i] = advance(state, i, 0, dose_mg[day, i])


def simulate(
    cl: np.ndarray,
    v: np.ndarray,
    ec50: np.ndarray,
    dose_mg: np.ndarray,
    v2: np.ndarray | float = VOLUME2,
    mtt_quick: np.ndarray | float = MTT_QUICK,
    mtt_slow: np.ndarray | float = MTT_SLOW,
) -> np.ndarray:
    """Return the true INR of untreated patients who then take these doses.

    Args:
        cl: Apparent clearance, L/h, ``[B]``.
        v: Central volume, L, ``[B]``.
        ec50: Concentration that halves synthesis, mg/L, ``[B]``.
        dose_mg: Dose of each day, ``[T, B]``.
        v2: Peripheral volume, L, ``[B]`` or one.
        mtt_quick: Mean transit time of the quick chain, h, ``[B]`` or one.
        mtt_slow: Of the slow one, h, ``[B]`` or one.

    Returns:
        INR before the first dose and 24 h after each, ``[T + 1, B]``.

    >>> inr = simulate(np.array([0.314]), np.array([13.8]), np.array([4.61]), np.full((20, 1), 5.0))
    >>> [round(float(x), 2) for x in inr[[0, 5, 20], 0]]  # *1/*1 and G/G at 71 years on 5 mg a day
    [1.0, 1.39, 1.91]
    """
    bodies = np.zeros((len(cl), BODY_SIZE))
    numbers = np.broadcast_arrays(cl, v, ec50, v2, mtt_quick, mtt_slow)
    for i in range(len(cl)):
        start(bodies, i, 0, *(float(x[i]) for x in numbers))
    inr = np.empty((len(dose_mg) + 1, len(cl)))
    inr[0] = INR_BASE
    _simulate(bodies, np.ascontiguousarray(dose_mg, dtype=np.float64), inr)
    return inr


def steady_state_dose(cl: np.ndarray, ec50: np.ndarray, inr: float | np.ndarray = 2.5) -> np.ndarray:
    """Return the daily dose that holds this INR for ever, taking the concentration as constant over the day.

    With ``x = (INR - BASE) / INR_MAX`` and ``A = sqrt(1 - x^(1 / lambda))``, ``C = EC50 ((1 - A) / A)^(1 / gamma)``, and
    ``dose = C CL 24 / S_SHARE``.

    Args:
        cl: Apparent clearance, L/h.
        ec50: Concentration that halves synthesis, mg/L.
        inr: INR to hold, between INR_BASE and INR_BASE + INR_MAX.

    >>> round(float(steady_state_dose(CL_TYPICAL[0], EC50_TYPICAL[0])), 2)  # *1/*1, G/G, 71 years: mg a day
    7.89
    """
    left = np.sqrt(1.0 - ((np.asarray(inr) - INR_BASE) / INR_MAX) ** (1.0 / LAMBDA))
    return ec50 * ((1.0 - left) / left) ** (1.0 / GAMMA) * cl * 24.0 / S_SHARE
