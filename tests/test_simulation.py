"""Simulating patients without learning: figures, files, groups, and what is refused."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cumulant
from cumulant.cli.main import main
from cumulant.envs.batched import Batch
from cumulant.envs.warfarin.env import Warfarin
from cumulant.errors import ConfigError, DataError, UsageError


def group(result: dict[str, Any], label: str) -> dict[str, Any]:
    return next(each for each in result["groups"] if each["label"] == label)


def test_a_fixed_dose_is_the_environment_stepped_by_hand(tmp_path: Path) -> None:
    result = cumulant.simulate(patients=300, dose=5.0, seed=4, out=tmp_path / "run", env_options={"days": 12})
    batch = Batch(Warfarin(actions="dose", days=12).kernel(), 300, 4, autoreset=False)
    inr, in_range = [], []
    for _ in range(12):
        batch.step(np.full((300, 1), 5.0, np.float32))
        inr.append(batch.outcomes[:, 0].copy())
        in_range.append(batch.outcomes[:, 1].copy())
    assert result["curve"]["q50"] == pytest.approx(np.median(inr, axis=1), abs=6e-4)
    everybody = group(result, "all patients")["measures"]
    assert everybody["ttr"]["mean"] == pytest.approx(100 * np.mean(in_range))
    assert everybody["dose_mg"]["mean"] == 5.0
    with (tmp_path / "run" / "patients.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 300
    assert [float(row["inr_last"]) for row in rows] == pytest.approx(inr[-1], abs=0.006)
    assert np.mean([float(row["ttr"]) for row in rows]) == pytest.approx(everybody["ttr"]["mean"], abs=1e-3)
    assert (tmp_path / "run" / "inr.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "run" / "days.csv").read_text(encoding="utf-8").splitlines()) == 13


def test_a_protocol_on_its_own_days_and_races_apart(tmp_path: Path) -> None:
    options = {"cohort": "iwpc", "model": "hamberg2007", "adherence": 0.8, "drugs": "cohort"}
    result = cumulant.simulate(patients=800, protocol="uw", out=tmp_path, env_options=options)
    everybody = group(result, "all patients")["measures"]
    assert 5 < everybody["tests"]["mean"] < 15
    assert everybody["missed"]["mean"] == pytest.approx(20, abs=2.5)
    assert {"White", "Black", "Asian"} <= {each["label"] for each in result["groups"]}
    needs = {race: group(result, race)["measures"]["needs_mg"]["mean"] for race in ("Asian", "White", "Black")}
    assert needs["Asian"] < needs["White"] < needs["Black"]
    assert sum(each["patients"] for each in result["groups"] if each["title"] == "Race (never observed)") == 800


def test_everybodys_own_dose_of_a_maintenance_start(tmp_path: Path) -> None:
    result = cumulant.simulate(patients=200, out=tmp_path, env_options={"start": "maintenance"})
    assert result["policy"] == "everybody's own dose"
    assert group(result, "all patients")["measures"]["ttr"]["mean"] > 95


def test_the_teaching_multiplier_is_said(tmp_path: Path) -> None:
    plain = cumulant.simulate(patients=200, dose=7.5, out=tmp_path / "a")
    taught = cumulant.simulate(patients=200, dose=7.5, out=tmp_path / "b", env_options={"hazard_multiplier": 10.0})
    assert taught["notice"].startswith("FOR TEACHING: risks times 10.")
    assert "TEACHING" not in plain["notice"]
    bleeds = [group(each, "all patients")["measures"]["bleeds"]["mean"] for each in (plain, taught)]
    assert bleeds[1] == pytest.approx(10 * bleeds[0], rel=0.02)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, UsageError, "either --dose MG or --protocol NAME"),
        ({"dose": 5.0, "protocol": "uw"}, UsageError, "either --dose"),
        ({"dose": 50.0}, ConfigError, "dose = 50: give 0 to 15 mg"),
        ({"dose": float("nan")}, ConfigError, "dose = nan"),
        ({"protocol": "aurroa"}, UsageError, "did you mean 'aurora'"),
        ({"dose": 5.0, "patients": 1}, ConfigError, "patients = 1"),
        ({"dose": 5.0, "env": "cartpole"}, UsageError, "'cartpole' has no patients"),
        ({"dose": 5.0, "env_options": {"actions": "step"}}, UsageError, "here nobody learns"),
        ({"dose": 5.0, "env_options": {"dayz": 4}}, ConfigError, "did you mean 'days'"),
        ({"dose": 5.0, "env_options": {"cohort": "nobody.csv"}}, DataError, "nobody.csv cannot be read"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    tmp_path: Path, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        cumulant.simulate(**given, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    words = ["simulate", "warfarin", "--patients", "100", "--dose", "4", "--cohort", "*1/*1 G/A", "--days", "8"]
    assert main([*words, "--env-option", "variability=none"]) == 0
    shown = capsys.readouterr().out
    for text in (
        "100 simulated patients, 4 mg a day, 8 days",
        "all patients",
        "True TTR",
        "day 8",
        "Not a medical device",
    ):
        assert text in shown
    assert (tmp_path / "runs" / "simulate-warfarin-001" / "inr.png").exists()
    assert main([*words, "--json", "--out", "here"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["options"]["cohort"] == "*1/*1 G/A"
    assert main(["simulate", "warfarin", "--dose", "99"]) == 2
    assert "give 0 to 15 mg" in capsys.readouterr().err


def test_it_waits_for_no_torch(tmp_path: Path) -> None:
    code = "import sys, cumulant.simulation; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
