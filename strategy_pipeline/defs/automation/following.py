"""Sensors that follow what changed: features and signals after their inputs, backtests after signals.

What is out of date is read off the lake, where each partition says what it follows from; nothing is remembered between
ticks but the runs themselves. A run that failed is asked for again, three times at most for the same state of the data.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg

from strategy_pipeline.defs.automation.jobs import follow_data, run_backtests
from strategy_pipeline.defs.backtest_inputs import DEFAULT_DAYS
from strategy_pipeline.defs.context_inputs import ContextInputs
from strategy_pipeline.defs.feature_inputs import FeatureInputs
from strategy_pipeline.defs.signal_inputs import SignalInputs
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.lake.store import Lake, PartitionKey
from strategy_pipeline.lake.tables import COMPOSITE_SIGNALS, CONTEXT_SCORES, FEATURES, Table
from strategy_pipeline.scoring.rules import ScoringRules
from strategy_pipeline.settings import Watchlist

LOOK_BACK_SESSIONS = 20
MOST_FAILURES = 3
TESTED_TIMEFRAME = "15m"
# The tag of a run that names the state of the data it was asked for.
STATE = "strategy/state"
SIGNALS = ("context_scores", "composite_signals")

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]  # fmt: skip


def _runs(instance: dg.DagsterInstance, job: str, statuses: Sequence[dg.DagsterRunStatus], state: str = "") -> int:
    """How many runs of a job are in one of `statuses`, for one state of the data or for any."""
    tags = {STATE: state} if state else {}
    return instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=list(statuses), tags=tags))


def _asked(
    instance: dg.DagsterInstance,
    job: str,
    state: str,
    what: str,
    tags: Mapping[str, str],
    run_config: Mapping[str, Any] | None = None,
) -> dg.RunRequest | dg.SkipReason:
    """The request for a state of the data, unless a run is under way, has done it, or has failed too often."""
    if _runs(instance, job, UNDER_WAY):
        return dg.SkipReason(f"A run of {job} is under way.")
    if _runs(instance, job, [dg.DagsterRunStatus.SUCCESS], state):
        return dg.SkipReason(f"Nothing new: {what} are those of the stored data.")
    failures = _runs(instance, job, [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED], state)
    if failures >= MOST_FAILURES:
        return dg.SkipReason(f"{job} failed {failures} times on the same data: look at its last run, then launch it.")
    return dg.RunRequest(
        run_key=f"{state}:{failures}", tags={"trigger": "followed", STATE: state, **tags}, run_config=run_config
    )


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Stored:
    """How a session was computed: the timeframes of its feature rows, and the one its signals were asked for."""

    features: tuple[str, ...]
    signals: str

    @classmethod
    def by_session(cls, lake: Lake) -> "dict[date, Stored]":
        """The last sessions that have features; signals that are not there yet are each detector's own."""
        timeframes: dict[date, list[str]] = {}
        for key in lake.keys(FEATURES):
            timeframes.setdefault(date.fromisoformat(key["session"]), []).append(key["timeframe"])
        found = {}
        for day in sorted(timeframes)[-LOOK_BACK_SESSIONS:]:
            said = lake.metadata(CONTEXT_SCORES, {"session": day}) or {}
            found[day] = cls(tuple(sorted(timeframes[day])), said.get("timeframe", ""))
        return found


class Staleness:
    """What the stored features and signals of sessions should follow from, beside what they say they do."""

    def __init__(self, lake: Lake, watchlist: Watchlist, rules: ScoringRules) -> None:
        self.lake, self.rules = lake, rules
        self.features = FeatureInputs(lake, watchlist)

    def of(self, day: date, how: Stored) -> str | None:
        """What a session should follow from, when it follows from anything else; None when it is up to date."""
        wanted: list[tuple[Table, PartitionKey, Mapping[str, str]]] = [
            (FEATURES, {"timeframe": name, "session": day}, self.features.pedigree(name, day)) for name in how.features
        ]
        wanted.append((CONTEXT_SCORES, {"session": day}, ContextInputs(self.lake, how.signals).pedigree(day)))
        signals = SignalInputs(self.lake, self.rules, how.signals)
        wanted.append((COMPOSITE_SIGNALS, {"session": day}, signals.pedigree(day)))
        for table, key, pedigree in wanted:
            stored = self.lake.metadata(table, key)
            if stored is None or not pedigree.items() <= stored.items():
                return f"{table.name} {day} {pedigree['inputs_sha256']}"
        return None


@dg.sensor(
    job=follow_data,
    minimum_interval_seconds=300,
    description=(
        "Computes features and signals of those of the last 20 sessions again whose bars, volatility, gamma, flow or "
        "regime are new or revised; no other session is touched."
    ),
)
def signals_follow(
    context: dg.SensorEvaluationContext,
    lake: dg.ResourceParam[Lake],
    watchlist: dg.ResourceParam[Watchlist],
    scoring_rules: dg.ResourceParam[ScoringRules],
) -> dg.RunRequest | dg.SkipReason:
    """Compares what stored rows follow from with what stands in the lake; sessions computed alike share a run."""
    stored = Stored.by_session(lake)
    if not stored:
        return dg.SkipReason("There are no features yet.")
    staleness = Staleness(lake, watchlist, scoring_rules)
    stale: dict[Stored, dict[date, str]] = {}
    for day, how in stored.items():
        if (state := staleness.of(day, how)) is not None:
            stale.setdefault(how, {})[day] = state
    answer: dg.RunRequest | dg.SkipReason = dg.SkipReason("Nothing new: signals are those of the stored data.")
    for how, states in stale.items():
        keys = [day.isoformat() for day in states]
        chosen = {name: {"config": {"only": keys, "timeframe": how.signals}} for name in SIGNALS}
        answer = _asked(
            context.instance,
            follow_data.name,
            _digest([repr(how), *states.values()]),
            "signals",
            {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]},
            {"ops": {**chosen, "features": {"config": {"only": keys, "timeframes": list(how.features)}}}},
        )
        if isinstance(answer, dg.RunRequest):
            return answer
    return answer


@dg.sensor(
    job=run_backtests,
    minimum_interval_seconds=900,
    description="Tests every detector again once the signals of the last 90 days are scored and have changed.",
)
def backtests_follow(
    context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake], scoring_rules: dg.ResourceParam[ScoringRules]
) -> dg.RunRequest | dg.SkipReason:
    """Asks for a backtest of the default window when its features or signals are others than those of the last one."""
    stored = lake.sessions(FEATURES, timeframe=TESTED_TIMEFRAME)
    if not stored:
        return dg.SkipReason(f"There are no {TESTED_TIMEFRAME} features yet.")
    if _runs(context.instance, follow_data.name, UNDER_WAY):
        return dg.SkipReason(f"A run of {follow_data.name} is under way.")
    window = [day for day in stored if (stored[-1] - day).days < DEFAULT_DAYS]
    texts = []
    for day in window:
        for table, key in (
            (FEATURES, {"timeframe": TESTED_TIMEFRAME, "session": day}),
            (COMPOSITE_SIGNALS, {"session": day}),
        ):
            said = lake.metadata(table, key) or {}
            texts.append(f"{table.name} {day} {said.get('inputs_sha256', '')}")
    first, last = catalogue.ALL_NAMES[0], catalogue.ALL_NAMES[-1]
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return _asked(context.instance, run_backtests.name, _digest(texts), "the backtests", tags)


following_sensors = [signals_follow, backtests_follow]
