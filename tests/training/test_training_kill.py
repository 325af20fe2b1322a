"""SIGKILL at any moment, again and again: the end is bitwise that of a run that nothing killed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from training_cases import history, network, run

from robustaug.data import Mix

MIX = Mix(0.5, 0.25, 0.25)
OPTIONS: dict[str, Any] = {"steps": 50, "shift": 1, "ema": 0.9, "swa": 0.5, "objective": "n_fgsm"}

# One interpreter that starts a training in a fork of itself, kills it after a random time, and starts it again. The
# last one is left alone.
CHILD = """
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
from test_training_kill import MIX, OPTIONS
from training_cases import network, run
folder, draw, kills = Path(sys.argv[1]), random.Random(), 0
for number in range(60):
    child = os.fork()
    if child == 0:
        run(folder, network(), MIX, **OPTIONS)
        os._exit(0)
    if kills < 7:
        time.sleep(draw.uniform(0.02, 0.15))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        break
    kills += 1
print(kills, os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot copy a process; test_a_real_kill runs anywhere")
def test_killed_at_random_moments(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", CHILD, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    kills, code = map(int, done.stdout.split())
    assert code == 0
    assert kills >= 1
    resumed, whole = network(seed=9), network()
    result = run(tmp_path, resumed, MIX, **OPTIONS)  # it is finished: this loads its end
    expected = run(tmp_path / "whole", whole, MIX, **OPTIONS)
    assert all(
        torch.equal(a, b) for a, b in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True)
    )
    keys = ("chosen_step", "chosen_by", "score", "collapses")
    assert [getattr(result, key) for key in keys] == [getattr(expected, key) for key in keys]
    assert history(tmp_path) == history(tmp_path / "whole")
    for name in ("state.safetensors", "state.before.safetensors"):
        one, other = (safetensors.torch.load_file(folder / name) for folder in (tmp_path, tmp_path / "whole"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
