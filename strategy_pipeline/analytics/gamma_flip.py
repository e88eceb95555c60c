"""Gamma exposure as a function of the underlying's price, and the prices at which it is zero.

Belongs here: re-pricing of gamma along a price grid (each contract keeps its own volatility: sticky strike), roots and
their refinement, arrays in and arrays out. Signs, walls and the table of snapshots are gamma_exposure.py's business.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

GRID_REACH = 0.2
GRID_STEP = 0.0025
# A sum this small against the sum of the absolute terms is rounding and has no sign.
ROUNDING_SHARE = 1e-12
SLOPE_STEP = 0.01

_CELLS_PER_BLOCK = 400_000


@dataclass(frozen=True)
class Contracts:
    """Terms of the contracts whose gamma is re-priced, one element each: $, years, and continuous decimals per year."""

    strike: Floats
    years: Floats
    rate: Floats
    carry: Floats
    volatility: Floats


class GammaCurve:
    """Dollar gamma G(x) = 0.01 x^2 sum(w gamma(x)), $ per 1 % move, for several sets of weights w at once.

    `weights` is sets by contracts: signed open contracts times multiplier. Contracts need positive time and volatility.
    """

    def __init__(self, contracts: Contracts, weights: Floats, spot: float) -> None:
        deviation = contracts.volatility * np.sqrt(contracts.years)
        drift = (contracts.rate - contracts.carry) * contracts.years
        self.spot = spot
        # d1(x) = slope ln(x / spot) + offset: logarithms of ratios keep their digits when expiry is minutes away.
        self._slope = 1.0 / deviation
        self._offset = (np.log(spot / contracts.strike) + drift) / deviation + 0.5 * deviation
        carried = np.exp(-contracts.carry * contracts.years)
        self._height = 0.01 * carried / (math.sqrt(2.0 * math.pi) * deviation) * weights

    def __call__(self, prices: Floats) -> Floats:
        """G at each of `prices`, sets by prices."""
        out = np.empty((len(self._height), len(prices)))
        rows = max(1, _CELLS_PER_BLOCK // max(1, len(self._slope)))
        for start in range(0, len(prices), rows):
            part = prices[start : start + rows]
            bells = np.multiply.outer(np.log(part / self.spot), self._slope)
            bells += self._offset
            bells *= bells
            bells *= -0.5
            np.exp(bells, out=bells)
            # Not matmul: its threads and the order of its sums depend on the machine.
            out[:, start : start + rows] = np.einsum("xi,ci->cx", bells, self._height) * part
        return out

    def at(self, row: int) -> Callable[[float], float]:
        """G of one set of weights as a function of one price."""
        height = self._height[row]

        def value(price: float) -> float:
            d1 = self._slope * math.log(price / self.spot) + self._offset
            return float((np.exp(-0.5 * d1 * d1) * height).sum()) * price

        return value


def price_grid(spot: float) -> Floats:
    """Prices from 0.8 to 1.2 times `spot` in steps of 0.25 % of it."""
    steps = round(GRID_REACH / GRID_STEP)
    return np.asarray(spot * (1.0 + GRID_STEP * np.arange(-steps, steps + 1)), dtype=np.float64)


def flip_roots(curve: GammaCurve, row: int, prices: Floats, values: Floats, gross: Floats) -> list[float]:
    """Prices between which `values` changes sign, each refined by Brent's method to the last digits; rising.

    values, gross: G of weight set `row` and the sum of absolute contributions at `prices`. A touch of zero without a
    change of sign is not a root, and neither is a change within rounding of the terms.
    """
    with np.errstate(invalid="ignore"):
        signs = np.where(np.abs(values) > ROUNDING_SHARE * gross, np.sign(values), 0.0)
    known = np.flatnonzero(signs)
    turns = np.flatnonzero(signs[known[1:]] != signs[known[:-1]])
    function = curve.at(row)
    return [
        brent(function, float(prices[low]), float(prices[high]))
        for low, high in zip(known[turns], known[turns + 1], strict=True)
    ]


def flip_slope(curve: GammaCurve, row: int, gross_row: int, flip: float) -> float | None:
    """|G(1.01 F) - G(0.99 F)| over the gross at F, a ratio; None where nothing is left at F.

    `gross_row` is a set of weights that all have one sign, so that its sum is the gross.
    """
    values = curve(np.array([(1.0 - SLOPE_STEP) * flip, flip, (1.0 + SLOPE_STEP) * flip]))
    gross = abs(float(values[gross_row, 1]))
    return abs(float(values[row, 2] - values[row, 0])) / gross if gross > 0.0 else None


def brent(function: Callable[[float], float], low: float, high: float) -> float:
    """Root of a continuous function between two points where its signs differ, to machine precision.

    R. P. Brent, Algorithms for Minimization without Derivatives (1973), chapter 4. Raises ValueError when both ends
    have the same sign.
    """
    a, b = low, high
    fa, fb = function(a), function(b)
    if fa * fb > 0.0 and min(abs(fa), abs(fb)) > 0.0:
        raise ValueError(f"No change of sign between {low} and {high}.")
    c, fc, step, last = a, fa, b - a, b - a
    for _ in range(200):
        if math.copysign(1.0, fb) == math.copysign(1.0, fc):
            c, fc, step, last = a, fa, b - a, b - a
        if abs(fc) < abs(fb):
            a, b, c, fa, fb, fc = b, c, b, fb, fc, fb
        tolerance = 2.0 * math.ulp(b)
        middle = 0.5 * (c - b)
        if fb == 0.0 or abs(middle) <= tolerance:
            return b
        if abs(last) >= tolerance and abs(fa) > abs(fb):
            ratio = fb / fa
            if a == c:
                p, q = 2.0 * middle * ratio, 1.0 - ratio
            else:
                q, r = fa / fc, fb / fc
                p = ratio * (2.0 * middle * q * (q - r) - (b - a) * (r - 1.0))
                q = (q - 1.0) * (r - 1.0) * (ratio - 1.0)
            p, q = (p, -q) if p > 0.0 else (-p, q)
            if 2.0 * p < min(3.0 * middle * q - abs(tolerance * q), abs(last * q)):
                last, step = step, p / q
            else:
                last = step = middle
        else:
            last = step = middle
        a, fa = b, fb
        b += step if abs(step) > tolerance else math.copysign(tolerance, middle)
        fb = function(b)
    return b
