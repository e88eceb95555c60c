"""The ``demo`` command: writes the synthetic market, materialises the whole graph, returns the leaderboard."""

from datetime import date

from strategy_pipeline.commands.backtest import Studies, test
from strategy_pipeline.commands.leaderboard import BacktestOutcome
from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.assets.flat_files import FLAT_FILE_DATASETS
from strategy_pipeline.defs.automation.sensors import last_session_in_reach
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
from strategy_pipeline.synthetic.plan import PLANTED_DETECTOR, PLANTED_TIMEFRAME, MarketPlan

JOB = "backfill_all"
# The runs of the graph: what every session has, what the last ones have, and what follows from both. One run over all
# would plan options on sessions that have none.
_OF_ALL_SESSIONS = [
    # The synthetic market publishes no hour files.
    *(asset for asset, dataset in FLAT_FILE_DATASETS.items() if "hour" not in dataset),
    "corporate_actions",
    "historical_bars",
    "market_breadth",
    "market_regime_history",
]
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
    window = _keys(market.plan.sessions[0], market.plan.sessions[-1])
    with open_instance(own) as instance:
        _materialise_graph(definitions, instance, market.plan)
        _publish_again(definitions, instance, own, market)
        outcome = test(definitions, instance, [], [], window, PLANTED_TIMEFRAME, None, Studies(), {})
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


def _materialise_graph(definitions: Definitions, instance: Instance, plan: MarketPlan) -> None:
    """Everything up to the signals; options on the last sessions, features on those with minutes."""
    options = plan.options.sessions if plan.options else ()
    spans = ((*plan.past, *plan.history, *plan.sessions), options, plan.sessions)
    for assets, days in zip(_runs(definitions), spans, strict=True):
        if days:
            materialize(definitions, instance, JOB, assets=assets, keys=_keys(days[0], days[-1]), trigger="demo")


def _runs(definitions: Definitions) -> tuple[list[str], list[str], list[str]]:
    """Assets of the three runs, in their order; what is neither of all sessions nor of options alone comes last."""
    everything = assets_of(definitions, JOB)
    of_options = sorted({*assets_of(definitions, "backfill_options")} - {*_OF_ALL_SESSIONS, "features"})
    hours = [asset for asset in FLAT_FILE_DATASETS if asset not in _OF_ALL_SESSIONS]
    rest = sorted({*everything} - {*_OF_ALL_SESSIONS, *of_options, *hours})
    return _OF_ALL_SESSIONS, of_options, rest


def _keys(first: date, last: date) -> tuple[str, str]:
    return first.isoformat(), last.isoformat()


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
    with_options = [day for day in (market.plan.options.sessions if market.plan.options else ()) if day >= revised]
    spans = ((revised,), with_options, (revised, last))
    for assets, days in zip(_runs(definitions), spans, strict=True):
        if days:
            materialize(
                definitions, instance, JOB, assets=assets, keys=_keys(days[0], days[-1]), trigger="published again"
            )
