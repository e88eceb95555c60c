"""The configuration of a backtest: its defaults, what it refuses, its hash, and the DTE bucket table."""

import math
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from datetime import date

import pytest

from strategy_pipeline.backtest.config import BacktestConfig, SpreadBand, dte_bucket, run_id
from strategy_pipeline.errors import SettingsError


def test_the_defaults_are_those_of_the_specification() -> None:
    # backtesting.md section 1.
    config = BacktestConfig()
    assert (config.target_atr, config.stop_atr, config.max_hold_bars, config.min_score) == (2.0, 0.75, 15, 40.0)
    assert (config.slippage_pct, config.path_policy, config.timeframe) == (0.1, "drill_down", "15m")
    assert (config.latency_s, config.entry_patience_min, config.flat_offset_min) == (0.0, 5.0, 0.0)
    assert (config.breakeven, config.trailing, config.scale_out_fraction, config.min_stop_pct) == (False, False, 0, 0)


def test_the_style_follows_the_timeframe_unless_it_is_configured() -> None:
    by_timeframe = {name: BacktestConfig().style_for(name) for name in ("1m", "5m", "15m", "1h", "4h", "1d")}
    assert by_timeframe == {"1m": "day", "5m": "day", "15m": "day", "1h": "swing", "4h": "swing", "1d": "swing"}
    assert BacktestConfig(style="swing").style_for("5m") == "swing"


@pytest.mark.parametrize(
    "wrong",
    [
        {"target_atr": 0.0},
        {"stop_atr": -1.0},
        {"stop_atr": math.nan},
        {"max_hold_bars": 0},
        {"max_hold_bars": 2.5},
        {"min_score": 101.0},
        {"slippage_pct": -0.1},
        {"path_policy": "hopeful"},
        {"style": "overnight"},
        {"target_mode": "hopeful"},
        {"target_mode": "signal_levels"},
        {"instrument": "future"},
        {"instrument": "option"},
        {"option_dte": 5, "option_max_dte": 4},
        {"option_delta": 1.0},
        {"timeframe": "2h"},
        {"scale_out_fraction": 1.0},
        {"scale_out_fraction": 0.5, "scale_out_atr": 2.0},
        {"spreads": (SpreadBand(50.0, 0.01, 1.0),)},
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(wrong: dict) -> None:
    with pytest.raises(SettingsError, match="spread" if "spreads" in wrong else next(reversed(wrong))):
        BacktestConfig(**wrong)


def test_the_hash_depends_on_every_value_and_on_nothing_else() -> None:
    base = BacktestConfig()
    assert base.content_hash == BacktestConfig().content_hash
    assert base.content_hash != replace(base, target_atr=2.1).content_hash
    assert base.content_hash != replace(base, breakeven=True).content_hash
    # Twelve significant digits: 0.1 + 0.2 is 0.3.
    assert replace(base, stop_atr=0.1 + 0.2).content_hash == replace(base, stop_atr=0.3).content_hash
    assert replace(base, max_hold_bars=15.0).content_hash == base.content_hash
    code = "from strategy_pipeline.backtest.config import BacktestConfig; print(BacktestConfig().content_hash)"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert other.stdout.strip() == base.content_hash


def test_a_run_is_named_by_configuration_and_data() -> None:
    config = BacktestConfig()
    assert run_id(config, "a") == run_id(config, "a")
    assert len({run_id(config, "a"), run_id(config, "b"), run_id(replace(config, stop_atr=1.0), "a")}) == 3


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        BacktestConfig().stop_atr = 1.0  # type: ignore[misc]


def test_expiries_fall_into_the_buckets_of_the_specification() -> None:
    # backtesting.md section 14, case 13.
    entry = date(2025, 6, 10)
    expiries = [date(2025, 6, day) for day in (10, 11, 14, 15)] + [date(2025, 7, 9), date(2025, 7, 10)]
    days = [(expiry - entry).days for expiry in expiries]
    assert days == [0, 1, 4, 5, 29, 30]
    assert [dte_bucket(dte).name for dte in days] == ["0", "1-4", "1-4", "5-29", "5-29", "30+"]
    assert [dte_bucket(dte).style for dte in days] == ["scalp", "day", "day", "swing", "swing", "swing"]


@pytest.mark.parametrize(
    ("dte", "atr", "stop", "target", "premium_target", "premium_stop"),
    [
        (0, 0.6, 499.55, 500.90, 5.20, 3.20),
        (1, 1.2, 498.80, 503.00, 6.00, 2.80),
        (5, 2.4, 496.40, 507.20, 8.00, 2.40),
        (30, 6.0, 491.00, 518.00, 10.00, 2.00),
    ],
)
def test_a_bucket_places_its_barriers(
    dte: int, atr: float, stop: float, target: float, premium_target: float, premium_stop: float
) -> None:
    # backtesting.md section 14, case 13: reference 500, premium 4.00.
    bucket = dte_bucket(dte)
    assert bucket.stop(500.0, atr, 1) == pytest.approx(stop, abs=1e-9)
    assert bucket.target(500.0, atr, 1) == pytest.approx(target, abs=1e-9)
    assert bucket.stop(500.0, atr, -1) == pytest.approx(1000.0 - stop, abs=1e-9)
    assert 4.0 * bucket.premium_target == pytest.approx(premium_target, abs=1e-9)
    assert 4.0 * bucket.premium_stop == pytest.approx(premium_stop, abs=1e-9)


def test_there_is_no_bucket_before_the_entry() -> None:
    with pytest.raises(ValueError, match="negative"):
        dte_bucket(-1)
