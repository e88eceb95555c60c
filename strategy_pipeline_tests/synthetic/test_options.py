"""The options as they come out: on the surface, on their tick, known when they say, held as they were traded."""

from datetime import date
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.market.calendar import session
from strategy_pipeline.market.options import with_occ_terms
from strategy_pipeline.synthetic.market import Ints, PriceProcess
from strategy_pipeline.synthetic.option_plan import CHAINS, POSITIONS, monthly_expiries
from strategy_pipeline.synthetic.options import Moments, OptionDay, OptionMarket, model_prices, quoted
from strategy_pipeline.synthetic.plan import MarketPlan, plan_market
from strategy_pipeline.synthetic.volatility_index import VolatilityIndex

SPX, ECHO = CHAINS


@pytest.fixture(scope="module")
def plan() -> MarketPlan:
    return plan_market(option_sessions=6)


def _days(prices: PriceProcess) -> list[OptionDay]:
    assert prices.plan.options is not None
    return list(OptionMarket(prices.plan.options, prices, VolatilityIndex(prices)).days())


@pytest.fixture(scope="module")
def days(plan: MarketPlan) -> list[OptionDay]:
    return _days(PriceProcess(plan))


@pytest.fixture(scope="module")
def moments() -> Moments:
    return Moments(date(2024, 12, 20), 0, np.array([100.0, 101.0]), np.array([18.5, 18.5]), 0.05)


def _both_sides(chain, moments: Moments, strikes: list[float], years: float) -> tuple[np.ndarray, np.ndarray]:
    count = len(strikes)
    terms = (np.ones(count, dtype=np.int64), np.full(count, years), np.array(strikes))
    return tuple(model_prices(chain, moments, *terms, np.full(count, is_call)) for is_call in (True, False))  # type: ignore[return-value]


def test_calls_and_puts_of_the_index_are_in_parity_on_the_surface(moments: Moments) -> None:
    strikes, years = [80.0, 95.0, 101.0, 110.0], 0.25
    calls, puts = _both_sides(SPX, moments, strikes, years)
    # C - P = S e^(-qT) - K e^(-rT) with q 1.3 % and r 5 %.
    expected = 101.0 * np.exp(-0.013 * years) - np.array(strikes) * np.exp(-0.05 * years)
    assert calls - puts == pytest.approx(expected, abs=1e-9)


def test_puts_on_the_stock_may_be_exercised_early_and_are_worth_more_for_it(moments: Moments) -> None:
    strikes, years = [95.0, 101.0, 120.0], 0.25
    calls, puts = _both_sides(ECHO, moments, strikes, years)
    european = calls - 101.0 + np.array(strikes) * np.exp(-0.05 * years)
    assert (puts > european).all()
    assert (puts >= np.array(strikes) - 101.0 - 1e-9).all()


def test_quotes_lie_on_their_tick_around_the_model() -> None:
    bid, ask = quoted(SPX, np.array([0.02, 1.02, 12.34, 250.0]))
    # Ticks of 5 cents below 3 $ and of 10 from there on; half a spread is 0.6 ticks or 0.4 % of the price.
    assert bid.tolist() == [0, 95, 1220, 24900]
    assert ask.tolist() == [5, 105, 1240, 25100]
    assert [int(side[0]) for side in quoted(ECHO, np.array([1.234]))] == [122, 124]


def test_open_interest_moves_by_no_more_than_what_traded(days: list[OptionDay]) -> None:
    moved = 0
    for before, after in pairwise(days):
        traded = dict(before.trades.group_by("ticker").agg(pl.col("size").sum()).iter_rows())
        held = dict(before.open_interest.iter_rows())
        for ticker, now in after.open_interest.iter_rows():
            if ticker in held:
                assert abs(now - held[ticker]) <= traded.get(ticker, 0)
                moved += now != held[ticker]
    assert moved > 500


def test_what_settled_is_listed_no_more(days: list[OptionDay]) -> None:
    for one in days:
        terms = with_occ_terms(one.open_interest, "ticker")
        assert terms["expiration"].min() >= one.day
        # What settles on the open of the day does not trade on it.
        assert terms.filter((pl.col("expiration") == one.day) & (pl.col("root") == "SPX")).is_empty()
    assert monthly_expiries(days[-1].day, days[-1].day) == [days[-1].day]


def test_there_is_a_quote_of_every_contract_at_every_instant_of_the_grid(days: list[OptionDay]) -> None:
    one = days[2]
    opened = int(session(one.day).open.timestamp()) * 10**9
    on_grid = one.quotes.filter((pl.col("ts") - opened) % (15 * 60 * 10**9) == 0)
    assert on_grid["ticker"].n_unique() == one.open_interest.height
    assert set(on_grid.group_by("ticker").len()["len"].to_list()) <= {25, 26}


def test_a_few_quotes_are_one_sided_wide_or_locked_and_none_is_crossed(days: list[OptionDay]) -> None:
    quotes = pl.concat([one.quotes for one in days])
    assert quotes.filter((pl.col("bid") > pl.col("ask")) | (pl.col("ask") == 0)).is_empty()
    rich = quotes.filter(pl.col("ask") > 1_000)
    shares = rich.select(
        one_sided=(pl.col("bid") == 0).mean(),
        locked=(pl.col("bid") == pl.col("ask")).mean(),
        wide=((pl.col("bid") > 0) & (pl.col("ask") > 1.4 * pl.col("bid"))).mean(),
    ).row(0)
    # Planned shares of quotes on the grid: 1 %, 0.5 % and 1 %.
    assert shares == pytest.approx((0.010, 0.005, 0.010), rel=0.25)


def test_prints_never_leave_the_touch_and_meet_a_quote_less_than_two_seconds_old(days: list[OptionDay]) -> None:
    one = days[0]
    met = one.trades.sort("ts").join_asof(
        one.quotes.sort("ts"), on="ts", by="ticker", tolerance=2 * 10**9, check_sortedness=False
    )
    assert met["bid"].null_count() == 0
    assert met.filter((pl.col("price") < pl.col("bid")) | (pl.col("price") > pl.col("ask"))).is_empty()


def test_floor_trades_position_the_next_expiry_at_the_price_of_their_moment(
    plan: MarketPlan, days: list[OptionDay]
) -> None:
    assert plan.options is not None
    # 2024-12-17 is the Tuesday before an expiry; 2024-12-18 is a Wednesday, whose expiry is pinned.
    one = next(one for one in days if one.day == date(2024, 12, 17))
    floor = with_occ_terms(one.trades.filter(pl.col("condition") == 235), "ticker")
    assert floor["expiration"].unique().to_list() == [date(2024, 12, 18)]
    assert sorted(floor["size"]) == sorted(contracts for _, _, contracts in POSITIONS["pinned"])
    assert floor["strike"].n_unique() == 1
    morning = next(later for later in days if later.day == date(2024, 12, 18)).open_interest
    held = morning.filter(pl.col("ticker").is_in(floor["ticker"].implode()))["open_interest"].to_list()
    assert sum(held) >= 19_000 - 1_000


class _Doctored(PriceProcess):
    """The same market but for what the last session does after its 200th minute."""

    def market_steps(self) -> tuple[np.ndarray, list[np.ndarray]]:
        earlier, minutes = super().market_steps()
        changed = minutes[-1].copy()
        changed[200:] *= 1.01
        return earlier, [*minutes[:-1], changed]

    def closes(self, symbol: str, day: date) -> Ints:
        found = super().closes(symbol, day).copy()
        if day == self.plan.sessions[-1]:
            found[201:] = found[201:] * 101 // 100
        return found


def test_nothing_published_up_to_a_moment_depends_on_prices_after_it(plan: MarketPlan, days: list[OptionDay]) -> None:
    doctored = _days(_Doctored(plan))
    last = plan.sessions[-1]
    moment = int(session(last).open.timestamp()) * 10**9 + 201 * 60 * 10**9
    for before, after in zip(days[:-1], doctored[:-1], strict=True):
        assert before.quotes.equals(after.quotes)
        assert before.trades.equals(after.trades)
        assert before.open_interest.equals(after.open_interest)
    assert days[-1].open_interest.equals(doctored[-1].open_interest)
    known = pl.col("ts") < moment
    prices = ["ticker", "ts", "bid", "ask"]
    assert days[-1].quotes.filter(known).select(prices).equals(doctored[-1].quotes.filter(known).select(prices))
    assert days[-1].trades.filter(known).equals(doctored[-1].trades.filter(known))
    assert not days[-1].quotes.filter(~known).select(prices).equals(doctored[-1].quotes.filter(~known).select(prices))


def test_the_same_seed_gives_the_same_options_and_another_gives_others(plan: MarketPlan, days: list[OptionDay]) -> None:
    again = _days(PriceProcess(plan))
    assert all(a.quotes.equals(b.quotes) and a.trades.equals(b.trades) for a, b in zip(days, again, strict=True))
    other = _days(PriceProcess(plan_market(8, option_sessions=6)))
    assert not other[0].trades.equals(days[0].trades)


def test_options_work_where_the_shares_have_split_inside_their_window() -> None:
    plan = plan_market(sessions=20, option_sessions=12)
    found = _days(PriceProcess(plan))
    split = plan.splits[0].execution_date
    roots = {one.day: with_occ_terms(one.open_interest, "ticker")["root"].unique().to_list() for one in found}
    assert {day for day, seen in roots.items() if "ECHO" in seen} == {day for day in roots if day >= split}
    first = next(one for one in found if one.day == split)
    strikes = with_occ_terms(first.open_interest, "ticker").filter(pl.col("root") == "ECHO")["strike"]
    # A share of some 480 $ became four.
    assert 60.0 < strikes.median() < 180.0
