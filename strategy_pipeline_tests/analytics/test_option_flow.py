"""The option tape: side, sweeps, blocks, splits and positions of crafted prints, and what must not change them."""

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.analytics.option_flow import (
    FlowRules,
    classify_flow,
    daily_flow,
    flow_totals,
    premium_of_prints,
    streamed_beside,
)
from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import OPTIONS_FLOW_DAILY, TRADE_TYPES
from strategy_pipeline.market.calendar import session_offset
from strategy_pipeline_tests.analytics.tapes import (
    AUTO,
    BOTH_QUOTED,
    CALL,
    CONDITIONS,
    DAY,
    ISO,
    NOON,
    PUT,
    classified,
    contracts,
    flow,
    greeks,
    interest,
    past,
    prints,
    quotes,
    underlying,
)


def a_print(price: float, size: int = 1, at: float = 0, exchange: int = 300, *ids: int, contract: str = CALL):
    return (contract, at, price, size, exchange, list(ids) or [AUTO])


def one(*args: object, **options: object) -> dict[str, object]:
    return flow(*args, **options).row(0, named=True)  # type: ignore[arg-type]


# Quote 1.00-1.10: z = (price - 1.05) / .05, section 10.
@pytest.mark.parametrize(
    ("price", "sign", "level", "above", "below"),
    [
        (1.11, 1.0, "AGGRESSIVE", True, False),
        (1.10, 1.0, "AGGRESSIVE", False, False),
        (1.09, 1.0, "NORMAL", False, False),
        (1.07, 0.0, "NORMAL", False, False),
        (1.06, 0.0, "PASSIVE", False, False),
        (1.05, 0.0, "PASSIVE", False, False),
        (1.01, -1.0, "NORMAL", False, False),
        (1.00, -1.0, "AGGRESSIVE", False, False),
        (0.99, -1.0, "AGGRESSIVE", False, True),
    ],
)
def test_the_place_between_bid_and_ask_gives_side_and_aggressiveness(price, sign, level, above, below):
    row = one(prints(a_print(price)))
    assert (row["aggressor_sign"], row["aggressiveness"]) == (sign, level)
    assert (row["is_above_ask"], row["is_below_bid"]) == (above, below)


def test_inside_the_spread_the_tick_counts_half():
    tape = flow(prints(*(a_print(price, at=at) for at, price in enumerate([1.05, 1.06, 1.06, 1.04]))))
    assert tape["aggressor_sign"].to_list() == [0.0, 0.5, 0.0, -0.5]
    assert tape["sentiment"].to_list() == ["NEUTRAL", "BULLISH", "NEUTRAL", "BEARISH"]


def test_late_and_package_prints_move_no_tick():
    tape = flow(
        prints(a_print(1.05), a_print(1.30, 1, 1, 300, 202), a_print(1.30, 1, 2, 300, 232), a_print(1.06, at=3))
    )
    assert tape["aggressor_sign"].to_list() == [0.0, None, None, 0.5]


@pytest.mark.parametrize(
    "nbbo",
    [
        pytest.param(quotes(), id="absent"),
        pytest.param(quotes((CALL, -5001, 1.00, 1.10)), id="stale"),
        pytest.param(quotes((CALL, -1, 1.10, 1.10)), id="locked"),
        pytest.param(quotes((CALL, -1, 1.20, 1.10)), id="crossed"),
        pytest.param(quotes((CALL, -1, 0.0, 1.10)), id="no bid"),
        pytest.param(quotes((CALL, -1, 1.00, 0.0)), id="no ask"),
        pytest.param(quotes((CALL, 0.000001, 1.00, 1.10)), id="one nanosecond too late"),
        pytest.param(quotes((PUT, -1, 1.00, 1.10)), id="another contract"),
    ],
)
def test_without_a_sound_quote_the_side_is_unknown_and_no_guess(nbbo):
    row = one(prints(a_print(1.10)), nbbo)
    assert [row[name] for name in ("aggressor_sign", "aggressiveness", "is_sweep")] == [None] * 3
    assert row["sentiment"] == "UNKNOWN"
    assert row["premium_usd"] == pytest.approx(110.0)


def test_the_quote_of_the_very_nanosecond_and_the_oldest_one_allowed_count():
    assert one(prints(a_print(1.10)), quotes((CALL, 0, 1.00, 1.10)))["aggressor_sign"] == 1.0
    row = one(prints(a_print(1.10)), quotes((CALL, -5000, 1.00, 1.10)))
    assert (row["aggressor_sign"], row["nbbo_age_ms"]) == (1.0, 5000.0)


def test_a_stale_quote_leaves_its_age_and_not_its_prices():
    row = one(prints(a_print(1.10)), quotes((CALL, -9000, 1.00, 1.10)))
    assert (row["nbbo_age_ms"], row["bid"], row["ask"]) == (9000.0, None, None)


def test_the_newest_of_several_quotes_counts():
    nbbo = quotes((CALL, -10, 1.00, 1.10), (CALL, -2, 1.10, 1.20), (CALL, 1, 2.0, 2.1))
    assert one(prints(a_print(1.10)), nbbo)["aggressor_sign"] == -1.0


@pytest.mark.parametrize(
    ("contract", "price", "sentiment"),
    [(CALL, 1.10, "BULLISH"), (CALL, 1.00, "BEARISH"), (PUT, 2.10, "BEARISH"), (PUT, 2.00, "BULLISH")],
)
def test_sentiment_is_the_side_times_the_type(contract, price, sentiment):
    assert one(prints(a_print(price, contract=contract)))["sentiment"] == sentiment


@pytest.mark.parametrize(
    ("condition", "exclusion", "trade_type"),
    [
        (201, "cancel", "REGULAR"),
        (202, "late", "REGULAR"),
        (247, "extended", "REGULAR"),
        (248, "extended", "REGULAR"),
        (229, "cross", "CROSS"),
        (232, "multi_leg", "MULTI_LEG"),
        (240, "multi_leg", "MULTI_LEG"),
    ],
)
def test_prints_set_apart_have_no_side_however_aggressive(condition, exclusion, trade_type):
    row = one(prints(a_print(1.20, 5000, 0, 300, condition)))
    assert (row["exclusion_class"], row["trade_type"], row["aggressor_sign"]) == (exclusion, trade_type, None)
    assert (row["sentiment"], row["is_sweep"]) == ("UNKNOWN", False)


def test_an_auction_keeps_its_side():
    row = one(prints(a_print(1.10, 1, 0, 300, 227)))
    assert (row["trade_type"], row["aggressor_sign"], row["exclusion_class"]) == ("AUCTION", 1.0, "none")


def test_the_stricter_of_several_conditions_counts():
    assert one(prints(a_print(1.10, 1, 0, 300, 219, 229)))["trade_type"] == "CROSS"
    assert one(prints(a_print(1.10, 1, 0, 300, 232, 201)))["exclusion_class"] == "cancel"


def test_an_unknown_condition_is_reported_and_takes_the_side_away():
    found = classified(prints(a_print(1.10, 300, 0, 300, 999), a_print(1.10, at=5)))
    assert found.unknown_conditions == {999: 1}
    first, second = found.rows.sort("sip_timestamp").to_dicts()
    assert (first["quality"], first["quality_flags"], first["aggressor_sign"]) == (
        "suspect", ["unknown_condition", "no_history"], None,
    )  # fmt: skip
    assert second["quality"] == "final"


def test_a_corrected_print_is_suspect():
    tape = prints(a_print(1.10)).with_columns(is_corrected=pl.lit(True))
    assert one(tape)["quality_flags"] == ["correction", "no_history"]


# 120 x 1.10 x 100 = 13 200 $ a print: two are over 25 000 $.
def sweep(*changes: tuple[int, dict[str, object]]) -> pl.DataFrame:
    legs: list[dict[str, object]] = [
        {"price": 1.10, "size": 120, "at": 0, "exchange": 300, "id": ISO},
        {"price": 1.10, "size": 120, "at": 40, "exchange": 301, "id": ISO},
        {"price": 1.10, "size": 1, "at": 90, "exchange": 302, "id": ISO},
    ]
    for leg, values in changes:
        legs[leg] |= values
    return prints(*((CALL, one["at"], one["price"], one["size"], one["exchange"], [one["id"]]) for one in legs))


def test_a_sweep_is_one_order_over_several_exchanges():
    tape = flow(sweep())
    assert tape["trade_type"].to_list() == ["SWEEP"] * 3
    assert tape["is_sweep"].to_list() == [True] * 3
    assert tape["cluster_id"].unique().to_list() == [f"sweep/{CALL}/1717430400000000000/B"]
    # Known when no further print can belong to it: the last one at 90 ms, and 50 ms more.
    assert tape["available_at"].unique().to_list() == [NOON + timedelta(milliseconds=140)]


@pytest.mark.parametrize(
    ("leg", "values"),
    [
        pytest.param(1, {"at": 51}, id="a gap over 50 ms"),
        pytest.param(1, {"price": 1.00}, id="another side"),
        pytest.param(1, {"id": AUTO}, id="at the touch without the condition"),
        pytest.param(1, {"id": 232}, id="part of a package"),
        pytest.param(1, {"size": 100}, id="24 310 $ together"),
    ],
)
def test_what_is_no_sweep(leg, values):
    tape = flow(sweep((leg, values)))
    assert "SWEEP" not in tape["trade_type"].to_list()
    assert tape["available_at"].to_list()[0] in (NOON, NOON + timedelta(seconds=2))


def test_one_exchange_alone_is_no_sweep_but_a_split():
    tape = flow(sweep((1, {"exchange": 300}), (2, {"exchange": 300})))
    assert tape["trade_type"].to_list() == ["SPLIT"] * 3
    assert tape["is_sweep"].to_list() == [False] * 3
    assert tape["cluster_id"].unique().to_list() == [f"split/{CALL}/1717430400000000000/300/B"]
    assert tape["available_at"].unique().to_list() == [NOON + timedelta(milliseconds=2090)]


def test_prints_through_the_touch_sweep_without_the_condition():
    through = {"id": AUTO, "price": 1.15}
    assert flow(sweep((0, through), (1, through), (2, through)))["trade_type"].to_list() == ["SWEEP"] * 3


def test_fifty_milliseconds_and_the_premium_itself_are_enough():
    # 125 x 1.00 x 100 = 12 500 $ a print.
    legs = [(CALL, 0, 1.00, 125, 300, [ISO]), (CALL, 50, 1.00, 125, 301, [ISO])]
    assert flow(prints(*legs))["trade_type"].to_list() == ["SWEEP", "SWEEP"]


def test_a_sweep_in_another_contract_is_another_sweep():
    tape = flow(prints((CALL, 0, 1.10, 300, 300, [ISO]), (PUT, 1, 2.10, 300, 301, [ISO])))
    assert tape["is_sweep"].to_list() == [False, False]


def test_splits_lie_within_two_seconds_of_the_first():
    # 0, 1.5 s and 2 s belong together; 3 s starts anew and stands alone.
    tape = flow(
        prints(*(a_print(1.10, at=at) for at in (0, 1500, 2000, 3000))),
        quotes(*((CALL, at, 1.0, 1.1) for at in (-1, 1400, 2900))),
    )
    assert tape["trade_type"].to_list() == ["SPLIT", "SPLIT", "SPLIT", "REGULAR"]
    assert tape["available_at"].to_list()[0] == NOON + timedelta(seconds=4)


SIZES = [*range(1, 101)]


@pytest.mark.parametrize(
    ("size", "price", "history", "is_block"),
    [
        pytest.param(249, 1.1, past(SIZES), False, id="too few contracts"),
        pytest.param(250, 1.1, past(SIZES), True, id="the floor"),
        pytest.param(400, 1.1, past([*SIZES, 500, 500]), False, id="under the percentile"),
        pytest.param(500, 1.1, past([*SIZES, 500, 500]), True, id="at the percentile"),
        pytest.param(5000, 1.0, past(), True, id="500 000 $"),
        pytest.param(4999, 1.0, past(), None, id="not decidable without a history"),
        pytest.param(249, 1.0, past(), False, id="never a block"),
    ],
)
def test_a_block_is_large_by_contracts_or_by_premium(size, price, history, is_block):
    row = one(prints(a_print(price, size)), history=history)
    assert row["is_block"] is is_block
    assert (row["trade_type"] == "BLOCK") is bool(is_block)


def test_a_large_print_is_above_ten_thousand_dollars_and_the_percentile():
    # Premiums before: 100 $ x size, 95th percentile 9 500 $; then the same x 10.
    assert one(prints(a_print(1.00, 100)), history=past(SIZES))["trade_type"] == "LARGE"
    assert one(prints(a_print(1.00, 99)), history=past(SIZES))["trade_type"] == "REGULAR"
    assert one(prints(a_print(1.00, 100)), history=past(SIZES, premium_usd=1000))["trade_type"] == "REGULAR"
    assert one(prints(a_print(1.00, 100)))["trade_type"] == "REGULAR"


def test_percentiles_are_mid_ranks_among_prior_sessions():
    row = one(prints(a_print(1.00, 50)), history=past(SIZES))
    # 49 of 100 below and one equal; premium 5 000 $ likewise.
    assert row["size_percentile_pct"] == pytest.approx(49.5)
    assert row["premium_percentile_pct"] == pytest.approx(49.5)


def test_percentiles_need_five_sessions_and_see_neither_today_nor_the_twenty_first_before():
    assert one(prints(a_print(1.00, 50)), history=past(SIZES, sessions=4))["size_percentile_pct"] is None
    plain = one(prints(a_print(1.00, 50)), history=past(SIZES))
    foreign = [
        past(SIZES).head(50).with_columns(session=pl.lit(day), size=pl.lit(1, dtype=pl.Int64))
        for day in (DAY, session_offset(DAY, -21), date(2024, 6, 4))
    ]
    assert one(prints(a_print(1.00, 50)), history=pl.concat([past(SIZES), *foreign])) == plain


def test_precedence_is_the_order_of_the_specification():
    big = 6000  # 660 000 $: a block by itself
    tape = {
        "CROSS": [(CALL, 0, 1.10, big, 300, [229])],
        "MULTI_LEG": [(CALL, 0, 1.10, big, 300, [232])],
        "AUCTION": [(CALL, 0, 1.10, big, 300, [228]), (CALL, 1, 1.10, big, 301, [228])],
        "SWEEP": [(CALL, 0, 1.10, big, 300, [ISO]), (CALL, 1, 1.10, big, 301, [ISO])],
        "BLOCK": [(CALL, 0, 1.10, big, 300, [AUTO]), (CALL, 1, 1.10, big, 300, [AUTO])],
        "SPLIT": [(CALL, 0, 1.10, 100, 300, [AUTO]), (CALL, 1, 1.10, 100, 300, [AUTO])],
        "LARGE": [(CALL, 0, 1.10, 100, 300, [AUTO])],
        "REGULAR": [(CALL, 0, 1.10, 1, 300, [AUTO])],
    }
    assert tuple(tape) == TRADE_TYPES
    for expected, rows in tape.items():
        assert flow(prints(*rows), history=past(SIZES))["trade_type"].unique().to_list() == [expected]


def test_a_swept_auction_is_known_when_the_sweep_is():
    tape = flow(prints((CALL, 0, 1.10, 300, 300, [228]), (CALL, 1, 1.10, 300, 301, [228])))
    assert tape["is_sweep"].to_list() == [True, True]
    assert tape["available_at"].unique().to_list() == [NOON + timedelta(milliseconds=51)]


def test_opening_likelihood_is_what_open_interest_cannot_explain():
    # Open interest 1 000; volume after each print 900, 1 100, 1 300.
    tape = flow(prints(a_print(1.10, 900), a_print(1.10, 200, 1), a_print(1.10, 200, 2)))
    assert tape["opening_likelihood"].to_list() == [0.0, 0.5, 1.0]
    assert one(prints(a_print(1.10)), oi=interest(None))["opening_likelihood"] is None


def test_cancelled_prints_are_no_volume():
    tape = flow(prints(a_print(1.10, 5000, 0, 300, 201), a_print(1.10, 900, 1)))
    assert tape["opening_likelihood"].to_list() == [None, 0.0]


def test_open_interest_of_yesterday_morning_is_not_todays():
    old = interest().with_columns(pl.col("available_at") - timedelta(days=1))
    tonight = interest().with_columns(pl.col("available_at") + timedelta(hours=12))
    for published in (old, tonight):
        assert one(prints(a_print(1.10)), oi=published)["opening_likelihood"] is None


def test_unusual_volume_is_above_open_interest_and_three_times_the_mean():
    # 20 sessions with 500 contracts each; open interest 1 000.
    history = past([500])
    tape = flow(prints(a_print(1.10, 1500), a_print(1.10, 1, 1)), history=history)
    assert tape["is_unusual_volume"].to_list() == [False, True]
    assert one(prints(a_print(1.10, 1000)), history=past([1]))["is_unusual_volume"] is False
    assert one(prints(a_print(1.10, 1500)))["is_unusual_volume"] is None


def test_premium_takes_the_multiplier_of_the_deliverable():
    assert one(prints(a_print(1.10, 7)), terms=contracts(10.0))["premium_usd"] == pytest.approx(77.0)


def test_prints_of_unknown_and_of_expired_contracts_are_refused_and_counted():
    expired = contracts().with_columns(expiration=pl.lit(date(2024, 5, 31)))
    tape = prints(a_print(1.10), a_print(1.10, at=1), a_print(2.10, contract=PUT))
    found = classified(tape, terms=contracts(tickers=(PUT,)))
    assert found.refused.rows() == [(CALL, "unknown_contract", 2)]
    assert found.rows.height == 1
    assert classified(tape, terms=expired).refused["reason"].unique().to_list() == ["expired_contract"]
    yesterday = contracts().with_columns(session=pl.lit(session_offset(DAY, -1)))
    assert classified(tape, terms=yesterday).refused["prints"].sum() == 3


def test_what_was_not_known_at_the_print_is_null_and_never_zero():
    tape = prints(a_print(1.10))
    late = NOON + timedelta(microseconds=1)
    found = classify_flow(
        tape, BOTH_QUOTED, contracts(), underlying(at=late), interest(), greeks(at=late), CONDITIONS, past()
    ).rows.row(0, named=True)
    assert (found["underlying_price"], found["delta"]) == (None, None)
    row = one(tape)
    assert (row["underlying_price"], row["delta"]) == (530.0, 0.5)


def test_the_same_prints_again_add_no_row():
    tape = prints(*(a_print(1.10, at=at // 2) for at in range(8)))
    found = classified(pl.concat([tape, tape]))
    assert found.repeated == 8
    assert found.rows.equals(classified(tape).rows)


def test_two_sessions_at_once_are_refused():
    tape = prints(a_print(1.10))
    other = tape.with_columns(session=pl.lit(session_offset(DAY, 1)))
    with pytest.raises(DataError, match="2 sessions"):
        classified(pl.concat([tape, other]))


def test_a_tape_without_prints_has_no_rows():
    assert classified(prints().clear()).rows.is_empty()


def test_other_thresholds_are_another_version():
    row = one(prints(a_print(1.09)), rules=FlowRules(at_the_touch=0.9))
    assert row["aggressor_sign"] == 0.0
    assert row["definition_version"].startswith("flow-1/")
    assert one(prints(a_print(1.09)))["definition_version"] == "flow-1"


def test_premium_by_class_and_by_sentiment_adds_up_to_the_tape():
    rows = flow(sweep((2, {"id": 232})), history=past(SIZES))
    totals = flow_totals(rows)
    # 120 + 120 + 1 contracts at 1.10 x 100.
    assert totals["premium_usd"].sum() == pytest.approx(26_510.0)
    assert totals.select(pl.sum_horizontal(pl.col("^.+_premium_usd$"))).sum().item() == pytest.approx(26_510.0)
    swept = totals.filter(pl.col("trade_type") == "SWEEP").row(0, named=True)
    assert (swept["prints"], swept["contracts"], swept["bullish_premium_usd"]) == (2, 240, pytest.approx(26_400.0))
    # q 1 x delta .5 x 240 x 100 x 530.
    assert swept["net_delta_usd"] == pytest.approx(6_360_000.0)
    apart = totals.filter(pl.col("trade_type") == "MULTI_LEG").row(0, named=True)
    assert (apart["unknown_premium_usd"], apart["net_delta_usd"]) == (pytest.approx(110.0), None)


def test_daily_flow_is_the_totals_known_with_the_last_print():
    rows = flow(sweep(), history=past(SIZES))
    daily = daily_flow(rows)
    conform(OPTIONS_FLOW_DAILY, daily)
    assert daily.select("trade_type", "prints", "premium_usd").rows() == [("SWEEP", 3, pytest.approx(26_510.0))]
    # The sweep was over at 90 ms and known 50 ms later.
    assert daily["available_at"].to_list() == [NOON + timedelta(milliseconds=140)]
    suspect = flow(prints(a_print(1.10, 300, 0, 300, 999)))
    assert daily_flow(suspect)["quality"].to_list() == ["suspect"]
    assert daily_flow(rows.clear()).is_empty()


def test_the_premium_of_a_tape_counts_each_key_and_each_known_contract_once():
    tape = prints(
        a_print(1.10, 3), a_print(2.00, 1, 5, contract=PUT), a_print(9.99, 9, 6, contract="O:XYZ240621C00001000")
    )
    doubled = pl.concat([tape, tape.head(1)])
    # 1.10 x 3 x 100 + 2.00 x 1 x 100.
    assert premium_of_prints(doubled, contracts()) == pytest.approx(530.0)
    assert premium_of_prints(tape.clear(), contracts()) == 0.0


def test_streamed_prints_never_stand_beside_a_file():
    file = flow(prints(a_print(1.10, 3)))
    stream = file.with_columns(source=pl.lit("stream").cast(file.schema["source"]))
    assert streamed_beside(file.clear(), stream).equals(stream)
    assert streamed_beside(stream, stream).equals(stream)
    assert streamed_beside(file, stream).equals(file)
    other = stream.with_columns(symbol=pl.lit("QQQ"), contract_ticker=pl.lit("O:QQQ240621C00400000"))
    assert streamed_beside(file, other).height == 2


tapes = st.lists(
    st.tuples(
        st.sampled_from([CALL, PUT]),
        st.integers(0, 40),
        st.sampled_from([0.99, 1.0, 1.03, 1.05, 1.06, 1.09, 1.1, 1.12]),
        st.sampled_from([1, 10, 200, 300]),
        st.sampled_from([300, 301]),
        st.sampled_from([[AUTO], [ISO], [232], [229], [202], [201], [227], []]),
    ),
    min_size=1,
    max_size=25,
)
SAME_QUOTES = quotes((CALL, -1, 1.00, 1.10), (PUT, -1, 1.00, 1.10))


@settings(max_examples=40, deadline=None)
@given(tapes, st.randoms(use_true_random=False))
def test_the_order_of_prints_at_one_instant_changes_no_total(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    first, second = (flow(prints(*one), SAME_QUOTES, history=past(SIZES)) for one in (rows, shuffled))
    names = [name for name in first.columns if name not in ("sequence",)]
    key = ["contract_ticker", "sip_timestamp_ns", "price", "size", "exchange_id", "condition_ids", "opening_likelihood"]
    assert first.select(names).sort(key).equals(second.select(names).sort(key))


@settings(max_examples=40, deadline=None)
@given(tapes)
def test_buyers_and_sellers_swap_when_prices_are_mirrored_in_the_quote(rows):
    mirrored = [(c, at, round(2.10 - price, 2), size, exchange, ids) for c, at, price, size, exchange, ids in rows]
    first, second = (flow(prints(*one), SAME_QUOTES) for one in (rows, mirrored))
    key = ["contract_ticker", "sip_timestamp_ns", "sequence"]
    one, other = first.sort(key), second.sort(key)
    assert one["aggressor_sign"].to_list() == [None if q is None else -q for q in other["aggressor_sign"].to_list()]
    # The sum of a group's premium may cross its limit with the price, so classes are not compared.
    assert one["exclusion_class"].equals(other["exclusion_class"])


@settings(max_examples=40, deadline=None)
@given(tapes)
def test_prints_without_quotes_add_nothing_to_any_side(rows):
    totals = flow_totals(flow(prints(*rows), quotes()))
    for name in ("bullish_premium_usd", "bearish_premium_usd", "neutral_premium_usd"):
        assert totals[name].sum() == 0.0
    assert totals["unknown_premium_usd"].sum() == pytest.approx(totals["premium_usd"].sum())


def test_later_prints_change_no_row_that_was_known_before_them():
    rows = [a_print(1.10, 3, at) for at in range(0, 20_000, 2_500)] + [a_print(1.12, 300, 20_100, 301, ISO)]
    nbbo = quotes(*((CALL, at, 1.00, 1.10) for at in range(-1, 21_000, 2_000)))
    whole = flow(prints(*rows), nbbo)
    for cut in (4, 7):
        part = flow(prints(*rows[:cut]), nbbo)
        moment = part["sip_timestamp"].max()
        assert part.equals(whole.filter(pl.col("sip_timestamp") <= moment))


def test_an_unrelated_symbol_changes_nothing():
    tape = prints(a_print(1.10, 100), a_print(1.05, 3, 5))
    other = contracts(tickers=("O:QQQ240621C00400000",)).with_columns(symbol=pl.lit("QQQ"))
    both = pl.concat([tape, prints(a_print(1.0, 9999, contract="O:QQQ240621C00400000"))])
    found = flow(both, terms=pl.concat([contracts(), other]), history=past(SIZES))
    assert found.filter(pl.col("symbol") == "SPY").equals(flow(tape, history=past(SIZES)))
