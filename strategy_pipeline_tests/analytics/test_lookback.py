"""What a feature row may read: nothing outside its reach, whatever the row and the day."""

from datetime import date

import pytest

from strategy_pipeline.analytics.lookback import FEATURE_TIMEFRAMES, bars_needed, sessions_in_reach
from strategy_pipeline.market.symbols import instrument, instruments_frame

INSTRUMENTS = instruments_frame([instrument("SPX"), instrument("SPY"), instrument("IBM")])
# An ordinary day, a half day, the first of a month and of a year, days around a change to daylight saving.
DAYS = [
    date(2024, 11, 27),
    date(2024, 11, 29),
    date(2024, 12, 2),
    date(2024, 1, 2),
    date(2024, 3, 8),
    date(2024, 3, 11),
]


@pytest.mark.parametrize("timeframe", FEATURE_TIMEFRAMES)
@pytest.mark.parametrize("day", DAYS, ids=str)
def test_the_bars_a_row_needs_lie_in_its_reach(timeframe, day):
    needed = {session for one in bars_needed(timeframe, [day], INSTRUMENTS) for session in one.sessions}
    assert needed <= set(sessions_in_reach(timeframe, day))


@pytest.mark.parametrize("timeframe", FEATURE_TIMEFRAMES)
def test_the_reach_ends_with_the_row_and_is_in_order(timeframe):
    reach = sessions_in_reach(timeframe, date(2024, 11, 29))
    assert reach[-1] == date(2024, 11, 29)
    assert reach == sorted(set(reach))
