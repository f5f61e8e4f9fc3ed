"""The history of a sweep: Optuna's, as far as a sweep relies on it."""

import sys

import pytest

from cumulant.errors import MissingPackage, RunError
from cumulant.search import Choice, Range
from cumulant.study import Study

SPACE = {"rate": Range(1e-4, 1e-2, log=True), "width": Range(8, 64, whole=True), "net": Choice(([8], [16, 16], None))}
USUAL = {"rate": 1e-3, "width": 16, "net": [16, 16]}


def study(folder, seed=0, pruner="median", space=SPACE, usual=USUAL):
    return Study(folder / "journal.jsonl", space, seed, pruner, usual)


def goodness(fields):
    return -abs(fields["width"] - 20)


def run(made, count):
    for _ in range(count):
        trial = made.next()
        made.report(trial.number, 20, goodness(trial.fields))
        made.complete(trial.number, goodness(trial.fields))


def test_the_first_trial_is_what_a_training_takes_by_itself(tmp_path):
    assert study(tmp_path).next().fields == USUAL
    (tmp_path / "narrow").mkdir()
    first = study(
        tmp_path / "narrow", usual=USUAL | {"rate": 0.5}
    ).next()  # a range of the user's that does not hold it
    assert 1e-4 <= first.fields["rate"] <= 1e-2
    assert (first.fields["width"], first.fields["net"]) == (16, [16, 16])


def test_values_follow_from_seed_and_history_alone(tmp_path):
    """Also when the history was written by one process and is read by the next."""
    for name in ("whole", "torn", "other"):
        (tmp_path / name).mkdir()
    whole = study(tmp_path / "whole")
    run(whole, 14)
    run(study(tmp_path / "torn"), 11)
    run(study(tmp_path / "torn"), 2)
    torn = study(tmp_path / "torn")
    run(torn, 1)
    assert torn.trials() == whole.trials()
    other = study(tmp_path / "other", seed=1)
    run(other, 2)
    assert other.trials()[1].fields != whole.trials()[1].fields
    for trial in whole.trials():
        assert trial.fields["rate"] == float(f"{trial.fields['rate']:.4g}")  # for people to read
        assert isinstance(trial.fields["width"], int)


def test_it_learns_from_what_it_saw(tmp_path):
    made = study(tmp_path)
    run(made, 30)
    at = [abs(trial.fields["width"] - 20) for trial in made.trials()]
    assert sum(at[20:]) / 10 < 0.5 * sum(at[1:11]) / 10
    assert max(made.importances(), key=made.importances().get) == "width"
    assert sum(made.importances().values()) == pytest.approx(1.0, abs=1e-3)


def test_too_few_or_equal_trials_say_nothing_of_importance(tmp_path):
    made = study(tmp_path)
    for _ in range(12):
        assert made.importances() == {}
        made.complete(made.next().number, 1.0)
    assert made.importances() == {}


def test_a_torn_line_is_cut_and_a_damaged_journal_refused(tmp_path):
    run(study(tmp_path), 3)
    file = tmp_path / "journal.jsonl"
    before = study(tmp_path).trials()
    with file.open("ab") as journal:
        journal.write(b'{"op_code":6,"trial')
    again = study(tmp_path)
    assert again.trials() == before
    run(again, 1)
    assert len(study(tmp_path).trials()) == 4
    file.write_bytes(b"{torn}\n" + file.read_bytes())
    with pytest.raises(RunError, match=r"journal\.jsonl is damaged"):
        study(tmp_path)


def test_evaluations_are_filled_in_and_may_be_told_twice(tmp_path):
    made = study(tmp_path, pruner="none")
    number = made.next().number
    for rung, best in ((2, 1.0), (5, 3.0), (2, 1.0), (5, 3.0)):
        assert made.report(number, rung, best) is False
    trial = study(tmp_path).trials()[0]
    assert trial.curve == {2: 1.0, 3: 1.0, 4: 1.0, 5: 3.0}
    assert (trial.state, trial.score) == ("running", 3.0)


def test_median_ends_what_is_below_the_others_and_nothing_too_early(tmp_path):
    made = study(tmp_path)
    for score in (1.0, 2.0, 3.0, 4.0, 5.0):
        number = made.next().number
        assert not any(made.report(number, rung, 0.1 * rung * score) for rung in range(1, 21))
        made.complete(number, score)
    good, bad = made.next().number, made.next().number
    assert [made.report(bad, rung, 0.1 * rung * 2.9) for rung in range(1, 9)] == [False] * 7 + [True]
    assert not any(made.report(good, rung, 0.1 * rung * 3.1) for rung in range(1, 21))
    made.prune(bad)
    trial = made.trials()[bad]
    assert (trial.state, trial.score) == ("pruned", pytest.approx(2.32))
    assert trial.reason == "after 8 of 20 parts, by the other trials' results"


def test_halving_lets_the_best_third_go_on(tmp_path):
    made = study(tmp_path, pruner="halving")
    first, second = made.next().number, made.next().number
    assert not made.report(first, 2, 10.0)
    assert made.report(second, 2, 9.0)


def test_a_failed_trial_is_a_bad_one(tmp_path):
    """Optuna's sampler passes over trials that failed; those that were pruned it ranks below all others."""
    made = study(tmp_path)
    number = made.next().number
    made.fail(number, "too wide")
    trial = study(tmp_path).trials()[number]
    assert (trial.state, trial.score, trial.reason) == ("failed", None, "too wide")
    assert made._study.trials[number].state.name == "PRUNED"


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingPackage, match=r"pip install 'cumulant\[sweep\]'"):
        study(tmp_path)
