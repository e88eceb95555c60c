"""Which data a parameter may be chosen on and which it is judged on: walk-forward, purged folds, CPCV, the holdout.

Belongs here: cutting sessions into train and test, dropping labels that reach from one into the other, and choosing
among parameter sets on the one for the other. Does not belong here: simulating trades (engine, parameter_sets).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from strategy_pipeline.backtest.bootstrap import bootstrap_totals, generator_for
from strategy_pipeline.backtest.estimates import FloatArray

WALK_FORWARD, CROSS_VALIDATION = "walk-forward", "purged cross-validation"
HOLDOUT, FIXED = "holdout", "fixed parameters"
WALK_FORWARD_FROM_MONTHS = 18
CROSS_VALIDATION_FROM_SESSIONS = 60
TRAIN_MONTHS, TEST_MONTHS, STEP_MONTHS = 12, 3, 3
EMBARGO_SESSIONS = 5
FOLDS = 5
# One part in so many of the span is embargoed, and held out at most; whole numbers keep the count of sessions exact.
SPANS_OF_EMBARGO, SPANS_OF_HOLDOUT = 100, 5
HOLDOUT_MONTHS = 6
# Fewest training trades of a set that may be chosen, in spans from six months on and in shorter ones.
MINIMUM_TRAINING_TRADES, MINIMUM_TRAINING_TRADES_SHORT = 100, 30
SHORT_SPAN_MONTHS = 6

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fold:
    """Sessions to choose on and sessions to judge on; `number` counts from 0 in order of the test span."""

    number: int
    train: tuple[date, ...]
    test: tuple[date, ...]


def months_later(day: date, months: int) -> date:
    """The same day of the month `months` later, or that month's last day."""
    at = day.year * 12 + day.month - 1 + months
    year, month = divmod(at, 12)
    for last in range(day.day, 27, -1):
        try:
            return date(year, month + 1, last)
        except ValueError:
            continue
    return date(year, month + 1, min(day.day, 28))


def method_for(sessions: Sequence[date]) -> str:
    """What so many sessions allow: walk-forward from 18 months, purged folds from 60 sessions, else fixed values."""
    days = sorted(sessions)
    if not days:
        return FIXED
    if days[-1] >= months_later(days[0], WALK_FORWARD_FROM_MONTHS):
        return WALK_FORWARD
    return CROSS_VALIDATION if len(days) >= CROSS_VALIDATION_FROM_SESSIONS else FIXED


def walk_forward_folds(
    sessions: Sequence[date],
    *,
    train_months: int = TRAIN_MONTHS,
    test_months: int = TEST_MONTHS,
    step_months: int = STEP_MONTHS,
    embargo: int = EMBARGO_SESSIONS,
) -> list[Fold]:
    """Spans of calendar months from the first session on: train, then test; the last test span may be shorter.

    The last `embargo` sessions before a test span are not trained on. Test spans do not overlap while the step is not
    shorter than the test.
    """
    days = sorted(set(sessions))
    folds: list[Fold] = []
    while True:
        begin = months_later(days[0], step_months * len(folds))
        middle = months_later(begin, train_months)
        end = months_later(middle, test_months)
        test = tuple(day for day in days if middle <= day < end)
        before = [day for day in days if begin <= day < middle]
        train = tuple(before[: len(before) - embargo])
        if not test or not train:
            return folds
        folds.append(Fold(len(folds), train, test))


def consecutive_groups(sessions: Sequence[date], groups: int) -> list[tuple[date, ...]]:
    """`sessions` in order, cut into `groups` parts of nearly equal length."""
    days = np.array(sorted(set(sessions)), dtype=object)
    return [tuple(part) for part in np.array_split(days, groups) if len(part)]


def embargo_of(span: int, longest_hold: int) -> int:
    """Time after a test span on which nothing is trained: 1 % of the whole span, at least the longest hold."""
    return max(-(-span // SPANS_OF_EMBARGO), longest_hold)


def trainable(label_start: Ints, label_end: Ints, tests: Sequence[tuple[int, int]], embargo: int) -> Bools:
    """Which labels may be trained on, given closed test spans: none that meets a span or begins in its embargo.

    A label is the closed span of time its result depends on. It goes when it shares a moment with a test span, or
    begins after a test span's end by `embargo` or less. Times are whole numbers of any one unit. Source: López de Prado
    (2018), "Advances in Financial Machine Learning", chapter 7.
    """
    kept = np.ones(len(label_start), dtype=bool)
    for first, last in tests:
        kept &= ~((label_start <= last) & (label_end >= first))
        kept &= ~((label_start > last) & (label_start <= last + embargo))
    return kept


def combinatorial_tests(groups: int, tested: int) -> list[tuple[int, ...]]:
    """Every choice of `tested` of `groups` groups to test on at once (combinatorial purged cross-validation)."""
    return list(combinations(range(groups), tested))


def combinatorial_paths(groups: int, tested: int) -> Ints:
    """Which choice each path takes each group's test from, shape (C(groups, tested) x tested / groups, groups).

    Every choice gives its tested groups to one path each, so each path is one whole out-of-sample history and every
    test of every choice is used once. Source: López de Prado (2018), chapter 12.
    """
    choices = combinatorial_tests(groups, tested)
    paths = np.full((comb(groups, tested) * tested // groups, groups), -1, dtype=np.int64)
    filled = [0] * groups
    for number, choice in enumerate(choices):
        for group in choice:
            paths[filled[group], group] = number
            filled[group] += 1
    return paths


def holdout_sessions(sessions: Sequence[date]) -> tuple[date, ...]:
    """The sessions to lock away: the last six months where that is less than a fifth of all, else the last fifth."""
    days = sorted(set(sessions))
    fifth = days[len(days) - len(days) // SPANS_OF_HOLDOUT :] if len(days) >= SPANS_OF_HOLDOUT else []
    since = months_later(days[-1], -HOLDOUT_MONTHS) if days else None
    half_year = [day for day in days if since is not None and day > since]
    return tuple(half_year if len(half_year) <= len(fifth) else fifth)


def minimum_trades(train: Sequence[date]) -> int:
    """Fewest trades a set needs to be chosen on `train`: 100, or 30 below six months."""
    is_short = not train or max(train) < months_later(min(train), SHORT_SPAN_MONTHS)
    return MINIMUM_TRAINING_TRADES_SHORT if is_short else MINIMUM_TRAINING_TRADES


def lower_bounds(
    set_of_trade: Ints, session_of_trade: Ints, r_net: FloatArray, sets: int, *, draws: int, name: str, seed: int
) -> tuple[FloatArray, Ints]:
    """Lower 95 % bound of mean R and number of trades of every parameter set, NaN where there is no interval.

    One trade an element; the sessions that any set traded on are drawn, the same ones for all sets, so that sets are
    compared on the same resamples.
    """
    counts = np.bincount(set_of_trade, minlength=sets)
    bounds = np.full(sets, np.nan)
    distinct, codes = np.unique(session_of_trade, return_inverse=True)
    if distinct.size < 10:
        return bounds, counts
    cells = set_of_trade * distinct.size + codes
    sums = np.bincount(cells, weights=r_net, minlength=sets * distinct.size).reshape(sets, -1)
    trades = np.bincount(cells, minlength=sets * distinct.size).reshape(sets, -1).astype(np.float64)
    totals = np.concatenate([sums, trades]).T
    drawn = bootstrap_totals(totals, draws=draws, generator=generator_for(name, seed))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = drawn[:, :sets] / drawn[:, sets:]
    enough = ((trades > 0).sum(axis=1) >= 10) & np.isfinite(means).all(axis=0)
    bounds[enough] = np.quantile(means[:, enough], 0.025, axis=0)
    return bounds, counts


def best_set(bounds: FloatArray, counts: Ints, least_trades: int) -> int | None:
    """The set with the highest lower bound among those with enough trades, the first of equals; None without any."""
    usable = np.isfinite(bounds) & (counts >= least_trades)
    return int(np.argmax(np.where(usable, bounds, -np.inf))) if usable.any() else None
