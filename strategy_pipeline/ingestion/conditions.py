"""The vendor's reference of trade conditions from a CSV file beside its files; over REST it is rest_reference.py's.

What a condition means is not known here.
"""

import csv
import io

import polars as pl

from strategy_pipeline.errors import DamagedFileError, DataError
from strategy_pipeline.ingestion.mirror import RawFile
from strategy_pipeline.lake import files

CONDITIONS_KEY = "reference/option_trade_conditions.csv"
_COLUMNS = pl.Schema({"id": pl.Int64(), "name": pl.String()})


def parse_trade_conditions(raw: RawFile) -> pl.DataFrame:
    """id and name of every condition of the file, by id; further columns are passed over.

    Raises DataError when the file cannot be read, lacks a column, or an id is no whole number: a print must not be
    classified by half a reference.
    """
    try:
        lines = list(csv.DictReader(io.StringIO(files.read_text(raw.path).removeprefix("\ufeff")), strict=True))
    except (DamagedFileError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{raw.key} cannot be read as a table ({error}): fetch it again.") from None
    rows = []
    for number, line in enumerate(lines, start=2):
        code, name = (line.get(column) for column in _COLUMNS)
        if code is None or name is None or not code.strip().isdecimal():
            raise DataError(f"Line {number} of {raw.key} has no id and name of a condition: fetch the file again.")
        rows.append((int(code), name.strip()))
    if not rows:
        raise DataError(f"{raw.key} names no condition: fetch it again.")
    return pl.DataFrame(rows, schema=_COLUMNS, orient="row").sort("id")
