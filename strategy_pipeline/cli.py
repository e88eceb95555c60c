"""The command line: usage, one-sentence errors and what is printed. The work is done by materialising Dagster assets.

Everything heavy is imported inside the command that needs it, so that ``--help`` answers at once.
"""

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strategy_pipeline.errors import PipelineError, SettingsError, StorageError, SymbolError

if TYPE_CHECKING:
    from strategy_pipeline.settings import Settings

DONE, FAILED, WRONG_USAGE = 0, 1, 2

app = typer.Typer(
    name="strategy-pipeline",
    help="From a vendor's market-data files to scored signals and honestly tested strategies.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
backfill = typer.Typer(
    help="Brings the vendor's files here and turns them into bars.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(backfill, name="backfill")

StartOption = Annotated[str | None, typer.Option("--start", help="First session, YYYY-MM-DD.")]
EndOption = Annotated[str | None, typer.Option("--end", help="Last session, YYYY-MM-DD.")]
DaysOption = Annotated[int | None, typer.Option("--days", min=1, help="The last N calendar days instead of dates.")]
SymbolsOption = Annotated[str | None, typer.Option("--symbols", help="Comma-separated; default: the watchlist.")]


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Settings come from the environment and .env; see the README for the list."""
    del debug  # main() looks for it, so that errors of every kind obey it


@app.command()
def demo(
    sessions: Annotated[int, typer.Option(min=20, help="Sessions of the synthetic market.")] = 90,
    symbols: Annotated[int, typer.Option(min=6, help="Symbols of the synthetic market.")] = 10,
    seed: Annotated[int, typer.Option(help="Another seed is another market.")] = 7,
) -> None:
    """Write the synthetic market, materialise the whole graph for it, and print the leaderboard."""
    from strategy_pipeline.commands import demo as command

    with progress_display() as progress:
        outcome = command.run(settings(), progress, sessions=sessions, symbols=symbols, seed=seed)
    print_backtest(outcome)


@backfill.command()
def download(
    dataset: Annotated[str, typer.Option(help="Vendor data set, such as us_stocks_sip/minute_aggs_v1.")],
    start: Annotated[str, typer.Option(help="First session, YYYY-MM-DD.")],
    end: Annotated[str, typer.Option(help="Last session, YYYY-MM-DD.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Fetch what is here and unchanged again.")] = False,
) -> None:
    """Mirror the vendor's files: parallel, resumable, skipping what is here and unchanged."""
    from strategy_pipeline.commands import backfill as command

    first, last = period(start, end)
    with progress_display() as progress:
        line = command.download(settings(), progress, dataset, first, last, overwrite=overwrite)
    say(line)


@backfill.command()
def parse(
    dataset: Annotated[str, typer.Option(help="Vendor data set, such as us_stocks_sip/minute_aggs_v1.")],
    start: Annotated[str, typer.Option(help="First session, YYYY-MM-DD.")],
    end: Annotated[str, typer.Option(help="Last session, YYYY-MM-DD.")],
    symbols: Annotated[
        str | None, typer.Option("--symbols", help="Comma-separated; built besides those of the watchlist.")
    ] = None,
) -> None:
    """Turn the vendor's files of a data set into bars, those of options into chains and flow, quotes into spreads."""
    from strategy_pipeline.commands import backfill as command

    (first, last), wanted = period(start, end), listed(symbols)
    with progress_display() as progress:
        line = command.parse(settings(), progress, dataset, first, last, symbols=wanted)
    say(line)


@backfill.command()
def hybrid(
    symbols: SymbolsOption = None,
    days: Annotated[int, typer.Option("--days", min=1, help="The last N calendar days.")] = 30,
) -> None:
    """Bars of the last days: files where they are published, provisional bars over REST for the rest."""
    from strategy_pipeline.commands import backfill as command

    (first, last), wanted = window(None, None, days), listed(symbols)
    with progress_display() as progress:
        line = command.hybrid(settings(), progress, wanted, first, last)
    say(line)


@app.command()
def backtest(
    detector: Annotated[list[str] | None, typer.Option(help="One detector; repeat for more. Default: all.")] = None,
    symbols: SymbolsOption = None,
    start: StartOption = None,
    end: EndOption = None,
    days: DaysOption = None,
    timeframe: Annotated[
        str, typer.Option(help="Bars the signals are taken from; native: each detector's own.")
    ] = "15m",
    output: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None,
    validate: Annotated[
        bool, typer.Option("--validate", help="Choose exits on some sessions, judge on other ones.")
    ] = False,
    gauntlet: Annotated[
        int, typer.Option(min=0, help="Markets without an edge to draw of each kind; 20 is usual.")
    ] = 0,
    study: Annotated[str, typer.Option(help="As --validate, with the last sessions held out under this name.")] = "",
    open_holdout: Annotated[bool, typer.Option("--open-holdout", help="Judge the study on them; works once.")] = False,
    gates: Annotated[
        str, typer.Option(help="base_score; full: a firing must be an accepted composite signal.")
    ] = "base_score",
    target_mode: Annotated[
        str, typer.Option(help="fixed_atr; signal_levels (of full gates); dte: by days to expiry of the option.")
    ] = "fixed_atr",
    instrument: Annotated[
        str, typer.Option(help="underlying; option: with target mode dte, the option bought is valued as well.")
    ] = "underlying",
) -> None:
    """Test detectors on stored or fetched bars, write JSON, CSV and HTML, and print the leaderboard."""
    from strategy_pipeline.commands import backtest as command

    (first, last), wanted = window(start, end, days), listed(symbols)
    studies = command.Studies(validate, gauntlet, study, open_holdout)
    ensure_output(output)
    with progress_display() as progress:
        outcome = command.run(
            settings(),
            progress,
            detectors=tuple(detector or ()),
            symbols=wanted,
            start=first,
            end=last,
            timeframe=timeframe,
            output=output,
            studies=studies,
            assumptions={"gates": gates, "target_mode": target_mode, "instrument": instrument},
        )
    print_backtest(outcome)


@app.command()
def ingest(
    once: Annotated[bool, typer.Option("--once", help="One snapshot, of the newest quarter hour.")] = False,
    symbols: SymbolsOption = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="MOMENT",
            help="One snapshot of that moment, from recorded pages: 2015-12-24T13:00 (New York) or with an offset.",
        ),
    ] = None,
) -> None:
    """Snapshot the option chains over REST every 15 minutes of the session: Greeks, open interest, dealer gamma."""
    from strategy_pipeline.commands import ingest as command

    wanted = command.Wanted(listed(symbols), None if as_of is None else moment(as_of))
    with progress_display() as progress:
        for line in command.run(settings(), progress, wanted, once=once):
            say(line)


@app.command()
def scan(
    once: Annotated[
        bool, typer.Option("--once", help="Scan the newest bars and end; else again for every bar.")
    ] = False,
    symbols: SymbolsOption = None,
    timeframe: Annotated[
        str | None, typer.Option(help="Bars the signals are taken from. Default: each detector's own.")
    ] = None,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Show the firings that were not emitted as well.")
    ] = False,
) -> None:
    """Score the newest stored bars and print the signals, the best first; nothing is stored."""
    import time

    from strategy_pipeline.commands import scan as command
    from strategy_pipeline.lake.store import Lake

    asked, wanted = settings(), listed(symbols)
    lake = Lake(asked.lake_location)
    for found in command.scans(lambda: command.newest(lake, asked, timeframe or "", wanted), time.sleep, once=once):
        print_tables(*command.tables(found, rejected=rejected))


@app.command()
def explain(
    signal_id: Annotated[str, typer.Argument(help="A signal's id, or a beginning of it that is unique.")],
) -> None:
    """Print why a signal scores what it scores, down to the last contribution, and the files it comes from."""
    from strategy_pipeline.commands import explain as command
    from strategy_pipeline.lake.store import Lake

    for line in command.lines(Lake(settings().lake_location), signal_id):
        say(line)


@app.command()
def doctor() -> None:
    """Check settings, keys, S3, lake, calendar, versions and disk; one line each, with the mend."""
    from strategy_pipeline.commands import doctor as command

    findings = command.examine()
    for one in findings:
        say(one.line)
    if any(one.is_broken for one in findings):
        raise typer.Exit(FAILED)


@app.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65_535, help="Port on this machine.")] = 3000) -> None:
    """Open Dagster (web page and daemon) on this machine's data, reachable from this machine only."""
    from strategy_pipeline.commands import ui as command

    raise typer.Exit(command.serve(settings(), port))


def settings() -> "Settings":
    """The settings; raises SettingsError."""
    from strategy_pipeline.settings import load_settings

    return load_settings()


def day(text: str) -> date:
    """A date of the command line, in the one form YYYY-MM-DD; raises SettingsError."""
    try:
        # Python alone would take 20240131 and 2024-W05-3 as well.
        if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise SettingsError(f"{text!r} is not a date: write YYYY-MM-DD, such as 2024-01-31.")


def moment(text: str) -> datetime:
    """A moment of the command line, New York time unless it has an offset; raises SettingsError."""
    from strategy_pipeline.market.calendar import NEW_YORK

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{text!r} is not a moment: write 2024-01-31T10:15 for New York time, or 2024-01-31T15:15:00Z."
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=NEW_YORK)


def period(start: str, end: str) -> tuple[date, date]:
    """First and last date of the command line; raises SettingsError when they are no dates or the wrong way round."""
    first, last = day(start), day(end)
    _refuse_swapped(first, last)
    return first, last


def _refuse_swapped(first: date, last: date) -> None:
    if first > last:
        raise SettingsError(f"--start {first} lies after --end {last}: swap them.")


def listed(text: str | None) -> tuple[str, ...]:
    """Comma-separated symbols as canonical names, in the given order, each once; raises SettingsError."""
    from strategy_pipeline.market.symbols import canonical_symbol

    if text is None:
        return ()
    try:
        found = tuple(dict.fromkeys(canonical_symbol(part.strip()) for part in text.split(",") if part.strip()))
    except SymbolError as error:
        raise SettingsError(f"--symbols: {error}") from None
    if not found:
        raise SettingsError("--symbols names no symbol: write SPY,AAPL or leave it out.")
    return found


def window(start: str | None, end: str | None, days: int | None) -> tuple[date, date]:
    """First and last date of a backtest: dates, or the last N calendar days up to the last completed session."""
    from datetime import UTC

    from strategy_pipeline.market.calendar import last_completed_session

    if days is not None and (start is not None or end is not None):
        raise SettingsError("--days and --start/--end exclude each other: give one of the two.")
    last = last_completed_session(datetime.now(UTC)) if end is None else day(end)
    try:
        first = last - timedelta(days=(days or 90) - 1) if start is None else day(start)
    except OverflowError:
        raise SettingsError(f"--days {days or 90} reaches back before the first date there is: give fewer.") from None
    _refuse_swapped(first, last)
    return first, last


def ensure_output(folder: Path | None) -> None:
    """Makes the folder for the report; raises SettingsError when it cannot be made or written to."""
    from strategy_pipeline.lake.files import ensure_writable_folder

    if folder is None:
        return
    try:
        ensure_writable_folder(folder)
    except StorageError as error:
        raise SettingsError(f"--output: {error}") from None


@contextmanager
def progress_display() -> Iterator[Any]:
    """A progress bar on a terminal, plain lines otherwise; neither when LOG_LEVEL asks for warnings or errors only."""
    from strategy_pipeline.defs.progress import NoProgress, ProgressLines

    if settings().log_level in ("WARNING", "ERROR"):
        yield NoProgress()
        return
    if not sys.stderr.isatty():
        yield ProgressLines(say)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        yield ProgressBars(bars)


class ProgressBars:
    """One bar for each piece of work."""

    def __init__(self, bars: Any) -> None:
        self.bars = bars

    @contextmanager
    def track(self, label: str, total: int) -> Iterator[Any]:
        """A bar that fills up to `total`."""
        task = self.bars.add_task(label, total=total)
        yield lambda count: self.bars.advance(task, count)
        self.bars.update(task, completed=total)


def say(line: str) -> None:
    """A plain line on standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def print_backtest(outcome: Any) -> None:
    """The leaderboard, and where the report lies."""
    from rich.console import Console

    from strategy_pipeline.commands.leaderboard import table

    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table(outcome.rows, outcome.title))
    for line in outcome.lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def print_tables(*tables: Any) -> None:
    """Tables on standard output, as wide as the terminal."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 180)
    for table in tables:
        console.print(table)


def main() -> None:
    """Runs the command line: exit status 0 done, 1 the work failed, 2 wrong usage or settings."""
    from typer import Abort

    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        status = app([one for one in arguments if one != "--debug"], standalone_mode=False)
    except _usage_errors() as error:
        status = _complain(f"{error.format_message()} Try --help.", WRONG_USAGE, debug)
    except (Abort, KeyboardInterrupt):
        status = _complain("Stopped; what was finished is kept, the same command continues.", FAILED, debug)
    except Exception as error:
        known = known_error(error)
        if known is not None:
            status = _complain(str(known), WRONG_USAGE if isinstance(known, SettingsError) else FAILED, debug)
        else:
            words = " ".join(str(error).split())[:300]
            status = _complain(f"Unexpected {type(error).__name__}: {words} (--debug shows where).", FAILED, debug)
    sys.exit(status or DONE)


def known_error(error: BaseException) -> PipelineError | None:
    """The first error with a sentence among an error and what led to it, such as one that Dagster wrapped.

    A full disk becomes a StorageError, whoever met it. None when nothing in the chain is known.
    """
    chain = list(_with_causes(error))
    for one in chain:
        if isinstance(one, PipelineError):
            return one
    for one in chain:
        trouble = _disk_trouble(one)
        if trouble is not None:
            return StorageError(
                f"The disk that holds STRATEGY_HOME ({settings().strategy_home}) {trouble}: make room or set "
                "STRATEGY_HOME to another folder."
            )
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _disk_trouble(error: BaseException) -> str | None:
    """What is wrong with the disk when that is what `error` says: of the system, SQLite, or SQLAlchemy around it."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "is full"
    # By name, because sqlite3 and SQLAlchemy have each their own and neither is needed here.
    if type(error).__name__ != "OperationalError":
        return None
    if "database or disk is full" in str(error):
        return "is full"
    # SQLite says no more than this when its journal finds no room.
    return "is full or damaged" if "disk I/O error" in str(error) else None


def _usage_errors() -> Any:
    """The exception for wrong usage: typer carries its own click, older ones used the package of that name."""
    import importlib.util

    module = "typer._click.exceptions" if importlib.util.find_spec("typer._click") else "click.exceptions"
    return importlib.import_module(module).UsageError


def _complain(sentence: str, status: int, debug: bool) -> int:
    """Prints the error and hands back the exit status; re-raises for the traceback when `debug`."""
    if debug and sys.exc_info()[1] is not None:
        raise
    sys.stderr.write(f"strategy-pipeline: {sentence}\n")
    return status


if __name__ == "__main__":
    main()
