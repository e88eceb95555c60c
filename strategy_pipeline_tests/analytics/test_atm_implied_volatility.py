"""Constant-maturity volatility and skew: the specification's numbers, the statuses, and what must not count."""

from datetime import UTC, date, datetime, timedelta
from math import exp, sqrt

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.analytics.atm_implied_volatility import (
    CM30,
    ExpiryVolatility,
    atm_iv_daily,
    constant_maturity_iv,
    delta_neutral_iv,
    expiry_volatility,
    interpolate,
)
from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import ATM_IV_DAILY
from strategy_pipeline.market.calendar import session, sessions_between
from strategy_pipeline_tests.analytics.chain_frames import DAY, chain, flat, skewed

DAYS = 1440.0


def bars(day: date = DAY, sessions: int = 30, symbol: str = "SPY") -> pl.DataFrame:
    days = sessions_between(day - timedelta(days=60), day)[-sessions:]
    close = [100.0 * exp(0.01 * (n % 2)) for n in range(len(days))]
    return pl.DataFrame(
        {
            "symbol": symbol, "session": days, "open": close, "high": close, "low": close, "close": close,
            "available_at": [session(one).close + timedelta(minutes=5) for one in days],
        }
    )  # fmt: skip


def only(frame: pl.DataFrame) -> dict[str, object]:
    return conform(ATM_IV_DAILY, frame).row(0, named=True)


# quant_methods.md section 14, row CM30.
@pytest.mark.parametrize(
    ("near", "after", "expected"), [((20, 0.18), (48, 0.20), 0.191684), ((5, 0.60), (33, 0.25), 0.260408)]
)
def test_total_variance_is_linear_between_two_expiries(near, after, expected):
    found = constant_maturity_iv(near[0] * DAYS, near[1], after[0] * DAYS, after[1], 30 * DAYS)
    assert found == pytest.approx(expected, abs=5e-7)


def expiries(*points: tuple[float, float]) -> list[ExpiryVolatility]:
    return [
        ExpiryVolatility(DAY + timedelta(days=int(d)), d * DAYS, iv, None, None, None, None, None) for d, iv in points
    ]


def test_two_expiries_around_thirty_days_are_interpolated():
    found = interpolate(expiries((2, 0.9), (20, 0.18), (48, 0.20), (76, 0.5)), CM30)
    assert (found.status, found.near.minutes / DAYS, found.next.minutes / DAYS) == ("ok", 20, 48)
    assert found.value == pytest.approx(0.191684, abs=5e-7)


def test_an_expiry_under_seven_days_is_skipped():
    found = interpolate(expiries((5, 0.60), (33, 0.25)), CM30)
    assert (found.status, found.value, found.next) == ("single_expiry", 0.25, None)


def test_a_single_expiry_within_seven_days_of_thirty_stands_alone_and_one_further_off_does_not():
    assert interpolate(expiries((23, 0.2)), CM30).status == "single_expiry"
    assert interpolate(expiries((37, 0.2)), CM30).status == "single_expiry"
    assert interpolate(expiries((22.9, 0.2)), CM30) == interpolate([], CM30)
    assert interpolate(expiries((37.1, 0.2)), CM30).value is None


def test_falling_total_variance_is_marked_and_its_value_kept():
    # w = .5² x 20 = 5 and .2² x 48 = 1.92 days: at 30 days (5 - 3.08 x 10/28) / 30 = 0.13 = .360555²
    found = interpolate(expiries((20, 0.5), (48, 0.2)), CM30)
    assert found.status == "calendar_arb"
    assert found.value == pytest.approx(0.360555, abs=5e-7)


def test_an_expiry_without_a_volatility_gives_way_to_the_next_nearest():
    points = expiries((14, 0.2), (28, 0.3), (35, 0.2), (63, 0.2))
    holes = [points[0], ExpiryVolatility(DAY, 28 * DAYS, *(None,) * 6), *points[2:]]
    assert interpolate(holes, CM30).near.minutes == 14 * DAYS


def test_the_curve_is_read_at_the_forward_and_not_at_spot():
    found = expiry_volatility(chain({30: skewed(0.2, 0.4)}, step=5.0))
    assert found.atm == pytest.approx(0.2, abs=1e-12)
    assert found.call == pytest.approx(0.2, abs=1e-12)
    assert found.put == pytest.approx(0.2, abs=1e-12)


def test_without_strikes_on_both_sides_of_the_forward_nothing_is_extrapolated():
    one_side = chain({30: flat(0.2)}).filter(pl.col("strike") > 101)
    assert expiry_volatility(one_side).atm is None


def test_only_volatilities_with_the_status_ok_make_the_curve():
    frame = chain({30: flat(0.2)})
    weak = frame.with_columns(
        iv=pl.when(pl.col("strike") == 100).then(0.9).otherwise("iv"),
        iv_status=pl.when(pl.col("strike") == 100).then(pl.lit("low_vega")).otherwise("iv_status"),
    )
    assert expiry_volatility(weak).atm == pytest.approx(0.2, abs=1e-12)


def test_call_and_put_volatilities_are_averaged_and_shown_apart():
    frame = chain({20: flat(0.2), 40: flat(0.2)})
    tilted = frame.with_columns(iv=pl.when(pl.col("option_type") == "call").then(0.22).otherwise(0.18))
    row = only(atm_iv_daily(tilted, bars()))
    assert row["cm30_iv_call"] == pytest.approx(0.22, abs=1e-12)
    assert row["cm30_iv_put"] == pytest.approx(0.18, abs=1e-12)
    assert row["cm30_atm_iv"] == pytest.approx(0.20, abs=1e-12)


def test_the_delta_neutral_variant_differs_by_less_than_skew_times_variance():
    # sigma(k)² T = a - b k; the slope of sigma at k = 0 is b / (2 sigma T).
    for volatility, steepness in ((0.15, 0.3), (0.3, 0.6), (0.6, 0.2)):
        frame = chain({45: skewed(volatility, steepness, 45.0)}, step=2.5)
        years = 45 / 365
        skew = steepness * volatility * years / (2 * volatility * years)
        apart = abs(delta_neutral_iv(frame) - expiry_volatility(frame).atm)
        assert 0 < apart < skew * volatility**2 * years


def test_a_flat_surface_has_no_skew_and_no_term_slope():
    row = only(atm_iv_daily(chain({20: flat(0.2), 40: flat(0.2), 80: flat(0.2), 120: flat(0.2)}), bars()))
    assert row["cm30_atm_iv"] == pytest.approx(0.2, abs=1e-12)
    assert row["cm90_atm_iv"] == pytest.approx(0.2, abs=1e-12)
    for name in ("rr25", "fly25", "skew_slope", "term_slope_90_30"):
        assert row[name] == pytest.approx(0.0, abs=1e-12)
    assert (row["cm30_status"], row["cm90_status"], row["skew_status"]) == ("ok", "ok", "ok")


def test_dear_puts_give_a_positive_risk_reversal_and_a_positive_slope():
    row = only(atm_iv_daily(chain({20: skewed(0.2, 0.4, 20.0), 40: skewed(0.2, 0.4, 40.0)}, step=0.5), bars()))
    assert row["rr25"] > 0.01
    assert row["skew_slope"] > 0.0
    # 25-delta put to 25-delta call are 50 delta: five steps of the slope, about linear.
    assert row["skew_slope"] * 5 == pytest.approx(row["rr25"], rel=0.1)


def test_a_chain_whose_wings_end_before_25_delta_has_volatility_without_skew():
    near_money = chain({20: flat(0.2), 40: flat(0.2)}).filter(pl.col("strike").is_between(99, 101))
    row = only(atm_iv_daily(near_money, bars()))
    assert (row["cm30_status"], row["skew_status"], row["rr25"]) == ("ok", "insufficient", None)


def test_a_flat_surface_has_the_same_model_free_volatility():
    surface = chain({20: flat(0.3), 40: flat(0.3)}, step=0.5)
    row = only(atm_iv_daily(surface, bars(), model_free_symbols={"SPY"}))
    assert row["model_free_iv"] == pytest.approx(0.3, abs=1e-3)
    assert row["model_free_status"] == "ok"
    assert only(atm_iv_daily(surface, bars()))["model_free_status"] is None


def test_a_chain_without_any_volatility_is_a_row_of_nulls_with_statuses():
    dead = chain({20: flat(0.2), 40: flat(0.2)}).with_columns(
        iv=None, iv_status=pl.lit("zero_bid").cast(pl.String), delta=None, gamma=None
    )
    row = only(atm_iv_daily(dead, bars().clear()))
    assert [row[name] for name in ("cm30_status", "cm90_status", "skew_status", "rv_status")] == [
        "insufficient", "insufficient", "insufficient", "missing_input",
    ]  # fmt: skip
    assert row["cm30_atm_iv"] is None


def test_adjusted_contracts_do_not_bend_the_curve():
    surface = chain({20: flat(0.2), 40: flat(0.2)})
    odd = surface.filter(pl.col("strike") > 120).with_columns(
        strike=pl.col("strike") - 20.0,
        iv=pl.lit(0.9),
        multiplier=pl.lit(10.0),
        contract_ticker=pl.format("{}X", "contract_ticker"),
    )
    assert only(atm_iv_daily(pl.concat([surface, odd]), bars()))["cm30_atm_iv"] == pytest.approx(0.2, abs=1e-12)


def test_the_last_snapshot_of_the_session_counts():
    close = chain({20: flat(0.2), 40: flat(0.2)})
    earlier = close.with_columns(snapshot_at=pl.col("snapshot_at") - timedelta(minutes=15), iv=pl.lit(0.5))
    assert only(atm_iv_daily(pl.concat([earlier, close]), bars()))["cm30_atm_iv"] == pytest.approx(0.2, abs=1e-12)
    row = only(atm_iv_daily(earlier, bars()))
    assert row["quality_flags"] == ["snapshot_before_close"]


def test_the_row_is_known_when_the_chain_and_the_daily_bar_are():
    row = only(atm_iv_daily(chain({20: flat(0.2), 40: flat(0.2)}), bars()))
    assert row["available_at"] == session(DAY).close + timedelta(minutes=5)
    # Returns alternate between +1 % and -1 %, 21 of them: sd (n-1) = 0.01 x sqrt(21/20 x (1 - 1/441)).
    assert row["rv21"] == pytest.approx(0.01 * sqrt(252 * 21 / 20 * (1 - 1 / 441)), rel=1e-9)


def test_an_estimator_blind_to_the_night_is_refused():
    with pytest.raises(DataError, match="overnight"):
        atm_iv_daily(chain({20: flat(0.2)}), bars(), rv_estimator="parkinson")


def test_earnings_count_when_they_were_announced_by_then():
    known = session(DAY).close - timedelta(days=3)
    calendar = pl.DataFrame(
        {"symbol": ["SPY"], "earnings_on": [DAY + timedelta(days=30)], "available_at": [known]},
    )
    surface = chain({20: flat(0.2), 40: flat(0.2)})
    late = calendar.with_columns(available_at=pl.lit(datetime(2015, 6, 10, tzinfo=UTC)))
    further = calendar.with_columns(earnings_on=pl.lit(DAY + timedelta(days=31)))
    assert only(atm_iv_daily(surface, bars(), earnings=calendar))["earnings_in_window"] is True
    assert only(atm_iv_daily(surface, bars(), earnings=late))["earnings_in_window"] is False
    assert only(atm_iv_daily(surface, bars(), earnings=further))["earnings_in_window"] is False
    assert only(atm_iv_daily(surface, bars()))["earnings_in_window"] is None


def test_row_order_and_an_unrelated_symbol_change_nothing():
    surface = chain({20: skewed(0.2), 40: skewed(0.25)})
    other = chain({20: flat(0.5), 40: flat(0.5)}, symbol="QQQ")
    alone = atm_iv_daily(surface, bars())
    mixed = pl.concat([other, surface]).sample(fraction=1.0, shuffle=True, seed=5)
    both = atm_iv_daily(mixed, pl.concat([bars(symbol="QQQ"), bars()]))
    assert both["symbol"].to_list() == ["QQQ", "SPY"]
    assert both.filter(pl.col("symbol") == "SPY").equals(alone)


def test_prices_in_another_unit_give_the_same_volatilities():
    surface = chain({20: skewed(0.2), 40: skewed(0.25)})
    scaled = surface.with_columns(pl.col("strike", "forward", "underlying_price", "bid", "ask", "mid") * 10.0)
    first, second = only(atm_iv_daily(surface, bars())), only(atm_iv_daily(scaled, bars()))
    for name in ("cm30_atm_iv", "rr25", "fly25", "skew_slope"):
        assert second[name] == pytest.approx(first[name], rel=1e-9)


def goog(shared_data) -> pl.DataFrame:
    """The real chain with the volatilities of an independent library (README: QuantLib)."""
    frame = pl.read_csv(shared_data / "reference" / "chain_GOOG_2015-12-24_1300ET.csv", infer_schema_length=None)
    at = session(date(2015, 12, 24)).close
    growth = ((pl.col("rate") - pl.col("div_yield")) * pl.col("T_years")).exp()
    return frame.select(
        "minutes_to_expiry", "bid", "ask", "rate", "underlying_price", contract_ticker="ticker", symbol=pl.lit("GOOG"),
        session=pl.lit(at.date()), snapshot_at=pl.lit(at), expiration=pl.col("expiration_date").str.to_date(),
        strike=pl.col("strike_price").cast(pl.Float64), option_type="contract_type", multiplier=pl.lit(100.0),
        settlement=pl.lit("pm"), forward=pl.col("underlying_price") * growth, iv="iv_american",
        delta=pl.col("delta").cast(pl.Float64, strict=False), source=pl.lit("flat_file"), quality=pl.lit("final"),
        iv_status=pl.when(pl.col("iv_american").is_null()).then(pl.lit("zero_bid")).otherwise(pl.lit("ok")),
        available_at=pl.lit(at), ingested_at=pl.lit(at),
    )  # fmt: skip


def test_a_real_chain_has_a_volatility_at_thirty_and_ninety_days(shared_data):
    row = only(atm_iv_daily(goog(shared_data), bars().clear(), model_free_symbols={"GOOG"}))
    assert (row["cm30_status"], row["cm90_status"], row["skew_status"]) == ("ok", "ok", "ok")
    assert (row["cm30_near_expiration"], row["cm30_next_expiration"]) == (date(2016, 1, 22), date(2016, 1, 29))
    # iv_american at 745 to 752.5 in the file: .211-.216 for 22 January, .297-.301 for 29 January, which is after the
    # earnings; total variance at 30 days lies one seventh of the way: root of (.2135² x 29 x 6/7 + .299² x 36/7) / 30.
    assert row["cm30_atm_iv"] == pytest.approx(0.230, abs=0.003)
    assert abs(row["cm30_iv_call"] - row["cm30_iv_put"]) < 0.005
    assert row["term_slope_90_30"] > 0
    assert 0 < row["rr25"] < 0.06
    assert row["model_free_iv"] == pytest.approx(row["cm30_atm_iv"], abs=0.02)
    assert not any(isinstance(value, float) and np.isnan(value) for value in row.values())
