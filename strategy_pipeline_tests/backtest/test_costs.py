"""Costs and sizes: each model on numbers worked by hand."""

import numpy as np
import pytest

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.costs import Charges, charge, option_commission_usd, position_size, quoted_spread
from strategy_pipeline.errors import MissingDataError


def one(config: BacktestConfig, **more: object) -> Charges:
    arrays = {
        "symbols": np.array(["SPY"]), "entry": np.array([100.0]), "exit": np.array([104.0]),
        "units": np.array([200.0]), "order_units": np.array([200.0]),
    }  # fmt: skip
    return charge(config, **{**arrays, **more})


def test_slippage_is_a_share_of_the_reference_price_on_each_side() -> None:
    # 0.001 x (100 + 104) x 200 = 40.80
    charges = one(BacktestConfig())
    assert charges.slippage[0] == pytest.approx(40.80, abs=1e-9)
    assert charges.total[0] == pytest.approx(40.80, abs=1e-9)
    assert (charges.entry_per_unit[0], charges.exit_per_unit[0]) == pytest.approx((0.1, 0.104), abs=1e-12)


def test_the_spread_model_charges_half_the_quoted_spread_on_each_side() -> None:
    # Half of max(0.01, 1 bp x 100 = 0.01) and of 1 bp x 104 = 0.0104: 0.0102 x 200 = 2.04
    charges = one(BacktestConfig(cost_model="spread"))
    assert charges.spread[0] == pytest.approx(2.04, abs=1e-9)
    assert charges.slippage[0] == 0.0


def test_a_symbols_own_spread_overrides_its_price_band() -> None:
    config = BacktestConfig(symbol_spreads_usd=(("SPY", 0.04),))
    found = quoted_spread(np.array(["SPY", "XYZ", "XYZ"]), np.array([100.0, 4.0, 50.0]), config)
    # Below $5: max(0.01, 20 bp x 4 = 0.008); at exactly $50 the upper band: max(0.01, 1 bp x 50 = 0.005).
    assert found == pytest.approx([0.04, 0.01, 0.01], abs=1e-12)


def test_impact_grows_with_the_root_of_the_share_of_daily_volume() -> None:
    # 0.5 x 0.02 x sqrt(200 / 20 000) = 0.001 of the price a side: 0.001 x (100 + 104) x 200 = 40.80
    volatility, volume = np.array([0.02]), np.array([20_000.0])
    charges = one(BacktestConfig(cost_model="impact"), sigma_day=volatility, adv_shares=volume)
    assert charges.impact[0] == pytest.approx(40.80, abs=1e-9)


def test_impact_without_volume_is_refused() -> None:
    with pytest.raises(MissingDataError, match="adv20_shares"):
        one(BacktestConfig(cost_model="impact"), sigma_day=np.array([0.02]), adv_shares=np.array([0.0]))


def test_commission_is_added_to_any_model_with_a_minimum_per_order() -> None:
    # 200 x 0.005 = 1.00 a side; with a minimum of 1.50 an order 1.50 a side.
    assert one(BacktestConfig(commission_per_share_usd=0.005)).commission[0] == pytest.approx(2.0)
    config = BacktestConfig(commission_per_share_usd=0.005, commission_minimum_usd=1.5)
    assert one(config).commission[0] == pytest.approx(3.0)


def test_the_multiplier_scales_every_cost() -> None:
    config = BacktestConfig(commission_per_share_usd=0.005, cost_multiplier=2.0)
    assert one(config).total[0] == pytest.approx(2.0 * (40.80 + 2.0), abs=1e-9)


def test_option_commission_has_a_minimum_per_order() -> None:
    # backtesting.md section 5: $0.66 per contract, at least $0.50 per order.
    assert option_commission_usd(2) == pytest.approx(1.32)
    assert option_commission_usd(1) == pytest.approx(0.66)
    assert option_commission_usd(0) == 0.0


def test_sizes_follow_risk_until_the_notional_limit() -> None:
    # backtesting.md section 14, case 18.
    units, capped = position_size(np.array([100.0, 100.0]), np.array([1.5, 0.2]), BacktestConfig())
    assert units == pytest.approx([333.333333, 2000.0], abs=1e-6)
    assert capped.tolist() == [False, True]
