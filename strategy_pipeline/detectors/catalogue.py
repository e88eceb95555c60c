"""The seventeen detectors of the catalogue: the declarations there are, and those that cannot run yet, with the reason.

Reports list all seventeen names, so that "not tested" is never mistaken for "no trades".
"""

from collections.abc import Iterable
from dataclasses import dataclass

from strategy_pipeline.detectors.breakout import breakout
from strategy_pipeline.detectors.declaration import PER_ROW, Detector
from strategy_pipeline.detectors.index_mean_reversion import index_mean_reversion
from strategy_pipeline.detectors.mean_reversion import mean_reversion
from strategy_pipeline.detectors.opening_drive import opening_drive
from strategy_pipeline.detectors.power_hour_reversal import power_hour_reversal
from strategy_pipeline.detectors.side import SIDES
from strategy_pipeline.detectors.trend_continuation import trend_continuation
from strategy_pipeline.errors import SettingsError
from strategy_pipeline.market.symbols import INDEX

NO_OPTION_DATA = "no option data"


@dataclass(frozen=True)
class Untestable:
    """A detector of the catalogue that has no declaration, and why."""

    name: str
    family: str
    direction: str
    asset_classes: frozenset[str]
    timeframe: str
    category: str
    reason: str


def _needs_options(name: str, family: str, direction: str) -> Untestable:
    return Untestable(name, family, direction, frozenset({INDEX}), "5m", "gamma", NO_OPTION_DATA)


CATALOGUE: tuple[Detector, ...] = tuple(
    family(side)
    for family in (
        breakout,
        mean_reversion,
        trend_continuation,
        power_hour_reversal,
        index_mean_reversion,
        opening_drive,
    )
    for side in SIDES
)

UNTESTABLE: tuple[Untestable, ...] = (
    _needs_options("gamma_squeeze_bullish", "gamma_squeeze", "LONG"),
    _needs_options("gamma_squeeze_bearish", "gamma_squeeze", "SHORT"),
    _needs_options("gamma_flip_bullish", "gamma_flip", "LONG"),
    _needs_options("gamma_flip_bearish", "gamma_flip", "SHORT"),
    _needs_options("eod_pin_setup", "eod_pin_setup", PER_ROW),
)

# The order of detectors.md section 3.
ALL_NAMES: tuple[str, ...] = (
    "breakout_bullish",
    "breakout_bearish",
    "mean_reversion_long",
    "mean_reversion_short",
    "trend_continuation_long",
    "trend_continuation_short",
    "gamma_squeeze_bullish",
    "gamma_squeeze_bearish",
    "power_hour_reversal_bullish",
    "power_hour_reversal_bearish",
    "index_mean_reversion_long",
    "index_mean_reversion_short",
    "opening_drive_bullish",
    "opening_drive_bearish",
    "gamma_flip_bullish",
    "gamma_flip_bearish",
    "eod_pin_setup",
)

_ENTRIES: tuple[Detector | Untestable, ...] = (*CATALOGUE, *UNTESTABLE)
_BY_NAME = {listed.name: listed for listed in _ENTRIES}


def entry(name: str) -> Detector | Untestable:
    """The catalogue's entry of that name; raises SettingsError with the known names."""
    if name not in _BY_NAME:
        raise SettingsError(f"There is no detector named {name!r}: choose from {', '.join(ALL_NAMES)}.")
    return _BY_NAME[name]


def select(names: Iterable[str] | None = None) -> tuple[Detector, ...]:
    """The declarations among `names` (all twelve without names), in catalogue order; untestable names are left out."""
    wanted = set(ALL_NAMES if names is None else (entry(name).name for name in names))
    return tuple(detector for detector in CATALOGUE if detector.name in wanted)
