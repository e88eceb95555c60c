"""Windows of a session: the bounds of detectors.md section 7.1."""

import polars as pl
import pytest

from strategy_pipeline.scoring.time_windows import time_window


def window(since, left):
    return pl.select(time_window(pl.lit(since, pl.Int32), pl.lit(left, pl.Int32))).item()


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (1, "opening_drive"), (29, "opening_drive"), (30, "mid_morning"), (89, "mid_morning"), (90, "late_morning"),
        (119, "late_morning"), (120, "lunch_chop"), (239, "lunch_chop"), (240, "early_afternoon"),
        (299, "early_afternoon"), (300, "afternoon"), (329, "afternoon"), (330, "power_hour"), (390, "power_hour"),
    ],
)  # fmt: skip
def test_windows_of_a_full_session_are_closed_on_the_left(since, expected):
    assert window(since, 390 - since) == expected


@pytest.mark.parametrize(("since", "expected"), [(120, "lunch_chop"), (149, "lunch_chop"), (150, "power_hour")])
def test_a_half_day_has_a_power_hour(since, expected):
    assert window(since, 210 - since) == expected


def test_an_unknown_minute_has_no_window():
    assert window(None, 30) is None
    assert window(30, None) is None
