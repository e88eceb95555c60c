"""Forward and carry by put-call parity, and from spot where no pair is good."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.pricing.chain import ChainRules, value_chain
from strategy_pipeline_tests.pricing.chains import RATE, SNAPSHOT, YEARS, chain, replaced, row


def forward_of(frame: pl.DataFrame, **options) -> tuple[float, float, str]:
    valued = value_chain(frame, **options)
    assert valued.select(pl.col("forward", "carry", "forward_status").n_unique()).row(0) == (1, 1, 1)
    return valued.select("forward", "carry", "forward_status").row(0)


def test_european_parity_finds_the_forward_and_the_carry():
    forward, carry, status = forward_of(chain(carry=0.013))
    assert forward == pytest.approx(100.0 * np.exp((RATE - 0.013) * YEARS), abs=1e-9)
    assert carry == pytest.approx(0.013, abs=1e-8)
    assert status == "ok"


def test_parity_is_taken_where_call_and_put_are_closest():
    # A wrong far pair changes nothing, a wrong nearest pair everything.
    exact = forward_of(chain())[0]
    far = replaced(chain(), 115.0, "call", bid=1.0, ask=1.01)
    assert forward_of(far)[0] == pytest.approx(exact, abs=1e-9)
    near = chain()
    call = row(near, 100.0, "call")
    near = replaced(near, 100.0, "call", bid=call["bid"] - 0.2, ask=call["ask"] - 0.2)
    assert forward_of(near)[0] == pytest.approx(exact - 0.2 * np.exp(RATE * YEARS), abs=1e-9)


def test_american_mids_are_freed_of_their_premium_before_parity():
    forward, carry, status = forward_of(chain("american", carry=0.0, volatility=0.4))
    assert status == "american_approx"
    assert forward == pytest.approx(100.0 * np.exp(RATE * YEARS), abs=2e-3)
    assert carry == pytest.approx(0.0, abs=3e-4)


def test_an_expiry_without_a_good_pair_has_its_forward_from_spot():
    calls_only = chain().filter(pl.col("option_type") == "call")
    forward, carry, status = forward_of(calls_only)
    assert status == "from_spot"
    assert forward == pytest.approx(100.0 * np.exp(RATE * YEARS), abs=1e-9)
    assert carry == pytest.approx(0.0, abs=1e-12)


def test_a_forward_from_spot_pays_the_dividends_before_expiry():
    calls_only = chain("american").filter(pl.col("option_type") == "call")
    dividends = pl.DataFrame(
        {
            "symbol": ["XYZ", "XYZ", "XYZ", "ABC"],
            "ex_at": [SNAPSHOT + timedelta(days=days) for days in (10, -3, 60, 10)],
            "cash_amount": [2.0, 5.0, 5.0, 5.0],
        }
    )
    forward, _, status = forward_of(calls_only, dividends=dividends)
    assert status == "from_spot"
    present = 2.0 * np.exp(-RATE * 10 / 365)
    assert forward == pytest.approx((100.0 - present) * np.exp(RATE * YEARS), abs=1e-9)


def test_parity_can_be_switched_off():
    assert forward_of(chain(carry=0.02), rules=ChainRules(forward_from_parity=False))[2] == "from_spot"


def test_expiries_do_not_lend_each_other_their_forwards():
    near = chain(carry=0.0)
    far = chain(carry=0.05).with_columns(expiration=pl.lit("2024-05-10").str.to_date())
    valued = value_chain(pl.concat([near, far]))
    assert valued.get_column("carry").to_list() == pytest.approx([0.0] * 14 + [0.05] * 14, abs=1e-8)


@pytest.mark.parametrize("spot", [None, 0.0, -1.0, float("nan")])
def test_without_a_spot_there_is_no_forward(spot):
    frame = chain().with_columns(underlying_price=pl.lit(spot, dtype=pl.Float64))
    forward, carry, status = forward_of(frame)
    assert (forward, carry, status) == (None, None, "missing_input")
