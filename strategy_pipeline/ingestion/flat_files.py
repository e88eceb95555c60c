"""The vendor's flat files, over S3 or in a local folder of the same layout, behind one protocol.

Every failure is one of three: not published (404), not entitled (401, 403), unreachable. Each message names endpoint,
bucket and key, says what to do, and never holds a key's secret. Clients are built elsewhere and handed in.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol

from strategy_pipeline.errors import (
    CalendarError,
    NotEntitledError,
    NotPublishedError,
    SourceError,
    StorageError,
    UnreachableError,
)
from strategy_pipeline.ingestion.layout import (
    SUFFIX,
    Dataset,
    dataset_of_key,
    first_day_of_key,
    key_lies_between,
    year_folders,
)
from strategy_pipeline.lake import files
from strategy_pipeline.market.calendar import session

OnBytes = Callable[[int], None]

# A body that breaks off is continued this many times before the endpoint counts as unreachable.
FETCH_ATTEMPTS = 4
_BLOCK = 1 << 20
_PLAIN_MD5 = re.compile(r"[0-9a-f]{32}\Z")
_MISSING_CODES = {"404", "NoSuchKey", "NotFound"}
_NO_BUCKET_CODES = {"NoSuchBucket"}
_WRONG_KEY_CODES = {"401", "AuthFailure", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"}
_REFUSED_CODES = {"403", "AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "Unauthorized"}
_REPLACED_CODES = {"412", "416", "PreconditionFailed", "InvalidRange"}


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """A published object: `etag` changes when its content does; `last_modified` is UTC with microseconds."""

    key: str
    size: int
    etag: str
    last_modified: datetime
    # The content's MD5 where the store states one that can be relied on.
    md5: str | None = field(default=None, compare=False)


class FlatFileStore(Protocol):
    """A place that holds files in the vendor's layout; it is only ever read."""

    @property
    def location(self) -> str:
        """Where the files are, for messages and pedigree."""

    def list(self, dataset: Dataset, start: date, end: date) -> list[ObjectInfo]:
        """What is published of `dataset` for `start` to `end`, both included, by key."""

    def stat(self, key: str) -> ObjectInfo:
        """The object as it is now; raises NotPublishedError, NotEntitledError or UnreachableError."""

    def fetch(self, key: str, destination: Path, on_bytes: OnBytes | None = None) -> ObjectInfo:
        """Writes the whole object to `destination` atomically and returns what was fetched; raises as `stat` does."""

    def local_path(self, key: str) -> Path | None:
        """The file itself when it can be read where it lies, else None."""


def why_not_published(key: str, location: str) -> str:
    """The sentence for a key that is not there: no session on that date, or not published (yet)."""
    dataset = dataset_of_key(key)
    day = first_day_of_key(dataset, key) if dataset else None
    if dataset is None or day is None:
        return f"There is no {key} in {location}: check the data set and the date."
    if dataset.file_per == "session":
        try:
            session(day)
        except CalendarError as error:
            reason = str(error).rstrip(".")
            return f"There is no {key} in {location}, and there never will be: {reason}."
    return (
        f"{key} is not published in {location}: the vendor publishes a file about 11:00 New York on the day after its "
        "last session, and a mirror may lack it, so wait for it or leave that date out."
    )


class LocalFlatFileStore:
    """A folder in the vendor's layout, read only; an ETag is made of size and time of change, so no byte is read."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def location(self) -> str:
        """The folder."""
        return str(self.root)

    def list(self, dataset: Dataset, start: date, end: date) -> list[ObjectInfo]:
        """Files of `dataset` from `start` to `end`; raises UnreachableError when the root folder is missing."""
        self._require_root()
        found = []
        for folder in year_folders(dataset, start, end):
            for status in files.list_files(self.root / folder, SUFFIX):
                key = folder + status.name
                if key_lies_between(dataset, key, start, end):
                    found.append(local_info(key, status))
        return found

    def stat(self, key: str) -> ObjectInfo:
        """Size, ETag and time of a file."""
        status = files.stat_of(self.root / key)
        if status is None:
            self._require_root()
            raise NotPublishedError(why_not_published(key, self.location))
        return local_info(key, status)

    def fetch(self, key: str, destination: Path, on_bytes: OnBytes | None = None) -> ObjectInfo:
        """Copies a file; a file that changes while it is copied is copied again."""
        for _ in range(FETCH_ATTEMPTS):
            before = self.stat(key)
            files.copy_file(self.root / key, destination)
            if self.stat(key) == before:
                if on_bytes:
                    on_bytes(before.size)
                return before
        raise UnreachableError(f"{self.root / key} keeps changing while it is read: try again when its writer is done.")

    def local_path(self, key: str) -> Path | None:
        """The file where it lies."""
        return self.root / key

    def _require_root(self) -> None:
        if not self.root.is_dir():
            raise UnreachableError(
                f"The folder {self.root} is not there: point FLAT_FILES_URL at a mirror in the vendor's layout."
            )


def local_info(key: str, status: files.FileStat) -> ObjectInfo:
    """What a local file is as an object; nothing but its size and time of change goes into it."""
    changed = datetime.fromtimestamp(status.modified_ns // 1_000_000_000, UTC)
    changed = changed.replace(microsecond=status.modified_ns // 1_000 % 1_000_000)
    return ObjectInfo(key, status.size, f"{status.size:x}-{status.modified_ns:x}", changed)


class S3FlatFileStore:
    """The vendor's bucket through an S3 client that was built for its endpoint (path style, retries, time-outs)."""

    def __init__(self, client: Any, bucket: str) -> None:
        self.client = client
        self.bucket = bucket

    @property
    def location(self) -> str:
        """Bucket and endpoint."""
        return f"s3://{self.bucket} at {self.client.meta.endpoint_url}"

    def list(self, dataset: Dataset, start: date, end: date) -> list[ObjectInfo]:
        """Objects of `dataset` from `start` to `end`, one listing request a year."""
        found = []
        for folder in year_folders(dataset, start, end):
            with self._explained(folder):
                pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=folder)
                for entry in (entry for page in pages for entry in page.get("Contents", [])):
                    if key_lies_between(dataset, entry["Key"], start, end):
                        tag = entry["ETag"].strip('"')
                        found.append(ObjectInfo(entry["Key"], entry["Size"], tag, _utc(entry["LastModified"])))
        return sorted(found, key=lambda one: one.key)

    def stat(self, key: str) -> ObjectInfo:
        """Size, ETag and time of an object, without its content."""
        with self._explained(key):
            head = self.client.head_object(Bucket=self.bucket, Key=key)
        etag = head["ETag"].strip('"')
        # An object encrypted with a key of its own has an ETag that looks like an MD5 and is none.
        encrypted = head.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in head
        md5 = etag if _PLAIN_MD5.match(etag) and not encrypted else None
        return ObjectInfo(key, head["ContentLength"], etag, _utc(head["LastModified"]), md5)

    def fetch(self, key: str, destination: Path, on_bytes: OnBytes | None = None) -> ObjectInfo:
        """Downloads an object; what an earlier attempt left is continued as long as the object is the same.

        The result has the published size and, unless it was uploaded in parts, the MD5 that its ETag states; only then
        does it get its name.
        """
        for _ in range(FETCH_ATTEMPTS):
            info = self.stat(key)
            tag = hashlib.sha256(info.etag.encode()).hexdigest()[:8]
            partial = destination.with_name(f".{destination.name}.{tag}.partial")
            if self._continue(info, partial, on_bytes):
                if _is_whole(info, partial):
                    files.put_in_place(partial, destination)
                    for stale in destination.parent.glob(f".{destination.name}.*.partial"):
                        files.remove(stale)
                    return info
                files.remove(partial)
        raise UnreachableError(
            f"{key} from {self.location} broke off or arrived damaged {FETCH_ATTEMPTS} times: check the network and "
            "run the same command again, it continues where it stopped."
        )

    def local_path(self, key: str) -> Path | None:
        """None: an object has to be fetched."""
        return None

    def _continue(self, info: ObjectInfo, partial: Path, on_bytes: OnBytes | None) -> bool:
        """Appends to `partial` what is missing of the object; False when it broke off or was replaced meanwhile."""
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        with files.open_to_append(partial) as stream:
            if not files.claim(stream):
                raise StorageError(f"Another process is downloading {info.key}: wait for it, then run this again.")
            have = stream.tell()
            if have > info.size:
                stream.truncate(0)
                have = 0
            if on_bytes and have:
                on_bytes(have)
            if have == info.size:
                return True
            request = {"Bucket": self.bucket, "Key": info.key, "IfMatch": f'"{info.etag}"'}
            if have:
                request["Range"] = f"bytes={have}-"
            try:
                answer = self.client.get_object(**request)
                if have and answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
                    stream.truncate(0)
                for block in answer["Body"].iter_chunks(_BLOCK):
                    files.append_block(stream, partial, block)
                    if on_bytes:
                        on_bytes(len(block))
            except ClientError as error:
                if _code(error) in _REPLACED_CODES:
                    return False
                raise self._sentence(info.key, error) from None
            except (BotoCoreError, HTTPError, OSError) as error:
                if stream.tell() > have:
                    return False
                raise self._sentence(info.key, error) from None
        return True

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (ClientError, BotoCoreError) as error:
            raise self._sentence(key, error) from None

    def _sentence(self, key: str, error: Exception) -> SourceError:
        """What an S3 failure means to the user; the library's own text is left out, it may repeat request headers."""
        from botocore.exceptions import NoCredentialsError, PartialCredentialsError

        where = f"{key} in {self.location}"
        code = _code(error)
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return NotEntitledError(
                f"No keys are set to read {where}: set MASSIVE_AWS_ACCESS_KEY and MASSIVE_AWS_SECRET_KEY, or point "
                "FLAT_FILES_URL at a local mirror."
            )
        if code in _NO_BUCKET_CODES:
            return NotPublishedError(
                f"There is no bucket {self.bucket} at {self.client.meta.endpoint_url} (404), so no {key}: check "
                "MASSIVE_S3_BUCKET and MASSIVE_S3_ENDPOINT."
            )
        if code in _MISSING_CODES:
            return NotPublishedError(why_not_published(key, self.location))
        if code in _WRONG_KEY_CODES:
            return NotEntitledError(
                f"The endpoint does not accept the keys used for {where} ({code}): check MASSIVE_AWS_ACCESS_KEY and "
                "MASSIVE_AWS_SECRET_KEY."
            )
        if code in _REFUSED_CODES:
            return NotEntitledError(
                f"The keys in use may not read {where} (403): check that the plan includes this data set and date, and "
                "that the keys are the right ones."
            )
        if code is not None:
            return UnreachableError(
                f"The endpoint kept failing for {where} ({code}): wait a few minutes and run the same command again."
            )
        return UnreachableError(
            f"Cannot reach the endpoint for {where} ({type(error).__name__}): check the network and "
            "MASSIVE_S3_ENDPOINT."
        )


def _code(error: Exception) -> str | None:
    """The S3 error code of an answer, or None when there was no answer."""
    response = getattr(error, "response", None)
    return str(response["Error"].get("Code", "unknown")) if response and "Error" in response else None


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _is_whole(info: ObjectInfo, path: Path) -> bool:
    """Whether the file has the size and, where it is known, the MD5 of the object."""
    status = files.stat_of(path)
    if status is None or status.size != info.size:
        return False
    return info.md5 is None or files.md5_of(path) == info.md5
