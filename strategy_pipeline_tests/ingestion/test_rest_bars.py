"""Bars over REST as rows of historical_bars: those of the files, provisional, and none that may still change."""

import csv
import gzip
import io
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from strategy_pipeline.ingestion.layout import DATASETS, key_for
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.ingestion.parse import parse_aggregates
from strategy_pipeline.ingestion.rest_bars import ParsedBars, parse_bars
from strategy_pipeline.ingestion.vendor_api import Pages
from strategy_pipeline.lake.tables import HISTORICAL_BARS, QUARANTINE
from strategy_pipeline.market.symbols import instrument

FETCHED_AT = datetime(2024, 3, 6, 1, 0, tzinfo=UTC)
OPEN = datetime(2024, 3, 5, 14, 30, tzinfo=UTC)
XYZ = instrument("XYZ")


def ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000


def bar(start: datetime = OPEN, **changes: Any) -> dict[str, Any]:
    whole = {"t": ms(start), "o": 50.0, "h": 50.4, "l": 49.9, "c": 50.2, "v": 1_200, "vw": 50.15, "n": 17}
    return {name: value for name, value in (whole | changes).items() if value is not None}


def parse(*entries: Any, timespan: Any = "minute", of: Any = XYZ, fetched_at: datetime = FETCHED_AT) -> ParsedBars:
    parsed = parse_bars(Pages("/v2/aggs", (("request-1", list(entries)),), fetched_at), of, timespan)
    HISTORICAL_BARS.schema.validate(parsed.bars)
    QUARANTINE.schema.validate(parsed.quarantine)
    assert parsed.read == len(entries) == parsed.bars.height + sum(parsed.by_reason.values())
    return parsed


class TestRows:
    def test_a_minute_is_known_two_seconds_after_it_ends_and_is_provisional(self) -> None:
        row = parse(bar()).bars.row(0, named=True)
        assert (row["symbol"], row["timeframe"], row["segment"], row["session"]) == (
            "XYZ",
            "1m",
            "rth",
            date(2024, 3, 5),
        )
        assert (row["source"], row["quality"]) == ("rest", "provisional")
        assert row["available_at"] == OPEN + timedelta(minutes=1, seconds=2)
        assert row["ingested_at"] == FETCHED_AT
        assert (row["vwap"], row["trades"], row["volume"]) == (50.15, 17, 1_200.0)

    def test_a_day_runs_from_open_to_close(self) -> None:
        midnight = datetime(2024, 3, 5, 5, 0, tzinfo=UTC)
        row = parse(bar(midnight), timespan="day").bars.row(0, named=True)
        assert (row["bar_start"], row["bar_end"]) == (OPEN, datetime(2024, 3, 5, 21, 0, tzinfo=UTC))

    def test_a_day_of_an_index_may_begin_at_midnight_in_chicago_and_has_no_volume(self) -> None:
        midnight = datetime(2024, 3, 5, 6, 0, tzinfo=UTC)
        row = parse(bar(midnight, v=None, vw=None, n=None), timespan="day", of=instrument("SPX")).bars.row(
            0, named=True
        )
        assert (row["session"], row["volume"], row["vwap"], row["trades"]) == (date(2024, 3, 5), None, None, None)

    def test_the_close_of_the_vix_is_known_a_quarter_of_an_hour_later(self) -> None:
        midnight = datetime(2024, 3, 5, 5, 0, tzinfo=UTC)
        row = parse(bar(midnight, v=None), timespan="day", of=instrument("VIX", "INDEX")).bars.row(0, named=True)
        assert row["available_at"] == datetime(2024, 3, 5, 21, 15, tzinfo=UTC)

    def test_extended_hours_have_their_segment(self) -> None:
        minutes = [bar(OPEN - timedelta(minutes=1)), bar(OPEN), bar(datetime(2024, 3, 5, 21, 0, tzinfo=UTC))]
        assert parse(*minutes).bars["segment"].to_list() == ["pre", "rth", "post"]

    def test_no_count_of_trades_and_no_vwap_stay_null(self) -> None:
        row = parse(bar(n=None, vw=None)).bars.row(0, named=True)
        assert (row["trades"], row["vwap"]) == (None, None)

    def test_real_minutes_over_rest_are_those_of_the_file(self, shared_data: Path) -> None:
        dataset, day = DATASETS["us_stocks_sip/minute_aggs_v1"], date(2013, 10, 7)
        key = key_for(dataset, day)
        path = shared_data / key
        raw = RawFile(key, path, path.stat().st_size, "etag", FETCHED_AT, "")
        from_file = parse_aggregates(raw, dataset, ["IBM"]).bars
        rows = csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode()))
        short = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}
        entries = [
            {"t": int(row["window_start"]) // 1_000_000, "n": int(row["transactions"])}
            | {name: float(row[column]) for name, column in short.items()}
            for row in rows
            if row["ticker"] == "IBM"
        ]
        over_rest = parse(*entries, of=instrument("IBM")).bars
        differs = ["source", "quality", "ingested_at"]
        assert over_rest.drop(differs).equals(from_file.drop(differs))
        # README of the data: IBM traded in that session; an empty frame would equal another.
        assert over_rest.height > 390


class TestRefused:
    @pytest.mark.parametrize(
        ("entry", "reason"),
        [
            ("junk", "not_a_record"),
            (bar(t=None), "unreadable_value"),
            (bar(c=None), "unreadable_value"),
            (bar(v=None), "unreadable_value"),
            (bar(o="50"), "unreadable_value"),
            (bar(t=ms(OPEN) // 1_000), "timestamp_unit"),
            (bar(t=ms(OPEN) * 1_000_000), "timestamp_unit"),
            (bar(datetime(2024, 3, 2, 15, 0, tzinfo=UTC)), "not_a_session"),
            (bar(datetime(2024, 3, 5, 8, 59, tzinfo=UTC)), "outside_hours"),
            (bar(t=ms(OPEN) + 1_000), "off_grid"),
            (bar(h=float("inf")), "price_not_finite"),
            (bar(h=10**400), "price_not_finite"),
            (bar(t=10**400), "unreadable_value"),
            (bar(l=0), "price_not_positive"),
            (bar(l=50.1), "prices_not_ordered"),
            (bar(v=-1), "bad_volume"),
            (bar(n=-1), "bad_transactions"),
        ],
    )
    def test_an_entry_that_cannot_be_is_quarantined(self, entry: Any, reason: str) -> None:
        parsed = parse(bar(OPEN + timedelta(minutes=5)), entry)
        assert (parsed.by_reason, parsed.bars.height) == ({reason: 1}, 1)
        row = parsed.quarantine.row(0, named=True)
        assert (row["reason"], row["line_number"]) == (reason, 2)
        assert json.loads(row["raw"]) == entry

    def test_a_day_that_does_not_begin_at_midnight_is_off_the_grid(self) -> None:
        assert parse(bar(OPEN), timespan="day").by_reason == {"off_grid": 1}

    @pytest.mark.parametrize(("seconds", "kept"), [(61, 0), (62, 1)])
    def test_a_minute_that_was_not_settled_when_asked_for_is_refused(self, seconds: int, kept: int) -> None:
        parsed = parse(bar(), fetched_at=OPEN + timedelta(seconds=seconds))
        assert (parsed.bars.height, parsed.by_reason) == (kept, {} if kept else {"unfinished": 1})

    def test_the_day_that_is_still_running_is_refused(self) -> None:
        midnight = datetime(2024, 3, 5, 5, 0, tzinfo=UTC)
        parsed = parse(bar(midnight), timespan="day", fetched_at=datetime(2024, 3, 5, 18, 0, tzinfo=UTC))
        assert parsed.by_reason == {"unfinished": 1}

    def test_the_same_bar_twice_counts_once_and_two_versions_count_not_at_all(self) -> None:
        other = OPEN + timedelta(minutes=1)
        parsed = parse(bar(), bar(), bar(other), bar(other, c=50.3))
        assert parsed.bars["bar_start"].to_list() == [OPEN]
        assert parsed.by_reason == {"duplicate_conflicting": 2, "duplicate_identical": 1}

    def test_of_many_bad_entries_some_are_listed_and_all_are_counted(self) -> None:
        parsed = parse(*["junk"] * 1_500)
        assert (parsed.by_reason, parsed.quarantine.height) == ({"not_a_record": 1_500}, 1_000)

    def test_no_entries_are_no_bars(self) -> None:
        parsed = parse()
        assert (parsed.bars.height, parsed.bars.schema) == (0, pl.Schema(HISTORICAL_BARS.polars_schema))
