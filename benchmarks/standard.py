"""AutoAttack of the protocol `standard`, through the harness, beside pyautoattack's standard, on the same samples.

    python benchmarks/standard.py [--checkpoint FILE --data DATA] [--samples 200] [--root DIR] [--json FILE]

The targets: robust accuracy within 0.3 points of pyautoattack's and never higher by more, in at most a third of its
time, in one run; the exit code is 1 where one is missed. Ours is the whole evaluation: clean accuracy, AutoAttack, all
verdicts again after rounding to 8 bits, and one step each of what no protocol leaves out. Samples are of the test part,
each class in its share. Without a checkpoint, the adversarial arm of the quick demo is trained first.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from autoattack import reference
from measure import timed, write_rows
from rich.console import Console

from robustaug.attacks import ThreatModel
from robustaug.data import ImageSet
from robustaug.evaluation import PROTOCOLS, ProtocolAttack, evaluate_arm, stratified_choice
from robustaug.experiment import train_arm
from robustaug.experiment.config import load_preset
from robustaug.experiment.subject import load_subject, threat_of
from robustaug.hardware import default_device
from robustaug.models import Checkpoint, load_checkpoint

POINTS = 0.3
SHARE = 1 / 3
# One step of everything else: what is compared is AutoAttack.
PROTOCOL = replace(
    PROTOCOLS["standard"],
    attacks=(ProtocolAttack("autoattack"),),
    pgd_steps=1, pgd_restarts=1, noise_draws=1, curve_samples=1, curve_steps=1, transfer_samples=0, minimal_samples=0,
    corruption_samples=0, style_strength_samples=0, conflict_samples=0,
)  # fmt: skip


def subject(arguments: argparse.Namespace) -> tuple[Checkpoint, str]:
    """The classifier, and the name of the data."""
    if arguments.checkpoint is not None:
        return load_checkpoint(arguments.checkpoint), arguments.data
    with tempfile.TemporaryDirectory() as folder:
        config = load_preset("demo-quick", [] if arguments.seed == 0 else [f"seed={arguments.seed}"])
        print("Training the adversarial arm of the quick demo", flush=True)
        return train_arm(config, Path(folder) / "run", "adversarial", console=Console()).checkpoint, config.data.source


def compare(checkpoint: Checkpoint, samples: ImageSet, threat: ThreatModel, seed: int) -> dict[str, object]:
    """Both on the same samples, ours first; one row of the table."""
    device = default_device()
    model = checkpoint.model.to(device).eval().requires_grad_(False)
    protocol = replace(PROTOCOL, samples=len(samples))
    seconds, ours = timed(lambda: evaluate_arm(model, samples, threat=threat, protocol=protocol, seed=seed))
    stands = torch.empty(len(samples), dtype=torch.bool)
    stands[ours.attacked] = ours.verdicts["autoattack"]
    print(f"  robustaug     {seconds:8.1f} s  {float(stands.float().mean()):.2%}", flush=True)
    images, labels = samples.float_images(device), samples.labels.to(device)
    theirs = reference(model, images, labels, threat, "float32")
    reference_stands = theirs.stands.cpu()
    print(f"  pyautoattack  {theirs.seconds:8.1f} s  {float(reference_stands.float().mean()):.2%}", flush=True)
    difference = 100 * float(stands.float().mean() - reference_stands.float().mean())
    return {
        "case": f"standard, {threat}, {checkpoint.path.stem}, {len(samples)} images",
        "library": "robustaug",
        "robust_accuracy": float(stands.float().mean()),
        "reference_robust_accuracy": float(reference_stands.float().mean()),
        "difference_in_points": difference,
        "only_this_breaks": int((reference_stands & ~stands).sum()),
        "only_reference_breaks": int((stands & ~reference_stands).sum()),
        "seconds": seconds,
        "reference_seconds": theirs.seconds,
        "share_of_time": seconds / theirs.seconds,
        "images_per_second": len(samples) / seconds,
        "accurate_enough": round(abs(difference), 6) <= POINTS,
        "fast_enough": seconds <= SHARE * theirs.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, metavar="FILE")
    parser.add_argument("--data", metavar="DATA")
    parser.add_argument("--root", type=Path, metavar="DIR")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="20 samples")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if (arguments.checkpoint is None) != (arguments.data is None):
        parser.error("--checkpoint and --data go together")
    checkpoint, source = subject(arguments)
    threat = threat_of(checkpoint, None, None)
    test, _, _ = load_subject(checkpoint, source, split="test", root=arguments.root)
    count = 20 if arguments.quick else arguments.samples
    samples = test.select(stratified_choice(test.labels, count, arguments.seed).sort().values)
    print(f"{len(samples)} images of {Path(source).name}, {threat}, {torch.get_num_threads()} threads", flush=True)
    row = compare(checkpoint, samples, threat, arguments.seed)
    print(f"difference  {row['difference_in_points']:+.2f} points (target: at most {POINTS} either way)")
    print(f"time        {row['share_of_time']:.2f} of pyautoattack's (target: at most {SHARE:.2f})")
    print(
        f"broken by one alone: {row['only_this_breaks']} by robustaug, {row['only_reference_breaks']} by pyautoattack"
    )
    write_rows(arguments.json, [row])
    sys.exit(0 if row["accurate_enough"] and row["fast_enough"] else 1)


if __name__ == "__main__":
    main()
