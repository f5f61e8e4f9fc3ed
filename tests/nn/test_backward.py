"""A perceptron by hand gives the values and gradients of autograd, and steps in only where it can."""

import pytest
import torch
from torch import nn

from cumulant.nn import backward
from cumulant.nn.backward import Pass, frozen, run_layers, run_towers
from cumulant.nn.flat import Flat
from cumulant.nn.mlp import ACTIVATIONS, mlp, residual_mlp

ROWS = 512
FEWEST = backward._LARGE_LAYER // 128**2  # rows from which it pays on layers of 128 units
pytestmark = pytest.mark.skipif(not backward._available, reason="this PyTorch was built without oneDNN")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def used(monkeypatch):
    """How often the perceptron by hand was run."""
    calls, apply = [], backward.Perceptron.apply

    def counted(*arguments):
        calls.append(arguments)
        return apply(*arguments)

    monkeypatch.setattr(backward.Perceptron, "apply", counted)
    return calls


def gradients(run, layers, x, weight):
    """Outputs and gradients of a weighted sum of them, of the inputs and of every parameter."""
    x = x.clone().requires_grad_()
    out = run(layers, x)
    found = torch.autograd.grad((out * weight).sum() / ROWS, [x, *layers.parameters()])
    return [out.detach(), *found]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("inputs", "hidden", "outputs"),
    [(4, (128, 128), 1), (256, (), 128), (17, (256,), 64), (300, (64, 32, 128), 25), (1, (128, 128, 128), 2)],
)
def test_values_and_gradients_are_those_of_autograd(used, activation, inputs, hidden, outputs):
    layers = mlp(inputs, hidden, outputs, activation, 1.0, generator())
    with torch.no_grad():
        for layer in layers[::2]:
            layer.bias.uniform_(-1.0, 1.0, generator=generator(1))
    x, weight = torch.randn(ROWS, inputs, generator=generator(2)), torch.randn(ROWS, outputs, generator=generator(3))
    ours = gradients(run_layers, layers, x, weight)
    assert used
    theirs = gradients(lambda layers, x: layers(x), layers, x, weight)
    for mine, other in zip(ours, theirs):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_in_bfloat16_only_large_products_are_rounded(used, activation):
    layers = mlp(4, (128, 128), 1, activation, 1.0, generator())
    x, weight = torch.randn(ROWS, 4, generator=generator(2)), torch.randn(ROWS, 1, generator=generator(3))
    ours = gradients(lambda layers, x: run_layers(layers, x, coarse=True), layers, x, weight)
    assert used
    theirs = gradients(lambda layers, x: layers(x), layers, x, weight)
    for place, (mine, other) in enumerate(zip(ours, theirs)):  # as a whole: a ReLU may be off, not on
        assert float((mine - other).norm() / other.norm()) < (0.3 if place > 0 and activation == "relu" else 0.01)
    assert not torch.equal(ours[4], theirs[4])  # of the weights between the hidden layers
    assert torch.equal(ours[4], ours[4].bfloat16().float())
    assert not torch.equal(ours[2], ours[2].bfloat16().float())
    assert ours[0].dtype == torch.float32
    with torch.no_grad():
        once = run_layers(mlp(4, (128,), 1, activation, 1.0, generator()), x, coarse=True)
        torch.testing.assert_close(
            once, mlp(4, (128,), 1, activation, 1.0, generator())(x)
        )  # there is no large one in it


@pytest.mark.parametrize("hidden", [64, 256])
def test_networks_without_large_products_are_exact_and_as_fast_as_ever(used, hidden):
    towers = nn.ModuleList(mlp(4, (hidden, hidden), 1, "relu", 1.0, generator(seed)) for seed in range(2))
    Flat(towers)  # one block of memory, as compiled code needs
    x, large = torch.randn(128, 4, generator=generator(2)), hidden == 256
    one, both = run_layers(towers[0], x, coarse=True), run_towers(towers, x, 2, coarse=True)
    assert len(used) == (3 if large else 0)
    torch.testing.assert_close(both[0], one)
    assert torch.equal(both, run_towers(towers, x, 2)) != large


def test_only_gradients_that_are_wanted_are_computed(used, monkeypatch):
    products, product = [], backward._product
    monkeypatch.setattr(backward, "_product", lambda *given: products.append(0) or product(*given))
    layers = mlp(4, (128, 128), 1, "relu", 1.0, generator())
    x = torch.randn(ROWS, 4, generator=generator(1), requires_grad=True)
    with frozen(layers):
        run_layers(layers, x).sum().backward()
    assert x.grad is not None
    assert all(parameter.grad is None and parameter.requires_grad for parameter in layers.parameters())
    assert not products
    run_layers(layers, x.detach()).sum().backward()
    assert all(parameter.grad is not None for parameter in layers.parameters())
    assert len(products) == 3  # the weights of each layer
    assert len(used) == 2


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("rows", "hidden"), [(64, (256, 256)), (7, (5,)), (1024, (64, 32)), (64, ())])
def test_a_pass_writes_the_gradients_of_autograd(activation, rows, hidden):
    layers = mlp(3, hidden, 4, activation, 1.0, generator())
    flat, x = Flat(layers), torch.randn(rows, 3, generator=generator(1))
    weight = torch.randn(rows, 4, generator=generator(2))
    for _ in range(2):  # over what is there
        made = Pass(layers, x)
        (made.out * weight).square().mean().backward()
        made.backward()
    mine = flat.parameter.grad.clone()
    flat.zero_grad()
    (layers(x) * weight).square().mean().backward()
    torch.testing.assert_close(made.out.detach(), layers(x).detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine, flat.parameter.grad, rtol=1e-5, atol=1e-5 * float(mine.abs().max()))


def test_a_pass_is_refused_where_it_cannot_be():
    plain, x = mlp(4, (8,), 1, "relu", 1.0, generator()), torch.randn(2, 4)
    assert Pass.fits(plain, x)
    for layers, inputs in [
        (plain, x.double()),
        (plain, x.requires_grad_()),
        (nn.Sequential(plain, nn.ELU()), x.detach()),
    ]:
        assert not Pass.fits(layers, inputs)
    with pytest.raises(ValueError, match="linear ones"):
        Pass(nn.Sequential(plain, nn.ELU()), x.detach())


def test_parameters_are_wanted_again_after_an_error():
    layer = nn.Linear(1, 1)
    with pytest.raises(KeyError), frozen(layer):
        raise KeyError
    assert layer.weight.requires_grad


def test_it_is_not_used_where_it_cannot_or_need_not_be(used):
    large = mlp(4, (128, 128), 1, "relu", 1.0, generator())
    odd = nn.Sequential(nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 1))
    no_bias = nn.Sequential(nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 256, bias=False), nn.ReLU(), nn.Linear(256, 1))
    for layers, x in [
        (large, torch.randn(FEWEST - 1, 4)),  # its start-up would cost more
        (large, torch.randn(2, 64, 4)),
        (large.double(), torch.randn(ROWS, 4, dtype=torch.float64)),
        (residual_mlp(4, (128,), 1, "relu", 1.0, generator()), torch.randn(ROWS, 4)),
        (odd, torch.randn(ROWS, 4)),
        (no_bias, torch.randn(ROWS, 4)),
    ]:
        layers = layers.to(x.dtype)
        torch.testing.assert_close(run_layers(layers, x), layers(x), rtol=0, atol=0)
    assert not used
