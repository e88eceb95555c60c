"""Indicators against published tables and against a plain Python reading of their definitions."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.analytics import indicators

# StockCharts' RSI table (quant_methods.md section 14): 33 closes, RSI from the 15th.
RSI_CLOSES = [
    44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931, 46.0328, 45.6140,
    46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439, 46.2122, 46.2521, 45.7137, 46.4515, 45.7835, 45.3548,
    44.0288, 44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314,
]  # fmt: skip
RSI_EXPECTED = [
    70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38, 54.71, 50.42, 39.99, 41.46, 41.87, 45.46,
    37.30, 33.08, 37.77,
]  # fmt: skip

# StockCharts' moving-average table (same section): 30 closes, EMA10 from the 10th.
EMA_CLOSES = [
    22.2734, 22.1940, 22.0847, 22.1741, 22.1840, 22.1344, 22.2337, 22.4323, 22.2436, 22.2933, 22.1542, 22.3926, 22.3816,
    22.6109, 23.3558, 24.0519, 23.7530, 23.8324, 23.9516, 23.6338, 23.8225, 23.8722, 23.6537, 23.1870, 23.0976, 23.3260,
    22.6805, 23.0976, 22.4025, 22.1725,
]  # fmt: skip
EMA_EXPECTED = [
    22.22, 22.21, 22.24, 22.27, 22.33, 22.52, 22.80, 22.97, 23.13, 23.28, 23.34, 23.43, 23.51, 23.54, 23.47, 23.40,
    23.39, 23.26, 23.23, 23.08, 22.92,
]  # fmt: skip


def series(close: list[float], high: list[float] | None = None, low: list[float] | None = None, number: int = 1):
    """A frame of one series as continuous_bars would hand it over."""
    return pl.DataFrame(
        {
            "series_id": pl.Series([number] * len(close), dtype=pl.UInt32),
            "bar_number": list(range(len(close))),
            "close": close,
            "high": high or close,
            "low": low or close,
        }
    )


def random_bars(count: int, seed: int = 3) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 + np.cumsum(rng.normal(0, 0.5, count))
    reach = np.abs(rng.normal(0, 0.3, (2, count)))
    return series(close.tolist(), (close + reach[0]).tolist(), (close - reach[1]).tolist())


def values(frame: pl.DataFrame, expression: pl.Expr) -> list[float | None]:
    return frame.select(expression.fill_nan(None).alias("value"))["value"].to_list()


def wilder(changes: list[float], period: int = 14) -> list[float | None]:
    """Mean of the first `period` values, then (previous x (period - 1) + value) / period."""
    out: list[float | None] = [None] * (period - 1)
    average = sum(changes[:period]) / period
    out.append(average)
    for change in changes[period:]:
        average = (average * (period - 1) + change) / period
        out.append(average)
    return out


def assert_close(found: list[float | None], expected: list[float | None], tolerance: float = 1e-9) -> None:
    assert [value is None for value in found] == [value is None for value in expected]
    for one, other in zip(found, expected, strict=True):
        if other is not None:
            assert one == pytest.approx(other, abs=tolerance)


def test_rsi_reproduces_the_stockcharts_table():
    found = values(series(RSI_CLOSES), indicators.rsi14())
    assert found[:14] == [None] * 14
    assert [round(value, 2) for value in found[14:]] == RSI_EXPECTED


def test_ema_reproduces_the_stockcharts_table():
    found = values(series(EMA_CLOSES), indicators.ema(10))
    assert found[:9] == [None] * 9
    assert [round(value, 2) for value in found[9:]] == EMA_EXPECTED


def test_rsi_equals_its_definition_on_random_closes():
    frame = random_bars(300)
    close = frame["close"].to_list()
    changes = [later - earlier for earlier, later in pairwise(close)]
    gains, losses = (wilder([max(0.0, sign * change) for change in changes]) for sign in (1, -1))
    expected = [None, *(None if g is None else 100 * g / (g + ls) for g, ls in zip(gains, losses, strict=True))]
    assert_close(values(frame, indicators.rsi14()), expected)


def test_atr_equals_its_definition_on_random_bars():
    frame = random_bars(300)
    high, low, close = (frame[name].to_list() for name in ("high", "low", "close"))
    ranges = [
        max(high[n] - low[n], abs(high[n] - close[n - 1]), abs(low[n] - close[n - 1])) for n in range(1, len(close))
    ]
    assert_close(values(frame, indicators.atr14()), [None, *wilder(ranges)])


def test_adx_equals_its_definition_on_random_bars():
    frame = random_bars(300)
    high, low, close = (frame[name].to_list() for name in ("high", "low", "close"))
    plus, minus, ranges = [], [], []
    for n in range(1, len(close)):
        up, down = high[n] - high[n - 1], low[n - 1] - low[n]
        plus.append(up if up > down and up > 0 else 0.0)
        minus.append(down if down > up and down > 0 else 0.0)
        ranges.append(max(high[n] - low[n], abs(high[n] - close[n - 1]), abs(low[n] - close[n - 1])))
    index = []
    for p, m, r in zip(wilder(plus), wilder(minus), wilder(ranges), strict=True):
        if r is not None:
            index.append(100 * abs(100 * p / r - 100 * m / r) / (100 * p / r + 100 * m / r))
    found = values(frame, indicators.adx14())
    assert_close(found, [None] * 14 + wilder(index))
    assert found.index(next(value for value in found if value is not None)) == 27


def test_rsi_is_50_without_movement_100_with_gains_only_and_0_with_losses_only():
    assert values(series([5.0] * 40), indicators.rsi14())[-1] == 50.0
    assert values(series([5.0 + n for n in range(40)]), indicators.rsi14())[-1] == 100.0
    assert values(series([50.0 - n for n in range(40)]), indicators.rsi14())[-1] == 0.0


def test_adx_is_0_where_nothing_moves_in_a_direction():
    assert values(series([5.0] * 60), indicators.adx14())[-1] == 0.0


def test_a_series_does_not_feel_its_neighbour():
    one, other = random_bars(260, seed=1), random_bars(260, seed=2)
    both = pl.concat([one, other.with_columns(series_id=pl.lit(2, dtype=pl.UInt32))])
    for expression in (indicators.rsi14(), indicators.ema(21), indicators.atr14(), indicators.adx14()):
        assert values(both, expression) == values(one, expression) + values(other, expression)
    for expression in (indicators.highest_before("high", 20), indicators.lowest_before("low", 20)):
        assert values(both, expression) == values(one, expression) + values(other, expression)


def test_a_value_is_served_from_the_last_bar_of_its_warm_up_on():
    # detectors.md section 2, column "Warm-up": bars needed before the value is non-null.
    frame = random_bars(900).with_columns(atr14=indicators.served(indicators.atr14(), indicators.WARM_UP_BARS["atr14"]))
    first = {
        "ema21": (indicators.served(indicators.ema(21), indicators.WARM_UP_BARS["ema21"]), 94),
        "ema50": (indicators.served(indicators.ema(50), indicators.WARM_UP_BARS["ema50"]), 223),
        "ema200": (indicators.served(indicators.ema(200), indicators.WARM_UP_BARS["ema200"]), 891),
        "rsi14": (indicators.served(indicators.rsi14(), indicators.WARM_UP_BARS["rsi14"]), 109),
        "atr14": (pl.col("atr14"), 109),
        "adx14": (indicators.served(indicators.adx14(), indicators.WARM_UP_BARS["adx14"]), 216),
        "atr_ratio": (indicators.atr_ratio(), 239),
        "range_20": (indicators.highest_before("high", 20), 21),
        "mom3": (indicators.earlier("close", 3), 4),
    }
    for name, (expression, bars) in first.items():
        found = values(frame, expression)
        assert found[: bars - 1] == [None] * (bars - 1), name
        assert None not in found[bars - 1 :], name


def test_the_current_bar_is_not_part_of_its_own_range():
    frame = series([1.0] * 20 + [9.0, 2.0])
    assert values(frame, indicators.highest_before("high", 20))[20:] == [1.0, 9.0]
