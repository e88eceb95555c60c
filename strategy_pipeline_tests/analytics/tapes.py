"""Small crafted tapes: prints, quotes and everything else that classifying them takes, with sizes one can add up."""

from datetime import UTC, date, datetime, timedelta

import polars as pl

from strategy_pipeline.analytics.option_flow import HISTORY_COLUMNS, ClassifiedFlow, FlowRules, classify_flow
from strategy_pipeline.analytics.trade_conditions import read_conditions
from strategy_pipeline.ingestion.option_trades import OPTION_TRADES
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import INSTANT, OPTIONS_FLOW_HISTORY
from strategy_pipeline.market.calendar import session_offset

DAY = date(2024, 6, 3)
NOON = datetime(2024, 6, 3, 16, 0, tzinfo=UTC)
# 2024-06-03 16:00 UTC, date -u -d '2024-06-03 16:00' +%s
NOON_NS = 1_717_430_400_000_000_000
MS = 1_000_000
CALL, PUT = "O:SPY240621C00530000", "O:SPY240621P00530000"

# The names are the vendor's (reference/option_trade_conditions.csv); the numbers here are those of that file.
REFERENCE = pl.DataFrame(
    {
        "id": [201, 202, 209, 219, 227, 228, 229, 232, 240, 247, 248],
        "name": [
            "Canceled", "Late and Out Of Sequence", "Automatic Execution", "Intermarket Sweep Order",
            "Single Leg Auction Non ISO", "Single Leg Auction ISO", "Single Leg Cross Non ISO",
            "Multi Leg auto-electronic trade", "Stock Options auto-electronic trade",
            "Multilateral Compression Trade of Proprietary Products", "Extended Hours Trade",
        ],
    }
)  # fmt: skip
CONDITIONS = read_conditions(REFERENCE)
AUTO, ISO = 209, 219


def prints(*rows: tuple[object, ...]) -> pl.DataFrame:
    """Prints from (contract, ms after noon, price, size, exchange, condition ids); keys as a file without sequences."""
    frame = pl.DataFrame(
        [(one[0], NOON_NS + round(float(one[1]) * MS), *one[2:]) for one in rows],  # type: ignore[arg-type]
        schema={
            "contract_ticker": pl.String, "sip_timestamp_ns": pl.Int64, "price": pl.Float64, "size": pl.Int64,
            "exchange_id": pl.Int32, "condition_ids": pl.List(pl.Int32),
        },
        orient="row",
    )  # fmt: skip
    frame = frame.with_columns(
        sip_timestamp=(pl.col("sip_timestamp_ns") // 1000).cast(INSTANT),
        sequence_source=pl.lit("ordinal"), session=pl.lit(DAY), is_corrected=pl.lit(False),
        source=pl.lit("flat_file"), ingested_at=pl.lit(NOON + timedelta(days=1)),
    )  # fmt: skip
    ordinal = pl.int_range(pl.len(), dtype=pl.Int64).over("contract_ticker", "sip_timestamp")
    return frame.with_columns(sequence=ordinal).select(OPTION_TRADES.names()).cast(OPTION_TRADES)


def quotes(*rows: tuple[str, float, float, float]) -> pl.DataFrame:
    """Quotes from (contract, ms after noon, bid, ask)."""
    return pl.DataFrame(
        [(contract, NOON_NS + round(at * MS), bid, ask) for contract, at, bid, ask in rows],
        schema={"contract_ticker": pl.String, "sip_timestamp_ns": pl.Int64, "bid": pl.Float64, "ask": pl.Float64},
        orient="row",
    )


BOTH_QUOTED = quotes((CALL, -1, 1.00, 1.10), (PUT, -1, 2.00, 2.10))


def contracts(multiplier: float = 100.0, tickers: tuple[str, ...] = (CALL, PUT)) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "contract_ticker": tickers, "symbol": ["SPY"] * len(tickers), "session": [DAY] * len(tickers),
            "strike": [530.0] * len(tickers), "expiration": [date(2024, 6, 21)] * len(tickers),
            "option_type": ["call" if "C0" in one else "put" for one in tickers],
            "multiplier": [multiplier] * len(tickers),
        }
    )  # fmt: skip


def known(values: dict[str, list[object]], at: datetime) -> pl.DataFrame:
    return pl.DataFrame(values).with_columns(available_at=pl.lit(at, dtype=INSTANT))


def underlying(close: float = 530.0, at: datetime = NOON - timedelta(seconds=58)) -> pl.DataFrame:
    return known({"symbol": ["SPY"], "close": [close]}, at).with_columns(bar_end="available_at")


def interest(contracts_open: int | None = 1_000) -> pl.DataFrame:
    rows = [] if contracts_open is None else [CALL, PUT]
    values: dict[str, list[object]] = {"contract_ticker": [*rows], "open_interest": [contracts_open] * len(rows)}
    frame = pl.DataFrame(values, schema={"contract_ticker": pl.String, "open_interest": pl.Int64})
    return frame.with_columns(available_at=pl.lit(datetime(2024, 6, 3, 10, 30, tzinfo=UTC), dtype=INSTANT))


def greeks(delta: float = 0.5, at: datetime = NOON - timedelta(minutes=15)) -> pl.DataFrame:
    frame = known({"contract_ticker": [CALL, PUT], "delta": [delta, delta - 1.0]}, at)
    return frame.with_columns(snapshot_at="available_at")


def past(sizes: list[int] | None = None, sessions: int = 20, premium_usd: float = 100.0) -> pl.DataFrame:
    """The same prints in each of the sessions before; none: no history."""
    rows = [
        ("SPY", CALL, session_offset(DAY, -back), size, premium_usd * size, "none")
        for back in range(1, sessions + 1)
        for size in (sizes or [])
    ]
    kinds = (pl.String, pl.String, pl.Date, pl.Int64, pl.Float64, pl.String)
    return pl.DataFrame(rows, schema=dict(zip(HISTORY_COLUMNS, kinds, strict=True)), orient="row")


def classified(
    trades: pl.DataFrame,
    nbbo: pl.DataFrame = BOTH_QUOTED,
    *,
    history: pl.DataFrame | None = None,
    oi: pl.DataFrame | None = None,
    terms: pl.DataFrame | None = None,
    rules: FlowRules | None = None,
) -> ClassifiedFlow:
    found = classify_flow(
        trades,
        nbbo,
        contracts() if terms is None else terms,
        underlying(),
        interest() if oi is None else oi,
        greeks(),
        CONDITIONS,
        past() if history is None else history,
        rules or FlowRules(),
    )
    conform(OPTIONS_FLOW_HISTORY, found.rows)
    return found


def flow(trades: pl.DataFrame, *args: pl.DataFrame, **options: object) -> pl.DataFrame:
    """Rows of a tape in time order."""
    found = classified(trades, *args, **options)  # type: ignore[arg-type]
    return found.rows.sort("sip_timestamp_ns", "contract_ticker", "sequence")


def a_day_of_flow(day: date, size: int) -> pl.DataFrame:
    """Rows of ``options_flow_history`` of a session in which `size` calls were bought to open in one print."""
    moved = timedelta(days=(day - DAY).days)
    tape = prints((CALL, 0, 1.10, size, 300, [AUTO])).with_columns(
        session=pl.lit(day),
        sip_timestamp=pl.col("sip_timestamp") + moved,
        sip_timestamp_ns=pl.col("sip_timestamp_ns") + round(moved.total_seconds()) * 1_000 * MS,
    )
    nbbo = BOTH_QUOTED.with_columns(pl.col("sip_timestamp_ns") + round(moved.total_seconds()) * 1_000 * MS)
    none_open = interest(0).with_columns(pl.col("available_at") + moved)
    terms = contracts().with_columns(session=pl.lit(day))
    return classify_flow(tape, nbbo, terms, underlying(), none_open, greeks(), CONDITIONS, past()).rows
