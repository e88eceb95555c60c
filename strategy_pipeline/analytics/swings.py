"""Swing pivots and what is read off the last two of them: rising lows, falling highs, RSI divergences.

A pivot is strictly beyond two bars on each side and exists from the end of the second later bar. Input is the frame
that ``bar_filter.continuous_bars`` makes.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

SIDE_BARS = 2
WARM_UP_BARS = 2 * SIDE_BARS + 1
# Both pivots of a divergence lie within this many bars, the current one included as bar 0.
DIVERGENCE_BARS = 40
DIVERGENCE_WARM_UP_BARS = 109
SCORE_PER_RSI_POINT = 10.0

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


def with_swings(bars: pl.DataFrame, rsi: str) -> pl.DataFrame:
    """`bars` with swing_high, swing_low (price), higher_lows, lower_highs, rsi_div_bull and rsi_div_bear (0-100).

    `rsi` names the unmasked RSI column. Pivot columns are null for the first 4 bars of a series and the prices
    until there is a pivot; divergences are null for the first 108 bars and 0 when there is none. Source:
    detectors.md section 2.
    """
    number = bars["bar_number"].to_numpy()
    rsi_values = bars[rsi].fill_null(np.nan).to_numpy()
    high, low = bars["high"].to_numpy(), bars["low"].to_numpy()
    # A low is a high of the mirrored price, so one function serves both sides exactly.
    top = _side(high, rsi_values, number)
    bottom = _side(-low, -rsi_values, number)
    started, measured = number >= WARM_UP_BARS - 1, number >= DIVERGENCE_WARM_UP_BARS - 1
    columns = [
        pl.Series("swing_high", top.price),
        pl.Series("swing_low", -bottom.price),
        pl.Series("lower_highs", top.recedes),
        pl.Series("higher_lows", bottom.recedes),
        pl.Series("rsi_div_bear", top.divergence),
        pl.Series("rsi_div_bull", bottom.divergence),
    ]
    masks = {"rsi_div_bear": measured, "rsi_div_bull": measured}
    return bars.with_columns(
        pl.when(pl.Series(masks.get(column.name, started)))
        .then(column.fill_nan(None) if column.dtype == pl.Float64 else column)
        .alias(column.name)
        for column in columns
    )


class _Side:
    """What the pivots of one side say at each row: latest price, whether it lies inside the one before, divergence."""

    def __init__(self, price: Floats, recedes: NDArray[np.bool_], divergence: Floats) -> None:
        self.price, self.recedes, self.divergence = price, recedes, divergence


def _side(price: Floats, rsi: Floats, number: Rows) -> _Side:
    """Pivots of `price` upward; `rsi` mirrored like the price, `number` counts bars within each series."""
    rows = np.arange(len(price))
    first_row = rows - number
    confirmed = np.zeros(len(price), dtype=bool)
    if len(price) > 2 * SIDE_BARS:
        middle = price[SIDE_BARS:-SIDE_BARS]
        beyond = np.ones(len(middle), dtype=bool)
        for offset in (-2, -1, 1, 2):
            beyond &= middle > price[SIDE_BARS + offset : len(price) - SIDE_BARS + offset]
        confirmed[2 * SIDE_BARS :] = beyond
        confirmed &= number >= WARM_UP_BARS - 1
    # Row at which the latest pivot was confirmed, and the one before it; -1 for none in this series.
    latest = np.maximum.accumulate(np.where(confirmed, rows, -1))
    latest = np.where(latest >= first_row, latest, -1)
    one_earlier = np.concatenate([[-1], latest[:-1]])
    previous = np.where(latest >= 0, one_earlier[latest], -1)
    previous = np.where(previous >= first_row, previous, -1)
    has_one, has_two = latest >= 0, previous >= 0

    pivot, pivot_before = latest - SIDE_BARS, previous - SIDE_BARS
    recedes = has_two & (price[pivot] < price[pivot_before])
    near = has_two & (rows - pivot_before <= DIVERGENCE_BARS)
    fall = rsi[pivot_before] - rsi[pivot]
    diverges = near & (price[pivot] > price[pivot_before]) & (fall > 0)
    divergence = np.where(diverges, np.minimum(100.0, SCORE_PER_RSI_POINT * fall), 0.0)
    return _Side(np.where(has_one, price[pivot], np.nan), recedes, divergence)
