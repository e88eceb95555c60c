"""American options on binomial trees with escrowed discrete dividends, as arrays in and arrays out.

What belongs here: dividends, bounds and statuses of American exercise, and the array interface of the trees. Which
contract is worth a tree is chain.py's business; the loops are in tree_kernels.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from strategy_pipeline.pricing import implied_volatility
from strategy_pipeline.pricing.black_scholes import (
    GREEK_COLUMNS,
    Floats,
    Greeks,
    PricingInputError,
    aligned,
    check_terms,
    signs,
)
from strategy_pipeline.pricing.implied_volatility import IV_STATUSES

STEPS = 201
_ROWS_PER_TASK = 16

TreeMethod = Literal["lr_tree", "crr_tree"]


@dataclass(frozen=True)
class Dividends:
    """Cash dividends of many options: those of option i are elements `offsets[i]` to `offsets[i + 1]`.

    `years` counts from now to the ex-date, `amounts` is $ per share. Those outside (0, expiry) are ignored.
    """

    offsets: npt.NDArray[np.int64]
    years: Floats
    amounts: Floats

    @classmethod
    def none(cls, rows: int) -> "Dividends":
        """No dividends for any of `rows` options."""
        return cls(np.zeros(rows + 1, dtype=np.int64), np.empty(0), np.empty(0))

    @classmethod
    def same_for_all(cls, rows: int, schedule: Sequence[tuple[float, float]]) -> "Dividends":
        """The schedule of (years to ex-date, $ per share) for each of `rows` options on one underlying."""
        years = np.tile(np.array([moment for moment, _ in schedule], dtype=np.float64), rows)
        amounts = np.tile(np.array([amount for _, amount in schedule], dtype=np.float64), rows)
        return cls(np.arange(rows + 1, dtype=np.int64) * len(schedule), years, amounts)

    def take(self, rows: npt.NDArray[np.intp]) -> "Dividends":
        """The dividends of some of the options."""
        counts = np.diff(self.offsets)[rows]
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)]).astype(np.int64)
        chosen = np.repeat(self.offsets[:-1][rows] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Dividends(offsets, self.years[chosen], self.amounts[chosen])

    def present_values(self, years: Floats, rate: Floats) -> Floats:
        """$ per share today of each option's dividends before its expiry."""
        owner = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        counted = (self.years > 0.0) & (self.years < years[owner])
        value = np.where(counted, self.amounts * np.exp(-rate[owner] * self.years), 0.0)
        return np.bincount(owner, weights=value, minlength=len(self.offsets) - 1).astype(np.float64)

    def counts(self, years: Floats) -> npt.NDArray[np.int64]:
        """How many ex-dates fall before each option's expiry."""
        owner = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        counted = (self.years > 0.0) & (self.years < years[owner])
        return np.bincount(owner, weights=counted, minlength=len(self.offsets) - 1).astype(np.int64)


def prices(
    spot: Any,
    strike: Any,
    years: Any,
    rate: Any,
    carry: Any,
    volatility: Any,
    is_call: Any,
    *,
    dividends: Dividends | None = None,
    steps: int = STEPS,
    method: TreeMethod = "lr_tree",
    exercise: Literal["american", "european"] = "american",
) -> Floats:
    """Prices in $ per share from a tree of `steps` steps.

    Arguments broadcast and have the units of black_scholes.price_and_greeks; `carry` is continuous and comes on
    top of the discrete dividends. Trees of Leisen and Reimer carry the control variate of Hull and White; trees
    of Cox, Ross and Rubinstein do so only for American exercise. Raises PricingInputError for terms that no
    option can have.
    """
    from strategy_pipeline.pricing import tree_kernels as kernels
    from strategy_pipeline.pricing.compiled import in_threads

    *columns, omega = aligned(spot, strike, years, rate, carry, volatility, signs(is_call))
    check_terms(*columns)
    _check_living(columns[2], columns[5])
    rows = len(columns[0])
    schedule = dividends or Dividends.none(rows)
    out = np.empty(rows)
    code = kernels.LEISEN_REIMER if method == "lr_tree" else kernels.COX_ROSS_RUBINSTEIN
    in_threads(
        lambda start, stop: kernels.prices(
            *columns[:5], omega, columns[5], schedule.offsets, schedule.years, schedule.amounts,
            steps, code, exercise == "american", out, start, stop,
        ),
        rows,
        _ROWS_PER_TASK,
    )  # fmt: skip
    return out


def price_and_greeks(
    spot: Any,
    strike: Any,
    years: Any,
    rate: Any,
    carry: Any,
    volatility: Any,
    is_call: Any,
    *,
    dividends: Dividends | None = None,
    steps: int = STEPS,
) -> Greeks:
    """American price and Greeks from Leisen-Reimer trees: nodes for delta, gamma and theta, bumps for the others.

    Arguments and errors as in `prices`; units as in black_scholes.Greeks.
    """
    from strategy_pipeline.pricing import tree_kernels as kernels
    from strategy_pipeline.pricing.compiled import in_threads

    *columns, omega = aligned(spot, strike, years, rate, carry, volatility, signs(is_call))
    check_terms(*columns)
    _check_living(columns[2], columns[5])
    rows = len(columns[0])
    schedule = dividends or Dividends.none(rows)
    out = np.empty((len(GREEK_COLUMNS) + 1, rows))
    in_threads(
        lambda start, stop: kernels.prices_and_greeks(
            *columns[:5], omega, columns[5], schedule.offsets, schedule.years, schedule.amounts, steps, out, start, stop
        ),
        rows,
        _ROWS_PER_TASK,
    )
    return Greeks.from_rows(out, np.zeros(rows, dtype=np.bool_))


def implied_volatilities(
    price: Any,
    spot: Any,
    strike: Any,
    years: Any,
    rate: Any,
    carry: Any,
    is_call: Any,
    tick: Any = 0.01,
    *,
    dividends: Dividends | None = None,
    steps: int = STEPS,
) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Volatility at which the American tree returns the price (NaN where there is none), and positions in IV_STATUSES.

    Bounds are max(intrinsic, European bound) below and spot or strike above. `low_vega` is not decided here,
    because only the Greeks know vega. Nothing raises for bad numbers: such an option has the status
    `missing_input`.
    """
    from strategy_pipeline.pricing import tree_kernels as kernels
    from strategy_pipeline.pricing.compiled import in_threads

    value, spots, strikes, times, rates, carries, ticks, omega = aligned(
        price, spot, strike, years, rate, carry, tick, signs(is_call)
    )
    rows = len(value)
    schedule = dividends or Dividends.none(rows)
    with np.errstate(all="ignore"):
        base = spots - schedule.present_values(times, rates)
        european = omega * (base * np.exp(-carries * times) - strikes * np.exp(-rates * times))
        lower = np.maximum(np.maximum(omega * (spots - strikes), european), 0.0)
        # A negative rate or carry puts the European bound above the spot or strike.
        upper = np.where(
            omega > 0.0,
            np.maximum(spots, base * np.exp(-carries * times)),
            np.maximum(strikes, strikes * np.exp(-rates * times)),
        )
        usable = (spots > 0.0) & (strikes > 0.0) & (base > 0.0) & (ticks >= 0.0)
        usable &= np.isfinite(value + spots + strikes + times + european + ticks)
        status = np.full(rows, IV_STATUSES.index("ok"), dtype=np.uint8)
        for name, holds in (
            ("at_intrinsic", value - lower < np.maximum(0.5 * ticks, 1e-6 * spots)),
            ("above_upper", value > upper),
            ("below_intrinsic", value < lower - 0.5 * ticks),
            ("expired", times <= 0.0),
            ("missing_input", ~usable),
        ):
            status[holds] = IV_STATUSES.index(name)
    solvable = status == IV_STATUSES.index("ok")
    first = implied_volatility.implied_volatilities(
        value, np.where(base > 0.0, base, 1.0), strikes, times, rates, carries, omega > 0, 0.0, with_greeks=False
    )
    # A European price too low for its bound still has an American volatility: half the money is a start like any other.
    guess = np.where(solvable, np.where(np.isfinite(first.iv), first.iv, 0.3), np.nan)
    iv = np.full(rows, np.nan)
    in_threads(
        lambda start, stop: kernels.implied_volatilities(
            spots, strikes, times, rates, carries, omega, value, guess,
            schedule.offsets, schedule.years, schedule.amounts, steps, iv, start, stop,
        ),
        rows,
        _ROWS_PER_TASK,
    )  # fmt: skip
    status[solvable & ~np.isfinite(iv)] = IV_STATUSES.index("no_convergence")
    return iv, status


def _check_living(years: Floats, volatility: Floats) -> None:
    """A tree needs time and volatility; limits without them are black_scholes.py's."""
    if not ((years > 0.0) & (volatility > 0.0)).all():
        raise PricingInputError(
            "A tree needs time and volatility above zero: price expired and riskless options without."
        )
