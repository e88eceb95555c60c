"""Rules of the house that a reader relies on and a tool can check: who may touch a file, and who may join."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "strategy_pipeline"
REPOSITORY = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))

MAY_OPEN = ("lake/", "serving/", "defs/resources.py")
# An asset body longer than this hides a formula or a rule that belongs in a module of its own.
MOST_ASSET_LINES = 25
MAY_JOIN = ("lake/", "market/")

# Functions and methods that read or write a file or open a connection. `open` as a method is Path.open.
FILE_METHODS = {
    "open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "touch", "mkdir", "rmdir",
    "read_csv", "scan_csv", "read_csv_batched", "read_parquet", "scan_parquet", "read_parquet_metadata", "read_ipc",
    "scan_ipc", "read_ndjson", "scan_ndjson", "read_json", "read_database", "read_database_uri", "read_excel",
    "write_parquet", "sink_parquet", "sink_csv", "write_ipc", "sink_ipc", "write_ndjson", "sink_ndjson", "write_excel",
    "write_database", "write_html", "write_image", "savez", "load_workbook", "tofile", "fromfile",
    "copyfile", "copytree", "copy2", "rmtree", "mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryDirectory",
}  # fmt: skip
FILE_MODULES = {
    "boto3", "duckdb", "sqlite3", "psycopg", "adbc_driver_postgresql", "socket", "requests", "httpx", "shutil",
    "tempfile", "gzip",
}  # fmt: skip
JOIN_METHODS = {"join_asof", "join_where", "merge_sorted"}


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def imported_roots(path: Path) -> set[str]:
    roots: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.split(".")[0])
    return roots


def file_accesses(path: Path) -> list[str]:
    """Every place in a module that touches a file or a connection, as ``line: call``."""
    found = []
    for call in calls(path):
        target = call.func
        owner = target.value.id if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) else ""
        if isinstance(target, ast.Name) and target.id == "open":
            found.append(f"{call.lineno}: open()")
        elif isinstance(target, ast.Attribute) and target.attr in FILE_METHODS and owner != "files":
            found.append(f"{call.lineno}: .{target.attr}()")
        elif isinstance(target, ast.Attribute) and target.attr == "write_csv" and (call.args or call.keywords):
            found.append(f"{call.lineno}: .write_csv(target)")
    return found + [f"import {name}" for name in sorted(imported_roots(path) & FILE_MODULES)]


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_only_the_lake_the_serving_copy_and_the_resources_touch_files(path):
    if not relative(path).startswith(MAY_OPEN):
        assert file_accesses(path) == []


def test_the_file_rule_sees_what_it_forbids(tmp_path):
    guilty = tmp_path / "guilty.py"
    guilty.write_text(
        "import shutil\nimport polars as pl\nfrom pathlib import Path\n"
        "open('a')\nPath('a').read_text()\npl.read_csv('a')\npl.scan_parquet('a')\nframe.write_csv('a')\n"
        "files.read_bytes(path)\ntext.replace('a', 'b')\nframe.write_csv()\n"
    )
    assert file_accesses(guilty) == [
        "4: open()",
        "5: .read_text()",
        "6: .read_csv()",
        "7: .scan_parquet()",
        "8: .write_csv(target)",
        "import shutil",
    ]


def frame_joins(path: Path) -> list[str]:
    """Every join of frames in a module; ``", ".join(parts)`` takes one plain argument and is not meant."""
    found = []
    for call in calls(path):
        if not isinstance(call.func, ast.Attribute):
            continue
        plain_text = isinstance(call.func.value, ast.Constant | ast.JoinedStr)
        options = {keyword.arg for keyword in call.keywords}
        of_frames = call.func.attr == "join" and not plain_text and bool(options & {"on", "left_on", "how"})
        if of_frames or call.func.attr in JOIN_METHODS:
            found.append(f"{call.lineno}: .{call.func.attr}()")
    return found


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_tables_meet_only_in_the_backward_join_of_the_lake(path):
    if not relative(path).startswith(MAY_JOIN):
        assert frame_joins(path) == []


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_only_the_dagster_folder_knows_dagster(path):
    if not relative(path).startswith(("defs/", "definitions.py")):
        assert not {name for name in imported_roots(path) if name.startswith("dagster")}


def asset_bodies(path: Path) -> dict[str, int]:
    """Lines of the body of every asset of a module."""
    functions = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))
    return {
        one.name: one.end_lineno - one.body[0].lineno + 1
        for one in functions
        if any(ast.unparse(mark).startswith(("dg.asset(", "dg.multi_asset(")) for mark in one.decorator_list)
    }


def test_an_asset_reads_calls_and_writes_in_few_lines():
    found = {name: lines for path in MODULES for name, lines in asset_bodies(path).items()}
    assert len(found) > 20
    assert {name: lines for name, lines in found.items() if lines > MOST_ASSET_LINES} == {}


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_nothing_reads_the_environment_outside_settings(path):
    if relative(path) != "settings.py":
        source = path.read_text()
        assert not re.search(r"os\.environ|os\.getenv|\bgetenv\(", source)


@pytest.mark.parametrize("path", [module for module in MODULES if module.stat().st_size], ids=relative)
def test_every_module_says_what_belongs_in_it(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-bench.lock"])
def test_a_lock_file_names_no_registry(name):
    lock = (REPOSITORY / name).read_text()
    assert "://" not in lock
    assert "--index-url" not in lock
    assert "--hash=sha256:" in lock
