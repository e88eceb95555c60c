"""Black-Scholes-Merton price and Greeks of European options, as arrays in and arrays out.

What belongs here: the closed form, its limits, its units and the checks of its arguments. Volatility from price is
implied_volatility.py's business, early exercise american.py's, and frames are chain.py's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from strategy_pipeline.errors import DataError

Floats = npt.NDArray[np.float64]

# Names and units of the columns of the Greeks, in the order in which the kernels lay them out.
GREEK_COLUMNS = ("delta", "gamma", "vega_1pct", "theta_day", "rho_1pct", "vanna_1pct", "charm_day", "vomma")

_ROWS_PER_TASK = 32_768


class PricingInputError(DataError):
    """An option was handed to the pricing functions with terms that no option can have."""


@dataclass(frozen=True)
class Greeks:
    """Price ($/share) and Greeks of many options, one element each, and which of them are degenerate.

    delta and gamma are per $1 of the underlying, vega_1pct per volatility point, theta_day and charm_day per calendar
    day, rho_1pct per 1 % of rate, vanna_1pct delta per volatility point, vomma $ per (1.00 volatility) squared.
    """

    price: Floats
    delta: Floats
    gamma: Floats
    vega_1pct: Floats
    theta_day: Floats
    rho_1pct: Floats
    vanna_1pct: Floats
    charm_day: Floats
    vomma: Floats
    degenerate: npt.NDArray[np.bool_]

    @classmethod
    def from_rows(cls, out: Floats, degenerate: npt.NDArray[np.bool_]) -> "Greeks":
        """From the kernels' layout: one row per name in GREEK_COLUMNS, then the price."""
        by_name = dict(zip(GREEK_COLUMNS, out, strict=False))
        return cls(price=out[len(GREEK_COLUMNS)], degenerate=degenerate, **by_name)


def price_and_greeks(
    spot: Any, strike: Any, years: Any, rate: Any, carry: Any, volatility: Any, is_call: Any
) -> Greeks:
    """Black-Scholes-Merton price and Greeks (Merton, Bell Journal of Economics 4, 1973).

    Arguments are scalars or one-dimensional arrays that broadcast: $ for spot and strike, years, continuous
    decimals per year for rate and carry (dividend yield), decimals per square-root year for volatility. Without
    volatility or time the price is the discounted forward intrinsic value and `degenerate` is true. Raises
    PricingInputError for a spot or a strike that is not positive, for negative time or volatility, and for
    anything that is not a finite number.
    """
    from strategy_pipeline.pricing import european_kernels as kernels
    from strategy_pipeline.pricing.compiled import in_threads

    *columns, omega = aligned(spot, strike, years, rate, carry, volatility, signs(is_call))
    check_terms(*columns)
    rows = len(omega)
    out = np.empty((kernels.GREEKS + 1, rows))
    degenerate = np.zeros(rows, dtype=np.bool_)
    in_threads(
        lambda start, stop: kernels.prices_and_greeks(
            *columns[:5], omega, columns[5], out, degenerate, start, stop
        ),
        rows,
        _ROWS_PER_TASK,
    )  # fmt: skip
    return Greeks.from_rows(out, degenerate)


def price(spot: Any, strike: Any, years: Any, rate: Any, carry: Any, volatility: Any, is_call: Any) -> Floats:
    """Black-Scholes-Merton price in $ per share; arguments and errors as in `price_and_greeks`."""
    return price_and_greeks(spot, strike, years, rate, carry, volatility, is_call).price


def aligned(*values: Any) -> list[Floats]:
    """Scalars and one-dimensional arrays as contiguous float arrays of one length, copied only where they must be."""
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in values))
    if arrays[0].ndim != 1:
        raise ValueError("Pricing takes scalars and one-dimensional arrays.")
    return [np.ascontiguousarray(array) for array in arrays]


def signs(is_call: Any) -> Floats:
    """+1 for calls and -1 for puts, from a boolean or an array of booleans."""
    return np.where(np.asarray(is_call, dtype=np.bool_), 1.0, -1.0)


def check_terms(
    spot: Floats, strike: Floats, years: Floats, rate: Floats, carry: Floats, volatility: Floats | None = None
) -> None:
    """Raise PricingInputError at the first option with terms that no option can have."""
    rules = [
        ("spot", spot, spot > 0.0, "must be above zero"),
        ("strike", strike, strike > 0.0, "must be above zero"),
        ("time to expiry", years, years >= 0.0, "must not be negative"),
        ("rate", rate, np.isfinite(rate), "must be a finite number"),
        ("carry", carry, np.isfinite(carry), "must be a finite number"),
    ]
    if volatility is not None:
        rules.append(("volatility", volatility, volatility >= 0.0, "must not be negative"))
    for name, values, holds, demand in rules:
        good = holds & np.isfinite(values)
        if not good.all():
            row = int(np.argmin(good))
            raise PricingInputError(
                f"The {name} of option {row} is {values[row]}, but it {demand}: drop or mend that row."
            )
