"""``cumulant VERB ...``: find the verb, run it, and turn every error of the user's into one clear line."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence

from cumulant import __version__
from cumulant.errors import CumulantError, Interrupted, UsageError, did_you_mean

VERBS = {
    "train": "train an algorithm on an environment or on text, evaluate it, write a report",
    "sweep": "search an algorithm's fields for those that do best on an environment",
    "align": "align a language model: fine-tuning, reward model, PPO and DPO, judged side by side",
    "audit": "say whether a reward can be hacked: train on it and on what matters, and compare",
    "resume": "continue a run or a sweep where its last checkpoint left it",
    "evaluate": "evaluate a run on held-out episodes or texts",
    "report": "write a run's report.html again and show it here",
    "compare": "put several runs side by side",
    "simulate": "let simulated patients live under a dose or a protocol; nothing is learned",
    "rank": "say which of two responses is better: preferences for a reward model",
    "play": "play a board game against a run, a baseline or an engine; or let a program do so (GTP)",
    "arena": "let players of a board game meet, each against each: Elo with intervals",
    "analyse": "say what a player thinks of positions: one JSON object a line",
    "list": "list algorithms, environments, protocols and embedded data",
    "copy": "write an editable copy of an algorithm",
}
HELP = "\n".join(
    [
        "usage: cumulant VERB ...        (cumulant VERB --help says more)",
        "",
        "Reinforcement learning, from a Q-table to an aligned language model.",
        "",
        *(f"  {verb:<10}{what}" for verb, what in VERBS.items()),
        "",
        "  cumulant train ppo warfarin               the dosing assistant, compared with what clinics do",
        "  cumulant train ppo CartPole-v1 --seeds 5  five seeds, in parallel",
        "",
        "Clinical environments are for research and education only: simulated patients, not a medical device.",
    ]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        argv: Words after ``cumulant``; by default those of this process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if words[0] in ("-V", "--version"):
        print(f"cumulant {__version__}")
        return 0
    as_json = "--json" in words
    try:
        with warnings.catch_warnings(), contextlib.ExitStack() as stack:
            warnings.showwarning = _show_warning
            if as_json:  # nothing else may be on stdout, whatever an environment or an algorithm prints
                stack.enter_context(_stdout_to_stderr())
            if words[0] not in VERBS:
                raise UsageError(f"no verb '{words[0]}': {did_you_mean(words[0], VERBS)}")
            result = importlib.import_module(f"cumulant.cli.{words[0]}").run(words[1:])
        if as_json and result is not None:
            print(json.dumps(result), flush=True)
        return 0
    except SystemExit as leaving:  # --help, or the user's own code
        if leaving.code is None or isinstance(leaving.code, int):
            return leaving.code or 0
        return _fail(str(leaving.code), 1, as_json)
    except CumulantError as problem:
        return _fail(str(problem), problem.exit_code, as_json)
    except KeyboardInterrupt:
        return _fail("stopped", Interrupted.exit_code, as_json)
    except BrokenPipeError:  # the reader of our output is gone, as in `cumulant list | head`
        sys.stderr.close()
        return 0
    except OSError as problem:
        where = f"{problem.filename}: " if problem.filename else ""
        return _fail(f"{where}{problem.strerror or problem}", 1, as_json)


def _fail(message: str, code: int, as_json: bool) -> int:
    message = " ".join(message.split())  # one line, though an exception of the user's own code may have several
    print(f"cumulant: {message}", file=sys.stderr)
    if as_json:
        try:
            print(json.dumps({"error": message, "exit_code": code}), flush=True)
        except OSError:  # stdout itself is what failed; closed, it does not fail once more at exit
            with contextlib.suppress(OSError):
                sys.stdout.close()
    return code


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Send what is printed meanwhile to stderr, and where stdout is the process's own, what C code prints too."""
    own = sys.__stdout__ is not None and sys.stdout is sys.__stdout__ and sys.__stdout__.fileno() == 1
    if own:
        sys.stdout.flush()
    with contextlib.redirect_stdout(sys.stderr):
        if not own:
            yield
            return
        kept = os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        finally:
            with contextlib.suppress(ImportError, OSError, AttributeError):  # C keeps its own buffer until it is full
                import ctypes

                ctypes.CDLL(None).fflush(None)
            os.dup2(kept, 1)
            os.close(kept)


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    print(f"cumulant: note: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
