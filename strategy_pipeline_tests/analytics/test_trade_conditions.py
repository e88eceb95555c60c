"""Trade conditions: the vendor's names decide, every id of the reference is understood, and unknown ids are told."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from strategy_pipeline.analytics.trade_conditions import (
    AUCTION,
    CANCEL,
    CROSS,
    EXTENDED,
    LATE,
    MULTI_LEG,
    REGULAR,
    SWEEP,
    UNKNOWN,
    conditions_in_use,
    conditions_table,
    read_conditions,
    with_version,
)
from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import TRADE_CONDITIONS


def reference(shared_data) -> pl.DataFrame:
    return pl.read_csv(shared_data / "reference" / "option_trade_conditions.csv")


def test_the_vendors_names_give_the_treatments_of_the_specification(shared_data):
    # quant_methods.md section 10.
    expected = {
        CANCEL: [201, 203, 205, 207],
        LATE: [202, 204, 206, 208],
        REGULAR: [209],
        AUCTION: [210, 227, 231],
        SWEEP: [219],
        AUCTION | SWEEP: [228],
        CROSS: [229, 230],
        MULTI_LEG: [232, 233, 234, 235, 236, 237, 238, 239, 240, 241, 242, 243, 244, 245, 246],
        EXTENDED: [247, 248],
    }
    found = read_conditions(reference(shared_data)).bits_by_id
    assert found == {one: bits for bits, ids in expected.items() for one in ids}


def test_the_version_changes_with_the_reference_and_not_with_its_order(shared_data):
    plain = reference(shared_data)
    version = read_conditions(plain).version
    assert read_conditions(plain.reverse()).version == version
    assert read_conditions(plain.with_columns(pl.col("name").str.replace("Late$", "Very Late"))).version != version
    assert read_conditions(plain.head(32)).version != version


def test_a_print_has_the_bits_of_all_its_conditions(shared_data):
    conditions = read_conditions(reference(shared_data))
    ids = pl.Series("condition_ids", [[209], [], [219, 229], None, [228]], dtype=pl.List(pl.Int32))
    assert conditions.bits_of(ids).tolist() == [REGULAR, REGULAR, SWEEP | CROSS, REGULAR, AUCTION | SWEEP]
    assert conditions.bits_of(ids.clear()).tolist() == []


def test_an_id_that_the_reference_lacks_or_does_not_explain_is_unknown_and_counted(shared_data):
    odd = pl.DataFrame({"id": [300], "name": ["Quantum Entangled Trade"]})
    conditions = read_conditions(pl.concat([reference(shared_data).select("id", "name"), odd]))
    ids = pl.Series("condition_ids", [[209, 999], [999], [300]], dtype=pl.List(pl.Int32))
    assert conditions.bits_of(ids).tolist() == [UNKNOWN, UNKNOWN, UNKNOWN]
    assert conditions.unknown_ids(ids) == {300: 1, 999: 2}


def test_a_reference_that_cannot_be_one_is_refused():
    with pytest.raises(DataError, match="name"):
        read_conditions(pl.DataFrame({"id": [1]}))
    with pytest.raises(DataError, match="rows"):
        read_conditions(pl.DataFrame(schema={"id": pl.Int64, "name": pl.String}))
    with pytest.raises(DataError, match="twice"):
        read_conditions(pl.DataFrame({"id": [1, 1], "name": ["Late", "Canceled"]}))


MORNING, EVENING = datetime(2024, 6, 3, 12, tzinfo=UTC), datetime(2024, 6, 3, 20, tzinfo=UTC)


def version(names: dict[int, str], at: datetime) -> pl.DataFrame:
    return conditions_table(pl.DataFrame({"id": list(names), "name": list(names.values())}), at, "flat_file")


def test_a_version_of_the_reference_is_a_table_with_its_meanings():
    rows = version({228: "Single Leg Auction ISO", 209: "Automatic Execution", 300: "Something New"}, MORNING)
    conform(TRADE_CONDITIONS, rows)
    assert rows.select("condition_id", "meanings").rows() == [
        (209, []),
        (228, ["auction", "sweep"]),
        (300, ["unknown"]),
    ]


def test_the_version_published_last_is_in_use_and_the_others_stay():
    first, second = version({209: "Automatic Execution"}, MORNING), version({209: "Canceled"}, EVENING)
    both = with_version(first, second)
    conform(TRADE_CONDITIONS, both)
    assert both["version"].n_unique() == 2
    assert conditions_in_use(both).bits_by_id == {209: CANCEL}
    # The same version again changes nothing, not even the moment.
    assert with_version(both, version({209: "Canceled"}, EVENING + timedelta(days=1))).equals(both)
    # The first one published again is in use again, once.
    again = with_version(both, version({209: "Automatic Execution"}, EVENING + timedelta(days=2)))
    assert conditions_in_use(again).bits_by_id == {209: REGULAR}
    assert again.height == 2


def test_no_version_at_all_is_an_error():
    with pytest.raises(DataError, match="lacks rows"):
        conditions_in_use(TRADE_CONDITIONS.empty())
