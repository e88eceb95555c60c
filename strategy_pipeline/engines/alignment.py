"""MTFAlignmentEngine: a trade with timeframes that agree is worth more than one against them (section 4)."""

import polars as pl

from strategy_pipeline.analytics.alignment import ALIGNMENT_LABELS, SCORES
from strategy_pipeline.engines.declaration import SIDE, Age, Engine, by_word, instant_text, names_where
from strategy_pipeline.lake.asof import as_of

WITH = {"FULLY_ALIGNED": 1.25, "MOSTLY_ALIGNED": 1.10, "NEUTRAL": 1.00, "DIVERGING": 0.85, "CONFLICTING": 0.65}
AGAINST = {"FULLY_ALIGNED": 0.65, "MOSTLY_ALIGNED": 0.85, "NEUTRAL": 1.00, "DIVERGING": 0.85, "CONFLICTING": 0.65}
TREND_SIDE = {"STRONG_UP": 1.0, "UP": 1.0, "NEUTRAL": 0.0, "DOWN": -1.0, "STRONG_DOWN": -1.0}

_READ = ("alignment_label", "dominant_trend", "weight_share", "newest_bar_end", "newest_timeframe", *SCORES.values())


def _find(moments: pl.DataFrame, alignments: pl.DataFrame) -> pl.DataFrame:
    # A row was made from what was known at its own moment.
    right = alignments.select("symbol", *_READ, available_at="as_of")
    found = as_of(moments, right, by=["symbol"], at="as_of", columns={name: name for name in _READ})
    return found.with_columns(
        described_at=pl.col("newest_bar_end"),
        missing=pl.when(pl.col("alignment_label").is_null()).then(pl.lit("too_few_timeframes")),
        outdated=pl.lit(None, dtype=pl.String),
        inputs_missing=names_where({name: pl.col(column).is_null() for name, column in SCORES.items()}),
        source_key=pl.format("historical_bars/{}/{}/{}", "symbol", "newest_timeframe", instant_text("newest_bar_end")),
        trend_side=by_word("dominant_trend", TREND_SIDE),
    ).drop("newest_bar_end", "newest_timeframe", *SCORES.values())


_WITH_TREND, _AGAINST_TREND = SIDE * pl.col("trend_side") > 0, SIDE * pl.col("trend_side") < 0
_LABEL = pl.col("alignment_label").cast(pl.String)

MTF_ENGINE = Engine(
    name="mtf",
    title="MTFAlignmentEngine",
    table="historical_bars",
    stale_after=Age(240, "minutes"),
    multiplier_range=(0.65, 1.25),
    labels=ALIGNMENT_LABELS,
    recommendations=("STRONG_SIGNAL", "CONFIRM_SIGNAL", "AVOID_DIVERGENCE", "WAIT_ALIGNMENT"),
    find=_find,
    label=pl.col("alignment_label"),
    recommendation=pl.when(_WITH_TREND & (_LABEL == "FULLY_ALIGNED"))
    .then(pl.lit("STRONG_SIGNAL"))
    .when(_WITH_TREND & (_LABEL == "MOSTLY_ALIGNED"))
    .then(pl.lit("CONFIRM_SIGNAL"))
    .when(_AGAINST_TREND | (_WITH_TREND & _LABEL.is_in(["DIVERGING", "CONFLICTING"])))
    .then(pl.lit("AVOID_DIVERGENCE"))
    .otherwise(pl.lit("WAIT_ALIGNMENT")),
    multiplier=pl.when(_WITH_TREND)
    .then(by_word("alignment_label", WITH))
    .when(_AGAINST_TREND)
    .then(by_word("alignment_label", AGAINST))
    .otherwise(1.0),
    confidence=pl.col("weight_share"),
)
