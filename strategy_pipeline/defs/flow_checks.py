"""Checks of the option tape: that nothing was lost between the file and the classes, and that every condition is known.

The partitions of the run are read back from the lake and held against what was counted when their file was read.
"""

import json
from collections.abc import Iterator
from math import isclose

import dagster as dg
import polars as pl

from strategy_pipeline.analytics.option_flow import flow_totals
from strategy_pipeline.defs.checks import keys_of_run
from strategy_pipeline.defs.partitions import SESSIONS
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import OPTIONS_FLOW_DAILY, OPTIONS_FLOW_HISTORY

RECONCILE = (
    "Every line of a trades file is a row, a refusal or of another symbol, and the premium of the classes adds up to "
    "that of the file."
)
KNOWN = "Every condition id on the tape has a meaning in the vendor's reference."
DAILY = "The daily totals are those of the session's prints, where these are still there."
# Sums of millions of decimals in another order.
_RELATIVE = 1e-9


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec("totals_reconcile", asset="options_flow_history", blocking=True, description=RECONCILE),
        dg.AssetCheckSpec("conditions_are_known", asset="options_flow_history", description=KNOWN),
    ]
)
def flow_checks(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
    """The stored prints of the run's sessions, one after the other."""
    faults, unknown, prints = [], dict[str, int](), 0
    for key in keys_of_run(context, SESSIONS):
        said = lake.metadata(OPTIONS_FLOW_HISTORY, {"session": key})
        if said is None:
            continue
        rows = lake.read(OPTIONS_FLOW_HISTORY, [{"session": key}])
        prints += rows.height
        fault = unreconciled(rows, said)
        faults += [f"{key}: {fault}"] if fault else []
        for one, times in json.loads(said.get("unknown_conditions", "{}")).items():
            unknown[one] = unknown.get(one, 0) + times
    yield _verdict("options_flow_history", "totals_reconcile", "; ".join(faults), f"{prints:,} prints reconcile")
    names = ", ".join(f"{one} ({times:,} times)" for one, times in sorted(unknown.items()))
    broken = f"conditions that the reference does not know: {names}" if unknown else ""
    yield _verdict("options_flow_history", "conditions_are_known", broken, "every condition is known")


def unreconciled(rows: pl.DataFrame, said: dict[str, str]) -> str:
    """What does not add up between a session's rows and the counts of its file; empty when all does.

    rows: ``options_flow_history`` of one session; said: what its partition records of the file. Streamed rows have no
    file to be held against.
    """
    if "counts" not in said or (rows["source"].cast(pl.String) == "stream").any():
        return ""
    counts = json.loads(said["counts"])
    elsewhere = sum(counts[name] for name in ("quarantined", "of_other_symbols", "of_refused_contracts", "repeated"))
    if rows.height + elsewhere != counts["read"]:
        return f"{counts['read']:,} lines were read, {rows.height:,} are rows and {elsewhere:,} are accounted for"
    total, file = float(flow_totals(rows)["premium_usd"].sum()), float(said["file_premium_usd"])
    if not isclose(total, file, rel_tol=_RELATIVE, abs_tol=1e-6):
        return f"the classes hold ${total:,.2f} of premium, the file ${file:,.2f}"
    return ""


@dg.multi_asset_check(
    name="flow_daily_checks",
    specs=[
        dg.AssetCheckSpec("totals_are_those_of_prints", asset="options_flow_daily", blocking=True, description=DAILY)
    ],
)
def daily_checks(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
    """The stored totals of the run's sessions against the stored prints."""
    faults, sessions = [], 0
    for key in keys_of_run(context, SESSIONS):
        prints = lake.read(OPTIONS_FLOW_HISTORY, [{"session": key}], columns=["premium_usd"])["premium_usd"]
        daily = lake.read(OPTIONS_FLOW_DAILY, [{"session": key}], columns=["prints", "premium_usd"])
        if not len(prints):
            continue
        sessions += 1
        same = isclose(float(prints.sum()), float(daily["premium_usd"].sum()), rel_tol=_RELATIVE)
        if not same or len(prints) != int(daily["prints"].sum()):
            faults.append(key)
    broken = f"totals differ from the prints on {', '.join(faults)}" if faults else ""
    yield _verdict("options_flow_daily", "totals_are_those_of_prints", broken, f"{sessions:,} sessions agree")


def _verdict(asset: str, name: str, broken: str, sound: str) -> dg.AssetCheckResult:
    says = broken or sound
    return dg.AssetCheckResult(
        asset_key=asset, check_name=name, passed=not broken, description=says, metadata={"says": says}
    )


tape_checks = [flow_checks, daily_checks]
