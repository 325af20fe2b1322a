"""Adversarial training by this library's loop beside plain float32 loops over torchattacks: images per second.

    python benchmarks/training.py [--width 64] [--batch 128] [--rounds 5] [--float32] [--quick] [--json FILE]

Every way trains a PreActResNet-18 on the same digits of 32 px at linf 8/255, mirrored and moved by up to 4 px, with
SGD. In each round every way of a case takes its turn of one step (PGD and TRADES, whose plain float32 step takes 20
seconds at width 64 on two cores) or three (N-FGSM); on a GPU twenty times as many. A row is the median over the rounds,
its ratio the median of the rounds' ratios to the plain float32 loop of its case.

``robustaug`` is ``robustaug.training.train`` itself, timed between two calls of its progress callback, which stops it
there: its end is far away, so that no turn holds a look at the validation split or the writing of a state. It starts
anew in each turn, so its first step, which makes the optimiser's state, is not timed; plain loops go on with theirs.
"around" is what the loop costs: how much longer its step takes, in percent, than its objective's bare step, which has
turns in the same rounds: attack, forward, backward and optimiser on one batch that lies ready, in the same precision
and on the same network, so in the same layout.

The plain loops draw a batch of bytes, mirror each image, take one random crop for all (cheaper than one for each, as in
the library), attack in eval mode, and step. The bfloat16 one is autocast with channels last, the best of plain torch.
"""

import argparse
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measure import cell, now, timed, write_rows
from torch import Tensor, nn
from torch.nn import functional as F

from robustaug.attacks import PGD, ThreatModel
from robustaug.data import CompositeDataset, ImageSet, Mix, load_data
from robustaug.hardware import autocast, default_device, resolve_precision
from robustaug.models import build_model
from robustaug.training import TrainingSettings, train
from robustaug.training.objectives import Learner, Task
from robustaug.training.optimizer import build_optimizer

EPS, STEP_SIZE, ATTACK_STEPS, SHIFT = 8 / 255, 2 / 255, 10, 4
BETA = 6.0  # of TRADES
TIMED_STEPS = {"pgd": 1, "trades": 1, "n_fgsm": 3}
ON_A_GPU = 20  # times as many

Step = Callable[[], object]
Turn = Callable[[], float]  # seconds of a step
Perturb = Callable[[nn.Module, Tensor, Tensor], Tensor]
Loss = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]


class Enough(Exception):  # noqa: N818 - nothing is wrong
    """Stops a loop from within."""


@dataclass(frozen=True)
class Setup:
    """What all ways share."""

    data: ImageSet
    device: torch.device
    width: int
    batch: int

    def model(self) -> nn.Module:
        return build_model("preact_resnet18", 10, (32, 32), width=self.width).to(self.device)

    def settings(self, **choices: Any) -> TrainingSettings:
        far = 1_000_000  # steps: the looks and the end are never reached
        common = {"optimizer": "sgd", "learning_rate": 0.1, "flip": True, "shift": SHIFT, "ema": 0.0}
        return TrainingSettings(steps=far, validate_every=far, batch_size=self.batch, **common | choices)  # type: ignore[arg-type]

    def loop(self, model: nn.Module, settings: TrainingSettings, steps: int) -> float:
        """A turn of the real loop."""
        calls, began, ended = 0, 0.0, 0.0

        def progress(count: int = 1, note: str | None = None) -> None:  # noqa: ARG001 - the first call is of step 0
            nonlocal calls, began, ended
            calls += 1
            if calls == 2:
                began = now()
            if calls == 2 + steps:
                ended = now()
                raise Enough

        attack = PGD(ThreatModel("linf", EPS), settings.precision, steps=ATTACK_STEPS, step_size=STEP_SIZE)
        composite = CompositeDataset(self.data, None, Mix(original=0, adversarial=1), seed=0)
        with tempfile.TemporaryDirectory() as folder, suppress(Enough):
            train(model, composite, self.data, attack=attack, settings=settings, folder=Path(folder), progress=progress)
        return (ended - began) / steps

    def alone(self, model: nn.Module, settings: TrainingSettings) -> Step:
        """The objective's bare step."""
        rows = torch.arange(self.batch)
        batch = self.data.select(rows)
        attack = PGD(ThreatModel("linf", EPS), settings.precision, steps=ATTACK_STEPS, step_size=STEP_SIZE)
        task = Task(
            batch.float_images(self.device), batch.labels.to(self.device), rows.to(self.device), attack,
            rows.to(self.device),
        )  # fmt: skip
        objective = settings.build_objective()
        learner = Learner(model, resolve_precision(settings.precision, self.device), settings.attack_mode)
        optimizer = build_optimizer(model, settings)

        def step() -> None:
            learner.train()
            adversarial = objective.perturbed(learner, task)
            optimizer.zero_grad(set_to_none=True)
            objective.gradients(learner, task, adversarial)
            optimizer.step()

        return step

    def plain(self, model: nn.Module, perturb: Perturb, loss: Loss, dtype: torch.dtype) -> Step:
        """A step of a plain loop."""
        images, labels = self.data.images.to(self.device), self.data.labels.to(self.device)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, nesterov=True, weight_decay=5e-4)
        model.train()

        def step() -> None:
            rows = torch.randint(len(images), (self.batch,), device=self.device)
            batch = images[rows].float() / 255
            flipped = torch.rand(self.batch, 1, 1, 1, device=self.device) < 0.5
            top, left = torch.randint(2 * SHIFT + 1, (2,)).tolist()
            padded = F.pad(torch.where(flipped, batch.flip(3), batch), (SHIFT,) * 4, mode="replicate")
            batch = padded[:, :, top : top + 32, left : left + 32].contiguous()
            if dtype != torch.float32:
                batch = batch.contiguous(memory_format=torch.channels_last)
            with autocast(dtype, self.device):
                adversarial = perturb(model, batch, labels[rows])
                value = loss(model, batch, adversarial, labels[rows])
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()

        return step


def of_steps(step: Step, steps: int) -> float:
    """A turn of a bare step."""
    seconds, _ = timed(lambda: [step() for _ in range(steps)])
    return seconds / steps


def pgd(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    import torchattacks  # noqa: PLC0415

    return torchattacks.PGD(model, eps=EPS, alpha=STEP_SIZE, steps=ATTACK_STEPS)(images, labels)


def trades_pgd(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    import torchattacks  # noqa: PLC0415

    return torchattacks.TPGD(model, eps=EPS, alpha=STEP_SIZE, steps=ATTACK_STEPS)(images, labels)


def noise_and_step(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """N-FGSM, as torchattacks would write it."""
    model.eval()
    start = (images + 2 * EPS * (2 * torch.rand_like(images) - 1)).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(start), labels), start)
    model.train()
    return (start + EPS * gradient.sign()).clamp(0, 1).detach()


def cross_entropy(model: nn.Module, images: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001
    return F.cross_entropy(model(adversarial), labels)


def trades_loss(model: nn.Module, images: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
    natural, attacked = model(images), model(adversarial)
    divergence = F.kl_div(F.log_softmax(attacked, 1), F.softmax(natural, 1), reduction="batchmean")
    return F.cross_entropy(natural, labels) + BETA * divergence


PLAIN: dict[str, tuple[str, str, Perturb, Loss]] = {
    "pgd": ("PGD-10", "plain loop, torchattacks", pgd, cross_entropy),
    "n_fgsm": ("N-FGSM", "plain loop", noise_and_step, cross_entropy),
    "trades": ("TRADES-10", "plain loop, torchattacks", trades_pgd, trades_loss),
}


def compare(setup: Setup, objective: str, own: dict[str, dict[str, Any]], rounds: int) -> list[dict[str, Any]]:
    """The ways to train with an objective, in turns; ``own`` are this library's modes and what sets them."""
    steps = TIMED_STEPS[objective] * (ON_A_GPU if setup.device.type == "cuda" else 1)
    name, plainly, perturb, loss = PLAIN[objective]
    baseline = (plainly, "float32")
    turns: dict[tuple[str, str], Turn] = {
        baseline: partial(of_steps, setup.plain(setup.model(), perturb, loss, torch.float32), steps)
    }
    if objective == "n_fgsm":
        fast = setup.model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        turns[plainly, "bfloat16"] = partial(of_steps, setup.plain(fast, perturb, loss, torch.bfloat16), steps)
    for mode, choices in own.items():
        settings, model = setup.settings(objective=objective, **choices), setup.model()
        turns["robustaug", mode] = partial(setup.loop, model, settings, steps)
        turns["its step alone", mode] = partial(of_steps, setup.alone(model, settings), steps)
    seconds: dict[tuple[str, str], list[float]] = {way: [] for way in turns}
    for _ in range(rounds):
        for way, turn in turns.items():
            seconds[way].append(turn())

    def ratio(way: tuple[str, str], other: tuple[str, str]) -> float:
        return median(b / a for a, b in zip(seconds[way], seconds[other], strict=True))

    case = f"{name} training, linf 8/255, PreActResNet-18, width {setup.width}, batch {setup.batch}"
    rows = []
    for library, mode in turns:
        way = (library, mode)
        around = 100 * (ratio(("its step alone", mode), way) - 1) if library == "robustaug" else None
        row = {
            "case": case, "library": library, "mode": mode, "ratio_to_bare": ratio(way, baseline),
            "images_per_second": setup.batch / median(seconds[way]), "seconds_per_step": median(seconds[way]),
            "around_percent": around,
        }  # fmt: skip
        rows.append(row)
        cells = [
            cell(row["ratio_to_bare"], 6, "{:.2f}"), cell(row["images_per_second"], 9, "{:.1f}"),
            cell(row["seconds_per_step"], 8, "{:.3f}"), cell(around, 7, "{:+.1f}%"),
        ]  # fmt: skip
        print(f"{name:<10} {library:<26} {mode:<14} " + " ".join(cells), flush=True)
    return rows


def repeated(images: ImageSet, times: int) -> ImageSet:
    """The same images so many times, so that no epoch ends in a turn: the watch after it is not timed."""
    keys = tuple(f"{key}*{number}" for number in range(times) for key in images.keys)
    pixels, labels = images.images.repeat(times, 1, 1, 1), images.labels.repeat(times)
    return ImageSet(pixels, labels, keys, images.sha256 * times, images.class_names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--objectives", nargs="*", choices=list(PLAIN), default=list(PLAIN))
    parser.add_argument("--float32", action="store_true", help="this library in float32 as well")
    parser.add_argument("--quick", action="store_true", help="three rounds, width 16")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.width = 3, 16
    own: dict[str, dict[str, Any]] = {"auto": {"precision": "auto"}}
    if arguments.float32:
        own["float32"] = {"precision": "float32"}
    device, digits = default_device(), load_data("mnist5k", size=32).train
    setup = Setup(repeated(digits, ON_A_GPU if device.type == "cuda" else 1), device, arguments.width, arguments.batch)
    dtype = str(resolve_precision("auto", setup.device)).removeprefix("torch.")
    print(
        f"PreActResNet-18 of width {setup.width}, batches of {setup.batch} images of 32 px, linf 8/255; auto is {dtype}"
    )
    print(f"{torch.get_num_threads()} threads, {arguments.rounds} rounds; ratio: speed over the plain float32 loop's")
    print(f"{'objective':<10} {'way':<26} {'mode':<14}  ratio  images/s   s/step  around")
    rows = [row for each in arguments.objectives for row in compare(setup, each, own, arguments.rounds)]
    write_rows(arguments.json, rows)


if __name__ == "__main__":
    main()
