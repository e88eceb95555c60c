"""Asset checks: what must hold of stored partitions (blocking), and what somebody should look at (warnings).

The partitions of the run are read back from the lake, so a check speaks about what is stored. The rules of a row are
the table's contract in ``lake/tables.py``; limits that are a matter of judgement stand here.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from strategy_pipeline.analytics.bar_filter import continuous_bars
from strategy_pipeline.defs.partitions import DETECTORS, SESSIONS, sessions_of
from strategy_pipeline.errors import ContractError
from strategy_pipeline.ingestion.session_bars import FEEDING
from strategy_pipeline.lake.store import Lake, conform
from strategy_pipeline.lake.tables import (
    BACKTEST_TRADES,
    CORPORATE_ACTIONS,
    FEATURES,
    HISTORICAL_BARS,
    QUARANTINE,
    QUOTED_SPREADS,
    SIGNAL_DISPOSITIONS,
    Table,
)

# Above these shares (%), something is wrong with a source rather than with single rows.
MOST_QUARANTINED_PCT = 1.0
MOST_SUSPICIOUS_PCT = 0.5
LEAST_COVERAGE_PCT = 50.0
LONGEST_SESSION_MINUTES = 390
# Sessions read at once, so that the bars of twenty years do not have to fit into memory.
SESSIONS_AT_ONCE = 1_300

Verdicts = dict[str, tuple[bool, str]]


def keys_of_run(context: dg.AssetCheckExecutionContext, everything: dg.PartitionsDefinition[str]) -> list[str]:
    """The partitions of the run; all of them when it has none."""
    tags = context.run.tags
    start = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition")
    end = tags.get("dagster/asset_partition_range_end") or start
    if start is None or end is None:
        return list(everything.get_partition_keys())
    return list(everything.get_partition_keys_in_range(dg.PartitionKeyRange(start, end)))


def contract_holds(table: Table, frame: pl.DataFrame) -> tuple[bool, str]:
    """Whether stored rows still meet their contract."""
    try:
        conform(table, frame)
    except ContractError as error:
        return False, str(error)
    return True, f"{frame.height:,} rows meet the contract"


def no_duplicate_keys(table: Table, frame: pl.DataFrame) -> tuple[bool, str]:
    """Whether the key columns identify each row."""
    doubled = int(frame.select(pl.struct(table.key).is_duplicated().sum()).item())
    return doubled == 0, f"{doubled:,} rows share a key of {', '.join(table.key)}"


def ohlc_ordered(frame: pl.DataFrame) -> tuple[bool, str]:
    """Whether low <= open, close <= high in every row."""
    low, high = pl.min_horizontal("open", "close"), pl.max_horizontal("open", "close")
    broken = frame.filter((pl.col("low") > low) | (pl.col("high") < high)).height
    return broken == 0, f"{broken:,} rows have prices out of order"


def coverage_within_bounds(frame: pl.DataFrame) -> tuple[bool, str]:
    """Whether coverage lies in 0-100 and no session has more regular minute bars than minutes."""
    outside = frame.filter(~pl.col("coverage_pct").is_between(0.0, 100.0 + 1e-7)).height
    minutes = frame.filter((pl.col("timeframe").cast(pl.String) == "1m") & (pl.col("segment").cast(pl.String) == "rth"))
    counts = minutes.group_by("symbol", "session").len()["len"].to_list()
    most = max(counts, default=0)
    too_many = most > LONGEST_SESSION_MINUTES
    return (
        outside == 0 and not too_many,
        f"{outside:,} rows outside 0-100 %; at most {most} regular minutes a session",
    )


def suspicious_share(frame: pl.DataFrame, actions: pl.DataFrame) -> tuple[bool, str]:
    """Whether the bar filter doubts few enough regular hour and day bars."""
    regular = frame.filter(
        pl.col("segment").cast(pl.String) == "rth", pl.col("timeframe").cast(pl.String).is_in(["1h", "1d"])
    ).sort("timeframe", "symbol", "bar_start")
    doubted = 0
    for part in regular.partition_by("timeframe", maintain_order=True):
        first: date = part["session"].min()  # type: ignore[assignment]
        flags = continuous_bars(part, actions, first)["bar_flags"]
        doubted += int((flags.list.len() > 0).sum())
    share = 100.0 * doubted / max(regular.height, 1)
    return (
        share <= MOST_SUSPICIOUS_PCT,
        f"{doubted:,} of {regular.height:,} hour and day bars ({share:.2f} %) look odd",
    )


def _pieces(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(keys), SESSIONS_AT_ONCE):
        yield keys[at : at + SESSIONS_AT_ONCE]


def _over_pieces(
    verdict: Callable[[pl.DataFrame], tuple[bool, str]], frames: Sequence[pl.DataFrame]
) -> tuple[bool, str]:
    """The first failure among pieces, else what the last piece says."""
    found = [verdict(frame) for frame in frames]
    return next((one for one in found if not one[0]), found[-1] if found else (True, "nothing stored"))


WHAT_IS_CHECKED = {
    "contract_holds": "Columns, types and every rule of the table's contract, read back from what is stored.",
    "no_duplicate_keys": "No two rows share the columns that identify a row.",
    "ohlc_ordered": "low <= open, close <= high in every bar.",
    "coverage_within_bounds": "Coverage lies in 0-100 % and no session has more regular minutes than it is long.",
    "quarantined_share": f"At most {MOST_QUARANTINED_PCT:g} % of the rows of the files were refused.",
    "suspicious_share": f"The bar filter doubts at most {MOST_SUSPICIOUS_PCT:g} % of the hour and day bars.",
    "coverage_is_high": f"On average at least {LEAST_COVERAGE_PCT:g} % of a bar's minutes had a print.",
    "every_detection_has_a_fate": "Every signal that was taken has its trade.",
}


def _specs(asset: str, blocking: Sequence[str], warning: Sequence[str]) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(name, asset=asset, blocking=name in blocking, description=WHAT_IS_CHECKED[name])
        for name in (*blocking, *warning)
    ]


def _results(asset: str, verdicts: Verdicts, warnings: Sequence[str]) -> Iterator[dg.AssetCheckResult]:
    for name, (passed, says) in verdicts.items():
        severity = dg.AssetCheckSeverity.WARN if name in warnings else dg.AssetCheckSeverity.ERROR
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=name,
            passed=passed,
            severity=severity,
            description=says,
            metadata={"says": says},
        )


BARS_MUST = ("contract_holds", "no_duplicate_keys", "ohlc_ordered", "coverage_within_bounds")
BARS_SHOULD = ("quarantined_share", "suspicious_share", "coverage_is_high")


@dg.multi_asset_check(specs=_specs("historical_bars", BARS_MUST, BARS_SHOULD))
def bars_checks(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
    """The stored bars of the run's sessions."""
    keys = keys_of_run(context, SESSIONS)
    verdicts: dict[str, list[tuple[bool, str]]] = {}
    quarantined = rows = 0
    actions = lake.read(CORPORATE_ACTIONS, [{}])
    of_bars = pl.col("dataset").is_in([one.name for one in FEEDING])
    for piece in _pieces(keys):
        days = sessions_of(piece)
        frame = lake.read_sessions(HISTORICAL_BARS, days)
        quarantined += lake.read_sessions(QUARANTINE, days, columns=["dataset"], where=of_bars).height
        rows += frame.height
        for name, verdict in _bar_verdicts(frame, actions).items():
            verdicts.setdefault(name, []).append(verdict)
    said = {name: next((one for one in found if not one[0]), found[-1]) for name, found in verdicts.items()}
    share = 100.0 * quarantined / max(quarantined + rows, 1)
    said["quarantined_share"] = (share <= MOST_QUARANTINED_PCT, f"{quarantined:,} refused rows beside {rows:,} kept")
    yield from _results("historical_bars", said, BARS_SHOULD)


def _bar_verdicts(frame: pl.DataFrame, actions: pl.DataFrame) -> Verdicts:
    shares = frame.filter(pl.col("timeframe").cast(pl.String).is_in(["15m", "1d"]))["coverage_pct"].drop_nulls()
    mean = float(np.mean(shares.to_numpy())) if len(shares) else None
    covered = mean is None or mean >= LEAST_COVERAGE_PCT
    return {
        "contract_holds": contract_holds(HISTORICAL_BARS, frame),
        "no_duplicate_keys": no_duplicate_keys(HISTORICAL_BARS, frame),
        "ohlc_ordered": ohlc_ordered(frame),
        "coverage_within_bounds": coverage_within_bounds(frame),
        "suspicious_share": suspicious_share(frame, actions),
        "coverage_is_high": (covered, f"mean coverage {mean:.1f} %" if mean is not None else "no minutes to cover"),
    }


FEATURES_MUST = ("contract_holds", "no_duplicate_keys")


@dg.multi_asset_check(specs=_specs("features", FEATURES_MUST, ()))
def features_checks(
    context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult]:
    """The stored feature rows of the run's sessions, every timeframe."""
    wanted = set(keys_of_run(context, SESSIONS))
    keys = [key for key in lake.keys(FEATURES) if key["session"] in wanted]
    frames = [lake.read(FEATURES, keys[at : at + SESSIONS_AT_ONCE]) for at in range(0, len(keys), SESSIONS_AT_ONCE)]
    verdicts = {
        "contract_holds": _over_pieces(lambda frame: contract_holds(FEATURES, frame), frames),
        "no_duplicate_keys": _over_pieces(lambda frame: no_duplicate_keys(FEATURES, frame), frames),
    }
    yield from _results("features", verdicts, ())


@dg.multi_asset_check(specs=_specs("corporate_actions", ("contract_holds",), ()))
def actions_checks(lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
    """The stored corporate actions."""
    verdict = contract_holds(CORPORATE_ACTIONS, lake.read(CORPORATE_ACTIONS, [{}]))
    yield from _results("corporate_actions", {"contract_holds": verdict}, ())


@dg.multi_asset_check(specs=_specs("backtest_trades", ("contract_holds", "every_detection_has_a_fate"), ()))
def trades_checks(
    context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult]:
    """The stored trades of the run's detectors, and that dispositions and trades tell the same story."""
    keys = [{"detector": name} for name in keys_of_run(context, DETECTORS)]
    trades, dispositions = lake.read(BACKTEST_TRADES, keys), lake.read(SIGNAL_DISPOSITIONS, keys)
    taken = set(dispositions["trade_id"].drop_nulls().to_list())
    lost = taken - set(trades["trade_id"].to_list())
    verdicts = {
        "contract_holds": contract_holds(BACKTEST_TRADES, trades),
        "every_detection_has_a_fate": (not lost, f"{len(lost):,} of {len(taken):,} taken signals have no trade"),
    }
    yield from _results("backtest_trades", verdicts, ())


def contract_check(table: Table) -> dg.AssetChecksDefinition:
    """A blocking check that the stored rows of a table meet its contract, one session after the other."""

    @dg.multi_asset_check(
        name=f"{table.name}_contract",
        specs=[
            dg.AssetCheckSpec(
                "contract_holds", asset=table.name, blocking=True, description=WHAT_IS_CHECKED["contract_holds"]
            )
        ],
    )
    def check(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
        keys: list[dict[str, str]] = [{}]
        if table.partition_by:
            # A run over years of bars has options in few of its sessions.
            stored = {day.isoformat() for day in lake.sessions(table)}
            keys = [{"session": key} for key in keys_of_run(context, SESSIONS) if key in stored]
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


all_checks: list[Any] = [
    bars_checks, contract_check(QUOTED_SPREADS), features_checks, actions_checks, trades_checks,
]  # fmt: skip
