"""SQL over frames: an in-process DuckDB that sees what it is handed and nothing else.

No file, no network, no extension and no database that outlives the call. What the SQL means is not known here.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from strategy_pipeline.errors import ContractError

# One thread, so that sums are always formed in the same order and the same rows give the same bytes.
_CONFIGURATION: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "threads": "1",
}


def run_sql(sql: str, frames: Mapping[str, pl.DataFrame], parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """The rows of one SELECT (DuckDB's dialect) over `frames`, each under its name; ``$name`` stands for a parameter.

    Words of an enum come back as text and instants in UTC. Raises ContractError with the database's own sentence when
    the statement is wrong or fails.
    """
    import duckdb

    try:
        with duckdb.connect(":memory:", config=_CONFIGURATION) as connection:
            for name, frame in frames.items():
                connection.register(name, frame.to_arrow())
            table = connection.sql(sql, params=dict(parameters or {})).to_arrow_table()
    except duckdb.Error as error:
        sentence = " ".join(str(error).split())
        raise ContractError(f"A SQL model cannot be run: {sentence}") from None
    found = pl.from_arrow(table)
    assert isinstance(found, pl.DataFrame)
    instants = [name for name, kind in found.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone]
    return found.with_columns(pl.col(instants).dt.convert_time_zone("UTC"))
