"""Keys of the vendor's layout, and the configuration file that repeats it for people."""

from datetime import date

import pytest
import yaml

from strategy_pipeline.errors import SettingsError
from strategy_pipeline.ingestion.layout import (
    DATASETS,
    dataset_named,
    dataset_of_key,
    datasets_from_config,
    first_day_of_key,
    key_for,
    key_lies_between,
    keys_for,
)
from strategy_pipeline.ingestion.parse import CLOSING_LAG
from strategy_pipeline.market.timeframes import BAR_LAG
from strategy_pipeline_tests.conftest import REPOSITORY

MINUTES = DATASETS["us_stocks_sip/minute_aggs_v1"]
HOURS = DATASETS["us_stocks_sip/hour_aggs_v1"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("us_stocks_sip/minute_aggs_v1", "us_stocks_sip/minute_aggs_v1/2013/10/2013-10-04.csv.gz"),
        ("us_stocks_sip/hour_aggs_v1", "us_stocks_sip/hour_aggs_v1/2013/2013-10.csv.gz"),
        ("us_indices/day_aggs_v1", "us_indices/day_aggs_v1/2013/10/2013-10-04.csv.gz"),
        ("us_indices/hour_aggs_v1", "us_indices/hour_aggs_v1/2013/2013-10.csv.gz"),
        ("us_options_opra/hour_aggs_v1", "us_options_opra/hour_aggs_v1/2013/10/2013-10-04.csv.gz"),
    ],
)
def test_keys_follow_the_vendors_folders(name: str, key: str) -> None:
    assert key_for(DATASETS[name], date(2013, 10, 4)) == key
    assert dataset_of_key(key) == DATASETS[name]


def test_keys_exist_for_sessions_only_and_a_months_file_once() -> None:
    # 2013-12-25 is Christmas, the 28th and 29th are a weekend.
    keys = keys_for(MINUTES, date(2013, 12, 24), date(2013, 12, 30))
    assert [key[-17:-7] for key in keys] == ["2013-12-24", "2013-12-26", "2013-12-27", "2013-12-30"]
    assert keys_for(HOURS, date(2013, 11, 20), date(2013, 12, 10)) == [
        "us_stocks_sip/hour_aggs_v1/2013/2013-11.csv.gz",
        "us_stocks_sip/hour_aggs_v1/2013/2013-12.csv.gz",
    ]


@pytest.mark.parametrize(
    "name", ["2013/10/2013-10-04.csv", "2013/09/2013-10-04.csv.gz", "2013/13/2013-13-01.csv.gz", "x"]
)
def test_names_that_are_not_the_vendors_have_no_date(name: str) -> None:
    assert first_day_of_key(MINUTES, f"{MINUTES.name}/{name}") is None


def test_a_months_file_lies_in_every_range_that_touches_the_month() -> None:
    key = key_for(HOURS, date(2013, 10, 1))
    assert key_lies_between(HOURS, key, date(2013, 10, 31), date(2013, 11, 4))
    assert not key_lies_between(HOURS, key, date(2013, 11, 1), date(2013, 11, 4))


def test_the_configuration_file_says_what_the_code_says() -> None:
    config = yaml.safe_load((REPOSITORY / "config" / "datasets.yaml").read_text())
    assert datasets_from_config(config) == DATASETS
    assert config["lags"]["bar_s"] == BAR_LAG.total_seconds()
    assert config["lags"]["closing_vix_s"] == CLOSING_LAG["VIX"].total_seconds()


@pytest.mark.parametrize(
    ("entry", "at_fault"),
    [
        ({"kind": "stock", "grain": "minute", "file_per": "session", "feeds": "1m"}, "kind 'stock'"),
        ({"kind": "options", "grain": "minute", "file_per": "session", "feeds": "1m"}, "cannot feed '1m'"),
        ({"kind": "stocks", "grain": "minute", "feeds": "1m"}, "needs exactly feeds, file_per, grain, kind"),
    ],
)
def test_a_wrong_entry_in_the_configuration_is_named(entry: dict[str, str], at_fault: str) -> None:
    with pytest.raises(SettingsError, match=at_fault):
        datasets_from_config({"datasets": {"us_stocks_sip/minute_aggs_v1": entry}})


def test_an_unknown_data_set_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="us_stocks_sip/minute_aggs_v1"):
        dataset_named("us_stocks/minute")
