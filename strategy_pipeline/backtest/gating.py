"""Signals held to the whole composite pipeline before they may enter: what gates ``full`` adds to fired signals.

The decision and the levels are scoring's; here they only become what the trade loop reads.
"""

import polars as pl

from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.lake.asof import as_of

_FIRING = ["symbol", "detector", "timeframe", "bar_end", "direction"]
# What a composite signal does not carry and a trade needs of the firing.
_OF_THE_FIRING = ("atr", "class_matches", "sigma_day", "adv20_shares", "iv_percentile_pct", "net_gex_ratio")


def gated(signals: pl.DataFrame, composite: pl.DataFrame | None) -> pl.DataFrame:
    """Composite signals as signals to trade, known when their context was, refused with the reason they were rejected.

    signals: fired signals of a run, with the columns the run carries. composite: rows of ``composite_signals`` of at
    least the same symbols, detectors and bars. `score` is the final score of the recommended style (the base score
    where there is none), `style` that style; stop and target are distances of the signal's levels from its entry
    reference, $. Raises MissingDataError when a firing was never scored, naming the first.
    """
    text = pl.col("detector", "direction", "timeframe", "symbol").cast(pl.String)
    fired = signals.with_columns(text)
    scored = fired.clear() if composite is None else composite.with_columns(text)
    unscored = _without_score(fired, scored)
    if unscored is not None:
        raise MissingDataError(
            f"{unscored['detector']} fired on {unscored['symbol']} at {unscored['bar_end']:%Y-%m-%d %H:%M} UTC and has "
            "no composite signal: materialise composite_signals for the window, or use gates base_score."
        )
    extra = [name for name in signals.columns if name in _OF_THE_FIRING or name.startswith("atr14_")]
    assert composite is not None
    rows = as_of(
        scored.select(
            *_FIRING, "asset_class", "session", "available_at", "market_regime",
            detector_version="definition_version",
            score=pl.coalesce("recommended_score", "base_score"),
            style=pl.col("recommended_style").cast(pl.String),
            vix_regime=pl.col("vix_tier").cast(pl.String),
            time_window=pl.col("window").cast(pl.String),
            gate_reason=pl.col("reject_reason").cast(pl.String),
            stop_distance=(pl.col("entry_ref") - pl.col("stop_price")).abs(),
            target_distance=(pl.col("target_2") - pl.col("entry_ref")).abs(),
        ),
        fired.with_columns(_fired=pl.lit(True)), by=_FIRING,
        columns={**{name: name for name in extra}, "_fired": "_fired"},
    )  # fmt: skip
    # Composite signals of firings outside the run, such as of other sessions, have no firing here.
    return rows.filter(pl.col("_fired")).drop("_fired")


def _without_score(fired: pl.DataFrame, scored: pl.DataFrame) -> dict[str, object] | None:
    """The first firing that has no composite signal."""
    known = set(scored.select(_FIRING).iter_rows())
    for row in fired.select(_FIRING).iter_rows(named=True):
        if tuple(row[name] for name in _FIRING) not in known:
            return row
    return None
