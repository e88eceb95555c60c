"""The pictures of option analytics: well formed, the same for the same rows, honest about what is missing."""

import xml.etree.ElementTree as ET
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.analytics.gamma_exposure import gamma_exposure, gamma_profile
from strategy_pipeline.defs import option_plots
from strategy_pipeline.lake.tables import (
    GAMMA_EXPOSURE_SNAPSHOTS,
    HISTORICAL_GREEKS,
    IV_PERCENTILE_CACHE,
    IV_STATUSES,
    MARKET_REGIME_HISTORY,
    MARKET_REGIMES,
    OPTIONS_FLOW_HISTORY,
)
from strategy_pipeline.market import calendar
from strategy_pipeline_tests.analytics.gamma_chains import SESSION, SNAPSHOT, chain, priced, random_chain

SESSIONS = calendar.sessions_between(date(2023, 1, 3), SESSION)


def rows_of(table: Any, columns: dict[str, Any]) -> pl.DataFrame:
    """`columns` in the types of the table."""
    return pl.DataFrame(columns, schema_overrides={name: table.polars_schema[name] for name in columns})


def volatilities() -> pl.DataFrame:
    count = len(SESSIONS)
    values = 0.2 + 0.05 * np.sin(np.arange(count) / 20.0)
    ranked = [None] * 126
    return rows_of(
        IV_PERCENTILE_CACHE,
        {
            "symbol": ["XYZ"] * count,
            "session": SESSIONS,
            "cm30_atm_iv": [*values[:50].tolist(), None, *values[51:].tolist()],
            "cm30_status": ["single_expiry" if at == 60 else "ok" for at in range(count)],
            "iv_252d_low": [*ranked, *[0.15] * (count - 126)],
            "iv_252d_high": [*ranked, *[0.25] * (count - 126)],
            "iv_252d_mean": [*ranked, *[0.2] * (count - 126)],
            "iv_rank_pct": [*ranked, *[44.0] * (count - 126)],
            "iv_percentile_pct": [*ranked, *[61.0] * (count - 126)],
            "iv_regime": [*ranked, *["ELEVATED"] * (count - 126)],
            "iv_trend": [*ranked, *["STABLE"] * (count - 126)],
            "history_status": ["ok"] * count,
            "n_history": [251] * count,
        },
    )


def prints() -> pl.DataFrame:
    hours = calendar.session(SESSION)
    sides = ["BULLISH", "BEARISH", "UNKNOWN", "NEUTRAL"]
    return rows_of(
        OPTIONS_FLOW_HISTORY,
        {
            "symbol": ["XYZ"] * 80,
            "session": [SESSION] * 80,
            "sip_timestamp": [hours.open + timedelta(minutes=5 * at) for at in range(80)],
            "premium_usd": [1000.0 * (at % 7 + 1) for at in range(80)],
            "sentiment": [sides[at % 4] for at in range(80)],
            "trade_type": ["SWEEP" if at % 9 == 0 else "BLOCK" if at % 10 == 0 else "REGULAR" for at in range(80)],
        },
    )


def regimes() -> pl.DataFrame:
    labels = [MARKET_REGIMES[at // 7 % len(MARKET_REGIMES)] for at in range(len(SESSIONS))]
    return rows_of(
        MARKET_REGIME_HISTORY,
        {
            "session": SESSIONS,
            "market_regime": [None, *labels[1:]],
            "confidence": [None, *[0.3 + at % 7 / 10 for at in range(1, len(SESSIONS))]],
        },
    )


def closes() -> pl.DataFrame:
    return pl.DataFrame({"session": SESSIONS[3:], "close": [400.0 + at for at in range(len(SESSIONS) - 3)]})


def pictures(reverse: bool = False) -> dict[str, str]:
    turn = (lambda frame: frame.reverse()) if reverse else (lambda frame: frame)
    frame = turn(random_chain(6, 400))
    exposure, profile = turn(gamma_exposure(frame)), gamma_profile(frame)
    return {
        "gex": option_plots.gex_by_strike(exposure),
        "gex_b": option_plots.gex_by_strike(exposure, "B"),
        "curves": option_plots.gamma_curves(profile, exposure),
        "smiles": option_plots.smiles(frame),
        "volatility": option_plots.volatility_history(turn(volatilities())),
        "flow": option_plots.flow_timeline(turn(prints())),
        "regime": option_plots.regime_ribbon(turn(regimes()), turn(closes())),
    }


@pytest.mark.parametrize("name", sorted(pictures()))
def test_a_picture_is_well_formed_and_holds_only_numbers(name: str) -> None:
    drawn = pictures()[name]
    root = ET.fromstring(drawn)
    title = root.find("title")
    assert title is not None
    assert "n = " in (title.text or "")
    assert "nan" not in drawn
    assert ">inf" not in drawn
    assert len(drawn) < 60_000
    assert drawn == pictures()[name]


def test_empty_tables_give_a_picture_that_says_so() -> None:
    nothing = GAMMA_EXPOSURE_SNAPSHOTS.empty()
    profile = gamma_profile(chain([]))
    assert "nothing priced" in option_plots.gex_by_strike(nothing)
    assert "nothing can be re-priced" in option_plots.gamma_curves(profile, nothing)
    assert "no chain" in option_plots.smiles(HISTORICAL_GREEKS.empty())
    assert "no volatility" in option_plots.volatility_history(IV_PERCENTILE_CACHE.empty())
    assert "no prints" in option_plots.flow_timeline(OPTIONS_FLOW_HISTORY.empty())
    assert "no sessions" in option_plots.regime_ribbon(MARKET_REGIME_HISTORY.empty(), closes())


def test_a_snapshot_without_anything_priced_gives_a_picture_that_says_so() -> None:
    frame = chain([{"strike": 90.0, "option_type": "put", "gamma": None, "iv": None}])
    assert "nothing priced" in option_plots.gex_by_strike(gamma_exposure(frame))
    assert "no volatility" in option_plots.smiles(frame)


def test_the_order_of_rows_does_not_show() -> None:
    assert pictures() == pictures(reverse=True)


def test_gamma_by_strike_names_its_convention_and_every_level() -> None:
    pair = [
        {"strike": 105.0, "option_type": "call", "iv": 0.2},
        {"strike": 95.0, "option_type": "put", "iv": 0.2},
    ]
    drawn = option_plots.gex_by_strike(gamma_exposure(priced(chain(pair))))
    for words in (
        "convention A: dealers long calls, short puts",
        "S 100.00",
        "flip 99.71",
        "call wall 105",
        "put wall 95",
    ):
        assert words in drawn


def test_the_curves_say_whether_flow_agrees() -> None:
    frame = random_chain(6, 100)
    exposure = gamma_exposure(frame)
    assert "no flow to check A against" in option_plots.gamma_curves(gamma_profile(frame), exposure)
    disputed = exposure.with_columns(agreement=pl.lit(False))
    assert "A and C disagree: ambiguous" in option_plots.gamma_curves(gamma_profile(frame), disputed)


def test_every_status_and_every_regime_has_its_own_place_in_the_legend() -> None:
    assert set(option_plots._STATUS_COLOURS) == set(IV_STATUSES)
    assert list(option_plots._REGIME_COLOURS) == list(MARKET_REGIMES)
    assert len(set(option_plots._REGIME_COLOURS.values())) == 11
    drawn = option_plots.regime_ribbon(regimes(), closes())
    assert all(label.replace("_", " ").lower() in drawn for label in MARKET_REGIMES)


def test_the_smile_counts_what_has_no_volatility() -> None:
    frame = random_chain(6, 40)
    poor = frame.with_columns(
        iv=pl.when(pl.col("strike") < 90.0).then(None).otherwise("iv"),
        iv_status=pl.when(pl.col("strike") < 90.0).then(pl.lit("zero_bid")).otherwise("iv_status"),
    )
    missing = frame.filter(pl.col("strike") < 90.0).height
    assert f"zero bid {missing}" in option_plots.smiles(poor)


def test_a_half_day_ends_its_timeline_at_one() -> None:
    day = date(2024, 7, 3)
    hours = calendar.session(day)
    late = prints().head(2).with_columns(session=pl.lit(day), sip_timestamp=pl.lit(hours.close + timedelta(minutes=5)))
    drawn = option_plots.flow_timeline(late.with_columns(pl.col("sip_timestamp").dt.cast_time_unit("us")))
    assert ">13:00<" in drawn
    assert ">14:00<" not in drawn


def test_the_newest_snapshot_is_drawn() -> None:
    later = SNAPSHOT + timedelta(minutes=15)
    both = pl.concat([random_chain(1, 30), random_chain(2, 30, snapshot_at=later, available_at=later)])
    assert "11:15 ET" in option_plots.gex_by_strike(gamma_exposure(both))
    assert "11:15 ET" in option_plots.smiles(both)
