"""A range of sessions from two sources: the vendor's files where they are published, its REST side for the rest.

Says which sessions of which symbols have to be asked for, and what of the answers stands beside rows from files. What
a row holds is parse.py's and rest_bars.py's business.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import polars as pl

from strategy_pipeline.errors import DataError, SourceError
from strategy_pipeline.ingestion.bars import bars_from
from strategy_pipeline.ingestion.layout import DATASETS, key_for
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.ingestion.rest_bars import parse_bars
from strategy_pipeline.ingestion.vendor_api import VendorApi
from strategy_pipeline.lake.tables import HISTORICAL_BARS, QUARANTINE
from strategy_pipeline.market.symbols import INDEX, Instrument, vendor_ticker

# Rows of historical_bars that files replace when they come.
IS_LIVE = pl.col("source").cast(pl.String) == "rest"
_MINUTE_FILES = {True: DATASETS["us_indices/minute_aggs_v1"], False: DATASETS["us_stocks_sip/minute_aggs_v1"]}
_SYMBOLS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class RecentBars:
    """Provisional bars of one symbol, what was refused, and the sentence that says why there are none."""

    symbol: str
    bars: pl.DataFrame
    quarantine: pl.DataFrame
    failure: str | None = None


def unpublished(
    raw_files: RawMirror, days: Sequence[date], instruments: Sequence[Instrument]
) -> dict[Instrument, list[date]]:
    """The sessions of `days` of which no minute file that could hold an instrument is here, for those with any."""
    absent = {
        is_index: [day for day in days if raw_files.get(key_for(dataset, day)) is None]
        for is_index, dataset in _MINUTE_FILES.items()
    }
    of_each = {one: absent[one.asset_class == INDEX] for one in instruments}
    return {one: missing for one, missing in of_each.items() if missing}


def fetch_recent(
    api: VendorApi,
    wanted: Mapping[Instrument, Collection[date]],
    on_done: Callable[[int], None] = lambda count: None,
    *,
    daily_only: Collection[str] = (),
) -> list[RecentBars]:
    """Bars of all stored timeframes of each instrument's sessions over REST; nothing the vendor sends raises.

    One answer spans from the first to the last session that an instrument lacks, and only what is lacking is kept. Of
    the symbols in `daily_only` the daily bars alone are asked for.
    """

    def one(entry: tuple[Instrument, Collection[date]]) -> RecentBars:
        instrument, days = entry
        try:
            return _fetch(api, instrument, days, instrument.symbol in daily_only)
        except (SourceError, DataError) as error:
            failed = f"No bars of {instrument.symbol}: {error}"
            return RecentBars(instrument.symbol, HISTORICAL_BARS.empty(), QUARANTINE.empty(), failed)
        finally:
            on_done(1)

    with ThreadPoolExecutor(_SYMBOLS_AT_ONCE) as pool:
        return list(pool.map(one, wanted.items()))


def _fetch(api: VendorApi, instrument: Instrument, days: Collection[date], daily_only: bool) -> RecentBars:
    ticker, first, last = vendor_ticker(instrument.symbol, instrument.asset_class), min(days), max(days)
    parsed = [parse_bars(api.aggregates(ticker, "day", first, last), instrument, "day")]
    minutes = HISTORICAL_BARS.empty()
    if not daily_only:
        parsed.append(parse_bars(api.aggregates(ticker, "minute", first, last), instrument, "minute"))
        minutes = parsed[-1].bars
    bars = bars_from(days, minutes, HISTORICAL_BARS.empty(), parsed[0].bars)
    lacking = pl.col("session").is_in(pl.Series(sorted(days), dtype=pl.Date).implode())
    refused = pl.concat([one.quarantine for one in parsed]).filter(lacking)
    failed = None
    if bars.is_empty():
        failed = (
            f"None of the {refused.height:,} bars of {instrument.symbol} from {first} to {last} can be used, see the "
            "quarantine."
            if refused.height
            else f"The vendor has no bars of {instrument.symbol} from {first} to {last}."
        )
    return RecentBars(instrument.symbol, bars, refused, failed)


def beside_files(from_files: pl.DataFrame, live: pl.DataFrame) -> pl.DataFrame:
    """A session's rows from files with those live ones of whose symbol and timeframe the files say nothing."""
    spoken = from_files.select(pl.struct("symbol", pl.col("timeframe").cast(pl.String))).to_series().unique()
    silent = ~pl.struct("symbol", pl.col("timeframe").cast(pl.String)).is_in(spoken.implode())
    return pl.concat([from_files, live.filter(silent)]).sort(*HISTORICAL_BARS.sort_by) if live.height else from_files
