"""Engines of others as players: a process that speaks the Go Text Protocol (GTP, version 2), which is never waited for in vain.

An engine that cannot be started, ends, hangs, talks nonsense or refuses a move is a PlayerFault that says so; its process is
ended, and a new one is started for the next game, three times in a row at most.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from cumulant.engine.players import RESIGNED, Moves, Player
from cumulant.envs.games.game import Game
from cumulant.errors import CumulantError, PlayerFault, UsageError

_MOST_BYTES = 1 << 20  # of an answer
_FAULTS = 3  # in a row, after which an engine is given up
COLOURS = ("b", "w")
_ANSWER = re.compile(r"(?P<sign>[=?])(?P<number>\d*)(?:\s(?P<said>.*))?", re.DOTALL)


class Engine:
    """A GTP engine in a process of its own.

    Args:
        command: Command line, split as a shell would; no shell is involved.
        seconds: How long any answer may take.

    Raises:
        PlayerFault: If it cannot be started or speaks no GTP 2.
    """

    def __init__(self, command: str, seconds: float) -> None:
        self.seconds = seconds
        self._number = 0
        self._read = b""
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the engine)
        try:
            self._process = subprocess.Popen(
                shlex.split(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError, IndexError) as problem:
            self._words.close()
            raise PlayerFault(f"cannot be started: {getattr(problem, 'strerror', None) or problem}") from problem
        try:
            version = self.ask("protocol_version")
            if version.strip() != "2":
                raise PlayerFault(f"speaks version '{version[:20]}' of GTP, not 2")
        except BaseException:
            self.close()
            raise

    def ask(self, command: str) -> str:
        """Send a command and return the answer to it.

        Raises:
            PlayerFault: If the engine has ended, is silent for too long, refuses, or answers something else.
        """
        self._number += 1
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # that it has ended is told below, with its last words
            self._process.stdin.write(f"{self._number} {command}\n".encode())
        text = self._answer(command)
        found = _ANSWER.fullmatch(text)
        if found is None or found["number"] not in ("", str(self._number)):
            raise PlayerFault(f"answered '{command}' with '{_short(text)}', which is no answer to it")
        if found["sign"] == "?":
            raise PlayerFault(f"refused '{command}': {_short(found['said'] or '')}")
        return (found["said"] or "").strip()

    def _answer(self, command: str) -> str:
        """Read up to an empty line."""
        stdout = self._process.stdout
        assert stdout is not None
        end = time.monotonic() + self.seconds
        with selectors.DefaultSelector() as ready:
            ready.register(stdout, selectors.EVENT_READ)
            while True:
                self._read = self._read.replace(b"\r", b"").lstrip(b"\n")
                answer, gap, rest = self._read.partition(b"\n\n")
                if gap:
                    self._read = rest
                    return answer.decode("utf-8", "replace")
                left = end - time.monotonic()
                if left <= 0 or not ready.select(left):
                    raise PlayerFault(f"hung: no answer to '{command}' in {self.seconds:g} s")
                chunk = os.read(stdout.fileno(), 65536)
                if not chunk:
                    raise PlayerFault(f"crashed at '{command}'{self._last_words()}")
                self._read += chunk
                if len(self._read) > _MOST_BYTES:
                    raise PlayerFault(f"answered '{command}' with more than {_MOST_BYTES} bytes")

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.poll()
        how = "" if code is None else f", killed by signal {-code}" if code < 0 else f", exit code {code}"
        self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, self._words.tell() - 300))
        words = _short(self._words.read().decode("utf-8", "replace").strip().rpartition("\n")[2])
        return f"{how}: {words}" if words else how

    def close(self) -> None:
        """End the process, and what it has started."""
        process = self._process
        with contextlib.suppress(OSError):
            if process.poll() is None and process.stdin is not None:
                process.stdin.write(b"quit\n")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.3)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, self._words):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _short(text: str) -> str:
    text = "".join(sign if sign.isprintable() else " " for sign in " ".join(text.split()))
    return text if len(text) <= 120 else text[:117] + "..."


class _Opponent:
    """An engine that is started when it is needed, and knows which moves it has been told."""

    def __init__(self, command: str, game: Game, seconds: float) -> None:
        self.command, self.game, self.seconds = command, game, seconds
        self.engine: Engine | None = None
        self.told: tuple[int, ...] | None = None
        self.faults = 0
        self.last = ""

    def choose(self, states: np.ndarray, moves: Sequence[Moves]) -> np.ndarray:
        if self.faults >= _FAULTS:
            raise PlayerFault(f"is not asked any more: {self.faults} games in a row it {self.last}")
        try:
            action = self._choose(tuple(moves[0]))
        except CumulantError as problem:
            self.close()
            self.faults, self.last = self.faults + 1, str(problem)
            raise
        except BaseException:
            self.close()
            raise
        self.faults = 0
        return np.array([action], np.int64)

    def _choose(self, moves: tuple[int, ...]) -> int:
        game = self.game
        if self.engine is None:
            self.start()
        assert self.engine is not None
        if self.told is None or moves[: len(self.told)] != self.told:
            self.told = None
            self.engine.ask("clear_board")
            self.told = ()
        state = game.start()  # whose move it was: turns alternate in these games, but the position knows
        for number, action in enumerate(moves):
            if number >= len(self.told):
                self.engine.ask(f"play {COLOURS[game.player(state)]} {game.action_name(action)}")
            game.play(state, action)
        said = self.engine.ask(f"genmove {COLOURS[game.player(state)]}")
        if said.lower() == "resign":
            self.told = None
            return RESIGNED
        try:
            action = game.parse_action(said)
        except UsageError:
            raise PlayerFault(f"answered 'genmove' with '{_short(said)}', which is no move of {game.name}") from None
        self.told = (*moves, action)
        return action

    def start(self) -> None:
        """Start the engine and tell it what is played."""
        self.engine, self.told = Engine(self.command, self.seconds), None
        try:
            if self.game.rows == self.game.columns:
                self.engine.ask(f"boardsize {self.game.rows}")
            if "komi" in self.game.options:
                self.engine.ask(f"komi {self.game.options['komi']}")
        except PlayerFault:
            self.close()
            raise

    def close(self) -> None:
        """End the process, if there is one."""
        engine, self.engine, self.told = self.engine, None, None
        if engine is not None:
            engine.close()


def gtp_player(command: str, game: Game, seconds: float) -> Player:
    """Return an engine as a player.

    Args:
        command: Command line of the engine, such as ``gnugo --mode gtp --level 1 --chinese-rules --capture-all-dead``.
        game: What is played; its moves are written as its ``action_name`` has them.
        seconds: How long an answer may take.

    Raises:
        UsageError: If there is no command.
        PlayerFault: If it cannot be started or does not play on this board.
    """
    if not command.strip():
        raise UsageError(
            "gtp: needs a command: 'gtp:gnugo --mode gtp --level 1 --chinese-rules --capture-all-dead', for example"
        )
    if seconds <= 0:
        raise UsageError(f"seconds = {seconds:g}: an engine needs some time to answer")
    opponent, name = _Opponent(command, game, seconds), f"gtp:{command}"
    try:
        opponent.start()
    except PlayerFault as problem:
        raise PlayerFault(f"{name} {problem}") from problem
    return Player(name, opponent.choose, at_once=1, close=opponent.close)
