"""Tickers of stocks, classes of shares, indices and option contracts."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy_pipeline.errors import SymbolError
from strategy_pipeline.market.symbols import OccContract, canonical_symbol, instrument, parse_occ, vendor_ticker


def test_an_index_loses_its_prefix_and_a_class_share_keeps_its_dot():
    assert canonical_symbol("I:SPX") == "SPX"
    assert canonical_symbol("BRK.B") == "BRK.B"
    assert vendor_ticker("SPX", "INDEX") == "I:SPX"
    assert vendor_ticker("BRK.B", "STOCK") == "BRK.B"


@pytest.mark.parametrize("ticker", ["NA", "NAN", "TRUE"])
def test_tickers_that_look_like_missing_values_are_tickers(ticker):
    assert canonical_symbol(ticker) == ticker


@pytest.mark.parametrize("ticker", ["", "spy", "I:", "SP Y", "SPY;DROP", "../SPY"])
def test_what_is_no_ticker_is_refused(ticker):
    with pytest.raises(SymbolError, match="is not a ticker"):
        canonical_symbol(ticker)


def test_an_index_borrows_the_volume_of_its_etf():
    assert instrument("I:NDX").proxy == "QQQ"
    assert instrument("IBM").proxy is None
    with pytest.raises(SymbolError, match="asset class"):
        instrument("IBM", "BOND")


# O:AAPL140613C00070710 is in the real data (data README: strikes after a split carry cents).
@pytest.mark.parametrize(
    ("ticker", "contract"),
    [
        ("O:AAPL140613C00070710", OccContract("AAPL", date(2014, 6, 13), "call", 70.71)),
        ("O:SPXW210104P03700000", OccContract("SPXW", date(2021, 1, 4), "put", 3700.0)),
        ("O:BRK.B241220C00450000", OccContract("BRK.B", date(2024, 12, 20), "call", 450.0)),
        ("AAPL7140613C00070710", OccContract("AAPL7", date(2014, 6, 13), "call", 70.71)),
        ("AAPL  140613C00070710", OccContract("AAPL", date(2014, 6, 13), "call", 70.71)),
    ],
)
def test_an_option_ticker_is_read_from_the_right(ticker, contract):
    assert parse_occ(ticker) == contract


@pytest.mark.parametrize("ticker", ["SPY", "O:SPY241320C00600000", "O:SPY241220X00600000", "O:SPY241220C0060000"])
def test_a_malformed_option_ticker_is_refused_with_a_sentence(ticker):
    with pytest.raises(SymbolError, match=r"OCC|does not exist"):
        parse_occ(ticker)


@given(
    root=st.from_regex(r"[A-Z]{1,5}[0-9]?", fullmatch=True),
    expiration=st.dates(date(2000, 1, 1), date(2099, 12, 31)),
    letter=st.sampled_from("CP"),
    thousandths=st.integers(1, 99_999_999),
)
def test_any_contract_survives_being_written_and_read(root, expiration, letter, thousandths):
    ticker = f"O:{root}{expiration:%y%m%d}{letter}{thousandths:08d}"
    parsed = parse_occ(ticker)
    assert (parsed.root, parsed.expiration) == (root, expiration)
    assert round(parsed.strike * 1000) == thousandths
