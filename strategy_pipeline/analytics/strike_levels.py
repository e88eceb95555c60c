"""Strikes that stand out in a chain: where a quantity is largest, and where option holders lose most.

Belongs here: rules of choice and of ties between strikes, on arrays. What the quantities are is the caller's business.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Values this close to the best one are equal: sums of the same terms in another order differ by less.
TIE_SHARE = 1e-12


def largest(strikes: Floats, values: Floats, spot: float) -> tuple[float, float] | None:
    """Strike with the largest value and that value; of equals the nearer to `spot`, then the lower.

    None when no value is above zero.
    """
    if not len(values) or not (top := float(values.max())) > 0.0:
        return None
    return _nearest(strikes[values >= top * (1.0 - TIE_SHARE)], spot), top


def max_pain(strikes: Floats, call_weights: Floats, put_weights: Floats, spot: float) -> float | None:
    """Listed strike at which the holders of an expiry's options are paid least (quant_methods.md section 9).

    Weights are open interest times multiplier at each strike; ties go to the strike nearer to `spot`. A piecewise
    linear convex function has a minimum at one of its corners, so only strikes are tried. None without open interest.
    """
    if not call_weights.any() and not put_weights.any():
        return None
    pain = payouts(strikes, call_weights, put_weights)
    scale = float((call_weights + put_weights) @ strikes)
    return _nearest(strikes[pain <= pain.min() + TIE_SHARE * scale], spot)


def payouts(strikes: Floats, call_weights: Floats, put_weights: Floats) -> Floats:
    """What holders receive, $, when the underlying settles at each of `strikes`."""
    apart = np.subtract.outer(strikes, strikes)
    return np.asarray(np.maximum(apart, 0.0) @ call_weights + np.maximum(-apart, 0.0) @ put_weights)


def _nearest(candidates: Any, spot: float) -> float:
    return min(candidates.tolist(), key=lambda strike: (abs(strike - spot), strike))
