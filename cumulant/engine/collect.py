"""Collect a rollout: act, step, remember; then estimate everything in one pass.

Only the policy runs while the environments step. Log-probabilities and values are computed once for the whole rollout, by the
same batched calls that the update uses.
"""

from __future__ import annotations

import torch

from cumulant.data.batch import Rollout
from cumulant.engine.vector import VectorEnv
from cumulant.nn.actor_critic import ActorCritic


@torch.no_grad()
def collect(envs: VectorEnv, net: ActorCritic, horizon: int, generator: torch.Generator) -> Rollout:
    """Run the policy for ``horizon`` steps in every environment.

    Args:
        envs: B environments; they go on from where they are.
        net: The policy that acts.
        horizon: T.
        generator: Source of the action noise.

    Returns:
        The rollout, on the device of the network.
    """
    num_envs, device = envs.num_envs, next(net.parameters()).device
    noise = net.head.noise((horizon, num_envs), generator).to(device)
    raw = torch.empty((horizon + 1, *envs.obs.shape), dtype=torch.from_numpy(envs.obs[:0]).dtype)
    raw_next = torch.empty_like(raw[:-1])
    reward = torch.empty(horizon, num_envs)
    terminated = torch.empty(horizon, num_envs, dtype=torch.bool)
    ended = torch.empty(horizon, num_envs, dtype=torch.bool)
    # The same memory as numpy sees it, which is what the environments write to.
    obs_rows, next_obs_rows, reward_rows, terminated_rows, ended_rows = (
        x.numpy() for x in (raw, raw_next, reward, terminated, ended)
    )
    actions = []
    for t, noise_now in enumerate(noise):
        obs_rows[t] = envs.obs
        action = net.sample(net.encode(raw[t].to(device)), noise_now)
        actions.append(action)
        envs.step(net.head.to_env(action.cpu().numpy()))
        next_obs_rows[t], reward_rows[t] = envs.next_obs, envs.reward
        terminated_rows[t], ended_rows[t] = envs.terminated, envs.ended
    obs_rows[horizon] = envs.obs
    features = net.features(raw.to(device))
    obs = features if net.norm is None else net.norm(features)
    action = torch.stack(actions)
    value = net.value(obs)
    next_value = value[1:].clone()
    truncated = ended & ~terminated
    if truncated.any():
        next_value[truncated.to(device)] = net.value(net.encode(raw_next[truncated].to(device)))
    logp, _ = net.logp_entropy(obs[:-1], action)
    on_device = [x.to(device) for x in (reward, terminated, ended)]
    return Rollout(features[:-1], obs[:-1], action, logp, value[:-1], next_value, *on_device)
