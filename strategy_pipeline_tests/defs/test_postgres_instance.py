"""The quick PostgreSQL storage answers as dagster-postgres does, survives kills and lost connections, and is quick."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as db
from dagster._core.events import DagsterEventType
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import deserialize_value, serialize_value
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage
from pydantic import SecretStr

from strategy_pipeline.defs.held_events import MOST_HELD_EVENTS
from strategy_pipeline.defs.instance import MADE_FOR_DAGSTER, describe_storage, open_postgres_storage
from strategy_pipeline.defs.postgres_storage import (
    QuickPostgresEventLogStorage,
    QuickPostgresRunStorage,
    QuickPostgresScheduleStorage,
    QuickPostgresStorage,
)
from strategy_pipeline.errors import StorageError
from strategy_pipeline_tests.defs import instance_events as ev
from strategy_pipeline_tests.defs.instance_history import BARS, FEATURES, ONE, TWO, answers, write_a_history
from strategy_pipeline_tests.postgres_server import PostgresServer

REPOSITORY = Path(__file__).resolve().parents[2]
Opened = Callable[..., Any]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Opens an instance over a database, in the project's form or in Dagster's own."""

    @contextmanager
    def open_one(url: str, *, quick: bool = True) -> Iterator[dg.DagsterInstance]:
        if quick:
            monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
            instance = ev.instance_with(str(tmp_path), quick=True)
        else:
            stock = {"module": "dagster_postgres", "class": "DagsterPostgresStorage", "config": {"postgres_url": url}}
            instance = dg.DagsterInstance.local_temp(str(tmp_path), overrides={"storage": {"custom": stock}})
        try:
            yield instance
        finally:
            instance.dispose()

    return open_one


def test_every_answer_is_the_stock_storages(new_database: Callable[[], str], opened: Opened) -> None:
    with opened(new_database(), quick=False) as stock, opened(new_database()) as quick:
        assert isinstance(quick.event_log_storage, QuickPostgresEventLogStorage)
        assert isinstance(quick.run_storage, QuickPostgresRunStorage)
        assert isinstance(quick.schedule_storage, QuickPostgresScheduleStorage)
        assert type(stock.event_log_storage) is PostgresEventLogStorage
        write_a_history(stock)
        write_a_history(quick)
        expected, found = answers(stock), answers(quick)
        assert found.keys() == expected.keys()
        for question in expected:
            assert found[question] == expected[question], question
        # Facts of the history, so that equal silence does not pass.
        assert expected[BARS.to_string()]["partitions"] == ["d1", "d2"]
        assert expected[BARS.to_string()]["tags"]["d2"] == {"dagster/data_version": "2"}
        assert expected["runs"][0][1] == "FAILURE"


def test_each_storage_reads_what_the_other_wrote(new_database: Callable[[], str], opened: Opened) -> None:
    url = new_database()
    with opened(url) as quick:
        write_a_history(quick)
        expected = answers(quick)
    with opened(url, quick=False) as stock:
        assert answers(stock) == expected
        stock.store_event(ev.entry(TWO, 900, ev.materialized("bars", "d9")))
    with opened(url) as quick:
        assert quick.get_materialized_partitions(BARS) == {"d1", "d2", "d9"}


def test_deleting_and_wiping_leave_what_the_stock_storage_leaves(
    new_database: Callable[[], str], opened: Opened
) -> None:
    left = []
    for quick in (False, True):
        with opened(new_database(), quick=quick) as instance:
            write_a_history(instance)
            instance.delete_run(ONE)
            instance.wipe_assets([FEATURES])
            seen = [sorted(key.to_string() for key in instance.all_asset_keys()), instance.all_logs(ONE)]
            seen += [sorted(instance.get_materialized_partitions(key)) for key in (BARS, FEATURES)]
            instance.event_log_storage.wipe()
            seen += [instance.all_logs(TWO), list(instance.all_asset_keys())]
            instance.store_event(ev.entry(TWO, 1, ev.materialized("bars", "d5")))
            seen += [sorted(instance.get_materialized_partitions(BARS)), len(instance.all_logs(TWO))]
            left.append(seen)
    assert left[1] == left[0]
    assert left[1][-2:] == [["d5"], 1]


def test_a_held_event_is_stored_before_anyone_reads_or_another_kind_of_event_follows(
    new_database: Callable[[], str], opened: Opened
) -> None:
    url = new_database()
    with opened(url) as writer, opened(url, quick=False) as reader:
        ev.add_run(writer, ONE)
        writer.store_event(ev.entry(ONE, 1, ev.materialized("bars", "d1")))
        assert writer.get_materialized_partitions(BARS) == {"d1"}
        writer.store_event(ev.entry(ONE, 2, ev.materialized("bars", "d2")))
        writer.store_event(ev.entry(ONE, 3, ev.event(DagsterEventType.STEP_START, step="bars")))
        assert reader.get_materialized_partitions(BARS) == {"d1", "d2"}
        order = [line.timestamp for line in reader.all_logs(ONE)]
        assert order == sorted(order)
        for number in range(MOST_HELD_EVENTS):
            writer.store_event(ev.entry(ONE, 4, ev.materialized("bars", f"full{number}")))
        assert len(reader.get_materialized_partitions(BARS)) == MOST_HELD_EVENTS + 2


def test_a_held_event_is_written_by_itself_after_a_while(new_database: Callable[[], str], opened: Opened) -> None:
    url = new_database()
    with opened(url) as writer, opened(url, quick=False) as reader:
        writer.store_event(ev.entry(ONE, 1, ev.materialized("bars", "d1")))
        writer.event_log_storage._hold_timer.join(timeout=30)
        assert reader.get_materialized_partitions(BARS) == {"d1"}


def test_an_event_that_cannot_be_stored_whole_is_not_stored_in_part(
    new_database: Callable[[], str], opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(new_database()) as instance:
        storage = instance.event_log_storage
        instance.store_event(ev.entry(ONE, 1, ev.materialized("bars", "d1")))
        assert instance.get_materialized_partitions(BARS) == {"d1"}

        def refuse(*_: Any) -> None:
            raise OSError("gone in the middle")

        with monkeypatch.context() as broken:
            broken.setattr(storage, "_store_asset_event_tags", refuse)
            instance.store_event(ev.entry(ONE, 2, ev.materialized("bars", "d2")))
            with pytest.raises(OSError, match="gone in the middle"):
                storage.flush()
        assert instance.get_materialized_partitions(BARS) == {"d1"}
        assert len(instance.all_logs(ONE)) == 1


def writer_process(count: int, folder: Path, run_id: str, asset: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", ev.__name__, str(count), str(folder), run_id, asset]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def test_two_processes_that_write_at_the_same_time_lose_nothing(
    new_database: Callable[[], str], opened: Opened, tmp_path: Path
) -> None:
    with opened(new_database()) as instance:
        writers = [writer_process(150, tmp_path, ONE, "bars"), writer_process(150, tmp_path, TWO, "features")]
        for number in range(30):
            instance.store_event(ev.entry(ONE, number, ev.materialized("features", f"own{number}")))
        for writer in writers:
            writer.communicate(timeout=120)
            assert writer.returncode == 0
        expected = {f"p{number}" for number in range(150)}
        assert instance.get_materialized_partitions(BARS) == expected
        assert instance.get_materialized_partitions(FEATURES) == expected | {f"own{number}" for number in range(30)}
        assert len(instance.all_logs(ONE)) == 150 + 30 + 30
        assert {run.run_id: run.tags["written"] for run in instance.get_runs()} == {ONE: "150", TWO: "150"}


def test_a_reader_that_remembers_the_last_id_misses_no_burst(new_database: Callable[[], str], opened: Opened) -> None:
    with opened(new_database()) as instance, opened(os.environ["DAGSTER_POSTGRES_URL"]) as other:
        slow, quick = instance.event_log_storage, other.event_log_storage
        stored_first, may_commit = threading.Event(), threading.Event()
        tags_of = slow._store_asset_event_tags

        def wait_in_the_middle(*arguments: Any) -> None:
            stored_first.set()
            assert may_commit.wait(timeout=30)
            tags_of(*arguments)

        slow._store_asset_event_tags = wait_in_the_middle
        burst = threading.Thread(target=slow._write, args=([ev.entry(ONE, 1, ev.materialized("bars", "early"))],))
        burst.start()
        assert stored_first.wait(timeout=30)
        late = threading.Thread(target=quick._write, args=([ev.entry(TWO, 2, ev.materialized("bars", "late"))],))
        late.start()
        engine = db.create_engine(os.environ["DAGSTER_POSTGRES_URL"])
        waiting = db.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        with engine.connect() as connection:
            while not connection.execute(waiting).scalar():
                connection.rollback()
        engine.dispose()
        may_commit.set()
        for thread in (burst, late):
            thread.join(timeout=30)
        records = instance.fetch_materializations(BARS, limit=5, ascending=True).records
        assert [record.partition_key for record in records] == ["early", "late"]


def test_a_killed_process_leaves_everything_it_had_written(
    new_database: Callable[[], str], opened: Opened, tmp_path: Path
) -> None:
    with opened(new_database()) as instance:
        writer = writer_process(0, tmp_path, ONE, "bars")
        assert writer.stdout is not None
        reported = [int(writer.stdout.readline()) for _ in range(4)][-1]
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait(timeout=30)
        writer.stdout.close()
        kept = instance.get_materialized_partitions(BARS)
        assert kept >= {f"p{number}" for number in range(reported)}
        instance.store_event(ev.entry(ONE, 1, ev.materialized("bars", "after")))
        assert instance.get_materialized_partitions(BARS) == kept | {"after"}


def test_a_forked_child_neither_repeats_held_events_nor_shares_connections(
    new_database: Callable[[], str], opened: Opened, tmp_path: Path
) -> None:
    script = (
        "import os\n"
        "from strategy_pipeline_tests.defs import instance_events as ev\n"
        f"instance = ev.instance_with({str(tmp_path)!r}, quick=True)\n"
        f"ev.add_run(instance, {ONE!r})\n"
        f"instance.store_event(ev.entry({ONE!r}, 1, ev.materialized('bars', 'parent')))\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        f"    instance.store_event(ev.entry({ONE!r}, 2, ev.materialized('bars', 'child')))\n"
        "    instance.dispose()\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        f"assert instance.has_run({ONE!r})\n"
        "instance.dispose()\n"
    )
    with opened(new_database()) as instance:
        subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)
        partitions = sorted(line.get_dagster_event().partition or "" for line in instance.all_logs(ONE))
        assert partitions == ["child", "parent"]


def test_connections_that_the_server_has_dropped_are_replaced(new_database: Callable[[], str], opened: Opened) -> None:
    url = new_database()
    with opened(url) as instance:
        ev.add_run(instance, ONE)
        engine = db.create_engine(url)
        with engine.connect() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            dropped = connection.execute(db.text(f"{others} AND pid <> pg_backend_pid()")).all()
        engine.dispose()
        assert dropped
        instance.store_event(ev.entry(ONE, 1, ev.materialized("bars", "d1")))
        assert instance.get_materialized_partitions(BARS) == {"d1"}
        assert instance.has_run(ONE)


def test_the_webserver_reads_through_a_pool_with_its_time_limit(
    new_database: Callable[[], str], opened: Opened
) -> None:
    with opened(new_database()) as instance:
        write_a_history(instance)
        expected = answers(instance)
        instance.optimize_for_webserver(statement_timeout=5_000, pool_recycle=60, max_overflow=2)
        assert answers(instance) == expected
        with instance.event_log_storage._connect() as connection:
            assert connection.execute(db.text("SHOW statement_timeout")).scalar() == "5s"


def test_upgrading_an_instance_works_and_keeps_its_history(new_database: Callable[[], str], opened: Opened) -> None:
    with opened(new_database()) as instance:
        write_a_history(instance)
        expected = answers(instance)
        instance.upgrade()
        assert answers(instance) == expected
        for storage in (instance.run_storage, instance.event_log_storage, instance.schedule_storage):
            here, newest = storage.alembic_version()
            assert here == newest


def test_processes_started_from_the_instance_inherit_the_storage_and_the_password_stays_out_of_what_they_get(
    new_database: Callable[[], str], postgres_server: PostgresServer, opened: Opened
) -> None:
    with opened(new_database()) as instance:
        handed_on = serialize_value(instance.get_ref())
        assert postgres_server.password not in handed_on
    with dg.DagsterInstance.from_ref(deserialize_value(handed_on, InstanceRef)) as child:
        assert isinstance(child.event_log_storage, QuickPostgresEventLogStorage)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"dagster_version": "1.13.28"}, f"made for Dagster {MADE_FOR_DAGSTER} and this is 1.13.28"),
        ({"quick_storage": ("strategy_pipeline.defs.postgres_storage", "Gone")}, "lacks a part it needs"),
    ],
)
def test_another_dagster_gets_the_stock_storage_and_a_warning(
    new_database: Callable[[], str], changed: dict[str, Any], reason: str
) -> None:
    with pytest.warns(UserWarning, match=reason):
        storage = open_postgres_storage(SecretStr(new_database()), **changed)
    assert type(storage) is DagsterPostgresStorage
    assert describe_storage(storage.event_log_storage) == ("stock PostgreSQL", False)


@pytest.mark.parametrize("version", [MADE_FOR_DAGSTER, "1.13.28"])
@pytest.mark.filterwarnings("ignore:The quick instance storage")
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:hunter2@127.0.0.1:1/db",
        "postgresql://postgres:hunter2@127.0.0.1:hunter2/db",
        "postgresql+nosuchdriver://postgres:hunter2@127.0.0.1/db",
    ],
)
def test_a_database_that_cannot_be_opened_is_one_sentence_without_the_password(url: str, version: str) -> None:
    with pytest.raises(StorageError, match="DAGSTER_POSTGRES_URL cannot be opened") as caught:
        open_postgres_storage(SecretStr(url), dagster_version=version)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_wrong_password_is_told_and_not_shown(postgres_server: PostgresServer) -> None:
    with pytest.raises(StorageError, match="password authentication failed") as caught:
        open_postgres_storage(SecretStr(postgres_server.url("postgres", password="hunter2")))
    assert "hunter2" not in str(caught.value)


def test_storages_of_one_instance_share_one_pool_and_leave_no_connection_behind(
    new_database: Callable[[], str],
) -> None:
    url = new_database()
    storage = open_postgres_storage(SecretStr(url))
    assert isinstance(storage, QuickPostgresStorage)
    assert describe_storage(storage.event_log_storage) == ("quick PostgreSQL", True)
    for part in (storage.event_log_storage, storage.run_storage, storage.schedule_storage):
        part.alembic_version()  # type: ignore[attr-defined]  # all three have one on PostgreSQL
    engine = db.create_engine(url)
    counting = db.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert connection.execute(counting).scalar() == 1
        storage.event_log_storage.dispose()
        deadline = time.monotonic() + 30
        while connection.execute(counting).scalar() and time.monotonic() < deadline:
            pass
        assert connection.execute(counting).scalar() == 0
    engine.dispose()


def seconds_per_event(instance: dg.DagsterInstance, partitions: int) -> float:
    instance.store_event(ev.entry(ONE, 0, None))
    gc.collect()
    started = time.perf_counter()
    for asset in ("bars", "features"):
        for number in range(partitions):
            instance.store_event(ev.entry(ONE, number, ev.materialized(asset, f"p{number}")))
        instance.store_event(ev.entry(ONE, partitions, None))
    return (time.perf_counter() - started) / (2 * partitions)


def test_it_is_many_times_quicker_than_the_stock_storage(new_database: Callable[[], str], opened: Opened) -> None:
    with opened(new_database()) as quick, opened(new_database(), quick=False) as stock:
        ours = min(seconds_per_event(quick, partitions=90) for _ in range(2))
        theirs = min(seconds_per_event(stock, partitions=8) for _ in range(2))
    # About 100 times on two quiet cores.
    assert theirs > 8 * ours
