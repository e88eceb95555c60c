"""Whatever JSON the vendor sends: no reader of it raises, and every entry is a row or a line in quarantine."""

import copy
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_pipeline.ingestion.chain_snapshots import CHAIN_COLUMNS, parse_chain
from strategy_pipeline.ingestion.corporate_actions import parse_action_records
from strategy_pipeline.ingestion.rest_bars import parse_bars
from strategy_pipeline.ingestion.rest_reference import parse_contracts
from strategy_pipeline.ingestion.vendor_api import Pages
from strategy_pipeline.lake.tables import CORPORATE_ACTIONS, HISTORICAL_BARS, OPTION_CONTRACTS
from strategy_pipeline.market.symbols import instrument

AT = datetime(2024, 3, 5, 15, 0, tzinfo=UTC)
NS = 1_709_650_800_000_000_000

SNAPSHOT = {
    "details": {
        "ticker": "O:XYZ240315C00050000",
        "contract_type": "call",
        "exercise_style": "american",
        "expiration_date": "2024-03-15",
        "shares_per_contract": 100,
        "strike_price": 50,
    },
    "day": {"close": 1.22, "volume": 37.0, "last_updated": NS},
    "last_quote": {"bid": 1.2, "ask": 1.3, "last_updated": NS},
    "last_trade": {"price": 1.25, "sip_timestamp": NS},
    "open_interest": 412,
    "implied_volatility": 0.31,
    "greeks": {"delta": 0.52},
    "underlying_asset": {"ticker": "XYZ", "price": 50.1, "last_updated": NS},
}
CONTRACT = {**SNAPSHOT["details"], "underlying_ticker": "XYZ", "additional_underlyings": []}
BAR = {"t": 1_709_649_000_000, "o": 50.0, "h": 50.4, "l": 49.9, "c": 50.2, "v": 1_200, "vw": 50.15, "n": 17}
SPLIT = {"ticker": "XYZ", "execution_date": "2014-06-09", "split_from": 1, "split_to": 7}

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([0, -1, 10**18, 10**400, -(10**400), 1e-320, 1e308, NS, "", "2024-03-15", "\ud800", "\x00"]),
        st.floats(allow_nan=False),
        st.text(max_size=8),
    ),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3),
    max_leaves=4,
)


def places(record: dict[str, Any]) -> list[tuple[str, ...]]:
    """Where something stands in a record: its fields, and those of its blocks."""
    inner = [(name, field) for name, block in record.items() if isinstance(block, dict) for field in block]
    return [*((name,) for name in record), *inner]


@st.composite
def damaged(draw: st.DrawFn, record: dict[str, Any]) -> Any:
    """The record with some of its values replaced by any JSON, now and then the whole of it."""
    if draw(st.integers(0, 9)) == 0:
        return draw(JSON)
    spoiled = copy.deepcopy(record)
    for place in draw(st.lists(st.sampled_from(places(record)), min_size=1, max_size=3)):
        block = spoiled
        for name in place[:-1]:
            block = block.get(name)
            if not isinstance(block, dict):
                break
        else:
            block[place[-1]] = draw(JSON)
    return spoiled


def answer(entries: list[Any]) -> Pages:
    return Pages("/v3", (("request-1", entries),), AT)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(entries=st.lists(damaged(SNAPSHOT), max_size=4))
def test_any_chain_is_rows_and_quarantine(entries: list[Any]) -> None:
    parsed = parse_chain(answer(entries), "XYZ", AT)
    assert parsed.chain.height + parsed.quarantine.height == parsed.read == len(entries)
    assert parsed.chain.schema == CHAIN_COLUMNS


@settings(max_examples=100, deadline=None, derandomize=True)
@given(entries=st.lists(damaged(CONTRACT), max_size=4))
def test_any_list_of_contracts_is_rows_and_quarantine(entries: list[Any]) -> None:
    parsed = parse_contracts(answer(entries), "XYZ", date(2024, 3, 5))
    assert parsed.contracts.height + parsed.quarantine.height == parsed.read == len(entries)
    OPTION_CONTRACTS.schema.validate(parsed.contracts)


@pytest.mark.parametrize("timespan", ["minute", "day"])
@settings(max_examples=100, deadline=None, derandomize=True)
@given(entries=st.lists(damaged(BAR), max_size=4))
def test_any_bars_are_rows_and_quarantine(timespan: Any, entries: list[Any]) -> None:
    parsed = parse_bars(answer(entries), instrument("XYZ"), timespan)
    assert parsed.bars.height + parsed.quarantine.height == parsed.read == len(entries)
    HISTORICAL_BARS.schema.validate(parsed.bars)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(entries=st.lists(damaged(SPLIT), max_size=4))
def test_any_splits_are_rows_and_quarantine(entries: list[Any]) -> None:
    parsed = parse_action_records(answer(entries), "split")
    assert parsed.rows_read == parsed.rows_kept + parsed.rows_quarantined == len(entries)
    CORPORATE_ACTIONS.schema.validate(parsed.actions)
