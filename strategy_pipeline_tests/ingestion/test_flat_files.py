"""One contract for the vendor's bucket and a folder of the same layout, and what each failure tells the user."""

import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from strategy_pipeline.errors import NotEntitledError, NotPublishedError, UnreachableError
from strategy_pipeline.ingestion.flat_files import LocalFlatFileStore, S3FlatFileStore
from strategy_pipeline.ingestion.layout import DATASETS, key_for
from strategy_pipeline_tests.ingestion.conftest import BUCKET, SECRET, Vendor, s3_client

DAYS = DATASETS["us_stocks_sip/day_aggs_v1"]
HOURS = DATASETS["us_stocks_sip/hour_aggs_v1"]
FRIDAY = key_for(DAYS, date(2013, 10, 4))
MONDAY = key_for(DAYS, date(2013, 10, 7))


class TestContract:
    def test_lists_the_published_files_of_a_range_by_key(self, vendor: Vendor) -> None:
        for day in (date(2012, 12, 31), date(2013, 10, 4), date(2013, 10, 7), date(2014, 1, 2)):
            vendor.publish(key_for(DAYS, day), b"x" * day.day)
        vendor.publish(f"{DAYS.name}/2013/10/readme.txt", b"not a data file")
        vendor.publish(key_for(HOURS, date(2013, 10, 1)), b"another data set")
        listed = vendor.store.list(DAYS, date(2012, 12, 31), date(2013, 10, 4))
        assert [(info.key[-17:-7], info.size) for info in listed] == [("2012-12-31", 31), ("2013-10-04", 4)]
        assert vendor.store.list(DAYS, date(2020, 1, 1), date(2020, 12, 31)) == []

    def test_lists_the_file_of_a_month_for_any_day_in_it(self, vendor: Vendor) -> None:
        key = key_for(HOURS, date(2013, 10, 1))
        vendor.publish(key, b"hours")
        assert [info.key for info in vendor.store.list(HOURS, date(2013, 10, 15), date(2013, 10, 15))] == [key]

    def test_stat_and_list_tell_the_same(self, vendor: Vendor) -> None:
        vendor.publish(FRIDAY, b"some bytes")
        info = vendor.store.stat(FRIDAY)
        assert vendor.store.list(DAYS, date(2013, 10, 4), date(2013, 10, 4)) == [info]
        assert info.size == 10
        assert info.last_modified.tzinfo == UTC

    def test_the_etag_changes_with_the_content_only(self, vendor: Vendor) -> None:
        vendor.publish(FRIDAY, b"first")
        first = vendor.store.stat(FRIDAY).etag
        assert vendor.store.stat(FRIDAY).etag == first
        vendor.publish(FRIDAY, b"second edition")
        assert vendor.store.stat(FRIDAY).etag != first

    def test_fetch_writes_the_very_bytes_and_reports_them(self, vendor: Vendor, tmp_path: Path) -> None:
        data = bytes(range(256)) * 20_000
        vendor.publish(FRIDAY, data)
        received: list[int] = []
        target = tmp_path / "fetched.csv.gz"
        info = vendor.store.fetch(FRIDAY, target, received.append)
        assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(data).digest()
        assert sum(received) == info.size == len(data)
        assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["fetched.csv.gz"]

    def test_a_missing_file_of_a_session_is_not_published(self, vendor: Vendor, tmp_path: Path) -> None:
        for ask in (vendor.store.stat, lambda key: vendor.store.fetch(key, tmp_path / "out")):
            with pytest.raises(NotPublishedError) as caught:
                ask(FRIDAY)
            assert FRIDAY in str(caught.value)
            assert vendor.store.location in str(caught.value)
            assert "is not published" in str(caught.value)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("day", "reason"),
        [(date(2013, 12, 25), "2013-12-25 is an exchange holiday"), (date(2013, 10, 5), "2013-10-05 is a weekend")],
    )
    def test_a_missing_file_of_another_day_says_there_was_no_session(
        self, vendor: Vendor, day: date, reason: str
    ) -> None:
        with pytest.raises(NotPublishedError, match=reason):
            vendor.store.stat(key_for(DAYS, day))

    def test_a_retracted_file_is_not_published_any_more(self, vendor: Vendor) -> None:
        vendor.publish(FRIDAY, b"oops")
        vendor.retract(FRIDAY)
        with pytest.raises(NotPublishedError):
            vendor.store.stat(FRIDAY)
        assert vendor.store.list(DAYS, date(2013, 10, 1), date(2013, 10, 31)) == []


def test_a_missing_mirror_folder_names_the_setting(tmp_path: Path) -> None:
    store = LocalFlatFileStore(tmp_path / "nowhere")
    for ask in (lambda: store.stat(FRIDAY), lambda: store.list(DAYS, date(2013, 1, 1), date(2013, 1, 31))):
        with pytest.raises(UnreachableError, match="FLAT_FILES_URL"):
            ask()


def test_a_missing_bucket_names_the_setting(s3_endpoint: str) -> None:
    store = S3FlatFileStore(s3_client(s3_endpoint), "no-such-bucket")
    with pytest.raises(NotPublishedError, match="MASSIVE_S3_BUCKET"):
        store.list(DAYS, date(2013, 1, 1), date(2013, 1, 31))


def test_an_endpoint_that_nobody_listens_on_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        store = S3FlatFileStore(s3_client(endpoint), BUCKET)
        with pytest.raises(UnreachableError) as caught:
            store.stat(FRIDAY)
    said = str(caught.value)
    assert endpoint in said
    assert "MASSIVE_S3_ENDPOINT" in said
    assert SECRET not in said


def test_missing_keys_name_the_variables_to_set(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.session.Session().client("s3", endpoint_url=s3_endpoint, region_name="us-east-1", config=Config())
    with pytest.raises(NotEntitledError, match="MASSIVE_AWS_ACCESS_KEY"):
        S3FlatFileStore(client, BUCKET).stat(FRIDAY)


BODY = bytes(range(256)) * 8_192
ETAG = hashlib.md5(BODY, usedforsecurity=False).hexdigest()


class FaultyServer(http.server.ThreadingHTTPServer):
    """One object over HTTP as S3 serves it, which fails in the way a test asks for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FaultyHandler)
        self.status = 200
        self.code = ""
        self.cuts: list[int] = []
        self.garble = False
        self.ranges: list[str | None] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class FaultyHandler(http.server.BaseHTTPRequestHandler):
    server: FaultyServer

    def log_message(self, *args: object) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        server = self.server
        if server.status != 200:
            text = f"<Error><Code>{server.code}</Code><Message>{SECRET}</Message></Error>".encode()
            self.send_response(server.status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if with_body:
                self.wfile.write(text)
            return
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = BODY[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{ETAG}"')
        self.send_header("Last-Modified", "Sat, 05 Oct 2013 15:00:00 GMT")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.end_headers()
        if not with_body:
            return
        server.ranges.append(asked)
        if server.garble:
            server.garble = False
            body = b"?" * len(body)
        if server.cuts:
            self.wfile.write(body[: server.cuts.pop(0)])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.wfile.write(body)


@pytest.fixture
def faulty() -> Iterator[FaultyServer]:
    server = FaultyServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "kind", "says"),
    [
        (403, "AccessDenied", NotEntitledError, "may not read"),
        (403, "SignatureDoesNotMatch", NotEntitledError, "MASSIVE_AWS_SECRET_KEY"),
        (403, "InvalidAccessKeyId", NotEntitledError, "MASSIVE_AWS_ACCESS_KEY"),
        (404, "NoSuchKey", NotPublishedError, "is not published"),
        (500, "InternalError", UnreachableError, "kept failing"),
        (503, "SlowDown", UnreachableError, "kept failing"),
    ],
)
def test_an_answer_that_refuses_becomes_one_sentence_without_a_secret(
    faulty: FaultyServer, status: int, code: str, kind: type[Exception], says: str
) -> None:
    faulty.status, faulty.code = status, code
    store = S3FlatFileStore(s3_client(faulty.endpoint), BUCKET)
    with pytest.raises(kind) as caught:
        store.list(DAYS, date(2013, 10, 1), date(2013, 10, 31))
    if kind is not NotPublishedError:
        assert says in str(caught.value)
    # A HEAD answer has no body and so no code: 403 stays "not entitled" all the same.
    with pytest.raises(kind) as caught:
        store.stat(FRIDAY)
    said = str(caught.value)
    assert FRIDAY in said
    assert faulty.endpoint in said
    assert BUCKET in said
    assert SECRET not in said
    assert said.endswith(".")
    assert "\n" not in said


def _range_start(asked: str | None) -> int:
    return int(str(asked).removeprefix("bytes=").rstrip("-"))


def test_a_body_that_breaks_off_is_continued_where_it_stopped(faulty: FaultyServer, tmp_path: Path) -> None:
    faulty.cuts = [1_200_000]
    store = S3FlatFileStore(s3_client(faulty.endpoint), BUCKET)
    info = store.fetch(FRIDAY, tmp_path / "out.gz")
    assert (tmp_path / "out.gz").read_bytes() == BODY
    assert info.last_modified == datetime(2013, 10, 5, 15, 0, tzinfo=UTC)
    assert len(faulty.ranges) == 2
    assert faulty.ranges[0] is None
    assert 0 < _range_start(faulty.ranges[1]) <= 1_200_000
    assert [path.name for path in tmp_path.iterdir()] == ["out.gz"]


def test_a_later_process_continues_what_an_earlier_one_left(faulty: FaultyServer, tmp_path: Path) -> None:
    faulty.cuts = [1_100_000, 0, 0, 0, 0, 0]
    store = S3FlatFileStore(s3_client(faulty.endpoint), BUCKET)
    with pytest.raises(UnreachableError):
        store.fetch(FRIDAY, tmp_path / "out.gz")
    assert not (tmp_path / "out.gz").exists()
    faulty.cuts, faulty.ranges = [], []
    S3FlatFileStore(s3_client(faulty.endpoint), BUCKET).fetch(FRIDAY, tmp_path / "out.gz")
    assert len(faulty.ranges) == 1
    assert 0 < _range_start(faulty.ranges[0]) <= 1_100_000
    assert (tmp_path / "out.gz").read_bytes() == BODY


def test_bytes_that_do_not_have_the_published_md5_are_thrown_away_and_fetched_again(
    faulty: FaultyServer, tmp_path: Path
) -> None:
    faulty.garble = True
    S3FlatFileStore(s3_client(faulty.endpoint), BUCKET).fetch(FRIDAY, tmp_path / "out.gz")
    assert (tmp_path / "out.gz").read_bytes() == BODY
    assert faulty.ranges == [None, None]


def test_the_part_of_an_older_edition_is_not_continued(s3_vendor: Vendor, tmp_path: Path) -> None:
    (tmp_path / ".out.gz.deadbeef.partial").write_bytes(b"old edition")
    s3_vendor.publish(FRIDAY, b"new edition, longer")
    s3_vendor.store.fetch(FRIDAY, tmp_path / "out.gz")
    assert (tmp_path / "out.gz").read_bytes() == b"new edition, longer"
    assert [path.name for path in tmp_path.iterdir()] == ["out.gz"]
