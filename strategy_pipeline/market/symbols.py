"""Symbols: the vendor's tickers, our canonical names, asset classes and OCC option contracts.

Which symbols are watched is configuration (``settings.py``); what a ticker means is here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import polars as pl

from strategy_pipeline.errors import SymbolError

INDEX, EQUITY_ETF, STOCK = "INDEX", "EQUITY_ETF", "STOCK"
ASSET_CLASSES = (INDEX, EQUITY_ETF, STOCK)
ASSET_CLASS_DTYPE = pl.Enum(ASSET_CLASSES)

# An index has no volume of its own; the ETF that tracks it lends its own (detectors.md section 2, rvol).
INDEX_PROXY = {"SPX": "SPY", "NDX": "QQQ", "RUT": "IWM", "DJI": "DIA"}
# Indices that nothing tracks minute by minute, or of which only the close is read.
OTHER_INDICES = frozenset({"VIX", "VIX3M", "COMP"})
# Funds that are traded as equities; a watchlist may name more.
KNOWN_ETFS = frozenset({"SPY", "QQQ", "IWM", "DIA", "EEM", "SHY", "VXX", "TLT", "GLD", "XLF", "XLK", "XLE"})

_SYMBOL = re.compile(r"[A-Z][A-Z0-9]*(?:[.\-/^][A-Z0-9]+)*\Z")
_OCC = re.compile(r"(?:O:)?(?P<root>[A-Z0-9.]{1,6}?) *(?P<expiry>\d{6})(?P<type>[CP])(?P<strike>\d{8})\Z")


@dataclass(frozen=True, slots=True)
class Instrument:
    """A symbol as the pipeline treats it; `proxy` names the symbol whose volume stands in for an index."""

    symbol: str
    asset_class: str
    proxy: str | None = None


@dataclass(frozen=True, slots=True)
class OccContract:
    """The terms an OCC ticker spells out; `strike` is in dollars, exact to 0.001."""

    root: str
    expiration: date
    option_type: str
    strike: float


def canonical_symbol(ticker: str) -> str:
    """The project's name of a vendor ticker: ``I:SPX`` -> ``SPX``, ``BRK.B`` stays; anything else is a SymbolError."""
    symbol = ticker.removeprefix("I:")
    if not _SYMBOL.match(symbol):
        raise SymbolError(f"{ticker!r} is not a ticker: write capital letters such as SPY, BRK.B or I:SPX.")
    return symbol


def asset_class_of(symbol: str) -> str:
    """INDEX, EQUITY_ETF or STOCK of a canonical symbol, for symbols that no watchlist describes."""
    if symbol in INDEX_PROXY or symbol in OTHER_INDICES:
        return INDEX
    return EQUITY_ETF if symbol in KNOWN_ETFS else STOCK


def instrument(symbol: str, asset_class: str | None = None, proxy: str | None = None) -> Instrument:
    """An Instrument with the defaults of its asset class filled in; raises SymbolError for an unknown class."""
    canonical = canonical_symbol(symbol)
    kind = asset_class or asset_class_of(canonical)
    if kind not in ASSET_CLASSES:
        raise SymbolError(f"{symbol} has asset class {kind!r}: use one of {', '.join(ASSET_CLASSES)}.")
    return Instrument(canonical, kind, proxy or (INDEX_PROXY.get(canonical) if kind == INDEX else None))


def volume_lenders(instruments: Iterable[Instrument]) -> dict[str, str]:
    """Index -> the symbol whose volume stands in for its own, those of `instruments` before the usual ones."""
    return {**INDEX_PROXY, **{one.symbol: one.proxy for one in instruments if one.asset_class == INDEX and one.proxy}}


def vendor_ticker(symbol: str, asset_class: str) -> str:
    """The ticker under which the vendor publishes a canonical symbol: indices carry ``I:``."""
    return f"I:{symbol}" if asset_class == INDEX else symbol


def instruments_frame(instruments: Iterable[Instrument]) -> pl.DataFrame:
    """Instruments as a frame: symbol, asset_class, rvol_symbol (the symbol whose volume counts; null for none)."""
    rows = sorted(instruments, key=lambda one: one.symbol)
    return pl.DataFrame(
        {
            "symbol": pl.Series([r.symbol for r in rows], dtype=pl.String),
            "asset_class": pl.Series([r.asset_class for r in rows], dtype=ASSET_CLASS_DTYPE),
            "rvol_symbol": pl.Series([r.proxy if r.asset_class == INDEX else r.symbol for r in rows], dtype=pl.String),
        }
    )


def parse_occ(ticker: str) -> OccContract:
    """Reads an OCC ticker from the right: 8 digits of strike in thousandths, C or P, YYMMDD; the root is the rest.

    ``O:AAPL140613C00070710`` is a call on AAPL struck at 70.71; an adjusted root may end in a digit (``AAPL7``).
    Raises SymbolError when the text does not have that form or the date does not exist.
    """
    match = _OCC.match(ticker)
    if match is None:
        raise SymbolError(f"{ticker!r} is not an OCC option ticker such as O:SPY241220C00600000.")
    digits = match["expiry"]
    try:
        expiration = date(2000 + int(digits[:2]), int(digits[2:4]), int(digits[4:]))
    except ValueError:
        raise SymbolError(f"{ticker!r} names an expiration that does not exist: {digits}.") from None
    option_type = "call" if match["type"] == "C" else "put"
    return OccContract(match["root"], expiration, option_type, int(match["strike"]) / 1000)
