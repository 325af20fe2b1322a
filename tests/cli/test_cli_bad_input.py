"""Every bad input is one line that says what, where and what to do, with exit code 2; or 1, and a list, where the job
went on without the item."""

import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from cli_cases import CommandLine, checkpoint
from PIL import Image

from robustaug.attacks import FGSM, ThreatModel
from robustaug.errors import RobustAugError
from robustaug.files import read_json, read_jsonl
from robustaug.models import ImageClassifier, load_checkpoint, save_checkpoint


def huge_png(path: Path) -> None:
    """A whole PNG of 20,000 x 20,000 black pixels in a few kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(2501)) for _ in range(20_000)) + packer.flush()
    signature = b"\x89PNG\r\n\x1a\n"
    path.write_bytes(signature + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def truncated(path: Path) -> None:
    Image.effect_noise((64, 64), 80).save(path)
    path.write_bytes(path.read_bytes()[:500])


BAD_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated.png": (truncated, "the image is damaged"),
    "text.png": (lambda path: path.write_text("hello") and None, "not an image"),
    "empty.jpg": (lambda path: path.write_bytes(b"") and None, "the file is empty"),
    "dot.png": (lambda path: Image.new("RGB", (1, 1)).save(path), "1x1 px is too small"),
    "huge.png": (huge_png, "more pixels than is safe to decode; make it smaller first"),
    "notes.txt": (lambda path: path.write_text("") and None, "not an image file"),
}


@pytest.fixture
def spoiled(work: Path) -> Path:
    """The image folder with one of every bad file in it."""
    for name, (make, _) in BAD_FILES.items():
        make(work / "images" / "red" / name)
    return work


def assert_listed(err: str, folder: str = "images/red/") -> None:
    lines = err.splitlines()
    assert lines[0] == f"{len(BAD_FILES)} files could not be used:"
    reasons = {line.split(": ", 1)[0].strip().split(folder)[-1]: line for line in lines[1:]}
    assert set(reasons) == set(BAD_FILES)
    for name, (_, reason) in BAD_FILES.items():
        assert reason in reasons[name]


def test_attack_goes_on_without_bad_files(cli: CommandLine, spoiled: Path) -> None:
    answer = cli("attack", "model.safetensors", "images", "--steps", 1, "--out", "out")
    assert answer.code == 1
    assert_listed(answer.err)
    assert len(read_jsonl(spoiled / "out" / "manifest.jsonl")) == 24


def test_run_goes_on_without_bad_files(cli: CommandLine, spoiled: Path) -> None:
    answer = cli("run", "job.toml")
    assert answer.code == 1
    assert_listed(answer.err)
    listed = read_json(spoiled / "runs" / "job" / "report.json")["data"]["skipped"]
    assert {Path(item["path"]).name for item in listed} == set(BAD_FILES)
    assert (spoiled / "runs" / "job" / "report.html").is_file()


def test_evaluate_goes_on_without_bad_files(cli: CommandLine, spoiled: Path) -> None:
    answer = cli("evaluate", "model.safetensors", "images", "--out", "out")
    assert answer.code == 1
    assert_listed(answer.err)
    assert len(read_json(spoiled / "out" / "report.json")["data"]["skipped"]) == len(BAD_FILES)


def test_stylize_goes_on_without_bad_files(cli: CommandLine, spoiled: Path) -> None:
    answer = cli("stylize", "images", "out")
    assert answer.code == 1
    assert_listed(answer.err, "red/")
    assert len(read_jsonl(spoiled / "out" / "manifest.jsonl")) == 24


def empty(work: Path) -> None:
    shutil.rmtree(work / "images")
    (work / "images").mkdir()


def without_classes(work: Path) -> None:
    empty(work)
    Image.new("RGB", (16, 16)).save(work / "images" / "a.png")


def one_image_in_red(work: Path) -> None:
    for path in sorted((work / "images" / "red").iterdir())[1:]:
        path.unlink()


def one_class(work: Path) -> None:
    for name in ("red", "green"):
        shutil.rmtree(work / "images" / name)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda work: shutil.rmtree(work / "images"), "neither a known data set nor a folder"),
        (empty, "image folder images is empty; lay it out as ROOT/CLASS/image.png"),
        (without_classes, "image folder images has images but no class folders; lay it out"),
        (one_image_in_red, "class 'red' has 1 usable image, where at least 3 must be; add images"),
        (one_class, "images has only one class (blue); a classifier needs at least two"),
    ],
)
def test_folders_that_cannot_be_learnt(
    cli: CommandLine, work: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(work)
    answer = cli("run", "job.toml")
    assert answer.code == 2
    assert message in answer.line()
    assert not (work / "runs" / "job" / "arms").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # usage
        (["nonsense"], "No such command 'nonsense'"),
        (["run"], "CONFIG"),
        (["run", "job.toml", "--fast"], "--fast"),
        (["attack", "model.safetensors", "images", "--norm", "l7"], "'l7' is not one of"),
        (["attack", "model.safetensors", "images", "--steps", "many"], "Invalid value for '--steps'"),
        # configuration
        (["run", "none.toml"], "cannot read the configuration none.toml: No such file or directory"),
        (["run", "images"], "cannot read the configuration images: Is a directory"),
        (["run", "job.toml", "--set", "training.stesp=3"], "the nearest known one is 'training.steps'"),
        (["run", "job.toml", "--set", "threat.eps=-0.1"], "eps is -0.1; it must be 0 or larger"),
        (["run", "job.toml", "--set", "threat.eps=8"], "eps is 8 but image values span only 1; did you mean 8/255?"),
        (["run", "job.toml", "--set", "data.source=/none"], "image folder /none does not exist"),
        # eps
        (["attack", "model.safetensors", "images", "--eps", "-0.1"], "eps is -0.1; it must be 0 or larger"),
        (["attack", "model.safetensors", "images", "--eps", "8"], "eps is 8 but image values span only 1; did you"),
        (["attack", "model.safetensors", "images", "--eps", "nan"], "eps is 'nan'; write a number"),
        (["attack", "model.safetensors", "images", "--eps", "8/0"], "eps is '8/0'; write a number"),
        (["attack", "model.safetensors", "images", "--norm", "l2", "--eps", "99"], "longer than the diagonal"),
        (["evaluate", "model.safetensors", "images", "--eps", "8"], "did you mean 8/255?"),
        (["attack", "model.safetensors", "images", "--steps", "0"], "steps is 0; it must be a whole number"),
        (["attack", "model.safetensors", "images", "--restarts", "0"], "restarts is 0; it must be a whole number"),
        (["attack", "model.safetensors", "images", "--step-size", "0"], "step_size is 0.0; it must be larger than 0"),
        (["attack", "model.safetensors", "images", "--limit", "0"], "limit 0 leaves no image"),
        # data and checkpoints
        (["attack", "none.safetensors", "images"], "checkpoint none.safetensors does not exist"),
        (["attack", "images", "images"], "checkpoint images is a folder"),
        (["attack", "job.toml", "images"], "job.toml is not a whole safetensors file"),
        (["attack", "model.safetensors", "minst5k"], "did you mean 'mnist5k'"),
        (["evaluate", "model.safetensors", "/none"], "image folder /none does not exist"),
        (["evaluate", "model.safetensors", "images", "--attributes", "none.csv"], "cannot read the attributes none"),
        (["evaluate", "model.safetensors", "images", "--attributes", "job.toml"], "has no column path or source"),
        (["evaluate", "model.safetensors", "images", "--styles", "none"], "there is no folder of paintings none"),
        (["stylize", "none", "out"], "content folder none does not exist"),
        # outputs
        (["attack", "model.safetensors", "images", "--out", "job.toml"], "cannot write to job.toml: File exists"),
        (["attack", "model.safetensors", "images", "--out", "/proc/out"], "cannot write to /proc/out: "),
        (["attack", "model.safetensors", "images", "--out", "."], "holds other files and no job.json"),
        (["attack", "model.safetensors", "images", "--out", "images/out"], "lies inside the image folder images"),
        (["evaluate", "model.safetensors", "images", "--out", "images"], "lies inside the image folder images"),
        (["evaluate", "model.safetensors", "images", "--out", "job.toml/out"], "cannot write to job.toml/out: Not a"),
        (["run", "job.toml", "--out", "job.toml"], "job.toml is a file; choose a folder with --out"),
        (["run", "job.toml", "--out", "job.toml/run"], "cannot write to job.toml/run: Not a directory; choose another"),
        (["run", "job.toml", "--out", "/proc/run"], "cannot write to /proc/run: "),
        (["run", "job.toml", "--out", "."], "is not empty and holds no run; choose another folder with --out"),
        (["demo", "--out", "."], "is not empty and holds no run"),
        (["stylize", "images", "."], "holds other files and no job.json"),
        (["report", "none"], "none is not a folder; name the run folder"),
        (["report", "images"], "images holds no report.json; name a finished run folder"),
    ],
)  # fmt: skip
def test_refused(cli: CommandLine, work: Path, arguments: list[str], message: str) -> None:
    before = sorted(path for path in work.rglob("*") if path.is_file())
    answer = cli(*arguments)
    assert answer.code == 2
    assert message in answer.line()
    left = [path for path in work.rglob("*") if path.is_file() and path not in before]
    assert [path.name for path in left if path.name not in ("config.toml", "seconds.json", "job.json")] == []


def test_a_checkpoint_for_another_size(cli: CommandLine, work: Path) -> None:
    from robustaug.models import build_model  # noqa: PLC0415

    names = ("blue", "green", "red")
    save_checkpoint(work / "wide.safetensors", build_model("small_cnn", 3, (16, 24)), class_names=names)
    answer = cli("attack", "wide.safetensors", "images")
    assert answer.code == 2
    assert "takes 3x16x24 images, these are 3x16x16; load the data at 16x24 px" in answer.line()


def test_a_checkpoint_with_other_classes(cli: CommandLine, work: Path) -> None:
    checkpoint(work / "four.safetensors", ("a", "b", "c", "d"))
    checkpoint(work / "other.safetensors", ("blue", "green", "yellow"))
    for name, message in (
        ("four", "knows 4 classes, the data has 3"),
        ("other", "class 'yellow' where the data has 'red'"),
    ):
        for command in ("attack", "evaluate"):
            answer = cli(command, f"{name}.safetensors", "images")
            assert answer.code == 2
            assert message in answer.line()


def test_nan_weights(cli: CommandLine, work: Path) -> None:
    checkpoint(work / "nan.safetensors", backbone__0__weight=float("nan"))
    for command in ("attack", "evaluate"):
        answer = cli(command, "nan.safetensors", "images", "--out", "out")
        assert answer.code == 2
        assert "backbone.0.weight holds NaN or infinite values; train again or take another file" in answer.line()
    assert not (work / "out").exists()


def test_damaged_and_foreign_checkpoints(cli: CommandLine, work: Path) -> None:
    whole = (work / "model.safetensors").read_bytes()
    (work / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    (work / "foreign.safetensors").write_bytes(safetensors.torch.save({"a": torch.zeros(2)}))
    for name, message in (("half", "is not a whole safetensors file"), ("foreign", "holds no robustaug metadata")):
        assert message in cli("attack", f"{name}.safetensors", "images").line()


def test_a_model_that_returns_probabilities_is_flagged(
    cli: CommandLine, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = ImageClassifier.forward
    monkeypatch.setattr(ImageClassifier, "forward", lambda self, images: true(self, images).softmax(1))
    answer = cli("evaluate", "model.safetensors", "images", "--out", "out")
    assert answer.code == 0
    assert "Check failed (model): the model returns logits, not probabilities: 100% of the outputs" in answer.out
    checks = {check["name"]: check["passed"] for check in read_json(work / "out" / "report.json")["checks"]}
    assert checks["the model returns logits, not probabilities"] is False


def test_a_model_with_the_wrong_number_of_logits(cli: CommandLine, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = ImageClassifier.forward
    monkeypatch.setattr(ImageClassifier, "forward", lambda self, images: true(self, images)[:, :2])
    answer = cli("evaluate", "model.safetensors", "images", "--out", "out")
    assert answer.code == 2
    assert "the model returns 2 logits but the data has 3 classes" in answer.line()


def test_images_outside_their_range_are_an_error_not_clipped(work: Path) -> None:
    model = load_checkpoint(work / "model.safetensors").model
    for images in (
        torch.full((2, 3, 16, 16), 1.5),
        torch.full((2, 3, 16, 16), -0.1),
        torch.full((2, 3, 16, 16), torch.nan),
    ):
        with pytest.raises(RobustAugError, match=r"\[0, 1\]|0 to 1|bounds"):
            FGSM(ThreatModel())(model, images, torch.zeros(2, dtype=torch.int64))
