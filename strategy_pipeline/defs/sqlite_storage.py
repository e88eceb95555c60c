"""Dagster's SQLite storages with connections kept open and bursts of asset events written in one transaction.

Same files, same tables, same answers as the stock storages: an instance can change from one to the other at any time.
Made for the Dagster release named in instance.py, which decides whether this module is used.
"""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

import sqlalchemy as db
from dagster._core.event_api import EventHandlerFn, EventLogCursor
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.polling_event_watcher import SqlPollingEventWatcher
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite_storage import (
    DagsterSqliteStorage,
    _event_logs_directory,
    _runs_directory,
    _schedule_directory,
)
from dagster._serdes import ConfigurableClassData
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import OperationalError

from strategy_pipeline.defs.held_events import MIRRORED_EVENT_TYPES, HoldingEventLog

# A writer that meets another process's transaction waits this long before it gives up; as Dagster's event log does.
BUSY_TIMEOUT_S = 30
# Every run has a database of its own; so many stay open before the one unused for longest is closed.
MOST_OPEN_DATABASES = 32

_FileIdentity = tuple[int, int]


class OpenEngines:
    """One engine for each database file; its connections stay open between statements.

    An engine is replaced when its file has been (a wiped history, a restored backup). Threads may share the object, a
    forked child starts an empty one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: OrderedDict[str, tuple[_FileIdentity | None, Engine]] = OrderedDict()
        _EVERYTHING_OPEN.add(self)

    def engine(self, url: str) -> tuple[Engine, bool]:
        """The engine of the file and whether it has just been made."""
        with self._lock:
            known, engine = self._engines.pop(url, (None, None))
            if engine is not None and _file_identity(url) != known:
                engine.dispose()
                engine = None
            is_new = engine is None
            if engine is None:
                engine = _quick_engine(url)
                engine.connect().close()
                known = _file_identity(url)
            self._engines[url] = (known, engine)
            if len(self._engines) > MOST_OPEN_DATABASES:
                _, (_, unused) = self._engines.popitem(last=False)
                unused.dispose()
            return engine, is_new

    def close(self) -> None:
        """Closes every connection; the next statement opens new ones."""
        with self._lock:
            while self._engines:
                _, (_, engine) = self._engines.popitem()
                engine.dispose()

    def forget_after_fork(self) -> None:
        """Drops the parent's connections without closing them: SQLite handles must not cross a fork."""
        self._lock = threading.Lock()
        for _, engine in self._engines.values():
            engine.dispose(close=False)
        self._engines = OrderedDict()


def _file_identity(url: str) -> _FileIdentity | None:
    path = make_url(url).database
    try:
        found = Path(path or "").stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _quick_engine(url: str) -> Engine:
    engine = db.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, pool_size=4, max_overflow=-1)

    @db.event.listens_for(engine, "connect")
    def _settle(connection, _record) -> None:  # type: ignore[no-untyped-def]  # a raw driver connection
        cursor = connection.cursor()
        # Refused while another process sets it on a new file; that file then is what was wanted, as the mode is kept.
        with suppress(engine.dialect.loaded_dbapi.OperationalError):
            cursor.execute("PRAGMA journal_mode=WAL")
        # The log is synced when it is folded into the database, not at every commit: a killed process loses nothing,
        # a machine that loses power may lose its last commits but never the file.
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    return engine


def _is_initialized(engine: Engine) -> bool:
    """Whether the database carries a schema revision, which is what the stock storage asks before it makes tables."""
    try:
        with engine.connect() as connection:
            return connection.execute(db.text("SELECT version_num FROM alembic_version")).first() is not None
    except OperationalError:
        return False


class QuickRunStorage(SqliteRunStorage):
    """Runs, tags, backfills and daemon heartbeats over connections that stay open."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._open = OpenEngines()
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection inside a transaction."""
        engine, _ = self._open.engine(self._conn_string)
        with engine.connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        """Closes what is open."""
        self._open.close()
        super().dispose()


class QuickScheduleStorage(SqliteScheduleStorage):
    """Ticks, schedules and sensors over connections that stay open."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._open = OpenEngines()
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection inside a transaction."""
        engine, _ = self._open.engine(self._conn_string)
        with engine.connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        """Closes what is open."""
        self._open.close()
        super().dispose()


class QuickEventLogStorage(HoldingEventLog, SqliteEventLogStorage):
    """The event log over connections that stay open, with bursts of asset events written together."""

    insert = staticmethod(sqlite_insert)

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._open = OpenEngines()
        self._known_tables: set[str] = set()
        self._known_asset_columns: set[str] = set()
        self._begin_holding()
        self._event_watcher: SqlPollingEventWatcher | None = None
        super().__init__(base_dir, inst_data)

    def forget_after_fork(self) -> None:
        """Leaves the parent's held events and its lock to the parent."""
        super().forget_after_fork()
        self._db_lock = threading.Lock()

    # Connections

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:
        if not _is_initialized(engine):
            super()._initdb(engine, for_index_shard)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        self.flush()
        with self._shard_connection(shard) as connection:
            yield connection

    @contextmanager
    def _shard_connection(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine, is_new = self._open.engine(self.conn_string_for_shard(shard))
            if is_new:
                self._initdb(engine)
            with engine.connect() as connection, connection.begin():
                yield connection

    def has_table(self, table_name: str) -> bool:
        """Whether the index database has the table; a table once seen is not looked for again."""
        if table_name not in self._known_tables:
            engine, _ = self._open.engine(self.conn_string_for_shard(INDEX_SHARD_NAME))
            with engine.connect() as connection:
                if not engine.dialect.has_table(connection, table_name):
                    return False
            self._known_tables.add(table_name)
        return True

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        if column_name not in self._known_asset_columns:
            if not super()._has_asset_key_col_on_connection(conn, column_name):
                return False
            self._known_asset_columns.add(column_name)
        return True

    @cached_property
    def supports_global_concurrency_limits(self) -> bool:
        """Whether the database has the tables of concurrency pools."""
        return self.has_table("concurrency_limits")

    # Writing

    def _write(self, events: Sequence[EventLogEntry]) -> None:
        with self._write_lock:
            rows = [self._event_to_row(event) for event in events]
            by_run: dict[str, list[dict]] = {}
            for row in rows:
                by_run.setdefault(row["run_id"], []).append(row)
            for run_id, its_rows in by_run.items():
                with self._shard_connection(run_id) as connection:
                    connection.execute(SqlEventLogStorageTable.insert(), its_rows)
            mirrored = [
                (event, row)
                for event, row in zip(events, rows, strict=True)
                if event.is_dagster_event and event.dagster_event_type in MIRRORED_EVENT_TYPES
            ]
            if mirrored:
                self._write_to_index(mirrored)

    def _write_to_index(self, mirrored: Sequence[tuple[EventLogEntry, dict]]) -> None:
        with self._shard_connection(INDEX_SHARD_NAME) as connection:
            stored = []
            for event, row in mirrored:
                key = connection.execute(SqlEventLogStorageTable.insert(), row).inserted_primary_key
                assert key is not None
                stored.append((event, int(key[0])))
            self._store_asset_events(connection, stored)
        self._store_asset_checks(stored)

    def _has_newest_columns(self, connection: Connection) -> bool:
        return self._has_asset_key_index_cols_on_connection(connection)

    # Watching and ending

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Calls back for each new event of a run.

        The stock storage waits for the database file to change, which happens rarely while connections stay open.
        """
        if cursor is not None and EventLogCursor.parse(cursor).is_offset_cursor():
            raise ValueError("A run can be watched from a storage id onward, not from an offset")
        if self._event_watcher is None:
            self._event_watcher = SqlPollingEventWatcher(self)
        self._event_watcher.watch_run(run_id, cursor, callback)

    def end_watch(self, run_id: str, handler: EventHandlerFn) -> None:
        """Stops calling back."""
        if self._event_watcher is not None:
            self._event_watcher.unwatch_run(run_id, handler)

    def wipe(self) -> None:
        """Deletes every run's events."""
        self.flush()
        self._open.close()
        super().wipe()

    def dispose(self) -> None:
        """Writes what is held and closes what is open."""
        self.flush()
        if self._event_watcher is not None:
            self._event_watcher.close()
            self._event_watcher = None
        self._open.close()
        super().dispose()


class QuickSqliteStorage(DagsterSqliteStorage):
    """The three storages below one folder, in the stock layout (history/, history/runs/, schedules/)."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.base_dir = base_dir
        self._run_storage = QuickRunStorage.from_local(_runs_directory(base_dir))
        self._event_log_storage = QuickEventLogStorage(_event_logs_directory(base_dir))
        self._schedule_storage = QuickScheduleStorage.from_local(_schedule_directory(base_dir))
        self._inst_data = inst_data
        # The stock class would open the stock storages: its own part is replaced, its base is not.
        super(DagsterSqliteStorage, self).__init__()


_EVERYTHING_OPEN: "weakref.WeakSet[OpenEngines]" = weakref.WeakSet()


def _start_afresh_in_a_forked_child() -> None:
    for engines in list(_EVERYTHING_OPEN):
        engines.forget_after_fork()


os.register_at_fork(after_in_child=_start_afresh_in_a_forked_child)
