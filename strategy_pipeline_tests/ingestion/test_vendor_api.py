"""The REST side over real HTTP: all pages or none, what is tried again and what is not, and where the key goes."""

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from massive import RESTClient

from strategy_pipeline.errors import (
    DataError,
    NotEntitledError,
    NotPublishedError,
    PipelineError,
    SourceError,
    UnreachableError,
)
from strategy_pipeline.ingestion.vendor_api import Pages, RateLimiter, RetryPolicy, VendorApi
from strategy_pipeline_tests.ingestion.rest_peer import KEY, Fault, RestPeer, serving

CHRISTMAS_EVE = date(2015, 12, 24)
FETCHED_AT = datetime(2015, 12, 24, 18, 0, 7, tzinfo=UTC)


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def peer(shared_data: Path) -> Iterator[RestPeer]:
    with serving(RestPeer(shared_data / "rest" / "v3", CHRISTMAS_EVE)) as peer:
        yield peer


@pytest.fixture
def api(peer: RestPeer, time: FakeTime) -> VendorApi:
    return api_of(peer.url, time)


def api_of(url: str, time: FakeTime, *, read_timeout: float = 5.0, fraction: float = 0.5) -> VendorApi:
    # A rate no test reaches, so that what was slept is what was waited for after a failure.
    limiter = RateLimiter(1e9, clock=time.clock, sleep=time.sleep)
    client = RESTClient(KEY, base=url, connect_timeout=2.0, read_timeout=read_timeout)
    return VendorApi(client, limiter=limiter, fraction=lambda: fraction, now=lambda: FETCHED_AT)


def waits(time: FakeTime) -> list[float]:
    """What was slept, without the nanoseconds of the rate limit."""
    return [round(seconds, 6) for seconds in time.slept if seconds > 1e-6]


def tickers(pages: Pages) -> list[str]:
    return [record["details"]["ticker"] for record in pages.records]


class TestPaging:
    def test_a_chain_is_read_to_the_end_of_its_nine_pages(self, api: VendorApi, peer: RestPeer) -> None:
        pages = api.chain_snapshot("GOOG")
        # README of the data: 2,192 contracts of GOOG on 2015-12-24, 250 a page.
        assert [len(page) for _, page in pages.pages] == [250] * 8 + [192]
        assert len(set(tickers(pages))) == 2_192
        assert pages.pages[0][0] == "26267a0aed0a7efd473713d71bdc2613"
        assert (pages.path, pages.fetched_at) == ("/v3/snapshot/options/GOOG", FETCHED_AT)
        assert peer.requests[0].query == {"limit": "250"}
        assert len(peer.requests) == 9

    def test_an_index_is_asked_for_under_the_vendors_name(self, shared_data: Path, time: FakeTime) -> None:
        with serving(RestPeer(shared_data / "rest" / "v3", date(2021, 1, 4))) as peer:
            assert len(api_of(peer.url, time).chain_snapshot("I:SPX").records) == 6
            assert peer.requests[0].path == "/v3/snapshot/options/I:SPX"

    def test_contracts_as_of_a_date_are_read_to_the_end(self, api: VendorApi, peer: RestPeer) -> None:
        pages = api.option_contracts("GOOG", CHRISTMAS_EVE)
        assert [len(page) for _, page in pages.pages] == [1_000, 1_000, 16]
        assert peer.requests[0].query["as_of"] == "2015-12-24"

    def test_reference_data_names_an_index_without_prefix(self, api: VendorApi) -> None:
        assert len(api.option_contracts("I:SPX", date(2015, 12, 22)).records) == 233

    def test_the_key_travels_in_a_header_and_in_no_address(self, api: VendorApi, peer: RestPeer) -> None:
        def with_key(page: dict[str, Any]) -> None:
            if "next_url" in page:
                page["next_url"] += f"&apiKey={KEY}"

        peer.edit = with_key
        assert len(api.chain_snapshot("GOOG").records) == 2_192
        assert {request.headers["Authorization"] for request in peer.requests} == {f"Bearer {KEY}"}
        assert not any("apiKey" in request.query for request in peer.requests)

    def test_further_pages_stay_below_a_base_address_with_a_path(self, peer: RestPeer, time: FakeTime) -> None:
        peer.answers = {
            "/massive/v3/reference/splits": [
                {"results": [1], "next_url": f"{peer.url}/massive/v3/reference/splits?cursor=1"},
                {"results": [2], "next_url": "https://api.massive.com/v3/reference/splits?cursor=2"},
                {"results": [3]},
            ]
        }
        assert api_of(f"{peer.url}/massive", time).splits("GOOG").records == [1, 2, 3]

    @pytest.mark.parametrize(
        "next_url", ["https://api.massive.com/v3/snapshot/options/GOOG?cursor=a95162c6d336741e700e6eb4", 7, "nowhere"]
    )
    def test_an_answer_that_goes_round_in_circles_or_nowhere_is_none(
        self, api: VendorApi, peer: RestPeer, next_url: object
    ) -> None:
        def circle(page: dict[str, Any]) -> None:
            page["next_url"] = next_url

        peer.edit = circle
        with pytest.raises(DataError, match="names no further page"):
            api.chain_snapshot("GOOG")

    def test_a_page_without_results_spoils_the_answer(self, api: VendorApi, peer: RestPeer) -> None:
        def second_without_results(page: dict[str, Any]) -> None:
            if len(peer.requests) == 2:
                del page["results"]

        peer.edit = second_without_results
        with pytest.raises(DataError, match=r"Page 2 of /v3/snapshot/options/GOOG at \S+ is without results"):
            api.chain_snapshot("GOOG")


class TestAggregates:
    def test_more_than_50_000_base_bars_are_asked_for_in_pieces_and_pages(self, api: VendorApi, peer: RestPeer) -> None:
        def of_piece(start: str, end: str) -> str:
            return f"/v2/aggs/ticker/SPY/range/1/minute/{start}/{end}"

        # 34 days have 48,960 minutes.
        first, second = of_piece("2023-07-01", "2023-08-03"), of_piece("2023-08-04", "2023-08-31")
        page = {"ticker": "SPY", "adjusted": False, "status": "OK"}
        peer.answers = {
            first: [page | {"results": [{"t": 1}]}, page | {"results": [{"t": 2}]}],
            second: [page | {"results": [{"t": 3}], "status": "DELAYED"}],
        }
        pages = api.aggregates("SPY", "minute", date(2023, 7, 1), date(2023, 8, 31))
        assert [record["t"] for record in pages.records] == [1, 2, 3]
        assert [request.path for request in peer.requests] == [first, first, second]
        assert peer.requests[0].query == {"adjusted": "false", "sort": "asc", "limit": "50000"}

    def test_days_are_asked_for_in_one_piece(self, api: VendorApi, peer: RestPeer) -> None:
        path = "/v2/aggs/ticker/I:VIX/range/1/day/2014-01-02/2017-12-29"
        peer.answers = {path: [{"results": [{"t": 1}], "ticker": "I:VIX"}]}
        assert len(api.aggregates("I:VIX", "day", date(2014, 1, 2), date(2017, 12, 29)).records) == 1

    def test_no_bars_is_an_answer_too(self, api: VendorApi, peer: RestPeer) -> None:
        path = "/v2/aggs/ticker/SPY/range/1/minute/2023-07-04/2023-07-04"
        peer.answers = {path: [{"ticker": "SPY", "queryCount": 0, "resultsCount": 0, "status": "OK"}]}
        assert api.aggregates("SPY", "minute", date(2023, 7, 4), date(2023, 7, 4)).records == []

    @pytest.mark.parametrize(
        ("page", "what"), [({"adjusted": True}, "adjusted for splits"), ({"ticker": "QQQ"}, "of another ticker")]
    )
    def test_bars_other_than_asked_for_are_refused(
        self, api: VendorApi, peer: RestPeer, page: dict[str, Any], what: str
    ) -> None:
        path = "/v2/aggs/ticker/SPY/range/1/day/2023-07-03/2023-07-03"
        peer.answers = {path: [{"results": [], **page}]}
        with pytest.raises(DataError, match=what):
            api.aggregates("SPY", "day", date(2023, 7, 3), date(2023, 7, 3))


class TestReference:
    def test_splits_dividends_and_conditions_ask_for_what_they_say(self, api: VendorApi, peer: RestPeer) -> None:
        peer.answers = {
            "/v3/reference/splits": [{"results": ["split"]}],
            "/v3/reference/dividends": [{"results": ["dividend"]}],
            "/v3/reference/conditions": [{"results": ["condition"]}],
        }
        days = date(2014, 1, 2), date(2014, 12, 31)
        assert api.splits("AAPL", *days).records == ["split"]
        assert api.dividends("AAPL", *days).records == ["dividend"]
        assert api.conditions().records == ["condition"]
        assert [request.query for request in peer.requests] == [
            {
                "ticker": "AAPL",
                "execution_date.gte": "2014-01-02",
                "execution_date.lte": "2014-12-31",
                "limit": "1000",
            },
            {
                "ticker": "AAPL",
                "ex_dividend_date.gte": "2014-01-02",
                "ex_dividend_date.lte": "2014-12-31",
                "limit": "1000",
            },
            {"asset_class": "options", "data_type": "trade", "limit": "1000"},
        ]


class TestFailures:
    def test_a_rate_limit_is_waited_for_as_long_as_the_vendor_asks(
        self, api: VendorApi, peer: RestPeer, time: FakeTime
    ) -> None:
        peer.faults = {3: Fault(429, (("Retry-After", "7"),))}
        assert len(api.chain_snapshot("GOOG").records) == 2_192
        # Seven seconds and half of the extra one that is drawn.
        assert waits(time) == [7.5]
        assert len(peer.requests) == 10

    def test_a_retry_after_may_be_a_date_and_counts_from_the_date_of_the_answer(
        self, api: VendorApi, peer: RestPeer, time: FakeTime
    ) -> None:
        date_of_answer, retry_after = (
            ("Date", "Thu, 24 Dec 2015 18:00:00 GMT"),
            ("Retry-After", "Thu, 24 Dec 2015 18:00:20 GMT"),
        )
        peer.faults = {1: Fault(503, (date_of_answer, retry_after)), 2: Fault(503, (retry_after,))}
        assert len(api.chain_snapshot("GOOG").records) == 2_192
        # Without a date to count from the second one is a failure like any other.
        assert waits(time) == [20.5, 0.75]

    def test_a_rate_limit_that_is_too_long_to_wait_for_is_said(
        self, api: VendorApi, peer: RestPeer, time: FakeTime
    ) -> None:
        peer.faults = {1: Fault(429, (("Retry-After", "3600"),))}
        with pytest.raises(UnreachableError, match="asks to wait 3600 s"):
            api.chain_snapshot("GOOG")
        assert waits(time) == []

    def test_a_rate_limit_without_a_time_is_waited_for_with_growing_patience(
        self, api: VendorApi, peer: RestPeer, time: FakeTime
    ) -> None:
        peer.faults = {1: Fault(429), 2: Fault(429, (("Retry-After", "soon"),))}
        assert len(api.chain_snapshot("GOOG").records) == 2_192
        assert waits(time) == [0.375, 0.75]

    @pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
    def test_a_server_that_fails_twice_is_asked_a_third_time(
        self, api: VendorApi, peer: RestPeer, time: FakeTime, status: int
    ) -> None:
        peer.faults = {2: Fault(status), 3: Fault(status)}
        assert len(api.chain_snapshot("GOOG").records) == 2_192
        # Three quarters of 0.5 s and of 1 s: half is fixed, half is drawn.
        assert waits(time) == [0.375, 0.75]

    @pytest.mark.parametrize(
        "fault",
        [Fault(silent=True), Fault(cut_at=20_000), Fault(cut_at=0), Fault(truncate_at=20_000)],
        ids=["time-out", "connection cut in the middle of a page", "nothing after the headers", "truncated JSON"],
    )
    def test_a_page_that_breaks_off_is_asked_for_again(self, peer: RestPeer, time: FakeTime, fault: Fault) -> None:
        peer.faults = {5: fault}
        pages = api_of(peer.url, time, read_timeout=1.0).chain_snapshot("GOOG")
        assert len(set(tickers(pages))) == len(pages.records) == 2_192
        assert waits(time) == [0.375]

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (Fault(500), "keeps failing"),
            (Fault(429), "limits the rate"),
            (Fault(cut_at=20_000), "broke off"),
            (Fault(truncate_at=20_000), "damaged page"),
        ],
    )
    def test_a_chain_whose_middle_stays_broken_is_no_chain(
        self, peer: RestPeer, time: FakeTime, fault: Fault, said: str
    ) -> None:
        peer.faults = {number: fault for number in range(5, 20)}
        with pytest.raises(UnreachableError, match=f"{said}.*/v3/snapshot/options/GOOG, 5 times in a row"):
            api_of(peer.url, time).chain_snapshot("GOOG")
        # Four pages came, the fifth was tried five times; waits double.
        assert len(peer.requests) == 4 + 5
        assert waits(time) == [0.375, 0.75, 1.5, 3.0]

    def test_a_vendor_that_never_answers_is_given_up(self, peer: RestPeer, time: FakeTime) -> None:
        peer.faults = {number: Fault(silent=True) for number in range(1, 20)}
        with pytest.raises(UnreachableError, match="did not answer in time for /v3/snapshot/options/GOOG, 5 times"):
            api_of(peer.url, time, read_timeout=0.1).chain_snapshot("GOOG")
        assert len(peer.requests) == 5

    @pytest.mark.parametrize(
        ("status", "error", "said"),
        [
            (401, NotEntitledError, "check MASSIVE_API_KEY"),
            (403, NotEntitledError, "may not read /v3/snapshot/options/GOOG"),
            (404, NotPublishedError, "There is no /v3/snapshot/options/GOOG"),
            (400, SourceError, "refuses the request"),
            (302, SourceError, "elsewhere"),
        ],
    )
    def test_a_refusal_is_not_tried_again(
        self, api: VendorApi, peer: RestPeer, time: FakeTime, status: int, error: type[PipelineError], said: str
    ) -> None:
        peer.faults = {4: Fault(status, (("Location", "https://elsewhere.example/"),))}
        with pytest.raises(error, match=said):
            api.chain_snapshot("GOOG")
        assert len(peer.requests) == 4
        assert waits(time) == []

    def test_a_port_where_nobody_listens_is_unreachable(self, time: FakeTime) -> None:
        with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:1 could not be reached"):
            api_of("http://127.0.0.1:1", time).chain_snapshot("GOOG")

    @pytest.mark.parametrize("fault", [Fault(401), Fault(403), Fault(400), Fault(500), Fault(cut_at=10)])
    def test_no_message_and_no_log_line_holds_the_key(
        self, api: VendorApi, peer: RestPeer, fault: Fault, caplog: pytest.LogCaptureFixture
    ) -> None:
        peer.faults = {number: fault for number in range(1, 9)}
        with caplog.at_level(logging.DEBUG), pytest.raises(SourceError) as caught:
            api.chain_snapshot("GOOG")
        # The peer repeats the header in the body of a refusal, as some gateways do.
        assert KEY not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        assert KEY not in caplog.text
        assert KEY not in repr(api)


class TestRateLimiter:
    def test_requests_keep_their_distance(self, time: FakeTime) -> None:
        limiter = RateLimiter(4.0, clock=time.clock, sleep=time.sleep)
        begun = []
        for _ in range(5):
            limiter.wait()
            begun.append(time.now - 1_000.0)
        assert begun == [0.0, 0.25, 0.5, 0.75, 1.0]

    def test_idle_time_is_not_saved_up(self, time: FakeTime) -> None:
        limiter = RateLimiter(4.0, clock=time.clock, sleep=time.sleep)
        limiter.wait()
        time.now += 60.0
        limiter.wait()
        limiter.wait()
        assert time.slept == [0.25]

    def test_a_hold_stops_everybody_and_they_leave_one_by_one(self, time: FakeTime) -> None:
        limiter = RateLimiter(4.0, clock=time.clock, sleep=time.sleep)
        limiter.wait()
        limiter.hold(10.0)
        left = []
        for _ in range(3):
            limiter.wait()
            left.append(time.now - 1_000.0)
        assert left == [10.0, 10.25, 10.5]

    def test_who_was_already_waiting_when_a_hold_came_waits_it_out(self) -> None:
        time = FakeTime()
        limiter = RateLimiter(1.0, clock=time.clock, sleep=time.sleep)

        def sleep_and_be_held(seconds: float) -> None:
            time.sleep(seconds)
            if len(time.slept) == 1:
                limiter.hold(5.0)

        limiter.sleep = sleep_and_be_held
        limiter.wait()
        limiter.wait()
        # One second for its turn, then five from there.
        assert time.now - 1_000.0 == 6.0

    def test_threads_share_it(self) -> None:
        lock, turns = threading.Lock(), []
        now = 0.0
        limiter = RateLimiter(10.0, clock=lambda: now, sleep=lambda _: None)
        reserve: Callable[[], float] = limiter._next_turn

        def take() -> None:
            for _ in range(100):
                turn = reserve()
                with lock:
                    turns.append(turn)

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [round(turn, 6) for turn in sorted(turns)] == [round(n / 10, 6) for n in range(400)]


def test_waits_double_up_to_a_limit_and_are_drawn_from_their_upper_half() -> None:
    policy = RetryPolicy()
    assert [policy.wait_s(failures, 1.0) for failures in range(1, 9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert [policy.wait_s(failures, 0.0) for failures in (1, 8)] == [0.25, 15.0]
