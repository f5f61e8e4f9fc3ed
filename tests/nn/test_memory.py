"""Recurrent cells: the same as torch's, step by step as in one go, and nothing passes the end of an episode."""

import pytest
import torch
from torch import nn

from cumulant.nn.memory import Memory, Remembered


def make(kind, seed=0):
    return Memory(kind, 3, 5, torch.Generator().manual_seed(seed))


def data(seed=1, steps=9, batch=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, steps, 3, generator=generator), torch.rand(batch, steps, generator=generator) < 0.25


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_it_is_the_cell_of_torch(kind):
    memory = make(kind)
    with torch.no_grad():
        for bias in (memory.input.bias, memory.recurrent.bias):
            bias.normal_(generator=torch.Generator().manual_seed(7))
    x, _ = data()
    peer = (nn.GRU if kind == "gru" else nn.LSTM)(3, 5, batch_first=True)
    order = [0, 1, 2, 3]
    for name, layer in (("ih", memory.input), ("hh", memory.recurrent)):
        gates = layer.weight.chunk(len(layer.weight) // 5), layer.bias.chunk(len(layer.bias) // 5)
        for what, chunks in zip(("weight", "bias"), gates):
            mine = torch.cat([chunks[k] for k in ([0, 1, 3, 2][: len(chunks)] if kind == "lstm" else order[:3])])
            if kind == "lstm":  # torch: input, forget, cell, output; ours: input, forget, output, cell
                mine = torch.cat([chunks[0], chunks[1], chunks[3], chunks[2]])
            getattr(peer, f"{what}_{name}_l0").data.copy_(mine)
    expected, _ = peer(x)
    out = memory(x, memory.start(4), torch.zeros(4, 9, dtype=torch.bool))
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_step_by_step_is_the_same_as_in_one_go(kind):
    memory, (x, ended) = make(kind), data()
    state = torch.randn(4, memory.state_size, generator=torch.Generator().manual_seed(3))
    whole, parts, now = memory(x, state, ended), [], state
    for t in range(9):
        out, now = memory.step(x[:, t], now)
        parts.append(out)
        now = now * (~ended[:, t]).unsqueeze(-1)
    torch.testing.assert_close(torch.stack(parts, 1), whole)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_nothing_passes_the_end_of_an_episode_and_everything_else_does(kind):
    memory, (x, ended) = make(kind), data()
    ended[:] = False
    ended[1, 4] = True
    x.requires_grad_()
    memory(x, memory.start(4), ended)[:, 8].sum().backward()
    assert (x.grad[1, :5] == 0).all()
    assert (x.grad[1, 5:].abs().sum(-1) > 0).all()
    assert (x.grad[0].abs().sum(-1) > 0).all()


def test_what_is_remembered_survives():
    memory = make("lstm")
    one, other = Remembered(memory, 4), Remembered(memory, 4)
    one.state = torch.randn(4, 10)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.state, other.state)
    nothing = Remembered(None, 4)
    nothing.load_state_dict(nothing.state_dict())
    assert nothing.state is None
