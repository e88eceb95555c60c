"""The graph, one module per group in the order in which data passes through; each asset is thin."""

from collections.abc import Mapping

import dagster as dg

from strategy_pipeline.defs.assets.backtests import backtest_assets
from strategy_pipeline.defs.assets.bars import bars_assets
from strategy_pipeline.defs.assets.evidence import evidence_assets
from strategy_pipeline.defs.assets.features import features_assets
from strategy_pipeline.defs.assets.flat_files import flat_file_assets
from strategy_pipeline.defs.assets.flow import conditions_assets, flow_assets
from strategy_pipeline.defs.assets.live_chains import live_chain_assets
from strategy_pipeline.defs.assets.market import market_assets, market_checks
from strategy_pipeline.defs.assets.option_reference import option_reference_assets
from strategy_pipeline.defs.assets.options import option_assets
from strategy_pipeline.defs.assets.provisional_bars import provisional_bars_assets
from strategy_pipeline.defs.assets.quotes import quote_assets
from strategy_pipeline.defs.assets.reference import reference_assets
from strategy_pipeline.defs.assets.signals import signal_assets, signal_checks
from strategy_pipeline.defs.assets.sql import sql_assets, sql_checks
from strategy_pipeline.defs.assets.volatility import volatility_assets
from strategy_pipeline.defs.flow_checks import tape_checks
from strategy_pipeline.defs.option_checks import option_checks
from strategy_pipeline.sql_models.model import SqlModel, load_models


def graph_models() -> dict[str, SqlModel]:
    """The SQL models that are part of the graph."""
    return load_models()


def all_assets(models: Mapping[str, SqlModel]) -> dict[str, list[dg.AssetsDefinition]]:
    """Every asset by its group; `models` are those of ``graph_models``."""
    groups = {
        "flat_files": flat_file_assets,
        "reference": [*reference_assets, *option_reference_assets, *conditions_assets],
        "bars": [*bars_assets, *provisional_bars_assets, *quote_assets],
        "market": market_assets,
        "options": [*option_assets, *flow_assets, *live_chain_assets],
        "volatility": volatility_assets,
        "features": features_assets,
        "signals": signal_assets,
        "backtests": [*backtest_assets, *evidence_assets],
    }
    in_sql = sql_assets(models)
    return {group: [*groups.get(group, ()), *in_sql.get(group, ())] for group in dict.fromkeys([*groups, *in_sql])}


def group_checks(models: Mapping[str, SqlModel]) -> list[dg.AssetChecksDefinition]:
    """The checks that stand beside their assets; those of the spine are in checks.py."""
    return [*market_checks, *option_checks, *tape_checks, *signal_checks, *sql_checks(models)]
