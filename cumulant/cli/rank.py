"""cumulant rank RUN_OR_FILE: two responses to a prompt in random order, and which of them a rater prefers."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from cumulant import api
from cumulant.cli.parsing import Parser, add_json
from cumulant.report.wording import plain_lines

KEYS = {"a": "a", "b": "b", "t": "tie", "tie": "tie", "s": "skip", "skip": "skip", "q": "quit", "quit": "quit"}
_END = "\x04"
_SHOWN = 4000  # characters of a text


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    parser = Parser("rank", "Show two responses to a prompt in random order and keep which of them a rater prefers.")
    parser.add_argument("source", help="a file with prompts and responses, or a run or model that shall write them")
    parser.add_argument("--rater", help="who answers (default: the name of the user)")
    parser.add_argument(
        "--out", type=Path, default=Path("preferences.jsonl"), help="file of the answers (default preferences.jsonl)"
    )
    parser.add_argument("--prompts", metavar="DATA", help="prompts for a model (default: those it was trained on)")
    parser.add_argument("--count", type=int, default=20, help="prompts that a model responds to (default 20)")
    parser.add_argument("--temperature", type=float, default=1.0, help="at which it does (default 1)")
    parser.add_argument("--max-new-tokens", type=int, default=48, help="where a response is cut off (default 48)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of prompts and the responses (default 0)")
    add_json(parser)
    known = parser.parse_args(words)
    screen = Console(highlight=False, stderr=known.json)
    asking = _Asking(screen)
    result = api.rank(
        known.source,
        asking,
        rater=known.rater or getpass.getuser(),
        out=known.out,
        prompts=known.prompts,
        count=known.count,
        temperature=known.temperature,
        max_new_tokens=known.max_new_tokens,
        seed=known.seed,
        say=lambda line: Console(stderr=True, highlight=False).print(Text(line), style="dim"),
    )
    show_summary(result, screen)
    return result


class _Asking:
    """Asks on the terminal, where one key is an answer, or reads answers line by line from a pipe."""

    def __init__(self, screen: Console) -> None:
        self.screen = screen
        self.number = 0

    def __call__(self, prompt: str, a: str, b: str) -> str:
        self.number += 1
        self.screen.print(Text(f"\n{self.number}", "bold"), end="  ")
        self.screen.print(Text(plain_lines(prompt, _SHOWN), "dim"))
        for key, response in (("a", a), ("b", b)):
            shown = plain_lines(response.strip(), _SHOWN)
            self.screen.print(Text.assemble((f"  {key}  ", "bold"), shown or "(says nothing)"))
        while True:
            self.screen.print(Text("better: a, b, tie, skip or quit? "), end="")
            said = _key() if sys.stdin.isatty() else None
            if said is None:
                said = sys.stdin.readline() or _END
            if said == _END:  # of what was piped in, or Ctrl-D
                self.screen.print()
                return "quit"
            given = KEYS.get(said.strip().lower())
            if not said.endswith("\n") or not sys.stdin.isatty():  # nothing has shown it yet
                self.screen.print(Text(given or plain_lines(said.strip(), 40)))
            if given is not None:
                return given


def _key() -> str | None:
    """Wait for one key of the terminal and return it; None where keys come with Enter only.

    What was typed before the question stood there is thrown away: a key that is pressed twice is no second answer.
    """
    try:
        import termios
        import tty
    except ImportError:
        return None
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSAFLUSH)
        sys.stdout.flush()
        return os.read(terminal, 1).decode("utf-8", "replace") or _END
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def show_summary(result: dict[str, Any], screen: Console) -> None:
    """Print what there is by now: who judged how many pairs, and how far raters agree."""
    left = f", {result['left']} left for {result['rater']}" if result["left"] else f", none left for {result['rater']}"
    where = f"all answers are in {result['file']}" if result["raters"] else "nobody has answered yet"
    screen.print(Text(plain_lines(f"\n{result['answered']} answered{left}; {where}")))
    for rater, counts in result["raters"].items():
        first = "" if counts["first"] is None else f", the one shown first in {counts['first']:.0%}"
        said = f"  {rater}: {counts['preferred']} preferred{first}; {counts['tie']} tied, {counts['skipped']} skipped"
        screen.print(Text(plain_lines(said)))
    for pair in result["agreement"]:
        interval = f" ({pair['low']:.0%} to {pair['high']:.0%})" if "low" in pair else ""
        one, other = pair["raters"]
        same = f"  {one} and {other}: the same on {pair['same']:.0%}{interval} of {pair['pairs']} pairs"
        screen.print(Text(plain_lines(same)))
    if result["raters"]:
        screen.print(Text(f"\nnext: cumulant train reward_model {result['file']}", "dim"))
