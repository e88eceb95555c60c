"""Checks of the option tables: their contracts, which block, and what somebody should look at in a chain, which warns.

The partitions of the run are read back from the lake. What is measured is analytics' work; limits stand here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date

import dagster as dg
import polars as pl

from strategy_pipeline.analytics.chain_quality import falling_expiries, parity_fit, solved_share_pct
from strategy_pipeline.defs.checks import contract_check, keys_of_run
from strategy_pipeline.defs.partitions import SESSIONS
from strategy_pipeline.defs.stored_chains import last_chains
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import (
    ATM_IV_DAILY,
    GAMMA_EXPOSURE_SNAPSHOTS,
    HISTORICAL_GREEKS,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    OPTION_VOLUME_MINUTES,
    OPTIONS_FLOW_DAILY,
    OPTIONS_FLOW_HISTORY,
    RATE_CURVE,
    TRADE_CONDITIONS,
)

# Above or below these shares (%) of a chain, something is wrong with its inputs rather than with single quotes.
MOST_OUTSIDE_PARITY_PCT, LEAST_SOLVED_PCT = 5.0, 90.0
_NAMED = 5

CHECKED_TABLES = (
    RATE_CURVE,
    OPEN_INTEREST,
    OPTION_CONTRACTS,
    HISTORICAL_GREEKS,
    GAMMA_EXPOSURE_SNAPSHOTS,
    ATM_IV_DAILY,
    TRADE_CONDITIONS,
    OPTION_VOLUME_MINUTES,
    OPTIONS_FLOW_HISTORY,
    OPTIONS_FLOW_DAILY,
)

WARNINGS = {
    "put_call_parity": f"At most {MOST_OUTSIDE_PARITY_PCT:g} % of the pairs at the close quote what parity forbids.",
    "share_of_solved": f"At least {LEAST_SOLVED_PCT:g} % of what is quoted on two sides at the close has a volatility.",
    "no_calendar_arbitrage": "At-the-money total variance at the close does not fall from one expiry to the next.",
}


@dg.multi_asset_check(
    specs=[dg.AssetCheckSpec(name, asset="historical_greeks", description=says) for name, says in WARNINGS.items()]
)
def chain_checks(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
    """The last chains of each of the run's sessions that has any."""
    stored = set(lake.sessions(HISTORICAL_GREEKS))
    days = [date.fromisoformat(key) for key in keys_of_run(context, SESSIONS)]
    yield from chain_verdicts((day, last_chains(lake, day)) for day in days if day in stored)


def chain_verdicts(chains: Iterable[tuple[date, pl.DataFrame]]) -> Iterator[dg.AssetCheckResult]:
    """What is warned of in `chains`: rows of ``historical_greeks`` at the close of each session."""
    pairs = outside = 0
    worst, falls, shares, statuses = 0.0, list[str](), list[float](), Counter[str]()
    for day, chain in chains:
        fit = parity_fit(chain)
        pairs, outside, worst = pairs + fit.pairs, outside + fit.outside, max(worst, fit.worst)
        falls += [f"{day} {says}" for says in falling_expiries(chain)]
        share = solved_share_pct(chain)
        shares += [] if share is None else [share]
        statuses.update(chain["iv_status"].cast(pl.String).to_list())
    beyond = 100.0 * outside / max(pairs, 1)
    parity = f"{outside:,} of {pairs:,} pairs ({beyond:.2f} %) lie outside, the worst by ${worst:.2f}"
    yield _warning(
        "put_call_parity",
        beyond <= MOST_OUTSIDE_PARITY_PCT,
        parity if pairs else "no call and put with good quotes face each other",
    )
    yield _warning(
        "share_of_solved",
        not shares or min(shares) >= LEAST_SOLVED_PCT,
        f"at least {min(shares):.1f} % of each session's quotes" if shares else "nothing is quoted on two sides",
        share_by_status_pct={name: 100.0 * count / statuses.total() for name, count in sorted(statuses.items())},
    )
    more = f" and {len(falls) - _NAMED} more" if len(falls) > _NAMED else ""
    yield _warning(
        "no_calendar_arbitrage",
        not falls,
        f"falls: {'; '.join(falls[:_NAMED])}{more}" if falls else "total variance rises everywhere",
    )


def _warning(name: str, passed: bool, says: str, **numbers: dict[str, float]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key="historical_greeks",
        check_name=name,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=says,
        metadata={"says": says, **numbers},
    )


option_checks = [*(contract_check(table) for table in CHECKED_TABLES), chain_checks]
