"""Deliberate look-aheads, one a kind that people really write: each is caught by spoiling the future, and named.

A mutant that survives is a defect of the gate, not of the mutant.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from strategy_pipeline.analytics.adjustment import split_factor
from strategy_pipeline.lake.asof import as_of
from strategy_pipeline.lake.poison import leaks
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, HISTORICAL_BARS, OPEN_INTEREST
from strategy_pipeline.market.calendar import at_new_york, previous_session, session, sessions_between
from strategy_pipeline.market.timeframes import BAR_LAG
from strategy_pipeline_tests.analytics.bar_frames import all_timeframes, minute_market, splits
from strategy_pipeline_tests.sql_models.crafted import lake_with

# Over the change to summer time.
DAYS = sessions_between(date(2024, 3, 7), date(2024, 3, 12))
DAY = DAYS[2]
HOURS = session(DAY)
MOMENTS = [HOURS.open + timedelta(minutes=15, seconds=2), HOURS.open + timedelta(minutes=150, seconds=2), HOURS.close]
KEY = ("symbol", "bar_end")
CONTRACT = "O:AAA240315C00100000"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    made = lake_with(tmp_path_factory.mktemp("lake"), all_timeframes(minute_market(["AAA", "BBB"], DAYS[0], DAYS[-1])))
    # A split of the last session, declared in the morning of the session before it.
    action = splits(("AAA", DAYS[-1], 2.0)).with_columns(
        available_at=pl.lit(at_new_york(DAYS[-1], datetime.min.time()), dtype=pl.Datetime("us", "UTC"))
    )
    made.write(CORPORATE_ACTIONS, {}, action)
    for number, day in enumerate(DAYS[1:]):
        made.write(OPEN_INTEREST, {"session": day}, open_interest(day, 1_000 * (number + 1)))
    return made


def open_interest(day: date, contracts: int) -> pl.DataFrame:
    known = at_new_york(day, datetime(2024, 1, 1, 6, 30).time())
    row = {
        "session": day, "contract_ticker": CONTRACT, "symbol": "AAA", "open_interest": contracts,
        "oi_session": previous_session(day), "source": "flat_file", "quality": "final", "quality_flags": [],
        "available_at": known, "ingested_at": datetime(2030, 1, 1, tzinfo=UTC), "revision": 0,
        "definition_version": "test",
    }  # fmt: skip
    return pl.DataFrame([row], schema=OPEN_INTEREST.polars_schema, orient="row")


def bars(lake: Lake, timeframe: str) -> pl.DataFrame:
    wanted = pl.col("timeframe").cast(pl.String) == timeframe
    return lake.read_sessions(HISTORICAL_BARS, DAYS, where=wanted).sort("symbol", "bar_start")


def rows(lake: Lake, **columns: pl.Expr) -> pl.DataFrame:
    """The 15m rows with a column more."""
    return bars(lake, "15m").select("symbol", "session", "bar_start", "bar_end", "available_at", "close", **columns)


def hour_stamped_at_its_start(lake: Lake) -> pl.DataFrame:
    """The hour's close, joined as if an hour were known when it begins."""
    hours = bars(lake, "1h").with_columns(available_at=pl.col("bar_start") + BAR_LAG)
    return as_of(rows(lake), hours, by=["symbol"], columns={"close": "close_1h"})


def day_bar_of_the_same_day(lake: Lake) -> pl.DataFrame:
    """The daily close used during its own session."""
    days = bars(lake, "1d").with_columns(available_at=pl.col("bar_start"))
    return as_of(rows(lake), days, by=["symbol"], columns={"close": "close_1d"})


def day_high_instead_of_the_high_so_far(lake: Lake) -> pl.DataFrame:
    return rows(lake, session_high=pl.col("high").max().over("symbol", "session"))


def z_score_over_the_whole_sample(lake: Lake) -> pl.DataFrame:
    close = pl.col("close")
    return rows(lake, z=((close - close.mean()) / close.std()).over("symbol"))


def rank_among_all_rows(lake: Lake) -> pl.DataFrame:
    return rows(lake, rank_pct=100.0 * (pl.col("volume").rank() / pl.len()).over("symbol"))


def smoothing_around_the_bar(lake: Lake) -> pl.DataFrame:
    """A state read off a centred mean, as a smoothed hidden Markov state is."""
    smooth = pl.col("close").rolling_mean(5, center=True).over("symbol")
    return rows(lake, is_up=pl.col("close") > smooth)


def gaps_filled_from_behind(lake: Lake) -> pl.DataFrame:
    """A signal of some bars carried back to the bars before it."""
    seen = pl.when(pl.col("volume") > pl.col("volume").shift(1) * 1.2).then(pl.col("volume"))
    return rows(lake, next_burst=seen.fill_null(strategy="backward").over("symbol"))


def splits_nobody_has_heard_of(lake: Lake) -> pl.DataFrame:
    """Prices on today's share basis, which later splits decide."""
    frame, actions = rows(lake), lake.read(CORPORATE_ACTIONS, [{}]).drop_nulls("split_ratio")
    basis = split_factor(frame.select("symbol", session=pl.lit(date(2024, 6, 28))), actions)
    return frame.with_columns(adjusted=pl.col("close") * split_factor(frame, actions) / basis)


def entry_inside_the_signal_bar(lake: Lake) -> pl.DataFrame:
    """A trade at the bar's open because of what its close will be."""
    frame = rows(lake, signal=pl.col("close") > pl.col("open"), entry=pl.col("open"))
    return frame.with_columns(available_at=pl.col("bar_start") + BAR_LAG).drop("close")


def closing_open_interest_of_the_day(lake: Lake) -> pl.DataFrame:
    """What is published tomorrow morning about today, used today."""
    found = lake.read_sessions(OPEN_INTEREST, DAYS).with_columns(session=pl.col("oi_session"))
    return rows(lake).join(found.select("session", "symbol", "open_interest"), on=["session", "symbol"], how="left")


def change_of_open_interest_overnight(lake: Lake) -> pl.DataFrame:
    """Whether today's prints opened positions, from tomorrow's number."""
    found = lake.read_sessions(OPEN_INTEREST, DAYS).sort("session")
    change = found.with_columns(opened=pl.col("open_interest").shift(-1) - pl.col("open_interest"))
    return rows(lake).join(change.select("session", "symbol", "opened"), on=["session", "symbol"], how="left")


def join_without_the_guard(lake: Lake) -> pl.DataFrame:
    """Quarter-hours joined to the minute after them instead of the last one known."""
    minutes = bars(lake, "1m").select("symbol", "available_at", close_1m="close").sort("available_at")
    frame = rows(lake).sort("available_at")
    return frame.join_asof(minutes, on="available_at", by="symbol", strategy="forward", allow_exact_matches=False)


MUTANTS: dict[Callable[[Lake], pl.DataFrame], str] = {
    hour_stamped_at_its_start: "close_1h",
    day_bar_of_the_same_day: "close_1d",
    day_high_instead_of_the_high_so_far: "session_high",
    z_score_over_the_whole_sample: "z",
    rank_among_all_rows: "rank_pct",
    smoothing_around_the_bar: "is_up",
    gaps_filled_from_behind: "next_burst",
    splits_nobody_has_heard_of: "adjusted",
    entry_inside_the_signal_bar: "signal",
    closing_open_interest_of_the_day: "open_interest",
    change_of_open_interest_overnight: "opened",
    join_without_the_guard: "close_1m",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.__name__)
def test_a_look_ahead_is_caught_and_its_column_named(lake: Lake, mutant: Callable[[Lake], pl.DataFrame]) -> None:
    assert MUTANTS[mutant] in {leak.column for leak in leaks(mutant, lake, MOMENTS, key=KEY)}


def honest_hour(lake: Lake) -> pl.DataFrame:
    return as_of(rows(lake), bars(lake, "1h"), by=["symbol"], columns={"close": "close_1h"})


def honest_open_interest(lake: Lake) -> pl.DataFrame:
    found = lake.read_sessions(OPEN_INTEREST, DAYS)
    return as_of(rows(lake), found, by=["symbol"], columns={"open_interest": "open_interest"})


def honest_levels(lake: Lake) -> pl.DataFrame:
    return rows(
        lake,
        session_high=pl.col("high").cum_max().over("symbol", "session"),
        mean=pl.col("close").rolling_mean(5).over("symbol"),
    )


@pytest.mark.parametrize("honest", [honest_hour, honest_open_interest, honest_levels], ids=lambda one: one.__name__)
def test_the_honest_way_of_the_same_thing_is_not_accused(lake: Lake, honest: Callable[[Lake], pl.DataFrame]) -> None:
    assert leaks(honest, lake, MOMENTS, key=KEY) == []
