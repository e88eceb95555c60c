"""The options of the synthetic market: contracts listed, quoted, traded and held, session by session.

Every price comes from the surface at the underlying's last completed minute, so a quote depends on nothing after it.
Draws have streams of their own: with or without options the bars are the same. Files are ``option_files.py``'s work.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from strategy_pipeline.market.calendar import SNAPSHOT_MINUTES, next_session, session
from strategy_pipeline.market.options import expires_at, root_named
from strategy_pipeline.pricing import american, black_scholes
from strategy_pipeline.synthetic import option_plan
from strategy_pipeline.synthetic.draws import Array, uniforms
from strategy_pipeline.synthetic.market import Ints, PriceProcess
from strategy_pipeline.synthetic.option_plan import (
    CHAINS,
    EXCHANGES,
    POSITIONS,
    SWEEP_PRINTS,
    Chain,
    OptionsPlan,
    Tape,
    monthly_expiries,
    weekly_expiries,
)
from strategy_pipeline.synthetic.volatility_index import VolatilityIndex

_SECOND_NS, _MINUTE_NS, _YEAR_NS = 10**9, 60 * 10**9, 525_600 * 60 * 10**9
# Half a spread is at least this share of a tick and of the price.
_HALF_TICKS, _HALF_SHARE = 0.6, 0.004
# Shares of quotes at an instant that nobody bids for, that are wide, and that are locked.
_ONE_SIDED, _WIDE, _LOCKED = 0.010, 0.010, 0.005
# Premiums in $: what a single print stays below unless it is planned as a block, what a block comes to, and what an
# order that sweeps comes to (least, and spread).
_MOST_PREMIUM, _BLOCK_PREMIUM, _SWEEP_PREMIUM = 400_000.0, 600_000.0, (80_000.0, 240_000.0)
# What is held of options in the money and of puts, against calls out of the money.
_IN_THE_MONEY_SHARE, _PUTS = 0.3, 0.8
# Where planned prints fall inside a minute, and where regular ones do: they never meet, nor the quotes on the minute.
_PLANNED_FROM_S, _PLANNED_SPREAD_S = 21.0, 18.0
_REGULAR_FROM_S, _REGULAR_SPREAD_S = (6.0, 45.0), 11.0
_QUOTE_BEFORE_PLANNED_NS = 150_000_000


class Contract(NamedTuple):
    """One listed option: `expires_ns` is the moment it settles, `strike_milli` its strike in thousandths of $."""

    ticker: str
    root: str
    expiration: date
    expires_ns: int
    strike_milli: int
    is_call: bool


@dataclass(frozen=True)
class OptionDay:
    """Everything that is published about the options of one session.

    quotes: ticker, ts (ns), bid and ask (whole cents, a bid of 0 is no bid), bid_size, ask_size, bid_exchange,
        ask_exchange. trades: ticker, ts, price (whole cents), size, exchange, condition. Both by ticker and time.
    open_interest: ticker and open_interest of the morning, which describes the session before.
    """

    day: date
    quotes: pl.DataFrame
    trades: pl.DataFrame
    open_interest: pl.DataFrame


class OptionMarket:
    """The options of a plan on the prices of its market; what happens in a session depends on it and earlier ones."""

    def __init__(self, plan: OptionsPlan, prices: PriceProcess, vix: VolatilityIndex) -> None:
        self.plan, self._prices, self._vix = plan, prices, vix
        self._seed = prices.plan.seed

    def days(self) -> Iterator[OptionDay]:
        """The sessions with options in order."""
        boards = [_Board(chain, self.plan, self._seed) for chain in CHAINS]
        for day in self.plan.sessions:
            parts = []
            for board in boards:
                if day >= self.plan.listed_from.get(board.chain.symbol, day):
                    moments = self._moments(board.chain, day)
                    morning = board.list_for(day, self._close_before(board.chain.symbol, day))
                    traded = _Session(board, self.plan.tape(board.chain.symbol, day), moments)
                    board.settle(traded.opened)
                    parts.append((traded.quotes, traded.trades, morning))
            quotes, trades, interest = (pl.concat(frames) for frames in zip(*parts, strict=True))
            by_time = ["ticker", "ts"]
            yield OptionDay(day, quotes.sort(by_time), trades.sort(by_time), interest.sort("ticker"))

    def _moments(self, chain: Chain, day: date) -> "Moments":
        at = self._prices.plan.sessions.index(day)
        spot = self._prices.closes(chain.symbol, day) / 100.0
        opened = int(session(day).open.timestamp()) * _SECOND_NS
        rate = float(365.0 * np.log1p(self.plan.rate_pct(day) / 36_500.0))
        return Moments(day, opened, spot, self._vix.after_minutes(at), rate)

    def _close_before(self, symbol: str, day: date) -> float:
        days = self._prices.plan.sessions
        before = days[days.index(day) - 1]
        basis = 1
        for split in self._prices.plan.splits:
            if split.symbol == symbol and before < split.execution_date <= day:
                basis = split.split_to // split.split_from
        return float(self._prices.closes(symbol, before)[-1]) / 100.0 / basis


@dataclass(frozen=True)
class Moments:
    """A session as options see it: the underlying ($) and VIX (points) after each number of completed minutes.

    `opened_ns` is the open; `rate` is continuous, decimal per year.
    """

    day: date
    opened_ns: int
    spot: Array
    vix: Array
    rate: float

    @property
    def minutes(self) -> int:
        """Regular minutes of the session."""
        return len(self.spot) - 1


def model_prices(
    chain: Chain, moments: Moments, minute: Ints, years: Array, strike: Array, is_call: npt.NDArray[np.bool_]
) -> Array:
    """Prices in $ on the chain's surface after `minute` completed minutes, `years` before expiry.

    European roots by Black-Scholes-Merton; American puts on trees, and American calls, which pay no dividend here, in
    closed form again. All arguments have one length; years must be above zero.
    """
    spot, vix = moments.spot[minute], moments.vix[minute]
    forward = spot * np.exp((moments.rate - chain.carry) * years)
    volatility = chain.surface.volatility(np.log(strike / forward), years, vix)
    terms = (spot, strike, years, moments.rate, chain.carry, volatility)
    prices = black_scholes.price(*terms, is_call)
    if root_named(chain.weekly_root).exercise_style == "american" and not is_call.all():
        put = np.flatnonzero(~is_call)
        prices[put] = american.prices(
            spot[put], strike[put], years[put], moments.rate, chain.carry, volatility[put], False
        )
    return prices


def ticks(chain: Chain, in_cents: Array) -> Array:
    """The tick of prices in cents: the smaller one below 3 $."""
    return np.where(in_cents < 300.0, float(chain.ticks[0]), float(chain.ticks[1]))


def quoted(chain: Chain, price: Array) -> tuple[Ints, Ints]:
    """Bid and ask in whole cents around model prices in $, each on its tick and at least half a spread away."""
    in_cents = price * 100.0
    tick = ticks(chain, in_cents)
    half = np.maximum(_HALF_TICKS * tick, _HALF_SHARE * in_cents)
    bid = np.maximum(np.floor((in_cents - half) / tick) * tick, 0.0)
    return bid.astype(np.int64), (np.ceil((in_cents + half) / tick) * tick).astype(np.int64)


class _Board:
    """The contracts of one chain, listed around each close before and held until they expire."""

    def __init__(self, chain: Chain, plan: OptionsPlan, seed: int) -> None:
        self.chain, self.plan, self.seed = chain, plan, seed
        self.interest: dict[Contract, int] = {}
        self.contracts: list[Contract] = []

    def list_for(self, day: date, close_before: float) -> pl.DataFrame:
        """Lists what is new on `day` and drops what settled by its open; returns the morning's open interest."""
        opened_ns = int(session(day).open.timestamp()) * _SECOND_NS
        listed = self._listed(day, close_before)
        new = sorted(one for one in listed if one not in self.interest and one.expires_ns > opened_ns)
        draws = uniforms(self.seed, f"options/interest/{self.chain.symbol}/{day}", (len(new),))
        for one, draw in zip(new, draws.tolist(), strict=True):
            self.interest[one] = int(self._held(one, close_before, listed[one]) * (0.6 + 0.8 * draw))
        self.interest = {one: held for one, held in sorted(self.interest.items()) if one.expires_ns > opened_ns}
        self.contracts = list(self.interest)
        return pl.DataFrame(
            {"ticker": [one.ticker for one in self.contracts], "open_interest": list(self.interest.values())},
            schema={"ticker": pl.String, "open_interest": pl.Int64},
        )

    def settle(self, opened: Ints) -> None:
        """Adds the contracts that a session opened, less those it closed, to the open interest."""
        for one, change in zip(self.contracts, opened.tolist(), strict=True):
            self.interest[one] = max(self.interest[one] + change, 0)

    def _listed(self, day: date, close: float) -> dict[Contract, float]:
        """Contracts around a close with the width ($) of the listing that each belongs to."""
        chain = self.chain
        listed: dict[Contract, float] = {}
        kinds = [
            (weekly_expiries, chain.weekly_root, chain.weekly_days, chain.weekly_step, chain.weekly_reach),
            (weekly_expiries, chain.weekly_root, chain.near_days, float(chain.near_step), chain.near_reach),
        ]
        for find, root, ahead, step, reach in kinds:
            for expiration in find(chain, day, day + timedelta(days=ahead)) if reach else ():
                listed.update(self._around(root, expiration, close, step, reach))
        for expiration in monthly_expiries(day, day + timedelta(days=chain.monthly_days)):
            listed.update(self._around(chain.monthly_root, expiration, close, chain.monthly_step, chain.monthly_reach))
        return listed

    def _around(
        self, root: str, expiration: date, close: float, step: float, reach: int
    ) -> Iterator[tuple[Contract, float]]:
        settles = int(expires_at(expiration, root_named(root).settlement).timestamp()) * _SECOND_NS
        centre = int(close / step + 0.5)
        for number in range(max(centre - reach, 1), centre + reach + 1):
            milli = int(number * step * 1_000.0)
            for letter in "CP":
                ticker = f"O:{root}{expiration:%y%m%d}{letter}{milli:08d}"
                yield Contract(ticker, root, expiration, settles, milli, letter == "C"), step * reach

    def _held(self, one: Contract, close: float, width: float) -> float:
        """Contracts held when a contract is first listed here: most out of the money, near the close, round strikes."""
        strike = one.strike_milli / 1_000.0
        away = (strike - close) / width
        monthly = one.root == self.chain.monthly_root and width > self.chain.weekly_step * self.chain.weekly_reach
        held = float(self.chain.monthly_interest if monthly else self.chain.weekly_interest)
        held /= 1.0 + 6.0 * away * away
        if (away < 0.0) == one.is_call:
            held *= _IN_THE_MONEY_SHARE
        if one.strike_milli % (self.chain.round_strike * 1_000) == 0:
            held *= 2.0
        if not one.is_call:
            held *= _PUTS
        return held


class _Session:
    """One session of one chain: quotes on the quarter hours and before each print, and the tape the plan asks for."""

    def __init__(self, board: _Board, tape: Tape, moments: Moments) -> None:
        self.plan, self.chain, self.tape, self.moments, self.seed = board.plan, board.chain, tape, moments, board.seed
        contracts = board.contracts
        self.tickers = pl.Series([one.ticker for one in contracts], dtype=pl.String)
        self.strike = np.array([one.strike_milli for one in contracts], dtype=np.float64) / 1_000.0
        self.is_call = np.array([one.is_call for one in contracts], dtype=np.bool_)
        self.expires = np.array([one.expires_ns for one in contracts], dtype=np.int64)
        self.days_left = np.array([(one.expiration - moments.day).days for one in contracts], dtype=np.int64)
        prints = self._prints()
        self.quotes = pl.concat([self._on_the_quarter_hours(), self._before(prints)])
        self.trades = self._tape(prints)
        change = np.zeros(len(contracts), dtype=np.int64)
        np.add.at(change, prints.contract, prints.opens * prints.size)
        self.opened = change

    def _draws(self, stream: str, shape: tuple[int, ...]) -> Array:
        return uniforms(self.seed, f"options/{stream}/{self.chain.symbol}/{self.moments.day}", shape)

    def _price(self, contract: Ints, minute: Ints, ts: Ints) -> Array:
        years = (self.expires[contract] - ts) / float(_YEAR_NS)
        return model_prices(self.chain, self.moments, minute, years, self.strike[contract], self.is_call[contract])

    def _on_the_quarter_hours(self) -> pl.DataFrame:
        """A quote of every living contract after the first minute and at each instant of the grid."""
        grid = np.array([1, *range(SNAPSHOT_MINUTES, self.moments.minutes + 1, SNAPSHOT_MINUTES)], dtype=np.int64)
        minute = np.repeat(grid, len(self.strike))
        contract = np.tile(np.arange(len(self.strike)), len(grid))
        ts = self.moments.opened_ns + minute * _MINUTE_NS
        chance = self._draws("defects", (len(grid) * len(self.strike),))
        alive = self.expires[contract] > ts
        minute, contract, ts, chance = minute[alive], contract[alive], ts[alive], chance[alive]
        price = self._price(contract, minute, ts)
        bid, ask = quoted(self.chain, price)
        one_sided, wide = chance < _ONE_SIDED, (chance >= _ONE_SIDED) & (chance < _ONE_SIDED + _WIDE)
        locked = (chance >= _ONE_SIDED + _WIDE) & (chance < _ONE_SIDED + _WIDE + _LOCKED) & (bid > 0)
        far_bid, _ = quoted(self.chain, price * 0.7)
        _, far_ask = quoted(self.chain, price * 1.4)
        bid = np.where(one_sided, 0, np.where(wide, far_bid, bid))
        ask = np.where(locked, bid, np.where(wide, far_ask, ask))
        return self._quotes(contract, ts, bid, ask, "sizes")

    def _before(self, prints: "_Prints") -> pl.DataFrame:
        """The quote that each print met, once for each order."""
        first = np.concatenate([[True], prints.order[1:] != prints.order[:-1]])
        return self._quotes(
            prints.contract[first], prints.quoted_at[first], prints.bid[first], prints.ask[first], "sizes/prints"
        )

    def _quotes(self, contract: Ints, ts: Ints, bid: Ints, ask: Ints, stream: str) -> pl.DataFrame:
        draws = self._draws(stream, (len(ts), 4))
        sizes = 1 + (draws[:, :2] * 60.0).astype(np.int64)
        places = np.array(EXCHANGES)[(draws[:, 2:] * len(EXCHANGES)).astype(np.int64)]
        return pl.DataFrame(
            {
                "ticker": self.tickers.gather(contract),
                "ts": ts,
                "bid": bid,
                "ask": ask,
                "bid_size": np.where(bid > 0, sizes[:, 0], 0),
                "ask_size": sizes[:, 1],
                "bid_exchange": places[:, 0],
                "ask_exchange": places[:, 1],
            }
        )

    def _tape(self, prints: "_Prints") -> pl.DataFrame:
        return pl.DataFrame(
            {
                "ticker": self.tickers.gather(prints.contract),
                "ts": prints.ts,
                "price": prints.price,
                "size": prints.size,
                "exchange": prints.exchange,
                "condition": prints.condition,
            }
        )

    def _prints(self) -> "_Prints":
        orders = [*self._regular_orders(), *self._planned_orders()]
        minute = np.array([one.minute for one in orders], dtype=np.int64)
        quoted_at = self.moments.opened_ns + minute * _MINUTE_NS + np.array([one.quoted_ns for one in orders])
        contract = np.array([one.contract for one in orders], dtype=np.int64)
        price = self._price(contract, minute, quoted_at)
        bid, ask = quoted(self.chain, price)
        # Nobody trades what nobody bids for: such an order goes to an option at the money instead.
        unwanted = np.flatnonzero(bid == 0)
        if len(unwanted):
            for at in unwanted.tolist():
                spot = float(self.moments.spot[minute[at]])
                contract[at] = self._nearest(spot, bool(self.is_call[contract[at]]), 15, 130)
            price = self._price(contract, minute, quoted_at)
            bid, ask = quoted(self.chain, price)
        return _Prints.of(self.chain, orders, contract, quoted_at, bid, ask)

    def _nearest(self, target: float, is_call: bool, least_days: int, most_days: int) -> int:
        """The contract of one side whose strike is nearest to `target`, of the nearest expiry within the days."""
        fits = (self.is_call == is_call) & (self.days_left >= least_days) & (self.days_left <= most_days)
        chosen = np.flatnonzero(fits)
        chosen = chosen[self.days_left[chosen] == self.days_left[chosen].min()]
        return int(chosen[np.argmin(np.abs(self.strike[chosen] - target))])

    def _regular_orders(self) -> "list[_Order]":
        """Small orders all day, busier at both ends, mostly near the money and near expiry."""
        count, last = self.tape.regular, self.moments.minutes - 6
        when, spread, which, second, lag, side, size, opens = self._draws("regular", (8, count))
        edge = np.where(spread < 0.25, when * when, np.where(spread < 0.5, 1.0 - when * when, when))
        minute = 2 + (edge * (last - 2)).astype(np.int64)
        spot = float(self.moments.spot[0])
        away = (self.strike / spot - 1.0) / (0.01 + 0.002 * np.sqrt(self.days_left.astype(np.float64) + 1.0))
        outside = np.where((self.strike >= spot) == self.is_call, 1.0, _IN_THE_MONEY_SHARE)
        weight = outside / (1.0 + away * away) / (3.0 + self.days_left)
        total = np.cumsum(weight)
        contract = np.minimum(np.searchsorted(total, which * total[-1], side="right"), len(total) - 1)
        late = (second >= 0.5).astype(np.int64)
        offset = np.array(_REGULAR_FROM_S)[late] + _REGULAR_SPREAD_S * (2.0 * second - late)
        ns = (offset * _SECOND_NS).astype(np.int64)
        before = ns - ((0.2 + 0.8 * lag) * _SECOND_NS).astype(np.int64)
        sides = np.where(side < 0.42, 1, np.where(side < 0.84, -1, 0))
        wanted = 1 + (30.0 * size * size * size).astype(np.int64)
        change = np.where(opens < 0.50, 1, np.where(opens < 0.75, -1, 0))
        places = np.array(EXCHANGES)[(lag * len(EXCHANGES)).astype(np.int64)]
        rows = zip(minute, ns, before, contract, sides, wanted, change, places, strict=True)
        return [
            _Order(
                option_plan.AUTOMATIC,
                int(m),
                int(at),
                int(q),
                int(c),
                int(s),
                (int(p),),
                contracts=int(w),
                opens=int(o),
            )
            for m, at, q, c, s, w, o, p in rows
        ]

    def _planned_orders(self) -> "list[_Order]":
        """The orders that the plan counts, each in a minute of its own."""
        tape = self.tape
        pool = 5 + np.argsort(self._draws("minutes", (self.moments.minutes - 13,)), kind="stable")
        orders: list[_Order] = []
        if tape.burst is not None:
            inside = (pool >= tape.burst.first_minute) & (pool < tape.burst.first_minute + option_plan.BURST_MINUTES)
            burst = pool[inside][: tape.burst.sweeps]
            pool = pool[~np.isin(pool, burst)]
            orders += self._sweeps(burst, "burst", tape.burst.side)
        place = 0
        kinds = (
            ("sweeps", tape.sweeps - (tape.burst.sweeps if tape.burst else 0), option_plan.SWEEP),
            ("blocks", tape.blocks, option_plan.AUTOMATIC),
            ("crosses", tape.crosses, option_plan.CROSS),
            ("multi_legs", tape.multi_legs, option_plan.MULTI_LEG),
            ("auctions", tape.auctions, option_plan.AUCTION),
            ("late", tape.late, option_plan.LATE),
            ("cancelled", tape.cancelled, option_plan.CANCELLED),
            ("floor", tape.floor, option_plan.FLOOR),
        )
        for name, count, condition in kinds:
            minutes, place = pool[place : place + count], place + count
            if name == "sweeps":
                orders += self._sweeps(minutes, name, None)
            elif name == "floor":
                orders += self._positions(minutes)
            else:
                orders += self._singles(minutes, name, condition)
        return orders

    def _sweeps(self, minutes: Ints, stream: str, side: int | None) -> "list[_Order]":
        """Orders that take the touch of several exchanges within milliseconds; with a `side` it is always bought."""
        orders = []
        for minute, draws in zip(minutes.tolist(), self._draws(f"orders/{stream}", (len(minutes), 6)), strict=True):
            which, direction, when, premium, start, offset = (float(one) for one in draws)
            is_call = which < 0.5 if side is None else side > 0
            bought = 1 if side is not None or direction < 0.5 else -1
            first = int(start * len(EXCHANGES))
            places = tuple(EXCHANGES[(first + n) % len(EXCHANGES)] for n in range(SWEEP_PRINTS))
            least, spread = _SWEEP_PREMIUM
            orders.append(
                self._order(
                    option_plan.SWEEP, minute, when, self._choice(minute, is_call, offset), bought, places,
                    premium_usd=(least + spread * premium) / SWEEP_PRINTS, opens=1,
                )
            )  # fmt: skip
        return orders

    def _singles(self, minutes: Ints, stream: str, condition: int) -> "list[_Order]":
        """Planned prints one by one; crosses and multi-leg prints are struck in the middle of the market."""
        orders = []
        struck_inside = condition in (option_plan.CROSS, option_plan.MULTI_LEG)
        void = condition in (option_plan.LATE, option_plan.CANCELLED)
        for minute, draws in zip(minutes.tolist(), self._draws(f"orders/{stream}", (len(minutes), 6)), strict=True):
            which, direction, when, size, place, offset = (float(one) for one in draws)
            side = 0 if struck_inside else 1 if direction < 0.5 else -1
            where = (EXCHANGES[int(place * len(EXCHANGES))],)
            block = _BLOCK_PREMIUM * (1.0 + size) if stream == "blocks" else None
            orders.append(
                self._order(
                    condition, minute, when, self._choice(minute, which < 0.5, offset), side, where,
                    premium_usd=block, contracts=5 + int(60.0 * size), opens=0 if void else 1 if block else -1,
                )
            )  # fmt: skip
        return orders

    def _positions(self, minutes: Ints) -> "list[_Order]":
        """What positions the next session's expiry: two floor prints in one minute, at strikes around its price."""
        if not len(minutes):
            return []
        minute, tomorrow = int(minutes.min()), next_session(self.moments.day)
        spot, days = float(self.moments.spot[minute]), (tomorrow - self.moments.day).days
        return [
            self._order(
                option_plan.FLOOR, minute, 0.4 + 0.1 * leg, self._nearest(times * spot, is_call, days, days), 0,
                (EXCHANGES[leg],), contracts=contracts, opens=1,
            )
            for leg, (times, is_call, contracts) in enumerate(POSITIONS[self.plan.positioning[tomorrow]])
        ]  # fmt: skip

    def _choice(self, minute: int, is_call: bool, offset: float) -> int:
        """An option a little out of the money, of a near expiry for the index and of a monthly one for a stock."""
        spot = float(self.moments.spot[minute])
        target = spot * (1.0 + (0.012 if is_call else -0.012) * offset)
        least = 2 if self.chain.weekly_root != self.chain.monthly_root else 15
        return self._nearest(target, is_call, least, 130)

    def _order(
        self,
        condition: int,
        minute: int,
        when: float,
        contract: int,
        side: int,
        places: tuple[int, ...],
        *,
        premium_usd: float | None = None,
        contracts: int = 0,
        opens: int,
    ) -> "_Order":
        ns = int((_PLANNED_FROM_S + _PLANNED_SPREAD_S * when) * _SECOND_NS)
        return _Order(
            condition, minute, ns, ns - _QUOTE_BEFORE_PLANNED_NS, contract, side, places, premium_usd, contracts, opens
        )


class _Order(NamedTuple):
    """One order: completed minutes before it, nanoseconds into the minute of its first print and of its quote.

    `side` is +1 at the ask, -1 at the bid, 0 inside. Each of `places` prints as many contracts as come to
    `premium_usd`, or `contracts`; `opens` is +1 when positions are opened, -1 when closed.
    """

    condition: int
    minute: int
    ns: int
    quoted_ns: int
    contract: int
    side: int
    places: tuple[int, ...]
    premium_usd: float | None = None
    contracts: int = 0
    opens: int = 0


@dataclass(frozen=True)
class _Prints:
    """Prints in columns; those of one order stand together and met the same quote."""

    order: Ints
    contract: Ints
    ts: Ints
    quoted_at: Ints
    bid: Ints
    ask: Ints
    price: Ints
    size: Ints
    exchange: Ints
    condition: Ints
    opens: Ints

    @classmethod
    def of(cls, chain: Chain, orders: list[_Order], contract: Ints, quoted_at: Ints, bid: Ints, ask: Ints) -> "_Prints":
        """The prints of orders that met these quotes."""
        at = np.repeat(np.arange(len(orders)), [len(one.places) for one in orders])
        column = {
            name: np.array([getattr(one, name) for one in orders], dtype=np.int64)
            for name in ("condition", "ns", "quoted_ns", "side", "contracts", "opens")
        }
        side = column["side"]
        tick = ticks(chain, bid.astype(np.float64)).astype(np.int64)
        inside = bid + (ask - bid) // 2 // tick * tick
        price = np.where(side > 0, ask, np.where(side < 0, bid, inside))
        each = price.astype(np.float64)
        # A multiplier of 100 makes a cent a share a dollar a contract.
        premium = np.array([np.nan if one.premium_usd is None else one.premium_usd for one in orders])
        planned = np.isfinite(premium)
        capped = np.minimum(column["contracts"], np.maximum(np.floor(_MOST_PREMIUM / each), 1.0))
        pinned = column["condition"] == option_plan.FLOOR
        size = np.where(
            planned, np.ceil(np.where(planned, premium, 0.0) / each), np.where(pinned, column["contracts"], capped)
        )
        number = np.concatenate([np.arange(len(one.places)) for one in orders])
        ts = quoted_at + column["ns"] - column["quoted_ns"]
        return cls(
            order=at,
            contract=contract[at],
            ts=ts[at] + number * 7_000_000,
            quoted_at=quoted_at[at],
            bid=bid[at],
            ask=ask[at],
            price=price[at],
            size=size.astype(np.int64)[at],
            exchange=np.array([place for one in orders for place in one.places], dtype=np.int64),
            condition=column["condition"][at],
            opens=column["opens"][at],
        )
