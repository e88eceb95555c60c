"""The Dagster folder: assets, checks, automation, resources and storage of the graph; nothing above knows Dagster.

Beta features of Dagster that the graph uses on purpose are listed here, and only their warnings are not shown.
"""

import warnings

BETA_FEATURES = (
    # Ranged backfills in one run; the pinned release keeps its meaning.
    "Parameter `backfill_policy` of function `asset`",
    # The first sessions of a look-back reach before the first partition.
    "Parameter `allow_nonexistent_upstream_partitions` of initializer `TimeWindowPartitionMapping.__init__`",
)

for _feature in BETA_FEATURES:
    warnings.filterwarnings("ignore", message=f"{_feature.replace('.', '[.]')} is currently in beta")
