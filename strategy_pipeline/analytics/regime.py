"""The market's regime after each close: fourteen inputs, an ordered decision list of eleven labels, and bands.

Inputs and bands: quant_methods.md section 13; rules and confidence: context_engines.md section 6. What a regime means
for a signal is an engine's business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import NamedTuple

import numpy as np
import polars as pl

from strategy_pipeline.analytics.bar_filter import continuous_bars
from strategy_pipeline.analytics.indicators import (
    WARM_UP_BARS,
    adx14,
    atr14,
    ema,
    highest_before,
    lowest_before,
    rsi14,
    served,
)
from strategy_pipeline.analytics.lookback import lookback_start
from strategy_pipeline.lake.asof import as_of
from strategy_pipeline.lake.tables import (
    BREADTH_REGIMES,
    CORRELATION_REGIMES,
    MARKET_REGIME_HISTORY,
    MARKET_REGIMES,
    PC_REGIMES,
    QUALITIES,
    SECTOR_ROTATIONS,
    TICK_REGIMES,
    VIX_REGIMES,
    VIX_TERM_STRUCTURES,
)
from strategy_pipeline.market import calendar

DEFINITION_VERSION = "regime-1/thresholds-1"
# When breadth and the VIX of a session are known, on half days too (quant_methods.md section 1).
KNOWN_TIME = time(16, 15)
INPUTS = (
    "tau", "adx", "adx_min5", "slope20", "z1", "dhi", "dlo", "b", "vix", "p_vix", "vix_ratio", "dd60", "rsi14", "pc",
)  # fmt: skip

# Half width in which a condition grows from just met to certain (context_engines.md section 6, column h).
MARGIN_SCALE = {
    "tau": 0.5, "adx": 10.0, "adx_min5": 10.0, "slope20": 0.1, "z1": 1.0, "dhi": 0.5, "dlo": 0.5, "b": 20.0,
    "vix": 5.0, "p_vix": 10.0, "vix_ratio": 0.05, "dd60": 5.0, "rsi14": 10.0, "pc": 5.0,
}  # fmt: skip
NO_TREND_TAU = 0.1

YEAR_SESSIONS = 252
# Fewer values than this in a year are no basis for a percentile (quant_methods.md section 7).
LEAST_YEAR_VALUES = 126
CORRELATION_SESSIONS = RETURN_SESSIONS = 20
EMA20_WARM_UP_BARS = 90
ROTATION_LEAD_PCT = 0.5

# Where an index is not in the lake, the fund that tracks it stands in and the row says so.
NDX_SYMBOLS, RUT_SYMBOLS = ("NDX", "QQQ"), ("RUT", "IWM")
SECTOR_FUNDS = {
    "XLP": "staples", "XLU": "utilities", "XLV": "health", "XLRE": "real_estate", "XLI": "industrials",
    "XLY": "discretionary", "XLB": "materials", "XLK": "technology", "XLC": "communication", "XLF": "financials",
    "XLE": "energy",
}  # fmt: skip
SECTOR_GROUPS = {
    "DEFENSIVE": ("staples", "utilities", "health", "real_estate"),
    "CYCLICAL": ("industrials", "discretionary", "materials"),
    "GROWTH": ("technology", "communication"),
    "VALUE": ("financials", "energy"),
}
# Closing values that no bar holds; a caller who has them hands them over as columns of one frame.
CLOSING_VALUES = (
    "vix_front_month", "vix_back_month", "tick_index", "put_call_ratio_equity", "put_call_ratio_index",
    "put_call_ratio_total",
)  # fmt: skip
BREADTH_COLUMNS = (
    "advancers", "decliners", "unchanged", "new_highs", "new_lows", "advance_decline_ratio", "high_low_ratio",
    "advance_decline_diff", "pct_above_sma50",
)  # fmt: skip
# Every symbol whose daily bars the regime reads.
REGIME_SYMBOLS = ("SPY", "VIX", "VIX3M", *NDX_SYMBOLS, *RUT_SYMBOLS, *SECTOR_FUNDS)


class Condition(NamedTuple):
    """One comparison of an input with a threshold; `sign` is +1 for above and -1 for below."""

    name: str
    sign: int
    threshold: float
    or_equal: bool

    @property
    def holds(self) -> pl.Expr:
        """Whether it is met; false when the input is missing."""
        value = pl.col(self.name)
        if self.sign > 0:
            met = value >= self.threshold if self.or_equal else value > self.threshold
        else:
            met = value <= self.threshold if self.or_equal else value < self.threshold
        return met.fill_null(False)

    @property
    def margin(self) -> pl.Expr:
        """How far inside it lies, 0-1."""
        distance = (pl.col(self.name) - self.threshold).abs() / MARGIN_SCALE[self.name]
        return pl.min_horizontal(distance, pl.lit(1.0))


def _over(name: str, threshold: float) -> Condition:
    return Condition(name, 1, threshold, False)


def _at_least(name: str, threshold: float) -> Condition:
    return Condition(name, 1, threshold, True)


def _under(name: str, threshold: float) -> Condition:
    return Condition(name, -1, threshold, False)


def _at_most(name: str, threshold: float) -> Condition:
    return Condition(name, -1, threshold, True)


# Rules 1 to 10 in order; each is a conjunction whose members are alternatives. Rule 11, RANGE_BOUND, is the rest.
RULES: tuple[tuple[tuple[Condition, ...], ...], ...] = (
    ((_at_least("vix", 40), _at_least("p_vix", 98)), (_over("vix_ratio", 1.05),), (_at_most("b", 15),),
     (_at_most("dd60", -10),)),
    ((_at_most("p_vix", 10),), (_at_least("b", 85),), (_at_least("rsi14", 75),), (_at_most("pc", 5),)),
    ((_under("dlo", 0),), (_at_most("z1", -1.5),), (_under("adx_min5", 20),)),
    ((_over("dhi", 0),), (_at_least("z1", 1.5),), (_under("adx_min5", 20),)),
    ((_at_most("tau", -1),), (_at_least("adx", 25),), (_under("b", 40),)),
    ((_at_least("tau", 1),), (_at_least("adx", 25),), (_over("b", 60),)),
    ((_at_most("tau", -0.3),), (_under("slope20", 0),), (_at_least("adx", 18),)),
    ((_at_least("tau", 0.3),), (_over("slope20", 0),), (_at_least("adx", 18),)),
    ((_under("tau", -NO_TREND_TAU),),),
    ((_over("tau", NO_TREND_TAU),),),
)  # fmt: skip


@dataclass(frozen=True)
class RegimeConfig:
    """`hysteresis_sessions`: a label is taken over once it has come up in that many sessions running; 1 is off."""

    hysteresis_sessions: int = 1

    @property
    def definition_version(self) -> str:
        """What the rows record."""
        held = self.hysteresis_sessions
        return DEFINITION_VERSION if held == 1 else f"{DEFINITION_VERSION}/hysteresis-{held}"


def decide(inputs: pl.DataFrame) -> pl.DataFrame:
    """Label, rule, margin, confidence and missing inputs of every row, by the ordered decision list.

    `inputs` has the fourteen columns of INPUTS, Float64, null where unknown. Returns market_regime, rule_fired (1-11),
    margin and confidence (0-1), inputs_missing; the first four are null where tau is. Rows stand for themselves.
    Source: context_engines.md section 6.
    """
    fired = [
        pl.all_horizontal(pl.any_horizontal(one.holds for one in alternatives) for alternatives in rule)
        for rule in RULES
    ]
    margins = [
        pl.min_horizontal(
            # The better of the sides that are met: one that is far from being met says nothing.
            pl.max_horizontal(pl.when(one.holds).then(one.margin) for one in alternatives)
            for alternatives in rule
        )
        for rule in RULES
    ]
    number, margin = pl.lit(len(RULES) + 1), (NO_TREND_TAU - pl.col("tau").abs()) / NO_TREND_TAU
    for at in reversed(range(len(RULES))):
        number = pl.when(fired[at]).then(at + 1).otherwise(number)
        margin = pl.when(fired[at]).then(margins[at]).otherwise(margin)
    known = pl.col("tau").is_not_null()
    missing = pl.concat_list(pl.when(pl.col(name).is_null()).then(pl.lit(name)) for name in INPUTS).list.drop_nulls()
    decided = inputs.select(
        rule_fired=pl.when(known).then(number).cast(pl.Int32),
        margin=pl.when(known).then(margin),
        inputs_missing=missing,
    )
    present = (len(INPUTS) - pl.col("inputs_missing").list.len().cast(pl.Float64)) / len(INPUTS)
    label = pl.col("rule_fired").replace_strict(
        list(range(1, len(MARKET_REGIMES) + 1)), list(MARKET_REGIMES), return_dtype=pl.Enum(MARKET_REGIMES)
    )
    return decided.select(
        market_regime=label,
        rule_fired="rule_fired",
        margin="margin",
        confidence=present * (0.5 + 0.5 * pl.col("margin")),
        inputs_missing="inputs_missing",
    )


def held_labels(labels: Sequence[str | None], sessions: int) -> list[str | None]:
    """`labels` where a new one counts once it has come up `sessions` times running; a missing one stays missing."""
    held: str | None = None
    run: list[str | None] = []
    result: list[str | None] = []
    for label in labels:
        if label is None:
            result.append(None)
            continue
        run = [*run, label] if run and run[-1] == label else [label]
        if held is None or len(run) >= sessions:
            held = label
        result.append(held)
    return result


def market_regime(
    spy_daily: pl.DataFrame,
    vix_daily: pl.DataFrame,
    breadth: pl.DataFrame,
    *,
    vix3m_daily: pl.DataFrame | None = None,
    ndx_daily: pl.DataFrame | None = None,
    rut_daily: pl.DataFrame | None = None,
    sectors_daily: Mapping[str, pl.DataFrame] | None = None,
    closing_values: pl.DataFrame | None = None,
    config: RegimeConfig | None = None,
) -> pl.DataFrame:
    """Rows of ``market_regime_history``, one for each row of `spy_daily`; a row depends on it and earlier ones only.

    spy_daily: result of ``continuous_bars`` for one symbol, or any daily bars in order with session, open, high, low,
        close, volume, available_at and, if its series has breaks, series_id and bar_number.
    Other daily frames: session, close, available_at; `sectors_daily` by the sector's name (values of SECTOR_FUNDS).
    breadth: rows of ``market_breadth``. closing_values: session, available_at and any columns of CLOSING_VALUES.
    Frames may also hold ingested_at and quality. A value counts for its own session if it was known before the next
    session opens; what is missing is null, listed in `inputs_missing`, and never 0.
    """
    config = config or RegimeConfig()
    frame = _spy_inputs(spy_daily)
    frame = _closing(frame, vix_daily, {"close": "vix_close"})
    frame = _closing(frame, vix3m_daily, {"close": "vix3m_close"})
    frame = _closing(frame, ndx_daily, {"close": "ndx_close"})
    frame = _closing(frame, rut_daily, {"close": "rut_close"})
    frame = _closing(frame, breadth, {name: name for name in BREADTH_COLUMNS})
    frame = _closing(frame, closing_values, {name: name for name in CLOSING_VALUES})
    frame = _rotation(frame, sectors_daily or {})
    frame = _derived(frame).with_columns(b="pct_above_sma50", vix="vix_close", p_vix="vix_percentile_pct")
    frame = frame.with_columns(vix_ratio="vix_term_ratio")
    frame = pl.concat([frame, decide(frame.select(pl.col(INPUTS).cast(pl.Float64)))], how="horizontal")
    if config.hysteresis_sessions > 1:
        raw = frame["market_regime"]
        held = held_labels(raw.cast(pl.String).to_list(), config.hysteresis_sessions)
        frame = frame.with_columns(pl.Series("market_regime", held, dtype=raw.dtype))
    return frame.with_columns(
        *_bands(),
        source=pl.lit("derived"),
        revision=pl.lit(0, dtype=pl.Int32),
        definition_version=pl.lit(config.definition_version),
    ).select(pl.col(name).cast(kind) for name, kind in MARKET_REGIME_HISTORY.polars_schema.items())


def regime_history(
    bars: pl.DataFrame,
    actions: pl.DataFrame,
    breadth: pl.DataFrame,
    sessions: Sequence[date],
    *,
    closing_values: pl.DataFrame | None = None,
    config: RegimeConfig | None = None,
) -> pl.DataFrame:
    """Rows of ``market_regime_history`` for `sessions`, the same whichever sessions are asked for together.

    bars: daily rows of ``historical_bars`` of REGIME_SYMBOLS (others are passed over) from ``history_start`` on;
    actions: ``corporate_actions``; breadth: ``market_breadth`` from ``history_start`` on. SPY's bars are cleaned of bad
    prints. Sessions without a bar of SPY have no row.
    """
    wanted = set(sessions)
    rows = [MARKET_REGIME_HISTORY.empty()]
    daily = bars.filter(pl.col("timeframe").cast(pl.String) == "1d").sort("symbol", "bar_start")
    # A recursion starts on a date that depends on the year of the row alone.
    for start in sorted({history_start(day) for day in sessions}):
        days = sorted(day for day in wanted if history_start(day) == start)
        past = daily.filter(pl.col("session").is_between(start, days[-1]))
        known = continuous_bars(past, actions, start)
        extra = past.select("ingested_at", pl.col("quality").cast(pl.String))
        series = pl.concat([known, extra], how="horizontal").partition_by("symbol", as_dict=True)
        by_symbol = {str(key[0]): frame for key, frame in series.items()}
        if "SPY" not in by_symbol:
            continue
        empty = by_symbol["SPY"].clear()
        ndx, rut = _first_held(by_symbol, NDX_SYMBOLS), _first_held(by_symbol, RUT_SYMBOLS)
        found = market_regime(
            by_symbol["SPY"],
            by_symbol.get("VIX", empty),
            breadth.filter(pl.col("session").is_between(start, days[-1])),
            vix3m_daily=by_symbol.get("VIX3M"),
            ndx_daily=by_symbol.get(ndx) if ndx else None,
            rut_daily=by_symbol.get(rut) if rut else None,
            sectors_daily={name: by_symbol[fund] for fund, name in SECTOR_FUNDS.items() if fund in by_symbol},
            closing_values=closing_values,
            config=config,
        )
        stand_ins = [f"{name}_from_{used}" for name, used in (("ndx", ndx), ("rut", rut)) if used in ("QQQ", "IWM")]
        flagged = pl.concat_list("quality_flags", pl.lit(stand_ins, dtype=pl.List(pl.String)))
        rows.append(found.filter(pl.col("session").is_in(days)).with_columns(quality_flags=flagged))
    return pl.concat(rows).sort("session")


def history_start(session: date) -> date:
    """The date from which bars and breadth count for a row of `session`: 1 January four years before."""
    return lookback_start("1d", session)


def label_counts(rows: pl.DataFrame) -> dict[str, int]:
    """How many rows have each of the eleven labels, zeros included."""
    found = dict(rows.group_by(pl.col("market_regime").cast(pl.String)).len().iter_rows())
    return {label: int(found.get(label, 0)) for label in MARKET_REGIMES}


def _first_held(by_symbol: Mapping[str, pl.DataFrame], symbols: Sequence[str]) -> str | None:
    return next((symbol for symbol in symbols if symbol in by_symbol), None)


def _spy_inputs(spy: pl.DataFrame) -> pl.DataFrame:
    """The inputs that SPY's bars give, with the instants of the row."""
    if "series_id" not in spy.columns:
        spy = spy.with_columns(series_id=pl.lit(1, dtype=pl.UInt32), bar_number=pl.int_range(pl.len()))
    days = spy["session"].to_list()
    spy = spy.with_columns(
        pl.Series("known_at", [calendar.at_new_york(day, KNOWN_TIME) for day in days], dtype=pl.Datetime("us", "UTC")),
        pl.Series("next_open", [_next_open(day) for day in days], dtype=pl.Datetime("us", "UTC")),
        _atr=_positive(served(atr14(), WARM_UP_BARS["atr14"])),
        _adx=served(adx14(), WARM_UP_BARS["adx14"]),
        _return=pl.col("close") / _before("close", 1) - 1.0,
        _log=pl.col("close").log() * 100.0,
    )
    close, atr = pl.col("close"), pl.col("_atr")
    # Weights k - 9.5 over 20 equally spaced sessions; their squares sum to 665.
    slope = pl.sum_horizontal((9.5 - back) * (_before("_log", back) - pl.col("_log")) for back in range(1, 20)) / 665.0
    returns = pl.col("_return")
    spread = returns.rolling_max(20) - returns.rolling_min(20)
    deviation = pl.when(spread > 0).then(returns.rolling_std(20, ddof=1))
    spy = spy.with_columns(_sd=deviation.shift(1))
    fast, slow = served(ema(20), EMA20_WARM_UP_BARS), served(ema(50), WARM_UP_BARS["ema50"])
    return spy.select(
        "session",
        "known_at",
        "next_open",
        "series_id",
        "bar_number",
        available_at=pl.max_horizontal("known_at", "available_at"),
        ingested_at=pl.col("ingested_at") if "ingested_at" in spy.columns else pl.col("available_at"),
        _quality=_quality_rank(spy),
        quality_flags=pl.lit([], dtype=pl.List(pl.String)),
        spy_close="close",
        spy_volume="volume",
        spy_volume_ratio=served(pl.col("volume") / _positive(pl.col("volume").rolling_mean(20).shift(1)), 21),
        spy_chg_pct=100.0 * returns,
        _return=returns,
        tau=(fast - slow) / atr,
        adx="_adx",
        adx_min5=served(pl.col("_adx").rolling_min(5).shift(1), WARM_UP_BARS["adx14"] + 5),
        slope20=served(slope, 20),
        z1=served(returns / pl.col("_sd"), 22),
        dhi=(close - highest_before("high", 20)) / atr,
        dlo=(close - lowest_before("low", 20)) / atr,
        dd60=served(100.0 * (close / close.rolling_max(60) - 1.0), 60),
        rsi14=served(rsi14(), WARM_UP_BARS["rsi14"]),
    ).with_columns(pl.col(pl.Float64).fill_nan(None))


def _next_open(day: date) -> object:
    return calendar.session(calendar.next_session(day)).open


def _before(column: str, bars: int) -> pl.Expr:
    """The value `bars` rows earlier in the same series."""
    return pl.when(pl.col("bar_number") >= bars).then(pl.col(column).shift(bars))


def _positive(value: pl.Expr) -> pl.Expr:
    return pl.when(value > 0).then(value)


def _quality_rank(frame: pl.DataFrame) -> pl.Expr:
    """0 final, 1 provisional, 2 suspect; final where the frame does not say."""
    if "quality" not in frame.columns:
        return pl.lit(0, dtype=pl.Int8)
    quality = pl.col("quality").cast(pl.String)
    return pl.when(quality == "suspect").then(2).when(quality == "provisional").then(1).otherwise(0).cast(pl.Int8)


def _closing(frame: pl.DataFrame, values: pl.DataFrame | None, columns: Mapping[str, str]) -> pl.DataFrame:
    """`frame` with columns of `values` for the same session, null where that session's are missing or came too late."""
    if values is None or values.is_empty():
        absent = [pl.lit(None, dtype=MARKET_REGIME_HISTORY.polars_schema[new]).alias(new) for new in columns.values()]
        return frame.with_columns(absent)
    held = {name: new for name, new in columns.items() if name in values.columns}
    stored = values["ingested_at"] if "ingested_at" in values.columns else values["available_at"]
    known = values.with_columns(stored.alias("_stored"), _rank=_quality_rank(values), _known=pl.col("available_at"))
    taken = {**held, "_known": "_known", "_stored": "_stored", "_rank": "_rank"}
    joined = as_of(frame, known, by=["session"], columns=taken, at="next_open")
    absent = [
        pl.lit(None, dtype=MARKET_REGIME_HISTORY.polars_schema[new]).alias(new)
        for name, new in columns.items()
        if name not in held
    ]
    return (
        joined.with_columns(absent)
        .with_columns(
            available_at=pl.max_horizontal("available_at", "_known"),
            ingested_at=pl.max_horizontal("ingested_at", "_stored"),
            _quality=pl.max_horizontal("_quality", "_rank"),
        )
        .drop("_known", "_stored", "_rank")
    )


def _derived(frame: pl.DataFrame) -> pl.DataFrame:
    """What follows from the closing values: changes, ratios, percentiles, correlations, the worst quality."""
    vix, front, back = pl.col("vix_close"), pl.col("vix_front_month"), pl.col("vix_back_month")
    frame = frame.with_columns(
        pl.Series("vix_percentile_pct", year_percentiles(frame["vix_close"]), dtype=pl.Float64, nan_to_null=True),
        pl.Series("pc", year_percentiles(frame["put_call_ratio_total"]), dtype=pl.Float64, nan_to_null=True),
        vix_chg=vix - vix.shift(1),
        vix_chg_pct=100.0 * (vix / vix.shift(1) - 1.0),
        vix_term_ratio=vix / pl.col("vix3m_close"),
        vix_term_spread=back - front,
        ndx_chg_pct=_change_pct("ndx_close"),
        rut_chg_pct=_change_pct("rut_close"),
        quality=pl.col("_quality").replace_strict(
            [0, 1, 2], ["final", "provisional", "suspect"], return_dtype=pl.String
        ),
    )
    assert set(frame["quality"].unique()) <= set(QUALITIES)
    return frame.with_columns(
        spy_ndx_correlation=_correlation("ndx_chg_pct"),
        spy_rut_correlation=_correlation("rut_chg_pct"),
    )


def _change_pct(close: str) -> pl.Expr:
    return 100.0 * (pl.col(close) / pl.col(close).shift(1) - 1.0)


def _correlation(changes: str) -> pl.Expr:
    """Correlation with SPY's returns over 20 sessions; null where either stood still or a return is missing."""
    pair = [pl.col("spy_chg_pct"), pl.col(changes)]
    moved = pl.all_horizontal(
        (one.rolling_max(CORRELATION_SESSIONS) > one.rolling_min(CORRELATION_SESSIONS)) for one in pair
    )
    value = pl.rolling_corr(*pair, window_size=CORRELATION_SESSIONS, min_samples=CORRELATION_SESSIONS)
    return pl.when(moved).then(value.fill_nan(None).clip(-1.0, 1.0))


def year_percentiles(values: pl.Series) -> np.ndarray:
    """Mid-rank percentile (0-100) of each value among those of the 252 rows before it; NaN with fewer than 126 of them.

    100 (number below + half the number equal)/N; the value itself is not in its window. Source: quant_methods.md
    sections 7 and 13.
    """
    given = values.cast(pl.Float64).to_numpy().astype(float)
    padded = np.concatenate([np.full(YEAR_SESSIONS, np.nan), given])
    windows = np.lib.stride_tricks.sliding_window_view(padded, YEAR_SESSIONS)[: len(given)]
    present = np.sum(~np.isnan(windows), axis=1)
    below = np.sum(windows < given[:, None], axis=1)
    equal = np.sum(windows == given[:, None], axis=1)
    enough = (present >= LEAST_YEAR_VALUES) & ~np.isnan(given)
    return np.where(enough, 100.0 * (below + 0.5 * equal) / np.maximum(present, 1), np.nan)


def _rotation(frame: pl.DataFrame, sectors: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Leading and lagging sector, and the group that leads, by return over 20 sessions."""
    for name in sorted(sectors):
        closes = sectors[name].select(
            "session",
            "available_at",
            _twenty=100.0 * (pl.col("close") / pl.col("close").shift(RETURN_SESSIONS) - 1.0),
        )
        frame = as_of(frame, closes, by=["session"], columns={"_twenty": f"_{name}"}, at="next_open")
    held = sorted(sectors)
    if not held:
        return frame.with_columns(
            pl.lit(None, dtype=pl.String).alias(name)
            for name in ("leading_sector", "lagging_sector", "sector_rotation")
        )
    best, worst = pl.max_horizontal(f"_{name}" for name in held), pl.min_horizontal(f"_{name}" for name in held)
    groups = {
        group: pl.mean_horizontal(*members)
        for group, names in SECTOR_GROUPS.items()
        if (members := [f"_{name}" for name in names if name in sectors])
    }
    complete = pl.all_horizontal(mean.is_not_null() for mean in groups.values()) & (len(groups) == len(SECTOR_GROUPS))
    leader = pl.lit("MIXED")
    for group, mean in groups.items():
        others = (
            pl.max_horizontal(other for name, other in groups.items() if name != group) if len(groups) > 1 else mean
        )
        leader = pl.when(mean - others >= ROTATION_LEAD_PCT).then(pl.lit(group)).otherwise(leader)
    return frame.with_columns(
        leading_sector=pl.coalesce(pl.when(pl.col(f"_{name}") == best).then(pl.lit(name)) for name in held),
        lagging_sector=pl.coalesce(pl.when(pl.col(f"_{name}") == worst).then(pl.lit(name)) for name in held),
        sector_rotation=pl.when(complete).then(leader),
    )


def _stepped(value: pl.Expr, steps: Sequence[tuple[pl.Expr, str]], otherwise: str, words: Sequence[str]) -> pl.Expr:
    """The word of the first step that is met; null where `value` is."""
    band = pl.lit(otherwise)
    for met, word in reversed(steps):
        band = pl.when(met).then(pl.lit(word)).otherwise(band)
    return pl.when(value.is_not_null()).then(band).cast(pl.Enum(words))


def vix_regime(vix: pl.Expr) -> pl.Expr:
    """Band of the VIX, points; null without one."""
    cuts = zip((12, 16, 20, 30, 40), VIX_REGIMES, strict=False)
    return _stepped(vix, [(vix < cut, word) for cut, word in cuts], VIX_REGIMES[-1], VIX_REGIMES)


def breadth_regime(advance_decline: pl.Expr, high_low: pl.Expr) -> pl.Expr:
    """Band of the advance-decline ratio; the top one also needs new highs or no word of them."""
    highs = (high_low > 2).fill_null(True)
    steps = [
        ((advance_decline > 3) & highs, "EXTREMELY_BULLISH"),
        (advance_decline > 1.5, "BULLISH"),
        (advance_decline > 0.67, "NEUTRAL"),
        (advance_decline > 0.33, "BEARISH"),
    ]
    return _stepped(advance_decline, steps, "EXTREMELY_BEARISH", BREADTH_REGIMES)


def tick_regime(tick: pl.Expr) -> pl.Expr:
    """Band of the NYSE TICK, net issues."""
    cuts = zip((-800, -300, 300, 800), TICK_REGIMES, strict=False)
    return _stepped(tick, [(tick < cut, word) for cut, word in cuts], TICK_REGIMES[-1], TICK_REGIMES)


def pc_regime(put_call: pl.Expr) -> pl.Expr:
    """Band of the total put/call ratio."""
    cuts = zip((1.5, 1.1, 0.9, 0.7), reversed(PC_REGIMES), strict=False)
    return _stepped(put_call, [(put_call > cut, word) for cut, word in cuts], PC_REGIMES[0], PC_REGIMES)


def vix_term_structure(front: pl.Expr, back: pl.Expr) -> pl.Expr:
    """Band of (back - front)/front of the VIX futures."""
    slope = 100.0 * (back - front) / front
    steps = [
        (slope > 10, "STEEP_CONTANGO"),
        (slope > 2, "CONTANGO"),
        (slope >= -2, "FLAT"),
        (slope >= -10, "BACKWARDATION"),
    ]
    return _stepped(slope, steps, "STEEP_BACKWARDATION", VIX_TERM_STRUCTURES)


def correlation_regime(correlation: pl.Expr) -> pl.Expr:
    """Band of the SPY-NDX correlation over 20 sessions."""
    cuts = zip((0.2, 0.5, 0.8, 0.95), CORRELATION_REGIMES, strict=False)
    steps = [(correlation < cut, word) for cut, word in cuts]
    return _stepped(correlation, steps, CORRELATION_REGIMES[-1], CORRELATION_REGIMES)


def _bands() -> list[pl.Expr]:
    return [
        vix_regime(pl.col("vix_close")).alias("vix_regime"),
        vix_term_structure(pl.col("vix_front_month"), pl.col("vix_back_month")).alias("vix_term_structure"),
        tick_regime(pl.col("tick_index")).alias("tick_regime"),
        breadth_regime(pl.col("advance_decline_ratio"), pl.col("high_low_ratio")).alias("breadth_regime"),
        correlation_regime(pl.col("spy_ndx_correlation")).alias("correlation_regime"),
        pc_regime(pl.col("put_call_ratio_total")).alias("pc_regime"),
        pl.col("sector_rotation").cast(pl.Enum(SECTOR_ROTATIONS)),
    ]
