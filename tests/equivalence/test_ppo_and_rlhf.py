"""PPO on an environment and PPO on text are one algorithm: the same batch of one-token episodes, the same loss and gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cumulant.algos import ppo, rlhf
from cumulant.engine.tuned import Critic, Tuned
from cumulant.maths.masked import masked_whiten
from cumulant.maths.returns import gae
from cumulant.nn.llama import Llama, LlamaConfig

SHAPE = LlamaConfig(
    vocab_size=23, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
    max_position_embeddings=16, initializer_range=0.4,
)  # fmt: skip
COUNT = 48


class Reader(nn.Module):
    """The language model as an actor-critic: it reads a prompt, an action is a token, and there is one step."""

    def __init__(self, model, critic):
        super().__init__()
        self.model, self.critic = model, critic

    def features(self, obs):
        return self.model.hidden(obs)[:, -1]

    def logp_entropy(self, seen, action):
        scores = self.model.logits(seen).log_softmax(-1)
        return scores.gather(1, action[:, None])[:, 0], -(scores.exp() * scores).sum(-1)

    def value(self, seen):
        return self.critic(seen)


def one_token_episodes():
    """Prompts of three tokens, one token in reply, and what an older policy thought of it."""
    draw = torch.Generator().manual_seed(5)
    model = Llama(SHAPE, draw)
    critic = Critic(SHAPE.hidden_size)
    with torch.no_grad():
        critic.weight.normal_(0.0, 0.3, generator=draw)
    prompt = torch.randint(0, 23, (COUNT, 3), generator=draw)
    action = torch.randint(0, 23, (COUNT,), generator=draw)
    with torch.no_grad():
        logp, _ = Reader(model, critic).logp_entropy(model.hidden(prompt)[:, -1], action)
        value = critic(model.hidden(prompt)[:, -1])
    logp_old = logp + 0.3 * torch.randn(COUNT, generator=draw)  # ratios on both sides of the clip interval
    value_old = value + 0.3 * torch.randn(COUNT, generator=draw)
    score = 2.0 * torch.randn(COUNT, generator=draw)
    return model, critic, prompt, action, logp_old, value_old, score


@pytest.mark.parametrize("value_clip", [None, 0.1])
def test_the_same_loss_and_gradient_on_one_token_episodes(value_clip):
    model, critic, prompt, action, logp_old, value_old, score = one_token_episodes()
    ended = torch.ones(1, COUNT, dtype=torch.bool)
    zero = torch.zeros(1, COUNT)
    advantage = gae(score[None], value_old[None], zero, ended, ended, 0.9, 0.7)[0]
    real = torch.ones(COUNT, 1, dtype=torch.bool)
    by_token = rlhf.token_advantage(score, torch.zeros(COUNT, 1), value_old[:, None], real, 0.3, 0.9, 0.7)
    torch.testing.assert_close(by_token[:, 0], advantage, rtol=0, atol=1e-6)
    target = advantage + value_old
    # ppo whitens each minibatch with N - 1, rlhf the whole batch with N: on numbers of mean 0 and deviation 1 ppo changes nothing
    whitened = masked_whiten(by_token, real)[:, 0] * ((COUNT - 1) / COUNT) ** 0.5

    config = ppo.Config(clip=0.2, value_coef=0.7, value_clip=value_clip)
    minibatch = (prompt, action, logp_old, value_old, whitened, target, target)
    theirs = ppo.minibatch_loss(Reader(model, critic), minibatch, config, entropy_coef=0.0)
    theirs.total.backward()
    gradients = {name: part.grad for name, part in [*model.named_parameters(), *critic.named_parameters()]}
    model.zero_grad(), critic.zero_grad()

    ids = torch.cat([prompt, action[:, None]], 1)
    columns = [x[:, None] for x in (logp_old, value_old, whitened, target)]
    batch = rlhf.Batch(ids, torch.ones_like(ids, dtype=torch.bool), real, *columns, None, None)
    options = rlhf.Config(clip=0.2, critic=rlhf.CriticConfig("policy", value_coef=0.7, value_clip=value_clip))
    ours = rlhf.minibatch_loss(Tuned(model, None, model), critic, batch, options, COUNT)
    ours.total.backward()

    for name in ("total", "policy", "value"):
        assert getattr(ours, name).item() == pytest.approx(getattr(theirs, name).item(), abs=1e-6), name
    torch.testing.assert_close(ours.entropy[:, 0], theirs.entropy, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.logp[:, 0], theirs.logp, rtol=0, atol=1e-6)
    for name, part in [*model.named_parameters(), *critic.named_parameters()]:
        torch.testing.assert_close(part.grad, gradients[name], rtol=0, atol=1e-6, msg=name)
    assert max(gradient.abs().max().item() for gradient in gradients.values()) > 0.01
    outside = ((ours.logp[:, 0] - logp_old).expm1().abs() > 0.2).float().mean()
    assert 0.2 < outside < 0.9  # clipped and unclipped samples were compared


@pytest.mark.parametrize("features", ["policy", "frozen"])
def test_the_gradient_of_a_step_is_that_of_its_parts(features):
    """1 x 8 = 8 x 1, with completions of unequal length: every part is divided by the tokens of the whole step."""
    model, critic, *_ = one_token_episodes()
    model.double(), critic.double()  # so that what is equal but for rounding is told from what is not
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 23, (8, 11), generator=draw)
    length = torch.tensor([1, 7, 3, 7, 2, 5, 6, 1])
    real = torch.arange(7) < length[:, None]
    mask = torch.cat([torch.ones(8, 4, dtype=torch.bool), real], 1)
    columns = [torch.randn(8, 7, generator=draw) for _ in range(4)]
    columns[0] = columns[0] - 3.0
    states = torch.randn(8, 7, SHAPE.hidden_size, generator=draw) if features == "frozen" else None
    batch = rlhf.Batch(ids, mask, real, *columns, None, states)
    config = rlhf.Config(critic=rlhf.CriticConfig(features))
    tuned, count = Tuned(model, None, model), real.sum()

    def gradient(parts):
        model.zero_grad(), critic.zero_grad()
        total = 0.0
        for index in torch.arange(8).tensor_split(parts):
            losses = rlhf.minibatch_loss(tuned, critic, batch.rows(index), config, count)
            losses.total.backward()
            total += losses.total.item()
        return total, torch.cat([p.grad.reshape(-1) for p in [*model.parameters(), *critic.parameters()]])

    loss, whole = gradient(1)
    for parts in (2, 3, 8):
        in_parts, other = gradient(parts)
        assert in_parts == pytest.approx(loss, abs=1e-12)
        assert (other - whole).norm() < 1e-12 * whole.norm()
    assert whole.abs().max() > 0.01
