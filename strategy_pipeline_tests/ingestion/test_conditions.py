"""The reference of trade conditions beside the vendor's files: what is read, and that half a reference is none."""

import pytest

from strategy_pipeline.errors import DataError
from strategy_pipeline.ingestion.conditions import CONDITIONS_KEY, parse_trade_conditions


@pytest.fixture
def written(tmp_path, raw_file):
    def write(text: str):
        raw = raw_file(CONDITIONS_KEY, "")
        raw.path.write_text(text)
        return raw

    return write


def test_the_real_reference_is_read_by_the_names_of_its_columns(shared_data, written):
    found = parse_trade_conditions(written((shared_data / CONDITIONS_KEY).read_text()))
    # The data README: 33 ids from 201 to 248.
    assert (found.height, found["id"].min(), found["id"].max()) == (33, 201, 248)
    assert found.row(0) == (201, "Canceled")


def test_order_of_columns_and_a_byte_order_mark_do_not_matter(written):
    assert parse_trade_conditions(written("\ufeffname,id\nLate,204\nCanceled,201\n")).rows() == [
        (201, "Canceled"),
        (204, "Late"),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "names no condition"),
        ("id,name\n", "names no condition"),
        ("id,words\n201,Canceled\n", "Line 2 of .* has no id and name"),
        ("id,name\n201,Canceled\nx,Late\n", "Line 3 of .* has no id and name"),
        ("id,name\n201\n", "Line 2 of .* has no id and name"),
        ('id,name\n201,"Canc', "cannot be read as a table"),
    ],
)
def test_half_a_reference_is_none(written, text, sentence):
    with pytest.raises(DataError, match=sentence):
        parse_trade_conditions(written(text))
