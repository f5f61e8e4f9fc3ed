"""Tournaments: every player against every other, both sides of every opening, Elo with intervals, every game in a file.

Axes: P players.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from cumulant.boards import find_game, find_player
from cumulant.errors import ConfigError, UsageError
from cumulant.ratings import rate

RESULT, GAMES = "arena.json", "games.jsonl"
Told = Callable[[str, str, int, int], None]


def arena(
    players: Sequence[str],
    game: str | None = None,
    *,
    games: int = 100,
    opening_moves: int | None = None,
    simulations: int | None = None,
    seconds: float = 60.0,
    seed: int = 0,
    out: Path | str | None = None,
    game_options: Mapping[str, Any] | None = None,
    trust: bool = False,
    told: Told = lambda one, other, played, all_games: None,
) -> dict[str, Any]:
    """Let players meet, each against each, and rate them.

    Half the games of a pair start from random openings, the other half from the same ones with colours swapped.

    Args:
        players: At least two, as `boards.find_player` takes them.
        game: Its name; by default that of the first run among the players.
        games: Of every pair, an even number.
        opening_moves: Random moves of an opening; by default one for every five that a game can have, at most 4.
        simulations: Of the search of runs that name none.
        seconds: How long a GTP engine may think about a move.
        seed: Of openings and players.
        out: Directory; by default the next free ``runs/arena-GAME-NNN``.
        game_options: Options of the game, such as ``{"size": 9}``.
        trust: Whether to import a network of somebody's own although another machine wrote the run.
        told: Called as ``told(one, other, games played, games of this pair)`` on the way.

    Returns:
        What ``arena.json`` holds: ``players`` (``elo``, ``low``, ``high``, ``points``, ``games``, ``won``, ``drawn``, ``lost``,
        ``faults``), strongest first; ``pairs``; ``faults``, what they were and how often; ``run``, the directory. Beside it
        ``games.jsonl`` has every game.

    Raises:
        UsageError: If a player or the game does not exist, or they do not fit each other.
        ConfigError: If a number is refused.
    """
    from cumulant.engine.matches import openings, play_both_sides
    from cumulant.engine.players import close_all
    from cumulant.run.checkpoint import write_atomic
    from cumulant.run.place import next_free, refuse_occupied

    if len(players) < 2:
        raise UsageError("a tournament needs at least two players")
    if games < 2 or games % 2:
        raise ConfigError(f"games = {games}: an even number of at least 2, for every opening is played from both sides")
    board = find_game(game, players, game_options, trust=trust)
    length = min(4, max(1, board.max_moves // 5)) if opening_moves is None else opening_moves
    made: list[Any] = []
    if out is not None:
        refuse_occupied(Path(out))
    place = next_free(f"arena-{board.name}") if out is None else nullcontext(Path(out))
    with place as directory:
        try:
            for index, spec in enumerate(players):
                made.append(
                    find_player(spec, board, seed=seed + index, simulations=simulations, seconds=seconds, trust=trust)
                )
            names = _told_apart([player.name for player in made])
            for player, name in zip(made, names):
                player.name = name
            pairings: list[tuple[int, int, float, int]] = []
            records = []
            for number, (one, other) in enumerate(itertools.combinations(range(len(made)), 2)):
                rng = np.random.default_rng([seed, number])
                starts = openings(board, games // 2, length, rng)
                told(names[one], names[other], 0, games)
                step = max(1, min(made[one].at_once, made[other].at_once) // 2)
                for first in range(0, len(starts), step):
                    some = starts[first : first + step]
                    played, points = play_both_sides(board, made[one], made[other], some)
                    records += played
                    directory.mkdir(
                        parents=True, exist_ok=True
                    )  # what was played stays if the tournament is broken off
                    lines = [json.dumps(record.as_json(board)) for record in records]
                    write_atomic(directory / GAMES, ("\n".join(lines) + "\n").encode())
                    pairings += [(one, other, float(scored), 2) for scored in points.reshape(-1, 2).sum(1)]
                    told(names[one], names[other], 2 * (first + len(some)), games)
        finally:
            close_all(made)
        ratings = rate(len(made), pairings, np.random.default_rng(seed))
        result = {
            "game": board.name,
            "game_options": dict(board.options),
            "opening_moves": length,
            "seed": seed,
            **_tables(names, ratings, records),
        }
        result["run"] = str(directory)
        write_atomic(directory / RESULT, (json.dumps(result, indent=2) + "\n").encode())
    return result


def _told_apart(names: Sequence[str]) -> list[str]:
    """Return names that differ, though a player may take part twice."""
    return [
        name if names.count(name) == 1 else f"{name} ({names[: k + 1].count(name)})" for k, name in enumerate(names)
    ]


def _tables(names: Sequence[str], ratings: Sequence[Any], records: Sequence[Any]) -> dict[str, Any]:
    """Return players, strongest first, pairs and faults."""
    rows: dict[str, dict[str, Any]] = {
        name: {"player": name, "elo": r.elo, "low": r.low, "high": r.high} | dict.fromkeys(_COUNTS, 0)
        for name, r in zip(names, ratings)
    }
    pairs: dict[tuple[str, str], list[float]] = {pair: [] for pair in itertools.combinations(names, 2)}
    faults: dict[tuple[str, str], int] = {}
    for record in records:
        for name, points in zip(record.players, (record.points, 1.0 - record.points)):
            row = rows[name]
            row["games"] += 1
            row["points"] += points
            row[{1.0: "won", 0.5: "drawn", 0.0: "lost"}[points]] += 1
            if points == 0.0 and record.reason not in ("played out", "resigned"):
                row["faults"] += 1
                faults[name, record.reason] = faults.get((name, record.reason), 0) + 1
        one, other = record.players
        if (one, other) in pairs:
            pairs[one, other].append(record.points)
        else:
            pairs[other, one].append(1.0 - record.points)
    shown = [
        {"players": [*pair], "games": len(points), "score": sum(points) / len(points)} for pair, points in pairs.items()
    ]
    return {
        "players": sorted(rows.values(), key=lambda row: -row["elo"]),
        "pairs": shown,
        "faults": [{"player": p, "reason": r, "games": n} for (p, r), n in sorted(faults.items())],
    }


_COUNTS = ("points", "games", "won", "drawn", "lost", "faults")
