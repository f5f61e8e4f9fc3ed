"""How strong a player that learned by self-play became: its networks over training, and engines of others, in one table of Elo.

    python benchmarks/game_strength.py RUN [RUN ...] [--networks 8] [--games 8] [--write]

RUN is a finished run of `cumulant train alphazero`, whose measured networks are players (`RUN@STEPS`). Every network meets the
two before it, and every second one each opponent that `OPPONENTS` names for the game. Openings, lock-step games, faults and
ratings are those of `cumulant arena`; what the network says is not averaged over symmetries, which would take several times as
long. Results are kept in FOLDER (`--out`), and no pair plays twice. `--write` writes results/game_strength.md and its drawing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from measure import RESULTS, default_core, facts, facts_lines, one_thread, pin, table, version

GNUGO = "gtp:gnugo --mode gtp --level {} --chinese-rules --capture-all-dead"
OPPONENTS = {
    "go": {
        "GNU Go, level 10": GNUGO.format(10),
        "GNU Go, level 5": GNUGO.format(5),
        "GNU Go, level 0": GNUGO.format(0),
        "100 random games a move": "mcts:100",
    },
    "othello": {
        "rust-reversi, depth 6": "rust_reversi:6",
        "rust-reversi, depth 4": "rust_reversi:4",
        "rust-reversi, depth 2": "rust_reversi:2",
        "100 random games a move": "mcts:100",
    },
}
_OTHERWISE = {"100 random games a move": "mcts:100"}


def networks(run: Path, count: int) -> list[int]:
    """Return the moves after which some networks of a run were kept, evenly spread, the last one among them."""
    kept = sorted(int(file.stem) for file in (run / "policy").glob("*.safetensors") if file.stem.isdecimal())
    if not kept:
        sys.exit(f"{run} kept no networks: train it with this version of Cumulant")
    places = {round((len(kept) - 1) * k / max(1, count - 1)) for k in range(count)}
    return [kept[place] for place in sorted(places)]


def learned(run: Path, steps: int, simulations: int) -> Any:
    """Return a network of a run as a player."""
    import cumulant
    from cumulant.engine.trained_players import board_player

    policy = cumulant.load(run, str(steps))
    policy.every_symmetry = False
    return board_player(policy, policy.game, f"{steps:,} moves", simulations)


def side_by_side(make: Callable[[], Any], count: int) -> Any:
    """Return a player of several games at a time, with a process of its engine for each: the other's leaves go as one batch."""
    import numpy as np

    from cumulant.engine.players import Player, close_all

    players, last = [make() for _ in range(count)], [()] * count

    def choose(states: np.ndarray, moves: Sequence[Sequence[int]]) -> np.ndarray:
        free, actions = set(range(count)), []
        for state, played in zip(states, map(tuple, moves)):
            mine = max(free, key=lambda k: len(last[k]) if played[: len(last[k])] == last[k] else -1)
            free.remove(mine)
            last[mine] = played
            actions.append(players[mine].choose(state[None], [played])[0])
        return np.array(actions)

    return Player(players[0].name, choose, at_once=count, close=lambda: close_all(players))


def meet(run: Path, count: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Play what has not been played yet with some networks of a run; return the results of all pairs as they were played."""
    import cumulant
    from cumulant.boards import find_player

    steps = networks(run, count)
    game = cumulant.load(run, str(steps[-1])).game
    opponents = OPPONENTS.get(game.name, _OTHERWISE)
    weights = (run / "policy" / f"{steps[-1]}.safetensors").read_bytes()
    settings = f"{hashlib.sha256(weights).hexdigest()[:8]}-{options.simulations}-{options.games}-{options.seed}"
    file = options.out / f"{run.resolve().name}-{settings}.json"  # of no other run, and played alike
    found: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    played = {(pair["one"], pair["other"]) for pair in found}
    pairs: list[tuple[str, str]] = []
    for place, one in enumerate(steps):
        pairs += [(str(one), str(other)) for other in steps[max(0, place - 2) : place]]
        if (len(steps) - 1 - place) % 2 == 0:
            pairs += [(str(one), other) for other in opponents]
    for one, other in pairs:
        if (one, other) in played:
            continue
        start, own = time.monotonic(), learned(run, int(one), options.simulations)
        if other.isdecimal():
            opponent = learned(run, int(other), options.simulations)
        else:
            spec = opponents[other]
            make = partial(find_player, spec, game, seed=options.seed)
            opponent = side_by_side(make, options.games) if spec.startswith("gtp:") else make()
        opponent.name = other
        before = cpu_seconds()
        found.append(pair_of(game, own, opponent, one, options) | {"cpu_seconds": round(cpu_seconds() - before, 1)})
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))
        print(f"{one} and {other}: {found[-1]['points']} ({time.monotonic() - start:.0f} s)", file=sys.stderr)
    return [pair for pair in found if (pair["one"], pair["other"]) in pairs]


def pair_of(game: Any, own: Any, opponent: Any, one: str, options: argparse.Namespace) -> dict[str, Any]:
    """Let two players play both sides of some openings; the processes of an engine end with it."""
    import numpy as np

    from cumulant.engine.matches import openings, play_both_sides

    length = min(4, max(1, game.max_moves // 5))  # as in an arena
    starts = openings(game, options.games // 2, length, np.random.default_rng(options.seed))
    try:
        records, points = play_both_sides(game, own, opponent, starts)
    finally:
        opponent.close()
    return {
        "one": one,
        "other": opponent.name,
        "points": points.tolist(),
        "simulations": options.simulations,
        "reasons": sorted({record.reason for record in records}),
    }


def cpu_seconds() -> float:
    """Return the CPU time of this process and of those that it has ended."""
    uses = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in uses)


def rated(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the rating of every player by name, networks in the order of training, then the others."""
    import numpy as np

    from cumulant.ratings import rate

    names = {pair[side] for pair in pairs for side in ("one", "other")}
    order = [*sorted(filter(str.isdecimal, names), key=int), *(n for n in ordered_others(pairs) if n in names)]
    pairings = [
        (order.index(pair["one"]), order.index(pair["other"]), sum(pair["points"][k : k + 2]), 2)
        for pair in pairs
        for k in range(0, len(pair["points"]), 2)
    ]
    return dict(zip(order, rate(len(order), pairings, np.random.default_rng(0))))


def ordered_others(pairs: list[dict[str, Any]]) -> list[str]:
    """Return the opponents in the order in which they were met."""
    return list(dict.fromkeys(pair["other"] for pair in pairs if not pair["other"].isdecimal()))


def command(spec: dict[str, Any]) -> str:
    """Return what trains such a run: all options that are not those of the algorithm."""
    from cumulant.algos.alphazero import Config
    from cumulant.run.config import to_dict

    def changed(given: dict[str, Any], usual: dict[str, Any]) -> list[str]:
        words = []
        for name, value in given.items():
            if isinstance(value, dict):
                words += changed(value, usual[name])
            elif value != usual[name]:
                flag = name.replace("_", "-")
                words.append(f"--{'' if value else 'no-'}{flag}" if isinstance(value, bool) else f"--{flag} {value}")
        return words

    options = [f"--env-option {key}={value}" for key, value in spec["env_options"].items()]
    return " ".join(
        [
            f"cumulant train alphazero {spec['env']}",
            *options,
            *changed(spec["config"], to_dict(Config())),
            f"--seed {spec['seed']}",
        ]
    )


def section(run: Path, pairs: list[dict[str, Any]]) -> list[str]:
    """Return what the page says of a run."""
    spec = json.loads((run / "config.json").read_text())
    seconds = json.loads((run / "timing.jsonl").read_text().splitlines()[-1])["seconds"]
    config, ratings, others = spec["config"], rated(pairs), ordered_others(pairs)
    name = " ".join([spec["env"], *(f"{key} {value}" for key, value in spec["env_options"].items())])
    last = max(int(pair["one"]) for pair in pairs)
    tower = config["network"]
    what = (
        f"{last:,} moves against itself, {seconds / 60:.0f} minutes on one core with other work beside it: "
        f"{config['search']['simulations']} simulations a move, {tower['blocks']} blocks of {tower['channels']} channels"
        f"{' with pooling' if tower['pooling'] else ''}. Here {pairs[0]['simulations']} simulations a move, "
        f"{len(pairs[0]['points'])} games a pair.\n\n```\n{command(spec)}\n```"
    )
    scores = {(pair["one"], pair["other"]): pair["points"] for pair in pairs}

    def score(one: str, other: str) -> str:
        points = scores.get((one, other))
        return "" if points is None else f"{sum(points):g} of {len(points)}"

    rows = []
    for player, rating in ratings.items():
        label = f"after {int(player):,} moves" if player.isdecimal() else player
        cells = [score(player, other) for other in others]
        rows.append([label, f"{round(rating.elo)}", f"{round(rating.low)} to {round(rating.high)}", *cells])
    faults = sorted({reason for pair in pairs for reason in pair["reasons"]} - {"played out", "resigned"})
    lines = [f"## {name}", what, table([name, "Elo", "95 %", *(f"against {other}" for other in others)], rows)]
    return lines + [f"Games lost otherwise: {'; '.join(faults)}." for _ in faults[:1]]


def draw(everything: list[tuple[Path, list[dict[str, Any]]]], path: Path) -> None:
    """Draw Elo over training, the opponents as dashed lines."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "game_strength", "font.size": 8.0}):
        figure = Figure(figsize=(4.6 * len(everything), 3.2), layout="constrained", facecolor="white")
        for place, (run, pairs) in enumerate(everything, 1):
            axes, ratings = figure.add_subplot(1, len(everything), place), rated(pairs)
            kept = [(int(name), rating) for name, rating in ratings.items() if name.isdecimal()]
            moves, elo = [number for number, _ in kept], [rating.elo for _, rating in kept]
            axes.fill_between(moves, [r.low for _, r in kept], [r.high for _, r in kept], alpha=0.2, linewidth=0)
            axes.plot(moves, elo, marker="o", markersize=3.0, linewidth=1.0)
            for name in ordered_others(pairs):
                axes.axhline(ratings[name].elo, color="0.4", linewidth=0.8, linestyle="--")
                axes.annotate(name, (0.01, ratings[name].elo), xycoords=("axes fraction", "data"), va="bottom")
            axes.set_title(json.loads((run / "config.json").read_text())["env"], fontsize=8.0)
            axes.set_xlabel("moves of self-play")
            axes.set_ylabel("Elo, mean 0")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    """Play, and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--networks", type=int, nargs="+", default=[8], help="of every run, or of each (default 8)")
    parser.add_argument("--games", type=int, default=8, help="of every pair, an even number (default 8)")
    parser.add_argument("--simulations", type=int, default=100, help="of a move (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="of openings and opponents (default 0)")
    parser.add_argument("--out", type=Path, default=Path("runs/game_strength"), help="where results are kept")
    parser.add_argument("--core", type=int, default=default_core(), help="-1: not pinned")
    parser.add_argument("--write", action="store_true", help="write the page")
    options = parser.parse_args()
    one_thread()
    pin(options.core)
    import torch

    torch.set_num_threads(1)
    counts = options.networks * len(options.runs) if len(options.networks) == 1 else options.networks
    if len(counts) != len(options.runs):
        parser.error("--networks: one number for all runs, or one for each")
    everything = [(run, meet(run, count, options)) for run, count in zip(options.runs, counts)]
    known = facts(options.core, ["torch", "numba"])
    words = ["RUN"] * len(options.runs) + ["--networks", *map(str, options.networks), "--games", str(options.games)]
    known["command"] = " ".join(["python benchmarks/game_strength.py", *words])  # whose runs says nothing to others
    opponents = {pair["other"] for _, pairs in everything for pair in pairs}
    if any(name.startswith("rust-reversi") for name in opponents):
        known["versions"]["rust-reversi"] = version("rust-reversi")
    if any(name.startswith("GNU Go") for name in opponents):
        said = subprocess.run(["gnugo", "--version"], capture_output=True, text=True).stdout
        known["versions"]["GNU Go"] = said.split()[2]
    seconds = sum(pair["cpu_seconds"] for _, pairs in everything for pair in pairs)
    page = [
        "# How strong by self-play",
        "Networks that were kept in training against each other and against engines of others, both sides of random openings of "
        "at most 4 moves: Elo with 95 % intervals as in `cumulant arena`, mean 0 over the players of a table, so that figures of "
        "two tables do not compare. Scores are those of the player in the row. One run each: another seed may end elsewhere.",
        *(part for run, pairs in everything for part in section(run, pairs)),
        "## Elo over training",
        "![Elo of the networks over training, with 95 % intervals; opponents dashed](game_strength.svg)",
        "## How it was measured",
        f"All games took {seconds / 60:.0f} CPU minutes.",
        "\n".join(f"- {line}" for line in facts_lines(known)),
    ]
    print("\n\n".join(page))
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "game_strength.md").write_text("\n\n".join(page) + "\n", encoding="utf-8")
        draw(everything, RESULTS / "game_strength.svg")


if __name__ == "__main__":
    main()
