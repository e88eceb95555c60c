"""Splits and dividends in both shapes, the session they take effect on, and every kind of bad row."""

import gzip
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from strategy_pipeline.ingestion.corporate_actions import REASONS, ParsedActions, merged, parse_corporate_actions
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, QUARANTINE


def read(tmp_path: Path, text: str, symbols: list[str] | None = None) -> ParsedActions:
    path = tmp_path / "actions.csv"
    path.write_text(text)
    parsed = parse_corporate_actions(path, symbols)
    assert parsed.rows_read == parsed.rows_kept + parsed.rows_quarantined + parsed.rows_filtered_out
    assert set(parsed.quarantine["reason"]) <= REASONS.keys()
    conform(CORPORATE_ACTIONS, parsed.actions)
    conform(QUARANTINE, parsed.quarantine)
    return parsed


def test_a_vendor_split_takes_effect_at_midnight_new_york_of_its_execution_date(tmp_path: Path) -> None:
    # AAPL 7-for-1, effective 2014-06-09 (data README)
    [action] = read(
        tmp_path, "id,execution_date,split_from,split_to,ticker\nE1,2014-06-09,1,7,AAPL\n"
    ).actions.to_dicts()
    assert action == {
        "symbol": "AAPL",
        "action": "split",
        "ex_date": date(2014, 6, 9),
        "split_ratio": 7.0,
        "cash_amount": None,
        "available_at": datetime(2014, 6, 9, 4, 0, tzinfo=UTC),
        "source": "flat_file",
    }


def test_a_reverse_split_has_a_ratio_below_one(tmp_path: Path) -> None:
    parsed = read(tmp_path, "ticker,execution_date,split_from,split_to\nC,2011-05-09,10,1\n")
    assert parsed.actions["split_ratio"].to_list() == [0.1]


def test_a_vendor_dividend_is_known_the_day_after_its_declaration(tmp_path: Path) -> None:
    text = (
        "ticker,ex_dividend_date,cash_amount,declaration_date\n"
        "AAPL,2014-08-07,0.47,2014-07-22\nIBM,2014-08-06,1.1,\nBAC,2014-09-03,0.05,2014-09-10\n"
    )
    known = {row["symbol"]: row["available_at"] for row in read(tmp_path, text).actions.to_dicts()}
    assert known == {
        "AAPL": datetime(2014, 7, 23, 4, 0, tzinfo=UTC),
        "IBM": datetime(2014, 8, 6, 4, 0, tzinfo=UTC),
        # Declared after the fact: known on the ex-date at the latest, when the price shows it.
        "BAC": datetime(2014, 9, 3, 4, 0, tzinfo=UTC),
    }


def test_a_factor_files_ex_date_is_the_session_after_the_last_one_on_the_old_basis(tmp_path: Path) -> None:
    # 2014-06-06 was a Friday; 2013-12-24 is followed by Christmas; 2005-02-25 was a Friday in winter time.
    text = "ticker,last_date_before,split_ratio\nAAPL,2014-06-06,6.999997\nXYZ,2013-12-24,2\nAAPL,2005-02-25,2.000006\n"
    rows = read(tmp_path, text).actions.select("symbol", "ex_date", "split_ratio", "available_at").rows()
    assert rows == [
        ("AAPL", date(2005, 2, 28), 2.000006, datetime(2005, 2, 28, 5, 0, tzinfo=UTC)),
        ("AAPL", date(2014, 6, 9), 6.999997, datetime(2014, 6, 9, 4, 0, tzinfo=UTC)),
        ("XYZ", date(2013, 12, 26), 2.0, datetime(2013, 12, 26, 5, 0, tzinfo=UTC)),
    ]


def test_the_real_factor_files_are_read_whole(shared_data: Path) -> None:
    folder = shared_data / "extra" / "corporate_actions"
    splits = parse_corporate_actions(folder / "splits.csv")
    dividends = parse_corporate_actions(folder / "dividends.csv")
    # wc -l: 11 and 512 lines with the header
    assert (splits.rows_kept, dividends.rows_kept) == (10, 511)
    assert splits.quarantine.is_empty()
    assert dividends.quarantine.is_empty()
    together = merged([splits, dividends, splits])
    conform(CORPORATE_ACTIONS, together)
    assert together.height == 521


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",2014-06-09,1,7", "no_ticker"),
        ("not a ticker,2014-06-09,1,7", "no_ticker"),
        ("AAPL,09/06/2014,1,7", "unreadable_value"),
        ("AAPL,,1,7", "unreadable_value"),
        ("AAPL,2014-06-09,one,7", "unreadable_value"),
        ("AAPL,2014-06-09,nan,7", "unreadable_value"),
        ("AAPL,2014-06-09,0,7", "bad_ratio"),
        ("AAPL,2014-06-09,1,-7", "bad_ratio"),
        ("AAPL,2014-06-09,1", "wrong_field_count"),
        ("IBM,2014-06-09,1,2", "duplicate_identical"),
    ],
)
def test_a_bad_split_is_quarantined_with_its_line(tmp_path: Path, line: str, reason: str) -> None:
    parsed = read(tmp_path, f"ticker,execution_date,split_from,split_to\nIBM,2014-06-09,1,2\n{line}\n")
    [refused] = parsed.quarantine.to_dicts()
    assert (refused["reason"], refused["line_number"], refused["raw"]) == (reason, 3, line)
    assert parsed.actions["symbol"].to_list() == ["IBM"]


def test_splits_that_contradict_each_other_are_both_refused(tmp_path: Path) -> None:
    parsed = read(tmp_path, "ticker,execution_date,split_from,split_to\nA,2014-06-09,1,2\nA,2014-06-09,1,3\n")
    assert parsed.actions.is_empty()
    assert parsed.quarantine["reason"].to_list() == ["duplicate_conflicting"] * 2
    assert str(parsed.refusal).startswith("No row of actions.csv could be used")


def test_an_ordinary_and_a_special_dividend_of_one_date_add_up(tmp_path: Path) -> None:
    text = "ticker,ex_dividend_date,cash_amount,dividend_type\nA,2014-06-09,0.5,CD\nA,2014-06-09,1.25,SC\n"
    assert read(tmp_path, text).actions["cash_amount"].to_list() == [1.75]


@pytest.mark.parametrize("amount", ["0", "-0.1"])
def test_a_dividend_must_be_positive(tmp_path: Path, amount: str) -> None:
    parsed = read(tmp_path, f"ticker,ex_dividend_date,cash_amount\nA,2014-06-09,{amount}\n")
    assert parsed.quarantine["reason"].to_list() == ["bad_amount"]


def test_a_date_beyond_the_calendar_is_refused(tmp_path: Path) -> None:
    parsed = read(tmp_path, "ticker,last_date_before,split_ratio\nA,2099-06-09,2\n")
    assert parsed.quarantine["reason"].to_list() == ["unreadable_value"]


def test_other_symbols_are_filtered_and_counted(tmp_path: Path) -> None:
    text = "ticker,execution_date,split_from,split_to\nA,2014-06-09,1,2\nNA,2014-06-09,1,3\n"
    parsed = read(tmp_path, text, ["NA"])
    assert parsed.actions["symbol"].to_list() == ["NA"]
    assert parsed.rows_filtered_out == 1


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "ticker,ticker,execution_date,split_from,split_to\n"])
def test_an_unknown_header_is_refused_with_the_ones_understood(tmp_path: Path, text: str) -> None:
    parsed = read(tmp_path, text)
    assert "execution_date, split_from, split_to" in str(parsed.refusal)
    assert parsed.quarantine["reason"].to_list() == ["missing_columns"]


def test_a_gzipped_file_is_read_and_a_torn_one_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"ticker,execution_date,split_from,split_to\nA,2014-06-09,1,2\n")
    path = tmp_path / "splits.csv.gz"
    path.write_bytes(whole)
    assert parse_corporate_actions(path).rows_kept == 1
    path.write_bytes(whole[:-6])
    torn = parse_corporate_actions(path)
    assert torn.quarantine["reason"].to_list() == ["damaged_file"]
    assert "truncated" in str(torn.refusal)
