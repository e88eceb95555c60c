"""The backward as-of join on `available_at`: the only way in which rows of two tables meet.

A row can be joined only to what was known at its moment, so looking ahead cannot be written down.
"""

from datetime import timedelta

import polars as pl

KNOWN_AT = "available_at"


def as_of(
    left: pl.DataFrame,
    right: pl.DataFrame,
    *,
    by: list[str],
    columns: dict[str, str],
    at: str = KNOWN_AT,
    max_age: timedelta | None = None,
) -> pl.DataFrame:
    """`left` with, for each row, values of the newest `right` row of the same `by` that was known at ``left[at]``.

    right: must hold `by`, `available_at` and the keys of `columns`; of rows known at the same instant the later one in
        frame order counts, so sort by event time first. Null `available_at` is an error.
    columns: right column -> name in the result; rows without a match get nulls.
    at: UTC timestamp column of `left`; `max_age`: matches known longer ago than this are null.
    Row order and row count of `left` are kept. Raises ValueError when a result name already exists in `left`.
    """
    taken = sorted(set(columns.values()) & set(left.columns))
    if taken:
        raise ValueError(f"as_of would overwrite columns {taken}")
    if right[KNOWN_AT].null_count():
        raise ValueError(f"{right[KNOWN_AT].null_count()} rows to join have no available_at")
    known = right.select(*by, KNOWN_AT, *columns).sort(KNOWN_AT, maintain_order=True)
    known = known.rename({name: f"__{new}" for name, new in columns.items()}).rename({KNOWN_AT: "__known_at"})
    ordered = left.with_row_index("__row").sort(at, maintain_order=True)
    joined = ordered.join_asof(
        known,
        left_on=at,
        right_on="__known_at",
        by=by or None,
        strategy="backward",
        tolerance=max_age,
        check_sortedness=False,
        coalesce=False,
    )
    return (
        joined.sort("__row")
        .drop("__row", "__known_at", strict=False)
        .rename({f"__{new}": new for new in columns.values()})
        .select(*left.columns, *columns.values())
    )


def never_going_back(frame: pl.DataFrame, *, by: list[str], event: str) -> pl.DataFrame:
    """Rows of `frame` in the order in which they became known, without those about an older event than one known.

    `event` is the column of what a row is about (the end of its bar, the instant of its snapshot). An as-of join on the
    result finds, of each `by`, the newest event and its latest version, where a revision of something older came last.
    """
    known = frame.sort(KNOWN_AT, event, maintain_order=True)
    newest = pl.col(event).cum_max()
    return known.filter(pl.col(event) >= (newest.over(by) if by else newest))
