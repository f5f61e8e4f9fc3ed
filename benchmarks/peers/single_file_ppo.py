"""Time PPO as one plain script: the style of CleanRL, written anew. Prints one JSON line.

Everything a reader expects of such a script: gymnasium's SyncVectorEnv, torch.distributions, per-step storage, nn.Module
parameters, Adam, no tricks. Runs in the peers' environment and knows nothing of ours. With a game of Atari it has gymnasium's
preprocessing and convolutions.

Usage: single_file_ppo.py '{"num_envs": 8, ...}', as ``ppo_cartpole.py`` and ``ppo_pong.py`` call it.
"""

import json
import os
import sys
import time
from collections import deque

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import nn
from torch.distributions import Categorical


def layer(inputs, outputs, gain):
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear


def network(inputs, hidden, outputs, last_gain):
    layers = []
    for size in hidden:
        layers += [layer(inputs, size, 2**0.5), nn.Tanh()]
        inputs = size
    return nn.Sequential(*layers, layer(inputs, outputs, last_gain))


class Agent(nn.Module):
    """Two separate networks."""

    def __init__(self, obs_size, num_actions, hidden):
        super().__init__()
        self.critic = network(obs_size, hidden, 1, 1.0)
        self.actor = network(obs_size, hidden, num_actions, 0.01)

    def value(self, obs):
        return self.critic(obs)

    def action_and_value(self, obs, action=None):
        policy = Categorical(logits=self.actor(obs))
        if action is None:
            action = policy.sample()
        return action, policy.log_prob(action), policy.entropy(), self.critic(obs)


class PixelAgent(nn.Module):
    """Convolutions that policy and value share."""

    def __init__(self, num_actions):
        super().__init__()
        convolutions = [nn.Conv2d(4, 32, 8, 4), nn.Conv2d(32, 64, 4, 2), nn.Conv2d(64, 64, 3, 1)]
        for each in convolutions:
            nn.init.orthogonal_(each.weight, 2**0.5)
            nn.init.zeros_(each.bias)
        parts = [part for each in convolutions for part in (each, nn.ReLU())]
        self.network = nn.Sequential(*parts, nn.Flatten(), layer(64 * 7 * 7, 512, 2**0.5), nn.ReLU())
        self.actor, self.critic = layer(512, num_actions, 0.01), layer(512, 1, 1.0)

    def value(self, obs):
        return self.critic(self.network(obs / 255.0))

    def action_and_value(self, obs, action=None):
        hidden = self.network(obs / 255.0)
        policy = Categorical(logits=self.actor(hidden))
        if action is None:
            action = policy.sample()
        return action, policy.log_prob(action), policy.entropy(), self.critic(hidden)


def make_env(game, repeated):
    if game is None:
        return gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("CartPole-v1"))
    import ale_py

    gymnasium.register_envs(ale_py)
    env = gymnasium.make(game, frameskip=1, repeat_action_probability=repeated)
    env = gymnasium.wrappers.AtariPreprocessing(
        gymnasium.wrappers.RecordEpisodeStatistics(env), noop_max=30, frame_skip=4
    )
    return gymnasium.wrappers.FrameStackObservation(gymnasium.wrappers.TransformReward(env, np.sign), 4)


def main():
    wanted = json.loads(sys.argv[1])
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(wanted["seed"])
    np.random.seed(wanted["seed"])  # noqa: NPY002  (as such scripts do)
    num_envs, horizon, gamma, lam, clip = (wanted[key] for key in ("num_envs", "horizon", "gamma", "lam", "clip"))
    batch_size = num_envs * horizon
    minibatch_size = batch_size // wanted["minibatches"]

    game, repeated = wanted.get("env"), wanted.get("repeat_action_probability")
    envs = SyncVectorEnv([lambda: make_env(game, repeated)] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    obs_shape, num_actions = envs.single_observation_space.shape, int(envs.single_action_space.n)
    agent = PixelAgent(num_actions) if game else Agent(obs_shape[0], num_actions, wanted["hidden"])
    optimizer = torch.optim.Adam(agent.parameters(), lr=wanted["learning_rate"], eps=1e-5)

    obs = torch.zeros((horizon, num_envs, *obs_shape))
    actions = torch.zeros((horizon, num_envs))
    logps, rewards, starts, values = (torch.zeros((horizon, num_envs)) for _ in range(4))
    next_obs = torch.Tensor(envs.reset(seed=wanted["seed"])[0])
    next_start = torch.zeros(num_envs)
    last_returns = deque(maxlen=100)
    marks = []
    for iteration in range(-(-wanted["total_steps"] // batch_size)):
        if iteration == 1:  # the first iteration is warm-up
            marks.append((iteration * batch_size, time.process_time(), time.perf_counter()))
        for t in range(horizon):
            obs[t], starts[t] = next_obs, next_start
            with torch.no_grad():
                action, logp, _, value = agent.action_and_value(next_obs)
            actions[t], logps[t], values[t] = action, logp, value.flatten()
            raw_obs, reward, terminated, truncated, info = envs.step(action.numpy())
            rewards[t] = torch.tensor(reward).view(-1)
            next_obs, next_start = torch.Tensor(raw_obs), torch.Tensor(np.logical_or(terminated, truncated))
            if "final_info" in info:
                last_returns.extend(info["final_info"]["episode"]["r"][info["_final_info"]])

        with torch.no_grad():
            next_value = agent.value(next_obs).reshape(1, -1)
            advantages = torch.zeros_like(rewards)
            last = 0.0
            for t in reversed(range(horizon)):
                follows = 1.0 - (next_start if t == horizon - 1 else starts[t + 1])
                following = next_value if t == horizon - 1 else values[t + 1]
                delta = rewards[t] + gamma * following * follows - values[t]
                advantages[t] = last = delta + gamma * lam * follows * last
            targets = advantages + values

        b_obs = obs.reshape((-1, *obs_shape))
        b_actions, b_logps, b_advantages, b_targets = (x.reshape(-1) for x in (actions, logps, advantages, targets))
        order = np.arange(batch_size)
        clip_fractions = []
        for _ in range(wanted["epochs"]):
            np.random.shuffle(order)  # noqa: NPY002
            for start in range(0, batch_size, minibatch_size):
                index = order[start : start + minibatch_size]
                _, logp, entropy, value = agent.action_and_value(b_obs[index], b_actions.long()[index])
                log_ratio = logp - b_logps[index]
                ratio = log_ratio.exp()
                with torch.no_grad():
                    approx_kl = ((ratio - 1) - log_ratio).mean()
                    clip_fractions.append(((ratio - 1.0).abs() > clip).float().mean().item())
                advantage = b_advantages[index]
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                policy_loss = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip)).mean()
                critic_loss = 0.5 * ((value.view(-1) - b_targets[index]) ** 2).mean()
                loss = policy_loss - wanted.get("entropy_coef", 0.0) * entropy.mean() + 1.0 * critic_loss
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), wanted["max_grad_norm"])
                optimizer.step()
        _ = approx_kl.item(), np.mean(clip_fractions), loss.item()  # what such scripts log
    marks.append(((iteration + 1) * batch_size, time.process_time(), time.perf_counter()))
    (steps0, cpu0, wall0), (steps, cpu, wall) = marks
    print(
        json.dumps(
            {
                "version": gymnasium.__version__,
                "torch": torch.__version__,
                "steps": steps - steps0,
                "cpu_seconds": cpu - cpu0,
                "wall_seconds": wall - wall0,
                "last_returns": float(np.mean(last_returns)) if last_returns else 0.0,
            }
        )
    )


if __name__ == "__main__":
    main()
