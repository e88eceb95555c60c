"""Which storage the Dagster instance gets: the quick SQLite one on the Dagster release it is made for, else the stock.

Named in dagster.yaml as ``storage: custom: {module, class, config: {base_dir}}``. How the quick one works is in
sqlite_storage.py; both keep the same files, so an upgrade of Dagster needs no more than `dagster instance migrate`.
"""

import importlib
import warnings
from collections.abc import Mapping
from typing import Any

from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from dagster.version import __version__ as DAGSTER_VERSION

MADE_FOR_DAGSTER = "1.13.27"
QUICK_STORAGE = ("strategy_pipeline.defs.sqlite_storage", "QuickSqliteStorage")


class InstanceStorage(DagsterSqliteStorage):
    """What dagster.yaml names; an instance gets the object that `open_storage` returns."""

    @classmethod
    def from_config_value(  # type: ignore[override]  # on another Dagster this is the stock class
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> DagsterSqliteStorage:
        """The storage below ``base_dir`` (a path, or ``env: NAME``)."""
        return open_storage(config_value["base_dir"], inst_data)


def open_storage(
    base_dir: str,
    inst_data: ConfigurableClassData | None = None,
    *,
    dagster_version: str = DAGSTER_VERSION,
    quick_storage: tuple[str, str] = QUICK_STORAGE,
) -> DagsterSqliteStorage:
    """The quick storage, or with a warning the stock one when this Dagster is not what `quick_storage` is made for."""
    if dagster_version != MADE_FOR_DAGSTER:
        return _stock(base_dir, inst_data, f"it is made for Dagster {MADE_FOR_DAGSTER} and this is {dagster_version}")
    module_name, class_name = quick_storage
    try:
        quick: type[DagsterSqliteStorage] = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        return _stock(base_dir, inst_data, f"this Dagster lacks a part it needs ({error})")
    return quick.from_local(base_dir, inst_data)


def _stock(base_dir: str, inst_data: ConfigurableClassData | None, reason: str) -> DagsterSqliteStorage:
    warnings.warn(
        f"The quick instance storage is not used, because {reason}: runs work, but store their events slowly.",
        stacklevel=3,
    )
    return DagsterSqliteStorage.from_local(base_dir, inst_data)
