"""What the command line answers to wrong options, to errors that Dagster wraps and to a full disk."""

import errno
import sqlite3
import sys

import pytest
from sqlalchemy.exc import OperationalError

from strategy_pipeline import cli
from strategy_pipeline.commands import doctor
from strategy_pipeline.errors import MissingDataError, SettingsError
from strategy_pipeline.lake import files
from strategy_pipeline.settings import load_settings
from strategy_pipeline_tests.test_cli import run

__all__ = ["run"]

PARSE = ["backfill", "parse", "--dataset", "us_stocks_sip/minute_aggs_v1"]


@pytest.fixture
def answer(tmp_path, monkeypatch, capsys):
    """Runs main() on words, in this process, and returns the exit status and what was written to standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STRATEGY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LOG_LEVEL", raising=False)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["strategy-pipeline", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["backtest", "--symbols", "A B"], "--symbols: 'A B' is not a ticker"),
        ([*PARSE, "--start", "2013-10-04", "--end", "2013-10-04", "--symbols", "A B"], "--symbols: 'A B' is not a"),
        ([*PARSE, "--start", "2013-10-05", "--end", "2013-10-04"], "lies after --end 2013-10-04: swap them"),
        (["backfill", "download", *PARSE[2:], "--start", "2013-10-05", "--end", "2013-10-04"], "swap them"),
        (["backtest", "--days", "99999999"], "--days 99999999 reaches back before"),
        (["backtest", "--start", "20240102"], "'20240102' is not a date: write YYYY-MM-DD"),
        (["backtest", "--start", "2024-W01-2"], "'2024-W01-2' is not a date: write YYYY-MM-DD"),
        (["backtest", "--end", "2024-02-30"], "'2024-02-30' is not a date: write YYYY-MM-DD"),
        (["scan", "--timeframe", "7m"], "--timeframe 7m: use one of 1m, 5m"),
        (["scan", "--once", "--symbols", "A B"], "--symbols: 'A B' is not a ticker"),
        (["explain", "nope"], "'nope' is no signal id: give at least 4 of its hexadecimal digits"),
        (["ui", "--port", "0"], "--port"),
        (["ui", "--port", "65536"], "--port"),
        (["backtest", "--output", "taken/out"], "--output: Cannot write to the folder taken/out"),
        (["backtest", "--output", "taken"], "--output: Cannot write to the folder taken"),
    ],
)
def test_a_wrong_option_ends_with_2_before_anything_is_done(answer, tmp_path, words, sentence):
    (tmp_path / "taken").write_text("a file")
    status, said = answer(*words)
    assert status == 2, said
    assert sentence in said
    assert said.count("\n") == 1
    assert not (tmp_path / "home").exists()


def test_a_folder_for_the_report_is_made_and_left_empty(tmp_path):
    cli.ensure_output(tmp_path / "new" / "out")
    assert list((tmp_path / "new" / "out").iterdir()) == []


def test_a_bad_watchlist_that_a_run_meets_is_one_sentence_about_settings(run, shared_data, tmp_path):
    (tmp_path / "bad.yaml").write_text("symbols: [{symbol: SPY, asset_klass: STOCK}]")
    words = [*PARSE, "--start", "2013-10-04", "--end", "2013-10-04"]
    process = run(*words, FLAT_FILES_URL=str(shared_data), WATCHLIST=str(tmp_path / "bad.yaml"))
    assert process.returncode == 2, process.stderr
    assert "bad.yaml: {'symbol': 'SPY', 'asset_klass': 'STOCK'} has the unknown key asset_klass" in process.stderr
    assert process.stderr.splitlines()[-1].startswith("strategy-pipeline: WATCHLIST")
    assert "Traceback" not in process.stderr


def _wrapped(error):
    try:
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("the step failed") from cause
    except RuntimeError as wrapper:
        return wrapper


def _of_full_database():
    # One page of 4096 bytes holds the schema; a third is refused.
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE held (bytes BLOB)")
    connection.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as refused:
        connection.execute("INSERT INTO held VALUES (zeroblob(100000))")
    connection.close()
    return refused.value


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (SettingsError("Correct WATCHLIST."), 2, "strategy-pipeline: Correct WATCHLIST.\n"),
        (MissingDataError("There are no bars."), 1, "strategy-pipeline: There are no bars.\n"),
        (ZeroDivisionError("division"), 1, "strategy-pipeline: Unexpected RuntimeError: the step failed (--debug"),
    ],
)
def test_a_wrapped_error_is_told_in_its_own_sentence(answer, monkeypatch, error, status, sentence):
    def fail(*_, **__):
        raise _wrapped(error)

    monkeypatch.setattr(cli, "app", fail)
    ended, said = answer()
    assert ended == status
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_of_full_database, "is full:"),
        (lambda: OperationalError("INSERT", {}, _of_full_database()), "is full:"),
        (lambda: OSError(errno.ENOSPC, "No space left on device"), "is full:"),
        (lambda: sqlite3.OperationalError("disk I/O error"), "is full or damaged:"),
    ],
)
def test_a_full_disk_is_one_sentence_with_the_folder(answer, monkeypatch, tmp_path, make, words):
    def fail(*_, **__):
        raise _wrapped(make())

    monkeypatch.setattr(cli, "app", fail)
    status, said = answer()
    assert status == 1
    assert f"The disk that holds STRATEGY_HOME ({tmp_path / 'home'}) {words} make room or set STRATEGY_HOME" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("free", "state"), [(50_000_000, "BROKEN"), (500_000_000, "note"), (3_000_000_000, "ok")])
def test_doctor_calls_a_disk_without_room_broken(monkeypatch, tmp_path, free, state):
    monkeypatch.setattr(files, "free_bytes", lambda folder: free)
    monkeypatch.setattr(doctor, "_dagster", lambda settings: 1 / 0)
    monkeypatch.setenv("STRATEGY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    found = {one.subject: one for one in doctor.examine()}
    assert found["disk"].state == state
    # A check that breaks does not take the others with it.
    assert found["dagster"].line.startswith("BROKEN dagster     ZeroDivisionError: division by zero")
    assert "postgres" in found
    assert load_settings().strategy_home == tmp_path / "home"
