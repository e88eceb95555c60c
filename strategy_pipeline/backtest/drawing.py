"""Primitives of pictures as plain SVG text: a canvas, linear scales, ticks, colours and numbers as words.

Belongs here: what every chart of the product is drawn with. Does not belong here: a chart, a statistic, a file.
"""

import base64
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

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
# More points than pixels add bytes, not information.
MAXIMUM_POINTS = 320


def signed(value: float | None, digits: int = 2) -> str:
    """``+0.12`` or ``-0.05`` with a typographic minus; a dash for what is missing."""
    if value is None:
        return DASH
    text = f"{value:+.{digits}f}"
    if float(text) == 0.0:
        text = f"{0.0:.{digits}f}"
    return text.replace("-", MINUS)


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
class Canvas:
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

    def strokes(
        self, lines: Sequence[tuple[float, float, float, float]], colour: str, width: float, cap: str = "butt"
    ) -> None:
        """Many lines (x1, y1, x2, y2) as one element; lines without length are dots under a round cap."""
        if lines:
            path = "".join(f"M{_n(x1)} {_n(y1)}L{_n(x2)} {_n(y2)}" for x1, y1, x2, y2 in lines)
            self.parts.append(
                f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{_n(width)}" stroke-linecap="{cap}"/>'
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
class Scale:
    """A linear map of data to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def clamped(self, value: float) -> float:
        return self(min(max(value, self.low), self.high))


def horizontal_grid(canvas: Canvas, up: Scale, low: float, high: float, left: float, right: float) -> None:
    """Horizontal lines with their numbers on the left, about five of them."""
    step = tick_step(low, high, 5)
    for tick in ticks(low, high, step):
        canvas.line(left, up(tick), right, up(tick), GRID)
        canvas.text(left - 6, up(tick) + 4, tick_text(tick, step), MUTED, 10.5, "end")


def nothing(canvas: Canvas, words: str) -> str:
    """The picture with `words` where the drawing would be."""
    canvas.rect(0, 42, canvas.width - 8, canvas.height - 64, "#f5f7f9", 1.0, 4.0)
    canvas.text((canvas.width - 8) / 2, canvas.height / 2 + 12, words, FAINT, 13, "middle")
    return canvas.svg()


def padded(low: float, high: float) -> tuple[float, float]:
    """A range with a margin of 6 % on both sides, and never without a width."""
    if high - low < 1e-9:
        return low - 1.0, high + 1.0
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def tick_step(low: float, high: float, wanted: int) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that gives at most about `wanted` ticks."""
    raw = (high - low) / max(1, wanted)
    if raw <= 0.0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * nice for nice in (1.0, 2.0, 2.5, 5.0, 10.0) if power * nice >= raw * (1 - 1e-9))


def ticks(low: float, high: float, step: float) -> list[float]:
    """Multiples of `step` from `low` to `high`."""
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_text(value: float, step: float) -> str:
    """A tick with as many decimals as its step needs."""
    digits = 0
    while digits < 6 and abs(round(step, digits) - step) > step * 1e-6:
        digits += 1
    text = f"{value:,.{digits}f}"
    return f"{0.0:.{digits}f}" if float(text.replace(",", "")) == 0.0 else text.replace("-", MINUS)


def date_ticks(sessions: Sequence[date]) -> list[tuple[int, str]]:
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


def thinned(x: FloatArray, y: FloatArray) -> list[tuple[float, float]]:
    """The points of a curve, reduced to lowest and highest per pixel column where there are more than fit."""
    if x.size <= MAXIMUM_POINTS:
        return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    kept = {0, x.size - 1}
    edges = np.linspace(0, x.size, MAXIMUM_POINTS // 2 + 1).astype(int)
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        kept |= {start + int(np.argmin(y[start:end])), start + int(np.argmax(y[start:end]))}
    return [(float(x[i]), float(y[i])) for i in sorted(kept)]


def spread_out(ys: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
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
