"""Three ways to lay out a composed data set: image folder, Hugging Face ``imagefolder``, WebDataset shards."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from robustaug.data.decode import parallel
from robustaug.data.jobs import MANIFEST, JobFolder
from robustaug.errors import RobustAugError
from robustaug.experiment.compose.originals import PARTS, File
from robustaug.experiment.compose.plan import Composition
from robustaug.files import write_json, write_jsonl, writing
from robustaug.progress import progress_bar
from robustaug.randomness import derive_seed

Layout = Literal["folder", "webdataset", "imagefolder"]
LAYOUTS: tuple[Layout, ...] = ("folder", "webdataset", "imagefolder")

PER_SHARD = 1000  # images
CLASSES = "classes.json"
METADATA = "metadata.jsonl"

_COLUMNS = ("label", "kind", "source", "source_sha256", "sha256", "variants", "variant_path", "decision")


def write_folder(folder: JobFolder, composition: Composition) -> None:
    """PART/CLASS/NAME as ``[data] source`` takes it, and the manifest; files that are there stay."""

    def put(file: File) -> None:
        if not folder.has(file.row["path"], file.row["source_sha256"]):
            folder.write(file.row, file.content())

    for _ in parallel(put, composition.files, "Copying images"):
        pass
    folder.finish()


def write_imagefolder(folder: JobFolder, composition: Composition) -> None:
    """The same with PART/metadata.jsonl, as ``datasets.load_dataset`` takes it.

    Its columns are the same in every line: what differs by kind is the text ``parameters``, in JSON.
    """
    write_folder(folder, composition)
    for part in PARTS:
        rows = (file.row for file in composition.files if file.row["part"] == part)
        write_jsonl(folder.path / part / METADATA, map(_metadata, rows))


def write_shards(folder: JobFolder, composition: Composition) -> None:
    """PART-000000.tar, ..., of at most 1,000 images in a random order, with the library webdataset; and the manifest.

    A sample is the file's own bytes under its suffix, ``cls`` (index of the class in classes.json) and ``json`` (its
    line of the manifest). Shards are written whole, so those that are there stay.
    """
    tar_writer = load_webdataset()
    for left_by_a_kill in folder.path.glob(".tmp-*"):
        left_by_a_kill.unlink()
    rows: list[dict[str, Any]] = []
    index_of = {name: index for index, name in enumerate(composition.classes)}
    with progress_bar("Writing shards", total=len(composition.files)) as advance:
        for name, samples in _shards(composition.files):
            rows += ({**file.row, "shard": name, "key": key} for key, file in samples)
            path = folder.path / name
            if not path.exists():
                with (
                    writing(path) as temporary,
                    temporary.open("wb") as stream,
                    # Without a user's name and the time: the same images give the same bytes.
                    tar_writer(stream, encoder=False, mtime=0.0, user="", group="") as shard,
                ):
                    for key, file in samples:
                        shard.write(_sample(key, file, index_of))
            advance(len(samples))
    write_json(folder.path / CLASSES, list(composition.classes))
    write_jsonl(folder.path / MANIFEST, sorted(rows, key=lambda row: str(row["path"])))


def shard_ranges(composition: Composition) -> dict[str, str]:
    """Part to its shards, as the library takes them: ``train-{000000..000012}.tar``."""
    last: dict[str, int] = {}
    for part in PARTS:
        count = sum(file.row["part"] == part for file in composition.files)
        last[part] = (count - 1) // PER_SHARD
    return {part: f"{part}-{{000000..{number:06d}}}.tar" for part, number in last.items()}


def load_webdataset() -> Callable[..., Any]:
    """The library's writer of shards.

    Raises:
        RobustAugError: it is not installed.
    """
    try:
        from webdataset import TarWriter  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise RobustAugError(
            'the layout webdataset needs the package webdataset; install it: pip install "robustaug[webdataset]"'
        ) from error
    writer: Callable[..., Any] = TarWriter
    return writer


def _shards(files: Sequence[File]) -> Iterator[tuple[str, list[tuple[str, File]]]]:
    """Each shard's name, and its files with their keys."""
    for part in PARTS:
        chosen = [file for file in files if file.row["part"] == part]
        # Shards are read from front to back: in the order of paths a whole class would come at once.
        chosen.sort(key=lambda file: (derive_seed(file.row["path"], "shard"), file.row["path"]))
        keyed = [(f"{part}-{number:08d}", file) for number, file in enumerate(chosen)]
        for begin in range(0, len(keyed), PER_SHARD):
            yield f"{part}-{begin // PER_SHARD:06d}.tar", keyed[begin : begin + PER_SHARD]


def _sample(key: str, file: File, index_of: Mapping[str, int]) -> dict[str, str | bytes]:
    return {
        "__key__": key,
        file.row["path"].rpartition(".")[2].lower(): file.content(),
        "cls": str(index_of[file.row["label"]]).encode(),
        "json": json.dumps(file.row, ensure_ascii=False).encode(),
    }


def _metadata(row: dict[str, Any]) -> dict[str, str]:
    known = {"file_name": row["path"].partition("/")[2], **{name: str(row.get(name) or "") for name in _COLUMNS}}
    others = {name: value for name, value in row.items() if name not in ("path", "part", *_COLUMNS)}
    return {**known, "parameters": json.dumps(others, ensure_ascii=False)}
