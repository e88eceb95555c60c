"""All engines together: contract, point in time, independence of the batch, neutrality without tables, waterfalls."""

from datetime import timedelta
from itertools import product

import polars as pl
import pytest

from strategy_pipeline.analytics.alignment import ALIGNMENT_SCHEMA, SCORES, combined
from strategy_pipeline.detectors.catalogue import CATALOGUE
from strategy_pipeline.engines.combination import ENGINE_ITEMS, contributions, waterfall
from strategy_pipeline.engines.context import CONTEXT_ENGINES, ContextSources, evaluate_context
from strategy_pipeline.engines.declaration import KEY_DTYPES
from strategy_pipeline.engines.strategy_filter import regime_block
from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.poison import KINDS, spoilt
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import (
    CONTEXT_SCORES,
    ENGINES,
    GAMMA_EXPOSURE_SNAPSHOTS,
    IV_PERCENTILE_CACHE,
    MARKET_REGIME_HISTORY,
    OPTIONS_FLOW_HISTORY,
    STYLES,
)
from strategy_pipeline_tests.analytics.flow_rows import trades
from strategy_pipeline_tests.engines.context_rows import (
    BEFORE,
    DAY,
    NOW,
    alignment_table,
    gamma_row,
    gamma_table,
    iv_row,
    iv_table,
    regime_row,
    regime_table,
    requests,
)

MOMENTS = [NOW + timedelta(minutes=minutes) for minutes in (-80, -30, 0, 45, 200, 600, 1_440, 1_620)]


def sources() -> ContextSources:
    """Two days of rows around NOW for SPY; AAA has only flow."""
    printed = [NOW + timedelta(minutes=n) for n in range(-60, 180, 2)]
    return ContextSources(
        iv=iv_table(iv_row(35.0), iv_row(85.0, session=DAY)),
        gamma=gamma_table(
            *(gamma_row(n / 10, at=NOW + timedelta(minutes=15 * n), call_wall=100.4) for n in range(-8, 9))
        ),
        alignment=pl.concat(
            alignment_table(0.9, 0.1 * n, 0.3, -0.2, 0.1, -0.1 * n, at=at, newest=at)
            for n, at in enumerate(MOMENTS[:5])
        ),
        flow=trades(
            *(
                {
                    "sip_timestamp": at, "symbol": "SPY" if n % 3 else "AAA", "premium_usd": 7_000.0 + 311.7 * n,
                    "aggressor_sign": (1.0, 0.5, -0.5, None, 1.0)[n % 5], "is_sweep": n % 4 == 0,
                    "available_at": at + timedelta(seconds=2 * (n % 2)),
                }
                for n, at in enumerate(printed)
            )
        ),
        regime=regime_table(regime_row(BEFORE, tau=-1.4, adx=31.0, b=25.0), regime_row(DAY, tau=0.6, slope20=0.04)),
    )  # fmt: skip


def every_request() -> pl.DataFrame:
    rows = list(product(["SPY", "AAA"], MOMENTS, ["LONG", "SHORT"], STYLES, [True, False]))
    return pl.DataFrame(rows, schema=KEY_DTYPES, orient="row")


@pytest.fixture(scope="module")
def scores() -> pl.DataFrame:
    return evaluate_context(every_request(), sources())


def test_every_request_has_a_row_of_every_engine_in_the_contract(scores):
    assert scores.height == every_request().height * len(ENGINES)
    assert conform(CONTEXT_SCORES, scores).equals(scores)
    assert [engine.name for engine in CONTEXT_ENGINES] == list(ENGINES)


def test_every_answer_stays_in_its_range_in_every_status(scores):
    found = scores.group_by("engine").agg(pl.col("status").cast(pl.String).unique())
    assert {engine: set(words) for engine, words in found.rows()} == {
        "iv": {"ok", "missing"},
        "gamma": {"ok", "stale", "missing"},
        "mtf": {"ok", "stale", "missing"},
        "flow": {"ok", "stale", "missing"},
        "regime": {"ok"},
    }
    for engine in CONTEXT_ENGINES:
        low, high = engine.multiplier_range
        rows = scores.filter(pl.col("engine") == engine.name)
        assert rows["multiplier"].is_between(low - 1e-12, high + 1e-12).all()
        assert set(rows["label"].drop_nulls()) <= set(engine.labels)
        assert set(rows["recommendation"].drop_nulls()) <= set(engine.recommendations)


def test_one_request_alone_gives_the_same_bits_as_among_many(scores):
    asked = every_request()
    for place in range(0, asked.height, 7):
        alone = evaluate_context(asked[place], sources())
        key = asked.row(place, named=True)
        among = scores.filter(pl.all_horizontal(pl.col(name) == value for name, value in key.items()))
        assert alone.equals(among)


def test_order_and_repetition_of_requests_and_rows_change_nothing(scores):
    given = sources()
    shuffled = ContextSources(
        **{
            name: table.sample(fraction=1.0, shuffle=True, seed=3)
            for name, table in vars(given).items()
        }
    )  # fmt: skip
    asked = pl.concat([every_request(), every_request()[:20]]).sample(fraction=1.0, shuffle=True, seed=4)
    assert evaluate_context(asked, shuffled).equals(scores)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "split"])
def test_spoiling_what_was_known_later_changes_nothing(scores, kind):
    given = sources()
    tables = {
        "iv": IV_PERCENTILE_CACHE, "gamma": GAMMA_EXPOSURE_SNAPSHOTS, "flow": OPTIONS_FLOW_HISTORY,
        "regime": MARKET_REGIME_HISTORY,
    }  # fmt: skip
    for at in MOMENTS:
        spoilt_tables = {name: spoilt(table, getattr(given, name), at, kind) for name, table in tables.items()}
        known = ContextSources(alignment=given.alignment.filter(pl.col("as_of") <= at), **spoilt_tables)
        asked = every_request().filter(pl.col("as_of") == at)
        assert evaluate_context(asked, known).equals(scores.filter(pl.col("as_of") == at))


def test_without_any_table_every_engine_is_missing_and_neutral():
    rows = evaluate_context(requests(), ContextSources())
    assert rows["status"].cast(pl.String).to_list() == ["missing"] * 5
    assert rows["multiplier"].to_list() == [1.0] * 5
    assert rows["contribution_ln"].to_list() == [0.0] * 5
    combined = waterfall(
        contributions(rows).select(
            *ENGINE_ITEMS, base_score=pl.lit(75.0), style_modifier=pl.lit(1.0), confidence_pct=pl.lit(100.0)
        )
    )
    assert combined["final_score"].to_list() == [75.0]


@pytest.mark.parametrize("name", ["iv", "gamma", "alignment", "flow", "regime"])
def test_taking_an_engines_rows_away_changes_only_its_own_item(scores, name):
    item = {"alignment": "mtf"}.get(name, name)
    without = evaluate_context(every_request(), ContextSources(**(vars(sources()) | {name: None})))
    wide, whole = contributions(without), contributions(scores)
    assert wide[f"{item}_ln"].to_list() == [0.0] * wide.height
    assert whole[f"{item}_ln"].to_list() != wide[f"{item}_ln"].to_list()
    others = [one for one in ENGINE_ITEMS if one != f"{item}_ln"]
    assert wide.select(others).equals(whole.select(others))


def test_contributions_are_one_row_a_request_and_know_no_silent_engine(scores):
    wide = contributions(scores)
    assert wide.height == every_request().height
    one = scores.filter((pl.col("symbol") == "SPY") & (pl.col("as_of") == NOW) & (pl.col("engine") == "regime"))
    row = wide.filter((pl.col("symbol") == "SPY") & (pl.col("as_of") == NOW))
    assert row["regime_ln"].to_list() == one["contribution_ln"].to_list()
    assert row["regime_status"].to_list() == one["status"].to_list()
    assert row["regime_label"].to_list() == ["STRONG_DOWNTREND"] * 12
    with pytest.raises(DataError, match="flow"):
        contributions(scores.filter(pl.col("engine") != "flow"))


def test_a_later_version_of_an_answer_does_not_count_for_its_decision(scores):
    later = scores.with_columns(
        contribution_ln=pl.col("contribution_ln") + 0.5, available_at=pl.col("as_of") + timedelta(minutes=1)
    )
    assert contributions(pl.concat([later, scores])).equals(contributions(scores))


def test_a_strong_trend_blocks_momentum_against_it_and_nothing_else(scores):
    wide = contributions(scores).filter((pl.col("as_of") == NOW) & (pl.col("symbol") == "SPY"))
    blocked = wide.with_columns(block=regime_block()).filter(pl.col("block").is_not_null())
    assert blocked.select("direction", "momentum").unique().rows() == [("LONG", True)]
    assert blocked["block"].unique().to_list() == ["regime_block"]
    turned = wide.with_columns(regime_label=pl.lit("STRONG_UPTREND"))
    assert turned.filter(regime_block().is_not_null()).select("direction", "momentum").unique().rows() == [
        ("SHORT", True)
    ]


def test_a_stale_or_missing_regime_blocks_nothing(scores):
    strong = regime_row(BEFORE, tau=-1.4, adx=31.0, b=25.0)
    for table in (None, regime_table(strong)):
        late = every_request().with_columns(pl.col("as_of") + timedelta(days=7))
        wide = contributions(evaluate_context(late, ContextSources(regime=table)))
        assert wide["regime_status"].unique().to_list() == ["missing" if table is None else "stale"]
        assert wide.select(regime_block()).to_series().null_count() == wide.height


def test_the_momentum_families_are_the_three_of_the_filter():
    # context_engines.md section 7.
    families = {detector.family for detector in CATALOGUE if detector.momentum}
    assert families == {"breakout", "trend_continuation", "opening_drive"}


def mirrored_sources() -> ContextSources:
    """The mirror image of ``sources``: walls, sides and trends exchanged."""
    given = sources()
    walls = {"call_wall": pl.lit(None, dtype=pl.Float64), "put_wall": 200.0 - pl.col("call_wall")}
    scores = {name: -pl.col(name) for name in SCORES.values()}
    turned = given.alignment.with_columns(**scores)
    return ContextSources(
        iv=given.iv,
        gamma=given.gamma.with_columns(**walls),
        alignment=turned.with_columns(*combined(turned)),
        flow=given.flow.with_columns(aggressor_sign=-pl.col("aggressor_sign")),
        regime=regime_table(regime_row(BEFORE, tau=1.4, adx=31.0, b=75.0), regime_row(DAY, tau=-0.6, slope20=-0.04)),
    )


def test_twin_requests_on_mirrored_markets_have_equal_contributions(scores):
    turned = {"LONG": "SHORT", "SHORT": "LONG"}
    twins = every_request().with_columns(pl.col("direction").cast(pl.String).replace(turned))
    mirrored = contributions(evaluate_context(twins, mirrored_sources()))
    back = mirrored.with_columns(pl.col("direction").cast(pl.String).replace(turned).cast(KEY_DTYPES["direction"]))
    assert back.sort(*KEY_DTYPES).select(ENGINE_ITEMS).equals(contributions(scores).select(ENGINE_ITEMS))


@pytest.mark.parametrize("name", list(KEY_DTYPES))
def test_a_request_with_an_empty_part_is_refused(name):
    with pytest.raises(DataError, match=name):
        evaluate_context(requests().with_columns(pl.lit(None, dtype=KEY_DTYPES[name]).alias(name)), ContextSources())


def test_no_requests_give_no_rows():
    assert evaluate_context(every_request().clear(), sources()).equals(CONTEXT_SCORES.empty())


def test_an_alignment_is_taken_as_it_comes_from_analytics():
    assert sources().alignment.schema == ALIGNMENT_SCHEMA
