"""Models that others made: logits and gradients as of the model that was written; what cannot be used is one line."""

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustaug.errors import RobustAugError
from robustaug.models import ForeignClassifier, forward_only, load_foreign

SIDE, CLASSES = 6, ("ant", "bee", "cat")


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def images(n: int) -> Tensor:
    return torch.rand(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(n))


def checked(source: object, n: int = 5) -> ForeignClassifier:
    classifier = load_foreign(str(source))
    classifier.check_images((images(n) * 255).byte(), CLASSES)
    return classifier


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same network as others keep it."""
    folder, model, example = tmp_path_factory.mktemp("foreign"), network(), (images(4),)
    paths = {name: folder / name for name in ("traced.pt", "scripted.ts", "any.pt2", "four.pt2", "few.pt2")}
    torch.jit.save(torch.jit.trace(model, example), paths["traced.pt"])
    torch.jit.save(torch.jit.freeze(torch.jit.script(model)), paths["scripted.ts"])
    sizes = {"any.pt2": torch.export.Dim("n", min=1), "few.pt2": torch.export.Dim("n", min=3, max=5)}
    for name in ("any.pt2", "four.pt2", "few.pt2"):
        shapes = ({0: sizes[name]},) if name in sizes else None
        torch.export.save(torch.export.export(model, example, dynamic_shapes=shapes), paths[name])
    return paths


@pytest.mark.parametrize(
    ("name", "kind", "batches", "size"),
    [
        ("traced.pt", "TorchScript file", (1, None), None),
        ("scripted.ts", "TorchScript file", (1, None), None),
        ("any.pt2", "torch.export file", (1, None), (SIDE, SIDE)),
        ("four.pt2", "torch.export file", (4, 4), (SIDE, SIDE)),
        ("few.pt2", "torch.export file", (3, 5), (SIDE, SIDE)),
    ],
)
def test_logits_and_gradients_are_those_of_the_model_that_was_written(
    files: dict[str, Path], name: str, kind: str, batches: tuple[int, int | None], size: tuple[int, int] | None
) -> None:
    classifier = checked(files[name])
    assert (classifier.kind, classifier.model.batches, classifier.image_size) == (kind, batches, size)
    assert forward_only(classifier.model) is None
    assert classifier.extra == {"arm": Path(name).stem}
    for n in (1, 3, 4, 11):
        theirs, ours = images(n).requires_grad_(), images(n).requires_grad_()
        found, expected = classifier.model(theirs), network()(ours)
        torch.testing.assert_close(found, expected)
        weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
        (a,) = torch.autograd.grad((found * weights).sum(), theirs)
        (b,) = torch.autograd.grad((expected * weights).sum(), ours)
        torch.testing.assert_close(a, b)


def onnx_file(path: Path, batch: int | str, weight: Tensor, side: int | str = SIDE) -> Path:
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])],
        "linear",
        [helper.make_tensor_value_info("x", real, [batch, 3, side, side])],
        [helper.make_tensor_value_info("logits", real, [batch, weight.shape[1]])],
        [onnx.numpy_helper.from_array(weight.numpy(), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(("batch", "batches"), [("n", (1, None)), (4, (4, 4))])
def test_onnx_runs_forward_only(tmp_path: Path, batch: int | str, batches: tuple[int, int | None]) -> None:
    weight = torch.randn(3 * SIDE * SIDE, 3, generator=torch.Generator().manual_seed(0))
    classifier = checked(onnx_file(tmp_path / "linear.onnx", batch, weight))
    assert (classifier.kind, classifier.model.batches, classifier.image_size) == ("ONNX file", batches, (SIDE, SIDE))
    assert forward_only(classifier.model) == "an ONNX file runs forward only"
    for n in (1, 4, 11):
        torch.testing.assert_close(classifier.model(images(n)), images(n).flatten(1) @ weight)


def test_the_hash_of_onnx_holds_the_weights_beside_it(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "linear.onnx", "n", torch.ones(3 * SIDE * SIDE, 3))
    alone = load_foreign(str(path)).sha256
    (tmp_path / "linear.onnx.data").write_bytes(b"weights")
    assert load_foreign(str(path)).sha256 != alone


MODULE = """
import torch
from torch import nn

class Odd(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change
    def forward(self, images):
        return self.change(images, images.flatten(1)[:, :3])

def network():
    torch.manual_seed({seed})
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 3))

def refuses_one(): return Odd(lambda images, logits: logits / 0 if len(images) > 1 else [][0])
def refuses_many(): return Odd(lambda images, logits: logits if len(images) < 3 else logits.view(2, 3))
def detached(): return Odd(lambda images, logits: logits.detach())
def rounded(): return Odd(lambda images, logits: logits.detach().round().requires_grad_())
def two_classes(): return Odd(lambda images, logits: logits[:, :2])
def not_finite(): return Odd(lambda images, logits: logits / 0)
def transposed(): return Odd(lambda images, logits: logits.T)
def a_pair(): return Odd(lambda images, logits: (logits, logits))
def not_a_model(): return "resnet"
def fails(): raise KeyError("no\\nweights")
def wants_more(path): return network()
number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "users_own_models", raising=False)
    path = tmp_path / "users_own_models.py"
    path.write_text(MODULE.format(seed=1))
    return path


def test_a_function_of_the_working_directory(module: Path) -> None:
    paths = list(sys.path)
    classifier = checked("users_own_models:network")
    assert (classifier.kind, classifier.extra, classifier.image_size) == ("function", {"arm": "network"}, None)
    torch.manual_seed(1)
    expected = nn.Sequential(nn.Flatten(), nn.Linear(108, 3))
    torch.testing.assert_close(classifier.model(images(3)), expected(images(3)))
    assert not any(part.training for part in classifier.model.modules() if part is not classifier.model)
    assert sys.path == paths


def test_the_hash_of_a_function_holds_weights_and_code(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hashed(text: str) -> str:
        module.write_text(text)
        monkeypatch.delitem(sys.modules, "users_own_models", raising=False)
        return load_foreign("users_own_models:network").sha256

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    first = hashed(MODULE.format(seed=1))
    assert hashed(MODULE.format(seed=1)) == first
    assert hashed(MODULE.format(seed=2)) != first
    assert hashed(MODULE.format(seed=1) + "# changed\n") != first


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("users_own_models:nothing", "users_own_models has no function 'nothing'"),
        ("users_own_models:number", "users_own_models has no function 'number'"),
        ("no_such_module_here:network", "module 'no_such_module_here' cannot be imported from .*No module named"),
        (":network", "module '' cannot be imported"),
        ("users_own_models:not_a_model", "the function returned str; it must return nn.Module"),
        ("users_own_models:fails", "the function failed with KeyError: .*; it is called without arguments"),
        ("users_own_models:wants_more", "the function failed with TypeError: .*missing 1 required positional argument"),
        ("users_own_models:refuses_one", "cannot be run on a batch of 1 images of 3x6x6: list index out of range"),
        ("users_own_models:refuses_many", "cannot be run on a batch of 16 images of 3x6x6: shape"),
        ("users_own_models:two_classes", "returns 2 logits, the data has 3 classes"),
        ("users_own_models:not_finite", "returns NaN or infinite logits"),
        ("users_own_models:transposed", r"returned \(3, 1\) for 1 images"),
        ("users_own_models:a_pair", r"returned tuple for 1 images; it must return logits \(1, classes\)"),
        ("folder.pt", "model folder.pt is a folder"),
        ("missing.onnx", "model missing.onnx does not exist"),
        ("notes.txt", "notes.txt is of no known kind; give a .safetensors file"),
        ("weights.pt", "weights.pt is no whole TorchScript file .*torch.jit.save, or name module:function"),
        ("text.ts", "text.ts is no whole TorchScript file"),
        ("text.pt2", "text.pt2 is no whole file of torch.export"),
    ],
)
def test_what_cannot_be_used_is_one_line(module: Path, name: str, line: str) -> None:
    (module.parent / "folder.pt").mkdir()
    torch.save({"weight": torch.zeros(3)}, module.parent / "weights.pt")
    for text in ("notes.txt", "text.ts", "text.pt2"):
        (module.parent / text).write_text("hello")
    with pytest.raises(RobustAugError, match=line) as caught:
        checked(name)
    assert "\n" not in str(caught.value)


def test_onnx_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(RobustAugError, match=r"text.onnx cannot be run by onnxruntime \(.*\); export it again"):
        load_foreign(str(tmp_path / "text.onnx"))


def test_onnx_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "any.onnx").write_text("hello")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RobustAugError, match=r"needs onnxruntime: pip install 'robustaug\[onnx\]'"):
        load_foreign(str(tmp_path / "any.onnx"))


@pytest.mark.parametrize("name", ["detached", "rounded"])
def test_a_model_without_gradients_runs_forward_only(module: Path, name: str) -> None:
    classifier = checked(f"users_own_models:{name}")
    assert forward_only(classifier.model) == "it gives no gradient with respect to its images"


def test_torchscript_that_runs_on_one_batch_size_only(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(1, -1)[:, :3]

    torch.jit.save(torch.jit.trace(Fixed(), (images(1),)), tmp_path / "one.pt")
    with pytest.raises(RobustAugError, match=r"one.pt returned \(1, 3\) for 2 images"):
        checked(tmp_path / "one.pt")


def test_another_image_size(files: dict[str, Path]) -> None:
    classifier = load_foreign(str(files["any.pt2"]))
    with pytest.raises(RobustAugError, match="takes 6x6 px images, these are 9x9; use another --size"):
        classifier.check_images(torch.zeros(2, 3, 9, 9), CLASSES)


def test_inputs_that_are_no_colour_images(tmp_path: Path) -> None:
    for name, example in {"flat": (torch.rand(4, 9),), "grey": (torch.rand(4, 1, 6, 6),)}.items():
        torch.export.save(torch.export.export(nn.Flatten(), example), tmp_path / f"{name}.pt2")
    with pytest.raises(RobustAugError, match=r"takes input of shape \(4, 9\); export a model of images \(N, 3, H, W\)"):
        load_foreign(str(tmp_path / "flat.pt2"))
    with pytest.raises(RobustAugError, match=r"takes input of shape \(4, 1, 6, 6\)"):
        load_foreign(str(tmp_path / "grey.pt2"))


class Mischief:
    """What a pickle may do when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def rewritten(source: Path, target: Path, change: dict[str, bytes]) -> Path:
    """A copy of an archive with other content in some of its parts, by the end of their names."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for part in old.namelist():
            content = next((value for end, value in change.items() if part.endswith(end)), old.read(part))
            new.writestr(part, content)
    return target


def test_nothing_in_an_exported_program_is_unpickled(files: dict[str, Path], tmp_path: Path) -> None:
    done, buffer = tmp_path / "done", io.BytesIO()
    torch.save((Mischief(done),), buffer)
    path = rewritten(files["any.pt2"], tmp_path / "evil.pt2", {"sample_inputs/model.pt": buffer.getvalue()})
    torch.export.load(path)  # torch itself opens it: the fault is planted right
    assert done.exists()
    done.unlink()
    with pytest.raises(RobustAugError, match=r"evil.pt2 is no whole file of torch.export \("):
        load_foreign(str(path))
    assert not done.exists()


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ("data/aotinductor/m/m.so", "compiled code"),
        ("data/constants/opaque_obj_0", "pickled objects"),
        ("data/constants/custom_obj_0", "C.. objects"),
    ],
)
def test_what_torch_would_run_is_refused(files: dict[str, Path], tmp_path: Path, part: str, what: str) -> None:
    path = tmp_path / "more.pt2"
    path.write_bytes(files["any.pt2"].read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"any/{part}", b"")
    with pytest.raises(RobustAugError, match=f"more.pt2 holds {what}, which is not run"):
        load_foreign(str(path))
