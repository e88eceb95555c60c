"""The named jobs: what a person or a schedule launches. Which assets there are is the graph's business."""

import dagster as dg

from strategy_pipeline.defs.policies import RETRY_TAGS

BACKFILL_GROUPS = ("flat_files", "reference", "bars", "features")
BACKTEST_GROUPS = ("backtests",)

backfill_bars = dg.define_asset_job(
    "backfill_bars",
    selection=dg.AssetSelection.groups(*BACKFILL_GROUPS),
    description="The vendor's files of a range of sessions, their bars and their features, in one run.",
    tags=RETRY_TAGS,
)

run_backtests = dg.define_asset_job(
    "run_backtests",
    selection=dg.AssetSelection.groups(*BACKTEST_GROUPS),
    description="Every detector tested on the stored features, and the report.",
    tags=RETRY_TAGS,
)

all_jobs = [backfill_bars, run_backtests]
