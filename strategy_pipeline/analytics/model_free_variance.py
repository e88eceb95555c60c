"""Variance that a strip of option quotes implies without a model, as the Cboe's volatility index computes it.

What belongs here: the strip of one expiry and the interpolation of two to a constant maturity. Which expiries are taken
and where the result is kept is atm_implied_volatility.py's business.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from strategy_pipeline.errors import DataError

MINUTES_30_DAYS = 43_200.0

# A wing ends where this many strikes in a row have no bid.
_ZERO_BIDS_THAT_END_A_WING = 2

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ModelFreeVariance:
    """What a strip yields: annualised `variance`, the `forward` and `k0` ($ or points), and how many strikes paid in.

    contributions: strike, weight-free price ``Q(K)``, ``delta_k`` and ``contribution`` (dK/K² e^(rT) Q) per strike.
    """

    variance: float
    forward: float
    k0: float
    strikes: int
    contributions: pl.DataFrame


def model_free_variance(quotes: pl.DataFrame, years: float, rate: float) -> ModelFreeVariance | None:
    """The variance of one expiry from its quotes, or None when they do not make a strip.

    quotes: strike, call_bid, call_ask, put_bid, put_ask in $ or index points per unit; a null counts as no quote, a
        crossed pair as no bid. `years` to expiry > 0 (minutes / 525 600), `rate` continuous decimal per year.
    A strip needs a strike quoted on both sides, a strike at or below the forward and one option beyond K0 on either
    side. Raises DataError for `years` that are not positive. Source: Cboe, VIX white paper (2009, 2014, 2019).
    """
    if not years > 0:
        raise DataError(f"A strip of options with {years} years to expiry has no variance: leave expired ones out.")
    strip = _clean(quotes)
    strike = strip["strike"].to_numpy()
    call_bid, put_bid = strip["call_bid"].to_numpy(), strip["put_bid"].to_numpy()
    call = 0.5 * (call_bid + strip["call_ask"].to_numpy())
    put = 0.5 * (put_bid + strip["put_ask"].to_numpy())
    both = (call_bid > 0) & (put_bid > 0)
    if not both.any():
        return None
    growth = float(np.exp(rate * years))
    apart = np.where(both, np.abs(call - put), np.inf)
    nearest = int(np.argmin(apart))
    forward = float(strike[nearest] + growth * (call[nearest] - put[nearest]))
    at = int(np.searchsorted(strike, forward, side="right")) - 1
    if at < 0:
        return None
    puts = _wing(put_bid[:at][::-1])
    calls = _wing(call_bid[at + 1 :])
    taken = np.concatenate([(at - 1 - puts)[::-1], [at], at + 1 + calls]).astype(np.intp)
    if not len(puts) or not len(calls):
        return None
    middle = 0.5 * (call[at] + put[at])
    if not (both[at] and middle > 0):
        return None
    price = np.concatenate([put[taken[taken < at]], [middle], call[taken[taken > at]]])
    used = strike[taken]
    width = _widths(used)
    parts = width / used**2 * growth * price
    variance = 2.0 / years * float(parts.sum()) - (forward / float(strike[at]) - 1.0) ** 2 / years
    if not variance > 0:
        return None
    table = pl.DataFrame({"strike": used, "price": price, "delta_k": width, "contribution": parts})
    return ModelFreeVariance(variance, forward, float(strike[at]), len(used), table)


def constant_maturity_variance(
    near_minutes: float, near_variance: float, next_minutes: float, next_variance: float, minutes: float
) -> float:
    """Annualised variance at `minutes` from two expiries, total variance linear in minutes; both variances annualised.

    Raises DataError when the two expiries are the same. Source: Cboe, VIX white paper; quant_methods.md section 6.
    """
    if not next_minutes > near_minutes:
        raise DataError(f"Variance cannot be interpolated between {near_minutes} and {next_minutes} minutes.")
    share = (minutes - near_minutes) / (next_minutes - near_minutes)
    near_total, next_total = near_variance * near_minutes, next_variance * next_minutes
    return (near_total + share * (next_total - near_total)) / minutes


def _clean(quotes: pl.DataFrame) -> pl.DataFrame:
    """Quotes sorted by strike with zeros for what is not quoted; of rows with one strike the first stays."""
    sides = ("call", "put")
    bids = [
        pl.when((pl.col(f"{side}_bid") > 0) & (pl.col(f"{side}_bid") <= pl.col(f"{side}_ask")))
        .then(pl.col(f"{side}_bid"))
        .otherwise(0.0)
        .alias(f"{side}_bid")
        for side in sides
    ]
    asks = [pl.col(f"{side}_ask").fill_nan(None).fill_null(0.0) for side in sides]
    return (
        quotes.select("strike", *(f"{side}_{what}" for side in sides for what in ("bid", "ask")))
        .cast(pl.Float64)
        .filter(pl.col("strike") > 0)
        .unique("strike", keep="first", maintain_order=True)
        .sort("strike")
        .with_columns(*bids, *asks)
    )


def _wing(bids: Floats) -> NDArray[np.intp]:
    """Positions of the options taken on the way outwards: those with a bid, until two in a row have none."""
    silent = bids <= 0
    both = silent[1:] & silent[:-1]
    end = int(np.argmax(both)) if both.any() else len(bids)
    return np.flatnonzero(~silent[:end])


def _widths(strikes: Floats) -> Floats:
    """Half the distance between the neighbours; at either end the distance to the one neighbour."""
    gaps = np.diff(strikes)
    return np.concatenate([gaps[:1], 0.5 * (gaps[:-1] + gaps[1:]), gaps[-1:]])
