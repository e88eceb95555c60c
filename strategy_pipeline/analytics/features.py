"""The price, volume, session and trend part of the feature schema (detectors.md section 2), one row per closed bar.

How single values are defined is in the neighbouring modules; this one decides which bars feed which column and puts
the row together. Columns of other tables than bars, and the alignment of timeframes, are null here: see
option_features.py, market_features.py and alignment.py.
"""

from collections.abc import Iterable
from datetime import date

import numpy as np
import polars as pl

from strategy_pipeline.analytics import indicators
from strategy_pipeline.analytics.adjustment import sessions_by_known_actions, split_factor
from strategy_pipeline.analytics.bar_filter import clean_bars, continuous_bars, far_from
from strategy_pipeline.analytics.lookback import context_start, lookback_start, volume_sessions
from strategy_pipeline.analytics.relative_volume import relative_volume
from strategy_pipeline.analytics.session_levels import LEVELS, opening_ranges, session_levels, with_proxy_volume
from strategy_pipeline.analytics.swings import with_swings
from strategy_pipeline.lake.asof import as_of
from strategy_pipeline.lake.tables import FEATURES, TREND_STATES
from strategy_pipeline.market import calendar
from strategy_pipeline.market.symbols import ASSET_CLASS_DTYPE, INDEX
from strategy_pipeline.market.timeframes import MINUTES, TIMEFRAME_DTYPE, is_finer

DEFINITION_VERSION = "features-2"

# Columns of ``historical_bars`` that are read.
BAR_COLUMNS = (
    "symbol", "timeframe", "bar_start", "bar_end", "session", "segment",
    "open", "high", "low", "close", "volume", "vwap", "coverage_pct", "available_at",
)  # fmt: skip

# Suffixed column -> indicator of that timeframe's newest closed bar.
CONTEXT_COLUMNS = {
    "5m": {"rsi14_5m": "rsi14", "atr14_5m": "atr14"},
    "15m": {
        "close_15m": "close",
        "rsi14_15m": "rsi14",
        "ema21_15m": "ema21",
        "ema50_15m": "ema50",
        "atr14_15m": "atr14",
        "atr_ratio_15m": "atr_ratio",
        "adx14_15m": "adx14",
    },
    "1h": {"rsi14_1h": "rsi14", "ema21_1h": "ema21", "ema50_1h": "ema50", "atr14_1h": "atr14"},
}
# What follows from the 15m columns and is substituted with them.
DERIVED_COLUMNS = {"15m": ("atr_pct_15m", "trend_state")}
# Indicators that are not prices, so no share basis applies to them.
_DIMENSIONLESS = {"rsi14", "atr_ratio", "adx14"}

PATIENT_ATR_SHARE = 0.3
ADV_SESSIONS = 20


def substituted_inputs(timeframe: str) -> list[str]:
    """Columns that rows of `timeframe` take from their own bars because the one they name is finer.

    Rows up to 15m find 5m and 15m bars wherever minutes exist; coarser rows never look for them (detectors.md
    section 2, coarser data). A property of the timeframe, so of the whole run.
    """
    if not is_finer("15m", timeframe):
        return []
    return [
        column
        for name, columns in CONTEXT_COLUMNS.items()
        if is_finer(name, timeframe)
        for column in (*columns, *DERIVED_COLUMNS.get(name, ()))
    ]


def compute_features(
    bars: pl.DataFrame,
    timeframe: str,
    sessions: Iterable[date],
    actions: pl.DataFrame,
    instruments: pl.DataFrame,
) -> pl.DataFrame:
    """Feature rows of `timeframe` for every instrument and every regular-hours bar of `sessions`.

    `bars`: rows of ``historical_bars`` (BAR_COLUMNS) of all timeframes, symbols and sessions that
    ``lookback.bars_needed`` names; more rows and their order do not matter. `actions`: ``corporate_actions``.
    `instruments`: ``market.symbols.instruments_frame``. Returns the FEATURES contract sorted by symbol and bar_end.
    A row depends on rows known at its `available_at` and on its session's place in the calendar, on nothing else,
    so any cutting of a backfill gives the same bytes.
    """
    wanted = sorted(set(sessions))
    parts = []
    for days, known in sessions_by_known_actions(wanted, actions):
        parts.append(_Feed(bars, timeframe, days, known, instruments).rows())
    parts = [part for part in parts if not part.is_empty()]
    if not parts:
        return FEATURES.empty()
    return pl.concat(parts).sort("symbol", "bar_end")


class _Feed:
    """Bars of one computation by timeframe, and the series made from them, each made once.

    A series that a row may look at begins at a date that depends on the row's session (lookback.py). Rows of several
    months so need several copies of a history, told apart by `start`; they go through every step together.
    """

    def __init__(
        self,
        bars: pl.DataFrame,
        timeframe: str,
        sessions: list[date],
        actions: pl.DataFrame,
        instruments: pl.DataFrame,
    ) -> None:
        self.timeframe, self.sessions, self.actions = timeframe, sessions, actions
        self.coarse = is_finer("15m", timeframe)
        known = pl.concat([instruments["symbol"], instruments["rvol_symbol"].drop_nulls()]).unique().sort()
        self.symbols = pl.Enum(known)
        names = ("symbol", "rvol_symbol")
        self.instruments = instruments.with_columns(pl.col(name).cast(self.symbols) for name in names)
        regular = bars.lazy().filter((pl.col("segment") == "rth") & pl.col("symbol").is_in(known.implode()))
        self._regular = regular.select(BAR_COLUMNS).with_columns(pl.col("symbol").cast(self.symbols)).drop("segment")
        self._bars: dict[str, pl.DataFrame] = {}

    def start(self, name: str, session: date) -> date:
        """First date from which bars of timeframe `name` count for a row of `session`."""
        if name == self.timeframe:
            return lookback_start(name, session)
        return context_start(name, self.timeframe, session)

    def start_of_row(self, name: str) -> pl.Expr:
        """The same as an expression over rows of the output sessions."""
        starts = [self.start(name, day) for day in self.sessions]
        days = pl.Series(self.sessions, dtype=pl.Date)
        return pl.col("session").replace_strict(days, pl.Series(starts, dtype=pl.Date), return_dtype=pl.Date)

    def bars(self, name: str) -> pl.DataFrame:
        """Raw regular-hours bars of one timeframe, sorted by symbol and time."""
        if name not in self._bars:
            mine = self._regular.filter(pl.col("timeframe") == name).drop("timeframe")
            self._bars[name] = mine.collect().sort("symbol", "bar_start")
        return self._bars[name]

    def _copies(self, name: str, bars: pl.DataFrame) -> pl.DataFrame:
        """One copy of `bars` for each start that the output sessions have in timeframe `name`."""
        last: dict[date, date] = {}
        for day in self.sessions:
            last[self.start(name, day)] = day
        return pl.concat(
            bars.filter(pl.col("session").is_between(start, end)).with_columns(start=pl.lit(start, dtype=pl.Date))
            for start, end in last.items()
        )

    def series(self, name: str) -> pl.DataFrame:
        """Unbroken series of one timeframe with the indicators that its columns show."""
        warm = indicators.WARM_UP_BARS
        shown = {
            "ema21": lambda: indicators.served(indicators.ema(21), warm["ema21"]),
            "ema50": lambda: indicators.served(indicators.ema(50), warm["ema50"]),
            "adx14": lambda: indicators.served(indicators.adx14(), warm["adx14"]),
        }
        wanted = self._shown_by(name)
        series = continuous_bars(self._copies(name, self.bars(name)), self.actions)
        series = series.with_columns(
            *(build().alias(column) for column, build in shown.items() if column in wanted),
            rsi14_unmasked=indicators.rsi14().fill_nan(None),
            atr14=indicators.served(indicators.atr14(), warm["atr14"]),
        ).with_columns(rsi14=indicators.served(pl.col("rsi14_unmasked"), warm["rsi14"]))
        return series.with_columns(atr_ratio=indicators.atr_ratio()) if "atr_ratio" in wanted else series

    def _shown_by(self, name: str) -> set[str]:
        """Indicators of timeframe `name` that reach a row; the row's own serve the substituted columns too."""
        if name != self.timeframe:
            return set(CONTEXT_COLUMNS[name].values())
        own = {column for other in CONTEXT_COLUMNS.values() for column in other} & set(substituted_inputs(name))
        taken = {source for other in CONTEXT_COLUMNS.values() for column, source in other.items() if column in own}
        return {"ema21", "ema50", *taken, *CONTEXT_COLUMNS.get(name, {}).values()}

    def own_rows(self) -> pl.DataFrame:
        """Bars of the output sessions with every indicator a row shows of its own bars, on their share basis."""
        warm = indicators.WARM_UP_BARS
        unmasked = pl.col("rsi14_unmasked")
        series = self.series(self.timeframe).with_columns(
            ema200=indicators.served(indicators.ema(200), warm["ema200"]),
            rsi14_delta=indicators.served(unmasked - unmasked.shift(1), warm["rsi14_delta"]),
            range_high_20=indicators.highest_before("high", 20),
            range_low_20=indicators.lowest_before("low", 20),
            close_3_earlier=indicators.earlier("close", 3),
        )
        return self._of_output(with_swings(series, "rsi14_unmasked"), self.timeframe)

    def _of_output(self, series: pl.DataFrame, name: str) -> pl.DataFrame:
        """Rows of the output sessions, each from the copy that belongs to its session, on the basis of that session."""
        rows = series.filter(pl.col("session").is_in(self.sessions))
        return _on_own_basis(
            rows.filter(pl.col("start") == self.start_of_row(name)).drop("start").sort("symbol", "bar_start")
        )

    def daily(self) -> pl.DataFrame:
        """The daily series under the session *after* each bar, where it is the previous session.

        A session without a daily bar is summed up from its hours.
        """
        stored = self.bars("1d")
        if self.timeframe != "1d":
            hours = self.bars("1h")
            stored = pl.concat([stored, _summed_up(hours).select(stored.columns)])
            stored = stored.unique(["symbol", "session"], keep="first", maintain_order=True).sort("symbol", "bar_start")
        series = continuous_bars(self._copies("1d", stored), self.actions)
        known = calendar.session_frame()["session"]
        following = np.searchsorted(known.to_numpy(), series["session"].to_numpy()) + 1
        turnover = pl.col("close") * pl.col("volume")
        return series.with_columns(
            atr14=indicators.served(indicators.atr14(), indicators.WARM_UP_BARS["atr14"]),
            adv20_shares=pl.col("volume").rolling_mean(ADV_SESSIONS).over("series_id"),
            adv20_usd=turnover.rolling_mean(ADV_SESSIONS).over("series_id"),
            session=known.gather(np.minimum(following, len(known) - 1)),
        )

    def rows(self) -> pl.DataFrame:
        """Feature rows of all output sessions, in the contract's shape."""
        rows = self.own_rows()
        if rows.is_empty():
            return FEATURES.empty()
        rows = self._with_instrument(_with_clock(rows))
        rows = self._with_previous_session(rows)
        rows = self._with_context(rows)
        if self.timeframe == "1d":
            # The bar's own vwap is the inside of a session.
            rows = rows.drop("vwap")
        else:
            rows = self._with_levels(rows)
            rows = rows.with_columns(relative_volume(rows, self._volumes(), self.sessions, self._grid_minutes()))
        return _in_contract(_with_derived(rows, self.timeframe), self.timeframe)

    def _with_instrument(self, rows: pl.DataFrame) -> pl.DataFrame:
        listed = self.instruments
        rows = rows.filter(pl.col("symbol").is_in(listed["symbol"].implode()))
        rows = rows.with_columns(
            asset_class=pl.col("symbol").replace_strict(
                listed["symbol"], listed["asset_class"], return_dtype=ASSET_CLASS_DTYPE
            ),
            rvol_symbol=self._proxy(),
        )
        return rows.with_columns(volume=pl.when(pl.col("asset_class") != INDEX).then("volume"))

    def _proxy(self) -> pl.Expr:
        listed = self.instruments
        return pl.col("symbol").replace_strict(listed["symbol"], listed["rvol_symbol"], return_dtype=self.symbols)

    def _with_previous_session(self, rows: pl.DataFrame) -> pl.DataFrame:
        daily = self.daily()
        columns = {"close": "prev_close", "high": "prior_high", "low": "prior_low", "atr14": "atr14_1d"}
        rows = as_of(
            rows.with_columns(start=self.start_of_row("1d")), daily, by=["symbol", "session", "start"], columns=columns
        )
        basis = split_factor(rows, self.actions, since="start")
        rows = rows.with_columns(pl.col(name) / basis for name in columns.values())
        # The first bar of a session shows whether the ticker still stands for what it stood for yesterday.
        first = {name: pl.col(name).first().over("symbol", "session") for name in ("open", "close")}
        cut = (pl.col("cut_session") == pl.col("session")).fill_null(False)
        cut = cut | far_from(pl.col("prev_close"), first["open"], first["close"]).fill_null(False)
        rows = rows.with_columns(_cut=cut).with_columns(
            *(pl.when(~pl.col("_cut")).then(pl.col(name)).alias(name) for name in columns.values()),
            cut_session=pl.when("_cut").then("session").otherwise("cut_session"),
        )
        traded = daily.rename({"symbol": "rvol_symbol"})
        adv = {"adv20_shares": "adv20_shares", "adv20_usd": "adv20_usd"}
        rows = as_of(rows, traded, by=["rvol_symbol", "session", "start"], columns=adv)
        lent = split_factor(rows.select("session", "start", symbol="rvol_symbol"), self.actions, since="start")
        return rows.with_columns(adv20_shares=pl.col("adv20_shares") * lent).drop("start", "_cut")

    def _with_context(self, rows: pl.DataFrame) -> pl.DataFrame:
        for name, columns in CONTEXT_COLUMNS.items():
            if name == self.timeframe or columns.keys() & set(substituted_inputs(self.timeframe)):
                rows = rows.with_columns(pl.col(source).alias(column) for column, source in columns.items())
                continue
            taken = {source: column for column, source in columns.items()}
            rows = as_of(
                rows.with_columns(start=self.start_of_row(name)),
                self.series(name),
                by=["symbol", "start"],
                columns={**taken, "session": "_of"},
            )
            basis = split_factor(rows, self.actions, since="start")
            valid = (pl.col("_of") >= pl.col("cut_session")).fill_null(True)
            values = {
                column: pl.col(column) if source in _DIMENSIONLESS else pl.col(column) / basis
                for source, column in taken.items()
            }
            rows = rows.with_columns(pl.when(valid).then(value).alias(column) for column, value in values.items())
            rows = rows.drop("_of", "start")
        return rows

    def _with_levels(self, rows: pl.DataFrame) -> pl.DataFrame:
        quarters = self._quarter_hours() if self.coarse else None
        own = rows.select(_INSIDE_COLUMNS)
        rows = rows.drop("vwap")
        if quarters is None or quarters.is_empty():
            inside = own
            rows = rows.with_columns(session_levels(inside).select(LEVELS))
        else:
            inside = pl.concat([quarters, _without_sessions_of(own, quarters)]).sort("symbol", "bar_start")
            levels = session_levels(inside)
            rows = as_of(rows, levels, by=["symbol", "session"], columns={name: name for name in LEVELS})
        rows = self._with_index_vwap(rows, inside)
        first_bars = own if quarters is None else quarters
        opening = opening_ranges(_with_clock(first_bars), MINUTES["15m" if self.coarse else self.timeframe])
        return as_of(rows, opening, by=["symbol", "session"], columns={"or_high": "or_high", "or_low": "or_low"})

    def _quarter_hours(self) -> pl.DataFrame:
        """15m bars of the output sessions: they hold the sums and extremes of their minutes."""
        series = continuous_bars(self._copies("15m", self.bars("15m")), self.actions)
        return self._of_output(series, "15m").select(_INSIDE_COLUMNS)

    def _with_index_vwap(self, rows: pl.DataFrame, inside: pl.DataFrame) -> pl.DataFrame:
        listed = self.instruments.filter((pl.col("asset_class") == INDEX) & pl.col("rvol_symbol").is_not_null())
        indices = pl.col("symbol").is_in(listed["symbol"].implode())
        if rows.filter(indices).is_empty():
            return rows
        of_output = pl.col("session").is_in(self.sessions)
        names = ("15m", self.timeframe) if self.coarse else (self.timeframe,)
        traded = pl.concat(self.bars(name).filter(of_output) for name in names)
        levels = []
        if self.timeframe != "1m":
            minutes = self.bars("1m").filter(of_output)
            finest = minutes.filter(indices)
            if not finest.is_empty():
                levels.append(self._weighted(_cleaned_within_sessions(finest), minutes))
                inside = _without_sessions_of(inside, finest)
        levels.append(self._weighted(inside.filter(indices), traded))
        rows = as_of(rows, pl.concat(levels), by=["symbol", "session"], columns={"vwap": "_vwap"})
        return rows.with_columns(vwap=pl.coalesce("vwap", "_vwap")).drop("_vwap")

    def _weighted(self, index_bars: pl.DataFrame, traded: pl.DataFrame) -> pl.DataFrame:
        """Session levels of index bars weighted by the volume of their proxies' bars of the same window."""
        return session_levels(with_proxy_volume(index_bars.with_columns(rvol_symbol=self._proxy()), traded))

    def _grid_minutes(self) -> int:
        return min(MINUTES[self.timeframe], MINUTES["15m"])

    def _volumes(self) -> pl.DataFrame:
        """Volume of the finest bars of all sessions that a comparison may touch, on one share basis."""
        touched = sorted({*self.sessions, *(day for one in self.sessions for day in volume_sessions(one))})
        own = self.bars(self.timeframe).filter(pl.col("session").is_in(touched))
        if self.coarse:
            quarters = self.bars("15m").filter(pl.col("session").is_in(touched))
            own = pl.concat([quarters, _without_sessions_of(own, quarters)])
        factor = split_factor(own, self.actions)
        return _with_clock(own).select(
            "symbol",
            "session",
            minute_start=(pl.col("bar_start") - pl.col("open_at")).dt.total_minutes(),
            minute_end=pl.col("minutes_since_open").cast(pl.Int64),
            volume=pl.col("volume") / factor,
        )


_INSIDE_COLUMNS = (
    "symbol", "session", "bar_start", "bar_end", "available_at", "open", "high", "low", "close", "volume", "vwap",
    "coverage_pct",
)  # fmt: skip


def _without_sessions_of(bars: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """`bars` of those sessions of a symbol in which `others` has none."""
    held = others.select(pl.struct("symbol", "session").unique()).to_series()
    return bars.filter(~pl.struct("symbol", "session").is_in(held.implode()))


def _on_own_basis(series: pl.DataFrame) -> pl.DataFrame:
    """Rows of a continuous series with every price on the share basis of its own session."""
    prices = {
        "open", "high", "low", "close", "vwap", "ema21", "ema50", "ema200", "atr14", "range_high_20", "range_low_20",
        "close_3_earlier", "swing_high", "swing_low",
    }  # fmt: skip
    basis = pl.col("split_factor")
    return series.with_columns(
        *(pl.col(name) / basis for name in series.columns if name in prices), volume=pl.col("volume") * basis
    )


def _with_clock(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with open_at, close_at and session_type of their session, and the minutes from and to these."""
    frame = calendar.session_frame()
    place = np.searchsorted(frame["session"].to_numpy(), rows["session"].to_numpy())
    return rows.with_columns(
        open_at=frame["open"].gather(place),
        close_at=frame["close"].gather(place),
        session_type=frame["session_type"].gather(place),
    ).with_columns(
        minutes_since_open=(pl.col("bar_end") - pl.col("open_at")).dt.total_minutes().cast(pl.Int32),
        minutes_to_close=(pl.col("close_at") - pl.col("bar_end")).dt.total_minutes().cast(pl.Int32),
    )


def _summed_up(bars: pl.DataFrame) -> pl.DataFrame:
    """One bar a session from its regular-hours bars."""
    return bars.group_by("symbol", "session", maintain_order=True).agg(
        pl.col("bar_start").first(),
        pl.col("bar_end").last(),
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        volume=pl.when(pl.col("volume").is_not_null().any()).then(pl.col("volume").sum()),
        vwap=pl.lit(None, dtype=pl.Float64),
        coverage_pct=pl.lit(None, dtype=pl.Float64),
        available_at=pl.col("available_at").max(),
    )


def _cleaned_within_sessions(bars: pl.DataFrame) -> pl.DataFrame:
    """Cleaned bars where each session is judged by itself, for bars whose earlier sessions are not read."""
    begins = (pl.col("symbol") != pl.col("symbol").shift(1)) | (pl.col("session") != pl.col("session").shift(1))
    return clean_bars(bars.with_columns(lane=begins.fill_null(True).cum_sum())).drop("lane", "bar_flags")


def _with_derived(rows: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """Everything that follows from columns already on the row."""
    close, reference = pl.col("close"), pl.col("prev_close")
    same_session = pl.col("session") == pl.col("session").shift(1)
    same_symbol = pl.col("symbol") == pl.col("symbol").shift(1)

    def pct(difference: pl.Expr) -> pl.Expr:
        return pl.when(reference != 0).then(100.0 * difference / reference)

    rows = rows.with_columns(
        pl.lit(None, dtype=pl.Float64).alias(name)
        for name in (*LEVELS, "or_high", "or_low")
        if name not in rows.columns
    )
    spread = pl.col("session_high") - pl.col("session_low")
    body = (close - pl.col("open")).abs()
    return rows.with_columns(
        timeframe=pl.lit(timeframe, dtype=TIMEFRAME_DTYPE),
        is_regular_hours=(pl.col("bar_start") >= pl.col("open_at")) & (pl.col("bar_end") <= pl.col("close_at")),
        prev_bar_close=pl.when(same_session & same_symbol).then(close.shift(1)),
        mom3_pct=pct(close - pl.col("close_3_earlier")),
        patient_candle=(body - PATIENT_ATR_SHARE * pl.col("atr14")).round(9) <= 0,
        gap_pct=pct(pl.col("session_open") - reference),
        session_move_pct=pct(close - pl.col("session_open")),
        day_range_pos=pl.when(spread > 0).then(100.0 * (close - pl.col("session_low")) / spread).clip(0.0, 100.0),
        vwap_dist_pct=pct(close - pl.col("vwap")),
        atr_1d_pct=pct(pl.col("atr14_1d")),
        atr_pct_15m=pct(pl.col("atr14_15m")),
    ).with_columns(trend_state=trend_state())


def trend_state() -> pl.Expr:
    """The trend of the newest closed bar of the trend timeframe, by the ordered rules of detectors.md section 2.1.

    Reads adx14_15m, close_15m, ema21_15m, ema50_15m, atr_ratio_15m and atr_pct_15m, rounded to 9 decimals; null
    when one of them is null.
    """
    names = ("adx14_15m", "close_15m", "ema21_15m", "ema50_15m", "atr_ratio_15m", "atr_pct_15m")
    adx, close, fast, slow, ratio, atr_pct = (pl.col(name).round(9) for name in names)
    trending = adx >= 25
    label = (
        pl.when((ratio >= 2.0) | (atr_pct >= 1.0))
        .then(pl.lit("volatile"))
        .when(trending & (close > fast) & (fast > slow))
        .then(pl.lit("trending_up"))
        .when(trending & (close < fast) & (fast < slow))
        .then(pl.lit("trending_down"))
        .when((adx < 20) & ((ratio >= 1.2) | (atr_pct >= 0.5)))
        .then(pl.lit("choppy"))
        .otherwise(pl.lit("ranging"))
    )
    known = pl.all_horizontal(pl.col(name).is_not_null() for name in names)
    return pl.when(known).then(label).cast(pl.Enum(TREND_STATES))


def _in_contract(rows: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """`rows` in the columns, types and order of FEATURES; what this stage does not compute is null."""
    rows = rows.with_columns(
        inputs_substituted=pl.lit(substituted_inputs(timeframe), dtype=pl.List(pl.String)),
        definition_version=pl.lit(DEFINITION_VERSION),
    )
    missing = pl.lit(None)
    return rows.select(
        (pl.col(name) if name in rows.columns else missing).cast(kind).alias(name)
        for name, kind in FEATURES.polars_schema.items()
    )
