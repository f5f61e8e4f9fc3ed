"""Matrix products of factors rounded to bfloat16 in compiled code, on the tiles of newer processors of Intel's (AMX).

A tile is 16 rows of 64 bytes, and one instruction multiplies two of them and adds the product to a third one: 8192 products in
the time of 16 instructions that make 16 each. Numbers are rounded to the nearest bfloat16, which is a float32 without its lower
half; sums are in float32. To round the factors and to turn them around takes longer than the products do.

The result of a sample depends neither on its place in a batch nor on the rest.

Axes: J outputs and K inputs of a layer, m samples of a block.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from cumulant.kernels.products import LANES, data_of, turn_square
from cumulant.kernels.twins import loop, twin

SIDE = 32  # what sizes must be multiples of: two tiles of float32, one of rounded numbers
_BYTE, _WHOLE = ir.IntType(8), ir.IntType(64)
_SHAPES = np.zeros(64, np.uint8)  # of the eight tiles: 16 rows of 64 bytes each
_SHAPES[0], _SHAPES[16:32:2], _SHAPES[48:56] = 1, 64, 16


def _usable() -> bool:
    """Return whether code may use tiles: the processor has them, numba compiles for it, and the system lets this process."""
    told = config.CPU_FEATURES  # type: ignore[attr-defined]
    features = set((get_host_cpu_features() if told is None else told).split(","))
    if not {"+amx-tile", "+amx-bf16", "+avx512f"} <= features or sys.platform != "linux":
        return False
    arch_prctl, request, tiles = 158, 0x1023, 18
    try:
        return ctypes.CDLL(None).syscall(arch_prctl, request, tiles) == 0
    except (AttributeError, OSError):
        return False


HERE = _usable()


def _call(builder: Any, name: str, kinds: tuple[Any, ...], values: tuple[Any, ...]) -> None:
    kind = ir.FunctionType(ir.VoidType(), kinds)
    builder.call(builder.module.declare_intrinsic(f"llvm.x86.{name}", (), kind), values)


_POINTER = _BYTE.as_pointer()


def _begin(typing, shapes):  # type: ignore[no-untyped-def]
    """Give the tiles their shapes."""

    def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
        place = builder.bitcast(data_of(context, builder, signature.args[0], values[0]), _POINTER)
        _call(builder, "ldtilecfg", (_POINTER,), (place,))
        return context.get_dummy_value()

    return types.void(shapes), code


def _end(typing):  # type: ignore[no-untyped-def]
    """Leave the tiles to others."""

    def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
        _call(builder, "tilerelease", (), ())
        return context.get_dummy_value()

    return types.void(), code


def _square(typing, a, a_at, a_row, b, b_at, b_row, c, c_at, c_row, steps, add):  # type: ignore[no-untyped-def]
    """Write ``SIDE`` times ``SIDE`` numbers of a product to c, or add them; see ``_multiply``."""
    whole = types.int64
    signature = types.void(a, whole, whole, b, whole, whole, c, whole, whole, whole, types.boolean)

    def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
        a, a_at, a_row, b, b_at, b_row, c, c_at, c_row, steps, add = values
        left, right, result = (
            builder.gep(data_of(context, builder, signature.args[place], array), [at])
            for place, array, at in ((0, a, a_at), (3, b, b_at), (6, c, c_at))
        )
        strides = [builder.mul(row, _WHOLE(size)) for row, size in ((a_row, 2), (b_row, 4), (c_row, 4))]

        def move(name: str, tile: int, base: Any, offset: Any, stride: Any) -> None:
            place = builder.bitcast(builder.gep(base, [offset]), _POINTER)
            _call(builder, name, (_BYTE, _POINTER, _WHOLE), (_BYTE(tile), place, stride))

        corners = [
            builder.add(builder.mul(c_row, _WHOLE(16 * down)), _WHOLE(16 * along))
            for down in range(2)
            for along in range(2)
        ]
        names = ("old", "none", "loop", "end")
        old, none, loop_, end = (builder.append_basic_block(name) for name in names)
        builder.cbranch(add, old, none)
        builder.position_at_end(old)
        for tile, corner in enumerate(corners):
            move("tileloadd64", tile, result, corner, strides[2])
        builder.branch(loop_)
        builder.position_at_end(none)
        for tile in range(4):
            _call(builder, "tilezero", (_BYTE,), (_BYTE(tile),))
        builder.branch(loop_)
        builder.position_at_end(loop_)
        k = builder.phi(_WHOLE)
        k.add_incoming(_WHOLE(0), old)
        k.add_incoming(_WHOLE(0), none)
        along, down = builder.mul(k, _WHOLE(32)), builder.mul(k, builder.mul(b_row, _WHOLE(16)))
        move("tileloadd64", 4, left, along, strides[0])
        move("tileloadd64", 5, left, builder.add(along, builder.mul(a_row, _WHOLE(16))), strides[0])
        move("tileloadd64", 6, right, down, strides[1])
        move("tileloadd64", 7, right, builder.add(down, _WHOLE(16)), strides[1])
        for tile, one, other in ((0, 4, 6), (1, 4, 7), (2, 5, 6), (3, 5, 7)):
            _call(builder, "tdpbf16ps", (_BYTE,) * 3, (_BYTE(tile), _BYTE(one), _BYTE(other)))
        following = builder.add(k, _WHOLE(1))
        k.add_incoming(following, loop_)
        builder.cbranch(builder.icmp_signed("<", following, steps), loop_, end)
        builder.position_at_end(end)
        for tile, corner in enumerate(corners):
            move("tilestored64", tile, result, corner, strides[2])
        return context.get_dummy_value()

    return signature, code


_begin_tiles: Any = intrinsic(_begin)
_end_tiles: Any = intrinsic(_end)
_square_of_tiles: Any = intrinsic(_square)


@loop()
@njit(inline="always")
def _rounded(bits):  # type: ignore[no-untyped-def]
    """Return the bits of the nearest bfloat16, the even one of two, for those of a float32."""
    high = bits >> np.uint32(16)
    if (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000):  # NaN, which must not become a number
        return high | np.uint32(0x40)
    return (bits + np.uint32(0x7FFF) + (high & np.uint32(1))) >> np.uint32(16)


@loop()
@njit(cache=True, error_model="numpy")
def _round_rows(x, m, out):  # type: ignore[no-untyped-def]
    """Write the first m columns of x, rounded, and zeros behind them: ``[K, m] -> [K, columns]`` uint16."""
    bits = x.view(np.uint32)
    for k in range(x.shape[0]):
        for i in range(m):
            out[k, i] = _rounded(bits[k, i])
        for i in range(m, out.shape[1]):
            out[k, i] = 0


@loop()
@njit(cache=True, error_model="numpy")
def _pair_rows(x, columns, out):  # type: ignore[no-untyped-def]
    """Write each two rows, rounded, number beside number: ``[2 n, columns] -> [n, columns]`` uint32."""
    bits = x.view(np.uint32)
    for n in range(x.shape[0] // 2):
        for i in range(columns):
            out[n, i] = _rounded(bits[2 * n, i]) | (_rounded(bits[2 * n + 1, i]) << np.uint32(16))


@loop()
@njit(cache=True, error_model="numpy")
def _turned(x, rows, columns, out):  # type: ignore[no-untyped-def]
    """Write the transpose of ``[rows, columns]`` float32, both multiples of ``LANES``; the bits may mean anything."""
    for k in range(0, rows, LANES):
        for i in range(0, columns, LANES):
            turn_square(x, k * x.shape[1] + i, x.shape[1], out, i * out.shape[1] + k, out.shape[1])


if HERE:

    @loop()
    @njit(cache=True, error_model="numpy")
    def _multiply(a, b, c, rows, columns, inner, add):  # type: ignore[no-untyped-def]
        """Write ``a b`` to c, or add it: a as ``_round_rows``, b as ``_pair_rows`` makes it; sizes are multiples of ``SIDE``."""
        _begin_tiles(_SHAPES)
        for j in range(0, rows, SIDE):
            for i in range(0, columns, SIDE):
                left, target = j * a.shape[1], j * c.shape[1] + i
                _square_of_tiles(a, left, a.shape[1], b, i, b.shape[1], c, target, c.shape[1], inner // SIDE, add)
        _end_tiles()

else:  # slowly, so that the rest can be compiled and tested anywhere; engines look at ``HERE`` first

    @loop()
    @njit(cache=True, error_model="numpy")
    def _multiply(a, b, c, rows, columns, inner, add):  # type: ignore[no-untyped-def]
        """Write ``a b`` to c, or add it: a as ``_round_rows``, b as ``_pair_rows`` makes it; sizes are multiples of ``SIDE``."""
        halves, pair = b.view(np.uint16), np.empty(2, np.uint32)
        for j in range(rows):
            for i in range(columns):
                total = c[j, i] if add else np.float32(0.0)
                for k in range(inner):
                    pair[0] = np.uint32(a[j, k]) << np.uint32(16)
                    pair[1] = np.uint32(halves[k // 2, 2 * i + k % 2]) << np.uint32(16)
                    total += pair.view(np.float32)[0] * pair.view(np.float32)[1]
                c[j, i] = total


@loop()
@njit(inline="always")
def fits(weight, block):  # type: ignore[no-untyped-def]
    """Return whether a layer's products with what is in a block can be made of tiles."""
    return weight.shape[0] % SIDE == 0 and weight.shape[1] % SIDE == 0 and block.shape[1] % SIDE == 0


@twin("torch.nn.functional.linear")
@njit(cache=True, error_model="numpy")
def affine(weight, bias, x, m, out):  # type: ignore[no-untyped-def]
    """Write ``weight x + bias`` for the first m columns: ``[J, K], [J], [K, m] -> [J, m]``.

    Here and below, J, K and the columns that there are must be multiples of ``SIDE`` (``fits``). Columns behind the first m are
    written up to the next such multiple, and mean nothing.
    """
    num_out, num_in = weight.shape
    width = (m + SIDE - 1) // SIDE * SIDE
    left, right = np.empty((num_out, num_in), np.uint16), np.empty((num_in // 2, width), np.uint32)
    _round_rows(weight, num_in, left)
    _pair_rows(x, width, right)
    for j in range(num_out):
        for i in range(width):
            out[j, i] = bias[j]
    _multiply(left, right, out, num_out, width, num_in, True)


@twin("torch.mm")
@njit(cache=True, error_model="numpy")
def to_inputs(weight, delta, m, out):  # type: ignore[no-untyped-def]
    """Write ``weight^T delta`` for the first m columns, the gradient of a layer's inputs: ``[J, K], [J, m] -> [K, m]``."""
    num_out, num_in = weight.shape
    width = (m + SIDE - 1) // SIDE * SIDE
    turned, left = np.empty((width, num_out), np.float32), np.empty((width, num_out), np.uint16)
    right, result = np.empty((num_out // 2, num_in), np.uint32), np.empty((width, num_in), np.float32)
    _turned(delta, num_out, width, turned)  # delta^T weight, turned around: to turn the weights would take longer
    _round_rows(turned, num_out, left)
    _pair_rows(weight, num_in, right)
    _multiply(left, right, result, width, num_in, num_out, False)
    _turned(result, width, num_in, out)


@twin("torch.addmm")
@njit(cache=True, error_model="numpy")
def add_outer(delta, x, m, total):  # type: ignore[no-untyped-def]
    """Add ``delta x^T`` of the first m columns to ``total``: ``[J, m], [K, m] -> [J, K]``."""
    num_out, num_in = total.shape
    width = (m + SIDE - 1) // SIDE * SIDE
    left, rounded = np.empty((num_out, width), np.uint16), np.empty((num_in, width), np.uint16)
    right = np.empty((width // 2, num_in), np.float32)
    _round_rows(delta, m, left)
    _round_rows(x, m, rounded)
    _turned(
        rounded.view(np.float32), num_in, width // 2, right
    )  # pairs of samples: two rounded numbers are as one float32
    _multiply(left, right, total, num_out, num_in, width, True)
