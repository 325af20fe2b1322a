"""Targets kept in memory: the least recently used go, and no result changes."""

from collections.abc import Iterator

import torch
from hypothesis import given
from hypothesis import strategies as st
from style_cases import photos
from torch import Tensor

from robustaug.style import Gatys, Painting, TargetCache


@given(keys=st.lists(st.integers(0, 6), max_size=40), room=st.integers(1, 5))
def test_the_least_recently_used_go(keys: list[int], room: int) -> None:
    cache, made = TargetCache(limit=40 * room), list[int]()

    def make(key: int) -> dict[str, Tensor]:
        made.append(key)
        return {"a": torch.full((6,), float(key)), "b": torch.full((4,), float(key))}  # 40 bytes

    recent: list[int] = []  # the reference: a list in the order of use
    for key in keys:
        before = len(made)
        targets = cache.get((key,), lambda key=key: make(key))  # type: ignore[misc]
        assert targets["a"].tolist() == [key] * 6
        assert (len(made) > before) == (key not in recent)
        recent = [*(other for other in recent if other != key), key][-room:]
        assert [each[0] for each in cache.targets] == recent


def test_one_set_of_targets_stays_however_large() -> None:
    cache = TargetCache(limit=10)
    first = cache.get(("large",), lambda: {"a": torch.zeros(100)})
    assert cache.get(("large",), lambda: {"a": torch.ones(100)}) is first


def test_a_small_cache_changes_no_result(tiny: Gatys, stripes: Painting, dots: Painting) -> None:
    content = photos(6, 16, 16)
    paintings = [stripes, dots, stripes, dots, dots, stripes]
    small, large = TargetCache(limit=1), TargetCache()

    def results(cache: TargetCache) -> Iterator[Tensor]:
        for _ in range(2):
            yield tiny(content, paintings, cache=cache)

    for a, b in zip(results(small), results(large), strict=True):
        assert torch.equal(a, b)
    assert len(small.targets) == 1
    assert len(large.targets) == 2
