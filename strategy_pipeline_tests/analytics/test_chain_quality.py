"""Chains that hang together, and chains in which one number is off."""

import polars as pl
import pytest

from strategy_pipeline.analytics.chain_quality import falling_expiries, parity_fit, solved_share_pct
from strategy_pipeline.pricing.chain import value_chain
from strategy_pipeline_tests.analytics.chain_frames import chain as smiling
from strategy_pipeline_tests.analytics.chain_frames import flat
from strategy_pipeline_tests.pricing.chains import chain, replaced


def valued(style: str = "european", **changes) -> pl.DataFrame:
    """Seven strikes around 100, quoted 2 cents wide (the put at 85 too wide), valued; `changes` to the put at 90."""
    frame = chain(style, half_spread=0.01, settlement="pm", multiplier=100.0)
    return value_chain(replaced(frame, 90.0, "put", **changes) if changes else frame)


@pytest.mark.parametrize("style", ["european", "american"])
def test_exact_prices_fit_parity_at_every_strike(style):
    fit = parity_fit(valued(style))
    assert (fit.pairs, fit.outside, fit.worst, fit.outside_pct) == (6, 0, 0.0, 0.0)


@pytest.mark.parametrize("style", ["european", "american"])
def test_a_put_that_costs_a_dollar_too_much_is_outside_by_what_the_spreads_leave(style):
    fair = valued(style).filter((pl.col("strike") == 90.0) & (pl.col("option_type") == "put")).row(0, named=True)
    fit = parity_fit(valued(style, bid=fair["bid"] + 1.0, ask=fair["ask"] + 1.0))
    assert fit.outside == 1
    # A dollar less half the two spreads; beside American prices the premium of early exercise has room as well.
    if style == "european":
        assert fit.worst == pytest.approx(0.98, abs=1e-6)
    else:
        assert 0.5 < fit.worst < 0.98


def test_wide_old_and_one_sided_quotes_say_nothing_about_parity():
    for changes in ({"bid": 0.1, "ask": 3.0}, {"quote_age_s": 901.0}, {"bid": 0.0}):
        assert (parity_fit(valued(**changes)).pairs, parity_fit(valued(**changes)).outside) == (5, 0)


def test_a_chain_without_pairs_has_nothing_outside():
    fit = parity_fit(valued().filter(pl.col("option_type") == "call"))
    assert (fit.pairs, fit.outside_pct, fit.worst) == (0, 0.0, 0.0)


def test_the_share_of_solved_counts_fresh_quotes_of_two_sides():
    assert solved_share_pct(valued()) == 100.0
    # 14 rows, of which one has a price above every bound.
    assert solved_share_pct(valued(bid=150.0, ask=151.0)) == pytest.approx(100.0 * 13 / 14)
    # A quote without a bid is not asked.
    assert solved_share_pct(valued(bid=0.0)) == 100.0
    assert solved_share_pct(valued().clear()) is None


def test_total_variance_that_falls_is_named_and_one_that_rises_is_not():
    assert falling_expiries(smiling({20: flat(0.30), 48: flat(0.25)}, step=5.0)) == []
    # 0.30^2 x 20 = 1.8 against 0.18^2 x 48 = 1.5552
    [says] = falling_expiries(smiling({20: flat(0.30), 48: flat(0.18), 90: flat(0.18)}, step=5.0))
    assert says.startswith("SPY at ")
    assert says.endswith("from 2015-06-21 to 2015-07-19")


def test_expiries_of_different_symbols_are_not_compared():
    near = smiling({20: flat(0.30)}, step=5.0)
    far = smiling({48: flat(0.18)}, symbol="QQQ", step=5.0)
    assert falling_expiries(pl.concat([near, far])) == []
