"""What the ingestion tests stand on: vendor-shaped files written on the spot, and real S3 over HTTP on a free port."""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from strategy_pipeline.ingestion.flat_files import FlatFileStore, LocalFlatFileStore, S3FlatFileStore
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.lake import files

BUCKET = "flatfiles"
SECRET = "do-not-print-me"
PUBLISHED_AT = datetime(2013, 10, 5, 15, 0, tzinfo=UTC)


def s3_client(endpoint: str, **config: object) -> Any:
    """A client as the resources build it: path style, own endpoint, short time-outs and few retries for tests."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test-key-id",
        aws_secret_access_key=SECRET,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=2,
            read_timeout=5,
            **config,
        ),
    )


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@dataclass
class Vendor:
    """A store under test and the other side of it: how a file gets published."""

    store: FlatFileStore
    publish: Callable[[str, bytes], None]
    retract: Callable[[str], None]


@pytest.fixture
def s3_vendor(s3_endpoint: str) -> Iterator[Vendor]:
    client = s3_client(s3_endpoint)
    client.create_bucket(Bucket=BUCKET)

    def publish(key: str, data: bytes) -> None:
        client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def retract(key: str) -> None:
        client.delete_object(Bucket=BUCKET, Key=key)

    yield Vendor(S3FlatFileStore(client, BUCKET), publish, retract)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for entry in page.get("Contents", []):
            client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    client.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def local_vendor(tmp_path: Path) -> Vendor:
    root = tmp_path / "vendor"
    root.mkdir()

    def publish(key: str, data: bytes) -> None:
        files.write_bytes(root / key, data)

    def retract(key: str) -> None:
        (root / key).unlink()

    return Vendor(LocalFlatFileStore(root), publish, retract)


@pytest.fixture(params=["local_vendor", "s3_vendor"])
def vendor(request: pytest.FixtureRequest) -> Vendor:
    """The same vendor twice: a folder, and a bucket over HTTP."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def raw_file(tmp_path: Path) -> Callable[..., RawFile]:
    """Writes a vendor file (text is gzipped, bytes are written as they are) and hands it out as the mirror would."""

    def write(key: str, content: str | bytes) -> RawFile:
        data = gzip.compress(content.encode(), mtime=0) if isinstance(content, str) else content
        path = tmp_path / "raw" / key
        files.write_bytes(path, data)
        return RawFile(key, path, len(data), "etag-1", PUBLISHED_AT, files.sha256_of(path))

    return write
