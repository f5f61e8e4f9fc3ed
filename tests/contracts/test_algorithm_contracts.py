"""What every algorithm that acts in an environment promises, present and future: found by listing, tested alike.

Those that learn from text: test_text_contracts.py; board games: test_game_contracts.py.
"""

import ast
import dataclasses
import itertools
import json
import math
import re
import typing
from pathlib import Path

import numpy as np
import pytest

from cumulant import api, catalogue
from cumulant.engine.gym_vector import GymVector
from cumulant.engine.policy import Policy
from cumulant.errors import ConfigError
from cumulant.run.config import from_dict, to_dict

ALGORITHMS = sorted(name for name, listed in catalogue.algorithms().items() if not (listed.is_text or listed.is_game))
TOYS = Path(__file__).parents[1] / "engine" / "toys.py"
# Small environments that suit every algorithm of a category, the first one native; a new category names its own here.
SUITED = {
    "tabular": ("garnet", f"{TOYS}:Corridor"),
    "actor-critic": ("CartPole-v1", f"{TOYS}:Reach"),
    "continuous control": ("probe-continuous", f"{TOYS}:Reach"),
    "bandit": ("bandit-linear", f"{TOYS}:Corridor"),
    "value-based": ("CartPole-v1", "FrozenLake-v1"),
}
# Fields that make an iteration small, where an algorithm has them.
SMALL = {
    "num_envs": 4, "horizon": 32, "epochs": 2, "minibatches": 2, "hidden": (16,), "eval_episodes": 4,
    "target_every": 10, "warmup_steps": 20, "batch_size": 32,
}  # fmt: skip
NOT_NUMBERS = ("env", "env_options", "device", "records")


@pytest.fixture(params=ALGORITHMS)
def algo(request):
    return request.param


@pytest.fixture(params=[0, 1], ids=["native", "Gymnasium"])
def env(request, algo):
    return suited(algo)[request.param]


def config_class(algo):
    return catalogue.load_algorithm(algo).Config


def hints(algo):
    """Annotated types of the fields without ``Annotated`` and ``None``: {name: (type, may be None)}."""
    return hints_of(config_class(algo))


def hints_of(cls):
    found = {}
    for name, hint in typing.get_type_hints(cls).items():
        options = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        optional = type(None) in typing.get_args(hint)
        found[name] = (options[0] if optional else hint, optional)
    return found


def suited(algo):
    return SUITED[catalogue.algorithms()[algo].category]


def small(algo, iterations=2):
    """Fields for a training of a few small iterations."""
    known = set(hints(algo))
    for hint, _ in hints(algo).values():  # fields of groups go by their own name
        known |= set(hints_of(hint)) if dataclasses.is_dataclass(hint) else set()
    return {
        **{name: value for name, value in SMALL.items() if name in known},
        "total_steps": iterations * SMALL["num_envs"] * SMALL["horizon"],
    }


def switched_on(cls):
    """Every switch of a Config, those in its groups included, set."""
    fields = {name: True for name, (hint, _) in hints_of(cls).items() if hint is bool}
    groups = {name: switched_on(hint) for name, (hint, _) in hints_of(cls).items() if dataclasses.is_dataclass(hint)}
    return fields | {name: inner for name, inner in groups.items() if inner}


def fingerprint(run):
    names = ("metrics.jsonl", "policy/best.safetensors", "policy/last.safetensors", "evaluation.json")
    return {name: (run / name).read_bytes() for name in names}


def other_value(hint, value):
    """Another value of the same field that is valid too."""
    if dataclasses.is_dataclass(hint):  # a group of fields
        others = {name: other_value(kind, getattr(value, name)) for name, (kind, _) in hints_of(hint).items()}
        assert all(getattr(value, name) != other for name, other in others.items())
        return dataclasses.replace(value, **others)
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)[-1]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float) or value is None:
        return 0.5 if value != 0.5 else 0.25
    if isinstance(value, tuple):  # one more for a list of any length
        return (*value, 7) if len(value) != 2 or isinstance(value[0], int) else (value[0] - 1.0, value[1] + 1.0)
    if isinstance(value, str):
        return "mlp" if value == "auto" else f"{value}-other"
    return {"slip": 0.25, "names": ["a", None]}


# -- what it says of itself ------------------------------------------------------------------------------------------------


def test_it_says_what_it_is_and_when_to_use_it(algo):
    listed = catalogue.algorithms()[algo]
    assert 20 <= len(listed.summary) <= 110
    assert listed.summary.endswith(".")
    assert listed.category in SUITED, "name a small environment for this category in SUITED"
    assert 20 <= len(listed.use) <= 110


def test_every_field_has_a_line_of_help_and_there_are_not_too_many(algo):
    tree = ast.parse(catalogue.source_of(algo).read_text(encoding="utf-8"))
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Config"]
    names = [field.name for field in dataclasses.fields(config_class(algo))]
    assert len(names) <= 25
    helped = []
    for field, following in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(following, ast.Expr), f"{field.target.id} has no help"
            assert ast.literal_eval(following.value).endswith("."), field.target.id
            helped.append(field.target.id)
    assert helped == names


# -- its Config ------------------------------------------------------------------------------------------------------------


def test_config_survives_json(algo):
    cls = config_class(algo)
    plain = cls()
    others = {name: other_value(hint, getattr(plain, name)) for name, (hint, _) in hints(algo).items()}
    for config in (plain, cls(**others)):
        assert from_dict(cls, json.loads(json.dumps(to_dict(config)))) == config
    assert all(getattr(plain, name) != value for name, value in others.items())


def test_an_unknown_field_is_refused_and_the_closest_named(algo):
    for name, (hint, _) in hints(algo).items():
        with pytest.raises(ConfigError, match=rf"there is no field '{name}x': did you mean .*'{name}'"):
            from_dict(config_class(algo), {f"{name}x": 1})
        for inner in hints_of(hint) if dataclasses.is_dataclass(hint) else ():
            with pytest.raises(ConfigError, match=rf"{name}: there is no field '{inner}x': did you mean .*'{inner}'"):
                from_dict(config_class(algo), {name: {f"{inner}x": 1}})


def test_nonsense_is_refused_by_name(algo):
    nonsense_is_refused(config_class(algo), lambda fields: from_dict(config_class(algo), fields))


def nonsense_is_refused(cls, build):
    for name, (hint, optional) in hints_of(cls).items():
        if name in NOT_NUMBERS or hint is bool:
            continue
        if dataclasses.is_dataclass(hint):
            nonsense_is_refused(hint, lambda fields, name=name: build({name: fields}))
            continue
        wrong = {int: [-1, 0.5, "x", True], float: [-1.0, math.nan, "x", True], str: ["nonsense", 1]}.get(hint)
        if typing.get_origin(hint) is tuple:
            wrong = [[-1], [0], ["x"], 3]
        elif typing.get_origin(hint) is typing.Literal:
            wrong = ["nonsense", 1, None]
        assert wrong is not None, f"{name}: say here what is nonsense for {hint}"
        for value in wrong if optional else [*wrong, None]:
            with pytest.raises(ConfigError, match=rf"\b{name} = "):
                build({name: value})


def test_numbers_that_json_cannot_hold_are_refused(algo):
    for name, (hint, _) in hints(algo).items():
        if hint is float:
            with pytest.raises(ConfigError, match=rf"\b{name} = inf"):
                api.make_spec(algo, suited(algo)[0], **{name: math.inf})


# -- its training ----------------------------------------------------------------------------------------------------------


def test_two_iterations(algo, env, train_one):
    seen = []
    run = train_one(algo, env, **small(algo), progress=lambda seed, row: seen.append((seed, row)))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [0, 1]
    assert [row["steps"] for row in rows] == [128, 256]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert "eval/return" in rows[-1]
    assert [seed for seed, _ in seen] == [0, 0]
    seen[0][1].pop("note", None)  # what is said of the run goes with the first row that is shown
    assert [row for _, row in seen] == [{**row, "seconds": shown["seconds"]} for row, (_, shown) in zip(rows, seen)]
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["episodes"] == 100
    card = json.loads((run / "policy" / "card.json").read_text())
    assert (card["algo"], card["env"], card["seed"]) == (algo, env, 0)
    assert card["evaluation"]["return_mean"] == evaluation["return_mean"]


def test_steps_are_counted_and_environments_closed(algo, train_one, monkeypatch):
    taken, closed = {}, []
    step, close = GymVector.step, GymVector.close

    def counted(envs, action):
        taken[id(envs)] = taken.get(id(envs), 0) + envs.num_envs
        step(envs, action)

    monkeypatch.setattr(GymVector, "step", counted)
    monkeypatch.setattr(GymVector, "close", lambda envs: (close(envs), closed.append(id(envs))))
    env = suited(algo)[1]
    run = train_one(algo, env, **small(algo) | switched_on(config_class(algo)))  # normalisation takes steps of its own
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    in_training = next(iter(taken))
    assert rows[-1]["steps"] == taken[in_training]
    assert set(closed) == set(taken)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(algo, env, train_one):
    runs = [
        fingerprint(train_one(algo, env, seed, **small(algo), name=name))
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    ]
    assert runs[0] == runs[1]
    for name in ("metrics.jsonl", "policy/last.safetensors"):
        assert runs[0][name] != runs[2][name]


def test_the_saved_policy_is_the_one_that_was_trained(algo, env, train_one, monkeypatch):
    trained = {}
    save = Policy.save

    def watch(self, folder, name="policy"):
        trained[name] = self
        save(self, folder, name)

    monkeypatch.setattr(Policy, "save", watch)
    run = train_one(algo, env, **small(algo))
    live, loaded = trained["last"], Policy.load(run / "policy", "last")
    space = live.observation_space
    space.seed(0)
    obs = np.stack([space.sample() for _ in range(100)])
    np.testing.assert_array_equal(loaded.act(obs), live.act(obs))
    assert len(np.unique(live.act(obs))) > 1
    for name, tensor in live.net.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), loaded.net.state_dict()[name].numpy())


@pytest.mark.parametrize(
    ("checkpoint_seconds", "switches"),
    [(0.0, False), (0.0, True), (1000.0, False)],
    ids=["from a checkpoint", "with every switch on", "from the start"],
)
def test_stopped_and_resumed_is_undisturbed(algo, env, train_one, checkpoint_seconds, switches):
    fields = {**small(algo, iterations=5), "checkpoint_seconds": checkpoint_seconds}
    if switches:
        fields |= switched_on(config_class(algo))

    def stop(seed, row):
        if row["iteration"] == 3:
            raise KeyboardInterrupt

    whole = train_one(algo, env, 1, **fields, name="whole")
    with pytest.raises(KeyboardInterrupt):
        train_one(algo, env, 1, **fields, name="torn", progress=stop)
    torn = whole.with_name("torn")
    assert not (torn / "evaluation.json").exists()
    assert len((torn / "metrics.jsonl").read_text().splitlines()) == 4
    (torn / "state" / "00000004.pt").unlink(missing_ok=True)  # as when it stopped between its row and its checkpoint
    assert bool(list((torn / "state").glob("*.pt"))) == (checkpoint_seconds == 0.0)
    again = []
    api.train_one(api.read_spec(torn), torn, resume=True, progress=lambda _, row: again.append(row["iteration"]))
    assert again == ([3, 4] if checkpoint_seconds == 0.0 else [0, 1, 2, 3, 4])
    assert fingerprint(torn) == fingerprint(whole)


def test_a_copy_trains_and_is_the_same_until_it_is_edited(algo, train_one, workspace):
    env = suited(algo)[1]  # one without a preset, which a copy does not get
    copy = api.copy(algo, workspace / "mine" / f"{algo}.py")
    assert copy.read_bytes() == catalogue.source_of(algo).read_bytes()
    torch_only = {"engine": "torch"} if "engine" in hints(algo) else {}  # compiled code never stands in for a copy
    original = train_one(algo, env, **small(algo), **torch_only, name="original")
    copied = train_one(str(copy), env, **small(algo), **torch_only, name="copied")
    assert fingerprint(copied) == fingerprint(original)
    edited = workspace / "mine" / "edited.py"
    text = copy.read_text()
    for field, value in (("learning_rate", 0.4321), ("step_size", 0.4321), ("reward_std", 9.0)):
        text = re.sub(rf"^    {field}: float = .*$", f"    {field}: float = {value}", text, flags=re.MULTILINE)
    assert text != copy.read_text()
    edited.write_text(text)
    assert fingerprint(train_one("mine/edited.py", env, **small(algo), name="edited")) != fingerprint(original)
