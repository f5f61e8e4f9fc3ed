"""A policy as something a person can read: a decision tree and a dose table that imitate it.

Both are fitted to what the policy does to patients of its own (not the held-out ones), in words that a clinic uses:
the last INR and its trend, the last doses, the day, age, weight; and what else the policy sees. The tree is fitted three
times, each time also to what the policy would have done where the last tree led (as DAgger has it), since a tree that is
wrong once meets patients whom the policy never met. A policy that names doses is said in changes: of the dose that its
filter believes to be the right one for ever, or of the last dose where it has none. Both are then run as policies on the
held-out patients.

Axes: B patients, D observation size, N situations (a patient's morning), F features.

Source: Ross et al. 2011, "A reduction of imitation learning ... to no-regret online learning" for the later fits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cumulant.envs.batched import Batch, as_batch_action
from cumulant.envs.warfarin import actions, belief, model
from cumulant.envs.warfarin.course import Act, held_out
from cumulant.envs.warfarin.env import Warfarin
from cumulant.errors import MissingPackage
from cumulant.stats import mean_interval

FIT_SEED = 2**62 + 2**40  # patients that neither training nor any evaluation meets
FIT_PATIENTS = 1500  # more do not change the tree
LEAVES, SIZES, REFITS = 12, (12, 24, 48), 2
_SMALLEST = 0.002  # share of the situations below which a leaf says nothing
# Of the measured INR, which has one decimal.
BANDS = ("below 1.5", "1.5 to 1.9", "2.0 to 2.5", "2.6 to 3.0", "3.1 to 3.5", "3.6 to 4.0", "above 4.0")
_EDGES = (1.45, 1.95, 2.55, 3.05, 3.55, 4.05)
TRENDS = ("falling", "steady", "rising")
_TREND = 0.15  # INR since the test before, beyond which it is no more called steady
EARLY_DAYS = 7


class Situations(NamedTuple):
    """Mornings and what was decided.

    Args:
        obs: ``[N, D]``.
        action: As the environment takes them, ``[N]`` or ``[N, A]``.
    """

    obs: np.ndarray
    action: np.ndarray


def features(obs: np.ndarray, options: Warfarin) -> dict[str, np.ndarray]:
    """Return what a person would look at, by name, ``[N]`` each.

    Args:
        obs: ``[N, D]``.
        options: The environment that they are of.
    """
    seen = {
        "INR": obs[:, 0],
        "INR since the test before": obs[:, 0] - obs[:, 1],
        "days since the test": obs[:, 4],
        "last dose, mg": obs[:, 8],
        "mean of the last 3 doses, mg": obs[:, 8:11].mean(axis=1),
        "day": obs[:, 11],
        "age, years": obs[:, 12],
        "weight, kg": obs[:, 13],
    }
    if options.observe == "genotype":
        seen |= {"CYP2C9 *2 alleles": obs[:, 14], "CYP2C9 *3 alleles": obs[:, 15], "VKORC1 A alleles": obs[:, 16]}
    if options.belief:
        right, first = believed_dose(obs), obs.shape[1] - belief.NUM_MOMENTS
        seen |= {
            "believed dose, mg": right,
            "its uncertainty (log SD)": obs[:, first + 1],
            "believed INR": np.exp(obs[:, first + 3]),
            "last dose / believed dose": obs[:, 8] / right,
            "mean of the last 3 doses / believed dose": obs[:, 8:11].mean(axis=1) / right,
        }
    return {name: np.asarray(values, np.float64) for name, values in seen.items()}


def believed_dose(obs: np.ndarray) -> np.ndarray:
    """Return the daily dose that would hold INR 2.5 for ever if the filter's mean were true, mg, ``[N]``.

    Args:
        obs: ``[N, D]``, with the filter's moments.
    """
    need = np.exp(obs[:, -belief.NUM_MOMENTS].astype(np.float64))  # clearance x EC50
    return model.steady_state_dose(need, np.ones(len(need)))


def reckoned_from(obs: np.ndarray, options: Warfarin) -> np.ndarray:
    """Return the dose of which a named dose is said to be a change, mg, ``[N]``."""
    return believed_dose(obs) if options.belief else obs[:, 8].astype(np.float64)


def watch(teacher: Act, options: Warfarin, num_patients: int, seed: int, driver: Act | None = None) -> Situations:
    """Record what a policy does, or would do where another one leads.

    Args:
        teacher: The policy.
        options: Its environment.
        num_patients: B.
        seed: Which patients.
        driver: Whose actions are carried out; the policy's own if left out.
    """
    batch = Batch(options.kernel(), num_patients, FIT_SEED + seed, autoreset=False)
    if hasattr(teacher, "forget"):
        teacher.forget()
    obs, actions = [], []
    for _ in range(options.days):
        obs.append(batch.obs.copy())
        actions.append(_shaped(teacher(batch.obs), batch))
        batch.step(
            as_batch_action(batch.action_space, actions[-1] if driver is None else _shaped(driver(batch.obs), batch))
        )
    return Situations(np.concatenate(obs), np.concatenate(actions))


def _shaped(action: np.ndarray, batch: Batch) -> np.ndarray:
    return np.asarray(action).reshape(batch.num_envs, *(batch.action_space.shape or ()))


class Tree:
    """A decision tree over ``features``; scikit-learn fits it.

    Args:
        options: The policy's environment.
        leaves: Most leaves.
    """

    def __init__(self, options: Warfarin, leaves: int = LEAVES) -> None:
        try:
            from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
        except ImportError as problem:
            raise MissingPackage("a tree of a policy needs scikit-learn: pip install 'cumulant[clinical]'") from problem
        self.options, self.names = options, list[str]()
        self.numbers = options.actions == "dose"
        kind = DecisionTreeRegressor if self.numbers else DecisionTreeClassifier
        self.model = kind(max_leaf_nodes=leaves, min_samples_leaf=_SMALLEST, random_state=0)

    def fit(self, seen: Situations) -> Tree:
        """Fit it to situations and return it; a dose is fitted as a change (see ``reckoned_from``)."""
        table = features(seen.obs, self.options)
        self.names = list(table)
        target = seen.action
        if self.numbers:
            target = seen.action.astype(np.float64)
            target[:, 0] -= reckoned_from(seen.obs, self.options)
        self.model.fit(np.stack(list(table.values()), 1), target)
        return self

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Act: observations ``[B, D]`` -> actions as the environment takes them."""
        table = np.stack(list(features(obs, self.options).values()), 1)
        found = self.model.predict(table)
        if not self.numbers:
            return found
        found = found.reshape(len(obs), -1)
        found[:, 0] += reckoned_from(obs, self.options)
        return found.astype(np.float32)

    def described(self) -> dict[str, Any]:
        """Return the tree as plain values: ``{"if", "at_most", "then", "else"}``, and leaves ``{"action", "share"}``."""
        tree = self.model.tree_

        def part(node: int) -> dict[str, Any]:
            if tree.children_left[node] < 0:
                share = float(tree.n_node_samples[node] / tree.n_node_samples[0])
                return {"action": self._said(tree.value[node]), "share": share}
            question = {"if": self.names[tree.feature[node]], "at_most": round(float(tree.threshold[node]), 2)}
            low, high = part(tree.children_left[node]), part(tree.children_right[node])
            if "action" in low and "action" in high and low["action"] == high["action"]:
                return {"action": low["action"], "share": low["share"] + high["share"]}
            return question | {"then": low, "else": high}

        return part(0)

    def _said(self, value: np.ndarray) -> str:
        if self.numbers:
            return change_text(float(value.reshape(-1)[0]), self.options)
        return action_text(int(self.model.classes_[int(value.reshape(-1).argmax())]), self.options)


class DoseTable:
    """A table: INR band by its trend, in the first week and after it -> what the policy mostly does there.

    Args:
        options: The policy's environment.
    """

    def __init__(self, options: Warfarin) -> None:
        self.options = options
        self.numbers = options.actions == "dose"
        self.nothing = 0 if self.numbers else len(actions.MOVES[options.actions][0]) // 2  # the move that holds
        self.value = np.zeros(0)
        self.count = np.zeros(0)

    def cells(self, obs: np.ndarray) -> np.ndarray:
        """Return the cell of each situation, ``[N]``: (phase, band, trend), counted through."""
        trend = np.where(obs[:, 0] - obs[:, 1] > _TREND, 2, np.where(obs[:, 0] - obs[:, 1] < -_TREND, 0, 1))
        band = np.digitize(obs[:, 0], _EDGES)
        return ((obs[:, 11] > EARLY_DAYS) * len(BANDS) + band) * len(TRENDS) + trend

    def fit(self, seen: Situations) -> DoseTable:
        """Fit it to situations and return it: the most frequent action, or the median change of the dose."""
        cell, size = self.cells(seen.obs), 2 * len(BANDS) * len(TRENDS)
        target = seen.action.reshape(len(cell), -1)[:, 0] - (
            reckoned_from(seen.obs, self.options) if self.numbers else 0.0
        )
        self.count = np.bincount(cell, minlength=size).astype(np.float64)
        self.value = np.zeros(size)
        for k in range(size):
            own = target[cell == k]
            if self.numbers:
                self.value[k] = np.median(own) if len(own) else 0.0
            else:
                self.value[k] = np.bincount(own.astype(int)).argmax() if len(own) else self.nothing
        return self

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Act: observations ``[B, D]`` -> actions as the environment takes them."""
        value = self.value[self.cells(obs)]
        if not self.numbers:
            return value.astype(np.int64)
        return (reckoned_from(obs, self.options) + value)[:, None].astype(np.float32)

    def described(self) -> dict[str, Any]:
        """Return the table as plain values: heads, and rows of texts; a dash where there was nobody."""
        shape = (2, len(BANDS), len(TRENDS))
        value, count = self.value.reshape(shape), self.count.reshape(shape)
        say = change_text if self.numbers else (lambda k, options: action_text(int(k), options))
        rows = [
            [
                band,
                *(
                    say(v, self.options) if n else "-"
                    for half in (0, 1)
                    for v, n in zip(value[half, b], count[half, b])
                ),
            ]
            for b, band in enumerate(BANDS)
        ]
        heads = [f"days 1 to {EARLY_DAYS}, {trend}" for trend in TRENDS] + [f"later, {trend}" for trend in TRENDS]
        return {"heads": ["INR", *heads], "rows": rows}


def change_text(change_mg: float, options: Warfarin) -> str:
    """Say a change of the dose, in steps of a quarter of a milligram.

    >>> change_text(-1.04, Warfarin()), change_text(0.1, Warfarin()), change_text(2.0, Warfarin(belief=True))
    ('-1 mg', 'hold', 'believed dose +2 mg')
    """
    rounded = round(4.0 * change_mg) / 4.0
    if options.belief:
        return f"believed dose {rounded:+g} mg" if rounded else "believed dose"
    return f"{rounded:+g} mg" if rounded else "hold"


def action_text(action: int, options: Warfarin) -> str:
    """Say an action of a set of moves.

    >>> action_text(0, Warfarin()), action_text(8, Warfarin(actions="percent", schedule="ordered"))
    ('-1 mg', '+10 % and test tomorrow')
    """
    add_mg, percent = actions.MOVES[options.actions]
    move = action % len(add_mg)
    text = f"{percent[move]:+g} %" if percent[move] else f"{add_mg[move]:+g} mg" if add_mg[move] else "hold"
    return text + (" and test tomorrow" if action >= len(add_mg) else "")


def readable(act: Act, options: Warfarin, episodes: int, seed: int) -> dict[str, Any]:
    """Return a tree and a dose table that imitate a policy, and how well they do, on held-out patients.

    Args:
        act: The policy.
        options: Its environment.
        episodes: Held-out patients.
        seed: Which of both.

    Returns:
        ``tree`` and ``table``, each with ``fidelity`` (share of the policy's own mornings on which it decides the same; a dose
        within a milligram), ``loss`` (of return, patient by patient, as a policy of its own) and what is shown;
        ``sizes``: the same two figures for smaller and larger trees.
    """
    patients = min(episodes, FIT_PATIENTS)
    seen = watch(act, options, patients, seed)
    trees = {leaves: _fitted(act, options, leaves, seen, patients, seed) for leaves in SIZES}
    table = DoseTable(options).fit(seen)
    own = _course(act, options, episodes, seed)
    judged = {leaves: _judge(tree, own, options, episodes, seed) for leaves, tree in trees.items()}
    return {
        "tree": judged[LEAVES] | {"leaves": LEAVES, "rules": trees[LEAVES].described()},
        "table": _judge(table, own, options, episodes, seed) | table.described(),
        "sizes": [{"leaves": leaves} | found for leaves, found in judged.items()],
    }


def _fitted(act: Act, options: Warfarin, leaves: int, seen: Situations, num_patients: int, seed: int) -> Tree:
    """Fit a tree, and again with what the policy would have done where the last tree led."""
    tree = Tree(options, leaves).fit(seen)
    for _ in range(REFITS):
        led = watch(act, options, num_patients, seed, driver=tree)
        seen = Situations(np.concatenate([seen.obs, led.obs]), np.concatenate([seen.action, led.action]))
        tree = Tree(options, leaves).fit(seen)
    return tree


class _Held(NamedTuple):
    """What a policy did to held-out patients: observations ``[T, B, D]``, actions ``[T, B, ...]``, returns ``[B]``."""

    obs: np.ndarray
    action: np.ndarray
    returned: np.ndarray


def _course(act: Act, options: Warfarin, episodes: int, seed: int) -> _Held:
    batch = held_out(options, episodes, seed)
    if hasattr(act, "forget"):
        act.forget()
    obs, action, returned, alive = [], [], np.zeros(episodes), np.ones(episodes, bool)
    for _ in range(options.days):
        obs.append(batch.obs.copy())
        action.append(_shaped(act(batch.obs), batch))
        batch.step(as_batch_action(batch.action_space, action[-1]))
        returned += batch.reward * alive
        alive &= ~batch.terminated
    return _Held(np.stack(obs), np.stack(action), returned)


def _judge(imitator: Act, own: _Held, options: Warfarin, episodes: int, seed: int) -> dict[str, Any]:
    """Return fidelity and loss of return of an imitator; intervals are over patients."""
    said = np.stack([np.asarray(imitator(obs)).reshape(action.shape) for obs, action in zip(own.obs, own.action)])
    same = np.abs(said - own.action) <= (1.0 if options.actions == "dose" else 0.0)
    same = same.reshape(*same.shape[:2], -1).all(axis=-1)
    fidelity = mean_interval(same.mean(axis=0))
    loss = mean_interval(own.returned - _course(imitator, options, episodes, seed).returned)
    return {
        "fidelity": {"mean": fidelity.mean, "interval": [fidelity.low, fidelity.high]},
        "loss": {"mean": loss.mean, "interval": [loss.low, loss.high]},
    }
