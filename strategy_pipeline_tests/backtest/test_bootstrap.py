"""Resampling of sessions: what is drawn, how often, and what blocks keep."""

import numpy as np
import pytest

from strategy_pipeline.backtest import bootstrap


def test_blocks_keep_the_order_of_sessions_and_have_the_mean_length_asked_for() -> None:
    picked = bootstrap.stationary_indices(100, 400, 5.0, np.random.default_rng(1))
    follows = picked[:, 1:] == (picked[:, :-1] + 1) % 100
    # A block goes on with probability 1 - 1/5; a new one begins where it would have gone on once in a hundred times.
    assert follows.mean() == pytest.approx(0.8 + 0.2 * 0.01, abs=0.01)
    assert np.bincount(picked.ravel(), minlength=100).min() > 0


def test_blocks_of_one_session_are_the_ordinary_bootstrap() -> None:
    totals = np.random.default_rng(2).normal(size=(80, 1))
    blocks = bootstrap.block_totals(totals, draws=4_000, generator=np.random.default_rng(3), mean_block=1.0)
    plain = bootstrap.bootstrap_totals(totals, draws=4_000, generator=np.random.default_rng(4))
    assert blocks.std() == pytest.approx(plain.std(), rel=0.05)


def test_every_resample_has_as_many_sessions_as_there_are() -> None:
    picked = bootstrap.stationary_indices(30, 50, 3.0, np.random.default_rng(5))
    assert bootstrap.times_drawn(picked).sum(axis=1).tolist() == [30.0] * 50


def test_the_block_length_follows_the_autocorrelation() -> None:
    rng = np.random.default_rng(6)
    assert bootstrap.natural_block(rng.normal(size=216)) == 1.0
    assert bootstrap.natural_block(np.cumsum(rng.normal(size=216))) == pytest.approx(6.0)
    assert bootstrap.natural_block(np.zeros(50)) == 1.0
