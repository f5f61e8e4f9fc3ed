"""Masked reductions: equal to loops over unpadded sequences, and micro-batches add up to the batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cumulant.errors import ConfigError
from cumulant.maths.masked import masked_mean, masked_sum, masked_whiten

exact = settings(deadline=None, max_examples=60, derandomize=True, database=None)


@st.composite
def padded(draw: st.DrawFn) -> tuple[list[Tensor], Tensor, Tensor]:
    """Sequences, and the same as a batch: values ``[B, T]`` with rubbish in the padding, mask ``[B, T]``."""
    lengths = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    sequences = [torch.randn(length, generator=generator, dtype=torch.float64) for length in lengths]
    x = torch.full((len(lengths), 7), draw(st.sampled_from([float("nan"), float("inf"), 1e30])), dtype=torch.float64)
    mask = torch.zeros(len(lengths), 7, dtype=torch.bool)
    for i, sequence in enumerate(sequences):
        x[i, : len(sequence)] = sequence
        mask[i, : len(sequence)] = True
    return sequences, x, mask


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@exact
@given(padded())
def test_masked_is_unpadded(batch: tuple[list[Tensor], Tensor, Tensor]) -> None:
    sequences, x, mask = batch
    joined = torch.cat(sequences)
    same(masked_sum(x, mask), joined.sum())
    same(masked_sum(x, mask, dim=-1), torch.stack([sequence.sum() for sequence in sequences]))
    zero = torch.zeros((), dtype=torch.float64)
    same(masked_mean(x, mask), joined.mean() if len(joined) else zero)
    rows = torch.stack([sequence.mean() if len(sequence) else zero for sequence in sequences])
    same(masked_mean(x, mask, dim=-1), rows)


@exact
@given(padded())
def test_whitened_is_whitened_unpadded(batch: tuple[list[Tensor], Tensor, Tensor]) -> None:
    sequences, x, mask = batch
    joined = torch.cat(sequences)
    if not len(joined):
        return
    white = masked_whiten(x, mask)
    assert not white[~mask].any()
    scale = (joined.var(correction=0) + 1e-8).sqrt()
    same(white[mask], (joined - joined.mean()) / scale)
    kept = masked_whiten(x, mask, centre=False)
    assert not kept[~mask].any()
    same(kept[mask], (joined - joined.mean()) / scale + joined.mean())


@exact
@given(padded(), st.integers(1, 4))
def test_micro_batches_with_the_global_denominator_are_the_full_batch(
    batch: tuple[list[Tensor], Tensor, Tensor], size: int
) -> None:
    _, x, mask = batch
    count = mask.sum().clamp(min=1)
    for denominator in (count, count.item()):
        parts = [
            masked_mean(part, part_mask, denominator=denominator)
            for part, part_mask in zip(x.split(size), mask.split(size))
        ]
        same(torch.stack(parts).sum(), masked_mean(x, mask))


def test_micro_batches_with_their_own_denominators_are_not() -> None:
    # The trap that the explicit denominator is for: means 1 and 4 average to 2.5, but the mean of all four is 1.75.
    x = torch.tensor([[1.0, 1.0, 1.0], [4.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    parts = [masked_mean(x[i], mask[i]) for i in range(2)]
    assert torch.stack(parts).mean().item() == 2.5
    assert masked_mean(x, mask).item() == 1.75


def test_accumulated_gradients_are_those_of_the_full_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 5, 3, generator=generator, dtype=torch.float64)
    mask = torch.rand(6, 5, generator=generator) < 0.6
    gradients = []
    for size in (6, 2, 1):
        weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
        for part, part_mask in zip(inputs.split(size), mask.split(size)):
            masked_mean((part @ weight).square(), part_mask, denominator=mask.sum()).backward()
        gradients.append(weight.grad)
    assert gradients[0] is not None
    same(gradients[1], gradients[0])
    same(gradients[2], gradients[0])


def test_no_gradient_comes_from_the_padding() -> None:
    x = torch.tensor([1.0, 2.0, float("inf")], requires_grad=True)
    mask = torch.tensor([True, True, False])
    (masked_mean(x, mask) + masked_sum(x, mask)).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.5, 1.5, 0.0]


def test_denominator_of_each_row() -> None:
    x, mask = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)
    assert masked_mean(x, mask, dim=-1, denominator=torch.tensor([3.0, 6.0])).tolist() == [1.0, 0.5]
    assert masked_sum(torch.ones(2, 3, 4), torch.ones(2, 3, 4, dtype=torch.bool), dim=(0, 2)).tolist() == [8.0] * 3


def test_equal_or_single_entries_whiten_to_zero() -> None:
    mask = torch.tensor([True, True, True, False])
    assert masked_whiten(torch.full((4,), 0.1), mask).abs().max() < 1e-3
    assert masked_whiten(torch.tensor([5.0, 9.0]), torch.tensor([True, False])).tolist() == [0.0, 0.0]
    assert masked_whiten(torch.zeros(2), torch.zeros(2, dtype=torch.bool)).tolist() == [0.0, 0.0]


def test_whitened_has_mean_zero_and_variance_one() -> None:
    generator = torch.Generator().manual_seed(1)
    x = 3.0 + 7.0 * torch.randn(50, 4, generator=generator, dtype=torch.float64)
    mask = torch.rand(50, 4, generator=generator) < 0.5
    white = masked_whiten(x, mask)[mask]
    assert white.mean().item() == pytest.approx(0.0, abs=1e-12)
    assert white.var(correction=0).item() == pytest.approx(1.0, abs=1e-8)


def test_bad_arguments_are_refused() -> None:
    x, mask = torch.zeros(3), torch.ones(3, dtype=torch.bool)
    for function in (masked_sum, masked_mean, masked_whiten):
        with pytest.raises(ConfigError, match=r"mask has shape \[3, 1\] but x has \[3\]"):
            function(x, mask.unsqueeze(-1))
        with pytest.raises(ConfigError, match="mask is int64; it must be bool"):
            function(x, mask.long())
    with pytest.raises(ConfigError, match="denominator = 0"):
        masked_mean(x, mask, denominator=0)
    with pytest.raises(ConfigError, match="denominator has shape"):
        masked_mean(x, mask, denominator=torch.ones(3))
    with pytest.raises(ConfigError, match=r"eps = 0\.0"):
        masked_whiten(x, mask, eps=0.0)
