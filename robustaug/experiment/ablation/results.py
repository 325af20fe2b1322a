"""What an ablation found: every cell's accuracies over seeds, and its differences on the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from torch import Tensor

import robustaug
from robustaug.data import ImageSet
from robustaug.data.jobs import MANIFEST
from robustaug.errors import RobustAugError
from robustaug.evaluation.harness import stratified_choice
from robustaug.evaluation.protocol import Protocol
from robustaug.evaluation.results import ArmEvaluation
from robustaug.evaluation.seeds import SeedVerdicts, difference_over_seeds
from robustaug.experiment.ablation.techniques import BARE, FULL, Cell, Technique
from robustaug.experiment.config import ExperimentConfig
from robustaug.files import read_jsonl, sha256
from robustaug.hardware import describe_hardware, describe_versions

SCHEMA_VERSION = 1
METRICS = ("clean", "pgd", "corruptions", "unseen_style")


@dataclass(frozen=True)
class Measured:
    """One cell under one seed.

    Attributes:
        cell: its name.
        seed: of the run.
        report: the run's ``report.json``.
        evaluation: of its only arm.
        test: the test split under this seed.
        protocol: how much was measured.
        restyled: folder of the restyled test images.
    """

    cell: str
    seed: int
    report: Mapping[str, Any]
    evaluation: ArmEvaluation
    test: ImageSet
    protocol: Protocol
    restyled: Path

    def verdicts(self, metric: str) -> tuple[list[str], Tensor]:
        """Keys of the samples behind a metric, and each one's verdicts.

        Raises:
            RobustAugError: the samples are not those that were measured.
        """
        verdicts = self.evaluation.verdicts[metric]
        if metric == "unseen_style":
            rows = sorted(read_jsonl(self.restyled / MANIFEST), key=lambda row: row["path"])
            keys = [str(row["source"]) for row in rows]
        else:
            places = list(range(len(self.test)))
            if metric == "corruptions":
                places = stratified_choice(self.test.labels, self.protocol.corruption_samples, self.seed).tolist()
            elif metric != "clean":
                places = self.evaluation.attacked.tolist()
            keys = [self.test.keys[place] for place in places[: len(verdicts)]]
        if sha256("\n".join(keys).encode())[:16] != self.evaluation.samples[metric]:
            raise RobustAugError(
                f"cell {self.cell} of seed {self.seed} was measured on other images under {metric}; delete its folder"
            )
        return keys, verdicts


def ablation_content(
    config: ExperimentConfig,
    arm: str,
    techniques: Sequence[Technique],
    cells: Sequence[Cell],
    measured: Sequence[Measured],
    created: str | None = None,
) -> dict[str, Any]:
    """What ``ablation.json`` holds.

    Args:
        config: The full configuration.
        arm: Which arm was ablated.
        techniques: What it uses.
        cells: All cells.
        measured: Every cell under every seed.
        created: When the numbers were measured, ISO 8601; None is now.
    """
    by_cell = {cell.name: [each for each in measured if each.cell == cell.name] for cell in cells}
    first = measured[0].report
    bare = BARE if BARE in by_cell else f"without-{techniques[0].name}"
    return {
        "schema_version": SCHEMA_VERSION,
        "name": config.name,
        "created": created or datetime.now(UTC).isoformat(timespec="seconds"),
        "robustaug": robustaug.__version__,
        "arm": arm,
        "seeds": [each.seed for each in by_cell[FULL]],
        "data": {key: first["data"][key] for key in ("name", "classes", "image_size", "test", "validation")},
        "threat": first["threat"],
        "protocol": first["protocol"],
        "attacks": {"pgd": first["attacks"]["pgd"]},
        "steps": config.training.steps,
        "batch_size": config.training.batch_size,
        "techniques": [{"name": each.name, "off": dict(each.off)} for each in techniques],
        "full": FULL,
        "bare": bare,
        "cells": {
            cell.name: _entry(cell, by_cell[cell.name])
            | ({"differences": _differences(by_cell[FULL], by_cell[cell.name])} if cell.name != FULL else {})
            for cell in cells
        },
        "curve": _curve(cells, by_cell, bare),
        "chance": first["chance"],
        "versions": describe_versions(),
        "hardware": describe_hardware(),
        "seconds": round(sum(each.report["seconds"]["total"] for each in measured), 3),
        "config": config.model_dump(mode="json"),
    }


def _entry(cell: Cell, runs: Sequence[Measured]) -> dict[str, Any]:
    return {
        "share": cell.share,
        "without": list(cell.without),
        "train": [run.report["data"]["train"] for run in runs],
        "metrics": {
            metric: _over_seeds(runs, metric) for metric in METRICS if metric in runs[0].evaluation.metrics
        },
        "failed_checks": sorted(
            {check["name"] for run in runs for check in run.report["checks"] if not check["passed"]}
        ),
        "seconds": [run.report["seconds"]["total"] for run in runs],
    }  # fmt: skip


def _over_seeds(runs: Sequence[Measured], metric: str) -> dict[str, Any]:
    found = [run.evaluation.metrics[metric] for run in runs]
    values = [accuracy.value for accuracy in found]
    deviation = stdev(values) if len(values) > 1 else None
    return {
        "mean": fmean(values),
        "deviation": deviation,
        "n": found[0].n,
        "by_seed": [each.to_dict() for each in found],
    }


def _differences(before: Sequence[Measured], after: Sequence[Measured]) -> dict[str, Any]:
    """What ``after`` has more than ``before``, by metric."""
    return {
        metric: difference_over_seeds([_pair(a, b, metric) for a, b in zip(before, after, strict=True)]).to_dict()
        for metric in METRICS
        if metric in before[0].evaluation.metrics
    }


def _pair(before: Measured, after: Measured, metric: str) -> SeedVerdicts:
    keys, old = before.verdicts(metric)
    others, new = after.verdicts(metric)
    if keys != others:
        raise RobustAugError(
            f"{before.cell} and {after.cell} of seed {before.seed} were measured on different images under {metric}"
        )
    return SeedVerdicts(keys, old, new)


def _curve(cells: Sequence[Cell], by_cell: Mapping[str, Sequence[Measured]], bare: str) -> list[dict[str, Any]]:
    """By share of the originals: the two cells, and what the full configuration has more than the bare one."""
    curve = []
    for share in sorted({cell.share for cell in cells}):
        full, plain = (name if share == 1 else f"{kind}-at-{share:g}" for kind, name in ((FULL, FULL), (BARE, bare)))
        curve.append(
            {
                "share": share,
                "train": [run.report["data"]["train"] for run in by_cell[full]],
                "full": full,
                "bare": plain,
                "gained": _differences(by_cell[plain], by_cell[full]),
            }
        )
    return curve
