"""What a job that goes on tells its user: one line on standard error, and nothing of others is lost."""

import warnings
from pathlib import Path

import pytest
from cli_cases import CommandLine

from robustaug.errors import RobustAugWarning


def test_a_damaged_state_is_told_in_one_line_and_the_end_is_the_same(cli: CommandLine, work: Path) -> None:
    command = ("run", "job.toml", "--out", "out")
    assert cli(*command).code == 0
    arm = Path("out") / "arms" / "adversarial"
    model, state = arm / "model.safetensors", arm / "state.safetensors"
    whole = model.read_bytes()
    state.write_bytes(state.read_bytes()[:-1])
    model.unlink()
    answer = cli(*command, "--resume")
    assert answer.code == 0
    assert answer.line().startswith(f"warning: the saved state {state} (")
    assert answer.line().endswith(") is damaged; going on from the one before it, at step 2")
    assert model.read_bytes() == whole


def test_warnings_of_others_are_shown_as_ever(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def examine() -> None:
        warnings.warn("our own\nin one line", RobustAugWarning, stacklevel=1)
        warnings.warn("of another library", UserWarning, stacklevel=1)
        raise KeyboardInterrupt

    monkeypatch.setattr("robustaug.experiment.doctor.examine", examine)
    lines = cli("doctor").err.splitlines()
    assert lines[0] == "robustaug: warning: our own in one line"
    assert "UserWarning: of another library" in lines[1]
