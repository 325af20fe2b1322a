"""What a person decided about each variant: ``review.jsonl`` beside the manifest, written at once, obeyed by all.

The first line says of which manifest the decisions are. Lines are only ever added; the last one of a path counts.
"""

import json
import os
from collections.abc import Iterator, Mapping, Set
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast, get_args

from robustaug.data.jobs import MANIFEST
from robustaug.data.rows import read_rows
from robustaug.errors import RobustAugError
from robustaug.files import sha256

REVIEW = "review.jsonl"
VERSION = 1

Verdict = Literal["accept", "reject", "relabel"]


@dataclass(frozen=True)
class Decision:
    """What was decided about one variant.

    Attributes:
        verdict: ``relabel`` without a label marks a variant whose new label is still open.
        label: The new one of a relabelled variant.
        sha256: Of the file that was looked at.
        at: When, in ISO 8601.
    """

    verdict: Verdict
    label: str | None = None
    sha256: str = ""
    at: str = ""


class Decisions:
    """The decisions that count in a folder of variants.

    Attributes:
        excluded: Paths that nothing may use: rejected, or marked for relabelling without a new label.
        relabelled: Path to new label.
        fingerprint: A hash of both; "" where there is neither, because accepted and undecided are one.
    """

    def __init__(self, by_path: Mapping[str, Decision]) -> None:
        self._by_path = dict(by_path)
        unlabelled = {path for path, made in by_path.items() if made.verdict == "relabel" and made.label is None}
        self.excluded = frozenset({path for path, made in by_path.items() if made.verdict == "reject"} | unlabelled)
        self.relabelled: Mapping[str, str] = {path: made.label for path, made in by_path.items() if made.label}
        changed = [sorted(self.excluded), sorted(self.relabelled.items())]
        self.fingerprint = sha256(json.dumps(changed).encode()) if any(changed) else ""

    def __len__(self) -> int:
        return len(self._by_path)

    def decision(self, path: str) -> Decision | None:
        """What was decided about a variant; None if nothing was, or it was taken back."""
        return self._by_path.get(path)


class DecisionLog:
    """``review.jsonl``, open for more decisions, by one process at a time.

    Args:
        folder: Of the variants; it holds a finished manifest.

    Raises:
        RobustAugError: no manifest, decisions of another one, a damaged line, no right to write, or another process
            that has it open.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / REVIEW
        header = {"manifest_sha256": _manifest_hash(folder), "version": VERSION}
        try:
            self._file = self._path.open("ab", buffering=0)  # what could not be written is not tried again later
            with ExitStack() as on_failure:
                on_failure.callback(self._file.close)
                _hold(self._file.fileno(), folder)
                whole = self._path.read_bytes().rfind(b"\n") + 1
                os.ftruncate(self._file.fileno(), whole)  # what a kill tore would be one line with what follows
                if not whole:
                    self._append(header)
                self._history = _read(folder)
                on_failure.pop_all()
        except OSError as error:
            raise RobustAugError(f"cannot write {self._path}: {error.strerror or error}; check its rights") from error

    def decision(self, path: str) -> Decision | None:
        """What counts for a variant."""
        return self._history.by_path.get(path)

    def decisions(self) -> Decisions:
        """All that count now."""
        return Decisions(self._history.by_path)

    def __len__(self) -> int:
        return len(self._history.by_path)

    def decide(self, path: str, verdict: Verdict | None, label: str | None = None, *, sha256: str = "") -> None:
        """Write a decision; it is on disk when this returns.

        Args:
            path: A variant of the manifest.
            verdict: None takes back what was decided.
            label: The new one, with ``relabel``.
            sha256: Of the file that was looked at.

        Raises:
            RobustAugError: no such variant, a label without ``relabel``, or it cannot be written; nothing is decided
                then.
        """
        made = {"path": path, "decision": verdict, "label": label, "sha256": sha256}
        if problem := _problem(made, self._history.known):
            raise RobustAugError(f"cannot decide: {problem}")
        self._write(made)

    def undo(self) -> str | None:
        """Bring back what counted before the last decision that still stands, also of an earlier session.

        Returns:
            The path of its variant; None where there is nothing to undo.

        Raises:
            RobustAugError: it cannot be written; nothing is undone then.
        """
        if not self._history.steps:
            return None
        path, before = self._history.steps[-1]
        parts = {} if before is None else {"label": before.label, "sha256": before.sha256}
        self._write({"path": path, "decision": before and before.verdict, **parts, "undo": True})
        return path

    def close(self) -> None:
        """Let others open it."""
        self._file.close()

    def _write(self, made: Mapping[str, Any]) -> None:
        row = {name: value for name, value in made.items() if name == "decision" or value}
        row["at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            self._append(row)
        except OSError as error:
            raise RobustAugError(f"cannot write {self._path}: {error.strerror or error}; free space") from error
        self._history.count(row)

    def _append(self, row: Mapping[str, Any]) -> None:
        line, file = json.dumps(row).encode() + b"\n", self._file.fileno()
        before = os.fstat(file).st_size
        try:
            while line:
                line = line[os.write(file, line) :]
            os.fsync(file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, before)  # a full disk may have taken half a line
            raise


def read_decisions(folder: Path) -> Decisions:
    """The decisions about the variants of a folder; none where there is no ``review.jsonl``.

    A last line torn by a kill is left out.

    Raises:
        RobustAugError: the decisions are of another manifest, or a line is none.
    """
    return Decisions(_read(folder).by_path)


class _History:
    """Of the known paths: what counts for each, and what counted before each decision that was not undone."""

    def __init__(self, known: Set[str]) -> None:
        self.known = known
        self.by_path: dict[str, Decision] = {}
        self.steps: list[tuple[str, Decision | None]] = []

    def count(self, row: Mapping[str, Any]) -> None:
        path = row["path"]
        if "undo" not in row:
            self.steps.append((path, self.by_path.get(path)))
        elif self.steps:
            self.steps.pop()
        if row["decision"] is None:
            self.by_path.pop(path, None)
        else:
            texts = (row.get("label"), row.get("sha256", ""), row.get("at", ""))
            self.by_path[path] = Decision(cast(Verdict, row["decision"]), *texts)


def _read(folder: Path) -> _History:
    path = folder / REVIEW
    lines = _lines(path)
    header = next(lines, None)
    if header is None:
        return _History(frozenset())
    if "manifest_sha256" not in header or header.get("version") != VERSION:
        raise RobustAugError(f"{path}: its first line does not say of which manifest it is; restore or delete it")
    if header["manifest_sha256"] != _manifest_hash(folder):
        raise RobustAugError(
            f"{path} holds decisions about another {MANIFEST}, of another run; restore that one, or move {REVIEW} away"
        )
    history = _History({str(row.get("path")) for row in read_rows(folder / MANIFEST)})
    for number, row in enumerate(lines, 2):
        if problem := _problem(row, history.known):
            raise RobustAugError(f"{path}, line {number}: {problem}; restore the file or delete the line")
        history.count(row)
    return history


def _problem(row: Mapping[str, Any], known: Set[str]) -> str:
    path, verdict, label = row.get("path"), row.get("decision"), row.get("label")
    if not isinstance(path, str) or path not in known:
        return f"{path!r} is not in {MANIFEST}"
    if "decision" not in row or (verdict is not None and verdict not in get_args(Verdict)):
        return f"{verdict!r} is no decision; it is one of {', '.join(get_args(Verdict))} and null"
    if label is not None and (not isinstance(label, str) or not label or verdict != "relabel"):
        return f"{label!r} cannot be the label of the decision {verdict!r}"
    if not all(isinstance(row.get(name, ""), str) for name in ("sha256", "at")):
        return "its sha256 or its time is not a text"
    return ""


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of all whole lines; none where there is no file."""
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise RobustAugError(f"cannot read {path}: {error.strerror or error}") from error
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise RobustAugError(f"{path}, line {number} is not valid JSON; restore the file or delete it") from error
        if not isinstance(row, dict):
            raise RobustAugError(f"{path}, line {number} is not an object; restore the file or delete the line")
        yield row


def _manifest_hash(folder: Path) -> str:
    path = folder / MANIFEST
    try:
        return sha256(path.read_bytes())
    except OSError as error:
        raise RobustAugError(
            f"cannot read {path}: {error.strerror or error}; name a folder that a finished job filled with variants"
        ) from error


def _hold(file: int, folder: Path) -> None:
    """Keep others from deciding on the same folder for as long as the file is open."""
    with suppress(ImportError):  # fcntl is not everywhere
        import fcntl  # noqa: PLC0415

        try:
            # Not lockf, which lets go as soon as this process closes the file anywhere, after reading it for example.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RobustAugError(f"{folder} is under review in another process; use that page, or stop it") from error
        except OSError:
            pass  # a file system without locks
