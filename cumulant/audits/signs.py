"""What betrays a hacked reward, found in episodes step by step: numpy only.

Axes: T steps, R episodes, K terms, Q quantities, N steps of all episodes together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

Trace = Mapping[str, np.ndarray]

_MOST_SAMPLES, _MOST_THRESHOLDS = 20_000, 8
_EXPLAINED = 0.9  # of a term's variance, by one or two jumps
_NEAR = 0.05  # of a quantity's range


def jumps(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """Find where y jumps as x grows: at most two jumps, if steps explain nine tenths of its variance.

    The best split by squared error, and then the better of the best splits of both sides.

    Args:
        x: A quantity, ``[N]``.
        y: A term of the reward, ``[N]``.

    Returns:
        Place and height of each jump, in order; empty if y is no step function of x.

    >>> x = np.linspace(0.0, 10.0, 101)
    >>> jumps(x, np.where(x > 8, -2.0, 0.0))
    [(8.05, -2.0)]
    """
    order = np.argsort(x, kind="stable")
    x, y = x[order].astype(np.float64), y[order].astype(np.float64)
    total = ((y - y.mean()) ** 2).sum()
    if total <= 1e-12 or len(y) < 20:
        return []
    cuts: list[int] = []
    left = total
    for _ in range(2):
        edges = [0, *cuts, len(y)]
        best = max((_split(x[a:b], y[a:b], a) for a, b in pairwise(edges)), default=(0.0, -1))
        if best[1] < 0 or best[0] < 0.02 * total:
            break
        cuts, left = sorted([*cuts, best[1]]), left - best[0]
    if left > (1.0 - _EXPLAINED) * total:
        return []
    edges = [0, *cuts, len(y)]
    levels = [y[a:b].mean() for a, b in pairwise(edges)]
    return [
        (round(float(0.5 * (x[cut - 1] + x[cut])), 6), round(float(after - before), 6))
        for cut, before, after in zip(cuts, levels, levels[1:])
    ]


def _split(x: np.ndarray, y: np.ndarray, offset: int) -> tuple[float, int]:
    """Return how much squared error the best split of sorted samples takes away, and where it is; -1 for nowhere."""
    if len(y) < 2:
        return 0.0, -1
    count = np.arange(1, len(y))
    below = np.cumsum(y)[:-1]
    gain = below**2 / count + (y.sum() - below) ** 2 / (len(y) - count) - y.sum() ** 2 / len(y)
    gain[x[1:] == x[:-1]] = -1.0  # equal values are not parted
    k = int(gain.argmax())
    return (float(gain[k]), offset + k + 1) if gain[k] > 0.0 else (0.0, -1)


def samples(trace: Trace, name: str) -> np.ndarray:
    """Return a part of a trace over all live steps, ``[N, ...]``."""
    return trace[name][trace["live"]]


def thresholds(traces: Mapping[str, Trace], terms: Sequence[str], quantities: Sequence[str]) -> list[dict[str, Any]]:
    """Find at which values of which quantities the terms of a reward jump, and how often each policy stays just beside.

    Args:
        traces: By policy, "reward" and "random" among them.
        terms: Their names, in the order of the traces.
        quantities: Likewise.

    Returns:
        For each threshold: term, quantity, where, how high, how wide "near" is, and by policy the shares of steps that are near
        on the side that pays more, and on the other; those with the greatest difference between the policies first.
    """
    known = {who: trace for who, trace in traces.items() if trace and len(trace["reward"])}
    if not known or not quantities:
        return []
    parts = list(known.values())
    share = max(1, sum(int(each["live"].sum()) for each in parts) // _MOST_SAMPLES)
    x = np.concatenate([samples(each, "quantities")[::share] for each in parts])
    y = np.concatenate([samples(each, "terms")[::share] for each in parts])
    found = []
    for k, term in enumerate(terms):
        for q, quantity in enumerate(quantities):
            if len(np.unique(x[:, q])) < 5:  # a flag, most likely the term itself
                continue
            low, high = np.percentile(x[:, q], (1, 99))
            for place, height in jumps(x[:, q], y[:, k]):
                width = _width(x[:, q], _NEAR * (high - low))
                row: dict[str, Any] = {"term": term, "quantity": quantity, "at": place, "jump": height, "near": width}
                row["policies"] = {
                    who: _beside(samples(each, "quantities")[:, q], place, height, width) for who, each in known.items()
                }
                found.append(row)
    found.sort(key=lambda row: -_difference(row["policies"]))
    return found[:_MOST_THRESHOLDS]


def _width(x: np.ndarray, wanted: float) -> float:
    """Return how near counts as near: of a quantity with few values at least the distance of two of them."""
    values = np.unique(x)
    return round(float(max(wanted, np.diff(values).min() if len(values) <= 50 else 0.0)), 6)


def _beside(x: np.ndarray, place: float, height: float, width: float) -> dict[str, float]:
    above, below = (x >= place) & (x < place + width), (x < place) & (x >= place - width)
    pays, fined = (above, below) if height > 0 else (below, above)
    return {"pays": float(pays.mean()), "fined": float(fined.mean())}


def _difference(policies: Mapping[str, Mapping[str, float]]) -> float:
    own = policies.get("reward", {"pays": 0.0})["pays"]
    return own - policies.get("outcome", policies.get("random", {"pays": 0.0}))["pays"]


def last_steps(trace: Trace, horizon: int) -> dict[str, Any] | None:
    """Compare the last tenth of full-length episodes with what came before.

    Args:
        trace: Of a policy.
        horizon: Steps of a full-length episode.

    Returns:
        How many steps are the last, and of reward, outcome and actions the mean per step before and in them; None if no episode
        that was kept lasted so long, or if the horizon is shorter than 5.
    """
    if not trace or horizon < 5 or len(trace["reward"]) < horizon:
        return None
    full = trace["live"][horizon - 1]
    if not full.any():
        return None
    last = max(1, round(0.1 * horizon))
    found: dict[str, Any] = {"steps": last, "episodes": int(full.sum())}
    for name in ("reward", "outcome"):
        values = trace[name][:horizon, full]
        found[name] = {"before": float(values[:-last].mean()), "last": float(values[-last:].mean())}
    action = trace["action"][:horizon, full][..., 0]
    found["action"] = {"before": float(action[:-last].mean()), "last": float(action[-last:].mean())}
    return found


def parting(
    steps: Sequence[float], returned: Sequence[float], outcome: Sequence[float], gap: float
) -> dict[str, Any] | None:
    """Find where return and outcome part: the evaluation after which the return goes on rising while the outcome falls.

    The best outcome of the training is that point, if by the end the outcome has fallen by more than a tenth of the gap and the
    return is higher than it was there.

    Args:
        steps: Environment steps at each evaluation.
        returned: Return under the reward.
        outcome: What matters.
        gap: Between reference and random actions.

    >>> parting([1, 2, 3, 4], [0.0, 2.0, 5.0, 9.0], [0.0, 4.0, 2.0, 1.0], gap=5.0)
    {'steps': 2, 'return': 2.0, 'outcome': 4.0, 'return_end': 9.0, 'outcome_end': 1.0}
    """
    if len(outcome) < 3 or gap <= 0.0:
        return None
    k = int(np.argmax(outcome))
    if k == len(outcome) - 1 or outcome[k] - outcome[-1] <= 0.1 * gap or returned[-1] <= returned[k]:
        return None
    return {
        "steps": steps[k],
        "return": returned[k],
        "outcome": outcome[k],
        "return_end": returned[-1],
        "outcome_end": outcome[-1],
    }


def trick(own: Trace, reference: Trace, quantities: Sequence[str]) -> dict[str, Any] | None:
    """Choose the episode that shows the trick best, with the reference's from the same start.

    The one in which the reward's policy has most reward and least outcome compared with the reference, in standard deviations.

    Args:
        own: Trace of the reward's policy.
        reference: Trace of the reference's policy, of the same episodes.
        quantities: Names of the quantities.

    Returns:
        Both courses: running sums of reward and outcome, actions, and the quantities that differ most; None without traces.
    """
    if not own or not reference:
        return None
    count = min(own["live"].shape[1], reference["live"].shape[1])

    def totals(trace: Trace, name: str) -> np.ndarray:
        return (trace[name] * trace["live"]).sum(axis=0)[:count]

    more = totals(own, "reward") - totals(reference, "reward")
    less = totals(reference, "outcome") - totals(own, "outcome")
    chosen = int((_scaled(more) + _scaled(less)).argmax())
    x, y = (samples(each, "quantities") for each in (own, reference))
    apart = [] if not x.size else np.abs(x.mean(axis=0) - y.mean(axis=0)) / (np.concatenate([x, y]).std(axis=0) + 1e-9)
    shown = sorted(np.argsort(apart)[::-1][:4].tolist()) if len(apart) else []
    return {
        "episode": chosen,
        "quantities": [quantities[q] for q in shown],
        "own": _course(own, chosen, shown),
        "reference": _course(reference, chosen, shown),
    }


def _scaled(values: np.ndarray) -> np.ndarray:
    return values / (values.std() + 1e-9) if values.std() > 1e-9 else np.zeros_like(values)


def _course(trace: Trace, i: int, shown: Sequence[int]) -> dict[str, Any]:
    live = trace["live"][:, i]

    def column(values: np.ndarray) -> list[float]:
        return [round(float(value), 5) for value in values[live][:500]]

    return {
        "reward": column(np.cumsum(trace["reward"][:, i])),
        "outcome": column(np.cumsum(trace["outcome"][:, i])),
        "action": column(trace["action"][:, i, 0]),
        "quantities": [column(trace["quantities"][:, i, q]) for q in shown],
    }
