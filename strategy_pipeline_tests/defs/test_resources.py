"""The flat-file store over S3 as the assets get it: a real S3 server over HTTP, path-style, wrong keys included."""

import boto3
import pytest
from moto.server import ThreadedMotoServer

from strategy_pipeline.commands.doctor import Finding
from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.launch import open_instance, written
from strategy_pipeline.defs.resources import default_resources, flat_file_store
from strategy_pipeline.errors import SettingsError, UnreachableError
from strategy_pipeline.ingestion.flat_files import LocalFlatFileStore, S3FlatFileStore
from strategy_pipeline.settings import Watchlist, load_settings
from strategy_pipeline_tests.defs.small_market import FILES, SmallMarket, bytes_below, small_market


@pytest.fixture(scope="module")
def endpoint():
    """The address of an S3 server on a free port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def of_bucket(home, endpoint, **more):
    keys = {"MASSIVE_AWS_ACCESS_KEY": "key", "MASSIVE_AWS_SECRET_KEY": "secret", "MASSIVE_S3_ENDPOINT": endpoint}
    return load_settings({"STRATEGY_HOME": str(home), **keys, **more})


def test_bars_from_the_bucket_are_the_bars_of_the_mirror(tmp_path, endpoint):
    mirror = small_market(tmp_path / "mirror", sessions=3)
    client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id="key", aws_secret_access_key="secret",
                          region_name="us-east-1")  # fmt: skip
    client.create_bucket(Bucket="flatfiles")
    folder = mirror.settings.vendor_folder
    for name, content in bytes_below(folder).items():
        client.put_object(Bucket="flatfiles", Key=name, Body=content)
    settings = of_bucket(tmp_path / "bucket", endpoint)
    watched = Watchlist(mirror.market.watchlist())
    definitions = build_defs(**{**default_resources(lambda: settings), "watchlist": watched})
    bucket = SmallMarket(tmp_path / "bucket", mirror.market, settings, definitions)
    with open_instance(settings) as instance:
        result = bucket.run(instance, [*FILES, "corporate_actions", "historical_bars"])
        assert written(instance, result.run_id, "stock_minute_file") == [day.isoformat() for day in bucket.sessions]
    raw = bytes_below(settings.raw_folder)
    published = bytes_below(folder)
    assert {name: content for name, content in raw.items() if not name.endswith(".json")} == published


def test_a_folder_is_a_mirror_and_s3_is_a_bucket(tmp_path):
    assert isinstance(flat_file_store(load_settings({"FLAT_FILES_URL": str(tmp_path)})), LocalFlatFileStore)
    store = flat_file_store(of_bucket(tmp_path, "http://127.0.0.1:1"))
    assert isinstance(store, S3FlatFileStore)
    assert store.location == "s3://flatfiles at http://127.0.0.1:1"


def test_a_folder_inside_the_bucket_is_not_a_place_for_flat_files(tmp_path):
    with pytest.raises(SettingsError, match="without a folder behind it"):
        flat_file_store(of_bucket(tmp_path, "http://127.0.0.1:1", FLAT_FILES_URL="s3://bucket/folder"))


def test_an_unreachable_endpoint_fails_the_run_with_its_sentence(tmp_path):
    settings = of_bucket(tmp_path, "http://127.0.0.1:1")
    definitions = build_defs(**default_resources(lambda: settings))
    run = SmallMarket(tmp_path, small_market(tmp_path / "m", sessions=3).market, settings, definitions).run
    with open_instance(settings) as instance, pytest.raises(UnreachableError, match="Cannot reach the endpoint"):
        run(instance, ["stock_day_file"])


def test_a_finding_is_one_line():
    assert Finding("ok", "lake", "no bars yet").line == "ok     lake        no bars yet"
