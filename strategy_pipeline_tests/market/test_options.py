"""Roots, OCC terms, and settlement moments."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from strategy_pipeline.market.options import (
    canonical_ticker,
    expires_at,
    morning_of_open_interest,
    root_named,
    roots_of,
    with_expires_at,
    with_occ_terms,
)


def test_weekly_roots_belong_to_their_index_and_settle_on_the_close():
    assert (root_named("SPXW").symbol, root_named("SPXW").settlement) == ("SPX", "pm")
    assert (root_named("SPX").symbol, root_named("SPX").settlement) == ("SPX", "am")
    assert root_named("SPXW").exercise_style == "european"
    assert (root_named("GOOG").exercise_style, root_named("GOOG").settlement) == ("american", "pm")
    assert {"SPX", "SPXW"} <= set(roots_of("SPX"))
    assert roots_of("BRK.B")[0] == "BRKB"


def test_a_root_with_a_digit_is_an_adjusted_contract_of_the_same_underlying():
    root = root_named("AAPL7")
    assert (root.symbol, root.adjusted) == ("AAPL", True)
    assert "AAPL7" in roots_of("AAPL")
    assert not root_named("AAPL").adjusted


def test_terms_are_read_from_the_right_of_the_ticker_and_strikes_keep_their_cents():
    terms = with_occ_terms(pl.DataFrame({"contract_ticker": ["O:AAPL140613C00070710", "SPXW  210104P03700000"]}))
    assert terms.rows() == [
        ("O:AAPL140613C00070710", "AAPL", date(2014, 6, 13), "call", 70.71),
        ("SPXW  210104P03700000", "SPXW", date(2021, 1, 4), "put", 3700.0),
    ]
    assert terms.select(canonical_ticker(pl.col("contract_ticker"))).to_series().to_list() == [
        "O:AAPL140613C00070710",
        "O:SPXW210104P03700000",
    ]


@pytest.mark.parametrize(
    "ticker",
    ["AAPL", "O:AAPL140613X00070710", "O:AAPL141399C00070710", "O:140613C00070710", "O:AAPL140613C00000000", "", None],
)
def test_a_malformed_ticker_has_no_terms(ticker):
    frame = pl.DataFrame({"contract_ticker": [ticker]}, schema={"contract_ticker": pl.String})
    assert with_occ_terms(frame).row(0)[1:] == (None, None, None, None)


@pytest.mark.parametrize(
    ("expiration", "settlement", "moment"),
    [
        (date(2021, 1, 15), "pm", datetime(2021, 1, 15, 21, 0, tzinfo=UTC)),
        (date(2021, 1, 15), "am", datetime(2021, 1, 15, 14, 30, tzinfo=UTC)),
        (date(2015, 12, 24), "pm", datetime(2015, 12, 24, 18, 0, tzinfo=UTC)),  # half day
        (date(2013, 7, 20), "pm", datetime(2013, 7, 19, 20, 0, tzinfo=UTC)),  # a Saturday
        (date(2014, 4, 18), "am", datetime(2014, 4, 17, 13, 30, tzinfo=UTC)),  # Good Friday
        (date(2099, 1, 17), "pm", datetime(2099, 1, 16, 21, 0, tzinfo=UTC)),  # beyond the calendar, a Saturday
    ],
)
def test_a_contract_settles_at_the_open_or_close_of_its_last_session(expiration, settlement, moment):
    assert expires_at(expiration, settlement) == moment
    frame = pl.DataFrame({"expiration": [expiration], "settlement": [settlement]})
    assert with_expires_at(frame)["expires_at"].to_list() == [moment]


def test_open_interest_is_published_at_half_past_six_in_new_york():
    assert morning_of_open_interest(date(2015, 12, 24)) == datetime(2015, 12, 24, 11, 30, tzinfo=UTC)
