"""Algorithms that learn from text are algorithms like any other: trained, resumed, shown, compared by the same verbs."""

import json
import os
import shutil
from pathlib import Path

import pytest

import cumulant
from cumulant import api
from cumulant.errors import ConfigError, MissingPackage, NumericsError, RunError, UsageError
from cumulant.loading import text_package
from cumulant.spec import code_in
from cumulant.training import checked

BIGRAMS = str(Path(__file__).with_name("bigrams.py"))


def problems(answer):
    """Lines on stderr that are no notes."""
    return [line for line in answer.err.splitlines() if not line.startswith("cumulant: note: ")]


@pytest.fixture
def text(workspace):
    file = workspace / "tales.txt"
    file.write_text("the cat sat on the mat and the dog sat on the log. " * 6)
    return "tales.txt"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run, a group of three seeds, and a run with another rate; read only."""
    place = tmp_path_factory.mktemp("texts")
    file = place / "tales.txt"
    file.write_text("the cat sat on the mat and the dog sat on the log. " * 6)
    run = cumulant.train(BIGRAMS, str(file), out=place / "run")
    group = cumulant.train(BIGRAMS, str(file), out=place / "group", seeds=3)
    slow = cumulant.train(BIGRAMS, str(file), out=place / "slow", learning_rate=0.01)
    return run, group, slow


def test_training_ends_with_figures(cli, text):
    answer = cli("train", BIGRAMS, text, "--total-steps", 3, "--learning-rate", "0.1", "--json", "--quiet")
    assert (answer.code, answer.err) == (0, "")
    said = answer.json
    assert (said["run"], said["env"], said["steps"]) == ("runs/bigrams-tales.txt-001", text, 3)
    assert said["figures"]["bits_per_char"]["low"] < said["figures"]["bits_per_char"]["value"] < 8.0
    assert "return_mean" not in said
    assert said["tokens_per_second"] == pytest.approx(said["steps_per_second"] * 229, rel=0.1)
    shown = cli("train", BIGRAMS, text, "--total-steps", 3)
    assert "Bits per char" in shown.out
    assert "train (loss)" in shown.out
    assert "train (loss)" in shown.err  # the live display's lines


def test_the_help_lists_its_fields(cli, text):
    said = cli("train", BIGRAMS, text, "--help").out
    assert "--learning-rate" in said
    assert "--env-options" not in said


def test_seeds_are_merged_figure_by_figure(finished):
    _, group, _ = finished
    own = [json.loads((group.run / f"seed_{seed}" / "evaluation.json").read_text())["figures"] for seed in range(3)]
    merged = group.evaluation["figures"]["bits_per_char"]
    values = [each["bits_per_char"]["value"] for each in own]
    assert len(set(values)) == 3
    assert merged["value"] == pytest.approx(sum(values) / 3)
    assert merged["low"] < min(values)
    assert merged["better"] == "lower"
    assert group.evaluation["samples"][0]["seed"] == 0


def test_stopped_and_resumed_is_undisturbed(cli, text):
    def stop(seed, row):
        if row["iteration"] == 3:
            raise KeyboardInterrupt

    cumulant.train(BIGRAMS, text, out="whole")
    with pytest.raises(KeyboardInterrupt):
        cumulant.train(BIGRAMS, text, out="torn", checkpoint_seconds=0.0, progress=stop)
    unfinished = cli("evaluate", "torn")
    assert (unfinished.code, len(problems(unfinished))) == (1, 1)
    assert cli("resume", "torn", "--quiet").code == 0
    for name in ("metrics.jsonl", "evaluation.json", "model/model.safetensors"):
        assert Path("torn", name).read_bytes() == Path("whole", name).read_bytes()


def test_a_run_is_evaluated_again(cli, finished):
    run, _, _ = finished
    assert cli("evaluate", run.run, "--json").json == json.loads((run.run / "evaluation.json").read_text())
    assert "Bits per char" in cli("evaluate", run.run).out
    refused = cli("evaluate", run.run, "--episodes", 3)
    assert (refused.code, len(problems(refused))) == (2, 1)
    assert "without options" in refused.err


def test_what_a_text_has_not_is_refused_in_one_line(cli, finished, text):
    for words in (
        ["evaluate", finished[0].run, "--video"],
        ["sweep", BIGRAMS, text],
        ["train", BIGRAMS, "CartPole-v1"],
        ["train", BIGRAMS, "warfarin"],
        ["train", BIGRAMS, text, "--env-option", "a=1"],
        ["train", BIGRAMS, "nowhere.txt"],
        ["train", BIGRAMS, "movie-snipets"],
        ["train", BIGRAMS, "sentiment-lexicon"],
        ["train", "ppo", "movie-snippets"],
        ["train", "ppo", "tales.txt"],
        ["train", "ppo", "pairs.jsonl"],
    ):
        answer = cli(*words)
        assert (answer.code, len(problems(answer))) == (2, 1), words
    assert "'ppo' acts in an environment, and 'pairs.jsonl' is text" in answer.err
    assert not Path("runs").exists()


def test_the_report_shows_curves_figures_samples_and_tables_and_escapes_them(finished):
    page = (finished[0].run / "report.html").read_text()
    value = finished[0].evaluation["figures"]["bits_per_char"]["value"]
    for said in ("train (loss)", "held out (loss)", f'value="{value!r}"', "lower is better", "reward 0.25", "Letters"):
        assert said in page
    assert "&lt;b&gt;th" in page
    assert "&lt;i&gt;e" in page
    assert "<b>th" not in page
    assert "<i>e" not in page
    assert "[red]&lt;u&gt;end" in page
    assert "<u>" not in page
    assert "\x1b" not in page


def test_the_terminal_shows_samples_as_they_are_and_moves_no_cursor(cli, finished):
    said = cli("report", finished[0].run).out
    assert "<b>the\ufffd[31m [red]<u>end" in said
    assert "\x1b" not in said
    assert "Letters" in said
    assert "tokens/s" in said


def test_runs_stand_side_by_side_by_the_figures_that_they_share(cli, finished):
    run, group, slow = finished
    other = json.loads((slow.run / "evaluation.json").read_text())
    del other["figures"]["letters"]
    copy = slow.run.with_name("without")
    shutil.copytree(slow.run, copy)
    (copy / "evaluation.json").write_text(json.dumps(other))
    (table,) = cli("compare", run.run, group.run, copy, "--json").json["tables"]
    assert [column["key"] for column in table["columns"]] == ["bits_per_char"]
    means = [each["measures"]["bits_per_char"]["mean"] for each in table["runs"]]
    assert means[0] < means[2]
    assert "Bits" in cli("compare", run.run, copy).out


def test_an_algorithm_without_a_judge_is_refused_before_it_trains(cli, text):
    Path("mute.py").write_text(Path(BIGRAMS).read_text().replace("def evaluate(", "def judged("))
    answer = cli("train", "mute.py", text)
    assert (answer.code, len(problems(answer))) == (2, 1)
    assert "has no 'evaluate'" in answer.err
    assert not Path("runs").exists()


def test_the_training_s_memory_is_free_when_its_model_is_judged(text, train_one, monkeypatch):
    handed = []
    monkeypatch.setattr("cumulant.training.hand_back_memory", lambda: handed.append(1))
    code = Path(BIGRAMS).read_text()
    code = code.replace(
        "    run.track(",
        "    circle = [table]\n    circle.append(circle)\n    HELD.append(weakref.ref(table))\n    run.track(",
    )
    code = code.replace(
        "def evaluate(config, directory):\n",
        "HELD = []\n\n\ndef evaluate(config, directory):\n    assert HELD.pop()() is None\n",
    )
    Path("weak.py").write_text(code.replace("import torch\n", "import weakref\n\nimport torch\n", 1))
    train_one("weak.py", text, total_steps=1)
    assert handed == [1]


@pytest.mark.parametrize("wanted", ["", "7"])
def test_few_shapes_are_kept_unless_the_user_says_otherwise(text, train_one, monkeypatch, wanted):
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, wanted) if wanted else monkeypatch.delenv(name, raising=False)
    train_one(BIGRAMS, text, total_steps=1)
    assert os.environ[name] == (wanted or "20")


def test_an_evaluation_that_cannot_be_shown_is_refused():
    with pytest.raises(UsageError, match="evaluate must return an object"):
        checked(object(), "mine")
    with pytest.raises(NumericsError, match="bits has the value nan"):
        checked({"kind": "text", "figures": {"bits": {"value": float("nan")}}}, "mine")


def test_a_strangers_reward_is_not_imported_untrusted(finished, tmp_path):
    assert code_in({"reward": "lab.rewards:polite", "prompt": "Review: {text}"}) == ["lab.rewards:polite"]
    foreign = tmp_path / "foreign"
    shutil.copytree(finished[0].run, foreign)
    manifest = json.loads((foreign / "manifest.json").read_text())
    (foreign / "manifest.json").write_text(json.dumps(manifest | {"host": "elsewhere"}))
    with pytest.raises(RunError, match=r"would import .*bigrams\.py, and another machine wrote it"):
        cumulant.evaluate(foreign)


def test_a_package_that_is_missing_is_named_with_its_extra():
    with pytest.raises(MissingPackage, match=r"needs the package 'no_such_package': pip install 'cumulant\[text\]'"):
        text_package("no_such_package")


def test_options_of_an_environment_are_refused(text):
    with pytest.raises(ConfigError, match="a text has none"):
        api.make_spec(BIGRAMS, text, env_options={"a": 1})
