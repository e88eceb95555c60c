"""Option prints classified: who was the aggressor, sweeps, blocks and splits, and what the print says about positions.

What belongs here: the rules of one session's tape, frame in and frame out. What conditions mean is
trade_conditions.py's business; windows and scores over flow are the engines'.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from math import ceil
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from strategy_pipeline.analytics import trade_conditions
from strategy_pipeline.analytics.trade_conditions import TradeConditions
from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.asof import as_of
from strategy_pipeline.lake.tables import INSTANT, OPTIONS_FLOW_DAILY, OPTIONS_FLOW_HISTORY
from strategy_pipeline.market.calendar import session_offset

METHOD_VERSION = "flow-1"
# Columns of options_flow_history that the sessions before are asked for.
HISTORY_COLUMNS = ("symbol", "contract_ticker", "session", "size", "premium_usd", "exclusion_class")

# A price is compared with quotes and other prices in fractions of a tick that no market has.
_SAME = 1e-9
_EVER = pl.lit(0, dtype=pl.Int64).cast(INSTANT)
_EXCLUSIONS = (
    (trade_conditions.CANCEL, "cancel"),
    (trade_conditions.LATE, "late"),
    (trade_conditions.EXTENDED, "extended"),
    (trade_conditions.CROSS, "cross"),
    (trade_conditions.MULTI_LEG, "multi_leg"),
)

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FlowRules:
    """Thresholds of quant_methods.md section 10; another value gives another version.

    Quotes, the underlying, deltas and open interest older than their limits do not count. Percentiles need
    `min_history_sessions` of the `history_sessions` before.
    """

    max_quote_age_ms: float = 5_000.0
    max_underlying_age_s: float = 300.0
    max_delta_age_s: float = 1_800.0
    at_the_touch: float = 0.8
    normal_from: float = 0.3
    sweep_gap_ms: float = 50.0
    sweep_exchanges: int = 2
    sweep_premium_usd: float = 25_000.0
    block_contracts: int = 250
    block_percentile: float = 99.0
    block_premium_usd: float = 500_000.0
    split_window_s: float = 2.0
    large_premium_usd: float = 10_000.0
    large_percentile: float = 95.0
    history_sessions: int = 20
    min_history_sessions: int = 5
    unusual_volume_ratio: float = 3.0

    @property
    def version(self) -> str:
        """The method's version, and a digest of the thresholds when they are not the specification's."""
        if self == FlowRules():
            return METHOD_VERSION
        digest = hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()
        return f"{METHOD_VERSION}/{digest[:8]}"


DEFAULT_RULES = FlowRules()


@dataclass(frozen=True, slots=True)
class ClassifiedFlow:
    """Rows of ``options_flow_history`` and what a check has to know about the rest of the tape.

    unknown_conditions: ids on the tape without a known meaning and how often they stand there; a check fails on any.
    refused: contract_ticker, reason (``unknown_contract``, ``expired_contract``) and prints of contracts that have no
        row, because their terms are not known or ended before the session.
    repeated: prints whose key had been seen before; they add no row.
    """

    rows: pl.DataFrame
    unknown_conditions: dict[int, int]
    refused: pl.DataFrame
    repeated: int


def classify_flow(
    trades: pl.DataFrame,
    quotes: pl.DataFrame,
    contracts: pl.DataFrame,
    underlying_bars: pl.DataFrame,
    open_interest: pl.DataFrame,
    greeks: pl.DataFrame,
    conditions: TradeConditions,
    history: pl.DataFrame,
    rules: FlowRules = DEFAULT_RULES,
) -> ClassifiedFlow:
    """One session's prints in the columns of ``options_flow_history``, each known at its own `available_at`.

    trades: prints of ``ingestion.option_trades.OPTION_TRADES``; the same key twice counts once.
    quotes: contract_ticker, sip_timestamp_ns, bid, ask and, to order equal times, sequence_number when there is one.
    contracts, open_interest, greeks: rows of the tables of those names (``historical_greeks``); of contracts, those of
        the session count. underlying_bars: 1m rows of ``historical_bars``.
    history: HISTORY_COLUMNS of ``options_flow_history``; only the 20 sessions before count.
    Joins look backward from the print: quotes at or before it to the nanosecond, everything else by `available_at`.
    Prints of one contract at one instant do not depend on their order. Raises DataError when the prints are not of one
    session. Source: quant_methods.md section 10.
    """
    days = trades["session"].unique().to_list()
    if not days:
        return ClassifiedFlow(OPTIONS_FLOW_HISTORY.empty(), {}, _REFUSED.to_frame(), 0)
    if len(days) > 1:
        raise DataError(f"Prints of {len(days)} sessions came together: classify each session by itself.")
    named = pl.Enum(trades["contract_ticker"].unique().sort())
    unique = _first_of_each_key(_coded(trades, named))
    with_terms = _with_terms(unique, _coded(contracts, named), days[0])
    refused = _refused(with_terms, days[0])
    tape = _in_order(with_terms.filter(_has_terms(days[0])), conditions)
    quotes, open_interest, greeks = (_coded(frame, named) for frame in (quotes, open_interest, greeks))
    tape = _with_context(tape, quotes, underlying_bars, open_interest, greeks, rules)
    work = _Tape(tape, rules)
    work.sign()
    work.find_sweeps()
    work.find_splits()
    rows = _rows(work.finished(), _Past(history, days[0], named, rules), conditions.version, rules)
    return ClassifiedFlow(rows, conditions.unknown_ids(unique["condition_ids"]), refused, trades.height - unique.height)


def flow_totals(flow: pl.DataFrame) -> pl.DataFrame:
    """Totals of each symbol, session and trade type: prints, contracts, premium by sentiment and net delta bought.

    flow: rows of ``options_flow_history``. Premiums are $, and those of the four sentiments add up to `premium_usd`;
    `net_delta_usd` is the sum of q x delta x size x multiplier x underlying, null when no print has all of them.
    """
    premium = pl.col("premium_usd")
    delta = (
        pl.col("aggressor_sign") * pl.col("delta") * pl.col("size") * pl.col("multiplier") * pl.col("underlying_price")
    )
    return (
        flow.sort(*OPTIONS_FLOW_HISTORY.sort_by)
        .group_by("symbol", "session", "trade_type")
        .agg(
            pl.len().cast(pl.Int64).alias("prints"),
            pl.col("size").sum().alias("contracts"),
            premium.sum().alias("premium_usd"),
            *(
                premium.filter(pl.col("sentiment") == word).sum().alias(f"{word.lower()}_premium_usd")
                for word in ("BULLISH", "BEARISH", "NEUTRAL", "UNKNOWN")
            ),
            pl.when(delta.is_not_null().any()).then(delta.sum()).alias("net_delta_usd"),
        )
        .sort("symbol", "session", "trade_type")
    )


def daily_flow(flow: pl.DataFrame) -> pl.DataFrame:
    """``flow_totals`` in the columns of ``options_flow_daily``, known when the symbol's last print of the session was.

    flow: rows of ``options_flow_history``.
    """
    keys = ["symbol", "session", "trade_type"]
    source, quality = pl.col("source").cast(pl.String), pl.col("quality").cast(pl.String)
    about = (
        flow.group_by(keys)
        .agg(
            source=pl.when((source == "synthetic").all()).then(pl.lit("synthetic")).otherwise(pl.lit("derived")),
            quality=pl.when((quality == "suspect").any())
            .then(pl.lit("suspect"))
            .when((quality == "provisional").any())
            .then(pl.lit("provisional"))
            .otherwise(pl.lit("final")),
            available_at=pl.col("available_at").max(),
            ingested_at=pl.col("ingested_at").max(),
            revision=pl.col("revision").max(),
            definition_version=pl.col("definition_version").max(),
        )
        .with_columns(
            available_at=pl.col("available_at").max().over("symbol", "session"),
            quality_flags=pl.lit([], dtype=pl.List(pl.String)),
        )
        .sort(keys)
    )
    # Both are sorted by the same keys, each once.
    rows = pl.concat([flow_totals(flow), about.drop(keys)], how="horizontal")
    return rows.select(pl.col(name).cast(kind) for name, kind in OPTIONS_FLOW_DAILY.polars_schema.items())


def premium_of_prints(trades: pl.DataFrame, contracts: pl.DataFrame) -> float:
    """Premium of prints whose contract is known, each key once, $: what the classes have to add up to.

    trades: prints of one session; contracts: ``option_contracts`` of it. Contracts that ended before count nothing.
    """
    standing = contracts.filter(pl.col("expiration") >= pl.col("session"))
    multiplier = pl.col("contract_ticker").replace_strict(
        standing["contract_ticker"], standing["multiplier"], default=None, return_dtype=pl.Float64
    )
    once = trades.unique(["contract_ticker", "sip_timestamp", "sequence"], keep="first", maintain_order=True)
    return float(once.select((pl.col("price") * pl.col("size") * multiplier).sum()).item() or 0.0)


def streamed_beside(stored: pl.DataFrame, arriving: pl.DataFrame) -> pl.DataFrame:
    """A session's rows after streamed ones have arrived: a key seen before adds nothing, and files have the last word.

    Symbols that stand in `stored` from a file take no streamed rows any more.
    """
    from_files = stored.filter(pl.col("source").cast(pl.String) != "stream")["symbol"].unique()
    fresh = arriving.filter(~pl.col("symbol").is_in(from_files.implode()))
    return pl.concat([stored, fresh]).unique(OPTIONS_FLOW_HISTORY.key, keep="first", maintain_order=True)


_REFUSED = pl.Schema({"contract_ticker": pl.String(), "reason": pl.String(), "prints": pl.Int64()})


def _coded(frame: pl.DataFrame, named: pl.Enum) -> pl.DataFrame:
    """Rows of the tape's contracts with their tickers as numbers, which sort and join several times faster."""
    return frame.with_columns(pl.col("contract_ticker").cast(named, strict=False)).drop_nulls("contract_ticker")


def _first_of_each_key(trades: pl.DataFrame) -> pl.DataFrame:
    """Prints without those whose key stands earlier; one pass decides for a sorted tape that there are none."""
    key = ["contract_ticker", "sip_timestamp", "sequence"]
    contract, moment, sequence = (pl.col(name).to_physical() for name in key)
    same_contract, same_moment = contract == contract.shift(1), moment == moment.shift(1)
    later = (moment > moment.shift(1)) | (same_moment & (sequence > sequence.shift(1)))
    rises = (contract > contract.shift(1)) | (same_contract & later)
    if trades.select(rises.fill_null(True).all()).item():
        return trades
    return trades.unique(key, keep="first", maintain_order=True)


def _with_terms(trades: pl.DataFrame, contracts: pl.DataFrame, day: date) -> pl.DataFrame:
    """Prints with the terms their contract has in the session; a print is itself proof that its contract exists."""
    names = ("symbol", "strike", "expiration", "option_type", "multiplier")
    terms = contracts.filter(pl.col("session") == day).with_columns(available_at=_EVER)
    found = as_of(
        trades.select("contract_ticker", "sip_timestamp"),
        terms,
        by=["contract_ticker"],
        at="sip_timestamp",
        columns={name: name for name in names},
    )
    return trades.with_columns(found.select(names))


def _has_terms(day: date) -> pl.Expr:
    return pl.col("symbol").is_not_null() & (pl.col("expiration") >= day).fill_null(False)


def _refused(trades: pl.DataFrame, day: date) -> pl.DataFrame:
    reason = pl.when(pl.col("symbol").is_null()).then(pl.lit("unknown_contract")).otherwise(pl.lit("expired_contract"))
    return (
        trades.filter(~_has_terms(day))
        .group_by("contract_ticker", reason.alias("reason"))
        .agg(prints=pl.len().cast(pl.Int64))
        .sort("contract_ticker")
        .cast(_REFUSED)
    )


def _in_order(trades: pl.DataFrame, conditions: TradeConditions) -> pl.DataFrame:
    """Prints with the bits of their conditions, by contract and time.

    At one instant the vendor's sequence decides, and without one the content of the prints: never the order in which
    they happen to stand in a file, which says nothing.
    """
    by_vendor = pl.when(pl.col("sequence_source") == "vendor").then("sequence").otherwise(0)
    return (
        trades.with_columns(
            pl.Series("bits", conditions.bits_of(trades["condition_ids"]), dtype=pl.UInt8), by_vendor.alias("order")
        )
        .sort("contract_ticker", "sip_timestamp_ns", "order", "price", "size", "exchange_id", "bits", "sequence")
        .drop("order")
    )


def _with_context(
    tape: pl.DataFrame,
    quotes: pl.DataFrame,
    underlying_bars: pl.DataFrame,
    open_interest: pl.DataFrame,
    greeks: pl.DataFrame,
    rules: FlowRules,
) -> pl.DataFrame:
    """Prints with the quote, underlying, delta and morning open interest that were known at each."""
    exact = pl.col("sip_timestamp_ns").cast(pl.Datetime("ns", "UTC"))
    order = [name for name in ("sip_timestamp_ns", "sequence_number") if name in quotes.columns]
    nbbo = as_of(
        tape.select("contract_ticker", at=exact),
        quotes.sort(order).with_columns(available_at=exact),
        by=["contract_ticker"],
        at="at",
        columns={"bid": "bid", "ask": "ask", "sip_timestamp_ns": "quote_ns"},
    )
    moments = tape.select("contract_ticker", "symbol", "sip_timestamp")
    bar_age = timedelta(seconds=rules.max_underlying_age_s)
    sources: Sequence[tuple[pl.DataFrame, str, str, str, timedelta]] = (
        (underlying_bars.sort("bar_end"), "symbol", "close", "underlying_price", bar_age),
        (greeks.sort("snapshot_at"), "contract_ticker", "delta", "delta", timedelta(seconds=rules.max_delta_age_s)),
        # Published in the morning of the session: yesterday's publication describes the session before.
        (open_interest, "contract_ticker", "open_interest", "open_interest", timedelta(hours=18)),
    )
    known = [
        as_of(moments, right, by=[by], at="sip_timestamp", columns={name: new}, max_age=age).select(new)
        for right, by, name, new, age in sources
    ]
    return pl.concat([tape, nbbo.select("bid", "ask", "quote_ns"), *known], how="horizontal")


class _Tape:
    """One session's prints by contract and time, as arrays, and what is found out about each on the way."""

    def __init__(self, tape: pl.DataFrame, rules: FlowRules) -> None:
        self.frame, self.rules = tape, rules
        self.contract = tape.select(pl.col("contract_ticker").rle_id().cast(pl.Int64)).to_series().to_numpy()
        self.ns, self.bits = tape["sip_timestamp_ns"].to_numpy(), tape["bits"].to_numpy()
        self.price, self.size = tape["price"].to_numpy(), tape["size"].to_numpy()
        self.premium = self.price * self.size * tape["multiplier"].to_numpy()
        self.exchange = tape["exchange_id"].fill_null(-1).cast(pl.Int64).to_numpy()
        self.bid, self.ask = (tape[name].fill_null(np.nan).to_numpy() for name in ("bid", "ask"))
        self.age_ms = (self.ns - tape["quote_ns"].fill_null(-1).to_numpy()) / 1e6
        self.age_ms[tape["quote_ns"].is_null().to_numpy()] = np.nan
        with np.errstate(invalid="ignore"):
            fresh = self.age_ms <= rules.max_quote_age_ms
            self.bid, self.ask = np.where(fresh, self.bid, np.nan), np.where(fresh, self.ask, np.nan)
            self.two_sided = (self.bid > 0) & (self.ask > 0) & (self.bid <= self.ask)
            self.sound = self.two_sided & (self.ask - self.bid > _SAME)
            self.above_ask, self.below_bid = self.price > self.ask + _SAME, self.price < self.bid - _SAME
        excluded = sum(bits for bits, _name in _EXCLUSIONS)
        self.excluded = (self.bits & excluded) != 0
        # A print whose conditions nobody knows may be anything, so it has no side.
        self.signable = ~self.excluded & ((self.bits & trade_conditions.UNKNOWN) == 0)
        rows = len(self.ns)
        self.z, self.sign_known, self.q = np.full(rows, np.nan), np.zeros(rows, dtype=bool), np.full(rows, np.nan)
        self.sweep, self.split = np.full(rows, -1, dtype=np.int64), np.full(rows, -1, dtype=np.int64)

    def sign(self) -> None:
        """Distance from mid in half spreads and the aggressor's sign."""
        known = self.signable & self.sound
        with np.errstate(invalid="ignore"):
            z = (self.price - 0.5 * (self.bid + self.ask)) / (0.5 * (self.ask - self.bid))
        touch = self.rules.at_the_touch - _SAME
        sign = np.where(z >= touch, 1.0, np.where(z <= -touch, -1.0, 0.5 * self._ticks()))
        self.z, self.q, self.sign_known = np.where(known, z, np.nan), np.where(known, sign, np.nan), known

    def _ticks(self) -> Floats:
        """Sign of each price against the mean price of the contract's previous instant with prints; 0 without one."""
        ticks = np.zeros(len(self.ns))
        rows = np.flatnonzero(self.signable)
        if not len(rows):
            return ticks
        contract, ns = self.contract[rows], self.ns[rows]
        starts = np.flatnonzero(np.concatenate([[True], (contract[1:] != contract[:-1]) | (ns[1:] != ns[:-1])]))
        counts = np.diff(np.append(starts, len(rows)))
        mean = np.add.reduceat(self.price[rows], starts) / counts
        follows = np.concatenate([[False], contract[starts[1:]] == contract[starts[:-1]]])
        before = np.where(follows, np.concatenate([[np.nan], mean[:-1]]), np.nan)
        change = self.price[rows] - np.repeat(before, counts)
        ticks[rows] = np.where(np.abs(change) > _SAME, np.sign(change), 0.0)
        ticks[np.isnan(ticks)] = 0.0
        return ticks

    def _sides(self, also: Bools) -> tuple[Ints, Ints]:
        """Rows with a side among `also`, and their side: 1 bought, 0 sold."""
        with np.errstate(invalid="ignore"):
            rows = np.flatnonzero(also & self.sign_known & (self.q != 0))
        return rows, (self.q[rows] > 0).astype(np.int64)

    def find_sweeps(self) -> None:
        """Groups of prints of one contract and side in quick succession over several exchanges."""
        urgent = ((self.bits & trade_conditions.SWEEP) != 0) | (self.two_sided & (self.above_ask | self.below_bid))
        rows, side = self._sides(urgent & (self.exchange >= 0))
        if not len(rows):
            return
        lane = self.contract[rows] * 2 + side
        order = np.argsort(lane, kind="stable")
        rows, lane, ns = rows[order], lane[order], self.ns[rows[order]]
        gap = self.rules.sweep_gap_ms * 1e6
        new = np.concatenate([[True], (lane[1:] != lane[:-1]) | (ns[1:] - ns[:-1] > gap)])
        group = np.cumsum(new) - 1
        starts = np.flatnonzero(new)
        premium = np.add.reduceat(self.premium[rows], starts)
        places = np.unique(np.stack([group, self.exchange[rows]]), axis=1)[0]
        exchanges = np.bincount(places, minlength=len(starts))
        is_sweep = (exchanges >= self.rules.sweep_exchanges) & (premium >= self.rules.sweep_premium_usd - _SAME)
        self.sweep[rows] = np.where(is_sweep[group], group, -1)

    def find_splits(self) -> None:
        """Groups of prints of one contract, side and exchange that lie within the window from the first of them."""
        rows, side = self._sides(self.exchange >= 0)
        if not len(rows):
            return
        exchange = np.unique(self.exchange[rows], return_inverse=True)[1]
        lane = (self.contract[rows] * 2 + side) * (int(exchange.max()) + 1) + exchange
        order = np.argsort(lane, kind="stable")
        rows, lane, ns = rows[order], lane[order], self.ns[rows[order]]
        group = np.array(_anchored(lane.tolist(), ns.tolist(), round(self.rules.split_window_s * 1e9)), dtype=np.int64)
        several = np.bincount(group)[group] >= 2
        self.split[rows] = np.where(several, group, -1)

    def finished(self) -> pl.DataFrame:
        """The prints with all that was found out, in columns."""
        rules = self.rules
        distance = np.abs(self.z)
        with np.errstate(invalid="ignore"):
            level = np.where(distance >= 1.0 - _SAME, 2, np.where(distance >= rules.normal_from - _SAME, 1, 0))
        # Without a side a print may be part of a sweep or not, unless its conditions set it apart.
        undecided = self.signable & ~self.sign_known | ((self.bits & trade_conditions.UNKNOWN) != 0) & ~self.excluded
        added: dict[str, Any] = {
            "premium_usd": self.premium,
            "bid": self.bid,
            "ask": self.ask,
            "nbbo_age_ms": self.age_ms,
            "aggressor_sign": self.q,
            "_level": level,
            "_sign_known": self.sign_known,
            "_undecided": undecided,
            "_two_sided": self.two_sided,
            "_above": self.above_ask,
            "_below": self.below_bid,
            "_sweep": self.sweep,
            "_split": self.split,
        }
        return self.frame.drop("bid", "ask", "quote_ns").with_columns(
            pl.Series(name, values, nan_to_null=values.dtype == np.float64) for name, values in added.items()
        )


def _anchored(lanes: list[int], moments: list[int], window: int) -> list[int]:
    """Group numbers: a print starts a group when its lane is new or the group's first print is too long ago."""
    groups, group, lane, first = [], -1, -1, 0
    for this_lane, moment in zip(lanes, moments, strict=True):
        if this_lane != lane or moment - first > window:
            group, lane, first = group + 1, this_lane, moment
        groups.append(group)
    return groups


class _Past:
    """Sizes, premiums and volumes of the sessions before, from which percentiles are taken."""

    def __init__(self, history: pl.DataFrame, day: date, named: pl.Enum, rules: FlowRules) -> None:
        oldest = session_offset(day, -rules.history_sessions)
        void = pl.col("exclusion_class").cast(pl.String).is_in(["cancel", "extended"])
        past = history.filter((pl.col("session") < day) & (pl.col("session") >= oldest) & ~void)
        self.rules = rules
        self.prints: dict[str, tuple[Floats, Floats]] = {}
        self.sessions: dict[str, int] = {}
        for (symbol,), own in past.group_by("symbol"):
            count = own["session"].n_unique()
            if count >= rules.min_history_sessions:
                sizes = np.sort(own["size"].cast(pl.Float64).to_numpy())
                self.prints[str(symbol)] = (sizes, np.sort(own["premium_usd"].to_numpy()))
                self.sessions[str(symbol)] = count
        traded = dict(_coded(past, named).group_by("contract_ticker").agg(pl.col("size").sum()).rows())
        self.volume = np.array([traded.get(contract, 0) for contract in named.categories], dtype=np.float64)

    def judged(self, flow: pl.DataFrame) -> pl.DataFrame:
        """Columns for each print: percentiles of size and premium, their thresholds, mean volume of its contract."""
        rules, rows = self.rules, flow.height
        names = ("size_pct", "premium_pct", "block_size", "large_premium", "sessions")
        found = {name: np.full(rows, np.nan) for name in names}
        positions = flow.select("symbol", at=pl.int_range(pl.len())).group_by("symbol").agg("at")
        for symbol, places in positions.rows():
            if symbol not in self.prints:
                continue
            at = np.array(places)
            sizes, premiums = self.prints[symbol]
            found["size_pct"][at] = _mid_rank_pct(sizes, flow["size"].cast(pl.Float64).to_numpy()[at])
            found["premium_pct"][at] = _mid_rank_pct(premiums, flow["premium_usd"].to_numpy()[at])
            found["block_size"][at] = _percentile(sizes, rules.block_percentile)
            found["large_premium"][at] = _percentile(premiums, rules.large_percentile)
            found["sessions"][at] = self.sessions[symbol]
        volume = self.volume[flow["contract_ticker"].to_physical().to_numpy()]
        found["mean_volume"] = volume / found.pop("sessions")
        return pl.DataFrame(found, nan_to_null=True)


def _mid_rank_pct(ordered: Floats, values: Floats) -> Floats:
    """Share of `ordered` below each value, ties counted half, 0-100."""
    # Each value once and in order: neighbouring look-ups stay in neighbouring memory.
    asked, place = np.unique(values, return_inverse=True)
    below, upto = np.searchsorted(ordered, asked, side="left"), np.searchsorted(ordered, asked, side="right")
    return np.asarray(50.0 * (below + upto)[place] / len(ordered))


def _percentile(ordered: Floats, percent: float) -> float:
    """The smallest of the values that at least so many per cent of them do not exceed."""
    return float(ordered[max(ceil(len(ordered) * percent / 100.0 - _SAME) - 1, 0)])


def _rows(tape: pl.DataFrame, past: _Past, conditions_version: str, rules: FlowRules) -> pl.DataFrame:
    """The finished prints in the columns of ``options_flow_history``, sorted."""
    flow = pl.concat([tape, past.judged(tape)], how="horizontal")
    exclusion = pl.lit("none")
    for bits, name in reversed(_EXCLUSIONS):
        exclusion = pl.when(pl.col("bits") & bits > 0).then(pl.lit(name)).otherwise(exclusion)
    flow = flow.with_columns(exclusion_class=exclusion)
    void = pl.col("exclusion_class").is_in(["cancel", "late", "extended"])
    cancelled = pl.col("exclusion_class") == "cancel"
    premium, size, interest = pl.col("premium_usd"), pl.col("size"), pl.col("open_interest")
    volume = pl.when(cancelled).then(0).otherwise(size).cum_sum().over("contract_ticker")
    is_block = (
        pl.when(void).then(False)
        .when(premium >= rules.block_premium_usd - _SAME).then(True)
        .when(size < rules.block_contracts).then(False)
        .otherwise(size >= pl.col("block_size"))
    )  # fmt: skip
    large = ~void & (premium >= rules.large_premium_usd - _SAME) & (premium >= pl.col("large_premium"))
    flow = flow.with_columns(
        is_block=is_block,
        is_sweep=pl.when(pl.col("_undecided")).then(None).otherwise(pl.col("_sweep") >= 0),
        _large=large.fill_null(False),
        _volume=volume,
        _direction=pl.col("aggressor_sign")
        * pl.when(pl.col("option_type").cast(pl.String) == "call").then(1).otherwise(-1),
    )
    flow = flow.with_columns(
        trade_type=pl.when(pl.col("exclusion_class") == "cross").then(pl.lit("CROSS"))
        .when(pl.col("exclusion_class") == "multi_leg").then(pl.lit("MULTI_LEG"))
        .when(void).then(pl.lit("REGULAR"))
        .when(pl.col("bits") & trade_conditions.AUCTION > 0).then(pl.lit("AUCTION"))
        .when(pl.col("is_sweep")).then(pl.lit("SWEEP"))
        .when(pl.col("is_block")).then(pl.lit("BLOCK"))
        .when(pl.col("_split") >= 0).then(pl.lit("SPLIT"))
        .when(pl.col("_large")).then(pl.lit("LARGE"))
        .otherwise(pl.lit("REGULAR"))
    )  # fmt: skip
    swept, is_split = pl.col("is_sweep").fill_null(False), pl.col("trade_type") == "SPLIT"
    first, last = pl.col("sip_timestamp_ns").min(), pl.col("sip_timestamp").max()
    unknown = pl.col("bits") & trade_conditions.UNKNOWN > 0
    flags = pl.concat_list(
        pl.when(unknown).then(pl.lit("unknown_condition")),
        pl.when(pl.col("is_corrected")).then(pl.lit("correction")),
        pl.when(pl.col("size_pct").is_null()).then(pl.lit("no_history")),
    ).list.drop_nulls()
    side = pl.when(pl.col("aggressor_sign") > 0).then(pl.lit("B")).otherwise(pl.lit("S"))
    return (
        flow.with_columns(
            dte=(pl.col("expiration") - pl.col("session")).dt.total_days().cast(pl.Int32),
            aggressiveness=pl.when(pl.col("_sign_known")).then(
                pl.when(pl.col("_level") == 2).then(pl.lit("AGGRESSIVE"))
                .when(pl.col("_level") == 1).then(pl.lit("NORMAL")).otherwise(pl.lit("PASSIVE"))
            ),
            sentiment=pl.when(pl.col("_direction") > 0).then(pl.lit("BULLISH"))
            .when(pl.col("_direction") < 0).then(pl.lit("BEARISH"))
            .when(pl.col("_direction") == 0).then(pl.lit("NEUTRAL")).otherwise(pl.lit("UNKNOWN")),
            is_above_ask=pl.when(pl.col("_two_sided")).then("_above"),
            is_below_bid=pl.when(pl.col("_two_sided")).then("_below"),
            is_unusual_volume=(pl.col("_volume") > interest)
            & (pl.col("_volume") > rules.unusual_volume_ratio * pl.col("mean_volume")),
            cluster_id=pl.when(swept).then(
                pl.format("sweep/{}/{}/{}", "contract_ticker", first.over("_sweep"), side)
            ).when(is_split).then(
                pl.format("split/{}/{}/{}/{}", "contract_ticker", first.over("_split"), "exchange_id", side)
            ),
            size_percentile_pct="size_pct",
            premium_percentile_pct="premium_pct",
            opening_likelihood=pl.when(~cancelled).then(((pl.col("_volume") - interest) / size).clip(0.0, 1.0)),
            conditions_version=pl.lit(conditions_version),
            quality=pl.when(unknown | pl.col("is_corrected"))
            .then(pl.lit("suspect"))
            .when(pl.col("source").cast(pl.String) == "stream")
            .then(pl.lit("provisional"))
            .otherwise(pl.lit("final")),
            quality_flags=flags,
            available_at=pl.when(swept)
            .then(last.over("_sweep") + pl.duration(milliseconds=rules.sweep_gap_ms))
            .when(is_split)
            .then(last.over("_split") + pl.duration(milliseconds=rules.split_window_s * 1000))
            .otherwise("sip_timestamp"),
            revision=pl.lit(0, dtype=pl.Int32),
            definition_version=pl.lit(rules.version),
        )
        .select(OPTIONS_FLOW_HISTORY.polars_schema.names())
        .cast(OPTIONS_FLOW_HISTORY.polars_schema)
        .sort(*OPTIONS_FLOW_HISTORY.sort_by)
    )  # fmt: skip
