"""Option contracts as the exchange lists them: roots, the terms an OCC ticker spells out, settlement.

What an option is worth is pricing's business, and which contracts exist in a session ingestion's.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import polars as pl

from strategy_pipeline.market.calendar import (
    CLOSE_TIME,
    OPEN_TIME,
    at_new_york,
    first_session,
    is_session,
    last_session,
    previous_session,
    session,
)
from strategy_pipeline.market.symbols import canonical_symbol

# Deliverable of every contract whose root carries no digit: OCC gives adjusted contracts a root of their own.
STANDARD_MULTIPLIER = 100.0

_TICKER = r"^(?:O:)?([A-Z0-9.]{1,6}?) *(\d{6})([CP])(\d{8})$"
_INSTANT = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True)
class Root:
    """What the root of an OCC ticker stands for; `adjusted` roots deliver something else than the standard."""

    root: str
    symbol: str
    exercise_style: str = "american"
    settlement: str = "pm"
    adjusted: bool = False


def _index(symbol: str, am: tuple[str, ...], pm: tuple[str, ...]) -> list[Root]:
    return [
        Root(root, symbol, "european", settlement) for settlement, roots in (("am", am), ("pm", pm)) for root in roots
    ]


# Every other root is that of a stock or fund: American, physically settled after the close.
_KNOWN = {
    one.root: one
    for one in (
        *_index("SPX", ("SPX",), ("SPXW", "SPXPM")),
        *_index("NDX", ("NDX",), ("NDXP",)),
        *_index("RUT", ("RUT",), ("RUTW",)),
        *_index("DJX", ("DJX",), ()),
        *_index("VIX", ("VIX", "VIXW"), ()),
        *_index("XSP", (), ("XSP",)),
        *_index("XEO", (), ("XEO",)),
        *_index("MRUT", (), ("MRUT",)),
        *_index("XND", (), ("XND",)),
        *_index("NQX", (), ("NQX",)),
        Root("BRKB", "BRK.B"),
        Root("BFB", "BF.B"),
    )
}


def root_named(root: str) -> Root:
    """The root's meaning: ``SPXW`` is SPX, European and settled on the close; ``AAPL7`` an adjusted AAPL contract."""
    if root in _KNOWN:
        return _KNOWN[root]
    bare = root.rstrip("0123456789")
    if bare and bare != root:
        base = _KNOWN.get(bare, Root(bare, bare))
        return Root(root, base.symbol, base.exercise_style, base.settlement, adjusted=True)
    return Root(root, root)


def roots_of(symbol: str) -> list[str]:
    """All roots under which options on a canonical symbol trade: its weeklies and its adjusted contracts too."""
    canonical = canonical_symbol(symbol)
    plain = [one.root for one in _KNOWN.values() if one.symbol == canonical] or [canonical.replace(".", "")]
    return [*plain, *(f"{root}{digit}" for root in plain for digit in range(1, 10))]


def roots_frame(roots: list[str]) -> pl.DataFrame:
    """Meanings of roots as a frame: root, symbol, exercise_style, settlement, adjusted."""
    found = [root_named(root) for root in roots]
    return pl.DataFrame(
        {
            "root": pl.Series([one.root for one in found], dtype=pl.String),
            "symbol": pl.Series([one.symbol for one in found], dtype=pl.String),
            "exercise_style": pl.Series([one.exercise_style for one in found], dtype=pl.String),
            "settlement": pl.Series([one.settlement for one in found], dtype=pl.String),
            "adjusted": pl.Series([one.adjusted for one in found], dtype=pl.Boolean),
        }
    )


def canonical_ticker(ticker: pl.Expr) -> pl.Expr:
    """An OCC ticker as it is stored: prefix ``O:``, no padding."""
    return pl.concat_str(pl.lit("O:"), ticker.str.strip_prefix("O:").str.replace_all(" ", "", literal=True))


def with_occ_terms(frame: pl.DataFrame, ticker: str = "contract_ticker") -> pl.DataFrame:
    """`frame` with root, expiration, option_type and strike ($) read from the right of an OCC ticker.

    All four are null where the ticker has another form, names a date that does not exist or a strike of zero.
    """
    work = frame.with_columns(pl.col(ticker).str.extract_groups(_TICKER).alias("__occ"))
    parts = [pl.col("__occ").struct.field(str(at)) for at in range(1, 5)]
    work = work.with_columns(
        root=parts[0],
        expiration=pl.concat_str(pl.lit("20"), parts[1]).str.to_date("%Y%m%d", strict=False),
        option_type=parts[2].replace_strict({"C": "call", "P": "put"}, default=None, return_dtype=pl.String),
        # Read as a decimal: dividing by 1000 may be a multiplication that misses the nearest double.
        strike=pl.concat_str(parts[3].str.head(5), pl.lit("."), parts[3].str.tail(3)).cast(pl.Float64, strict=False),
    ).drop("__occ")
    sound = pl.col("root").is_not_null() & pl.col("expiration").is_not_null() & (pl.col("strike") > 0)
    return work.with_columns(
        pl.when(sound).then(pl.col(name)).alias(name) for name in ("root", "expiration", "option_type", "strike")
    )


def expires_at(expiration: date, settlement: str) -> datetime:
    """The UTC moment at which a contract settles: the open (am) or close (pm) of its last session.

    The last session is the newest at or before `expiration`, which before 2015 often was a Saturday. Beyond the
    calendar every weekday counts as a full session.
    """
    if first_session() <= expiration <= last_session():
        day = expiration if is_session(expiration) else previous_session(expiration)
        last = session(day)
        return last.open if settlement == "am" else last.close
    day = expiration - timedelta(days=max(0, expiration.weekday() - 4))
    return at_new_york(day, OPEN_TIME if settlement == "am" else CLOSE_TIME)


def with_expires_at(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with `expires_at` (UTC) from its columns expiration and settlement; null where either is."""
    dates = [day for day in frame.get_column("expiration").unique().to_list() if day is not None]

    def moments(settlement: str) -> pl.Expr:
        known = [expires_at(day, settlement) for day in dates]
        if not dates:
            return pl.lit(None, dtype=_INSTANT)
        return pl.col("expiration").replace_strict(
            pl.Series(dates, dtype=pl.Date), pl.Series(known, dtype=_INSTANT), default=None, return_dtype=_INSTANT
        )

    am = pl.col("settlement").cast(pl.String) == "am"
    return frame.with_columns(expires_at=pl.when(am).then(moments("am")).otherwise(moments("pm")))


def morning_of_open_interest(day: date) -> datetime:
    """When the open interest of the session before `day` is published: 06:30 New York of `day`."""
    return at_new_york(day, time(6, 30))
