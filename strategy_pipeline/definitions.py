"""The assembly Dagster loads: assets with the policies of their group, checks, jobs, schedule, sensor and resources."""

from typing import Any

import dagster as dg

from strategy_pipeline.defs.assets import all_assets, graph_models, group_checks
from strategy_pipeline.defs.automation.following import following_sensors
from strategy_pipeline.defs.automation.jobs import all_jobs
from strategy_pipeline.defs.automation.schedules import all_schedules
from strategy_pipeline.defs.automation.sensors import publication
from strategy_pipeline.defs.checks import all_checks
from strategy_pipeline.defs.poison_checks import poison_checks
from strategy_pipeline.defs.policies import with_group_policies
from strategy_pipeline.defs.resources import default_resources
from strategy_pipeline.defs.run_lines import PLAIN_LINES, plain_lines


def build_defs(**overrides: Any) -> dg.Definitions:
    """All definitions; `overrides` replaces resources by name (``lake=Lake(folder)``), for tests and the CLI."""
    unknown = sorted(set(overrides) - set(default_resources()))
    if unknown:
        raise ValueError(f"there are no resources named {unknown}")
    models = graph_models()
    return dg.Definitions(
        assets=with_group_policies(all_assets(models)),
        asset_checks=[*all_checks, *group_checks(models), *poison_checks],
        jobs=all_jobs,
        schedules=all_schedules,
        sensors=[publication, *following_sensors],
        resources={**default_resources(), **overrides},
        loggers={PLAIN_LINES: plain_lines},
        executor=dg.in_process_executor,
    )


defs = build_defs()
