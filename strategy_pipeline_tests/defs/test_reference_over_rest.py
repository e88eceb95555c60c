"""Corporate actions over REST, for a machine with a key and without the files."""

from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.launch import materialize
from strategy_pipeline.defs.resources import default_resources
from strategy_pipeline.errors import NotEntitledError
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS
from strategy_pipeline.market.symbols import instrument
from strategy_pipeline.settings import Watchlist, load_settings
from strategy_pipeline_tests.defs.small_market import StandingClock
from strategy_pipeline_tests.ingestion.rest_peer import KEY, Fault, RestPeer, serving

NOW = datetime(2024, 6, 10, 15, 0, tzinfo=UTC)
SPLIT = {"ticker": "NVDA", "execution_date": "2024-06-10", "split_from": 1, "split_to": 10}
DIVIDEND = {"ticker": "NVDA", "ex_dividend_date": "2024-06-11", "cash_amount": 0.01, "declaration_date": "2024-05-22"}


@pytest.fixture
def peer(tmp_path: Path):
    answers = {
        "/v3/reference/splits": [{"status": "OK", "results": [SPLIT]}],
        "/v3/reference/dividends": [{"status": "OK", "results": [DIVIDEND]}],
    }
    with serving(RestPeer(tmp_path, date(2024, 6, 10), answers=answers)) as found:
        yield found


@pytest.fixture
def actions(tmp_path: Path, peer: RestPeer):
    """Runs the asset on a watchlist of a share and an index, and returns what the lake then holds."""

    def run(symbols: tuple[str, ...] = (), **settings: str) -> pl.DataFrame:
        folder = tmp_path / "vendor"
        folder.mkdir(exist_ok=True)
        home = {"STRATEGY_HOME": str(tmp_path / "home"), "FLAT_FILES_URL": str(folder), "MASSIVE_BASE_URL": peer.url}
        found = load_settings({**home, **settings})
        watched = Watchlist((instrument("NVDA"), instrument("SPX")))
        resources = {**default_resources(lambda: found), "clock": StandingClock(NOW), "watchlist": watched}
        asked = {"assets": ["corporate_actions"], "config": {"corporate_actions": {"symbols": list(symbols)}}}
        with dg.DagsterInstance.ephemeral() as instance:
            materialize(build_defs(**resources), instance, "backfill_bars", **asked, trigger="test")
        return Lake(found.lake_location).read(CORPORATE_ACTIONS, [{}])

    return run


def test_without_files_they_come_over_rest_and_an_index_is_not_asked_for(actions, peer):
    rows = actions(MASSIVE_API_KEY=KEY)
    assert rows.select("symbol", "action", "split_ratio", "cash_amount", "source").rows() == [
        ("NVDA", "split", 10.0, None, "rest"),
        ("NVDA", "dividend", None, 0.01, "rest"),
    ]
    assert {one.query["ticker"] for one in peer.requests} == {"NVDA"}


def test_files_that_are_there_are_read_and_the_vendor_is_not_asked(actions, peer, tmp_path):
    path = tmp_path / "vendor" / "reference" / "splits.csv"
    path.parent.mkdir(parents=True)
    path.write_text("ticker,execution_date,split_from,split_to\nSOFI,2024-06-10,1,2\n")
    assert actions(MASSIVE_API_KEY=KEY)["symbol"].to_list() == ["SOFI"]
    assert peer.requests == []


def test_without_a_key_and_without_files_there_are_none(actions, peer):
    assert actions().is_empty()
    assert peer.requests == []


def test_a_refusal_leaves_the_table_as_it_was(actions, peer):
    before = actions(MASSIVE_API_KEY=KEY)
    peer.faults = dict.fromkeys(range(len(peer.requests) + 1, len(peer.requests) + 5), Fault(status=403))
    with pytest.raises(NotEntitledError, match="may not read /v3/reference/splits"):
        actions(MASSIVE_API_KEY=KEY)
    peer.faults = {}
    assert before.height == 2
    assert actions(MASSIVE_API_KEY=KEY).equals(before)


def test_a_symbol_that_was_asked_for_once_stays_in_the_table(actions, peer):
    actions(("SOFI",), MASSIVE_API_KEY=KEY)
    peer.requests.clear()
    actions(MASSIVE_API_KEY=KEY)
    assert {one.query["ticker"] for one in peer.requests} == {"NVDA", "SOFI"}
