"""The price and volume processes: from a plan to raw one-minute and daily bars in the vendor's columns.

Every price path is a martingale (E[S] constant) but for the planted recoveries and the dividends: simple returns are
symmetric noise times a volatility that does not look at them, compounded. What files look like is in ``files.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from strategy_pipeline.market.calendar import NEW_YORK, session
from strategy_pipeline.market.symbols import INDEX, INDEX_PROXY, vendor_ticker
from strategy_pipeline.synthetic.draws import Array, growth, normals, smooth, uniforms
from strategy_pipeline.synthetic.plan import MARKET, RECOVERY_MINUTES, MarketPlan, OneMinute, Security

Ints = npt.NDArray[np.int64]
Noise = Literal["as_drawn", "sign_flipped", "block_shuffled"]

# The index each fund tracks.
_TRACKED = {fund: index for index, fund in INDEX_PROXY.items()}
# Trades inside a minute from which its open, high, low and close are taken.
STEPS = 8
# A past session without minute bars has one step for each 15 minutes.
_HISTORY_STEPS = 26
_BLOCK_MINUTES = 30
_DAY_WINDOW, _DAY_SPREAD = 10, 0.20
_MINUTE_WINDOW, _MINUTE_SPREAD = 60, 0.25
_OPENING_MINUTES, _OPENING_SPREAD = 30, 0.40
_VOLUME_SPREAD, _CLOSING_AUCTION = 0.22, 6.0
# A day with news is busy from its open on, whichever way the news will go.
_ANTICIPATION = 1.4
# Volume after news: from and to this many minutes after its own, so many times the usual.
_RUSH = ((0, 1, 200.0), (1, 15, 22.0), (15, 75, 2.0))
_CHICAGO = ZoneInfo("America/Chicago")
_MINUTE_NS = 60_000_000_000
_SHARES_PER_TRADE = 120
# Minutes from the open and from the close at which extended hours trade; before the open with the part of the night's
# gap that has been walked by then, in percent.
_PRE_MARKET = ((-330, 10), (-120, 30), (-60, 55), (-30, 70), (-15, 85), (-5, 95), (-1, 100))
_POST_MARKET = (0, 5, 30, 90)


@dataclass(frozen=True)
class _Path:
    """One symbol on its newest share basis: $ after each step of a minute and of an earlier session, shares by minute.

    `daily_history` holds the sessions of the plan's past and history.
    """

    prices: Array
    volume: Ints | None
    daily_history: Array


@dataclass(frozen=True)
class Bars:
    """Columns of raw bars: prices in whole cents, volume in shares or None for an index."""

    opens: Ints
    highs: Ints
    lows: Ints
    closes: Ints
    volume: Ints | None


def _u_shape(minutes: int, floor: float, edges: float, morning: float) -> Array:
    """A profile over the minutes of a session: high at both ends, higher in the morning; its mean is about 1."""
    t = (np.arange(minutes, dtype=np.float64) + 0.5) / minutes
    edge = (1.0 - 2.0 * t) * (1.0 - 2.0 * t)
    return floor + edges * (edge * edge) + morning * ((1.0 - t) * (1.0 - t) * (1.0 - t))


def cents(prices: Array) -> Ints:
    """Prices in $ as whole cents, halves up; at least one cent."""
    return np.maximum(np.floor(prices * 100.0 + 0.5), 1.0).astype(np.int64)


class PriceProcess:
    """Draws the bars of a plan; `noise` gives a variant whose returns keep their sizes and lose their pattern."""

    def __init__(self, plan: MarketPlan, noise: Noise = "as_drawn") -> None:
        self.plan = plan
        self.noise = noise
        self._sessions = [session(day) for day in plan.sessions]
        self._starts = np.cumsum([0, *(one.minutes for one in self._sessions)])
        self._session_of = {day: at for at, day in enumerate(plan.sessions)}
        self._minutes = int(self._starts[-1])

    def _normals(self, stream: str, shape: tuple[int, ...]) -> Array:
        return normals(self.plan.seed, stream, shape)

    def _by_session(self, of_session: Array) -> Array:
        """Repeats one value a session over its minutes."""
        return np.repeat(of_session, [one.minutes for one in self._sessions])

    def _position(self, one: OneMinute) -> int:
        return int(self._starts[self._session_of[one.session]]) + one.minute

    def _activity(self, stream: str) -> tuple[Array, Array]:
        """How busy a symbol is, about 1: [minutes] and, for the history, [sessions]; it wanders by day and by hour."""
        earlier = len(self.plan.history)
        days = earlier + len(self._sessions)
        day_noise = self._normals(f"activity/day/{stream}", (days + _DAY_WINDOW,))
        minute_noise = self._normals(f"activity/minute/{stream}", (self._minutes + _MINUTE_WINDOW,))
        level = growth(_DAY_SPREAD * smooth(day_noise, _DAY_WINDOW))
        ripple = growth(_MINUTE_SPREAD * smooth(minute_noise, _MINUTE_WINDOW))
        opening = growth(_OPENING_SPREAD * self._normals(f"activity/opening/{stream}", (len(self._sessions),)))
        for at, start in enumerate(self._starts[:-1]):
            ripple[start : start + _OPENING_MINUTES] *= opening[at]
        return self._by_session(level[earlier:]) * ripple, level[:earlier]

    def _volatility(self, security: Security) -> tuple[Array, Array]:
        """Volatility of one step by minute and of one history step by session, as fractions."""
        busy, busy_days = self._activity(security.symbol)
        shape = np.concatenate([_u_shape(one.minutes, 0.78, 0.55, 0.40) for one in self._sessions])
        bar = security.vol_15m_pct / 100.0
        return bar / np.sqrt(15.0 * STEPS) * busy * shape, bar * busy_days

    @cached_property
    def _market(self) -> tuple[Array, Array]:
        """Returns of the market index: [minutes, STEPS] and, for the history, [sessions, steps]."""
        return self._own_returns(next(one for one in self.plan.securities if one.symbol == MARKET))

    def _returns(self, security: Security) -> tuple[Array, Array]:
        """All of a security's returns: its own and its share in the market's."""
        if security.symbol == MARKET:
            return self._market
        returns, history = self._own_returns(security)
        return returns + security.market_beta * self._market[0], history + security.market_beta * self._market[1]

    def _own_returns(self, security: Security) -> tuple[Array, Array]:
        """A security's own part of the returns with its news; the first step of a session carries the night."""
        name, (step_vol, past_vol) = security.symbol, self._volatility(security)
        returns = self._normals(f"steps/{name}", (self._minutes, STEPS)) * step_vol[:, None]
        history = self._normals(f"history/{name}", (len(past_vol), _HISTORY_STEPS)) * past_vol[:, None]
        nights = self._normals(f"nights/{name}", (len(past_vol) + len(self._sessions),))
        nights = nights * (security.vol_overnight_pct / 100.0)
        history[:, 0] += nights[: len(history)]
        returns[self._starts[:-1], 0] += nights[len(history) :]
        self._add_news(security, returns)
        return returns, history

    def _add_news(self, security: Security, returns: Array) -> None:
        """Jumps between two minutes; a planted recovery is a constant drift from the end of the news bar on.

        A jump inside a minute would hand every stop its own price although nobody traded there: an edge from nothing.
        """
        for one in self.plan.news:
            if one.symbol != security.symbol:
                continue
            at = self._position(OneMinute(one.symbol, one.session, one.minute))
            returns[at, 0] += one.jump_bps / 10_000.0
            after = at - one.minute % 15 + 15
            until = min(after + RECOVERY_MINUTES, int(self._starts[self._session_of[one.session] + 1]))
            returns[after:until] += one.recovery_bps / 10_000.0 / (RECOVERY_MINUTES * STEPS)

    @cached_property
    def _past_market(self) -> Array:
        """Returns of the market index in the plan's past, [sessions, steps]."""
        return self._own_past(next(one for one in self.plan.securities if one.symbol == MARKET))

    def _own_past(self, security: Security) -> Array:
        """A security's own returns in the plan's past, from streams of their own, so that nothing later changes."""
        name, days = security.symbol, len(self.plan.past)
        level = growth(_DAY_SPREAD * smooth(self._normals(f"past/activity/{name}", (days + _DAY_WINDOW,)), _DAY_WINDOW))
        vol = security.vol_15m_pct / 100.0 * level
        returns = self._normals(f"past/steps/{name}", (days, _HISTORY_STEPS)) * vol[:, None]
        returns[:, 0] += self._normals(f"past/nights/{name}", (days,)) * (security.vol_overnight_pct / 100.0)
        return returns

    def _with_past(self, security: Security, start: float, history: Array) -> Array:
        """Prices of the past and of the history: the past ends where the history begins, at `start`."""
        if not self.plan.past:
            return history
        returns = self._past_market
        if security.symbol != MARKET:
            returns = self._own_past(security) + security.market_beta * returns
        chain = (1.0 + returns).ravel().cumprod()
        return np.concatenate([(chain * (start / chain[-1])).reshape(returns.shape), history])

    def _rearranged(self, returns: Array) -> Array:
        """The variant's returns: the same for all symbols, so that funds go on tracking their indices."""
        if self.noise == "as_drawn":
            return returns
        if self.noise == "sign_flipped":
            signs = np.where(uniforms(self.plan.seed, "flips", (self._minutes,)) < 0.5, -1.0, 1.0)
            return returns * signs[:, None]
        blocks = self._minutes // _BLOCK_MINUTES
        order = np.argsort(uniforms(self.plan.seed, "blocks", (blocks,)), kind="stable")
        return returns.reshape(blocks, -1)[order].reshape(returns.shape)

    def _compounded(self, security: Security, returns: Array, history: Array) -> tuple[Array, Array]:
        """Prices from returns, starting at the security's price; dividends leave the price on their ex-date."""
        start = security.price
        for split in self.plan.splits:
            if split.symbol == security.symbol:
                start = start * split.split_from / split.split_to
        factors = 1.0 + self._rearranged(returns)
        for dividend in self.plan.dividends:
            if dividend.symbol == security.symbol:
                factors[self._starts[self._session_of[dividend.ex_date]], 0] *= 1.0 - dividend.yield_bps / 10_000.0
        chain = np.concatenate([[start], (1.0 + history).ravel(), factors.ravel()]).cumprod()
        earlier = history.size + 1
        before = self._with_past(security, start, chain[1:earlier].reshape(history.shape))
        return chain[earlier:].reshape(returns.shape), before

    @cached_property
    def _paths(self) -> Mapping[str, _Path]:
        """Every symbol's path; a fund is its index over a fixed divisor, less its dividends, plus a hair of noise."""
        paths: dict[str, _Path] = {}
        prices_of = {one.symbol: one.price for one in self.plan.securities}
        for one in self.plan.securities:
            if one.symbol in _TRACKED:
                index = paths[_TRACKED[one.symbol]]
                ratio = one.price / prices_of[_TRACKED[one.symbol]]
                hair = 1.0 + 0.00003 * self._normals(f"tracking/{one.symbol}", index.prices.shape)
                kept = np.ones(len(self._sessions))
                for dividend in self.plan.dividends:
                    if dividend.symbol == one.symbol:
                        kept[self._session_of[dividend.ex_date] :] *= 1.0 - dividend.yield_bps / 10_000.0
                prices = index.prices * ratio * hair * self._by_session(kept)[:, None]
                history = index.daily_history * ratio
            else:
                prices, history = self._compounded(one, *self._returns(one))
            paths[one.symbol] = _Path(prices, self._volume(one), history)
        return paths

    def _volume(self, security: Security) -> Ints | None:
        """Shares by minute: U-shaped, with busy and quiet days, a closing auction, and a rush after news."""
        if security.asset_class == INDEX:
            return None
        level = growth(_VOLUME_SPREAD * self._normals(f"volume/day/{security.symbol}", (len(self._sessions),)))
        chance = uniforms(self.plan.seed, f"volume/minute/{security.symbol}", (self._minutes,))
        shape = np.concatenate([_u_shape(one.minutes, 0.55, 1.30, 0.76) for one in self._sessions])
        busy, _ = self._activity(_TRACKED.get(security.symbol, security.symbol))
        volume = security.shares_per_minute * self._by_session(level) * busy * shape * (0.5 + 1.5 * chance * chance)
        volume[self._starts[1:] - 1] *= _CLOSING_AUCTION
        newsmaker = MARKET if security.symbol in _TRACKED else security.symbol
        for one in self.plan.news:
            if one.symbol == newsmaker:
                at = self._position(OneMinute(one.symbol, one.session, one.minute))
                volume[at - one.minute : at] *= _ANTICIPATION
                for first, last, times in _RUSH:
                    volume[at + first : at + last] *= times
        return np.floor(volume + 1.0).astype(np.int64)

    def _basis(self, security: Security, days: tuple[date, ...]) -> Ints:
        """How many of the newest shares one share of each day was: that day's raw prices are higher by it."""
        basis = np.ones(len(days), dtype=np.int64)
        for split in self.plan.splits:
            if split.symbol == security.symbol:
                before = np.array([day < split.execution_date for day in days], dtype=np.bool_)
                basis[before] *= split.split_to // split.split_from
        return basis

    @cached_property
    def _regular(self) -> Mapping[str, Bars]:
        """Every symbol's raw minute bars of regular hours, without anything wrong in them."""
        bars = {}
        for one in self.plan.securities:
            path = self._paths[one.symbol]
            basis = self._by_session(self._basis(one, self.plan.sessions).astype(np.float64))
            steps = cents(path.prices * basis[:, None])
            volume = None if path.volume is None else np.maximum(path.volume // basis.astype(np.int64), 1)
            bars[one.symbol] = Bars(steps[:, 0], steps.max(axis=1), steps.min(axis=1), steps[:, -1], volume)
        return bars

    def market_steps(self) -> tuple[Array, list[Array]]:
        """The market index in $ after each step of an earlier session, [sessions, steps], and after each minute."""
        path = self._paths[MARKET]
        closes = path.prices[:, -1]
        return path.daily_history, [closes[a:b] for a, b in zip(self._starts[:-1], self._starts[1:], strict=True)]

    def closes(self, symbol: str, day: date) -> Ints:
        """What a symbol traded at in a session with minutes: its first price and the close of each regular minute.

        Whole cents on the day's own share basis, without anything wrong in them.
        """
        at = self._session_of[day]
        own, bars = slice(self._starts[at], self._starts[at + 1]), self._regular[symbol]
        return np.concatenate([bars.opens[own][:1], bars.closes[own]])

    @cached_property
    def minutes(self) -> pl.DataFrame:
        """Raw minute bars of all symbols, sorted by session, ticker and window_start.

        Columns: session, ticker (the vendor's), window_start (ns), open, high, low, close (whole cents), volume and
        transactions (null for indices). Thin extended hours surround the regular ones of what trades.
        """
        where, starts = minute_starts(self.plan.sessions)
        frames = []
        for one in self.plan.securities:
            bars = self._regular[one.symbol]
            frame = bars_frame(one, self.plan.sessions, where, starts, bars)
            bad = self.plan.bad_print
            if bad.symbol == one.symbol:
                wrong = pl.int_range(pl.len()) == self._position(bad)
                frame = frame.with_columns(low=pl.when(wrong).then(pl.col("low") * 35 // 100).otherwise("low"))
            if one.missing_minutes_pct:
                frame = frame.filter(pl.Series(self._traded(one)))
            frames.append(frame)
            if bars.volume is not None:
                frames.append(self._extended_hours(one, bars))
        return pl.concat(frames).sort("session", "ticker", "window_start", maintain_order=True)

    def _traded(self, security: Security) -> npt.NDArray[np.bool_]:
        """Minutes in which a thinly traded stock prints; the first and the last of a session always do."""
        chance = uniforms(self.plan.seed, f"gaps/{security.symbol}", (self._minutes,))
        traded = chance >= security.missing_minutes_pct / 100.0
        traded[self._starts[:-1]] = True
        traded[self._starts[1:] - 1] = True
        return traded

    def _extended_hours(self, security: Security, bars: Bars) -> pl.DataFrame:
        """A few thin minutes before the open, walking over the night's gap, and after the close."""
        where, starts, prices = [], [], []
        basis = self._basis(security, self.plan.sessions)
        for at, one in enumerate(self._sessions):
            first, last = int(bars.opens[self._starts[at]]), int(bars.closes[self._starts[at + 1] - 1])
            before = int(bars.closes[self._starts[at] - 1]) * int(basis[at]) // int(basis[at - 1]) if at else first
            for minute, share in _PRE_MARKET:
                where.append(at)
                starts.append(_nanoseconds(one.open) + minute * _MINUTE_NS)
                prices.append(before + (first - before) * share // 100)
            for minute in _POST_MARKET:
                where.append(at)
                starts.append(_nanoseconds(one.close) + minute * _MINUTE_NS)
                prices.append(last)
        price = np.maximum(np.array(prices, dtype=np.int64), 2)
        chance = uniforms(self.plan.seed, f"volume/extended/{security.symbol}", (len(price),))
        volume = np.floor(security.shares_per_minute * (0.01 + 0.05 * chance) + 1.0).astype(np.int64)
        thin = Bars(price, price + 1, price - 1, price, volume)
        return bars_frame(security, self.plan.sessions, np.array(where), np.array(starts), thin)

    @cached_property
    def days(self) -> pl.DataFrame:
        """Raw day bars of regular hours over the history and the minute window, in the columns of ``minutes``.

        They hold what the exchange stood by: neither the bad print nor the minute that was revised shows in them.
        """
        before = (*self.plan.past, *self.plan.history)
        days = (*before, *self.plan.sessions)
        first, last = self._starts[:-1], self._starts[1:] - 1
        frames = []
        for one in self.plan.securities:
            bars, path = self._regular[one.symbol], self._paths[one.symbol]
            basis = self._basis(one, before)
            earlier = cents(path.daily_history * basis[:, None].astype(np.float64))
            volume = None
            if bars.volume is not None:
                chance = np.concatenate(
                    [
                        uniforms(self.plan.seed, f"volume/{when}/{one.symbol}", (len(sessions),))
                        for when, sessions in (("past", self.plan.past), ("history", self.plan.history))
                    ]
                )
                past = np.floor(one.shares_per_minute * 390.0 * (0.7 + 0.6 * chance)).astype(np.int64) // basis
                volume = np.concatenate([past, np.add.reduceat(bars.volume, first)])
            whole = Bars(
                np.concatenate([earlier[:, 0], bars.opens[first]]),
                np.concatenate([earlier.max(axis=1), np.maximum.reduceat(bars.highs, first)]),
                np.concatenate([earlier.min(axis=1), np.minimum.reduceat(bars.lows, first)]),
                np.concatenate([earlier[:, -1], bars.closes[last]]),
                volume,
            )
            frames.append(bars_frame(one, days, np.arange(len(days)), day_starts(days, one.asset_class), whole))
        return pl.concat(frames).sort("session", "ticker", maintain_order=True)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


def minute_starts(days: Sequence[date]) -> tuple[Ints, Ints]:
    """For every regular minute of `days` the position of its session and its start (ns)."""
    sessions = [session(day) for day in days]
    starts = [_nanoseconds(one.open) + _MINUTE_NS * np.arange(one.minutes) for one in sessions]
    return np.repeat(np.arange(len(sessions)), [one.minutes for one in sessions]), np.concatenate(starts)


def day_starts(days: Sequence[date], asset_class: str) -> Ints:
    """The vendor's start of each day's bar (ns): midnight New York, for indices midnight Chicago."""
    zone = _CHICAGO if asset_class == INDEX else NEW_YORK
    return np.array([_nanoseconds(datetime.combine(day, time(0), zone)) for day in days], dtype=np.int64)


def bars_frame(security: Security, days: tuple[date, ...], where: Ints, starts: Ints, bars: Bars) -> pl.DataFrame:
    """Bars of one security as rows; `where` is the position of each row's session in `days`."""
    absent = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(starts))
    ticker = vendor_ticker(security.symbol, security.asset_class)
    return pl.DataFrame(
        {
            "session": pl.Series(days, dtype=pl.Date).gather(where),
            "ticker": pl.Series([ticker]).new_from_index(0, len(starts)),
            "window_start": starts,
            "open": bars.opens,
            "high": bars.highs,
            "low": bars.lows,
            "close": bars.closes,
            "volume": absent if bars.volume is None else bars.volume,
            "transactions": absent if bars.volume is None else bars.volume // _SHARES_PER_TRADE + 1,
        }
    )
