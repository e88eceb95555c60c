"""Hand-made bars and signals for tests of the trade simulation: a few lines of OHLC at New York wall-clock times."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from strategy_pipeline.market.timeframes import MINUTES

NEW_YORK = ZoneInfo("America/New_York")
INSTANT = pl.Datetime("us", "UTC")
Ohlc = tuple[float, float, float, float]

# A full session and one after it, with nothing special about them.
DAY = date(2024, 11, 25)
NEXT_DAY = date(2024, 11, 26)
HALF_DAY = date(2024, 11, 29)

# The entry bar of the known-answer trades (backtesting.md section 14).
ENTRY_BAR: Ohlc = (100.0, 100.5, 99.6, 100.2)


def at(day: date, clock: str) -> datetime:
    """The instant of a New York wall-clock time such as "10:00" or "10:00:02"."""
    return datetime.fromisoformat(f"{day} {clock if len(clock) > 5 else clock + ':00'}").replace(tzinfo=NEW_YORK)


def bars(
    ohlc: Sequence[Ohlc | None], *, start: str = "10:00", day: date = DAY, timeframe: str = "15m", symbol: str = "SPY"
) -> pl.DataFrame:
    """Consecutive bars of one session from `start` on; None leaves a bar out."""
    width = timedelta(minutes=MINUTES[timeframe])
    begin = at(day, start)
    rows = [
        (symbol, timeframe, begin + width * n, begin + width * (n + 1), day, *prices)
        for n, prices in enumerate(ohlc)
        if prices is not None
    ]
    schema = {
        "symbol": pl.String, "timeframe": pl.String, "bar_start": INSTANT, "bar_end": INSTANT, "session": pl.Date,
        "open": pl.Float64, "high": pl.Float64, "low": pl.Float64, "close": pl.Float64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def signal(
    bar_end: str = "10:00",
    *,
    day: date = DAY,
    symbol: str = "SPY",
    direction: str = "LONG",
    atr: float | None = 2.0,
    score: float | None = 70.0,
    timeframe: str = "15m",
    lag_s: float = 2.0,
    detector: str = "crafted",
    **more: object,
) -> pl.DataFrame:
    """One signal whose bar ends at `bar_end`, known `lag_s` seconds later."""
    end = at(day, bar_end)
    row = {
        "detector": detector, "detector_version": "1", "symbol": symbol, "asset_class": "EQUITY_ETF",
        "direction": direction, "session": day, "timeframe": timeframe, "bar_end": end,
        "available_at": end + timedelta(seconds=lag_s), "score": score, "atr": atr, **more,
    }  # fmt: skip
    return pl.DataFrame(
        [row], schema_overrides={"bar_end": INSTANT, "available_at": INSTANT, "score": pl.Float64, "atr": pl.Float64}
    )
