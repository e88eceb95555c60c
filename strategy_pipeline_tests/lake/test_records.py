"""Records that only grow: trials are counted once and for all, and a holdout opens once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from strategy_pipeline.errors import ContractError, HoldoutError
from strategy_pipeline.lake.records import Holdout, TrialLedger
from strategy_pipeline.lake.store import Lake, S3Access
from strategy_pipeline.lake.tables import BACKTEST_COVERAGE, TRIAL_LEDGER
from strategy_pipeline_tests.lake.test_store import s3_endpoint

__all__ = ["s3_endpoint"]

DAYS = [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)]
NOW = datetime(2024, 6, 3, 20, 5, tzinfo=UTC)


def trial(name: str, detector: str = "breakout_bullish", returns: tuple[float, ...] = (0.01, -0.02, 0.0), **changes):
    row = {
        "trial_id": name, "detector": detector, "detector_version": "1-aa", "parameters": "{}", "config_hash": name,
        "code_version": "backtest-1", "timeframe": "15m", "window_start": DAYS[0], "window_end": DAYS[-1],
        "symbols_hash": "s", "data_hash": "d", "sessions": DAYS, "daily_returns": list(returns), "n_trades": 2,
        "sharpe_per_session": -0.2, "evaluated_at": NOW,
    }  # fmt: skip
    return pl.DataFrame([{**row, **changes}], schema=TRIAL_LEDGER.polars_schema, orient="row")


@pytest.fixture(params=["local", "s3"])
def lake(request, tmp_path):
    if request.param == "local":
        return Lake(tmp_path / "lake")
    access = S3Access(request.getfixturevalue("s3_endpoint"), "us-east-1", "testing", "testing")
    bucket = f"records-{tmp_path.name.lower().replace('_', '-')}"[:60].rstrip("-")
    lake = Lake(f"s3://{bucket}/prefix", access)
    lake._storage.client.create_bucket(Bucket=bucket)
    return lake


def test_a_trial_recorded_twice_is_one_trial_and_keeps_its_first_time(lake):
    ledger = TrialLedger(lake)
    assert ledger.record(trial("a")) == 1
    assert ledger.record(trial("a", evaluated_at=NOW + timedelta(days=3))) == 0
    assert ledger.record(pl.concat([trial("a"), trial("b")])) == 1
    found = ledger.read()
    assert found["trial_id"].to_list() == ["a", "b"]
    assert found["evaluated_at"].to_list() == [NOW, NOW]


def test_another_result_under_a_known_id_is_refused_and_changes_nothing(lake):
    ledger = TrialLedger(lake)
    ledger.record(trial("a"))
    for other in (trial("a", returns=(0.01, -0.02, 0.001)), trial("a", n_trades=3)):
        with pytest.raises(ContractError, match="Trial a of breakout_bullish is in the ledger with another result"):
            ledger.record(other)
    assert ledger.read().equals(trial("a"))


def test_sums_that_differ_in_the_last_bits_are_the_same_result(lake):
    ledger = TrialLedger(lake)
    ledger.record(trial("a"))
    assert ledger.record(trial("a", returns=(0.01 + 1e-15, -0.02, 0.0))) == 0


def test_writers_at_the_same_time_lose_no_trial_and_count_none_twice(lake):
    # Each writer brings one trial of its own and one that all bring.
    batches = [pl.concat([trial("shared"), trial(f"own-{at}")]) for at in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(TrialLedger(lake).record, batches))
    found = TrialLedger(lake).read()
    assert found["trial_id"].to_list() == [*(f"own-{at}" for at in range(8)), "shared"]


def test_trials_are_found_by_detector_and_by_an_overlap_of_the_window(lake):
    ledger = TrialLedger(lake)
    ledger.record(pl.concat([trial("a"), trial("b", detector="opening_drive_bullish")]))
    assert ledger.read(["opening_drive_bullish"])["trial_id"].to_list() == ["b"]
    assert ledger.read(["breakout_bullish"], date(2024, 1, 4), date(2024, 3, 1)).height == 1
    assert ledger.read(["breakout_bullish"], date(2024, 1, 5), date(2024, 3, 1)).height == 0
    assert ledger.read(["breakout_bullish"], None, date(2024, 1, 1)).height == 0


def test_nothing_deletes_or_replaces_a_trial(lake):
    assert {name for name in vars(TrialLedger) if not name.startswith("_")} == {"record", "read"}
    assert not [name for name in dir(Lake) if any(word in name for word in ("delete", "remove", "drop", "unlink"))]
    key = {"detector": "breakout_bullish", "batch": "x"}
    with pytest.raises(ContractError, match="trial_ledger only grows"):
        lake.write(TRIAL_LEDGER, key, trial("a"))
    with pytest.raises(ContractError, match="trial_ledger only grows"):
        lake.write_many(TRIAL_LEDGER, [(key, trial("a"), {})])
    assert lake.append(TRIAL_LEDGER, key, trial("a"))
    assert not lake.append(TRIAL_LEDGER, key, trial("b"))
    assert TrialLedger(lake).read()["trial_id"].to_list() == ["a"]


def test_only_tables_that_grow_are_appended_to(lake):
    with pytest.raises(ContractError, match="backtest_coverage is not append-only"):
        lake.append(BACKTEST_COVERAGE, {"detector": "x"}, BACKTEST_COVERAGE.empty())


def test_a_holdout_opens_once_and_every_further_attempt_is_refused_and_recorded(lake):
    holdout = Holdout(lake, "study-1", reversed(DAYS))
    assert holdout.openings().is_empty()
    assert holdout.unlock(NOW) == tuple(DAYS)
    for days_later in (1, 2):
        again = Holdout(lake, "study-1", DAYS)
        with pytest.raises(HoldoutError, match="The holdout of study-1 was opened on 2024-06-03 20:05 UTC"):
            again.unlock(NOW + timedelta(days=days_later))
    told = holdout.openings()
    assert told["attempt"].to_list() == [1, 2, 3]
    assert told["granted"].to_list() == [True, False, False]
    assert told["first_session"].to_list() == [DAYS[0]] * 3
    assert Holdout(lake, "study-2", DAYS).unlock(NOW) == tuple(DAYS)


def test_of_many_who_open_a_holdout_at_once_one_is_let_in(lake):
    def let_in(_: int) -> bool:
        try:
            return bool(Holdout(lake, "study", DAYS).unlock(NOW))
        except HoldoutError:
            return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(let_in, range(6))) == 1
    assert Holdout(lake, "study", DAYS).openings().height == 6


def test_a_study_without_held_out_sessions_says_so(lake):
    with pytest.raises(HoldoutError, match="holds no session out"):
        Holdout(lake, "study", [])
