"""What the report files promise: names, nulls, bytes, escaping and exclusive file names."""

import base64
import csv
import io
import json
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import jq
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strategy_pipeline.backtest import charts, drawing, estimates, report
from strategy_pipeline.backtest import statistics as stats
from strategy_pipeline.backtest.estimates import Drawdown, Estimate
from strategy_pipeline.backtest.statistics import DetectorSummary, Settings
from strategy_pipeline.backtest.verdicts import Coverage, Noise, OutOfSample
from strategy_pipeline.errors import StorageError
from strategy_pipeline.lake import files
from strategy_pipeline.lake.tables import BACKTEST_TRADES, SIGNAL_DISPOSITIONS, Table
from strategy_pipeline_tests.backtest.trade_frames import (
    coverage_of,
    daily_profit_of,
    dispositions_of,
    session_axis,
    trades_of,
    weekdays,
)

SESSIONS = 60
STARTED = datetime(2024, 7, 1, 14, 30, 59, tzinfo=UTC)
RUN = report.Run(
    run_id="1f2e3d4c5b6a7988",
    data_hash="00aa11bb22cc33dd",
    started_at=STARTED,
    start=date(2024, 1, 2),
    end=date(2024, 3, 29),
    timeframe="15m",
    symbols=("SPY", "QQQ"),
    config={"target_atr": 2.0, "stop_atr": 0.75, "style": None, "symbol_spreads_usd": {"SPY": 0.01}},
)
# backtesting.md section 10, in its order.
KEYS = [
    "detector", "totalTrades", "winners", "losers", "breakeven", "winRate", "winRateLow", "winRateHigh",
    "profitFactor", "profitFactorExact", "profitFactorStatus", "expectancy", "expectancyLow", "expectancyHigh",
    "avgWin", "avgLoss", "avgWinPct", "avgLossPct", "sharpe", "sortino", "maxDrawdownPct", "psr", "dsr", "pbo",
    "nTrials", "ambiguousShare", "medianCostR", "avgBarsHeld", "verdict", "recommendation", "byRegime",
    "byTimeOfDay", "bySymbol", "config", "runId", "dataHash",
    # What section 9 publishes besides.
    "nEffective", "pValueAdjusted", "byIvBand", "byDealerGamma", "gauntlet", "outOfSample",
]  # fmt: skip


class Study:
    """Trades of several detectors with every null case, summarised."""

    def __init__(self, *parts: pl.DataFrame, silent: tuple[str, ...] = ("silent_long",)) -> None:
        self.trades = pl.concat(parts)
        names = [part["detector"][0] for part in parts]
        coverage = coverage_of(
            *[(name, 120, 120, []) for name in (*names, *silent)], ("gamma_flip_long", 60, 12, ["gex_ratio"])
        )
        inputs = (
            self.trades,
            dispositions_of(self.trades),
            coverage,
            daily_profit_of(self.trades),
            session_axis(SESSIONS),
        )
        quick = Settings(draws=400, group_draws=200)
        self.summaries: list[DetectorSummary] = stats.summarise(*inputs, settings=quick)
        self.pooled = stats.pool(*inputs, settings=quick)
        self.days = weekdays(SESSIONS)

    def html(self, run: report.Run = RUN) -> str:
        return report.html_text(self.summaries, self.pooled, self.trades, self.days, run)

    def write(self, folder: Path, run: report.Run = RUN) -> report.ReportFiles:
        return report.write_report(folder, self.summaries, self.pooled, self.trades, self.days, run)


@pytest.fixture(scope="module")
def study() -> Study:
    rng = np.random.default_rng(12)
    return Study(
        trades_of(rng.normal(0.05, 1.0, 55).tolist(), detector="ordinary_long", symbols=("SPY", "QQQ")),
        trades_of([1.0, 0.5, 0.25], detector="no_losses_long"),
        trades_of([-1.0, -0.5], detector="no_wins_short"),
        trades_of([0.5, 0.6, 0.7, -0.4] * 15, detector="planted_long", regimes=("RANGE", "UPTREND", None)),
        trades_of([1.0, -1.0] * 20, detector="doubtful_long", ambiguous=[i % 10 == 0 for i in range(40)]),
    )


def test_the_json_file_is_an_array_with_exactly_the_promised_keys(study: Study) -> None:
    rows = json.loads(report.json_text(study.summaries, RUN))
    assert [row["detector"] for row in rows] == [
        "ordinary_long", "no_losses_long", "no_wins_short", "planted_long", "doubtful_long", "silent_long",
        "gamma_flip_long",
    ]  # fmt: skip
    for row in rows:
        assert list(row) == KEYS
    assert list(report.JSON_KEYS) == KEYS


def test_profit_factor_in_files_is_finite_and_its_truth_stands_beside_it(study: Study) -> None:
    rows = {row["detector"]: row for row in json.loads(report.json_text(study.summaries, RUN))}
    facts = {
        name: (row["profitFactor"], row["profitFactorExact"], row["profitFactorStatus"]) for name, row in rows.items()
    }
    # backtesting.md section 14 row 15 and section 10.
    assert facts["no_losses_long"] == (999.0, None, "no_losses")
    assert facts["no_wins_short"] == (0.0, 0.0, "ok")
    assert facts["silent_long"] == (0.0, None, "no_trades")
    assert rows["silent_long"]["winRate"] is None
    assert rows["no_losses_long"]["expectancyLow"] is None
    assert rows["silent_long"]["verdict"] == "no evidence"
    assert rows["gamma_flip_long"]["verdict"] == "not testable"
    assert rows["gamma_flip_long"]["recommendation"].startswith("get data: gex_ratio missing: 12 of 60")
    assert rows["planted_long"]["dsr"] is None
    assert rows["planted_long"]["nTrials"] == 7


def test_the_documented_jq_queries_run_on_a_file_with_every_null(study: Study, tmp_path: Path) -> None:
    text = study.write(tmp_path).json.read_text()
    chosen = jq.compile(".[] | select(.winRate > 0.65)").input_text(text).all()
    assert [row["detector"] for row in chosen] == ["no_losses_long", "planted_long"]
    best = jq.compile("sort_by(-.profitFactor) | .[:5]").input_text(text).first()
    assert [row["detector"] for row in best][:2] == ["no_losses_long", "planted_long"]
    assert len(best) == 5
    assert jq.compile(". | sort_by(-.profitFactor) | .[:5]").input_text(text).first() == best


def test_groups_in_the_json_hold_every_trade_and_their_intervals(study: Study) -> None:
    rows = {row["detector"]: row for row in json.loads(report.json_text(study.summaries, RUN))}
    planted = rows["planted_long"]
    assert [group["group"] for group in planted["byRegime"]] == ["RANGE", "UPTREND", "unlabelled"]
    for name in ("byRegime", "byTimeOfDay", "bySymbol"):
        assert sum(group["totalTrades"] for group in planted[name]) == 60
    symbol = planted["bySymbol"][0]
    assert symbol["expectancyLow"] <= symbol["expectancy"] <= symbol["expectancyHigh"]
    assert symbol["thin"] is False
    assert planted["config"]["targetAtr"] == 2.0
    assert planted["config"]["symbolSpreadsUsd"] == {"SPY": 0.01}
    assert planted["config"]["start"] == "2024-01-02"


def test_no_value_that_is_not_a_number_reaches_a_file(study: Study) -> None:
    odd = replace(RUN, config={"open_end": float("inf"), "not_a_number": float("nan"), "set": {"b", "a"}})
    text = report.json_text(study.summaries, odd)
    assert not re.search(r"\bNaN\b|Infinity", text)
    assert json.loads(text)[0]["config"]["openEnd"] is None
    assert json.loads(text)[0]["config"]["set"] == ["a", "b"]


def test_the_csv_holds_the_rows_of_the_json(study: Study) -> None:
    text = report.csv_text(study.summaries, RUN)
    assert text.count("\r\n") == len(study.summaries) + 1
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    rows = report.json_rows(study.summaries, RUN)
    assert list(read[0])[:9] == [
        "detector", "total_trades", "winners", "losers", "breakeven", "win_rate", "win_rate_low", "win_rate_high",
        "profit_factor",
    ]  # fmt: skip
    assert {"n_trials", "median_cost_r", "max_drawdown_pct", "by_time_of_day", "run_id"} <= set(read[0])
    for cells, row in zip(read, rows, strict=True):
        for key, cell in zip(report.JSON_KEYS, cells.values(), strict=True):
            value = row[key]
            if value is None:
                assert cell == ""
            elif isinstance(value, int | float):
                assert float(cell) == value
            elif isinstance(value, str):
                assert cell == value
            else:
                assert json.loads(cell) == value


dangerous = st.text(alphabet=st.sampled_from("=+-@\t\r\n\",'; aA1e."), max_size=12)


@given(dangerous)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_in_the_csv_starts_a_formula_and_none_is_lost(name: str) -> None:
    summary = replace(silent_summary(), detector=name)
    text = report.csv_text([summary], RUN)
    cell = next(csv.DictReader(io.StringIO(text, newline="")))["detector"]
    is_number = re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", cell)
    assert is_number or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell in (name, "'" + name)
    assert (cell == name) == (bool(is_number) or not name.startswith(("=", "+", "-", "@", "\t", "\r")))


def test_negative_numbers_in_the_csv_stay_numbers(study: Study) -> None:
    read = {
        row["detector"]: row for row in csv.DictReader(io.StringIO(report.csv_text(study.summaries, RUN), newline=""))
    }
    assert read["no_wins_short"]["avg_loss"] == "-0.75"


def silent_summary() -> DetectorSummary:
    empty = trades_of([])
    return stats.summarise(
        empty,
        dispositions_of(empty),
        coverage_of(("breakout_long", 5, 5, [])),
        daily_profit_of(empty),
        session_axis(5),
    )[0]


def test_equal_inputs_give_equal_bytes_apart_from_the_file_name(study: Study, tmp_path: Path) -> None:
    first = study.write(tmp_path)
    again = Study(
        *[
            part.sample(fraction=1.0, shuffle=True, seed=3)
            for part in study.trades.partition_by("detector", maintain_order=True)
        ]
    )
    second = again.write(tmp_path)
    assert first.json.name != second.json.name
    for name in ("json", "csv", "trades", "html"):
        assert getattr(first, name).read_bytes() == getattr(second, name).read_bytes(), name


def test_the_files_are_named_for_the_start_and_a_taken_second_gives_the_next_free_one(
    study: Study, tmp_path: Path
) -> None:
    (tmp_path / "backtest-results-20240701-143059.html").write_text("somebody else's")
    written = study.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "backtest-results-20240701-143059.html",
        "backtest-results-20240701-143100.csv",
        "backtest-results-20240701-143100.html",
        "backtest-results-20240701-143100.json",
        "backtest-results-20240701-143100.trades.parquet",
    ]
    assert written.json == tmp_path / "backtest-results-20240701-143100.json"
    assert (tmp_path / "backtest-results-20240701-143059.html").read_text() == "somebody else's"
    assert pl.read_parquet(written.trades).height == study.trades.height


def test_writers_that_start_in_the_same_second_get_a_name_each(tmp_path: Path) -> None:
    names: list[str] = []
    barrier = threading.Barrier(6)

    def write(number: int) -> None:
        barrier.wait()
        paths = files.create_first_free(
            tmp_path, (f"r-{second}" for second in range(100)), {".a": b"%d" % number, ".b": b"%d" % number}
        )
        assert paths[".a"].read_bytes() == paths[".b"].read_bytes() == b"%d" % number
        names.append(paths[".a"].stem)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 6


def test_a_set_of_files_that_cannot_be_finished_is_taken_back(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        files.create_first_free(tmp_path, ["r"], {".a": b"1", "/under/a-file": b"2", ".a/no-folder": b"3"})
    assert not (tmp_path / "r.a").exists()


def test_the_page_is_one_file_without_scripts_or_addresses(study: Study) -> None:
    page = study.html()
    for word in ("http://", "https://", "src=", "<script", "@import", "url("):
        assert word not in page
    assert page.startswith("<!DOCTYPE html>")
    assert 'charset="utf-8"' in page
    assert "@page{size:A4" in page


def test_every_drawing_in_the_page_is_well_formed(study: Study) -> None:
    drawings = re.findall(r"<svg .*?</svg>", study.html(), flags=re.S)
    # Pooled and five detectors with four pictures each, the forest, and the small ones in tables.
    assert len(drawings) > 25
    for picture in drawings:
        root = ET.fromstring(picture)
        assert root.find("title") is not None
        assert "nan" not in picture.lower().replace("finance", "")
        assert "inf" not in picture.lower().replace("information", "")


def test_the_verdict_comes_first_and_says_what_was_not_measured(study: Study) -> None:
    page = study.html()
    assert page.index("id=verdict") < page.index("id=forest") < page.index("id=leaderboard")
    box = page[page.index("id=verdict") : page.index("id=forest")]
    assert "No detector has passed every test of evidence." in box
    assert "planted_long +0.35" in box
    assert "noise gauntlet has not been run" in box
    assert "gamma_flip_long" in box
    assert "win rate" not in box.lower()


def test_a_detector_for_other_symbols_is_not_said_to_lack_data(study: Study) -> None:
    other = replace(study.summaries[-1], detector="index_long", coverage=Coverage(0, 0, ("close", "vwap")))
    page = report.html_text([*study.summaries, other], study.pooled, study.trades, study.days, RUN)
    assert "Not testable for want of data: gamma_flip_long." in page
    assert "Made for other classes of symbols than those of this run: index_long." in page
    assert "no symbol of its classes" in page
    assert "close, vwap" not in page


def test_numbers_of_a_detector_that_is_not_testable_stand_in_no_comparison(study: Study) -> None:
    index = next(n for n, one in enumerate(study.summaries) if one.detector == "planted_long")
    sparse = replace(study.summaries[index], coverage=Coverage(120, 30, ("gex_ratio",)), verdict="not testable")
    summaries = [sparse if one.detector == "planted_long" else one for one in study.summaries]
    page = report.html_text(summaries, study.pooled, study.trades, study.days, RUN)
    board = page[page.index("id=leaderboard") : page.index("id=pooled")]
    row = next(row for row in board.split("<tr") if "planted_long" in row)
    assert row.count("<td>\N{EN DASH}</td>") == 8
    box = page[page.index("id=verdict") : page.index("id=forest")]
    assert "planted_long +0.35" not in box
    counted = sum(one.trades for one in summaries if one.testable)
    assert f"R per trade (n = {counted:,} trades)" in page
    line = next(row for row in report.leaderboard_rows(summaries) if row["detector"] == "planted_long")
    assert [line[name] for name in ("n", "expectancy", "low", "high", "profit_factor", "win_rate")] == [None] * 6


def test_a_range_of_fills_is_never_shown_without_the_interval_of_chance(study: Study) -> None:
    page = study.html()
    section = page[page.index('id="detector-doubtful_long"') :]
    paragraph = section[section.index("<p>") : section.index("</p>")]
    assert "[\N{MINUS SIGN}0.21, +0.15] R from worst to best fills</b>" in paragraph
    assert "with the interval of chance, 0.00 [\N{MINUS SIGN}" in paragraph


def test_rows_below_twenty_trades_are_greyed_by_the_style_sheet(study: Study) -> None:
    page = study.html()
    assert "tr.thin,tr.thin .ci{color:#98a3ae}" in page
    assert page.count("<tr class=thin>") > 10


def test_the_page_shows_coverage_dispositions_assumptions_and_hashes(study: Study) -> None:
    page = study.html(replace(RUN, as_of=datetime(2024, 3, 28, 20, tzinfo=UTC), config_hash="c0ffee"))
    for words in (
        RUN.run_id, RUN.data_hash, "c0ffee", "2024-03-28 20:00:00 UTC", "suppressed open position", "gex_ratio",
        "target_atr", "Every detector, with its uncertainty", "Fill policy (n = 60)", "Cost sensitivity (n = 60)",
        "Result per trade (n = 60)", "Equity and drawdown (n = 60)", "Time of day (n = 60)",
    ):  # fmt: skip
        assert words in page, words


HOSTILE = "\"><script>alert('x')</script><img src=x onerror=alert(1)>&"


def test_a_hostile_name_is_text_and_nothing_else() -> None:
    study = Study(trades_of([1.0, -1.0] * 15, detector=HOSTILE, symbols=(HOSTILE,), regimes=(HOSTILE,)), silent=())
    page = study.html(replace(RUN, symbols=(HOSTILE,), run_id=HOSTILE, config={HOSTILE: HOSTILE}))
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(" in page
    for picture in re.findall(r"<svg .*?</svg>", page, flags=re.S):
        ET.fromstring(picture)


def test_detectors_with_names_alike_have_sections_of_their_own() -> None:
    study = Study(trades_of([1.0], detector="a b"), trades_of([1.0], detector="a_b"), silent=())
    ids = re.findall(r'<section class=detector id="([^"]+)"', study.html())
    assert len(ids) == len(set(ids)) == 2


def test_a_run_without_a_single_trade_still_has_a_page(tmp_path: Path) -> None:
    empty = trades_of([])
    summary = silent_summary()
    inputs = (
        empty,
        dispositions_of(empty),
        coverage_of(("breakout_long", 5, 5, [])),
        daily_profit_of(empty),
        session_axis(5),
    )
    written = report.write_report(tmp_path, [summary], stats.pool(*inputs), empty, weekdays(5), RUN)
    assert "No detector fired." in written.html.read_text()
    assert json.loads(written.json.read_text())[0]["totalTrades"] == 0


def test_the_types_of_the_table_contracts_are_read_as_they_are(study: Study, tmp_path: Path) -> None:
    def as_in(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col(name).cast(table.polars_schema[name]) for name in frame.columns)

    trades = as_in(BACKTEST_TRADES, study.trades)
    inputs = (
        trades,
        as_in(SIGNAL_DISPOSITIONS, dispositions_of(study.trades)),
        coverage_of(*[(one.detector, 120, 120, []) for one in study.summaries]),
        daily_profit_of(trades),
        session_axis(SESSIONS).with_columns(pl.col("minutes").cast(pl.Int32)),
    )
    found = stats.summarise(*inputs, settings=Settings(draws=400, group_draws=200))
    assert [one.expectancy for one in found] == [one.expectancy for one in study.summaries]
    written = report.write_report(tmp_path, found, stats.pool(*inputs), trades, study.days, RUN)
    assert len(json.loads(written.json.read_text())) == len(found)


def test_the_leaderboard_is_led_by_the_lower_bound_and_never_by_win_rate(study: Study) -> None:
    rows = report.leaderboard_rows(study.summaries)
    assert [row["detector"] for row in rows] == [
        "planted_long", "ordinary_long", "doubtful_long", "no_losses_long", "no_wins_short", "silent_long",
        "gamma_flip_long",
    ]  # fmt: skip
    best = rows[0]
    assert best["expectancy"] == pytest.approx(0.35)
    assert best["expectancy_text"].startswith("+0.35 [+0.")  # type: ignore[union-attr]
    assert rows[3]["profit_factor_text"] == "∞ (n=3)"
    assert rows[2]["fill_range"] is True
    # 4 of 40 trades ambiguous, all winners of 1 R: at best 2.5 R, at worst -1.1 R.
    assert rows[2]["expectancy_text"] == "[\N{MINUS SIGN}0.21, +0.15] fills"
    assert rows[6]["n"] is None
    assert rows[6]["recommendation"] == "get data"


def test_drawings_are_deterministic_and_greyed_below_twenty_trades() -> None:
    days = weekdays(30)
    pnl = np.random.default_rng(2).normal(0, 100, 30)
    drawdown = estimates.max_drawdown(pnl, 100_000.0, days)
    few = charts.equity_chart(days, pnl, 100_000.0, drawdown, trades=19)
    many = charts.equity_chart(days, pnl, 100_000.0, drawdown, trades=20)
    assert few == charts.equity_chart(days, pnl, 100_000.0, drawdown, trades=19)
    assert drawing.GREY in few
    assert drawing.STEEL not in few
    assert drawing.STEEL in many
    histogram = charts.r_histogram(np.array([1.0] * 19), Estimate(1.0, 0.5, 1.5))
    assert drawing.GREY in histogram
    assert drawing.GAIN not in histogram
    assert drawing.STEEL not in histogram


def test_drawings_survive_degenerate_input() -> None:
    nothing = Estimate(None, None, None)
    assert "no trades" in charts.r_histogram(np.array([]), nothing)
    assert "no trades" in charts.fill_fan(np.array([]), np.array([]), np.array([]), ambiguous=0)
    assert "no trades" in charts.cost_curve([], trades=0)
    assert "no sessions" in charts.equity_chart([], np.array([]), 1.0, Drawdown(0.0, None, None, None), trades=0)
    one_day = charts.equity_chart(weekdays(1), np.array([0.0]), 1.0, Drawdown(0.0, None, None, None), trades=1)
    ET.fromstring(one_day)
    ET.fromstring(charts.r_histogram(np.array([-1e6, 0.0, 1e6]), Estimate(0.0, -1e5, 1e5)))
    ET.fromstring(charts.forest_plot([]))
    ET.fromstring(charts.interval_cell(Estimate(5.0, -9.0, 9.0), 1.0, thin=False))


def test_a_long_curve_keeps_its_extremes_in_few_points() -> None:
    y = np.zeros(20_000)
    y[777], y[15_123] = 5.0, -4.0
    points = drawing.thinned(np.arange(20_000.0), y)
    assert len(points) <= drawing.MAXIMUM_POINTS + 2
    assert {value for _, value in points} == {5.0, -4.0, 0.0}


def test_a_picture_travels_inside_markdown() -> None:
    text = drawing.markdown_image(charts.forest_plot([]), "a [b]")
    assert text.startswith("![a (b)](data:image/svg+xml;base64,")
    root = ET.fromstring(base64.b64decode(text.removesuffix(")").partition("base64,")[2]))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert float(root.attrib["width"]) == 940.0
    assert "background:#fff" in root.attrib["style"]


@given(st.lists(st.floats(-30, 30, allow_nan=False), min_size=1, max_size=60))
@settings(deadline=None)
def test_any_trades_can_be_drawn(values: list[float]) -> None:
    r = np.array(values)
    estimate = Estimate(float(r.mean()), float(r.min()), float(r.max()))
    for picture in (
        charts.r_histogram(r, estimate),
        charts.fill_fan(r - 1.0, r, r + 1.0, ambiguous=r.size),
        charts.interval_cell(estimate, 1.0, thin=False),
    ):
        ET.fromstring(picture)


def test_importing_the_report_loads_no_heavy_library() -> None:
    probe = (
        "import sys, strategy_pipeline.backtest.report; "
        "print({'scipy', 'plotly', 'pandas', 'numba', 'matplotlib'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def with_evidence(study: Study) -> list[DetectorSummary]:
    """The summaries of the study, one of them with a gauntlet and folds."""
    outside = OutOfSample(
        "walk-forward", 2, 30, Estimate(0.2, 0.05, 0.4), 0.01, 1, 0.9, tuple(study.days[20:]),
        tuple(50.0 for _ in study.days[20:]), (study.days[20], study.days[40]),
    )  # fmt: skip
    noise = Noise("failed", 20, 4_321, Estimate(0.31, 0.21, 0.41), 0.05, 0.0001)
    return [
        replace(one, noise=noise, out_of_sample=outside) if one.detector == "planted_long" else one
        for one in study.summaries
    ]


def test_the_page_shows_the_gauntlet_beside_the_market_and_the_folds_on_the_curve(study: Study) -> None:
    plain = study.html()
    assert "id=gauntlet" not in plain
    assert "Noise gauntlet: not run." in plain
    page = report.html_text(with_evidence(study), study.pooled, study.trades, study.days, RUN)
    section = page.split("id=gauntlet")[1].split("</section>")[0]
    assert "n = 4,321 trades on noise" in section
    assert "+0.31 [+0.21, +0.41] failed" in section
    assert "20 markets of each kind without an edge" in section
    assert "Out of sample, walk-forward (n = 30)" in page
    # Two folds, so two dashed lines more than without them.
    assert page.count('stroke-dasharray="3 3"') - plain.count('stroke-dasharray="3 3"') == 2
    assert "nothing was held out" not in page


def test_the_file_holds_the_evidence_of_other_studies_or_null(study: Study) -> None:
    rows = {row["detector"]: row for row in json.loads(report.json_text(with_evidence(study), RUN))}
    assert rows["ordinary_long"]["gauntlet"] is None
    assert rows["ordinary_long"]["outOfSample"] is None
    assert rows["planted_long"]["gauntlet"]["status"] == "failed"
    assert rows["planted_long"]["outOfSample"]["expectancyLowAtDoubleCosts"] == 0.01
