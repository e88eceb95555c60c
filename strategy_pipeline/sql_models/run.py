"""Running a SQL model: the lake hands over its inputs as frames, DuckDB answers, the answer meets its contract."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import polars as pl

from strategy_pipeline.errors import ContractError
from strategy_pipeline.lake.query import run_sql
from strategy_pipeline.lake.store import Lake, conform
from strategy_pipeline.lake.tables import Table
from strategy_pipeline.market import calendar
from strategy_pipeline.sql_models.lineage import ColumnLineage, Scan, column_lineage, dependencies, scans
from strategy_pipeline.sql_models.model import SqlModel, input_tables
from strategy_pipeline.sql_models.reference import REFERENCE_TABLES


def run_model(
    model: SqlModel, lake: Lake, sessions: Sequence[date] = (), models: Mapping[str, SqlModel] | None = None
) -> pl.DataFrame:
    """The model's rows for `sessions` (all rows of a model that is not cut by session), sorted, its contract proven.

    Inputs reach from the model's look-back before the first session to the last one; `models` describes inputs that are
    models themselves. Raises ContractError when the SELECT fails or its rows are not what the contract says.
    """
    if model.by_session and not sessions:
        return model.table.empty()
    days = _days_to_read(model, sessions) if model.by_session else None
    inputs = input_tables(model, models or {})
    enough = scans(model.sql, _schemas(model, inputs))
    frames = {name: _read(lake, table, enough[name], days) for name, table in inputs.items()}
    frames |= _reference(model)
    bounds = {"session_start": min(sessions), "session_end": max(sessions)} if model.by_session else {}
    found = run_sql(model.sql, frames, {name: bounds[name] for name in model.parameters})
    rows = _typed(model, found)
    return conform(model.table, rows.filter(pl.col("session").is_in(list(sessions))) if model.by_session else rows)


def stretches(model: SqlModel, sessions: Iterable[date], at_once: int = 260) -> list[list[date]]:
    """`sessions` in runs whose inputs overlap, at most `at_once` sessions each, to be computed one after the other."""
    runs: list[list[date]] = []
    for day in sorted(sessions):
        near = runs and len(calendar.sessions_between(runs[-1][-1], day)) <= model.look_back_sessions + 2
        if near and len(runs[-1]) < at_once:
            runs[-1].append(day)
        else:
            runs.append([day])
    return runs


def lineage_of(model: SqlModel, models: Mapping[str, SqlModel] | None = None) -> ColumnLineage:
    """For each column of the model the (table, column) pairs its values come from, reference tables excluded."""
    found = column_lineage(model.sql, _schemas(model, input_tables(model, models or {})))
    return {
        column: tuple(origin for origin in origins if origin[0] not in REFERENCE_TABLES)
        for column, origins in found.items()
    }


def undeclared_inputs(model: SqlModel) -> set[str]:
    """Tables the SELECT reads without naming them through ``ref``, which the graph would not know."""
    return dependencies(model.sql) - set(model.inputs)


def _schemas(model: SqlModel, inputs: Mapping[str, Table]) -> dict[str, pl.Schema]:
    known = {name: table.polars_schema for name, table in inputs.items()}
    return known | {name: frame.schema for name, frame in _reference(model).items()}


def _reference(model: SqlModel) -> dict[str, pl.DataFrame]:
    return {name: REFERENCE_TABLES[name]() for name in model.inputs if name in REFERENCE_TABLES}


def _days_to_read(model: SqlModel, sessions: Sequence[date]) -> set[str]:
    first, last = min(sessions), max(sessions)
    before = calendar.sessions_between(calendar.first_session(), first)[-1 - model.look_back_sessions :]
    return {day.isoformat() for day in [*before, *calendar.sessions_between(first, last)]}


def _read(lake: Lake, table: Table, scan: Scan, days: set[str] | None) -> pl.DataFrame:
    keys = lake.keys(table)
    if days is not None and "session" in table.partition_by:
        keys = [key for key in keys if key["session"] in days]
    where = None if scan.where is None else pl.sql_expr(scan.where)
    # A table of which only the rows are counted still needs a column to count.
    columns = list(scan.columns) or table.polars_schema.names()[:1]
    return lake.read(table, keys, columns=columns, where=where)


def _typed(model: SqlModel, found: pl.DataFrame) -> pl.DataFrame:
    """The answer with the contract's types; words become enums, whole numbers get their width."""
    wanted = model.table.polars_schema
    if set(found.columns) != set(wanted):
        differing = sorted(set(found.columns) ^ set(wanted))
        raise ContractError(f"SQL model {model.name} returns other columns than it declares: {', '.join(differing)}.")
    try:
        return found.select(pl.col(name).cast(kind) for name, kind in wanted.items())
    except pl.exceptions.PolarsError as error:
        sentence = " ".join(str(error).split())
        raise ContractError(f"SQL model {model.name} returns values its contract has no room for: {sentence}") from None
