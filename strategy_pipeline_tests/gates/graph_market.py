"""A small synthetic market with options, taken through the whole graph up to its signals, for the gates."""

from datetime import date
from pathlib import Path

from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.launch import assets_of, materialize, open_instance
from strategy_pipeline.defs.resources import default_resources
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.market.symbols import instrument
from strategy_pipeline.settings import Watchlist, load_settings
from strategy_pipeline.synthetic.files import SyntheticMarket

SCORED_SESSIONS = 4
JOB = "backfill_all"
NOT_PUBLISHED = ("stock_hour_file", "index_hour_file")


def graph_market(home: Path, *, seed: int = 7, option_sessions: int = 2) -> tuple[Lake, tuple[date, ...]]:
    """The lake and the sessions of a market of 24 sessions whose last four have features, context and signals."""
    market = SyntheticMarket(seed, 24, 8, history=0, past=0, volatility_indices=True, option_sessions=option_sessions)
    settings = load_settings({"STRATEGY_HOME": str(home)})
    market.write(settings.vendor_folder)
    watched = Watchlist(market.watchlist(), tuple(map(instrument, market.plan.context_symbols)))
    definitions = build_defs(**{**default_resources(lambda: settings), "watchlist": watched})
    sessions = market.plan.sessions
    since = sessions[-SCORED_SESSIONS].isoformat()
    with open_instance(settings) as instance:
        result = materialize(
            definitions,
            instance,
            JOB,
            assets=assets_of(definitions, JOB, without=NOT_PUBLISHED),
            keys=(sessions[0].isoformat(), sessions[-1].isoformat()),
            config={"features": {"since": since, "timeframes": ["5m", "15m"]}},
            trigger="test",
        )
    assert result.success
    return Lake(settings.lake_location), sessions
