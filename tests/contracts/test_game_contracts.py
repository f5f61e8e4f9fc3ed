"""What every algorithm that learns a board game promises, present and future: found by listing, tested alike."""

import dataclasses
import json
import math

import numpy as np
import pytest
from test_algorithm_contracts import config_class, hints, hints_of, nonsense_is_refused, other_value

from cumulant import api, catalogue
from cumulant.engine.board_policy import BoardPolicy
from cumulant.errors import ConfigError, RunError, UsageError
from cumulant.run.config import from_dict, to_dict

ALGORITHMS = sorted(name for name, listed in catalogue.algorithms().items() if listed.is_game)
SMALL = {
    "num_envs": 8, "horizon": 6, "simulations": 6, "channels": 8, "blocks": 2, "batch_size": 16, "eval_simulations": 4,
    "total_steps": 96,
}  # fmt: skip
SWITCHES = {  # what is not on by itself
    "method": "puct", "leaves": 2, "pooling": True, "full_share": 0.5, "quick_simulations": 3, "resign_below": -0.1,
    "window": 20, "capacity": 60,
}  # fmt: skip


@pytest.fixture(params=ALGORITHMS)
def algo(request):
    return request.param


@pytest.fixture(params=["tictactoe", "connect_four"])
def game(request):
    return request.param


def fingerprint(run):
    names = ("metrics.jsonl", "policy/best.safetensors", "policy/last.safetensors", "evaluation.json")
    return {name: (run / name).read_bytes() for name in names}


def test_it_says_what_it_is_and_when_to_use_it(algo):
    listed = catalogue.algorithms()[algo]
    assert 20 <= len(listed.summary) <= 110
    assert listed.summary.endswith(".")
    assert 20 <= len(listed.use) <= 110


def test_config_survives_json_and_an_unknown_field_is_refused(algo):
    cls = config_class(algo)
    others = {
        name: other_value(hint, getattr(cls(), name)) for name, (hint, _) in hints(algo).items() if name != "play"
    }
    for config in (cls(), cls(**others)):
        assert from_dict(cls, json.loads(json.dumps(to_dict(config)))) == config
    for name, (hint, _) in hints(algo).items():
        with pytest.raises(ConfigError, match=f"there is no field '{name}x'"):
            from_dict(cls, {f"{name}x": 1})
        for inner in hints_of(hint) if dataclasses.is_dataclass(hint) else ():
            with pytest.raises(ConfigError, match=rf"{name}: there is no field '{inner}x'"):
                from_dict(cls, {name: {f"{inner}x": 1}})


def test_nonsense_is_refused_by_name(algo):
    nonsense_is_refused(config_class(algo), lambda fields: from_dict(config_class(algo), fields))


def test_two_iterations_and_what_is_left_behind(algo, game, train_one):
    run = train_one(algo, game, **SMALL)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["steps"] for row in rows] == [48, 96]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert -1.0 <= evaluation["return_mean"] <= 1.0
    assert api.evaluate(run) == evaluation
    policy = api.load(run)
    assert isinstance(policy, BoardPolicy)
    states = np.stack([policy.game.start(), policy.game.position(["1", "2"])])
    found = policy.search(states, 20)
    assert found.visits.sum(1).tolist() == [20, 20]
    np.testing.assert_array_equal(policy.act(states, 20), found.action)
    assert policy.act(states[:0], 20).shape == (0,)


@pytest.mark.parametrize("switches", [False, True], ids=["plain", "with every switch on"])
def test_killed_and_resumed_is_undisturbed(algo, train_one, switches):
    fields = {**SMALL, "total_steps": 240, "checkpoint_seconds": 0.0} | (SWITCHES if switches else {})

    def stop(seed, row):
        if row["iteration"] == 3:
            raise KeyboardInterrupt

    whole = train_one(algo, "connect_four", 1, **fields, name="whole")
    other = train_one(algo, "connect_four", 2, **fields, name="other")
    with pytest.raises(KeyboardInterrupt):
        train_one(algo, "connect_four", 1, **fields, name="torn", progress=stop)
    torn = whole.with_name("torn")
    (torn / "state" / "00000004.pt").unlink()
    api.train_one(api.read_spec(torn), torn, resume=True)
    assert fingerprint(torn) == fingerprint(whole)
    assert fingerprint(other)["metrics.jsonl"] != fingerprint(whole)["metrics.jsonl"]


def test_a_copy_trains_and_is_the_same(algo, train_one, workspace):
    copy = api.copy(algo, workspace / "mine" / f"{algo}.py")
    original, copied = train_one(algo, "tictactoe", **SMALL), train_one(str(copy), "tictactoe", **SMALL, name="copied")
    assert fingerprint(copied) == fingerprint(original)


def test_what_does_not_fit_is_refused(algo, train_one, tmp_path):
    with pytest.raises(UsageError, match=r"'warfarin' is none"):
        api.make_spec(algo, "warfarin")
    with pytest.raises(UsageError, match="did you mean 'connect_four'"):
        api.make_spec(algo, "connect_for")
    with pytest.raises(ConfigError, match="no option 'size'"):
        api.make_spec(algo, "tictactoe", env_options={"size": 5})
    run = train_one(algo, "tictactoe", **SMALL)
    with pytest.raises(UsageError, match="plays tictactoe, not connect_four"):
        api.evaluate(run, "connect_four")
    with pytest.raises(UsageError, match="an even number"):
        api.evaluate(run, episodes=7)
    card = json.loads((run / "policy" / "card.json").read_text())
    (run / "policy" / "card.json").write_text(json.dumps(card | {"env": "connect_four"}))
    with pytest.raises(RunError, match="this network is for boards"):
        api.load(run)
