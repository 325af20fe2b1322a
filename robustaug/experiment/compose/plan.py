"""Everything that a composed data set will hold, decided before a file is written."""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robustaug.data import Skipped, load_data
from robustaug.data.attributes import Attributes, read_attributes
from robustaug.data.named import NAMED_SETS
from robustaug.errors import RobustAugError
from robustaug.experiment.compose.originals import File, class_folders, original_files
from robustaug.experiment.compose.variants import Origin, Originals, first_number, variant_files
from robustaug.files import sha256


@dataclass(frozen=True)
class Composition:
    """A composed data set.

    Attributes:
        source: the image folder or named set of the originals, as the user named it.
        fingerprint: of the originals.
        classes: the classes in their order, as their folders are called.
        files: all files in the order of their paths.
        origins: the folders of variants.
        skipped: files that could not be used.
        labels: the user's table of labels.
        attributes: what the user's table says of the originals.
        cut: seed and shares of the parts that were cut here.
        twins: how many training images equal a validation or test image.
    """

    source: str
    fingerprint: str
    classes: tuple[str, ...]
    files: tuple[File, ...]
    origins: tuple[Origin, ...]
    skipped: tuple[Skipped, ...]
    labels: Path | None
    attributes: Attributes | None
    cut: dict[str, float]
    twins: int

    @property
    def content(self) -> str:
        """A hash of all lines of the manifest."""
        return sha256("\n".join(json.dumps(file.row, sort_keys=True) for file in self.files).encode())

    def count(self, *, before: bool = False) -> Counter[tuple[str, str]]:
        """Images by part and class; ``before`` those of the originals alone."""
        rows = (file.row for file in self.files)
        return Counter((row["part"], row["label"]) for row in rows if not before or row["kind"] == "original")


def plan(
    source: str,
    variants: Sequence[Path],
    out: Path,
    *,
    labels: Path | None = None,
    root: Path | None = None,
    size: int | None = None,
    seed: int = 0,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    attributes: Path | None = None,
) -> Composition:
    """Read the originals and all variants, and decide what goes where; see :func:`compose` for the arguments.

    Raises:
        RobustAugError: as ``compose``.
    """
    _refuse_overlap(source, variants, out)
    if size is not None and source not in NAMED_SETS:
        raise RobustAugError(f"the files of {source} are copied as they are; --size is for named sets, leave it out")
    table = None if attributes is None else read_attributes(attributes)
    data = load_data(
        source, labels=labels, root=root, size=size, seed=seed, validation_share=validation_share, test_share=test_share
    )
    folders = class_folders(data.class_names)
    if table is not None:
        table.check([key for images in (data.train, data.validation, data.test) for key in images.keys])
    files = original_files(source, data, folders)
    origins, skipped = list[Origin](), [*data.skipped]
    originals = Originals(data, folders)
    numbers = itertools.count(first_number([file.row["path"] for file in files]))
    for folder, number in zip(variants, numbers, strict=False):
        origin, added, unusable = variant_files(folder, number, originals)
        origins.append(origin)
        files += added
        skipped += unusable
    if not any(origin.added for origin in origins):
        raise RobustAugError(_nothing_left(origins))
    files.sort(key=lambda file: str(file.row["path"]))
    for first, second in itertools.pairwise(files):
        if first.row["path"] == second.row["path"]:
            what = (
                first.row.get("variant_path") or first.row["source"],
                second.row.get("variant_path") or second.row["source"],
            )
            raise RobustAugError(f"{what[0]} and {what[1]} would both become {first.row['path']}; rename one of them")
    _check_names(files)
    return Composition(
        source,
        data.fingerprint,
        tuple(folders.values()),
        tuple(files),
        tuple(origins),
        tuple(skipped),
        labels,
        table,
        {"seed": seed, "validation_share": validation_share, "test_share": test_share},
        len(originals.twins),
    )


def _refuse_overlap(source: str, variants: Sequence[Path], out: Path) -> None:
    named = [("output folder", out), *(("folder of variants", folder) for folder in variants)]
    if source not in NAMED_SETS:
        named.append(("image folder", Path(source).expanduser()))
    for (what, path), (other_what, other) in itertools.combinations(named, 2):
        one, two = path.resolve(), other.resolve()
        if one.is_relative_to(two) or two.is_relative_to(one):
            how = "are one" if one == two else "lie inside each other"
            raise RobustAugError(
                f"the {what} {path} and the {other_what} {other} {how}; name folders that lie side by side"
            )


def _nothing_left(origins: Sequence[Origin]) -> str:
    reasons = sum((Counter(origin.left_out) for origin in origins), Counter[str]())
    told = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common())
    where = ", ".join(str(origin.path) for origin in origins)
    hint = (
        ""
        if "rejected in the review" in reasons
        else ", or give the --seed that the variants' training part was cut with"
    )
    return f"no variant of {where} is left to add ({told}); make others{hint}"


def _check_names(files: Sequence[File]) -> None:
    for file in files:
        try:
            file.row["path"].encode()
        except UnicodeEncodeError as error:
            shown = file.row["path"].encode(errors="backslashreplace").decode()
            raise RobustAugError(f"the name of {shown} is not valid UTF-8; rename it") from error
