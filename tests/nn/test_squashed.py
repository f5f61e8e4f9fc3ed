"""Squashed actions, the actor and its critics: units of the box, densities, masks, images, what is saved."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from cumulant.errors import ConfigError
from cumulant.nn.actor import Actor
from cumulant.nn.build import build
from cumulant.nn.flat import Flat, FlatAdam
from cumulant.nn.q_critic import QCritics
from cumulant.nn.squashed import SquashedGaussian, SquashedPoint

BOX = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([4.0, 1.0], np.float32))
OBS = spaces.Box(-1, 1, (3,), np.float32)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("head", [SquashedGaussian, SquashedPoint])
def test_actions_fill_the_box_and_never_leave_it(head):
    made = head(BOX)
    np.testing.assert_allclose(made.to_env(np.array([[-1.0, -1.0], [0.0, 0.5], [1.0, 1.0]], np.float32)),
                               [[-2.0, 0.0], [1.0, 0.75], [4.0, 1.0]])  # fmt: skip
    actions = made.sample(torch.randn(500, made.outputs, generator=seeded()) * 5.0, made.noise((500,), seeded(1)))
    assert actions.shape == (500, 2)
    assert actions.abs().max() <= 1.0
    assert BOX.contains(made.to_env(actions.numpy())[0])
    assert made.mode(torch.zeros(1, made.outputs)).tolist() == [[0.0, 0.0]]


def test_samples_have_the_density_that_is_said():
    head, outputs = SquashedGaussian(spaces.Box(-1, 1, (1,))), torch.tensor([[0.3, -0.5]])
    many = outputs.expand(200_000, 2)
    noise = head.noise((200_000,), seeded())
    action, logp = head.sample_logp(many, noise)
    torch.testing.assert_close(action, head.sample(many, noise))
    inside = (action > 0.2) & (action < 0.25)
    middle = torch.tensor([[0.225]]).atanh()
    shift = (middle - 0.3) / torch.tensor(-0.5).exp()
    at_middle, said = head.sample_logp(outputs, shift)
    assert at_middle.item() == pytest.approx(0.225, abs=1e-6)
    assert inside.float().mean().item() / 0.05 == pytest.approx(said.exp().item(), rel=0.05)
    assert logp.shape == (200_000,)


def test_a_point_explores_by_its_noise_only():
    head = SquashedPoint(BOX, noise_std=0.2)
    outputs = torch.zeros(5000, 2)
    assert head.sample(outputs, head.noise((5000,), seeded())).std().item() == pytest.approx(0.2, rel=0.05)
    assert (head.mode(outputs) == 0.0).all()


@pytest.mark.parametrize(
    "space", [spaces.Box(-np.inf, np.inf, (1,)), spaces.Box(0, np.inf, (2,)), spaces.Box(-1e9, 1e9, (1,))]
)
def test_a_box_without_bounds_is_refused(space):
    for head in (SquashedGaussian, SquashedPoint):
        with pytest.raises(ConfigError, match="without bounds"):
            head(space)
    with pytest.raises(ConfigError, match="squashes its actions to a Box"):
        SquashedPoint(spaces.Discrete(2))


@pytest.mark.parametrize(
    "fields", [{}, {"net": "residual", "normalize_obs": True}, {"deterministic": True, "noise_std": 0.3}]
)
def test_an_actor_is_rebuilt_from_its_description(fields):
    actor = Actor(OBS, BOX, hidden=(16, 16), **fields, generator=seeded())
    actor.observe(torch.randn(50, 3, generator=seeded(1)) * 3.0 + 1.0)
    again = build(actor.spec, OBS, BOX)
    again.load_state_dict(actor.state_dict())
    obs, noise = torch.rand(4, 3), torch.randn(4, 2)
    torch.testing.assert_close(again.mode(again.encode(obs)), actor.mode(actor.encode(obs)), rtol=0, atol=0)
    torch.testing.assert_close(
        again.sample(again.encode(obs), noise), actor.sample(actor.encode(obs), noise), rtol=0, atol=0
    )


def test_masked_actions_are_never_taken_and_the_mask_is_not_normalised():
    space = spaces.Dict(action_mask=spaces.MultiBinary(3), observation=spaces.Box(-9, 9, (2,)))
    actor = Actor(space, spaces.Discrete(3), hidden=(8,), normalize_obs=True, generator=seeded())
    raw = torch.cat([torch.tensor([[0.0, 1.0, 1.0]]).expand(300, 3), torch.randn(300, 2, generator=seeded())], -1)
    actor.observe(actor.flat(raw))
    encoded = actor.encode(raw)
    assert encoded[:, 2:].unique(dim=0).tolist() == [[0.0, 1.0, 1.0]]
    for action in (
        actor.sample(encoded, actor.head.noise((300,), seeded(2))),
        actor.mode(encoded),
        actor.random(encoded, seeded(3)),
    ):
        assert action.shape == (300,)
        assert action.min() >= 1
    assert QCritics(space, spaces.Discrete(3), hidden=(8,), generator=seeded())(encoded).shape == (2, 300, 3)
    with pytest.raises(ConfigError, match="action_mask has 3 entries"):
        Actor(space, spaces.Discrete(4))


def test_random_actions_are_anywhere_in_the_box():
    actions = Actor(OBS, BOX).random(torch.zeros(4000, 3), seeded())
    assert actions.shape == (4000, 2)
    assert actions.mean().item() == pytest.approx(0.0, abs=0.03)
    assert actions.std().item() == pytest.approx(3**-0.5, abs=0.02)


def test_critics_share_nothing_and_have_the_shapes_they_say():
    encoded, action = torch.randn(7, 3), torch.rand(7, 2)
    critics = QCritics(OBS, BOX, num_critics=3, hidden=(8,), generator=seeded())
    q = critics(encoded, action)
    assert q.shape == (3, 7)
    slopes = torch.autograd.grad(q[0].sum(), list(critics.parameters()), allow_unused=True, materialize_grads=True)
    moved = [slope.abs().sum() > 0 for slope in slopes]
    assert moved == [True] * 4 + [False] * 8
    assert QCritics(OBS, BOX, num_quantiles=5, hidden=(8,), generator=seeded())(encoded, action).shape == (2, 7, 5)
    discrete = spaces.Discrete(4)
    assert QCritics(OBS, discrete, hidden=(8,), generator=seeded())(encoded).shape == (2, 7, 4)
    assert QCritics(OBS, discrete, num_quantiles=5, hidden=(8,), generator=seeded())(encoded).shape == (2, 7, 4, 5)


def test_images_are_read_by_convolutions():
    pixels = spaces.Box(0, 255, (40, 40, 1), np.uint8)
    actor, critics = (
        Actor(pixels, BOX, hidden=(8,), generator=seeded()),
        QCritics(pixels, BOX, hidden=(8,), generator=seeded()),
    )
    encoded = actor.encode(torch.randint(0, 255, (2, 40, 40, 1), dtype=torch.uint8))
    assert actor.mode(encoded).shape == (2, 2)
    assert critics(encoded, torch.zeros(2, 2)).shape == (2, 2)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_flat_adam_is_adamw_of_torch(weight_decay):
    ours, theirs = (torch.nn.Linear(3, 2) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    flat = Flat(ours)
    mine = FlatAdam(flat, 0.01, weight_decay=weight_decay)
    reference = torch.optim.AdamW(theirs.parameters(), 0.01, weight_decay=weight_decay)
    for step in range(5):
        x = torch.randn(4, 3, generator=seeded(step))
        flat.zero_grad()
        reference.zero_grad()
        ours(x).square().sum().backward()
        theirs(x).square().sum().backward()
        mine.step()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b)
