"""The configuration of scoring: what the shipped file says, what may be changed, and what is refused."""

from pathlib import Path

import pytest
import yaml

from strategy_pipeline.detectors.catalogue import CATALOGUE
from strategy_pipeline.errors import SettingsError
from strategy_pipeline.lake.tables import TIME_WINDOWS, VIX_TIERS
from strategy_pipeline.market.symbols import ASSET_CLASSES
from strategy_pipeline.scoring.rules import CATEGORIES, DEFAULTS, FAMILIES, rules_from

FILE = Path(__file__).resolve().parents[2] / "config" / "thresholds.yaml"


def test_the_shipped_file_says_what_the_package_says():
    assert yaml.safe_load(FILE.read_text()) == DEFAULTS


def test_there_are_thresholds_for_every_window_tier_and_class():
    assert tuple(DEFAULTS["windows"]) == TIME_WINDOWS
    assert tuple(DEFAULTS["vix_tiers"]) == tuple(DEFAULTS["vix_allows"]) == VIX_TIERS
    assert set(DEFAULTS["class_floors"]) == set(ASSET_CLASSES)


def test_every_declared_detector_has_its_family_and_its_category():
    assert {one.family for one in CATALOGUE} == set(FAMILIES)
    assert {one.category for one in CATALOGUE} == set(CATEGORIES)


def test_a_partial_file_changes_only_what_it_names():
    rules = rules_from({"version": "mine", "class_floors": {"STOCK": {"cooldown_min": 90}}})
    assert rules.floor("STOCK", "breakout") == {
        "base": 70, "style": 75, "rr": 1.5, "signals_per_hour": 2, "cooldown_min": 90,
    }  # fmt: skip
    assert rules.floor("EQUITY_ETF", "breakout")["cooldown_min"] == 15
    assert rules.version.startswith("mine-")


def test_every_number_is_in_the_version():
    versions = {
        rules_from(values).version
        for values in ({}, {"disabled_base_add": 11}, {"filters": {"blacklist": ["GME"]}}, {"version": "x"})
    }
    assert len(versions) == 4
    assert rules_from().version == rules_from({}).version


def test_a_floor_may_be_given_to_any_family():
    row = {"base": 99, "style": 75, "rr": 1.5, "signals_per_hour": 1, "cooldown_min": 30}
    assert rules_from({"family_floors": {"breakout": row}}).floor("STOCK", "breakout") == row


def test_memory_reaches_as_far_as_the_longest_cooldown():
    # eod_pin_setup cools down for 120 minutes; the hourly limit looks back an hour.
    assert rules_from().memory_minutes == 120
    assert rules_from({"family_floors": {"eod_pin_setup": {"cooldown_min": 5}}}).memory_minutes == 60


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"window": {}}, "unknown entry 'window'"),
        ({"windows": {"noon": {}}}, "thresholds: windows has the unknown entry 'noon'"),
        ({"windows": {"afternoon": {"base": "high"}}}, "afternoon: base is 'high': expected a number"),
        ({"windows": {"afternoon": {"base": True}}}, "base is True: expected a number"),
        ({"windows": [1]}, "windows is \\[1\\]: expected a mapping"),
        ({"trend": {"choppy": {"breakout": {"disabled": 1}}}}, "disabled is 1: expected true or false"),
        ({"vix_allows": {"low": ["breakouts"]}}, "low is \\['breakouts'\\]: expected a list of breakout"),
        ({"family_floors": {"straddle": {}}}, "unknown entry 'straddle'"),
        ({"family_floors": {"breakout": {"base": 99}}}, "breakout lacks style, rr, signals_per_hour, cooldown_min"),
        ({"filters": {"blacklist": "GME"}}, "blacklist is 'GME': expected a list of symbols"),
        ({"version": ""}, "version is '': expected a text"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(values, says):
    with pytest.raises(SettingsError, match=says):
        rules_from(values)
