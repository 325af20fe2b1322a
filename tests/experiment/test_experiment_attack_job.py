"""Adversarial copies: what the files hold is what was judged; kills, orders and other jobs."""

import dataclasses
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
from experiment_cases import coloured_squares, tree

from robustaug.attacks import FGSM, PGD, AutoAttack, ThreatModel
from robustaug.data import ImageSet, load_images, read_image
from robustaug.errors import RobustAugError
from robustaug.experiment import attack_job
from robustaug.experiment.attack_job import AttackOutcome, attack_images
from robustaug.files import read_jsonl
from robustaug.models import Checkpoint

PGD3 = PGD(ThreatModel("linf", 0.15), steps=3)


@pytest.fixture(scope="module")
def images(squares: Path) -> ImageSet:
    return load_images(str(squares))[0]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_job, "_BATCH", 7)


def test_the_files_are_what_was_judged(checkpoint: Checkpoint, images: ImageSet, tmp_path: Path) -> None:
    outcome = attack_images(checkpoint, images, PGD3, out=tmp_path / "out")
    rows = read_jsonl(tmp_path / "out" / "manifest.jsonl")
    assert [row["path"] for row in rows] == sorted(images.keys)  # folders and names are kept
    source = {key: row for row, key in enumerate(images.keys)}
    original = images.float_images()
    for row in rows:
        number = source[row["source"]]
        pixels = read_image(tmp_path / "out" / row["path"])[None] / 255
        with torch.no_grad():
            before, after = (checkpoint.model(x).argmax().item() for x in (original[number : number + 1], pixels))
        label = int(images.labels[number])
        assert row["label"] == images.class_names[label]
        assert row["prediction_before"] == images.class_names[before]
        assert row["success_8bit"] == (after != label)
        assert float((pixels - original[number]).abs().max()) <= 0.15 + 0.5 / 255 + 1e-6
        assert row["distance"] <= 0.15 + 1e-6
        assert row["success"] == (row["prediction_after"] != row["label"])
        assert row["source_sha256"] == images.sha256[number]
        assert (row["kind"], row["attack"], row["norm"], row["eps"], row["steps"]) == (
            "adversarial", "PGD", "linf", 0.15, 3
        )  # fmt: skip
    n = len(rows)
    assert outcome.written == n == 30
    assert outcome.clean.value == sum(row["prediction_before"] == row["label"] for row in rows) / n
    assert outcome.robust.value == sum(not row["success"] for row in rows) / n
    assert outcome.robust_8bit.value == sum(not row["success_8bit"] for row in rows) / n
    assert outcome.robust.value < outcome.clean.value
    assert attack_images(checkpoint, images, PGD3) == AttackOutcome(
        outcome.clean, outcome.robust, outcome.robust_8bit, 0
    )  # without files the same numbers


class Threshold(torch.nn.Module):
    """Bright from a mean of 100.2 of 255 on: between two of the levels that a file can hold."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = images.mean((1, 2, 3)) - 100.2 / 255
        return torch.stack([torch.zeros_like(bright), bright], 1)


def test_success_is_judged_again_after_rounding(checkpoint: Checkpoint, tmp_path: Path) -> None:
    levels = torch.tensor([100, 100, 99]).view(3, 1, 1, 1).expand(3, 3, 16, 16).to(torch.uint8)
    keys = ("dark/a.png", "dark/b.png", "dark/c.png")
    dark = ImageSet(levels.contiguous(), torch.zeros(3, dtype=torch.int64), keys, keys, ("dark", "bright"))
    model: Any = Threshold()
    attack = PGD(ThreatModel("linf", 0.4 / 255), steps=3)  # up to 100.4, which a file holds as 100
    outcome = attack_images(dataclasses.replace(checkpoint, model=model), dark, attack, out=tmp_path / "out")
    rows = read_jsonl(tmp_path / "out" / "manifest.jsonl")
    assert [row["success"] for row in rows] == [True, True, False]
    assert [row["success_8bit"] for row in rows] == [False, False, False]
    assert (outcome.robust.value, outcome.robust_8bit.value) == (pytest.approx(1 / 3), 1.0)


@pytest.mark.usefixtures("small_batches")
def test_order_and_batches_change_no_byte(checkpoint: Checkpoint, images: ImageSet, tmp_path: Path) -> None:
    attack_images(checkpoint, images, PGD3, out=tmp_path / "a", seed=4)
    backwards = images.select(list(reversed(range(len(images)))))
    attack_job._BATCH = 100
    attack_images(checkpoint, backwards, PGD3, out=tmp_path / "b", seed=4)
    assert tree(tmp_path / "a", "**/*.*") == tree(tmp_path / "b", "**/*.*")
    attack_images(checkpoint, images, PGD3, out=tmp_path / "c", seed=5)
    assert tree(tmp_path / "a") != tree(tmp_path / "c")


class Killed(BaseException):
    pass


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("written", [0, 1, 9, 29])
@pytest.mark.parametrize("step", ["robustaug.data.jobs.encode_png", "robustaug.data.rows.append_jsonl"])
def test_a_killed_job_resumes_to_the_same_tree(
    checkpoint: Checkpoint, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int, step: str
) -> None:
    whole = attack_images(checkpoint, images, PGD3, out=tmp_path / "whole")
    true = resolve_name(step)
    calls = [0]

    def killed(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] > written:
            raise Killed
        return true(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(step, killed)
        with pytest.raises(Killed):
            attack_images(checkpoint, images, PGD3, out=tmp_path / "killed")
    with (tmp_path / "killed" / "manifest.part.jsonl").open("a") as file:
        file.write('{"path": "torn')
    (tmp_path / "killed" / "red").mkdir(exist_ok=True)
    (tmp_path / "killed" / "red" / ".tmp-xyz.png").write_bytes(b"half")
    resumed = attack_images(checkpoint, images, PGD3, out=tmp_path / "killed")
    assert resumed.written == 30 - written
    assert (resumed.clean, resumed.robust, resumed.robust_8bit) == (whole.clean, whole.robust, whole.robust_8bit)
    everything = {path.relative_to(tmp_path / "killed") for path in (tmp_path / "killed").rglob("*")}
    assert everything == {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*")}
    assert tree(tmp_path / "killed", "**/*.*") == tree(tmp_path / "whole", "**/*.*")


def test_a_second_call_does_nothing(
    checkpoint: Checkpoint, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = attack_images(checkpoint, images, PGD3, out=tmp_path / "out")
    before = tree(tmp_path / "out", "**/*.*")
    monkeypatch.setattr(PGD, "__call__", lambda *a, **k: pytest.fail("attacked again"))
    second = attack_images(checkpoint, images, PGD3, out=tmp_path / "out")
    assert second == AttackOutcome(first.clean, first.robust, first.robust_8bit, 0)
    assert tree(tmp_path / "out", "**/*.*") == before


def test_other_jobs_and_foreign_files_are_refused(checkpoint: Checkpoint, images: ImageSet, tmp_path: Path) -> None:
    few = images.select(range(4))
    out = tmp_path / "out"
    attack_images(checkpoint, few, PGD3, out=out)
    before = tree(out, "**/*.*")
    for attack, seed, content, name in (
        (FGSM(ThreatModel("linf", 0.15)), 0, few, "attack"),
        (PGD(ThreatModel("linf", 0.2), steps=3), 0, few, "eps"),
        (PGD3, 1, few, "seed"),
        (PGD3, 0, images.select(range(5)), "content"),
    ):
        with pytest.raises(RobustAugError, match=f"{out} holds another job .its .*{name}.* differ.; choose another"):
            attack_images(checkpoint, content, attack, out=out, seed=seed)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "photo.png").write_bytes(b"")
    with pytest.raises(RobustAugError, match=r"holds other files and no job.json; choose a new or empty output folder"):
        attack_images(checkpoint, few, PGD3, out=tmp_path / "foreign")
    assert tree(out, "**/*.*") == before


def test_a_changed_source_is_attacked_again(checkpoint: Checkpoint, tmp_path: Path) -> None:
    root = coloured_squares(tmp_path / "images", per_class=2)
    attack_images(checkpoint, load_images(str(root))[0], PGD3, out=tmp_path / "out")
    (root / "red" / "00.png").write_bytes((root / "red" / "01.png").read_bytes())
    again = attack_images(checkpoint, load_images(str(root))[0], PGD3, out=tmp_path / "out")
    assert again.written == 1
    hashes = {row["path"]: row["source_sha256"] for row in read_jsonl(tmp_path / "out" / "manifest.jsonl")}
    assert hashes["red/00.png"] == hashes["red/01.png"]


def test_names_that_differ_in_their_suffix_only(checkpoint: Checkpoint, images: ImageSet, tmp_path: Path) -> None:
    def named(*keys: str) -> ImageSet:
        few = images.select(range(len(keys)))
        return ImageSet(few.images, few.labels, keys, few.sha256, few.class_names)

    attack_images(checkpoint, named("blue/a.png", "blue/a.jpg", "blue/b.jpg"), PGD3, out=tmp_path / "out")
    assert set(tree(tmp_path / "out")) == {"blue/a.png.png", "blue/a.jpg.png", "blue/b.png"}
    attack_images(checkpoint, named("blue/a.png", "blue/a.jpg", "blue/a.jpg.png"), PGD3, out=tmp_path / "three")
    assert set(tree(tmp_path / "three")) == {"blue/a.png.png", "blue/a.jpg.png", "blue/a.jpg.png.png"}


def test_an_unwritable_place_and_a_full_disk(
    checkpoint: Checkpoint, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RobustAugError, match=r"cannot write to .*file/out"):
        attack_images(checkpoint, images, PGD3, out=tmp_path / "file" / "out")

    def full(self: Path, target: Path) -> Path:
        if target.suffix == ".png":
            raise OSError(28, "No space left on device")
        return true(self, target)

    true = Path.replace
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(RobustAugError, match=r"cannot write .*png: No space left on device; free space"):
            attack_images(checkpoint, images, PGD3, out=tmp_path / "out")
    assert tree(tmp_path / "out", "**/.tmp-*") == {}
    assert attack_images(checkpoint, images, PGD3, out=tmp_path / "out").written == 30


def test_autoattack_says_which_stage_broke_each_image(
    checkpoint: Checkpoint, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threat = ThreatModel("linf", 0.15)
    short = {"apgd-ce": PGD(threat, steps=1), "square": PGD(threat, steps=8)}
    monkeypatch.setattr(AutoAttack, "stages", lambda self: short)
    outcome = attack_images(checkpoint, images, AutoAttack(threat), out=tmp_path / "out")
    rows = read_jsonl(tmp_path / "out" / "manifest.jsonl")
    broken_by = [row["broken_by"] for row in rows]
    assert set(broken_by) <= {"clean", "apgd-ce", "square", None}
    assert [name is not None for name in broken_by] == [row["success"] for row in rows]
    assert list(outcome.stages) == ["clean", "apgd-ce", "square"]
    standing = [sum(name not in {"clean", "apgd-ce", "square"} for name in broken_by)]
    standing = [*[sum(name not in gone for name in broken_by) for gone in ({"clean"}, {"clean", "apgd-ce"})], *standing]
    assert [round(after.value * len(rows)) for after in outcome.stages.values()] == standing
    assert outcome.stages["clean"] == outcome.clean
    assert outcome.stages["square"] == outcome.robust


def test_the_manifest_has_the_distance_of_what_was_written(
    checkpoint: Checkpoint, images: ImageSet, tmp_path: Path
) -> None:
    for norm, eps, order in (("l2", 1.0, 2), ("l1", 9.0, 1), ("linf", 0.15, torch.inf)):
        out = tmp_path / norm
        attack_images(checkpoint, images, PGD(ThreatModel(norm, eps), steps=3), out=out)
        original = dict(zip(images.keys, images.float_images(), strict=True))
        for row in read_jsonl(out / "manifest.jsonl"):
            change = (read_image(out / row["path"]) / 255 - original[row["source"]]).flatten()
            assert row["distance_8bit"] == pytest.approx(float(change.norm(p=order)), rel=1e-4, abs=1e-6)
            assert row["distance"] <= eps + 1e-6
