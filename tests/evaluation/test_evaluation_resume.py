"""An evaluation that was killed goes on from its finished metrics, and ends with the same numbers."""

import os
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from evaluation_cases import Linear, image_set, labelled_by
from torch import Tensor

from robustaug.attacks import FAB, AutoAttack, ThreatModel
from robustaug.errors import RobustAugError
from robustaug.evaluation import CueConflicts, Protocol, ProtocolAttack, evaluate_arm
from robustaug.evaluation.bench import Bench
from robustaug.evaluation.transfer import Surrogate

LINF = ThreatModel("linf", 0.02)
PROTOCOL = Protocol(
    samples=12,
    pgd_steps=2,
    pgd_restarts=1,
    noise_draws=1,
    attacks=(ProtocolAttack("autoattack", samples=4), ProtocolAttack("square", options={"queries": 20})),
    transfer_samples=6,
    minimal_samples=6,
    curve_samples=4,
    curve_steps=2,
    corruption_samples=3,
    corruption_severities=(1,),
)
PARTS = (
    "clean", "fgsm", "pgd", "autoattack", "square", "noise", "eps_curve", "transfer", "minimal", "unseen_style",
    "style_strength", "shape_bias", "corruptions",
)  # fmt: skip


def evaluated(folder: Path | None, **changes):
    model = Linear((3, 8, 8))
    samples = labelled_by(model, image_set(20, size=8), wrong=2)
    arguments = {
        "threat": LINF,
        "protocol": PROTOCOL,
        "stylised": samples.select(range(5)),
        "by_strength": {0.5: samples.select(range(2, 4)), 1.0: samples.select(range(2, 4))},
        "conflicts": CueConflicts(samples.select(range(6)), torch.arange(6), torch.arange(6, 12), "gatys"),
        "surrogates": {"other": Surrogate(Linear((3, 8, 8), seed=4))},
        "seed": 3,
    }
    return evaluate_arm(changes.pop("model", model), samples, folder=folder, **(arguments | changes))


def assert_equal(found, expected) -> None:
    """Every field but the time."""
    for field in fields(expected):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(one, Tensor):
            assert torch.equal(one, other), field.name
        elif field.name in ("verdicts", "predictions", "excess", "broken_by", "confusion"):
            assert list(one) == list(other)
            assert all(torch.equal(one[name], other[name]) for name in one), field.name
        elif field.name != "seconds":
            assert one == other, field.name


@pytest.fixture(scope="module")
def whole():
    return evaluated(None)


class Killed(BaseException):
    pass


def test_two_evaluations_are_equal_but_for_their_times(whole, tmp_path):
    assert_equal(evaluated(tmp_path), whole)
    assert sorted(path.stem for path in tmp_path.glob("*/*.safetensors")) == sorted(PARTS)
    assert list(tmp_path.glob("*/states/*")) == []
    again = evaluated(tmp_path)
    assert_equal(again, whole)
    assert again.seconds == pytest.approx(evaluated(tmp_path).seconds)  # the parts' own


@pytest.mark.parametrize("last", [0, 3, 4, 9, 11])
def test_an_evaluation_goes_on_after_the_last_finished_metric(whole, tmp_path, monkeypatch, last):
    calls = [0]
    true = Path.replace

    def killed(self, target):
        if "states" not in Path(target).parts:
            if calls[0] == last:
                raise Killed
            calls[0] += 1
        return true(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            evaluated(tmp_path)
    assert {path.stem for path in tmp_path.glob("*/*.safetensors")} == set(PARTS[:last])
    done = []
    for method in ("attack", "predict", "noise", "corruptions", "smallest_distances"):
        original = getattr(Bench, method)

        def noted(self, *args, original=original, method=method, **kwargs):
            done.append(args[3] if method == "attack" else method)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Bench, method, noted)
    assert_equal(evaluated(tmp_path), whole)
    calls_of = {
        "clean": "predict",
        "unseen_style": "predict",
        "style_strength": "predict",
        "shape_bias": "predict",
        "minimal": "smallest_distances",
        "eps_curve": "eps curve",
    }
    expected = [calls_of.get(name, name) for name in PARTS[last:] if name != "transfer"]
    assert list(dict.fromkeys(done)) == list(dict.fromkeys(expected))


def test_autoattack_goes_on_within_itself(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(FAB, "_search", lambda *args: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            evaluated(tmp_path)
    assert [path.name for path in tmp_path.glob("*/states/*")] == ["autoattack.safetensors"]
    stages = []
    original = AutoAttack._searches

    def noted(self, oracle):
        searches = original(self, oracle)

        def watched(name, search):
            return lambda *args: (stages.append(name), search(*args))[1]

        return {name: watched(name, search) for name, search in searches.items()}

    monkeypatch.setattr(AutoAttack, "_searches", noted)
    assert_equal(evaluated(tmp_path), whole)
    assert set(stages) <= {"fab-t", "square"}
    assert "fab-t" in stages
    assert list(tmp_path.glob("*/states/*")) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 4},
        {"threat": ThreatModel("linf", 0.03)},
        {"protocol": replace(PROTOCOL, pgd_steps=3)},
        {"model": Linear((3, 8, 8), seed=1)},
        {"surrogates": {"other": Surrogate(Linear((3, 8, 8), seed=9))}},
        {"stylised": None},
        {"by_strength": None},
        {"conflicts": None},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_parts_of_another_evaluation_are_not_used(tmp_path, changes):
    evaluated(tmp_path, protocol=replace(PROTOCOL, attacks=()))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    changed = {"protocol": replace(PROTOCOL, attacks=())} | changes
    if "protocol" in changes:
        changed["protocol"] = replace(changes["protocol"], attacks=())
    assert_equal(evaluated(tmp_path, **changed), evaluated(None, **changed))
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_part_gets_one_line(tmp_path):
    evaluated(tmp_path, protocol=replace(PROTOCOL, attacks=()))
    (path,) = tmp_path.glob("*/pgd.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RobustAugError, match=r"pgd.safetensors is no whole part of an evaluation .*; delete it"):
        evaluated(tmp_path, protocol=replace(PROTOCOL, attacks=()))


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import torch
torch.set_num_threads(1)
from test_evaluation_resume import evaluated
true, calls = Path.replace, [0]
def killed(self, target):
    calls[0] += 1
    if calls[0] == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return true(self, target)
Path.replace = killed
evaluated(Path(sys.argv[1]))
"""


def test_a_real_kill(whole, tmp_path):
    """In the middle of AutoAttack: its state is being written when the process dies."""
    arguments = [sys.executable, "-c", CHILD, str(tmp_path), "6", str(Path(__file__).parent)]
    done = subprocess.run(arguments, capture_output=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert {path.stem for path in tmp_path.glob("*/*.safetensors")} == {"clean", "fgsm", "pgd"}
    assert len(list(tmp_path.glob("*/states/autoattack.safetensors"))) == 1
    assert_equal(evaluated(tmp_path), whole)
