"""Classifiers by name: known sizes, reproducible weights, clear errors."""

from itertools import pairwise

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from robustaug.errors import RobustAugError
from robustaug.models import ImageClassifier, build_model, model_names


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_wrapper_normalises_each_channel():
    model = ImageClassifier(nn.Flatten(), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    logits = model(torch.ones(1, 3, 1, 1))
    assert torch.allclose(logits, torch.tensor([[0.9 / 0.5, 0.8, 0.7 / 2]]))
    assert set(model.state_dict()) == {"mean", "std"}
    assert model.mean.shape == model.std.shape == (1, 3, 1, 1)


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0, 0, 0), (1, 1)), ((0, 0, 0), (1, 0, 1)), ((0, float("nan"), 0), (1, 1, 1)), ((0,), (float("inf"),))],
)
def test_wrapper_refuses_what_is_no_normalisation(mean, std):
    with pytest.raises(RobustAugError, match="one finite value a channel"):
        ImageClassifier(nn.Flatten(), mean, std)


def test_preact_resnet18_has_the_published_number_of_parameters():
    # Stem and four stages of 3x3 and 1x1 convolutions, two batch norms a unit and a last one, the head: 11.17 M.
    convolutions = 27 * 64 + 36 * 64**2
    for channels in (128, 256, 512):
        convolutions += 9 * channels // 2 * channels + 27 * channels**2 + channels // 2 * channels
    norms = 2 * (4 * 64 + sum(channels // 2 + 3 * channels for channels in (128, 256, 512)) + 512)
    head = 512 * 10 + 10
    assert convolutions + norms + head == 11_172_170
    assert parameters(build_model("preact_resnet18", 10, (32, 32))) == 11_172_170


def test_preact_unit_is_the_identity_plus_its_residual():
    model = build_model("preact_resnet18", 10, (32, 32), width=4)
    unit = model.backbone.units[1].eval()
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scale = (1 + unit.bn1.eps) ** -0.5  # fresh batch norm in eval mode only divides by this
        inner = F.conv2d(F.relu(x * scale), unit.conv1.weight, padding=1)
        expected = x + F.conv2d(F.relu(inner * scale), unit.conv2.weight, padding=1)
        assert torch.allclose(unit(x), expected, atol=1e-6)


def test_preact_resnet18_ends_in_a_batch_norm():
    network = build_model("preact_resnet18", 10, (32, 32), width=4).backbone.eval()
    nn.init.zeros_(network.bn.weight)  # now nothing but the head's bias can come out
    assert torch.equal(network(torch.rand(2, 3, 32, 32)), network.head.bias.expand(2, 10))


def test_wide_resnet8_size_in_closed_form():
    widths = (32, 64, 128, 256)
    convolutions = 27 * 32 + 32 + sum(9 * before * after + 9 * after**2 for before, after in pairwise(widths))
    norms = 2 * 2 * (64 + 128 + 256)
    assert parameters(build_model("wide_resnet8", 10, (32, 32))) == convolutions + norms + 256 * 10 + 10


@pytest.mark.parametrize("size", [(8, 8), (17, 31), (32, 32), (64, 48)])
def test_wide_resnet8_pools_thrice_and_adds_a_residual_each_time(size):
    network = build_model("wide_resnet8", 5, size, width=4).backbone.eval()
    for stage in network.stages:
        nn.init.zeros_(stage.bn2.weight)  # no residual
    x = F.relu(network.stem(torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))))
    scale = (1 + network.stages[0].bn1.eps) ** -0.5  # fresh batch norm in eval mode only divides by this
    expected = x
    for stage in network.stages:
        expected = F.relu(F.max_pool2d(F.conv2d(expected, stage.conv1.weight, padding=1), 2) * scale)
    with torch.no_grad():
        assert expected.shape[2:] == (size[0] // 8, size[1] // 8)
        assert torch.allclose(network.stages(x), expected, atol=1e-6)
        stage = network.stages[0]
        nn.init.ones_(stage.bn2.weight)
        first = F.relu(F.max_pool2d(F.conv2d(x, stage.conv1.weight, padding=1), 2) * scale)
        residual = F.relu(F.conv2d(first, stage.conv2.weight, padding=1) * scale)
        assert torch.allclose(stage(x), first + residual, atol=1e-6)


def test_small_cnn_size_in_closed_form():
    convolutions = (3 * 16 * 16 + 16) + (16 * 32 * 16 + 32)
    dense = (32 * 7 * 7 * 128 + 128) + (128 * 10 + 10)
    assert parameters(build_model("small_cnn", 10, (28, 28))) == convolutions + dense


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (28, 28), (64, 48), (224, 224)])
def test_small_cnn_takes_any_size_from_16_px_and_keeps_its_map_small(size):
    model = build_model("small_cnn", 5, size, width=4)
    assert model(torch.rand(2, 3, *size)).shape == (2, 5)
    flat = next(m for m in model.modules() if isinstance(m, nn.Linear)).in_features
    assert flat <= 4 * 4 * 8 * 8


@pytest.mark.parametrize("name", ["small_cnn", "wide_resnet8", "preact_resnet18", "torchvision:squeezenet1_1"])
def test_initial_weights_depend_on_the_seed_alone(name):
    state = torch.get_rng_state()
    first = build_model(name, 4, (32, 32), seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), state), "the global random state moved"
    torch.rand(7)
    again, other = (build_model(name, 4, (32, 32), seed=seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", (40, 40)),
        ("mobilenet_v3_small", (32, 32)),
        ("squeezenet1_1", (32, 32)),
        ("vit_b_32", (64, 64)),
        ("shufflenet_v2_x0_5", (32, 48)),
    ],
)
def test_torchvision_head_has_the_classes_of_the_data(name, size):
    model = build_model(f"torchvision:{name}", 7, size)
    assert all(module.training for module in model.modules())
    assert model.eval()(torch.rand(2, 3, *size)).shape == (2, 7)
    assert torch.allclose(model.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    assert torch.allclose(model.std.flatten(), torch.tensor([0.229, 0.224, 0.225]))


@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("inception_v3", 96)])
def test_published_inceptions_lose_their_auxiliary_heads(name, size, monkeypatch):
    kind = torchvision.models.get_model_weights(name)
    published = torchvision.models.get_model(name, num_classes=1000, aux_logits=True, init_weights=False).state_dict()
    monkeypatch.setattr(kind, "get_state_dict", lambda self, **_: published)  # what a download would bring
    model = build_model(f"torchvision:{name}", 7, (size, size), weights="DEFAULT")
    assert not any("aux" in key.lower() for key in model.state_dict())
    key = next(key for key in published if key.endswith("conv.weight"))
    assert torch.equal(model.backbone.state_dict()[key], published[key])
    assert model.train()(torch.rand(2, 3, size, size)).shape == (2, 7)


def test_model_names_are_own_ones_and_torchvisions():
    names = model_names()
    assert {"small_cnn", "wide_resnet8", "preact_resnet18", "torchvision:resnet50", "torchvision:vit_b_16"} <= set(
        names
    )
    assert "torchvision:raft_large" not in names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "smal_cnn"}, "did you mean 'small_cnn'"),
        ({"name": "torchvision:resent50"}, "did you mean 'torchvision:resnet50'"),
        ({"name": "resnet50"}, "did you mean 'torchvision:resnet50'"),
        ({"name": "qqq"}, "known are small_cnn, wide_resnet8, preact_resnet18"),
        ({"name": "small_cnn", "widht": 3}, "option 'widht' is unknown; did you mean 'width'"),
        ({"name": "torchvision:resnet18", "wieghts": "DEFAULT"}, "did you mean 'weights'"),
        ({"name": "torchvision:resnet18", "weights": "NONESUCH"}, "torchvision:resnet18 cannot be built"),
        ({"name": "small_cnn", "width": 0}, "width 0 must be"),
        ({"name": "preact_resnet18", "width": 1.5}, "width 1.5 must be"),
        ({"name": "wide_resnet8", "width": 1}, "width 1 must be a whole number from 2 up"),
        ({"name": "wide_resnet8", "image_size": (7, 32)}, "works from 8 px up"),
        ({"name": "small_cnn", "image_size": (15, 28)}, "from 16 px up, the images are 15x28"),
        ({"name": "small_cnn", "num_classes": 1}, "at least 2 classes"),
        ({"name": "torchvision:alexnet", "image_size": (16, 16)}, "cannot be built for 16x16 images"),
        ({"name": "small_cnn", "mean": (0.0, 0.0)}, "one finite value a channel"),
    ],
)
def test_wrong_arguments_get_one_line(arguments, message):
    with pytest.raises(RobustAugError, match=message) as caught:
        build_model(**({"num_classes": 10, "image_size": (28, 28)} | arguments))
    assert "\n" not in str(caught.value)
