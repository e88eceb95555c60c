"""Option chains on the 15-minute grid: what was known of each contract at each instant, valued as historical_greeks.

What meets what, and as of when, is decided here; quotes are judged and options valued by pricing. Nothing reads files.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from strategy_pipeline.errors import ContractError
from strategy_pipeline.lake.asof import as_of
from strategy_pipeline.lake.tables import HISTORICAL_GREEKS, INSTANT
from strategy_pipeline.market.calendar import snapshot_instants
from strategy_pipeline.market.timeframes import BAR_LAG
from strategy_pipeline.pricing.black_scholes import Floats
from strategy_pipeline.pricing.chain import DEFAULT_RULES, MINUTES_PER_YEAR, ChainRules, value_chain

DEFINITION = "chains-2"
# What is younger than the instant by less than the lag of a live bar may be in its snapshot, which is known then.
SNAPSHOT_LAG = BAR_LAG
# A price of the underlying that is older than one step of the grid says nothing about the options any more.
MAX_UNDERLYING_AGE = timedelta(minutes=15)

_TERMS = (
    "contract_ticker", "symbol", "root", "expiration", "expires_at", "strike", "option_type", "exercise_style",
    "settlement", "multiplier", "quality", "quality_flags", "available_at",
)  # fmt: skip
_QUOTE_SCHEMA = {"contract_ticker": pl.String, "bid": pl.Float64, "ask": pl.Float64}
_PRINT_SCHEMA = {"contract_ticker": pl.String, "price": pl.Float64, "size": pl.Float64}
_TIMES = {"event_at": INSTANT, "available_at": INSTANT}


def chain_snapshots(
    day: date,
    contracts: pl.DataFrame,
    underlying_bars: pl.DataFrame,
    *,
    quotes: pl.DataFrame | None = None,
    prints: pl.DataFrame | None = None,
    open_interest: pl.DataFrame | None = None,
    rates: pl.DataFrame | None = None,
    actions: pl.DataFrame | None = None,
    iv_ranks: pl.DataFrame | None = None,
    snapshots: Sequence[datetime] | None = None,
    rules: ChainRules = DEFAULT_RULES,
    source: str = "flat_file",
) -> pl.DataFrame:
    """Rows of ``historical_greeks`` of one session, sorted by snapshot and contract.

    contracts: ``option_contracts`` of the session. underlying_bars: ``historical_bars`` of the session, of which the
        1m rows count. quotes: contract_ticker, bid, ask ($/share), event_at, available_at. prints: contract_ticker,
        price ($/share), size (contracts), event_at, available_at; minutes of prints are as good as single ones.
    open_interest: ``open_interest``. rates: tenor_years, rate (continuous decimal), available_at. actions:
        ``corporate_actions``. iv_ranks: symbol, iv_rank_pct, iv_percentile_pct, available_at.
    snapshots: UTC instants, the session's whole grid without it. Every contract listed by then has a row; whatever
    is missing is null and named by the status. A row of instant t holds what happened up to t and was known
    SNAPSHOT_LAG later, which is its `available_at`. Raises ContractError when open interest describes its own session.
    """
    frames = list(
        each_snapshot(
            day, contracts, underlying_bars, quotes=quotes, prints=prints, open_interest=open_interest, rates=rates,
            actions=actions, iv_ranks=iv_ranks, snapshots=snapshots, rules=rules, source=source,
        )
    )  # fmt: skip
    return pl.concat(frames) if frames else HISTORICAL_GREEKS.empty()


def each_snapshot(
    day: date,
    contracts: pl.DataFrame,
    underlying_bars: pl.DataFrame,
    *,
    quotes: pl.DataFrame | None = None,
    prints: pl.DataFrame | None = None,
    open_interest: pl.DataFrame | None = None,
    rates: pl.DataFrame | None = None,
    actions: pl.DataFrame | None = None,
    iv_ranks: pl.DataFrame | None = None,
    snapshots: Sequence[datetime] | None = None,
    rules: ChainRules = DEFAULT_RULES,
    source: str = "flat_file",
) -> Iterator[pl.DataFrame]:
    """The frames of chain_snapshots one instant at a time, for a caller who reports progress or keeps only one."""
    ingested_at = _newest_publication((contracts, underlying_bars, quotes, prints, open_interest))
    last_day = pl.col("expires_at").dt.convert_time_zone("America/New_York").dt.date()
    terms = contracts.filter((pl.col("session") == day) & (last_day >= day)).select(_TERMS).sort("contract_ticker")
    bars = _Feed(minute_bars_of(underlying_bars.filter(pl.col("session") == day)), "symbol")
    quoted = _Feed(_shaped(quotes, _QUOTE_SCHEMA), "contract_ticker")
    printed = _Feed(
        _shaped(prints, _PRINT_SCHEMA).filter(pl.col("price") > 0), "contract_ticker", cumulative=("size", "volume")
    )
    interest = _open_interest(open_interest, day)
    for snapshot_at in sorted(snapshots) if snapshots is not None else snapshot_instants(day):
        known_at = snapshot_at + SNAPSHOT_LAG
        chain = terms.filter(pl.col("available_at") <= known_at).drop("available_at")
        chain = chain.with_columns(
            session=pl.lit(day),
            snapshot_at=pl.lit(snapshot_at, dtype=INSTANT),
            known_at=pl.lit(known_at, dtype=INSTANT),
        )
        chain = as_of(
            chain, bars.until(snapshot_at), by=["symbol"], at="known_at", columns={"close": "underlying_price"},
            max_age=MAX_UNDERLYING_AGE + SNAPSHOT_LAG,
        )  # fmt: skip
        chain = as_of(
            chain, quoted.until(snapshot_at), by=["contract_ticker"], at="known_at",
            columns={"bid": "bid", "ask": "ask", "event_at": "quoted_at"},
        )  # fmt: skip
        chain = as_of(
            chain, printed.until(snapshot_at), by=["contract_ticker"], at="known_at",
            columns={"price": "last", "volume": "volume", "event_at": "last_at"},
        )  # fmt: skip
        chain = _with_underlying_of_print(chain, bars.all())
        chain = as_of(
            chain, interest, by=["contract_ticker"], at="known_at",
            columns={"open_interest": "open_interest", "oi_session": "oi_session"},
        )  # fmt: skip
        chain = chain.with_columns(
            quote_age_s=_seconds_since("quoted_at"),
            last_age_s=_seconds_since("last_at"),
            # Once something on an underlying has traded, a contract without a print has a volume of zero.
            volume=pl.coalesce(
                "volume", pl.when(pl.col("volume").is_not_null().any().over("symbol")).then(pl.lit(0.0))
            ).cast(pl.Int64),
            vendor_iv=pl.lit(None, dtype=pl.Float64),
            vendor_delta=pl.lit(None, dtype=pl.Float64),
            source=pl.lit(source),
            ingested_at=ingested_at.fill_null(pl.col("known_at")),
        )
        yield _valued(chain, snapshot_at, rates, actions, iv_ranks, rules)


def value_snapshot(
    chain: pl.DataFrame,
    *,
    underlying_bars: pl.DataFrame | None = None,
    rates: pl.DataFrame | None = None,
    actions: pl.DataFrame | None = None,
    iv_ranks: pl.DataFrame | None = None,
    rules: ChainRules = DEFAULT_RULES,
    source: str = "rest",
) -> pl.DataFrame:
    """Rows of ``historical_greeks`` from the vendor's own picture of a chain, valued as chain_snapshots does.

    chain: one instant (`snapshot_at`) of one session: the terms of ``option_contracts``, underlying_price with
        underlying_at, bid, ask, quote_age_s, last with last_at and last_age_s, volume, open_interest, oi_session,
        vendor_iv, vendor_delta, quality_flags, available_at and ingested_at.
    underlying_bars: 1m rows of ``historical_bars``, without which a last print has no underlying of its own time and
        so no volatility. The rest is as in chain_snapshots. An underlying older than MAX_UNDERLYING_AGE counts as
        missing. Raises ContractError when open interest describes its own session.
    """
    if chain.is_empty():
        return HISTORICAL_GREEKS.empty()
    snapshot_at = chain["snapshot_at"][0]
    if chain["snapshot_at"].n_unique() > 1:
        raise ValueError("a picture of a chain has one snapshot_at")
    if chain.filter(pl.col("oi_session") >= pl.col("session")).height:
        raise ContractError(f"Open interest at {snapshot_at} describes that session itself: leave its oi_session out.")
    recent = pl.col("snapshot_at") - pl.col("underlying_at") <= MAX_UNDERLYING_AGE
    work = chain.with_columns(
        # What came while the pages were fetched was known when the last of them was there.
        known_at=pl.max_horizontal("available_at", "snapshot_at"),
        underlying_price=pl.when(recent & (pl.col("underlying_price") > 0)).then("underlying_price"),
        oi_session=pl.when(pl.col("open_interest").is_not_null()).then("oi_session"),
        open_interest=pl.when(pl.col("oi_session").is_not_null()).then("open_interest"),
        # A price that cannot be one is none; a bid or ask of zero is a side without an order.
        bid=pl.when(pl.col("bid").is_finite() & (pl.col("bid") >= 0)).then("bid"),
        ask=pl.when(pl.col("ask").is_finite() & (pl.col("ask") >= 0)).then("ask"),
        last=pl.when(pl.col("last").is_finite() & (pl.col("last") > 0)).then("last"),
        source=pl.lit(source),
        quality=pl.lit("final"),
    ).sort("contract_ticker")
    bars = minute_bars_of(underlying_bars)
    work = _with_underlying_of_print(work.drop("available_at"), bars)
    return _valued(work, snapshot_at, rates, actions, iv_ranks, rules)


def beside_stored(rows: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """New rows of ``historical_greeks`` with those of the stored ones that they leave standing, in the table's order.

    A symbol's chain at an instant is replaced as a whole. Files win over the vendor's live snapshots: a chain from
    files is replaced by files alone, and a live one by either. Both frames are of one session.
    """
    live = pl.col("source").cast(pl.String) == "rest"
    usable = pl.concat([rows.filter(~live), rows.filter(live & ~_among_chains(stored.filter(~live)))])
    return pl.concat([stored.filter(~_among_chains(usable)), usable]).sort(*HISTORICAL_GREEKS.sort_by)


def _among_chains(of: pl.DataFrame) -> pl.Expr:
    """Whether a row belongs to a chain, a symbol at an instant, that `of` has rows of."""
    chains = of.select(pl.struct("symbol", "snapshot_at")).to_series().unique()
    return pl.struct("symbol", "snapshot_at").is_in(chains.implode())


def minute_bars_of(bars: pl.DataFrame | None) -> pl.DataFrame:
    """Symbol, close, end and availability of the 1m rows of ``historical_bars``; none without bars."""
    if bars is None:
        return pl.DataFrame(schema={"symbol": pl.String, "close": pl.Float64, **_TIMES})
    minutes = bars.filter(
        (pl.col("timeframe").cast(pl.String) == "1m") & pl.col("close").is_finite() & (pl.col("close") > 0)
    )
    return minutes.select("symbol", "close", event_at="bar_end", available_at="available_at")


def _valued(
    chain: pl.DataFrame,
    snapshot_at: datetime,
    rates: pl.DataFrame | None,
    actions: pl.DataFrame | None,
    iv_ranks: pl.DataFrame | None,
    rules: ChainRules,
) -> pl.DataFrame:
    """What is known of each contract at an instant, valued, as rows of ``historical_greeks``."""
    day, known_at = chain["session"].first(), snapshot_at + SNAPSHOT_LAG
    minutes_left = (pl.col("expires_at") - pl.col("snapshot_at")).dt.total_microseconds() / 60e6
    last_day = pl.col("expires_at").dt.convert_time_zone("America/New_York").dt.date()
    chain = _with_ranks(chain, iv_ranks).with_columns(
        minutes_to_expiry=minutes_left.clip(lower_bound=0.0),
        dte=(last_day - pl.col("session")).dt.total_days().cast(pl.Int32),
    )
    years = chain["minutes_to_expiry"].to_numpy() / MINUTES_PER_YEAR
    chain = chain.with_columns(rate=pl.Series(_rates(rates, known_at, years), nan_to_null=True))
    splitting = _splitting(actions, day) if isinstance(day, date) else []
    return _as_table(value_chain(chain, _dividends(actions, known_at), rules), splitting)


class _Feed:
    """Events in the order in which they can be used, and the newest of each key so far."""

    def __init__(self, frame: pl.DataFrame, key: str, cumulative: tuple[str, str] | None = None) -> None:
        # Usable at an instant: it happened by then, and was known by the time the snapshot itself is known.
        usable = pl.max_horizontal(pl.col("event_at"), pl.col("available_at") - SNAPSHOT_LAG)
        self.frame = frame.with_columns(_usable_from=usable).sort("_usable_from", "event_at", maintain_order=True)
        self.key, self.total = key, None if cumulative is None else cumulative[1]
        if cumulative is not None:
            size, total = cumulative
            self.frame = self.frame.with_columns(pl.col(size).cum_sum().over(key).alias(total))
        self.state = self.frame.clear()
        self.place = 0

    def until(self, snapshot_at: datetime) -> pl.DataFrame:
        """The newest usable row of each key; instants must be asked for in rising order."""
        stop = self.frame.select((pl.col("_usable_from") <= snapshot_at).sum()).item()
        window = self.frame.slice(self.place, stop - self.place)
        self.place = stop
        both = pl.concat([self.state, window]).sort("event_at", "_usable_from", maintain_order=True)
        if self.total is not None:
            # What became known late belongs to the total, and not to what is newest.
            both = both.with_columns(pl.col(self.total).max().over(self.key))
        self.state = both.unique(self.key, keep="last", maintain_order=True)
        return self.state

    def all(self) -> pl.DataFrame:
        """Every row that could be used so far."""
        return self.frame.head(self.place)


def _newest_publication(inputs: Iterable[pl.DataFrame | None]) -> pl.Expr:
    """The newest `ingested_at` of the frames that have one."""
    found = [frame["ingested_at"].max() for frame in inputs if frame is not None and "ingested_at" in frame.columns]
    return pl.max_horizontal(pl.lit(None, dtype=INSTANT), *(pl.lit(moment, dtype=INSTANT) for moment in found))


def _shaped(frame: pl.DataFrame | None, columns: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    """The columns that are read of a frame of events, or none of its rows when there is no such frame."""
    if frame is None:
        return pl.DataFrame(schema={**columns, **_TIMES})
    return frame.select(*columns, *_TIMES)


def _open_interest(frame: pl.DataFrame | None, day: date) -> pl.DataFrame:
    """The open interest published for `day`; raises ContractError when a number describes the day itself."""
    if frame is None:
        return pl.DataFrame(
            schema={"contract_ticker": pl.String, "open_interest": pl.Int64, "oi_session": pl.Date, **_TIMES}
        )
    of_day = frame.filter(pl.col("session") == day)
    ahead = of_day.filter(pl.col("oi_session") >= day).height
    if ahead:
        raise ContractError(
            f"{ahead} rows of open interest for {day} describe {day} itself, which nobody knows before its close: "
            "store them under the next session."
        )
    return of_day


def _with_underlying_of_print(chain: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """`chain` with last_underlying_price ($): the underlying when the last print happened, not now."""
    # A contract that never traded asks for the underlying before there was any.
    moment = (pl.col("last_at") + SNAPSHOT_LAG).fill_null(datetime(1970, 1, 1, tzinfo=UTC))
    return as_of(
        chain.with_columns(moment.alias("_printed_known_at")), bars, by=["symbol"], at="_printed_known_at",
        columns={"close": "last_underlying_price"}, max_age=MAX_UNDERLYING_AGE + SNAPSHOT_LAG,
    )  # fmt: skip


def _with_ranks(chain: pl.DataFrame, ranks: pl.DataFrame | None) -> pl.DataFrame:
    """`chain` with the ranks of its symbols' volatility that were known, which are those of the session before."""
    names = ("iv_rank_pct", "iv_percentile_pct")
    if ranks is None:
        return chain.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in names)
    return as_of(chain, ranks, by=["symbol"], at="known_at", columns={name: name for name in names})


def _seconds_since(moment: str) -> pl.Expr:
    return (pl.col("snapshot_at") - pl.col(moment)).dt.total_microseconds() / 1e6


def _rates(rates: pl.DataFrame | None, known_at: datetime, years: Floats) -> Floats:
    """The curve known at an instant, linear in tenor and flat beyond its ends, at each `years`; NaN without a curve."""
    if rates is None:
        return np.full(len(years), np.nan)
    known = rates.filter(pl.col("available_at") <= known_at).sort("available_at", maintain_order=True)
    curve = known.unique("tenor_years", keep="last", maintain_order=True).sort("tenor_years")
    if curve.is_empty():
        return np.full(len(years), np.nan)
    return np.interp(years, curve["tenor_years"].to_numpy(), curve["rate"].to_numpy())


def _dividends(actions: pl.DataFrame | None, known_at: datetime) -> pl.DataFrame | None:
    """Cash dividends declared by an instant: symbol, ex_at (00:00 New York of the ex-date), cash_amount."""
    if actions is None:
        return None
    declared = (pl.col("action").cast(pl.String) == "dividend") & (pl.col("available_at") <= known_at)
    ex_at = pl.col("ex_date").cast(pl.Datetime("us")).dt.replace_time_zone("America/New_York")
    return actions.filter(declared).select("symbol", "cash_amount", ex_at=ex_at.dt.convert_time_zone("UTC"))


def _splitting(actions: pl.DataFrame | None, day: date) -> list[str]:
    """Symbols whose shares split on `day`: the morning's open interest still counts the old contracts."""
    if actions is None:
        return []
    found = actions.filter((pl.col("action").cast(pl.String) == "split") & (pl.col("ex_date") == day))
    return found["symbol"].unique().sort().to_list()


def _as_table(valued: pl.DataFrame, splitting: list[str]) -> pl.DataFrame:
    """A valued chain in the columns and types of ``historical_greeks``."""
    split = pl.col("symbol").is_in(splitting)
    nothing = pl.lit([], dtype=pl.List(pl.String))
    # Only rows with a volatility stand on their forward.
    from_spot = (pl.col("forward_status") == "from_spot") & pl.col("iv").is_not_null()
    flags = pl.concat_list(
        "quality_flags",
        pl.when(from_spot).then(pl.lit(["forward_from_spot"])).otherwise(nothing),
        pl.when(split & pl.col("open_interest").is_not_null())
        .then(pl.lit(["open_interest_before_split"]))
        .otherwise(nothing),
    )
    return (
        valued.with_columns(
            quality_flags=flags,
            open_interest=pl.when(~split).then("open_interest"),
            oi_session=pl.when(~split & pl.col("open_interest").is_not_null()).then("oi_session"),
            available_at="known_at",
            revision=pl.lit(0, dtype=pl.Int32),
            definition_version=pl.lit(DEFINITION),
        )
        .select(HISTORICAL_GREEKS.polars_schema.names())
        .cast(HISTORICAL_GREEKS.polars_schema)
    )
