"""Flow windows: known answers, session minutes, point in time, and what an unknown side may change."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.analytics.flow_window import (
    FEATURE_COLUMNS,
    WINDOW_SCHEMA,
    flow_features,
    flow_sessions,
    flow_windows,
)
from strategy_pipeline.lake.tables import FEATURES, FLOW_AGGRESSIVENESS, FLOW_BIASES, FLOW_TRENDS
from strategy_pipeline.market.session_clock import MINUTE_US, session_us
from strategy_pipeline_tests.analytics.flow_rows import NOON, random_trades, trades

LATER = NOON + timedelta(minutes=1)


def moments(*instants: datetime, symbol: str = "SPY") -> pl.DataFrame:
    return pl.DataFrame({"symbol": symbol, "as_of": instants}, schema=dict(list(WINDOW_SCHEMA.items())[:2]))


def window(flow: pl.DataFrame, minutes: int = 240, at: datetime = LATER) -> dict:
    return flow_windows(flow, moments(at), minutes).row(0, named=True)


# context_engines.md section 5: (type, premium $k, q).
SEVEN = trades(
    *(
        {"option_type": kind, "premium_usd": premium * 1000.0, "aggressor_sign": sign}
        for kind, premium, sign in [
            ("call", 60, 1.0), ("call", 40, 1.0), ("put", 30, -1.0), ("put", 50, 1.0), ("call", 20, -1.0),
            ("put", 20, 0.5), ("call", 80, None),
        ]
    )
)  # fmt: skip


def test_seven_trades_say_this():
    row = window(SEVEN)
    assert row["sentiment"] == pytest.approx(0.2273, abs=5e-5)
    assert row["strength"] == pytest.approx(45.4545, abs=5e-5)
    assert row["buy_pressure_pct"] == pytest.approx(61.3636, abs=5e-5)
    assert row["known_premium_usd"] / row["premium_usd"] == pytest.approx(0.7333, abs=5e-5)
    assert (row["trades"], row["bias"], row["enough"]) == (7, "bullish", False)


def test_the_institutional_score_adds_four_parts():
    # context_engines.md section 5: large 46 %, mean $60k, sweeps 30 %, blocks 16 %: 40 + 15 + 20 + 10.
    rows = [{"premium_usd": 60_000.0, "is_sweep": n < 15, "is_block": 15 <= n < 23} for n in range(50)]
    row = window(trades(*rows))
    assert row["large_pct"] == pytest.approx(46.0)
    assert row["institutional_score"] == pytest.approx(85.0)


def test_small_trades_without_sweeps_or_blocks_have_no_institutional_score():
    assert window(trades(*[{"premium_usd": 9_000.0}] * 12))["institutional_score"] == 0.0


def test_a_block_that_sweeps_is_one_large_trade():
    row = window(trades({"is_sweep": True, "is_block": True}, {}))
    assert row["large_pct"] == pytest.approx(50.0)


def test_sweeps_and_blocks_are_counted_on_the_side_they_take():
    rows = [("call", 1.0), ("call", -1.0), ("put", 1.0), ("put", -0.5), ("call", 0.0), ("call", None)]
    row = window(
        trades(*({"option_type": kind, "aggressor_sign": q, "is_sweep": True, "is_block": True} for kind, q in rows))
    )
    assert (row["sweeps_bull"], row["sweeps_bear"], row["blocks_bull"], row["blocks_bear"]) == (2, 2, 2, 2)


def test_excluded_prints_count_nowhere():
    excluded = trades(
        *(
            {"contract_ticker": f"O:{kind}", "exclusion_class": kind, "aggressor_sign": None}
            for kind in ("cancel", "late", "cross", "multi_leg")
        )
    )
    assert window(excluded)["trades"] == 0
    assert window(pl.concat([SEVEN, excluded])) == window(SEVEN)


def test_a_window_counts_session_minutes_over_night_weekend_and_half_day():
    # Friday 2024-11-29 closed at 13:00 New York. Monday 10:00 is 30 minutes in: 60 minutes reach to Friday 12:30.
    friday_1230, friday_1231 = (datetime(2024, 11, 29, 17, minute, tzinfo=UTC) for minute in (30, 31))
    flow = trades({"sip_timestamp": friday_1230}, {"sip_timestamp": friday_1231})
    monday = datetime(2024, 12, 2, 15, 0, tzinfo=UTC)
    assert window(flow, 60, monday)["trades"] == 1
    assert window(flow, 60, monday - timedelta(minutes=1))["trades"] == 2
    assert window(flow, 60, monday + timedelta(minutes=1))["trades"] == 0


def test_a_trade_counts_from_when_it_was_known():
    flow = trades({"available_at": NOON + timedelta(seconds=2)})
    assert window(flow, at=NOON + timedelta(seconds=2) - timedelta(microseconds=1))["trades"] == 0
    assert window(flow, at=NOON + timedelta(seconds=2))["trades"] == 1
    # Known only after its hour was over, it was never inside.
    late = trades({"available_at": NOON + timedelta(minutes=60)})
    assert window(late, 60, NOON + timedelta(minutes=60))["trades"] == 0


def test_a_revised_print_counts_as_it_was_known_at_each_moment():
    first = {"contract_ticker": "O:ONE", "premium_usd": 1_000.0}
    dearer = first | {"premium_usd": 3_000.0, "revision": 1, "available_at": NOON + timedelta(minutes=5)}
    busted = first | {
        "exclusion_class": "cancel", "aggressor_sign": None, "revision": 2, "available_at": NOON + timedelta(minutes=9)
    }  # fmt: skip
    flow = trades(first, dearer, busted)
    found = [window(flow, at=NOON + timedelta(minutes=minute)) for minute in (0, 4, 5, 8, 9)]
    assert [row["premium_usd"] for row in found] == [1_000.0, 1_000.0, 3_000.0, 3_000.0, 0.0]
    assert [row["trades"] for row in found] == [1, 1, 1, 1, 0]


def test_the_newest_trade_is_looked_for_in_390_minutes():
    flow = trades({"sip_timestamp": NOON}, {"sip_timestamp": NOON - timedelta(minutes=5)})
    # 4 hours of Monday are left at noon, so 390 minutes are over at 12:00 + 150 minutes of Tuesday's session.
    over = datetime(2024, 6, 4, 16, 0, tzinfo=UTC)
    assert window(flow, at=over - timedelta(microseconds=1))["newest_trade_at"] == NOON
    assert window(flow, at=over)["newest_trade_at"] is None
    assert window(flow, at=NOON - timedelta(minutes=4))["newest_trade_at"] == NOON - timedelta(minutes=5)


def pace(*minutes_ago: int, minutes: int = 240) -> str:
    flow = trades(*({"sip_timestamp": NOON - timedelta(minutes=m), "is_sweep": True} for m in minutes_ago))
    return window(flow, minutes, NOON)["trend"]


def test_the_trend_compares_sweeps_a_minute_with_390_minutes():
    # Ratio of paces: sweeps in the window / all x 390 / 240. Friday's afternoon is 250 to 350 minutes ago at noon.
    friday = {"sip_timestamp": datetime(2024, 5, 31, 18, 0, tzinfo=UTC), "is_sweep": True}
    monday = {"is_sweep": True}
    assert window(trades(monday, monday, monday, friday))["trend"] == "STABLE"  # 1.21875
    assert window(trades(*[monday] * 4, friday))["trend"] == "INCREASING"  # 1.3
    assert window(trades(monday, friday))["trend"] == "STABLE"  # .8125
    assert window(trades(monday, friday, friday))["trend"] == "DECREASING"  # .5417
    assert window(trades({}))["trend"] == "STABLE"  # no sweep at all
    assert pace(10, 20, minutes=60) == "INCREASING"


def test_every_word_is_reached():
    def row(sweeping: int, urgent: float, option_type: str) -> dict:
        rows = [{"is_sweep": n < sweeping, "option_type": option_type, "aggressor_sign": urgent} for n in range(10)]
        return window(trades(*rows))

    found = [row(10, 1.0, "call"), row(3, 1.0, "put"), row(0, 1.0, "put"), row(0, 0.0, "call")]
    assert {one["aggressiveness"] for one in found} == set(FLOW_AGGRESSIVENESS)
    assert {one["bias"] for one in found} == set(FLOW_BIASES)
    assert set(FLOW_TRENDS) == {"INCREASING", "STABLE", "DECREASING"}  # each reached by the test before


TAPE = random_trades(400, seed=11)
AT = [datetime(2024, 11, day, hour, minute, tzinfo=UTC) for day, hour, minute in
      [(26, 15, 0), (26, 20, 59), (27, 14, 30), (27, 18, 7), (29, 17, 45), (29, 22, 0), (30, 12, 0)]]  # fmt: skip
AT += [datetime(2024, 12, 2, 14, 31, tzinfo=UTC), datetime(2024, 12, 2, 19, 0, tzinfo=UTC)]


@pytest.mark.parametrize("minutes", [60, 240, 390])
def test_windows_hold_what_adding_up_each_by_itself_gives(minutes):
    clock = TAPE.with_columns(printed=session_us(TAPE["sip_timestamp"])).filter(pl.col("exclusion_class") == "none")
    for symbol in ("SPY", "AAA"):
        found = flow_windows(TAPE, moments(*AT, symbol=symbol), minutes)
        for place, at in enumerate(AT):
            now = session_us(pl.Series([at], dtype=WINDOW_SCHEMA["as_of"])).item()
            inside = clock.filter(
                (pl.col("symbol") == symbol)
                & (pl.col("available_at") <= at)
                & (now - pl.col("printed") < minutes * MINUTE_US)
            )
            row = found.row(place, named=True)
            assert row["trades"] == inside.height
            assert row["premium_usd"] == pytest.approx(inside["premium_usd"].sum(), abs=1e-3)
            known = inside.filter(pl.col("aggressor_sign").is_not_null())
            side = pl.when(pl.col("option_type") == "call").then(1.0).otherwise(-1.0)
            if known.height:
                signed = known.select((side * pl.col("aggressor_sign") * pl.col("premium_usd")).sum()).item()
                assert row["sentiment"] == pytest.approx(signed / known["premium_usd"].sum(), abs=1e-9)
            assert row["large_pct"] is None if not inside.height else row["large_pct"] >= 0


def test_one_moment_alone_gives_the_same_bits():
    for symbol in ("SPY", "AAA"):
        whole = flow_windows(TAPE, moments(*AT, symbol=symbol))
        for place, at in enumerate(AT):
            assert flow_windows(TAPE, moments(at, symbol=symbol)).equals(whole[place])


def test_order_and_repeated_rows_change_nothing():
    shuffled = pl.concat([TAPE, TAPE[:200]]).sample(fraction=1.0, shuffle=True, seed=2)
    assert flow_windows(shuffled, moments(*AT)).equals(flow_windows(TAPE, moments(*AT)))


@pytest.mark.parametrize("later", ["deleted", "times ten", "null side"])
def test_nothing_later_changes_a_window(later):
    for at in AT:
        unseen = pl.col("available_at") > at
        changed = {
            "deleted": TAPE.filter(~unseen),
            "times ten": TAPE.with_columns(
                premium_usd=pl.when(unseen).then(pl.col("premium_usd") * 10).otherwise("premium_usd")
            ),
            "null side": TAPE.with_columns(aggressor_sign=pl.when(~unseen).then("aggressor_sign")),
        }[later]
        assert flow_windows(changed, moments(at)).equals(flow_windows(TAPE, moments(at)))


def test_only_the_sessions_that_are_said_to_be_needed_are():
    at = [moment for moment in AT if moment.date() == date(2024, 12, 2)]
    assert flow_sessions(date(2024, 12, 2)) == [date(2024, 11, 27), date(2024, 11, 29), date(2024, 12, 2)]
    needed = TAPE.filter(pl.col("session").is_in(flow_sessions(date(2024, 12, 2))))
    for minutes in (60, 240, 390):
        assert flow_windows(needed, moments(*at), minutes).equals(flow_windows(TAPE, moments(*at), minutes))


@settings(max_examples=40, deadline=None)
@given(premium=st.floats(1.0, 1e9))
def test_a_larger_premium_of_an_unknown_side_changes_only_the_known_share(premium):
    base, more = window(SEVEN), window(SEVEN.with_columns(
        premium_usd=pl.when(pl.col("aggressor_sign").is_null()).then(premium).otherwise("premium_usd")
    ))  # fmt: skip
    assert {name for name in base if base[name] != more[name]} <= {"premium_usd"}


def test_exchanged_sides_and_exchanged_types_negate_the_sentiment():
    base = flow_windows(TAPE, moments(*AT))
    swapped = {"call": "put", "put": "call"}
    for changed in (
        TAPE.with_columns(aggressor_sign=-pl.col("aggressor_sign")),
        TAPE.with_columns(option_type=pl.col("option_type").cast(pl.String).replace(swapped)),
    ):
        other = flow_windows(changed, moments(*AT))
        assert other["sentiment"].equals(-base["sentiment"])
        assert other["strength"].equals(base["strength"])
        assert other["sweeps_bull"].equals(base["sweeps_bear"].rename("sweeps_bull"))
        assert other["blocks_bear"].equals(base["blocks_bull"].rename("blocks_bear"))


def test_feature_columns_are_null_below_ten_trades_or_fifty_thousand_dollars():
    enough = trades(*[{"premium_usd": 5_000.0}] * 10)
    few, small = trades(*[{"premium_usd": 10_000.0}] * 9), trades(*[{"premium_usd": 4_999.0}] * 10)
    found = flow_features(enough, moments(LATER)).row(0, named=True)
    assert found["flow_bias"] == "bullish"
    assert (found["flow_score"], found["flow_buy_pressure_pct"], found["flow_sweeps_bull"]) == (100.0, 100.0, 0)
    for flow in (few, small, enough.clear()):
        assert set(flow_features(flow, moments(LATER)).row(0)) == {None}
    assert set(flow_features(enough, moments(NOON + timedelta(minutes=60))).row(0)) == {None}


def test_feature_columns_are_those_of_the_schema():
    found = flow_features(TAPE, moments(*AT))
    assert found.schema == {name: FEATURES.polars_schema[name] for name in FEATURE_COLUMNS}
