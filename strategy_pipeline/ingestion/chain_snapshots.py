"""A chain snapshot of the vendor's REST side into typed rows: terms, quote, last print, open interest, underlying.

What is missing stays null and what cannot be a contract's is refused with a reason; no price is judged and nothing is
valued here. Asking the vendor is vendor_api.py's business, judging and valuing a chain analytics'.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from strategy_pipeline.ingestion.vendor_api import Pages, number, plain_text
from strategy_pipeline.lake.tables import (
    EXERCISE_STYLES,
    INSTANT,
    OPEN_INTEREST,
    OPTION_TYPES,
    QUARANTINE,
    SETTLEMENTS,
)
from strategy_pipeline.market.calendar import NEW_YORK, previous_session, session
from strategy_pipeline.market.options import (
    STANDARD_MULTIPLIER,
    canonical_ticker,
    morning_of_open_interest,
    root_named,
    with_expires_at,
    with_occ_terms,
)
from strategy_pipeline.market.timeframes import BAR_LAG

DATASET = "option_chain_snapshot"
OPEN_INTEREST_DEFINITION = "open-interest-rest-1"
# The bounds within which volatilities are looked for here; below stand the vendor's floors of 0 and 1e-7.
LEAST_IV, GREATEST_IV = 1e-4, 10.0
# No count of contracts is anywhere near it; what is larger is damage.
MOST_CONTRACTS = 1e12

# A contract as the vendor shows it at a snapshot, one row each. Sides of a quote are as received, a zero stays zero.
CHAIN_COLUMNS = pl.Schema(
    {
        "contract_ticker": pl.String(),
        "snapshot_at": INSTANT,
        "symbol": pl.String(),
        "root": pl.String(),
        "session": pl.Date(),
        "expiration": pl.Date(),
        "expires_at": INSTANT,
        "strike": pl.Float64(),
        "option_type": pl.Enum(OPTION_TYPES),
        "exercise_style": pl.Enum(EXERCISE_STYLES),
        "settlement": pl.Enum(SETTLEMENTS),
        "multiplier": pl.Float64(),
        "underlying_price": pl.Float64(),
        "underlying_at": INSTANT,
        "bid": pl.Float64(),
        "ask": pl.Float64(),
        "quote_at": INSTANT,
        # Never negative: what was quoted while the pages came is as young as can be.
        "quote_age_s": pl.Float64(),
        "last": pl.Float64(),
        "last_at": INSTANT,
        "last_age_s": pl.Float64(),
        "volume": pl.Int64(),
        "open_interest": pl.Int64(),
        "oi_session": pl.Date(),
        "vendor_iv": pl.Float64(),
        "vendor_delta": pl.Float64(),
        "quality_flags": pl.List(pl.String()),
        "available_at": INSTANT,
        "ingested_at": INSTANT,
    }
)

REASONS = {
    "not_a_record": "the entry is no object",
    "no_ticker": "the entry names no contract",
    "malformed_ticker": "the ticker is not an OCC option ticker",
    "other_underlying": "the contract is on another underlying than was asked for",
    "terms_disagree": "strike, expiration or type differ from those in the ticker",
    "unsupported_style": "the contract is neither american nor european",
    "expired_contract": "the contract settled before the session",
    "no_multiplier": "how many shares the contract delivers is not stated",
    "unknown_deliverable": "the contract is adjusted and no reference says what it delivers",
    "duplicate_identical": "the same contract came more than once with the same content; the first is kept",
    "duplicate_older": "the contract came again with a newer quote, which is kept",
    "duplicate_conflicting": "the contract came more than once with different content; none is kept",
}

_RAW = {
    "number": pl.Int64(),
    "request_id": pl.String(),
    "entry": pl.Object(),
    "ticker": pl.String(),
    "fault": pl.String(),
    "underlying": pl.String(),
    "strike_stated": pl.Float64(),
    "expiration_stated": pl.String(),
    "type_stated": pl.String(),
    "style_stated": pl.String(),
    "multiplier": pl.Float64(),
    "underlying_price": pl.Float64(),
    "underlying_us": pl.Int64(),
    "bid": pl.Float64(),
    "ask": pl.Float64(),
    "quote_us": pl.Int64(),
    "trade_price": pl.Float64(),
    "trade_us": pl.Int64(),
    "day_close": pl.Float64(),
    "day_volume": pl.Float64(),
    "day_us": pl.Int64(),
    "open_interest": pl.Float64(),
    "vendor_iv": pl.Float64(),
    "vendor_delta": pl.Float64(),
    # Words with commas between them: lists are slow to build one by one.
    "flags": pl.String(),
}
# What tells two entries for one contract apart.
_CONTENT = [name for name in _RAW if name not in ("number", "request_id", "entry", "flags", "fault")]

# Times of events; a day's own time says which day it is.
_STAMPS = ("underlying_us", "quote_us", "trade_us", "day_us")


@dataclass(frozen=True, slots=True)
class ParsedChain:
    """One chain snapshot: rows of CHAIN_COLUMNS by ticker, what was refused, and where every entry went.

    ``read == chain.height + sum(by_reason.values())``. `refusal` is one sentence when no contract is left. `newest_at`
    is the newest time in the answer's quotes, prints and prices, None when it has none.
    """

    chain: pl.DataFrame
    quarantine: pl.DataFrame
    read: int
    by_reason: dict[str, int]
    refusal: str | None
    newest_at: datetime | None


def parse_chain(
    answer: Pages,
    symbol: str,
    snapshot_at: datetime,
    reference: pl.DataFrame | None = None,
    *,
    replayed: bool = False,
) -> ParsedChain:
    """The contracts of a whole answer about canonical `symbol` as of `snapshot_at`, an instant of a session (UTC).

    reference: rows of ``option_contracts``; their multiplier counts, and an adjusted contract is kept only when it is
        among them, because a snapshot does not say what else than shares it delivers.
    replayed: the pages were recorded at `snapshot_at` and are only played back; their rows were known a bar's lag after
        it, or after the newest time in them, whenever they are fetched.
    Otherwise a row is known when the last page had come, and not before `snapshot_at`. Never raises for what the vendor
    sent; raises CalendarError when `snapshot_at` is not in a session's day.
    """
    hours = session(snapshot_at.astimezone(NEW_YORK).date())
    raw = _raw_frame(answer)
    work = with_terms(raw.drop("entry"), reference).with_columns(
        fault=pl.coalesce("fault", terms_fault(symbol, hours.open))
    )
    refused = work.filter(pl.col("fault").is_not_null()).select("number", "request_id", "fault")
    kept, duplicates = _without_duplicates(work.filter(pl.col("fault").is_null()))
    refused = pl.concat([refused, duplicates]).sort("number")
    newest_at = _newest_stamp(kept)
    known_at = max(snapshot_at, newest_at or snapshot_at) + BAR_LAG if replayed else answer.fetched_at
    chain = _rows(kept, symbol, snapshot_at, answer.fetched_at, known_at)
    by_reason = dict(refused.group_by("fault").len().sort("fault").iter_rows())
    entries = dict(zip(raw["number"].to_list(), raw["entry"].to_list(), strict=True))
    quarantine = pl.DataFrame(
        [
            (DATASET, hours.day, answer.path, request_id, place, fault, _sentence(fault, entries[place]), raw_text)
            for place, request_id, fault in refused.iter_rows()
            for raw_text in [json.dumps(entries[place])]
        ],
        schema=QUARANTINE.polars_schema,
        orient="row",
    )
    refusal = None
    if not chain.height:
        refusal = (
            f"The vendor's chain of {symbol} holds no contract that can be used: {raw.height} came and all were "
            "refused, see the quarantine."
            if raw.height
            else f"The vendor lists no options on {symbol}: check the symbol, or take it off the watchlist."
        )
    return ParsedChain(chain, quarantine, raw.height, by_reason, refusal, newest_at)


def open_interest_of(chain: pl.DataFrame) -> pl.DataFrame:
    """The open interest of a parsed chain in the columns of ``open_interest``; contracts without one have no row.

    The number describes the session before, and everybody could know it at 06:30 New York of the chain's session.
    """
    known = chain.filter(pl.col("open_interest").is_not_null())
    if not known.height:
        return OPEN_INTEREST.empty()
    morning = morning_of_open_interest(known["session"][0])
    return known.select(
        "session",
        "contract_ticker",
        "symbol",
        "open_interest",
        "oi_session",
        source=pl.lit("rest"),
        quality=pl.lit("provisional"),
        quality_flags=pl.lit([], dtype=pl.List(pl.String)),
        available_at=pl.lit(morning, dtype=INSTANT),
        ingested_at="ingested_at",
        revision=pl.lit(0, dtype=pl.Int32),
        definition_version=pl.lit(OPEN_INTEREST_DEFINITION),
    ).cast(OPEN_INTEREST.polars_schema)


class _Entry:
    """One entry of the vendor's answer on its way to columns; collects what could not be read."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.entry = entry
        self.flags: list[str] = []

    def block(self, name: str) -> dict[str, Any]:
        """A block of the entry, empty when it is missing."""
        found = self.entry.get(name)
        if isinstance(found, dict):
            return found
        if found is not None:
            self.flags.append(f"unreadable_{name}")
        return {}

    def number(
        self, block: dict[str, Any], name: str, least: float = -math.inf, most: float = math.inf
    ) -> float | None:
        """A finite number from `least` to `most`; anything else that is there leaves a flag."""
        found = block.get(name)
        if found is None:
            return None
        value = number(found)
        if value is not None and math.isfinite(value) and least <= value <= most:
            return value
        self.flags.append(f"unreadable_{name}")
        return None

    def moment_us(self, block: dict[str, Any], name: str) -> int | None:
        """Microseconds of a stamp in nanoseconds; a stamp in another unit leaves a flag and is none."""
        found = block.get(name)
        if found is None:
            return None
        if isinstance(found, int) and not isinstance(found, bool) and 10**17 <= found < 10**19:
            return found // 1_000
        self.flags.append(f"unreadable_{name}")
        return None


def _columns_of(entry: Any) -> dict[str, Any]:
    """The fields of an entry, each of the type of its column or None."""
    if not isinstance(entry, dict):
        return {"fault": "not_a_record"}
    one = _Entry(entry)
    details, quote, trade = one.block("details"), one.block("last_quote"), one.block("last_trade")
    day, greeks, underlying = one.block("day"), one.block("greeks"), one.block("underlying_asset")
    ticker = plain_text(details.get("ticker"))
    # An index has a value where a share has a price.
    price_name = "price" if underlying.get("price") is not None else "value"
    return {
        "ticker": ticker,
        "fault": None if ticker else "no_ticker",
        "underlying": plain_text(underlying.get("ticker")),
        "strike_stated": one.number(details, "strike_price"),
        "expiration_stated": plain_text(details.get("expiration_date")),
        "type_stated": plain_text(details.get("contract_type")),
        "style_stated": plain_text(details.get("exercise_style")),
        "multiplier": one.number(details, "shares_per_contract"),
        "underlying_price": one.number(underlying, price_name),
        "underlying_us": one.moment_us(underlying, "last_updated"),
        "bid": one.number(quote, "bid", 0.0),
        "ask": one.number(quote, "ask", 0.0),
        "quote_us": one.moment_us(quote, "last_updated"),
        "trade_price": one.number(trade, "price"),
        "trade_us": one.moment_us(trade, "sip_timestamp"),
        "day_close": one.number(day, "close"),
        "day_volume": one.number(day, "volume", 0.0, MOST_CONTRACTS),
        "day_us": one.moment_us(day, "last_updated"),
        "open_interest": one.number(entry, "open_interest", 0.0, MOST_CONTRACTS),
        "vendor_iv": one.number(entry, "implied_volatility"),
        "vendor_delta": one.number(greeks, "delta"),
        "flags": ",".join(one.flags),
    }


def _raw_frame(answer: Pages) -> pl.DataFrame:
    """The entries of an answer as columns, still unchecked."""
    rows = [
        {"number": place, "request_id": request_id, "entry": entry, **_columns_of(entry)}
        for place, request_id, entry in answer.numbered()
    ]
    return pl.DataFrame(
        {name: pl.Series(name, [row.get(name) for row in rows], dtype=kind) for name, kind in _RAW.items()}
    )


def with_terms(raw: pl.DataFrame, reference: pl.DataFrame | None) -> pl.DataFrame:
    """`raw` (ticker, multiplier) with the terms of the ticker, what its root means, and what a reference delivers.

    Adds contract_ticker, root, expiration, option_type, strike, root_symbol, style_of_root, settlement, adjusted,
    in_reference and expires_at; the multiplier of the reference counts before the stated one.
    """
    work = with_occ_terms(raw.with_columns(contract_ticker=canonical_ticker(pl.col("ticker"))))
    names = work["root"].unique().drop_nulls().sort().to_list()
    roots = [root_named(name) for name in names]

    def of_root(values: Iterable[Any], kind: pl.DataType) -> pl.Expr:
        return pl.col("root").replace_strict(
            pl.Series(names, dtype=pl.String), pl.Series(list(values), dtype=kind), default=None, return_dtype=kind
        )

    work = work.with_columns(
        root_symbol=of_root((one.symbol for one in roots), pl.String()),
        style_of_root=of_root((one.exercise_style for one in roots), pl.String()),
        settlement=of_root((one.settlement for one in roots), pl.String()),
        adjusted=of_root((one.adjusted for one in roots), pl.Boolean()),
    )
    if reference is None:
        work = work.with_columns(in_reference=pl.lit(False))
    else:
        stated = reference.unique("contract_ticker", keep="last").select("contract_ticker", "multiplier")
        multiplier = pl.col("contract_ticker").replace_strict(
            stated["contract_ticker"], stated["multiplier"], default=None, return_dtype=pl.Float64
        )
        work = work.with_columns(
            in_reference=multiplier.is_not_null(), multiplier=pl.coalesce(multiplier, "multiplier")
        )
    return with_expires_at(work)


def terms_fault(symbol: str, open_at: datetime) -> pl.Expr:
    """The first reason why the terms of a row of `with_terms` cannot be used at an open of `symbol`, or null."""
    underlying = pl.coalesce(pl.col("underlying").str.strip_prefix("I:"), "root_symbol")
    stated_date = pl.col("expiration_stated").str.to_date("%Y-%m-%d", strict=False)
    disagree = pl.any_horizontal(
        ((pl.col("strike_stated") - pl.col("strike")).abs() > 5e-4).fill_null(False),
        pl.col("expiration_stated").is_not_null() & stated_date.ne_missing(pl.col("expiration")),
        pl.col("type_stated").is_not_null() & pl.col("type_stated").ne_missing(pl.col("option_type")),
    )
    return (
        pl.when(pl.col("root").is_null())
        .then(pl.lit("malformed_ticker"))
        .when(underlying.ne_missing(pl.lit(symbol)))
        .then(pl.lit("other_underlying"))
        .when(disagree)
        .then(pl.lit("terms_disagree"))
        .when(pl.col("style_stated").is_not_null() & ~pl.col("style_stated").is_in(EXERCISE_STYLES))
        .then(pl.lit("unsupported_style"))
        .when(pl.col("expires_at") < pl.lit(open_at, dtype=INSTANT))
        .then(pl.lit("expired_contract"))
        .when(pl.col("multiplier").is_null() | (pl.col("multiplier") <= 0))
        .then(pl.lit("no_multiplier"))
        .when(pl.col("adjusted") & ~pl.col("in_reference"))
        .then(pl.lit("unknown_deliverable"))
    )


def _without_duplicates(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One row a contract, and number, request id and reason of the others.

    A chain moves while its pages come, so a contract may slip from one page to the next and come with a newer quote.
    """
    whole = pl.struct(_CONTENT)
    rows = rows.sort("contract_ticker", "number").with_columns(
        identical=~pl.int_range(pl.len()).over("contract_ticker", whole).eq(0)
    )
    distinct = rows.filter(~pl.col("identical"))
    newest = pl.col("quote_us").fill_null(-1)
    distinct = distinct.with_columns(newest=newest == newest.max().over("contract_ticker"))
    tied = pl.col("newest").sum().over("contract_ticker") > 1
    distinct = distinct.with_columns(
        fault=pl.when(tied)
        .then(pl.lit("duplicate_conflicting"))
        .when(~pl.col("newest"))
        .then(pl.lit("duplicate_older"))
    )
    pick = ["number", "request_id", "fault"]
    refused = pl.concat(
        [
            distinct.filter(pl.col("fault").is_not_null()).select(pick),
            rows.filter("identical").with_columns(fault=pl.lit("duplicate_identical")).select(pick),
        ]
    )
    return distinct.filter(pl.col("fault").is_null()), refused


def _newest_stamp(raw: pl.DataFrame) -> datetime | None:
    """The newest time among entries of _RAW."""
    newest = raw.select(pl.max_horizontal(*_STAMPS).max().cast(INSTANT)).item()
    return newest if isinstance(newest, datetime) else None


def _rows(
    kept: pl.DataFrame, symbol: str, snapshot_at: datetime, fetched_at: datetime, known_at: datetime
) -> pl.DataFrame:
    """Checked entries in CHAIN_COLUMNS."""
    day = session(snapshot_at.astimezone(NEW_YORK).date()).day
    at = pl.lit(snapshot_at.astimezone(UTC), dtype=INSTANT)

    def moment(name: str) -> pl.Expr:
        return pl.col(name).cast(INSTANT)

    def is_today(name: str) -> pl.Expr:
        return moment(name).dt.convert_time_zone(NEW_YORK.key).dt.date() == pl.lit(day)

    def age_s(name: str) -> pl.Expr:
        return ((at - moment(name)).dt.total_microseconds() / 1e6).clip(lower_bound=0.0)

    # Until a contract trades, its day is still the one on which it last did.
    other_day = (pl.col("day_us").is_not_null() & ~is_today("day_us")).fill_null(False)
    printed = (pl.col("trade_price") > 0) & is_today("trade_us")
    # A day without volume has no print, whatever stands in its close.
    traded = ~other_day & (pl.col("day_close") > 0) & (pl.col("day_volume") > 0).fill_null(True)
    closed = pl.when(traded).then("day_close")
    iv, delta = pl.col("vendor_iv"), pl.col("vendor_delta")
    iv_known, delta_known = iv.is_between(LEAST_IV, GREATEST_IV), delta.is_between(-1.0, 1.0)
    volume = pl.when(~other_day).then("day_volume")
    flags = {
        "day_of_other_session": other_day,
        "vendor_iv_out_of_range": iv.is_not_null() & ~iv_known,
        "vendor_delta_out_of_range": delta.is_not_null() & ~delta_known,
        "multiplier_not_standard": pl.col("multiplier") != STANDARD_MULTIPLIER,
        "adjusted_deliverable": pl.col("adjusted"),
        "style_from_root": pl.col("style_stated").is_null(),
        "no_underlying_price": ~(pl.col("underlying_price") > 0).fill_null(False),
    }
    known_at = max(snapshot_at, known_at)
    return (
        kept.select(
            contract_ticker="contract_ticker",
            snapshot_at=at,
            symbol=pl.lit(symbol),
            root="root",
            session=pl.lit(day),
            expiration="expiration",
            expires_at="expires_at",
            strike="strike",
            option_type="option_type",
            exercise_style=pl.coalesce("style_stated", "style_of_root"),
            settlement="settlement",
            multiplier="multiplier",
            underlying_price=pl.when(pl.col("underlying_price") > 0).then("underlying_price"),
            underlying_at=moment("underlying_us"),
            bid="bid",
            ask="ask",
            quote_at=moment("quote_us"),
            quote_age_s=age_s("quote_us"),
            last=pl.when(printed).then("trade_price").otherwise(closed),
            last_at=pl.when(printed).then(moment("trade_us")),
            last_age_s=pl.when(printed).then(age_s("trade_us")),
            volume=volume.floor(),
            open_interest=pl.col("open_interest").floor(),
            oi_session=pl.when(pl.col("open_interest").is_not_null()).then(pl.lit(previous_session(day))),
            vendor_iv=pl.when(iv_known).then(iv),
            vendor_delta=pl.when(delta_known).then(delta),
            quality_flags=pl.concat_str(
                "flags",
                *(pl.when(is_so).then(pl.lit(name)) for name, is_so in flags.items()),
                separator=",",
                ignore_nulls=True,
            )
            .str.split(",")
            .list.eval(pl.element().filter(pl.element() != ""))
            .list.unique()
            .list.sort(),
            available_at=pl.lit(known_at.astimezone(UTC), dtype=INSTANT),
            ingested_at=pl.lit(fetched_at.astimezone(UTC), dtype=INSTANT),
        )
        .cast(CHAIN_COLUMNS)
        .sort("contract_ticker")
    )


def _sentence(reason: str, entry: Any) -> str:
    details = entry.get("details") if isinstance(entry, dict) else None
    ticker = plain_text(details.get("ticker")) if isinstance(details, dict) else None
    text = REASONS[reason]
    return f"{ticker}: {text}." if ticker else f"{text[:1].upper()}{text[1:]}."
