"""Volatility of a symbol at constant maturities from the chain at the close: at the money, skew, term slope, premium.

What belongs here: one expiry's curve read at its forward and at 25 delta, and two expiries joined in total variance.
Implied volatilities come from the chain as they are; ranks against the past are implied_volatility_rank.py's business.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import sqrt

import numpy as np
import polars as pl
from numpy.typing import NDArray

from strategy_pipeline.analytics.model_free_variance import (
    MINUTES_30_DAYS,
    constant_maturity_variance,
    model_free_variance,
)
from strategy_pipeline.analytics.realised_volatility import ESTIMATORS_WITH_OVERNIGHT, realised_volatility
from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.tables import ATM_IV_DAILY, QUALITY_DTYPE
from strategy_pipeline.market import calendar
from strategy_pipeline.pricing.chain import MINUTES_PER_YEAR

DEFINITION_VERSION = "atm-iv-1"
EARNINGS_DAYS = 30

_DAY = 1_440.0
_SHORTEST, _SINGLE_REACH = 7 * _DAY, 7 * _DAY
_WING_DELTA = 0.25
# The slope is fitted to options between these deltas (as calls), and not to fewer than this many.
_SLOPE_DELTAS, _SLOPE_POINTS = (0.10, 0.90), 4

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Maturity:
    """A constant maturity in minutes, and the tenors before it (low <= m < split) and after it (split <= m <= high)."""

    minutes: float
    low: float
    split: float
    high: float


CM30 = Maturity(MINUTES_30_DAYS, _SHORTEST, 30 * _DAY, 90 * _DAY)
CM90 = Maturity(90 * _DAY, 30 * _DAY, 90 * _DAY, 180 * _DAY)


@dataclass(frozen=True, slots=True)
class ExpiryVolatility:
    """One expiry's volatilities, decimal per root year, None where the curve does not reach.

    `atm` is read at the forward from calls and puts averaged, `call` and `put` from one side alone; `put25` and
    `call25` at 25 delta; `slope` is the rise per 10 delta towards lower strikes.
    """

    expiration: date
    minutes: float
    atm: float | None
    call: float | None
    put: float | None
    put25: float | None
    call25: float | None
    slope: float | None


@dataclass(frozen=True, slots=True)
class Interpolated:
    """A volatility at a constant maturity, its status, and the expiries it stands on (`near` alone when single)."""

    value: float | None
    status: str
    near: ExpiryVolatility | None = None
    next: ExpiryVolatility | None = None


def constant_maturity_iv(
    near_minutes: float, near_iv: float, next_minutes: float, next_iv: float, minutes: float
) -> float:
    """Volatility at `minutes` from two expiries, linear in total variance; volatilities decimal per root year.

    Raises DataError when the second expiry is not after the first. Source: quant_methods.md section 6.
    """
    return sqrt(constant_maturity_variance(near_minutes, near_iv**2, next_minutes, next_iv**2, minutes))


def interpolate(expiries: Iterable[ExpiryVolatility], maturity: Maturity) -> Interpolated:
    """The at-the-money volatility at a maturity: between two expiries, from a single one within 7 days, or none."""
    curves = sorted((one for one in expiries if one.atm is not None and one.minutes >= _SHORTEST), key=_minutes)
    before = [one for one in curves if maturity.low <= one.minutes < maturity.split]
    after = [one for one in curves if maturity.split <= one.minutes <= maturity.high]
    if before and after:
        value, falls = _between(before[-1], after[0], "atm", maturity.minutes)
        return Interpolated(value, "calendar_arb" if falls else "ok", before[-1], after[0])
    close = [one for one in curves if abs(one.minutes - maturity.minutes) <= _SINGLE_REACH]
    if not close:
        return Interpolated(None, "insufficient")
    nearest = min(close, key=lambda one: (abs(one.minutes - maturity.minutes), one.minutes))
    return Interpolated(nearest.atm, "single_expiry", nearest)


def expiry_volatility(rows: pl.DataFrame) -> ExpiryVolatility:
    """The volatilities of one expiry of one underlying at one moment.

    rows: of ``historical_greeks`` with one expiration and settlement; those with the status ok make the curve. At
        the forward it is linear in total variance between the bracketing strikes, without extrapolation.
    """
    expiration, minutes = rows["expiration"][0], float(rows["minutes_to_expiry"][0])
    good = _good(rows)
    if good.is_empty():
        return ExpiryVolatility(expiration, minutes, None, None, None, None, None, None)
    sides = {side: _side(good, side) for side in ("call", "put")}
    pairs = _pairs(sides)
    return ExpiryVolatility(
        expiration,
        minutes,
        _read(pairs, minutes),
        _read(sides["call"], minutes),
        _read(sides["put"], minutes),
        _at_delta(sides["put"], -_WING_DELTA),
        _at_delta(sides["call"], _WING_DELTA),
        _slope(sides["call"], sides["put"]),
    )


def delta_neutral_iv(rows: pl.DataFrame) -> float | None:
    """The named variant of one expiry's volatility at the delta-neutral straddle, K = F exp(sigma² T / 2).

    rows: as in `expiry_volatility`. It stands in no series beside the volatility at the forward.
    """
    minutes = float(rows["minutes_to_expiry"][0])
    pairs = _pairs({side: _side(_good(rows), side) for side in ("call", "put")})
    atm = _read(pairs, minutes)
    return None if atm is None else _read(pairs, minutes, 0.5 * atm**2 * minutes / MINUTES_PER_YEAR)


def atm_iv_daily(
    chain_at_close: pl.DataFrame,
    daily_bars: pl.DataFrame,
    *,
    model_free_symbols: Collection[str] = (),
    earnings: pl.DataFrame | None = None,
    rv_estimator: str = "close_close",
) -> pl.DataFrame:
    """Rows of ``atm_iv_daily``, one for each symbol and session of `chain_at_close`.

    chain_at_close: rows of ``historical_greeks``; of several snapshots of a session the last counts.
    daily_bars: 1d bars of the same symbols on one share basis (adjustment.adjust), 22 sessions back from each session.
    model_free_symbols: indices whose 30-day model-free variance is computed from all their quotes.
    earnings: symbol, earnings_on (date) and available_at; None when there is no calendar.
    Raises DataError for an estimator that does not see the overnight move. Source: quant_methods.md sections 6, 8.
    """
    if rv_estimator not in ESTIMATORS_WITH_OVERNIGHT:
        raise DataError(
            f"{rv_estimator!r} does not see the move overnight and may not be compared with implied volatility: "
            f"use one of {', '.join(ESTIMATORS_WITH_OVERNIGHT)}."
        )
    if chain_at_close.is_empty():
        return ATM_IV_DAILY.empty()
    last = pl.col("snapshot_at") == pl.col("snapshot_at").max().over("symbol", "session")
    chain = chain_at_close.filter(last).sort(
        "symbol", "session", "expiration", "strike", "option_type", "contract_ticker"
    )
    sessions = sorted(chain["session"].unique())
    realised = {
        (symbol, day): (rv, status, known)
        for symbol, day, rv, status, known in realised_volatility(daily_bars, sessions, rv_estimator).rows()
    }
    rows = []
    for (symbol, day), own in chain.group_by("symbol", "session", maintain_order=True):
        row = _of_chain(own, str(symbol) in model_free_symbols)
        rv, status, known_at = realised.get((symbol, day), (None, "missing_input", None))
        row |= {"symbol": symbol, "session": day, "rv21": rv, "rv_status": status, "rv_estimator": rv_estimator}
        if known_at is not None:
            row["available_at"] = max(row["available_at"], known_at)
        row["earnings_in_window"] = _earnings_in_window(earnings, symbol, day, row["available_at"])
        rows.append(row)
    return pl.DataFrame(rows, schema=ATM_IV_DAILY.polars_schema, orient="row").sort(*ATM_IV_DAILY.sort_by)


def _good(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that may be part of a curve."""
    return rows.filter(
        (pl.col("iv_status").cast(pl.String) == "ok") & (pl.col("forward") > 0) & (pl.col("minutes_to_expiry") > 0)
    )


def _side(good: pl.DataFrame, side: str) -> pl.DataFrame:
    """The curve of the calls or of the puts: strike, iv, delta and k = ln(K/F), by strike."""
    own = good.filter(pl.col("option_type").cast(pl.String) == side)
    own = own.group_by("strike").agg(pl.col("iv", "delta", "forward").mean()).sort("strike")
    return own.with_columns(k=(pl.col("strike") / pl.col("forward")).log())


def _pairs(sides: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The curve of strikes that have both, call and put averaged."""
    both = pl.concat(list(sides.values())).group_by("strike").agg(pl.col("k", "iv").mean(), pl.len())
    return both.filter(pl.col("len") == 2).sort("strike")


def _minutes(expiry: ExpiryVolatility) -> float:
    return expiry.minutes


def _between(near: ExpiryVolatility, after: ExpiryVolatility, name: str, minutes: float) -> tuple[float | None, bool]:
    """One of the volatilities of two expiries at `minutes`, and whether its total variance falls between them."""
    first, second = getattr(near, name), getattr(after, name)
    if first is None or second is None:
        return None, False
    value = constant_maturity_iv(near.minutes, first, after.minutes, second, minutes)
    return value, second**2 * after.minutes < first**2 * near.minutes


def _read(curve: pl.DataFrame, minutes: float, at: float = 0.0) -> float | None:
    """The curve's volatility at log-moneyness `at`, linear in total variance between the strikes around it."""
    k, iv = curve["k"].to_numpy(), curve["iv"].to_numpy()
    if not len(k) or k[0] > at or k[-1] < at:
        return None
    years = minutes / MINUTES_PER_YEAR
    return sqrt(float(np.interp(at, k, iv**2 * years)) / years)


def _at_delta(curve: pl.DataFrame, delta: float) -> float | None:
    known = curve.filter(pl.col("delta").is_not_null()).sort("delta", "strike")
    deltas = known["delta"].to_numpy()
    if not len(deltas) or not deltas[0] <= delta <= deltas[-1]:
        return None
    return float(np.interp(delta, deltas, known["iv"].to_numpy()))


def _slope(calls: pl.DataFrame, puts: pl.DataFrame) -> float | None:
    """Least-squares rise of volatility per 10 delta over out-of-the-money options, put deltas turned into call ones."""
    outside = pl.concat(
        [
            calls.filter(pl.col("k") >= 0).select("delta", "iv"),
            puts.filter(pl.col("k") < 0).select(pl.col("delta") + 1.0, "iv"),
        ]
    ).filter(pl.col("delta").is_between(*_SLOPE_DELTAS))
    tens, iv = outside["delta"].to_numpy() * 10.0, outside["iv"].to_numpy()
    if len(tens) < _SLOPE_POINTS or not (tens.min() < 5.0 < tens.max()):
        return None
    centred = tens - tens.mean()
    return float(centred @ (iv - iv.mean()) / (centred @ centred))


def _of_chain(chain: pl.DataFrame, with_model_free: bool) -> dict[str, object]:
    """Everything of one row that comes from one symbol's chain."""
    usual = chain["multiplier"].mode().min()
    within = pl.col("minutes_to_expiry").is_between(CM30.low, CM90.high)
    standard = chain.filter((pl.col("multiplier") == usual) & within)
    groups = [rows for _key, rows in standard.group_by("expiration", "settlement", maintain_order=True)]
    expiries = [expiry_volatility(rows) for rows in groups]
    cm30, cm90 = interpolate(expiries, CM30), interpolate(expiries, CM90)
    flags = []
    if chain["snapshot_at"][0] < calendar.session(chain["session"][0]).close:
        flags.append("snapshot_before_close")
    sources = chain["source"].cast(pl.String).unique().to_list()
    slope = None
    if cm30.value is not None and cm90.value is not None:
        slope = cm90.value - cm30.value
    model_free_iv, model_free_status = _model_free(groups) if with_model_free else (None, None)
    return {
        "snapshot_at": chain["snapshot_at"][0],
        "underlying_price": chain["underlying_price"].drop_nulls().first(),
        "cm30_atm_iv": cm30.value,
        "cm30_iv_call": _beside(cm30, "call"),
        "cm30_iv_put": _beside(cm30, "put"),
        "cm30_status": cm30.status,
        "cm30_near_expiration": cm30.near.expiration if cm30.near else None,
        "cm30_next_expiration": cm30.next.expiration if cm30.next else None,
        "cm90_atm_iv": cm90.value,
        "cm90_status": cm90.status,
        "term_slope_90_30": slope,
        **_skew(cm30),
        "model_free_iv": model_free_iv,
        "model_free_status": model_free_status,
        "source": "synthetic" if sources == ["synthetic"] else "derived",
        "quality": _worst(chain["quality"]),
        "quality_flags": flags,
        "available_at": chain["available_at"].max(),
        "ingested_at": chain["ingested_at"].max(),
        "revision": 0,
        "definition_version": DEFINITION_VERSION,
    }


def _beside(found: Interpolated, name: str, minutes: float = CM30.minutes) -> float | None:
    """Another volatility of the same expiries at the same maturity."""
    if found.near is None:
        return None
    if found.next is None:
        value: float | None = getattr(found.near, name)
        return value
    return _between(found.near, found.next, name, minutes)[0]


def _skew(cm30: Interpolated) -> dict[str, object]:
    """Skew from the expiries of the 30-day volatility; their wings may cross in time where the middle does not."""
    put, call = _beside(cm30, "put25"), _beside(cm30, "call25")
    if cm30.near is None or cm30.value is None or put is None or call is None:
        return {"rr25": None, "fly25": None, "skew_slope": None, "skew_status": "insufficient"}
    status, slope = cm30.status, cm30.near.slope
    if cm30.next is not None:
        if any(_between(cm30.near, cm30.next, name, CM30.minutes)[1] for name in ("put25", "call25")):
            status = "calendar_arb"
        share = (CM30.minutes - cm30.near.minutes) / (cm30.next.minutes - cm30.near.minutes)
        after = cm30.next.slope
        slope = None if slope is None or after is None else slope + share * (after - slope)
    return {
        "rr25": put - call,
        "fly25": 0.5 * (put + call) - cm30.value,
        "skew_slope": slope,
        "skew_status": status,
    }


def _model_free(groups: list[pl.DataFrame]) -> tuple[float | None, str]:
    """The 30-day model-free volatility of an index from all its quotes, and its status."""
    is_call = pl.col("option_type").cast(pl.String) == "call"
    strips = []
    for rows in groups:
        quotes = rows.group_by("strike").agg(
            pl.col(name).filter(side).first().alias(f"{kind}_{name}")
            for kind, side in (("call", is_call), ("put", ~is_call))
            for name in ("bid", "ask")
        )
        minutes, rate = float(rows["minutes_to_expiry"][0]), rows["rate"].drop_nulls().to_list()
        if not rate or not CM30.low <= minutes <= CM30.high:
            continue
        found = model_free_variance(quotes, minutes / MINUTES_PER_YEAR, rate[0])
        if found is not None:
            nothing = (None,) * 5
            strips.append(ExpiryVolatility(rows["expiration"][0], minutes, sqrt(found.variance), *nothing))
    found_30 = interpolate(strips, CM30)
    return found_30.value, found_30.status


def _worst(quality: pl.Series) -> str:
    """The worst word of the column; the words stand as provisional, final, suspect."""
    words = set(quality.cast(QUALITY_DTYPE).cast(pl.String))
    return next(word for word in ("suspect", "provisional", "final") if word in words)


def _earnings_in_window(earnings: pl.DataFrame | None, symbol: object, day: object, known_by: object) -> bool | None:
    if earnings is None or not isinstance(day, date) or not isinstance(known_by, datetime):
        return None
    announced = earnings.filter(
        (pl.col("symbol") == symbol)
        & (pl.col("available_at") <= known_by)
        & (pl.col("earnings_on") > day)
        & (pl.col("earnings_on") <= day + timedelta(days=EARNINGS_DAYS))
    )
    return not announced.is_empty()
