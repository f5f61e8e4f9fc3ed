"""Read board games that were written down, one a line, as moves from the start.

    4453 2261 1              Connect Four: digits may stand together, and blanks do not matter
    d3 c5 f6 f5 e6 e3 1-0    other games: moves with blanks between; who began has won
    # a comment

A complete game may end with its result for who began, ``1-0``, ``0-1`` or ``1/2-1/2``, which it needs where it was given up.
A line of ``games.jsonl``, where an arena leaves its games, is a game as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cumulant.envs.games.game import Game
from cumulant.errors import DataError, UsageError

PLAYED_OUT, GAVE_UP = "played out", "resigned"
RESULTS = {"1-0": 1.0, "0-1": -1.0, "1/2-1/2": 0.0}


@dataclass(frozen=True)
class Record:
    """A game, or the beginning of one.

    Args:
        actions: What was played.
        state: The position after that, ``[W]`` int64.
        result: For who began: 1 won, 0 drawn, -1 lost; NaN where it is not known.
        where: File and line.
        opening: How many of the actions nobody chose.
    """

    actions: tuple[int, ...]
    state: np.ndarray
    result: float
    where: str
    opening: int = 0


def parse_record(line: str, game: Game, where: str) -> Record:
    """Return the game that a line says.

    Raises:
        DataError: If a move cannot be read, is not legal, comes after the end, or the result is not that of the moves (message
            names the line and the number of the move).

    >>> from cumulant.envs.games.lookup import make_game
    >>> parse_record("4 4 5", make_game("connect_four"), "line 1").actions
    (3, 3, 4)
    """
    words = line.split()
    said = words.pop() if words and words[-1] in RESULTS else None
    return _replayed(_moves(words, game), said, game, where)


def _replayed(moves: Iterable[str], said: str | None, game: Game, where: str, opening: int = 0) -> Record:
    state = game.start()
    actions = []
    for number, text in enumerate(moves, 1):
        if not np.isnan(game.outcome(state)):
            raise DataError(f"{where}: move {number}, '{text}', comes after the end of the game")
        try:
            action = game.parse_action(text)
        except UsageError as problem:
            raise DataError(f"{where}: move {number}: {problem}") from None
        legal = game.legal_actions(state)
        if action not in legal:
            names = [game.action_name(each) for each in legal[:12]] + ["..."] * (len(legal) > 12)
            raise DataError(f"{where}: move {number}, '{text}', is not legal; legal there: {' '.join(names)}")
        game.play(state, action)
        actions.append(action)
    outcome = float(game.outcome(state))
    played = outcome if game.player(state) == 0 else -outcome
    if said is not None and not np.isnan(played) and played != RESULTS[said]:
        true = next(text for text, result in RESULTS.items() if result == played)
        raise DataError(f"{where}: the result is said to be {said}, and the moves make it {true}")
    return Record(tuple(actions), state, RESULTS[said] if said is not None else played, where, opening)


def _of_arena(line: str, game: Game, where: str) -> Record | None:
    """Return the game of a line of ``games.jsonl``; None for one that was lost by a fault, which says nothing of its moves.

    Raises:
        DataError: As ``parse_record``, or if the line is not of that kind, or of another game.
    """
    try:
        found = json.loads(line)
        name, options = found["game"], found["game_options"]
        moves, points, opening = list(map(str, found["moves"])), float(found["points"]), int(found["opening"])
        fair = found["reason"] in (PLAYED_OUT, GAVE_UP)
        said = next(text for text, result in RESULTS.items() if result == 2.0 * points - 1.0)
        if opening < 0:
            raise ValueError(f"opening = {opening} moves")
    except (ValueError, KeyError, TypeError, StopIteration, RecursionError, OverflowError) as problem:
        raise DataError(f"{where}: it is no game of an arena: {type(problem).__name__}: {problem}") from None
    if name != game.name or options != dict(game.options):
        raise DataError(
            f"{where}: it is of {name} with options {options}, not of {game.name} with {dict(game.options)}"
        )
    return _replayed(moves, said, game, where, opening) if fair else None


def _moves(words: list[str], game: Game) -> Iterable[str]:
    """Return the moves of a line; where all names of moves are single characters, they may stand together."""
    short = all(len(game.action_name(action)) == 1 for action in range(game.num_actions))
    return [sign for word in words for sign in word] if short else words


def is_comment(line: str) -> bool:
    """Return whether a line holds a comment instead of a game."""
    return re.match(r"\s*#", line) is not None


def read_records(path: Path | str, game: Game) -> list[Record]:
    """Return all games of a file; empty lines and comments are passed over.

    Raises:
        DataError: If the file cannot be read, holds no game, or one that is malformed, without moves or without a result (message
            names file and line).
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise DataError(f"{path} is no text: byte {problem.start} is not UTF-8") from problem
    records = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not is_comment(line):
            read = _of_arena if line.lstrip().startswith("{") else parse_record
            record = read(line, game, f"{path}, line {number}")
            records += [] if record is None else [record]
    if not records:
        raise DataError(f"{path} holds no game")
    for record in records:
        if not record.actions:
            raise DataError(f"{record.where}: a result without moves")
        if np.isnan(record.result):
            raise DataError(
                f"{record.where}: the game is not over after {len(record.actions)} moves; end the line with its result, "
                f"{', '.join(RESULTS)}"
            )
    return records
