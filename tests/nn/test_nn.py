import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from cumulant.errors import ConfigError
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.encoder import encode, encoded_size
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.nn.normalisation import RewardScale, RunningNorm


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def test_modules_are_views_of_the_flat_vector():
    net = small()
    before = [p.detach().clone() for p in net.parameters()]
    flat = Flat(net)
    for p, b in zip(net.parameters(), before):
        assert torch.equal(p, b)
    with torch.no_grad():
        flat.parameter.fill_(0.5)
    assert all((p == 0.5).all() for p in net.parameters())
    net.load_state_dict({k: torch.ones_like(v) for k, v in net.state_dict().items()})
    assert (flat.parameter == 1.0).all()


def test_flat_adam_is_adam_on_the_modules():
    plain, viewed = small(), small()
    flat = Flat(viewed)
    adam, flat_adam = torch.optim.Adam(plain.parameters(), 0.01, eps=1e-5), FlatAdam(flat, 0.01, eps=1e-5)
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    for step in range(30):
        adam.param_groups[0]["lr"] = flat_adam.learning_rate = 0.01 * (1 - step / 30)
        adam.zero_grad()
        flat.zero_grad()
        for net in (plain, viewed):
            net(x).square().sum().backward()
        expected = nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        torch.testing.assert_close(flat.clip_grad_norm(0.5), expected)
        adam.step()
        flat_adam.step()
    for p, q in zip(plain.parameters(), viewed.parameters()):
        torch.testing.assert_close(p, q)


def test_flat_adam_goes_on_where_its_state_says():
    def step(flat, adam, k):
        flat.parameter.grad.copy_(torch.sin(torch.arange(len(flat.parameter)) * 1.0 + k))
        adam.step()

    whole, torn = Flat(small()), Flat(small())
    one, first, second = FlatAdam(whole, 0.1), FlatAdam(torn, 0.1), FlatAdam(torn, 0.1)
    for k in range(6):
        step(whole, one, k)
        if k == 3:
            second.load_state_dict(first.state_dict())
        step(torn, first if k < 3 else second, k)
    assert torch.equal(whole.parameter, torn.parameter)


def test_running_statistics_are_those_of_all_that_was_seen():
    rng = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, 3, generator=rng) * 5 + 100 for n in (7, 1, 300)]
    norm = RunningNorm(3)
    for part in parts:
        norm.update(part)
    seen = torch.cat(parts)
    torch.testing.assert_close(norm.mean, seen.mean(0))
    torch.testing.assert_close(norm.var, seen.var(0, correction=0), rtol=1e-4, atol=1e-4)
    fresh = RunningNorm(3)
    fresh.load_state_dict(norm.state_dict())
    assert torch.equal(fresh(seen), norm(seen))
    assert norm(seen).std(0, correction=0).sub(1).abs().max() < 1e-3


def test_columns_behind_what_is_normalised_pass_as_they_are():
    rng = torch.Generator().manual_seed(0)
    seen, mask = torch.randn(50, 3, generator=rng) * 5 + 100, (torch.rand(50, 2, generator=rng) < 0.5).float()
    norm, alone = RunningNorm(3), RunningNorm(3)
    norm.update(torch.cat([seen, mask], -1))
    alone.update(seen)
    assert torch.equal(norm(torch.cat([seen, mask], -1)), torch.cat([alone(seen), mask], -1))


def test_rewards_are_scaled_by_the_spread_of_the_return_and_never_shifted():
    reward = torch.full((50, 2), 4.0)
    ended = torch.zeros(50, 2, dtype=torch.bool)
    ended[24] = True
    returns = []
    for b in range(2):
        running = 0.0
        for t in range(50):
            running = running * 0.9 + 4.0
            returns.append(running)
            if ended[t, b]:
                running = 0.0
    scale = RewardScale(2, 0.9)
    torch.testing.assert_close(scale(reward, ended), reward / torch.tensor(returns).std(correction=0))


@pytest.mark.parametrize(
    ("space", "obs", "expected"),
    [
        (spaces.Discrete(3, start=2), np.array([2, 4]), [[1, 0, 0], [0, 0, 1]]),
        (spaces.Box(-1, 1, (2, 1), np.float64), np.array([[[0.5], [1.0]]]), [[0.5, 1.0]]),
        (spaces.MultiBinary(2), np.array([[1, 0]], np.int8), [[1, 0]]),
    ],
)
def test_observations_become_vectors(space, obs, expected):
    encoded = encode(space, torch.from_numpy(obs))
    assert encoded.dtype == torch.float32
    assert encoded.tolist() == expected
    assert encoded.shape[-1] == encoded_size(space)


def test_spaces_that_do_not_fit_are_named():
    with pytest.raises(ConfigError, match="observations of Text"):
        ActorCritic(spaces.Text(3), spaces.Discrete(2))
    with pytest.raises(ConfigError, match="actions of Text"):
        ActorCritic(spaces.Discrete(3), spaces.Text(2))


def test_the_first_policy_is_nearly_uniform():
    net = ActorCritic(spaces.Box(-1, 1, (4,)), spaces.Discrete(3), generator=torch.Generator().manual_seed(0))
    probabilities = torch.softmax(net.actor(torch.randn(100, 4, generator=torch.Generator().manual_seed(1))), -1)
    assert (probabilities - 1 / 3).abs().max() < 0.02
