"""Labels kept by strength: known shares from a style and a classifier that can be computed by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from experiment_cases import coloured_squares, tree
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustaug.data import ImageSet
from robustaug.errors import RobustAugError
from robustaug.evaluation.statistics import Accuracy, accuracy_interval
from robustaug.experiment import preservation, preserve_job
from robustaug.experiment.preservation import Preservation, draw_preservation, judge, measure_preservation
from robustaug.experiment.preserve_job import preserve
from robustaug.models import Checkpoint, ImageClassifier, load_checkpoint
from robustaug.style import Blend, Painting, StyleBank, StyleTransfer, TargetCache, VGGEncoder, load_encoder
from robustaug.training import TrainingSettings

WHITE = StyleBank((Painting.from_tensor(torch.ones(3, 64, 64), "white"),))
CLASSES = ("dark", "light")


class Tint(StyleTransfer):
    """The image mixed with the painting's mean colour."""

    name: ClassVar[str] = "tint"

    def describe(self) -> dict[str, Any]:
        return {"method": self.name}

    def _working_size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def _transfer(
        self, work: Tensor, shape: tuple[int, int], blends: Sequence[Blend], strength: Tensor, cache: TargetCache
    ) -> tuple[Tensor, dict[str, Tensor]]:
        means = torch.stack([blend.paintings[0].image.float().mean((1, 2), keepdim=True) / 255 for blend in blends])
        return torch.lerp(work, means.expand_as(work), strength[:, None, None, None]), {}


class Brightness(nn.Module):
    """Logits ``-slope (m - 1/2)`` and ``slope (m - 1/2)`` of the mean brightness m."""

    def __init__(self, slope: float = 10.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, images: Tensor) -> Tensor:
        above = self.slope * (images.mean((1, 2, 3)) - 0.5)
        return torch.stack([-above, above], 1)


def brightness(side: int = 16, slope: float = 10.0, names: tuple[str, ...] = CLASSES) -> Checkpoint:
    model = ImageClassifier(Brightness(slope), (0.0,) * 3, (1.0,) * 3)
    return Checkpoint(model, names, (side, side), {}, Path("model.safetensors"))


def plain(levels: Sequence[int], side: int = 16) -> ImageSet:
    """Plain grey images of 8-bit levels, dark ones and light ones, under their true names."""
    images = torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, side, side).contiguous()
    keys = tuple(f"{number:03}" for number in range(len(levels)))
    return ImageSet(images, torch.tensor([int(level > 127) for level in levels]), keys, keys, CLASSES)


@pytest.fixture(scope="module")
def encoder() -> VGGEncoder:
    return load_encoder()


@pytest.fixture
def tint(encoder: VGGEncoder) -> Tint:
    return Tint(encoder=encoder)


def shares(values: dict[float, float], share: float = 0.9) -> Preservation:
    kept = {strength: accuracy_interval(torch.arange(100) < round(100 * value)) for strength, value in values.items()}
    return Preservation(kept, share, 0.1)


@pytest.mark.parametrize(
    ("values", "share", "recommended"),
    [
        ({0: 0.8, 0.25: 0.8, 0.5: 0.74, 0.75: 0.72, 1: 0.71}, 0.9, 0.75),  # 0.72 is just enough
        ({0: 0.8, 0.25: 0.8, 0.5: 0.74, 0.75: 0.72, 1: 0.71}, 1.0, 0.25),
        ({0: 0.8, 0.25: 0.71, 0.5: 0.5, 0.75: 0.4, 1: 0.3}, 0.9, None),
        ({0: 0.8, 0.25: 0.8, 0.5: 0.8, 0.75: 0.8, 1: 0.8}, 0.9, 1.0),
        ({0: 0.8, 0.25: 0.5, 0.5: 0.75, 0.75: 0.4, 1: 0.3}, 0.9, 0.5),  # a dip before does not count
    ],
)
def test_the_largest_strength_that_keeps_enough(values: dict[float, float], share: float, recommended: float) -> None:
    assert shares(values, share).recommended == recommended


@given(dark=st.lists(st.integers(0, 127), min_size=3, max_size=12), light=st.lists(st.integers(160, 255), min_size=8))
@settings(max_examples=8, deadline=None)
def test_known_shares_are_measured(
    dark: list[int], light: list[int], encoder: VGGEncoder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    images, style, folder = plain([*light[:12], *dark]), Tint(encoder=encoder), tmp_path_factory.mktemp("known")
    measured = measure_preservation(brightness(), images, WHITE, style, folder, strengths=(0, 0.3, 0.8))
    for strength, kept in measured.kept.items():
        still_dark = [level for level in dark if round(level + strength * (255 - level)) < 127.5]
        assert kept == accuracy_interval(torch.arange(len(images)) < len(still_dark) + len(light[:12]))
    assert list(measured.kept) == [0.0, 0.3, 0.8]
    assert measured.chance == 0.5


def test_a_judge_that_only_guesses_is_refused(tint: Tint, tmp_path: Path) -> None:
    images = plain([10, 20, 30, 220, 230, 240])
    wrong = ImageSet(images.images, 1 - images.labels, images.keys, images.sha256, CLASSES)
    with pytest.raises(RobustAugError, match=r"has 0.0% of 6 unchanged images right, guessing has 50.0%: too little"):
        measure_preservation(brightness(), wrong, WHITE, tint, tmp_path)
    renamed = ImageSet(images.images, images.labels, images.keys, images.sha256, ("day", "night"))
    with pytest.raises(RobustAugError, match="has class 'dark' where the data has 'day'"):
        measure_preservation(brightness(), renamed, WHITE, tint, tmp_path)
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(RobustAugError, match="share of labels to keep"):
            measure_preservation(brightness(), images, WHITE, tint, tmp_path, share=share)
    assert not list(tmp_path.iterdir())


def test_the_judge_gives_the_probability_of_the_named_class() -> None:
    images = plain([0, 51, 102, 204]).images
    named = judge(brightness())(images, ["dark", "dark", "light", "light"])
    exact = [torch.tensor(value).sigmoid().item() for value in (10.0, 6.0, -2.0, 6.0)]  # 2 * 10 * (m - 1/2)
    assert named.tolist() == pytest.approx(exact, abs=1e-6)
    assert judge(brightness())(images[:0], []).shape == (0,)


@pytest.mark.parametrize("count", [1, 2, 31, 33, 70])
def test_the_judge_does_not_look_at_the_neighbours(finished: Path, count: int) -> None:
    checkpoint = load_checkpoint(finished / "arms" / "clean" / "model.safetensors")
    images = torch.randint(0, 256, (70, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    names = [checkpoint.class_names[i % 3] for i in range(70)]
    judged, verdict = judge(checkpoint), judge(checkpoint)(images, names)
    assert torch.equal(judged(images[-count:], names[-count:]), verdict[-count:])


def test_the_judge_takes_images_as_the_training_does() -> None:
    images = torch.full((1, 3, 20, 40), 255, dtype=torch.uint8)
    images[..., 10:30] = 51  # the central square: 0.2
    assert float(judge(brightness())(images, ["dark"])) == pytest.approx(torch.tensor(6.0).sigmoid().item(), abs=1e-6)


def test_the_judge_names_what_it_does_not_know() -> None:
    images, judged = plain([0, 255]).images, judge(brightness())
    with pytest.raises(
        RobustAugError, match=r"model.safetensors does not know the class 'cat', only dark, light; give a"
    ):
        judged(images, ["dark", "cat"])
    with pytest.raises(RobustAugError, match="does not know the class of images outside of class folders"):
        judged(images, ["", "dark"])
    with pytest.raises(RobustAugError, match="1 class names for 2 images"):
        judged(images, ["dark"])


def test_the_figure_says_what_was_measured(tmp_path: Path) -> None:
    good = shares({0: 0.8, 0.25: 0.8, 0.5: 0.74, 0.75: 0.3, 1: 0.2})
    draw_preservation(good, tmp_path / "a.svg")
    draw_preservation(good, tmp_path / "b.svg")
    draw_preservation(shares({0: 0.8, 0.5: 0.1, 1: 0.1}), tmp_path / "none.svg")
    text = (tmp_path / "a.svg").read_text()
    assert (tmp_path / "b.svg").read_text() == text
    for words in ("recommended 0.5", "guessing", "90.0% of the originals", "labels kept, %", "strength"):
        assert words in text
    assert "recommended" not in (tmp_path / "none.svg").read_text()


@pytest.fixture
def quick_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preserve_job, "TRAINING", TrainingSettings(steps=30, batch_size=12, validate_every=10))


def test_the_whole_job_resumes_and_repeats(
    quick_training: None, tint: Tint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = coloured_squares(tmp_path / "squares", per_class=15)
    whole = preserve(str(source), tmp_path / "whole", WHITE, tint, samples=8)
    assert (whole.part, whole.images) == ("test", 8)
    assert [check.passed for check in whole.checks] == [True]  # none of these images was trained on
    content = json.loads((tmp_path / "whole" / "preservation.json").read_text())
    assert [point["strength"] for point in content["kept"]] == [0, 0.25, 0.5, 0.75, 1]
    kept = {point.pop("strength"): Accuracy(**point) for point in content["kept"]}
    assert kept == whole.preservation.kept
    assert kept[0].value > 0.8
    assert kept[1].value < 0.8  # white squares, in three classes
    assert content["recommended_strength"] == whole.preservation.recommended

    calls, real = [], preservation.stylize

    def killed(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(preservation, "stylize", killed)
    with pytest.raises(KeyboardInterrupt):
        preserve(str(source), tmp_path / "part", WHITE, tint, samples=8)
    assert not (tmp_path / "part" / "preservation.json").exists()
    again = preserve(str(source), tmp_path / "part", WHITE, tint, samples=8)
    assert again == whole
    without_times = [tree(tmp_path / name, pattern) for pattern in ("**/*.png", "preservation.*", "**/model.*")
                     for name in ("whole", "part")]  # fmt: skip
    assert without_times[::2] == without_times[1::2]

    monkeypatch.setattr(preserve_job, "train", None)  # would fail if it was called
    assert preserve(str(source), tmp_path / "whole", WHITE, tint, samples=8) == whole
    checkpoint = tmp_path / "whole" / "classifier" / "model.safetensors"
    with_it = preserve(str(source), tmp_path / "given", WHITE, tint, samples=8, checkpoint=checkpoint)
    assert with_it == whole  # the test part of the very data that it was trained on is found again
    with pytest.raises(RobustAugError, match=r"holds another job \(its samples differ\)"):
        preserve(str(source), tmp_path / "whole", WHITE, tint, samples=9)
    with pytest.raises(RobustAugError, match="give a size or a checkpoint, not both"):
        preserve(str(source), tmp_path / "new", WHITE, tint, size=20, checkpoint=checkpoint)
    with pytest.raises(RobustAugError, match="0 samples leave nothing"):
        preserve(str(source), tmp_path / "new", WHITE, tint, samples=0)
    assert not (tmp_path / "new").exists()
