"""A second, slow engine in plain Python that follows backtesting.md sections 2-5; the compiled one must agree.

It shares no code with the package but the calendar and the configuration: rows are dicts, times are datetimes,
searches are scans. Speed is of no concern here.
"""

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.market.calendar import session, sessions_between
from strategy_pipeline.market.timeframes import MINUTES

Row = dict[str, Any]
Splits = dict[str, list[tuple[date, float]]]
TOLERANCE_TICKS = 1e-6


def trading_minutes(start: datetime, end: datetime) -> float:
    """Minutes of regular hours from `start` to `end`."""
    total = 0.0
    for day in sessions_between(start.date() - timedelta(days=4), end.date() + timedelta(days=4)):
        hours = session(day)
        opened, closed = max(hours.open, start), min(hours.close, end)
        total += max(0.0, (closed - opened).total_seconds() / 60.0)
    return total


def window_number(moment: datetime, day: date, width: int) -> tuple[date, int]:
    """Session and number of the signal-timeframe window that a bar ending at `moment` belongs to."""
    minutes = (moment - session(day).open).total_seconds() / 60.0
    return day, math.ceil(minutes / width) - 1


def windows_from(first: tuple[date, int], second: tuple[date, int], width: int) -> int:
    """How many windows lie between two of them; 0 for the same one."""
    count = second[1] - first[1]
    for day in sessions_between(first[0], second[0])[:-1]:
        count += math.ceil(session(day).minutes / width)
    return count


def factor_of(symbol: str, day: date, splits: Splits) -> float:
    """Product of the split ratios effective on `day`."""
    product = 1.0
    for ex_date, ratio in splits.get(symbol, []):
        if ex_date <= day:
            product *= ratio
    return product


class Book:
    """All bars of one symbol, in order."""

    def __init__(self, symbol: str, bars: Sequence[Row], finer: Sequence[Row], splits: Splits) -> None:
        self.symbol = symbol
        self.rows = sorted((row for row in bars if row["symbol"] == symbol), key=lambda row: row["bar_start"])
        self.finer = sorted((row for row in finer if row["symbol"] == symbol), key=lambda row: row["bar_start"])
        self.splits = splits

    def scaled(self, row: Row, basis: float) -> tuple[float, float, float, float]:
        """Open, high, low, close of a row in the basis of the entry session."""
        own = factor_of(self.symbol, row["session"], self.splits)
        if own == basis:
            return row["open"], row["high"], row["low"], row["close"]
        scale = own / basis
        return row["open"] * scale, row["high"] * scale, row["low"] * scale, row["close"] * scale

    def entry(self, signal: Row, style: str, config: BacktestConfig) -> tuple[int | None, str | None]:
        """Index of the entry bar, or the disposition that says why there is none."""
        order = signal["available_at"] + timedelta(seconds=config.latency_s)
        wanted = signal["bar_end"]
        index = next((n for n, row in enumerate(self.rows) if row["bar_start"] >= wanted), None)
        following = None if index is None else self.rows[index]
        if style != "swing":
            of_session = [row for row in self.rows if row["session"] == signal["session"]]
            later = [row for row in of_session if row["bar_start"] >= wanted]
            following = later[0] if later else of_session[-1] if of_session else None
        if following is None or following["timeframe"] == "1m":
            wanted = order
            index = next((n for n, row in enumerate(self.rows) if row["bar_start"] >= wanted), None)
        hours = session(signal["session"])
        if style != "swing":
            deadline = hours.close - timedelta(minutes=config.last_entry_min)
            if wanted > deadline:
                return None, "no_entry_session_end"
            if index is None or self.rows[index]["session"] != signal["session"]:
                earlier = self.rows if index is None else self.rows[:index]
                printed = bool(earlier) and earlier[-1]["session"] == signal["session"]
                return None, "halted" if printed else "no_next_bar"
        elif index is None:
            return None, "no_next_bar"
        row = self.rows[index]
        if trading_minutes(wanted, row["bar_start"]) > config.entry_patience_min:
            return None, "halted"
        if style != "swing" and (row["bar_start"] > deadline or row["bar_end"] > self.flat_time(row, config)):
            return None, "no_entry_session_end"
        return index, None

    @staticmethod
    def flat_time(row: Row, config: BacktestConfig) -> datetime:
        """When a day trade that is open during `row` has to be flat."""
        return session(row["session"]).close - timedelta(minutes=config.flat_offset_min)

    def exit(
        self,
        entry: int,
        signal: Row,
        style: str,
        config: BacktestConfig,
        stop_distance: float,
        target_distance: float,
        atr: float,
        coin: Any,
    ) -> Row:
        """Walks bar by bar from the entry to the exit."""
        sign = 1.0 if signal["direction"] == "LONG" else -1.0
        basis = factor_of(self.symbol, self.rows[entry]["session"], self.splits)
        reference = self.rows[entry]["open"]
        stop, target = reference - sign * stop_distance, reference + sign * target_distance
        slack = config.tick * TOLERANCE_TICKS
        through = -slack if config.target_rule == "touch" else config.tick - slack
        width = MINUTES[signal["timeframe"]]
        first_window = window_number(self.rows[entry]["bar_end"], self.rows[entry]["session"], width)
        stop_word, best_close = "STOP", None
        up, down = 0.0, 0.0

        def result(n: int, price: float, reason: str, ambiguous: bool = False, at_open: bool = False) -> Row:
            moment = self.rows[n]["bar_start"] if at_open else self.rows[n]["bar_end"]
            return {
                "exit": n, "exit_ref_price": price, "exit_reason": reason, "ambiguous": ambiguous, "exit_at": moment,
                "stop": stop, "target": target, "mfe": up, "mae": down,
                "bars_held": windows_from(first_window, window_number(
                    self.rows[n]["bar_end"], self.rows[n]["session"], width), width) + 1,
            }  # fmt: skip

        def seen(*prices: float) -> None:
            nonlocal up, down
            for price in prices:
                up, down = max(up, sign * (price - reference)), min(down, sign * (price - reference))

        def adverse(price: float) -> bool:
            return sign * (price - stop) <= slack

        def reached(price: float) -> bool:
            return sign * (price - target) >= through

        for n in range(entry, len(self.rows)):
            row = self.rows[n]
            opened, high, low, close = self.scaled(row, basis)
            bad, good = (low, high) if sign > 0 else (high, low)
            if n > entry:
                if adverse(opened):
                    seen(opened)
                    beyond = sign * (opened - stop) < -slack
                    return result(n, opened, "STOP_GAP" if beyond else stop_word, at_open=True)
                if sign * (opened - target) > slack:
                    seen(opened)
                    return result(n, opened, "TARGET_GAP", at_open=True)
            if adverse(bad) and reached(good):
                ambiguous, wins = True, False
                if config.path_policy == "optimistic":
                    wins = True
                elif config.path_policy == "nearest_extreme":
                    wins = abs(good - opened) < abs(opened - bad)
                elif config.path_policy == "random":
                    wins = coin(row)
                elif config.path_policy == "drill_down":
                    wins, ambiguous = self.replay(row, basis, sign, adverse, reached)
                seen(opened, target if wins else stop)
                return result(n, target if wins else stop, "TARGET" if wins else stop_word, ambiguous)
            if adverse(bad):
                seen(opened, stop)
                return result(n, stop, stop_word)
            if reached(good):
                seen(opened, target)
                return result(n, target, "TARGET")
            seen(good, bad)
            reason = self.time_exit(n, first_window, width, style, config)
            if reason is not None:
                return result(n, close, reason)
            if (
                config.breakeven
                and sign * (close - reference) >= stop_distance - slack
                and sign * (reference - stop) > 0
            ):
                stop, stop_word = reference, "BREAKEVEN"
            if config.trailing:
                best_close = close if best_close is None else max(best_close * sign, close * sign) * sign
                trailed = best_close - sign * config.trail_atr * atr
                if sign * (trailed - stop) > 0:
                    stop, stop_word = trailed, "TRAIL"
        raise AssertionError("the last bar always ends a trade")

    def replay(self, bar: Row, basis: float, sign: float, adverse: Any, reached: Any) -> tuple[bool, bool]:
        """Whether the target came first inside `bar`, and whether that stays open."""
        for row in self.finer:
            if row["bar_start"] < bar["bar_start"] or row["bar_end"] > bar["bar_end"]:
                continue
            _, high, low, _ = self.scaled(row, basis)
            bad, good = (low, high) if sign > 0 else (high, low)
            if adverse(bad) and reached(good):
                return False, True
            if adverse(bad):
                return False, False
            if reached(good):
                return True, False
        return False, True

    def time_exit(
        self, n: int, first_window: tuple[date, int], width: int, style: str, config: BacktestConfig
    ) -> str | None:
        """The reason a position ends at the close of bar `n` when no level was hit, or None."""
        row = self.rows[n]
        following = self.rows[n + 1] if n + 1 < len(self.rows) else None
        broken = following is None or following.get("series_id") != row.get("series_id")
        held = windows_from(first_window, window_number(row["bar_end"], row["session"], width), width) + 1
        if held == config.max_hold_bars and (
            broken
            or windows_from(first_window, window_number(following["bar_end"], following["session"], width), width) + 1
            > config.max_hold_bars
        ):
            return "MAX_HOLD"
        if not broken:
            later = (
                windows_from(first_window, window_number(following["bar_end"], following["session"], width), width) + 1
            )
            if later > config.max_hold_bars:
                return "MAX_HOLD"
        if style != "swing" and (
            following is None
            or following["session"] != row["session"]
            or following["bar_end"] > self.flat_time(row, config)
        ):
            return "SESSION_CLOSE"
        return "DATA_END" if broken else None


def simulate(
    signals: Sequence[Row],
    bars: Sequence[Row],
    config: BacktestConfig,
    *,
    finer: Sequence[Row] = (),
    splits: Splits | None = None,
    coin: Any = None,
) -> tuple[list[Row], list[tuple[Row, str]]]:
    """Trades (one row a leg) and (signal, disposition) pairs of `signals`, with the pct cost model."""
    splits = splits or {}
    trades: list[Row] = []
    dispositions: list[tuple[Row, str]] = []
    groups = sorted({(row["detector"], row["symbol"]) for row in signals})
    for detector, symbol in groups:
        book = Book(symbol, bars, finer, splits)
        own = [row for row in signals if (row["detector"], row["symbol"]) == (detector, symbol)]
        own.sort(key=lambda row: (row["available_at"], row["bar_end"], row["direction"]))
        free_from: datetime | None = None
        for signal in own:
            style = config.style_for(signal["timeframe"])
            if signal["score"] is None or signal["score"] < config.min_score:
                dispositions.append((signal, "below_min_score"))
                continue
            if signal["atr"] is None or not signal["atr"] > 0:
                dispositions.append((signal, "no_atr"))
                continue
            entry, why = book.entry(signal, style, config)
            if entry is None:
                dispositions.append((signal, str(why)))
                continue
            row = book.rows[entry]
            strict = row["timeframe"] == "1m"
            known = signal["available_at"] if strict else signal["bar_end"]
            if free_from is not None and known < free_from:
                dispositions.append((signal, "suppressed_open_position"))
                continue
            dispositions.append((signal, "taken"))
            now, then = factor_of(symbol, row["session"], splits), factor_of(symbol, signal["session"], splits)
            atr = signal["atr"] if now == then else signal["atr"] * (then / now)
            reference = row["open"]
            risk = max(config.stop_atr * atr, config.min_stop_pct / 100.0 * reference)
            whole = config.risk_per_trade_pct / 100.0 * config.initial_equity_usd / risk
            limit = config.max_notional_multiple * config.initial_equity_usd / reference
            legs = [(1.0, config.target_atr)]
            if config.scale_out_fraction > 0:
                legs = [
                    (config.scale_out_fraction, config.scale_out_atr),
                    (1 - config.scale_out_fraction, config.target_atr),
                ]
            for leg, (fraction, multiple) in enumerate(legs):
                found = book.exit(entry, signal, style, config, risk, multiple * atr, atr, coin)
                sign = 1.0 if signal["direction"] == "LONG" else -1.0
                units = min(whole, limit) * fraction
                share = config.slippage_pct / 100.0 * config.cost_multiplier
                gross = sign * (found["exit_ref_price"] - reference) * units
                cost = share * (reference + found["exit_ref_price"]) * units
                moved = {True: found["target"], False: found["stop"]}
                ends = [found["exit_ref_price"]] * 2
                if found["ambiguous"]:
                    ends = [moved[False], moved[True]]
                nets = [(sign * (end - reference) - share * (reference + end)) / risk for end in ends]
                trades.append({
                    "detector": detector, "symbol": symbol, "leg": leg, "signal_bar_end": signal["bar_end"],
                    "entry_at": row["bar_start"], "entry_ref_price": reference, "exit_at": found["exit_at"],
                    "exit_ref_price": found["exit_ref_price"], "exit_reason": found["exit_reason"],
                    "ambiguous": found["ambiguous"], "bars_held": found["bars_held"], "units": units,
                    "minutes_held": trading_minutes(row["bar_start"], found["exit_at"]),
                    "entry_basis": "strict" if strict else "coarse_next_open", "risk_per_unit": risk,
                    "stop_initial": reference - sign * risk, "target_initial": reference + sign * multiple * atr,
                    "size_capped": whole > limit, "pnl_gross": gross, "pnl_net": gross - cost,
                    "entry_fill_price": reference * (1 + sign * share),
                    "exit_fill_price": found["exit_ref_price"] * (1 - sign * share),
                    "r_gross": gross / (units * risk), "r_net": (gross - cost) / (units * risk),
                    "cost_r": cost / (units * risk), "mfe_r": found["mfe"] / risk, "mae_r": found["mae"] / risk,
                    "r_worst": nets[0], "r_best": nets[1], "gap_exit": found["exit_reason"].endswith("_GAP"),
                    "style": style,
                })  # fmt: skip
                end = book.rows[found["exit"]]["bar_end"]
                free_from = end if free_from is None else max(free_from, end)
    return trades, dispositions
