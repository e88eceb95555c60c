"""A lake whose rows after a moment are spoilt, and what changed at or before it: the proof that nothing looks ahead.

A computation that is handed a `PoisonedLake` instead of its lake must give the same rows up to the moment. Which
computations are held to that is decided by the asset checks and the tests.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from strategy_pipeline.lake.asof import KNOWN_AT
from strategy_pipeline.lake.store import Lake, PartitionInfo, PartitionKey
from strategy_pipeline.lake.tables import (
    COMPOSITE_SIGNALS,
    CONTEXT_SCORES,
    CORPORATE_ACTIONS,
    FEATURES,
    HISTORICAL_BARS,
    Table,
)

# What happens to rows that were not known at the moment. `revise` adds later versions of rows that were, with other
# values; `split` announces one for every symbol; `storm` is garble, revise and split at once, for who has little time.
KINDS = ("delete", "null", "scale", "garble", "shuffle", "revise", "split", "storm")
# Tables that hold one version of a row: what is published or computed again replaces it, it does not join it.
_ONE_VERSION = tuple(
    table.name for table in (HISTORICAL_BARS, CORPORATE_ACTIONS, FEATURES, CONTEXT_SCORES, COMPOSITE_SIGNALS)
)
_SPLIT_RATIO = 7.0
_NUMBERS = (pl.Float64, pl.Int32, pl.Int64)


@dataclass(frozen=True)
class Leak:
    """A column of rows known at `moment` that changed when what came after it was spoilt by `kind`."""

    kind: str
    moment: datetime
    column: str
    rows: int

    def __str__(self) -> str:
        until = f"{self.moment:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.column} of {self.rows:,} rows known by {until} changes when later rows do ({self.kind})"


class PoisonedLake(Lake):
    """Reads of `lake` with every row whose `available_at` lies after `moment` spoilt by one of KINDS; never writes.

    Tables without `available_at` are read as they are. Random choices follow from `seed` and the table's name.
    """

    def __init__(self, lake: Lake, moment: datetime, kind: str, seed: int = 0) -> None:
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is none of {KINDS}")
        self.__dict__.update(lake.__dict__)
        self.moment, self.kind, self.seed = moment, kind, seed

    def read(
        self,
        table: Table,
        keys: Iterable[PartitionKey],
        *,
        columns: list[str] | None = None,
        where: pl.Expr | None = None,
    ) -> pl.DataFrame:
        """As Lake.read, spoilt."""
        rows = super().read(table, keys, where=where)
        if KNOWN_AT in rows.columns:
            rows = spoilt(table, rows, self.moment, self.kind, self.seed)
        return rows if columns is None else rows.select(columns)

    def _store(
        self, table: Table, key: PartitionKey, rows: int, data: bytes, metadata: Mapping[str, str]
    ) -> PartitionInfo:
        raise TypeError("a poisoned lake is for looking, not for writing")


def spoilt(table: Table, rows: pl.DataFrame, moment: datetime, kind: str, seed: int = 0) -> pl.DataFrame:
    """`rows` of `table` with those not known at `moment` spoilt; keys and times of rows stay what they are."""
    if kind == "storm":
        for one in ("garble", "revise", "split"):
            rows = spoilt(table, rows, moment, one, seed)
        return rows
    if kind == "split":
        return pl.concat([rows, _announced(rows, moment)]) if table.name == CORPORATE_ACTIONS.name else rows
    ahead = rows.select((pl.col(KNOWN_AT) > moment).fill_null(False)).to_series()
    if not ahead.any() and kind != "revise":
        return rows
    known = rows.filter(~ahead)
    if kind == "delete":
        return known
    kinds = dict(rows.schema)
    values = [name for name, dtype in kinds.items() if name not in table.key and not _places(name, dtype)]
    numbers = {name: kinds[name] for name in values if kinds[name] in _NUMBERS}
    if kind == "revise":
        if table.name in _ONE_VERSION:
            return rows
        at = pl.lit(moment + timedelta(seconds=1)).cast(kinds[KNOWN_AT])
        return pl.concat([rows, _times(known, numbers, 1.5).with_columns(at.alias(KNOWN_AT))])
    future = rows.filter(ahead)
    random = np.random.default_rng([seed, *table.name.encode()])
    if kind == "null":
        nullable = {name for name, column in table.schema.columns().items() if column.nullable}
        future = future.with_columns(pl.lit(None, dtype=kinds[name]).alias(name) for name in values if name in nullable)
    elif kind == "scale":
        future = _times(future, numbers, 10.0)
    elif kind == "garble":
        factor = pl.Series("_factor", random.uniform(0.2, 5.0, future.height))
        future = _times(future.with_columns(factor), numbers, pl.col("_factor")).drop("_factor")
    else:
        order = random.permutation(future.height)
        future = future.with_columns(future.select(values)[order])
    return pl.concat([known, future])


def _places(name: str, dtype: pl.DataType) -> bool:
    """Whether a column says when or where a row belongs rather than what it holds."""
    return dtype.is_temporal() or name in ("session", "timeframe", "segment", "sip_timestamp_ns")


def _times(rows: pl.DataFrame, numbers: Mapping[str, pl.DataType], factor: float | pl.Expr) -> pl.DataFrame:
    """`rows` with every number multiplied, whole ones rounded up."""
    return rows.with_columns(
        pl.col(name) * factor if dtype == pl.Float64 else (pl.col(name) * factor).ceil().cast(dtype)
        for name, dtype in numbers.items()
    )


def _announced(actions: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """A split of every symbol that has any action, declared just after `moment` and effective the day after."""
    symbols = actions.select(pl.col("symbol").unique().sort())
    row = {
        "action": "split",
        "ex_date": (moment + timedelta(days=1)).date(),
        "split_ratio": _SPLIT_RATIO,
        "cash_amount": None,
        KNOWN_AT: moment + timedelta(seconds=1),
        "source": "derived",
    }
    return symbols.select(
        (pl.col(name) if name == "symbol" else pl.lit(row[name])).cast(kind).alias(name)
        for name, kind in actions.schema.items()
    )


def leaks(
    compute: Callable[[Lake], pl.DataFrame],
    lake: Lake,
    moments: Iterable[datetime],
    *,
    key: Sequence[str],
    kinds: Iterable[str] = KINDS,
    honest: pl.DataFrame | None = None,
    seed: int = 0,
) -> list[Leak]:
    """Every column of the rows known at a moment that depends on what came after it, for each kind of spoiling.

    compute: from a lake to rows with `available_at` and the columns `key`; honest: what it gives for `lake` itself,
    computed when it is not given. A row that appears or vanishes counts under the column `row`. Values are compared
    bit for bit.
    """
    before = compute(lake) if honest is None else honest
    found = []
    for moment in moments:
        expected = _known(before, moment, key)
        for kind in kinds:
            seen = _known(compute(PoisonedLake(lake, moment, kind, seed)), moment, key)
            found += [Leak(kind, moment, column, rows) for column, rows in differences(expected, seen, key)]
    return found


def differences(expected: pl.DataFrame, seen: pl.DataFrame, key: Sequence[str]) -> list[tuple[str, int]]:
    """Columns in which two frames sorted by `key` differ, with how many rows; ``row`` when their keys differ."""
    if not expected.select(key).equals(seen.select(key)):
        common = min(expected.height, seen.height)
        apart = int(pl.Series(expected.select(key)[:common].hash_rows() != seen.select(key)[:common].hash_rows()).sum())
        return [("row", max(apart, abs(expected.height - seen.height), 1))]
    changed = []
    for name in expected.columns:
        apart = int((expected[name].ne_missing(seen[name])).sum())
        if apart:
            changed.append((name, apart))
    return changed


def _known(rows: pl.DataFrame, moment: datetime, key: Sequence[str]) -> pl.DataFrame:
    return rows.filter(pl.col(KNOWN_AT) <= moment).sort(*key)


def moments_of(session_open: datetime, session_close: datetime, count: int, day: date) -> list[datetime]:
    """`count` moments of a session that depend on nothing but its date: one at the open, one at the close, the rest at
    whole minutes between them."""
    random = np.random.default_rng(day.toordinal())
    minutes = int((session_close - session_open).total_seconds() // 60)
    inner = sorted(random.choice(np.arange(1, minutes), size=max(count - 2, 0), replace=False).tolist())
    return [session_open, *(session_open + timedelta(minutes=int(n)) for n in inner), session_close][: max(count, 1)]
