"""A run obeys what a person decided about its variants, and never calls an arm done that obeyed something else."""

import shutil
from pathlib import Path

import pytest
from experiment_cases import quick_style, quiet, tiny

from robustaug.data.decisions import DecisionLog
from robustaug.errors import RobustAugError
from robustaug.experiment import run_experiment
from robustaug.experiment.arms import train_arm
from robustaug.files import read_jsonl
from robustaug.models import load_checkpoint


@pytest.fixture
def reviewed(copy_of_finished: Path) -> Path:
    """A finished run, one variant of which was rejected afterwards."""
    folder = copy_of_finished / "variants" / "train"
    log = DecisionLog(folder)
    log.decide(read_jsonl(folder / "manifest.jsonl")[1]["path"], "reject")
    log.close()
    return copy_of_finished


def test_a_finished_arm_that_obeyed_other_decisions_is_refused(
    reviewed: Path, squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_style(monkeypatch)
    with pytest.raises(RobustAugError, match=r"arm style was trained before the variants were reviewed as they are"):
        run_experiment(tiny(squares), reviewed, resume=True, console=quiet())
    for arm in ("style", "adversarial+style"):
        shutil.rmtree(reviewed / "arms" / arm)
    run_experiment(tiny(squares), reviewed, resume=True, console=quiet())
    assert "Left out 1 of 4 variants, as review.jsonl says" in (reviewed / "log.txt").read_text()
    review = load_checkpoint(reviewed / "arms" / "style" / "model.safetensors").extra["review"]
    assert review["left_out"] == 1
    assert load_checkpoint(reviewed / "arms" / "clean" / "model.safetensors").extra["review"] == {}
    run_experiment(tiny(squares), reviewed, resume=True, console=quiet())  # the same decisions are no change


def test_a_half_trained_arm_that_obeyed_other_decisions_is_refused(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_style(monkeypatch)
    config, run = tiny(squares), tmp_path / "run"

    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("robustaug.experiment.arms.save_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        train_arm(config, run, "style", console=quiet())
    monkeypatch.undo()
    quick_style(monkeypatch)
    folder = run / "variants" / "train"
    log = DecisionLog(folder)
    log.decide(read_jsonl(folder / "manifest.jsonl")[0]["path"], "reject")
    log.close()
    with pytest.raises(RobustAugError, match=r"belongs to a run with other settings; .* and its review.jsonl"):
        train_arm(config, run, "style", console=quiet())
