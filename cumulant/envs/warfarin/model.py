"""Hamberg 2010: from a daily dose of warfarin to the INR, advanced exactly one day at a time.

One compartment of S-warfarin, absorbed from the gut, inhibits the synthesis of clotting factors; two chains of three
compartments, one quick and one slow, carry the inhibition on to the INR:

    C(t)  = slow exp(-ke t) + fast exp(-ka t)             plasma concentration, mg/L
    I(t)  = C^gamma / (EC50^gamma + C^gamma)              share of the synthesis that is inhibited
    dv1   = k (I - v1),  dv2 = k (v1 - v2),  dv3 = k (v2 - v3),   k = 3 / MTT, for each of the two chains
    INR   = BASE + INR_MAX (v3_quick + v3_slow) / 2

The published chain variables are 1 - v, so that an untreated patient is at 0 here and at 1 there.

Only the state after 24 h is needed, and the transit times do not vary between patients. A chain's 24 h update is
therefore its Erlang propagation of the state, plus the integral of the Erlang kernel times the inhibition, which
Gauss-Legendre quadrature with 8 nodes in ``t = 24 s^2`` gives to 2e-4 INR (the nodes crowd where the concentration
rises after the dose; on the first day it rises from zero). The weights are the same numbers for everybody.

Source: Hamberg et al. 2010, Clin Pharmacol Ther 87:727, doi 10.1038/clpt.2010.37, the conc-driven form; values as in
two independent codings of it (ReiL ``hamberg_pkpd_2010``; DavAug/mipd-warfarin) and, for the pharmacokinetics,
nlmixr2lib ``Xia_2024``.
Differs from source: BASE is 1 for everybody (measured in the paper). Clearance falls with age, as the paper has it; one
of the codings has the sign of age wrong.

Between-patient variability: the published omegas are CL .089, V .054, EC50 .34, and it is ambiguous whether these are
variances or standard deviations of the logarithm. Here CL and V are read as variances (log-SD .298 and .232) and EC50
as a standard deviation (.34), which gives a log-dose SD of .45; real stable patients show about .40 (IWPC 2009).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# Every allele adds its share of the clearance of S-warfarin, and of the concentration that halves synthesis.
CYP2C9 = ("*1/*1", "*1/*2", "*1/*3", "*2/*2", "*2/*3", "*3/*3")
VKORC1 = ("G/G", "G/A", "A/A")
_CL_ALLELE = {"*1": 0.174, "*2": 0.0879, "*3": 0.0422}  # L/h per allele, at 71 years
_EC50_ALLELE = {"G": 2.05, "A": 0.96}  # mg/L per allele
CL_TYPICAL = np.array([sum(_CL_ALLELE[allele] for allele in genotype.split("/")) for genotype in CYP2C9])
EC50_TYPICAL = np.array([sum(_EC50_ALLELE[allele] for allele in genotype.split("/")) for genotype in VKORC1])
AGE_ON_CL = -0.00571  # per year from 71 (Hamberg 2010)
VOLUME = 14.3  # L
KA = 2.0  # 1/h, fixed in the paper
GAMMA = 1.15  # steepness of the inhibition
MTT_QUICK, MTT_SLOW = 28.6, 118.3  # h, mean transit times of the two chains
INR_MAX, INR_BASE = 20.0, 1.0
S_SHARE = 0.5  # the tablet is racemic; only S-warfarin is modelled
LOG_SD_CL, LOG_SD_V, LOG_SD_EC50 = 0.298, 0.232, 0.34  # see the module's docstring

# What is remembered of one patient's body.
SLOW, FAST = 0, 1  # the two exponentials of the plasma concentration, mg/L
QUICK1, QUICK2, QUICK3, LATE1, LATE2, LATE3 = 2, 3, 4, 5, 6, 7  # inhibition that has reached each compartment
RISE, DAY_DECAY, LOG_EC50 = 8, 9, 10  # mg/L per mg of dose; exp(-24 ke); ln EC50
DECAY = 11  # exp(-ke t) at each node
NUM_NODES = 8
BODY_SIZE = DECAY + NUM_NODES
CHAIN, NUM_COMPARTMENTS = QUICK1, 6  # where the compartments begin, and how many there are


def _quadrature() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nodes [N] in hours, the integral weights [N, 6] and the propagation [6] of the two chains."""
    x, w = np.polynomial.legendre.leggauss(NUM_NODES)
    s, w = (x + 1) / 2, w / 2
    node_h, w = 24.0 * s**2, w * 48.0 * s
    rates = 3.0 / MTT_QUICK, 3.0 / MTT_SLOW

    def erlang(k: float, j: int, t: np.ndarray | float) -> np.ndarray:
        return np.asarray((k * t) ** j / math.factorial(j) * np.exp(-k * t))

    weights = np.stack([w * k * erlang(k, j, 24.0 - node_h) for k in rates for j in range(3)], axis=1)
    return node_h, weights, np.array([erlang(k, j, 24.0) for k in rates for j in range(3)])


NODE_H, _WEIGHTS, _CARRY = _quadrature()
_FAST_NODE = np.exp(-KA * NODE_H)
_FAST_DAY = math.exp(-KA * 24.0)


@njit(cache=True, error_model="numpy")
def _set_rates(state: np.ndarray, i: int, at: int, cl: float, v: float) -> None:
    ke = cl / v
    state[i, at + RISE] = S_SHARE * KA / (v * (KA - ke))
    state[i, at + DAY_DECAY] = math.exp(-ke * 24.0)
    for n in range(NUM_NODES):
        state[i, at + DECAY + n] = math.exp(-ke * NODE_H[n])


@njit(cache=True, error_model="numpy")
def start(state: np.ndarray, i: int, at: int, cl: float, v: float, ec50: float) -> None:
    """Write an untreated patient.

    Args:
        state: ``[B, S]``.
        i: Row.
        at: Column at which the body begins, ``BODY_SIZE`` of them.
        cl: Clearance of S-warfarin, L/h.
        v: Volume, L.
        ec50: Concentration that halves synthesis, mg/L.
    """
    for k in range(RISE):
        state[i, at + k] = 0.0
    state[i, at + LOG_EC50] = math.log(ec50)
    _set_rates(state, i, at, cl, v)


@njit(cache=True, error_model="numpy")
def set_clearance(state: np.ndarray, i: int, at: int, cl: float, v: float) -> None:
    """Change the clearance from now on; what is in the gut and in the blood stays.

    Args:
        state: ``[B, S]``.
        i: Row.
        at: Column at which the body begins, ``BODY_SIZE`` of them.
        cl: New clearance, L/h.
        v: Volume, L, as at the start.
    """
    blood, rise = state[i, at + SLOW] + state[i, at + FAST], state[i, at + RISE]
    _set_rates(state, i, at, cl, v)
    state[i, at + FAST] *= state[i, at + RISE] / rise  # the gut holds -FAST / RISE, in mg of dose
    state[i, at + SLOW] = blood - state[i, at + FAST]


@njit(cache=True, error_model="numpy")
def _arriving(
    state: np.ndarray, i: int, at: int, slow: float, fast: float
) -> tuple[float, float, float, float, float, float]:
    """Return what a day's inhibition adds to each compartment, given both exponentials right after the dose."""
    log_ec50 = state[i, at + LOG_EC50]
    q1, q2, q3, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for n in range(NUM_NODES):
        concentration = slow * state[i, at + DECAY + n] + fast * _FAST_NODE[n]
        if concentration > 1e-12:
            inhibition = 1.0 / (1.0 + math.exp(GAMMA * (log_ec50 - math.log(concentration))))
            q1 += _WEIGHTS[n, 0] * inhibition
            q2 += _WEIGHTS[n, 1] * inhibition
            q3 += _WEIGHTS[n, 2] * inhibition
            s1 += _WEIGHTS[n, 3] * inhibition
            s2 += _WEIGHTS[n, 4] * inhibition
            s3 += _WEIGHTS[n, 5] * inhibition
    return q1, q2, q3, s1, s2, s3


@njit(cache=True, error_model="numpy")
def advance(state: np.ndarray, i: int, at: int, dose_mg: float) -> float:
    """Give a patient a dose and return the INR 24 h later.

    Args:
        state: ``[B, S]``, updated in place.
        i: Row.
        at: Column at which the body begins, ``BODY_SIZE`` of them.
        dose_mg: Racemic warfarin, mg.
    """
    slow = state[i, at + SLOW] + dose_mg * state[i, at + RISE]
    fast = state[i, at + FAST] - dose_mg * state[i, at + RISE]
    q1, q2, q3, s1, s2, s3 = _arriving(state, i, at, slow, fast)
    q3 += _CARRY[0] * state[i, at + QUICK3] + _CARRY[1] * state[i, at + QUICK2] + _CARRY[2] * state[i, at + QUICK1]
    q2 += _CARRY[0] * state[i, at + QUICK2] + _CARRY[1] * state[i, at + QUICK1]
    q1 += _CARRY[0] * state[i, at + QUICK1]
    s3 += _CARRY[3] * state[i, at + LATE3] + _CARRY[4] * state[i, at + LATE2] + _CARRY[5] * state[i, at + LATE1]
    s2 += _CARRY[3] * state[i, at + LATE2] + _CARRY[4] * state[i, at + LATE1]
    s1 += _CARRY[3] * state[i, at + LATE1]
    state[i, at + QUICK1], state[i, at + QUICK2], state[i, at + QUICK3] = q1, q2, q3
    state[i, at + LATE1], state[i, at + LATE2], state[i, at + LATE3] = s1, s2, s3
    state[i, at + SLOW], state[i, at + FAST] = slow * state[i, at + DAY_DECAY], fast * _FAST_DAY
    return INR_BASE + 0.5 * INR_MAX * (q3 + s3)


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
    slow, fast = rise / (1.0 - state[i, at + DAY_DECAY]), -rise / (1.0 - _FAST_DAY)  # right after a dose
    q1, q2, q3, s1, s2, s3 = _arriving(state, i, at, slow, fast)
    q1 /= 1.0 - _CARRY[0]  # a day leaves every compartment as it was
    q2 = (q2 + _CARRY[1] * q1) / (1.0 - _CARRY[0])
    q3 = (q3 + _CARRY[1] * q2 + _CARRY[2] * q1) / (1.0 - _CARRY[0])
    s1 /= 1.0 - _CARRY[3]
    s2 = (s2 + _CARRY[4] * s1) / (1.0 - _CARRY[3])
    s3 = (s3 + _CARRY[4] * s2 + _CARRY[5] * s1) / (1.0 - _CARRY[3])
    state[i, at + QUICK1], state[i, at + QUICK2], state[i, at + QUICK3] = q1, q2, q3
    state[i, at + LATE1], state[i, at + LATE2], state[i, at + LATE3] = s1, s2, s3
    state[i, at + SLOW], state[i, at + FAST] = slow * state[i, at + DAY_DECAY], fast * _FAST_DAY
    return INR_BASE + 0.5 * INR_MAX * (q3 + s3)


@njit(cache=True, error_model="numpy")
def concentration_now(state: np.ndarray, i: int, at: int) -> float:
    """Return the plasma concentration of S-warfarin, mg/L."""
    return state[i, at + SLOW] + state[i, at + FAST]


@njit(cache=True, error_model="numpy")
def _simulate(state: np.ndarray, dose_mg: np.ndarray, inr: np.ndarray) -> None:
    for day in range(dose_mg.shape[0]):
        for i in range(dose_mg.shape[1]):
            inr[day + 1, i] = advance(state, i, 0, dose_mg[day, i])


def simulate(cl: np.ndarray, v: np.ndarray, ec50: np.ndarray, dose_mg: np.ndarray) -> np.ndarray:
    """Return the true INR of untreated patients who then take these doses.

    Args:
        cl: Clearance, L/h, ``[B]``.
        v: Volume, L, ``[B]``.
        ec50: Concentration that halves synthesis, mg/L, ``[B]``.
        dose_mg: Dose of each day, ``[T, B]``.

    Returns:
        INR before the first dose and 24 h after each, ``[T + 1, B]``.

    >>> inr = simulate(np.array([0.348]), np.array([14.3]), np.array([4.1]), np.full((20, 1), 5.0))
    >>> [round(float(x), 2) for x in inr[[0, 5, 20], 0]]  # *1/*1 and G/G at 71 years on 5 mg a day
    [1.0, 1.62, 1.94]
    """
    bodies = np.zeros((len(cl), BODY_SIZE))
    for i in range(len(cl)):
        start(bodies, i, 0, cl[i], v[i], ec50[i])
    inr = np.empty((len(dose_mg) + 1, len(cl)))
    inr[0] = INR_BASE
    _simulate(bodies, np.ascontiguousarray(dose_mg, dtype=np.float64), inr)
    return inr


def steady_state_dose(cl: np.ndarray, ec50: np.ndarray, inr: float = 2.5) -> np.ndarray:
    """Return the daily dose that holds this INR for ever, taking the concentration as constant over the day.

    ``C = EC50 (x / (1 - x))^(1 / gamma)`` with ``x = (INR - BASE) / INR_MAX``, and ``dose = C CL 24 / S_SHARE``.

    Args:
        cl: Clearance, L/h.
        ec50: Concentration that halves synthesis, mg/L.
        inr: INR to hold, between INR_BASE and INR_BASE + INR_MAX.

    >>> round(float(steady_state_dose(CL_TYPICAL[0], EC50_TYPICAL[0])), 2)  # *1/*1, G/G, 71 years: mg a day
    7.71
    """
    x = (inr - INR_BASE) / INR_MAX
    return ec50 * (x / (1.0 - x)) ** (1.0 / GAMMA) * cl * 24.0 / S_SHARE
