"""All five engines on any number of requests: the one entry that scanner, backtest and assets use."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from strategy_pipeline.analytics.alignment import ALIGNMENT_SCHEMA
from strategy_pipeline.engines.alignment import MTF_ENGINE
from strategy_pipeline.engines.declaration import Engine, normal_requests
from strategy_pipeline.engines.flow_analysis import FLOW_ENGINE
from strategy_pipeline.engines.gamma_exposure import gamma_engine
from strategy_pipeline.engines.implied_volatility import iv_engine
from strategy_pipeline.engines.regime_detection import REGIME_ENGINE
from strategy_pipeline.lake.tables import (
    CONTEXT_SCORES,
    GAMMA_EXPOSURE_SNAPSHOTS,
    IV_PERCENTILE_CACHE,
    MARKET_REGIME_HISTORY,
    OPTIONS_FLOW_HISTORY,
)

# In the order of the waterfall.
CONTEXT_ENGINES: tuple[Engine, ...] = (iv_engine(), gamma_engine(), MTF_ENGINE, FLOW_ENGINE, REGIME_ENGINE)


@dataclass(frozen=True)
class ContextSources:
    """The stored rows that the engines read; without a table its engine answers `missing`.

    iv: ``iv_percentile_cache``; gamma: ``gamma_exposure_snapshots``; alignment: what ``analytics.alignment.alignment``
    gives at the requests' moments; flow: ``options_flow_history`` of ``flow_window.flow_sessions`` of each session;
    regime: ``market_regime_history``. Rows known after a request's as_of never count for it.
    """

    iv: pl.DataFrame | None = None
    gamma: pl.DataFrame | None = None
    alignment: pl.DataFrame | None = None
    flow: pl.DataFrame | None = None
    regime: pl.DataFrame | None = None

    def of(self, engine: str) -> pl.DataFrame:
        """The rows for one engine, none where there is no table."""
        given, schema = {
            "iv": (self.iv, IV_PERCENTILE_CACHE.polars_schema),
            "gamma": (self.gamma, GAMMA_EXPOSURE_SNAPSHOTS.polars_schema),
            "mtf": (self.alignment, ALIGNMENT_SCHEMA),
            "flow": (self.flow, OPTIONS_FLOW_HISTORY.polars_schema),
            "regime": (self.regime, MARKET_REGIME_HISTORY.polars_schema),
        }[engine]
        return pl.DataFrame(schema=schema) if given is None else given


def evaluate_context(
    requests: pl.DataFrame, sources: ContextSources, engines: Sequence[Engine] = CONTEXT_ENGINES
) -> pl.DataFrame:
    """Rows of ``context_scores``: what each engine says about each request, sorted by the table's key.

    requests: symbol, as_of (UTC), direction (LONG, SHORT), style (scalp, day, swing), momentum (whether the detector
        trades momentum); the same request twice counts once. An empty part is a DataError.
    One request alone gives the same bits as among many, and rows known later change nothing.
    """
    asked = normal_requests(requests)
    answers = [engine.answer(asked, sources.of(engine.name)) for engine in engines]
    return pl.concat(answers).sort(*CONTEXT_SCORES.sort_by)
