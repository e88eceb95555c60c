"""The ``demo`` command: writes the synthetic market, materialises the whole graph, returns the leaderboard."""

from datetime import date

from strategy_pipeline.commands.backtest import test
from strategy_pipeline.commands.leaderboard import BacktestOutcome
from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.assets.flat_files import FLAT_FILE_DATASETS
from strategy_pipeline.defs.automation.sensors import UPSTREAM_OF_FEATURES, last_session_in_reach
from strategy_pipeline.defs.launch import Definitions, Instance, assets_of, materialize, open_instance
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.resources import default_resources
from strategy_pipeline.errors import SettingsError
from strategy_pipeline.lake import files
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import FEATURES
from strategy_pipeline.market.symbols import instrument
from strategy_pipeline.settings import Settings, Watchlist
from strategy_pipeline.synthetic.files import SyntheticMarket
from strategy_pipeline.synthetic.plan import PLANTED_DETECTOR, PLANTED_TIMEFRAME

JOB = "backfill_all"
# The synthetic market publishes no hour files.
_NOT_PUBLISHED = [asset for asset, dataset in FLAT_FILE_DATASETS.items() if "hour" in dataset]
# Sessions of day bars that give the first session with minutes its regime, and how many of the last ones have options.
PAST_SESSIONS, OPTION_SESSIONS = 200, 15


def run(settings: Settings, progress: Progress, *, sessions: int, symbols: int, seed: int) -> BacktestOutcome:
    """Whole graph, then the file that the vendor publishes again and what follows from it, then trades and report.

    A second run finds everything unchanged. Raises SettingsError when FLAT_FILES_URL names real files.
    """
    if settings.flat_files_url and settings.flat_files_location != str(settings.vendor_folder):
        raise SettingsError(
            f"FLAT_FILES_URL is {settings.flat_files_url!r} (text): the demo writes its own market, so leave it unset."
        )
    market = demo_market(seed, sessions, symbols)
    market.write(settings.vendor_folder)
    own = settings.model_copy(update={"flat_files_url": str(settings.vendor_folder)})
    definitions = build_defs(
        **{
            **default_resources(lambda: own),
            "watchlist": Watchlist(market.watchlist(), tuple(map(instrument, market.plan.context_symbols))),
            "progress": progress,
        }
    )
    days = (*market.plan.past, *market.plan.history, *market.plan.sessions)
    window = (market.plan.sessions[0].isoformat(), market.plan.sessions[-1].isoformat())
    with open_instance(own) as instance:
        _materialise_graph(definitions, instance, days, window)
        _publish_again(definitions, instance, own, market)
        outcome = test(definitions, instance, [], [], window, PLANTED_TIMEFRAME, None)
    found = [str(row["detector"]) for row in outcome.rows if isinstance(row["low"], float) and row["low"] > 0.0]
    lines = [
        *outcome.lines,
        f"Interval above zero after costs: {', '.join(found) or 'none'}.",
        f"The market is synthetic (seed {seed}, {sessions} sessions, {symbols} symbols); the edge planted in it is "
        f"{PLANTED_DETECTOR}'s.",
        "make ui opens the graph that has just been materialised, strategy-pipeline scan --once its last signals.",
    ]
    return BacktestOutcome(outcome.title, outcome.rows, lines)


def demo_market(seed: int, sessions: int, symbols: int) -> SyntheticMarket:
    """The demo's market: volatility indices, a past that gives every session a regime, and options at its end."""
    return SyntheticMarket(
        seed,
        sessions,
        symbols,
        past=PAST_SESSIONS,
        volatility_indices=True,
        option_sessions=min(OPTION_SESSIONS, sessions - 1),
    )


def _materialise_graph(
    definitions: Definitions, instance: Instance, days: tuple[date, ...], window: tuple[str, str]
) -> None:
    """Everything up to the features; features from the first session with minutes on."""
    materialize(
        definitions,
        instance,
        JOB,
        assets=assets_of(definitions, JOB, without=_NOT_PUBLISHED),
        keys=(days[0].isoformat(), days[-1].isoformat()),
        config={"features": {"since": window[0]}},
        trigger="demo",
    )


def _publish_again(definitions: Definitions, instance: Instance, settings: Settings, market: SyntheticMarket) -> None:
    """Publishes the corrected version of one file and re-runs what was built on the first, once."""
    revised = market.plan.revised.session
    path = settings.vendor_folder / market.revised_key
    before = files.stat_of(path)
    market.publish_revision(settings.vendor_folder)
    if files.stat_of(path) == before:
        return
    with_features = {day.isoformat() for day in Lake(settings.lake_location).sessions(FEATURES, timeframe="15m")}
    last = last_session_in_reach(revised, with_features)
    materialize(
        definitions,
        instance,
        JOB,
        assets=assets_of(definitions, JOB, without=_NOT_PUBLISHED),
        keys=(revised.isoformat(), last.isoformat()),
        config={name: {"only": [revised.isoformat()]} for name in UPSTREAM_OF_FEATURES},
        trigger="published again",
    )
