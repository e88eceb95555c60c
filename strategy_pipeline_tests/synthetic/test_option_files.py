"""The option files on their way through the product: nothing refused, the surface found again, the tape as planned."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.analytics.atm_implied_volatility import atm_iv_daily
from strategy_pipeline.analytics.chains import chain_snapshots
from strategy_pipeline.analytics.option_flow import HISTORY_COLUMNS, ClassifiedFlow, classify_flow
from strategy_pipeline.analytics.trade_conditions import read_conditions
from strategy_pipeline.ingestion.bars import historical_bars
from strategy_pipeline.ingestion.flat_files import LocalFlatFileStore
from strategy_pipeline.ingestion.layout import DATASETS, key_for
from strategy_pipeline.ingestion.mirror import RawMirror
from strategy_pipeline.ingestion.option_files import parse_rates
from strategy_pipeline.ingestion.option_session import RATES_KEY, OptionSession, option_keys, read_option_session
from strategy_pipeline.ingestion.option_trades import parse_option_trades
from strategy_pipeline.ingestion.parse import parse_aggregates
from strategy_pipeline.lake.tables import HISTORICAL_BARS, OPTIONS_FLOW_HISTORY
from strategy_pipeline.market.calendar import session
from strategy_pipeline.synthetic.files import SyntheticMarket
from strategy_pipeline.synthetic.option_files import CONDITIONS_KEY
from strategy_pipeline.synthetic.option_plan import CHAINS

MARKET: dict[str, Any] = {"sessions": 34, "symbols": 6, "history": 0, "volatility_indices": True, "option_sessions": 8}
TRADES, OPTION_DAYS = DATASETS["us_options_opra/trades_v1"], DATASETS["us_options_opra/day_aggs_v1"]
MINUTES = [DATASETS[name] for name in ("us_stocks_sip/minute_aggs_v1", "us_indices/minute_aggs_v1")]
DAYS = [date(2024, 12, 11), date(2024, 12, 19)]


@dataclass(frozen=True)
class Published:
    """A market on disk and a mirror of its files."""

    market: SyntheticMarket
    mirror: RawMirror

    def bars(self, day: date) -> pl.DataFrame:
        return historical_bars(day, [parse_aggregates(self.mirror.require(key_for(one, day)), one) for one in MINUTES])

    def options(self, day: date) -> OptionSession:
        return read_option_session(self.mirror, day, ["SPX", "ECHO"])

    def chain(self, day: date) -> pl.DataFrame:
        held = self.options(day)
        return chain_snapshots(
            day,
            held.contracts,
            self.bars(day),
            quotes=held.quotes,
            prints=held.prints,
            open_interest=held.open_interest,
            rates=parse_rates(self.mirror.require(RATES_KEY)).rows,
            snapshots=[session(day).close],
        )


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("options")
    market = SyntheticMarket(**MARKET)
    market.write(folder / "vendor")
    mirror = RawMirror(folder / "raw")
    options = market.plan.options
    assert options is not None
    keys = [key for day in options.sessions for key in (*option_keys(day), key_for(TRADES, day))]
    keys += [key_for(one, day) for one in (*MINUTES, OPTION_DAYS) for day in options.sessions]
    mirror.download(LocalFlatFileStore(folder / "vendor"), [*keys, RATES_KEY, CONDITIONS_KEY])
    return Published(market, mirror)


@pytest.fixture(scope="module")
def closes(published: Published) -> pl.DataFrame:
    assert published.market.plan.options is not None
    return pl.concat([published.chain(day) for day in published.market.plan.options.sessions])


@pytest.fixture(scope="module")
def flows(published: Published, closes: pl.DataFrame) -> dict[date, ClassifiedFlow]:
    assert published.market.plan.options is not None
    conditions = read_conditions(pl.read_csv(published.mirror.require(CONDITIONS_KEY).path))
    found: dict[date, ClassifiedFlow] = {}
    history = OPTIONS_FLOW_HISTORY.empty()
    for day in published.market.plan.options.sessions:
        trades = parse_option_trades(published.mirror.require(key_for(TRADES, day)), TRADES)
        assert trades.counts.quarantined == 0
        held = published.options(day)
        assert held.quotes is not None
        found[day] = classify_flow(
            trades.trades,
            held.quotes.rename({"sequence": "sequence_number"}),
            held.contracts,
            published.bars(day).filter(pl.col("timeframe").cast(pl.String) == "1m"),
            held.open_interest,
            closes.clear(),
            conditions,
            history.select(HISTORY_COLUMNS),
        )
        history = pl.concat([history, found[day].rows])
    return found


def test_nothing_in_the_files_is_refused(published: Published) -> None:
    assert published.market.plan.options is not None
    for day in published.market.plan.options.sessions:
        held = published.options(day)
        assert held.quarantine.is_empty()
        assert held.refusals == ()
        assert held.contracts.height == held.open_interest.height
        assert held.open_interest["available_at"].unique().to_list() == [
            datetime(day.year, day.month, day.day, 11, 30, tzinfo=UTC)
        ]


def test_files_stand_where_the_vendor_and_the_readers_expect_them(published: Published) -> None:
    assert published.market.plan.options is not None
    keys = set(published.market._objects)
    day = published.market.plan.options.sessions[0]
    names = ("minute_aggs_v1", "day_aggs_v1", "quotes_v1", "trades_v1")
    assert {key_for(DATASETS[f"us_options_opra/{name}"], day) for name in names} <= keys
    assert {*option_keys(day), RATES_KEY, CONDITIONS_KEY} <= keys
    # 8 sessions of five files each, and two references.
    assert sum("option" in key for key in keys) == 8 * 5 + 1


def test_minutes_and_days_of_prints_hold_the_same_contracts_traded(published: Published) -> None:
    day = DAYS[1]
    totals = []
    for grain in ("minute", "day"):
        data_set = DATASETS[f"us_options_opra/{grain}_aggs_v1"]
        bars = parse_aggregates(published.mirror.require(key_for(data_set, day)), data_set).bars
        totals.append(dict(bars.group_by("symbol").agg(pl.col("volume").sum()).iter_rows()))
    assert totals[0] == totals[1]
    assert len(totals[0]) > 100


def test_the_solver_finds_the_surface_within_the_error_of_the_quotes(
    published: Published, closes: pl.DataFrame
) -> None:
    market = published.market
    for chain in CHAINS:
        checked = 0
        for day in DAYS:
            vix = market.vix.after_minutes(market.plan.sessions.index(day))[-1]
            good = closes.filter(
                (pl.col("symbol") == chain.symbol)
                & (pl.col("session") == day)
                & (pl.col("iv_status").cast(pl.String) == "ok")
                & (pl.col("iv_source").cast(pl.String) == "quote_mid")
                & (pl.col("quote_age_s") == 0.0)
            )
            years = good["minutes_to_expiry"].to_numpy() / 525_600.0
            # The surface stands on its own forward: S e^((r - q) T).
            rate = good["rate"].to_numpy()
            forward = good["underlying_price"].to_numpy() * np.exp((rate - chain.carry) * years)
            true = chain.surface.volatility(np.log(good["strike"].to_numpy() / forward), years, vix)
            error = good["iv_err"].to_numpy()
            # The forward comes from one pair of quotes, on the stock a tick or two away from the model's.
            slack = 0.001 if chain.symbol == "SPX" else 0.004
            assert (np.abs(good["iv"].to_numpy() - true) <= error + slack).mean() > 0.97
            checked += good.height
        assert checked > 100


def test_daily_volatility_at_30_and_90_days_is_that_of_the_surface(published: Published, closes: pl.DataFrame) -> None:
    market = published.market
    daily = atm_iv_daily(closes, HISTORICAL_BARS.empty(), model_free_symbols=["SPX"])
    for chain in CHAINS:
        rows = daily.filter(pl.col("symbol") == chain.symbol).sort("session")
        assert rows["cm30_status"].cast(pl.String).to_list() == ["ok"] * 8
        assert rows["cm90_status"].cast(pl.String).to_list() == ["ok"] * 8
        for day, cm30, cm90 in rows.select("session", "cm30_atm_iv", "cm90_atm_iv").iter_rows():
            vix = market.vix.after_minutes(market.plan.sessions.index(day))[-1]
            tolerance = 0.001 * chain.surface.scale**4
            assert cm30 == pytest.approx(float(chain.surface.volatility(0.0, 30.0 / 365.0, vix)), abs=tolerance)
            assert cm90 == pytest.approx(float(chain.surface.volatility(0.0, 90.0 / 365.0, vix)), abs=tolerance)
    model_free = daily.filter(pl.col("symbol") == "SPX").sort("session")["model_free_iv"]
    closing = [
        market.vix.after_minutes(market.plan.sessions.index(day))[-1] for day in sorted(closes["session"].unique())
    ]
    # The strip ends where the listing ends, so it sees a little less than all strikes.
    assert model_free.to_numpy() * 100.0 == pytest.approx(np.array(closing), rel=0.07)


def test_the_classified_tape_counts_what_was_planned(published: Published, flows: dict[date, ClassifiedFlow]) -> None:
    plan = published.market.plan.options
    assert plan is not None
    for tape in plan.tapes:
        rows = flows[tape.session].rows.filter(pl.col("symbol") == tape.symbol)
        counts = dict(rows.group_by(pl.col("trade_type").cast(pl.String)).len().iter_rows())
        sweeps = rows.filter(pl.col("trade_type").cast(pl.String) == "SWEEP")
        excluded = dict(rows.group_by(pl.col("exclusion_class").cast(pl.String)).len().iter_rows())
        assert rows.height == tape.prints
        assert (sweeps["cluster_id"].n_unique(), sweeps.height) == (tape.sweeps, 4 * tape.sweeps)
        assert counts["BLOCK"] == tape.blocks
        assert counts["CROSS"] == tape.crosses == excluded["cross"]
        assert counts["MULTI_LEG"] == tape.multi_legs + tape.floor == excluded["multi_leg"]
        assert counts["AUCTION"] == tape.auctions
        assert (excluded["late"], excluded["cancel"]) == (tape.late, tape.cancelled)


def test_every_condition_on_the_tape_is_known_and_every_other_print_has_a_side(
    flows: dict[date, ClassifiedFlow],
) -> None:
    for flow in flows.values():
        assert flow.unknown_conditions == {}
        assert flow.refused.is_empty()
        assert flow.repeated == 0
        regular = flow.rows.filter(pl.col("exclusion_class").cast(pl.String) == "none")
        assert regular["aggressor_sign"].null_count() == 0


def test_an_hour_of_sweeps_leans_to_its_side(published: Published, flows: dict[date, ClassifiedFlow]) -> None:
    plan = published.market.plan.options
    assert plan is not None
    leans = []
    for tape in (one for one in plan.tapes if one.burst and one.symbol == "ECHO"):
        assert tape.burst is not None
        rows = flows[tape.session].rows.filter(pl.col("symbol") == "ECHO", pl.col("is_sweep").fill_null(False))
        opened = session(tape.session).open
        minute = (pl.col("sip_timestamp") - opened).dt.total_minutes()
        inside = rows.filter(minute.is_between(tape.burst.first_minute, tape.burst.first_minute + 59))
        side = "BULLISH" if tape.burst.side > 0 else "BEARISH"
        leans.append(inside.filter(pl.col("sentiment").cast(pl.String) == side)["cluster_id"].n_unique())
    assert leans
    assert all(count >= 9 for count in leans)


def test_bars_are_the_same_with_and_without_what_comes_on_top() -> None:
    plain, full = (
        SyntheticMarket(**{**MARKET, "volatility_indices": False, "option_sessions": 0}),
        SyntheticMarket(**MARKET),
    )
    for key, (content, _) in plain._objects.items():
        if not key.startswith("us_indices/"):
            assert full._objects[key][0] == content
    indices = ["I:VIX", "I:VIX3M"]
    assert full.minutes.filter(~pl.col("ticker").is_in(indices)).equals(plain.minutes)
    assert full.days.filter(~pl.col("ticker").is_in(indices)).equals(plain.days)


# Written down once; prices of options end on a tick, so that the last digit of an exponential does not show.
def test_the_option_files_are_the_same_bytes_every_time(published: Published) -> None:
    digest = hashlib.sha256()
    for key, (content, _) in sorted(SyntheticMarket(**MARKET)._objects.items()):
        if "option" in key:
            assert published.market._objects[key][0] == content
            digest.update(key.encode() + b"\0" + content + b"\0")
    assert digest.hexdigest() == "5a5aec1366327a1bc7eb7877373f093026e20aee8828756dcb48dcd572334926"


def test_a_second_write_finds_every_option_file_there(tmp_path: Path) -> None:
    market = {**MARKET, "option_sessions": 2}
    assert SyntheticMarket(**market).write(tmp_path)
    assert SyntheticMarket(**market).write(tmp_path) == []
