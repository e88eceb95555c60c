"""Fixtures shared by the whole suite, and nothing that a single test module could hold itself."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from strategy_pipeline_tests.postgres_server import PostgresServer

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real market data beside the repository; a test that needs it fails with a sentence when it is absent."""
    path = Path(os.environ.get("STRATEGY_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (path / "us_stocks_sip").is_dir():
        pytest.fail(
            f"The real market data is not at {path}: put it there or point STRATEGY_SHARED_DATA at it.", pytrace=False
        )
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL server, started for the tests that ask for it and stopped after the last of them."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def new_database(postgres_server: PostgresServer) -> Callable[[], str]:
    """Makes an empty PostgreSQL database and returns its URL."""
    return postgres_server.new_database
