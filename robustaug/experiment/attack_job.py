"""An adversarial copy of a data set: folders kept, 8-bit PNG, a manifest, success checked again after rounding."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustaug import randomness
from robustaug.attacks import Attack, AutoAttack, AutoAttackResult
from robustaug.attacks.ball import BALLS
from robustaug.attacks.oracle import Oracle, undisturbed
from robustaug.data import ImageSet
from robustaug.data.images import to_uint8
from robustaug.data.jobs import JobFolder, output_stems
from robustaug.evaluation.statistics import Accuracy, accuracy_interval
from robustaug.files import sha256
from robustaug.hardware import default_device
from robustaug.models import Checkpoint
from robustaug.progress import progress_bar

_BATCH = 100


@dataclass(frozen=True)
class AttackOutcome:
    """Accuracy on the images as they are, under attack, and under attack after rounding to 8 bits.

    ``stages`` has the accuracy after each stage of an AutoAttack, in order; it is empty for other attacks.
    """

    clean: Accuracy
    robust: Accuracy
    robust_8bit: Accuracy
    written: int
    stages: dict[str, Accuracy] = field(default_factory=dict)


def attack_images(
    checkpoint: Checkpoint, images: ImageSet, attack: Attack, *, out: Path | None = None, seed: int = 0
) -> AttackOutcome:
    """Attack every image of a set and, with ``out``, write the adversarial copy.

    Every result depends on the image, the attack and the seed alone; a job that was killed goes on where it stopped.

    Args:
        checkpoint: The classifier.
        images: What to attack.
        attack: How.
        out: A new or empty folder, or one of this same job: CLASS/NAME.png and ``manifest.jsonl``.
        seed: Of the random starts.

    Raises:
        RobustAugError: the folder holds something else or cannot be written, or the attack meets a broken model.
    """
    names = [images.class_names[label] for label in images.labels.tolist()]
    paths = [f"{stem}.png" for stem in output_stems(images.keys, names)]
    folder, done = None, set[str]()
    if out is not None:
        folder = JobFolder(out, _describe(checkpoint, images, seed) | attack.parameters())
        done = folder.resume(dict(zip(paths, images.sha256, strict=True)))
    todo = [index for index, path in enumerate(paths) if path not in done]
    model = checkpoint.model.to(default_device())
    rows: list[dict[str, Any]] = []
    with progress_bar("Attacking", total=len(images), done=len(done)) as progress:
        for start in range(0, len(todo), _BATCH):
            index = todo[start : start + _BATCH]
            attacked = _attacked(model, images.select(index), attack, seed)
            for path, (row, image) in zip((paths[i] for i in index), attacked, strict=True):
                rows.append({"path": path, **row})
                if folder is not None:
                    folder.write(rows[-1], image)
            progress(len(index))
    if folder is not None:
        folder.finish()
        rows = list(folder.rows())
    return AttackOutcome(
        clean=_share(row["prediction_before"] == row["label"] for row in rows),
        robust=_share(not row["success"] for row in rows),
        robust_8bit=_share(not row["success_8bit"] for row in rows),
        written=len(todo) if folder is not None else 0,
        stages=_after_stages(attack, [row["broken_by"] for row in rows]) if isinstance(attack, AutoAttack) else {},
    )


def _attacked(model: nn.Module, images: ImageSet, attack: Attack, seed: int) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Manifest rows and 8-bit adversarial images of a batch."""
    device = default_device()
    content, labels = images.float_images(device), images.labels.to(device)
    seeds = randomness.sample_seeds(seed, images.keys, "attack").to(device)
    result = attack(model, content, labels, seeds=seeds, batch_size="auto")
    rounded = to_uint8(result.images)
    distance_8bit = BALLS[attack.threat.norm].length(rounded / 255 - content)
    with undisturbed(model):
        before = Oracle(model).logits(content).argmax(1)
        after_rounding = Oracle(model).logits(rounded / 255).argmax(1)
    names = images.class_names
    for i in range(len(images)):
        broken_by = {}
        if isinstance(result, AutoAttackResult):
            stage = int(result.broken_by[i])
            broken_by = {"broken_by": None if stage < 0 else result.stages[stage]}
        yield (
            {
                "source": images.keys[i],
                "source_sha256": images.sha256[i],
                "label": names[int(labels[i])],
                "kind": "adversarial",
                "prediction_before": names[int(before[i])],
                "prediction_after": names[int(result.predictions[i])],
                "success": bool(result.success[i]),
                "success_8bit": bool(after_rounding[i] != labels[i]),
                "distance": float(f"{float(result.distance[i]):.6g}"),
                "distance_8bit": float(f"{float(distance_8bit[i]):.6g}"),
                "seed": seed,
                **broken_by,
                **attack.parameters(),
            },
            rounded[i].cpu(),
        )


def _after_stages(attack: AutoAttack, broken_by: list[str | None]) -> dict[str, Accuracy]:
    stages = ["clean", *attack.stages(), "float32"]
    if "float32" not in broken_by:
        stages.pop()
    return {
        stage: _share(name not in stages[: number + 1] for name in broken_by) for number, stage in enumerate(stages)
    }


def _share(correct: Iterable[bool]) -> Accuracy:
    return accuracy_interval(torch.tensor(list(correct), dtype=torch.bool))


def _describe(checkpoint: Checkpoint, images: ImageSet, seed: int) -> dict[str, Any]:
    """What makes a job the same job, apart from the attack and the images' bytes (see the rows)."""
    content = sha256("\n".join(sorted(images.identities)).encode())
    return {"checkpoint": sha256(checkpoint.path.read_bytes()), "content": content, "seed": seed}
