"""What must follow for features, context, signals and trades when a market is told in another way.

Prices in another unit, prices mirrored about yesterday's close, stocks under other names, rows in another order,
sessions one after the other: each goes the whole way from minute bars again.
"""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from strategy_pipeline.detectors.inputs import INPUT_DTYPES
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import CONTEXT_SCORES, ENGINES, FEATURES, SUM_TOLERANCE
from strategy_pipeline_tests.detectors.rows import mirrored as mirrored_row
from strategy_pipeline_tests.gates.whole_way import FRIDAY, STOCKS, Market, Way, in_unit, market, mirrored, renamed
from strategy_pipeline_tests.gates.whole_way import whole_way as taken

# A power of two, so that a number that is a price is multiplied without rounding.
UNIT = 4.0
# Costs are a share of the price, which a mirror does not keep; a tick is in the unit of prices.
FREE = {"slippage_pct": 0.0}
# What a row follows from as a whole, and what is made of it.
PROVENANCE = {"run_id", "data_version", "input_hash", "trade_id"}
SIGNAL_PRICES = {"entry_ref", "stop_price", "target_1", "target_2", "target_3", "atr_used"}
TRADE_PRICES = {
    "entry_ref_price", "entry_fill_price", "atr", "stop_initial", "target_initial", "risk_per_unit", "exit_ref_price",
    "exit_fill_price",
}  # fmt: skip
FEATURE_PRICES = {
    name
    for name, doc in FEATURES.column_docs.items()
    if doc.split(";")[0].endswith(("$", "$ per 1 %")) and FEATURES.polars_schema[name] == pl.Float64
}
OPPOSITE = {"LONG": "SHORT", "SHORT": "LONG"}
TWINS = (("bullish", "bearish"), ("long", "short"))
SIGNAL_KEY, TRADE_KEY = ("symbol", "bar_end", "detector"), ("symbol", "entry_at", "detector")
# An index beside stocks, with and without options, momentum and reversion, and the tape.
MUST_FIRE = {"breakout_bearish", "trend_continuation_long", "mean_reversion_long", "gamma_flip_bearish",
             "eod_pin_setup", "sweep_momentum_short", "institutional_flow_bullish"}  # fmt: skip


class ShuffledLake(Lake):
    """A lake that hands out its rows in a random order."""

    def read(self, *args: object, **how: object) -> pl.DataFrame:
        """As Lake.read, shuffled."""
        rows = super().read(*args, **how)  # type: ignore[arg-type]
        return rows.sample(fraction=1.0, shuffle=True, seed=3)


@pytest.fixture(scope="module")
def given() -> Market:
    return market()


@pytest.fixture(scope="module")
def plain(given: Market, tmp_path_factory: pytest.TempPathFactory) -> Way:
    return taken(Lake(tmp_path_factory.mktemp("plain")), given, **FREE)


def without(rows: pl.DataFrame, *names: str) -> pl.DataFrame:
    return rows.drop(PROVENANCE.union(names), strict=False)


def test_the_market_reaches_every_stage(plain: Way) -> None:
    assert set(plain.signals["detector"]) >= MUST_FIRE
    answered = plain.context.filter(pl.col("status").cast(pl.String) == "ok")["engine"].cast(pl.String)
    assert set(answered) == set(ENGINES)
    assert set(plain.signals["decision"].cast(pl.String)) == {"accepted", "rejected"}
    assert (plain.trades.height, plain.gated.height) >= (30, 3)
    assert {"STOP", "TARGET", "MAX_HOLD"} <= set(plain.trades["exit_reason"].cast(pl.String))


def test_of_every_signal_the_contributions_sum_to_the_change_of_its_score(plain: Way) -> None:
    scored = plain.signals.filter(pl.col("waterfall").is_not_null())
    assert scored.height > 50
    for row in scored.iter_rows(named=True):
        for style in ("scalp", "day", "swing"):
            total = sum(one["contribution_ln"] for one in row["waterfall"] if one["style"] == style)
            ratio = row[f"{style}_score"] / row["base_score"]
            assert total == pytest.approx(pl.Series([ratio]).log().item(), abs=SUM_TOLERANCE)


def test_prices_in_another_unit_change_prices_alone(given: Market, plain: Way, tmp_path: Path) -> None:
    scaled = taken(Lake(tmp_path), in_unit(given, UNIT), **FREE, tick=0.01 * UNIT)

    def in_our_unit(rows: pl.DataFrame, prices: set[str]) -> pl.DataFrame:
        return rows.with_columns(pl.col(name) / UNIT for name in prices if name in rows.columns)

    assert len(FEATURE_PRICES) > 30
    assert_frame_equal(in_our_unit(scaled.features, FEATURE_PRICES), plain.features, abs_tol=1e-7, rel_tol=1e-9)
    assert_frame_equal(scaled.context, plain.context, abs_tol=1e-9)
    assert_frame_equal(
        without(in_our_unit(scaled.signals, SIGNAL_PRICES)), without(plain.signals), abs_tol=1e-7, rel_tol=1e-9
    )
    for one, other in ((scaled.trades, plain.trades), (scaled.gated, plain.gated)):
        # A position is sized in dollars, so as many times fewer units have the same value.
        assert_frame_equal(
            without(in_our_unit(one, TRADE_PRICES).with_columns(units=pl.col("units") * UNIT)), without(other),
            abs_tol=1e-7, rel_tol=1e-9,
        )  # fmt: skip


@pytest.fixture(scope="module")
def image(given: Market, tmp_path_factory: pytest.TempPathFactory) -> Way:
    return taken(Lake(tmp_path_factory.mktemp("mirrored")), mirrored(given), [FRIDAY], **FREE)


def twin(detector: str) -> str:
    for one, other in TWINS:
        for from_, to in ((one, other), (other, one)):
            if detector.endswith(f"_{from_}"):
                return detector.removesuffix(from_) + to
    return detector


def turned(rows: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
    """Rows of FRIDAY under the names of the twins and with the other direction."""
    return (
        rows.filter(pl.col("session") == FRIDAY)
        .with_columns(
            pl.col("detector").map_elements(twin, return_dtype=pl.String),
            direction=pl.col("direction").cast(pl.String).replace(OPPOSITE),
        )
        .sort(key)
    )


def test_mirrored_prices_mirror_every_input_of_a_detector(plain: Way, image: Way) -> None:
    before = plain.features.filter(pl.col("session") == FRIDAY)
    names = [name for name in INPUT_DTYPES if before[name].null_count() < before.height]
    assert len(names) > 40
    rows = zip(before.iter_rows(named=True), image.features.iter_rows(named=True), strict=True)
    for row, found in rows:
        expected = mirrored_row({name: row[name] for name in names})
        for name in names:
            wanted = expected.get(name)
            said = f"{name} of {row['symbol']} at {row['bar_end']}"
            assert found[name] == (pytest.approx(wanted, abs=1e-6) if isinstance(wanted, float) else wanted), said


def test_mirrored_prices_swap_twins_with_the_same_scores_and_fates(plain: Way, image: Way) -> None:
    same = [
        *SIGNAL_KEY, "direction", "base_score", "scalp_score", "day_score", "swing_score", "recommended_style",
        "data_confidence", "window", "base_min", "style_min", "rr_min", "risk_reward", "reward_basis", "risk_basis",
        "atr_used", "decision", "reject_reason",
    ]  # fmt: skip
    before, after = turned(plain.signals, SIGNAL_KEY), image.signals.sort(SIGNAL_KEY)
    assert before.height > 30
    text = pl.col("direction").cast(pl.String)
    assert_frame_equal(after.with_columns(text).select(same), before.select(same), abs_tol=1e-7)
    for one, other in zip(before["waterfall"].to_list(), after["waterfall"].to_list(), strict=True):
        # Regime, alignment and flow turn with the trade; every item is worth the same to it.
        assert [item["item"] for item in one] == [item["item"] for item in other]
        assert [item["contribution_ln"] for item in one] == pytest.approx(
            [item["contribution_ln"] for item in other], abs=1e-9
        )


def test_mirrored_prices_give_the_trades_of_the_twins(plain: Way, image: Way) -> None:
    same = [*TRADE_KEY, "direction", "exit_at", "exit_reason", "bars_held", "atr", "risk_per_unit", "r_gross", "mfe_r",
            "mae_r"]  # fmt: skip
    text = pl.col("direction").cast(pl.String)
    for one, other in ((plain.trades, image.trades), (plain.gated, image.gated)):
        before, after = turned(one, TRADE_KEY), other.sort(TRADE_KEY)
        assert_frame_equal(after.with_columns(text).select(same), before.select(same), abs_tol=1e-7)
    assert turned(plain.trades, TRADE_KEY).height > 10


def test_names_do_not_matter(given: Market, plain: Way, tmp_path: Path) -> None:
    # Exchanged first with last, so that the order of symbols is another one too.
    names = dict(zip(STOCKS, ("ZZZ", "YYY", "XXX", "WWW", "VVV", "UUU"), strict=True))
    back = {new: old for old, new in names.items()}
    found = taken(Lake(tmp_path), renamed(given, names), **FREE)

    def called_as_before(rows: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
        named = [name for name in ("symbol", "rvol_symbol") if name in rows.columns]
        ids = [name for name in ("signal_id", "source_key") if name in rows.columns]
        return without(rows.with_columns(pl.col(name).cast(pl.String).replace(back) for name in named), *ids).sort(key)

    for stage, key in (("features", ("symbol", "bar_end")), ("context", CONTEXT_SCORES.key), ("signals", SIGNAL_KEY),
                       ("trades", TRADE_KEY), ("gated", TRADE_KEY)):  # fmt: skip
        one, other = getattr(found, stage), getattr(plain, stage)
        assert_frame_equal(called_as_before(one, key), called_as_before(other, key), check_exact=True)


def test_the_order_of_rows_does_not_matter(given: Market, plain: Way, tmp_path: Path) -> None:
    found = taken(ShuffledLake(tmp_path), given, **FREE)
    for stage, key in (("features", ("symbol", "bar_end")), ("context", CONTEXT_SCORES.key), ("signals", SIGNAL_KEY)):
        assert_frame_equal(getattr(found, stage).sort(key), getattr(plain, stage).sort(key), check_exact=True)
    # Trades came out of features, signals and bars in a random order.
    assert_frame_equal(without(found.trades), without(plain.trades), check_exact=True)
    assert_frame_equal(without(found.gated), without(plain.gated), check_exact=True)


def test_sessions_one_after_the_other_give_the_rows_of_all_together(given: Market, plain: Way, tmp_path: Path) -> None:
    found = taken(Lake(tmp_path), given, at_once=False, **FREE)
    for stage in ("features", "context", "signals", "trades", "gated"):
        assert_frame_equal(getattr(found, stage), getattr(plain, stage), check_exact=True)
