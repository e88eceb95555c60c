"""A whole-market minute file into a checked, sorted, written partition, against its peers and its limits.

`python -m benchmarks.parse` writes a deterministic file of about 1.7 million rows and 8,000 tickers into a temporary
folder, times every way in fresh processes, round robin, and prints ratios; benchmarks/results/parse.json keeps them.
"""

import gzip
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
KEY = "us_stocks_sip/minute_aggs_v1/2013/10/2013-10-04.csv.gz"
TICKERS, ROWS, ROUNDS = 8_000, 1_760_000, 5
# 2013-10-04 04:00 New York = 08:00 UTC
FIRST_MINUTE_NS = 1_380_873_600_000_000_000
LIMITS = {"times_bare_polars": 1.5, "times_faster_than_duckdb": 2.0, "peak_mb": 500}


def write_market(path: Path, seed: int = 20131004) -> int:
    """Writes the file and returns its rows: busy tickers trade in most minutes, quiet ones in a few."""
    import numpy as np
    import polars as pl

    draw = np.random.default_rng(seed)
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    names: set[str] = set()
    while len(names) < TICKERS:
        names.add("".join(draw.choice(letters, size=int(draw.integers(1, 6)))))
    weights = draw.pareto(1.2, TICKERS) + 0.15
    wanted = np.clip(weights / weights.sum() * ROWS * 1.6, 4, 900)
    lengths = np.maximum((wanted * ROWS / wanted.sum()).astype(int), 1)
    frames = []
    for name, rows in zip(sorted(names), np.minimum(lengths, 960), strict=True):
        minutes = np.sort(draw.choice(960, size=rows, replace=False))
        close = np.round(draw.uniform(2, 400) * np.exp(np.cumsum(draw.normal(0, 0.0008, rows))), 2)
        opened = np.round(close * (1 + draw.normal(0, 0.0004, rows)), 2)
        frames.append(
            pl.DataFrame(
                {
                    "ticker": [name] * rows,
                    "volume": draw.integers(1, 50_000, rows),
                    "open": opened,
                    "close": close,
                    "high": np.round(np.maximum(opened, close) * (1 + draw.uniform(0, 0.0006, rows)), 2),
                    "low": np.round(np.minimum(opened, close) * (1 - draw.uniform(0, 0.0006, rows)), 2),
                    "window_start": FIRST_MINUTE_NS + minutes * 60_000_000_000,
                    "transactions": draw.integers(1, 400, rows),
                }
            )
        )
    market = pl.concat(frames).with_columns(
        high=pl.max_horizontal("open", "high", "close"), low=pl.min_horizontal("open", "low", "close")
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(market.write_csv().encode(), 6, mtime=0))
    return market.height


def _pipeline(source: Path, folder: Path) -> Callable[[], int]:
    from strategy_pipeline.ingestion.layout import DATASETS
    from strategy_pipeline.ingestion.mirror import RawFile
    from strategy_pipeline.ingestion.parse import parse_aggregates
    from strategy_pipeline.lake.store import Lake
    from strategy_pipeline.lake.tables import HISTORICAL_BARS

    raw = RawFile(KEY, source, source.stat().st_size, "etag", datetime(2013, 10, 5, tzinfo=UTC), "")
    lake = Lake(folder / "lake")

    def run() -> int:
        parsed = parse_aggregates(raw, DATASETS["us_stocks_sip/minute_aggs_v1"])
        return lake.write(HISTORICAL_BARS, {"session": date(2013, 10, 4)}, parsed.bars).rows

    return run


def _pipeline_watchlist(source: Path, folder: Path) -> Callable[[], int]:
    import polars as pl

    from strategy_pipeline.ingestion.layout import DATASETS
    from strategy_pipeline.ingestion.mirror import RawFile
    from strategy_pipeline.ingestion.parse import parse_aggregates
    from strategy_pipeline.lake.store import Lake
    from strategy_pipeline.lake.tables import HISTORICAL_BARS

    raw = RawFile(KEY, source, source.stat().st_size, "etag", datetime(2013, 10, 5, tzinfo=UTC), "")
    lake = Lake(folder / "lake50")
    watched = pl.scan_csv(source).select(pl.col("ticker").unique().sort()).collect()["ticker"].gather_every(160)

    def run() -> int:
        parsed = parse_aggregates(raw, DATASETS["us_stocks_sip/minute_aggs_v1"], watched.to_list())
        lake.write(HISTORICAL_BARS, {"session": date(2013, 10, 4)}, parsed.bars)
        return parsed.counts.read

    return run


def _bare_polars(source: Path, folder: Path) -> Callable[[], int]:
    import polars as pl

    def run() -> int:
        pl.scan_csv(source).sink_parquet(folder / "bare.parquet")
        return ROWS

    return run


def _duckdb(source: Path, folder: Path) -> Callable[[], int]:
    import duckdb

    target = folder / "duck.parquet"

    def run() -> int:
        with duckdb.connect() as connection:
            connection.execute("SET threads = 2")
            connection.execute(
                f"COPY (SELECT * FROM read_csv('{source}') ORDER BY ticker, window_start) "
                f"TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
            )
        return ROWS

    return run


def _duckdb_partition(source: Path, folder: Path) -> Callable[[], int]:
    import duckdb

    target = folder / "duck-partition.parquet"
    # The same rows, checks and columns as the pipeline's partition, but for the search for duplicates.
    query = f"""
        COPY (
            SELECT ticker AS symbol, '1m' AS timeframe, make_timestamp(window_start // 1000) AS bar_start,
                make_timestamp(window_start // 1000 + 60000000) AS bar_end, DATE '2013-10-04' AS session,
                CASE WHEN window_start < 1380893400000000000 THEN 'pre'
                     WHEN window_start < 1380916800000000000 THEN 'rth' ELSE 'post' END AS segment,
                open, high, low, close, volume::DOUBLE AS volume, NULL::DOUBLE AS vwap, transactions AS trades,
                NULL::DOUBLE AS coverage_pct, 'flat_file' AS source, 'final' AS quality,
                []::VARCHAR[] AS quality_flags, make_timestamp(window_start // 1000 + 62000000) AS available_at,
                TIMESTAMP '2013-10-05' AS ingested_at, 0::INTEGER AS revision, 'bars-1/session' AS definition_version
            FROM read_csv('{source}')
            WHERE ticker <> '' AND low > 0 AND low <= open AND low <= close AND open <= high AND close <= high
                AND high < 'inf'::DOUBLE AND volume >= 0 AND transactions >= 0 AND window_start % 60000000000 = 0
                AND window_start >= 1380873600000000000 AND window_start < 1380931200000000000
            ORDER BY symbol, bar_start
        ) TO '{target}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 26624)
    """

    def run() -> int:
        with duckdb.connect() as connection:
            connection.execute("SET threads = 2")
            connection.execute(query)
        return ROWS

    return run


def _pandas(source: Path, folder: Path) -> Callable[[], int]:
    import pandas as pd

    def run() -> int:
        frame = pd.read_csv(source).sort_values(["ticker", "window_start"])
        frame.to_parquet(folder / "pandas.parquet", compression="zstd", index=False)
        return len(frame)

    return run


def _csv_module(source: Path, folder: Path) -> Callable[[], int]:
    import csv

    import pyarrow as pa
    import pyarrow.parquet as pq

    def run() -> int:
        with gzip.open(source, "rt", newline="") as stream:
            reader = csv.reader(stream)
            header = next(reader)
            rows = [
                (t, int(v), float(o), float(c), float(h), float(low), int(w), int(n))
                for t, v, o, c, h, low, w, n in reader
            ]
        rows.sort(key=lambda row: (row[0], row[6]))
        columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table(columns), folder / "csv.parquet", compression="zstd")
        return len(rows)

    return run


WAYS = {
    "pipeline": _pipeline,
    "pipeline, 50 of 8,000 symbols": _pipeline_watchlist,
    "bare polars scan and sink": _bare_polars,
    "duckdb read, sort, write": _duckdb,
    "duckdb, the same partition": _duckdb_partition,
    "pandas read, sort, write": _pandas,
    "csv + gzip modules": _csv_module,
}
# Hopelessly slow ways are timed once.
ONCE = {"csv + gzip modules"}


def _peak_mb() -> float:
    """Largest resident size of this process; getrusage would repeat the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this system does not say how much memory a process used")


def measure(way: str, source: str, folder: str) -> None:
    """Runs one way once in this process and prints seconds, rows and peak memory as JSON."""
    work = WAYS[way](Path(source), Path(folder))
    start, start_cpu = time.perf_counter(), time.process_time()
    rows = work()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "rows": rows, "peak_mb": _peak_mb()}))


def main() -> int:
    """Prints the table and returns 0 when the limits hold."""
    samples: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="parse-benchmark-") as name:
        folder = Path(name)
        source = folder / KEY
        rows = write_market(source)
        size = source.stat().st_size
        for turn in range(ROUNDS):
            for way in WAYS:
                if turn and way in ONCE:
                    continue
                command = [sys.executable, "-m", "benchmarks.parse", way, str(source), name]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                samples[way].append(json.loads(done.stdout))
    seconds = {way: statistics.median(one["seconds"] for one in found) for way, found in samples.items()}
    cpu = {way: statistics.median(one["cpu_seconds"] for one in found) for way, found in samples.items()}
    peaks = {way: max(one["peak_mb"] for one in found) for way, found in samples.items()}
    ours, bare = seconds["pipeline"], seconds["bare polars scan and sink"]
    print(f"{rows:,} rows, {size / 1e6:.1f} MB gzipped, median of {ROUNDS} rounds in fresh processes")
    for way, value in seconds.items():
        rate, ratio = rows / value / 1e6, value / ours
        print(f"  {way:32}{value:6.2f} s{cpu[way]:6.2f} cpu s{rate:6.2f} M rows/s{peaks[way]:6.0f} MB{ratio:6.2f} x")
    figures = {
        "times_bare_polars": ours / bare,
        "times_faster_than_duckdb": seconds["duckdb, the same partition"] / ours,
        "times_faster_than_duckdb_without_checks_or_columns": seconds["duckdb read, sort, write"] / ours,
        "peak_mb": peaks["pipeline"],
    }
    held = {
        "times_bare_polars": figures["times_bare_polars"] <= LIMITS["times_bare_polars"],
        "times_faster_than_duckdb": figures["times_faster_than_duckdb"] >= LIMITS["times_faster_than_duckdb"],
        "peak_mb": figures["peak_mb"] <= LIMITS["peak_mb"],
    }
    for name, value in figures.items():
        limit = f"limit {LIMITS[name]:g}   {'held' if held[name] else 'MISSED'}" if name in held else ""
        print(f"  {name:52}{value:7.2f}   {limit}")
    RESULTS.mkdir(exist_ok=True)
    report = {
        "rows": rows,
        "gz_bytes": size,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_mb": peaks,
        "samples": samples,
        "figures": figures,
        "limits": LIMITS,
        "held": held,
    }
    (RESULTS / "parse.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measure(*sys.argv[1:])
    else:
        sys.exit(main())
