"""VIX and VIX3M as bars: minutes on sessions with minutes, days before, moved by the market and by noise of their own.

How VIX walks is ``volatility.py``'s formula; here it meets the price process and the calendar.
"""

from functools import cached_property

import numpy as np
import polars as pl

from strategy_pipeline.market.symbols import INDEX
from strategy_pipeline.synthetic.draws import Array, normals
from strategy_pipeline.synthetic.market import Bars, PriceProcess, bars_frame, cents, day_starts, minute_starts
from strategy_pipeline.synthetic.plan import Security
from strategy_pipeline.synthetic.volatility import VOLATILITY_INDICES, Surface, vix_path

# Of the volatility of a session, what its night has; the rest is spread over its steps.
_NIGHT = 0.2


class VolatilityIndex:
    """VIX after every step of the market: depends on the market index up to that step, and nothing depends on it."""

    def __init__(self, prices: PriceProcess) -> None:
        self.plan, self._prices = prices.plan, prices
        self._days = (*self.plan.past, *self.plan.history, *self.plan.sessions)

    @cached_property
    def _path(self) -> tuple[Array, list[int]]:
        """VIX before the first step and after each one, and where each session begins among the steps."""
        earlier, minutes = self._prices.market_steps()
        sizes = [earlier.shape[1]] * len(earlier) + [len(one) for one in minutes]
        closes = np.concatenate([earlier.ravel(), *minutes])
        returns = np.concatenate([[0.0], closes[1:] / closes[:-1] - 1.0])
        lengths = np.concatenate([np.full(size, (1.0 - _NIGHT) / size) for size in sizes])
        starts = [0, *np.cumsum(sizes).tolist()]
        lengths[starts[:-1]] += _NIGHT
        noise = normals(self.plan.seed, "vix/noise", (len(returns),))
        return vix_path(returns, lengths, noise), starts

    def after_minutes(self, at: int) -> Array:
        """VIX in points at the open of the `at`-th session with minutes and after each of its minutes.

        The open is read as the close before: what the night did to it shows with the first minute.
        """
        path, starts = self._path
        place = len(self.plan.past) + len(self.plan.history) + at
        return path[starts[place] : starts[place + 1] + 1]

    @cached_property
    def minutes(self) -> pl.DataFrame:
        """Minute bars of both indices in the columns of ``PriceProcess.minutes``."""
        path, starts = self._path
        first = starts[len(self._days) - len(self.plan.sessions)]
        where, moments = minute_starts(self.plan.sessions)
        return pl.concat(
            bars_frame(security, self.plan.sessions, where, moments, _bars(values[first:-1], values[first + 1 :]))
            for security, values in self._series(path)
        ).sort("session", "ticker", "window_start", maintain_order=True)

    @cached_property
    def days(self) -> pl.DataFrame:
        """Day bars of both indices in the columns of ``PriceProcess.days``."""
        path, starts = self._path
        where, moments = np.arange(len(self._days)), day_starts(self._days, INDEX)
        frames = []
        for security, values in self._series(path):
            steps = _bars(values[:-1], values[1:])
            first, last = np.array(starts[:-1]), np.array(starts[1:]) - 1
            whole = Bars(
                steps.opens[first],
                np.maximum.reduceat(steps.highs, first),
                np.minimum.reduceat(steps.lows, first),
                steps.closes[last],
                None,
            )
            frames.append(bars_frame(security, self._days, where, moments, whole))
        return pl.concat(frames).sort("session", "ticker", maintain_order=True)

    def _series(self, vix: Array) -> list[tuple[Security, Array]]:
        named = [Security(name, INDEX, float(vix[0]), 0.0, 0.0, 0) for name in VOLATILITY_INDICES]
        return list(zip(named, (vix, Surface().vix3m(vix)), strict=True))


def _bars(before: Array, after: Array) -> Bars:
    """One bar a step, from the value before it to the value after it."""
    first, last = cents(before), cents(after)
    return Bars(first, np.maximum(first, last), np.minimum(first, last), last, None)
