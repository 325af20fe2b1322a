"""A full disk, the debug switch, and errors that nobody expected."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_cases import CommandLine, coloured_squares
from PIL import Image

from robustaug.cli import main
from robustaug.experiment.pipeline import RunOutcome


@pytest.mark.parametrize("command", ["run", "attack", "evaluate", "stylize"])
def test_a_full_disk(cli: CommandLine, work: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """The tenth file finds no space: one line, nothing half-written, and with space the job goes on to its end."""
    arguments = {
        "run": ("run", "job.toml", "--out", "out"),
        "attack": ("attack", "model.safetensors", "images", "--steps", 1, "--out", "out"),
        "evaluate": ("evaluate", "model.safetensors", "images", "--out", "out"),
        "stylize": ("stylize", "images", "out"),
    }[command]
    true, calls = Path.replace, [0]

    def full(self: Path, target: Path) -> Path:
        calls[0] += 1
        if calls[0] >= 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return true(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        answer = cli(*arguments)
    assert answer.code == 2
    assert "No space left on device; free space" in answer.line()
    assert list((work / "out").rglob(".tmp-*")) == []
    for path in (work / "out").rglob("*.png"):
        Image.open(path).load()
    again = cli(*arguments, *(["--resume"] if command == "run" else []))
    assert (again.code, again.err) == (0, "")


def test_debug_adds_the_traceback_and_keeps_the_exit_code(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--debug", "report", "none"], ["report", "none", "--debug"]):
        monkeypatch.setattr(sys, "argv", ["robustaug", *arguments])
        with pytest.raises(SystemExit, match="2"):
            main()
        shown = capsys.readouterr().err
        assert shown.startswith("Traceback (most recent call last)")
        assert shown.splitlines()[-1].startswith("robustaug: none is not a folder")


def test_what_nobody_expected_is_one_line_too(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(error: Exception) -> Callable[[], None]:
        def examine() -> None:
            raise error

        return examine

    for error, message in (
        (
            ValueError("two\nlines"),
            "internal error, ValueError: two lines; add --debug for the traceback and report it",
        ),
        (PermissionError(13, "Permission denied", "secret"), "secret: Permission denied; check the path"),
        (RuntimeError("operator torchvision::nms does not exist"), "torch and torchvision do not fit together"),
    ):
        monkeypatch.setattr("robustaug.experiment.doctor.examine", broken(error))
        answer = cli("doctor")
        assert answer.code == 2
        assert len(answer.err.splitlines()) == 1
        assert message in answer.err


def test_where_the_images_lie_is_of_no_matter(cli: CommandLine, work: Path) -> None:
    """A folder of another place and name gives the same files."""
    coloured_squares(work / "copy" / "deep")
    for source, out in (("images", "a"), ("copy/deep", "b")):
        assert cli("attack", "model.safetensors", source, "--steps", 2, "--out", out).code == 0
    files = {out: {p.name: p.read_bytes() for p in (work / out).rglob("*") if p.is_file()} for out in ("a", "b")}
    assert files["a"] == files["b"]


@pytest.mark.parametrize("failed", [False, True])
def test_a_strict_run_exits_1_where_a_check_failed(
    cli: CommandLine, work: Path, monkeypatch: pytest.MonkeyPatch, failed: bool
) -> None:
    """The run itself is another test's: here it has just ended with one check."""
    interval = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}
    report = {
        "name": "r", "data": {}, "threat": {"norm": "linf", "eps": 0.1}, "attacks": {},
        "arms": {"a": {"metrics": {"clean": interval}}},
        "checks": [{"name": "gradients", "arm": "a", "passed": not failed, "detail": "none"}],
    }  # fmt: skip
    monkeypatch.setattr(
        "robustaug.cli.finish.run_experiment", lambda *args, **kwargs: RunOutcome(Path("report.html"), ())
    )
    monkeypatch.setattr("robustaug.cli.finish.load_report", lambda path: report)
    assert cli("run", "job.toml").code == 0
    answer = cli("run", "job.toml", "--strict")
    assert answer.code == int(failed)
    assert ("Check failed (a): gradients: none" in answer.out) == failed
