"""Warnings of the beta features that are used on purpose are not shown; every other warning is."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def warnings_of(script: str) -> str:
    process = subprocess.run(
        [sys.executable, "-W", "always", "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return process.stderr


def test_loading_the_definitions_warns_of_nothing():
    assert warnings_of("import strategy_pipeline.definitions") == ""


def test_another_beta_feature_and_another_warning_are_shown():
    shown = warnings_of(
        "import warnings, strategy_pipeline.defs\n"
        "import dagster as dg\n"
        "warnings.warn('Parameter `moon` of function `asset` is currently in beta', dg.BetaWarning)\n"
        "warnings.warn('something else')\n"
    )
    assert "Parameter `moon`" in shown
    assert "something else" in shown
