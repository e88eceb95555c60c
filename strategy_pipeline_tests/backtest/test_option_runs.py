"""Runs by days to expiry: the contract a signal buys, how long its bucket holds, premium barriers, the ladder."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.backtest.config import BacktestConfig
from strategy_pipeline.backtest.engine import simulate_signals
from strategy_pipeline.backtest.option_marks import MODEL, NBBO, NO_MARK, PRINT, Marks, OptionMarket, OptionMarks, Tape
from strategy_pipeline.backtest.option_runs import ladder_rung, option_results, with_contracts
from strategy_pipeline.errors import MissingDataError
from strategy_pipeline.lake.store import conform
from strategy_pipeline.lake.tables import BACKTEST_TRADES, HISTORICAL_GREEKS
from strategy_pipeline.market.calendar import session
from strategy_pipeline.pricing.black_scholes import price_and_greeks
from strategy_pipeline_tests.backtest.crafted import DAY, HALF_DAY, NEXT_DAY, at, bars, signal

RATE, CARRY, VOLATILITY = 0.04, 0.01, 0.20
YEAR_MINUTES = 525_600.0
# Quiet minutes around 100 that reach no barrier.
QUIET = (100.0, 100.05, 99.95, 100.0)
ATRS = {"atr14_5m": 0.6, "atr14_15m": 1.2, "atr14_1h": 2.4, "atr14_1d": 6.0}


def chain(
    snapshot: datetime,
    expirations: Sequence[date],
    *,
    spot: float = 100.0,
    strikes: Sequence[float] = (98.0, 99.0, 100.0, 101.0, 102.0),
    half_spread: float = 0.01,
    **changes: object,
) -> pl.DataFrame:
    """historical_greeks of SPY at one instant: a flat volatility of 20 %, quotes around the exact price."""
    rows = []
    for expiration in expirations:
        minutes = (session(expiration).close - snapshot).total_seconds() / 60.0
        for side in ("call", "put"):
            found = price_and_greeks(
                spot, list(strikes), minutes / YEAR_MINUTES, RATE, CARRY, VOLATILITY, side == "call"
            )
            for n, strike in enumerate(strikes):
                rows.append({
                    "contract_ticker": f"O:SPY{expiration:%y%m%d}{side[0].upper()}{round(strike * 1000):08d}",
                    "expiration": expiration, "strike": strike, "option_type": side, "minutes_to_expiry": minutes,
                    "dte": (expiration - DAY).days, "delta": found.delta[n], "mid": found.price[n],
                    "bid": max(found.price[n] - half_spread, 0.01), "ask": found.price[n] + half_spread,
                })  # fmt: skip
    frame = pl.DataFrame(rows).with_columns(
        symbol=pl.lit("SPY"), session=pl.lit(DAY), snapshot_at=pl.lit(snapshot, dtype=pl.Datetime("us", "UTC")),
        exercise_style=pl.lit("european"), settlement=pl.lit("pm"), multiplier=pl.lit(100.0), rate=pl.lit(RATE),
        underlying_price=pl.lit(spot), carry=pl.lit(CARRY), iv=pl.lit(VOLATILITY), iv_status=pl.lit("ok"),
        exercise_model=pl.lit("european"), open_interest=pl.lit(1_000), volume=pl.lit(10), quote_age_s=pl.lit(1.0),
        available_at=pl.lit(snapshot + timedelta(seconds=2), dtype=pl.Datetime("us", "UTC")),
    )  # fmt: skip
    frame = frame.with_columns(**{name: pl.lit(value) for name, value in changes.items()})
    wanted = HISTORICAL_GREEKS.polars_schema
    missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in wanted.items() if name not in frame.columns]
    return frame.with_columns(missing).select(wanted.names()).cast(wanted)


def utc(day: date, clock: str) -> datetime:
    return at(day, clock).astimezone(UTC)


def fired(bar_end: str = "10:00", **more: object) -> pl.DataFrame:
    return signal(bar_end, **{**ATRS, **more})  # type: ignore[arg-type]


def minutes(count: int, rows: dict[int, tuple[float, float, float, float]] | None = None, *, start: str = "10:01",
            day: date = DAY) -> pl.DataFrame:  # fmt: skip
    return bars([(rows or {}).get(n, QUIET) for n in range(count)], start=start, day=day, timeframe="1m")


def run(market: OptionMarket, rows: pl.DataFrame, detections: pl.DataFrame | None = None, **settings: object):
    config = BacktestConfig(target_mode="dte", **settings)  # type: ignore[arg-type]
    chosen = with_contracts(fired() if detections is None else detections, market.chains, config)
    return simulate_signals(chosen, rows, config, options=market)


NEAR = [DAY, DAY + timedelta(days=1), DAY + timedelta(days=4)]


class TestContracts:
    def test_the_contract_is_the_one_nearest_to_the_wanted_delta_of_the_nearest_expiry_allowed(self) -> None:
        market = chain(utc(DAY, "10:00"), NEAR)
        # Known 10:00:02, with the chain of 10:00; a call of the same day nearest to 0.50 is the one at the money.
        (row,) = with_contracts(fired(), market, BacktestConfig(target_mode="dte")).to_dicts()
        assert (row["contract_ticker"], row["dte"], row["dte_bucket"]) == ("O:SPY241125C00100000", 0, "0")
        assert (row["style"], row["atr"]) == ("scalp", 0.6)
        # backtesting.md section 4: 0.75 and 1.5 ATR of 5m.
        assert row["stop_distance"] == pytest.approx(0.45)
        assert row["target_distance"] == pytest.approx(0.90)
        later = BacktestConfig(target_mode="dte", option_dte=1)
        (row,) = with_contracts(fired(direction="SHORT"), market, later).to_dicts()
        assert (row["contract_ticker"], row["dte_bucket"], row["style"]) == ("O:SPY241126P00100000", "1-4", "day")

    def test_what_was_not_known_at_the_signal_chooses_nothing(self) -> None:
        config = BacktestConfig(target_mode="dte")
        later = chain(utc(DAY, "10:15"), NEAR)
        assert with_contracts(fired(), later, config)["gate_reason"].to_list() == ["no_contract"]
        both = pl.concat([chain(utc(DAY, "10:00"), NEAR), chain(utc(DAY, "10:15"), NEAR, spot=102.0)])
        assert with_contracts(fired(), both, config)["strike"].to_list() == [100.0]

    @pytest.mark.parametrize(
        "change",
        [
            {"open_interest": 99},
            {"iv_status": "wide_quote"},
            {"dte": 46},
            {"open_interest": None},
            {"bid": 0.1, "ask": 2.0},
        ],
    )
    def test_thin_wide_and_unpriced_contracts_are_not_bought(self, change: dict) -> None:
        market = chain(utc(DAY, "10:00"), NEAR, **change)
        found = with_contracts(fired(), market, BacktestConfig(target_mode="dte"))
        assert found["gate_reason"].to_list() == ["no_contract"]

    def test_a_signal_without_a_contract_is_told_as_refused(self) -> None:
        market = OptionMarket(chain(utc(DAY, "10:15"), NEAR))
        found = run(market, minutes(60)).dispositions
        assert found.select("disposition", "reason").rows() == [("gate_rejected", "no_contract")]

    def test_without_any_chain_the_run_says_what_to_do(self) -> None:
        market = OptionMarket(HISTORICAL_GREEKS.empty())
        with pytest.raises(MissingDataError, match="materialise historical_greeks"):
            run(market, minutes(60), instrument="option")


class TestHolding:
    def test_a_same_day_contract_is_held_for_sixty_minutes(self) -> None:
        market = OptionMarket(chain(utc(DAY, "10:00"), NEAR))
        (row,) = run(market, minutes(120)).trades.to_dicts()
        # Entry 10:01 lies in the 5m window 10:00-10:05; twelve windows end at 11:00.
        assert (row["exit_reason"], row["exit_at"]) == ("MAX_HOLD", at(DAY, "11:00"))
        assert (row["dte"], row["dte_bucket"], row["style"]) == (0, "0", "scalp")
        assert row["contract_ticker"] == "O:SPY241125C00100000"
        assert row["contracts"] is None

    def test_a_same_day_contract_is_sold_fifteen_minutes_before_the_close(self) -> None:
        market = OptionMarket(chain(utc(DAY, "15:15"), NEAR))
        (row,) = run(market, minutes(44, start="15:16"), fired("15:15")).trades.to_dicts()
        assert (row["exit_reason"], row["exit_at"]) == ("SESSION_CLOSE", at(DAY, "15:45"))

    def test_the_close_of_a_half_day_counts(self) -> None:
        market = chain(utc(HALF_DAY, "12:30"), [HALF_DAY]).with_columns(
            session=pl.lit(HALF_DAY), dte=pl.lit(0, pl.Int32)
        )
        rows = minutes(29, start="12:31", day=HALF_DAY)
        (row,) = run(OptionMarket(market), rows, fired("12:30", day=HALF_DAY)).trades.to_dicts()
        assert (row["exit_reason"], row["exit_at"]) == ("SESSION_CLOSE", at(HALF_DAY, "12:45"))

    def test_a_swing_ends_in_the_last_session_with_a_day_to_expiry(self) -> None:
        # Monday 2 December is seven days away; it is sold on Friday 29 November, a half day.
        expiry = date(2024, 12, 2)
        market = OptionMarket(chain(utc(DAY, "10:00"), [expiry]))
        days = [DAY, NEXT_DAY, date(2024, 11, 27), HALF_DAY, expiry]
        rows = pl.concat([minutes(240, day=day) if day != HALF_DAY else minutes(179, day=day) for day in days])
        (row,) = run(market, rows, option_dte=5).trades.to_dicts()
        assert (row["dte_bucket"], row["style"]) == ("5-29", "swing")
        assert (row["exit_reason"], row["exit_at"]) == ("EXPIRY", at(HALF_DAY, "13:00"))

    def test_stop_and_target_are_those_of_the_bucket(self) -> None:
        market = OptionMarket(chain(utc(DAY, "10:00"), NEAR))
        (row,) = run(market, minutes(120, {5: (100.0, 100.95, 100.0, 100.9)})).trades.to_dicts()
        assert (row["exit_reason"], row["exit_ref_price"]) == ("TARGET", pytest.approx(100.90))
        assert row["risk_per_unit"] == pytest.approx(0.45)


def exact(spot: float, when: datetime, strike: float = 100.0) -> float:
    years = (session(DAY).close - when).total_seconds() / 60.0 / YEAR_MINUTES
    return float(price_and_greeks(spot, strike, years, RATE, CARRY, VOLATILITY, True).price[0])


def quote(when: datetime, bid: float, ask: float, ticker: str = "O:SPY241125C00100000") -> dict[str, object]:
    return {"contract_ticker": ticker, "bid": bid, "ask": ask, "available_at": when, "event_at": when}


def quotes_of(*rows: dict[str, object]) -> Callable[[Sequence[str]], Tape]:
    """A tape with these quotes, and 0.55/0.65 a second after every minute of an hour and a half."""
    every = [quote(utc(DAY, "10:00:01") + timedelta(minutes=n), 0.55, 0.65) for n in range(90)]
    return lambda _: Tape(tape(*every, *rows))


def tape(*rows: dict[str, object]) -> pl.DataFrame:
    instant = pl.Datetime("us", "UTC")
    return pl.DataFrame(list(rows), schema_overrides={"available_at": instant, "event_at": instant})


class TestPremium:
    def test_a_premium_target_is_tested_on_the_marks_of_minute_closes(self) -> None:
        market = OptionMarket(
            chain(utc(DAY, "10:00"), NEAR),
            quotes_of(
                quote(utc(DAY, "10:00:30"), 0.55, 0.65),
                # 1.30 times 0.60 is 0.78: reached inside the minute and lost again, then held at a close.
                quote(utc(DAY, "10:05:20"), 0.80, 0.90),
                quote(utc(DAY, "10:05:40"), 0.55, 0.65),
                quote(utc(DAY, "10:09:40"), 0.74, 0.82),
            ),
        )
        (row,) = conform(BACKTEST_TRADES, run(market, minutes(120), instrument="option").trades).to_dicts()
        assert (row["exit_reason"], row["exit_at"]) == ("PREMIUM_TARGET", at(DAY, "10:10"))
        assert (row["mark_source_entry"], row["mark_source_exit"]) == ("nbbo", "nbbo")
        # Bought at the ask and sold at the bid.
        assert (row["premium_entry"], row["premium_exit"]) == (pytest.approx(0.65), pytest.approx(0.74))
        assert (row["premium_entry_mid"], row["premium_exit_mid"]) == (pytest.approx(0.60), pytest.approx(0.78))
        # $500 at risk over 0.60 x 100 x (1 - 0.80) = $12 a contract.
        assert row["contracts"] == 41
        assert row["option_pnl_usd"] == pytest.approx(41 * 100 * 0.09 - 2 * 41 * 0.66)
        assert row["option_return_pct"] == pytest.approx(100 * row["option_pnl_usd"] / (41 * 100 * 0.65))

    def test_a_premium_stop_ends_the_trade_before_the_underlyings(self) -> None:
        market = OptionMarket(
            chain(utc(DAY, "10:00"), NEAR),
            quotes_of(quote(utc(DAY, "10:00:30"), 0.55, 0.65), quote(utc(DAY, "10:03:10"), 0.43, 0.53)),
        )
        (row,) = run(market, minutes(120), instrument="option").trades.to_dicts()
        assert (row["exit_reason"], row["exit_at"]) == ("PREMIUM_STOP", at(DAY, "10:04"))

    def test_the_underlyings_stop_inside_a_minute_comes_before_the_mark_at_its_close(self) -> None:
        market = OptionMarket(
            chain(utc(DAY, "10:00"), NEAR),
            quotes_of(quote(utc(DAY, "10:00:30"), 0.55, 0.65), quote(utc(DAY, "10:03:10"), 0.03, 0.05)),
        )
        rows = minutes(120, {2: (100.0, 100.0, 99.4, 99.5)})
        (row,) = run(market, rows, instrument="option").trades.to_dicts()
        assert (row["exit_reason"], row["exit_ref_price"]) == ("STOP", pytest.approx(99.55))

    def test_without_quotes_the_model_carries_the_last_volatility(self) -> None:
        chains = chain(utc(DAY, "10:00"), NEAR).with_columns(bid=pl.lit(None, pl.Float64), ask=pl.lit(None, pl.Float64))
        detections = with_contracts(fired(), chain(utc(DAY, "10:00"), NEAR), BacktestConfig(target_mode="dte"))
        config = BacktestConfig(target_mode="dte", instrument="option")
        rows = minutes(120, {30: (100.0, 100.95, 100.0, 100.9)})
        (row,) = simulate_signals(detections, rows, config, options=OptionMarket(chains)).trades.to_dicts()
        assert (row["mark_source_entry"], row["mark_source_exit"]) == ("model", "model")
        assert row["premium_entry_mid"] == pytest.approx(exact(100.0, utc(DAY, "10:01")), abs=1e-9)
        # The minute in which the underlying reaches its target.
        assert row["exit_reason"] == "TARGET"
        assert row["premium_exit_mid"] == pytest.approx(exact(100.9, utc(DAY, "10:32")), abs=1e-9)

    def test_an_exit_by_premium_frees_the_book_for_the_next_signal(self) -> None:
        market = OptionMarket(
            pl.concat([chain(utc(DAY, "10:00"), NEAR), chain(utc(DAY, "10:15"), NEAR)]),
            quotes_of(
                quote(utc(DAY, "10:00:30"), 0.55, 0.65), quote(utc(DAY, "10:03:10"), 0.43, 0.53),
                quote(utc(DAY, "10:15:30"), 0.55, 0.65),
            ),
        )  # fmt: skip
        detections = pl.concat([fired("10:00"), fired("10:15")])
        found = run(market, minutes(120), detections, instrument="option")
        assert found.dispositions["disposition"].to_list() == ["taken", "taken"]
        held = run(market, minutes(120), detections)
        assert held.dispositions["disposition"].to_list() == ["taken", "suppressed_open_position"]


class TestMarks:
    TICKER = "O:SPY241125C00100000"

    def marks(
        self, when: str, *quotes: dict[str, object], prints: pl.DataFrame | None = None, spot: float = 100.0
    ) -> Marks:
        chains = chain(utc(DAY, "10:00"), NEAR).with_columns(bid=pl.lit(None, pl.Float64), ask=pl.lit(None, pl.Float64))
        market = OptionMarket(chains, lambda _: Tape(tape(*quotes) if quotes else None, prints))
        moment = round(utc(DAY, when).timestamp() * 1e6)
        return OptionMarks(market, [self.TICKER]).at(np.array([0]), np.array([moment]), np.array([spot]))

    def test_a_quote_comes_before_a_print_and_a_print_before_the_model(self) -> None:
        trade = tape({"contract_ticker": self.TICKER, "price": 0.71, "available_at": utc(DAY, "10:09:30"),
                      "event_at": utc(DAY, "10:09:30")})  # fmt: skip
        quoted = self.marks("10:10", quote(utc(DAY, "10:09"), 0.55, 0.65), prints=trade)
        assert (quoted.source[0], quoted.mid[0], quoted.spread[0]) == (NBBO, pytest.approx(0.60), pytest.approx(0.10))
        printed = self.marks("10:10", prints=trade)
        assert (printed.source[0], printed.mid[0]) == (PRINT, 0.71)
        # Sixty seconds and no more.
        assert self.marks("10:10:30", prints=trade).source[0] == PRINT
        assert self.marks("10:10:31", prints=trade).source[0] == MODEL

    def test_a_quote_of_more_than_a_minute_ago_is_too_old_and_lends_its_spread(self) -> None:
        assert self.marks("10:10", quote(utc(DAY, "10:09"), 0.55, 0.65)).source[0] == NBBO
        old = self.marks("10:10:01", quote(utc(DAY, "10:09"), 0.55, 0.65))
        assert (old.source[0], old.spread[0]) == (MODEL, pytest.approx(0.10))
        assert old.mid[0] == pytest.approx(exact(100.0, utc(DAY, "10:10:01")), abs=1e-9)

    def test_a_run_that_bought_nothing_has_no_marks(self) -> None:
        market = OptionMarket(chain(utc(DAY, "10:00"), NEAR))
        nothing = np.empty(0, np.int64)
        found = OptionMarks(market, []).at(nothing, nothing, np.empty(0))
        assert (len(found.mid), len(found.spread), len(found.source)) == (0, 0, 0)

    def test_nothing_that_comes_later_is_a_mark(self) -> None:
        before = self.marks("09:59", quote(utc(DAY, "10:09"), 0.55, 0.65))
        assert before.source[0] == NO_MARK
        assert np.isnan(before.mid[0])
        first = self.marks("10:08", quote(utc(DAY, "10:07:30"), 0.5, 0.6), quote(utc(DAY, "10:09"), 9.0, 9.1))
        assert first.mid[0] == pytest.approx(0.55)


def one(value: float, spread: float) -> Marks:
    return Marks(np.array([value]), np.array([spread]), np.array([NBBO], np.int8))


@pytest.mark.parametrize(
    ("rung", "bought", "sold", "pnl", "share"),
    [(0.0, 4.00, 5.15, 227.36, 28.42), (0.5, 4.10, 5.00, 177.36, 21.6293), (1.0, 4.20, 4.85, 127.36, 15.1619)],
)
def test_the_ladder_of_fills(rung: float, bought: float, sold: float, pnl: float, share: float) -> None:
    # backtesting.md section 14, case 16: 2 contracts of 100, 3.90/4.10 and 5.00/5.30, $0.66 a contract and side.
    found = ladder_rung(one(4.0, 0.2), one(5.15, 0.3), np.array([2]), np.array([100.0]), rung)
    assert [values[0] for values in found] == pytest.approx([bought, sold, pnl, share], abs=1e-4)


def test_contracts_risk_half_a_percent_of_equity_at_the_premium_stop_and_one_is_the_least() -> None:
    # $500 over 4.00 x 100 x (1 - 0.70) = $120.
    many = option_results(BacktestConfig(), one(4.0, 0.2), one(5.0, 0.2), np.array([100.0]), np.array([0.7]))
    assert many.contracts.tolist() == [4]
    dear = option_results(BacktestConfig(), one(90.0, 0.2), one(5.0, 0.2), np.array([100.0]), np.array([0.5]))
    assert dear.contracts.tolist() == [1]


def test_a_trade_without_a_mark_has_no_option_result() -> None:
    none = Marks(np.array([np.nan]), np.array([np.nan]), np.array([NO_MARK], np.int8))
    found = option_results(BacktestConfig(), one(4.0, 0.2), none, np.array([100.0]), np.array([0.7]))
    assert np.isnan(found.pnl_usd[0])
