"""What holds for every asset of a group (owners, kinds) and for every job (retries). Set here once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg


@dataclass(frozen=True)
class GroupPolicy:
    """The team that owns a group, and the kinds shown as badges."""

    owner: str
    kinds: frozenset[str]


POLICIES = {
    "flat_files": GroupPolicy("team:market-data", frozenset({"s3", "csv"})),
    "reference": GroupPolicy("team:market-data", frozenset({"polars", "parquet"})),
    "bars": GroupPolicy("team:market-data", frozenset({"polars", "parquet"})),
    "market": GroupPolicy("team:research", frozenset({"parquet"})),
    "options": GroupPolicy("team:options", frozenset({"polars", "numba", "parquet"})),
    "volatility": GroupPolicy("team:options", frozenset({"parquet"})),
    "features": GroupPolicy("team:research", frozenset({"polars", "parquet"})),
    "signals": GroupPolicy("team:research", frozenset({"polars", "parquet"})),
    "backtests": GroupPolicy("team:research", frozenset({"parquet"})),
}


# The daemon tries failed runs of jobs again, from the failed step; runs of the command line say at once what is wrong.
RETRY_TAGS = {"dagster/max_retries": "2", "dagster/retry_strategy": "FROM_FAILURE"}


def with_group_policies(groups: Mapping[str, Iterable[dg.AssetsDefinition]]) -> list[dg.AssetsDefinition]:
    """The assets of each group with the group's name, owners and kinds; raises KeyError without a policy."""
    return [_placed(asset, group, POLICIES[group]) for group, assets in groups.items() for asset in assets]


def _placed(asset: dg.AssetsDefinition, group: str, policy: GroupPolicy) -> dg.AssetsDefinition:
    def placed(spec: dg.AssetSpec) -> dg.AssetSpec:
        kinds = {*spec.kinds, *policy.kinds}
        return spec.replace_attributes(group_name=group, owners=[policy.owner], kinds=kinds)

    return asset.map_asset_specs(placed)
