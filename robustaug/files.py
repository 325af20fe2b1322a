"""Files that are never half-written: a temporary name, then a rename."""

import hashlib
import json
import os
import secrets
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robustaug.errors import RobustAugError


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it onto ``path`` on success, remove it on failure.

    Raises:
        RobustAugError: the file cannot be written (no permission, disk full, parent is a file).
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The random part sits in front of the suffix, so that writers that look at the suffix see the right one. The
        # umask is left to the system: asking for it changes it for a moment, and another thread may write just then.
        name = path.parent / f".tmp-{secrets.token_hex(8)}{path.suffix}"
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary = name
        yield temporary
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with writing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, content: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically; NaN is refused, because JSON has none."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    with writing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append one JSON object as a line."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n")
    except OSError as error:
        raise _unwritable(path, error) from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RobustAugError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RobustAugError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise RobustAugError(f"{path} is not valid JSON ({error}); restore it or delete it") from error


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file; ``what`` says in errors what it should be, for example a configuration.

    Raises:
        RobustAugError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RobustAugError(f"cannot read the {what} {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RobustAugError(f"{path} is not valid TOML: {error}") from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line; a last line torn by a kill is left out, a missing file is empty.

    Raises:
        RobustAugError: a line before the last one is not JSON.
    """
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    except OSError as error:
        raise RobustAugError(f"cannot read {path}: {error.strerror or error}") from error
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise RobustAugError(f"{path}, line {number} is not valid JSON; restore the file or delete it") from error
    return rows


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def output_folder(path: Path) -> Path:
    """Make a folder and prove that it can be written to.

    Raises:
        RobustAugError: it cannot be made or written to.
    """
    probe = path / ".tmp-probe"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
    except OSError as error:
        raise RobustAugError(
            f"cannot write to {path}: {error.strerror or error}; choose another output folder"
        ) from error
    finally:
        if path.is_dir():
            probe.unlink(missing_ok=True)
    return path


def refuse_inside(out: Path, source: Path) -> None:
    """Keep a job's output out of the image folder that it reads: it would be read as images of a class next time.

    Raises:
        RobustAugError: ``out`` is ``source`` or lies below it.
    """
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise RobustAugError(f"output folder {out} lies inside the image folder {source}; choose one outside it")


def _unwritable(path: Path, error: OSError) -> RobustAugError:
    return RobustAugError(f"cannot write {path}: {error.strerror or error}; free space or choose another output folder")
