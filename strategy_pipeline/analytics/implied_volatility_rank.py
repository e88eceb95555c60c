"""How rich a symbol's volatility is against its own past year: rank, percentile, band, trend and variance premium.

The only table of volatility bands of the product is here. What belongs here is the definition, session by session; the
SQL model of iv_percentile_cache gives the same rows and is held to these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from strategy_pipeline.lake.tables import IV_PERCENTILE_CACHE
from strategy_pipeline.market import calendar

DEFINITION_VERSION = "iv-percentile-1"

WINDOW_SESSIONS = 252
MIN_OK, MIN_SHORT = 202, 126
MAX_GAP_SESSIONS = 5
ROUNDED_TO = 6

# Upper ends of the bands of iv_percentile_pct, each left-closed.
IV_REGIME_CUTS = (
    (10.0, "EXTREMELY_LOW"),
    (20.0, "LOW"),
    (60.0, "NORMAL"),
    (80.0, "ELEVATED"),
    (90.0, "HIGH"),
    (float("inf"), "EXTREMELY_HIGH"),
)
TREND_CHANGE_PCT = 10.0
SHORT_CHANGE_SESSIONS, LONG_CHANGE_SESSIONS = 5, 20

# Columns of atm_iv_daily that stand in iv_percentile_cache as they are.
COPIED = (
    "symbol", "session", "cm30_atm_iv", "cm30_iv_call", "cm30_iv_put", "cm30_status", "cm90_atm_iv",
    "term_slope_90_30", "rr25", "fly25", "skew_slope", "rv21", "rv_estimator", "earnings_in_window", "source",
    "quality", "quality_flags", "revision",
)  # fmt: skip

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rank:
    """Where a value stands in a window of earlier ones; None where that is not defined."""

    rank_pct: float | None
    percentile_pct: float | None
    clipped: bool
    zscore: float | None


def rank_in(window: Floats, value: float) -> Rank:
    """Rank, percentile and z-score of `value` among the values of `window`, which does not hold it.

    Values are compared after rounding to 6 decimals. The rank is clipped to 0-100; without a range it is None, and so
    is the z-score without a deviation; an empty window gives neither. Source: quant_methods.md section 7.
    """
    if not len(window):
        return Rank(None, None, False, None)
    past, now = np.round(window, ROUNDED_TO), round(value, ROUNDED_TO)
    low, high, deviation = float(past.min()), float(past.max()), float(past.std())
    percentile = 100.0 * float((past < now).sum() + 0.5 * (past == now).sum()) / len(past)
    if high == low:
        return Rank(None, percentile, False, None)
    rank = 100.0 * (now - low) / (high - low)
    return Rank(min(max(rank, 0.0), 100.0), percentile, not low <= now <= high, (now - float(past.mean())) / deviation)


def history_status(known: NDArray[np.bool_]) -> str:
    """Whether a window suffices: `known` says for each session before t, oldest first, if its value counts.

    More than 5 sessions in a row without a value, after the first one that has it, make it insufficient.
    """
    count = int(known.sum())
    if count < MIN_SHORT:
        return "insufficient"
    places = np.flatnonzero(known)
    gaps = np.diff(np.append(places, len(known))) - 1
    if gaps.max() > MAX_GAP_SESSIONS:
        return "insufficient"
    return "ok" if count >= MIN_OK else "short_history"


def iv_regime(percentile_pct: float) -> str:
    """The band of a percentile, 0-100."""
    return next(word for below, word in IV_REGIME_CUTS if percentile_pct < below)


def iv_regime_of(percentile_pct: pl.Expr) -> pl.Expr:
    """The band of a column of percentiles, 0-100; null where there is none."""
    band = pl.lit(IV_REGIME_CUTS[-1][1])
    for below, word in reversed(IV_REGIME_CUTS[:-1]):
        band = pl.when(percentile_pct < below).then(pl.lit(word)).otherwise(band)
    return pl.when(percentile_pct.is_not_null()).then(band)


def iv_trend(change_pct: float) -> str:
    """EXPANDING, CONTRACTING or STABLE from the change against 20 sessions earlier, %."""
    if change_pct > TREND_CHANGE_PCT:
        return "EXPANDING"
    return "CONTRACTING" if change_pct < -TREND_CHANGE_PCT else "STABLE"


def iv_percentile_cache(daily: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
    """Rows of ``iv_percentile_cache`` for those of `sessions` of which `daily` has a row.

    daily: rows of ``atm_iv_daily``, one a symbol and session, 252 sessions back from each session where there are any;
        rows of later sessions change nothing. A session without a row is a gap. Changes need a value with the status
        ok at either end; a value of another status is ranked but never part of a window. A row is known when the
        newest row of its window is.
    """
    wanted = set(sessions)
    rows: list[dict[str, object]] = []
    for (_symbol,), own in daily.sort("symbol", "session").group_by("symbol", maintain_order=True):
        days = own["session"].to_list()
        asked = [at for at, day in enumerate(days) if day in wanted]
        if not asked:
            continue
        grid = _Grid(own)
        for at, facts in zip(asked, own[asked].select(COPIED).to_dicts(), strict=True):
            rows.append(facts | grid.judged(at, facts))
    return pl.DataFrame(rows, schema=IV_PERCENTILE_CACHE.polars_schema, orient="row").sort(*IV_PERCENTILE_CACHE.sort_by)


class _Grid:
    """One symbol's values laid out on the exchange's sessions, a year of room before the first."""

    def __init__(self, own: pl.DataFrame) -> None:
        days = own["session"].to_list()
        between = {day: at for at, day in enumerate(calendar.sessions_between(days[0], days[-1]))}
        self.place = np.array([between[day] for day in days]) + WINDOW_SESSIONS
        size = len(between) + WINDOW_SESSIONS
        ok = own["cm30_status"].cast(pl.String) == "ok"
        skew_ok = own["skew_status"].cast(pl.String) == "ok"
        self.iv = self._laid_out(own["cm30_atm_iv"], ok, size)
        self.rr25 = self._laid_out(own["rr25"], skew_ok, size)
        self.known_at = np.zeros(size, dtype=np.int64)
        self.known_at[self.place] = own["available_at"].dt.timestamp("us").to_numpy()
        self.stored_at = np.zeros(size, dtype=np.int64)
        self.stored_at[self.place] = own["ingested_at"].dt.timestamp("us").to_numpy()

    def _laid_out(self, values: pl.Series, counts: pl.Series, size: int) -> Floats:
        laid = np.full(size, np.nan)
        kept = pl.select(pl.when(counts).then(values)).to_series()
        laid[self.place] = kept.cast(pl.Float64).fill_null(np.nan).to_numpy()
        return laid

    def judged(self, at: int, facts: dict[str, object]) -> dict[str, object]:
        """What section 7 says about the `at`-th row."""
        here = int(self.place[at])
        window = self.iv[here - WINDOW_SESSIONS : here]
        known = ~np.isnan(window)
        status = history_status(known)
        past = np.round(window[known], ROUNDED_TO)
        usable = status != "insufficient"
        now, rv = facts["cm30_atm_iv"], facts["rv21"]
        rank = rank_in(past, now) if usable and isinstance(now, float) else Rank(None, None, False, None)
        change_5 = self._change_pct(here, SHORT_CHANGE_SESSIONS)
        change_20 = self._change_pct(here, LONG_CHANGE_SESSIONS)
        span = slice(here - WINDOW_SESSIONS, here + 1)
        return {
            "iv_252d_high": float(past.max()) if usable else None,
            "iv_252d_low": float(past.min()) if usable else None,
            "iv_252d_mean": float(past.mean()) if usable else None,
            "iv_252d_median": float(np.median(past)) if usable else None,
            "iv_252d_stddev": float(past.std()) if usable else None,
            "iv_rank_pct": rank.rank_pct,
            "iv_percentile_pct": rank.percentile_pct,
            "rank_clipped": rank.clipped,
            "iv_zscore": rank.zscore,
            "iv_regime": None if rank.percentile_pct is None else iv_regime(rank.percentile_pct),
            "iv_trend": None if change_20 is None else iv_trend(change_20),
            "iv_change_5d_pct": change_5,
            "iv_change_20d_pct": change_20,
            "skew_percentile_pct": self._skew_percentile(here, facts["rr25"]),
            "vrp_var": now**2 - rv**2 if isinstance(now, float) and isinstance(rv, float) else None,
            "n_history": int(known.sum()),
            "history_status": status,
            "available_at": int(self.known_at[span].max()),
            "ingested_at": int(self.stored_at[span].max()),
            "definition_version": DEFINITION_VERSION,
        }

    def _change_pct(self, here: int, sessions: int) -> float | None:
        now, before = self.iv[here], self.iv[here - sessions]
        return None if np.isnan(now) or np.isnan(before) else float(100.0 * (now / before - 1.0))

    def _skew_percentile(self, here: int, rr25: object) -> float | None:
        window = self.rr25[here - WINDOW_SESSIONS : here]
        known = ~np.isnan(window)
        if not isinstance(rr25, float) or history_status(known) == "insufficient":
            return None
        return rank_in(window[known], rr25).percentile_pct
