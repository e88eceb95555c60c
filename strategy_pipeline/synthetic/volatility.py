"""The implied volatility of the synthetic market: how VIX walks, and the surface that options are priced on.

What belongs here: formulas on arrays, with the conditions under which the surface admits no arbitrage. Which contracts
are listed and when they are quoted is ``options.py``'s business.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from strategy_pipeline.synthetic.draws import Array

VOLATILITY_INDICES = ("VIX", "VIX3M")
MINUTES_PER_YEAR = 525_600.0
DAYS_30, DAYS_90 = 43_200.0 / MINUTES_PER_YEAR, 129_600.0 / MINUTES_PER_YEAR

# VIX in points: where it starts and returns to, how much of the distance it loses a session, how far it moves against
# the market's return, and its own noise a session.
_VIX_MEAN, _VIX_REVERSION, _VIX_BETA, _VIX_NOISE = 18.5, 0.04, 3.2, 0.035
_VIX_LEAST, _VIX_MOST = 10.0, 85.0
# What the model-free volatility of the surface is to its at-the-money volatility at 30 days: 1.14 for volatilities
# from 10 to 25 % (integral of out-of-the-money prices over strikes, by quadrature).
MODEL_FREE_TO_ATM = 1.14


def vix_path(returns: Array, sessions: Array, noise: Array) -> Array:
    """VIX in points after each step from the market's simple returns; the first element is where it starts.

    sessions: length of each step in sessions. noise: standard normals. The value after a step depends on returns and
    noise up to that step alone.
    """
    drift, shock = _VIX_REVERSION * sessions, _VIX_NOISE * np.sqrt(sessions) * noise - _VIX_BETA * returns
    level, path = _VIX_MEAN, [_VIX_MEAN]
    for pull, push in zip(drift.tolist(), shock.tolist(), strict=True):
        level = min(max(level * (1.0 + pull * (_VIX_MEAN / level - 1.0) + push), _VIX_LEAST), _VIX_MOST)
        path.append(level)
    return np.array(path)


@dataclass(frozen=True, slots=True)
class Surface:
    """An SSVI surface whose at-the-money variance follows VIX; volatilities decimal per root year.

    Total variance at log-moneyness k = ln(K/F) and at-the-money total variance t is
    w(k) = t/2 (1 + rho p k + sqrt((p k + rho)^2 + 1 - rho^2)) with p = eta / sqrt(t). The at-the-money variance rate
    reverts from its present value to `long_volatility` squared, `reversion` times a year; `scale` multiplies
    volatilities. Source: Gatheral and Jacquier, Arbitrage-free SVI volatility surfaces, Quantitative Finance 14, 2014.
    """

    scale: float = 1.0
    rho: float = -0.6
    eta: float = 0.9
    long_volatility: float = 0.165
    reversion: float = 4.0

    @property
    def admits_no_arbitrage(self) -> bool:
        """Whether the sufficient conditions hold for every expiry within five years and every VIX within its bounds.

        Calendar (theorem 4.1): t does not fall with time, and 0 <= d(t p)/dt <= p (1 + sqrt(1 - rho^2)) / rho^2; with
        p = eta/sqrt(t) the middle is p/2. Butterfly (theorem 4.2): t p (1 + |rho|) < 4 and t p^2 (1 + |rho|) <= 4.
        """
        rho = abs(self.rho)
        in_time = 0.5 * rho * rho <= 1.0 + np.sqrt(1.0 - rho * rho)
        largest = float(self.total_variance_atm(5.0, _VIX_MOST))
        across = self.eta * np.sqrt(largest) * (1.0 + rho) < 4.0 and self.eta**2 * (1.0 + rho) <= 4.0
        return bool(in_time and across and self.variance_rate(_VIX_LEAST) > 0.0)

    def variance_rate(self, vix: Any) -> Any:
        """The at-the-money variance a year at once, such that its mean over 30 days fits VIX (points)."""
        at_30 = np.square(np.asarray(vix) / 100.0 / MODEL_FREE_TO_ATM)
        return self.long_volatility**2 + (at_30 - self.long_volatility**2) / self._weight(DAYS_30)

    def _weight(self, years: float) -> float:
        return float(-np.expm1(-self.reversion * years) / (self.reversion * years))

    def total_variance_atm(self, years: Any, vix: Any) -> Any:
        """At-the-money total variance up to `years`: the integral of a positive rate, so it rises with time."""
        long = self.long_volatility**2
        passing = -np.expm1(-self.reversion * np.asarray(years)) / self.reversion
        return self.scale**2 * (long * np.asarray(years) + (self.variance_rate(vix) - long) * passing)

    def total_variance(self, k: Any, years: Any, vix: Any) -> Any:
        """Total variance at log-moneyness `k`."""
        atm = self.total_variance_atm(years, vix)
        stretched = self.eta * np.asarray(k) / np.sqrt(atm)
        return 0.5 * atm * (1.0 + self.rho * stretched + np.sqrt(np.square(stretched + self.rho) + 1.0 - self.rho**2))

    def volatility(self, k: Any, years: Any, vix: Any) -> npt.NDArray[np.float64]:
        """Implied volatility at log-moneyness `k` and `years` to expiry, above zero both."""
        return np.asarray(np.sqrt(self.total_variance(k, years, vix) / years))

    def vix3m(self, vix: Array) -> Array:
        """The 90-day index in points that belongs to a VIX: the same surface read further out."""
        long, ratio = self.long_volatility**2, self._weight(DAYS_90) / self._weight(DAYS_30)
        at_30 = np.square(vix / 100.0 / MODEL_FREE_TO_ATM)
        return np.asarray(100.0 * MODEL_FREE_TO_ATM * np.sqrt(long + (at_30 - long) * ratio))
