"""The house rules that no linter knows."""

import ast
import dataclasses
import importlib
import inspect
import json
import re
from pathlib import Path

import gymnasium
import pytest

import cumulant
from cumulant import catalogue
from cumulant.envs import extras, lookup
from cumulant.envs.games import lookup as games
from cumulant.errors import MissingPackage
from cumulant.presets import PRESETS
from cumulant.run.config import from_dict, to_dict

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "cumulant").rglob("*.py"))
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES]

LONGEST = 400
LONGER: dict[str, str] = {}  # module: the reason
VAGUE = ("utils", "util", "common", "helpers", "helper", "misc", "core", "base", "tools")


def identifiers(tree):
    """Every name that a module gives to something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.arg | ast.Attribute | ast.keyword | ast.alias):
            yield getattr(node, "id", None) or getattr(node, "arg", None) or getattr(node, "attr", None) or ""
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name


def test_there_is_something_to_check():
    assert len(FILES) > 80


@pytest.mark.parametrize("path", FILES, ids=MODULES)
def test_a_module_fits_a_reader(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST or name in LONGER, f"{lines} lines; split it by what changes together"
    assert name not in LONGER or lines > LONGEST, "is short again: take it off the list"
    assert path.stem not in VAGUE
    assert path.parent.name not in VAGUE


def test_the_banned_word_is_no_name():
    """An episode is terminated or truncated; a name that says neither hides the difference."""
    for path in [*FILES, *(ROOT / "examples").glob("*.py")]:
        for name in identifiers(ast.parse(path.read_text(encoding="utf-8"))):
            assert "done" not in re.split(r"_|\d", name), path


def test_no_global_generator_is_seeded():
    """Generators are passed in: whatever seeds or draws from a global one couples things that should not know each other."""
    banned = re.compile(
        r"torch\.manual_seed|np\.random\.(seed|rand|randn|randint|choice|normal|uniform|shuffle)\(|^import random|random\.seed",
        re.M,
    )
    forked = re.compile(
        r"torch\.random\.fork_rng\(.*\n +torch\.manual_seed"
    )  # for modules of others, and undone at once
    for path in FILES:
        assert not banned.search(forked.sub("", path.read_text(encoding="utf-8"))), path


def test_nothing_is_unpickled():
    banned = re.compile(r"^import (pickle|dill|joblib|cloudpickle)|allow_pickle=True|weights_only=False", re.M)
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert not banned.search(text), path
        assert all("weights_only=True" in call for call in re.findall(r"torch\.load\([^\n]*", text)), path


def test_public_names_are_what_is_exported():
    tree = ast.parse((ROOT / "cumulant" / "__init__.py").read_text(encoding="utf-8"))
    (typed,) = [node.body[0] for node in tree.body if isinstance(node, ast.If)]  # what a type checker sees
    assert sorted(cumulant.__all__) == sorted([*(alias.name for alias in typed.names), "__version__"])
    for name in cumulant.__all__:
        assert getattr(cumulant, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        _ = cumulant.trane


@pytest.mark.parametrize("name", [name for name in MODULES if name != "cumulant"])
def test_what_a_module_exports_exists_and_it_says_what_it_is(name):
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip()
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported)


def json_like(value):
    """A value with lists for tuples, as JSON has it."""
    return json.loads(json.dumps(value))


def of_gymnasium(env):
    """Whether an id is one of Gymnasium's, or of an extra that is not installed here."""
    try:
        extras.announce(env)
    except MissingPackage:
        return True
    return env in gymnasium.registry


@pytest.mark.parametrize(("algo", "env"), PRESETS)
def test_a_preset_is_of_what_exists(algo, env):
    assert algo in catalogue.algorithms()
    assert env in lookup.listing() or env in games.listing() or of_gymnasium(env)
    preset = PRESETS[algo, env]
    config = from_dict(catalogue.load_algorithm(algo).Config, preset.config)
    plain, fields = to_dict(config), set()
    for field, value in preset.config.items():
        if isinstance(value, dict):  # a group of fields, in part
            assert plain[field].items() >= json_like(value).items()
            fields |= set(plain[field])
        else:
            assert plain[field] == json_like(value)
    fields |= set(plain)
    listed = lookup.listing().get(env)
    assert preset.how.startswith(tuple(f"cumulant train {algo} {e}" for e in (env, getattr(listed, "replaces", env))))
    for flag in re.findall(r"--([a-z-]+)", preset.how):
        assert flag in ("seeds", "seed") or flag.replace("-", "_") in fields
    assert preset.seen, "say what it was seen to reach"


def test_every_algorithm_has_the_two_names():
    for name in catalogue.algorithms():
        module = catalogue.load_algorithm(name)
        assert list(inspect.signature(module.train).parameters) == ["config", "run"]
        assert module.Config.__dataclass_params__.frozen


def test_options_of_environments_are_frozen_and_have_help():
    for name in lookup.listing():
        cls = lookup.options_class(name)
        assert cls.__dataclass_params__.frozen
        text = "".join(inspect.getsource(each) for each in cls.__mro__ if dataclasses.is_dataclass(each))
        for field in dataclasses.fields(cls):
            where = inspect.getdoc(cls) or ""
            inline = re.search(rf'^    {field.name}:.*\n    """.+', text, re.M)
            assert re.search(rf"^ +{field.name}: ", where, re.M) or inline, f"{name}: {field.name} has no help"
