"""A SQL model: one file of ``dbt_like_sql/``, a YAML header comment and one SELECT, read and checked as it is loaded.

The header names description, group, partitioning, columns and tests. What a SELECT depends on to the column is in
lineage.py, running it in run.py.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import new_class
from typing import Any

import dataframely as dy
import yaml

from strategy_pipeline.errors import DataError
from strategy_pipeline.lake import files, tables
from strategy_pipeline.lake.tables import Table, count, flag, instant, number, one_of, text, words
from strategy_pipeline.sql_models.declared import DeclaredTest, read_tests
from strategy_pipeline.sql_models.reference import REFERENCE_TABLES

FOLDER = Path(__file__).resolve().parents[2] / "dbt_like_sql"
LAYERS = ("staging", "intermediate", "marts")
PARAMETERS = ("session_start", "session_end")

_HEADER = re.compile(r"\s*/\*(?P<header>.*?)\*/(?P<select>.*)\Z", re.DOTALL)
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_HEADER_KEYS = {"description", "group", "partitioning", "columns", "tests", "sort_by"}
_COLUMN_KEYS = {"doc", "type", "values", "nullable", "key", "tests"}
Header = Mapping[str, Any]


@dataclass(frozen=True)
class SqlModel:
    """A table that one SELECT makes.

    `inputs`: names in ``ref()``, in order of appearance. `look_back_sessions`: how many sessions before the first one
    asked for the inputs must reach. `sql`: the SELECT with bound parameters ``$session_start`` and ``$session_end``.
    """

    name: str
    layer: str
    description: str
    group: str
    look_back_sessions: int
    table: Table
    column_docs: Mapping[str, str]
    tests: tuple[DeclaredTest, ...]
    inputs: tuple[str, ...]
    sql: str
    source: str

    @property
    def by_session(self) -> bool:
        """Whether the table is cut by session; otherwise it is one file."""
        return self.table.partition_by == ("session",)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Which of the bounds the SELECT names."""
        return tuple(name for name in PARAMETERS if re.search(rf"\${name}\b", self.sql))

    @cached_property
    def code_version(self) -> str:
        """Changes with every byte of the file."""
        return f"sql-{hashlib.sha256(self.source.encode()).hexdigest()[:12]}"


def lake_tables() -> dict[str, Table]:
    """Every contract of the lake by its table's name."""
    return {one.name: one for one in vars(tables).values() if isinstance(one, Table)}


def load_models(folder: Path = FOLDER) -> dict[str, SqlModel]:
    """Every model below `folder` by name, each after the models it reads.

    Raises DataError for a malformed file, a name given twice, an input nobody makes, or models that read each other.
    """
    found: dict[str, SqlModel] = {}
    for layer in LAYERS:
        for one in files.list_files(folder / layer, ".sql") if (folder / layer).is_dir() else []:
            name = Path(one.name).stem
            if name in found:
                raise DataError(f"Two SQL models are named {name}: rename one of the files.")
            found[name] = parse_model(name, layer, files.read_text(folder / layer / one.name))
    known = {*lake_tables(), *REFERENCE_TABLES, *found}
    for model in found.values():
        if unknown := sorted(set(model.inputs) - known):
            raise _fault(model.name, f"ref() names {', '.join(unknown)}, which no contract and no model describes")
    return _in_order(found)


def input_tables(model: SqlModel, models: Mapping[str, SqlModel]) -> dict[str, Table]:
    """The lake tables a model reads, by name."""
    known = {**lake_tables(), **{name: one.table for name, one in models.items()}}
    return {name: known[name] for name in model.inputs if name not in REFERENCE_TABLES}


def parse_model(name: str, layer: str, source: str) -> SqlModel:
    """A model from the text of its file; raises DataError naming the model and what is wrong with it."""
    if not _NAME.match(name):
        raise DataError(f"A SQL model is named {name!r}: use small letters, digits and underscores.")
    parts = _HEADER.match(source)
    if not parts:
        raise _fault(name, "it does not begin with a header between /* and */")
    header = _read_header(name, parts["header"])
    columns = _read_columns(name, header)
    sql, inputs = _render(name, parts["select"].strip().rstrip(";"))
    by_session, look_back = _read_partitioning(name, header)
    table = _contract(name, header, columns, by_session)
    tests = read_tests(
        name, {column: said.get("tests", []) for column, said in columns.items()}, header.get("tests", [])
    )
    model = SqlModel(
        name,
        layer,
        " ".join(str(header["description"]).split()),
        str(header["group"]),
        look_back,
        table,
        {column: str(said["doc"]) for column, said in columns.items()},
        tests,
        inputs,
        sql,
        source,
    )
    if by_session != (model.parameters == PARAMETERS) or (not by_session and model.parameters):
        raise _fault(name, "a model cut by session names session_start and session_end, any other names neither")
    return model


def _fault(name: str, what: str) -> DataError:
    return DataError(f"SQL model {name}: {what}.")


def _read_header(name: str, written: str) -> Header:
    try:
        header = yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise _fault(name, f"the header is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(header, dict):
        raise _fault(name, "the header is empty")
    if unknown := sorted(set(header) - _HEADER_KEYS):
        raise _fault(name, f"the header has unknown entries {', '.join(map(str, unknown))}")
    if absent := [key for key in ("description", "group", "columns") if not header.get(key)]:
        raise _fault(name, f"the header lacks {', '.join(absent)}")
    return header


def _read_columns(name: str, header: Header) -> dict[str, Header]:
    columns = header["columns"]
    if not isinstance(columns, dict):
        raise _fault(name, "columns is a mapping of column names")
    for column, said in columns.items():
        if not isinstance(said, dict) or not said.get("doc"):
            raise _fault(name, f"column {column} has no doc")
        if unknown := sorted(set(said) - _COLUMN_KEYS):
            raise _fault(name, f"column {column} has unknown entries {', '.join(map(str, unknown))}")
    return columns


def _read_partitioning(name: str, header: Header) -> tuple[bool, int]:
    """Whether the model is cut by session, and how far its inputs reach back."""
    said = header.get("partitioning") or {}
    if not isinstance(said, dict) or set(said) - {"by", "look_back_sessions"} or said.get("by", "session") != "session":
        raise _fault(name, "partitioning is by: session with look_back_sessions, or absent")
    look_back = said.get("look_back_sessions", 0)
    if not isinstance(look_back, int) or look_back < 0:
        raise _fault(name, "look_back_sessions is a whole number, 0 or more")
    return "by" in said, look_back


def _render(name: str, template: str) -> tuple[str, tuple[str, ...]]:
    """The SELECT with names and parameters in place, and the names it took through ``ref``."""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import SandboxedEnvironment

    inputs: dict[str, None] = {}

    def ref(table: str) -> str:
        if not isinstance(table, str) or not _NAME.match(table):
            raise _fault(name, f"ref({table!r}) is not the name of a table")
        inputs[table] = None
        return table

    # Values never enter the text: the bounds become parameters that DuckDB binds.
    given = {parameter: f"${parameter}" for parameter in PARAMETERS}
    try:
        environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
        sql = environment.from_string(template).render(ref=ref, **given)
    except TemplateError as error:
        raise _fault(name, f"the template cannot be rendered ({error})") from None
    return sql, tuple(inputs)


def _contract(name: str, header: Header, columns: Mapping[str, Header], by_session: bool) -> Table:
    """The lake's contract of that name, else one made from the types in the header."""
    partition_by = ("session",) if by_session else ()
    held = lake_tables().get(name)
    if held is None:
        made = {column: _column(name, column, said) for column, said in columns.items()}
        schema = new_class(f"{name}_schema", (dy.Schema,), exec_body=lambda body: body.update(made))
        key = tuple(column for column, said in columns.items() if said.get("key"))
        return Table(name, schema, partition_by, tuple(header.get("sort_by", key)), str(header["description"]))
    if set(columns) != set(held.polars_schema):
        differing = sorted(set(columns) ^ set(held.polars_schema))
        raise _fault(name, f"its columns differ from the lake's contract in {', '.join(differing)}")
    if held.partition_by != partition_by:
        raise _fault(name, f"the lake cuts the table by {held.partition_by}")
    return held


def _column(name: str, column: str, said: Header) -> Any:
    """A contract column from its entry in the header; types are those of quant_methods.md section 16."""
    doc, key = str(said["doc"]), bool(said.get("key", False))
    nullable = bool(said.get("nullable", not key))
    makers = {
        "str": lambda: text(doc, nullable=nullable, primary_key=key),
        "date": lambda: dy.Date(nullable=nullable, primary_key=key, metadata={"doc": doc}),
        "ts": lambda: instant(doc, nullable=nullable, primary_key=key),
        "f64": lambda: number(doc, nullable=nullable),
        "i32": lambda: count(doc, nullable=nullable),
        "i64": lambda: dy.Int64(nullable=nullable, metadata={"doc": doc}),
        "bool": lambda: flag(doc, nullable=nullable),
        "enum": lambda: one_of(tuple(said["values"]), doc, nullable=nullable, primary_key=key),
        "str[]": lambda: words(doc),
    }
    if said.get("type") not in makers:
        raise _fault(name, f"column {column} needs a type among {', '.join(makers)}")
    if said["type"] == "enum" and not said.get("values"):
        raise _fault(name, f"column {column} is an enum without values")
    return makers[said["type"]]()


def _in_order(models: Mapping[str, SqlModel]) -> dict[str, SqlModel]:
    """The models, each after those it reads."""
    ordered: dict[str, SqlModel] = {}

    def place(name: str, waiting: Iterable[str]) -> None:
        if name in waiting:
            raise _fault(name, f"it reads itself through {', '.join(waiting)}")
        for one in models[name].inputs:
            if one in models and one not in ordered:
                place(one, [*waiting, name])
        ordered[name] = models[name]

    for name in models:
        if name not in ordered:
            place(name, [])
    return ordered
