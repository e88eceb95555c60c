"""Fixtures shared by the whole suite, and nothing that a single test module could hold itself."""

import os
from pathlib import Path

import pytest

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
