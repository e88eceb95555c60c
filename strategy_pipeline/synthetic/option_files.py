"""The synthetic options as files: quotes, trades, minutes and days of prints, morning open interest, references.

Keys, headers and publication times are the vendor's; what stands in the files is decided in ``options.py``.
"""

from datetime import datetime, time

import polars as pl

from strategy_pipeline.ingestion.layout import DATASETS, key_for
from strategy_pipeline.ingestion.option_session import RATES_KEY, open_interest_key
from strategy_pipeline.market.calendar import at_new_york
from strategy_pipeline.market.options import morning_of_open_interest
from strategy_pipeline.synthetic.option_plan import CANCELLED, CONDITIONS, LATE, OptionsPlan
from strategy_pipeline.synthetic.options import OptionDay
from strategy_pipeline.synthetic.text import csv_gz, dollars

CONDITIONS_KEY = "reference/option_trade_conditions.csv"
QUOTE_HEADER = "ticker,ask_exchange,ask_price,ask_size,bid_exchange,bid_price,bid_size,sequence_number,sip_timestamp"
TRADE_HEADER = "ticker,conditions,correction,exchange,price,sip_timestamp,size"
BAR_HEADER = "ticker,volume,open,close,high,low,window_start,transactions"
INTEREST_HEADER = "ticker,date,open_interest,timestamp"

_MINUTE_NS = 60 * 10**9


def option_objects(day: OptionDay, published: datetime) -> dict[str, tuple[bytes, datetime]]:
    """Content and publication time of every object about the options of one session."""
    morning = morning_of_open_interest(day.day)
    midnight = _nanoseconds(at_new_york(day.day, time(0)))
    found = {
        key_for(DATASETS["us_options_opra/quotes_v1"], day.day): (_quotes(day.quotes), published),
        key_for(DATASETS["us_options_opra/trades_v1"], day.day): (_trades(day.trades), published),
        open_interest_key(day.day): (_open_interest(day, _nanoseconds(morning)), morning),
    }
    for grain, start in (("minute", pl.col("ts") // _MINUTE_NS * _MINUTE_NS), ("day", pl.lit(midnight))):
        key = key_for(DATASETS[f"us_options_opra/{grain}_aggs_v1"], day.day)
        found[key] = (_bars(day.trades, start), published)
    return found


def option_references(plan: OptionsPlan) -> dict[str, bytes]:
    """The rate curve and the conditions that stand on the tapes, as small CSV files."""
    rates = "".join(f"{day},{rate:.2f}\n" for day, rate in plan.rates())
    conditions = "".join(f"{number},{name}\n" for number, name in CONDITIONS.items())
    return {
        RATES_KEY: f"DATE,PCREDIT8\n{rates}".encode(),
        CONDITIONS_KEY: f"id,name\n{conditions}".encode(),
    }


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9


def _file(header: str, rows: pl.DataFrame, fields: list[pl.Expr]) -> bytes:
    return csv_gz(header, rows.select(pl.concat_str(fields, separator=",").str.join("\n")).item())


def _quotes(quotes: pl.DataFrame) -> bytes:
    numbered = quotes.with_columns(sequence=pl.struct("ts", "ticker").rank("ordinal"))
    return _file(
        QUOTE_HEADER,
        numbered,
        [
            *(pl.col("ticker"), pl.col("ask_exchange"), dollars("ask"), pl.col("ask_size")),
            *(pl.col("bid_exchange"), dollars("bid"), pl.col("bid_size"), pl.col("sequence"), pl.col("ts")),
        ],
    )


def _trades(trades: pl.DataFrame) -> bytes:
    return _file(
        TRADE_HEADER,
        trades,
        [
            *(pl.col("ticker"), pl.col("condition"), pl.lit("0"), pl.col("exchange")),
            *(dollars("price"), pl.col("ts"), pl.col("size")),
        ],
    )


def _bars(trades: pl.DataFrame, start: pl.Expr) -> bytes:
    """Bars of the prints that stood and came in time, one for each contract and `start`."""
    counted = trades.filter(~pl.col("condition").is_in([CANCELLED, LATE])).with_columns(window_start=start)
    price = pl.col("price")
    bars = counted.group_by("ticker", "window_start", maintain_order=True).agg(
        volume=pl.col("size").sum(),
        open=price.first(),
        close=price.last(),
        high=price.max(),
        low=price.min(),
        transactions=pl.len(),
    )
    prices = [dollars(name) for name in ("open", "close", "high", "low")]
    fields = [pl.col("ticker"), pl.col("volume"), *prices, pl.col("window_start"), pl.col("transactions")]
    return _file(BAR_HEADER, bars, fields)


def _open_interest(day: OptionDay, published_ns: int) -> bytes:
    fields = [pl.col("ticker"), pl.lit(day.day.isoformat()), pl.col("open_interest"), pl.lit(str(published_ns))]
    return _file(INTEREST_HEADER, day.open_interest, fields)
