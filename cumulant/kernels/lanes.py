"""Eight float64 numbers at a time, as one value of compiled code: what vector instructions compute with.

The compiler makes vector instructions neither of a loop with branches nor of one that writes to an array and reads from others,
which might overlap. Here are no branches but ``where``, and what is computed stays in registers.

    mean = load(sums, at) / load(visits, at)
    store(out, at, where(load(visits, at) > 0.0, mean, 0.0))

A row that is loaded or stored has memory for whole lanes, ``padded(N)`` numbers, one after the other. ``+ - * / > ==`` take one
number on either side for all lanes. No operation may be fused with another and no sum be reordered: results do not depend on
what is inlined where.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic as made_of_instructions
from numba.extending import models, overload, register_model

from cumulant.kernels.twins import twin

intrinsic: Any = made_of_instructions  # compiled code calls what it makes without the first argument
LANES = 8
_PLACE, _LONG, _DOUBLE = ir.IntType(32), ir.IntType(64), ir.DoubleType()


def padded(count: int) -> int:
    """Return how many numbers whole lanes hold.

    >>> padded(7), padded(9)
    (8, 16)
    """
    return -(-count // LANES) * LANES


def padded_zeros(shape: tuple[int, ...], kind: Any) -> np.ndarray:
    """Return zeros whose rows, along the last axis, have memory for whole lanes.

    >>> padded_zeros((2, 7), np.float32).strides
    (32, 4)
    """
    return np.zeros((*shape[:-1], padded(shape[-1])), kind)[..., : shape[-1]]


class Lanes(types.Type):  # type: ignore[misc]
    """The type of eight numbers, or of eight truths, in compiled code."""

    def __init__(self, name: str, element: ir.Type) -> None:
        super().__init__(name)
        self.vector = ir.VectorType(element, LANES)


NUMBERS, TRUTHS = Lanes("Lanes(float64)", _DOUBLE), Lanes("Lanes(bool)", ir.IntType(1))


@register_model(Lanes)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, kind.vector)


def _spread(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Make lanes of one number."""
    if kind == NUMBERS:
        return value
    nothing = ir.Constant(NUMBERS.vector, ir.Undefined)
    one = builder.insert_element(nothing, context.cast(builder, value, kind, types.float64), _PLACE(0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_PLACE, LANES), None))


def _of_two(build: Callable[[Any, Any, Any], Any], result: Lanes = NUMBERS) -> Any:
    """Make a function of two lanes, or of lanes and a number."""

    def function(typing, one, other):  # type: ignore[no-untyped-def]
        def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
            return build(builder, *(_spread(context, builder, *each) for each in zip(signature.args, values)))

        return result(one, other), code

    return intrinsic(function)


def _sign(sign: Any, build: Callable[[Any, Any, Any], Any], result: Lanes = NUMBERS) -> None:
    both = _of_two(build, result)
    overload(sign)(lambda one, other: (lambda one, other: both(one, other)) if NUMBERS in (one, other) else None)


_sign(operator.add, lambda builder, one, other: builder.fadd(one, other))
_sign(operator.sub, lambda builder, one, other: builder.fsub(one, other))
_sign(operator.mul, lambda builder, one, other: builder.fmul(one, other))
_sign(operator.truediv, lambda builder, one, other: builder.fdiv(one, other))
_sign(operator.gt, lambda builder, one, other: builder.fcmp_ordered(">", one, other), TRUTHS)
_sign(operator.eq, lambda builder, one, other: builder.fcmp_ordered("==", one, other), TRUTHS)


def _larger(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)


def _smaller(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", one, other), one, other)


maximum, minimum = _of_two(_larger), _of_two(_smaller)


def _over_lanes(pick: Callable[[Any, Any, Any], Any]) -> Any:
    """Make a function that takes lanes two by two until one number is left."""

    def function(typing, lanes):  # type: ignore[no-untyped-def]
        def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
            (left,), nothing = values, ir.Constant(NUMBERS.vector, ir.Undefined)
            for half in (4, 2, 1):
                places = ir.Constant(ir.VectorType(_PLACE, LANES), [(i + half) % LANES for i in range(LANES)])
                left = pick(builder, left, builder.shuffle_vector(left, nothing, places))
            return builder.extract_element(left, _PLACE(0))

        return types.float64(lanes), code

    return intrinsic(function)


summed = _over_lanes(lambda builder, one, other: builder.fadd(one, other))
highest, lowest = _over_lanes(_larger), _over_lanes(_smaller)


@intrinsic
def spread(typing, number):  # type: ignore[no-untyped-def]
    """Return a number in all lanes."""
    return NUMBERS(number), lambda context, builder, signature, values: _spread(
        context, builder, signature.args[0], values[0]
    )


@intrinsic
def where(typing, truths, one, other):  # type: ignore[no-untyped-def]
    """Return lanes of one where something is true, else those of the other; either may be a number."""

    def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
        both = [_spread(context, builder, *each) for each in zip(signature.args[1:], values[1:])]
        return builder.select(values[0], *both)

    return NUMBERS(truths, one, other), code


@intrinsic
def both(typing, one, other):  # type: ignore[no-untyped-def]
    """Return where two things are true."""
    return TRUTHS(one, other), lambda context, builder, signature, values: builder.and_(*values)


@intrinsic
def first(typing, truths):  # type: ignore[no-untyped-def]
    """Return the first lane in which something is true, int64; ``LANES`` where there is none."""

    def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
        bits = builder.zext(builder.bitcast(values[0], ir.IntType(LANES)), _LONG)
        return builder.cttz(builder.or_(bits, _LONG(1 << LANES)), ir.IntType(1)(1))

    return types.int64(truths), code


@intrinsic
def how_many(typing, truths):  # type: ignore[no-untyped-def]
    """Return in how many lanes something is true, int64."""

    def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.ctpop(builder.zext(builder.bitcast(values[0], ir.IntType(LANES)), _LONG))

    return types.int64(truths), code


def _memory(context: Any, builder: Any, kind: Any, row: Any, at: Any) -> tuple[Any, dict[str, int]]:
    """Return where the lanes of a row are that begin at a place, and how they are aligned."""
    start = builder.gep(context.make_array(kind)(context, builder, row).data, [at])
    number = context.get_value_type(kind.dtype)
    return builder.bitcast(start, ir.VectorType(number, LANES).as_pointer()), {"align": kind.dtype.bitwidth // 8}


@intrinsic
def load(typing, row, at):  # type: ignore[no-untyped-def]
    """Return lanes of a row of float64, float32, int32 or uint8 numbers, from a place on."""

    def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
        place, options = _memory(context, builder, signature.args[0], *values)
        found = builder.load(place, **options)
        if row.dtype == types.float64:
            return found
        if row.dtype == types.float32:
            return builder.fpext(found, NUMBERS.vector)
        return (builder.uitofp if row.dtype == types.uint8 else builder.sitofp)(found, NUMBERS.vector)

    return NUMBERS(row, types.int64), code


@intrinsic
def store(typing, row, at, lanes):  # type: ignore[no-untyped-def]
    """Write lanes, or a number eight times, into a row of float64, float32 or int32 numbers, from a place on."""

    def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
        place, options = _memory(context, builder, signature.args[0], *values[:2])
        given = _spread(context, builder, signature.args[2], values[2])
        if row.dtype == types.float32:
            given = builder.fptrunc(given, ir.VectorType(ir.FloatType(), LANES))
        elif row.dtype != types.float64:
            given = builder.fptosi(given, ir.VectorType(context.get_value_type(row.dtype), LANES))
        builder.store(given, place, **options)
        return context.get_dummy_value()

    return types.void(row, types.int64, lanes), code


@intrinsic
def fetch(typing, row):  # type: ignore[no-untyped-def]
    """Have the beginning of a row brought near, so that nobody waits for it later."""

    def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        data = builder.bitcast(context.make_array(signature.args[0])(context, builder, values[0]).data, byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        builder.call(
            builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind), [data, flag(0), flag(3), flag(1)]
        )
        return context.get_dummy_value()

    return types.void(row), code


@intrinsic
def _two_to_the(typing, shifted):  # type: ignore[no-untyped-def]
    """Return 2^n of ``_SHIFT + n``, whose last bits are those of n."""

    def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
        bits, all_of = ir.VectorType(_LONG, LANES), lambda number: ir.Constant(bits, [number] * LANES)
        power = builder.shl(builder.bitcast(values[0], bits), all_of(52))
        return builder.bitcast(builder.add(power, all_of(1023 << 52)), NUMBERS.vector)

    return NUMBERS(shifted), code


# exp(x) = 2^n exp(r) with r = x - n log(2), which is subtracted in two parts.
_LOWEST, _LOG2_E, _SHIFT = -700.0, 1.4426950408889634, 6755399441055744.0  # 1.5 * 2^52: rounds to whole numbers
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_E2, _E3, _E4, _E5 = 1 / 2, 1 / 6, 1 / 24, 1 / 120
_E6, _E7, _E8, _E9 = 1 / 720, 1 / 5040, 1 / 40320, 1 / 362880


@twin("torch.exp")
@njit(inline="always")
def exp(x):  # type: ignore[no-untyped-def]
    """Return the exponentials of lanes of numbers below 700, with relative errors below 1e-11; what is below -700 counts as that.

    Source: the series of exp(r), |r| <= log(2) / 2.
    """
    x = maximum(x, _LOWEST)
    shifted = x * _LOG2_E + _SHIFT
    n = shifted - _SHIFT
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    s = r * r
    low = r + 1.0 + s * (r * _E3 + _E2)
    high = r * _E5 + _E4 + s * (r * _E7 + _E6) + s * s * (r * _E9 + _E8)
    return (low + s * s * high) * _two_to_the(shifted)
