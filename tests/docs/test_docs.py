"""The documentation says what is there: tables equal the catalogue, links resolve, commands parse."""

import re
import shlex
from pathlib import Path

import pytest

from cumulant import catalogue
from cumulant.cli.main import VERBS
from cumulant.data.materials import MATERIALS
from cumulant.engine.vector import make_vector
from cumulant.envs import lookup
from cumulant.envs.games import lookup as games

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])


def first_column(page):
    return set(re.findall(r"^\| `([^`]+)` \|", (ROOT / page).read_text(), flags=re.MULTILINE))


def test_every_algorithm_has_its_row():
    assert first_column("docs/algorithms.md") == set(catalogue.algorithms())


def test_every_environment_has_its_row():
    assert first_column("docs/environments.md") == set(lookup.listing())


def test_every_embedded_material_has_its_row_with_its_licence():
    page = (ROOT / "docs/language_models.md").read_text()
    assert first_column("docs/language_models.md") >= set(MATERIALS)
    for name, material in MATERIALS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert material.licence in row or name == "movie-reviews-simple"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"


def commands():
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"```\n(.*?)```", text, flags=re.DOTALL)
        inline = re.findall(r"`(cumulant [a-z][^`]*)`", text)
        for line in [line for block in blocks for line in block.splitlines()] + inline:
            if line.startswith("cumulant "):
                yield re.split(r"\s{2,}", line)[0]


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_commands_exist(command):
    words = shlex.split(command)[1:]
    for verb in re.findall(r"(?:^|\| )([a-z]+)", " ".join(words)):  # "cumulant resume RUN | report RUN" names two
        assert verb in VERBS, command
    if "|" not in words and words[0] == "train" and words[1].islower() and "/" not in words[1] and len(words) > 2:
        assert words[1] in catalogue.algorithms(), command
        if catalogue.algorithms()[words[1]].is_text:
            assert not lookup.find(words[2]), command
        elif catalogue.algorithms()[words[1]].is_game:
            assert words[2] in games.listing(), command
        elif words[2] not in ("ENV", "my_env.py:MyEnv"):
            path = words[2].partition(":")[0]
            assert (ROOT / path).exists() or make_vector(words[2], 1, 0), command


def test_every_page_of_the_docs_is_linked_from_somewhere():
    linked = {target for page in PAGES for target in re.findall(r"\]\(([^)#]+)", page.read_text())}
    for page in (ROOT / "docs").glob("*.md"):
        assert any(target.endswith(page.name) for target in linked), page.name
