"""Every mistake gets one clear line, its exit code, and leaves nothing behind."""

import fcntl
import importlib.util
import json
import re
import warnings
from pathlib import Path

import pytest
import torch

TOYS = Path(__file__).parents[1] / "engine" / "toys.py"
TRAIN = ("train", "ppo", "CartPole-v1", "--quiet")
SHORT = ("--quiet", "--total-steps", "256", "--num-envs", "4", "--horizon", "32", "--eval-episodes", "4")

MISTAKES = {
    "verb": (["evalaute"], 2, "no verb 'evalaute': did you mean 'evaluate'"),
    "no words": (["train"], 2, "name an algorithm and an environment, as in `cumulant train ppo warfarin`"),
    "one word": (["train", "ppo"], 2, "name an algorithm and an environment"),
    "algorithm": (["train", "poo", "warfarin"], 2, "no algorithm 'poo': did you mean 'ppo' or 'dpo'?"),
    "algorithm file": (["train", "mine.py", "warfarin"], 2, "there is no file mine.py"),
    "algorithm module": (["train", "mylab.algos.foo", "warfarin"], 2, "there is no module 'mylab'"),
    "not an algorithm": (["train", TOYS, "CartPole-v1"], 2, "has no 'Config'"),
    "environment": (["train", "ppo", "warfrin"], 2, "no environment 'warfrin': did you mean 'warfarin'?"),
    "nothing close": (["train", "ppo", "zzzzzz"], 2, "no environment 'zzzzzz': `cumulant list envs` shows ours"),
    "environment class": (["train", "ppo", f"{TOYS}:Coridor"], 2, "has no 'Coridor': did you mean 'Corridor'"),
    "environment file": (["train", "ppo", "nowhere.py:Env"], 2, "there is no file nowhere.py"),
    "environment module": (["train", "ppo", "nowhere:Env"], 2, "there is no module 'nowhere'"),
    "not an environment": (["train", "ppo", f"{TOYS}:NotAnEnv"], 2, "is a NotAnEnv, not a gymnasium.Env"),
    "field": ([*TRAIN, "--gama", "0.9"], 2, "no option '--gama': did you mean '--gamma'"),
    "field of another": (["train", "q_learning", "garnet", "--clip", "0.1"], 2, "no option '--clip'"),
    "not a number": ([*TRAIN, "--gamma", "high"], 2, "--gamma: could not convert string to float: 'high'"),
    "refused": ([*TRAIN, "--gamma", "2"], 2, r"gamma = 2.0: it must be in [0, 1]"),
    "refused choice": ([*TRAIN, "--activation", "gelu"], 2, "invalid choice 'gelu' for argument '--activation'"),
    "infinite": ([*TRAIN, "--learning-rate", "inf"], 2, "learning_rate = inf: it must be a finite number"),
    "no value": ([*TRAIN, "--gamma"], 2, "Missing value for argument '--gamma'"),
    "a word too many": ([*TRAIN, "now"], 2, "Unrecognized options: now"),
    "option": (["train", "ppo", "warfarin", "--schedul", "daily"], 2, "did you mean '--schedule'"),
    "refused option": (["train", "ppo", "warfarin", "--days", "0"], 2, "warfarin: days = 0; give 1 to 3650"),
    "reward": (["train", "ppo", "warfarin", "--reward", "inr_bund"], 2, "no reward 'inr_bund': did you mean 'inr_band'"),
    "keyword": (["train", "ppo", "FrozenLake-v1", "--env-option", "wide"], 2, "write it as key=value"),
    "refused keyword": (["train", "ppo", "FrozenLake-v1", "--env-option", "wide=1"], 1, "unexpected keyword argument 'wide'"),
    "option of a game": (["train", "alphazero", "go", "--env-option", "size=99"], 2, "boards are 2 to 19 points wide"),
    "no option of a game": (["train", "alphazero", "go", "--env-option", "sise=9"], 2, "no option 'sise': did you mean 'size'"),
    "keyword of ours": ([*TRAIN, "--env-option", "a=1"], 2, "options of 'CartPole-v1' are flags of their own"),
    "no seeds": ([*TRAIN, "--seeds", "0"], 2, "seeds = 0: there must be at least one"),
    "negative seed": ([*TRAIN, "--seed", "-1"], 2, "seed = -1: it must be from 0"),
    "seed": ([*TRAIN, "--seed", "one"], 2, "argument --seed: invalid int value: 'one'"),
    "threads": ([*TRAIN, "--threads", "0"], 2, "threads = 0: there must be at least one"),
    "device": ([*TRAIN, "--device", "gpu"], 2, "argument --device: invalid choice: 'gpu'"),
    "device of a table": (["train", "q_learning", "garnet", "--device", "cuda"], 2, "runs in compiled code on the CPU"),
    "observations": (["train", "q_learning", "CartPole-v1"], 2, "needs Discrete observations"),
    "spaces": (["train", "ppo", f"{TOYS}:Chatty"], 2, "part said of the observations is Text, which is not supported"),
    "nothing to see": (["train", "dqn", f"{TOYS}:Bare", "--env-option", "sees=false"], 2, "observations, Dict(), are empty"),
    "nothing to do": (["train", "ppo", f"{TOYS}:Bare", "--env-option", "acts=false"], 2, "nothing to choose in its actions"),
    "actions": (["train", "dqn", f"{TOYS}:Reach"], 2, "need Discrete actions, and this environment has Box(-2.0, 2.0, (1,)"),
    "refused in a group": ([*TRAIN, "--net", "cmn"], 2, "cumulant: net = 'cmn': it must be path:Class; did you mean 'cnn'"),
    "raises": (["train", "ppo", f"{TOYS}:Broken", "--max-faults", "0"], 1, "failed in step: RuntimeError: the motor is stuck"),
    "faults": ([*TRAIN, "--max-faults", "-1"], 2, "max_faults = -1: it must be at least 0"),
    "timeout": ([*TRAIN, "--env-timeout", "-1"], 2, "env_timeout = -1.0: it must be seconds, or 0 for any time"),
    "reward is NaN": (["train", "ppo", f"{TOYS}:Poisoned"], 1, "gave the reward nan: rewards must be finite"),
    "loss is NaN": ([*TRAIN, "--learning-rate", "1e30"], 1, "(nothing was saved before): a lower --learning-rate"),
    "place": ([*TRAIN, "--out", "/dev/null/run"], 1, "/dev/null/run cannot be made"),
    "resume nothing": (["resume", "nowhere"], 1, "nowhere holds no run"),
    "evaluate nothing": (["evaluate", "nowhere"], 1, "there is no directory nowhere"),
    "report nothing": (["report", "nowhere"], 1, "there is no run 'nowhere'"),
    "compare nothing": (["compare", "nowhere", "here"], 1, "there is no run 'nowhere'"),
    "compare": (["compare"], 2, "the following arguments are required: runs"),
    "list": (["list", "algorithms"], 2, "invalid choice: 'algorithms'"),
    "copy": (["copy", "poo", "mine.py"], 2, "no algorithm 'poo': did you mean 'ppo' or 'dpo'?"),
    "copy to": (["copy", "ppo", "mine.txt"], 2, "give the copy a name that ends in .py"),
    "number of episodes": (["evaluate", "nowhere", "--episodes", "many"], 2, "invalid int value: 'many'"),
}  # fmt: skip


def assert_one_line(answer, code, message):
    assert "Traceback" not in answer.err
    assert answer.err.endswith("\n")
    assert len(answer.err.splitlines()) == 1, answer.err
    assert answer.err.startswith("cumulant: ")
    assert message in answer.err
    assert answer.code == code


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(cli, workspace, mistake):
    words, code, message = MISTAKES[mistake]
    answer = cli(*words, *(["--quiet"] if words[0] == "train" else []))
    assert_one_line(answer, code, message)
    assert answer.out == ""
    assert list(workspace.iterdir()) == []


@pytest.mark.parametrize("mistake", ["verb", "field", "refused", "environment", "raises", "resume nothing"])
def test_with_json_a_mistake_is_an_object(cli, workspace, mistake):
    words, code, message = MISTAKES[mistake]
    answer = cli(*words, "--json", *(["--quiet"] if words[0] == "train" else []))
    assert_one_line(answer, code, message)
    assert answer.json.keys() == {"error", "exit_code"}
    assert answer.json["exit_code"] == code
    assert answer.err.strip().endswith(answer.json["error"])


@pytest.mark.parametrize(
    ("env", "package", "hint"),
    [
        ("Ant-v5", "mujoco", "pip install 'cumulant[mujoco]'"),
        ("Pusher-v5", "mujoco", "pip install 'cumulant[mujoco]'"),
        ("FetchReach-v4", "gymnasium_robotics", "pip install 'cumulant[robotics]'"),
        ("dm_control/walker-walk", "dm_control", "pip install 'cumulant[robotics]'"),
        ("LunarLander-v3", "Box2D", "gymnasium[box2d]"),
        ("ALE/Pong-v5", "ale_py", "pip install 'cumulant[atari]'"),
    ],
)
def test_a_missing_environment_package_is_named(cli, workspace, env, package, hint):
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed here")
    answer = cli("train", "ppo", env, *SHORT)
    assert_one_line(answer, 1, hint)
    assert f"environment '{env}'" in answer.err
    assert list(workspace.iterdir()) == []


def test_a_package_that_the_users_file_needs_is_named(cli, workspace):
    (workspace / "needy.py").write_text("import a_package_that_nobody_has\n")
    assert_one_line(cli("train", "ppo", "needy.py:Env"), 2, "No module named 'a_package_that_nobody_has'")
    assert_one_line(cli("train", "ppo", "needy:Env"), 2, "needs 'a_package_that_nobody_has', which is not installed")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there(cli, workspace):
    assert_one_line(cli(*TRAIN, "--device", "cuda"), 2, "device = cuda: there is none here; torch sees cpu")


def test_a_directory_with_something_in_it_is_not_touched(cli, workspace):
    (workspace / "thesis").mkdir()
    (workspace / "thesis" / "chapter.tex").write_text("precious")
    for more in ((), ("--seeds", "2")):
        answer = cli(*TRAIN, "--out", "thesis", *more)
        assert_one_line(answer, 1, "thesis is not empty: continue it with `cumulant resume`, or choose another --out")
    assert [path.name for path in (workspace / "thesis").iterdir()] == ["chapter.tex"]


def test_an_empty_directory_stays_when_a_run_cannot_start(cli, workspace):
    (workspace / "mine").mkdir()
    assert cli("train", "ppo", f"{TOYS}:Broken", "--quiet", "--out", "mine").code == 1
    assert list((workspace / "mine").iterdir()) == []


def test_seeds_that_cannot_start_leave_nothing_behind(cli, workspace):
    answer = cli("train", "ppo", f"{TOYS}:Broken", "--quiet", "--seeds", "2", "--out", "runs/broken")
    assert_one_line(answer, 1, "seed 0: environment")
    assert "the motor is stuck" in answer.err
    assert list(workspace.iterdir()) == []


def test_a_run_in_use_is_left_alone(cli, workspace):
    assert cli(*TRAIN, *SHORT, "--out", "run").code == 0
    before = {path: path.read_bytes() for path in (workspace / "run").rglob("*") if path.is_file()}
    with open(workspace / "run" / "LOCK", "a+") as lock:  # as another process holds it
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        answer = cli("resume", "run", "--quiet")
    assert_one_line(answer, 1, "run is in use by process")
    assert {path: path.read_bytes() for path in (workspace / "run").rglob("*") if path.is_file()} == before
    assert cli("resume", "run", "--quiet").code == 0


def test_a_loss_that_is_lost_later_keeps_what_was_saved(cli, workspace):
    """The environment's rewards explode after a while; the rows and the checkpoint before stay."""
    (workspace / "exploding.py").write_text(
        "import gymnasium\n"
        "class Exploding(gymnasium.Wrapper):\n"
        "    steps = 0\n"
        "    def __init__(self):\n"
        "        super().__init__(gymnasium.make('CartPole-v1'))\n"
        "    def step(self, action):\n"
        "        obs, reward, *rest = super().step(action)\n"
        "        Exploding.steps += 1\n"
        "        return obs, reward if Exploding.steps < 600 else 1e38, *rest\n"
    )
    words = ("--horizon", "32", "--total-steps", "4096", "--checkpoint-seconds", "0", "--eval-episodes", "2")
    answer = cli("train", "ppo", "exploding.py:Exploding", "--quiet", "--out", "run", *words)
    assert_one_line(answer, 1, "(the checkpoint before it is intact)")
    assert re.search(r"loss/\w+ became (nan|inf)", answer.err)
    assert (workspace / "run" / "metrics.jsonl").read_text()
    assert list((workspace / "run" / "state").glob("*.pt"))


def test_a_mistake_of_several_lines_is_told_in_one(cli, workspace):
    (workspace / "wordy.py").write_text(
        "import gymnasium\n"
        "class Wordy(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Discrete(2)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        raise RuntimeError('first\\n\\n  second')\n"
    )
    assert_one_line(cli("train", "ppo", "wordy.py:Wordy", "--quiet"), 1, "RuntimeError: first second")


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("old", "return 0, 0.0, True, {}", "not enough values to unpack"),
        ("nothing", "return None", "cannot unpack non-iterable NoneType"),
        ("outside", "return 5, 0.0, False, False, {}", "gave the observation 5, which is not in Discrete(2)"),
        ("negative", "return -1, 0.0, False, False, {}", "gave the observation -1, which is not in Discrete(2)"),
        ("shape", "return [0, 1], 0.0, False, False, {}", "gave an observation of shape (2,): its space has ()"),
        ("reward", "return 0, 'much', False, False, {}", "could not convert string to float"),
    ],
)
def test_an_environment_that_breaks_the_contract_is_told_so(cli, workspace, name, body, message):
    """Also with compiled learners, which would read outside their tables."""
    (workspace / f"{name}_contract.py").write_text(
        "import gymnasium\n"
        "class Env(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Discrete(2)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        return 0, {}\n"
        "    def step(self, action):\n"
        f"        {body}\n"
    )
    for algo in ("ppo", "q_learning", "sarsa"):
        answer = cli("train", algo, f"{name}_contract.py:Env", "--quiet", "--total-steps", "100")
        assert_one_line(answer, 1, message)
        assert "episode 0, step 0" in answer.err


def test_an_observation_that_is_not_a_number_is_named(cli, workspace):
    (workspace / "blind.py").write_text(
        "import gymnasium\n"
        "import numpy as np\n"
        "class Blind(gymnasium.Env):\n"
        "    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)\n"
        "    action_space = gymnasium.spaces.Discrete(2)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        return np.array([0.0, np.nan], np.float32), {}\n"
    )
    assert_one_line(cli("train", "ppo", "blind.py:Blind", "--quiet"), 1, "gave an observation that is not finite")


def test_a_policy_is_not_evaluated_on_what_it_does_not_fit(cli, workspace):
    assert cli(*TRAIN, *SHORT, "--out", "run").code == 0
    assert_one_line(cli("evaluate", "run", "--env", "Acrobot-v1"), 2, "this policy has observations Box")
    assert_one_line(cli("evaluate", "run", "--env", "cliff-walking"), 2, "and environment 'cliff-walking' has Discrete")
    assert_one_line(cli("evaluate", "run", "--episodes", "1"), 2, "an interval needs at least 2")
    assert_one_line(cli("evaluate", "run", "--env-option", "x=1"), 2, "has no option 'x'")


def test_a_damaged_run_says_what_is_damaged(cli, workspace):
    assert cli(*TRAIN, *SHORT, "--out", "run").code == 0
    (workspace / "run" / "policy" / "best.safetensors").write_bytes(b"\0" * 40)
    assert_one_line(cli("evaluate", "run"), 1, "the policy in run/policy cannot be read")
    (workspace / "run" / "config.json").write_text("{")
    for verb in ("resume", "evaluate"):
        assert_one_line(cli(verb, "run"), 1, "config.json is damaged")
    assert_one_line(cli("report", "run"), 1, "config.json")


def test_warnings_are_notes(cli, workspace):
    assert cli(*TRAIN, *SHORT, "--out", "run").code == 0
    manifest = workspace / "run" / "manifest.json"
    facts = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(facts | {"versions": {**facts["versions"], "torch": "1.0"}}))
    shown = warnings.showwarning
    answer = cli("resume", "run", "--quiet")
    assert answer.code == 0
    assert "cumulant: note: resuming under other conditions (torch 1.0 -> " in answer.err
    assert warnings.showwarning is shown


def test_options_before_the_names_are_refused(cli, workspace):
    for words in (("--gamma", "0.9", "ppo", "CartPole-v1"), ("ppo", "--gamma", "0.9", "CartPole-v1")):
        message = "ALGO and TARGET come first, as in `cumulant train ppo warfarin --gamma ...`"
        assert_one_line(cli("train", *words), 2, message)
    assert_one_line(
        cli("train", "--quiet", "--seed", "-1", "ppo", "CartPole-v1"), 2, "seed = -1"
    )  # those of every training may


def test_options_of_another_type_and_places_that_cannot_be(cli, workspace):
    assert cli(*TRAIN, *SHORT, "--out", "run").code == 0
    assert_one_line(
        cli("evaluate", "run", "--env-option", "max_steps=x"), 2, "max_steps = 'x'; it must be int, not str"
    )
    (workspace / "leaves.py").write_text("raise SystemExit(0)\n")
    assert_one_line(cli("train", "leaves.py", "CartPole-v1"), 2, "leaves.py does not import: it exits")
    assert_one_line(cli("copy", "ppo", "leaves.py/ppo.py"), 1, "leaves.py/ppo.py cannot be written")
    (workspace / "run" / "config.json").write_text(
        '{"algo": 3, "env": "x", "env_options": {}, "seed": 0, "config": {}}'
    )
    for verb in ("resume", "evaluate"):
        assert_one_line(cli(verb, "run"), 1, "algo is a int, not a str")
