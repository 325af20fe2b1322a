"""The job behind ``robustaug compose``."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from robustaug.data.jobs import JobFolder
from robustaug.experiment.compose.card import CARD, README, data_card, readme
from robustaug.experiment.compose.layouts import (
    CLASSES,
    METADATA,
    Layout,
    load_webdataset,
    write_folder,
    write_imagefolder,
    write_shards,
)
from robustaug.experiment.compose.originals import PARTS
from robustaug.experiment.compose.plan import Composition, plan
from robustaug.files import write_text

ATTRIBUTES = "attributes.csv"

_WRITERS = {"folder": write_folder, "imagefolder": write_imagefolder, "webdataset": write_shards}


def compose(
    source: str,
    out: Path,
    variants: Sequence[Path],
    *,
    layout: Layout = "folder",
    labels: Path | None = None,
    root: Path | None = None,
    size: int | None = None,
    seed: int = 0,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    attributes: Path | None = None,
) -> Composition:
    """Make the larger data set of originals and accepted variants, with a manifest and a data card.

    Files of an image folder are copied byte for byte, images of a named set are written as PNG. Only the training part
    gets variants. A call that was killed and is made again goes on where it stopped and ends with the same files.

    Args:
        source: An image folder or a named set; parts that it lacks are cut as ``load_data`` cuts them.
        out: A new or empty folder, or one of this same job.
        variants: Folders that ``stylize``, ``augment`` or ``attack --out`` filled, and the review looked at.
        layout: How the files are laid out.
        labels: Of an image folder; see ``load_data``.
        root: Where named sets are kept.
        size: Side of a named set's images in px; see ``load_data``.
        seed: Chooses the samples of each part that the source lacks.
        validation_share: Of all images that are split.
        test_share: Of all images that are split.
        attributes: A table of attributes of the originals: the card counts each before and after, and the composed
            data set gets a table of its own, in which variants inherit their sources' values.

    Raises:
        RobustAugError: unusable data, folders that overlap, classes that differ only in case, variants of another data
            set or with a manifest that leads out of their folder, none that is left to add, a layout whose library is
            missing, an output folder that holds something else.
    """
    if layout == "webdataset":
        load_webdataset()  # before anything is read
    composition = plan(
        source, variants, out, labels=labels, root=root, size=size, seed=seed, validation_share=validation_share,
        test_share=test_share, attributes=attributes,
    )  # fmt: skip
    job = {
        "job": "compose",
        "layout": layout,
        "data": Path(source).name,
        "fingerprint": composition.fingerprint,
        **composition.cut,
        "variants": [origin.path.resolve().name for origin in composition.origins],
        "attributes": None if composition.attributes is None else composition.attributes.sha256,
        "content": composition.content,
    }
    closing = [CARD, README, CLASSES, ATTRIBUTES, *(f"{part}/{METADATA}" for part in PARTS)]
    folder = JobFolder(out, job, closing=closing)
    _WRITERS[layout](folder, composition)
    if composition.attributes is not None:
        write_text(out / ATTRIBUTES, _table(composition))
    card = data_card(composition, layout)
    if layout == "imagefolder":
        write_text(out / README, readme(composition, card))
    write_text(out / CARD, card)  # the last file: where it is, all is
    return composition


def _table(composition: Composition) -> str:
    """The attributes of all files, for ``[data] attributes`` of the composed data set."""
    assert composition.attributes is not None
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["path", *composition.attributes.names])
    for file in composition.files:
        lines.writerow([file.row["path"], *composition.attributes.values[file.row["source"]]])
    return text.getvalue()
