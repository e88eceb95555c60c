"""Forward and carry of each expiry, from put-call parity where two good quotes face each other and from spot elsewhere.

What belongs here: the choice of the pair, the parity and the early-exercise premium taken out of American mids.
Whether a quote is good is chain.py's business; where the rate comes from is its caller's.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from strategy_pipeline.pricing import american, black_scholes
from strategy_pipeline.pricing.american import Dividends
from strategy_pipeline.pricing.black_scholes import Floats

FORWARD_STATUSES = ("ok", "american_approx", "from_spot", "missing_input")

# Passes of pricing the pair at the forward found so far; the premium near the money moves by less than the tick
# after two.
_PASSES = 2


def with_forward(
    chain: pl.DataFrame, by: Sequence[str], dividends: Dividends, from_parity: bool = True
) -> pl.DataFrame:
    """`chain` with `forward` ($), `carry` (continuous, per year) and `forward_status` of each row's expiry.

    Needs strike, option_type, exercise_style, underlying_price, years, rate, and good_mid: the mid of a good
    quote or null. `by` names the columns that tell one expiry of one underlying at one moment from another. Among
    strikes where both sides are good the one with the smallest |call - put| decides: F = K + e^(rT) (C - P),
    carry = r - ln(F/S)/T. Mids of American options are replaced by European prices at their American volatilities
    first, and `forward_status` says so. Without such a pair the forward is spot less dividends, grown at the
    rate.
    """
    work = chain.with_columns(pl.int_range(pl.len()).alias("_row"))
    is_call = pl.col("option_type").cast(pl.String) == "call"
    side = [*by, "strike"]
    pairs = (
        work.filter(pl.col("good_mid").is_not_null() & (pl.col("years") > 0))
        .with_columns(
            pl.col("good_mid").filter(is_call).first().over(side).alias("_call"),
            pl.col("good_mid").filter(~is_call).first().over(side).alias("_put"),
        )
        .filter(is_call & _usable() & pl.col("_call").is_not_null() & pl.col("_put").is_not_null())
        .sort((pl.col("_call") - pl.col("_put")).abs(), "strike")
        .unique(by, keep="first", maintain_order=True)
    )
    if not from_parity:
        pairs = pairs.clear()
    known = _parity(pairs, dividends)
    # One value per expiry reaches its rows through a window, because frames meet only in the lake's joins.
    rows = work.get_column("_row").len()
    forward = np.full(rows, np.nan)
    forward[pairs.get_column("_row").to_numpy()] = known
    american_style = (pl.col("exercise_style").cast(pl.String) == "american").fill_null(True)
    escrow = dividends.present_values(
        work.get_column("years").fill_null(0.0).to_numpy(), work.get_column("rate").fill_null(0.0).to_numpy()
    )
    work = work.with_columns(
        pl.Series("_parity", forward, nan_to_null=True), pl.Series("_escrow", escrow, dtype=pl.Float64)
    ).with_columns(pl.col("_parity").max().over(by))
    from_spot = (pl.col("underlying_price") - pl.col("_escrow")) * (pl.col("rate") * pl.col("years")).exp()
    value = pl.coalesce("_parity", pl.when(_usable()).then(from_spot))
    carry = pl.col("rate") - (value / pl.col("underlying_price")).log() / pl.col("years")
    return work.with_columns(
        value.alias("forward"),
        pl.when((value > 0) & _usable() & (pl.col("years") > 0)).then(carry).alias("carry"),
        pl.when(value.is_null() | (value <= 0))
        .then(pl.lit("missing_input"))
        .when(pl.col("_parity").is_null())
        .then(pl.lit("from_spot"))
        .when(american_style)
        .then(pl.lit("american_approx"))
        .otherwise(pl.lit("ok"))
        .alias("forward_status"),
    ).drop("_row", "_parity", "_escrow")


def _usable() -> pl.Expr:
    terms = [pl.col(name).is_finite().fill_null(False) for name in ("underlying_price", "strike", "years", "rate")]
    return pl.all_horizontal(*terms, pl.col("underlying_price") > 0, pl.col("strike") > 0)


def _parity(pairs: pl.DataFrame, dividends: Dividends) -> Floats:
    """The forward that each pair implies; NaN where it is not positive."""
    if pairs.is_empty():
        return np.empty(0)
    spot, strike, years, rate, call, put = (
        pairs.get_column(name).to_numpy() for name in ("underlying_price", "strike", "years", "rate", "_call", "_put")
    )
    schedule = dividends.take(pairs.get_column("_row").to_numpy())
    escrow = schedule.present_values(years, rate)
    base = spot - escrow
    growth = np.exp(rate * years)
    early = (pairs.get_column("exercise_style").cast(pl.String) == "american").fill_null(True).to_numpy()
    early = early & (base > 0)
    forward = np.where(early, base * growth, strike + growth * (call - put))
    chosen = np.flatnonzero(early)
    if chosen.size:
        part = schedule.take(chosen)
        terms = (spot[chosen], strike[chosen], years[chosen], rate[chosen])
        for _ in range(_PASSES):
            carry = rate[chosen] - np.log(forward[chosen] / base[chosen]) / years[chosen]
            european = []
            for mid, is_call in ((call[chosen], True), (put[chosen], False)):
                iv, _status = american.implied_volatilities(mid, *terms, carry, is_call, 0.0, dividends=part)
                sigma = np.where(np.isfinite(iv), iv, 0.0)
                fair = black_scholes.price(base[chosen], *terms[1:], carry, sigma, is_call)
                # A mid that has no American volatility has no premium to take out either.
                european.append(np.where(np.isfinite(iv), fair, mid))
            implied = terms[1] + growth[chosen] * (european[0] - european[1])
            forward[chosen] = np.where(implied > 0, implied, forward[chosen])
    return np.where(forward > 0, forward, np.nan)
