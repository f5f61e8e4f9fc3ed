"""Matrix products of float32 in compiled code, as fast as one core can multiply.

The compiler's own vector code spends its time on loads and stores. Here a tile of the result stays in registers while all of the
inner dimension is gone through: 8 rows of 32 numbers where the processor has 32 wide registers (AVX-512), else 4 rows of 16. It
makes 235 billion operations a second on a core whose peak is about 240, where MKL makes 100 and oneDNN 155 (64 samples, layers of
256 units). A tile is a few lines of LLVM's language, because nothing in numba promises to keep an array in registers.

A sum runs over the inner dimension in its order: the result of a sample depends neither on its place in a batch nor on the rest.

Axes: J outputs and K inputs of a layer, m samples of a block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from cumulant.kernels.twins import twin

_WIDE = "+avx512f" in get_host_cpu_features().split(",")
LANES, ROWS = (16, 8) if _WIDE else (8, 4)  # numbers in a register; rows of a tile
COLUMNS = 2 * LANES  # columns of a tile

_FLOAT, _INT, _VECTOR = ir.FloatType(), ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)
_FUSED = ("contract",)  # a product and a sum may be one instruction


def _place(builder: Any, base: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(base, [index]), _VECTOR.as_pointer())


def data_of(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """Return the address of an array's numbers, for code that is made of LLVM's instructions."""
    return context.make_array(kind)(context, builder, array).data


def _tile(rows: int, registers: int) -> Any:
    """Make ``tile(a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, inner, add)`` for a size of the result.

    It writes ``sum over k of a[a_at + j a_row + k a_column] b[b_at + k b_row + i]`` to ``c[c_at + j c_row + i]``, or adds it to
    what is there, for ``rows`` j and ``registers * LANES`` i. Places are counted in numbers from the begin of the arrays.
    """

    def tile(typing, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, inner, add):  # type: ignore[no-untyped-def]
        whole = types.int64
        signature = types.void(a, whole, whole, whole, b, whole, whole, c, whole, whole, whole, types.boolean)

        def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
            a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, inner, add = values
            kinds = signature.args
            left, right, result = (
                builder.gep(data_of(context, builder, kinds[place], array), [at])
                for place, array, at in ((0, a, a_at), (4, b, b_at), (7, c, c_at))
            )
            cells = [(j, v) for j in range(rows) for v in range(registers)]
            places = [
                _place(builder, result, builder.add(builder.mul(c_row, _INT(j)), _INT(v * LANES))) for j, v in cells
            ]
            first_rows = [builder.mul(a_row, _INT(j)) for j in range(rows)]
            before, start = builder.block, ir.Constant(_VECTOR, None)
            with_old, loop, end = (builder.append_basic_block(name) for name in ("with_old", "loop", "end"))
            builder.cbranch(add, with_old, loop)
            builder.position_at_end(with_old)
            old = [builder.load(place, align=4) for place in places]
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(_INT)
            sums = [builder.phi(_VECTOR) for _ in cells]
            for source, values_there in ((before, [start] * len(cells)), (with_old, old)):
                k.add_incoming(_INT(0), source)
                for total, number in zip(sums, values_there):
                    total.add_incoming(number, source)
            row = builder.mul(k, b_row)
            x = [
                builder.load(_place(builder, right, builder.add(row, _INT(v * LANES))), align=4)
                for v in range(registers)
            ]
            along = builder.mul(k, a_column)
            nothing, all_first = (
                ir.Constant(_VECTOR, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), LANES), None),
            )
            spread = []
            for j in range(rows):
                number = builder.load(builder.gep(left, [builder.add(first_rows[j], along)]))
                one = builder.insert_element(nothing, number, ir.IntType(32)(0))
                spread.append(builder.shuffle_vector(one, nothing, all_first))
            new = [
                builder.fadd(total, builder.fmul(spread[j], x[v], flags=_FUSED), flags=_FUSED)
                for total, (j, v) in zip(sums, cells)
            ]
            following = builder.add(k, _INT(1))
            k.add_incoming(following, loop)
            for total, number in zip(sums, new):
                total.add_incoming(number, loop)
            builder.cbranch(builder.icmp_signed("<", following, inner), loop, end)
            builder.position_at_end(end)
            for place, number in zip(places, new):
                builder.store(number, place, align=4)
            return context.get_dummy_value()

        return signature, code

    return intrinsic(tile)


def _turn(typing, x, x_at, x_row, out, out_at, out_row):  # type: ignore[no-untyped-def]
    """Write the transpose of ``LANES`` times ``LANES`` numbers of x to out; places as for ``_tile``."""
    whole = types.int64
    signature = types.void(x, whole, whole, out, whole, whole)

    def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
        x, x_at, x_row, out, out_at, out_row = values
        source = builder.gep(data_of(context, builder, signature.args[0], x), [x_at])
        target = builder.gep(data_of(context, builder, signature.args[3], out), [out_at])
        rows = [builder.load(_place(builder, source, builder.mul(x_row, _INT(k))), align=4) for k in range(LANES)]
        half = LANES // 2
        low, high = (
            ir.Constant(
                ir.VectorType(ir.IntType(32), LANES),
                [ir.IntType(32)(first + k // 2 + LANES * (k % 2)) for k in range(LANES)],
            )
            for first in (0, half)
        )
        stages = LANES.bit_length() - 1
        for _ in range(stages):  # each interleaves the upper half of the rows with the lower one
            rows = [
                builder.shuffle_vector(rows[k], rows[k + half], order) for k in range(half) for order in (low, high)
            ]
        for k, row in enumerate(rows):
            builder.store(row, _place(builder, target, builder.mul(out_row, _INT(k))), align=4)
        return context.get_dummy_value()

    return signature, code


def _fold(builder: Any, one: Any, other: Any, width: int) -> Any:
    """Return a vector whose lanes are sums of two lanes, ``width`` apart, of one vector or the other."""
    near = [lane for lane in range(2 * LANES) if lane // width % 2 == 0]
    halves = (
        builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes))
        for lanes in (near, [lane + width for lane in near])
    )
    return builder.fadd(*halves)


def _folded(rows: int) -> Any:
    """Make ``tile(a, a_at, a_row, b, b_at, b_row, c, c_at, c_row, vectors)`` for a result of ``LANES`` numbers, in so many rows.

    It adds ``sum over i of a[a_at + j a_row + i] b[b_at + k b_row + i]`` to ``c[c_at + j c_row + k]``, for ``LANES * vectors`` i.
    """
    columns = LANES // rows

    def tile(typing, a, a_at, a_row, b, b_at, b_row, c, c_at, c_row, vectors):  # type: ignore[no-untyped-def]
        whole = types.int64
        signature = types.void(a, whole, whole, b, whole, whole, c, whole, whole, whole)

        def code(context, builder, signature, values):  # type: ignore[no-untyped-def]
            a, a_at, a_row, b, b_at, b_row, c, c_at, c_row, vectors = values
            left, right, result = (
                builder.gep(data_of(context, builder, signature.args[place], array), [at])
                for place, array, at in ((0, a, a_at), (3, b, b_at), (6, c, c_at))
            )
            factors = [(left, a_row, j) for j in range(rows)] + [(right, b_row, k) for k in range(columns)]
            lines = [builder.gep(base, [builder.mul(step, _INT(index))]) for base, step, index in factors]
            before, loop, end = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("end")
            builder.branch(loop)
            builder.position_at_end(loop)
            i = builder.phi(_INT)
            sums = [builder.phi(_VECTOR) for _ in range(LANES)]
            at = builder.mul(i, _INT(LANES))
            x = [builder.load(_place(builder, line, at), align=4) for line in lines]
            new = [
                builder.fadd(total, builder.fmul(x[n // columns], x[rows + n % columns], flags=_FUSED), flags=_FUSED)
                for n, total in enumerate(sums)
            ]
            following = builder.add(i, _INT(1))
            for phi, first, last in zip(
                [i, *sums], [_INT(0)] + [ir.Constant(_VECTOR, None)] * LANES, [following, *new]
            ):
                phi.add_incoming(first, before)
                phi.add_incoming(last, loop)
            builder.cbranch(builder.icmp_signed("<", following, vectors), loop, end)
            builder.position_at_end(end)
            while len(new) > 1:  # of two vectors the one with half of each, until one holds what each adds up to
                new = [_fold(builder, one, other, len(new) // 2) for one, other in zip(new[::2], new[1::2])]
            kind = ir.VectorType(_FLOAT, columns)
            for j in range(rows):
                lanes = ir.Constant(ir.VectorType(ir.IntType(32), columns), list(range(j * columns, (j + 1) * columns)))
                place = builder.bitcast(builder.gep(result, [builder.mul(c_row, _INT(j))]), kind.as_pointer())
                part = builder.shuffle_vector(new[0], new[0], lanes)
                builder.store(builder.fadd(builder.load(place, align=4), part), place, align=4)
            return context.get_dummy_value()

        return signature, code

    return intrinsic(tile)


_whole, _half, _row, _half_row = _tile(ROWS, 2), _tile(ROWS, 1), _tile(1, 2), _tile(1, 1)
turn_square: Any = intrinsic(_turn)
_four_rows, _one_row = _folded(4), _folded(1)


@twin("torch.mm")
@njit(cache=True, error_model="numpy")
def multiply(a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, rows, columns, inner, add):  # type: ignore[no-untyped-def]
    """Write ``a b`` to c, or add it to c; each array is contiguous, and read or written from a place on, in rows so far apart.

    Args:
        a: Left factor, of any strides: ``a_column = 1`` as it is, ``a_row = 1`` transposed.
        a_at: Where it begins.
        a_row: From one row to the next.
        a_column: From one column to the next.
        b: Right factor; its columns are next to one another.
        b_at: See above, as for ``b_row``, ``c_at`` and ``c_row``.
        b_row: See above.
        c: Result.
        c_at: See above.
        c_row: See above.
        rows: Of a and c.
        columns: Of b and c, rounded up to ``LANES`` here: what lies there is read and overwritten.
        inner: Columns of a and rows of b, at least 1.
        add: Whether to add to what is in c.
    """
    i = 0
    while i < columns:
        wide = columns - i > LANES
        j = 0
        while j + ROWS <= rows:
            left, target = a_at + j * a_row, c_at + j * c_row + i
            if wide:
                _whole(a, left, a_row, a_column, b, b_at + i, b_row, c, target, c_row, inner, add)
            else:
                _half(a, left, a_row, a_column, b, b_at + i, b_row, c, target, c_row, inner, add)
            j += ROWS
        while j < rows:
            left, target = a_at + j * a_row, c_at + j * c_row + i
            if wide:
                _row(a, left, a_row, a_column, b, b_at + i, b_row, c, target, c_row, inner, add)
            else:
                _half_row(a, left, a_row, a_column, b, b_at + i, b_row, c, target, c_row, inner, add)
            j += 1
        i += COLUMNS if wide else LANES


@twin("torch.nn.functional.linear")
@njit(cache=True, error_model="numpy")
def affine(weight, bias, x, m, out):  # type: ignore[no-untyped-def]
    """Write ``weight x + bias`` for the first m columns: ``[J, K], [J], [K, m] -> [J, m]``.

    x and out have a multiple of ``LANES`` columns; those behind the first m hold anything.
    """
    num_out, num_in = weight.shape
    width = (m + LANES - 1) // LANES * LANES
    for j in range(num_out):
        for i in range(width):
            out[j, i] = bias[j]
    multiply(weight, 0, num_in, 1, x, 0, x.shape[1], out, 0, out.shape[1], num_out, m, num_in, True)


@twin("torch.mm")
@njit(cache=True, error_model="numpy")
def to_inputs(weight, delta, m, out):  # type: ignore[no-untyped-def]
    """Write ``weight^T delta`` for the first m columns, the gradient of a layer's inputs: ``[J, K], [J, m] -> [K, m]``."""
    num_out, num_in = weight.shape
    multiply(weight, 0, 1, num_in, delta, 0, delta.shape[1], out, 0, out.shape[1], num_in, m, num_out, False)


@twin("torch.addmm")
@njit(cache=True, error_model="numpy")
def _add_narrow(delta, x, m, total):  # type: ignore[no-untyped-def]
    """Do what ``add_outer`` does, where turning the inputs around would cost more than the products."""
    num_out, num_in = total.shape
    even = m // LANES * LANES
    j = 0
    while j < num_out:
        rows = 4 if j + 4 <= num_out else 1
        left, k = j * delta.shape[1], 0
        while even and k + LANES // rows <= num_in:
            right, target = k * x.shape[1], j * num_in + k
            if rows == 4:
                _four_rows(delta, left, delta.shape[1], x, right, x.shape[1], total, target, num_in, even // LANES)
            else:
                _one_row(delta, left, delta.shape[1], x, right, x.shape[1], total, target, num_in, even // LANES)
            for row in range(j, j + rows):
                for column in range(k, k + LANES // rows):
                    for i in range(even, m):
                        total[row, column] += delta[row, i] * x[column, i]
            k += LANES // rows
        for row in range(j, j + rows):
            for column in range(k, num_in):
                rest = np.float32(0.0)
                for i in range(m):
                    rest += delta[row, i] * x[column, i]
                total[row, column] += rest
        j += rows


@twin("torch.addmm")
@njit(cache=True, error_model="numpy")
def add_outer(delta, x, m, total):  # type: ignore[no-untyped-def]
    """Add ``delta x^T`` of the first m columns to ``total``: ``[J, m], [K, m] -> [J, K]``."""
    num_out, num_in = total.shape
    if num_in < LANES or num_out < ROWS:
        _add_narrow(delta, x, m, total)
        return
    width = (m + LANES - 1) // LANES * LANES
    turned = np.empty((width, COLUMNS), np.float32)  # a few inputs, sample by sample
    edge = np.empty((1, 1), np.float32)
    for first in range(0, num_in, COLUMNS):
        columns = min(COLUMNS, num_in - first)
        for k in range(0, columns // LANES * LANES, LANES):
            for i in range(0, width, LANES):
                turn_square(x, (first + k) * x.shape[1] + i, x.shape[1], turned, i * COLUMNS + k, COLUMNS)
        for k in range(columns // LANES * LANES, columns):
            for i in range(m):
                turned[i, k] = x[first + k, i]
        if columns % LANES == 0:
            multiply(delta, 0, delta.shape[1], 1, turned, 0, COLUMNS, total, first, num_in, num_out, columns, m, True)
        else:  # what is written behind the last column must not be in ``total``
            if edge.shape[0] == 1:
                edge = np.empty((num_out, COLUMNS), np.float32)
            multiply(delta, 0, delta.shape[1], 1, turned, 0, COLUMNS, edge, 0, COLUMNS, num_out, columns, m, False)
            for j in range(num_out):
                for k in range(columns):
                    total[j, first + k] += edge[j, k]
