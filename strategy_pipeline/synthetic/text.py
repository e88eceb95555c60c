"""The vendor's way of writing: prices from whole cents, text as a gzipped CSV that is the same with any library."""

import polars as pl

from strategy_pipeline.lake.files import gzip_stored

# Suffix of a price by its cents, as the vendor prints it: 13.9, 13.94, 14.
_CENTS = pl.Series(
    ["" if c == 0 else f".{c // 10}" if c % 10 == 0 else f".{c:02d}" for c in range(100)], dtype=pl.String
)


def dollars(column: str) -> pl.Expr:
    """A column of whole cents as the decimal text of $."""
    price = pl.col(column)
    return (price // 100).cast(pl.String) + pl.lit(_CENTS).gather(price % 100)


def csv_gz(header: str, lines: str) -> bytes:
    """A header and the lines below it as the bytes of a gzip file."""
    return gzip_stored(f"{header}\n{lines}\n".encode())
