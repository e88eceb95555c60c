"""What a trader waits for: the composite scan of the newest bars of 50 symbols, from the start of the process.

`python -m benchmarks.scan` builds the market in a temporary folder, scans it with and without stored answers of the
context engines, prints seconds beside the limit, and keeps them in benchmarks/results/scan.json.
"""

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import polars as pl

from benchmarks.pipeline import COMMAND, RESULTS, seconds
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import FEATURES, HISTORICAL_BARS

# The synthetic market has so many symbols at most; twenty of its stocks get a namesake with the same bars.
SYMBOLS, NAMESAKES, SESSIONS = 30, 20, 30
# Sessions with features before the scanned one, which say what data there is at all.
FEATURE_SESSIONS = 21
LIMITS = {"scan --once": 2.0, "scoring a session": 2.0}
SCANNED, SCANS = "scan --once", 7


def market(home: Path) -> date:
    """Writes and materialises the market up to its signals; returns its newest session."""
    from strategy_pipeline.definitions import build_defs
    from strategy_pipeline.defs.launch import materialize, open_instance
    from strategy_pipeline.defs.resources import default_resources
    from strategy_pipeline.settings import Watchlist, load_settings
    from strategy_pipeline.synthetic.files import SyntheticMarket

    synthetic = SyntheticMarket(7, SESSIONS, SYMBOLS)
    settings = load_settings({"STRATEGY_HOME": str(home)})
    synthetic.write(settings.vendor_folder)
    definitions = build_defs(**default_resources(lambda: settings) | {"watchlist": Watchlist(synthetic.watchlist())})
    days = [day.isoformat() for day in (*synthetic.plan.history, *synthetic.plan.sessions)]
    files = ["stock_minute_file", "index_minute_file", "stock_day_file", "index_day_file"]
    with open_instance(settings) as instance:
        materialize(
            definitions,
            instance,
            "backfill_bars",
            assets=[
                *files,
                "corporate_actions",
                "historical_bars",
                "market_breadth",
                "market_regime_history",
                "features",
            ],
            keys=(days[0], days[-1]),
            config={"features": {"since": days[-FEATURE_SESSIONS]}, "market_regime_history": {"since": days[-5]}},
            trigger="benchmark",
        )
        _add_namesakes(Lake(settings.lake_location))
        materialize(
            definitions, instance, "score_context", assets=["context_scores", "composite_signals"],
            keys=(days[-1], days[-1]), trigger="benchmark",
        )  # fmt: skip
    return synthetic.plan.sessions[-1]


def _add_namesakes(lake: Lake) -> None:
    """Writes bars and features of some stocks a second time under another name."""
    for table in (HISTORICAL_BARS, FEATURES):
        for key in lake.keys(table):
            rows = lake.read(table, [key])
            stocks = rows.filter(~pl.col("symbol").is_in(["SPX", "NDX", "SPY", "QQQ"]))["symbol"].unique().sort()
            chosen = rows.filter(pl.col("symbol").is_in(stocks[:NAMESAKES].implode()))
            renamed = chosen.with_columns(pl.concat_str(pl.lit("X"), "symbol").alias("symbol"))
            lake.write(table, key, pl.concat([rows, renamed]), lake.metadata(table, key))


def scoring(home: Path, day: date) -> tuple[float, int]:
    """Seconds that firings, context and scores of a whole session take inside a warm process, and the firings."""
    from strategy_pipeline.defs.signal_inputs import SignalInputs
    from strategy_pipeline.scoring.rules import rules_from

    taken = []
    for _ in range(7):
        start = time.perf_counter()
        inputs = SignalInputs(Lake(home / "lake"), rules_from())
        rows = inputs.rows(day, inputs.fired(inputs.features([day])))
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), rows.height


def main() -> int:
    """Prints the table and returns 0 when every limit holds."""
    with tempfile.TemporaryDirectory(prefix="scan-benchmark-") as name:
        home = Path(name)
        day = market(home)
        before = os.times()
        figures = {SCANNED: seconds([*COMMAND, "scan", "--once"], home, SCANS)}
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        # On a busy machine the processor time says more than the clock.
        figures["processor time of a scan"] = spent / SCANS
        figures["scoring a session"], firings = scoring(home, day)
        shutil.rmtree(home / "lake" / "context_scores")
        figures["scan --once, engines asked anew"] = seconds([*COMMAND, "scan", "--once"], home, 3)
    print(f"  {SYMBOLS + NAMESAKES} symbols, {firings} firings in the session")
    for what, value in figures.items():
        limit = LIMITS.get(what)
        verdict = "" if limit is None else f"limit {limit:g} s   {'held' if value <= limit else 'MISSED'}"
        print(f"  {what:48}{value:7.2f} s   {verdict}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scan.json").write_text(
        json.dumps({"seconds": figures, "limits": LIMITS, "symbols": SYMBOLS + NAMESAKES, "firings": firings}, indent=2)
        + "\n"
    )
    return int(any(figures[what] > limit for what, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
