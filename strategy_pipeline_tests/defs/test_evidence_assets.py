"""Ledger, validation and gauntlet through the graph: what they leave, and what the report makes of it."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from strategy_pipeline.commands.backtest import Studies
from strategy_pipeline.commands.backtest import test as run_test
from strategy_pipeline.defs.launch import open_instance
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.errors import HoldoutError, SettingsError
from strategy_pipeline.lake.records import Holdout, TrialLedger
from strategy_pipeline.lake.tables import NOISE_GAUNTLET, OUT_OF_SAMPLE_EQUITY, OUT_OF_SAMPLE_TRADES, VALIDATION_FOLDS
from strategy_pipeline_tests.defs.small_market import UPSTREAM, SmallMarket, StandingClock, small_market

NOW = datetime(2030, 1, 2, 15, tzinfo=UTC)


@dataclass
class Market:
    market: SmallMarket
    instance: Any
    clock: StandingClock

    def run(self, studies: Studies) -> list[dict[str, Any]]:
        """Rows of the JSON file of a run with these studies."""
        window = tuple(day.isoformat() for day in (self.market.sessions[0], self.market.sessions[-1]))
        outcome = run_test(self.market.definitions, self.instance, [], [], window, "15m", None, studies, {})
        path = next(line.split()[1] for line in outcome.lines if line.startswith("JSON"))
        return json.loads(Path(path).read_text())


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    clock = StandingClock(NOW)
    market = small_market(tmp_path_factory.mktemp("home"), sessions=66, clock=clock)
    with open_instance(market.settings) as instance:
        assert market.run(instance, UPSTREAM).success
        yield Market(market, instance, clock)


def test_running_a_backtest_again_counts_no_trial_twice(tested):
    first = tested.run(Studies())
    trials = TrialLedger(tested.market.lake).read()
    assert trials["detector"].n_unique() == trials.height > 5
    tested.clock.moment = NOW + timedelta(days=1)
    again = tested.run(Studies())
    assert TrialLedger(tested.market.lake).read().equals(trials)
    assert again == first
    row = next(row for row in first if row["detector"] == "breakout_bullish")
    assert row["nTrials"] >= trials.height
    assert row["dsr"] is not None
    assert row["pbo"] is None


def test_a_validation_and_a_gauntlet_become_evidence_of_the_report(tested):
    rows = tested.run(Studies(validate=True, noise_draws=1))
    lake = tested.market.lake
    keys = [{"detector": name} for name in catalogue.ALL_NAMES]
    folds, trades = lake.read(VALIDATION_FOLDS, keys), lake.read(OUT_OF_SAMPLE_TRADES, keys)
    assert folds["method"].unique().to_list() == ["purged cross-validation"]
    assert trades["fold"].null_count() == 0
    assert lake.read(OUT_OF_SAMPLE_EQUITY, keys)["session"].n_unique() == 66
    noise = lake.read(NOISE_GAUNTLET, keys)
    assert noise["variant"].n_unique() == 4
    row = next(row for row in rows if row["detector"] == "breakout_bullish")
    assert row["nTrials"] == 54
    assert row["pbo"] is not None
    assert row["nEffective"] >= 1
    assert row["gauntlet"]["status"] in ("passed", "failed", "not exercised")
    assert row["outOfSample"]["method"] == "purged cross-validation"
    assert row["outOfSample"]["totalTrades"] == trades.filter(trades["detector"] == "breakout_bullish").height
    assert row["verdict"] != "supported"


def test_a_holdout_is_kept_out_of_the_ledger_and_opens_once(tested):
    lake = tested.market.lake
    before = TrialLedger(lake).read()
    tested.run(Studies(study="autumn"))
    added = TrialLedger(lake).read().join(before, on="trial_id", how="anti")
    held_out = tested.market.sessions[-13:]
    assert added["window_end"].max() < held_out[0]
    rows = tested.run(Studies(study="autumn", open_holdout=True))
    row = next(row for row in rows if row["detector"] == "breakout_bullish")
    assert row["outOfSample"]["method"] == "holdout"
    with pytest.raises(HoldoutError, match="The holdout of autumn was opened on"):
        tested.run(Studies(study="autumn", open_holdout=True))
    told = Holdout(lake, "autumn", held_out).openings()
    assert told["granted"].to_list() == [True, False]
    assert told["first_session"][0] == held_out[0]


def test_a_holdout_without_a_study_is_refused():
    with pytest.raises(SettingsError, match="--open-holdout needs --study"):
        Studies(open_holdout=True)
