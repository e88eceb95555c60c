"""The market's regime: known answers of the decision list, its symmetries, its timing, and real years."""

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.analytics import regime
from strategy_pipeline.analytics.regime import (
    INPUTS,
    RegimeConfig,
    decide,
    held_labels,
    history_start,
    label_counts,
    regime_history,
    year_percentiles,
)
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import MARKET_BREADTH, MARKET_REGIME_HISTORY, MARKET_REGIMES
from strategy_pipeline.market import calendar
from strategy_pipeline_tests.analytics.bar_frames import NO_ACTIONS, contract_bars, real_bars, real_splits

# context_engines.md section 6, the line above the fixtures.
ORDINARY = {
    "tau": 0.0, "adx": 20.0, "adx_min5": 22.0, "slope20": 0.0, "z1": 0.2, "dhi": -1.0, "dlo": 1.0, "b": 50.0,
    "vix": 17.0, "p_vix": 50.0, "vix_ratio": 0.92, "dd60": -3.0, "rsi14": 52.0, "pc": 50.0,
}  # fmt: skip
PANIC = {
    "tau": -2.0, "adx": 35.0, "slope20": -0.8, "z1": -2.5, "dlo": -1.0, "b": 6.0, "vix": 48.0, "p_vix": 99.6,
    "vix_ratio": 1.15, "dd60": -18.0, "rsi14": 22.0, "pc": 99.0,
}  # fmt: skip
STRONG_UP = {"tau": 1.4, "adx": 31.0, "adx_min5": 26.0, "slope20": 0.3, "b": 75.0, "vix": 13.0}
# Label, margin and confidence of the same section.
FIXTURES = [
    (PANIC, "CAPITULATION", 0.45, 0.7250),
    (
        {"tau": 1.5, "adx": 30.0, "slope20": 0.3, "b": 92.0, "vix": 10.5, "p_vix": 3.0, "vix_ratio": 0.82, "dd60": 0.0,
         "rsi14": 82.0, "pc": 2.0},
        "EUPHORIA", 0.35, 0.6750,
    ),
    (
        {"tau": -0.2, "adx": 21.0, "adx_min5": 16.0, "slope20": -0.05, "z1": -2.2, "dlo": -0.4, "b": 30.0, "vix": 24.0},
        "BREAKDOWN", 0.40, 0.7000,
    ),
    (
        {"tau": 0.2, "adx": 21.0, "adx_min5": 16.0, "slope20": 0.05, "z1": 2.2, "dhi": 0.4, "b": 70.0, "vix": 15.0},
        "BREAKOUT", 0.40, 0.7000,
    ),
    (
        {"tau": -1.4, "adx": 31.0, "adx_min5": 26.0, "slope20": -0.3, "b": 25.0, "vix": 28.0},
        "STRONG_DOWNTREND", 0.60, 0.8000,
    ),
    (STRONG_UP, "STRONG_UPTREND", 0.60, 0.8000),
    ({"tau": -0.6, "slope20": -0.04, "b": 44.0}, "WEAK_DOWNTREND", 0.20, 0.6000),
    ({"tau": 0.6, "slope20": 0.04, "b": 56.0}, "WEAK_UPTREND", 0.20, 0.6000),
    ({"tau": -0.4, "adx": 15.0, "slope20": 0.02}, "CHOPPY_BEARISH", 0.60, 0.8000),
    ({"tau": 0.4, "adx": 15.0, "slope20": -0.02}, "CHOPPY_BULLISH", 0.60, 0.8000),
    ({"tau": 0.04, "adx": 14.0}, "RANGE_BOUND", 0.60, 0.8000),
    ({**STRONG_UP, "b": None}, "WEAK_UPTREND", 1.00, 0.9286),
]  # fmt: skip
MIRROR = {
    "STRONG_UPTREND": "STRONG_DOWNTREND",
    "WEAK_UPTREND": "WEAK_DOWNTREND",
    "CHOPPY_BULLISH": "CHOPPY_BEARISH",
    "BREAKOUT": "BREAKDOWN",
    "RANGE_BOUND": "RANGE_BOUND",
}


def inputs(*changes: dict[str, float | None]) -> pl.DataFrame:
    return pl.DataFrame([{**ORDINARY, **one} for one in changes], schema=dict.fromkeys(INPUTS, pl.Float64))


@pytest.mark.parametrize(("changed", "label", "margin", "confidence"), FIXTURES, ids=[one[1] for one in FIXTURES])
def test_the_fixtures_of_the_specification_get_their_label_margin_and_confidence(changed, label, margin, confidence):
    row = decide(inputs(changed)).row(0, named=True)
    assert row["market_regime"] == label
    assert row["rule_fired"] == MARKET_REGIMES.index(label) + 1
    assert row["margin"] == pytest.approx(margin, abs=5e-5)
    assert row["confidence"] == pytest.approx(confidence, abs=5e-5)
    assert row["inputs_missing"] == [name for name, value in changed.items() if value is None]


def test_the_fixtures_reach_every_label():
    labels = decide(inputs(*(one[0] for one in FIXTURES)))["market_regime"].cast(pl.String)
    assert set(labels) == set(MARKET_REGIMES)


def test_a_missing_trend_leaves_no_label_and_says_so():
    row = decide(inputs({"tau": None})).row(0, named=True)
    assert row["inputs_missing"] == ["tau"]
    assert [row[name] for name in ("market_regime", "rule_fired", "margin", "confidence")] == [None] * 4


def test_an_alternative_needs_only_one_of_its_sides():
    rows = decide(inputs({**PANIC, "vix": None}, {**PANIC, "p_vix": None}, {**PANIC, "vix": None, "p_vix": None}))
    assert rows["market_regime"].cast(pl.String).to_list() == ["CAPITULATION", "CAPITULATION", "STRONG_DOWNTREND"]
    # p_vix 99.6 lies .16 inside its threshold; 13 of 14 inputs: 13/14 x (.5 + .5 x .16).
    assert rows["confidence"][0] == pytest.approx(13 / 14 * 0.58)


def test_a_side_that_is_not_met_lends_no_margin():
    # VIX 20 is far from 40, on the wrong side; only p_vix counts: (99 - 98)/10.
    assert decide(inputs({**PANIC, "vix": 20.0, "p_vix": 99.0}))["margin"][0] == pytest.approx(0.1)


def test_a_missing_vix_is_never_taken_for_zero():
    # A VIX of 0 would be calm enough for EUPHORIA and for the lowest band.
    calm = {"b": 92.0, "rsi14": 82.0, "pc": 2.0, "tau": 1.5, "adx": 30.0, "slope20": 0.3}
    row = decide(inputs({**calm, "vix": None, "p_vix": None, "vix_ratio": None})).row(0, named=True)
    assert row["market_regime"] == "STRONG_UPTREND"
    assert row["inputs_missing"] == ["vix", "p_vix", "vix_ratio"]
    assert pl.select(regime.vix_regime(pl.lit(None, dtype=pl.Float64))).item() is None


# Values around every threshold, nulls included.
_VALUES = {
    "tau": st.sampled_from([-2.0, -1.0, -0.6, -0.3, -0.2, -0.1, 0.0, 0.05, 0.1, 0.15, 0.3, 0.9, 1.0, 3.0]),
    "adx": st.sampled_from([5.0, 18.0, 20.0, 25.0, 60.0]),
    "adx_min5": st.sampled_from([5.0, 19.9, 20.0, 40.0]),
    "slope20": st.sampled_from([-0.5, -1e-9, 0.0, 1e-9, 0.5]),
    "z1": st.sampled_from([-3.0, -1.5, 0.0, 1.5, 3.0]),
    "dhi": st.sampled_from([-2.0, 0.0, 0.2]),
    "dlo": st.sampled_from([-0.2, 0.0, 2.0]),
    "b": st.sampled_from([0.0, 15.0, 39.9, 40.0, 50.0, 60.0, 60.1, 85.0, 100.0]),
    "vix": st.sampled_from([9.0, 17.0, 40.0, 80.0]),
    "p_vix": st.sampled_from([0.0, 10.0, 50.0, 98.0, 100.0]),
    "vix_ratio": st.sampled_from([0.8, 1.05, 1.2]),
    "dd60": st.sampled_from([-30.0, -10.0, 0.0]),
    "rsi14": st.sampled_from([10.0, 50.0, 75.0, 90.0]),
    "pc": st.sampled_from([0.0, 5.0, 50.0, 100.0]),
}
_FINITE = st.fixed_dictionaries(
    {name: values | st.floats(-1e6, 1e6, allow_subnormal=False) for name, values in _VALUES.items()}
)
_PARTIAL = st.fixed_dictionaries({name: values | st.none() for name, values in _VALUES.items()})


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(_FINITE | _PARTIAL, min_size=40, max_size=60))
def test_every_finite_input_has_exactly_one_label(rows):
    frame = inputs(*rows)
    decided = decide(frame)
    known = frame["tau"].is_not_null()
    assert (decided["market_regime"].is_not_null() == known).all()
    assert decided.filter(known)["rule_fired"].is_between(1, 11).all()
    assert decided.filter(known)["margin"].is_between(0.0, 1.0).all()
    assert decided.filter(known)["confidence"].is_between(0.0, 1.0).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(_PARTIAL, min_size=40, max_size=60))
def test_mirrored_inputs_get_the_mirrored_label_with_the_same_confidence(rows):
    frame = inputs(*rows)
    mirrored = frame.with_columns(
        tau=-pl.col("tau"), slope20=-pl.col("slope20"), z1=-pl.col("z1"), b=100 - pl.col("b"),
        dhi=-pl.col("dlo"), dlo=-pl.col("dhi"),
    )  # fmt: skip
    here, there = decide(frame), decide(mirrored)
    both = {**MIRROR, **{value: key for key, value in MIRROR.items()}}
    for label, other, sure, other_sure in zip(
        here["market_regime"].cast(pl.String), there["market_regime"].cast(pl.String), here["confidence"],
        there["confidence"], strict=True,
    ):  # fmt: skip
        if label is None or {label, other} & {"CAPITULATION", "EUPHORIA"}:
            continue
        assert other == both[label]
        assert other_sure == pytest.approx(sure, abs=1e-9)


def test_percentiles_are_mid_ranks_of_the_year_before():
    values = pl.Series([10.0, 20.0, 20.0, 30.0] * 32 + [20.0])
    # Of the 128 values before the last, 32 lie below and 64 are equal: 100 x (32 + 32)/128.
    assert year_percentiles(values)[-1] == 50.0
    # 125 values are no basis; the 126th row before makes one.
    assert np.isnan(year_percentiles(values)[125])
    assert not np.isnan(year_percentiles(values)[126])
    # Only the 252 rows before count, and a gap does not stand for a value.
    far = pl.Series([99.0] * 10 + [10.0] * 252 + [20.0])
    assert year_percentiles(far)[-1] == 100.0
    gap = pl.Series([10.0] * 126 + [None] * 100 + [5.0])
    assert year_percentiles(gap)[-1] == 0.0


def test_a_new_label_counts_after_two_equal_sessions_when_asked_for():
    raw = ["A", "B", "A", "B", "B", None, "A", "A"]
    assert held_labels(raw, 1) == raw
    assert held_labels(raw, 2) == ["A", "A", "A", "A", "B", None, "B", "A"]


@pytest.mark.parametrize(
    ("band", "values", "words"),
    [
        (regime.vix_regime, [11.99, 12, 16, 20, 30, 40],
         ["EXTREMELY_LOW", "LOW", "NORMAL", "ELEVATED", "HIGH", "EXTREME"]),
        (regime.tick_regime, [-801, -800, -300, 299, 300, 800],
         ["EXTREME_SELLING", "WEAK", "NEUTRAL", "NEUTRAL", "STRONG", "EXTREME_BUYING"]),
        (regime.pc_regime, [1.51, 1.5, 1.1, 0.9, 0.7, 1.0],
         ["EXTREME_FEAR", "FEAR", "NEUTRAL", "GREED", "EXTREME_GREED", "NEUTRAL"]),
        (regime.correlation_regime, [0.1, 0.2, 0.5, 0.8, 0.95],
         ["DIVERGING", "LOW", "NORMAL", "HIGH", "EXTREMELY_HIGH"]),
    ],
)  # fmt: skip
def test_bands_have_the_cuts_of_the_specification(band, values, words):
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})
    assert frame.select(band(pl.col("x"))).to_series().cast(pl.String).to_list() == words


def test_the_breadth_and_term_structure_bands_have_the_cuts_of_the_specification():
    breadth = pl.DataFrame(
        {"ad": [3.5, 3.5, 3.5, 1.5, 0.67, 0.33, None], "hl": [2.5, 1.0, None, 9.0, 9.0, 9.0, 9.0]},
        schema={"ad": pl.Float64, "hl": pl.Float64},
    )
    words = breadth.select(regime.breadth_regime(pl.col("ad"), pl.col("hl"))).to_series().cast(pl.String).to_list()
    assert words == [
        "EXTREMELY_BULLISH", "BULLISH", "EXTREMELY_BULLISH", "NEUTRAL", "BEARISH", "EXTREMELY_BEARISH", None,
    ]  # fmt: skip
    futures = pl.DataFrame({"front": [20.0] * 5, "back": [22.5, 21.0, 19.6, 18.0, 17.0]})
    found = futures.select(regime.vix_term_structure(pl.col("front"), pl.col("back"))).to_series().cast(pl.String)
    assert found.to_list() == ["STEEP_CONTANGO", "CONTANGO", "FLAT", "BACKWARDATION", "STEEP_BACKWARDATION"]


# --- frames ---

FIRST, LAST = date(2016, 1, 4), date(2017, 12, 29)


def random_bars(symbol: str, seed: int, start: float, noise: float = 0.01) -> pl.DataFrame:
    """Daily bars of a seeded random walk over two years."""
    rng = np.random.default_rng(seed)
    known = [calendar.session(day) for day in calendar.sessions_between(FIRST, LAST)]
    close = start * np.exp(np.cumsum(rng.normal(0, noise, len(known))))
    first = np.concatenate([[start], close[:-1]])
    columns = {
        "symbol": [symbol] * len(known),
        "bar_start": [one.open for one in known],
        "bar_end": [one.close for one in known],
        "session": [one.day for one in known],
        "open": first,
        "high": np.maximum(first, close) * (1 + np.abs(rng.normal(0, noise / 4, len(known)))),
        "low": np.minimum(first, close) * (1 - np.abs(rng.normal(0, noise / 4, len(known)))),
        "close": close,
        "volume": np.floor(rng.lognormal(10, 0.3, len(known))),
    }
    return contract_bars(columns, "1d")


def random_breadth(seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    days = calendar.sessions_between(FIRST, LAST)
    up = rng.integers(0, 100, len(days))
    known = [calendar.at_new_york(day, time(16, 15)) for day in days]
    frame = pl.DataFrame(
        {"session": days, "advancers": up, "decliners": 100 - up, "pct_above_sma50": rng.uniform(0, 100, len(days))}
    )
    rest = {
        "members": 100, "unchanged": 0, "members_year": 100, "new_highs": 3, "new_lows": 2, "members_sma50": 100,
        "high_low_ratio": 1.5, "source": "derived", "quality": "final", "revision": 0,
        "definition_version": "breadth-1",
    }  # fmt: skip
    frame = frame.with_columns(
        pl.Series("available_at", known, dtype=pl.Datetime("us", "UTC")),
        pl.lit([], dtype=pl.List(pl.String)).alias("quality_flags"),
        ingested_at=pl.lit(datetime(2030, 1, 1, tzinfo=UTC)),
        advance_decline_ratio=pl.when(pl.col("decliners") > 0).then(pl.col("advancers") / pl.col("decliners")),
        advance_decline_diff=pl.col("advancers") - pl.col("decliners"),
        **{name: pl.lit(value) for name, value in rest.items()},
    )
    return conform(MARKET_BREADTH, frame.select(pl.col(n).cast(k) for n, k in MARKET_BREADTH.polars_schema.items()))


@pytest.fixture(scope="module")
def market() -> dict[str, pl.DataFrame]:
    bars = [
        random_bars("SPY", 1, 200.0), random_bars("VIX", 2, 17.0, 0.05), random_bars("VIX3M", 3, 19.0, 0.03),
        random_bars("QQQ", 4, 110.0), random_bars("RUT", 5, 1_100.0),
    ]  # fmt: skip
    return {"bars": pl.concat(bars), "breadth": random_breadth(6)}


def rows_of(market: dict[str, pl.DataFrame], days: list[date] | None = None, **changes) -> pl.DataFrame:
    given = {**market, **changes}
    days = days or calendar.sessions_between(FIRST, LAST)
    return regime_history(given["bars"], NO_ACTIONS, given["breadth"], days)


def test_rows_meet_the_contract_and_are_known_after_the_close(market):
    rows = conform(MARKET_REGIME_HISTORY, rows_of(market))
    assert rows["session"].to_list() == calendar.sessions_between(FIRST, LAST)
    row = rows.filter(pl.col("session") == date(2017, 7, 5)).row(0, named=True)
    # 16:15 in New York is 20:15 UTC in July.
    assert row["available_at"] == datetime(2017, 7, 5, 20, 15, tzinfo=UTC)
    assert row["quality_flags"] == ["ndx_from_QQQ"]
    half_day = rows.filter(pl.col("session") == date(2017, 11, 24)).row(0, named=True)
    assert half_day["available_at"] == datetime(2017, 11, 24, 21, 15, tzinfo=UTC)


def test_the_first_label_waits_for_the_slow_average(market):
    rows = rows_of(market)
    # EMA50 is served from its 223rd bar on (quant_methods.md section 11).
    assert rows["tau"].is_null()[:222].all()
    assert rows["tau"].is_not_null()[222:].all()
    assert (rows["market_regime"].is_null() == rows["tau"].is_null()).all()


def test_inputs_are_what_their_definitions_say(market):
    rows, bars = rows_of(market), market["bars"]
    spy = bars.filter(pl.col("symbol") == "SPY")
    at = 400
    close, high, low = (spy[name].to_numpy() for name in ("close", "high", "low"))
    row = rows.row(at, named=True)
    log_close = 100 * np.log(close[at - 19 : at + 1])
    assert row["slope20"] == pytest.approx(np.polyfit(np.arange(20), log_close, 1)[0], abs=1e-9)
    returns = close[1:] / close[:-1] - 1
    assert row["z1"] == pytest.approx(returns[at - 1] / np.std(returns[at - 21 : at - 1], ddof=1), rel=1e-9)
    assert row["dd60"] == pytest.approx(100 * (close[at] / close[at - 59 : at + 1].max() - 1), abs=1e-9)
    atr = (close[at] - high[at - 20 : at].max()) / row["dhi"]
    assert row["dlo"] * atr == pytest.approx(close[at] - low[at - 20 : at].min(), rel=1e-9)
    assert row["adx_min5"] == pytest.approx(rows["adx"][at - 5 : at].min())
    vix = bars.filter(pl.col("symbol") == "VIX")["close"].to_numpy()
    assert row["vix_percentile_pct"] == pytest.approx(100 * np.mean(vix[at - 252 : at] < vix[at]))
    vix3m = bars.filter(pl.col("symbol") == "VIX3M")["close"].to_numpy()
    assert row["vix_term_ratio"] == pytest.approx(vix[at] / vix3m[at])
    qqq = bars.filter(pl.col("symbol") == "QQQ")["close"].to_numpy()
    other = qqq[1:] / qqq[:-1] - 1
    expected = np.corrcoef(returns[at - 20 : at], other[at - 20 : at])[0, 1]
    assert row["spy_ndx_correlation"] == pytest.approx(expected, abs=1e-9)
    assert row["pct_above_sma50"] == market["breadth"]["pct_above_sma50"][at]


def test_labels_do_not_depend_on_the_scale_of_prices(market):
    scaled = market["bars"].with_columns(
        pl.when(pl.col("symbol") == "SPY").then(pl.col(name) * 10.0).otherwise(name).alias(name)
        for name in ("open", "high", "low", "close")
    )
    here, there = rows_of(market), rows_of(market, bars=scaled)
    assert here["market_regime"].equals(there["market_regime"])
    for name in ("tau", "adx", "slope20", "z1", "dhi", "dlo", "dd60", "rsi14", "confidence"):
        assert np.allclose(here[name].to_numpy(), there[name].to_numpy(), rtol=0, atol=1e-7, equal_nan=True)


def test_later_rows_change_nothing(market):
    cut = date(2017, 6, 30)
    days = calendar.sessions_between(FIRST, cut)
    before = rows_of(market).filter(pl.col("session") <= cut)
    bars, breadth = market["bars"], market["breadth"]
    without = rows_of(
        market, days, bars=bars.filter(pl.col("session") <= cut), breadth=breadth.filter(pl.col("session") <= cut)
    )
    later = pl.col("session") > cut
    tenfold = [pl.when(later).then(pl.col(n) * 10).otherwise(n).alias(n) for n in ("open", "high", "low", "close")]
    assert without.equals(before)
    assert rows_of(market, bars=bars.with_columns(tenfold)).filter(pl.col("session") <= cut).equals(before)


def test_any_cutting_of_the_sessions_gives_the_same_rows(market):
    days = calendar.sessions_between(date(2017, 3, 1), date(2017, 3, 31))
    together = rows_of(market, days)
    one_by_one = pl.concat([rows_of(market, [day]) for day in days])
    assert together.equals(one_by_one)
    assert history_start(days[0]) == date(2013, 1, 1)


def test_a_value_of_another_session_or_from_after_the_next_open_does_not_count(market):
    day = date(2017, 7, 5)
    bars = market["bars"]
    of_vix = (pl.col("symbol") == "VIX") & (pl.col("session") == day)
    gone = rows_of(market, [day], bars=bars.filter(~of_vix)).row(0, named=True)
    assert gone["vix_close"] is None
    assert gone["vix_regime"] is None
    assert {"vix", "p_vix", "vix_ratio"} <= set(gone["inputs_missing"])
    evening, too_late = datetime(2017, 7, 6, 2, tzinfo=UTC), datetime(2017, 7, 6, 13, 30, 1, tzinfo=UTC)

    def with_vix_at(moment: datetime) -> dict[str, object]:
        moved = bars.with_columns(
            available_at=pl.when(of_vix).then(pl.lit(moment)).otherwise("available_at").cast(pl.Datetime("us", "UTC"))
        )
        return rows_of(market, [day], bars=moved).row(0, named=True)

    assert with_vix_at(evening)["vix_close"] is not None
    assert with_vix_at(evening)["available_at"] == evening
    assert with_vix_at(too_late)["vix_close"] is None
    assert with_vix_at(too_late)["available_at"] == datetime(2017, 7, 5, 20, 15, tzinfo=UTC)


def test_breadth_of_an_earlier_session_that_came_late_hides_none_of_a_later_one(market):
    monday, wednesday = date(2017, 7, 3), date(2017, 7, 5)
    late = pl.when(pl.col("session") == monday).then(datetime(2017, 7, 5, 22, tzinfo=UTC)).otherwise("available_at")
    breadth = market["breadth"].with_columns(available_at=late)
    found = dict(rows_of(market, [monday, wednesday], breadth=breadth).select("session", "pct_above_sma50").iter_rows())
    told = dict(breadth.select("session", "pct_above_sma50").iter_rows())
    # Monday's own was not known by the next open.
    assert found == {monday: None, wednesday: told[wednesday]}


def test_a_flat_market_has_no_degenerate_numbers():
    known = [calendar.session(day) for day in calendar.sessions_between(FIRST, LAST)]
    flat = contract_bars(
        {
            "symbol": ["SPY"] * len(known), "bar_start": [one.open for one in known],
            "bar_end": [one.close for one in known], "session": [one.day for one in known],
            **{name: [100.1] * len(known) for name in ("open", "high", "low", "close")},
        },
        "1d",
    )  # fmt: skip
    rows = conform(MARKET_REGIME_HISTORY, regime_history(flat, NO_ACTIONS, MARKET_BREADTH.empty(), [LAST]))
    row = rows.row(0, named=True)
    assert row["z1"] is None
    assert row["tau"] is None
    assert row["market_regime"] is None
    assert row["slope20"] == pytest.approx(0.0, abs=1e-12)


def test_sectors_lead_and_groups_rotate():
    funds = [random_bars("SPY", 1, 200.0)]
    funds += [random_bars(fund, 10 + at, 50.0) for at, fund in enumerate(regime.SECTOR_FUNDS)]
    bars = pl.concat(funds)
    rows = regime_history(bars, NO_ACTIONS, MARKET_BREADTH.empty(), [LAST])
    closes = {str(key[0]): part["close"].to_numpy() for key, part in bars.partition_by("symbol", as_dict=True).items()}
    gained = {name: 100 * (closes[fund][-1] / closes[fund][-21] - 1) for fund, name in regime.SECTOR_FUNDS.items()}
    assert rows["leading_sector"][0] == max(gained, key=lambda name: gained[name])
    assert rows["lagging_sector"][0] == min(gained, key=lambda name: gained[name])
    groups = {group: np.mean([gained[one] for one in members]) for group, members in regime.SECTOR_GROUPS.items()}
    first, second = sorted(groups.values(), reverse=True)[:2]
    leader = max(groups, key=lambda name: groups[name])
    assert rows["sector_rotation"].cast(pl.String)[0] == (leader if first - second >= 0.5 else "MIXED")


def test_closing_values_that_no_bar_holds_are_taken_when_they_are_given(market):
    days = calendar.sessions_between(FIRST, LAST)
    known = [calendar.at_new_york(day, time(16, 15)) for day in days]
    values = pl.DataFrame(
        {
            "session": days,
            "available_at": pl.Series(known, dtype=pl.Datetime("us", "UTC")),
            "put_call_ratio_total": np.linspace(0.5, 1.6, len(days)),
            "vix_front_month": 20.0,
            "vix_back_month": 21.0,
            "tick_index": -900.0,
        }
    )
    rows = regime_history(market["bars"], NO_ACTIONS, market["breadth"], [LAST], closing_values=values)
    row = rows.row(0, named=True)
    # The ratio rises every day, so the last one is above its whole year.
    assert row["pc"] == 100.0
    assert row["pc_regime"] == "EXTREME_FEAR"
    assert row["vix_term_structure"] == "CONTANGO"
    assert row["tick_regime"] == "EXTREME_SELLING"
    assert row["put_call_ratio_equity"] is None
    assert row["inputs_missing"] == []
    assert rows_of(market, [LAST])["pc"][0] is None


def test_hysteresis_holds_a_label_and_the_version_says_so(market):
    days = calendar.sessions_between(date(2017, 1, 3), LAST)
    raw = rows_of(market, days)
    held = regime_history(
        market["bars"], NO_ACTIONS, market["breadth"], days, config=RegimeConfig(hysteresis_sessions=2)
    )
    changes = [int((rows["market_regime"] != rows["market_regime"].shift(1)).sum()) for rows in (raw, held)]
    assert changes[1] < changes[0]
    assert set(held["definition_version"]) == {"regime-1/thresholds-1/hysteresis-2"}
    assert held["rule_fired"].equals(raw["rule_fired"])


# --- real years ---


@pytest.fixture(scope="module")
def real_regimes(shared_data) -> pl.DataFrame:
    stocks = real_bars(shared_data, "day").filter(pl.col("session") >= date(2010, 1, 1))
    table = pl.scan_csv(shared_data / "us_indices/day_aggs_v1/201[4-7]/**/*.csv.gz").collect()
    stamp = pl.from_epoch("window_start", "ns").dt.replace_time_zone("UTC").dt.convert_time_zone("America/Chicago")
    table = table.with_columns(session=stamp.dt.date(), symbol=pl.col("ticker").str.strip_prefix("I:"))
    hours = calendar.session_frame().select("session", bar_start="open", bar_end="close")
    table = table.join(hours, on="session").drop("ticker", "window_start")
    late = pl.when(pl.col("symbol") == "VIX").then(timedelta(minutes=15)).otherwise(timedelta(seconds=2))
    table = table.with_columns(available_at=pl.col("bar_end") + late, volume=pl.lit(None, dtype=pl.Float64))
    bars = pl.concat([stocks, contract_bars(table.to_dict(), "1d")])
    days = calendar.sessions_between(date(2014, 1, 2), date(2017, 12, 29))
    return regime_history(bars, real_splits(shared_data), real_breadth(stocks), days)


def real_breadth(stocks: pl.DataFrame) -> pl.DataFrame:
    """Share of the nine stocks and funds above their SMA50, by hand; splits are left out of account."""
    above = stocks.sort("symbol", "bar_start").with_columns(
        above=pl.col("close") > pl.col("close").rolling_mean(50).over("symbol")
    )
    counted = above.group_by("session").agg(
        pct_above_sma50=100.0 * pl.col("above").mean(), available_at=pl.col("available_at").max()
    )
    return counted.sort("session")


def test_real_august_2015_is_a_panic_of_some_kind(real_regimes):
    row = real_regimes.filter(pl.col("session") == date(2015, 8, 24)).row(0, named=True)
    assert row["market_regime"] in {"CAPITULATION", "BREAKDOWN", "STRONG_DOWNTREND"}
    # The file of that day: VIX 40.74, SPY 189.50.
    assert row["vix_close"] == 40.74
    assert row["vix_regime"] == "EXTREME"
    assert row["spy_close"] == 189.50


def test_real_summer_2017_is_mostly_an_up_state(real_regimes):
    summer = real_regimes.filter(pl.col("session").is_between(date(2017, 5, 1), date(2017, 8, 31)))
    up = (
        summer["market_regime"]
        .cast(pl.String)
        .is_in(["STRONG_UPTREND", "WEAK_UPTREND", "CHOPPY_BULLISH", "BREAKOUT", "EUPHORIA"])
    )
    assert up.mean() > 0.75


def test_real_years_have_a_label_on_every_session_and_counts_of_every_label(real_regimes):
    conform(MARKET_REGIME_HISTORY, real_regimes)
    counts = label_counts(real_regimes)
    assert list(counts) == list(MARKET_REGIMES)
    assert sum(counts.values()) == real_regimes.height == 1007
    # No VIX3M and no put/call ratio are in the data, so the rules that need them cannot fire and say so.
    assert counts["CAPITULATION"] == counts["EUPHORIA"] == 0
    assert real_regimes.select(pl.col("inputs_missing").list.contains("vix_ratio").all()).item()
    assert all(counts[label] > 0 for label in MARKET_REGIMES if label not in ("CAPITULATION", "EUPHORIA"))
