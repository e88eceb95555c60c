"""The options of a run summed up: profit on three rungs of fills, and how much of it stands on model marks.

A rung is what share of the spread a fill pays beyond mid; the touch is the headline (backtesting.md section 6).
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from strategy_pipeline.backtest.option_marks import NBBO, Marks
from strategy_pipeline.backtest.option_runs import FILL_RUNGS, HEADLINE_RUNG, MOST_MODEL_SHARE, ladder_rung


@dataclass(frozen=True, slots=True)
class Rung:
    """Trades filled at mid plus or minus `spread_share` spreads: their profit, $, and mean return, % of premium."""

    spread_share: float
    pnl_usd: float
    mean_return_pct: float


@dataclass(frozen=True, slots=True)
class OptionSummary:
    """Option results of trades with a mark on both sides, and why the headline may be withheld.

    `model_share` is the share of legs whose mark is the model's; above 20 % the headline is withheld. `unmarked` counts
    trades without a mark on one side, which no rung holds.
    """

    trades: int
    unmarked: int
    model_share: float
    rungs: tuple[Rung, ...]

    @property
    def withheld(self) -> bool:
        """Whether too many legs stand on the model."""
        return self.model_share > MOST_MODEL_SHARE

    @property
    def headline(self) -> Rung | None:
        """The rung of the touch, None where it is withheld or nothing was marked."""
        if self.withheld or not self.trades:
            return None
        return next(rung for rung in self.rungs if rung.spread_share == HEADLINE_RUNG)


def summarise_options(trades: pl.DataFrame) -> OptionSummary | None:
    """The option results of rows of ``backtest_trades``; None for a run on the underlying."""
    if "contracts" not in trades.columns or not trades["contracts"].is_not_null().any():
        return None
    held = trades.filter(pl.col("contracts").is_not_null())
    marked = held.filter(pl.col("premium_entry_mid").is_not_null() & pl.col("premium_exit_mid").is_not_null())
    sources = pl.concat([marked["mark_source_entry"].cast(pl.String), marked["mark_source_exit"].cast(pl.String)])
    entry, exit = (_marks(marked, side) for side in ("entry", "exit"))
    contracts, multiplier = marked["contracts"].to_numpy(), marked["contract_multiplier"].to_numpy()
    rungs = []
    for share in FILL_RUNGS:
        _, _, pnl, returned = ladder_rung(entry, exit, contracts, multiplier, share)
        rungs.append(Rung(share, float(pnl.sum()), float(returned.mean()) if len(returned) else 0.0))
    model = float((sources == "model").sum()) / sources.len() if sources.len() else 0.0
    return OptionSummary(marked.height, held.height - marked.height, model, tuple(rungs) if marked.height else ())


def _marks(trades: pl.DataFrame, side: str) -> Marks:
    mid, spread = (trades[f"premium_{side}_{name}"].to_numpy() for name in ("mid", "spread"))
    return Marks(mid, spread, np.full(len(mid), NBBO, np.int8))
