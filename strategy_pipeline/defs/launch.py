"""Runs that the command line starts: on the configured instance, in this process, one run over a whole range.

The instance keeps its folder below STRATEGY_HOME; what it stores with is said by the repository's dagster.yaml and
decided in instance.py.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

import dagster as dg

from strategy_pipeline.defs.instance import describe_storage
from strategy_pipeline.defs.run_lines import PLAIN_LINES, least_level
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.lake import files
from strategy_pipeline.settings import PROJECT_ROOT, Settings, set_dagster_environment

# For callers that hand these on without knowing Dagster.
Definitions: TypeAlias = dg.Definitions
Instance: TypeAlias = dg.DagsterInstance

# A run that says no more for an hour has died with its process.
LONGEST_SILENCE = timedelta(hours=1)
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
INSTANCE_FILE = "dagster.yaml"
LOG_LEVEL_LINES = """
# LOG_LEVEL when the command line last came by: messages of assets below it are not kept.
python_logs:
  python_log_level: {}
"""


def prepare_home(settings: Settings) -> str:
    """Puts dagster.yaml, with LOG_LEVEL, into Dagster's folder below STRATEGY_HOME and returns that folder."""
    home = settings.dagster_home
    wanted = files.read_text(PROJECT_ROOT / INSTANCE_FILE) + LOG_LEVEL_LINES.format(settings.log_level)
    there = home / INSTANCE_FILE
    if files.stat_of(there) is None or files.read_text(there) != wanted:
        files.write_text(there, wanted)
    return str(home)


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The project's Dagster instance."""
    home = prepare_home(settings)
    set_dagster_environment(settings, home)
    return dg.DagsterInstance.from_config(home)


def storage_of(instance: dg.DagsterInstance) -> tuple[str, bool]:
    """``quick SQLite`` and the like, and whether it is the quick form."""
    return describe_storage(instance.event_log_storage)


def session_range(start: date, end: date) -> tuple[str, str]:
    """Keys of the first and last finished session from `start` to `end`; raises MissingDataError without any."""
    from strategy_pipeline.defs.partitions import SESSIONS
    from strategy_pipeline.market import calendar

    last = SESSIONS.get_last_partition_key()
    days = [day.isoformat() for day in calendar.sessions_between(start, end)]
    days = [key for key in days if last is not None and key <= last]
    if not days:
        raise MissingDataError(f"There is no finished session from {start} to {end}: choose dates up to {last}.")
    return days[0], days[-1]


def unfinished_run(instance: dg.DagsterInstance, job: str, now: datetime) -> str | None:
    """The run of `job` that is queued or under way at `now`, None without one."""
    unfinished = dg.RunsFilter(job_name=job, statuses=[one for one in dg.DagsterRunStatus if one not in _FINISHED])
    for record in instance.get_run_records(unfinished):
        if now - record.update_timestamp.replace(tzinfo=record.update_timestamp.tzinfo or UTC) < LONGEST_SILENCE:
            return record.dagster_run.run_id
    return None


def materialize(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str,
    *,
    assets: Iterable[str],
    keys: tuple[str, str] | None = None,
    config: Mapping[str, Mapping[str, Any]] | None = None,
    trigger: str,
) -> dg.ExecuteInProcessResult:
    """Materialises `assets` over the partition range `keys` in one run of `job`; the first error of a step is raised.

    Assets without partitions need no `keys`. `config` is the configuration of each asset by name.
    """
    wanted = list(assets)
    return definitions.resolve_job_def(job).execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in wanted],
        run_config={
            "loggers": {PLAIN_LINES: {"config": {"log_level": least_level(instance.python_log_level or "INFO")}}},
            "ops": {name: {"config": dict(values)} for name, values in (config or {}).items() if name in wanted},
        },
        tags={**({RANGE_START: keys[0], RANGE_END: keys[1]} if keys else {}), "trigger": trigger},
    )


def assets_of(definitions: dg.Definitions, job: str, *, without: Iterable[str] = ()) -> list[str]:
    """Names of the assets that a job materialises, sorted."""
    keys = definitions.resolve_job_def(job).asset_layer.executable_asset_keys
    return sorted({key.to_user_string() for key in keys} - set(without))


def written(instance: dg.DagsterInstance, run_id: str, asset: str) -> list[str]:
    """The partitions of an asset that a run materialised."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    events = (record.asset_materialization for record in records)
    return [one.partition for one in events if one and one.asset_key.path[-1] == asset and one.partition]
