"""Checkpoints: whole models come back, damaged files get one line."""

import json

import pytest
import safetensors
import safetensors.torch
import torch
import torchvision
from torch import nn

from robustaug.errors import RobustAugError
from robustaug.models import ImageClassifier, build_model, load_checkpoint, save_checkpoint

CLASSES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def model():
    return build_model("small_cnn", 3, (20, 24), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), seed=5, width=2)


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model, class_names=CLASSES, extra={"threat": {"norm": "linf", "eps": 0.2}})
    return path


def rewrite(path, change=None, metadata=None):
    """The file again, with its tensors or its metadata changed."""
    with safetensors.safe_open(path, framework="pt") as file:
        texts = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if change:
        change(tensors)
    if metadata:
        content = json.loads(texts["robustaug"])
        metadata(content)
        texts = {"robustaug": json.dumps(content)}
    safetensors.torch.save_file(tensors, path, metadata=texts)


@pytest.mark.parametrize("name", ["small_cnn", "wide_resnet8", "preact_resnet18", "torchvision:mobilenet_v3_small"])
def test_a_model_comes_back_whole(name, tmp_path):
    options = {} if name.startswith("torchvision") else {"width": 4}
    model = build_model(name, 3, (32, 32), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), seed=5, **options)
    model(torch.rand(4, 3, 32, 32))  # moves running statistics, which must come back too
    save_checkpoint(tmp_path / "m.safetensors", model, class_names=CLASSES, extra={"split_seed": 7})
    checkpoint = load_checkpoint(tmp_path / "m.safetensors")
    assert checkpoint.class_names == CLASSES
    assert checkpoint.image_size == (32, 32)
    assert checkpoint.extra == {"split_seed": 7}
    assert checkpoint.model.spec == model.spec
    assert not checkpoint.model.training
    state = checkpoint.model.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def test_the_same_model_gives_the_same_bytes(model, saved, tmp_path):
    save_checkpoint(
        tmp_path / "again.safetensors", model, class_names=CLASSES, extra={"threat": {"eps": 0.2, "norm": "linf"}}
    )
    assert saved.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_published_weights_are_not_fetched_again_to_load(tmp_path, monkeypatch):
    asked = []
    original = torchvision.models.get_model

    def without_download(name, weights, **settings):
        asked.append(weights)
        return original(name, weights=None, **settings)

    monkeypatch.setattr("torchvision.models.get_model", without_download)
    model = build_model("torchvision:squeezenet1_1", 3, (32, 32), weights="DEFAULT")
    save_checkpoint(tmp_path / "m.safetensors", model, class_names=CLASSES)
    load_checkpoint(tmp_path / "m.safetensors")
    assert asked == ["DEFAULT", None]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(model, saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RobustAugError, match="No space left on device"):
        save_checkpoint(saved, model, class_names=CLASSES)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_only_models_that_can_be_built_again_are_saved(model, tmp_path):
    with pytest.raises(RobustAugError, match="only models from build_model"):
        save_checkpoint(tmp_path / "m.safetensors", ImageClassifier(nn.Flatten(), (0,), (1,)), class_names=CLASSES)
    with pytest.raises(RobustAugError, match="2 class names for 3 logits"):
        save_checkpoint(tmp_path / "m.safetensors", model, class_names=CLASSES[:2])
    assert list(tmp_path.iterdir()) == []


def refused(path, message):
    with pytest.raises(RobustAugError, match=message) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path):
    refused(tmp_path / "none.safetensors", "does not exist")
    refused(tmp_path, "is a folder")


def test_not_a_safetensors_file(saved):
    saved.write_bytes(saved.read_bytes()[:-100])
    refused(saved, "not a whole safetensors file")
    saved.write_text("hello")
    refused(saved, "not a whole safetensors file")
    saved.write_bytes(b"")
    refused(saved, "not a whole safetensors file")


def test_safetensors_of_another_program(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"w": torch.zeros(2)}, path)
    refused(path, "no robustaug metadata")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (lambda m: m.update(format=99), "has format 99"),
        (lambda m: m.pop("format"), "metadata is damaged"),
        (lambda m: m.pop("class_names"), "metadata is damaged"),
        (lambda m: m["model"].pop("image_size"), "metadata is damaged"),
        (lambda m: m.update(mean="x"), "metadata is damaged"),
        (lambda m: m["model"].update(name="nosuchnet"), "model 'nosuchnet' is unknown"),
        (lambda m: m["model"]["options"].update(depth=3), "option 'depth' is unknown"),
        (lambda m: m["model"].update(num_classes=4), "has shape"),
    ],
)
def test_damaged_metadata(saved, metadata, message):
    rewrite(saved, metadata=metadata)
    refused(saved, message)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_name_the_tensor(saved, value):
    rewrite(saved, change=lambda tensors: tensors["backbone.0.weight"].view(-1)[3].fill_(value))
    refused(saved, "tensor backbone.0.weight holds NaN or infinite")


def test_tensors_that_do_not_fit(saved):
    rewrite(saved, change=lambda tensors: tensors.update({"backbone.0.bias": torch.zeros(9)}))
    refused(saved, r"tensor backbone.0.bias has shape \(9,\), the model needs \(2,\)")
    rewrite(saved, change=lambda tensors: tensors.pop("backbone.0.bias"))
    refused(saved, "lacks tensor backbone.0.bias")
    rewrite(saved, change=lambda tensors: tensors.update({"backbone.0.bias": torch.zeros(2), "extra": torch.zeros(1)}))
    refused(saved, "holds the unknown tensor extra")


def test_data_that_the_checkpoint_was_not_made_for(saved):
    checkpoint = load_checkpoint(saved)
    checkpoint.check_images(torch.zeros(2, 3, 20, 24), CLASSES)
    with pytest.raises(RobustAugError, match="takes 3x20x24 images, these are 3x24x20; load the data at 20x24 px"):
        checkpoint.check_images(torch.zeros(2, 3, 24, 20))
    with pytest.raises(RobustAugError, match="takes 3x20x24 images, these are 1x20x24"):
        checkpoint.check_images(torch.zeros(2, 1, 20, 24))
    with pytest.raises(RobustAugError, match="knows 3 classes, the data has 2"):
        checkpoint.check_images(torch.zeros(2, 3, 20, 24), CLASSES[:2])
    with pytest.raises(RobustAugError, match="has class 'bee' where the data has 'cat'"):
        checkpoint.check_images(torch.zeros(2, 3, 20, 24), ("ant", "cat", "bee"))
