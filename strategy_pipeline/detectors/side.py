"""The long and the short twin of a detector as one parameter: which sign, which columns, which words.

A family is written once for a Side; nothing in a family module may mention LONG or SHORT otherwise.
"""

from dataclasses import dataclass
from typing import Literal

import polars as pl

Direction = Literal["LONG", "SHORT"]


@dataclass(frozen=True)
class Side:
    """A trade direction; `sign` is +1 for LONG and -1 for SHORT (detectors.md section 1)."""

    direction: Direction
    sign: float

    def signed(self, value: pl.Expr) -> pl.Expr:
        """s x value: positive when it favours the trade."""
        return value * self.sign

    def strength(self, column: str) -> pl.Expr:
        """R: the 0-100 column as the long side sees it, 100 - x for SHORT."""
        return pl.col(column) if self.sign > 0 else 100.0 - pl.col(column)

    def pick(self, long_column: str, short_column: str) -> pl.Expr:
        """The column that plays the same part for this direction."""
        return pl.col(self.pick_name(long_column, short_column))

    def pick_name(self, long_name: str, short_name: str) -> str:
        """The name that plays the same part for this direction."""
        return long_name if self.sign > 0 else short_name

    def ahead(self, stem: str) -> pl.Expr:
        """The level in front of the trade: `<stem>_high` for LONG, `<stem>_low` for SHORT."""
        return self.pick(f"{stem}_high", f"{stem}_low")

    def behind(self, stem: str) -> pl.Expr:
        """The level behind the trade: `<stem>_low` for LONG, `<stem>_high` for SHORT."""
        return self.pick(f"{stem}_low", f"{stem}_high")

    @property
    def trend_with(self) -> pl.Expr:
        """Whether the intraday trend points the trade's way."""
        return pl.col("trend_state") == ("trending_up" if self.sign > 0 else "trending_down")

    @property
    def trend_against(self) -> pl.Expr:
        """Whether the intraday trend points against the trade."""
        return pl.col("trend_state") == ("trending_down" if self.sign > 0 else "trending_up")

    @property
    def flow_aligned(self) -> pl.Expr:
        """Whether order flow leans the trade's way."""
        return pl.col("flow_bias") == ("bullish" if self.sign > 0 else "bearish")

    @property
    def flow_opposed(self) -> pl.Expr:
        """Whether order flow leans against the trade."""
        return pl.col("flow_bias") == ("bearish" if self.sign > 0 else "bullish")

    def sweeps_over(self, count: int) -> pl.Expr:
        """Whether more than `count` sweeps were signed the trade's way."""
        return self.pick("flow_sweeps_bull", "flow_sweeps_bear") > count

    def blocks_over(self, count: int) -> pl.Expr:
        """Whether more than `count` blocks were signed the trade's way."""
        return self.pick("flow_blocks_bull", "flow_blocks_bear") > count


LONG = Side("LONG", 1.0)
SHORT = Side("SHORT", -1.0)
SIDES = (LONG, SHORT)
