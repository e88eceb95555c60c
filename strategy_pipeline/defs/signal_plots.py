"""Pictures of signals as SVG text: how a base score became a final one."""

import math
from collections.abc import Mapping
from typing import Any

from strategy_pipeline.backtest.drawing import GAIN, GRID, INK, LOSS, MUTED, STEEL, Canvas

_WIDTH, _LABEL, _RIGHT, _ROW, _TOP = 640.0, 130.0, 560.0, 24.0, 34.0


def waterfall(signal: Mapping[str, Any]) -> str:
    """The recommended style's way from the base score to the final one, each item as the points it moves the score.

    signal: a row of ``composite_signals`` with a waterfall.
    """
    style = signal["recommended_style"]
    items = [(one["item"], one["contribution_ln"]) for one in signal["waterfall"] if one["style"] == style]
    title = f"{signal['symbol']} {signal['detector']} as {style}"
    steps = [("base", 0.0, signal["base_score"])]
    for name, contribution in items:
        before = steps[-1][2]
        steps.append((name.replace("_", " "), before, before * math.exp(contribution)))
    largest = max(100.0, *(after for _, _, after in steps))
    canvas = Canvas(
        _WIDTH, _TOP + _ROW * (len(steps) + 1) + 8.0, title, "From the base score to the final score, item by item."
    )

    def x(score: float) -> float:
        return _LABEL + (_RIGHT - _LABEL) * score / largest

    canvas.text(0.0, 16.0, title, INK, 12.0, weight=600)
    canvas.line(x(100.0), _TOP - 6.0, x(100.0), _TOP + _ROW * (len(steps) + 1), GRID)
    for at, (name, before, after) in enumerate(steps):
        y = _TOP + _ROW * at
        colour = STEEL if at == 0 else GAIN if after >= before else LOSS
        canvas.text(_LABEL - 8.0, y + 12.0, name, MUTED, anchor="end")
        canvas.rect(x(min(before, after)), y, max(x(max(before, after)) - x(min(before, after)), 1.0), 16.0, colour)
        moved = f"{after:.1f}" if at == 0 else f"{after - before:+.1f}"
        canvas.text(x(max(before, after)) + 6.0, y + 12.0, moved, INK)
    y = _TOP + _ROW * len(steps)
    canvas.text(_LABEL - 8.0, y + 12.0, "final", INK, anchor="end", weight=600)
    canvas.rect(_LABEL, y, x(signal["recommended_score"]) - _LABEL, 16.0, STEEL)
    canvas.text(x(signal["recommended_score"]) + 6.0, y + 12.0, f"{signal['recommended_score']:.1f}", INK, weight=600)
    return canvas.svg()
