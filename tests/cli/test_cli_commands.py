"""What each command prints and leaves behind when all is well, and what it costs to ask for help."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_cases import PROTOCOL, STYLE, CommandLine
from PIL import Image

import robustaug
from robustaug.evaluation.statistics import accuracy_interval
from robustaug.experiment import load_preset
from robustaug.files import read_json, read_jsonl

COMMANDS = ["demo", "run", "train", "stylize", "style-train", "preserve", "attack", "evaluate", "report", "doctor"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(cli: CommandLine, command: str) -> None:
    answer = cli(command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert f"robustaug {command}" in answer.out
    assert "--help" in answer.out


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_list_of_commands(cli: CommandLine, arguments: list[str]) -> None:
    answer = cli(*arguments)
    assert (answer.code, answer.err) == (0, "")
    assert all(command in answer.out for command in COMMANDS)


def test_version(cli: CommandLine) -> None:
    answer = cli("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"robustaug {robustaug.__version__}\n", "")


def test_help_does_not_wait_for_torch() -> None:
    script = (
        "import sys\nfrom robustaug.cli import main\nsys.argv = ['robustaug', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'torchvision', 'scipy'} & set(sys.modules)))"
    )
    for arguments in (["--help"], ["run", "--help"], ["stylize", "--help"], ["--version"], ["nonsense"]):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


def test_run_resume_report(cli: CommandLine, work: Path) -> None:
    answer = cli("run", "job.toml")
    assert (answer.code, answer.err) == (0, "")
    run = work / "runs" / "job"
    assert f"Report: {Path('runs') / 'job' / 'report.html'}" in answer.out
    assert "adversarial" in answer.out
    first = read_json(run / "report.json")
    assert "holds this run already; add --resume" in cli("run", "job.toml").line()
    assert "holds a run of another configuration" in cli("run", "job.toml", "--resume", "--set", "seed=1").line()
    assert cli("run", "job.toml", "--resume").code == 0
    assert read_json(run / "report.json")["arms"] == first["arms"]
    (run / "report.html").unlink()
    shutil.rmtree(run / "figures")
    answer = cli("report", run)
    assert (answer.code, answer.err) == (0, "")
    assert (run / "report.html").is_file()
    assert list((run / "figures").iterdir())
    trained = run / "arms" / "adversarial" / "model.safetensors"
    answer = cli("attack", trained, "images", "--attack", "fgsm", "--eps", "8/255", "--out", "adversarial")
    assert (answer.code, answer.err) == (0, "")
    assert "fgsm, linf eps 8/255, on images (test, 6 images)" in answer.out  # not the images it was trained on
    assert "6 adversarial images written to adversarial" in answer.out
    rows = read_jsonl(work / "adversarial" / "manifest.jsonl")
    for name, right in (
        ("unattacked", [row["prediction_before"] == row["label"] for row in rows]),
        ("under attack", [not row["success"] for row in rows]),
        ("under attack, rounded to 8 bits", [not row["success_8bit"] for row in rows]),
    ):
        measured = accuracy_interval(torch.tensor(right))
        expected = f"{100 * measured.value:.1f} [{100 * measured.low:.1f}, {100 * measured.high:.1f}]"
        assert re.search(f"│ {name} +│ +{re.escape(expected)} │", answer.out)
    assert (
        "Nothing to do in adversarial"
        in cli("attack", trained, "images", "--attack", "fgsm", "--eps", "8/255", "--out", "adversarial").out
    )
    answer = cli("attack", trained, "images", "--attack", "fgsm", "--split", "train")
    assert "Check failed: no test image is a training image: " in answer.out
    test_images = {row["source"] for row in read_jsonl(work / "adversarial" / "manifest.jsonl")}
    variants = {row["source"] for row in read_jsonl(run / "variants" / "test" / "manifest.jsonl")}
    assert variants < test_images


def test_demo_goes_on_by_itself(cli: CommandLine, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [
        "data.source=images",
        "training.steps=2",
        "training.batch_size=8",
        "style.variants=2",
        "evaluation.samples=4",
    ]
    small += ["evaluation.pgd_steps=1", "evaluation.pgd_restarts=1", "evaluation.curve_steps=1", "arms={clean={}}"]
    small += ["evaluation.unseen_style_samples=2"]
    monkeypatch.setattr("robustaug.experiment.load_preset", lambda name: load_preset(name, small))
    for arguments in (["--quick"], ["--quick"]):
        answer = cli("demo", *arguments)
        assert (answer.code, answer.err) == (0, "")
    assert (work / "runs" / "demo-quick" / "report.html").is_file()


def test_evaluate(cli: CommandLine, work: Path) -> None:
    answer = cli("evaluate", "model.safetensors", "images", "--eps", "0.1", "--out", "out")
    assert (answer.code, answer.err) == (0, "")
    report = read_json(work / "out" / "report.json")
    assert list(report["arms"]) == ["model"]
    assert report["data"]["name"] == "images"
    assert report["threat"]["eps"] == 0.1
    assert report["arms"]["model"]["metrics"]["clean"]["n"] == 24
    given = {name: value for name, value in report["config"]["given"].items() if value is not None}
    assert given == {"model": "model.safetensors", "data": "images", "--protocol": "quick"}
    again = cli("evaluate", work / "model.safetensors", work / "images", "--eps", "0.1", "--out", work / "out")
    assert (again.code, again.err) == (0, "")  # the same job, by other paths
    assert "holds another job" in cli("evaluate", "model.safetensors", "images", "--eps", "0.2", "--out", "out").line()


def test_rows_of_other_parts_are_not_called_rows_of_no_image(cli: CommandLine, work: Path) -> None:
    keys = sorted(path.relative_to(work / "images").as_posix() for path in work.glob("images/*/*.png"))
    rows = [f"{key},{'ann' if number % 2 else 'bob'}" for number, key in enumerate(keys)]
    (work / "who.csv").write_text("\n".join(["path,who", *rows, "red/gone.png,ann"]))
    (work / "protocol.toml").write_text(PROTOCOL)
    words = ("evaluate", "model.safetensors", "images", "--protocol", "protocol.toml", "--attributes", "who.csv")
    whole = cli(*words, "--out", "whole").out
    assert "who.csv: 1 rows are of no image in use, the first is red/gone.png" in whole
    part = cli(*words, "--split", "test", "--out", "part").out
    assert "who.csv: 19 rows are of no image of the test part, the first is " in part


def test_doctor(cli: CommandLine) -> None:
    answer = cli("doctor")
    assert (answer.code, answer.err) == (0, "")
    for subject in ("torch ", "torchvision operators", "embedded VGG-16", "embedded paintings", "mnist5k", "device"):
        assert subject in answer.out
    assert "BAD" not in answer.out


def test_doctor_finds_what_is_broken(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise FileNotFoundError(2, "No such file", "vgg16.safetensors")

    monkeypatch.setattr("robustaug.experiment.doctor.load_encoder", missing)
    answer = cli("doctor")
    assert answer.code == 1
    assert "BAD  embedded VGG-16" in answer.out
    assert "install robustaug again" in answer.out


def test_unusual_images_work(cli: CommandLine, work: Path) -> None:
    folder = work / "images" / "red"
    square = Image.open(folder / "00.png")
    square.convert("CMYK").save(folder / "cmyk.jpg")
    square.convert("P").save(folder / "palette.gif")
    square.convert("RGBA").save(folder / "alpha.png")
    square.convert("L").save(folder / "grey.png")
    Image.new("I;16", (16, 16), 40_000).save(folder / "deep.png")
    answer = cli("attack", "model.safetensors", "images", "--steps", 1, "--out", "out")
    assert (answer.code, answer.err) == (0, "")
    assert {"cmyk.png", "palette.png", "alpha.png", "grey.png", "deep.png"} <= {
        p.name for p in (work / "out/red").iterdir()
    }


CHILD = f"""
import os, signal, sys
import pytest, torch
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell leaves it ignored
from robustaug.style import StyleSettings
from robustaug.training.loop import _Run
patch = pytest.MonkeyPatch()
patch.setattr("robustaug.style.gatys.settings_for", lambda height, width: {STYLE!r})
true = _Run._step
def step(self, number):
    true(self, number)
    if number == 2:
        os.kill(os.getpid(), signal.SIGINT)
patch.setattr(_Run, "_step", step)
from robustaug.cli import main
sys.argv = ["robustaug", "run", "job.toml", "--out", "stopped"]
main()
"""


def test_ctrl_c_in_training(cli: CommandLine, work: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 130
    assert done.stderr.strip().splitlines() == [
        "robustaug: interrupted; what is done is kept, and the same command (for run: with --resume) goes on from there"
    ]
    arm = Path("arms") / "adversarial"
    assert [row["step"] for row in read_jsonl(work / "stopped" / arm / "history.jsonl")] == [2]
    for name in ("stopped", "whole"):
        assert cli("run", "job.toml", "--out", name, *(["--resume"] if name == "stopped" else [])).code == 0
    model = arm / "model.safetensors"
    assert (work / "stopped" / model).read_bytes() == (work / "whole" / model).read_bytes()


def test_a_decoder_is_trained_and_used(cli: CommandLine, work: Path) -> None:
    command = ("style-train", "images", "trained", "--size", "32", "--steps", "2", "--batch-size", "2")
    answer = cli(*command)
    assert (answer.code, answer.err) == (0, "")
    assert f"{Path('trained') / 'decoder.safetensors'} written; on held-out pictures" in answer.out
    assert [row["step"] for row in read_jsonl(work / "trained" / "curve.jsonl")] == [1, 2]
    before = (work / "trained" / "decoder.safetensors").read_bytes()
    assert cli(*command).code == 0  # nothing left to do
    assert (work / "trained" / "decoder.safetensors").read_bytes() == before
    answer = cli(*command, "--seed", "1")
    assert answer.code == 2
    assert "other settings" in answer.err
    use = ("stylize", "images", "out", "--method", "adain", "--decoder", "trained/decoder.safetensors")
    answer = cli(*use)
    assert (answer.code, answer.err) == (0, "")
    rows = read_jsonl(work / "out" / "manifest.jsonl")
    assert {row["method"] for row in rows} == {"adain"}
    assert len(rows) == len([*(work / "images").rglob("*.png")])


def test_too_few_pictures_for_a_decoder(cli: CommandLine, work: Path) -> None:
    few = work / "few"
    few.mkdir()
    shutil.copy(next((work / "images").rglob("*.png")), few / "one.png")
    answer = cli("style-train", "few", "trained", "--steps", "2")
    assert answer.code == 2
    assert "1 photos and 12 paintings are too few; give at least 10 and 2" in answer.err
    assert not (work / "trained").exists()
