"""Frames of execution bars and signals as the flat arrays of the trade loop.

Which bars execute, how trading time, bar windows and split factors are counted, and in which order signals are
looked at is decided here; what happens on a bar is simulator.py's business. No numba here: its arrays are plain
numpy.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from strategy_pipeline.analytics.adjustment import split_factor
from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.errors import ContractError, DataError
from strategy_pipeline.lake.tables import DISPOSITIONS, INSTANT, QUALITIES
from strategy_pipeline.market.calendar import session_frame
from strategy_pipeline.market.timeframes import MINUTES, TIMEFRAMES

MINUTE_US = 60_000_000
# Rows whose extremes are kept together, so that the trade loop can pass over quiet stretches at once.
BLOCK_ROWS = 32
BAR_COLUMNS = ("symbol", "timeframe", "bar_start", "bar_end", "session", "open", "high", "low", "close")
SIGNAL_COLUMNS = (
    "detector", "detector_version", "symbol", "asset_class", "direction", "session", "timeframe", "bar_end",
    "available_at", "score", "atr",
)  # fmt: skip
# Columns a signals frame may have, with the type they are given when it has not.
OPTIONAL_SIGNAL_COLUMNS: dict[str, Any] = {
    "class_matches": pl.Boolean,
    "gate_reason": pl.String,
    "style": pl.String,
    "time_window": pl.String,
    "market_regime": pl.String,
    "vix_regime": pl.String,
    "stop_distance": pl.Float64,
    "target_distance": pl.Float64,
    "sigma_day": pl.Float64,
    "adv20_shares": pl.Float64,
    "first_target_distance": pl.Float64,
    "contract_ticker": pl.String,
    "dte": pl.Int32,
    "dte_bucket": pl.String,
    "multiplier": pl.Float64,
    "iv_percentile_pct": pl.Float64,
    "net_gex_ratio": pl.Float64,
}


@dataclass(frozen=True)
class SessionClock:
    """The exchange's sessions as arrays: days since 1970; opening, closing and trading time before in microseconds."""

    day: np.ndarray
    open: np.ndarray
    close: np.ndarray
    trading_before: np.ndarray

    @classmethod
    def of_calendar(cls) -> "SessionClock":
        """All sessions the calendar knows, so that an index means the same session in every chunk of a run."""
        frame = session_frame()
        opened, closed = _microseconds(frame["open"]), _microseconds(frame["close"])
        return cls(
            frame["session"].cast(pl.Int32).to_numpy(), opened, closed, np.cumsum(closed - opened) - (closed - opened)
        )

    def index_of(self, days: np.ndarray) -> np.ndarray:
        """Index of each exchange date; raises DataError naming the first date that is no session."""
        index = np.searchsorted(self.day, days)
        found = self.day[np.minimum(index, len(self.day) - 1)] == days
        if not found.all():
            day = np.datetime64(int(days[~found][0]), "D")
            raise DataError(f"There are rows for {day}, which is not an exchange session: remove them.")
        return index

    def trading_time(self, instants: np.ndarray) -> np.ndarray:
        """Microseconds of regular hours that passed before each instant, counted over sessions."""
        at = np.maximum(np.searchsorted(self.open, instants, side="right") - 1, 0)
        inside = np.clip(instants - self.open[at], 0, self.close[at] - self.open[at])
        return self.trading_before[at] + inside

    def slots_before(self, minutes: int) -> np.ndarray:
        """Windows of `minutes` in all sessions before each session; a session's last window may be shorter."""
        width = minutes * MINUTE_US
        per_session = -((self.open - self.close) // width)
        return np.cumsum(per_session) - per_session


@dataclass(frozen=True)
class ExecutionBars:
    """Execution bars in the field order of simulator.Bars, with what the trades table needs besides them."""

    symbols: tuple[str, ...]
    arrays: dict[str, np.ndarray]
    quality: np.ndarray
    slots_before: np.ndarray
    clock: SessionClock
    content_hash: str


def _microseconds(column: pl.Series) -> np.ndarray:
    return column.dt.epoch("us").to_numpy()


def execution_bars(
    bars: pl.DataFrame,
    timeframe: str,
    config: BacktestConfig,
    *,
    actions: pl.DataFrame | None = None,
    finer: pl.DataFrame | None = None,
) -> ExecutionBars:
    """The bars on which signals of `timeframe` execute: of each symbol and session the finest stored ones.

    `bars`: cleaned rows of ``historical_bars``, raw prices, any timeframes (coarser than `timeframe` and outside
    regular hours are left out); an optional `series_id` marks where a symbol's series breaks. `actions`:
    ``corporate_actions``. `finer`: bars inside the execution bars, replayed by drill_down. Raises ContractError on
    missing columns and DataError on prices that are no numbers or dates that are no sessions.
    """
    rows = _executing(_checked(bars, "execution bars"), timeframe)
    clock = SessionClock.of_calendar()
    name = rows["symbol"].to_numpy() if rows.height else np.empty(0, object)
    new_symbol = np.flatnonzero(_changes(name))
    symbols = tuple(str(name[at]) for at in new_symbol)
    first = np.append(new_symbol, rows.height).astype(np.int64)
    days = rows["session"].cast(pl.Int32).to_numpy()
    session = clock.index_of(days)
    opened, closed = clock.open[session], clock.close[session]
    start = np.maximum(_microseconds(rows["bar_start"]), opened)
    end = np.minimum(_microseconds(rows["bar_end"]), closed)
    width = MINUTES[timeframe] * MINUTE_US
    slots_before = clock.slots_before(MINUTES[timeframe])
    slot = slots_before[session] - (opened - end) // width - 1

    flat_at = closed - round(config.flat_offset_min * MINUTE_US)
    day_start = np.flatnonzero(_changes(session) | _changes(name))
    in_time = np.add.reduceat(end <= flat_at, day_start) if rows.height else np.empty(0, np.int64)
    day_rows = np.diff(np.append(day_start, rows.height))
    day_last = np.repeat(day_start + in_time - 1, day_rows)

    breaks = _changes(name)
    if "series_id" in rows.columns:
        breaks |= _changes(rows["series_id"].to_numpy())
    series_start = np.append(np.flatnonzero(breaks), rows.height)
    series_last = np.repeat(series_start[1:] - 1, np.diff(series_start))

    prices = {column: rows[column].cast(pl.Float64).to_numpy() for column in ("open", "high", "low", "close")}
    factor = _factor(rows, actions)
    factor_start = np.append(np.flatnonzero(_changes(name) | _changes(factor)), rows.height)
    scan_low, scan_high = np.minimum(prices["low"], prices["open"]), np.maximum(prices["high"], prices["open"])
    arrays = {
        "first": first,
        **prices,
        "factor": factor,
        "start": start,
        "end": end,
        "trading_start": clock.trading_before[session] + (start - opened),
        "session": session.astype(np.int64),
        "slot": slot.astype(np.int64),
        "coarse": (rows["timeframe"].cast(pl.String) != "1m").to_numpy(),
        "day_last": day_last.astype(np.int64),
        "series_last": series_last.astype(np.int64),
        **_finer(finer, symbols, first, start, end),
        "scan_low": scan_low,
        "scan_high": scan_high,
        "block_low": _blocks(scan_low, np.inf).min(axis=1),
        "block_high": _blocks(scan_high, -np.inf).max(axis=1),
        "factor_last": np.repeat(factor_start[1:] - 1, np.diff(factor_start)).astype(np.int64),
    }
    order = {word: number for number, word in enumerate(QUALITIES)}
    quality = (
        rows["quality"].cast(pl.String).replace_strict(order, return_dtype=pl.Int8).to_numpy()
        if "quality" in rows.columns
        else np.full(rows.height, order["final"], np.int8)
    )
    return ExecutionBars(symbols, arrays, quality, slots_before, clock, _hash(symbols, arrays))


def _checked(bars: pl.DataFrame, what: str) -> pl.DataFrame:
    missing = [column for column in BAR_COLUMNS if column not in bars.columns]
    if missing:
        raise ContractError(f"The {what} lack the columns {', '.join(missing)}: hand over rows of historical_bars.")
    bad = bars.select(
        pl.any_horizontal(
            (~(pl.col(column).is_finite() & (pl.col(column) > 0))).fill_null(True)
            for column in ("open", "high", "low", "close")
        ).any()
    ).item()
    if bad:
        raise DataError(f"The {what} hold a price that is missing, not finite or not above zero: clean them first.")
    return bars


def _executing(bars: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """Regular-hours rows of the finest timeframe of each symbol and session, sorted by symbol and start."""
    rank = (
        pl.col("timeframe")
        .cast(pl.String)
        .replace_strict({word: number for number, word in enumerate(TIMEFRAMES)}, return_dtype=pl.Int8)
    )
    kept = bars.filter(rank <= TIMEFRAMES.index(timeframe))
    if "segment" in kept.columns:
        kept = kept.filter(pl.col("segment").cast(pl.String) == "rth")
    if kept["timeframe"].n_unique() > 1:
        if "series_id" in kept.columns:
            # Each timeframe numbers its series by itself, and sparse finer bars see gaps where coarser ones see none.
            coarsest = pl.col("series_id").get(rank.arg_max())
            kept = kept.with_columns(coarsest.over("symbol", "session"))
        kept = kept.filter(rank == rank.min().over("symbol", "session"))
    here, before = pl.col("symbol"), pl.col("symbol").shift(1)
    rises = (here > before) | ((here == before) & (pl.col("bar_start") > pl.col("bar_start").shift(1)))
    if not kept.select(rises.fill_null(True).all()).item():
        kept = kept.sort("symbol", "bar_start")
        if kept.select(pl.struct("symbol", "bar_start").is_duplicated().any()).item():
            raise DataError("There are two execution bars of one symbol at one time: remove the duplicates.")
    return kept


def _changes(values: np.ndarray) -> np.ndarray:
    """Whether each element differs from the one before; the first one does."""
    changed = np.ones(len(values), np.bool_)
    changed[1:] = values[1:] != values[:-1]
    return changed


def _blocks(values: np.ndarray, filler: float) -> np.ndarray:
    """`values` in rows of BLOCK_ROWS, the last one filled up."""
    missing = -len(values) % BLOCK_ROWS
    return np.append(values, np.full(missing, filler)).reshape(-1, BLOCK_ROWS)


def _factor(frame: pl.DataFrame, actions: pl.DataFrame | None) -> np.ndarray:
    """Cumulative split factor of each row's symbol and session; 1 without corporate actions."""
    if actions is None or actions.is_empty():
        return np.ones(frame.height)
    return split_factor(frame.select("symbol", "session"), actions).to_numpy()


def _finer(
    finer: pl.DataFrame | None, symbols: tuple[str, ...], first: np.ndarray, start: np.ndarray, end: np.ndarray
) -> dict[str, np.ndarray]:
    """For each execution bar the span of finer bars inside it."""
    low, high = np.zeros(len(start), np.int64), np.zeros(len(start), np.int64)
    if finer is None or finer.is_empty():
        return {"finer_first": low, "finer_last": high, "finer_high": np.empty(0), "finer_low": np.empty(0)}
    rows = _checked(finer, "finer bars").sort("symbol", "bar_start")
    begins, ends = _microseconds(rows["bar_start"]), _microseconds(rows["bar_end"])
    name = rows["symbol"]
    for s, symbol in enumerate(symbols):
        own = slice(first[s], first[s + 1])
        left, right = name.search_sorted(symbol, side="left"), name.search_sorted(symbol, side="right")
        low[own] = left + np.searchsorted(begins[left:right], start[own], side="left")
        high[own] = left + np.searchsorted(ends[left:right], end[own], side="right")
    return {
        "finer_first": low,
        "finer_last": np.maximum(low, high),
        "finer_high": rows["high"].to_numpy(),
        "finer_low": rows["low"].to_numpy(),
    }


def _hash(symbols: tuple[str, ...], arrays: dict[str, np.ndarray]) -> str:
    """Hash of what the bars say: symbols, times, prices and split factors."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update("|".join(symbols).encode())
    for name in ("first", "start", "end", "open", "high", "low", "close", "factor", "finer_high", "finer_low"):
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def prepared_signals(signals: pl.DataFrame, config: BacktestConfig) -> pl.DataFrame:
    """`signals` with every optional column present and a style each, sorted by detector, symbol, time and direction.

    A configured style overrides that of the signals; where neither names one it follows from the timeframe. Raises
    ContractError when a required column is missing, when a time, symbol, detector or direction is null, or when a
    detector fires twice in one direction on one bar.
    """
    missing = [column for column in SIGNAL_COLUMNS if column not in signals.columns]
    if missing:
        raise ContractError(f"The signals lack the columns {', '.join(missing)}.")
    needed = ("detector", "detector_version", "symbol", "asset_class", "direction", "session", "timeframe", "bar_end",
              "available_at")  # fmt: skip
    if signals.select(pl.any_horizontal(pl.col(needed).is_null().any())).item():
        raise ContractError(f"The signals hold a null where none may be: fill {', '.join(needed)}.")
    text = ("detector", "detector_version", "symbol", "asset_class", "direction", "timeframe")
    ready = signals.with_columns(
        pl.lit(None, dtype=kind).alias(name)
        for name, kind in OPTIONAL_SIGNAL_COLUMNS.items()
        if name not in signals.columns
    ).with_columns(
        pl.col(*text).cast(pl.String),
        pl.col("available_at", "bar_end").cast(INSTANT),
        *(pl.col(name).cast(kind) for name, kind in OPTIONAL_SIGNAL_COLUMNS.items()),
        pl.col("score", "atr").cast(pl.Float64).fill_nan(None),
    )
    by_timeframe = pl.col("timeframe").replace_strict({name: config.style_for(name) for name in MINUTES})
    ready = ready.with_columns(style=by_timeframe if config.style else pl.coalesce("style", by_timeframe))
    key = ("detector", "symbol", "bar_end", "direction")
    ready = ready.sort("detector", "symbol", "available_at", "bar_end", "direction")
    if ready.select(pl.struct(key).is_duplicated().any()).item():
        raise ContractError("A detector fired twice in one direction on one bar of a symbol: keep one row of each.")
    return ready


def signal_arrays(
    signals: pl.DataFrame, bars: ExecutionBars, config: BacktestConfig, actions: pl.DataFrame | None
) -> dict[str, np.ndarray]:
    """`signals` (prepared, of one timeframe) in the fields of simulator.Signals."""
    clock = bars.clock
    symbol_name = signals["symbol"].to_numpy()
    detector_name = signals["detector"].to_numpy()
    group_start = (
        np.flatnonzero(_changes(symbol_name) | _changes(detector_name)) if signals.height else np.empty(0, int)
    )
    number = {symbol: at for at, symbol in enumerate(bars.symbols)}
    detectors = {name: at for at, name in enumerate(dict.fromkeys(detector_name.tolist()))}
    group_sizes = np.diff(np.append(group_start, signals.height))
    keys = [_key(detector_name[at], symbol_name[at]) for at in group_start]
    group_symbol = [number.get(symbol_name[at], -1) for at in group_start]
    group_detector = [detectors[detector_name[at]] for at in group_start]

    bar_end, available = _microseconds(signals["bar_end"]), _microseconds(signals["available_at"])
    order = available + round(config.latency_s * 1_000_000)
    days = signals["session"].cast(pl.Int32).to_numpy()
    session = clock.index_of(days)
    atr = signals["atr"].fill_null(0.0).to_numpy()
    style = signals["style"].to_numpy()
    if config.target_mode != "fixed_atr":
        stop_unit = signals["stop_distance"].fill_nan(None).fill_null(0.0).to_numpy()
        target_unit = signals["target_distance"].fill_nan(None).fill_null(0.0).to_numpy()
    else:
        stop_unit = target_unit = atr
    scale_unit = atr
    if config.target_mode == "dte":
        scale_unit = signals["first_target_distance"].fill_nan(None).fill_null(0.0).to_numpy()
    usable = (atr > 0) & (stop_unit > 0) & (target_unit > 0)
    words = (
        pl.when(~pl.col("class_matches").fill_null(True))
        .then(pl.lit(DISPOSITIONS.index("class_mismatch")))
        .when(pl.col("gate_reason").is_not_null())
        .then(pl.lit(DISPOSITIONS.index("gate_rejected")))
        .when((pl.col("score") < config.min_score).fill_null(True))
        .then(pl.lit(DISPOSITIONS.index("below_min_score")))
        .otherwise(pl.lit(-1))
    )
    verdict = signals.select(words.cast(pl.Int8)).to_series().to_numpy().copy()
    verdict[(verdict < 0) & ~usable] = DISPOSITIONS.index("no_atr")
    return {
        "first": np.append(group_start, signals.height).astype(np.int64),
        "detector": np.repeat(np.array(group_detector, np.int64), group_sizes),
        "group_key": np.repeat(np.array(keys, np.int64), group_sizes),
        "symbol": np.repeat(np.array(group_symbol, np.int64), group_sizes),
        "sign": np.where((signals["direction"] == "LONG").to_numpy(), 1.0, -1.0),
        "stop_unit": stop_unit,
        "target_unit": target_unit,
        "scale_unit": scale_unit,
        "atr": atr,
        "score": signals["score"].fill_null(-1.0).to_numpy(),
        "factor": _factor(signals, actions),
        "verdict": verdict,
        "bar_end": bar_end,
        "available": available,
        "order": order,
        "trading_bar_end": clock.trading_time(bar_end),
        "trading_order": clock.trading_time(order),
        "session": session.astype(np.int64),
        "flat_daily": style != "swing",
        "last_entry": clock.close[session] - round(config.last_entry_min * MINUTE_US),
        "last_row": np.full(signals.height, -1, np.int64),
        "last_reason": np.zeros(signals.height, np.int8),
    }


def _key(detector: str, symbol: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{detector}|{symbol}".encode(), digest_size=8).digest(), "big", signed=True)
