"""Reading a run folder: the report and the samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustaug.errors import RobustAugError
from robustaug.evaluation.report.schema import first_problem
from robustaug.files import read_json

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RunFolder:
    """What a report is built from.

    Attributes:
        path: The folder.
        report: ``report.json``, checked.
        adversarial: ``samples/adversarial.json``, or None.
        stylised: ``samples/stylised.json``, or None.
        config_toml: The text of ``config.toml``, or None.
        conflicts: ``samples/conflicts.json``, or None.
    """

    path: Path
    report: dict[str, Any]
    adversarial: dict[str, Any] | None
    stylised: dict[str, Any] | None
    config_toml: str | None
    conflicts: dict[str, Any] | None = None


def load_report(run_dir: Path) -> dict[str, Any]:
    """Read and check ``report.json`` of a run folder.

    Fields that the schema does not know are let pass.

    Raises:
        RobustAugError: no such folder, no report in it, not a report, or one of a newer schema version.
    """
    if not run_dir.is_dir():
        raise RobustAugError(f"{run_dir} is not a folder; name the run folder that `robustaug run` wrote")
    path = run_dir / "report.json"
    if not path.is_file():
        raise RobustAugError(
            f"{run_dir} holds no report.json; name a finished run folder, or finish it with `robustaug run --resume`"
        )
    return read_report(path)


def read_report(path: Path) -> dict[str, Any]:
    """Read and check a ``report.json``, by whatever name.

    Raises:
        RobustAugError: no such file, not a report, or one of a newer schema version.
    """
    report = read_json(path)
    version = report.get("schema_version") if isinstance(report, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise RobustAugError(f"{path} is not a robustaug report (no schema_version); name a run folder")
    if version > SCHEMA_VERSION:
        raise RobustAugError(
            f"{path} has schema version {version}, this robustaug reads up to {SCHEMA_VERSION}; update robustaug"
        )
    if problem := first_problem(report):
        raise RobustAugError(f"{path} is damaged: {problem}; restore it or run again")
    return dict(report)


def read_run(run_dir: Path) -> RunFolder:
    """Read everything of a run folder that the report shows.

    Raises:
        RobustAugError: as ``load_report``; or another file of the folder is damaged.
    """
    config = run_dir / "config.toml"
    return RunFolder(
        path=run_dir,
        report=load_report(run_dir),
        adversarial=_samples(run_dir / "samples" / "adversarial.json"),
        stylised=_samples(run_dir / "samples" / "stylised.json"),
        conflicts=_samples(run_dir / "samples" / "conflicts.json"),
        config_toml=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else None,
    )


def inside(folder: Path, relative: str) -> Path | None:
    """The path of an existing file below a folder, or None: names in a report must not lead out of the run folder."""
    try:
        path = (folder / relative).resolve()
        return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
    except (OSError, ValueError):  # a name that no file can have: too long, or with a NUL
        return None


def _samples(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    samples = read_json(path)
    rows = samples.get("rows") if isinstance(samples, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RobustAugError(f"{path} is damaged: it has no list of rows; delete it to build the report without it")
    return dict(samples)
