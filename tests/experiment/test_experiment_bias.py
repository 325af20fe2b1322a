"""A run with a balance and attributes: what is made, from what, what the report says of it, and what is refused."""

from collections import Counter
from pathlib import Path

import jsonschema
import pytest
import torch
from experiment_cases import coloured_squares, numbers, quick_style, quiet, tiny, tree

from robustaug.data import load_data
from robustaug.errors import RobustAugError
from robustaug.evaluation.report.schema import SCHEMA
from robustaug.evaluation.results import load_evaluation
from robustaug.evaluation.statistics import paired_difference
from robustaug.experiment import ExperimentConfig, run_experiment
from robustaug.experiment.arms import prepare
from robustaug.experiment.bias import unaugmented
from robustaug.files import read_json, read_jsonl

ARMS = {"arms__clean": "{}", "arms__half": "{balance = 0.5}", "arms__balanced": "{balance = 1.0, stylised = 0.5}"}


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten blue, ten green and three red squares, and a CSV of who took them."""
    root = coloured_squares(tmp_path_factory.mktemp("uneven") / "squares")
    for path in sorted((root / "red").iterdir())[3:]:
        path.unlink()
    keys = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.png"))]
    rows = [f"{key},{'ann' if number % 2 else 'bob' if number % 4 else ''}" for number, key in enumerate(keys)]
    (root.parent / "who.csv").write_text("path,who\n" + "\n".join([*rows, "red/gone.png,ann"]) + "\n")
    return root


def config(uneven: Path, **changes: str) -> ExperimentConfig:
    return tiny(uneven, **({"data__attributes": f"'{uneven.parent / 'who.csv'}'"} | ARMS | changes))


@pytest.fixture(scope="module")
def run(uneven: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bias") / "run"
    with pytest.MonkeyPatch.context() as patch:
        quick_style(patch)
        run_experiment(config(uneven), folder, console=quiet())
    return folder


def test_variants_are_of_training_images_alone(run: Path, uneven: Path) -> None:
    train = load_data(str(uneven), seed=3).train
    counts = Counter(train.labels.tolist())
    rows = read_jsonl(run / "variants" / "balance" / "manifest.jsonl")
    wanted = {name: max(counts.values()) - counts[label] for label, name in enumerate(train.class_names)}
    assert Counter(row["label"] for row in rows) == {name: count for name, count in wanted.items() if count}
    hashes = dict(zip(train.keys, train.sha256, strict=True))
    for row in rows:
        assert row["source_sha256"] == hashes[row["source"]]
        assert row["kind"] == "classical"
        assert row["technique"] == "affine+brightness+contrast"


def test_the_report_counts_before_and_after(run: Path, uneven: Path) -> None:
    report = read_json(run / "report.json")
    jsonschema.validate(report, SCHEMA)
    train = load_data(str(uneven), seed=3).train
    counts = [int((train.labels == label).sum()) for label in range(3)]
    most = max(counts)
    balance = report["balance"]
    assert (balance["kind"], [each["name"] for each in balance["techniques"]]) == (
        "classical", ["affine", "brightness", "contrast"]
    )  # fmt: skip
    assert set(balance["arms"]) == {"half", "balanced"}
    assert [row["before"] for row in balance["arms"]["half"]["classes"]] == counts
    assert [row["after"] for row in balance["arms"]["half"]["classes"]] == [max(n, -(-most // 2)) for n in counts]
    assert [row["after"] for row in balance["arms"]["balanced"]["classes"]] == [most] * 3
    assert (balance["arms"]["half"]["against"], balance["arms"]["balanced"]["against"]) == ("clean", None)
    classes, who = report["groups"]
    assert [row["original"] for row in classes["training"]] == counts
    assert [row["variants"]["balanced"]["balance"] for row in classes["training"]] == [most - n for n in counts]
    assert sum(row["variants"]["balanced"]["stylised"] for row in classes["training"]) == 4
    assert [row["variants"]["clean"] for row in classes["training"]] == [{"stylised": 0, "balance": 0}] * 3
    assert who["attribute"] == "who"
    assert [row["value"] for row in who["training"]] == ["", "ann", "bob"]
    assert sum(row["original"] for row in who["training"]) == sum(counts)
    assert sum(row["variants"]["half"]["balance"] for row in who["training"]) == -(-most // 2) - counts[2]
    assert report["arms"]["half"]["description"] == "100% original, classes balanced to 50% of the largest"
    assert who["against"] == classes["against"] == "clean"


def test_the_balances_differences_are_paired(run: Path, uneven: Path) -> None:
    test = load_data(str(uneven), seed=3).test
    without, with_it = (load_evaluation(run / "arms" / name / "evaluation.safetensors") for name in ("clean", "half"))
    rows = read_json(run / "report.json")["balance"]["arms"]["half"]["classes"]
    for label, row in enumerate(rows):
        for metric, images in (("clean", torch.arange(len(test))), ("pgd", without.attacked)):
            mine = test.labels[images] == label
            wanted = paired_difference(without.verdicts[metric][mine], with_it.verdicts[metric][mine])
            assert row["difference"][metric] == wanted._asdict()


def test_the_log_names_what_is_odd(run: Path) -> None:
    log = (run / "log.txt").read_text(encoding="utf-8")
    assert "who.csv: 1 rows are of no image in use, the first is red/gone.png" in log
    assert "classical variants of training images" in log
    assert "show a model little more" not in log


def test_a_finished_run_resumes_to_the_same(run: Path, uneven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_style(monkeypatch)
    before, files = numbers(run), tree(run / "variants")
    run_experiment(config(uneven), run, resume=True, console=quiet())
    assert numbers(run) == before
    assert tree(run / "variants") == files


def test_attributes_that_changed_are_refused(run: Path, uneven: Path) -> None:
    table = uneven.parent / "who.csv"
    written = table.read_text()
    table.write_text(written.replace("bob", "cid"))
    try:
        with pytest.raises(RobustAugError, match=r"the file .*who\.csv has changed since the run in .* began"):
            run_experiment(config(uneven), run, resume=True, console=quiet())
    finally:
        table.write_text(written)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,who\nred/00.png,ann\n", "has no row for 22 of 23 images"),
        ("path,class\nred/00.png,ann\n", "'class' is known from the data"),
        (None, "cannot read the attributes"),
    ],
)
def test_attributes_that_do_not_fit_leave_no_folder(
    uneven: Path, tmp_path: Path, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "bad.csv").write_text(text)
    wrong = config(uneven, data__attributes=f"'{tmp_path / 'bad.csv'}'")
    with pytest.raises(RobustAugError, match=message):
        run_experiment(wrong, tmp_path / "out", console=quiet())
    assert not (tmp_path / "out" / "config.toml").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("arms__clean", "{balance = 0}", "'arms.clean.balance' = 0: Input should be greater than 0"),
        ("arms__clean", "{balance = 1.5}", "'arms.clean.balance' = 1.5: Input should be less than or equal to 1"),
        ("arms__clean", "{balance = 'all'}", "'arms.clean.balance' = 'all': Input should be a valid number"),
        ("balance__kind", "'painted'", "'balance.kind' = 'painted'"),
        ("balance__techniques", "['afine']", r"balance.techniques\[1\]: there is no technique 'afine'; did you mean"),
        ("balance__techniques", "['mixup']", "mixup mixes the labels of a batch"),
        ("balance__techniques", "[]", "balance.techniques is empty"),
    ],
)
def test_impossible_balances_are_one_line(uneven: Path, key: str, value: str, message: str) -> None:
    with pytest.raises(RobustAugError, match=message) as error:
        config(uneven, **{key: value})
    assert "\n" not in str(error.value)


def test_stylised_variants_and_a_class_of_too_few(tmp_path: Path) -> None:
    source = coloured_squares(tmp_path / "many", per_class=34)
    for path in sorted((source / "red").iterdir())[3:]:
        path.unlink()
    told = tiny(source, balance__kind="'stylised'", arms__half="{balance = 0.9}")
    prepared = prepare(told, tmp_path / "run", resume=False, console=quiet())
    rows = read_jsonl(tmp_path / "run" / "variants" / "balance" / "manifest.jsonl")
    assert {row["kind"] for row in rows} == {"stylised"}
    assert {row["style"] for row in rows} <= {painting.name for painting in prepared.training_bank.paintings}
    log = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert "Class 'red' has 1 training images for" in log


@pytest.mark.parametrize(
    ("arms", "found"),
    [
        ({"style": "{stylised = 0.5}", "even": "{balance = 1.0}", "plain": "{}"}, "plain"),
        ({"style": "{stylised = 0.5, balance = 1.0}", "even": "{balance = 1.0}"}, "even"),
        ({"style": "{stylised = 0.5}", "hard": "{adversarial = 1.0}"}, None),
    ],
)
def test_the_arm_that_gaps_are_held_against(uneven: Path, arms: dict[str, str], found: str | None) -> None:
    assert unaugmented(tiny(uneven, **{f"arms__{name}": section for name, section in arms.items()})) == found
