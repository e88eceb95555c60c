"""Composite signals from end to end: a fixture for each reason, the order of the steps, and what must hold."""

import math
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import COMPOSITE_SIGNALS, CONTEXT_SCORES, REJECT_REASONS
from strategy_pipeline.scoring.composite import Provenance, composite_signals
from strategy_pipeline.scoring.confidence import CONFIDENCE_INPUTS, EVERYTHING, DataProfile
from strategy_pipeline.scoring.rules import rules_from
from strategy_pipeline_tests.scoring.rows import SESSION, detection, detections

RULES = rules_from()
NO_CONTEXT = CONTEXT_SCORES.empty()
FROM = {SESSION: Provenance("run", "data")}


def composite(*rows, context=NO_CONTEXT, rules=RULES, profile=EVERYTHING, before=None):
    frame = composite_signals(detections(*rows), context, rules, profile, FROM, accepted_before=before)
    return conform(COMPOSITE_SIGNALS, frame)


def one(context=NO_CONTEXT, rules=RULES, profile=EVERYTHING, **values):
    return composite(detection(**values), context=context, rules=rules, profile=profile).row(0, named=True)


def answers(row, engine="regime", styles=("scalp", "day", "swing"), momentum=True, **said):
    """context_scores rows for one firing: `engine` says `said` of each style, the others are missing."""
    rows = []
    for style in styles:
        for name in ("iv", "gamma", "mtf", "flow", "regime"):
            speaks = name == engine
            multiplier, confidence = said.get("multiplier", 1.0), said.get("confidence", 1.0)
            rows.append(
                {
                    "symbol": row["symbol"], "as_of": row["available_at"], "direction": row["direction"],
                    "style": style,
                    "momentum": momentum, "engine": name, "session": row["session"],
                    "status": "ok" if speaks else "missing", "reason": None if speaks else "no_row",
                    "label": said.get("label", "SAID") if speaks else None, "recommendation": None,
                    "multiplier": multiplier if speaks else 1.0, "confidence": confidence if speaks else 0.0,
                    "contribution_ln": confidence * math.log(multiplier) if speaks else 0.0,
                    "age_min": 5.0 if speaks else None, "inputs_missing": [], "source_key": None,
                    "available_at": row["available_at"], "definition_version": "test",
                }
            )  # fmt: skip
    return conform(CONTEXT_SCORES, pl.DataFrame(rows, schema=CONTEXT_SCORES.polars_schema))


# GOOD scored by hand: base 80; modifiers raw, mid_morning 1.1/1.15/1, ATR 1.2 % none, rvol 2.6 1.3/1.15/1, VWAP 0.2 %
# away 1.25/1.15/1.1, RSI none, support 70 1/1.05/1.1, trending 1/1.15/1.25: all three above 1.5 and so clamped.
def test_a_good_firing_is_accepted_with_its_plan():
    row = one()
    assert (row["decision"], row["reject_reason"]) == ("accepted", None)
    assert (row["scalp_score"], row["day_score"], row["swing_score"]) == (100.0, 100.0, 100.0)
    assert row["day_unclamped"] == pytest.approx(120.0)
    # All at 100: the larger raw modifier, 1.8365 of the day trade, decides.
    assert row["recommended_style"] == "day"
    assert row["style_modifier_day_raw"] == pytest.approx(1.15 * 1.15 * 1.15 * 1.05 * 1.15)
    assert (row["base_min"], row["style_min"], row["rr_min"], row["size_multiplier"]) == (72.0, 75.0, 1.5, 1.0)
    # E 102, ATR 0.8: nothing ahead; behind, the VWAP at 101.8 is nearest: 0.2 + 0.08 is less than half the limit.
    assert (row["entry_ref"], row["atr_used"], row["reward_basis"], row["risk_basis"]) == (102.0, 0.8, "atr", "level")
    assert row["stop_price"] == pytest.approx(101.6)
    assert row["risk_reward"] == pytest.approx(5.0)
    assert (row["window"], row["data_confidence"], row["clamped"]) == ("mid_morning", 100.0, True)
    assert [entry["status"] for entry in row["context"]] == ["missing"] * 5
    assert row["inputs_missing"] == []
    assert (row["run_id"], row["data_version"], row["rules_version"]) == ("run", "data", RULES.version)


THIN = dict.fromkeys(("rvol", "atr14_5m", "vwap", "ema21", "rsi14", "flow_score", "prev_close", "rsi14_1h"))
INDEX = {"asset_class": "INDEX", "symbol": "SPX", "rvol_symbol": "SPY"}
# One firing for each reason: what has to differ from the accepted one for that step to be the first to fail.
REJECTED = {
    "filter_session": {"is_regular_hours": False},
    "filter_liquidity": {"adv20_shares": 99_999.0},
    "filter_spread": {"spread_pct": 0.51},
    "filter_blacklist": {"symbol": "GME"},
    "confidence_low": THIN | {"adv20_shares": 1_000_000.0},
    "vix_disabled": {"vix_tier": "high"},
    "category_disabled": {"trend_state": "ranging"},
    "base_below_min": {"score": 71.9},
    "style_below_min": {"score": 72.0, "mtf_support_long_pct": 10.0, "atr_1d_pct": 0.4, "rvol": 0.4, "vwap": 90.0,
                        "or_high": 90.0, "or_low": 90.0, "swing_high": 90.0, "swing_low": 90.0},
    "rr_missing": {"atr14_15m": None},
    "rr_below_min": {"prior_high": 102.3, "vwap": 101.0, "session_low": 95.0, "or_high": 101.0},
}  # fmt: skip


@pytest.mark.parametrize("reason", REJECTED)
def test_each_step_has_its_reason(reason):
    rules = rules_from({"filters": {"blacklist": ["GME"]}})
    row = one(rules=rules, **REJECTED[reason])
    assert (row["decision"], row["reject_reason"]) == ("rejected", reason)
    assert one(rules=rules)["decision"] == "accepted"


def test_the_other_reasons_come_from_the_regime_and_from_emission():
    row = detection()
    assert composite(row, context=answers(row, label="STRONG_DOWNTREND"))["reject_reason"].to_list() == ["regime_block"]
    same_bar = composite(row, detection(detector="trend_continuation_long", score=79.0))
    assert same_bar.sort("base_score")["reject_reason"].to_list() == ["outranked", None]
    later = composite(row, detection(minutes_since_open=70, timeframe="5m"))
    assert later["reject_reason"].to_list() == [None, "cooldown"]
    hour = composite(*(detection(minutes_since_open=minute) for minute in (60, 75, 89)))
    assert hour["reject_reason"].to_list() == [None, None, "cooldown"]
    trend = detection(detector="trend_continuation_long", minutes_since_open=89)
    assert composite(row, detection(minutes_since_open=75), trend)["reject_reason"].to_list() == [
        None,
        None,
        "hourly_limit",
    ]
    covered = {*REJECTED, "regime_block", "outranked", "cooldown", "hourly_limit"}
    assert covered == set(REJECT_REASONS)


def test_the_first_step_that_fails_is_the_reason():
    wrong = {}
    for reason in reversed([name for name in REJECT_REASONS if name in REJECTED]):
        wrong |= REJECTED[reason] if reason != "confidence_low" else THIN
        row = one(rules=rules_from({"filters": {"blacklist": ["GME"]}}), **wrong)
        assert row["reject_reason"] == reason, wrong


@pytest.mark.parametrize(
    ("label", "direction", "detector", "blocked"),
    [
        ("STRONG_DOWNTREND", "LONG", "breakout_bullish", True),
        ("STRONG_DOWNTREND", "SHORT", "breakout_bearish", False),
        ("STRONG_UPTREND", "SHORT", "trend_continuation_short", True),
        ("STRONG_UPTREND", "SHORT", "opening_drive_bearish", True),
        ("STRONG_UPTREND", "SHORT", "mean_reversion_short", False),
        ("WEAK_DOWNTREND", "LONG", "breakout_bullish", False),
    ],
)
def test_a_strong_trend_blocks_momentum_against_it(label, direction, detector, blocked):
    row = detection(detector=detector, direction=direction)
    momentum = not detector.startswith("mean")
    found = composite(row, context=answers(row, momentum=momentum, label=label))["reject_reason"].item()
    assert (found == "regime_block") == blocked


def test_an_index_needs_neither_volume_nor_a_spread():
    row = one(detector="index_mean_reversion_long", spread_pct=None, trend_state="ranging", **INDEX)
    assert row["reject_reason"] not in ("filter_liquidity", "filter_spread")
    assert row["inputs_missing"] == ["filter_spread_not_applied"]


def test_a_spread_that_is_not_quoted_is_recorded_and_one_that_is_missing_fails():
    without = DataProfile(quoted_since={})
    row = one(profile=without, spread_pct=None)
    assert row["decision"] == "accepted"
    assert row["inputs_missing"] == ["filter_spread_not_applied"]
    assert one(spread_pct=None)["reject_reason"] == "filter_spread"


def test_a_spread_counts_for_a_symbol_from_its_first_quote_of_the_session_on():
    known_at = detection()["available_at"]
    for profile, reason in (
        (DataProfile(quoted_since={"SPY": known_at}), "filter_spread"),
        (DataProfile(quoted_since={"SPY": known_at + timedelta(microseconds=1)}), None),
        (DataProfile(quoted_since={"IBM": known_at}), None),
    ):
        for spread in (None, 0.51):
            assert one(profile=profile, spread_pct=spread)["reject_reason"] == reason
        assert one(profile=profile, spread_pct=0.5)["reject_reason"] is None


def test_an_unknown_vix_is_recorded_and_disables_nothing():
    row = one(vix_tier=None)
    assert row["decision"] == "accepted"
    assert row["inputs_missing"] == ["vix_missing"]


def test_missing_inputs_of_detector_and_score_are_named_once():
    row = one(inputs_missing=["swing_high", "flow_score"], flow_score=None, ema21=math.nan)
    assert row["inputs_missing"] == ["swing_high", "flow_score", "ema21"]


@pytest.mark.parametrize("values", [{"score": 0.0}, THIN])
def test_without_base_or_confidence_there_is_no_waterfall(values):
    row = one(**values)
    nothing = ("waterfall", "scalp_score", "recommended_style", "recommended_score", "clamped", "expires_at")
    assert {row[name] for name in nothing} == {None}
    assert row["context"] == []
    assert row["decision"] == "rejected"


def test_at_the_close_only_a_swing_is_left():
    at_close = {"minutes_since_open": 390, "minutes_to_close": 0}
    row = one(**at_close)
    assert (row["recommended_style"], row["window"]) == ("swing", "power_hour")
    assert row["expires_at"] > row["bar_end"]


def test_a_tie_goes_to_the_larger_raw_modifier_and_then_to_the_shorter_horizon():
    # lunch_chop, choppy and 0.8 % clamp all three to 0.5; raw .3146/.4809/.4312.
    dull = {"minutes_since_open": 150, "minutes_to_close": 240, "atr_1d_pct": 0.8, "rvol": 0.6, "trend_state": "choppy",
            "vwap": 90.0, "or_high": 90.0, "or_low": 90.0, "swing_high": 90.0, "swing_low": 90.0,
            "mtf_support_long_pct": 50.0}  # fmt: skip
    row = one(**dull)
    assert (row["scalp_score"], row["day_score"], row["swing_score"]) == (40.0, 40.0, 40.0)
    assert row["recommended_style"] == "day"


def contributions(row, style):
    return {entry["item"]: entry["contribution_ln"] for entry in row["waterfall"] if entry["style"] == style}


def test_the_waterfall_of_a_style_holds_every_contribution():
    row = detection(score=60.0)
    context = answers(row, "gamma", ("day",), multiplier=1.10, confidence=0.75, label="SHORT_GAMMA")
    found = composite(row, context=context).row(0, named=True)
    # ln 1.5 = .4055 and .75 ln 1.10 = .0715: 60 x 1.5 x 1.07410 = 96.6690.
    assert contributions(found, "day") == pytest.approx(
        {"style": 0.4055, "iv": 0, "gamma": 0.0715, "mtf": 0, "flow": 0, "regime": 0, "data_confidence": 0, "clamp": 0},
        abs=5e-5,
    )
    assert contributions(found, "scalp")["gamma"] == 0.0
    assert found["day_score"] == pytest.approx(96.6690, abs=5e-5)
    assert found["scalp_score"] == pytest.approx(90.0)
    assert found["clamped"] is False
    said = {entry["engine"]: entry for entry in found["context"]}
    assert list(said) == ["iv", "gamma", "mtf", "flow", "regime"]
    assert (said["gamma"]["status"], said["gamma"]["label"], said["gamma"]["age_min"]) == ("ok", "SHORT_GAMMA", 5.0)


def test_context_of_another_request_changes_nothing():
    row = detection()
    plain = composite(row)
    for changed in ({"symbol": "QQQ"}, {"direction": "SHORT"}, {"available_at": row["available_at"] - timedelta(1)}):
        assert composite(row, context=answers(row | changed, multiplier=1.2)).equals(plain)
    assert composite(row, context=answers(row, momentum=False, multiplier=1.2)).equals(plain)


def test_an_answer_that_came_later_than_the_question_changes_nothing():
    row = detection()
    known = answers(row, "gamma", multiplier=1.1)
    late = known.with_columns(pl.col("available_at") + timedelta(seconds=1), multiplier=pl.col("multiplier") * 1.5)
    assert composite(row, context=pl.concat([known, late])).equals(composite(row, context=known))
    assert composite(row, context=late).equals(composite(row))


def test_the_regime_on_a_row_is_the_one_that_was_known_when_it_fired():
    row = detection(market_regime=None)
    assert composite(row)["market_regime"].item() is None
    assert composite(row, context=answers(row, label="WEAK_UPTREND"))["market_regime"].item() == "WEAK_UPTREND"


# A short twin: prices reflected about prev_close 100, sides exchanged.
MIRROR = {
    "detector": "breakout_bearish", "close": 98.0, "vwap": 98.2, "rsi14": 38.0, "ema21": 98.5, "or_high": 99.6,
    "or_low": 98.4, "swing_high": 99.1, "swing_low": 98.3, "session_high": 99.8, "session_low": 98.0,
    "prior_high": 101.0, "prior_low": 99.0, "vwap_dist_pct": -0.2, "trend_state": "trending_down",
    "mtf_support_long_pct": None, "mtf_support_short_pct": 70.0, "flow_bias": "bearish",
}  # fmt: skip


def test_a_mirrored_firing_is_worth_the_same():
    long, short = one(), one(**MIRROR)
    same = ("decision", "scalp_score", "day_score", "swing_score", "recommended_style", "window", "base_min", "rr_min")
    assert [short[name] for name in same] == [long[name] for name in same]
    assert short["waterfall"] == long["waterfall"]
    assert short["risk_reward"] == pytest.approx(long["risk_reward"])
    assert short["stop_price"] == pytest.approx(200.0 - long["stop_price"])


def test_the_unit_of_prices_does_not_matter():
    prices = ("close", "prev_close", "vwap", "ema21", "or_high", "or_low", "swing_high", "swing_low", "session_high",
              "session_low", "prior_high", "prior_low", "atr14_5m", "atr14_15m", "atr14_1h")  # fmt: skip
    scaled = one(**{name: 3.0 * detection()[name] for name in prices})
    plain = one()
    assert scaled["waterfall"] == plain["waterfall"]
    assert scaled["risk_reward"] == pytest.approx(plain["risk_reward"])


firing = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from(["SPY", "QQQ"]),
        "detector": st.sampled_from(["breakout_bullish", "trend_continuation_long"]),
        "minutes_since_open": st.integers(1, 26).map(lambda at: at * 15),
        "score": st.sampled_from([60.0, 80.0, 85.0, 95.0]),
        "trend_state": st.sampled_from(["trending_up", "volatile", "ranging"]),
        "rvol": st.sampled_from([None, 0.6, 2.6]),
    }
)
days = st.lists(
    firing, min_size=1, max_size=14, unique_by=lambda row: (row["symbol"], row["detector"], row["minutes_since_open"])
)


@settings(deadline=None, max_examples=15)
@given(days, st.integers(0, 26))
def test_a_run_cut_anywhere_gives_the_rows_of_the_whole_run(rows, cut):
    made = [detection(**values) for values in rows]
    early = [row for row in made if row["minutes_since_open"] <= 15 * cut]
    late = [row for row in made if row["minutes_since_open"] > 15 * cut]
    first = composite(*early)
    stored = first.filter(pl.col("decision") == "accepted").select("symbol", "detector", "bar_end")
    parts = [first, composite(*late, before=stored)]
    assert pl.concat(parts).equals(composite(*reversed(made)))


@settings(deadline=None, max_examples=15)
@given(days)
def test_the_newest_row_alone_scores_as_in_the_whole(rows):
    made = [detection(**values) for values in rows]
    last = max(made, key=lambda row: row["minutes_since_open"])
    whole = composite(*made).filter(
        (pl.col("bar_end") == last["bar_end"]),
        pl.col("symbol") == last["symbol"],
        pl.col("detector") == last["detector"],
    )
    fate = ("decision", "reject_reason")
    assert composite(last).drop(fate).equals(whole.drop(fate))


def test_a_firing_of_an_undeclared_detector_is_an_error():
    frame = detections(detection()).with_columns(detector=pl.lit("nobody"))
    with pytest.raises(KeyError, match="nobody"):
        composite_signals(frame, NO_CONTEXT, RULES, EVERYTHING, FROM)


def test_no_firings_are_an_empty_table():
    assert composite_signals(detections(), NO_CONTEXT, RULES, EVERYTHING, FROM).equals(COMPOSITE_SIGNALS.empty())


def test_every_confidence_input_is_carried_to_scoring():
    assert set(CONFIDENCE_INPUTS) <= set(detections().columns)
