"""A whole chain valued: quote tests, twins, exercise models, errors of volatility, and rows that cannot be valued."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.pricing import american, black_scholes
from strategy_pipeline.pricing.chain import GREEKS_OF_CHAIN, ChainRules, quote_status, value_chain
from strategy_pipeline.pricing.implied_volatility import IV_STATUSES, STATUSES_WITH_IV
from strategy_pipeline_tests.pricing.chains import MINUTES, RATE, SNAPSHOT, YEARS, chain, replaced, row

ADDED = ("mid", "forward", "carry", "iv", "iv_bid", "iv_ask", "iv_err", *GREEKS_OF_CHAIN)


def assert_nulls_follow_status(valued: pl.DataFrame) -> None:
    """Whatever happened, no NaN, and a volatility and Greeks exactly where the status says so."""
    for name in ADDED:
        column = valued.get_column(name)
        assert not column.is_nan().any(), name
        assert not column.is_infinite().any(), name
    solved = valued.get_column("iv_status").cast(pl.String).is_in(STATUSES_WITH_IV)
    for name in ("iv", *GREEKS_OF_CHAIN, "exercise_model"):
        assert (valued.get_column(name).is_not_null() == solved).all(), name
    assert ((valued.get_column("iv_source").cast(pl.String) == "none") == ~solved).all()


@pytest.mark.parametrize(
    ("bid", "ask", "age", "status"),
    [
        (1.00, 1.10, 1.0, None),
        (1.00, 1.00, 1.0, None),
        (1.20, 1.10, 1.0, "crossed"),
        (1.20, 1.10, 9e9, "crossed"),
        (0.00, 1.10, 1.0, "zero_bid"),
        (0.00, 0.00, 1.0, "zero_bid"),
        (None, 1.10, 1.0, "zero_bid"),
        (0.00, 1.10, 9e9, "zero_bid"),
        (1.00, 1.10, 900.0, None),
        (1.00, 1.10, 900.1, "stale"),
        (1.00, 1.10, None, "stale"),
        (1.00, 2.00, 901.0, "stale"),
        (1.00, 0.00, 1.0, "no_good_quote"),
        (1.00, None, 1.0, "no_good_quote"),
        (None, None, None, "no_good_quote"),
        (1.00, 1.28, 1.0, None),  # 24.6 % of 1.14
        (1.00, 1.30, 1.0, "wide_quote"),  # 26.1 % of 1.15
        (1.00, 1.30, 901.0, "stale"),
        (float("nan"), float("nan"), 1.0, "no_good_quote"),
    ],
)
def test_a_quote_fails_the_first_test_that_applies(bid, ask, age, status):
    schema = {"bid": pl.Float64, "ask": pl.Float64, "quote_age_s": pl.Float64}
    quote = pl.DataFrame({"bid": [bid], "ask": [ask], "quote_age_s": [age]}, schema=schema)
    assert quote.select(quote_status()).item() == status


def test_a_european_chain_gets_its_volatility_back_at_every_strike():
    valued = value_chain(chain())
    assert valued.get_column("iv").to_numpy() == pytest.approx(0.25, abs=1e-9)
    assert valued.get_column("iv_status").unique().to_list() == ["ok"]
    assert valued.get_column("exercise_model").unique().to_list() == ["european"]
    assert_nulls_follow_status(valued)


def test_the_chains_own_columns_and_order_stay_as_they_were():
    frame = chain()
    assert value_chain(frame).select(frame.columns).equals(frame)


def test_european_greeks_are_those_of_the_closed_form_on_the_implied_carry():
    valued = value_chain(chain(carry=0.02))
    greeks = black_scholes.price_and_greeks(
        100.0, valued["strike"].to_numpy(), YEARS, RATE, 0.02, 0.25, (valued["option_type"] == "call").to_numpy()
    )
    for name in GREEKS_OF_CHAIN:
        np.testing.assert_allclose(valued[name].to_numpy(), getattr(greeks, name), rtol=1e-5, atol=1e-8, err_msg=name)


def test_an_option_in_the_money_takes_the_volatility_of_its_twin():
    frame = chain()
    deep = row(frame, 115.0, "put")
    frame = replaced(frame, 115.0, "put", bid=deep["bid"] + 0.4, ask=deep["ask"] + 0.4)
    put, call = row(value_chain(frame), 115.0, "put"), row(value_chain(frame), 115.0, "call")
    assert put["iv_source"] == "parity_otm"
    assert call["iv_source"] == "quote_mid"
    for name in ("iv", "iv_bid", "iv_ask", "iv_err", "iv_status"):
        assert put[name] == call[name]
    assert put["delta"] == pytest.approx(call["delta"] - np.exp(-put["carry"] * YEARS), abs=1e-9)


def test_without_lending_every_option_stands_on_its_own_price():
    valued = value_chain(chain(), rules=ChainRules(lend_volatility=False))
    assert valued.get_column("iv_source").unique().to_list() == ["quote_mid"]


def test_an_option_in_the_money_without_a_twin_is_solved_from_its_own_price():
    frame = chain().filter(~((pl.col("strike") == 115.0) & (pl.col("option_type") == "call")))
    put = row(value_chain(frame), 115.0, "put")
    assert put["iv_source"] == "quote_mid"
    assert put["iv"] == pytest.approx(0.25, abs=1e-8)


@pytest.mark.parametrize("style", ["european", "american"])
@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"bid": 30.0, "ask": 15.0}, "crossed"),
        ({"bid": 0.0, "ask": 0.0}, "zero_bid"),
        ({"quote_age_s": 901.0}, "stale"),
        ({"ask": None}, "no_good_quote"),
        ({"bid": None, "ask": None}, "no_good_quote"),
    ],
)
def test_a_quote_that_fails_keeps_its_status_even_beside_a_good_twin(style, values, status):
    put = row(value_chain(replaced(chain(style), 115.0, "put", **values)), 115.0, "put")
    assert (put["iv_status"], put["iv"], put["gamma"], put["iv_source"]) == (status, None, None, "none")


def test_a_wide_quote_keeps_its_volatility_and_the_error_says_how_uncertain_it_is():
    frame = replaced(chain(), 105.0, "call", bid=0.5, ask=2.5)
    call = row(value_chain(frame), 105.0, "call")
    assert (call["iv_status"], call["iv_source"], call["mid"]) == ("wide_quote", "quote_mid", 1.5)
    assert call["iv_err"] == pytest.approx(1.0 / (100 * call["vega_1pct"]), rel=1e-12)
    assert_nulls_follow_status(value_chain(frame))


@pytest.mark.parametrize("style", ["european", "american"])
def test_a_wide_quote_decides_no_forward(style):
    # At 100 both mids are equal, which would make 100 the forward.
    frame = chain(style, carry=0.03)
    put = row(frame, 100.0, "put")
    wide = value_chain(replaced(frame, 100.0, "call", bid=0.1, ask=put["bid"] + put["ask"] - 0.1))
    fair = value_chain(frame.filter(pl.col("strike") != 100.0))["forward"][0]
    assert wide["forward"][0] == pytest.approx(fair, rel=1e-12)
    assert fair > 100.1


def test_a_volatility_lent_by_a_wide_quote_has_its_status():
    frame = replaced(chain(), 115.0, "call", bid=0.01, ask=0.30)
    put, call = (row(value_chain(frame), 115.0, side) for side in ("put", "call"))
    assert (put["iv_source"], put["iv_status"], call["iv_status"]) == ("parity_otm", "wide_quote", "wide_quote")
    assert put["iv"] == call["iv"]


def test_a_print_lends_its_volatility_to_prints_alone():
    frame = chain().with_columns(last=pl.lit(None, pl.Float64), last_age_s=60.0, last_underlying_price=100.0)
    call = row(frame, 115.0, "call")
    printed = replaced(frame, 115.0, "call", last=call["ask"] + 0.2, bid=None, ask=None)
    quoted_put = row(value_chain(printed), 115.0, "put")
    assert quoted_put["iv_source"] == "quote_mid"
    assert quoted_put["iv"] == pytest.approx(0.25, abs=1e-8)
    put = row(frame, 115.0, "put")
    both = value_chain(replaced(printed, 115.0, "put", last=put["ask"] + 0.5, bid=None, ask=None))
    assert row(both, 115.0, "put")["iv_source"] == "parity_otm"
    assert row(both, 115.0, "put")["iv"] == row(both, 115.0, "call")["iv"]


def test_the_error_of_volatility_is_half_the_spread_over_vega():
    call = row(value_chain(chain(half_spread=0.05)), 100.0, "call")
    assert call["iv_err"] == pytest.approx(0.05 / (100 * call["vega_1pct"]), rel=1e-12)
    assert call["iv_bid"] < call["iv"] < call["iv_ask"]
    assert call["iv_ask"] - call["iv_bid"] == pytest.approx(2 * call["iv_err"], rel=1e-3)


def test_american_options_out_of_the_money_are_european_and_near_the_money_on_a_tree():
    # One deviation in thirty days at 25 % is 7.2 %: the put at 105 stands on its own price, at 115 on its twin's.
    valued = value_chain(chain("american", carry=0.0))
    found = {
        (strike, side): (
            row(valued, strike, side)["exercise_model"],
            row(valued, strike, side)["iv_source"],
        )
        for strike, side in ((105.0, "call"), (90.0, "put"), (105.0, "put"), (95.0, "call"), (115.0, "put"))
    }
    assert found == {
        (105.0, "call"): ("european_approx", "quote_mid"),
        (90.0, "put"): ("european_approx", "quote_mid"),
        (105.0, "put"): ("lr_tree", "quote_mid"),
        (95.0, "call"): ("lr_tree", "quote_mid"),
        (115.0, "put"): ("lr_tree", "parity_otm"),
    }
    assert row(valued, 105.0, "put")["iv"] == pytest.approx(0.25, abs=5e-4)
    assert_nulls_follow_status(valued)


def test_the_premium_that_the_european_approximation_leaves_out_is_small():
    # Out of the money, thirty days, 5 %: the American put is worth at most 0.4 % more, 5 thousandths of volatility.
    strikes = np.array([80.0, 90.0, 95.0, 99.0])
    early = american.prices(100.0, strikes, YEARS, RATE, 0.0, 0.25, False)
    european = black_scholes.price(100.0, strikes, YEARS, RATE, 0.0, 0.25, False)
    vega = 100 * black_scholes.price_and_greeks(100.0, strikes, YEARS, RATE, 0.0, 0.25, False).vega_1pct
    assert np.all(early >= european)
    assert np.max((early - european) / vega) < 5e-3


def test_a_chain_of_which_nothing_has_traded_yet_is_empty_whatever_dividends_lie_ahead():
    dividends = pl.DataFrame({"symbol": ["XYZ"], "ex_at": [SNAPSHOT + timedelta(days=12)], "cash_amount": [1.5]})
    assert value_chain(chain("american").clear(), dividends).is_empty()


def test_an_ex_date_before_expiry_puts_every_american_option_on_a_tree():
    dividends = pl.DataFrame({"symbol": ["XYZ"], "ex_at": [SNAPSHOT + timedelta(days=12)], "cash_amount": [1.5]})
    frame = chain("american", carry=0.0, dividends=[(12 / 365, 1.5)])
    valued = value_chain(frame, dividends)
    assert valued.get_column("exercise_model").unique().to_list() == ["lr_tree"]
    # Volatility here is that of the spot less the dividend's present value, as the chain was made.
    near = valued.filter(pl.col("strike").is_between(90, 110))
    assert near.get_column("iv").to_numpy() == pytest.approx(0.25, abs=3e-3)
    later = dividends.with_columns(pl.col("ex_at") + timedelta(days=30))
    assert "european_approx" in value_chain(frame, later).get_column("exercise_model").to_list()


def test_american_greeks_are_those_of_the_tree():
    valued = value_chain(chain("american", carry=0.0))
    put = row(valued, 105.0, "put")
    residual = put["carry"]
    greeks = american.price_and_greeks(100.0, 105.0, YEARS, RATE, residual, put["iv"], False)
    for name in GREEKS_OF_CHAIN:
        assert put[name] == pytest.approx(getattr(greeks, name)[0], rel=1e-9), name


def test_rows_without_quotes_are_solved_from_a_recent_print_with_its_own_underlying():
    frame = chain().with_columns(last=pl.lit(None, pl.Float64), last_age_s=60.0, last_underlying_price=99.0)
    years_then = (MINUTES + 1.0) / 525_600.0
    traded = black_scholes.price(99.0, 105.0, years_then, RATE, 0.01, 0.32, True)[0]
    frame = replaced(frame, 105.0, "call", last=traded, bid=None, ask=None)
    call = row(value_chain(frame), 105.0, "call")
    assert call["iv"] == pytest.approx(0.32, abs=1e-7)
    assert (call["iv_source"], call["iv_status"]) == ("trade", "ok")
    assert (call["iv_err"], call["iv_bid"], call["mid"]) == (None, None, None)
    now = black_scholes.price_and_greeks(100.0, 105.0, YEARS, RATE, call["carry"], call["iv"], True)
    assert call["delta"] == pytest.approx(now.delta[0], rel=1e-9)
    old = row(value_chain(frame.with_columns(last_age_s=901.0)), 105.0, "call")
    assert (old["iv_status"], old["iv"]) == ("no_good_quote", None)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"minutes_to_expiry": 0.0}, "expired"),
        ({"minutes_to_expiry": -5.0}, "expired"),
        ({"minutes_to_expiry": 0.0, "bid": 0.0}, "expired"),
        ({"minutes_to_expiry": None}, "missing_input"),
        ({"rate": None}, "missing_input"),
        ({"underlying_price": None}, "missing_input"),
        ({"underlying_price": 0.0}, "missing_input"),
        ({"underlying_price": float("nan")}, "missing_input"),
        ({"bid": 3.0, "ask": 2.9}, "crossed"),
        ({"bid": 0.0}, "zero_bid"),
        ({"quote_age_s": 1000.0}, "stale"),
        ({"bid": None, "ask": None}, "no_good_quote"),
        ({"bid": float("nan"), "ask": float("nan")}, "no_good_quote"),
        ({"ask": float("nan")}, "no_good_quote"),
        ({"ask": float("inf")}, "no_good_quote"),
        ({"bid": 0.001, "ask": 0.0012}, "at_intrinsic"),
        ({"bid": 150.0, "ask": 151.0}, "above_upper"),
        ({"option_type": None}, "missing_input"),
    ],
)
def test_an_option_that_cannot_be_valued_is_null_and_says_why(values, status):
    frame = replaced(chain(), 105.0, "call", **values)
    valued = value_chain(frame)
    changed = valued.row(frame.get_column("strike").to_list().index(105.0), named=True)
    assert changed["iv_status"] == status
    assert (changed["iv"], changed["delta"], changed["iv_source"], changed["exercise_model"]) == (
        None,
        None,
        "none",
        None,
    )
    assert_nulls_follow_status(valued)


def test_a_strike_of_zero_is_missing_input():
    frame = chain().with_columns(pl.when(pl.col("strike") == 85).then(0.0).otherwise("strike").alias("strike"))
    valued = value_chain(frame)
    assert valued.filter(pl.col("strike") == 0)["iv_status"].unique().to_list() == ["missing_input"]
    assert_nulls_follow_status(valued)


@pytest.mark.parametrize("style", ["european", "american"])
def test_a_chain_without_any_usable_quote_is_all_null(style):
    valued = value_chain(chain(style).with_columns(bid=pl.lit(0.0)))
    assert valued.get_column("iv").null_count() == valued.height
    assert valued.get_column("iv_status").unique().to_list() == ["zero_bid"]
    assert_nulls_follow_status(valued)


def test_an_empty_chain_stays_empty_with_the_same_columns():
    full, empty = value_chain(chain()), value_chain(chain().clear())
    assert empty.height == 0
    assert empty.schema == full.schema


def test_every_status_that_a_chain_can_have_is_declared():
    assert value_chain(chain()).schema["iv_status"] == pl.Enum(IV_STATUSES)


def test_the_order_of_rows_changes_no_value():
    frame = pl.concat([chain("american"), chain().with_columns(symbol=pl.lit("SPX"))])
    straight = value_chain(frame).sort("symbol", "strike", "option_type")
    shuffled = value_chain(frame.sample(fraction=1.0, shuffle=True, seed=4)).sort("symbol", "strike", "option_type")
    assert straight.equals(shuffled)


def test_another_symbol_in_the_frame_changes_no_value():
    alone = value_chain(chain("american"))
    together = value_chain(pl.concat([chain().with_columns(symbol=pl.lit("SPX")), chain("american")]))
    assert together.filter(pl.col("symbol") == "XYZ").equals(alone)


def test_greeks_of_the_real_chain_agree_with_the_reference(shared_data):
    # GOOG, 2015-12-24 13:00 New York; the reference was made without carry and from every two-sided quote.
    table = pl.read_csv(shared_data / "reference" / "chain_GOOG_2015-12-24_1300ET.csv", infer_schema_length=None)
    frame = table.select(
        pl.lit("GOOG").alias("symbol"),
        pl.col("expiration_date").alias("expiration"),
        pl.col("contract_type").alias("option_type"),
        pl.lit("american").alias("exercise_style"),
        pl.col("strike_price").cast(pl.Float64).alias("strike"),
        pl.col("minutes_to_expiry", "underlying_price", "rate", "bid", "ask", "quote_age_s").cast(pl.Float64),
        pl.col("gamma").cast(pl.Float64).alias("reference_gamma"),
        pl.col("gex_1pct").cast(pl.Float64).alias("reference_gex"),
        pl.col("open_interest").cast(pl.Float64),
    )
    rules = ChainRules(1e9, 1e9, forward_from_parity=False, lend_volatility=False)
    valued = value_chain(frame, rules=rules)
    assert_nulls_follow_status(valued)
    sign = pl.when(pl.col("option_type") == "call").then(1.0).otherwise(-1.0)
    gex = sign * pl.col("gamma") * pl.col("open_interest") * pl.col("underlying_price").pow(2)
    both = valued.with_columns(gex.alias("gex")).drop_nulls(["gex", "reference_gex"])
    assert both.height > 1200
    # The whole chain's reference: +48.37 M$ per 1 %.
    assert valued.with_columns(gex.alias("gex"))["gex"].sum() == pytest.approx(48.37e6, rel=0.005)
    difference = (both["gamma"] - both["reference_gamma"]).abs()
    assert difference.quantile(0.99) < 2.5e-4
    # Puts a hair from exercise, where the tree's nodes straddle the boundary.
    assert difference.max() < 7e-4
