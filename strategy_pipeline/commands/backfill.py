"""The ``backfill`` commands: mirror the vendor's files, and turn them into bars; each tells what was not there."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from strategy_pipeline.commands import option_backfill
from strategy_pipeline.commands.coverage import counted, some, without_rows
from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.assets.bars import REFUSALS
from strategy_pipeline.defs.assets.flat_files import FLAT_FILE_DATASETS, OPTION_FILE_DATASETS, QUOTE_FILE_DATASETS
from strategy_pipeline.defs.launch import Definitions, Instance, materialize, open_instance, session_range, written
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.resources import default_resources, flat_file_store
from strategy_pipeline.errors import DataError, MissingDataError, SettingsError
from strategy_pipeline.ingestion.flat_files import FlatFileStore
from strategy_pipeline.ingestion.hybrid import IS_LIVE, unpublished
from strategy_pipeline.ingestion.layout import Dataset, dataset_named, first_day_of_key, key_for
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.ingestion.parse import watched_symbols
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import HISTORICAL_BARS, QUARANTINE, QUOTED_SPREADS
from strategy_pipeline.market.calendar import sessions_between
from strategy_pipeline.settings import Settings, load_watchlist

_ASSET_OF = {
    dataset: asset for asset, dataset in (FLAT_FILE_DATASETS | OPTION_FILE_DATASETS | QUOTE_FILE_DATASETS).items()
}


def asset_for(dataset: str) -> str:
    """The asset that mirrors a data set; raises SettingsError when the data set is unknown or has none yet."""
    name = dataset_named(dataset).name
    if name not in _ASSET_OF:
        raise SettingsError(f"{name} is not part of the graph yet: use one of {', '.join(sorted(_ASSET_OF))}.")
    return _ASSET_OF[name]


def _job_of(asset: str) -> str:
    """The job that mirrors an asset's files."""
    if asset in QUOTE_FILE_DATASETS:
        return "backfill_quotes"
    return "backfill_options" if asset in OPTION_FILE_DATASETS else "backfill_bars"


def download(settings: Settings, progress: Progress, dataset: str, start: date, end: date, *, overwrite: bool) -> str:
    """Mirrors the files of a data set and returns lines on what is here now; raises MissingDataError without any."""
    asset, keys = asset_for(dataset), session_range(start, end)
    store = flat_file_store(settings)
    with open_instance(settings) as instance:
        result = materialize(
            build_defs(progress=progress),
            instance,
            _job_of(asset),
            assets=[asset],
            keys=keys,
            config={asset: {"overwrite": overwrite}},
            trigger="backfill download",
        )
        count = len(written(instance, result.run_id, asset))
    days = _days(keys)
    if not count:
        raise MissingDataError(
            f"No file of {dataset} from {keys[0]} to {keys[1]} is published at {store.location}: choose other dates, "
            "or point FLAT_FILES_URL at files of these."
        )
    is_local = store.local_path(key_for(dataset_named(dataset), days[0])) is not None
    where = f"used in place, where they are: {store.location}" if is_local else f"in {settings.raw_folder}"
    lines = [f"{dataset}: files of {counted(count)} from {keys[0]} to {keys[1]} are {where}."]
    if missing := len(days) - count:
        lines.append(f"{missing} of {counted(len(days))} {'has' if missing == 1 else 'have'} no file there.")
    return "\n".join(lines)


def parse(
    settings: Settings, progress: Progress, dataset: str, start: date, end: date, *, symbols: tuple[str, ...]
) -> str:
    """Fetches what is missing of a data set, builds the bars, and returns lines on what is in the lake and what is not.

    From option files the option tables are built, from stock quotes the spreads. Raises MissingDataError when there is
    no bar of any of `symbols`.
    """
    asset, keys = asset_for(dataset), session_range(start, end)
    if asset in OPTION_FILE_DATASETS:
        return option_backfill.parse(settings, progress, dataset, start, end, symbols=symbols)
    if asset in QUOTE_FILE_DATASETS:
        return _parse_quotes(settings, progress, asset, keys, symbols)
    watched = load_watchlist(settings.watchlist)
    with open_instance(settings) as instance:
        result = materialize(
            build_defs(progress=progress),
            instance,
            "backfill_bars",
            assets=[asset, "historical_bars"],
            keys=keys,
            config={"historical_bars": {"symbols": list(symbols)}},
            trigger="backfill parse",
        )
        count = len(written(instance, result.run_id, "historical_bars"))
        refusals = _refusals(instance, result.run_id)
    days, lake, kind = _days(keys), Lake(settings.lake_location), dataset_named(dataset)
    asked = [*symbols, *(one for one in watched_symbols(kind, watched.instruments) if one not in symbols)]
    absent = without_rows(lake, HISTORICAL_BARS, days, asked)
    if symbols and set(symbols) <= set(absent):
        raise MissingDataError(
            f"No row of {some(symbols)} in the files of {keys[0]} to {keys[1]}: check the spelling, and that the data "
            "set holds such symbols."
        )
    verb = "is" if count == 1 else "are"
    lines = [f"historical_bars: {counted(count)} from {keys[0]} to {keys[1]} {verb} in {settings.lake_location}."]
    lines += _unusable(len(days) - count, len(days), refusals)
    if rows := _quarantined(lake, days):
        lines.append(
            f"{rows:,} {'row stands' if rows == 1 else 'rows stand'} in quarantine (table quarantine in the lake)."
        )
    if absent:
        lines.append(f"No row of {some(absent)} in the files of {keys[0]} to {keys[1]}.")
    lines += _off_session(flat_file_store(settings), kind, start, end)
    return "\n".join(lines)


def _parse_quotes(
    settings: Settings, progress: Progress, asset: str, keys: tuple[str, str], symbols: tuple[str, ...]
) -> str:
    """Fetches what is missing of stock quotes and builds the spread of each minute; lines on what is in the lake."""
    with open_instance(settings) as instance:
        result = materialize(
            build_defs(progress=progress),
            instance,
            "backfill_quotes",
            assets=[asset, "quoted_spreads"],
            keys=keys,
            config={"quoted_spreads": {"symbols": list(symbols)}},
            trigger="backfill parse",
        )
        count = len(written(instance, result.run_id, "quoted_spreads"))
    days, lake = _days(keys), Lake(settings.lake_location)
    lines = [f"quoted_spreads: {counted(count)} from {keys[0]} to {keys[1]} in {settings.lake_location}."]
    if missing := len(days) - count:
        lines.append(f"{missing} of {counted(len(days))} had no usable file.")
    held = set(lake.read_sessions(QUOTED_SPREADS, days, columns=["symbol"])["symbol"].unique())
    if absent := [one for one in symbols if one not in held]:
        lines.append(f"No quote of {some(absent)} in the files of {keys[0]} to {keys[1]}.")
    return "\n".join(lines)


def hybrid(
    settings: Settings, progress: Progress, symbols: tuple[str, ...], start: date, end: date, **overrides: Any
) -> str:
    """Bars of a range: from files where they are published, provisional ones over REST for the rest; lines on both.

    `symbols`: none means the watchlist. `overrides` replaces resources by name. Raises SettingsError when sessions are
    not published and there is no key, and MissingDataError when there is no bar of any symbol.
    """
    keys = session_range(start, end)
    days, lake = _days(keys), Lake(settings.lake_location)
    watched = load_watchlist(settings.watchlist)
    asked = symbols or watched.symbols
    instruments = [one for one in watched.extended(symbols).instruments if one.symbol in asked]
    definitions = build_defs(**{**default_resources(lambda: settings), "progress": progress, **overrides})
    with open_instance(settings) as instance:
        lines = _from_files(settings, definitions, instance, keys, symbols)
        missing = unpublished(RawMirror(settings.raw_folder), days, instruments)
        if missing and settings.massive_api_key is None:
            count = len({day for of_symbol in missing.values() for day in of_symbol})
            raise SettingsError(
                f"{counted(count)} from {keys[0]} to {keys[1]} {'has' if count == 1 else 'have'} no minute file: set "
                "MASSIVE_API_KEY to fetch them over REST, or use backfill parse for what is published."
            )
        if missing:
            materialize(
                definitions,
                instance,
                "backfill_recent",
                assets=["provisional_bars"],
                keys=keys,
                config={"provisional_bars": {"symbols": list(symbols)}},
                trigger="backfill hybrid",
            )
    held = lake.read_sessions(
        HISTORICAL_BARS, days, columns=["symbol", "session", "source"], where=pl.col("symbol").is_in(list(asked))
    )
    if held.is_empty():
        raise MissingDataError(
            f"There are no bars of {some(asked)} from {keys[0]} to {keys[1]}, in files or over REST: check the "
            "spelling and the dates."
        )
    over_rest = held.filter(IS_LIVE)["session"].n_unique()
    lines.append(
        f"historical_bars: {counted(held['session'].n_unique())} of {len(days)} from {keys[0]} to {keys[1]} are in "
        f"{settings.lake_location}, {over_rest} of them with provisional bars over REST."
    )
    if absent := without_rows(lake, HISTORICAL_BARS, days, asked):
        lines.append(f"No bar of {some(absent)} from {keys[0]} to {keys[1]}.")
    return "\n".join(lines)


def _from_files(
    settings: Settings, definitions: Definitions, instance: Instance, keys: tuple[str, str], symbols: Sequence[str]
) -> list[str]:
    """Brings here and parses what is published of a range; a line when nothing of it could be used."""
    place = settings.flat_files_location
    if not place.startswith("s3://") and not Path(place).is_dir():
        return [f"{place} is not there: everything comes over REST."]
    store, (first, last) = flat_file_store(settings), (date.fromisoformat(key) for key in keys)
    there = [asset for asset, name in FLAT_FILE_DATASETS.items() if store.list(dataset_named(name), first, last)]
    if not there:
        return [f"No file from {keys[0]} to {keys[1]} is published at {store.location}."]
    try:
        materialize(
            definitions,
            instance,
            "backfill_bars",
            assets=[*there, "historical_bars"],
            keys=keys,
            config={"historical_bars": {"symbols": list(symbols)}},
            trigger="backfill hybrid",
        )
    except (MissingDataError, DataError) as error:
        return [str(error)]
    return []


def _days(keys: tuple[str, str]) -> list[date]:
    return sessions_between(date.fromisoformat(keys[0]), date.fromisoformat(keys[1]))


def _refusals(instance: Instance, run_id: str) -> list[str]:
    """The sentences on refused files that the run left on the bars."""
    records = instance.get_records_for_run(run_id).records
    events = (record.asset_materialization for record in records)
    found = [event.metadata[REFUSALS].value for event in events if event and REFUSALS in event.metadata]
    return [str(sentence) for sentences in found if isinstance(sentences, list) for sentence in sentences]


def _unusable(missing: int, total: int, refusals: Sequence[str]) -> list[str]:
    """A line on sessions without bars and on refused files, with the first refusal; none when there are neither."""
    example = f", e.g. {refusals[0]}" if refusals else "."
    if missing:
        return [f"{missing} of {counted(total)} had no usable file{example}"]
    if refusals:
        return [f"{len(refusals)} {'file' if len(refusals) == 1 else 'files'} could not be used{example}"]
    return []


def _quarantined(lake: Lake, days: Sequence[date]) -> int:
    """Refused rows of the files of `days`; what concerns a whole file stands at line 0 and is no row."""
    held = sorted(set(lake.sessions(QUARANTINE)) & set(days))
    if not held:
        return 0
    return int((lake.read_sessions(QUARANTINE, held, columns=["line_number"])["line_number"] > 0).sum())


def _off_session(store: FlatFileStore, dataset: Dataset, start: date, end: date) -> list[str]:
    """A line on published files that are named for a day without a session; none when there are none."""
    if dataset.file_per != "session":
        return []
    sessions = set(sessions_between(start, end))
    odd = [one.key for one in store.list(dataset, start, end) if first_day_of_key(dataset, one.key) not in sessions]
    if not odd:
        return []
    if len(odd) == 1:
        return [f"{odd[0]} lies on a day without a session and was not read."]
    return [f"{len(odd)} files lie on days without a session and were not read: {some(odd)}."]
