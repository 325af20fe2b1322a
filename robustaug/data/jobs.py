"""A folder that one job fills with images and a manifest: resumable, and never two jobs in one.

``job.json`` says whose folder it is. Each image is written first and then named in a growing manifest; when all are
there the manifest, sorted by path, takes its place. So a job that was killed and called again ends with the same tree
as one that was not.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from robustaug.data.images import SUFFIXES
from robustaug.errors import RobustAugError
from robustaug.files import append_jsonl, output_folder, read_json, read_jsonl, write_json, write_jsonl

JOB, MANIFEST = "job.json", "manifest.jsonl"


class JobFolder:
    """The output folder of a job, or of one shard of it.

    Args:
        path: New or empty, or of this same job.
        job: Everything that the job's files depend on, JSON values.
        shard: (index, count), index from 0. Several shards may fill one folder at once; the last to finish joins their
            manifests.

    Raises:
        RobustAugError: the folder holds other files or another job, or cannot be written to.
    """

    def __init__(self, path: Path, job: Mapping[str, Any], shard: tuple[int, int] = (0, 1)) -> None:
        self.path, self.shard = path, shard
        self._final, self._part = path / f"{self._name(*shard)}.jsonl", path / f"{self._name(*shard)}.part.jsonl"
        self._rows: dict[str, dict[str, Any]] = {}
        self._complete = False  # whether the job was done before it began
        self._claim(json.loads(json.dumps(job)))  # as it reads back: tuples are lists

    def resume(self, sources: Mapping[str, str]) -> set[str]:
        """Find what is done.

        Args:
            sources: Path of each image that this shard makes, to the SHA-256 of its source.

        Returns:
            The paths that are there, with a manifest row and from the same source.
        """
        found = {row.get("path"): row for path in sorted(self.path.glob("manifest*.jsonl")) for row in read_jsonl(path)}
        for path, digest in sources.items():
            row = found.get(path)
            if row and row.get("source_sha256") == digest and (self.path / path).is_file():
                self._rows[path] = row
        self._complete = len(self._rows) == len(sources) and self._final.exists()
        if not self._complete:
            write_jsonl(self._part, self._rows.values())  # a torn last line goes, so that lines can be appended
        return set(self._rows)

    def add(self, row: dict[str, Any]) -> None:
        """Name a file, already written at ``row["path"]``, in the manifest."""
        append_jsonl(self._part, row)
        self._rows[row["path"]] = row

    def finish(self) -> list[dict[str, Any]]:
        """Put the sorted manifest in place of the growing one; returns this shard's rows."""
        rows = [self._rows[path] for path in sorted(self._rows)]
        if self._complete:
            return rows
        write_jsonl(self._final, rows)
        self._part.unlink(missing_ok=True)
        count = self.shard[1]
        shards = [self.path / f"{self._name(index, count)}.jsonl" for index in range(count)]
        if count > 1 and all(path.exists() for path in shards):
            joined = {row["path"]: row for path in shards for row in read_jsonl(path)}
            write_jsonl(self.path / MANIFEST, [joined[path] for path in sorted(joined)])
        if (self.path / MANIFEST).exists():
            for left_by_a_kill in self.path.rglob(".tmp-*"):
                left_by_a_kill.unlink(missing_ok=True)
        return rows

    def _claim(self, job: dict[str, Any]) -> None:
        output_folder(self.path)
        description = self.path / JOB
        if not description.exists():
            if any(not entry.name.startswith(".tmp-") for entry in self.path.iterdir()):
                raise RobustAugError(f"{self.path} holds other files and no {JOB}; choose a new or empty output folder")
            write_json(description, job)
            return
        found = read_json(description)
        if found != job:
            names = [name for name in job if not isinstance(found, dict) or found.get(name) != job[name]]
            raise RobustAugError(
                f"{self.path} holds another job (its {', '.join(names) or 'parameters'} differ); "
                "choose another output folder, or delete this one"
            )

    @staticmethod
    def _name(index: int, count: int) -> str:
        return "manifest" if count == 1 else f"manifest-{index + 1}-of-{count}"


def output_stems(keys: Sequence[str], labels: Iterable[str]) -> list[PurePosixPath]:
    """Where each source's variants go, without a suffix: its folders and name, below its class.

    A source whose stem another one shares (a.jpg beside a.png) keeps its whole name.

    Args:
        keys: Of the sources, for example ``shirt/001.jpg`` or ``mnist5k/00012``.
        labels: Class name of each; "" for none.

    Raises:
        RobustAugError: two sources would still share one.
    """
    stems = []
    for key, label in zip(keys, labels, strict=True):
        path = PurePosixPath(key)
        folder = path.parent if label in ("", *path.parent.parts) else PurePosixPath(label)
        stems.append(folder / (path.stem if path.suffix.lower() in SUFFIXES else path.name))
    taken = Counter(stems)
    unique = [
        stem if taken[stem] == 1 else stem.with_name(PurePosixPath(key).name)
        for stem, key in zip(stems, keys, strict=True)
    ]
    for stem, uses in Counter(unique).items():
        if uses > 1:
            raise RobustAugError(f"two images would both become {stem}; rename one of them")
    return unique
