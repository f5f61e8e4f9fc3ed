"""What reads observations: images, several parts, masks of allowed actions, a user's own module; and residual towers."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.spaces import flatten
from torch import nn

from cumulant.errors import ConfigError, UsageError
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.build import build
from cumulant.nn.conv import Pixels
from cumulant.nn.encoder import encode, encoded_size, mask_size, parts
from cumulant.nn.mlp import residual_mlp
from cumulant.nn.network import NetworkConfig, trunk
from cumulant.nn.q_network import QNetwork

BYTES = spaces.Box(0, 255, (84, 84, 4), np.uint8)
BOARD = spaces.Box(0, 1, (10, 10, 6), np.uint8)
MASKED = spaces.Dict({"observation": spaces.Box(-1, 1, (3,), np.float32), "action_mask": spaces.MultiBinary(4)})
MIXED = spaces.Dict(
    {"camera": spaces.Box(0, 255, (40, 50, 3), np.uint8), "gear": spaces.Discrete(5), "speed": spaces.Box(-1, 1, (2,))}
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(space, num, seed=0):
    """Observations as a vector environment shows them."""
    space.seed(seed)
    rows = [space.sample() for _ in range(num)]
    if isinstance(space, spaces.Dict):
        rows = [flatten(space, row).astype(np.float32) for row in rows]
    return torch.from_numpy(np.stack(rows))


@pytest.mark.parametrize(
    ("space", "net", "size"),
    [
        (BYTES, "auto", 512), (BYTES, "cnn", 512), (BYTES, "impala", 256),
        (BOARD, "auto", 128), (BOARD, "mlp", 600), (MIXED, "auto", 519),
    ],
)  # fmt: skip
def test_images_become_vectors(space, net, size):
    read = trunk(space, net, rng())
    encoded = encode(space, batch(space, 3))
    out = read(encoded)
    assert out.shape == (3, size)
    assert read.size == size
    again = read(encoded.unsqueeze(0).expand(2, 3, -1))[1]  # another batch size may be computed in another order
    torch.testing.assert_close(again, out, rtol=1e-4, atol=1e-4)
    assert (out.std(0) > 0).float().mean() > 0.1  # it sees the difference between observations


def test_bytes_are_read_as_shares_of_255_wherever_they_are():
    image = batch(BYTES, 2)
    as_bytes = trunk(BYTES, "cnn", rng())(encode(BYTES, image))
    floats = spaces.Box(0, 1, BYTES.shape, np.float32)
    torch.testing.assert_close(trunk(floats, "cnn", rng())(encode(floats, image / 255.0)), as_bytes)
    inside = spaces.Dict({"camera": BYTES})
    torch.testing.assert_close(trunk(inside, "cnn", rng())(encode(inside, image.flatten(1).float())), as_bytes)
    assert encode(BYTES, image).dtype == torch.uint8  # a quarter of the memory until it is read
    torch.testing.assert_close(
        trunk(BYTES, "mlp", None)(encode(BYTES, image)), image.permute(0, 3, 1, 2).flatten(1) / 255.0
    )


def test_channels_first_and_last_are_the_same_image():
    image = batch(BYTES, 2)
    first = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    out = trunk(first, "cnn", rng())(encode(first, image.permute(0, 3, 1, 2).contiguous()))
    torch.testing.assert_close(out, trunk(BYTES, "cnn", rng())(encode(BYTES, image)), rtol=1e-4, atol=1e-5)


def test_a_pixel_outside_what_the_last_convolution_sees_does_not_matter_and_others_do():
    read = trunk(BYTES, "cnn", rng())
    image = batch(BYTES, 1)
    moved = image.clone()
    moved[0, 40, 40, 2] ^= 128
    assert not torch.equal(read(encode(BYTES, image)), read(encode(BYTES, moved)))


@pytest.mark.parametrize("space", [spaces.Box(-1, 1, (3,)), spaces.Discrete(4)])
def test_convolutions_need_images(space):
    for net in ("cnn", "impala"):
        with pytest.raises(ConfigError, match=f"net = {net} reads images"):
            trunk(space, net, rng())
    with pytest.raises(ConfigError, match="too small for convolutions: use net = mlp"):
        trunk(spaces.Box(0, 1, (2, 2, 3)), "cnn", rng())
    with pytest.raises(ConfigError, match="normalize_obs is for vectors"):
        ActorCritic(BYTES, spaces.Discrete(2), normalize_obs=True)


def test_the_mask_is_the_last_part_of_an_observation():
    assert [part.size for part in parts(MASKED)] == [3, 4]
    assert mask_size(MASKED) == 4
    obs = {"observation": np.array([0.1, 0.2, 0.3], np.float32), "action_mask": np.array([1, 0, 0, 1], np.int8)}
    row = torch.from_numpy(flatten(MASKED, obs).astype(np.float32))
    torch.testing.assert_close(encode(MASKED, row), torch.tensor([0.1, 0.2, 0.3, 1, 0, 0, 1]))
    other = spaces.Dict({**MASKED.spaces, "above": spaces.Discrete(2), "zone": spaces.Box(0, 1, (1,))})
    sample = {**obs, "above": 1, "zone": np.array([0.5], np.float32)}
    encoded = encode(other, torch.from_numpy(flatten(other, sample).astype(np.float32)))
    torch.testing.assert_close(encoded, torch.tensor([0, 1, 0.1, 0.2, 0.3, 0.5, 1, 0, 0, 1]))
    assert encoded_size(other) == 10


@pytest.mark.parametrize("normalize_obs", [False, True])
@pytest.mark.parametrize("memory", ["none", "lstm"])
def test_forbidden_actions_are_never_taken_and_have_no_gradient(normalize_obs, memory):
    net = ActorCritic(MASKED, spaces.Discrete(4), (8,), "tanh", normalize_obs, rng(), memory=memory)
    obs = torch.rand(500, 7, generator=rng(1))
    allowed = torch.rand(500, 4, generator=rng(2)) < 0.5
    allowed[torch.arange(500), torch.arange(500) % 4] = True
    obs[:, :4] = allowed.float()  # "action_mask" comes before "observation"
    net.observe(net.flat(obs))
    seen, _ = net.step(net.encode(obs), None if net.memory is None else net.memory.start(500))
    action = net.sample(seen, net.head.noise((500,), rng(3)))
    assert allowed[torch.arange(500), action].all()
    assert allowed[torch.arange(500), net.mode(seen)].all()
    assert len(action.unique()) == 4
    logp, entropy = net.logp_entropy(seen, action)
    (logp.sum() + entropy.sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    only = allowed.sum(1) == 1
    torch.testing.assert_close(logp[only], torch.zeros(int(only.sum())))
    probability = torch.softmax(net.logits(seen), -1)
    torch.testing.assert_close((probability * allowed).sum(-1), torch.ones(500))


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(ConfigError, match=r"action_mask has 4 entries, and there are 3 choices"):
        ActorCritic(MASKED, spaces.Discrete(3))
    with pytest.raises(ConfigError, match=r"action_mask has 4 entries, and there are 3 choices"):
        QNetwork(MASKED, spaces.Discrete(3))


@pytest.mark.parametrize("head", ["scalar", "c51", "quantile"])
def test_values_of_forbidden_actions_are_never_the_best(head):
    net = QNetwork(MASKED, spaces.Discrete(4), (8,), head=head, generator=rng())
    obs = torch.rand(50, 7, generator=rng(1))
    obs[:, :4] = torch.tensor([0.0, 1.0, 0.0, 1.0])
    encoded = net.encode(obs)
    assert set(net.mode(encoded).tolist()) <= {1, 3}
    assert torch.isfinite(net.value(encoded)).all()
    sampled = net.sample(encoded.repeat(20, 1), net.head.noise((1000,), rng(2)))
    assert set(sampled.tolist()) <= {1, 3}


def test_a_mask_covers_the_choices_of_a_joint_action():
    action_space = spaces.Dict(
        {"amount": spaces.Box(0, 10, (2,)), "kind": spaces.Discrete(3), "more": spaces.MultiBinary(1)}
    )
    space = spaces.Dict({"observation": spaces.Box(-1, 1, (1,)), "action_mask": spaces.MultiBinary(5)})
    net = ActorCritic(space, action_space, (8,), generator=rng())
    obs = torch.tensor([[0, 1, 0, 1, 0, 0.3]]).expand(200, 6)
    seen = net.features(net.encode(obs))
    action = net.sample(seen, net.head.noise((200,), rng(1)))
    assert action.shape == (200, 4)
    assert (action[:, 2] == 1).all()
    assert (action[:, 3] == 0).all()
    assert action[:, :2].std(0).min() > 0.5
    native = net.head.to_env(action.detach().numpy())
    assert 0 <= native[:, :2].min() <= native[:, :2].max() <= 10
    np.testing.assert_array_equal(native[:, 2:], action[:, 2:].detach().numpy())


def test_a_joint_action_is_as_likely_as_its_parts_together():
    net = ActorCritic(spaces.Box(-1, 1, (2,)), spaces.MultiDiscrete([3, 4]), (8,), generator=rng())
    obs = torch.rand(6, 2, generator=rng(1))
    logits = net.logits(obs)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    logp = torch.stack([net.logp_entropy(obs, action.expand(6, 2))[0] for action in every], -1)
    torch.testing.assert_close(logp.exp().sum(-1), torch.ones(6))
    entropy = net.logp_entropy(obs, every[:6])[1]
    torch.testing.assert_close(entropy, -(logp.exp() * logp).sum(-1))
    first, second = logits[:, :3].log_softmax(-1), logits[:, 3:].log_softmax(-1)
    torch.testing.assert_close(logp[:, 7], first[:, 1] + second[:, 3])
    assert net.sample(obs, net.head.noise((6,), rng(2))).dtype == torch.int64


def test_residual_towers_start_as_nearly_linear_maps_and_need_one_width():
    made = residual_mlp(3, (16, 16), 2, "relu", 0.01, rng())
    assert sum(isinstance(layer, nn.LayerNorm) for layer in made.modules()) == 3
    assert made(torch.rand(4, 3)).abs().max() < 0.1
    with pytest.raises(ConfigError, match=r"hidden = \(16, 8\): blocks of a residual network have one width"):
        residual_mlp(3, (16, 8), 2, "relu", 0.01, rng())


OWN = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, space):
        super().__init__()
        self.shape = space.shape
        self.layer = nn.Linear(space.shape[0] * space.shape[1], 5)
    def forward(self, obs):
        assert obs.shape[1:] == self.shape
        return self.layer(obs.float().flatten(1))

class Wrong(Small):
    def forward(self, obs):
        return obs.float().sum()

class Broken(nn.Module):
    def __init__(self, space):
        raise ValueError("no such thing")

class Parts(nn.Module):
    def __init__(self, space):
        super().__init__()
    def forward(self, obs):
        assert obs["camera"].dtype == torch.uint8 and obs["camera"].shape[1:] == (40, 50, 3)
        return torch.cat([obs["gear"], obs["speed"]], 1)

NOTHING = 3
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(OWN)
    return path


def test_a_module_of_ones_own_reads_observations(own):
    space = spaces.Box(-1, 1, (2, 3), np.float32)
    nets = [ActorCritic(space, spaces.Discrete(2), (4,), generator=rng(), net=f"{own}:Small") for _ in range(2)]
    for one, other in zip(nets[0].parameters(), nets[1].parameters()):
        torch.testing.assert_close(one, other)  # its weights follow from the seed too
    assert nets[0].trunk.size == 5
    assert nets[0].value(nets[0].features(nets[0].encode(batch(space, 7)))).shape == (7,)
    read = trunk(MIXED, f"{own}:Parts", rng())
    obs = batch(MIXED, 3)
    torch.testing.assert_close(read(encode(MIXED, obs)), obs[:, -7:])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Wrong", r"two observations gave \(\), not \(2, K\)"),
        ("Broken", "ValueError: no such thing"),
        ("NOTHING", "'int' object is not callable"),
    ],
)
def test_a_module_that_does_not_fit_is_refused(own, name, said):
    with pytest.raises(ConfigError, match=said):
        trunk(spaces.Box(-1, 1, (2, 3), np.float32), f"{own}:{name}", rng())
    with pytest.raises(UsageError, match="has no 'Smal': did you mean 'Small'"):
        trunk(spaces.Box(-1, 1, (2, 3), np.float32), f"{own}:Smal", rng())


def test_a_network_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match=r"net = 'cn': it must be .*did you mean 'cnn'"):
        NetworkConfig(net="cn")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_are_scaled_by_the_highest_that_the_space_allows(dtype):
    """255 for pictures, whatever their type; cells of a board that are 0 or 1 stay 0 or 1."""
    for highest in (255, 1):
        pixels = Pixels(spaces.Box(0, highest, (6, 6, 3), dtype))
        image = torch.from_numpy(np.full((2, 108), highest, dtype))
        torch.testing.assert_close(pixels(image).unique(), torch.ones(1))


@pytest.mark.parametrize("highest", [np.inf, np.finfo(np.float32).max])
def test_images_without_a_bound_are_not_scaled(highest):
    pixels = Pixels(spaces.Box(-highest, highest, (6, 6, 3), np.float32))
    assert pixels(torch.full((2, 108), 7.0)).unique().tolist() == [7.0]


@pytest.mark.parametrize("net", ["cnn", "impala"])
def test_bfloat16_convolutions_are_nearly_those_of_float32(net):
    space = spaces.Box(0, 255, (40, 40, 3), np.uint8)
    rows = torch.randint(0, 256, (16, 40 * 40 * 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    outputs, grads = [], []
    for precision in ("float32", "bfloat16"):
        reader = trunk(space, net, torch.Generator().manual_seed(0), precision)
        features = reader(rows)
        assert features.dtype == torch.float32
        features.square().mean().backward()
        assert all(each.dtype == each.grad.dtype == torch.float32 for each in reader.parameters())
        outputs.append(features.detach().flatten())
        grads.append(torch.cat([each.grad.flatten() for each in reader.parameters()]))
    for exact, coarse in (outputs, grads):
        error = (coarse - exact).norm() / exact.norm()
        assert 1e-5 < error < 0.02  # eight bits of a number, and not the same numbers


def test_precision_is_saved_with_the_network():
    space = spaces.Box(0, 255, (40, 40, 3), np.uint8)
    net = ActorCritic(space, spaces.Discrete(2), precision="bfloat16")
    again = build(net.spec, space, spaces.Discrete(2))
    assert again.trunk.coarse
