"""The ``backfill`` commands: mirror the vendor's files, and turn them into bars."""

from datetime import date

from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.assets.flat_files import FLAT_FILE_DATASETS
from strategy_pipeline.defs.launch import materialize, open_instance, session_range, written
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.errors import SettingsError
from strategy_pipeline.ingestion.layout import dataset_named
from strategy_pipeline.settings import Settings

_ASSET_OF = {dataset: asset for asset, dataset in FLAT_FILE_DATASETS.items()}


def asset_for(dataset: str) -> str:
    """The asset that mirrors a data set; raises SettingsError when the data set is unknown or has none yet."""
    name = dataset_named(dataset).name
    if name not in _ASSET_OF:
        raise SettingsError(f"{name} is not part of the graph yet: use one of {', '.join(sorted(_ASSET_OF))}.")
    return _ASSET_OF[name]


def download(settings: Settings, progress: Progress, dataset: str, start: date, end: date, *, overwrite: bool) -> str:
    """Mirrors the files of a data set and returns a line on what is here now."""
    asset, keys = asset_for(dataset), session_range(start, end)
    with open_instance(settings) as instance:
        result = materialize(
            build_defs(progress=progress),
            instance,
            "backfill_bars",
            assets=[asset],
            keys=keys,
            config={asset: {"overwrite": overwrite}},
            trigger="backfill download",
        )
        count = len(written(instance, result.run_id, asset))
    return f"{dataset}: files of {count} sessions from {keys[0]} to {keys[1]} are in {settings.raw_folder}."


def parse(
    settings: Settings, progress: Progress, dataset: str, start: date, end: date, *, symbols: tuple[str, ...]
) -> str:
    """Fetches what is missing of a data set, builds the bars, and returns a line on what is in the lake now."""
    asset, keys = asset_for(dataset), session_range(start, end)
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
    return f"historical_bars: {count} sessions from {keys[0]} to {keys[1]} are in {settings.lake_location}."
