"""A SQL model is read with all it declares, and what is wrong with a file is said in one sentence."""

import polars as pl
import pytest

from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.tables import BACKTEST_TRADES, MARKET_BREADTH
from strategy_pipeline.sql_models.declared import broken_rows
from strategy_pipeline.sql_models.lineage import Scan, column_lineage, dependencies, scans
from strategy_pipeline.sql_models.model import FOLDER, lake_tables, load_models
from strategy_pipeline.sql_models.reference import REFERENCE_TABLES
from strategy_pipeline.sql_models.run import lineage_of, undeclared_inputs
from strategy_pipeline_tests.sql_models.crafted import HEADER, SELECT, counting_model

MODELS = load_models()


def test_a_file_becomes_a_model_with_its_inputs_columns_tests_and_bound_parameters():
    model = counting_model()
    assert (model.name, model.group, model.by_session, model.look_back_sessions) == ("bar_counts", "market", True, 1)
    assert model.inputs == ("historical_bars",)
    assert "BETWEEN $session_start AND $session_end" in model.sql
    assert model.column_docs["bars"] == "Bars, count"
    assert model.table.polars_schema == pl.Schema(
        {"session": pl.Date, "bars": pl.Int32, "word": pl.Enum(["few", "many"])}
    )
    assert [one.name for one in model.tests] == [
        "session_not_null", "session_unique", "bars_between", "word_accepted_values",
    ]  # fmt: skip


def test_the_code_version_changes_with_the_file():
    assert counting_model().code_version == counting_model().code_version
    assert counting_model().code_version != counting_model(select=SELECT + "-- one more word\n").code_version


@pytest.mark.parametrize(
    ("header", "select", "sentence"),
    [
        ("", SELECT, "does not begin with a header"),
        ("/* [ */", SELECT, "the header is not YAML"),
        ("/* */", SELECT, "the header is empty"),
        (HEADER.replace("group: market\n", ""), SELECT, "the header lacks group"),
        (HEADER.replace("group:", "owner: me\ngroup:"), SELECT, "unknown entries owner"),
        (HEADER.replace("doc: Exchange date, ", ""), SELECT, "column session has no doc"),
        (HEADER.replace("type: date", "type: day"), SELECT, "column session needs a type"),
        (HEADER.replace("not_null", "never_null"), SELECT, "'never_null' on session is no test"),
        (HEADER.replace("[1, 2]", "[1]"), SELECT, "is no test"),
        (HEADER.replace("not_null, unique", "unique, unique"), SELECT, "session_unique is declared twice"),
        (HEADER.replace("by: session", "by: week"), SELECT, "partitioning is by: session"),
        (HEADER.replace("sessions: 1", "sessions: -1"), SELECT, "look_back_sessions is a whole number"),
        (HEADER, SELECT.replace("{{ session_start }}", "DATE '2020-01-01'"), "names session_start and session_end"),
        (HEADER, SELECT.replace("session_start", "first_day"), "'first_day' is undefined"),
        (HEADER, SELECT.replace("'historical_bars'", "'x; DROP TABLE y'"), "is not the name of a table"),
        (HEADER, SELECT.replace("{{ ref", "{{ ''.__class__.mro() and ref"), "unsafe"),
    ],
)
def test_a_malformed_file_is_one_sentence_that_names_the_model(header, select, sentence):
    with pytest.raises(DataError, match=sentence) as caught:
        counting_model(header, select)
    assert "SQL model bar_counts" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_of_a_lake_table_has_the_columns_of_its_contract():
    header = HEADER.replace("{type: date, key: true, doc", "{doc")
    with pytest.raises(DataError, match="its columns differ from the lake's contract in advance_decline_diff"):
        counting_model(header, name="market_breadth")


def test_models_are_loaded_after_those_they_read(tmp_path):
    (tmp_path / "staging").mkdir()
    (tmp_path / "marts").mkdir()
    (tmp_path / "marts" / "a.sql").write_text(HEADER + SELECT.replace("historical_bars", "b"))
    (tmp_path / "staging" / "b.sql").write_text(HEADER + SELECT)
    assert list(load_models(tmp_path)) == ["b", "a"]
    (tmp_path / "staging" / "b.sql").write_text(HEADER + SELECT.replace("historical_bars", "a"))
    with pytest.raises(DataError, match="it reads itself through"):
        load_models(tmp_path)
    (tmp_path / "staging" / "b.sql").write_text(HEADER + SELECT.replace("historical_bars", "nothing"))
    with pytest.raises(DataError, match=r"ref\(\) names nothing, which no contract and no model describes"):
        load_models(tmp_path)
    (tmp_path / "staging" / "a.sql").write_text(HEADER + SELECT)
    with pytest.raises(DataError, match="Two SQL models are named a"):
        load_models(tmp_path)


def test_dependencies_are_the_tables_outside_the_with_clauses():
    assert dependencies("WITH a AS (SELECT * FROM b) SELECT * FROM a JOIN c USING (x), (SELECT 1 FROM d)") == {
        "b", "c", "d",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELECT 1; SELECT 2", "something else than one SELECT"),
        ("DROP TABLE a", "something else than one SELECT"),
        ("SELECT FROM WHERE", "cannot be parsed"),
    ],
)
def test_a_file_holds_one_select(sql, sentence):
    with pytest.raises(DataError, match=sentence):
        dependencies(sql)


SCHEMAS = {"t": pl.Schema({"x": pl.Int64(), "y": pl.Int64(), "z": pl.Int64()}), "u": pl.Schema({"x": pl.Int64()})}


def test_lineage_goes_through_with_clauses_windows_and_expressions_to_the_column():
    sql = """
        WITH a AS (SELECT x, y + 1 AS more, sum(z) OVER (PARTITION BY x) AS total FROM t)
        SELECT a.x, a.more * a.total AS product, count(*) AS n, u.x AS other FROM a JOIN u ON a.x = u.x GROUP BY ALL
    """
    assert column_lineage(sql, SCHEMAS) == {
        "x": (("t", "x"),),
        "product": (("t", "x"), ("t", "y"), ("t", "z")),
        "n": (),
        "other": (("u", "x"),),
    }


def test_an_unknown_column_is_an_error_before_anything_runs():
    with pytest.raises(DataError, match="cannot be resolved"):
        column_lineage("SELECT wrong FROM t", SCHEMAS)


def test_only_named_columns_and_rows_that_can_matter_are_read():
    one = scans("WITH a AS (SELECT x FROM t WHERE y = 1 AND z IS NOT NULL AND x > y) SELECT x FROM a", SCHEMAS)
    assert one["t"] == Scan(("x", "y", "z"), "(y = 1) AND (NOT z IS NULL)")
    # A second use of the table may need other rows, and so may the other side of a join.
    assert scans("SELECT x FROM t WHERE y = 1 UNION ALL SELECT x FROM t", SCHEMAS)["t"].where is None
    assert scans("SELECT t.x FROM t LEFT JOIN u ON t.x = u.x WHERE u.x = 1", SCHEMAS)["u"].where is None
    assert scans("SELECT x FROM t WHERE y = 1 OR x = 2", SCHEMAS)["t"].where is None


def test_declared_tests_count_the_rows_that_break_them():
    frame = pl.DataFrame({"session": [1, 1, None, 2], "bars": [1, 2, 3, None], "word": ["few", "many", "few", None]})
    assert broken_rows(counting_model().tests, frame) == {
        "session_not_null": 1, "session_unique": 2, "bars_between": 1, "word_accepted_values": 1,
    }  # fmt: skip


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_model_names_all_its_inputs_and_describes_every_column(model):
    assert undeclared_inputs(model) == set()
    assert list(lineage_of(model, MODELS)) == list(model.table.polars_schema)
    assert set(model.column_docs) == set(model.table.polars_schema)
    assert model.tests


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_column_is_described_in_the_same_words_everywhere(model):
    if model.name in lake_tables():
        assert dict(model.column_docs) == lake_tables()[model.name].column_docs


def test_the_models_of_the_project_read_what_the_graph_says():
    assert FOLDER.name == "dbt_like_sql"
    reads = {name: set(model.inputs) - set(REFERENCE_TABLES) for name, model in MODELS.items()}
    assert reads["market_breadth"] == {"historical_bars", "corporate_actions"}
    assert reads["detector_leaderboard"] == {"backtest_trades"}
    assert reads["iv_percentile_cache"] == {"atm_iv_daily"}
    ranks = lineage_of(MODELS["iv_percentile_cache"])
    assert ("atm_iv_daily", "cm30_atm_iv") in ranks["iv_regime"]
    assert ranks["vrp_var"] == (("atm_iv_daily", "cm30_atm_iv"), ("atm_iv_daily", "rv21"))
    breadth = lineage_of(MODELS["market_breadth"])
    assert ("historical_bars", "close") in breadth["advancers"]
    assert ("corporate_actions", "split_ratio") in breadth["pct_above_sma50"]
    assert breadth["quality"] == (("historical_bars", "quality"),)
    assert MODELS["market_breadth"].table is MARKET_BREADTH
    assert lineage_of(MODELS["detector_leaderboard"])["profit_factor"] == ((BACKTEST_TRADES.name, "r_net"),)


def test_the_example_of_the_guide_is_a_model():
    guide = (FOLDER.parent / "docs" / "sql_models.md").read_text()
    model = counting_model("", guide.split("```sql\n")[1].split("```")[0])
    assert model.table.polars_schema == pl.Schema({"session": pl.Date, "bars": pl.Int64})
    assert undeclared_inputs(model) == set()
