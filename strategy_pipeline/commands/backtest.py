"""The ``backtest`` command: materialises what the window needs, tests the detectors, returns the leaderboard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from strategy_pipeline.analytics.lookback import FEATURE_TIMEFRAMES
from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.commands.leaderboard import BacktestOutcome
from strategy_pipeline.commands.preparation import Window, prepare
from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.backtest_inputs import NATIVE, timeframes_of
from strategy_pipeline.defs.launch import Definitions, Instance, materialize, open_instance, session_range
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.errors import SettingsError
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import OPTIONS_FLOW_HISTORY
from strategy_pipeline.settings import Settings, load_watchlist


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
    assumptions: Mapping[str, str],
) -> BacktestOutcome:
    """One run from files to features over window and warm-up, one for trades and report; raises PipelineError."""
    if timeframe not in (*FEATURE_TIMEFRAMES, NATIVE):
        raise SettingsError(f"--timeframe is {timeframe!r}: use one of {', '.join((*FEATURE_TIMEFRAMES, NATIVE))}.")
    names = [catalogue.entry(name).name for name in detectors]
    load_watchlist(settings.watchlist)
    config = BacktestConfig(timeframe=timeframe, **assumptions)  # type: ignore[arg-type]
    keys = session_range(start, end)
    definitions = build_defs(progress=progress)
    with open_instance(settings) as instance:
        timeframes = timeframes_of(timeframe, names or _testable(Lake(settings.lake_location)))
        signal_timeframe = "" if timeframe == NATIVE else timeframe
        window = Window(*keys, symbols, tuple(timeframes), config.gates == "full", signal_timeframe)
        prepare(settings, definitions, instance, window)
        return test(definitions, instance, names, symbols, keys, timeframe, output, studies, assumptions)


def _testable(lake: Lake) -> list[str]:
    """All detectors, but those of the option tape only where one is stored: their minute rows are many."""
    chosen = catalogue.CATALOGUE if lake.sessions(OPTIONS_FLOW_HISTORY) else catalogue.SEVENTEEN
    return [detector.name for detector in chosen]


def test(
    definitions: Definitions,
    instance: Instance,
    names: Sequence[str],
    symbols: Sequence[str],
    window: tuple[str, str],
    timeframe: str,
    output: Path | None,
    studies: Studies,
    assumptions: Mapping[str, str],
) -> BacktestOutcome:
    """Trades of all detectors (or of `names`) and the report in one run; the outcome to show."""
    choice = {
        "only": list(names),
        "timeframe": timeframe,
        "symbols": list(symbols),
        "start": window[0],
        "end": window[1],
        "assumptions": dict(assumptions),
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
