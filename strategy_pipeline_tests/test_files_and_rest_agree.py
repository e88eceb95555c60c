"""The same real chain over REST and from files: GOOG at the close of Christmas Eve 2015, valued either way."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from massive import RESTClient

from strategy_pipeline.analytics.chains import chain_snapshots, value_snapshot
from strategy_pipeline.analytics.gamma_exposure import gamma_exposure
from strategy_pipeline.ingestion.chain_snapshots import parse_chain
from strategy_pipeline.ingestion.vendor_api import Pages, VendorApi
from strategy_pipeline.pricing.chain import ChainRules
from strategy_pipeline_tests.analytics.option_sessions import flat_curve, real_session
from strategy_pipeline_tests.ingestion.chain_pages import CLOSE
from strategy_pipeline_tests.ingestion.rest_peer import KEY, RestPeer, serving

DAY = date(2015, 12, 24)
RATES = flat_curve(0.005)


# The vendor's numbers in the recording stand on the spot and on each option's own price.
VENDORS_RULES = ChainRules(1e9, 1e9, lend_volatility=False, forward_from_parity=False)


@pytest.fixture(scope="module")
def pages(shared_data: Path) -> Pages:
    with serving(RestPeer(shared_data / "rest" / "v3", DAY)) as peer:
        return VendorApi(RESTClient(KEY, base=peer.url)).chain_snapshot("GOOG")


@pytest.fixture(scope="module")
def chains(shared_data: Path, pages: Pages) -> dict[str, pl.DataFrame]:
    """Rows of historical_greeks of the instant from either side, at the reference's rate of 0.5 %."""
    return {
        "rest": value_snapshot(parse_chain(pages, "GOOG", CLOSE, replayed=True).chain, rates=RATES),
        "files": chain_snapshots(**real_session(shared_data, DAY, "GOOG"), rates=RATES, snapshots=[CLOSE]),
    }


def beyond_tolerance(ours: pl.Series, theirs: pl.Series, error: pl.Series) -> tuple[int, int]:
    """How many pairs of volatilities there are, and how many differ by more than 0.002 and more than their error."""
    both = pl.DataFrame({"ours": ours, "theirs": theirs, "error": error}).drop_nulls(["ours", "theirs"])
    tolerance = pl.max_horizontal(pl.lit(2e-3), "error")
    return both.height, both.filter((pl.col("ours") - pl.col("theirs")).abs() > tolerance).height


def test_both_sides_hold_the_same_contracts_quotes_and_open_interest(chains):
    rest, files = chains["rest"], chains["files"]
    for name in ("contract_ticker", "bid", "ask", "underlying_price", "available_at", "iv_status"):
        assert rest[name].equals(files[name], null_equal=True), name
    # Data README: 2,192 contracts. The vendor states an open interest of zero where the file has no row.
    assert rest.height == 2_192
    assert rest["open_interest"].equals(files["open_interest"].fill_null(0))


def test_volatilities_of_both_sides_agree(chains):
    rest, files = chains["rest"], chains["files"]
    compared, apart = beyond_tolerance(rest["iv"], files["iv"], rest["iv_err"])
    assert (compared > 1_300, apart) == (True, 0)


def test_under_the_vendors_own_assumptions_our_volatilities_are_the_vendors(pages):
    chain = parse_chain(pages, "GOOG", CLOSE, replayed=True).chain
    rows = value_snapshot(chain, rates=RATES, rules=VENDORS_RULES)
    # 1,407 contracts of the recording have a volatility.
    compared, apart = beyond_tolerance(rows["iv"], rows["vendor_iv"], rows["iv_err"])
    assert (compared > 1_380, apart) == (True, 0)


@pytest.mark.parametrize("side", ["rest", "files"])
def test_dealer_gamma_of_either_side_is_that_of_the_reference(chains, side):
    row: dict[str, Any] = gamma_exposure(chains[side]).filter(pl.col("sign_convention") == "A").row(0, named=True)
    # QuantLib on the same quotes: +48.37 M$ per 1 %, calls +186.35, puts -137.97.
    for name, expected in (("", 48.37e6), ("call_", 186.35e6), ("put_", -137.97e6)):
        assert row[f"{name}gex_usd_per_1pct"] == pytest.approx(expected, rel=0.005)
