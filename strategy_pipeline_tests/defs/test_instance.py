"""The quick instance storage answers as the stock one does, survives several processes and a kill, and is quick."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as db
from dagster._core.events import DagsterEventType
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import deserialize_value, serialize_value

from strategy_pipeline.defs.held_events import MOST_HELD_EVENTS
from strategy_pipeline.defs.instance import MADE_FOR_DAGSTER, open_storage
from strategy_pipeline.defs.sqlite_storage import (
    MOST_OPEN_DATABASES,
    QuickEventLogStorage,
    QuickRunStorage,
    QuickScheduleStorage,
)
from strategy_pipeline_tests.defs import instance_events as ev
from strategy_pipeline_tests.defs.instance_history import BARS, FEATURES, ONE, TWO, answers, write_a_history

REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def opened(folder: Path, *, quick: bool = True) -> Iterator[dg.DagsterInstance]:
    folder.mkdir(exist_ok=True)
    instance = ev.instance_with(str(folder), quick=quick)
    try:
        yield instance
    finally:
        instance.dispose()


def test_every_answer_is_the_stock_storages(tmp_path: Path) -> None:
    with opened(tmp_path / "stock", quick=False) as stock, opened(tmp_path / "quick") as quick:
        assert isinstance(quick.event_log_storage, QuickEventLogStorage)
        assert isinstance(quick.run_storage, QuickRunStorage)
        assert isinstance(quick.schedule_storage, QuickScheduleStorage)
        assert type(stock.event_log_storage) is SqliteEventLogStorage
        write_a_history(stock)
        write_a_history(quick)
        expected, found = answers(stock), answers(quick)
        assert found.keys() == expected.keys()
        for question in expected:
            assert found[question] == expected[question], question
        # Facts of the history above, so that equal silence does not pass.
        assert expected[BARS.to_string()]["partitions"] == ["d1", "d2"]
        assert expected[BARS.to_string()]["tags"]["d2"] == {"dagster/data_version": "2"}
        assert expected["runs"][0][1] == "FAILURE"
        assert expected["tick"][0] == "SUCCESS"


def test_each_storage_reads_what_the_other_wrote(tmp_path: Path) -> None:
    with opened(tmp_path) as quick:
        write_a_history(quick)
        expected = answers(quick)
    with opened(tmp_path, quick=False) as stock:
        assert answers(stock) == expected
        stock.store_event(ev.entry(TWO, 900, ev.materialized("bars", "d9")))
    with opened(tmp_path) as quick:
        assert quick.get_materialized_partitions(BARS) == {"d1", "d2", "d9"}


def test_deleting_and_wiping_leave_what_the_stock_storage_leaves(tmp_path: Path) -> None:
    left = []
    for quick in (False, True):
        with opened(tmp_path / str(quick), quick=quick) as instance:
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


def test_a_real_partitioned_run_leaves_the_same_marks(tmp_path: Path) -> None:
    days = dg.StaticPartitionsDefinition([f"d{number}" for number in range(6)])

    @dg.asset(partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run())
    def bars(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        for key in context.partition_keys:
            context.add_asset_metadata({"rows": len(key)}, partition_key=key)
        return dg.MaterializeResult(metadata={"symbols": 3})

    @dg.asset_check(asset=bars)
    def ordered() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    marks = []
    for quick in (False, True):
        with opened(tmp_path / str(quick), quick=quick) as instance:
            job = dg.Definitions(
                assets=[bars], asset_checks=[ordered], jobs=[dg.define_asset_job("all")]
            ).resolve_job_def("all")
            span = {"dagster/asset_partition_range_start": "d1", "dagster/asset_partition_range_end": "d4"}
            result = job.execute_in_process(instance=instance, tags=span)
            assert result.success
            kinds = [line.dagster_event_type for line in instance.all_logs(result.run_id) if line.is_dagster_event]
            metadata = [
                (record.partition_key, record.asset_materialization.metadata["rows"].value)
                for record in instance.fetch_materializations(BARS, limit=10, ascending=True).records
                if record.asset_materialization is not None
            ]
            status = instance.get_run_by_id(result.run_id)
            marks.append(
                (kinds, metadata, sorted(instance.get_materialized_partitions(BARS)), status and status.status)
            )
    assert marks[1] == marks[0]
    assert marks[1][2] == ["d1", "d2", "d3", "d4"]


def test_a_held_event_is_on_disk_before_anyone_reads_or_another_kind_of_event_follows(tmp_path: Path) -> None:
    with opened(tmp_path) as writer, opened(tmp_path, quick=False) as reader:
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


def test_a_held_event_is_written_by_itself_after_a_while(tmp_path: Path) -> None:
    with opened(tmp_path) as writer, opened(tmp_path, quick=False) as reader:
        storage = writer.event_log_storage
        assert isinstance(storage, QuickEventLogStorage)
        writer.store_event(ev.entry(ONE, 1, ev.materialized("bars", "d1")))
        assert storage._hold_timer is not None
        storage._hold_timer.join(timeout=30)
        assert reader.get_materialized_partitions(BARS) == {"d1"}


class FullDisk(QuickEventLogStorage):
    """A storage that cannot write."""

    def _write(self, events: Any) -> None:
        raise OSError("disk full")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_of_a_late_write_reaches_the_next_caller(tmp_path: Path) -> None:
    storage = FullDisk(str(tmp_path))
    storage.store_event(ev.entry(ONE, 1, ev.materialized("bars", "d1")))
    assert storage._hold_timer is not None
    storage._hold_timer.join(timeout=30)
    with pytest.raises(OSError, match="disk full"):
        storage.get_materialized_partitions(BARS)
    assert storage.get_materialized_partitions(BARS) == set()
    storage.dispose()


def test_events_still_held_are_written_when_the_interpreter_ends(tmp_path: Path) -> None:
    script = (
        "from strategy_pipeline_tests.defs import instance_events as ev\n"
        f"instance = ev.instance_with({str(tmp_path)!r}, quick=True)\n"
        f"instance.store_event(ev.entry({ONE!r}, 1, ev.materialized('bars', 'd1')))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)
    with opened(tmp_path) as instance:
        assert instance.get_materialized_partitions(BARS) == {"d1"}


def writer_process(count: int, folder: Path, run_id: str, asset: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", ev.__name__, str(count), str(folder), run_id, asset]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def test_two_processes_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as instance:
        writers = [writer_process(150, tmp_path, ONE, "bars"), writer_process(150, tmp_path, TWO, "features")]
        for number in range(30):
            instance.store_event(ev.entry(ONE, number, ev.materialized("features", f"own{number}")))
            instance.add_run_tags(ONE, {}) if instance.has_run(ONE) else None
        for writer in writers:
            writer.communicate(timeout=120)
            assert writer.returncode == 0
        expected = {f"p{number}" for number in range(150)}
        assert instance.get_materialized_partitions(BARS) == expected
        assert instance.get_materialized_partitions(FEATURES) == expected | {f"own{number}" for number in range(30)}
        # Each burst of five is followed by a plain line; the thirty of this process share the first run's log.
        assert len(instance.all_logs(ONE)) == 150 + 30 + 30
        assert len(instance.all_logs(TWO)) == 150 + 30
        assert {run.run_id: run.tags["written"] for run in instance.get_runs()} == {ONE: "150", TWO: "150"}


@pytest.mark.parametrize("bursts", [1, 4, 9])
def test_a_killed_process_leaves_a_readable_store_with_everything_it_had_written(tmp_path: Path, bursts: int) -> None:
    writer = writer_process(0, tmp_path, ONE, "bars")
    assert writer.stdout is not None
    reported = 0
    for _ in range(bursts):
        reported = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait(timeout=30)
    writer.stdout.close()
    for file in tmp_path.rglob("*.db"):
        engine = db.create_engine(f"sqlite:///{file}")
        with engine.connect() as connection:
            assert connection.execute(db.text("PRAGMA integrity_check")).scalar() == "ok", file
        engine.dispose()
    with opened(tmp_path) as instance:
        kept = instance.get_materialized_partitions(BARS)
        assert kept >= {f"p{number}" for number in range(reported)}
        logged = [line for line in instance.all_logs(ONE) if line.is_dagster_event]
        assert len(logged) >= len(kept)
        instance.store_event(ev.entry(ONE, 1, ev.materialized("bars", "after")))
        assert instance.get_materialized_partitions(BARS) == kept | {"after"}


def test_a_forked_child_neither_repeats_held_events_nor_shares_connections(tmp_path: Path) -> None:
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
        "instance.dispose()\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)
    with opened(tmp_path) as instance:
        assert sorted(line.get_dagster_event().partition or "" for line in instance.all_logs(ONE)) == [
            "child",
            "parent",
        ]
        assert instance.get_materialized_partitions(BARS) == {"child", "parent"}


def test_threads_share_one_storage(tmp_path: Path) -> None:
    with opened(tmp_path) as instance:
        ev.add_run(instance, ONE)
        errors: list[Exception] = []

        def work(name: str) -> None:
            try:
                for number in range(40):
                    instance.store_event(ev.entry(ONE, number, ev.materialized("bars", f"{name}{number}")))
                    if number % 7 == 0:
                        instance.get_materialized_partitions(BARS)
                        instance.store_event(ev.entry(ONE, number, None))
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert errors == []
        assert len(instance.get_materialized_partitions(BARS)) == 160
        assert len(instance.all_logs(ONE)) == 160 + 4 * 6


def test_a_history_deleted_under_a_running_process_is_begun_anew(tmp_path: Path) -> None:
    with opened(tmp_path) as instance, opened(tmp_path, quick=False) as other:
        ev.add_run(instance, ONE)
        instance.store_event(ev.entry(ONE, 1, ev.materialized("bars", "d1")))
        assert instance.get_materialized_partitions(BARS) == {"d1"}
        other.event_log_storage.wipe()
        instance.store_event(ev.entry(ONE, 2, ev.materialized("bars", "d2")))
        assert instance.get_materialized_partitions(BARS) == {"d2"}
        assert len(instance.all_logs(ONE)) == 1


def test_many_runs_do_not_keep_all_their_files_open(tmp_path: Path) -> None:
    with opened(tmp_path) as instance:
        storage = instance.event_log_storage
        assert isinstance(storage, QuickEventLogStorage)
        runs = [str(uuid.UUID(int=number)) for number in range(MOST_OPEN_DATABASES + 8)]
        for run_id in runs:
            instance.store_event(ev.entry(run_id, 1, None))
        assert len(storage._open._engines) == MOST_OPEN_DATABASES
        assert [len(instance.all_logs(run_id)) for run_id in runs] == [1] * len(runs)


def test_a_watcher_hears_of_new_events_while_connections_stay_open(tmp_path: Path) -> None:
    with opened(tmp_path) as instance, opened(tmp_path) as writer:
        ev.add_run(instance, ONE)
        heard: list[str] = []
        all_heard = threading.Event()

        def listen(line: Any, cursor: str) -> None:
            heard.append(line.get_dagster_event().partition)
            if len(heard) == 2:
                all_heard.set()

        instance.watch_event_logs(ONE, None, listen)
        writer.store_event(ev.entry(ONE, 1, ev.materialized("bars", "d1")))
        writer.store_event(ev.entry(ONE, 2, ev.materialized("bars", "d2")))
        assert all_heard.wait(timeout=30)
        assert heard == ["d1", "d2"]
        instance.end_watch_event_logs(ONE, listen)


def test_upgrading_an_instance_works_and_keeps_its_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(tmp_path) as instance:
        write_a_history(instance)
        expected = answers(instance)
        instance.upgrade()
        assert answers(instance) == expected
        for storage in (instance.run_storage, instance.event_log_storage, instance.schedule_storage):
            here, newest = storage.alembic_version()  # type: ignore[misc]  # all three have one on SQLite
            assert here == newest
    assert "Updating event log storage" in capsys.readouterr().out


def test_dagster_yaml_chooses_the_storage_and_processes_started_from_the_instance_inherit_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRATEGY_HOME", str(tmp_path / "home"))
    (tmp_path / "dagster.yaml").write_text(
        "storage:\n  custom:\n    module: strategy_pipeline.defs.instance\n    class: InstanceStorage\n"
        "    config:\n      base_dir:\n        env: STRATEGY_HOME\n"
    )
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.event_log_storage, QuickEventLogStorage)
        assert (tmp_path / "home" / "history" / "runs" / "index.db").exists()
        handed_on = deserialize_value(serialize_value(instance.get_ref()), InstanceRef)
    with dg.DagsterInstance.from_ref(handed_on) as child:
        assert isinstance(child.event_log_storage, QuickEventLogStorage)
        assert isinstance(child.run_storage, QuickRunStorage)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"dagster_version": "1.13.28"}, f"made for Dagster {MADE_FOR_DAGSTER} and this is 1.13.28"),
        ({"quick_storage": ("strategy_pipeline.defs.sqlite_storage", "Gone")}, "lacks a part it needs"),
        ({"quick_storage": ("strategy_pipeline.defs.gone", "Gone")}, "lacks a part it needs"),
    ],
)
def test_another_dagster_gets_the_stock_storage_and_a_warning(
    tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    with pytest.warns(UserWarning, match=reason):
        storage = open_storage(str(tmp_path), **changed)
    assert type(storage) is DagsterSqliteStorage
    assert type(storage.event_log_storage) is SqliteEventLogStorage


def test_it_is_made_for_the_installed_dagster() -> None:
    assert dg.__version__ == MADE_FOR_DAGSTER


def seconds_per_event(folder: Path, *, quick: bool, partitions: int) -> float:
    with opened(folder, quick=quick) as instance:
        instance.store_event(ev.entry(ONE, 0, None))
        gc.collect()
        started = time.perf_counter()
        for asset in ("bars", "features"):
            for number in range(partitions):
                instance.store_event(ev.entry(ONE, number, ev.materialized(asset, f"p{number}")))
            instance.store_event(ev.entry(ONE, partitions, None))
        return (time.perf_counter() - started) / (2 * partitions)


def test_it_is_many_times_quicker_than_the_stock_storage(tmp_path: Path) -> None:
    quick = min(seconds_per_event(tmp_path / f"q{number}", quick=True, partitions=90) for number in range(2))
    stock = min(seconds_per_event(tmp_path / f"s{number}", quick=False, partitions=8) for number in range(2))
    # About 45 times on two quiet cores.
    assert stock > 8 * quick
