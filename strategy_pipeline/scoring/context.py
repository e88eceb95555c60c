"""What the context engines are asked about a firing, and how their answers move the score of every style.

What an engine says is its own business, and how contributions add up that of engines/combination.py.
"""

from collections.abc import Sequence

import polars as pl

from strategy_pipeline.detectors.catalogue import CATALOGUE
from strategy_pipeline.detectors.declaration import Detector
from strategy_pipeline.engines.combination import ITEMS, REQUEST_KEY, contributions, waterfall
from strategy_pipeline.lake.asof import KNOWN_AT, as_of
from strategy_pipeline.lake.tables import ENGINES, STYLES

_REGIME = ("regime_label", "regime_status")
_MISSING = "missing"
_SAID = ("engine", "status", "label", "multiplier", "confidence", "contribution_ln", "age_min")
_REQUEST_TYPES = {"direction": pl.String, "style": pl.String}


def requests(firings: pl.DataFrame, detectors: Sequence[Detector] = CATALOGUE) -> pl.DataFrame:
    """What to ask the engines about firings of `detectors`: the request key, each once, sorted.

    as_of is the first moment at which the firing itself is known.
    """
    momentum = {detector.name: detector.momentum for detector in detectors}
    named = pl.col("detector").replace_strict(momentum, return_dtype=pl.Boolean)
    return _by_style(firings.with_columns(momentum=named)).select(REQUEST_KEY).unique().sort(REQUEST_KEY)


def with_context(rows: pl.DataFrame, context: pl.DataFrame) -> pl.DataFrame:
    """`rows` with the waterfall of every style, its scores, and what the engines said.

    rows: symbol, available_at, direction, momentum, base_score (0-100), data_confidence (0-100) and
        style_modifier_<style>.
    Adds <style>_score and <style>_unclamped (0-100), <style>_clamped, <style>_context (what the engines said of it),
    waterfall (all styles), all null where the base is 0 or the confidence under 40 except what the engines said; and
    regime_label and regime_status, null where nobody answered.
    """
    asked = _by_style(rows)
    answered = as_of(
        asked,
        _answers(context),
        by=list(REQUEST_KEY),
        columns={name: name for name in ("said", *(f"{engine}_ln" for engine in ENGINES), *_REGIME)},
        at="as_of",
    )
    answered = answered.with_columns(
        pl.col("said").fill_null(pl.lit(_nobody_answered())),
        *(pl.col(f"{engine}_ln").fill_null(0.0) for engine in ENGINES),
    )
    combined = pl.concat([answered.select("said", *_REGIME), waterfall(answered)], how="horizontal")
    # Styles lie one below the other, each with the rows in their order.
    for at, style in enumerate(STYLES):
        part = combined.slice(at * rows.height, rows.height)
        counts = pl.lit(part["final_score"].is_not_null())
        items = [
            pl.struct(
                pl.lit(style).alias("style"),
                pl.lit(item.removesuffix("_ln")).alias("item"),
                pl.lit(part[item]).alias("contribution_ln"),
            )
            for item in ITEMS
        ]
        rows = rows.with_columns(
            part["final_score"].alias(f"{style}_score"),
            part["unclamped_score"].alias(f"{style}_unclamped"),
            part["clamped"].alias(f"{style}_clamped"),
            part["said"].alias(f"{style}_context"),
            part["regime_label"],
            part["regime_status"],
            pl.when(counts).then(pl.concat_list(items)).alias(f"_{style}"),
        )
    together = [pl.col(f"_{style}") for style in STYLES]
    return rows.with_columns(waterfall=pl.concat_list(together)).drop(f"_{style}" for style in STYLES)


def _by_style(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each style and row, styles one below the other: the request and what a score is combined from."""
    scored = "base_score" in rows.columns
    return pl.concat(
        rows.select(
            "symbol",
            pl.col("available_at").alias("as_of"),
            pl.col("direction").cast(pl.String),
            pl.lit(style).alias("style"),
            "momentum",
            *(("base_score", pl.col("data_confidence").alias("confidence_pct")) if scored else ()),
            *((pl.col(f"style_modifier_{style}").alias("style_modifier"),) if scored else ()),
        )
        for style in STYLES
    )


def _answers(context: pl.DataFrame) -> pl.DataFrame:
    """One row for each request that was answered: contributions, the regime, and what each engine said."""
    # An answer that came later than it was asked for is none.
    timely = context.filter(pl.col(KNOWN_AT) <= pl.col("as_of"))
    plain = timely.with_columns(pl.col(name).cast(kind) for name, kind in _REQUEST_TYPES.items())
    wide = contributions(plain)
    spoken = pl.struct(pl.col("engine").cast(pl.String), pl.col("status").cast(pl.String), *_SAID[2:])
    said = plain.sort(*REQUEST_KEY, "engine").group_by(*REQUEST_KEY, maintain_order=True).agg(spoken.alias("said"))
    # Both have one row a request in the order of the key.
    return wide.with_columns(said["said"], pl.col("as_of").alias(KNOWN_AT))


def _nobody_answered() -> pl.Series:
    """The answers of five engines that were never asked, as one list."""
    entry = {"label": None, "multiplier": 1.0, "confidence": 0.0, "contribution_ln": 0.0, "age_min": None}
    fields = {name: pl.String for name in _SAID[:3]} | dict.fromkeys(_SAID[3:], pl.Float64)
    silent = [{"engine": engine, "status": _MISSING, **entry} for engine in ENGINES]
    return pl.Series([silent], dtype=pl.List(pl.Struct(fields)))
