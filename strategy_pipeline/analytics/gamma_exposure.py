"""Dealer gamma of option chains: rows of gamma_exposure_snapshots from rows of historical_greeks (quant_methods.md 9).

Belongs here: sign conventions, sums, walls, max pain, labels, and the daily series that flow and percentiles stand on.
The curve G(x) and its roots are gamma_flip.py's business, ties between strikes strike_levels.py's, Greeks pricing's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from strategy_pipeline.analytics.gamma_flip import Contracts, GammaCurve, flip_roots, flip_slope, price_grid
from strategy_pipeline.analytics.strike_levels import largest, max_pain
from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.asof import as_of
from strategy_pipeline.lake.tables import GAMMA_EXPOSURE_SNAPSHOTS
from strategy_pipeline.market import calendar
from strategy_pipeline.pricing.chain import MINUTES_PER_YEAR

DEFINITION_VERSION = "gex-1"
MIN_COVERAGE_PCT = 80.0
MIN_WALL_SHARE = 0.05
PINNING_REACH = 0.01
NEUTRAL_BELOW = 0.10
STRENGTH_CUTS = ((0.25, "WEAK"), (0.50, "MODERATE"), (0.75, "STRONG"))
FLOW_HALF_LIFE_SESSIONS = 5
MIN_FLOW_SESSIONS = 5
# Five half-lives: what is older has lost 97 % of its weight.
FLOW_WINDOW_SESSIONS = 25
PERCENTILE_SESSIONS = 252
FULL_HISTORY, SHORT_HISTORY = 202, 126

# What is read of prints.
FLOW_COLUMNS = (
    "symbol", "session", "contract_ticker", "aggressor_sign", "opening_likelihood", "size", "exclusion_class",
    "available_at",
)  # fmt: skip
_BY_STRIKE = ("gex_by_strike", "oi_by_strike", "volume_by_strike")

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_NUMBERS = (
    "strike", "multiplier", "dte", "minutes_to_expiry", "underlying_price", "rate", "carry", "iv", "gamma",
    "vanna_1pct", "charm_day", "open_interest", "volume",
)  # fmt: skip
# What is read of a chain.
CHAIN_COLUMNS = (
    "symbol", "snapshot_at", "session", "contract_ticker", "expiration", "option_type", "oi_session", "source",
    "quality", "available_at", "ingested_at", "revision", *_NUMBERS,
)  # fmt: skip


def gamma_exposure(
    chain: pl.DataFrame,
    *,
    flow: pl.DataFrame | None = None,
    adv_usd: pl.DataFrame | None = None,
    history: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Rows of gamma_exposure_snapshots for every symbol and snapshot of `chain`: conventions A, B and, with flow, C.

    chain: rows of historical_greeks, any symbols, snapshots and order.
    flow: rows as `daily_opening_flow` makes them; convention C needs five sessions of them known at the snapshot.
    adv_usd: symbol, available_at, adv20_usd (20-session average dollar volume), such as rows of features.
    history: rows as `closing_exposure` makes them, for the percentile of net; both are read only as far as they were
        known at the snapshot and belong to earlier sessions.
    Raises DataError when a column is missing or when open interest describes the chain's own session or a later one,
    which nobody can know during it. What cannot be computed is null and has a status.
    """
    snapshots = list(_snapshots(chain))
    if not snapshots:
        return GAMMA_EXPOSURE_SNAPSHOTS.empty()
    volumes = _dollar_volumes(snapshots, adv_usd)
    opening = _OpeningFlow(flow)
    closings = _Closings(history)
    rows = [
        row
        for snapshot, dollar_volume in zip(snapshots, volumes, strict=True)
        for row in _rows_of(snapshot, opening.at(snapshot), dollar_volume, closings)
    ]
    return _as_table(rows)


def gamma_profile(chain: pl.DataFrame, *, flow: pl.DataFrame | None = None) -> pl.DataFrame:
    """G(x), $ per 1 % move, on the grid from 0.8 to 1.2 times the underlying's price, for pictures.

    Arguments as in `gamma_exposure`. Returns symbol, snapshot_at, sign_convention, price ($) and gex_usd_per_1pct;
    a snapshot of which nothing can be re-priced has no rows.
    """
    opening = _OpeningFlow(flow)
    parts = []
    for snapshot in _snapshots(chain):
        weights = _signed_weights(snapshot, opening.at(snapshot))
        curve = _curve(snapshot, list(weights.values()))
        if curve is None:
            continue
        prices = price_grid(snapshot.spot)
        for convention, values in zip(weights, curve(prices), strict=True):
            known = {"symbol": snapshot.symbol, "snapshot_at": snapshot.snapshot_at, "sign_convention": convention}
            frame = pl.DataFrame({"price": prices, "gex_usd_per_1pct": values})
            parts.append(frame.select(*(pl.lit(value).alias(name) for name, value in known.items()), pl.all()))
    wanted = GAMMA_EXPOSURE_SNAPSHOTS.polars_schema
    keys = {name: wanted[name] for name in ("symbol", "snapshot_at", "sign_convention")}
    shape = pl.Schema({**keys, "price": pl.Float64(), "gex_usd_per_1pct": pl.Float64()})
    return pl.concat(parts).cast(shape) if parts else pl.DataFrame(schema=shape)


def daily_opening_flow(prints: pl.DataFrame) -> pl.DataFrame:
    """Net contracts that customers opened, per contract and session, from rows of options_flow_history.

    Each print counts aggressor_sign x opening_likelihood x size; an unknown side or likelihood and an excluded print
    count nothing. Returns symbol, session, contract_ticker, net_opening_contracts and the available_at of the
    session's last print, sorted; every contract that traded has a row.
    """
    counted = pl.when(pl.col("exclusion_class").cast(pl.String) == "none").then(
        pl.col("aggressor_sign") * pl.col("opening_likelihood") * pl.col("size")
    )
    return (
        prints.group_by("symbol", "session", "contract_ticker")
        .agg(net_opening_contracts=counted.fill_null(0.0).sum(), available_at=pl.col("available_at").max())
        .with_columns(available_at=pl.col("available_at").max().over("symbol", "session"))
        .sort("symbol", "session", "contract_ticker")
    )


def closing_exposure(snapshots: pl.DataFrame) -> pl.DataFrame:
    """The daily series of closing gamma: each session's last usable snapshot per symbol and convention.

    snapshots: rows of gamma_exposure_snapshots. Returns symbol, session, sign_convention, snapshot_at,
    gex_usd_per_1pct, gross_gex_usd_per_1pct and available_at, sorted.
    """
    keys = ("symbol", "session", "sign_convention")
    kept = (*keys, "snapshot_at", "gex_usd_per_1pct", "gross_gex_usd_per_1pct", "available_at")
    usable = (pl.col("status").cast(pl.String) == "ok") & pl.col("gex_usd_per_1pct").is_not_null()
    last = snapshots.filter(usable).sort("snapshot_at").group_by(*keys, maintain_order=True).last()
    return last.select(kept).sort(*keys)


def positioning(ratio: float | None) -> tuple[str | None, str | None]:
    """dealer_positioning and positioning_strength of net over gross; null without a ratio."""
    if ratio is None:
        return None, None
    size = abs(ratio)
    if size < NEUTRAL_BELOW:
        return "NEUTRAL", None
    strength = next((name for cut, name in STRENGTH_CUTS if size < cut), "EXTREME")
    return ("LONG_GAMMA" if ratio > 0.0 else "SHORT_GAMMA"), strength


def positioning_of(ratio: pl.Expr) -> pl.Expr:
    """dealer_positioning of a column of net over gross; null where there is none."""
    side = pl.when(ratio > 0.0).then(pl.lit("LONG_GAMMA")).otherwise(pl.lit("SHORT_GAMMA"))
    return pl.when(ratio.abs() < NEUTRAL_BELOW).then(pl.lit("NEUTRAL")).when(ratio.is_not_null()).then(side)


def expected_behavior(
    dealer_positioning: str | None, strength: str | None, spot: float, walls: tuple[float | None, float | None]
) -> str | None:
    """What a positioning is expected to do to prices; `walls` are strikes in $."""
    if dealer_positioning is None:
        return None
    if dealer_positioning == "NEUTRAL":
        return "UNDETERMINED"
    if dealer_positioning == "SHORT_GAMMA":
        return "VOLATILE" if strength in ("STRONG", "EXTREME") else "TRENDING"
    near = any(wall is not None and abs(wall - spot) <= PINNING_REACH * spot for wall in walls)
    return "PINNING" if near else "RANGE_BOUND"


@dataclass(frozen=True)
class _Snapshot:
    """Unexpired contracts of one underlying at one moment, in canonical order, NaN where a number is missing."""

    symbol: str
    snapshot_at: datetime
    session: date
    oi_session: date | None
    spot: float
    tickers: pl.Series
    expirations: pl.Series
    call: Flags
    numbers: Mapping[str, Floats]
    common: Mapping[str, Any]

    def __getitem__(self, name: str) -> Floats:
        return self.numbers[name]


def _snapshots(chain: pl.DataFrame) -> Iterator[_Snapshot]:
    missing = sorted(set(CHAIN_COLUMNS) - set(chain.columns))
    if missing:
        raise DataError(f"A chain for gamma exposure lacks {missing}: hand over rows of historical_greeks.")
    future = chain.filter(pl.col("oi_session") >= pl.col("session"))
    if future.height:
        first = future.row(0, named=True)
        raise DataError(
            f"Open interest of {first['oi_session']} is not known on {first['session']} ({first['contract_ticker']} "
            f"and {future.height - 1} more rows): join the open interest published that morning."
        )
    # Sums of floats depend on their order, so it is fixed: the order of the caller's rows must not show.
    ordered = chain.select(CHAIN_COLUMNS).sort(
        "symbol", "snapshot_at", "strike", "expiration", "option_type", "contract_ticker"
    )
    ordered = ordered.with_columns(pl.col(_NUMBERS).cast(pl.Float64))
    for start, length in _runs(ordered):
        yield _snapshot(ordered.slice(start, length))


def _runs(ordered: pl.DataFrame) -> list[tuple[int, int]]:
    """Start and length of each run of rows of one symbol and snapshot."""
    lengths = ordered.select(pl.struct("symbol", "snapshot_at").rle().struct.field("len")).to_series().to_list()
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(int).tolist()
    return list(zip(starts[:-1], lengths, strict=True))


def _snapshot(rows: pl.DataFrame) -> _Snapshot:
    first = rows.row(0, named=True)
    spots = rows.get_column("underlying_price").drop_nulls().drop_nans()
    qualities = rows.get_column("quality").cast(pl.String).unique().to_list()
    sources = rows.get_column("source").cast(pl.String).unique().to_list()
    live = rows.filter(pl.col("minutes_to_expiry") > 0.0)
    return _Snapshot(
        symbol=first["symbol"],
        snapshot_at=first["snapshot_at"],
        session=first["session"],
        oi_session=rows.get_column("oi_session").max(),  # type: ignore[arg-type]
        spot=float(spots[0]) if len(spots) else float("nan"),
        tickers=live.get_column("contract_ticker"),
        expirations=live.get_column("expiration"),
        call=(live.get_column("option_type").cast(pl.String) == "call").to_numpy(),
        numbers={name: live.get_column(name).fill_null(float("nan")).to_numpy() for name in _NUMBERS},
        common={
            "source": sources[0] if len(sources) == 1 else "derived",
            "quality": max(qualities, key=("final", "provisional", "suspect").index),
            "available_at": rows.get_column("available_at").max(),
            "ingested_at": rows.get_column("ingested_at").max(),
            "revision": rows.get_column("revision").max(),
            "definition_version": DEFINITION_VERSION,
        },
    )


def _signed_weights(snapshot: _Snapshot, opened: Floats | None) -> dict[str, Floats]:
    """Signed open contracts x multiplier of each convention; missing open interest counts as none."""
    interest = np.nan_to_num(snapshot["open_interest"], nan=0.0)
    size = interest * snapshot["multiplier"]
    weights = {"A": np.where(snapshot.call, size, -size), "B": -size}
    if opened is not None:
        # Dealers hold the other side of what customers opened, and no more of it than there is.
        weights["C"] = -np.clip(opened, -interest, interest) * snapshot["multiplier"]
    return weights


def _repriceable(snapshot: _Snapshot) -> Flags:
    terms = snapshot["gamma"] + snapshot["rate"] + snapshot["carry"] + snapshot["iv"]
    return np.isfinite(terms) & (np.nan_to_num(snapshot["iv"]) > 0.0)


def _curve(snapshot: _Snapshot, weights: list[Floats]) -> GammaCurve | None:
    """G(x) under each set of weights, from the contracts with open interest that can be re-priced; None without any."""
    used = _repriceable(snapshot) & (np.nan_to_num(snapshot["open_interest"]) > 0.0)
    if not used.any() or not snapshot.spot > 0.0:
        return None
    contracts = Contracts(
        snapshot["strike"][used],
        snapshot["minutes_to_expiry"][used] / MINUTES_PER_YEAR,
        snapshot["rate"][used],
        snapshot["carry"][used],
        snapshot["iv"][used],
    )
    return GammaCurve(contracts, np.array([weight[used] for weight in weights]), snapshot.spot)


def _coverage_pct(interest: Floats, priced: Flags) -> float:
    """Share of the open interest in contracts with `priced`, 0-100; all of none is priced."""
    known = np.nan_to_num(interest, nan=0.0)
    total = float(known.sum())
    return 100.0 if total == 0.0 else min(100.0, 100.0 * float(known[priced].sum()) / total)


def _rows_of(
    snapshot: _Snapshot, opened: Floats | None, dollar_volume: float | None, closings: "_Closings"
) -> Iterator[dict[str, Any]]:
    priced = np.isfinite(snapshot["gamma"])
    interest_known = np.isfinite(snapshot["open_interest"])
    knows_enough = snapshot.spot > 0.0 and bool(interest_known.any())
    coverage = _coverage_pct(snapshot["open_interest"], priced) if knows_enough else 0.0
    weights = _signed_weights(snapshot, opened)
    used = priced & (np.nan_to_num(snapshot["open_interest"]) > 0.0)
    row: dict[str, Any] = {
        "symbol": snapshot.symbol,
        "snapshot_at": snapshot.snapshot_at,
        "session": snapshot.session,
        "underlying_price": snapshot.spot if snapshot.spot > 0.0 else None,
        "status": _status(snapshot, knows_enough, coverage),
        "contracts_used": int(used.sum()),
        "oi_coverage_pct": coverage,
        "oi_session": snapshot.oi_session or calendar.previous_session(snapshot.session),
        **_counts(snapshot),
        **snapshot.common,
    }
    measurable = knows_enough and (bool(used.any()) or not np.nansum(snapshot["open_interest"]) > 0.0)
    if not measurable:
        nothing = {"gex_by_strike": np.empty((0, 3)), "flip_status": "insufficient", "quality_flags": []}
        yield from ({**row, **nothing, "sign_convention": convention} for convention in weights)
        return
    levels = _levels(snapshot, weights["A"], priced)
    flips = _flips(snapshot, weights)
    found = {
        convention: _exposure(snapshot, weight, priced, levels["gross_gex_usd_per_1pct"])
        for convention, weight in weights.items()
    }
    label_of = {convention: positioning(values["net_gex_ratio"]) for convention, values in found.items()}
    agreement = label_of["A"][0] == label_of["C"][0] if "C" in label_of and label_of["A"][0] is not None else None
    gross_of_volume = _ratio(levels["gross_gex_usd_per_1pct"], dollar_volume)
    for convention, values in found.items():
        dealer_positioning, strength = label_of[convention]
        percentile, flags = closings.percentile(snapshot, convention, values["gex_usd_per_1pct"])
        yield {
            **row,
            **levels,
            **values,
            **flips[convention],
            "sign_convention": convention,
            "gex_gross_adv_pct": None if gross_of_volume is None else 100.0 * gross_of_volume,
            "gex_percentile_pct": percentile,
            "dealer_positioning": dealer_positioning,
            "positioning_strength": strength,
            "expected_behavior": expected_behavior(
                dealer_positioning, strength, snapshot.spot, (levels["call_wall"], levels["put_wall"])
            ),
            "agreement": agreement,
            "quality_flags": flags,
        }


def _status(snapshot: _Snapshot, knows_enough: bool, coverage: float) -> str:
    if not knows_enough:
        return "missing_input"
    if coverage < MIN_COVERAGE_PCT:
        return "insufficient"
    late = snapshot.oi_session is None or snapshot.oi_session < calendar.previous_session(snapshot.session)
    return "stale" if late else "ok"


def _exposure(snapshot: _Snapshot, weights: Floats, priced: Flags, gross: float) -> dict[str, Any]:
    """Sums under one convention, signed, in the units of the columns."""
    spot = snapshot.spot
    shares = np.where(priced, weights * snapshot["gamma"], 0.0)
    dollars = shares * spot * spot * 0.01
    calls, puts = float(dollars[snapshot.call].sum()), float(dollars[~snapshot.call].sum())
    today = snapshot["dte"] == 0.0
    net = calls + puts
    strikes, call_side, put_side = _sides(snapshot, dollars)
    return {
        "gex_usd_per_1pct": net,
        "call_gex_usd_per_1pct": calls,
        "put_gex_usd_per_1pct": puts,
        "gex_shares_per_1usd": float(shares.sum()),
        "gex_0dte_usd_per_1pct": float(dollars[today].sum()),
        "gex_ex0dte_usd_per_1pct": float(dollars[~today].sum()),
        "net_gex_ratio": _ratio(net, gross),
        "call_put_gamma_ratio": _ratio(abs(calls), abs(puts)),
        "vanna_usd_per_pt": _dollar_sum(weights, snapshot["vanna_1pct"], spot),
        "charm_usd_per_day": _dollar_sum(weights, snapshot["charm_day"], spot),
        "gex_by_strike": np.column_stack([strikes, call_side, put_side]),
    }


def _levels(snapshot: _Snapshot, weights: Floats, priced: Flags) -> dict[str, Any]:
    """Gross gamma and the strikes where it sits, under convention A."""
    spot = snapshot.spot
    dollars = np.where(priced, weights * snapshot["gamma"], 0.0) * spot * spot * 0.01
    gross = float(np.abs(dollars).sum())
    strikes, calls, puts = _sides(snapshot, dollars)
    levels: dict[str, Any] = {"gross_gex_usd_per_1pct": gross}
    for side, values in (("call", calls), ("put", -puts)):
        found = largest(strikes, values, spot)
        wall, size = found if found is not None and found[1] >= MIN_WALL_SHARE * gross else (None, None)
        levels[f"{side}_wall"], levels[f"{side}_wall_gex_usd"] = wall, size
        levels[f"distance_to_{side}_wall_pct"] = None if wall is None else (wall - spot) / spot * 100.0
    most = largest(strikes, calls - puts, spot)
    return levels | {"max_gamma_strike": None if most is None else most[0], "max_pain": _max_pains(snapshot)}


def _flips(snapshot: _Snapshot, weights: dict[str, Floats]) -> dict[str, dict[str, Any]]:
    """Roots of G(x) of each convention, the nearest of them and the steepness there."""
    none: dict[str, Any] = {"gamma_flip": None, "gamma_flip_roots": [], "gamma_flip_slope": None}
    curve = _curve(snapshot, list(weights.values()))
    if curve is None or _coverage_pct(snapshot["open_interest"], _repriceable(snapshot)) < MIN_COVERAGE_PCT:
        return {name: {**none, "gamma_flip_roots": None, "flip_status": "insufficient"} for name in weights}
    prices = price_grid(snapshot.spot)
    values = curve(prices)
    names = list(weights)
    all_short = names.index("B")
    found = {}
    for row, name in enumerate(names):
        # Under B every term has the same sign, so its size is the gross.
        roots = flip_roots(curve, row, prices, values[row], -values[all_short])
        if not roots:
            found[name] = {**none, "flip_status": "no_crossing"}
            continue
        flip = min(roots, key=lambda root: (abs(root - snapshot.spot), root))
        slope = flip_slope(curve, row, all_short, flip)
        found[name] = {
            "gamma_flip": flip,
            "gamma_flip_roots": roots,
            "gamma_flip_slope": slope,
            "flip_status": "ok",
        }
    return found


def _max_pains(snapshot: _Snapshot) -> list[dict[str, Any]]:
    days = snapshot.expirations.to_physical().to_numpy()
    sizes = np.nan_to_num(snapshot["open_interest"], nan=0.0) * snapshot["multiplier"]
    found = []
    for expiration in snapshot.expirations.unique().sort():
        here = days == (expiration - date(1970, 1, 1)).days
        strikes, calls, puts = _by_strike(snapshot["strike"][here], snapshot.call[here], sizes[here])
        strike = max_pain(strikes, calls, puts, snapshot.spot)
        if strike is not None:
            found.append({"expiration": expiration, "strike": strike})
    return found


def _counts(snapshot: _Snapshot) -> dict[str, Any]:
    """Open interest and volume: totals, ratios, strikes and the scope of the snapshot."""
    found: dict[str, Any] = {}
    spot = snapshot.spot if snapshot.spot > 0.0 else 0.0
    for name, of in (("open_interest", "oi"), ("volume", "volume")):
        values = snapshot[name]
        known = np.isfinite(values)
        filled = np.nan_to_num(values, nan=0.0)
        strikes, calls, puts = _by_strike(snapshot["strike"][known], snapshot.call[known], values[known])
        found[f"{of}_by_strike"] = np.column_stack([strikes, calls, puts])
        for side, by_strike, mask in (("call", calls, snapshot.call), ("put", puts, ~snapshot.call)):
            most = largest(strikes, by_strike, spot)
            found[f"max_{side}_{of}_strike"] = None if most is None else most[0]
            found[f"total_{side}_{of}"] = round(float(filled[mask].sum())) if known[mask].any() else None
        found[f"put_call_{of}_ratio"] = _ratio(found[f"total_put_{of}"], found[f"total_call_{of}"])
    included = snapshot.expirations.unique().sort()
    sizes = np.nan_to_num(snapshot["open_interest"], nan=0.0)
    by_expiry = [float(sizes[(snapshot.expirations == day).to_numpy()].sum()) for day in included]
    found["expirations_included"] = included.to_list()
    found["expiration_focus"] = included[int(np.argmax(by_expiry))] if by_expiry and max(by_expiry) > 0.0 else None
    return found


def _sides(snapshot: _Snapshot, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Strikes in rising order and the sums of `values` of calls and of puts at each."""
    return _by_strike(snapshot["strike"], snapshot.call, values)


def _by_strike(strike: Floats, call: Flags, values: Floats) -> tuple[Floats, Floats, Floats]:
    strikes, where = np.unique(strike, return_inverse=True)
    calls = np.bincount(where, np.where(call, values, 0.0), len(strikes)).astype(np.float64)
    puts = np.bincount(where, np.where(call, 0.0, values), len(strikes)).astype(np.float64)
    return strikes, calls, puts


def _as_table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows in the columns of the table.

    The numbers by strike are handed over as arrays: taken apart into Python's numbers they cost more than all the rest.
    """
    schema = GAMMA_EXPOSURE_SNAPSHOTS.polars_schema
    arrays = {name: [np.ascontiguousarray(row.pop(name)) for row in rows] for name in _BY_STRIKE}
    # Lists of series are taken over as they are only as long as no type is asked for.
    lists = [
        pl.Series(name, [pl.Series(one).reshape((-1, 3)).arr.to_list() for one in values]).cast(schema[name])
        for name, values in arrays.items()
    ]
    plain = {name: kind for name, kind in schema.items() if name not in _BY_STRIKE}
    return pl.DataFrame(rows, schema=plain, orient="row").with_columns(lists).select(schema.names())


def _dollar_sum(weights: Floats, greek: Floats, spot: float) -> float | None:
    known = np.isfinite(greek)
    return float((weights[known] * greek[known]).sum()) * spot if known.any() else None


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _dollar_volumes(snapshots: list[_Snapshot], adv_usd: pl.DataFrame | None) -> list[float | None]:
    if adv_usd is None:
        return [None] * len(snapshots)
    asked = pl.DataFrame(
        {"symbol": [one.symbol for one in snapshots], "snapshot_at": [one.snapshot_at for one in snapshots]},
        schema_overrides={"snapshot_at": adv_usd.schema["available_at"]},
    )
    known = adv_usd.drop_nulls("adv20_usd")
    matched = as_of(asked, known, by=["symbol"], columns={"adv20_usd": "adv20_usd"}, at="snapshot_at")
    return matched.get_column("adv20_usd").to_list()


@lru_cache(maxsize=64)
def _sessions_before(session: date, count: int) -> list[date]:
    """Up to `count` sessions before `session`, newest first."""
    start = max(calendar.first_session(), session - timedelta(days=2 * count + 14))
    return [day for day in calendar.sessions_between(start, session) if day < session][::-1][:count]


class _OpeningFlow:
    """What customers net opened lately in each contract, as far as it was known at a snapshot."""

    def __init__(self, flow: pl.DataFrame | None) -> None:
        self._by_symbol: dict[str, pl.DataFrame] = {}
        self._last: tuple[object, pl.DataFrame] = (None, pl.DataFrame())
        if flow is not None and flow.height:
            parts = flow.sort("contract_ticker", "session").partition_by("symbol", as_dict=True)
            self._by_symbol = {str(key[0]): part for key, part in parts.items()}

    def at(self, snapshot: _Snapshot) -> Floats | None:
        """Decayed net opened contracts of the snapshot's contracts, or None with fewer than five sessions."""
        of_symbol = self._by_symbol.get(snapshot.symbol)
        if of_symbol is None:
            return None
        window = _sessions_before(snapshot.session, FLOW_WINDOW_SESSIONS)
        known = of_symbol.filter(
            (pl.col("available_at") <= snapshot.snapshot_at) & pl.col("session").is_between(window[-1], window[0])
        )
        if known.get_column("session").n_unique() < MIN_FLOW_SESSIONS:
            return None
        # The sets known during a session grow, so their size tells them apart.
        key = (snapshot.symbol, snapshot.session, known.height)
        if self._last[0] != key:
            weights = [0.5 ** (age / FLOW_HALF_LIFE_SESSIONS) for age in range(len(window))]
            weight = pl.col("session").replace_strict(window, weights, return_dtype=pl.Float64)
            opened = (pl.col("net_opening_contracts") * weight).sum()
            self._last = (key, known.group_by("contract_ticker", maintain_order=True).agg(opened=opened))
        by_contract = self._last[1]
        found = snapshot.tickers.replace_strict(
            by_contract["contract_ticker"], by_contract["opened"], default=0.0, return_dtype=pl.Float64
        )
        return found.to_numpy()


class _Closings:
    """Closing net gamma of earlier sessions, as far as it was known at a snapshot."""

    def __init__(self, history: pl.DataFrame | None) -> None:
        self._series: dict[tuple[str, str], pl.DataFrame] = {}
        if history is not None and history.height:
            keyed = history.drop_nulls("gex_usd_per_1pct").with_columns(pl.col("sign_convention").cast(pl.String))
            parts = keyed.sort("session").partition_by("symbol", "sign_convention", as_dict=True)
            self._series = {(str(key[0]), str(key[1])): part for key, part in parts.items()}

    def percentile(self, snapshot: _Snapshot, convention: str, net: float) -> tuple[float | None, list[str]]:
        """Mid-rank percentile of `net`, 0-100, null with fewer than 126 closing values, and the row's flags."""
        series = self._series.get((snapshot.symbol, convention))
        if series is None:
            return None, []
        window = _sessions_before(snapshot.session, PERCENTILE_SESSIONS)
        known = series.filter(
            (pl.col("available_at") <= snapshot.snapshot_at) & pl.col("session").is_between(window[-1], window[0])
        )
        values = known.get_column("gex_usd_per_1pct").to_numpy()
        if len(values) < SHORT_HISTORY:
            return None, []
        below, level = float((values < net).sum()), float((values == net).sum())
        flags = [] if len(values) >= FULL_HISTORY else ["percentile_short_history"]
        return 100.0 * (below + 0.5 * level) / len(values), flags
