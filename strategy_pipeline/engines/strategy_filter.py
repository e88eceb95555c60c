"""Which firings the market's regime blocks before they are scored (context_engines.md section 7).

That a category is disabled in a trend_state is the adaptive table's business, and that a style is out of favour is
inside the regime's multiplier.
"""

import polars as pl

REGIME_BLOCK = "regime_block"


def regime_block() -> pl.Expr:
    """``regime_block`` where a momentum family stands against a strong trend, else null.

    Reads direction, momentum (breakout, trend_continuation and opening_drive are the momentum families), regime_label
    and regime_status as ``combination.contributions`` gives them. A stale or missing regime blocks nothing.
    """
    label, direction = pl.col("regime_label"), pl.col("direction").cast(pl.String)
    against = ((label == "STRONG_DOWNTREND") & (direction == "LONG")) | (
        (label == "STRONG_UPTREND") & (direction == "SHORT")
    )
    blocked = pl.col("momentum") & against & (pl.col("regime_status").cast(pl.String) == "ok")
    return pl.when(blocked.fill_null(False)).then(pl.lit(REGIME_BLOCK))
