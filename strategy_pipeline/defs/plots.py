"""Small pictures for the UI: SVG inside Markdown, made of numbers that the assets already have."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from strategy_pipeline.backtest.drawing import markdown_image

_CELL, _WIDE, _HEIGHT = 7, 126, 14
_NOTHING = "nothing to show"


def coverage_strip(described: Mapping[str, Mapping[str, Any]]) -> dg.MetadataValue:
    """One cell a session, red at no coverage and green at all of it, grey without intraday bars; two lines a year."""
    if not described:
        return dg.MetadataValue.md(_NOTHING)
    cells = []
    for at, (key, metadata) in enumerate(described.items()):
        share = metadata.get("coverage_pct")
        hue = "#bbb" if share is None else f"hsl({1.2 * float(share):.0f} 60% 45%)"
        says = f"{key}: no intraday bars" if share is None else f"{key}: {float(share):.1f} %"
        x, y = at % _WIDE * _CELL, at // _WIDE * _HEIGHT
        box = f'x="{x}" y="{y}" width="{_CELL - 1}" height="{_HEIGHT - 2}"'
        cells.append(f'<rect {box} fill="{hue}"><title>{says}</title></rect>')
    width, height = min(len(cells), _WIDE) * _CELL, (len(cells) - 1) // _WIDE * _HEIGHT + _HEIGHT
    svg = f'<svg viewBox="0 0 {width} {height}">{"".join(cells)}</svg>'
    return dg.MetadataValue.md(markdown_image(svg, f"coverage of {len(cells)} sessions"))


def share_bars(shares: Sequence[tuple[str, float]], title: str) -> dg.MetadataValue:
    """Horizontal bars of shares (0-100), in the given order."""
    if not shares:
        return dg.MetadataValue.md(_NOTHING)
    row, label, full = 18, 190, 300
    parts = []
    for at, (name, share) in enumerate(shares):
        y = at * row
        parts.append(f'<text x="{label - 6}" y="{y + 13}" text-anchor="end" font-size="11">{name}</text>')
        parts.append(f'<rect x="{label}" y="{y + 3}" width="{full * share / 100:.1f}" height="12" fill="#4878a8"/>')
        parts.append(f'<text x="{label + full * share / 100 + 4:.1f}" y="{y + 13}" font-size="11">{share:.1f} %</text>')
    width, height = label + full + 60, row * len(shares)
    svg = f'<svg viewBox="0 0 {width} {height}" font-family="sans-serif">{"".join(parts)}</svg>'
    return dg.MetadataValue.md(f"**{title}**\n\n{markdown_image(svg, title)}")
