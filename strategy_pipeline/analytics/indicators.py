"""Technical indicators over unbroken series of bars, by polars-talib, with their warm-up masks.

Every function returns an expression for a frame that is sorted by series and time and holds `series_id` (rows of one
unbroken series share it) and `bar_number` (0-based within it). Definitions: quant_methods.md section 11. Levels of a
session and pivots are not here.
"""

import polars as pl

# Bars until a value is served: first index + 1 + bars until the starting value weighs under 1e-3.
WARM_UP_BARS = {
    "ema21": 94,
    "ema50": 223,
    "ema200": 891,
    "rsi14": 109,
    "rsi14_delta": 110,
    "atr14": 109,
    "atr_ratio": 239,
    "adx14": 216,
    "range_20": 21,
    "mom3": 4,
}

_SERIES = "series_id"
_WILDER_PERIOD = 14
# TA-Lib takes a sum of gains and losses below 1e-14 for none and then answers 0; we answer 50.
_NO_MOVEMENT = 1e-14


def served(value: pl.Expr, bars: int) -> pl.Expr:
    """`value` from the `bars`-th bar of its series on, null before; NaN becomes null."""
    return pl.when(pl.col("bar_number") >= bars - 1).then(value.fill_nan(None))


def ema(period: int, *, price: str = "close") -> pl.Expr:
    """Exponential average with alpha 2/(period + 1) that starts at the mean of the first `period` values; unmasked."""
    import polars_talib as ta

    return ta.ema(pl.col(price), period).over(_SERIES)


def rsi14(*, price: str = "close") -> pl.Expr:
    """Wilder's RSI, 0-100, 50 where there was neither gain nor loss; unmasked, first value at index 14."""
    import polars_talib as ta

    movement = ta.rma(pl.col(price).diff().abs(), _WILDER_PERIOD)
    value = ta.rsi(pl.col(price), _WILDER_PERIOD)
    return pl.when(movement <= _NO_MOVEMENT).then(50.0).otherwise(value).over(_SERIES)


def atr14() -> pl.Expr:
    """Wilder's average true range in the unit of price; unmasked, first value at index 14 = mean of TR 1..14."""
    import polars_talib as ta

    return ta.atr(pl.col("high"), pl.col("low"), pl.col("close"), _WILDER_PERIOD).over(_SERIES)


def adx14() -> pl.Expr:
    """Wilder's ADX, 0-100; a bar without directional movement counts as DX 0; unmasked, first value at index 27.

    Built from polars-talib's Wilder average because TA-Lib's own ADX repeats the last DX there.
    """
    import polars_talib as ta

    high, low, close = pl.col("high"), pl.col("low"), pl.col("close")
    up, down = high.diff(), -low.diff()
    true_range = pl.max_horizontal(high, close.shift(1)) - pl.min_horizontal(low, close.shift(1))
    # The first difference is null and stays null: Wilder's sums start at index 1.
    rise = pl.when((up > down) & (up > 0)).then(up).when(up.is_not_null()).then(0.0)
    fall = pl.when((down > up) & (down > 0)).then(down).when(down.is_not_null()).then(0.0)
    true_range = pl.when(up.is_not_null()).then(true_range)
    plus = ta.rma(rise, _WILDER_PERIOD)
    minus = ta.rma(fall, _WILDER_PERIOD)
    spread = ta.rma(true_range, _WILDER_PERIOD)
    # Both directional indices share the divisor `spread`, so it cancels out of DX except where nothing moved at all.
    moved = (spread > 0) & (plus + minus > 0)
    dx = (
        pl.when(plus.is_nan()).then(None).when(moved).then(100.0 * (plus - minus).abs() / (plus + minus)).otherwise(0.0)
    )
    return ta.rma(dx, _WILDER_PERIOD).over(_SERIES)


def atr_ratio(atr: str = "atr14", *, bars: int = 130) -> pl.Expr:
    """A served ATR against the mean of its previous `bars` values, ratio; null where that mean is 0 or incomplete."""
    mean = pl.col(atr).rolling_mean(bars).shift(1).over(_SERIES)
    return pl.when(mean > 0).then(pl.col(atr) / mean)


def highest_before(column: str, bars: int) -> pl.Expr:
    """Highest value of the `bars` rows before the current one (Donchian, current excluded), served once complete."""
    # No `over`: the mask leaves only windows that lie inside one series, and a maximum carries nothing across.
    return served(pl.col(column).rolling_max(bars).shift(1), bars + 1)


def lowest_before(column: str, bars: int) -> pl.Expr:
    """Lowest value of the `bars` rows before the current one, served once complete."""
    return served(pl.col(column).rolling_min(bars).shift(1), bars + 1)


def earlier(column: str, bars: int) -> pl.Expr:
    """The value `bars` rows earlier in the same series, null where there is none."""
    return pl.when(pl.col("bar_number") >= bars).then(pl.col(column).shift(bars))
