"""What a backtest is asked and what it reads: the choice of a run, and its features, bars, signals and option market.

The assets of assets/backtests.py hand the result to one function; nothing here computes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import polars as pl

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.inputs import FILTER_WARM_UP_SESSIONS, RunContext, require_symbols, tradable_bars
from strategy_pipeline.backtest.option_marks import OptionMarket, Tape
from strategy_pipeline.defs.partitions import PartitionChoice
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.errors import MissingDataError, SettingsError
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.ingestion.option_session import read_tape
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    COMPOSITE_SIGNALS,
    CORPORATE_ACTIONS,
    FEATURES,
    HISTORICAL_BARS,
    HISTORICAL_GREEKS,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.market.timeframes import TIMEFRAMES
from strategy_pipeline.settings import Watchlist

DEFAULT_DAYS = 90
# Every detector on the timeframe of its catalogue entry.
NATIVE = "native"


class BacktestChoice(PartitionChoice):
    """What is tested: empty symbols mean the watchlist, empty dates the last 90 calendar days that have features.

    `assumptions` overrides fields of ``BacktestConfig`` by name.
    """

    timeframe: str = "15m"
    symbols: list[str] = []
    start: str = ""
    end: str = ""
    assumptions: dict[str, Any] = {}

    def to_config(self) -> BacktestConfig:
        """The validated assumptions of the run; raises SettingsError naming the field at fault."""
        try:
            return BacktestConfig(timeframe=self.timeframe, **self.assumptions)
        except TypeError as error:
            raise SettingsError(f"assumptions hold an unknown field: {error}.") from None


def timeframes_of(timeframe: str, detectors: Sequence[str] = ()) -> list[str]:
    """Timeframes of the rows that `detectors` (all without names) are tested on, coarsest first."""
    if timeframe != NATIVE:
        return [timeframe]
    cadences = {detector.timeframe for detector in catalogue.select(detectors or None)}
    return [name for name in reversed(TIMEFRAMES) if name in cadences]


@dataclass(frozen=True)
class Inputs:
    """What a backtest reads from the lake."""

    features: pl.DataFrame
    bars: pl.DataFrame
    actions: pl.DataFrame
    context: RunContext


def read_inputs(lake: Lake, raw_files: RawMirror, watchlist: Watchlist, config: BacktestChoice) -> Inputs:
    """What the run reads of its window; raises MissingDataError naming what was asked for and is not there."""
    timeframe = config.timeframe
    first, last = window_of(lake, config)
    wanted = list(config.symbols) or list(watchlist.symbols)
    of_symbols = pl.col("symbol").is_in(wanted)
    rows = _features(lake, timeframe, calendar.sessions_between(first, last), of_symbols)
    require_symbols(rows, config.symbols, timeframe, first, last)
    tested = rows["session"].unique().sort().to_list()
    before = calendar.sessions_between(calendar.first_session(), tested[0])[-1 - FILTER_WARM_UP_SESSIONS : -1]
    executing = ["1m", timeframe] if timeframe in TIMEFRAMES else list(TIMEFRAMES)
    where = of_symbols & pl.col("timeframe").cast(pl.String).is_in(executing)
    bars = lake.read_sessions(HISTORICAL_BARS, [*before, *tested], where=where)
    actions = lake.read(CORPORATE_ACTIONS, [{}])
    context = _context(lake, raw_files, config.to_config(), tested, of_symbols)
    return Inputs(rows, tradable_bars(bars, actions, tested[0]), actions, context)


def window_of(lake: Lake, config: BacktestChoice) -> tuple[date, date]:
    """First and last date to test."""
    if config.start and config.end:
        return date.fromisoformat(config.start), date.fromisoformat(config.end)
    fixed = {} if config.timeframe == NATIVE else {"timeframe": config.timeframe}
    stored = lake.sessions(FEATURES, **fixed)
    if not stored:
        raise MissingDataError(
            f"There are no {config.timeframe} features: materialise the asset features with that timeframe first."
        )
    last = date.fromisoformat(config.end) if config.end else stored[-1]
    return date.fromisoformat(config.start) if config.start else last - timedelta(days=DEFAULT_DAYS - 1), last


def _features(lake: Lake, timeframe: str, days: Sequence[date], where: pl.Expr) -> pl.DataFrame:
    """Feature rows of one timeframe, or of those the catalogue names when every detector keeps its own."""
    names = timeframes_of(timeframe)
    return pl.concat([lake.read_sessions(FEATURES, days, where=where, timeframe=name) for name in names])


def _context(
    lake: Lake, raw_files: RawMirror, config: BacktestConfig, days: Sequence[date], where: pl.Expr
) -> RunContext:
    """Composite signals for gates full; chains, and a way to their quotes and prints, for target_mode dte."""
    composite = lake.read_sessions(COMPOSITE_SIGNALS, days, where=where) if config.gates == "full" else None
    if config.target_mode != "dte":
        return RunContext(composite)
    chains = lake.read_sessions(HISTORICAL_GREEKS, days, where=where)
    symbols = chains["symbol"].unique().sort().to_list()

    def tape(tickers: Sequence[str]) -> Tape:
        """The quotes and prints of `tickers` in the files of the window."""
        of_run = pl.col("contract_ticker").is_in(list(tickers))
        read = [read_tape(raw_files, day, symbols) for day in days]
        quotes = [one.quotes.filter(of_run) for one in read if one.quotes is not None]
        prints = [one.prints.filter(of_run) for one in read if one.prints is not None]
        return Tape(pl.concat(quotes) if quotes else None, pl.concat(prints) if prints else None)

    return RunContext(composite, OptionMarket(chains, tape))
