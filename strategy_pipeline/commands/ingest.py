"""The ``ingest`` command: one look at the chains of the watched symbols over REST, or one each quarter of an hour."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.assets import live_chains
from strategy_pipeline.defs.launch import Definitions, Instance, materialize, open_instance, unfinished_run
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.resources import Clock, default_resources, vendor_api
from strategy_pipeline.errors import PipelineError, SettingsError, SourceError
from strategy_pipeline.lake.files import ensure_writable_folder
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, RATE_CURVE
from strategy_pipeline.market import calendar
from strategy_pipeline.settings import Settings, load_watchlist

JOB = "ingest_chains"
_MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked at: canonical symbols (none: the watchlist), and the moment of a replay or None for now."""

    symbols: tuple[str, ...] = ()
    as_of: datetime | None = None


def run(
    settings: Settings,
    progress: Progress,
    wanted: Wanted,
    *,
    once: bool,
    clock: Clock | None = None,
    wait: Callable[[float], None] = time.sleep,
    **overrides: Any,
) -> Iterator[str]:
    """Looks once, or at every instant until the session closes; yields lines on what came of it.

    Outside a session nothing is looked at, and the only line says when the next snapshot is. Raises SettingsError
    without a key or for a moment that is no instant's, and the failure of the only look, or of the last that failed.
    `overrides` replaces resources by name.
    """
    clock = clock or Clock()
    vendor_api(settings, clock)
    load_watchlist(settings.watchlist)
    resources = {**default_resources(lambda: settings), "progress": progress, "clock": clock, **overrides}
    looks = _Looks(settings, build_defs(**resources), wanted, clock)
    if wanted.as_of is not None:
        at = _instant_of(wanted.as_of, clock.now())
        yield from looks.at(at, replayed=at != calendar.snapshot_instant_at(clock.now()))
    elif once:
        instant = calendar.snapshot_instant_at(clock.now())
        yield from [live_chains.closed_sentence(clock.now())] if instant is None else looks.at(instant)
    else:
        yield from _until_the_close(looks, clock, wait)


def _instant_of(moment: datetime, now: datetime) -> datetime:
    instant = calendar.snapshot_instant_at(moment)
    shown = f"{moment.astimezone(calendar.NEW_YORK):%Y-%m-%d %H:%M} New York"
    if moment > now:
        raise SettingsError(f"--as-of {shown} lies ahead: give a moment that has come, or leave it out.")
    if instant is None:
        raise SettingsError(
            f"--as-of {shown} lies in no quarter hour of a session's snapshots, 09:45 New York to the close: give one "
            "that does, such as 2015-12-24T13:00."
        )
    return instant


def _until_the_close(looks: "_Looks", clock: Clock, wait: Callable[[float], None]) -> Iterator[str]:
    """A look at the present instant, and then at each one that comes until the session's close."""
    day = clock.now().astimezone(calendar.NEW_YORK).date()
    instant = calendar.snapshot_instant_at(clock.now())
    if instant is None:
        yield live_chains.closed_sentence(clock.now())
        instant = calendar.next_snapshot_instant(clock.now())
    failure: PipelineError | None = None
    failed = tried = 0
    while instant.astimezone(calendar.NEW_YORK).date() == day:
        while (ahead := (instant - clock.now()).total_seconds()) > 0:
            wait(ahead)
        tried += 1
        try:
            yield from looks.at(instant)
        except PipelineError as error:
            failure, failed = error, failed + 1
            yield f"{_clock_time(instant)}: {error}"
        following = calendar.next_snapshot_instant(instant)
        current = calendar.snapshot_instant_at(clock.now())
        if current is not None and current > following:
            span = f"from {_clock_time(following)} to before {_clock_time(current)}"
            yield f"The look took so long that there is none {span}."
            following = current
        instant = following
    if failure is not None:
        raise SourceError(f"{failed} of {tried} snapshots failed, the last one because: {failure}")


class _Looks:
    """Runs of the asset chain_snapshot, one an instant, and what is said of each."""

    def __init__(self, settings: Settings, definitions: Definitions, wanted: Wanted, clock: Clock) -> None:
        self.settings, self.definitions, self.wanted, self.clock = settings, definitions, wanted, clock

    def at(self, instant: datetime, *, replayed: bool = False) -> Iterator[str]:
        """One look; raises its failure, and PipelineError while another one is under way."""
        config = {"instant": instant.isoformat(), "symbols": list(self.wanted.symbols), "replayed": replayed}
        with open_instance(self.settings) as instance:
            if run_id := unfinished_run(instance, JOB, self.clock.now()):
                raise PipelineError(
                    f"Run {run_id} still looks at the chains, and two at once would write over each other: wait for "
                    "it, or end it in the Dagster UI."
                )
            yield from self._fetch_reference(instance, instant)
            result = materialize(
                self.definitions,
                instance,
                JOB,
                assets=["chain_snapshot"],
                config={"chain_snapshot": config},
                trigger="ingest",
            )
        events = result.asset_materializations_for_node("chain_snapshot")
        event = next(one for one in events if one.asset_key.path[-1] == "chain_snapshot")
        yield from _lines(instant, event.metadata, self.settings.lake_location)

    def _fetch_reference(self, instance: Instance, instant: datetime) -> Iterator[str]:
        """Rates and corporate actions where the lake has none that do; a line on what cannot be had."""
        lake = Lake(self.settings.lake_location)
        absent = [] if lake.metadata(CORPORATE_ACTIONS, {}) is not None else ["corporate_actions"]
        absent += ["rate_curve"] if _rates_are_old(lake.read(RATE_CURVE, [{}]), instant) else []
        if absent and self.settings.are_files_synthetic:
            # A machine that lives on REST alone has no mirror, which is then an empty one.
            ensure_writable_folder(self.settings.vendor_folder)
        for name in absent:
            config = {"corporate_actions": {"symbols": list(self.wanted.symbols)}}
            try:
                materialize(
                    self.definitions, instance, "backfill_options", assets=[name], config=config, trigger="ingest"
                )
            except SourceError as error:
                yield f"Without new {name}: {error}"


def _rates_are_old(rates: pl.DataFrame, instant: datetime) -> bool:
    """Whether there is no rate, or none of the last day among those that come daily over REST.

    After a weekend the newest are of Friday; who asked for newer ones in vain does not ask again on the same day.
    """
    daily = rates.filter(pl.col("source").cast(pl.String) == "rest")
    newest, asked = daily["available_at"].max(), daily["ingested_at"].max()
    if not isinstance(newest, datetime) or not isinstance(asked, datetime):
        return rates.is_empty()
    midnight = calendar.at_new_york(instant.astimezone(calendar.NEW_YORK).date(), datetime.min.time())
    return instant - newest > timedelta(days=1) and asked < midnight


def _lines(instant: datetime, said: Mapping[str, Any], place: str) -> Iterator[str]:
    """What came of a look."""
    contracts, failures = said[live_chains.CONTRACTS].value, said[live_chains.FAILURES].value
    shown = ", ".join(f"{count:,} contracts of {symbol}" for symbol, count in contracts.items())
    yield f"{_clock_time(instant)}: {shown} are in {place}."
    for row in said[live_chains.EXPOSURE].value:
        yield _exposure_line(row)
    if refused := said[live_chains.REFUSED].value:
        verb = "entry stands" if refused == 1 else "entries stand"
        yield f"{refused:,} {verb} in quarantine (table quarantine in the lake)."
    for sentence in failures.values():
        yield f"Left out: {sentence}"


def _exposure_line(row: Mapping[str, Any]) -> str:
    """Dealer gamma of a symbol in millions of dollars, under the headline convention."""
    net, calls, puts = (row[f"{part}gex_usd_per_1pct"] for part in ("", "call_", "put_"))
    if net is None:
        return f"{row['symbol']}: no dealer gamma ({row['status']})."
    return (
        f"{row['symbol']}: dealer gamma {net / _MILLION:+,.2f} M$ per 1 % (calls {calls / _MILLION:+,.2f}, puts "
        f"{puts / _MILLION:+,.2f}), {row['oi_coverage_pct']:.0f} % of open interest priced: {row['status']}."
    )


def _clock_time(instant: datetime) -> str:
    return f"{instant.astimezone(calendar.NEW_YORK):%Y-%m-%d %H:%M} New York"
