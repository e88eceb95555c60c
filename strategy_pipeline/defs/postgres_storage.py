"""Dagster's PostgreSQL storages over a pool of open connections, with bursts of asset events in one transaction.

Same tables and same answers as dagster-postgres, whose storages open a connection for every statement; an instance can
change from one to the other at any time. Made for the Dagster release named in instance.py, which decides whether this
module is used.
"""

import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import sqlalchemy as db
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.migration import ASSET_KEY_INDEX_COLS
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from dagster_postgres.utils import create_pg_connection, create_pg_engine
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.engine import Connection, Engine

from strategy_pipeline.defs.held_events import HoldingEventLog

# So many connections stay open in a process while it is idle; a busy one opens more, as the stock storages do.
OPEN_CONNECTIONS = 2
CONNECT_TIMEOUT_S = 10
# Connections are renewed before the idle timeouts that firewalls commonly have.
LONGEST_CONNECTION_S = 1_800
# Taken for the length of every write of events, so that ids become visible in their order: readers remember the last id
# they saw and would miss a burst that is committed after a later one. Any number will do; all writers share it.
WRITE_ORDER_LOCK = 5_417_202_601
TABLES = frozenset({"runs", "instance_info", "event_logs", "asset_keys", "jobs"})


def pooled_engine(postgres_url: str) -> Engine:
    """An engine whose connections stay open; one that a restarted server has dropped is replaced unnoticed."""
    given = db.engine.make_url(postgres_url).query
    engine = create_pg_engine(
        postgres_url,
        isolation_level="AUTOCOMMIT",
        pool_size=OPEN_CONNECTIONS,
        max_overflow=-1,
        pool_pre_ping=True,
        pool_recycle=LONGEST_CONNECTION_S,
        connect_args={} if "connect_timeout" in given else {"connect_timeout": CONNECT_TIMEOUT_S},
    )
    _ENGINES.add(engine)
    return engine


class QuickPostgresRunStorage(PostgresRunStorage):
    """Runs, tags, backfills and daemon heartbeats over pooled connections."""

    def __init__(self, postgres_url: str, engine: Engine, *, makes_tables: bool) -> None:
        super().__init__(postgres_url, makes_tables)
        self._engine = engine


class QuickPostgresScheduleStorage(PostgresScheduleStorage):
    """Ticks, schedules and sensors over pooled connections."""

    def __init__(self, postgres_url: str, engine: Engine, *, makes_tables: bool) -> None:
        super().__init__(postgres_url, makes_tables)
        self._engine = engine


class QuickPostgresEventLogStorage(HoldingEventLog, PostgresEventLogStorage):
    """The event log over pooled connections, with bursts of asset events written together."""

    insert = staticmethod(postgres_insert)

    def __init__(self, postgres_url: str, engine: Engine, *, makes_tables: bool) -> None:
        self._known_tables: set[str] = set()
        self._begin_holding()
        super().__init__(postgres_url, makes_tables)
        self._engine = engine

    def _connect(self) -> AbstractContextManager[Connection]:
        self.flush()
        return create_pg_connection(self._engine)

    @contextmanager
    def _write_transaction(self) -> Iterator[Connection]:
        with create_pg_connection(self._engine) as pooled:
            connection = pooled.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                connection.execute(db.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": WRITE_ORDER_LOCK})
                yield connection

    def _write(self, events: Sequence[EventLogEntry]) -> None:
        with self._write_lock:
            rows = [self._event_to_row(event) for event in events]
            statement = SqlEventLogStorageTable.insert().returning(
                SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
            )
            with self._write_transaction() as connection:
                keys = connection.execute(statement, rows).scalars().all()
                stored = [(event, int(key)) for event, key in zip(events, keys, strict=True)]
                self._store_asset_events(connection, [one for one in stored if one[0].is_dagster_event])
            self._store_asset_checks(stored)

    def _has_newest_columns(self, connection: Connection) -> bool:
        return self.has_secondary_index(ASSET_KEY_INDEX_COLS)

    def has_table(self, table_name: str) -> bool:
        """Whether the database has the table; a table once seen is not looked for again."""
        if table_name not in self._known_tables:
            with create_pg_connection(self._engine) as connection:
                if not self._engine.dialect.has_table(connection, table_name):
                    return False
            self._known_tables.add(table_name)
        return True

    def dispose(self) -> None:
        """Writes what is held and closes what is open."""
        self.flush()
        super().dispose()
        self._engine.dispose()


class QuickPostgresStorage(DagsterPostgresStorage):
    """The three storages in one database, which get their tables when it has none, over one pool."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        engine = pooled_engine(postgres_url)
        makes_tables = not set(db.inspect(engine).get_table_names()) >= TABLES
        self.postgres_url = postgres_url
        self.should_autocreate_tables = True
        self._inst_data = inst_data
        self._run_storage = QuickPostgresRunStorage(postgres_url, engine, makes_tables=makes_tables)
        self._event_log_storage = QuickPostgresEventLogStorage(postgres_url, engine, makes_tables=makes_tables)
        self._schedule_storage = QuickPostgresScheduleStorage(postgres_url, engine, makes_tables=makes_tables)
        # The stock class would open the stock storages: its own part is replaced, its base is not.
        super(DagsterPostgresStorage, self).__init__()


_ENGINES: "weakref.WeakSet[Engine]" = weakref.WeakSet()


def _leave_connections_to_the_parent() -> None:
    for engine in list(_ENGINES):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_leave_connections_to_the_parent)
