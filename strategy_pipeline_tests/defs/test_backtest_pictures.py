"""Each detector that traded shows its equity and its results in R; the pictures do not grow with the years."""

import base64
import re

import dagster as dg
import numpy as np
import pytest

from strategy_pipeline.backtest.charts import equity_chart
from strategy_pipeline.backtest.drawing import markdown_image
from strategy_pipeline.backtest.estimates import max_drawdown
from strategy_pipeline.defs.launch import materialize, open_instance
from strategy_pipeline.detectors import catalogue
from strategy_pipeline.market import calendar
from strategy_pipeline_tests.defs.small_market import UPSTREAM, small_market

# Metadata lies in the event log, one event a detector and run.
MOST_CHARACTERS = 40_000


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """The newest materialisation of the trades of each detector, by name."""
    market = small_market(tmp_path_factory.mktemp("home"))
    with open_instance(market.settings) as instance:
        assert market.run(instance, UPSTREAM).success
        run = materialize(
            market.definitions,
            instance,
            "run_backtests",
            assets=["backtest_trades"],
            keys=(catalogue.ALL_NAMES[0], catalogue.ALL_NAMES[-1]),
            config={"backtest_trades": {"timeframe": "15m"}},
            trigger="test",
        )
        assert run.success
        records = instance.fetch_materializations(dg.AssetKey("backtest_trades"), limit=100).records
        return {one.partition_key: one.asset_materialization.metadata for one in records}


def drawn(metadata, name):
    """The SVG inside a Markdown picture."""
    found = re.fullmatch(r"!\[[^\]]+\]\(data:image/svg\+xml;base64,([^)]+)\)", metadata[name].value)
    assert found is not None
    return base64.b64decode(found[1]).decode()


def test_a_detector_that_traded_has_both_pictures_and_the_others_have_none(tested):
    assert set(tested) == set(catalogue.ALL_NAMES)
    traded = {name for name, metadata in tested.items() if metadata["dagster/row_count"].value}
    assert traded
    for name, metadata in tested.items():
        assert {"equity", "r_histogram"} & set(metadata) == ({"equity", "r_histogram"} if name in traded else set())
    for name in traded:
        trades = tested[name]["dagster/row_count"].value
        for picture in ("equity", "r_histogram"):
            assert len(tested[name][picture].value) < MOST_CHARACTERS
            assert f"(n = {trades:,})" in drawn(tested[name], picture)


def test_twenty_years_take_no_more_room_than_that():
    days = calendar.session_frame()["session"][:5_200].to_list()
    pnl_usd = np.random.default_rng(7).normal(0.0, 400.0, len(days))
    chart = equity_chart(days, pnl_usd, 100_000.0, max_drawdown(pnl_usd, 100_000.0, days), trades=9_000)
    assert len(markdown_image(chart, "equity")) < MOST_CHARACTERS
