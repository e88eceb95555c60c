"""What a window needs before it can be tested: files, bars, regime, options, quotes, features, signals, in that order.

Each step is a run of a named job over what the mirror holds; what is not published is simply not there.
"""

from dataclasses import dataclass
from datetime import date

import polars as pl

from strategy_pipeline.analytics.alignment import alignment_start
from strategy_pipeline.analytics.lookback import lookback_start
from strategy_pipeline.analytics.regime import history_start
from strategy_pipeline.commands.option_backfill import BUILT_FROM, TAKES_SYMBOLS
from strategy_pipeline.defs.assets.flat_files import FLAT_FILE_DATASETS, OPTION_FILE_DATASETS, QUOTE_FILE_DATASETS
from strategy_pipeline.defs.launch import Definitions, Instance, materialize, session_range
from strategy_pipeline.defs.resources import flat_file_store
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.ingestion.flat_files import FlatFileStore
from strategy_pipeline.ingestion.layout import DATASETS
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import HISTORICAL_BARS
from strategy_pipeline.market import calendar
from strategy_pipeline.market.timeframes import MINUTES, is_finer
from strategy_pipeline.settings import Settings

# The symbol of whose daily bars the market's regime is made.
REGIME_SYMBOL = "SPY"
# Coarser rows stand on files without minutes, and without the minutes of its underlying no chain has a volatility.
COARSEST_WITH_OPTIONS_MINUTES = 15
# Files of quotes are the largest there are, and only rows of minutes are worth them.
COARSEST_WITH_QUOTES_MINUTES = 15
TRIGGER = "backtest"


@dataclass(frozen=True)
class Window:
    """What is to be tested: sessions (keys, both included), symbols besides the watchlist, timeframes of feature rows.

    `scored` says that the firings need composite signals, asked for `signal_timeframe` (empty: each detector's own).
    """

    first: str
    last: str
    symbols: tuple[str, ...]
    timeframes: tuple[str, ...]
    scored: bool = False
    signal_timeframe: str = ""

    @property
    def days(self) -> tuple[date, date]:
        """First and last session."""
        return date.fromisoformat(self.first), date.fromisoformat(self.last)

    @property
    def with_the_session_before(self) -> tuple[str, str]:
        """The window and the session before it, whose regime and volatility its first session goes by."""
        first, last = self.days
        return session_range(calendar.previous_session(first) if first > calendar.first_session() else first, last)


def prepare(settings: Settings, definitions: Definitions, instance: Instance, window: Window) -> None:
    """Everything up to the features of a window, and its signals when they are asked for.

    Raises MissingDataError when there is no aggregate file for it.
    """
    store, lake = flat_file_store(settings), Lake(settings.lake_location)
    bars = _bars_since(store, window)
    config: dict[str, dict[str, object]] = {asset: {"since": day.isoformat()} for asset, day in bars.items()}
    config["historical_bars"] = config["corporate_actions"] = {"symbols": list(window.symbols)}
    materialize(
        definitions, instance, "backfill_bars", assets=[*bars, "corporate_actions", "historical_bars"],
        keys=session_range(min(bars.values()), window.days[1]), config=config, trigger=TRIGGER,
    )  # fmt: skip
    if _has_regime(lake, window):
        assets = ["market_breadth", "market_regime_history"]
        keys = window.with_the_session_before
        materialize(definitions, instance, "backfill_market", assets=assets, keys=keys, trigger=TRIGGER)
    if options := _option_assets(store, window):
        of_symbols = {name: {"symbols": list(window.symbols)} for name in TAKES_SYMBOLS}
        keys = window.with_the_session_before
        materialize(
            definitions, instance, "backfill_options", assets=options, keys=keys, config=of_symbols, trigger=TRIGGER
        )
    keys = session_range(*window.days)
    if quotes := _quote_assets(store, window):
        of_symbols = {"quoted_spreads": {"symbols": list(window.symbols)}}
        materialize(
            definitions, instance, "backfill_quotes", assets=quotes, keys=keys, config=of_symbols, trigger=TRIGGER
        )
    chosen = {"features": {"timeframes": list(window.timeframes)}}
    materialize(definitions, instance, "backfill_bars", assets=["features"], keys=keys, config=chosen, trigger=TRIGGER)
    if window.scored:
        signals = ["context_scores", "composite_signals"]
        asked = {name: {"timeframe": window.signal_timeframe} for name in signals}
        materialize(definitions, instance, "score_context", assets=signals, keys=keys, config=asked, trigger=TRIGGER)


def _bars_since(store: FlatFileStore, window: Window) -> dict[str, date]:
    """The file assets that have any file the window looks at, with the first session each is needed from."""
    first, last = window.days
    since = {
        asset: min(_first_needed(name, timeframe, first) for timeframe in window.timeframes)
        for asset, name in FLAT_FILE_DATASETS.items()
    }
    # A data set without a single file in the range would only fill the event log.
    since = {asset: day for asset, day in since.items() if store.list(DATASETS[FLAT_FILE_DATASETS[asset]], day, last)}
    if not since:
        raise MissingDataError(
            f"{store.location} has no aggregate files from {first} to {last}: choose other dates, or point "
            "FLAT_FILES_URL at files of these."
        )
    return since


def _first_needed(dataset: str, timeframe: str, first: date) -> date:
    """The first session of which a data set's file is read for feature rows of `timeframe` from `first` on.

    Minute files, the largest, go back as far as the rows' own timeframe looks; day files as far as the regime and hour
    files as far as any column.
    """
    if DATASETS[dataset].grain == "day":
        start = min(lookback_start(timeframe, first), alignment_start("1d", first), history_start(first))
    elif DATASETS[dataset].grain != "minute":
        start = min(lookback_start(timeframe, first), lookback_start("1h", first))
    else:
        start = lookback_start(timeframe if is_finer("15m", timeframe) else "15m", first)
    return max(start, calendar.first_session())


def _has_regime(lake: Lake, window: Window) -> bool:
    """Whether the window holds a daily bar of the symbol whose regime is the market's."""
    daily = (pl.col("symbol") == REGIME_SYMBOL) & (pl.col("timeframe").cast(pl.String) == "1d")
    first, last = (date.fromisoformat(key) for key in window.with_the_session_before)
    days = calendar.sessions_between(first, last)
    return lake.read_sessions(HISTORICAL_BARS, days, columns=["symbol", "timeframe"], where=daily).height > 0


def _quote_assets(store: FlatFileStore, window: Window) -> list[str]:
    """The files of stock quotes, when the window has any and rows fine enough to look at them, and their table."""
    if min(MINUTES[name] for name in window.timeframes) > COARSEST_WITH_QUOTES_MINUTES:
        return []
    there = [asset for asset, name in QUOTE_FILE_DATASETS.items() if store.list(DATASETS[name], *window.days)]
    return [*there, "quoted_spreads"] if there else []


def _option_assets(store: FlatFileStore, window: Window) -> list[str]:
    """The option files that the window has any of, and the tables that are built from them, in order."""
    if min(MINUTES[name] for name in window.timeframes) > COARSEST_WITH_OPTIONS_MINUTES:
        return []
    first, last = (date.fromisoformat(key) for key in window.with_the_session_before)
    file_of = {dataset: asset for asset, dataset in OPTION_FILE_DATASETS.items()}
    there = [name for name in BUILT_FROM if store.list(DATASETS[name], first, last)]
    return list(dict.fromkeys(asset for name in there for asset in (file_of[name], *BUILT_FROM[name][1])))
