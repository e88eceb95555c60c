"""From evidence to words: the verdict on a detector, the advice that follows, and what each of them rests on.

Belongs here: the rules of the two tables of verdicts and recommendations. Does not belong here: computing the evidence.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from strategy_pipeline.backtest.estimates import Estimate, describe
from strategy_pipeline.detectors import catalogue

MINIMUM_TRADES_FOR_ADVICE = 30
MINIMUM_COVERAGE = 0.60
MINIMUM_TRADES_OUT_OF_SAMPLE = 100
OUT_OF_SAMPLE_METHODS = ("walk-forward", "purged cross-validation", "holdout")
SUPPORTING_METHODS = ("walk-forward", "holdout")


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of what a detector needs was there, in symbol-sessions of the classes it applies to."""

    eligible_symbol_sessions: int
    covered_symbol_sessions: int
    missing_inputs: tuple[str, ...] = ()

    @property
    def share(self) -> float | None:
        """Covered over eligible, 0-1; None when nothing was eligible."""
        if self.eligible_symbol_sessions == 0:
            return None
        return self.covered_symbol_sessions / self.eligible_symbol_sessions

    @property
    def testable(self) -> bool:
        """At least one eligible symbol-session, and 60 % of them with every required input."""
        share = self.share
        return share is not None and share >= MINIMUM_COVERAGE

    @property
    def catalogue_reason(self) -> str | None:
        """What kind of data is missing altogether, in the catalogue's words; None when single inputs are."""
        return ", ".join(name for name in self.missing_inputs if name in catalogue.REASONS) or None


@dataclass(frozen=True, slots=True)
class OutOfSample:
    """What a detector did on sessions its parameters were not chosen on.

    `method`: one of OUT_OF_SAMPLE_METHODS. `expectancy` in R after costs, `low_at_double_costs` the lower bound of the
    interval at twice the costs; `regimes` counts market regimes with 20 trades or more. `daily_pnl_usd` belongs to
    `sessions`, of which `fold_starts` begin a test span.
    """

    method: str
    folds: int
    trades: int
    expectancy: Estimate
    low_at_double_costs: float | None
    regimes: int
    dsr: float | None
    sessions: tuple[date, ...] = field(default=(), repr=False)
    daily_pnl_usd: tuple[float, ...] = field(default=(), repr=False)
    fold_starts: tuple[date, ...] = ()


@dataclass(frozen=True, slots=True)
class Noise:
    """A detector on markets without an edge, at zero costs: mean R with its interval, over all draws together.

    `status`: ``passed``, ``failed`` or ``not exercised``; `p_value` is adjusted for the number of detectors.
    """

    status: str
    draws: int
    trades: int
    expectancy: Estimate
    standard_error: float | None
    p_value: float | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What other studies know about a detector; the default says that none of them has been made."""

    n_trials: int | None = None
    n_effective: int | None = None
    trial_sharpe_variance: float | None = None
    pbo: float | None = None
    noise: Noise | None = None
    out_of_sample: OutOfSample | None = None


def verdict_for(
    *,
    coverage: Coverage,
    trades: int,
    expectancy: Estimate,
    dsr: float | None,
    evidence: Evidence,
) -> tuple[str, str]:
    """The first verdict whose rule holds, and the sentence that says what decided it.

    A condition that was never measured counts as failed: without a trial ledger there is no DSR and without a noise
    gauntlet nothing passed it, so such a run can say ``no evidence`` at best. What ``supported`` asks of trades is
    asked of those out of sample, of walk-forward or holdout; cross-validated folds see later data and lift no verdict.
    """
    if not coverage.testable:
        return "not testable", _missing_data(coverage)
    passed = evidence.noise is not None and evidence.noise.status == "passed"
    found = evidence.out_of_sample
    if (
        found is not None
        and found.method in SUPPORTING_METHODS
        and found.trades >= MINIMUM_TRADES_OUT_OF_SAMPLE
        and found.dsr is not None
        and found.dsr >= 0.95
        and evidence.pbo is not None
        and evidence.pbo <= 0.2
        and found.low_at_double_costs is not None
        and found.low_at_double_costs > 0.0
        and found.regimes >= 3
        and passed
    ):
        return "supported", (
            f"DSR {found.dsr:.2f} and PBO {evidence.pbo:.2f} on {found.trades} trades out of sample "
            f"({found.method}), above zero at twice the costs."
        )
    lacking = []
    if trades < MINIMUM_TRADES_FOR_ADVICE:
        lacking.append(f"{trades} trades are fewer than {MINIMUM_TRADES_FOR_ADVICE}")
    if expectancy.value is None or expectancy.value <= 0.0:
        lacking.append("expectancy after costs is not positive")
    if dsr is None:
        lacking.append("the deflated Sharpe ratio is unknown")
    elif dsr < 0.80:
        lacking.append(f"DSR {dsr:.2f} is below .80")
    if evidence.noise is None:
        lacking.append("the noise gauntlet has not been run")
    elif evidence.noise.status == "not exercised":
        lacking.append("the detector never fired on noise, so the gauntlet says nothing")
    elif not passed:
        lacking.append("the noise gauntlet was not passed")
    if not lacking:
        return "suggestive", f"DSR {dsr:.2f}, positive expectancy on {trades} trades, noise gauntlet passed."
    return "no evidence", _sentence(lacking)


def recommendation_for(
    *, verdict: str, coverage: Coverage, trades: int, expectancy: Estimate, expectancy_gross: Estimate
) -> tuple[str, str]:
    """Advice and the evidence for it; drawn from coverage, trade count and intervals, never from win rate alone.

    When a gross edge is eaten by costs, ``check costs`` goes before ``disable``: both bounds are then known, and the
    cost model is the thing to look at first.
    """
    if verdict == "not testable":
        return "get data", _missing_data(coverage)
    if trades < MINIMUM_TRADES_FOR_ADVICE:
        return "too few trades", f"{trades} of the {MINIMUM_TRADES_FOR_ADVICE} trades a judgement needs."
    shown = f"expectancy {describe(expectancy)} R over {trades} trades"
    if expectancy_gross.above_zero and expectancy.value is not None and expectancy.value < 0.0:
        return "check costs", f"{describe(expectancy_gross)} R before costs turns into {describe(expectancy)} R after."
    if expectancy.below_zero:
        return "disable", f"The whole interval lies below zero: {shown}."
    if verdict in ("suggestive", "supported"):
        return "paper-trade", f"The verdict is {verdict}: {shown}."
    if expectancy.above_zero:
        return "keep observing", f"The interval lies above zero, but that alone is not evidence: {shown}."
    if expectancy.low is None:
        return "keep observing", f"Too few sessions for an interval: {shown}."
    return "keep observing", f"The interval contains zero: {shown}."


def _missing_data(coverage: Coverage) -> str:
    if coverage.catalogue_reason is not None:
        return coverage.catalogue_reason
    if coverage.eligible_symbol_sessions == 0:
        return "No symbol of the classes this detector applies to has a session in the window."
    what = ", ".join(coverage.missing_inputs) or "a required input"
    return (
        f"{what} missing: {coverage.covered_symbol_sessions} of {coverage.eligible_symbol_sessions} symbol-sessions "
        f"({100.0 * (coverage.share or 0.0):.0f} %) are covered, {100.0 * MINIMUM_COVERAGE:.0f} % are needed."
    )


def _sentence(parts: Iterable[str]) -> str:
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "."
