"""Running numbers of a training: added up on the device, read only at a look, so that no step waits for the device."""

import time
from collections.abc import Mapping
from typing import Any

import torch

from robustaug.training.distributed import ALONE, Processes
from robustaug.training.objectives import Task, Terms


class Counters:
    """Loss and right answers since the last look.

    Args:
        device: The model's.
        step: Steps done before the first that is counted.
        processes: Those that share each batch: each counts its part, and all must look together.
    """

    def __init__(self, device: torch.device, step: int, processes: Processes = ALONE) -> None:
        self._processes = processes
        self._began, self._first, self._steps = time.monotonic(), step, 0
        self._loss = torch.zeros((), device=device)
        self._finite = torch.zeros((), device=device)  # steps before the first whose loss is not finite
        self._right = torch.zeros(2, device=device)  # of other rows, of adversarial rows
        self._rows = [0, 0]

    def add(self, terms: Terms, task: Task) -> None:
        """Count a step."""
        self._loss += terms.loss.detach()
        self._finite += self._loss.isfinite()  # a sum stays NaN or infinite
        right = terms.logits.argmax(1) == task.labels
        adversarial = right[task.rows].sum()
        self._right += torch.stack([right.sum() - adversarial, adversarial])
        self._rows = [self._rows[0] + len(right) - len(task.rows), self._rows[1] + len(task.rows)]
        self._steps += 1

    def first_bad(self) -> int | None:
        """The first step, counted from 1, whose loss was not finite; waits for the device."""
        finite = int(self._processes.least(self._finite))
        return None if finite == self._steps else self._first + finite + 1

    def read(self) -> dict[str, float]:
        """Means since the last look, for a row of the history; waits for the device.

        - ``loss``; ``train_accuracy`` over all rows, each as the model was trained on it.
        - ``training_clean`` over the rows that are not adversarial, ``training_robust_running`` over those that are;
          left out where there are none.
        - ``images_per_second``, the time for looks not counted.
        """
        total = self._processes.total
        loss = float(total(self._loss)) / (self._steps * self._processes.count)
        clean, robust = total(self._right).tolist()
        others, adversarial = total(torch.tensor(self._rows, device=self._loss.device)).tolist()
        row = {"loss": loss, "train_accuracy": (clean + robust) / (others + adversarial)}
        if others:
            row["training_clean"] = clean / others
        if adversarial:
            row["training_robust_running"] = robust / adversarial
        seconds = max(time.monotonic() - self._began, 1e-9)
        return row | {"images_per_second": round((others + adversarial) / seconds, 1)}


def summary(row: Mapping[str, Any], score: str = "") -> str:
    """What a row of the history has, in a line for the progress bar; ``score`` names what chooses the weights."""
    clean, robust = (row.get(name) for name in ("training_clean", "training_robust_running"))
    clean = row.get("training_clean_batch", clean)
    training = [] if clean is None else [f"{clean:.1%}"]
    training += [] if robust is None else [f"robust {robust:.1%}"]
    validation = [f"{score.replace('_', ' ')} {row[score]:.1%}"] if score else []
    collapse = ["catastrophic overfitting"] if "collapsed" in row else []
    parts = [f"loss {row['loss']:.3f}", " ".join(["training", *training]), *validation]
    return "  ".join([*parts, f"{row['images_per_second']:.0f} images/s", *collapse])
