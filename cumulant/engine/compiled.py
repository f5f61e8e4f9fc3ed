"""Rollouts and PPO's updates in compiled calls, for perceptrons on vectors on the CPU.

``kernels/`` does the arithmetic, on the memory of the torch modules: a policy is saved, evaluated and resumed as ever, by
whichever engine it was trained. A rollout of native environments is one call (``engine/native.py``); any others are stepped from
Python, and all else of them is compiled.

Axes: T time, B parallel environments, N = T * B samples, D encoded observation, A actions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from cumulant.engine import native
from cumulant.engine.choice import choose_engine
from cumulant.engine.vector import VectorEnv
from cumulant.envs.batched import Batch
from cumulant.envs.counter_rng import episode_keys
from cumulant.kernels import perceptron, ppo
from cumulant.kernels.rollout import Policy, Steps
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.encoder import encode, is_image, parts
from cumulant.nn.flat import FlatAdam, Vector
from cumulant.nn.heads import Categorical, Gaussian
from cumulant.nn.normalisation import CLIP, RewardScale

_KINDS: dict[type[nn.Module], int] = {nn.ReLU: perceptron.RELU, nn.Tanh: perceptron.TANH}
MEASURES = ("loss/policy", "loss/value", "loss/grad_norm", "policy/entropy", "policy/kl", "policy/clip_fraction")


def use_compiled(engine: str, net: ActorCritic, envs: VectorEnv, module: str, began: str = "") -> tuple[bool, str]:
    """Decide as ``choose_engine`` does whether the compiled engine takes a network, and say how environments are stepped."""
    possible, why = choose_engine(engine, _obstacle(net), module, began)
    if not possible:
        return False, why
    stepped = native.obstacle(envs)
    rollouts = f"steps from Python, because {stepped}" if stepped else "whole rollouts in one call"
    return True, f"{why}; {rollouts}"


def _obstacle(net: ActorCritic) -> str:
    """Return what the compiled engine lacks for a network; "" for nothing."""
    device = next(net.parameters()).device.type
    if device != "cpu":
        return f"code for {device}"
    if net.memory is not None:
        return "memory"
    if net.cost_critic is not None:
        return "critic of costs"
    if net.reads or any(is_image(part.space) for part in parts(net.observation_space)):
        return "layers but a perceptron's"
    if not isinstance(net.head, Categorical | Gaussian):
        return f"actions such as {net.action_space}"
    kinds = {type(layer) for tower in (net.actor, net.critic) for layer in tower} - {nn.Linear}
    if not (len(kinds) == 1 and kinds <= _KINDS.keys()):
        return f"{' and '.join(sorted(kind.__name__ for kind in kinds)) or 'network without hidden'} layers"
    return ""


class Compiled:
    """Collects as ``engine.collect`` does, in compiled calls.

    Nothing of it must be saved: what changes is in the network, the optimiser and the environments, and random numbers are a
    function of the seeds and the step.

    Args:
        net: Policy and value; its parameters are views of ``flat``.
        flat: All parameters.
        envs: B environments.
        horizon: T, the most steps of a rollout.
        act_seed: Of the actions.
    """

    def __init__(self, net: ActorCritic, flat: Vector, envs: VectorEnv, horizon: int, act_seed: int) -> None:
        self.net, self.parameters, self.envs, self.horizon = net, flat, envs, horizon
        self.kind = _KINDS[type(net.actor[1])]
        self.continuous = isinstance(net.head, Gaussian)
        self.actor_sizes, self.critic_sizes = _sizes(net.actor), _sizes(net.critic)
        place = _places(net)
        actor, critic = place["actor.0.weight"], place["critic.0.weight"]
        self.starts = np.array([actor, critic, place.get("head.log_std", 0)])
        self.keys = np.zeros(envs.num_envs, np.uint64)
        episode_keys(act_seed, 0, np.zeros(envs.num_envs, np.int64), self.keys)
        self.width = int(self.actor_sizes[0]) + net.mask_size  # of an encoded observation
        self.measured = np.zeros(6)
        self.actor_block = perceptron.block_of(int(self.actor_sizes.sum()), envs.num_envs)
        self.critic_block = perceptron.block_of(int(self.critic_sizes.sum()), perceptron.BLOCK)
        self.native = None
        if isinstance(envs, Batch) and not native.obstacle(envs):
            self.native = native.NativeRollout(envs, net)
        self._make_room(horizon)

    def _make_room(self, horizon: int) -> None:
        """Make the arrays of a rollout of T steps; those of the last one are not kept."""
        num_envs, net = self.envs.num_envs, self.net
        rows, width = (horizon, num_envs), int(self.actor_sizes[-1])
        self.flat = np.zeros((horizon + 1, num_envs, self.width), np.float32)
        self.final = np.zeros((*rows, self.width), np.float32)
        self.allowed = np.zeros((horizon + 1, num_envs, net.mask_size), bool)
        self.choice = np.zeros(rows, np.int64)
        self.numbers = np.zeros((*rows, width if self.continuous else 0), np.float32)
        self.logp, self.reward = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
        self.terminated, self.ended = np.zeros(rows, bool), np.zeros(rows, bool)

    def collect(self, first_step: int, num_steps: int | None = None) -> None:
        """Act for some steps and remember them.

        Args:
            first_step: How many steps were taken before; names the random numbers.
            num_steps: How many; None for T.
        """
        num_steps = self.horizon if num_steps is None else num_steps
        if len(self.logp) != num_steps:
            self._make_room(num_steps)
        net, envs, vector = self.net, self.envs, self._vector()
        log_std = vector[self.starts[2] :][: self.numbers.shape[-1]]
        if self.native is not None:
            nothing = np.zeros(0, np.float32)
            mean, scale = (nothing, nothing) if net.norm is None else (net.norm.mean.numpy(), net.norm.scale.numpy())
            policy = Policy(
                self.starts[0], self.actor_sizes, self.kind, self.continuous, log_std, self.keys, self.actor_block,
                mean, scale, np.float32(CLIP),
            )  # fmt: skip
            steps = Steps(
                self.flat, self.final, self.allowed, self.choice, self.numbers, self.logp, self.reward, self.terminated,
                self.ended,
            )  # fmt: skip
            self.native(vector, policy, first_step, steps)
            return
        for t in range(num_steps):
            seen = self._encode(envs.obs, self.flat[t], self.allowed[t])
            ppo.act(
                vector, self.starts[0], self.actor_sizes, self.kind, log_std, seen, self.allowed[t], self.continuous,
                self.keys, first_step + t, self.actor_block, self.choice[t], self.numbers[t], self.logp[t],
            )  # fmt: skip
            envs.step(net.head.to_env(self.numbers[t]) if self.continuous else self.choice[t])
            self.reward[t], self.terminated[t], self.ended[t] = envs.reward, envs.terminated, envs.ended
            if envs.truncated.any():
                self._encode(envs.next_obs, self.final[t], None)
        self._encode(envs.obs, self.flat[-1], self.allowed[-1])

    def estimate(
        self, gamma: float, lam: float, reward_scale: RewardScale | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Estimate what was collected.

        Args:
            gamma: Discount.
            lam: Trace decay of the advantages.
            reward_scale: What rewards are scaled by; None for nothing.

        Returns:
            Observations as networks read them ``[T, B, D]``, values ``[T, B]`` and advantages ``[T, B]``.
        """
        vector, seen = self._vector(), self._normalise(self.flat)
        value = self._values(vector, seen)
        next_value = value[1:].copy()
        cut = self.ended & ~self.terminated
        if cut.any():  # of the final observation, never of the first one of the next episode
            next_value[cut] = self._values(vector, self._normalise(self.final[cut]))
        reward = self.reward
        if reward_scale is not None:
            reward = reward_scale(torch.from_numpy(reward), torch.from_numpy(self.ended)).numpy()
        advantage = np.empty_like(reward)
        ppo.gae(
            reward, value[:-1], next_value, self.terminated, self.ended, float(gamma), float(lam), advantage
        )  # fmt: skip
        return seen[:-1], value[:-1], advantage

    def observe(self) -> None:
        """Add what was collected to the running statistics of the network."""
        self.net.observe(torch.from_numpy(self.flat[:-1]))

    def _vector(self) -> np.ndarray:
        return self.parameters.parameter.detach().numpy()

    def _encode(self, obs: np.ndarray, out: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
        """Write encoded observations and which choices they allow; return them as networks read them, ``[B, D]``."""
        space = self.net.observation_space
        if obs.dtype == np.float32 and obs.ndim == 2 and not self.net.mask_size:
            out[...] = obs
        else:
            out[...] = encode(space, torch.from_numpy(obs)).reshape(len(obs), -1).numpy()
        if allowed is not None and self.net.mask_size:
            allowed[...] = out[:, -self.net.mask_size :] > 0.5
        return self._normalise(out)

    def _normalise(self, flat: np.ndarray) -> np.ndarray:
        """Return encoded observations as the perceptrons read them, without the mask, contiguous."""
        size, norm = int(self.actor_sizes[0]), self.net.norm
        seen = np.ascontiguousarray(flat[..., :size])
        return seen if norm is None else np.clip((seen - norm.mean.numpy()) * norm.scale.numpy(), -CLIP, CLIP)

    def _values(self, vector: np.ndarray, seen: np.ndarray) -> np.ndarray:
        out, rows = np.empty(seen.shape[:-1], np.float32), seen.reshape(-1, seen.shape[-1])
        ppo.values(vector, self.starts[1], self.critic_sizes, self.kind, rows, self.critic_block, out.reshape(-1))
        return out


class CompiledPPO(Compiled):
    """Collects and learns as ``algos.ppo`` does, in compiled calls.

    Args:
        net: Policy and value; its parameters are views of ``optimizer.flat``.
        optimizer: Adam with its default averages.
        envs: B environments.
        horizon: T.
        act_seed: Of the actions.
        shuffle_seed: Of the minibatches.
    """

    def __init__(
        self, net: ActorCritic, optimizer: FlatAdam, envs: VectorEnv, horizon: int, act_seed: int, shuffle_seed: int
    ) -> None:
        super().__init__(net, optimizer.flat, envs, horizon, act_seed)
        self.optimizer, self.shuffle_seed = optimizer, shuffle_seed

    def learn(
        self, iteration: int, options: Any, entropy_coef: float, reward_scale: RewardScale | None
    ) -> dict[str, float]:
        """Learn from what was collected.

        Args:
            iteration: Which one: it names the order of the samples.
            options: Those of ``algos.ppo``.
            entropy_coef: Weight of the entropy bonus.
            reward_scale: What rewards are scaled by; None for nothing.

        Returns:
            The measures of the last minibatch, to be logged.
        """
        seen, value, advantage = self.estimate(options.gamma, options.lam, reward_scale)
        vector = self._vector()
        optimizer, samples = self.optimizer, self.horizon * self.envs.num_envs
        optimizer.steps = ppo.update(
            vector, optimizer.mean.numpy(), optimizer.square.numpy(), optimizer.steps, float(optimizer.learning_rate),
            float(optimizer.eps), self.starts, self.actor_sizes, self.critic_sizes, self.kind, self.continuous,
            seen.reshape(samples, -1), self.allowed[:-1].reshape(samples, -1), self.choice.reshape(-1),
            self.numbers.reshape(samples, -1), self.logp.reshape(-1), value.reshape(-1), advantage.reshape(-1),
            (advantage + value).reshape(-1), float(options.clip), _or_infinite(options.value_clip),
            float(options.value_coef), float(entropy_coef), float(options.max_grad_norm), options.epochs,
            options.minibatches, _or_infinite(options.target_kl), self.shuffle_seed, iteration, self.measured,
        )  # fmt: skip
        return dict(zip(MEASURES, self.measured.tolist()))


def _or_infinite(limit: float | None) -> float:
    return math.inf if limit is None else float(limit)  # a whole number would be compiled for anew


def _sizes(tower: Any) -> np.ndarray:
    """Return the sizes of a perceptron's input and layers."""
    linear = [layer for layer in tower if isinstance(layer, nn.Linear)]
    return np.array([linear[0].in_features, *(layer.out_features for layer in linear)])


def _places(net: nn.Module) -> dict[str, int]:
    """Return where each parameter begins in the flat vector (``nn.flat.Flat``)."""
    places, place = {}, 0
    for name, parameter in net.named_parameters():
        places[name] = place
        place += parameter.numel()
    return places
