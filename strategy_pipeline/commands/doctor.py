"""The ``doctor`` command: looks at everything the pipeline leans on and says for each how it is and how to mend it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path

from strategy_pipeline.errors import NotEntitledError, NotPublishedError, PipelineError
from strategy_pipeline.settings import Settings, load_settings, load_watchlist

OK, NOTE, BROKEN = "ok", "note", "BROKEN"
PINNED = {
    "dagster": "1.13.27",
    "dagster-webserver": "1.13.27",
    "dagster-dg-cli": "1.13.27",
    "dagster-aws": "0.29.27",
    "dagster-postgres": "0.29.27",
}
NEEDED_FREE_BYTES = 2_000_000_000
# Below this not even the run's own log fits for sure.
LEAST_FREE_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `text` says how it is and, when it is not well, how to mend it."""

    state: str
    subject: str
    text: str

    @property
    def is_broken(self) -> bool:
        """Whether the pipeline cannot work like this."""
        return self.state == BROKEN

    @property
    def line(self) -> str:
        """The finding as a line."""
        return f"{self.state:<7}{self.subject:<12}{self.text}"


def examine() -> list[Finding]:
    """Findings in the order in which data passes through; without settings nothing else can be looked at."""
    first = [_versions(), _calendar()]
    try:
        settings = load_settings()
    except PipelineError as error:
        return [*first, Finding(BROKEN, "settings", str(error))]
    checks: list[tuple[str, Callable[[Settings], Finding]]] = [
        ("watchlist", _watchlist),
        ("disk", _disk),
        ("flat files", _flat_files),
        ("REST", _rest),
        ("lake", _lake),
        ("dagster", _dagster),
        ("postgres", _postgres),
    ]
    settings_line = Finding(OK, "settings", f"read; STRATEGY_HOME is {settings.strategy_home}")
    return [*first, settings_line, *(_guarded(subject, check, settings) for subject, check in checks)]


def _guarded(subject: str, check: Callable[[Settings], Finding], settings: Settings) -> Finding:
    try:
        return check(settings)
    except PipelineError as error:
        return Finding(BROKEN, subject, str(error))
    except Exception as error:
        # A check that breaks is a finding as well: the others still have something to say.
        words = (str(error).splitlines() or [""])[0][:200]
        return Finding(BROKEN, subject, f"{type(error).__name__}: {words}; the lines above may say why.")


def _versions() -> Finding:
    python = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding(BROKEN, "versions", f"Python {python} is not supported: use 3.11 to 3.13.")
    wrong = []
    for name, wanted in PINNED.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "missing"
        if found != wanted:
            wrong.append(f"{name} is {found}, not {wanted}")
    if wrong:
        return Finding(BROKEN, "versions", f"{'; '.join(wrong)}: install from requirements.lock (make demo does).")
    return Finding(OK, "versions", f"Python {python}, Dagster {PINNED['dagster']}")


def _calendar() -> Finding:
    from strategy_pipeline.market import calendar

    now = datetime.now(UTC)
    try:
        newest = calendar.last_completed_session(now)
    except PipelineError as error:
        return Finding(BROKEN, "calendar", f"{error} Generate the calendar anew (market/generate_calendar.py).")
    left = (calendar.last_session() - now.date()).days
    if left < 90:
        return Finding(NOTE, "calendar", f"ends {calendar.last_session()}: generate it anew before then.")
    return Finding(OK, "calendar", f"{calendar.describe_span()}; the last completed session is {newest}")


def _watchlist(settings: Settings) -> Finding:
    symbols = load_watchlist(settings.watchlist).symbols
    return Finding(OK, "watchlist", f"{len(symbols)} symbols from {settings.watchlist}")


def _disk(settings: Settings) -> Finding:
    from strategy_pipeline.lake import files

    probe = settings.strategy_home / ".doctor"
    files.write_bytes(probe, b"")
    files.remove(probe)
    free = files.free_bytes(settings.strategy_home)
    state = OK if free >= NEEDED_FREE_BYTES else NOTE if free >= LEAST_FREE_BYTES else BROKEN
    advice = "" if state == OK else "; make room or point STRATEGY_HOME elsewhere"
    return Finding(state, "disk", f"{free / 1e9:.1f} GB free below {settings.strategy_home}{advice}")


def _flat_files(settings: Settings) -> Finding:
    from strategy_pipeline.defs.resources import flat_file_store
    from strategy_pipeline.ingestion.layout import DATASETS

    location = settings.flat_files_location
    if not location.startswith("s3://") and not Path(location).is_dir():
        if settings.flat_files_url is None:
            return Finding(
                NOTE, "flat files", f"{location} is empty: run 'strategy-pipeline demo', or set the vendor's keys."
            )
        return Finding(BROKEN, "flat files", f"The folder {location} is not there: correct FLAT_FILES_URL.")
    store = flat_file_store(settings)
    today = datetime.now(UTC).date()
    # A bucket lists a year at a time; the last two are enough to see that it answers.
    since = date(today.year - 1, 1, 1) if location.startswith("s3://") else date(1998, 1, 2)
    watched = [one for one in DATASETS.values() if one.feeds and one.file_per == "session"]
    found = 0
    refused: list[str] = []
    for dataset in watched:
        try:
            found += len(store.list(dataset, since, today))
        except NotEntitledError:
            if len(refused) == len(watched) - 1:
                raise
            refused.append(dataset.name)
    beside = f"; not entitled to {', '.join(refused)}" if refused else ""
    return Finding(OK, "flat files", f"{store.location}: {found} files of the watched data sets{beside}")


def _rest(settings: Settings) -> Finding:
    if settings.massive_api_key is None:
        return Finding(NOTE, "REST", "MASSIVE_API_KEY is not set: only flat files are read.")
    from strategy_pipeline.defs.resources import vendor_api
    from strategy_pipeline.ingestion.vendor_api import RetryPolicy

    try:
        codes = vendor_api(settings, retry=RetryPolicy(attempts=2)).conditions().records
    except NotPublishedError:
        # Recorded pages, or an address that is not the vendor's.
        other = f"{settings.massive_base_url} answers and is not the vendor's whole REST side: check MASSIVE_BASE_URL."
        return Finding(NOTE, "REST", other)
    return Finding(
        OK, "REST", f"{settings.massive_base_url} answers and accepts the key ({len(codes)} condition codes)"
    )


def _lake(settings: Settings) -> Finding:
    from strategy_pipeline.lake.store import Lake
    from strategy_pipeline.lake.tables import HISTORICAL_BARS

    sessions = Lake(settings.lake_location).sessions(HISTORICAL_BARS)
    held = f"bars of {len(sessions)} sessions, {sessions[0]} to {sessions[-1]}" if sessions else "no bars yet"
    return Finding(OK, "lake", f"{settings.lake_location}: {held}")


def _dagster(settings: Settings) -> Finding:
    from strategy_pipeline.defs.launch import open_instance, storage_of

    with open_instance(settings) as instance:
        runs = instance.get_runs_count()
        storage, is_quick = storage_of(instance)
    place = "DAGSTER_POSTGRES_URL" if settings.dagster_postgres_url is not None else str(settings.dagster_home)
    if is_quick:
        return Finding(OK, "dagster", f"{place}: {runs} runs, stored in {storage}")
    return Finding(
        NOTE,
        "dagster",
        f"{place}: {runs} runs, stored in {storage}, which is slow: install dagster=={PINNED['dagster']}.",
    )


def _postgres(settings: Settings) -> Finding:
    if settings.database_url is None:
        return Finding(OK, "postgres", "no serving copy is configured, and none is needed")
    from strategy_pipeline.defs.resources import database_answers

    if not database_answers(settings.database_url):
        return Finding(BROKEN, "postgres", "DATABASE_URL cannot be reached: check host, port and password.")
    return Finding(OK, "postgres", "DATABASE_URL can be reached")
