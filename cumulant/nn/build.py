"""Make a policy network from its description in a policy card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
from torch import nn

from cumulant.errors import RunError, did_you_mean
from cumulant.nn.actor import Actor
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.board import BoardNet
from cumulant.nn.network import is_own
from cumulant.nn.q_network import QNetwork
from cumulant.nn.table import QTable

KINDS: dict[str, type[nn.Module]] = {
    "actor": Actor,
    "actor_critic": ActorCritic,
    "board": BoardNet,
    "q_network": QNetwork,
    "q_table": QTable,
}

_WITH_NET = ("actor_critic", "q_network")  # older cards do not name it


def build(
    spec: Mapping[str, Any], observation_space: gymnasium.Space, action_space: gymnasium.Space, trust: bool = False
) -> nn.Module:
    """Make the network that a ``spec`` attribute describes, with untrained weights.

    Args:
        spec: ``{"kind": ..., **arguments}``.
        observation_space: Of one environment.
        action_space: Of one environment.
        trust: Whether to import a network of the user's own that the description names.

    Raises:
        RunError: If the description names a network that this version does not have, or arguments it does not take, or code
            that would be imported without trust.
    """
    arguments = {"net": "mlp", **spec} if spec.get("kind") in _WITH_NET else dict(spec)
    if is_own(str(arguments.get("net", ""))) and not trust:
        raise RunError(
            f"the policy's network is {arguments['net']}, code that loading would run: read it, then trust it"
        )
    kind = arguments.pop("kind", None)
    if kind not in KINDS:
        raise RunError(f"the policy card names a network '{kind}': {did_you_mean(str(kind), KINDS)}")
    try:
        return KINDS[kind](observation_space, action_space, **arguments)
    except TypeError as problem:
        raise RunError(f"the policy card does not fit network '{kind}': {problem}") from problem
