"""SQL models as assets: each file of ``dbt_like_sql/`` with its dependencies, columns, lineage, partitions, checks."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from strategy_pipeline.defs.checks import WHAT_IS_CHECKED, contract_holds, keys_of_run
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, PartitionChoice, sessions_before, sessions_of
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import Table
from strategy_pipeline.sql_models.declared import broken_rows
from strategy_pipeline.sql_models.model import SqlModel, input_tables
from strategy_pipeline.sql_models.run import lineage_of, run_model, stretches

Models = Mapping[str, SqlModel]


def sql_assets(models: Models) -> dict[str, list[dg.AssetsDefinition]]:
    """The asset of every model, by the group its header names."""
    groups: dict[str, list[dg.AssetsDefinition]] = {}
    for model in models.values():
        groups.setdefault(model.group, []).append(_asset(model, models))
    return groups


def sql_checks(models: Models) -> list[dg.AssetChecksDefinition]:
    """One definition for each model that checks the contract and every declared test, all blocking."""
    return [_checks(model) for model in models.values()]


def _asset(model: SqlModel, models: Models) -> dg.AssetsDefinition:
    @dg.asset(
        name=model.name,
        deps=[_dependency(model, table) for table in input_tables(model, models).values()],
        partitions_def=SESSIONS if model.by_session else None,
        backfill_policy=dg.BackfillPolicy.single_run() if model.by_session else None,
        code_version=model.code_version,
        description=model.description,
        metadata=_described_columns(model),
        kinds={"sql", "duckdb"},
    )
    def materialise(
        context: dg.AssetExecutionContext, config: PartitionChoice, lake: dg.ResourceParam[Lake]
    ) -> dg.MaterializeResult:
        lineage = {"dagster/column_lineage": column_lineage(model, models)}
        if not model.by_session:
            said = _said(lake.write(model.table, {}, run_model(model, lake, models=models), _pedigree(model)))
            return dg.MaterializeResult(data_version=dg.DataVersion(said["sha256"]), metadata={**said, **lineage})
        described: dict[str, dict[str, Any]] = {}
        for piece in stretches(model, sessions_of(config.keys(context))):
            rows = run_model(model, lake, piece, models)
            parts = rows.partition_by("session", as_dict=True)
            written = [({"session": key[0]}, part, _pedigree(model)) for key, part in parts.items()]
            for info in lake.write_many(model.table, written):
                described[info.key["session"]] = _said(info)
        if described:
            # The UI takes the lineage of a table from its newest event.
            described[max(described)] |= lineage
        context.log.info(f"{model.name}: {len(described)} sessions have rows.")
        return publish(context, described)

    return materialise


def _dependency(model: SqlModel, upstream: Table) -> dg.AssetDep:
    """What a partition of the model needs of a table it reads."""
    if "session" in upstream.partition_by and model.by_session:
        return dg.AssetDep(upstream.name, partition_mapping=sessions_before(model.look_back_sessions))
    if upstream.partition_by:
        return dg.AssetDep(upstream.name, partition_mapping=dg.AllPartitionMapping())
    return dg.AssetDep(upstream.name)


def _described_columns(model: SqlModel) -> dict[str, Any]:
    """Columns with the docs of the model's own header, and the SELECT itself."""
    described = describe_table(model.table)
    schema = described["dagster/column_schema"]
    tests = {column: [one.says for one in model.tests if one.columns == (column,)] for column in model.column_docs}
    columns = [
        dg.TableColumn(
            column.name,
            type=column.type,
            description=model.column_docs[column.name],
            constraints=dg.TableColumnConstraints(nullable=column.constraints.nullable, other=tests[column.name]),
        )
        for column in schema.columns
    ]
    return {
        **described,
        "dagster/column_schema": dg.TableSchema(columns),
        "sql": dg.MetadataValue.md(f"```sql\n{model.sql}\n```"),
    }


def column_lineage(model: SqlModel, models: Models) -> dg.TableColumnLineage:
    """For every column the columns of other assets its values come from."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=table, column_name=name) for table, name in origins]
            for column, origins in lineage_of(model, models).items()
        }
    )


def _pedigree(model: SqlModel) -> dict[str, str]:
    return {"code_version": model.code_version}


def _said(info: PartitionInfo) -> dict[str, Any]:
    return {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        "bytes": info.bytes,
        "code_version": info.metadata["code_version"],
    }


def _checks(model: SqlModel) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(
            "contract_holds", asset=model.name, description=WHAT_IS_CHECKED["contract_holds"], blocking=True
        ),
        *(dg.AssetCheckSpec(one.name, asset=model.name, description=one.says, blocking=True) for one in model.tests),
    ]

    @dg.multi_asset_check(name=f"{model.name}_checks", specs=specs)
    def check(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
        keys = [{"session": key} for key in keys_of_run(context, SESSIONS)] if model.by_session else [{}]
        rows = lake.read(model.table, keys)
        yield _verdict(model, "contract_holds", contract_holds(model.table, rows))
        for name, broken in broken_rows(model.tests, rows).items():
            yield _verdict(model, name, (broken == 0, f"{broken:,} of {rows.height:,} rows break it"))

    return check


def _verdict(model: SqlModel, name: str, verdict: tuple[bool, str]) -> dg.AssetCheckResult:
    passed, says = verdict
    return dg.AssetCheckResult(
        asset_key=model.name, check_name=name, passed=passed, description=says, metadata={"says": says}
    )
