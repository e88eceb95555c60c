"""Trade conditions: the vendor's names decide, every id of the reference is understood, and unknown ids are told."""

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
    read_conditions,
)
from strategy_pipeline.errors import DataError


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
