"""Pages of a small hand-made chain on XYZ as the vendor would send them, as of the close of Christmas Eve 2015."""

from datetime import UTC, datetime
from typing import Any

CLOSE = datetime(2015, 12, 24, 18, 0, tzinfo=UTC)
XYZ = "/v3/snapshot/options/XYZ"


def stamp(moment: datetime) -> int:
    """Nanoseconds, as the vendor writes times."""
    return int(moment.timestamp()) * 1_000_000_000


def entry(ticker: str, at: datetime = CLOSE, **changes: Any) -> dict[str, Any]:
    """A quoted contract; `changes` replace whole blocks, None takes one out."""
    whole = {
        "details": {"ticker": ticker, "shares_per_contract": 100, "exercise_style": "american"},
        "last_quote": {"bid": 1.2, "ask": 1.3, "last_updated": stamp(at)},
        "open_interest": 10,
        "underlying_asset": {"ticker": "XYZ", "price": 50.0, "last_updated": stamp(at)},
    }
    return {name: block for name, block in (whole | changes).items() if block is not None}


def page(*entries: Any) -> dict[str, Any]:
    """One page of an answer."""
    return {"status": "OK", "request_id": "r", "results": list(entries)}
