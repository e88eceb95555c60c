"""What a fill costs and how large a position is: slippage, spread, impact, commission and the sizing rule.

Vectors in, vectors out, one element a leg of a trade. Costs never move the path: they are charged on reference prices
after the trade loop, so profit and loss is exactly linear in them (backtesting.md section 5).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.errors import MissingDataError

# $0.65 commission and $0.01 fee a contract, at least $0.50 an order (backtesting.md section 5).
OPTION_COMMISSION_USD = 0.66
OPTION_COMMISSION_MINIMUM_USD = 0.50


@dataclass(frozen=True)
class Charges:
    """Costs of both sides of each leg, $, by kind; and $ a unit at entry and at exit.

    `entry_per_unit` and `exit_per_unit` are what makes the fill worse than the reference price, without commission.
    """

    slippage: np.ndarray
    spread: np.ndarray
    impact: np.ndarray
    commission: np.ndarray
    entry_per_unit: np.ndarray
    exit_per_unit: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """All costs of each leg, $."""
        return self.slippage + self.spread + self.impact + self.commission


def position_size(
    reference: np.ndarray, risk_per_unit: np.ndarray, config: BacktestConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Units of each position and whether the notional limit decided them.

    units = risk_per_trade_pct of the initial equity / risk per unit ($), notional at most max_notional_multiple x
    equity; no compounding.
    """
    wanted = config.risk_per_trade_pct / 100.0 * config.initial_equity_usd / risk_per_unit
    limit = config.max_notional_multiple * config.initial_equity_usd / reference
    return np.minimum(wanted, limit), wanted > limit


def quoted_spread(symbols: np.ndarray, prices: np.ndarray, config: BacktestConfig) -> np.ndarray:
    """Quoted spread assumed at each price, $: the symbol's own where one is configured, else that of its price band."""
    own = dict(config.symbol_spreads_usd)
    upper = np.array([band.price_below for band in config.spreads])
    band = np.searchsorted(upper, prices, side="right")
    cents = np.array([b.spread_usd for b in config.spreads])[band]
    points = np.array([b.spread_bps for b in config.spreads])[band]
    spread = np.maximum(cents, points / 10_000.0 * prices)
    for symbol, value in own.items():
        spread = np.where(symbols == symbol, value, spread)
    return spread


def charge(
    config: BacktestConfig,
    *,
    symbols: np.ndarray,
    entry: np.ndarray,
    exit: np.ndarray,
    units: np.ndarray,
    order_units: np.ndarray,
    sigma_day: np.ndarray | None = None,
    adv_shares: np.ndarray | None = None,
) -> Charges:
    """Costs of legs from `entry` to `exit` reference prices ($), `units` each, entered by orders of `order_units`.

    `pct`: slippage_pct of the reference price a side. `spread`: half the quoted spread a side. `impact`: k x
    sigma_day (decimal) x sqrt(units / ADV) of the price a side; raises MissingDataError without sigma_day or ADV.
    Commission is added to each. All are multiplied by cost_multiplier.
    """
    none = np.zeros(len(entry))
    slippage = spread = impact = (none, none)
    if config.cost_model == "pct":
        share = config.slippage_pct / 100.0 * config.cost_multiplier
        slippage = (share * entry, share * exit)
    elif config.cost_model == "spread":
        half = 0.5 * config.cost_multiplier
        spread = (half * quoted_spread(symbols, entry, config), half * quoted_spread(symbols, exit, config))
    else:
        if sigma_day is None or adv_shares is None or not (np.isfinite(sigma_day).all() and (adv_shares > 0).all()):
            raise MissingDataError(
                "The impact cost model needs sigma_day and adv20_shares of every signal: use the pct or spread model."
            )
        scale = config.impact_k * config.cost_multiplier * sigma_day
        impact = (scale * np.sqrt(order_units / adv_shares) * entry, scale * np.sqrt(units / adv_shares) * exit)
    commission = none
    if config.commission_per_share_usd or config.commission_minimum_usd:
        per_share, least = config.commission_per_share_usd, config.commission_minimum_usd
        entering = np.maximum(per_share * order_units, least) * units / order_units
        commission = config.cost_multiplier * (entering + np.maximum(per_share * units, least))
    return Charges(
        (slippage[0] + slippage[1]) * units,
        (spread[0] + spread[1]) * units,
        (impact[0] + impact[1]) * units,
        commission,
        slippage[0] + spread[0] + impact[0],
        slippage[1] + spread[1] + impact[1],
    )


def option_commission_usd(contracts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Commission and fees of option orders, $; an order of no contract costs nothing."""
    count = np.asarray(contracts, dtype=np.float64)
    return np.where(count > 0.0, np.maximum(OPTION_COMMISSION_USD * count, OPTION_COMMISSION_MINIMUM_USD), 0.0)


def linear_cost(config: BacktestConfig) -> tuple[float, float] | None:
    """(a, b) when a unit costs a x (entry + exit price) + b $, as sweeps need; None for any other cost model."""
    if config.cost_model != "pct" or config.commission_minimum_usd:
        return None
    per_share = 2.0 * config.commission_per_share_usd * config.cost_multiplier
    return config.slippage_pct / 100.0 * config.cost_multiplier, per_share if math.isfinite(per_share) else 0.0
