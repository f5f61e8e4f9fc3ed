"""The targets of SAC and TD3 on critics that disagree: the smaller one counts. TD3's policy moves every other update only."""

import pytest
import torch
from gymnasium import spaces

from cumulant.algos import sac, td3
from cumulant.data.replay import Transitions
from cumulant.engine.constraint import ConstraintConfig, Multiplier
from cumulant.nn.actor import Actor, Temperature
from cumulant.nn.flat import FlatAdam
from cumulant.nn.q_critic import QCritics

SEEN, BOX, CHOICE = spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,)), spaces.Discrete(3)
REWARD, DISCOUNT = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.9, 0.9, 0.81])


def critics_of(action_space, values):
    """Critics that say a constant each, whatever they see."""
    critics = QCritics(SEEN, action_space, hidden=(4,), generator=torch.Generator().manual_seed(0))
    for member, value in zip(critics.members, values):
        with torch.no_grad():
            member[-1].weight.zero_()
            member[-1].bias.fill_(value)
    return critics


def batch():
    obs = torch.rand(3, 2, generator=torch.Generator().manual_seed(1))
    terminated = torch.tensor([False, True, False])
    action = torch.zeros(3, 1)
    return Transitions(obs, action, REWARD, obs, terminated, DISCOUNT, None, None)


@pytest.mark.parametrize("values", [(5.0, -2.0), (-2.0, 5.0)])
def test_td3_takes_the_smaller_critic(values):
    actor = Actor(SEEN, BOX, deterministic=True, hidden=(4,), generator=torch.Generator().manual_seed(0))
    target = td3.targets(td3.Config(), actor, actor, critics_of(BOX, values), batch(), torch.zeros(3, 1))
    expected = torch.tensor([1.0 + 0.9 * -2.0, 2.0, 3.0 + 0.81 * -2.0])
    torch.testing.assert_close(target, expected.expand(2, -1))


@pytest.mark.parametrize("action_space", [BOX, CHOICE], ids=["continuous", "discrete"])
@pytest.mark.parametrize("values", [(5.0, -2.0), (-2.0, 5.0)])
def test_sac_takes_the_smaller_critic_in_targets_and_in_what_the_policy_follows(action_space, values):
    actor = Actor(SEEN, action_space, hidden=(4,), generator=torch.Generator().manual_seed(0))
    critics, temperature = critics_of(action_space, values), Temperature(1e-12)  # next to nothing for entropy
    target = sac.targets(actor, critics, temperature, batch(), torch.zeros(3, actor.head.size))
    expected = torch.tensor([1.0 + 0.9 * -2.0, 2.0, 3.0 + 0.81 * -2.0])
    torch.testing.assert_close(target, expected.expand(2, -1))
    encoded, noise = actor.encode(batch().obs), torch.zeros(3, actor.head.size)
    loss, _ = sac.policy_loss(actor, critics, temperature, Multiplier(ConstraintConfig()), encoded, noise)
    torch.testing.assert_close(loss, torch.full((3,), 2.0))  # minus the value


@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_policy_of_td3_moves_every_so_many_updates(train_one, monkeypatch, every):
    steps, step = [], FlatAdam.step

    def watch(self):
        steps.append(self.flat.parameter.numel())
        step(self)

    monkeypatch.setattr(FlatAdam, "step", watch)
    train_one(
        "td3", "probe-continuous", total_steps=64, num_envs=4, horizon=16, warmup_steps=4, batch_size=8, hidden=(4,),
        policy_every=every, updates_per_step=1.0, eval_episodes=2, engine="torch",
    )  # fmt: skip
    actor, critics = sorted(set(steps))
    assert steps.count(critics) == 60
    assert steps.count(actor) == 60 // every
