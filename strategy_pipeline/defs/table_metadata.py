"""How a lake table and its sources look in the UI: columns with types and meanings, and a list of source objects."""

from collections.abc import Iterable
from typing import Any

import dagster as dg

from strategy_pipeline.ingestion.layout import Dataset
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.lake.tables import Table


def describe_table(table: Table) -> dict[str, Any]:
    """Definition metadata of an asset that holds `table`: its columns, and by what it is cut."""
    schema = table.schema.columns()
    columns = [
        dg.TableColumn(
            name,
            type=str(dtype),
            description=table.column_docs[name],
            constraints=dg.TableColumnConstraints(nullable=schema[name].nullable),
        )
        for name, dtype in table.polars_schema.items()
    ]
    return {
        "dagster/column_schema": dg.TableSchema(columns),
        "dagster/table_name": table.name,
        "cut_by": ", ".join(table.partition_by) or "one file",
    }


def lineage_of(files: Iterable[tuple[Dataset, RawFile]]) -> dg.MetadataValue:
    """Key, ETag and checksum of every source object."""
    return dg.MetadataValue.json([{"key": raw.key, "etag": raw.etag, "sha256": raw.sha256} for _, raw in files])
