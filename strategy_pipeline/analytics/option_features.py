"""The columns of a feature row that come from option tables: gamma, expiries, the pin, volume and flow.

Rows and tables in, columns out, each joined to what was known at the row's own `available_at`. What the tables hold is
decided where they are made; a column without data is null, never 0.
"""

from dataclasses import dataclass, field
from datetime import date

import numpy as np
import polars as pl

from strategy_pipeline.analytics.adjustment import sessions_by_known_actions, split_factor
from strategy_pipeline.analytics.flow_window import FEATURE_COLUMNS as FLOW_FEATURES
from strategy_pipeline.analytics.flow_window import FLOW_COLUMNS as FLOW_COLUMNS_READ
from strategy_pipeline.analytics.flow_window import flow_features, flow_sessions
from strategy_pipeline.analytics.lookback import volume_sessions
from strategy_pipeline.analytics.option_volume import with_relative_volume
from strategy_pipeline.analytics.strike_levels import max_pain
from strategy_pipeline.lake.asof import KNOWN_AT, as_of, never_going_back
from strategy_pipeline.lake.tables import (
    FEATURES,
    GAMMA_EXPOSURE_SNAPSHOTS,
    INSTANT,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    OPTION_VOLUME_MINUTES,
    OPTIONS_FLOW_HISTORY,
    Table,
)
from strategy_pipeline.market import calendar
from strategy_pipeline.market.session_clock import MINUTE_US, session_us

# A snapshot older than this, in minutes of regular hours, says nothing about now.
MAX_SNAPSHOT_MINUTES = 30
SIGN_CONVENTION = "A"

GAMMA_LEVELS = (
    "net_gex_ratio", "max_gamma_strike", "gamma_flip", "gamma_flip_slope", "call_wall", "put_wall", "gex_gross_adv_pct",
)  # fmt: skip
GAMMA_COLUMNS = (*GAMMA_LEVELS, "gex_at_pin")
EXPIRY_COLUMNS = ("is_0dte", "minutes_to_expiry")
PIN_COLUMNS = ("max_pain_strike", "oi_at_pin", "oi_pin_share_pct")
VOLUME_COLUMNS = ("call_volume_share_pct", "opt_rvol")
FLOW_COLUMNS = tuple(FLOW_FEATURES)
OPTION_COLUMNS = (*GAMMA_COLUMNS, *EXPIRY_COLUMNS, *PIN_COLUMNS, *VOLUME_COLUMNS, *FLOW_COLUMNS)

# What is read of each row; `prev_close` alone decides between strikes that are equally painful.
ROW_COLUMNS = ("symbol", "session", "bar_end", KNOWN_AT, "prev_close")
# Columns that are read, where they are not all.
COLUMNS_READ: dict[str, tuple[str, ...]] = {
    GAMMA_EXPOSURE_SNAPSHOTS.name: (
        "symbol", "session", "snapshot_at", "sign_convention", "status", *GAMMA_LEVELS, "gex_by_strike", KNOWN_AT,
    ),
    OPEN_INTEREST.name: ("symbol", "session", "contract_ticker", "open_interest", KNOWN_AT),
    OPTION_CONTRACTS.name: (
        "symbol", "session", "contract_ticker", "expires_at", "strike", "option_type", "multiplier", KNOWN_AT,
    ),
    OPTIONS_FLOW_HISTORY.name: FLOW_COLUMNS_READ,
}  # fmt: skip


def sessions_read(session: date) -> dict[Table, list[date]]:
    """The sessions of each option table that may decide a row of `session`."""
    before = [calendar.previous_session(session)] if session > calendar.first_session() else []
    return {
        GAMMA_EXPOSURE_SNAPSHOTS: [*before, session],
        OPEN_INTEREST: [session],
        OPTION_CONTRACTS: [session],
        OPTION_VOLUME_MINUTES: [*volume_sessions(session), session],
        OPTIONS_FLOW_HISTORY: flow_sessions(session),
    }


@dataclass(frozen=True)
class OptionTables:
    """Rows of the option tables of the sessions that ``sessions_read`` names; more rows change nothing."""

    gamma: pl.DataFrame = field(default_factory=GAMMA_EXPOSURE_SNAPSHOTS.empty)
    open_interest: pl.DataFrame = field(default_factory=OPEN_INTEREST.empty)
    contracts: pl.DataFrame = field(default_factory=OPTION_CONTRACTS.empty)
    volume: pl.DataFrame = field(default_factory=OPTION_VOLUME_MINUTES.empty)
    flow: pl.DataFrame = field(default_factory=OPTIONS_FLOW_HISTORY.empty)


def option_features(rows: pl.DataFrame, tables: OptionTables, actions: pl.DataFrame) -> pl.DataFrame:
    """OPTION_COLUMNS of the feature schema for each of `rows` (ROW_COLUMNS), in their order.

    An index reads its own chain, whose weekly roots are mapped to it (SPXW to SPX). `actions`: ``corporate_actions``;
    strikes of the session before are of no use where a split lies in between.
    """
    rows = rows.select(ROW_COLUMNS)
    pins = pin_columns(rows, tables.open_interest, tables.contracts)
    found = pl.concat(
        [
            gamma_columns(rows.with_columns(pins["max_pain_strike"]), tables.gamma, actions),
            expiry_columns(rows, tables.contracts),
            pins,
            volume_columns(rows, tables.volume, actions),
            flow_columns(rows, tables.flow),
        ],
        how="horizontal",
    )
    return found.select(pl.col(name).cast(FEATURES.polars_schema[name]) for name in OPTION_COLUMNS)


def gamma_columns(rows: pl.DataFrame, snapshots: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """GAMMA_COLUMNS from the newest snapshot under convention A, if it is at most 30 session minutes old.

    rows: ROW_COLUMNS and max_pain_strike. snapshots: ``gamma_exposure_snapshots``. Null where the snapshot's status is
    not ok: part of a chain has walls and a balance of its own. `gex_at_pin` is the net at the max-pain strike, $ per
    1 %.
    """
    of_convention = snapshots.filter(pl.col("sign_convention").cast(pl.String) == SIGN_CONVENTION)
    known = never_going_back(of_convention, by=["symbol"], event="snapshot_at").with_row_index("snapshot")
    names = ("snapshot", "snapshot_at", "status", *GAMMA_LEVELS)
    found = as_of(rows, known, by=["symbol"], columns={**{name: name for name in names}, "session": "taken_on"})
    age_us = session_us(found["bar_end"]) - session_us(found["snapshot_at"])
    is_usable = (
        (age_us <= MAX_SNAPSHOT_MINUTES * MINUTE_US)
        & (found["status"].cast(pl.String) == "ok")
        & ~_split_since(found, "taken_on", actions)
    )
    found = found.with_columns(
        pl.when(is_usable).then(pl.col(name)).alias(name) for name in ("snapshot", *GAMMA_LEVELS)
    )
    # Rounding may have left the ratio a hair outside its range.
    return found.select(
        pl.col("net_gex_ratio").clip(-1.0, 1.0), *GAMMA_LEVELS[1:], _gamma_at(found, known).alias("gex_at_pin")
    )


def _split_since(rows: pl.DataFrame, since: str, actions: pl.DataFrame) -> pl.Series:
    """Whether a split known at the session's open took effect after the date `since` (null: no) and up to session."""
    placed = rows.select("symbol", "session", pl.col(since).fill_null(pl.col("session"))).with_row_index("place")
    parts = []
    for days, known in sessions_by_known_actions(rows["session"].unique().sort().to_list(), actions):
        part = placed.filter(pl.col("session").is_in(days))
        parts.append(part.select("place", is_split=split_factor(part, known, since=since) != 1.0))
    if not parts:
        return pl.Series([], dtype=pl.Boolean)
    return pl.concat(parts).sort("place")["is_split"]


def _gamma_at(rows: pl.DataFrame, snapshots: pl.DataFrame) -> pl.Series:
    """Net gamma of the snapshot numbered `snapshot` at each row's max_pain_strike; null where it has no such strike."""
    # Strikes are exact to 0.001, so whole thousandths meet where two ways of reading one may not.
    asked = rows.select(KNOWN_AT, "snapshot", strike=_thousandths(pl.col("max_pain_strike")))
    wanted = asked.drop_nulls()["snapshot"].unique()
    listed = snapshots.filter(pl.col("snapshot").is_in(wanted.implode()))
    entry = pl.col("gex_by_strike")
    by_strike = (
        listed.select(KNOWN_AT, "snapshot", "gex_by_strike")
        .explode("gex_by_strike")
        .drop_nulls()
        .select(
            KNOWN_AT,
            "snapshot",
            strike=_thousandths(entry.list.get(0)),
            net=entry.list.get(1) + entry.list.get(2),
        )
    )
    return as_of(asked, by_strike, by=["snapshot", "strike"], columns={"net": "net"})["net"]


def _thousandths(strike: pl.Expr) -> pl.Expr:
    return (strike * 1000.0).round().cast(pl.Int64)


def expiry_columns(rows: pl.DataFrame, contracts: pl.DataFrame) -> pl.DataFrame:
    """Whether an expiry still to settle does so this session, and calendar minutes from bar_end to the nearest one.

    contracts: ``option_contracts``. What settles on the open (am) is past before the first bar ends, so such a day is
    no expiry day by itself; half days settle at their own close. Null where no contract of the symbol is known.
    """
    ahead = (
        _with_hours(contracts)
        .filter(pl.col("expires_at") > pl.col("open_at"))
        .group_by("symbol", "session", KNOWN_AT)
        .agg(pl.col("expires_at").min())
        .sort("symbol", "session", KNOWN_AT)
        .with_columns(pl.col("expires_at").cum_min().over("symbol", "session"))
    )
    found = _with_hours(as_of(rows, ahead, by=["symbol", "session"], columns={"expires_at": "expires_at"}))
    return found.select(
        is_0dte=pl.col("expires_at") <= pl.col("close_at"),
        minutes_to_expiry=(pl.col("expires_at") - pl.col("bar_end")).dt.total_minutes(),
    )


def pin_columns(rows: pl.DataFrame, open_interest: pl.DataFrame, contracts: pl.DataFrame) -> pl.DataFrame:
    """PIN_COLUMNS of the expiry that ends at this session's close, from the open interest of its morning.

    Ties go to the strike nearer to the previous close. Null on a day on which nothing ends at the close, and without
    open interest.
    """
    ending = _with_hours(contracts).filter(
        (pl.col("expires_at") > pl.col("open_at")) & (pl.col("expires_at") <= pl.col("close_at"))
    )
    # A published number is itself proof of its contract, whose terms are those first known.
    names = ("strike", "option_type", "multiplier")
    terms = ending.sort(KNOWN_AT).unique(["session", "contract_ticker"], keep="first", maintain_order=True)
    terms = terms.with_columns(pl.lit(0, dtype=pl.Int64).cast(INSTANT).alias(KNOWN_AT))
    held = as_of(open_interest, terms, by=["session", "contract_ticker"], columns={name: name for name in names})
    held = held.drop_nulls("strike").sort(KNOWN_AT, "contract_ticker")
    opened = rows.group_by("symbol", "session", maintain_order=True).agg(
        pl.col("prev_close").sort_by("bar_end").first()
    )
    spots = {(symbol, day): spot or 0.0 for symbol, day, spot in opened.rows()}
    pins = [
        (*key, instant, *pin)
        for key, part in held.partition_by("symbol", "session", as_dict=True).items()
        if key in spots
        for instant in part[KNOWN_AT].unique().sort()
        if (pin := _pin(part.filter(pl.col(KNOWN_AT) <= instant), spots[key])) is not None
    ]
    schema = {name: FEATURES.polars_schema[name] for name in ("symbol", "session", KNOWN_AT, *PIN_COLUMNS)}
    known = pl.DataFrame(pins, schema=schema, orient="row")
    columns = {name: name for name in PIN_COLUMNS}
    return as_of(rows.select(ROW_COLUMNS), known, by=["symbol", "session"], columns=columns).select(PIN_COLUMNS)


def _pin(held: pl.DataFrame, spot: float) -> tuple[float, int, float] | None:
    """Max-pain strike, its open interest and its share of all, %; None without open interest.

    `held` in the order in which it became known: of each contract the last row counts.
    """
    newest = held.unique("contract_ticker", keep="last", maintain_order=True)
    is_call = pl.col("option_type").cast(pl.String) == "call"
    weight = pl.col("open_interest") * pl.col("multiplier")
    by_strike = (
        newest.group_by("strike")
        .agg(
            calls=weight.filter(is_call).sum(),
            puts=weight.filter(~is_call).sum(),
            contracts=pl.col("open_interest").sum(),
        )
        .sort("strike")
    )
    strikes, calls, puts = (by_strike[name].to_numpy().astype(np.float64) for name in ("strike", "calls", "puts"))
    strike = max_pain(strikes, calls, puts, spot)
    if strike is None:
        return None
    at_pin = int(by_strike.filter(pl.col("strike") == strike)["contracts"].sum())
    return strike, at_pin, 100.0 * at_pin / int(by_strike["contracts"].sum())


def volume_columns(rows: pl.DataFrame, minutes: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """Share of calls in the contracts traded so far in near expiries, and all contracts against 20 sessions.

    minutes: ``option_volume_minutes`` of the sessions and of the 20 of their type before each. The share is null before
    anything near has traded. actions: ``corporate_actions``, for the contracts of sessions before a split.
    """
    # A minute counts as it was known first: what it is compared with must not change under it.
    first = minutes.sort(KNOWN_AT).unique(["symbol", "minute_end"], keep="first", maintain_order=True)
    pieces = [
        with_relative_volume(first, days, known)
        for days, known in sessions_by_known_actions(rows["session"].unique().sort().to_list(), actions)
    ]
    counted = pl.concat(pieces or [with_relative_volume(first, [])])
    known = never_going_back(counted, by=["symbol", "session"], event="minute_end")
    names = {name: name for name in ("call_volume", "put_volume", "opt_rvol")}
    found = as_of(rows, known, by=["symbol", "session"], columns=names)
    near = pl.col("call_volume") + pl.col("put_volume")
    return found.select(
        call_volume_share_pct=pl.when(near > 0).then(100.0 * pl.col("call_volume") / near), opt_rvol="opt_rvol"
    )


def flow_columns(rows: pl.DataFrame, flow: pl.DataFrame) -> pl.DataFrame:
    """What the prints of the last 60 session minutes say; see ``flow_window.flow_features``."""
    return flow_features(flow, rows.select("symbol", as_of=KNOWN_AT))


def _with_hours(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with open_at and close_at of its column session."""
    hours = calendar.session_frame()
    return frame.with_columns(
        pl.col("session")
        .replace_strict(hours["session"], hours[name], return_dtype=hours[name].dtype)
        .alias(f"{name}_at")
        for name in ("open", "close")
    )
