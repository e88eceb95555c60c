"""One look at the chains of the watched symbols over REST: each symbol's whole answer and what it needs beside it.

A symbol whose pages do not all come has no chain and a sentence that says why; the others are not touched by it. What
an answer means is chain_snapshots.py's, rest_reference.py's and rest_bars.py's business, valuing it analytics'.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from strategy_pipeline.errors import DataError, SourceError
from strategy_pipeline.ingestion.chain_snapshots import ParsedChain, parse_chain
from strategy_pipeline.ingestion.rest_bars import parse_bars
from strategy_pipeline.ingestion.rest_reference import parse_contracts
from strategy_pipeline.ingestion.vendor_api import VendorApi
from strategy_pipeline.lake.tables import HISTORICAL_BARS, OPTION_CONTRACTS, QUARANTINE
from strategy_pipeline.market.calendar import NEW_YORK, SNAPSHOT_MINUTES
from strategy_pipeline.market.symbols import Instrument, vendor_ticker

# A look begins within the 15 minutes of its instant, and its last page may come a little later.
LATEST_STAMP = timedelta(minutes=SNAPSHOT_MINUTES + 5)
# The vendor takes most of a second for a page, so a few symbols are asked for side by side.
SYMBOLS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: an instant of the grid, and whether the pages are recordings of it.

    contracts: rows of ``option_contracts`` of the session that are stored; symbols without any are asked for.
    """

    snapshot_at: datetime
    contracts: pl.DataFrame
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class SymbolChain:
    """What came of one symbol: CHAIN_COLUMNS, contracts that were fetched, minutes of the underlying, what was refused.

    `failure` is one sentence when there is no chain; `notes` are sentences on what is missing beside a chain. `asked`
    names the answers, as `quarantine` does, about which it says everything.
    """

    symbol: str
    parsed: ParsedChain | None
    contracts: pl.DataFrame
    bars: pl.DataFrame
    quarantine: pl.DataFrame
    failure: str | None = None
    notes: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    @property
    def chain(self) -> pl.DataFrame | None:
        """Rows of CHAIN_COLUMNS, None when nothing of the answer may be used."""
        return self.parsed.chain if self.parsed is not None and self.failure is None else None


def fetch_chains(
    api: VendorApi,
    instruments: Sequence[Instrument],
    request: Request,
    on_done: Callable[[int], None] = lambda count: None,
) -> list[SymbolChain]:
    """The chains of `instruments`, in their order; nothing that the vendor sends or refuses raises."""

    def one(instrument: Instrument) -> SymbolChain:
        found = _fetch_chain(api, instrument, request)
        on_done(1)
        return found

    with ThreadPoolExecutor(SYMBOLS_AT_ONCE) as pool:
        return list(pool.map(one, instruments))


def with_live_rows(held: pl.DataFrame, live: pl.DataFrame, *, files_win: bool) -> pl.DataFrame:
    """The stored rows of a session's contracts, one each, with newer `live` ones of the same table.

    files_win: a contract that files speak of keeps their row; else every live row replaces the one that is held.
    """
    if files_win:
        of_files = held.filter(pl.col("source").cast(pl.String) != "rest")["contract_ticker"]
        live = live.filter(~pl.col("contract_ticker").is_in(of_files.implode()))
    return pl.concat([held.filter(~pl.col("contract_ticker").is_in(live["contract_ticker"].implode())), live])


def _fetch_chain(api: VendorApi, instrument: Instrument, request: Request) -> SymbolChain:
    symbol = instrument.symbol
    ticker = vendor_ticker(symbol, instrument.asset_class)
    nothing = OPTION_CONTRACTS.empty(), HISTORICAL_BARS.empty()
    try:
        answer = api.chain_snapshot(ticker)
    except (SourceError, DataError) as error:
        return SymbolChain(symbol, None, *nothing, QUARANTINE.empty(), str(error))
    beside = _Beside(api, instrument, ticker)
    reference = beside.contracts(request) if answer.records else None
    parsed = parse_chain(answer, symbol, request.snapshot_at, reference, replayed=request.replayed)
    failure = parsed.refusal or _of_another_moment(parsed, request, symbol)
    bars = nothing[1] if failure else beside.underlying_bars(parsed.chain)
    return SymbolChain(
        symbol,
        parsed,
        beside.fetched,
        bars,
        pl.concat([parsed.quarantine, *beside.refused]),
        failure,
        tuple(beside.notes),
        (answer.path, *beside.asked),
    )


class _Beside:
    """What one symbol's chain needs besides its pages; what cannot be had is a note."""

    def __init__(self, api: VendorApi, instrument: Instrument, ticker: str) -> None:
        self.api, self.instrument, self.ticker = api, instrument, ticker
        self.fetched = OPTION_CONTRACTS.empty()
        self.refused: list[pl.DataFrame] = []
        self.notes: list[str] = []
        self.asked: list[str] = []

    def contracts(self, request: Request) -> pl.DataFrame | None:
        """The vendor's list of the session's contracts, stored or fetched."""
        symbol = self.instrument.symbol
        is_listed = (pl.col("symbol") == symbol) & (pl.col("source").cast(pl.String) == "rest")
        stored = request.contracts.filter(is_listed)
        if stored.height:
            return stored
        day = request.snapshot_at.astimezone(NEW_YORK).date()
        try:
            answer = self.api.option_contracts(self.ticker, day)
        except (SourceError, DataError) as error:
            self.notes.append(f"No list of the contracts on {symbol}, so adjusted ones are left out: {error}")
            return None
        listed = parse_contracts(answer, symbol, day)
        # The vendor has one address for the lists of all underlyings.
        source_key = f"{answer.path}?underlying_ticker={self.ticker.removeprefix('I:')}"
        self.refused.append(listed.quarantine.with_columns(source_key=pl.lit(source_key)))
        self.asked.append(source_key)
        self.fetched = listed.contracts
        return listed.contracts

    def underlying_bars(self, chain: pl.DataFrame) -> pl.DataFrame:
        """The underlying's minutes where a contract has a print and no quote, which is valued on them."""
        printed = chain.filter(pl.col("bid").is_null() & pl.col("ask").is_null() & pl.col("last_at").is_not_null())
        if printed.is_empty():
            return HISTORICAL_BARS.empty()
        day = printed["session"][0]
        try:
            answer = self.api.aggregates(self.ticker, "minute", day, day)
        except (SourceError, DataError) as error:
            self.notes.append(
                f"No minutes of {self.instrument.symbol}, so its {printed.height} contracts with a print and no quote "
                f"have no volatility: {error}"
            )
            return HISTORICAL_BARS.empty()
        parsed = parse_bars(answer, self.instrument, "minute")
        self.refused.append(parsed.quarantine)
        self.asked.append(answer.path)
        return parsed.bars


def _of_another_moment(parsed: ParsedChain, request: Request, symbol: str) -> str | None:
    """Why a picture is not one of the instant that was asked for, by the times in it; None when nothing says so."""
    asked, newest = request.snapshot_at, parsed.newest_at
    wanted = f"{asked.astimezone(NEW_YORK):%Y-%m-%d %H:%M} New York"
    mend = "leave --as-of out for a snapshot of now, or point MASSIVE_BASE_URL at recorded pages of that moment."
    if newest is None:
        return (
            f"Nothing in the vendor's chain of {symbol} says that it is of {wanted}: {mend}"
            if request.replayed
            else None
        )
    # What was open and quoted on an earlier day is not what was open and quoted on this one.
    earlier = newest.astimezone(NEW_YORK).date() < asked.astimezone(NEW_YORK).date()
    if earlier or newest >= asked + LATEST_STAMP:
        shown = f"{newest.astimezone(NEW_YORK):%Y-%m-%d %H:%M}"
        return f"The vendor's chain of {symbol} is of {shown}, not of {wanted}: {mend}"
    return None
