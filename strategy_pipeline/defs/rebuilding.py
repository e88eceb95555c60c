"""Session partitions that are built anew only when something they follow from has changed.

What a partition follows from is its pedigree, a few texts that its writer records in the file.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import date

import polars as pl

from strategy_pipeline.lake.store import Lake, PartitionInfo, PartitionKey
from strategy_pipeline.lake.tables import Table

Pedigree = Mapping[str, str]
Build = Callable[[date], tuple[pl.DataFrame, Pedigree]]


def rebuilt(
    lake: Lake,
    table: Table,
    pedigrees: Mapping[date, Pedigree],
    build: Build,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, PartitionInfo]:
    """The partition of each session of `pedigrees` that has rows, by key, built only where the stored one is of others.

    build: the rows of a session and what its file says about them besides the pedigree. A session without rows gets
        no partition; one that had some before is emptied.
    """
    found = {}
    for day, pedigree in pedigrees.items():
        stored = lake.metadata(table, {"session": day})
        if stored is not None and pedigree.items() <= stored.items():
            info = lake.info(table, {"session": day})
        else:
            rows, said = build(day)
            has_some = rows.height or stored is not None
            info = lake.write(table, {"session": day}, rows, {**pedigree, **said}) if has_some else None
        if info is not None and info.rows:
            found[day.isoformat()] = info
        advance(1)
    return found


def symbols_of(lake: Lake, table: Table, day: date, wanted: Iterable[str]) -> list[str]:
    """`wanted` and the symbols that the session's partition was built for before, sorted."""
    said = lake.metadata(table, {"session": day}) or {}
    return sorted({*wanted, *(symbol for symbol in said.get("symbols", "").split(",") if symbol)})


def digest_of(lake: Lake, inputs: Iterable[tuple[Table, PartitionKey]], *texts: str) -> str:
    """One digest of stored partitions and of anything else that decides a result."""
    digests = []
    for table, key in inputs:
        info = lake.info(table, key)
        digests.append(f"{table.name} {info.sha256 if info else 'none'}")
    return hashlib.sha256("\n".join([*digests, *texts]).encode()).hexdigest()
