"""The named jobs: what a person or a schedule launches. Which assets there are is the graph's business."""

import dagster as dg

from strategy_pipeline.defs.assets.flat_files import OPTION_FILE_DATASETS, QUOTE_FILE_DATASETS
from strategy_pipeline.defs.policies import RETRY_TAGS

BACKFILL_GROUPS = ("flat_files", "reference", "bars", "market", "features")
OPTION_GROUPS = ("options", "volatility")
BACKTEST_GROUPS = ("backtests",)
# What only options need; the files of their quotes are the largest there are, so bars come without them.
OF_OPTIONS = dg.AssetSelection.assets(
    *OPTION_FILE_DATASETS, "rate_curve", "open_interest", "option_contracts", "trade_conditions"
)
# Quotes of all stocks fill as much again as everything else, so they come in a job of their own.
OF_QUOTES = dg.AssetSelection.assets(*QUOTE_FILE_DATASETS, "quoted_spreads")
# What asks the vendor's REST side, which a machine without a key cannot do.
LIVE = dg.AssetSelection.assets("chain_snapshot", "provisional_bars")

backfill_bars = dg.define_asset_job(
    "backfill_bars",
    selection=dg.AssetSelection.groups(*BACKFILL_GROUPS) - OF_OPTIONS - OF_QUOTES - LIVE,
    description="The vendor's files of a range of sessions, their bars, breadth, regime and features, in one run.",
    tags=RETRY_TAGS,
)

backfill_options = dg.define_asset_job(
    "backfill_options",
    selection=(
        OF_OPTIONS
        | dg.AssetSelection.assets("corporate_actions", "features")
        | dg.AssetSelection.groups(*OPTION_GROUPS)
    )
    - LIVE,
    description=(
        "Option files of a range of sessions, their chains, dealer gamma, volatility and flow, and the features that "
        "read them; bars come first."
    ),
    tags=RETRY_TAGS,
)

backfill_quotes = dg.define_asset_job(
    "backfill_quotes",
    selection=OF_QUOTES | dg.AssetSelection.assets("features"),
    description=(
        "Stock quote files of a range of sessions, the spread at the end of each minute, and the features that show "
        "it; bars come first."
    ),
    tags=RETRY_TAGS,
)

score_context = dg.define_asset_job(
    "score_context",
    selection=dg.AssetSelection.groups("signals"),
    description="Context and composite scores of the firings of a range of sessions; features and options come first.",
    tags=RETRY_TAGS,
)

follow_data = dg.define_asset_job(
    "follow_data",
    selection=dg.AssetSelection.assets("features") | dg.AssetSelection.groups("signals"),
    description="Features, context and composite signals of sessions whose inputs are new or revised.",
    tags=RETRY_TAGS,
)

backfill_all = dg.define_asset_job(
    "backfill_all",
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups(*BACKTEST_GROUPS) - LIVE,
    description=(
        "Everything from the files of a range of sessions to their features and context, options and stock quotes "
        "included."
    ),
    tags=RETRY_TAGS,
)

run_backtests = dg.define_asset_job(
    "run_backtests",
    selection=dg.AssetSelection.groups(*BACKTEST_GROUPS),
    description="Every detector tested on the stored features, and the report.",
    tags=RETRY_TAGS,
)

backfill_market = dg.define_asset_job(
    "backfill_market",
    selection=dg.AssetSelection.groups("market").upstream(),
    description="Breadth and regime of a range of sessions with the files and bars they are made from, in one run.",
    tags=RETRY_TAGS,
)

backfill_recent = dg.define_asset_job(
    "backfill_recent",
    selection=dg.AssetSelection.assets("provisional_bars"),
    description="Provisional bars over REST of the sessions of a range that are not published as files.",
    tags=RETRY_TAGS,
)

ingest_chains = dg.define_asset_job(
    "ingest_chains",
    selection=dg.AssetSelection.assets("chain_snapshot"),
    description="One look at the option chains of the watched symbols over REST.",
    tags=RETRY_TAGS,
)

all_jobs = [
    backfill_all,
    backfill_bars,
    backfill_recent,
    backfill_market,
    backfill_options,
    backfill_quotes,
    score_context,
    follow_data,
    run_backtests,
    ingest_chains,
]
