"""Gates full: a firing trades as its composite signal says, once that was known, or is refused with its reason."""

from datetime import timedelta

import polars as pl
import pytest

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.engine import simulate_signals
from strategy_pipeline.backtest.gating import gated
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline_tests.backtest.crafted import DAY, at, bars, signal

FLAT = (100.0, 100.2, 99.8, 100.0)


def composite(firing: pl.DataFrame, lag_s: float = 5.0, **changes: object) -> pl.DataFrame:
    """What scoring says of a firing: accepted as a day trade with a stop 1.00 below and a target 3.00 above."""
    row = {
        "recommended_score": 81.0, "base_score": 70.0, "recommended_style": "day", "vix_tier": "low",
        "window": "mid_morning", "reject_reason": None, "entry_ref": 100.0, "stop_price": 99.0, "target_2": 103.0,
        "market_regime": "WEAK_UPTREND",
    } | changes  # fmt: skip
    kept = ("symbol", "detector", "timeframe", "bar_end", "direction", "asset_class", "session", "available_at")
    frame = firing.select(*kept, definition_version="detector_version")
    return frame.with_columns(
        pl.col("available_at") + timedelta(seconds=lag_s - 2.0),
        *(pl.lit(value, dtype=pl.String if value is None else None).alias(name) for name, value in row.items()),
    )


def test_an_accepted_signal_enters_with_its_final_score_once_its_context_was_known() -> None:
    firing = signal()
    (row,) = gated(firing, composite(firing, lag_s=62.0)).to_dicts()
    assert (row["score"], row["style"], row["gate_reason"], row["atr"]) == (81.0, "day", None, 2.0)
    rows = bars([FLAT] * 40, timeframe="1m", start="10:00")
    found = simulate_signals(gated(firing, composite(firing, lag_s=62.0)), rows, BacktestConfig(gates="full"))
    # Known 10:01:02, so 10:02 is the first minute.
    assert found.trades["entry_at"].to_list() == [at(DAY, "10:02")]
    assert found.trades["regime_at_signal"].to_list() == ["WEAK_UPTREND"]


def test_a_rejected_signal_is_refused_with_its_reason() -> None:
    firing = signal()
    held = gated(firing, composite(firing, reject_reason="rr_below_min"))
    found = simulate_signals(held, bars([FLAT] * 5), BacktestConfig(gates="full"))
    assert found.dispositions.select("disposition", "reason").rows() == [("gate_rejected", "rr_below_min")]


def test_the_levels_of_the_signal_are_distances_from_its_reference() -> None:
    firing = signal()
    config = BacktestConfig(gates="full", target_mode="signal_levels")
    found = simulate_signals(gated(firing, composite(firing)), bars([(50.0, 50.4, 49.8, 50.2)]), config)
    (row,) = found.trades.to_dicts()
    assert (row["stop_initial"], row["target_initial"]) == (49.0, 53.0)


def test_composite_signals_of_other_firings_trade_nothing() -> None:
    firing, other = signal(), signal("11:00")
    both = pl.concat([composite(firing), composite(other)])
    assert gated(firing, both)["bar_end"].to_list() == [at(DAY, "10:00")]


def test_a_firing_that_was_never_scored_stops_the_run_by_name() -> None:
    firing = signal()
    with pytest.raises(MissingDataError, match="crafted fired on SPY at 2024-11-25 15:00 UTC and has no composite"):
        gated(firing, composite(signal("11:00")))
    with pytest.raises(MissingDataError, match="materialise composite_signals"):
        gated(firing, None)
