"""The protocol: its hash, its grid, its limits."""

from dataclasses import fields, replace

import pytest

from robustaug.attacks import ThreatModel
from robustaug.errors import RobustAugError
from robustaug.evaluation import PROTOCOLS, Protocol


def test_the_hash_changes_with_every_setting():
    base = Protocol()
    others = {
        "name": "mine",
        "curve_multiples": (0.0, 1.0),
        "precision": "bfloat16",
        "corruption_severities": (1, 5),
    }
    changed = [replace(base, **{f.name: others.get(f.name, 7)}) for f in fields(Protocol)]
    assert len({base.hash, *(protocol.hash for protocol in changed)}) == len(changed) + 1
    assert base.hash == Protocol().hash


def test_quick_does_less_of_everything():
    quick, standard = PROTOCOLS["quick"], PROTOCOLS["standard"]
    for name in ("samples", "pgd_steps", "pgd_restarts", "noise_draws", "curve_samples", "curve_steps"):
        assert getattr(quick, name) < getattr(standard, name)


@pytest.mark.parametrize(
    ("threat", "shape", "last"),
    [
        (ThreatModel("linf", 0.2), (3, 8, 8), 1.0),
        (ThreatModel("linf", "8/255"), (3, 8, 8), 1.0),
        (ThreatModel("linf", 3, bounds=(0, 255)), (3, 8, 8), 255.0),
        (ThreatModel("l2", 1.5), (3, 4, 4), 48**0.5),
        (ThreatModel("linf", 0.0), (3, 8, 8), 1.0),
        (ThreatModel("linf", 1.0), (3, 8, 8), 1.0),
    ],
)
def test_the_grid_climbs_from_nothing_to_the_width_of_the_bounds(threat, shape, last):
    grid = Protocol().eps_grid(threat, shape)
    assert grid[0] == 0
    assert grid[-1] == last
    assert grid == sorted(set(grid))
    if threat.eps:
        assert threat.eps in grid


def test_the_grid_by_hand():
    protocol = Protocol(curve_multiples=(0, 0.5, 1, 4, 6))
    assert protocol.eps_grid(ThreatModel("linf", 0.2), (3, 8, 8)) == [0, 0.1, 0.2, 0.8, 1.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples is 0; it must be at least 1"),
        ({"pgd_restarts": -1}, "pgd_restarts is -1"),
        ({"curve_multiples": (0.5, 1.0)}, "must ascend from 0"),
        ({"curve_multiples": (0.0, 1.0, 1.0)}, "must ascend from 0"),
        ({"curve_multiples": ()}, "must ascend from 0"),
        ({"corruption_samples": -1}, "corruption_samples is -1; it must be at least 0"),
        ({"corruption_severities": ()}, "must be some of 1 to 5, ascending"),
        ({"corruption_severities": (1, 6)}, "must be some of 1 to 5, ascending"),
        ({"corruption_severities": (3, 1)}, "must be some of 1 to 5, ascending"),
        ({"corruption_severities": (3, 3)}, "must be some of 1 to 5, ascending"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(RobustAugError, match=message):
        Protocol(**settings)


def test_one_eps_per_sample_has_no_curve():
    with pytest.raises(RobustAugError, match="one eps for all samples"):
        Protocol().eps_grid(ThreatModel("linf", (0.1, 0.2)), (3, 8, 8))
