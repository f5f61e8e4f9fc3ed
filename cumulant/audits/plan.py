"""What an audit is: an environment, an algorithm, its settings, seeds and thresholds; made, written down and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium

from cumulant.audits.verdict import Rule
from cumulant.envs import lookup
from cumulant.envs.constant import constant_actions
from cumulant.envs.views import REWARD, split_view
from cumulant.errors import ConfigError, NoOutcome, RunError, UsageError
from cumulant.spec import check_spec, make_spec, whole

AUDIT_FILE = "audit.json"
NATIVE_EPISODES, GYM_EPISODES = 1000, 100
_FEW_STATES = 10_000  # a table's worth


@dataclass(frozen=True)
class Plan:
    """Everything that an audit follows from.

    Args:
        spec: Of a training on the reward, as ``make_spec`` made it; its ``env`` has the view "reward".
        env: The environment.
        seeds: How many.
        episodes: That every policy is played for.
        rule: Thresholds of the verdict.
        remove: Whether to train without each term of the reward, too.
        processes: Trainings at a time; 0 for all of them in this process, one after the other.
        constant: Constant actions to try: ``label, actions, options``; None for none.
        discrete: Whether actions are choices.
        exhibit: Name of the environment's own exhibit that this is; "" for none.
        host: Which machine made it.
    """

    spec: Mapping[str, Any]
    env: str
    seeds: int
    episodes: int
    rule: Rule
    remove: bool
    processes: int
    constant: Mapping[str, Any] | None
    discrete: bool
    exhibit: str
    host: str


def choose_algorithm(env: str, options: Mapping[str, Any]) -> str:
    """Return what an environment is audited with: Q-learning where a table holds it, PPO elsewhere.

    Raises:
        UsageError: If there is no such environment.
    """
    observed, actions = spaces_of(env, options)
    few = isinstance(observed, gymnasium.spaces.Discrete) and observed.n <= _FEW_STATES
    return "q_learning" if few and isinstance(actions, gymnasium.spaces.Discrete) else "ppo"


def spaces_of(env: str, options: Mapping[str, Any]) -> tuple[gymnasium.Space, gymnasium.Space]:
    """Return the observation and the action space of an environment, which is made for that."""
    from cumulant.engine.vector import make_vector

    envs = make_vector(env, 1, 0, options)
    try:
        return envs.observation_space, envs.action_space
    finally:
        envs.close()


def make_plan(
    env: str,
    algo: str,
    terms: Mapping[str, Any],
    fields: Mapping[str, Any],
    *,
    config: Any = None,
    seeds: int = 5,
    episodes: int | None = None,
    rule: Rule | None = None,
    remove: bool = True,
    processes: int | None = None,
    exhibit: str = "",
) -> Plan:
    """Return what an audit follows from; see ``auditing.audit``.

    Args:
        env: Environment.
        algo: Algorithm; "auto" chooses.
        terms: What ``make_spec`` takes besides fields.
        fields: Fields of the Config; by default those of the algorithm's preset for this environment.
        config: A finished Config instead.
        seeds: See ``Plan``; likewise the others.
        episodes: None for 1000 of a native environment (or as many as it asks for), 100 of any other.
        rule: None for the usual thresholds.
        remove: See ``Plan``.
        processes: None for one a core.
        exhibit: See ``Plan``.

    Raises:
        NoOutcome: If a native environment does not say what really matters.
        ConfigError: If a number, a field or an option is refused.
        UsageError: If the algorithm learns from text.
    """
    import dataclasses

    from cumulant import catalogue
    from cumulant.processes import cores
    from cumulant.run.manifest import host

    options = dict(terms.get("env_options") or {})
    if split_view(env)[1]:
        raise UsageError(f"'{env}' is a view of an environment: audit '{split_view(env)[0]}' itself")
    native = lookup.find(env) is not None
    if native and not lookup.build(env, options).outcome:
        raise NoOutcome(f"environment '{env}' does not say what really matters: its kernel names no outcome column")
    algo = choose_algorithm(env, options) if algo == "auto" else algo
    module = catalogue.load_algorithm(algo)
    if catalogue.is_text(module):
        raise UsageError(
            f"an audit compares episodes, and '{algo}' learns from text: audit the directory of an alignment"
        )
    config = catalogue.default_config(module, algo, env, fields) if config is None else config
    seen = f"{env}@{REWARD}"
    config = dataclasses.replace(config, env=seen, env_options=options)
    spec = make_spec(algo, seen, config=config, **{**terms, "env_options": options})
    _, actions = spaces_of(env, options)
    constant = constant_actions(env, options, actions)
    if episodes is None:
        episodes = (constant.episodes if constant else 0) or (NATIVE_EPISODES if native else GYM_EPISODES)
    processes = max(1, cores() // spec["threads"]) if processes is None else processes
    for name, value, least in (("seeds", seeds, 1), ("episodes", episodes, 2), ("processes", processes, 0)):
        if whole(name, value) < least:
            raise ConfigError(f"{name} = {value}: there must be at least {least}")
    return Plan(
        spec=spec,
        env=env,
        seeds=seeds,
        episodes=episodes,
        rule=rule or Rule(),
        remove=remove,
        processes=processes,
        constant=None if constant is None else asdict(constant),
        discrete=isinstance(actions, gymnasium.spaces.Discrete),
        exhibit=exhibit,
        host=host(),
    )


def write(directory: Path, plan: Plan, result: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write audit.json, with the result where there is one, and return what it holds; the verdict and its figures are last."""
    from cumulant.run.checkpoint import write_atomic

    content = {"schema": 1, "kind": "audit", "plan": asdict(plan), **(result or {})}
    write_atomic(directory / AUDIT_FILE, (json.dumps(content, indent=1) + "\n").encode())
    return content


def read(directory: Path) -> Plan:
    """Read what an audit follows from.

    Raises:
        RunError: If audit.json is missing or damaged.
    """
    path = directory / AUDIT_FILE
    try:
        kept = dict(json.loads(path.read_text(encoding="utf-8"))["plan"])
        check_spec(kept["spec"], path)
        for name in ("seeds", "episodes", "processes"):
            kept[name] = whole(name, kept[name])
        if kept["constant"] is not None:
            kept["constant"] = {
                "label": str(kept["constant"]["label"]),
                "actions": [float(action) for action in kept["constant"]["actions"]],
                "options": dict(kept["constant"]["options"]),
                "episodes": whole("episodes", kept["constant"]["episodes"]),
            }
        if not isinstance(kept["env"], str) or split_view(kept["spec"]["env"]) != (kept["env"], REWARD):
            raise ValueError(f"env {kept['env']!r} is not what its specification trains")
        return Plan(**{**kept, "rule": Rule(**kept["rule"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise RunError(f"{path} is damaged: {problem!r}") from problem
