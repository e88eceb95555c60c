"""From stored bars to the bars a backtest trades on: bad prints taken out, raw share basis, breaks in a series marked.

Frames in, frames out. Which bars are read, and how trades are made of them, is decided elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from strategy_pipeline.analytics.bar_filter import continuous_bars
from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.engine import BacktestResult, run_backtest
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.lake.tables import BACKTEST_COVERAGE, BACKTEST_EQUITY

# Sessions before the window whose bars the bar filter gets to know what is usual (64 bars of 1h are nine sessions).
FILTER_WARM_UP_SESSIONS = 20

_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class DetectorTables:
    """What a run leaves in the lake for one detector, one frame a table."""

    trades: pl.DataFrame
    dispositions: pl.DataFrame
    equity: pl.DataFrame
    coverage: pl.DataFrame


def tradable_bars(bars: pl.DataFrame, actions: pl.DataFrame, first: date) -> pl.DataFrame:
    """Regular-hours bars from session `first` on, bad prints replaced, prices raw, `series_id` per holdable series.

    `bars`: rows of ``historical_bars`` of any timeframes, those before `first` only to judge later ones by; `actions`:
    rows of ``corporate_actions``. A price that is not at fault keeps its exact value.
    """
    regular = bars.filter(pl.col("segment").cast(pl.String) == "rth").sort("timeframe", "symbol", "bar_start")
    parts = [
        _cleaned(part, actions).filter(pl.col("session") >= first)
        for part in regular.partition_by("timeframe", maintain_order=True)
    ]
    return pl.concat(parts) if parts else regular.with_columns(series_id=pl.lit(0, dtype=pl.UInt32))


def _cleaned(bars: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    since: date = bars["session"].min()  # type: ignore[assignment]
    clean = continuous_bars(bars, actions, since)
    is_touched = clean["bar_flags"].list.len() > 0
    factor = clean["split_factor"]
    raw = {name: (clean[name] / factor).alias(f"_{name}") for name in _PRICES}
    marked = bars.with_columns(*raw.values(), is_touched.alias("_touched"), clean["holding_id"].alias("series_id"))
    return marked.with_columns(
        **{name: pl.when("_touched").then(pl.col(f"_{name}")).otherwise(pl.col(name)) for name in _PRICES}
    ).drop("_touched", *(f"_{name}" for name in _PRICES))


def require_symbols(features: pl.DataFrame, wanted: Sequence[str], timeframe: str, start: date, end: date) -> None:
    """Raises MissingDataError naming the `wanted` symbols without a single feature row."""
    held = set(features["symbol"].unique().to_list())
    missing = [symbol for symbol in wanted if symbol not in held]
    if missing or features.is_empty():
        names = ", ".join(missing) or "any symbol"
        raise MissingDataError(
            f"There are no {timeframe} bars of {names} from {start} to {end}: leave it out, choose another timeframe "
            "or dates, or point FLAT_FILES_URL at files that hold it."
        )


def run_detectors(
    features: pl.DataFrame,
    bars: pl.DataFrame,
    actions: pl.DataFrame,
    config: BacktestConfig,
    names: Sequence[str],
) -> dict[str, DetectorTables]:
    """Backtests the catalogue's detectors `names` over the sessions that have features, split by detector.

    `features` and `bars` hold the sessions and symbols to test; `bars` come from ``tradable_bars``. Detectors that
    cannot be tested have empty frames and a coverage row that says why.
    """
    sessions = features["session"].unique().sort().to_list()
    result = run_backtest(features, bars, catalogue.select(names), actions, config, sessions)
    return {name: _tables_of(name, result, features) for name in names}


def _tables_of(name: str, result: BacktestResult, features: pl.DataFrame) -> DetectorTables:
    mine = pl.col("detector") == name
    equity = result.daily_equity.filter(mine).with_columns(run_id=pl.lit(result.run_id))
    coverage = result.coverage.filter(mine)
    entry = catalogue.entry(name)
    if isinstance(entry, catalogue.Untestable):
        eligible = features.filter(pl.col("asset_class").cast(pl.String).is_in(sorted(entry.asset_classes)))
        coverage = pl.DataFrame(
            {
                "detector": [name],
                "eligible_symbol_sessions": [eligible.select("symbol", "session").n_unique()],
                "covered_symbol_sessions": [0],
                "missing_inputs": [[entry.reason]],
                "detections": [0],
            }
        )
    return DetectorTables(
        result.trades.filter(mine),
        result.dispositions.filter(mine),
        _as(equity, BACKTEST_EQUITY.polars_schema),
        _as(coverage.with_columns(run_id=pl.lit(result.run_id)), BACKTEST_COVERAGE.polars_schema),
    )


def _as(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
