"""An option chain valued: quotes judged, forward, implied volatility with its error and status, exercise model, Greeks.

What belongs here: the rules by which one row's price, its twin and its exercise style lead to the columns of
historical_greeks, frame in and frame out. Formulas and solvers are the other modules'; open interest, ranks and gamma
exposure are analytics'.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from strategy_pipeline.pricing import american, black_scholes, implied_volatility
from strategy_pipeline.pricing.american import Dividends
from strategy_pipeline.pricing.black_scholes import Floats
from strategy_pipeline.pricing.forward import with_forward
from strategy_pipeline.pricing.implied_volatility import IV_STATUSES, STATUSES_WITH_IV

IV_SOURCES = ("quote_mid", "parity_otm", "trade", "vendor", "carried", "none")
EXERCISE_MODELS = ("european", "european_approx", "lr_tree", "crr_tree")
MINUTES_PER_YEAR = 525_600.0

# The columns of historical_greeks that this module fills.
GREEKS_OF_CHAIN = ("delta", "gamma", "vega_1pct", "theta_day", "rho_1pct", "vanna_1pct", "charm_day")

# Columns that tell one expiry of one underlying at one moment from another, as far as a chain has them.
_EXPIRY_KEYS = ("symbol", "snapshot_at", "expiration", "settlement", "root", "multiplier")

_OK, _WIDE, _LOW_VEGA = (IV_STATUSES.index(status) for status in ("ok", "wide_quote", "low_vega"))
_EXPIRED, _MISSING = IV_STATUSES.index("expired"), IV_STATUSES.index("missing_input")
_WITH_IV = [IV_STATUSES.index(status) for status in STATUSES_WITH_IV]


@dataclass(frozen=True)
class ChainRules:
    """Which quotes and prints are good enough, and how a chain is valued.

    A quote of two sides counts until it is older than `max_quote_age_s`; with a spread above `max_spread_pct` of its
    mid it is wide: its volatility is kept with its error, and it decides no forward and no curve. A last print
    counts for `max_trade_age_s`. `tick` ($) is used where the chain has no column of that name. An option in the
    money that has such a quote or print takes the volatility of its out-of-the-money twin, an American one only
    when it lies deeper than `own_price_depth` times sigma sqrt(T); with `lend_volatility` off every option stands on
    its own price.
    """

    max_quote_age_s: float = 900.0
    max_spread_pct: float = 25.0
    max_trade_age_s: float = 900.0
    tick: float = 0.01
    own_price_depth: float = 1.0
    lend_volatility: bool = True
    forward_from_parity: bool = True


DEFAULT_RULES = ChainRules()


def quote_status(rules: ChainRules = DEFAULT_RULES) -> pl.Expr:
    """`crossed`, `zero_bid`, `stale`, `no_good_quote` or `wide_quote`, the first that applies; null if good.

    Only a wide quote still has a price. Reads bid, ask and quote_age_s. A quote without an age is stale, because
    nobody knows that it is not.
    """
    bid, ask = (pl.when(pl.col(side).is_finite()).then(side) for side in ("bid", "ask"))
    spread_pct = (ask - bid) / (0.5 * (ask + bid)) * 100.0
    return (
        pl.when((bid > 0) & (ask > 0) & (bid > ask))
        .then(pl.lit("crossed"))
        .when((bid <= 0) | (bid.is_null() & (ask > 0)))
        .then(pl.lit("zero_bid"))
        .when(bid.is_not_null() & (pl.col("quote_age_s").is_null() | (pl.col("quote_age_s") > rules.max_quote_age_s)))
        .then(pl.lit("stale"))
        .when(bid.is_null() | ask.is_null() | (ask <= 0))
        .then(pl.lit("no_good_quote"))
        .when(spread_pct > rules.max_spread_pct)
        .then(pl.lit("wide_quote"))
    )


def value_chain(
    chain: pl.DataFrame, dividends: pl.DataFrame | None = None, rules: ChainRules = DEFAULT_RULES
) -> pl.DataFrame:
    """`chain` with mid, forward, carry, implied volatilities and Greeks in the units of historical_greeks.

    Needs option_type, exercise_style (null means american), strike, minutes_to_expiry, underlying_price, rate, bid, ask
    and quote_age_s; uses symbol, snapshot_at, expiration, settlement, root and multiplier to tell expiries apart,
    `tick`, and, for rows without quotes, last, last_age_s and last_underlying_price (the underlying at the
    print's own time). `dividends` has symbol, ex_at (the moment shares trade without it) and cash_amount, and
    holds only what was declared by the snapshot. Adds mid, forward, carry, forward_status, iv, iv_bid, iv_ask,
    iv_err, iv_status, iv_source, exercise_model and GREEKS_OF_CHAIN; what has no value is null and has a status,
    and no row raises.
    """
    by = [name for name in _EXPIRY_KEYS if name in chain.columns]
    work = _prepared(chain, rules)
    if not by:
        by, work = ["_all"], work.with_columns(pl.lit(0).alias("_all"))
    schedule = dividends_of(work, dividends)
    work = with_forward(work, by, schedule, rules.forward_from_parity)
    valued = _valued(work, by, schedule, rules)
    return work.drop(
        "years", "good_mid", "_quote_status", "_price", "_from_trade", "_tick", "_all", strict=False
    ).with_columns(valued)


def dividends_of(chain: pl.DataFrame, dividends: pl.DataFrame | None) -> Dividends:
    """The dividends of each row's underlying after the row's snapshot, as the trees take them."""
    rows = chain.height
    if not rows or dividends is None or dividends.is_empty():
        return Dividends.none(rows)
    moments = chain.select("symbol", "snapshot_at")
    codes = moments.select(pl.struct("symbol", "snapshot_at").rle_id().cast(pl.Int64)).to_series().to_numpy()
    first = np.zeros(int(codes.max()) + 1 if rows else 0, dtype=np.intp)
    first[codes[::-1]] = np.arange(rows)[::-1]
    years, amounts, counts = [], [], []
    for symbol, snapshot_at in moments[first].iter_rows():
        ahead = dividends.filter((pl.col("symbol") == symbol) & (pl.col("ex_at") > snapshot_at)).sort("ex_at")
        minutes = (ahead.get_column("ex_at") - snapshot_at).dt.total_microseconds() / 60e6
        years.append((minutes / MINUTES_PER_YEAR).to_numpy())
        amounts.append(ahead.get_column("cash_amount").cast(pl.Float64).to_numpy())
        counts.append(ahead.height)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    grouped = Dividends(starts, np.concatenate(years), np.concatenate(amounts))
    return grouped.take(codes)


def _prepared(chain: pl.DataFrame, rules: ChainRules) -> pl.DataFrame:
    """The chain with its judged quotes and the price that each row is to be solved for."""
    last, age, underlying = (
        pl.col(name) if name in chain.columns else pl.lit(None, dtype=pl.Float64)
        for name in ("last", "last_age_s", "last_underlying_price")
    )
    unquoted = pl.col("bid").is_null() & pl.col("ask").is_null()
    printed = unquoted & (last > 0) & (age >= 0) & (age <= rules.max_trade_age_s) & (underlying > 0)
    sound = (pl.col("bid") > 0) & (pl.col("bid") <= pl.col("ask")) & pl.col("ask").is_finite()
    work = chain.with_columns(
        pl.when(sound).then(0.5 * (pl.col("bid") + pl.col("ask"))).alias("mid"),
        (pl.col("minutes_to_expiry") / MINUTES_PER_YEAR).alias("years"),
        (pl.col("tick") if "tick" in chain.columns else pl.lit(rules.tick)).alias("_tick"),
        quote_status(rules).alias("_quote_status"),
        printed.fill_null(False).alias("_from_trade"),
    )
    good, wide = pl.col("_quote_status").is_null(), pl.col("_quote_status") == "wide_quote"
    return work.with_columns(
        pl.when(good).then("mid").alias("good_mid"),
        pl.when(good | wide).then("mid").when("_from_trade").then(last).alias("_price"),
    )


def _column(frame: pl.DataFrame, name: str) -> Floats:
    """A numeric column as floats, NaN for null and for a column that is not there."""
    if name not in frame.columns:
        return np.full(frame.height, np.nan)
    return frame.get_column(name).cast(pl.Float64).fill_null(float("nan")).to_numpy()


class _Rows:
    """The columns of a prepared chain as arrays, and what is found out about each row on the way."""

    def __init__(self, work: pl.DataFrame, schedule: Dividends, rules: ChainRules) -> None:
        self.schedule = schedule
        self.strike, years, self.rate = (_column(work, name) for name in ("strike", "years", "rate"))
        spot, forward = _column(work, "underlying_price"), _column(work, "forward")
        self.price, self.bid, self.ask = (_column(work, name) for name in ("_price", "bid", "ask"))
        self.carry, self.tick = _column(work, "carry"), _column(work, "_tick")
        option_type = work.get_column("option_type").cast(pl.String)
        self.call = (option_type == "call").fill_null(False).to_numpy()
        known_type = option_type.is_in(["call", "put"]).fill_null(False).to_numpy()
        self.price = np.where(known_type, self.price, np.nan)
        self.american = (work.get_column("exercise_style").cast(pl.String) != "european").fill_null(True).to_numpy()
        self.from_trade = work.get_column("_from_trade").to_numpy()
        # A print is solved with the underlying and the time of its own moment.
        age = _column(work, "last_age_s") / (60.0 * MINUTES_PER_YEAR)
        self.spot, self.years = spot, years
        self.own_spot = np.where(self.from_trade, _column(work, "last_underlying_price"), spot)
        self.own_years = np.where(self.from_trade, years + age, years)
        with np.errstate(all="ignore"):
            self.depth = np.where(self.call, 1.0, -1.0) * np.log(forward / self.strike)
            base = spot - schedule.present_values(years, self.rate)
            self.residual_carry = self.rate - np.log(forward / base) / years
        self.inside = self.depth > 0.0
        self.with_dividend = schedule.counts(years) > 0
        self.on_tree = self.american & (self.inside | self.with_dividend)
        self.iv, self.iv_bid, self.iv_ask, self.iv_err = (np.full(work.height, np.nan) for _ in range(4))
        self.greeks = np.full((len(GREEKS_OF_CHAIN), work.height), np.nan)
        self.quoted = np.array(
            [IV_STATUSES.index(status) if status else _OK for status in work.get_column("_quote_status")],
            dtype=np.uint8,
        )
        self.status = self.quoted

    def solve_european(self) -> None:
        """Volatilities, statuses and Greeks of every row as if it were European."""
        terms = (self.own_spot, self.strike, self.own_years, self.rate, self.carry, self.call, self.tick)
        first = implied_volatility.implied_volatilities(self.price, *terms)
        self.iv, self.greeks = first.iv, first.greeks[: len(GREEKS_OF_CHAIN)]
        quotes = ~self.from_trade
        for values, side in ((self.iv_bid, self.bid), (self.iv_ask, self.ask)):
            found = implied_volatility.implied_volatilities(side, *terms, with_greeks=False)
            values[quotes] = found.iv[quotes]
        # Order of precedence: expiry and missing terms come before the quote, the bounds after it. A price of its own
        # overrules the quote it was taken instead of.
        with np.errstate(invalid="ignore"):
            terms_known = (
                np.isfinite(self.spot + self.strike + self.years + self.rate) & (self.spot > 0) & (self.strike > 0)
            )
        judged = np.where(np.isfinite(self.price), first.status, self.quoted)
        judged = np.where(np.isfinite(self.price) | ~np.isin(self.quoted, (_OK, _WIDE)), judged, _MISSING)
        judged = np.where(self.years <= 0.0, _EXPIRED, judged)
        self.status = np.where(terms_known, judged, _MISSING).astype(np.uint8)
        self._clear(~np.isin(self.status, _WITH_IV))

    def solve_on_trees(self, rows: npt.NDArray[np.bool_]) -> None:
        """Volatilities and statuses of `rows` from American trees, in place of the European ones."""
        chosen = np.flatnonzero(
            rows & np.isfinite(self.price) & (self.own_years > 0.0) & np.isfinite(self.residual_carry)
        )
        if not chosen.size:
            return
        part = self.schedule.take(chosen)
        terms = tuple(
            values[chosen]
            for values in (
                self.own_spot,
                self.strike,
                self.own_years,
                self.rate,
                self.residual_carry,
                self.call,
                self.tick,
            )
        )
        self.iv[chosen], self.status[chosen] = american.implied_volatilities(self.price[chosen], *terms, dividends=part)
        for values, side in ((self.iv_bid, self.bid), (self.iv_ask, self.ask)):
            usable = np.where(self.from_trade[chosen] | ~np.isfinite(self.iv[chosen]), np.nan, side[chosen])
            values[chosen] = american.implied_volatilities(usable, *terms, dividends=part)[0]
        self._clear(rows & ~np.isfinite(self.iv))

    def value(self, rows: npt.NDArray[np.bool_]) -> None:
        """Greeks of `rows` at their volatilities: on trees where early exercise counts, in closed form elsewhere."""
        alive = rows & np.isfinite(self.iv) & (self.years > 0.0)
        closed, tree = np.flatnonzero(alive & ~self.on_tree), np.flatnonzero(alive & self.on_tree)
        if closed.size:
            terms = (self.spot, self.strike, self.years, self.rate, self.carry, self.iv, self.call)
            self._keep(closed, black_scholes.price_and_greeks(*(values[closed] for values in terms)))
        if tree.size:
            terms = (self.spot, self.strike, self.years, self.rate, self.residual_carry, self.iv, self.call)
            part = self.schedule.take(tree)
            self._keep(tree, american.price_and_greeks(*(values[tree] for values in terms), dividends=part))

    def measure(self) -> None:
        """`iv_err`, and the statuses of volatilities that are kept without being good."""
        with np.errstate(all="ignore"):
            vega_1pct = self.greeks[GREEKS_OF_CHAIN.index("vega_1pct")]
            error = 0.5 * (self.ask - self.bid) / (100.0 * vega_1pct)
        self.iv_err = np.where(np.isfinite(error) & np.isfinite(self.iv) & ~self.from_trade, error, np.nan)
        weak = (self.status == _OK) & (vega_1pct < implied_volatility.LOW_VEGA_TICKS * self.tick)
        self.status[weak] = _LOW_VEGA
        self.status[(self.quoted == _WIDE) & np.isin(self.status, _WITH_IV)] = _WIDE

    def _keep(self, rows: npt.NDArray[np.intp], found: black_scholes.Greeks) -> None:
        for position, name in enumerate(GREEKS_OF_CHAIN):
            self.greeks[position, rows] = getattr(found, name)

    def _clear(self, rows: npt.NDArray[np.bool_]) -> None:
        for values in (self.iv, self.iv_bid, self.iv_ask):
            values[rows] = np.nan
        self.greeks[:, rows] = np.nan


def _valued(work: pl.DataFrame, by: Sequence[str], schedule: Dividends, rules: ChainRules) -> list[pl.Series]:
    """The columns that value_chain adds, from judged quotes and forwards."""
    rows = _Rows(work, schedule, rules)
    rows.solve_european()
    twins = _twins(work, by)
    partner = np.maximum(twins, 0)
    rows.solve_on_trees(rows.on_tree & ~rows.inside)
    rows.value(rows.on_tree & ~rows.inside)
    rows.measure()
    # Only an out-of-the-money option lends its volatility, and only to one in the money that has a usable price itself;
    # a print lends to prints alone, because a quote of now says more than it.
    quoted_twin = (
        rules.lend_volatility
        & (twins >= 0)
        & rows.inside
        & ~rows.inside[partner]
        & np.isfinite(rows.price)
        & np.isin(rows.status[partner], _WITH_IV)
        & (rows.from_trade | ~rows.from_trade[partner])
    )
    with np.errstate(invalid="ignore"):
        reach = rules.own_price_depth * np.where(quoted_twin, rows.iv[partner], rows.iv) * np.sqrt(rows.years)
        near = rows.american & rows.inside & (rows.depth <= reach)
    rows.solve_on_trees(rows.on_tree & rows.inside & (near | ~quoted_twin))
    # Near the money an option's own price comes first, and the twin's volatility before none.
    lent = quoted_twin & ~(near & np.isfinite(rows.iv)) & (rows.years > 0.0)
    rows.iv[lent] = rows.iv[partner[lent]]
    rows.value((rows.on_tree & rows.inside) | lent | rows.from_trade)
    rows.measure()
    for values in (rows.iv_bid, rows.iv_ask, rows.iv_err, rows.status):
        values[lent] = values[partner[lent]]
    source = np.where(lent, "parity_otm", np.where(rows.from_trade, "trade", "quote_mid"))
    priced = np.isfinite(rows.iv)
    model = np.where(rows.on_tree, "lr_tree", np.where(rows.american, "european_approx", "european"))
    return [
        *(_series(name, getattr(rows, name)) for name in ("iv", "iv_bid", "iv_ask", "iv_err")),
        pl.Series("iv_status", np.array(IV_STATUSES)[rows.status], dtype=pl.Enum(IV_STATUSES)),
        pl.Series("iv_source", np.where(priced, source, "none"), dtype=pl.Enum(IV_SOURCES)),
        pl.select(
            pl.when(pl.Series(priced)).then(pl.Series(model, dtype=pl.Enum(EXERCISE_MODELS))).alias("exercise_model")
        ).to_series(),
        *(_series(name, values) for name, values in zip(GREEKS_OF_CHAIN, rows.greeks, strict=True)),
    ]


def _series(name: str, values: Floats) -> pl.Series:
    """Floats as a column without NaN or infinity."""
    return pl.Series(name, np.where(np.isfinite(values), values, np.nan), nan_to_null=True)


def _twins(work: pl.DataFrame, by: Sequence[str]) -> npt.NDArray[np.int64]:
    """For each row the row of the other type at the same strike and expiry, or -1."""
    side = [*by, "strike"]
    numbered = work.select(*side, "option_type").with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("_row"))
    is_call = pl.col("option_type").cast(pl.String) == "call"
    call_row, put_row = (
        pl.col("_row").filter(is_this).first().over(side)
        for is_this in (is_call, pl.col("option_type").cast(pl.String) == "put")
    )
    return numbered.select(pl.when(is_call).then(put_row).otherwise(call_row).fill_null(-1)).to_series().to_numpy()
