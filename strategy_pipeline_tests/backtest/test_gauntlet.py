"""Noise has no edge and keeps everything else; the gate passes what earns nothing there and fails what earns."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.gauntlet import JUDGED, NoiseInputs, judged, noise_minutes, run_on_noise
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, HISTORICAL_BARS, NOISE_GAUNTLET, NOISE_VARIANTS
from strategy_pipeline.market.calendar import sessions_between
from strategy_pipeline.market.symbols import instrument, instruments_frame
from strategy_pipeline_tests.backtest.minute_markets import trending_minutes

SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
DAYS = sessions_between(date(2024, 9, 3), date(2024, 12, 31))
NO_ACTIONS = CORPORATE_ACTIONS.empty()
EXERCISED = {
    "breakout": ("bullish", "bearish"),
    "mean_reversion": ("long", "short"),
    "trend_continuation": ("long", "short"),
}
PRICES = ("open", "high", "low", "close")


@pytest.fixture(scope="module")
def minutes() -> pl.DataFrame:
    """A market with momentum from minute to minute, half day included; rows sorted by symbol and time."""
    return trending_minutes(SYMBOLS, DAYS, carry=0.3, seed=4).sort("symbol", "bar_start")


def log_returns(rows: pl.DataFrame) -> np.ndarray:
    """Moves from close to close within sessions, one symbol after the other."""
    moved = pl.col("close").log().diff().over("symbol", "session")
    return rows.sort("symbol", "bar_start").select(moved.drop_nulls()).to_series().to_numpy()


def carried(moves: np.ndarray) -> float:
    return float(np.corrcoef(moves[1:], moves[:-1])[0, 1])


@pytest.mark.parametrize("variant", NOISE_VARIANTS)
def test_noise_keeps_every_row_its_time_its_volume_and_the_first_price(minutes: pl.DataFrame, variant: str) -> None:
    noise = noise_minutes(minutes, NO_ACTIONS, variant, 0, 1)
    assert noise.drop(*PRICES, "vwap").equals(minutes.drop(*PRICES, "vwap"))
    HISTORICAL_BARS.schema.validate(noise)
    first = [frame.group_by("symbol", maintain_order=True).first()["open"].to_numpy() for frame in (noise, minutes)]
    assert first[0] == pytest.approx(first[1])
    assert not np.allclose(noise["close"], minutes["close"])


@pytest.mark.parametrize("variant", JUDGED)
def test_momentum_is_gone_and_the_size_of_moves_stays(minutes: pl.DataFrame, variant: str) -> None:
    noise = log_returns(noise_minutes(minutes, NO_ACTIONS, variant, 0, 1))
    real = log_returns(minutes)
    assert carried(real) == pytest.approx(0.3, abs=0.02)
    # Inside a block of five minutes what carries over stays, and four of five steps lie inside one.
    assert abs(carried(noise)) < (0.02 if variant != "block_shuffled" else 0.27)
    assert noise.std() == pytest.approx(real.std(), rel=0.03)


@pytest.mark.parametrize("variant", JUDGED)
def test_the_expected_price_is_constant(variant: str) -> None:
    # A market that rises 3 % a session: a noise that kept its drift would end far above its beginning.
    days = DAYS[:20]
    rising = trending_minutes(("AAA",), days, carry=0.0, seed=2)
    place = pl.int_range(pl.len()) * (0.03 / 390)
    rising = rising.with_columns(pl.col(name) * place.exp() for name in PRICES)
    ends = [noise_minutes(rising, NO_ACTIONS, variant, draw, 3)["close"][-1] for draw in range(60)]
    ratio = np.array(ends) / rising["open"][0]
    assert rising["close"][-1] / rising["open"][0] > 1.5
    if variant == "sign_flipped":
        # Its spread is that of the moves, drift included.
        assert ratio.mean() == pytest.approx(1.0, abs=4.0 * ratio.std() / np.sqrt(60))
    else:
        assert ratio.mean() == pytest.approx(1.0, abs=max(4.0 * ratio.std() / np.sqrt(60), 0.01))


def test_a_sign_is_flipped_in_all_symbols_together(minutes: pl.DataFrame) -> None:
    noise = noise_minutes(minutes, NO_ACTIONS, "sign_flipped", 0, 1)

    def body(rows: pl.DataFrame) -> np.ndarray:
        wide = rows.pivot("symbol", index="bar_start", values=["open", "close"]).sort("bar_start")
        return np.log(np.stack([wide[f"close_{one}"] / wide[f"open_{one}"] for one in SYMBOLS]))

    before, after = body(minutes), body(noise)
    clear = (np.abs(before) > 1e-5).all(axis=0)
    kept = (np.sign(before) == np.sign(after))[:, clear]
    assert (kept.all(axis=0) | ~kept.any(axis=0)).all()
    assert 0.4 < kept[0].mean() < 0.6


def test_reversed_time_runs_the_same_path_backwards(minutes: pl.DataFrame) -> None:
    one = minutes.filter(pl.col("symbol") == "AAA")
    back = noise_minutes(one, NO_ACTIONS, "time_reversed", 0, 1)
    path, reverse = np.log(one["close"].to_numpy()), np.log(back["open"].to_numpy())
    assert reverse - reverse[0] == pytest.approx((path - path[-1])[::-1], abs=1e-9)


def test_noise_is_reproducible_and_draws_differ(minutes: pl.DataFrame) -> None:
    again = [noise_minutes(minutes, NO_ACTIONS, "random_walk", draw, 1) for draw in (0, 0, 1)]
    assert again[0].equals(again[1])
    assert not again[0].equals(again[2])


def test_a_split_stays_a_split(minutes: pl.DataFrame) -> None:
    ex_date = DAYS[10]
    actions = pl.DataFrame(
        [{"symbol": "AAA", "action": "split", "ex_date": ex_date, "split_ratio": 4.0}]
    ).select("symbol", "action", "ex_date", "split_ratio")  # fmt: skip
    halved = minutes.with_columns(
        pl.when((pl.col("symbol") == "AAA") & (pl.col("session") >= ex_date))
        .then(pl.col(name) / 4.0)
        .otherwise(pl.col(name))
        .alias(name)
        for name in PRICES
    )
    split = noise_minutes(halved, actions, "sign_flipped", 0, 1)
    plain = noise_minutes(minutes, NO_ACTIONS, "sign_flipped", 0, 1)
    mine = (pl.col("symbol") == "AAA") & (pl.col("session") >= ex_date)
    assert split.filter(mine)["close"].to_numpy() * 4.0 == pytest.approx(plain.filter(mine)["close"].to_numpy())


def test_an_unknown_kind_of_noise_is_an_error(minutes: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="is none of"):
        noise_minutes(minutes, NO_ACTIONS, "pink", 0, 1)


@pytest.fixture(scope="module")
def gauntlet(minutes: pl.DataFrame) -> pl.DataFrame:
    inputs = NoiseInputs(
        minutes, HISTORICAL_BARS.empty(), NO_ACTIONS, instruments_frame([instrument(one) for one in SYMBOLS]),
        DAYS[42:], SYMBOLS,
    )  # fmt: skip
    parts = [
        run_on_noise(inputs, catalogue.CATALOGUE, BacktestConfig(), variant, draw, seed=5)
        for variant in JUDGED
        for draw in range(8)
    ]
    return pl.concat(parts).select(pl.lit("run").alias("run_id"), pl.all())


def test_no_detector_earns_anything_on_noise_before_costs(gauntlet: pl.DataFrame) -> None:
    NOISE_GAUNTLET.schema.validate(gauntlet)
    found = judged(gauntlet)
    assert set(found) == {detector.name for detector in catalogue.CATALOGUE}
    assert {name: one.status for name, one in found.items() if one.status == "failed"} == {}
    passed = {name for name, one in found.items() if one.status == "passed"}
    assert passed >= {f"{family}_{side}" for family, sides in EXERCISED.items() for side in sides}
    assert all(found[name].draws == 8 for name in passed)
    # There is no index among the symbols, so nothing is said about the detectors of indices.
    assert found["opening_drive_bullish"].status == "not exercised"


def test_errors_are_clustered_by_session(gauntlet: pl.DataFrame) -> None:
    # By hand: two sessions of two trades each that end alike have the error of two results, not of four.
    row = gauntlet.row(0, named=True) | {
        "detector": "x", "variant": "random_walk", "trades": 24, "sessions_traded": 12, "sum_r_gross": 0.0,
        "sum_r_net": -4.0, "sum_squared_session_r": 12 * 2.0**2, "sum_session_r_trades": 0.0,
        "sum_squared_session_trades": 12 * 2.0**2,
    }  # fmt: skip
    found = judged(pl.DataFrame([row], schema=NOISE_GAUNTLET.polars_schema))["x"]
    # Twelve sessions whose mean results are +1 and -1 in turn: sd 1.0445, over the root of twelve.
    assert found.standard_error == pytest.approx(1.0445 / np.sqrt(12), abs=1e-4)
    assert found.status == "passed"


@pytest.mark.parametrize(
    ("net", "gross", "status"), [(-2.0, 3.0, "passed"), (-2.0, 30.0, "failed"), (1.0, 3.0, "failed")]
)
def test_the_gate_fails_what_earns_on_noise_before_or_after_costs(
    gauntlet: pl.DataFrame, net: float, gross: float, status: str
) -> None:
    row = gauntlet.row(0, named=True) | {
        "detector": "x", "variant": "random_walk", "trades": 50, "sessions_traded": 50, "sum_r_gross": gross,
        "sum_r_net": net, "sum_squared_session_r": 50.0, "sum_session_r_trades": gross,
        "sum_squared_session_trades": 50.0,
    }  # fmt: skip
    assert judged(pl.DataFrame([row], schema=NOISE_GAUNTLET.polars_schema))["x"].status == status


def test_reversed_time_is_not_judged(gauntlet: pl.DataFrame) -> None:
    reversed_time = gauntlet.with_columns(variant=pl.lit("time_reversed").cast(gauntlet.schema["variant"]))
    assert judged(reversed_time) == {}
