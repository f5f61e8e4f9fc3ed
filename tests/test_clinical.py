"""The clinical pack from the command line: a run's directory in, page and JSON out, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cumulant import clinical
from cumulant.cli.main import main
from cumulant.engine.evaluate import expectation
from cumulant.engine.policy import Policy
from cumulant.envs import lookup
from cumulant.errors import ConfigError, RunError, UsageError
from cumulant.nn.actor_critic import ActorCritic
from cumulant.report import clinical_html


def run_of(folder: Path, env: str, seed: int = 0, **options: Any) -> Path:
    """A run as a training leaves it, with an untrained network in it."""
    kernel = lookup.build(env, options)
    generator = torch.Generator()
    generator.manual_seed(seed)
    net = ActorCritic(kernel.observation_space, kernel.action_space, generator=generator)
    spec = {"algo": "ppo", "env": env, "env_options": options, "seed": seed, "config": {}}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(spec))
    Policy(net, spec | {"value": {"gamma": 0.9, "unit": 3.0}}).save(folder / "policy", "best")
    return folder


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "group"
    for seed in (0, 1):
        run_of(folder / f"seed_{seed}", "warfarin", seed)
    spec = json.loads((folder / "seed_0" / "config.json").read_text())
    (folder / "seeds.json").write_text(json.dumps({"seeds": [0, 1], "spec": spec}))
    return folder


def test_a_group_becomes_one_policy_with_page_and_json(group: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["evaluate", str(group), "--pack", "clinical", "--episodes", "100", "--ceiling", str(group), "--json"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((group / "clinical.json").read_text())
    assert found["agent_seeds"] == [0, 1]
    assert found["label"] == "ppo, mean of 2 seeds"
    assert [row["day"] for row in found["calibration"]] == [1, 8, 15, 22]
    assert [each["name"] for each in found["gaps"]] == ["group"]
    page = (group / "clinical.html").read_text()
    for words in ("Not a medical device", "Where it might fail", "By age", "Other worlds", "The safety shield", "What it expects",
                  "As a decision tree of", "As a dose table", "What if the dose were held?", "C. Every protocol"):  # fmt: skip
        assert words in page
    assert page.count("<svg") > 8
    assert "<script" not in page


def test_the_terminal_says_what_was_found_last(group: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clinical.evaluate_pack(group / "seed_0", episodes=100)
    from rich.console import Console

    from cumulant.report.clinical_terminal import show

    show(json.loads((group / "seed_0" / "clinical.json").read_text()), Console(width=200))
    said = capsys.readouterr().out
    assert said.index("By age") < said.index("As a decision tree") < said.index("Found")
    assert "✗" in said[said.index("Found") :]  # an untrained network beats nobody


def test_a_strange_label_is_escaped(group: Path) -> None:
    pack = json.loads((group / "clinical.json").read_text())
    page = clinical_html.page(
        {**pack, "label": "<script>x</script>", "findings": [{"good": None, "text": "<b>bold</b>"}]}
    )
    assert "<script" not in page
    assert "<b>bold</b>" not in page


def test_what_a_critic_expects_is_in_units_of_the_reward(group: Path) -> None:
    policy = Policy.load(group / "seed_0" / "policy", "best")
    value, gamma = expectation(policy)
    assert gamma == 0.9
    assert value is not None
    kernel = lookup.build("warfarin", {})
    obs = kernel.observation_space.sample()[None]
    raw = policy.net.value(policy.net.features(policy.net.encode(torch.from_numpy(obs)))).item()
    assert value(obs)[0] == pytest.approx(3.0 * raw)
    policy.card.pop("value")
    assert expectation(policy) == (None, 1.0)


def test_what_has_no_pack_is_refused(group: Path, tmp_path: Path) -> None:
    other = run_of(tmp_path / "cartpole", "cartpole")
    with pytest.raises(UsageError, match="no clinical pack"):
        clinical.evaluate_pack(other)
    ordered = run_of(tmp_path / "ordered", "warfarin", schedule="ordered")
    with pytest.raises(ConfigError, match="orders its tests"):
        clinical.evaluate_pack(ordered)
    with pytest.raises(UsageError, match="no pack 'cinical'"):
        clinical.evaluate_pack(group, "cinical")
    with pytest.raises(ConfigError, match="at least 100"):
        clinical.evaluate_pack(group, episodes=20)
    with pytest.raises(RunError, match="holds no run"):
        clinical.evaluate_pack(tmp_path / "nothing")
    with pytest.raises(UsageError, match="no ceiling of it"):
        clinical.evaluate_pack(group, episodes=100, ceilings=[other])
    assert not (tmp_path / "cartpole" / "clinical.json").exists()


def test_the_command_refuses_what_does_not_go_together(group: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(group), "--pack", "clinical", "--video"]) == 2
    assert "leave --env and --video out" in capsys.readouterr().err
    assert main(["evaluate", str(group), "--ceiling", "x"]) == 2
    assert "--ceiling is for --pack" in capsys.readouterr().err
