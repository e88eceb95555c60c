"""Future-poison as asset checks: the newest partition is computed again from a lake whose later rows are spoilt.

What was known by a moment of the session has to come out as it is stored, bit for bit. How rows are spoilt is said in
lake/poison.py.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import dagster as dg
import polars as pl

from strategy_pipeline.defs.checks import keys_of_run
from strategy_pipeline.defs.feature_inputs import FeatureInputs
from strategy_pipeline.defs.partitions import SESSIONS
from strategy_pipeline.defs.signal_inputs import SignalInputs
from strategy_pipeline.detectors.catalogue import CATALOGUE
from strategy_pipeline.lake.poison import Leak, leaks, moments_of
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import COMPOSITE_SIGNALS, FEATURES, Table
from strategy_pipeline.market import calendar
from strategy_pipeline.scoring.rules import ScoringRules
from strategy_pipeline.settings import Watchlist

# Rows gone; and other values, later versions and a split nobody has heard of, all at once.
KINDS = ("delete", "storm")
DESCRIPTION = (
    "The newest session computed again with everything after a moment of it deleted, and with all of it garbled, "
    "revised and split: rows known by then must keep every bit."
)
# What a row says of the partitions it follows from, which are not spoilt.
_OF_THE_FILES = ("run_id", "data_version")
_MOST_NAMED = 5


def _newest(context: dg.AssetCheckExecutionContext, held: Sequence[date]) -> date | None:
    """The newest session of the run that has a partition."""
    wanted = set(keys_of_run(context, SESSIONS))
    return max((day for day in held if day.isoformat() in wanted), default=None)


def _moment(day: date) -> list[datetime]:
    """One moment inside the session, three seconds after a minute, when its bars have just become known."""
    hours = calendar.session(day)
    return [moments_of(hours.open, hours.close, 3, day)[1] + timedelta(seconds=3)]


def _verdict(table: Table, day: date | None, found: Sequence[Leak], rows: int) -> dg.AssetCheckResult:
    if day is None:
        says = "nothing is stored"
    elif found:
        named = "; ".join(str(leak) for leak in found[:_MOST_NAMED])
        says = f"{day}: {named}" + (f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else "")
    else:
        says = f"{day}: {rows:,} rows known by {_moment(day)[0]:%H:%M:%S} UTC are the same with any future"
    return dg.AssetCheckResult(
        asset_key=table.name, check_name="future_poison", passed=not found, description=says, metadata={"says": says}
    )


@dg.asset_check(asset=FEATURES.name, name="future_poison", blocking=True, description=DESCRIPTION)
def features_poison(
    context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake], watchlist: dg.ResourceParam[Watchlist]
) -> dg.AssetCheckResult:
    """The stored features of the run's newest session, one timeframe."""
    day = _newest(context, lake.sessions(FEATURES))
    if day is None:
        return _verdict(FEATURES, None, [], 0)
    timeframes = [key["timeframe"] for key in lake.keys(FEATURES) if key["session"] == day.isoformat()]
    timeframe = "15m" if "15m" in timeframes else timeframes[0]
    honest = lake.read_sessions(FEATURES, [day], timeframe=timeframe)
    inputs = FeatureInputs(lake, watchlist)
    found = leaks(
        lambda spoilt: inputs.seen_through(spoilt).rows(timeframe, [day]),
        lake, _moment(day), key=FEATURES.key, kinds=KINDS, honest=honest,
    )  # fmt: skip
    return _verdict(FEATURES, day, found, _known(honest, day))


@dg.asset_check(asset=COMPOSITE_SIGNALS.name, name="future_poison", blocking=True, description=DESCRIPTION)
def signals_poison(
    context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake], scoring_rules: dg.ResourceParam[ScoringRules]
) -> dg.AssetCheckResult:
    """The stored composite signals of the run's newest session."""
    day = _newest(context, lake.sessions(COMPOSITE_SIGNALS))
    if day is None:
        return _verdict(COMPOSITE_SIGNALS, None, [], 0)
    honest = lake.read_sessions(COMPOSITE_SIGNALS, [day]).drop(_OF_THE_FILES)
    timeframe = _timeframe_of(honest)
    found = leaks(
        lambda spoilt: SignalInputs(spoilt, scoring_rules, timeframe).piece([day]).build(day)[0].drop(_OF_THE_FILES),
        lake, _moment(day), key=COMPOSITE_SIGNALS.key, kinds=KINDS, honest=honest,
    )  # fmt: skip
    return _verdict(COMPOSITE_SIGNALS, day, found, _known(honest, day))


def _timeframe_of(signals: pl.DataFrame) -> str:
    """The one timeframe the run asked every detector about, empty where each had its own."""
    own = {detector.name: detector.timeframe for detector in CATALOGUE}
    rows = signals.select("detector", pl.col("timeframe").cast(pl.String)).unique().rows()
    return next((timeframe for name, timeframe in rows if own[name] != timeframe), "")


def _known(rows: pl.DataFrame, day: date) -> int:
    return rows.filter(pl.col("available_at") <= _moment(day)[0]).height


poison_checks = [features_poison, signals_poison]
