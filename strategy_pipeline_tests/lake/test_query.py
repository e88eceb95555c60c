"""SQL over frames sees what it is handed and nothing else."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from strategy_pipeline.errors import ContractError
from strategy_pipeline.lake.query import run_sql

FRAME = pl.DataFrame(
    {
        "session": [date(2024, 1, 2), date(2024, 1, 3)],
        "known": pl.Series([datetime(2024, 1, 2, 21, tzinfo=UTC)] * 2, dtype=pl.Datetime("us", "UTC")),
        "word": pl.Series(["a", None], dtype=pl.Enum(["a", "b"])),
        "flags": [["x"], []],
    }
)


def test_rows_come_back_with_their_instants_words_and_lists():
    found = run_sql(
        "SELECT known + INTERVAL 15 MINUTE AS later, word, flags FROM bars ORDER BY session", {"bars": FRAME}
    )
    assert found.rows() == [
        (datetime(2024, 1, 2, 21, 15, tzinfo=UTC), "a", ["x"]),
        (datetime(2024, 1, 2, 21, 15, tzinfo=UTC), None, []),
    ]
    assert found.schema["later"] == pl.Datetime("us", "UTC")


def test_values_are_bound_and_never_become_part_of_the_statement():
    found = run_sql("SELECT count(*) AS n FROM bars WHERE session > $day", {"bars": FRAME}, {"day": date(2024, 1, 2)})
    assert found["n"].to_list() == [1]
    hostile = "a'; DROP TABLE bars; --"
    assert run_sql("SELECT $word AS word", {"bars": FRAME}, {"word": hostile})["word"].to_list() == [hostile]


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELECT * FROM read_csv('/etc/hostname')", "file system operations are disabled"),
        ("SELECT * FROM nothing", "Table with name nothing does not exist"),
        ("SELECT wrong FROM bars", "wrong"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM bars WHERE session = $day", "day"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(sql, sentence):
    with pytest.raises(ContractError, match=sentence) as caught:
        run_sql(sql, {"bars": FRAME})
    assert "\n" not in str(caught.value)


def test_no_frame_outlives_its_call():
    run_sql("SELECT 1 AS one", {"bars": FRAME})
    with pytest.raises(ContractError, match="bars does not exist"):
        run_sql("SELECT * FROM bars", {})
