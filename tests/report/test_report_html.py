"""report.html: complete, self-contained, true to the numbers, and safe whatever the run directory holds."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fake_runs
import pytest

from cumulant.errors import RunError, StorageError
from cumulant.report.html import page, write_report
from cumulant.report.load import load

HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> [bold red]b[/] $\\frac{1}{0}$ ]]> &lt; \x1b[31m\u202e"
)
VOID = {"meta", "br", "img", "link", "input", "hr"}
_PAGE = {"html", "head", "meta", "title", "style", "body", "header", "footer", "section", "h1", "h2", "h3", "p", "pre"}
_TEXT = {"div", "small", "b", "span", "data", "figure", "figcaption", "i", "em", "details", "summary", "ul", "li", "br"}
_TABLE = {"table", "thead", "tbody", "tr", "th", "td"}
_FIGURE = {"svg", "g", "path", "defs", "use", "rect", "circle", "line", "text", "clippath"}
ALLOWED = _PAGE | _TEXT | _TABLE | _FIGURE


class Page(HTMLParser):
    """A strict reading: every tag closed in order, and everything noted that a test may want."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.data: list[tuple[float, str]] = []
        self.rows: list[list[float]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)
        if self.open and self.open[-1] == "data":
            value = float(dict(self.tags[-1][1])["value"] or "nan")
            self.data.append((value, data))
            if "td" in self.open:
                self.rows[-1].append(value)

    @property
    def words(self) -> str:
        return " ".join(self.text)


def _hostile(value: Any, keys: bool) -> Any:
    """The same structure with every string replaced by an attack; with ``keys``, one added to every object as well."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, list):
        return [_hostile(item, keys) for item in value]
    if isinstance(value, dict):
        return {key: _hostile(item, keys) for key, item in value.items()} | ({HOSTILE: HOSTILE} if keys else {})
    return value


def hostile_run(place: Path, keys: bool) -> Path:
    """A run in which every string is an attack."""
    fake_runs.write_run(place, iterations=8)
    for name in ("config.json", "manifest.json", "evaluation.json"):
        raw = json.loads((place / name).read_text())
        (place / name).write_text(json.dumps(_hostile(raw, keys)))
    rows = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    bad = {f"{group}/{HOSTILE}": 1.0 for group in ("outcome", "reward", "eval", "episode")}
    rows = [{key: value for key, value in row.items() if "range" not in key} | bad for row in rows]
    (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of one run."""
    return write_report(fake_runs.write_run(tmp_path_factory.mktemp("runs") / "run")).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A group of two seeds with its report."""
    return write_report(fake_runs.write_group(tmp_path_factory.mktemp("runs") / "group", (0, 1))).parent


@pytest.mark.parametrize("keys", [False, True])
def test_nothing_from_a_hostile_directory_is_markup(tmp_path: Path, keys: bool) -> None:
    place = hostile_run(tmp_path / "run", keys)
    known = load(place).evaluation
    assert known is not None
    assert bool(known.problems) == keys  # without added keys every part fits, and so every part is printed
    text = write_report(place).read_text(encoding="utf-8")
    read = Page(text)
    assert {tag for tag, _ in read.tags} <= ALLOWED
    for _, attributes in read.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "xlink:href", "src"):
            assert (attributes.get(name) or "#").startswith("#")
    # It is shown, as what it is: in the title, tables, figures, notice and details.
    assert read.words.count("<script>alert(1)</script>") > 30
    assert "[bold red]" in read.words
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


def test_a_report_needs_nothing_but_itself(run: str, group: Path) -> None:
    for text in (run, (group / "report.html").read_text(encoding="utf-8")):
        read = Page(text)
        assert {tag for tag, _ in read.tags} <= ALLOWED
        outside = re.findall(r"https?://[^\"' ]+", text)
        assert set(outside) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
        assert "url(" not in text.replace("url(#", "")
        assert "@import" not in text
        assert len(text) < 400_000
        assert text.count("<svg") >= 12
        policy = next(a["content"] for tag, a in read.tags if tag == "meta" and a.get("http-equiv"))
        assert policy is not None
        assert "default-src 'none'" in policy
    assert {name for name in os.listdir(group) if "report" in name} == {"report.html"}


def test_ids_in_a_page_are_unique_and_found(run: str) -> None:
    ids = re.findall(r' id="([^"]+)"', run)
    assert ids
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', run)) == set(ids)


def test_the_numbers_are_those_of_the_json(group: Path) -> None:
    raw = json.loads((group / "evaluation.json").read_text())
    read = Page((group / "report.html").read_text(encoding="utf-8"))

    cards = read.data[:5]
    assert cards[0] == (raw["return_mean"], f"{raw['return_mean']:.2f}")
    assert cards[1] == (raw["outcomes"]["ttr"]["mean"], "84.4")
    low, high = raw["return_interval"]
    assert f"{low:.2f} to {high:.2f}" in read.words

    for comparison in raw["comparisons"]:
        for row in comparison["rows"]:
            expected = [row["metrics"][key]["mean"] for key in raw["columns"]]
            assert expected in read.rows
    for subgroup in raw["subgroups"]:
        for row in subgroup["rows"]:
            for side in ("agent", "reference"):
                assert [row[side][key]["mean"] for key in list(raw["columns"])[:5]] in read.rows
    for seed in raw["agent_seeds"]:
        assert [seed["return_mean"], *(entry["mean"] for entry in seed["outcomes"].values())] in read.rows
    for value, shown in read.data:
        assert float(shown.replace(",", "")) == pytest.approx(value, abs=0.051)


def test_the_notice_is_a_banner_at_the_top_and_in_the_footer(run: str, tmp_path: Path) -> None:
    places = [found.start() for found in re.finditer(re.escape(fake_runs.NOTICE), run)]
    assert len(places) == 2
    assert places[0] < run.index("<h1>")
    assert places[1] > run.index("<footer>")
    assert fake_runs.NOTICE not in page(load(fake_runs.write_run(tmp_path / "plain", plain=True)))


def test_time_in_range_stands_beside_the_return(run: str, tmp_path: Path) -> None:
    """A run with a high return and a low time in range must not look good: both are main figures, everywhere."""
    unfinished = page(load(fake_runs.write_run(tmp_path / "run", evaluated=False)))
    for text, label in ((run, "True TTR"), (unfinished, "Time in range")):
        assert re.findall(r'card main"><b>([^<]+)', text) == ["Return", label]
        assert ">Return</text>" in text
        assert ">Time in range (%)</text>" in text


def test_a_plain_environment_has_a_plain_report(tmp_path: Path) -> None:
    read = Page(page(load(fake_runs.write_run(tmp_path / "run", env="CartPole-v1", plain=True))))
    assert "PPO on CartPole-v1" in read.words
    assert read.data[0] == (497.25, "497.25")
    for absent in ("Compared with", "Single cases", "The policy", "Who it works for", "Each seed", "term by term"):
        assert absent not in read.words


def test_a_run_without_evaluation_or_metrics_has_a_report(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", evaluated=False, iterations=3)
    assert "'cumulant evaluate' makes the evaluation that is not there yet" in Page(page(load(place))).words
    (place / "metrics.jsonl").write_text("")
    (place / "timing.jsonl").unlink()
    read = Page(page(load(place)))
    assert "Nothing has been measured yet" in read.words
    assert "No metrics have been written yet" in read.words
    assert "timing.jsonl is missing" in read.words


def test_a_single_row_of_metrics_is_enough(tmp_path: Path) -> None:
    Page(page(load(fake_runs.write_group(tmp_path / "group", (0, 1), evaluated=False, iterations=1))))


def test_extreme_numbers_are_drawn(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=6)
    rows = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    for row, value in zip(rows, (1e300, 9e29, -9e29, 5e-324, 0.0, float("nan"))):
        row |= {"episode/return": value, "outcome/in_range": value, "reward/in_range": value, "eval/return": value}
    (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = json.loads((place / "evaluation.json").read_text())
    raw["comparisons"][0]["rows"][0]["metrics"]["return"] = {"mean": 9e29, "interval": [-9e29, 9e29]}
    raw["trajectories"]["cases"][0]["lines"][0]["y"][3] = 9e29
    raw["policy_map"]["x"][-1] = 9e29
    (place / "evaluation.json").write_text(json.dumps(raw))
    Page(page(load(place)))


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", plain=True)
    first = write_report(place).read_bytes()
    assert write_report(place).read_bytes() == first


def test_the_command_and_configuration_are_there(group: Path) -> None:
    read = Page((group / "report.html").read_text(encoding="utf-8"))
    command = (
        "cumulant train ppo warfarin --schedule daily --reward inr_band --no-genotype --total-steps 1996800 --seeds 2"
    )
    assert command in read.words
    assert "private-host" not in read.words
    for word in (
        "Cumulant 0.1.0 · run of 2026-03-02",
        "config.net.hidden",
        "[64, 64]",
        "versions.torch",
        "2.13.0",
        "0f3a9c2",
    ):
        assert word in read.words


def test_a_link_in_the_place_of_the_report_is_replaced_not_followed(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=2, plain=True)
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    (place / "report.html").symlink_to(precious)
    write_report(place)
    assert precious.read_text() == "keep me"
    assert not (place / "report.html").is_symlink()


def test_a_disk_that_refuses_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=2, plain=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match=r"cannot write '.*report\.html': No space left on device; free the disk"):
        write_report(place)
    assert not [name for name in os.listdir(place) if "report" in name]


def test_what_is_no_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []
