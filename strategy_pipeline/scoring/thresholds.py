"""What a signal has to reach where and when it fired, and which families the VIX and the trend rule out.

Section 7.3 of detectors.md as expressions over rows; the numbers are those of the rules handed in.
"""

from collections.abc import Mapping

import polars as pl

from strategy_pipeline.scoring.rules import CATEGORIES, FAMILIES, TREND_ROWS, ScoringRules

# Every family's floor by class; families of the flow stage included.
_TREND_ROW = {"trending_up": "trending", "trending_down": "trending"}
UNKNOWN_TREND = "volatile"
UNKNOWN_TIER = "medium"


def adaptive_thresholds(rules: ScoringRules) -> list[pl.Expr]:
    """base_min and style_min (0-100), rr_min and size_multiplier (ratios), category_disabled (Boolean).

    Reads `window`, `vix_tier`, `trend_state`, `category`, `family` and `asset_class`. A null tier counts as medium, a
    null trend as volatile. Raises KeyError for a category or family that the rules do not name.
    """
    window, tier = pl.col("window").cast(pl.String), pl.col("vix_tier").cast(pl.String).fill_null(UNKNOWN_TIER)

    def by_window(name: str) -> pl.Expr:
        return _looked_up(window, {key: float(row[name]) for key, row in rules["windows"].items()})

    def by_tier(name: str) -> pl.Expr:
        return _looked_up(tier, {key: float(row[name]) for key, row in rules["vix_tiers"].items()})

    state = pl.col("trend_state").cast(pl.String).fill_null(UNKNOWN_TREND).replace(_TREND_ROW)
    cell = pl.concat_str([state, pl.col("category")], separator="|")
    cells = {f"{row}|{name}": rules["trend"][row][name] for row in TREND_ROWS for name in CATEGORIES}
    disabled = _looked_up(cell, {key: float(one["disabled"]) for key, one in cells.items()}) > 0.0
    added = float(rules["disabled_base_add"])
    trend_base = _looked_up(
        cell, {key: float(one["base"]) + (added if one["disabled"] else 0.0) for key, one in cells.items()}
    )
    trend_rr = _looked_up(cell, {key: float(one["rr"]) for key, one in cells.items()})
    # 1.3 + 0.3 has to be the 1.6 a reader expects.
    return [
        pl.max_horizontal((by_window("base") + by_tier("base")).round(9), trend_base, floor(rules, "base")).alias(
            "base_min"
        ),
        pl.max_horizontal((by_window("style") + by_tier("style")).round(9), floor(rules, "style")).alias("style_min"),
        pl.max_horizontal((by_window("rr") + by_tier("rr")).round(9), trend_rr, floor(rules, "rr")).alias("rr_min"),
        (by_window("size") * by_tier("size")).round(9).alias("size_multiplier"),
        disabled.alias("category_disabled"),
    ]


def floor(rules: ScoringRules, name: str) -> pl.Expr:
    """One number of the floor of a row's family, else of its class: base, style, rr, signals_per_hour, cooldown_min."""
    key = pl.concat_str([pl.col("asset_class").cast(pl.String), pl.col("family")], separator="|")
    return _looked_up(
        key,
        {
            f"{asset_class}|{family}": float(rules.floor(asset_class, family)[name])
            for asset_class in rules["class_floors"]
            for family in FAMILIES
        },
    )


def vix_disabled(rules: ScoringRules) -> pl.Expr:
    """Whether the VIX tier rules the row's family out; a null tier rules out nothing."""
    disabled = pl.lit(value=False)
    for tier, allowed in rules["vix_allows"].items():
        in_tier = pl.col("vix_tier").cast(pl.String) == tier
        disabled = disabled | (in_tier & ~pl.col("family").is_in(allowed)).fill_null(value=False)
    return disabled


def _looked_up(key: pl.Expr, values: Mapping[str, float]) -> pl.Expr:
    return key.replace_strict(list(values), list(values.values()), return_dtype=pl.Float64)
