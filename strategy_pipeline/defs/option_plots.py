"""Pictures of option analytics as SVG text, for asset metadata: smile, volatility history, dealer gamma, flow, regime.

Belongs here: drawing of rows that the tables already hold, frame in and SVG out; the same rows give the same text.
Does not belong here: any computation of what is drawn, and Dagster's wrappers (plots.py).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from strategy_pipeline.backtest.drawing import (
    AMBER,
    AXIS,
    FAINT,
    GAIN,
    GREY,
    GRID,
    INK,
    LOSS,
    MUTED,
    STEEL,
    Canvas,
    Scale,
    date_ticks,
    nothing,
    padded,
    signed,
    spread_out,
    thinned,
    tick_step,
    tick_text,
    ticks,
)
from strategy_pipeline.lake.tables import IV_STATUSES, MARKET_REGIMES
from strategy_pipeline.market import calendar

CONVENTIONS = {"A": "dealers long calls, short puts", "B": "dealers short everything", "C": "signed by customer flow"}
FLOW_BUCKET_MINUTES = 15
MOST_EXPIRIES = 6
MOST_MARKS = 40

_CONVENTION_COLOURS = {"A": STEEL, "B": GREY, "C": AMBER}
_STATUS_COLOURS = {
    "ok": STEEL, "wide_quote": "#7fa3c7", "low_vega": AMBER, "at_intrinsic": "#8a6fb0", "below_intrinsic": LOSS,
    "above_upper": LOSS, "no_convergence": INK, "missing_input": INK, "crossed": LOSS, "stale": "#8c6d31",
    "zero_bid": GREY, "no_good_quote": FAINT, "expired": GRID,
}  # fmt: skip
# Red for falling, green for rising, the stronger the darker; sideways in between.
_REGIME_COLOURS = {
    "CAPITULATION": "#5e1224", "EUPHORIA": "#7a4fa3", "BREAKDOWN": "#a5281b", "BREAKOUT": "#0b7a6c",
    "STRONG_DOWNTREND": "#cf5a3c", "STRONG_UPTREND": "#2f9c6a", "WEAK_DOWNTREND": "#e8a08a", "WEAK_UPTREND": "#9ccfae",
    "CHOPPY_BEARISH": "#e3c48f", "CHOPPY_BULLISH": "#cbd98c", "RANGE_BOUND": "#b9c6d4",
}  # fmt: skip
_WIDTH = 760.0
_DOT, _TIMES = "\N{MIDDLE DOT}", "\N{MULTIPLICATION SIGN}"


def gex_by_strike(exposure: pl.DataFrame, convention: str = "A") -> str:
    """Dealer gamma of calls and puts at each strike, with the underlying, the flip and the walls.

    exposure: rows of gamma_exposure_snapshots of one symbol; the newest snapshot is drawn.
    """
    row = _newest(exposure, convention)
    canvas = _canvas(386.0, f"Gamma by strike {_DOT} {_subject(row)}", f"Convention {convention}.")
    if row is None or not row["gex_by_strike"]:
        return nothing(canvas, "nothing priced")
    _line_of(
        canvas,
        f"$ of delta per 1 % move {_DOT} convention {convention}: {CONVENTIONS[convention]} {_DOT} {_quality(row)}",
    )
    spot = row["underlying_price"]
    bars = [bar for bar in row["gex_by_strike"] if 0.8 * spot <= bar[0] <= 1.2 * spot] or row["gex_by_strike"]
    strikes = [bar[0] for bar in bars]
    low, high = padded(min(*strikes, spot), max(*strikes, spot))
    sizes = [0.0, *(value for bar in bars for value in bar[1:])]
    left, right, top, bottom = 58.0, _WIDTH - 12.0, 104.0, 346.0
    across, up = Scale(low, high, left, right), Scale(*padded(min(sizes), max(sizes)), bottom, top)
    _money_grid(canvas, up, left, right)
    gap = min((b - a for a, b in pairwise(strikes)), default=(high - low) / 20.0)
    width = min(14.0, max(1.6, 0.8 * (across(low + gap) - across(low))))
    # Under A calls rise and puts fall; under B and C both may point the same way and stand side by side.
    share = 1.0 if convention == "A" else 0.5
    for strike, call, put in bars:
        for value, colour, shift in ((call, GAIN, -0.5), (put, LOSS, -0.5 if share == 1.0 else 0.0)):
            if value:
                edge = up(max(value, 0.0))
                height = up(min(value, 0.0)) - edge
                canvas.rect(across(strike) + shift * width, edge, share * width, height, colour, 0.85)
    canvas.line(left, up(0.0), right, up(0.0), INK, 1.1)
    for tick in ticks(low, high, tick_step(low, high, 9)):
        canvas.text(across(tick), bottom + 17, tick_text(tick, tick_step(low, high, 9)), MUTED, 10.5, "middle")
    _levels(canvas, row, across, (left, right, top, bottom))
    canvas.text(right, bottom + 32, "strike, $", FAINT, 10.5, "end")
    _legend(canvas, left, bottom + 32, [(GAIN, "calls"), (LOSS, "puts")])
    return canvas.svg()


def gamma_curves(profile: pl.DataFrame, exposure: pl.DataFrame) -> str:
    """G(x) under the three sign conventions, with every root and the one that is the flip.

    profile: rows as analytics.gamma_exposure.gamma_profile makes them; exposure: the same snapshots' table rows. The
    newest snapshot is drawn.
    """
    row = _newest(exposure, "A")
    canvas = _canvas(360.0, f"Gamma along the price {_DOT} {_subject(row)}", "G(x) under conventions A, B and C.")
    shown = profile.filter(pl.col("snapshot_at") == row["snapshot_at"]) if row is not None else profile.clear()
    if row is None or shown.is_empty():
        return nothing(canvas, "nothing can be re-priced")
    _line_of(canvas, "G(x), $ of delta per 1 % move; volatility stays at its strike; rings: roots, discs: the flip")
    left, right, top, bottom = 58.0, _WIDTH - 216.0, 62.0, 322.0
    prices, values = shown["price"].to_numpy(), shown["gex_usd_per_1pct"].to_numpy()
    across = Scale(float(prices.min()), float(prices.max()), left, right)
    up = Scale(*padded(min(0.0, float(values.min())), max(0.0, float(values.max()))), bottom, top)
    _money_grid(canvas, up, left, right)
    _price_axis(canvas, across, bottom)
    canvas.line(left, up(0.0), right, up(0.0), INK, 1.1)
    canvas.line(across(row["underlying_price"]), top, across(row["underlying_price"]), bottom, INK, 1.0, "2 3")
    canvas.text(across(row["underlying_price"]) + 4, top + 2, f"S {row['underlying_price']:,.2f}", INK, 10.5, halo=True)
    ends, labels = [], []
    for convention in CONVENTIONS:
        part = shown.filter(pl.col("sign_convention").cast(pl.String) == convention)
        if part.is_empty():
            continue
        colour = _CONVENTION_COLOURS[convention]
        points = thinned(part["price"].to_numpy(), part["gex_usd_per_1pct"].to_numpy())
        canvas.polyline([(across(x), up(y)) for x, y in points], colour, 1.8, "5 3" if convention == "B" else "")
        of = _newest(exposure, convention)
        for root in (of or {}).get("gamma_flip_roots") or []:
            is_flip = of is not None and root == of["gamma_flip"]
            canvas.circle(across(root), up(0.0), 4.2, colour if is_flip else "#fff", colour, 1.6)
        ends.append(up(points[-1][1]))
        flip = None if of is None else of["gamma_flip"]
        says = f"flip {flip:,.2f}" if flip is not None else (of["flip_status"] if of is not None else "")
        labels.append((f"{convention} {CONVENTIONS[convention]}", says.replace("_", " "), colour))
    order = sorted(range(len(ends)), key=lambda at: ends[at])
    placed = spread_out([ends[at] for at in order], 32.0, top + 6, bottom - 14)
    for y, at in zip(placed, order, strict=True):
        words, says, colour = labels[at]
        canvas.text(right + 10, y, words, colour if colour != GREY else MUTED, 11, weight=600)
        canvas.text(right + 10, y + 13, says, MUTED, 10.5)
    agreement = {True: "A and C agree", False: "A and C disagree: ambiguous", None: "no flow to check A against"}
    canvas.text(
        right + 10, bottom + 17, agreement[row["agreement"]], LOSS if row["agreement"] is False else MUTED, 10.5
    )
    return canvas.svg()


def smiles(chain: pl.DataFrame) -> str:
    """Implied volatility over moneyness for up to six expiries, with the quotes' error and the status of every row.

    chain: rows of historical_greeks of one symbol; the newest snapshot is drawn. Bars run from iv_bid to iv_ask, or
    iv -+ iv_err; rows without a volatility stand as ticks below the axis in the colour of their status.
    """
    if chain.is_empty():
        return nothing(_canvas(300.0, "Smile (n = 0)", ""), "no chain")
    rows = chain.filter(pl.col("snapshot_at") == chain["snapshot_at"].max()).with_columns(
        pl.col("iv_status", "option_type").cast(pl.String)
    )
    live = rows.filter(pl.col("minutes_to_expiry") > 0.0).sort("strike", "option_type", "contract_ticker")
    counts = Counter(rows["iv_status"].to_list())
    with_iv = live.group_by("expiration").agg(known=pl.col("iv").is_not_null().sum(), total=pl.len()).sort("expiration")
    expiries = with_iv.filter(pl.col("known") > 0)["expiration"].to_list()
    places = sorted({round(x) for x in np.linspace(0, len(expiries) - 1, MOST_EXPIRIES)}) if expiries else []
    chosen = [expiries[at] for at in places]
    panel_height, lines = 190.0, max(1, math.ceil(len(chosen) / 3))
    first = rows.row(0, named=True)
    head = f"Smile {_DOT} {first['symbol']} {_moment(first['snapshot_at'])} (n = {rows.height:,})"
    canvas = _canvas(56.0 + panel_height * lines + 46.0, head, ", ".join(f"{k}: {v}" for k, v in counts.items()))
    _line_of(canvas, f"implied volatility, %, by ln(K/F); bars: bid to ask; {_spread_words(chosen, expiries)}")
    if not expiries:
        return nothing(canvas, "no volatility")
    shown = live.filter(pl.col("expiration").is_in(chosen))
    volatilities = shown["iv"].drop_nulls().to_numpy() * 100.0
    ceiling = float(np.quantile(volatilities, 0.98)) * 1.1
    for at, expiration in enumerate(chosen):
        x, y = 4.0 + at % 3 * 252.0, 44.0 + at // 3 * panel_height
        part = shown.filter(pl.col("expiration") == expiration)
        _smile_panel(canvas, part, (x + 30.0, x + 240.0, y + 20.0, y + panel_height - 34.0), ceiling)
    present = [status for status in IV_STATUSES[::-1] if counts.get(status)]
    entries = [(_STATUS_COLOURS[status], f"{status.replace('_', ' ')} {counts[status]:,}") for status in present]
    y = 44.0 + panel_height * lines + 14.0
    _legend(canvas, 4.0, y, entries)
    canvas.circle(8.0, y + 15.0, 1.8, MUTED)
    canvas.text(18.0, y + 19.0, "call", MUTED, 10.5)
    canvas.line(53.6, y + 15.0, 58.4, y + 15.0, MUTED, 1.4)
    canvas.text(66.0, y + 19.0, "put", MUTED, 10.5)
    return canvas.svg()


def volatility_history(history: pl.DataFrame) -> str:
    """30-day at-the-money volatility over sessions, inside the range of the 252 sessions before each.

    history: rows of iv_percentile_cache of one symbol. Hollow points are sessions whose volatility is not `ok`.
    """
    rows = history.sort("session")
    symbol = rows["symbol"][0] if rows.height else ""
    canvas = _canvas(330.0, f"Implied volatility {_DOT} {symbol} (n = {rows.height:,} sessions)", "")
    known = rows.filter(pl.col("cm30_atm_iv").is_not_null())
    if known.is_empty():
        return nothing(canvas, "no volatility")
    last = known.row(-1, named=True)
    _line_of(canvas, "30-day at-the-money volatility, %; band: range of the 252 sessions before; dashes: their mean")
    names = ("cm30_atm_iv", "iv_252d_low", "iv_252d_high", "iv_252d_mean")
    series = {name: rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() * 100.0 for name in names}
    sessions = rows["session"].to_list()
    left, right, top, bottom = 46.0, _WIDTH - 150.0, 58.0, 296.0
    everything = np.concatenate(list(series.values()))
    low, high = padded(float(np.nanmin(everything)), float(np.nanmax(everything)))
    across, up = Scale(0.0, float(max(1, rows.height - 1)), left, right), Scale(max(0.0, low), high, bottom, top)
    _number_grid(canvas, up, left, right)
    for part in _runs(np.isfinite(series["iv_252d_low"]) & np.isfinite(series["iv_252d_high"])):
        outline = [(across(float(i)), up(float(series["iv_252d_high"][i]))) for i in part]
        outline += [(across(float(i)), up(float(series["iv_252d_low"][i]))) for i in reversed(part)]
        canvas.area(outline, STEEL, 0.12)
    _curve(canvas, series["iv_252d_mean"], across, up, FAINT, 1.1, "4 3")
    _curve(canvas, series["cm30_atm_iv"], across, up, STEEL, 1.8)
    unsure = rows.select((pl.col("cm30_status").cast(pl.String) != "ok") & pl.col("cm30_atm_iv").is_not_null())
    for i in np.flatnonzero(unsure.to_series().to_numpy()).tolist()[-MOST_MARKS:]:
        canvas.circle(across(float(i)), up(float(series["cm30_atm_iv"][i])), 2.8, "#fff", AMBER, 1.2)
    at = sessions.index(last["session"])
    canvas.circle(across(float(at)), up(last["cm30_atm_iv"] * 100.0), 4.0, STEEL)
    says = [f"{last['session']:%d %b %Y}", f"{last['cm30_atm_iv'] * 100.0:.1f} %"]
    for name, label in (("iv_rank_pct", "rank"), ("iv_percentile_pct", "percentile")):
        says.append(f"{label} {last[name]:.0f}" if last[name] is not None else f"{label} unknown")
    says += [str(last[name]).replace("_", " ").lower() for name in ("iv_regime", "iv_trend") if last[name] is not None]
    says.append(f"history {last['history_status'].replace('_', ' ')} ({last['n_history']})")
    for line, words in enumerate(says):
        canvas.text(right + 14, top + 14 + 17 * line, words, INK if line == 1 else MUTED, 16 if line == 1 else 11)
    _session_axis(canvas, sessions, across, bottom)
    return canvas.svg()


def flow_timeline(prints: pl.DataFrame) -> str:
    """Premium by side in quarters of an hour, its running balance, unsigned premium below, sweeps and blocks above.

    prints: rows of options_flow_history of one symbol and session, whole tape; what has no side is shown as such.
    """
    if prints.is_empty():
        return nothing(_canvas(360.0, "Options flow (n = 0 prints)", ""), "no prints")
    day: date = prints["session"].max()  # type: ignore[assignment]
    rows = prints.filter(pl.col("session") == day).with_columns(pl.col("sentiment", "trade_type").cast(pl.String))
    hours = calendar.session(day)
    minutes = (pl.col("sip_timestamp") - hours.open).dt.total_seconds() / 60.0
    bucket = (minutes // FLOW_BUCKET_MINUTES).cast(pl.Int64).clip(0, hours.minutes // FLOW_BUCKET_MINUTES - 1)
    rows = rows.with_columns(_minute=minutes.clip(0.0, float(hours.minutes)), _bucket=bucket).sort("sip_timestamp")
    buckets = hours.minutes // FLOW_BUCKET_MINUTES
    sums = {side: _premium(rows, [side], buckets) for side in ("BULLISH", "BEARISH")}
    unsigned = _premium(rows, ["UNKNOWN", "NEUTRAL"], buckets)
    balance = np.concatenate([[0.0], np.cumsum(sums["BULLISH"] - sums["BEARISH"])])
    total = float(rows["premium_usd"].sum())
    share = 100.0 * float(unsigned.sum()) / total if total else 0.0
    symbol = rows["symbol"][0]
    head = f"Options flow {_DOT} {symbol} {day:%d %b %Y} (n = {rows.height:,} prints)"
    canvas = _canvas(392.0, head, f"Premium ${total:,.0f}, {share:.1f} % of it without a side.")
    _line_of(canvas, f"premium in quarters of an hour, $; {share:.0f} % of premium has no side")
    left, right, top, middle, floor, bottom = 76.0, _WIDTH - 60.0, 84.0, 268.0, 286.0, 344.0
    across = Scale(0.0, float(hours.minutes), left, right)
    peak = max(float(sums["BULLISH"].max()), float(sums["BEARISH"].max()), 1.0)
    up = Scale(*padded(-peak, peak), middle, top)
    _money_grid(canvas, up, left, right)
    down = Scale(0.0, max(1.0, float(unsigned.max())) * 1.1, floor, bottom)
    for at in range(buckets):
        x, width = across(float(at * FLOW_BUCKET_MINUTES)) + 1.0, across(float(FLOW_BUCKET_MINUTES)) - left - 2.0
        canvas.rect(x, up(float(sums["BULLISH"][at])), width, up(0.0) - up(float(sums["BULLISH"][at])), GAIN, 0.75)
        canvas.rect(x, up(0.0), width, up(-float(sums["BEARISH"][at])) - up(0.0), LOSS, 0.75)
        canvas.rect(x, floor, width, down(float(unsigned[at])) - floor, GREY, 0.8)
    canvas.line(left, up(0.0), right, up(0.0), INK, 1.1)
    reach = max(1.0, float(np.abs(balance).max()))
    of_balance = Scale(-1.06 * reach, 1.06 * reach, middle, top)
    times = [min(float(at * FLOW_BUCKET_MINUTES), float(hours.minutes)) for at in range(buckets + 1)]
    canvas.polyline([(across(t), of_balance(float(b))) for t, b in zip(times, balance, strict=True)], INK, 1.6)
    canvas.text(
        right + 6, of_balance(float(balance[-1])) + 4, _money(float(balance[-1]), plus=True), INK, 10.5, weight=600
    )
    canvas.text(left + 4, bottom - 4, "no side", FAINT, 10.5, halo=True)
    canvas.text(left - 6, floor + 10, _money(float(unsigned.max())), MUTED, 10.5, "end")
    _flow_marks(canvas, rows, across, 60.0)
    for minute in range(0, hours.minutes + 1, 60 if hours.minutes > 240 else 30):
        moment = (hours.open + timedelta(minutes=minute)).astimezone(calendar.NEW_YORK)
        canvas.line(across(float(minute)), bottom, across(float(minute)), bottom + 4, AXIS)
        canvas.text(across(float(minute)), bottom + 17, f"{moment:%H:%M}", MUTED, 10.5, "middle")
    entries = [
        (GAIN, "bullish"),
        (LOSS, "bearish"),
        (GREY, "unknown or neutral"),
        (INK, "balance so far, on its own scale"),
    ]
    _legend(canvas, left, bottom + 36, entries)
    return canvas.svg()


def regime_ribbon(regimes: pl.DataFrame, prices: pl.DataFrame) -> str:
    """Price over sessions with the regime of each as a ribbon below, the surer the stronger its colour.

    regimes: rows of market_regime_history; prices: session and close ($) of the index or fund to draw.
    """
    rows = regimes.sort("session").with_columns(pl.col("market_regime").cast(pl.String))
    canvas = _canvas(372.0, f"Market regime (n = {rows.height:,} sessions)", "")
    if rows.is_empty():
        return nothing(canvas, "no sessions")
    closes = dict(prices.select("session", "close").iter_rows())
    sessions = rows["session"].to_list()
    values = np.array([closes.get(day) or math.nan for day in sessions], dtype=float)
    _line_of(canvas, "close, $, logarithmic; the paler a day of the ribbon, the less sure its label")
    left, right, top, floor, bottom = 58.0, _WIDTH - 12.0, 44.0, 232.0, 262.0
    across = Scale(0.0, float(max(1, rows.height)), left, right)
    if np.isfinite(values).any():
        low, high = padded(float(np.nanmin(np.log(values))), float(np.nanmax(np.log(values))))
        up = Scale(low, high, floor - 10, top)
        step = tick_step(math.exp(low), math.exp(high), 8)
        for tick in ticks(math.exp(low), math.exp(high), step):
            canvas.line(left, up(math.log(tick)), right, up(math.log(tick)), GRID)
            canvas.text(left - 6, up(math.log(tick)) + 4, tick_text(tick, step), MUTED, 10.5, "end")
        _curve(canvas, np.log(values), Scale(-0.5, rows.height - 0.5, left, right), up, INK, 1.5)
    labels = rows["market_regime"].to_list()
    sureness = [round((value if value is not None else 0.0) * 4.0) / 4.0 for value in rows["confidence"].to_list()]
    start = 0
    for at in range(1, len(labels) + 1):
        # Days of one label and one step of confidence are one rectangle.
        if at < len(labels) and (labels[at], sureness[at]) == (labels[start], sureness[start]):
            continue
        colour = _REGIME_COLOURS.get(labels[start] or "", "#ffffff")
        opacity = 0.35 + 0.65 * sureness[start] if labels[start] else 1.0
        canvas.rect(
            across(float(start)), floor, across(float(at)) - across(float(start)), bottom - floor, colour, opacity
        )
        start = at
    canvas.polyline([(left, floor), (right, floor), (right, bottom), (left, bottom), (left, floor)], AXIS, 0.8)
    _session_axis(canvas, sessions, Scale(-0.5, rows.height - 0.5, left, right), bottom)
    counts = Counter(label for label in labels if label)
    entries = [
        (_REGIME_COLOURS[label], f"{label.replace('_', ' ').lower()} {counts[label]:,}") for label in MARKET_REGIMES
    ]
    for at, (colour, words) in enumerate(entries):
        x, y = left + at % 4 * 172.0, bottom + 44.0 + at // 4 * 19.0
        canvas.rect(x, y - 9, 11, 11, colour, 1.0, 2.0)
        canvas.text(x + 17, y, words, MUTED if words[-2:] != " 0" else FAINT, 11)
    return canvas.svg()


def _canvas(height: float, head: str, description: str) -> Canvas:
    canvas = Canvas(_WIDTH, height, head, description)
    canvas.text(0, 15, head, INK, 14, weight=600)
    return canvas


def _line_of(canvas: Canvas, words: str) -> None:
    canvas.text(0, 33, words, FAINT, 11)


def _newest(exposure: pl.DataFrame, convention: str) -> dict[str, Any] | None:
    rows = exposure.filter(pl.col("sign_convention").cast(pl.String) == convention).sort("snapshot_at")
    return rows.row(-1, named=True) if rows.height else None


def _moment(instant: datetime) -> str:
    return f"{instant.astimezone(calendar.NEW_YORK):%d %b %Y %H:%M} ET"


def _subject(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "(n = 0 contracts)"
    return f"{row['symbol']} {_moment(row['snapshot_at'])} (n = {row['contracts_used']:,} contracts)"


def _quality(row: Mapping[str, Any]) -> str:
    return f"{row['status'].replace('_', ' ')}, {row['oi_coverage_pct']:.0f} % of open interest priced"


def _money(value: float, *, plus: bool = False) -> str:
    """Dollars in thousands, millions or billions: 48.4M."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return (signed(value / size, 1) if plus or value < 0.0 else f"{value / size:.1f}") + unit
    return signed(value, 0) if plus or value < 0.0 else f"{value:.0f}"


def _money_grid(canvas: Canvas, up: Scale, left: float, right: float) -> None:
    for tick in ticks(up.low, up.high, tick_step(up.low, up.high, 8)):
        canvas.line(left, up(tick), right, up(tick), GRID)
        canvas.text(left - 6, up(tick) + 4, _money(tick), MUTED, 10.5, "end")


def _number_grid(canvas: Canvas, up: Scale, left: float, right: float, wanted: int = 5) -> None:
    step = tick_step(up.low, up.high, wanted)
    for tick in ticks(up.low, up.high, step):
        canvas.line(left, up(tick), right, up(tick), GRID)
        canvas.text(left - 5, up(tick) + 4, tick_text(tick, step), MUTED, 10.5, "end")


def _price_axis(canvas: Canvas, across: Scale, bottom: float) -> None:
    step = tick_step(across.low, across.high, 7)
    for tick in ticks(across.low, across.high, step):
        canvas.line(across(tick), bottom, across(tick), bottom + 4, AXIS)
        canvas.text(across(tick), bottom + 17, tick_text(tick, step), MUTED, 10.5, "middle")


def _session_axis(canvas: Canvas, sessions: Sequence[date], across: Scale, bottom: float) -> None:
    for index, label in date_ticks(sessions):
        x = across(float(index))
        canvas.line(x, bottom, x, bottom + 4, AXIS)
        canvas.text(min(x, across.end - 14), bottom + 17, label, MUTED, 10.5, "middle")


def _legend(canvas: Canvas, x: float, y: float, entries: Sequence[tuple[str, str]]) -> None:
    for colour, words in entries:
        canvas.rect(x, y - 9, 10, 10, colour, 1.0, 2.0)
        canvas.text(x + 15, y, words, MUTED, 10.5)
        x += 32.0 + 5.6 * len(words)


def _levels(canvas: Canvas, row: Mapping[str, Any], across: Scale, frame: tuple[float, float, float, float]) -> None:
    """Vertical lines at the underlying, the flip and the walls, with their names in rows that do not collide."""
    left, right, top, bottom = frame
    named = [
        (row["underlying_price"], f"S {row['underlying_price']:,.2f}", INK, ""),
        (row["gamma_flip"], f"flip {row['gamma_flip'] or 0.0:,.2f}", AMBER, "5 3"),
        (row["call_wall"], f"call wall {row['call_wall'] or 0.0:g}", GAIN, "2 3"),
        (row["put_wall"], f"put wall {row['put_wall'] or 0.0:g}", LOSS, "2 3"),
    ]
    ends: list[float] = []
    texts = []
    for price, words, colour, dash in sorted((one for one in named if one[0] is not None), key=lambda one: one[0]):
        if not across.low <= price <= across.high:
            continue
        x, width = across(price), 6.4 * len(words)
        start = min(max(x - 0.5 * width, left), right - width)
        level = next((at for at, end in enumerate(ends) if start > end + 6.0), len(ends))
        ends[level : level + 1] = [start + width]
        y = top - 8 - 14 * level
        canvas.line(x, y + 3, x, bottom, colour, 1.3, dash)
        texts.append((start, y, words, colour))
    for start, y, words, colour in texts:
        canvas.text(start, y, words, colour, 10.5, weight=600, halo=True)


def _smile_panel(canvas: Canvas, part: pl.DataFrame, frame: tuple[float, float, float, float], ceiling: float) -> None:
    left, right, top, bottom = frame
    first = part.row(0, named=True)
    forward = part["forward"].drop_nulls()
    base = forward[0] if len(forward) else first["underlying_price"]
    rows = part.with_columns(_k=(pl.col("strike") / base).log())
    known = rows.filter(pl.col("iv").is_not_null())
    reach = float(known["_k"].abs().quantile(0.97) or 0.0) + 0.02
    across, up = Scale(-reach, reach, left, right), Scale(0.0, ceiling, bottom, top)
    canvas.text(left, top - 8, f"{first['expiration']:%d %b %Y}, {first['dte']} d", INK, 11, weight=600)
    canvas.text(right, top - 8, f"{known.height} of {part.height}", FAINT, 10.5, "end")
    _number_grid(canvas, up, left, right, 4)
    canvas.line(across(0.0), top, across(0.0), bottom, AXIS, 1.0, "2 3")
    step = tick_step(-reach, reach, 4)
    for tick in ticks(-reach, reach, step):
        canvas.text(across(tick), bottom + 24, tick_text(tick, step), MUTED, 10, "middle")
    canvas.line(left, bottom, right, bottom, AXIS)
    inside = rows.filter(pl.col("_k").abs() <= reach)
    drawn = ("_k", "iv", "iv_bid", "iv_ask", "iv_err", "iv_status", "option_type")
    bars, rug, calls, puts = defaultdict(list), defaultdict(list), defaultdict(list), defaultdict(list)
    for k, iv, bid, ask, error, status, side in inside.select(drawn).iter_rows():
        x, colour = across(k), _STATUS_COLOURS[status]
        if iv is None:
            rug[colour].append((x, bottom + 3, x, bottom + 11))
            continue
        if error is not None and (bid is None or ask is None):
            bid, ask = iv - error, iv + error
        if bid is not None and ask is not None:
            bars[colour].append((x, up.clamped(bid * 100.0), x, up.clamped(ask * 100.0)))
        if iv * 100.0 <= ceiling:
            y = up(iv * 100.0)
            if side == "call":
                calls[colour].append((x, y, x, y))
            else:
                puts[colour].append((x - 2.4, y, x + 2.4, y))
    for lines, width, cap in ((bars, 0.8, "butt"), (rug, 1.1, "butt"), (calls, 3.6, "round"), (puts, 1.4, "butt")):
        for colour, of_colour in lines.items():
            canvas.strokes(of_colour, colour, width, cap)


def _spread_words(chosen: Sequence[date], expiries: Sequence[date]) -> str:
    return f"{len(chosen)} of {len(expiries)} expiries"


def _premium(rows: pl.DataFrame, sides: Sequence[str], buckets: int) -> Any:
    part = rows.filter(pl.col("sentiment").is_in(sides))
    return np.bincount(part["_bucket"].to_numpy(), part["premium_usd"].to_numpy(), buckets)


def _flow_marks(canvas: Canvas, rows: pl.DataFrame, across: Callable[[float], float], y: float) -> None:
    """The largest sweeps and blocks as marks above the bars; a filled one has a known side."""
    colours = {"BULLISH": GAIN, "BEARISH": LOSS}
    for kind, line in (("SWEEP", y), ("BLOCK", y + 14.0)):
        of_kind = rows.filter(pl.col("trade_type") == kind)
        canvas.text(68.0, line + 4, f"{kind.lower()}s {of_kind.height:,}", FAINT, 10.5, "end")
        largest = of_kind.sort("premium_usd", descending=True, maintain_order=True).head(MOST_MARKS)
        top = float(largest["premium_usd"].max() or 1.0)  # type: ignore[arg-type]
        for minute, premium, side in largest.select("_minute", "premium_usd", "sentiment").iter_rows():
            radius = 1.6 + 4.0 * math.sqrt(premium / top)
            colour = colours.get(side, GREY)
            canvas.circle(across(minute), line, radius, colour if side in colours else "#fff", colour, 1.1)


def _curve(canvas: Canvas, values: Any, across: Scale, up: Scale, colour: str, width: float, dash: str = "") -> None:
    """A line through the finite values, broken where they are missing."""
    for part in _runs(np.isfinite(values)):
        at = np.array(part, dtype=float)
        canvas.polyline([(across(x), up(y)) for x, y in thinned(at, values[part])], colour, width, dash)


def _runs(known: Any) -> list[list[int]]:
    """Indices of consecutive true values, run by run."""
    places = np.flatnonzero(known)
    cuts = np.flatnonzero(np.diff(places) > 1) + 1
    return [part.tolist() for part in np.split(places, cuts) if len(part)]
