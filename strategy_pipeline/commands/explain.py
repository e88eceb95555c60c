"""The ``explain`` command: one signal down to its last contribution, its inputs, and the files they come from.

What a signal says stands in its row; where its inputs come from is what the writers of the partitions recorded.
"""

import json
import math
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

import polars as pl

from strategy_pipeline.analytics.lookback import sessions_in_reach
from strategy_pipeline.detectors.catalogue import entry
from strategy_pipeline.errors import MissingDataError, SettingsError
from strategy_pipeline.lake import tables
from strategy_pipeline.lake.store import Lake, key_path
from strategy_pipeline.lake.tables import (
    COMPOSITE_SIGNALS,
    CONTEXT_SCORES,
    CORPORATE_ACTIONS,
    ENGINES,
    FEATURES,
    HISTORICAL_BARS,
    STYLES,
    Table,
)
from strategy_pipeline.market.calendar import NEW_YORK
from strategy_pipeline.market.session_clock import session_of
from strategy_pipeline.scoring.composite import CARRIED

Row = Mapping[str, Any]
# Ids are looked up in so many sessions at once, the newest first.
SESSIONS_AT_ONCE = 500
LEAST_DIGITS = 4
SHOWN_DIGEST = 16


def lines(lake: Lake, signal_id: str) -> Iterator[str]:
    """Everything about the signal whose id begins with `signal_id`, line by line.

    Raises MissingDataError when no or more than one stored signal has such an id, and SettingsError when it is none.
    """
    signal = find(lake, signal_id.strip().lower())
    scores = _context_rows(lake, signal)
    yield from _heading(signal)
    yield from _factors(signal)
    yield from _waterfall(signal, scores)
    yield from _demands(signal)
    yield from _inputs(lake, signal)
    yield from _origins(lake, signal, scores)


def find(lake: Lake, beginning: str) -> Row:
    """The one stored signal whose id begins like this."""
    if len(beginning) < LEAST_DIGITS or not set(beginning) <= set("0123456789abcdef"):
        raise SettingsError(f"{beginning!r} is no signal id: give at least {LEAST_DIGITS} of its hexadecimal digits.")
    keys = lake.keys(COMPOSITE_SIGNALS)[::-1]
    found: list[tuple[str, date]] = []
    for at in range(0, len(keys), SESSIONS_AT_ONCE):
        fits = pl.col("signal_id").str.starts_with(beginning)
        rows = lake.read(
            COMPOSITE_SIGNALS, keys[at : at + SESSIONS_AT_ONCE], columns=["signal_id", "session"], where=fits
        )
        found += rows.rows()
    if not found:
        raise MissingDataError(
            f"No stored signal has an id that begins with {beginning}: materialise composite_signals, or see scan."
        )
    if len(found) > 1:
        some = ", ".join(sorted(identity for identity, _ in found)[:3])
        raise MissingDataError(
            f"{len(found)} signals have an id that begins with {beginning}, such as {some}: give more."
        )
    identity, day = found[0]
    where = pl.col("signal_id") == identity
    return lake.read_sessions(COMPOSITE_SIGNALS, [day], where=where).row(0, named=True)


def _context_rows(lake: Lake, signal: Row) -> dict[str, Row]:
    """What each engine answered about the recommended style, by engine; empty when that is not stored."""
    if signal["recommended_style"] is None:
        return {}
    where = (
        (pl.col("symbol") == signal["symbol"])
        & (pl.col("as_of") == signal["available_at"])
        & (pl.col("direction").cast(pl.String) == signal["direction"])
        & (pl.col("style").cast(pl.String) == signal["recommended_style"])
        & (pl.col("momentum") == entry(signal["detector"]).momentum)
    )
    rows = lake.read_sessions(CONTEXT_SCORES, [signal["session"]], where=where)
    return {str(row["engine"]): row for row in rows.iter_rows(named=True)}


def _heading(signal: Row) -> Iterator[str]:
    yield (
        f"{signal['symbol']} {signal['detector']} {signal['direction']}, {signal['timeframe']} bar to "
        f"{_clock(signal['bar_end'])}, known {_clock(signal['available_at'])}"
    )
    yield f"id {signal['signal_id']}, definition {signal['definition_version']}, thresholds {signal['rules_version']}"
    fate = "accepted" if signal["reject_reason"] is None else f"rejected: {signal['reject_reason']}"
    expires = "" if signal["expires_at"] is None else f", expires {_clock(signal['expires_at'])}"
    yield f"{fate}{expires}"


def _factors(signal: Row) -> Iterator[str]:
    yield ""
    yield f"Base score {signal['base_score']:.6f}: weight x value of each factor"
    for one in signal["factors"]:
        product = one["weight"] * one["value"]
        yield f"  {one['name']:<24} {one['weight']:.2f} x {one['value']:>8.4f} = {product:>8.4f}"


def _waterfall(signal: Row, scores: Mapping[str, Row]) -> Iterator[str]:
    yield ""
    if signal["waterfall"] is None:
        yield (
            f"No waterfall: the base score is {signal['base_score']:g} and data confidence "
            f"{signal['data_confidence']:.4f}; a base of 0 or a confidence under 40 ends before it."
        )
        return
    said = {one["engine"]: one for one in signal["context"]}
    for style in (signal["recommended_style"], *(one for one in STYLES if one != signal["recommended_style"])):
        recommended = style == signal["recommended_style"]
        yield f"As a {style}{' (recommended)' if recommended else ''}: ln(final/base) item by item"
        score, total = signal["base_score"], 0.0
        for one in signal["waterfall"]:
            if one["style"] != style:
                continue
            item, contribution = one["item"], one["contribution_ln"]
            score, total = score * math.exp(contribution), total + contribution
            note = _note(signal, style, item, said, scores) if recommended or item not in ENGINES else ""
            factor = f"x{math.exp(contribution):.4f}"
            yield f"  {item:<16} {contribution:>+10.6f}  {factor}  -> {score:>9.4f}  {note}".rstrip()
        final = signal[f"{style}_score"]
        whole = math.log(final / signal["base_score"])
        yield f"  {'sum':<16} {total:>+10.6f}  ln(final/base) {whole:+.6f}, final {final:.6f}"


def _note(signal: Row, style: str, item: str, said: Mapping[str, Row], scores: Mapping[str, Row]) -> str:
    """What stands behind an item of the waterfall."""
    if item == "style":
        modifier, raw = signal[f"style_modifier_{style}"], signal[f"style_modifier_{style}_raw"]
        return f"modifier {modifier:.4f}, before its clamp {raw:.4f}"
    if item == "data_confidence":
        return f"confidence {signal['data_confidence']:.4f}, completeness {signal['completeness']:.4f}"
    if item == "clamp":
        return f"before the clamp {signal[f'{style}_unclamped']:.6f}"
    one = said[item]
    if one["status"] != "ok":
        reason = scores.get(item, {}).get("reason")
        return str(one["status"]) + (f": {reason}" if reason else "")
    return (
        f"{one['label']}, multiplier {one['multiplier']:.4f}, confidence {one['confidence']:.4f}, "
        f"{one['age_min']:.0f} min old"
    )


def _demands(signal: Row) -> Iterator[str]:
    yield ""
    state = ", ".join(f"{name} {signal[name] or 'unknown'}" for name in ("window", "vix_tier", "trend_state"))
    yield f"Asked for ({state}, market_regime {signal['market_regime'] or 'unknown'})"
    for name, value, least in (
        ("base score", signal["base_score"], signal["base_min"]),
        ("style score", signal["recommended_score"], signal["style_min"]),
        ("reward/risk", signal["risk_reward"], signal["rr_min"]),
    ):
        shown = "none" if value is None else f"{value:.4f}"
        yield f"  {name:<12} {shown:>9}, at least {least:g}"
    yield f"  size         {signal['size_multiplier']:g} of the usual"
    if signal["risk_reward"] is not None:
        targets = " / ".join(f"{signal[name]:.4f}" for name in ("target_1", "target_2", "target_3"))
        yield (
            f"Plan: entry {signal['entry_ref']:.4f}, stop {signal['stop_price']:.4f} (by {signal['risk_basis']}), "
            f"targets {targets} (by {signal['reward_basis']}), ATR {signal['atr_used']:.4f}"
        )


def _inputs(lake: Lake, signal: Row) -> Iterator[str]:
    yield ""
    where = (pl.col("symbol") == signal["symbol"]) & (pl.col("bar_end") == signal["bar_end"])
    rows = lake.read_sessions(FEATURES, [signal["session"]], where=where, timeframe=signal["timeframe"])
    if rows.is_empty():
        yield f"Inputs: the feature row is no longer stored; materialise features of {signal['session']}."
        return
    row = rows.row(0, named=True)
    yield f"Inputs of the bar to {_clock(row['bar_end'])}, known {_clock(row['available_at'])}"
    read = dict.fromkeys((*entry(signal["detector"]).inputs, *CARRIED))
    known = {name: row[name] for name in read if row[name] is not None}
    for name, value in known.items():
        yield f"  {name:<24} {f'{value:.6g}' if isinstance(value, float) else value}"
    yield f"Missing: {', '.join(signal['inputs_missing']) or 'nothing'}"
    if row["inputs_substituted"]:
        yield f"From coarser bars: {', '.join(row['inputs_substituted'])}"


def _origins(lake: Lake, signal: Row, scores: Mapping[str, Row]) -> Iterator[str]:
    day, timeframe = signal["session"], signal["timeframe"]
    yield ""
    yield f"Comes from (run {signal['run_id'][:SHOWN_DIGEST]}, data {signal['data_version'][:SHOWN_DIGEST]})"
    yield from _partition(lake, COMPOSITE_SIGNALS, {"session": day})
    yield from _partition(lake, FEATURES, {"timeframe": timeframe, "session": day})
    yield from _partition(lake, CORPORATE_ACTIONS, {})
    yield from _partition(lake, HISTORICAL_BARS, {"session": day})
    held = set(lake.sessions(HISTORICAL_BARS))
    reach = [one for one in sessions_in_reach(timeframe, day) if one in held and one != day]
    if reach:
        yield f"  and the bars of {len(reach)} earlier sessions, {reach[0]} to {reach[-1]}, each with its own files"
    yield from _partition(lake, CONTEXT_SCORES, {"session": day})
    for engine in ENGINES:
        source = scores.get(engine, {}).get("source_key")
        if source is None:
            continue
        yield f"  {engine}: {source}"
        table, key = _stored_as(source, scores[engine]["as_of"])
        if table is not HISTORICAL_BARS or key != {"session": day}:
            yield from _partition(lake, table, key, indent="    ")


def _stored_as(source_key: str, as_of: datetime) -> tuple[Table, dict[str, date]]:
    """Table and partition of a row by its source key: the table's name, then its key with a date or an instant."""
    name, *parts = source_key.split("/")
    table: Table = getattr(tables, name.upper())
    for part in parts:
        try:
            if len(part) == len("2024-01-02"):
                return table, {"session": date.fromisoformat(part)}
            moment = datetime.fromisoformat(part)
        except ValueError:
            continue
        return table, {"session": session_of(pl.Series([moment]))[0]}
    return table, {"session": session_of(pl.Series([as_of]))[0]}


def _partition(lake: Lake, table: Table, key: Mapping[str, object], indent: str = "  ") -> Iterator[str]:
    """A partition with its digest, and the vendor's files its writer recorded."""
    info = lake.info(table, key)
    where = key_path(table, key)
    if info is None:
        yield f"{indent}{where}: not stored"
        return
    code = info.metadata.get("code_version", "")
    inputs = info.metadata.get("inputs_sha256", "")
    more = "".join((f", {code}" if code else "", f", inputs {inputs[:SHOWN_DIGEST]}" if inputs else ""))
    yield f"{indent}{where}: {info.rows:,} rows, sha256 {info.sha256}{more}"
    for one in json.loads(info.metadata.get("sources", "[]")):
        yield f"{indent}  {one['key']}: etag {one['etag']}, sha256 {one['sha256']}"


def _clock(moment: datetime) -> str:
    """An instant as the exchange's clock shows it, and in UTC."""
    return f"{moment.astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S} New York ({moment:%H:%M:%S} UTC)"
