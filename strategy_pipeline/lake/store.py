"""The lake itself: atomic, idempotent partitions of contract-checked tables, on a local path or on S3.

One partition is one Parquet file, ``<url>/<table>/<key>=<value>/.../part-0.parquet``. The same frame and metadata give
the same bytes; a writer that is killed leaves the old file in place. Joining tables is asof.py's business.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import dataframely as dy
import polars as pl
from dataframely._rule import Rule

from strategy_pipeline.errors import ContractError, StorageError
from strategy_pipeline.lake import files
from strategy_pipeline.lake.tables import Table

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

FILE_NAME = "part-0.parquet"
_MOST_ROW_GROUPS = 64
# From this many rows on, encoding is worth doing beside the proof of the contract.
_LARGE_ROWS = 100_000
# How often an object is tried to be created while other writers try the same.
_MOST_ATTEMPTS = 5
PartitionKey = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """What a partition file is and where it came from; `metadata` is what its writer recorded inside the file."""

    table: str
    key: Mapping[str, str]
    location: str
    rows: int
    bytes: int
    sha256: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class S3Access:
    """How to reach an S3 lake; None leaves a field to the usual AWS environment and credential files."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = None

    def __repr__(self) -> str:
        return f"S3Access(endpoint_url={self.endpoint_url!r}, region={self.region!r})"


def key_path(table: Table, key: PartitionKey) -> str:
    """The folder of a partition relative to the lake: ``features/timeframe=15m/session=2024-01-02``."""
    if set(key) != set(table.partition_by):
        raise ValueError(f"{table.name} is partitioned by {table.partition_by}, not {tuple(key)}")
    return "/".join([table.name, *(f"{name}={key[name]}" for name in table.partition_by)])


def conform(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` in the table's column order, sorted, and proven to meet its contract.

    Raises ContractError naming missing or unknown columns, wrong types, or the broken rules with their row counts.
    """
    shaped = _shaped(table, frame)
    if _holds_at_a_glance(table, shaped):
        return shaped
    ordered = _sorted(shaped, table.sort_by)
    _prove(table, ordered)
    return ordered


def _shaped(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with the table's columns and types, in its column order."""
    wanted, found = table.polars_schema, frame.schema
    if set(found) != set(wanted):
        missing, unknown = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
        raise ContractError(f"A frame for {table.name} lacks columns {missing} and has unknown columns {unknown}.")
    wrong = [f"{name} is {found[name]}, not {kind}" for name, kind in wanted.items() if found[name] != kind]
    if wrong:
        raise ContractError(f"A frame for {table.name} has wrong column types: {'; '.join(wrong)}.")
    return frame.select(wanted.names())


def _prove(table: Table, frame: pl.DataFrame) -> None:
    """Raises ContractError unless every rule of the table holds for every row."""
    if _holds_at_a_glance(table, frame):
        return
    try:
        table.schema.validate(frame)
    except dy.exc.ValidationError as error:
        reasons = " ".join(str(error).split())
        raise ContractError(f"A frame for {table.name} breaks its contract: {reasons}.") from None


def _holds_at_a_glance(table: Table, frame: pl.DataFrame) -> bool:
    """Whether one pass proves every rule; False only means that the thorough way has to decide and to explain.

    Rows that strictly follow each other by columns that are the key hold no key twice, so the costly search for
    duplicates, most of a large frame's validation in time and memory, is not needed for sorted rows.
    """
    if not frame.height or set(table.key) != set(table.sort_by):
        return False
    rules = table.schema._validation_rules(with_cast=False)
    rules.pop("primary_key", None)
    if any(type(rule) is not Rule for rule in rules.values()):
        return False
    rises, level = pl.lit(False), pl.lit(True)
    for name in table.sort_by:
        here, before = pl.col(name), pl.col(name).shift(1)
        rises = rises | (level & (here > before))
        level = level & (here == before)
    # The first row has no predecessor; a null in a rule counts as kept, as in dataframely.
    holds = [rises.fill_null(True).all(), *(rule.expr.all() for rule in rules.values())]
    return all(frame.select(proof.alias(str(at)) for at, proof in enumerate(holds)).row(0))


def _refuse_replacing(table: Table) -> None:
    if table.append_only:
        raise ContractError(f"{table.name} only grows: add rows with append, none can be replaced.")


def _recorded(metadata: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in metadata.items()}


def _encoded(table: Table, frame: pl.DataFrame, metadata: Mapping[str, object]) -> bytes:
    """The bytes of a partition's file."""
    # Small row groups make a symbol cheap to reach, very many of them make the file costly to write.
    row_group_rows = max(table.row_group_rows, -(-frame.height // _MOST_ROW_GROUPS))
    return files.parquet_bytes(frame, metadata=_recorded(metadata), row_group_rows=row_group_rows)


def _sorted(frame: pl.DataFrame, by: tuple[str, ...]) -> pl.DataFrame:
    """`frame` sorted by `by`; one pass over neighbours decides whether there is anything to do."""
    if not by or frame.height < 2:
        return frame
    falls, level = pl.lit(False), pl.lit(True)
    for name in by:
        here, before = pl.col(name), pl.col(name).shift(1)
        falls = falls | (level & (here < before))
        level = level & (here == before)
    in_order = frame.select((~falls.fill_null(False)).all()).item()
    return frame if in_order else frame.sort(*by, maintain_order=True)


class Lake:
    """Reads and writes partitions of tables under one URL (a path, or ``s3://bucket/prefix``)."""

    def __init__(self, url: str | Path, s3: S3Access | None = None) -> None:
        self.url = str(url).rstrip("/")
        self._s3_access = s3 or S3Access()
        self._storage: _LocalStorage | _S3Storage
        if self.url.startswith("s3://"):
            self._storage = _S3Storage(self.url, self._s3_access)
        else:
            self._storage = _LocalStorage(Path(self.url))

    def __repr__(self) -> str:
        return f"Lake({self.url!r})"

    def write(
        self, table: Table, key: PartitionKey, frame: pl.DataFrame, metadata: Mapping[str, str] | None = None
    ) -> PartitionInfo:
        """Replaces one partition with `frame`, checked and sorted; on a ContractError the old file stays.

        Raises ContractError for tables that only grow: their partitions are created with ``append``.
        """
        _refuse_replacing(table)
        if frame.height < _LARGE_ROWS:
            return self._put(table, key, conform(table, frame), metadata or {})
        shaped = _shaped(table, frame)
        # A large frame nearly always holds, so its bytes are made while that is being proven; else for nothing.
        with ThreadPoolExecutor(1) as pool:
            encoding = pool.submit(_encoded, table, shaped, metadata or {})
            if _holds_at_a_glance(table, shaped):
                return self._store(table, key, shaped.height, encoding.result(), metadata or {})
        return self._put(table, key, conform(table, frame), metadata or {})

    def write_many(
        self, table: Table, parts: Iterable[tuple[PartitionKey, pl.DataFrame, Mapping[str, str]]]
    ) -> list[PartitionInfo]:
        """Replaces many partitions, given as (key, frame, metadata); the contract is proven before any is written.

        Proving a thousand small frames together costs little more than proving one.
        """
        _refuse_replacing(table)
        shaped = [(key, _sorted(_shaped(table, frame), table.sort_by), metadata) for key, frame, metadata in parts]
        if shaped:
            _prove(table, pl.concat([frame for _, frame, _ in shaped]))
        return [self._put(table, key, frame, metadata) for key, frame, metadata in shaped]

    def append(
        self, table: Table, key: PartitionKey, frame: pl.DataFrame, metadata: Mapping[str, str] | None = None
    ) -> bool:
        """Creates one partition of an append-only table unless it exists; returns whether it was created.

        Of several writers at once exactly one creates it. Raises ContractError as ``write`` does.
        """
        if not table.append_only:
            raise ContractError(f"{table.name} is not append-only: replace its partitions with write.")
        data = _encoded(table, conform(table, frame), metadata or {})
        return self._storage.create(f"{key_path(table, key)}/{FILE_NAME}", data)

    def _put(
        self, table: Table, key: PartitionKey, checked: pl.DataFrame, metadata: Mapping[str, str]
    ) -> PartitionInfo:
        return self._store(table, key, checked.height, _encoded(table, checked, metadata), metadata)

    def _store(
        self, table: Table, key: PartitionKey, rows: int, data: bytes, metadata: Mapping[str, str]
    ) -> PartitionInfo:
        folder = key_path(table, key)
        self._storage.write(f"{folder}/{FILE_NAME}", data)
        return PartitionInfo(
            table.name,
            {name: str(key[name]) for name in table.partition_by},
            f"{self.url}/{folder}/{FILE_NAME}",
            rows,
            len(data),
            hashlib.sha256(data).hexdigest(),
            _recorded(metadata),
        )

    def keys(self, table: Table) -> list[dict[str, str]]:
        """The keys of all partitions of `table`, sorted; empty when nothing was written."""
        found = []
        for name in self._storage.names(table.name):
            parts = name.split("/")
            if parts[-1] == FILE_NAME and len(parts) == len(table.partition_by) + 1:
                found.append(dict(part.split("=", 1) for part in parts[:-1]))
        return sorted(found, key=lambda key: tuple(key.values()))

    def sessions(self, table: Table, **fixed: str) -> list[date]:
        """Sessions of which `table` holds a partition; `fixed` narrows other keys (``timeframe="15m"``)."""
        keys = (key for key in self.keys(table) if all(key[name] == value for name, value in fixed.items()))
        return sorted({date.fromisoformat(key["session"]) for key in keys})

    def info(self, table: Table, key: PartitionKey) -> PartitionInfo | None:
        """What the partition's file says about itself, or None when there is none; the rows are not read."""
        folder = key_path(table, key)
        found = self._storage.describe(f"{folder}/{FILE_NAME}")
        if found is None:
            return None
        rows, size, digest, metadata = found
        return PartitionInfo(
            table.name,
            {name: str(key[name]) for name in table.partition_by},
            f"{self.url}/{folder}/{FILE_NAME}",
            rows,
            size,
            digest,
            metadata,
        )

    def metadata(self, table: Table, key: PartitionKey) -> dict[str, str] | None:
        """What the partition's writer recorded in its file, or None when there is no such partition; cheap."""
        return self._storage.metadata(f"{key_path(table, key)}/{FILE_NAME}")

    def read(
        self,
        table: Table,
        keys: Iterable[PartitionKey],
        *,
        columns: list[str] | None = None,
        where: pl.Expr | None = None,
    ) -> pl.DataFrame:
        """Rows of the given partitions in key order; partitions that do not exist contribute nothing.

        `columns` and `where` are pushed down to the files. A caller who must know which partitions exist asks `keys`.
        """
        names = [f"{key_path(table, key)}/{FILE_NAME}" for key in keys]
        lazy = self._storage.scan(names, table)
        if where is not None:
            lazy = lazy.filter(where)
        if columns is not None:
            lazy = lazy.select(columns)
        return lazy.collect()

    def read_sessions(
        self,
        table: Table,
        sessions: Iterable[date],
        *,
        columns: list[str] | None = None,
        where: pl.Expr | None = None,
        **fixed: str,
    ) -> pl.DataFrame:
        """Rows of the partitions of `sessions`; `fixed` gives the table's other partition keys."""
        return self.read(table, [{**fixed, "session": day} for day in sessions], columns=columns, where=where)


class _LocalStorage:
    """Partitions as files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, data: bytes) -> None:
        files.write_bytes(self.root / name, data)

    def create(self, name: str, data: bytes) -> bool:
        return files.create_exclusively(self.root / name, data)

    def names(self, folder: str) -> list[str]:
        base = self.root / folder
        return [path.relative_to(base).as_posix() for path in base.rglob(FILE_NAME)] if base.is_dir() else []

    def metadata(self, name: str) -> dict[str, str] | None:
        path = self.root / name
        return _own_metadata(path) if path.is_file() else None

    def describe(self, name: str) -> tuple[int, int, str, dict[str, str]] | None:
        path = self.root / name
        if not path.is_file():
            return None
        rows = pl.scan_parquet(path).select(pl.len()).collect().item()
        return rows, path.stat().st_size, files.sha256_of(path), _own_metadata(path)

    def scan(self, names: list[str], table: Table) -> pl.LazyFrame:
        paths = [path for path in (self.root / name for name in names) if path.is_file()]
        return pl.scan_parquet(paths, hive_partitioning=False) if paths else table.empty().lazy()


class _S3Storage:
    """Partitions as objects below a bucket's prefix; one PUT an object, so readers see the old or the new one."""

    def __init__(self, url: str, access: S3Access) -> None:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self.bucket, self.prefix, self.access = bucket, prefix, access
        self._client: S3Client | None = None

    @property
    def client(self) -> Any:
        if self._client is None:
            import boto3
            from botocore.config import Config

            self._client = boto3.client(
                "s3",
                endpoint_url=self.access.endpoint_url,
                region_name=self.access.region,
                aws_access_key_id=self.access.access_key,
                aws_secret_access_key=self.access.secret_key,
                config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "max_attempts": 5}),
            )
        return self._client

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _get(self, name: str) -> bytes | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return bytes(self.client.get_object(Bucket=self.bucket, Key=self._key(name))["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise self._error("read", name, error) from None
        except BotoCoreError as error:
            raise self._error("read", name, error) from None

    def _error(self, verb: str, name: str, error: Exception) -> StorageError:
        code = getattr(error, "response", {}).get("Error", {}).get("Code") or type(error).__name__
        return StorageError(
            f"Cannot {verb} s3://{self.bucket}/{self._key(name)} ({code}): check LAKE_URL and the AWS credentials."
        )

    def write(self, name: str, data: bytes) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client.put_object(Bucket=self.bucket, Key=self._key(name), Body=data)
        except (BotoCoreError, ClientError) as error:
            raise self._error("write", name, error) from None

    def create(self, name: str, data: bytes) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        for attempt in range(_MOST_ATTEMPTS):
            try:
                self.client.put_object(Bucket=self.bucket, Key=self._key(name), Body=data, IfNoneMatch="*")
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code in ("PreconditionFailed", "412"):
                    return False
                # Another writer was creating it in the same moment; who has won shows in the next attempt.
                if code in ("ConditionalRequestConflict", "409") and attempt < _MOST_ATTEMPTS - 1:
                    continue
                raise self._error("write", name, error) from None
            except BotoCoreError as error:
                raise self._error("write", name, error) from None
            else:
                return True
        raise AssertionError("unreachable: the last attempt returns or raises")

    def names(self, folder: str) -> list[str]:
        from botocore.exceptions import BotoCoreError, ClientError

        base = self._key(folder) + "/"
        found: list[str] = []
        try:
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=base):
                found.extend(item["Key"].removeprefix(base) for item in page.get("Contents", []))
        except (BotoCoreError, ClientError) as error:
            raise self._error("list", folder, error) from None
        return found

    def metadata(self, name: str) -> dict[str, str] | None:
        data = self._get(name)
        return None if data is None else _own_metadata(io.BytesIO(data))

    def describe(self, name: str) -> tuple[int, int, str, dict[str, str]] | None:
        data = self._get(name)
        if data is None:
            return None
        rows = pl.scan_parquet(io.BytesIO(data)).select(pl.len()).collect().item()
        return rows, len(data), hashlib.sha256(data).hexdigest(), _own_metadata(io.BytesIO(data))

    def scan(self, names: list[str], table: Table) -> pl.LazyFrame:
        found = [data for data in (self._get(name) for name in names) if data is not None]
        if not found:
            return table.empty().lazy()
        sources: list[IO[bytes]] = [io.BytesIO(data) for data in found]
        return pl.scan_parquet(sources, hive_partitioning=False)


def _own_metadata(source: Path | io.BytesIO) -> dict[str, str]:
    """The writer's key-value pairs of a Parquet file, without those that libraries add."""
    return {key: value for key, value in pl.read_parquet_metadata(source).items() if not key.startswith("ARROW:")}
