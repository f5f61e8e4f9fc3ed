"""Episodes under a policy: what they return, with intervals; and periodic evaluation that keeps the best policy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch

from cumulant.engine import atari
from cumulant.engine.masks import Masks
from cumulant.engine.policy import Policy
from cumulant.engine.vector import VectorEnv, make_vector
from cumulant.envs import lookup
from cumulant.envs.spaces import mask_slice, same_kind
from cumulant.envs.views import split_view
from cumulant.errors import ConfigError
from cumulant.run.run import Run
from cumulant.stats import mean_interval

Act = Callable[[np.ndarray], np.ndarray]
Forget = Callable[[np.ndarray], None]

MAX_NATIVE_ENVS = 5000  # one step of them all fits the cache of a small machine
MAX_GYM_ENVS = 8
LENGTH = 1  # the column of sums that counts an episode's steps
ENDLESS = 10_000  # steps after which an episode without a time limit is given up: a policy may be stuck for ever


def play(act: Act, envs: VectorEnv, episodes: int, forget: Forget | None = None) -> dict[str, np.ndarray]:
    """Play a fixed number of whole episodes.

    Each environment plays its share, decided beforehand: counting the first episodes that end would favour short ones. An
    episode in which the environment was at fault is not counted, and another one is played.

    Args:
        act: Observations ``[B, ...]`` -> actions as ``VectorEnv.step`` takes them.
        envs: Fresh environments, at most ``episodes`` of them.
        episodes: How many episodes.
        forget: Told where episodes have ended, ``[B]`` bool, for what remembers them.

    Returns:
        ``return``, ``length``, the mean per step of each outcome column, and where there are costs their sum, ``cost``, where
        the outcome is followed its sum, ``outcome``; ``[episodes]`` each, ordered by environment.
    """
    names = ("return", "length", *envs.outcome_names)
    outcomes = getattr(envs, "outcomes", np.zeros((envs.num_envs, 0)))

    def step(sums: np.ndarray, counted: np.ndarray, first: np.ndarray) -> None:
        envs.step(act(envs.obs))
        sums[:, 0] += envs.reward
        sums[:, LENGTH] += envs.alive
        sums[:, 2:-2] += outcomes
        sums[:, -1] += envs.cost
        if envs.outcome is not None:
            sums[:, -2] += envs.outcome

    table = sum_up(step, envs, episodes, len(names) + 2, forget)
    table[:, 2:-2] /= table[:, 1:2]
    found = {name: table[:, k] for k, name in enumerate(names)} | ({"cost": table[:, -1]} if envs.has_costs else {})
    return found if envs.outcome is None else found | {"outcome": table[:, -2]}


def sum_up(
    step: Callable[[np.ndarray, np.ndarray, np.ndarray], None],
    envs: VectorEnv,
    episodes: int,
    width: int,
    forget: Forget | None = None,
) -> np.ndarray:
    """Sum up a fixed number of whole episodes, shared out among the environments beforehand: short ones are no more likely.

    Args:
        step: Acts, steps the environments and adds what came of it to the sums of the open episodes, ``[B, width]``, its steps
            in column ``LENGTH``. It is also told whose episode counts, and for whom it is the first, ``[B]`` bool each.
        envs: B environments, at the start of their first episodes.
        episodes: How many.
        width: Columns.
        forget: Told where episodes have ended, for a policy that remembers them.

    Returns:
        Sums, ``[episodes, width]``, ordered by environment.
    """
    share = np.full(envs.num_envs, episodes // envs.num_envs) + (np.arange(envs.num_envs) < episodes % envs.num_envs)
    played = np.zeros(envs.num_envs, np.int64)
    sums = np.zeros((envs.num_envs, width))
    rows: list[tuple[int, np.ndarray]] = []
    while (played < share).any():
        step(sums, played < share, played == 0)
        over = envs.ended
        if envs.max_steps == 0 and (sums[:, LENGTH] >= ENDLESS).any():
            over = envs.ended | (sums[:, LENGTH] >= ENDLESS)
            warnings.warn(
                f"an episode did not end within {ENDLESS} steps under this policy and is counted as it stands: "
                "give the environment a time limit (gymnasium.wrappers.TimeLimit)",
                stacklevel=3,
            )
            envs.restart(over & ~envs.ended)
        for i in map(int, np.flatnonzero(over)):
            if played[i] < share[i] and not envs.faulted[i]:
                rows.append((i, sums[i].copy()))
                played[i] += 1
            sums[i] = 0.0
        if forget is not None and over.any():
            forget(over)
    return np.stack([row for _, row in sorted(rows, key=lambda pair: pair[0])])


def evaluate(
    policy: Policy, env: str, episodes: int, seed: int, options: Mapping[str, Any] | None = None, label: str = "policy"
) -> dict[str, Any]:
    """Evaluate a policy greedily on held-out episodes.

    A native environment may bring an evaluation of its own (warfarin does: protocols, subgroups, trajectories on the same
    patients); every other one gets return, length and outcome columns.

    Args:
        policy: The policy.
        env: Short name, Gymnasium id, or path of a class.
        episodes: How many episodes.
        seed: Of the evaluation; its episodes never occur in training.
        options: Options of the environment.
        label: What tables call the policy.

    Returns:
        Plain JSON values: ``episodes``, ``return_mean``, ``return_interval`` (95 %), ``outcomes``, and what else there is.

    Raises:
        ConfigError: If the policy does not fit the environment (message names both spaces).
    """
    options = dict(options or {})
    if lookup.find(env) is not None:
        kernel = lookup.build(env, options)  # refuses options
        _check_fit(policy, env, kernel.observation_space, kernel.action_space)
        made = lookup.options_class(env)(**options)
        if hasattr(made, "evaluation") and not split_view(env)[1]:
            return made.evaluation(Greedy(policy), episodes, seed, label)
    played = episodes_of(policy, env, episodes, held_out(seed), options)
    measures = {name: _summary(values) for name, values in played.items()}
    returned = measures.pop("return")
    return {
        "schema": 1,
        "environment": env,
        "options": options,
        "episodes": episodes,
        "seed": seed,
        "return_mean": returned["mean"],
        "return_interval": returned["interval"],
        "return_std": float(played["return"].std()),
        "outcomes": measures,
    }


class Greedy:
    """A policy's best action, as a function of observations ``[B, ...]``; it begins with nothing remembered.

    Args:
        policy: The policy.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.forget = policy.forget
        policy.forget()

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return actions as ``VectorEnv.step`` takes them."""
        return self.policy.act_batch(obs)


def expectation(policy: Policy) -> tuple[Act | None, float]:
    """Return what a policy expects, and the discount of it.

    Returns:
        A function of observations ``[B, ...]`` that returns the discounted return expected from there, in units of the reward,
        ``[B]``; None of a policy whose card says nothing of it, or that remembers. And the discount.
    """
    net, known = policy.net, policy.card.get("value")
    if not isinstance(known, dict) or not hasattr(net, "value") or getattr(net, "memory", None) is not None:
        return None, 1.0
    unit = float(known["unit"])

    def expected(obs: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            encoded = net.encode(torch.from_numpy(np.ascontiguousarray(obs)))
            return (net.value(net.features(encoded)).double() * unit).numpy()

    return expected, float(known["gamma"])


def default_episodes(env: str) -> int:
    """Return how many episodes a final evaluation takes: 5000 simulated patients, 20 Atari games, 100 episodes elsewhere."""
    if atari.is_game(env):  # up to half an hour each
        return 20
    brings_its_own = lookup.find(env) is not None and hasattr(lookup.options_class(env), "evaluation")
    return 5000 if brings_its_own else 100


def episodes_of(
    policy: Policy, env: str, episodes: int, seed: int, options: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Play episodes of an environment greedily; see ``play``."""
    native = lookup.find(env) is not None
    masks: Masks = "never" if mask_slice(policy.observation_space) is None else "always"
    num_envs = min(episodes, MAX_NATIVE_ENVS if native else MAX_GYM_ENVS)
    envs = make_vector(env, num_envs, seed, options, masks, training=False)
    try:
        _check_fit(policy, env, envs.observation_space, envs.action_space)
        greedy = Greedy(policy)
        return play(greedy, envs, episodes, greedy.forget)
    finally:
        envs.close()


def _check_fit(policy: Policy, env: str, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
    """Refuse an environment whose observations or actions are of another kind than the policy's."""
    pairs = {
        "observations": (policy.observation_space, observation_space),
        "actions": (policy.action_space, action_space),
    }
    for what, (own, theirs) in pairs.items():
        if not same_kind(own, theirs):
            raise ConfigError(f"this policy has {what} {own}, and environment '{env}' has {theirs}")


def held_out(seed: int) -> int:
    """Return the environment seed of an evaluation; a training seed, which is a hash, meets it once in 2**32 runs."""
    return seed % 2**31 + 2**62


def _summary(values: np.ndarray) -> dict[str, Any]:
    mean, low, high = mean_interval(values)
    return {"mean": mean, "interval": [low, high]}


def episode_metrics(envs: VectorEnv) -> dict[str, float]:
    """Return what to log of the training episodes that ended since the last call.

    Returns:
        ``episode/count``, ``episode/return`` and its standard deviation, ``episode/length``, ``episode/cost`` (the sum, where
        there are costs), the mean per step of each ``outcome/...``, and per episode what each reward term brought,
        ``reward/...``; only the count when none ended. ``env/faults``, all there were so far, once there was one.
    """
    ended = envs.episodes.drain()
    count = len(ended["return"])
    faults = {"env/faults": envs.faults} if envs.faults else {}
    if count == 0:
        return {"episode/count": 0, **faults}
    metrics = {
        **faults,
        "episode/count": count,
        "episode/return": ended["return"].mean(),
        "episode/return_std": ended["return"].std(),
        "episode/length": ended["length"].mean(),
    }
    if envs.has_costs:
        metrics["episode/cost"] = (ended["cost"] * ended["length"]).mean()
    for name in envs.outcome_names:
        metrics[f"outcome/{name}"] = ended[name].mean()
    for name in envs.term_names:
        metrics[f"reward/{name}"] = (ended[f"reward_{name}"] * ended["length"]).mean()
    return {name: float(value) for name, value in metrics.items()}


class Keeper:
    """Evaluates a policy now and then during training, logs it, and keeps the best one on disk.

    Args:
        policy: The policy in training; ``policy/best.safetensors`` of the run is its best state so far.
        run: The run.
        env: Environment.
        options: Its options.
        episodes: Episodes of each evaluation; always the same ones, so that evaluations compare.
        cost_limit: Highest mean cost of an episode: policies within it are better than those beyond it, which are the better
            the less they cost; None for no limit.
    """

    def __init__(
        self,
        policy: Policy,
        run: Run,
        env: str,
        options: Mapping[str, Any],
        episodes: int,
        cost_limit: float | None = None,
    ) -> None:
        self.policy, self.run, self.env, self.options = policy, run, env, dict(options)
        self.episodes = min(episodes, default_episodes(env))  # fewer where an episode takes minutes
        self.cost_limit = cost_limit
        policy.card = {key: run.spec[key] for key in ("algo", "env", "env_options", "config", "seed")}
        if lookup.notice(env):
            policy.card["notice"] = lookup.notice(env)
        self.best = (False, -math.inf)  # within the limit, return or minus cost

    def update(self, value: Mapping[str, float] | None = None) -> None:
        """Evaluate now, log ``eval/...``, and keep the policy if it is the best so far.

        Args:
            value: What the critic's numbers mean, kept with the best policy: ``gamma``, and the ``unit`` of the reward in them.
        """
        played = episodes_of(self.policy, self.env, self.episodes, held_out(self.run.seed_for("keeper")), self.options)
        self.run.log(**{f"eval/{name}": float(values.mean()) for name, values in played.items()})
        score = (True, float(played["return"].mean()))
        if self.cost_limit is not None and "cost" in played:
            cost = float(played["cost"].mean())
            score = score if cost <= self.cost_limit else (False, -cost)
        if score > self.best:
            self.best = score
            self.policy.card |= {"value": dict(value)} if value else {}
            self.policy.save(self.run.directory / "policy", "best")

    def finish(self) -> Policy:
        """Save the policy as it is now (``policy/last.safetensors``) and return the best one."""
        folder = self.run.directory / "policy"
        self.policy.save(folder, "last")
        return Policy.load(folder, "best", trust=True)  # it was trained here

    def state_dict(self) -> dict[str, Any]:
        """The best score so far, and what its critic's numbers mean."""
        return {"best": list(self.best), "value": self.policy.card.get("value")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        within, score = state["best"]
        self.best = (bool(within), float(score))
        self.policy.card |= {"value": state["value"]} if state.get("value") else {}
