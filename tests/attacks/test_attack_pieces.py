"""How many images go through the model at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustaug.attacks.pieces import padded, pieces_of


def numbered(n: int) -> torch.Tensor:
    return torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1).expand(n, 3, 2, 2)


@given(n=st.integers(1, 300), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_pieces_hold_all_rows_in_order_and_then_copies_of_the_last(n: int, dtype: torch.dtype) -> None:
    rows = numbered(n)
    joined = torch.cat(list(pieces_of(rows, dtype)))
    assert torch.equal(joined[:n], rows)
    assert (joined[n:] == n - 1).all()
    assert len(joined) == max(n, 16)


@pytest.mark.parametrize(("n", "sizes"), [(5, [16]), (127, [127]), (128, [64, 64]), (200, [67, 67, 66])])
def test_float32_keeps_pieces_in_the_cache(n: int, sizes: list[int]) -> None:
    assert [len(piece) for piece in pieces_of(numbered(n), torch.float32)] == sizes


def test_padding_repeats_the_last_row() -> None:
    assert padded(numbered(3)).flatten(1)[:, 0].tolist() == [0, 1, *[2] * 14]
    assert len(padded(numbered(20))) == 20
