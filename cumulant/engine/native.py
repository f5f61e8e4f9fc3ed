"""Native environments as the compiled rollout takes them (``kernels/rollout.py``), and why others are stepped from Python.

Axes: B parallel environments, D encoded observation, A actions, L reward terms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numba.core.dispatcher import Dispatcher

from cumulant.engine.vector import VectorEnv
from cumulant.envs.batched import Batch
from cumulant.kernels.rollout import Native, rollout, take_choices, take_numbers
from cumulant.kernels.rules import entry, identify
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.encoder import encode
from cumulant.nn.heads import Gaussian


def obstacle(envs: VectorEnv) -> str:
    """Return why environments are stepped from Python; "" for those that are not."""
    if not isinstance(envs, Batch):
        return "the environment is not a native one"
    kernel = envs.kernel
    if not (isinstance(kernel.step, Dispatcher) and isinstance(kernel.reset, Dispatcher)):
        return "its steps are not compiled as a whole"
    if kernel.reward is not None and envs.products is None:
        return "its reward has terms of Python"
    if isinstance(kernel.observation_space, spaces.Discrete | spaces.MultiDiscrete):
        return "its observations are names of states"
    return ""


class NativeRollout:
    """A batch of native environments (``obstacle`` is ""), which does not move until it is called.

    Args:
        batch: The environments.
        net: Who acts.
    """

    def __init__(self, batch: Batch, net: ActorCritic) -> None:
        self.batch, kernel = batch, batch.kernel
        width = int(np.prod(batch.obs.shape[1:]))
        weights, columns = batch.products or (np.zeros(0), np.zeros((0, 1), np.int64))
        terms = np.zeros((batch.num_envs, 0)) if batch.terms is None else batch.terms
        places = encode(batch.observation_space, torch.arange(width).reshape(1, *batch.obs.shape[1:]))
        self.code: Callable[..., Any] | None = None
        self.take, self.scaling = take_choices, np.zeros((4, 0), np.float32)
        if isinstance(net.head, Gaussian):
            self.take = take_numbers
            self.scaling = np.stack([net.head.middle, net.head.half_width, net.head.low, net.head.high])
        for function in (kernel.reset, kernel.step, self.take):
            identify(function)
        self.native = Native(
            reset=kernel.reset, step=kernel.step, params=kernel.params, state=batch.state, key=batch.key,
            clock=batch.clock, episode=batch.episode, obs=batch.obs, next_obs=batch.next_obs,
            flat_obs=batch.obs.reshape(-1, width), flat_next_obs=batch.next_obs.reshape(-1, width), reward=batch.reward,
            terminated=batch.terminated, truncated=batch.truncated, ended=batch.ended, outcomes=batch.outcomes,
            terms=terms, weights=weights, columns=columns, order=places.reshape(-1).to(torch.int64).numpy(),
        )  # fmt: skip

    def __call__(self, vector: np.ndarray, policy: object, first_step: int, steps: object) -> None:
        """Act for T steps; see ``kernels.rollout.rollout``.

        Raises:
            NumericsError: If a reward is no number (message names the term).
        """
        batch = self.batch
        arguments = (
            self.native, self.take, self.scaling, batch.max_steps, batch.seed, batch.episodes.open, vector, policy,
            first_step, steps,
        )  # fmt: skip
        if self.code is None:
            self.code = entry(rollout, *arguments)
        numbers, ended = self.code(*arguments)
        batch.finish(ended, numbers)
