"""The ``backtest`` command: materialises what the window needs, tests the detectors, returns the leaderboard."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from strategy_pipeline.analytics.alignment import alignment_start
from strategy_pipeline.analytics.lookback import FEATURE_TIMEFRAMES, lookback_start
from strategy_pipeline.commands.leaderboard import BacktestOutcome
from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.assets.flat_files import FLAT_FILE_DATASETS
from strategy_pipeline.defs.backtest_inputs import NATIVE, timeframes_of
from strategy_pipeline.defs.launch import Definitions, Instance, materialize, open_instance, session_range
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.resources import flat_file_store
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.errors import MissingDataError, SettingsError
from strategy_pipeline.ingestion.layout import DATASETS
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import OPTIONS_FLOW_HISTORY
from strategy_pipeline.market import calendar
from strategy_pipeline.market.timeframes import is_finer
from strategy_pipeline.settings import Settings, load_watchlist

UPSTREAM = ["corporate_actions", "historical_bars", "market_breadth", "market_regime_history", "features"]
# A feature row shows the regime of the close before its session.
OF_PREVIOUS_CLOSE = ("market_breadth", "market_regime_history")


@dataclass(frozen=True)
class Studies:
    """What is done beyond a plain test: choosing parameters fold by fold, and draws of noise of each kind (0: none).

    A `study` holds its last sessions out; `open_holdout` judges on them, which works once.
    """

    validate: bool = False
    noise_draws: int = 0
    study: str = ""
    open_holdout: bool = False

    def __post_init__(self) -> None:
        """Raises SettingsError for a holdout without a study."""
        if self.open_holdout and not self.study:
            raise SettingsError("--open-holdout needs --study: name the study whose last sessions were held out.")

    @property
    def assets(self) -> list[str]:
        """The assets these studies are."""
        validated = ["backtest_validation"] if self.validate or self.study else []
        return [*validated, *(["noise_gauntlet"] if self.noise_draws else [])]


def run(
    settings: Settings,
    progress: Progress,
    *,
    detectors: tuple[str, ...],
    symbols: tuple[str, ...],
    start: date,
    end: date,
    timeframe: str,
    output: Path | None,
    studies: Studies,
) -> BacktestOutcome:
    """One run from files to features over window and warm-up, one for trades and report; raises PipelineError."""
    if timeframe not in (*FEATURE_TIMEFRAMES, NATIVE):
        raise SettingsError(f"--timeframe is {timeframe!r}: use one of {', '.join((*FEATURE_TIMEFRAMES, NATIVE))}.")
    names = [catalogue.entry(name).name for name in detectors]
    load_watchlist(settings.watchlist)
    window = session_range(start, end)
    definitions = build_defs(progress=progress)
    with open_instance(settings) as instance:
        timeframes = timeframes_of(timeframe, names or _testable(Lake(settings.lake_location)))
        prepare(settings, definitions, instance, symbols, window, timeframes)
        return test(definitions, instance, names, symbols, window, timeframe, output, studies)


def _testable(lake: Lake) -> list[str]:
    """All detectors, but those of the option tape only where one is stored: their minute rows are many."""
    chosen = catalogue.CATALOGUE if lake.sessions(OPTIONS_FLOW_HISTORY) else catalogue.SEVENTEEN
    return [detector.name for detector in chosen]


def prepare(
    settings: Settings,
    definitions: Definitions,
    instance: Instance,
    symbols: Sequence[str],
    window: tuple[str, str],
    timeframes: Sequence[str],
) -> None:
    """Files, bars, regimes and features of the window, and what the features look back at before it."""
    first = date.fromisoformat(window[0])
    since = {
        asset: min(_first_needed(name, timeframe, first) for timeframe in timeframes)
        for asset, name in FLAT_FILE_DATASETS.items()
    }
    last = date.fromisoformat(window[1])
    store = flat_file_store(settings)
    # A data set without a single file in the range would only fill the event log.
    since = {asset: day for asset, day in since.items() if store.list(DATASETS[FLAT_FILE_DATASETS[asset]], day, last)}
    if not since:
        raise MissingDataError(
            f"{store.location} has no aggregate files from {first} to {last}: choose other dates, or point "
            "FLAT_FILES_URL at files of these."
        )
    config: dict[str, dict[str, object]] = {asset: {"since": day.isoformat()} for asset, day in since.items()}
    config["historical_bars"] = config["corporate_actions"] = {"symbols": list(symbols)}
    config["features"] = {"since": window[0], "timeframes": list(timeframes)}
    close_before = calendar.previous_session(first) if first > calendar.first_session() else first
    config |= {asset: {"since": close_before.isoformat()} for asset in OF_PREVIOUS_CLOSE}
    materialize(
        definitions,
        instance,
        "backfill_bars",
        assets=[*since, *UPSTREAM],
        keys=session_range(min(since.values()), last),
        config=config,
        trigger="backtest",
    )


def _first_needed(dataset: str, timeframe: str, first: date) -> date:
    """The first session of which a data set's file is read for feature rows of `timeframe` from `first` on.

    Minute files, the largest, go back as far as the rows' own timeframe looks; hour and day files as far as any column.
    """
    if DATASETS[dataset].grain == "day":
        start = min(lookback_start(timeframe, first), alignment_start("1d", first))
    elif DATASETS[dataset].grain != "minute":
        start = min(lookback_start(timeframe, first), lookback_start("1h", first))
    else:
        start = lookback_start(timeframe if is_finer("15m", timeframe) else "15m", first)
    return max(start, calendar.first_session())


def test(
    definitions: Definitions,
    instance: Instance,
    names: Sequence[str],
    symbols: Sequence[str],
    window: tuple[str, str],
    timeframe: str,
    output: Path | None,
    studies: Studies,
) -> BacktestOutcome:
    """Trades of all detectors (or of `names`) and the report in one run; the outcome to show."""
    choice = {
        "only": list(names),
        "timeframe": timeframe,
        "symbols": list(symbols),
        "start": window[0],
        "end": window[1],
    }
    result = materialize(
        definitions,
        instance,
        "run_backtests",
        assets=["backtest_trades", *studies.assets, "detector_leaderboard", "backtest_report"],
        keys=(catalogue.ALL_NAMES[0], catalogue.ALL_NAMES[-1]),
        config={
            "backtest_trades": choice,
            "backtest_validation": {**choice, "study": studies.study, "open_holdout": studies.open_holdout},
            "noise_gauntlet": {**choice, "draws": studies.noise_draws},
            "backtest_report": {**choice, "output": str(output.expanduser().resolve()) if output else ""},
        },
        trigger="backtest",
    )
    (event,) = result.asset_materializations_for_node("backtest_report")
    said = event.metadata
    title = (
        f"{timeframe} bars, {window[0]} to {window[1]}, {said['sessions'].value} sessions with data; "
        "after costs, no result is a promise"
    )
    lines = [f"{name.upper():<5} {said[name].value}" for name in ("html", "json", "csv")]
    return BacktestOutcome(title, said["leaderboard"].value, lines)  # type: ignore[arg-type]
