"""What a user waits for: start-up, a ranged backfill through Dagster with its events on disk, and the demo.

`python -m benchmarks.pipeline` works in a temporary folder, starts every command as a process, prints seconds
beside limits, and keeps them in benchmarks/results/pipeline.json.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
COMMAND = [sys.executable, "-m", "strategy_pipeline.cli"]
# interfaces.md and the aims of performance.md, seconds.
LIMITS = {
    "strategy-pipeline --help": 0.5,
    "import of the definitions": 4.0,
    "files to features, 90 sessions x 10 symbols": 20.0,
    "demo, second run": 20.0,
}


def seconds(command: list[str], home: Path, repeats: int = 1) -> float:
    """Median wall time of a command that must end with status 0."""
    environment = {**os.environ, "STRATEGY_HOME": str(home), "PYTHONWARNINGS": "ignore"}
    # What a user has: byte code is cached, and no other market is configured.
    for name in ("FLAT_FILES_URL", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(name, None)
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, env=environment, capture_output=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def market(home: Path) -> tuple[str, str]:
    """Writes the demo's market and returns its first and last session."""
    from strategy_pipeline.synthetic.files import SyntheticMarket

    synthetic = SyntheticMarket()
    synthetic.write(home / "vendor")
    return synthetic.plan.sessions[0].isoformat(), synthetic.plan.sessions[-1].isoformat()


BACKFILL = """
import sys
from pathlib import Path
import dagster as dg
from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.launch import materialize, open_instance
from strategy_pipeline.settings import load_settings

with open_instance(load_settings()) as instance:
    done = materialize(
        build_defs(), instance, "backfill_bars",
        assets=["stock_minute_file", "index_minute_file", "stock_day_file", "index_day_file", "corporate_actions",
                "historical_bars", "features"],
        keys=(sys.argv[1], sys.argv[2]), trigger="benchmark",
    )
assert done.success
"""


def main() -> int:
    """Prints the table and returns 0 when every limit holds."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="pipeline-benchmark-") as name:
        home = Path(name)
        importing = [sys.executable, "-c", "import strategy_pipeline.definitions"]
        seconds(importing, home)
        figures["strategy-pipeline --help"] = seconds([*COMMAND, "--help"], home, 5)
        figures["import of the definitions"] = seconds(importing, home, 3)
        first, last = market(home / "backfill")
        backfill = [sys.executable, "-c", BACKFILL, first, last]
        figures["files to features, 90 sessions x 10 symbols"] = seconds(backfill, home / "backfill")
        figures["the same again, nothing changed"] = seconds(backfill, home / "backfill")
        figures["demo, first run"] = seconds([*COMMAND, "demo"], home / "demo")
        figures["demo, second run"] = seconds([*COMMAND, "demo"], home / "demo")
    for what, value in figures.items():
        limit = LIMITS.get(what)
        verdict = "" if limit is None else f"limit {limit:g} s   {'held' if value <= limit else 'MISSED'}"
        print(f"  {what:48}{value:7.2f} s   {verdict}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "pipeline.json").write_text(json.dumps({"seconds": figures, "limits": LIMITS}, indent=2) + "\n")
    return int(any(figures[what] > limit for what, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
