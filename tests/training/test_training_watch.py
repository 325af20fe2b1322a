"""Catastrophic overfitting: what counts as one, what is said, and a run that goes back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from objective_cases import linear
from torch import Tensor
from training_cases import THREAT, Planted, composite, history, network, run, settings, squares

from robustaug.attacks import Attack
from robustaug.data import Mix
from robustaug.errors import RobustAugError
from robustaug.training import TrainingSettings, train
from robustaug.training.loop import _Run
from robustaug.training.objectives import Free, NoiseFGSM, RandomStartFGSM, WeightPerturbation
from robustaug.training.watch import Watch

MIX = Mix(0.5, 0, 0.5)


def test_a_collapse_is_below_half_of_the_highest() -> None:
    watch = Watch()
    seen = (0.0, 0.2, 0.1, 0.6, 0.29, 0.31, 0.0)
    assert [watch.collapsed(x, 1000) for x in seen] == [False] * 4 + [True, False, True]
    assert watch.highest == 0.6
    assert Watch.from_tensor(Watch(0.1, 2).to_tensor()) == Watch(0.1, 2)
    assert Watch.from_tensor(None) == Watch()


@pytest.mark.parametrize(
    ("highest", "now", "images", "collapsed"),
    [
        (10 / 32, 0, 32, True),
        (5 / 32, 0, 32, False),  # one such pair in 38 of a network that guesses one of ten (Fisher's exact test)
        (22 / 128, 7 / 128, 128, False),
        (22 / 128, 3 / 128, 128, True),
        (1.0, 0.0, 4, False),
        (1.0, 0.0, 8, True),
        (0.0, 0.0, 8, False),
    ],
)
def test_what_chance_explains_is_no_collapse(highest: float, now: float, images: int, collapsed: bool) -> None:
    assert Watch(highest).collapsed(now, images) is collapsed


@pytest.mark.parametrize("objective", ["rs_fgsm", "n_fgsm", "free"])
def test_the_last_batch_is_attacked_at_full_eps(tmp_path: Path, objective: Any) -> None:
    """The training attack blackens every second image; a model that cannot learn answers by the brightness."""
    model = linear(classes=2)
    asked: list[Tensor] = []

    def blacken(images: Tensor, labels: Tensor) -> Tensor:
        del labels
        asked.append(images.clone())
        return images * (torch.arange(len(images)) % 2).view(-1, 1, 1, 1)

    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 192))  # type: ignore[index,operator]
        model[1].bias.copy_(torch.tensor([60.0, -60.0]))  # type: ignore[index,operator]
    run(
        tmp_path, model, MIX, objective=objective, steps=2, learning_rate=1e-12, eps_warmup=1.0, replays=1 if
        objective == "free" else None, attack=Planted(THREAT, make=blacken), flip=True, shift=1,
    )  # fmt: skip
    (row,) = history(tmp_path)
    batch = composite(MIX).batch(1, 8)
    assert len(asked[-1]) == 4
    dark = (asked[-1].flatten(1).sum(1) > 60).tolist()
    predicted = [number % 2 == 1 and bright for number, bright in enumerate(dark)]
    right = [int(p) == label for p, label in zip(predicted, batch.labels[4:].tolist(), strict=True)]
    assert row["training_robust"] == sum(right) / 4


def test_only_single_steps_are_watched(tmp_path: Path) -> None:
    assert Free().is_single_step
    assert RandomStartFGSM().is_single_step
    assert WeightPerturbation(NoiseFGSM()).is_single_step
    for objective in ("pgd", "trades", "mart"):
        run(tmp_path / objective, network(), MIX, objective=objective, steps=2)
        assert "training_robust" not in history(tmp_path / objective)[0]


def planted(monkeypatch: pytest.MonkeyPatch, collapses: Any) -> None:
    """Looks at which ``collapses(step, returns)`` see a collapse."""

    def collapsed(self: _Run, row: dict[str, Any]) -> bool:
        found = bool(collapses(self.done.step, self.watch.answers))
        if found:
            row["collapsed"] = True
        return found

    monkeypatch.setattr(_Run, "_collapsed", collapsed)


def test_a_collapse_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, lambda step, returns: step == 4)
    notes: list[str | None] = []
    result = train(
        network(), composite(MIX), squares(10, seed=1), attack=Planted(THREAT), settings=settings(objective="rs_fgsm"),
        folder=tmp_path, progress=lambda count=1, note=None: notes.append(note),
    )  # fmt: skip
    assert result.collapses == (4,)
    assert [row["step"] for row in history(tmp_path)] == [2, 4, 6, 8]
    looks = [note for note in notes if note and "validation" in note]
    assert ["catastrophic overfitting" in note for note in looks] == [False, True, False, False]


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Tensor]]:
    """Noise and seeds of every step."""
    steps: list[tuple[float, Tensor]] = []
    true = NoiseFGSM.perturbed

    def perturbed(self: NoiseFGSM, learner: Any, task: Any) -> Tensor:
        steps.append((self.noise, task.seeds))
        return true(self, learner, task)

    monkeypatch.setattr(NoiseFGSM, "perturbed", perturbed)
    return steps


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, last: int) -> Iterator[None]:
    """The run inside is killed before this step."""
    true = _Run._step

    def step_or_die(self: _Run, step: int) -> None:
        if step == last:
            raise Killed
        true(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(_Run, "_step", step_or_die)
        with pytest.raises(Killed):
            yield


def test_each_epoch_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 images in batches of 8: epochs end within the steps 3, 5, 8, 10 and so on. A collapse is a look of its own."""
    asked: list[int] = []

    def collapses(step: int, answers: int) -> bool:
        del answers
        asked.append(step)
        return step == 8

    planted(monkeypatch, collapses)
    options: dict[str, Any] = {"objective": "rs_fgsm", "steps": 12, "validate_every": 100}
    result = run(tmp_path, network(), MIX, data=composite(MIX, n=20), **options)
    assert asked == [3, 5, 8, 8, 10, 12]
    assert [(row["step"], "collapsed" in row) for row in history(tmp_path)] == [(8, True), (12, False)]
    assert result.collapses == (8,)


def test_what_an_epoch_showed_counts_also_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks, the watch remembers in the run alone; a run that goes on sees the same again."""
    options: dict[str, Any] = {"objective": "n_fgsm", "steps": 12, "validate_every": 8}
    run(tmp_path / "whole", network(), MIX, **options)
    with killed_at(monkeypatch, 11):
        run(tmp_path / "parts", network(), MIX, **options)
    run(tmp_path / "parts", network(seed=9), MIX, **options)
    one, other = (safetensors.torch.load_file(tmp_path / part / "state.safetensors") for part in ("parts", "whole"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert one["best.learner:carried.watch"][0] > 0


def test_a_return_before_the_first_look_is_to_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, lambda step, answers: step == 3 and answers == 0)
    model, steps, weights = network(), recorded(monkeypatch), list[Tensor]()
    model.register_forward_pre_hook(
        lambda module, _: weights.append(next(module.parameters()).detach().clone()) if module.training else None
    )
    run(tmp_path, model, MIX, objective="n_fgsm", on_collapse="return", steps=6, validate_every=100)
    assert [(row["step"], "collapsed" in row) for row in history(tmp_path)] == [(3, True), (6, False)]
    assert [noise for noise, _ in steps] == [2.0] * 3 + [3.0] * 6
    assert torch.equal(weights[0], weights[3])
    assert not torch.equal(weights[0], weights[2])


def test_noise_is_raised_where_the_run_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times at most; a run that was killed knows how often."""
    planted(monkeypatch, lambda step, answers: step in (4, 8, 10, 12))
    steps = recorded(monkeypatch)
    options: dict[str, Any] = {"objective": "n_fgsm", "on_collapse": "raise", "steps": 14}
    result = run(tmp_path / "whole", network(), MIX, **options)
    noise = [2.0] * 4 + [3.0] * 4 + [4.5] * 2 + [6.75] * 4
    assert [found for found, _ in steps] == noise
    assert [row["step"] for row in history(tmp_path / "whole")] == [2, 4, 6, 8, 10, 12, 14]
    assert result.collapses == (4, 8, 10, 12)
    with killed_at(monkeypatch, 5):
        run(tmp_path / "parts", network(), MIX, **options)
    run(tmp_path / "parts", network(seed=9), MIX, **options)
    assert [found for found, _ in steps] == noise + noise[:5] + noise[4:]
    assert history(tmp_path / "parts") == history(tmp_path / "whole")


@pytest.mark.parametrize("awp", [0.0, 0.01])
def test_a_return_goes_on_from_the_last_state_with_other_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, awp: float
) -> None:
    planted(monkeypatch, lambda step, returns: step == 6 and returns == 0)
    steps, counts = recorded(monkeypatch), list[int]()
    result = train(
        network(), composite(MIX), squares(10, seed=1), attack=Planted(THREAT), folder=tmp_path,
        settings=settings(objective="n_fgsm", noise=1.0, awp=awp, on_collapse="return"),
        progress=lambda count=1, note=None: counts.append(count),
    )  # fmt: skip
    assert result.collapses == (6,)
    rows = history(tmp_path)
    assert [(row["step"], "collapsed" in row) for row in rows] == [
        (2, False), (4, False), (6, True), (6, False), (8, False)
    ]  # fmt: skip
    assert [noise for noise, _ in steps] == [1.0] * 6 + [1.5] * 4
    assert not torch.equal(steps[4][1], steps[6][1])  # step 4 once more
    assert rows[2]["loss"] != rows[3]["loss"]
    assert sum(counts) == 8


def test_a_run_returns_three_times_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, lambda step, returns: step >= 4)
    steps = recorded(monkeypatch)
    result = run(tmp_path, network(), MIX, objective="n_fgsm", on_collapse="return")
    assert [row["step"] for row in history(tmp_path)] == [2, 4, 4, 4, 4, 6, 8]
    assert result.collapses == (4, 4, 4, 4, 6, 8)
    assert steps[-1][0] == pytest.approx(2 * 1.5**3)


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.mark.parametrize("after", [3, 6, 7, 8, 9])  # steps trained before the kill; six come before the return
def test_a_run_that_returned_and_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    planted(monkeypatch, lambda step, returns: step == 6 and returns == 0)
    options: dict[str, Any] = {"objective": "n_fgsm", "on_collapse": "return"}
    model, calls = network(), [0]
    whole = run(tmp_path / "whole", model, MIX, **options)
    true = _Run._step

    def killed(self: _Run, step: int) -> None:
        if calls[0] == after:
            raise Killed
        true(self, step)
        calls[0] += 1

    with monkeypatch.context() as patch:
        patch.setattr(_Run, "_step", killed)
        with pytest.raises(Killed):
            run(tmp_path / "parts", network(), MIX, **options)
    resumed = network()
    result = run(tmp_path / "parts", resumed, MIX, **options)
    assert (result.chosen_step, result.score, result.collapses) == (whole.chosen_step, whole.score, whole.collapses)
    assert history(tmp_path / "parts") == history(tmp_path / "whole")
    one, other = (safetensors.torch.load_file(tmp_path / part / "state.safetensors") for part in ("parts", "whole"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"on_collapse": "panic"}, "training.on_collapse is 'panic'; use report or return or raise"),
        (
            {"on_collapse": "return"},
            "goes on with other noise, for rs_fgsm and n_fgsm, not for pgd; set it to 'report'",
        ),
        ({"on_collapse": "return", "objective": "free"}, "not for free; set it to 'report'"),
        (
            {"on_collapse": "raise", "objective": "rs_fgsm"},
            "training.on_collapse = 'raise' goes on with other noise, for n_fgsm, not for rs_fgsm",
        ),
    ],
)
def test_mistakes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RobustAugError, match=message):
        TrainingSettings(**changes)


def test_a_real_collapse_is_seen(tmp_path: Path) -> None:
    """The training attack finds nothing at first, and then everything: accuracy falls from 1 to 0."""
    looks = [0]

    def make(images: Tensor, labels: Tensor) -> Tensor:
        looks[0] += 1
        # Each look attacks the validation split, then the batch; classes differ in brightness alone.
        return images if looks[0] <= 4 else (1 - labels.float()).view(-1, 1, 1, 1).expand_as(images).contiguous()

    attack: Attack = Planted(THREAT, make=make)
    options: dict[str, Any] = {"objective": "rs_fgsm", "steps": 120, "validate_every": 30, "attack": attack}
    data = composite(MIX, n=480)  # 30 steps an epoch
    result = run(tmp_path, network(dropout=0.0), MIX, data=data, batch_size=16, **options)
    found = [row["training_robust"] for row in history(tmp_path)]
    assert found[1] == 1.0
    assert found[2:] == [0.0, 0.0]
    assert result.collapses == (90, 120)
