"""How well the chains of a session hang together: put-call parity, shares of statuses, total variance over expiries.

Measures only, frames in and numbers out; what is too much is decided by the checks that ask.
"""

from dataclasses import dataclass

import polars as pl

from strategy_pipeline.analytics.atm_implied_volatility import expiry_volatility
from strategy_pipeline.pricing.chain import DEFAULT_RULES, MINUTES_PER_YEAR

# Rounding of bounds against quotes, $.
_CENT_SHARE = 1e-6
# Total variance that falls by less than this share is rounding of prices.
_VARIANCE_SHARE = 1e-3


@dataclass(frozen=True, slots=True)
class ParityFit:
    """`pairs` of a call and a put with good quotes, and how many quote a difference that parity does not allow.

    `worst` is the largest distance to what parity allows, $ per share.
    """

    pairs: int
    outside: int
    worst: float

    @property
    def outside_pct(self) -> float:
        """Share of the pairs outside, 0-100."""
        return 100.0 * self.outside / self.pairs if self.pairs else 0.0


def parity_fit(chain: pl.DataFrame) -> ParityFit:
    """Whether call less put lies where parity with the expiry's own forward puts it, up to the two spreads.

    chain: rows of ``historical_greeks``. European pairs have C - P = (F - K) exp(-rT); American ones lie between that
    or F exp(-rT) - K and that or S - K exp(-rT), whichever is further out (Hull, Options, chapter 11). A pair is
    outside when no price inside its quotes fits. Quotes wider than a good one has say nothing and are left out.
    """
    spread = pl.col("ask") - pl.col("bid")
    good = pl.col("mid").is_not_null() & (spread <= DEFAULT_RULES.max_spread_pct / 100.0 * pl.col("mid"))
    fresh = pl.col("quote_age_s") <= DEFAULT_RULES.max_quote_age_s
    rows = chain.filter(
        good & fresh & (pl.col("forward") > 0) & pl.col("rate").is_not_null() & (pl.col("minutes_to_expiry") > 0)
    )
    keys = ["symbol", "snapshot_at", "expiration", "settlement", "multiplier", "strike"]
    is_call = pl.col("option_type").cast(pl.String) == "call"
    american = pl.col("exercise_style").cast(pl.String) == "american"
    discount = (-pl.col("rate") * pl.col("minutes_to_expiry") / MINUTES_PER_YEAR).exp()
    pairs = (
        rows.group_by(keys)
        .agg(
            *(pl.col(name).filter(is_call).first().alias(f"call_{name}") for name in ("bid", "ask")),
            *(pl.col(name).filter(~is_call).first().alias(f"put_{name}") for name in ("bid", "ask")),
            exact=((pl.col("forward") - pl.col("strike")) * discount).first(),
            low=(pl.col("forward") * discount - pl.col("strike")).first(),
            high=(pl.col("underlying_price") - pl.col("strike") * discount).first(),
            american=american.first(),
        )
        .filter(pl.col("call_bid").is_not_null() & pl.col("put_bid").is_not_null())
    )
    least = pl.when("american").then(pl.min_horizontal("exact", "low")).otherwise("exact")
    most = pl.when("american").then(pl.max_horizontal("exact", "high")).otherwise("exact")
    apart = pl.max_horizontal(
        pl.col("call_bid") - pl.col("put_ask") - most, least - (pl.col("call_ask") - pl.col("put_bid")), pl.lit(0.0)
    )
    found = pairs.select(outside=(apart > _CENT_SHARE).sum(), worst=apart.max()).row(0)
    return ParityFit(pairs.height, int(found[0]), float(found[1] or 0.0))


def solved_share_pct(chain: pl.DataFrame) -> float | None:
    """Share of the unexpired rows with a fresh quote of two sides that have a volatility, 0-100; None without any.

    Options whose price leaves no time value count as solved: there is nothing to find in them.
    """
    quoted = (pl.col("bid") > 0) & (pl.col("bid") <= pl.col("ask")) & (pl.col("minutes_to_expiry") > 0)
    rows = chain.filter(quoted & (pl.col("quote_age_s") <= DEFAULT_RULES.max_quote_age_s))
    if rows.is_empty():
        return None
    status = pl.col("iv_status").cast(pl.String)
    without_time_value = status.is_in(["at_intrinsic", "below_intrinsic"])
    return 100.0 * float(rows.select((pl.col("iv").is_not_null() | without_time_value).mean()).item())


def falling_expiries(chain: pl.DataFrame) -> list[str]:
    """Neighbouring expiries whose at-the-money total variance falls, as sentences; each is a calendar arbitrage.

    chain: rows of ``historical_greeks``, any symbols and snapshots.
    """
    found = []
    groups = ["symbol", "snapshot_at", "multiplier"]
    live = chain.filter(pl.col("minutes_to_expiry") > 0).sort(*groups, "minutes_to_expiry", "contract_ticker")
    for (symbol, snapshot_at, _), own in live.group_by(groups, maintain_order=True):
        before = None
        for _key, rows in own.group_by("minutes_to_expiry", "settlement", maintain_order=True):
            curve = expiry_volatility(rows)
            if curve.atm is None:
                continue
            total = curve.atm**2 * curve.minutes
            if before is not None and total < before[1] * (1.0 - _VARIANCE_SHARE):
                found.append(f"{symbol} at {snapshot_at:%H:%M} UTC from {before[0]} to {curve.expiration}")
            before = (curve.expiration, total)
    return found
