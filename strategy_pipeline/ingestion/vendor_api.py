"""The vendor's REST interface through the vendor's own client: an answer with all its pages, or none of it.

Paging, rate, retries and what a refusal means are decided here; what the records hold is for the modules that read
them. The client is built elsewhere and handed in. No message holds the key or the vendor's own text, which may repeat
it.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import count
from typing import Any, Literal
from urllib.parse import urlsplit

from strategy_pipeline.errors import DataError, NotEntitledError, NotPublishedError, SourceError, UnreachableError

# The vendor asks plans without a limit to stay below 100 requests a second; half of it leaves room for other processes.
REQUESTS_PER_SECOND = 50.0
# The vendor's upper limits of rows on a page, and of the base bars that one aggregate request may look at.
CHAIN_PAGE_ROWS, REFERENCE_PAGE_ROWS, BASE_BARS = 250, 1_000, 50_000
# Minute and hour bars are made of minutes. A request that spans more of them than the limit may come back with gaps,
# so a range is asked for in pieces whose every minute fits: 34 days are 48,960.
DAYS_AT_ONCE = BASE_BARS // 1_440
# A chain of 250 rows a page never comes near; an answer that does goes round in circles.
MOST_PAGES = 2_000

_GOOD_STATUSES = {None, "OK", "DELAYED"}
_PASSING_STATUSES = {408, 425, 429, 499}

Timespan = Literal["minute", "hour", "day"]


class RateLimiter:
    """At most `per_second` requests, and none while the vendor asks to wait; shared by all threads that hold it."""

    def __init__(
        self,
        per_second: float = REQUESTS_PER_SECOND,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.clock, self.sleep = clock, sleep
        self._interval = 1.0 / per_second
        self._lock = threading.Lock()
        self._free_at = self._held_until = float("-inf")

    def wait(self) -> None:
        """Returns when it is the caller's turn."""
        turn = self._next_turn()
        while True:
            ahead = turn - self.clock()
            if ahead > 0:
                self.sleep(ahead)
            # Who was asleep when the vendor asked everybody to wait queues again, so that nobody arrives in a bunch.
            if turn >= self._held_until:
                return
            turn = self._next_turn()

    def hold(self, seconds: float) -> None:
        """Nobody's turn comes for `seconds` from now."""
        with self._lock:
            self._held_until = max(self._held_until, self.clock() + seconds)
            self._free_at = max(self._free_at, self._held_until)

    def _next_turn(self) -> float:
        with self._lock:
            turn = max(self.clock(), self._free_at)
            self._free_at = turn + self._interval
            return turn


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a request is repeated; waits double from `first_wait_s` up to `longest_wait_s`.

    A wait is drawn between half of that and all of it, so that clients that failed together do not return together.
    A vendor that asks for more than `longest_retry_after_s` is not waited for.
    """

    attempts: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_retry_after_s: float = 120.0

    def wait_s(self, failures: int, fraction: float) -> float:
        """Seconds to wait after that many failures; `fraction` is a random number from 0 to 1."""
        full = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (failures - 1))
        return full * (0.5 + 0.5 * fraction)


@dataclass(frozen=True, slots=True)
class Pages:
    """A whole answer: what was asked for, the request id and the records of every page, and when the last one came."""

    path: str
    pages: tuple[tuple[str, list[Any]], ...]
    fetched_at: datetime

    @property
    def records(self) -> list[Any]:
        """The records of all pages in the order in which they came."""
        return [record for _, page in self.pages for record in page]

    def numbered(self) -> Iterator[tuple[int, str, Any]]:
        """Each record with its number in the answer, from 1, and the request id of its page."""
        numbers = count(1)
        return ((next(numbers), request_id, record) for request_id, page in self.pages for record in page)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the vendor's client takes for a response; `page` is the content as an object."""

    status: int
    data: bytes
    page: dict[str, Any]


class _PassingError(Exception):
    """A failure that may be gone a moment later: what happened, and how long the vendor asks everybody to wait."""

    def __init__(self, what: str, *, for_everybody: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(what)
        self.for_everybody, self.retry_after_s = for_everybody, retry_after_s


class _Connections:
    """The client's connections, with the rate limit, retries and our errors around them.

    The vendor's client tells nobody which status a refusal had and takes a damaged page for the last one; both are
    known only here, between the client and its pool.
    """

    def __init__(
        self, pool: Any, base: str, limiter: RateLimiter, retry: RetryPolicy, fraction: Callable[[], float]
    ) -> None:
        self.pool, self.base = pool, base
        self.limiter, self.retry, self.fraction = limiter, retry, fraction

    def request(
        self, method: str, url: str, fields: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> _Answer:
        """One whole page; raises NotEntitledError, NotPublishedError, UnreachableError or SourceError."""
        path = urlsplit(url).path
        for failures in count(1):
            self.limiter.wait()
            try:
                return self._once(path, method, url, fields, headers)
            except _PassingError as error:
                if failures >= self.retry.attempts:
                    raise UnreachableError(
                        f"{self.base} {error} for {path}, {failures} times in a row: wait a few minutes and run the "
                        "same command again."
                    ) from None
                wait_s = self.retry.wait_s(failures, self.fraction())
                asked_s = error.retry_after_s
                if asked_s is not None and asked_s > self.retry.longest_retry_after_s:
                    raise UnreachableError(
                        f"{self.base} {error} for {path} and asks to wait {asked_s:.0f} s: run the same command again "
                        "after that, or ask for less at once."
                    ) from None
                if error.for_everybody:
                    # A little later than asked for, each time another little.
                    self.limiter.hold(wait_s if asked_s is None else asked_s + self.fraction())
                else:
                    self.limiter.sleep(wait_s)
        raise AssertionError("unreachable")

    def _once(
        self, path: str, method: str, url: str, fields: Mapping[str, Any] | None, headers: Mapping[str, str] | None
    ) -> _Answer:
        from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError, TimeoutError

        try:
            # The client's own retries do not tell a page cut short from a whole one and follow addresses elsewhere.
            response = self.pool.request(method, url, fields=fields, headers=headers, retries=False, redirect=False)
        except LocationValueError:
            raise SourceError(f"{self.base} is no address that can be asked: check MASSIVE_BASE_URL.") from None
        except HTTPError as error:
            # To urllib3 a refused connection is a kind of time-out.
            if isinstance(error, TimeoutError) and not isinstance(error, NewConnectionError):
                raise _PassingError("did not answer in time") from None
            raise _PassingError(f"could not be reached, or broke off ({type(error).__name__}),") from None
        if response.status != 200:
            raise self._refusal(path, response.status, response.headers)
        try:
            # NaN and Infinity are no JSON; whoever sends them means that there is no value.
            page = json.loads(response.data, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            page = None
        if not isinstance(page, dict):
            raise _PassingError("sent a damaged page")
        if page.get("status") not in _GOOD_STATUSES:
            raise _PassingError("answered with an error instead of data")
        return _Answer(200, response.data, page)

    def _refusal(self, path: str, status: int, headers: Mapping[str, str]) -> Exception:
        """What a status other than 200 means."""
        if status == 401:
            return NotEntitledError(
                f"{self.base} does not accept the key used for {path} (401): check MASSIVE_API_KEY."
            )
        if status == 403:
            return NotEntitledError(
                f"The key in use may not read {path} at {self.base} (403): check that the plan includes this data and "
                "date, and that MASSIVE_API_KEY is the right one."
            )
        if status == 404:
            return NotPublishedError(f"There is no {path} at {self.base} (404): check the symbol and the date.")
        if status in _PASSING_STATUSES or status >= 500:
            asked = _retry_after_s(headers)
            what = "limits the rate (429)" if status == 429 else f"keeps failing ({status})"
            return _PassingError(what, for_everybody=status == 429 or asked is not None, retry_after_s=asked)
        if 300 <= status < 400:
            return SourceError(f"{self.base} sends {path} elsewhere ({status}): set MASSIVE_BASE_URL to that address.")
        return SourceError(f"{self.base} refuses the request for {path} ({status}): check the symbol and the dates.")


def number(value: Any) -> float | None:
    """A JSON number as a float, infinite beyond the range of floats; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def plain_text(value: Any) -> str | None:
    """A JSON text of ASCII characters that is not empty, as codes and dates are; None for anything else."""
    return value if isinstance(value, str) and value and value.isascii() else None


class VendorApi:
    """What the vendor answers, whole, raw and in the order in which it came.

    client: the vendor's ``RESTClient``; this object takes over its connections. Every method raises NotEntitledError
    (401, 403), NotPublishedError (404), UnreachableError (rate limit, server errors, time-outs and damaged pages that
    would not go away), SourceError (any other refusal) or DataError (an answer that is not what it should be), and then
    hands out nothing of the answer. `now` is the clock of `fetched_at`; `fraction` draws from 0 to 1.
    """

    def __init__(
        self,
        client: Any,
        *,
        limiter: RateLimiter | None = None,
        retry: RetryPolicy | None = None,
        fraction: Callable[[], float] = random.random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._now = client, now
        self.location = str(client.BASE).rstrip("/")
        client.client = _Connections(
            client.client, self.location, limiter or RateLimiter(), retry or RetryPolicy(), fraction
        )

    def chain_snapshot(self, underlying: str) -> Pages:
        """Every listed contract of an underlying (vendor ticker: ``GOOG``, ``I:SPX``) as it stands now."""
        return self._whole(
            f"/v3/snapshot/options/{underlying}",
            lambda: self._client.list_snapshot_options_chain(underlying, params={"limit": CHAIN_PAGE_ROWS}, raw=True),
        )

    def aggregates(self, ticker: str, timespan: Timespan, start: date, end: date, multiplier: int = 1) -> Pages:
        """Unadjusted bars of a vendor ticker from `start` to `end`, both included, oldest first.

        Raises DataError when the answer is of another ticker or is adjusted for splits.
        """

        def as_asked(page: dict[str, Any]) -> str | None:
            if page.get("ticker", ticker) != ticker:
                return "of another ticker"
            return "adjusted for splits" if page.get("adjusted") is True else None

        path = f"/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{start}/{end}"
        found: list[tuple[str, list[Any]]] = []
        for first, last in _pieces(start, end, None if timespan == "day" else DAYS_AT_ONCE):
            piece = self._whole(
                path,
                partial(
                    self._client.list_aggs,
                    ticker,
                    multiplier,
                    timespan,
                    first.isoformat(),
                    last.isoformat(),
                    adjusted=False,
                    sort="asc",
                    limit=BASE_BARS,
                    raw=True,
                ),
                as_asked,
            )
            found.extend(piece.pages)
        return Pages(path, tuple(found), self._now())

    def option_contracts(self, underlying: str, as_of: date) -> Pages:
        """The contracts of an underlying that were listed on `as_of`; reference data names an index without ``I:``."""
        return self._whole(
            "/v3/reference/options/contracts",
            lambda: self._client.list_options_contracts(
                underlying_ticker=underlying.removeprefix("I:"),
                as_of=as_of.isoformat(),
                limit=REFERENCE_PAGE_ROWS,
                sort="ticker",
                order="asc",
                raw=True,
            ),
        )

    def splits(self, ticker: str, start: date | None = None, end: date | None = None) -> Pages:
        """Splits of a ticker with an execution date from `start` to `end`, both included; None: no bound."""
        return self._whole(
            "/v3/reference/splits",
            lambda: self._client.list_splits(
                ticker=ticker,
                execution_date_gte=_iso(start),
                execution_date_lte=_iso(end),
                limit=REFERENCE_PAGE_ROWS,
                raw=True,
            ),
        )

    def dividends(self, ticker: str, start: date | None = None, end: date | None = None) -> Pages:
        """Cash dividends of a ticker with an ex-date from `start` to `end`, both included; None: no bound."""
        return self._whole(
            "/v3/reference/dividends",
            lambda: self._client.list_dividends(
                ticker=ticker,
                ex_dividend_date_gte=_iso(start),
                ex_dividend_date_lte=_iso(end),
                limit=REFERENCE_PAGE_ROWS,
                raw=True,
            ),
        )

    def treasury_yields(self, start: date) -> Pages:
        """The US Treasury's par yields by constant maturity, a record a day from `start` on, oldest first."""
        return self._whole(
            "/fed/v1/treasury-yields",
            lambda: self._client.list_treasury_yields(
                date_gte=start.isoformat(), limit=BASE_BARS, sort="date", order="asc", raw=True
            ),
        )

    def conditions(self, asset_class: str = "options", data_type: str = "trade") -> Pages:
        """The vendor's condition codes of an asset class (``stocks``, ``options``) and kind of data."""
        return self._whole(
            "/v3/reference/conditions",
            lambda: self._client.list_conditions(
                asset_class=asset_class, data_type=data_type, limit=REFERENCE_PAGE_ROWS, raw=True
            ),
        )

    def _whole(
        self, path: str, first: Callable[[], Any], fault_of: Callable[[dict[str, Any]], str | None] | None = None
    ) -> Pages:
        """All pages of an answer that begins with `first`; nothing is handed out before the last one is there."""
        found: list[tuple[str, list[Any]]] = []
        seen: set[str] = set()
        answer: _Answer = first()
        while True:
            page = answer.page
            number = len(found) + 1
            fault = fault_of(page) if fault_of else None
            records = page.get("results")
            if records is None and page.get("resultsCount") == 0:
                records = []
            if fault is None and not isinstance(records, list):
                fault = "without results"
            if fault is not None:
                raise DataError(
                    f"Page {number} of {path} at {self.location} is {fault}, so nothing of the answer is used: run the "
                    "same command again, and tell the vendor when it stays so."
                )
            found.append((plain_text(page.get("request_id")) or "", records or []))
            following = page.get("next_url")
            if not following:
                return Pages(path, tuple(found), self._now())
            address = self._on_our_host(following)
            if address is None or address in seen or number >= MOST_PAGES:
                raise DataError(
                    f"Page {number} of {path} at {self.location} names no further page that can be read, so nothing of "
                    "the answer is used: run the same command again, and tell the vendor when it stays so."
                )
            seen.add(address)
            answer = self._client.client.request("GET", address, headers=self._client.headers)

    def _on_our_host(self, address: Any) -> str | None:
        """The address of a further page on the configured host, without a key; None when it is none.

        The vendor names its own host even to a client that came through a proxy; the key must go nowhere else.
        """
        if not isinstance(address, str):
            return None
        try:
            parts = urlsplit(address)
        except ValueError:
            return None
        prefix = urlsplit(self.location).path
        path = parts.path.removeprefix(prefix) if parts.path.startswith(f"{prefix}/") else parts.path
        if not path.startswith("/"):
            return None
        query = "&".join(part for part in parts.query.split("&") if not part.lower().startswith("apikey="))
        return f"{self.location}{path}?{query}" if query else f"{self.location}{path}"


def _pieces(start: date, end: date, days: int | None) -> Iterator[tuple[date, date]]:
    """`start` to `end`, both included, in pieces of at most `days` days."""
    while start <= end:
        last = end if days is None else min(end, start + timedelta(days=days - 1))
        yield start, last
        start = last + timedelta(days=1)


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for, in either of its forms; a date counts from the answer's own Date."""
    text = (headers.get("Retry-After") or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date") or "")
    except (TypeError, ValueError):
        return None
    return max(wait.total_seconds(), 0.0)
