"""The vendor's REST side as a run gets it: key and address from the settings, the clock of the run."""

from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from strategy_pipeline.defs.resources import default_resources, vendor_api
from strategy_pipeline.errors import SettingsError
from strategy_pipeline.settings import load_settings
from strategy_pipeline_tests.ingestion.rest_peer import KEY, RestPeer, serving

AT = datetime(2015, 12, 24, 18, 0, 5, tzinfo=UTC)


class StoppedClock:
    """A clock that stands still."""

    def now(self) -> datetime:
        return AT


def test_a_run_asks_the_configured_address_with_the_configured_key_by_its_own_clock(shared_data: Path) -> None:
    with serving(RestPeer(shared_data / "rest" / "v3", date(2015, 12, 24))) as peer:
        settings = load_settings({"MASSIVE_API_KEY": KEY, "MASSIVE_BASE_URL": f"{peer.url}/"})
        resources = {**default_resources(lambda: settings), "clock": StoppedClock()}
        seen = {}

        @dg.asset(required_resource_keys={"vendor_api"})
        def chain(context: dg.AssetExecutionContext) -> None:
            seen["answer"] = context.resources.vendor_api.chain_snapshot("GOOG")

        with dg.DagsterInstance.ephemeral() as instance:
            wanted = {name: resources[name] for name in ("vendor_api", "clock")}
            assert dg.materialize([chain], resources=wanted, instance=instance).success
        assert len(seen["answer"].records) == 2_192
        assert seen["answer"].fetched_at == AT
        assert peer.requests[0].headers["Authorization"] == f"Bearer {KEY}"


def test_without_a_key_there_is_no_vendor_and_the_message_names_the_setting() -> None:
    with pytest.raises(SettingsError, match="MASSIVE_API_KEY is not set"):
        vendor_api(load_settings({"STRATEGY_HOME": "somewhere"}))
