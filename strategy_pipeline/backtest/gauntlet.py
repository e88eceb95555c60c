"""The noise gauntlet: markets without an edge, made from a run's own bars, and what detectors earn on them.

Belongs here: the noise (driftless walks, flipped signs, shuffled blocks, reversed time), a whole run on it from bars to
trades, and the gate that its results must pass. Does not belong here: reading bars, verdicts (verdicts), drawing
(charts).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from strategy_pipeline.analytics.adjustment import split_factor
from strategy_pipeline.analytics.features import BAR_COLUMNS, compute_features
from strategy_pipeline.backtest.bootstrap import generator_for
from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.engine import run_backtest
from strategy_pipeline.backtest.estimates import NOTHING, Z_95, Estimate, FloatArray
from strategy_pipeline.backtest.significance import benjamini_hochberg, normal_cdf
from strategy_pipeline.backtest.verdicts import Noise
from strategy_pipeline.detectors.declaration import Detector
from strategy_pipeline.lake.tables import NOISE_GAUNTLET, NOISE_VARIANTS
from strategy_pipeline.market.timeframes import MINUTES, resample

# Variants whose results are judged; reversed time keeps what is the same both ways and is shown for information.
JUDGED = NOISE_VARIANTS[:3]
SHUFFLED_BLOCK_MINUTES = 5
MOST_STANDARD_ERRORS = 3.0
LEAST_P_VALUE = 0.01
MINIMUM_SESSIONS_ON_NOISE = 10

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NoiseInputs:
    """What noise is made of and tested with.

    `minutes`: tradable 1m bars (``tradable_bars``) of the window and of the sessions before it that features look back
    at; they are replaced by noise. `older`: bars of all timeframes before the first of those, left as they are.
    `symbols` are tested; the minutes hold those that lend them their volume as well.
    """

    minutes: pl.DataFrame
    older: pl.DataFrame
    actions: pl.DataFrame
    instruments: pl.DataFrame
    sessions: Sequence[date]
    symbols: tuple[str, ...]


@dataclass(frozen=True)
class _Moves:
    """The rows of minute bars as logarithmic moves: from the close before to the open, and inside the bar."""

    symbol_start: npt.NDArray[np.bool_]
    session_start: npt.NDArray[np.bool_]
    gap: FloatArray
    body: FloatArray
    up: FloatArray
    down: FloatArray

    @classmethod
    def of(cls, minutes: pl.DataFrame, factor: FloatArray) -> "_Moves":
        opened, high, low, close = (
            np.log(minutes[name].to_numpy() * factor) for name in ("open", "high", "low", "close")
        )
        symbol, session = minutes["symbol"].rle_id().to_numpy(), minutes["session"].to_physical().to_numpy()
        symbol_start = np.append(True, symbol[1:] != symbol[:-1])
        session_start = symbol_start | np.append(True, session[1:] != session[:-1])
        before = np.append(opened[0], close[:-1])
        gap = np.where(symbol_start, 0.0, opened - before)
        return cls(symbol_start, session_start, gap, close - opened, high - opened, low - opened)


def noise_minutes(minutes: pl.DataFrame, actions: pl.DataFrame, variant: str, draw: int, seed: int) -> pl.DataFrame:
    """`minutes` with prices of a market in which no price can be foreseen; times, volumes and splits stay.

    `minutes`: 1m rows of ``historical_bars``, raw prices. random_walk: normal moves of each symbol's own size, apart
    for nights and minutes, highs and lows of a Brownian bridge. sign_flipped: every minute's moves keep or change their
    sign together in all symbols. block_shuffled: blocks of five minutes, and nights, in random order. All three are
    corrected so that the expected price is constant. time_reversed: the same path backwards. The path of a symbol
    begins at its first open.
    """
    rows = minutes.with_columns(pl.col("symbol").cast(pl.String)).sort("symbol", "bar_start")
    factor = split_factor(rows.select("symbol", "session"), actions).to_numpy()
    moves = _Moves.of(rows, factor)
    rng = generator_for(f"{variant}/{draw}", seed)
    starts = np.flatnonzero(moves.symbol_start)
    if variant == "random_walk":
        gap, body, up, down = _walk(moves, starts, rng)
    elif variant == "sign_flipped":
        gap, body, up, down = _flipped(moves, rows["bar_start"], rng)
    elif variant == "block_shuffled":
        gap, body, up, down = _shuffled(moves, starts, rng)
    elif variant == "time_reversed":
        gap, body, up, down = _reversed(moves, starts)
    else:
        raise ValueError(f"{variant!r} is none of {NOISE_VARIANTS}")
    return _rebuilt(rows, factor, moves, starts, gap, body, up, down)


def _rebuilt(
    rows: pl.DataFrame,
    factor: FloatArray,
    moves: _Moves,
    starts: Ints,
    gap: FloatArray,
    body: FloatArray,
    up: FloatArray,
    down: FloatArray,
) -> pl.DataFrame:
    """Rows with the prices that the moves lead to from each symbol's first open."""
    opened_at = np.log(rows["open"].to_numpy()[starts] * factor[starts])
    sizes = np.diff(np.append(starts, rows.height))
    total = np.cumsum(gap + body)
    before_symbol = np.repeat((total - gap - body)[starts], sizes)
    close = total - before_symbol + np.repeat(opened_at, sizes)
    opened = close - body
    up, down = np.maximum(up, np.maximum(body, 0.0)), np.minimum(down, np.minimum(body, 0.0))
    price = {
        "open": np.exp(opened) / factor,
        "high": np.exp(opened + up) / factor,
        "low": np.exp(opened + down) / factor,
        "close": np.exp(close) / factor,
    }
    # The exponentials of equal logarithms may differ in the last bit.
    price["high"] = np.maximum(price["high"], np.maximum(price["open"], price["close"]))
    price["low"] = np.minimum(price["low"], np.minimum(price["open"], price["close"]))
    middle = (price["high"] + price["low"] + price["close"]) / 3.0
    return rows.with_columns(
        *(pl.Series(name, values) for name, values in price.items()),
        vwap=pl.when(pl.col("vwap").is_not_null()).then(pl.Series("middle", middle)),
    )


def _segments(starts: Ints, rows: int) -> Iterator[slice]:
    for first, last in zip(starts, np.append(starts[1:], rows), strict=True):
        yield slice(int(first), int(last))


def _walk(
    moves: _Moves, starts: Ints, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    rows = len(moves.gap)
    night, minute, inside = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    for own in _segments(starts, rows):
        first, later = moves.session_start[own], ~moves.session_start[own]
        inside[own] = moves.body[own].std()
        minute[own] = moves.gap[own][later].std() if later.any() else 0.0
        night[own] = moves.gap[own][first][1:].std() if first.sum() > 2 else 0.0
    size = np.where(moves.session_start, night, minute)
    size[moves.symbol_start] = 0.0
    gap = rng.normal(size=rows) * size - size**2 / 2.0
    body = rng.normal(size=rows) * inside - inside**2 / 2.0
    # The highest point of a Brownian bridge from 0 to x with variance v is (x + sqrt(x^2 - 2 v ln U)) / 2.
    reach = np.sqrt(body**2 - 2.0 * inside**2 * np.log1p(-rng.random((2, rows))))
    return gap, body, (body + reach[0]) / 2.0, (body - reach[1]) / 2.0


def _flipped(
    moves: _Moves, moments: pl.Series, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    order = moments.rank("dense").to_numpy().astype(np.int64) - 1
    keeps = (rng.random(int(order.max()) + 1) < 0.5)[order]
    sign = np.where(keeps, 1.0, -1.0)
    # A move of +x or -x with equal chances raises the expected price by cosh(x).
    gap = sign * moves.gap - np.log(np.cosh(moves.gap))
    body = sign * moves.body - np.log(np.cosh(moves.body))
    return gap, body, np.where(keeps, moves.up, -moves.down), np.where(keeps, moves.down, -moves.up)


def _shuffled(
    moves: _Moves, starts: Ints, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    gap, body, up, down = (values.copy() for values in (moves.gap, moves.body, moves.up, moves.down))
    for own in _segments(starts, len(gap)):
        nights = np.flatnonzero(moves.session_start[own])[1:] + own.start
        gap[nights] = _fair(moves.gap[nights])[rng.permutation(len(nights))]
        count = own.stop - own.start
        blocks = np.array_split(np.arange(own.start, own.stop), max(1, count // SHUFFLED_BLOCK_MINUTES))
        source = np.concatenate([blocks[at] for at in rng.permutation(len(blocks))])
        within = ~moves.session_start[own]
        minute = np.where(moves.session_start[source], 0.0, moves.gap[source])
        gap[own][within] = _fair(minute[within]) if within.any() else 0.0
        fair = _fair(moves.body[own])[source - own.start]
        moved = fair - moves.body[source]
        body[own], up[own], down[own] = fair, moves.up[source] + moved, moves.down[source] + moved
    return gap, body, up, down


def _fair(moves: FloatArray) -> FloatArray:
    """Logarithmic moves less what makes the expected price of one of them, drawn at random, constant."""
    return moves - np.log(np.mean(np.exp(moves))) if moves.size else moves


def _reversed(moves: _Moves, starts: Ints) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    gap, body, up, down = (np.zeros(len(moves.gap)) for _ in range(4))
    for own in _segments(starts, len(gap)):
        body[own] = -moves.body[own][::-1]
        up[own], down[own] = (moves.up[own] - moves.body[own])[::-1], (moves.down[own] - moves.body[own])[::-1]
        gap[own][1:] = -moves.gap[own][1:][::-1]
    return gap, body, up, down


def run_on_noise(
    inputs: NoiseInputs, detectors: Sequence[Detector], config: BacktestConfig, variant: str, draw: int, *, seed: int
) -> pl.DataFrame:
    """One whole run on one draw of noise: rows of ``noise_gauntlet`` without run_id, one a detector.

    Bars of every timeframe are made from the noise, features from the bars, trades from the features. Noise has neither
    options nor context, so gates are those of the base score and targets multiples of ATR, whatever the run's are.
    """
    config = replace(config, gates="base_score", target_mode="fixed_atr", instrument="underlying")
    minutes = noise_minutes(inputs.minutes, inputs.actions, variant, draw, seed)
    columns = [*BAR_COLUMNS]
    made = [resample(minutes.drop("series_id", strict=False), name) for name in MINUTES if name != "1m"]
    bars = pl.concat([frame.select(columns) for frame in (inputs.older, minutes, *made) if frame.height])
    timeframes = sorted({one.timeframe if config.timeframe == "native" else config.timeframe for one in detectors})
    features = pl.concat(
        [compute_features(bars, name, inputs.sessions, inputs.actions, inputs.instruments) for name in timeframes]
    )
    tested = pl.col("symbol").is_in(list(inputs.symbols))
    window = minutes.filter((pl.col("session") >= min(inputs.sessions)) & tested)
    # Nothing but minutes executes: on noise there are no days without them.
    result = run_backtest(features.filter(tested), window, detectors, inputs.actions, config, inputs.sessions)
    return _moments(result.trades, detectors, variant, draw, seed)


def _moments(trades: pl.DataFrame, detectors: Sequence[Detector], variant: str, draw: int, seed: int) -> pl.DataFrame:
    """Sums over trades and over sessions, from which means and clustered errors over many draws follow."""
    by_session = trades.group_by("detector", "session").agg(
        n=pl.len().cast(pl.Float64), gross=pl.col("r_gross").sum(), net=pl.col("r_net").sum()
    )
    sums = by_session.group_by("detector").agg(
        trades=pl.col("n").sum().cast(pl.Int64),
        sessions_traded=pl.len().cast(pl.Int64),
        sum_r_gross=pl.col("gross").sum(),
        sum_r_net=pl.col("net").sum(),
        sum_squared_session_r=(pl.col("gross") ** 2).sum(),
        sum_session_r_trades=(pl.col("gross") * pl.col("n")).sum(),
        sum_squared_session_trades=(pl.col("n") ** 2).sum(),
    )
    found = {row["detector"]: row for row in sums.iter_rows(named=True)}
    # A detector that did not trade has sums of nothing, which are zero.
    nothing = {name: 0 for name in sums.columns}
    drawn = {"variant": variant, "draw": draw, "seed": seed}
    wanted = {name: kind for name, kind in NOISE_GAUNTLET.polars_schema.items() if name != "run_id"}
    rows = [{**nothing, **found.get(one.name, {}), "detector": one.name, **drawn} for one in detectors]
    return pl.DataFrame(rows, schema=wanted, orient="row", strict=False)


def judged(rows: pl.DataFrame) -> dict[str, Noise]:
    """The gate on each detector from rows of ``noise_gauntlet``, all draws of the judged variants together.

    Passed: at zero costs the mean R is less than three standard errors (clustered by session) from zero, its p-value
    adjusted for the number of detectors is above .01, and after costs the mean is below zero. A detector that traded on
    fewer than ten sessions of noise is ``not exercised``.
    """
    summed = (
        rows.filter(pl.col("variant").cast(pl.String).is_in(list(JUDGED)))
        .group_by("detector", maintain_order=True)
        .agg(
            pl.col("draw").n_unique().alias("draws"), pl.exclude("run_id", "variant", "draw", "seed", "detector").sum()
        )
    )
    found = {row["detector"]: _of_sums(row) for row in summed.iter_rows(named=True)}
    adjusted = benjamini_hochberg([one.p_value for one, _ in found.values()])
    return {name: _with_status(noise, net, p) for (name, (noise, net)), p in zip(found.items(), adjusted, strict=True)}


def _of_sums(row: dict[str, float]) -> tuple[Noise, float]:
    n, groups = row["trades"], row["sessions_traded"]
    if groups < MINIMUM_SESSIONS_ON_NOISE:
        value = row["sum_r_gross"] / n if n else None
        thin = NOTHING if value is None else Estimate(value, None, None)
        return Noise("not exercised", int(row["draws"]), int(n), thin, None, None), 0.0
    mean = row["sum_r_gross"] / n
    spread = (
        row["sum_squared_session_r"]
        - 2.0 * mean * row["sum_session_r_trades"]
        + mean**2 * row["sum_squared_session_trades"]
    )
    error = float(np.sqrt(max(spread, 0.0) * groups / (groups - 1.0)) / n)
    p_value = 2.0 * normal_cdf(-abs(mean) / error) if error > 0.0 else None
    interval = Estimate(mean, mean - Z_95 * error, mean + Z_95 * error)
    return Noise("not exercised", int(row["draws"]), int(n), interval, error, p_value), row["sum_r_net"] / n


def _with_status(noise: Noise, net: float, adjusted: float | None) -> Noise:
    if noise.p_value is None or adjusted is None or noise.standard_error is None or noise.expectancy.value is None:
        return noise
    passed = (
        abs(noise.expectancy.value) < MOST_STANDARD_ERRORS * noise.standard_error
        and adjusted > LEAST_P_VALUE
        and net < 0.0
    )
    return replace(noise, status="passed" if passed else "failed", p_value=adjusted)
