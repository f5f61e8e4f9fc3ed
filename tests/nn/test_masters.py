"""Master copies: the same steps as torch's AdamW in float32, and small updates that bfloat16 would lose."""

import pytest
import torch

from cumulant.errors import ConfigError
from cumulant.nn.flat import FlatAdam
from cumulant.nn.masters import Masters


def network(dtype=torch.float32):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 1))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in net.parameters():
            part.normal_(generator=generator)
    return net.to(dtype)


def loss_of(net, seed):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))
    return net(x.to(next(net.parameters()).dtype)).float().square().mean()


def test_steps_are_those_of_torchs_adamw_with_decay_on_matrices_only():
    ours, theirs = network(), network()
    masters = Masters(ours.parameters())
    adam = FlatAdam(masters, 0.05, betas=(0.9, 0.95))
    matrices = [part for part in theirs.parameters() if part.dim() >= 2]
    others = [part for part in theirs.parameters() if part.dim() < 2]
    reference = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}], lr=0.05, betas=(0.9, 0.95)
    )
    for seed in range(5):
        masters.zero_grad()
        loss_of(ours, seed).backward()
        masters.collect()
        norm = masters.clip_grad_norm(0.5)
        masters.decay(0.05 * 0.3)
        adam.step()
        masters.publish()
        reference.zero_grad()
        loss_of(theirs, seed).backward()
        torch.testing.assert_close(norm, torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5))
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_bfloat16_gradients_are_summed_in_float32_and_small_steps_add_up():
    net = network()
    exact = net[0].weight.detach().clone()
    masters = Masters(net.parameters(), torch.bfloat16)
    torch.testing.assert_close(masters.parameter.data[:12].view(4, 3), exact, rtol=0.0, atol=0.0)
    assert {part.dtype for part in net.parameters()} == {torch.bfloat16}
    masters.zero_grad()
    single = []
    for seed in range(3):
        loss_of(net, seed).backward()
        single.append(torch.cat([part.grad.reshape(-1).float() for part in masters.parts]))
        masters.collect()
    torch.testing.assert_close(masters.grad, sum(single))
    before = net[0].weight[0, 0].item()
    for _ in range(100):
        masters.parameter.data.mul_(1.0 + 2.0**-12)  # an eighth of what the last bit of bfloat16 is worth
        masters.publish()
    assert net[0].weight[0, 0].item() == pytest.approx(before * (1 + 2.0**-12) ** 100, rel=2.0**-8)
    assert net[0].weight[0, 0].item() != before
    masters.release()
    assert net[0].weight.dtype == torch.float32
    torch.testing.assert_close(net[0].weight, masters.parameter[:12].view(4, 3), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_was_saved_is_restored(dtype):
    one, other = network(dtype), network(dtype)
    masters = Masters(one.parameters())
    masters.parameter.data.add_(0.001)
    masters.publish()
    again = Masters(other.parameters())
    again.load_state_dict({name: part.clone() for name, part in masters.state_dict().items()})
    torch.testing.assert_close(again.parameter.data, masters.parameter.data, rtol=0.0, atol=0.0)
    for left, right in zip(one.parameters(), other.parameters()):
        torch.testing.assert_close(left, right, rtol=0.0, atol=0.0)


def test_nothing_to_train_and_mixed_formats_are_refused():
    with pytest.raises(ConfigError, match="has none"):
        Masters([])
    mixed = network()
    mixed[0].bfloat16()
    with pytest.raises(ConfigError, match="one number format"):
        Masters(mixed.parameters())
