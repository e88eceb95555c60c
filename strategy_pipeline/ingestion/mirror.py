"""Our copy of the vendor's files below one folder, with a manifest beside each: what it is and what it was before.

Objects from S3 are downloaded; files of a local store are registered where they lie (`copy_local=True` copies them).
A re-published file replaces the old one, whose copy is kept as ``<name>.<etag8>.superseded``. What rows mean is not
known here.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from strategy_pipeline.errors import MissingDataError, NotPublishedError, PipelineError, UnreachableError
from strategy_pipeline.ingestion.flat_files import FlatFileStore, local_info
from strategy_pipeline.lake import files

DOWNLOADED, REGISTERED, REPLACED, UNCHANGED = "downloaded", "registered", "replaced", "unchanged"
NOT_PUBLISHED, FAILED = "not_published", "failed"
_MANIFEST_SUFFIX = ".manifest.json"
_WORKERS = 8


@dataclass(frozen=True, slots=True)
class RawVersion:
    """A version of a file that has been replaced; `kept_as` is its copy's name, None when there is no copy."""

    etag: str
    size: int
    sha256: str
    last_modified: str
    kept_as: str | None


@dataclass(frozen=True, slots=True)
class RawFile:
    """A vendor file on this machine, as it was when it was downloaded or registered."""

    key: str
    path: Path
    size: int
    etag: str
    last_modified: datetime
    sha256: str
    versions: tuple[RawVersion, ...] = ()

    @property
    def revision(self) -> int:
        """How many versions came before: 0 for a file that was never re-published."""
        return len(self.versions)


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """What became of one key; exactly one of `raw` and `error` is set."""

    key: str
    status: str
    raw: RawFile | None = None
    error: PipelineError | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is; `files_done` of `files_total`, and bytes received so far."""

    files_done: int
    files_total: int
    bytes_done: int
    key: str
    status: str | None


OnProgress = Callable[[Progress], None]


class _Meter:
    """Counts bytes and files of parallel downloads and passes them on, one call at a time."""

    def __init__(self, total: int, on_progress: OnProgress | None) -> None:
        self.total, self.on_progress = total, on_progress
        self.done = self.bytes = 0
        self.lock = threading.Lock()

    def received(self, key: str, count: int) -> None:
        with self.lock:
            self.bytes += count
            self._report(key, None)

    def finished(self, key: str, status: str) -> None:
        with self.lock:
            self.done += 1
            self._report(key, status)

    def _report(self, key: str, status: str | None) -> None:
        if self.on_progress:
            self.on_progress(Progress(self.done, self.total, self.bytes, key, status))


class RawMirror:
    """Vendor files below `root`, by key."""

    def __init__(self, root: Path, *, copy_local: bool = False) -> None:
        self.root = root
        self.copy_local = copy_local

    def get(self, key: str) -> RawFile | None:
        """What is known of a key; None when it is not here or no longer what its manifest says."""
        recorded = self._manifest(key)
        if recorded is None:
            return None
        status = files.stat_of(recorded.path)
        if status is None or status.size != recorded.size:
            return None
        in_place = recorded.path != self.root / key
        return None if in_place and local_info(key, status).etag != recorded.etag else recorded

    def require(self, key: str) -> RawFile:
        """As `get`; raises MissingDataError when the file is not here."""
        raw = self.get(key)
        if raw is None:
            dataset = "/".join(key.split("/")[:2])
            raise MissingDataError(
                f"{key} has not been downloaded, or has changed since: run "
                f"'strategy-pipeline backfill download --dataset {dataset}' for its date."
            )
        return raw

    def download(
        self,
        store: FlatFileStore,
        keys: Sequence[str],
        *,
        workers: int = _WORKERS,
        overwrite: bool = False,
        on_progress: OnProgress | None = None,
    ) -> list[DownloadResult]:
        """Brings every key up to date, in parallel; results come in the order of `keys`, failures among them.

        A key whose manifest carries the store's ETag and size is left alone unless `overwrite`. Once the endpoint
        cannot be reached, keys that were not begun fail with the same sentence instead of waiting one by one.
        """
        meter = _Meter(len(keys), on_progress)
        results: dict[str, DownloadResult] = {}
        unreachable: list[UnreachableError] = []

        def bring(key: str) -> DownloadResult:
            if unreachable:
                return DownloadResult(key, FAILED, error=unreachable[0])
            try:
                result = self._bring(store, key, overwrite, meter)
            except NotPublishedError as error:
                result = DownloadResult(key, NOT_PUBLISHED, error=error)
            except PipelineError as error:
                if isinstance(error, UnreachableError):
                    unreachable.append(error)
                result = DownloadResult(key, FAILED, error=error)
            meter.finished(key, result.status)
            return result

        with ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="download") as pool:
            for done in as_completed([pool.submit(bring, key) for key in dict.fromkeys(keys)]):
                result = done.result()
                results[result.key] = result
        return [results[key] for key in keys]

    def _bring(self, store: FlatFileStore, key: str, overwrite: bool, meter: _Meter) -> DownloadResult:
        known = self.get(key)
        info = store.stat(key)
        if known is not None and not overwrite and (known.etag, known.size) == (info.etag, info.size):
            return DownloadResult(key, UNCHANGED, known)
        lies_at = None if self.copy_local else store.local_path(key)
        before = self._manifest(key)
        if lies_at is not None:
            digest, kept = files.sha256_of(lies_at), None
            raw = RawFile(key, lies_at.resolve(), info.size, info.etag, info.last_modified, digest)
        else:
            raw, kept = self._fetch(store, key, before, meter)
        raw = _with_history(raw, before, kept)
        self._record(raw)
        if raw.revision > (before.revision if before else 0):
            return DownloadResult(key, REPLACED, raw)
        return DownloadResult(key, REGISTERED if lies_at is not None else DOWNLOADED, raw)

    def _fetch(
        self, store: FlatFileStore, key: str, before: RawFile | None, meter: _Meter
    ) -> tuple[RawFile, str | None]:
        """The file as it is published now, under its name, and the name its predecessor was kept under."""
        path = self.root / key
        arriving = path.with_name(f".{path.name}.arriving")
        info = store.fetch(key, arriving, lambda count: meter.received(key, count))
        digest = files.sha256_of(arriving)
        kept = None
        if before is not None and before.path == path and before.sha256 != digest and files.stat_of(path) is not None:
            kept = f"{path.name}.{_etag8(before.etag)}.superseded"
            files.keep_beside(path, kept)
        files.put_in_place(arriving, path)
        return RawFile(key, path, info.size, info.etag, info.last_modified, digest), kept

    def _manifest_path(self, key: str) -> Path:
        return self.root / f"{key}{_MANIFEST_SUFFIX}"

    def _manifest(self, key: str) -> RawFile | None:
        path = self._manifest_path(key)
        if files.stat_of(path) is None:
            return None
        try:
            said = json.loads(files.read_text(path))
            return RawFile(
                key,
                Path(said["in_place"]) if said["in_place"] else self.root / key,
                said["size"],
                said["etag"],
                datetime.fromisoformat(said["last_modified"]),
                said["sha256"],
                tuple(RawVersion(**version) for version in said["versions"]),
            )
        except (ValueError, KeyError, TypeError):
            # A manifest that cannot be read says nothing: the file is fetched anew.
            return None

    def _record(self, raw: RawFile) -> None:
        said = {
            "key": raw.key,
            "in_place": None if raw.path == self.root / raw.key else str(raw.path),
            "size": raw.size,
            "etag": raw.etag,
            "sha256": raw.sha256,
            "last_modified": raw.last_modified.isoformat(),
            "versions": [asdict(version) for version in raw.versions],
        }
        files.write_text(self._manifest_path(raw.key), json.dumps(said, indent=1) + "\n")


def _with_history(raw: RawFile, before: RawFile | None, kept: str | None) -> RawFile:
    """`raw` with the versions before it; the same content under a new ETag is not a new version."""
    if before is None:
        return raw
    versions = before.versions
    if raw.sha256 != before.sha256:
        old = RawVersion(before.etag, before.size, before.sha256, before.last_modified.isoformat(), kept)
        versions = (*versions, old)
    return RawFile(raw.key, raw.path, raw.size, raw.etag, raw.last_modified, raw.sha256, versions)


def _etag8(etag: str) -> str:
    """Eight characters that stand for an ETag in a file name."""
    return hashlib.sha256(etag.encode()).hexdigest()[:8]


def first_failure(results: Sequence[DownloadResult]) -> PipelineError | None:
    """The first error other than "not published", which is for the caller to judge."""
    return next((result.error for result in results if result.status == FAILED), None)
