"""The price and volume processes: what a reader of charts would check on the bars."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from strategy_pipeline.analytics.regime import market_regime
from strategy_pipeline.lake.tables import MARKET_BREADTH
from strategy_pipeline.market.calendar import session
from strategy_pipeline.synthetic.market import PriceProcess, cents
from strategy_pipeline.synthetic.plan import RECOVERY_MINUTES, News, plan_market
from strategy_pipeline.synthetic.volatility_index import VolatilityIndex


@pytest.fixture(scope="module")
def market() -> PriceProcess:
    return PriceProcess(plan_market())


def _regular(market: PriceProcess, ticker: str) -> pl.DataFrame:
    """Minute bars of one ticker inside regular hours with `minute` since the open."""
    bars = market.minutes.filter(pl.col("ticker") == ticker)
    opened = {day: int(session(day).open.timestamp()) * 10**9 for day in market.plan.sessions}
    length = {day: session(day).minutes for day in market.plan.sessions}
    minute = (pl.col("window_start") - pl.col("session").replace_strict(opened, return_dtype=pl.Int64)) // (60 * 10**9)
    inside = pl.col("minute").is_between(0, pl.col("session").replace_strict(length, return_dtype=pl.Int64) - 1)
    return bars.with_columns(minute=minute).filter(inside)


def test_prices_are_rounded_to_the_nearest_cent_halves_up() -> None:
    assert cents(np.array([13.944, 13.945001, 13.125, 0.0001])).tolist() == [1394, 1395, 1313, 1]


def test_every_session_has_its_minutes_and_the_half_day_210(market: PriceProcess) -> None:
    counts = dict(_regular(market, "SPY").group_by("session").len().iter_rows())
    assert counts.pop(date(2024, 11, 29)) == 210
    assert set(counts.values()) == {390}


def test_the_first_bar_moves_by_an_hour_of_utc_when_daylight_saving_ends(market: PriceProcess) -> None:
    first = _regular(market, "I:SPX").group_by("session").agg(pl.col("window_start").min()).to_dict(as_series=False)
    starts = dict(zip(first["session"], first["window_start"], strict=True))
    assert datetime.fromtimestamp(starts[date(2024, 11, 1)] / 1e9, UTC) == datetime(2024, 11, 1, 13, 30, tzinfo=UTC)
    assert datetime.fromtimestamp(starts[date(2024, 11, 4)] / 1e9, UTC) == datetime(2024, 11, 4, 14, 30, tzinfo=UTC)


def test_open_high_low_and_close_are_ordered_in_every_bar(market: PriceProcess) -> None:
    for bars in (market.minutes, market.days):
        low_ok = pl.col("low") <= pl.min_horizontal("open", "close")
        high_ok = pl.col("high") >= pl.max_horizontal("open", "close")
        assert bars.filter(~(low_ok & high_ok & (pl.col("low") > 0))).is_empty()


def test_indices_have_neither_volume_nor_transactions(market: PriceProcess) -> None:
    nulls = market.minutes.group_by("ticker").agg(pl.col("volume", "transactions").is_null().mean()).sort("ticker")
    assert dict(nulls.select("ticker", "volume").iter_rows()) == {
        ticker: 1.0 if ticker.startswith("I:") else 0.0 for ticker in nulls["ticker"]
    }
    assert nulls["volume"].to_list() == nulls["transactions"].to_list()


def test_volume_is_u_shaped(market: PriceProcess) -> None:
    by_minute = _regular(market, "SPY").filter(pl.col("session") != date(2024, 11, 29)).group_by("minute")
    volume = by_minute.agg(pl.col("volume").median()).sort("minute")["volume"].to_numpy()
    assert volume[:30].mean() > 1.5 * volume[150:270].mean()
    assert volume[-30:].mean() > 1.3 * volume[150:270].mean()


def test_volatility_clusters(market: PriceProcess) -> None:
    bars = _regular(market, "I:SPX").with_columns(change=(pl.col("close") / pl.col("open") - 1.0) ** 2)
    variance = bars.group_by("session").agg(pl.col("change").mean()).sort("session")["change"].to_numpy()
    quarters = bars.group_by("session", block=pl.col("minute") // 15).agg(pl.col("change").mean())
    blocks = quarters.sort("session", "block")["change"].to_numpy()
    assert np.corrcoef(variance[1:], variance[:-1])[0, 1] > 0.25
    assert np.corrcoef(blocks[1:], blocks[:-1])[0, 1] > 0.4


def test_nights_leave_gaps(market: PriceProcess) -> None:
    days = market.days.filter(pl.col("ticker") == "ALFA")
    gaps = (days["open"] / days["close"].shift(1) - 1.0).drop_nulls().to_numpy()
    # Planned: 1.2 % of its own and 0.6 x 0.4 % of the market's, together 1.22 %.
    assert 0.009 < gaps.std() < 0.016


@pytest.mark.parametrize(("fund", "index"), [("SPY", "I:SPX"), ("QQQ", "I:NDX")])
def test_a_fund_tracks_its_index_within_three_basis_points_between_dividends(
    market: PriceProcess, fund: str, index: str
) -> None:
    ratio = _regular(market, fund)["close"].to_numpy() / _regular(market, index)["close"].to_numpy()
    minutes_before_ex = 390 * market.plan.sessions.index(date(2024, 10, 24))
    for part in (ratio[:minutes_before_ex], ratio[minutes_before_ex:]):
        assert np.abs(part / part.mean() - 1.0).max() < 0.0003


def test_the_split_quarters_the_raw_price_and_lets_four_times_the_shares_trade(market: PriceProcess) -> None:
    (split,) = market.plan.splits
    days = market.days.filter(pl.col("ticker") == split.symbol)
    before = days.filter(pl.col("session") < split.execution_date)
    after = days.filter(pl.col("session") >= split.execution_date)
    assert 3.8 < before["close"][-1] / after["open"][0] < 4.2
    assert after["volume"].mean() > 2.5 * before["volume"].mean()
    assert market.days.filter(pl.col("ticker") == "BRAVO")["close"].pct_change().abs().max() < 0.25


def test_exactly_one_print_is_far_off_and_the_plan_names_it(market: PriceProcess) -> None:
    far = market.minutes.filter(pl.col("low") < pl.col("close") * 0.6)
    bad = market.plan.bad_print
    assert far.select("session", "ticker").rows() == [(bad.session, bad.symbol)]
    minute = (far["window_start"][0] - int(session(bad.session).open.timestamp()) * 10**9) // (60 * 10**9)
    assert minute == bad.minute


def test_a_thin_stock_misses_about_one_minute_in_a_hundred(market: PriceProcess) -> None:
    expected = sum(session(day).minutes for day in market.plan.sessions)
    assert 0.985 < len(_regular(market, "FOXT")) / expected < 0.995


def test_extended_hours_trade_before_the_open_and_after_the_close_of_the_half_day(market: PriceProcess) -> None:
    day = session(date(2024, 11, 29))
    bars = market.minutes.filter(pl.col("ticker") == "SPY", pl.col("session") == day.day)
    first, last = bars["window_start"].min(), bars["window_start"].max()
    # 04:00 New York, and 90 minutes after the early close at 13:00.
    assert datetime.fromtimestamp(first / 1e9, UTC) == day.open - timedelta(minutes=330)
    assert datetime.fromtimestamp(last / 1e9, UTC) == day.close + timedelta(minutes=90)


def test_day_bars_agree_with_the_minutes_of_regular_hours(market: PriceProcess) -> None:
    minutes = _regular(market, "I:NDX").group_by("session", maintain_order=True)
    folded = minutes.agg(pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last())
    days = market.days.filter(pl.col("ticker") == "I:NDX", pl.col("session") >= market.plan.sessions[0])
    assert days.select(folded.columns).equals(folded)


def test_day_bars_start_at_midnight_new_york_and_for_indices_at_midnight_chicago(market: PriceProcess) -> None:
    rows = market.days.filter(pl.col("session") == date(2024, 11, 4), pl.col("ticker").is_in(["SPY", "I:SPX"]))
    starts = {name: datetime.fromtimestamp(start / 1e9, UTC) for name, start in rows["ticker", "window_start"].rows()}
    assert starts["SPY"] == datetime(2024, 11, 4, 5, tzinfo=UTC)
    assert starts["I:SPX"] == datetime(2024, 11, 4, 6, tzinfo=UTC)


def test_more_symbols_leave_the_bars_of_the_others_alone() -> None:
    few, many = (PriceProcess(plan_market(sessions=4, history=2, symbols=n)).minutes for n in (6, 12))
    assert many.filter(pl.col("ticker").is_in(few["ticker"].unique().implode())).equals(few)


def _move_after(market: PriceProcess, one: News) -> float:
    """The return in basis points over the 225 minutes after the bar in which the news broke."""
    bars = market.minutes.filter(pl.col("ticker") == one.symbol, pl.col("session") == one.session)
    start = int(one.bar_end.timestamp()) * 10**9
    before = bars.filter(pl.col("window_start") < start)["close"][-1]
    end = start + RECOVERY_MINUTES * 60 * 10**9
    return 10_000.0 * (bars.filter(pl.col("window_start") < end)["close"][-1] / before - 1.0)


def test_the_planted_drift_has_the_size_the_plan_says(market: PriceProcess) -> None:
    excess = np.array([_move_after(market, one) - one.recovery_bps for one in market.plan.planted])
    assert abs(excess.mean()) < 3.0 * excess.std() / np.sqrt(len(excess))
    moves = np.array([_move_after(market, one) for one in market.plan.planted])
    assert moves.mean() > 10.0 * moves.std() / np.sqrt(len(moves))


@pytest.mark.parametrize("noise", ["sign_flipped", "block_shuffled"])
def test_rearranged_noise_keeps_the_sizes_of_the_moves_and_loses_the_edge(noise: str, market: PriceProcess) -> None:
    variant = PriceProcess(market.plan, "sign_flipped" if noise == "sign_flipped" else "block_shuffled")
    moves = np.array([_move_after(variant, one) for one in market.plan.planted])
    assert abs(moves.mean()) < 3.5 * moves.std() / np.sqrt(len(moves))
    sizes = []
    for one in (market, variant):
        days = _regular(one, "I:SPX")
        sizes.append((days["close"] / days["open"] - 1.0).abs().mean())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)


def test_without_the_plant_nothing_differs_before_the_first_recovery(market: PriceProcess) -> None:
    driftless = PriceProcess(plan_market(plant=False))
    first = market.plan.planted[0]
    until = pl.col("window_start") < int(first.bar_end.timestamp()) * 10**9
    assert driftless.minutes.filter(until).equals(market.minutes.filter(until))
    later = pl.col("session") > first.session
    assert not driftless.minutes.filter(later).equals(market.minutes.filter(later))


def test_a_driftless_price_is_expected_where_it_is() -> None:
    growths = []
    for seed in range(60):
        days = PriceProcess(plan_market(seed, sessions=16, symbols=8, history=0, plant=False)).days
        for ticker in ("I:SPX", "ALFA", "BRAVO", "CHARL"):
            closes = days.filter(pl.col("ticker") == ticker)["close"]
            growths.append(closes[-1] / closes[0] - 1.0)
    # A random walk of 240 draws with a spread of about 10 %: the standard error is near 0.7 %.
    assert abs(np.mean(growths)) < 3.0 * np.std(growths) / np.sqrt(len(growths))


def test_a_longer_past_leaves_every_later_bar_alone_and_ends_where_it_begins(market: PriceProcess) -> None:
    longer = PriceProcess(plan_market(past=200))
    assert longer.minutes.equals(market.minutes)
    first = market.plan.history[0]
    assert longer.days.filter(pl.col("session") >= first).equals(market.days)
    added = longer.days.filter(pl.col("session") < first)
    assert added["session"].n_unique() == 200
    for ticker in ("I:SPX", "SPY", "ECHO", "ALFA"):
        before = added.filter(pl.col("ticker") == ticker)["close"][-1]
        opened = market.days.filter(pl.col("ticker") == ticker)["open"][0]
        # One night and a quarter of an hour lie between them: 1.5 % at most for the wildest of these.
        assert abs(opened / before - 1.0) < 0.05


def test_the_past_moves_like_the_history() -> None:
    days = PriceProcess(plan_market(past=200)).days
    returns = {
        ticker: days.filter(pl.col("ticker") == ticker)["close"].log().diff().to_numpy()[1:200]
        for ticker in ("I:SPX", "SPY", "ALFA")
    }
    # 0.18 % and 0.56 % a quarter of an hour, 26 of them a session, and nights of 0.4 and 1.2 %, with a share of 0.6 in
    # the market: 1.0 % and 3.2 % a session.
    assert returns["I:SPX"].std() == pytest.approx(0.0100, rel=0.2)
    assert returns["ALFA"].std() == pytest.approx(0.0317, rel=0.2)
    assert np.corrcoef(returns["I:SPX"], returns["SPY"])[0, 1] > 0.999


def test_with_the_past_every_session_with_minutes_has_a_regime() -> None:
    prices = PriceProcess(plan_market(past=200, volatility_indices=True))
    known = pl.col("session").cast(pl.Datetime("us")).dt.replace_time_zone("UTC") + pl.duration(hours=22)
    bars = pl.concat([prices.days, VolatilityIndex(prices).days]).with_columns(
        pl.col("open", "high", "low", "close") / 100.0, pl.col("volume").cast(pl.Float64), available_at=known
    )
    spy, vix, vix3m = (bars.filter(pl.col("ticker") == ticker) for ticker in ("SPY", "I:VIX", "I:VIX3M"))
    rows = market_regime(spy, vix, MARKET_BREADTH.empty(), vix3m_daily=vix3m)
    shown = rows.filter(pl.col("session").is_in(prices.plan.sessions))
    assert shown.height == 90
    assert shown.select("market_regime", "vix_percentile_pct", "vix_term_ratio", "adx").null_count().row(0) == (0,) * 4
    assert shown["market_regime"].n_unique() >= 4
