"""A firing with everything known about its moment becomes a row of ``composite_signals``, accepted or with a reason.

The order of the steps is that of detectors.md section 7; each step's arithmetic is in its own module. All rows are
treated alike and no step looks at another row before emission, so cutting a history by sessions changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from strategy_pipeline.detectors.catalogue import CATALOGUE
from strategy_pipeline.detectors.comparison import rounded
from strategy_pipeline.detectors.declaration import Detector
from strategy_pipeline.detectors.evaluate import signals
from strategy_pipeline.engines.combination import MIN_CONFIDENCE_PCT
from strategy_pipeline.engines.strategy_filter import regime_block
from strategy_pipeline.lake.tables import COMPOSITE_SIGNALS, INSTANT, REJECT_REASONS, STYLES
from strategy_pipeline.market.symbols import INDEX
from strategy_pipeline.scoring.confidence import CONFIDENCE_INPUTS, DataProfile, data_confidence
from strategy_pipeline.scoring.context import with_context
from strategy_pipeline.scoring.emission import emitted, lifetimes, signal_ids
from strategy_pipeline.scoring.risk_reward import RISK_INPUTS, risk_and_reward
from strategy_pipeline.scoring.rules import ScoringRules
from strategy_pipeline.scoring.style import STYLE_INPUTS, style_modifiers
from strategy_pipeline.scoring.thresholds import adaptive_thresholds, floor, vix_disabled
from strategy_pipeline.scoring.time_windows import time_window

# What of a feature row scoring wants beside the firing.
CARRIED = tuple(
    dict.fromkeys(
        (
            *STYLE_INPUTS, *CONFIDENCE_INPUTS, *RISK_INPUTS, "is_regular_hours", "rvol_symbol", "spread_pct",
            "vix_tier",
        )
    )
)  # fmt: skip
# Entries of inputs_missing that are no columns: what could not be applied for want of data.
VIX_MISSING, SPREAD_NOT_APPLIED = "vix_missing", "filter_spread_not_applied"


@dataclass(frozen=True)
class Provenance:
    """What identifies a session's signals: a hash of rules, code and data, and one of the data alone."""

    run_id: str
    data_version: str


def firings(detectors: Sequence[Detector], features: pl.DataFrame) -> pl.DataFrame:
    """The firings of `detectors` on feature rows with the columns scoring reads (CARRIED) beside them."""
    return signals(detectors, features, carried=CARRIED)


def composite_signals(
    detections: pl.DataFrame,
    context: pl.DataFrame,
    rules: ScoringRules,
    profile: DataProfile,
    provenance: Mapping[date, Provenance],
    *,
    accepted_before: pl.DataFrame | None = None,
    detectors: Sequence[Detector] = CATALOGUE,
) -> pl.DataFrame:
    """Rows of ``composite_signals``, one for each firing, sorted as the table is.

    detections: what `firings` returns. context: ``context_scores`` that answer `scoring.context.requests` of them; a
    request nobody answered counts as missing. accepted_before: accepted signals of earlier bars (symbol, detector,
    bar_end), as far back as `rules.memory_minutes`; without them nothing was accepted before. provenance: of every
    session that has firings. detectors: the declarations that fired. Raises KeyError for a firing of another detector.
    """
    if detections.is_empty():
        return COMPOSITE_SIGNALS.empty()
    rows = _judged(_prepared(detections, detectors), context, rules, profile)
    rows = rows.with_columns(emitted(rows, accepted_before).alias("reject_reason"))
    rows = rows.with_columns(
        signal_ids(rows),
        lifetimes(rows),
        decision=pl.when(pl.col("reject_reason").is_null()).then(pl.lit("accepted")).otherwise(pl.lit("rejected")),
        rules_version=pl.lit(rules.version),
        run_id=_by_session({day: one.run_id for day, one in provenance.items()}),
        data_version=_by_session({day: one.data_version for day, one in provenance.items()}),
    )
    schema: Mapping[str, pl.DataType] = COMPOSITE_SIGNALS.polars_schema
    return rows.select(pl.col(name).cast(kind) for name, kind in schema.items()).sort(COMPOSITE_SIGNALS.sort_by)


def _by_session(texts: Mapping[date, str]) -> pl.Expr:
    days = pl.Series(list(texts), dtype=pl.Date)
    return pl.col("session").replace_strict(days, pl.Series(list(texts.values())), return_dtype=pl.String)


def _judged(rows: pl.DataFrame, context: pl.DataFrame, rules: ScoringRules, profile: DataProfile) -> pl.DataFrame:
    """Every row by itself: all that does not depend on what was emitted, with the first reason against it."""
    rows = rows.with_columns(
        time_window(pl.col("minutes_since_open"), pl.col("minutes_to_close")).alias("window"),
        *data_confidence(profile),
        *style_modifiers(),
    )
    rows = with_context(rows, context)
    rows = rows.with_columns(_recommended_style())
    rows = rows.with_columns(
        _of_style("score").alias("recommended_score"),
        _of_style("unclamped").alias("recommended_unclamped"),
        _of_style("clamped").alias("clamped"),
        _of_style("context").fill_null([]).alias("context"),
    )
    rows = risk_and_reward(rows).with_columns(
        *adaptive_thresholds(rules),
        floor(rules, "cooldown_min").alias("cooldown_min"),
        floor(rules, "signals_per_hour").alias("signals_per_hour"),
    )
    return rows.with_columns(
        _first_failure(rules, profile).alias("reject_reason"),
        market_regime=pl.coalesce(pl.col("market_regime").cast(pl.String), "regime_label"),
        inputs_missing=_missing(profile),
    )


def _prepared(detections: pl.DataFrame, detectors: Sequence[Detector]) -> pl.DataFrame:
    """The firings in one order, under the names of the table, with category and momentum of their detector."""
    names = [detector.name for detector in detectors]
    known = {name: [getattr(one, name) for one in detectors] for name in ("category", "momentum")}
    if unknown := sorted(set(detections["detector"]) - set(names)):
        raise KeyError(f"no declaration of {', '.join(unknown)}")
    return (
        detections.rename({"detector_version": "definition_version", "score": "base_score"})
        .with_columns(
            pl.col("detector").replace_strict(names, known["category"], return_dtype=pl.String).alias("category"),
            pl.col("detector").replace_strict(names, known["momentum"], return_dtype=pl.Boolean).alias("momentum"),
            # A reading that is no number is a missing one.
            *(
                pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name)
                for name in CARRIED
                if detections.schema[name].is_float()
            ),
            available_at=pl.max_horizontal("available_at", "bar_end").cast(INSTANT),
        )
        .sort(COMPOSITE_SIGNALS.sort_by)
    )


def _recommended_style() -> pl.Expr:
    """The style with the highest final score; a tie goes to the larger unclamped modifier, then the shorter horizon.

    At the close itself only a swing is left to be held.
    """
    at_close = pl.col("minutes_to_close") <= 0
    best_style = pl.lit(None, dtype=pl.String)
    best_score: pl.Expr = pl.lit(-1.0)
    best_raw: pl.Expr = pl.lit(0.0)
    for style in STYLES:
        score, raw = rounded(pl.col(f"{style}_score")), rounded(pl.col(f"style_modifier_{style}_raw"))
        better = (score > best_score) | ((score == best_score) & (raw > best_raw))
        better = (better & (~at_close | (style == "swing"))).fill_null(value=False)
        best_style = pl.when(better).then(pl.lit(style)).otherwise(best_style)
        best_score = pl.when(better).then(score).otherwise(best_score)
        best_raw = pl.when(better).then(raw).otherwise(best_raw)
    return best_style.alias("recommended_style")


def _of_style(name: str) -> pl.Expr:
    """What a row says of its recommended style; null without one."""
    style = pl.col("recommended_style")
    return pl.coalesce(pl.when(style == word).then(f"{word}_{name}") for word in STYLES)


def _first_failure(rules: ScoringRules, profile: DataProfile) -> pl.Expr:
    """The first step a row fails, null when it passes all; a comparison with an unknown value fails."""
    is_index = pl.col("asset_class").cast(pl.String) == INDEX
    passes = {
        "filter_session": pl.col("is_regular_hours") & (pl.col("minutes_to_close") >= 0),
        "filter_liquidity": is_index | (pl.col("adv20_shares") >= rules["filters"]["adv20_shares_min"]),
        "filter_spread": ~profile.quotes_apply()
        | (rounded(pl.col("spread_pct")) <= rules["filters"]["spread_pct_max"]),
        "filter_blacklist": ~pl.col("symbol").is_in(rules["filters"]["blacklist"]),
        "confidence_low": rounded(pl.col("data_confidence")) >= MIN_CONFIDENCE_PCT,
        "vix_disabled": ~vix_disabled(rules),
        "regime_block": regime_block().is_null(),
        "category_disabled": ~pl.col("category_disabled"),
        "base_below_min": rounded(pl.col("base_score")) >= pl.col("base_min"),
        "style_below_min": rounded(pl.col("recommended_score")) >= pl.col("style_min"),
        "rr_missing": pl.col("risk_reward").is_not_null(),
        "rr_below_min": rounded(pl.col("risk_reward")) >= pl.col("rr_min"),
    }
    assert tuple(passes) == REJECT_REASONS[: len(passes)]
    return pl.coalesce(pl.when(~holds.fill_null(value=False)).then(pl.lit(reason)) for reason, holds in passes.items())


def _missing(profile: DataProfile) -> pl.Expr:
    """What the detector and the score lacked, each once, then what could not be applied."""
    notes = [pl.when(pl.col("vix_tier").is_null()).then(pl.lit(VIX_MISSING))]
    notes.append(pl.when(~profile.quotes_apply()).then(pl.lit(SPREAD_NOT_APPLIED)))
    every = [pl.col("inputs_missing"), pl.col("confidence_missing"), pl.concat_list(notes).list.drop_nulls()]
    return pl.concat_list(every).list.unique(maintain_order=True)
