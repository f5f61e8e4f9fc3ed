"""Summaries of measurements with their uncertainty: means over seeds, IQM, bootstrap intervals, running moments.

numpy only, and no randomness of its own: whoever resamples passes the generator in.

Axes: N measurements, R runs (seeds), M tasks, E episodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

Statistic = Callable[..., np.ndarray]

# Resamples are drawn in blocks of about this many numbers, so that memory does not grow with how many are asked for.
_BLOCK = 1 << 22


class Interval(NamedTuple):
    """A point estimate and its interval; ``low`` and ``high`` are NaN where the data allow none.

    Args:
        mean: The estimate (of whatever statistic was asked for).
        low: Lower end, in the same unit.
        high: Upper end, in the same unit.
    """

    mean: Any
    low: Any
    high: Any


def student_t_quantile(probability: float, df: float) -> float:
    """Return a quantile of Student's t distribution, without scipy.

    Up to 1,000 degrees of freedom the upper tail ``1/2 I_x(df/2, 1/2)``, ``x = df / (df + t^2)``, is solved for t by
    Newton's method. It starts at the normal quantile, which lies left of the root; the tail is convex there, so every
    step comes nearer from the same side and none overshoots. Above, the expansion of t in powers of 1/df is closer
    than the tail can be computed. Agrees with scipy to 10 digits for probabilities within [1e-6, 1 - 1e-6].

    Args:
        probability: In (0, 1).
        df: Degrees of freedom, at least 1; may be fractional or infinite.

    Returns:
        t with ``P(T <= t) = probability``.

    Raises:
        ValueError: If an argument is out of range (message names it).

    Source: Abramowitz and Stegun 26.7.1 (tail) and 26.7.5 (expansion).

    >>> round(student_t_quantile(0.975, 4), 6)
    2.776445
    """
    if not 0.0 < probability < 1.0:
        raise ValueError(f"probability is {probability}; it must lie between 0 and 1, both excluded")
    if not df >= 1.0:
        raise ValueError(f"df is {df}; at least 1 degree of freedom is needed")
    if probability < 0.5:
        return -student_t_quantile(1.0 - probability, df)
    tail = 1.0 - probability
    z = NormalDist().inv_cdf(probability)
    if df > 1000.0:
        g1 = (z**3 + z) / 4
        g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
        g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
        g4 = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
        return z + g1 / df + g2 / df**2 + g3 / df**3 + g4 / df**4
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    t = z
    # The tail falls like t^-df, so far from the root a step multiplies t by about 1 + 1/df: slow only for tiny tails.
    for _ in range(1000):
        excess = 0.5 * _incomplete_beta(df / (df + t * t), t * t / (df + t * t), df / 2, 0.5) - tail
        step = excess / math.exp(log_scale - (df + 1) / 2 * math.log1p(t * t / df))
        t += step
        if abs(step) <= 1e-13 * max(t, 1e-3):
            break
    return t


def _incomplete_beta(x: float, y: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b), for a and b up to about 500; ``y`` is 1 - x, without rounding.

    The continued fraction is evaluated from its far end; 200 levels are enough where x is below the mean of the
    distribution, and the symmetry ``I_x(a, b) = 1 - I_y(b, a)`` brings every x there.

    Source: DLMF 8.17.22 and 8.17.4.
    """
    if x <= 0.0 or y <= 0.0:
        return float(x > 0.0)
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(y, x, b, a)
    fraction = 1.0
    for m in range(100, -1, -1):
        even = (m + 1) * (b - m - 1) * x / ((a + 2 * m + 1) * (a + 2 * m + 2))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        fraction = 1.0 + odd / (1.0 + even / fraction)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y)
    return math.exp(log_front) / (a * fraction)


def mean_interval(x: ArrayLike, level: float = 0.95, axis: int | None = None) -> Interval:
    """Return the mean and its Student-t interval: ``mean ± t_(N-1) s / sqrt(N)``.

    For independent measurements whose mean is about normal: episodes of one policy (N large), or one number per seed
    (N small, where t matters: 12.7 for two seeds against 1.96).

    Args:
        x: Measurements; any shape when ``axis`` is None.
        level: Coverage, in (0, 1).
        axis: Axis of the N measurements; None takes all of ``x``.

    Returns:
        Floats, or arrays of the remaining shape. One measurement has a mean and NaN ends.

    Raises:
        ValueError: If there is no measurement.

    >>> mean, low, high = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> print(mean, round(low, 3), round(high, 3))
    3.0 1.037 4.963
    """
    values = np.asarray(x, dtype=np.float64)
    if axis is None:
        values, axis = values.reshape(-1), 0
    count = values.shape[axis]
    if count == 0:
        raise ValueError("mean_interval needs at least one measurement; x is empty")
    mean = values.mean(axis=axis)
    if count == 1:
        half = np.full_like(mean, np.nan)
    else:
        half = student_t_quantile(0.5 + level / 2, count - 1) * values.std(axis=axis, ddof=1) / math.sqrt(count)
    return _interval(mean, mean - half, mean + half)


def ratio_interval(numerator: ArrayLike, denominator: ArrayLike, level: float = 0.95) -> Interval:
    """Estimate a ratio of sums over items, such as bits over characters of many texts, and its interval.

        ratio = sum_i a_i / sum_i b_i,    variance = n / (n - 1) sum_i (a_i - ratio b_i)^2 / (sum_i b_i)^2

    Not the mean of the items' own ratios: there a short item weighs as much as a long one.

    Args:
        numerator: a, ``[N]``.
        denominator: b, ``[N]``, not negative, of a sum above 0.
        level: Of the Student-t interval.

    Returns:
        The ratio; ends NaN for a single item.

    Source: Cochran 1977, "Sampling Techniques", eq. 6.3 and 6.13, without the finite-population correction.

    >>> ratio_interval([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    Interval(mean=0.5, low=0.5, high=0.5)
    """
    a, b = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    ratio, n = float(a.sum() / b.sum()), len(a)
    if n < 2:
        return Interval(ratio, math.nan, math.nan)
    error = math.sqrt(n / (n - 1) * float(((a - ratio * b) ** 2).sum())) / float(b.sum())
    half = student_t_quantile(0.5 + level / 2, n - 1) * error
    return Interval(ratio, ratio - half, ratio + half)


def mean_over_seeds(x: ArrayLike, level: float = 0.95) -> Interval:
    """Return the mean over seeds and its interval, from every seed's episodes.

    Episodes of one seed share a policy and are not independent, so with two seeds or more each seed counts as ONE
    measurement, its mean. With a single seed the interval is that of its episodes: it covers the evaluation's noise
    and says nothing of what another seed would have learned.

    Args:
        x: Episodes of every seed, ``[R, E]``.
        level: Coverage.

    Raises:
        ValueError: If ``x`` is not ``[R, E]`` or is empty.

    >>> [round(float(end), 2) for end in mean_over_seeds([[1.0, 3.0], [3.0, 5.0]])]
    [3.0, -9.71, 15.71]
    """
    episodes = np.asarray(x, dtype=np.float64)
    if episodes.ndim != 2 or episodes.size == 0:
        raise ValueError(f"mean_over_seeds needs episodes [R, E]; the shape is {episodes.shape}")
    return mean_interval(episodes[0] if len(episodes) == 1 else episodes.mean(axis=1), level)


def iqm(x: ArrayLike, axis: int | None = None) -> Any:
    """Return the interquartile mean: the mean after ``floor(N / 4)`` values are cut from each end.

    As robust as the median to a run that failed, and much less noisy. The usual summary of scores over runs and tasks.

    Args:
        x: Measurements.
        axis: Axis of the N measurements; None takes all of ``x``.

    Returns:
        A float, or an array of the remaining shape.

    Raises:
        ValueError: If there is no measurement.

    Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice", section 4.3.

    >>> iqm([0.0, 1.0, 2.0, 1000.0])
    1.5
    """
    values = np.asarray(x, dtype=np.float64)
    if axis is None:
        values, axis = values.reshape(-1), 0
    count = values.shape[axis]
    if count == 0:
        raise ValueError("iqm needs at least one measurement; x is empty")
    cut = count // 4
    kept = np.sort(values, axis=axis).take(range(cut, count - cut), axis=axis)
    return _plain(kept.mean(axis=axis))


def bootstrap_interval(
    x: ArrayLike,
    rng: np.random.Generator,
    statistic: Statistic = np.mean,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Return a statistic and its percentile bootstrap interval.

    For statistics that have no t interval (median, IQM, a share) and for skewed data. Too narrow below about ten
    measurements: use `mean_interval` there.

    Args:
        x: Measurements, ``[N, ...]``; whole rows are drawn, so columns measured together stay together.
        rng: Generator of the resamples.
        statistic: Called as ``statistic(resampled, axis=1)`` on ``[resamples, N, ...]``; ``np.mean``, `iqm`, ...
        level: Coverage.
        resamples: How many.

    Raises:
        ValueError: If there is no measurement.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife".

    >>> mean, low, high = bootstrap_interval(np.arange(100.0), np.random.default_rng(0))
    >>> print(mean, round(low), round(high))
    49.5 44 55
    """
    values = np.asarray(x, dtype=np.float64)
    if values.ndim == 0 or len(values) == 0:
        raise ValueError("bootstrap_interval needs at least one measurement; x is empty")
    drawn = []
    for size in _blocks(resamples, values.size):
        rows = rng.integers(len(values), size=(size, len(values)))
        drawn.append(statistic(values[rows], axis=1))
    low, high = _percentiles(np.concatenate(drawn), level)
    return _interval(statistic(values[None], axis=1)[0], low, high)


def stratified_bootstrap(
    scores: ArrayLike,
    rng: np.random.Generator,
    statistic: Statistic = iqm,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Return a summary over runs and tasks, and its stratified percentile bootstrap interval.

    Runs are drawn with replacement within each task, tasks are kept: the interval covers what other seeds would have
    given on these same tasks, not what other tasks would have given.

    Args:
        scores: One score per run and task, ``[R, M]``, comparable between tasks (normalised).
        rng: Generator of the resamples.
        statistic: Called as ``statistic(pooled, axis=-1)`` on the ``R * M`` pooled scores, ``[resamples, R * M]``.
        level: Coverage.
        resamples: How many.

    Raises:
        ValueError: If ``scores`` is not ``[R, M]`` or is empty.

    Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice", section 4.1.

    >>> stratified_bootstrap([[0.0, 10.0], [0.0, 10.0]], np.random.default_rng(0), np.mean)
    Interval(mean=5.0, low=5.0, high=5.0)
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"stratified_bootstrap needs scores [R, M]; the shape is {table.shape}")
    num_runs, num_tasks = table.shape
    drawn = []
    for size in _blocks(resamples, table.size):
        rows = rng.integers(num_runs, size=(size, num_runs, num_tasks))
        drawn.append(statistic(table[rows, np.arange(num_tasks)].reshape(size, -1), axis=-1))
    low, high = _percentiles(np.concatenate(drawn), level)
    return _interval(statistic(table.reshape(1, -1), axis=-1)[0], low, high)


def _blocks(resamples: int, width: int) -> list[int]:
    """Split ``resamples`` into blocks of at most ``_BLOCK`` numbers."""
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; at least 1 is needed")
    size = max(1, _BLOCK // max(width, 1))
    return [min(size, resamples - start) for start in range(0, resamples, size)]


def _percentiles(drawn: np.ndarray, level: float) -> np.ndarray:
    """Both ends of the percentile interval, over the first axis."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, both excluded")
    return np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)


def _plain(value: Any) -> Any:
    """A Python float when the value is a single number, so that it prints and serialises as one."""
    return float(value) if np.ndim(value) == 0 else value


def _interval(mean: Any, low: Any, high: Any) -> Interval:
    return Interval(_plain(mean), _plain(low), _plain(high))


class Running:
    """Mean and variance of a stream, without keeping it.

    Batches may be of any size, including none; two streams seen apart can be merged, and the result is that of one
    stream (to rounding). Everything is float64: observations in float32 lose their variance when the mean is large.

    Args:
        shape: Of one measurement; ``()`` for numbers.

    Source: Welford 1962 for one pass; Chan, Golub, LeVeque 1979, equation 2.1, for batches and merging.

    >>> seen = Running()
    >>> seen.update([1.0, 2.0])
    >>> seen.update([3.0])
    >>> float(seen.mean), round(float(seen.var), 4), seen.count
    (2.0, 0.6667, 3)
    """

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.count = 0
        self.mean = np.zeros(shape)
        self._squares = np.zeros(shape)  # sum of squared deviations from the mean

    @property
    def var(self) -> np.ndarray:
        """Population variance (divided by the count); zero before the first measurement."""
        return self._squares / max(self.count, 1)

    @property
    def std(self) -> np.ndarray:
        """Square root of `var`."""
        return np.sqrt(self.var)

    def update(self, batch: ArrayLike) -> None:
        """Add a batch of measurements, ``[N, *shape]``.

        Raises:
            ValueError: If the batch has another shape (message names both).
        """
        values = np.asarray(batch, dtype=np.float64)
        if values.ndim == 0 or values.shape[1:] != self.mean.shape:
            raise ValueError(f"a batch must be [N, *{self.mean.shape}]; this one has shape {values.shape}")
        if len(values):
            mean = values.mean(axis=0)
            self._add(len(values), mean, np.square(values - mean).sum(axis=0))

    def merge(self, other: Running) -> None:
        """Add everything that another summary has seen."""
        if other.mean.shape != self.mean.shape:
            raise ValueError(f"cannot merge shape {other.mean.shape} into {self.mean.shape}")
        if other.count:
            self._add(other.count, other.mean, other._squares)

    def _add(self, count: int, mean: np.ndarray, squares: np.ndarray) -> None:
        total = self.count + count
        delta = mean - self.mean
        self.mean = self.mean + delta * (count / total)
        self._squares = self._squares + squares + np.square(delta) * (self.count * count / total)
        self.count = total

    def state_dict(self) -> dict[str, Any]:
        """Return copies of count, mean and sum of squared deviations."""
        return {"count": self.count, "mean": self.mean.copy(), "squares": self._squares.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.count = int(state["count"])
        self.mean = np.array(state["mean"], dtype=np.float64)
        self._squares = np.array(state["squares"], dtype=np.float64)
