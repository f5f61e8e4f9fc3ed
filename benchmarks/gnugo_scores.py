"""Final positions of Go as GNU Go counts them, by area (Chinese rules): a fixture for ours.

Games are played at random, never into an own eye, until both have to pass; GNU Go gets the moves and says what the score is.
Positions with stones that it calls dead are left out: what their points are worth depends on how it would play on.

    python benchmarks/gnugo_scores.py tests/envs/games/gnugo.json          needs gnugo (Debian: apt-get install gnugo)
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from cumulant.envs.games.lookup import make_game

GAMES = {5: 20, 7: 20, 9: 40, 13: 6, 19: 2}
KOMI = 7.5


def own_eyes(game, state) -> np.ndarray:
    """Return the points all of whose neighbours are stones of the player to move, ``[H * w]`` bool."""
    own = np.pad(game.planes(state)[0], 1, constant_values=1.0)
    return (own[:-2, 1:-1] * own[2:, 1:-1] * own[1:-1, :-2] * own[1:-1, 2:]).ravel() > 0


def played(size: int, rng: np.random.Generator) -> list[str]:
    """Return the moves of a random game that is played to its end."""
    game = make_game("go", size=size, komi=KOMI, max_moves=10 * size * size)
    state, moves = game.start(), []
    while np.isnan(game.outcome(state)):
        legal = [a for a in game.legal_actions(state)[:-1] if not own_eyes(game, state)[a]]
        action = int(rng.choice(legal)) if legal else size * size
        moves.append(game.action_name(action))
        game.play(state, action)
    return moves


class Engine:
    """GNU Go, by the Go text protocol."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["gnugo", "--mode", "gtp", "--chinese-rules"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, command: str) -> str:
        """Return the answer to a command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        lines = []
        while line := self.process.stdout.readline().strip():
            lines.append(line)
        answer = " ".join(lines)
        if not answer.startswith("="):
            raise SystemExit(f"gnugo refuses {command}: {answer}")
        return answer[1:].strip()


def main() -> None:
    """Write the fixture."""
    rng, engine, positions, unsettled = np.random.default_rng(6), Engine(), [], 0
    for size, count in GAMES.items():
        for _ in range(count):
            moves = played(size, rng)
            for command in (f"boardsize {size}", "clear_board", f"komi {KOMI}"):
                engine.ask(command)
            for number, move in enumerate(moves):
                engine.ask(f"play {'black' if number % 2 == 0 else 'white'} {move}")
            dead, score = engine.ask("final_status_list dead"), engine.ask("final_score")
            if dead:
                unsettled += 1
                continue
            black = float(score[2:]) * (1 if score.startswith("B") else -1) if score != "0" else 0.0
            positions.append({"size": size, "komi": KOMI, "moves": " ".join(moves), "black": black})
    version = engine.ask("version")
    engine.ask("quit")
    lines = ",\n".join("  " + json.dumps(each) for each in positions)
    Path(sys.argv[1]).write_text(
        f'{{"gnugo": "{version}", "unsettled": {unsettled}, "positions": [\n{lines}\n]}}\n', encoding="utf-8"
    )


if __name__ == "__main__":
    main()
