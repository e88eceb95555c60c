"""What assets are handed: settings, watchlist, lake, the vendor's files and REST side, our copies, a progress display.

Each is built when a run first asks for it, never at import. Clients of S3 and REST are made here and nowhere else.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import SecretStr

from strategy_pipeline.defs.progress import NoProgress
from strategy_pipeline.errors import SettingsError
from strategy_pipeline.ingestion.flat_files import FlatFileStore, LocalFlatFileStore, S3FlatFileStore
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.ingestion.vendor_api import RetryPolicy, VendorApi
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.settings import Settings, load_settings, load_thresholds, load_watchlist


class Clock:
    """What time it is; tests hand in one that stands still."""

    def now(self) -> datetime:
        """The present moment, UTC."""
        return datetime.now(UTC)


def flat_file_store(settings: Settings) -> FlatFileStore:
    """The place FLAT_FILES_URL names: a folder, or a bucket through dagster-aws with path-style addresses."""
    location = settings.flat_files_location
    if not location.startswith("s3://"):
        return LocalFlatFileStore(Path(location))
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    if prefix.strip("/"):
        raise SettingsError(f"FLAT_FILES_URL is {location!r} (text): expected s3://bucket without a folder behind it.")
    return S3FlatFileStore(s3_client(settings), bucket)


def s3_client(settings: Settings) -> Any:
    """A client of the vendor's endpoint; with an endpoint of its own, botocore addresses buckets path-style."""
    from dagster_aws.s3 import S3Resource

    access, secret = settings.massive_aws_access_key, settings.massive_aws_secret_key
    return S3Resource(
        endpoint_url=settings.massive_s3_endpoint,
        region_name=settings.massive_s3_region,
        aws_access_key_id=access.get_secret_value() if access else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        max_attempts=5,
    ).get_client()


def vendor_api(settings: Settings, clock: Clock | None = None, retry: RetryPolicy | None = None) -> VendorApi:
    """The vendor's REST side at MASSIVE_BASE_URL; raises SettingsError without MASSIVE_API_KEY."""
    from massive import RESTClient

    if settings.massive_api_key is None:
        raise SettingsError("MASSIVE_API_KEY is not set: set the vendor's REST key to ask for chains and recent bars.")
    client = RESTClient(
        settings.massive_api_key.get_secret_value(),
        connect_timeout=10.0,
        # A page of 250 contracts takes the vendor a second or two on a busy day.
        read_timeout=30.0,
        base=settings.massive_base_url,
    )
    return VendorApi(client, now=(clock or Clock()).now, retry=retry)


def vendor_api_if_any(settings: Settings, clock: Clock | None = None) -> VendorApi | None:
    """The vendor's REST side for those who can do without it: None without MASSIVE_API_KEY."""
    return None if settings.massive_api_key is None else vendor_api(settings, clock)


def database_answers(url: SecretStr) -> bool:
    """Whether a PostgreSQL server accepts a connection within five seconds."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(url.get_secret_value(), connect_args={"connect_timeout": 5})
        with engine.connect():
            return True
    except (SQLAlchemyError, ImportError, ValueError):
        return False


def _resource(description: str, build: Callable[[], Any]) -> dg.ResourceDefinition:
    return dg.ResourceDefinition(resource_fn=lambda _: build(), description=description)


def default_resources(read_settings: Callable[[], Settings] = load_settings) -> dict[str, Any]:
    """Resources by the name under which assets ask for them."""
    return {
        "settings": _resource("Settings from the environment and .env", read_settings),
        "watchlist": _resource("The watched instruments", lambda: load_watchlist(read_settings().watchlist)),
        "scoring_rules": _resource("Thresholds of a signal", lambda: load_thresholds(read_settings().thresholds)),
        "lake": _resource("Tables of the project, on a folder or S3", lambda: Lake(read_settings().lake_location)),
        "flat_files": _resource("The vendor's files, a bucket or mirror", lambda: flat_file_store(read_settings())),
        "raw_files": _resource("Our copy of the vendor's files", lambda: RawMirror(read_settings().raw_folder)),
        "vendor_api": dg.ResourceDefinition(
            resource_fn=lambda context: vendor_api(read_settings(), context.resources.clock),
            required_resource_keys={"clock"},
            description="The vendor's REST side",
        ),
        "vendor_api_if_any": dg.ResourceDefinition(
            resource_fn=lambda context: vendor_api_if_any(read_settings(), context.resources.clock),
            required_resource_keys={"clock"},
            description="The vendor's REST side, or nothing without a key",
        ),
        "clock": _resource("What time it is", Clock),
        "progress": _resource("Where long work reports how far it is", NoProgress),
    }
