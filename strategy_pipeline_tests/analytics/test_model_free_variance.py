"""Model-free variance: both samples of the Cboe's white papers with their intermediate numbers, and bad strips."""

from math import sqrt

import polars as pl
import pytest

from strategy_pipeline.analytics.model_free_variance import constant_maturity_variance, model_free_variance
from strategy_pipeline.errors import DataError


def leg(shared_data, year: int, name: str) -> tuple[pl.DataFrame, float, float]:
    quotes = pl.read_csv(shared_data / "reference" / f"vix_white_paper_{year}.csv").filter(pl.col("leg") == name)
    return quotes, quotes["minutes_to_expiry"][0] / 525_600, quotes["rate"][0]


# Intermediate numbers of the two papers as quant_methods.md section 14 prints them.
@pytest.mark.parametrize(
    ("year", "name", "years", "forward", "k0", "strikes", "variance"),
    [
        (2014, "near", 0.0683486, 1962.8999562, 1960, 146, 0.01846292),
        (2014, "next", 0.0882686, 1962.4000606, 1960, 122, 0.01882101),
        (2009, "near", 9 / 365, 920.50005, 920, 136, 0.472767),
        (2009, "next", 37 / 365, 921.00039, 920, 110, 0.366818),
    ],
)
def test_each_strip_of_the_white_papers_has_its_printed_numbers(
    shared_data, year, name, years, forward, k0, strikes, variance
):
    quotes, found_years, rate = leg(shared_data, year, name)
    found = model_free_variance(quotes, found_years, rate)
    assert found_years == pytest.approx(years, abs=5e-8)
    assert found.forward == pytest.approx(forward, abs=5e-6)
    assert found.k0 == k0
    assert found.strikes == strikes
    assert found.variance == pytest.approx(variance, abs=5e-7 if year == 2009 else 5e-9)


# 2014/2019: 13.6858, printed 13.69; 2009: 61.22.
@pytest.mark.parametrize(("year", "index", "printed"), [(2014, 13.6858, "13.69"), (2009, 61.22, "61.22")])
def test_the_index_of_the_white_papers_comes_out(shared_data, year, index, printed):
    strips = []
    for name in ("near", "next"):
        quotes, years, rate = leg(shared_data, year, name)
        strips += [years * 525_600, model_free_variance(quotes, years, rate).variance]
    found = 100 * sqrt(constant_maturity_variance(*strips, 43_200))
    assert found == pytest.approx(index, abs=5e-3 if year == 2009 else 5e-5)
    assert f"{found:.2f}" == printed


def test_the_interpolation_of_the_printed_variances_gives_the_printed_index():
    # quant_methods.md section 14: tested from these two variances alone.
    found = 100 * sqrt(constant_maturity_variance(35_924, 0.01846292, 46_394, 0.01882101, 43_200))
    assert found == pytest.approx(13.6858, abs=5e-5)


def test_quotes_beyond_two_strikes_without_a_bid_do_not_count(shared_data):
    quotes, years, rate = leg(shared_data, 2014, "near")
    plain = model_free_variance(quotes, years, rate)
    highest = quotes["strike"].max()
    beyond = pl.DataFrame(
        {
            "strike": [highest + 100, highest + 200, highest + 300],
            "call_bid": [0.0, 0.0, 50.0],
            "call_ask": [0.05, 0.05, 60.0],
            "put_bid": [900.0, 1000.0, 1100.0],
            "put_ask": [910.0, 1010.0, 1110.0],
        }
    )
    both = pl.concat([quotes.select(beyond.columns).cast(pl.Float64), beyond])
    assert model_free_variance(both, years, rate).variance == plain.variance


def test_the_order_of_strikes_and_missing_quotes_written_as_null_change_nothing(shared_data):
    quotes, years, rate = leg(shared_data, 2009, "near")
    plain = model_free_variance(quotes, years, rate).variance
    blanks = quotes.with_columns(pl.when(pl.col("put_bid") > 0).then("put_bid").alias("put_bid"))
    assert model_free_variance(blanks.sample(fraction=1.0, shuffle=True, seed=3), years, rate).variance == plain


def test_prices_and_strikes_in_another_unit_give_the_same_variance(shared_data):
    quotes, years, rate = leg(shared_data, 2014, "next")
    names = ["strike", "call_bid", "call_ask", "put_bid", "put_ask"]
    scaled = quotes.with_columns(pl.col(names) * 10.0)
    found = model_free_variance(scaled, years, rate).variance
    assert found == pytest.approx(model_free_variance(quotes, years, rate).variance, rel=1e-12)


def strip(**columns: list[float]) -> pl.DataFrame:
    base = {
        "strike": [90.0, 100.0, 110.0],
        "call_bid": [11.0, 4.0, 1.0],
        "call_ask": [11.2, 4.2, 1.2],
        "put_bid": [1.0, 4.0, 11.0],
        "put_ask": [1.2, 4.2, 11.2],
    }
    return pl.DataFrame(base | columns)


def test_a_strip_that_is_none_has_no_variance():
    assert model_free_variance(strip(), 0.1, 0.0) is not None
    nothing = [0.0, 0.0, 0.0]
    assert model_free_variance(strip(put_bid=nothing), 0.1, 0.0) is None
    assert model_free_variance(strip(call_bid=[11.0, 4.0, 0.0]), 0.1, 0.0) is None
    # A crossed pair is no quote.
    assert model_free_variance(strip(call_ask=[11.2, 4.2, 0.9]), 0.1, 0.0) is None
    assert model_free_variance(strip().clear(), 0.1, 0.0) is None


def test_an_expired_strip_is_an_error_with_a_sentence():
    with pytest.raises(DataError, match="expired"):
        model_free_variance(strip(), 0.0, 0.0)
    with pytest.raises(DataError, match="interpolated"):
        constant_maturity_variance(20.0, 0.04, 20.0, 0.05, 30.0)
