"""Shape or texture: decisions are counted as the paper counts them, and accuracy against the strength of a style."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from robustaug.attacks import ThreatModel
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.evaluation import CueConflicts, Protocol, accuracy_interval, evaluate_arm, evaluation_work
from robustaug.evaluation.results import load_evaluation, save_evaluation
from robustaug.evaluation.shape_bias import ShapeBias, decided

CLASSES = ("square", "disc", "star")
LINF = ThreatModel("linf", 0.01)
PROTOCOL = Protocol(samples=4, pgd_steps=1, pgd_restarts=1, noise_draws=1, curve_samples=2, curve_steps=1)


class ByChannel(nn.Module):
    """Gives the class that is written into one channel: red is the shape, green the texture; blue knows neither."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        level = images[:, self.channel].mean((1, 2)) * 255 / 40
        return -((level[:, None] - torch.arange(3)) ** 2) * self.weight


def painted(shapes: Tensor, textures: Tensor, prefix: str = "") -> ImageSet:
    images = torch.zeros(len(shapes), 3, 4, 4, dtype=torch.uint8)
    images[:, 0], images[:, 1] = (40 * shapes)[:, None, None], (40 * textures)[:, None, None]
    return ImageSet(images, shapes, tuple(f"{prefix}{i}" for i in range(len(shapes))), ("",) * len(shapes), CLASSES)


@pytest.fixture(scope="module")
def test_split() -> ImageSet:
    """Nine images, three of each class; shape and texture agree in all but the last, a star of a disc's texture."""
    shapes = torch.arange(9) // 3
    textures = shapes.clone()
    textures[8] = 1
    return painted(shapes, textures)


@pytest.fixture(scope="module")
def conflicts(test_split: ImageSet) -> CueConflicts:
    contents, styles = torch.tensor([0, 1, 3, 4, 6, 8]), torch.tensor([3, 8, 0, 6, 1, 0])
    made = painted(test_split.labels[contents], test_split.labels[styles])
    images = ImageSet(
        made.images, made.labels, tuple(test_split.keys[i] for i in contents.tolist()), made.sha256, CLASSES
    )
    return CueConflicts(images, contents, styles, "gatys")


def evaluated(channel: int, test_split: ImageSet, **changes):
    return evaluate_arm(ByChannel(channel), test_split, threat=LINF, protocol=PROTOCOL, **changes)


def test_a_classifier_of_shapes_has_bias_1(test_split, conflicts):
    found = evaluated(0, test_split, conflicts=conflicts).shape_bias
    assert (found.bias.value, found.bias.n, found.neither.value) == (1.0, 6, 0.0)
    assert (found.shape, found.texture, found.images, found.made) == (6, 0, 6, 6)
    assert found.bias == accuracy_interval(torch.ones(6, dtype=torch.bool))
    assert {name: (bias.value, bias.n) for name, bias in found.per_class.items()} == dict.fromkeys(CLASSES, (1.0, 2))


def test_a_classifier_of_textures_has_bias_0_on_the_images_whose_sources_it_has_right(test_split, conflicts):
    """It takes the last test image for a disc, so the two conflict images that come from it do not count."""
    found = evaluated(1, test_split, conflicts=conflicts).shape_bias
    assert (found.bias.value, found.bias.n) == (0.0, 4)
    assert (found.shape, found.texture, found.images, found.made) == (0, 4, 4, 6)
    assert {name: bias.n for name, bias in found.per_class.items()} == {"square": 1, "disc": 2, "star": 1}


def test_a_third_class_is_neither(test_split):
    """Of two images with right sources one shows a third class: no decision, and in the share of neither."""
    images = painted(torch.tensor([0, 2]), torch.tensor([1, 1]))  # what it goes by is red
    conflicts = CueConflicts(
        replace(images, labels=torch.tensor([0, 1])), torch.tensor([0, 3]), torch.tensor([3, 1]), ""
    )
    entry = evaluated(0, test_split, conflicts=conflicts)
    assert (entry.shape_bias.shape, entry.shape_bias.texture, entry.shape_bias.images) == (1, 0, 2)
    assert entry.shape_bias.neither == accuracy_interval(torch.tensor([True, False]))
    assert list(entry.shape_bias.per_class) == ["square"]
    assert entry.to_dict()["shape_bias"]["neither"] == entry.shape_bias.neither.to_dict()


@pytest.mark.parametrize(
    ("channel", "shown", "reason"),
    [
        (2, 0, "no cue-conflict image whose content and style source are both right"),  # it has squares right alone
        (0, 2, "none of 1 cue-conflict images was given the class of its shape or of its texture"),
    ],
)
def test_without_a_decision_there_is_no_number_but_a_reason(test_split, channel, shown, reason):
    images = painted(torch.tensor([shown]), torch.tensor([1]))
    conflicts = CueConflicts(replace(images, labels=torch.tensor([0])), torch.tensor([0]), torch.tensor([3]), "")
    found = evaluated(channel, test_split, conflicts=conflicts)
    assert found.shape_bias is None
    assert found.not_measured["shape_bias"] == reason
    assert "shape_bias" not in found.to_dict()


def test_what_the_protocol_wants_and_nobody_gave_has_a_reason(test_split):
    protocol = replace(PROTOCOL, conflict_samples=3, style_strength_samples=3)
    counts: list[int] = []
    found = evaluate_arm(
        ByChannel(0),
        test_split,
        threat=LINF,
        protocol=protocol,
        progress=lambda count=1, note=None: counts.append(count),
    )
    assert "two classes" in found.not_measured["shape_bias"]
    assert "were given" in found.not_measured["style_strength"]
    assert sum(counts) == evaluation_work(test_split, None, LINF, protocol)


@given(st.integers(0, 2**32 - 1))
def test_decisions_are_those_of_a_plain_count(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    test = painted(labels := torch.randint(3, (12,), generator=generator), labels)
    right = torch.rand(12, generator=generator) < 0.7
    pairs = [(i, j) for i in range(12) for j in range(12) if labels[i] != labels[j]][::7]
    contents, styles = (torch.tensor([pair[k] for pair in pairs], dtype=torch.int64) for k in range(2))
    predictions = torch.randint(3, (len(pairs),), generator=generator)
    conflicts = CueConflicts(painted(labels[contents], labels[styles]), contents, styles, "")
    shape = texture = neither = 0
    for (i, j), given_class in zip(pairs, predictions.tolist(), strict=True):
        if right[i] and right[j]:
            shape += given_class == labels[i]
            texture += given_class == labels[j]
            neither += given_class not in (labels[i], labels[j])
    found = decided(predictions, conflicts, test, right)
    if isinstance(found, str):
        assert shape + texture == 0
    else:
        assert (found.shape, found.texture, found.images) == (shape, texture, shape + texture + neither)
        assert found.bias.value == pytest.approx(int(shape) / int(shape + texture))
        assert found.neither.value == pytest.approx(neither / found.images)
        assert sum(bias.n for bias in found.per_class.values()) == found.bias.n == shape + texture
        assert ShapeBias.from_dict(found.to_dict()) == found


def strengths(test_split: ImageSet) -> dict[float, ImageSet]:
    """Six test images; at half strength two have lost their shape, at full strength four."""
    some = test_split.select([0, 1, 3, 4, 6, 7])
    half, whole = some.images.clone(), some.images.clone()
    half[:2, 0], whole[:4, 0] = 80, 80
    return {1.0: replace(some, images=whole), 0.5: replace(some, images=half)}


def test_accuracy_against_strength_begins_with_clean_and_ascends(test_split):
    found = evaluated(0, test_split, by_strength=strengths(test_split))
    points = [(point.strength, point.accuracy.value, point.accuracy.n) for point in found.style_strength]
    assert points == [(0.0, 1.0, 6), (0.5, pytest.approx(4 / 6), 6), (1.0, pytest.approx(2 / 6), 6)]
    assert found.verdicts["style_strength"].sum(1).tolist() == [6, 4, 2]
    assert found.to_dict()["style_strength"][1] == {
        "strength": 0.5, **accuracy_interval(torch.tensor([True] * 4 + [False] * 2)).to_dict()
    }  # fmt: skip
    wrong = evaluated(1, test_split, by_strength={1.0: test_split.select([7, 8])})
    assert [point.accuracy.value for point in wrong.style_strength] == [0.5, 0.5]  # wrong as it is


def test_strengths_of_different_images_are_refused(test_split):
    given = strengths(test_split)
    for others in (given[1.0].first(5), replace(given[1.0], keys=tuple("abcdef"))):
        with pytest.raises(RobustAugError, match="are not the same test images; make them again"):
            evaluated(0, test_split, by_strength={0.5: given[0.5], 1.0: others})
    with pytest.raises(RobustAugError, match="have other classes than the test split"):
        evaluated(0, test_split, by_strength={0.5: replace(given[0.5], class_names=("a", "b", "c"))})


def test_both_are_kept_on_disk_and_counted_as_work(test_split, conflicts, tmp_path):
    given = strengths(test_split)
    counts: list[int] = []
    found = evaluated(
        0, test_split, conflicts=conflicts, by_strength=given, progress=lambda count=1, note=None: counts.append(count)
    )
    assert sum(counts) == evaluation_work(test_split, None, LINF, PROTOCOL, None, given, conflicts)
    save_evaluation(tmp_path / "evaluation.safetensors", found)
    back = load_evaluation(tmp_path / "evaluation.safetensors")
    assert (back.shape_bias, back.style_strength) == (found.shape_bias, found.style_strength)
    assert found.attacks["shape_bias"]["method"] == "gatys"
    assert found.attacks["shape_bias"]["samples"] == 6
    assert found.attacks["style_strength"] == {"strengths": [0.0, 0.5, 1.0], "samples": 6}
