"""What a SELECT reads, by sqlglot: its tables, each output column's origins, and the part of a table that is enough.

The dialect is DuckDB's. Nothing is run here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import polars as pl

from strategy_pipeline.errors import DataError

DIALECT = "duckdb"
# Output column -> the (table, column) pairs its values come from.
ColumnLineage = dict[str, tuple[tuple[str, str], ...]]
Schemas = Mapping[str, pl.Schema]


@dataclass(frozen=True)
class Scan:
    """Columns of a table that a SELECT names, and a condition all of its uses of the table share, or None."""

    columns: tuple[str, ...]
    where: str | None


def _parsed(sql: str) -> Any:
    import sqlglot
    from sqlglot import exp

    try:
        statements = [one for one in sqlglot.parse(sql, dialect=DIALECT) if one is not None]
    except sqlglot.errors.ParseError as error:
        raise DataError(f"A SQL model cannot be parsed: {' '.join(str(error).split())}.") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise DataError("A SQL model holds something else than one SELECT: keep to one SELECT a file.")
    return statements[0]


def dependencies(sql: str) -> set[str]:
    """Names of the tables a SELECT reads, its own WITH clauses excluded."""
    from sqlglot import exp
    from sqlglot.optimizer.scope import traverse_scope

    found = set()
    for scope in traverse_scope(_parsed(sql)):
        found |= {source.name for source in scope.sources.values() if isinstance(source, exp.Table)}
    return found


def _columns(schemas: Schemas) -> dict[str, Any]:
    """The columns of each table; which exist matters, their types do not."""
    return {table: dict.fromkeys(schema.names(), "TEXT") for table, schema in schemas.items()}


def _qualified(sql: str, schemas: Schemas) -> Any:
    """The SELECT with every column under its table and stars spelled out; raises DataError for unknown columns."""
    return _resolved(sql, tuple((table, tuple(schema.names())) for table, schema in schemas.items()))


@cache
def _resolved(sql: str, known: tuple[tuple[str, tuple[str, ...]], ...]) -> Any:
    from sqlglot.errors import OptimizeError
    from sqlglot.optimizer.qualify import qualify

    schema: dict[str, Any] = {table: dict.fromkeys(names, "TEXT") for table, names in known}
    try:
        return qualify(
            _parsed(sql), dialect=DIALECT, schema=schema, validate_qualify_columns=True, quote_identifiers=False
        )
    except OptimizeError as error:
        raise DataError(f"A SQL model cannot be resolved: {' '.join(str(error).split())}.") from None


def column_lineage(sql: str, schemas: Schemas) -> ColumnLineage:
    """Origins of every output column, in order; `schemas` gives the columns of every table that is read."""
    from sqlglot import exp
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.scope import build_scope

    statement = _qualified(sql, schemas)
    roots = lineage(None, statement, _columns(schemas), dialect=DIALECT, scope=build_scope(statement))
    found: ColumnLineage = {}
    for name, root in roots.items():
        leaves = (node for node in root.walk() if isinstance(node.expression, exp.Table))
        origins = {(leaf.expression.name, leaf.name.rsplit(".", 1)[-1].strip('"')) for leaf in leaves}
        # A count of rows comes from no column, which sqlglot spells as a star.
        found[name] = tuple(sorted(origin for origin in origins if origin[1] != "*"))
    return found


def scans(sql: str, schemas: Schemas) -> dict[str, Scan]:
    """For each table, what has to be read of it.

    A condition is taken over when the table is used once, alone in its FROM, and the condition names nothing but its
    columns and constants; the SELECT keeps it as well, so reading more would change nothing.
    """
    from sqlglot import exp
    from sqlglot.optimizer.scope import traverse_scope

    columns: dict[str, set[str]] = {name: set() for name in schemas}
    conditions: dict[str, list[str | None]] = {name: [] for name in schemas}
    for scope in traverse_scope(_qualified(sql, schemas)):
        for alias, source in scope.sources.items():
            if not isinstance(source, exp.Table) or source.name not in schemas:
                continue
            columns[source.name] |= {one.name for one in scope.source_columns(alias)}
            where = scope.expression.args.get("where")
            alone = len(scope.selected_sources) == 1
            conditions[source.name].append(_condition(where.this) if alone and where else None)
    return {
        name: Scan(
            tuple(one for one in schema.names() if one in columns[name]),
            conditions[name][0] if len(conditions[name]) == 1 else None,
        )
        for name, schema in schemas.items()
    }


def _condition(where: Any) -> str | None:
    """Those parts of a conjunction that are comparisons of plain columns with constants, as SQL."""
    from sqlglot import exp

    plain = (exp.EQ, exp.NEQ, exp.In, exp.Is, exp.Not, exp.Null, exp.Column, exp.Identifier, exp.Literal, exp.Paren)
    kept = []
    for part in where.flatten() if isinstance(where, exp.And) else [where]:
        if all(isinstance(node, plain) for node in part.walk()):
            bare = part.copy()
            for column in bare.find_all(exp.Column):
                column.set("table", None)
            kept.append(f"({bare.sql()})")
    return " AND ".join(kept) or None
