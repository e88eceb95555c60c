"""Tests that a SQL model declares in its header, as expressions that find the rows which break them.

not_null, unique, accepted_values and between; a null breaks none but not_null. What must hold of single rows anyway is
the table's contract.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from strategy_pipeline.errors import DataError

KINDS = ("not_null", "unique", "accepted_values", "between")


@dataclass(frozen=True)
class DeclaredTest:
    """One test: `arguments` are the accepted values, or the two ends of a range, both included."""

    kind: str
    columns: tuple[str, ...]
    arguments: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """Name of the asset check: ``advancers_not_null``, ``symbol_session_unique``."""
        return f"{'_'.join(self.columns)}_{self.kind}"

    @property
    def says(self) -> str:
        """The test as a sentence."""
        columns = ", ".join(self.columns)
        if self.kind == "accepted_values":
            return f"{columns} is one of {', '.join(map(str, self.arguments))}, or null"
        if self.kind == "between":
            return f"{columns} lies between {self.arguments[0]} and {self.arguments[1]}, or is null"
        return f"{columns} is never null" if self.kind == "not_null" else f"{columns} identifies a row"

    @property
    def breaks(self) -> pl.Expr:
        """True for each row that breaks the test."""
        value = pl.col(self.columns[0])
        if self.kind == "not_null":
            return value.is_null()
        if self.kind == "unique":
            return pl.struct(self.columns).is_duplicated()
        if self.kind == "accepted_values":
            return ~value.cast(pl.String).is_in([str(one) for one in self.arguments]).fill_null(True)
        return ~value.is_between(*self.arguments).fill_null(True)


def read_tests(model: str, by_column: Mapping[str, Any], of_rows: Any) -> tuple[DeclaredTest, ...]:
    """Tests from the header: `by_column` as written under each column, `of_rows` for several columns together.

    Raises DataError for a kind that does not exist, wrong arguments, or a test declared twice.
    """
    found = [_read(model, (column,), one) for column, said in by_column.items() for one in said]
    for one in of_rows:
        if not isinstance(one, dict) or set(one) != {"unique"} or set(one["unique"]) - set(by_column):
            raise DataError(f"SQL model {model}: a test of rows is unique with columns of the model, not {one!r}.")
        found.append(DeclaredTest("unique", tuple(one["unique"])))
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"SQL model {model}: {', '.join(twice)} is declared twice.")
    return tuple(found)


def _read(model: str, columns: tuple[str, ...], said: Any) -> DeclaredTest:
    kind, arguments = next(iter(said.items())) if isinstance(said, dict) and len(said) == 1 else (said, [])
    wanted = {"not_null": 0, "unique": 0, "between": 2}.get(kind) if isinstance(kind, str) else None
    fits = isinstance(arguments, Sequence) and (
        len(arguments) > 0 if kind == "accepted_values" else len(arguments) == wanted
    )
    if kind not in KINDS or not fits:
        raise DataError(
            f"SQL model {model}: {said!r} on {columns[0]} is no test; write not_null, unique, "
            "accepted_values: [...] or between: [low, high]."
        )
    return DeclaredTest(kind, columns, tuple(arguments))


def broken_rows(tests: Sequence[DeclaredTest], frame: pl.DataFrame) -> dict[str, int]:
    """How many rows of `frame` break each test, by the test's name."""
    if not tests:
        return {}
    return frame.select(one.breaks.sum().alias(one.name) for one in tests).row(0, named=True)
