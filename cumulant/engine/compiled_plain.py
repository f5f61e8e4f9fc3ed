"""A2C's and REINFORCE's gradient steps in compiled calls, on the rollouts of ``engine/compiled.py``.

Axes: T time, B parallel environments, N samples, D encoded observation, A actions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from cumulant.data.batch import Rollout
from cumulant.engine.compiled import MEASURES, Compiled
from cumulant.engine.vector import VectorEnv
from cumulant.kernels import policy_gradient
from cumulant.kernels.perceptron import adam, clip_grad_norm, rmsprop
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.flat import FlatAdam, FlatRMSProp
from cumulant.nn.normalisation import RewardScale


class CompiledPlain(Compiled):
    """Takes plain policy-gradient steps, as ``algos.a2c`` and ``algos.reinforce`` do.

    Args:
        net: Policy and value; its parameters are views of ``optimizer.flat``.
        optimizer: RMSProp, or Adam with its default averages.
        envs: B environments.
        horizon: T, the most steps of a rollout.
        act_seed: Of the actions.
    """

    def __init__(
        self, net: ActorCritic, optimizer: FlatRMSProp | FlatAdam, envs: VectorEnv, horizon: int, act_seed: int
    ) -> None:
        super().__init__(net, optimizer.flat, envs, horizon, act_seed)
        self.optimizer = optimizer
        self.room = policy_gradient.room_of(self.actor_sizes, self.critic_sizes)
        self.grad = np.zeros_like(self._vector())

    def learn(self, options: Any, entropy_coef: float, reward_scale: RewardScale | None) -> dict[str, float]:
        """Take A2C's step on what was collected.

        Args:
            options: Those of ``algos.a2c``.
            entropy_coef: Weight of the entropy bonus.
            reward_scale: What rewards are scaled by; None for nothing.

        Returns:
            The measures, to be logged.
        """
        seen, value, advantage = self.estimate(options.gamma, options.lam, reward_scale)
        target, size = advantage + value, advantage.size
        if options.normalize_advantage:
            advantage = (advantage - advantage.mean()) / (advantage.std(ddof=1) + np.float32(1e-8))
        index, allowed = np.arange(size), self.allowed[:-1].reshape(size, -1)
        return self.step(
            index, seen.reshape(size, -1), allowed, self.choice.reshape(-1), self.numbers.reshape(size, -1),
            advantage.reshape(-1), target.reshape(-1), 1.0 / size, options, entropy_coef,
        )  # fmt: skip

    def step(
        self,
        index: np.ndarray,
        seen: np.ndarray,
        allowed: np.ndarray,
        choice: np.ndarray,
        numbers: np.ndarray,
        advantage: np.ndarray,
        target: np.ndarray,
        share: float,
        options: Any,
        entropy_coef: float,
    ) -> dict[str, float]:
        """Take one step along the gradient of some samples of N; args as for ``kernels.policy_gradient.gradient``.

        Returns:
            The measures, to be logged; losses are sums over the samples times ``share``.
        """
        vector, optimizer, measured = self._vector(), self.optimizer, self.measured
        policy_gradient.plain_gradient(
            vector, self.starts, self.actor_sizes, self.critic_sizes, self.kind, self.continuous, index, seen, allowed,
            choice, numbers, advantage, target, float(share), float(options.value_coef), float(entropy_coef), self.room,
            self.grad, measured,
        )  # fmt: skip
        measured[[policy_gradient.POLICY, policy_gradient.VALUE]] *= share * len(index)
        measured[policy_gradient.GRAD_NORM] = clip_grad_norm(self.grad, float(options.max_grad_norm))
        rate, eps = float(optimizer.learning_rate), float(optimizer.eps)
        if isinstance(optimizer, FlatRMSProp):
            rmsprop(vector, self.grad, optimizer.square.numpy(), rate, float(optimizer.decay), eps)
        else:
            optimizer.steps += 1
            adam(vector, self.grad, optimizer.mean.numpy(), optimizer.square.numpy(), optimizer.steps, rate, eps)
        return dict(zip(MEASURES[:4], measured.tolist()))

    def rollout(self) -> Rollout:
        """Return what was collected, for an update that waits for the end of episodes."""
        seen, value = self._normalise(self.flat), self._values(self._vector(), self._normalise(self.flat))
        next_value = value[1:].copy()
        cut = self.ended & ~self.terminated
        if cut.any():
            next_value[cut] = self._values(self._vector(), self._normalise(self.final[cut]))
        mask = self.flat[..., int(self.actor_sizes[0]) :]
        arrays = (
            self.flat[:-1], np.concatenate([seen, mask], -1)[:-1], self.numbers if self.continuous else self.choice,
            self.logp, value[:-1], next_value, self.reward, np.zeros_like(self.reward), self.terminated, self.ended,
        )  # fmt: skip
        return Rollout(*(torch.from_numpy(array.copy()) for array in arrays))

    def learn_episodes(
        self,
        rollout: Rollout,
        counts: torch.Tensor,
        advantage: torch.Tensor,
        returns: torch.Tensor,
        share: float,
        options: Any,
        entropy_coef: float,
    ) -> dict[str, float]:
        """Take REINFORCE's step on whole episodes.

        Args:
            rollout: They are in it.
            counts: Which steps of it count, ``[T, B]`` bool; N of them.
            advantage: Of those, ``[N]``.
            returns: Of those, ``[N]``.
            share: What each of them weighs.
            options: Those of ``algos.reinforce``.
            entropy_coef: Weight of the entropy bonus.
        """
        obs, action = rollout.obs[counts].numpy(), rollout.action[counts].numpy()
        size = int(self.actor_sizes[0])
        nothing = np.zeros((len(action), 0), np.float32)
        choice, numbers = (np.zeros(len(action), np.int64), action) if self.continuous else (action, nothing)
        return self.step(
            np.arange(len(action)), np.ascontiguousarray(obs[:, :size]), obs[:, size:] > 0.5, choice, numbers,
            advantage.numpy(), returns.numpy(), share, options, entropy_coef,
        )  # fmt: skip
