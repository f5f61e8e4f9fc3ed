"""The only place that knows Optuna: which values the next trial tries, and whether one is worth going on with.

The history of a sweep is Optuna's journal, a file of JSON lines (``journal.jsonl``), which its own tools read too.
A trial's values follow from the sweep's seed, its number and the history before it, and from nothing else: so one process
repeats a sweep exactly, also when it was killed in between.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cumulant.errors import MissingPackage, RunError
from cumulant.search import Choice, Range, Space, word

PRUNERS = ("median", "halving", "none")
RUNGS = 20  # parts of a training after which trials are compared
_STARTUP = 10  # trials drawn at random before the sampler has something to learn from
_DIGITS = 4  # of a drawn number: enough for a field, and a command line that people can read


@dataclass(frozen=True)
class Trial:
    """One trial, as the history has it.

    Args:
        number: From 0.
        state: running, complete, pruned or failed.
        fields: What it tries, by field.
        score: The best periodic evaluation; of a pruned trial, that until then. None if there was none.
        curve: The best periodic evaluation until each twentieth of the training.
        reason: Why it failed or was pruned.
    """

    number: int
    state: str
    fields: Mapping[str, Any]
    score: float | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    reason: str = ""


def require_optuna() -> Any:
    """Return Optuna.

    Raises:
        MissingPackage: If it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingPackage("a sweep needs Optuna, which is not installed: pip install 'cumulant[sweep]'") from None
    return optuna


class Study:
    """The history of a sweep; for one thread at a time, and one process, which holds the directory's lock.

    Args:
        file: The journal; made if there is none.
        space: What is searched.
        seed: Of the sampler.
        pruner: "median": a trial ends when its best evaluation so far is below the median of the complete ones at the same
            point, once there are five of those and two fifths of the training are over: curves of learning cross early.
            "halving": only the best third goes on after 2, 6 and 18 twentieths (asynchronous successive halving). "none".
        usual: Values of the searched fields without a sweep: the first trial takes those that lie in their ranges.

    Raises:
        MissingPackage: If Optuna is not installed.
        RunError: If the journal is damaged.
    """

    def __init__(self, file: Path, space: Space, seed: int, pruner: str, usual: Mapping[str, Any]) -> None:
        optuna = self._optuna = require_optuna()
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self.space, self.seed, self.usual = space, seed, usual
        _cut_torn_line(file)
        self._distributions = {
            name: optuna.distributions.CategoricalDistribution(one.words)
            if isinstance(one, Choice)
            else optuna.distributions.IntDistribution(int(one.low), int(one.high), log=one.log)
            if one.whole
            else optuna.distributions.FloatDistribution(one.low, one.high, log=one.log)
            for name, one in space.items()
        }
        self._pruner = {
            "median": optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2 * RUNGS // 5),
            "halving": optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3),
            "none": optuna.pruners.NopPruner(),
        }[pruner]
        try:
            with self._quiet():
                backend = JournalFileBackend(str(file), lock_obj=_Held())  # type: ignore[arg-type]
                self._study = optuna.create_study(
                    storage=JournalStorage(backend), study_name="sweep", direction="maximize", load_if_exists=True
                )
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as problem:
            raise RunError(f"{file} is damaged ({problem!r}): start the sweep anew with another --out") from problem

    def trials(self) -> list[Trial]:
        """Return every trial so far, by number."""
        return [self._trial(frozen) for frozen in self._study.get_trials(deepcopy=False)]

    def next(self) -> Trial:
        """Draw the next trial and note it as running."""
        optuna = self._optuna
        history = self._study.get_trials(deepcopy=False)
        number = len(history)
        digest = hashlib.sha256(f"{self.seed}/{number}".encode()).digest()
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=_STARTUP, constant_liar=True, seed=int.from_bytes(digest[:4], "big")
        )
        with self._quiet():  # drawn beside the journal, so that a trial enters it whole or not at all
            scratch = optuna.create_study(direction="maximize", sampler=sampler)
            scratch.add_trials(history)
            drawn = scratch.ask(self._distributions).params
        params = {name: self._noted(one, name, drawn[name], number == 0) for name, one in self.space.items()}
        self._study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING, params=params, distributions=self._distributions
            )
        )
        return self.trials()[number]

    def report(self, number: int, rung: int, best: float) -> bool:
        """Note the best evaluation so far and return whether the trial should end.

        Args:
            number: Of the trial.
            rung: Twentieths of the training that are behind it; what lies between this and the last one is filled in.
            best: Best evaluation until now.
        """
        frozen = self._frozen(number)
        last = frozen.last_step
        if last is not None and rung < last:
            return False  # read again by a resumed sweep
        if last is None or rung > last:
            storage = self._study._storage  # what Trial.report does, for a trial that another process may have begun
            for between in range(last + 1, rung) if last is not None else ():
                storage.set_trial_intermediate_value(frozen._trial_id, between, frozen.intermediate_values[last])
            storage.set_trial_intermediate_value(frozen._trial_id, rung, best)
        return rung < RUNGS and bool(self._pruner.prune(self._study, self._frozen(number)))

    def complete(self, number: int, score: float) -> None:
        """Note the score of a trial that was trained to its end."""
        self._study.tell(number, score)

    def prune(self, number: int) -> None:
        """Note that a trial was ended early."""
        self._study.tell(number, state=self._optuna.trial.TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """Note that a trial failed; the sampler takes it for a bad one, and not for one that never was."""
        self._study._storage.set_trial_user_attr(self._frozen(number)._trial_id, "failed", reason)
        self.prune(number)

    def importances(self) -> dict[str, float]:
        """Return by field how much the values of the best trials differ from those of all, adding up to 1.

        PED-ANOVA: the Pearson divergence between both densities of a field's values. The best are the best quarter, and at
        least five. Pruned trials count with the score that they had. Empty below ten trials, which say nothing yet, and
        where no field makes a difference.

        Source: Watanabe, Bansal and Hutter 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
        Subspaces".
        """
        optuna = self._optuna
        finished = [
            optuna.trial.create_trial(value=frozen.value, params=frozen.params, distributions=frozen.distributions)
            for frozen in self._study.get_trials(deepcopy=False)
            if frozen.state.is_finished() and frozen.value is not None
        ]
        if len(finished) < 10 or len({trial.value for trial in finished}) < 2:
            return {}
        with self._quiet():
            scratch = optuna.create_study(direction="maximize")
            scratch.add_trials(finished)
            evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.25, 5 / len(finished)))
            found = optuna.importance.get_param_importances(scratch, evaluator=evaluator)
        return {name: round(float(value), 4) for name, value in found.items() if math.isfinite(value)}

    def _frozen(self, number: int) -> Any:
        return self._study.get_trials(deepcopy=False)[number]

    def _trial(self, frozen: Any) -> Trial:
        states = self._optuna.trial.TrialState
        failed = frozen.user_attrs.get("failed", "")
        curve = dict(sorted(frozen.intermediate_values.items()))
        state = {states.COMPLETE: "complete", states.PRUNED: "pruned"}.get(frozen.state, "running")
        reason = ""
        if state == "pruned" and failed:
            state, reason = "failed", failed
        elif state == "pruned":
            reason = f"after {frozen.last_step} of {RUNGS} parts, by the other trials' results"
        fields = {name: self._value(self.space[name], value) for name, value in frozen.params.items()}
        score = frozen.value if frozen.state.is_finished() else max(curve.values(), default=None)
        return Trial(frozen.number, state, fields, score, curve, reason)

    @staticmethod
    def _value(one: Range | Choice, value: Any) -> Any:
        return one.values[one.words.index(value)] if isinstance(one, Choice) else value

    def _noted(self, one: Range | Choice, name: str, drawn: Any, first: bool) -> Any:
        """Return a trial's value as the journal has it: choices as words, drawn numbers with few digits."""
        usual = self.usual[name]
        if isinstance(one, Choice):
            return word(usual) if first and usual in one else drawn
        if first and usual in one:
            return usual
        if one.whole:
            return drawn
        places = _DIGITS - 1 - math.floor(math.log10(drawn if one.log else one.high - one.low))
        return min(max(round(drawn, places), one.low), one.high)

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Keep Optuna from saying that it made a study."""
        logging = self._optuna.logging
        before = logging.get_verbosity()
        logging.set_verbosity(max(before, logging.WARNING))
        try:
            yield
        finally:
            logging.set_verbosity(before)


def _cut_torn_line(file: Path) -> None:
    """Take away the last line of a journal if a kill tore it: nothing after it could be read otherwise."""
    if file.exists():
        content = file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with file.open("r+b") as journal:
                journal.truncate(len(whole))


class _Held:
    """A lock for the journal that does nothing: the sweep's directory is locked, by one that ends with its process.

    Optuna's own is a file that a kill leaves behind, for which the next process would wait half a minute.
    """

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass
