"""Models that others made, measured from the command line; runs compared, and held to a baseline."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from cli_cases import PROTOCOL, CommandLine

from robustaug.files import read_json, write_json
from robustaug.models import load_checkpoint

MODULE = """
import torch
from robustaug.models import load_checkpoint
def network(): return load_checkpoint("model.safetensors").model
class Around(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = network()
class Rounds(Around):
    def forward(self, images): return self.model((images * 255).round().detach() / 255)
class FewClasses(Around):
    def forward(self, images): return self.model(images)[:, :2]
"""

MORE = ["model.safetensors", "images", "--protocol", "more.toml"]


@pytest.fixture
def tiny(work: Path) -> Path:
    (work / "tiny.toml").write_text(PROTOCOL)
    (work / "more.toml").write_text(PROTOCOL + "transfer_samples = 4")
    (work / "cli_foreign_models.py").write_text(MODULE)
    return work


def evaluated(cli: CommandLine, model: str, out: str, *more: object) -> Path:
    answer = cli("evaluate", model, "images", "--protocol", "tiny.toml", "--out", out, *more)
    assert (answer.code, answer.err) == (0, "")
    return Path(out)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one run is kept for all tests that only read its numbers."""
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def two(cli: CommandLine, tiny: Path, kept: Path) -> dict[str, float]:
    """A run, and BASELINE.json with two points more under PGD."""
    if not kept.exists():
        shutil.copytree(evaluated(cli, "model.safetensors", "run"), kept)
    shutil.copytree(kept, "run", dirs_exist_ok=True)
    report = read_json(Path("run/report.json"))
    metrics = report["arms"]["model"]["metrics"]
    found = {name: metric["value"] for name, metric in metrics.items()}
    metrics["pgd"] |= {"value": found["pgd"] + 0.02, "high": 1.0}
    write_json(tiny / "BASELINE.json", report)
    return found


def test_somebodys_model_gets_the_numbers_of_our_own(cli: CommandLine, two: dict[str, float]) -> None:
    torch.jit.save(torch.jit.trace(load_checkpoint(Path("model.safetensors")).model, torch.rand(2, 3, 16, 16)), "a.pt")
    own, theirs = read_json(Path("run/report.json")), read_json(evaluated(cli, "a.pt", "theirs") / "report.json")
    assert theirs["arms"]["a"]["metrics"] == own["arms"]["model"]["metrics"]
    assert theirs["threat"] == own["threat"]
    assert theirs["arms"]["a"]["description"] == "TorchScript file a.pt"
    line = cli("evaluate", "model.safetensors", "images", "--protocol", "tiny.toml", "--out", "theirs").line()
    assert "holds another job" in line


def test_what_gives_no_gradients_is_measured_by_queries_alone(cli: CommandLine, tiny: Path) -> None:
    answer = cli("evaluate", "cli_foreign_models:Rounds", "images", "--protocol", "tiny.toml", "--out", "out")
    assert (answer.code, answer.err) == (0, "")
    said = (
        "Not everything can be measured on cli_foreign_models:Rounds: it gives no gradient with respect to its images"
    )
    assert said in answer.out
    report = read_json(tiny / "out" / "report.json")
    (arm,) = report["arms"].values()
    assert arm["metrics"].keys() == {"clean", "square", "noise", "unseen_style"}
    assert arm["not_measured"].keys() == {"fgsm", "pgd", "eps_curve"}
    (check,) = [c for c in report["checks"] if not c["passed"]]
    assert check["name"] == "input gradients are informative"  # Square alone makes any model look robust
    assert "nothing that needs gradients can be measured on it" in arm["description"]
    assert arm["description"].split(": nothing")[0].split("; ")[1] in (tiny / "out" / "report.html").read_text()


def test_onnx(cli: CommandLine, tiny: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    # The mean of each channel as the logits: red images are class 0 where blue, green, red are classes 0, 1, 2.
    order = onnx.numpy_helper.from_array(torch.eye(3).flip(0).numpy(), "order")
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "order"], ["logits"]),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(name, real, shape)]
        for name, shape in (("x", ["n", 3, "h", "w"]), ("logits", ["n", 3]))
    )
    graph = helper.make_graph(nodes, "colours", inputs, outputs, [order])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tiny / "colours.onnx").write_bytes(model.SerializeToString())
    report = read_json(evaluated(cli, "colours.onnx", "out", "--size", 20) / "report.json")
    metrics = report["arms"]["colours"]["metrics"]
    assert metrics["clean"]["value"] == metrics["square"]["value"] == 1.0  # colours are 160 of 255 apart, eps is 8
    assert report["data"]["image_size"] == [20, 20]
    assert report["arms"]["colours"]["not_measured"]["pgd"] == "an ONNX file runs forward only"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["cli_foreign_models:FewClasses", "images"], "returns 2 logits, the data has 3 classes"),
        (["cli_foreign_models:network", "images", "--norm", "l2"], "--norm l2 needs an --eps: only linf has a default"),
        (["cli_foreign_models:network", "images", "--size", "24"], "cannot be run on a batch of 1 images of 3x24x24"),
        (["model.safetensors", "images", "--size", "24"], "model.safetensors takes 3x16x16 images, these are 3x24x24"),
        (["cli_foreign_models:nothing", "images"], "has no function 'nothing'"),
        (["images", "images"], "model images is of no known kind; give a .safetensors file"),
        (["none.pt", "images"], "model none.pt does not exist"),
        (["model.safetensors", "images", "--protocol", "quik"], "did you mean 'quick'?"),
        (["model.safetensors", "images", "--surrogate", "none.pt"], "protocol quick has none; use another"),
        ([*MORE, "--surrogate", "cli_foreign_models:FewClasses"], "returns 2 logits, the data has 3 classes"),
        ([*MORE, "--surrogate", "cli_foreign_models:Rounds"], "cannot be attacked: it gives no gradient"),
        ([*MORE, *2 * ["--surrogate", "model.safetensors"]], "two surrogates are called model"),
    ],
)
def test_what_cannot_be_measured_is_one_line(cli: CommandLine, tiny: Path, arguments: list[str], line: str) -> None:
    assert line in cli("evaluate", *arguments, "--out", "out").line()
    assert not (tiny / "out").exists()


def test_the_gate(cli: CommandLine, two: dict[str, float]) -> None:
    gate = ("report", "run", "--against", "BASELINE.json")
    assert cli(*gate).code == 0  # no rule, no failure
    kept = cli(*gate, "--fail-if", "robust_accuracy < -0.03", "--fail-if", "clean_accuracy < 0")
    assert (kept.code, kept.err) == (0, "")
    fired = cli(*gate, "--fail-if", "clean_accuracy < 0", "--fail-if", "robust_accuracy[model] < -0.01")
    assert (fired.code, fired.err) == (1, "")
    said = (
        f"FIRED 'robust_accuracy[model] < -0.01' on arm model: pgd is {two['pgd']:.4f}, "
        f"the baseline has {two['pgd'] + 0.02:.4f}: -0.0200"
    )
    assert said in fired.out
    assert "ok    'clean_accuracy < 0' on arm model" in fired.out
    for rule in ("robust_accuracy", "autoattack < 0", "pgd[other] < 0", "pgd < -2"):
        assert f"rule '{rule}'" in cli(*gate, "--fail-if", rule).line()
    assert "--fail-if holds a run to a baseline" in cli("report", "run", "--fail-if", "pgd < 0").line()
    assert "compares one run with a baseline" in cli("report", "run", "run", "--against", "BASELINE.json").line()
    assert "cannot read" in cli("report", "run", "--against", "none.json").line()


def test_runs_are_compared(cli: CommandLine, two: dict[str, float]) -> None:
    evaluated(cli, "cli_foreign_models:network", "same")
    answer = cli("report", "run", "same", "BASELINE.json", "--out", "compared")
    assert (answer.code, answer.err) == (0, "")
    content = json.loads(Path("compared/comparison.json").read_text())
    assert content["runs"] == ["run", "same", "BASELINE.json"]
    rows = {row["metric"]: row for row in content["rows"]}
    assert rows["pgd"]["values"]["run"]["value"] == two["pgd"]
    assert rows["pgd"]["differences"]["same"]["value"] == 0  # the same model by another way, image by image
    assert "BASELINE.json" not in rows["pgd"]["differences"]  # no verdicts: only side by side
    assert "| PGD | model / network |" in Path("compared/comparison.md").read_text()
    assert "Runs side by side" in answer.out
    assert not Path("run/comparison.md").exists()


def test_the_csv_stands_beside_the_summary(cli: CommandLine, two: dict[str, float]) -> None:
    Path("run/results.csv").unlink()
    assert cli("report", "run").code == 0
    rows = csv.DictReader(Path("run/results.csv").read_text().splitlines())
    assert {row["metric"]: float(row["value"]) for row in rows} == two


def test_images_made_on_a_surrogate(cli: CommandLine, tiny: Path) -> None:
    answer = cli("evaluate", *MORE, "--surrogate", "cli_foreign_models:network", "--out", "out")
    assert (answer.code, answer.err) == (0, "")
    (arm,) = read_json(tiny / "out" / "report.json")["arms"].values()
    assert arm["transfer"].keys() == {"network"}
    assert arm["metrics"]["transfer"] == arm["transfer"]["network"]
    assert arm["metrics"]["transfer"]["n"] == 4


def test_strict(cli: CommandLine, two: dict[str, float]) -> None:
    report = read_json(Path("run/report.json"))
    report["checks"] = [check | {"passed": True} for check in report["checks"]]
    write_json(Path("run/report.json"), report)
    assert cli("report", "run", "--strict").code == 0
    report["checks"][-1]["passed"] = False
    write_json(Path("run/report.json"), report)
    assert cli("report", "run", "--strict").code == 1
    assert cli("report", "run").code == 0
