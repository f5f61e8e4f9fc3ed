"""Embedded materials: real pip against an index on the disk, hashes, cache, and what happens when something is wrong."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import textwrap
import venv
import zipfile
from dataclasses import replace

import pytest

from cumulant.data import materials
from cumulant.data.materials import Archive, Member, fetch_archive
from cumulant.errors import MaterialError, StorageError, UsageError

VOTES = b"1\t[2, 3]\n" * 50
WORDS = b"good\t1.9\n" * 50


def sha(content):
    return hashlib.sha256(content).hexdigest()


def tar_of(**files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(f"toy-1.0/{name.replace('__', '.')}")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A package index on the disk that pip is configured for, with one source archive and one wheel, and an empty cache."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    marker = tmp_path / "code-was-run"
    setup = f"open({str(marker)!r}, 'w')\nfrom setuptools import setup\nsetup(name='toy', version='1.0')\n".encode()
    source = tar_of(**{"setup__py": setup, "inner__tar__gz": tar_of(votes__tsv=VOTES), "words__tsv": WORDS})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("toy/words.tsv", WORDS)
    for package, name, content in (
        ("toy", "toy-1.0.tar.gz", source),
        ("toy-wheel", "toy_wheel-1.0-py3-none-any.whl", buffer.getvalue()),
    ):
        page = tmp_path / "simple" / package
        page.mkdir(parents=True)
        (page / name).write_bytes(content)
        (page / "index.html").write_text(f'<a href="{name}">{name}</a>')
    return tmp_path


@pytest.fixture
def toy(place):
    content = (place / "simple" / "toy" / "toy-1.0.tar.gz").read_bytes()
    members = {
        "votes.tsv": Member(("toy-1.0/inner.tar.gz", "toy-1.0/votes.tsv"), len(VOTES), sha(VOTES)),
        "words.tsv": Member(("toy-1.0/words.tsv",), len(WORDS), sha(WORDS)),
    }
    return Archive("toy", "toy-1.0.tar.gz", len(content), sha(content), members)


def fetch(archive, place):
    said = []
    folder = fetch_archive(archive, place / "cache", said.append)
    return folder, said


def in_cache(place):
    """What the cache holds beside the lock files."""
    return sorted(path.name for path in (place / "cache").iterdir() if path.suffix != ".lock")


def test_a_source_archive_is_fetched_read_and_not_run(place, toy):
    folder, said = fetch(toy, place)
    assert (folder / "votes.tsv").read_bytes() == VOTES
    assert (folder / "words.tsv").read_bytes() == WORDS
    assert sorted(path.name for path in folder.iterdir()) == ["votes.tsv", "words.tsv"]
    assert not (place / "code-was-run").exists()
    assert said == ["fetching toy-1.0.tar.gz (0.0 MB) with pip, once"]
    assert in_cache(place) == ["toy-1.0"]


def test_the_second_time_nothing_is_fetched(place, toy, monkeypatch):
    fetch(toy, place)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert fetch(toy, place) == (place / "cache" / "toy-1.0", [])


def test_a_wheel_is_found_through_find_links(place, monkeypatch):
    content = (place / "simple" / "toy-wheel" / "toy_wheel-1.0-py3-none-any.whl").read_bytes()
    archive = Archive(
        "toy-wheel",
        "toy_wheel-1.0-py3-none-any.whl",
        len(content),
        sha(content),
        {"words.tsv": Member(("toy/words.tsv",), len(WORDS), sha(WORDS))},
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(MaterialError, match="pip finds no toy_wheel-1"):
        fetch(archive, place)
    monkeypatch.setenv("PIP_FIND_LINKS", str(place / "simple" / "toy-wheel"))
    folder, _ = fetch(archive, place)
    assert (folder / "words.tsv").read_bytes() == WORDS


def test_offline_the_error_says_what_to_do_and_a_file_put_there_by_hand_is_taken(place, toy, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(MaterialError, match=r"connect to a network .* or put that file into ") as problem:
        fetch(toy, place)
    assert str(place / "cache") in str(problem.value)
    assert in_cache(place) == []
    (place / "simple" / "toy" / "toy-1.0.tar.gz").rename(place / "cache" / "toy-1.0.tar.gz")
    folder, said = fetch(toy, place)
    assert (folder / "votes.tsv").read_bytes() == VOTES
    assert said == []


def test_an_archive_with_another_hash_is_refused(place, toy):
    with pytest.raises(MaterialError, match="not the pinned 0000"):
        fetch(replace(toy, sha256="0" * 64), place)
    assert in_cache(place) == []


def test_a_download_stops_where_it_is_longer_than_pinned(place, toy):
    with pytest.raises(MaterialError, match="longer than the 100 bytes"):
        fetch(replace(toy, size_bytes=100), place)
    assert in_cache(place) == []


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (Member(("toy-1.0/words.tsv",), len(WORDS), "0" * 64), "is not what"),
        (Member(("toy-1.0/words.tsv",), len(WORDS) - 1, sha(WORDS[:-1])), "is not what"),
        (Member(("toy-1.0/words.tsv",), len(WORDS) + 1, sha(WORDS)), "is not what"),
        (Member(("toy-1.0/nowhere.tsv",), 1, ""), "does not hold toy-1.0/nowhere.tsv"),
        (Member(("toy-1.0/words.tsv", "inner"), 1, ""), "does not hold inner"),
    ],
)
def test_a_member_that_is_not_as_pinned_leaves_nothing(place, toy, member, message):
    (place / "cache").mkdir()
    (place / "simple" / "toy" / "toy-1.0.tar.gz").rename(
        place / "cache" / "toy-1.0.tar.gz"
    )  # pip is not what is tested here
    with pytest.raises(MaterialError, match=message):
        fetch(replace(toy, members={**toy.members, "other": member}), place)
    assert in_cache(place) == ["toy-1.0.tar.gz"]


def test_what_a_killed_process_left_is_cleared_and_a_torn_folder_made_whole(place, toy):
    folder, _ = fetch(toy, place)
    (folder / "votes.tsv").write_bytes(VOTES[:-1])
    left = place / "cache" / ".unfinished-toy-1.0.tar.gz-x"
    left.mkdir()
    (left / "toy-1.0.tar.gz").write_bytes(b"half")
    fetch(toy, place)
    assert (folder / "votes.tsv").read_bytes() == VOTES
    assert in_cache(place) == ["toy-1.0"]


def test_two_processes_at_once_download_once(place, toy):
    script = place / "both.py"
    script.write_text(
        textwrap.dedent(f"""
        from pathlib import Path
        from cumulant.data.materials import Archive, Member, fetch_archive
        print((fetch_archive({toy!r}, Path({str(place / "cache")!r}), print) / "votes.tsv").stat().st_size)
        """)
    )
    both = [subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(process.communicate(timeout=120)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said.count("fetching") == 1
    assert said.count(str(len(VOTES))) == 2


def test_where_pip_is_not_installed_the_one_of_python_is_taken(place, toy):
    venv.create(place / "bare", with_pip=False)
    target = place / "fetched"
    words = ["toy", toy.filename, str(toy.size_bytes), str(target), "source"]
    script = materials.__file__.replace("materials.py", "pip_fetch.py")
    subprocess.run([place / "bare" / "bin" / "python", "-P", script, *words], check=True, timeout=120)
    assert sha(target.read_bytes()) == toy.sha256


def test_a_cache_that_cannot_be_written_is_named(place, toy):
    (place / "cache").write_text("a file")
    with pytest.raises(StorageError, match="cache could not be written"):
        fetch(toy, place)


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CUMULANT_CACHE", str(tmp_path))
    assert materials.cache_folder() == tmp_path / "materials"
    monkeypatch.delenv("CUMULANT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert materials.cache_folder() == tmp_path / "xdg" / "cumulant" / "materials"


def test_an_unknown_material_is_met_with_the_closest():
    with pytest.raises(UsageError, match="did you mean 'movie-snippets'"):
        materials.material("movie-snipets")


@pytest.mark.parametrize("name", materials.MATERIALS)
def test_every_material_says_its_licence_and_what_to_cite(name):
    found = materials.material(name)
    assert set(found.files) <= set(found.archive.members)
    assert len(found.archive.sha256) == 64
    assert found.licence in materials.attribution(name)
    assert found.citation in materials.attribution(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", materials.MATERIALS)
def test_the_packages_hold_what_is_pinned(name):
    for file, path in materials.fetch(name).items():
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        assert digest == materials.material(name).archive.members[file].sha256
