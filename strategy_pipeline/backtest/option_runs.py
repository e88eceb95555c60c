"""Runs by days to expiry: which contract a signal buys, how long its bucket may hold, premium barriers, option results.

Long premium either way: a call for a LONG signal, a put for a SHORT one (backtesting.md sections 4 and 6). What an
option is worth at a moment is option_marks.py's business, the walk along the underlying simulator.py's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from strategy_pipeline.backtest.config import DTE_BUCKETS, BacktestConfig, DteBucket
from strategy_pipeline.backtest.costs import option_commission_usd
from strategy_pipeline.backtest.execution import MINUTE_US, ExecutionBars
from strategy_pipeline.backtest.option_marks import NO_MARK, Marks, OptionMarket, OptionMarks
from strategy_pipeline.lake.asof import as_of
from strategy_pipeline.lake.tables import DISPOSITIONS, EXIT_REASONS
from strategy_pipeline.market.timeframes import MINUTES

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NO_CONTRACT = "no_contract"
# A chain older than one step of its grid, and the lag with which it is known, chooses no contract.
MAX_CHAIN_AGE = timedelta(minutes=20)
# Share of the spread paid beyond mid on each side: the touch is the headline, mid and a spread are shown beside it.
FILL_RUNGS = (0.0, 0.5, 1.0)
HEADLINE_RUNG = 0.5
# Above this share of model legs the option headline is withheld (backtesting.md section 6).
MOST_MODEL_SHARE = 0.20

_SESSION_END = DISPOSITIONS.index("no_entry_session_end")
_REASONS = {name: EXIT_REASONS.index(name) for name in EXIT_REASONS}
ATR_COLUMNS = {bucket.atr_timeframe: f"atr14_{bucket.atr_timeframe}" for bucket in DTE_BUCKETS}


def with_contracts(signals: pl.DataFrame, chains: pl.DataFrame, config: BacktestConfig) -> pl.DataFrame:
    """`signals` with the contract each buys, its DTE bucket, and that bucket's stop, target, ATR and style.

    signals: rows of detectors.evaluate.signals with the columns of ATR_COLUMNS ($). chains: ``historical_greeks``.
    Of the newest chain known at the signal (same session, at most 20 minutes old) the expiry counts whose days are the
    fewest from `option_dte` on (up to `option_max_dte`), and in it the contract of the signal's side with a
    volatility whose |delta| is nearest to `option_delta`, among those with enough open interest and day volume and a
    narrow enough spread. Without one the gate reason is `no_contract`. Ties: lower strike, then ticker.
    """
    gate = pl.col("gate_reason") if "gate_reason" in signals.columns else pl.lit(None, dtype=pl.String)
    chosen = _contracts_to_buy(chains, config)
    joined = as_of(
        signals.with_columns(gate_reason=gate, _side=pl.col("direction").cast(pl.String)),
        chosen, by=["symbol", "session", "_side"], max_age=MAX_CHAIN_AGE,
        columns={name: name for name in ("contract_ticker", "dte", "strike", "multiplier")},
    ).drop("_side")  # fmt: skip
    bucket = _by_bucket(lambda one: pl.lit(one.name), pl.String)
    atr = _by_bucket(lambda one: pl.col(ATR_COLUMNS[one.atr_timeframe]), pl.Float64)
    return joined.with_columns(
        dte_bucket=bucket,
        style=_by_bucket(lambda one: pl.lit(one.style), pl.String),
        atr=atr,
        stop_distance=_by_bucket(lambda one: one.stop_atr * pl.col(ATR_COLUMNS[one.atr_timeframe]), pl.Float64),
        target_distance=_by_bucket(lambda one: one.target_atr[1] * pl.col(ATR_COLUMNS[one.atr_timeframe]), pl.Float64),
        first_target_distance=_by_bucket(
            lambda one: one.target_atr[0] * pl.col(ATR_COLUMNS[one.atr_timeframe]), pl.Float64
        ),
        gate_reason=pl.when(pl.col("gate_reason").is_null() & pl.col("contract_ticker").is_null())
        .then(pl.lit(NO_CONTRACT))
        .otherwise("gate_reason"),
    )


def _contracts_to_buy(chains: pl.DataFrame, config: BacktestConfig) -> pl.DataFrame:
    """For each chain and side the contract a signal would buy, null where none will do, and when that was known."""
    spread_pct = 100.0 * (pl.col("ask") - pl.col("bid")) / pl.col("mid")
    will_do = (
        pl.col("delta").is_not_null()
        & (pl.col("iv_status").cast(pl.String) == "ok")
        & (pl.col("open_interest") >= config.option_min_open_interest)
        & (pl.col("volume").fill_null(0) >= config.option_min_volume)
        & (spread_pct <= config.option_max_spread_pct)
        & pl.col("dte").is_between(config.option_dte, config.option_max_dte)
    ).fill_null(False)
    side = pl.when(pl.col("option_type").cast(pl.String) == "call").then(pl.lit("LONG")).otherwise(pl.lit("SHORT"))
    of_chain = ["symbol", "session", "snapshot_at", "_side"]
    bought = ("contract_ticker", "dte", "strike", "multiplier")
    return (
        chains.with_columns(
            _side=side, _off=(pl.col("delta").abs() - config.option_delta).abs().round(9), _will_do=will_do
        )
        # Those that will do first, and of them the first by expiry, distance in delta, strike and name.
        .sort("snapshot_at", ~pl.col("_will_do"), "dte", "_off", "strike", "contract_ticker")
        .group_by(of_chain, maintain_order=True)
        .agg(
            pl.col("available_at").max(),
            *(pl.when(pl.col("_will_do").first()).then(pl.col(name).first()).alias(name) for name in bought),
        )
    )


def _by_bucket(value: Callable[[DteBucket], pl.Expr], dtype: type[pl.DataType]) -> pl.Expr:
    """`value` of the bucket of each row's DTE, null without one."""
    chosen = pl.lit(None, dtype=dtype)
    for one in DTE_BUCKETS:
        upper = pl.lit(True) if one.dte_to is None else pl.col("dte") <= one.dte_to
        chosen = pl.when((pl.col("dte") >= one.dte_from) & upper).then(value(one)).otherwise(chosen)
    return chosen


@dataclass(frozen=True)
class Limits:
    """For each signal the row whose close ends its trade at the latest (-1: by the run's rules), and the reason."""

    last_row: Ints
    last_reason: npt.NDArray[np.int8]
    verdict: npt.NDArray[np.int8]


def bucket_limits(
    signals: pl.DataFrame, bars: ExecutionBars, symbol: Ints, entry: Ints, verdict: npt.NDArray[np.int8]
) -> Limits:
    """Hold limit and forced flat of each entered signal by its DTE bucket (backtesting.md section 4).

    `symbol` and `entry` are the trade loop's symbol numbers and entry rows. A signal that would enter after its flat
    time is refused as no_entry_session_end.
    """
    of = bars.arrays
    count = signals.height
    last_row, reason, verdict = np.full(count, -1, np.int64), np.zeros(count, np.int8), verdict.copy()
    buckets = {bucket.name: bucket for bucket in DTE_BUCKETS}
    names, days = signals["dte_bucket"].to_list(), signals["dte"].to_list()
    slots = {bucket.atr_timeframe: _slots(bars, bucket.atr_timeframe) for bucket in DTE_BUCKETS}
    own_session = of["session"]
    for i in np.flatnonzero(entry >= 0):
        bucket, e = buckets[names[i]], int(entry[i])
        stop = int(of["first"][symbol[i] + 1])
        flat_us, flat_session, word = _flat(bars, bucket, int(own_session[e]), int(days[i]))
        flat = e + int(np.searchsorted(of["end"][e:stop], flat_us, side="right")) - 1
        if flat < e:
            entry[i], verdict[i] = -1, _SESSION_END
            continue
        series_last = int(of["series_last"][e])
        last, why = series_last, _REASONS["DATA_END"]
        if flat <= last and (flat < series_last or own_session[flat] >= flat_session):
            last, why = flat, _REASONS[word]
        slot = slots[bucket.atr_timeframe]
        limit = slot[e] + bucket.max_hold_bars - 1
        held = e + int(np.searchsorted(slot[e:stop], limit, side="right")) - 1
        if held <= last and (slot[held] == limit or held < series_last):
            last, why = held, _REASONS["MAX_HOLD"]
        last_row[i], reason[i] = last, why
    return Limits(last_row, reason, verdict)


def _slots(bars: ExecutionBars, timeframe: str) -> Ints:
    """Number of each bar's window of `timeframe`, counted over sessions."""
    clock, session = bars.clock, bars.arrays["session"]
    since_open = bars.arrays["end"] - clock.open[session]
    return clock.slots_before(MINUTES[timeframe])[session] - (-since_open // (MINUTES[timeframe] * MINUTE_US)) - 1


def _flat(bars: ExecutionBars, bucket: DteBucket, session: int, dte: int) -> tuple[int, int, str]:
    """Time (UTC microseconds) by which a position is flat, the session of it, and the reason it would carry."""
    clock = bars.clock
    if bucket.forced_flat in ("minutes_before_close", "session_close"):
        offset = bucket.forced_flat_value if bucket.forced_flat == "minutes_before_close" else 0
        return int(clock.close[session]) - offset * MINUTE_US, session, "SESSION_CLOSE"
    ends_on = int(clock.day[session]) + dte
    if bucket.forced_flat == "last_session_with_dte_at_least":
        at = int(np.searchsorted(clock.day, ends_on - bucket.forced_flat_value, side="right")) - 1
    else:
        at = int(np.searchsorted(clock.day, ends_on - bucket.forced_flat_value, side="left"))
    at = max(at, session)
    return int(clock.close[at]), at, "EXPIRY"


@dataclass(frozen=True)
class Held:
    """The contracts of a run's signals with their marks: `contract` is a position in the marks' tickers or -1."""

    marks: OptionMarks
    contract: Ints

    @classmethod
    def of(cls, signals: pl.DataFrame, market: OptionMarket) -> "Held":
        """The contracts `with_contracts` chose."""
        tickers = signals["contract_ticker"].drop_nulls().unique().sort().to_list()
        number = {ticker: at for at, ticker in enumerate(tickers)}
        found = signals["contract_ticker"].replace_strict(number, default=-1, return_dtype=pl.Int64).fill_null(-1)
        return cls(OptionMarks(market, tickers), found.to_numpy())


def premium_limits(signals: pl.DataFrame, bars: ExecutionBars, entry: Ints, limits: Limits, held: Held) -> Limits:
    """`limits` moved forward to the first bar at whose close the mark reaches a premium barrier of the bucket.

    Barriers are multiples of the mark at entry, tested on the closes of execution bars (minutes where they are stored)
    from the entry bar on; a bar without a mark decides nothing.
    """
    of = bars.arrays
    last_row, reason = limits.last_row.copy(), limits.last_reason.copy()
    entered = np.flatnonzero((entry >= 0) & (held.contract >= 0) & (last_row >= 0))
    if not len(entered):
        return limits
    start = entry[entered]
    opening = held.marks.at(held.contract[entered], of["start"][start], of["open"][start])
    spans = last_row[entered] - start + 1
    owner = np.repeat(np.arange(len(entered)), spans)
    row = np.arange(len(owner)) - np.repeat(np.cumsum(spans) - spans, spans) + start[owner]
    basis = of["factor"][row] / of["factor"][start[owner]]
    marks = held.marks.at(held.contract[entered][owner], of["end"][row], of["close"][row] * basis)
    buckets = {bucket.name: bucket for bucket in DTE_BUCKETS}
    names = signals["dte_bucket"].to_list()
    upper = np.array([buckets[names[i]].premium_target for i in entered]) * opening.mid
    lower = np.array([buckets[names[i]].premium_stop for i in entered]) * opening.mid
    with np.errstate(invalid="ignore"):
        above, below = marks.mid >= upper[owner] - 1e-9, marks.mid <= lower[owner] + 1e-9
    hit = np.flatnonzero(above | below)
    whose, first = np.unique(owner[hit], return_index=True)
    at = hit[first]
    last_row[entered[whose]] = row[at]
    reason[entered[whose]] = np.where(above[at], _REASONS["PREMIUM_TARGET"], _REASONS["PREMIUM_STOP"])
    return Limits(last_row, reason, limits.verdict)


@dataclass(frozen=True)
class OptionResult:
    """Each leg as the option it held: marks of both sides, contracts, and profit at the headline fill.

    Prices are $/share, `pnl_usd` is after commissions, `return_pct` per cent of the premium paid; NaN without a mark
    on either side.
    """

    entry: Marks
    exit: Marks
    contracts: Ints
    multiplier: Floats
    entry_fill: Floats
    exit_fill: Floats
    pnl_usd: Floats
    return_pct: Floats


def option_results(
    config: BacktestConfig, entry: Marks, exit: Marks, multiplier: Floats, premium_stop: Floats
) -> OptionResult:
    """Results of positions from marks at entry and exit; contracts risk `risk_per_trade_pct` of equity at the premium
    stop, one contract at least."""
    with np.errstate(invalid="ignore"):
        risked = entry.mid * multiplier * (1.0 - premium_stop)
        budget = config.risk_per_trade_pct / 100.0 * config.initial_equity_usd
        wanted = np.floor(np.where(risked > 0.0, budget / risked, 1.0))
    contracts = np.maximum(np.nan_to_num(wanted, nan=1.0), 1.0)
    bought, sold, pnl, share = ladder_rung(entry, exit, contracts, multiplier, HEADLINE_RUNG)
    return OptionResult(entry, exit, contracts.astype(np.int64), multiplier, bought, sold, pnl, share)


def ladder_rung(
    entry: Marks, exit: Marks, contracts: Floats | Ints, multiplier: Floats, rung: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Fill at entry and exit ($/share), profit after commissions ($) and return (% of the premium paid).

    A fill is mid plus or minus `rung` spreads, never below zero; $0.66 a contract and side, at least $0.50 an order.
    """
    bought = entry.mid + rung * entry.spread
    sold = np.maximum(exit.mid - rung * exit.spread, 0.0)
    pnl = (sold - bought) * contracts * multiplier - 2.0 * option_commission_usd(contracts)
    return bought, sold, pnl, 100.0 * pnl / (bought * contracts * multiplier)


def source_words(marks: Marks, words: tuple[str, ...]) -> list[str | None]:
    """The source of each mark as a word, None without one."""
    return [None if code == NO_MARK else words[code] for code in marks.source.tolist()]
