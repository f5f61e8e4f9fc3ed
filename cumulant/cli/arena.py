"""cumulant arena PLAYER PLAYER ... --game G --games N."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cumulant import api
from cumulant.cli.parsing import Parser, add_json, add_trust
from cumulant.cli.train import parse_option
from cumulant.report.wording import plain_lines


def run(words: list[str]) -> Any:
    """Run the verb and return what ``--json`` prints."""
    parser = Parser(
        "arena",
        "Let players of a board game meet, each against each: random openings, both sides of each, Elo with 95 % intervals.",
    )
    parser.add_argument(
        "players",
        nargs="+",
        metavar="PLAYER",
        help="a run (RUN, RUN@last, RUN@STEPS, RUN:SIMULATIONS), random, mcts:ROLLOUTS, alphabeta:DEPTH, perfect, "
        "rust_reversi:DEPTH, or 'gtp:COMMAND' for an engine that speaks the Go Text Protocol",
    )
    add_game(parser)
    parser.add_argument("--games", type=int, default=100, help="of every pair, an even number (default 100)")
    parser.add_argument("--opening-moves", type=int, help="random moves that games start with (default: up to 4)")
    parser.add_argument("--simulations", type=int, help="of a run's search (default: as in training)")
    parser.add_argument("--seconds", type=float, default=60.0, help="that a GTP engine may take to answer (default 60)")
    parser.add_argument("--seed", type=int, default=0, help="of openings and players (default 0)")
    parser.add_argument("--out", type=Path, help="directory (default: the next free runs/arena-GAME-NNN)")
    parser.add_argument("--quiet", action="store_true", help="no live progress")
    add_trust(parser)
    add_json(parser)
    known = parser.parse_args(words)
    watching = Console(stderr=True, highlight=False, quiet=known.quiet)
    with watching.status("") as status:

        def told(one: str, other: str, played: int, games: int) -> None:
            status.update(Text(plain_lines(f"{one} and {other}: {played} of {games} games")))

        result = api.arena(
            known.players,
            known.game,
            games=known.games,
            opening_moves=known.opening_moves,
            simulations=known.simulations,
            seconds=known.seconds,
            seed=known.seed,
            out=known.out,
            game_options=dict(parse_option(option) for option in known.game_option),
            trust=known.trust,
            told=told,
        )
    if not known.json:
        show(result, Console(highlight=False))
    return result


def add_game(parser: Parser) -> None:
    """Add ``--game`` and ``--game-option``."""
    parser.add_argument("--game", help="which game (default: that of the first run)")
    parser.add_argument(
        "--game-option", action="append", default=[], metavar="KEY=VALUE", help="of the game, such as size=9"
    )


def show(result: dict[str, Any], screen: Console) -> None:
    """Print the table of players, the scores of every pair, what went wrong, and where the games are."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(result["game"], overflow="fold")
    for head in ("Elo", "95 %", "score", "won", "drawn", "lost"):
        table.add_column(head, justify="right")
    for row in result["players"]:
        score = f"{row['points'] / row['games']:.1%}"
        interval = f"{row['low']:.0f} to {row['high']:.0f}"
        counts = (str(row[name]) for name in ("won", "drawn", "lost"))
        table.add_row(Text(plain_lines(row["player"])), f"{row['elo']:.0f}", interval, score, *counts)
    screen.print(table)
    if len(result["pairs"]) > 1:
        for pair in result["pairs"]:
            one, other = pair["players"]
            screen.print(Text(plain_lines(f"  {one} scores {pair['score']:.1%} of {pair['games']} against {other}")))
    for fault in result["faults"]:
        times = "1 game" if fault["games"] == 1 else f"{fault['games']} games"
        screen.print(Text(plain_lines(f"  lost {times}: {fault['reason']}"), "yellow"))
    where = f"\nmean Elo 0; openings of {result['opening_moves']} random moves; every game is in {result['run']}"
    screen.print(Text(plain_lines(where), "dim"))
