"""Collect a rollout: act, step, remember; then estimate everything in one pass.

Only the policy runs while the environments step. Log-probabilities and values are computed once for the whole rollout, from
what the policy read while it acted.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from cumulant.data.batch import Rollout
from cumulant.engine.vector import VectorEnv
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.memory import Remembered


@torch.no_grad()
def collect(
    envs: VectorEnv,
    net: ActorCritic,
    horizon: int,
    generator: torch.Generator,
    remembered: Remembered | None = None,
) -> Rollout:
    """Run the policy for ``horizon`` steps in every environment.

    Args:
        envs: B environments; they go on from where they are.
        net: The policy that acts.
        horizon: T.
        generator: Source of the action noise.
        remembered: What a network with a memory remembers of the open episodes; it is brought up to date.

    Returns:
        The rollout, on the device of the network.
    """
    num_envs, device = envs.num_envs, next(net.parameters()).device
    noise = net.head.noise((horizon, num_envs), generator).to(device)
    raw = torch.empty((horizon + 1, *envs.obs.shape), dtype=torch.from_numpy(envs.obs[:0]).dtype)
    raw_next = torch.empty_like(raw[:-1])
    reward, cost = torch.empty(horizon, num_envs), torch.zeros(horizon, num_envs)
    terminated = torch.empty(horizon, num_envs, dtype=torch.bool)
    ended = torch.empty(horizon, num_envs, dtype=torch.bool)
    # The same memory as numpy sees it, which is what the environments write to.
    obs_rows, next_obs_rows, reward_rows, cost_rows, terminated_rows, ended_rows = (
        x.numpy() for x in (raw, raw_next, reward, cost, terminated, ended)
    )
    state = None if remembered is None else remembered.state
    features, actions, states = [], [], []
    for t, noise_now in enumerate(noise):
        obs_rows[t] = envs.obs
        seen, after = net.step(net.encode(raw[t].to(device)), state)
        action = net.sample(seen, noise_now)
        actions.append(action)
        if net.reads:
            features.append(seen)
        envs.step(net.head.to_env(action.cpu().numpy()))
        next_obs_rows[t], reward_rows[t], cost_rows[t] = envs.next_obs, envs.reward, envs.cost
        terminated_rows[t], ended_rows[t] = envs.terminated, envs.ended
        if after is not None:
            states.append(after)
            state = after * (~ended[t]).unsqueeze(-1).to(device)
    obs_rows[horizon] = envs.obs
    flat = net.flat(raw.to(device))
    obs = net.normalise(flat)
    action = torch.stack(actions)
    seen = torch.stack(features) if net.reads else obs[:-1]
    last, _ = net.step(obs[-1], state)
    cut = ended & ~terminated
    truncated = cut.to(device)
    final = None
    if cut.any():
        before = torch.stack(states)[truncated] if states else None
        final, _ = net.step(net.encode(raw_next[cut].to(device)), before)

    def values(critic: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the value of each observation, and of what followed each action, ``[T, B]`` each."""
        value = critic(seen)
        next_value = torch.cat([value[1:], critic(last).unsqueeze(0)])
        if final is not None:
            next_value[truncated] = critic(final)
        return value, next_value

    value, next_value = values(net.value)
    cost_value, next_cost_value = (None, None) if net.cost_critic is None else values(net.cost_value)
    logp, _ = net.logp_entropy(seen, action)
    start = None if remembered is None else remembered.state
    if remembered is not None:
        remembered.state = state
    return Rollout(
        flat=flat[:-1],
        obs=obs[:-1],
        action=action,
        logp=logp,
        value=value,
        next_value=next_value,
        reward=reward.to(device),
        cost=cost.to(device),
        terminated=terminated.to(device),
        ended=ended.to(device),
        state=start,
        cost_value=cost_value,
        next_cost_value=next_cost_value,
    )
