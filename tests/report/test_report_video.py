"""The filmed episode in the report: only what it says it is, whatever the run directory holds."""

import pytest

from cumulant.report.video import section

PICTURE = b"RIFF0000WEBPpicture"


@pytest.mark.parametrize("content", [PICTURE + bytes(5_000_000), b"<script>alert(1)</script>", b""])
def test_a_file_that_is_no_small_picture_is_left_out(tmp_path, content):
    assert section(tmp_path) == ""
    (tmp_path / "episode.webp").write_bytes(content)
    assert section(tmp_path) == ""


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(PICTURE)
    (tmp_path / "episode.webp").symlink_to(tmp_path / "secret")
    assert section(tmp_path) == ""


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ('{"steps": 600, "return": 300.04, "cut": false}', "without exploration: 600 steps, return 300."),
        ('{"steps": "<b>", "return": [1], "cut": true}', "without exploration; its beginning is shown."),
        ("[" * 100_000, "without exploration."),
        (None, "without exploration."),
    ],
)
def test_the_caption_is_made_of_numbers(tmp_path, facts, said):
    (tmp_path / "episode.webp").write_bytes(PICTURE)
    if facts is not None:
        (tmp_path / "episode.json").write_text(facts)
    text = section(tmp_path)
    assert f"{said}</p>" in text
    assert 'src="data:image/webp;base64,UklGR' in text
    assert "<b>" not in text
