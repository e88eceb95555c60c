"""An event log that writes bursts of asset events together: what the logs in SQLite and PostgreSQL have in common.

What is held, when it is written and what of it is the newest belongs here; connections and what differs between the
databases belong to sqlite_storage.py and postgres_storage.py. Made for the Dagster release named in instance.py.
"""

import atexit
import logging
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
    DagsterEventType,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import AssetKeyTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster_shared.record import copy
from sqlalchemy.engine import Connection

# A step over a long range makes one event per partition: they are held until something else happens, this many have
# come, or this long has passed. A killed process can lose what it held, never what it had written.
MOST_HELD_EVENTS = 1_000
LONGEST_HOLD_S = 0.5

HELD_EVENT_TYPES = frozenset(
    {
        DagsterEventType.ASSET_MATERIALIZATION,
        DagsterEventType.ASSET_OBSERVATION,
        DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    }
)
MIRRORED_EVENT_TYPES = frozenset({*ASSET_EVENTS, *ASSET_CHECK_EVENTS, *EVENT_TYPE_TO_PIPELINE_RUN_STATUS})


class HoldingEventLog(SqlEventLogStorage):
    """The event log with bursts of asset events written together.

    Held events reach the database before any other event of this process, before any read by it, when it ends in order,
    and after LONGEST_HOLD_S at the latest. A subclass names its dialect's `insert`, writes in `_write`, and flushes
    before it hands out a connection.
    """

    insert: Callable[[Any], Any]

    def _begin_holding(self) -> None:
        self._reset_held_events()
        _EVENT_LOGS.add(self)

    def _reset_held_events(self) -> None:
        self._held: list[EventLogEntry] = []
        self._held_lock = threading.Lock()
        self._write_lock = threading.RLock()
        self._hold_timer: threading.Timer | None = None
        self._late_error: Exception | None = None

    def forget_after_fork(self) -> None:
        """Leaves the parent's held events to the parent."""
        self._reset_held_events()

    def store_event(self, event: EventLogEntry) -> None:
        """Writes the event, or holds it when it is one of a burst of asset events."""
        if event.is_dagster_event and event.dagster_event_type in HELD_EVENT_TYPES:
            self._hold(event)
            return
        self.flush()
        self._write([event])

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Writes events of any kind in one transaction for each database they concern."""
        self.flush()
        self._write(events)

    def _hold(self, event: EventLogEntry) -> None:
        with self._held_lock:
            self._held.append(event)
            is_full = len(self._held) >= MOST_HELD_EVENTS
            if self._hold_timer is None and not is_full:
                self._hold_timer = threading.Timer(LONGEST_HOLD_S, self._flush_late)
                self._hold_timer.daemon = True
                self._hold_timer.start()
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Writes what is held; raises what a late write in the background ran into."""
        with self._write_lock:
            with self._held_lock:
                events, self._held = self._held, []
                if self._hold_timer is not None:
                    self._hold_timer.cancel()
                    self._hold_timer = None
                error, self._late_error = self._late_error, None
            if events:
                self._write(events)
        if error is not None:
            raise error

    def _flush_late(self) -> None:
        try:
            self.flush()
        except Exception as error:
            # Nobody waits for this thread: the next caller of the storage gets the error instead.
            logging.getLogger(__name__).exception("Held events could not be written to the event log.")
            with self._held_lock:
                self._late_error = error

    def _write(self, events: Sequence[EventLogEntry]) -> None:
        """Writes events at once, in their order."""
        raise NotImplementedError

    def _has_newest_columns(self, connection: Connection) -> bool:
        """Whether the table of assets has the columns of later schema revisions."""
        raise NotImplementedError

    def _store_asset_events(self, connection: Connection, stored: Sequence[tuple[EventLogEntry, int]]) -> None:
        """Tags and newest of each asset, for those of the events just stored (with their ids) that are about assets."""
        asset_events = [(event, key) for event, key in stored if event.dagster_event_type in ASSET_EVENTS]
        if asset_events:
            self._store_asset_event_tags(
                connection, [event for event, _ in asset_events], [key for _, key in asset_events]
            )
            self._store_newest_of_each_asset(connection, asset_events)

    def _store_asset_checks(self, stored: Sequence[tuple[EventLogEntry, int]]) -> None:
        for event, key in stored:
            if event.is_dagster_event and event.dagster_event_type in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, key)

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        """One planned row for a check of a ranged run, as it has one evaluation.

        The stock storage writes a row for each partition of the run, each with a copy of the event that names every
        holiday: a gigabyte for twenty years, and rows that stay planned for ever, as evaluations carry no partition.
        """
        assert event.dagster_event is not None
        planned = event.dagster_event.asset_check_planned_data
        whole = copy(planned, partitions_subset=None)
        narrowed = event.dagster_event._replace(event_specific_data=whole)
        super()._store_asset_check_evaluation_planned(event._replace(dagster_event=narrowed), event_id)

    def _store_newest_of_each_asset(
        self, connection: Connection, asset_events: Sequence[tuple[EventLogEntry, int]]
    ) -> None:
        """What storing one after the other would leave behind: the newest event of each kind, merged in order."""
        newest: dict[str, OrderedDict[DagsterEventType | None, tuple[EventLogEntry, int]]] = {}
        for event, key in asset_events:
            if event.dagster_event is not None and event.dagster_event.asset_key is not None:
                of_asset = newest.setdefault(event.dagster_event.asset_key.to_string(), OrderedDict())
                of_asset[event.dagster_event_type] = (event, key)
                of_asset.move_to_end(event.dagster_event_type)
        has_columns = self._has_newest_columns(connection)
        for asset_key, by_type in newest.items():
            values: dict[str, object] = {}
            for event, key in by_type.values():
                values |= self._get_asset_entry_values(event, key, has_columns)
            if values:
                statement = self.insert(AssetKeyTable).values(asset_key=asset_key, **values)
                connection.execute(
                    statement.on_conflict_do_update(index_elements=[AssetKeyTable.c.asset_key], set_=values)
                )


_EVENT_LOGS: "weakref.WeakSet[HoldingEventLog]" = weakref.WeakSet()


def _write_held_events() -> None:
    for storage in list(_EVENT_LOGS):
        storage.flush()


def _start_afresh_in_a_forked_child() -> None:
    for storage in list(_EVENT_LOGS):
        storage.forget_after_fork()


atexit.register(_write_held_events)
os.register_at_fork(after_in_child=_start_afresh_in_a_forked_child)
