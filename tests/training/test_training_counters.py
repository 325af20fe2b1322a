"""Running numbers: known sums, the first bad step, and no step that waits for the device."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_cases import network, run

from robustaug.data import Mix
from robustaug.training.counters import Counters, summary
from robustaug.training.loop import _Run
from robustaug.training.objectives import Task, Terms


def a_step(loss: float, answers: list[int], labels: list[int], rows: list[int]) -> tuple[Terms, Task]:
    logits = torch.nn.functional.one_hot(torch.tensor(answers), 3).float()
    images = torch.zeros(len(labels), 3, 2, 2)
    task = Task(images, torch.tensor(labels), torch.tensor(rows, dtype=torch.int64), None, torch.zeros(len(rows)))
    return Terms(torch.tensor(loss), logits), task


def test_means_since_the_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 102.5])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    counters = Counters(torch.device("cpu"), 7)
    counters.add(*a_step(1.0, [0, 1, 2, 2], [0, 1, 1, 2], [2, 3]))  # of the others 2 right of 2, of these 1 of 2
    counters.add(*a_step(2.0, [0, 0, 0, 0], [1, 0, 1, 1], [0, 1]))  # 0 of 2, 1 of 2
    assert counters.read() == {
        "loss": 1.5,
        "train_accuracy": 4 / 8,
        "training_clean": 2 / 4,
        "training_robust_running": 2 / 4,
        "images_per_second": 3.2,
    }
    assert counters.first_bad() is None


@pytest.mark.parametrize(("rows", "kept"), [([], "training_clean"), ([0, 1], "training_robust_running")])
def test_a_kind_without_rows_has_no_accuracy(rows: list[int], kept: str) -> None:
    counters = Counters(torch.device("cpu"), 0)
    counters.add(*a_step(1.0, [0, 1], [0, 2], rows))
    read = counters.read()
    assert set(read) == {"loss", "train_accuracy", kept, "images_per_second"}
    assert read[kept] == read["train_accuracy"] == 0.5


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_the_first_bad_step(bad: float, at: int) -> None:
    counters = Counters(torch.device("cpu"), 20)
    for step in range(4):
        counters.add(*a_step(bad if step == at else -bad if step == at + 1 else 1.0, [0], [0], []))
    assert counters.first_bad() == 21 + at


def test_a_look_in_a_line() -> None:
    row = {"loss": 1.23456, "training_clean": 0.5, "validation_robust": 0.25, "images_per_second": 1234.5}
    assert summary(row, "validation_robust") == "loss 1.235  training 50.0%  validation robust 25.0%  1234 images/s"
    del row["training_clean"]
    row["training_robust_running"] = 0.125
    assert summary(row) == "loss 1.235  training robust 12.5%  1234 images/s"  # between two looks
    row |= {"training_clean_batch": 0.75, "collapsed": True}
    assert summary(row, "validation_robust") == (
        "loss 1.235  training 75.0% robust 12.5%  validation robust 25.0%  1234 images/s  catastrophic overfitting"
    )


class Waits(TorchDispatchMode):
    """Notes the operations for which the host would have to wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if masks or name in ("_local_scalar_dense", "nonzero", "masked_select", "equal"):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def test_the_watch_sees_what_would_wait() -> None:
    with Waits() as waits:
        _ = [torch.ones(1).item(), bool(torch.ones(2).all()), torch.ones(2)[torch.ones(2) > 0], torch.ones(2).nonzero()]
    assert waits.found == ["_local_scalar_dense", "_local_scalar_dense", "index", "nonzero"]


OBJECTIVES: dict[str, dict[str, Any]] = {
    "pgd": {"label_smoothing": 0.1, "gradient_clip": 1.0, "ema": 0.9, "swa": 0.0},
    "rs_fgsm": {},
    "n_fgsm": {"attack_mode": "train"},
    "free": {},
    "trades": {"awp": 0.01},
    "mart": {"advprop": True},
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_step_waits_for_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, precision: str
) -> None:
    """But for what the batch is made of on the host. (SGD: Adam's counters are on the host as well.)"""
    step, make = _Run._step, _Run._task
    waits = Waits()

    def watched(self: _Run, number: int) -> None:
        task = make(self, number)
        with monkeypatch.context() as patch:
            patch.setattr(_Run, "_task", lambda self, number: task)
            with waits:
                step(self, number)

    monkeypatch.setattr(_Run, "_step", watched)
    options = OBJECTIVES[objective] | {"objective": objective, "precision": precision, "optimizer": "sgd"}
    run(tmp_path, network(), Mix(0.5, 0, 0.5), steps=2, **options)
    assert waits.found == []
