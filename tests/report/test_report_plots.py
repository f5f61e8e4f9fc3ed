"""Figures: what they show, that they are valid, and that they leave no trace."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_runs
import numpy as np
import pytest

from cumulant.report import plots, theme
from cumulant.report.curves import merge
from cumulant.report.evaluation import Evaluation, PolicyMap
from cumulant.report.parsing import parse_evaluation


@pytest.fixture(scope="module")
def known() -> Evaluation:
    return parse_evaluation(fake_runs.evaluation())


def _curve(seeds: int = 2) -> Any:
    steps = np.arange(1.0, 31.0) * 1000
    return merge([(steps, np.sqrt(steps) + 5 * seed) for seed in range(seeds)])


def _figures(known: Evaluation) -> dict[str, Any]:
    assert known.trajectories is not None
    assert known.policy_map is not None
    assert known.outcome is not None
    columns = [known.column("return"), known.outcome]
    return {
        "curve": plots.learning_curve(_curve(), "Return", "", _curve(1)),
        "term": plots.reward_term(_curve(3), "in range"),
        "trajectory": plots.trajectory(known.trajectories, known.trajectories.cases[0]),
        "map": plots.policy_map(known.policy_map, (2.0, 3.0)),
        "comparison": plots.comparison_dots(known.comparisons[0], columns),
        "subgroup": plots.subgroup_dots(known.subgroups[0], columns),
    }


def test_every_figure_is_valid_svg_and_png(known: Evaluation) -> None:
    again = _figures(known)
    for name, figure in _figures(known).items():
        text = plots.svg(figure, name)
        assert ElementTree.fromstring(text).attrib["aria-label"] == name
        assert text == plots.svg(again[name], name)
        assert plots.png(figure)[:8] == b"\x89PNG\r\n\x1a\n"


def test_every_colour_and_font_follows_the_page(known: Evaluation) -> None:
    """A colour that is not of the theme would stay light on a dark page."""
    for name, figure in _figures(known).items():
        text = theme.themed(plots.svg(figure, name))
        left = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", text))
        assert not left, (name, left)
        assert "DejaVu" not in text
        assert "<text" in text
        assert "var(--sans)" in text


def test_a_label_is_never_read_as_mathematics_or_markup(known: Evaluation) -> None:
    label = r"$\frac{1}{0}$ <b> & $unclosed"
    figure = plots.learning_curve(_curve(), label, label)
    texts = [element.text for element in ElementTree.fromstring(plots.svg(figure, label)).iter() if element.text]
    assert f"{label} ({label})" in texts
    comparison = replace(known.comparisons[0], rows=(replace(known.comparisons[0].rows[0], label=label),))
    texts = [
        e.text for e in ElementTree.fromstring(plots.svg(plots.comparison_dots(comparison, known.columns[:2]))).iter()
    ]
    assert label in texts


def test_the_users_own_settings_are_left_alone(known: Evaluation) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.svg(_figures(known)["curve"])
    assert dict(matplotlib.rcParams) == before


def test_the_users_own_settings_change_nothing(known: Evaluation) -> None:
    import matplotlib

    first = plots.svg(plots.learning_curve(_curve(), "Return"))
    with matplotlib.rc_context(
        {"font.size": 30, "axes.facecolor": "red", "text.parse_math": True, "xtick.direction": "in"}
    ):
        assert plots.svg(plots.learning_curve(_curve(), "Return")) == first


def test_a_learning_curve_shows_the_mean_the_seeds_and_the_evaluations() -> None:
    curve, evaluated = _curve(2), _curve(1)
    axes = plots.learning_curve(curve, "Return", "", evaluated).axes[0]
    lines = [line.get_ydata() for line in axes.lines]
    np.testing.assert_array_equal(lines[0], curve.seeds[0])
    np.testing.assert_array_equal(lines[2], curve.mean)
    np.testing.assert_array_equal(lines[3], evaluated.mean)
    assert len(axes.collections) == 1  # the band


def test_a_wide_band_does_not_flatten_the_curve() -> None:
    curve = _curve(2)
    wide = replace(curve, low=curve.mean - 1e6, high=curve.mean + 1e6)
    low, high = plots.learning_curve(wide, "Return").axes[0].get_ylim()
    assert high - low < 3 * np.ptp(curve.seeds)


def test_the_policy_map_paints_each_cell_with_its_action() -> None:
    z = ((0, 0, 1, 2), (1, 1, 2, 2), (0, 1, 0, 1))
    policy = PolicyMap("", "x", "y", (0.0, 1.0, 2.0, 4.0), (0.0, 10.0, 20.0), z, ("less", "same", "more"))
    axes = plots.policy_map(policy).axes[0]
    import matplotlib.colors

    colours = plots.action_colours(3)
    for row, y in enumerate(policy.y):
        for column, x in enumerate(policy.x):
            found = [
                matplotlib.colors.to_hex(face)
                for patch in axes.collections
                for path, face in zip(patch.get_paths(), patch.get_facecolor())  # type: ignore[attr-defined]
                if path.contains_point((x, y))
            ]
            assert found == [colours[z[row][column]]]
    assert axes.get_xlim() == (-0.5, 5.0)
    assert axes.get_ylim() == (-5.0, 25.0)


def test_a_trajectory_draws_the_band_and_both_courses(known: Evaluation) -> None:
    courses = known.trajectories
    assert courses is not None
    top, bottom = plots.trajectory(courses, courses.cases[1]).axes
    assert (top.patches[0].get_y(), top.patches[0].get_height()) == (2.0, 1.0)
    agent, protocol = courses.cases[1].lines
    drawn = {line.get_color(): list(line.get_ydata()) for line in top.lines[2:]}
    assert drawn == {theme.LIGHT["agent"]: list(agent.y), theme.LIGHT["other"]: list(protocol.y)}
    doses = {line.get_color(): list(line.get_ydata()) for line in bottom.lines}
    assert doses == {theme.LIGHT["agent"]: list(agent.y2), theme.LIGHT["other"]: list(protocol.y2)}
    others = plots.trajectory(courses, courses.cases[2]).axes
    assert others[0].get_ylim() == top.get_ylim()
    assert others[1].get_ylim() == bottom.get_ylim()


def test_dots_stand_at_the_means_with_their_intervals(known: Evaluation) -> None:
    comparison, column = known.comparisons[0], known.column("return")
    axes = plots.comparison_dots(comparison, [column]).axes[0]
    dots = {int(line.get_ydata()[0]): line.get_xdata()[0] for line in axes.lines if line.get_marker() != "None"}
    floor = [row.kind for row in comparison.rows].index("floor")
    assert dots == {i: row.measures["return"].mean for i, row in enumerate(comparison.rows) if i != floor}
    bars = [tuple(line.get_xdata()) for line in axes.lines if line.get_marker() == "None"]
    assert (comparison.rows[0].measures["return"].low, comparison.rows[0].measures["return"].high) in bars
    assert any("-15.00" in text.get_text() for text in axes.texts)  # far off: an arrow with its value


def test_any_number_of_actions_has_colours() -> None:
    assert plots.action_colours(1) == [theme.LIGHT["same"]]
    assert plots.action_colours(2) == [theme.LIGHT["less"], theme.LIGHT["more"]]
    assert len(set(plots.action_colours(9))) == 9


def _luminance(colour: str) -> float:
    linear = [_linear(int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", ["ink", "soft", "agent", "other"])
@pytest.mark.parametrize("behind", ["paper", "panel"])
def test_text_can_be_read_in_both_themes(name: str, behind: str, which: int) -> None:
    light, dark = sorted(
        (_luminance(theme.COLOURS[name][which]), _luminance(theme.COLOURS[behind][which])), reverse=True
    )
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("one", "two"), [("agent", "other"), ("less", "more"), ("agent", "ceiling"), ("same", "more")])
@pytest.mark.parametrize("kind", ["protan", "deutan"])
def test_colours_stay_apart_for_the_colour_blind(one: str, two: str, which: int, kind: str) -> None:
    """With the dichromat matrices of Machado, Oliveira and Fernandes 2009, distances in linear RGB."""
    seen = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    }[kind]
    pair = [[_linear(int(theme.COLOURS[n][which][i : i + 2], 16) / 255) for i in (1, 3, 5)] for n in (one, two)]
    apart = np.linalg.norm(np.array(seen) @ (np.array(pair[0]) - np.array(pair[1])))
    assert apart > 0.18


def test_a_figures_colours_can_be_told_apart_by_their_code() -> None:
    assert len(set(theme.LIGHT.values())) == len(theme.COLOURS)


def test_reading_a_run_imports_neither_matplotlib_nor_rich_nor_torch(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=2, plain=True)
    code = (
        "import sys; from cumulant.report import compare, html, load, terminal; "
        f"load.load({str(place)!r}); compare.compare([{str(place)!r}]); "
        "print([name for name in ('matplotlib', 'rich', 'torch', 'scipy', 'gymnasium', 'numba') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_drawing_never_goes_through_pyplot(tmp_path: Path) -> None:
    place = fake_runs.write_run(tmp_path / "run", iterations=2, plain=True)
    code = (
        "import sys; from cumulant.report.html import write_report; "
        f"write_report({str(place)!r}); print('matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False False\n"
    )
