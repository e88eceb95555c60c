"""What an option was worth at a moment, and where that comes from: the quote, a print, or the model.

Frames of chains, quotes and prints go in once; arrays of contracts, times and underlying prices get arrays of mids,
spreads and sources back. Which contract is held is option_runs.py's business, how positions end is simulator.py's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from strategy_pipeline.lake.tables import MARK_SOURCES
from strategy_pipeline.pricing import american, black_scholes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NBBO, PRINT, MODEL = (MARK_SOURCES.index(name) for name in ("nbbo", "print", "model"))
NO_MARK = -1
# A file that samples quotes once a minute still holds the one in force; an older one may be far from the market, and a
# fill at it would be a gift.
MAX_QUOTE_AGE_US = 60_000_000
# backtesting.md section 6.
MAX_PRINT_AGE_US = 60_000_000
# The spread assumed around a mark of a contract whose spread was never quoted: 10 % of the mark, and a nickel at least.
ASSUMED_SPREAD_SHARE, LEAST_ASSUMED_SPREAD_USD = 0.10, 0.05

_YEAR_US = 525_600.0 * 60e6


@dataclass(frozen=True)
class Tape:
    """Quotes and prints of some contracts; None where there is no such file at all."""

    quotes: pl.DataFrame | None = None
    prints: pl.DataFrame | None = None


@dataclass(frozen=True)
class OptionMarket:
    """What a run knows about options, point in time by `available_at`.

    chains: rows of ``historical_greeks``. tape: from contract tickers to their quotes (contract_ticker, bid, ask in
    $/share, available_at, optionally event_at) and prints (contract_ticker, price in $/share, available_at, optionally
    event_at); it is asked once, for the contracts a run buys. Without it the quotes of the chains' own snapshots count.
    """

    chains: pl.DataFrame
    tape: Callable[[Sequence[str]], Tape] | None = None


@dataclass(frozen=True)
class Marks:
    """Mids and whole spreads ($/share, NaN without a mark) and the position of their source in MARK_SOURCES or -1."""

    mid: Floats
    spread: Floats
    source: npt.NDArray[np.int8]


@dataclass(frozen=True)
class _Series:
    """Rows of one kind sorted by contract and time; `first[c] : first[c + 1]` are those of contract c."""

    first: Ints
    known_us: Ints
    event_us: Ints
    columns: dict[str, np.ndarray]

    def newest(self, contract: Ints, at_us: Ints) -> Ints:
        """Row of the newest entry of each contract known at each time, or -1."""
        found = np.full(len(contract), -1, np.int64)
        if not len(contract):
            return found
        order = np.argsort(contract, kind="stable")
        bounds = np.flatnonzero(np.append(True, np.diff(contract[order]) != 0))
        for start, stop in zip(bounds, np.append(bounds[1:], len(order)), strict=True):
            rows = order[start:stop]
            low, high = self.first[contract[rows[0]]], self.first[contract[rows[0]] + 1]
            at = low + np.searchsorted(self.known_us[low:high], at_us[rows], side="right") - 1
            found[rows] = np.where(at >= low, at, -1)
        return found


class OptionMarks:
    """Marks of the named contracts from a market; contracts are addressed by their position in `tickers`."""

    def __init__(self, market: OptionMarket, tickers: Sequence[str]) -> None:
        self.tickers = list(tickers)
        chains = market.chains.filter(pl.col("contract_ticker").is_in(self.tickers))
        sound = (pl.col("bid") > 0) & (pl.col("bid") <= pl.col("ask"))
        age = pl.duration(microseconds=(pl.col("quote_age_s").fill_null(0.0) * 1e6).cast(pl.Int64))
        snapshot_quotes = chains.filter(sound).select(
            "contract_ticker", "bid", "ask", "available_at", event_at=pl.col("snapshot_at") - age
        )
        tape = Tape() if market.tape is None or not self.tickers else market.tape(self.tickers)
        of_tape = [] if tape.quotes is None else [_timed(tape.quotes).filter(sound)]
        quotes = pl.concat(
            [frame.select("contract_ticker", "bid", "ask", "available_at", "event_at") for frame in
             (*of_tape, snapshot_quotes)]
        )  # fmt: skip
        self.quotes = self._series(quotes, ("bid", "ask"))
        prints = tape.prints if tape.prints is not None else _no_prints()
        self.prints = self._series(_timed(prints).filter(pl.col("price") > 0), ("price",))
        known = chains.filter(pl.col("iv").is_not_null() & pl.col("carry").is_not_null() & pl.col("rate").is_not_null())
        expires = pl.col("snapshot_at").dt.epoch("us") + (pl.col("minutes_to_expiry") * 60e6).round().cast(pl.Int64)
        known = known.with_columns(
            expires_us=expires,
            is_call=pl.col("option_type").cast(pl.String) == "call",
            on_tree=pl.col("exercise_model").cast(pl.String).is_in(["lr_tree", "crr_tree"]).fill_null(False),
            event_at=pl.col("snapshot_at"),
        )
        self.volatilities = self._series(known, ("iv", "rate", "carry", "strike", "expires_us", "is_call", "on_tree"))

    def at(self, contract: Ints, at_us: Ints, underlying: Floats) -> Marks:
        """Mark of each contract at each time (UTC microseconds), with the underlying ($) of that time for the model.

        The first that exists: a quote not older than 60 seconds, a print not older than 60 seconds, the newest
        volatility carried at its strike. Quotes and prints count from the moment they were known.
        """
        count = len(contract)
        mid, spread = np.full(count, np.nan), np.full(count, np.nan)
        source = np.full(count, NO_MARK, np.int8)
        row = self.quotes.newest(contract, at_us)
        quoted = row >= 0
        bid, ask = self.quotes.columns["bid"], self.quotes.columns["ask"]
        spread[quoted] = ask[row[quoted]] - bid[row[quoted]]
        fresh = np.flatnonzero(quoted)
        fresh = fresh[at_us[fresh] - self.quotes.event_us[row[fresh]] <= MAX_QUOTE_AGE_US]
        mid[fresh] = 0.5 * (bid[row[fresh]] + ask[row[fresh]])
        source[fresh] = NBBO
        row = self.prints.newest(contract, at_us)
        recent = np.flatnonzero((source == NO_MARK) & (row >= 0))
        recent = recent[at_us[recent] - self.prints.event_us[row[recent]] <= MAX_PRINT_AGE_US]
        mid[recent] = self.prints.columns["price"][row[recent]]
        source[recent] = PRINT
        self._model(contract, at_us, underlying, mid, source)
        assumed = np.maximum(ASSUMED_SPREAD_SHARE * mid, LEAST_ASSUMED_SPREAD_USD)
        return Marks(mid, np.where(np.isnan(spread), assumed, spread), source)

    def _model(
        self, contract: Ints, at_us: Ints, underlying: Floats, mid: Floats, source: npt.NDArray[np.int8]
    ) -> None:
        """Fills what is not marked yet from the newest volatility of the contract, by the chain's own model."""
        row = self.volatilities.newest(contract, at_us)
        open_rows = np.flatnonzero((source == NO_MARK) & (row >= 0) & (underlying > 0.0))
        if not len(open_rows):
            return
        of, row = self.volatilities.columns, row[open_rows]
        years = np.maximum(of["expires_us"][row] - at_us[open_rows], 0) / _YEAR_US
        terms = (underlying[open_rows], of["strike"][row], years, of["rate"][row], of["carry"][row], of["iv"][row])
        call, on_tree = of["is_call"][row], of["on_tree"][row] & (years > 0.0)
        value = black_scholes.price(*terms, call)
        if on_tree.any():
            spot, strike, life, rate, carry, volatility = (values[on_tree] for values in terms)
            value[on_tree] = american.prices(spot, strike, life, rate, carry, volatility, call[on_tree])
        mid[open_rows], source[open_rows] = value, MODEL

    def _series(self, frame: pl.DataFrame, names: Sequence[str]) -> _Series:
        number = {ticker: at for at, ticker in enumerate(self.tickers)}
        rows = (
            frame.filter(pl.col("contract_ticker").is_in(self.tickers))
            .with_columns(_contract=pl.col("contract_ticker").replace_strict(number, default=0, return_dtype=pl.Int64))
            .sort("_contract", "available_at", "event_at", maintain_order=True)
        )
        first = np.searchsorted(rows["_contract"].to_numpy(), np.arange(len(self.tickers) + 1))
        return _Series(
            first.astype(np.int64),
            rows["available_at"].dt.epoch("us").to_numpy(),
            rows["event_at"].dt.epoch("us").to_numpy(),
            {name: rows[name].to_numpy() for name in names},
        )


def _timed(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with event_at, which is available_at where nothing else is known."""
    return frame if "event_at" in frame.columns else frame.with_columns(event_at=pl.col("available_at"))


def _no_prints() -> pl.DataFrame:
    instant = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        schema={"contract_ticker": pl.String, "price": pl.Float64, "available_at": instant, "event_at": instant}
    )
