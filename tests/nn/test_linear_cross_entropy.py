"""The loss without its logits is torch's, with the same gradients, whatever the blocks."""

import pytest
import torch
from torch.nn import functional

from cumulant.errors import ConfigError
from cumulant.nn.linear_cross_entropy import linear_cross_entropy


def drawn(dtype=torch.float64, tokens=37, width=9, vocabulary=23):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=generator).to(dtype).requires_grad_()
    head = torch.randn(vocabulary, width, generator=generator).to(dtype).requires_grad_()
    return hidden, head, torch.randint(vocabulary, (tokens,), generator=generator)


@pytest.mark.parametrize("rows", [1, 10, 37, 512])
def test_it_is_torchs_with_its_gradients(rows):
    hidden, head, target = drawn()
    loss = linear_cross_entropy(hidden, head, target, 50.0, rows)
    expected = functional.cross_entropy(hidden @ head.t(), target, reduction="sum") / 50.0
    ours, theirs = (torch.autograd.grad(3.0 * each, (hidden, head)) for each in (loss, expected))
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


def test_parts_over_the_count_of_the_whole_add_up():
    hidden, head, target = drawn()
    whole = linear_cross_entropy(hidden, head, target, len(target))
    parts = [linear_cross_entropy(hidden[i : i + 5], head, target[i : i + 5], len(target)) for i in range(0, 37, 5)]
    torch.testing.assert_close(sum(parts), whole, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(
        torch.autograd.grad(sum(parts), (hidden, head)),
        torch.autograd.grad(whole, (hidden, head)),
        rtol=1e-9,
        atol=1e-13,
    )


def test_scores_of_any_size_stay_finite():
    hidden, head, target = drawn(torch.float32)
    loss = linear_cross_entropy(hidden * 1e4, head, target, 1.0)
    expected = functional.cross_entropy(hidden * 1e4 @ head.t(), target, reduction="sum")
    torch.testing.assert_close(loss, expected)
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss, (hidden, head)))


def test_bfloat16_is_near():
    hidden, head, target = drawn()
    exact = linear_cross_entropy(hidden, head, target, len(target))
    rounded = [each.detach().bfloat16().requires_grad_() for each in (hidden, head)]
    loss = linear_cross_entropy(*rounded, target, len(target), rows=8)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=1e-2, atol=0.0)
    for ours, theirs in zip(torch.autograd.grad(loss, rounded), torch.autograd.grad(exact, (hidden, head))):
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours.double(), theirs, rtol=0.1, atol=2e-3)


def test_a_frozen_matrix_has_no_gradient_and_logits_are_not_kept():
    hidden, head, target = drawn()
    loss = linear_cross_entropy(hidden, head.detach(), target, 1.0)
    saved = [each for each in loss.grad_fn.saved_tensors if each is not None]
    assert [each.shape for each in saved] == [hidden.shape]
    loss.backward()
    assert head.grad is None


def test_no_tokens_are_no_loss_and_no_denominator_is_refused():
    hidden, head, target = drawn()
    assert linear_cross_entropy(hidden[:0], head, target[:0], 1.0) == 0.0
    with pytest.raises(ConfigError, match="denominator = 0"):
        linear_cross_entropy(hidden, head, target, 0)
