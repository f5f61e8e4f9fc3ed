"""What the functions refuse, and what they do not import; without training more than a few steps."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import cumulant
from cumulant import api, catalogue
from cumulant.algos import ppo, q_learning
from cumulant.engine.policy import Policy
from cumulant.envs import lookup
from cumulant.errors import ConfigError, RunError, StorageError, UsageError
from cumulant.run.manifest import host

SHORT = {"total_steps": 256, "num_envs": 4, "horizon": 32, "eval_episodes": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run; read only."""
    return cumulant.train("ppo", "CartPole-v1", out=tmp_path_factory.mktemp("api") / "run", **SHORT).run


def test_what_is_missing_and_what_contradicts_is_refused():
    config = ppo.Config(total_steps=64)
    assert api.make_spec("ppo", "cartpole", config=config)["config"]["total_steps"] == 64
    assert api.make_spec("ppo", "cartpole", config=ppo.Config(env="CartPole-v1"))["env"] == "cartpole"
    for message, arguments in {
        "config and gamma": {"config": config, "gamma": 0.5},
        "config is for the environment 'Acrobot-v1'": {"config": ppo.Config(env="Acrobot-v1")},
        "must be a Config of the algorithm": {"config": {"gamma": 0.5}},
        "there is no field 'epsilon'": {"config": q_learning.Config()},
        "seed = 1.5: it must be a whole number": {"seed": 1.5},
        "threads = '2': it must be a whole number": {"threads": "2"},
    }.items():
        with pytest.raises(ConfigError, match=message):
            api.make_spec("ppo", "CartPole-v1", **arguments)
    with pytest.raises(ConfigError, match=r"seeds = 2\.0: it must be a whole number"):
        cumulant.train("ppo", "CartPole-v1", seeds=2.0)
    assert api.make_spec("ppo", "CartPole-v1", seed=np.int64(3))["seed"] == 3


def test_options_are_stored_whole_and_as_plain_values():
    assert api.make_spec("ppo", "cartpole")["env_options"] == {"max_steps": 500}
    stored = api.make_spec("ppo", "FrozenLake-v1", env_options={"a": np.int64(3), "b": np.ones(2), "c": (1, "x")})
    assert json.loads(json.dumps(stored))["env_options"] == {"a": 3, "b": [1.0, 1.0], "c": [1, "x"]}
    config = ppo.Config(env_options={"max_steps": 7})
    assert api.make_spec("ppo", "cartpole", config=config)["env_options"] == {"max_steps": 7}
    for value in (object(), float("nan"), {1, 2}):
        with pytest.raises(ConfigError, match="only plain values can be saved"):
            api.make_spec("ppo", "FrozenLake-v1", env_options={"a": value})


@pytest.mark.parametrize(
    ("env", "option", "message"),
    [
        ("cartpole", {"max_steps": "x"}, "max_steps = 'x'; it must be int, not str"),
        ("cartpole", {"max_steps": True}, "it must be int, not bool"),
        ("cartpole", {"max_steps": 2.5}, "it must be int, not float"),
        ("warfarin", {"noise_cv": "0.1"}, "noise_cv = '0.1'; it must be float, not str"),
        ("warfarin", {"death_ends": 1}, "it must be bool, not int"),
        ("warfarin", {"reward": 3}, "it must be str, not int"),
        ("warfarin", {"schedule": ["daily"]}, "must be one of 'daily', 'clinic'"),
    ],
)
def test_an_option_of_another_type_is_refused(env, option, message):
    with pytest.raises(ConfigError, match=message):
        lookup.build(env, option)


def test_numbers_are_taken_as_the_type_that_is_meant():
    assert lookup.resolved("cartpole", {"max_steps": np.int32(7)}) == {"max_steps": 7}
    assert type(lookup.resolved("warfarin", {"noise_cv": 0})["noise_cv"]) is float


def test_a_policy_is_evaluated_on_its_own_options_under_every_name(run):
    policy = cumulant.load(run)
    policy.card["env_options"] = {"max_steps": 5}
    for name in ("cartpole", "CartPole-v1", "cumulant/CartPole-v1", None):
        assert cumulant.evaluate(policy, name, episodes=2)["outcomes"]["length"]["mean"] == 5.0


def test_the_evaluation_is_the_best_policys_and_comes_last(run):
    assert cumulant.load(run).card["evaluation"]["episodes"] == 100
    assert "evaluation" not in cumulant.load(run, "last").card
    assert (run / "evaluation.json").stat().st_mtime_ns >= (run / "policy" / "card.json").stat().st_mtime_ns


def test_a_seed_whose_policy_could_not_be_saved_is_not_finished(tmp_path, monkeypatch):
    save = Policy.save

    def refuse(policy, folder, name="policy"):
        if "evaluation" in policy.card:
            raise StorageError("full")
        save(policy, folder, name)

    monkeypatch.setattr(Policy, "save", refuse)
    with pytest.raises(StorageError, match="full"):
        api.train_one(api.make_spec("ppo", "CartPole-v1", **SHORT), tmp_path / "run")
    assert not (tmp_path / "run" / "evaluation.json").exists()


def test_trainings_that_start_together_get_directories_of_their_own(workspace):
    with api._place(None, "my/ppo.py", "CartPole-v1") as first, api._place(None, "lab.algos.ppo", "cartpole") as second:
        assert (first.as_posix(), second.as_posix()) == ("runs/ppo-cartpole-001", "runs/ppo-cartpole-002")
        (second / "row").write_text("")
    assert [path.name for path in (workspace / "runs").iterdir()] == ["ppo-cartpole-002"]
    with api._place(None, "ppo", "ALE/Pong-v5") as other:
        assert other.as_posix() == "runs/ppo-Pong-v5-001"
    (workspace / "runs" / "ppo-cartpole-002" / "row").unlink()
    (workspace / "runs" / "ppo-cartpole-002").rmdir()
    (workspace / "runs").rmdir()
    (workspace / "runs").write_text("")
    with pytest.raises(StorageError, match="cannot be made: Not a directory"), api._place(None, "ppo", "cartpole"):
        pass


# -- trust -----------------------------------------------------------------------------------------------------------


def test_check_trust():
    api.check_trust(["ppo", "CartPole-v1", 3, "inr_band"], None, "here", False)
    for foreign in (None, "elsewhere"):
        with pytest.raises(RunError, match=r"here would import evil:Env, mine\.py, and another machine wrote it"):
            api.check_trust(["evil:Env", "mine.py", "ppo"], foreign, "here", False)
        with pytest.warns(UserWarning, match="here imports evil:Env from"):
            api.check_trust(["evil:Env"], foreign, "here", True)
    with pytest.warns(UserWarning, match="here imports evil:Env from"):
        api.check_trust(["evil:Env"], host(), "here", False)


@pytest.mark.parametrize("whose", [None, "elsewhere"])
@pytest.mark.parametrize("names", [{"env": "evil.py:Env"}, {"env": "warfarin", "env_options": {"reward": "evil.py:f"}}])
def test_a_card_is_checked_whatever_config_json_says(run, workspace, names, whose):
    """config.json and manifest.json of this machine beside a stranger's policy are no reason to run his code."""
    (workspace / "evil.py").write_text("open('ran', 'w').close()\n")
    cumulant.load(run).save(workspace / "run" / "policy", "best")
    for name in ("config.json", "manifest.json"):
        (workspace / "run" / name).write_bytes((run / name).read_bytes())
    path = workspace / "run" / "policy" / "card.json"
    card = {key: value for key, value in json.loads(path.read_text()).items() if key != "host"}
    path.write_text(json.dumps(card | names | ({"host": whose} if whose else {})))
    for policy in ("run", "run/policy", cumulant.load("run")):
        with pytest.raises(RunError, match=r"would import evil.py:\w+, and another machine wrote it"):
            cumulant.evaluate(policy)
    if "env_options" in names:
        with pytest.raises(RunError, match=r"would import evil\.py:f"):
            cumulant.evaluate("run", "warfarin")
    assert not (workspace / "ran").exists()
    assert cumulant.evaluate("run", "CartPole-v1", 2)["episodes"] == 2
    assert cumulant.evaluate("run", "CartPole-v1", 2, env_options={})["episodes"] == 2
    cumulant.load("run").save(workspace / "again")  # saving it here does not make it ours
    assert json.loads((workspace / "again" / "card.json").read_text())["host"] == whose or whose is None


def test_resume_checks_what_the_seeds_will_run(tmp_path, monkeypatch):
    """Not what config.json of a seed says, and also of a seed that has no directory yet."""
    spec = api.make_spec("ppo", "CartPole-v1", **SHORT)
    evil = spec | {"algo": "evil.py"}
    (tmp_path / "seeds.json").write_text(json.dumps({"seeds": [0, 1], "spec": evil}))
    (tmp_path / "seed_0").mkdir()
    (tmp_path / "seed_0" / "config.json").write_text(json.dumps(spec))
    (tmp_path / "seed_0" / "manifest.json").write_text(json.dumps({"host": host()}))
    started = []
    specs = {1: evil | {"seed": 1}}
    stub = SimpleNamespace(
        seeds_of=lambda _: [0, 1],
        specs=lambda _: specs,
        read_spec=lambda _: spec,
        resume=lambda *_: started.append(1),
    )
    monkeypatch.setattr(api, "group", stub)
    monkeypatch.setattr(api, "_finish", lambda *_: None)
    with pytest.raises(RunError, match=r"would import evil.py, and another machine wrote it"):
        cumulant.resume(tmp_path)
    assert not started
    with pytest.warns(UserWarning, match=r"imports evil.py"):
        cumulant.resume(tmp_path, trust=True)
    assert started


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"algo": 3}, "algo is a int, not a str"),
        ({"env": None}, "env is a NoneType"),
        ({"seed": "0"}, "seed is a str, not a int"),
        ({"seed": True}, "seed is a bool"),
        ({"config": []}, "config is a list, not a dict"),
        ({"env_options": "x"}, "env_options is a str, not a dict"),
        ({"threads": "many"}, "threads is no number"),
        (None, "damaged"),
        ([1], "lacks|damaged"),
    ],
)
def test_a_specification_of_the_wrong_kind_is_damaged(run, tmp_path, part, message):
    spec = json.loads((run / "config.json").read_text())
    damaged = spec | part if isinstance(part, dict) else part
    (tmp_path / "config.json").write_text(json.dumps(damaged))
    for function in (api.read_spec, cumulant.resume, cumulant.evaluate):
        with pytest.raises(RunError, match=message):
            function(tmp_path)


# -- catalogue ---------------------------------------------------------------------------------------------------------


def test_presets_are_for_our_own_algorithms():
    assert api.preset_for("ppo", "CartPole-v1") is not None
    assert api.preset_for("my/ppo.py", "CartPole-v1") is None


def test_a_config_needs_the_fields_that_every_algorithm_has(workspace):
    (workspace / "classy.py").write_text("class Config:\n    env = 'x'\ndef train(config, run): ...\n")
    with pytest.raises(UsageError, match="its Config must be a dataclass with env, env_options, total_steps"):
        catalogue.load_algorithm("classy.py")
    (workspace / "bare.py").write_text(
        "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass Config:\n    env: str = 'x'\n"
        "def train(config, run): ...\n"
    )
    with pytest.raises(UsageError, match="a dataclass with env_options, total_steps"):
        catalogue.load_algorithm("bare.py")


@pytest.mark.parametrize("name", ["leaves.py", "leaves.algo"])
def test_a_file_that_exits_does_not_take_us_along(workspace, name):
    (workspace / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(UsageError, match=rf"{name} does not import: it exits \(leaves.py, line 2\)"):
        catalogue.load_algorithm(name)


def test_a_copy_that_cannot_be_written_says_so(workspace):
    (workspace / "file").write_text("")
    for place in ("file/ppo.py", "/proc/ppo.py", "/proc/nothing/ppo.py"):
        with pytest.raises(StorageError, match=place):
            api.copy("ppo", place)


def test_public_names_stay_what_they_are_whatever_is_imported():
    """A function called like a package of ours would be hidden by it once somebody imports from that package."""
    import importlib
    import pkgutil

    import cumulant

    packages = {module.name for module in pkgutil.iter_modules(cumulant.__path__)}
    assert not packages & set(cumulant.__all__)
    importlib.import_module("cumulant.report.html")
    assert all(callable(getattr(cumulant, name)) for name in cumulant.__all__ if name != "__version__")
