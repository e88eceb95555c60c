"""Pivots, their confirmation, and divergences, on bars small enough to check by eye."""

import polars as pl

from strategy_pipeline.analytics.swings import with_swings


def bars(low: list[float], high: list[float] | None = None, rsi: list[float] | None = None, first: int = 0):
    """One series whose first row is bar `first`, so that warm-up can be out of the way."""
    return pl.DataFrame(
        {
            "bar_number": list(range(first, first + len(low))),
            "low": low,
            "high": high or [price + 100 for price in low],
            "rsi": rsi or [50.0] * len(low),
        }
    )


def test_a_pivot_is_known_at_the_end_of_the_second_later_bar():
    found = with_swings(bars([5.0, 4.0, 3.0, 4.0, 5.0, 6.0]), "rsi")
    assert found["swing_low"].to_list() == [None, None, None, None, 3.0, 3.0]


def test_an_equal_neighbour_makes_no_pivot():
    found = with_swings(bars([5.0, 4.0, 3.0, 3.0, 5.0, 6.0, 7.0]), "rsi")
    assert found["swing_low"].null_count() == 7


def test_lows_rise_once_the_second_higher_pivot_is_confirmed():
    lows = [5.0, 4.0, 3.0, 4.0, 5.0, 4.5, 3.5, 4.5, 5.5]
    found = with_swings(bars(lows), "rsi")
    assert found["higher_lows"].to_list() == [None] * 4 + [False] * 4 + [True]
    assert found["swing_low"][-1] == 3.5


def test_highs_and_lows_are_mirror_images():
    lows = [5.0, 4.0, 3.0, 4.0, 5.0, 4.5, 3.5, 4.5, 5.5]
    rsi = [50.0, 40, 30, 40, 50, 45, 25, 45, 55]
    up = with_swings(bars(lows, [9.0] * 9, rsi, first=200), "rsi")
    down = with_swings(bars([1.0] * 9, [10 - low for low in lows], [100 - value for value in rsi], first=200), "rsi")
    assert up["higher_lows"].to_list() == down["lower_highs"].to_list()
    assert up["rsi_div_bull"].to_list() == down["rsi_div_bear"].to_list()
    assert [None if p is None else 10 - p for p in up["swing_low"]] == down["swing_high"].to_list()


def test_a_bullish_divergence_scores_ten_points_for_each_point_of_rsi():
    # Lows 3.0 then 2.5 with RSI 30.0 then 34.5: falls, while RSI rises by 4.5 points.
    lows = [5.0, 4.0, 3.0, 4.0, 5.0, 4.0, 2.5, 4.5, 5.5]
    rsi = [50.0, 40, 30.0, 40, 50, 40, 34.5, 45, 55]
    found = with_swings(bars(lows, rsi=rsi, first=200), "rsi")
    assert found["rsi_div_bull"].to_list() == [0.0] * 8 + [45.0]
    assert found["rsi_div_bear"].to_list() == [0.0] * 9


def test_a_divergence_is_capped_at_100_and_needs_a_falling_low():
    rsi = [50.0, 40, 10.0, 40, 50, 40, 34.5, 45, 55]
    lower = with_swings(bars([5.0, 4, 3, 4, 5, 4, 2.5, 4.5, 5.5], rsi=rsi, first=200), "rsi")
    higher = with_swings(bars([5.0, 4, 3, 4, 5, 4, 3.5, 4.5, 5.5], rsi=rsi, first=200), "rsi")
    assert (lower["rsi_div_bull"][-1], higher["rsi_div_bull"][-1]) == (100.0, 0.0)


def test_a_divergence_ends_when_its_older_pivot_is_more_than_40_bars_back():
    lows = [5.0, 4, 3, 4, 5, 4, 2.5, 4.5, 5.5] + [6.0] * 40
    rsi = [50.0, 40, 30.0, 40, 50, 40, 34.5, 45, 55] + [55.0] * 40
    found = with_swings(bars(lows, rsi=rsi, first=200), "rsi")["rsi_div_bull"].to_list()
    # The older pivot is row 2, so row 42 is the last within 40 bars.
    assert (found[42], found[43]) == (45.0, 0.0)


def test_divergences_wait_for_the_warm_up_of_rsi():
    found = with_swings(bars([float(n % 7) for n in range(120)]), "rsi")
    assert found["rsi_div_bull"].null_count() == 108


def test_pivots_do_not_reach_over_into_another_series():
    lows = [5.0, 4.0, 3.0, 4.0, 5.0, 6.0]
    both = pl.concat([bars(lows), bars([9.0, 8.0, 9.0, 9.5, 9.6, 9.7])])
    found = with_swings(both, "rsi")
    assert found["swing_low"].to_list() == [None] * 4 + [3.0] * 2 + [None] * 6
