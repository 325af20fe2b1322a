"""One arm trained from the command line: what it leaves for ``run`` and ``evaluate``, alone and by two processes."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_cases import CommandLine

from robustaug.cli import app
from robustaug.files import read_jsonl
from robustaug.training.distributed import Processes
from robustaug.training.loop import _Run

ARM = Path("arms") / "adversarial"
STYLED = "arms={plain={}, styled={stylised=0.5}}"


def rows(folder: Path) -> list[dict[str, Any]]:
    """The history of the arm, without what the clock has to do with."""
    clock = ("seconds", "images_per_second")
    return [{key: row[key] for key in row if key not in clock} for row in read_jsonl(folder / ARM / "history.jsonl")]


@pytest.fixture
def trained(cli: CommandLine, work: Path) -> Path:
    answer = cli("train", "job.toml")
    assert (answer.code, answer.err) == (0, "")
    return work / "runs" / "job"


def test_train_says_where_the_checkpoint_is_and_how_good_and_what_is_next(cli: CommandLine, work: Path) -> None:
    answer = cli("train", "job.toml")
    assert (answer.code, answer.err) == (0, "")
    path = Path("runs") / "job" / ARM / "model.safetensors"
    checkpoint, following = answer.out.splitlines()[-2:]
    kept = [
        row
        for row in rows(work / "runs" / "job")
        if row["validation_robust"] == max(row["validation_robust"] for row in rows(work / "runs" / "job"))
    ][-1]
    score = f"validation robust {kept['validation_robust']:.1%} at step {kept['step']}"
    assert checkpoint == f"Checkpoint: {path} ({score})"
    assert following == f"Next: robustaug evaluate {path} images"
    evaluate = typer.main.get_command(app).commands["evaluate"]  # type: ignore[attr-defined]
    evaluate.make_context("evaluate", shlex.split(following)[3:])  # the printed command parses


def test_run_goes_on_from_a_trained_arm(
    cli: CommandLine, trained: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"config.toml", "data.json", "energy.json", "seconds.json", "log.txt", "arms"}
    assert {path.name for path in trained.iterdir()} == names  # no variants: the arm wants none
    before = (trained / ARM / "model.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("robustaug.experiment.arms.train", lambda *a, **k: pytest.fail("trained again"))
        again = cli("train", "job.toml")
        assert again.out.splitlines()[-2].startswith("Checkpoint: ")
        assert cli("run", "job.toml", "--resume").code == 0
    assert (trained / "report.html").is_file()
    assert (trained / ARM / "model.safetensors").read_bytes() == before
    cli("run", "job.toml", "--out", "whole")
    assert (work / "whole" / ARM / "model.safetensors").read_bytes() == before
    assert rows(work / "whole") == rows(trained)


def test_train_goes_on_where_it_stopped(
    cli: CommandLine, trained: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, true = [], _Run._step

    def interrupted(self: _Run, step: int) -> None:
        steps.append(step)
        if steps == [0, 1, 2]:
            raise KeyboardInterrupt
        true(self, step)

    monkeypatch.setattr(_Run, "_step", interrupted)
    answer = cli("train", "job.toml", "--out", "stopped")
    assert answer.code == 130
    assert "the same command (for run: with --resume) goes on" in answer.line()
    assert cli("train", "job.toml", "--out", "stopped").code == 0
    assert steps == [0, 1, 2, 2, 3]
    assert rows(work / "stopped") == rows(trained)
    model = ARM / "model.safetensors"
    assert (work / "stopped" / model).read_bytes() == (trained / model).read_bytes()


def test_only_an_arm_that_wants_styles_makes_them(cli: CommandLine, work: Path) -> None:
    options = ("train", "job.toml", "--set", STYLED, "--arm")
    assert "the arms plain, styled; choose one with --arm NAME" in cli(*options[:-1]).line()
    assert "there is no arm 'style' in the configuration; choose one of plain, styled" in cli(*options, "style").line()
    assert not (work / "runs").exists()
    assert cli(*options, "plain").code == 0
    assert not (work / "runs" / "job" / "variants").exists()
    answer = cli(*options, "styled")
    assert answer.code == 0
    assert "Stylising 4 training images" in answer.out
    assert len(read_jsonl(work / "runs" / "job" / "variants" / "train" / "manifest.jsonl")) == 4
    assert {path.name for path in (work / "runs" / "job" / "arms").iterdir()} == {"plain", "styled"}


def test_bad_input_of_train(cli: CommandLine, trained: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "holds a run of another configuration" in cli("train", "job.toml", "--set", "seed=1").line()
    (work / "images" / "red" / "notes.txt").write_text("")
    answer = cli("train", "job.toml")
    assert answer.code == 1
    assert answer.err.splitlines()[0] == "1 file could not be used:"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "an experiment runs in one process, but a launcher started 2" in cli("run", "job.toml", "--resume").line()


OPTIONS = ["--set", "arms={adversarial={adversarial=0.5, stylised=0.25}}", "--set", "style.method=adain"]
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0"]


def test_two_processes_of_the_launcher_train_as_one_does(cli: CommandLine, work: Path) -> None:
    """``--multi_gpu`` is what starts several processes; where there is no GPU, they meet on the CPU."""
    alone = cli("train", "job.toml", "--out", "one", *OPTIONS)
    assert (alone.code, alone.err) == (0, "")
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *LAUNCH, "-m", "robustaug", "train", "job.toml", "--out", "two", *OPTIONS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr

    def timeless(text: str) -> list[str]:
        return [line for line in text.replace("two", "one").splitlines() if not line.startswith("Trained arm")]

    assert timeless(done.stdout) == timeless(alone.out)  # one of the two prints
    one, two = rows(work / "one"), rows(work / "two")
    assert [row["step"] for row in two] == [2, 4]
    for a, b in zip(one, two, strict=True):
        assert a == b | {"loss": pytest.approx(b["loss"], rel=1e-5)}
    files = [{path.relative_to(work / run) for path in (work / run).rglob("*")} for run in ("one", "two")]
    assert files[0] == files[1]
    log = (work / "two" / "log.txt").read_text()
    assert log.count("Stylising") == log.count("Training arm") == log.count("Trained arm") == 1
    after = cli("train", "job.toml", "--out", "two", *OPTIONS)  # alone: the same run, and it is done
    assert after.code == 0
    assert "Training arm" not in after.out


def test_what_several_processes_cannot_share_is_refused_first(
    cli: CommandLine, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustaug.experiment.arms.present", lambda: Processes(0, 2))
    said = cli("train", "job.toml", "--set", "training.batch_size=9").line()
    assert said == "training.batch_size is 9 for all 2 processes together; set a multiple of it"
    assert not (work / "runs").exists()
