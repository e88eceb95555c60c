"""Context scores in the graph: one answer of each engine per firing and style, rebuilt only when something changed."""

from datetime import date, timedelta

import dagster as dg
import polars as pl
import pytest

from strategy_pipeline.defs.context_inputs import ContextInputs
from strategy_pipeline.defs.launch import materialize, open_instance
from strategy_pipeline.detectors.catalogue import CATALOGUE
from strategy_pipeline.detectors.evaluate import signals
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.lake.poison import PoisonedLake
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import CONTEXT_SCORES, ENGINES, FEATURES, IV_PERCENTILE_CACHE, MARKET_REGIME_HISTORY
from strategy_pipeline.market import calendar
from strategy_pipeline_tests.defs.small_market import UPSTREAM, bytes_below, small_market
from strategy_pipeline_tests.engines.context_rows import iv_row, iv_table, regime_row, regime_table

KEY = dg.AssetKey("context_scores")


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """Features of a small market, and regimes and volatility of each session beside them."""
    market = small_market(tmp_path_factory.mktemp("signals"), sessions=14)
    with open_instance(market.settings) as instance:
        assert market.run(instance, UPSTREAM, config={"features": {"timeframes": ["5m", "15m"]}}).success
    for day in market.sessions:
        market.lake.write(MARKET_REGIME_HISTORY, {"session": day}, regime_table(regime_row(day, tau=0.6, slope20=0.04)))
        cheap = iv_table(*(iv_row(5.0, session=day, symbol=one.symbol) for one in market.market.watchlist()))
        market.lake.write(IV_PERCENTILE_CACHE, {"session": day}, cheap)
    return market


def run(market, keys=None):
    with open_instance(market.settings) as instance:
        result = materialize(
            market.definitions,
            instance,
            "score_context",
            assets=["context_scores"],
            keys=keys or market.keys,
            trigger="test",
        )
        event = instance.get_latest_materialization_event(KEY)
    return result, event.asset_materialization.metadata


def stored(market) -> pl.DataFrame:
    return market.lake.read(CONTEXT_SCORES, market.lake.keys(CONTEXT_SCORES))


def test_every_firing_has_five_answers_for_three_styles_and_the_ui_counts_them(market):
    result, said = run(market)
    rows = stored(market)
    assert result.success
    conform(CONTEXT_SCORES, rows)
    fired = pl.concat(
        signals(
            [one for one in CATALOGUE if one.timeframe == name],
            market.lake.read_sessions(FEATURES, market.sessions, timeframe=name),
            carried=(),
        )
        for name in ("5m", "15m")
    )
    momentum = {one.name: one.momentum for one in CATALOGUE}
    asked = fired.select("symbol", "available_at", "direction", pl.col("detector").replace_strict(momentum)).unique()
    assert asked.height > 10
    assert rows.height == asked.height * 3 * len(ENGINES)
    by_engine = {key[0]: part for key, part in rows.partition_by("engine", as_dict=True).items()}
    # From the second session on the row of the close before is known.
    later = pl.col("session") > market.sessions[0]
    assert by_engine["regime"].filter(later)["label"].unique().to_list() == ["WEAK_UPTREND"]
    assert by_engine["iv"].filter(later)["label"].unique().to_list() == ["EXTREMELY_LOW"]
    assert set(by_engine["flow"]["reason"]) == {"no_row"}
    assert set(by_engine["gamma"]["reason"]) == {"no_row"}
    assert set(by_engine["mtf"]["reason"]) == {"too_few_timeframes"}
    assert said["requests"].value * len(ENGINES) == said["dagster/row_count"].value
    assert said["statuses"].value["iv"]["ok"] == said["requests"].value
    assert said["answers"].value.startswith("**Answers that count on")
    checks = {one.check_name: one.passed for one in result.get_asset_check_evaluations()}
    assert checks == {"contract_holds": True, "context_is_there": True}


def test_what_has_not_changed_is_not_computed_again(market, monkeypatch):
    run(market)
    before = bytes_below(market.home / "lake" / "context_scores")
    monkeypatch.setattr("strategy_pipeline.defs.context_inputs.evaluate_context", None)
    run(market)
    assert bytes_below(market.home / "lake" / "context_scores") == before


def test_a_new_regime_rebuilds_the_sessions_that_may_see_it_and_cutting_changes_no_byte(market):
    run(market)
    last = max(date.fromisoformat(key["session"]) for key in market.lake.keys(CONTEXT_SCORES))
    changed = calendar.previous_session(last)
    strong = regime_table(regime_row(changed, tau=1.4, adx=31.0, adx_min5=26.0, slope20=0.3, b=75.0, vix=13.0))
    market.lake.write(MARKET_REGIME_HISTORY, {"session": changed}, strong)
    run(market)
    regime = stored(market).filter((pl.col("engine") == "regime") & (pl.col("session") == last))
    assert regime["label"].unique().to_list() == ["STRONG_UPTREND"]
    whole = bytes_below(market.home / "lake" / "context_scores")
    for name in whole:
        (market.home / "lake" / "context_scores" / name).unlink()
    first, middle, after, end = (market.sessions[at].isoformat() for at in (0, 7, 8, -1))
    run(market, (after, end))
    run(market, (first, middle))
    assert bytes_below(market.home / "lake" / "context_scores") == whole


@pytest.mark.parametrize("kind", ["delete", "null", "garble", "revise"])
def test_spoiling_what_was_known_after_a_moment_changes_no_answer_before_it(market, kind):
    day = market.sessions[-2]
    moment = calendar.session(day).open + timedelta(hours=4)
    until = pl.col("as_of") <= moment
    clean, _ = ContextInputs(market.lake).piece([day]).build(day)
    spoilt, _ = ContextInputs(PoisonedLake(market.lake, moment, kind)).piece([day]).build(day)
    assert clean.filter(until).height > 50
    assert spoilt.filter(until).equals(clean.filter(until))


def test_without_features_the_run_says_what_to_do(tmp_path):
    with pytest.raises(MissingDataError, match="materialise features"):
        run(small_market(tmp_path, sessions=3))
