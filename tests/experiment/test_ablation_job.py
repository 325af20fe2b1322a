"""The whole ablation on coloured squares: folders, shared variants, numbers, resuming, what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from experiment_cases import models, numbers, quick_style, quiet, tiny, tree

from robustaug.data import load_data
from robustaug.data.attributes import read_attributes
from robustaug.data.decisions import DecisionLog
from robustaug.errors import RobustAugError
from robustaug.evaluation.results import load_evaluation
from robustaug.evaluation.seeds import SeedVerdicts, difference_over_seeds
from robustaug.evaluation.statistics import paired_difference
from robustaug.experiment import ExperimentConfig, run_experiment
from robustaug.experiment.ablation import run_ablation
from robustaug.experiment.ablation.techniques import cells_of
from robustaug.files import read_json, read_jsonl, write_json, write_text

CELLS = ["full", "without-stylised", "full-at-0.5", "bare-at-0.5"]
METRICS = ["clean", "pgd", "corruptions", "unseen_style"]


def short(source: Path) -> ExperimentConfig:
    """One technique, so that ``without-stylised`` is bare; four steps and a handful of test images."""
    return tiny(
        source, arms="{plain = {}, style = {stylised = 0.5}}", style__variants=6, evaluation__curve_multiples="[0, 1]",
        evaluation__corruption_samples=4, evaluation__corruption_severities="[3]", evaluation__unseen_style_samples=6,
    )  # fmt: skip


def no_reports(patch: pytest.MonkeyPatch) -> None:
    """Each run's own page is drawn in other tests."""
    patch.setattr("robustaug.experiment.pipeline.build_report", lambda path: path / "report.html")


@pytest.fixture(scope="module")
def ablated(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation") / "out"
    with pytest.MonkeyPatch.context() as patch:
        quick_style(patch)
        no_reports(patch)
        run_ablation(short(squares), folder, seeds=2, fractions=(0.5,), console=quiet())
    return folder


def test_folders(ablated: Path, squares: Path) -> None:
    assert {path.name for path in ablated.iterdir()} == {
        "seed-3", "seed-4", "figures", "ablation.json", "ablation.md", "ablation.html",
    }  # fmt: skip
    assert {path.name for path in (ablated / "figures").iterdir()} == {"data_efficiency.svg", "data_efficiency.png"}
    for seed in (3, 4):
        data = load_data(str(squares), seed=seed)
        folder = ablated / f"seed-{seed}"
        assert {path.name for path in folder.iterdir()} == {*CELLS, "variants"}
        for cell in CELLS:
            report = read_json(folder / cell / "report.json")
            assert (report["seed"], list(report["arms"])) == (seed, ["style"])
            assert report["data"]["test"] == len(data.test) == 6
            assert not (folder / cell / "variants").exists()  # made once, for all
        assert {path.name for path in (folder / "variants").iterdir()} == {"train", "train-0.5", "test"}
        whole, half = (
            {row["source"] for row in manifest(folder / "variants" / name)} for name in ("train", "train-0.5")
        )
        first_half = load_data(str(squares), seed=seed, train_share=0.5)
        assert half <= set(first_half.train.keys)  # with fewer originals, variants of these alone
        assert whole <= set(data.train.keys)
        assert first_half.test.keys == data.test.keys
        assert len(first_half.train) == 9


def test_the_log_of_a_cell_calls_it_by_its_name(ablated: Path) -> None:
    for cell in CELLS:
        log = (ablated / "seed-3" / cell / "log.txt").read_text()
        for line in (f"Training cell {cell}: 4 steps", f"Trained cell {cell} in", f"Evaluated cell {cell} in"):
            assert line in log
        assert "arm style" not in log


def manifest(folder: Path) -> list[dict[str, Any]]:
    return read_jsonl(folder / "manifest.jsonl")


def test_numbers_are_those_of_the_runs(ablated: Path) -> None:
    content = read_json(ablated / "ablation.json")
    assert content["schema_version"] == 1
    assert (content["arm"], content["seeds"], list(content["cells"])) == ("style", [3, 4], CELLS)
    assert (content["full"], content["bare"]) == ("full", "without-stylised")
    found = {
        (cell, seed): load_evaluation(ablated / f"seed-{seed}" / cell / "arms" / "style" / "evaluation.safetensors")
        for cell in CELLS
        for seed in (3, 4)
    }
    for cell, entry in content["cells"].items():
        assert list(entry["metrics"]) == METRICS
        for metric, numbers_ in entry["metrics"].items():
            values = [found[cell, seed].metrics[metric].value for seed in (3, 4)]
            assert [each["value"] for each in numbers_["by_seed"]] == values
            assert numbers_["mean"] == pytest.approx(sum(values) / 2)
            assert numbers_["deviation"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    for metric in METRICS:
        gained = content["cells"]["without-stylised"]["differences"][metric]
        by_seed = [
            paired_difference(found["full", seed].verdicts[metric], found["without-stylised", seed].verdicts[metric])
            for seed in (3, 4)
        ]
        assert gained["by_seed"] == [each._asdict() for each in by_seed]
        assert gained["value"] == pytest.approx(sum(each.value for each in by_seed) / 2)
    assert "differences" not in content["cells"]["full"]
    assert [(point["share"], point["train"]) for point in content["curve"]] == [(0.5, [9, 9]), (1.0, [21, 21])]
    clean = [
        SeedVerdicts(
            load_data(content["config"]["data"]["source"], seed=seed).test.keys,
            found["bare-at-0.5", seed].verdicts["clean"],
            found["full-at-0.5", seed].verdicts["clean"],
        )
        for seed in (3, 4)
    ]
    assert content["curve"][0]["gained"]["clean"] == json.loads(json.dumps(difference_over_seeds(clean).to_dict()))


def test_a_cell_is_an_ordinary_run(
    ablated: Path, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same model and numbers as of a run with its variants in its own folder."""
    quick_style(monkeypatch)
    no_reports(monkeypatch)
    config = short(squares)
    config = config.model_copy(update={"arms": {"style": config.arms["style"]}})
    run_experiment(config, tmp_path / "run", console=quiet())
    cell = ablated / "seed-3" / "full"
    assert models(tmp_path / "run") == models(cell)
    assert tree(tmp_path / "run" / "variants") == {
        path: content for path, content in tree(cell.parent / "variants").items() if not path.startswith("train-0.5/")
    }
    assert numbers(tmp_path / "run")["arms"] == numbers(cell)["arms"]


def test_what_is_done_is_not_done_again(
    ablated: Path, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(ablated, tmp_path / "out"))
    quick_style(monkeypatch)
    monkeypatch.setattr("robustaug.experiment.ablation.job.run_experiment", lambda *a, **k: pytest.fail("done again"))
    outcome = run_ablation(short(squares), out, seeds=2, fractions=(0.5, 1), console=quiet())
    assert outcome.content == read_json(out / "ablation.json") == read_json(ablated / "ablation.json")
    for name in ("ablation.md", "ablation.html", "figures/data_efficiency.svg"):
        assert (out / name).read_bytes() == (ablated / name).read_bytes()
    with pytest.raises(RobustAugError, match=r"holds a run of another configuration \(training.steps\)"):
        run_ablation(tiny_with_more_steps(squares), out, seeds=1, fractions=(1,), console=quiet())


def tiny_with_more_steps(squares: Path) -> ExperimentConfig:
    config = short(squares)
    return config.model_copy(update={"training": type(config.training)(**config.training.to_dict() | {"steps": 5})})


def test_attributes_that_changed_are_refused(
    ablated: Path, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of cells that are done, too; here as if they had been run with these attributes."""
    out, table = Path(shutil.copytree(ablated, tmp_path / "out")), tmp_path / "seller.csv"
    table.write_text("path,seller\n" + "".join(f"{key},a\n" for key in load_data(str(squares)).train.keys))
    config = short(squares)
    config = config.model_copy(update={"data": config.data.model_copy(update={"attributes": str(table)})})
    for cell in cells_of(config, "style", (1,)):
        folder = out / "seed-3" / cell.name
        write_text(folder / "config.toml", cell.config.to_toml())
        write_json(
            folder / "data.json", read_json(folder / "data.json") | {"attributes": read_attributes(table).sha256}
        )
    monkeypatch.setattr("robustaug.experiment.ablation.job.run_experiment", lambda *a, **k: pytest.fail("done again"))
    run_ablation(config, out, seeds=1, fractions=(1,), console=quiet())
    table.write_text(table.read_text().replace(",a", ",b"))
    with pytest.raises(RobustAugError, match=r"the file .*seller.csv has changed since the run in .* began"):
        run_ablation(config, out, seeds=1, fractions=(1,), console=quiet())


def test_a_review_after_a_cell_was_done_is_refused(
    ablated: Path, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells that obeyed it and cells that did not would stand in one table."""
    out = Path(shutil.copytree(ablated, tmp_path / "out"))
    variants = out / "seed-3" / "variants" / "train"
    log = DecisionLog(variants)
    log.decide(read_jsonl(variants / "manifest.jsonl")[0]["path"], "reject")
    log.close()
    with pytest.raises(RobustAugError, match="arm style was trained before the variants were reviewed as they are now"):
        run_ablation(short(squares), out, seeds=1, fractions=(0.5,), console=quiet())


class Killed(BaseException):
    pass


def test_killed_in_its_second_cell(
    ablated: Path, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill in the training of a cell; the same call goes on to the same numbers, the first cell untouched."""
    out = tmp_path / "out"
    quick_style(monkeypatch)
    no_reports(monkeypatch)
    true = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target == out / "seed-3" / "without-stylised" / "arms" / "style" / "state.safetensors":
            raise Killed
        return true(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            run_ablation(short(squares), out, seeds=1, fractions=(1,), console=quiet())
    assert (out / "seed-3" / "without-stylised" / "config.toml").exists()
    assert not (out / "seed-3" / "without-stylised" / "arms" / "style" / "model.safetensors").exists()
    assert not (out / "ablation.json").exists()
    before = (out / "seed-3" / "full" / "report.json").stat().st_mtime_ns
    content = run_ablation(short(squares), out, seeds=1, fractions=(1,), console=quiet()).content
    assert (out / "seed-3" / "full" / "report.json").stat().st_mtime_ns == before
    whole = read_json(ablated / "ablation.json")
    for cell in CELLS[:2]:
        assert models(out / "seed-3" / cell) == models(ablated / "seed-3" / cell)
        assert numbers(out / "seed-3" / cell) == numbers(ablated / "seed-3" / cell)
        for metric in METRICS:
            ours, theirs = (each["cells"][cell]["metrics"][metric]["by_seed"] for each in (content, whole))
            assert ours == theirs[:1]
    assert len(content["curve"]) == 1  # one share is no curve
    assert not (out / "figures").exists()
    assert "With fewer originals" not in (out / "ablation.md").read_text()
    assert "of seed 3 alone, whose luck is not in the intervals" in (out / "ablation.md").read_text()


def test_what_is_refused_before_anything_is_made(squares: Path, tmp_path: Path) -> None:
    config = short(squares)

    def refused(message: str, out: Path = tmp_path / "out", **arguments: Any) -> None:
        with pytest.raises(RobustAugError, match=message) as caught:
            run_ablation(config, out, console=quiet(), **arguments)
        assert "\n" not in str(caught.value)
        assert not list(out.rglob("*.safetensors"))  # nothing was trained

    refused("0 seeds measure nothing", seeds=0)
    refused("there is no arm 'stile' in the configuration; choose one of plain, style", arm="stile")
    refused("arm plain uses no technique that could be off", arm="plain")
    refused("lies inside the image folder", out=squares / "out")
    refused("a fraction of 2 is no share", fractions=(2.0,))
    refused("a fraction of 0.1 leaves 3 training images, fewer than the 8 of a batch", fractions=(0.1,))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    refused("holds thesis.tex, which no ablation made; choose another folder", out=tmp_path / "other")
    (tmp_path / "file").touch()
    refused("is a file; choose a folder", out=tmp_path / "file")
