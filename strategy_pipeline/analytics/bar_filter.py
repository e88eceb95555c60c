"""Bad prints and broken series: what is implausible about a bar, judged by what was known at its end.

A flagged bar gets plausible prices for indicators and levels; the stored row is never touched. Where a ticker changes
what it stands for, its series is cut instead. The rules and their reasons are in docs/bar_filter.md.
"""

from datetime import date

import numpy as np
import polars as pl

from strategy_pipeline.analytics.adjustment import split_factor
from strategy_pipeline.market.calendar import session_frame

# Wicks are measured against the median wick of the bars before (both in % of the bar's own close).
WICK_WINDOW_BARS = 64
MIN_WICK_BARS = 20
# Implausible: more than 30 usual wicks and 1 % of price, or more than 10 usual wicks and 10 % of price.
FAR_WICKS, FAR_SHARE = 30.0, 0.01
WIDE_WICKS, WIDE_SHARE = 10.0, 0.10
# Opens and closes move further than wicks do, so they need twice as many.
BODY_ALLOWANCE = 2.0
# A series is cut where the first bar of a session lies further than this from the last close, or after this many
# sessions without a bar.
BREAK_SHARE = 0.40
MAX_ABSENT_SESSIONS = 10

# A jump this near to one of these ratios (or its inverse) is taken for a split that nobody reported, not for a move.
UNREPORTED_SPLIT_RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0)
UNREPORTED_SPLIT_SHARE = 0.02

FLAGS = ("bad_open", "bad_close", "bad_high", "bad_low")


def far_from(reference: pl.Expr, *prices: pl.Expr) -> pl.Expr:
    """Whether all `prices` lie more than 40 % above, or all more than 40 % below, `reference`."""
    above, below = pl.min_horizontal(*prices), pl.max_horizontal(*prices)
    return (above > reference * (1.0 + BREAK_SHARE)) | (below < reference * (1.0 - BREAK_SHARE))


def _looks_like_a_split(ratio: pl.Expr) -> pl.Expr:
    """Whether a price ratio lies within 2 % of a usual split ratio or of its inverse."""
    larger = pl.max_horizontal(ratio, 1.0 / ratio)
    return pl.any_horizontal(
        (larger / usual - 1.0).abs() <= UNREPORTED_SPLIT_SHARE for usual in UNREPORTED_SPLIT_RATIOS
    )


_CONTINUOUS_COLUMNS = (
    "symbol", "start", "session", "bar_start", "bar_end", "available_at",
    "open", "high", "low", "close", "volume", "vwap", "coverage_pct",
)  # fmt: skip


def clean_bars(bars: pl.DataFrame) -> pl.DataFrame:
    """`bars` with plausible open, high, low and close, and `bar_flags`, a list of words (see FLAGS) for what changed.

    `bars`: one timeframe with `lane` (rows that follow one another share it and lie together, in order of time),
    session, open, high, low and close on one share basis per lane. Rows, order and other columns are kept. A bar's
    result depends on that bar and the 64 before it; the rule is free of scale and treats the two sides of the
    market alike.
    """
    o, h, low, c = (pl.col(name) for name in ("open", "high", "low", "close"))
    wick = pl.max_horizontal(h - pl.max_horizontal(o, c), pl.min_horizontal(o, c) - low)
    judged = bars.with_columns(
        _usual=(wick / c).rolling_median(WICK_WINDOW_BARS, min_samples=MIN_WICK_BARS).shift(1).over("lane"),
        _before=pl.when(pl.col("lane") == pl.col("lane").shift(1)).then(c.shift(1)),
    )
    before, usual = pl.col("_before"), pl.col("_usual")
    # The middle one of open, close and last close: a price of which no single bad print can make nonsense.
    base = pl.max_horizontal(pl.min_horizontal(o, c), pl.min_horizontal(pl.max_horizontal(o, c), before))

    def implausible(distance: pl.Expr, allowance: float = 1.0) -> pl.Expr:
        share = distance / base
        # A usual wick of 0 (bars of single trades) says nothing about 30 of them: only the wide rule is left.
        far = (usual > 0) & (share > allowance * FAR_WICKS * usual) & (share > FAR_SHARE)
        wide = (share > allowance * WIDE_WICKS * usual) & (share > WIDE_SHARE)
        return (far | wide).fill_null(False)

    # An open or a close is bad when it is far from both of its neighbours; what the next price confirms is a move.
    known = before.is_not_null()
    judged = judged.with_columns(
        _bad_open=known & implausible(pl.min_horizontal((o - c).abs(), (o - before).abs()), BODY_ALLOWANCE),
        _bad_close=known & implausible(pl.min_horizontal((o - c).abs(), (c - before).abs()), BODY_ALLOWANCE),
    )
    bad_open, bad_close = pl.col("_bad_open"), pl.col("_bad_close")
    opens_session = pl.col("session") != pl.col("session").shift(1)
    judged = judged.with_columns(
        _open=pl.when(bad_open).then(pl.when(opens_session & ~bad_close).then(c).otherwise(before)).otherwise(o),
        _close=pl.when(bad_close).then(pl.when(bad_open).then(before).otherwise(o)).otherwise(c),
    )
    top, bottom = pl.max_horizontal("_open", "_close"), pl.min_horizontal("_open", "_close")
    judged = judged.with_columns(_bad_high=implausible(h - top), _bad_low=implausible(bottom - low))
    bad_high, bad_low = pl.col("_bad_high"), pl.col("_bad_low")
    nothing = pl.lit([], dtype=pl.List(pl.String))
    flagged = pl.concat_list(*(pl.when(pl.col(f"_{name}")).then(pl.lit([name])).otherwise(nothing) for name in FLAGS))
    return judged.with_columns(
        open="_open",
        close="_close",
        high=pl.when(bad_high).then(top).otherwise(pl.max_horizontal(h, top)),
        low=pl.when(bad_low).then(bottom).otherwise(pl.min_horizontal(low, bottom)),
        bar_flags=flagged,
    ).select(*bars.columns, "bar_flags")


def continuous_bars(bars: pl.DataFrame, actions: pl.DataFrame, since: date | None = None) -> pl.DataFrame:
    """Cleaned bars of one timeframe on a basis that runs through splits, cut into unbroken series.

    `bars`: rows of ``historical_bars``, sorted by `start`, symbol and bar_start, where the column `start` is the date
    from which this copy of a symbol's history counts; with `since`, that date for all of them. Prices are multiplied,
    volumes divided, by `split_factor`, the splits after `start` up to the row's session (dividing by it gives back the
    basis of the row's session). Added: `bar_flags`; `series_id` (rows of one unbroken series share it); `bar_number`
    (0-based within it); `cut_session` (the session that began the series, null when the data began there); `holding_id`
    (rows a share could be held through share it: a crash cuts the series, but not the holding; a long absence and a
    jump that looks like an unreported split cut both).
    `available_at` is when the bar and all before it were known. `actions`: known rows of ``corporate_actions``.
    """
    if since is not None:
        bars = bars.with_columns(start=pl.lit(since, dtype=pl.Date))
    bars = bars.select(_CONTINUOUS_COLUMNS)
    factor = split_factor(bars, actions, since="start")
    prices = [pl.col(name) * factor for name in ("open", "high", "low", "close", "vwap")]
    changes = (pl.col("symbol") != pl.col("symbol").shift(1)) | (pl.col("start") != pl.col("start").shift(1))
    bars = clean_bars(
        bars.with_columns(
            *prices,
            volume=pl.col("volume") / factor,
            split_factor=factor,
            lane=changes.fill_null(True).cum_sum(),
        )
    )
    ordinals = np.searchsorted(session_frame()["session"].to_numpy(), bars["session"].to_numpy())
    new_lane = (pl.col("lane") != pl.col("lane").shift(1)).fill_null(True)
    bars = bars.with_columns(
        _passed=pl.Series(ordinals).diff().fill_null(0),
        _far=far_from(pl.col("close").shift(1), pl.col("open"), pl.col("close")).fill_null(False),
        _row=pl.int_range(pl.len()),
        available_at=pl.col("available_at").cum_max().over("lane"),
        _like_split=_looks_like_a_split(pl.col("open") / pl.col("close").shift(1)).fill_null(False),
    )
    absent = pl.col("_passed") - 1 > MAX_ABSENT_SESSIONS
    jumped = (pl.col("_passed") > 0) & pl.col("_far")
    bars = bars.with_columns(
        _cut=~new_lane & (jumped | absent),
        _not_held=new_lane | absent | (jumped & pl.col("_like_split")),
    )
    starts = new_lane | pl.col("_cut")
    first_row = pl.when(starts).then(pl.col("_row")).forward_fill()
    return bars.with_columns(
        series_id=starts.cum_sum().cast(pl.UInt32),
        holding_id=pl.col("_not_held").cum_sum().cast(pl.UInt32),
        bar_number=pl.col("_row") - first_row,
        cut_session=pl.when(pl.col("_cut").gather(first_row)).then(pl.col("session").gather(first_row)),
    ).drop("_passed", "_far", "_row", "_cut", "_like_split", "_not_held", "lane")
