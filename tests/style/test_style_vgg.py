"""The encoder against torchvision's own network, and every kind of bad weights."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import VGG16_Weights, VGG19_Weights
from torchvision.models.vgg import cfgs, make_layers

from robustaug.errors import RobustAugError
from robustaug.style import VGGEncoder, load_encoder
from robustaug.style.vgg import EMBEDDED_LAYERS


def reference(architecture: str, depth: int, pooling: str = "max") -> nn.Sequential:
    features = make_layers(cfgs[{"vgg16": "D", "vgg19": "E"}[architecture]])[:depth]
    if pooling == "average":
        features = nn.Sequential(*(nn.AvgPool2d(2) if isinstance(m, nn.MaxPool2d) else m for m in features))
    return features


def state_of(architecture: str, depth: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = reference(architecture, depth).state_dict()
    return {f"features.{k}": 0.05 * torch.randn(v.shape, generator=generator) for k, v in state.items()}


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_embedded_features_equal_torchvisions_network_with_the_same_weights(pooling: Any, encoder: VGGEncoder) -> None:
    ours = load_encoder(pooling=pooling).double()  # features reach 1000: float32 rounding would hide small faults
    network = reference("vgg16", 19, pooling).double()
    indices = (0, 2, 5, 7, 10, 12, 14, 17)
    for index, name in zip(indices, EMBEDDED_LAYERS, strict=True):
        network[index].load_state_dict(encoder.convolutions[name].state_dict())
    images = torch.rand(2, 3, 37, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = 255 * images - torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
    with torch.no_grad():
        found = ours(images, EMBEDDED_LAYERS)
        for index, module in enumerate(network):
            x = module(x)
            if index - 1 in indices:
                torch.testing.assert_close(found[EMBEDDED_LAYERS[indices.index(index - 1)]], x, rtol=1e-4, atol=1e-3)
    assert list(found) == list(EMBEDDED_LAYERS)


def test_vgg19_layout_with_imagenet_normalisation() -> None:
    state = state_of("vgg19", 20)
    ours = VGGEncoder(state, architecture="vgg19", deepest="conv4_1", normalisation="imagenet")
    network = reference("vgg19", 21)
    network.load_state_dict({key.removeprefix("features."): value for key, value in state.items()})
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    x = (images - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        1, 3, 1, 1
    )
    torch.testing.assert_close(ours(images, ["conv4_1"])["conv4_1"], network(x), rtol=1e-4, atol=1e-5)


def test_the_encoder_is_frozen_and_cut_off() -> None:
    encoder = load_encoder(deepest="conv2_1")
    assert encoder.layers == ("conv1_1", "conv1_2", "conv2_1")
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("architecture", "weights", "normalisation"),
    [("vgg16", VGG16_Weights.IMAGENET1K_FEATURES, "oxford"), ("vgg19", VGG19_Weights.IMAGENET1K_V1, "imagenet")],
)
def test_torchvisions_weights_come_with_their_own_normalisation(
    architecture: Any, weights: Any, normalisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def get_state_dict(self: Any, **_: Any) -> dict[str, Tensor]:
        asked.append(self)
        return state_of(architecture, 1)

    monkeypatch.setattr(type(weights), "get_state_dict", get_state_dict)
    encoder = load_encoder("torchvision", architecture=architecture, deepest="conv1_1")
    assert asked == [weights]
    assert encoder.normalisation == normalisation
    transform = weights.transforms()
    # torchvision rounds Oxford's mean colour to whole numbers of 255.
    torch.testing.assert_close(encoder.mean.flatten(), torch.tensor(transform.mean), atol=0.7 / 255, rtol=0)
    torch.testing.assert_close(encoder.std.flatten(), torch.tensor(transform.std), atol=1e-6, rtol=0)


def test_a_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(type(VGG19_Weights.IMAGENET1K_V1), "get_state_dict", fail)
    with pytest.raises(
        RobustAugError, match=r"cannot download vgg19 weights .*no route to host.*; use weights 'embedded'"
    ):
        load_encoder("torchvision", architecture="vgg19")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file(tmp_path: Path, suffix: str, encoder: VGGEncoder) -> None:
    state = state_of("vgg16", 3)
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    found = load_encoder(path, deepest="conv1_2", normalisation="imagenet")
    assert torch.equal(found.convolutions["conv1_2"].weight, state["features.2.weight"])
    assert found.fingerprint != load_encoder(path, deepest="conv1_2", normalisation="oxford").fingerprint
    with pytest.raises(RobustAugError, match="does not say how its input is normalised"):
        load_encoder(path, deepest="conv1_2")
    with pytest.raises(RobustAugError, match=r"holds no features.5.weight \(layer conv2_1\)"):
        load_encoder(path, deepest="conv2_1", normalisation="oxford")


def test_damaged_weights(tmp_path: Path) -> None:
    state = state_of("vgg16", 1)
    for change, message in (
        ({"features.0.bias": torch.full((64,), float("nan"))}, "features.0.bias holds NaN"),
        ({"features.0.weight": torch.zeros(64, 3, 5, 5)}, r"features.0.weight is \(64, 3, 5, 5\), not \(64, 3, 3, 3\)"),
    ):
        save_file({**state, **change}, tmp_path / "w.safetensors")
        with pytest.raises(RobustAugError, match=message):
            load_encoder(tmp_path / "w.safetensors", deepest="conv1_1", normalisation="oxford")


class Payload:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"not a safetensors file at all")
    (tmp_path / "b.pth").write_bytes(b"not a pickle")
    (tmp_path / "e.pth").write_bytes(b"")
    torch.save([1, 2], tmp_path / "c.pth")
    torch.save({"features.0.weight": Payload(tmp_path / "ran")}, tmp_path / "d.pth")
    for name in ("a.safetensors", "b.pth", "c.pth", "d.pth", "e.pth"):
        with pytest.raises(RobustAugError, match=name) as caught:
            load_encoder(tmp_path / name, normalisation="oxford")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(RobustAugError, match="there is no weights file"):
        load_encoder(tmp_path / "none.pth", normalisation="oxford")


def test_layers_and_sizes_that_do_not_exist(encoder: VGGEncoder) -> None:
    images = torch.rand(1, 3, 16, 16)
    with pytest.raises(
        RobustAugError, match=r"embedded weights hold no layer 'conv5_1'; use one of conv1_1, .*conv4_1"
    ):
        load_encoder(deepest="conv5_1")
    with pytest.raises(RobustAugError, match="no vgg19 weights are embedded"):
        load_encoder(architecture="vgg19")
    with pytest.raises(RobustAugError, match="encoder 'vgg11' is unknown"):
        load_encoder("torchvision", architecture="vgg11")  # type: ignore[arg-type]
    with pytest.raises(RobustAugError, match="vgg16 has no layer 'conv4_4'"):
        VGGEncoder({}, deepest="conv4_4")
    with pytest.raises(RobustAugError, match=r"holds no layer conv5_1; it has conv1_1"):
        encoder(images, ["conv5_1"])
    assert encoder(images[..., :8, :8], ["conv4_1"])["conv4_1"].shape == (1, 512, 1, 1)
    with pytest.raises(RobustAugError, match="7x9 pixels are too small for layer conv4_1; it needs 8"):
        encoder(torch.rand(1, 3, 7, 9), ["conv4_1"])
