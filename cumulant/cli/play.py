"""cumulant play RUN|PLAYER [--game G] [--gtp]: against a person at the terminal, or for a program that speaks GTP."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from cumulant import __version__, api
from cumulant.cli.arena import add_game
from cumulant.cli.parsing import Parser, add_trust
from cumulant.cli.train import parse_option
from cumulant.errors import PlayerFault, UsageError
from cumulant.report.wording import plain_lines

if TYPE_CHECKING:
    from cumulant.engine.players import Player
    from cumulant.envs.games.game import Game

_HELP = "a move, or: moves (which are legal), undo, quit"


def run(words: list[str]) -> Any:
    """Run the verb; it prints what there is to say."""
    parser = Parser("play", "Play a board game against a run, a baseline or an engine; or let a program do so.")
    parser.add_argument("player", metavar="PLAYER", help="as in `cumulant arena`: a run, mcts:1000, perfect, ...")
    add_game(parser)
    parser.add_argument("--second", action="store_true", help="let the other player begin")
    parser.add_argument("--gtp", action="store_true", help="speak the Go Text Protocol on stdin and stdout")
    parser.add_argument("--simulations", type=int, help="of a run's search (default: as in training)")
    parser.add_argument("--seconds", type=float, default=60.0, help="that a GTP engine may take to answer (default 60)")
    parser.add_argument("--seed", type=int, default=0, help="of a baseline's random choices (default 0)")
    add_trust(parser)
    known = parser.parse_args(words)
    if known.gtp and known.second:
        parser.error("--second goes with a person, not with --gtp: there the other program says who begins")
    game = api.find_game(
        known.game, [known.player], dict(parse_option(option) for option in known.game_option), trust=known.trust
    )
    player = api.find_player(
        known.player,
        game,
        seed=known.seed,
        simulations=known.simulations,
        seconds=known.seconds,
        trust=known.trust,
    )
    try:
        if known.gtp:
            from cumulant.engine.gtp_server import GtpServer

            GtpServer(game, player, __version__).serve(sys.stdin, _write)
        else:
            against_a_person(game, player, 1 if known.second else 0, _ask, print)
    finally:
        player.close()
    return None


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _ask(question: str) -> str | None:
    """Return a line of the terminal; None at its end."""
    print(question, end="", flush=True)
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        print()
    return line.strip() if line else None


def against_a_person(
    game: Game, player: Player, seat: int, ask: Callable[[str], str | None], show: Callable[[str], Any]
) -> float | None:
    """Play one game and return its result for the person: 1 won, 0 drawn, -1 lost, None where it was broken off.

    Args:
        game: The game.
        player: The opponent.
        seat: 0 where the person begins, 1 otherwise.
        ask: Asks the person a question; None for no more answers.
        show: Shows a text.
    """
    state, moves = game.start(), []
    before: list[np.ndarray] = []

    def play(action: int) -> None:
        before.append(state.copy())
        game.play(state, action)
        moves.append(action)

    show(f"{game.name} against {plain_lines(player.name)}; {_HELP}")
    show("you begin" if seat == 0 else "you come second")
    show(_drawn(game, state, moves))
    while np.isnan(game.outcome(state)):
        if game.player(state) != seat:
            action = int(player.choose(state[None].copy(), [tuple(moves)])[0])
            if action == -1:
                show(f"{plain_lines(player.name)} resigns: you have won")
                return 1.0
            if action not in game.legal_actions(state):
                from cumulant.engine.players import written

                raise PlayerFault(
                    f"{player.name} made an illegal move after {len(moves)} moves: {written(game, action)}"
                )
            show(f"\n{plain_lines(player.name)} plays {game.action_name(action)}")
            play(action)
            show(_drawn(game, state, moves))
            continue
        said = ask("\nyour move: ")
        word = (said or "").lower()
        if said is None or word in ("quit", "q", "exit"):
            show("the game is broken off")
            return None
        legal = game.legal_actions(state)
        if word in ("moves", "help", "?"):
            show(f"{_HELP}\nlegal: {' '.join(game.action_name(each) for each in legal)}")
        elif word == "undo":
            back = next((k for k in range(len(before) - 1, -1, -1) if game.player(before[k]) == seat), None)
            if back is None:
                show("there is no move of yours to take back")
                continue
            state[:] = before[back]
            del before[back:], moves[back:]
            show(_drawn(game, state, moves))
        elif word:
            try:
                action = game.parse_action(said)
            except UsageError as problem:
                show(str(problem))
                continue
            if action not in legal:
                shown = " ".join(game.action_name(each) for each in legal)
                show(f"{game.action_name(action)} is not legal here; legal: {shown}")
                continue
            play(action)
            show(_drawn(game, state, moves))
    result = float(game.outcome(state)) * (1 if game.player(state) == seat else -1)
    show({1.0: "you have won", 0.0: "drawn", -1.0: f"{plain_lines(player.name)} has won"}[result])
    return result


def _drawn(game: Game, state: np.ndarray, moves: list[int]) -> str:
    return "\n" + game.render(state, moves[-1] if moves else None)
