"""Option results of a run: three rungs of fills side by side, and the headline that too many model marks withhold."""

import polars as pl
import pytest

from strategy_pipeline.backtest.option_summary import summarise_options
from strategy_pipeline_tests.backtest.trade_frames import trades_of


def held(*sources: tuple[str | None, str | None]) -> pl.DataFrame:
    """Trades of 2 contracts bought at 3.90/4.10 and sold at 5.00/5.30 (backtesting.md section 14, case 16)."""
    n = len(sources)
    return trades_of([0.5] * n).with_columns(
        contracts=pl.lit(2, pl.Int64),
        contract_multiplier=pl.lit(100.0),
        mark_source_entry=pl.Series([entry for entry, _ in sources], dtype=pl.String),
        mark_source_exit=pl.Series([exit for _, exit in sources], dtype=pl.String),
        premium_entry_mid=pl.Series([None if entry is None else 4.0 for entry, _ in sources], dtype=pl.Float64),
        premium_exit_mid=pl.Series([None if exit is None else 5.15 for _, exit in sources], dtype=pl.Float64),
        premium_entry_spread=pl.lit(0.2),
        premium_exit_spread=pl.lit(0.3),
    )


def test_the_rungs_stand_side_by_side() -> None:
    found = summarise_options(held(("nbbo", "nbbo"), ("nbbo", "print")))
    assert [rung.pnl_usd for rung in found.rungs] == pytest.approx([2 * 227.36, 2 * 177.36, 2 * 127.36], abs=0.01)
    assert [rung.mean_return_pct for rung in found.rungs] == pytest.approx([28.42, 21.6293, 15.1619], abs=1e-3)
    assert found.headline == found.rungs[1]


def test_above_a_fifth_of_model_legs_there_is_no_headline() -> None:
    fifth = summarise_options(
        held(("nbbo", "model"), ("nbbo", "nbbo"), ("nbbo", "nbbo"), ("nbbo", "model"), ("nbbo", "nbbo"))
    )
    assert (fifth.model_share, fifth.withheld) == (0.2, False)
    more = summarise_options(held(("model", "model"), ("nbbo", "nbbo")))
    assert (more.model_share, more.withheld, more.headline) == (0.5, True, None)


def test_a_trade_without_a_mark_is_counted_and_in_no_rung() -> None:
    found = summarise_options(held(("nbbo", None), ("nbbo", "nbbo")))
    assert (found.trades, found.unmarked) == (1, 1)
    assert found.rungs[1].pnl_usd == pytest.approx(177.36, abs=0.01)
    nothing = summarise_options(held(("nbbo", None)))
    assert (nothing.trades, nothing.rungs, nothing.headline) == (0, (), None)


def test_a_run_on_the_underlying_has_none() -> None:
    assert summarise_options(trades_of([1.0])) is None
