"""Shared by all tests: one torch thread, as in training.

On request: an empty current directory, the command line in this process, a training without its report.
"""

import json
import warnings
from dataclasses import dataclass

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty current directory, from which modules can be imported until the test ends."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@dataclass
class Answer:
    """What a command line gave: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one JSON object that stdout must be."""
        assert len(self.out.splitlines()) == 1, self.out
        return json.loads(self.out)


@pytest.fixture
def cli(capsys):
    """Run a command line in this process: ``cli("train", "ppo", ...)``."""
    from cumulant.cli.main import main

    def run(*words):
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # as a user has them
            code = main([str(word) for word in words])
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run


@pytest.fixture
def train_one(tmp_path):
    """Train one seed without a report and return its directory."""
    from cumulant import api

    def run(algo, env, seed=0, *, env_options=None, name="run", progress=None, **fields):
        directory = tmp_path / name
        api.train_one(api.make_spec(algo, env, seed, env_options, **fields), directory, progress=progress)
        return directory

    return run
