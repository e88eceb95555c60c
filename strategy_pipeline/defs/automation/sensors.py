"""The publication sensor: asks the vendor's store what is new or was published again, and runs what follows from it.

It keeps its own cursor, {session: etag of the session's files}, and looks back a fixed number of sessions. A file that
was published again re-runs its session and the later features that had looked back at it, nothing else.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import date

import dagster as dg

from strategy_pipeline.defs.assets.flat_files import FLAT_FILE_DATASETS
from strategy_pipeline.defs.automation.jobs import backfill_bars
from strategy_pipeline.defs.feature_inputs import reach_start
from strategy_pipeline.defs.resources import Clock
from strategy_pipeline.errors import SourceError
from strategy_pipeline.ingestion.flat_files import FlatFileStore
from strategy_pipeline.ingestion.layout import DATASETS, key_for
from strategy_pipeline.market import calendar

LOOK_BACK_SESSIONS = 20
# Revisions handled in one tick; the rest waits for the next one.
MOST_RUNS_A_TICK = 10
_WATCHED = [DATASETS[name] for name in FLAT_FILE_DATASETS.values() if DATASETS[name].file_per == "session"]
UPSTREAM_OF_FEATURES = [
    *(asset for asset, name in FLAT_FILE_DATASETS.items()),
    "historical_bars",
]


def published_etags(store: FlatFileStore, newest: date, sessions: int = LOOK_BACK_SESSIONS) -> dict[str, str]:
    """session -> a digest of the ETags of its files, for the last `sessions` sessions up to `newest` that have any."""
    days = calendar.sessions_between(calendar.first_session(), newest)[-sessions:]
    etags: dict[str, list[str]] = {}
    for dataset in _WATCHED:
        of_key = {key_for(dataset, day): day.isoformat() for day in days}
        for one in store.list(dataset, days[0], days[-1]):
            if one.key in of_key:
                etags.setdefault(of_key[one.key], []).append(f"{one.key} {one.etag}")
    return {day: hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()[:16] for day, found in etags.items()}


def last_session_in_reach(revised: date, with_features: set[str]) -> date:
    """The last session whose features looked back at `revised`, among those that exist."""
    later = (date.fromisoformat(key) for key in with_features if key > revised.isoformat())
    return max((day for day in later if reach_start(day) <= revised), default=revised)


def request_for(session: str, etag: str, *, is_revision: bool, with_features: set[str]) -> dg.RunRequest:
    """The run a new or revised session asks for; its key makes a repeated tick harmless."""
    run_key = f"{session}:{etag}"
    if not is_revision:
        return dg.RunRequest(run_key=run_key, partition_key=session, tags={"trigger": "published"})
    last = last_session_in_reach(date.fromisoformat(session), with_features)
    narrowed = {name: {"config": {"only": [session]}} for name in UPSTREAM_OF_FEATURES}
    return dg.RunRequest(
        run_key=run_key,
        run_config={"ops": narrowed},
        tags={
            "trigger": "published again",
            "dagster/asset_partition_range_start": session,
            "dagster/asset_partition_range_end": last.isoformat(),
        },
    )


@dg.sensor(
    job=backfill_bars,
    minimum_interval_seconds=900,
    description="New and re-published files of the last 20 sessions; a revision re-runs only what was built on it.",
)
def publication(
    context: dg.SensorEvaluationContext, flat_files: dg.ResourceParam[FlatFileStore], clock: dg.ResourceParam[Clock]
) -> dg.SensorResult | dg.SkipReason:
    """Compares the store's ETags with the cursor; the cursor keeps the sessions inside the look-back only."""
    seen: Mapping[str, str] = json.loads(context.cursor) if context.cursor else {}
    try:
        newest = calendar.previous_session(clock.now().astimezone(calendar.NEW_YORK).date())
        now = published_etags(flat_files, newest)
    except SourceError as error:
        return dg.SkipReason(str(error))
    changed = sorted(day for day, etag in now.items() if seen.get(day) != etag)[:MOST_RUNS_A_TICK]
    if not changed:
        return dg.SkipReason(f"Nothing new among the last {LOOK_BACK_SESSIONS} sessions up to {newest}.")
    with_features = set(context.instance.get_materialized_partitions(dg.AssetKey("features")))
    requests = [request_for(day, now[day], is_revision=day in seen, with_features=with_features) for day in changed]
    cursor = {day: etag for day, etag in {**seen, **{day: now[day] for day in changed}}.items() if day in now}
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(cursor, sort_keys=True))
