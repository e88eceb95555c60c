"""Declarations applied to feature rows: one detector on every row, the firings of many, and the coverage of inputs.

Every expression looks at one row only, so the newest row alone and the whole history give the same bits.
"""

from collections.abc import Iterable, Sequence

import polars as pl

from strategy_pipeline.detectors.declaration import DIRECTION_DTYPE, PER_ROW, Detector
from strategy_pipeline.detectors.inputs import INPUT_DTYPES, SEEN_BY

ROW_KEY = ("symbol", "asset_class", "timeframe", "session", "bar_end", "available_at")
# Columns a reader of a signal wants beside it, taken along when the features have them.
CARRIED = (
    "close",
    "prev_close",
    "minutes_since_open",
    "minutes_to_close",
    "session_type",
    "trend_state",
    "market_regime",
    "vix_tier",
)
MISSING = "inputs_missing"
_KEPT = "kept "
FACTOR_DTYPE = pl.List(pl.Struct({"name": pl.String, "weight": pl.Float64, "value": pl.Float64}))
SIGNAL_SCHEMA: dict[str, pl.DataType] = {
    "detector": pl.String(),
    "detector_version": pl.String(),
    "family": pl.String(),
    "direction": DIRECTION_DTYPE,
    "score": pl.Float64(),
    "atr": pl.Float64(),
    "factors": FACTOR_DTYPE,
    MISSING: pl.List(pl.String()),
}


def evaluate(detector: Detector, features: pl.DataFrame) -> pl.DataFrame:
    """One detector on every feature row, in the order of the rows.

    Columns: the row's key (symbol, asset_class, timeframe, session, bar_end, available_at), detector, direction, fired,
    score (0-100, null unless fired), factors (struct of 0-100 values, also on rows that did not fire, so that a near
    miss can be explained) and inputs_missing (declared inputs that were null, NaN or infinite, required ones first).
    """
    prepared = _prepared([detector], features)
    scored = (
        prepared.lazy()
        .with_columns(detector.fired().alias("fired"), *detector.clamped_factors(), _missing_mask(detector))
        .select(
            *ROW_KEY,
            pl.lit(detector.name).alias("detector"),
            _direction(detector).alias("direction"),
            "fired",
            pl.when("fired").then(detector.base_score()).alias("score"),
            pl.struct([factor.name for factor in detector.factors]).alias("factors"),
            MISSING,
        )
        .collect()
    )
    return _with_missing_names(scored, detector)


def signals(detectors: Sequence[Detector], features: pl.DataFrame, *, carried: Iterable[str] = CARRIED) -> pl.DataFrame:
    """The rows on which any of `detectors` fired, with the scores `evaluate` gives them.

    Sorted by detector, timeframe, bar_end, symbol. Columns: the row's key, then SIGNAL_SCHEMA (`atr` is atr14 of the
    row's own timeframe in $, null while it warms up; `factors` is a list of name, weight, value), then those of
    `carried` the features have. Gates see every row; factors are computed only where a gate opened.
    """
    along = [name for name in carried if name in features.columns]
    prepared = _prepared(detectors, features, extra=("atr14", *along))
    gates = prepared.lazy().select([detector.fired().alias(detector.name) for detector in detectors]).collect()
    # Few rows open any gate: copy those once, then share them out among the detectors.
    opened = gates.select(pl.any_horizontal(pl.all())).to_series() if detectors else pl.Series([], dtype=pl.Boolean)
    rows, gates = prepared.filter(opened), gates.filter(opened)
    firing = [detector for detector in detectors if gates[detector.name].any()]
    if not firing:
        return _empty_signals(prepared, along)
    scored = pl.collect_all([_scored(detector, rows.filter(gates[detector.name]), along) for detector in firing])
    named = [_with_missing_names(frame, detector) for frame, detector in zip(scored, firing, strict=True)]
    return pl.concat(named).sort("detector", "timeframe", "bar_end", "symbol")


def open_gates(detectors: Sequence[Detector], features: pl.DataFrame) -> pl.DataFrame:
    """Whether each of `detectors` fires on each feature row, in the order of the rows; columns are their positions.

    For many declarations of one detector that differ in thresholds; the detector's name is not looked at.
    """
    prepared = _prepared(detectors, features).lazy()
    return prepared.select([detector.fired().alias(str(at)) for at, detector in enumerate(detectors)]).collect()


def coverage(detectors: Sequence[Detector], features: pl.DataFrame) -> pl.DataFrame:
    """How often each required input was there at all, per detector.

    Columns: detector, input, eligible (symbol-sessions of the detector's asset classes), present (those in which a
    regular-hours row holds the input, or shows that there was nothing to hold, as no max pain on a day without an
    expiry), share (present / eligible, null without eligible ones). A run calls a detector not testable when a share is
    under 0.6 (backtesting.md section 1).
    """
    witnesses = sorted({name for seen in SEEN_BY.values() for name in seen.meta.root_names()})
    prepared = _prepared(detectors, features, extra=witnesses)
    names = sorted({name for detector in detectors for name in detector.all_required})
    inside_hours = pl.col("is_regular_hours").fill_null(value=False)
    there = prepared.group_by("symbol", "session", "asset_class").agg(
        [
            ((pl.col(name).is_not_null() | SEEN_BY.get(name, pl.lit(False)).fill_null(False)) & inside_hours)
            .any()
            .alias(name)
            for name in names
        ]
    )
    rows = []
    for detector in detectors:
        eligible = there.filter(pl.col("asset_class").is_in(sorted(detector.asset_classes)))
        for name in detector.all_required:
            present = int(eligible[name].sum())
            share = present / eligible.height if eligible.height else None
            rows.append((detector.name, name, eligible.height, present, share))
    schema = {
        "detector": pl.String,
        "input": pl.String,
        "eligible": pl.Int64,
        "present": pl.Int64,
        "share": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _prepared(detectors: Sequence[Detector], features: pl.DataFrame, extra: Sequence[str] = ()) -> pl.DataFrame:
    """The row's key and the declared inputs, typed, with NaN and infinities as null; an absent column is all null."""
    inputs = {name: None for detector in detectors for name in detector.inputs}
    columns = {
        name: _known(name, features.schema) if name in INPUT_DTYPES else pl.col(name)
        for name in (*inputs, "asset_class", *extra)
    }
    available_at = pl.col("bar_end")
    if "available_at" in features.columns:
        # A value cannot be known before the bar that holds it has ended.
        available_at = pl.max_horizontal("available_at", "bar_end")
    keys = {name: pl.col(name) for name in ("symbol", "timeframe", "session", "bar_end")}
    columns = keys | {"available_at": available_at} | columns
    # A frame read from many partitions has many chunks, and every expression would walk them all.
    stored = [name for name in (*columns, "available_at") if name in features.columns]
    compact = features.select(*dict.fromkeys(stored)).rechunk()
    return compact.lazy().select([expression.alias(name) for name, expression in columns.items()]).collect()


def _known(name: str, schema: pl.Schema) -> pl.Expr:
    dtype = INPUT_DTYPES[name]
    if name not in schema:
        return pl.lit(None, dtype=dtype)
    value = pl.col(name) if schema[name] == dtype else pl.col(name).cast(dtype)
    return pl.when(value.is_finite()).then(value) if dtype.is_float() else value


def _missing_mask(detector: Detector) -> pl.Expr:
    """Which declared inputs are null, as one bit each: a list of names per row would cost more than all factors."""
    bits = [pl.col(name).is_null().cast(pl.Int64) * (1 << bit) for bit, name in enumerate(detector.inputs)]
    return pl.sum_horizontal(bits).alias(MISSING)


def _with_missing_names(frame: pl.DataFrame, detector: Detector) -> pl.DataFrame:
    """The same frame with the mask spelled out as names in declared order."""
    masks = frame[MISSING].unique().sort()
    spelled = pl.Series(
        [[name for bit, name in enumerate(detector.inputs) if mask >> bit & 1] for mask in masks],
        dtype=pl.List(pl.String),
    )
    return frame.with_columns(spelled.gather(masks.search_sorted(frame[MISSING])).alias(MISSING))


def _direction(detector: Detector) -> pl.Expr:
    if detector.direction == PER_ROW:
        assert detector.direction_expression is not None
        return detector.direction_expression.cast(DIRECTION_DTYPE)
    return pl.lit(detector.direction, dtype=DIRECTION_DTYPE)


def _scored(detector: Detector, rows: pl.DataFrame, along: Sequence[str]) -> pl.LazyFrame:
    entries = [
        pl.struct(
            pl.lit(factor.name).alias("name"),
            pl.lit(factor.weight).alias("weight"),
            pl.col(factor.name).alias("value"),
        )
        for factor in detector.factors
    ]
    # A factor may bear the name of a column, such as flow_score.
    kept = [pl.col(name).alias(f"{_KEPT}{name}") for name in along]
    prepared = rows.lazy().with_columns(*kept, *detector.clamped_factors(), _missing_mask(detector))
    return prepared.select(
        *ROW_KEY,
        pl.lit(detector.name).alias("detector"),
        pl.lit(detector.definition_version).alias("detector_version"),
        pl.lit(detector.family).alias("family"),
        _direction(detector).alias("direction"),
        detector.base_score().alias("score"),
        pl.col("atr14").alias("atr"),
        pl.concat_list(entries).alias("factors"),
        MISSING,
        *(pl.col(f"{_KEPT}{name}").alias(name) for name in along),
    )


def _empty_signals(prepared: pl.DataFrame, along: Sequence[str]) -> pl.DataFrame:
    schema = {name: prepared.schema[name] for name in ROW_KEY}
    schema |= SIGNAL_SCHEMA
    schema |= {name: prepared.schema[name] for name in along}
    return pl.DataFrame(schema=schema)
