"""The detectors there are: the seventeen of the catalogue and the four of the option tape, in the order of reports.

Reports list all seventeen names, so that "not tested" is never mistaken for "no trades".
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from strategy_pipeline.detectors.breakout import breakout
from strategy_pipeline.detectors.declaration import Detector
from strategy_pipeline.detectors.eod_pin import eod_pin_setup
from strategy_pipeline.detectors.gamma_flip import gamma_flip
from strategy_pipeline.detectors.gamma_squeeze import gamma_squeeze
from strategy_pipeline.detectors.index_mean_reversion import index_mean_reversion
from strategy_pipeline.detectors.institutional_flow import institutional_flow
from strategy_pipeline.detectors.mean_reversion import mean_reversion
from strategy_pipeline.detectors.opening_drive import opening_drive
from strategy_pipeline.detectors.power_hour_reversal import power_hour_reversal
from strategy_pipeline.detectors.side import SIDES
from strategy_pipeline.detectors.sweep_momentum import sweep_momentum
from strategy_pipeline.detectors.trend_continuation import trend_continuation
from strategy_pipeline.errors import SettingsError

# Why a detector cannot be tested in a run, where that is not the want of a single column.
NO_OPTION_DATA = "no option data"
NO_OPTION_TRADES = "no option trades"
REASONS = (NO_OPTION_DATA, NO_OPTION_TRADES)

_TWINS: tuple[Callable[..., Detector], ...] = tuple(
    partial(family, side)
    for family in (
        breakout,
        mean_reversion,
        trend_continuation,
        gamma_squeeze,
        power_hour_reversal,
        index_mean_reversion,
        opening_drive,
        gamma_flip,
    )
    for side in SIDES
)
_OF_THE_TAPE: tuple[Callable[..., Detector], ...] = tuple(
    partial(family, side) for family in (sweep_momentum, institutional_flow) for side in SIDES
)
# The order of detectors.md section 3, then that of section 8.
SEVENTEEN: tuple[Detector, ...] = (*(declare() for declare in _TWINS), eod_pin_setup())
OF_THE_TAPE: tuple[Detector, ...] = tuple(declare() for declare in _OF_THE_TAPE)
CATALOGUE: tuple[Detector, ...] = (*SEVENTEEN, *OF_THE_TAPE)
ALL_NAMES: tuple[str, ...] = tuple(detector.name for detector in CATALOGUE)

_BY_NAME = {detector.name: detector for detector in CATALOGUE}
_DECLARATIONS = dict(zip(ALL_NAMES, (*_TWINS, eod_pin_setup, *_OF_THE_TAPE), strict=True))


def entry(name: str) -> Detector:
    """The declaration of that name; raises SettingsError with the known names."""
    if name not in _BY_NAME:
        raise SettingsError(f"There is no detector named {name!r}: choose from {', '.join(ALL_NAMES)}.")
    return _BY_NAME[name]


def select(names: Iterable[str] | None = None) -> tuple[Detector, ...]:
    """The declarations of `names` (all without names), in catalogue order."""
    wanted = set(ALL_NAMES if names is None else (entry(name).name for name in names))
    return tuple(detector for detector in CATALOGUE if detector.name in wanted)


def rebound(name: str, thresholds: Mapping[str, float]) -> Detector:
    """The declaration of that name with other numbers in its gate; those not named keep theirs.

    Raises SettingsError when the detector has no threshold of a name.
    """
    known = dict(entry(name).thresholds)
    if unknown := sorted(set(thresholds) - set(known)):
        raise SettingsError(f"{name} has no threshold {', '.join(unknown)}: choose from {', '.join(known)}.")
    declare = _DECLARATIONS[name]
    own = inspect.signature(declare).parameters["thresholds"].default
    return declare(thresholds=replace(own, **thresholds))
