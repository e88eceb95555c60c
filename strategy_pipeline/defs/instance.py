"""Which storage the Dagster instance gets: PostgreSQL when DAGSTER_POSTGRES_URL is set, else SQLite below a folder.

Both in their quick form on the Dagster release it is made for, else as Dagster has them. Named in dagster.yaml as
``storage: custom: {module, class, config: {base_dir}}``, so that every process of an instance decides alike. The forms
keep the same files and tables: an upgrade of Dagster needs no more than `dagster instance migrate`.
"""

import importlib
import warnings
from collections.abc import Mapping
from typing import Any

from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log import EventLogStorage, SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from dagster.version import __version__ as DAGSTER_VERSION
from pydantic import SecretStr

from strategy_pipeline.errors import StorageError
from strategy_pipeline.settings import load_settings

MADE_FOR_DAGSTER = "1.13.27"
QUICK_STORAGE = ("strategy_pipeline.defs.sqlite_storage", "QuickSqliteStorage")
QUICK_POSTGRES_STORAGE = ("strategy_pipeline.defs.postgres_storage", "QuickPostgresStorage")


class InstanceStorage(DagsterSqliteStorage):
    """What dagster.yaml names; an instance gets the object that `open_storage` or `open_postgres_storage` returns."""

    @classmethod
    def from_config_value(  # type: ignore[override]  # the class depends on settings and on the Dagster release
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> DagsterStorage:
        """The database of DAGSTER_POSTGRES_URL, else the storage below ``base_dir`` (a path, or ``env: NAME``)."""
        postgres_url = load_settings().dagster_postgres_url
        if postgres_url is not None:
            return open_postgres_storage(postgres_url, inst_data)
        return open_storage(config_value["base_dir"], inst_data)


def open_storage(
    base_dir: str,
    inst_data: ConfigurableClassData | None = None,
    *,
    dagster_version: str = DAGSTER_VERSION,
    quick_storage: tuple[str, str] = QUICK_STORAGE,
) -> DagsterSqliteStorage:
    """The quick storage, or with a warning the stock one when this Dagster is not what `quick_storage` is made for."""
    quick = _quick_class(dagster_version, quick_storage)
    opened: DagsterSqliteStorage = (quick or DagsterSqliteStorage).from_local(base_dir, inst_data)
    return opened


def open_postgres_storage(
    postgres_url: SecretStr,
    inst_data: ConfigurableClassData | None = None,
    *,
    dagster_version: str = DAGSTER_VERSION,
    quick_storage: tuple[str, str] = QUICK_POSTGRES_STORAGE,
) -> DagsterStorage:
    """As `open_storage`, in a PostgreSQL database; raises StorageError, which never shows the URL."""
    import sqlalchemy as db
    from dagster_postgres import DagsterPostgresStorage

    quick = _quick_class(dagster_version, quick_storage)
    url = postgres_url.get_secret_value()
    try:
        if quick is None:
            # Asked first, as the stock storage tries for many seconds and logs each attempt.
            db.create_engine(url, poolclass=db.NullPool).connect().close()
        opened: DagsterStorage = (quick or DagsterPostgresStorage)(url, inst_data=inst_data)
    except (db.exc.SQLAlchemyError, ImportError, ValueError) as error:
        # The message of a URL that cannot be read may repeat parts of it, and with it the password.
        told = f" ({_first_line(error.orig)})" if isinstance(error, db.exc.OperationalError) else ""
        raise StorageError(
            f"Dagster's storage at DAGSTER_POSTGRES_URL cannot be opened{told}: check host, port, user, password and "
            "database, or unset it to store in SQLite."
        ) from None
    return opened


def describe_storage(event_log: EventLogStorage) -> tuple[str, bool]:
    """``quick SQLite`` and the like, and whether it is the quick form."""
    kind = "SQLite" if isinstance(event_log, SqliteEventLogStorage) else "PostgreSQL"
    # By name: the module of the quick form need not load on another Dagster.
    is_quick = type(event_log).__name__.startswith("Quick")
    return f"{'quick' if is_quick else 'stock'} {kind}", is_quick


def _quick_class(dagster_version: str, quick_storage: tuple[str, str]) -> Any | None:
    """The class of that module and name; None, with a warning, when it is not made for this Dagster."""
    module_name, class_name = quick_storage
    try:
        if dagster_version == MADE_FOR_DAGSTER:
            return getattr(importlib.import_module(module_name), class_name)
        reason = f"it is made for Dagster {MADE_FOR_DAGSTER} and this is {dagster_version}"
    except (ImportError, AttributeError) as error:
        reason = f"this Dagster lacks a part it needs ({error})"
    warnings.warn(
        f"The quick instance storage is not used, because {reason}: runs work, but store their events slowly.",
        stacklevel=3,
    )
    return None


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
