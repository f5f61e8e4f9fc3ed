"""Elementary functions of whole rows of float32 numbers, without a branch, so that a vector instruction takes many at once.

The functions of the C library take one number at a time. These are as exact as float32: relative errors are below 2e-7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from cumulant.kernels.twins import twin

F32, I32 = np.float32, np.int32
_ONE, _HALF, _ZERO = F32(1.0), F32(0.5), F32(0.0)

# Numerator and denominator of tanh, odd and even powers of x, and where it is 1 to the rounding of float32.
_A1, _A3, _A5, _A7 = (
    F32(4.89352455891786e-3),
    F32(6.37261928875436e-4),
    F32(1.48572235717979e-5),
    F32(5.12229709037114e-8),
)
_A9, _A11, _A13 = F32(-8.60467152213735e-11), F32(2.00018790482477e-13), F32(-2.76076847742355e-16)
_B0, _B2, _B4, _B6 = (
    F32(4.89352518554385e-3),
    F32(2.26843463243900e-3),
    F32(1.18534705686654e-4),
    F32(1.19825839466702e-6),
)
_TANH_END = F32(7.90531110763549805)

# exp(x) = 2^n exp(r) with r = x - n log(2), which is subtracted in two parts; between these two it is a normal number.
_EXP_LOW, _EXP_HIGH = F32(-87.336540), F32(88.722839)
_LOG2_E, _LN2_HIGH, _LN2_LOW = F32(1.44269504088896341), F32(0.693359375), F32(-2.12194440e-4)
_E2, _E3, _E4 = F32(5.0000001201e-1), F32(1.6666665459e-1), F32(4.1665795894e-2)
_E5, _E6, _E7 = F32(8.3334519073e-3), F32(1.3981999507e-3), F32(1.9875691500e-4)
_BIAS, _MANTISSA = I32(127), I32(23)

# log(2^n (1 + x)) = n log(2) + log(1 + x) for 1 + x between the square roots of 1/2 and 2.
_ROOT_HALF = I32(0x3F3504F3)  # its bits
_L3, _L4, _L5 = F32(3.3333331174e-1), F32(-2.4999993993e-1), F32(2.0000714765e-1)
_L6, _L7, _L8 = F32(-1.6668057665e-1), F32(1.4249322787e-1), F32(-1.2420140846e-1)
_L9, _L10, _L11 = F32(1.1676998740e-1), F32(-1.1514610310e-1), F32(7.0376836292e-2)


def _same_bits(kind: types.Type, of: types.Type, shown: ir.Type) -> Any:
    """Make the function that reads the 32 bits of one type as another one."""

    def signature(_: Any, number: Any) -> Any:
        return kind(of), lambda context, builder, signature, arguments: builder.bitcast(arguments[0], shown)

    return intrinsic(signature)


_float_of = _same_bits(types.float32, types.int32, ir.FloatType())
_bits_of = _same_bits(types.int32, types.float32, ir.IntType(32))


@twin("torch.tanh")
@njit(cache=True, error_model="numpy")
def tanh(row):  # type: ignore[no-untyped-def]
    """Replace the numbers of a row ``[N]`` by their hyperbolic tangents.

    Source: the rational approximation of the linear-algebra library Eigen.
    """
    for i in range(row.shape[0]):
        x = row[i]
        x = _TANH_END if x > _TANH_END else x
        x = -_TANH_END if x < -_TANH_END else x
        s = x * x
        top = x * (_A1 + s * (_A3 + s * (_A5 + s * (_A7 + s * (_A9 + s * (_A11 + s * _A13))))))
        row[i] = top / (_B0 + s * (_B2 + s * (_B4 + s * _B6)))


@twin("torch.exp")
@njit(cache=True, error_model="numpy")
def exp(row):  # type: ignore[no-untyped-def]
    """Replace the numbers of a row ``[N]`` by their exponentials; what is no normal number any more is 0.

    Source: the polynomial of the library Cephes.
    """
    for i in range(row.shape[0]):
        x = row[i]
        y = _EXP_HIGH if x > _EXP_HIGH else x
        y = _EXP_LOW if y < _EXP_LOW else y
        power = np.floor(y * _LOG2_E + _HALF)
        r = y - power * _LN2_HIGH
        r = r - power * _LN2_LOW
        s = _E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * (_E6 + r * _E7))))
        s = s * (r * r) + r + _ONE
        n = I32(power)
        half = n >> I32(1)  # 2^n in two factors: 2^128 is none
        s = s * _float_of((half + _BIAS) << _MANTISSA) * _float_of((n - half + _BIAS) << _MANTISSA)
        s = _ZERO if x < _EXP_LOW else s
        row[i] = x if x > _EXP_HIGH and x - x != _ZERO else s


@twin("torch.log")
@njit(cache=True, error_model="numpy")
def log(row):  # type: ignore[no-untyped-def]
    """Replace the numbers of a row ``[N]``, all normal and positive, by their natural logarithms.

    Source: the polynomial of the library Cephes.
    """
    for i in range(row.shape[0]):
        bits = _bits_of(row[i])
        n = (bits - _ROOT_HALF) >> _MANTISSA
        x = _float_of(bits - (n << _MANTISSA)) - _ONE
        s = _L6 + x * (_L7 + x * (_L8 + x * (_L9 + x * (_L10 + x * _L11))))
        s = x * x * x * (_L3 + x * (_L4 + x * (_L5 + x * s)))
        power = F32(n)
        row[i] = s + power * _LN2_LOW - _HALF * (x * x) + x + power * _LN2_HIGH
