"""Sample games of a trained player, drawn as boards, and its search's view of positions: two sections of a report."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from cumulant.report.markup import section, table
from cumulant.report.wording import number, plain, plain_lines

_MAX_BYTES = 1_000_000
_MOST_GAMES, _MOST_BOARDS, _MOST_MOVES, _LONGEST = 6, 8, 400, 4000


def sections(run: Path) -> str:
    """Return ``games.json`` of a run directory as HTML; "" when there is none, or none that is what it says.

    The file may come from a stranger: what is not of its type is left out, and nothing that the directory links to is followed.
    """
    found = _read(run / "games.json")
    games = [_game(each) for each in _maps(found, "games")[:_MOST_GAMES]]
    views = [_view(each) for each in _maps(found, "views")[:_MOST_GAMES]]
    parts = []
    if any(games):
        note = '<p class="note">As they were played, not picked; without exploration.</p>'
        parts.append(section("Games", note + "".join(games)))
    if any(views):
        text = "What the search makes of a position: its value for the player to move, from -1 (lost) to 1 (won)."
        note = f'<p class="note">{text}</p>'
        parts.append(section("The search's view", note + f'<div class="figures three">{"".join(views)}</div>'))
    return "".join(parts)


def _maps(found: object, key: str) -> list[Mapping[str, Any]]:
    values = found.get(key) if isinstance(found, Mapping) else None
    return [each for each in values if isinstance(each, Mapping)] if isinstance(values, list) else []


def _game(game: Mapping[str, Any]) -> str:
    points = number(game.get("points"))
    boards = "".join(
        f"<figure><figcaption>after {escape(plain(board.get('after', ''), 6))}</figcaption>{_pre(board.get('board'))}</figure>"
        for board in _maps(game, "boards")[:_MOST_BOARDS]
    )
    if points is None or not boards:
        return ""
    first, second = (escape(plain(game.get(key, ""), 80)) for key in ("first", "second"))
    result = f"{first} wins" if points > 0.5 else f"{second} wins" if points < 0.5 else "drawn"
    reason = escape(plain(game.get("reason", ""), 200))
    moves = game.get("moves")
    line = " ".join(str(move) for move in moves[:_MOST_MOVES]) if isinstance(moves, list) else ""
    return (
        f"<h3>{first} against {second}: {result}</h3>"
        f'<p class="note">{reason}; moves: {escape(plain(line, _LONGEST))}</p>'
        f'<div class="figures small">{boards}</div>'
    )


def _view(view: Mapping[str, Any]) -> str:
    value = number(view.get("value"))
    if value is None:
        return ""
    rows = []
    for move in _maps(view, "moves")[:20]:
        share, visits = number(move.get("policy")), number(move.get("visits"))
        name = escape(plain(move.get("move", ""), 12))
        shown = "" if share is None else f"{100 * share:.1f} %"
        rows.append(f"<tr><td>{name}</td><td>{shown}</td><td>{'' if visits is None else f'{visits:.0f}'}</td></tr>")
    caption = f"<figcaption>after {escape(plain(view.get('after', ''), 6))} moves: value {value:.2f}</figcaption>"
    return f"<figure>{caption}{_pre(view.get('board'))}{table(['move', 'policy', 'visits'], rows)}</figure>"


def _pre(board: object) -> str:
    return f"<pre>{escape(plain_lines(board, _LONGEST))}</pre>" if isinstance(board, str) else ""


def _read(path: Path) -> object:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            content = file.read(_MAX_BYTES + 1)
        found: object = json.loads(content) if len(content) <= _MAX_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    return found
