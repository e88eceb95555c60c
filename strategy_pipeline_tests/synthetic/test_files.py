"""The vendor-shaped files: layout, headers, bytes that are the same everywhere, and the revision."""

import gzip
import hashlib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from strategy_pipeline.errors import StorageError
from strategy_pipeline.synthetic.files import SyntheticMarket

SMALL: dict[str, Any] = {"seed": 7, "sessions": 4, "symbols": 8, "history": 2, "end": date(2024, 12, 3)}


@pytest.fixture(scope="module")
def small() -> SyntheticMarket:
    return SyntheticMarket(**SMALL)


def _tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _lines(root: Path, key: str) -> list[str]:
    return gzip.decompress((root / key).read_bytes()).decode().splitlines()


# Written down once, from runs under numpy 1.26 and 2.4 with and without AVX; a change here is a change of everybody's
# demo and must be meant.
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (SMALL, "d976ff5660b77ab05d7c27dc76a4075f94b878d5007da38ac173b0c7df5332d3"),
        ({}, "3976765b36475cb26a22e5cab8f692127a9512333c2313bc1c4b3fcd5e6b1979"),
    ],
    ids=["small", "default"],
)
def test_the_same_seed_gives_the_same_bytes_on_every_machine(
    arguments: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    SyntheticMarket(**arguments).write(tmp_path)
    digest = hashlib.sha256()
    for key, content in _tree(tmp_path).items():
        digest.update(key.encode() + b"\0" + content + b"\0")
    assert digest.hexdigest() == expected


def test_another_seed_gives_other_bytes(small: SyntheticMarket, tmp_path: Path) -> None:
    small.write(tmp_path / "seven")
    SyntheticMarket(**{**SMALL, "seed": 8}).write(tmp_path / "eight")
    seven, eight = _tree(tmp_path / "seven"), _tree(tmp_path / "eight")
    assert seven.keys() == eight.keys()
    assert sum(seven[key] == eight[key] for key in seven) <= 1  # the list of splits may agree


def test_files_lie_where_the_vendor_puts_them(small: SyntheticMarket, tmp_path: Path) -> None:
    assert small.write(tmp_path)
    keys = set(_tree(tmp_path))
    days = ["2024-11-27", "2024-11-29", "2024-12-02", "2024-12-03"]
    earlier = ["2024-11-25", "2024-11-26"]
    expected = {
        f"{feed}/{grain}_aggs_v1/{day[:4]}/{day[5:7]}/{day}.csv.gz"
        for feed in ("us_stocks_sip", "us_indices")
        for grain, sessions in (("minute", days), ("day", [*earlier, *days]))
        for day in sessions
    }
    assert keys == expected | {"reference/splits.csv", "reference/dividends.csv"}


def test_headers_and_order_are_the_vendors(small: SyntheticMarket, tmp_path: Path) -> None:
    small.write(tmp_path)
    stocks = _lines(tmp_path, "us_stocks_sip/minute_aggs_v1/2024/11/2024-11-29.csv.gz")
    indices = _lines(tmp_path, "us_indices/minute_aggs_v1/2024/11/2024-11-29.csv.gz")
    assert stocks[0] == "ticker,volume,open,close,high,low,window_start,transactions"
    assert indices[0] == "ticker,open,close,high,low,window_start"
    keys = [(line.split(",")[0], int(line.split(",")[6])) for line in stocks[1:]]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    # 210 minutes of the half day and 7 + 4 thin ones around them, for each of six symbols that trade.
    assert len(stocks) == 1 + 6 * (210 + 11)
    assert len(indices) == 1 + 2 * 210


def test_prices_are_printed_as_the_vendor_prints_them(small: SyntheticMarket, tmp_path: Path) -> None:
    small.write(tmp_path)
    rows = [line.split(",") for line in _lines(tmp_path, "us_stocks_sip/day_aggs_v1/2024/12/2024-12-03.csv.gz")[1:]]
    raw = small.days.filter(small.days["session"] == date(2024, 12, 3))
    for row in rows:
        (bar,) = raw.filter(raw["ticker"] == row[0]).to_dicts()
        assert [float(price) for price in row[2:6]] == [bar[name] / 100 for name in ("open", "close", "high", "low")]
        assert [repr(float(price)).removesuffix(".0") for price in row[2:6]] == row[2:6]
        assert [int(row[1]), int(row[6]), int(row[7])] == [bar[n] for n in ("volume", "window_start", "transactions")]


def test_corporate_actions_are_in_the_vendors_shape(tmp_path: Path) -> None:
    SyntheticMarket().write(tmp_path)
    splits = (tmp_path / "reference/splits.csv").read_text().splitlines()
    assert splits == ["ticker,execution_date,split_from,split_to", "ECHO,2024-11-12,1,4"]
    header, *dividends = (tmp_path / "reference/dividends.csv").read_text().splitlines()
    assert header.startswith("ticker,ex_dividend_date,cash_amount,declaration_date,")
    assert [row.split(",")[:2] for row in dividends] == [["ECHO", "2024-10-07"], ["SPY", "2024-10-24"]]
    # 0.30 % of a stock near 500 $ and 0.32 % of a fund near 570 $.
    assert 1.2 < float(dividends[0].split(",")[2]) < 1.8
    assert 1.5 < float(dividends[1].split(",")[2]) < 2.1


def test_files_carry_the_time_at_which_the_vendor_would_have_published_them(
    small: SyntheticMarket, tmp_path: Path
) -> None:
    small.write(tmp_path)
    path = tmp_path / "us_indices/day_aggs_v1/2024/11/2024-11-29.csv.gz"
    # 11:00 New York on the next calendar day, standard time.
    assert datetime.fromtimestamp(path.stat().st_mtime, UTC) == datetime(2024, 11, 30, 16, 0, tzinfo=UTC)


def test_writing_twice_writes_once(small: SyntheticMarket, tmp_path: Path) -> None:
    first = small.write(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.gz")}
    assert len(first) == 4 * 2 + 6 * 2 + 2
    assert SyntheticMarket(**SMALL).write(tmp_path) == []
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.gz")}


def test_a_damaged_or_missing_file_is_written_again(small: SyntheticMarket, tmp_path: Path) -> None:
    small.write(tmp_path)
    whole = _tree(tmp_path)
    damaged, missing = sorted(whole)[3], sorted(whole)[5]
    (tmp_path / damaged).write_bytes(whole[damaged][:-10])
    (tmp_path / missing).unlink()
    assert sorted(small.write(tmp_path)) == [damaged, missing]
    assert _tree(tmp_path) == whole


def test_the_revision_corrects_one_minute_of_one_symbol_and_is_younger(small: SyntheticMarket, tmp_path: Path) -> None:
    small.write(tmp_path)
    first, first_at = _lines(tmp_path, small.revised_key), (tmp_path / small.revised_key).stat().st_mtime
    untouched = _tree(tmp_path)
    assert small.publish_revision(tmp_path) == small.revised_key
    second, second_at = _lines(tmp_path, small.revised_key), (tmp_path / small.revised_key).stat().st_mtime
    changed = [(old.split(","), new.split(",")) for old, new in zip(first, second, strict=True) if old != new]
    ((old, new),) = changed
    assert old[0] == new[0] == small.plan.revised.symbol
    # The cancelled trade: 4,000 shares, twelve cents above the minute's true high.
    assert int(old[1]) - int(new[1]) == 4_000
    assert round(float(old[4]) - float(new[4]), 2) == 0.12
    assert int(old[7]) - int(new[7]) == 1
    assert second_at > first_at
    assert {key for key, content in _tree(tmp_path).items() if content != untouched[key]} == {small.revised_key}


def test_a_published_revision_is_not_taken_back_by_writing_again(small: SyntheticMarket, tmp_path: Path) -> None:
    small.write(tmp_path)
    small.publish_revision(tmp_path)
    revised = _tree(tmp_path)
    assert small.write(tmp_path) == []
    assert _tree(tmp_path) == revised


def test_a_folder_that_cannot_be_written_is_reported_with_a_sentence(small: SyntheticMarket, tmp_path: Path) -> None:
    (tmp_path / "us_stocks_sip").write_text("in the way")
    with pytest.raises(StorageError, match="Cannot write"):
        small.write(tmp_path)


def test_the_watchlist_names_every_symbol_with_its_class(small: SyntheticMarket) -> None:
    assert [(one.symbol, one.asset_class) for one in small.watchlist()] == [
        ("SPX", "INDEX"),
        ("SPY", "EQUITY_ETF"),
        ("NDX", "INDEX"),
        ("QQQ", "EQUITY_ETF"),
        ("ECHO", "STOCK"),
        ("ALFA", "STOCK"),
        ("BRAVO", "STOCK"),
        ("CHARL", "STOCK"),
    ]
