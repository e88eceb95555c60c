"""What is planned for the options of the synthetic market: what is listed, how each expiry is positioned, each tape.

A plan is counts and dates that a test can compare a result with; how quotes and prints come about is in ``options.py``.
Nothing planned here looks at prices, so that no positioning and no sweep foretells any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from strategy_pipeline.market.calendar import is_session, next_session, previous_session, session, sessions_between
from strategy_pipeline.synthetic.draws import uniforms
from strategy_pipeline.synthetic.volatility import Surface

SHORT_GAMMA, PINNED, SPLIT_AT_PRICE = "short_gamma", "pinned", "split_at_price"
# By weekday of the expiry, which two options somebody buys on the floor in the session before: strike as a multiple of
# the price of that moment, call or put, contracts. Puts at the price leave dealers short of gamma around it; a straddle
# makes its strike the one of least pain; calls above and puts below put the flip where the price was.
POSITIONS: dict[str, tuple[tuple[float, bool, int], tuple[float, bool, int]]] = {
    SHORT_GAMMA: ((1.0, False, 9_000), (0.997, False, 6_000)),
    PINNED: ((1.0, True, 11_000), (1.0, False, 8_000)),
    SPLIT_AT_PRICE: ((1.003, True, 7_000), (0.997, False, 7_000)),
}
_POSITIONING = {0: SHORT_GAMMA, 2: PINNED, 4: SPLIT_AT_PRICE}
# Rates in per cent a year of the plan's curve: from long before the market on, and from its eighth-last session on.
FIRST_RATE_PCT, LATER_RATE_PCT = 5.0, 4.75
# Bursts begin this many minutes after the open at the earliest, and last an hour.
BURST_MINUTES, _FIRST_BURST_MINUTE = 60, 75

# Ids and words as the vendor's conditions reference has them (GET /v3/reference/conditions, asset_class=options).
CONDITIONS = {
    201: "Canceled",
    204: "Late",
    209: "Automatic Execution",
    219: "Intermarket Sweep Order",
    227: "Single Leg Auction Non ISO",
    229: "Single Leg Cross Non ISO",
    232: "Multi Leg auto-electronic trade",
    235: "Multi Leg floor trade",
}
CANCELLED, LATE, AUTOMATIC, SWEEP, AUCTION, CROSS, MULTI_LEG, FLOOR = CONDITIONS
EXCHANGES = (301, 302, 303, 304, 309, 312)


@dataclass(frozen=True, slots=True)
class Chain:
    """The options on one symbol: surface, yield (continuous, per year), ticks, and the width of its listing.

    `ticks` are in cents below and from 3 $ on. `weekly_days` and `monthly_days` say how far ahead expiries are listed,
    in calendar days; those that settle on the open hang on the root `monthly_root`. Steps are in $, reaches in steps.
    """

    symbol: str
    surface: Surface
    carry: float
    ticks: tuple[int, int]
    weekly_root: str
    monthly_root: str
    weekdays: tuple[int, ...]
    near_days: int
    weekly_days: int
    monthly_days: int
    near_step: int
    near_reach: int
    weekly_step: float
    weekly_reach: int
    monthly_step: float
    monthly_reach: int
    weekly_interest: int
    monthly_interest: int
    round_strike: int


CHAINS = (
    Chain(
        "SPX", Surface(), 0.013, (5, 10), "SPXW", "SPX",
        weekdays=(0, 2, 4), near_days=4, weekly_days=16, monthly_days=130,
        near_step=10, near_reach=8, weekly_step=25.0, weekly_reach=11, monthly_step=50.0, monthly_reach=13,
        weekly_interest=500, monthly_interest=1_500, round_strike=100,
    ),
    Chain(
        "ECHO", Surface(scale=1.6), 0.0, (1, 5), "ECHO", "ECHO",
        weekdays=(4,), near_days=0, weekly_days=18, monthly_days=130,
        near_step=0, near_reach=0, weekly_step=2.0, weekly_reach=5, monthly_step=5.0, monthly_reach=5,
        weekly_interest=400, monthly_interest=900, round_strike=10,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Burst:
    """An hour in which somebody buys one side in sweeps: `side` +1 calls, -1 puts; minutes count from the open."""

    side: int
    first_minute: int
    sweeps: int


@dataclass(frozen=True, slots=True)
class Tape:
    """How many prints of each kind one symbol has in one session.

    `sweeps` counts orders, of `SWEEP_PRINTS` prints each, those of the burst included; every other number counts
    prints. `floor` are the multi-leg floor trades that position the next session's expiry.
    """

    session: date
    symbol: str
    regular: int
    sweeps: int
    blocks: int
    crosses: int
    multi_legs: int
    floor: int
    auctions: int
    late: int
    cancelled: int
    burst: Burst | None = None

    @property
    def prints(self) -> int:
        """All prints of the symbol in the session's file."""
        singles = self.regular + self.blocks + self.crosses + self.multi_legs + self.floor + self.auctions
        return singles + self.late + self.cancelled + SWEEP_PRINTS * self.sweeps


SWEEP_PRINTS = 4


@dataclass(frozen=True, slots=True)
class OptionsPlan:
    """Sessions with options, their tapes, and how each near expiry of the index is positioned."""

    sessions: tuple[date, ...]
    listed_from: Mapping[str, date]
    tapes: tuple[Tape, ...]
    positioning: Mapping[date, str]

    def tape(self, symbol: str, day: date) -> Tape:
        """The tape of one symbol and session."""
        return next(one for one in self.tapes if (one.symbol, one.session) == (symbol, day))

    def rates(self) -> list[tuple[date, float]]:
        """Days from which a policy rate counts, and the rate in per cent a year."""
        return [(date(2003, 1, 9), FIRST_RATE_PCT), (self.sessions[-8:][0], LATER_RATE_PCT)]

    def rate_pct(self, day: date) -> float:
        """The policy rate of a session in per cent a year."""
        return [rate for since, rate in self.rates() if since <= day][-1]


def plan_options(seed: int, days: Sequence[date], listed_from: Mapping[str, date]) -> OptionsPlan:
    """What is listed and traded on `days`; a symbol named in `listed_from` has options from that day on."""
    positioning = {}
    for day in weekly_expiries(CHAINS[0], days[0], days[-1] + timedelta(days=CHAINS[0].weekly_days)):
        positioning[day] = _POSITIONING[day.weekday()]
    tapes = [
        tape
        for chain in CHAINS
        for tape in _tapes(seed, chain, [day for day in days if day >= listed_from.get(chain.symbol, day)], positioning)
    ]
    return OptionsPlan(tuple(days), dict(listed_from), tuple(tapes), positioning)


def weekly_expiries(chain: Chain, first: date, last: date) -> list[date]:
    """Sessions from `first` to `last` on which weeklies expire; where they share their root, monthlies are left out."""
    own_root = chain.weekly_root != chain.monthly_root
    return [
        day
        for day in sessions_between(first, last)
        if day.weekday() in chain.weekdays and (own_root or not _is_third_friday(day))
    ]


def monthly_expiries(first: date, last: date) -> list[date]:
    """Third Fridays from `first` to `last`, or the session before where the exchange is closed on one."""
    fridays = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [day if is_session(day) else previous_session(day) for day in fridays if _is_third_friday(day)]


def _is_third_friday(day: date) -> bool:
    return day.weekday() == 4 and 15 <= day.day <= 21


def _tapes(seed: int, chain: Chain, days: Sequence[date], positioning: Mapping[date, str]) -> list[Tape]:
    """One tape a session; every fourth session from the third on has a burst, of calls or puts as a coin falls."""
    draws = uniforms(seed, f"options/plan/{chain.symbol}", (len(days), 6))
    is_index = chain.symbol == CHAINS[0].symbol
    regular, blocks, crosses, legs, auctions = (420, 2, 4, 24, 8) if is_index else (110, 1, 2, 6, 3)
    tapes = []
    for at, day in enumerate(days):
        minutes = session(day).minutes
        sweep_draw, side_draw, start_draw, block_draw, late_draw, cancel_draw = (float(one) for one in draws[at])
        burst = None
        if at % 4 == 2 and minutes == 390:
            latest = minutes - BURST_MINUTES - 30
            start = _FIRST_BURST_MINUTE + int(start_draw * (latest - _FIRST_BURST_MINUTE))
            burst = Burst(1 if side_draw < 0.5 else -1, start, 9)
        positioned = is_index and next_session(day) in positioning
        tapes.append(
            Tape(
                session=day,
                symbol=chain.symbol,
                regular=regular * minutes // 390,
                sweeps=1 + int(sweep_draw * 3.0) + (burst.sweeps if burst else 0),
                blocks=blocks + int(block_draw * 2.0),
                crosses=crosses,
                multi_legs=legs,
                floor=2 if positioned else 0,
                auctions=auctions,
                late=1 + int(late_draw * 2.0),
                cancelled=1 + int(cancel_draw * 2.0),
                burst=burst,
            )
        )
    return tapes
