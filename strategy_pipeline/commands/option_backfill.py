"""``backfill parse`` for the vendor's option files: which tables follow from a data set, and what became of them."""

from collections.abc import Iterable
from datetime import date

from strategy_pipeline.commands.coverage import counted, some, without_rows
from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.assets.flat_files import OPTION_FILE_DATASETS
from strategy_pipeline.defs.launch import materialize, open_instance, session_range, written
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.errors import MissingDataError, SettingsError
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import HISTORICAL_BARS, HISTORICAL_GREEKS, OPTIONS_FLOW_HISTORY
from strategy_pipeline.market.calendar import sessions_between
from strategy_pipeline.settings import Settings

CHAINS = (
    "corporate_actions", "rate_curve", "open_interest", "option_contracts", "historical_greeks",
    "gamma_exposure_snapshots", "atm_iv_daily", "iv_percentile_cache",
)  # fmt: skip
TAPE = ("trade_conditions", "options_flow_history", "options_flow_daily")
# What is built from each data set of options; the first table named decides whether anything came of it.
BUILT_FROM = {
    "us_options_opra/minute_aggs_v1": ("historical_greeks", (*CHAINS, "option_volume_minutes")),
    "us_options_opra/quotes_v1": ("historical_greeks", CHAINS),
    "us_options_opra/trades_v1": ("options_flow_history", TAPE),
}
TAKES_SYMBOLS = (
    "open_interest", "option_contracts", "historical_greeks", "options_flow_history", "option_volume_minutes",
)  # fmt: skip
_TABLES = {table.name: table for table in (HISTORICAL_GREEKS, OPTIONS_FLOW_HISTORY)}
_ASSET_OF = {dataset: asset for asset, dataset in OPTION_FILE_DATASETS.items()}


def parse(
    settings: Settings, progress: Progress, dataset: str, start: date, end: date, *, symbols: tuple[str, ...]
) -> str:
    """Fetches what is missing of an option data set, builds its tables, and returns lines on what is in the lake.

    Raises SettingsError for a data set of which no table is built, and MissingDataError when nothing came of any
    session or of any of `symbols`.
    """
    if dataset not in BUILT_FROM:
        raise SettingsError(f"No table is built from {dataset}: use one of {', '.join(sorted(BUILT_FROM))}.")
    main, tables = BUILT_FROM[dataset]
    assets, keys = [_ASSET_OF[dataset], *tables], session_range(start, end)
    with open_instance(settings) as instance:
        result = materialize(
            build_defs(progress=progress),
            instance,
            "backfill_options",
            assets=assets,
            keys=keys,
            config={name: {"symbols": list(symbols)} for name in TAKES_SYMBOLS},
            trigger="backfill parse",
        )
        counts = {name: len(written(instance, result.run_id, name)) for name in assets}
    days, lake = (
        sessions_between(date.fromisoformat(keys[0]), date.fromisoformat(keys[1])),
        Lake(settings.lake_location),
    )
    if not counts[main]:
        raise MissingDataError(
            f"No usable file of {dataset} from {keys[0]} to {keys[1]} is at {settings.flat_files_location}: choose "
            "other dates, or point FLAT_FILES_URL at files of these."
        )
    absent = without_rows(lake, _TABLES[main], days, symbols)
    if symbols and len(absent) == len(symbols):
        raise MissingDataError(
            f"No option on {some(absent)} in the files of {keys[0]} to {keys[1]}: check the spelling, and that the "
            "data set holds options on such symbols."
        )
    lines = [f"{main}: {counted(counts[main])} from {keys[0]} to {keys[1]} in {settings.lake_location}."]
    lines += [f"{name}: {counted(counts[name])}." for name in tables if name != main and counts[name]]
    if missing := len(days) - counts[main]:
        lines.append(f"{missing} of {counted(len(days))} had no usable file.")
    if absent:
        lines.append(f"No option on {some(absent)} in the files of {keys[0]} to {keys[1]}.")
    return "\n".join([*lines, *_without_price(lake, days)])


def _without_price(lake: Lake, days: Iterable[date]) -> list[str]:
    """A line about underlyings that have chains and no minute bar, so that no option of theirs has a volatility."""
    lacking: set[str] = set()
    for day in days:
        said = lake.metadata(HISTORICAL_GREEKS, {"session": day}) or {}
        bars = lake.read_sessions(HISTORICAL_BARS, [day], columns=["symbol"])["symbol"].unique()
        lacking |= set(filter(None, said.get("held_symbols", "").split(","))) - set(bars)
    if not lacking:
        return []
    names = ", ".join(sorted(lacking))
    return [f"No bars of {names} in some of these sessions: without them no option there has a volatility."]
