"""The ``scan`` command: the composite signals of the newest stored bars, ranked. It reads and stores nothing.

Rows come from defs/signal_inputs.py as those of the asset do; Dagster itself is not needed and not loaded.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl
from rich.table import Table

from strategy_pipeline.analytics.lookback import FEATURE_TIMEFRAMES
from strategy_pipeline.defs.signal_inputs import SignalInputs
from strategy_pipeline.errors import MissingDataError, SettingsError
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.market.calendar import NEW_YORK
from strategy_pipeline.settings import Settings, load_thresholds

POLL_SECONDS = 10.0
# So much of an id is shown; `explain` takes any beginning that is unique.
SHOWN_DIGITS = 10
MOST_REASONS = 3


@dataclass(frozen=True)
class Scan:
    """The newest bars by timeframe (their end) of one session, and the rows of ``composite_signals`` of these bars."""

    session: date
    bars: Mapping[str, datetime]
    rows: pl.DataFrame

    @property
    def accepted(self) -> pl.DataFrame:
        """Emitted signals, the best first."""
        return self._of("accepted").sort("recommended_score", "day_unclamped", "symbol", descending=[True, True, False])

    @property
    def rejected(self) -> pl.DataFrame:
        """Firings that were not emitted, the strongest first."""
        return self._of("rejected").sort(
            "recommended_score", "base_score", "symbol", descending=[True, True, False], nulls_last=True
        )

    def _of(self, decision: str) -> pl.DataFrame:
        return self.rows.filter(pl.col("decision").cast(pl.String) == decision)

    @property
    def title(self) -> str:
        """What was looked at and what came of it."""
        bars = ", ".join(f"{name} to {at.astimezone(NEW_YORK):%H:%M}" for name, at in sorted(self.bars.items()))
        reasons = Counter(self.rejected["reject_reason"].cast(pl.String).to_list()).most_common()
        why = f" ({', '.join(f'{name} {count}' for name, count in reasons)})" if reasons else ""
        rows = self.rejected.height
        return f"{self.session}, {bars} New York: {self.accepted.height} accepted, {rows} rejected{why}"


def newest(lake: Lake, settings: Settings, timeframe: str = "", symbols: Sequence[str] = ()) -> Scan:
    """The signals of the newest stored bars, of each detector's own timeframe or of `timeframe`.

    Raises MissingDataError when there are no features, and SettingsError for a timeframe that has none ever.
    """
    if timeframe and timeframe not in FEATURE_TIMEFRAMES:
        raise SettingsError(f"--timeframe {timeframe}: use one of {', '.join(FEATURE_TIMEFRAMES)}.")
    inputs = SignalInputs(lake, load_thresholds(settings.thresholds), timeframe, symbols)
    if not inputs.sessions:
        which = f"{timeframe} features" if timeframe else "features"
        raise MissingDataError(
            f"There are no {which} in {lake.url}: run strategy-pipeline demo, or materialise features, then scan."
        )
    day = max(inputs.sessions)
    features = inputs.features([day])
    bars = {name: rows["bar_end"].sort()[-1] for name, rows in features.items() if rows.height}
    if not bars:
        raise MissingDataError(f"The features of {day} hold none of {', '.join(symbols)}: choose symbols they hold.")
    rows = inputs.rows(day, inputs.fired(features))
    is_newest = pl.any_horizontal(
        (pl.col("timeframe").cast(pl.String) == name) & (pl.col("bar_end") == at) for name, at in bars.items()
    )
    return Scan(day, bars, rows.filter(is_newest))


def scans(
    look: Callable[[], Scan], sleep: Callable[[float], None], *, once: bool, poll_seconds: float = POLL_SECONDS
) -> Iterator[Scan]:
    """One scan, or one for every new bar for ever: `look` again every `poll_seconds`."""
    found = look()
    yield found
    while not once:
        sleep(poll_seconds)
        later = look()
        if (later.session, later.bars) != (found.session, found.bars):
            yield later
        found = later


def tables(scan: Scan, *, rejected: bool = False) -> list[Table | str]:
    """What a terminal shows of a scan: the emitted signals, or that there are none, and on request the others."""
    shown: list[Table | str] = [accepted_table(scan) if scan.accepted.height else scan.title]
    if rejected and scan.rejected.height:
        shown.append(rejected_table(scan))
    return shown


def accepted_table(scan: Scan) -> Table:
    """Emitted signals as a table for a terminal."""
    shown = Table(title=scan.title, title_justify="left")
    for name in ("#", "symbol", "detector", "side", "score", "style", "entry", "stop", "targets", "RR", "size", "why"):
        shown.add_column(name, justify="right" if name in ("#", "score", "entry", "stop", "RR", "size") else "left")
    shown.add_column("until", no_wrap=True)
    shown.add_column("signal", no_wrap=True)
    for at, row in enumerate(scan.accepted.iter_rows(named=True), start=1):
        shown.add_row(
            f"{at}", row["symbol"], row["detector"], row["direction"], f"{row['recommended_score']:.1f}",
            row["recommended_style"], price(row["entry_ref"]), price(row["stop_price"]),
            " / ".join(price(row[name]) for name in ("target_1", "target_2", "target_3")),
            f"{row['risk_reward']:.2f}", f"{row['size_multiplier']:.2f}", why(row), until(row),
            row["signal_id"][:SHOWN_DIGITS],
        )  # fmt: skip
    return shown


def rejected_table(scan: Scan) -> Table:
    """Firings that were not emitted, each with the first reason and what was asked."""
    shown = Table(title="Rejected", title_justify="left")
    for name in ("symbol", "detector", "side", "base", "score", "style", "RR", "reason", "signal"):
        shown.add_column(name, justify="right" if name in ("base", "score", "RR") else "left")
    for row in scan.rejected.iter_rows(named=True):
        score = "" if row["recommended_score"] is None else f"{row['recommended_score']:.1f}"
        ratio = "" if row["risk_reward"] is None else f"{row['risk_reward']:.2f}"
        shown.add_row(
            row["symbol"], row["detector"], row["direction"], f"{row['base_score']:.1f}", score,
            row["recommended_style"] or "", ratio, reason(row), row["signal_id"][:SHOWN_DIGITS],
        )  # fmt: skip
    return shown


def price(value: float) -> str:
    """A price with two decimals, with four below 10."""
    return f"{value:,.2f}" if abs(value) >= 10.0 else f"{value:.4f}"


def why(row: Mapping[str, Any]) -> str:
    """The strongest contributions of the recommended style as factors of the score."""
    items = [one for one in row["waterfall"] if one["style"] == row["recommended_style"] and one["contribution_ln"]]
    strongest = sorted(items, key=lambda one: -abs(one["contribution_ln"]))[:MOST_REASONS]
    factors = ", ".join(f"{one['item']} x{math.exp(one['contribution_ln']):.2f}" for one in strongest)
    return f"base {row['base_score']:.1f}" + (f", {factors}" if factors else "")


def until(row: Mapping[str, Any]) -> str:
    """When a signal expires, New York time, with the date when it is another."""
    at = row["expires_at"].astimezone(NEW_YORK)
    return f"{at:%H:%M}" if at.date() == row["session"] else f"{at:%m-%d %H:%M}"


def reason(row: Mapping[str, Any]) -> str:
    """The reject reason with the limit that was missed, where there is one."""
    name = str(row["reject_reason"])
    limit = {
        "base_below_min": "base_min",
        "style_below_min": "style_min",
        "rr_below_min": "rr_min",
    }.get(name)
    return name if limit is None else f"{name} {row[limit]:g}"
