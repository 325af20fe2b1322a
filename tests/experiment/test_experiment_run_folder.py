"""Whose folder it is: a new run, the same run again, or something that must be left alone."""

from pathlib import Path

import pytest
from experiment_cases import quiet, tiny

from robustaug.errors import RobustAugError
from robustaug.experiment.run_folder import RunFolder, open_run
from robustaug.files import read_json


def opened(path: Path, *, resume: bool = False, **changes: object) -> RunFolder:
    config = tiny(Path("images"), **changes)
    run = open_run(path, config, resume=resume, console=quiet())
    run.claim(config, "abc")
    return run


def test_a_new_or_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "new" / "deep"):
        run = opened(path)
        assert sorted(entry.name for entry in path.iterdir()) == ["config.toml", "data.json"]
        assert run.config.read_text() == tiny(Path("images")).to_toml()


def test_the_same_run_needs_resume(tmp_path: Path) -> None:
    opened(tmp_path / "run")
    with pytest.raises(
        RobustAugError, match="holds this run already; add --resume to go on with it, or choose another"
    ):
        opened(tmp_path / "run")
    opened(tmp_path / "run", resume=True)


@pytest.mark.parametrize("resume", [True, False])
def test_another_configuration_is_refused(tmp_path: Path, resume: bool) -> None:
    opened(tmp_path / "run")
    before = (tmp_path / "run" / "config.toml").read_text()
    with pytest.raises(RobustAugError, match=r"another configuration \(training.steps\); give the same file"):
        opened(tmp_path / "run", resume=resume, training__steps=5)
    assert (tmp_path / "run" / "config.toml").read_text() == before


@pytest.mark.parametrize("resume", [True, False])
def test_foreign_files_are_left_alone(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(RobustAugError, match="is not empty and holds no run; choose another folder with --out"):
        opened(tmp_path, resume=resume)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.doc"]


def test_a_kill_before_the_first_file_does_not_lock_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".tmp-abc.toml").write_text("name = ")
    opened(tmp_path)


def test_files_and_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RobustAugError, match="file is a file; choose a folder with --out"):
        opened(tmp_path / "file")
    for path in (tmp_path / "file" / "below", Path("/proc/robustaug")):
        with pytest.raises(RobustAugError, match=f"cannot write to {path}: .*; choose another output folder"):
            opened(path)


def test_a_damaged_configuration_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("name = [")
    with pytest.raises(RobustAugError, match=r"cannot read .*config.toml .*; choose another folder with --out"):
        opened(tmp_path, resume=True)


def test_clock_and_log(tmp_path: Path) -> None:
    run = opened(tmp_path / "run")
    run.say("Data [bold]images[/bold]: 3")
    for _ in range(2):
        with run.timing("style"):
            pass

    def failing() -> None:
        with run.timing("training"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failing()
    assert set(run.seconds()) == {"style", "training"}  # also of a stage that was interrupted
    assert read_json(run.path / "seconds.json") == run.seconds()
    log = (run.path / "log.txt").read_text().splitlines()
    assert len(log) == 1
    assert log[0].endswith(" Data [bold]images[/bold]: 3")


def test_a_run_belongs_to_its_images(tmp_path: Path) -> None:
    run = opened(tmp_path / "run")
    run.claim(tiny(Path("images")), "abc")
    with pytest.raises(
        RobustAugError, match=r"the images have changed since the run in .* began; choose another folder"
    ):
        run.claim(tiny(Path("images")), "abd")


def test_an_attempt_that_failed_before_the_claim_leaves_the_folder_free(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", tiny(Path("fotos")), resume=False, console=quiet())
    with run.timing("data"):
        pass
    assert list(run.path.iterdir()) == []
    assert opened(tmp_path / "run").config.exists()
