"""Dealer gamma against hand calculations, closed forms, a real chain, and properties that any chain must have."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.analytics.gamma_exposure import (
    closing_exposure,
    daily_opening_flow,
    expected_behavior,
    gamma_exposure,
    gamma_profile,
    positioning,
)
from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.store import Lake, conform
from strategy_pipeline.lake.tables import (
    DEALER_POSITIONINGS,
    EXPECTED_BEHAVIORS,
    GAMMA_EXPOSURE_SNAPSHOTS,
    GAMMA_STATUSES,
    POSITIONING_STRENGTHS,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.pricing.chain import ChainRules, value_chain
from strategy_pipeline_tests.analytics import gamma_chains
from strategy_pipeline_tests.analytics.gamma_chains import SESSION, SNAPSHOT, chain, priced, random_chain

TWO_BY_HAND = [
    {"strike": 105.0, "option_type": "call", "gamma": 0.03, "iv": 0.2, "open_interest": 1000},
    {"strike": 95.0, "option_type": "put", "gamma": 0.025, "iv": 0.2, "open_interest": 2000},
]
SESSIONS_BEFORE = calendar.sessions_between(date(2022, 1, 3), SESSION)[:-1]


def rows(exposure: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Rows of one snapshot by sign convention, after the contract of the table has been checked."""
    checked = conform(GAMMA_EXPOSURE_SNAPSHOTS, exposure)
    return {row["sign_convention"]: row for row in checked.iter_rows(named=True)}


def headline(frame: pl.DataFrame, **inputs: Any) -> dict[str, Any]:
    return rows(gamma_exposure(frame, **inputs))["A"]


def opening_flow(opened: dict[str, float], sessions: list[date], **values: Any) -> pl.DataFrame:
    """Net opened contracts by ticker, all in the newest of `sessions` and nothing in the others."""
    frame = pl.DataFrame(
        [
            {"session": day, "contract_ticker": ticker, "net_opening_contracts": net if day == sessions[-1] else 0.0}
            for day in sessions
            for ticker, net in opened.items()
        ]
    )
    return frame.with_columns(
        symbol=pl.lit("XYZ"), available_at=pl.lit(SNAPSHOT - timedelta(hours=1)).dt.cast_time_unit("us")
    ).with_columns(**{name: pl.lit(value) for name, value in values.items()})


# quant_methods.md section 14, "GEX by hand".
def test_exposure_by_hand() -> None:
    found = rows(gamma_exposure(chain(TWO_BY_HAND)))
    a, b = found["A"], found["B"]
    assert a["call_gex_usd_per_1pct"] == pytest.approx(300_000.0)
    assert a["put_gex_usd_per_1pct"] == pytest.approx(-500_000.0)
    assert a["gex_usd_per_1pct"] == pytest.approx(-200_000.0)
    assert a["gross_gex_usd_per_1pct"] == pytest.approx(800_000.0)
    assert a["net_gex_ratio"] == pytest.approx(-0.25)
    assert a["gex_shares_per_1usd"] == pytest.approx(-2_000.0)
    assert (a["dealer_positioning"], a["positioning_strength"]) == ("SHORT_GAMMA", "MODERATE")
    assert a["expected_behavior"] == "TRENDING"
    assert b["gex_usd_per_1pct"] == pytest.approx(-800_000.0)
    assert b["net_gex_ratio"] == pytest.approx(-1.0)
    assert "C" not in found
    assert a["agreement"] is None


# context_engines.md section 3, the same chain with customer flow of +400 calls and -500 puts.
def test_the_flow_signed_convention_by_hand() -> None:
    flow = opening_flow({"O:XYZ000000": 400.0, "O:XYZ000001": -500.0}, SESSIONS_BEFORE[-5:])
    found = rows(gamma_exposure(chain(TWO_BY_HAND), flow=flow))
    assert found["C"]["gex_usd_per_1pct"] == pytest.approx(5_000.0)
    assert found["C"]["net_gex_ratio"] == pytest.approx(0.00625)
    assert found["C"]["dealer_positioning"] == "NEUTRAL"
    assert {row["agreement"] for row in found.values()} == {False}


# quant_methods.md section 14, "Gamma flip", and context_engines.md section 3 for ratio and slope.
@pytest.mark.parametrize(
    ("calls", "puts", "flip", "net", "ratio", "slope"),
    [
        (1000, 1000, 99.710879, 41_863.66, 0.0440, 0.3010),
        (1000, 2000, 102.007280, -412_469.33, -0.2936, 0.3017),
        (3000, 1000, 96.176606, 1_034_256.97, 0.5323, 0.3028),
    ],
)
def test_the_flip_of_one_call_and_one_put_is_the_closed_form(
    calls: int, puts: int, flip: float, net: float, ratio: float, slope: float
) -> None:
    pair = [
        {"strike": 105.0, "option_type": "call", "iv": 0.2, "open_interest": calls},
        {"strike": 95.0, "option_type": "put", "iv": 0.2, "open_interest": puts},
    ]
    found = rows(gamma_exposure(priced(chain(pair))))
    row = found["A"]
    assert row["gamma_flip"] == pytest.approx(flip, abs=5e-7)
    assert row["gamma_flip_roots"] == [row["gamma_flip"]]
    assert row["gex_usd_per_1pct"] == pytest.approx(net, abs=5e-3)
    assert row["net_gex_ratio"] == pytest.approx(ratio, abs=5e-5)
    assert row["gamma_flip_slope"] == pytest.approx(slope, abs=5e-5)
    assert found["B"]["flip_status"] == "no_crossing"
    assert found["B"]["gamma_flip"] is None


# quant_methods.md section 14, "Max pain".
def test_max_pain_by_hand() -> None:
    interest = {"call": {95.0: 100, 100.0: 200, 105.0: 300}, "put": {95.0: 300, 100.0: 200, 105.0: 100}}
    listed = [
        {"strike": strike, "option_type": side, "iv": 0.2, "open_interest": contracts}
        for side, by_strike in interest.items()
        for strike, contracts in by_strike.items()
    ]
    row = headline(priced(chain(listed)))
    assert row["max_pain"] == [{"expiration": date(2024, 4, 10), "strike": 100.0}]
    assert row["oi_by_strike"] == [[95.0, 100.0, 300.0], [100.0, 200.0, 200.0], [105.0, 300.0, 100.0]]
    assert row["max_call_oi_strike"] == 105.0
    assert row["max_put_oi_strike"] == 95.0


# reference/chain_GOOG_2015-12-24_1300ET_summary.json, within the 0.5 % asked for.
def test_goog_from_quantlibs_greeks(shared_data) -> None:
    row = headline(gamma_chains.goog(shared_data))
    assert row["gex_usd_per_1pct"] == pytest.approx(48.37e6, rel=0.005)
    assert row["call_gex_usd_per_1pct"] == pytest.approx(186.35e6, rel=0.005)
    assert row["put_gex_usd_per_1pct"] == pytest.approx(-137.97e6, rel=0.005)
    assert row["max_gamma_strike"] == 750.0
    # 123,640 of 158,638 open contracts that had not expired at the early close carry a Greek in the reference.
    assert row["oi_coverage_pct"] == pytest.approx(77.9385, abs=1e-4)
    assert row["status"] == "insufficient"
    assert date(2015, 12, 24) not in row["expirations_included"]


def test_goog_from_our_own_greeks_under_the_references_rules(shared_data) -> None:
    quotes = gamma_chains.goog(shared_data)
    # The reference took every two-sided quote, no carry, and each option's own price.
    rules = ChainRules(max_spread_pct=200.0, forward_from_parity=False, lend_volatility=False)
    valued = value_chain(quotes.select(pl.exclude("forward", "carry", "mid", "^iv.*$", "gamma", "delta")), rules=rules)
    row = headline(valued)
    assert row["gex_usd_per_1pct"] == pytest.approx(48.37e6, rel=0.005)
    assert row["call_gex_usd_per_1pct"] == pytest.approx(186.35e6, rel=0.005)
    assert row["put_gex_usd_per_1pct"] == pytest.approx(-137.97e6, rel=0.005)


def test_the_curve_at_the_underlying_is_the_net_exposure() -> None:
    frame = random_chain(3, 300)
    row = headline(frame)
    profile = gamma_profile(frame).filter(pl.col("sign_convention") == "A")
    here = profile.sort((pl.col("price") - 100.0).abs()).row(0, named=True)
    assert here["price"] == pytest.approx(100.0)
    assert here["gex_usd_per_1pct"] == pytest.approx(row["gex_usd_per_1pct"], abs=1e-9 * row["gross_gex_usd_per_1pct"])
    assert profile["price"].min() == pytest.approx(80.0)
    assert profile["price"].max() == pytest.approx(120.0)
    assert profile.height == 161


def test_every_crossing_is_a_root_and_the_nearest_is_the_flip() -> None:
    wings = [
        {"strike": 88.0, "option_type": "put", "iv": 0.2, "open_interest": 1000},
        {"strike": 101.0, "option_type": "call", "iv": 0.2, "open_interest": 1000},
        {"strike": 114.0, "option_type": "put", "iv": 0.2, "open_interest": 1000},
    ]
    row = headline(priced(chain(wings, minutes_to_expiry=7 * 1440.0)))
    # Equal contracts at two strikes balance near their geometric mean: sqrt(88 x 101) and sqrt(101 x 114).
    assert row["gamma_flip_roots"] == pytest.approx([94.28, 107.30], abs=0.1)
    assert row["gamma_flip"] == row["gamma_flip_roots"][0]


def test_calls_and_puts_that_cancel_leave_no_roots_of_rounding() -> None:
    both = [
        {"strike": strike, "option_type": side, "iv": 0.2 + strike / 1000.0, "open_interest": 777}
        for strike in np.arange(85.0, 116.0).tolist()
        for side in ("call", "put")
    ]
    row = headline(priced(chain(both)))
    assert row["flip_status"] == "no_crossing"
    assert row["gamma_flip_roots"] == []
    assert row["dealer_positioning"] == "NEUTRAL"


def test_a_wall_needs_five_percent_of_gross() -> None:
    spread_out = [
        {"strike": float(strike), "option_type": "call", "gamma": 0.01, "iv": 0.2} for strike in range(80, 101)
    ]
    lone_put = [{"strike": 90.0, "option_type": "put", "gamma": 0.02, "iv": 0.2}]
    row = headline(chain(spread_out + lone_put))
    # 21 calls of 1 and one put of 2: a call is 4.3 % of the gross, the put 8.7 %.
    assert row["call_wall"] is None
    assert row["distance_to_call_wall_pct"] is None
    assert row["put_wall"] == 90.0
    assert row["put_wall_gex_usd"] == pytest.approx(200_000.0)
    assert row["distance_to_put_wall_pct"] == pytest.approx(-10.0)


def test_of_equal_strikes_the_wall_is_the_one_nearer_to_the_underlying() -> None:
    sides = [
        {"strike": strike, "option_type": "call", "gamma": gamma, "iv": 0.2}
        for strike, gamma in ((90.0, 0.02), (104.0, 0.02), (120.0, 0.02), (97.0, 0.01))
    ]
    assert headline(chain(sides))["call_wall"] == 104.0


def test_todays_expiries_are_split_off_until_they_end() -> None:
    today = {"expiration": SESSION, "dte": 0, "minutes_to_expiry": 300.0}
    listed = [
        {"strike": 100.0, "option_type": "call", "gamma": 0.05, "iv": 0.2, **today},
        {"strike": 100.0, "option_type": "put", "gamma": 0.02, "iv": 0.2},
    ]
    row = headline(chain(listed))
    assert row["gex_0dte_usd_per_1pct"] == pytest.approx(500_000.0)
    assert row["gex_ex0dte_usd_per_1pct"] == pytest.approx(-200_000.0)
    ended = headline(chain([{**listed[0], "minutes_to_expiry": 0.0, "gamma": None, "iv": None}, listed[1]]))
    assert ended["gex_0dte_usd_per_1pct"] == 0.0
    assert ended["expirations_included"] == [date(2024, 4, 10)]
    assert ended["status"] == "ok"


def test_an_expiry_later_this_week_is_not_todays() -> None:
    row = headline(chain(TWO_BY_HAND, dte=1, minutes_to_expiry=1500.0))
    assert row["gex_0dte_usd_per_1pct"] == 0.0
    assert row["gex_ex0dte_usd_per_1pct"] == pytest.approx(-200_000.0)


def test_a_snapshot_is_as_good_as_its_worst_row_and_as_late_as_its_latest() -> None:
    later = SNAPSHOT + timedelta(minutes=5)
    mixed = [
        {**TWO_BY_HAND[0], "quality": "suspect", "source": "rest", "revision": 2},
        {**TWO_BY_HAND[1], "quality": "final", "source": "flat_file", "available_at": later, "ingested_at": later},
    ]
    row = headline(chain(mixed))
    assert (row["quality"], row["source"], row["revision"]) == ("suspect", "derived", 2)
    assert (row["available_at"], row["ingested_at"]) == (later, later)
    assert headline(chain(TWO_BY_HAND, quality="provisional"))["source"] == "rest"


def test_vanna_and_charm_are_dollars_of_delta() -> None:
    one = {"strike": 100.0, "option_type": "put", "gamma": 0.02, "iv": 0.2, "vanna_1pct": 0.006, "charm_day": -0.001}
    row = headline(chain([one]))
    # -1 (put under A) x 1,000 contracts x 100 x $100.
    assert row["vanna_usd_per_pt"] == pytest.approx(-60_000.0)
    assert row["charm_usd_per_day"] == pytest.approx(10_000.0)


def test_an_adjusted_deliverable_counts_with_its_own_multiplier() -> None:
    row = headline(chain([{**TWO_BY_HAND[0], "multiplier": 10.0}]))
    assert row["gex_usd_per_1pct"] == pytest.approx(30_000.0)


def test_gross_is_put_beside_the_dollar_volume_known_at_the_snapshot() -> None:
    volumes = pl.DataFrame(
        {
            "symbol": ["XYZ", "XYZ"],
            "available_at": [SNAPSHOT - timedelta(days=1), SNAPSHOT + timedelta(minutes=1)],
            "adv20_usd": [8e6, 1.0],
        },
        schema_overrides={"available_at": pl.Datetime("us", "UTC")},
    )
    assert headline(chain(TWO_BY_HAND), adv_usd=volumes)["gex_gross_adv_pct"] == pytest.approx(10.0)


def test_open_interest_of_the_same_session_is_refused_as_a_look_ahead() -> None:
    with pytest.raises(DataError, match="is not known on 2024-03-11"):
        gamma_exposure(chain(TWO_BY_HAND, oi_session=SESSION))


def test_a_chain_without_its_columns_is_refused() -> None:
    with pytest.raises(DataError, match="'gamma'"):
        gamma_exposure(chain(TWO_BY_HAND).drop("gamma"))


def test_statuses_and_what_is_null_under_them() -> None:
    unpriced = {"strike": 90.0, "option_type": "put", "gamma": None, "iv": None}
    cases = {
        "ok": chain(TWO_BY_HAND),
        "insufficient": chain([*TWO_BY_HAND, {**unpriced, "open_interest": 1000}]),
        "stale": chain(TWO_BY_HAND, oi_session=date(2024, 3, 7)),
        "missing_input": chain([{**row, "open_interest": None} for row in TWO_BY_HAND]),
    }
    assert set(cases) == set(GAMMA_STATUSES)
    for status, frame in cases.items():
        row = headline(frame)
        assert row["status"] == status
        assert (row["gex_usd_per_1pct"] is None) == (status == "missing_input")
        assert row["flip_status"] == ("insufficient" if status in ("insufficient", "missing_input") else "ok")
    assert headline(cases["insufficient"])["oi_coverage_pct"] == pytest.approx(75.0)
    assert headline(cases["missing_input"])["total_call_oi"] is None
    without_underlying = headline(chain([{**unpriced, "underlying_price": None}]))
    assert without_underlying["status"] == "missing_input"
    assert without_underlying["underlying_price"] is None
    nothing_priced = headline(chain([unpriced]))
    assert nothing_priced["status"] == "insufficient"
    assert nothing_priced["gex_usd_per_1pct"] is None
    everything_ended = headline(chain([{**unpriced, "minutes_to_expiry": 0.0, "dte": 0}]))
    assert everything_ended["status"] == "missing_input"


def test_an_empty_chain_has_no_rows() -> None:
    assert gamma_exposure(chain([])).equals(GAMMA_EXPOSURE_SNAPSHOTS.empty())
    assert gamma_profile(chain([])).is_empty()


def test_every_label_is_reached_and_at_its_cut() -> None:
    cuts = {
        0.0: ("NEUTRAL", None), 0.0999: ("NEUTRAL", None), 0.10: ("LONG_GAMMA", "WEAK"), -0.10: ("SHORT_GAMMA", "WEAK"),
        0.25: ("LONG_GAMMA", "MODERATE"), -0.50: ("SHORT_GAMMA", "STRONG"), 0.75: ("LONG_GAMMA", "EXTREME"),
        -1.0: ("SHORT_GAMMA", "EXTREME"),
    }  # fmt: skip
    assert {ratio: positioning(ratio) for ratio in cuts} == cuts
    assert {name for name, _ in cuts.values()} == set(DEALER_POSITIONINGS)
    assert {strength for _, strength in cuts.values() if strength} == set(POSITIONING_STRENGTHS)
    assert positioning(None) == (None, None)
    behaviours = {
        expected_behavior("LONG_GAMMA", "WEAK", 100.0, (101.0, None)): "PINNING",
        expected_behavior("LONG_GAMMA", "WEAK", 100.0, (101.1, 98.0)): "RANGE_BOUND",
        expected_behavior("SHORT_GAMMA", "STRONG", 100.0, (100.0, None)): "VOLATILE",
        expected_behavior("SHORT_GAMMA", "MODERATE", 100.0, (100.0, None)): "TRENDING",
        expected_behavior("NEUTRAL", None, 100.0, (100.0, None)): "UNDETERMINED",
    }
    assert list(behaviours) == list(behaviours.values())
    assert set(behaviours.values()) == set(EXPECTED_BEHAVIORS)


def test_the_flow_signed_convention_needs_five_sessions_known_in_time() -> None:
    opened = {"O:XYZ000000": 400.0}
    frame = chain(TWO_BY_HAND)
    assert set(rows(gamma_exposure(frame, flow=opening_flow(opened, SESSIONS_BEFORE[-4:])))) == {"A", "B"}
    too_late = opening_flow(opened, SESSIONS_BEFORE[-5:]).with_columns(
        available_at=pl.col("available_at") + pl.duration(hours=2)
    )
    assert set(rows(gamma_exposure(frame, flow=too_late))) == {"A", "B"}
    of_the_day = opening_flow(opened, [*SESSIONS_BEFORE[-4:], SESSION])
    assert set(rows(gamma_exposure(frame, flow=of_the_day))) == {"A", "B"}


def test_old_flow_loses_half_its_weight_in_five_sessions_and_never_exceeds_the_open_interest() -> None:
    ticker = "O:XYZ000000"
    five_before = [*SESSIONS_BEFORE[-10:-5]]
    old = opening_flow({ticker: 400.0}, five_before)
    row = rows(gamma_exposure(chain(TWO_BY_HAND), flow=old))["C"]
    # -(400 / 2) contracts x 100 x .03 x 100^2 x .01.
    assert row["gex_usd_per_1pct"] == pytest.approx(-60_000.0)
    flood = opening_flow({ticker: 50_000.0}, SESSIONS_BEFORE[-5:])
    row = rows(gamma_exposure(chain(TWO_BY_HAND), flow=flood))["C"]
    assert row["gex_usd_per_1pct"] == pytest.approx(-300_000.0)


def test_prints_of_unknown_side_and_excluded_prints_open_nothing() -> None:
    prints = pl.DataFrame(
        {
            "symbol": "XYZ",
            "session": SESSIONS_BEFORE[-1],
            "contract_ticker": ["a", "a", "a", "a", "b"],
            "size": [100, 40, 500, 70, 10],
            "aggressor_sign": [1.0, -1.0, None, 1.0, None],
            "opening_likelihood": [1.0, 0.5, 1.0, None, 1.0],
            "exclusion_class": ["none", "none", "none", "none", "multi_leg"],
            "available_at": [SNAPSHOT - timedelta(minutes=m) for m in (5, 4, 3, 2, 1)],
        }
    )
    daily = daily_opening_flow(prints)
    assert daily.select("contract_ticker", "net_opening_contracts").rows() == [("a", 80.0), ("b", 0.0)]
    assert daily["available_at"].to_list() == [SNAPSHOT - timedelta(minutes=1)] * 2
    shuffled = daily_opening_flow(prints.sample(fraction=1.0, shuffle=True, seed=4))
    assert shuffled.equals(daily)


def closings(values: list[float]) -> pl.DataFrame:
    days = SESSIONS_BEFORE[-len(values) :]
    return pl.DataFrame(
        {
            "symbol": "XYZ",
            "session": days,
            "sign_convention": "A",
            "gex_usd_per_1pct": values,
            "available_at": [calendar.session(day).close for day in days],
        }
    )


def test_the_percentile_ranks_net_among_the_closings_of_252_sessions() -> None:
    frame = chain(TWO_BY_HAND)  # net -200,000
    half_below = closings([-300_000.0] * 126 + [0.0] * 126)
    assert headline(frame, history=half_below)["gex_percentile_pct"] == pytest.approx(50.0)
    with_ties = closings([-300_000.0] * 63 + [-200_000.0] * 126 + [0.0] * 63)
    net = headline(frame)["gex_usd_per_1pct"]
    tied = with_ties.with_columns(pl.col("gex_usd_per_1pct").replace(-200_000.0, net))
    assert headline(frame, history=tied)["gex_percentile_pct"] == pytest.approx(50.0)
    beyond_the_window = closings([-300_000.0] * 100 + [0.0] * 252)
    assert headline(frame, history=beyond_the_window)["gex_percentile_pct"] == 0.0
    short = headline(frame, history=closings([0.0] * 130))
    assert short["quality_flags"] == ["percentile_short_history"]
    assert headline(frame, history=closings([0.0] * 125))["gex_percentile_pct"] is None


def test_the_daily_series_is_the_last_usable_snapshot_of_each_session() -> None:
    later = SNAPSHOT + timedelta(minutes=15)
    last = SNAPSHOT + timedelta(minutes=30)
    unusable = [{**row, "open_interest": None} for row in TWO_BY_HAND]
    day = pl.concat(
        gamma_exposure(chain(of, snapshot_at=at, available_at=at))
        for at, of in ((SNAPSHOT, TWO_BY_HAND), (later, TWO_BY_HAND[:1]), (last, unusable))
    )
    series = closing_exposure(day).filter(pl.col("sign_convention") == "A")
    assert series.select("snapshot_at", "gex_usd_per_1pct").rows() == [(later, pytest.approx(300_000.0))]


def test_what_was_not_known_at_the_snapshot_changes_nothing() -> None:
    frame = random_chain(8, 60)
    flow = opening_flow({ticker: 30.0 for ticker in frame["contract_ticker"]}, SESSIONS_BEFORE[-6:])
    history = closings(np.linspace(-1e6, 1e6, 252).tolist())
    plain = gamma_exposure(frame, flow=flow, history=history)
    late = pl.lit(SNAPSHOT + timedelta(seconds=1)).dt.cast_time_unit("us")
    later_flow = pl.concat([flow, flow.with_columns(available_at=late, net_opening_contracts=pl.lit(1e6))])
    later_history = pl.concat([history, history.with_columns(available_at=late, gex_usd_per_1pct=pl.lit(9e9))])
    assert gamma_exposure(frame, flow=later_flow, history=later_history).equals(plain)


def test_a_snapshot_does_not_depend_on_its_company_or_on_the_order_of_rows(tmp_path) -> None:
    later = SNAPSHOT + timedelta(minutes=15)
    frames = [
        random_chain(1, 200),
        random_chain(2, 150, symbol="ABC"),
        random_chain(3, 200, snapshot_at=later, available_at=later),
    ]
    together = gamma_exposure(pl.concat(frames).sample(fraction=1.0, shuffle=True, seed=11))
    apart = pl.concat([gamma_exposure(frame) for frame in frames])
    lake = Lake(tmp_path)
    whole = lake.write(GAMMA_EXPOSURE_SNAPSHOTS, {"session": SESSION}, together)
    assert lake.write(GAMMA_EXPOSURE_SNAPSHOTS, {"session": SESSION}, apart).sha256 == whole.sha256
    assert lake.read_sessions(GAMMA_EXPOSURE_SNAPSHOTS, [SESSION]).height == 6


SEEDS = st.integers(0, 10_000)
SUMS = ("gex_usd_per_1pct", "call_gex_usd_per_1pct", "put_gex_usd_per_1pct", "gross_gex_usd_per_1pct",
        "gex_shares_per_1usd", "vanna_usd_per_pt", "charm_usd_per_day")  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 60), st.integers(1, 59))
def test_exposure_is_additive_over_contracts(seed: int, contracts: int, cut: int) -> None:
    frame = random_chain(seed, contracts)
    cut = min(cut, contracts - 1)
    whole, first, second = (headline(part) for part in (frame, frame[:cut], frame[cut:]))
    for name in SUMS:
        parts = first[name] + second[name]
        assert whole[name] == pytest.approx(parts, abs=1e-9 * max(abs(first[name]), abs(second[name]), 1.0))


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 7))
def test_exposure_is_linear_in_open_interest(seed: int, factor: int) -> None:
    frame = random_chain(seed, 40)
    one, many = headline(frame), headline(frame.with_columns(pl.col("open_interest") * factor))
    for name in SUMS:
        assert many[name] == pytest.approx(factor * one[name], rel=1e-9, abs=1e-6)
    assert many["gamma_flip_roots"] == pytest.approx(one["gamma_flip_roots"], rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_swapping_calls_and_puts_negates_the_headline(seed: int) -> None:
    frame = random_chain(seed, 40)
    side = pl.col("option_type").cast(pl.String)
    swapped = frame.with_columns(
        option_type=pl.when(side == "call")
        .then(pl.lit("put"))
        .otherwise(pl.lit("call"))
        .cast(frame.schema["option_type"])
    )
    one, other = headline(frame), headline(swapped)
    assert other["gex_usd_per_1pct"] == pytest.approx(-one["gex_usd_per_1pct"], rel=1e-9, abs=1e-3)
    assert other["call_wall"] == one["put_wall"]
    assert other["gamma_flip_roots"] == pytest.approx(one["gamma_flip_roots"], rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_no_open_interest_is_no_exposure(seed: int) -> None:
    row = headline(random_chain(seed, 20).with_columns(open_interest=pl.lit(0, dtype=pl.Int64)))
    assert row["gex_usd_per_1pct"] == 0.0
    assert row["gross_gex_usd_per_1pct"] == 0.0
    assert row["net_gex_ratio"] is None
    assert row["dealer_positioning"] is None
    assert row["max_pain"] == []
    assert row["call_wall"] is None


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 80))
def test_re_priced_exposure_is_zero_at_every_root(seed: int, contracts: int) -> None:
    frame = random_chain(seed, contracts)
    row = headline(frame)
    for root in row["gamma_flip_roots"] or []:
        moved = headline(priced(frame.with_columns(underlying_price=pl.lit(root))))
        # Far from every strike with hours left nothing is left at the underlying, and all of it is at the root.
        gross = max(row["gross_gex_usd_per_1pct"], moved["gross_gex_usd_per_1pct"])
        assert abs(moved["gex_usd_per_1pct"]) < 1e-8 * gross
        assert 80.0 <= root <= 120.0


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(seed: int, random: Any) -> None:
    frame = random_chain(seed, 50)
    order = list(range(frame.height))
    random.shuffle(order)
    assert gamma_exposure(frame[order]).equals(gamma_exposure(frame))


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from([0.1, 2.0, 10.0, 37.5]))
def test_prices_times_k_give_exposure_times_k(seed: int, k: float) -> None:
    frame = random_chain(seed, 40)
    scaled = priced(frame.with_columns(pl.col("strike") * k, pl.col("underlying_price") * k))
    one, other = headline(frame), headline(scaled)
    for name in ("gex_usd_per_1pct", "gross_gex_usd_per_1pct"):
        assert other[name] == pytest.approx(k * one[name], rel=1e-8, abs=1e-3)
    assert other["net_gex_ratio"] == pytest.approx(one["net_gex_ratio"], rel=1e-8, abs=1e-9)
    assert other["gamma_flip_roots"] == pytest.approx([k * root for root in one["gamma_flip_roots"]], rel=1e-9)
    assert [pain["strike"] for pain in other["max_pain"]] == pytest.approx([k * p["strike"] for p in one["max_pain"]])
