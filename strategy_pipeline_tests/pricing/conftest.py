"""Compiles the pricing kernels before the first test, so that no test's own time depends on the state of the cache."""

import pytest

from strategy_pipeline.pricing import american, black_scholes, implied_volatility


@pytest.fixture(scope="session", autouse=True)
def _compiled_kernels() -> None:
    option = (100.0, 100.0, 0.5, 0.03, 0.0)
    black_scholes.price(*option, 0.2, True)
    implied_volatility.implied_volatilities(5.0, *option, True)
    american.price_and_greeks(*option, 0.2, False)
    american.prices(*option, 0.2, False)
    american.implied_volatilities(5.0, *option, False)
