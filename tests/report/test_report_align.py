"""What an alignment shows, from a judgement.json alone: true to its numbers, and safe whatever it holds."""

from __future__ import annotations

import copy
import io
import json
import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import fake_align
import pytest
from rich.console import Console
from test_report_html import ALLOWED, Page, _hostile

from cumulant.cli.main import main
from cumulant.errors import RunError
from cumulant.report import align_plots, compare, plots, theme
from cumulant.report.align_data import AlignData
from cumulant.report.align_html import page, write_report
from cumulant.report.align_load import is_align, load_align, parse_judgement
from cumulant.report.align_terminal import AlignProgress, show_align
from cumulant.report.calibration import calibration, reliability
from cumulant.report.evaluation import TextTable
from cumulant.report.html import page as page_of_run
from cumulant.report.load import load


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_align.write(tmp_path_factory.mktemp("align") / "a")


@pytest.fixture(scope="module")
def align(place: Path) -> AlignData:
    return load_align(place)


def _parsed(made: dict[str, Any], where: Path) -> AlignData:
    return parse_judgement(json.loads(json.dumps(made)), where)


def _shown(align: AlignData, width: int) -> list[str]:
    screen = Console(file=io.StringIO(), width=width, highlight=False)
    show_align(align, screen)
    return screen.file.getvalue().splitlines()


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("beta", "held"), [(0.2, "beta times KL holds it"), (0.0, "nothing holds it")])
def test_what_held_the_best_model_is_said_of_it(tmp_path: Path, beta: float, held: str) -> None:
    made = fake_align.judgement()
    made["models"] = [model for model in made["models"] if model["beta"] in (None, beta)]
    (card,) = re.findall(r"moves to what scores well; ([^<]*) near SFT", page(_parsed(made, tmp_path)))
    assert card == held


def test_every_figure_of_every_model_is_in_the_page_as_it_was_recorded(place: Path) -> None:
    read = Page(write_report(place).read_text())
    recorded = {value for value, _ in read.data}
    for model in fake_align.judgement()["models"]:
        assert {figure["value"] for figure in model["figures"].values()} <= recorded
    models = [row for row in read.rows if len(row) > 6]
    assert [len(row) for row in models] == [8] * 4 + [7] + [8] * 5 + [7] + [
        8
    ] * 2  # nothing of the human text is missing but two
    assert "86.1" in [text for value, text in read.data if value == 0.861]
    for text in ("people among themselves", "98.5", "PPO, beta 0.2", "breaks the rule", fake_align.NOTICE):
        assert text in read.words


def test_the_parts_that_a_newcomer_needs_are_there_in_order(align: AlignData) -> None:
    text = page(align)
    heads = ["What came out", "The same prompts under each model", "Does more reward make better text?"]
    heads += [
        "How training went",
        "SFT and RLHF, what each needs and risks",
        "Whom to believe",
        "Stages",
        "Data and model",
    ]
    assert re.findall(r"<h2>(.*?)</h2>", text) == heads
    assert text.count("<svg xmlns") == 7  # wins, over-optimisation, three curves, accuracies, calibration
    assert "PPO, beta 0.2 is preferred to SFT in" in text
    assert text.count('<div class="answer broken">') == sum(
        not answer["accepted"] for sample in fake_align.judgement()["samples"] for answer in sample["answers"].values()
    )


def test_no_script_and_nothing_from_elsewhere(align: AlignData) -> None:
    text = page(align)
    read = Page(text)
    assert {tag for tag, _ in read.tags} <= ALLOWED | {"strong"}
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=\"(?!#)", text)
    assert not any(name.startswith("on") for _, attrs in read.tags for name in attrs)


def test_a_hostile_file_stays_text(tmp_path: Path) -> None:
    for keys in (False, True):
        made = _hostile(fake_align.judgement(), keys) | {"kind": "align"}
        (tmp_path / "judgement.json").write_text(json.dumps(made))
        read = Page(write_report(tmp_path).read_text())
        assert {tag for tag, _ in read.tags} <= ALLOWED | {"strong"}
        assert not any(name.startswith("on") for _, attrs in read.tags for name in attrs)
        assert "\x1b" not in read.words
        assert "\u202e" not in read.words
        assert "<script>alert(1)</script>" in read.words
        lines = "\n".join(_shown(load_align(tmp_path), 100))
        assert "\x1b" not in lines
        assert "[bold red]" in lines  # printed as text, not as markup


def test_what_does_not_fit_is_left_out_and_named(place: Path) -> None:
    made = fake_align.judgement()
    for key in ("rule", "judges", "models", "samples", "stages", "contrast", "curves", "data"):
        for junk in (5, "x", [1], [None], {"rows": 3}, [{"answers": 1, "updates": 1, "figures": [2]}]):
            align = _parsed(made | {key: junk}, place)
            _shown(align, 80)
            if junk == 5:
                assert align.problems == (f"judgement.json: '{key}' is left out: " + _expected(key),)
    assert "curves&#x27; is left out" in page(_parsed(made | dict.fromkeys(("models", "curves", "stages"), 5), place))


def _expected(key: str) -> str:
    what = "an object" if key in ("rule", "contrast", "data") else "a list"
    return f"{what} was expected and a int found"


def test_random_damage_is_never_a_crash(place: Path) -> None:
    chance = random.Random(7)
    junk = (None, True, -1, 0, 1e308, float("nan"), 10**400, "", "\x00", [], {}, [[]], {"value": None}, {"value": "x"})
    for round_ in range(60):
        made = fake_align.judgement()
        for _ in range(chance.randint(1, 12)):
            node: Any = made
            while True:
                key = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
                if isinstance(node[key], dict | list) and node[key] and chance.random() < 0.8:
                    node = node[key]
                else:
                    node[key] = copy.deepcopy(chance.choice(junk))
                    break
        align = parse_judgement(made, place)
        _shown(align, 80)
        if round_ < 8:  # drawing takes its time
            Page(page(align))


def test_without_anything_yet_or_with_a_torn_file_the_message_says_what_to_do(tmp_path: Path) -> None:
    assert not is_align(tmp_path)
    (tmp_path / "align.json").write_text("{}")
    assert is_align(tmp_path)
    with pytest.raises(RunError, match=r"no judgement\.json yet: `cumulant resume"):
        load_align(tmp_path)
    for text in ("[", "", "[" * 100_000):
        (tmp_path / "judgement.json").write_text(text)
        with pytest.raises(RunError, match=r"is damaged"):
            load_align(tmp_path)
    for text in ("[]", "{}", '{"kind": "text"}'):
        (tmp_path / "judgement.json").write_text(text)
        with pytest.raises(RunError, match=r"is no judgement of models"):
            load_align(tmp_path)
    (tmp_path / "judgement.json").write_text('{"kind": "align"}')
    assert "Alignment of ?" in write_report(tmp_path).read_text()


def test_the_file_may_name_no_other_place(tmp_path: Path) -> None:
    inside = fake_align.write(tmp_path / "a")
    other = fake_align.write(tmp_path / "b")
    made = fake_align.judgement()
    for name in ("../b/reward_model", str(other / "reward_model"), "..", ""):
        made["stages"][1]["name"] = name
        assert _parsed(made, inside).reward_model is None


# --- what is said of it ---------------------------------------------------------------------------------------------


def test_which_model_is_the_best_and_when_it_is_over_optimised(align: AlignData, place: Path) -> None:
    assert align.best is not None
    assert align.loosest is not None
    assert (align.best.name, align.loosest.name, align.over_optimised) == ("rlhf_beta_0.2", "rlhf_beta_0", True)
    made = fake_align.judgement()
    dpo, last = made["models"][3], made["models"][6]
    dpo["beta"] = 0.1  # of DPO's loss: it is no model that PPO made
    assert [model.name for model in _parsed(made, place).tuned] == ["rlhf_beta_0.2", "rlhf_beta_0.05", "rlhf_beta_0"]
    for judge in ("win_bag_of_words", "win_lexicon"):
        last["figures"][judge] = {"value": 0.9}
    changed = _parsed(made, place)
    assert changed.best is not None
    assert (changed.best.name, changed.loosest, changed.over_optimised) == ("rlhf_beta_0", None, False)
    assert "Over-optimised" not in page(changed)
    last["figures"] |= {"reward": {"value": 0.2}, "win_lexicon": {"value": 0.1}, "win_bag_of_words": {"value": 0.1}}
    assert not _parsed(made, place).over_optimised  # worse, but not for more reward
    last["figures"] |= {"reward": {"value": 5.0}}
    assert _parsed(made, place).over_optimised
    last["figures"] |= {"win_lexicon": {"value": 0.66, "low": 0.6, "high": 0.72}}
    assert not _parsed(made, place).over_optimised  # one judge is not sure


@pytest.mark.parametrize(("unit", "value"), [("%", 86.1), ("", 0.861)])
def test_accuracy_is_a_share_in_whichever_unit_the_stage_gives_it(place: Path, unit: str, value: float) -> None:
    made = fake_align.judgement()
    made["stages"][1]["figures"] = {"loss": {"value": 0.4}, "accuracy_clear": {"value": value, "unit": unit}}
    found = _parsed(made, place).accuracy
    assert found is not None
    assert found.mean == pytest.approx(0.861)


def test_the_reward_model_s_calibration_is_read_from_its_own_run(align: AlignData) -> None:
    assert align.reward_model is not None
    bins = reliability(align.reward_model.tables)
    assert (bins[0].predicted, bins[0].observed.mean, bins[0].pairs) == (0.55, 0.541, 310.0)
    percent = TextTable("t", ("Predicted, %", "Observed, %", "low", "high", "Pairs"), ((55.0, 54.1, 50.0, 58.0, 9.0),))
    (only,) = reliability([TextTable("other", ("a",), ((1.0,),)), percent])
    assert only.predicted == pytest.approx(0.55)
    assert (only.observed.low, only.observed.high) == pytest.approx((0.5, 0.58))
    assert reliability([TextTable("t", ("predicted", "observed"), (("x", 1.0),))]) == []


def test_the_report_of_a_reward_model_draws_its_calibration(place: Path) -> None:
    text = page_of_run(load(place / "reward_model"))
    assert "<h2>Calibration</h2>" in text
    assert "1,280 pairs" in text
    Page(text)


def test_of_several_seeds_all_curves_are_drawn_and_one_walk_is_told(place: Path) -> None:
    many = _parsed(fake_align.judgement(3), place)
    assert many.seeds == (0, 1, 2)
    text = page(many)
    assert "seeds 0, 1, 2" in text
    assert "intervals over seeds" in text
    assert len(re.findall(r'<table class="walk">', text)) == 3  # one a beta, not one a curve
    one, three = (align_plots.training(each, "reward") for each in (_parsed(fake_align.judgement(), place), many))
    assert one is not None
    assert three is not None
    assert (len(one.axes[0].lines), len(three.axes[0].lines)) == (3, 9)


# --- figures ---------------------------------------------------------------------------------------------------------


def _figures(align: AlignData) -> dict[str, Any]:
    assert align.reward_model is not None
    return {
        "wins": align_plots.wins(align),
        "over": align_plots.over_optimisation(align),
        **{key: align_plots.training(align, key) for key in align_plots.CURVES},
        "accuracies": align_plots.accuracies(align),
        "calibration": calibration(reliability(align.reward_model.tables)),
    }


def test_figures_are_valid_the_same_every_time_and_in_the_page_s_colours(align: AlignData) -> None:
    again = _figures(align)
    for name, drawn in _figures(align).items():
        text = plots.svg(drawn, name)
        assert ElementTree.fromstring(text).attrib["aria-label"] == name
        assert text == plots.svg(again[name], name)
        assert not re.findall(r": #[0-9a-f]{6}", theme.themed(text)), name


def test_the_over_optimisation_curve_shows_reward_and_good_answers_against_kl(align: AlignData) -> None:
    drawn = align_plots.over_optimisation(align)
    assert drawn is not None
    top, low = drawn.axes
    curve = align.curves[-1]
    assert curve.beta == 0.0
    line = next(line for line in top.lines if line.get_color() == theme.LIGHT["other"])
    assert list(line.get_ydata()) == [moment.reward for moment in curve.moments]
    assert list(line.get_xdata()) == pytest.approx([(moment.kl or 0.0) ** 0.5 for moment in curve.moments])
    good = [line for line in low.lines if line.get_color() == theme.LIGHT["other"] and len(line.get_xdata()) > 2]
    assert list(good[0].get_ydata()) == pytest.approx([100 * m.good.mean for m in curve.moments if m.good])


def test_the_weakest_hold_is_drawn_in_the_colour_of_warning(align: AlignData) -> None:
    looks = align_plots.beta_looks(align.curves)
    assert [(label, look.colour) for label, look in looks.items()] == [
        ("beta 0.2", "agent"),
        ("beta 0.05", "third"),
        ("beta 0", "other"),
    ]


# --- the terminal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_terminal_shows_every_model_and_says_what_does_not_fit(align: AlignData, width: int) -> None:
    lines = _shown(align, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    best = next(line for line in lines if line.startswith("▸"))
    assert "PPO, beta 0.2" in best
    assert "77 ±6" in best
    assert "over-optimised" in text
    assert "…" not in "".join(line for line in lines if "±" in line and "people" not in line and "0…" not in line)
    assert ("not shown at this width" in text) == (width < 200)
    if width == 80:
        assert "not shown at this width: within, fluency, tokens, ended" in lines


def test_stages_are_shown_live() -> None:
    screen = Console(file=io.StringIO(), width=100, force_terminal=True)
    clock = iter(range(0, 1000, 5)).__next__
    with AlignProgress("align demo", ("sft", "rlhf", "dpo"), console=screen, now=clock) as progress:
        progress.update("sft", {"steps": 10, "total_steps": 40, "loss/train": 4.2})
        progress.ended("sft", 161.0)
        progress.update(
            "rlhf", {"steps": 20, "total_steps": 40, "loss/policy": 0.1, "kl/nats": 0.7, "reward/mean": 1.5}
        )
    last = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", screen.file.getvalue()).rstrip().splitlines()[-4:]
    assert last[0].endswith("1 of 3 stages  0:50") or "1 of 3 stages" in last[0]
    assert last[1].split()[:5] == ["✓", "sft", "2", "min", "41"]
    assert last[2].startswith("▸  rlhf")
    assert last[2].rstrip().endswith("mean (reward) 1.50  nats (kl) 0.7")
    assert last[3].split() == ["·", "dpo"]


def test_where_there_is_no_terminal_stages_are_lines() -> None:
    screen = Console(file=io.StringIO(), width=80)
    clock = iter(range(0, 1000, 5)).__next__
    with AlignProgress("align demo", console=screen, now=clock) as progress:
        for step in range(4):
            progress.update("sft\x1b[2J", {"steps": step, "total_steps": 4, "loss/train": 4.0})
        progress.ended("sft\x1b[2J", 20.0)
    lines = screen.file.getvalue().splitlines()
    assert len(lines) == 2  # no line a row
    assert lines[0].startswith("align demo  sft�[2J  0 %  train (loss) 4.00")
    assert "took 20 s" in lines[1]


def test_silent_means_silent() -> None:
    screen = Console(file=io.StringIO())
    with AlignProgress("x", silent=True, console=screen) as progress:
        progress.update("sft", {"steps": 1})
        progress.ended("sft", 1.0)
    assert screen.file.getvalue() == ""


# --- the verbs -------------------------------------------------------------------------------------------------------


def test_report_and_compare_know_an_alignment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = fake_align.write(tmp_path / "one"), fake_align.write(tmp_path / "two")
    made = fake_align.judgement()
    del made["models"][3], made["judges"][1]
    for model in made["models"]:
        model["figures"].pop("length", None)
    (two / "judgement.json").write_text(json.dumps(made))
    assert main(["report", str(one)]) == 0
    assert (one / "report.html").exists()
    assert "Alignment of smollm2-135m on movie-snippets" in capsys.readouterr().out
    assert main(["compare", str(one), str(two), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    (table,) = result["tables"]
    rows = [(row["model"], row["label"]) for row in table["runs"]]
    assert rows[:4] == [("Base", "one"), ("Base", "two"), ("SFT", "one"), ("SFT", "two")]
    assert ("DPO", "one") in rows
    assert ("DPO", "two") not in rows
    assert "length" not in [column["key"] for column in table["columns"]]
    share = next(row for row in table["runs"] if row["model"] == "PPO, beta 0.2")["measures"]["win_bag_of_words"]
    assert share["mean"] == pytest.approx(77.0)
    assert any("the set of judges differs" in warning for warning in result["warnings"])
    assert result["notice"] == fake_align.NOTICE
    text = compare.to_markdown(result)
    assert "| Base, one | ALIGN | 1 |" in text


def test_alignments_of_other_models_do_not_share_a_table(tmp_path: Path) -> None:
    one, two = fake_align.write(tmp_path / "one"), fake_align.write(tmp_path / "two")
    (two / "judgement.json").write_text(json.dumps(fake_align.judgement() | {"base": "another"}))
    result = compare.compare([one, two, one / "reward_model"])
    assert [table["title"] for table in result["tables"]] == [
        "smollm2-135m on movie-snippets",
        "another on movie-snippets",
        "movie-snippets",
    ]
    assert any("differ in base model or data" in warning for warning in result["warnings"])


def test_reading_needs_no_torch(place: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from cumulant.report.align_html import write_report as w; w(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, place], check=True)


def test_without_independent_judges_nobody_is_said_to_be_better(place: Path) -> None:
    """Data of one's own that nobody rated: only the reward model has an opinion, and it was trained to have it."""
    made = fake_align.judgement() | {"judges": [], "ceiling": None, "curves": []}
    for model in made["models"]:
        model["figures"] = {key: value for key, value in model["figures"].items() if key[:4] not in ("win_", "raw_")}
    made["models"][4]["figures"]["win_reward"] = {"value": 0.83}
    align = _parsed(made, place)
    text = page(align)
    assert "No independent judge" in text
    assert "preferred to SFT by reward model" in text
    assert "is preferred to SFT in" not in text
    assert "over-optimised" not in "\n".join(_shown(align, 100))
