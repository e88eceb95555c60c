"""Reference data of the vendor's REST side as rows: contracts as of a session, trade conditions, Treasury yields.

Splits and dividends are corporate_actions.py's. Asking the vendor is vendor_api.py's business.
"""

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl

from strategy_pipeline.errors import DataError
from strategy_pipeline.ingestion.chain_snapshots import REASONS as CHAIN_REASONS
from strategy_pipeline.ingestion.chain_snapshots import terms_fault, with_terms
from strategy_pipeline.ingestion.vendor_api import Pages, number, plain_text
from strategy_pipeline.lake.tables import INSTANT, OPTION_CONTRACTS, QUARANTINE, RATE_CURVE
from strategy_pipeline.market.calendar import at_new_york, session
from strategy_pipeline.market.options import STANDARD_MULTIPLIER, morning_of_open_interest

CONTRACTS_DATASET = "rest_option_contracts"
CONTRACTS_DEFINITION = "contracts-rest-1"
YIELDS_DEFINITION = "par-yields-rest-1"
REASONS = CHAIN_REASONS | {
    "no_style": "the contract's exercise style is not stated",
    "mixed_deliverable": "the contract delivers something besides shares of its underlying",
}

# One condition code of trades: `kind` is the vendor's word for what it means, such as regular or late.
CONDITION_COLUMNS = pl.Schema(
    {"id": pl.Int32(), "name": pl.String(), "kind": pl.String(), "abbreviation": pl.String(), "legacy": pl.Boolean()}
)

# Fields of a day's yields and their tenors in years.
_YIELDS = {f"yield_{months}_month": months / 12 for months in (1, 3, 6)} | {
    f"yield_{years}_year": float(years) for years in (1, 2, 3, 5, 7, 10, 20, 30)
}

_RAW = {
    "number": pl.Int64(),
    "request_id": pl.String(),
    "fault": pl.String(),
    "ticker": pl.String(),
    "underlying": pl.String(),
    "strike_stated": pl.Float64(),
    "expiration_stated": pl.String(),
    "type_stated": pl.String(),
    "style_stated": pl.String(),
    "multiplier": pl.Float64(),
    "mixed": pl.Boolean(),
}
_TERMS = [name for name in _RAW if name not in ("number", "request_id", "fault")]


@dataclass(frozen=True, slots=True)
class ParsedContracts:
    """Rows of ``option_contracts`` in its order, what was refused, and where every entry went.

    ``read == contracts.height + sum(by_reason.values())``.
    """

    contracts: pl.DataFrame
    quarantine: pl.DataFrame
    read: int
    by_reason: dict[str, int]


def parse_contracts(answer: Pages, symbol: str, day: date) -> ParsedContracts:
    """The contracts on canonical `symbol` that a whole answer lists as of session `day`.

    The deliverable is the stated one. A contract that delivers something besides shares is refused: its price does not
    follow from its underlying's alone. Listings are known before the session, with its open interest. Never raises
    for what the vendor sent; raises CalendarError when `day` is no session.
    """
    hours = session(day)
    columns: dict[str, list[Any]] = {name: [] for name in _RAW}
    for place, request_id, entry in answer.numbered():
        for name, value in {"number": place, "request_id": request_id, **_terms_of(entry)}.items():
            columns[name].append(value)
    raw = pl.DataFrame(columns, schema=_RAW)
    # What a reference lists needs no further reference.
    work = with_terms(raw, None).with_columns(in_reference=pl.lit(True))
    terms = terms_fault(symbol, hours.open)
    work = work.with_columns(
        fault=pl.coalesce(
            "fault",
            terms,
            pl.when(pl.col("style_stated").is_null()).then(pl.lit("no_style")),
            pl.when("mixed").then(pl.lit("mixed_deliverable")),
        )
    )
    sound = work.filter(pl.col("fault").is_null()).with_columns(
        versions=pl.struct(_TERMS).n_unique().over("contract_ticker"),
        place=pl.int_range(pl.len()).over("contract_ticker"),
    )
    sound = sound.with_columns(
        fault=pl.when(pl.col("versions") > 1)
        .then(pl.lit("duplicate_conflicting"))
        .when(pl.col("place") > 0)
        .then(pl.lit("duplicate_identical"))
    )
    pick = ["number", "request_id", "fault"]
    refused = pl.concat([part.filter(pl.col("fault").is_not_null()).select(pick) for part in (work, sound)]).sort(
        "number"
    )
    nothing = pl.lit([], dtype=pl.List(pl.String))
    contracts = (
        sound.filter(pl.col("fault").is_null())
        .select(
            session=pl.lit(day),
            contract_ticker="contract_ticker",
            symbol=pl.lit(symbol),
            root="root",
            expiration="expiration",
            expires_at="expires_at",
            strike="strike",
            option_type="option_type",
            exercise_style="style_stated",
            settlement="settlement",
            multiplier="multiplier",
            source=pl.lit("rest"),
            quality=pl.lit("final"),
            quality_flags=pl.concat_list(
                pl.when("adjusted").then(pl.lit(["adjusted_deliverable"])).otherwise(nothing),
                pl.when(pl.col("multiplier") != STANDARD_MULTIPLIER)
                .then(pl.lit(["multiplier_not_standard"]))
                .otherwise(nothing),
            ),
            available_at=pl.lit(morning_of_open_interest(day), dtype=INSTANT),
            ingested_at=pl.lit(answer.fetched_at.astimezone(UTC), dtype=INSTANT),
            revision=pl.lit(0, dtype=pl.Int32),
            definition_version=pl.lit(CONTRACTS_DEFINITION),
        )
        .cast(OPTION_CONTRACTS.polars_schema)
        .sort(*OPTION_CONTRACTS.sort_by)
    )
    records = answer.records if refused.height else []
    quarantine = pl.DataFrame(
        [
            (
                CONTRACTS_DATASET,
                day,
                answer.path,
                request_id,
                place,
                fault,
                f"{REASONS[fault][:1].upper()}{REASONS[fault][1:]}.",
                json.dumps(records[place - 1]),
            )
            for place, request_id, fault in refused.iter_rows()
        ],
        schema=QUARANTINE.polars_schema,
        orient="row",
    )
    by_reason = dict(refused.group_by("fault").len().sort("fault").iter_rows())
    return ParsedContracts(contracts, quarantine, raw.height, by_reason)


def trade_conditions(answer: Pages) -> pl.DataFrame:
    """The vendor's condition codes in CONDITION_COLUMNS, by id; raises DataError for an entry without id or name."""
    rows = []
    for place, _, entry in answer.numbered():
        code, name = (entry.get("id"), plain_text(entry.get("name"))) if isinstance(entry, dict) else (None, None)
        if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code < 2**31 or name is None:
            raise DataError(
                f"Entry {place} of {answer.path} is no condition with an id and a name, so none is used: run the same "
                "command again, and tell the vendor when it stays so."
            )
        rows.append(
            (
                code,
                name,
                plain_text(entry.get("type")),
                plain_text(entry.get("abbreviation")),
                entry.get("legacy") is True,
            )
        )
    frame = pl.DataFrame(rows, schema=CONDITION_COLUMNS, orient="row")
    return frame.unique(maintain_order=True).sort("id")


def par_yields(answer: Pages) -> tuple[pl.DataFrame, int]:
    """Rows of ``rate_curve`` from a whole answer of Treasury yields, and the number of its values that are none.

    A par yield is in per cent a year, compounded twice; the rate is the continuous one. The Treasury publishes a day's
    yields in its evening: they count from 00:00 New York of the day after. Of two records of a day the later counts.
    Never raises for what the vendor sent.
    """
    found: dict[tuple[datetime, float], float] = {}
    refused = 0
    for _, _, entry in answer.numbered():
        day = _date_of(entry.get("date")) if isinstance(entry, dict) else None
        if day is None:
            refused += 1
            continue
        known_at = at_new_york(day + timedelta(days=1), time())
        for name, tenor in _YIELDS.items():
            per_cent = _finite(entry.get(name))
            if per_cent is not None and -50.0 < per_cent < 100.0:
                found[known_at, tenor] = 2.0 * math.log1p(per_cent / 200.0)
            elif entry.get(name) is not None:
                refused += 1
    rows = [
        (known_at, tenor, rate, "rest", answer.fetched_at.astimezone(UTC), YIELDS_DEFINITION)
        for (known_at, tenor), rate in found.items()
    ]
    return pl.DataFrame(rows, schema=RATE_CURVE.polars_schema, orient="row").sort(*RATE_CURVE.sort_by), refused


def _date_of(value: Any) -> date | None:
    try:
        return date.fromisoformat(plain_text(value) or "")
    except ValueError:
        return None


def _terms_of(entry: Any) -> dict[str, Any]:
    """The fields of a listed contract, each of the type of its column or None."""
    if not isinstance(entry, dict):
        return dict.fromkeys(_TERMS) | {"fault": "not_a_record", "mixed": False}
    ticker = plain_text(entry.get("ticker"))
    return {
        "fault": None if ticker else "no_ticker",
        "ticker": ticker,
        "underlying": plain_text(entry.get("underlying_ticker")),
        "strike_stated": _finite(entry.get("strike_price")),
        "expiration_stated": plain_text(entry.get("expiration_date")),
        "type_stated": plain_text(entry.get("contract_type")),
        "style_stated": plain_text(entry.get("exercise_style")),
        "multiplier": _finite(entry.get("shares_per_contract")),
        "mixed": bool(entry.get("additional_underlyings")),
    }


def _finite(value: Any) -> float | None:
    found = number(value)
    return found if found is not None and math.isfinite(found) else None
