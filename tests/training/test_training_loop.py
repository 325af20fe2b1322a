"""One step and one look at a time: what the model is given, in which mode, and which weights are kept."""

import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_cases import SIZE, THREAT, Planted, composite, history, network, pgd, run, settings, squares

from robustaug.attacks import AttackResult, ThreatModel
from robustaug.attacks.oracle import Oracle
from robustaug.data import ImageSet, Mix
from robustaug.errors import RobustAugError
from robustaug.files import read_jsonl
from robustaug.training import train
from robustaug.training.loop import _Run
from robustaug.training.optimizer import build_optimizer


class Recorder(nn.Module):
    """A linear classifier that keeps every training batch it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * SIZE * SIZE, 2)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.seen.append(images.detach().clone())
        return self.linear(images.flatten(1))


def test_exactly_the_adversarial_rows_are_replaced(tmp_path: Path) -> None:
    mix, asked = Mix(0.5, 0.25, 0.25), []

    def constant(images: Tensor, labels: Tensor) -> Tensor:
        asked.append((images.clone(), labels.clone()))
        return torch.full_like(images, 0.625)

    model = Recorder()
    run(tmp_path, model, mix, steps=3, validate_every=3, attack=Planted(THREAT, make=constant))
    assert len(model.seen) == 3
    for step, images in enumerate(model.seen):
        batch = composite(mix).batch(step, 8)
        assert [row.kind for row in batch.provenance] == ["original"] * 4 + ["stylised"] * 2 + ["adversarial"] * 2
        assert torch.equal(images[:6], batch.images[:6])
        assert (images[6:] == 0.625).all()
        # The attack was given the originals of these rows under their own labels.
        assert torch.equal(asked[step][0], batch.images[6:])
        assert torch.equal(asked[step][1], batch.labels[6:])


def test_labels_follow_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mix, given = Mix(0.25, 0.25, 0.5), []
    true_loss = nn.functional.cross_entropy

    def spy(logits: Tensor, labels: Tensor, **options: Any) -> Tensor:
        if "reduction" not in options:
            given.append(labels.clone())
        return true_loss(logits, labels, **options)

    monkeypatch.setattr("robustaug.training.objectives.objective.F.cross_entropy", spy)
    run(tmp_path, Recorder(), mix, steps=2, flip=True, shift=1)
    keys = squares(24)
    label_of = dict(zip(keys.keys, keys.labels.tolist(), strict=True))
    assert len(given) == 2
    for step, labels in enumerate(given):
        sources = [row.source for row in composite(mix).batch(step, 8).provenance]
        assert labels.tolist() == [label_of[source] for source in sources]


def test_the_attack_is_bounded_by_the_warmed_up_eps(tmp_path: Path) -> None:
    model = Recorder()
    run(tmp_path, model, Mix(0.5, 0, 0.5), steps=4, validate_every=4, eps_warmup=1.0)
    for step, images in enumerate(model.seen):
        moved = (images - composite(Mix(0.5, 0, 0.5)).batch(step, 8).images).flatten(1).abs().amax(1)
        assert (moved[:4] == 0).all()
        assert (moved[4:] <= 0.1 * (step + 1) / 4 + 1e-6).all()
        assert (moved[4:] > 0.05 * (step + 1) / 4).all()


def test_the_attack_meets_eval_mode_and_modes_come_back(tmp_path: Path) -> None:
    met: list[set[bool]] = []

    def look(oracle: Oracle) -> None:
        met.append({module.training for module in oracle.model.modules()})
        modes_in_training.append(True)

    modes_in_training: list[bool] = []
    model = network()
    training_modes: list[set[bool]] = []
    model.register_forward_pre_hook(
        lambda module, _: training_modes.append({m.training for m in module.modules()}) if module.training else None
    )
    run(tmp_path, model, Mix(0.5, 0, 0.5), steps=2, attack=Planted(THREAT, look=look))
    assert met
    assert all(modes == {False} for modes in met)
    assert training_modes == [{True}, {True}]  # every layer trains again after the attack
    assert not model.training  # train() hands the model over in eval mode


def test_the_attack_leaves_no_gradient_behind(tmp_path: Path) -> None:
    """A step with an attack that changes nothing is the step without one."""
    one, other = network(dropout=0.3), network(dropout=0.3)
    run(tmp_path / "a", one, Mix(0.5, 0, 0.5), attack=Planted(THREAT, look=attack_in_passing), steps=1)
    run(tmp_path / "b", other, Mix(1, 0, 0), steps=1)
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def attack_in_passing(oracle: Oracle) -> None:
    oracle.gradient(torch.rand(4, 3, SIZE, SIZE), lambda logits: logits[:, 0])


def test_weight_decay_spares_norms_and_biases() -> None:
    model = network()
    for name, kind in (("adam", torch.optim.AdamW), ("sgd", torch.optim.SGD)):
        optimizer = build_optimizer(model, settings(optimizer=name, weight_decay=0.1))
        assert type(optimizer) is kind
        decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        named = {name: decay[id(parameter)] for name, parameter in model.named_parameters()}
        assert named == {
            "0.weight": 0.1, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "5.weight": 0.1, "5.bias": 0.0
        }  # fmt: skip


def test_one_step_of_sgd_in_closed_form(tmp_path: Path) -> None:
    """Cross-entropy of a linear model: gradient of the weights = mean of (softmax - onehot) x images."""
    model = Recorder()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    run(tmp_path, model, Mix(), steps=1, optimizer="sgd", warmup=1.0, learning_rate=0.5, weight_decay=0.0)
    batch = composite(Mix()).batch(0, 8)
    x = batch.images.flatten(1)
    error = (x @ before[0].T + before[1]).softmax(1) - nn.functional.one_hot(batch.labels, 2)
    momentum = 1.9  # Nesterov's first step: gradient + 0.9 * gradient
    assert torch.allclose(model.linear.weight, before[0] - 0.5 * momentum * error.T @ x / 8, atol=1e-6)
    assert torch.allclose(model.linear.bias, before[1] - 0.5 * momentum * error.mean(0), atol=1e-6)


@pytest.mark.parametrize(("mix", "chosen_by"), [(Mix(), "validation_clean"), (Mix(0.5, 0, 0.5), "validation_robust")])
def test_the_best_validation_score_chooses_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mix: Mix, chosen_by: str
) -> None:
    # One score rises and falls, with a tie; the other one would choose differently.
    scores = {chosen_by: iter([0.5, 0.75, 0.75, 0.25])}
    misleading = iter([0.1, 0.2, 0.3, 0.9])
    weights: list[Tensor] = []

    def planted(self: _Run, samples: ImageSet, attack: Any) -> float:
        name = "validation_clean" if attack is None else "validation_robust"
        if name == chosen_by:
            weights.append(self.model.linear.weight.detach().clone())  # type: ignore[union-attr,operator]
        return next(scores.get(name, misleading))

    monkeypatch.setattr(_Run, "_accuracy", planted)
    model = Recorder()
    result = run(tmp_path, model, mix)
    assert (result.chosen_step, result.chosen_by, result.score) == (6, chosen_by, 0.75)  # of equal ones the later
    assert torch.equal(model.linear.weight, weights[2])
    assert not torch.equal(weights[2], weights[3])


def test_validation_scores_are_accuracies(tmp_path: Path) -> None:
    """A model that cannot learn (rate 1e-12) answers "bright" always: half of the validation images."""
    model = Recorder()
    with torch.no_grad():
        model.linear.weight.zero_()
        model.linear.bias.copy_(torch.tensor([0.0, 5.0]))
    mix = Mix(0.5, 0, 0.5)
    run(tmp_path, model, mix, learning_rate=1e-12)
    rows = history(tmp_path)
    assert [row["validation_clean"] for row in rows] == [0.5] * 4
    assert [row["validation_robust"] for row in rows] == [0.5] * 4
    bright = [float(composite(mix).batch(step, 8).labels.float().mean()) for step in range(8)]
    wrong, right = 5 + math.log1p(math.exp(-5)), math.log1p(math.exp(-5))
    for number, row in enumerate(rows):
        share = (bright[2 * number] + bright[2 * number + 1]) / 2
        assert row["train_accuracy"] == share
        assert row["loss"] == pytest.approx(share * right + (1 - share) * wrong, rel=1e-5)


def test_robust_validation_sees_every_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation part of a folder is sorted by class: its first images would be of one class."""
    attacked: list[ImageSet] = []
    monkeypatch.setattr(_Run, "_accuracy", lambda self, samples, attack: attacked.append(samples) or 0.5)
    validation = squares(60, seed=1)
    validation = validation.select(validation.labels.sort(stable=True).indices)
    tmp_path.mkdir(exist_ok=True)
    options = settings(steps=2, validation_samples=20)
    train(network(), composite(Mix(0, 0, 1)), validation, attack=pgd(), settings=options, folder=tmp_path)
    assert [len(samples) for samples in attacked] == [60, 20]
    assert 5 <= int(attacked[1].labels.sum()) <= 15


def test_history(tmp_path: Path) -> None:
    run(tmp_path, network(), Mix(0.5, 0.25, 0.25), steps=7, validate_every=3)
    rows = history(tmp_path)
    assert [row["step"] for row in rows] == [3, 6, 7]
    assert [row["learning_rate"] for row in rows] == pytest.approx(
        [settings(steps=7).learning_rate_at(step) for step in (2, 5, 6)]
    )
    always = {"step", "loss", "train_accuracy", "learning_rate", "validation_clean"}
    robust = {"training_robust_running", "validation_robust"}
    assert all(set(row) == always | robust | {"training_clean"} for row in rows)
    times = [row["seconds"] for row in read_jsonl(tmp_path / "history.jsonl")]
    assert times == sorted(times)
    assert all(row["images_per_second"] > 0 for row in read_jsonl(tmp_path / "history.jsonl"))
    run(tmp_path / "clean", network(), Mix(), attack=None)
    assert all(set(row) == always | {"training_clean"} for row in history(tmp_path / "clean"))
    run(tmp_path / "adversarial", network(), Mix(0, 0, 1))
    assert all(set(row) == always | robust | {"training_clean_batch"} for row in history(tmp_path / "adversarial"))


def test_training_accuracies(tmp_path: Path) -> None:
    """A model that cannot learn answers "bright" to all; the attack's images are dark for the "bright" ones only."""

    def make(images: Tensor, labels: Tensor) -> Tensor:
        return torch.where(labels.view(-1, 1, 1, 1) == 1, 0.0, images)

    model = Recorder()
    with torch.no_grad():
        model.linear.weight.zero_()
        model.linear.bias.copy_(torch.tensor([0.0, 0.5]))
        model.linear.weight[0] = -1.0  # a black image (only those) is answered "dark": 0 against 0.5 - 0.6
        model.linear.bias[0] = 0.6
    mix = Mix(0.5, 0, 0.5)
    run(tmp_path / "half", model, mix, learning_rate=1e-12, attack=Planted(THREAT, make=make))
    for number, row in enumerate(history(tmp_path / "half")):
        labels = torch.stack([composite(mix).batch(step, 8).labels for step in (2 * number, 2 * number + 1)])
        assert row["training_clean"] == float(labels[:, :4].float().mean())
        assert row["training_robust_running"] == 0  # a dark one is answered "bright", a bright one "dark"
        assert row["train_accuracy"] == row["training_clean"] / 2
    run(tmp_path / "all", model, Mix(0, 0, 1), learning_rate=1e-12, attack=Planted(THREAT, make=make))
    for row in history(tmp_path / "all"):  # of the last batch alone, before the attack
        labels = composite(Mix(0, 0, 1)).batch(row["step"] - 1, 8).labels
        assert row["training_clean_batch"] == float(labels.float().mean())
        assert row["training_robust_running"] == row["train_accuracy"] == 0


def test_the_global_random_state_is_untouched(tmp_path: Path) -> None:
    torch.manual_seed(77)
    before = torch.get_rng_state()
    run(tmp_path, network(), Mix(0.5, 0, 0.5), flip=True, shift=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_result_does_not_depend_on_the_global_random_state(tmp_path: Path) -> None:
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        models.append(network())
        run(tmp_path / str(seed), models[-1], Mix(0.5, 0, 0.5), flip=True, shift=1)
    for a, b in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert history(tmp_path / "1") == history(tmp_path / "2")


def test_dropout_is_drawn_anew_in_every_step(tmp_path: Path) -> None:
    kept: list[Tensor] = []
    model = network(dropout=0.5)
    model[4].register_forward_hook(lambda module, _, out: kept.append(out != 0) if module.training else None)  # type: ignore[index]
    run(tmp_path, model, Mix(), steps=4, learning_rate=1e-9, data=composite(Mix(), n=8))
    assert len(kept) == 4
    # Of a unit that is on in both, dropout keeps half: equal masks would agree nearly always.
    agree = [float((a == b).float().mean()) for a, b in pairwise(kept)]
    assert all(share < 0.9 for share in agree)


def test_training_learns(tmp_path: Path) -> None:
    """Dark against bright is separable: every validation image is right, under attack as well."""
    result = run(tmp_path, network(dropout=0.0), Mix(0.5, 0, 0.5), steps=60, validate_every=20)
    assert result.score == 1.0
    assert history(tmp_path)[-1]["validation_clean"] == 1.0
    assert result.seconds > 0


def test_progress_is_told_every_step(tmp_path: Path) -> None:
    told: list[tuple[int, str | None]] = []
    train(
        network(), composite(Mix()), squares(6, seed=1), attack=None, settings=settings(steps=4), folder=tmp_path,
        progress=lambda count=1, note=None: told.append((count, note)),
    )  # fmt: skip
    assert sum(count for count, _ in told) == 4
    notes = [note for _, note in told if note]
    assert len(notes) == 3
    of_an_epoch = notes.pop(1)  # 24 images in three steps: what the next row, of two steps, has half of
    assert re.fullmatch(r"loss \d\.\d{3}  training \d+\.\d%  \d+ images/s", of_an_epoch)
    rows = read_jsonl(tmp_path / "history.jsonl")
    assert notes == [
        f"loss {row['loss']:.3f}  training {row['training_clean']:.1%}  validation clean {row['validation_clean']:.1%}"
        f"  {row['images_per_second']:.0f} images/s"
        for row in rows
    ]


def test_an_adversarial_share_needs_an_attack(tmp_path: Path) -> None:
    with pytest.raises(RobustAugError, match=r"adversarial share of 0\.5 but there is no attack"):
        run(tmp_path, network(), Mix(0.5, 0, 0.5), attack=None)


def test_one_eps_a_sample_is_refused(tmp_path: Path) -> None:
    attack = Planted(ThreatModel("linf", (0.1, 0.2)))
    with pytest.raises(RobustAugError, match="training needs one eps for all samples"):
        run(tmp_path, network(), Mix(0.5, 0, 0.5), attack=attack)


def test_an_attack_result_is_only_asked_for_in_validation(tmp_path: Path) -> None:
    """The loop takes the bare algorithm: the checked call would cost two more passes a step."""
    calls: list[int] = []

    class Counted(Planted):
        def __call__(self, *arguments: Any, **options: Any) -> AttackResult:
            calls.append(1)
            return super().__call__(*arguments, **options)

    run(tmp_path, network(), Mix(0.5, 0, 0.5), steps=6, validate_every=3, attack=Counted(THREAT))
    assert len(calls) == 2


def test_history_is_json_without_nan(tmp_path: Path) -> None:
    run(tmp_path, network(), Mix(), steps=2)
    for line in (tmp_path / "history.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
