"""Option chains: one snapshot of 5,000 contracts, and a day of 1.5 million option minutes through the graph.

`python -m benchmarks.options` makes a deterministic option market, times each work in a process of its own after the
compiled loops have been called once (process start is not counted), prints seconds and memory beside limits and
keeps them in benchmarks/results/options.json.
"""

import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
DAY = date(2024, 6, 3)
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG", "HHH", "JJJ", "KKK")
# A third of the underlyings have declared a dividend, which puts every option beyond its ex-date on a tree.
PAYING = ("CCC", "FFF", "JJJ")
EXPIRY_DAYS = (0, 1, 2, 4, 7, 11, 18, 25, 32, 46, 74, 109, 165, 228, 319)
MANY_EXPIRY_DAYS = (
    1, 2, 3, 4, 7, 9, 11, 14, 18, 21, 25, 32, 39, 46, 60, 74, 90, 109, 137, 165, 200, 228, 270, 319, 400,
)  # fmt: skip
STRIKES_A_SIDE = 50
ROWS = 1_500_000
RATE = 0.05
LIMITS = {"snapshot_s": 0.5, "day_s": 60.0, "day_peak_mb": 4_000.0}


def contracts(symbol: str, seed: int, expiries: Any = EXPIRY_DAYS) -> Any:
    """Listed contracts of one underlying: ticker, terms, a volatility of its own, open interest."""
    import numpy as np
    import polars as pl

    from strategy_pipeline.market.options import expires_at

    draw = np.random.default_rng(seed)
    spot = float(np.round(draw.uniform(60, 480), 2))
    frames = []
    for days in expiries:
        expiration = DAY + timedelta(days=days)
        years = max((expires_at(expiration, "pm") - datetime(2024, 6, 3, 13, 30, tzinfo=UTC)).total_seconds(), 3600)
        deviation = 0.28 * np.sqrt(years / 31_536_000)
        step = max(0.1, round(10 * spot * 2.2 * deviation / STRIKES_A_SIDE) / 10)
        strike = np.unique(np.maximum(np.round(np.arange(-STRIKES_A_SIDE, STRIKES_A_SIDE) * step + spot, 1), 0.1))
        k = np.log(strike / spot)
        for side in ("call", "put"):
            frames.append(
                pl.DataFrame(
                    {
                        "strike": strike,
                        "iv": 0.28 - 0.1 * k + 0.3 * k * k,
                        "open_interest": draw.integers(0, 8_000, len(strike)),
                        "nearness": np.exp(-0.5 * (k / deviation / 1.5) ** 2) / (1.0 + days / 10.0) + 0.01,
                    }
                ).with_columns(
                    option_type=pl.lit(side),
                    expiration=pl.lit(expiration),
                    expires_at=pl.lit(expires_at(expiration, "pm")),
                )
            )
    frame = pl.concat(frames).with_columns(symbol=pl.lit(symbol), spot=pl.lit(spot))
    digits = (pl.col("strike") * 1000).round().cast(pl.Int64).cast(pl.String).str.zfill(8)
    letter = pl.col("option_type").str.head(1).str.to_uppercase()
    return frame.with_columns(
        contract_ticker=pl.format("O:{}{}{}{}", "symbol", pl.col("expiration").dt.strftime("%y%m%d"), letter, digits)
    )


def path_of(seed: int, spot: float) -> Any:
    """The underlying's close of each of the session's 390 minutes, $."""
    import numpy as np

    steps = np.random.default_rng(seed + 1_000).normal(0, 0.28 / np.sqrt(252 * 390), 390)
    return np.round(spot * np.exp(np.cumsum(steps)), 2)


def priced(frame: Any, spots: Any, at: Any) -> Any:
    """$ per share of each contract at an underlying and a moment, in cents."""
    import numpy as np

    from strategy_pipeline.pricing import black_scholes

    years = np.maximum((frame["expires_at"].to_numpy() - at) / np.timedelta64(1, "s"), 60.0) / 31_536_000
    calls = (frame["option_type"] == "call").to_numpy()
    price = black_scholes.price(spots, frame["strike"].to_numpy(), years, RATE, 0.0, frame["iv"].to_numpy(), calls)
    intrinsic = np.maximum(np.where(calls, 1.0, -1.0) * (spots - frame["strike"].to_numpy()), 0.0)
    return np.maximum(np.round(np.maximum(price, intrinsic), 2), 0.01)


def underlying_bars(paths: dict[str, Any]) -> Any:
    """1m rows of historical_bars."""
    import numpy as np
    import polars as pl

    from strategy_pipeline.lake.tables import HISTORICAL_BARS
    from strategy_pipeline.market.calendar import session

    start = session(DAY).open.replace(tzinfo=None)
    minutes = np.datetime64(start, "us") + np.arange(390) * np.timedelta64(60_000_000, "us")
    frames = [
        pl.DataFrame({"symbol": [symbol] * 390, "bar_start": minutes, "close": path}) for symbol, path in paths.items()
    ]
    end = pl.col("bar_start") + pl.duration(minutes=1)
    return (
        pl.concat(frames)
        .with_columns(pl.col("bar_start").dt.replace_time_zone("UTC"))
        .select(
            "symbol", pl.lit("1m").alias("timeframe"), "bar_start", end.alias("bar_end"), pl.lit(DAY).alias("session"),
            pl.lit("rth").alias("segment"), *(pl.col("close").alias(name) for name in ("open", "high", "low", "close")),
            pl.lit(1_000.0).alias("volume"), pl.lit(None).alias("vwap"), pl.lit(None).alias("trades"),
            pl.lit(None).alias("coverage_pct"), pl.lit("flat_file").alias("source"), pl.lit("final").alias("quality"),
            pl.lit([], dtype=pl.List(pl.String)).alias("quality_flags"),
            (end + pl.duration(seconds=2)).alias("available_at"), end.alias("ingested_at"),
            pl.lit(0).alias("revision"), pl.lit("bars-1/session").alias("definition_version"),
        )
        .cast(HISTORICAL_BARS.polars_schema)
        .sort(*HISTORICAL_BARS.sort_by)
    )  # fmt: skip


def rates() -> Any:
    """A flat curve known since long."""
    import polars as pl

    from strategy_pipeline.lake.tables import RATE_CURVE

    known = datetime(2020, 1, 2, tzinfo=UTC)
    rows = [(known, 1 / 365, RATE, "synthetic", known, "rates-1")]
    return pl.DataFrame(rows, schema=RATE_CURVE.polars_schema, orient="row")


def dividends(symbols: Any) -> Any:
    """One declared dividend of 0.4 % a symbol, three weeks ahead."""
    import polars as pl

    from strategy_pipeline.lake.tables import CORPORATE_ACTIONS

    known = datetime(2024, 5, 15, 12, tzinfo=UTC)
    rows = [(symbol, "dividend", DAY + timedelta(days=21), None, 0.9, known, "flat_file") for symbol in symbols]
    return pl.DataFrame(rows, schema=CORPORATE_ACTIONS.polars_schema, orient="row")


def interest(frame: Any) -> Any:
    """Rows of open_interest."""
    import polars as pl

    from strategy_pipeline.lake.tables import OPEN_INTEREST
    from strategy_pipeline.market.calendar import previous_session
    from strategy_pipeline.market.options import morning_of_open_interest

    morning = morning_of_open_interest(DAY)
    return frame.select(
        pl.lit(DAY).alias("session"), "contract_ticker", "symbol", "open_interest",
        pl.lit(previous_session(DAY)).alias("oi_session"), pl.lit("flat_file").alias("source"),
        pl.lit("final").alias("quality"), pl.lit([], dtype=pl.List(pl.String)).alias("quality_flags"),
        pl.lit(morning).alias("available_at"), pl.lit(morning).alias("ingested_at"), pl.lit(0).alias("revision"),
        pl.lit("open-interest-1").alias("definition_version"),
    ).cast(OPEN_INTEREST.polars_schema).sort(*OPEN_INTEREST.sort_by)  # fmt: skip


def snapshot(folder: Path) -> dict[str, float]:
    """Seconds from the quotes of 5,000 contracts to Greeks and dealer gamma in a lake: without and with a dividend."""
    import numpy as np
    import polars as pl

    from strategy_pipeline.analytics.chains import chain_snapshots
    from strategy_pipeline.analytics.gamma_exposure import gamma_exposure
    from strategy_pipeline.ingestion.option_files import option_contracts
    from strategy_pipeline.lake.store import Lake
    from strategy_pipeline.lake.tables import GAMMA_EXPOSURE_SNAPSHOTS, HISTORICAL_GREEKS

    listed = contracts("AAA", 1, MANY_EXPIRY_DAYS)
    spot = listed["spot"][0]
    at = datetime(2024, 6, 3, 15, 0, tzinfo=UTC)
    mid = priced(listed, spot, np.datetime64(at.replace(tzinfo=None), "us"))
    half = np.maximum(0.01, np.round(0.01 * mid, 2))
    quotes = listed.select("contract_ticker").with_columns(
        bid=pl.Series(np.maximum(mid - half, 0.0)), ask=pl.Series(mid + half), event_at=pl.lit(at),
        available_at=pl.lit(at), ingested_at=pl.lit(at),
    ).with_columns(pl.col("event_at", "available_at", "ingested_at").cast(pl.Datetime("us", "UTC")))  # fmt: skip
    bars = underlying_bars({"AAA": np.full(390, spot)})
    terms = option_contracts(DAY, {"quotes": quotes}).rows
    known, curve, lake = interest(listed), rates(), Lake(folder / "lake")

    def run(actions: Any) -> float:
        start = time.perf_counter()
        rows = chain_snapshots(
            DAY, terms, bars, quotes=quotes, open_interest=known, rates=curve, actions=actions, snapshots=[at]
        )
        greeks = time.perf_counter()
        gamma = gamma_exposure(rows)
        exposed = time.perf_counter()
        lake.write(HISTORICAL_GREEKS, {"session": DAY}, rows)
        lake.write(GAMMA_EXPOSURE_SNAPSHOTS, {"session": DAY}, gamma)
        done = time.perf_counter()
        assert rows.height == 5_000
        assert gamma["flip_status"].cast(pl.String)[0] == "ok", rows["iv_status"].value_counts()
        trees = (rows["exercise_model"].cast(pl.String) == "lr_tree").sum()
        parts = f"greeks {greeks - start:.3f}, gamma {exposed - greeks:.3f}, write {done - exposed:.3f}"
        print(f"    {parts}; {rows['iv'].count():,} volatilities, {trees:,} trees", file=sys.stderr)
        return done - start

    figures = {}
    for name, actions in (("snapshot_s", dividends([])), ("snapshot_all_on_trees_s", dividends(["AAA"]))):
        run(actions)
        figures[name] = min(run(actions) for _ in range(5))
    return figures


def write_day(folder: Path) -> None:
    """The vendor's file of a day's option minutes, and what else the graph reads, in a lake."""
    import numpy as np
    import polars as pl

    from strategy_pipeline.lake.store import Lake
    from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, HISTORICAL_BARS, OPEN_INTEREST, RATE_CURVE

    listed = [contracts(symbol, seed) for seed, symbol in enumerate(SYMBOLS)]
    paths = {frame["symbol"][0]: path_of(seed, frame["spot"][0]) for seed, frame in enumerate(listed)}
    everything = pl.concat(listed)
    draw = np.random.default_rng(11)
    weights = everything["nearness"].to_numpy()
    spots = {name: path for name, path in paths.items()}
    start = np.datetime64("2024-06-03T13:30:00", "us")
    frames = []
    for minute in range(390):
        chance = np.minimum(1.0, weights * ROWS / 390 / weights.sum() * _SURPLUS)
        chosen = everything.filter(pl.Series(draw.random(len(weights)) < chance))
        own = chosen["symbol"].replace_strict(list(spots), [float(p[minute]) for p in spots.values()]).to_numpy()
        price = priced(chosen, own, start + np.timedelta64((minute + 1) * 60, "s"))
        frames.append(
            chosen.select(
                ticker="contract_ticker", volume=pl.Series(draw.integers(1, 200, len(price))), open=pl.Series(price),
                close=pl.Series(price), high=pl.Series(price), low=pl.Series(price),
                window_start=pl.lit(int(start.astype("int64")) * 1_000 + minute * 60_000_000_000),
                transactions=pl.lit(3),
            )
        )  # fmt: skip
    traded = pl.concat(frames)
    file = traded.sample(min(ROWS, traded.height), seed=5).sort("ticker", "window_start")
    path = folder / "vendor" / f"us_options_opra/minute_aggs_v1/{DAY:%Y/%m}/{DAY}.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(file.write_csv().encode(), 1, mtime=0))
    lake, key = Lake(folder / "home" / "lake"), {"session": DAY}
    lake.write(HISTORICAL_BARS, key, underlying_bars(paths))
    lake.write(OPEN_INTEREST, key, interest(everything))
    lake.write(RATE_CURVE, {}, rates())
    lake.write(CORPORATE_ACTIONS, {}, dividends(PAYING))
    print(
        f"    {file.height:,} rows, {file['ticker'].n_unique():,} of {everything.height:,} contracts", file=sys.stderr
    )


# Contracts that would trade several times a minute trade once in this market, so that more of the others have to.
_SURPLUS = 1.6


def day(folder: Path) -> dict[str, float]:
    """Seconds and peak memory from the file of a day to its chains and dealer gamma, through the graph."""
    import dagster as dg
    import numpy as np

    from strategy_pipeline.definitions import build_defs
    from strategy_pipeline.defs.launch import materialize
    from strategy_pipeline.defs.resources import default_resources
    from strategy_pipeline.market.symbols import instrument
    from strategy_pipeline.pricing import american, black_scholes, implied_volatility
    from strategy_pipeline.settings import Watchlist, load_settings

    settings = load_settings({"STRATEGY_HOME": str(folder / "home"), "FLAT_FILES_URL": str(folder / "vendor")})
    watchlist = Watchlist(tuple(instrument(symbol) for symbol in SYMBOLS))
    definitions = build_defs(**{**default_resources(lambda: settings), "watchlist": watchlist})
    one = np.array([100.0])
    implied_volatility.implied_volatilities(one * 0.1, one, one, 0.5, 0.05, 0.0, True)
    american.implied_volatilities(one * 0.1, one, one, 0.5, 0.05, 0.0, False, 0.01)
    american.price_and_greeks(one, one, 0.5, 0.05, 0.0, 0.2, False)
    black_scholes.price_and_greeks(one, one, 0.5, 0.05, 0.0, 0.2, True)
    keys = (DAY.isoformat(), DAY.isoformat())
    figures: dict[str, float] = {}
    of_processor: dict[str, float] = {}
    with dg.DagsterInstance.ephemeral() as instance:
        for name, assets in (
            ("file_s", ["option_minute_file"]),
            ("contracts_s", ["option_contracts"]),
            ("greeks_s", ["historical_greeks"]),
            ("gamma_s", ["gamma_exposure_snapshots"]),
        ):
            start = time.perf_counter(), time.process_time()
            materialize(definitions, instance, "backfill_options", assets=assets, keys=keys, trigger="benchmark")
            figures[name] = time.perf_counter() - start[0]
            of_processor[f"{name.removesuffix('_s')}_cpu_s"] = time.process_time() - start[1]
    figures["day_s"] = sum(figures.values())
    # On a machine that others use the wall says less than the time of the processors.
    figures |= {**of_processor, "day_cpu_s": sum(of_processor.values())}
    figures["day_peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


def measured(work: str, folder: Path) -> dict[str, float]:
    """The figures of one work, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.options", work, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
    """Prints the table and returns 0 when every limit holds."""
    with tempfile.TemporaryDirectory(prefix="options-benchmark-") as name:
        folder = Path(name)
        figures = measured("snapshot", folder)
        write_day(folder)
        figures |= measured("day", folder)
    for what, value in figures.items():
        limit = LIMITS.get(what)
        verdict = "" if limit is None else f"limit {limit:g}   {'held' if value <= limit else 'MISSED'}"
        print(f"  {what:28}{value:10.2f}   {verdict}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "options.json").write_text(json.dumps({"figures": figures, "limits": LIMITS}, indent=2) + "\n")
    return int(any(figures[what] > limit for what, limit in LIMITS.items()))


WORKS = {"snapshot": snapshot, "day": day}

if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(WORKS[sys.argv[1]](Path(sys.argv[2]))))
    else:
        sys.exit(main())
