"""The lines of a vendor's CSV as typed columns, each value read on its own, so that a bad one can be named.

Which columns are needed and what makes a row good is the parsers' business; nothing here opens a file.
"""

from collections.abc import Sequence

import polars as pl

_LINES_AT_ONCE = 250_000


def is_blank() -> pl.Expr:
    """True for an empty line, which is no row."""
    return pl.col("line").is_null() | (pl.col("line").str.strip_chars() == "")


def from_lines(lines: pl.Series, header: Sequence[str], kinds: dict[str, pl.DataType]) -> pl.DataFrame:
    """Typed columns from raw lines, each value on its own: what cannot be read is null and named in `problem`.

    Adds line (the text), line_number (header = 1) and problem; empty lines are no rows.
    """
    pieces = []
    for offset in range(0, max(lines.len(), 1), _LINES_AT_ONCE):
        part = lines.slice(offset, _LINES_AT_ONCE)
        first = offset + 2
        numbered = pl.DataFrame({"line": part}).with_columns(
            line_number=pl.int_range(first, first + part.len(), dtype=pl.Int64)
        )
        pieces.append(_typed_piece(numbered.filter(~is_blank()), header, kinds))
    return pl.concat(pieces)


def _typed_piece(frame: pl.DataFrame, header: Sequence[str], kinds: dict[str, pl.DataType]) -> pl.DataFrame:
    width = len(header)
    split = frame.with_columns(fields=pl.col("line").str.split_exact(",", width))
    texts = {
        name: pl.col("fields")
        .struct.field(f"field_{header.index(name)}")
        .str.strip_chars(" \t\r")
        .str.replace(r'^"(.*)"$', "$1")
        for name in kinds
    }
    too_many = pl.col("fields").struct.field(f"field_{width}").is_not_null()
    too_few = pl.col("fields").struct.field(f"field_{width - 1}").is_null() if width > 1 else pl.lit(False)
    text = split.select(
        "line",
        "line_number",
        *(expr.replace("", None).alias(name) for name, expr in texts.items()),
        problem=pl.when(too_many | too_few).then(pl.lit("wrong_field_count")),
    )
    unreadable = [
        pl.when(pl.col(name).is_not_null() & pl.col(name).cast(kind, strict=False).is_null()).then(
            pl.format("{} is '{}'", pl.lit(name), pl.col(name).str.head(40))
        )
        for name, kind in kinds.items()
        if kind != pl.String()
    ]
    # Half a pair of quotes: the value goes on in the next line, or began in the one before.
    torn = pl.when(pl.col("ticker").str.contains('"', literal=True)).then(pl.format("ticker is '{}'", "ticker"))
    typed = text.with_columns(problem=pl.coalesce("problem", torn, *unreadable))
    return typed.select(
        *(pl.col(name).cast(kind, strict=False) for name, kind in kinds.items()), "line", "line_number", "problem"
    )
