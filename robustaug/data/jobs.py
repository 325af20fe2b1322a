"""A folder that one job fills with images and a manifest: resumable, and never two jobs in one.

``job.json`` says whose folder it is. The lines of images are gathered in a growing manifest; when all are there the
manifest, sorted by path, takes its place. So a job that was killed and called again ends with the same tree as one that
was not.
"""

import errno
import heapq
import itertools
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from torch import Tensor

from robustaug.data.images import SUFFIXES, encode_png
from robustaug.data.names import above_class
from robustaug.data.rows import Row, RowsOnDisk, read_rows
from robustaug.errors import RobustAugError
from robustaug.files import output_folder, read_json, sha256, write_json, write_jsonl, writing

JOB, MANIFEST, DROPPED = "job.json", "manifest.jsonl", "dropped.jsonl"
LONGEST_NAME = 255  # bytes: what file systems take
_LIST = re.compile(r"(manifest|dropped)(-\d+-of-\d+)?(\.part)?\.jsonl")


class JobFolder:
    """The output folder of a job, or of one shard of it; threads may share it.

    Args:
        path: New or empty, or of this same job.
        job: Everything that the job's files depend on, JSON values.
        shard: (index, count), index from 0. Several shards may fill one folder at once; the last to finish joins their
            manifests.
        closing: Names of files that the caller makes at the end out of all others; they go when anything changes.
        overwrite: Where another job was here before, delete its files: what its manifests name, and nothing else. None:
            the caller does not offer that.

    Raises:
        RobustAugError: the folder holds other files or another job, cannot be written to, or is in use by another
            process.
    """

    def __init__(
        self,
        path: Path,
        job: Row,
        shard: tuple[int, int] = (0, 1),
        *,
        closing: Sequence[str] = (),
        overwrite: bool | None = None,
    ) -> None:
        self.path, self.shard, self._closing = path, shard, closing
        self._part = self._list("manifest", shard, ".part")
        self._began = time.time()
        self._lock = threading.Lock()
        self._kept: set[str] = set()
        self._has_changed = False
        self._claim(json.loads(json.dumps(job)), overwrite)  # as it reads back: tuples are lists
        self._held = _hold(path / JOB, shard)
        self._rows = RowsOnDisk(self._lists())

    def resume(self, sources: Mapping[str, str]) -> set[str]:
        """The paths of those that :meth:`has` finds; ``sources`` maps each path to the SHA-256 of its source."""
        return {path for path, digest in sources.items() if self.has(path, digest)}

    def has(self, path: str, source_sha256: str) -> bool:
        """Whether a file is there, or was dropped, with a manifest row and from the same source; it then stays."""
        with self._lock:
            row = self._rows.get(path)
            if row is None or row.get("source_sha256") != source_sha256:
                return False
            if row.get("kind") != "dropped" and not (self.path / path).is_file():
                return False
            self._kept.add(path)
            return True

    def add(self, row: Row) -> None:
        """Name a file at ``row["path"]``, or one of kind ``dropped`` that does not exist, in the manifest."""
        with self._lock:
            self._change()
            self._rows.append(self._part, row)
            self._kept.add(row["path"])

    def write(self, row: Row, image: Tensor | bytes) -> None:
        """Write an image, or the bytes of an image file, to ``row["path"]``.

        Its line comes first, so that no file is ever without one; a line without its file counts as nothing.
        """
        self.remove(row["path"])  # else it would stand beside the line of another source for a moment
        self.add(row)
        with writing(self.path / row["path"]) as temporary:
            temporary.write_bytes(image if isinstance(image, bytes) else encode_png(image))

    def drop(self, row: Row) -> None:
        """Say in ``dropped.jsonl`` why there is no file at ``row["path"]``."""
        self.remove(row["path"])
        self.add({**row, "kind": "dropped"})

    def remove(self, path: str) -> None:
        """Take away what an earlier call left at a path, if anything."""
        with self._lock:
            if path in self._rows:
                self._change()
                _delete(self.path / path)

    def finish(self) -> bool:
        """Put the sorted manifest in place of the growing one; says whether the job is done in all its shards."""
        manifest, dropped = self._list("manifest", self.shard), self._list("dropped", self.shard)
        is_same = manifest.exists() and self._rows.count(manifest) + self._rows.count(dropped) == len(self._kept)
        if self._has_changed or self._part.exists() or not is_same:
            self._change()
            for path in (dropped, manifest):  # the manifest last: it says that all is there
                _put(path, (self._rows[name] for name in sorted(self._kept)))
            _delete(self._part)
        shards = [(index, self.shard[1]) for index in range(self.shard[1])]
        if not all(self._list("manifest", shard).exists() for shard in shards):
            return False
        if len(shards) > 1 and (self._has_changed or not (self.path / MANIFEST).exists()):
            for kind, joined in (("dropped", DROPPED), ("manifest", MANIFEST)):
                lists = [read_rows(self._list(kind, shard)) for shard in shards]
                _put(self.path / joined, heapq.merge(*lists, key=lambda row: str(row["path"])))
        for left_by_a_kill in self.path.rglob(".tmp-*"):
            if _is_older(left_by_a_kill, self._began):  # than this run: another shard may be writing
                _delete(left_by_a_kill)
        return True

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the finished manifest, in the order of their paths."""
        return read_rows(self.path / MANIFEST)

    def _change(self) -> None:
        if not self._has_changed:
            self._has_changed = True
            for name in self._closing:
                _delete(self.path / name)

    def _claim(self, job: dict[str, Any], overwrite: bool | None) -> None:
        output_folder(self.path)
        description = self.path / JOB
        if not description.exists():
            if any(not entry.name.startswith(".tmp-") for entry in self.path.iterdir()):
                raise RobustAugError(f"{self.path} holds other files and no {JOB}; choose a new or empty output folder")
            write_json(description, job)
            return
        found = read_json(description)
        if found == job:
            return
        if overwrite and isinstance(found, dict) and "content" in found:  # else it is no job of this program
            self._clear()
            write_json(description, job)
            return
        names = [name for name in job if not isinstance(found, dict) or found.get(name) != job[name]]
        raise RobustAugError(
            f"{self.path} holds another job (its {', '.join(names) or 'parameters'} differ); choose another output "
            f"folder, or delete this one{'' if overwrite is None else ' with --overwrite'}"
        )

    def _clear(self) -> None:
        """Delete the files of the job that was here, its lists last, so that a kill leaves none without a line."""
        lists, folders, inside = self._lists(), set[Path](), self.path.resolve()
        for row in (row for path in lists for row in read_rows(path)):
            path = self.path / str(row.get("path"))
            if path.is_file() and path.resolve().is_relative_to(inside):
                _delete(path)
                folders.update(folder for folder in path.parents if self.path in folder.parents)
        for folder in sorted(folders, reverse=True):  # the inner ones first
            with suppress(OSError):  # it holds other files
                folder.rmdir()
        for path in (*(self.path / name for name in self._closing), *lists):
            _delete(path)

    def _lists(self) -> list[Path]:
        """All manifests, finished and growing ones: the newest rows last."""
        found = [path for path in self.path.iterdir() if _LIST.fullmatch(path.name)]
        return sorted(found, key=lambda path: (".part." in path.name, "-of-" in path.name, path.name))

    def _list(self, kind: str, shard: tuple[int, int], suffix: str = "") -> Path:
        index, count = shard
        return self.path / f"{kind}{'' if count == 1 else f'-{index + 1}-of-{count}'}{suffix}.jsonl"


def _hold(description: Path, shard: tuple[int, int]) -> BinaryIO:
    """Keep other processes from the same shard for as long as the file is open: two would mix up their manifests.

    One byte of the file stands for each shard, the whole file for a job without shards.
    """
    file = description.open("r+b")
    with suppress(ImportError):  # fcntl is not everywhere
        import fcntl  # noqa: PLC0415

        index, count = shard
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 0 if count == 1 else 1, index)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise RobustAugError(
                    f"another process is at work in {description.parent}; wait for it or stop it first"
                ) from error
            # any other error: a file system without locks
    return file


def _put(path: Path, rows: Iterable[Row]) -> None:
    """Write a manifest, or the list of the dropped, which is there only if it has a line."""
    is_of_dropped = path.name.startswith("dropped")
    chosen = (row for row in rows if (row.get("kind") == "dropped") == is_of_dropped)
    first = next(chosen, None)
    if first is None and is_of_dropped:
        _delete(path)
    else:
        write_jsonl(path, () if first is None else itertools.chain((first,), chosen))


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RobustAugError(f"cannot delete {path}: {error.strerror or error}; choose another folder") from error


def _is_older(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_mtime < moment
    except OSError:
        return False  # gone meanwhile


def output_stems(keys: Sequence[str], labels: Iterable[str]) -> list[PurePosixPath]:
    """Where each source's variants go, without a suffix: its folders and name, below its class.

    A source that is not in its class's folder goes into one of that name. A source whose stem another one shares (a.jpg
    beside a.png) keeps its whole name, and all its folders where that is not enough.

    Args:
        keys: Of the sources, for example ``shirt/001.jpg`` or ``mnist5k/00012``.
        labels: Class name of each; "" for none.

    Raises:
        RobustAugError: two sources would still share one.
    """
    stems, everything = [], []
    for key, label in zip(keys, labels, strict=True):
        path = PurePosixPath(key)
        is_there = label == "" or above_class(key, label) > 0
        stems.append(
            (path.parent if is_there else PurePosixPath(label))
            / (path.stem if path.suffix.lower() in SUFFIXES else path.name)
        )
        everything.append(path if is_there else PurePosixPath(label) / path)
    whole = [stem.with_name(PurePosixPath(key).name) for stem, key in zip(stems, keys, strict=True)]
    # a.jpg, a.png: their whole names; and a.jpg.png then needs its own as well; one/a.jpg and two/a.jpg their folders.
    for longer in (whole, whole, everything):
        taken = Counter(stems)
        stems = [stem if taken[stem] == 1 else name for stem, name in zip(stems, longer, strict=True)]
    for stem, uses in Counter(stems).items():
        if uses > 1:
            raise RobustAugError(f"two images would both become {stem}; rename one of them")
    return stems


def fitting_name(name: str, longest: int) -> str:
    """A name of at most so many bytes: as it is, or its beginning and a mark of the whole."""
    if len(name.encode()) <= longest:
        return name
    return name.encode()[: longest - 9].decode(errors="ignore") + "~" + sha256(name.encode())[:8]
