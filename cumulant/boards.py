"""Players of board games by name, trained ones among them; what they think of positions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cumulant.errors import DataError, UsageError

if TYPE_CHECKING:
    from cumulant.engine.players import Player
    from cumulant.envs.games.game import Game

_OF_ENVIRONMENTS = ("opponent", "seat")  # options of a game as an environment, which the game itself has not
_BATCH = 64  # positions of a file that are searched at a time


def _run(spec: str) -> tuple[Path, str, int | None] | None:
    """Split ``RUN[@best|@last|@STEPS][:SIMULATIONS]``; None for what is no directory."""
    for parts in (r"(.+)()()", r"(.+)():([1-9]\d*)", r"(.+)@(best|last|\d+)()", r"(.+)@(best|last|\d+):([1-9]\d*)"):
        found = re.fullmatch(parts, spec)
        if found is not None and Path(found[1]).is_dir():  # the longest name of a directory counts
            return Path(found[1]), found[2] or "best", int(found[3]) if found[3] else None
    return None


def _learned(run: Path, which: str, trust: bool) -> tuple[Any, Game]:
    """Return the policy of a run, and the game that it learned: by self-play, or as an environment."""
    from cumulant.envs.games.lookup import listing, make_game
    from cumulant.trained import load

    policy = load(run, which, trust=trust)
    if hasattr(policy, "search") and hasattr(policy, "game"):
        return policy, policy.game
    card = getattr(policy, "card", {})
    if card.get("env") not in listing():
        raise UsageError(f"{run} learned no board game, so it cannot play one")
    options = {key: value for key, value in card.get("env_options", {}).items() if key not in _OF_ENVIRONMENTS}
    return policy, make_game(card["env"], **options)


def find_game(
    name: str | None, players: Sequence[str], options: Mapping[str, Any] | None = None, *, trust: bool = False
) -> Game:
    """Return the game that is asked for, or else the one that the first run among the players was trained on.

    Raises:
        UsageError: If nobody says which, or it does not exist.
    """
    from cumulant.envs.games.lookup import listing, make_game

    found = next(filter(None, map(_run, players)), None)
    if found is not None:
        game = _learned(found[0], found[1], trust)[1]
        if name is None or (name == game.name and not options):
            return make_game(game.name, **dict(game.options) | dict(options or {}))
    if name is None:
        raise UsageError(f"which game? --game G, one of {', '.join(listing())}")
    return make_game(name, **options or {})


def find_player(
    spec: str,
    game: Game,
    *,
    seed: int = 0,
    simulations: int | None = None,
    seconds: float = 60.0,
    trust: bool = False,
) -> Player:
    """Return a player by what people write: a baseline, ``gtp:COMMAND``, or ``RUN[@best|@last|@STEPS][:SIMULATIONS]``.

    Args:
        spec: The player.
        game: What it shall play.
        seed: Of its random choices.
        simulations: Of a run's search, where the name gives none; by default as in training.
        seconds: How long a GTP engine may think about a move.
        trust: Whether to import a network of somebody's own although another machine wrote the run.

    Raises:
        UsageError: If there is no such player, or it does not play this game.
        PlayerFault: If a GTP engine cannot be started or refuses the board.
    """
    from cumulant.engine.players import make_player

    found = _run(spec)
    if found is None:
        return make_player(spec, game, seed=seed, seconds=seconds)
    from cumulant.engine.trained_players import acting_player, board_player, refuse_other

    run, which, given = found
    policy, own = _learned(run, which, trust)
    if hasattr(policy, "search"):
        return board_player(policy, game, spec, given or simulations)
    refuse_other(own, game, spec)
    if given:
        raise UsageError(f"{spec}: {run} plays without a search, so it takes no simulations")
    return acting_player(policy, game, spec)


def analyse(
    player: str,
    lines: Iterable[str],
    game: str | None = None,
    *,
    simulations: int | None = None,
    seed: int = 0,
    where: str = "",
    at_once: bool = False,
    game_options: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Iterator[dict[str, Any]]:
    """Say what a player thinks of positions.

    Args:
        player: A run, or a baseline that knows more than a move: mcts:N, alphabeta:N, perfect.
        lines: Positions, one a line, as moves from the start; an empty line is the start, ``#`` begins a comment.
        game: Its name; by default that of the run.
        simulations: Of a run's search; by default as in training.
        seed: Of a baseline's random choices.
        where: Name of the file, for messages.
        at_once: Whether each line is answered before the next is read; otherwise all are read, and checked, first.
        game_options: Options of the game.
        trust: As in `find_player`.

    Yields:
        ``moves`` (as read), ``move`` (the best), ``value`` (for the player to move, -1 to 1), ``visits`` and ``policy`` by move;
        ``visits`` is null where a player counts none.

    Raises:
        DataError: If a line is malformed, or the game is over there (message names the line).
        UsageError: As `find_player` does, or if the player has only moves to tell.
    """
    from cumulant.data.game_records import is_comment, parse_record

    board = find_game(game, [player], game_options, trust=trust)
    chosen = find_player(player, board, seed=seed, simulations=simulations, trust=trust)
    try:
        if chosen.analyse is None:
            raise UsageError(
                f"{player} has only moves to tell: let it play, or take a run, mcts:N, alphabeta:N or perfect"
            )

        def records() -> Iterator[Any]:
            for number, line in enumerate(lines, 1):
                if is_comment(line):
                    continue
                record = parse_record(line, board, f"{where}, line {number}" if where else f"line {number}")
                if not np.isnan(board.outcome(record.state)):
                    raise DataError(f"{record.where}: the game is over there, so there is no move to find")
                yield record

        batches = ([record] for record in records()) if at_once else _batches(list(records()))
        for batch in batches:
            found = chosen.analyse(np.stack([record.state for record in batch]), [record.actions for record in batch])
            for place, record in enumerate(batch):
                legal = board.legal_actions(record.state)
                names = [board.action_name(action) for action in legal]
                yield {
                    "moves": " ".join(board.action_name(action) for action in record.actions),
                    "move": board.action_name(int(found.action[place])),
                    "value": round(float(found.value[place]), 6),
                    "visits": None
                    if found.visits is None
                    else {name: int(found.visits[place, action]) for name, action in zip(names, legal)},
                    "policy": {name: round(float(found.policy[place, a]), 6) for name, a in zip(names, legal)},
                }
    finally:
        chosen.close()


def _batches(records: list[Any]) -> Iterator[list[Any]]:
    return (records[first : first + _BATCH] for first in range(0, len(records), _BATCH))
