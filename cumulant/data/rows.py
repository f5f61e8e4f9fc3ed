"""Rows of a user's data, and where each stands: JSON lines, Parquet, plain text, a `datasets` object, or a folder of these.

A file is split in two by a hash of the row's prompt (or text): one prompt in twenty is held out, with everything that belongs to
it. So nothing that was trained on is ever judged, and adding a line moves no other. Folders may hold files of their own for both:
``train*`` and ``held-out*`` (also ``validation*``, ``valid*``, ``val*``, ``dev*``, ``eval*``, ``test*``).
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cumulant.errors import DataError
from cumulant.loading import text_package

Split = Literal["train", "held-out"]
SPLITS = ("train", "held-out")
HELD_OUT = 0.05
ENDINGS = (".jsonl", ".ndjson", ".json", ".parquet", ".txt")
COLUMNS = (
    *("text", "prompt", "completion", "messages", "chosen", "rejected", "margin", "rater", "tie", "skip"),
    *("responses", "ratings"),
)
_SPLIT_OF_FILE = re.compile(r"(train)|(held[-_]?out|validation|valid|val|dev|eval|test)")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of data.

    Args:
        values: Column by name.
        where: File and line (or row), as a message names them.
    """

    values: Mapping[str, Any]
    where: str

    def shape(self, wanted: str, *shapes: tuple[str, ...]) -> tuple[str, ...]:
        """Return the first of several sets of columns that this row has; a column that is null is not there.

        Raises:
            DataError: If it has none of them (message names its columns, and the one that looks misspelled).
        """
        have = [name for name, value in self.values.items() if value is not None]
        for shape in shapes:
            if set(shape) <= set(have):
                return shape
        allowed = ", or ".join(" and ".join(shape) for shape in shapes)
        lacking = {name for shape in shapes for name in shape if name not in have}
        columns = ", ".join(f"'{name}'" for name in have) or "none"
        meant = [
            f"'{name}' looks like '{close[0]}'"
            for name in have
            if name not in COLUMNS and (close := difflib.get_close_matches(name, lacking, n=1, cutoff=0.6))
        ]
        hint = f"; {' and '.join(meant)} misspelled" if meant else ""
        raise DataError(f"{self.where}: {wanted} need {allowed}; the columns here are {columns}{hint}")

    def text(self, column: str) -> str:
        """Return a column that must be a text."""
        value = self.values[column]
        if not isinstance(value, str):
            raise self.wrong(column, "a text")
        return value

    def number(self, column: str) -> float | None:
        """Return a column that must be a finite number; None where it is absent or null."""
        value = self.values.get(column)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong(column, "a finite number")
        return float(value)

    def flag(self, column: str) -> bool:
        """Return a column that must be true or false; False where it is absent or null."""
        value = self.values.get(column)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(column, "true or false")
        return bool(value)

    def texts(self, column: str) -> list[str]:
        """Return a column that must be a list of texts."""
        value = self.values[column]
        if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(v, str) for v in value):
            raise self.wrong(column, "a list of texts")
        return list(value)

    def wrong(self, column: str, expected: str) -> DataError:
        """Return the error that a column holds something else than it must."""
        shown = repr(self.values[column])
        return DataError(
            f"{self.where}, column '{column}': must be {expected}, and is {shown if len(shown) < 60 else shown[:57] + '...'}"
        )


def read_rows(data: Any, split: Split) -> list[Row]:
    """Read one part of a user's data.

    Args:
        data: Path of a file or folder, a `datasets` Dataset or DatasetDict, or a sequence of mappings.
        split: "train" or "held-out".

    Raises:
        DataError: If there is nothing at the path, it cannot be read as what its name says, or the part is empty.
        MissingPackage: If Parquet or a saved dataset needs a package that is not installed.
    """
    if split not in SPLITS:
        raise DataError(f"no split '{split}': there are 'train' and 'held-out'")
    parts = _parts(data)
    label = data if isinstance(data, str | Path) else type(data).__name__
    if "held-out" in parts:
        rows = parts.get(split, [])
    else:
        rows = _hashed(parts.get("train", []), split)
    if not rows:
        remedy = (
            "all its rows have one prompt: more are needed, or a folder with files called train and held-out"
            if split == "held-out"
            else "give a file with rows in it"
        )
        raise DataError(f"{label}: nothing for the part '{split}': {remedy}")
    return rows


def read_all(data: Any) -> list[Row]:
    """Read all rows of a user's data, in their order; see `read_rows`."""
    return [row for part in _parts(data).values() for row in part]


def is_held_out(key: str, fraction: float = HELD_OUT) -> bool:
    """Whether a prompt or text belongs to the held-out part, by its hash.

    >>> [is_held_out(word) for word in ("a good film", "a bad film")]
    [False, False]
    """
    return _hash(key) < fraction


def _hash(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64


def _hashed(rows: Sequence[Row], split: Split) -> list[Row]:
    """Return the rows of a part; of few prompts at least one is held out, and at least one is not."""
    hashes = [_hash(_key(row)) for row in rows]
    distinct = sorted(set(hashes))
    limit = 0.0  # of one prompt nothing can be held out
    if len(distinct) > 1:
        limit = min(max(HELD_OUT, math.nextafter(distinct[0], 1.0)), distinct[-1])
    return [row for row, value in zip(rows, hashes) if (value < limit) == (split == "held-out")]


def _key(row: Row) -> str:
    """Return what must not be in both parts: the prompt, or the text where there is none; of bare pairs both responses.

    Several raters' words on one pair, in whichever order it was shown to them, are in one part so.
    """
    for column in ("prompt", "text"):
        value = row.values.get(column)
        if value is not None and not (isinstance(value, str) and not value):
            return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    messages = row.values.get("messages")
    chosen, rejected = row.values.get("chosen"), row.values.get("rejected")
    if isinstance(chosen, str) and isinstance(rejected, str):
        return json.dumps(sorted((chosen, rejected)))
    if chosen is not None and rejected is not None:
        messages = chosen  # dialogues that differ in the last reply only
    if isinstance(messages, Sequence) and not isinstance(messages, str):
        asked = [m.get("content") for m in messages if isinstance(m, Mapping) and m.get("role") == "user"]
        return str(asked[0] if asked else messages)
    return json.dumps(dict(row.values), sort_keys=True, default=str)


def _parts(data: Any) -> Mapping[str, list[Row]]:
    """Return the rows of each part that the data themselves name; only "train" where they name none."""
    if isinstance(data, str | Path):
        return _parts_of_path(Path(data).expanduser())
    if isinstance(data, Mapping):  # a DatasetDict, or a mapping like one
        found: dict[str, list[Row]] = {}
        for name, part in data.items():
            found.setdefault(_split_of(str(name)) or "train", []).extend(_rows_of(part, f"part '{name}'"))
        return found
    return {"train": _rows_of(data, type(data).__name__)}


def _rows_of(values: Any, label: str) -> list[Row]:
    rows = []
    for index, row in enumerate(values):
        if not isinstance(row, Mapping):
            raise DataError(f"{label}, row {index + 1}: must be a mapping of columns, and is {type(row).__name__}")
        rows.append(Row(row, f"{label}, row {index + 1}"))
    return rows


def _parts_of_path(path: Path) -> Mapping[str, list[Row]]:
    if path.is_file():
        return {"train": list(_read_file(path))}
    if not path.is_dir():
        raise DataError(f"{path}: there is no such file or folder")
    if (path / "dataset_dict.json").exists() or (path / "dataset_info.json").exists():
        from_disk = text_package("datasets").load_from_disk(str(path))
        return _parts(from_disk)
    files = sorted(file for file in path.rglob("*") if file.suffix in ENDINGS and file.is_file())
    if not files:
        raise DataError(f"{path}: holds no file that ends in {', '.join(ENDINGS)}")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file.stem) or "train", []).append(file)
    return {name: [row for file in of_split for row in _read_file(file)] for name, of_split in by_split.items()}


def _split_of(name: str) -> str | None:
    match = _SPLIT_OF_FILE.match(name.lower())
    return None if match is None else "train" if match[1] else "held-out"


def _read_file(path: Path) -> Iterator[Row]:
    if path.suffix == ".parquet":
        parquet = text_package("pyarrow.parquet")
        try:
            table = parquet.read_table(path)
        except (OSError, ValueError) as problem:  # pyarrow's own errors are ValueErrors
            raise DataError(f"{path}: is no readable Parquet file ({str(problem).splitlines()[0]})") from problem
        yield from (Row(row, f"{path}, row {index + 1}") for index, row in enumerate(table.to_pylist()))
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(f"{path}: is not UTF-8 at byte {problem.start}; convert it first") from problem
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror})") from problem
    if path.suffix == ".txt":
        yield from _paragraphs(text, path)
    elif path.suffix in ENDINGS:
        yield from _json_lines(text, path)
    else:
        raise DataError(f"{path}: its name must end in {', '.join(ENDINGS)}, to say what it holds")


def _paragraphs(text: str, path: Path) -> Iterator[Row]:
    """Yield what blank lines separate; where there is none, every line."""
    lines = text.splitlines()
    separated = any(not line.strip() for line in lines)
    start = 0
    collected: list[str] = []
    for number, line in enumerate([*lines, ""]):
        if line.strip():
            start = start if collected else number + 1
            collected.append(line)
        if collected and (not separated or not line.strip()):
            yield Row({"text": "\n".join(collected)}, f"{path}, line {start}")
            collected = []


def _json_lines(text: str, path: Path) -> Iterator[Row]:
    if path.suffix == ".json" and text.lstrip().startswith("["):
        for index, value in enumerate(_parsed(text, f"{path}")):
            yield _object(value, f"{path}, item {index + 1}")
        return
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: U+2028 may stand inside a text
        if line.strip():
            where = f"{path}, line {number}"
            yield _object(_parsed(line, where), where)


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as problem:
        raise DataError(f"{where}: is no JSON ({problem})") from problem


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f'{where}: must be an object such as {{"prompt": ..., "completion": ...}}')
    return Row(value, where)
