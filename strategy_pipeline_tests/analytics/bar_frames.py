"""Bars for the tests of this folder: a seeded random market in the shape of ``historical_bars``."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, HISTORICAL_BARS
from strategy_pipeline.market import calendar
from strategy_pipeline.market.timeframes import BAR_LAG, resample

NO_ACTIONS = CORPORATE_ACTIONS.empty()
TIMEFRAMES = ("1m", "5m", "15m", "1h", "4h", "1d")


def contract_bars(columns: dict[str, object], timeframe: str) -> pl.DataFrame:
    """Rows of ``historical_bars`` from what a test cares about; the rest has ordinary values."""
    frame = pl.DataFrame(columns)
    defaults = {
        "timeframe": pl.lit(timeframe),
        "segment": pl.lit("rth"),
        "volume": pl.lit(100.0),
        "vwap": pl.lit(None),
        "trades": pl.lit(None),
        "coverage_pct": pl.lit(None),
        "source": pl.lit("synthetic"),
        "quality": pl.lit("final"),
        "quality_flags": pl.lit([], dtype=pl.List(pl.String)),
        "available_at": pl.col("bar_end") + BAR_LAG,
        "ingested_at": pl.lit(datetime(2030, 1, 1, tzinfo=UTC)),
        "revision": pl.lit(0),
        "definition_version": pl.lit("bars-1/session"),
    }
    frame = frame.with_columns(value.alias(name) for name, value in defaults.items() if name not in frame.columns)
    return frame.select(pl.col(name).cast(kind) for name, kind in HISTORICAL_BARS.polars_schema.items())


def minute_market(symbols: list[str], first: date, last: date, seed: int = 7) -> pl.DataFrame:
    """Minute bars of a random walk for every regular minute from `first` to `last`; prices have two decimals."""
    rng = np.random.default_rng(seed)
    known = [calendar.session(day) for day in calendar.sessions_between(first, last)]
    counts = np.array([one.minutes for one in known])
    total = int(counts.sum())
    opened = np.repeat(np.array([one.open.replace(tzinfo=None) for one in known], dtype="datetime64[us]"), counts)
    minute = np.concatenate([np.arange(count) for count in counts])
    starts = pl.Series("bar_start", opened + minute.astype("timedelta64[m]")).dt.replace_time_zone("UTC")
    days = pl.Series("session", np.repeat(np.array([one.day for one in known], dtype="datetime64[D]"), counts))
    parts = []
    for n, symbol in enumerate(symbols):
        close = (100.0 + 10 * n) * np.exp(np.cumsum(rng.normal(0, 4e-4, total)))
        first_price = np.concatenate([close[:1], close[:-1]]) * (1 + rng.normal(0, 5e-5, total))
        reach = np.abs(rng.normal(0, 2e-4, (2, total))) * close
        frame = pl.DataFrame(
            {
                "open": first_price.round(2),
                "high": (np.maximum(close, first_price) + reach[0]).round(2),
                "low": (np.minimum(close, first_price) - reach[1]).round(2),
                "close": close.round(2),
                "volume": np.floor(rng.lognormal(7, 0.6, total)),
            }
        )
        parts.append(frame.with_columns(starts, days, symbol=pl.lit(symbol)))
    market = pl.concat(parts).with_columns(bar_end=pl.col("bar_start") + timedelta(minutes=1))
    return contract_bars(market.to_dict(), "1m")


def all_timeframes(minutes: pl.DataFrame) -> pl.DataFrame:
    """The minute bars and everything resampled from them."""
    return pl.concat([minutes, *(resample(minutes, name) for name in TIMEFRAMES[1:])])


def splits(*rows: tuple[str, date, float]) -> pl.DataFrame:
    """``corporate_actions`` of (symbol, ex_date, new shares per old)."""
    return pl.DataFrame(
        [
            {
                "symbol": symbol,
                "action": "split",
                "ex_date": ex_date,
                "split_ratio": ratio,
                "cash_amount": None,
                "available_at": datetime(ex_date.year, ex_date.month, ex_date.day, tzinfo=UTC),
                "source": "flat_file",
            }
            for symbol, ex_date, ratio in rows
        ],
        schema=CORPORATE_ACTIONS.polars_schema,
    )


def real_splits(shared_data: Path) -> pl.DataFrame:
    """The splits that lie beside the real bars."""
    table = pl.read_csv(shared_data / "extra/corporate_actions/splits.csv", try_parse_dates=True)
    rows = table.select("ticker", "last_date_before", "split_ratio").rows()
    return splits(*((ticker, calendar.next_session(last), ratio) for ticker, last, ratio in rows))


def real_bars(shared_data: Path, grain: str) -> pl.DataFrame:
    """The real hour or day bars of stocks as rows of ``historical_bars``; hours are on the clock-hour grid."""
    table = pl.scan_csv(
        shared_data / f"us_stocks_sip/{grain}_aggs_v1/**/*.csv.gz", schema_overrides={"volume": pl.Float64}
    ).collect()
    stamp = pl.from_epoch("window_start", "ns").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    table = table.with_columns(stamp=stamp).with_columns(
        session=pl.col("stamp").dt.convert_time_zone("America/New_York").dt.date()
    )
    hours = calendar.session_frame().select("session", open_at="open", close_at="close")
    table = table.join(hours, on="session").rename({"ticker": "symbol"}).drop("window_start", "transactions")
    if grain == "day":
        window = {"bar_start": pl.col("open_at"), "bar_end": pl.col("close_at")}
    else:
        window = {
            "bar_start": pl.max_horizontal("stamp", "open_at"),
            "bar_end": pl.min_horizontal(pl.col("stamp") + timedelta(hours=1), "close_at"),
        }
    table = table.with_columns(**window).sort("symbol", "bar_start").drop("stamp", "open_at", "close_at")
    return contract_bars(table.to_dict(), "1h" if grain == "hour" else "1d")
