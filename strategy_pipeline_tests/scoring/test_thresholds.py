"""Adaptive thresholds and the VIX gate: the known answers of detectors.md section 7.3 and their limits."""

import polars as pl
import pytest

from strategy_pipeline.scoring.rules import FAMILIES, rules_from
from strategy_pipeline.scoring.thresholds import adaptive_thresholds, floor, vix_disabled

RULES = rules_from()
COLUMNS = ("asset_class", "family", "category", "window", "vix_tier", "trend_state")
CATEGORY = {
    "breakout": "breakout", "mean_reversion": "meanReversion", "trend_continuation": "trendContinuation",
    "gamma_squeeze": "gamma", "power_hour_reversal": "reversal", "index_mean_reversion": "meanReversion",
    "opening_drive": "breakout", "gamma_flip": "gamma", "eod_pin_setup": "gamma", "sweep_momentum": "flow",
    "institutional_flow": "flow",
}  # fmt: skip


def rows(*cases):
    return pl.DataFrame(
        [(kind, family, CATEGORY[family], *rest) for kind, family, *rest in cases],
        schema=dict.fromkeys(COLUMNS, pl.String),
        orient="row",
    )


def thresholds(*case, rules=RULES):
    return rows(case).select(adaptive_thresholds(rules)).row(0)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (("EQUITY_ETF", "breakout", "opening_drive", "medium", "trending_up"), (70, 75, 1.5, 1.0, False)),
        (("EQUITY_ETF", "breakout", "lunch_chop", "medium", "ranging"), (95, 88, 2.2, 0.6, True)),
        (("EQUITY_ETF", "breakout", "lunch_chop", "extreme", "choppy"), (102, 100, 2.9, 0.24, True)),
        (("EQUITY_ETF", "mean_reversion", "mid_morning", "medium", "ranging"), (72, 75, 1.5, 1.0, False)),
        (("INDEX", "gamma_flip", "power_hour", "high", "ranging"), (80, 80, 2.0, 0.77, False)),
        (("STOCK", "trend_continuation", "afternoon", "low", "trending_down"), (70, 75, 1.5, 1.2, False)),
    ],
)
def test_the_known_thresholds(case, expected):
    assert thresholds(*case) == expected


def test_an_unknown_trend_counts_as_volatile_and_an_unknown_tier_as_medium():
    known = thresholds("STOCK", "breakout", "mid_morning", "medium", "volatile")
    assert thresholds("STOCK", "breakout", "mid_morning", None, None) == known == (85, 75, 2.0, 1.0, False)


def test_the_row_of_a_family_replaces_that_of_its_class():
    # gamma_squeeze is 75/80/1.8, 3 an hour, 45 minutes; power_hour_reversal 1 an hour, 10 minutes; an index 3 and 10.
    found = rows(
        ("INDEX", "gamma_squeeze", "afternoon", None, None),
        ("INDEX", "power_hour_reversal", "afternoon", None, None),
        ("INDEX", "index_mean_reversion", "afternoon", None, None),
        ("STOCK", "breakout", "afternoon", None, None),
    ).select(floor(RULES, "signals_per_hour"), floor(RULES, "cooldown_min").alias("cooldown"))
    assert found.rows() == [(3, 45), (1, 10), (3, 10), (2, 15)]


@pytest.mark.parametrize(
    ("tier", "disabled"),
    [
        ("low", {"mean_reversion", "index_mean_reversion", "power_hour_reversal"}),
        ("medium", set()),
        ("high", {"trend_continuation", "breakout"}),
        ("extreme", set(FAMILIES) - {"sweep_momentum"}),
        (None, set()),
    ],
)
def test_the_vix_rules_out_these_families(tier, disabled):
    frame = rows(*(("INDEX", family, "afternoon", tier, None) for family in FAMILIES))
    found = frame.filter(frame.select(vix_disabled(RULES)).to_series())
    assert set(found["family"]) == disabled


def test_every_enabled_minimum_can_be_reached_at_some_hour():
    # A base score ends at 100, so a family whose base_min exceeds it in every window could never be emitted.
    for family in FAMILIES:
        kind = "INDEX" if family.startswith(("gamma", "index", "power", "opening", "eod")) else "EQUITY_ETF"
        every = [
            (kind, family, window, tier, trend)
            for window in RULES["windows"]
            for tier in (None, *RULES["vix_tiers"])
            for trend in (None, "trending_up", "ranging", "choppy", "volatile")
        ]
        found = rows(*every).with_columns(adaptive_thresholds(RULES)).with_columns(off=vix_disabled(RULES))
        open_to = found.filter(~pl.col("category_disabled") & ~pl.col("off"))
        assert open_to.filter((pl.col("base_min") <= 100) & (pl.col("style_min") <= 100)).height, family


def test_a_configured_number_counts():
    rules = rules_from({"windows": {"mid_morning": {"base": 90}}})
    assert thresholds("STOCK", "breakout", "mid_morning", "medium", "trending_up", rules=rules)[0] == 90
