"""The evaluator can say yes and can say no: files to verdicts on a market with the planted edge, and on one without.

The way through the pure functions only; the same through Dagster is the demo's own test.
"""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from strategy_pipeline.analytics.features import compute_features
from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.inputs import run_detectors, tradable_bars
from strategy_pipeline.backtest.statistics import DetectorSummary, summarise
from strategy_pipeline.backtest.trials import search_of
from strategy_pipeline.backtest.verdicts import Evidence
from strategy_pipeline.detectors.catalogue import CATALOGUE
from strategy_pipeline.detectors.inputs import OPTION_INPUTS
from strategy_pipeline.ingestion.bars import historical_bars
from strategy_pipeline.ingestion.corporate_actions import merged, parse_corporate_actions
from strategy_pipeline.ingestion.flat_files import LocalFlatFileStore
from strategy_pipeline.ingestion.layout import DATASETS, key_for
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.ingestion.parse import ParsedFile, parse_aggregates, watched_symbols
from strategy_pipeline.lake.tables import INSTANT
from strategy_pipeline.market.calendar import session_frame
from strategy_pipeline.market.symbols import instruments_frame
from strategy_pipeline.synthetic.files import DIVIDENDS_KEY, SPLITS_KEY, SyntheticMarket
from strategy_pipeline.synthetic.plan import PLANTED_DETECTOR, PLANTED_TIMEFRAME


def _parsed(market: SyntheticMarket, folder: Path) -> list[list[ParsedFile]]:
    """The minute files of every session."""
    mirror, store = RawMirror(folder / "raw"), LocalFlatFileStore(folder / "vendor")
    sessions: list[list[ParsedFile]] = [[] for _ in market.plan.sessions]
    for name in ("us_stocks_sip/minute_aggs_v1", "us_indices/minute_aggs_v1"):
        data_set = DATASETS[name]
        mirror.download(store, [key_for(data_set, day) for day in market.plan.sessions])
        for at, day in enumerate(market.plan.sessions):
            raw = mirror.require(key_for(data_set, day))
            sessions[at].append(parse_aggregates(raw, data_set, watched_symbols(data_set, market.watchlist())))
    return sessions


def _summaries(market: SyntheticMarket, folder: Path) -> dict[str, DetectorSummary]:
    market.write(folder / "vendor")
    market.publish_revision(folder / "vendor")
    sessions = market.plan.sessions
    parsed = _parsed(market, folder)
    assert sum(one.counts.quarantined for files in parsed for one in files) == 0
    bars = pl.concat([historical_bars(day, files) for day, files in zip(sessions, parsed, strict=True)])
    actions = merged([parse_corporate_actions(folder / "vendor" / key) for key in (SPLITS_KEY, DIVIDENDS_KEY)])
    instruments = instruments_frame(market.watchlist())
    features = compute_features(bars, PLANTED_TIMEFRAME, sessions, actions, instruments)
    tables = run_detectors(
        features,
        tradable_bars(bars.filter(pl.col("timeframe") == "1m"), actions, sessions[0]),
        actions,
        BacktestConfig(timeframe=PLANTED_TIMEFRAME),
        [one.name for one in CATALOGUE if OPTION_INPUTS.isdisjoint(one.inputs_required)],
    )
    moment = pl.lit(datetime(2030, 1, 1, tzinfo=UTC)).cast(INSTANT)
    trials = pl.concat([one.trials for one in tables.values()]).with_columns(evaluated_at=moment)
    names = trials["detector"].to_list()
    run = BacktestConfig(timeframe=PLANTED_TIMEFRAME).content_hash
    looked = {name: search_of(trials, name, sessions, detectors=names, config_hash=run) for name in names}
    found = summarise(
        pl.concat([one.trades for one in tables.values()]),
        pl.concat([one.dispositions for one in tables.values()]),
        pl.concat([one.coverage for one in tables.values()]),
        pl.concat([one.equity for one in tables.values()]),
        session_frame(sessions[0], sessions[-1]).select("session", "minutes"),
        evidence={
            name: Evidence(n_trials=one.n_trials, trial_sharpe_variance=one.sharpe_variance)
            for name, one in looked.items()
        },
    )
    return {one.detector: one for one in found}


def _above_zero(summaries: dict[str, DetectorSummary]) -> set[str]:
    return {name for name, one in summaries.items() if one.expectancy.low is not None and one.expectancy.low > 0}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DetectorSummary]:
    return _summaries(SyntheticMarket(), tmp_path_factory.mktemp("planted"))


def test_the_planted_edge_is_found_after_costs_and_no_other_detector_shows_one(
    planted: dict[str, DetectorSummary],
) -> None:
    assert _above_zero(planted) == {PLANTED_DETECTOR}


def test_the_planted_edge_is_not_explained_by_the_number_of_detectors_that_were_tried(
    planted: dict[str, DetectorSummary],
) -> None:
    # backtesting.md section 9, planted-edge power test.
    assert planted[PLANTED_DETECTOR].dsr is not None
    assert planted[PLANTED_DETECTOR].dsr > 0.95
    assert {name for name, one in planted.items() if (one.dsr or 0.0) > 0.8} == {PLANTED_DETECTOR}


def test_the_evidence_rests_on_many_trades_sessions_and_symbols(planted: dict[str, DetectorSummary]) -> None:
    found = planted[PLANTED_DETECTOR]
    assert found.trades >= 40
    assert found.sessions_traded >= 25
    assert len(found.breakdowns["symbol"]) >= 5


def test_every_detector_that_may_trade_prices_alone_is_exercised(planted: dict[str, DetectorSummary]) -> None:
    assert len(planted) == 12
    assert {name for name, one in planted.items() if one.trades == 0} == set()


def test_without_the_plant_no_detector_shows_an_edge(tmp_path: Path) -> None:
    assert _above_zero(_summaries(SyntheticMarket(plant=False), tmp_path)) == set()
