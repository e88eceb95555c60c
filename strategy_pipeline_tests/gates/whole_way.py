"""A random market with options and its whole way from minute bars to features, context, signals and trades.

The market can be made in another unit of price, mirrored about the close before FRIDAY, or under other names, so that
a test may say what must follow for everything that is made of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from strategy_pipeline.analytics.gamma_exposure import expected_behavior, positioning
from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.inputs import RunContext, run_detectors, tradable_bars
from strategy_pipeline.defs.context_inputs import ContextInputs
from strategy_pipeline.defs.feature_inputs import FeatureInputs
from strategy_pipeline.defs.signal_inputs import SignalInputs
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    COMPOSITE_SIGNALS,
    CONTEXT_SCORES,
    CORPORATE_ACTIONS,
    FEATURES,
    GAMMA_EXPOSURE_SNAPSHOTS,
    HISTORICAL_BARS,
    IV_PERCENTILE_CACHE,
    MARKET_REGIME_HISTORY,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    OPTION_VOLUME_MINUTES,
    OPTIONS_FLOW_HISTORY,
    Table,
)
from strategy_pipeline.market.calendar import previous_session, sessions_between
from strategy_pipeline.market.symbols import instrument
from strategy_pipeline.scoring.rules import rules_from
from strategy_pipeline.settings import Watchlist
from strategy_pipeline_tests.analytics.bar_frames import all_timeframes
from strategy_pipeline_tests.analytics.context_rows import (
    at,
    contract_rows,
    gamma_rows,
    interest_rows,
    percentile_rows,
    regime_rows,
    volume_rows,
)
from strategy_pipeline_tests.analytics.flow_rows import trades as prints
from strategy_pipeline_tests.backtest.minute_markets import trending_minutes

# Enough sessions to align days; the third Friday of November and the day before it are looked at.
FIRST, THURSDAY, FRIDAY = date(2024, 6, 3), date(2024, 11, 14), date(2024, 11, 15)
STOCKS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF")
TIMEFRAME = "15m"
PRICES = ("open", "high", "low", "close", "vwap")
OTHER_SIDE = {"call": "put", "put": "call"}
# Volatility has a unit of its own and no mirror image.
VIX, VIX_LEVEL = "VIX", 0.17


@dataclass(frozen=True)
class Market:
    """Minute bars, and what its options are: `side` -1 exchanges calls and puts, `unit` is that of prices."""

    minutes: pl.DataFrame
    side: int = 1
    unit: float = 1.0
    stocks: tuple[str, ...] = STOCKS

    @cached_property
    def _index(self) -> dict[tuple[date, int], float]:
        """Closes of the index by day and minute of the session."""
        mine = self.minutes.filter((pl.col("symbol") == "SPX") & (pl.col("session") >= THURSDAY)).sort("bar_start")
        minute = pl.int_range(1, pl.len() + 1).over("session")
        return {(day, at): close for day, at, close in mine.select("session", minute, "close").rows()}

    def tables(self) -> dict[Table, pl.DataFrame]:
        """Everything but bars that features and context are joined to."""
        random = np.random.default_rng(5)
        contracts, sizes = self._contracts(random)
        minutes = [(day, minute) for day in self._counted() for minute in range(5, 391, 5)]
        volumes = [(day, minute, *random.integers(1, 60, 2) * minute) for day, minute in minutes]
        return {
            GAMMA_EXPOSURE_SNAPSHOTS: self._gamma(random),
            OPTION_CONTRACTS: contracts,
            OPEN_INTEREST: interest_rows(contracts, sizes),
            OPTIONS_FLOW_HISTORY: self._prints(random),
            OPTION_VOLUME_MINUTES: volume_rows(
                *(("SPX", day, minute, *(one, other)[:: self.side], one + other) for day, minute, one, other in volumes)
            ),
            IV_PERCENTILE_CACHE: percentile_rows(
                *(
                    {"session": day, "symbol": symbol, "iv_percentile_pct": float(random.uniform(0, 100))}
                    for day in (previous_session(THURSDAY), THURSDAY)
                    for symbol in ("SPX", "SPY")
                )
            ),
            MARKET_REGIME_HISTORY: regime_rows(
                *(
                    {"session": day, "tau": 0.6 * self.side, "rule_fired": 7 if self.side < 0 else 8,
                     "market_regime": "WEAK_UPTREND" if self.side > 0 else "WEAK_DOWNTREND", "vix_regime": "NORMAL"}
                    for day in (previous_session(THURSDAY), THURSDAY)
                )
            ),
        }  # fmt: skip

    def _counted(self) -> list[date]:
        return sessions_between(date(2024, 10, 14), FRIDAY)

    def _strike(self, day: date, minute: int, offset: float) -> float:
        """A price `offset` away from the index of a minute."""
        return self._index[day, minute] + self.side * self.unit * offset

    def _gamma(self, random: np.random.Generator) -> pl.DataFrame:
        rows = []
        for day in (THURSDAY, FRIDAY):
            for minute in range(15, 391, 15):
                below, above = (self._strike(day, minute, random.uniform(0.2, 3.0) * side) for side in (-1, 1))
                # Below and above in the market as it is; its mirror image has them exchanged, and so the walls.
                put_wall, call_wall = (below, above)[:: self.side]
                ratio, spot = float(random.uniform(-1, 0.5)), self._index[day, minute]
                label, strength = positioning(ratio)
                rows.append(
                    {
                        "session": day, "minute": minute, "net_gex_ratio": ratio, "underlying_price": spot,
                        "dealer_positioning": label, "positioning_strength": strength, "agreement": True,
                        "expected_behavior": expected_behavior(label, strength, spot, (call_wall, put_wall)),
                        "total_call_oi": 90_000, "total_put_oi": 90_000,
                        "max_gamma_strike": self._strike(day, minute, random.uniform(-0.5, 0.5)),
                        "gamma_flip": self._strike(day, minute, random.uniform(-0.5, 0.5)), "gamma_flip_slope": 0.3,
                        "call_wall": call_wall, "put_wall": put_wall, "gex_gross_adv_pct": 6.0,
                        "available_at": at(day, minute) + timedelta(seconds=int(random.integers(90))),
                        "gex_by_strike": sorted(
                            [self._strike(day, minute, offset), float(random.normal()) * self.unit, self.unit]
                            for offset in (-2.0, -1.0, 0.0, 1.0, 2.0)
                        ),
                    }
                )  # fmt: skip
        return gamma_rows(*rows)

    def _contracts(self, random: np.random.Generator) -> tuple[pl.DataFrame, list[int]]:
        rows = [
            {"session": day, "expiration": day, "strike": self._strike(day, 390, offset),
             "option_type": kind if self.side > 0 else OTHER_SIDE[kind]}
            for day in (THURSDAY, FRIDAY)
            for offset in (-4.2, -2.2, -0.2, 1.8, 3.8)
            for kind in ("call", "put")
        ]  # fmt: skip
        return contract_rows(*rows), random.integers(5_000, 9_000, len(rows)).tolist()

    def _prints(self, random: np.random.Generator) -> pl.DataFrame:
        """A tape with a lean to one side; its premiums are dollars in any unit of price, as its limits are."""
        rows = []
        for day in (THURSDAY, FRIDAY):
            for symbol in ("SPX", "SPY", *self.stocks[:2]):
                lean = random.uniform(0.3, 0.7)
                for _ in range(120):
                    kind = "call" if random.random() < lean else "put"
                    rows.append(
                        {
                            "symbol": symbol,
                            "sip_timestamp": at(day, 0) + timedelta(seconds=int(random.integers(0, 390 * 60))),
                            "premium_usd": float(np.round(random.uniform(5e3, 9e4), 2)),
                            "is_sweep": bool(random.random() < 0.4), "is_block": bool(random.random() < 0.2),
                            "option_type": kind if self.side > 0 else OTHER_SIDE[kind],
                            "aggressor_sign": [1.0, 1.0, -1.0, None][random.integers(4)],
                        }
                    )  # fmt: skip
        return prints(*rows)


@dataclass(frozen=True)
class Way:
    """What a market becomes, one frame a stage; `gated` are the trades of signals that passed every gate."""

    features: pl.DataFrame
    context: pl.DataFrame
    signals: pl.DataFrame
    trades: pl.DataFrame
    gated: pl.DataFrame


def market() -> Market:
    """Momentum from minute to minute, so that detectors fire; prices have two decimals."""
    names = (*STOCKS, "SPX", "SPY", VIX)
    rows = trending_minutes(names, sessions_between(FIRST, FRIDAY), carry=0.35, seed=11)
    of_index, of_vix = pl.col("symbol") == "SPX", pl.col("symbol") == VIX
    return Market(
        rows.with_columns(
            *((pl.col(name) * pl.when(of_vix).then(VIX_LEVEL).otherwise(1.0)).round(2).alias(name) for name in PRICES),
            volume=pl.when(of_index | of_vix).then(None).otherwise("volume"),
        )
    )


def closes(minutes: pl.DataFrame, day: date) -> dict[str, float]:
    """The close of each symbol on a day."""
    last = minutes.filter(pl.col("session") == day).group_by("symbol").agg(pl.col("close").sort_by("bar_start").last())
    return dict(last.rows())


def in_unit(given: Market, unit: float) -> Market:
    """Every price, strike and level times `unit`."""
    factor = pl.when(pl.col("symbol") == VIX).then(1.0).otherwise(unit)
    return replace(given, minutes=given.minutes.with_columns(pl.col(name) * factor for name in PRICES), unit=unit)


def mirrored(given: Market) -> Market:
    """Prices reflected about the close before FRIDAY, calls and puts exchanged, the regime the opposite one."""
    twice = pl.col("symbol").replace_strict(
        {name: 2.0 * close for name, close in closes(given.minutes, THURSDAY).items()}, return_dtype=pl.Float64
    )
    of_vix = pl.col("symbol") == VIX
    image = {"open": "open", "high": "low", "low": "high", "close": "close", "vwap": "vwap"}
    reflected = given.minutes.with_columns(
        pl.when(of_vix).then(name).otherwise(twice - pl.col(of)).alias(name) for name, of in image.items()
    )
    return replace(given, minutes=reflected, side=-1)


def renamed(given: Market, names: dict[str, str]) -> Market:
    """Stocks under other names."""
    rows = given.minutes.with_columns(pl.col("symbol").replace(names))
    return replace(given, minutes=rows, stocks=tuple(names.get(one, one) for one in given.stocks))


def whole_way(
    held: Lake, given: Market, days: Sequence[date] = (THURSDAY, FRIDAY), *, at_once: bool = True, **config: Any
) -> Way:
    """Takes a market through every stage over `days`, all of them together or one after the other, by way of `held`."""
    watchlist = Watchlist(tuple(map(instrument, ("SPX", "SPY", *sorted(given.stocks)))))
    for key, part in all_timeframes(given.minutes).partition_by("session", as_dict=True).items():
        held.write(HISTORICAL_BARS, {"session": key[0]}, part, {"symbols": ",".join(("SPX", "SPY", *given.stocks))})
    held.write(CORPORATE_ACTIONS, {}, CORPORATE_ACTIONS.empty())
    for table, rows in given.tables().items():
        for key, part in rows.partition_by("session", as_dict=True).items():
            held.write(table, {"session": key[0]}, part)
    pieces = [list(days)] if at_once else [[day] for day in days]
    for piece in pieces:
        rows = FeatureInputs(held, watchlist).rows(TIMEFRAME, piece)
        for day in piece:
            key = {"timeframe": TIMEFRAME, "session": day}
            held.write(FEATURES, key, rows.filter(pl.col("session") == day))
    for piece in pieces:
        context, signals = ContextInputs(held, TIMEFRAME).piece(piece), SignalInputs(held, rules_from(), TIMEFRAME)
        for day in piece:
            held.write(CONTEXT_SCORES, {"session": day}, context.build(day)[0])
        for day in piece:
            held.write(COMPOSITE_SIGNALS, {"session": day}, signals.piece(piece).build(day)[0])
    return _stored(held, days, config)


def _stored(held: Lake, days: Sequence[date], config: dict[str, Any]) -> Way:
    features = held.read_sessions(FEATURES, days, timeframe=TIMEFRAME)
    signals = held.read_sessions(COMPOSITE_SIGNALS, days)
    bars = held.read_sessions(HISTORICAL_BARS, days, where=pl.col("timeframe").cast(pl.String).is_in(["1m", TIMEFRAME]))
    executed = tradable_bars(bars, CORPORATE_ACTIONS.empty(), days[0])

    def traded(gates: str) -> pl.DataFrame:
        assumed = BacktestConfig(min_score=0.0, gates=gates, **config)
        found = run_detectors(
            features, executed, CORPORATE_ACTIONS.empty(), assumed, catalogue.ALL_NAMES, RunContext(composite=signals)
        )
        return pl.concat([tables.trades for tables in found.values()])

    context = held.read_sessions(CONTEXT_SCORES, days)
    return Way(features, context, signals, traded("base_score"), traded("full"))
