"""Volatility at constant maturities as an asset: the chain at each close beside what the underlying really did.

Its rank against the past year is the SQL model `iv_percentile_cache`, which reads this table alone.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.analytics.adjustment import adjust
from strategy_pipeline.analytics.atm_implied_volatility import DEFINITION_VERSION
from strategy_pipeline.analytics.atm_implied_volatility import atm_iv_daily as rows_of_chains
from strategy_pipeline.analytics.implied_volatility_rank import WINDOW_SESSIONS, iv_percentile_cache
from strategy_pipeline.analytics.realised_volatility import RV_SESSIONS
from strategy_pipeline.backtest.drawing import markdown_image
from strategy_pipeline.defs.option_plots import volatility_history
from strategy_pipeline.defs.partition_events import publish
from strategy_pipeline.defs.partitions import SESSIONS, PartitionChoice, sessions_before, sessions_of
from strategy_pipeline.defs.progress import Progress
from strategy_pipeline.defs.rebuilding import digest_of, rebuilt
from strategy_pipeline.defs.stored_chains import last_chains
from strategy_pipeline.defs.table_metadata import describe_table
from strategy_pipeline.lake.store import Lake, PartitionInfo
from strategy_pipeline.lake.tables import ATM_IV_DAILY, CORPORATE_ACTIONS, HISTORICAL_BARS, HISTORICAL_GREEKS
from strategy_pipeline.market import calendar

CODE_VERSION = "atm-iv-daily-1"
MOST_PICTURES = 6


class VolatilityConfig(PartitionChoice):
    """`rv_estimator` is the estimator of realised volatility; it has to see the move overnight."""

    rv_estimator: str = "close_close"


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep("historical_greeks"),
        dg.AssetDep("historical_bars", partition_mapping=sessions_before(RV_SESSIONS)),
        dg.AssetDep("corporate_actions"),
    ],
    code_version=CODE_VERSION,
    description=(
        "Per symbol the at-the-money volatility at 30 and 90 days from the last chain of the session, its skew, the "
        "model-free volatility of indices, and the realised volatility of the 21 sessions that end there."
    ),
    metadata=describe_table(ATM_IV_DAILY),
)
def atm_iv_daily(
    context: dg.AssetExecutionContext,
    config: VolatilityConfig,
    lake: dg.ResourceParam[Lake],
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    held = set(lake.sessions(HISTORICAL_GREEKS))
    sessions = [day for day in sessions_of(config.keys(context)) if day in held]
    closes = _Closes(lake, sessions, config.rv_estimator)
    with progress.track("atm_iv_daily", len(sessions)) as advance:
        found = rebuilt(lake, ATM_IV_DAILY, {day: closes.pedigree(day) for day in sessions}, closes.build, advance)
    context.log.info(f"atm_iv_daily: {len(found)} sessions have rows.")
    described = {key: _described(info) for key, info in found.items()}
    if described:
        described[max(described)] |= _pictures(lake, date.fromisoformat(max(described)))
    return publish(context, described)


class _Closes:
    """The chain at each session's close with the daily bars before it."""

    def __init__(self, lake: Lake, sessions: Sequence[date], estimator: str) -> None:
        self.lake, self.estimator = lake, estimator
        self.actions = lake.read(CORPORATE_ACTIONS, [{}])
        days = sorted({one for day in sessions for one in _window(day)})
        daily = pl.col("timeframe").cast(pl.String) == "1d"
        self.bars = lake.read_sessions(HISTORICAL_BARS, days, where=daily).sort("symbol", "session")

    def pedigree(self, day: date) -> dict[str, str]:
        """What the session's rows follow from."""
        bars, actions = self._inputs(day)
        texts = [repr(bars.rows()), repr(actions.rows()), self.estimator, DEFINITION_VERSION]
        digest = digest_of(self.lake, [(HISTORICAL_GREEKS, {"session": day})], *texts)
        return {"code_version": CODE_VERSION, "inputs_sha256": digest}

    def build(self, day: date) -> tuple[pl.DataFrame, Mapping[str, str]]:
        """The session's rows and how many have a volatility that counts."""
        bars, actions = self._inputs(day)
        chain = last_chains(self.lake, day)
        european = chain.filter(pl.col("exercise_style").cast(pl.String) == "european")["symbol"].unique().to_list()
        rows = rows_of_chains(
            chain, adjust(bars, actions, day), model_free_symbols=european, rv_estimator=self.estimator
        )
        usable = rows.filter(pl.col("cm30_status").cast(pl.String) == "ok").height
        return rows, {"with_cm30": f"{usable}"}

    def _inputs(self, day: date) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The daily bars in reach of a session and the actions known at its close."""
        known = pl.col("available_at") <= calendar.session(day).close
        return self.bars.filter(pl.col("session").is_in(_window(day))), self.actions.filter(known)


def _window(day: date) -> list[date]:
    """The sessions whose daily bars a realised volatility of `day` needs."""
    return calendar.sessions_between(calendar.first_session(), day)[-(RV_SESSIONS + 1) :]


def _described(info: PartitionInfo) -> dict[str, Any]:
    """What the UI shows of a session."""
    return {
        "sha256": info.sha256,
        "dagster/row_count": info.rows,
        "with_cm30": int(info.metadata["with_cm30"]),
        "bytes": info.bytes,
        "code_version": CODE_VERSION,
    }


def _pictures(lake: Lake, last: date) -> dict[str, Any]:
    """The past year's volatility of a few symbols, inside the range of the year before each session."""
    shown = calendar.sessions_between(calendar.first_session(), last)[-WINDOW_SESSIONS:]
    before = calendar.sessions_between(calendar.first_session(), shown[0])[-WINDOW_SESSIONS - 1 : -1]
    daily = lake.read_sessions(ATM_IV_DAILY, [*before, *shown])
    ranked = iv_percentile_cache(daily, shown)
    today = ranked.filter((pl.col("session") == last) & pl.col("cm30_atm_iv").is_not_null())
    return {
        f"volatility of {symbol}": dg.MetadataValue.md(
            markdown_image(volatility_history(ranked.filter(pl.col("symbol") == symbol)), f"volatility of {symbol}")
        )
        for symbol in today["symbol"].unique().sort().to_list()[:MOST_PICTURES]
    }


volatility_assets = [atm_iv_daily]
