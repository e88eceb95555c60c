"""Which firings the market's regime blocks before they are scored (context_engines.md section 7).

That a category is disabled in a trend_state is the adaptive table's business, and that a style is out of favour is
inside the regime's multiplier.
"""

import polars as pl

REGIME_BLOCK = "regime_block"
# The side that each strong trend leaves no momentum for.
BLOCKED_SIDE = {"STRONG_DOWNTREND": "LONG", "STRONG_UPTREND": "SHORT"}


def regime_block() -> pl.Expr:
    """``regime_block`` where a momentum family stands against a strong trend, else null.

    Reads direction, momentum (breakout, trend_continuation and opening_drive are the momentum families) and
    regime_label as ``combination.contributions`` gives it: null where the regime is stale or missing, which so blocks
    nothing.
    """
    label = pl.col("regime_label").cast(pl.String)
    side = label.replace_strict(BLOCKED_SIDE, default=None, return_dtype=pl.String)
    blocked = pl.col("momentum") & (pl.col("direction").cast(pl.String) == side)
    return pl.when(blocked.fill_null(False)).then(pl.lit(REGIME_BLOCK))
