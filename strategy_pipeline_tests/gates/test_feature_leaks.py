"""Feature rows and everything they are joined to: whatever becomes known later leaves every earlier row as it was.

Bars, corporate actions, gamma, contracts, open interest, option volume, flow, quoted spreads, volatility percentiles,
the VIX and regimes are spoilt together after a moment; each column of each row known by then must keep its bits.
"""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.analytics.market_features import MARKET_COLUMNS
from strategy_pipeline.analytics.option_features import OPTION_COLUMNS
from strategy_pipeline.analytics.option_features import sessions_read as option_sessions
from strategy_pipeline.defs.feature_inputs import FeatureInputs
from strategy_pipeline.lake.poison import KINDS, leaks
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    CORPORATE_ACTIONS,
    GAMMA_EXPOSURE_SNAPSHOTS,
    HISTORICAL_BARS,
    IV_PERCENTILE_CACHE,
    MARKET_REGIME_HISTORY,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    OPTION_VOLUME_MINUTES,
    OPTIONS_FLOW_HISTORY,
    QUOTED_SPREADS,
    Table,
)
from strategy_pipeline.market.calendar import next_session, previous_session, session, sessions_between
from strategy_pipeline.market.symbols import instrument
from strategy_pipeline.settings import Watchlist
from strategy_pipeline_tests.analytics.bar_frames import all_timeframes, minute_market, splits
from strategy_pipeline_tests.analytics.context_rows import (
    at,
    contract_rows,
    gamma_rows,
    interest_rows,
    percentile_rows,
    regime_rows,
    spread_rows,
    volume_rows,
)
from strategy_pipeline_tests.analytics.flow_rows import trades

# The third Friday of November and the day before it; days to align come from May on.
FIRST, THURSDAY, FRIDAY = date(2024, 5, 1), date(2024, 11, 14), date(2024, 11, 15)
MONDAY = next_session(FRIDAY)
WATCHLIST = Watchlist((instrument("SPX"), instrument("SPY")))
KEY = ("symbol", "bar_end")
JOINED = {*OPTION_COLUMNS, *MARKET_COLUMNS, "mtf_support_long_pct", "mtf_support_short_pct"}
MOMENTS = [
    at(THURSDAY, 390) + timedelta(seconds=2),
    at(FRIDAY, 15) + timedelta(seconds=2),
    at(FRIDAY, 200) + timedelta(seconds=2),
]


def put(lake: Lake, table: Table, rows: pl.DataFrame) -> None:
    for key, part in rows.partition_by("session", as_dict=True).items():
        lake.write(table, {"session": key[0]}, part)


def gamma(random: np.random.Generator) -> pl.DataFrame:
    return gamma_rows(
        *(
            {
                "session": day, "minute": minute, "net_gex_ratio": float(random.uniform(-1, 1)),
                **{name: float(random.uniform(90, 110)) for name in (
                    "max_gamma_strike", "gamma_flip", "call_wall", "put_wall", "gex_gross_adv_pct")},
                "gamma_flip_slope": 0.3, "available_at": at(day, minute) + timedelta(seconds=int(random.integers(90))),
                "gex_by_strike": [[strike, float(random.normal()), 1.0] for strike in (95.0, 100.0, 105.0)],
            }
            for day in (THURSDAY, FRIDAY, MONDAY)
            for minute in range(15, 391, 15)
        )
    )  # fmt: skip


def contracts() -> pl.DataFrame:
    return contract_rows(
        *(
            {"session": day, "expiration": day, "strike": strike, "option_type": kind}
            for day in (THURSDAY, FRIDAY, MONDAY)
            for strike in (95.0, 100.0, 105.0)
            for kind in ("call", "put")
        )
    )


def flow(random: np.random.Generator) -> pl.DataFrame:
    return trades(
        *(
            {
                "symbol": "SPX", "sip_timestamp": at(day, 0) + timedelta(seconds=int(random.integers(0, 390 * 60))),
                "premium_usd": float(np.round(random.uniform(5e3, 5e4), 2)), "is_sweep": bool(random.random() < 0.3),
                "option_type": ["call", "put"][random.integers(2)], "aggressor_sign": [1.0, -1.0][random.integers(2)],
            }
            for day in (THURSDAY, FRIDAY, MONDAY)
            for _ in range(300)
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    made, random = Lake(tmp_path_factory.mktemp("lake")), np.random.default_rng(5)
    bars = all_timeframes(minute_market(["SPX", "SPY", "VIX"], FIRST, MONDAY))
    for key, part in bars.partition_by("session", as_dict=True).items():
        made.write(HISTORICAL_BARS, {"session": key[0]}, part, {"symbols": "SPX,SPY"})
    made.write(CORPORATE_ACTIONS, {}, splits(("SPY", date(2024, 9, 3), 2.0)))
    put(made, GAMMA_EXPOSURE_SNAPSHOTS, gamma(random))
    put(made, OPTION_CONTRACTS, contracts())
    put(made, OPEN_INTEREST, interest_rows(contracts(), random.integers(1, 9_000, 18).tolist()))
    put(made, OPTIONS_FLOW_HISTORY, flow(random))
    counted = sorted({*option_sessions(THURSDAY)[OPTION_VOLUME_MINUTES], FRIDAY, MONDAY})
    traded = [(day, minute, int(random.integers(1, 50))) for day in counted for minute in range(1, 391)]
    put(made, OPTION_VOLUME_MINUTES, volume_rows(*(("SPX", day, m, m * n, m, m * n + m) for day, m, n in traded)))
    quoted = [(day, minute) for day in (THURSDAY, FRIDAY, MONDAY) for minute in range(1, 391)]
    put(made, QUOTED_SPREADS, spread_rows(*(("SPY", *one, float(random.uniform(99, 100)), 100.0) for one in quoted)))
    for day in (previous_session(THURSDAY), THURSDAY, FRIDAY):
        percentile = float(random.uniform(0, 100))
        put(made, IV_PERCENTILE_CACHE, percentile_rows({"session": day, "iv_percentile_pct": percentile}))
        label = "WEAK_UPTREND" if day == THURSDAY else "RANGE_BOUND"
        put(made, MARKET_REGIME_HISTORY, regime_rows({"session": day, "market_regime": label}))
    return made


def rows(lake: Lake) -> pl.DataFrame:
    return FeatureInputs(lake, WATCHLIST).rows("15m", [THURSDAY, FRIDAY])


@pytest.fixture(scope="module")
def honest(lake: Lake) -> pl.DataFrame:
    return rows(lake)


def test_every_joined_column_holds_values_here(honest: pl.DataFrame) -> None:
    index = honest.filter(pl.col("symbol") == "SPX")
    assert index.height == 52
    assert {name for name in JOINED if index[name].null_count() > index.height // 2} == set()
    assert honest.filter(pl.col("symbol") == "SPY")["spread_pct"].null_count() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_becomes_known_later_changes_no_earlier_row(lake: Lake, honest: pl.DataFrame, kind: str) -> None:
    assert leaks(rows, lake, MOMENTS, key=KEY, kinds=[kind], honest=honest) == []


def test_a_reader_of_the_next_mornings_open_interest_would_be_caught(lake: Lake) -> None:
    def early(lake: Lake) -> pl.DataFrame:
        """Open interest under the session that it describes instead of the morning on which it is published."""
        of_next = lake.read_sessions(OPEN_INTEREST, [FRIDAY, MONDAY])
        total = of_next.group_by(session="oi_session").agg(pl.col("open_interest").sum())
        return rows(lake).join(total, on="session", how="left")

    assert "open_interest" in {leak.column for leak in leaks(early, lake, MOMENTS[:1], key=KEY, kinds=["scale"])}


def test_a_reader_of_the_next_minutes_quote_would_be_caught(lake: Lake) -> None:
    def early(lake: Lake) -> pl.DataFrame:
        """The quote a minute after the bar, as a reader has it who asks by the day and not by the moment."""
        later = lake.read_sessions(QUOTED_SPREADS, [THURSDAY, FRIDAY]).select(
            "symbol", "bid", bar_end=pl.col("minute_end") - pl.duration(minutes=1)
        )
        return rows(lake).join(later, on=["symbol", "bar_end"], how="left")

    assert "bid" in {leak.column for leak in leaks(early, lake, MOMENTS[1:], key=KEY, kinds=["scale"])}


def test_the_open_interest_of_a_day_is_seen_on_the_next_one(lake: Lake, honest: pl.DataFrame) -> None:
    shown = honest.filter(pl.col("symbol") == "SPX").group_by("session").agg(pl.col("oi_at_pin").unique())
    by_strike = lake.read_sessions(OPEN_INTEREST, [THURSDAY, FRIDAY]).with_columns(
        strike=pl.col("contract_ticker").str.tail(8)
    )
    published = by_strike.group_by("session", "strike").agg(pl.col("open_interest").sum())
    for day, (seen,) in shown.rows():
        assert seen in published.filter(pl.col("session") == day)["open_interest"].to_list()


def test_any_cut_gives_the_same_rows(lake: Lake, honest: pl.DataFrame) -> None:
    inputs = FeatureInputs(lake, WATCHLIST)
    alone = pl.concat([inputs.rows("15m", [day]) for day in (THURSDAY, FRIDAY)])
    assert alone.sort(KEY).equals(honest.sort(KEY))


def test_a_revised_table_changes_the_pedigree_of_the_sessions_that_read_it_and_of_no_other(lake: Lake) -> None:
    days = sessions_between(previous_session(THURSDAY), MONDAY)

    def pedigrees() -> dict[date, dict[str, str]]:
        inputs = FeatureInputs(lake, WATCHLIST)
        return {day: inputs.pedigree("15m", day) for day in days}

    reached = {
        GAMMA_EXPOSURE_SNAPSHOTS: {THURSDAY, FRIDAY},
        OPTION_CONTRACTS: {THURSDAY},
        OPEN_INTEREST: {THURSDAY},
        OPTION_VOLUME_MINUTES: {THURSDAY, FRIDAY, MONDAY},
        OPTIONS_FLOW_HISTORY: {THURSDAY, FRIDAY},
        QUOTED_SPREADS: {THURSDAY},
        IV_PERCENTILE_CACHE: {FRIDAY},
        MARKET_REGIME_HISTORY: {FRIDAY},
    }
    for table, sessions in reached.items():
        key, before = {"session": THURSDAY}, pedigrees()
        stored = lake.read(table, [key])
        lake.write(table, key, stored.with_columns(revision=pl.lit(1, dtype=pl.Int32)))
        after = pedigrees()
        lake.write(table, key, stored)
        assert {day for day in days if after[day] != before[day]} == sessions, table.name
        assert pedigrees() == before
    assert session(FRIDAY).minutes == 390
