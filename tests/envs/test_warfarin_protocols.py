"""The re-coded protocols against worked examples, and their figures on simulated patients."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cumulant import catalogue
from cumulant.envs.warfarin import model, protocols
from cumulant.envs.warfarin.course import play_protocol
from cumulant.envs.warfarin.env import Warfarin
from cumulant.envs.warfarin.measures import metrics
from cumulant.envs.warfarin.patients import Patients
from cumulant.envs.warfarin.protocols import simple
from cumulant.errors import UsageError


def somebody(age: float = 70.0, n: int = 1, **known: float) -> Patients:
    """White, 170 cm, 80 kg, *1/*1 and G/G, no drugs, unless said otherwise."""
    numbers = {"age_years": age, "height_cm": 170.0, "weight_kg": 80.0, "cl": 0.348, "v": 14.3, "ec50": 4.1} | known
    whole = ("race", "cyp2c9", "vkorc1")
    fields = (field.name for field in dataclasses.fields(Patients))
    return Patients(**{name: np.full(n, numbers.get(name, 0), int if name in whole else float) for name in fields})


def course(
    name: str, inr_by_day: dict[int, float], days: int, age: float = 70.0, **known: float
) -> tuple[list[float], list[int]]:
    """Doses and next test days of one patient whose INR is tested on these days; on the others it is NaN."""
    protocol = protocols.make(name)
    protocol.start(somebody(age, **known))
    given, planned = [], []
    for day in range(1, days + 1):
        inr = np.array([inr_by_day.get(day, np.nan)])
        given.append(float(protocol.dose(day, inr, ~np.isnan(inr))[0]))
        planned.append(int(protocol.next_test_day[0]))
    return given, planned


def changes(given: list[float]) -> list[int]:
    return [day for day in range(2, len(given) + 1) if given[day - 1] != given[day - 2]]


def test_uw_worked_example() -> None:
    tests = {1: 1.0, 3: 1.2, 6: 1.7, 9: 3.3, 16: 3.8, 23: 4.5, 25: 3.4, 27: 2.8}
    given, planned = course("uw", tests, 30)
    early = 5.0 * 1.15 * 1.10  # +15 % and +10 %, with half a dose more on the day
    late = early * 0.93 * 0.90
    expected = [5.0] * 2 + [5.75 * 1.5, 5.75, 5.75] + [early * 1.5, early, early] + [early * 0.93] * 7
    expected += [0.0] + [late] * 6 + [0.0] * 4 + [late * 0.85] * 4
    np.testing.assert_allclose(given, expected)
    asked = [1, *dict.fromkeys(planned)]  # its own schedule is what was tested above, and a week later
    assert asked == [1, 3, 6, 9, 16, 23, 25, 27, 34]


def test_uw_with_daily_inr_waits_three_days_after_a_change() -> None:
    given, _ = course("uw", dict.fromkeys(range(1, 31), 3.2), 30)
    assert changes(given) == list(range(3, 31, 3))
    np.testing.assert_allclose(given[-1], 5.0 * 0.93**10)


def test_uw_hold_starts_at_once_and_lasts_until_therapeutic() -> None:
    tests = dict.fromkeys(range(1, 31), 2.5) | {9: 1.9, 11: 4.1, 12: 3.9, 13: 3.1, 14: 3.0, 15: 1.9, 16: 1.9, 17: 1.9}
    given, _ = course("uw", tests, 30)
    assert given[10:13] == [0.0] * 3  # day 11, two days after a change
    np.testing.assert_allclose(given[13:16], 5.5 * 0.85)  # resumed on day 14; 1.9 the day after changes nothing
    np.testing.assert_allclose(
        given[16:18], [5.5 * 0.85 * 1.10 * 1.5, 5.5 * 0.85 * 1.10]
    )  # three days after that it may


def test_uw_initiation_worked_example() -> None:
    given, planned = course("uw_initiation", dict.fromkeys(range(1, 12), 1.0), 11)
    np.testing.assert_allclose(given, [5, 5, 7.5, 10, 10, 10, 10, 10, 17.25, 11.5, 11.5])
    assert planned[:7] == [2, 3, 4, 5, 6, 7, 10]
    given, _ = course("uw_initiation", {1: 1.0, 2: 1.6, 3: 2.2, 4: 2.8, 5: 3.1, 6: 2.4, 7: 2.5}, 8)
    np.testing.assert_allclose(given, [5, 2.5, 1.25, 2.5, 0, 3.75, 6.25 / 3, 6.25 / 3])
    given, _ = course("uw_initiation", {1: 1.0, 3: 1.2, 5: 1.2}, 6)
    np.testing.assert_allclose(given, [5, 5, 7.5, 7.5, 10, 10])  # no test, no change


def test_aurora_worked_example_below_65() -> None:
    tests = {1: 1.0, 3: 1.6, 5: 3.2, 12: 4.5, 21: 5.5, 23: 3.5, 25: 2.9}
    given, planned = course("aurora", tests, 30, age=60)
    first, second = 10 * 1.1, 10 * 1.1 * 0.925
    expected = [10.0] * 2 + [first] * 2 + [second] * 7 + [0.0] * 2 + [second * 0.875] * 7
    expected += [0.0] * 4 + [second * 0.875 * 0.85] * 6
    np.testing.assert_allclose(given, expected)
    assert [1, *dict.fromkeys(planned)] == [1, 3, 5, 12, 21, 23, 25, 32]


def test_aurora_worked_example_from_65_that_stays_in_range() -> None:
    given, planned = course("aurora", {1: 1.0, 3: 2.2, 5: 2.4, 10: 2.6, 17: 2.5}, 30, age=70)
    assert given == [5.0] * 30
    assert [1, *dict.fromkeys(planned)] == [1, 3, 5, 10, 17, 31]  # tested after 2, 5, 7 and 14 days
    young, _ = course("aurora", {1: 1.0, 3: 4.6}, 4, age=60)
    assert young == [10.0, 10.0, 5.0, 5.0]  # day 3: 2 and more gives 5 mg


def test_aurora_with_daily_inr_waits_as_long_as_its_own_schedule_would() -> None:
    given, _ = course("aurora", dict.fromkeys(range(1, 31), 1.2), 30)
    assert changes(given) == [3, 5, 12, 19, 26]
    tests = dict.fromkeys(range(1, 31), 2.5) | {5: 1.9, 8: 4.2, 9: 4.2, 10: 4.2, 11: 4.2}
    given, _ = course("aurora", tests, 20)
    assert given[7:9] == [0.0, 0.0]  # skips two doses at once, although it changed three days ago
    np.testing.assert_allclose(given[9:], 5.0 * 1.075 * 0.875)  # and not again within the week
    given, _ = course("aurora", dict.fromkeys(range(1, 31), 2.5) | {5: 1.9, 7: 5.1, 8: 3.1}, 10)
    np.testing.assert_allclose(given[6:], [0.0, 0.0, *[5.0 * 1.075 * 0.85] * 2])  # above 5 it holds at once


def test_threshold_moves_by_one_milligram_every_second_day() -> None:
    given, planned = course("threshold", dict.fromkeys(range(1, 8), 1.9), 7)
    assert given == [5, 5, 6, 6, 7, 7, 8]
    assert planned[:3] == [3, 4, 5]
    given, _ = course("threshold", dict.fromkeys(range(1, 8), 3.1), 7)
    assert given == [5, 5, 4, 4, 3, 3, 2]
    given, _ = course("threshold", dict.fromkeys(range(1, 8), 2.5), 7)
    assert given == [5] * 7


def test_oracle_and_fixed_doses() -> None:
    given, planned = course("oracle", {}, 3)
    np.testing.assert_allclose(given, float(model.steady_state_dose(np.array(0.348), np.array(4.1))))
    assert min(planned) > 10_000  # they need no tests
    assert course("zero", {}, 3)[0] == [0.0] * 3
    assert course("fixed5", {}, 3)[0] == [5.0] * 3


@pytest.mark.parametrize("name", [name for name in protocols.PROTOCOLS if name != "oracle"])
def test_protocols_do_not_know_the_hidden_truth(name: str) -> None:
    rng = np.random.default_rng(0)
    people, doses = somebody(60.0, 50), []
    for truth in (0.2, 2.0):
        protocol = protocols.make(name)
        protocol.start(dataclasses.replace(people, cl=people.cl * truth, ec50=people.ec50 * truth, v=people.v * truth))
        rng = np.random.default_rng(0)
        days = range(1, 31)
        doses.append([protocol.dose(day, rng.uniform(1, 6, 50), rng.random(50) < 0.5) for day in days])
    np.testing.assert_array_equal(doses[0], doses[1])
    assert np.min(doses) >= 0.0


def test_listing_reads_the_kinds_from_the_source() -> None:
    listed = catalogue.protocols()
    made = {name: protocols.make(name) for name in protocols.PROTOCOLS}
    said = {name: (entry.kind, entry.knows, entry.source) for name, entry in listed.items()}
    assert said == {name: (protocol.kind, protocol.knows, protocol.source) for name, protocol in made.items()}
    assert all(entry.source and len(entry.summary) < 130 for entry in listed.values())
    assert len({protocol.label for protocol in made.values()}) == len(made)


def test_unknown_protocol() -> None:
    with pytest.raises(UsageError, match="did you mean 'aurora'"):
        protocols.make("arora")


# Return and true TTR over the first 30 days, measured with an independent simulator and independent re-codings of the
# rules (10 % noise, start 5 mg, 4,000 other patients); hence the margins. UW (8.8, 48.8) was coded there without its
# reload dose and with halved steps in the first week; with the published ranges' mid-points it does better.
@pytest.mark.parametrize(
    ("name", "expected_return", "expected_ttr", "tests"),
    [
        ("zero", -15.0, 0.0, 0.0),
        ("fixed5", 0.3, 37.8, 0.0),
        ("uw", 11.1, 53.0, 7.2),
        ("aurora", 7.1, 45.1, 7.1),
        ("caa", 7.3, 46.8, 7.1),
        ("pgaa", 10.6, 52.8, 7.1),
        ("pgpga", 13.5, 60.7, 7.0),
        ("oracle", 22.0, 82.3, 0.0),
    ],
)
def test_figures_on_their_own_schedule(name: str, expected_return: float, expected_ttr: float, tests: float) -> None:
    found = metrics(play_protocol(name, Warfarin(), 5000, 0, own_schedule=True))
    assert found["return"]["mean"] == pytest.approx(expected_return, abs=0.8)
    assert found["ttr"]["mean"] == pytest.approx(expected_ttr, abs=1.5)
    assert found["tests"]["mean"] == pytest.approx(tests, abs=0.1)


def test_intermountain_worked_example_with_a_hold() -> None:
    given, planned = course("intermountain", {1: 1.0, 5: 1.0, 10: 5.5, 12: 1.5, 19: 1.5}, 20)
    first = 5.0 * 1.10
    second = first * 0.85
    # Released on day 12 by a low INR: the dose of before the hold, and nothing more until the next test.
    expected = [5.0] * 4 + [2.0 * first] + [first] * 4 + [0.0] * 2 + [second] * 7 + [2.0 * second * 1.10, second * 1.10]
    np.testing.assert_allclose(given, expected)
    assert [1, *dict.fromkeys(planned)] == [1, 5, 10, 12, 19, 33]


def test_two_days_between_changes_serve_the_threshold_rule_best(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for interval_days in (1, 2, 3, 5):
        monkeypatch.setattr(simple.Threshold, "interval_days", interval_days)
        found.append(metrics(play_protocol("threshold", Warfarin(), 3000, 0))["return"]["mean"])
    assert int(np.argmax(found)) == 1
