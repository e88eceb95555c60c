"""Implied volatility of European options, with a status for every option that has none.

What belongs here: bounds, statuses and the array interface of the solver. Quotes, twins and early exercise are
chain.py's business; the loops are in european_kernels.py.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from strategy_pipeline.pricing.black_scholes import Floats, aligned, signs

# Every status an implied volatility can have, in order of precedence: the first that applies is the one.
IV_STATUSES = (
    "missing_input",
    "expired",
    "crossed",
    "zero_bid",
    "stale",
    "no_good_quote",
    "below_intrinsic",
    "above_upper",
    "at_intrinsic",
    "no_convergence",
    "wide_quote",
    "low_vega",
    "ok",
)
# Statuses whose row has a volatility; those of a wide quote or of low vega stay out of curves.
STATUSES_WITH_IV = ("wide_quote", "low_vega", "ok")

# The kernels number only the statuses that a price alone can have.
_KERNEL_STATUSES = (
    "missing_input",
    "expired",
    "below_intrinsic",
    "above_upper",
    "at_intrinsic",
    "low_vega",
    "no_convergence",
    "ok",
)
STATUS_OF_KERNEL = np.array([IV_STATUSES.index(status) for status in _KERNEL_STATUSES], dtype=np.uint8)

# Vega under this many ticks leaves the volatility to the rounding of the price.
LOW_VEGA_TICKS = 0.05

_ROWS_PER_TASK = 32_768


@dataclass(frozen=True)
class ImpliedVolatilities:
    """Volatility (decimal per square-root year, NaN where there is none), status code, and Greeks by name.

    `status` holds positions in IV_STATUSES. `greeks` has one row per name in GREEK_COLUMNS, or none if not asked for.
    """

    iv: Floats
    status: npt.NDArray[np.uint8]
    greeks: Floats


def implied_volatilities(
    price: Any,
    spot: Any,
    strike: Any,
    years: Any,
    rate: Any,
    carry: Any,
    is_call: Any,
    tick: Any = 0.01,
    *,
    with_greeks: bool = True,
) -> ImpliedVolatilities:
    """The volatilities at which Black-Scholes-Merton returns the prices, with their statuses and Greeks.

    Arguments broadcast and have the units of black_scholes.price_and_greeks; `tick` is the price increment in $, and 0
    means that prices are exact. Nothing raises for bad numbers: such an option has the status `missing_input`.
    Volatility is sought in [1e-4, 10] to 1e-10, or as closely as the price's own digits identify it. The first
    guess follows Choi, Kim and Kwak (Applied Mathematical Finance 16, 2009), the iteration Jaeckel (Wilmott,
    2015).
    """
    from strategy_pipeline.pricing import european_kernels as kernels
    from strategy_pipeline.pricing.compiled import in_threads

    prices, spots, strikes, times, rates, carries, ticks, omega = aligned(
        price, spot, strike, years, rate, carry, tick, signs(is_call)
    )
    rows = len(prices)
    sigma = np.empty(rows)
    status = np.empty(rows, dtype=np.uint8)
    greeks = np.empty((kernels.GREEKS if with_greeks else 0, rows))
    in_threads(
        lambda start, stop: kernels.implied_volatilities(
            spots, strikes, times, rates, carries, omega, prices, ticks, sigma, status, greeks, start, stop
        ),
        rows,
        _ROWS_PER_TASK,
    )
    return ImpliedVolatilities(sigma, STATUS_OF_KERNEL[status], greeks)
