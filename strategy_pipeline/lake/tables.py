"""Table contracts: columns, types, units, keys and row rules of everything the lake stores, declared once.

The writer checks them, Dagster shows them, the documentation is made from them. No reading or writing here.
"""

from dataclasses import dataclass
from functools import cached_property

import dataframely as dy
import polars as pl

from strategy_pipeline.market.timeframes import TIMEFRAMES

INSTANT = pl.Datetime("us", "UTC")
SOURCES = ("flat_file", "rest", "stream", "derived", "synthetic")
QUALITIES = ("provisional", "final", "suspect")
SEGMENTS = ("pre", "rth", "post")
SOURCE_DTYPE, QUALITY_DTYPE, SEGMENT_DTYPE = pl.Enum(SOURCES), pl.Enum(QUALITIES), pl.Enum(SEGMENTS)


def instant(doc: str, *, nullable: bool = False, primary_key: bool = False) -> dy.Datetime:
    """A UTC timestamp with microseconds."""
    return dy.Datetime(
        time_unit="us", time_zone="UTC", nullable=nullable, primary_key=primary_key, metadata={"doc": doc}
    )


def text(doc: str, *, nullable: bool = False, primary_key: bool = False) -> dy.String:
    """A text column."""
    return dy.String(nullable=nullable, primary_key=primary_key, metadata={"doc": doc})


def number(
    doc: str,
    *,
    nullable: bool = True,
    min: float | None = None,
    min_exclusive: float | None = None,
    max: float | None = None,
) -> dy.Float64:
    """A double-precision column that never holds NaN or an infinity."""
    return dy.Float64(
        nullable=nullable,
        allow_inf=False,
        allow_nan=False,
        min=min,
        min_exclusive=min_exclusive,
        max=max,
        metadata={"doc": doc},
    )


def one_of(values: tuple[str, ...], doc: str, *, nullable: bool = False, primary_key: bool = False) -> dy.Enum:
    """A column with a closed set of words."""
    return dy.Enum(values, nullable=nullable, primary_key=primary_key, metadata={"doc": doc})


@dataclass(frozen=True)
class Table:
    """A lake table: its contract, how it is cut into partitions, and in which order rows lie inside one.

    `partition_by` names the key columns of the path in order (``session=…``, ``timeframe=…/session=…``). A partition
    key may or may not also be a column of the schema. Partitions of an `append_only` table are created once and never
    replaced.
    """

    name: str
    schema: type[dy.Schema]
    partition_by: tuple[str, ...]
    sort_by: tuple[str, ...]
    description: str
    row_group_rows: int = 8_192
    append_only: bool = False

    @cached_property
    def polars_schema(self) -> pl.Schema:
        """Column names and Polars types in contract order."""
        return pl.Schema({name: column.dtype for name, column in self.schema.columns().items()})

    @cached_property
    def column_docs(self) -> dict[str, str]:
        """What each column means, with its unit."""
        return {name: str((column.metadata or {}).get("doc", "")) for name, column in self.schema.columns().items()}

    @cached_property
    def key(self) -> tuple[str, ...]:
        """Columns that identify a row."""
        return tuple(self.schema.primary_key())

    def empty(self) -> pl.DataFrame:
        """A frame of this shape without rows."""
        return pl.DataFrame(schema=self.polars_schema)


class HistoricalBarsSchema(dy.Schema):
    """quant_methods.md section 16.1 with the columns common to all history tables."""

    symbol = text("Canonical symbol, no vendor prefix", primary_key=True)
    timeframe = one_of(TIMEFRAMES, "Width of the window; 1w exists at read time only", primary_key=True)
    bar_start = instant("Start of the window, inclusive", primary_key=True)
    bar_end = instant("End of the window, exclusive")
    session = dy.Date(nullable=False, metadata={"doc": "Exchange date (XNYS)"})
    segment = one_of(SEGMENTS, "Before, inside or after regular hours")
    open = number("First price, raw, $ or index points", nullable=False, min_exclusive=0)
    high = number("Highest price, raw, $ or index points", nullable=False, min_exclusive=0)
    low = number("Lowest price, raw, $ or index points", nullable=False, min_exclusive=0)
    close = number("Last price, raw, $ or index points", nullable=False, min_exclusive=0)
    volume = number("Shares; null when the feed has none, 0 only if truly zero", min=0)
    vwap = number("Volume-weighted price, $; null without volume", min_exclusive=0)
    trades = dy.Int64(nullable=True, min=0, metadata={"doc": "Number of transactions; null when not counted"})
    coverage_pct = number("Share of the window's minutes that had a bar, 0-100; null for 1m", min=0, max=100.0000001)
    source = one_of(SOURCES, "Where the row comes from")
    quality = one_of(QUALITIES, "Provisional until the vendor's file is there")
    quality_flags = dy.List(dy.String(nullable=False), nullable=False, metadata={"doc": "What is odd about the row"})
    available_at = instant("First moment a participant could know the row")
    ingested_at = instant("When the vendor's object that holds the row was published (its Last-Modified)")
    revision = dy.Int32(nullable=False, min=0, metadata={"doc": "0 for the first version of the row"})
    definition_version = text("Method and grid that produced the row")

    @dy.rule()
    def prices_ordered(cls) -> pl.Expr:
        return (pl.col("low") <= pl.min_horizontal("open", "close")) & (
            pl.max_horizontal("open", "close") <= pl.col("high")
        )

    @dy.rule()
    def weekly_is_not_stored(cls) -> pl.Expr:
        return pl.col("timeframe") != "1w"

    @dy.rule()
    def window_has_length(cls) -> pl.Expr:
        return pl.col("bar_end") > pl.col("bar_start")

    @dy.rule()
    def known_after_it_ended(cls) -> pl.Expr:
        return pl.col("available_at") >= pl.col("bar_end")


HISTORICAL_BARS = Table(
    "historical_bars",
    HistoricalBarsSchema,
    ("session",),
    ("symbol", "timeframe", "bar_start"),
    "Unadjusted bars of every watched symbol: 1m 5m 15m 1h 4h 1d.",
)


MAX_QUOTE_AGE_S = 60


class QuotedSpreadsSchema(dy.Schema):
    """The quote in force at the end of each regular minute; a minute without one has no row."""

    symbol = text("Canonical symbol, no vendor prefix", primary_key=True)
    session = dy.Date(nullable=False, metadata={"doc": "Exchange date (XNYS)"})
    minute_end = instant("End of the minute the quote stands at", primary_key=True)
    bid = number("Best bid of the newest two-sided, uncrossed quote, $", nullable=False, min_exclusive=0)
    ask = number("Best offer of that quote, $", nullable=False, min_exclusive=0)
    spread_pct = number("100 (ask - bid) / mid, % of mid; 0 in a locked market", nullable=False, min=0)
    quote_at = instant("Tape time of that quote, truncated to microseconds; at most 60 s before the minute's end")
    source = one_of(SOURCES, "Where the row comes from")
    quality = one_of(QUALITIES, "Provisional until it stands on final inputs")
    quality_flags = dy.List(dy.String(nullable=False), nullable=False, metadata={"doc": "What is odd about the row"})
    available_at = instant("When the minute's own bar is known")
    ingested_at = instant("When the vendor's object that holds the quote was published (its Last-Modified)")
    revision = dy.Int32(nullable=False, min=0, metadata={"doc": "0 for the first version of the row"})
    definition_version = text("Method that produced the row")

    @dy.rule()
    def not_crossed(cls) -> pl.Expr:
        return pl.col("bid") <= pl.col("ask")

    @dy.rule()
    def quote_in_force(cls) -> pl.Expr:
        age = pl.col("minute_end") - pl.col("quote_at")
        return (age >= pl.duration(seconds=0)) & (age <= pl.duration(seconds=MAX_QUOTE_AGE_S, microseconds=1))

    @dy.rule()
    def known_after_the_minute(cls) -> pl.Expr:
        return pl.col("available_at") >= pl.col("minute_end")


QUOTED_SPREADS = Table(
    "quoted_spreads",
    QuotedSpreadsSchema,
    ("session",),
    ("symbol", "minute_end"),
    "Bid, ask and spread of each watched symbol at the end of each regular minute that has a quote at most 60 s old.",
)


class QuarantineSchema(dy.Schema):
    """What a parser refused, and why; nothing is dropped without a row here or a count on the partition."""

    dataset = text("Vendor data set the row came from")
    session = dy.Date(nullable=False, metadata={"doc": "Session whose file held the row"})
    source_key = text("Key of the vendor's object")
    source_etag = text("ETag of the vendor's object")
    line_number = dy.Int64(nullable=False, min=0, metadata={"doc": "Line in the file, header = 1; 0 = the whole file"})
    reason = text("Why the row was refused, one word of a closed list")
    detail = text("The same as a sentence, with the value at fault")
    raw = text("The row as it stood in the file", nullable=True)


QUARANTINE = Table(
    "quarantine",
    QuarantineSchema,
    ("session",),
    ("dataset", "source_key", "line_number", "reason"),
    "Rows and files a parser refused, with the line and the reason.",
)


class CorporateActionsSchema(dy.Schema):
    """Splits and cash dividends; a factor is effective from 00:00 New York of its ex-date."""

    symbol = text("Canonical symbol", primary_key=True)
    action = one_of(("split", "dividend"), "What happened", primary_key=True)
    ex_date = dy.Date(nullable=False, primary_key=True, metadata={"doc": "First session on the new basis"})
    split_ratio = number("New shares for one old share; null for a dividend", min_exclusive=0)
    cash_amount = number("Dividend per share, $; null for a split", min=0)
    available_at = instant("When the action was known: its declaration, else 00:00 New York of the ex-date")
    source = one_of(SOURCES, "Where the row comes from")

    @dy.rule()
    def holds_what_it_says(cls) -> pl.Expr:
        is_split = pl.col("action") == "split"
        return (is_split & pl.col("split_ratio").is_not_null()) | (~is_split & pl.col("cash_amount").is_not_null())


CORPORATE_ACTIONS = Table(
    "corporate_actions",
    CorporateActionsSchema,
    (),
    ("symbol", "ex_date", "action"),
    "Splits and cash dividends of the watched symbols.",
)


# Words of the backtest tables (backtesting.md sections 2, 3, 7). In the order of the specification.
DIRECTIONS = ("LONG", "SHORT")
STYLES = ("scalp", "day", "swing")
ENTRY_BASES = ("strict", "coarse_next_open")
PATH_POLICIES = ("pessimistic", "optimistic", "nearest_extreme", "drill_down", "random")
EXIT_REASONS = (
    "STOP", "STOP_GAP", "BREAKEVEN", "TRAIL", "TARGET", "TARGET_GAP", "MAX_HOLD", "SESSION_CLOSE", "EXPIRY",
    "DATA_END", "PREMIUM_TARGET", "PREMIUM_STOP",
)  # fmt: skip
DISPOSITIONS = (
    "taken", "suppressed_open_position", "below_min_score", "no_entry_session_end", "no_next_bar", "no_atr", "halted",
    "class_mismatch", "gate_rejected",
)  # fmt: skip
TIME_WINDOWS = (
    "opening_drive", "mid_morning", "late_morning", "lunch_chop", "early_afternoon", "afternoon", "power_hour",
)  # fmt: skip
MARK_SOURCES = ("nbbo", "print", "model")


class BacktestTradesSchema(dy.Schema):
    """backtesting.md section 7; prices are in the basis of the entry session."""

    run_id = text("Hash of configuration, data and code version", primary_key=True)
    trade_id = text("Hash of detector, symbol, signal bar, configuration (and leg)", primary_key=True)
    detector = text("Detector that fired")
    detector_version = text("Its definition version")
    symbol = text("Canonical symbol")
    asset_class = one_of(("INDEX", "EQUITY_ETF", "STOCK"), "Class of the symbol")
    direction = one_of(DIRECTIONS, "Side of the trade")
    session = dy.Date(nullable=False, metadata={"doc": "Exchange date of the signal"})
    signal_bar_end = instant("End of the bar the signal is about")
    signal_available_at = instant("First moment the signal could be known")
    score = number("Base score, 0-100; under gates full the final score", nullable=False, min=0, max=100)
    entry_at = instant("Start of the execution bar of the entry")
    entry_ref_price = number("Open of that bar, $", nullable=False, min_exclusive=0)
    entry_fill_price = number("Reference price made worse by the costs in price, $", nullable=False)
    entry_basis = one_of(ENTRY_BASES, "Minute bars after the signal was known, or the next bar of its own timeframe")
    atr = number("ATR14 of the signal timeframe at the signal, $", nullable=False, min_exclusive=0)
    atr_timeframe = one_of(TIMEFRAMES, "Timeframe of that ATR")
    stop_initial = number("Stop at entry, $", nullable=False)
    target_initial = number("Target at entry, $", nullable=False)
    risk_per_unit = number("Distance from reference price to initial stop, $", nullable=False, min_exclusive=0)
    exit_at = instant("Start of the exit bar for a gap, its end otherwise")
    exit_ref_price = number("Price before costs, $", nullable=False, min_exclusive=0)
    exit_fill_price = number("Reference price made worse by the costs in price, $", nullable=False)
    exit_reason = one_of(EXIT_REASONS, "Rule that ended the trade")
    bars_held = dy.Int32(nullable=False, min=1, metadata={"doc": "Signal-timeframe bars, entry bar = 1"})
    minutes_held = number("Trading minutes from entry to exit", nullable=False, min=0)
    units = number("Shares or index units", nullable=False, min_exclusive=0)
    notional_usd = number("Units x reference price, $", nullable=False, min_exclusive=0)
    size_capped = dy.Bool(nullable=False, metadata={"doc": "The notional limit decided the size"})
    pnl_gross = number("Before costs, all units, $", nullable=False)
    cost_slippage = number("Slippage of both sides, $", nullable=False, min=0)
    cost_spread = number("Half spreads of both sides, $", nullable=False, min=0)
    cost_impact = number("Market impact of both sides, $", nullable=False, min=0)
    cost_commission = number("Commission of both sides, $", nullable=False, min=0)
    pnl_net = number("Gross less costs, $", nullable=False)
    return_net_pct = number("Net per unit in % of the entry fill", nullable=False)
    r_gross = number("Gross result in units of initial risk, R", nullable=False)
    r_net = number("Net result in units of initial risk, R", nullable=False)
    cost_r = number("Total cost in units of initial risk, R", nullable=False, min=0)
    mfe_r = number("Best excursion before costs, R", nullable=False, min=0)
    mae_r = number("Worst excursion before costs, R", nullable=False, max=0)
    gap_exit = dy.Bool(nullable=False, metadata={"doc": "Filled at an open beyond the stop or the target"})
    ambiguous = dy.Bool(nullable=False, metadata={"doc": "Stop and target inside one bar of the finest resolution"})
    path_policy = one_of(PATH_POLICIES, "Which of the two is taken to come first")
    r_best = number("Net R had the ambiguous bar gone well", nullable=False)
    r_worst = number("Net R had the ambiguous bar gone badly", nullable=False)
    style = one_of(STYLES, "Day trades are flat at the close, swing trades hold overnight")
    dte = dy.Int32(nullable=True, metadata={"doc": "Days to expiry at entry; null in underlying runs"})
    dte_bucket = text("Bucket fixed at entry; null in underlying runs", nullable=True)
    contract_ticker = text("Option contract; null in underlying runs", nullable=True)
    premium_entry = number("Option premium paid, the touch, $/share; null in underlying runs")
    premium_exit = number("Option premium received, the touch, $/share; null in underlying runs")
    mark_source_entry = one_of(MARK_SOURCES, "Where the entry premium comes from", nullable=True)
    mark_source_exit = one_of(MARK_SOURCES, "Where the exit premium comes from", nullable=True)
    premium_entry_mid = number("Mark of the option at entry, $/share; null in underlying runs", min=0)
    premium_exit_mid = number("Mark of the option at exit, $/share; null in underlying runs", min=0)
    premium_entry_spread = number("Spread around the mark at entry, $/share; null in underlying runs", min=0)
    premium_exit_spread = number("Spread around the mark at exit, $/share; null in underlying runs", min=0)
    contracts = dy.Int64(nullable=True, min=1, metadata={"doc": "Contracts held; null in underlying runs"})
    contract_multiplier = number("Deliverable of one contract, shares; null in underlying runs", min_exclusive=0)
    option_pnl_usd = number("Option result at the touch after commissions, $; null in underlying runs")
    option_return_pct = number("Option result in % of premium; null in underlying runs")
    regime_at_signal = text("Market regime known at the signal; null when there is none", nullable=True)
    vix_regime = text("VIX band known at the signal; null when there is none", nullable=True)
    iv_regime_at_signal = text("Band of the symbol's volatility known at the signal; null without one", nullable=True)
    dealer_positioning_at_signal = text("Side of dealer gamma known at the signal; null without one", nullable=True)
    time_window = one_of(TIME_WINDOWS, "Window of the signal bar's end (detectors.md section 7.1)")
    label_start = instant("Start of the span the trade's label depends on: the signal bar's end")
    label_end = instant("End of that span: the exit")
    fold = dy.Int32(nullable=True, metadata={"doc": "Fold of an evaluation; null outside one"})
    input_hash = text("Hash of the data used")
    quality = one_of(QUALITIES, "Worst quality of the entry and exit bars")

    @dy.rule()
    def net_is_gross_less_costs(cls) -> pl.Expr:
        costs = pl.sum_horizontal("cost_slippage", "cost_spread", "cost_impact", "cost_commission")
        return (pl.col("pnl_net") - (pl.col("pnl_gross") - costs)).abs() <= 1e-9

    @dy.rule()
    def filled_after_it_was_known(cls) -> pl.Expr:
        known = pl.when(pl.col("entry_basis") == "strict").then("signal_available_at").otherwise("signal_bar_end")
        return (pl.col("entry_at") >= known) & (pl.col("exit_at") >= pl.col("entry_at"))

    @dy.rule()
    def worst_is_not_above_best(cls) -> pl.Expr:
        return pl.col("r_worst") <= pl.col("r_best")


BACKTEST_TRADES = Table(
    "backtest_trades",
    BacktestTradesSchema,
    ("detector",),
    ("detector", "symbol", "entry_at", "trade_id"),
    "Simulated trades of every detector, with fills, costs, R multiples and the range the bars leave open.",
)


class SignalDispositionsSchema(dy.Schema):
    """Every detection and what became of it (backtesting.md section 2.8)."""

    run_id = text("Hash of configuration, data and code version", primary_key=True)
    detector = text("Detector that fired", primary_key=True)
    symbol = text("Canonical symbol", primary_key=True)
    direction = one_of(DIRECTIONS, "Side of the signal", primary_key=True)
    timeframe = one_of(TIMEFRAMES, "Timeframe of the signal bar", primary_key=True)
    signal_bar_end = instant("End of the signal bar", primary_key=True)
    signal_available_at = instant("First moment the signal could be known")
    session = dy.Date(nullable=False, metadata={"doc": "Exchange date of the signal"})
    score = number("Base score, 0-100; null when it could not be computed")
    disposition = one_of(DISPOSITIONS, "What became of the signal")
    reason = text("Gate that refused it; null unless gate_rejected", nullable=True)
    trade_id = text("First leg of its trade; null unless taken", nullable=True)

    @dy.rule()
    def trade_exactly_when_taken(cls) -> pl.Expr:
        return pl.col("trade_id").is_not_null() == (pl.col("disposition") == "taken")


SIGNAL_DISPOSITIONS = Table(
    "signal_dispositions",
    SignalDispositionsSchema,
    ("detector",),
    ("detector", "symbol", "signal_bar_end", "direction"),
    "Every detection with its disposition; the dispositions of a detector sum to its detections.",
)


# Words of the feature schema (detectors.md section 2), in the order of the specification.
TREND_STATES = ("volatile", "trending_up", "trending_down", "choppy", "ranging")
FLOW_BIASES = ("bullish", "bearish", "neutral")
FLOW_TRENDS = ("INCREASING", "STABLE", "DECREASING")
FLOW_AGGRESSIVENESS = ("PASSIVE", "MODERATE", "AGGRESSIVE", "VERY_AGGRESSIVE")
VIX_TIERS = ("low", "medium", "high", "extreme")
MARKET_REGIMES = (
    "CAPITULATION", "EUPHORIA", "BREAKDOWN", "BREAKOUT", "STRONG_DOWNTREND", "STRONG_UPTREND", "WEAK_DOWNTREND",
    "WEAK_UPTREND", "CHOPPY_BEARISH", "CHOPPY_BULLISH", "RANGE_BOUND",
)  # fmt: skip


def flag(doc: str, *, nullable: bool = False) -> dy.Bool:
    """A true-or-false column."""
    return dy.Bool(nullable=nullable, metadata={"doc": doc})


def count(doc: str, *, nullable: bool = True) -> dy.Int32:
    """A whole-number column."""
    return dy.Int32(nullable=nullable, metadata={"doc": doc})


def words(doc: str) -> dy.List:
    """A list of words, empty rather than null."""
    return dy.List(dy.String(nullable=False), nullable=False, metadata={"doc": doc})


class FeaturesSchema(dy.Schema):
    """detectors.md section 2: everything a detector may read about one bar, known at `available_at`.

    Prices are cleaned and split-adjusted to the basis of the row's session; percentages of price are of `prev_close`.
    """

    symbol = text("Canonical symbol", primary_key=True)
    asset_class = one_of(("INDEX", "EQUITY_ETF", "STOCK"), "Class of the symbol")
    timeframe = one_of(TIMEFRAMES, "Width of the row's window", primary_key=True)
    session = dy.Date(nullable=False, metadata={"doc": "Exchange date (XNYS)"})
    session_type = one_of(("full", "half"), "Length of the session")
    bar_start = instant("Start of the window, inclusive")
    bar_end = instant("End of the window, exclusive", primary_key=True)
    is_regular_hours = flag("The window lies inside the session's regular hours")
    minutes_since_open = count("Minutes from the open to bar_end", nullable=False)
    minutes_to_close = count("Minutes from bar_end to the close", nullable=False)
    open = number("First price of the bar, $", nullable=False)
    high = number("Highest plausible price of the bar, $", nullable=False)
    low = number("Lowest plausible price of the bar, $", nullable=False)
    close = number("Last price of the bar, $", nullable=False)
    volume = number("Volume of the bar, shares; null for an index", min=0)
    prev_bar_close = number("Close of the preceding bar of the same session, $; null on the first")
    mom3_pct = number("Change over three bars, % of prev_close")
    patient_candle = flag("Body not larger than 0.3 ATR14", nullable=True)
    session_open = number("Open of the session, $")
    session_high = number("Highest price of the session so far, $")
    session_low = number("Lowest price of the session so far, $")
    prev_close = number("Close of the previous session, $")
    prior_high = number("High of the previous session, $")
    prior_low = number("Low of the previous session, $")
    gap_pct = number("Open against prev_close, %")
    session_move_pct = number("Close against the session's open, % of prev_close")
    day_range_pos = number("Close within the session's range so far, 0-100; null without a range", min=0, max=100)
    vwap = number("Session VWAP so far, $; null without volume")
    vwap_dist_pct = number("Close against VWAP, % of prev_close")
    or_high = number("High of the first 15 minutes, $; null before they are over or with under 80 % of their minutes")
    or_low = number("Low of the first 15 minutes, $; null as or_high")
    range_high_20 = number("Highest high of the 20 bars before this one, $")
    range_low_20 = number("Lowest low of the 20 bars before this one, $")
    swing_high = number("Latest confirmed pivot high, $")
    swing_low = number("Latest confirmed pivot low, $")
    higher_lows = flag("The last two confirmed pivot lows rise", nullable=True)
    lower_highs = flag("The last two confirmed pivot highs fall", nullable=True)
    ema21 = number("EMA 21 of close, $")
    ema50 = number("EMA 50 of close, $")
    ema200 = number("EMA 200 of close, $")
    rsi14 = number("Wilder RSI 14, 0-100; 50 without movement", min=0, max=100.0000001)
    rsi14_delta = number("Change of rsi14 from the previous bar, points")
    atr14 = number("Wilder ATR 14, $", min=0)
    rsi_div_bull = number("Price pivot low falls while RSI rises, 0-100", min=0, max=100)
    rsi_div_bear = number("Price pivot high rises while RSI falls, 0-100", min=0, max=100)
    rsi14_5m = number("rsi14 of the newest 5m bar, 0-100", min=0, max=100.0000001)
    rsi14_15m = number("rsi14 of the newest 15m bar, 0-100", min=0, max=100.0000001)
    rsi14_1h = number("rsi14 of the newest 1h bar, 0-100", min=0, max=100.0000001)
    close_15m = number("Close of the newest 15m bar, $")
    ema21_15m = number("EMA 21 of the newest 15m bar, $")
    ema50_15m = number("EMA 50 of the newest 15m bar, $")
    ema21_1h = number("EMA 21 of the newest 1h bar, $")
    ema50_1h = number("EMA 50 of the newest 1h bar, $")
    atr14_5m = number("ATR 14 of the newest 5m bar, $", min=0)
    atr14_15m = number("ATR 14 of the newest 15m bar, $", min=0)
    atr14_1h = number("ATR 14 of the newest 1h bar, $", min=0)
    atr14_1d = number("ATR 14 of the previous session's daily bar, $", min=0)
    atr_1d_pct = number("atr14_1d in % of prev_close")
    atr_pct_15m = number("atr14_15m in % of prev_close")
    atr_ratio_15m = number("atr14_15m against its mean over the previous 130 bars, ratio", min=0)
    adx14_15m = number("Wilder ADX 14 of the newest 15m bar, 0-100", min=0, max=100.0000001)
    trend_state = one_of(TREND_STATES, "detectors.md section 2.1", nullable=True)
    rvol = number("Volume so far against the same minute of up to 20 prior sessions, ratio", min=0)
    rvol_symbol = text("Symbol whose volume counts; null for an index without a proxy", nullable=True)
    adv20_shares = number("Mean volume of 20 prior sessions, shares", min=0)
    adv20_usd = number("Mean close x volume of 20 prior sessions, $", min=0)
    spread_pct = number("Bid-ask spread of the quote in force at bar_end, at most 60 s old, % of mid", min=0)
    mtf_support_long_pct = number("Weight of the timeframes that point up, 0-100", min=0, max=100)
    mtf_support_short_pct = number("Weight of the timeframes that point down, 0-100", min=0, max=100)
    flow_bias = one_of(FLOW_BIASES, "Side of the options flow of the last 60 minutes", nullable=True)
    flow_score = number("Strength of the flow, 0-100", min=0, max=100)
    flow_institutional_score = number("Institutional share of the flow, 0-100", min=0, max=100)
    flow_buy_pressure_pct = number("Buying pressure of the flow, 0-100", min=0, max=100)
    flow_sweeps_bull = count("Bullish sweeps of the last 60 minutes")
    flow_sweeps_bear = count("Bearish sweeps of the last 60 minutes")
    flow_blocks_bull = count("Bullish blocks of the last 60 minutes")
    flow_blocks_bear = count("Bearish blocks of the last 60 minutes")
    flow_large_pct = number("Sweeps and blocks, % of trades")
    flow_trend = one_of(FLOW_TRENDS, "Direction of the flow's strength", nullable=True)
    flow_aggressiveness = one_of(FLOW_AGGRESSIVENESS, "How aggressive the flow is", nullable=True)
    net_gex_ratio = number("Net to gross dealer gamma, -1 to 1", min=-1, max=1)
    max_gamma_strike = number("Strike with the largest gross dollar gamma, $")
    gamma_flip = number("Price at which dealer gamma is zero, $")
    gamma_flip_slope = number("Steepness of dealer gamma around the flip, ratio")
    call_wall = number("Strike of the call wall, $")
    put_wall = number("Strike of the put wall, $")
    gex_gross_adv_pct = number("Gross gamma per 1 % move, % of adv20_usd")
    max_pain_strike = number("Max pain of the expiry that ends today, $")
    oi_at_pin = dy.Int64(nullable=True, metadata={"doc": "Open interest at that strike, contracts"})
    oi_pin_share_pct = number("Its share of the expiry's open interest, %")
    gex_at_pin = number("Net dollar gamma at that strike, $ per 1 %")
    call_volume_share_pct = number("Calls in today's option volume of near expiries, %", min=0, max=100)
    opt_rvol = number("Option volume so far against the same minute of prior sessions, ratio", min=0)
    is_0dte = flag("An expiry settles this session", nullable=True)
    minutes_to_expiry = count("Minutes to the nearest settlement")
    vix_level = number("Newest VIX, points")
    vix_tier = one_of(VIX_TIERS, "Band of the VIX", nullable=True)
    iv_percentile_pct = number("Percentile of implied volatility, 0-100", min=0, max=100)
    market_regime = one_of(MARKET_REGIMES, "Regime label of the previous close", nullable=True)
    bar_flags = words("What the bar filter found in the row's bar; empty when nothing")
    inputs_substituted = words("Columns taken from the row's own timeframe instead of the one in their name")
    available_at = instant("First moment everything in the row could be known")
    definition_version = text("Method that produced the row")

    @dy.rule()
    def prices_ordered(cls) -> pl.Expr:
        return (pl.col("low") <= pl.min_horizontal("open", "close")) & (
            pl.max_horizontal("open", "close") <= pl.col("high")
        )

    @dy.rule()
    def known_after_it_ended(cls) -> pl.Expr:
        return pl.col("available_at") >= pl.col("bar_end")


FEATURES = Table(
    "features",
    FeaturesSchema,
    ("timeframe", "session"),
    ("symbol", "bar_end"),
    "What every detector reads: price, volume, session and trend features of each regular-hours bar.",
)


class BacktestEquitySchema(dy.Schema):
    """Daily result of each detector's own book, flat sessions included; marked to market at the close, net of costs."""

    run_id = text("Hash of configuration, data and code version", primary_key=True)
    detector = text("Detector", primary_key=True)
    session = dy.Date(nullable=False, primary_key=True, metadata={"doc": "Exchange date (XNYS)"})
    pnl_usd = number("Result of the session, $", nullable=False)
    daily_return = number("Result as a fraction of the initial equity", nullable=False)
    equity_usd = number("Equity at the close, $", nullable=False)
    open_positions = dy.Int32(nullable=False, min=0, metadata={"doc": "Positions held during the session"})


BACKTEST_EQUITY = Table(
    "backtest_equity",
    BacktestEquitySchema,
    ("detector",),
    ("detector", "session"),
    "The equity curve of every detector's book over the run.",
)


class BacktestCoverageSchema(dy.Schema):
    """How much of what a detector needs was there in a run; every detector of the catalogue has a row."""

    run_id = text("Hash of configuration, data and code version", primary_key=True)
    detector = text("Detector", primary_key=True)
    eligible_symbol_sessions = dy.Int64(nullable=False, min=0, metadata={"doc": "Symbol-sessions of its classes"})
    covered_symbol_sessions = dy.Int64(nullable=False, min=0, metadata={"doc": "Those with its scarcest input"})
    missing_inputs = dy.List(
        dy.String(nullable=False), nullable=False, metadata={"doc": "Required inputs present on less than 60 %"}
    )
    detections = dy.Int64(nullable=False, min=0, metadata={"doc": "Rows on which it fired"})


BACKTEST_COVERAGE = Table(
    "backtest_coverage",
    BacktestCoverageSchema,
    ("detector",),
    ("detector",),
    "Input coverage of every detector of the catalogue in the run.",
)


class TrialLedgerSchema(dy.Schema):
    """Every configuration that was ever evaluated (backtesting.md section 9); what is counted cannot be taken back."""

    trial_id = text("Hash of everything that decides the result", primary_key=True)
    detector = text("Detector that was tested")
    detector_version = text("Its definition version, thresholds included")
    parameters = text("Every assumption and threshold by name, JSON")
    config_hash = text("Hash of the assumptions")
    code_version = text("Version of the simulation")
    timeframe = one_of((*TIMEFRAMES, "native"), "Timeframe of the signal rows")
    window_start = dy.Date(nullable=False, metadata={"doc": "First session of the window"})
    window_end = dy.Date(nullable=False, metadata={"doc": "Last session of the window"})
    symbols_hash = text("Hash of the symbols that were tested")
    data_hash = text("Hash of the execution bars and of the detector's signals")
    sessions = dy.List(
        dy.Date(nullable=False), nullable=False, metadata={"doc": "Sessions of the window that have data, in order"}
    )
    daily_returns = dy.List(
        dy.Float64(nullable=False, allow_inf=False, allow_nan=False),
        nullable=False,
        metadata={"doc": "Net result of each of them as a fraction of the initial equity"},
    )
    n_trades = dy.Int64(nullable=False, min=0, metadata={"doc": "Trades taken"})
    sharpe_per_session = number("Mean over standard deviation of the returns; null without spread")
    evaluated_at = instant("When the configuration was first evaluated")

    @dy.rule()
    def one_return_a_session(cls) -> pl.Expr:
        return pl.col("sessions").list.len() == pl.col("daily_returns").list.len()

    @dy.rule()
    def window_in_order(cls) -> pl.Expr:
        return pl.col("window_start") <= pl.col("window_end")


TRIAL_LEDGER = Table(
    "trial_ledger",
    TrialLedgerSchema,
    ("detector", "batch"),
    ("trial_id",),
    "Every configuration of every detector that was ever evaluated, with its daily returns; rows are only added.",
    append_only=True,
)


class HoldoutOpeningsSchema(dy.Schema):
    """Who looked at the sessions held out of a study, and when; every attempt after the first was refused."""

    study = text("Name of the study", primary_key=True)
    attempt = dy.Int32(nullable=False, min=1, primary_key=True, metadata={"doc": "1 opened the holdout"})
    first_session = dy.Date(nullable=False, metadata={"doc": "First session held out"})
    last_session = dy.Date(nullable=False, metadata={"doc": "Last session held out"})
    granted = dy.Bool(nullable=False, metadata={"doc": "True for the first attempt alone"})
    asked_at = instant("When it was asked for")

    @dy.rule()
    def only_the_first_is_granted(cls) -> pl.Expr:
        return pl.col("granted") == (pl.col("attempt") == 1)


HOLDOUT_OPENINGS = Table(
    "holdout_openings",
    HoldoutOpeningsSchema,
    ("study", "attempt"),
    ("study", "attempt"),
    "Attempts to read the sessions that a study holds out; one a study is granted.",
    append_only=True,
)


NOISE_VARIANTS = ("random_walk", "sign_flipped", "block_shuffled", "time_reversed")


class NoiseGauntletSchema(dy.Schema):
    """What a detector earned on one draw of noise, as sums from which means and clustered errors follow."""

    run_id = text("Run whose bars the noise is made of", primary_key=True)
    detector = text("Detector", primary_key=True)
    variant = one_of(NOISE_VARIANTS, "How the noise was made; time_reversed is not judged", primary_key=True)
    draw = dy.Int32(nullable=False, min=0, primary_key=True, metadata={"doc": "Number of the draw"})
    seed = dy.Int64(nullable=False, min=0, metadata={"doc": "Seed of all draws"})
    trades = dy.Int64(nullable=False, min=0, metadata={"doc": "Trades taken"})
    sessions_traded = dy.Int64(nullable=False, min=0, metadata={"doc": "Sessions with a trade"})
    sum_r_gross = number("Sum of R before costs", nullable=False)
    sum_r_net = number("Sum of R after costs", nullable=False)
    sum_squared_session_r = number("Sum over sessions of their R before costs, squared", nullable=False, min=0)
    sum_session_r_trades = number("Sum over sessions of their R before costs times their trades", nullable=False)
    sum_squared_session_trades = number("Sum over sessions of their trades, squared", nullable=False, min=0)


NOISE_GAUNTLET = Table(
    "noise_gauntlet",
    NoiseGauntletSchema,
    ("detector",),
    ("detector", "variant", "draw"),
    "Results of every detector on markets without an edge, made from the bars of a run.",
)


class ValidationFoldsSchema(dy.Schema):
    """What was chosen on each train span and what it did on the test span (backtesting.md section 9)."""

    run_id = text("Run whose configuration the sets vary", primary_key=True)
    detector = text("Detector", primary_key=True)
    fold = dy.Int32(nullable=False, min=0, primary_key=True, metadata={"doc": "Number of the fold, by test span"})
    method = one_of(("walk-forward", "purged cross-validation", "holdout"), "How the spans were cut")
    train_start = dy.Date(nullable=False, metadata={"doc": "First session trained on"})
    train_end = dy.Date(nullable=False, metadata={"doc": "Last session trained on; folds may lie in between"})
    test_start = dy.Date(nullable=False, metadata={"doc": "First session of the test span"})
    test_end = dy.Date(nullable=False, metadata={"doc": "Last session of the test span"})
    fitted = dy.Bool(nullable=False, metadata={"doc": "False when no set had enough trades, so the run's own was kept"})
    stop_atr = number("Chosen stop, multiples of ATR", nullable=False, min_exclusive=0)
    target_atr = number("Chosen target, multiples of ATR", nullable=False, min_exclusive=0)
    max_hold_bars = dy.Int32(nullable=False, min=1, metadata={"doc": "Chosen hold limit, bars"})
    min_score = number("Chosen least score, 0-100", nullable=False, min=0, max=100)
    train_trades = dy.Int64(nullable=False, min=0, metadata={"doc": "Trades of the chosen set after purging"})
    train_expectancy_low_r = number("Lower 95 % bound of its mean R in training; null when nothing was fitted")
    test_trades = dy.Int64(nullable=False, min=0, metadata={"doc": "Trades on the test span"})
    test_expectancy_r = number("Mean R on the test span; null without trades")


VALIDATION_FOLDS = Table(
    "validation_folds",
    ValidationFoldsSchema,
    ("detector",),
    ("detector", "fold"),
    "Parameters chosen in each fold of the validation, and what they did on sessions not trained on.",
)

OUT_OF_SAMPLE_TRADES = Table(
    "out_of_sample_trades",
    BacktestTradesSchema,
    ("detector",),
    ("detector", "symbol", "entry_at", "trade_id"),
    "Trades on the test spans of the validation, each under the parameters chosen without it.",
)


class OutOfSampleEquitySchema(dy.Schema):
    """Daily result of each detector's book on the test spans put together."""

    run_id = text("Run whose configuration the sets vary", primary_key=True)
    detector = text("Detector", primary_key=True)
    session = dy.Date(nullable=False, primary_key=True, metadata={"doc": "Exchange date (XNYS)"})
    pnl_usd = number("Result of the session, $", nullable=False)
    daily_return = number("Result as a fraction of the initial equity", nullable=False)
    equity_usd = number("Equity at the close, $", nullable=False)


OUT_OF_SAMPLE_EQUITY = Table(
    "out_of_sample_equity",
    OutOfSampleEquitySchema,
    ("detector",),
    ("detector", "session"),
    "The equity curve of every detector's book on sessions its parameters were not chosen on.",
)


# Words of the option tables (quant_methods.md sections 4, 5, 16.2), in the order of the specification.
OPTION_TYPES = ("call", "put")
EXERCISE_STYLES = ("american", "european")
SETTLEMENTS = ("am", "pm")
IV_STATUSES = (
    "missing_input", "expired", "crossed", "zero_bid", "stale", "no_good_quote", "below_intrinsic", "above_upper",
    "at_intrinsic", "no_convergence", "wide_quote", "low_vega", "ok",
)  # fmt: skip
STATUSES_WITH_IV = ("wide_quote", "low_vega", "ok")
IV_SOURCES = ("quote_mid", "parity_otm", "trade", "vendor", "carried", "none")
EXERCISE_MODELS = ("european", "european_approx", "lr_tree", "crr_tree")


def whole(doc: str, *, nullable: bool = True) -> dy.Int64:
    """A count that is never negative."""
    return dy.Int64(nullable=nullable, min=0, metadata={"doc": doc})


def day(doc: str, *, nullable: bool = False, primary_key: bool = False) -> dy.Date:
    """An exchange date."""
    return dy.Date(nullable=nullable, primary_key=primary_key, metadata={"doc": doc})


def _new_york_time_of(session: str, hours: int, minutes: int) -> pl.Expr:
    """The instant of a New York wall-clock time on the date in column `session`."""
    local = pl.col(session).cast(pl.Datetime("us")) + pl.duration(hours=hours, minutes=minutes)
    return local.dt.replace_time_zone("America/New_York").dt.convert_time_zone("UTC")


class OptionContractsSchema(dy.Schema):
    """Terms of every contract that can trade in a session, as the contract reference or the OCC ticker gives them."""

    session = day("Exchange date (XNYS) for which the terms hold", primary_key=True)
    contract_ticker = text("OCC ticker with the prefix O:", primary_key=True)
    symbol = text("Canonical underlying; weekly roots are mapped, SPXW to SPX")
    root = text("Root of the OCC ticker; an adjusted one ends in a digit")
    expiration = day("Expiration in the ticker; before 2015 often a Saturday")
    expires_at = instant("Moment of settlement: the open of the last session for am, its close for pm")
    strike = number("Strike, $, exact to 0.001", nullable=False, min_exclusive=0)
    option_type = one_of(OPTION_TYPES, "Call or put")
    exercise_style = one_of(EXERCISE_STYLES, "When it can be exercised")
    settlement = one_of(SETTLEMENTS, "Settled on the open or on the close")
    multiplier = number("Shares or index units per contract (the deliverable)", nullable=False, min_exclusive=0)
    source = one_of(SOURCES, "Where the row comes from")
    quality = one_of(QUALITIES, "Provisional while the terms are those a ticker of this form has")
    quality_flags = words("terms_from_ticker without a contract reference; where else the ticker was seen")
    available_at = instant("First moment a participant could know that the contract exists")
    ingested_at = instant("When the vendor's object that holds the row was published")
    revision = count("0 for the first version of the row", nullable=False)
    definition_version = text("Method that produced the row")

    @dy.rule()
    def not_expired_before_the_session(cls) -> pl.Expr:
        return pl.col("expires_at") >= _new_york_time_of("session", 9, 30)


OPTION_CONTRACTS = Table(
    "option_contracts",
    OptionContractsSchema,
    ("session",),
    ("session", "contract_ticker"),
    "Terms of the option contracts on the watched underlyings, session by session.",
)


class OpenInterestSchema(dy.Schema):
    """Open interest as published in the morning of a session: it describes the session before, never its own."""

    session = day("Exchange date (XNYS) on whose morning the number was published", primary_key=True)
    contract_ticker = text("OCC ticker with the prefix O:", primary_key=True)
    symbol = text("Canonical underlying")
    open_interest = whole("Contracts open after the clearing of oi_session", nullable=False)
    oi_session = day("Session that the number describes")
    source = one_of(SOURCES, "Where the row comes from")
    quality = one_of(QUALITIES, "Provisional until the vendor's file is there")
    quality_flags = words("What is odd about the row")
    available_at = instant("Publication: 06:30 New York of the session, or the row's own time when later")
    ingested_at = instant("When the vendor's object that holds the row was published")
    revision = count("0 for the first version of the row", nullable=False)
    definition_version = text("Method that produced the row")

    @dy.rule()
    def describes_an_earlier_session(cls) -> pl.Expr:
        return pl.col("oi_session") < pl.col("session")

    @dy.rule()
    def known_in_the_morning_at_the_earliest(cls) -> pl.Expr:
        return pl.col("available_at") >= _new_york_time_of("session", 6, 30)


OPEN_INTEREST = Table(
    "open_interest",
    OpenInterestSchema,
    ("session",),
    ("session", "contract_ticker"),
    "Open interest that is known at about 06:30 New York of a session and describes the session before.",
)


class RateCurveSchema(dy.Schema):
    """Points of the interest-rate curve, each with the moment from which it was known; linear in tenor between them."""

    available_at = instant("First moment a participant could know the point", primary_key=True)
    tenor_years = dy.Float64(
        nullable=False, primary_key=True, allow_inf=False, allow_nan=False, min=0, metadata={"doc": "Tenor, years"}
    )
    rate = number("Rate to the tenor, continuous decimal per year", nullable=False)
    source = one_of(SOURCES, "Where the row comes from")
    ingested_at = instant("When the object that holds the row was published")
    definition_version = text("Method that produced the row")


RATE_CURVE = Table(
    "rate_curve",
    RateCurveSchema,
    (),
    ("available_at", "tenor_years"),
    "Interest rates by tenor as they became known; a point counts until a newer one of its tenor.",
)


class HistoricalGreeksSchema(dy.Schema):
    """quant_methods.md section 16.2 with the columns common to all history tables.

    `underlying_price` is null where nothing about the underlying was known at the snapshot; such a row has the
    status missing_input (or expired) and neither volatility nor Greeks.
    """

    contract_ticker = text("OCC ticker with the prefix O:", primary_key=True)
    snapshot_at = instant("Instant of the session's 15-minute grid, the same for all symbols", primary_key=True)
    symbol = text("Canonical underlying; weekly roots are mapped, SPXW to SPX")
    session = day("Exchange date (XNYS)")
    expiration = day("Expiration in the OCC ticker")
    strike = number("Strike, $, exact to 0.001", nullable=False, min_exclusive=0)
    option_type = one_of(OPTION_TYPES, "Call or put")
    exercise_style = one_of(EXERCISE_STYLES, "When it can be exercised")
    settlement = one_of(SETTLEMENTS, "Settled on the open or on the close")
    multiplier = number("Shares or index units per contract (the deliverable)", nullable=False, min_exclusive=0)
    dte = dy.Int32(nullable=False, min=0, metadata={"doc": "Calendar days to the last session of the contract"})
    minutes_to_expiry = number("Calendar minutes to settlement", nullable=False, min=0)
    underlying_price = number("Underlying as of the snapshot, $; null when unknown", min_exclusive=0)
    forward = number("Forward of the expiry, $", min_exclusive=0)
    rate = number("Rate to the expiry, continuous decimal per year")
    carry = number("Implied carry, continuous decimal per year")
    bid = number("Bid, $/share", min=0)
    ask = number("Ask, $/share", min=0)
    mid = number("Mid of a quote with 0 < bid <= ask, $/share", min_exclusive=0)
    last = number("Last print of the session, $/share", min_exclusive=0)
    quote_age_s = number("Snapshot less quote time, s", min=0)
    volume = whole("Day volume up to the snapshot, contracts")
    open_interest = whole("As published for oi_session, contracts")
    oi_session = day("Session that the open interest describes", nullable=True)
    iv = number("Implied volatility, decimal per root year", min_exclusive=0)
    iv_bid = number("Implied volatility of the bid, decimal per root year")
    iv_ask = number("Implied volatility of the ask, decimal per root year")
    iv_err = number("Half the spread over vega, decimal", min=0)
    iv_status = one_of(IV_STATUSES, "Why there is a volatility or none (quant_methods.md section 4)")
    iv_source = one_of(IV_SOURCES, "Price or twin that the volatility comes from")
    exercise_model = one_of(EXERCISE_MODELS, "Model of the Greeks (quant_methods.md section 5)", nullable=True)
    delta = number("$ per $1 of underlying")
    gamma = number("Delta per $1 of underlying")
    vega_1pct = number("$ per volatility point")
    theta_day = number("$ per calendar day")
    rho_1pct = number("$ per 1 % of rate")
    vanna_1pct = number("Delta per volatility point")
    charm_day = number("Delta per calendar day forward")
    vendor_iv = number("The vendor's volatility, decimal, for comparison only")
    vendor_delta = number("The vendor's delta, for comparison only")
    iv_rank_pct = number(
        "Rank of the symbol's volatility in the prior session, 0-100; empty in the lake, where it would follow from "
        "these rows themselves, and joined from iv_percentile_cache where the table is served",
        min=0,
        max=100,
    )
    iv_percentile_pct = number("Percentile of it in the prior session, 0-100; as iv_rank_pct", min=0, max=100)
    source = one_of(SOURCES, "Files or the vendor's live snapshot")
    quality = one_of(QUALITIES, "Provisional until it stands on final inputs")
    quality_flags = words("What is odd about the row, such as forward_from_spot or terms_from_ticker")
    available_at = instant("First moment everything in the row could be known")
    ingested_at = instant("Newest publication among the vendor's objects the row was made from")
    revision = count("0 for the first version of the row", nullable=False)
    definition_version = text("Method that produced the row")

    @dy.rule()
    def mid_only_of_a_sound_quote(cls) -> pl.Expr:
        sound = (pl.col("bid") > 0) & (pl.col("bid") <= pl.col("ask"))
        return pl.col("mid").is_null() | sound.fill_null(False)

    @dy.rule()
    def volatility_exactly_when_the_status_says_so(cls) -> pl.Expr:
        return pl.col("iv").is_not_null() == pl.col("iv_status").is_in(list(STATUSES_WITH_IV))

    @dy.rule()
    def greeks_only_with_a_volatility(cls) -> pl.Expr:
        return pl.col("gamma").is_null() | pl.col("iv").is_not_null()

    @dy.rule()
    def underlying_missing_only_with_a_status(cls) -> pl.Expr:
        return pl.col("underlying_price").is_not_null() | pl.col("iv_status").is_in(["missing_input", "expired"])

    @dy.rule()
    def open_interest_of_an_earlier_session(cls) -> pl.Expr:
        return (pl.col("oi_session") < pl.col("session")) & pl.col("open_interest").is_not_null() | (
            pl.col("oi_session").is_null() & pl.col("open_interest").is_null()
        )

    @dy.rule()
    def known_after_the_snapshot(cls) -> pl.Expr:
        return pl.col("available_at") >= pl.col("snapshot_at")


HISTORICAL_GREEKS = Table(
    "historical_greeks",
    HistoricalGreeksSchema,
    ("session",),
    ("snapshot_at", "contract_ticker"),
    "Every watched option contract on the 15-minute grid: quote, volatility with its status, Greeks, open interest.",
)


# Words of the volatility and flow tables (quant_methods.md sections 6, 7, 8, 10), in the order of the specification.
CM_STATUSES = ("ok", "single_expiry", "calendar_arb", "insufficient")
RV_ESTIMATORS = (
    "close_close", "parkinson", "garman_klass", "rogers_satchell", "garman_klass_yang_zhang", "yang_zhang",
)  # fmt: skip
RV_STATUSES = ("ok", "missing_input")
IV_REGIMES = ("EXTREMELY_LOW", "LOW", "NORMAL", "ELEVATED", "HIGH", "EXTREMELY_HIGH")
IV_TRENDS = ("EXPANDING", "CONTRACTING", "STABLE")
HISTORY_STATUSES = ("ok", "short_history", "insufficient")
SEQUENCE_SOURCES = ("vendor", "ordinal")
EXCLUSION_CLASSES = ("none", "cancel", "late", "cross", "multi_leg", "extended")
AGGRESSIVENESS = ("PASSIVE", "NORMAL", "AGGRESSIVE")
SENTIMENTS = ("BULLISH", "BEARISH", "NEUTRAL", "UNKNOWN")
TRADE_TYPES = ("CROSS", "MULTI_LEG", "AUCTION", "SWEEP", "BLOCK", "SPLIT", "LARGE", "REGULAR")


class AtmIvDailySchema(dy.Schema):
    """Volatility of a symbol at constant maturities at the close, from the last chain of the session; section 6.

    A value is null exactly when its status is insufficient (missing_input for rv21).
    """

    symbol = text("Canonical underlying", primary_key=True)
    session = day("Exchange date (XNYS)", primary_key=True)
    snapshot_at = instant("Instant of the chain the values come from")
    underlying_price = number("Underlying at that instant, $", min_exclusive=0)
    cm30_atm_iv = number("At-the-money-forward volatility at 30 days, decimal per root year", min_exclusive=0)
    cm30_iv_call = number("The same from calls alone, decimal per root year", min_exclusive=0)
    cm30_iv_put = number("The same from puts alone, decimal per root year", min_exclusive=0)
    cm30_status = one_of(CM_STATUSES, "Two expiries, one, two that fall in total variance, or none")
    cm30_near_expiration = day("Expiry before 30 days that was used, or the single one", nullable=True)
    cm30_next_expiration = day("Expiry from 30 days on that was used", nullable=True)
    cm90_atm_iv = number("At-the-money-forward volatility at 90 days, decimal per root year", min_exclusive=0)
    cm90_status = one_of(CM_STATUSES, "As cm30_status")
    term_slope_90_30 = number("cm90_atm_iv less cm30_atm_iv, decimal; null when either is missing")
    rr25 = number("Volatility of the 25-delta put less that of the 25-delta call at 30 days, decimal")
    fly25 = number("Their mean less cm30_atm_iv, decimal")
    skew_slope = number("Rise of volatility per 10 delta towards lower strikes at 30 days, decimal")
    skew_status = one_of(CM_STATUSES, "As cm30_status, of rr25, fly25 and skew_slope")
    model_free_iv = number("Root of the model-free 30-day variance, decimal per root year; indices only")
    model_free_status = one_of(CM_STATUSES, "As cm30_status; null where none is asked for", nullable=True)
    rv21 = number("Realised volatility of the 21 sessions that end here, decimal per root year", min=0)
    rv_estimator = one_of(RV_ESTIMATORS, "Estimator of rv21", nullable=True)
    rv_status = one_of(RV_STATUSES, "Whether every bar of the window is there")
    earnings_in_window = flag("Earnings within 30 days; null without a calendar", nullable=True)
    source = one_of(SOURCES, "derived, or synthetic when every input is")
    quality = one_of(QUALITIES, "Worst quality among the rows used")
    quality_flags = words("What is odd about the row")
    available_at = instant("First moment everything in the row could be known")
    ingested_at = instant("Newest publication among the vendor's objects the row was made from")
    revision = count("0 for the first version of the row", nullable=False)
    definition_version = text("Method that produced the row")

    @dy.rule()
    def value_exactly_with_a_status(cls) -> pl.Expr:
        return (
            (pl.col("cm30_atm_iv").is_null() == (pl.col("cm30_status") == "insufficient"))
            & (pl.col("cm90_atm_iv").is_null() == (pl.col("cm90_status") == "insufficient"))
            & (pl.col("rr25").is_null() == (pl.col("skew_status") == "insufficient"))
            & (pl.col("rv21").is_null() == (pl.col("rv_status") != "ok"))
        )

    @dy.rule()
    def known_after_the_snapshot(cls) -> pl.Expr:
        return pl.col("available_at") >= pl.col("snapshot_at")


ATM_IV_DAILY = Table(
    "atm_iv_daily",
    AtmIvDailySchema,
    ("session",),
    ("symbol", "session"),
    "At-the-money volatility at 30 and 90 days, skew, term slope and realised volatility, one row a session.",
)


class IvPercentileCacheSchema(dy.Schema):
    """quant_methods.md section 16.5 with the columns common to all history tables."""

    symbol = text("Canonical underlying", primary_key=True)
    session = day("Exchange date (XNYS)", primary_key=True)
    cm30_atm_iv = number("At-the-money-forward volatility at 30 days, decimal per root year", min_exclusive=0)
    cm30_iv_call = number("The same from calls alone, decimal per root year", min_exclusive=0)
    cm30_iv_put = number("The same from puts alone, decimal per root year", min_exclusive=0)
    cm30_status = one_of(CM_STATUSES, "Two expiries, one, two that fall in total variance, or none")
    cm90_atm_iv = number("At-the-money-forward volatility at 90 days, decimal per root year", min_exclusive=0)
    term_slope_90_30 = number("cm90_atm_iv less cm30_atm_iv, decimal")
    iv_252d_high = number("Highest cm30_atm_iv of the 252 sessions before, decimal")
    iv_252d_low = number("Lowest of them, decimal")
    iv_252d_mean = number("Their mean, decimal")
    iv_252d_median = number("Their median, decimal")
    iv_252d_stddev = number("Their population standard deviation, decimal", min=0)
    iv_rank_pct = number("Place between lowest and highest, 0-100", min=0, max=100)
    iv_percentile_pct = number("Share of the window below, ties counted half, 0-100", min=0, max=100)
    rank_clipped = flag("The value lies outside the window's range")
    iv_zscore = number("Distance from the mean in standard deviations")
    iv_regime = one_of(IV_REGIMES, "Band of iv_percentile_pct", nullable=True)
    iv_trend = one_of(IV_TRENDS, "Change against 20 sessions earlier beyond 10 %", nullable=True)
    iv_change_5d_pct = number("Change against 5 sessions earlier, %")
    iv_change_20d_pct = number("Change against 20 sessions earlier, %")
    rr25 = number("Volatility of the 25-delta put less that of the 25-delta call at 30 days, decimal")
    fly25 = number("Their mean less cm30_atm_iv, decimal")
    skew_slope = number("Rise of volatility per 10 delta towards lower strikes at 30 days, decimal")
    skew_percentile_pct = number("Percentile of rr25 in the 252 sessions before, 0-100", min=0, max=100)
    rv21 = number("Realised volatility of the 21 sessions that end here, decimal per root year", min=0)
    rv_estimator = one_of(RV_ESTIMATORS, "Estimator of rv21", nullable=True)
    vrp_var = number("cm30_atm_iv squared less rv21 squared, variance per year")
    n_history = dy.Int32(nullable=False, min=0, metadata={"doc": "Sessions of the window with the status ok"})
    history_status = one_of(HISTORY_STATUSES, "202 sessions or more, 126 or more, or too few")
    earnings_in_window = flag("Earnings within 30 days; null without a calendar", nullable=True)
    source = one_of(SOURCES, "derived, or synthetic when every input is")
    quality = one_of(QUALITIES, "Quality of the session's own row")
    quality_flags = words("What is odd about the row")
    available_at = instant("First moment everything in the row could be known")
    ingested_at = instant("Newest publication among the vendor's objects the row was made from")
    revision = count("0 for the first version of the row", nullable=False)
    definition_version = text("Method that produced the row")

    @dy.rule()
    def rank_only_with_a_history(cls) -> pl.Expr:
        ranked = pl.col("iv_rank_pct").is_not_null() | pl.col("iv_percentile_pct").is_not_null()
        return ~ranked | ((pl.col("history_status") != "insufficient") & pl.col("cm30_atm_iv").is_not_null())

    @dy.rule()
    def regime_exactly_with_a_percentile(cls) -> pl.Expr:
        return pl.col("iv_regime").is_null() == pl.col("iv_percentile_pct").is_null()


IV_PERCENTILE_CACHE = Table(
    "iv_percentile_cache",
    IvPercentileCacheSchema,
    ("session",),
    ("symbol", "session"),
    "How rich a symbol's volatility is against its own 252 sessions before: rank, percentile, band, trend, premium.",
)


class OptionsFlowHistorySchema(dy.Schema):
    """quant_methods.md section 16.3 with the columns common to all history tables."""

    contract_ticker = text("OCC ticker with the prefix O:", primary_key=True)
    sip_timestamp = instant("Tape time truncated to microseconds", primary_key=True)
    sequence = dy.Int64(
        nullable=False,
        min=0,
        primary_key=True,
        metadata={"doc": "The vendor's sequence, else the ordinal in contract and microsecond by ns and file order"},
    )
    sequence_source = one_of(SEQUENCE_SOURCES, "Which of the two")
    sip_timestamp_ns = whole("Exact tape time, ns of the epoch", nullable=False)
    symbol = text("Canonical underlying; weekly roots are mapped, SPXW to SPX")
    session = day("Exchange date (XNYS)")
    strike = number("Strike, $", nullable=False, min_exclusive=0)
    expiration = day("Expiration of the contract")
    option_type = one_of(OPTION_TYPES, "Call or put")
    dte = dy.Int32(nullable=False, min=0, metadata={"doc": "Calendar days to expiration"})
    price = number("Price of the print, $/share", nullable=False, min_exclusive=0)
    size = dy.Int64(nullable=False, min=1, metadata={"doc": "Contracts"})
    multiplier = number("Shares or index units per contract (the deliverable)", nullable=False, min_exclusive=0)
    premium_usd = number("price x size x multiplier, $", nullable=False, min_exclusive=0)
    bid = number("Best bid in force at the trade, $/share; null when absent or stale", min=0)
    ask = number("Best ask in force at the trade, $/share; null when absent or stale", min=0)
    nbbo_age_ms = number("Age of the newest quote before the trade, ms, however old", min=0)
    underlying_price = number("Underlying as of the trade, $; null when unknown", min_exclusive=0)
    delta = number("Delta as of the trade, $ per $1; null when unknown")
    aggressor_sign = number("+1 buyer, -1 seller, half for the tick inside the spread; null = unknown", min=-1, max=1)
    exclusion_class = one_of(EXCLUSION_CLASSES, "Why the print does not count for sentiment, or none")
    aggressiveness = one_of(AGGRESSIVENESS, "Distance of the price from mid in half spreads", nullable=True)
    sentiment = one_of(SENTIMENTS, "Call bought or put sold, the reverse, neither, or unknown")
    trade_type = one_of(TRADE_TYPES, "First of the list that applies")
    is_sweep = flag("One of several prints across exchanges at once; null if not decidable", nullable=True)
    is_block = flag("Large by contracts or premium; null if not decidable", nullable=True)
    is_above_ask = flag("Price above the ask; null without a sound quote", nullable=True)
    is_below_bid = flag("Price below the bid; null without a sound quote", nullable=True)
    is_unusual_volume = flag("Day volume above open interest and 3 x its 20-session mean", nullable=True)
    cluster_id = text("Sweep or split the print belongs to", nullable=True)
    size_percentile_pct = number("Size among the underlying's prints of 20 prior sessions, 0-100", min=0, max=100)
    premium_percentile_pct = number("Premium among them, 0-100", min=0, max=100)
    opening_likelihood = number("Share of the print that open interest cannot explain, 0-1", min=0, max=1)
    exchange_id = count("The vendor's exchange id")
    condition_ids = dy.List(
        dy.Int32(nullable=False), nullable=False, metadata={"doc": "The vendor's condition ids as received"}
    )
    conditions_version = text("Version of the conditions reference that classified the row")
    source = one_of(SOURCES, "Where the row comes from")
    quality = one_of(QUALITIES, "suspect for an unknown condition or a correction")
    quality_flags = words("unknown_condition, correction, no_history")
    available_at = instant("The print; last print of its sweep + 50 ms; of its split + 2 s")
    ingested_at = instant("When the vendor's object that holds the row was published")
    revision = count("0 for the first version of the row", nullable=False)
    definition_version = text("Method and thresholds that produced the row")

    @dy.rule()
    def known_after_the_print(cls) -> pl.Expr:
        return pl.col("available_at") >= pl.col("sip_timestamp")

    @dy.rule()
    def tape_time_is_the_exact_one_truncated(cls) -> pl.Expr:
        return pl.col("sip_timestamp").dt.timestamp("us") == pl.col("sip_timestamp_ns") // 1000

    @dy.rule()
    def unknown_exactly_without_a_sign(cls) -> pl.Expr:
        return (pl.col("sentiment") == "UNKNOWN") == pl.col("aggressor_sign").is_null()

    @dy.rule()
    def excluded_prints_have_no_side(cls) -> pl.Expr:
        return (pl.col("exclusion_class") == "none") | pl.col("aggressor_sign").is_null()


OPTIONS_FLOW_HISTORY = Table(
    "options_flow_history",
    OptionsFlowHistorySchema,
    ("session",),
    ("contract_ticker", "sip_timestamp", "sequence"),
    "Every option print of the watched underlyings with its side, class and what it says about opening positions.",
)


class TradeConditionsSchema(dy.Schema):
    """Every version of the vendor's reference of trade conditions that has been in use, with what its words mean."""

    version = text("Digest of the reference's ids and names; stored with each print it classified", primary_key=True)
    condition_id = dy.Int64(
        nullable=False, min=0, primary_key=True, metadata={"doc": "The vendor's id as it stands on the tape"}
    )
    name = text("The vendor's words for it")
    meanings = words("What it makes of a print; empty for a regular one, unknown when the words say nothing")
    source = one_of(SOURCES, "Where the version comes from")
    ingested_at = instant("When this version was published last; the newest one is in use")


TRADE_CONDITIONS = Table(
    "trade_conditions",
    TradeConditionsSchema,
    (),
    ("version", "condition_id"),
    "The vendor's trade conditions of options, version by version.",
)


class OptionsFlowDailySchema(dy.Schema):
    """What a session's option prints add up to, kept when the prints themselves have expired."""

    symbol = text("Canonical underlying", primary_key=True)
    session = day("Exchange date (XNYS)", primary_key=True)
    trade_type = one_of(TRADE_TYPES, "Class of the prints", primary_key=True)
    prints = whole("Prints, count", nullable=False)
    contracts = whole("Contracts traded", nullable=False)
    premium_usd = number("Premium of all prints, $", nullable=False, min=0)
    bullish_premium_usd = number("Premium of calls bought and puts sold, $", nullable=False, min=0)
    bearish_premium_usd = number("Premium of puts bought and calls sold, $", nullable=False, min=0)
    neutral_premium_usd = number("Premium with a side of zero, $", nullable=False, min=0)
    unknown_premium_usd = number("Premium without a side, $", nullable=False, min=0)
    net_delta_usd = number("Sum of side x delta x size x multiplier x underlying, $; null when no print has all")
    source = one_of(SOURCES, "derived, or synthetic when every print is")
    quality = one_of(QUALITIES, "Worst quality among the prints")
    quality_flags = words("What is odd about the row")
    available_at = instant("When the last of the symbol's prints of the session was known")
    ingested_at = instant("Newest publication among the vendor's objects the row was made from")
    revision = count("0 for the first version of the row", nullable=False)
    definition_version = text("Method and thresholds that produced the row")

    @dy.rule()
    def sides_add_up(cls) -> pl.Expr:
        sides = pl.sum_horizontal(f"{side}_premium_usd" for side in ("bullish", "bearish", "neutral", "unknown"))
        return (sides - pl.col("premium_usd")).abs() <= 1e-9 * pl.col("premium_usd") + 1e-6


OPTIONS_FLOW_DAILY = Table(
    "options_flow_daily",
    OptionsFlowDailySchema,
    ("session",),
    ("symbol", "session", "trade_type"),
    "Option flow of each symbol and session by class, as a daily series.",
)


class OptionVolumeMinutesSchema(dy.Schema):
    """Option contracts traded so far, symbol by symbol and minute by minute of regular hours."""

    symbol = text("Canonical underlying; weekly roots are mapped, SPXW to SPX", primary_key=True)
    session = day("Exchange date (XNYS)")
    minute_end = instant("End of the minute up to which is counted", primary_key=True)
    call_volume = whole("Calls since the open with expiries within 7 calendar days, contracts", nullable=False)
    put_volume = whole("Puts since the open with expiries within 7 calendar days, contracts", nullable=False)
    total_volume = whole("Calls and puts of all expiries since the open, contracts", nullable=False)
    source = one_of(SOURCES, "Where the row comes from")
    quality = one_of(QUALITIES, "Provisional until it stands on final inputs")
    quality_flags = words("What is odd about the row")
    available_at = instant("When the minute's own bar is known")
    ingested_at = instant("Newest publication among the vendor's objects the row was made from")
    revision = count("0 for the first version of the row", nullable=False)
    definition_version = text("Method that produced the row")

    @dy.rule()
    def known_after_the_minute(cls) -> pl.Expr:
        return pl.col("available_at") >= pl.col("minute_end")

    @dy.rule()
    def near_expiries_are_part_of_all(cls) -> pl.Expr:
        return pl.col("call_volume") + pl.col("put_volume") <= pl.col("total_volume")


OPTION_VOLUME_MINUTES = Table(
    "option_volume_minutes",
    OptionVolumeMinutesSchema,
    ("session",),
    ("symbol", "minute_end"),
    "Option contracts traded so far in each minute of a session: near calls, near puts, and all of them.",
)


# Words of the market tables (quant_methods.md section 13), each scale from its lowest to its highest band.
VIX_REGIMES = ("EXTREMELY_LOW", "LOW", "NORMAL", "ELEVATED", "HIGH", "EXTREME")
BREADTH_REGIMES = ("EXTREMELY_BEARISH", "BEARISH", "NEUTRAL", "BULLISH", "EXTREMELY_BULLISH")
TICK_REGIMES = ("EXTREME_SELLING", "WEAK", "NEUTRAL", "STRONG", "EXTREME_BUYING")
PC_REGIMES = ("EXTREME_GREED", "GREED", "NEUTRAL", "FEAR", "EXTREME_FEAR")
VIX_TERM_STRUCTURES = ("STEEP_BACKWARDATION", "BACKWARDATION", "FLAT", "CONTANGO", "STEEP_CONTANGO")
CORRELATION_REGIMES = ("DIVERGING", "LOW", "NORMAL", "HIGH", "EXTREMELY_HIGH")
SECTOR_ROTATIONS = ("DEFENSIVE", "CYCLICAL", "GROWTH", "VALUE", "MIXED")


def _not_before_the_close(moment: str) -> pl.Expr:
    """Whether an instant lies at or after 13:00 New York, the earliest close there is, on the date `session`."""
    earliest = pl.col("session").cast(pl.Datetime("us")) + pl.duration(hours=13)
    return pl.col(moment) >= earliest.dt.replace_time_zone("America/New_York").dt.convert_time_zone("UTC")


class MarketBreadthSchema(dy.Schema):
    """Counts over the stocks and funds that traded in a session; null where no member could be judged."""

    session = dy.Date(nullable=False, primary_key=True, metadata={"doc": "Exchange date (XNYS)"})
    members = count("Symbols with a daily bar and a volume in the session, delisted since or not", nullable=False)
    advancers = count("Members whose close lies above their previous close")
    decliners = count("Members whose close lies below their previous close")
    unchanged = count("Members whose close equals their previous close")
    advance_decline_ratio = number("Advancers per decliner, ratio; null without decliners", min=0)
    advance_decline_diff = count("Advancers less decliners")
    members_year = count("Members with bars in at least 227 of the 252 prior sessions", nullable=False)
    new_highs = count("Those of members_year whose close lies above every close of the 252 prior sessions")
    new_lows = count("Those of members_year whose close lies below every close of the 252 prior sessions")
    high_low_ratio = number("New highs per new low, ratio; null without new lows", min=0)
    members_sma50 = count("Members with bars in at least 45 of the last 50 sessions", nullable=False)
    pct_above_sma50 = number("Share of members_sma50 that close above their mean of 50 sessions, 0-100", min=0, max=100)
    source = one_of(SOURCES, "derived, or synthetic when every bar is")
    quality = one_of(QUALITIES, "Worst quality among the session's bars")
    quality_flags = words("What is odd about the row; empty when nothing")
    available_at = instant("16:15 New York, or when the last of the session's bars was known if that is later")
    ingested_at = instant("Latest store time among the session's bars")
    revision = count("0 for the first version of the row", nullable=False)
    definition_version = text("Method that produced the row")

    @dy.rule()
    def every_member_is_counted_once_at_most(cls) -> pl.Expr:
        return pl.sum_horizontal("advancers", "decliners", "unchanged") <= pl.col("members")

    @dy.rule()
    def known_after_the_close(cls) -> pl.Expr:
        return _not_before_the_close("available_at")


MARKET_BREADTH = Table(
    "market_breadth",
    MarketBreadthSchema,
    ("session",),
    ("session",),
    "How many of the session's stocks and funds rose, fell, made 52-week highs or lows, and lie above their SMA50.",
)


class MarketRegimeHistorySchema(dy.Schema):
    """quant_methods.md section 16.6: the regime of each session, its inputs as used, and the bands around it."""

    session = dy.Date(nullable=False, primary_key=True, metadata={"doc": "Exchange date (XNYS)"})
    vix_close = number("VIX close, index points; null when it is missing, never 0", min_exclusive=0)
    vix_chg = number("Change of the VIX from the prior session, points")
    vix_chg_pct = number("Change of the VIX from the prior session, %")
    vix_percentile_pct = number("Mid-rank percentile of the VIX in the prior 252 sessions, 0-100", min=0, max=100)
    vix3m_close = number("Three-month VIX close, index points", min_exclusive=0)
    vix_term_ratio = number("VIX / VIX3M, ratio", min_exclusive=0)
    vix_front_month = number("Front VIX future, points", min_exclusive=0)
    vix_back_month = number("Second VIX future, points", min_exclusive=0)
    vix_term_spread = number("Second less front VIX future, points")
    tick_index = number("NYSE TICK, mean of the closing session, net issues")
    advancers = count("Members that rose")
    decliners = count("Members that fell")
    unchanged = count("Members that did neither")
    new_highs = count("Members at a 252-session closing high")
    new_lows = count("Members at a 252-session closing low")
    advance_decline_ratio = number("Advancers per decliner, ratio", min=0)
    high_low_ratio = number("New highs per new low, ratio", min=0)
    advance_decline_diff = count("Advancers less decliners")
    pct_above_sma50 = number("Share of members above their SMA50, 0-100 (input b)", min=0, max=100)
    spy_ndx_correlation = number("Correlation of daily returns over 20 sessions, -1 to 1", min=-1, max=1)
    spy_rut_correlation = number("Correlation of daily returns over 20 sessions, -1 to 1", min=-1, max=1)
    leading_sector = text("Sector with the highest return over 20 sessions", nullable=True)
    lagging_sector = text("Sector with the lowest return over 20 sessions", nullable=True)
    put_call_ratio_equity = number("Put per call volume of equity options, ratio", min=0)
    put_call_ratio_index = number("Put per call volume of index options, ratio", min=0)
    put_call_ratio_total = number("Put per call volume of all options, ratio", min=0)
    spy_close = number("SPY close, $", min_exclusive=0)
    ndx_close = number("Nasdaq-100 close, points (QQQ in $ where the index is missing)", min_exclusive=0)
    rut_close = number("Russell 2000 close, points (IWM in $ where the index is missing)", min_exclusive=0)
    spy_chg_pct = number("Change of SPY from the prior session, %")
    ndx_chg_pct = number("Change of the Nasdaq-100 from the prior session, %")
    rut_chg_pct = number("Change of the Russell 2000 from the prior session, %")
    spy_volume = number("SPY volume, shares", min=0)
    spy_volume_ratio = number("SPY volume against the mean of the 20 prior sessions, ratio", min=0)
    tau = number("(EMA20 - EMA50)/ATR14 of SPY daily bars, ATR")
    adx = number("ADX14 of SPY daily bars, 0-100", min=0, max=100.0000001)
    adx_min5 = number("Lowest ADX14 of the five prior sessions, 0-100", min=0, max=100.0000001)
    slope20 = number("OLS slope of 100 ln close over 20 sessions, % per session")
    z1 = number("Return against the standard deviation of the 20 prior returns, sd")
    dhi = number("(Close - high of the 20 prior sessions)/ATR14, ATR")
    dlo = number("(Close - low of the 20 prior sessions)/ATR14, ATR")
    dd60 = number("Close against the highest close of 60 sessions, %", max=0)
    rsi14 = number("RSI14 of SPY daily bars, 0-100", min=0, max=100.0000001)
    pc = number("Mid-rank percentile of the total put/call ratio in the prior 252 sessions, 0-100", min=0, max=100)
    vix_regime = one_of(VIX_REGIMES, "Band of the VIX", nullable=True)
    vix_term_structure = one_of(VIX_TERM_STRUCTURES, "Band of (back - front)/front of the VIX futures", nullable=True)
    tick_regime = one_of(TICK_REGIMES, "Band of the TICK", nullable=True)
    breadth_regime = one_of(BREADTH_REGIMES, "Band of the advance-decline ratio", nullable=True)
    correlation_regime = one_of(CORRELATION_REGIMES, "Band of the SPY-NDX correlation", nullable=True)
    sector_rotation = one_of(SECTOR_ROTATIONS, "Group of sectors that leads by 0.5 points or more", nullable=True)
    pc_regime = one_of(PC_REGIMES, "Band of the total put/call ratio", nullable=True)
    market_regime = one_of(MARKET_REGIMES, "Label of the session; null only if tau is missing", nullable=True)
    rule_fired = dy.Int32(nullable=True, min=1, max=11, metadata={"doc": "Rule that decided, on the session's inputs"})
    confidence = number("Share of inputs present x (0.5 + 0.5 margin), 0-1", min=0, max=1)
    inputs_missing = words("Those of the 14 inputs that are null; rules that need them were skipped")
    source = one_of(SOURCES, "Where the row comes from")
    quality = one_of(QUALITIES, "Worst quality among the session's inputs")
    quality_flags = words("What is odd about the row; empty when nothing")
    available_at = instant("16:15 New York or when the last input was known; used from the next session's open")
    ingested_at = instant("Latest store time among the session's inputs")
    revision = count("0 for the first version of the row", nullable=False)
    definition_version = text("Method, thresholds and hysteresis that produced the row")

    @dy.rule()
    def a_label_has_a_rule_and_a_confidence(cls) -> pl.Expr:
        labelled = pl.col("market_regime").is_not_null()
        return (labelled == pl.col("rule_fired").is_not_null()) & (labelled == pl.col("confidence").is_not_null())

    @dy.rule()
    def only_a_missing_trend_leaves_no_label(cls) -> pl.Expr:
        return pl.col("market_regime").is_not_null() == pl.col("tau").is_not_null()

    @dy.rule()
    def known_after_the_close(cls) -> pl.Expr:
        return _not_before_the_close("available_at")


MARKET_REGIME_HISTORY = Table(
    "market_regime_history",
    MarketRegimeHistorySchema,
    ("session",),
    ("session",),
    "Which of eleven regimes the market is in after each close, how sure that is, and every input as used.",
)


# Words of the gamma exposure table (quant_methods.md sections 9, 16.4), in the order of the specification.
SIGN_CONVENTIONS = ("A", "B", "C")
GAMMA_STATUSES = ("ok", "insufficient", "stale", "missing_input")
FLIP_STATUSES = ("ok", "no_crossing", "insufficient")
DEALER_POSITIONINGS = ("LONG_GAMMA", "SHORT_GAMMA", "NEUTRAL")
POSITIONING_STRENGTHS = ("WEAK", "MODERATE", "STRONG", "EXTREME")
EXPECTED_BEHAVIORS = ("PINNING", "RANGE_BOUND", "VOLATILE", "TRENDING", "UNDETERMINED")


def numbers(doc: str, *, nullable: bool = True) -> dy.List:
    """A list of numbers without NaN or infinity."""
    inner = dy.Float64(nullable=False, allow_inf=False, allow_nan=False)
    return dy.List(inner, nullable=nullable, metadata={"doc": doc})


def by_strike(doc: str) -> dy.List:
    """A list of [strike, call, put], sorted by strike; typed here, JSON arrays of the same shape where it is served."""
    inner = dy.Float64(nullable=False, allow_inf=False, allow_nan=False)
    return dy.List(
        dy.List(inner, nullable=False, min_length=3, max_length=3), nullable=False, metadata={"doc": doc}
    )  # fmt: skip


class GammaExposureSnapshotsSchema(dy.Schema):
    """quant_methods.md section 16.4 with the columns common to all history tables.

    Where the status is `insufficient` the numbers are those of the part that could be priced. Convention C has a row
    only when the flow of five sessions is known. `underlying_price` is null where nothing about it was known.
    """

    symbol = text("Canonical underlying", primary_key=True)
    snapshot_at = instant("Instant of the session's 15-minute grid", primary_key=True)
    sign_convention = one_of(
        SIGN_CONVENTIONS, "A calls long puts short, B all short, C signed by flow", primary_key=True
    )
    session = day("Exchange date (XNYS)")
    underlying_price = number("Underlying as of the snapshot, $; null when unknown", min_exclusive=0)
    status = one_of(
        GAMMA_STATUSES, "insufficient: under 80 % of the open interest priced; stale: open interest too old"
    )
    gex_usd_per_1pct = number("Net dealer gamma, $ of delta per 1 % move")
    call_gex_usd_per_1pct = number("Part of the calls, signed, $ per 1 %")
    put_gex_usd_per_1pct = number("Part of the puts, signed, $ per 1 %")
    gross_gex_usd_per_1pct = number("Sum of absolute contributions under A, $ per 1 %", min=0)
    gex_shares_per_1usd = number("Net dealer gamma, shares per $1 move")
    gex_0dte_usd_per_1pct = number("Part of the contracts that end this session, $ per 1 %")
    gex_ex0dte_usd_per_1pct = number("Part of all others, $ per 1 %")
    net_gex_ratio = number("Net over gross", min=-1.000000001, max=1.000000001)
    gex_gross_adv_pct = number("Gross as % of the 20-session average dollar volume", min=0)
    gex_percentile_pct = number("Percentile of net among the closing values of 252 sessions, 0-100", min=0, max=100)
    call_put_gamma_ratio = number("Absolute call part over absolute put part", min=0)
    vanna_usd_per_pt = number("$ of delta per volatility point")
    charm_usd_per_day = number("$ of delta per calendar day")
    gamma_flip = number("Root of G(x) nearest to the underlying, $", min_exclusive=0)
    gamma_flip_roots = numbers("All roots of G(x) within 20 % of the underlying, $, rising")
    gamma_flip_slope = number("|G(1.01 F) - G(0.99 F)| over gross(F), ratio", min=0)
    flip_status = one_of(FLIP_STATUSES, "insufficient: under 80 % of the open interest can be re-priced")
    call_wall = number("Strike of the largest call gamma under A, $; null below 5 % of gross", min_exclusive=0)
    put_wall = number("Strike of the largest put gamma under A, $; null below 5 % of gross", min_exclusive=0)
    max_gamma_strike = number("Strike of the largest gross gamma, $", min_exclusive=0)
    call_wall_gex_usd = number("Size of the call gamma at its wall, $ per 1 %", min=0)
    put_wall_gex_usd = number("Size of the put gamma at its wall, $ per 1 %", min=0)
    distance_to_call_wall_pct = number("(Wall - S)/S, % of the underlying, signed")
    distance_to_put_wall_pct = number("(Wall - S)/S, % of the underlying, signed")
    max_pain = dy.List(
        dy.Struct(
            {
                "expiration": dy.Date(nullable=False),
                "strike": dy.Float64(nullable=False, allow_inf=False, allow_nan=False),
            },
            nullable=False,
        ),
        nullable=True,
        metadata={"doc": "Max pain of each expiry with open interest, $, rising by expiry"},
    )
    total_call_oi = whole("Open calls, contracts")
    total_put_oi = whole("Open puts, contracts")
    total_call_volume = whole("Calls traded this session, contracts")
    total_put_volume = whole("Puts traded this session, contracts")
    put_call_oi_ratio = number("Open puts over open calls", min=0)
    put_call_volume_ratio = number("Puts over calls traded", min=0)
    max_call_oi_strike = number("Strike with most open calls, $", min_exclusive=0)
    max_put_oi_strike = number("Strike with most open puts, $", min_exclusive=0)
    max_call_volume_strike = number("Strike with most calls traded, $", min_exclusive=0)
    max_put_volume_strike = number("Strike with most puts traded, $", min_exclusive=0)
    gex_by_strike = by_strike("[strike, call, put], $ per 1 %, signed by the row's convention")
    oi_by_strike = by_strike("[strike, call, put], contracts")
    volume_by_strike = by_strike("[strike, call, put], contracts")
    dealer_positioning = one_of(DEALER_POSITIONINGS, "Sign of net over gross beyond 0.10", nullable=True)
    positioning_strength = one_of(POSITIONING_STRENGTHS, "Size of net over gross; null when neutral", nullable=True)
    expected_behavior = one_of(EXPECTED_BEHAVIORS, "What the positioning is expected to do to prices", nullable=True)
    agreement = flag("Positioning is the same under A and C; null without C", nullable=True)
    expiration_focus = day("Expiry with most open interest", nullable=True)
    expirations_included = dy.List(
        dy.Date(nullable=False), nullable=False, metadata={"doc": "Expiries that had not ended, rising"}
    )
    oi_session = day("Session that the open interest describes")
    contracts_used = dy.Int32(nullable=False, min=0, metadata={"doc": "Contracts with gamma and open interest"})
    oi_coverage_pct = number("Share of the open interest that has a gamma, 0-100", nullable=False, min=0, max=100)
    source = one_of(SOURCES, "Source of the chain; derived when it has several")
    quality = one_of(QUALITIES, "Worst quality of the chain's rows")
    quality_flags = words("percentile_short_history with 126 to 201 closing values")
    available_at = instant("First moment everything in the row could be known")
    ingested_at = instant("Newest publication among what the chain was made from")
    revision = count("0 for the first version of the row", nullable=False)
    definition_version = text("Method that produced the row")

    @dy.rule()
    def open_interest_is_of_an_earlier_session(cls) -> pl.Expr:
        return pl.col("oi_session") < pl.col("session")

    @dy.rule()
    def known_after_the_snapshot(cls) -> pl.Expr:
        return pl.col("available_at") >= pl.col("snapshot_at")

    @dy.rule()
    def parts_by_expiry_sum_to_the_net(cls) -> pl.Expr:
        parts = pl.col("gex_0dte_usd_per_1pct") + pl.col("gex_ex0dte_usd_per_1pct")
        return (parts - pl.col("gex_usd_per_1pct")).abs() <= 1e-9 * pl.col("gross_gex_usd_per_1pct")

    @dy.rule()
    def flip_exactly_when_the_status_says_so(cls) -> pl.Expr:
        return pl.col("gamma_flip").is_not_null() == (pl.col("flip_status") == "ok")


GAMMA_EXPOSURE_SNAPSHOTS = Table(
    "gamma_exposure_snapshots",
    GammaExposureSnapshotsSchema,
    ("session",),
    ("symbol", "snapshot_at", "sign_convention"),
    "Where dealers' gamma sits, where it flips, walls and max pain, under three sign conventions, every 15 minutes.",
    row_group_rows=1_024,
)


# Words of the context scores (context_engines.md section 1). The engines in the order in which a waterfall shows them.
ENGINES = ("iv", "gamma", "mtf", "flow", "regime")
CONTEXT_STATUSES = ("ok", "stale", "missing")
CONTRIBUTION_TOLERANCE = 1e-12


class ContextScoresSchema(dy.Schema):
    """What one engine says about one request: a multiplier, how sure it is, and why (context_engines.md section 1).

    A request is (symbol, as_of, direction, style, momentum). The effective multiplier is multiplier ** confidence.
    """

    symbol = text("Canonical symbol", primary_key=True)
    as_of = instant("Moment of the decision; nothing known later was read", primary_key=True)
    direction = one_of(DIRECTIONS, "Side of the trade asked about", primary_key=True)
    style = one_of(STYLES, "Style of the trade asked about", primary_key=True)
    momentum = dy.Bool(
        nullable=False, primary_key=True, metadata={"doc": "The detector trades momentum, which counts in a range"}
    )
    engine = one_of(ENGINES, "Engine that answers", primary_key=True)
    session = day("Exchange date of as_of, the last one before when that is no session")
    status = one_of(CONTEXT_STATUSES, "stale and missing are exactly neutral")
    reason = text("Why the answer is neutral, one word; null when it is not", nullable=True)
    label = text("What the engine sees; null unless ok", nullable=True)
    recommendation = text("What follows from it; null where nothing does", nullable=True)
    multiplier = number("Multiplier before confidence, 1 = neutral", nullable=False, min_exclusive=0)
    confidence = number("How much of the multiplier counts, 0-1; 0 unless ok", nullable=False, min=0, max=1)
    contribution_ln = number("confidence x ln(multiplier), what the waterfall shows", nullable=False)
    age_min = number("Regular-hours minutes from what the row used describes to as_of; null without one", min=0)
    inputs_missing = words("Inputs that were null and were done without")
    source_key = text("Table and key of the row that was used; null without one", nullable=True)
    available_at = instant("First moment the answer could be known: as_of")
    definition_version = text("Version of the engine and its configuration")

    @dy.rule()
    def neutral_unless_ok(cls) -> pl.Expr:
        neutral = (pl.col("multiplier") == 1.0) & (pl.col("contribution_ln") == 0.0) & (pl.col("confidence") == 0.0)
        return (pl.col("status") == "ok") | neutral

    @dy.rule()
    def reason_exactly_unless_ok(cls) -> pl.Expr:
        return (pl.col("status") == "ok") == pl.col("reason").is_null()

    @dy.rule()
    def label_exactly_when_ok(cls) -> pl.Expr:
        return (pl.col("status") == "ok") == pl.col("label").is_not_null()

    @dy.rule()
    def contribution_is_confidence_times_log_multiplier(cls) -> pl.Expr:
        expected = pl.col("confidence") * pl.col("multiplier").log()
        return (pl.col("contribution_ln") - expected).abs() <= CONTRIBUTION_TOLERANCE

    @dy.rule()
    def known_at_the_decision(cls) -> pl.Expr:
        return pl.col("available_at") == pl.col("as_of")


CONTEXT_SCORES = Table(
    "context_scores",
    ContextScoresSchema,
    ("session",),
    ("symbol", "as_of", "direction", "style", "momentum", "engine"),
    "What the five context engines say about each request: multiplier, confidence, status and source, point in time.",
)


# Words of the composite signals (detectors.md section 7.6, context_engines.md section 8), in the order of the
# specification: a signal's reason is the first of its steps that failed.
DECISIONS = ("accepted", "rejected")
REJECT_REASONS = (
    "filter_session", "filter_liquidity", "filter_spread", "filter_blacklist", "confidence_low", "vix_disabled",
    "regime_block", "category_disabled", "base_below_min", "style_below_min", "rr_missing", "rr_below_min", "outranked",
    "cooldown", "hourly_limit",
)  # fmt: skip
RISK_BASES = ("level", "atr", "pin")
SUM_TOLERANCE = 1e-9
# Scores and ratios are compared with thresholds at so many decimals (detectors.md section 1).
SCORE_DECIMALS = 9


def records(doc: str, *, nullable: bool = False, **fields: dy.Column) -> dy.List:
    """A list of records with named fields."""
    return dy.List(dy.Struct(fields, nullable=False), nullable=nullable, metadata={"doc": doc})


def _score(doc: str) -> dy.Float64:
    return number(f"{doc}, 0-100; null without a waterfall", min=0, max=100)


class CompositeSignalsSchema(dy.Schema):
    """detectors.md section 7.6: every firing with what it was worth, what it had to reach and what became of it.

    Beyond that section: the style scores before their clamp, which decide between signals at 100, and the version of
    the thresholds.
    """

    signal_id = text("Hash of symbol, detector, timeframe, bar_end and definition_version")
    symbol = text("Canonical symbol", primary_key=True)
    asset_class = one_of(("INDEX", "EQUITY_ETF", "STOCK"), "Class of the symbol")
    detector = text("Detector that fired", primary_key=True)
    family = text("Family of the detector")
    timeframe = one_of(TIMEFRAMES, "Timeframe of the bar it fired on", primary_key=True)
    definition_version = text("Version of the detector's definition", primary_key=True)
    direction = one_of(DIRECTIONS, "Side of the trade")
    session = day("Exchange date (XNYS)")
    bar_end = instant("End of the bar, the moment the signal is about", primary_key=True)
    available_at = instant("First moment everything in the row could be known")
    expires_at = instant("From here on the signal is expired; null without a style", nullable=True)
    base_score = number("Weighted sum of the detector's factors, 0-100", nullable=False, min=0, max=100)
    scalp_score = _score("Final score as a scalp")
    day_score = _score("Final score as a day trade")
    swing_score = _score("Final score as a swing trade")
    scalp_unclamped = number("Score as a scalp before the clamp to 0-100", min=0)
    day_unclamped = number("Score as a day trade before the clamp", min=0)
    swing_unclamped = number("Score as a swing trade before the clamp", min=0)
    recommended_style = one_of(STYLES, "Style with the highest final score; null without a waterfall", nullable=True)
    recommended_score = _score("Final score of the recommended style")
    factors = records(
        "The detector's factors: weights sum to 1, values 0-100",
        name=dy.String(nullable=False),
        weight=dy.Float64(nullable=False),
        value=dy.Float64(nullable=False),
    )
    style_modifier_scalp = number("Style modifier of a scalp, 0.5-1.5", nullable=False, min=0.5, max=1.5)
    style_modifier_day = number("Style modifier of a day trade, 0.5-1.5", nullable=False, min=0.5, max=1.5)
    style_modifier_swing = number("Style modifier of a swing trade, 0.5-1.5", nullable=False, min=0.5, max=1.5)
    style_modifier_scalp_raw = number("The same before its clamp, ratio", nullable=False, min_exclusive=0)
    style_modifier_day_raw = number("The same before its clamp, ratio", nullable=False, min_exclusive=0)
    style_modifier_swing_raw = number("The same before its clamp, ratio", nullable=False, min_exclusive=0)
    context = records(
        "What each context engine said of the recommended style; empty without a waterfall",
        engine=dy.String(nullable=False),
        status=dy.String(nullable=False),
        label=dy.String(nullable=True),
        multiplier=dy.Float64(nullable=False),
        confidence=dy.Float64(nullable=False),
        contribution_ln=dy.Float64(nullable=False),
        age_min=dy.Float64(nullable=True),
    )
    waterfall = records(
        "Contributions of every style, which sum to ln(final/base); null where base is 0 or confidence too low",
        nullable=True,
        style=dy.String(nullable=False),
        item=dy.String(nullable=False),
        contribution_ln=dy.Float64(nullable=False),
    )
    clamped = flag("The recommended score met a bound; null without a waterfall", nullable=True)
    data_confidence = number("Trust in the inputs, 0-100", nullable=False, min=0, max=100)
    completeness = number("Weight of the known inputs among those that apply, 0-100", nullable=False, min=0, max=100)
    window = one_of(TIME_WINDOWS, "Window of bar_end in its session (detectors.md section 7.1)")
    vix_tier = one_of(VIX_TIERS, "Band of the VIX; null when unknown", nullable=True)
    trend_state = one_of(TREND_STATES, "Intraday trend (detectors.md section 2.1); null when unknown", nullable=True)
    market_regime = one_of(MARKET_REGIMES, "Regime label of the previous close; null when unknown", nullable=True)
    base_min = number("Base score it had to reach, 0-100 and beyond", nullable=False, min=0)
    style_min = number("Final style score it had to reach, 0-100 and beyond", nullable=False, min=0)
    rr_min = number("Ratio of reward to risk it had to reach", nullable=False, min=0)
    size_multiplier = number("Share of the usual position size, ratio", nullable=False, min=0)
    entry_ref = number("Close at bar_end, $; fills belong to the simulator", nullable=False)
    stop_price = number("Stop, $; null without an ATR of the style")
    target_1 = number("First target, $; null as the stop")
    target_2 = number("Second target, the one the ratio is of, $; null as the stop")
    target_3 = number("Third target, $; null as the stop")
    atr_used = number("ATR of the recommended style, $; null when missing or 0", min_exclusive=0)
    risk_reward = number("Distance to target_2 over distance to the stop, ratio", min=0)
    reward_basis = one_of(RISK_BASES, "What decided the reward; null as the stop", nullable=True)
    risk_basis = one_of(RISK_BASES, "What decided the risk; null as the stop", nullable=True)
    decision = one_of(DECISIONS, "Whether the signal was emitted")
    reject_reason = one_of(REJECT_REASONS, "First step that failed; null when accepted", nullable=True)
    inputs_missing = words("Inputs that were unknown, and filters that could not be applied")
    rules_version = text("Version of the thresholds")
    run_id = text("Hash of thresholds, code and data version")
    data_version = text("Hash of the data the session's signals follow from")

    @dy.rule()
    def accepted_exactly_without_a_reason(cls) -> pl.Expr:
        return (pl.col("decision") == "accepted") == pl.col("reject_reason").is_null()

    @dy.rule()
    def contributions_sum_to_the_score(cls) -> pl.Expr:
        return pl.all_horizontal(_contributions_sum_up(style) for style in STYLES)

    @dy.rule()
    def scores_exactly_with_a_waterfall(cls) -> pl.Expr:
        scored = ("recommended_style", "recommended_score", *(f"{style}_score" for style in STYLES))
        there = pl.col("waterfall").is_not_null()
        return pl.all_horizontal(pl.col(name).is_not_null() == there for name in scored)

    @dy.rule()
    def recommended_score_is_that_of_its_style(cls) -> pl.Expr:
        return pl.coalesce(
            pl.when(pl.col("recommended_style") == style).then(pl.col(f"{style}_score")) for style in STYLES
        ) == pl.col("recommended_score")

    @dy.rule()
    def accepted_signals_reach_their_thresholds(cls) -> pl.Expr:
        reached = pl.all_horizontal(
            pl.col(value).round(SCORE_DECIMALS) >= pl.col(least)
            for value, least in (
                ("base_score", "base_min"),
                ("recommended_score", "style_min"),
                ("risk_reward", "rr_min"),
            )
        )
        return (pl.col("decision") == "rejected") | reached.fill_null(value=False)

    @dy.rule()
    def stop_and_targets_lie_on_their_sides(cls) -> pl.Expr:
        sign = pl.when(pl.col("direction") == "LONG").then(1.0).otherwise(-1.0)
        entry = pl.col("entry_ref")
        return (sign * (entry - pl.col("stop_price")) > 0) & (sign * (pl.col("target_2") - entry) >= 0)

    @dy.rule()
    def lives_after_its_bar(cls) -> pl.Expr:
        return pl.col("expires_at") > pl.col("bar_end")

    @dy.rule()
    def known_after_its_bar(cls) -> pl.Expr:
        return pl.col("available_at") >= pl.col("bar_end")


def _contributions_sum_up(style: str) -> pl.Expr:
    """Whether the waterfall of one style sums to ln(final/base); null, which counts as kept, without a waterfall."""
    entry = pl.element().struct
    of_style = pl.when(entry.field("style") == style).then(entry.field("contribution_ln")).otherwise(0.0)
    total = pl.col("waterfall").list.eval(of_style).list.sum()
    return (total - (pl.col(f"{style}_score") / pl.col("base_score")).log()).abs() <= SUM_TOLERANCE


COMPOSITE_SIGNALS = Table(
    "composite_signals",
    CompositeSignalsSchema,
    ("session",),
    ("bar_end", "symbol", "detector", "timeframe", "definition_version"),
    "Every firing of a detector with its scores, waterfall, thresholds, stop and targets, and why it was or was not "
    "emitted.",
    row_group_rows=1_024,
)
