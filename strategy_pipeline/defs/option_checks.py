"""Checks of the option tables: their contracts, which block, and what somebody should look at in a chain, which warns.

The partitions of the run are read back from the lake. What is measured is analytics' work; limits stand here.
"""

from collections.abc import Iterator

import dagster as dg

from strategy_pipeline.defs.checks import contract_holds, keys_of_run
from strategy_pipeline.defs.partitions import SESSIONS
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    ATM_IV_DAILY,
    GAMMA_EXPOSURE_SNAPSHOTS,
    HISTORICAL_GREEKS,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    OPTION_VOLUME_MINUTES,
    OPTIONS_FLOW_DAILY,
    OPTIONS_FLOW_HISTORY,
    RATE_CURVE,
    TRADE_CONDITIONS,
    Table,
)

CONTRACT = "Columns, types and every rule of the table's contract, read back from what is stored."


def _contract_check(table: Table) -> dg.AssetChecksDefinition:
    """A blocking check that the stored rows of a table meet its contract, one session after the other."""

    @dg.multi_asset_check(
        name=f"{table.name}_contract",
        specs=[dg.AssetCheckSpec("contract_holds", asset=table.name, blocking=True, description=CONTRACT)],
    )
    def check(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
        keys = [{"session": key} for key in keys_of_run(context, SESSIONS)] if table.partition_by else [{}]
        rows, broken = 0, ""
        for key in keys:
            frame = lake.read(table, [key])
            rows += frame.height
            holds, says = contract_holds(table, frame)
            broken = broken or ("" if holds else says)
        yield dg.AssetCheckResult(
            asset_key=table.name,
            check_name="contract_holds",
            passed=not broken,
            description=broken or f"{rows:,} rows meet the contract",
            metadata={"says": broken or f"{rows:,} rows meet the contract"},
        )

    return check


CHECKED_TABLES = (
    RATE_CURVE,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    HISTORICAL_GREEKS,
    GAMMA_EXPOSURE_SNAPSHOTS,
    ATM_IV_DAILY,
    TRADE_CONDITIONS,
    OPTION_VOLUME_MINUTES,
    OPTIONS_FLOW_HISTORY,
    OPTIONS_FLOW_DAILY,
)

option_checks = [_contract_check(table) for table in CHECKED_TABLES]
