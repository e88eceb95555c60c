"""Random numbers that are the same on every machine and under every numpy version.

Only the raw 64-bit words of PCG64 are taken from numpy: their stream is guaranteed, that of ``Generator.normal`` is
not. What follows is integer arithmetic and single IEEE additions, multiplications, divisions and square roots, which
every platform rounds alike; exp, log and the like, whose last digit is the C library's business, are never called.
"""

from zlib import crc32

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Four 16-bit lanes of one word: mean 4 x 32767.5, variance 4 x (65536^2 - 1) / 12.
_LANES_MEAN = 131_070.0
_LANES_SD = float(np.sqrt((65_536.0 * 65_536.0 - 1.0) / 3.0))


def words(seed: int, stream: str, count: int) -> npt.NDArray[np.uint64]:
    """`count` raw words of the stream that `seed` and the name `stream` identify; no stream influences another."""
    return np.random.PCG64(np.random.SeedSequence([seed, crc32(stream.encode())])).random_raw(count)


def uniforms(seed: int, stream: str, shape: tuple[int, ...]) -> Array:
    """Numbers in [0, 1) with 53 bits."""
    raw = words(seed, stream, int(np.prod(shape))) >> np.uint64(11)
    return (raw.astype(np.float64) * 2.0**-53).reshape(shape)


def normals(seed: int, stream: str, shape: tuple[int, ...]) -> Array:
    """Nearly normal numbers with mean 0, variance 1 and exact symmetry: the scaled sum of four 16-bit integers.

    Irwin-Hall of order 4 (excess kurtosis -0.3, bounded at 3.46); sums over several steps are normal to the eye.
    """
    raw = words(seed, stream, int(np.prod(shape)))
    lanes = np.zeros(raw.shape, dtype=np.uint64)
    for shift in (0, 16, 32, 48):
        lanes += (raw >> np.uint64(shift)) & np.uint64(0xFFFF)
    return ((lanes.astype(np.float64) - _LANES_MEAN) / _LANES_SD).reshape(shape)


def smooth(noise: Array, window: int) -> Array:
    """Moving sums of `window` values along the last axis, scaled to the variance of one: slowly wandering normals.

    The last axis of the result is shorter by `window`.
    """
    total = np.cumsum(noise, axis=-1)
    return (total[..., window:] - total[..., :-window]) / np.sqrt(float(window))


def growth(x: Array) -> Array:
    """1 + x + x^2/2: the exponential to second order, positive for every x and exact to reproduce."""
    return 1.0 + x + 0.5 * x * x
