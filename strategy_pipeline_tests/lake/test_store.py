"""Partitions: same input, same bytes; old file readable; contract enforced; local path and S3 alike."""

import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from strategy_pipeline.errors import ContractError, StorageError
from strategy_pipeline.lake import files
from strategy_pipeline.lake.store import Lake, S3Access
from strategy_pipeline.lake.tables import HISTORICAL_BARS
from strategy_pipeline_tests.market.test_timeframes import minute_bars

DAY = date(2024, 11, 27)


@pytest.fixture(scope="module")
def s3_endpoint():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["local", "s3"])
def lake(request, tmp_path):
    if request.param == "local":
        return Lake(tmp_path / "lake")
    access = S3Access(request.getfixturevalue("s3_endpoint"), "us-east-1", "testing", "testing")
    bucket = f"lake-{tmp_path.name.lower().replace('_', '-')}"[:60].rstrip("-")
    lake = Lake(f"s3://{bucket}/prefix", access)
    lake._storage.client.create_bucket(Bucket=bucket)
    return lake


def bars(minutes: int = 20) -> pl.DataFrame:
    return minute_bars(DAY, list(range(minutes)))


def test_a_partition_reads_back_as_it_was_written(lake):
    written = lake.write(HISTORICAL_BARS, {"session": DAY}, bars(), {"source_etag": "abc"})
    assert lake.read_sessions(HISTORICAL_BARS, [DAY]).equals(bars())
    assert lake.info(HISTORICAL_BARS, {"session": DAY}) == written
    assert lake.metadata(HISTORICAL_BARS, {"session": DAY}) == {"source_etag": "abc"}
    assert lake.sessions(HISTORICAL_BARS) == [DAY]


def test_the_same_rows_in_another_order_give_the_same_bytes(lake):
    first = lake.write(HISTORICAL_BARS, {"session": DAY}, bars(), {"b": "2", "a": "1"})
    shuffled = bars().sample(fraction=1.0, shuffle=True, seed=1)
    again = lake.write(HISTORICAL_BARS, {"session": DAY}, shuffled, {"a": "1", "b": "2"})
    assert again.sha256 == first.sha256


def test_a_partition_that_does_not_exist_is_no_rows_and_no_info(lake):
    assert lake.read_sessions(HISTORICAL_BARS, [DAY]).equals(HISTORICAL_BARS.empty())
    assert lake.info(HISTORICAL_BARS, {"session": DAY}) is None
    assert lake.metadata(HISTORICAL_BARS, {"session": DAY}) is None
    assert lake.keys(HISTORICAL_BARS) == []


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (lambda frame: frame.drop("vwap"), r"lacks columns \['vwap'\]"),
        (lambda frame: frame.with_columns(extra=1), r"unknown columns \['extra'\]"),
        (lambda frame: frame.with_columns(volume=pl.col("volume").cast(pl.Int64)), "volume is Int64, not Float64"),
        (lambda frame: frame.with_columns(high=pl.col("low") - 0.01), "prices_ordered"),
        (lambda frame: frame.with_columns(close=pl.lit(float("nan"))), "close"),
        (lambda frame: pl.concat([frame, frame.head(1)]), "primary_key"),
        (lambda frame: frame.with_columns(available_at=pl.col("bar_start")), "known_after_it_ended"),
    ],
)
def test_a_frame_that_breaks_the_contract_is_refused_and_the_old_partition_stays(lake, fault, sentence):
    written = lake.write(HISTORICAL_BARS, {"session": DAY}, bars())
    with pytest.raises(ContractError, match=sentence):
        lake.write(HISTORICAL_BARS, {"session": DAY}, fault(bars()))
    assert lake.info(HISTORICAL_BARS, {"session": DAY}) == written


def test_many_partitions_at_once_have_the_bytes_of_one_at_a_time(lake):
    days = [DAY, date(2024, 11, 29)]
    frames = {day: minute_bars(day, list(range(30))) for day in days}
    single = [lake.write(HISTORICAL_BARS, {"session": day}, frames[day], {"n": str(day)}) for day in days]
    together = lake.write_many(HISTORICAL_BARS, [({"session": day}, frames[day], {"n": str(day)}) for day in days])
    assert together == single


def test_one_bad_partition_of_many_stops_all_of_them(lake):
    good, bad = bars(), minute_bars(date(2024, 11, 29), [0]).with_columns(low=pl.lit(1e9))
    with pytest.raises(ContractError, match="prices_ordered"):
        lake.write_many(HISTORICAL_BARS, [({"session": DAY}, good, {}), ({"session": date(2024, 11, 29)}, bad, {})])
    assert lake.keys(HISTORICAL_BARS) == []


def test_columns_and_filters_are_read_without_the_rest(lake):
    lake.write(HISTORICAL_BARS, {"session": DAY}, bars())
    some = lake.read_sessions(HISTORICAL_BARS, [DAY], columns=["symbol", "close"], where=pl.col("close") > 100.15)
    assert some.columns == ["symbol", "close"]
    assert some.height == 4


def test_a_lake_without_credentials_or_bucket_fails_with_one_sentence(s3_endpoint):
    lake = Lake("s3://nowhere/prefix", S3Access(s3_endpoint, "us-east-1", "testing", "testing"))
    with pytest.raises(StorageError, match=r"Cannot write s3://nowhere/prefix/.*NoSuchBucket.*check LAKE_URL"):
        lake.write(HISTORICAL_BARS, {"session": DAY}, bars())
    assert "testing" not in repr(lake)


def test_a_full_disk_is_one_sentence_and_leaves_the_old_partition(tmp_path):
    # A file-size limit makes the kernel refuse the write as a full disk does; it needs a process of its own.
    lake = Lake(tmp_path / "lake")
    written = lake.write(HISTORICAL_BARS, {"session": DAY}, bars())
    script = """
import resource, signal, sys
from datetime import date
from strategy_pipeline.errors import StorageError
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import HISTORICAL_BARS
from strategy_pipeline_tests.market.test_timeframes import minute_bars
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
frame = minute_bars(date(2024, 11, 27), list(range(390)))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    Lake(sys.argv[1]).write(HISTORICAL_BARS, {"session": date(2024, 11, 27)}, frame)
except StorageError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "lake")], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Cannot write ")
    assert "make room" in done.stdout
    assert lake.info(HISTORICAL_BARS, {"session": DAY}) == written
    assert [path.name for path in (tmp_path / "lake").rglob("*") if path.is_file()] == ["part-0.parquet"]


def test_what_a_killed_writer_left_behind_is_swept_by_the_next_one(tmp_path):
    target = tmp_path / "part-0.parquet"
    script = """
import sys
from pathlib import Path
from strategy_pipeline.lake import files
with files.atomic_write(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print("written", flush=True)
    sys.stdin.read()
"""
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert not target.exists()
    assert len(list(tmp_path.iterdir())) == 1
    files.write_bytes(target, b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["part-0.parquet"]
    assert target.read_bytes() == b"whole"


def test_a_reader_during_many_rewrites_always_sees_a_whole_partition(tmp_path):
    lake = Lake(tmp_path)
    lake.write(HISTORICAL_BARS, {"session": DAY}, bars(5))
    child = os.fork()
    if child == 0:
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            path = Path(tmp_path, "historical_bars", f"session={DAY}", "part-0.parquet")
            data = path.read_bytes()
            if data[:4] != b"PAR1" or data[-4:] != b"PAR1":
                os._exit(1)
        os._exit(0)
    for size in range(1, 60):
        lake.write(HISTORICAL_BARS, {"session": DAY}, bars(size))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_stored_gzip_is_readable_by_the_standard_library():
    import gzip

    for size in (0, 1, 65_535, 65_536, 200_000):
        data = bytes(n % 251 for n in range(size))
        assert gzip.decompress(files.gzip_stored(data)) == data


def many_minutes(symbols: int) -> pl.DataFrame:
    """More rows than are proven before they are encoded: a whole session for each of `symbols`."""
    one = minute_bars(DAY, list(range(390)))
    names = pl.DataFrame({"symbol": [f"S{n:03d}".replace("0", "A") + "X" * (n % 3) + str(n) for n in range(symbols)]})
    return names.join(one.drop("symbol"), how="cross").sort("symbol", "bar_start").select(one.columns)


def test_a_large_partition_is_checked_like_a_small_one(tmp_path):
    lake, frame = Lake(tmp_path), many_minutes(270)
    written = lake.write(HISTORICAL_BARS, {"session": DAY}, frame)
    assert written.rows == 270 * 390
    assert lake.read_sessions(HISTORICAL_BARS, [DAY]).equals(frame)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=5)
    assert lake.write(HISTORICAL_BARS, {"session": DAY}, shuffled).sha256 == written.sha256
    with pytest.raises(ContractError, match="prices_ordered"):
        lake.write(HISTORICAL_BARS, {"session": DAY}, frame.with_columns(high=pl.col("low") - 0.01))
    with pytest.raises(ContractError, match="primary_key"):
        lake.write(HISTORICAL_BARS, {"session": DAY}, pl.concat([frame, frame.tail(1)]))
    assert lake.info(HISTORICAL_BARS, {"session": DAY}) == written
