"""A user's own environment and algorithm: by file and by module, trained, resumed, evaluated, and trusted or not."""

import json
import sys

import numpy as np
import pytest

import cumulant
from cumulant import catalogue

MAZE = '''
import gymnasium
from gymnasium import spaces


class Maze(gymnasium.Env):
    """Two rooms; only 1, 1, 0 opens the door."""

    def __init__(self, code=(1, 1, 0)):
        self.code = tuple(code)
        self.observation_space, self.action_space = spaces.Discrete(len(self.code) + 1), spaces.Discrete(2)
        print("a maze is made")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.steps = 0
        return 0, {}

    def step(self, action):
        print("a step is made")
        self.steps += 1
        self.place = self.place + 1 if action == self.code[self.place] else 0
        out = self.place == len(self.code)
        return self.place, float(out), out, self.steps >= 20, {}
'''
WORDS = ("--total-steps", "6000", "--eval-episodes", "4", "--quiet", "--json")


@pytest.fixture
def lab(workspace):
    """A folder of the user's own with an environment in it, beside the current one."""
    folder = workspace / f"lab_{workspace.name}"  # modules are cached by name
    folder.mkdir()
    (folder / "maze.py").write_text(MAZE)
    return folder


def forget(folder):
    """As in a new process: no module of this folder is loaded."""
    for name, module in list(sys.modules.items()):
        if str(folder) in (getattr(module, "__file__", None) or ""):
            del sys.modules[name]


def from_elsewhere(run):
    """As if another machine had written this run: its manifest says so, and its policy's card."""
    for path in (run / "manifest.json", run / "policy" / "card.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "elsewhere"}))


@pytest.mark.parametrize("by", ["file", "module"])
@pytest.mark.parametrize("algo", ["q_learning", "ppo"])
def test_an_environment_of_ones_own_is_learned(cli, lab, algo, by):
    env = f"{lab.name}/maze.py:Maze" if by == "file" else f"{lab.name}.maze:Maze"
    more = ("--learning-rate", "0.01", "--horizon", "64") if algo == "ppo" else ("--horizon", "250")
    answer = cli("train", algo, env, *WORDS, *more, "--out", "run")
    assert answer.code == 0, answer.err
    said = answer.json  # although the environment prints
    assert said["return_mean"] == 1.0
    assert said["outcomes"]["length"]["mean"] == 3.0
    policy = cumulant.load("run")
    assert policy.act(np.array([0, 1, 2])).tolist() == [1, 1, 0]
    assert [policy.act(place) for place in range(3)] == [1, 1, 0]
    assert cli("evaluate", "run", "--json").json["return_mean"] == 1.0


def test_its_keywords_are_options(cli, lab):
    env = f"{lab.name}/maze.py:Maze"
    answer = cli("train", "q_learning", env, *WORDS, "--horizon", "250", "--env-option", "code=[0, 1]", "--out", "run")
    assert answer.json["outcomes"]["length"]["mean"] == 2.0
    assert cumulant.load("run").act(np.array([0, 1])).tolist() == [0, 1]
    assert cli("evaluate", "run", "--json").json["options"] == {"code": [0, 1]}
    assert cli("evaluate", "run", "--env-option", "code=[1, 1]", "--json").json["return_mean"] == 0.0


def test_a_copied_and_edited_algorithm_is_trained_resumed_and_evaluated(cli, workspace):
    assert cli("copy", "ppo", "my/greedy.py").code == 0
    file = workspace / "my" / "greedy.py"
    text = file.read_text()
    edited = text.replace('gamma: float = 0.99\n    """Discount per step."""', 'gamma: float = 0.5\n    """My own."""')
    edited = edited.replace('"policy/entropy"', '"policy/my_entropy"')
    assert edited.count("my_entropy") == 1
    assert edited.count("My own.") == 1
    file.write_text(edited)
    short = ("--total-steps", "1024", "--num-envs", "4", "--horizon", "64", "--eval-episodes", "4", "--quiet")
    shown = cli("train", "my/greedy.py", "CartPole-v1", "--help").out
    assert "My own." in " ".join(shown.split())

    answer = cli("train", "my/greedy.py", "CartPole-v1", *short, "--json")
    assert answer.code == 0, answer.err
    run = workspace / answer.json["run"]
    assert run.name == "greedy-cartpole-001"
    assert answer.json["algo"] == "my/greedy.py"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all("policy/my_entropy" in row for row in rows)
    assert json.loads((run / "config.json").read_text())["config"]["gamma"] == 0.5

    whole = (run / "metrics.jsonl").read_bytes()
    for state in (run / "state").glob("*.pt"):
        state.unlink()  # as after a kill before the first checkpoint
    (run / "evaluation.json").unlink()
    resumed = cli("resume", run, "--quiet", "--json")
    assert resumed.code == 0, resumed.err
    assert "imports my/greedy.py from" in resumed.err  # says what it runs
    assert (run / "metrics.jsonl").read_bytes() == whole
    assert cli("evaluate", run, "--json").json["return_mean"] == answer.json["return_mean"]
    assert cli("train", "my/greedy.py", "CartPole-v1", *short, "--seeds", "2", "--out", "group").code == 0


def test_code_that_another_machines_run_names_needs_trust(cli, lab, workspace):
    env = f"{lab.name}/maze.py:Maze"
    assert cli("train", "q_learning", env, *WORDS, "--horizon", "250", "--out", "run").code == 0
    from_elsewhere(workspace / "run")
    (lab / "maze.py").write_text("raise RuntimeError('foreign code ran')\n")
    forget(lab)
    for words in (("resume", "run", "--quiet"), ("evaluate", "run")):
        answer = cli(*words)
        assert answer.code == 1
        assert f"run would import {env}, and another machine wrote it" in answer.err
        assert "--trust" in answer.err
    (workspace / "run" / "manifest.json").unlink()  # no manifest is no proof
    assert "another machine wrote it" in cli("resume", "run", "--quiet").err
    assert cumulant.load("run").act(0) == 1  # loading imports nothing
    assert cli("report", "run").code == 0
    assert cli("compare", "run", "run").code == 0
    assert "foreign code ran" in cli("evaluate", "run", "--trust").err
    (lab / "maze.py").write_text(MAZE)
    answer = cli("evaluate", "run", "--trust", "--json")
    assert answer.code == 0
    assert answer.json["return_mean"] == 1.0
    assert f"note: run imports {env} from {workspace}" in answer.err


def test_a_foreign_algorithm_and_reward_need_trust_too(cli, workspace):
    assert cli("copy", "q_learning", "mine.py").code == 0
    assert cli("train", "mine.py", "garnet", "--total-steps", "8000", "--quiet", "--out", "run").code == 0
    from_elsewhere(workspace / "run")
    answer = cli("resume", "run", "--quiet")
    assert (answer.code, "would import mine.py" in answer.err) == (1, True)
    assert cli("resume", "run", "--quiet", "--trust").code == 0
    from_elsewhere(workspace / "run")  # to resume it without a checkpoint, or to finish it, made it ours
    for path in (workspace / "run" / "config.json", workspace / "run" / "policy" / "card.json"):
        named = {"algo": "ppo", "env": "warfarin", "env_options": {"reward": "evil.py:reward"}}
        path.write_text(json.dumps(json.loads(path.read_text()) | named))
    for verb in ("resume", "evaluate"):
        assert "would import evil.py:reward" in cli(verb, "run").err


def test_a_copy_without_a_field_of_our_preset_is_no_mistake(cli, workspace):
    """Presets are for our own algorithms, not for files that are called like one."""
    field = '    normalize_reward: bool = False\n    """Scale rewards by the running spread of the return."""\n'
    text = catalogue.source_of("ppo").read_text()
    assert text.count(field) == 1
    (workspace / "ppo.py").write_text(text.replace(field, "    normalize_reward = False\n"))
    answer = cli("train", "ppo.py", "warfarin", "--help")
    assert (answer.code, answer.err) == (0, "")
    assert "--total-steps" in answer.out
    assert "--normalize-reward" not in answer.out
