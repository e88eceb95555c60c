"""What the vendor's trade condition ids mean for option prints, read from the vendor's own reference.

No id is written here: the reference names each one, and the words of those names decide. An id that the reference lacks
or names in words unknown here stays unknown, and a check has to fail when it stands on the tape.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.tables import TRADE_CONDITIONS

# What a print can be; the bits of a print are those of all its conditions.
CANCEL, LATE, EXTENDED, CROSS, MULTI_LEG, AUCTION, SWEEP, UNKNOWN = (1 << n for n in range(8))
REGULAR = 0
MEANINGS = {
    "cancel": CANCEL, "late": LATE, "extended": EXTENDED, "cross": CROSS, "multi_leg": MULTI_LEG, "auction": AUCTION,
    "sweep": SWEEP, "unknown": UNKNOWN,
}  # fmt: skip

# Words of a condition's name and what they make of a print, the first that applies (quant_methods.md section 10).
_MEANINGS = (
    (r"\bcancel", CANCEL),
    (r"\blate\b|\bout of sequence\b", LATE),
    (r"\bextended hours\b|\bcompression\b", EXTENDED),
    (r"^multi[ -]?leg\b|^stock[ -]options?\b", MULTI_LEG),
    (r"\bcross\b", CROSS),
    (r"\bauction\b|\bfloor trade\b|\breopening\b", AUCTION),
    (r"\bintermarket sweep\b", SWEEP),
    (r"^(automatic execution|auto(matic)?|regular)\b", REGULAR),
)
_SWEEPING_AUCTION = re.compile(r"(?<!non )\biso\b")


@dataclass(frozen=True, slots=True)
class TradeConditions:
    """The conditions reference as classified: bits by id, and a version that changes whenever the reference does."""

    version: str
    bits_by_id: Mapping[int, int]

    def bits_of(self, condition_ids: pl.Series) -> NDArray[np.uint8]:
        """The bits of each print from its list of ids; a print without conditions is regular."""
        lengths = condition_ids.list.len().fill_null(0).to_numpy().astype(np.int64)
        ids = condition_ids.filter(pl.Series(lengths > 0)).explode().cast(pl.Int64).to_numpy()
        known = np.array(sorted(self.bits_by_id), dtype=np.int64)
        meaning = np.array([self.bits_by_id[one] for one in known.tolist()] or [UNKNOWN], dtype=np.uint8)
        at = np.minimum(np.searchsorted(known, ids), max(len(known) - 1, 0))
        found = known[at] == ids if len(known) else np.zeros(len(ids), dtype=bool)
        bits = np.where(found, meaning[at], UNKNOWN).astype(np.uint8)
        result = np.zeros(len(lengths), dtype=np.uint8)
        filled = np.flatnonzero(lengths)
        if len(filled):
            starts = np.concatenate([[0], np.cumsum(lengths[filled])[:-1]])
            result[filled] = np.bitwise_or.reduceat(bits, starts)
        return result

    def unknown_ids(self, condition_ids: pl.Series) -> dict[int, int]:
        """Ids on the tape that have no known meaning, with the number of times they stand there."""
        counts = condition_ids.explode().drop_nulls().value_counts().sort(condition_ids.name)
        return {int(one): int(times) for one, times in counts.rows() if self.bits_by_id.get(one, UNKNOWN) & UNKNOWN}


def read_conditions(reference: pl.DataFrame) -> TradeConditions:
    """The meaning of every condition in the vendor's reference.

    reference: id and name of each option trade condition, further columns are ignored. Raises DataError when a column
    is missing, when there are no rows, or when an id stands there twice.
    """
    missing = sorted({"id", "name"} - set(reference.columns))
    if missing or reference.is_empty():
        raise DataError(f"The reference of trade conditions lacks {', '.join(missing) or 'rows'}: fetch it again.")
    rows = reference.select(pl.col("id").cast(pl.Int64), pl.col("name").cast(pl.String).fill_null("")).sort("id").rows()
    if len({one for one, _name in rows}) != len(rows):
        raise DataError("The reference of trade conditions names an id twice: fetch it again.")
    digest = hashlib.sha256("\n".join(f"{one}|{name}" for one, name in rows).encode()).hexdigest()
    return TradeConditions(f"conditions-{digest[:12]}", {one: _meaning(name) for one, name in rows})


def conditions_table(reference: pl.DataFrame, ingested_at: datetime, source: str) -> pl.DataFrame:
    """One version of the reference, as ``read_conditions`` takes it, in the columns of ``trade_conditions``."""
    conditions = read_conditions(reference)
    bits = pl.col("condition_id").replace_strict(dict(conditions.bits_by_id), return_dtype=pl.Int64)
    return (
        reference.select(condition_id=pl.col("id").cast(pl.Int64), name=pl.col("name").fill_null(""))
        .with_columns(
            version=pl.lit(conditions.version),
            meanings=pl.concat_list(
                pl.when(bits & flag > 0).then(pl.lit(word)) for word, flag in MEANINGS.items()
            ).list.drop_nulls(),
            source=pl.lit(source),
            ingested_at=pl.lit(ingested_at),
        )
        .select(pl.col(name).cast(kind) for name, kind in TRADE_CONDITIONS.polars_schema.items())
        .sort(*TRADE_CONDITIONS.sort_by)
    )


def with_version(stored: pl.DataFrame, newest: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``trade_conditions`` with another version in use; `stored` as it is when that version is so already."""
    if stored.height and newest["version"][0] == _version_in_use(stored):
        return stored
    others = stored.filter(~pl.col("version").is_in(newest["version"].implode()))
    return pl.concat([others, newest]).sort(*TRADE_CONDITIONS.sort_by)


def conditions_in_use(stored: pl.DataFrame) -> TradeConditions:
    """The newest version among rows of ``trade_conditions``; raises DataError when there are none."""
    newest = stored.filter(pl.col("version") == _version_in_use(stored)) if stored.height else stored
    return read_conditions(newest.rename({"condition_id": "id"}))


def _version_in_use(stored: pl.DataFrame) -> str:
    return str(stored.sort("ingested_at", "version")["version"][-1])


def _meaning(name: str) -> int:
    words = " ".join(name.lower().split())
    for pattern, bits in _MEANINGS:
        if re.search(pattern, words):
            return bits | SWEEP if bits == AUCTION and _SWEEPING_AUCTION.search(words) else bits
    return UNKNOWN
