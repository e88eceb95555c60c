"""The ``ui`` command: Dagster's web page and daemon on this machine's data, bound to localhost."""

import subprocess
import sys
from pathlib import Path

from strategy_pipeline.defs.launch import prepare_home
from strategy_pipeline.settings import PROJECT_ROOT, Settings, dagster_environment, environment_with

HOST = "127.0.0.1"


def command(settings: Settings, port: int) -> list[str]:
    """The words that start ``dg dev``; its servers are no more talkative than LOG_LEVEL."""
    dg = Path(sys.executable).with_name("dg")
    level = settings.log_level.lower()
    return [str(dg), "dev", "--host", HOST, "--port", str(port), "--use-active-venv", "--log-level", level]


def environment(settings: Settings) -> dict[str, str]:
    """The environment of the servers: the same places whatever folder they are started in, and no telemetry."""
    return environment_with(
        **dagster_environment(settings, prepare_home(settings)),
        STRATEGY_HOME=str(settings.strategy_home),
        DAGSTER_DISABLE_TELEMETRY="1",
    )


def serve(settings: Settings, port: int) -> int:
    """Runs until it is stopped and returns its exit status; an interrupt is a normal end."""
    process = subprocess.Popen(command(settings, port), cwd=PROJECT_ROOT, env=environment(settings))
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        return 0
