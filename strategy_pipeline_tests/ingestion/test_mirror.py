"""The raw mirror: what it skips, what it replaces and keeps, and what a failing key does to the others."""

import json
from datetime import date
from pathlib import Path

import pytest

from strategy_pipeline.errors import MissingDataError, NotPublishedError, UnreachableError
from strategy_pipeline.ingestion.flat_files import LocalFlatFileStore, ObjectInfo
from strategy_pipeline.ingestion.layout import DATASETS, key_for, keys_for
from strategy_pipeline.ingestion.mirror import Progress, RawMirror, first_failure
from strategy_pipeline_tests.ingestion.conftest import Vendor

DAYS = DATASETS["us_stocks_sip/day_aggs_v1"]
KEYS = keys_for(DAYS, date(2013, 10, 1), date(2013, 10, 31))
KEY = key_for(DAYS, date(2013, 10, 4))


@pytest.fixture
def mirror(tmp_path: Path) -> RawMirror:
    return RawMirror(tmp_path / "raw", copy_local=True)


def test_downloads_in_parallel_and_says_how_far_it_is(vendor: Vendor, mirror: RawMirror) -> None:
    for number, key in enumerate(KEYS):
        vendor.publish(key, b"x" * number)
    seen: list[Progress] = []
    results = mirror.download(vendor.store, KEYS, workers=4, on_progress=seen.append)
    assert [result.key for result in results] == KEYS
    assert {result.status for result in results} == {"downloaded"}
    assert (seen[-1].files_done, seen[-1].files_total) == (23, 23)
    assert seen[-1].bytes_done == sum(range(23))
    assert [raw.size for raw in map(mirror.require, KEYS)] == list(range(23))


def test_what_is_there_and_unchanged_is_skipped(vendor: Vendor, mirror: RawMirror) -> None:
    vendor.publish(KEY, b"content")
    mirror.download(vendor.store, [KEY])
    before = mirror.require(KEY).path.stat()
    [again] = mirror.download(vendor.store, [KEY])
    assert again.status == "unchanged"
    assert mirror.require(KEY).path.stat() == before
    [forced] = mirror.download(vendor.store, [KEY], overwrite=True)
    assert forced.status == "downloaded"
    assert mirror.require(KEY).revision == 0


def test_a_republished_file_replaces_the_old_one_whose_copy_is_kept(vendor: Vendor, mirror: RawMirror) -> None:
    vendor.publish(KEY, b"first edition")
    mirror.download(vendor.store, [KEY])
    first = mirror.require(KEY)
    vendor.publish(KEY, b"second edition!")
    [result] = mirror.download(vendor.store, [KEY])
    assert result.status == "replaced"
    now = mirror.require(KEY)
    assert now.path.read_bytes() == b"second edition!"
    [old] = now.versions
    assert (old.etag, old.sha256, old.size) == (first.etag, first.sha256, 13)
    assert old.kept_as is not None
    assert now.path.with_name(old.kept_as).read_bytes() == b"first edition"
    assert old.kept_as.endswith(".superseded")


def test_every_edition_stays_in_the_manifest(vendor: Vendor, mirror: RawMirror) -> None:
    for edition in (b"one", b"two two", b"three three three"):
        vendor.publish(KEY, edition)
        mirror.download(vendor.store, [KEY])
    raw = mirror.require(KEY)
    assert [version.size for version in raw.versions] == [3, 7]
    assert raw.revision == 2
    kept = [raw.path.with_name(str(version.kept_as)).read_bytes() for version in raw.versions]
    assert kept == [b"one", b"two two"]


def test_a_key_that_is_not_published_does_not_stop_the_others(vendor: Vendor, mirror: RawMirror) -> None:
    vendor.publish(KEYS[0], b"there")
    missing, there = mirror.download(vendor.store, [KEYS[1], KEYS[0]])
    assert missing.status == "not_published"
    assert isinstance(missing.error, NotPublishedError)
    assert there.status == "downloaded"
    assert first_failure([missing, there]) is None
    assert mirror.get(KEYS[1]) is None


def test_the_manifest_tells_where_a_file_came_from(vendor: Vendor, mirror: RawMirror) -> None:
    vendor.publish(KEY, b"abc")
    mirror.download(vendor.store, [KEY])
    said = json.loads((mirror.root / f"{KEY}.manifest.json").read_text())
    assert said["key"] == KEY
    assert said["size"] == 3
    # SHA-256 of "abc": FIPS 180-2, appendix B.1
    assert said["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert said["etag"] == vendor.store.stat(KEY).etag
    assert said["versions"] == []


@pytest.mark.parametrize("damage", ["truncate", "delete", "manifest"])
def test_a_file_that_is_not_what_its_manifest_says_is_fetched_again(
    vendor: Vendor, mirror: RawMirror, damage: str
) -> None:
    vendor.publish(KEY, b"whole content")
    mirror.download(vendor.store, [KEY])
    path = mirror.require(KEY).path
    if damage == "truncate":
        path.write_bytes(b"whole")
    elif damage == "delete":
        path.unlink()
    else:
        (mirror.root / f"{KEY}.manifest.json").write_text('{"key": ')
    with pytest.raises(MissingDataError, match="backfill download --dataset us_stocks_sip/day_aggs_v1"):
        mirror.require(KEY)
    mirror.download(vendor.store, [KEY])
    assert mirror.require(KEY).path.read_bytes() == b"whole content"


def test_a_folder_of_files_is_used_where_it_lies(local_vendor: Vendor, tmp_path: Path) -> None:
    mirror = RawMirror(tmp_path / "raw")
    local_vendor.publish(KEY, b"content")
    [result] = mirror.download(local_vendor.store, [KEY])
    assert result.status == "registered"
    raw = mirror.require(KEY)
    assert raw.path == (tmp_path / "vendor" / KEY).resolve()
    assert not (mirror.root / KEY).exists()
    [again] = mirror.download(local_vendor.store, [KEY])
    assert again.status == "unchanged"


def test_a_file_in_place_that_changes_is_missing_until_it_is_registered_again(
    local_vendor: Vendor, tmp_path: Path
) -> None:
    mirror = RawMirror(tmp_path / "raw")
    local_vendor.publish(KEY, b"content")
    mirror.download(local_vendor.store, [KEY])
    local_vendor.publish(KEY, b"CONTENT")
    assert mirror.get(KEY) is None
    [result] = mirror.download(local_vendor.store, [KEY])
    assert result.status == "replaced"
    assert mirror.require(KEY).versions[0].kept_as is None


def test_a_file_that_was_only_touched_is_no_new_version(local_vendor: Vendor, tmp_path: Path) -> None:
    mirror = RawMirror(tmp_path / "raw")
    for _ in range(2):
        local_vendor.publish(KEY, b"content")
        mirror.download(local_vendor.store, [KEY])
    assert mirror.require(KEY).revision == 0


class _DeadStore(LocalFlatFileStore):
    """A store whose endpoint is gone; counts how often it was asked."""

    asked = 0

    def stat(self, key: str) -> ObjectInfo:
        self.asked += 1
        raise UnreachableError(f"Cannot reach the endpoint for {key}.")


def test_an_unreachable_endpoint_is_not_asked_for_every_key(mirror: RawMirror, tmp_path: Path) -> None:
    store = _DeadStore(tmp_path)
    results = mirror.download(store, KEYS, workers=1)
    assert store.asked == 1
    assert {result.status for result in results} == {"failed"}
    assert isinstance(first_failure(results), UnreachableError)


def test_a_killed_download_leaves_the_old_file_and_its_manifest(vendor: Vendor, mirror: RawMirror) -> None:
    vendor.publish(KEY, b"first edition")
    mirror.download(vendor.store, [KEY])
    # What a process leaves that dies between the arrival of the new edition and its renaming.
    arriving = mirror.root / Path(KEY).parent / f".{Path(KEY).name}.arriving"
    arriving.write_bytes(b"half of the sec")
    assert mirror.require(KEY).path.read_bytes() == b"first edition"
    vendor.publish(KEY, b"second edition!")
    mirror.download(vendor.store, [KEY])
    raw = mirror.require(KEY)
    assert raw.path.read_bytes() == b"second edition!"
    assert not arriving.exists()


def test_five_thousand_small_files_register_in_seconds_not_minutes(shared_data: Path, tmp_path: Path) -> None:
    store, mirror = LocalFlatFileStore(shared_data), RawMirror(tmp_path / "raw")
    keys = [info.key for info in store.list(DAYS, date(1998, 1, 1), date(2018, 12, 31))]
    # shared data README: 5,283 day files
    assert len(keys) == 5_283
    results = mirror.download(store, keys)
    assert {result.status for result in results} == {"registered"}
    assert {result.status for result in mirror.download(store, keys)} == {"unchanged"}
