"""The vendor's REST side on a free loopback port: real recorded pages over HTTP, with faults put in where asked.

Further pages are named by an address on the vendor's own host, as in the recording; a client that does not keep to the
host it was given never comes back here.
"""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "do-not-print-this-key"


@dataclass(frozen=True)
class Fault:
    """What goes wrong instead of, or with, an answer: a status, a body cut short, silence."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    # Bytes of the body that are sent although its whole length was announced.
    cut_at: int | None = None
    # Bytes of the body that are sent with just that length announced.
    truncate_at: int | None = None
    silent: bool = False


@dataclass(frozen=True)
class Request:
    """What the client asked for."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class RestPeer:
    """Recorded pages below `folder` (``rest/v3``) as of `session`, and any answers added by hand.

    faults: number of the request, from 1, to what happens to it. edit: changes a page before it is sent.
    """

    folder: Path
    session: date
    faults: dict[int, Fault] = field(default_factory=dict)
    edit: Callable[[dict[str, Any]], None] | None = None
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    def page(self, request: Request) -> dict[str, Any] | None:
        """The page that answers a request: its first, or the one that its cursor names."""
        if request.path in self.answers:
            pages = self.answers[request.path]
            number = int(request.query.get("cursor", "0"))
            following = {"next_url": f"https://api.massive.com{request.path}?cursor={number + 1}"}
            return pages[number] | (following if number + 1 < len(pages) else {})
        parts = request.path.strip("/").split("/")
        if parts[:3] == ["v3", "snapshot", "options"]:
            folder = self.folder / "snapshot" / "options" / parts[3].removeprefix("I:") / str(self.session)
        elif parts[:4] == ["v3", "reference", "options", "contracts"]:
            known = self._by_cursor(self.folder / "reference" / "options" / "contracts", request.query.get("cursor"))
            if known is not None:
                return known
            asked = request.query.get("underlying_ticker", ""), request.query.get("as_of", "")
            folder = self.folder / "reference" / "options" / "contracts" / asked[0] / asked[1]
        else:
            return None
        known = self._by_cursor(folder, request.query.get("cursor"))
        if known is not None:
            return known
        first = folder / "page1.json"
        return json.loads(first.read_text()) if first.is_file() else None

    def _by_cursor(self, folder: Path, cursor: str | None) -> dict[str, Any] | None:
        """The page after the one whose `next_url` has this cursor."""
        if cursor is None:
            return None
        path = _cursors(folder).get(cursor)
        return json.loads(path.read_text()) if path else None


@cache
def _cursors(folder: Path) -> dict[str, Path]:
    """The page that each cursor of the recordings in a folder leads to."""
    found = {}
    for path in folder.rglob("page*.json"):
        following = json.loads(path.read_text()).get("next_url")
        if following:
            number = int(path.stem.removeprefix("page"))
            found[parse_qs(urlsplit(following).query)["cursor"][0]] = path.parent / f"page{number + 1}.json"
    return found


@contextmanager
def serving(peer: RestPeer) -> Iterator[RestPeer]:
    """`peer` on a free loopback port, whose address is in `peer.url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(peer))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    peer.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield peer
    finally:
        peer.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(peer: RestPeer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Tests read `peer.requests`, not a log."""

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            request = Request(parts.path, query, dict(self.headers.items()))
            peer.requests.append(request)
            fault = peer.faults.get(len(peer.requests), Fault())
            if fault.silent:
                # Nothing is sent until the test is over; by then the client has long given up.
                peer.released.wait(30)
                self.close_connection = True
                return
            page = peer.page(request)
            status = 404 if page is None and fault.status == 200 else fault.status
            if status != 200:
                page = {"status": "ERROR", "error": f"refused {request.headers.get('Authorization')}"}
            elif peer.edit is not None and page is not None:
                peer.edit(page)
            body = json.dumps(page).encode()
            announced = len(body) if fault.truncate_at is None else fault.truncate_at
            self.send_response_only(status)
            for name, value in fault.headers:
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body[: announced if fault.cut_at is None else fault.cut_at])
            if fault.cut_at is not None:
                self.wfile.flush()
                # A reset instead of a polite end, as when a server dies.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True

    return Handler
