"""The spread at the end of each regular minute: which quote counts, how old it may be, and what a feature row sees."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.analytics.quoted_spreads import quoted_spreads, spread_features
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.ingestion.stock_quotes import STOCK_QUOTES, parse_stock_quotes
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import INSTANT, QUOTED_SPREADS
from strategy_pipeline_tests.analytics.context_rows import asked, at, spread_rows

DAY, HALF_DAY = date(2024, 7, 2), date(2024, 7, 3)
KEY = "us_stocks_sip/quotes_v1/2013/10/2013-10-07.csv.gz"
PUBLISHED_AT = datetime.fromisoformat("2024-07-03T15:00:00Z")


def quotes(*rows: tuple[str, datetime, float | None, float | None], late_us: int = 0) -> pl.DataFrame:
    """Quotes in the order of the tape: symbol, moment, bid, ask."""
    filled = [
        (symbol, 0, number, bid, ask, moment, moment + timedelta(microseconds=late_us), PUBLISHED_AT)
        for number, (symbol, moment, bid, ask) in enumerate(rows)
    ]
    return pl.DataFrame(filled, schema=STOCK_QUOTES, orient="row")


def spreads(*rows: tuple[str, datetime, float | None, float | None], day: date = DAY) -> pl.DataFrame:
    return conform(QUOTED_SPREADS, quoted_spreads(quotes(*rows), day))


def minutes(frame: pl.DataFrame, day: date = DAY) -> list[int]:
    return [round((moment - at(day, 0)).total_seconds() / 60) for moment in frame["minute_end"]]


def test_a_minute_shows_the_newest_quote_at_its_end_and_is_known_with_its_own_bar():
    start = at(DAY, 4)
    found = spreads(
        ("AAA", start, 99.0, 101.0),
        ("AAA", start + timedelta(seconds=59), 99.5, 100.5),
        ("AAA", start + timedelta(seconds=60, microseconds=1), 90.0, 110.0),
    )
    first, second, third = found.to_dicts()
    assert minutes(found) == [4, 5, 6]
    # 100 x 2 / 100, 100 x 1 / 100 and 100 x 20 / 100
    assert [row["spread_pct"] for row in (first, second, third)] == [2.0, 1.0, 20.0]
    assert second["quote_at"] == start + timedelta(seconds=59)
    assert second["available_at"] == second["minute_end"] + timedelta(seconds=2)
    assert second["ingested_at"] == PUBLISHED_AT


def test_a_quote_counts_until_it_is_sixty_seconds_old_and_no_longer():
    assert minutes(spreads(("AAA", at(DAY, 10), 99.0, 101.0))) == [10, 11]
    assert minutes(spreads(("AAA", at(DAY, 10) + timedelta(microseconds=1), 99.0, 101.0))) == [11]
    assert minutes(spreads(("AAA", at(DAY, 11) - timedelta(microseconds=1), 99.0, 101.0))) == [11]


def test_a_quote_between_two_microseconds_belongs_to_the_minute_after_it():
    late = quotes(("AAA", at(DAY, 10), 99.0, 101.0), late_us=1)
    assert minutes(quoted_spreads(late, DAY)) == [11]


@pytest.mark.parametrize(
    ("bid", "ask"),
    [(0.0, 100.5), (99.5, 0.0), (None, 100.5), (99.5, None), (100.6, 100.5), (0.0, 0.0), (float("nan"), 100.5)],
)
def test_one_sided_crossed_and_zero_quotes_are_no_quotes(bid, ask):
    bad = ("AAA", at(DAY, 9) + timedelta(seconds=30), bid, ask)
    assert spreads(bad).is_empty()
    found = spreads(("AAA", at(DAY, 9) + timedelta(seconds=10), 99.0, 101.0), bad)
    assert found["spread_pct"].to_list() == [2.0]


def test_a_locked_market_has_no_spread_and_is_quoted():
    assert spreads(("AAA", at(DAY, 9) + timedelta(seconds=30), 100.0, 100.0))["spread_pct"].to_list() == [0.0]


def test_only_minutes_of_regular_hours_count_also_on_a_half_day():
    every = [("AAA", at(HALF_DAY, minute) - timedelta(seconds=1), 99.0, 101.0) for minute in range(-30, 300)]
    assert minutes(spreads(*every, day=HALF_DAY), HALF_DAY) == list(range(1, 211))


def test_symbols_do_not_lend_each_other_quotes():
    found = spreads(("BBB", at(DAY, 3), 99.0, 101.0), ("AAA", at(DAY, 7), 49.0, 51.0))
    assert found.select("symbol", "bid").rows() == [("AAA", 49.0), ("AAA", 49.0), ("BBB", 99.0), ("BBB", 99.0)]
    assert minutes(found) == [7, 8, 3, 4]
    assert spreads().is_empty()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 400_000), st.sampled_from([0.0, 99.0, 100.0, 101.0]), st.sampled_from([0.0, 100.0, 101.0])
        ),
        max_size=20,
    ),
    st.integers(0, 400_000),
)
def test_what_is_quoted_later_changes_no_earlier_minute(moments, cut):
    tape = sorted((at(DAY, 0) + timedelta(milliseconds=ms), bid, ask) for ms, bid, ask in moments)
    known = at(DAY, 0) + timedelta(milliseconds=cut)
    before = spreads(*(("AAA", *one) for one in tape if one[0] <= known)).filter(pl.col("minute_end") <= known)
    assert spreads(*(("AAA", *one) for one in tape)).filter(pl.col("minute_end") <= known).equals(before)


def test_a_row_sees_the_minute_that_ends_with_its_bar_however_late_the_bar_is_known():
    rows = asked(("AAA", DAY, 15), ("AAA", DAY, 30), ("BBB", DAY, 15))
    table = spread_rows(("AAA", DAY, 15, 99.0, 101.0), ("AAA", DAY, 16, 99.9, 100.1), ("AAA", DAY, 29, 99.0, 101.0))
    assert spread_features(rows, table).to_list() == [2.0, None, None]
    late = rows.with_columns(pl.col("available_at") + timedelta(minutes=20))
    assert spread_features(late, table).to_list() == [2.0, None, None]


def test_a_row_does_not_see_a_quote_that_came_to_be_known_after_it():
    rows = asked(("AAA", DAY, 15))
    table = spread_rows(("AAA", DAY, 15, 99.0, 101.0)).with_columns(pl.col("available_at") + timedelta(microseconds=1))
    assert spread_features(rows, table).to_list() == [None]


def test_the_real_quotes_of_spy_and_ibm_give_the_spreads_that_awk_finds(shared_data):
    day = date(2013, 10, 7)
    raw = RawFile(KEY, shared_data / KEY, 0, "etag", PUBLISHED_AT, "")
    found = conform(QUOTED_SPREADS, quoted_spreads(parse_stock_quotes(raw, day, ["SPY", "IBM"]).rows, day))
    # Found with awk over the file: last line of the symbol before the minute's end, 100 (ask - bid) / mid.
    expected = {
        ("SPY", 1): (167.44, 167.45, 0.0059721102),
        ("IBM", 1): (182.0, 182.15, 0.0823836331),
        ("SPY", 15): (167.66, 167.67, 0.0059642740),
        ("IBM", 15): (182.48, 182.55, 0.0383530121),
        ("IBM", 195): (182.65, 182.68, 0.0164235075),
        ("SPY", 390): (167.44, 167.45, 0.0059721102),
    }
    for (symbol, minute), (bid, ask, spread) in expected.items():
        row = found.row(
            by_predicate=(pl.col("symbol") == symbol) & (pl.col("minute_end") == at(day, minute)), named=True
        )
        assert (row["bid"], row["ask"]) == (bid, ask)
        assert row["spread_pct"] == pytest.approx(spread, abs=1e-10)
    typical = dict(found.group_by("symbol").agg(pl.col("spread_pct").median()).iter_rows())
    # A cent on 167.6 dollars, and some cents on 182.
    assert 0.0059 < typical["SPY"] < 0.0061
    assert 0.01 < typical["IBM"] < 0.05
    assert found["spread_pct"].max() < 0.2
    assert found["minute_end"].dtype == INSTANT
