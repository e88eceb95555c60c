"""The command line as a user meets it: real processes, exit status, sentences, files."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from strategy_pipeline.lake.tables import MARKET_REGIME_HISTORY, SIGNAL_DISPOSITIONS
from strategy_pipeline_tests.ingestion.rest_peer import KEY, Fault, RestPeer, serving

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = (
    "LAKE_URL", "FLAT_FILES_URL", "MASSIVE_AWS_ACCESS_KEY", "MASSIVE_AWS_SECRET_KEY", "MASSIVE_API_KEY",
    "MASSIVE_BASE_URL", "WATCHLIST", "THRESHOLDS", "DATABASE_URL", "DAGSTER_POSTGRES_URL", "LOG_LEVEL",
    "DAGSTER_HOME",
)  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """Runs the command line with its home in the test's folder and returns the finished process."""

    def call(*words, **variables):
        environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        environment |= {"STRATEGY_HOME": str(tmp_path / "home"), "PYTHONPATH": str(REPOSITORY), **variables}
        return subprocess.run(
            [sys.executable, "-m", "strategy_pipeline.cli", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return call


def test_help_lists_the_commands_and_does_not_load_the_pipeline(run):
    began = time.monotonic()
    process = run("--help")
    # 0.5 s is the promise; a loaded test machine gets three times as long.
    assert time.monotonic() - began < 1.5
    assert process.returncode == 0
    for command in ("demo", "backfill", "backtest", "ingest", "scan", "explain", "doctor", "ui"):
        assert command in process.stdout


def test_help_imports_nothing_heavy():
    script = (
        "import sys; sys.argv = ['strategy-pipeline', '--help']\n"
        "from strategy_pipeline.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'polars', 'dagster', 'numpy', 'pydantic', 'dataframely'} & set(sys.modules)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert process.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "variables", "sentence"),
    [
        (["backtesty"], {}, "No such command 'backtesty'"),
        (["backtest", "--days", "3", "--start", "2020-01-01"], {}, "exclude each other"),
        (["backtest", "--start", "2020-13-01"], {}, "'2020-13-01' is not a date: write YYYY-MM-DD"),
        (["backtest", "--start", "2020-02-03", "--end", "2020-01-03"], {}, "lies after --end"),
        (["backtest", "--timeframe", "7m"], {}, "--timeframe is '7m': use one of"),
        (["scan", "--once"], {"THRESHOLDS": "absent.yaml"}, "absent.yaml cannot be read: expected a YAML file"),
        (["backtest", "--detector", "moon"], {}, "There is no detector named 'moon': choose from"),
        (["backtest"], {"LOG_LEVEL": "loud"}, "LOG_LEVEL is 'LOUD' (text): expected one of"),
        (["backfill", "parse", "--dataset", "x", "--start", "2020-01-02", "--end", "2020-01-03"], {}, "no data set"),
        (["ingest", "--once"], {}, "MASSIVE_API_KEY is not set: set the vendor's REST key"),
        (["ingest", "--as-of", "noon"], {"MASSIVE_API_KEY": "k"}, "'noon' is not a moment: write 2024-01-31T10:15"),
        (["ingest", "--as-of", "2015-12-25T13:00"], {"MASSIVE_API_KEY": "k"}, "lies in no quarter hour of a session"),
        (["ingest", "--symbols", "goog"], {"MASSIVE_API_KEY": "k"}, "--symbols: 'goog' is not a ticker"),
        (["backfill", "hybrid", "--days", "0"], {}, "--days"),
        (["demo"], {"FLAT_FILES_URL": "."}, "the demo writes its own market"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_sentence(run, words, variables, sentence):
    process = run(*words, **variables)
    assert process.returncode == 2, process.stderr
    assert sentence in process.stderr
    assert process.stderr.count("\n") == 1
    assert "Traceback" not in process.stderr


def test_work_that_fails_ends_with_1_and_one_sentence_and_debug_shows_where(run, tmp_path):
    words = ["backtest", "--start", "2020-01-02", "--end", "2020-01-10"]
    absent = {"FLAT_FILES_URL": str(tmp_path / "absent")}
    process = run(*words, **absent)
    assert process.returncode == 1
    assert "absent is not there: point FLAT_FILES_URL" in process.stderr
    assert "Traceback" not in process.stderr
    assert "Traceback" in run("--debug", *words, **absent).stderr


def test_a_backtest_on_real_hours_leaves_a_report_that_jq_can_sort(run, shared_data, tmp_path):
    words = ["backtest", "--timeframe", "1h", "--symbols", "SPY,AAPL", "--start", "2013-10-01", "--end", "2013-12-31"]
    process = run(*words, "--output", "out", FLAT_FILES_URL=str(shared_data))
    assert process.returncode == 0, process.stderr
    for name in ("breakout_bullish", "eod_pin_setup", "not testable: no option data"):
        assert name in process.stdout
    (report,) = (tmp_path / "out").glob("backtest-results-*.json")
    rows = json.loads(report.read_text())
    assert len(rows) == 17
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".csv", ".html", ".parquet"}
    if shutil.which("jq"):
        best = subprocess.run(["jq", "sort_by(-.profitFactor) | .[:5]", report], capture_output=True, check=True)
        assert len(json.loads(best.stdout)) == 5


def test_a_symbol_no_file_holds_is_named(run, shared_data):
    words = ["backtest", "--timeframe", "1h", "--symbols", "SPY,NOPE", "--start", "2013-10-01", "--end", "2013-10-31"]
    process = run(*words, FLAT_FILES_URL=str(shared_data))
    assert process.returncode == 1
    assert "There are no 1h bars of NOPE from 2013-10-01 to 2013-10-31" in process.stderr


def test_download_and_parse_say_what_is_there_and_a_second_download_changes_nothing(run, shared_data):
    words = ["--dataset", "us_stocks_sip/minute_aggs_v1", "--start", "2013-10-04", "--end", "2013-10-10"]
    first = run("backfill", "download", *words, FLAT_FILES_URL=str(shared_data))
    assert "files of 5 sessions from 2013-10-04 to 2013-10-10" in first.stdout, first.stderr
    parsed = run("backfill", "parse", *words, "--symbols", "SPY,IBM", FLAT_FILES_URL=str(shared_data))
    assert "historical_bars: 5 sessions" in parsed.stdout, parsed.stderr
    assert run("backfill", "download", *words, FLAT_FILES_URL=str(shared_data)).returncode == 0


def test_option_files_become_chains_and_an_underlying_without_bars_is_named(run, shared_data):
    words = ["--start", "2013-07-02", "--end", "2013-07-02", "--symbols", "FOXA"]
    parse = ["backfill", "parse", "--dataset"]
    files = {"FLAT_FILES_URL": str(shared_data)}
    blind = run(*parse, "us_options_opra/quotes_v1", *words, **files)
    assert "historical_greeks: 1 session from 2013-07-02 to 2013-07-02" in blind.stdout, blind.stderr
    assert "No bars of FOXA in some of these sessions" in blind.stdout
    assert run(*parse, "us_stocks_sip/minute_aggs_v1", *words, **files).returncode == 0
    seeing = run(*parse, "us_options_opra/quotes_v1", *words, **files)
    assert "gamma_exposure_snapshots: 1 session." in seeing.stdout, seeing.stderr
    assert "No bars" not in seeing.stdout
    nothing = run(*parse, "us_options_opra/day_aggs_v1", *words, **files)
    assert (nothing.returncode, "No table is built from us_options_opra/day_aggs_v1" in nothing.stderr) == (2, True)
    unknown = run(*parse, "us_options_opra/quotes_v1", *words[:4], "--symbols", "ZZZZ,ZZZ", **files)
    assert unknown.returncode == 1
    assert "No option on ZZZZ, ZZZ in the files of 2013-07-02 to 2013-07-02: check the spelling" in unknown.stderr
    one_of_two = run(*parse, "us_options_opra/quotes_v1", *words[:4], "--symbols", "FOXA,ZZZZ", **files)
    assert "No option on ZZZZ in the files of 2013-07-02 to 2013-07-02." in one_of_two.stdout, one_of_two.stderr


def test_a_tape_that_is_not_published_is_missing_data_and_no_success(run, shared_data):
    dates = ["--start", "2013-07-02", "--end", "2013-07-02"]
    words = ["backfill", "parse", "--dataset", "us_options_opra/trades_v1", *dates]
    process = run(*words, FLAT_FILES_URL=str(shared_data))
    assert process.returncode == 1
    assert "No usable file of us_options_opra/trades_v1 from 2013-07-02 to 2013-07-02 is at" in process.stderr


def test_quote_files_become_spreads_and_a_symbol_without_quotes_is_named(run, shared_data):
    words = ["--dataset", "us_stocks_sip/quotes_v1", "--start", "2013-10-07", "--end", "2013-10-08"]
    parsed = run("backfill", "parse", *words, "--symbols", "SPY,BAC", FLAT_FILES_URL=str(shared_data))
    assert "quoted_spreads: 1 session from 2013-10-07 to 2013-10-08" in parsed.stdout, parsed.stderr
    assert "1 of 2 sessions had no usable file." in parsed.stdout
    assert "No quote of BAC in the files of 2013-10-07 to 2013-10-08." in parsed.stdout


def test_the_demo_finds_the_planted_edge_and_nothing_else_and_again_finds_everything_unchanged(run, tmp_path):
    process = run("demo")
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    lows = {
        line.split("│")[1].strip(): line.split("[")[1].split(",")[0]
        for line in process.stdout.splitlines()
        if re.match(r"│ \w+ .*\[", line)
    }
    assert [name for name, low in lows.items() if low.startswith("+")] == ["mean_reversion_long"]
    assert len(lows) >= 6
    assert "reports/backtest-results-" in process.stdout
    lake = tmp_path / "home" / "lake"
    fired = pl.read_parquet(lake / SIGNAL_DISPOSITIONS.name / "**/*.parquet", hive_partitioning=False)["detector"]
    # Positions and sweeps of the market's plan open the gates of what needs options, on one side or the other.
    families = {re.sub("_(long|short|bullish|bearish)$", "", detector) for detector in fired.unique()}
    assert {"gamma_squeeze", "gamma_flip", "eod_pin_setup", "sweep_momentum", "institutional_flow"} <= families
    regimes = pl.read_parquet(lake / MARKET_REGIME_HISTORY.name / "**/*.parquet", hive_partitioning=False)
    shown = regimes.filter(pl.col("session") >= date(2024, 8, 15))
    assert shown.select("market_regime", "vix_percentile_pct", "pct_above_sma50").null_count().row(0) == (0, 0, 0)
    first = _digests(lake)
    assert run("demo").returncode == 0
    assert _digests(lake) == first


def _digests(folder):
    """Every file below a folder with a digest of its bytes."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_doctor_is_content_with_an_empty_machine_and_not_with_a_missing_mirror(run, tmp_path):
    well = run("doctor")
    assert well.returncode == 0, well.stdout
    assert [line.split()[0] for line in well.stdout.splitlines()].count("BROKEN") == 0
    ill = run("doctor", FLAT_FILES_URL=str(tmp_path / "absent"))
    assert ill.returncode == 1
    assert "correct FLAT_FILES_URL" in ill.stdout


def test_doctor_says_what_dagster_stores_in(run, new_database, postgres_server):
    assert re.search(r"ok +dagster .*: 0 runs, stored in quick SQLite\n", run("doctor").stdout)
    there = run("doctor", DAGSTER_POSTGRES_URL=new_database())
    assert re.search(r"ok +dagster +DAGSTER_POSTGRES_URL: 0 runs, stored in quick PostgreSQL\n", there.stdout)
    assert postgres_server.password not in there.stdout + there.stderr
    absent = run("doctor", DAGSTER_POSTGRES_URL="postgresql://user:hunter2@127.0.0.1:1/db")
    assert absent.returncode == 1
    assert re.search(r"BROKEN +dagster .*DAGSTER_POSTGRES_URL cannot be opened.*check host, port", absent.stdout)
    assert "hunter2" not in absent.stdout + absent.stderr


def test_log_level_decides_what_is_said_and_the_result_is_always_said(run, shared_data, tmp_path):
    # Without corporate actions, so that there is something to warn of.
    there = {"FLAT_FILES_URL": str(tmp_path / "vendor")}
    shutil.copytree(shared_data / "us_stocks_sip" / "minute_aggs_v1", tmp_path / "vendor/us_stocks_sip/minute_aggs_v1")
    words = ["backtest", "--symbols", "SPY", "--start", "2013-10-04", "--end", "2013-10-10"]
    said = {level: run(*words, **there, LOG_LEVEL=level) for level in ("DEBUG", "INFO", "WARNING", "ERROR")}
    instance = (tmp_path / "home" / "dagster" / "dagster.yaml").read_text()
    assert "python_log_level: ERROR\n" in instance
    warning = f"warning: {tmp_path / 'vendor'} has no splits.csv or dividends.csv: splits are not adjusted for.\n"
    assert "Finished execution of step" in said["DEBUG"].stderr
    assert "info: historical_bars: 5 sessions" in said["DEBUG"].stderr
    assert warning in said["DEBUG"].stderr
    assert [said[level].stderr for level in ("INFO", "WARNING", "ERROR")] == [warning, warning, ""]
    assert ["done\n" in said[level].stdout for level in said] == [True, True, False, False]
    for process in said.values():
        assert "breakout_bullish" in process.stdout, process.stderr


def test_runs_are_stored_in_the_database_when_one_is_named(run, shared_data, new_database, tmp_path):
    words = ["--dataset", "us_stocks_sip/minute_aggs_v1", "--start", "2013-10-04", "--end", "2013-10-10"]
    there = {"DAGSTER_POSTGRES_URL": new_database()}
    process = run("backfill", "download", *words, FLAT_FILES_URL=str(shared_data), **there)
    assert "files of 5 sessions" in process.stdout, process.stderr
    assert "1 runs, stored in quick PostgreSQL" in run("doctor", **there).stdout
    assert not list((tmp_path / "home" / "dagster").rglob("*.db"))


def test_a_database_that_cannot_be_opened_is_one_sentence(run, shared_data):
    words = ["--dataset", "us_stocks_sip/minute_aggs_v1", "--start", "2013-10-04", "--end", "2013-10-10"]
    url = "postgresql://user:hunter2@127.0.0.1:1/db"
    process = run("backfill", "download", *words, FLAT_FILES_URL=str(shared_data), DAGSTER_POSTGRES_URL=url)
    assert process.returncode == 1
    assert "DAGSTER_POSTGRES_URL cannot be opened" in process.stderr
    assert process.stderr.count("\n") == 1
    assert "hunter2" not in process.stdout + process.stderr


def test_doctor_never_prints_a_secret(run):
    process = run(
        "doctor",
        DATABASE_URL="postgresql://user:hunter2@127.0.0.1:1/db",
        MASSIVE_API_KEY="hunter2",
        MASSIVE_BASE_URL="http://127.0.0.1:1",
        FLAT_FILES_URL="s3://bucket",
        MASSIVE_AWS_ACCESS_KEY="hunter2",
        MASSIVE_AWS_SECRET_KEY="hunter2",
        MASSIVE_S3_ENDPOINT="http://127.0.0.1:1",
    )
    assert process.returncode == 1
    assert "hunter2" not in process.stdout + process.stderr


MINUTES = "us_stocks_sip/minute_aggs_v1"


@pytest.fixture
def damaged(shared_data, tmp_path):
    """A mirror whose file of Monday 2013-10-07 is cut in half, with a file named for the Saturday before it."""
    root = tmp_path / "damaged"
    shutil.copytree(shared_data / MINUTES, root / MINUTES)
    folder = root / MINUTES / "2013" / "10"
    shutil.copy(folder / "2013-10-04.csv.gz", folder / "2013-10-05.csv.gz")
    whole = (folder / "2013-10-07.csv.gz").read_bytes()
    (folder / "2013-10-07.csv.gz").write_bytes(whole[: len(whole) // 2])
    return {"FLAT_FILES_URL": str(root), "LOG_LEVEL": "ERROR"}


def test_parse_says_what_could_not_be_used_and_what_was_not_found(run, damaged):
    words = ["backfill", "parse", "--dataset", MINUTES, "--start", "2013-10-04", "--end", "2013-10-08"]
    process = run(*words, "--symbols", "SPY,ZZZZ", **damaged)
    assert process.returncode == 0, process.stderr
    said = process.stdout
    assert "historical_bars: 2 sessions from 2013-10-04 to 2013-10-08 are in " in said
    assert "1 of 3 sessions had no usable file, e.g. 2013-10-07.csv.gz is truncated: download it again.\n" in said
    assert re.search(r"^No row of ZZZZ.* in the files of 2013-10-04 to 2013-10-08\.$", said, re.MULTILINE)
    assert f"{MINUTES}/2013/10/2013-10-05.csv.gz lies on a day without a session and was not read.\n" in said
    nothing = run(*words, "--symbols", "ZZZZ", **damaged)
    assert nothing.returncode == 1
    assert "No row of ZZZZ in the files of 2013-10-04 to 2013-10-08: check the spelling" in nothing.stderr


def test_a_single_damaged_file_is_called_damaged_and_not_absent(run, damaged):
    words = ["backfill", "parse", "--dataset", MINUTES, "--start", "2013-10-07", "--end", "2013-10-07"]
    process = run(*words, **damaged)
    assert process.returncode == 1
    assert process.stderr == "strategy-pipeline: 2013-10-07.csv.gz is truncated: download it again.\n"


def test_parse_reads_the_watchlist_before_it_begins(run, shared_data, tmp_path):
    words = ["backfill", "parse", "--dataset", MINUTES, "--start", "2013-10-04", "--end", "2013-10-08"]
    process = run(*words, FLAT_FILES_URL=str(shared_data), WATCHLIST=str(tmp_path / "absent.yaml"))
    assert process.returncode == 2
    assert "absent.yaml cannot be read" in process.stderr
    assert process.stderr.count("\n") == 1


def test_a_download_says_where_the_files_are_and_fails_when_there_are_none(run, shared_data):
    words = ["backfill", "download", "--dataset", MINUTES]
    one = run(*words, "--start", "2013-10-04", "--end", "2013-10-04", FLAT_FILES_URL=str(shared_data))
    assert "files of 1 session from 2013-10-04 to 2013-10-04 are used in place, where they are:" in one.stdout
    none = run(*words, "--start", "2001-01-02", "--end", "2001-01-10", FLAT_FILES_URL=str(shared_data))
    assert none.returncode == 1
    assert f"No file of {MINUTES} from 2001-01-02 to 2001-01-10 is published at {shared_data.resolve()}" in none.stderr


def test_doctor_asks_the_vendor_when_there_is_a_key(run, tmp_path):
    codes = {"status": "OK", "results": [{"id": 1, "name": "Regular"}, {"id": 2, "name": "Late"}]}
    peer = RestPeer(tmp_path, date(2024, 3, 5), answers={"/v3/reference/conditions": [codes]})
    with serving(peer):
        there = {"MASSIVE_API_KEY": KEY, "MASSIVE_BASE_URL": peer.url}
        well = run("doctor", **there)
        peer.faults = {2: Fault(status=401), 3: Fault(status=404)}
        ill, other = run("doctor", **there), run("doctor", **there)
    assert re.search(r"ok +REST +\S+ answers and accepts the key \(2 condition codes\)\n", well.stdout), well.stdout
    assert (well.returncode, ill.returncode, other.returncode) == (0, 1, 0)
    assert re.search(r"note +REST +\S+ answers and is not the vendor's whole REST side", other.stdout)
    assert re.search(r"BROKEN +REST .*does not accept the key .*\(401\): check MASSIVE_API_KEY", ill.stdout)
    assert KEY not in well.stdout + well.stderr + ill.stdout + ill.stderr
