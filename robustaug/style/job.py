"""The batch job: a folder or a list of images in, stylised variants and their manifest out, resumable at any point.

Images are read ahead and written behind in threads, so that the transfer waits for neither.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from robustaug.data.content import Item, items_of
from robustaug.data.imageset import Skipped
from robustaug.data.jobs import JobFolder
from robustaug.data.threads import WriteBehind
from robustaug.errors import RobustAugError
from robustaug.progress import progress_bar
from robustaug.style.bank import StyleBank
from robustaug.style.gatys import Gatys
from robustaug.style.method import StyleTransfer
from robustaug.style.plan import JobSettings, Plan
from robustaug.style.ray_engine import check_ray, run_on_ray
from robustaug.style.sheet import SHEET, write_sheet
from robustaug.style.worker import LabelCheck, Made, Worker

__all__ = ["Item", "JobResult", "JobSettings", "LabelCheck", "items_of", "stylize"]

Engine = Literal["local", "ray"]

_BEHIND = 128  # images waiting to be written


@dataclass(frozen=True)
class JobResult:
    """Variants written now, found done from before, dropped now for their label; images that could not be used."""

    written: int
    already_done: int
    skipped: tuple[Skipped, ...]
    dropped: int = 0


def stylize(
    items: Sequence[Item],
    out_dir: Path,
    bank: StyleBank,
    style: StyleTransfer | None = None,
    settings: JobSettings | None = None,
    *,
    shard: tuple[int, int] = (0, 1),
    check: LabelCheck | None = None,
    overwrite: bool = False,
    engine: Engine = "local",
) -> JobResult:
    """Make stylised variants of every item, each with other paintings of the bank.

    Files already there from the same job are kept. An item that cannot be loaded, or has an unusable size, is skipped
    and listed. Several shards may work on one folder at once; the last to finish writes ``manifest.jsonl`` and
    ``contact_sheet.png``. The files are the same whatever the shards, the engine and the interruptions, but for the
    ``seconds`` in the manifest.

    Args:
        items: the content, in any order.
        out_dir: a new or empty folder, or one that holds an unfinished or finished run of this same job.
        bank: which paintings to choose from; the choice depends on (seed, key, bank).
        style: the transfer; None takes the defaults of Gatys.
        settings: what to make; None takes one variant an image, at the method's strength and the images' own sizes.
        shard: (index, count), index from 0: this call does every ``count``-th item only.
        check: drop variants that no longer show what their label says; ``dropped.jsonl`` names them.
        overwrite: where the folder holds another job, delete that one's files first, and no others.
        engine: ``"local"`` or ``"ray"`` (extra ``ray``).

    Raises:
        RobustAugError: bad arguments, a folder of another job or with foreign files, or one that cannot be written to.
    """
    if not 0 <= shard[0] < shard[1]:
        raise RobustAugError(
            f"shard {shard[0] + 1} of {shard[1]} does not exist; take 1/{shard[1]} to {shard[1]}/{shard[1]}"
        )
    plan = Plan(items, bank, settings or JobSettings())
    worker = Worker(plan, style or Gatys(), check)
    if engine == "ray":
        check_ray()
    run = worker.run if engine == "local" else partial(run_on_ray, worker)
    folder = JobFolder(Path(out_dir), worker.describe(), shard, closing=[SHEET], overwrite=overwrite)
    positions = range(shard[0], len(plan.items), shard[1])
    written, dropped, done, skipped = 0, 0, 0, list[Skipped]()
    per_image = plan.settings.per_image
    with (
        progress_bar("Stylising", total=len(positions) * per_image) as advance,
        closing(run(positions, folder.has)) as steps,  # whatever happens, nothing is read ahead any more
        WriteBehind(_BEHIND) as writing,
    ):

        def store(made: Made) -> None:
            if made.image is None:
                folder.drop(made.row)
            else:
                folder.write(made.row, made.image)
            advance()

        for step in steps:
            if isinstance(step, Made):
                writing.call(store, step)
                written, dropped = written + (step.image is not None), dropped + (step.image is None)
            elif step.error:
                skipped.append(Skipped(plan.items[step.position].key, step.error))
                for path in plan.paths(step.position):
                    folder.remove(path)
                advance(per_image)
            elif step.done:
                done += step.done
                advance(step.done)
    if folder.finish() and not (folder.path / SHEET).exists():
        write_sheet(folder, plan)
    return JobResult(written, done, tuple(skipped), dropped)
