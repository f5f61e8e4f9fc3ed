"""A Bayesian filter over a patient's hidden parameters, as an observation: what all tests say, not only the last four.

It runs the model for a grid of hypotheses at once, all of them on the doses that were given, and weighs each by how
well it has foretold every test so far (Bayes' rule; m is the measured INR):

    ln w_h = ln prior_h - sum over tests (ln m - ln INR_h)^2 / (2 (0.10^2 + 0.05^2))

A hypothesis pairs one of P clearances (each with a volume) with one of E values of EC50. The filter takes the
measurement noise to be 10 %, as a clinic would, whatever it is; 5 % stand for the grid and the model being wrong. The
prior is the Aurora cohort's mixture over genotypes, whatever cohort is treated, or the patient's own genotype where the
agent sees it, with the effect of age on clearance: what a clinic knows, never the true parameters. The filter believes in
Hamberg 2010, its published variability and 10 % noise, which are also what simulates patients unless told otherwise: that
flatters it, and only another model, cohort or noise tests it.

Source: the Bayesian dosing of Hamberg et al. 2015 (BMC Med Inform Decis Mak 15:7) is the idea. Differs from source: a
grid instead of the mode of the posterior.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from cumulant.envs.warfarin import cohorts, model, patients

NUM_PK, NUM_EC50 = 8, 16  # P, E
_H = NUM_PK * NUM_EC50
_LOG_CL = np.linspace(math.log(0.09), math.log(0.55), NUM_PK)  # L/h
# The volume is known less well than it matters: it alternates, so that both deviations are on the grid.
_LOG_V = math.log(model.VOLUME) + 0.16 * np.where(np.arange(NUM_PK) % 2 == 0, -1.0, 1.0)
_LOG_EC50 = np.linspace(math.log(0.9), math.log(9.0), NUM_EC50)  # mg/L
_KE = np.exp(_LOG_CL - _LOG_V)
_RISE = model.S_SHARE * model.KA / (np.exp(_LOG_V) * (model.KA - _KE))
_DAY_DECAY = np.exp(-24.0 * _KE)
_DECAY = np.exp(-_KE[:, None] * model.NODE_H[None, :])  # [P, nodes]
_EC50_POWER = np.exp(model.GAMMA * _LOG_EC50)
_FAST_NODE, _FAST_DAY = np.exp(-model.KA * model.NODE_H), math.exp(-model.KA * 24.0)
_WEIGHTS, _CARRY = model._WEIGHTS, model._CARRY
# Of the Aurora cohort, in the order of model.CYP2C9 and model.VKORC1.
_CYP2C9_SHARES = np.array(cohorts.AURORA.cyp2c9)
_VKORC1_SHARES = np.array(cohorts.AURORA.vkorc1)
_SETTLED_DAYS = 40  # after which a constant dose changes nothing any more
_PRECISION = 1.0 / (0.10**2 + 0.05**2)
_LEAST = 1e-30  # no hypothesis is impossible

# State columns of one filter, from where it begins.
_CHAIN = 2 * NUM_PK  # after the slow and fast exponential of each clearance: six compartments of each hypothesis
_LOG_WEIGHT = _CHAIN + 6 * _H
SIZE = _LOG_WEIGHT + _H

NUM_MOMENTS = 12
NAMES = (
    "believed ln(clearance x EC50), mean", "its standard deviation", "believed ln(clearance), mean",
    "believed ln(INR), mean", "its standard deviation", "believed ln(concentration / EC50), mean",
    *(f"believed {chain} chain, compartment {k}" for chain in ("quick", "slow") for k in (1, 2, 3)),
)  # fmt: skip
LOW = np.array([-30.0, 0.0, -10.0, 0.0, 0.0, -30.0] + [0.0] * 6, np.float32)
HIGH = np.array([30.0, 30.0, 10.0, 10.0, 10.0, 30.0] + [1.0] * 6, np.float32)


@njit(cache=True, error_model="numpy")
def _density(value: float, centres: np.ndarray, sd: float, shares: np.ndarray, own: int) -> float:
    """Return a mixture of normal densities, up to a factor; only one of them where it is known to be ``own`` (not -1)."""
    total = 0.0
    for g in range(centres.shape[0]):
        z = (value - centres[g]) / sd
        share = shares[g] if own < 0 else (1.0 if own == g else 0.0)
        total += share * math.exp(-0.5 * z * z)
    return total + _LEAST


@njit(cache=True, error_model="numpy")
def advance(state: np.ndarray, i: int, at: int, dose_mg: float) -> None:
    """Give every hypothesis of row i a dose and 24 h; see ``model.advance``, whose steps these are.

    The share of synthesis that is inhibited, ``C^g / (EC50^g + C^g)``, is ``1 / (1 + EC50^g C^-g)``: the powers are taken
    once for each clearance and once for each EC50, not for each pair.
    """
    power = np.empty(model.NUM_NODES)
    for p in range(NUM_PK):
        slow = state[i, at + 2 * p] + dose_mg * _RISE[p]
        fast = state[i, at + 2 * p + 1] - dose_mg * _RISE[p]
        for n in range(model.NUM_NODES):
            power[n] = math.exp(-model.GAMMA * math.log(max(slow * _DECAY[p, n] + fast * _FAST_NODE[n], 1e-12)))
        for e in range(NUM_EC50):
            q1, q2, q3, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for n in range(model.NUM_NODES):
                inhibition = 1.0 / (1.0 + _EC50_POWER[e] * power[n])
                q1 += _WEIGHTS[n, 0] * inhibition
                q2 += _WEIGHTS[n, 1] * inhibition
                q3 += _WEIGHTS[n, 2] * inhibition
                s1 += _WEIGHTS[n, 3] * inhibition
                s2 += _WEIGHTS[n, 4] * inhibition
                s3 += _WEIGHTS[n, 5] * inhibition
            k = at + _CHAIN + 6 * (p * NUM_EC50 + e)
            q3 += _CARRY[0] * state[i, k + 2] + _CARRY[1] * state[i, k + 1] + _CARRY[2] * state[i, k]
            q2 += _CARRY[0] * state[i, k + 1] + _CARRY[1] * state[i, k]
            q1 += _CARRY[0] * state[i, k]
            s3 += _CARRY[3] * state[i, k + 5] + _CARRY[4] * state[i, k + 4] + _CARRY[5] * state[i, k + 3]
            s2 += _CARRY[3] * state[i, k + 4] + _CARRY[4] * state[i, k + 3]
            s1 += _CARRY[3] * state[i, k + 3]
            state[i, k], state[i, k + 1], state[i, k + 2] = q1, q2, q3
            state[i, k + 3], state[i, k + 4], state[i, k + 5] = s1, s2, s3
        state[i, at + 2 * p], state[i, at + 2 * p + 1] = slow * _DAY_DECAY[p], fast * _FAST_DAY


@njit(cache=True, error_model="numpy")
def start(state: np.ndarray, i: int, at: int, knows_genotype: bool, before_mg: float) -> None:
    """Write the prior of a patient.

    Args:
        state: ``[B, S]``.
        i: Row; the patient is there already.
        at: Column where the filter begins.
        knows_genotype: Whether the prior is that of the patient's own genotype.
        before_mg: Dose that the patient has long taken, mg a day; 0 for an untreated one.
    """
    state[i, at : at + _LOG_WEIGHT] = 0.0
    cyp2c9 = int(state[i, patients.CYP2C9]) if knows_genotype else -1
    vkorc1 = int(state[i, patients.VKORC1]) if knows_genotype else -1
    centres = np.log(model.CL_TYPICAL * (1.0 + model.AGE_ON_CL * (state[i, patients.AGE] - 71.0)))
    ec50s = np.log(model.EC50_TYPICAL)
    for p in range(NUM_PK):
        z = (_LOG_V[p] - math.log(model.VOLUME)) / model.LOG_SD_V
        of_pk = math.log(_density(_LOG_CL[p], centres, model.LOG_SD_CL, _CYP2C9_SHARES, cyp2c9)) - 0.5 * z * z
        for e in range(NUM_EC50):
            of_ec50 = _density(_LOG_EC50[e], ec50s, model.LOG_SD_EC50, _VKORC1_SHARES, vkorc1)
            state[i, at + _LOG_WEIGHT + p * NUM_EC50 + e] = of_pk + math.log(of_ec50)
    if before_mg > 0.0:
        for _ in range(_SETTLED_DAYS):
            advance(state, i, at, before_mg)


@njit(cache=True, error_model="numpy")
def _log_inr(state: np.ndarray, i: int, k: int) -> float:
    return math.log(model.INR_BASE + 0.5 * model.INR_MAX * (state[i, k + 2] + state[i, k + 5]))


@njit(cache=True, error_model="numpy")
def learn(state: np.ndarray, i: int, at: int, measured: float) -> None:
    """Weigh the hypotheses of row i by a test.

    Args:
        state: ``[B, S]``.
        i: Row.
        at: Column where the filter begins.
        measured: Measured INR.
    """
    most = -1e300
    for h in range(_H):
        miss = math.log(measured) - _log_inr(state, i, at + _CHAIN + 6 * h)
        state[i, at + _LOG_WEIGHT + h] -= 0.5 * _PRECISION * miss * miss
        most = max(most, state[i, at + _LOG_WEIGHT + h])
    for h in range(_H):  # so that no sum of exponentials vanishes
        state[i, at + _LOG_WEIGHT + h] -= most


@njit(cache=True, error_model="numpy")
def tell(state: np.ndarray, i: int, at: int, obs: np.ndarray, first: int) -> None:
    """Write the moments of the posterior of row i, in the order of ``NAMES``.

    Args:
        state: ``[B, S]``.
        i: Row.
        at: Column where the filter begins.
        obs: ``[B, D]``.
        first: Column of the first moment.
    """
    total, squared_need, squared_inr = 0.0, 0.0, 0.0
    moments = np.zeros(NUM_MOMENTS)
    for p in range(NUM_PK):
        log_concentration = math.log(state[i, at + 2 * p] + state[i, at + 2 * p + 1] + 0.02)
        for e in range(NUM_EC50):
            h = p * NUM_EC50 + e
            log_weight = state[i, at + _LOG_WEIGHT + h]
            if log_weight < -14.0:  # a millionth of the likeliest one
                continue
            weight, k = math.exp(log_weight), at + _CHAIN + 6 * h
            need, log_inr = _LOG_CL[p] + _LOG_EC50[e], _log_inr(state, i, k)
            total += weight
            squared_need += weight * need * need
            squared_inr += weight * log_inr * log_inr
            moments[0] += weight * need
            moments[2] += weight * _LOG_CL[p]
            moments[3] += weight * log_inr
            moments[5] += weight * (log_concentration - _LOG_EC50[e])
            for j in range(6):
                moments[6 + j] += weight * state[i, k + j]
    moments /= total
    moments[1] = math.sqrt(max(squared_need / total - moments[0] ** 2, 0.0))
    moments[4] = math.sqrt(max(squared_inr / total - moments[3] ** 2, 0.0))
    obs[i, first : first + NUM_MOMENTS] = moments
