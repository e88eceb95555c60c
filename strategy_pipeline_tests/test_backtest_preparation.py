"""What a backtest from the command line fetches by itself before it tests a window."""

import shutil
from datetime import date

import polars as pl
import pytest

from strategy_pipeline.commands.preparation import Window, prepare
from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.launch import open_instance
from strategy_pipeline.defs.resources import default_resources
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import FEATURES, QUOTED_SPREADS
from strategy_pipeline.settings import load_settings

DAY = date(2013, 10, 7)


@pytest.mark.parametrize(
    ("dataset", "timeframe", "quoted"),
    [
        ("minute_aggs_v1 quotes_v1", "15m", True),
        ("minute_aggs_v1 quotes_v1", "1h", False),
        ("minute_aggs_v1", "15m", False),
    ],
)
def test_quotes_are_used_where_the_mirror_has_them_and_the_rows_are_minutes(
    shared_data, tmp_path, dataset, timeframe, quoted
):
    for name in dataset.split():
        key = f"us_stocks_sip/{name}/2013/10/{DAY}.csv.gz"
        (tmp_path / "vendor" / key).parent.mkdir(parents=True)
        shutil.copy2(shared_data / key, tmp_path / "vendor" / key)
    settings = load_settings({"STRATEGY_HOME": str(tmp_path), "FLAT_FILES_URL": str(tmp_path / "vendor")})
    definitions = build_defs(**default_resources(lambda: settings))
    with open_instance(settings) as instance:
        prepare(settings, definitions, instance, Window(f"{DAY}", f"{DAY}", ("IBM",), (timeframe,)))
    lake = Lake(settings.lake_location)
    assert lake.sessions(QUOTED_SPREADS) == ([DAY] if quoted else [])
    rows = lake.read_sessions(FEATURES, [DAY], timeframe=timeframe, where=pl.col("symbol") == "IBM")
    assert rows.height > 0
    assert (rows["spread_pct"].null_count() == 0) == quoted


@pytest.mark.parametrize(
    ("first", "before"), [("1998-01-02", "1998-01-02"), ("1998-01-05", "1998-01-02"), ("2024-11-29", "2024-11-27")]
)
def test_a_window_goes_by_the_session_before_it_where_the_calendar_has_one(first, before):
    assert Window(first, "2024-12-02", (), ("1h",)).with_the_session_before == (before, "2024-12-02")
