"""Chains on the grid: what was known when, what missing inputs leave behind, and real sessions against references."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from strategy_pipeline.analytics.chains import chain_snapshots, each_snapshot, value_snapshot
from strategy_pipeline.analytics.gamma_exposure import gamma_exposure
from strategy_pipeline.errors import ContractError
from strategy_pipeline.ingestion.option_files import option_contracts, parse_rates
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import HISTORICAL_GREEKS, INSTANT, OPTION_CONTRACTS
from strategy_pipeline.market.calendar import snapshot_instants
from strategy_pipeline.market.options import morning_of_open_interest
from strategy_pipeline.pricing.chain import ChainRules
from strategy_pipeline_tests.analytics.option_sessions import (
    DAY,
    FIRST,
    PUBLISHED_AT,
    actions_of,
    flat_curve,
    interest_frame,
    minute_bars,
    prints_frame,
    quote,
    quotes_frame,
    raw_of,
    real_session,
)

CALL, PUT = "O:XYZ210115C00100000", "O:XYZ210115P00100000"
FRIDAY = date(2020, 12, 31)
HOUR = timedelta(hours=1)
# The reference chains were made from every two-sided quote, each option on its own price, without carry.
REFERENCE_RULES = ChainRules(1e9, 1e9, lend_volatility=False, forward_from_parity=False)


def contracts_named(*tickers: str, at: datetime = FIRST - HOUR) -> pl.DataFrame:
    schema = {"contract_ticker": pl.String, "available_at": INSTANT, "ingested_at": INSTANT}
    seen = pl.DataFrame([(ticker, at, PUBLISHED_AT) for ticker in tickers], schema=schema, orient="row")
    return option_contracts(DAY, {"quotes": seen}).rows


def session_of_two(**changes: Any) -> dict[str, Any]:
    """A call and a put at the money, quoted and printed before 09:45, and an underlying at 100."""
    return {
        "day": DAY,
        "contracts": contracts_named(CALL, PUT),
        "underlying_bars": minute_bars(("XYZ", FIRST, 100.0)),
        "quotes": quotes_frame(quote(CALL, FIRST, 2.00, 2.10), quote(PUT, FIRST, 1.95, 2.05)),
        "open_interest": interest_frame(
            (CALL, 50), (PUT, 70), day=DAY, oi_session=FRIDAY, available_at=morning_of_open_interest(DAY)
        ),
        "rates": flat_curve(0.01),
        "snapshots": [FIRST],
        **changes,
    }


def snapshot(**changes: Any) -> pl.DataFrame:
    return conform(HISTORICAL_GREEKS, chain_snapshots(**session_of_two(**changes)))


def of_call(**changes: Any) -> dict[str, Any]:
    return snapshot(**changes).filter(pl.col("contract_ticker") == CALL).row(0, named=True)


def test_a_quoted_contract_has_its_volatility_greeks_and_the_terms_of_its_ticker():
    row = of_call()
    assert (row["symbol"], row["strike"], row["option_type"], row["multiplier"]) == ("XYZ", 100.0, "call", 100.0)
    assert (row["iv_status"], row["underlying_price"], row["mid"]) == ("ok", 100.0, 2.05)
    assert row["available_at"] == FIRST + timedelta(seconds=2)
    # 2021-01-04 09:45 to 2021-01-15 16:00 New York: 11 days, 6 hours and 15 minutes.
    assert (row["dte"], row["minutes_to_expiry"]) == (11, 11 * 1440 + 375)
    assert 0.25 < row["iv"] < 0.35
    assert row["quality_flags"] == ["terms_from_ticker"]
    assert row["ingested_at"] == PUBLISHED_AT


def test_a_full_session_has_26_snapshots_of_every_contract_and_a_half_day_14():
    assert chain_snapshots(**session_of_two(snapshots=None)).height == 2 * 26
    half = date(2015, 12, 24)
    seen = pl.DataFrame(
        {"contract_ticker": ["O:XYZ160115C00100000"], "available_at": [datetime(2015, 12, 24, 12, tzinfo=UTC)]},
        schema={"contract_ticker": pl.String, "available_at": INSTANT},
    ).with_columns(ingested_at=pl.lit(PUBLISHED_AT, dtype=INSTANT))
    contracts = option_contracts(half, {"quotes": seen}).rows
    grid = chain_snapshots(half, contracts, minute_bars(), rates=flat_curve(0.01))["snapshot_at"]
    assert (grid.len(), grid[-1]) == (14, datetime(2015, 12, 24, 18, 0, tzinfo=UTC))  # 13:00 New York


def test_a_quote_of_the_instant_counts_and_one_a_microsecond_later_does_not():
    late = quote(CALL, FIRST + timedelta(microseconds=1), 3.00, 3.10)
    assert of_call(quotes=quotes_frame(quote(CALL, FIRST, 2.00, 2.10), late))["bid"] == 2.00
    assert of_call(quotes=quotes_frame(late))["bid"] is None


def test_the_bar_that_ended_at_the_instant_counts_and_the_next_does_not():
    minute = timedelta(minutes=1)
    bars = minute_bars(("XYZ", FIRST - minute, 99.0), ("XYZ", FIRST, 100.0), ("XYZ", FIRST + minute, 101.0))
    assert of_call(underlying_bars=bars)["underlying_price"] == 100.0


def test_a_bar_known_late_counts_only_once_it_is_known():
    bars = minute_bars(("XYZ", FIRST, 100.0)).with_columns(available_at=pl.lit(FIRST + HOUR, dtype=INSTANT))
    assert of_call(underlying_bars=bars)["underlying_price"] is None


@pytest.mark.parametrize("end", [FIRST - timedelta(minutes=16), None])
def test_without_a_recent_underlying_there_is_a_row_without_volatility(end):
    row = of_call(underlying_bars=minute_bars(*([("XYZ", end, 100.0)] if end else [])))
    assert (row["underlying_price"], row["iv_status"], row["iv"], row["delta"]) == (None, "missing_input", None, None)
    assert (row["bid"], row["open_interest"]) == (2.00, 50)


@pytest.mark.parametrize("close", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_of_the_underlying_that_cannot_be_one_counts_as_none(close):
    row = of_call(underlying_bars=minute_bars(("XYZ", FIRST, close)))
    assert (row["underlying_price"], row["iv_status"]) == (None, "missing_input")


def test_the_underlying_may_stop_in_the_middle_of_a_session():
    instants = snapshot_instants(DAY)
    bars = minute_bars(*(("XYZ", moment, 100.0) for moment in instants[:13]))
    quotes = quotes_frame(*(quote(CALL, moment, 2.00, 2.10) for moment in instants))
    rows = snapshot(underlying_bars=bars, quotes=quotes, snapshots=None).filter(pl.col("contract_ticker") == CALL)
    assert rows["underlying_price"].is_not_null().to_list() == [True] * 14 + [False] * 12
    assert rows["iv_status"].cast(pl.String).to_list()[14:] == ["missing_input"] * 12


def test_open_interest_of_the_morning_describes_the_session_before():
    row = of_call()
    assert (row["open_interest"], row["oi_session"]) == (50, FRIDAY)


def test_open_interest_that_describes_its_own_session_is_refused():
    closing = interest_frame((CALL, 999), day=DAY, oi_session=DAY, available_at=morning_of_open_interest(DAY))
    with pytest.raises(ContractError, match="describe 2021-01-04 itself"):
        snapshot(open_interest=closing)


def test_the_closing_open_interest_stored_for_the_next_session_is_never_read_today():
    tomorrow = date(2021, 1, 5)
    closing = interest_frame((CALL, 999), day=tomorrow, oi_session=DAY, available_at=morning_of_open_interest(tomorrow))
    rows = snapshot(open_interest=closing, snapshots=None)
    assert rows["open_interest"].null_count() == rows.height


def test_open_interest_published_late_is_read_from_then_on():
    late = interest_frame((CALL, 50), day=DAY, oi_session=FRIDAY, available_at=FIRST + timedelta(minutes=10))
    rows = snapshot(open_interest=late, snapshots=[FIRST, FIRST + timedelta(minutes=15)])
    assert rows.filter(pl.col("contract_ticker") == CALL)["open_interest"].to_list() == [None, 50]


def test_open_interest_of_an_older_session_is_not_carried_into_this_one():
    old = interest_frame(
        (CALL, 50), day=FRIDAY, oi_session=date(2020, 12, 30), available_at=morning_of_open_interest(FRIDAY)
    )
    assert of_call(open_interest=old)["open_interest"] is None


def test_a_print_is_solved_with_the_underlying_of_its_own_time():
    printed_at = FIRST - timedelta(minutes=10)
    moved = minute_bars(("XYZ", printed_at, 100.0), ("XYZ", FIRST, 104.0))
    still = minute_bars(("XYZ", printed_at, 100.0), ("XYZ", FIRST, 100.0))
    prints = prints_frame((CALL, printed_at, 2.05, 3.0))
    with_move, without = (of_call(quotes=None, prints=prints, underlying_bars=bars) for bars in (moved, still))
    assert (with_move["iv_source"], with_move["last"], with_move["volume"]) == ("trade", 2.05, 3)
    assert with_move["iv"] == pytest.approx(without["iv"], abs=1e-3)
    assert with_move["delta"] > without["delta"] + 0.1
    assert with_move["underlying_price"] == 104.0


def test_a_print_older_than_a_quarter_of_an_hour_has_no_volatility():
    prints = prints_frame((CALL, FIRST - timedelta(minutes=15, seconds=1), 2.05, 3.0))
    row = of_call(quotes=None, prints=prints)
    assert (row["iv_status"], row["last"], row["iv"]) == ("no_good_quote", 2.05, None)


def test_volume_adds_up_to_the_snapshot_and_is_zero_only_once_the_underlying_trades():
    step = timedelta(minutes=15)
    prints = prints_frame((CALL, FIRST + step, 2.0, 3.0), (CALL, FIRST + 2 * step, 2.1, 4.0))
    rows = snapshot(prints=prints, snapshots=[FIRST + n * step for n in range(3)])
    assert rows.filter(pl.col("contract_ticker") == CALL)["volume"].to_list() == [None, 3, 7]
    assert rows.filter(pl.col("contract_ticker") == PUT)["volume"].to_list() == [None, 0, 0]


@pytest.mark.parametrize(
    ("bid", "ask", "age_minutes", "status"),
    [
        (2.2, 2.1, 0, "crossed"),
        (0.0, 2.1, 0, "zero_bid"),
        (2.0, 0.0, 0, "no_good_quote"),
        (2.0, None, 0, "no_good_quote"),
        (2.0, 2.1, 16, "stale"),
        (0.0, 0.0, 0, "zero_bid"),
        (150.0, 151.0, 0, "above_upper"),
    ],
)
def test_a_quote_that_is_not_good_leaves_its_status_and_no_volatility(bid, ask, age_minutes, status):
    one = quote(CALL, FIRST - timedelta(minutes=age_minutes), bid, ask)
    row = of_call(quotes=quotes_frame(one), contracts=contracts_named(CALL))
    assert (row["iv_status"], row["iv"], row["delta"], row["bid"], row["ask"]) == (status, None, None, bid, ask)


def test_a_chain_without_any_usable_quote_keeps_its_rows_and_says_so():
    rows = snapshot(quotes=None)
    assert rows["iv_status"].cast(pl.String).to_list() == ["no_good_quote"] * 2
    assert rows["iv"].null_count() == 2


def test_without_a_curve_known_by_then_there_is_no_volatility():
    later = flat_curve(0.01).with_columns(available_at=pl.lit(FIRST + HOUR, dtype=INSTANT))
    for rates in (None, later):
        row = of_call(rates=rates)
        assert (row["rate"], row["iv_status"]) == (None, "missing_input")


def test_rates_are_linear_in_tenor_and_the_newest_curve_counts():
    curve = pl.DataFrame(
        [
            (0.0, 0.09, FIRST - 3 * HOUR),
            (0.0, 0.01, FIRST - 2 * HOUR),
            (1.0, 0.03, FIRST - 2 * HOUR),
        ],
        schema={"tenor_years": pl.Float64, "rate": pl.Float64, "available_at": INSTANT},
        orient="row",
    )
    row = of_call(rates=curve)
    assert row["rate"] == pytest.approx(0.01 + 0.02 * row["minutes_to_expiry"] / 525_600, rel=1e-12)


def test_a_contract_is_expired_at_its_settlement_and_not_a_moment_earlier():
    weekly, monthly = "O:SPXW210104C03700000", "O:SPX210104C03700000"
    close = datetime(2021, 1, 4, 21, 0, tzinfo=UTC)
    moments = [close - timedelta(minutes=15), close]
    rows = snapshot(
        contracts=contracts_named(weekly, monthly),
        underlying_bars=minute_bars(*(("SPX", at, 3700.0) for at in moments)),
        quotes=quotes_frame(*(quote(ticker, at, 5.0, 5.2) for ticker in (weekly, monthly) for at in moments)),
        snapshots=moments,
    )
    by_ticker = {
        (ticker, at): (status, minutes)
        for ticker, at, status, minutes in rows.select(
            "contract_ticker", "snapshot_at", pl.col("iv_status").cast(pl.String), "minutes_to_expiry"
        ).iter_rows()
    }
    assert by_ticker[weekly, moments[0]] == ("ok", 15.0)
    assert by_ticker[weekly, close] == ("expired", 0.0)
    # The monthly contract settled on the open.
    assert by_ticker[monthly, moments[0]] == ("expired", 0.0)
    assert rows["symbol"].unique().to_list() == ["SPX"]


def test_the_deliverable_of_an_adjusted_contract_comes_from_the_reference():
    adjusted = "O:XYZ7210115C00100000"
    reference = contracts_named(CALL).with_columns(
        contract_ticker=pl.lit(adjusted), root=pl.lit("XYZ7"), multiplier=pl.lit(10.0), source=pl.lit("rest")
    ).cast(OPTION_CONTRACTS.polars_schema)  # fmt: skip
    rows = snapshot(
        contracts=pl.concat([contracts_named(CALL), reference]),
        quotes=quotes_frame(quote(CALL, FIRST, 2.0, 2.1), quote(adjusted, FIRST, 2.0, 2.1)),
    )
    assert dict(rows.select("contract_ticker", "multiplier").iter_rows()) == {CALL: 100.0, adjusted: 10.0}


def test_a_dividend_counts_from_its_declaration():
    actions = pl.DataFrame(
        {"symbol": ["XYZ"], "action": ["dividend"], "ex_date": [date(2021, 1, 11)], "split_ratio": [None],
         "cash_amount": [1.0], "available_at": [FIRST - HOUR], "source": ["flat_file"]},
        schema_overrides={"available_at": INSTANT, "split_ratio": pl.Float64},
    )  # fmt: skip
    one_call = {"contracts": contracts_named(CALL), "quotes": quotes_frame(quote(CALL, FIRST, 2.00, 2.10))}
    known = of_call(actions=actions, **one_call)
    later = actions.with_columns(available_at=pl.lit(FIRST + HOUR, dtype=INSTANT))
    unknown = of_call(actions=later, **one_call)
    assert unknown["iv"] == of_call(**one_call)["iv"]
    assert known["iv"] > unknown["iv"] + 0.01


def test_ranks_are_those_known_before_the_snapshot():
    ranks = pl.DataFrame(
        [("XYZ", 40.0, 55.0, FIRST - 10 * HOUR), ("XYZ", 90.0, 95.0, FIRST + HOUR)],
        schema=["symbol", "iv_rank_pct", "iv_percentile_pct", "available_at"],
        orient="row",
    ).with_columns(pl.col("available_at").cast(INSTANT))
    row = of_call(iv_ranks=ranks)
    assert (row["iv_rank_pct"], row["iv_percentile_pct"]) == (40.0, 55.0)


def test_no_contracts_make_no_rows():
    assert snapshot(contracts=OPTION_CONTRACTS.empty()).equals(HISTORICAL_GREEKS.empty())


def test_a_contract_has_no_row_before_it_is_known():
    contracts = contracts_named(CALL, at=FIRST + timedelta(minutes=5))
    rows = snapshot(contracts=contracts, snapshots=[FIRST, FIRST + timedelta(minutes=15)])
    assert rows["snapshot_at"].to_list() == [FIRST + timedelta(minutes=15)]


@pytest.fixture(scope="module")
def goog(shared_data):
    return real_session(shared_data, date(2015, 12, 24), "GOOG")


CLOSE_OF_HALF_DAY = datetime(2015, 12, 24, 18, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def goog_and_reference(goog, shared_data):
    """GOOG at 13:00 New York beside the QuantLib table of the same quotes."""
    rows = conform(
        HISTORICAL_GREEKS,
        chain_snapshots(**goog, rates=flat_curve(0.005), snapshots=[CLOSE_OF_HALF_DAY], rules=REFERENCE_RULES),
    )
    table = pl.read_csv(
        shared_data / "reference" / "chain_GOOG_2015-12-24_1300ET.csv", infer_schema_length=None
    ).rename({"ticker": "contract_ticker"})
    return rows.join(table, on="contract_ticker", suffix="_reference", how="inner", validate="1:1")


def test_every_contract_of_the_real_chain_has_its_quote_spot_and_open_interest(goog_and_reference):
    both = goog_and_reference
    assert both.height == 2192
    for name in ("bid", "ask", "underlying_price", "open_interest"):
        assert both[name].cast(pl.Float64).equals(both[f"{name}_reference"].cast(pl.Float64), null_equal=True), name
    assert (both["quote_age_s"] - both["quote_age_s_reference"]).abs().max() < 2e-6
    # Expiries after the change to summer time are an hour nearer than the reference has them.
    gap = both["minutes_to_expiry"] - both["minutes_to_expiry_reference"]
    assert set(gap.to_list()) == {0.0, -60.0}
    assert both.filter(gap != 0)["expiration"].min() > date(2016, 3, 13)
    assert both["oi_session"].drop_nulls().unique().to_list() == [date(2015, 12, 23)]


def test_volatilities_of_the_real_chain_agree_with_the_reference(goog_and_reference):
    solved = goog_and_reference.filter(pl.col("iv").is_not_null() & pl.col("iv_american").is_not_null())
    # 1,396 rows of the reference have an American volatility; 4 of them have a time value that identifies none.
    assert solved.height >= 1390
    difference = (solved["iv"] - solved["iv_american"]).abs()
    assert difference.median() < 1e-5
    assert difference.max() < 2e-3


def test_greeks_of_the_real_chain_agree_where_early_exercise_does_not_count(goog_and_reference):
    # The reference's Greeks are European, so puts in the money are left out; tolerances of American Greeks.
    both = goog_and_reference.filter(
        (pl.col("dte") > 1)
        & ((pl.col("option_type") == "call") | (pl.col("strike") < pl.col("underlying_price")))
        & (pl.col("iv_status") == "ok")
        & (pl.col("iv_european").is_not_null())
        & (pl.col("vega") > 0.01)
    )
    assert both.height > 700
    assert (both["delta"] - both["delta_reference"]).abs().quantile(0.99) < 3e-3
    for ours, theirs, tolerance in (
        ("gamma", "gamma_reference", 0.02),
        ("vega_1pct", "vega", 0.01),
        ("theta_day", "theta", 0.03),
    ):
        assert (both[ours] / both[theirs] - 1).abs().quantile(0.98) < tolerance, ours


def test_gamma_exposure_of_the_real_chain_is_that_of_the_reference(goog_and_reference):
    rows = goog_and_reference
    sign = pl.when(pl.col("option_type") == "call").then(1.0).otherwise(-1.0)
    gex = (
        sign * pl.col("gamma") * pl.col("open_interest") * pl.col("multiplier") * pl.col("underlying_price") ** 2 / 100
    )
    # The summary beside the chain: +48.37 M$ per 1 %, calls +186.35, puts -137.97.
    for part, expected in ((pl.lit(True), 48.37e6), (sign > 0, 186.35e6), (sign < 0, -137.97e6)):
        assert rows.filter(part).select(gex.sum()).item() == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("rates_from", ["flat", "file"])
def test_under_the_rules_of_the_product_the_real_chain_has_the_same_gamma_exposure(goog, shared_data, rates_from):
    # +48.37 M$ per 1 % of the reference, calls +186.35 and puts -137.97, from every two-sided quote of the chain.
    file = raw_of(shared_data, "extra/primary_credit_rate.csv")
    rates = flat_curve(0.005) if rates_from == "flat" else parse_rates(file).rows
    rows = chain_snapshots(**goog, rates=rates, actions=actions_of(shared_data), snapshots=[CLOSE_OF_HALF_DAY])
    exposure = gamma_exposure(rows).filter(pl.col("sign_convention") == "A").row(0, named=True)
    for name, expected in (
        ("gex_usd_per_1pct", 48.37e6),
        ("call_gex_usd_per_1pct", 186.35e6),
        ("put_gex_usd_per_1pct", -137.97e6),
    ):
        assert exposure[name] == pytest.approx(expected, rel=0.005), name
    statuses = dict(rows["iv_status"].cast(pl.String).value_counts().iter_rows())
    # 105 rows without a bid and an ask, 405 with a bid of zero; of the two-sided ones 332 are wider than a quarter.
    assert (statuses["no_good_quote"], statuses["zero_bid"], statuses["wide_quote"]) == (105, 405, 332)


def test_nothing_after_a_snapshot_changes_it(goog):
    # The whole grid from all events, against its first instants from the events known by then.
    instants = snapshot_instants(goog["day"])[:3]
    known = instants[-1] + timedelta(seconds=2)
    cut = {
        name: value.filter(pl.col("available_at") <= known) if isinstance(value, pl.DataFrame) else value
        for name, value in goog.items()
    }
    contracts = option_contracts(goog["day"], {name: cut[name] for name in ("quotes", "prints", "open_interest")}).rows
    rates = flat_curve(0.005)
    whole = pl.concat(list(each_snapshot(**goog, rates=rates, snapshots=instants)))
    prefix = chain_snapshots(**{**cut, "contracts": contracts}, rates=rates, snapshots=instants)
    assert whole.equals(prefix)
    shuffled = {
        name: value.sample(fraction=1.0, shuffle=True, seed=7) if isinstance(value, pl.DataFrame) else value
        for name, value in goog.items()
    }
    assert chain_snapshots(**shuffled, rates=rates, snapshots=instants[-1:]).equals(
        whole.filter(pl.col("snapshot_at") == instants[-1])
    )


def picture_of(rows: pl.DataFrame, contracts: pl.DataFrame) -> pl.DataFrame:
    """Rows of one instant as the vendor's REST side would show them."""
    terms = contracts.select("contract_ticker", "root", "expires_at")
    kept = (
        "contract_ticker", "snapshot_at", "symbol", "session", "expiration", "strike", "option_type", "exercise_style",
        "settlement", "multiplier", "underlying_price", "bid", "ask", "quote_age_s", "last", "volume",
        "open_interest", "oi_session", "quality_flags", "available_at", "ingested_at",
    )  # fmt: skip
    return (
        rows.select(kept)
        .join(terms, on="contract_ticker", how="inner")
        .with_columns(
            underlying_at="snapshot_at", last_at=pl.lit(None, dtype=INSTANT), last_age_s=pl.lit(None, dtype=pl.Float64),
            vendor_iv=pl.lit(0.2), vendor_delta=pl.lit(0.5),
        )
    )  # fmt: skip


SAME_EITHER_WAY = (
    "iv",
    "iv_bid",
    "iv_ask",
    "delta",
    "gamma",
    "forward",
    "rate",
    "iv_status",
    "minutes_to_expiry",
    "dte",
)


def test_the_same_quotes_give_the_same_rows_from_the_vendors_picture_and_from_files(goog):
    rates = flat_curve(0.005)
    from_files = chain_snapshots(**goog, rates=rates, snapshots=[CLOSE_OF_HALF_DAY])
    shown = picture_of(from_files, goog["contracts"]).sample(fraction=1.0, shuffle=True, seed=3)
    from_rest = conform(HISTORICAL_GREEKS, value_snapshot(shown, rates=rates))
    quoted = from_files["bid"].is_not_null()
    for name in SAME_EITHER_WAY:
        assert from_rest.filter(quoted)[name].equals(from_files.filter(quoted)[name], null_equal=True), name
    assert from_rest["source"].unique().to_list() == ["rest"]
    assert from_rest["vendor_iv"].unique().to_list() == [0.2]


@pytest.mark.parametrize(
    "changes",
    [
        {"underlying_price": None},
        {"underlying_price": 0.0},
        {"underlying_at": FIRST - timedelta(minutes=16)},
        {"underlying_at": None},
    ],
)
def test_a_vendors_picture_without_a_recent_underlying_has_rows_and_no_volatility(changes):
    shown = picture_of(snapshot(), contracts_named(CALL, PUT))
    shown = shown.with_columns(pl.lit(value, dtype=shown.schema[name]).alias(name) for name, value in changes.items())
    rows = conform(HISTORICAL_GREEKS, value_snapshot(shown, rates=flat_curve(0.01)))
    assert rows["iv_status"].cast(pl.String).to_list() == ["missing_input"] * 2
    assert rows["underlying_price"].null_count() == 2


def test_prices_of_a_vendors_picture_that_cannot_be_prices_are_null():
    shown = picture_of(snapshot(), contracts_named(CALL, PUT)).with_columns(
        bid=pl.lit(-1.0), ask=pl.lit(float("nan")), last=pl.lit(0.0)
    )
    rows = conform(HISTORICAL_GREEKS, value_snapshot(shown, rates=flat_curve(0.01)))
    assert rows.select("bid", "ask", "last", "iv").null_count().row(0) == (2, 2, 2, 2)


def test_open_interest_of_its_own_session_in_a_vendors_picture_is_refused():
    shown = picture_of(snapshot(), contracts_named(CALL, PUT)).with_columns(oi_session="session")
    with pytest.raises(ContractError, match="describes that session itself"):
        value_snapshot(shown, rates=flat_curve(0.01))


def test_a_print_in_a_vendors_picture_needs_the_underlying_of_its_own_time():
    printed_at = FIRST - timedelta(minutes=5)
    shown = picture_of(snapshot(quotes=None), contracts_named(CALL, PUT)).with_columns(
        last=pl.lit(2.05), last_at=pl.lit(printed_at, dtype=INSTANT), last_age_s=pl.lit(300.0)
    )
    alone = value_snapshot(shown, rates=flat_curve(0.01))
    bars = minute_bars(("XYZ", printed_at, 100.0))
    with_bars = conform(HISTORICAL_GREEKS, value_snapshot(shown, rates=flat_curve(0.01), underlying_bars=bars))
    assert alone["iv"].null_count() == 2
    assert with_bars["iv_source"].cast(pl.String).to_list() == ["trade", "trade"]


def test_an_empty_picture_has_no_rows():
    shown = picture_of(snapshot(), contracts_named(CALL, PUT)).clear()
    assert value_snapshot(shown).equals(HISTORICAL_GREEKS.empty())


def test_a_bar_that_becomes_known_late_does_not_hide_a_newer_one():
    minute = timedelta(minutes=1)
    bars = minute_bars(("XYZ", FIRST, 101.0), ("XYZ", FIRST - minute, 99.0)).with_columns(
        available_at=pl.when(pl.col("close") == 99.0)
        .then(pl.lit(FIRST + minute, dtype=INSTANT))
        .otherwise("available_at")
    )
    rows = snapshot(underlying_bars=bars, snapshots=[FIRST, FIRST + timedelta(minutes=15)])
    assert rows["underlying_price"].to_list() == [101.0] * 4


def at_noon(day: date) -> datetime:
    return snapshot_instants(day)[9]


@pytest.mark.parametrize(("day", "spot"), [(date(2014, 6, 6), 649.69), (date(2014, 6, 9), 93.01)])
def test_a_split_changes_the_strikes_and_leaves_the_volatility(shared_data, day, spot):
    # AAPL split 7:1 on 2014-06-09 and has no quotes here: volatilities come from prints.
    session = real_session(shared_data, day, "AAPL")
    rates = parse_rates(raw_of(shared_data, "extra/primary_credit_rate.csv")).rows
    rows = conform(
        HISTORICAL_GREEKS,
        chain_snapshots(**session, rates=rates, actions=actions_of(shared_data), snapshots=[at_noon(day)]),
    )
    assert rows["underlying_price"].unique().to_list() == [spot]
    near = rows.filter(
        (pl.col("iv_status") == "ok")
        & (pl.col("expiration") == date(2014, 7, 19))
        & ((pl.col("strike") / pl.col("underlying_price") - 1).abs() < 0.03)
    )
    assert near.height > 4
    assert 0.15 < near["iv"].median() < 0.30
    assert set(rows["iv_source"].unique().cast(pl.String)) == {"none", "trade", "parity_otm"}
    if day == date(2014, 6, 9):
        # What was open before the split counts contracts of the old terms.
        assert rows["open_interest"].null_count() == rows.height
        assert rows.filter(pl.col("strike") > 300).is_empty()
        assert 76.43 in rows["strike"].to_list()
    else:
        assert rows["open_interest"].null_count() < 0.05 * rows.height


def test_contracts_that_expire_on_a_saturday_have_their_last_session_on_friday(shared_data):
    day = date(2013, 7, 2)
    session = real_session(shared_data, day, "FOXA")
    rows = conform(
        HISTORICAL_GREEKS, chain_snapshots(**session, rates=flat_curve(0.0075), snapshots=[snapshot_instants(day)[-1]])
    )
    july = rows.filter(pl.col("expiration") == date(2013, 7, 20))
    assert july["dte"].unique().to_list() == [17]
    assert july["minutes_to_expiry"].unique().to_list() == [17 * 1440.0]
    assert july["iv"].drop_nulls().is_between(0.1, 1.5).all()
    assert july["iv"].count() > 4


def test_index_options_stand_on_the_parity_forward_of_their_own_root(shared_data):
    session = real_session(shared_data, DAY, "SPX", index=True)
    at = datetime(2021, 1, 4, 20, 0, tzinfo=UTC)  # 15:00 New York
    rows = conform(HISTORICAL_GREEKS, chain_snapshots(**session, rates=flat_curve(0.001), snapshots=[at]))
    assert set(rows["exercise_style"].cast(pl.String)) == {"european"}
    assert rows["underlying_price"].unique().to_list() == [3693.77]
    assert rows["symbol"].unique().to_list() == ["SPX"]
    table = pl.read_csv(shared_data / "reference" / "chain_SPXW_2021-01-04_1500ET.csv").rename(
        {"ticker": "contract_ticker"}
    )
    both = rows.join(table, on="contract_ticker", suffix="_reference", how="inner")
    assert both.height == 12
    assert both["bid"].equals(both["bid_reference"])
    near = both.filter((pl.col("strike") == 3700.0) & (pl.col("iv_european").is_not_null()))
    assert near.height == 6
    # The reference has a dividend yield of 1.5 % where these stand on the forward that call and put agree on.
    assert (near["iv"] - near["iv_european"]).abs().max() < 0.01
    monthly = rows.filter(pl.col("contract_ticker").str.starts_with("O:SPX2101"))
    assert set(monthly["settlement"].cast(pl.String)) == {"am"}


def test_a_large_snapshot_is_rows_of_its_contracts_only(goog):
    rows = next(each_snapshot(**goog, rates=flat_curve(0.005), snapshots=[CLOSE_OF_HALF_DAY]))
    assert rows["contract_ticker"].is_sorted()
    assert rows["contract_ticker"].is_unique().all()
    numbers = rows.select(pl.col(pl.Float64))
    assert not any(numbers[name].is_nan().any() or numbers[name].is_infinite().any() for name in numbers.columns)
