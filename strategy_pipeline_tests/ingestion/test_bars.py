"""Bars of a session: which file feeds which timeframe, and known values of the real files."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from strategy_pipeline.errors import DataError
from strategy_pipeline.ingestion.bars import historical_bars
from strategy_pipeline.ingestion.flat_files import LocalFlatFileStore
from strategy_pipeline.ingestion.layout import DATASETS, keys_for
from strategy_pipeline.ingestion.mirror import RawFile, RawMirror
from strategy_pipeline.ingestion.parse import ParsedFile, parse_aggregates
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import HISTORICAL_BARS

STOCK_MINUTES = "us_stocks_sip/minute_aggs_v1"
STOCK_HOURS = "us_stocks_sip/hour_aggs_v1"
STOCK_DAYS = "us_stocks_sip/day_aggs_v1"
BAR_SETS = tuple(name for name, one in DATASETS.items() if one.feeds)

Parsed = Callable[..., list[ParsedFile]]


@pytest.fixture
def parsed(shared_data: Path, tmp_path: Path) -> Parsed:
    """The real files of some sessions, of the named data sets."""
    store, mirror = LocalFlatFileStore(shared_data), RawMirror(tmp_path / "raw")

    def parse(first: date, last: date | None = None, names: tuple[str, ...] = BAR_SETS) -> list[ParsedFile]:
        found = []
        for name in names:
            for result in mirror.download(store, keys_for(DATASETS[name], first, last or first)):
                if result.raw is not None:
                    found.append(parse_aggregates(result.raw, DATASETS[name]))
        assert all(one.counts.read == one.counts.kept for one in found)
        return found

    return parse


def of(bars: pl.DataFrame, symbol: str, timeframe: str) -> pl.DataFrame:
    return bars.filter((pl.col("symbol") == symbol) & (pl.col("timeframe") == timeframe))


def test_spy_of_2013_10_04_has_the_bars_its_minutes_make(parsed: Parsed) -> None:
    bars = historical_bars(date(2013, 10, 4), parsed(date(2013, 10, 4), names=(STOCK_MINUTES,)))
    conform(HISTORICAL_BARS, bars)
    counts = {name: of(bars, "SPY", name).height for name in ("1m", "5m", "15m", "1h", "4h", "1d")}
    # zcat | grep -c: 711 rows of SPY, 390 of them in regular hours
    assert counts == {"1m": 711, "5m": 78, "15m": 26, "1h": 7, "4h": 2, "1d": 1}
    assert {name: of(bars, name, "1m").height for name in ("BAC", "IBM")} == {"BAC": 517, "IBM": 411}
    first = of(bars, "SPY", "5m").row(0, named=True)
    # Summed by hand (awk) over the five rows 09:30-09:34 of the file
    assert (first["open"], first["high"], first["low"], first["close"]) == (167.74, 167.83, 167.53, 167.61)
    assert first["volume"] == 2_462_144
    assert first["vwap"] == pytest.approx(167.691, abs=5e-4)
    assert first["coverage_pct"] == 100.0
    assert first["available_at"] == datetime(2013, 10, 4, 13, 35, 2, tzinfo=UTC)
    [day] = of(bars, "SPY", "1d").to_dicts()
    assert (day["open"], day["high"], day["low"], day["close"]) == (167.74, 169.06, 167.53, 168.89)
    assert day["volume"] == 84_960_871
    assert (day["bar_start"], day["bar_end"]) == (
        datetime(2013, 10, 4, 13, 30, tzinfo=UTC),
        datetime(2013, 10, 4, 20, 0, tzinfo=UTC),
    )


def test_hour_bars_are_the_vendors_where_there_is_an_hour_file_and_nowhere_else(parsed: Parsed) -> None:
    bars = historical_bars(date(2013, 10, 4), parsed(date(2013, 10, 4)))
    conform(HISTORICAL_BARS, bars)
    spy = of(bars, "SPY", "1h")
    assert spy["definition_version"].unique().to_list() == ["bars-1/clock_hour"]
    starts = spy["bar_start"].dt.convert_time_zone("America/New_York").dt.strftime("%H:%M").to_list()
    assert starts == ["09:30", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]
    # First row of SPY on that date in the file: 10924334,167.74,168.18,168.27,167.53
    first = spy.row(0, named=True)
    assert (first["open"], first["high"], first["low"], first["close"]) == (167.74, 168.27, 167.53, 168.18)
    assert first["volume"] == 10_924_334
    # 5m and 4h stay on the session's grid, because they come from minutes.
    assert of(bars, "SPY", "4h")["definition_version"].unique().to_list() == ["bars-1/session"]
    # VXX has hours only: a day, but nothing that would have to be cut from inside an hour.
    assert sorted(bars.filter(pl.col("symbol") == "VXX")["timeframe"].unique().cast(pl.String)) == ["1d", "1h"]
    [day] = of(bars, "VXX", "1d").to_dicts()
    # open 15.35 of 09:30, close 15.06 of 15:00, high 15.55, low 14.96 among the seven rows of the file
    assert (day["open"], day["high"], day["low"], day["close"]) == (15.35, 15.55, 14.96, 15.06)
    assert day["coverage_pct"] is None


def test_the_day_file_is_preferred_to_what_minutes_add_up_to(parsed: Parsed) -> None:
    both = historical_bars(date(2015, 12, 24), parsed(date(2015, 12, 24), names=(STOCK_MINUTES, STOCK_DAYS)))
    alone = historical_bars(date(2015, 12, 24), parsed(date(2015, 12, 24), names=(STOCK_MINUTES,)))
    # Day file: GOOG,517084,749.55,748.4,751.3,746.56; minutes add up to 515572 with high 751.35 and low 746.34
    [from_file] = of(both, "GOOG", "1d").select("volume", "high", "low").rows()
    [from_minutes] = of(alone, "GOOG", "1d").select("volume", "high", "low").rows()
    assert from_file == (517_084.0, 751.3, 746.56)
    assert from_minutes == (515_572.0, 751.35, 746.34)


def test_a_half_day_ends_at_13_00(parsed: Parsed) -> None:
    bars = historical_bars(date(2015, 12, 24), parsed(date(2015, 12, 24), names=(STOCK_MINUTES,)))
    minutes = of(bars, "GOOG", "1m")
    # 227 rows: 2 before the open, 210 in regular hours, 15 after 13:00
    assert minutes["segment"].cast(pl.String).value_counts().sort("segment").rows() == [
        ("post", 15),
        ("pre", 2),
        ("rth", 210),
    ]
    heights = {name: of(bars, "GOOG", name).height for name in ("5m", "15m", "1h", "4h", "1d")}
    assert heights == {"5m": 42, "15m": 14, "1h": 4, "4h": 1, "1d": 1}
    close = datetime(2015, 12, 24, 18, 0, tzinfo=UTC)
    assert all(of(bars, "GOOG", name)["bar_end"].max() == close for name in heights)


def test_an_index_half_day_has_no_volume_and_no_vwap(parsed: Parsed) -> None:
    bars = historical_bars(date(2023, 7, 3), parsed(date(2023, 7, 3)))
    heights = {name: of(bars, "SPX", name).height for name in ("1m", "5m", "15m", "1h", "4h", "1d")}
    assert heights == {"1m": 210, "5m": 42, "15m": 14, "1h": 4, "4h": 1, "1d": 1}
    assert bars.select("volume", "vwap", "trades").null_count().row(0) == (bars.height,) * 3
    [four_hours] = of(bars, "SPX", "4h").to_dicts()
    # First open, last close, extremes of the 210 rows (awk)
    assert (four_hours["open"], four_hours["high"], four_hours["low"], four_hours["close"]) == (
        4447.33,
        4456.46,
        4442.29,
        4455.06,
    )
    assert four_hours["bar_end"] == datetime(2023, 7, 3, 17, 0, tzinfo=UTC)


def test_the_grid_follows_new_york_across_the_change_to_daylight_saving_time(parsed: Parsed) -> None:
    days = [date(2008, 3, 7), date(2008, 3, 10)]
    bars = historical_bars(days, parsed(*days, names=(STOCK_MINUTES,)))
    # US daylight saving time began on 2008-03-09: 09:30 New York is 14:30 UTC before and 13:30 UTC after.
    for day, utc_open, rows, regular in ((days[0], 14, 336, 333), (days[1], 13, 316, 313)):
        of_day = bars.filter(pl.col("session") == day)
        minutes = of(of_day, "SHY", "1m")
        assert minutes.height == rows
        assert minutes.filter(pl.col("segment") == "rth").height == regular
        quarter_hours = of(of_day, "SHY", "15m")
        assert quarter_hours.height == 26
        assert quarter_hours["bar_start"][0] == datetime(day.year, day.month, day.day, utc_open, 30, tzinfo=UTC)
        assert quarter_hours["bar_end"][-1] == datetime(day.year, day.month, day.day, utc_open + 7, 0, tzinfo=UTC)
        [daily] = of(of_day, "SHY", "1d").to_dicts()
        assert daily["coverage_pct"] == pytest.approx(regular / 390 * 100)


def test_index_prints_after_the_close_are_kept_apart(parsed: Parsed) -> None:
    bars = historical_bars(date(2021, 1, 4), parsed(date(2021, 1, 4)))
    # 411 minutes: 390 and those from 16:00 to 16:20; hour file: 09:00 to 15:00, and 16:00
    assert of(bars, "SPX", "1m")["segment"].cast(pl.String).value_counts().sort("segment").rows() == [
        ("post", 21),
        ("rth", 390),
    ]
    assert of(bars, "SPX", "1h")["segment"].cast(pl.String).to_list() == ["rth"] * 7 + ["post"]


def test_asking_for_sessions_together_or_one_by_one_gives_the_same_rows(parsed: Parsed) -> None:
    days = [date(2013, 10, 4), date(2013, 10, 7), date(2013, 10, 8)]
    files = parsed(days[0], days[-1])
    together = historical_bars(days, files)
    apart = pl.concat([historical_bars(day, files) for day in days]).sort(*HISTORICAL_BARS.sort_by)
    assert together.equals(apart)
    assert historical_bars(days[0], parsed(days[0])).equals(historical_bars(days[0], files))


def test_a_session_without_files_has_no_bars() -> None:
    assert historical_bars(date(2013, 10, 4), []).equals(HISTORICAL_BARS.empty())


def test_options_never_become_bars(raw_file: Callable[..., RawFile]) -> None:
    raw = raw_file("us_options_opra/day_aggs_v1/2013/10/2013-10-04.csv.gz", "ticker\n")
    options = parse_aggregates(raw, DATASETS["us_options_opra/day_aggs_v1"])
    with pytest.raises(DataError, match="options"):
        historical_bars(date(2013, 10, 4), [options])


@pytest.mark.parametrize(
    ("name", "first", "last", "rows"),
    [
        # shared data README: rows of each data set
        ("us_stocks_sip/minute_aggs_v1", date(2008, 1, 1), date(2023, 12, 31), 15_585),
        ("us_stocks_sip/hour_aggs_v1", date(1998, 1, 1), date(2018, 12, 31), 164_922),
        ("us_indices/minute_aggs_v1", date(2021, 1, 1), date(2023, 12, 31), 1_011),
        ("us_options_opra/minute_aggs_v1", date(2013, 1, 1), date(2023, 12, 31), 50_622),
    ],
)
def test_every_row_of_the_real_files_is_kept(
    shared_data: Path, tmp_path: Path, name: str, first: date, last: date, rows: int
) -> None:
    dataset, store = DATASETS[name], LocalFlatFileStore(shared_data)
    mirror = RawMirror(tmp_path / "raw")
    results = mirror.download(store, [info.key for info in store.list(dataset, first, last)])
    parsed = [parse_aggregates(result.raw, dataset) for result in results if result.raw]
    assert sum(one.counts.read for one in parsed) == rows
    assert sum(one.counts.kept for one in parsed) == rows


def test_the_hours_of_an_option_that_are_stamped_at_midnight_are_refused(shared_data: Path, tmp_path: Path) -> None:
    dataset, store = DATASETS["us_options_opra/hour_aggs_v1"], LocalFlatFileStore(shared_data)
    mirror = RawMirror(tmp_path / "raw")
    results = mirror.download(store, keys_for(dataset, date(2021, 1, 27), date(2021, 3, 5)))
    parsed = [parse_aggregates(result.raw, dataset) for result in results if result.raw]
    # NQX: one of the dirty spots the data README names; four files hold nothing else.
    assert sum(one.counts.by_reason.get("outside_hours", 0) for one in parsed) == 4
    assert all("00:00:00 New York" in one.refusal for one in parsed if one.refusal)
