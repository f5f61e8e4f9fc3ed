"""What Python, C code or a full disk does to stdout: messages and --json stay whole."""

import json
import os
import subprocess
import sys

import pytest

ENVIRONMENT = """
import ctypes, os
import gymnasium
from gymnasium import spaces

class Loud(gymnasium.Env):
    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 5
        os.write(1, b"written to 1\\n")
        return 0, {}
    def step(self, action):
        print("printed")
        ctypes.CDLL(None).puts(b"put by C")
        self.left -= 1
        return self.left % 2, float(action), self.left == 0, False, {}
"""
SHORT = ("--total-steps", "1500", "--horizon", "250", "--eval-episodes", "2", "--quiet", "--json")


def cumulant(*words, **options):
    command = [sys.executable, "-m", "cumulant.cli.main", *map(str, words)]
    return subprocess.run(command, text=True, check=False, stderr=subprocess.PIPE, **options)


def test_json_is_all_there_is_on_stdout(tmp_path):
    (tmp_path / "loud.py").write_text(ENVIRONMENT)
    words = ("train", "q_learning", tmp_path / "loud.py:Loud", *SHORT, "--out", tmp_path / "run")
    process = cumulant(*words, stdout=subprocess.PIPE)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["run"] == str(tmp_path / "run")
    assert all(text in process.stderr for text in ("printed", "put by C", "written to 1"))


def test_a_full_stdout_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        process = cumulant("list", "--json", stdout=full)
    assert process.stderr.splitlines()[0] == "cumulant: No space left on device"
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("raise SystemExit('my licence has expired')", 1, "cumulant: my licence has expired"),
        ("raise SystemExit(3)", 3, ""),
        ("open('/nowhere/table.csv')", 1, "cumulant: /nowhere/table.csv: No such file or directory"),
        ("raise OSError('the robot is unplugged')", 1, "cumulant: the robot is unplugged"),
    ],
)
def test_what_the_users_code_ends_with_is_told(body, code, said, capsys, monkeypatch):
    from cumulant.cli import evaluate, main

    monkeypatch.setattr(evaluate, "run", lambda words: exec(body))
    assert main.main(["evaluate"]) == code
    assert capsys.readouterr().err.strip() == said
    if said:
        assert main.main(["evaluate", "--json"]) == code
        assert json.loads(capsys.readouterr().out) == {"error": said.removeprefix("cumulant: "), "exit_code": code}


def test_descriptors_are_as_before(capfd):
    """In this process pytest holds stdout: nothing is redirected beneath it."""
    from cumulant.cli.main import main

    before = os.fstat(1).st_ino
    assert main(["list", "algos", "--json"]) == 0
    assert os.fstat(1).st_ino == before
    assert json.loads(capfd.readouterr().out)
