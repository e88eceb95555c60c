"""Small chains with known gamma, and the real one of GOOG, as rows of historical_greeks; no test lives here."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from strategy_pipeline.lake.tables import HISTORICAL_GREEKS
from strategy_pipeline.pricing import black_scholes

# A Monday 11:00 New York; the session before it is Friday the 8th.
SNAPSHOT = datetime(2024, 3, 11, 15, 0, tzinfo=UTC)
SESSION, SESSION_BEFORE = date(2024, 3, 11), date(2024, 3, 8)
MINUTES_30_DAYS = 30 * 1440.0
GOOG_SNAPSHOT = datetime(2015, 12, 24, 18, 0, tzinfo=UTC)


def chain(rows: list[dict[str, Any]], **values: Any) -> pl.DataFrame:
    """Rows of historical_greeks from what matters about each; `values` replace the defaults of all rows."""
    defaults: dict[str, Any] = {
        "symbol": "XYZ",
        "snapshot_at": SNAPSHOT,
        "session": SESSION,
        "expiration": date(2024, 4, 10),
        "exercise_style": "european",
        "settlement": "pm",
        "multiplier": 100.0,
        "dte": 30,
        "minutes_to_expiry": MINUTES_30_DAYS,
        "underlying_price": 100.0,
        "rate": 0.0,
        "carry": 0.0,
        "open_interest": 1000,
        "oi_session": SESSION_BEFORE,
        "source": "rest",
        "quality": "final",
        "quality_flags": [],
        "available_at": SNAPSHOT,
        "ingested_at": SNAPSHOT,
        "revision": 0,
        "definition_version": "test",
    }
    filled = []
    for place, row in enumerate(rows):
        one = {**defaults, **values, **row}
        one.setdefault("contract_ticker", f"O:{one['symbol']}{place:06d}")
        one["iv_status"] = "ok" if one.get("iv") is not None else "no_good_quote"
        one["iv_source"] = "quote_mid" if one.get("iv") is not None else "none"
        if one["open_interest"] is None:
            one["oi_session"] = None
        filled.append(one)
    return pl.DataFrame(filled, schema=HISTORICAL_GREEKS.polars_schema, orient="row")


def priced(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with the closed-form gamma, vanna and charm of its volatilities."""
    years = frame["minutes_to_expiry"].to_numpy() / 525_600.0
    columns = [frame[name].to_numpy() for name in ("rate", "carry", "iv")]
    call = (frame["option_type"].cast(pl.String) == "call").to_numpy()
    greeks = black_scholes.price_and_greeks(
        frame["underlying_price"].to_numpy(), frame["strike"].to_numpy(), years, *columns, call
    )
    return frame.with_columns(
        pl.Series(name, getattr(greeks, name)) for name in ("delta", "gamma", "vanna_1pct", "charm_day")
    )


def random_chain(seed: int, contracts: int, **values: Any) -> pl.DataFrame:
    """A chain of several expiries around a spot of 100, with random open interest and volatilities."""
    random = np.random.default_rng(seed)
    expiries = [(date(2024, 3, 11), 0, 300.0), (date(2024, 3, 15), 4, 6060.0), (date(2024, 4, 10), 30, 43_500.0)]
    rows = []
    for place in range(contracts):
        expiration, dte, minutes = expiries[int(random.integers(len(expiries)))]
        rows.append(
            {
                "strike": float(random.choice(np.arange(80.0, 121.0, 1.0))),
                "option_type": str(random.choice(["call", "put"])),
                "expiration": expiration,
                "dte": dte,
                "minutes_to_expiry": minutes,
                "iv": float(random.uniform(0.1, 0.6)),
                "open_interest": int(random.integers(0, 5000)),
                "volume": int(random.integers(0, 500)),
                "contract_ticker": f"O:XYZ{place:06d}",
            }
        )
    return priced(chain(rows, rate=0.03, carry=0.01, **values))


def goog(shared_data: Path) -> pl.DataFrame:
    """GOOG at 13:00 New York on 2015-12-24 (a half day) as QuantLib valued it from real quotes."""
    raw = pl.read_csv(shared_data / "reference" / "chain_GOOG_2015-12-24_1300ET.csv")
    rows = raw.select(
        contract_ticker="ticker",
        expiration=pl.col("expiration_date").str.to_date(),
        strike="strike_price",
        option_type="contract_type",
        underlying_price="underlying_price",
        minutes_to_expiry="minutes_to_expiry",
        rate="rate",
        carry="div_yield",
        bid="bid",
        ask="ask",
        quote_age_s=pl.col("quote_age_s").cast(pl.Float64),
        open_interest="open_interest",
        iv=pl.when(pl.col("gamma").is_not_null()).then("iv_european"),
        gamma="gamma",
        delta="delta",
    )
    return chain(
        rows.with_columns(dte=(pl.col("expiration") - date(2015, 12, 24)).dt.total_days().cast(pl.Int32)).to_dicts(),
        symbol="GOOG",
        session=date(2015, 12, 24),
        oi_session=date(2015, 12, 23),
        snapshot_at=GOOG_SNAPSHOT,
        available_at=GOOG_SNAPSHOT,
        exercise_style="american",
    )
