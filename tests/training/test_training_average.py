"""The moving average of the weights: its formula, its scores, and a training that does not notice it."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from training_cases import history, network, run

from robustaug.data import ImageSet, Mix
from robustaug.training.average import averaged, follow
from robustaug.training.loop import _Run

MIX = Mix(0.5, 0, 0.5)


def test_the_average_is_the_formula() -> None:
    model, carried = nn.BatchNorm1d(2), dict[str, Tensor]()
    expected = [torch.zeros(2), torch.zeros(2)]
    for step, value in enumerate([3.0, -1.0, 4.0, 1.5, 9.0]):
        with torch.no_grad():
            model.weight.fill_(value)
            model.running_mean.fill_(2 * value)  # type: ignore[union-attr,operator]
        follow(carried, model, 0.3, step)
        d = min(0.3, (1 + step) / (10 + step))
        for index, size in enumerate((value, 2 * value)):
            expected[index] = torch.full((2,), size) if step == 0 else d * expected[index] + (1 - d) * size
    assert torch.allclose(carried["average.weight"], expected[0])
    assert torch.allclose(carried["average.running_mean"], expected[1])
    assert "average.num_batches_tracked" not in carried


def test_the_average_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights: list[Tensor] = []
    true = _Run._step

    def step(self: _Run, number: int) -> None:
        true(self, number)
        weights.append(next(self.model.parameters()).detach().clone())

    monkeypatch.setattr(_Run, "_step", step)
    run(tmp_path, network(), MIX, ema=0.8)
    expected = weights[0]
    for number, value in enumerate(weights[1:], 1):
        d = min(0.8, (1 + number) / (10 + number))
        expected = d * expected + (1 - d) * value
    saved = safetensors.torch.load_file(tmp_path / "state.safetensors")["best.learner:carried.average.0.weight"]
    assert torch.allclose(saved, expected, atol=1e-7)


def test_the_weights_come_back_also_after_an_exception() -> None:
    model, carried = network(), dict[str, Tensor]()
    follow(carried, model, 0.9, 0)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inside: list[Tensor] = []

    def look() -> None:
        with averaged(carried, model):
            inside.append(model.state_dict()["5.weight"].clone())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look()
    assert torch.equal(inside[0], carried["average.5.weight"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_training_does_not_notice(tmp_path: Path) -> None:
    run(tmp_path / "with", network(), MIX, ema=0.9)
    run(tmp_path / "without", network(), MIX)
    one, other = (safetensors.torch.load_file(tmp_path / part / "state.safetensors") for part in ("with", "without"))
    same = [name for name in other if not name.startswith("best.")]
    assert all(torch.equal(one[name], other[name]) for name in same)
    for a, b in zip(history(tmp_path / "with"), history(tmp_path / "without"), strict=True):
        assert set(a) - set(b) == {"validation_clean_ema", "validation_robust_ema"}
        assert {name: a[name] for name in b} == b


@pytest.mark.parametrize(
    ("scores", "chosen_by", "step", "average"),
    [
        ([0.5, 0.4, 0.6, 0.7, 0.1, 0.1, 0.1, 0.1], "validation_robust_ema", 4, True),
        ([0.5, 0.4, 0.8, 0.7, 0.1, 0.1, 0.1, 0.1], "validation_robust", 4, False),
        ([0.5, 0.4, 0.1, 0.1, 0.6, 0.6, 0.1, 0.1], "validation_robust_ema", 6, True),  # of equal scores the average
    ],
)
def test_the_better_of_the_two_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], chosen_by: str, step: int, average: bool
) -> None:
    planted, met = iter(scores), list[tuple[Tensor, Tensor]]()

    def accuracy(self: _Run, samples: ImageSet, attack: Any) -> float:
        del samples
        if attack is None:
            return 0.9
        met.append((next(self.model.parameters()).detach().clone(), self.learner.carried["average.0.weight"].clone()))
        return next(planted)

    monkeypatch.setattr(_Run, "_accuracy", accuracy)
    model = network()
    result = run(tmp_path, model, MIX, ema=0.9)
    assert (result.chosen_by, result.chosen_step, result.score) == (chosen_by, step, max(scores))
    raw, mean = met[step - 2 + average]  # two scores a look, a look every two steps
    assert torch.equal(next(model.parameters()), mean if average else raw)
    assert torch.equal(raw, mean) == average  # while its score is taken, the average is in the model
    again = network(seed=9)
    assert run(tmp_path, again, MIX, ema=0.9) == result  # from the saved state
