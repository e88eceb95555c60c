"""The warnings about chains: chains that hang together pass, and each fault fails the check that is about it."""

from datetime import date

import dagster as dg
import polars as pl
import pytest

from strategy_pipeline.defs.option_checks import chain_verdicts
from strategy_pipeline_tests.analytics.chain_frames import chain, flat
from strategy_pipeline_tests.analytics.test_chain_quality import valued

DAY = date(2015, 6, 1)
# Seven strikes of one expiry, quoted 2 cents wide.
SOUND = valued().with_columns(contract_ticker=pl.format("{} {}", "option_type", "strike"))


def verdicts(*chains: pl.DataFrame) -> dict[str, dg.AssetCheckResult]:
    return {str(one.check_name): one for one in chain_verdicts((DAY, rows) for rows in chains)}


def failed(*chains: pl.DataFrame) -> list[str]:
    found = verdicts(*chains)
    assert {one.severity for one in found.values()} == {dg.AssetCheckSeverity.WARN}
    return [name for name, one in found.items() if not one.passed]


def test_chains_that_hang_together_pass_and_their_statuses_are_told():
    # 0.30^2 x 20 = 1.8 rises to 0.25^2 x 48 = 3.0.
    assert failed(SOUND) == failed(chain({20: flat(0.30), 48: flat(0.25)}, step=5.0)) == []
    shares = verdicts(SOUND)["share_of_solved"].metadata["share_by_status_pct"].value
    assert sum(shares.values()) == pytest.approx(100.0)
    assert shares["ok"] == pytest.approx(100.0 * SOUND["iv_status"].cast(pl.String).eq("ok").mean())


def test_puts_that_cost_too_much_break_parity():
    dear = pl.when(pl.col("option_type").cast(pl.String) == "put").then(5.0).otherwise(0.0)
    assert failed(SOUND.with_columns(pl.col("bid", "ask", "mid") + dear)) == ["put_call_parity"]


def test_quotes_without_a_volatility_are_warned_of_in_the_worst_session_of_a_run():
    unsolved = SOUND.with_columns(
        iv=pl.lit(None, dtype=pl.Float64), iv_status=pl.lit("no_convergence").cast(SOUND.schema["iv_status"])
    )
    assert failed(SOUND, unsolved) == ["share_of_solved"]
    assert verdicts(SOUND, unsolved)["share_of_solved"].description == "at least 0.0 % of each session's quotes"


def test_total_variance_that_falls_is_calendar_arbitrage():
    falling = chain({20: flat(0.30), 48: flat(0.18)}, step=5.0)
    assert failed(falling) == ["no_calendar_arbitrage"]


def test_where_nothing_is_quoted_nothing_is_claimed():
    unquoted = SOUND.with_columns(
        pl.lit(None, dtype=pl.Float64).alias(name) for name in ("bid", "ask", "mid", "quote_age_s")
    )
    found = verdicts(unquoted)
    assert found["share_of_solved"].description == "nothing is quoted on two sides"
    assert found["put_call_parity"].description == "no call and put with good quotes face each other"
