"""Where the vendor keeps what: data sets, the keys of their objects, and which session or month a key stands for.

``config/datasets.yaml`` says the same to people and may narrow it. Nothing is read or fetched here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from strategy_pipeline.errors import SettingsError
from strategy_pipeline.market.calendar import sessions_between

KINDS = ("stocks", "indices", "options")
GRAINS = ("minute", "hour", "day", "trades", "quotes")
FILE_PERIODS = ("session", "month")
SUFFIX = ".csv.gz"

_AGGREGATES = ("minute", "hour", "day")
_SESSION_NAME = re.compile(r"(?P<year>\d{4})/(?P<month>\d{2})/(?P<day>(?P=year)-(?P=month)-\d{2})\.csv\.gz\Z")
_MONTH_NAME = re.compile(r"(?P<year>\d{4})/(?P<month>(?P=year)-\d{2})\.csv\.gz\Z")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A vendor data set: what it holds, how its files are cut, and the bar timeframe it feeds (None: no bars)."""

    name: str
    kind: str
    grain: str
    file_per: str
    feeds: str | None

    @property
    def is_aggregate(self) -> bool:
        """Whether its rows are bars rather than ticks."""
        return self.grain in _AGGREGATES


def _known(name: str, kind: str, grain: str, file_per: str = "session", feeds: str | None = None) -> Dataset:
    return Dataset(name, kind, grain, file_per, feeds)


DATASETS: dict[str, Dataset] = {
    one.name: one
    for one in (
        _known("us_stocks_sip/minute_aggs_v1", "stocks", "minute", feeds="1m"),
        _known("us_stocks_sip/hour_aggs_v1", "stocks", "hour", "month", feeds="1h"),
        _known("us_stocks_sip/day_aggs_v1", "stocks", "day", feeds="1d"),
        _known("us_stocks_sip/trades_v1", "stocks", "trades"),
        _known("us_stocks_sip/quotes_v1", "stocks", "quotes"),
        _known("us_indices/minute_aggs_v1", "indices", "minute", feeds="1m"),
        _known("us_indices/hour_aggs_v1", "indices", "hour", "month", feeds="1h"),
        _known("us_indices/day_aggs_v1", "indices", "day", feeds="1d"),
        _known("us_options_opra/minute_aggs_v1", "options", "minute"),
        _known("us_options_opra/hour_aggs_v1", "options", "hour"),
        _known("us_options_opra/day_aggs_v1", "options", "day"),
        _known("us_options_opra/trades_v1", "options", "trades"),
        _known("us_options_opra/quotes_v1", "options", "quotes"),
    )
}


def dataset_named(name: str) -> Dataset:
    """The data set of that vendor folder; raises SettingsError naming the known ones."""
    if name not in DATASETS:
        raise SettingsError(f"{name!r} is no data set: use one of {', '.join(sorted(DATASETS))}.")
    return DATASETS[name]


def datasets_from_config(config: Mapping[str, object]) -> dict[str, Dataset]:
    """The data sets that a loaded ``config/datasets.yaml`` names; raises SettingsError naming the entry at fault."""
    entries = config.get("datasets")
    if not isinstance(entries, Mapping) or not entries:
        raise SettingsError("config/datasets.yaml needs a mapping 'datasets' with at least one data set.")
    found = {}
    for name, entry in entries.items():
        wanted = {"kind", "grain", "file_per", "feeds"}
        if not isinstance(entry, Mapping) or set(entry) != wanted:
            raise SettingsError(f"config/datasets.yaml: {name} needs exactly {', '.join(sorted(wanted))}.")
        for field, allowed in (("kind", KINDS), ("grain", GRAINS), ("file_per", FILE_PERIODS)):
            if entry[field] not in allowed:
                raise SettingsError(
                    f"config/datasets.yaml: {name} has {field} {entry[field]!r}; use one of {', '.join(allowed)}."
                )
        if entry["feeds"] is not None and (entry["kind"] == "options" or entry["feeds"] not in ("1m", "1h", "1d")):
            raise SettingsError(
                f"config/datasets.yaml: {name} cannot feed {entry['feeds']!r}; stocks and indices feed 1m, 1h or 1d."
            )
        found[str(name)] = Dataset(str(name), entry["kind"], entry["grain"], entry["file_per"], entry["feeds"])
    return found


def key_for(dataset: Dataset, day: date) -> str:
    """The object that holds `day`: ``us_stocks_sip/day_aggs_v1/2013/10/2013-10-04.csv.gz``, or the month's file."""
    if dataset.file_per == "month":
        return f"{dataset.name}/{day:%Y}/{day:%Y-%m}{SUFFIX}"
    return f"{dataset.name}/{day:%Y/%m}/{day:%Y-%m-%d}{SUFFIX}"


def keys_for(dataset: Dataset, start: date, end: date) -> list[str]:
    """Every key that may hold a session from `start` to `end`, both included, in time order, each once."""
    return list(dict.fromkeys(key_for(dataset, day) for day in sessions_between(start, end)))


def dataset_of_key(key: str) -> Dataset | None:
    """The data set whose folder `key` lies in, or None."""
    return DATASETS.get("/".join(key.split("/")[:2]))


def first_day_of_key(dataset: Dataset, key: str) -> date | None:
    """The date a session's file is named for, the first of the month for a month's file, None for any other name."""
    rest = key.removeprefix(f"{dataset.name}/")
    pattern = _MONTH_NAME if dataset.file_per == "month" else _SESSION_NAME
    match = pattern.match(rest)
    if match is None or rest == key:
        return None
    text = f"{match['month']}-01" if dataset.file_per == "month" else match["day"]
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def key_lies_between(dataset: Dataset, key: str, start: date, end: date) -> bool:
    """Whether the file of `key` may hold a day from `start` to `end`, both included."""
    day = first_day_of_key(dataset, key)
    if day is None:
        return False
    if dataset.file_per == "month":
        return (start.year, start.month) <= (day.year, day.month) <= (end.year, end.month)
    return start <= day <= end


def year_folders(dataset: Dataset, start: date, end: date) -> list[str]:
    """Folders (ending in a slash) that together hold every file from `start` to `end`; one listing page each."""
    return [f"{dataset.name}/{year}/" for year in range(start.year, end.year + 1)]
