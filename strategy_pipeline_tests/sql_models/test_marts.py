"""The models of the project: their numbers by hand and against an independent calculation, and their limits."""

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.analytics.implied_volatility_rank import IV_REGIME_CUTS, iv_percentile_cache
from strategy_pipeline.errors import ContractError
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    ATM_IV_DAILY,
    BACKTEST_TRADES,
    CORPORATE_ACTIONS,
    IV_PERCENTILE_CACHE,
    MARKET_BREADTH,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.sql_models.model import load_models
from strategy_pipeline.sql_models.reference import exchange_sessions, iv_regime_bands
from strategy_pipeline.sql_models.run import run_model, stretches
from strategy_pipeline_tests.analytics.bar_frames import real_bars, real_splits, splits
from strategy_pipeline_tests.analytics.chain_frames import daily_frame, daily_row
from strategy_pipeline_tests.backtest.trade_frames import trades_of
from strategy_pipeline_tests.sql_models.crafted import HEADER, SELECT, counting_model, daily_bars, lake_with

MODELS = load_models()
BREADTH, LEADERBOARD = MODELS["market_breadth"], MODELS["detector_leaderboard"]
IV_CACHE = MODELS["iv_percentile_cache"]


def days(first: date, count: int) -> list[date]:
    return calendar.sessions_between(first, date(2017, 12, 29))[:count]


def test_a_model_returns_the_asked_for_sessions_with_the_types_it_declares(tmp_path):
    asked = days(date(2016, 1, 4), 4)
    bars = pl.concat([daily_bars(name, dict.fromkeys(asked, 10.0)) for name in ("AAA", "BBB", "CCC")])
    lake = lake_with(tmp_path, bars.filter((pl.col("symbol") == "AAA") | (pl.col("session") > asked[1])))
    found = run_model(counting_model(), lake, [asked[1], asked[3]])
    assert found.rows() == [(asked[1], 1, "few"), (asked[3], 3, "many")]
    assert found.schema == pl.Schema({"session": pl.Date, "bars": pl.Int32, "word": pl.Enum(["few", "many"])})
    assert run_model(counting_model(), lake, []).is_empty()


def test_rows_that_the_declared_types_have_no_room_for_are_refused(tmp_path):
    lake = lake_with(tmp_path, daily_bars("AAA", {date(2016, 1, 4): 10.0}))
    with pytest.raises(ContractError, match="values its contract has no room for"):
        run_model(counting_model(HEADER.replace("[few, many]", "[many]")), lake, [date(2016, 1, 4)])
    with pytest.raises(ContractError, match="returns other columns than it declares: more, word"):
        run_model(counting_model(select=SELECT.replace("AS word", "AS more")), lake, [date(2016, 1, 4)])


def test_sessions_far_apart_are_computed_apart():
    model = counting_model()
    near, far = days(date(2016, 1, 4), 3), days(date(2017, 1, 3), 2)
    assert stretches(model, [*far, *near]) == [near, far]
    assert [len(run) for run in stretches(model, near, at_once=2)] == [2, 1]


def test_the_calendar_counts_sessions_and_knows_when_closing_values_are_known():
    rows = exchange_sessions()
    assert rows["session_number"].to_list() == list(range(1, rows.height + 1))
    known = dict(rows.select("session", "closing_known_at").iter_rows())
    # 16:15 in New York is 21:15 UTC in winter, on a half day (2017-11-24) too, and 20:15 UTC in summer.
    assert known[date(2017, 11, 24)] == datetime(2017, 11, 24, 21, 15, tzinfo=UTC)
    assert known[date(2017, 7, 5)] == datetime(2017, 7, 5, 20, 15, tzinfo=UTC)


# --- market_breadth ---


def breadth_of(folder, bars, asked, actions=None):
    lake = lake_with(folder, bars)
    if actions is not None:
        lake.write(CORPORATE_ACTIONS, {}, actions)
    return run_model(BREADTH, lake, asked)


def test_advancers_decliners_and_unchanged_are_counted_against_the_previous_close(tmp_path):
    one, two = days(date(2016, 1, 4), 2)
    bars = [daily_bars("UP", {one: 10.0, two: 10.1}), daily_bars("UP2", {one: 10.0, two: 11.0})]
    bars += [daily_bars("DN", {one: 10.0, two: 9.9}), daily_bars("EQ", {one: 10.0, two: 10.0})]
    bars += [daily_bars("NEW", {two: 50.0})]
    # An index has no volume and is no member.
    bars += [daily_bars("SPX", {one: 2_000.0, two: 2_100.0}, volume=pl.Series([None, None], dtype=pl.Float64))]
    first, second = breadth_of(tmp_path, pl.concat(bars), [one, two]).rows(named=True)
    assert (first["members"], first["advancers"], first["advance_decline_diff"]) == (4, None, None)
    counts = [second[name] for name in ("members", "advancers", "decliners", "unchanged", "advance_decline_diff")]
    assert counts == [5, 2, 1, 1, 1]
    assert second["advance_decline_ratio"] == 2.0
    # Nobody has a year or fifty sessions behind it: unknown, not 0.
    assert (second["members_year"], second["members_sma50"]) == (0, 0)
    assert [second[name] for name in ("new_highs", "new_lows", "high_low_ratio", "pct_above_sma50")] == [None] * 4
    assert second["available_at"] == datetime(2016, 1, 5, 21, 15, tzinfo=UTC)
    assert second["source"] == "synthetic"


def test_no_decliner_leaves_the_ratio_empty(tmp_path):
    one, two = days(date(2016, 1, 4), 2)
    row = breadth_of(tmp_path, daily_bars("UP", {one: 10.0, two: 10.1}), [two]).row(0, named=True)
    assert (row["advancers"], row["decliners"], row["advance_decline_ratio"]) == (1, 0, None)


def test_a_split_is_no_decline_and_an_unreported_one_counts_for_nothing(tmp_path):
    asked = days(date(2016, 1, 4), 120)
    ex_date = asked[100]
    prices = {day: (70.0 + at if at < 100 else (70.0 + at) / 7.0) for at, day in enumerate(asked)}
    reported = breadth_of(tmp_path / "a", daily_bars("AAA", prices), asked[60:], splits(("AAA", ex_date, 7.0)))
    assert set(reported["advancers"]) == {1}
    assert set(reported["pct_above_sma50"]) == {100.0}
    unreported = breadth_of(tmp_path / "b", daily_bars("AAA", prices), asked[60:]).rows(named=True)
    at_split = unreported[40]
    assert at_split["session"] == ex_date
    assert (at_split["advancers"], at_split["decliners"], at_split["members_sma50"]) == (None, None, 0)
    # The next day the new series has a previous close again.
    assert unreported[41]["advancers"] == 1


def test_a_split_after_the_session_changes_nothing(tmp_path):
    asked = days(date(2016, 1, 4), 60)
    bars = daily_bars("AAA", {day: 50.0 + (at % 7) for at, day in enumerate(asked)})
    before = breadth_of(tmp_path / "a", bars, asked[:50])
    after = breadth_of(tmp_path / "b", bars, asked[:50], splits(("AAA", asked[55], 2.0)))
    assert before.equals(after)


def test_new_highs_and_lows_need_a_year_of_sessions(tmp_path):
    asked = days(date(2016, 1, 4), 260)
    rising = {day: 100.0 + at for at, day in enumerate(asked)}
    falling = {day: 1_000.0 - at for at, day in enumerate(asked)}
    gapped = {day: price for at, (day, price) in enumerate(rising.items()) if at % 8}
    bars = pl.concat([daily_bars("UP", rising), daily_bars("DN", falling), daily_bars("GAPS", gapped)])
    rows = breadth_of(tmp_path, bars, asked).rows(named=True)
    # 226 prior bars on the 227th session are too few, 227 are enough (90 % of 252).
    assert rows[226]["members_year"] == 0
    assert rows[227]["members_year"] == 2
    assert (rows[227]["new_highs"], rows[227]["new_lows"], rows[227]["high_low_ratio"]) == (1, 1, 1.0)
    # Seven bars in eight make 220 of 252: never a year.
    assert rows[259]["members_year"] == 2
    assert rows[259]["members"] == 3


def test_equal_closes_are_not_above_their_mean(tmp_path):
    asked = days(date(2016, 1, 4), 80)
    row = breadth_of(tmp_path, daily_bars("AAA", dict.fromkeys(asked, 100.1)), asked[70:]).row(-1, named=True)
    assert row["pct_above_sma50"] == 0.0
    assert row["unchanged"] == 1


def test_a_late_or_provisional_bar_makes_the_row_late_or_provisional(tmp_path):
    one, two = days(date(2016, 1, 4), 2)
    late = datetime(2016, 1, 6, 4, tzinfo=UTC)
    bars = pl.concat(
        [
            daily_bars("AAA", {one: 1.0, two: 2.0}, source="flat_file"),
            daily_bars("BBB", {two: 2.0}, available_at=[late], quality="provisional"),
        ]
    )
    first, second = breadth_of(tmp_path, bars, [one, two]).rows(named=True)
    assert (first["quality"], first["source"]) == ("final", "derived")
    assert (second["quality"], second["source"], second["available_at"]) == ("provisional", "derived", late)


@pytest.fixture(scope="module")
def real_lake(tmp_path_factory, shared_data) -> Lake:
    bars = real_bars(shared_data, "day").filter(pl.col("session").is_between(date(2013, 1, 2), date(2015, 12, 31)))
    lake = lake_with(tmp_path_factory.mktemp("real"), bars)
    lake.write(CORPORATE_ACTIONS, {}, real_splits(shared_data))
    return lake


def by_hand(bars: pl.DataFrame, actions: pl.DataFrame, day: date) -> dict[str, float]:
    """Breadth of one session by loops over plain lists; real bars here have no gap, and one unreported split."""
    found = {"advancers": 0, "decliners": 0, "new_highs": 0, "new_lows": 0, "above": 0, "fifty": 0}
    for (symbol,), part in bars.filter(pl.col("session") <= day).partition_by("symbol", as_dict=True).items():
        rows = part.sort("session").select("session", "open", "close").rows()
        ratios = actions.filter(pl.col("symbol") == symbol).select("ex_date", "split_ratio").rows()
        basis = [float(np.prod([ratio for ex_date, ratio in ratios if ex_date <= session])) for session, *_ in rows]
        opens = [row[1] * factor for row, factor in zip(rows, basis, strict=True)]
        closes = [row[2] * factor for row, factor in zip(rows, basis, strict=True)]
        start = 0
        for at in range(1, len(closes)):
            if min(opens[at], closes[at]) > 1.4 * closes[at - 1] or max(opens[at], closes[at]) < 0.6 * closes[at - 1]:
                start = at
        closes = closes[start:]
        last = closes[-1]
        if len(closes) > 1:
            found["advancers"] += last > closes[-2]
            found["decliners"] += last < closes[-2]
        if len(closes) > 227:
            found["new_highs"] += last > max(closes[-253:-1])
            found["new_lows"] += last < min(closes[-253:-1])
        if len(closes) >= 45:
            found["fifty"] += 1
            found["above"] += last > np.mean(closes[-50:])
    return found


def test_breadth_of_real_sessions_is_what_loops_over_the_bars_find(real_lake, shared_data):
    asked = [date(2014, 4, 3), date(2014, 6, 9), date(2014, 10, 15), date(2015, 8, 24), date(2015, 12, 31)]
    bars = real_bars(shared_data, "day").filter(pl.col("session") >= date(2013, 1, 2))
    actions = real_splits(shared_data)
    for row in run_model(BREADTH, real_lake, asked).rows(named=True):
        expected = by_hand(bars, actions, row["session"])
        assert {name: row[name] for name in ("advancers", "decliners", "new_highs", "new_lows")} == {
            name: expected[name] for name in ("advancers", "decliners", "new_highs", "new_lows")
        }, row["session"]
        assert row["pct_above_sma50"] == pytest.approx(100.0 * expected["above"] / expected["fifty"])
    # The stock files of 2015-08-24 hold nine names, all of them down.
    crash = run_model(BREADTH, real_lake, [date(2015, 8, 24)]).row(0, named=True)
    assert (crash["members"], crash["decliners"], crash["advance_decline_ratio"]) == (9, 9, 0.0)


def test_any_cutting_of_a_backfill_gives_the_same_bytes(real_lake, tmp_path):
    asked = calendar.sessions_between(date(2015, 8, 3), date(2015, 8, 28))

    def stored(folder, size):
        lake = Lake(folder)
        for at in range(0, len(asked), size):
            piece = asked[at : at + size]
            for key, part in run_model(BREADTH, real_lake, piece).partition_by("session", as_dict=True).items():
                lake.write(MARKET_BREADTH, {"session": key[0]}, part)
        return [lake.info(MARKET_BREADTH, {"session": day}).sha256 for day in asked]

    assert stored(tmp_path / "1", 1) == stored(tmp_path / "5", 5) == stored(tmp_path / "20", 20)


def test_later_bars_change_nothing(real_lake, tmp_path, shared_data):
    asked = calendar.sessions_between(date(2015, 8, 3), date(2015, 8, 14))
    bars = real_bars(shared_data, "day").filter(pl.col("session").is_between(date(2014, 7, 1), asked[-1]))
    earlier = lake_with(tmp_path, bars)
    earlier.write(CORPORATE_ACTIONS, {}, real_splits(shared_data))
    assert run_model(BREADTH, earlier, asked).equals(run_model(BREADTH, real_lake, asked))


# --- detector_leaderboard ---


def stored_trades(detector: str, r_net: list[float]) -> pl.DataFrame:
    """Trades with the given results as the lake stores them."""
    trades = trades_of(r_net, detector=detector)
    ordinary = {
        "detector_version": "1", "entry_ref_price": 100.0, "entry_fill_price": 100.0, "atr": 1.0,
        "atr_timeframe": "15m",
        "stop_initial": 99.0, "target_initial": 102.0, "risk_per_unit": 1.0, "exit_ref_price": 100.0,
        "exit_fill_price": 100.0, "units": 500.0, "cost_spread": 0.0, "cost_impact": 0.0, "cost_commission": 0.0,
        "mfe_r": 1.0, "mae_r": -1.0, "path_policy": "pessimistic", "style": "day", "input_hash": "hash",
        "quality": "final",
    }  # fmt: skip
    ends = pl.col("signal_bar_end")
    full = trades.with_columns(
        **{name: pl.lit(value) for name, value in ordinary.items()},
        signal_available_at=ends, entry_at=ends, label_start=ends, label_end=pl.col("exit_at"),
        cost_slippage=pl.col("pnl_gross") - pl.col("pnl_net"),
    )  # fmt: skip
    absent = [name for name in BACKTEST_TRADES.polars_schema if name not in full.columns]
    full = full.with_columns(pl.lit(None).alias(name) for name in absent)
    return full.select(pl.col(name).cast(kind) for name, kind in BACKTEST_TRADES.polars_schema.items())


def test_the_leaderboard_counts_what_was_traded(tmp_path):
    lake = Lake(tmp_path)
    results = {"alpha": [1.0, -0.5, 2.0, 0.0], "beta": [0.5, 1.5], "gamma": [-1.0]}
    for detector, r_net in results.items():
        lake.write(BACKTEST_TRADES, {"detector": detector}, stored_trades(detector, r_net))
    alpha, beta, gamma = run_model(LEADERBOARD, lake).rows(named=True)
    assert [alpha[name] for name in ("trades", "winners", "losers", "breakeven")] == [4, 2, 1, 1]
    assert (alpha["win_rate_pct"], alpha["expectancy_r"], alpha["profit_factor"]) == (50.0, 0.625, 6.0)
    assert (alpha["avg_win_r"], alpha["avg_loss_r"]) == (1.5, -0.5)
    # expectancy = (sum of gains + sum of losses)/n (backtesting.md section 8).
    assert (beta["profit_factor"], beta["profit_factor_status"], beta["avg_loss_r"]) == (None, "no_losses", None)
    assert (gamma["profit_factor"], gamma["profit_factor_status"], gamma["avg_win_r"]) == (0.0, "ok", None)


def test_without_trades_the_leaderboard_is_empty(tmp_path):
    assert run_model(LEADERBOARD, Lake(tmp_path)).is_empty()


def test_a_model_is_handed_the_sessions_it_looks_back_at_and_no_more(tmp_path):
    asked = days(date(2016, 1, 4), 4)
    lake = lake_with(tmp_path, daily_bars("AAA", dict.fromkeys(asked, 1.0)))
    everything = """SELECT {{ session_end }}::DATE AS session, count(*) AS bars, 'few' AS word
        FROM {{ ref('historical_bars') }} WHERE session <= {{ session_end }} OR {{ session_start }} IS NULL"""
    # One session of look-back and the session itself.
    assert run_model(counting_model(select=everything), lake, [asked[2]]).rows() == [(asked[2], 2, "few")]
    with_more = HEADER.replace("look_back_sessions: 1", "look_back_sessions: 2")
    assert run_model(counting_model(with_more, everything), lake, [asked[2]]).rows() == [(asked[2], 3, "few")]


# --- iv_percentile_cache ---

IV_DAYS = calendar.sessions_between(date(2014, 1, 2), date(2015, 12, 31))


def volatilities(seed: int = 3) -> pl.DataFrame:
    """Two years of three symbols with ties, gaps short and long, every status, and a symbol that comes late."""
    rng = np.random.default_rng(seed)
    rows = []
    for symbol, first in (("AAA", 0), ("BBB", 0), ("LATE", 330)):
        level = 0.25 * np.exp(np.cumsum(rng.normal(0, 0.03, len(IV_DAYS))))
        for at, day in enumerate(IV_DAYS):
            dark = symbol == "BBB" and 380 <= at < 386
            if at < first or dark or rng.random() < 0.03:
                continue
            iv = round(float(level[at]), 3) + float(rng.choice([0.0, 2e-7]))
            row = daily_row(day, iv, symbol=symbol)
            row |= {"rr25": round(float(rng.normal(0.03, 0.01)), 3), "fly25": 0.01, "skew_slope": 0.02}
            row |= {"skew_status": "ok", "rv21": 0.2, "rv_status": "ok"}
            chance = rng.random()
            if chance < 0.04:
                row |= {"cm30_status": "calendar_arb"}
            elif chance < 0.08:
                row |= {"cm30_atm_iv": None, "cm30_status": "insufficient"}
            elif chance < 0.1:
                row |= {"rr25": None, "skew_status": "insufficient"}
            rows.append(row)
    return daily_frame(rows)


def iv_lake(folder, daily: pl.DataFrame) -> Lake:
    lake = Lake(folder)
    parts = daily.partition_by("session", as_dict=True).items()
    lake.write_many(ATM_IV_DAILY, [({"session": key[0]}, part, {}) for key, part in parts])
    return lake


@pytest.fixture(scope="module")
def iv_market(tmp_path_factory) -> tuple[pl.DataFrame, Lake]:
    daily = volatilities()
    return daily, iv_lake(tmp_path_factory.mktemp("iv"), daily)


def test_volatility_ranks_are_those_of_the_definition_in_python(iv_market):
    daily, lake = iv_market
    asked = IV_DAYS[100:]
    found, expected = run_model(IV_CACHE, lake, asked), iv_percentile_cache(daily, asked)
    assert found.height == expected.height > 900
    assert set(found["history_status"].cast(pl.String)) == {"ok", "short_history", "insufficient"}
    for name, kind in IV_PERCENTILE_CACHE.polars_schema.items():
        if kind == pl.Float64:
            here, there = found[name].to_numpy(), expected[name].to_numpy()
            assert np.allclose(here, there, rtol=0, atol=1e-9, equal_nan=True), name
            assert (found[name].is_null() == expected[name].is_null()).all(), name
        else:
            assert found[name].equals(expected[name]), name
    assert set(found["iv_regime"].drop_nulls().cast(pl.String)) == {word for _, word in IV_REGIME_CUTS}
    assert found["rank_clipped"].any()


def test_ranks_do_not_depend_on_how_a_backfill_is_cut_or_on_later_sessions(iv_market, tmp_path):
    daily, lake = iv_market
    asked = IV_DAYS[380:392]
    together = run_model(IV_CACHE, lake, asked)
    assert pl.concat([run_model(IV_CACHE, lake, [day]) for day in asked]).sort("symbol", "session").equals(together)
    earlier = iv_lake(tmp_path, daily.filter(pl.col("session") <= asked[-1]))
    assert run_model(IV_CACHE, earlier, asked).equals(together)


def test_a_year_without_any_movement_has_a_percentile_and_no_rank(tmp_path):
    lake = iv_lake(tmp_path, daily_frame([daily_row(day, 0.2) for day in IV_DAYS[:260]]))
    row = run_model(IV_CACHE, lake, [IV_DAYS[259]]).row(0, named=True)
    assert (row["iv_rank_pct"], row["iv_zscore"], row["iv_percentile_pct"]) == (None, None, 50.0)
    assert (row["rank_clipped"], row["iv_252d_stddev"]) == (False, 0.0)


def test_the_bands_of_a_percentile_come_from_the_one_table_of_the_product():
    rows = iv_regime_bands().rows()
    # quant_methods.md section 7, left-closed.
    assert rows == [
        (0.0, "EXTREMELY_LOW"), (10.0, "LOW"), (20.0, "NORMAL"), (60.0, "ELEVATED"), (80.0, "HIGH"),
        (90.0, "EXTREMELY_HIGH"),
    ]  # fmt: skip
