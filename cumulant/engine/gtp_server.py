"""Let any program that speaks the Go Text Protocol (GTP, version 2) play against a player of ours.

Black begins, as player 0 does. Moves are written as the game's ``action_name`` has them: D4 in Go, d3 in Othello, a digit in
Connect Four.

Source: Gunnar Farnebäck, "Specification of the Go Text Protocol, version 2, draft 2".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from cumulant.engine.players import RESIGNED, Player, written
from cumulant.envs.games.game import Game
from cumulant.errors import CumulantError, PlayerFault

_COLOURS = {"b": 0, "black": 0, "w": 1, "white": 1}


class _Refused(Exception):
    """A command cannot be carried out; GTP says so with a question mark."""


class GtpServer:
    """One game under way, changed by commands.

    Args:
        game: The game; its board size and komi are fixed, as the player learned them.
        player: Who answers genmove.
        version: What is said when the program asks for it.
    """

    def __init__(self, game: Game, player: Player, version: str = "") -> None:
        self.game, self.player = game, player
        self.moves: list[int] = []
        self.state = game.start()
        self._commands: dict[str, Callable[[list[str]], str]] = {
            "protocol_version": lambda words: "2",
            "name": lambda words: "Cumulant",
            "version": lambda words: version,
            "known_command": lambda words: "true" if words and words[0] in self._commands else "false",
            "list_commands": lambda words: "\n".join(self._commands),
            "quit": lambda words: "",
            "boardsize": self._boardsize,
            "clear_board": self._clear,
            "komi": self._komi,
            "play": self._play,
            "genmove": lambda words: self._genmove(words, keep=True),
            "reg_genmove": lambda words: self._genmove(words, keep=False),
            "undo": self._undo,
            "showboard": lambda words: "\n" + self.game.render(self.state, self.moves[-1] if self.moves else None),
            "final_score": self._final_score,
            "time_settings": lambda words: "",  # a player of ours takes the simulations that it was given
            "time_left": lambda words: "",
        }

    def answer(self, line: str) -> str | None:
        """Carry out one line and return the answer, without the empty line after it; None for a line without a command."""
        words = line.partition("#")[0].replace("\t", " ").split()
        number = words.pop(0) if words and words[0].isdecimal() else ""
        if not words:
            return None
        command, words = words[0], words[1:]
        try:
            if command not in self._commands:
                raise _Refused("unknown command")
            said = self._commands[command](words)
            return f"={number} {said}".rstrip(" ")
        except _Refused as refused:
            return f"?{number} {refused}"
        except CumulantError as problem:
            return f"?{number} {' '.join(str(problem).split())}"

    def serve(self, lines: Iterable[str], write: Callable[[str], object]) -> None:
        """Answer line by line until "quit" or the end of the input."""
        for line in lines:
            said = self.answer(line)
            if said is not None:
                write(f"{said}\n\n")
            words = line.partition("#")[0].split()
            if words[:1] == ["quit"] or (words[:1] and words[0].isdecimal() and words[1:2] == ["quit"]):
                return

    def _colour(self, words: list[str]) -> int:
        if not words or words[0].lower() not in _COLOURS:
            raise _Refused("syntax error: the colour is b or w")
        colour = _COLOURS[words[0].lower()]
        if not np.isnan(self.game.outcome(self.state)):
            raise _Refused("the game has ended")
        if colour != self.game.player(self.state):
            raise _Refused(f"it is {'white' if colour == 0 else 'black'}'s turn")
        return colour

    def _boardsize(self, words: list[str]) -> str:
        if len(words) != 1 or not words[0].isdecimal():
            raise _Refused("boardsize not an integer")
        if int(words[0]) != max(self.game.rows, self.game.columns):
            raise _Refused("unacceptable size")
        return self._clear([])

    def _komi(self, words: list[str]) -> str:
        try:
            komi = float(words[0])
        except (IndexError, ValueError):
            raise _Refused("komi not a float") from None
        if "komi" in self.game.options and komi != float(self.game.options["komi"]):
            raise _Refused(f"this player was trained with komi {self.game.options['komi']}")
        return ""

    def _clear(self, words: list[str]) -> str:
        self.moves, self.state = [], self.game.start()
        return ""

    def _play(self, words: list[str]) -> str:
        self._colour(words)
        if len(words) != 2:
            raise _Refused("syntax error: a colour and a move")
        action = self.game.parse_action(words[1])
        if action not in self.game.legal_actions(self.state):
            raise _Refused("illegal move")
        self._keep(action)
        return ""

    def _keep(self, action: int) -> None:
        self.moves.append(action)
        self.game.play(self.state, action)

    def _genmove(self, words: list[str], keep: bool) -> str:
        self._colour(words)
        action = int(self.player.choose(self.state[None].copy(), [tuple(self.moves)])[0])
        if action == RESIGNED:
            return "resign"
        if action not in self.game.legal_actions(self.state):  # an engine of somebody else's, passed on
            raise PlayerFault(f"{self.player.name} made an illegal move: {written(self.game, action)}")
        if keep:
            self._keep(action)
        return self.game.action_name(action)

    def _undo(self, words: list[str]) -> str:
        if not self.moves:
            raise _Refused("cannot undo")
        moves = self.moves[:-1]
        self._clear([])
        for action in moves:
            self._keep(action)
        return ""

    def _final_score(self, words: list[str]) -> str:
        game, black = self.game, 1.0 if self.game.player(self.state) == 0 else -1.0
        if game.ownership is not None:
            owned = np.zeros(game.rows * game.columns, np.float32)
            game.ownership(self.state, owned)
            margin = black * float(owned.sum()) - float(game.options.get("komi", 0.0))
        else:
            result = game.outcome(self.state)
            if np.isnan(result):
                raise _Refused("cannot score")
            margin = black * float(result)
        return "0" if margin == 0 else f"{'B' if margin > 0 else 'W'}+{abs(margin):g}"
