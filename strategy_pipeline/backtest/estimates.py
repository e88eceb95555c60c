"""Single numbers on trades and daily returns: win rate, profit factor, Sharpe and Sortino ratios, drawdown.

Belongs here: arithmetic of one series, with its interval where a formula gives one. Does not belong here: resampling
(bootstrap), what search and chance leave of a result (significance), frames of trades (statistics).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Z_95 = 1.959964
SESSIONS_PER_YEAR = 252
BREAKEVEN_TOLERANCE_R = 1e-12
MINIMUM_SESSIONS_FOR_SHARPE = 20
PROFIT_FACTOR_CAP = 999.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval; any part is None when it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def above_zero(self) -> bool:
        """True when the whole interval lies above zero."""
        return self.low is not None and self.low > 0.0

    @property
    def below_zero(self) -> bool:
        """True when the whole interval lies below zero."""
        return self.high is not None and self.high < 0.0


NOTHING = Estimate(None, None, None)


@dataclass(frozen=True, slots=True)
class ProfitFactor:
    """Σ R⁺ / |Σ R⁻|: ``exact`` is None without losers (``no_losses``) or without trades (``no_trades``)."""

    exact: float | None
    status: str

    @property
    def for_files(self) -> float:
        """The finite stand-in that sorts correctly: capped at 999, 999 without losses, 0 without trades."""
        if self.status == "no_trades":
            return 0.0
        if self.exact is None:
            return PROFIT_FACTOR_CAP
        return min(self.exact, PROFIT_FACTOR_CAP)


@dataclass(frozen=True, slots=True)
class Drawdown:
    """The deepest fall of the equity curve, percent of the peak before it (≤ 0); recovery is None while under water."""

    percent: float
    peak: date | None
    valley: date | None
    recovery: date | None


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> Estimate:
    """Share of successes with Wilson's score interval (Wilson 1927; Newcombe 1998); nothing without trials."""
    if trials == 0:
        return NOTHING
    share = successes / trials
    denominator = 1.0 + z * z / trials
    centre = (share + z * z / (2.0 * trials)) / denominator
    half = z / denominator * math.sqrt(share * (1.0 - share) / trials + z * z / (4.0 * trials * trials))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Estimate(share, low, high)


def profit_factor(r: FloatArray) -> ProfitFactor:
    """Gross profit over gross loss of trades in R; without a winner 0, without a loser or a trade a status instead."""
    if r.size == 0:
        return ProfitFactor(None, "no_trades")
    gains = float(r[r > BREAKEVEN_TOLERANCE_R].sum())
    losses = float(-r[r < -BREAKEVEN_TOLERANCE_R].sum())
    if gains == 0.0:
        return ProfitFactor(0.0, "ok")
    if losses == 0.0:
        return ProfitFactor(None, "no_losses")
    return ProfitFactor(gains / losses, "ok")


def payoff_ratio(avg_win: float | None, avg_loss: float | None) -> float | None:
    """Average win over the size of the average loss; None when either is missing."""
    if avg_win is None or avg_loss is None or avg_loss == 0.0:
        return None
    return avg_win / abs(avg_loss)


def break_even_win_rate(payoff: float | None) -> float | None:
    """The win rate at which a payoff ratio earns exactly nothing: 1 / (1 + payoff)."""
    return None if payoff is None else 1.0 / (1.0 + payoff)


def sharpe_ratio(
    daily_returns: FloatArray,
    *,
    cash_rate: float = 0.0,
    minimum_sessions: int = MINIMUM_SESSIONS_FOR_SHARPE,
) -> float | None:
    """Annualised Sharpe ratio (√252) of session returns in excess of cash; None without spread or below 20 sessions."""
    if daily_returns.size < max(2, minimum_sessions):
        return None
    per_session = per_session_sharpe(daily_returns - cash_rate / SESSIONS_PER_YEAR)
    return None if per_session is None else per_session * math.sqrt(SESSIONS_PER_YEAR)


def sortino_ratio(daily_returns: FloatArray, *, cash_rate: float = 0.0) -> float | None:
    """Annualised mean over the downside deviation of all sessions (target: cash); None when nothing was lost."""
    if daily_returns.size == 0:
        return None
    excess = daily_returns - cash_rate / SESSIONS_PER_YEAR
    downside = math.sqrt(float(np.mean(np.minimum(excess, 0.0) ** 2)))
    if downside == 0.0:
        return None
    return float(np.mean(excess)) / downside * math.sqrt(SESSIONS_PER_YEAR)


def equity_curve(daily_pnl_usd: FloatArray, initial_equity_usd: float) -> FloatArray:
    """Book value in $ at the end of each session, without compounding, led by the initial value (length + 1)."""
    return np.concatenate([[initial_equity_usd], initial_equity_usd + np.cumsum(daily_pnl_usd)])


def drawdown_path(equity: FloatArray) -> FloatArray:
    """Percent below the highest value so far (≤ 0) for each point of an equity curve."""
    return (equity / np.maximum.accumulate(equity) - 1.0) * 100.0


def max_drawdown(daily_pnl_usd: FloatArray, initial_equity_usd: float, sessions: Sequence[date]) -> Drawdown:
    """The deepest drawdown with its dates; a peak of None means the fall began from the initial equity."""
    equity = equity_curve(daily_pnl_usd, initial_equity_usd)
    path = drawdown_path(equity)
    valley = int(np.argmin(path))
    if path[valley] >= 0.0:
        return Drawdown(0.0, None, None, None)
    peak = int(np.argmax(equity[: valley + 1]))
    back = np.flatnonzero(equity[valley:] >= equity[peak])

    def day(index: int) -> date | None:
        return None if index == 0 else sessions[index - 1]

    return Drawdown(float(path[valley]), day(peak), day(valley), day(valley + int(back[0])) if back.size else None)


def skewness_and_kurtosis(values: FloatArray) -> tuple[float, float] | None:
    """Population skewness and non-excess kurtosis (normal: 0 and 3); None without spread."""
    centred = values - values.mean() if values.size else values
    variance = float(np.mean(centred**2)) if values.size else 0.0
    if variance <= 0.0:
        return None
    return float(np.mean(centred**3)) / variance**1.5, float(np.mean(centred**4)) / variance**2


def per_session_sharpe(excess: FloatArray) -> float | None:
    spread = float(np.std(excess, ddof=1))
    # Identical returns leave a spread of rounding size, which is no spread.
    if spread <= 1e-12 * max(1.0, float(np.max(np.abs(excess)))) or not np.ptp(excess):
        return None
    return float(np.mean(excess)) / spread


def describe(estimate: Estimate, digits: int = 2) -> str:
    """``+0.12 [-0.05, +0.29]``; a dash for what is missing."""
    if estimate.value is None:
        return "\N{EN DASH}"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+.{digits}f} [no interval]"
    return f"{estimate.value:+.{digits}f} [{estimate.low:+.{digits}f}, {estimate.high:+.{digits}f}]"
