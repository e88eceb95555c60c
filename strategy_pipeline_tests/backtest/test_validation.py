"""Cutting sessions into train and test: against brute force, and against leaks a careless cut would let through."""

from datetime import date, timedelta
from itertools import combinations, pairwise
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy_pipeline.backtest import validation
from strategy_pipeline.market.calendar import sessions_between

TWO_YEARS = sessions_between(date(2022, 1, 3), date(2023, 12, 29))


def test_walk_forward_trains_a_year_and_tests_the_next_quarter_five_sessions_later() -> None:
    folds = validation.walk_forward_folds(TWO_YEARS)
    spans = [(fold.train[0], fold.train[-1], fold.test[0], fold.test[-1]) for fold in folds]
    # Months count from 3 January; five sessions before each test span are left out.
    assert spans == [
        (date(2022, 1, 3), date(2022, 12, 22), date(2023, 1, 3), date(2023, 3, 31)),
        (date(2022, 4, 4), date(2023, 3, 24), date(2023, 4, 3), date(2023, 6, 30)),
        (date(2022, 7, 5), date(2023, 6, 23), date(2023, 7, 3), date(2023, 10, 2)),
        (date(2022, 10, 3), date(2023, 9, 25), date(2023, 10, 3), date(2023, 12, 29)),
    ]


def test_test_spans_follow_each_other_without_overlap_and_lie_after_what_was_trained_on() -> None:
    folds = validation.walk_forward_folds(TWO_YEARS)
    tested = [day for fold in folds for day in fold.test]
    assert tested == [day for day in TWO_YEARS if day >= date(2023, 1, 3)]
    for fold in folds:
        between = [day for day in TWO_YEARS if fold.train[-1] < day < fold.test[0]]
        assert len(between) == 5


@pytest.mark.parametrize(
    ("last", "method"),
    [
        (date(2023, 7, 3), "walk-forward"),
        (date(2023, 6, 30), "purged cross-validation"),
        (date(2022, 3, 29), "purged cross-validation"),
        (date(2022, 3, 28), "fixed parameters"),
    ],
)
def test_the_length_of_the_data_decides_the_method(last: date, method: str) -> None:
    # 60 sessions end on 29 March 2022, eighteen months on 3 July 2023.
    assert validation.method_for(sessions_between(date(2022, 1, 3), last)) == method


def test_no_sessions_allow_nothing() -> None:
    assert validation.method_for([]) == "fixed parameters"


def test_months_end_where_the_month_ends() -> None:
    assert validation.months_later(date(2024, 1, 31), 1) == date(2024, 2, 29)
    assert validation.months_later(date(2024, 1, 31), 3) == date(2024, 4, 30)
    assert validation.months_later(date(2024, 8, 30), -6) == date(2024, 2, 29)
    assert validation.months_later(date(2023, 12, 15), 1) == date(2024, 1, 15)


labels = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 12)), min_size=1, max_size=60)
spans = st.lists(st.tuples(st.integers(0, 110), st.integers(0, 15)), min_size=1, max_size=4)


@given(labels, spans, st.integers(0, 20))
def test_purging_agrees_with_looking_at_every_moment(
    drawn: list[tuple[int, int]], tests: list[tuple[int, int]], embargo: int
) -> None:
    start = np.array([first for first, _ in drawn])
    end = np.array([first + length for first, length in drawn])
    closed = [(first, first + length) for first, length in tests]
    kept = validation.trainable(start, end, closed, embargo)
    for at, (first, length) in enumerate(drawn):
        moments = set(range(first, first + length + 1))
        meets = any(moments & set(range(a, b + 1)) for a, b in closed)
        follows = any(first in range(b + 1, b + embargo + 1) for _, b in closed)
        assert kept[at] == (not meets and not follows)


@given(labels, st.integers(2, 6), st.integers(0, 10))
def test_no_label_of_a_fold_is_both_trained_on_and_tested(
    drawn: list[tuple[int, int]], folds: int, embargo: int
) -> None:
    start = np.array([first for first, _ in drawn])
    end = np.array([first + length for first, length in drawn])
    edges = np.linspace(0, 121, folds + 1).astype(int)
    tested = np.zeros(len(drawn), dtype=int)
    for a, b in pairwise(edges):
        own = (start >= a) & (start < b)
        kept = validation.trainable(start, end, [(int(a), int(b) - 1)], embargo)
        assert not (own & kept).any()
        tested += own
    assert (tested == 1).all()


def test_the_embargo_is_a_hundredth_of_the_span_and_at_least_the_longest_hold() -> None:
    assert validation.embargo_of(1_000, 3) == 10
    assert validation.embargo_of(1_001, 3) == 11
    assert validation.embargo_of(1_000, 30) == 30


@given(st.integers(2, 8), st.data())
def test_every_path_is_one_whole_history_and_every_test_is_used_once(groups: int, data: st.DataObject) -> None:
    tested = data.draw(st.integers(1, groups - 1))
    choices = validation.combinatorial_tests(groups, tested)
    paths = validation.combinatorial_paths(groups, tested)
    assert choices == list(combinations(range(groups), tested))
    assert paths.shape == (comb(groups, tested) * tested // groups, groups)
    used = [(int(paths[path, group]), group) for path in range(len(paths)) for group in range(groups)]
    assert sorted(used) == sorted((number, group) for number, choice in enumerate(choices) for group in choice)


def test_six_groups_tested_in_pairs_make_five_paths() -> None:
    # López de Prado (2018), figure 12.1: C(6, 2) = 15 splits and 5 paths.
    assert len(validation.combinatorial_tests(6, 2)) == 15
    assert len(validation.combinatorial_paths(6, 2)) == 5


def test_the_holdout_is_half_a_year_or_a_fifth_whichever_is_less() -> None:
    held = validation.holdout_sessions(sessions_between(date(2020, 1, 2), date(2023, 12, 29)))
    assert (held[0], held[-1]) == (date(2023, 6, 30), date(2023, 12, 29))
    short = sessions_between(date(2023, 1, 3), date(2023, 5, 31))
    assert validation.holdout_sessions(short) == tuple(short[-20:])
    assert validation.holdout_sessions(short[:4]) == ()


def test_groups_are_consecutive_and_of_nearly_equal_length() -> None:
    groups = validation.consecutive_groups(TWO_YEARS[:62], 5)
    assert [len(group) for group in groups] == [13, 13, 12, 12, 12]
    assert [day for group in groups for day in group] == TWO_YEARS[:62]


def test_the_set_with_the_best_lower_bound_is_chosen_not_the_one_with_the_best_mean() -> None:
    rng = np.random.default_rng(3)
    steady, wild = rng.normal(0.4, 0.5, 120), rng.normal(0.6, 4.0, 120)
    few = rng.normal(3.0, 0.1, 20)
    set_of = np.repeat([0, 1, 2], [120, 120, 20])
    session = np.concatenate([np.arange(120), np.arange(120), np.arange(20)])
    bounds, counts = validation.lower_bounds(
        set_of, session, np.concatenate([steady, wild, few]), 4, draws=2_000, name="x", seed=1
    )
    assert counts.tolist() == [120, 120, 20, 0]
    # The normal interval of the mean of 120 independent values.
    assert bounds[0] == pytest.approx(steady.mean() - 1.96 * steady.std(ddof=1) / np.sqrt(120), abs=0.02)
    assert np.isnan(bounds[3])
    assert wild.mean() > steady.mean()
    assert validation.best_set(bounds, counts, 30) == 0
    assert validation.best_set(bounds, counts, 10) == 2
    assert validation.best_set(bounds, counts, 121) is None


def test_short_spans_need_fewer_trades_for_a_choice() -> None:
    assert validation.minimum_trades(TWO_YEARS[:60]) == 30
    assert validation.minimum_trades(TWO_YEARS) == 100
    assert validation.minimum_trades([date(2022, 1, 3) + timedelta(days=at) for at in range(180)]) == 30
