"""The pictures of option assets on their newest partition: smiles, gamma by strike, gamma along the price.

How a picture is drawn is option_plots.py's business; here is decided of which symbols and which rows.
"""

from typing import Any

import dagster as dg
import polars as pl

from strategy_pipeline.analytics.gamma_exposure import gamma_profile
from strategy_pipeline.backtest.drawing import markdown_image
from strategy_pipeline.defs.option_plots import gamma_curves, gex_by_strike, smiles

# A page with more pictures than this is not looked at.
MOST_SYMBOLS = 6


def chain_pictures(chain: pl.DataFrame) -> dict[str, Any]:
    """The smiles of the symbols with most volatilities; `chain` has each symbol's last snapshot of a session."""
    return {
        f"smile of {symbol}": _image(smiles(chain.filter(pl.col("symbol") == symbol)), f"smile of {symbol}")
        for symbol in _most(chain, pl.col("iv").is_not_null())
    }


def gamma_pictures(exposure: pl.DataFrame, chain: pl.DataFrame, flow: pl.DataFrame | None) -> dict[str, Any]:
    """Gamma by strike and along the price of the symbols with most priced contracts.

    exposure: rows of gamma_exposure_snapshots; chain: the chains they were made from, each symbol's last snapshot; flow
    as analytics.gamma_exposure takes it.
    """
    found = {}
    for symbol in _most(chain, pl.col("gamma").is_not_null() & (pl.col("open_interest") > 0)):
        of_symbol = exposure.filter(pl.col("symbol") == symbol)
        profile = gamma_profile(chain.filter(pl.col("symbol") == symbol), flow=flow)
        found[f"gamma by strike of {symbol}"] = _image(gex_by_strike(of_symbol), f"gamma by strike of {symbol}")
        found[f"gamma along the price of {symbol}"] = _image(
            gamma_curves(profile, of_symbol), f"gamma along the price of {symbol}"
        )
    return found


def _most(chain: pl.DataFrame, counts: pl.Expr) -> list[str]:
    """The symbols with most rows that count, the first of them in alphabetical order."""
    ranked = chain.group_by("symbol").agg(n=counts.sum()).filter(pl.col("n") > 0)
    return sorted(ranked.sort("n", "symbol", descending=[True, False])["symbol"].to_list()[:MOST_SYMBOLS])


def _image(svg: str, says: str) -> dg.MetadataValue:
    return dg.MetadataValue.md(markdown_image(svg, says))
