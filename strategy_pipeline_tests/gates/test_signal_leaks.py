"""Context, signals, entries and exits of a whole market: what becomes known later leaves every earlier row as it was.

A small synthetic market with options goes through the graph once; then every table is spoilt after a moment, in every
way, and what was known by the moment must come out with the same bits.
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.inputs import run_detectors, tradable_bars
from strategy_pipeline.backtest.option_marks import OptionMarket, OptionMarks
from strategy_pipeline.backtest.option_runs import ATR_COLUMNS, with_contracts
from strategy_pipeline.defs.context_inputs import ContextInputs
from strategy_pipeline.defs.signal_inputs import SignalInputs
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.engines import gamma_exposure
from strategy_pipeline.lake.poison import KINDS, leaks, moments_of
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    COMPOSITE_SIGNALS,
    CONTEXT_SCORES,
    CORPORATE_ACTIONS,
    FEATURES,
    HISTORICAL_BARS,
    HISTORICAL_GREEKS,
)
from strategy_pipeline.market.calendar import session
from strategy_pipeline.scoring.rules import ScoringRules, rules_from
from strategy_pipeline_tests.gates.graph_market import SCORED_SESSIONS, graph_market

TIMEFRAME = "15m"
# What a session's rows follow from as a whole; the files themselves are not spoilt, so these stay in any case.
OF_THE_FILES = ("run_id", "data_version")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, tuple[date, ...]]:
    return graph_market(tmp_path_factory.mktemp("gates"))


def moments(day: date, count: int = 2) -> list:
    """Moments of a session shortly after bars became known."""
    hours = session(day)
    return [
        one + timedelta(seconds=3) for one in moments_of(hours.open + timedelta(minutes=15), hours.close, count, day)
    ]


def context_of(day: date) -> Callable[[Lake], pl.DataFrame]:
    return lambda lake: ContextInputs(lake, TIMEFRAME).piece([day]).build(day)[0]


def signals_of(day: date, rules: ScoringRules) -> Callable[[Lake], pl.DataFrame]:
    return lambda lake: SignalInputs(lake, rules, TIMEFRAME).piece([day]).build(day)[0].drop(OF_THE_FILES)


def test_dealer_gamma_of_an_index_is_measured_against_the_fund_that_tracks_it(market) -> None:
    lake, sessions = market
    rows = lake.read_sessions(FEATURES, sessions[-1:], timeframe=TIMEFRAME)
    known = rows.filter(pl.col("asset_class").cast(pl.String) == "INDEX", pl.col("net_gex_ratio").is_not_null())
    assert known.height > 10
    # 24 sessions of bars are there, 20 are asked for.
    assert known["gex_gross_adv_pct"].null_count() == 0


def test_context_scores_see_nothing_of_the_future(market) -> None:
    lake, sessions = market
    day = sessions[-1]
    assert context_of(day)(lake).height > 50
    assert leaks(context_of(day), lake, moments(day), key=CONTEXT_SCORES.key) == []


def test_composite_signals_see_nothing_of_the_future(market) -> None:
    lake, sessions = market
    day, rules = sessions[-1], rules_from({})
    assert signals_of(day, rules)(lake).height > 5
    assert leaks(signals_of(day, rules), lake, moments(day), key=COMPOSITE_SIGNALS.key) == []


def test_quotes_that_begin_at_noon_change_no_signal_of_the_morning(market) -> None:
    lake, sessions = market
    day, rules = sessions[-1], rules_from({})
    key, noon = {"timeframe": TIMEFRAME, "session": day}, session(day).open + timedelta(minutes=150, seconds=2)
    stored, said = lake.read(FEATURES, [key]), lake.metadata(FEATURES, key)
    before = signals_of(day, rules)(lake)
    # Two per cent of the mid: far more than the filter lets pass.
    wide = pl.when(pl.col("available_at") >= noon).then(2.0).cast(pl.Float64)
    lake.write(FEATURES, key, stored.with_columns(spread_pct=wide), said)
    try:
        rows = signals_of(day, rules)(lake)
        found = leaks(
            signals_of(day, rules), lake, [noon - timedelta(minutes=1)], key=COMPOSITE_SIGNALS.key,
            kinds=["delete", "storm"], honest=rows,
        )  # fmt: skip
    finally:
        lake.write(FEATURES, key, stored, said)
    assert found == []
    morning, index = pl.col("available_at") < noon, pl.col("asset_class").cast(pl.String) == "INDEX"
    assert rows.filter(morning).height > 0
    assert rows.filter(morning).equals(before.filter(morning))
    symbols = stored.filter(index)["symbol"].unique().to_list()
    shares = rows.filter(~morning & ~pl.col("symbol").is_in(symbols))
    assert shares.height > 0
    assert set(shares["reject_reason"].cast(pl.String)) <= {"filter_session", "filter_liquidity", "filter_spread"}
    assert "filter_spread" in shares["reject_reason"].cast(pl.String)


def test_a_join_without_its_guard_turns_the_gate_red(market, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dealer gamma joined to the snapshot of the quarter of an hour that has only begun."""
    lake, sessions = market
    day = sessions[-1]
    guarded = gamma_exposure.as_of

    def unguarded(left: pl.DataFrame, right: pl.DataFrame, **how: Any) -> pl.DataFrame:
        return guarded(left, right.with_columns(available_at=pl.col("available_at") - timedelta(minutes=20)), **how)

    monkeypatch.setattr(gamma_exposure, "as_of", unguarded)
    found = leaks(context_of(day), lake, moments(day, 6), key=CONTEXT_SCORES.key, kinds=["scale"])
    assert {"source_key", "multiplier", "contribution_ln"} & {leak.column for leak in found}


def trades_of(days: Sequence[date], columns: dict[str, str]) -> Callable[[Lake], pl.DataFrame]:
    """Trades of the detectors over `days` with `available_at` at the moment that `columns` says, exits by data's end
    left out."""

    def compute(lake: Lake) -> pl.DataFrame:
        features = lake.read_sessions(FEATURES, days, timeframe=TIMEFRAME)
        bars = lake.read_sessions(
            HISTORICAL_BARS, days, where=pl.col("timeframe").cast(pl.String).is_in(["1m", TIMEFRAME])
        )
        actions = lake.read(CORPORATE_ACTIONS, [{}])
        found = run_detectors(
            features, tradable_bars(bars, actions, days[0]), actions, BacktestConfig(min_score=0.0), catalogue.ALL_NAMES
        )
        trades = pl.concat([tables.trades for tables in found.values()])
        kept = trades.filter(pl.col("exit_reason").cast(pl.String) != "DATA_END") if "exit_at" in columns else trades
        return kept.select(*columns, available_at=pl.col(next(iter(columns))))

    return compute


ENTRY = (
    "entry_at", "detector", "symbol", "direction", "signal_bar_end", "score", "entry_ref_price", "entry_fill_price",
    "stop_initial", "target_initial", "atr", "units",
)  # fmt: skip
EXIT = ("exit_at", *ENTRY, "exit_ref_price", "exit_fill_price", "exit_reason", "r_net", "mfe_r", "mae_r", "bars_held")
TRADE = ("detector", "symbol", "signal_bar_end", "direction")


@pytest.mark.parametrize("columns", [ENTRY, EXIT], ids=["entries", "exits"])
def test_trades_see_nothing_of_the_future(market, columns: tuple[str, ...]) -> None:
    lake, sessions = market
    days = sessions[-SCORED_SESSIONS:]
    compute = trades_of(days, dict.fromkeys(columns))
    assert compute(lake).height > 20
    assert leaks(compute, lake, moments(days[-2], 2), key=TRADE) == []


def contracts_of(days: Sequence[date], early: timedelta = timedelta(0)) -> Callable[[Lake], pl.DataFrame]:
    """The contract that a signal of each bar and side would buy and its mark, chains known `early` before they are."""

    def compute(lake: Lake) -> pl.DataFrame:
        known = pl.col("available_at") - early
        chains = lake.read_sessions(HISTORICAL_GREEKS, days).with_columns(available_at=known)
        rows = lake.read_sessions(FEATURES, days, timeframe=TIMEFRAME)
        asked = pl.concat(
            rows.select("symbol", "session", "bar_end", "available_at", "close", *ATR_COLUMNS.values()).with_columns(
                direction=pl.lit(side)
            )
            for side in ("LONG", "SHORT")
        )
        chosen = with_contracts(asked, chains, BacktestConfig(target_mode="dte", instrument="option"))
        bought = chosen.filter(pl.col("contract_ticker").is_not_null())
        tickers = bought["contract_ticker"].unique().sort()
        number = {ticker: at for at, ticker in enumerate(tickers)}
        marks = OptionMarks(OptionMarket(chains), tickers.to_list()).at(
            bought["contract_ticker"].replace_strict(number, return_dtype=pl.Int64).to_numpy(),
            bought["available_at"].dt.epoch("us").to_numpy(),
            bought["close"].to_numpy(),
        )
        return bought.drop("close").with_columns(mid=marks.mid, spread=marks.spread, source=marks.source)

    return compute


BOUGHT = ("symbol", "bar_end", "direction")
# Of a chain one version is stored, so nobody can find a later one beside it.
OF_CHAINS = [kind for kind in KINDS if kind not in ("revise", "storm")]


def test_the_contract_of_a_signal_and_its_mark_see_nothing_of_the_future(market) -> None:
    lake, sessions = market
    compute = contracts_of(sessions[-2:])
    bought = compute(lake)
    assert bought.height > 100
    assert bought["contract_ticker"].n_unique() > 20
    assert leaks(compute, lake, moments(sessions[-2], 3), key=BOUGHT, kinds=OF_CHAINS) == []


def test_a_contract_chosen_from_the_chain_that_comes_next_is_caught(market) -> None:
    lake, sessions = market
    early = contracts_of(sessions[-2:], early=timedelta(minutes=15))
    found = leaks(early, lake, moments(sessions[-2], 3), key=BOUGHT, kinds=["garble"])
    assert {"contract_ticker", "mid"} <= {leak.column for leak in found}
