import numpy as np
import pytest
import torch
from gymnasium import spaces

from cumulant.engine.policy import Policy
from cumulant.errors import ConfigError
from cumulant.nn.flat import Flat
from cumulant.nn.q_network import NOISE_SCALE, QNetwork

OBS, ACTIONS = spaces.Box(-1, 1, (4,)), spaces.Discrete(3)
KINDS = {
    "scalar": {},
    "dueling": {"dueling": True},
    "noisy": {"noisy": True},
    "c51": {"head": "c51", "num_atoms": 11, "value_range": (-1.0, 3.0)},
    "quantile": {"head": "quantile", "num_atoms": 7},
    "all": {"dueling": True, "noisy": True, "head": "c51", "num_atoms": 5, "value_range": (-1.0, 3.0)},
}


def make(**options):
    net = QNetwork(OBS, ACTIONS, (8, 6), **options, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        net.layers[-1].weight.mul_(100.0)  # the last layer starts near zero
    return net


def obs(n=5):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_network_is_the_same(kind, tmp_path):
    net = make(**KINDS[kind])
    Policy(net).save(tmp_path)
    loaded = Policy.load(tmp_path)
    assert torch.equal(loaded.net.q(obs()), net.q(obs()))
    assert loaded.net.spec == net.spec
    assert isinstance(loaded.act(np.zeros(4, np.float32)), int)


def test_outputs_and_values():
    assert make()(obs()).shape == (5, 3)
    assert make(dueling=True)(obs()).shape == (5, 3)
    net = make(**KINDS["c51"])
    out = net(obs())
    assert out.shape == (5, 3, 11)
    expected = (out.softmax(-1) * torch.linspace(-1, 3, 11)).sum(-1)
    torch.testing.assert_close(net.q(obs()), expected)
    net = make(**KINDS["quantile"])
    torch.testing.assert_close(net.q(obs()), net(obs()).mean(-1))
    torch.testing.assert_close(net.value(obs()), net.q(obs()).max(-1).values)
    assert torch.equal(net.mode(obs()), net.q(obs()).argmax(-1))


@pytest.mark.parametrize("head", ["scalar", "c51", "quantile"])
def test_dueling_is_value_plus_centred_advantages(head):
    net = make(dueling=True, head=head, num_atoms=5)
    raw = net.layers(obs()).unflatten(-1, (4, -1))
    value, advantage = raw[:, :1], raw[:, 1:]
    expected = value + advantage - advantage.mean(1, keepdim=True)
    torch.testing.assert_close(net(obs()), expected.squeeze(-1) if head == "scalar" else expected)
    torch.testing.assert_close(net(obs()).mean(1, keepdim=True), value.squeeze(-1) if head == "scalar" else value)


def test_noise_is_factorised_gaussian_by_square_root():
    net = make(noisy=True)
    noise = net.noise(torch.Generator().manual_seed(2))
    assert noise.shape == (4 + 8 + 8 + 6 + 6 + 3,)
    normal = torch.randn(35, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(noise, normal.sign() * normal.abs().sqrt())
    x, place = obs(), 0
    for k, layer in enumerate([net.layers[0], net.layers[2], net.layers[4]]):
        into, out = noise[place : place + layer.in_features], noise[place + layer.in_features :][: layer.out_features]
        place += layer.in_features + layer.out_features
        sigma = NOISE_SCALE / layer.in_features**0.5
        x = x @ (layer.weight + sigma * out[:, None] * into[None, :]).T + layer.bias + sigma * out
        x = x.relu() if k < 2 else x
    torch.testing.assert_close(net(obs(), noise), x)
    assert make().noise(torch.Generator()) is None


def test_noise_moves_actions_and_greedy_ones_have_none():
    net, generator = make(noisy=True), torch.Generator().manual_seed(3)
    assert torch.equal(net.q(obs()), net.q(obs(), None))
    first, second = (net.q(obs(), net.noise(generator)) for _ in range(2))
    assert not torch.allclose(first, second)
    net.q(obs(), net.noise(generator)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_sampled_actions_are_epsilon_greedy():
    net = make(epsilon=0.3)
    one = obs(1).expand(20_000, 4)
    action = net.sample(one, net.head.noise((20_000,), torch.Generator().manual_seed(4)))
    share = (action == net.mode(one)).float().mean().item()
    assert share == pytest.approx(0.8, abs=0.015)


def test_continuous_actions_are_refused():
    with pytest.raises(ConfigError, match="need Discrete actions, and this environment has Box"):
        QNetwork(OBS, spaces.Box(-1, 1, (2,)))


@pytest.mark.parametrize("kind", KINDS)
def test_by_hand_gives_the_outputs_and_gradients_of_forward(kind):
    net = make(**KINDS[kind])
    flat, made = Flat(net), net.by_hand(obs())
    if net.spec["noisy"]:
        assert made is None
        return
    out = net.read(made.out)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(3))
    (out.tanh() * weight).sum().backward()
    made.backward()
    mine = flat.parameter.grad.clone()
    flat.zero_grad()
    (net(obs()).tanh() * weight).sum().backward()
    torch.testing.assert_close(out, net(obs()), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine, flat.parameter.grad, rtol=1e-5, atol=1e-5 * float(mine.abs().max()))


def test_a_network_with_convolutions_is_not_run_by_hand():
    net = QNetwork(spaces.Box(0, 255, (36, 36, 3), np.uint8), ACTIONS, (8,), generator=torch.Generator().manual_seed(0))
    assert net.by_hand(net.encode(torch.zeros(2, 36, 36, 3, dtype=torch.uint8))) is None
