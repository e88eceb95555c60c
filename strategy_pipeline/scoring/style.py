"""How well the moment suits a scalp, a day trade and a swing: one modifier each (detectors.md section 7.1).

Every group of the table gives a factor for each style; factors are multiplied and the product is clamped.
"""

import polars as pl

from strategy_pipeline.detectors.comparison import near, rounded
from strategy_pipeline.lake.tables import STYLES
from strategy_pipeline.scoring.time_windows import time_window

SMALLEST, LARGEST = 0.5, 1.5
KEY_LEVELS = ("vwap", "or_high", "or_low", "swing_high", "swing_low")
KEY_LEVEL_WITHIN_PCT = 0.25

# What of a feature row the modifiers read.
STYLE_INPUTS = (
    "close", "prev_close", *KEY_LEVELS, "minutes_since_open", "minutes_to_close", "atr_1d_pct", "rvol", "rsi14",
    "mtf_support_long_pct", "mtf_support_short_pct", "trend_state",
)  # fmt: skip

_BY_WINDOW = {
    "opening_drive": (1.35, 1.15, 0.75),
    "mid_morning": (1.1, 1.15, 1.0),
    "late_morning": (1.0, 1.1, 1.05),
    "lunch_chop": (0.55, 0.75, 1.0),
    "early_afternoon": (0.85, 1.0, 1.05),
    "afternoon": (0.95, 1.1, 1.0),
    "power_hour": (1.25, 1.2, 0.85),
}
_BY_TREND = {
    "trending_up": (1.0, 1.15, 1.25),
    "trending_down": (1.0, 1.15, 1.25),
    "ranging": (1.1, 1.0, 0.85),
    "choppy": (0.65, 0.75, 0.55),
    "volatile": (0.85, 1.1, 1.2),
}


def _groups() -> list[list[tuple[pl.Expr, tuple[float, float, float]]]]:
    """The groups of the table, each a list of (case, factors of the three styles) whose first hit counts."""
    atr_pct, rvol, rsi = (rounded(pl.col(name)) for name in ("atr_1d_pct", "rvol", "rsi14"))
    is_long = pl.col("direction").cast(pl.String) == "LONG"
    support = rounded(pl.when(is_long).then("mtf_support_long_pct").otherwise("mtf_support_short_pct"))
    window = time_window(pl.col("minutes_since_open"), pl.col("minutes_to_close")).cast(pl.String)
    trend, left = pl.col("trend_state").cast(pl.String), pl.col("minutes_to_close")
    at_level = pl.any_horizontal(near(pl.col(name), KEY_LEVEL_WITHIN_PCT) for name in KEY_LEVELS)
    return [
        [(window == name, factors) for name, factors in _BY_WINDOW.items()],
        [
            (atr_pct > 2.5, (0.7, 1.05, 1.25)),
            (atr_pct > 1.5, (0.9, 1.1, 1.15)),
            (atr_pct < 0.5, (1.15, 0.85, 0.65)),
            (atr_pct < 1.0, (1.1, 0.95, 0.8)),
        ],
        [(rvol > 1.5, (1.3, 1.15, 1.0)), (rvol < 0.5, (0.6, 0.75, 0.95)), (rvol < 0.75, (0.8, 0.9, 0.98))],
        [(at_level, (1.25, 1.15, 1.1))],
        [((rsi < 30.0) | (rsi > 70.0), (0.85, 1.1, 1.25))],
        [
            (support > 80.0, (1.05, 1.15, 1.3)),
            (support > 60.0, (1.0, 1.05, 1.1)),
            (support < 40.0, (1.0, 0.8, 0.6)),
        ],
        [(trend == name, factors) for name, factors in _BY_TREND.items()],
        [(left < 30, (1.1, 0.6, 1.0)), (left < 60, (1.0, 0.85, 1.0))],
    ]


def style_modifiers() -> list[pl.Expr]:
    """style_modifier_<style>_raw (the product, a ratio) and style_modifier_<style> (clamped to 0.5-1.5), three each.

    Reads `direction` and STYLE_INPUTS; a null input leaves its group at 1.
    """
    groups = _groups()
    made = []
    for at, style in enumerate(STYLES):
        product = pl.lit(1.0)
        for cases in groups:
            factor = pl.lit(1.0)
            # A comparison with null is null, which `when` takes for false.
            for holds, factors in reversed(cases):
                factor = pl.when(holds).then(factors[at]).otherwise(factor)
            product = product * factor
        made.append(product.alias(f"style_modifier_{style}_raw"))
        made.append(product.clip(SMALLEST, LARGEST).alias(f"style_modifier_{style}"))
    return made
