"""Exponential, logarithm and scaled complementary error function without branches, so that loops over them vectorise.

libm's functions are calls that LLVM cannot turn into vector code. Each of these is a range reduction by bit arithmetic
and one polynomial (Chebyshev interpolation in 50-digit arithmetic); the tests compare them with a reference. Domains
are those the pricing kernels guarantee: finite arguments, positive for the logarithm, non-negative for `erfcx`.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="no-untyped-call,call-arg,var-annotated"
# numba infers the types of these functions from their callers.

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from strategy_pipeline.pricing.compiled import compiled

_LOG2_E = 1.4426950408889634
# ln 2 in two parts; the first has trailing zero bits, so that n * _LN2_HIGH is exact for every exponent n.
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
# Adding 1.5 * 2**52 leaves the nearest integer in the low bits of the sum.
_ROUNDER = 6755399441055744.0
_ROUNDER_BITS = 0x4338000000000000
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD


@intrinsic
def _as_bits(typing_context: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def _as_float(typing_context: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@compiled
def exp(x: float) -> float:
    """e to the x, relative error below 4e-16; arguments outside [-708, 709] are clamped to it."""
    x = -708.0 if x < -708.0 else x
    x = 709.0 if x > 709.0 else x
    shifted = x * _LOG2_E + _ROUNDER
    n = shifted - _ROUNDER
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = 2.5110037605963777e-08
    p = p * r + 2.763263963904103e-07
    p = p * r + 2.755724091857897e-06
    p = p * r + 2.4801485482328494e-05
    p = p * r + 1.9841269890047113e-04
    p = p * r + 1.3888888952314775e-03
    p = p * r + 8.333333333319601e-03
    p = p * r + 4.16666666664881e-02
    p = p * r + 1.666666666666668e-01
    p = p * r + 5.000000000000019e-01
    p = p * r + 1.0
    p = p * r + 1.0
    return _as_float(_as_bits(p) + (_as_bits(shifted) << 52))


@compiled
def log(x: float) -> float:
    """Natural logarithm of a positive normal number, absolute error below 2e-16 + 2e-16 * abs(log x)."""
    bits = _as_bits(x)
    exponent = (bits - _SQRT_HALF_BITS) >> 52
    mantissa = _as_float(bits - (exponent << 52))
    n = _as_float(exponent + _ROUNDER_BITS) - _ROUNDER
    f = (mantissa - 1.0) / (mantissa + 1.0)
    z = f * f
    p = 0.13262103674021808
    p = p * z + 0.13248763083460116
    p = p * z + 0.1538716092613408
    p = p * z + 0.18181773738016305
    p = p * z + 0.2222222267692954
    p = p * z + 0.2857142856881913
    p = p * z + 0.40000000000007496
    p = p * z + 0.6666666666666666
    p = p * z + 2.0
    return n * _LN2_HIGH + (n * _LN2_LOW + f * p)


@compiled
def erfcx(z: float) -> float:
    """exp(z*z) * erfc(z) for z >= 0, relative error below 2e-15.

    (1 + 2z) erfcx(z) is smooth and bounded in y = (z - 7/2) / (z + 7/2) on the whole half-line, which is the change of
    variable of Shepherd and Laframboise, Mathematics of Computation 36 (1981).
    """
    far = z + 3.5
    slope = 1.0 + 2.0 * z
    reciprocal = 1.0 / (far * slope)
    y = (z - 3.5) * slope * reciprocal
    p = 8.297862184969999e-11
    p = p * y + 6.909384765440087e-09
    p = p * y + 5.404552348273488e-10
    p = p * y - 7.957838032904353e-08
    p = p * y - 8.313812038999394e-09
    p = p * y + 5.774565655706939e-07
    p = p * y - 4.349427761565507e-08
    p = p * y - 3.7924614596470156e-06
    p = p * y + 2.3276680157721865e-06
    p = p * y + 2.4247693882550197e-05
    p = p * y - 4.278192169056911e-05
    p = p * y - 1.215072851470306e-04
    p = p * y + 5.643843298546175e-04
    p = p * y - 3.022691451057665e-04
    p = p * y - 4.215019893398444e-03
    p = p * y + 1.909933113276803e-02
    p = p * y - 4.882332582916227e-02
    p = p * y + 8.798315380900631e-02
    p = p * y - 1.1508959816014255e-01
    p = p * y + 9.751909515386845e-02
    p = p * y - 1.0555596332218831e-02
    p = p * y - 1.4000918013762637e-01
    p = p * y + 1.2423492448711544
    return p * far * reciprocal
