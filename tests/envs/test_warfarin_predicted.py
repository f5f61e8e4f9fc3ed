"""The dose formulas by hand, and the protocols that begin with them or with a table, against worked examples."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
import pytest

from cumulant.envs.warfarin import protocols
from cumulant.envs.warfarin.course import play_protocol
from cumulant.envs.warfarin.env import Warfarin
from cumulant.envs.warfarin.measures import returns
from cumulant.envs.warfarin.patients import RACES
from cumulant.envs.warfarin.protocols import formulas
from tests.envs.test_warfarin_protocols import changes, course, somebody

CYP = {"*1/*1": 0, "*1/*2": 1, "*1/*3": 2, "*2/*2": 3, "*2/*3": 4, "*3/*3": 5}
BLACK, ASIAN, ISLANDER = RACES.index("Black"), RACES.index("Asian"), RACES.index("Pacific Islander")
BSA = sqrt(170 * 80 / 3600)


def test_iwpc_by_hand() -> None:
    # 70 years are seven decades, and so are 79; White, 170 cm, 80 kg.
    clinical = 4.0376 - 0.2546 * 7 + 0.0118 * 170 + 0.0134 * 80  # 5.3334: 28.45 mg a week
    assert clinical == pytest.approx(5.3334)
    for age in (70.0, 79.9):
        np.testing.assert_allclose(formulas.iwpc_clinical(somebody(age)), 5.3334**2 / 7)
    np.testing.assert_allclose(formulas.iwpc_clinical(somebody(80.0)), (5.3334 - 0.2546) ** 2 / 7)
    for race, term in ((BLACK, 0.4060), (ASIAN, -0.6752), (ISLANDER, 0.0443)):
        np.testing.assert_allclose(formulas.iwpc_clinical(somebody(race=race)), (5.3334 + term) ** 2 / 7)
    genetic = 5.6044 - 0.2614 * 7 + 0.0087 * 170 + 0.0128 * 80  # 6.2776
    for vkorc1, term in enumerate((0.0, -0.8677, -1.6974)):
        np.testing.assert_allclose(formulas.iwpc_genetic(somebody(vkorc1=vkorc1)), (genetic + term) ** 2 / 7)
    for star, term in zip(CYP, (0.0, -0.5211, -0.9357, -1.0616, -1.9206, -2.3312)):
        np.testing.assert_allclose(formulas.iwpc_genetic(somebody(cyp2c9=CYP[star])), (genetic + term) ** 2 / 7)
    for race, term in ((BLACK, -0.2760), (ASIAN, -0.1092), (ISLANDER, -0.1032)):
        np.testing.assert_allclose(formulas.iwpc_genetic(somebody(race=race)), (genetic + term) ** 2 / 7)


@pytest.mark.parametrize(
    ("formula", "drug", "smoker", "term", "root"),
    [
        (formulas.iwpc_clinical, 1, 0, -0.5695, True),
        (formulas.iwpc_clinical, 2, 0, 1.2799, True),
        (formulas.iwpc_genetic, 1, 0, -0.5503, True),
        (formulas.iwpc_genetic, 2, 0, 1.1816, True),
        (formulas.eu_pact, 1, 0, -0.5503, True),
        (formulas.eu_pact, 2, 1, 0.0, True),  # it has no term for these
        (formulas.gage_clinical, 1, 1, -0.2570 + 0.1080, False),
        (formulas.gage_genetic, 1, 1, -0.2538 + 0.0922, False),
        (lambda who: formulas.lenzini_clinical(who, np.ones(1), np.zeros((3, 1))), 1, 0, -0.11137, False),
        (lambda who: formulas.lenzini_genetic(who, np.ones(1), np.zeros((3, 1))), 1, 0, -0.10350, False),
    ],
)
def test_drugs_and_smoking_by_hand(formula, drug: int, smoker: int, term: float, root: bool) -> None:  # type: ignore[no-untyped-def]
    plain, changed = float(formula(somebody())[0]), float(formula(somebody(drug=drug, smoker=smoker))[0])
    if root:
        assert (changed * 7) ** 0.5 == pytest.approx((plain * 7) ** 0.5 + term)
    else:
        assert log(changed) == pytest.approx(log(plain) + term)
    later = float(formula(somebody(drug=drug, drug_day=10, smoker=smoker))[0])
    assert (later == changed) == (formula is formulas.eu_pact and drug == 2)  # not yet taken on day 1


def test_gage_by_hand() -> None:
    plain = 0.9751 + 0.4317 * BSA - 0.00745 * 70 + 0.2029 * 2.5
    np.testing.assert_allclose(formulas.gage_genetic(somebody()), exp(plain))
    for vkorc1 in (0, 1, 2):  # A/A has two A alleles: 48 % less, not the dose of G/G
        np.testing.assert_allclose(formulas.gage_genetic(somebody(vkorc1=vkorc1)), exp(plain - 0.3238 * vkorc1))
    for star, term in (("*1/*2", 0.2066), ("*2/*2", 0.4132), ("*2/*3", 0.6074), ("*1/*3", 0.4008), ("*3/*3", 0.8016)):
        np.testing.assert_allclose(formulas.gage_genetic(somebody(cyp2c9=CYP[star])), exp(plain - term))
    np.testing.assert_allclose(formulas.gage_genetic(somebody(race=BLACK)), exp(plain - 0.0901))
    clinical = 0.613 + 0.4250 * BSA - 0.0075 * 70 + 0.2160 * 2.5
    np.testing.assert_allclose(formulas.gage_clinical(somebody()), exp(clinical))
    np.testing.assert_allclose(formulas.gage_clinical(somebody(race=BLACK, vkorc1=2)), exp(clinical + 0.1560))
    assert 4.0 < exp(plain) < 6.5  # mg a day, not a week
    assert formulas.gage_clinical(somebody(80.0)) < formulas.gage_clinical(somebody(40.0))


def test_eu_pact_by_hand() -> None:
    root = 5.6044 - 0.02614 * 73.5 + 0.0087 * 170 + 0.0128 * 80 - 0.8677 - 0.9357  # years, not decades; G/A, *1/*3
    patient = somebody(73.5, vkorc1=1, cyp2c9=CYP["*1/*3"], race=BLACK)
    daily = root**2 / 7
    np.testing.assert_allclose(formulas.eu_pact(patient), daily)
    q = exp(-24 * 0.0132)
    loading = daily / ((1 - q) * (1 + q + q * q))
    by_hand = [1.5 * loading - 0.5 * daily, loading, 0.5 * loading + 0.5 * daily]
    np.testing.assert_allclose(formulas.eu_pact_loading(patient)[:, 0], by_hand)
    assert by_hand[0] > by_hand[1] > by_hand[2] > daily
    for star, rate in zip(
        CYP, (0.0189, 0.0158, 0.0132, 0.0130, 0.0090, 0.0075)
    ):  # what is there after three days is LD3
        doses = formulas.eu_pact_loading(somebody(cyp2c9=CYP[star]))[:, 0]
        assert doses[1] * (1 - exp(-72 * rate)) == pytest.approx(formulas.eu_pact(somebody(cyp2c9=CYP[star]))[0])


def test_lenzini_by_hand() -> None:
    before = np.array([[6.0], [7.0], [8.0]])  # 2, 3 and 4 days before
    inr = np.array([1.7])
    genetic = 3.10894 - 0.00767 * 70 - 0.51611 * log(1.7) + 0.24597 * BSA + 0.26729 * 2.5
    genetic += 0.01690 * 6 + 0.02018 * 7 + 0.01065 * 8
    np.testing.assert_allclose(formulas.lenzini_genetic(somebody(), inr, before), exp(genetic) / 7)
    alleles = somebody(vkorc1=2, cyp2c9=CYP["*2/*3"], race=BLACK)
    less = 2 * 0.23032 + 0.14745 + 0.30770 + 0.09644
    np.testing.assert_allclose(formulas.lenzini_genetic(alleles, inr, before), exp(genetic - less) / 7)
    clinical = 2.81602 - 0.76679 * log(1.7) - 0.00590 * 70 + 0.27815 * 2.5 + 0.17675 * BSA
    clinical += 0.03471 * 6 + 0.03047 * 7 + 0.01929 * 8
    np.testing.assert_allclose(formulas.lenzini_clinical(somebody(), inr, before), exp(clinical) / 7)
    np.testing.assert_allclose(formulas.lenzini_clinical(alleles, inr, before), exp(clinical + 0.07123) / 7)


def test_rely_worked_example() -> None:
    given, planned = course("rely", {1: 1.0, 3: 1.5, 6: 1.9, 9: 3.1, 16: 4.0, 23: 5.0, 25: 3.2, 27: 2.9}, 30)
    a = 5 * 1.15
    b, c, d, e = a * 1.1, a * 1.1 * 0.9, a * 1.1 * 0.81, a * 1.1 * 0.81 * 0.85
    np.testing.assert_allclose(given, [5] * 2 + [a] * 3 + [b] * 3 + [c] * 7 + [0] + [d] * 6 + [0] * 4 + [e] * 4)
    assert [1, *dict.fromkeys(planned)] == [1, 3, 6, 9, 16, 23, 25, 27, 34]
    daily, _ = course("rely", dict.fromkeys(range(1, 13), 1.9), 12)
    assert changes(daily) == [3, 6, 9, 12]


def test_ten_milligram_table_differs_on_the_first_two_days_only() -> None:
    low = dict.fromkeys(range(1, 8), 1.2)
    ten, five = course("uw_initiation_10", low, 6)[0], course("uw_initiation", low, 6)[0]
    np.testing.assert_allclose(ten, [10, 8.75, *five[2:]])
    assert course("uw_initiation_10", {1: 1.0, 2: 1.6}, 2)[0] == [10, 2.5]


def test_fennerty_against_the_printed_table() -> None:
    day2 = [(1.7, 10), (1.8, 1), (1.9, 0.5)]
    day3 = [(1.9, 10), (2.0, 5), (2.1, 5), (2.2, 4.5), (2.5, 4), (2.6, 3.5), (2.9, 3), (3.1, 2.5), (3.3, 2), (3.4, 1.5)]
    day3 += [(3.5, 1), (3.6, 0.5), (4.0, 0.5), (4.1, 0)]
    day4 = [(1.3, 9), (1.4, 8), (1.5, 7.5), (1.6, 7), (1.7, 7), (1.8, 6.5), (1.9, 6), (2.1, 5.5), (2.3, 5), (2.6, 4.5)]
    day4 += [(3.0, 4), (3.5, 3.5), (4.0, 3)]
    for day, table in ((2, day2), (3, day3), (4, day4)):
        for inr, dose in table:
            given, _ = course("fennerty", {day: inr}, day)
            assert given == [10] * (day - 1) + [dose], (day, inr)
    assert course("fennerty", {4: 4.3}, 6)[0] == [10, 10, 10, 0, 2, 2]
    assert course("fennerty", {4: 4.6}, 7)[0] == [10, 10, 10, 0, 0, 1, 1]


def test_fennerty_hands_over_to_the_nomogram() -> None:
    given, planned = course("fennerty", {1: 1.0, 2: 1.2, 3: 1.5, 4: 2.0, 6: 2.5, 9: 1.9}, 12)
    np.testing.assert_allclose(given, [10, 10, 10, 5.5, 5.5, 5.5, 5.5, 5.5, 5.5 * 1.1 * 1.5, 6.05, 6.05, 6.05])
    assert [1, *dict.fromkeys(planned)] == [1, 2, 3, 4, 6, 9, 16]
    late, _ = course("fennerty", {1: 1.0, 3: 2.2, 5: 2.4, 7: 2.5}, 8)  # the clinic's days: no test on days 2 and 4
    assert late == [10, 10, 4.5, 4.5, 4.5, 4.5, 4.5, 4.5]


def test_intermountain_worked_example() -> None:
    tests = {1: 1.0, 5: 1.5, 10: 1.7, 17: 3.2, 31: 3.3, 45: 3.5, 52: 4.2, 66: 5.2, 68: 3.6, 70: 2.5}
    given, planned = course("intermountain", tests, 72)
    a = 5 * 1.1  # action point low: two doses today
    b = a * 1.05  # red zone low: one and a half
    c = b * 0.95  # yellow high, the second time
    d = c * 0.90  # red zone high: half a dose
    e = d * 0.90  # again, from 4 on none
    f = e * 0.85
    expected = [5] * 4 + [2 * a] + [a] * 4 + [1.5 * b] + [b] * 20 + [c] * 14 + [d / 2] + [d] * 6 + [0] + [e] * 13
    np.testing.assert_allclose(given, [*expected, 0, 0, 0, 0, *[f] * 3])
    assert [1, *dict.fromkeys(planned)] == [1, 5, 10, 17, 31, 45, 52, 66, 68, 70, 77]


def test_intermountain_with_daily_inr() -> None:
    given, _ = course("intermountain", dict.fromkeys(range(1, 31), 1.5), 30)
    np.testing.assert_allclose(given[4:10], [11, 5.5, 5.5, 5.5, 5.5, 12.1])  # after 5 days, and then after 14
    assert changes(given) == [5, 6, 10, 11, 24, 25]
    calm, _ = course("intermountain", dict.fromkeys(range(1, 31), 2.5) | {9: 1.9, 10: 3.2}, 30)
    assert calm == [5.0] * 30  # a yellow reading that is not repeated changes nothing
    slow, _ = course("intermountain", dict.fromkeys(range(1, 21), 1.9), 20)
    assert changes(slow) == [12]  # in the zone for seven days
    held, _ = course("intermountain", dict.fromkeys(range(1, 31), 2.5) | {8: 5.1, 9: 4.0, 10: 1.7}, 14)
    assert held[7:9] == [0.0, 0.0]  # at once, and until below 3.4 however low
    np.testing.assert_allclose(held[9:], 5 * 0.85)


@pytest.mark.parametrize(
    ("name", "formula", "first_days"),
    [
        ("iwpc_clinical", formulas.iwpc_clinical, 2),
        ("iwpc_genetic", formulas.iwpc_genetic, 2),
        ("gage_clinical", formulas.gage_clinical, 2),
        ("gage_genetic", formulas.gage_genetic, 2),
        ("caa", formulas.iwpc_clinical, 2),
        ("pgaa", formulas.iwpc_genetic, 2),
        ("lenzini_clinical", formulas.gage_clinical, 3),
        ("lenzini_genetic", formulas.gage_genetic, 3),
    ],
)
def test_predicted_doses_are_given_first(name: str, formula, first_days: int) -> None:  # type: ignore[no-untyped-def]
    patient = {"vkorc1": 2, "cyp2c9": CYP["*1/*2"]}
    given, planned = course(name, {1: 1.0}, 3, 61.0, **patient)
    np.testing.assert_allclose(given[:first_days], formula(somebody(61.0, **patient))[0])
    assert planned[0] == (3 if first_days == 2 else 4)


def test_arms_of_aurora_worked_examples() -> None:
    dose = float(formulas.iwpc_clinical(somebody())[0])
    given, planned = course("caa", {1: 1.0, 3: 1.4, 5: 1.7, 12: 2.4, 13: 2.5}, 14)
    np.testing.assert_allclose(given, [dose] * 2 + [dose * 1.15] * 2 + [dose * 1.15 * 1.1] * 10)
    assert [1, *dict.fromkeys(planned)] == [1, 3, 5, 12, 13, 18]
    enough, _ = course("pgaa", {1: 1.0, 3: 2.1}, 4, vkorc1=2)
    assert enough[2:] == [5.0, 5.0]  # day 3: 2 and more gives 5 mg, as the protocol has it
    loading = formulas.eu_pact_loading(somebody())[:, 0]
    revised = formulas.lenzini_genetic(somebody(), np.array([1.6]), np.array([[loading[1]], [loading[0]], [0.0]]))[0]
    given, planned = course("pgpga", {1: 1.0, 4: 1.6, 6: 3.2, 13: 2.5}, 14)
    np.testing.assert_allclose(given, [*loading, revised, revised, *[revised * 0.925] * 9])
    assert [1, *dict.fromkeys(planned)] == [1, 4, 6, 13, 14]
    given, planned = course("pgpgi", {1: 1.0, 4: 1.6, 6: 3.5, 13: 2.5}, 14)
    np.testing.assert_allclose(given, [*loading, revised, revised, revised * 0.45, *[revised * 0.9] * 8])
    assert [1, *dict.fromkeys(planned)] == [1, 4, 6, 13, 27]


def test_revision_waits_for_a_test_and_knows_what_was_given() -> None:
    """On the clinic's days there is no test on day 4: the formula is used on day 5, with the doses of days 3, 2 and 1."""
    loading = formulas.eu_pact_loading(somebody())[:, 0]
    given, _ = course("eu_pact", {1: 1.0, 3: 1.3, 5: 1.9, 7: 1.9, 10: 2.5}, 12)
    revised = formulas.lenzini_genetic(somebody(), np.array([1.9]), loading[::-1, None])[0]
    np.testing.assert_allclose(given[:7], [*loading, loading[2], revised, revised, revised])  # UW waits three days
    control, _ = course("eu_pact_control", {1: 1.0, 4: 1.2}, 4, age=75.0)
    np.testing.assert_allclose(control, [10, 5, 5, 5 * 1.15 * 1.5])
    assert course("eu_pact_control", {}, 3, age=75.1)[0] == [5, 5, 5]


@pytest.mark.parametrize("name", protocols.PROTOCOLS)
def test_what_a_protocol_knows_is_what_it_uses(name: str) -> None:
    """Alleles change the doses of those that know the genotype only; age and size of those that know the clinic."""
    tests = {1: 1.0, 2: 1.2, 3: 1.4, 4: 1.6, 5: 1.8, 7: 2.2}
    plain = course(name, tests, 8, age=80.0)[0]
    alleles = course(name, tests, 8, age=80.0, vkorc1=2, cyp2c9=4)[0]
    clinic = course(name, tests, 8, age=50.0, weight_kg=110.0)[0]
    knows = protocols.make(name).knows
    assert (alleles != plain) == (knows == "genotype")
    assert (clinic != plain) == (knows in ("genotype", "clinic"))


def test_many_patients_are_treated_as_each_alone() -> None:
    """Everybody's INR and test days differ, and nobody's dose depends on who else is in the batch."""
    rng = np.random.default_rng(0)
    inr, tested = np.round(rng.uniform(1.0, 5.5, (30, 6)), 1), rng.random((30, 6)) < 0.5
    tested[0] = True
    for name in protocols.PROTOCOLS:
        together = protocols.make(name)
        together.start(somebody(n=6))
        doses = np.array([together.dose(d + 1, inr[d], tested[d]) for d in range(30)])
        for i in range(6):
            alone = protocols.make(name)
            alone.start(somebody())
            one = [alone.dose(d + 1, inr[d, i : i + 1], tested[d, i : i + 1])[0] for d in range(30)]
            np.testing.assert_allclose(doses[:, i], one, err_msg=name)


@pytest.mark.parametrize("name", [name for name in protocols.PROTOCOLS if name not in ("zero", "fixed5", "oracle")])
def test_patients_who_come_with_a_dose_keep_it_and_are_adjusted_from_there(name: str) -> None:
    calm, _ = course(name, dict.fromkeys(range(1, 15), 2.5), 14, maintenance_mg=3.7)
    np.testing.assert_allclose(calm, 3.7)
    low, _ = course(name, dict.fromkeys(range(1, 15), 1.4), 14, maintenance_mg=3.7)
    assert low[0] == 3.7
    assert 3.7 < low[-1] < 12.0
    high, _ = course(name, dict.fromkeys(range(1, 15), 3.5), 14, maintenance_mg=3.7)
    assert min(high) < 3.7


def test_the_usual_ones_hold_the_best_on_every_schedule() -> None:
    for options, own in ((Warfarin(schedule="clinic"), False), (Warfarin(), False), (Warfarin(), True)):
        means = {
            name: returns(play_protocol(name, options, 2000, 0, own_schedule=own)).mean()
            for name in protocols.PROTOCOLS
            if protocols.make(name).kind == "protocol"
        }
        assert max(means, key=means.__getitem__) in protocols.USUAL
