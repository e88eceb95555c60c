"""What a backtest run assumes: one frozen, validated configuration with a content hash, and the DTE bucket table.

Numbers that rules use stand here with their units; the rules themselves are in simulator.py and costs.py.
"""

import hashlib
import json
import math
from dataclasses import dataclass, fields
from typing import Any

from strategy_pipeline.errors import SettingsError
from strategy_pipeline.lake.tables import PATH_POLICIES, STYLES
from strategy_pipeline.market.timeframes import MINUTES

# Raised whenever the same inputs would give different trades; part of every run_id.
CODE_VERSION = "backtest-2"
# A day trade has to be flat at the close, so only signals of bars this short can be one.
LONGEST_DAY_TIMEFRAME_MINUTES = 15

TARGET_MODES = ("fixed_atr", "signal_levels", "dte")
INSTRUMENTS = ("underlying", "option")
COST_MODELS = ("pct", "spread", "impact")
TARGET_RULES = ("trade_through", "touch")


@dataclass(frozen=True, slots=True)
class SpreadBand:
    """Quoted spread assumed for prices up to `price_below` ($): the larger of cents and basis points of the price."""

    price_below: float
    spread_usd: float
    spread_bps: float


# Round numbers for liquid US equities; a measured table belongs in the configuration of a run.
DEFAULT_SPREADS = (
    SpreadBand(5.0, 0.01, 20.0),
    SpreadBand(50.0, 0.01, 4.0),
    SpreadBand(math.inf, 0.01, 1.0),
)


@dataclass(frozen=True, slots=True)
class BacktestConfig:
    """All assumptions of a run (backtesting.md sections 1-5); raises SettingsError when a value cannot be used.

    Multiples are of ATR14 of the signal timeframe at the signal; `slippage_pct` and `min_stop_pct` are per cent of
    price (slippage per side); `max_hold_bars` counts signal-timeframe bars, entry bar = 1; times are in the unit of
    their name. `style` None means by timeframe: up to 15m a day trade, flat at the close, longer a swing trade that
    holds overnight. With target_mode dte the days to expiry of the contract a signal
    buys decide stop, target, hold and style (DTE_BUCKETS); the contract is chosen by the option_ fields, and with the
    instrument option its premium has barriers and a result of its own.
    """

    timeframe: str = "15m"
    style: str | None = None
    gates: str = "base_score"
    profile: str = "market_knowable"
    target_mode: str = "fixed_atr"
    target_atr: float = 2.0
    stop_atr: float = 0.75
    max_hold_bars: int = 15
    min_score: float = 40.0
    path_policy: str = "drill_down"
    random_seed: int = 0
    target_rule: str = "trade_through"
    tick: float = 0.01
    latency_s: float = 0.0
    entry_patience_min: float = 5.0
    last_entry_min: float = 15.0
    flat_offset_min: float = 0.0
    breakeven: bool = False
    trailing: bool = False
    trail_atr: float = 1.5
    scale_out_fraction: float = 0.0
    scale_out_atr: float = 1.0
    min_stop_pct: float = 0.0
    cost_model: str = "pct"
    slippage_pct: float = 0.1
    cost_multiplier: float = 1.0
    spreads: tuple[SpreadBand, ...] = DEFAULT_SPREADS
    symbol_spreads_usd: tuple[tuple[str, float], ...] = ()
    impact_k: float = 0.5
    commission_per_share_usd: float = 0.0
    commission_minimum_usd: float = 0.0
    initial_equity_usd: float = 100_000.0
    risk_per_trade_pct: float = 0.5
    max_notional_multiple: float = 2.0
    instrument: str = "underlying"
    option_dte: int = 0
    option_max_dte: int = 45
    option_delta: float = 0.50
    option_min_open_interest: int = 100
    option_min_volume: int = 0
    option_max_spread_pct: float = 25.0

    def __post_init__(self) -> None:
        choices: dict[str, tuple[str, ...]] = {
            "timeframe": (*MINUTES, "native"),
            "gates": ("base_score", "full"),
            "profile": ("market_knowable", "pipeline_known"),
            "target_mode": TARGET_MODES,
            "instrument": INSTRUMENTS,
            "path_policy": PATH_POLICIES,
            "target_rule": TARGET_RULES,
            "cost_model": COST_MODELS,
        }
        if self.style is not None:
            choices["style"] = STYLES
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise SettingsError(f"{name} is {getattr(self, name)!r}: use one of {', '.join(allowed)}.")
        above_zero = (
            "target_atr", "stop_atr", "tick", "trail_atr", "scale_out_atr", "initial_equity_usd",
            "risk_per_trade_pct", "max_notional_multiple", "max_hold_bars",
        )  # fmt: skip
        if self.target_mode == "signal_levels" and self.gates != "full":
            raise SettingsError(
                "target_mode is 'signal_levels': the levels are those of composite signals, so use gates full."
            )
        if self.profile == "pipeline_known":
            raise SettingsError("profile is 'pipeline_known': bars carry the simulated lag only, use market_knowable.")
        at_least_zero = (
            "latency_s", "entry_patience_min", "last_entry_min", "flat_offset_min", "min_stop_pct", "slippage_pct",
            "cost_multiplier", "impact_k", "commission_per_share_usd", "commission_minimum_usd", "option_dte",
            "option_min_open_interest", "option_min_volume", "option_max_spread_pct",
        )  # fmt: skip
        for name in above_zero:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise SettingsError(f"{name} is {value}: it must be a number above zero.")
        for name in at_least_zero:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise SettingsError(f"{name} is {value}: it must be zero or above.")
        if self.instrument == "option" and self.target_mode != "dte":
            raise SettingsError(
                "instrument is 'option': an option run holds by days to expiry, so use target_mode dte."
            )
        if self.option_max_dte < self.option_dte:
            raise SettingsError(f"option_max_dte is {self.option_max_dte}: it must not lie below option_dte.")
        if not 0 < self.option_delta < 1:
            raise SettingsError(f"option_delta is {self.option_delta}: it must lie between 0 and 1.")
        if self.max_hold_bars != int(self.max_hold_bars):
            raise SettingsError(f"max_hold_bars is {self.max_hold_bars}: it counts whole bars.")
        if not 0 <= self.min_score <= 100:
            raise SettingsError(f"min_score is {self.min_score}: scores run from 0 to 100.")
        if not 0 <= self.scale_out_fraction < 1:
            raise SettingsError(f"scale_out_fraction is {self.scale_out_fraction}: it must be at least 0 and below 1.")
        if self.scale_out_fraction > 0 and self.scale_out_atr >= self.target_atr and self.target_mode == "fixed_atr":
            raise SettingsError(
                f"scale_out_atr is {self.scale_out_atr}: it must lie below target_atr, which is {self.target_atr}."
            )
        if not self.spreads or self.spreads[-1].price_below != math.inf:
            raise SettingsError(
                "The last spread band has an upper price: give it none (infinity), so all prices have one."
            )

    def style_for(self, timeframe: str) -> str:
        """The style of a trade on a signal of `timeframe`: the configured one, else day up to 15m and swing above."""
        if self.style is not None:
            return self.style
        return "day" if MINUTES[timeframe] <= LONGEST_DAY_TIMEFRAME_MINUTES else "swing"

    def as_dict(self) -> dict[str, Any]:
        """Every assumption by name, in declaration order, made of JSON types (an open price band ends at null)."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["spreads"] = [
            [None if band.price_below == math.inf else band.price_below, band.spread_usd, band.spread_bps]
            for band in self.spreads
        ]
        values["symbol_spreads_usd"] = {symbol: spread for symbol, spread in self.symbol_spreads_usd}
        return values

    @property
    def content_hash(self) -> str:
        """16 hex digits that depend on the values only, not on the process, the platform or the order of writing.

        Floats are hashed with 12 significant digits (quant_methods.md section 1).
        """
        return _digest(json.dumps(_canonical(self.as_dict()), sort_keys=True, separators=(",", ":")))


def run_id(config: BacktestConfig, data_hash: str) -> str:
    """Identity of a run: the same configuration, data and code give the same 16 hex digits."""
    return _digest("|".join((config.content_hash, data_hash, CODE_VERSION)))


def _canonical(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return f"{float(value):.12g}"
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return str(value)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class DteBucket:
    """Exit rules of one span of days to expiry (backtesting.md section 4); distances in ATR, premiums as multiples.

    `forced_flat` is one of ``minutes_before_close``, ``session_close``, ``last_session_with_dte_at_least`` and
    ``dte_at_most``; `forced_flat_value` is its minutes or days.
    """

    name: str
    dte_from: int
    dte_to: int | None
    style: str
    atr_timeframe: str
    stop_atr: float
    target_atr: tuple[float, float, float]
    max_hold_bars: int
    forced_flat: str
    forced_flat_value: int
    premium_target: float
    premium_stop: float

    def stop(self, reference: float, atr: float, sign: int) -> float:
        """Initial stop of the underlying, $; `sign` is +1 for LONG and -1 for SHORT."""
        return reference - sign * self.stop_atr * atr

    def target(self, reference: float, atr: float, sign: int, number: int = 2) -> float:
        """Target 1, 2 or 3 of the underlying, $; 2 is the exit target."""
        return reference + sign * self.target_atr[number - 1] * atr


DTE_BUCKETS_VERSION = "dte-1"
DTE_BUCKETS = (
    DteBucket("0", 0, 0, "scalp", "5m", 0.75, (1.0, 1.5, 2.0), 12, "minutes_before_close", 15, 1.30, 0.80),
    DteBucket("1-4", 1, 4, "day", "15m", 1.00, (1.5, 2.5, 3.5), 15, "session_close", 0, 1.50, 0.70),
    DteBucket("5-29", 5, 29, "swing", "1h", 1.50, (2.0, 3.0, 4.0), 35, "last_session_with_dte_at_least", 1, 2.00, 0.60),
    DteBucket("30+", 30, None, "swing", "1d", 1.50, (2.0, 3.0, 4.0), 20, "dte_at_most", 7, 2.50, 0.50),
)


def dte_bucket(dte: int) -> DteBucket:
    """The bucket of a number of calendar days from entry session to expiry; raises ValueError below zero."""
    for bucket in DTE_BUCKETS:
        if bucket.dte_from <= dte and (bucket.dte_to is None or dte <= bucket.dte_to):
            return bucket
    raise ValueError(f"days to expiry cannot be negative: {dte}")
