"""Wrong labels: the noise model finds the rate that was planted, and the images; ridge folds are the closed form."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest

from robustaug.exploration import explore, facts_of
from robustaug.exploration.labels import doubt_labels
from robustaug.exploration.prediction import FOLDS, fit_ridge, folds_of, share_of

Photos = Callable[..., list[Image.Image]]
WriteFolder = Callable[..., Path]


def noisy_scores(n: int, classes: int, noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores that are true log odds, labels drawn from them, a share exchanged: (scores, labels, which are wrong)."""
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(n, classes, generator=generator)
    true = torch.multinomial(scores.softmax(1), 1, generator=generator)[:, 0]
    wrong = torch.rand(n, generator=generator) < noise
    moved = (true + torch.randint(1, classes, (n,), generator=generator)) % classes
    return scores, torch.where(wrong, moved, true), wrong


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_the_rate_of_wrong_labels_is_found(noise: float) -> None:
    scores, labels, _ = noisy_scores(20_000, 10, noise)
    assert doubt_labels(scores, labels).noise == pytest.approx(noise, abs=0.006)


def test_the_probability_of_a_wrong_label_is_what_happens() -> None:
    scores, labels, wrong = noisy_scores(40_000, 10, 0.05)
    doubts = doubt_labels(scores, labels)
    assert doubts.temperature == pytest.approx(1, rel=0.3)
    for low, high in ((0.02, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        band = (doubts.wrong >= low) & (doubts.wrong < high)
        assert float(wrong[band].float().mean()) == pytest.approx(float(doubts.wrong[band].mean()), abs=0.06)


def test_the_most_doubtful_come_first_and_another_class_is_suggested() -> None:
    scores, labels, _ = noisy_scores(2_000, 5, 0.05)
    doubts = doubt_labels(scores, labels)
    listed = doubts.wrong[doubts.listed()]
    assert (listed >= 0.5).all()
    assert (listed.diff() <= 0).all()
    assert (doubts.suggested != labels).all()


@pytest.mark.parametrize("wide", [False, True], ids=["more images than features", "fewer"])
def test_ridge_folds_are_the_closed_form_without_the_fold(wide: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 500 if wide else 6, generator=generator)
    labels = (features[:, 0] > 0).long() + (features[:, 1] > 1).long()
    folds = torch.arange(200) % FOLDS
    standard = (features - features.mean(0)) / features.std(0)
    found = fit_ridge(features.clone(), labels, 3, folds)
    inside = folds != 2
    x, y = standard[inside].double(), torch.nn.functional.one_hot(labels[inside], 3).double()
    x0, y0 = x - x.mean(0), y - y.mean(0)
    errors = []
    for penalty in (0.01, 0.1, 1.0, 10.0):
        weight = torch.linalg.solve(
            x0.T @ x0 + penalty * len(x) * torch.eye(x.shape[1], dtype=torch.float64), x0.T @ y0
        )
        expected = (standard[~inside].double() - x.mean(0)) @ weight + y.mean(0)
        errors.append(float((found.scores[~inside] - expected).abs().max()))
    assert min(errors) < 1e-3
    assert torch.equal(found.predict(features, folds), found.scores.argmax(1))


def test_equal_images_share_a_fold_and_the_folds_are_even() -> None:
    folds = folds_of([str(number % 5000) for number in range(10_000)])
    assert torch.equal(folds[:5000], folds[5000:])
    assert torch.bincount(folds, minlength=FOLDS).tolist() == pytest.approx([2000] * FOLDS, rel=0.1)


def test_a_share_has_wilsons_interval() -> None:
    share = share_of(torch.arange(50) < 20)
    expected = binomtest(20, 50).proportion_ci(method="wilson")
    assert (share.value, share.low, share.high, share.n) == (0.4, expected.low, expected.high, 50)


def test_mislabelled_images_are_flagged(write_folder: WriteFolder) -> None:
    """Stripes, dots and smooth colours, 40 of each; one of each pair lies in another class's folder."""
    generator = np.random.default_rng(0)

    def image(kind: str) -> Image.Image:
        pixels = np.tile(generator.integers(60, 200, 3), (32, 32, 1)).astype(float)
        if kind == "stripes":
            pixels[np.arange(32) // int(generator.integers(2, 5)) % 2 == 0] += 55
        elif kind == "dots":
            for x, y in generator.integers(2, 30, (9, 2)):
                pixels[y - 2 : y + 2, x - 2 : x + 2] -= 60
        return Image.fromarray((pixels + generator.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8))

    kinds = ["dots", "smooth", "stripes"]
    images = {kind: [image(kind) for _ in range(40)] for kind in kinds}
    for number, kind in enumerate(kinds):
        other = images[kinds[(number + 1) % 3]]
        images[kind][0], other[-1] = other[-1], images[kind][0]
    planted = {f"{kind}/{number:03}.png" for kind in kinds for number in (0, 39)}
    labels = facts_of(explore(str(write_folder(images))))["labels"]
    assert {row["key"] for row in labels["listed"]} == planted
    assert labels["noise"] == pytest.approx(6 / 120, abs=0.02)
    assert labels["expected_right"] == pytest.approx(6, abs=1)
