"""How numbers, durations and names are written, the same in the terminal, in HTML and in Markdown.

Strings and numbers from a run directory enter through `plain` and `number`: they may be anything.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

# Control characters move a terminal's cursor or colour, bidirectional ones reorder a line; neither is ever shown.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\uffff]")

MISSING = "–"  # noqa: RUF001 - a dash, not a minus


class Name(NamedTuple):
    """How an outcome is called and in which unit it is shown.

    Args:
        label: For people.
        unit: "" or a unit such as "%".
        factor: From the recorded number to the unit.
    """

    label: str
    unit: str
    factor: float


_NAMES = {
    "in_range": Name("time in range", "%", 100.0),
    "ttr": Name("time in range", "%", 1.0),
    "return": Name("return", "", 1.0),
    "length": Name("episode length", "", 1.0),
    "value_kept_random": Name("value kept, random play", "%", 100.0),
    "value_kept_strong": Name("value kept, strong play", "%", 100.0),
    "value_kept_all": Name("value kept, all positions", "%", 100.0),
    "network_kept_random": Name("without search, random play", "%", 100.0),
    "network_kept_strong": Name("without search, strong play", "%", 100.0),
    "network_kept_all": Name("without search, all positions", "%", 100.0),
    "elo": Name("Elo over the first network", "", 1.0),
}
# The outcome that stands beside the return is the first of these that exists, or else simply the first.
_FIRST = ("in_range", "ttr")
_NOT_OUTCOMES = ("return", "length", "episodes")


def plain(value: object, limit: int = 200) -> str:
    r"""Return text that cannot move a cursor, reorder a line or fill a page.

    Args:
        value: Anything; not escaped for markup or HTML, that happens where it is printed.
        limit: Longest result in characters.

    >>> plain("red \x1b[31m text")
    'red �[31m text'
    """
    try:
        text = value if isinstance(value, str) else str(value)
    except ValueError:  # an integer of thousands of digits
        text = "a very large number"
    text = _UNSEEN.sub("\ufffd", text[: limit + 1].replace("\n", " ").replace("\t", " "))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def plain_lines(value: object, limit: int = 4000) -> str:
    r"""Return text like `plain`, but with its line breaks: for what a language model wrote.

    >>> plain_lines("two\nlines\x1b[2J")
    'two\nlines�[2J'
    """
    text = value if isinstance(value, str) else plain(value, limit)
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "\n".join(plain(line, limit) for line in re.split(r"\r\n|[\n\r]", cut))


def number(value: object) -> float | None:
    """Return a finite float of a size that can be drawn (below 1e30), or None for everything else.

    >>> number(3), number("3"), number(float("nan")), number(True), number(1e300)
    (3.0, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if abs(result) < 1e30 else None


def fixed(value: float | None, digits: int = 2) -> str:
    """Write a number with a fixed count of decimals, grouped by thousands.

    >>> fixed(-0.001, 2), fixed(12345.678, 1), fixed(None)
    ('0.00', '12,345.7', '–')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if abs(value) >= 1e9:
        return f"{value:.3g}"
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text


def brief(value: float | None) -> str:
    """Write a number of unknown size in about four significant digits.

    >>> brief(0.012345), brief(7.5), brief(152.04), brief(1234567.0)
    ('0.01235', '7.50', '152.0', '1,234,567')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e9):
        return f"{value:.3g}"
    if 0 < size < 1:
        return f"{value:.4g}"
    return fixed(value, 2 if size < 100 else 1 if size < 1000 else 0)


def alike(values: Sequence[float]) -> list[str]:
    """Write the numbers of a column with the same decimals where they are of like size, each by itself where they are not.

    >>> alike([0.00135, 0.02]), alike([800.0, 12.0]), alike([0.5, 120.0]), alike([])
    (['0.0014', '0.0200'], ['800', '12'], ['0.5', '120.0'], [])
    """
    if all(value == int(value) and abs(value) < 1e6 for value in values):
        return [fixed(value, 0) for value in values]
    sizes = [abs(value) for value in values if value]
    if max(sizes) > 30.0 * min(sizes):
        return [brief(value) for value in values]
    digits = min(max(2 - math.floor(math.log10(max(sizes))), 0), 4)
    return [fixed(value, digits) for value in values]


def spread(mean: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """Write an interval beside its mean: half its width, or both ends where the mean is not in the middle.

    >>> spread(10.0, 9.5, 10.5, 1), spread(10.0, 9.96, 10.04, 1), spread(1.0, 0.2, 4.0, 1), spread(1.0, None, None)
    ('±0.5', '±0.04', '0.2…4.0', '')
    """
    if mean is None or low is None or high is None:
        return ""
    half = (high - low) / 2
    digits += 0 < half < 10.0**-digits  # a tenth of the last place is not zero
    if abs((high - mean) - (mean - low)) <= 0.1 * abs(high - low) + 10.0**-digits:
        return "±" + fixed(half, digits)
    return f"{fixed(low, digits)}…{fixed(high, digits)}"


def magnitude(value: float | None) -> str:
    """Write a count in three digits.

    >>> magnitude(950), magnitude(184_321), magnitude(2_000_000)
    ('950', '184k', '2.00M')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if abs(value) >= 1e12:
        return f"{value:.3g}"
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.{2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0}f}{suffix}"
    return f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """Write a time span.

    >>> duration(4.25), duration(96), duration(725), duration(9000)
    ('4.2 s', '96 s', '12 min 5 s', '2 h 30 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds >= 1e8:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def clock(seconds: float | None) -> str:
    """Write a time span as a clock does, for a display that changes.

    >>> clock(61), clock(3700), clock(None)
    ('1:01', '1:01:40', '–')
    """
    if seconds is None or not 0 <= seconds < 1e8:
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def outcome_name(key: str) -> Name:
    """Return how an outcome is called, from its key without the group.

    >>> outcome_name("in_range"), outcome_name("goals_scored").label
    (Name(label='time in range', unit='%', factor=100.0), 'goals scored')
    """
    return _NAMES.get(key) or Name(plain(key, 40).replace("_", " "), "", 1.0)


def metric_name(key: str) -> str:
    """Return how a metric is called that has no name of its own.

    >>> metric_name("loss/held_out"), metric_name("tokens/s")
    ('held out (loss)', 's (tokens)')
    """
    group, _, name = plain(key, 60).partition("/")
    return f"{name.replace('_', ' ')} ({group.replace('_', ' ')})" if name else group


def first_outcome(keys: Iterable[str]) -> str | None:
    """Return the outcome that is shown beside the return: time in range where there is one, else the first.

    >>> first_outcome(["bleeds", "ttr"]), first_outcome(["return", "goals"]), first_outcome([])
    ('ttr', 'goals', None)
    """
    known = [key for key in keys if key not in _NOT_OUTCOMES and not key.startswith("return_")]
    return next((key for key in _FIRST if key in known), known[0] if known else None)


def algo_name(name: str) -> str:
    """Return an algorithm's name as a title: short ones are acronyms.

    >>> algo_name("ppo"), algo_name("q_learning"), algo_name("my/ppo.py")
    ('PPO', 'Q learning', 'my/ppo.py')
    """
    if len(name) <= 5 and name.isalnum():
        return name.upper()
    return name.replace("_", " ").capitalize() if name.replace("_", "").isalpha() else name


def glued(label: str) -> str:
    r"""Return a label in which a sign stays on the line of its number.

    >>> glued("INR < 2")
    'INR <\xa02'
    """
    return label.replace("< ", "<\u00a0").replace("> ", ">\u00a0")


def command_line(
    algo: str, env: str, options: Mapping[str, Any], seeds: Iterable[int | None], total_steps: float | None
) -> str:
    """Write the command that starts such a run; every word from the directory is quoted for the shell.

    >>> command_line("ppo", "warfarin", {"schedule": "daily"}, [0, 1], 2e6)
    'cumulant train ppo warfarin --schedule daily --total-steps 2000000 --seeds 2'
    """
    words = ["cumulant", "train", plain(algo, 80), plain(env, 120)]
    for key, value in options.items():
        flag = plain(key, 40).replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, str | int | float):
            words += [f"--{flag}", plain(value, 80)]
    if total_steps is not None:
        words += ["--total-steps", str(int(total_steps))]
    known = [seed for seed in seeds if seed is not None]
    if len(known) > 1:
        words += (["--seed", str(known[0])] if known[0] else []) + ["--seeds", str(len(known))]
    elif known:
        words += ["--seed", str(known[0])]
    return " ".join(shlex.quote(word) for word in words)
