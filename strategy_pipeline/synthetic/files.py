"""The synthetic market as files: the vendor's keys, headers and publication times, a first version and a revision.

Bytes are put together without any library whose output differs between builds: prices are printed from whole cents,
and the gzip files hold stored blocks (compressed ones depend on whether zlib or zlib-ng is installed).
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path

import polars as pl

from strategy_pipeline.ingestion.layout import DATASETS, key_for
from strategy_pipeline.lake.files import holds, publish_bytes
from strategy_pipeline.market.calendar import at_new_york, session
from strategy_pipeline.market.symbols import Instrument
from strategy_pipeline.synthetic.market import Noise, PriceProcess
from strategy_pipeline.synthetic.option_files import option_objects, option_references
from strategy_pipeline.synthetic.options import OptionDay, OptionMarket
from strategy_pipeline.synthetic.plan import LAST_SESSION, MarketPlan, plan_market
from strategy_pipeline.synthetic.text import csv_gz, dollars
from strategy_pipeline.synthetic.volatility_index import VolatilityIndex

SPLITS_KEY, DIVIDENDS_KEY = "reference/splits.csv", "reference/dividends.csv"
STOCK_HEADER = "ticker,volume,open,close,high,low,window_start,transactions"
INDEX_HEADER = "ticker,open,close,high,low,window_start"
# The vendor publishes a session's files late in the morning of the next calendar day.
_PUBLICATION_TIME = time(11, 0)
# What the first version of the revised minute had too much: a later cancelled block trade.
_CANCELLED_CENTS, _CANCELLED_SHARES = 12, 4_000


def published_at(day: date) -> datetime:
    """When the files of a session appear: 11:00 New York on the next calendar day, as UTC."""
    return at_new_york(day + timedelta(days=1), _PUBLICATION_TIME)


def _bodies(bars: pl.DataFrame, header: str, fields: list[pl.Expr]) -> Iterator[tuple[date, bytes]]:
    """One gzipped CSV file for each session of `bars`."""
    lines = bars.select("session", line=pl.concat_str(fields, separator=","))
    texts = lines.group_by("session", maintain_order=True).agg(pl.col("line").str.join("\n"))
    for day, text in texts.iter_rows():
        yield day, csv_gz(header, text)


def _stock_files(bars: pl.DataFrame) -> Iterator[tuple[date, bytes]]:
    prices = [dollars(name) for name in ("open", "close", "high", "low")]
    fields = [pl.col("ticker"), pl.col("volume"), *prices, pl.col("window_start"), pl.col("transactions")]
    return _bodies(bars, STOCK_HEADER, fields)


def _index_files(bars: pl.DataFrame) -> Iterator[tuple[date, bytes]]:
    prices = [dollars(name) for name in ("open", "close", "high", "low")]
    return _bodies(bars, INDEX_HEADER, [pl.col("ticker"), *prices, pl.col("window_start")])


class SyntheticMarket:
    """A market of `sessions` sessions and `symbols` symbols that depends on nothing but its arguments.

    `plant` false leaves the planted edge out; `noise` rearranges the returns (``sign_flipped``, ``block_shuffled``).
    """

    def __init__(
        self,
        seed: int = 7,
        sessions: int = 90,
        symbols: int = 10,
        end: date = LAST_SESSION,
        *,
        history: int = 60,
        past: int = 0,
        volatility_indices: bool = False,
        option_sessions: int = 0,
        plant: bool = True,
        noise: Noise = "as_drawn",
    ) -> None:
        self.plan: MarketPlan = plan_market(
            seed,
            sessions,
            symbols,
            end,
            history=history,
            past=past,
            volatility_indices=volatility_indices,
            option_sessions=option_sessions,
            plant=plant,
        )
        self.prices = PriceProcess(self.plan, noise)
        self.vix = VolatilityIndex(self.prices)

    @cached_property
    def minutes(self) -> pl.DataFrame:
        """Raw minute bars with prices in whole cents; see ``PriceProcess.minutes``."""
        return self._with_indices(self.prices.minutes, self.vix.minutes if self.plan.volatility_indices else None)

    @cached_property
    def days(self) -> pl.DataFrame:
        """Raw day bars with prices in whole cents; see ``PriceProcess.days``."""
        return self._with_indices(self.prices.days, self.vix.days if self.plan.volatility_indices else None)

    def _with_indices(self, bars: pl.DataFrame, indices: pl.DataFrame | None) -> pl.DataFrame:
        if indices is None:
            return bars
        return pl.concat([bars, indices]).sort("session", "ticker", "window_start", maintain_order=True)

    def option_days(self) -> Iterator[OptionDay]:
        """What is published about options, session by session; nothing when the plan has none."""
        if self.plan.options is not None:
            yield from OptionMarket(self.plan.options, self.prices, self.vix).days()

    def watchlist(self) -> tuple[Instrument, ...]:
        """The symbols to watch, with asset class and volume proxy."""
        return self.plan.instruments

    @property
    def revised_key(self) -> str:
        """The key of the object that ``publish_revision`` replaces."""
        return key_for(DATASETS["us_stocks_sip/minute_aggs_v1"], self.plan.revised.session)

    @cached_property
    def _objects(self) -> dict[str, tuple[bytes, datetime]]:
        """Content and publication time of every object in its final version."""
        objects: dict[str, tuple[bytes, datetime]] = {}
        is_index = pl.col("volume").is_null()
        for grain, bars in (("minute", self.minutes), ("day", self.days)):
            for day, content in _stock_files(bars.filter(~is_index)):
                objects[key_for(DATASETS[f"us_stocks_sip/{grain}_aggs_v1"], day)] = (content, published_at(day))
            for day, content in _index_files(bars.filter(is_index)):
                objects[key_for(DATASETS[f"us_indices/{grain}_aggs_v1"], day)] = (content, published_at(day))
        declared = published_at((*self.plan.past, *self.plan.history, *self.plan.sessions)[0])
        objects[SPLITS_KEY] = (self._splits_csv().encode(), declared)
        objects[DIVIDENDS_KEY] = (self._dividends_csv().encode(), declared)
        objects[self.revised_key] = (objects[self.revised_key][0], published_at(self.plan.revised_on))
        if self.plan.options is not None:
            objects |= {key: (content, declared) for key, content in option_references(self.plan.options).items()}
        for options in self.option_days():
            objects |= option_objects(options, published_at(options.day))
        return objects

    @cached_property
    def _first_version(self) -> tuple[bytes, datetime]:
        """The revised object as it was first published: one minute still holds a trade that was cancelled later."""
        revised = self.plan.revised
        start = session(revised.session).open + timedelta(minutes=revised.minute)
        wrong = (pl.col("ticker") == revised.symbol) & (
            pl.col("window_start") == int(start.timestamp()) * 1_000_000_000
        )
        bars = self.minutes.filter(pl.col("session") == revised.session, pl.col("volume").is_not_null())
        ((_, content),) = _stock_files(
            bars.with_columns(
                high=pl.col("high") + pl.when(wrong).then(_CANCELLED_CENTS).otherwise(0),
                volume=pl.col("volume") + pl.when(wrong).then(_CANCELLED_SHARES).otherwise(0),
                transactions=pl.col("transactions") + pl.when(wrong).then(1).otherwise(0),
            )
        )
        return content, published_at(revised.session)

    def _splits_csv(self) -> str:
        rows = [f"{one.symbol},{one.execution_date},{one.split_from},{one.split_to}" for one in self.plan.splits]
        return "\n".join(["ticker,execution_date,split_from,split_to", *rows]) + "\n"

    def _dividends_csv(self) -> str:
        """Dividends in the vendor's shape; the amount is the planned share of the close before the ex-date."""
        rows = ["ticker,ex_dividend_date,cash_amount,declaration_date,record_date,pay_date,frequency,dividend_type"]
        for one in self.plan.dividends:
            if one.symbol not in {security.symbol for security in self.plan.securities}:
                continue
            closes = self.days.filter(pl.col("ticker") == one.symbol, pl.col("session") < one.ex_date)["close"]
            cash_cents = (int(closes[-1]) * one.yield_bps + 5_000) // 10_000 if len(closes) else 0
            declared, paid = one.ex_date - timedelta(days=21), one.ex_date + timedelta(days=21)
            amount = f"{cash_cents // 100}.{cash_cents % 100:02d}"
            rows.append(f"{one.symbol},{one.ex_date},{amount},{declared},{one.ex_date},{paid},4,CD")
        return "\n".join(rows) + "\n"

    def write(self, root: Path) -> list[str]:
        """Publishes the market under `root` in the vendor's layout; returns the keys whose bytes were not there yet.

        The revised object appears in its first version, unless its revision has been published already. Files carry
        their publication time as modification time. Raises StorageError when the disk refuses.
        """
        first, first_at = self._first_version
        written = []
        for key, (content, moment) in self._objects.items():
            if key == self.revised_key and not holds(root / key, content):
                content, moment = first, first_at
            if publish_bytes(root / key, content, moment):
                written.append(key)
        return written

    def publish_revision(self, root: Path) -> str:
        """Replaces the revised object by its corrected version, as the vendor does days later; returns its key."""
        content, moment = self._objects[self.revised_key]
        publish_bytes(root / self.revised_key, content, moment)
        return self.revised_key
