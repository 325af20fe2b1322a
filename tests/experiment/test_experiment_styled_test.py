"""Restyled test images: the same at full strength, cues in conflict that come from the images they name."""

from pathlib import Path

import pytest
import torch
from experiment_cases import coloured_squares, quick_style, tree

from robustaug.data import ImageSet, load_data
from robustaug.evaluation import Protocol
from robustaug.experiment.config import StyleSection
from robustaug.experiment.styled_test import cue_conflicts, styled_test
from robustaug.experiment.variants import paintings_of
from robustaug.style import AdaIN, Gatys, Painting

PROTOCOL = Protocol(unseen_style_samples=5, style_strength_samples=3, conflict_samples=6)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    quick_style(monkeypatch)
    return load_data(str(coloured_squares(tmp_path / "squares", 6)), seed=0).train


@pytest.mark.parametrize(("method", "style"), [("gatys", Gatys), ("adain", AdaIN)])
def test_a_conflict_image_is_its_content_in_the_whole_style_of_the_other(images, tmp_path, method, style):
    found = cue_conflicts(tmp_path / "conflicts", images, 4, method, seed=2)
    assert (len(found.images), found.method) == (4, method)
    assert found.images.keys == tuple(images.keys[row] for row in found.contents.tolist())
    assert torch.equal(found.images.labels, images.labels[found.contents])
    assert (images.labels[found.styles] != images.labels[found.contents]).all()
    content = images.select(found.contents).float_images()
    styles = [Painting.from_tensor(images.images[row]) for row in found.styles.tolist()]
    expected = (style()(content, styles, strength=1.0) * 255).round()
    assert (found.images.images - expected).abs().max() <= 1  # another order of the batch


def test_the_same_conflicts_are_found_again_and_another_seed_has_others(images, tmp_path):
    first = cue_conflicts(tmp_path / "a", images, 6, "adain", seed=0)
    files = tree(tmp_path / "a")
    again = cue_conflicts(tmp_path / "a", images, 6, "adain", seed=0)
    assert torch.equal(first.images.images, again.images.images)
    assert torch.equal(first.styles, again.styles)
    assert tree(tmp_path / "a") == files
    other = cue_conflicts(tmp_path / "b", images, 6, "adain", seed=1)
    assert not torch.equal(first.styles, other.styles) or not torch.equal(first.contents, other.contents)


def test_growing_strengths_are_of_the_same_images_and_end_in_the_unseen_styles(images, tmp_path):
    settings = StyleSection()
    _, bank = paintings_of(settings, 0)
    told: list[str] = []
    made = styled_test(tmp_path, images, PROTOCOL, bank, settings, 0, told.append)
    assert list(made.by_strength) == [0.25, 0.5, 0.75, 1.0]
    assert len(told) == 6
    assert len(made.unseen.images) == 5
    whole, place = made.by_strength[1.0], {key: row for row, key in enumerate(made.unseen.images.keys)}
    assert {images.keys for images in made.by_strength.values()} == {whole.keys}
    assert len(whole) == 3
    unseen = made.unseen.images.images[[place[key] for key in whole.keys]]
    assert torch.equal(whole.images, unseen)  # the same painting for the same image
    assert made.conflicts is not None
    told.clear()
    styled_test(tmp_path, images, PROTOCOL, bank, settings, 0, told.append)
    assert told == []


def test_nothing_is_made_that_the_protocol_does_not_want_or_one_class_cannot_have(images, tmp_path):
    settings = StyleSection()
    _, bank = paintings_of(settings, 0)
    made = styled_test(tmp_path / "bare", images, Protocol(unseen_style_samples=1), bank, settings, 0)
    assert (made.by_strength, made.conflicts) == ({}, None)
    alike = images.select((images.labels == 1).nonzero().squeeze(1))
    protocol = Protocol(unseen_style_samples=1, conflict_samples=2)
    assert styled_test(tmp_path / "one", alike, protocol, bank, settings, 0).conflicts is None
