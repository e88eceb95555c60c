"""From stored bars to the bars a backtest trades on: bad prints taken out, raw share basis, breaks in a series marked.

Frames in, frames out. Which bars are read, and how trades are made of them, is decided elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from strategy_pipeline.analytics.bar_filter import continuous_bars
from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.engine import BacktestResult, run_backtest
from strategy_pipeline.backtest.option_marks import OptionMarket
from strategy_pipeline.backtest.trials import NO_TRIALS, trial_rows
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.lake.tables import BACKTEST_COVERAGE, BACKTEST_EQUITY

# Sessions before the window whose bars the bar filter gets to know what is usual (64 bars of 1h are nine sessions).
FILTER_WARM_UP_SESSIONS = 20

_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class DetectorTables:
    """What a run leaves in the lake for one detector, one frame a table; `trials` lack the moment of evaluation."""

    trades: pl.DataFrame
    dispositions: pl.DataFrame
    equity: pl.DataFrame
    coverage: pl.DataFrame
    trials: pl.DataFrame


@dataclass(frozen=True)
class RunContext:
    """What a run asks besides features and bars: rows of ``composite_signals``, and the market of options."""

    composite: pl.DataFrame | None = None
    options: OptionMarket | None = None


def tradable_bars(bars: pl.DataFrame, actions: pl.DataFrame, first: date) -> pl.DataFrame:
    """Regular-hours bars from session `first` on, bad prints replaced, prices raw, `series_id` per holdable series.

    A flagged close that the next bar's open confirms stays as it was sent (see docs/bar_filter.md).

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
    factor = clean["split_factor"]
    clean = clean.with_columns((bars[name] * factor).alias(f"sent_{name}") for name in _PRICES)
    clean = _with_confirmed_moves(clean)
    untouched = clean["bar_flags"].list.len() == 0
    prices = [
        pl.select(
            # Not divided where nothing changed: a price that is not at fault keeps its last bit.
            pl.when(untouched | (clean[name] == clean[f"sent_{name}"])).then(bars[name]).otherwise(clean[name] / factor)
        )
        .to_series()
        .alias(name)
        for name in _PRICES
    ]
    return bars.with_columns(*prices, clean["holding_id"].alias("series_id"))


def _with_confirmed_moves(clean: pl.DataFrame) -> pl.DataFrame:
    """`clean` with the vendor's close (``sent_close``) again where the next bar's open bears it out.

    The filter judges a bar at its end; execution looks back on a finished path, so it may ask the next open of the
    same holding. It confirms a close that lies no further from it than the price put in its place. The extreme beyond a
    confirmed close is taken back too, unless the wick is longer than the move: then it ends at the close.
    """
    flags = pl.col("bar_flags")
    good_open = pl.when(~flags.list.contains("bad_open")).then("open")
    following = good_open.shift(-1).over("holding_id")
    sent, put = pl.col("sent_close"), pl.col("close")
    clean = clean.with_columns(
        _confirmed=(flags.list.contains("bad_close") & ((sent - following).abs() <= (put - following).abs())).fill_null(
            False
        ),
        _move=sent - put,
    )
    move = pl.col("_move")

    def extreme(name: str, side: float) -> pl.Expr:
        is_beyond = pl.col("_confirmed") & (side * move > 0.0) & flags.list.contains(f"bad_{name}")
        wick = side * (pl.col(f"sent_{name}") - sent)
        taken_back = pl.when(wick <= side * move).then(pl.col(f"sent_{name}")).otherwise(sent)
        return pl.when(is_beyond).then(taken_back).otherwise(pl.col(name)).alias(name)

    return clean.with_columns(
        extreme("high", 1.0), extreme("low", -1.0), close=pl.when("_confirmed").then(sent).otherwise(put)
    ).drop("_confirmed", "_move")


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
    context: RunContext | None = None,
) -> dict[str, DetectorTables]:
    """Backtests the catalogue's detectors `names` over the sessions that have features, split by detector.

    `features` and `bars` hold the sessions and symbols to test; `bars` come from ``tradable_bars``. `context` is
    what gates full and target_mode dte ask. Detectors that cannot be tested have a coverage row that says why.
    """
    asked = context or RunContext()
    sessions = features["session"].unique().sort().to_list()
    result = run_backtest(
        features, bars, catalogue.select(names), actions, config, sessions, options=asked.options,
        composite=asked.composite,
    )  # fmt: skip
    return {name: _tables_of(name, result, features) for name in names}


def _tables_of(name: str, result: BacktestResult, features: pl.DataFrame) -> DetectorTables:
    mine = pl.col("detector") == name
    run_id = pl.lit(result.run_id)
    equity, coverage = result.daily_equity.filter(mine), result.coverage.filter(mine)
    trials = NO_TRIALS
    # Nothing was looked at where an input never was there.
    if coverage["covered_symbol_sessions"].sum() > 0:
        trials = trial_rows(
            catalogue.entry(name),
            [result.config],
            equity["session"].to_list(),
            features["symbol"].unique().to_list(),
            result.data_hashes[name],
            equity["daily_return"].to_numpy()[None, :],
            np.array([result.trades.filter(mine).height]),
        )
    return DetectorTables(
        result.trades.filter(mine),
        result.dispositions.filter(mine),
        _as(equity.with_columns(run_id=run_id), BACKTEST_EQUITY.polars_schema),
        _as(coverage.with_columns(run_id=run_id), BACKTEST_COVERAGE.polars_schema),
        trials,
    )


def _as(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
