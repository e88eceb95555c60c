"""The 520 reference options of the shared data, read with types; no test lives here."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

TERMS = ("spot", "strike", "T_years", "rate", "div_yield", "vol")


def reference_options(shared_data: Path, style: str) -> pl.DataFrame:
    """Rows of one exercise style; Greeks that the table leaves empty are null."""
    table = pl.read_csv(shared_data / "reference" / "option_greeks_quantlib.csv", infer_schema_length=None)
    return table.filter(pl.col("style") == style)


def numbers(table: pl.DataFrame, name: str) -> npt.NDArray[np.float64]:
    return table.get_column(name).cast(pl.Float64).fill_null(float("nan")).to_numpy()


def terms(table: pl.DataFrame) -> list[npt.NDArray[np.float64]]:
    return [numbers(table, name) for name in TERMS]


def calls(table: pl.DataFrame) -> npt.NDArray[np.bool_]:
    return (table.get_column("contract_type") == "call").to_numpy()
