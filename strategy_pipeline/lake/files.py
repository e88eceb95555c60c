"""Files: the low-level reading and writing that everything else goes through.

Writes are atomic (temporary name in the same folder, then rename); a full disk or a missing permission becomes a
StorageError with a sentence. What the bytes mean is not known here.
"""

import contextlib
import csv
import fcntl
import gzip
import hashlib
import io
import os
import shutil
import socket
import stat
import tempfile
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

import polars as pl

from strategy_pipeline.errors import DamagedFileError, StorageError

_HASH_BLOCK = 1 << 20
# A header line longer than this is none.
_HEADER_LIMIT = 1 << 16
_SMALL_FILE = 1 << 20


def _temporary_name(path: Path) -> Path:
    # The thread is part of the name: two of one process may write the same path.
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}-{threading.get_ident()}.tmp")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sweep_temporaries(path: Path) -> None:
    """Removes what killed writers of `path` on this host left behind; files of running processes stay."""
    prefix, suffix = f".{path.name}.{socket.gethostname()}.", ".tmp"
    for leftover in path.parent.glob(f"{prefix}*{suffix}"):
        pid = leftover.name.removeprefix(prefix).removesuffix(suffix).partition("-")[0]
        if pid.isdigit() and int(pid) != os.getpid() and not _is_running(int(pid)):
            leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Hands out a temporary path beside `path` and renames it into place when the block ends without an error."""
    temporary = _temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_temporaries(path)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def storage_error(path: Path, error: OSError) -> StorageError:
    """The sentence for an operating-system error at `path`."""
    reason = error.strerror or str(error)
    return StorageError(f"Cannot write {path}: {reason}; make room or set STRATEGY_HOME to a folder you may write to.")


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces `path` with `data`, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def holds(path: Path, data: bytes) -> bool:
    """Whether `path` is a file with exactly the content `data`."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def publish_bytes(path: Path, data: bytes, published_at: datetime) -> bool:
    """Puts `data` at `path` with `published_at` as its modification time, unless it is there; returns whether it wrote.

    A store of local files takes the modification time for the object's Last-Modified.
    """
    if holds(path, data) and path.stat().st_mtime == published_at.timestamp():
        return False
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
        os.utime(temporary, (published_at.timestamp(), published_at.timestamp()))
    return True


def write_text(path: Path, text: str) -> None:
    """Replaces `path` with `text` in UTF-8, atomically."""
    write_bytes(path, text.encode())


def create_exclusively(path: Path, data: bytes) -> bool:
    """Creates `path` with `data` unless it exists; returns whether it was created. No reader ever sees half of it."""
    temporary = _temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def create_first_free(folder: Path, stems: Iterable[str], contents: Mapping[str, bytes]) -> dict[str, Path]:
    """Creates one file per suffix of `contents` under the first stem that no file has yet; returns suffix -> path.

    The first suffix claims the stem against other processes and the last one appears last. When a later file cannot be
    written, the earlier ones are taken back and StorageError is raised.
    """
    suffixes = list(contents)
    for stem in stems:
        paths = {suffix: folder / f"{stem}{suffix}" for suffix in suffixes}
        if any(path.exists() for path in paths.values()):
            continue
        if not create_exclusively(paths[suffixes[0]], contents[suffixes[0]]):
            continue
        try:
            for suffix in suffixes[1:]:
                write_bytes(paths[suffix], contents[suffix])
        except StorageError:
            for path in paths.values():
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        return paths
    raise StorageError(f"Every file name tried in {folder} is taken: choose another folder.")


def read_bytes(path: Path) -> bytes:
    """The whole content of `path`; raises StorageError with the path when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {error.strerror or error}.") from error


def read_text(path: Path) -> str:
    """The whole content of `path` as UTF-8."""
    return read_bytes(path).decode()


def open_to_append(path: Path) -> IO[bytes]:
    """An open file to continue a partial download with; the caller closes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_gzip(path: Path) -> bytes:
    """The inflated content of a gzip file; raises DamagedFileError when it is truncated, corrupt or not gzip."""
    data = read_bytes(path)
    if not data:
        raise DamagedFileError(f"{path.name} is empty: download it again.")
    if data[:2] != b"\x1f\x8b":
        raise DamagedFileError(f"{path.name} is not a gzip file: download it again, or check what wrote it.")
    try:
        return gzip.decompress(data)
    except EOFError:
        raise DamagedFileError(f"{path.name} is truncated: download it again.") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DamagedFileError(f"{path.name} is damaged ({error}): download it again.") from None


def gzip_stored(data: bytes) -> bytes:
    """`data` as a gzip file of stored blocks without a time stamp: the same bytes with any deflate library."""
    blocks, position = [], 0
    while True:
        piece = data[position : position + 65_535]
        position += len(piece)
        last = position >= len(data)
        size = len(piece)
        blocks.append(bytes((int(last),)) + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + piece)
        if last:
            break
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    trailer = zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")
    return header + b"".join(blocks) + trailer


def write_csv_gz(path: Path, frame: pl.DataFrame) -> None:
    """Writes a frame as a gzipped CSV whose bytes depend on the frame alone."""
    write_bytes(path, gzip_stored(frame.write_csv().encode()))


def csv_text(header: list[str], rows: list[list[str]]) -> str:
    """Rows as RFC 4180 text with CRLF line ends."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def parquet_bytes(frame: pl.DataFrame, *, metadata: Mapping[str, str], row_group_rows: int) -> bytes:
    """A zstd Parquet file in memory whose bytes depend on the arguments alone."""
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        # Level 3 saves 2 % of the bytes of a minute file and costs a fifth more time.
        compression_level=1,
        row_group_size=row_group_rows,
        metadata=dict(sorted(metadata.items())),
    )
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class FileStat:
    """A file's name relative to the folder that was listed (or its own name), its size and when it was last changed."""

    name: str
    size: int
    modified_ns: int


def stat_of(path: Path) -> FileStat | None:
    """Size and time of last change of a file, or None when there is no such file; raises StorageError otherwise."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"Cannot look at {path}: {error.strerror or error}.") from error
    return FileStat(path.name, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def ensure_writable_folder(folder: Path) -> None:
    """Makes a folder where there is none and proves that a file can be put there; raises StorageError otherwise."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"Cannot write to the folder {folder} ({reason}): name another folder.") from error


def free_bytes(folder: Path) -> int:
    """Room that is left on the disk of an existing folder."""
    return shutil.disk_usage(folder).free


def list_files(folder: Path, suffix: str) -> list[FileStat]:
    """Files below `folder` whose name ends in `suffix`, sorted by relative name; hidden ones are passed over."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.endswith(suffix) and not name.startswith("."):
                path = Path(where, name)
                status = stat_of(path)
                if status is not None:
                    found.append(FileStat(path.relative_to(folder).as_posix(), status.size, status.modified_ns))
    return sorted(found, key=lambda one: one.name)


def copy_file(source: Path, destination: Path) -> None:
    """Replaces `destination` with the bytes of `source`, atomically."""
    with atomic_write(destination) as temporary:
        shutil.copyfile(source, temporary)


def keep_beside(path: Path, name: str) -> None:
    """Gives the file at `path` a second name in its folder, under which it survives its replacement."""
    try:
        os.link(path, path.with_name(name))
    except FileExistsError:
        return
    except OSError as error:
        raise storage_error(path, error) from error


def put_in_place(temporary: Path, path: Path) -> None:
    """Renames a finished temporary file over `path`."""
    try:
        temporary.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error


def remove(path: Path) -> None:
    """Deletes a file if it is there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error


def md5_of(path: Path) -> str:
    """MD5 of a file's bytes, hexadecimal: the ETag of an S3 object uploaded in one piece; not a safeguard."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def append_block(stream: IO[bytes], path: Path, block: bytes) -> None:
    """Appends to a file opened by `open_to_append`; a full disk becomes a StorageError and leaves what was written."""
    try:
        stream.write(block)
        stream.flush()
    except OSError as error:
        raise storage_error(path, error) from error


def claim(stream: IO[bytes]) -> bool:
    """Takes the advisory lock of an open file until it is closed; False when another process holds it."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def csv_header(path: Path) -> list[str]:
    """Column names in the first line of a gzipped CSV; raises DamagedFileError when there is no such line."""
    try:
        with gzip.open(path) as stream:
            line = stream.readline(_HEADER_LIMIT)
    except FileNotFoundError:
        raise StorageError(f"Cannot read {path}: it is not there.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error, OSError):
        line = read_gzip(path)[:_HEADER_LIMIT].splitlines()[0]
    text = line.decode("utf-8-sig", errors="replace").strip()
    if not text:
        raise DamagedFileError(f"{path.name} is empty: download it again.")
    return [name.strip().strip('"') for name in text.split(",")]


def read_csv_typed(path: Path, columns: Mapping[str, pl.DataType]) -> pl.DataFrame | None:
    """The named columns of a gzipped CSV with their types, or None when some value does not fit its type.

    No text is taken for null except an empty field: a ticker NA stays NA. Raises DamagedFileError when the gzip
    stream is not whole.
    """
    try:
        lazy = pl.scan_csv(path, schema_overrides=dict(columns)).select(list(columns))
        # The streaming engine inflates and parses at the same time, which a small file does not repay.
        return lazy.collect(engine="streaming" if path.stat().st_size > _SMALL_FILE else "in-memory")
    except (pl.exceptions.PolarsError, OSError):
        read_gzip(path)
        return None


def read_csv_where(path: Path, columns: Mapping[str, pl.DataType], where: pl.Expr) -> tuple[pl.DataFrame, int] | None:
    """As ``read_csv_typed`` the rows for which `where` holds, with their `line_number` (header = 1), and how many there
    are in all.

    Rows of others are let go while the file is read, so that only the wanted ones need memory.
    """
    try:
        rows = pl.scan_csv(path, schema_overrides=dict(columns), row_index_name="line_number", row_index_offset=2)
        number = pl.col("line_number").cast(pl.Int64)
        found = rows.select(*columns, number).filter(where).collect(engine="streaming")
        return found, int(pl.scan_csv(path).select(pl.len()).collect(engine="streaming").item())
    except (pl.exceptions.PolarsError, OSError):
        read_gzip(path)
        return None


def csv_lines(path: Path) -> pl.Series:
    """The lines of a gzipped text after its header, as they stand; an empty line is null.

    Bytes that are not UTF-8 become the replacement character. Raises DamagedFileError when the stream is not whole.
    """
    try:
        # A control character that no line contains keeps each line in one piece, quotes and commas included.
        lines = pl.read_csv(
            path,
            separator="\x01",
            has_header=False,
            skip_rows=1,
            quote_char=None,
            schema={"line": pl.String},
            encoding="utf8-lossy",
        )
    except (pl.exceptions.PolarsError, OSError):
        # Such a line does contain it, or the stream is damaged; read_gzip says which.
        text = read_gzip(path).decode("utf-8", errors="replace")
        rest = text.split("\n")[1:]
        if rest and not rest[-1]:
            rest.pop()
        return pl.Series("line", [line.rstrip("\r") or None for line in rest], dtype=pl.String)
    return lines["line"]
