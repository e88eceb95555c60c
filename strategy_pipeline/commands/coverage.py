"""What a range of sessions in the lake holds and lacks, for the sentences of the backfill commands."""

from collections.abc import Iterable, Sequence
from datetime import date

from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import Table

# Symbols are looked for in this many sessions at a time: most are found in the first few.
_SESSIONS_AT_ONCE = 20
_NAMED = 8


def counted(sessions: int) -> str:
    """A number of sessions in words."""
    return f"{sessions} session" if sessions == 1 else f"{sessions} sessions"


def some(names: Sequence[str]) -> str:
    """The first few of `names`, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def without_rows(lake: Lake, table: Table, days: Sequence[date], symbols: Iterable[str]) -> list[str]:
    """Those of `symbols` of which a table by session has no row on any of `days`, in the given order."""
    absent = list(symbols)
    for first in range(0, len(days), _SESSIONS_AT_ONCE):
        if not absent:
            break
        found = lake.read_sessions(table, days[first : first + _SESSIONS_AT_ONCE], columns=["symbol"])
        held = set(found["symbol"].unique())
        absent = [one for one in absent if one not in held]
    return absent
