"""Composite signals in the graph, and scanner and explanation on the same rows."""

import math
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from strategy_pipeline.commands import explain, scan
from strategy_pipeline.defs.launch import materialize, open_instance
from strategy_pipeline.defs.signal_inputs import SignalInputs, largest_gap
from strategy_pipeline.errors import MissingDataError, SettingsError
from strategy_pipeline.lake.store import Lake, conform
from strategy_pipeline.lake.tables import (
    COMPOSITE_SIGNALS,
    CONTEXT_SCORES,
    FEATURES,
    MARKET_REGIME_HISTORY,
    REJECT_REASONS,
    STYLES,
)
from strategy_pipeline.scoring.rules import rules_from
from strategy_pipeline_tests.defs.small_market import UPSTREAM, SmallMarket, bytes_below, small_market
from strategy_pipeline_tests.engines.context_rows import regime_row, regime_table

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = dg.AssetKey("composite_signals")
SIGNALS = ["context_scores", "composite_signals"]
# Sessions with features, the last of so many that average volumes are known.
SCORED = 4
# What a row says of the data as a whole, which is another when a part of it is not stored.
OF_THE_DATA = ("run_id", "data_version")


@pytest.fixture(scope="module")
def market(tmp_path_factory) -> SmallMarket:
    """A small market whose last sessions have features and a regime, with every firing scored."""
    market = small_market(tmp_path_factory.mktemp("composite"), sessions=24, symbols=8)
    with open_instance(market.settings) as instance:
        chosen = {"timeframes": ["5m", "15m"], "since": market.sessions[-SCORED].isoformat()}
        assert market.run(instance, UPSTREAM, config={"features": chosen}).success
    for day in market.sessions:
        market.lake.write(MARKET_REGIME_HISTORY, {"session": day}, regime_table(regime_row(day, tau=0.6, slope20=0.04)))
    run(market)
    return market


def run(market, keys=None, definitions=None):
    with open_instance(market.settings) as instance:
        result = materialize(
            definitions or market.definitions,
            instance,
            "score_context",
            assets=SIGNALS,
            keys=keys or (market.sessions[-SCORED].isoformat(), market.sessions[-1].isoformat()),
            trigger="test",
        )
        event = instance.get_latest_materialization_event(KEY)
    return result, event.asset_materialization.metadata


def stored(market) -> pl.DataFrame:
    return market.lake.read(COMPOSITE_SIGNALS, market.lake.keys(COMPOSITE_SIGNALS))


def copied(market, folder, *tables) -> Lake:
    """A lake with the given tables of the market."""
    lake = Lake(folder)
    for table in tables:
        for key in market.lake.keys(table):
            lake.write(table, key, market.lake.read(table, [key]), market.lake.metadata(table, key))
    return lake


def until_bar(market, folder, moment) -> Lake:
    """The lake as it was when `moment` of its newest session was the end of the newest bar."""
    day = market.sessions[-1]
    lake = copied(market, folder, FEATURES, CONTEXT_SCORES)
    for name in ("5m", "15m"):
        rows = market.lake.read_sessions(FEATURES, [day], timeframe=name, where=pl.col("bar_end") <= moment)
        lake.write(FEATURES, {"timeframe": name, "session": day}, rows)
    return lake


def test_every_firing_is_stored_with_its_fate(market):
    rows = conform(COMPOSITE_SIGNALS, stored(market))
    inputs = SignalInputs(market.lake, rules_from())
    fired = inputs.fired(inputs.features(market.sessions))
    assert rows.height == fired.height > 50
    fates = rows["decision"].value_counts()
    assert set(fates["decision"]) == {"accepted", "rejected"}
    assert set(rows["reject_reason"].drop_nulls()) <= set(REJECT_REASONS)
    assert rows["signal_id"].n_unique() == rows.height


def test_the_contributions_of_every_signal_sum_to_its_score(market):
    rows = stored(market)
    assert rows["waterfall"].count() > 50
    assert largest_gap(rows) < 1e-9
    regimes = rows.explode("waterfall", keep_nulls=True).unnest("waterfall").filter(item="regime")
    assert regimes.filter(pl.col("contribution_ln") != 0.0).height > 10
    for row in rows.filter(pl.col("waterfall").is_not_null()).iter_rows(named=True):
        for style in STYLES:
            total = math.fsum(one["contribution_ln"] for one in row["waterfall"] if one["style"] == style)
            assert total == pytest.approx(math.log(row[f"{style}_score"] / row["base_score"]), abs=1e-9)


def test_the_ui_counts_fates_and_shows_the_best_signal(market):
    result, said = run(market)
    newest = market.lake.read_sessions(COMPOSITE_SIGNALS, [market.sessions[-1]])
    accepted = newest.filter(pl.col("reject_reason").is_null()).height
    assert said["accepted"].value == accepted
    assert said["accepted"].value + said["rejected"].value == said["dagster/row_count"].value == newest.height
    assert sum(said["reject_reasons"].value.values()) == said["rejected"].value
    assert "![best signal of" in said["waterfall"].value
    assert said["best_signal"].value in newest["signal_id"].to_list()
    checks = {(one.asset_key.path[-1], one.check_name): one.passed for one in result.get_asset_check_evaluations()}
    assert checks["composite_signals", "contract_holds"]
    assert checks["composite_signals", "waterfalls_sum_up"]


def test_the_picture_of_a_waterfall_ends_at_the_final_score(market):
    from strategy_pipeline.defs.signal_plots import waterfall

    row = stored(market).filter(pl.col("waterfall").is_not_null()).row(0, named=True)
    svg = waterfall(row)
    assert f">{row['recommended_score']:.1f}<" in svg
    for word in ("base", "style", "iv", "gamma", "mtf", "flow", "regime", "data confidence", "clamp", "final"):
        assert f">{word}<" in svg


def test_what_has_not_changed_is_not_written_again(market):
    def written():
        return {
            path: path.stat().st_mtime_ns for path in (market.home / "lake" / "composite_signals").rglob("*.parquet")
        }

    before = written()
    run(market)
    assert len(before) == SCORED
    assert written() == before


def test_cutting_a_run_changes_no_byte(market):
    folder = market.home / "lake" / "composite_signals"
    whole = bytes_below(folder)
    for name in whole:
        (folder / name).unlink()
    days = [day.isoformat() for day in market.sessions[-SCORED:]]
    run(market, (days[1], days[-1]))
    run(market, (days[0], days[0]))
    assert bytes_below(folder) == whole


def test_other_thresholds_are_other_signals(market):
    from strategy_pipeline.definitions import build_defs
    from strategy_pipeline.defs.resources import default_resources

    before = stored(market)
    easy = rules_from({"filters": {"blacklist": ["SPX"]}})
    run(market, definitions=build_defs(**default_resources(lambda: market.settings) | {"scoring_rules": easy}))
    after = stored(market)
    run(market)
    assert set(after.filter(symbol="SPX")["reject_reason"]) <= {"filter_blacklist", "filter_session"}
    assert after["signal_id"].equals(before["signal_id"])
    assert not set(after["run_id"]) & set(before["run_id"])
    assert stored(market).equals(before)


def test_the_scanner_has_the_rows_of_the_asset_bit_for_bit(market):
    day = market.sessions[-1]
    rows = market.lake.read_sessions(COMPOSITE_SIGNALS, [day])
    inputs = SignalInputs(market.lake, rules_from())
    assert inputs.rows(day, inputs.fired(inputs.features([day]))).equals(rows)
    found = scan.newest(market.lake, market.settings)
    ends = market.lake.read_sessions(FEATURES, [day], timeframe="5m", columns=["bar_end"])["bar_end"]
    assert found.bars == {"5m": ends.max(), "15m": ends.max()}
    assert found.rows.equals(rows.filter(pl.col("bar_end") == ends.max()))


def test_the_scanner_saw_at_each_bar_what_the_asset_stored_of_it(market, tmp_path):
    day = market.sessions[-1]
    rows = market.lake.read_sessions(COMPOSITE_SIGNALS, [day])
    moments = rows["bar_end"].unique().sort()[-6:]
    assert len(moments) == 6
    for at in moments:
        until = until_bar(market, tmp_path, at)
        found = scan.newest(until, market.settings)
        newest = (pl.col("timeframe").cast(pl.String) == "5m") & (pl.col("bar_end") == found.bars["5m"])
        newest |= (pl.col("timeframe").cast(pl.String) == "15m") & (pl.col("bar_end") == found.bars["15m"])
        assert found.rows.height
        assert found.rows.drop(OF_THE_DATA).equals(rows.filter(newest).drop(OF_THE_DATA))


def test_the_scanner_asks_the_engines_itself_where_their_answers_are_not_stored(market, tmp_path):
    bare = copied(market, tmp_path, FEATURES, MARKET_REGIME_HISTORY)
    inputs = SignalInputs(bare, rules_from())
    day = market.sessions[-1]
    rows = inputs.rows(day, inputs.fired(inputs.features([day])))
    whole = market.lake.read_sessions(COMPOSITE_SIGNALS, [day])
    # There are no bars to align in this lake, and too few of them in the other.
    regime = pl.col("waterfall").list.eval(pl.element().filter(pl.element().struct.field("item") == "regime"))
    assert rows.select(regime).equals(whole.select(regime))
    assert rows.drop(*OF_THE_DATA, "context").equals(whole.drop(*OF_THE_DATA, "context"))


def test_what_comes_later_in_a_session_changes_no_earlier_signal(market, tmp_path):
    day = market.sessions[-1]
    noon = market.lake.read_sessions(FEATURES, [day], timeframe="5m")["bar_end"].min() + timedelta(minutes=150)
    inputs = SignalInputs(until_bar(market, tmp_path, noon), rules_from())
    early = inputs.rows(day, inputs.fired(inputs.features([day])))
    whole = market.lake.read_sessions(COMPOSITE_SIGNALS, [day], where=pl.col("bar_end") <= noon)
    assert early.height
    assert early.drop(OF_THE_DATA).equals(whole.drop(OF_THE_DATA))


def test_a_scan_of_some_symbols_is_that_part_of_the_whole(market):
    day = market.sessions[-1]
    rows = market.lake.read_sessions(COMPOSITE_SIGNALS, [day])
    symbols = rows["symbol"].unique().sort().to_list()[:2]
    inputs = SignalInputs(market.lake, rules_from(), symbols=symbols)
    part = inputs.rows(day, inputs.fired(inputs.features([day])))
    assert 0 < part.height < rows.height
    assert part.equals(rows.filter(pl.col("symbol").is_in(symbols)))


def test_a_scan_may_take_all_signals_from_one_timeframe(market):
    found = scan.newest(market.lake, market.settings, "5m")
    assert list(found.bars) == ["5m"]
    assert set(found.rows["timeframe"]) <= {"5m"}


def as_text(*tables) -> str:
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as captured:
        for table in tables:
            console.print(table)
    return captured.get()


def test_a_scan_is_shown_with_its_reasons(market):
    rows = stored(market)
    moment = {"5m": rows["bar_end"][0]}
    found = scan.Scan(market.sessions[-1], moment, rows)
    text = as_text(*scan.tables(found, rejected=True))
    best, worst = found.accepted.row(0, named=True), found.rejected.row(0, named=True)
    assert re.search(rf" 1 │ {best['symbol']} +│ {best['detector']}", text)
    assert best["signal_id"][:10] in text
    assert f"base {best['base_score']:.1f}, style x" in text
    assert f"{best['risk_reward']:.2f}" in text
    assert worst["reject_reason"] in text
    assert f"{found.accepted.height} accepted, {found.rejected.height} rejected (" in text
    assert as_text(*scan.tables(found)).count("Rejected") == 0


def test_a_scan_without_signals_says_so_in_a_line(market):
    nothing = scan.Scan(market.sessions[-1], {"5m": stored(market)["bar_end"][0]}, stored(market).clear())
    (line,) = scan.tables(nothing, rejected=True)
    assert "0 accepted, 0 rejected" in line


def test_the_scanner_shows_a_bar_once(market):
    first = scan.newest(market.lake, market.settings)
    later = scan.Scan(first.session, {name: at + timedelta(minutes=5) for name, at in first.bars.items()}, first.rows)
    looks, pauses = iter([first, first, later, later]), []
    shown = scan.scans(lambda: next(looks), pauses.append, once=False, poll_seconds=7.0)
    assert [next(shown), next(shown)] == [first, later]
    assert pauses == [7.0, 7.0]
    assert list(scan.scans(lambda: first, pauses.append, once=True)) == [first]


def test_the_scanner_does_without_dagster():
    script = (
        "import sys; import strategy_pipeline.commands.scan; print('dagster' in sys.modules, 'numba' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert process.stdout.split() == ["False", "False"]


def test_without_features_the_scanner_says_what_to_do(market, tmp_path):
    with pytest.raises(MissingDataError, match=r"There are no features in .*: run strategy-pipeline demo"):
        scan.newest(Lake(tmp_path), market.settings)
    with pytest.raises(MissingDataError, match=r"There are no 1m features"):
        scan.newest(market.lake, market.settings, "1m")
    with pytest.raises(MissingDataError, match="hold none of ZZZ"):
        scan.newest(market.lake, market.settings, symbols=["ZZZ"])
    with pytest.raises(SettingsError, match="--timeframe 7m: use one of 1m, 5m"):
        scan.newest(market.lake, market.settings, "7m")


def test_the_command_line_scans_and_explains(market):
    environment = {**os.environ, "STRATEGY_HOME": str(market.home), "PYTHONPATH": str(REPOSITORY)}
    identity = stored(market)["signal_id"][0]
    for words, sentence in (
        (["scan", "--once", "--rejected"], f"{market.sessions[-1]}, 15m to 16:00, 5m to 16:00 New York: "),
        (["explain", identity[:10]], f"id {identity}, definition "),
    ):
        process = subprocess.run(
            [sys.executable, "-m", "strategy_pipeline.cli", *words],
            env=environment, cwd=market.home, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        assert sentence in process.stdout
        assert process.stderr == ""


def test_an_explanation_goes_down_to_the_last_contribution_and_to_the_files(market):
    accepted = stored(market).filter(decision="accepted").row(0, named=True)
    text = "\n".join(explain.lines(market.lake, accepted["signal_id"][:8]))
    assert f"{accepted['symbol']} {accepted['detector']} {accepted['direction']}" in text
    for factor in accepted["factors"]:
        assert factor["name"] in text
    for item in ("style", "iv", "gamma", "mtf", "flow", "regime", "data_confidence", "clamp"):
        assert len(re.findall(rf"^  {item} +[+-]\d\.\d{{6}}", text, re.MULTILINE)) == 3, item
    assert "WEAK_UPTREND, multiplier" in text
    assert "missing: no_row" in text
    whole = math.log(accepted["recommended_score"] / accepted["base_score"])
    assert f"ln(final/base) {whole:+.6f}, final {accepted['recommended_score']:.6f}" in text
    assert f"at least {accepted['rr_min']:g}" in text
    day = accepted["session"]
    for table in ("composite_signals", "context_scores", "historical_bars"):
        assert re.search(rf"{table}/session={day}: [\d,]+ rows, sha256 [0-9a-f]{{64}}", text)
    assert re.search(rf"us_stocks_sip/minute_aggs_v1/.*{day}\.csv\.gz: etag \S+, sha256 [0-9a-f]{{64}}", text)
    assert re.search(r"regime: market_regime_history/\S+\n    market_regime_history/session=\S+: 1 rows, sha256", text)


def test_every_stored_signal_can_be_explained(market):
    for identity in stored(market)["signal_id"]:
        assert len(list(explain.lines(market.lake, identity))) > 20


def test_an_id_that_is_none_or_names_none_or_many_is_answered_in_a_sentence(market, tmp_path):
    with pytest.raises(SettingsError, match="'nope' is no signal id"):
        explain.find(market.lake, "nope")
    with pytest.raises(SettingsError, match="'abc' is no signal id: give at least 4"):
        explain.find(market.lake, "abc")
    with pytest.raises(MissingDataError, match="No stored signal has an id that begins with 00000000"):
        explain.find(market.lake, "00000000")
    twins = stored(market).filter(pl.col("session") == market.sessions[-1]).head(2)
    twins = twins.with_columns(signal_id=pl.Series(["abcd1" + "0" * 19, "abcd2" + "0" * 19]))
    lake = Lake(tmp_path)
    lake.write(COMPOSITE_SIGNALS, {"session": market.sessions[-1]}, twins)
    with pytest.raises(MissingDataError, match="2 signals have an id that begins with abcd, such as abcd1"):
        explain.find(lake, "abcd")
    assert explain.find(lake, "abcd2")["signal_id"].startswith("abcd2")


def test_without_features_a_run_says_what_to_do(tmp_path):
    with pytest.raises(MissingDataError, match="materialise features"):
        run(small_market(tmp_path, sessions=24))
