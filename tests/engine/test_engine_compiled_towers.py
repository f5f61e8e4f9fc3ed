"""The compiled engines of SAC, TD3 and TQC: when they are taken, and that they learn what torch does."""

import json

import pytest
import torch
from gymnasium import spaces

from cumulant import api
from cumulant.engine import compiled_soft, compiled_towers
from cumulant.engine.choice import choose_engine
from cumulant.engine.compiled_td3 import CompiledTD3
from cumulant.kernels import coarse
from cumulant.nn.actor import Actor
from cumulant.nn.q_critic import QCritics

BOX = spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,))


@pytest.mark.parametrize(
    ("found", "network", "critics", "weight_decay", "missing"),
    [
        (BOX, {}, 2, 0.0, ""),
        (BOX, {"activation": "tanh", "normalize_obs": True}, 2, 0.0, ""),
        ((BOX[0], spaces.Discrete(2)), {}, 2, 0.0, "discrete actions"),
        (BOX, {}, 3, 0.0, "critic of costs"),
        (BOX, {}, 2, 0.01, "weight decay"),
        (BOX, {"activation": "silu"}, 2, 0.0, "layers but a perceptron's"),
        (BOX, {"net": "residual"}, 2, 0.0, "layers but a perceptron's"),
        (BOX, {"hidden": ()}, 2, 0.0, "layers but a perceptron's"),
        ((spaces.Box(0, 255, (40, 40, 3), "uint8"), BOX[1]), {}, 2, 0.0, "layers but a perceptron's"),
    ],
)
def test_what_it_cannot_do_is_named(found, network, critics, weight_decay, missing):
    shape = {"hidden": (8, 8), **network, "generator": torch.Generator()}
    networks = Actor(*found, **shape), QCritics(*found, critics, **shape)
    why_not = compiled_soft.obstacle(*networks, weight_decay)
    assert why_not.startswith(missing)
    assert bool(why_not) == bool(missing)
    costs = missing == "critic of costs"  # is SAC's alone: TQC may have any number of critics
    assert compiled_towers.obstacle(*networks, weight_decay) == ("" if costs else why_not)
    possible, line = choose_engine("auto", why_not, "cumulant.algos.sac")
    assert possible == (not missing)
    assert line.startswith("engine: compiled" if possible else "engine: torch, because the compiled one has no ")


@pytest.mark.parametrize(
    ("hidden", "tiles", "missing"),
    [
        ((64, 64), True, ""),
        ((64, 64), False, "products in bfloat16 for this processor"),
        ((400, 300), True, "products in bfloat16 but between layers of multiples of 32 units"),
    ],
)
def test_what_products_in_bfloat16_need(monkeypatch, hidden, tiles, missing):
    monkeypatch.setattr(coarse, "HERE", tiles)
    shape = {"hidden": hidden, "precision": "bfloat16", "generator": torch.Generator()}
    assert compiled_soft.obstacle(Actor(*BOX, **shape), QCritics(*BOX, **shape), 0.0) == missing


SMALL = {"num_envs": 3, "horizon": 40, "hidden": (16, 16), "warmup_steps": 60, "batch_size": 16, "eval_episodes": 2}
ALL = {"n_step": 3, "prioritised": True, "normalize_obs": True, "activation": "tanh", "updates_per_step": 0.5}
CASES = {
    "sac": ("sac", {}),
    "sac, all of it": ("sac", ALL),
    "sac, fixed temperature": ("sac", {"temperature": 0.2}),
    "td3": ("td3", {}),
    "td3, all of it": ("td3", ALL | {"policy_every": 3, "smoothing_noise": 0.4, "polyak": 0.05}),
    "tqc": ("tqc", {}),
    "tqc, all of it": ("tqc", ALL | {"num_critics": 3, "num_quantiles": 7, "drop": 1}),
    "tqc, fixed temperature": ("tqc", {"temperature": 0.0, "drop": 0}),
}


def trained(algo, folder, **fields):
    """Train a little; return the rows of metrics."""
    spec = api.make_spec(algo, "Pendulum-v1", 0, **SMALL | {"total_steps": 240} | fields)
    api.train_one(spec, folder)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", CASES)
def test_both_engines_begin_alike(case, tmp_path):
    """The same random numbers: until rounding tells them apart, both do the same to the same digits."""
    algo, fields = CASES[case]
    rows = {engine: trained(algo, tmp_path / engine, engine=engine, **fields) for engine in ("torch", "compiled")}
    compared = {"loss/value", "loss/policy", "value/mean"}
    compared |= set() if algo == "td3" else {"policy/entropy", "policy/temperature"}
    assert compared <= rows["torch"][-1].keys()
    for one, other in zip(rows["torch"], rows["compiled"]):
        assert one.keys() == other.keys()
        for name in one.keys() & compared:
            assert other[name] == pytest.approx(one[name], rel=5e-3, abs=1e-3), name


@pytest.mark.parametrize("algo", ["sac", "td3", "tqc"])
def test_the_engine_is_chosen_said_and_recorded(algo, tmp_path):
    trained(algo, tmp_path / "plain")
    trained(algo, tmp_path / "decay", weight_decay=0.01)
    recorded = [json.loads((tmp_path / name / "manifest.json").read_text())["engine"] for name in ("plain", "decay")]
    assert [each["taken"] for each in recorded] == ["compiled", "torch"]
    assert "weight decay" in recorded[1]["why"]
    with pytest.raises(Exception, match="engine = compiled: it has no weight decay"):
        trained(algo, tmp_path / "refused", weight_decay=0.01, engine="compiled")


@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_policy_of_td3_moves_every_so_many_updates(tmp_path, monkeypatch, every):
    taken, learn = [], CompiledTD3.learn

    def watch(self, *args):
        before = self.optimizers[0].flat.parameter.detach().clone()
        found = learn(self, *args)
        moved = not torch.equal(before, self.optimizers[0].flat.parameter.detach())
        taken.append((moved, self.optimizers[0].steps, self.optimizers[1].steps))
        return found

    monkeypatch.setattr(CompiledTD3, "learn", watch)
    trained("td3", tmp_path / "run", policy_every=every)
    assert taken == [(k % every == 0, k // every, k) for k in range(1, 181)]


@pytest.mark.skipif(not coarse.HERE, reason="this processor has no tiles")
@pytest.mark.parametrize("algo", ["sac", "td3", "tqc"])
def test_in_bfloat16_it_learns_nearly_the_same_and_exactly_the_same_again(algo, tmp_path):
    fields = {"hidden": (64, 64), "batch_size": 100, "engine": "compiled"}
    exact, rounded, again = (
        trained(algo, tmp_path / name, precision=precision, **fields)
        for name, precision in (("exact", "float32"), ("rounded", "bfloat16"), ("again", "bfloat16"))
    )
    assert rounded == again
    assert len(exact) == len(rounded) == 2
    assert "loss/value" in exact[-1]
    for one, other in zip(exact, rounded):
        for name in {"loss/value", "loss/policy", "value/mean"} & one.keys():
            assert other[name] == pytest.approx(one[name], rel=5e-2, abs=2e-2), name
    assert exact[-1]["loss/value"] != rounded[-1]["loss/value"]
