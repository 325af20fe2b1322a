"""Averages of the weights: their formulas, their scores, and a training that does not notice them."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from training_cases import composite, history, network, run

from robustaug.data import ImageSet, Mix
from robustaug.training.average import EMA, SWA, Average, counting_anew
from robustaug.training.loop import _Run

MIX = Mix(0.5, 0, 0.5)
ALL: dict[str, Any] = {"ema": 0.8, "swa": 0.5}


def averages_of(average: Average, values: list[float]) -> tuple[list[Tensor | None], dict[str, Tensor]]:
    """The average weight of a batch norm after each step, and all that is carried at the end."""
    model, carried, found = nn.BatchNorm1d(2), dict[str, Tensor](), list[Tensor | None]()
    for step, value in enumerate(values):
        with torch.no_grad():
            model.weight.fill_(value)
            model.running_mean.fill_(2 * value)  # type: ignore[union-attr,operator]
        average.follow(carried, model, step)
        kept = carried.get(f"{average.name}.weight")
        found.append(None if kept is None else kept.clone())
    return found, carried


VALUES = [3.0, -1.0, 4.0, 1.5, 9.0]


def test_ema_is_its_formula() -> None:
    found, carried = averages_of(EMA(0.3), VALUES)
    expected = VALUES[0]
    for step, value in enumerate(VALUES):
        d = min(0.3, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * value
        assert found[step] == pytest.approx(torch.full((2,), expected))
    assert carried["ema.running_mean"] == pytest.approx(2 * carried["ema.weight"])
    assert "ema.num_batches_tracked" not in carried


@pytest.mark.parametrize("start", [0, 2, 4])
def test_swa_is_the_mean_since_its_start(start: int) -> None:
    found, _ = averages_of(SWA(start), VALUES)
    for step in range(len(VALUES)):
        if step < start:
            assert found[step] is None
        else:
            since = VALUES[start : step + 1]
            assert found[step] == pytest.approx(torch.full((2,), sum(since) / len(since)))


def test_the_averages_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights: list[Tensor] = []
    true = _Run._step

    def step(self: _Run, number: int) -> None:
        true(self, number)
        weights.append(next(self.model.parameters()).detach().clone())

    monkeypatch.setattr(_Run, "_step", step)
    run(tmp_path, network(), MIX, **ALL)
    ema = weights[0]
    for number, value in enumerate(weights[1:], 1):
        d = min(0.8, (1 + number) / (10 + number))
        ema = d * ema + (1 - d) * value
    saved = safetensors.torch.load_file(tmp_path / "state.safetensors")
    assert torch.allclose(saved["best.learner:carried.ema.0.weight"], ema, atol=1e-7)
    assert torch.allclose(saved["best.learner:carried.swa.0.weight"], torch.stack(weights[4:]).mean(0), atol=1e-7)


@pytest.mark.parametrize("average", [EMA(0.9), SWA(0)], ids=lambda average: average.name)
def test_the_weights_come_back_also_after_an_exception(average: Average) -> None:
    model, carried = network(), dict[str, Tensor]()
    average.follow(carried, model, 0)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inside: list[Tensor] = []

    def look() -> None:
        with average.in_place(carried, model):
            inside.append(model.state_dict()["5.weight"].clone())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look()
    assert torch.equal(inside[0], carried[f"{average.name}.5.weight"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_counting_anew_is_the_mean_over_the_batches() -> None:
    """Whatever the statistics were before; torch's unbiased variance."""
    norm = nn.BatchNorm1d(3, momentum=0.3)
    for _ in range(4):
        norm(torch.randn(8, 3) + 5)
    batches = [torch.randn(6, 3) * scale for scale in (1.0, 2.0, 3.0)]
    with counting_anew([norm]):
        for batch in batches:
            norm(batch)
    assert norm.running_mean == pytest.approx(torch.stack([batch.mean(0) for batch in batches]).mean(0), abs=1e-6)
    assert norm.running_var == pytest.approx(torch.stack([batch.var(0) for batch in batches]).mean(0), rel=1e-5)
    assert norm.momentum == 0.3


@pytest.mark.parametrize("objective", ["pgd", "trades", "free"])
def test_swa_is_judged_with_statistics_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    """Those of the convolution's outputs over the last batches, as far as they are known: here of the originals."""
    judged: list[dict[str, Tensor]] = []
    monkeypatch.setattr(_Run, "_accuracy", lambda self, samples, attack: judged.append(snapshot(self.model)) or 0.5)

    def snapshot(model: nn.Module) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in model.state_dict().items()}

    mix = Mix() if objective == "pgd" else Mix(0, 0, 1)
    run(tmp_path, network(), mix, objective=objective, swa=0.5, learning_rate=0.05, validate_every=8)
    raw, swa = judged[0], judged[-1]
    batches = [composite(mix).batch(step // (8 if objective == "free" else 1), 8).images for step in range(8)]
    outputs = [nn.functional.conv2d(images, swa["0.weight"], swa["0.bias"], 2, 1) for images in batches]
    mean = torch.stack([output.mean((0, 2, 3)) for output in outputs]).mean(0)
    close = torch.allclose(swa["1.running_mean"], mean, atol=1e-5)
    if objective == "pgd":
        assert close
        assert not torch.allclose(raw["1.running_mean"], mean, atol=1e-3)
    else:  # adversarial images count as well, as they do in the objective's own passes
        assert not close
        assert torch.allclose(swa["1.running_mean"], mean, atol=0.2)


def test_the_training_does_not_notice(tmp_path: Path) -> None:
    for name, changes in (("with", ALL), ("without", {})):
        run(tmp_path / name, network(), MIX, **changes)
    one, other = (safetensors.torch.load_file(tmp_path / part / "state.safetensors") for part in ("with", "without"))
    same = [name for name in other if not name.startswith("best.")]
    assert all(torch.equal(one[name], other[name]) for name in same)
    for a, b in zip(history(tmp_path / "with"), history(tmp_path / "without"), strict=True):
        names = {"validation_clean_ema", "validation_robust_ema"}
        if a["step"] > 4:
            names |= {"validation_clean_swa", "validation_robust_swa"}
        assert set(a) - set(b) == names
        assert {name: a[name] for name in b} == b


def test_auxiliary_norms_do_not_notice(tmp_path: Path) -> None:
    for name, changes in (("with", ALL), ("without", {})):
        run(tmp_path / name, network(), MIX, advprop=True, **changes)
    one, other = (safetensors.torch.load_file(tmp_path / part / "state.safetensors") for part in ("with", "without"))
    norms = [name for name in other if ".learner:norms" in name or name.startswith("best.learner:norms")]
    assert norms
    assert all(torch.equal(one[name], other[name]) for name in norms)


@pytest.mark.parametrize(
    ("scores", "chosen_by", "step", "name"),
    [
        ([0.5, 0.4, 0.6, 0.7, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], "validation_robust_ema", 4, "ema"),
        ([0.5, 0.4, 0.8, 0.7, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], "validation_robust", 4, None),
        ([0.5, 0.4, 0.1, 0.1, 0.6, 0.6, 0.1, 0.1, 0.1, 0.1], "validation_robust_ema", 6, "ema"),  # of equals the later
        ([0.5, 0.4, 0.1, 0.1, 0.6, 0.6, 0.7, 0.1, 0.1, 0.1], "validation_robust_swa", 6, "swa"),
        ([0.5, 0.4, 0.1, 0.1, 0.6, 0.6, 0.6, 0.1, 0.6, 0.6], "validation_robust_swa", 8, "swa"),
    ],
)
def test_the_best_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], chosen_by: str, step: int, name: str | None
) -> None:
    planted, met = iter(scores), list[tuple[int, Tensor]]()
    carried: list[dict[str, Tensor]] = []

    def accuracy(self: _Run, samples: ImageSet, attack: Any) -> float:
        del samples
        if attack is None:
            return 0.9
        met.append((self.done.step, next(self.model.parameters()).detach().clone()))
        carried.append({key: value.clone() for key, value in self.learner.carried.items()})
        return next(planted)

    monkeypatch.setattr(_Run, "_accuracy", accuracy)
    model = network()
    result = run(tmp_path, model, MIX, **ALL)
    assert [step for step, _ in met] == [2, 2, 4, 4, 6, 6, 6, 8, 8, 8]  # raw, EMA, and from step 5 on SWA
    assert (result.chosen_by, result.chosen_step, result.score) == (chosen_by, step, max(scores))
    last = max(number for number, score in enumerate(scores) if score == max(scores))
    assert torch.equal(next(model.parameters()), met[last][1])
    if name is not None:  # while its score is taken, the average is in the model
        assert torch.equal(met[last][1], carried[last][f"{name}.0.weight"])
    assert all(not torch.equal(a, b) for (_, a), (_, b) in pairwise(met))
    again = network(seed=9)
    assert run(tmp_path, again, MIX, **ALL) == result  # from the saved state
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
