"""The numbers a signal has to reach, as one versioned configuration (detectors.md sections 7 and 7.3).

``config/thresholds.yaml`` says the same and may change any of it; reading that file is the settings' business.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from strategy_pipeline.errors import SettingsError

CATEGORIES = ("breakout", "meanReversion", "trendContinuation", "gamma", "reversal", "flow")
TREND_ROWS = ("trending", "ranging", "choppy", "volatile")
FAMILIES = (
    "breakout", "mean_reversion", "trend_continuation", "gamma_squeeze", "power_hour_reversal", "index_mean_reversion",
    "opening_drive", "gamma_flip", "eod_pin_setup", "sweep_momentum", "institutional_flow",
)  # fmt: skip


def _window(base: float, style: float, rr: float, size: float) -> dict[str, float]:
    return {"base": base, "style": style, "rr": rr, "size": size}


def _floor(base: float, style: float, rr: float, hourly: int, cooldown: int) -> dict[str, float]:
    return {"base": base, "style": style, "rr": rr, "signals_per_hour": hourly, "cooldown_min": cooldown}


def _trend(**categories: tuple[float, float] | tuple[float, float, bool]) -> dict[str, dict[str, Any]]:
    return {name: {"base": entry[0], "rr": entry[1], "disabled": len(entry) > 2} for name, entry in categories.items()}


DEFAULTS: dict[str, Any] = {
    "version": "thresholds-1",
    "filters": {"adv20_shares_min": 100_000, "spread_pct_max": 0.5, "blacklist": []},
    "windows": {
        "opening_drive": _window(65, 70, 1.2, 1.0),
        "mid_morning": _window(72, 75, 1.5, 1.0),
        "late_morning": _window(75, 78, 1.6, 0.9),
        "lunch_chop": _window(85, 88, 2.2, 0.6),
        "early_afternoon": _window(72, 75, 1.5, 0.9),
        "afternoon": _window(70, 73, 1.4, 1.0),
        "power_hour": _window(68, 72, 1.3, 1.1),
    },
    "vix_tiers": {
        "low": _window(-5, -3, -0.2, 1.2),
        "medium": _window(0, 0, 0, 1),
        "high": _window(5, 5, 0.3, 0.7),
        "extreme": _window(15, 12, 0.7, 0.4),
    },
    "vix_allows": {
        "low": [name for name in FAMILIES if "reversion" not in name and name != "power_hour_reversal"],
        "medium": list(FAMILIES),
        "high": [name for name in FAMILIES if name not in ("trend_continuation", "breakout")],
        "extreme": ["sweep_momentum"],
    },
    "trend": {
        "trending": _trend(
            breakout=(65, 1.3), meanReversion=(85, 2.0, True), trendContinuation=(60, 1.2), gamma=(70, 1.5),
            reversal=(88, 2.2, True), flow=(70, 1.5),
        ),
        "ranging": _trend(
            breakout=(85, 2.0, True), meanReversion=(65, 1.3), trendContinuation=(80, 1.8, True), gamma=(72, 1.5),
            reversal=(70, 1.4), flow=(72, 1.5),
        ),
        "choppy": _trend(
            breakout=(92, 2.5, True), meanReversion=(78, 1.5), trendContinuation=(88, 2.2, True), gamma=(82, 1.8),
            reversal=(75, 1.5), flow=(82, 1.8),
        ),
        "volatile": _trend(
            breakout=(85, 2.0), meanReversion=(80, 1.8), trendContinuation=(82, 2.0), gamma=(78, 1.6),
            reversal=(72, 1.4), flow=(78, 1.6),
        ),
    },
    "disabled_base_add": 10,
    "class_floors": {
        "INDEX": _floor(75, 80, 1.8, 3, 10),
        "EQUITY_ETF": _floor(70, 75, 1.5, 2, 15),
        "STOCK": _floor(70, 75, 1.5, 2, 15),
    },
    "family_floors": {
        "gamma_squeeze": _floor(75, 80, 1.8, 3, 45),
        "gamma_flip": _floor(80, 80, 2.0, 1, 60),
        "eod_pin_setup": _floor(80, 80, 2.0, 1, 120),
        "power_hour_reversal": _floor(75, 80, 1.8, 1, 10),
        "opening_drive": _floor(75, 80, 1.8, 1, 10),
    },
}  # fmt: skip


@dataclass(frozen=True)
class ScoringRules:
    """All thresholds of the composite score; the defaults are those of the specification.

    `windows`, `vix_tiers` and the floors hold base and style scores (0-100), `rr` (ratio) and `size` (ratio) or
    `signals_per_hour` and `cooldown_min`; `vix_allows` names the families of each tier; `trend` holds base, rr and
    disabled of each row and category.
    """

    values: Mapping[str, Any]

    @cached_property
    def version(self) -> str:
        """The configured version and 12 hex digits of a hash over every number, e.g. ``thresholds-1-3f2a...``."""
        digest = hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()
        return f"{self.values['version']}-{digest[:12]}"

    def __getitem__(self, section: str) -> Any:
        return self.values[section]

    def floor(self, asset_class: str, family: str) -> Mapping[str, float]:
        """The floor of a signal: the row of its family, else that of its class."""
        row: Mapping[str, float] = self["family_floors"].get(family) or self["class_floors"][asset_class]
        return row

    @property
    def memory_minutes(self) -> int:
        """How far back an accepted signal can stand in the way of another: the longest cooldown, at least an hour."""
        floors = (*self["class_floors"].values(), *self["family_floors"].values())
        return max(60, *(int(row["cooldown_min"]) for row in floors))


def rules_from(values: Mapping[str, Any] | None = None) -> ScoringRules:
    """Rules with the defaults replaced by `values`, a mapping of the form of DEFAULTS that may leave out anything.

    Raises SettingsError naming the entry that is unknown or of the wrong kind.
    """
    return ScoringRules(_merged(DEFAULTS, values or {}, "thresholds"))


def _merged(known: Mapping[str, Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    result = dict(known)
    for key, value in given.items():
        name = f"{where}: {key}"
        if where == "thresholds: family_floors" and key in FAMILIES and key not in known:
            result[key] = _whole_floor(_mapping(value, name), name)
        elif key not in known:
            raise SettingsError(f"{where} has the unknown entry {key!r}: use {', '.join(sorted(known))}.")
        elif isinstance(known[key], Mapping):
            result[key] = _merged(known[key], _mapping(value, name), name)
        else:
            result[key] = _of_kind(known[key], value, name)
    return result


def _whole_floor(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The row of a family that had none, so that there is nothing to take the rest from."""
    pattern = DEFAULTS["class_floors"]["STOCK"]
    if lacking := [key for key in pattern if key not in row]:
        raise SettingsError(f"{name} lacks {', '.join(lacking)}: give the whole row.")
    return _merged(pattern, row, name)


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingsError(f"{name} is {value!r}: expected a mapping.")
    return value


def _of_kind(known: object, value: object, name: str) -> object:
    fits, expected = _verdict(known, value, name)
    if not fits:
        raise SettingsError(f"{name} is {value!r}: expected {expected}.")
    return value


def _verdict(known: object, value: object, name: str) -> tuple[bool, str]:
    if isinstance(known, bool):
        return isinstance(value, bool), "true or false"
    if isinstance(known, int | float):
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        return fits and math.isfinite(value), "a number"  # type: ignore[arg-type]
    if isinstance(known, str):
        return isinstance(value, str) and bool(value.strip()), "a text"
    is_list = isinstance(value, list) and all(isinstance(one, str) for one in value)
    if name.endswith("blacklist"):
        return is_list, "a list of symbols"
    return is_list and set(value) <= set(FAMILIES), f"a list of {', '.join(FAMILIES)}"  # type: ignore[call-overload]
