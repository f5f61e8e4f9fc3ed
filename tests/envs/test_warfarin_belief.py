"""The Bayesian filter: it is Bayes' rule, it is calibrated, and it never sees what a clinic cannot know."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cumulant.envs.batched import Batch
from cumulant.envs.warfarin import belief, model
from cumulant.envs.warfarin.env import BODY, INR, Warfarin, obs_names
from cumulant.envs.warfarin.patients import Patients

FIRST = 14  # column of the first moment


def live(options: Warfarin, num: int, doses: list[float], seed: int = 5) -> Batch:
    batch = Batch(options.kernel(), num, seed, autoreset=False)
    for dose in doses:
        batch.step(np.full((num, 1), dose, np.float32))
    return batch


def test_what_is_believed_is_unbiased_and_as_uncertain_as_it_says() -> None:
    for days, least in ((2, 0.35), (8, 0.12), (28, 0.03)):
        batch = live(Warfarin(belief=True, actions="dose"), 3000, [5.0] * days)
        who = Patients.from_state(batch.state)
        error = batch.obs[:, FIRST] - np.log(who.cl * who.ec50)
        claimed = batch.obs[:, FIRST + 1]
        assert abs(error.mean()) < 0.03
        assert error.std() == pytest.approx(np.sqrt((claimed**2).mean()), rel=0.15)
        assert claimed.mean() > least  # it cannot know the patient better than the tests allow
        inr_error = batch.obs[:, FIRST + 3] - np.log(batch.state[:, INR])
        assert abs(inr_error.mean()) < 0.02
        assert inr_error.std() < 0.10  # better than the last test alone
    assert claimed.mean() < 0.06


def test_the_posterior_is_bayes_rule() -> None:
    """Against a plain sum over the grid, with the public simulation of the model."""
    doses = [7.0, 7.0, 3.0, 0.0, 5.0]
    batch = live(Warfarin(belief=True, actions="dose"), 1, doses)
    options = Warfarin(belief=True, actions="dose")
    again = Batch(options.kernel(), 1, 5, autoreset=False)
    measured = [float(again.obs[0, 0])]
    for dose in doses:
        again.step(np.full((1, 1), dose, np.float32))
        measured.append(float(again.obs[0, 0]))
    cl, ec50 = np.meshgrid(belief._LOG_CL, belief._LOG_EC50, indexing="ij")
    v = np.repeat(belief._LOG_V[:, None], belief.NUM_EC50, axis=1)
    curves = model.simulate(
        np.exp(cl).ravel(),
        np.exp(v).ravel(),
        np.exp(ec50).ravel(),
        np.repeat(np.array(doses)[:, None], cl.size, axis=1),
    )
    age = float(batch.obs[0, 12])
    prior = np.zeros(cl.size)
    for k, (one, other) in enumerate(zip(cl.ravel(), ec50.ravel())):
        centres = np.log(model.CL_TYPICAL * (1 + model.AGE_ON_CL * (age - 71)))
        of_cl = (belief._CYP2C9_SHARES * np.exp(-0.5 * ((one - centres) / model.LOG_SD_CL) ** 2)).sum()
        spread = (other - np.log(model.EC50_TYPICAL)) / model.LOG_SD_EC50
        prior[k] = of_cl * (belief._VKORC1_SHARES * np.exp(-0.5 * spread**2)).sum()
    prior *= np.exp(-0.5 * ((v.ravel() - math.log(model.VOLUME)) / model.LOG_SD_V) ** 2)
    misses = np.log(np.array(measured))[:, None] - np.log(curves)
    weights = prior * np.exp(-0.5 * (misses**2).sum(axis=0) / (0.1**2 + 0.05**2))
    weights /= weights.sum()
    need = cl.ravel() + ec50.ravel()
    mean = (weights * need).sum()
    assert batch.obs[0, FIRST] == pytest.approx(mean, abs=1e-3)
    assert batch.obs[0, FIRST + 1] == pytest.approx(math.sqrt((weights * (need - mean) ** 2).sum()), abs=1e-3)
    assert batch.obs[0, FIRST + 2] == pytest.approx((weights * cl.ravel()).sum(), abs=1e-3)
    assert batch.obs[0, FIRST + 3] == pytest.approx((weights * np.log(curves[-1])).sum(), abs=1e-3)


def test_a_genotype_that_is_seen_narrows_the_prior() -> None:
    plain = live(Warfarin(belief=True, actions="dose"), 500, [])
    known = live(Warfarin(belief=True, actions="dose", observe="genotype"), 500, [])
    assert known.obs[:, 17 + 1].mean() < plain.obs[:, FIRST + 1].mean() - 0.08
    who = Patients.from_state(known.state)
    need = np.log(model.CL_TYPICAL[who.cyp2c9] * (1 + model.AGE_ON_CL * (who.age_years - 71))) + np.log(
        model.EC50_TYPICAL[who.vkorc1]
    )
    assert np.corrcoef(known.obs[:, 17], need)[0, 1] > 0.98


def test_before_the_first_dose_it_knows_no_more_than_the_age() -> None:
    """All patients of an age are the same to it, whatever their hidden truth; so is a day without a test."""
    batch = live(Warfarin(belief=True, actions="dose", noise_cv=0.0), 400, [])
    by_age = np.polyval(np.polyfit(batch.obs[:, 12], batch.obs[:, FIRST], 4), batch.obs[:, 12])
    assert np.abs(batch.obs[:, FIRST] - by_age).max() < 0.003
    clinic = Warfarin(belief=True, actions="dose", schedule="clinic")
    one, two = live(clinic, 50, [5.0] * 6), live(clinic, 50, [5.0] * 7)  # day 7 is a test day, day 8 is not
    np.testing.assert_allclose(one.obs[:, FIRST : FIRST + 3], two.obs[:, FIRST : FIRST + 3], atol=1e-6)


def test_a_policy_that_sees_the_filter_is_evaluated_like_any_other() -> None:
    act = lambda obs: np.clip(np.exp(obs[:, FIRST : FIRST + 1]) * 5.0, 0, 15).astype(np.float32)  # noqa: E731
    found = Warfarin(belief=True, actions="dose").evaluation(act, 60, 0, "by belief")
    assert found["return_mean"] > 10.0
    assert "policy_map" not in found  # what is believed cannot be varied with the INR


def test_names_bounds_and_state_fit() -> None:
    for observe in ("standard", "genotype", "all"):
        options = Warfarin(belief=True, observe=observe)  # type: ignore[arg-type]
        kernel = options.kernel()
        assert kernel.observation_space.shape == (len(obs_names(observe, believes=True)),)
        assert kernel.state_size == BODY + model.BODY_SIZE + belief.SIZE
    assert len(belief.NAMES) == belief.NUM_MOMENTS == len(belief.LOW) == len(belief.HIGH)
    extreme = Batch(Warfarin(belief=True, actions="dose").kernel(), 200, 0, autoreset=False)
    for dose in [15.0] * 15 + [0.0] * 15:
        assert all(extreme.observation_space.contains(row) for row in extreme.obs)
        extreme.step(np.full((200, 1), dose, np.float32))


def test_a_patient_who_comes_settled_is_believed_to_be() -> None:
    batch = live(Warfarin(belief=True, actions="dose", start="maintenance"), 300, [])
    believed = np.exp(batch.obs[:, FIRST + 3])
    assert abs(believed.mean() - 2.5) < 0.25
    steady = live(Warfarin(belief=True, actions="dose", start="maintenance", noise_cv=0.0), 100, [])
    before = steady.obs[:, FIRST + 6 :].copy()
    for dose in (steady.obs[:, 8:9].copy(),) * 3:
        steady.step(dose)
    np.testing.assert_allclose(before, steady.obs[:, FIRST + 6 :], atol=0.02)


def test_it_is_not_told_of_missed_doses_or_of_another_model() -> None:
    """The filter follows the doses that were ordered: what was missed it can only infer from the tests."""
    options = Warfarin(belief=True, actions="dose", adherence=0.5, schedule="clinic", noise_cv=0.0)
    whole = Warfarin(belief=True, actions="dose", schedule="clinic", noise_cv=0.0)
    one, two = live(options, 50, [5.0]), live(whole, 50, [5.0])  # no test after day 1 yet
    np.testing.assert_allclose(one.obs[:, FIRST:], two.obs[:, FIRST:], atol=1e-6)
    other = live(Warfarin(belief=True, actions="dose", model="hamberg2007"), 50, [5.0] * 10)
    assert np.isfinite(other.obs).all()
