"""cumulant align on the command line: what is refused, and what is said before anything is trained."""

import pytest


def test_a_mistake_is_one_line_and_leaves_nothing_behind(cli, workspace):
    for words, message in (
        (["--preset", "dmeo"], "invalid choice: 'dmeo'"),
        (["--seeds", "0"], "there is at least one"),
        (["--preset", "ci", "--model", "mine"], "trains its own from nothing"),
        (["--out", "taken.txt"], "is a file"),
    ):
        (workspace / "taken.txt").write_text("mine")
        answer = cli("align", "--quiet", *words)
        assert answer.code == 2 or answer.code == 1
        assert message in answer.err
        assert "Traceback" not in answer.err
        assert sorted(path.name for path in workspace.iterdir()) == ["taken.txt"]


def test_licences_and_the_notice_come_first(cli, workspace):
    (workspace / "taken").mkdir()
    (workspace / "taken" / "file").write_text("mine")
    answer = cli("align", "--out", "taken")
    assert "makes it no more helpful" in " ".join(answer.err.split())
    assert "Hutto and Gilbert" in answer.err
    assert "Apache-2.0" in answer.err
    assert "is not empty" in answer.err


@pytest.mark.parametrize("preset", ["demo", "scratch", "ci", "full"])
def test_the_help_names_every_preset(cli, preset):
    assert preset in cli("align", "--help").out
