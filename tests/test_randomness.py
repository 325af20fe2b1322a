"""Random numbers that belong to a sample: reference values, distributions, independence."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from robustaug import randomness

MASK = (1 << 64) - 1
SEEDS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5)


def splitmix(seed: int, counter: int) -> int:
    """SplitMix64 in Python's own integers."""
    x = (seed + counter * 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def test_published_values() -> None:
    """The first outputs of SplitMix64 for seed 1234567, as listed with its public-domain source."""
    assert [splitmix(1234567, k) for k in (1, 2, 3)] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423
    ]  # fmt: skip


@given(SEEDS, st.integers(1, 7))
def test_uniform_is_splitmix_over_its_top_24_bits(seeds: list[int], n: int) -> None:
    found = randomness.uniform(torch.tensor(seeds), (n,))
    expected = [[(splitmix(seed, k) >> 40) / 2**24 for k in range(1, n + 1)] for seed in seeds]
    assert found.tolist() == expected
    assert found.dtype == torch.float32


@given(SEEDS)
def test_a_row_depends_on_its_seed_alone(seeds: list[int]) -> None:
    for draw in (randomness.uniform, randomness.normal):
        together = draw(torch.tensor(seeds), (3, 2))
        assert together.shape == (len(seeds), 3, 2)
        for row, seed in zip(together, seeds, strict=True):
            assert torch.equal(row, draw(torch.tensor([seed]), (3, 2))[0])


def test_distributions() -> None:
    seeds = torch.arange(200)
    u, z = randomness.uniform(seeds, (100,)).flatten(), randomness.normal(seeds, (100,)).flatten()
    assert ((u >= 0) & (u < 1)).all()
    assert stats.kstest(u.numpy(), "uniform").pvalue > 0.01
    assert stats.kstest(z.numpy(), "norm").pvalue > 0.01
    assert z.isfinite().all()
    # Neighbouring seeds and folds are no relatives.
    a, b = randomness.uniform(seeds[:1], (5000,)), randomness.uniform(seeds[1:2], (5000,))
    folded = randomness.uniform(randomness.fold(seeds[:1], 0), (5000,))
    for one, other in ((a, b), (a, folded)):
        assert abs(float(torch.corrcoef(torch.cat([one, other]))[0, 1])) < 4 / math.sqrt(5000)


def test_fold_gives_new_seeds_each_time() -> None:
    seeds = torch.arange(1000)
    everything = torch.cat([seeds, *(randomness.fold(seeds, number) for number in range(5))])
    assert len(everything.unique()) == 6000


def test_derived_seeds() -> None:
    seed = randomness.derive_seed(0, "cat/1.png", 2, "start")
    assert 0 <= seed < 2**63
    assert seed == randomness.derive_seed(0, "cat/1.png", 2, "start")
    others = [
        (1, "cat/1.png", 2, "start"),
        (0, "cat/2.png", 2, "start"),
        (0, "cat/1.png", 3, "start"),
        (0, "cat/1.png", 2),
    ]
    assert len({seed, *(randomness.derive_seed(*parts) for parts in others)}) == 5
    assert randomness.derive_seed("ab", "c") != randomness.derive_seed("a", "bc")


def test_sample_seeds() -> None:
    seeds = randomness.sample_seeds(7, ["a", "b"], "noise", 3)
    assert seeds.dtype == torch.int64
    assert seeds.tolist() == [randomness.derive_seed(7, key, 3, "noise") for key in ("a", "b")]
    assert randomness.sample_seeds(7, [], "noise").shape == (0,)


@given(st.integers(0, 50), st.integers(0, 2**32))
def test_permutation(n: int, seed: int) -> None:
    order = randomness.permutation(n, seed, "x")
    assert sorted(order.tolist()) == list(range(n))
    assert torch.equal(order, randomness.permutation(n, seed, "x"))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: randomness.uniform(torch.arange(3), (4,)),
        lambda: randomness.normal(torch.arange(3), (4,)),
        lambda: randomness.permutation(9, 1),
    ],
)
def test_the_global_random_state_is_untouched(draw: object) -> None:
    before = torch.get_rng_state()
    assert callable(draw)
    draw()
    assert torch.equal(torch.get_rng_state(), before)
