"""How detectors compare numbers: rounding first, step tables, clamps and safe ratios.

A column is never divided by a constant but multiplied with its reciprocal: Polars divides a lone row directly and many
through the reciprocal, so the two speeds would differ in the last bit.

Only arithmetic on expressions; what is compared with what belongs to the family modules.
"""

from collections.abc import Sequence

import polars as pl

COMPARED_DECIMALS = 9


def rounded(value: pl.Expr) -> pl.Expr:
    """`value` as it may be compared: at 9 decimals, so that 0.1 + 0.2 is 0.3 (detectors.md section 1)."""
    return value.round(COMPARED_DECIMALS)


def clamp(value: pl.Expr, low: float = 0.0, high: float = 100.0) -> pl.Expr:
    """`value` held inside [low, high]; null stays null."""
    return value.clip(low, high)


def ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """numerator / denominator, null where the denominator is 0, so that no infinity reaches a gate."""
    return pl.when(denominator != 0.0).then(numerator / denominator)


def points(condition: pl.Expr, score: float) -> pl.Expr:
    """`score` where the condition holds, else 0; a null condition does not hold."""
    return pl.when(condition).then(score).otherwise(0.0)


def at_least(value: pl.Expr, bounds: Sequence[tuple[float, float]], otherwise: float | pl.Expr) -> pl.Expr:
    """Step table, first step that holds: (4, 100), (2.5, 75) reads ">= 4 100; >= 2.5 75"; null takes `otherwise`."""
    return _steps([(rounded(value) >= bound, score) for bound, score in bounds], otherwise)


def more_than(value: pl.Expr, bounds: Sequence[tuple[float, float]], otherwise: float | pl.Expr) -> pl.Expr:
    """Step table with open bounds: (70, 100) reads "> 70 100"; null takes `otherwise`."""
    return _steps([(rounded(value) > bound, score) for bound, score in bounds], otherwise)


def at_most(value: pl.Expr, bounds: Sequence[tuple[float, float]], otherwise: float | pl.Expr) -> pl.Expr:
    """Step table, first step that holds: (20, 100), (25, 85) reads "<= 20 100; <= 25 85"; null takes `otherwise`."""
    return _steps([(rounded(value) <= bound, score) for bound, score in bounds], otherwise)


def _steps(table: Sequence[tuple[pl.Expr, float]], otherwise: float | pl.Expr) -> pl.Expr:
    # A comparison with null is null, which `when` treats as false, so an unknown value falls through to the last line.
    score_so_far: pl.Expr = otherwise if isinstance(otherwise, pl.Expr) else pl.lit(float(otherwise))
    for holds, score in reversed(table):
        score_so_far = pl.when(holds).then(float(score)).otherwise(score_so_far)
    return score_so_far


def between(value: pl.Expr, low: float, high: float) -> pl.Expr:
    """Whether low <= value <= high, both bounds included."""
    compared = rounded(value)
    return (compared >= low) & (compared <= high)


def pct_of_prev_close(difference: pl.Expr) -> pl.Expr:
    """A price difference in percent of the previous session's close, the unit of all price percentages."""
    return 100.0 * difference / pl.col("prev_close")


def near(level: pl.Expr, within_pct: float) -> pl.Expr:
    """Whether the close lies within `within_pct` of a level; false where the level is null."""
    distance_pct = pct_of_prev_close((pl.col("close") - level).abs())
    return (rounded(distance_pct) <= within_pct).fill_null(value=False)


def share_of_known_pct(checks: Sequence[tuple[pl.Expr, pl.Expr]], none_known: float) -> pl.Expr:
    """100 x share of checks that hold among those whose input is known, `none_known` where no input is.

    `checks` are (input, condition) pairs.
    """
    known = pl.sum_horizontal([value.is_not_null().cast(pl.Float64) for value, _ in checks])
    held = pl.sum_horizontal([points(condition, 1.0) for _, condition in checks])
    return pl.when(known > 0.0).then(100.0 * held / known).otherwise(none_known)
