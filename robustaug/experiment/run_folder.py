"""A run's folder: where everything lies, and whose run it is."""

import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from robustaug.errors import RobustAugError
from robustaug.experiment.config import ExperimentConfig
from robustaug.files import output_folder, read_json, write_json, write_text
from robustaug.training.distributed import present


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run, its log and its clock.

    Attributes:
        path: The folder.
        console: Where progress lines are printed, beside ``log.txt``.
        shared_variants: Where the stylised variants lie, if several runs share them; None: in the folder.
        writes: False in the processes beside the main one, which read and compute only.
    """

    path: Path
    console: Console
    shared_variants: Path | None = None
    writes: bool = True

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def report(self) -> Path:
        """The report's numbers."""
        return self.path / "report.json"

    @property
    def samples(self) -> Path:
        """Pictures for the report."""
        return self.path / "samples"

    def called(self, arm: str) -> str:
        """What lines of the log call an arm: by the cell in an ablation, where ``bare`` has nothing of what it was."""
        return f"arm {arm}" if self.shared_variants is None else f"cell {self.path.name}"

    def arm(self, name: str) -> Path:
        """The folder of one arm."""
        return self.path / "arms" / name

    def variants(self, name: str, share: float = 1.0) -> Path:
        """A folder of variants; runs that share them may differ in the share of the training images."""
        return (self.shared_variants or self.path / "variants") / (name if share == 1 else f"{name}-{share:g}")

    def say(self, text: str) -> None:
        """Print a line and add it to the log."""
        if not self.writes:
            return
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        try:
            with (self.path / "log.txt").open("a", encoding="utf-8") as log:
                log.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}\n")
        except OSError as error:
            raise RobustAugError(
                f"cannot write {self.path / 'log.txt'}: {error.strerror or error}; free space"
            ) from error

    def claim(self, config: ExperimentConfig, fingerprint: str, attributes: str | None = None) -> None:
        """Make the folder this run's, once its configuration, its images and their attributes have proved usable.

        Args:
            config: What the run does.
            fingerprint: Of the images.
            attributes: SHA-256 of the file of attributes; None without one.

        Raises:
            RobustAugError: the images or the attributes have changed since the run began: what was trained on other
                ones is not resumed; or the main process made this folder somewhere else.
        """
        path, used = self.path / "data.json", {"fingerprint": fingerprint}
        if attributes is not None:
            used["attributes"] = attributes
        if path.exists() and (found := read_json(path)) != used:
            images = "images have" if config.data.labels is None else "images or their labels have"
            what = images if found.get("fingerprint") != fingerprint else f"file {config.data.attributes} has"
            raise RobustAugError(
                f"the {what} changed since the run in {self.path} began; choose another folder with --out"
            )
        if not self.writes:
            if not path.exists():
                raise RobustAugError(
                    f"{self.path} is not the main process's; choose a folder that every machine sees with --out"
                )
            return
        write_text(self.config, config.to_toml())  # first: it is what says whose folder it is
        write_json(path, used)

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add the block's wall-clock time to a stage, over all pieces of an interrupted run."""
        began = time.monotonic()
        try:
            yield
        finally:
            if self.writes and self.config.exists():  # before the claim, the folder stays as it is
                seconds = self.seconds()
                seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - began, 3)
                write_json(self.path / "seconds.json", seconds)

    def seconds(self) -> dict[str, float]:
        """Wall-clock time by stage so far."""
        path = self.path / "seconds.json"
        return read_json(path) if path.exists() else {}


def open_run(
    path: Path, config: ExperimentConfig, *, resume: bool, console: Console, variants: Path | None = None
) -> RunFolder:
    """Make a run's folder, or come back to it; it is not the run's before ``claim``.

    Args:
        path: The folder: absent, empty, or, with ``resume``, one that holds a run of the same configuration.
        config: What the run does.
        resume: Whether a run in the folder is continued.
        console: Where progress lines go.
        variants: Where the stylised variants lie; None: in the folder.

    Raises:
        RobustAugError: the folder cannot be written, holds something else, or a run of another configuration.
    """
    run = RunFolder(path, console, variants, writes=present().is_main)
    if path.exists() and not path.is_dir():
        raise RobustAugError(f"{path} is a file; choose a folder with --out")
    if run.config.exists():
        if differing := _differing(run.config, config):
            raise RobustAugError(
                f"{path} holds a run of another configuration ({', '.join(differing)}); "
                "give the same file and the same --set to go on with it, or choose another folder with --out"
            )
        if not resume:
            raise RobustAugError(
                f"{path} holds this run already; add --resume to go on with it, or choose another --out"
            )
    elif path.exists() and any(not entry.name.startswith(".tmp-") for entry in path.iterdir()):  # left by a kill
        raise RobustAugError(f"{path} is not empty and holds no run; choose another folder with --out")
    output_folder(path)
    return run


def _differing(path: Path, config: ExperimentConfig) -> list[str]:
    """The first few dotted keys in which a written configuration is another one."""
    try:
        found = _flat(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RobustAugError(f"cannot read {path} ({error}); choose another folder with --out") from error
    wanted = _flat(tomllib.loads(config.to_toml()))
    keys = [key for key in dict.fromkeys((*wanted, *found)) if wanted.get(key) != found.get(key)]
    return keys[:_NAMED] + ([f"{len(keys) - _NAMED} more"] if len(keys) > _NAMED else [])


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


_NAMED = 4
