"""Pictures of backtest results as plain SVG text: the same values always give the same characters.

Belongs here: drawing of numbers that are already computed. Does not belong here: statistics, words of verdicts, files.
Every chart names n in its title, shows zero and the interval, and greys what rests on fewer than 20 trades.
"""

import base64
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from xml.sax.saxutils import escape

import numpy as np

from strategy_pipeline.backtest.statistics import (
    MINIMUM_SESSIONS_FOR_INTERVAL,
    MINIMUM_TRADES_OF_A_GROUP,
    CostPoint,
    DetectorSummary,
    Drawdown,
    Estimate,
    FloatArray,
    drawdown_path,
    equity_curve,
)

INK = "#17212d"
MUTED = "#566473"
FAINT = "#8794a2"
GRID = "#e6ebf0"
AXIS = "#9caab8"
GAIN = "#0b7a6c"
LOSS = "#b5432b"
STEEL = "#38618c"
AMBER = "#b7791f"
GREY = "#aab4bf"
FONT = "Inter,'Segoe UI',system-ui,-apple-system,'Helvetica Neue',Arial,sans-serif"
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
HISTOGRAM_BIN_R = 0.25
HISTOGRAM_RANGE_R = (-3.0, 5.0)
# More points than pixels add bytes, not information.
MAXIMUM_POINTS = 320

_CARD_WIDTH, _CARD_HEIGHT = 480.0, 272.0


def signed(value: float | None, digits: int = 2) -> str:
    """``+0.12`` or ``-0.05`` with a typographic minus; a dash for what is missing."""
    if value is None:
        return DASH
    text = f"{value:+.{digits}f}"
    if float(text) == 0.0:
        text = f"{0.0:.{digits}f}"
    return text.replace("-", MINUS)


def interval_text(estimate: Estimate, digits: int = 2) -> str:
    """``+0.12 [-0.05, +0.29]``; the value alone where there is no interval."""
    if estimate.value is None:
        return DASH
    if estimate.low is None or estimate.high is None:
        return signed(estimate.value, digits)
    return f"{signed(estimate.value, digits)} [{signed(estimate.low, digits)}, {signed(estimate.high, digits)}]"


def svg_data_uri(svg: str) -> str:
    """An SVG as a ``data:`` address, for Markdown in places that show pictures but not inline SVG."""
    size = re.match(r'<svg viewBox="0 0 (\S+) (\S+)"', svg)
    width, height = size.groups() if size else ("640", "360")
    # Alone it has no page around it: size and paper must be its own.
    alone = svg.replace(
        "<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" ', 1
    ).replace('style="', 'style="background:#fff;', 1)
    return "data:image/svg+xml;base64," + base64.b64encode(alone.encode()).decode()


def markdown_image(svg: str, alternative: str) -> str:
    """A Markdown image that carries its SVG inside."""
    text = alternative.replace("[", "(").replace("]", ")").replace("\n", " ")
    return f"![{text}]({svg_data_uri(svg)})"


@dataclass(slots=True)
class _Canvas:
    """Collects SVG elements; coordinates are rounded to a tenth of a pixel."""

    width: float
    height: float
    title: str
    description: str
    parts: list[str] = field(default_factory=list)

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.0, dash: str = "", cap: str = ""
    ) -> None:
        more = (f' stroke-dasharray="{dash}"' if dash else "") + (f' stroke-linecap="{cap}"' if cap else "")
        self.parts.append(
            f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" stroke="{colour}" '
            f'stroke-width="{_n(width)}"{more}/>'
        )

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str, opacity: float = 1.0, radius: float = 0.0
    ) -> None:
        more = (f' fill-opacity="{opacity:.2f}"' if opacity < 1.0 else "") + (f' rx="{_n(radius)}"' if radius else "")
        self.parts.append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(max(0.0, width))}" height="{_n(max(0.0, height))}" '
            f'fill="{fill}"{more}/>'
        )

    def polyline(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1.6, dash: str = "") -> None:
        more = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<path d="{_path(points)}" fill="none" stroke="{colour}" stroke-width="{_n(width)}" '
            f'stroke-linejoin="round" stroke-linecap="round"{more}/>'
        )

    def area(self, points: Sequence[tuple[float, float]], fill: str, opacity: float) -> None:
        self.parts.append(f'<path d="{_path(points)}Z" fill="{fill}" fill-opacity="{opacity:.2f}"/>')

    def circle(self, x: float, y: float, radius: float, fill: str, stroke: str = "", width: float = 1.5) -> None:
        more = f' stroke="{stroke}" stroke-width="{_n(width)}"' if stroke else ""
        self.parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" fill="{fill}"{more}/>')

    def text(
        self,
        x: float,
        y: float,
        words: str,
        colour: str = MUTED,
        size: float = 11.0,
        anchor: str = "start",
        weight: int = 400,
        halo: bool = False,
    ) -> None:
        more = (f' text-anchor="{anchor}"' if anchor != "start" else "") + (
            f' font-weight="{weight}"' if weight != 400 else ""
        )
        if halo:
            more += ' stroke="#fff" stroke-width="3" stroke-linejoin="round" paint-order="stroke"'
        self.parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" fill="{colour}" font-size="{_n(size)}"{more}>{escape(words)}</text>'
        )

    def svg(self) -> str:
        quoted = escape(self.title, {'"': "&quot;"})
        return (
            f'<svg viewBox="0 0 {_n(self.width)} {_n(self.height)}" role="img" aria-label="{quoted}" '
            f'font-family="{FONT}" style="font-variant-numeric:tabular-nums">'
            f"<title>{escape(self.title)}</title><desc>{escape(self.description)}</desc>"
            + "".join(self.parts)
            + "</svg>"
        )


@dataclass(frozen=True, slots=True)
class _Scale:
    """A linear map of data to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def clamped(self, value: float) -> float:
        return self(min(max(value, self.low), self.high))


def forest_plot(summaries: Sequence[DetectorSummary], *, title: str = "") -> str:
    """Expectancy of every detector with its 95 % interval on one axis, worst lower bound last, untestable ones below.

    Small circles stand for the same trades before costs; an amber bracket is the range from worst to best fills
    where it is the headline.
    """
    rows = forest_order(summaries)
    label_width, n_end, plot_start, plot_end, row_height = 196.0, 246.0, 270.0, 742.0, 26.0
    top, width = 62.0, 940.0
    bottom = top + row_height * max(1, len(rows))
    trades = sum(row.trades for row in rows)
    head = title or f"Expectancy after costs with 95 % interval, R per trade (n = {trades:,} trades)"
    canvas = _Canvas(
        width,
        bottom + 66.0,
        head,
        "; ".join(f"{row.detector}: {interval_text(row.expectancy)} R, n = {row.trades}" for row in rows),
    )
    canvas.text(0, 16, head, INK, 14, weight=600)
    for index in range(1, len(rows), 2):
        canvas.rect(0, top + row_height * index, width, row_height, "#f7f9fb")
    low, high = _forest_span(rows)
    scale = _Scale(low, high, plot_start, plot_end)
    step = _tick_step(low, high, 7)
    for tick in _ticks(low, high, step):
        canvas.line(scale(tick), top - 6, scale(tick), bottom + 4, GRID)
        canvas.text(scale(tick), bottom + 20, _tick_text(tick, step), MUTED, 11, "middle")
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
) -> str:
    """Book value in % of the initial equity over sessions, with the drawdown from its peak below.

    The grey cone is where 95 % of books without an edge but with the same daily spread would be at each session.
    """
    head = f"{title} (n = {trades:,})"
    canvas = _Canvas(
        _CARD_WIDTH,
        _CARD_HEIGHT,
        head,
        f"Book value in percent of the initial equity over {len(sessions)} sessions; deepest drawdown "
        f"{drawdown.percent:.2f} %.",
    )
    canvas.text(0, 14, head, INK, 13, weight=600)
    if not len(sessions):
        return _nothing(canvas, "no sessions")
    equity = equity_curve(daily_pnl_usd, initial_equity_usd)
    gain = (equity / initial_equity_usd - 1.0) * 100.0
    depth = drawdown_path(equity)
    steps = np.arange(equity.size, dtype=float)
    spread = float(np.std(daily_pnl_usd, ddof=1)) / initial_equity_usd * 100.0 if daily_pnl_usd.size > 1 else 0.0
    cone = 1.96 * spread * np.sqrt(steps)
    left, right, top, middle, floor, bottom = 46.0, _CARD_WIDTH - 8.0, 42.0, 176.0, 192.0, 246.0
    low, high = _padded(min(float(gain.min()), -float(cone[-1]), 0.0), max(float(gain.max()), float(cone[-1]), 0.0))
    across = _Scale(0.0, float(max(1, equity.size - 1)), left, right)
    up = _Scale(low, high, middle, top)
    colour = GREY if trades < MINIMUM_TRADES_OF_A_GROUP else STEEL
    _horizontal_grid(canvas, up, low, high, left, right, "%")
    if spread > 0.0:
        shown = np.unique(np.linspace(0, equity.size - 1, min(equity.size, 40)).astype(int))
        outline = [(across(float(i)), up(float(cone[i]))) for i in shown]
        outline += [(across(float(i)), up(float(-cone[i]))) for i in reversed(shown)]
        canvas.area(outline, FAINT, 0.13)
    canvas.line(left, up(0.0), right, up(0.0), INK, 1.1)
    canvas.polyline([(across(x), up(y)) for x, y in _thinned(steps, gain)], colour, 1.8)
    canvas.text(0, 30, "% of initial equity; grey: 95 % of books without an edge", FAINT, 10.5)
    deepest = min(float(depth.min()), -1e-9)
    down = _Scale(deepest * 1.08, 0.0, bottom, floor)
    points = [(across(x), down(y)) for x, y in _thinned(steps, depth)]
    canvas.area([(left, down(0.0)), *points, (right, down(0.0))], LOSS if colour == STEEL else GREY, 0.22)
    canvas.polyline(points, LOSS if colour == STEEL else GREY, 1.1)
    canvas.line(left, down(0.0), right, down(0.0), AXIS, 1.0)
    canvas.text(left - 6, floor + 4, "0", MUTED, 10.5, "end")
    if drawdown.percent < 0.0:
        canvas.text(left - 6, bottom, signed(drawdown.percent, 1), MUTED, 10.5, "end")
        valley = int(np.argmin(depth))
        canvas.circle(across(float(valley)), down(float(depth[valley])), 2.6, LOSS if colour == STEEL else GREY)
    canvas.text(left + 4, bottom - 3, "drawdown, %", FAINT, 10.5, halo=True)
    for index, label in _date_ticks(sessions):
        x = across(float(index + 1))
        canvas.line(x, bottom, x, bottom + 4, AXIS)
        canvas.text(min(x, right - 14), bottom + 17, label, MUTED, 10.5, "middle")
    return canvas.svg()


def r_histogram(r: FloatArray, expectancy: Estimate, *, title: str = "Result per trade") -> str:
    """How many trades ended in each quarter of an R after costs, with the mean and its interval; tails are gathered."""
    head = f"{title} (n = {r.size:,})"
    canvas = _Canvas(
        _CARD_WIDTH, _CARD_HEIGHT, head, f"Histogram of R after costs; mean {interval_text(expectancy)} R."
    )
    canvas.text(0, 14, head, INK, 13, weight=600)
    canvas.text(0, 30, "trades per quarter R after costs; band: 95 % interval of the mean", FAINT, 10.5)
    if r.size == 0:
        return _nothing(canvas, "no trades")
    lower, upper = HISTOGRAM_RANGE_R
    first = max(lower, math.floor(float(r.min()) / HISTOGRAM_BIN_R) * HISTOGRAM_BIN_R)
    last = min(upper, (math.floor(float(r.max()) / HISTOGRAM_BIN_R) + 1) * HISTOGRAM_BIN_R)
    first, last = min(first, -1.5), max(last, 1.5)
    bins = round((last - first) / HISTOGRAM_BIN_R)
    place = np.clip(np.floor((r - first) / HISTOGRAM_BIN_R + 1e-9).astype(int), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    left, right, top, bottom = 46.0, _CARD_WIDTH - 8.0, 58.0, 238.0
    across = _Scale(first, last, left, right)
    up = _Scale(0.0, float(counts.max()) * 1.06, bottom, top)
    step = max(1.0, _tick_step(0.0, float(counts.max()), 4))
    for tick in _ticks(0.0, float(counts.max()), step):
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
    for tick in _ticks(first, last, 1.0):
        label = _tick_text(tick, 1.0)
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
    canvas = _Canvas(
        _CARD_WIDTH, _CARD_HEIGHT, head, f"Cumulative R under worst, used and best fills; {share:.1f} % ambiguous."
    )
    canvas.text(0, 14, head, INK, 13, weight=600)
    canvas.text(0, 30, f"cumulative R, worst to best fills; {ambiguous:,} ambiguous ({share:.1f} %)", FAINT, 10.5)
    if n == 0:
        return _nothing(canvas, "no trades")
    paths = {
        name: np.concatenate([[0.0], np.cumsum(r)]) for name, r in (("worst", worst), ("used", net), ("best", best))
    }
    left, right, top, bottom = 46.0, _CARD_WIDTH - 112.0, 46.0, 242.0
    low, high = _padded(
        min(0.0, *(float(path.min()) for path in paths.values())),
        max(0.0, *(float(path.max()) for path in paths.values())),
    )
    across = _Scale(0.0, float(n), left, right)
    up = _Scale(low, high, bottom, top)
    _horizontal_grid(canvas, up, low, high, left, right, "")
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
    canvas.polyline([(across(x), up(y)) for x, y in _thinned(steps, paths["used"])], GREY if thin else STEEL, 1.8)
    ends = [("used", "as filled", STEEL)]
    if ambiguous:
        ends = [("best", "best", GAIN), ("used", "as filled", STEEL), ("worst", "worst", LOSS)]
    ys = _spread([up(float(paths[name][-1])) for name, _, _ in ends], 14.0, top, bottom)
    for y, (name, words, colour) in zip(ys, ends, strict=True):
        canvas.text(
            right + 8, y + 4, f"{words} {signed(float(paths[name][-1]), 1)}", MUTED if thin else colour, 11, weight=600
        )
    step = max(1.0, _tick_step(0.0, float(n), 4))
    for tick in _ticks(0.0, float(n), step):
        canvas.text(across(tick), bottom + 17, f"{tick:,.0f}", MUTED, 10.5, "middle")
    canvas.text(right + 32, bottom + 17, "trades", FAINT, 10.5)
    return canvas.svg()


def cost_curve(costs: Sequence[CostPoint], *, trades: int, title: str = "Cost sensitivity") -> str:
    """Expectancy with its interval against a multiple of the assumed costs; exact, since costs do not move the path."""
    head = f"{title} (n = {trades:,})"
    canvas = _Canvas(
        _CARD_WIDTH,
        _CARD_HEIGHT,
        head,
        "; ".join(f"{point.multiple:g} times costs: {interval_text(point.expectancy)} R" for point in costs),
    )
    canvas.text(0, 14, head, INK, 13, weight=600)
    canvas.text(0, 30, "mean R with 95 % interval, by multiple of the assumed costs", FAINT, 10.5)
    known = [point for point in costs if point.expectancy.value is not None]
    if not known:
        return _nothing(canvas, "no trades")
    values = [point.expectancy.value or 0.0 for point in known]
    lows = [
        point.expectancy.low if point.expectancy.low is not None else v for point, v in zip(known, values, strict=True)
    ]
    highs = [
        point.expectancy.high if point.expectancy.high is not None else v
        for point, v in zip(known, values, strict=True)
    ]
    left, right, top, bottom = 52.0, _CARD_WIDTH - 24.0, 50.0, 238.0
    low, high = _padded(min(0.0, *lows), max(0.0, *highs))
    across = _Scale(known[0].multiple, known[-1].multiple, left, right)
    up = _Scale(low, high, bottom, top)
    colour = GREY if trades < MINIMUM_TRADES_OF_A_GROUP else STEEL
    _horizontal_grid(canvas, up, low, high, left, right, "")
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
    canvas = _Canvas(width, height, f"{interval_text(estimate)} R", "")
    scale = _Scale(-span_r, span_r, 2.0, width - 2.0)
    canvas.line(scale(0.0), 0, scale(0.0), height, AXIS, 1.0)
    if estimate.value is not None:
        colour = GREY if thin else _verdict_colour(estimate)
        if estimate.low is not None and estimate.high is not None:
            canvas.line(scale.clamped(estimate.low), 7, scale.clamped(estimate.high), 7, colour, 2.2, cap="round")
        canvas.circle(scale.clamped(estimate.value), 7, 3.0, "#fff" if thin else colour, colour)
    return canvas.svg()


def _forest_row(
    canvas: _Canvas,
    row: DetectorSummary,
    y: float,
    scale: _Scale,
    label_width: float,
    n_end: float,
    plot_end: float,
) -> None:
    thin = row.trades < MINIMUM_TRADES_OF_A_GROUP
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


def _forest_legend(canvas: _Canvas, y: float) -> None:
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
    return _padded(min(bounds), max(bounds))


def _verdict_colour(estimate: Estimate) -> str:
    if estimate.above_zero:
        return GAIN
    return LOSS if estimate.below_zero else STEEL


def _horizontal_grid(
    canvas: _Canvas, up: _Scale, low: float, high: float, left: float, right: float, unit: str
) -> None:
    step = _tick_step(low, high, 5)
    for tick in _ticks(low, high, step):
        canvas.line(left, up(tick), right, up(tick), GRID)
        canvas.text(left - 6, up(tick) + 4, _tick_text(tick, step), MUTED, 10.5, "end")


def _nothing(canvas: _Canvas, words: str) -> str:
    canvas.rect(0, 42, canvas.width - 8, canvas.height - 64, "#f5f7f9", 1.0, 4.0)
    canvas.text((canvas.width - 8) / 2, canvas.height / 2 + 12, words, FAINT, 13, "middle")
    return canvas.svg()


def _padded(low: float, high: float) -> tuple[float, float]:
    if high - low < 1e-9:
        return low - 1.0, high + 1.0
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _tick_step(low: float, high: float, wanted: int) -> float:
    raw = (high - low) / max(1, wanted)
    if raw <= 0.0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * nice for nice in (1.0, 2.0, 2.5, 5.0, 10.0) if power * nice >= raw * (1 - 1e-9))


def _ticks(low: float, high: float, step: float) -> list[float]:
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _tick_text(value: float, step: float) -> str:
    digits = 0
    while digits < 6 and abs(round(step, digits) - step) > step * 1e-6:
        digits += 1
    text = f"{value:,.{digits}f}"
    return f"{0.0:.{digits}f}" if float(text.replace(",", "")) == 0.0 else text.replace("-", MINUS)


def _date_ticks(sessions: Sequence[date]) -> list[tuple[int, str]]:
    """Up to seven (index, label) pairs at the first sessions of years, months or weeks."""
    units: list[tuple[Callable[[date], object], str]] = [
        (lambda day: day.year, "%Y"),
        (lambda day: (day.year, day.month), "%b %Y"),
        (lambda day: day.isocalendar()[:2], "%d %b"),
    ]
    for unit, pattern in units:
        starts = [i for i in range(1, len(sessions)) if unit(sessions[i]) != unit(sessions[i - 1])]
        if len(starts) >= 3:
            stride = math.ceil(len(starts) / 7)
            return [(i, sessions[i].strftime(pattern)) for i in starts[::stride]]
    return [(i, sessions[i].strftime("%d %b")) for i in sorted({0, len(sessions) - 1})]


def _thinned(x: FloatArray, y: FloatArray) -> list[tuple[float, float]]:
    """The points of a curve, reduced to lowest and highest per pixel column where there are more than fit."""
    if x.size <= MAXIMUM_POINTS:
        return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    kept = {0, x.size - 1}
    edges = np.linspace(0, x.size, MAXIMUM_POINTS // 2 + 1).astype(int)
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        kept |= {start + int(np.argmin(y[start:end])), start + int(np.argmax(y[start:end]))}
    return [(float(x[i]), float(y[i])) for i in sorted(kept)]


def _spread(ys: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """Positions in the given (downward) order moved apart until they are `gap` from each other and inside the panel."""
    placed = list(ys)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    overflow = placed[-1] - bottom if placed else 0.0
    if overflow > 0.0:
        placed[-1] = bottom
        for i in range(len(placed) - 2, -1, -1):
            placed[i] = min(placed[i], placed[i + 1] - gap)
    return [max(top, y) for y in placed]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if i else 'M'}{_n(x)} {_n(y)}" for i, (x, y) in enumerate(points))


def _n(value: float) -> str:
    text = f"{value:.1f}"
    if text.endswith(".0"):
        text = text[:-2]
    return "0" if text == "-0" else text
