"""Small tables that no partition holds and SQL models may name like any other: the calendar, and bands defined in code.

They are no assets: they change with the code version only.
"""

from collections.abc import Callable
from datetime import time, timedelta

import polars as pl

from strategy_pipeline.analytics.implied_volatility_rank import IV_REGIME_CUTS
from strategy_pipeline.market import calendar

# When closing breadth and the VIX are known, on half days too (quant_methods.md section 1).
CLOSING_KNOWN_TIME = time(16, 15)


def exchange_sessions() -> pl.DataFrame:
    """The calendar, one row a session.

    Columns: session; session_number (consecutive, first session 1); opens_at and closes_at; closing_known_at (16:15
    New York); session_type (full, half). Instants are UTC.
    """
    to_known = timedelta(hours=CLOSING_KNOWN_TIME.hour, minutes=CLOSING_KNOWN_TIME.minute)
    local = (pl.col("session").cast(pl.Datetime("us")) + to_known).dt.replace_time_zone(calendar.NEW_YORK.key)
    return calendar.session_frame().select(
        "session",
        session_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int32),
        opens_at="open",
        closes_at="close",
        closing_known_at=local.dt.convert_time_zone("UTC"),
        session_type=pl.col("session_type").cast(pl.String),
    )


def iv_regime_bands() -> pl.DataFrame:
    """The bands of a volatility percentile: from_pct (0-100, included) and iv_regime."""
    words = [word for _, word in IV_REGIME_CUTS]
    return pl.DataFrame({"from_pct": [0.0, *(cut for cut, _ in IV_REGIME_CUTS[:-1])], "iv_regime": words})


REFERENCE_TABLES: dict[str, Callable[[], pl.DataFrame]] = {
    "exchange_sessions": exchange_sessions,
    "iv_regime_bands": iv_regime_bands,
}
