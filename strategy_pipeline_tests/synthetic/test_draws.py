"""Random numbers: pinned words, exact symmetry, independence of streams."""

import numpy as np

from strategy_pipeline.synthetic.draws import growth, normals, smooth, uniforms, words


def test_the_words_of_a_stream_are_pinned() -> None:
    # PCG64 seeded with SeedSequence([7, crc32(b"pin")]): numpy guarantees this stream; written down once.
    assert words(7, "pin", 3).tolist() == [6280518907145243078, 13526965814364663675, 4049400020673621664]


def test_streams_of_other_names_and_seeds_differ() -> None:
    one = words(7, "a", 8).tolist()
    assert words(7, "b", 8).tolist() != one
    assert words(8, "a", 8).tolist() != one
    assert words(7, "a", 4).tolist() == one[:4]


def test_uniforms_fill_the_unit_interval_evenly() -> None:
    drawn = uniforms(1, "u", (100_000,))
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    # Standard error of the mean is 0.29 / 316 = 0.0009.
    assert abs(drawn.mean() - 0.5) < 0.004
    assert abs(np.quantile(drawn, 0.1) - 0.1) < 0.005


def test_normals_have_mean_zero_variance_one_and_light_tails() -> None:
    drawn = normals(1, "n", (400_000,))
    assert abs(drawn.mean()) < 0.006
    assert abs(drawn.var() - 1.0) < 0.01
    # Irwin-Hall of order 4: excess kurtosis -6 / (5 x 4) = -0.3, support +-sqrt(12).
    assert abs((drawn**4).mean() - 2.7) < 0.05
    assert abs(drawn).max() <= 3.4642


def test_smoothed_noise_keeps_its_variance_and_remembers() -> None:
    slow = smooth(normals(1, "s", (50_000,)), 20)
    assert slow.shape == (49_980,)
    assert abs(slow.var() - 1.0) < 0.15
    # A moving sum of 20 shares 19 of 20 terms with its neighbour.
    assert abs(np.corrcoef(slow[1:], slow[:-1])[0, 1] - 0.95) < 0.01


def test_growth_is_positive_everywhere() -> None:
    assert growth(np.array([-5.0, -1.0, 0.0, 1.0])).tolist() == [8.5, 0.5, 1.0, 2.5]
