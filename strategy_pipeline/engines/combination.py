"""The waterfall: how a base score becomes a final one, item by item in logarithms, for many signals and styles at once.

    wide = contributions(context_scores)  # one row a request: its key, and <engine>_ln and <engine>_status per engine
    waterfall(rows)                       # rows: base_score, style_modifier, confidence_pct and the five <engine>_ln

Definitions: context_engines.md section 8. Where a multiplier comes from is each engine's business.
"""

import polars as pl

from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.tables import ENGINES

REQUEST_KEY = ("symbol", "as_of", "direction", "style", "momentum")
ENGINE_ITEMS = tuple(f"{engine}_ln" for engine in ENGINES)
# Everything that adds up to ln(final/base), in the order of the specification; the last one is the only limit.
ITEMS = ("style_ln", *ENGINE_ITEMS, "data_confidence_ln", "clamp_ln")
INPUTS = ("base_score", "style_modifier", "confidence_pct", *ENGINE_ITEMS)
# Below it a signal is rejected before scores are combined (detectors.md section 7.2).
MIN_CONFIDENCE_PCT = 40.0
MAX_SCORE = 100.0

WATERFALL_SCHEMA = pl.Schema(
    {
        **dict.fromkeys(ITEMS, pl.Float64()),
        "unclamped_score": pl.Float64(),
        "final_score": pl.Float64(),
        "clamped": pl.Boolean(),
    }
)


def contributions(scores: pl.DataFrame) -> pl.DataFrame:
    """One row for each request of ``context_scores``: its key, <engine>_ln and <engine>_status of the five engines.

    regime_label stands beside them for the strategy filter. Sorted by the key. Raises DataError when a request lacks an
    engine's row: a silent engine is not a neutral one.
    """
    engine = pl.col("engine").cast(pl.String)
    wide = (
        # A later version of an answer does not count for its decision.
        scores.filter(pl.col("available_at") <= pl.col("as_of"))
        .group_by(*REQUEST_KEY)
        .agg(
            *(pl.col("contribution_ln").filter(engine == name).first().alias(f"{name}_ln") for name in ENGINES),
            *(pl.col("status").filter(engine == name).first().alias(f"{name}_status") for name in ENGINES),
            pl.col("label").filter(engine == "regime").first().alias("regime_label"),
        )
        .sort(*REQUEST_KEY)
    )
    silent = [name for name in ENGINES if wide[f"{name}_ln"].null_count()]
    if silent:
        raise DataError(f"Requests without a row of {', '.join(silent)}: take all rows that evaluate_context gives.")
    return wide


def waterfall(rows: pl.DataFrame) -> pl.DataFrame:
    """The items of each row, the score before and after its limit, in WATERFALL_SCHEMA and the order of `rows`.

    rows: INPUTS as Float64 without nulls; base_score 0-100, style_modifier the clamped one (> 0), confidence_pct the
        data confidence 0-100, <engine>_ln the engines' contributions.
    unclamped = base x exp(all items but the clamp); final = min(100, unclamped); nothing is rounded. Every column is
    null where the base is 0 or the confidence under 40, which are rejected before this step. Raises DataError on a
    null input.
    """
    empty = [name for name in INPUTS if rows[name].null_count()]
    if empty:
        raise DataError(f"A score cannot be combined from empty {', '.join(empty)}: a neutral item is 0.")
    counts = (pl.col("base_score") > 0) & (pl.col("confidence_pct").round(9) >= MIN_CONFIDENCE_PCT)
    # Times 0.01: Polars divides one row by a number in another way than many.
    items = rows.select(
        pl.col("base_score"),
        counts.alias("_counts"),
        style_ln=pl.col("style_modifier").log(),
        **{name: pl.col(name) for name in ENGINE_ITEMS},
        data_confidence_ln=(0.01 * pl.col("confidence_pct")).log(),
    )
    total = pl.col(ITEMS[0])
    for name in ITEMS[1:-1]:
        total = total + pl.col(name)
    return (
        items.with_columns(unclamped_score=pl.col("base_score") * total.exp())
        .with_columns(final_score=pl.col("unclamped_score").clip(0.0, MAX_SCORE))
        .with_columns(clamp_ln=(pl.col("final_score") / pl.col("unclamped_score")).log())
        .with_columns(clamped=pl.col("clamp_ln") != 0.0)
        .select(pl.when("_counts").then(pl.col(name)).cast(kind).alias(name) for name, kind in WATERFALL_SCHEMA.items())
    )
