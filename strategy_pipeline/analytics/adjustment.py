"""Split adjustment at read time: stored bars stay raw, a view is put on the share basis of the session that looks.

A split counts from 00:00 New York of its ex-date and never earlier. Dividends do not change prices here.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

import numpy as np
import polars as pl

from strategy_pipeline.market import calendar

PRICES = ("open", "high", "low", "close", "vwap")


def split_factor(frame: pl.DataFrame, actions: pl.DataFrame, since: str | None = None) -> pl.Series:
    """Shares on each row's session for one share earlier: the product of ratios with since < ex_date <= session.

    `frame` has symbol and session (any order) and may name a date column as `since`; without it every split up to the
    session counts. `actions` are rows of ``corporate_actions``. A raw price times this factor is continuous through
    splits, a raw volume divided by it likewise.
    """
    factor = np.ones(frame.height)
    if frame.is_empty():
        return pl.Series("split_factor", factor)
    splits = actions.filter((pl.col("action") == "split") & (pl.col("ex_date") <= frame["session"].max()))
    if since is not None:
        splits = splits.filter(pl.col("ex_date") > frame[since].min())
    symbols, sessions = frame["symbol"], frame["session"]
    present = set(symbols.unique().cast(pl.String))
    for symbol, ex_date, ratio in splits.sort("symbol", "ex_date").select("symbol", "ex_date", "split_ratio").rows():
        if symbol in present:
            counts = (symbols == symbol) & (sessions >= ex_date)
            factor[(counts if since is None else counts & (frame[since] < ex_date)).to_numpy()] *= ratio
    return pl.Series("split_factor", factor)


def sessions_by_known_actions(sessions: Iterable[date], actions: pl.DataFrame) -> list[tuple[list[date], pl.DataFrame]]:
    """`sessions` with the rows of `actions` that count on them, those with the same rows together.

    A split that is effective but not yet announced at a session's open does not exist for it. Mostly none is, and all
    sessions come together with all actions.
    """
    # No session of New York opens before 13:00 UTC, so whatever is announced by then counts from its ex-date on.
    late = (
        actions.with_row_index("_n")
        .filter(pl.col("available_at") > pl.col("ex_date").cast(pl.Datetime("us", "UTC")) + pl.duration(hours=13))
        .select("_n", "ex_date", "available_at")
        .rows()
    )
    groups: dict[tuple[int, ...], list[date]] = defaultdict(list)
    for day in sessions:
        opened = calendar.session(day).open
        groups[tuple(n for n, ex_date, known_at in late if ex_date <= day and known_at > opened)].append(day)
    numbered = actions.with_row_index("_n")
    return [(days, numbered.filter(~pl.col("_n").is_in(hidden)).drop("_n")) for hidden, days in groups.items()]


def adjust(bars: pl.DataFrame, actions: pl.DataFrame, basis: date) -> pl.DataFrame:
    """`bars` on the share basis of session `basis`: what a person looking back from that session would see.

    Prices of earlier sessions are divided by the splits in between and volumes multiplied; splits after `basis` do
    not exist yet. Bars after `basis` are put on its basis as well, so that ``unadjust`` can take everything back.
    """
    return _scaled(bars, _ratio_to(bars, actions, basis))


def unadjust(bars: pl.DataFrame, actions: pl.DataFrame, basis: date) -> pl.DataFrame:
    """The raw bars that ``adjust`` with the same `basis` was given."""
    return _scaled(bars, 1.0 / _ratio_to(bars, actions, basis))


def _ratio_to(bars: pl.DataFrame, actions: pl.DataFrame, basis: date) -> pl.Series:
    at_basis = bars.select("symbol", session=pl.lit(basis, dtype=pl.Date))
    return split_factor(bars, actions) / split_factor(at_basis, actions)


def _scaled(bars: pl.DataFrame, ratio: pl.Series) -> pl.DataFrame:
    prices = [pl.col(name) * ratio for name in PRICES if name in bars.columns]
    return bars.with_columns(*prices, volume=pl.col("volume") / ratio)
