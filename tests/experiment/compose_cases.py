"""Folders of variants as the jobs write them, made in no time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from robustaug.data import ImageSet
from robustaug.data.decisions import DecisionLog
from robustaug.data.jobs import JobFolder, output_stems

PARAMETERS: dict[str, dict[str, Any]] = {
    "stylised": {"method": "gatys", "style": "night", "style_sha256": "0" * 64, "strength": 0.5},
    "classical": {"technique": "flip+blur", "operations": [{"name": "flip"}, {"name": "blur", "sigma": [0.1, 2.0]}]},
    "adversarial": {"attack": "PGD", "norm": "linf", "eps": 8 / 255, "success": True},
}


def darker(image: Tensor) -> Tensor:
    return image // 2


def variants(
    folder: Path,
    images: ImageSet,
    kind: str = "stylised",
    name: str = "night",
    change: Callable[[Tensor], Tensor] = darker,
    **parameters: Any,
) -> Path:
    """One variant of each image at CLASS/STEM__NAME.png, with a finished manifest."""
    job = JobFolder(folder, {"job": kind, "seed": 0})
    labels = [images.class_names[label] for label in images.labels.tolist()]
    for index, stem in enumerate(output_stems(images.keys, labels)):
        row = {
            "path": f"{stem}__{name}.png",
            "source": images.keys[index],
            "source_sha256": images.sha256[index],
            "label": labels[index],
            "kind": kind,
            **PARAMETERS[kind],
            **parameters,
        }
        job.write(row, change(images.images[index]))
    job.finish()
    return folder


def decide(folder: Path, **decisions: str | None) -> None:
    """Decide on variants named CLASS_NUMBER: ``red_00="reject"``; ``"blue"`` is a new label, None an open one."""
    log = DecisionLog(folder)
    for name, decision in decisions.items():
        (path,) = [p.relative_to(folder).as_posix() for p in folder.glob(f"**/{name.replace('_', '/', 1)}__*.png")]
        if decision in ("accept", "reject"):
            log.decide(path, decision)  # type: ignore[arg-type]
        else:
            log.decide(path, "relabel", decision)
    log.close()
