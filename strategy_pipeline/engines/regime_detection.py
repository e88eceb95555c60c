"""RegimeDetectionEngine: what the regime of the previous close is worth to side, style and family (section 6)."""

from dataclasses import dataclass

import polars as pl

from strategy_pipeline.engines.declaration import Age, Engine, by_word, newest_known
from strategy_pipeline.lake.asof import as_of
from strategy_pipeline.lake.tables import MARKET_REGIMES
from strategy_pipeline.market.session_clock import close_of, next_open_of


@dataclass(frozen=True)
class Worth:
    """Multipliers of the two sides in a regime, and the styles it favours."""

    long: float
    short: float
    styles: tuple[str, ...]


ALL_STYLES = ("scalp", "day", "swing")
RANGE_BOUND = "RANGE_BOUND"
WORTH = {
    "STRONG_UPTREND": Worth(1.25, 0.70, ALL_STYLES),
    "STRONG_DOWNTREND": Worth(0.70, 1.25, ALL_STYLES),
    "WEAK_UPTREND": Worth(1.10, 0.80, ("day",)),
    "WEAK_DOWNTREND": Worth(0.80, 1.10, ("day",)),
    "CHOPPY_BULLISH": Worth(0.95, 0.85, ()),
    "CHOPPY_BEARISH": Worth(0.85, 0.95, ()),
    "BREAKOUT": Worth(1.30, 0.70, ALL_STYLES),
    "BREAKDOWN": Worth(0.70, 1.30, ALL_STYLES),
    "CAPITULATION": Worth(1.30, 0.65, ("swing",)),
    "EUPHORIA": Worth(0.60, 1.25, ()),
    RANGE_BOUND: Worth(1.00, 1.00, ("scalp", "day")),
}
RANGE_MOMENTUM = Worth(0.80, 0.80, ())
UNFAVOURED_STYLE = 0.85
VIX_WORTH = {"EXTREMELY_LOW": 1.05, "LOW": 1.10, "NORMAL": 1.00, "ELEVATED": 0.95, "HIGH": 0.85, "EXTREME": 0.70}
_RECOMMENDED = {
    **dict.fromkeys(("STRONG_UPTREND", "BREAKOUT"), "AGGRESSIVE_LONGS"),
    **dict.fromkeys(("STRONG_DOWNTREND", "BREAKDOWN"), "AGGRESSIVE_SHORTS"),
    **dict.fromkeys(("WEAK_UPTREND", "CHOPPY_BULLISH"), "SELECTIVE_LONGS"),
    **dict.fromkeys(("WEAK_DOWNTREND", "CHOPPY_BEARISH"), "SELECTIVE_SHORTS"),
    **dict.fromkeys(("CAPITULATION", "EUPHORIA"), "CONTRARIAN_OPPORTUNITY"),
    RANGE_BOUND: "AVOID_TRADING",
}
CALM_VIX = ("EXTREMELY_LOW", "LOW")

_READ = {
    "session": "_session",
    "market_regime": "market_regime",
    "confidence": "regime_confidence",
    "vix_regime": "vix_regime",
    "inputs_missing": "inputs_missing",
}


def _find(moments: pl.DataFrame, history: pl.DataFrame) -> pl.DataFrame:
    # A row counts from the next session's open, however early after the close it was known.
    counted = history.with_columns(available_at=pl.max_horizontal("available_at", next_open_of(history["session"])))
    right = newest_known(counted, [], "session")
    found = as_of(moments, right, by=[], at="as_of", columns=_READ)
    return found.with_columns(
        described_at=close_of(found["_session"]),
        missing=pl.when(pl.col("market_regime").is_null()).then(pl.lit("no_trend")),
        outdated=pl.lit(None, dtype=pl.String),
        inputs_missing=pl.col("inputs_missing").fill_null([]),
        source_key=pl.format("market_regime_history/{}", "_session"),
    ).drop("_session")


_LABEL = pl.col("market_regime").cast(pl.String)
_LONG = pl.col("direction") == "LONG"
_IN_RANGE = (_LABEL == RANGE_BOUND) & pl.col("momentum")


def _side_worth() -> pl.Expr:
    long = by_word("market_regime", {name: worth.long for name, worth in WORTH.items()})
    short = by_word("market_regime", {name: worth.short for name, worth in WORTH.items()})
    return (
        pl.when(_IN_RANGE & _LONG)
        .then(RANGE_MOMENTUM.long)
        .when(_IN_RANGE)
        .then(RANGE_MOMENTUM.short)
        .when(_LONG)
        .then(long)
        .otherwise(short)
    )


def _favoured() -> pl.Expr:
    """Whether the regime favours the request's style."""
    style = pl.col("style").cast(pl.String)
    favoured = pl.any_horizontal(
        _LABEL.is_in([name for name, worth in WORTH.items() if one in worth.styles]) & (style == one)
        for one in ALL_STYLES
    )
    return favoured & ~_IN_RANGE


REGIME_ENGINE = Engine(
    name="regime",
    title="RegimeDetectionEngine",
    table="market_regime_history",
    stale_after=Age(1, "sessions"),
    multiplier_range=(0.35, 1.43),
    labels=MARKET_REGIMES,
    recommendations=("NEUTRAL", *dict.fromkeys(_RECOMMENDED.values())),
    find=_find,
    label=_LABEL,
    recommendation=pl.when((_LABEL == RANGE_BOUND) & pl.col("vix_regime").cast(pl.String).is_in(CALM_VIX))
    .then(pl.lit("NEUTRAL"))
    .otherwise(_LABEL.replace_strict(_RECOMMENDED, return_dtype=pl.String)),
    multiplier=_side_worth()
    * pl.when(_favoured()).then(1.0).otherwise(UNFAVOURED_STYLE)
    * by_word("vix_regime", VIX_WORTH).fill_null(1.0),
    confidence=pl.col("regime_confidence"),
)
