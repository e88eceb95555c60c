"""What is put into the synthetic market on purpose, and where: securities, news, the edge, the split, the revision.

A plan is data that a test or a reader can compare a result with; how prices come about is in ``market.py``.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from strategy_pipeline.errors import SettingsError
from strategy_pipeline.market.calendar import next_session, session, session_offset, sessions_between
from strategy_pipeline.market.symbols import EQUITY_ETF, INDEX, STOCK, Instrument, instrument
from strategy_pipeline.synthetic.draws import uniforms
from strategy_pipeline.synthetic.option_plan import OptionsPlan, plan_options
from strategy_pipeline.synthetic.volatility import VOLATILITY_INDICES

LAST_SESSION = date(2024, 12, 20)
# The index whose returns all others share in.
MARKET = "SPX"
PLANTED_DETECTOR, PLANTED_TIMEFRAME = "mean_reversion_long", "15m"
RECOVERY_MINUTES = 225
# 15m bars in which news may break; after a stock's, fifteen bars are left to the close for the recovery.
_FIRST_NEWS_BAR, _LAST_NEWS_BAR, _LAST_MARKET_NEWS_BAR = 2, 9, 21
# Jumps in multiples of the volatility of a 15-minute return (smallest, spread), and how much of a planted one recovers.
_STOCK_JUMP, _MARKET_JUMP, _RECOVERED_PCT = (13.0, 2.5), (8.0, 2.0), 80
# The rvol of a detector needs ten earlier sessions, atr_ratio_15m nine.
_QUIET_SESSIONS = 12


@dataclass(frozen=True, slots=True)
class Security:
    """One listed symbol: first price in $, volatility of a 15-minute return and of a night in %, shares a minute.

    `market_beta` is its share in the returns of the market index, `news_a_session` the chance of a headline of its own.
    """

    symbol: str
    asset_class: str
    price: float
    vol_15m_pct: float
    vol_overnight_pct: float
    shares_per_minute: int
    market_beta: float = 0.0
    news_a_session: float = 0.0
    missing_minutes_pct: float = 0.0


@dataclass(frozen=True, slots=True)
class News:
    """A headline: a halt, and the price opens the next 15m bar with a gap; a planted one recovers over 225 minutes.

    `minute` counts from the open to the first minute after the gap; `bar_end` is the end of its 15m bar, where the
    detector sees it and from where on the recovery runs as a constant drift. `jump_bps` and `recovery_bps` are simple
    returns in basis points; recovery 0 means that nothing follows.
    """

    symbol: str
    session: date
    minute: int
    bar_end: datetime
    jump_bps: int
    recovery_bps: int


@dataclass(frozen=True, slots=True)
class Split:
    """`split_to` new shares for `split_from` old ones; prices are on the new basis from `execution_date` on."""

    symbol: str
    execution_date: date
    split_from: int
    split_to: int


@dataclass(frozen=True, slots=True)
class Dividend:
    """A cash dividend whose amount, in basis points of the previous close, leaves the price overnight."""

    symbol: str
    ex_date: date
    yield_bps: int


@dataclass(frozen=True, slots=True)
class OneMinute:
    """A single minute of a symbol in which something is wrong: `minute` counts from the open."""

    symbol: str
    session: date
    minute: int


@dataclass(frozen=True, slots=True)
class MarketPlan:
    """Everything that is known about a synthetic market before a price is drawn.

    `sessions` have minute bars, `history` before them and `past` before that have day bars only; `options` says what
    is listed and traded on the last of the sessions.
    """

    seed: int
    sessions: tuple[date, ...]
    history: tuple[date, ...]
    securities: tuple[Security, ...]
    news: tuple[News, ...]
    splits: tuple[Split, ...]
    dividends: tuple[Dividend, ...]
    bad_print: OneMinute
    revised: OneMinute
    revised_on: date
    past: tuple[date, ...] = ()
    volatility_indices: bool = False
    options: OptionsPlan | None = None

    @property
    def planted(self) -> tuple[News, ...]:
        """The news that the planted edge follows; empty in a driftless market."""
        return tuple(one for one in self.news if one.recovery_bps)

    @property
    def half_days(self) -> tuple[date, ...]:
        """Sessions of 210 minutes inside the minute window."""
        return tuple(day for day in self.sessions if session(day).session_type == "half")

    @property
    def context_symbols(self) -> tuple[str, ...]:
        """Symbols that say something about the market and are not traded: the volatility indices, if published."""
        return VOLATILITY_INDICES if self.volatility_indices else ()

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """The watched symbols with asset class and volume proxy, in the order of the plan."""
        return tuple(instrument(one.symbol, one.asset_class) for one in self.securities)


_FUNDS = (
    Security(MARKET, INDEX, 5450.0, 0.18, 0.40, 0, news_a_session=0.10),
    Security("SPY", EQUITY_ETF, 545.0, 0.18, 0.40, 140_000),
    Security("NDX", INDEX, 19020.0, 0.11, 0.25, 0, market_beta=1.15),
    Security("QQQ", EQUITY_ETF, 463.9, 0.11, 0.25, 95_000, market_beta=1.15),
)
# Invented names, so that nobody takes a synthetic result for one of a real company. The first is a calm stock that
# pays a dividend and splits; the others swing so much that costs of 0.1 % a side are a fraction of a 0.75-ATR stop.
_STOCKS = (
    Security("ECHO", STOCK, 478.0, 0.27, 0.60, 21_000, market_beta=0.8),
    Security("ALFA", STOCK, 64.0, 0.56, 1.20, 60_000, market_beta=0.6, news_a_session=0.40),
    Security("BRAVO", STOCK, 118.0, 0.54, 1.10, 42_000, market_beta=0.7, news_a_session=0.40),
    Security("CHARL", STOCK, 92.0, 0.57, 1.30, 30_000, market_beta=0.5, news_a_session=0.40),
    Security("DELTA", STOCK, 51.0, 0.58, 1.20, 75_000, market_beta=0.6, news_a_session=0.40),
    Security("FOXT", STOCK, 147.0, 0.56, 1.00, 9_000, market_beta=0.4, news_a_session=0.40, missing_minutes_pct=1.0),
)
_MORE_NAMES = (
    *("GOLF", "HOTEL", "INDIA", "JULIE", "KILO", "LIMA", "MIKE", "NOVEM", "OSCAR", "PAPA"),
    *("QUEBE", "ROMEO", "SIERR", "TANGO", "UNIFM", "VICTR", "WHISK", "XRAY", "YANKE", "ZULU"),
)
FEWEST_SYMBOLS = len(_FUNDS) + 2
MOST_SYMBOLS = len(_FUNDS) + len(_STOCKS) + len(_MORE_NAMES)


def securities(count: int) -> tuple[Security, ...]:
    """`count` securities: two indices, the funds that track them, then stocks; SettingsError when out of range."""
    if not FEWEST_SYMBOLS <= count <= MOST_SYMBOLS:
        raise SettingsError(
            f"The synthetic market cannot have {count} symbols: ask for {FEWEST_SYMBOLS} to {MOST_SYMBOLS} "
            "(two indices, their two funds and at least two stocks)."
        )
    further = tuple(
        Security(name, STOCK, 40.0 + 9.0 * n, 0.20 + 0.02 * n, 0.5 + 0.02 * n, 15_000, market_beta=0.8)
        for n, name in enumerate(_MORE_NAMES)
    )
    return (_FUNDS + _STOCKS + further)[:count]


def _news(seed: int, days: tuple[date, ...], listed: tuple[Security, ...], plant: bool) -> tuple[News, ...]:
    """Headlines of whoever makes them: up and down equally likely and equally large, so that they favour nobody."""
    found = []
    for one in listed:
        is_stock = one.asset_class == STOCK
        last_bar = _LAST_NEWS_BAR if is_stock else _LAST_MARKET_NEWS_BAR
        smallest, spread = _STOCK_JUMP if is_stock else _MARKET_JUMP
        draws = uniforms(seed, f"news/{one.symbol}", (len(days), 4))
        for at, day in enumerate(days):
            happens, side, bar, size = (float(value) for value in draws[at])
            if at < _QUIET_SESSIONS or session(day).session_type == "half" or happens >= one.news_a_session:
                continue
            bar_number = _FIRST_NEWS_BAR + int(bar * (last_bar - _FIRST_NEWS_BAR + 1))
            jump_bps = int((smallest + spread * size) * one.vol_15m_pct * 100.0)
            down = side < 0.5
            recovers = plant and down and is_stock
            found.append(
                News(
                    symbol=one.symbol,
                    session=day,
                    minute=15 * bar_number,
                    bar_end=session(day).open + timedelta(minutes=15 * (bar_number + 1)),
                    jump_bps=-jump_bps if down else jump_bps,
                    recovery_bps=jump_bps * _RECOVERED_PCT // 100 if recovers else 0,
                )
            )
    return tuple(sorted(found, key=lambda item: (item.bar_end, item.symbol)))


def plan_market(
    seed: int = 7,
    sessions: int = 90,
    symbols: int = 10,
    end: date = LAST_SESSION,
    *,
    history: int = 60,
    past: int = 0,
    volatility_indices: bool = False,
    option_sessions: int = 0,
    plant: bool = True,
) -> MarketPlan:
    """Fixes a market's calendar and its peculiarities.

    `sessions` of minute bars end on the session `end`; `history` further sessions before them have day bars only, and
    so have `past` sessions before those, which leave every later bar as it is. `volatility_indices` publishes VIX and
    VIX3M; the last `option_sessions` sessions have options. The default window holds the end of daylight saving time
    (2024-11-03) and a half day (2024-11-29). With `plant` false the same news breaks but nothing follows it. Raises
    SettingsError for a size that cannot be, CalendarError for an `end` that is no session.
    """
    if sessions < 1 or history < 0 or past < 0:
        raise SettingsError(f"The synthetic market needs at least one session, not {sessions}.")
    if option_sessions and not 0 < option_sessions < sessions:
        raise SettingsError(
            f"The synthetic market of {sessions} sessions cannot have options on {option_sessions} of them: the first "
            "session has none, because strikes are listed around the close before."
        )
    first = session_offset(end, 1 - sessions)
    days = tuple(sessions_between(first, end))
    earlier = tuple(sessions_between(session_offset(first, -history), first)[:-1])
    before = tuple(sessions_between(session_offset(first, -history - past), first)[:past])
    listed = securities(symbols)
    calm = "ECHO"
    at = {share: days[int(share * len(days))] for share in (0.4, 0.55, 0.7, 0.94)}
    splits = (Split(calm, at[0.7], 1, 4),)
    return MarketPlan(
        seed=seed,
        sessions=days,
        history=earlier,
        securities=listed,
        news=_news(seed, days, listed, plant),
        splits=splits,
        dividends=(Dividend(calm, at[0.4], 30), Dividend("SPY", at[0.55], 32)),
        bad_print=OneMinute(calm, at[0.55], 77),
        revised=OneMinute("ALFA", at[0.94], 141),
        revised_on=session_offset(next_session(at[0.94]), 2),
        past=before,
        volatility_indices=volatility_indices,
        options=plan_options(seed, days[-option_sessions:], _listed_from(splits)) if option_sessions else None,
    )


def _listed_from(splits: tuple[Split, ...]) -> dict[str, date]:
    """A symbol whose shares split has options from then on only: nobody has to say what the older ones deliver."""
    return {split.symbol: split.execution_date for split in splits}
