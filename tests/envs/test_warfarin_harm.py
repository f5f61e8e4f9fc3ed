"""Harm: three sources, where a bleed is and whether it kills, and the teaching multiplier, which no evaluation keeps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cumulant.envs.batched import Batch
from cumulant.envs.warfarin import NOTICE, harm
from cumulant.envs.warfarin.env import OUTCOMES, Warfarin

COLUMN = {name: k for k, name in enumerate(OUTCOMES)}
PATIENTS, DAYS = 4000, 60
TIMES = 25.0  # so many times the hazards: fewer patients say as much


def courses(**options: Any) -> dict[str, np.ndarray]:
    """The days of patients on 4 mg and on 9 mg, flat, under TIMES the hazards."""
    found = []
    for seed, mg in ((0, 4.0), (1, 9.0)):
        kernel = Warfarin(actions="dose", days=DAYS, hazard_multiplier=TIMES, **options).kernel()
        batch = Batch(kernel, PATIENTS, seed, autoreset=False)
        for _ in range(DAYS):
            batch.step(np.full((PATIENTS, 1), mg, np.float32))
            found.append(batch.outcomes.copy())
    return {name: np.concatenate(found)[:, k] for name, k in COLUMN.items()}


def agrees(count: float, expected: float) -> None:
    assert expected > 20
    assert count == pytest.approx(expected, abs=5 * expected**0.5)


def test_oakes_ratios_and_chests_rates_are_reproduced() -> None:
    out = courses(harm="oake")
    inr, before = out["inr"], out["alive"] + out["death"]
    bands = {
        "major_bleed": {(0, 2): 0.6 * 1.1, (2, 3): 0.6, (3, 5): 0.6 * 2.7, (5, 99): 0.6 * 21.8},  # in 100 patient-years
        "thromboembolism": {(0, 2): 4.6 * 3.5, (2, 99): 4.6},
    }
    for event, rates in bands.items():
        for (low, high), rate in rates.items():
            where = (inr > low) & (inr < high)
            chance = 1 - math.exp(-TIMES * rate / 36_500)
            agrees(out[event][where].sum(), chance * before[where].sum())


def test_the_smooth_curve_is_reproduced_and_agrees_with_oake() -> None:
    out = courses(harm="smooth")
    inr, before = out["inr"], out["alive"] + out["death"]
    for low, high in ((1.0, 2.5), (2.5, 3.5), (3.5, 5.0), (5.0, 99.0)):
        where = (inr >= low) & (inr < high)
        rate = np.minimum(0.014 * np.exp(np.maximum(inr[where] - 2.5, 0)), 2.0)
        agrees(out["major_bleed"][where].sum(), ((1 - np.exp(-TIMES * rate / 365)) * before[where]).sum())
    at = {x: -math.log(1 - harm.bleed_probability(x, 2)) * 36_500 for x in (2.5, 3.4, 5.8, 20.0)}
    assert at[2.5] == pytest.approx(1.4)
    assert 1.8 < at[3.4] / at[2.5] < 3.9  # Oake's intervals
    assert 12.1 < at[5.8] / at[2.5] < 39.4
    assert at[20.0] == pytest.approx(200.0)


@pytest.mark.parametrize("table", range(3))
def test_more_inr_never_means_fewer_bleeds_or_more_clots(table: int) -> None:
    inr = np.arange(2.0, 21.0, 0.01)  # below 2, Oake's bleeds are a little more frequent, as published
    assert (np.diff([harm.bleed_probability(x, table) for x in inr]) >= 0).all()
    assert (np.diff([harm.thromboembolism_probability(x, table) for x in inr]) <= 0).all()


def test_sites_and_deaths_are_those_of_the_source() -> None:
    out = courses()
    bleeds = out["major_bleed"].sum()
    agrees(out["intracranial"].sum(), 0.300 * bleeds)
    agrees(out["gastrointestinal"].sum(), 0.600 * bleeds)
    agrees((out["death"] * out["intracranial"]).sum(), 0.156 * bleeds)
    agrees((out["death"] * out["gastrointestinal"]).sum(), 0.043 * bleeds)
    elsewhere = (out["death"] * (1 - out["intracranial"] - out["gastrointestinal"])).sum()
    assert elsewhere == pytest.approx(0.002 * bleeds, abs=5 * (0.002 * bleeds) ** 0.5)
    assert (out["intracranial"] + out["gastrointestinal"] <= out["major_bleed"]).all()


def test_the_multiplier_multiplies_hazards() -> None:
    for table in range(3):
        for inr in (1.2, 2.5, 3.5, 6.0):
            for risk in (harm.bleed_probability, harm.thromboembolism_probability):
                once, often = (-math.log(1 - risk(inr, table, m)) for m in (1.0, 100.0))
                assert often == pytest.approx(100 * once, rel=1e-9)


def test_an_evaluation_sets_the_multiplier_back_and_says_so() -> None:
    def act(obs: np.ndarray) -> np.ndarray:
        return np.ones(len(obs), np.int64)

    plain = Warfarin(days=8).evaluation(act, 60, 0, "hold")
    taught = Warfarin(days=8, hazard_multiplier=100.0).evaluation(act, 60, 0, "hold")
    assert taught["outcomes"] == plain["outcomes"]
    assert taught["return_mean"] == plain["return_mean"]
    assert taught["options"]["hazard_multiplier"] == 1.0
    assert plain["notice"] == NOTICE
    assert "Trained on 100 times the risks, for teaching; evaluated on the real ones." in taught["notice"]
