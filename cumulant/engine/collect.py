"""Collect a rollout: act, step, remember; then estimate everything in one pass.

Only the policy runs while the environments step. Log-probabilities and values are computed once for the whole rollout, by the
same batched calls that the update uses.
"""

from __future__ import annotations

import numpy as np
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
    low, high = _box(envs)
    raw = torch.empty((horizon + 1, *envs.obs.shape), dtype=torch.from_numpy(envs.obs[:0]).dtype)
    obs_rows = raw.numpy()
    reward = torch.empty(horizon, num_envs)
    terminated = torch.empty(horizon, num_envs, dtype=torch.bool)
    ended = torch.empty(horizon, num_envs, dtype=torch.bool)
    reward_rows, terminated_rows, ended_rows = reward.numpy(), terminated.numpy(), ended.numpy()
    actions = []
    cut: list[tuple[int, np.ndarray]] = []  # step, environments truncated there
    final_obs: list[np.ndarray] = []
    for t in range(horizon):
        obs_rows[t] = envs.obs
        action = net.sample(net.encode(raw[t].to(device)), noise[t])
        actions.append(action)
        step_action = action.cpu().numpy()
        envs.step(step_action if low is None else np.clip(step_action, low, high))
        reward_rows[t], terminated_rows[t], ended_rows[t] = envs.reward, envs.terminated, envs.ended
        if envs.truncated.any():
            rows = np.flatnonzero(envs.truncated & ~envs.terminated)
            cut.append((t, rows))
            final_obs.append(envs.next_obs[rows].copy())
    obs_rows[horizon] = envs.obs
    features = net.features(raw.to(device))
    obs = features if net.norm is None else net.norm(features)
    action = torch.stack(actions)
    value = net.value(obs)
    next_value = value[1:].clone()
    if cut:
        final = net.value(net.encode(torch.from_numpy(np.concatenate(final_obs)).to(device)))
        t_index = torch.from_numpy(np.repeat([t for t, _ in cut], [len(rows) for _, rows in cut]))
        b_index = torch.from_numpy(np.concatenate([rows for _, rows in cut]))
        next_value[t_index.to(device), b_index.to(device)] = final
    logp, _ = net.logp_entropy(obs[:-1], action)
    on_device = [x.to(device) for x in (reward, terminated, ended)]
    return Rollout(features[:-1], obs[:-1], action, logp, value[:-1], next_value, *on_device)


def _box(envs: VectorEnv) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Bounds that continuous actions are clipped to, ``[A]`` each; None for discrete ones."""
    low = getattr(envs.action_space, "low", None)
    if low is None:
        return None, None
    return low.reshape(-1), envs.action_space.high.reshape(-1)  # type: ignore[attr-defined]
