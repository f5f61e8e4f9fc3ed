"""cumulant audit: in processes side by side, its summary, its page, its JSON; and of language models."""

import json

import fake_align
import pytest
from test_report_html import ALLOWED, Page, _hostile

from cumulant.cli.main import main
from cumulant.report.audit_html import page
from cumulant.report.audit_load import load_audit, parse_audit

WORDS = ["--seeds", "2", "--total-steps", "60000", "--num-envs", "64", "--horizon", "100", "--quiet"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An audit that the command line made, in two processes."""
    place = tmp_path_factory.mktemp("audit") / "edge"
    assert main(["audit", "trap-edge", *WORDS, "--episodes", "200", "--processes", "2", "--out", str(place)]) == 0
    return place


def test_the_json_ends_with_the_verdict_and_its_figures(made, capsys):
    assert main(["resume", str(made), "--json"]) == 0  # nothing is left to do
    found = json.loads(capsys.readouterr().out)
    assert list(found)[-3:] == ["verdict", "why", "figures"]
    assert found["verdict"] == "hacked"
    assert found["figures"]["loss"] > 1.0


def test_the_summary_is_read_in_ten_seconds(made, capsys):
    assert main(["report", str(made)]) == 0
    said = capsys.readouterr().out
    assert "HACKED  Maximising this reward does something else than what matters." in said
    assert len(said.splitlines()) < 25


def test_every_return_of_the_matrix_is_in_the_page_as_it_was_recorded(made):
    read = Page((made / "report.html").read_text())
    assert {tag for tag, _ in read.tags} <= ALLOWED
    recorded = {value for value, _ in read.data}
    for policy in json.loads((made / "audit.json").read_text())["policies"]:
        for measure in policy["returns"].values():
            assert measure["mean"] in recorded
    text = " ".join(read.text)
    for title in (
        "Every policy under every reward", "Where they part", "The trick, step by step", "The return by term", "The last steps",
        "Close to a threshold", "Always the same", "Without a term", "What each policy does to everything else", "The rule",
    ):  # fmt: skip
        assert title in text, title


def test_a_strangers_audit_does_no_harm(made):
    raw = json.loads((made / "audit.json").read_text())
    wrongs = (None, 3, "x", [], {}, [[]], {"a": "b"}, [None])
    for name in raw:
        for wrong in wrongs:
            parse_audit({**raw, name: wrong}, made)
    pages = [dict.fromkeys(raw, wrong) for wrong in wrongs] + [_hostile(raw, False), _hostile(raw, True)]
    for each in pages:
        read = Page(page(parse_audit(each, made)))
        assert {tag for tag, _ in read.tags} <= ALLOWED
        assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)


def test_an_alignment_is_audited_by_the_same_rule(tmp_path, capsys):
    run = fake_align.write(tmp_path / "a")
    before = sorted(path.name for path in run.iterdir())
    assert main(["audit", str(run), "--out", str(tmp_path / "b"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    verdicts = {policy["name"]: policy.get("verdict") for policy in found["policies"]}
    assert found["verdict"] == verdicts["rlhf_beta_0"] == "hacked"
    assert "reference" in verdicts.values()
    data = load_audit(tmp_path / "b")
    assert any("KL" in name for policy in data.policies for name in policy.quantities)
    assert "the model that all started from" in data.why
    hostile = Page(page(parse_audit(_hostile(found, True), tmp_path)))  # the words and texts of models, too
    assert {tag for tag, _ in hostile.tags} <= ALLOWED
    assert data.parted["steps"] > 0
    assert sorted(path.name for path in run.iterdir()) == before
    assert main(["audit", str(run), "--out", str(tmp_path / "b")]) == 1  # not empty


def test_errors_are_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, said in (
        (["audit"], "name an environment"),
        (["audit", "trap-lop"], "trap-loop"),
        (["audit", "trap-loop", "--exhibit", "x"], "'trap-loop' has no exhibit 'x'"),
        (["audit", "trap-loop", "--lower", "0.05"], "within at most lower"),
        (["audit", "trap-loop", "--gama", "0.9"], "gamma"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert len(error.strip().splitlines()) == 1
    assert main(["audit", "CartPole-v1"]) == 0
    assert "UNCLEAR  environment 'CartPole-v1' does not say what really matters" in capsys.readouterr().out.replace(
        "\n", " "
    )
    assert not (tmp_path / "runs").exists()
