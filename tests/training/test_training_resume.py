"""Killed and called again: the same weights, bit for bit, and the same history; and states that must be refused."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from training_cases import composite, history, network, pgd, run

from robustaug.data import Mix
from robustaug.errors import RobustAugError
from robustaug.files import read_jsonl
from robustaug.training.loop import _Run

MIX = Mix(0.5, 0.25, 0.25)
OPTIONS: dict[str, Any] = {"flip": True, "shift": 1, "eps_warmup": 0.5}


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture(scope="module", params=["adam", "sgd"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, nn.Module, Path]:
    """A run that nothing interrupted."""
    folder, model = tmp_path_factory.mktemp("whole"), network()
    run(folder, model, MIX, optimizer=request.param, **OPTIONS)
    return request.param, model, folder


def killing(name: str, call: int, *, after: bool) -> Callable[..., Any]:
    """The function ``name`` of the loop, killed at its ``call``-th call, before it does anything or when it is done."""
    from robustaug.training import loop  # noqa: PLC0415

    owner, _, last = name.rpartition(".")
    true, calls = getattr(getattr(loop, owner) if owner else loop, last), [0]

    def planted(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and not after:
            raise Killed
        result = true(*arguments, **options)
        if calls[0] == call:
            raise Killed
        return result

    return planted


@pytest.mark.parametrize(
    ("name", "call", "after"),
    [
        ("_Run._step", 1, False),  # nothing is done
        ("_Run._step", 4, False),  # in the middle of a window
        ("_Run._step", 4, True),
        ("_Run._accuracy", 3, True),  # while it looks at the validation split
        ("History.add", 2, False),
        ("History.add", 2, True),  # a line of the history without its state
        ("save_state", 1, False),
        ("save_state", 2, True),
        ("save_state", 4, True),  # everything is done but for the return
    ],
)
def test_a_killed_run_goes_on_to_the_same_weights(
    whole: tuple[str, nn.Module, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    call: int,
    after: bool,
) -> None:
    optimizer, uninterrupted, folder = whole
    with monkeypatch.context() as patch:
        patch.setattr(f"robustaug.training.loop.{name}", killing(name, call, after=after))
        with pytest.raises(Killed):
            run(tmp_path, network(), MIX, optimizer=optimizer, **OPTIONS)
    resumed = network(seed=9)  # its weights are of no matter once there is a state
    if not (tmp_path / "state.safetensors").exists():
        resumed = network()
    result = run(tmp_path, resumed, MIX, optimizer=optimizer, **OPTIONS)
    assert same(resumed, uninterrupted)
    assert history(tmp_path) == history(folder)
    assert result.chosen_step in {row["step"] for row in history(folder)}
    one, other = (safetensors.torch.load_file(path / "state.safetensors") for path in (tmp_path, folder))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
from training_cases import network, run
from robustaug.training import loop
from test_training_resume import MIX, OPTIONS
true, calls = loop.save_state, [0]
def killed(*arguments):
    calls[0] += 1
    if calls[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    true(*arguments)
loop.save_state = killed
run(Path(sys.argv[1]), network(), MIX, optimizer="adam", **OPTIONS)
"""


def test_a_real_kill(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", CHILD, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(arguments, capture_output=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert [row["step"] for row in history(tmp_path)] == [2, 4, 6]  # the third state was not written
    resumed, uninterrupted = network(seed=9), network()
    run(tmp_path, resumed, MIX, optimizer="adam", **OPTIONS)
    run(tmp_path / "whole", uninterrupted, MIX, optimizer="adam", **OPTIONS)
    assert same(resumed, uninterrupted)
    assert history(tmp_path) == history(tmp_path / "whole")


def test_a_finished_run_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = network(), network(seed=9)
    one = run(tmp_path, first, MIX, **OPTIONS)
    monkeypatch.setattr(_Run, "_step", lambda self, step: pytest.fail("a step was trained"))
    assert run(tmp_path, second, MIX, **OPTIONS) == one
    assert same(first, second)
    assert not second.training


def test_a_torn_line_of_the_history_is_left_out(tmp_path: Path) -> None:
    run(tmp_path, network(), MIX, **OPTIONS)
    rows = history(tmp_path)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 10, "lo')
    run(tmp_path, network(), MIX, **OPTIONS)
    assert history(tmp_path) == rows


OTHERS: dict[str, dict[str, Any]] = {
    "steps": {"steps": 10},
    "rate": {"learning_rate": 0.02},
    "seed": {"seed": 6},
    "attack": {"attack": type(pgd())(pgd().threat, steps=3)},
    "images": {"data": composite(MIX, n=20)},
    "order": {"data": composite(MIX, seed=1)},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_state_of_another_run_is_refused(tmp_path: Path, what: str) -> None:
    run(tmp_path, network(), MIX)
    before = (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(RobustAugError, match=r"state.safetensors belongs to a run with other settings; use its conf"):
        run(tmp_path, network(), MIX, **OTHERS[what])
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_a_state_of_another_mix_or_network_is_refused(tmp_path: Path) -> None:
    run(tmp_path, network(), MIX)
    for model, mix in ((network(), Mix(0.25, 0.25, 0.5)), (nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), MIX)):
        with pytest.raises(RobustAugError, match="belongs to a run with other settings"):
            run(tmp_path, model, mix)


def test_changed_pixels_under_the_same_names_are_refused(tmp_path: Path) -> None:
    run(tmp_path, network(), Mix())
    data = composite(Mix())
    object.__setattr__(data.originals, "sha256", ("changed", *data.originals.sha256[1:]))
    with pytest.raises(RobustAugError, match="belongs to a run with other settings"):
        run(tmp_path, network(), Mix(), data=data)


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    """The last good state is kept, and the line says where it went wrong."""

    class Sick(nn.Module):
        def __init__(self, sick_from: int) -> None:
            super().__init__()
            self.inner, self.steps, self.sick_from = network(), 0, sick_from

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if self.training:
                self.steps += 1
                if self.steps == self.sick_from:
                    images = images * float("nan")
            logits: torch.Tensor = self.inner(images)
            return logits

    with pytest.raises(RobustAugError, match="the loss became NaN or infinite at step 2; no state was saved yet; in a"):
        run(tmp_path / "at once", Sick(2), Mix(), attack=None, validate_every=4)
    sick = Sick(5)
    with pytest.raises(RobustAugError, match="at step 5; no state was saved yet"):
        run(tmp_path / "far from a look", sick, Mix(), attack=None, steps=100, validate_every=100)
    assert sick.steps == 6  # the end of an epoch
    with pytest.raises(RobustAugError) as caught:
        run(tmp_path, Sick(5), Mix(), attack=None)
    assert str(caught.value) == (
        f"the loss became NaN or infinite at step 5; the last good state is kept in {tmp_path}; "
        "in a new folder, try a lower learning_rate, a longer warmup, gradient_clip"
    )
    with pytest.raises(RobustAugError, match="gradient_clip, precision float32"):
        run(tmp_path / "coarse", Sick(5), Mix(), attack=None, precision="bfloat16")
    saved = safetensors.torch.load_file(tmp_path / "state.safetensors")
    assert all(value.isfinite().all() for value in saved.values())
    assert [row["step"] for row in history(tmp_path)] == [2, 4]
    healthy, whole = Sick(0), Sick(0)
    run(tmp_path, healthy, Mix(), attack=None)
    run(tmp_path / "whole", whole, Mix(), attack=None)
    assert same(healthy, whole)


def test_weights_that_the_last_step_broke_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of the window's last step is finite, its update is not."""
    true = _Run._step

    def breaking(self: _Run, step: int) -> None:
        true(self, step)
        if step == 5:
            with torch.no_grad():
                next(self.model.parameters()).view(-1)[0] = torch.inf

    monkeypatch.setattr(_Run, "_step", breaking)
    with pytest.raises(RobustAugError, match="the weights became NaN or infinite at step 6; the last good state is"):
        run(tmp_path, network(), Mix(), attack=None)
    saved = safetensors.torch.load_file(tmp_path / "state.safetensors")
    assert all(value.isfinite().all() for value in saved.values())


def test_a_full_disk_keeps_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "whole", network(), MIX)
    calls = [0]
    true = os.fsync

    def full(handle: int) -> None:
        calls[0] += 1
        if calls[0] == 4:  # an empty history, then the states
            raise OSError(28, "No space left on device")
        true(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RobustAugError, match="No space left on device; free space"):
            run(tmp_path / "full", network(), MIX)
    assert not list((tmp_path / "full").glob(".tmp-*"))
    model = network(seed=9)
    run(tmp_path / "full", model, MIX)
    assert history(tmp_path / "full") == history(tmp_path / "whole")


def test_the_identity_is_in_the_file(tmp_path: Path) -> None:
    run(tmp_path, network(), Mix(), attack=None)
    with safetensors.safe_open(tmp_path / "state.safetensors", framework="pt") as file:
        saved = json.loads(file.metadata()["robustaug_state"])
    assert saved["progress"]["step"] == 8
    assert len(read_jsonl(tmp_path / "history.jsonl")) == 4
