"""One launch of two processes, which take seconds to start, for all tests that need them."""

from pathlib import Path

import pytest
from distributed_cases import in_processes
from distributed_training import PIECES, begun


@pytest.fixture(scope="session")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left of ``distributed_training.everything``; some trainings were begun by one."""
    folder = tmp_path_factory.mktemp("two")
    for name in PIECES:
        begun(folder / f"{name} begun by one", name)
    for done in in_processes("distributed_training", "everything", folder):
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder
