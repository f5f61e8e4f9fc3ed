import numpy as np
import torch
from gymnasium import spaces

from cumulant.engine.collect import collect
from cumulant.engine.vector import make_vector
from cumulant.nn.actor_critic import ActorCritic


def make(env, num_envs=3, **options):
    envs = make_vector(env, num_envs, 0)
    net = ActorCritic(envs.observation_space, envs.action_space, generator=torch.Generator().manual_seed(1), **options)
    return envs, net


def test_estimates_are_those_of_the_network_and_the_environment():
    envs, net = make("CartPole-v1")
    rollout = collect(envs, net, 64, torch.Generator().manual_seed(0))
    assert rollout.obs.shape == (64, 3, 4)
    with torch.no_grad():
        logp = torch.log_softmax(net.actor(rollout.obs), -1).gather(-1, rollout.action[..., None])[..., 0]
        torch.testing.assert_close(rollout.logp, logp)
        torch.testing.assert_close(rollout.value, net.critic(rollout.obs)[..., 0])
    going_on = ~rollout.ended[:-1]
    torch.testing.assert_close(rollout.next_value[:-1][going_on], rollout.value[1:][going_on])
    # replay the same actions in a fresh batch: the rollout is what happened
    again = make_vector("CartPole-v1", 3, 0)
    for t in range(64):
        np.testing.assert_array_equal(rollout.flat[t].numpy(), again.obs)
        again.step(rollout.action[t].numpy())
        np.testing.assert_array_equal(rollout.terminated[t].numpy(), again.terminated)


def test_a_truncated_episode_bootstraps_from_its_final_observation():
    envs, net = make("probe-truncation")
    rollout = collect(envs, net, 40, torch.Generator().manual_seed(0))
    cut = rollout.ended & ~rollout.terminated
    assert cut.any()
    assert not rollout.terminated.any()
    twin = make_vector("probe-truncation", 3, 0)
    for t in range(40):
        twin.step(rollout.action[t].numpy())
        with torch.no_grad():
            final = net.value(net.encode(torch.from_numpy(twin.next_obs)))
        torch.testing.assert_close(rollout.next_value[t][cut[t]], final[cut[t]])


def test_the_final_observation_is_used_where_the_first_one_differs():
    """CartPole cut after 500 steps: the final observation is not the reset one, and its value is not either."""
    envs, net = make("CartPole-v1", 1)
    twin = make_vector("CartPole-v1", 1, 0)
    for each in (envs, twin):
        each.clock[:] = 498
        each.obs[:] = 0.5
        each.state[:, :4] = 0.5 * np.array([1, 0, 0.1, 0])
    rollout = collect(envs, net, 3, torch.Generator().manual_seed(0))
    assert rollout.ended[1, 0]
    assert not rollout.terminated[1, 0]
    for t in range(2):
        twin.step(rollout.action[t].numpy())
    with torch.no_grad():
        final = net.value(net.encode(torch.from_numpy(twin.next_obs)))
    torch.testing.assert_close(rollout.next_value[1], final)
    assert abs(final - rollout.value[1]) > 1e-3
    assert abs(final - rollout.value[2]) > 1e-3


def test_continuous_actions_are_clipped_for_the_environment_only():
    class Recorder:
        num_envs, outcome_names, term_names = 2, (), ()
        observation_space, action_space = spaces.Box(-1, 1, (1,), np.float32), spaces.Box(-0.1, 0.1, (1,), np.float32)
        obs = next_obs = np.zeros((2, 1), np.float32)
        reward, cost = np.zeros(2, np.float32), np.zeros(2, np.float32)
        terminated = truncated = ended = np.zeros(2, bool)
        taken: list = []  # noqa: RUF012

        def step(self, action):
            self.taken.append(action.copy())

    envs = Recorder()
    net = ActorCritic(envs.observation_space, envs.action_space, generator=torch.Generator().manual_seed(1))
    rollout = collect(envs, net, 20, torch.Generator().manual_seed(0))
    assert np.abs(np.concatenate(envs.taken)).max() <= np.float32(0.1)
    assert rollout.action.abs().max() > 0.5


def test_sampled_frequencies_are_the_probabilities():
    _, net = make("CartPole-v1", 1)
    logits = torch.tensor([[1.0, -0.5]]).expand(20000, 2)
    noise = net.head.noise((20000,), torch.Generator().manual_seed(0))
    share = net.head.sample(logits, noise).float().mean().item()
    assert abs(share - torch.softmax(logits[0], -1)[1].item()) < 0.01
