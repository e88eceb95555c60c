"""Implied volatility with status and eight Greeks, and American prices, against the peers that this interpreter has.

`python -m benchmarks.implied_volatility` prints seconds, ratios and errors and writes benchmarks/results. Peers
(pyvolr, vollib or py_vollib, iv-engine, fast-vollib, QuantLib) run when they can be imported, alternating with ours in
the same process so that a busy machine slows both; absent ones are named.
"""

import importlib
import importlib.metadata
import json
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from strategy_pipeline.pricing import american, black_scholes, implied_volatility

RESULTS = Path(__file__).parent / "results"
ROWS = 1_000_000
LOOP_ROWS = 3_000
AMERICAN_ROWS = 400
REPEATS = 7
CRR_STEPS = (101, 201, 401, 801, 1601, 3201)

Terms = dict[str, Any]


def contracts(rows: int, seed: int = 7) -> Terms:
    """Realistic listed options: 0 to 730 days, strikes within about two deviations, volatility around 25 %.

    Prices are exact values of known volatilities; those whose time value identifies none are left in and reported.
    """
    draw = np.random.default_rng(seed)
    spot = draw.choice([50.0, 100.0, 450.0, 4500.0], rows)
    days = draw.choice([1, 7, 14, 30, 60, 120, 365, 730], rows)
    years = np.maximum(days * 1440 - draw.integers(0, 390, rows), 30) / 525_600.0
    volatility = np.exp(draw.normal(np.log(0.25), 0.45, rows)).clip(0.03, 3.0)
    rate, carry = np.full(rows, 0.045), draw.choice([0.0, 0.013], rows)
    strike = np.maximum(np.round(spot * np.exp(draw.normal(0, 1.2, rows) * volatility * np.sqrt(years)), 2), 0.5)
    is_call = draw.random(rows) < 0.5
    price = black_scholes.price(spot, strike, years, rate, carry, volatility, is_call)
    return {
        "price": price, "spot": spot, "strike": strike, "years": years, "rate": rate, "carry": carry,
        "is_call": is_call, "volatility": volatility,
    }  # fmt: skip


def imported(*names: str) -> Any | None:
    """The first of the modules that can be imported, or None."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def best_seconds(works: dict[str, Callable[[], Any]], repeats: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Best wall time of each work over `repeats` rounds that take turns, after a round that is not counted."""
    answers = {name: work() for name, work in works.items()}
    best = dict.fromkeys(works, float("inf"))
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - start)
    return best, answers


def european(absent: list[str]) -> list[dict[str, Any]]:
    """One row per solver: speed, ratio to ours, largest error and failures where a volatility is identified."""
    options = contracts(ROWS)
    p, s, k, t, r, q, call = (options[n] for n in ("price", "spot", "strike", "years", "rate", "carry", "is_call"))
    ours = implied_volatility.implied_volatilities(p, s, k, t, r, q, call, 0.0)
    identified = np.isin(ours.status, [implied_volatility.IV_STATUSES.index("ok")])
    works: dict[str, Callable[[], Any]] = {
        "ours, 8 Greeks, mask, status": lambda: implied_volatility.implied_volatilities(p, s, k, t, r, q, call, 0.0).iv,
        "ours, volatility only": lambda: (
            implied_volatility.implied_volatilities(p, s, k, t, r, q, call, 0.0, with_greeks=False).iv
        ),
    }
    flag = np.where(call, "c", "p")
    pyvolr = imported("pyvolr")
    if pyvolr is None:
        absent.append("pyvolr")
    else:
        # Numbers are its fast form of the flag; an array of letters costs it more than the solving does.
        side = np.where(call, 1, -1).astype(np.int8)

        def run_pyvolr() -> Any:
            iv = pyvolr.bs.implied_vol(p, side, s, k, t, r, q, on_error="ignore")
            pyvolr.bs.greeks(side, s, k, t, r, iv, q)
            return iv

        works["pyvolr, 5 Greeks"] = run_pyvolr
        works["pyvolr, volatility only"] = lambda: pyvolr.bs.implied_vol(p, side, s, k, t, r, q, on_error="ignore")
    engine = imported("iv_engine")
    if engine is None:
        absent.append("iv-engine")
    else:
        forward, undiscounted = s * np.exp((r - q) * t), p * np.exp(r * t)

        def run_engine() -> Any:
            iv = np.empty(ROWS)
            for calls in (True, False):
                rows = call == calls
                iv[rows] = engine.implied_volatilities(undiscounted[rows], forward[rows], k[rows], t[rows], calls)
            return iv

        works["iv-engine, volatility only"] = run_engine
    fast = imported("fast_vollib")
    if fast is None:
        absent.append("fast-vollib")
    else:
        works["fast-vollib, volatility only"] = lambda: np.asarray(
            fast.fast_implied_volatility(p, s, k, t, r, flag, q=q, model="black_scholes_merton", return_as="numpy")
        )
    for name in [name for name in works if not name.startswith("ours")]:
        try:
            works[name]()
        except Exception as error:
            absent.append(f"{name} (failed: {type(error).__name__})")
            del works[name]
    seconds, answers = best_seconds(works, REPEATS)
    rows = []
    for name, took in seconds.items():
        error = np.abs(np.asarray(answers[name], dtype=float) - options["volatility"])[identified]
        failed = int((~np.isfinite(error) | (error > 1e-3)).sum())
        rows.append(
            {
                "solver": name,
                "contracts_per_s": ROWS / took,
                "ours_is_faster_by": took / seconds["ours, 8 Greeks, mask, status"],
                "max_error": float(np.nanmax(error)),
                "failures": failed,
            }
        )
    loop = python_loop(options, absent)
    if loop:
        rate_ours = ROWS / seconds["ours, 8 Greeks, mask, status"]
        rows.append({**loop, "ours_is_faster_by": rate_ours / loop["contracts_per_s"]})
    return rows


def python_loop(options: Terms, absent: list[str]) -> dict[str, Any] | None:
    """vollib has no arrays: one call a contract for the volatility and one for each of five Greeks."""
    module = imported(
        "vollib.black_scholes_merton.implied_volatility", "py_vollib.black_scholes_merton.implied_volatility"
    )
    if module is None:
        absent.append("vollib")
        return None
    family = module.__name__.split(".")[0]
    greeks = importlib.import_module(f"{family}.black_scholes_merton.greeks.analytical")
    names = ("price", "spot", "strike", "years", "rate", "carry", "is_call", "volatility")
    sample = [row for row in zip(*(options[name][:LOOP_ROWS].tolist() for name in names), strict=True)]
    worst, solved, start = 0.0, 0, time.perf_counter()
    for p, s, k, t, r, q, call, volatility in sample:
        flag = "c" if call else "p"
        try:
            iv = module.implied_volatility(p, s, k, t, r, q, flag)
            for greek in (greeks.delta, greeks.gamma, greeks.vega, greeks.theta, greeks.rho):
                greek(flag, s, k, t, r, iv, q)
        except Exception:
            continue
        solved += 1
        worst = max(worst, abs(iv - volatility)) if p > 1e-3 * s else worst
    took = time.perf_counter() - start
    return {
        "solver": f"{family}, 5 Greeks",
        "contracts_per_s": LOOP_ROWS / took,
        "max_error": worst,
        "failures": LOOP_ROWS - solved,
    }


def american_prices(absent: list[str]) -> list[dict[str, Any]]:
    """Our tree and QuantLib's CRR trees of rising size, with errors against QuantLib's QdFp engine."""
    ql = imported("QuantLib")
    options = contracts(AMERICAN_ROWS * 4, seed=11)
    keep = np.flatnonzero(options["years"] > 5 / 365)[:AMERICAN_ROWS]
    names = ("spot", "strike", "years", "rate", "carry", "volatility", "is_call")
    terms = [options[name][keep] for name in names]
    seconds, answers = best_seconds({"ours": lambda: american.prices(*terms)}, REPEATS)
    rows: list[dict[str, Any]] = [
        {"solver": "ours, Leisen-Reimer 201", "contracts_per_s": AMERICAN_ROWS / seconds["ours"]}
    ]
    if ql is None:
        absent.append("QuantLib")
        return rows
    today = ql.Date(2, 1, 2024)
    ql.Settings.instance().evaluationDate = today
    counter = ql.Actual365Fixed()
    days = np.maximum(np.rint(terms[2] * 365).astype(int), 2)
    terms[2] = days / 365.0
    instruments = []
    for spot, strike, day, rate, carry, volatility, is_call in zip(
        *(np.asarray(column).tolist() for column in (*terms[:2], days, *terms[3:])), strict=True
    ):
        process = ql.BlackScholesMertonProcess(
            ql.QuoteHandle(ql.SimpleQuote(spot)),
            ql.YieldTermStructureHandle(ql.FlatForward(today, carry, counter)),
            ql.YieldTermStructureHandle(ql.FlatForward(today, rate, counter)),
            ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), volatility, counter)),
        )
        payoff = ql.PlainVanillaPayoff(ql.Option.Call if is_call else ql.Option.Put, strike)
        option = ql.VanillaOption(payoff, ql.AmericanExercise(today, today + day))
        instruments.append((process, option))

    def quantlib(engine: Callable[[Any], Any]) -> tuple[float, Any]:
        start = time.perf_counter()
        prices = []
        for process, option in instruments:
            option.setPricingEngine(engine(process))
            prices.append(option.NPV())
        return time.perf_counter() - start, np.array(prices)

    _, exact = quantlib(lambda process: ql.QdFpAmericanEngine(process, ql.QdFpAmericanEngine.highPrecisionScheme()))
    seconds, answers = best_seconds({"ours": lambda: american.prices(*terms)}, REPEATS)
    scale = terms[0]

    def measured(name: str, took: float, prices: Any) -> dict[str, Any]:
        error = (prices - exact) / scale
        return {
            "solver": name,
            "contracts_per_s": AMERICAN_ROWS / took,
            "rms_error_of_spot": float(np.sqrt(np.mean(error**2))),
            "max_error_of_spot": float(np.abs(error).max()),
            "ours_is_faster_by": took / seconds["ours"],
        }

    rows = [measured("ours, Leisen-Reimer 201", seconds["ours"], answers["ours"])]
    for steps in CRR_STEPS:
        took, prices = quantlib(lambda process, steps=steps: ql.BinomialVanillaEngine(process, "crr", steps))
        rows.append(measured(f"QuantLib, CRR {steps}", took, prices))
        if rows[-1]["rms_error_of_spot"] <= rows[0]["rms_error_of_spot"]:
            break
    greeks, _ = best_seconds({"ours": lambda: american.price_and_greeks(*terms)}, 3)
    rows.append({"solver": "ours, price and 8 Greeks", "contracts_per_s": AMERICAN_ROWS / greeks["ours"]})
    prices = answers["ours"]
    names_iv = [prices, *terms[:5], terms[6], 0.0]
    solve, _ = best_seconds({"ours": lambda: american.implied_volatilities(*names_iv)}, 3)
    rows.append({"solver": "ours, implied volatility", "contracts_per_s": AMERICAN_ROWS / solve["ours"]})
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """A table on standard output; what a row does not have is a dash."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    print(f"\n{title}")
    print("  ".join(f"{name:>30}" if name == "solver" else f"{name:>18}" for name in columns))
    for row in rows:
        cells = []
        for name in columns:
            value = row.get(name, "-")
            text = value if isinstance(value, str) else (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}")
            cells.append(f"{text:>30}" if name == "solver" else f"{text:>18}")
        print("  ".join(cells))


def main() -> None:
    """Print both tables and write them to the results folder."""
    warnings.filterwarnings("ignore")
    start = time.perf_counter()
    one = np.ones(1)
    implied_volatility.implied_volatilities(0.1 * one, one, one, one, 0.0, 0.0, True)
    first_call = time.perf_counter() - start
    absent: list[str] = []
    report = {
        "machine": f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}",
        "first_call_s": first_call,
        "european": european(absent),
        "american": american_prices(absent),
        "absent": absent,
    }
    show(f"European implied volatility, {ROWS:,} contracts, best of {REPEATS}", report["european"])
    show(f"American options, {AMERICAN_ROWS} contracts", report["american"])
    print(f"\nFirst call, with compiling or reading the cache: {first_call:.1f} s")
    print(f"Absent peers: {', '.join(absent) or 'none'}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "implied_volatility.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
