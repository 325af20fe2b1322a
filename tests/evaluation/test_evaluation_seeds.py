"""Mean and spread over seeds, and the script that prints them."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from robustaug.errors import RobustAugError
from robustaug.evaluation.seeds import Spread, across_seeds

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "arms.py"


def report(seed, *, clean=0.9, pgd=0.5, n=200):
    def metric(value):
        return {"value": value, "low": max(0.0, value - 0.1), "high": min(1.0, value + 0.1), "n": n}

    return {
        "schema_version": 1, "name": "three seeds", "created": "2026-01-01T00:00:00+00:00", "robustaug": "0.1.0",
        "seed": seed, "data": {"name": "d", "classes": ["x", "y"], "image_size": [8, 8], "test": n, "skipped": []},
        "threat": {"norm": "linf", "eps": "8/255", "bounds": [0.0, 1.0]}, "attacks": {}, "checks": [],
        "arms": {
            "clean": {"metrics": {"clean": metric(clean), "pgd": metric(0.0)}, "per_class": {}, "eps_curve": []},
            "adversarial": {"metrics": {"clean": metric(clean - 0.1), "pgd": metric(pgd)}},
        },
        "versions": {}, "hardware": {}, "seconds": {"total": 1.0 + seed},
        "config": {"name": f"run {seed}", "seed": seed, "training": {"steps": 5, "average": {}}, "arms": ["clean"]},
    }  # fmt: skip


def test_mean_and_sample_deviation_by_hand():
    values = (0.5, 0.6, 0.4)
    spreads = across_seeds({str(s): report(s, pgd=v) for s, v in enumerate(values)})
    assert list(spreads) == ["clean", "adversarial"]
    found = spreads["adversarial"]["pgd"]
    assert found == Spread(pytest.approx(0.5), pytest.approx(0.1), 0.4, 0.6, 200, 3)  # sqrt(2 * 0.1**2 / 2)
    assert spreads["clean"]["pgd"] == Spread(0, 0, 0, 0, 200, 3)
    assert found.to_dict().keys() == {"mean", "deviation", "low", "high", "n", "seeds"}


def test_evaluations_of_one_model_under_several_seeds():
    """Their configuration has the data's name where that of a run has a section."""
    evaluations = {str(seed): report(seed) | {"config": {"data": "photos", "seed": seed}} for seed in (0, 1)}
    assert across_seeds(evaluations)["clean"]["clean"].seeds == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["config"]["training"].update(steps=6), r"a and b differ in training\.steps \(5 and 6\); name"),
        (lambda r: r["config"]["training"].update(average=None), r"differ in training\.average"),
        (lambda r: r["threat"].update(eps="4/255"), r"differ in threat\.eps \(8/255 and 4/255\)"),
        (lambda r: r["data"].update(fingerprint="f"), r"differ in data\.fingerprint \(None and f\)"),
        (lambda r: r.update(robustaug="0.2.0"), r"differ in robustaug \(0\.1\.0 and 0\.2\.0\)"),
        (lambda r: r["arms"].pop("adversarial"), r"n of clean of arm adversarial \(200 and None\) and 1 more settings"),
        (lambda r: r["arms"]["clean"]["metrics"].pop("pgd"), "n of pgd of arm clean"),
        (lambda r: r["arms"]["clean"]["metrics"]["pgd"].update(n=9), r"n of pgd of arm clean \(200 and 9\)"),
        (lambda r: r.update(seed=0), "a and b both have seed 0"),
    ],
)
def test_runs_that_differ_in_more_than_their_seed_are_refused(change, message):
    other = copy.deepcopy(report(1))
    change(other)
    with pytest.raises(RobustAugError, match=message):
        across_seeds({"a": report(0), "b": other})


def test_one_run_has_no_spread():
    with pytest.raises(RobustAugError, match="needs at least two runs"):
        across_seeds({"a": report(0)})


def test_a_limit_lets_the_seed_choose_the_images():
    limited = [report(0), report(1)]
    for row in limited:
        row["data"]["fingerprint"] = str(row["seed"])
        row["config"]["data"] = {"limit": 10}
    assert across_seeds(dict(zip("ab", limited, strict=True)))["clean"]["clean"].seeds == 2


def test_the_script_prints_one_table_or_one_line(tmp_path):
    runs = []
    for seed, pgd in ((3, 0.5), (1, 0.6)):
        content = report(seed, pgd=pgd)
        for arm in content["arms"].values():
            arm |= {"per_class": {}, "eps_curve": []}
        runs.append(tmp_path / f"run{seed}")
        runs[-1].mkdir()
        (runs[-1] / "report.json").write_text(json.dumps(content))

    def call(*arguments):
        return subprocess.run(
            [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
        )

    done = call(*runs, "--json", tmp_path / "out.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "| Arm | Clean, n 200 | PGD, n 200 |"
    assert done.stdout.splitlines()[3] == "| adversarial | 80.0 ± 0.0 | 55.0 ± 7.1 |"
    assert "over 2 seeds (1, 3); n test images each; L-infinity eps 8/255." in done.stdout
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [(row["arm"], row["metric"]) for row in rows][2:] == [("adversarial", "clean"), ("adversarial", "pgd")]
    assert rows[-1]["deviation"] == pytest.approx(0.1 / 2**0.5)
    refused = call(runs[0], tmp_path / "nothing")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "is not a folder" in refused.stderr
