"""TensorBoard reads back what the history has, once, whatever was killed."""

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_cases import network, run

from robustaug.data import Mix
from robustaug.errors import RobustAugError
from robustaug.files import read_jsonl
from robustaug.training import TrainingSettings
from robustaug.training.loop import _Run

MIX = Mix(0.5, 0, 0.5)
OPTIONS: dict[str, Any] = {"tensorboard": True, "ema": 0.9, "objective": "n_fgsm"}


def check(folder: Path) -> None:
    """Every number of every row, at its step, and nothing else."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    rows = read_jsonl(folder / "history.jsonl")
    names = {name for row in rows for name in row} - {"step", "seconds"}
    assert set(events.Tags()["scalars"]) == names
    assert {"loss", "validation_robust_ema", "training_robust", "images_per_second"} <= names
    for name in names:
        read = [(event.step, event.value) for event in events.Scalars(name)]
        assert read == [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows if name in row]
    times = [event.wall_time for event in events.Scalars("loss")]
    passed = [row["seconds"] for row in rows]
    assert [time - times[0] for time in times] == pytest.approx([time - passed[0] for time in passed], abs=1e-3)


def test_the_rows_of_the_history(tmp_path: Path) -> None:
    run(tmp_path, network(), MIX, **OPTIONS)
    check(tmp_path)


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.mark.parametrize("name", ["save_state", "_Run._step"])
def test_a_resumed_run_tells_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from robustaug.training import loop  # noqa: PLC0415

    true, calls = _Run._step if name == "_Run._step" else loop.save_state, [0]

    def killed(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:  # for a state: after its row was told
            raise Killed
        true(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(f"robustaug.training.loop.{name}", killed)
        with pytest.raises(Killed):
            run(tmp_path, network(), MIX, **OPTIONS)
    run(tmp_path, network(), MIX, **OPTIONS)
    check(tmp_path)
    run(tmp_path, network(), MIX, **OPTIONS)  # nothing left to do
    check(tmp_path)


def test_without_it_no_files(tmp_path: Path) -> None:
    run(tmp_path, network(), MIX)
    assert not (tmp_path / "tensorboard").exists()


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustaug.training.board.find_spec", lambda name: None)
    TrainingSettings()
    with pytest.raises(RobustAugError) as caught:
        TrainingSettings(tensorboard=True)
    assert str(caught.value) == (
        "training.tensorboard needs the package tensorboard; install robustaug[tensorboard] or set it to false"
    )
