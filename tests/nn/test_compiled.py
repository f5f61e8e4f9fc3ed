"""Perceptrons in compiled code under autograd: the values and gradients of torch, straight to where they belong."""

import pytest
import torch
from gymnasium import spaces
from torch import nn

from cumulant.nn import backward, compiled
from cumulant.nn.backward import frozen, run_layers, run_towers
from cumulant.nn.compiled import MOST_THREADS, Perceptrons
from cumulant.nn.flat import Flat
from cumulant.nn.mlp import mlp
from cumulant.nn.q_critic import QCritics

ROWS = 300  # two blocks and a part
pytestmark = pytest.mark.skipif(not backward._available, reason="this PyTorch was built without oneDNN")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def used(monkeypatch):
    """How often compiled code was run."""
    calls, apply = [], Perceptrons.apply

    def counted(*arguments):
        calls.append(arguments)
        return apply(*arguments)

    monkeypatch.setattr(Perceptrons, "apply", counted)
    return calls


def towers(count, shape, activation="relu", flat=True):
    inputs, hidden, outputs = shape
    made = nn.ModuleList(mlp(inputs, hidden, outputs, activation, 1.0, generator(k)) for k in range(count))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator(7))
    return made, Flat(made) if flat else None


def close(mine, theirs):
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * float(theirs.detach().abs().max()))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("shape", [(4, (64, 64), 1), (33, (128,), 9), (300, (40, 64, 96), 25)])
@pytest.mark.parametrize("count", [1, 3])
def test_values_and_gradients_are_those_of_torch(used, activation, shape, count):
    made, flat = towers(count, shape, activation)
    x = torch.randn(ROWS, shape[0], generator=generator(2)).requires_grad_()
    weight = torch.randn(count, ROWS, shape[2], generator=generator(3))
    found = []
    for run in (run_towers, lambda towers, x, count: torch.stack([tower(x) for tower in towers])):
        x.grad = None
        flat.parameter.grad.fill_(0.5)  # it is added to what is there
        out = run(made, x, count)
        (out * weight).sum().backward()
        found.append((out.detach(), x.grad, flat.parameter.grad.clone()))
    for mine, theirs in zip(*found):
        close(mine, theirs)
    assert len(used) == 1
    with torch.no_grad():
        close(run_towers(made, x, 1)[0], made[0](x))


def test_where_no_gradient_is_allocated_autograd_gets_it(used):
    """As in a network that was taken apart: parameters in a row, gradients not."""
    made, _ = towers(2, (4, (64, 64), 3))
    x = torch.randn(ROWS, 4, generator=generator(2))
    for parameter in made.parameters():
        parameter.grad = None
    mine = torch.autograd.grad(run_towers(made, x, 2).square().sum(), list(made.parameters()))
    theirs = torch.autograd.grad(sum(tower(x).square().sum() for tower in made), list(made.parameters()))
    for one, other in zip(mine, theirs):
        close(one, other)
    assert len(used) == 1


def test_frozen_parameters_get_no_gradient(used):
    made, flat = towers(2, (4, (64, 64), 1))
    x = torch.randn(ROWS, 4, generator=generator(2)).requires_grad_()
    with frozen(made):
        run_towers(made, x, 2).amin(0).sum().backward()
    mine, x.grad = x.grad, None
    assert not flat.parameter.grad.any()
    torch.stack([tower(x) for tower in made]).amin(0).sum().backward()
    close(mine, x.grad)
    assert len(used) == 1


def test_some_of_the_towers_of_critics(used):
    spaces_ = spaces.Box(-1, 1, (5,)), spaces.Box(-1, 1, (2,))
    critics = QCritics(*spaces_, hidden=(64, 64), generator=generator())
    Flat(critics)
    obs, action = torch.randn(ROWS, 5, generator=generator(2)), torch.randn(ROWS, 2, generator=generator(3))
    both, first = critics(obs, action), critics(obs, action, members=1)
    assert both.shape == (2, ROWS)
    torch.testing.assert_close(first, both[:1], rtol=0, atol=0)
    close(both, torch.stack([member(torch.cat([obs, action], 1)).squeeze(-1) for member in critics.members]))
    assert len(used) == 2


def test_it_follows_parameters_that_move(used):
    made, _ = towers(1, (4, (64, 64), 1))
    x = torch.randn(ROWS, 4, generator=generator(2))
    before = run_towers(made, x, 1)
    Flat(made).parameter.data.mul_(2.0)  # other memory
    after = run_towers(made, x, 1)
    close(after[0], made[0](x))
    assert not torch.allclose(before, after)
    assert len(used) == 2


def test_it_is_not_used_where_it_cannot_or_need_not_be(used, monkeypatch):
    shape = (4, (64, 64), 1)
    x = torch.randn(ROWS, 4, generator=generator(2))
    for made, rows in [
        (towers(1, shape, flat=False)[0], ROWS),  # its parameters are anywhere
        (towers(1, shape, "silu")[0], ROWS),
        (towers(1, shape)[0], backward._FEWEST_ROWS - 1),
        (towers(1, (4, (16, 16), 1))[0], ROWS),
    ]:
        torch.testing.assert_close(run_layers(made[0], x[:rows]), made[0](x[:rows]), rtol=0, atol=0)
    monkeypatch.setattr(compiled.torch, "get_num_threads", lambda: MOST_THREADS + 1)
    made = towers(1, shape)[0]
    torch.testing.assert_close(run_layers(made[0], x), made[0](x), rtol=0, atol=0)
    assert not used


@pytest.mark.parametrize("width", [0, 2, 4, 9])
def test_inputs_of_another_width_are_refused(width):
    """Compiled code would read what is behind them."""
    critics = QCritics(spaces.Box(-1.0, 1.0, (3,)), spaces.Box(-1.0, 1.0, (1,)), hidden=(64, 64), generator=generator())
    Flat(critics)
    with pytest.raises(ValueError, match=r"these perceptrons read \[rows, 4\]"):
        critics(torch.zeros(512, 3), torch.zeros(512, width))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("where", ["input", "weight"])
def test_what_is_no_number_is_handed_on_as_by_torch(used, activation, where):
    made, flat = towers(1, (4, (64, 64), 3), activation)
    x = torch.randn(ROWS, 4, generator=generator(2))
    (x if where == "input" else made[0][0].weight.data)[1, 2] = torch.nan
    found = []
    for run in (lambda: run_towers(made, x, 1)[0], lambda: made[0](x)):
        flat.parameter.grad.zero_()
        out = run()
        out.sum().backward()
        found.append((out.detach(), flat.parameter.grad.clone()))
    assert len(used) == 1
    for mine, theirs in zip(*found):
        assert theirs.isnan().any()
        assert torch.equal(mine.isnan(), theirs.isnan())
        close(mine.nan_to_num(), theirs.nan_to_num())


def test_weights_that_change_before_the_way_back_are_noticed_as_by_torch(used):
    made, _ = towers(1, (4, (64, 64), 3))
    x = torch.randn(ROWS, 4, generator=generator(2))
    for run in (lambda: run_towers(made, x, 1)[0], lambda: made[0](x)):
        out = run().sum()
        with torch.no_grad():
            made[0][2].weight.mul_(2.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.backward()
    assert len(used) == 1
