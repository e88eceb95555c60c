"""What the files say about the options of one session, read as one piece: the files, their rows, what is refused.

Knows where the files lie (the raw mirror); what a file means is option_files.py's business, valuing is analytics'.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import polars as pl

from strategy_pipeline.ingestion.judged_files import JudgedFile
from strategy_pipeline.ingestion.layout import DATASETS, key_for
from strategy_pipeline.ingestion.mirror import RawFile, RawMirror
from strategy_pipeline.ingestion.option_files import (
    CONTRACTS_DEFINITION,
    OPEN_INTEREST_DEFINITION,
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
class OptionTape:
    """Quotes and prints of one session; what has no file is None."""

    quotes: pl.DataFrame | None
    prints: pl.DataFrame | None
    quarantine: tuple[pl.DataFrame, ...]
    refusals: tuple[str, ...]


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
    return [*tape_keys(day), open_interest_key(day)]


def tape_keys(day: date) -> list[str]:
    """The objects with the quotes and prints of `day`."""
    return [key_for(QUOTES, day), key_for(MINUTES, day)]


def sources_of(raw_files: RawMirror, day: date, keys: Iterable[str] | None = None) -> tuple[RawFile, ...]:
    """The files about the options of `day` that are here; of `keys` alone when given."""
    wanted = option_keys(day) if keys is None else keys
    return tuple(raw for key in wanted if (raw := raw_files.get(key)) is not None)


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
    tape = read_tape(raw_files, day, wanted)
    interest = read_open_interest(raw_files, day, wanted)
    seen = {"quotes": tape.quotes, "prints": tape.prints, "open_interest": interest.rows if interest else None}
    evidence = {name: rows for name, rows in seen.items() if rows is not None}
    contracts = option_contracts(day, evidence, reference, actions, symbols=wanted)
    refused = [*tape.quarantine, *([interest.quarantine] if interest else []), contracts.quarantine]
    return OptionSession(
        day,
        contracts.rows,
        interest.rows if interest else OPEN_INTEREST.empty(),
        tape.quotes,
        tape.prints,
        pl.concat(refused).sort(*QUARANTINE.sort_by),
        (*tape.refusals, *([interest.refusal] if interest and interest.refusal else [])),
        sources,
    )


def read_tape(raw_files: RawMirror, day: date, symbols: Iterable[str]) -> OptionTape:
    """The quotes and prints of options on `symbols` in the files of `day`; nothing of the content raises."""
    wanted = sorted(symbols)
    read: dict[str, JudgedFile] = {}
    quarantine = []
    if (raw := raw_files.get(key_for(QUOTES, day))) is not None:
        read["quotes"] = parse_option_quotes(raw, day, wanted)
    if (raw := raw_files.get(key_for(MINUTES, day))) is not None:
        parsed = parse_aggregates(raw, MINUTES, option_symbols_to_roots(wanted))
        quarantine.append(parsed.quarantine)
        read["prints"] = option_prints(parsed)
    return OptionTape(
        read["quotes"].rows if "quotes" in read else None,
        read["prints"].rows if "prints" in read else None,
        (*quarantine, *(one.quarantine for one in read.values())),
        tuple(one.refusal for one in read.values() if one.refusal),
    )


def read_open_interest(raw_files: RawMirror, day: date, symbols: Iterable[str]) -> JudgedFile | None:
    """The open interest published in the morning of `day`, or None without its file."""
    raw = raw_files.get(open_interest_key(day))
    return None if raw is None else parse_open_interest(raw, day, sorted(symbols))
