"""Every training objective on the same digits for the same number of steps: what each reaches, and what it costs.

    python benchmarks/objectives.py [--objectives NAME...] [--steps 400] [--seeds 0 1 2] [--quick] [--json FILE]

A WideResNet-8 of width 16 with batch norms learns the embedded digits at 16 px under linf 0.2, from the same weights,
on the same batches, by one-cycle SGD with a warm-up of eps. The training attack is PGD-7. Nothing is chosen: each run
has a single look, at its end. Then its clean and its PGD-20 accuracy are taken on the validation split. The seconds are
the run's.

Equal steps are not equal time, nor an equal number of images: ``free`` sees each batch ``replays`` times in so many
steps. Of AdvProp's batch norms the main ones answer, which never saw an adversarial image.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

from measure import write_rows

from robustaug.attacks import PGD, ThreatModel
from robustaug.data import CompositeDataset, DataSplits, Mix, load_data
from robustaug.hardware import default_device
from robustaug.models import build_model
from robustaug.progress import progress_bar
from robustaug.training import TrainingSettings, train
from robustaug.training.validation import accuracy

THREAT = ThreatModel("linf", 0.2)
ATTACK, JUDGE = PGD(THREAT, "auto", steps=7), PGD(THREAT, steps=20)
ALL = Mix(original=0, adversarial=1)
WAYS: dict[str, tuple[Mix, dict[str, Any]]] = {
    "standard": (Mix(), {}),
    "pgd": (ALL, {}),
    "rs_fgsm": (ALL, {"objective": "rs_fgsm"}),
    "n_fgsm": (ALL, {"objective": "n_fgsm"}),
    "free": (ALL, {"objective": "free"}),
    "trades": (ALL, {"objective": "trades"}),
    "mart": (ALL, {"objective": "mart"}),
    "pgd, awp": (ALL, {"awp": 0.005}),
    "pgd, half": (Mix(original=0.5, adversarial=0.5), {}),
    "pgd, half, advprop": (Mix(original=0.5, adversarial=0.5), {"advprop": True}),
}


def measure(name: str, data: DataSplits, steps: int, seed: int) -> dict[str, Any]:
    """One run of one objective."""
    mix, choices = WAYS[name]
    settings = TrainingSettings(
        steps=steps,
        validate_every=steps,
        optimizer="sgd",
        learning_rate=0.1,
        eps_warmup=0.3,
        precision="auto",
        **choices,
    )
    model = build_model("wide_resnet8", 10, data.image_size, width=16, seed=seed).to(default_device())
    composite = CompositeDataset(data.train, None, mix, seed)
    with tempfile.TemporaryDirectory() as folder, progress_bar(name, steps) as progress:
        result = train(
            model, composite, data.validation, attack=ATTACK, settings=settings, folder=Path(folder), seed=seed,
            progress=progress,
        )  # fmt: skip
    return {
        "case": "digits, linf 0.2", "objective": name, "seed": seed, "steps": steps, "seconds": result.seconds,
        "clean_accuracy": accuracy(model, data.validation, None, seed),
        "robust_accuracy": accuracy(model, data.validation, JUDGE, seed),
    }  # fmt: skip


def line(name: str, rows: list[dict[str, Any]]) -> str:
    """The mean over the seeds, the lowest and the highest."""
    cells = [name.ljust(20)]
    for key in ("clean_accuracy", "robust_accuracy"):
        found = [100 * row[key] for row in rows]
        cells.append(f"{mean(found):5.1f} [{min(found):.1f}, {max(found):.1f}]".ljust(20))
    return " ".join([*cells, f"{mean(row['seconds'] for row in rows):5.0f} s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--quick", action="store_true", help="150 steps")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    steps = 150 if arguments.quick else arguments.steps
    data = load_data("mnist5k", size=16)
    print(f"{steps} steps of 128 digits, linf 0.2; percent of {len(data.validation)} validation images, over the seeds")
    print(f"{'objective':<20} {'clean':<20} {'PGD-20':<20}  time", flush=True)
    rows = []
    for name in arguments.objectives:
        found = [measure(name, data, steps, seed) for seed in arguments.seeds]
        print(line(name, found), flush=True)
        rows += found
    write_rows(arguments.json, rows)


if __name__ == "__main__":
    main()
