"""The as-of join never hands over a row before it was known."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.lake.asof import as_of

START = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)


def frame(symbols: list[str], seconds: list[int], **columns: list[float]) -> pl.DataFrame:
    moments = pl.Series([START + timedelta(seconds=s) for s in seconds], dtype=pl.Datetime("us", "UTC"))
    return pl.DataFrame({"symbol": symbols, "available_at": moments, **columns}, schema_overrides={"symbol": pl.String})


def test_the_newest_row_known_at_the_moment_is_taken_and_equality_counts():
    left = frame(["A", "A", "A", "B"], [0, 10, 19, 10])
    right = frame(["A", "A", "B"], [10, 20, 11], price=[1.0, 2.0, 3.0])
    assert as_of(left, right, by=["symbol"], columns={"price": "p"})["p"].to_list() == [None, 1.0, 1.0, None]


def test_of_rows_known_at_the_same_instant_the_later_event_counts():
    right = frame(["A", "A"], [10, 10], price=[1.0, 2.0])
    assert as_of(frame(["A"], [10]), right, by=["symbol"], columns={"price": "p"})["p"].to_list() == [2.0]


def test_a_match_that_is_too_old_is_null():
    right = frame(["A"], [0], price=[1.0])
    left = frame(["A", "A"], [60, 61])
    joined = as_of(left, right, by=["symbol"], columns={"price": "p"}, max_age=timedelta(seconds=60))
    assert joined["p"].to_list() == [1.0, None]


def test_rows_keep_their_order_and_number_whatever_is_joined():
    left = frame(["B", "A", "B"], [30, 5, 1])
    right = frame(["A", "B"], [0, 0], price=[1.0, 2.0])
    joined = as_of(left, right, by=["symbol"], columns={"price": "p"})
    assert joined.drop("p").equals(left)
    assert joined["p"].to_list() == [2.0, 1.0, 2.0]


def test_overwriting_a_column_or_joining_rows_without_a_moment_is_an_error():
    left, right = frame(["A"], [0], price=[1.0]), frame(["A"], [0], price=[1.0])
    with pytest.raises(ValueError, match="overwrite"):
        as_of(left, right, by=["symbol"], columns={"price": "price"})
    unknown = right.with_columns(available_at=pl.lit(None, pl.Datetime("us", "UTC")))
    with pytest.raises(ValueError, match="no available_at"):
        as_of(left, unknown, by=["symbol"], columns={"price": "p"})


moments = st.lists(st.integers(0, 50), min_size=1, max_size=30)


@settings(max_examples=100, deadline=None)
@given(lefts=moments, rights=moments)
def test_the_join_equals_a_search_by_hand(lefts, rights):
    rights = sorted(rights)
    right = frame(["A"] * len(rights), rights, price=[float(n) for n in range(len(rights))])
    joined = as_of(frame(["A"] * len(lefts), lefts), right, by=["symbol"], columns={"price": "p"})
    by_hand = [max((n for n, r in enumerate(rights) if r <= moment), default=None) for moment in lefts]
    assert joined["p"].to_list() == by_hand


@settings(max_examples=50, deadline=None)
@given(lefts=moments, rights=moments, cut=st.integers(0, 50))
def test_rows_that_become_known_later_change_nothing_before(lefts, rights, cut):
    left = frame(["A"] * len(lefts), lefts)
    right = frame(["A"] * len(rights), rights, price=[float(n) for n in range(len(rights))]).sort(
        "available_at", maintain_order=True
    )
    early = pl.col("available_at") <= START + timedelta(seconds=cut)
    whole = as_of(left, right, by=["symbol"], columns={"price": "p"}).filter(early)
    assert as_of(left, right.filter(early), by=["symbol"], columns={"price": "p"}).filter(early).equals(whole)
