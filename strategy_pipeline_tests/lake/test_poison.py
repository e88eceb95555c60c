"""The poisoned lake: what it spoils, what it leaves alone, and that a computation that looks ahead is named."""

from datetime import date, timedelta

import polars as pl
import pytest

from strategy_pipeline.lake.poison import KINDS, Leak, PoisonedLake, differences, leaks, moments_of
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, HISTORICAL_BARS
from strategy_pipeline.market.calendar import session
from strategy_pipeline_tests.analytics.bar_frames import minute_market, splits
from strategy_pipeline_tests.sql_models.crafted import lake_with

DAY = date(2024, 3, 14)
NOON = session(DAY).open + timedelta(minutes=150)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("lake")
    made = lake_with(folder, minute_market(["AAA", "BBB"], date(2024, 3, 13), DAY))
    made.write(CORPORATE_ACTIONS, {}, splits(("AAA", date(2024, 1, 2), 2.0)))
    return made


def bars(lake: Lake) -> pl.DataFrame:
    return lake.read_sessions(HISTORICAL_BARS, [date(2024, 3, 13), DAY])


def known(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("available_at") <= NOON).sort(HISTORICAL_BARS.key)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_known_stays_what_it_was(lake: Lake, kind: str) -> None:
    assert known(bars(PoisonedLake(lake, NOON, kind))).equals(known(bars(lake)))


@pytest.mark.parametrize("kind", ["null", "scale", "garble", "shuffle", "storm"])
def test_what_was_not_known_keeps_its_keys_and_loses_its_values(lake: Lake, kind: str) -> None:
    honest, spoilt = (bars(one).sort(HISTORICAL_BARS.key) for one in (lake, PoisonedLake(lake, NOON, kind)))
    assert spoilt.select(HISTORICAL_BARS.key).equals(honest.select(HISTORICAL_BARS.key))
    changed = (spoilt["volume"].ne_missing(honest["volume"])) & (honest["available_at"] > NOON)
    assert changed.sum() > 0.9 * (honest["available_at"] > NOON).sum()


def test_deleting_takes_every_later_row_and_a_split_is_announced_for_later(lake: Lake) -> None:
    assert bars(PoisonedLake(lake, NOON, "delete")).equals(bars(lake).filter(pl.col("available_at") <= NOON))
    announced = PoisonedLake(lake, NOON, "split").read(CORPORATE_ACTIONS, [{}])
    new = announced.filter(pl.col("available_at") > NOON)
    assert new.select("symbol", "split_ratio").rows() == [("AAA", 7.0)]
    assert new["ex_date"].to_list() == [date(2024, 3, 15)]


def test_the_same_seed_spoils_the_same_way(lake: Lake) -> None:
    one, two, other = (bars(PoisonedLake(lake, NOON, "garble", seed)) for seed in (1, 1, 2))
    assert one.equals(two)
    assert not one.equals(other)


def test_a_poisoned_lake_is_not_written_and_has_to_be_spoilt_somehow(lake: Lake) -> None:
    with pytest.raises(TypeError, match="not for writing"):
        PoisonedLake(lake, NOON, "delete").write(CORPORATE_ACTIONS, {}, CORPORATE_ACTIONS.empty())
    with pytest.raises(ValueError, match="'hope' is none of"):
        PoisonedLake(lake, NOON, "hope")


def test_a_computation_that_looks_back_has_no_leak_and_one_that_looks_ahead_is_named(lake: Lake) -> None:
    def backward(of: Lake) -> pl.DataFrame:
        rows = bars(of).sort(HISTORICAL_BARS.key)
        return rows.select(*HISTORICAL_BARS.key, "available_at", mean=pl.col("close").rolling_mean(5).over("symbol"))

    def ahead(of: Lake) -> pl.DataFrame:
        return backward(of).with_columns(next_mean=pl.col("mean").shift(-1).over("symbol"))

    assert leaks(backward, lake, [NOON], key=HISTORICAL_BARS.key) == []
    found = leaks(ahead, lake, [NOON], key=HISTORICAL_BARS.key, kinds=["scale"])
    # The last known bar of each symbol takes its value from the next.
    assert found == [Leak("scale", NOON, "next_mean", 2)]
    assert str(found[0]).startswith("next_mean of 2 rows known by 2024-03-14 16:00:00 UTC")


def test_rows_that_appear_or_vanish_are_a_difference_too() -> None:
    three, two = pl.DataFrame({"k": [1, 2, 3], "v": [1.0, 2.0, 3.0]}), pl.DataFrame({"k": [1, 3], "v": [1.0, 3.0]})
    assert differences(three, two, ["k"]) == [("row", 1)]
    assert differences(three, three.with_columns(v=pl.Series([1.0, None, 3.0])), ["k"]) == [("v", 1)]
    lists = pl.DataFrame({"k": [1], "v": [["a"]]})
    assert differences(lists, lists, ["k"]) == []
    assert differences(lists, pl.DataFrame({"k": [1], "v": [["b"]]}), ["k"]) == [("v", 1)]


def test_moments_follow_from_the_date_and_hold_both_ends_of_the_session() -> None:
    hours = session(DAY)
    moments = moments_of(hours.open, hours.close, 4, DAY)
    assert moments == moments_of(hours.open, hours.close, 4, DAY)
    assert (moments[0], moments[-1], len(set(moments))) == (hours.open, hours.close, 4)
