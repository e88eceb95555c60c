"""Option contracts traded so far in a session, minute by minute: calls and puts of near expiries, and all of them.

Counts alone: what a print says about sides and positions is option_flow.py's business.
"""

from collections.abc import Sequence
from datetime import date

import polars as pl

from strategy_pipeline.analytics.adjustment import split_factor
from strategy_pipeline.analytics.relative_volume import relative_volume
from strategy_pipeline.lake.asof import as_of
from strategy_pipeline.lake.tables import INSTANT, OPTION_VOLUME_MINUTES
from strategy_pipeline.market.calendar import NEW_YORK, session_frame
from strategy_pipeline.market.timeframes import BAR_LAG

DEFINITION_VERSION = "option-volume-1"
# Calendar days to expiration up to which calls and puts are counted (detectors.md section 2).
NEAR_EXPIRY_DAYS = 7
_COUNTS = ("call_volume", "put_volume", "total_volume")


def option_volume(
    prints: pl.DataFrame, contracts: pl.DataFrame, sessions: Sequence[date], actions: pl.DataFrame | None = None
) -> pl.DataFrame:
    """``option_minutes`` of `prints` with `opt_rvol`, rows of `sessions` alone; see ``with_relative_volume``.

    prints and contracts must reach back over the 20 sessions of the same type before each of `sessions`.
    """
    return with_relative_volume(option_minutes(prints, contracts), sessions, actions)


def option_minutes(prints: pl.DataFrame, contracts: pl.DataFrame, *, source: str = "derived") -> pl.DataFrame:
    """Rows of ``option_volume_minutes``: contracts traded from the open up to the end of each regular minute.

    prints: contract_ticker, size (contracts), event_at (end of the minute), available_at, ingested_at.
    contracts: ``option_contracts`` of the same sessions; prints of a contract that it lacks are not counted
        (``without_terms`` tells how many), nor are those outside regular hours.
    A symbol's rows of a session begin with its first print and then follow minute by minute to the close. A row counts
    what was known when the minute's own bar is, so a print that came to be known late counts from then on.
    """
    day = pl.col("event_at").dt.convert_time_zone(NEW_YORK.key).dt.date()
    timed = prints.select(
        "contract_ticker", "size", "available_at", "ingested_at", minute_end=_minute_end(), session=day
    ).filter((pl.col("minute_end") > _hour("open")) & (pl.col("minute_end") <= _hour("close")))
    # A print is itself proof that its contract exists, whenever the reference was published.
    terms = contracts.with_columns(available_at=pl.lit(0, dtype=pl.Int64).cast(INSTANT))
    names = {name: name for name in ("symbol", "expiration", "option_type")}
    known = as_of(timed, terms, by=["contract_ticker", "session"], columns=names).drop_nulls("symbol")
    size, kind = pl.col("size").cast(pl.Int64), pl.col("option_type").cast(pl.String)
    is_near = (pl.col("expiration") - pl.col("session")).dt.total_days() <= NEAR_EXPIRY_DAYS
    traded = (
        known.group_by("symbol", "session", "minute_end", "available_at")
        .agg(
            call_volume=size.filter(is_near & (kind == "call")).sum(),
            put_volume=size.filter(is_near & (kind == "put")).sum(),
            total_volume=size.sum(),
            ingested_at=pl.col("ingested_at").max(),
        )
        .sort("symbol", "session", "available_at", "minute_end")
        .with_columns(pl.col(*_COUNTS).cum_sum().over("symbol", "session"))
        .with_columns(pl.col("ingested_at").cum_max().over("symbol", "session"))
    )
    grid = (
        traded.group_by("symbol", "session")
        .agg(first=pl.col("minute_end").min())
        .with_columns(minute_end=pl.datetime_ranges("first", _hour("close"), interval="1m").cast(pl.List(INSTANT)))
        .explode("minute_end")
        .select("symbol", "session", "minute_end", available_at=pl.col("minute_end") + BAR_LAG)
    )
    columns = {name: name for name in (*_COUNTS, "ingested_at")}
    rows = as_of(grid, traded, by=["symbol", "session"], columns=columns).drop_nulls("total_volume")
    return (
        rows.with_columns(
            source=pl.lit(source),
            quality=pl.lit("final"),
            quality_flags=pl.lit([], dtype=pl.List(pl.String)),
            revision=pl.lit(0, dtype=pl.Int32),
            definition_version=pl.lit(DEFINITION_VERSION),
        )
        .select(pl.col(name).cast(kind) for name, kind in OPTION_VOLUME_MINUTES.polars_schema.items())
        .sort(*OPTION_VOLUME_MINUTES.sort_by)
    )


def without_terms(prints: pl.DataFrame, contracts: pl.DataFrame) -> int:
    """How many of `prints` are of contracts that `contracts` does not know."""
    return prints.filter(~pl.col("contract_ticker").is_in(contracts["contract_ticker"].implode())).height


def with_relative_volume(
    minutes: pl.DataFrame, sessions: Sequence[date], actions: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Rows of `sessions` with `opt_rvol`: contracts so far / their mean at the same minute of 20 prior sessions, ratio.

    minutes: rows of ``option_volume_minutes`` of `sessions` and of the 20 sessions of the same type before each
    (``lookback.volume_sessions``). Sessions of the same type count, full or half, of which 10 full or 3 half ones must
    hold the symbol; else null. The ratio adds nothing later than its own row, so `available_at` stays as it is.
    actions: ``corporate_actions``; a split of whole shares makes as many contracts of one, so contracts before it are
    multiplied. After any other split OCC changes what a contract delivers and not their number. Source: detectors.md
    section 2.
    """
    by_session = ["symbol", "session"]
    opened = minutes.sort(*by_session, "minute_end")
    since = (pl.col("minute_end") - _hour("open")).dt.total_minutes()
    bars = opened.select(
        "symbol",
        "session",
        minute_start=since - 1,
        minute_end=since,
        volume=pl.col("total_volume").diff().fill_null(pl.col("total_volume")).over(by_session).cast(pl.Float64),
    )
    if actions is not None:
        ratio = pl.col("split_ratio")
        bars = bars.with_columns(volume=pl.col("volume") / split_factor(bars, actions.filter(ratio == ratio.floor())))
    wanted = opened.filter(pl.col("session").is_in(sorted(set(sessions))))
    asked = wanted.select(rvol_symbol="symbol", session="session", minutes_since_open=since)
    relative = relative_volume(asked, bars, sorted(set(sessions)), 1)
    return wanted.with_columns(relative.alias("opt_rvol"))


def _hour(name: str) -> pl.Expr:
    """The `open` or `close` of each row's session; null on a day without one."""
    hours = session_frame()
    return pl.col("session").replace_strict(hours["session"], hours[name], default=None, return_dtype=INSTANT)


def _minute_end() -> pl.Expr:
    """The end of the minute that holds `event_at`; a moment on the grid ends its own."""
    start = pl.col("event_at").dt.truncate("1m")
    return pl.when(start == pl.col("event_at")).then(start).otherwise(start + pl.duration(minutes=1))
