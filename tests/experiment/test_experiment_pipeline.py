"""The whole job on coloured squares: what it leaves behind, what it does not do twice, what it refuses."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from experiment_cases import coloured_squares, models, numbers, quiet, tiny, tree
from PIL import Image

from robustaug import files
from robustaug.data import load_data, read_image
from robustaug.errors import RobustAugError
from robustaug.evaluation.report.schema import SCHEMA
from robustaug.experiment import run_experiment, train_arm
from robustaug.files import read_json, read_jsonl
from robustaug.models import load_checkpoint

ARMS = ["clean", "adversarial", "style", "adversarial+style"]
Quick = Callable[[], None]


def test_report(finished: Path, squares: Path) -> None:
    report = read_json(finished / "report.json")
    jsonschema.validate(report, SCHEMA)
    assert list(report["arms"]) == ARMS
    data = load_data(str(squares), seed=3)
    assert [report["data"][part] for part in ("train", "validation", "test")] == [21, 3, 6]
    assert report["data"]["fingerprint"] == data.fingerprint
    assert report["data"]["skipped"] == []
    assert report["threat"] == {"norm": "linf", "eps": 0.1, "bounds": [0.0, 1.0]}
    assert report["config"]["training"]["steps"] == 4
    assert report["attacks"]["pgd"]["restarts"] == 2
    assert report["attacks"]["training_attack"]["steps"] == 2
    for arm in report["arms"].values():
        assert {"clean", "fgsm", "pgd", "noise", "unseen_style"} == set(arm["metrics"])
        assert [arm["metrics"][name]["n"] for name in ("clean", "pgd", "unseen_style")] == [6, 6, 3]
        assert arm["training"]["steps"] == 4
        assert arm["training"]["chosen_by"] == (
            "validation_robust" if arm["mix"]["adversarial"] else "validation_clean"
        )
    assert report["arms"]["adversarial+style"]["mix"] == {"original": 0.0, "stylised": 0.25, "adversarial": 0.75}
    names = {(check["name"], check["arm"]) for check in report["checks"]}
    assert len(names) == len(report["checks"]) == 3 + 14 * 4  # of the data, and of each arm
    assert {check["passed"] for check in report["checks"] if check["arm"] is None} == {True}
    assert set(report["style"]["training_paintings"]).isdisjoint(report["style"]["held_out_paintings"])
    assert (report["style"]["variants"], report["style"]["test_variants"]) == (4, 3)
    assert report["seconds"]["total"] == pytest.approx(
        sum(value for name, value in report["seconds"].items() if name != "total"), abs=1e-3
    )


def test_folder(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"https?://", page)
    for arm in ARMS:
        folder = finished / "arms" / arm
        assert {path.name for path in folder.iterdir()} == {
            "model.safetensors", "state.safetensors", "state.before.safetensors", "history.jsonl",
            "evaluation.safetensors",
        }  # fmt: skip
        history = read_jsonl(folder / "history.jsonl")
        assert [row["step"] for row in history] == [2, 4]
        assert read_json(finished / "report.json")["arms"][arm]["training_curve"] == history
    assert list(finished.rglob(".tmp-*")) == []
    assert len(read_json(finished / "samples" / "adversarial.json")["rows"]) == 4 * 3
    assert read_json(finished / "samples" / "stylised.json")["rows"]


def test_test_images_never_become_training_variants(finished: Path, squares: Path) -> None:
    data = load_data(str(squares), seed=3)
    rows = read_jsonl(finished / "variants" / "train" / "manifest.jsonl")
    train = {row["source"] for row in rows}
    assert {row["label"] for row in rows} == {"blue", "green", "red"}  # four variants, and no class without one
    test = {row["source"] for row in read_jsonl(finished / "variants" / "test" / "manifest.jsonl")}
    assert train <= set(data.train.keys)
    assert test <= set(data.test.keys)
    assert train
    assert test


def test_every_arm_starts_from_the_same_weights_and_ends_elsewhere(finished: Path, squares: Path) -> None:
    assert len(set(models(finished).values())) == 4
    loaded = [load_checkpoint(finished / "arms" / arm / "model.safetensors") for arm in ARMS]
    assert [checkpoint.extra["arm"] for checkpoint in loaded] == ARMS
    means = [checkpoint.model.mean for checkpoint in loaded]
    assert all(torch.equal(mean, means[0]) for mean in means)
    images = load_data(str(squares), seed=3).train.float_images()
    assert torch.allclose(means[0].flatten(), images.mean((0, 2, 3)), atol=1e-5)
    assert [bool(checkpoint.extra["paintings"]) for checkpoint in loaded] == [False, False, True, True]


def test_the_samples_show_what_was_measured(finished: Path) -> None:
    samples = read_json(finished / "samples" / "adversarial.json")
    assert samples["amplification"] == 5  # 0.5 / 0.1
    for row in samples["rows"]:
        original, adversarial = (read_image(finished / "samples" / row[name]) for name in ("original", "adversarial"))
        assert (original.float() - adversarial.float()).abs().max() <= 0.1 * 255 + 1


def test_twice_is_equal(finished: Path, squares: Path, tmp_path: Path, quick: Quick) -> None:
    """The same configuration in another folder: the same models and variants, byte for byte, and the same numbers."""
    run_experiment(tiny(squares), tmp_path / "again", console=quiet())
    assert models(tmp_path / "again") == models(finished)
    assert tree(tmp_path / "again") == tree(finished)
    assert numbers(tmp_path / "again") == numbers(finished)


def test_resume_of_a_finished_run_does_nothing_again(
    copy_of_finished: Path, finished: Path, squares: Path, monkeypatch: pytest.MonkeyPatch, quick: Quick
) -> None:
    for name in ("arms.train", "measure.evaluate_arm"):
        monkeypatch.setattr(f"robustaug.experiment.{name}", lambda *a, **k: pytest.fail("done again"))
    monkeypatch.setattr("robustaug.style.gatys.Gatys.run", lambda *a, **k: pytest.fail("stylised again"))
    outcome = run_experiment(tiny(squares), copy_of_finished, resume=True, console=quiet())
    assert outcome.report == copy_of_finished / "report.html"
    assert numbers(copy_of_finished) == numbers(finished)
    assert models(copy_of_finished) == models(finished)


def test_a_lost_arm_is_made_again(copy_of_finished: Path, finished: Path, squares: Path, quick: Quick) -> None:
    shutil.rmtree(copy_of_finished / "arms" / "style")
    run_experiment(tiny(squares), copy_of_finished, resume=True, console=quiet())
    assert models(copy_of_finished) == models(finished)
    assert numbers(copy_of_finished) == numbers(finished)


def test_changed_images_are_refused(copy_of_finished: Path, squares: Path, tmp_path: Path, quick: Quick) -> None:
    changed = tmp_path / "squares"
    shutil.copytree(squares, changed)
    config = tiny(changed)
    (copy_of_finished / "config.toml").write_text(config.to_toml())
    before = (copy_of_finished / "report.json").read_bytes()
    Image.new("RGB", (16, 16), "blue").save(changed / "blue" / "00.png")
    with pytest.raises(RobustAugError, match=r"the images have changed since the run in .* began"):
        run_experiment(config, copy_of_finished, resume=True, console=quiet())
    assert (copy_of_finished / "report.json").read_bytes() == before


def test_skipped_files_are_listed(tmp_path: Path, quick: Quick) -> None:
    root = coloured_squares(tmp_path / "images")
    whole = (root / "red" / "00.png").read_bytes()
    (root / "red" / "00.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (1, 1)).save(root / "blue" / "dot.png")
    config = tiny(root, arms="{only = {}}", training__steps=2, evaluation__unseen_style_samples=1)
    outcome = run_experiment(config, tmp_path / "run", console=quiet())
    listed = {item["path"]: item["reason"] for item in read_json(tmp_path / "run" / "report.json")["data"]["skipped"]}
    assert set(listed) == {str(root / "red" / "00.png"), str(root / "blue" / "dot.png")}
    assert {item.path for item in outcome.skipped} == set(listed)
    assert "1x1 px is too small" in listed[str(root / "blue" / "dot.png")]
    assert "Skipped " + str(root / "red" / "00.png") in (tmp_path / "run" / "log.txt").read_text()
    assert read_json(tmp_path / "run" / "report.json")["style"]["variants"] == 0  # no arm wants any


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__name": "small_cn"}, "model 'small_cn' is unknown.*small_cnn"),
        ({"model__options": "{depth = 3}"}, "option 'depth' is unknown"),
        ({"threat__norm": "l2", "threat__eps": 1000}, "eps is 1000, longer than the diagonal of the bounds"),
        ({"style__held_out": 12}, "cannot hold out 12 of 12 paintings"),
        ({"style__paintings": "/none"}, "there is no folder of paintings /none"),
        ({"data__size": 4}, "size 4 is too small"),
        ({"data__size": 12}, "small_cnn works from 16 px up"),
        ({"data__size": 12, "model__name": "preact_resnet18"}, "style transfer needs 16 px, images are 12x12"),
        ({"data__limit": 1}, "class 'blue' has 1 usable image"),
        ({"data__source": "/none"}, "image folder /none does not exist"),
        ({"data__source": "minst5k"}, "did you mean 'mnist5k'"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_made(
    squares: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RobustAugError, match=message) as caught:
        run_experiment(tiny(squares, **changes), tmp_path / "run", console=quiet())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "arms").exists()
    assert tree(tmp_path / "run") == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 64}, "there are 21 training images, fewer than the 64 of a batch"),
        ({"resizing": "[[8, 0.5]]"}, "the model does not take images of 8 px"),
        ({"advprop": "true"}, "advprop gives adversarial images their own batch norms, but the network has none"),
    ],
)
def test_a_training_that_does_not_fit_leaves_the_folder_to_the_mended_configuration(
    squares: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """Neither are its images stylised first."""
    training = {f"training__{key}": value for key, value in changes.items()}
    with pytest.raises(RobustAugError, match=message):
        run_experiment(
            tiny(squares, arms="{half = {adversarial = 0.5, stylised = 0.5}}", **training),
            tmp_path / "run",
            console=quiet(),
        )
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("objective", "advice"),
    [("rs_fgsm", "objective='n_fgsm'"), ("n_fgsm", "on_collapse='return' or more training.noise")],
)
def test_a_collapse_is_told_at_the_end(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, advice: str
) -> None:
    monkeypatch.setattr("robustaug.training.watch.Watch.collapsed", lambda *_: True)
    config = tiny(squares, arms="{hard = {adversarial = 1.0}}", training__objective=objective)
    train_arm(config, tmp_path / "run", console=quiet())
    said = f"Arm hard overfitted catastrophically at step 2, 3, 4; try training.{advice}\n"
    assert said in (tmp_path / "run" / "log.txt").read_text()


def test_output_inside_the_images_is_refused(tmp_path: Path) -> None:
    root = coloured_squares(tmp_path / "images", per_class=3)
    with pytest.raises(RobustAugError, match="lies inside the image folder"):
        run_experiment(tiny(root), root / "run", console=quiet())
    assert not (root / "run").exists()


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
import pytest, torch
torch.set_num_threads(1)
from experiment_cases import quick_style, quiet, tiny
from robustaug.experiment import run_experiment, train_arm
quick_style(pytest.MonkeyPatch())
true, calls, last = Path.replace, [0], int(sys.argv[3])
def killed(self, target):
    calls[0] += 1
    if calls[0] == last:
        os.kill(os.getpid(), signal.SIGKILL)  # the file is written under its temporary name, and stays there
    return true(self, target)
Path.replace = killed
run_experiment(tiny(Path(sys.argv[1])), Path(sys.argv[2]), resume=True, console=quiet())
"""


def test_killed_again_and_again(finished: Path, squares: Path, tmp_path: Path, quick: Quick) -> None:
    """Real kills, each before another file gets its name, and a last call that finishes."""
    out = tmp_path / "run"
    for renames in (9, 30):
        arguments = [sys.executable, "-c", CHILD, str(squares), str(out), str(renames), str(Path(__file__).parent)]
        done = subprocess.run(arguments, capture_output=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert not (out / "report.json").exists()
    run_experiment(tiny(squares), out, resume=True, console=quiet())
    assert models(out) == models(finished)
    assert tree(out / "variants") == tree(finished / "variants")
    assert numbers(out) == numbers(finished)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("renames", [1, 3, 5, 12, 20, 27, 33, 40])
def test_interrupted_anywhere(
    finished: Path, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: Quick, renames: int
) -> None:
    calls = [0]
    true = Path.replace

    def killed(self: Path, target: Path) -> Path:
        calls[0] += 1
        if calls[0] == renames:
            raise Killed
        return true(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            run_experiment(tiny(squares), tmp_path / "run", console=quiet())
    monkeypatch.setattr("robustaug.experiment.pipeline.build_report", lambda path: path)  # drawn in other tests
    run_experiment(tiny(squares), tmp_path / "run", resume=True, console=quiet())
    assert models(tmp_path / "run") == models(finished)
    assert numbers(tmp_path / "run") == numbers(finished)


def test_a_full_disk(
    finished: Path, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: Quick
) -> None:
    """Every file that was begun is whole or absent, and with space the run goes on to the same end."""
    calls = [0]
    true = os.fsync

    def full(handle: int) -> None:
        calls[0] += 1
        if calls[0] > 12:
            raise OSError(28, "No space left on device")
        true(handle)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(RobustAugError, match="No space left on device; free space or choose another") as caught:
            run_experiment(tiny(squares), tmp_path / "run", console=quiet())
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "run").rglob(".tmp-*")) == []
    for path in (tmp_path / "run").rglob("*.json"):
        json.loads(path.read_text())
    monkeypatch.setattr("robustaug.experiment.pipeline.build_report", lambda path: path)
    run_experiment(tiny(squares), tmp_path / "run", resume=True, console=quiet())
    assert models(tmp_path / "run") == models(finished)
