"""Do six timeframes point the same way? Scores per timeframe and what they say together, point in time.

Definitions: context_engines.md section 4. What alignment is worth to a signal is an engine's business.
"""

from collections.abc import Iterable
from datetime import date

import polars as pl

from strategy_pipeline.analytics.adjustment import sessions_by_known_actions
from strategy_pipeline.analytics.bar_filter import continuous_bars
from strategy_pipeline.analytics.indicators import WARM_UP_BARS, atr14, earlier, ema, served
from strategy_pipeline.analytics.lookback import BarsNeeded, lookback_start
from strategy_pipeline.lake.asof import as_of
from strategy_pipeline.lake.tables import INSTANT
from strategy_pipeline.market import calendar
from strategy_pipeline.market.session_clock import session_of
from strategy_pipeline.market.timeframes import weekly

# Coarsest first; weeks are made from days.
WEIGHTS = {"1w": 3.0, "1d": 2.0, "4h": 1.5, "1h": 1.0, "15m": 0.5, "5m": 0.25}
TOTAL_WEIGHT = sum(WEIGHTS.values())
MAX_MISSING_SHARE = 0.40
SLOPE_BARS = 5
SCORES = {name: f"score_{name}" for name in WEIGHTS}

# From the given agreement on, else CONFLICTING.
LABEL_CUTS = ((0.85, "FULLY_ALIGNED"), (0.65, "MOSTLY_ALIGNED"), (0.45, "NEUTRAL"), (0.25, "DIVERGING"))
ALIGNMENT_LABELS = (*(word for _, word in LABEL_CUTS), "CONFLICTING")
TREND, STRONG_TREND = 0.15, 0.5
DOMINANT_TRENDS = ("STRONG_UP", "UP", "NEUTRAL", "DOWN", "STRONG_DOWN")

COMBINED_SCHEMA = pl.Schema(
    {
        "alignment": pl.Float64(),
        "agreement": pl.Float64(),
        "alignment_label": pl.Enum(ALIGNMENT_LABELS),
        "dominant_trend": pl.Enum(DOMINANT_TRENDS),
        "mtf_support_long_pct": pl.Float64(),
        "mtf_support_short_pct": pl.Float64(),
        "weight_share": pl.Float64(),
    }
)
ALIGNMENT_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "as_of": INSTANT,
        **{name: pl.Float64() for name in SCORES.values()},
        **COMBINED_SCHEMA,
        "newest_bar_end": INSTANT,
        "newest_timeframe": pl.String(),
        "available_at": INSTANT,
    }
)

# Daily bars give weeks too: 109 weeks must lie behind any session.
_DAILY_YEARS = 3
_BAR_COLUMNS = ("close", "high", "low")


def score(x: pl.Expr, y: pl.Expr) -> pl.Expr:
    """Direction of one timeframe, -1 to 1: tanh(x/2 + 5y) of distance from and slope of EMA20, both in ATR14."""
    return (0.5 * x + 5.0 * y).tanh()


def combined(scores: pl.DataFrame) -> pl.DataFrame:
    """What the six scores of each row say together, in the columns of COMBINED_SCHEMA.

    scores: Float64 columns named in SCORES, -1 to 1, null where a timeframe has none. `alignment` is the weighted mean
    A, `agreement` the share of weight (0-1) that has its sign, the supports are the shares that point up and down
    (0-100), `weight_share` the part of all weight that has a score (0-1). With more than 40 % of it missing everything
    else is null.
    """
    there = {name: pl.col(column).is_not_null() for name, column in SCORES.items()}
    sign = {name: pl.col(column).round(9).sign() for name, column in SCORES.items()}

    def weight_where(conditions: dict[str, pl.Expr]) -> pl.Expr:
        return pl.sum_horizontal(
            pl.when(conditions[name]).then(weight).otherwise(0.0) for name, weight in WEIGHTS.items()
        )

    # Times the reciprocal: Polars divides by a number, or by a column that is the same in every row, in another way
    # than by one that is not, and the last bit of a row may not depend on the rows beside it.
    share, each = pl.col("_there") * (1.0 / TOTAL_WEIGHT), 1.0 / pl.col("_there")
    enough = (1.0 - share).round(9) <= MAX_MISSING_SHARE
    mean, agreement = pl.col("alignment").round(9), pl.col("agreement").round(9)
    label = pl.lit(ALIGNMENT_LABELS[-1])
    for cut, word in reversed(LABEL_CUTS):
        label = pl.when(agreement >= cut).then(pl.lit(word)).otherwise(label)
    return (
        scores.select(
            _there=weight_where(there),
            _up=weight_where({name: value > 0 for name, value in sign.items()}),
            _down=weight_where({name: value < 0 for name, value in sign.items()}),
            _sum=pl.sum_horizontal(weight * pl.col(SCORES[name]).fill_null(0.0) for name, weight in WEIGHTS.items()),
        )
        .select(
            alignment=pl.when(enough).then(pl.col("_sum") * each),
            mtf_support_long_pct=pl.when(enough).then(100.0 * pl.col("_up") * each),
            mtf_support_short_pct=pl.when(enough).then(100.0 * pl.col("_down") * each),
            weight_share=share,
            _up_share=pl.col("_up") * each,
            _down_share=pl.col("_down") * each,
        )
        .with_columns(
            agreement=pl.when(mean > 0)
            .then(pl.col("_up_share"))
            .when(mean < 0)
            .then(pl.col("_down_share"))
            .when(mean == 0)
            .then(0.0)
        )
        .with_columns(
            alignment_label=pl.when(agreement.is_not_null()).then(label),
            dominant_trend=pl.when(mean >= STRONG_TREND)
            .then(pl.lit("STRONG_UP"))
            .when(mean >= TREND)
            .then(pl.lit("UP"))
            .when(mean <= -STRONG_TREND)
            .then(pl.lit("STRONG_DOWN"))
            .when(mean <= -TREND)
            .then(pl.lit("DOWN"))
            .when(mean.is_not_null())
            .then(pl.lit("NEUTRAL")),
        )
        .select(pl.col(name).cast(kind) for name, kind in COMBINED_SCHEMA.items())
    )


def alignment_start(timeframe: str, session: date) -> date:
    """The calendar date from which bars of `timeframe` count for a row of `session`, as in lookback.py."""
    if timeframe in ("1w", "1d"):
        return date(session.year - _DAILY_YEARS, 1, 1)
    return lookback_start(timeframe, session)


def bars_needed(sessions: Iterable[date]) -> list[BarsNeeded]:
    """The stored bars that ``alignment`` must be given for rows of `sessions`; more bars never change the result."""
    wanted: dict[str, set[date]] = {name: set() for name in WEIGHTS if name != "1w"}
    for session in sessions:
        for name, days in wanted.items():
            days.update(calendar.sessions_between(alignment_start(name, session), session))
    return [BarsNeeded(name, tuple(sorted(days))) for name, days in wanted.items() if days]


def alignment(bars: pl.DataFrame, rows: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """Alignment of the six timeframes at each (symbol, as_of), from the bars known then, in ALIGNMENT_SCHEMA.

    bars: rows of ``historical_bars``, raw, of all timeframes and sessions that ``bars_needed`` names for the sessions
        of `rows`; more rows and their order do not matter. actions: ``corporate_actions``.
    rows: symbol and as_of (UTC); the result has their number and order.
    Bars are cleaned, split-adjusted and cut as in features.py. A score is null until ATR14 has its 109 bars, 0 where
    nothing moved. `newest_bar_end` and `newest_timeframe` are of the newest closed 5m bar or, where a symbol has none,
    of the finest timeframe that has one; `available_at` is when the last of the bars used was known (null: no bar).
    """
    asked = rows.select("symbol", "as_of", session=session_of(rows["as_of"])).with_row_index("_row")
    days = asked["session"].unique().sort().to_list()
    parts = [
        _Series(bars, group, known).at(asked.filter(pl.col("session").is_in(group)))
        for group, known in sessions_by_known_actions(days, actions)
    ]
    if not parts:
        return pl.DataFrame(schema=ALIGNMENT_SCHEMA)
    return pl.concat(parts).sort("_row").select(pl.col(name).cast(kind) for name, kind in ALIGNMENT_SCHEMA.items())


class _Series:
    """The scored series of each timeframe behind the rows of some sessions.

    As in features.py a series begins at a date that depends on the row's session, so that no cutting of a backfill
    changes a value; copies that begin at different dates are told apart by `start`.
    """

    def __init__(self, bars: pl.DataFrame, sessions: list[date], actions: pl.DataFrame) -> None:
        self.sessions, self.actions = sessions, actions
        self.symbols = pl.Enum(bars["symbol"].unique().sort().cast(pl.String))
        self._regular = bars.lazy().filter(pl.col("segment") == "rth").with_columns(pl.col("symbol").cast(self.symbols))

    def at(self, asked: pl.DataFrame) -> pl.DataFrame:
        """`asked` (_row, symbol, as_of, session) with the columns of ALIGNMENT_SCHEMA."""
        rows = asked.with_columns(named=pl.col("symbol"), symbol=pl.col("symbol").cast(self.symbols, strict=False))
        for name in WEIGHTS:
            rows = as_of(
                rows.with_columns(start=self._start_of_row(name)),
                self._scored(name),
                by=["symbol", "start"],
                at="as_of",
                columns={
                    "score": SCORES[name],
                    "session": f"_of_{name}",
                    "cut_session": f"_cut_{name}",
                    "bar_end": f"_end_{name}",
                    "known_at": f"_known_{name}",
                },
            ).drop("start")
        # A ticker that stands for something new says nothing about the old, in whatever timeframe it is still seen.
        cut = pl.max_horizontal(f"_cut_{name}" for name in WEIGHTS)
        rows = rows.with_columns(_cut=cut).with_columns(
            pl.when((pl.col(f"_of_{name}") >= pl.col("_cut")).fill_null(True)).then(pl.col(column)).alias(column)
            for name, column in SCORES.items()
        )
        finest_first = list(reversed(WEIGHTS))
        newest = pl.coalesce(pl.when(pl.col(f"_end_{name}").is_not_null()).then(pl.lit(name)) for name in finest_first)
        return pl.concat([rows, combined(rows.select(SCORES.values()))], how="horizontal").select(
            "_row",
            pl.col("named").alias("symbol"),
            "as_of",
            *SCORES.values(),
            *COMBINED_SCHEMA,
            newest_bar_end=pl.coalesce(f"_end_{name}" for name in finest_first),
            newest_timeframe=newest,
            available_at=pl.max_horizontal(f"_known_{name}" for name in WEIGHTS),
        )

    def _start_of_row(self, name: str) -> pl.Expr:
        days = pl.Series(self.sessions, dtype=pl.Date)
        starts = pl.Series([alignment_start(name, day) for day in self.sessions], dtype=pl.Date)
        return pl.col("session").replace_strict(days, starts, return_dtype=pl.Date)

    def _copies(self, name: str) -> pl.DataFrame:
        """Stored bars of one timeframe, one copy for each start, sorted by start, symbol and time."""
        bars = self._regular.filter(pl.col("timeframe") == name).collect().sort("symbol", "bar_start")
        last: dict[date, date] = {}
        for day in self.sessions:
            last[alignment_start(name, day)] = day
        return pl.concat(
            bars.filter(pl.col("session").is_between(start, end)).with_columns(start=pl.lit(start, dtype=pl.Date))
            for start, end in last.items()
        )

    def _continuous(self, name: str) -> pl.DataFrame:
        if name != "1w":
            return continuous_bars(self._copies(name), self.actions)
        stored = self._copies("1d")
        days = continuous_bars(stored, self.actions)
        # A week is made within one unbroken series, so the series stands in for the symbol.
        cleaned = stored.drop("start").with_columns(
            symbol=days["series_id"], **{column: days[column] for column in (*_BAR_COLUMNS, "open", "available_at")}
        )
        weeks = weekly(cleaned).rename({"symbol": "series_id"})
        first = days.group_by("series_id", maintain_order=True).first()
        place = first["series_id"].search_sorted(weeks["series_id"])
        return weeks.with_columns(
            **{column: first[column].gather(place) for column in ("symbol", "start", "cut_session")},
            bar_number=pl.int_range(pl.len()).over("series_id"),
        )

    def _scored(self, name: str) -> pl.DataFrame:
        """The series of one timeframe with the score at each bar."""
        series = self._continuous(name).with_columns(_ema=ema(20).fill_nan(None), _atr=atr14())
        atr = pl.col("_atr")
        x = (pl.col("close") - pl.col("_ema")) / atr
        y = (pl.col("_ema") - earlier("_ema", SLOPE_BARS)) / (SLOPE_BARS * atr)
        value = served(pl.when(atr > 0).then(score(x, y)).when(atr == 0).then(0.0), WARM_UP_BARS["atr14"])
        return series.select(
            "symbol", "start", "session", "cut_session", "bar_end", "available_at", score=value, known_at="available_at"
        )
