"""The job behind ``robustaug ablate``: every cell a run folder, then the tables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from robustaug.data import DataSplits, Skipped, load_data
from robustaug.data.attributes import read_attributes
from robustaug.data.splits import first_share
from robustaug.errors import RobustAugError
from robustaug.evaluation.results import load_evaluation
from robustaug.experiment.ablation.page import build_page
from robustaug.experiment.ablation.results import Measured, ablation_content
from robustaug.experiment.ablation.tables import ablation_markdown
from robustaug.experiment.ablation.techniques import Cell, arm_to_ablate, cells_of, techniques_of
from robustaug.experiment.arms import finished
from robustaug.experiment.config import ExperimentConfig
from robustaug.experiment.pipeline import run_experiment
from robustaug.experiment.run_folder import open_run
from robustaug.files import output_folder, read_json, refuse_inside, write_json, write_text
from robustaug.training.distributed import refuse_several

FRACTIONS = (0.1, 0.25, 0.5, 1.0)
_OWN = re.compile(r"seed-\d+|figures|ablation\.(json|md|html)|\.tmp-.*")


@dataclass(frozen=True)
class AblationOutcome:
    """What an ablation found, where its page is, and which input files could not be used."""

    content: dict[str, Any]
    page: Path
    skipped: tuple[Skipped, ...]


def run_ablation(
    config: ExperimentConfig,
    out: Path,
    *,
    arm: str | None = None,
    seeds: int = 3,
    fractions: Sequence[float] = FRACTIONS,
    console: Console,
) -> AblationOutcome:
    """Train and measure every cell under every seed, and write ``ablation.json``, ``.md``, ``.html`` and ``figures/``.

    Each cell is a run folder, ``OUT/seed-S/CELL``; the stylised variants of a seed lie in ``OUT/seed-S/variants`` for
    all. A call that was killed goes on with the same arguments; a cell that is done is not done again, and more seeds
    or fractions add cells.

    Args:
        config: What is ablated; its seed is the first one, the others follow it.
        out: A folder: absent, empty, or of this ablation.
        arm: Which arm; None is the one with the most techniques.
        seeds: How many.
        fractions: Shares of the training originals for the curve; 1 is always among them.
        console: Where progress lines go.

    Raises:
        RobustAugError: anything the user can mend; what is done is kept.
    """
    refuse_several("an ablation")
    if seeds < 1:
        raise RobustAugError(f"{seeds} seeds measure nothing; take at least 1, and 3 to see the luck of the seed")
    chosen = arm_to_ablate(config, arm)
    cells = cells_of(config, chosen, fractions)
    refuse_inside(out, Path(config.data.source))
    _check_folder(out)
    measured: list[Measured] = []
    skipped: tuple[Skipped, ...] = ()
    for number in range(seeds):
        seed = config.seed + number
        data = load_data(**config.data.arguments(), seed=seed)
        skipped = data.skipped
        _check_batches(data, cells, config.training.batch_size, seed)
        for place, cell in enumerate(cells, 1):
            console.print(f"Cell {number * len(cells) + place} of {seeds * len(cells)}: seed {seed}, {cell.name}")
            measured.append(_measured(cell, seed, out, data, console))
    path = out / "ablation.json"
    content = ablation_content(
        config, chosen, techniques_of(config, chosen), cells, measured,
        created=read_json(path).get("created") if path.exists() else None,
    )  # fmt: skip
    write_text(out / "ablation.md", ablation_markdown(content))
    page = build_page(content, out)
    write_json(path, content)
    return AblationOutcome(content, page, skipped)


def _measured(cell: Cell, seed: int, out: Path, data: DataSplits, console: Console) -> Measured:
    """A cell's results under a seed; what is not there yet is trained and measured."""
    config = cell.config.model_copy(update={"seed": seed})
    (arm,) = config.arms
    folder, variants = out / f"seed-{seed}" / cell.name, out / f"seed-{seed}" / "variants"
    if (folder / "report.json").exists() and (folder / "arms" / arm / "model.safetensors").exists():
        file = config.data.attributes
        attributes = None if file is None else read_attributes(Path(file)).sha256
        run = open_run(folder, config, resume=True, console=console, variants=variants)
        run.claim(config, data.fingerprint, attributes)
        finished(run, config, arm)
    else:
        run_experiment(config, folder, resume=True, console=console, variants=variants)
    return Measured(
        cell=cell.name,
        seed=seed,
        report=read_json(folder / "report.json"),
        evaluation=load_evaluation(folder / "arms" / arm / "evaluation.safetensors"),
        test=data.test,
        protocol=config.evaluation,
        restyled=variants / "test",
    )


def _check_batches(data: DataSplits, cells: Sequence[Cell], batch_size: int, seed: int) -> None:
    """Refuse a share of the originals that is smaller than a batch, before anything is trained."""
    share = min(cell.share for cell in cells)
    left = len(first_share(data.train, share, seed))
    if left < batch_size:
        raise RobustAugError(
            f"a fraction of {share:g} leaves {left} training images, fewer than the {batch_size} of a batch; "
            f"take larger fractions, or set training.batch_size to {left} or less"
        )


def _check_folder(out: Path) -> None:
    """Refuse a folder that holds something else."""
    if out.exists() and not out.is_dir():
        raise RobustAugError(f"{out} is a file; choose a folder with --out")
    if strangers := [path.name for path in sorted(out.glob("*")) if not _OWN.fullmatch(path.name)]:
        raise RobustAugError(f"{out} holds {strangers[0]}, which no ablation made; choose another folder with --out")
    output_folder(out)
