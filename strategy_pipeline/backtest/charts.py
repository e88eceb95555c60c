"""Pictures of backtest results as plain SVG text: the same values always give the same characters.

Belongs here: drawing of numbers that are already computed. Does not belong here: statistics, words of verdicts, files.
Every chart names n in its title, shows zero and the interval, and greys what rests on fewer than 20 trades.
"""

import math
from collections.abc import Sequence
from datetime import date

import numpy as np

from strategy_pipeline.backtest.drawing import (
    AMBER,
    AXIS,
    DASH,
    FAINT,
    GAIN,
    GREY,
    GRID,
    INK,
    LOSS,
    MAXIMUM_POINTS,
    MUTED,
    STEEL,
    Canvas,
    Scale,
    date_ticks,
    horizontal_grid,
    nothing,
    padded,
    signed,
    spread_out,
    thinned,
    tick_step,
    tick_text,
    ticks,
)
from strategy_pipeline.backtest.estimates import Drawdown, Estimate, FloatArray, drawdown_path, equity_curve
from strategy_pipeline.backtest.statistics import (
    MINIMUM_SESSIONS_FOR_INTERVAL,
    MINIMUM_TRADES_OF_A_GROUP,
    CostPoint,
    DetectorSummary,
)

HISTOGRAM_BIN_R = 0.25
HISTOGRAM_RANGE_R = (-3.0, 5.0)

_CARD_WIDTH, _CARD_HEIGHT = 480.0, 272.0


def interval_text(estimate: Estimate, digits: int = 2) -> str:
    """``+0.12 [-0.05, +0.29]``; the value alone where there is no interval."""
    if estimate.value is None:
        return DASH
    if estimate.low is None or estimate.high is None:
        return signed(estimate.value, digits)
    return f"{signed(estimate.value, digits)} [{signed(estimate.low, digits)}, {signed(estimate.high, digits)}]"


def forest_plot(summaries: Sequence[DetectorSummary], *, title: str = "") -> str:
    """Expectancy of every detector with its 95 % interval on one axis, worst lower bound last, untestable ones below.

    Small circles stand for the same trades before costs; an amber bracket is the range from worst to best fills
    where it is the headline.
    """
    rows = forest_order(summaries)
    label_width, n_end, plot_start, plot_end, row_height = 196.0, 246.0, 270.0, 742.0, 26.0
    top, width = 62.0, 940.0
    bottom = top + row_height * max(1, len(rows))
    tested = [row for row in rows if row.testable]
    trades = sum(row.trades for row in tested)
    head = title or f"Expectancy after costs with 95 % interval, R per trade (n = {trades:,} trades)"
    canvas = Canvas(
        width,
        bottom + 66.0,
        head,
        "; ".join(
            f"{row.detector}: {interval_text(row.expectancy)} R, n = {row.trades}" for row in rows if row.testable
        ),
    )
    canvas.text(0, 16, head, INK, 14, weight=600)
    for index in range(1, len(rows), 2):
        canvas.rect(0, top + row_height * index, width, row_height, "#f7f9fb")
    low, high = _forest_span(rows)
    scale = Scale(low, high, plot_start, plot_end)
    step = tick_step(low, high, 7)
    for tick in ticks(low, high, step):
        canvas.line(scale(tick), top - 6, scale(tick), bottom + 4, GRID)
        canvas.text(scale(tick), bottom + 20, tick_text(tick, step), MUTED, 11, "middle")
    canvas.text(n_end, top - 16, "n", FAINT, 11, "end")
    canvas.text(plot_end + 22, top - 16, "mean R [95 % interval]", FAINT, 11)
    if low < 0.0 < high:
        canvas.text(scale(0.0) - 8, top - 16, "loses", LOSS, 11, "end")
        canvas.text(scale(0.0) + 8, top - 16, "earns", GAIN, 11)
    canvas.line(scale(0.0), top - 12, scale(0.0), bottom + 6, INK, 1.3)
    for index, row in enumerate(rows):
        y = top + row_height * (index + 0.5)
        _forest_row(canvas, row, y, scale, label_width, n_end, plot_end)
    _forest_legend(canvas, bottom + 48.0)
    return canvas.svg()


def gauntlet_forest(summaries: Sequence[DetectorSummary]) -> str:
    """Expectancy before costs on the real market and, in grey below it, on noise, for detectors that ran on both."""
    rows = [row for row in forest_order(summaries) if row.noise is not None and row.testable]
    n_end, plot_start, plot_end, row_height, top, width = 246.0, 270.0, 700.0, 34.0, 62.0, 940.0
    bottom = top + row_height * max(1, len(rows))
    trades = sum(row.noise.trades for row in rows if row.noise is not None)
    head = f"Before costs: the market (colour) and noise (grey), R per trade (n = {trades:,} trades on noise)"
    told = [
        f"{row.detector}: {interval_text(row.expectancy_gross)} R, on noise {interval_text(row.noise.expectancy)} R, "
        f"{row.noise.status}"
        for row in rows
        if row.noise is not None
    ]
    canvas = Canvas(width, bottom + 36.0, head, "; ".join(told))
    canvas.text(0, 16, head, INK, 14, weight=600)
    bounds = [0.0]
    for row in rows:
        solid = [row.expectancy_gross] if row.trades >= MINIMUM_TRADES_OF_A_GROUP else []
        for estimate in (*solid, *([row.noise.expectancy] if row.noise is not None else [])):
            bounds += [bound for bound in (estimate.low, estimate.value, estimate.high) if bound is not None]
    low, high = padded(min(bounds), max(bounds))
    scale = Scale(low, high, plot_start, plot_end)
    step = tick_step(low, high, 7)
    for tick in ticks(low, high, step):
        canvas.line(scale(tick), top - 6, scale(tick), bottom + 4, GRID)
        canvas.text(scale(tick), bottom + 20, tick_text(tick, step), MUTED, 11, "middle")
    canvas.line(scale(0.0), top - 12, scale(0.0), bottom + 6, INK, 1.3)
    canvas.text(n_end, top - 16, "n on noise", FAINT, 11, "end")
    canvas.text(plot_end + 22, top - 16, "mean R on noise [95 % interval]", FAINT, 11)
    for index, row in enumerate(rows):
        noise = row.noise
        assert noise is not None
        y = top + row_height * (index + 0.5)
        canvas.text(4, y + 4, row.detector, INK, 12)
        canvas.text(n_end, y + 4, f"{noise.trades:,}", INK, 12, "end")
        colour = _verdict_colour(row.expectancy_gross)
        for estimate, height, paint in ((row.expectancy_gross, y - 6, colour), (noise.expectancy, y + 6, GREY)):
            if estimate.value is None:
                continue
            if estimate.low is not None and estimate.high is not None:
                canvas.line(
                    scale.clamped(estimate.low), height, scale.clamped(estimate.high), height, paint, 3.0, cap="round"
                )
            if scale.low <= estimate.value <= scale.high:
                canvas.circle(scale(estimate.value), height, 4.0, paint)
        words = f"{interval_text(noise.expectancy)} {noise.status}"
        canvas.text(plot_end + 22, y + 4, words, LOSS if noise.status == "failed" else MUTED, 12)
    return canvas.svg()


def forest_order(summaries: Sequence[DetectorSummary]) -> list[DetectorSummary]:
    """Best lower bound first; then without interval, without trades, and not testable; names break ties."""

    def key(row: DetectorSummary) -> tuple[int, float, str]:
        if not row.testable:
            return 3, 0.0, row.detector
        if row.expectancy.value is None:
            return 2, 0.0, row.detector
        if row.expectancy.low is None:
            return 1, -row.expectancy.value, row.detector
        return 0, -row.expectancy.low, row.detector

    return sorted(summaries, key=key)


def equity_chart(
    sessions: Sequence[date],
    daily_pnl_usd: FloatArray,
    initial_equity_usd: float,
    drawdown: Drawdown,
    *,
    trades: int,
    title: str = "Equity and drawdown",
    fold_starts: Sequence[date] = (),
) -> str:
    """Book value in % of the initial equity over sessions, with the drawdown from its peak below.

    The grey cone is where 95 % of books without an edge but with the same daily spread would be at each session. A
    dashed line marks each session of `fold_starts`, where parameters chosen on other sessions begin to act.
    """
    head = f"{title} (n = {trades:,})"
    canvas = Canvas(
        _CARD_WIDTH,
        _CARD_HEIGHT,
        head,
        f"Book value in percent of the initial equity over {len(sessions)} sessions; deepest drawdown "
        f"{drawdown.percent:.2f} %.",
    )
    canvas.text(0, 14, head, INK, 13, weight=600)
    if not len(sessions):
        return nothing(canvas, "no sessions")
    equity = equity_curve(daily_pnl_usd, initial_equity_usd)
    gain = (equity / initial_equity_usd - 1.0) * 100.0
    depth = drawdown_path(equity)
    steps = np.arange(equity.size, dtype=float)
    spread = float(np.std(daily_pnl_usd, ddof=1)) / initial_equity_usd * 100.0 if daily_pnl_usd.size > 1 else 0.0
    cone = 1.96 * spread * np.sqrt(steps)
    left, right, top, middle, floor, bottom = 46.0, _CARD_WIDTH - 8.0, 42.0, 176.0, 192.0, 246.0
    low, high = padded(min(float(gain.min()), -float(cone[-1]), 0.0), max(float(gain.max()), float(cone[-1]), 0.0))
    across = Scale(0.0, float(max(1, equity.size - 1)), left, right)
    up = Scale(low, high, middle, top)
    colour = GREY if trades < MINIMUM_TRADES_OF_A_GROUP else STEEL
    horizontal_grid(canvas, up, low, high, left, right)
    if spread > 0.0:
        shown = np.unique(np.linspace(0, equity.size - 1, min(equity.size, 40)).astype(int))
        outline = [(across(float(i)), up(float(cone[i]))) for i in shown]
        outline += [(across(float(i)), up(float(-cone[i]))) for i in reversed(shown)]
        canvas.area(outline, FAINT, 0.13)
    canvas.line(left, up(0.0), right, up(0.0), INK, 1.1)
    place = {day: index for index, day in enumerate(sessions)}
    for number, day in enumerate(fold_starts, start=1):
        x = across(float(place[day]))
        canvas.line(x, top, x, bottom, AMBER, 1.0, "3 3")
        canvas.text(x + 3, top + 9, str(number), AMBER, 10, halo=True)
    canvas.polyline([(across(x), up(y)) for x, y in thinned(steps, gain)], colour, 1.8)
    canvas.text(0, 30, "% of initial equity; grey: 95 % of books without an edge", FAINT, 10.5)
    deepest = min(float(depth.min()), -1e-9)
    down = Scale(deepest * 1.08, 0.0, bottom, floor)
    points = [(across(x), down(y)) for x, y in thinned(steps, depth)]
    canvas.area([(left, down(0.0)), *points, (right, down(0.0))], LOSS if colour == STEEL else GREY, 0.22)
    canvas.polyline(points, LOSS if colour == STEEL else GREY, 1.1)
    canvas.line(left, down(0.0), right, down(0.0), AXIS, 1.0)
    canvas.text(left - 6, floor + 4, "0", MUTED, 10.5, "end")
    if drawdown.percent < 0.0:
        canvas.text(left - 6, bottom, signed(drawdown.percent, 1), MUTED, 10.5, "end")
        valley = int(np.argmin(depth))
        canvas.circle(across(float(valley)), down(float(depth[valley])), 2.6, LOSS if colour == STEEL else GREY)
    canvas.text(left + 4, bottom - 3, "drawdown, %", FAINT, 10.5, halo=True)
    for index, label in date_ticks(sessions):
        x = across(float(index + 1))
        canvas.line(x, bottom, x, bottom + 4, AXIS)
        canvas.text(min(x, right - 14), bottom + 17, label, MUTED, 10.5, "middle")
    return canvas.svg()


def r_histogram(r: FloatArray, expectancy: Estimate, *, title: str = "Result per trade") -> str:
    """How many trades ended in each quarter of an R after costs, with the mean and its interval; tails are gathered."""
    head = f"{title} (n = {r.size:,})"
    canvas = Canvas(_CARD_WIDTH, _CARD_HEIGHT, head, f"Histogram of R after costs; mean {interval_text(expectancy)} R.")
    canvas.text(0, 14, head, INK, 13, weight=600)
    canvas.text(0, 30, "trades per quarter R after costs; band: 95 % interval of the mean", FAINT, 10.5)
    if r.size == 0:
        return nothing(canvas, "no trades")
    lower, upper = HISTOGRAM_RANGE_R
    first = max(lower, math.floor(float(r.min()) / HISTOGRAM_BIN_R) * HISTOGRAM_BIN_R)
    last = min(upper, (math.floor(float(r.max()) / HISTOGRAM_BIN_R) + 1) * HISTOGRAM_BIN_R)
    first, last = min(first, -1.5), max(last, 1.5)
    bins = round((last - first) / HISTOGRAM_BIN_R)
    place = np.clip(np.floor((r - first) / HISTOGRAM_BIN_R + 1e-9).astype(int), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    left, right, top, bottom = 46.0, _CARD_WIDTH - 8.0, 58.0, 238.0
    across = Scale(first, last, left, right)
    up = Scale(0.0, float(counts.max()) * 1.06, bottom, top)
    step = max(1.0, tick_step(0.0, float(counts.max()), 4))
    for tick in ticks(0.0, float(counts.max()), step):
        canvas.line(left, up(tick), right, up(tick), GRID)
        canvas.text(left - 6, up(tick) + 4, f"{tick:.0f}", MUTED, 10.5, "end")
    thin = r.size < MINIMUM_TRADES_OF_A_GROUP
    for index, count in enumerate(counts.tolist()):
        if not count:
            continue
        start = first + index * HISTOGRAM_BIN_R
        colour = GREY if thin else (LOSS if start < 0.0 else GAIN)
        x = across(start)
        canvas.rect(
            x + 0.6, up(count), across(start + HISTOGRAM_BIN_R) - x - 1.2, bottom - up(count), colour, 0.78, 1.0
        )
    canvas.line(left, bottom, right, bottom, AXIS)
    of_mean = GREY if thin else STEEL
    if expectancy.low is not None and expectancy.high is not None:
        start, end = across.clamped(expectancy.low), across.clamped(expectancy.high)
        canvas.rect(start, top - 4, end - start, bottom - top + 4, of_mean, 0.18)
    canvas.line(across(0.0), top - 4, across(0.0), bottom + 4, INK, 1.1)
    if expectancy.value is not None:
        x = across.clamped(expectancy.value)
        canvas.line(x, top - 4, x, bottom, of_mean, 1.8)
        near_end = x > right - 150
        canvas.text(
            x - 6 if near_end else x + 6,
            top + 4,
            f"mean {interval_text(expectancy)}",
            MUTED if thin else STEEL,
            10.5,
            "end" if near_end else "start",
            600,
            True,
        )
    for tick in ticks(first, last, 1.0):
        label = tick_text(tick, 1.0)
        if float(r.max()) >= upper and tick == upper:
            label = f"\N{GREATER-THAN OR EQUAL TO} {label}"
        if float(r.min()) < lower and tick == lower:
            label = f"\N{LESS-THAN OR EQUAL TO} {label}"
        canvas.text(across(tick), bottom + 17, label, MUTED, 10.5, "middle")
    canvas.text(right, bottom + 31, "R", FAINT, 10.5, "end")
    return canvas.svg()


def fill_fan(
    worst: FloatArray, net: FloatArray, best: FloatArray, *, ambiguous: int, title: str = "Fill policy"
) -> str:
    """Cumulative R in the order of the trades if every ambiguous bar had gone badly, as filled, and well."""
    n = net.size
    head = f"{title} (n = {n:,})"
    share = 100.0 * ambiguous / n if n else 0.0
    canvas = Canvas(
        _CARD_WIDTH, _CARD_HEIGHT, head, f"Cumulative R under worst, used and best fills; {share:.1f} % ambiguous."
    )
    canvas.text(0, 14, head, INK, 13, weight=600)
    canvas.text(0, 30, f"cumulative R, worst to best fills; {ambiguous:,} ambiguous ({share:.1f} %)", FAINT, 10.5)
    if n == 0:
        return nothing(canvas, "no trades")
    paths = {
        name: np.concatenate([[0.0], np.cumsum(r)]) for name, r in (("worst", worst), ("used", net), ("best", best))
    }
    left, right, top, bottom = 46.0, _CARD_WIDTH - 112.0, 46.0, 242.0
    low, high = padded(
        min(0.0, *(float(path.min()) for path in paths.values())),
        max(0.0, *(float(path.max()) for path in paths.values())),
    )
    across = Scale(0.0, float(n), left, right)
    up = Scale(low, high, bottom, top)
    horizontal_grid(canvas, up, low, high, left, right)
    steps = np.arange(n + 1, dtype=float)
    thin = n < MINIMUM_TRADES_OF_A_GROUP
    shown = np.unique(np.linspace(0, n, min(n + 1, MAXIMUM_POINTS)).astype(int))
    if ambiguous:
        outline = [(across(float(i)), up(float(paths["best"][i]))) for i in shown]
        outline += [(across(float(i)), up(float(paths["worst"][i]))) for i in reversed(shown)]
        canvas.area(outline, GREY if thin else AMBER, 0.18)
        for name, colour in (("best", GAIN), ("worst", LOSS)):
            canvas.polyline(
                [(across(float(i)), up(float(paths[name][i]))) for i in shown], GREY if thin else colour, 1.1, "3 3"
            )
    canvas.line(left, up(0.0), right, up(0.0), INK, 1.1)
    canvas.polyline([(across(x), up(y)) for x, y in thinned(steps, paths["used"])], GREY if thin else STEEL, 1.8)
    ends = [("used", "as filled", STEEL)]
    if ambiguous:
        ends = [("best", "best", GAIN), ("used", "as filled", STEEL), ("worst", "worst", LOSS)]
    ys = spread_out([up(float(paths[name][-1])) for name, _, _ in ends], 14.0, top, bottom)
    for y, (name, words, colour) in zip(ys, ends, strict=True):
        canvas.text(
            right + 8, y + 4, f"{words} {signed(float(paths[name][-1]), 1)}", MUTED if thin else colour, 11, weight=600
        )
    step = max(1.0, tick_step(0.0, float(n), 4))
    for tick in ticks(0.0, float(n), step):
        canvas.text(across(tick), bottom + 17, f"{tick:,.0f}", MUTED, 10.5, "middle")
    canvas.text(right + 32, bottom + 17, "trades", FAINT, 10.5)
    return canvas.svg()


def cost_curve(costs: Sequence[CostPoint], *, trades: int, title: str = "Cost sensitivity") -> str:
    """Expectancy with its interval against a multiple of the assumed costs; exact, since costs do not move the path."""
    head = f"{title} (n = {trades:,})"
    canvas = Canvas(
        _CARD_WIDTH,
        _CARD_HEIGHT,
        head,
        "; ".join(f"{point.multiple:g} times costs: {interval_text(point.expectancy)} R" for point in costs),
    )
    canvas.text(0, 14, head, INK, 13, weight=600)
    canvas.text(0, 30, "mean R with 95 % interval, by multiple of the assumed costs", FAINT, 10.5)
    known = [point for point in costs if point.expectancy.value is not None]
    if not known:
        return nothing(canvas, "no trades")
    values = [point.expectancy.value or 0.0 for point in known]
    lows = [
        point.expectancy.low if point.expectancy.low is not None else v for point, v in zip(known, values, strict=True)
    ]
    highs = [
        point.expectancy.high if point.expectancy.high is not None else v
        for point, v in zip(known, values, strict=True)
    ]
    left, right, top, bottom = 52.0, _CARD_WIDTH - 24.0, 50.0, 238.0
    low, high = padded(min(0.0, *lows), max(0.0, *highs))
    across = Scale(known[0].multiple, known[-1].multiple, left, right)
    up = Scale(low, high, bottom, top)
    colour = GREY if trades < MINIMUM_TRADES_OF_A_GROUP else STEEL
    horizontal_grid(canvas, up, low, high, left, right)
    xs = [across(point.multiple) for point in known]
    canvas.area(
        [(x, up(y)) for x, y in zip(xs, highs, strict=True)]
        + [(x, up(y)) for x, y in reversed(list(zip(xs, lows, strict=True)))],
        colour,
        0.15,
    )
    canvas.line(left, up(0.0), right, up(0.0), INK, 1.1)
    canvas.polyline([(x, up(y)) for x, y in zip(xs, values, strict=True)], colour, 2.0)
    for x, point, value, one_low, one_high in zip(xs, known, values, lows, highs, strict=True):
        canvas.line(x, up(one_low), x, up(one_high), colour, 1.4)
        canvas.circle(x, up(value), 3.6, "#fff" if point.multiple != 1.0 else colour, colour)
        canvas.text(x, bottom + 17, f"{point.multiple:g}\N{MULTIPLICATION SIGN}", MUTED, 10.5, "middle")
        anchor = "start" if x < left + 5 else ("end" if x > right - 5 else "middle")
        shift = {"start": 7.0, "end": -7.0, "middle": 0.0}[anchor]
        canvas.text(
            x + shift, up(value) - 9, signed(value), colour if colour == STEEL else MUTED, 10.5, anchor, 600, True
        )
    before, after = values[0], values[-1]
    if before > 0.0 > after:
        multiple = known[0].multiple + before / (before - after) * (known[-1].multiple - known[0].multiple)
        canvas.circle(across(multiple), up(0.0), 3.2, "#fff", LOSS)
        canvas.text(
            right, bottom + 31, f"nothing left at {multiple:.2f}\N{MULTIPLICATION SIGN} the costs", LOSS, 10.5, "end"
        )
    return canvas.svg()


def interval_cell(estimate: Estimate, span_r: float, *, thin: bool) -> str:
    """A small picture for a table cell: the interval on an axis from -span to +span with zero in the middle."""
    width, height = 120.0, 14.0
    canvas = Canvas(width, height, f"{interval_text(estimate)} R", "")
    scale = Scale(-span_r, span_r, 2.0, width - 2.0)
    canvas.line(scale(0.0), 0, scale(0.0), height, AXIS, 1.0)
    if estimate.value is not None:
        colour = GREY if thin else _verdict_colour(estimate)
        if estimate.low is not None and estimate.high is not None:
            canvas.line(scale.clamped(estimate.low), 7, scale.clamped(estimate.high), 7, colour, 2.2, cap="round")
        canvas.circle(scale.clamped(estimate.value), 7, 3.0, "#fff" if thin else colour, colour)
    return canvas.svg()


def _forest_row(
    canvas: Canvas,
    row: DetectorSummary,
    y: float,
    scale: Scale,
    label_width: float,
    n_end: float,
    plot_end: float,
) -> None:
    thin = row.trades < MINIMUM_TRADES_OF_A_GROUP or not row.testable
    name = row.detector if len(row.detector) <= 30 else row.detector[:29] + "\N{HORIZONTAL ELLIPSIS}"
    canvas.text(4, y + 4, name, FAINT if thin else INK, 12)
    if not row.testable:
        canvas.text(n_end, y + 4, DASH, FAINT, 12, "end")
        canvas.text(plot_end + 22, y + 4, "not testable", FAINT, 11)
        return
    canvas.text(n_end, y + 4, f"{row.trades:,}", FAINT if thin else INK, 12, "end")
    estimate = row.expectancy
    if estimate.value is None:
        canvas.text(plot_end + 22, y + 4, "no trades", FAINT, 11)
        return
    colour = GREY if thin else _verdict_colour(estimate)
    if estimate.low is not None and estimate.high is not None:
        start, end = scale.clamped(estimate.low), scale.clamped(estimate.high)
        canvas.line(start, y, end, y, colour, 3.0, "5 4" if thin else "", "butt" if thin else "round")
        for bound, x, way in ((estimate.low, start, -1.0), (estimate.high, end, 1.0)):
            if not scale.low <= bound <= scale.high:
                canvas.area([(x + 6 * way, y), (x - way, y - 5), (x - way, y + 5)], colour, 1.0)
    if row.headline_is_fill_range and row.headline.low is not None and row.headline.high is not None:
        start, end = scale.clamped(row.headline.low), scale.clamped(row.headline.high)
        canvas.polyline([(start, y + 5), (start, y + 8), (end, y + 8), (end, y + 5)], AMBER, 1.4)
    if row.expectancy_gross.value is not None and scale.low <= row.expectancy_gross.value <= scale.high:
        canvas.circle(scale(row.expectancy_gross.value), y, 2.6, "#fff", FAINT, 1.2)
    if scale.low <= estimate.value <= scale.high:
        canvas.circle(scale(estimate.value), y, 4.6, "#fff" if thin else colour, colour, 1.8)
    elif estimate.low is None:
        edge, way = (scale.end, 1.0) if estimate.value > scale.high else (scale.start, -1.0)
        canvas.area([(edge + 6 * way, y), (edge - way, y - 5), (edge - way, y + 5)], colour, 1.0)
    words = interval_text(row.expectancy)
    if estimate.low is None:
        words += f" (< {MINIMUM_SESSIONS_FOR_INTERVAL} sessions)"
    elif row.headline_is_fill_range:
        words = f"[{signed(row.headline.low)}, {signed(row.headline.high)}] fills"
    canvas.text(plot_end + 22, y + 4, words, FAINT if thin else (AMBER if row.headline_is_fill_range else colour), 12)


def _forest_legend(canvas: Canvas, y: float) -> None:
    x = 4.0
    for colour, words in ((GAIN, "interval above zero"), (STEEL, "contains zero"), (LOSS, "below zero")):
        canvas.line(x, y - 4, x + 18, y - 4, colour, 3.0, cap="round")
        canvas.circle(x + 9, y - 4, 4.0, colour)
        canvas.text(x + 25, y, words, MUTED, 11)
        x += 44 + 5.8 * len(words)
    canvas.line(x, y - 4, x + 18, y - 4, GREY, 3.0, "5 4")
    canvas.circle(x + 9, y - 4, 4.0, "#fff", GREY)
    canvas.text(x + 25, y, f"fewer than {MINIMUM_TRADES_OF_A_GROUP} trades", MUTED, 11)
    x += 160
    canvas.circle(x + 4, y - 4, 2.6, "#fff", FAINT, 1.2)
    canvas.text(x + 13, y, "before costs", MUTED, 11)
    x += 100
    canvas.polyline([(x, y - 8), (x, y - 5), (x + 18, y - 5), (x + 18, y - 8)], AMBER, 1.4)
    canvas.text(x + 25, y, "worst to best fills (> 5 % ambiguous)", MUTED, 11)


def _forest_span(rows: Sequence[DetectorSummary]) -> tuple[float, float]:
    """Axis limits from the rows that count; thin rows may run off the axis and get an arrow."""
    solid = [row for row in rows if row.testable and row.trades >= MINIMUM_TRADES_OF_A_GROUP] or list(rows)
    bounds = [0.0]
    for row in solid:
        for estimate in (row.headline, row.expectancy, Estimate(row.expectancy_gross.value, None, None)):
            bounds += [bound for bound in (estimate.low, estimate.value, estimate.high) if bound is not None]
    return padded(min(bounds), max(bounds))


def _verdict_colour(estimate: Estimate) -> str:
    if estimate.above_zero:
        return GAIN
    return LOSS if estimate.below_zero else STEEL
