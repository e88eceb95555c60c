"""The files a backtest leaves behind: one JSON array, the same as CSV, one HTML page, and the trades as Parquet.

Belongs here: field names, rounding, escaping and the layout of the page. Does not belong here: arithmetic (statistics),
drawing (charts), opening files (lake).
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from html import escape
from pathlib import Path

import numpy as np
import polars as pl

from strategy_pipeline.backtest import charts
from strategy_pipeline.backtest.charts import interval_text
from strategy_pipeline.backtest.drawing import DASH, signed
from strategy_pipeline.backtest.estimates import Estimate, ProfitFactor, max_drawdown
from strategy_pipeline.backtest.option_runs import HEADLINE_RUNG
from strategy_pipeline.backtest.option_summary import summarise_options
from strategy_pipeline.backtest.statistics import (
    MAXIMUM_MEDIAN_COST_R,
    MINIMUM_TRADES_OF_A_GROUP,
    UNLABELLED,
    DetectorSummary,
    Group,
)
from strategy_pipeline.backtest.verdicts import SUPPORTING_METHODS, Noise, OutOfSample
from strategy_pipeline.lake import files
from strategy_pipeline.lake.tables import DISPOSITIONS

SIGNIFICANT_DIGITS = 12
TRADES_ROW_GROUP_ROWS = 100_000
JSON_KEYS = (
    "detector", "totalTrades", "winners", "losers", "breakeven", "winRate", "winRateLow", "winRateHigh",
    "profitFactor", "profitFactorExact", "profitFactorStatus", "expectancy", "expectancyLow", "expectancyHigh",
    "avgWin", "avgLoss", "avgWinPct", "avgLossPct", "sharpe", "sortino", "maxDrawdownPct", "psr", "dsr", "pbo",
    "nTrials", "ambiguousShare", "medianCostR", "avgBarsHeld", "verdict", "recommendation", "byRegime",
    "byTimeOfDay", "bySymbol", "config", "runId", "dataHash", "nEffective", "pValueAdjusted", "byIvBand",
    "byDealerGamma", "gauntlet", "outOfSample",
)  # fmt: skip
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NO_BREAK = "\N{NO-BREAK SPACE}"
_INTERVAL_HEAD = f"mean{_NO_BREAK}R [95{_NO_BREAK}%]"
_WIN_RATE_HEAD = f"win{_NO_BREAK}rate [95{_NO_BREAK}%]"


@dataclass(frozen=True, slots=True)
class Run:
    """What identifies a run: ids and hashes, the window, and every assumption by name (plain values).

    `best_of_all_p` is the p-value of the SPA test over its detectors.
    """

    run_id: str
    data_hash: str
    started_at: datetime
    start: date
    end: date
    timeframe: str
    symbols: tuple[str, ...]
    config: Mapping[str, object]
    config_hash: str = ""
    code_version: str = ""
    as_of: datetime | None = None
    initial_equity_usd: float = 100_000.0
    best_of_all_p: float | None = None


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where the four files of a report lie."""

    json: Path
    csv: Path
    html: Path
    trades: Path


def leaderboard_rows(summaries: Sequence[DetectorSummary]) -> list[dict[str, object]]:
    """Plain rows for a terminal table, best lower bound first; numbers beside ready-made words, win rate near the end.

    Of a detector that is not testable the numbers are None: a few trades where its inputs happened to be there are no
    sample. Keys: detector, n, expectancy, low, high (R; the fill range where that is the headline), fill_range, thin,
    profit_factor, profit_factor_status, win_rate, win_rate_low, win_rate_high (0-1), verdict, recommendation, because,
    and the texts expectancy_text, profit_factor_text, win_rate_text.
    """
    return [
        {
            "detector": one.detector,
            "n": one.trades if one.testable else None,
            "thin": one.trades < MINIMUM_TRADES_OF_A_GROUP,
            **_compared(one),
            "verdict": one.verdict,
            "recommendation": one.recommendation,
            "because": one.recommendation_because,
        }
        for one in charts.forest_order(summaries)
    ]


def _compared(one: DetectorSummary) -> dict[str, object]:
    """The numbers by which detectors are compared, and their words."""
    numbers: dict[str, object] = {
        "expectancy": one.headline.value,
        "low": one.headline.low,
        "high": one.headline.high,
        "fill_range": one.headline_is_fill_range,
        "profit_factor": one.profit_factor.exact,
        "profit_factor_status": one.profit_factor.status,
        "win_rate": one.win_rate.value,
        "win_rate_low": one.win_rate.low,
        "win_rate_high": one.win_rate.high,
    }
    texts = {
        "expectancy_text": headline_text(one),
        "profit_factor_text": _profit_factor_text(one.profit_factor, one.trades),
        "win_rate_text": _share_text(one.win_rate),
    }
    if one.testable:
        return {**numbers, **texts}
    return {**dict.fromkeys(numbers), "fill_range": False, **dict.fromkeys(texts, DASH)}


def json_rows(summaries: Sequence[DetectorSummary], run: Run) -> list[dict[str, object]]:
    """One object per detector with exactly the keys of `JSON_KEYS`, made of JSON types, floats of 12 digits."""
    config = {
        **{_camel(name): value for name, value in run.config.items()},
        "timeframe": run.timeframe,
        "symbols": list(run.symbols),
        "start": run.start,
        "end": run.end,
    }
    return [_row(one, config, run) for one in summaries]


def json_text(summaries: Sequence[DetectorSummary], run: Run) -> str:
    """The JSON file: a top-level array in the order of the run; never NaN or Infinity."""
    return json.dumps(json_rows(summaries, run), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def csv_text(summaries: Sequence[DetectorSummary], run: Run) -> str:
    """The same rows as RFC 4180 text in snake_case; nested values are compact JSON, null is an empty cell.

    A text that a spreadsheet would take for a formula gets a leading apostrophe.
    """
    rows = json_rows(summaries, run)
    return files.csv_text([_snake(key) for key in JSON_KEYS], [[_cell(row[key]) for key in JSON_KEYS] for row in rows])


def write_report(
    folder: Path,
    summaries: Sequence[DetectorSummary],
    pooled: DetectorSummary,
    trades: pl.DataFrame,
    sessions: Sequence[date],
    run: Run,
) -> ReportFiles:
    """Writes the four files under one new base name, the UTC second of the start or the next free one.

    The JSON file appears last, so whoever finds it finds the others. Raises StorageError.
    """
    order = [name for name in ("detector", "symbol", "entry_at", "trade_id") if name in trades.columns]
    contents = {
        ".trades.parquet": files.parquet_bytes(trades.sort(order), metadata={}, row_group_rows=TRADES_ROW_GROUP_ROWS),
        ".csv": csv_text(summaries, run).encode(),
        ".html": html_text(summaries, pooled, trades, sessions, run).encode(),
        ".json": json_text(summaries, run).encode(),
    }
    written = files.create_first_free(folder, _base_names(run.started_at), contents)
    return ReportFiles(
        json=written[".json"], csv=written[".csv"], html=written[".html"], trades=written[".trades.parquet"]
    )


def _base_names(started_at: datetime) -> Iterator[str]:
    moment = started_at.astimezone(UTC)
    while True:
        yield f"backtest-results-{moment:%Y%m%d-%H%M%S}"
        moment += timedelta(seconds=1)


def _row(one: DetectorSummary, config: Mapping[str, object], run: Run) -> dict[str, object]:
    values: dict[str, object] = {
        "detector": one.detector,
        "totalTrades": one.trades,
        "winners": one.winners,
        "losers": one.losers,
        "breakeven": one.breakeven,
        "winRate": one.win_rate.value,
        "winRateLow": one.win_rate.low,
        "winRateHigh": one.win_rate.high,
        "profitFactor": one.profit_factor.for_files,
        "profitFactorExact": one.profit_factor.exact,
        "profitFactorStatus": one.profit_factor.status,
        "expectancy": one.expectancy.value,
        "expectancyLow": one.expectancy.low,
        "expectancyHigh": one.expectancy.high,
        "avgWin": one.avg_win_r,
        "avgLoss": one.avg_loss_r,
        "avgWinPct": one.avg_win_pct,
        "avgLossPct": one.avg_loss_pct,
        "sharpe": one.sharpe,
        "sortino": one.sortino,
        "maxDrawdownPct": one.drawdown.percent if one.testable else None,
        "psr": one.psr,
        "dsr": one.dsr,
        "pbo": one.pbo,
        "nTrials": one.n_trials,
        "ambiguousShare": one.ambiguous_share,
        "medianCostR": one.median_cost_r,
        "avgBarsHeld": one.avg_bars_held,
        "verdict": one.verdict,
        "recommendation": f"{one.recommendation}: {one.recommendation_because}",
        "byRegime": [_group_row(group) for group in one.breakdowns["regime"]],
        "byTimeOfDay": [_group_row(group) for group in one.breakdowns["time_window"]],
        "bySymbol": [_group_row(group) for group in one.breakdowns["symbol"]],
        "config": config,
        "runId": run.run_id,
        "dataHash": run.data_hash,
        "byIvBand": [_group_row(group) for group in one.breakdowns["iv_band"]],
        "byDealerGamma": [_group_row(group) for group in one.breakdowns["dealer_gamma"]],
        "nEffective": one.n_effective,
        "pValueAdjusted": one.p_value_adjusted,
        "gauntlet": _noise_row(one.noise),
        "outOfSample": _outside_row(one.out_of_sample),
    }
    return {key: _plain(values[key]) for key in JSON_KEYS}


def _noise_row(noise: Noise | None) -> dict[str, object] | None:
    if noise is None:
        return None
    return {
        "status": noise.status,
        "draws": noise.draws,
        "totalTrades": noise.trades,
        "expectancy": noise.expectancy.value,
        "expectancyLow": noise.expectancy.low,
        "expectancyHigh": noise.expectancy.high,
        "standardError": noise.standard_error,
        "pValueAdjusted": noise.p_value,
    }


def _outside_row(found: OutOfSample | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "method": found.method,
        "folds": found.folds,
        "totalTrades": found.trades,
        "expectancy": found.expectancy.value,
        "expectancyLow": found.expectancy.low,
        "expectancyHigh": found.expectancy.high,
        "expectancyLowAtDoubleCosts": found.low_at_double_costs,
        "regimes": found.regimes,
        "dsr": found.dsr,
    }


def _group_row(group: Group) -> dict[str, object]:
    return {
        "group": group.label,
        "totalTrades": group.trades,
        "winRate": group.win_rate.value,
        "winRateLow": group.win_rate.low,
        "winRateHigh": group.win_rate.high,
        "profitFactor": group.profit_factor.for_files,
        "profitFactorExact": group.profit_factor.exact,
        "profitFactorStatus": group.profit_factor.status,
        "expectancy": group.expectancy.value,
        "expectancyLow": group.expectancy.low,
        "expectancyHigh": group.expectancy.high,
        "thin": group.thin,
    }


def _plain(value: object) -> object:
    """A value made of JSON types; floats keep 12 digits (the last bits differ between machines), non-finite is null."""
    if value is None or isinstance(value, bool | str):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return float(f"{number:.{SIGNIFICANT_DIGITS}g}") + 0.0 if math.isfinite(number) else None
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, set | frozenset):
        return sorted(str(item) for item in value)
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return str(value)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if text.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", lambda match: "_" + match.group(1).lower(), name)


def html_text(
    summaries: Sequence[DetectorSummary],
    pooled: DetectorSummary,
    trades: pl.DataFrame,
    sessions: Sequence[date],
    run: Run,
) -> str:
    """The page: one file without scripts and without addresses, readable on paper (A4), every text escaped."""
    ordered = charts.forest_order(summaries)
    by_detector = {
        str(key[0]): part
        for key, part in trades.with_columns(pl.col("detector").cast(pl.String))
        .sort("signal_bar_end", "symbol", "trade_id")
        .partition_by("detector", as_dict=True, maintain_order=True)
        .items()
    }
    traded = [one for one in ordered if one.trades]
    body = [
        _header(summaries, run, sessions),
        _verdict_box(summaries, pooled, run),
        _section(
            "forest", "Every detector, with its uncertainty", charts.forest_plot(summaries), _gauntlet_note(summaries)
        ),
        _gauntlet_section(ordered),
        _section("leaderboard", "Leaderboard", _leaderboard(ordered), _leaderboard_note(run)),
        _pooled_section(pooled, trades.filter(_detector_of([one for one in ordered if one.testable])), sessions, run),
        *[
            _detector_section(one, by_detector.get(one.detector, trades.clear()), sessions, run, place)
            for place, one in enumerate(traded, start=1)
        ],
        _silent_detectors([one for one in ordered if not one.trades]),
        _section("dispositions", "What became of every signal", _dispositions(ordered)),
        _section("coverage", "Coverage of required inputs", _coverage(ordered)),
        _section("assumptions", "Assumptions", _assumptions(run)),
        _provenance(run, sessions),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light">'
        f"<title>Backtest {escape(str(run.start))} to {escape(str(run.end))}, {escape(run.timeframe)}</title>"
        f"<style>{_CSS}</style></head>\n<body><main>\n" + "\n".join(body) + "\n</main></body></html>\n"
    )


def _header(summaries: Sequence[DetectorSummary], run: Run, sessions: Sequence[date]) -> str:
    shown = ", ".join(run.symbols[:12]) + (f" and {len(run.symbols) - 12} more" if len(run.symbols) > 12 else "")
    return (
        "<header><p class=eyebrow>Backtest evidence report</p>"
        f"<h1>{len(summaries)} detectors on {escape(run.timeframe)} bars</h1>"
        f"<p class=lede>{run.start:%d %B %Y} to {run.end:%d %B %Y}, {len(sessions):,} sessions. {escape(shown)}.</p>"
        "</header>"
    )


def headline_text(one: DetectorSummary) -> str:
    """Expectancy with its interval, or the range of fills alone where that is the headline, so the two never mix."""
    if one.headline_is_fill_range and one.headline.low is not None and one.headline.high is not None:
        return f"[{signed(one.headline.low)}, {signed(one.headline.high)}] fills"
    return interval_text(one.expectancy)


def _verdict_box(summaries: Sequence[DetectorSummary], pooled: DetectorSummary, run: Run) -> str:
    supported = [one.detector for one in summaries if one.verdict == "supported"]
    suggestive = [one.detector for one in summaries if one.verdict == "suggestive"]
    testable = [one for one in summaries if one.testable]
    above = [one for one in testable if one.expectancy.above_zero]
    if supported:
        headline = f"Supported: {', '.join(supported)}."
    elif suggestive:
        headline = f"Suggestive, not proven: {', '.join(suggestive)}."
    else:
        headline = "No detector has passed every test of evidence."
    sentences = []
    if above:
        named = "; ".join(f"{one.detector} {interval_text(one.expectancy)} R, n = {one.trades:,}" for one in above)
        sentences.append(
            f"After costs the whole interval lies above zero for {len(above)} of {len(testable)}: {named}."
        )
    else:
        sentences.append("After costs no detector's interval lies wholly above zero.")
    below = sum(one.expectancy.below_zero for one in testable)
    if below:
        sentences.append(f"For {below} the whole interval lies below zero.")
    few = sum(one.recommendation == "too few trades" for one in summaries)
    if few:
        sentences.append(f"{few} made too few trades to judge.")
    untestable = [one for one in summaries if not one.testable]
    missing = [one.detector for one in untestable if one.coverage.eligible_symbol_sessions]
    strange = [one.detector for one in untestable if not one.coverage.eligible_symbol_sessions]
    if missing:
        sentences.append(f"Not testable for want of data: {', '.join(missing)}.")
    if strange:
        sentences.append(f"Made for other classes of symbols than those of this run: {', '.join(strange)}.")
    limits = []
    if not any(one.out_of_sample and one.out_of_sample.method in SUPPORTING_METHODS for one in summaries):
        limits.append(
            "Parameters were fixed beforehand and nothing was held out, so no verdict of this run can be higher than "
            "\N{LEFT DOUBLE QUOTATION MARK}suggestive\N{RIGHT DOUBLE QUOTATION MARK}."
        )
    if any("noise gauntlet has not been run" in one.verdict_because for one in summaries):
        limits.append(
            "The noise gauntlet has not been run; what has not been measured counts as not passed, so this run can say "
            "no more than \N{LEFT DOUBLE QUOTATION MARK}no evidence\N{RIGHT DOUBLE QUOTATION MARK}."
        )
    if pooled.median_cost_r is not None and pooled.median_cost_r > MAXIMUM_MEDIAN_COST_R:
        limits.append(f"WARN: costs dominate; the median trade pays {pooled.median_cost_r:.2f} R to trade.")
    counts = "".join(
        f"<li><b>{sum(one.verdict == word for one in summaries)}</b> {word}</li>"
        for word in ("supported", "suggestive", "no evidence", "not testable")
    )
    return (
        f"<section class=verdict id=verdict><h2>{escape(headline)}</h2><ul class=counts>{counts}</ul>"
        f"<p>{escape(' '.join(sentences))}</p><p class=note>{escape(' '.join(limits))}</p></section>"
    )


def _section(anchor: str, heading: str, *content: str) -> str:
    return f"<section id={anchor}><h2>{escape(heading)}</h2>{''.join(content)}</section>"


def _note(words: str) -> str:
    return f"<p class=note>{escape(words)}</p>"


def _gauntlet_section(ordered: Sequence[DetectorSummary]) -> str:
    """The forest of the gauntlet with what the gate asks; nothing when it was not run."""
    if not any(one.noise for one in ordered):
        return ""
    draws = max(one.noise.draws for one in ordered if one.noise)
    return _section(
        "gauntlet",
        "The same detectors on noise",
        charts.gauntlet_forest(ordered),
        _note(
            f"{draws} markets of each kind without an edge, made from this run's own bars: random walks, flipped "
            "signs, shuffled blocks. Passed: before costs the mean is under three standard errors (session clusters) "
            "from zero with an adjusted p above .01, and after costs it is below zero. A detector that traded on fewer "
            "than ten sessions of noise is not exercised, which is not passed."
        ),
    )


def _gauntlet_note(summaries: Sequence[DetectorSummary]) -> str:
    shown = sum(one.testable for one in summaries)
    words = "not run." if not any(one.noise for one in summaries) else "see below."
    return _note(
        f"Mean result per trade in R (one R is the distance from entry to the initial stop), net of costs, for {shown} "
        "testable detectors. Intervals: 95 %, bootstrap over whole sessions; one interval in twenty misses the truth, "
        "so with many detectors one of them may look good by luck: see the adjusted p. Noise gauntlet: " + words
    )


def _leaderboard_note(run: Run) -> str:
    best = (
        ""
        if run.best_of_all_p is None
        else (f"That the best of all detectors earns nothing has a p of {_p_text(run.best_of_all_p)} (SPA test). ")
    )
    return _note(
        f"{best}"
        "p adj. is the two-sided bootstrap p of a zero mean, adjusted for the number of detectors (Benjamini and "
        "Hochberg). Win rate stands beside the rate that would just break even at the detector's own average win and "
        "loss; alone it says nothing. A drawdown beyond \N{MINUS SIGN}100 % is possible, because the risk per trade is "
        "fixed on the initial equity without compounding, so a losing book goes on past zero."
    )


def _compared_cells(one: DetectorSummary) -> list[str]:
    return [
        _td(f"{one.trades:,}"),
        _td(headline_text(one) + (" *" if one.headline_is_fill_range else "")),
        _td(_profit_factor_text(one.profit_factor, one.trades)),
        _td(_share_text(one.win_rate)),
        _td(_percent(one.break_even_win_rate)),
        _td(_plain_number(one.sharpe)),
        _td(signed(one.drawdown.percent, 1) if one.trades else DASH),
        _td(_p_text(one.p_value_adjusted)),
    ]


def _leaderboard(ordered: Sequence[DetectorSummary]) -> str:
    rows = []
    for one in ordered:
        thin = one.trades < MINIMUM_TRADES_OF_A_GROUP or not one.testable
        name = escape(one.detector)
        linked = f'<a href="#{_anchor(one)}">{name}</a>' if one.trades else name
        cells = [
            f"<th scope=row>{linked}</th>",
            *(_compared_cells(one) if one.testable else [_td(DASH)] * 8),
            f'<td class="words"><span class="chip {_slug(one.verdict)}">{escape(one.verdict)}</span></td>',
            f"<td class=advice>{escape(one.recommendation)}</td>",
        ]
        rows.append(f"<tr{' class=thin' if thin else ''}>{''.join(cells)}</tr>")
    head = _head(
        "detector", "n", _INTERVAL_HEAD, "profit factor", _WIN_RATE_HEAD, "breaks even", "Sharpe", "max DD %",
        "p adj.", "verdict", "advice",
    )  # fmt: skip
    foot = (
        _note("* range of the mean from worst to best fills, because more than 5 % of the trades are ambiguous.")
        if any(one.headline_is_fill_range and one.testable for one in ordered)
        else ""
    )
    return f"<div class=scroll><table>{head}<tbody>{''.join(rows)}</tbody></table></div>{foot}"


def _detector_of(summaries: Sequence[DetectorSummary]) -> pl.Expr:
    """Whether a trade is of one of these."""
    return pl.col("detector").cast(pl.String).is_in([one.detector for one in summaries])


def _pooled_section(pooled: DetectorSummary, trades: pl.DataFrame, sessions: Sequence[date], run: Run) -> str:
    if not pooled.trades:
        return ""
    return _section(
        "pooled",
        "All testable detectors pooled",
        f"<p>{escape(interval_text(pooled.expectancy))} R per trade over {pooled.trades:,} trades; the curve is the "
        "mean of the detectors' separate books. Pooling is in R, never in price points.</p>",
        _pictures(pooled, trades.sort("signal_bar_end", "detector", "symbol", "trade_id"), sessions, run),
    )


def _detector_section(
    one: DetectorSummary, trades: pl.DataFrame, sessions: Sequence[date], run: Run, place: int
) -> str:
    warnings = "".join(f"<li>{escape(_typeset(warning))}</li>" for warning in one.warnings)
    tables = "".join(
        _breakdown(one, name, heading)
        for name, heading in (
            ("regime", "Market regime"),
            ("time_window", "Time of day"),
            ("symbol", "Symbol"),
            ("exit_reason", "Exit"),
            ("weekday", "Weekday"),
            ("score_decile", "Score decile"),
            ("vix_band", "VIX band"),
            ("iv_band", "Implied volatility band"),
            ("dealer_gamma", "Dealer gamma"),
            ("dte_bucket", "Days to expiry"),
        )
    )
    return (
        f'<section class=detector id="{_anchor(one)}"><h2><span class=place>{place}</span>{escape(one.detector)} '
        f'<span class="chip {_slug(one.verdict)}">{escape(one.verdict)}</span></h2>'
        f"<p>{_headline_html(one)} per trade after costs, n = {one.trades:,} in "
        f"{one.sessions_traded:,} sessions. <b>{escape(one.recommendation)}:</b> "
        f"{escape(_typeset(one.recommendation_because))}</p>"
        f"{_note('Why this verdict: ' + one.verdict_because)}"
        + (f"<ul class=warn>{warnings}</ul>" if warnings else "")
        + _pictures(one, trades, sessions, run)
        + _facts(one)
        + _options(trades)
        + f"<div class=breakdowns>{tables}</div></section>"
    )


def _headline_html(one: DetectorSummary) -> str:
    if not one.headline_is_fill_range:
        return f"<b>{escape(interval_text(one.expectancy))} R</b>"
    return (
        f"<b>{escape(headline_text(one).removesuffix(' fills'))} R from worst to best fills</b>; as filled, with the "
        f"interval of chance, {escape(interval_text(one.expectancy))} R"
    )


def _pictures(one: DetectorSummary, trades: pl.DataFrame, sessions: Sequence[date], run: Run) -> str:
    r = {name: trades[name].cast(pl.Float64).to_numpy() for name in ("r_net", "r_worst", "r_best")}
    ambiguous = int(trades["ambiguous"].sum() or 0)
    drawn = [
        charts.equity_chart(
            sessions, np.array(one.daily_pnl_usd), run.initial_equity_usd, one.drawdown, trades=one.trades
        ),
        charts.r_histogram(r["r_net"], one.expectancy),
        charts.fill_fan(r["r_worst"], r["r_net"], r["r_best"], ambiguous=ambiguous),
        charts.cost_curve(one.costs, trades=one.trades),
    ]
    found = one.out_of_sample
    if found is not None and found.trades:
        outside = np.array(found.daily_pnl_usd)
        drawn.append(
            charts.equity_chart(
                found.sessions, outside, run.initial_equity_usd,
                max_drawdown(outside, run.initial_equity_usd, found.sessions), trades=found.trades,
                title=f"Out of sample, {found.method}", fold_starts=found.fold_starts,
            )
        )  # fmt: skip
    return "<div class=pictures>" + "".join(f"<figure>{svg}</figure>" for svg in drawn) + "</div>"


def _facts(one: DetectorSummary) -> str:
    drawdown = signed(one.drawdown.percent, 2) + " %"
    if one.drawdown.valley is not None:
        since = one.drawdown.peak.isoformat() if one.drawdown.peak else "the start"
        until = one.drawdown.recovery.isoformat() if one.drawdown.recovery else "not recovered"
        drawdown += f" (from {since}, lowest {one.drawdown.valley}, {until if until[0] == 'n' else 'back ' + until})"
    fills = (
        f"{signed(one.expectancy_worst.value)} / {signed(one.expectancy.value)} / {signed(one.expectancy_best.value)}"
        f" R; PF {_profit_factor_text(one.profit_factor_worst, one.trades)} / "
        f"{_profit_factor_text(one.profit_factor, one.trades)} / "
        f"{_profit_factor_text(one.profit_factor_best, one.trades)}"
    )
    track = one.min_track_record_sessions
    facts = [
        ("Drawn in blocks of sessions", _blocks_text(one)),
        ("Before costs", interval_text(one.expectancy_gross) + " R"),
        ("Worst / as filled / best fills", fills),
        ("Ambiguous, gap exits", f"{_percent(one.ambiguous_share)}, {_percent(one.gap_exit_share)}"),
        ("Winners, losers, even", f"{one.winners:,}, {one.losers:,}, {one.breakeven:,}"),
        ("Win rate; breaks even at", f"{_share_text(one.win_rate)}; {_percent(one.break_even_win_rate)}"),
        ("Profit factor; payoff", f"{_profit_factor_text(one.profit_factor, one.trades)}; {_plain_number(one.payoff)}"),
        ("Average win, loss", f"{signed(one.avg_win_r)} R, {signed(one.avg_loss_r)} R"),
        ("In % of the entry", f"{signed(one.avg_win_pct)} %, {signed(one.avg_loss_pct)} %"),
        ("Median cost", f"{_plain_number(one.median_cost_r)} R"),
        ("Sharpe, Sortino (yearly)", f"{_plain_number(one.sharpe)}, {_plain_number(one.sortino)}"),
        ("Deepest drawdown", drawdown),
        ("PSR against zero", _plain_number(one.psr, 3)),
        ("Deflated Sharpe", _known_or_why(one.dsr, one.dsr_missing_because)),
        ("Out of sample", _outside_text(one.out_of_sample)),
        ("On noise, before costs", _noise_text(one.noise)),
        ("PBO", _known_or_why(one.pbo, one.pbo_missing_because)),
        ("Trials counted", _trials_text(one)),
        ("Shortest convincing record", f"{math.ceil(track):,} sessions" if track is not None else DASH),
        ("p, adjusted", f"{_p_text(one.p_value)}, {_p_text(one.p_value_adjusted)}"),
        ("Average hold", f"{_plain_number(one.avg_bars_held, 1)} bars, {_plain_number(one.avg_minutes_held, 0)} min"),
        ("Exposure", f"{_plain_number(one.exposure_pct, 2)} % of symbol time"),
        ("Turnover", f"{_plain_number(one.turnover_per_session)} \N{MULTIPLICATION SIGN} equity a session"),
        ("Top five trades", f"{_percent(one.top5_share)} of the profit" if one.top5_share is not None else DASH),
        ("Profit of the book", f"{one.pnl_net_usd:,.0f} $".replace("-", "\N{MINUS SIGN}")),
        ("Capacity", f"{DASH} (needs the impact model)"),
    ]
    return "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts) + "</dl>"


def _options(trades: pl.DataFrame) -> str:
    """The three rungs of fills of an option run side by side; nothing for a run on the underlying."""
    found = summarise_options(trades)
    if found is None:
        return ""
    names = {0.0: "mid", HEADLINE_RUNG: "the touch (headline)", 1.0: "a whole spread beyond mid"}
    rows = "".join(
        f"<tr><th scope=row>{escape(names[rung.spread_share])}</th>{_td(f'{rung.pnl_usd:,.0f} $')}"
        f"{_td(f'{rung.mean_return_pct:,.1f} %')}</tr>"
        for rung in found.rungs
    )
    told = [f"{100.0 * found.model_share:.0f} % of the marks are the model's"]
    if found.withheld:
        told.append("above 20 %, so no rung is a headline")
    if found.unmarked:
        told.append(f"{found.unmarked:,} trades had no mark on one side and are in no rung")
    return (
        f"<div class=breakdown><h3>Options held (n = {found.trades:,})</h3><table>"
        f"{_head('fills at', 'profit', 'mean return on premium')}<tbody>{_typeset(rows)}</tbody></table>"
        f"{_note(_typeset('; '.join(told)) + '.')}</div>"
    )


def _breakdown(one: DetectorSummary, name: str, heading: str) -> str:
    groups = one.breakdowns.get(name, ())
    if not groups:
        return ""
    if all(group.label == UNLABELLED for group in groups):
        if name in ("dte_bucket", "iv_band", "dealer_gamma"):
            return ""
        return (
            f"<div class=breakdown><h3>{escape(heading)} (n = {one.trades:,})</h3>"
            f"{_note('No label was stored for these trades.')}</div>"
        )
    bounds = [
        abs(bound)
        for group in groups
        if not group.thin
        for bound in (group.expectancy.low, group.expectancy.value, group.expectancy.high)
        if bound is not None
    ]
    span = max([0.5, *bounds])
    rows = "".join(
        f"<tr{' class=thin' if group.thin else ''}><th scope=row>{escape(_label_text(name, group.label))}</th>"
        f"{_td(f'{group.trades:,}')}{_td(interval_text(group.expectancy))}"
        f"<td class=mini>{charts.interval_cell(group.expectancy, span, thin=group.thin)}</td>"
        f"{_td(_profit_factor_text(group.profit_factor, group.trades))}{_td(_share_text(group.win_rate))}</tr>"
        for group in groups
    )
    head = _head(heading, "n", _INTERVAL_HEAD, "", "PF", _WIN_RATE_HEAD)
    return (
        f"<div class=breakdown><h3>{escape(heading)} (n = {one.trades:,})</h3>"
        f"<table>{head}<tbody>{rows}</tbody></table></div>"
    )


def _silent_detectors(silent: Sequence[DetectorSummary]) -> str:
    if not silent:
        return ""
    items = "".join(
        f"<li><b>{escape(one.detector)}</b> {escape(one.verdict if not one.testable else 'no trades')}: "
        f"{escape(one.recommendation_because)}</li>"
        for one in silent
    )
    return _section("silent", "Detectors without trades", f"<ul>{items}</ul>")


def _dispositions(ordered: Sequence[DetectorSummary]) -> str:
    seen = {name for one in ordered for name in one.dispositions}
    names = [name for name in DISPOSITIONS if name in seen] + sorted(seen - set(DISPOSITIONS))
    if not names:
        return _note("No detector fired.")
    rows = "".join(
        f"<tr><th scope=row>{escape(one.detector)}</th>{_td(f'{sum(one.dispositions.values()):,}')}"
        + "".join(_td(f"{one.dispositions.get(name, 0):,}" if one.dispositions.get(name) else DASH) for name in names)
        + "</tr>"
        for one in ordered
        if one.dispositions
    )
    head = _head("detector", "signals", *[name.replace("_", " ") for name in names])
    return f"<div class=scroll><table>{head}<tbody>{rows}</tbody></table></div>"


def _coverage(ordered: Sequence[DetectorSummary]) -> str:
    rows = "".join(
        f"<tr{'' if one.testable else ' class=thin'}><th scope=row>{escape(one.detector)}</th>"
        f"{_td(f'{one.coverage.eligible_symbol_sessions:,}')}{_td(f'{one.coverage.covered_symbol_sessions:,}')}"
        f"{_td(_percent(one.coverage.share))}"
        f"<td class=words>{escape(_missing_text(one))}</td>"
        f"<td class=words>{'tested' if one.testable else 'not testable'}</td></tr>"
        for one in ordered
    )
    head = _head("detector", "eligible symbol-sessions", "with every input", "share", "missing inputs", "")
    return f"<div class=scroll><table>{head}<tbody>{rows}</tbody></table></div>" + _note(
        "Below 60 % a detector is not testable; it is never shown as having made no trades."
    )


def _missing_text(one: DetectorSummary) -> str:
    if one.coverage.catalogue_reason is not None:
        return one.coverage.catalogue_reason
    if not one.coverage.eligible_symbol_sessions:
        return "no symbol of its classes"
    return ", ".join(one.coverage.missing_inputs) or DASH


def _assumptions(run: Run) -> str:
    rules = (
        "A signal exists when its bar has ended and its newest input is available; the entry is the open of the first "
        "execution bar after that.",
        "Stop and target hang on the price before costs, so costs never change the path.",
        "Gaps fill at the open in both directions.",
        "When one bar holds both stop and target, finer bars decide; what they leave open follows the path policy "
        "below and is reported as ambiguous.",
        "Each detector has its own book, without compounding; results in R do not depend on the size of a trade.",
        "Sessions without a trade count as zero return in Sharpe, Sortino and drawdown; the cash rate is zero.",
    )
    rows = "".join(
        f"<tr><th scope=row>{escape(str(name))}</th><td class=words>{escape(_value_text(value))}</td></tr>"
        for name, value in run.config.items()
    )
    return (
        "<ul>" + "".join(f"<li>{escape(rule)}</li>" for rule in rules) + "</ul>"
        f"<table class=config><tbody>{rows}</tbody></table>"
    )


def _provenance(run: Run, sessions: Sequence[date]) -> str:
    facts = [
        ("Run", run.run_id),
        ("Data hash", run.data_hash),
        ("Configuration hash", run.config_hash or DASH),
        ("Code version", run.code_version or DASH),
        ("Started", f"{run.started_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"),
        ("Data as of", f"{run.as_of.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if run.as_of else f"close of {run.end}"),
        ("Window", f"{run.start} to {run.end}, {len(sessions):,} sessions"),
        ("Symbols", ", ".join(run.symbols)),
    ]
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd><code>{escape(v)}</code></dd></div>" for k, v in facts)
    return f"<section id=provenance><h2>Provenance</h2><dl class=wide>{rows}</dl></section>"


def _head(*names: str) -> str:
    return "<thead><tr>" + "".join(f"<th scope=col>{escape(name)}</th>" for name in names) + "</tr></thead>"


def _td(words: str) -> str:
    number, bracket, interval = escape(words).partition(" [")
    return f"<td>{number}<span class=ci> [{interval}</span></td>" if bracket else f"<td>{number}</td>"


def _anchor(one: DetectorSummary) -> str:
    return "detector-" + _slug(one.detector)


def _typeset(words: str) -> str:
    """Sentences of the statistics with a typographic minus before numbers."""
    return re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", words)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")


def _label_text(name: str, label: str) -> str:
    return (
        label.replace("_", " ")
        if name in ("time_window", "exit_reason", "regime", "iv_band", "dealer_gamma")
        else label
    )


def _value_text(value: object) -> str:
    plain = _plain(value)
    if isinstance(plain, dict | list):
        return json.dumps(plain, ensure_ascii=False)
    return DASH if plain is None else str(plain)


def _known_or_why(value: float | None, why: str | None) -> str:
    return f"{value:.3f}" if value is not None else f"unknown: {why or DASH}"


def _outside_text(found: OutOfSample | None) -> str:
    if found is None:
        return "not validated: parameters were fixed beforehand"
    return (
        f"{interval_text(found.expectancy)} R, n = {found.trades:,} in {found.folds} folds of {found.method}; "
        f"DSR {_plain_number(found.dsr)}"
    )


def _noise_text(noise: Noise | None) -> str:
    if noise is None:
        return "gauntlet not run"
    return f"{noise.status}: {interval_text(noise.expectancy)} R, n = {noise.trades:,}"


def _trials_text(one: DetectorSummary) -> str:
    different = DASH if one.n_effective is None else f"{one.n_effective:,}"
    return f"{one.n_trials:,} (at least one a detector of the run); clearly different: {different}"


def _blocks_text(one: DetectorSummary) -> str:
    if one.expectancy_blocks.low is None:
        return "not needed: sessions do not carry over"
    return interval_text(one.expectancy_blocks) + " R"


def _plain_number(value: float | None, digits: int = 2) -> str:
    return DASH if value is None else f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{100.0 * value:.1f}{_NO_BREAK}%"


def _share_text(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return DASH
    return f"{100.0 * estimate.value:.0f}{_NO_BREAK}% [{100.0 * estimate.low:.0f}, {100.0 * estimate.high:.0f}]"


def _p_text(p: float | None) -> str:
    if p is None:
        return DASH
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def _profit_factor_text(factor: ProfitFactor, trades: int) -> str:
    if factor.status == "no_losses":
        return f"\N{INFINITY} (n={trades})"
    return DASH if factor.exact is None else f"{factor.exact:,.2f}"


_CSS = """
:root{color-scheme:light;--ink:#17212d;--muted:#566473;--line:#e3e8ee;--faint:#f6f8fa;--steel:#38618c}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:#fff;color:var(--ink);font:15px/1.55 Inter,"Segoe UI",system-ui,-apple-system,"Helvetica Neue",
Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1100px;margin:0 auto;padding:40px 28px 80px}
header{margin-bottom:26px}
.eyebrow{margin:0;color:var(--steel);font-size:12px;font-weight:600;letter-spacing:.09em;text-transform:uppercase}
h1{margin:4px 0 6px;font-size:30px;line-height:1.2;letter-spacing:-.015em}
.lede{margin:0;color:var(--muted)}
h2{margin:0 0 10px;font-size:20px;letter-spacing:-.01em;line-height:1.3}
h3{margin:0 0 4px;font-size:13px}
p{margin:0 0 10px}
.note{color:var(--muted);font-size:13px}
section{margin:0 0 44px}
.verdict{border:1px solid #cfd8e2;border-left:5px solid var(--steel);border-radius:6px;padding:20px 24px 12px;
background:var(--faint)}
.verdict h2{font-size:23px}
.counts{display:flex;flex-wrap:wrap;gap:6px 22px;list-style:none;margin:0 0 12px;padding:0;color:var(--muted);
font-size:13px}
.counts b{color:var(--ink);font-size:17px;margin-right:3px}
svg{display:block;width:100%;height:auto}
figure{margin:0}
.pictures{display:grid;grid-template-columns:1fr 1fr;gap:22px 30px;margin:18px 0 22px}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{padding:5px 6px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:middle}
th{font-weight:400}
tbody th{text-align:left}
thead th{color:var(--muted);font-size:11.5px;font-weight:500;white-space:normal;vertical-align:bottom;
border-bottom:1px solid #b9c4d0}
thead th:first-child{text-align:left}
td.words{text-align:left;white-space:normal}
td.advice,#leaderboard thead th:nth-last-child(-n+2){text-align:left}
.ci{color:var(--muted)}
tr.thin,tr.thin .ci{color:#98a3ae}
td.mini{width:124px;padding:2px 4px}
td.mini svg{width:120px;height:14px}
.scroll{overflow-x:auto}
a{color:inherit;text-decoration-color:#b9c4d0;text-underline-offset:2px}
.chip{display:inline-block;padding:1px 9px;border-radius:10px;font-size:11.5px;font-weight:500;white-space:nowrap;
background:#edf1f5;color:#44525f;vertical-align:middle;letter-spacing:0}
.chip.supported{background:#d9f0ec;color:#0a5c51}
.chip.suggestive{background:#e2ecf7;color:#254f7c}
.chip.not-testable{background:#fff;color:#7b8794;border:1px dashed #b9c4d0}
.detector{border-top:2px solid var(--ink);padding-top:18px}
.place{color:#9caab8;font-weight:400;margin-right:10px}
.warn{margin:0 0 10px;padding:8px 12px 8px 28px;border-radius:5px;background:#fdf5e6;color:#74500f;font-size:13px}
dl{display:grid;grid-template-columns:repeat(3,1fr);gap:0 26px;margin:0 0 22px;font-size:13px}
dl div{padding:5px 0;border-bottom:1px solid var(--line)}
dl.wide{grid-template-columns:1fr 1fr}
dt{color:var(--muted);font-size:11.5px}
dd{margin:0;overflow-wrap:anywhere}
code{font:12.5px/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.breakdowns{columns:2;column-gap:30px}
.breakdown{break-inside:avoid;margin:0 0 20px}
.breakdown thead th:first-child{font-size:0}
.breakdown th,.breakdown td{padding:3px 5px;font-size:12px}
.breakdown td.mini,.breakdown td.mini svg{width:84px}
.config th{color:var(--muted);width:34%}
@media(max-width:820px){.pictures,dl,dl.wide{grid-template-columns:1fr}.breakdowns{columns:1}main{padding:24px 16px}}
@page{size:A4;margin:13mm 12mm}
@media print{
body{font-size:10.5pt;-webkit-print-color-adjust:exact;print-color-adjust:exact}
main{max-width:none;padding:0}
.pictures{grid-template-columns:1fr 1fr;gap:12px 18px}
dl{grid-template-columns:repeat(3,1fr)}
.breakdowns{columns:2}
section.detector{break-before:page}
figure,tr,.verdict,.breakdown,dl div,h2{break-inside:avoid}
h2,h3{break-after:avoid}
thead{display:table-header-group}
.scroll{overflow:visible}
table{font-size:8.5pt}
th,td{padding:3px 4px}
.breakdown th,.breakdown td{font-size:7.5pt;padding:2px 3px}
.breakdown td.mini,.breakdown td.mini svg{width:56px}
a{text-decoration:none}
}
"""
