"""Evaluations on disk, and arms side by side."""

from dataclasses import fields, replace
from math import comb

import pytest
import safetensors.torch
import torch
from evaluation_cases import Linear, image_set, labelled_by
from jsonschema import Draft202012Validator
from torch import Tensor

from robustaug.attacks import ThreatModel
from robustaug.errors import RobustAugError
from robustaug.evaluation import (
    Protocol,
    ProtocolAttack,
    Surrogate,
    accuracy_interval,
    compare_arms,
    evaluate_arm,
    load_evaluation,
    save_evaluation,
)
from robustaug.evaluation.report.schema import SCHEMA

PROTOCOL = Protocol(
    samples=40,
    pgd_steps=4,
    pgd_restarts=1,
    noise_draws=2,
    curve_samples=20,
    curve_steps=4,
    corruption_samples=6,
    corruption_severities=(2, 5),
    attacks=(ProtocolAttack("autoattack", samples=5),),
    transfer_samples=5,
    minimal_samples=5,
)


@pytest.fixture(scope="module")
def evaluation():
    model = Linear((3, 8, 8))
    samples = labelled_by(model, image_set(60, size=8), wrong=3)
    return evaluate_arm(
        model,
        samples,
        threat=ThreatModel("linf", 0.05),
        protocol=PROTOCOL,
        stylised=samples.select(range(9)),
        surrogates={"other": Surrogate(Linear((3, 8, 8), seed=2))},
    )


def with_verdicts(evaluation, **changed: Tensor):
    return replace(
        evaluation,
        verdicts=dict(evaluation.verdicts) | changed,
        metrics=dict(evaluation.metrics) | {name: accuracy_interval(v) for name, v in changed.items()},
    )


def test_an_evaluation_comes_back_whole(evaluation, tmp_path):
    path = tmp_path / "arm" / "evaluation.safetensors"
    save_evaluation(path, evaluation)
    loaded = load_evaluation(path)
    for field in fields(evaluation):
        before, after = getattr(evaluation, field.name), getattr(loaded, field.name)
        if field.name in ("verdicts", "predictions", "excess", "broken_by", "confusion"):
            assert before.keys() == after.keys()
            assert all(torch.equal(before[name], after[name]) for name in before)
        elif isinstance(before, Tensor):
            assert torch.equal(before, after)
        else:
            assert before == after, field.name


def test_damaged_files_get_one_line(evaluation, tmp_path):
    path = tmp_path / "evaluation.safetensors"
    with pytest.raises(RobustAugError, match="delete it and evaluate again"):
        load_evaluation(path)
    save_evaluation(path, evaluation)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RobustAugError, match="is no whole evaluation"):
        load_evaluation(path)
    safetensors.torch.save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(RobustAugError, match="is no whole evaluation"):
        load_evaluation(path)


def test_report_entry(evaluation):
    entry = evaluation.to_dict()
    assert set(entry) == {
        "metrics", "per_class", "worst_class", "confusion", "stages", "eps_curve", "transfer", "distances",
        "corruptions",
    }  # fmt: skip
    Draft202012Validator({"$ref": "#/$defs/arm", "$defs": SCHEMA["$defs"]}).validate(entry)
    levels = entry["corruptions"]["jpeg_compression"]
    assert [level["severity"] for level in levels] == [2, 5]
    verdicts = evaluation.verdicts["corruptions"]
    assert [level["value"] for level in levels] == pytest.approx(verdicts[:, 14].double().mean(0).tolist())
    assert set(entry["metrics"]["pgd"]) == {"value", "low", "high", "n"}
    assert set(entry["eps_curve"][0]) == {"eps", "value", "low", "high", "n"}
    assert entry["eps_curve"][0]["eps"] == 0.0


def test_comparisons_by_hand(evaluation):
    none = torch.zeros(40, dtype=torch.bool)
    ten, six = none.clone(), none.clone()
    ten[:10] = True
    six[8:14] = True
    arms = {name: with_verdicts(evaluation, pgd=verdict) for name, verdict in (("a", none), ("b", ten), ("c", six))}
    rows = compare_arms(arms)
    assert [(r["metric"], r["arm_a"], r["arm_b"]) for r in rows] == [
        (metric, a, b) for metric in ("clean", "pgd", "autoattack", "unseen_style") for a, b in ("ab", "ac", "bc")
    ]
    pgd = {(r["arm_a"], r["arm_b"]): r for r in rows if r["metric"] == "pgd"}
    assert [(r["only_a"], r["only_b"], r["n"]) for r in pgd.values()] == [(0, 10, 40), (0, 6, 40), (8, 4, 40)]
    exact = {"b": 2 / 2**10, "c": 2 / 2**6, "bc": 2 * sum(comb(12, i) for i in range(5)) / 2**12}
    assert pgd["a", "b"]["p_value"] == pytest.approx(exact["b"])
    assert pgd["a", "c"]["p_value"] == pytest.approx(exact["c"])
    assert pgd["b", "c"]["p_value"] == pytest.approx(exact["bc"])
    # Holm over all twelve rows: the smallest times 12, the next times 11.
    assert pgd["a", "b"]["p_value_holm"] == pytest.approx(12 * exact["b"])
    assert pgd["a", "c"]["p_value_holm"] == pytest.approx(11 * exact["c"])
    assert pgd["b", "c"]["p_value_holm"] == 1.0
    assert set(rows[0]) == {"metric", "arm_a", "arm_b", "only_a", "only_b", "n", "p_value", "p_value_holm"}


def test_a_metric_that_one_arm_lacks_is_not_compared(evaluation):
    bare = replace(evaluation, metrics={k: v for k, v in evaluation.metrics.items() if k != "unseen_style"})
    assert [row["metric"] for row in compare_arms({"a": evaluation, "b": bare})] == ["clean", "pgd", "autoattack"]
    assert compare_arms({"a": evaluation}) == []


def test_arms_on_different_samples_are_refused(evaluation):
    other = replace(evaluation, samples=dict(evaluation.samples) | {"pgd": "0"})
    with pytest.raises(RobustAugError, match="arms a and b were evaluated on different samples for pgd"):
        compare_arms({"a": evaluation, "b": other})


def test_other_seeds_are_other_samples(evaluation):
    model = Linear((3, 8, 8))
    samples = labelled_by(model, image_set(60, size=8), wrong=3)
    other = evaluate_arm(model, samples, threat=ThreatModel("linf", 0.05), protocol=PROTOCOL, seed=1)
    assert other.samples["clean"] == evaluation.samples["clean"]
    assert other.samples["pgd"] != evaluation.samples["pgd"]
