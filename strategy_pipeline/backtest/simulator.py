"""The trade loop: numba kernels over flat arrays that find entries, walk bars to the exit and aggregate sweeps.

Arrays in, arrays out; frames, costs and configuration live in execution.py, costs.py and engine.py. Importing this
module imports numba, so nothing that the command line or the Dagster definitions need at start-up may import it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from strategy_pipeline.backtest.execution import BLOCK_ROWS
from strategy_pipeline.lake.tables import DISPOSITIONS, EXIT_REASONS, PATH_POLICIES

# Codes of the kernels are positions in the contracts' word lists, so no second table can disagree with them.
TAKEN = DISPOSITIONS.index("taken")
SUPPRESSED = DISPOSITIONS.index("suppressed_open_position")
BELOW_MIN_SCORE = DISPOSITIONS.index("below_min_score")
SESSION_END = DISPOSITIONS.index("no_entry_session_end")
NO_NEXT_BAR = DISPOSITIONS.index("no_next_bar")
HALTED = DISPOSITIONS.index("halted")
# Not a disposition: what happens to the signal depends on bars that have not been handed over yet.
CARRIED = len(DISPOSITIONS)

STOP = EXIT_REASONS.index("STOP")
STOP_GAP = EXIT_REASONS.index("STOP_GAP")
BREAKEVEN = EXIT_REASONS.index("BREAKEVEN")
TRAIL = EXIT_REASONS.index("TRAIL")
TARGET = EXIT_REASONS.index("TARGET")
TARGET_GAP = EXIT_REASONS.index("TARGET_GAP")
MAX_HOLD = EXIT_REASONS.index("MAX_HOLD")
SESSION_CLOSE = EXIT_REASONS.index("SESSION_CLOSE")
DATA_END = EXIT_REASONS.index("DATA_END")

OPTIMISTIC = PATH_POLICIES.index("optimistic")
NEAREST_EXTREME = PATH_POLICIES.index("nearest_extreme")
DRILL_DOWN = PATH_POLICIES.index("drill_down")
RANDOM = PATH_POLICIES.index("random")

# Prices are compared with a tolerance of this share of a tick, so that 100.20 - 0.75 x 2.00 equals 98.70.
TICK_TOLERANCE = 1e-6


class Bars(NamedTuple):
    """Execution bars of all symbols, sorted by (symbol, start); `first[s] : first[s + 1]` are the rows of symbol s.

    Prices are raw; `factor` is the cumulative split factor of the row's session. Times are UTC microseconds clipped
    to regular hours; `trading_start` counts trading microseconds over sessions. `slot` numbers the windows of the
    signal timeframe over sessions. `day_last` and `series_last` are rows: the last one before the flat time of the
    session (below the row itself when there is none) and the last one before the series breaks. `finer_first :
    finer_last` are rows of `finer_high` and `finer_low`. `scan_low` and `scan_high` are a bar's extremes with its
    open, `block_low` and `block_high` those of BLOCK_ROWS rows at a time (of whatever symbols), which lets a walk
    skip quiet stretches; `factor_last` is the last row of the same symbol before its split factor changes.
    """

    first: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    factor: np.ndarray
    start: np.ndarray
    end: np.ndarray
    trading_start: np.ndarray
    session: np.ndarray
    slot: np.ndarray
    coarse: np.ndarray
    day_last: np.ndarray
    series_last: np.ndarray
    finer_first: np.ndarray
    finer_last: np.ndarray
    finer_high: np.ndarray
    finer_low: np.ndarray
    scan_low: np.ndarray
    scan_high: np.ndarray
    block_low: np.ndarray
    block_high: np.ndarray
    factor_last: np.ndarray


class Signals(NamedTuple):
    """Signals sorted by (detector, symbol, time); `first[g] : first[g + 1]` are those of one detector and symbol.

    `symbol` is an index into Bars (-1 without bars), `sign` +1 or -1. `stop_unit` and `target_unit` are multiplied
    by the run's multiples ($ in the basis of the signal's session, whose split factor is `factor`). `verdict` is a
    disposition that holds before any bar is looked at, else -1. Times are UTC microseconds; the `trading_` ones
    count trading time. `scale_unit` is that of the first target. `last_row` and `last_reason` end a trade at a bar's
    close at the latest; where `last_row` is -1 the run's hold limit and flat time do.
    """

    first: np.ndarray
    detector: np.ndarray
    group_key: np.ndarray
    symbol: np.ndarray
    sign: np.ndarray
    stop_unit: np.ndarray
    target_unit: np.ndarray
    scale_unit: np.ndarray
    atr: np.ndarray
    score: np.ndarray
    factor: np.ndarray
    verdict: np.ndarray
    bar_end: np.ndarray
    available: np.ndarray
    order: np.ndarray
    trading_bar_end: np.ndarray
    trading_order: np.ndarray
    session: np.ndarray
    flat_daily: np.ndarray
    last_entry: np.ndarray
    last_row: np.ndarray
    last_reason: np.ndarray


class Rules(NamedTuple):
    """The scalar rules of one simulation, in the units of BacktestConfig."""

    stop_multiple: float
    target_multiple: float
    scale_out_multiple: float
    scale_out: bool
    max_hold_bars: int
    tick: float
    touch: bool
    policy: int
    seed: int
    breakeven: bool
    trailing: bool
    trail_atr: float
    min_stop_fraction: float
    final: bool


class Outcomes(NamedTuple):
    """Legs of trades in order of their signals, one array a column; prices in the basis of the entry session.

    `best` and `worst` are the exit prices had the ambiguous bar gone the one way or the other; `mfe` and `mae` are
    $ a unit.
    """

    signal: np.ndarray
    leg: np.ndarray
    entry: np.ndarray
    exit: np.ndarray
    reason: np.ndarray
    ambiguous: np.ndarray
    at_open: np.ndarray
    entry_price: np.ndarray
    exit_price: np.ndarray
    best: np.ndarray
    worst: np.ndarray
    stop: np.ndarray
    target: np.ndarray
    risk: np.ndarray
    atr: np.ndarray
    mfe: np.ndarray
    mae: np.ndarray


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """`function` compiled by numba, with the disk cache where one can be written and in memory where none can."""
    try:
        return numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:
        # numba raises at decoration when neither the package's folder nor the user's cache can be written.
        return numba.njit(nogil=True, **options)(function)


@compiled
def _first_at_or_after(values: np.ndarray, low: int, high: int, wanted: int) -> int:
    """First row of values[low:high], ascending, that is not below `wanted`; `high` when there is none."""
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _find_entries(bars: Bars, signals: Signals, patience: int, entry: np.ndarray, verdict: np.ndarray) -> None:
    for i in range(signals.symbol.shape[0]):
        entry[i] = -1
        verdict[i] = signals.verdict[i]
        if verdict[i] >= 0:
            continue
        s = signals.symbol[i]
        flat = signals.flat_daily[i]
        if s < 0:
            verdict[i] = NO_NEXT_BAR
            if flat and signals.order[i] > signals.last_entry[i]:
                verdict[i] = SESSION_END
            continue
        low, high = bars.first[s], bars.first[s + 1]
        wanted, trading = signals.bar_end[i], signals.trading_bar_end[i]
        j = _first_at_or_after(bars.start, low, high, wanted)
        # A day trade goes by the bars of its own session, whatever follows; one without any is strict.
        of_session = j
        if flat and (j == high or bars.session[j] != signals.session[i]):
            of_session = j - 1 if j > low and bars.session[j - 1] == signals.session[i] else high
        if of_session == high or not bars.coarse[of_session]:
            wanted, trading = signals.order[i], signals.trading_order[i]
            j = _first_at_or_after(bars.start, j, high, wanted)
        if flat:
            if wanted > signals.last_entry[i]:
                verdict[i] = SESSION_END
            elif j == high or bars.session[j] != signals.session[i]:
                printed = j > low and bars.session[j - 1] == signals.session[i]
                verdict[i] = HALTED if printed else NO_NEXT_BAR
            elif bars.trading_start[j] - trading > patience:
                verdict[i] = HALTED
            elif bars.start[j] > signals.last_entry[i] or bars.day_last[j] < j:
                verdict[i] = SESSION_END
            else:
                entry[i] = j
        elif j == high:
            verdict[i] = NO_NEXT_BAR
        elif bars.trading_start[j] - trading > patience:
            verdict[i] = HALTED
        else:
            entry[i] = j


@compiled
def _coin(seed: int, bar_start: int, group_key: int) -> bool:
    """A fair coin that depends on its arguments only (splitmix64 finaliser), so chunks and order cannot change it."""
    x = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(bar_start) ^ np.uint64(group_key)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bool((x ^ (x >> np.uint64(31))) & np.uint64(1))


@compiled
def _drill(bars: Bars, j: int, sign: float, scale: float, stop: float, target: float) -> int:
    """Which level the finer bars of bar `j` reach first: 0 the stop, 1 the target, 2 they do not tell."""
    for k in range(bars.finer_first[j], bars.finer_last[j]):
        if sign > 0:
            low, high = bars.finer_low[k] * scale, bars.finer_high[k] * scale
        else:
            low, high = -bars.finer_high[k] * scale, -bars.finer_low[k] * scale
        at_stop, at_target = low <= stop, high >= target
        if at_stop and at_target:
            return 2
        if at_stop:
            return 0
        if at_target:
            return 1
    return 2


@compiled
def _last_row(bars: Bars, rules: Rules, symbol: int, entry: int, flat: bool) -> tuple[int, int]:
    """Row whose close ends the trade when no level does, and the reason it would carry."""
    limit = bars.slot[entry] + rules.max_hold_bars - 1
    series_last = bars.series_last[entry]
    held = _first_at_or_after(bars.slot, entry, bars.first[symbol + 1], limit + 1) - 1
    last, reason = series_last, DATA_END
    if flat and bars.day_last[entry] <= last:
        last, reason = bars.day_last[entry], SESSION_CLOSE
    # The bars of a series may end before the span does; then its last row is the end of the data, not of the hold.
    if held <= last and (bars.slot[held] == limit or held < series_last):
        last, reason = held, MAX_HOLD
    return last, reason


@compiled
def _next_event(bars: Bars, j: int, last: int, lower: float, upper: float) -> int:
    """First row from `j` to `last` whose range reaches down to `lower` or up to `upper`, else last + 1."""
    while j <= last:
        if j % BLOCK_ROWS == 0 and j + BLOCK_ROWS - 1 <= last:
            block = j // BLOCK_ROWS
            if bars.block_low[block] > lower and bars.block_high[block] < upper:
                j += BLOCK_ROWS
                continue
        if bars.scan_low[j] <= lower or bars.scan_high[j] >= upper:
            return j
        j += 1
    return j


@compiled
def _walk(
    bars: Bars,
    rules: Rules,
    entry: int,
    last: int,
    last_reason: int,
    sign: float,
    reference: float,
    stop_distance: float,
    target_distance: float,
    atr: float,
    group_key: int,
    track: bool,
) -> tuple[int, float, int, bool, bool, float, float, float, float]:
    """Walks one position to its exit: row, price, reason, ambiguous, at the open, best and worst price, excursions.

    Works in signed prices (minus the price for a short), in which every trade is a long one. Bars that reach
    neither level are skipped when nothing moves the stop; the excursions are followed only if `track`.
    """
    tolerance = rules.tick * TICK_TOLERANCE
    through = -tolerance if rules.touch else rules.tick - tolerance
    base = sign * reference
    stop, target = base - stop_distance, base + target_distance
    reach_stop, reach_target = stop + tolerance, target + through
    stop_reason = STOP
    best_close = -np.inf
    best, worst = base, base
    own_factor = bars.factor[entry]
    skips = not (rules.breakeven or rules.trailing) and bars.factor_last[entry] >= last
    if sign > 0:
        lower, upper = reach_stop, target - tolerance
    else:
        lower, upper = tolerance - target, -reach_stop
    j = entry - 1
    while j < last:
        j += 1
        if skips:
            event = _next_event(bars, j, last, lower, upper)
            if track:
                for k in range(j, event):
                    if sign > 0:
                        best, worst = max(best, bars.high[k]), min(worst, bars.low[k])
                    else:
                        best, worst = max(best, -bars.low[k]), min(worst, -bars.high[k])
            if event > last:
                break
            j = event
        scale = sign
        if bars.factor[j] != own_factor:
            scale = sign * (bars.factor[j] / own_factor)
        opened = bars.open[j] * scale
        if sign > 0:
            low, high = bars.low[j] * scale, bars.high[j] * scale
        else:
            low, high = bars.high[j] * scale, bars.low[j] * scale
        if j > entry:
            if opened <= reach_stop:
                worst = min(worst, opened)
                reason = stop_reason if opened >= stop - tolerance else STOP_GAP
                price = opened * sign
                return j, price, reason, False, True, price, price, best - base, worst - base
            if opened > target + tolerance:
                price = opened * sign
                return j, price, TARGET_GAP, False, True, price, price, max(best, opened) - base, worst - base
        at_stop, at_target = low <= reach_stop, high >= reach_target
        if at_stop or at_target:
            ambiguous = False
            if at_stop and at_target:
                at_target = False
                ambiguous = True
                if rules.policy == OPTIMISTIC:
                    at_target = True
                elif rules.policy == NEAREST_EXTREME:
                    at_target = high - opened < opened - low
                elif rules.policy == RANDOM:
                    at_target = _coin(rules.seed, bars.start[j], group_key)
                elif rules.policy == DRILL_DOWN:
                    found = _drill(bars, j, sign, abs(scale), reach_stop, reach_target)
                    at_target = found == 1
                    ambiguous = found == 2
            exit_signed = target if at_target else stop
            best, worst = max(best, opened, exit_signed), min(worst, opened, exit_signed)
            price = exit_signed * sign
            reason = TARGET if at_target else stop_reason
            if ambiguous:
                return j, price, reason, True, False, target * sign, stop * sign, best - base, worst - base
            return j, price, reason, False, False, price, price, best - base, worst - base
        best, worst = max(best, high), min(worst, low)
        if rules.breakeven or rules.trailing:
            closed = bars.close[j] * scale
            if rules.breakeven and closed >= base + stop_distance - tolerance and base > stop:
                stop, stop_reason = base, BREAKEVEN
            if rules.trailing:
                best_close = max(best_close, closed)
                trailed = best_close - rules.trail_atr * atr
                if trailed > stop:
                    stop, stop_reason = trailed, TRAIL
            reach_stop = stop + tolerance
    scale = sign
    if bars.factor[last] != own_factor:
        scale = sign * (bars.factor[last] / own_factor)
    price = bars.close[last] * scale * sign
    return last, price, last_reason, False, False, price, price, best - base, worst - base


@compiled
def _simulate(bars: Bars, signals: Signals, rules: Rules, entry: np.ndarray, verdict: np.ndarray, out: Outcomes) -> int:
    count = 0
    legs = 2 if rules.scale_out else 1
    for group in range(signals.first.shape[0] - 1):
        busy_until = np.int64(-(2**62))
        waiting = False
        for i in range(signals.first[group], signals.first[group + 1]):
            if waiting:
                verdict[i] = CARRIED
                continue
            e = entry[i]
            if e < 0:
                if verdict[i] == NO_NEXT_BAR and not rules.final and not signals.flat_daily[i]:
                    verdict[i] = CARRIED
                    waiting = True
                continue
            decided = signals.bar_end[i] if bars.coarse[e] else signals.available[i]
            if decided < busy_until:
                verdict[i] = SUPPRESSED
                continue
            symbol = signals.symbol[i]
            sign = signals.sign[i]
            reference = bars.open[e]
            # A split between signal and entry changes the unit in which the distances were measured.
            basis = 1.0
            if signals.factor[i] != bars.factor[e]:
                basis = signals.factor[i] / bars.factor[e]
            atr = signals.atr[i] * basis
            stop_distance = max(rules.stop_multiple * signals.stop_unit[i] * basis, rules.min_stop_fraction * reference)
            last, last_reason = signals.last_row[i], np.int64(signals.last_reason[i])
            if last < 0:
                last, last_reason = _last_row(bars, rules, symbol, e, signals.flat_daily[i])
            kept = count
            for leg in range(legs):
                multiple = rules.target_multiple
                unit = signals.target_unit[i]
                if legs == 2 and leg == 0:
                    multiple, unit = rules.scale_out_multiple, signals.scale_unit[i]
                target_distance = multiple * unit * basis
                x, price, reason, ambiguous, at_open, best, worst, mfe, mae = _walk(
                    bars, rules, e, last, last_reason, sign, reference, stop_distance, target_distance, atr,
                    signals.group_key[i], True,
                )  # fmt: skip
                if reason == DATA_END and not rules.final and x == bars.first[symbol + 1] - 1:
                    waiting = True
                out.signal[count] = i
                out.leg[count] = leg
                out.entry[count] = e
                out.exit[count] = x
                out.reason[count] = reason
                out.ambiguous[count] = ambiguous
                out.at_open[count] = at_open
                out.entry_price[count] = reference
                out.exit_price[count] = price
                out.best[count] = best
                out.worst[count] = worst
                out.stop[count] = reference - sign * stop_distance
                out.target[count] = reference + sign * target_distance
                out.risk[count] = stop_distance
                out.atr[count] = atr
                out.mfe[count] = mfe
                out.mae[count] = mae
                busy_until = max(busy_until, bars.end[x])
                count += 1
            verdict[i] = TAKEN
            if waiting:
                verdict[i] = CARRIED
                count = kept
    return count


@compiled
def _sweep(
    bars: Bars,
    signals: Signals,
    rules: Rules,
    entry: np.ndarray,
    stops: np.ndarray,
    targets: np.ndarray,
    holds: np.ndarray,
    scores: np.ndarray,
    cost_fraction: float,
    cost_usd: float,
    sums: np.ndarray,
) -> None:
    for k in range(stops.shape[0]):
        own = Rules(
            stops[k], targets[k], rules.scale_out_multiple, False, holds[k], rules.tick, rules.touch, rules.policy,
            rules.seed, rules.breakeven, rules.trailing, rules.trail_atr, rules.min_stop_fraction, True,
        )  # fmt: skip
        for group in range(signals.first.shape[0] - 1):
            busy_until = np.int64(-(2**62))
            for i in range(signals.first[group], signals.first[group + 1]):
                e = entry[i]
                if e < 0 or not signals.score[i] >= scores[k]:
                    continue
                decided = signals.bar_end[i] if bars.coarse[e] else signals.available[i]
                if decided < busy_until:
                    continue
                reference = bars.open[e]
                basis = 1.0
                if signals.factor[i] != bars.factor[e]:
                    basis = signals.factor[i] / bars.factor[e]
                stop_distance = max(stops[k] * signals.stop_unit[i] * basis, rules.min_stop_fraction * reference)
                target_distance = targets[k] * signals.target_unit[i] * basis
                last, last_reason = _last_row(bars, own, signals.symbol[i], e, signals.flat_daily[i])
                x, price, _, _, _, _, _, _, _ = _walk(
                    bars, own, e, last, last_reason, signals.sign[i], reference, stop_distance, target_distance,
                    signals.atr[i] * basis, signals.group_key[i], False,
                )  # fmt: skip
                busy_until = bars.end[x]
                cost = cost_fraction * (reference + price) + cost_usd
                r = (signals.sign[i] * (price - reference) - cost) / stop_distance
                d = signals.detector[i]
                sums[k, d, 0] += 1.0
                if r > 1e-12:
                    sums[k, d, 1] += 1.0
                    sums[k, d, 3] += r
                elif r < -1e-12:
                    sums[k, d, 2] += 1.0
                    sums[k, d, 4] += r
                sums[k, d, 5] += r * r


def find_entries(bars: Bars, signals: Signals, patience_us: int) -> tuple[np.ndarray, np.ndarray]:
    """Entry row of every signal (-1 for none) and, where there is none, the disposition that says why (else -1)."""
    count = signals.symbol.shape[0]
    entry, verdict = np.empty(count, np.int64), np.empty(count, np.int8)
    _find_entries(bars, signals, patience_us, entry, verdict)
    return entry, verdict


def simulate(
    bars: Bars, signals: Signals, rules: Rules, entry: np.ndarray, verdict: np.ndarray
) -> tuple[Outcomes, np.ndarray]:
    """Trades of all signals and the disposition of each; `entry` and `verdict` come from find_entries.

    One position per detector and symbol: a signal that was known before the exit bar of the open position had ended
    is suppressed. With `rules.final` false, whatever needs bars beyond the last one is marked CARRIED and books no
    trade.
    """
    size = signals.symbol.shape[0] * (2 if rules.scale_out else 1)
    whole, word, real = np.int64, np.int8, np.float64
    kinds = (whole, word, whole, whole, word, np.bool_, np.bool_, *([real] * 10))
    out = Outcomes(*(np.empty(size, kind) for kind in kinds))
    verdict = verdict.copy()
    count = _simulate(bars, signals, rules, entry, verdict, out)
    return Outcomes(*(column[:count] for column in out)), verdict


def sweep(
    bars: Bars,
    signals: Signals,
    rules: Rules,
    entry: np.ndarray,
    sets: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    cost_fraction: float,
    cost_usd: float,
    detectors: int,
) -> np.ndarray:
    """Sums per parameter set and detector: n, winners, losers, sum of winning R, of losing R, of R squared.

    `sets` are stop multiples, target multiples, hold limits and least scores, one entry a set; the cost of a trade is
    cost_fraction x (entry + exit price) + cost_usd, in $ a unit. Releases the GIL, so callers may split the sets.
    """
    stops, targets, holds, scores = sets
    sums = np.zeros((stops.shape[0], detectors, 6))
    _sweep(bars, signals, rules, entry, stops, targets, holds, scores, cost_fraction, cost_usd, sums)
    return sums
