"""Contracts of the option tables: the words they share with pricing, and the rows they refuse."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from strategy_pipeline.errors import ContractError
from strategy_pipeline.lake import tables
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import OPEN_INTEREST
from strategy_pipeline.pricing import chain, implied_volatility


def test_tables_and_pricing_use_the_same_words():
    assert tables.IV_STATUSES == implied_volatility.IV_STATUSES
    assert tables.STATUSES_WITH_IV == implied_volatility.STATUSES_WITH_IV
    assert tables.IV_SOURCES == chain.IV_SOURCES
    assert tables.EXERCISE_MODELS == chain.EXERCISE_MODELS


@pytest.mark.parametrize(
    ("oi_session", "available_at", "rule"),
    [
        (date(2015, 12, 24), datetime(2015, 12, 24, 11, 30, tzinfo=UTC), "describes_an_earlier_session"),
        (date(2015, 12, 23), datetime(2015, 12, 23, 21, 0, tzinfo=UTC), "known_in_the_morning_at_the_earliest"),
        (date(2015, 12, 23), datetime(2015, 12, 24, 11, 29, tzinfo=UTC), "known_in_the_morning_at_the_earliest"),
    ],
)
def test_open_interest_of_the_session_itself_cannot_be_stored(oi_session, available_at, rule):
    row = (date(2015, 12, 24), "O:X", "X", 5, oi_session, "flat_file", "final", [], available_at, available_at, 0, "t")
    frame = pl.DataFrame([row], schema=OPEN_INTEREST.polars_schema, orient="row")
    with pytest.raises(ContractError, match=rule):
        conform(OPEN_INTEREST, frame)
