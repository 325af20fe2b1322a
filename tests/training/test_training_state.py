"""Two states are kept: a damaged newest one gives way to the one before it, and the end is the same."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from torch import nn
from training_cases import history, network, run

from robustaug.data import Mix
from robustaug.errors import RobustAugError, RobustAugWarning
from robustaug.training import TrainingResult

MIX = Mix(0.5, 0.25, 0.25)
OPTIONS: dict[str, Any] = {"ema": 0.9, "swa": 0.25, "shift": 1}
NEWEST, BEFORE = "state.safetensors", "state.before.safetensors"
Finished = tuple[Path, nn.Module, TrainingResult]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder, model = tmp_path_factory.mktemp("finished"), network()
    return folder, model, run(folder, model, MIX, **OPTIONS)


def check_same(one: Finished, folder: Path, model: nn.Module, result: TrainingResult) -> None:
    """The same end: weights, history, result (but for the time), and the newest state."""
    assert all(
        torch.equal(a, b) for a, b in zip(one[1].state_dict().values(), model.state_dict().values(), strict=True)
    )
    assert history(one[0]) == history(folder)
    keys = ("chosen_step", "chosen_by", "score", "collapses")
    assert [getattr(one[2], key) for key in keys] == [getattr(result, key) for key in keys]
    states = [tensors(path / NEWEST) for path in (one[0], folder)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def tensors(path: Path) -> dict[str, torch.Tensor]:
    with safetensors.safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary


def step_of(path: Path) -> int:
    with safetensors.safe_open(path, framework="pt") as file:
        text: str = file.metadata()["robustaug_state"]
    return int(text.partition('"step": ')[2].partition(",")[0])


def damaged(finished: Finished, folder: Path, change: Callable[[bytes], bytes]) -> Path:
    """A copy of the finished run whose newest state has suffered."""
    shutil.copytree(finished[0], folder)
    path = folder / NEWEST
    path.write_bytes(change(path.read_bytes()))
    return path


def test_the_last_two_states_are_kept(finished: Finished) -> None:
    assert (step_of(finished[0] / NEWEST), step_of(finished[0] / BEFORE)) == (8, 6)
    assert sorted(path.name for path in finished[0].iterdir()) == ["history.jsonl", BEFORE, NEWEST]


SHARES = [0.0, 1e-4, 1e-3, 0.01, 0.1, 0.3, 0.5, 0.8, 0.95, 0.999]


@pytest.mark.parametrize("share", SHARES)
def test_a_truncated_state_gives_way_to_the_one_before(finished: Finished, tmp_path: Path, share: float) -> None:
    folder = tmp_path / "copy"
    path = damaged(finished, folder, lambda content: content[: int(share * len(content))])
    model = network(seed=9)
    with pytest.warns(RobustAugWarning) as told:
        result = run(folder, model, MIX, **OPTIONS)
    assert len(told) == 1
    text = str(told[0].message)
    assert text.startswith(f"the saved state {path} (")
    assert text.endswith(") is damaged; going on from the one before it, at step 6")
    assert "\n" not in text
    check_same(finished, folder, model, result)
    assert (step_of(folder / NEWEST), step_of(folder / BEFORE)) == (8, 6)


GARBAGE: dict[str, Callable[[bytes], bytes]] = {
    "text": lambda content: b"no state at all",
    "zeros": lambda content: bytes(len(content)),
    "a zeroed end": lambda content: content[:-512] + bytes(512),
    "another bit": lambda content: content[:-100] + bytes([content[-100] ^ 4]) + content[-99:],
    "another step": lambda content: content.replace(b'\\"step\\": 8', b'\\"step\\": 4'),
    "one byte more": lambda content: content + b"x",
    "twice": lambda content: content * 2,
}


@pytest.mark.parametrize("how", GARBAGE)
def test_garbage_gives_way_to_the_state_before(finished: Finished, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "copy"
    path = damaged(finished, folder, GARBAGE[how])
    assert path.read_bytes() != (finished[0] / NEWEST).read_bytes()
    model = network(seed=9)
    with pytest.warns(RobustAugWarning, match="going on from the one before it, at step 6"):
        result = run(folder, model, MIX, **OPTIONS)
    check_same(finished, folder, model, result)


def test_a_kill_between_the_two_renames_of_a_save(finished: Finished, tmp_path: Path) -> None:
    """Nothing is damaged then, and nothing is said."""
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    (folder / NEWEST).unlink()
    model = network(seed=9)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RobustAugWarning)
        result = run(folder, model, MIX, **OPTIONS)
    check_same(finished, folder, model, result)


def test_both_damaged_is_one_line(finished: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    path = damaged(finished, folder, lambda content: content[:-1])
    (folder / BEFORE).write_bytes(b"")
    with pytest.raises(RobustAugError) as caught:
        run(folder, network(), MIX, **OPTIONS)
    text = str(caught.value)
    assert text.startswith(f"cannot read the saved states {path} (")
    assert f" and {folder / BEFORE} (" in text
    assert text.endswith("; delete both to train from the start")
    assert "\n" not in text
    path.unlink()
    (folder / BEFORE).unlink()
    model = network()
    check_same(finished, folder, model, run(folder, model, MIX, **OPTIONS))  # as it says


def test_one_damaged_state_alone_is_one_line(finished: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    path = damaged(finished, folder, lambda content: content[:40])
    (folder / BEFORE).unlink()
    with pytest.raises(RobustAugError, match=r"\); delete it to train from the start") as caught:
        run(folder, network(), MIX, **OPTIONS)
    assert str(path) in str(caught.value)
    assert path.exists()


def test_the_state_before_of_another_run_is_refused(finished: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    damaged(finished, folder, lambda content: b"")
    with pytest.raises(RobustAugError, match=rf"{BEFORE} belongs to a run with other settings"):
        run(folder, network(), MIX, **OPTIONS, seed=6)
    assert step_of(folder / BEFORE) == 6
