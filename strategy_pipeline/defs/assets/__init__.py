"""The graph, one module per group in the order in which data passes through; each asset is thin."""

import dagster as dg

from strategy_pipeline.defs.assets.backtests import backtest_assets
from strategy_pipeline.defs.assets.bars import bars_assets
from strategy_pipeline.defs.assets.features import features_assets
from strategy_pipeline.defs.assets.flat_files import flat_file_assets
from strategy_pipeline.defs.assets.reference import reference_assets


def all_assets() -> dict[str, list[dg.AssetsDefinition]]:
    """Every asset by its group."""
    return {
        "flat_files": flat_file_assets,
        "reference": reference_assets,
        "bars": bars_assets,
        "features": features_assets,
        "backtests": backtest_assets,
    }
