"""What the files say about the options of one session, read as one piece: the files, their rows, what is refused.

Knows where the files lie (the raw mirror); what a file means is option_files.py's business, valuing is analytics'.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import polars as pl

from strategy_pipeline.ingestion.layout import DATASETS, key_for
from strategy_pipeline.ingestion.mirror import RawFile, RawMirror
from strategy_pipeline.ingestion.option_files import (
    CONTRACTS_DEFINITION,
    OPEN_INTEREST_DEFINITION,
    OptionFile,
    option_contracts,
    option_prints,
    option_symbols_to_roots,
    parse_open_interest,
    parse_option_quotes,
)
from strategy_pipeline.ingestion.parse import parse_aggregates
from strategy_pipeline.lake.tables import OPEN_INTEREST, QUARANTINE

QUOTES, MINUTES = DATASETS["us_options_opra/quotes_v1"], DATASETS["us_options_opra/minute_aggs_v1"]
RATES_KEY = "extra/primary_credit_rate.csv"
DEFINITION = f"{CONTRACTS_DEFINITION},{OPEN_INTEREST_DEFINITION}"


@dataclass(frozen=True, slots=True)
class OptionSession:
    """Quotes, prints, open interest and contracts of one session; what has no file is None, open interest is empty.

    `quarantine` holds what was refused anywhere on the way, `refusals` a sentence about each file that was of no use.
    """

    day: date
    contracts: pl.DataFrame
    open_interest: pl.DataFrame
    quotes: pl.DataFrame | None
    prints: pl.DataFrame | None
    quarantine: pl.DataFrame
    refusals: tuple[str, ...]
    sources: tuple[RawFile, ...]

    def pedigree(self, symbols: Iterable[str]) -> dict[str, str]:
        """What decides the bytes of the session's rows: its sources, the symbols asked for, and the definition."""
        return pedigree_of(self.sources, symbols)


def open_interest_key(day: date) -> str:
    """The object with the open interest published in the morning of `day`."""
    return f"extra/option_open_interest/{day:%Y/%m}/{day}.csv.gz"


def option_keys(day: date) -> list[str]:
    """Every object that may say something about the options of `day`."""
    return [key_for(QUOTES, day), key_for(MINUTES, day), open_interest_key(day)]


def sources_of(raw_files: RawMirror, day: date) -> tuple[RawFile, ...]:
    """The files about the options of `day` that are here."""
    return tuple(raw for key in option_keys(day) if (raw := raw_files.get(key)) is not None)


def pedigree_of(sources: Iterable[RawFile], symbols: Iterable[str]) -> dict[str, str]:
    """What decides the bytes of a session's rows, before any file is read."""
    said = [{"key": raw.key, "etag": raw.etag, "sha256": raw.sha256} for raw in sources]
    return {
        "sources": json.dumps(said, sort_keys=True),
        "symbols": ",".join(sorted(symbols)),
        "definition_version": DEFINITION,
    }


def read_option_session(
    raw_files: RawMirror,
    day: date,
    symbols: Iterable[str],
    *,
    reference: pl.DataFrame | None = None,
    actions: pl.DataFrame | None = None,
) -> OptionSession:
    """The options on `symbols` (canonical underlyings) in the files of `day`; nothing of the content raises.

    reference: rows of ``option_contracts`` of the session from the vendor's contract reference.
    actions: ``corporate_actions``, for sessions on which shares split.
    """
    wanted = sorted(symbols)
    sources = sources_of(raw_files, day)
    by_key = {raw.key: raw for raw in sources}
    read: dict[str, OptionFile] = {}
    refusals: list[str] = []
    quarantine = []
    if (raw := by_key.get(key_for(QUOTES, day))) is not None:
        read["quotes"] = parse_option_quotes(raw, day, wanted)
    if (raw := by_key.get(key_for(MINUTES, day))) is not None:
        parsed = parse_aggregates(raw, MINUTES, option_symbols_to_roots(wanted))
        quarantine.append(parsed.quarantine)
        read["prints"] = option_prints(parsed)
    if (raw := by_key.get(open_interest_key(day))) is not None:
        read["open_interest"] = parse_open_interest(raw, day, wanted)
    contracts = option_contracts(
        day, {name: one.rows for name, one in read.items()}, reference, actions, symbols=wanted
    )
    quarantine += [one.quarantine for one in (*read.values(), contracts)]
    refusals += [one.refusal for one in read.values() if one.refusal]
    return OptionSession(
        day,
        contracts.rows,
        read["open_interest"].rows if "open_interest" in read else OPEN_INTEREST.empty(),
        read["quotes"].rows if "quotes" in read else None,
        read["prints"].rows if "prints" in read else None,
        pl.concat(quarantine).sort(*QUARANTINE.sort_by),
        tuple(refusals),
        sources,
    )
