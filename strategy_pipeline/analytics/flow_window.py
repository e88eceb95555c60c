"""What the option flow of the last session minutes says, at any number of moments at once.

Definitions: context_engines.md section 5. How single prints are classified is option_flow.py's business; what a window
is worth to a signal is an engine's.
"""

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from strategy_pipeline.lake.tables import FLOW_AGGRESSIVENESS, FLOW_BIASES, FLOW_TRENDS, INSTANT
from strategy_pipeline.market import calendar
from strategy_pipeline.market.session_clock import MINUTE_US, instant_of, session_us

FEATURE_MINUTES, ENGINE_MINUTES, BASE_MINUTES = 60, 240, 390
MIN_TRADES, MIN_KNOWN_PREMIUM_USD = 10, 50_000.0
BIAS_FROM = 0.1
FULL_STRENGTH_PER_S = 200.0
RISING, FALLING = 1.25, 0.75
# Above each cut; PASSIVE below all.
AGGRESSIVENESS_CUTS = ((75.0, "VERY_AGGRESSIVE"), (60.0, "AGGRESSIVE"), (40.0, "MODERATE"))
MEAN_PREMIUM_POINTS = ((100_000.0, 30.0), (50_000.0, 15.0), (10_000.0, 5.0))

# Columns of options_flow_history that are read.
FLOW_COLUMNS = (
    "contract_ticker", "sip_timestamp", "sequence", "symbol", "option_type", "premium_usd", "aggressor_sign",
    "exclusion_class", "is_sweep", "is_block", "available_at", "revision",
)  # fmt: skip
_KEY = ("contract_ticker", "sip_timestamp", "sequence")

WINDOW_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "as_of": INSTANT,
        "trades": pl.Int64(),
        "enough": pl.Boolean(),
        "premium_usd": pl.Float64(),
        "known_premium_usd": pl.Float64(),
        "sentiment": pl.Float64(),
        "strength": pl.Float64(),
        "bias": pl.Enum(FLOW_BIASES),
        "buy_pressure_pct": pl.Float64(),
        "sweeps_bull": pl.Int32(),
        "sweeps_bear": pl.Int32(),
        "blocks_bull": pl.Int32(),
        "blocks_bear": pl.Int32(),
        "large_pct": pl.Float64(),
        "institutional_score": pl.Float64(),
        "trend": pl.Enum(FLOW_TRENDS),
        "aggressiveness": pl.Enum(FLOW_AGGRESSIVENESS),
        "newest_trade_at": INSTANT,
    }
)
# Feature column -> column of a window of 60 minutes.
FEATURE_COLUMNS = {
    "flow_bias": "bias",
    "flow_score": "strength",
    "flow_institutional_score": "institutional_score",
    "flow_buy_pressure_pct": "buy_pressure_pct",
    "flow_sweeps_bull": "sweeps_bull",
    "flow_sweeps_bear": "sweeps_bear",
    "flow_blocks_bull": "blocks_bull",
    "flow_blocks_bear": "blocks_bear",
    "flow_large_pct": "large_pct",
    "flow_trend": "trend",
    "flow_aggressiveness": "aggressiveness",
}

# Premiums are summed as whole millionths of a dollar: integers add up to the same in any order and take each other
# back exactly, so a sum over a window depends on nothing but the trades inside it.
_PER_USD = 1_000_000
# A column divided by a number is multiplied by its reciprocal in Polars, unless it has one row. Multiplying by the
# reciprocal gives one row and many the same bits.
_USD = 1.0 / _PER_USD

Ints = NDArray[np.int64]


def flow_sessions(session: date) -> list[date]:
    """The sessions whose flow may decide a row of `session`: itself and those before that fill 390 minutes."""
    days, minutes = [session], 0
    while minutes < BASE_MINUTES and days[0] > calendar.first_session():
        days.insert(0, calendar.previous_session(days[0]))
        minutes += calendar.session(days[0]).minutes
    return days


def flow_windows(flow: pl.DataFrame, moments: pl.DataFrame, minutes: int = ENGINE_MINUTES) -> pl.DataFrame:
    """The last `minutes` session minutes of flow at each (symbol, as_of), in WINDOW_SCHEMA and the order of `moments`.

    flow: FLOW_COLUMNS of ``options_flow_history`` of the sessions that ``flow_sessions`` names; of a key that is there
        more than once the latest version known at as_of counts, and prints with an exclusion class count nowhere.
    A trade is inside when it was known at as_of and less than `minutes` of regular hours have passed since it printed.
    `sentiment` is S in -1 to 1, `strength`, `institutional_score` and all `_pct` 0-100; they are null where nothing
    is inside or no side is known. `trend` compares sweeps per minute with 390 minutes. `enough` says whether the window
    has 10 trades and $50 000 of premium with a known side. `newest_trade_at` looks back 390 minutes. An unknown side
    counts as a trade and in `premium_usd`, in nothing else.
    """
    tape = _Tape(flow)
    sums = tape.sums(moments, minutes, _MEASURES)
    base = tape.sums(moments, BASE_MINUTES, {"base_sweeps": _MEASURES["sweeps"]})
    frame = pl.concat(
        [
            moments.select("symbol", "as_of"),
            pl.DataFrame(sums | base, schema=dict.fromkeys((*sums, *base), pl.Int64)),
            pl.DataFrame(tape.newest(moments)),
        ],
        how="horizontal",
    )
    return _judged(frame, minutes).select(pl.col(name).cast(kind) for name, kind in WINDOW_SCHEMA.items())


def flow_features(flow: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The flow columns of the feature schema for each (symbol, as_of), in the order of `rows`.

    flow as in ``flow_windows``. All columns of a row are null where the last 60 session minutes hold fewer than 10
    trades or less than $50 000 of premium with a known side: an empty window is not a quiet one.
    """
    windows = flow_windows(flow, rows, FEATURE_MINUTES)
    return windows.select(
        pl.when("enough").then(pl.col(source)).alias(column) for column, source in FEATURE_COLUMNS.items()
    )


# What is added up over a window, of the columns that _Tape makes.
_MEASURES: Mapping[str, str] = {
    "trades": "one",
    "known_trades": "known",
    "premium": "premium",
    "known_premium": "known_premium",
    "signed_premium": "signed_premium",
    "urgent_premium": "urgent_premium",
    "sweeps": "sweep",
    "blocks": "block",
    "large": "large",
    "sweeps_bull": "sweep_bull",
    "sweeps_bear": "sweep_bear",
    "blocks_bull": "block_bull",
    "blocks_bear": "block_bear",
}


class _Tape:
    """The trades that count, by symbol, as whole numbers."""

    def __init__(self, flow: pl.DataFrame) -> None:
        counted = _counted(flow)
        sign = pl.col("aggressor_sign")
        direction = pl.when(pl.col("option_type").cast(pl.String) == "call").then(1.0).otherwise(-1.0) * sign
        premium = (pl.col("premium_usd") * _PER_USD).round().cast(pl.Int64)
        known = sign.is_not_null()
        sweep, block = pl.col("is_sweep").fill_null(False), pl.col("is_block").fill_null(False)
        bull, bear = (direction > 0).fill_null(False), (direction < 0).fill_null(False)
        measured = counted.select(
            "symbol",
            "sip_timestamp",
            "available_at",
            "superseded_at",
            one=pl.lit(1, dtype=pl.Int64),
            known=known.cast(pl.Int64),
            premium=premium,
            known_premium=pl.when(known).then(premium).otherwise(0),
            signed_premium=(direction * premium).round().cast(pl.Int64).fill_null(0),
            urgent_premium=pl.when(sign.abs() == 1.0).then(premium).otherwise(0),
            sweep=sweep.cast(pl.Int64),
            block=block.cast(pl.Int64),
            large=(sweep | block).cast(pl.Int64),
            sweep_bull=(sweep & bull).cast(pl.Int64),
            sweep_bear=(sweep & bear).cast(pl.Int64),
            block_bull=(block & bull).cast(pl.Int64),
            block_bear=(block & bear).cast(pl.Int64),
        )
        measured = measured.with_columns(printed_us=session_us(measured["sip_timestamp"]))
        parts = measured.sort("available_at").partition_by("symbol", as_dict=True)
        self.by_symbol = {str(key[0]): part for key, part in parts.items()}

    def _asked(self, moments: pl.DataFrame) -> list[tuple[Ints, pl.DataFrame, Ints, Ints]]:
        """For each symbol with trades that is asked about: places in `moments`, its trades, instants, session time."""
        places = moments.select("symbol", at=pl.int_range(pl.len(), dtype=pl.Int64)).group_by("symbol").agg("at")
        instants, clock = moments["as_of"].dt.timestamp("us").to_numpy(), session_us(moments["as_of"]).to_numpy()
        found = []
        for symbol, at in places.rows():
            own = self.by_symbol.get(str(symbol))
            if own is not None:
                here = np.array(at, dtype=np.int64)
                found.append((here, own, instants[here], clock[here]))
        return found

    def sums(self, moments: pl.DataFrame, minutes: int, measures: Mapping[str, str]) -> dict[str, Ints]:
        """Sums of `measures` over the trades inside the last `minutes` at each moment, 0 for none."""
        sums = {name: np.zeros(moments.height, dtype=np.int64) for name in measures}
        for here, own, instants, _clock in self._asked(moments):
            over = instant_of(own["printed_us"] + minutes * MINUTE_US)
            own = own.with_columns(leaves=pl.min_horizontal(over, "superseded_at"))
            # A trade that became known only after its window had passed was never inside.
            own = own.filter(pl.col("leaves") > pl.col("available_at"))
            enters, leaves = (own[name].dt.timestamp("us").to_numpy() for name in ("available_at", "leaves"))
            by_leave = np.argsort(leaves, kind="stable")
            entered = np.searchsorted(enters, instants, side="right")
            left = np.searchsorted(leaves[by_leave], instants, side="right")
            for name, column in measures.items():
                values = own[column].to_numpy()
                sums[name][here] = _upto(values)[entered] - _upto(values[by_leave])[left]
        return sums

    def newest(self, moments: pl.DataFrame) -> dict[str, pl.Series]:
        """When the newest trade known at each moment printed, if that is less than 390 session minutes ago."""
        found = np.full(moments.height, -1, dtype=np.int64)
        for here, own, instants, clock in self._asked(moments):
            printed = own["sip_timestamp"].dt.timestamp("us").to_numpy()
            place = np.searchsorted(own["available_at"].dt.timestamp("us").to_numpy(), instants, side="right") - 1
            known = place >= 0
            latest = np.maximum.accumulate(printed)[place[known]]
            latest_us = np.maximum.accumulate(own["printed_us"].to_numpy())[place[known]]
            recent = clock[known] - latest_us < BASE_MINUTES * MINUTE_US
            found[here[known]] = np.where(recent, latest, -1)
        times = pl.Series("newest", found)
        newest = pl.select(pl.when(times >= 0).then(times).cast(INSTANT)).to_series()
        return {"newest_trade_at": newest}


def _upto(values: Ints) -> Ints:
    """Sums of the first 0, 1, 2 ... values."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(values)])


def _counted(flow: pl.DataFrame) -> pl.DataFrame:
    """Trades that count, with the moment from which a later version of the same print takes their place."""
    versions = flow.select(FLOW_COLUMNS)
    if versions.select(pl.struct(_KEY).is_duplicated().any()).item():
        versions = versions.sort(*_KEY, "available_at", "revision").with_columns(
            superseded_at=pl.col("available_at").shift(-1).over(_KEY)
        )
    else:
        versions = versions.with_columns(superseded_at=pl.lit(None, dtype=INSTANT))
    return versions.filter(pl.col("exclusion_class").cast(pl.String) == "none")


def _judged(sums: pl.DataFrame, minutes: int) -> pl.DataFrame:
    """The sums of each window with everything that follows from them."""

    def share(part: str, whole: str) -> pl.Expr:
        return pl.when(pl.col(whole) > 0).then(pl.col(part) / pl.col(whole))

    rates = sums.with_columns(
        premium_usd=pl.col("premium") * _USD,
        known_premium_usd=pl.col("known_premium") * _USD,
        sentiment=share("signed_premium", "known_premium"),
        sweep_pct=100.0 * share("sweeps", "trades"),
        block_pct=100.0 * share("blocks", "trades"),
        large_pct=100.0 * share("large", "trades"),
        urgent_pct=100.0 * share("urgent_premium", "known_premium"),
        # Trades whose side is unknown must not weigh in by their premium, so the mean is of the others.
        mean_premium=share("known_premium", "known_trades") * _USD,
        pace=pl.when(pl.col("base_sweeps") > 0).then(
            pl.col("sweeps") * (BASE_MINUTES / minutes) / pl.col("base_sweeps")
        ),
    )
    sentiment, pace, mean_premium = (pl.col(name).round(9) for name in ("sentiment", "pace", "mean_premium"))
    points = pl.lit(0.0)
    for above, given in reversed(MEAN_PREMIUM_POINTS):
        points = pl.when(mean_premium > above).then(given).otherwise(points)
    urgency = (0.5 * (pl.col("sweep_pct") + pl.col("urgent_pct"))).round(9)
    aggressiveness = pl.lit(FLOW_AGGRESSIVENESS[0])
    for above, word in reversed(AGGRESSIVENESS_CUTS):
        aggressiveness = pl.when(urgency > above).then(pl.lit(word)).otherwise(aggressiveness)
    return rates.with_columns(
        enough=(pl.col("trades") >= MIN_TRADES) & (pl.col("known_premium") >= int(MIN_KNOWN_PREMIUM_USD * _PER_USD)),
        strength=pl.min_horizontal(FULL_STRENGTH_PER_S * pl.col("sentiment").abs(), pl.lit(100.0)),
        bias=pl.when(sentiment >= BIAS_FROM)
        .then(pl.lit("bullish"))
        .when(sentiment <= -BIAS_FROM)
        .then(pl.lit("bearish"))
        .when(sentiment.is_not_null())
        .then(pl.lit("neutral")),
        buy_pressure_pct=50.0 * (1.0 + pl.col("sentiment")),
        institutional_score=pl.when(pl.col("known_trades") > 0).then(
            pl.min_horizontal("large_pct", pl.lit(40.0))
            + points
            + pl.min_horizontal("sweep_pct", pl.lit(20.0))
            + pl.min_horizontal("block_pct", pl.lit(10.0))
        ),
        trend=pl.when(pl.col("trades") > 0).then(
            pl.when(pace > RISING)
            .then(pl.lit("INCREASING"))
            .when(pace < FALLING)
            .then(pl.lit("DECREASING"))
            .otherwise(pl.lit("STABLE"))
        ),
        aggressiveness=pl.when(urgency.is_not_null()).then(aggressiveness),
    )
