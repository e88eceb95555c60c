"""On markets without an edge no detector has one: driftless walks, flipped signs and shuffled blocks, before costs.

Indices lend the volume of the funds that track them, so every detector that prices alone can fire is exercised.
"""

from datetime import date

import polars as pl
import pytest

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.gauntlet import JUDGED, NoiseInputs, judged, run_on_noise
from strategy_pipeline.backtest.verdicts import Noise
from strategy_pipeline.detectors.catalogue import CATALOGUE
from strategy_pipeline.detectors.inputs import OPTION_INPUTS
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, HISTORICAL_BARS
from strategy_pipeline.market.calendar import sessions_between
from strategy_pipeline.market.symbols import INDEX_PROXY, instrument, instruments_frame
from strategy_pipeline_tests.backtest.minute_markets import trending_minutes

INDICES = ("SPX", "NDX", "RUT")
SYMBOLS = (*INDICES, *(INDEX_PROXY[name] for name in INDICES))
DAYS = sessions_between(date(2024, 9, 3), date(2024, 12, 31))
TESTED = DAYS[42:]
OF_PRICES = [one for one in CATALOGUE if OPTION_INPUTS.isdisjoint(one.inputs_required)]
DRAWS = 8


@pytest.fixture(scope="module")
def gauntlet() -> pl.DataFrame:
    """Every detector on noise made of a market with momentum, summed over draws."""
    rows = trending_minutes(SYMBOLS, DAYS, carry=0.35, seed=4).sort("symbol", "bar_start")
    without_volume = pl.col("symbol").is_in(INDICES)
    minutes = rows.with_columns(volume=pl.when(without_volume).then(None).otherwise("volume"))
    instruments = instruments_frame([instrument(one) for one in SYMBOLS])
    inputs = NoiseInputs(minutes, HISTORICAL_BARS.empty(), CORPORATE_ACTIONS.empty(), instruments, TESTED, SYMBOLS)
    parts = [
        run_on_noise(inputs, OF_PRICES, BacktestConfig(), variant, draw, seed=5)
        for variant in JUDGED
        for draw in range(DRAWS)
    ]
    return pl.concat(parts).select(pl.lit("run").alias("run_id"), pl.all())


@pytest.fixture(scope="module")
def found(gauntlet: pl.DataFrame) -> dict[str, Noise]:
    return judged(gauntlet)


def test_every_detector_of_prices_is_exercised(found: dict[str, Noise]) -> None:
    assert len(found) == 12
    assert {name for name, one in found.items() if one.trades < 20} == set()


def test_no_detector_has_an_edge_beyond_three_standard_errors_before_costs(found: dict[str, Noise]) -> None:
    errors = {name: one.expectancy.value / one.standard_error for name, one in found.items()}  # type: ignore[operator]
    assert {name: z for name, z in errors.items() if abs(z) >= 3.0} == {}
    # All of them together as well, as far as they are independent: the root of twelve squares is near 3.5.
    assert sum(z * z for z in errors.values()) < 28.3  # chi square of 12, .995
    assert min(one.p_value for one in found.values() if one.p_value is not None) > 0.01


@pytest.mark.parametrize("variant", JUDGED)
def test_costs_are_lost_on_every_kind_of_noise(gauntlet: pl.DataFrame, variant: str) -> None:
    rows = gauntlet.filter(pl.col("variant").cast(pl.String) == variant)
    trades, gross, net = (rows[name].sum() for name in ("trades", "sum_r_gross", "sum_r_net"))
    assert trades > 400
    assert abs(gross / trades) < 0.2
    assert net / trades < -0.05
