"""What AlphaZero reaches by self-play alone, with its presets, over seeds: benchmarks/results/alphazero.md.

    python benchmarks/alphazero_results.py [--game tictactoe connect_four] [--seeds 3] [--runs FOLDER] [--write]

Each cell is a run in FOLDER, which is trained or gone on with as far as it is not finished (`--finished` takes those that are,
and trains nothing). Tic-tac-toe: whether any line of play beats the player. Connect Four: the share of moves that keep the value
of a solved position, from random and from strong play, with 100 simulations and by the network alone.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import torch
from measure import RESULTS, table

import cumulant
from cumulant.engine.board_policy import BoardPolicy
from cumulant.engine.strength import solved_sets
from cumulant.envs.games.minimax import losing_line

SIMULATIONS = 100


def trained(game: str, seed: int, folder: Path, finished: bool) -> Path | None:
    """Train a run, or go on with it; None if it is not finished and shall not be."""
    run = folder / f"alphazero_{game}_{seed}"
    if not (run / "evaluation.json").exists():
        if finished:
            return None
        if (run / "state").is_dir():
            cumulant.resume(run)
        else:
            cumulant.train("alphazero", game, seed=seed, out=run)
    return run


def measured(run: Path) -> dict[str, str]:
    """What a run's best policy does."""
    policy = BoardPolicy.load(run / "policy", "best")
    rows = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found: dict[str, str] = {"seed": str(policy.card["seed"]), "moves": f"{json.loads(rows[-1])['steps']:,}"}
    for name, known in solved_sets(policy.game).items():
        searched = policy.search(known.states, SIMULATIONS)
        found[f"{name}, {SIMULATIONS} simulations"] = f"{known.share(searched.action):.1%}"
        found[f"{name}, network alone"] = f"{known.share(searched.prior.argmax(1)):.1%}"
    if policy.game.name == "tictactoe":
        lost = losing_line(partial(policy.act, simulations=SIMULATIONS), policy.game)
        found["loses"] = "never" if lost is None else f"after {lost}"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--game", nargs="+", default=["tictactoe", "connect_four"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--finished", action="store_true", help="take the runs that are finished; train nothing")
    parser.add_argument("--write", action="store_true", help="write alphazero.md")
    known = parser.parse_args()
    torch.set_num_threads(1)
    page = [f"# {__doc__.splitlines()[0]}", "", "Shares of moves that keep the value of a solved position.", ""]
    for game in known.game:
        runs = [trained(game, seed, known.runs, known.finished) for seed in range(known.seeds)]
        rows = [measured(run) for run in runs if run is not None]
        if rows:
            page += [f"## {game}", "", table(list(rows[0]), [list(row.values()) for row in rows]), ""]
    print("\n".join(page))
    if known.write:
        (RESULTS / "alphazero.md").write_text("\n".join(page).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
