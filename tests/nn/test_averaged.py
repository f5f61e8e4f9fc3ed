"""The average of a network's weights: how far it reaches back, its statistics, and that it goes on after a restart."""

import copy

import torch
from torch import nn

from cumulant.nn.averaged import Averaged
from cumulant.nn.flat import Flat


def learning(share, seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    flat = Flat(net)
    return net, flat, Averaged(net, flat, share)


def step(flat, seed):
    with torch.no_grad():
        flat.parameter.add_(torch.randn(flat.parameter.shape, generator=torch.Generator().manual_seed(seed)))


def test_it_is_the_weighted_mean_of_the_weights_so_far():
    """Of all steps with a share of 1; of less of them, and more of the last ones, with a smaller one."""
    for share in (1.0, 0.25):
        _, flat, averaged = learning(share)
        expected = torch.zeros_like(flat.parameter.data, dtype=torch.float64)
        for number in range(1, 41):
            step(flat, number)
            averaged.update()
            expected += (flat.parameter.data - expected) / max(1.0, share * number)
        found = torch.cat([each.reshape(-1) for each in averaged.net.parameters()])
        torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)
        if share == 1.0:
            walk = torch.stack(list(_walk(40)))
            torch.testing.assert_close(found, walk.mean(0), rtol=1e-3, atol=1e-3)


def _walk(steps):
    _, flat, _ = learning(1.0)
    for number in range(1, steps + 1):
        step(flat, number)
        yield flat.parameter.data.clone()


def test_its_statistics_are_those_of_its_own_weights():
    net, flat, averaged = learning(0.5)
    for number in range(1, 9):
        step(flat, number)
        averaged.update()
    batches = [torch.randn(64, 2, 2, 2) + shift for shift in (0.0, 4.0)]
    before = copy.deepcopy(net.state_dict())
    averaged.settle([torch.randn(64, 2, 2, 2) - 9.0])  # what was measured before does not count
    averaged.settle(batches)
    inner = [averaged.net[0](batch).detach() for batch in batches]
    means = torch.stack([each.mean((0, 2, 3)) for each in inner])
    variances = torch.stack([each.var((0, 2, 3)) for each in inner])
    torch.testing.assert_close(averaged.net[1].running_mean, means.mean(0))
    torch.testing.assert_close(averaged.net[1].running_var, variances.mean(0))
    assert not averaged.net.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), "the one that learns is left alone"
    averaged.settle([])
    torch.testing.assert_close(averaged.net[1].running_mean, means.mean(0))


def test_it_goes_on_after_a_restart_bit_by_bit():
    net, flat, averaged = learning(0.1)
    for number in range(1, 30):
        step(flat, number)
        averaged.update()
    kept = copy.deepcopy((net.state_dict(), averaged.state_dict()))
    other, other_flat, again = learning(0.1, seed=1)
    other.load_state_dict(kept[0])
    again.load_state_dict(kept[1])
    for number in range(30, 60):
        for vector, average in ((flat, averaged), (other_flat, again)):
            step(vector, number)
            average.update()
    for one, two in zip(averaged.net.state_dict().values(), again.net.state_dict().values()):
        assert torch.equal(one, two)


def test_without_an_average_it_is_the_network_itself():
    net, flat, averaged = learning(0.0)
    assert averaged.net is net
    step(flat, 1)
    before = flat.parameter.data.clone()
    averaged.update()
    averaged.settle([torch.randn(4, 2, 2, 2)])
    assert torch.equal(flat.parameter.data, before)
    averaged.load_state_dict(copy.deepcopy(averaged.state_dict()))
