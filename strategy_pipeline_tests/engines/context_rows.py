"""Crafted rows for the engines' tests: what an engine reads is chosen by the test, the rest is null or ordinary."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from strategy_pipeline.analytics.alignment import ALIGNMENT_SCHEMA, SCORES, combined
from strategy_pipeline.analytics.gamma_exposure import expected_behavior, positioning
from strategy_pipeline.analytics.implied_volatility_rank import iv_regime
from strategy_pipeline.analytics.regime import INPUTS, decide
from strategy_pipeline.engines.declaration import KEY_DTYPES, Engine
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import (
    CONTEXT_SCORES,
    GAMMA_EXPOSURE_SNAPSHOTS,
    IV_PERCENTILE_CACHE,
    MARKET_REGIME_HISTORY,
    Table,
)
from strategy_pipeline.market import calendar

# A Tuesday; 11:00 New York, 90 minutes into the session.
DAY = date(2024, 6, 4)
BEFORE = date(2024, 6, 3)
NOW = datetime(2024, 6, 4, 15, 0, tzinfo=UTC)


def requests(**changes: Any) -> pl.DataFrame:
    """One request for a LONG day trade of SPY without momentum, with what a test changes."""
    asked = {"symbol": "SPY", "as_of": NOW, "direction": "LONG", "style": "day", "momentum": False} | changes
    return pl.DataFrame([asked], schema_overrides={"as_of": KEY_DTYPES["as_of"]})


def answer(engine: Engine, table: pl.DataFrame, **asked: Any) -> dict[str, Any]:
    """The engine's row for one request; every answer meets the contract."""
    rows = engine.evaluate(requests(**asked), table)
    return conform(CONTEXT_SCORES, rows).row(0, named=True)


def in_contract(table: Table, rows: list[dict[str, Any]]) -> pl.DataFrame:
    ordinary: dict[str, Any] = {
        "source": "derived", "quality": "final", "quality_flags": [], "revision": 0, "definition_version": "test",
        "ingested_at": datetime(2030, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    filled = [{name: (ordinary | row).get(name) for name in table.polars_schema} for row in rows]
    return pl.DataFrame(filled, schema=table.polars_schema)


def iv_row(percentile: float | None, *, n: int = 252, session: date = BEFORE, **changes: Any) -> dict[str, Any]:
    """A row of ``iv_percentile_cache`` known five seconds after its session's close."""
    return {
        "symbol": "SPY",
        "session": session,
        "cm30_atm_iv": 0.2,
        "cm30_status": "ok",
        "iv_percentile_pct": percentile,
        "iv_regime": None if percentile is None else iv_regime(percentile),
        "iv_rank_pct": percentile,
        "iv_trend": "STABLE",
        "rank_clipped": False,
        "n_history": n,
        "history_status": "ok" if n >= 202 else "short_history" if n >= 126 else "insufficient",
        "available_at": calendar.session(session).close + timedelta(seconds=5),
    } | changes


def iv_table(*rows: dict[str, Any]) -> pl.DataFrame:
    return in_contract(IV_PERCENTILE_CACHE, list(rows))


def gamma_row(ratio: float | None, *, oi: int = 250_000, at: datetime = NOW, **changes: Any) -> dict[str, Any]:
    """A snapshot under convention A with the underlying at 100 and its own words for the ratio."""
    label, strength = positioning(ratio)
    walls = (changes.get("call_wall"), changes.get("put_wall"))
    return {
        "symbol": "SPY",
        "snapshot_at": at,
        "sign_convention": "A",
        "session": DAY,
        "underlying_price": 100.0,
        "status": "ok",
        "net_gex_ratio": ratio,
        "dealer_positioning": label,
        "positioning_strength": strength,
        "expected_behavior": expected_behavior(label, strength, 100.0, walls),
        "total_call_oi": oi // 2,
        "total_put_oi": oi - oi // 2,
        "agreement": True,
        "oi_coverage_pct": 100.0,
        "available_at": at,
    } | changes


def gamma_table(*rows: dict[str, Any]) -> pl.DataFrame:
    return in_contract(GAMMA_EXPOSURE_SNAPSHOTS, list(rows))


def alignment_table(*scores: float | None, at: datetime = NOW, newest: datetime | None = NOW) -> pl.DataFrame:
    """A row as ``analytics.alignment`` gives it for six scores (1w, 1d, 4h, 1h, 15m, 5m)."""
    given = pl.DataFrame([scores], schema=dict.fromkeys(SCORES.values(), pl.Float64), orient="row")
    named = given.with_columns(
        symbol=pl.lit("SPY"), as_of=at, newest_bar_end=newest, newest_timeframe=pl.lit("5m"), available_at=newest
    )
    whole = pl.concat([named, combined(given)], how="horizontal")
    return whole.select(pl.col(name).cast(kind) for name, kind in ALIGNMENT_SCHEMA.items())


# context_engines.md section 6, fixtures: the defaults.
REGIME_DEFAULTS = {
    "tau": 0.0, "adx": 20.0, "adx_min5": 22.0, "slope20": 0.0, "z1": 0.2, "dhi": -1.0, "dlo": 1.0, "b": 50.0,
    "vix": 17.0, "p_vix": 50.0, "vix_ratio": 0.92, "dd60": -3.0, "rsi14": 52.0, "pc": 50.0,
}  # fmt: skip
_VIX_CUTS = ((12, "EXTREMELY_LOW"), (16, "LOW"), (20, "NORMAL"), (30, "ELEVATED"), (40, "HIGH"))


def regime_row(session: date = BEFORE, **inputs: float | None) -> dict[str, Any]:
    """A row of ``market_regime_history`` decided from the fixture's defaults and what a test changes."""
    values = REGIME_DEFAULTS | inputs
    decided = decide(pl.DataFrame([values], schema=dict.fromkeys(INPUTS, pl.Float64))).row(0, named=True)
    vix = values["vix"]
    band = None if vix is None else next((word for cut, word in _VIX_CUTS if vix < cut), "EXTREME")
    kept = {name: values[name] for name in ("tau", "adx", "adx_min5", "slope20", "z1", "dhi", "dlo", "rsi14", "pc")}
    return {
        "session": session,
        **kept,
        "vix_close": vix,
        "vix_regime": band,
        "available_at": calendar.at_new_york(session, datetime.strptime("16:15", "%H:%M").time()),
        **{name: decided[name] for name in ("market_regime", "rule_fired", "confidence", "inputs_missing")},
    }


def regime_table(*rows: dict[str, Any]) -> pl.DataFrame:
    return in_contract(MARKET_REGIME_HISTORY, list(rows))
