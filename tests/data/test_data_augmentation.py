"""Each technique gives what torchvision gives for the drawn parameters, in any batch, and draws what it says."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from robustaug.data.augmentation import TECHNIQUES, build_techniques
from robustaug.data.augmentation.mixing import CutMix, Mixing, MixUp
from robustaug.data.augmenter import ClassicalAugmenter
from robustaug.randomness import fold, normal

HEIGHT, WIDTH = 14, 18
BILINEAR = F.InterpolationMode.BILINEAR
Drawn = Mapping[str, Any]


def noise(n: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """Bytes as float images, among them grey and saturated pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, height, width), generator=generator)
    images[:, :, 0], images[:, :, 1, :4], images[:, 0, 2] = images[:, :1, 0], 255, 0
    return images / 255


def classical(*entries: Any) -> ClassicalAugmenter:
    return ClassicalAugmenter(build_techniques(entries, "techniques"))


def box(drawn: Drawn) -> tuple[int, int, int, int]:
    """Top, left, height and width as torchvision computes them from area and ratio."""
    area = drawn["area"] * HEIGHT * WIDTH
    width = min(WIDTH, max(1, round((area * drawn["ratio"]) ** 0.5)))
    height = min(HEIGHT, max(1, round((area / drawn["ratio"]) ** 0.5)))
    return int(drawn["top"] * (HEIGHT - height + 1)), int(drawn["left"] * (WIDTH - width + 1)), height, width


def affine(image: Tensor, drawn: Drawn, fill: float) -> Tensor:
    move = [drawn["translate_x"] * WIDTH, drawn["translate_y"] * HEIGHT]
    shear = [drawn["shear_x"], drawn["shear_y"]]
    result: Tensor = F.affine(image, drawn["degrees"], move, drawn["scale"], shear, BILINEAR, [fill] * 3)
    return result


def resized(image: Tensor, drawn: Drawn) -> Tensor:
    size = [round(side * drawn["scale"]) for side in (HEIGHT, WIDTH)]
    result: Tensor = F.resize(F.resize(image, size), [HEIGHT, WIDTH])
    return result


# Each technique with parameters of its own, and torchvision's functional with what was drawn.
FUNCTIONAL: dict[str, tuple[dict[str, Any], Callable[[Tensor, Drawn], Tensor]]] = {
    "crop": (
        {"padding": 3, "mode": "constant", "fill": 0.5},
        lambda x, d: F.crop(F.pad(x, [3], fill=0.5), d["top"], d["left"], HEIGHT, WIDTH),
    ),
    "resized_crop": ({"scale": [0.2, 1.0]}, lambda x, d: F.resized_crop(x, *box(d), [HEIGHT, WIDTH])),
    "horizontal_flip": ({}, lambda x, _: F.horizontal_flip(x)),
    "vertical_flip": ({}, lambda x, _: F.vertical_flip(x)),
    "rotation": (
        {"degrees": [-170, 170], "fill": 0.25},
        lambda x, d: F.rotate(x, d["degrees"], BILINEAR, fill=[0.25] * 3),
    ),
    "affine": ({"shear": [-30, 30], "scale": [0.5, 2], "fill": 1.0}, lambda x, d: affine(x, d, 1.0)),
    "resize": ({"scale": [0.3, 1.0]}, resized),
    "brightness": ({"factor": [0, 3]}, lambda x, d: F.adjust_brightness(x, d["factor"])),
    "contrast": ({"factor": [0, 3]}, lambda x, d: F.adjust_contrast(x, d["factor"])),
    "saturation": ({"factor": [0, 3]}, lambda x, d: F.adjust_saturation(x, d["factor"])),
    "hue": ({"shift": [-0.5, 0.5]}, lambda x, d: F.adjust_hue(x, d["shift"])),
    "gaussian_blur": (
        {"sigma": [0.2, 4], "kernel_size": 7},
        lambda x, d: F.gaussian_blur(x, [7, 7], [d["sigma"]] * 2),
    ),
    "erasing": (
        {"scale": [0.1, 0.9], "value": 0.75},
        lambda x, d: F.erase(x, *box(d), torch.full((3, 1, 1), 0.75)),
    ),
}
AUTOMATIC = {
    "augmix": ({"severity": 5}, v2.AugMix(severity=5, mixture_width=3, chain_depth=-1, alpha=1.0, all_ops=False)),
    "trivialaugment": ({}, v2.TrivialAugmentWide()),
    "randaugment": ({"operations": 3, "magnitude": 12}, v2.RandAugment(num_ops=3, magnitude=12)),
}
SINGLE = [name for name, kind in TECHNIQUES.items() if not kind.mixes]


def test_every_technique_is_held_to_torchvision() -> None:
    assert {*FUNCTIONAL, *AUTOMATIC, "gaussian_noise", "mixup", "cutmix"} == set(TECHNIQUES)


@pytest.mark.parametrize("name", FUNCTIONAL)
@settings(max_examples=4, deadline=None)
@given(seeds=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=6, max_size=6))
def test_torchvision_with_the_drawn_parameters(name: str, seeds: list[int]) -> None:
    options, functional = FUNCTIONAL[name]
    augmenter, images = classical({"name": name, "probability": 1.0, **options}), noise(len(seeds))
    result = augmenter.augment(images, torch.zeros(6), torch.tensor(seeds))
    (draw,) = augmenter.draw(torch.tensor(seeds))
    for row, (image, seed, found) in enumerate(zip(images, seeds, result, strict=True)):
        drawn = {key: values[row].item() for key, values in draw.parameters.items()}
        torch.testing.assert_close(found, functional(image, drawn), atol=2e-5, rtol=0)
        (operation,) = augmenter.drawn(seed)["operations"]
        assert operation.pop("name") == name
        assert operation == pytest.approx(drawn, rel=1e-5)


@pytest.mark.parametrize("name", AUTOMATIC)
@settings(max_examples=3, deadline=None)
@given(seeds=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=8))
def test_torchvision_called_with_the_same_seed(name: str, seeds: list[int]) -> None:
    options, transform = AUTOMATIC[name]
    augmenter, images = classical({"name": name, **options}), noise(len(seeds))
    result = augmenter.augment(images, torch.zeros(len(seeds)), torch.tensor(seeds))
    with torch.random.fork_rng(devices=[]):
        for image, seed, found in zip(images, seeds, result, strict=True):
            torch.manual_seed(augmenter.drawn(seed)["operations"][0]["seed"])
            assert torch.equal(found, transform((image * 255).round().to(torch.uint8)) / 255)


def test_noise_is_normal_cut_and_of_the_drawn_size() -> None:
    augmenter, images = classical({"name": "gaussian_noise", "sigma": [0.05, 0.2]}), torch.full((40, 3, 32, 32), 0.5)
    result = augmenter.augment(images, torch.zeros(40), torch.arange(40))
    for seed, found in enumerate(result):
        sigma = augmenter.drawn(seed)["operations"][0]["sigma"]
        # Five standard errors; sigma 0.2 is cut at 2.5 of its own size, which takes 1.3% of the deviation.
        assert abs(float((found - 0.5).std()) - sigma) < sigma * (0.065 + 0.015)
        expected = (0.5 + sigma * normal(fold(torch.tensor([seed]), 0), (3, 32, 32))[0]).clamp(0, 1)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SINGLE)
def test_an_image_is_the_same_in_any_batch_and_order(name: str) -> None:
    augmenter = classical({"name": name, "probability": 0.6})
    images, seeds, labels = noise(40), torch.arange(40) * 10**15, torch.zeros(40)
    copy, state = images.clone(), torch.get_rng_state()
    together = augmenter.augment(images, labels, seeds)
    assert torch.equal(images, copy)
    assert torch.equal(torch.get_rng_state(), state)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert torch.equal(augmenter.augment(images[order], labels, seeds[order]), together[order])
    assert torch.equal(augmenter.augment(images[5:6], labels[:1], seeds[5:6]), together[5:6])
    assert not torch.equal(augmenter.augment(images, labels, seeds + 1), together)
    assert together.min() >= 0
    assert together.max() <= 1
    weight = torch.ones(3, requires_grad=True)
    torch.autograd.backward((together.mean((0, 2, 3)) * weight).sum())  # no tensor of inference mode: a graph takes it


@pytest.mark.parametrize("probability", [0.1, 0.5, 1.0])
def test_probabilities_are_kept_and_independent(probability: float) -> None:
    entries = [{"name": name, "probability": probability} for name in ("horizontal_flip", "vertical_flip")]
    augmenter, count = classical(*entries), 2000
    first, second = augmenter.draw(torch.arange(count))
    both = set(first.rows.tolist()) & set(second.rows.tolist())
    for rows, share in ((first.rows, probability), (second.rows, probability), (both, probability**2)):
        assert abs(len(rows) - count * share) <= 4.5 * (count * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("name", [name for name in SINGLE if TECHNIQUES[name].limits])
def test_ranges_are_filled_and_kept(name: str) -> None:
    (technique,) = build_techniques(name, "techniques")
    _, drawn = technique.draw(torch.arange(3000))
    for key in technique.limits:
        low, high = getattr(technique, key)
        values = drawn.get({"scale": "area"}.get(key, key) if "area" in drawn else key, drawn.get(f"{key}_x"))
        assert values is not None
        assert low - 1e-6 <= float(values.min()) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < float(values.max()) <= high + 1e-6


def test_techniques_follow_one_another_in_the_order_of_the_recipe() -> None:
    turned, brighter = (
        {"name": "rotation", "degrees": [30, 30], "fill": 1.0},
        {"name": "brightness", "factor": [0.5, 0.5]},
    )
    images, labels, seeds = torch.ones(1, 3, 9, 9), torch.zeros(1), torch.zeros(1, dtype=torch.int64)
    for order, corner in (
        ((turned, brighter), 0.5),
        ((brighter, turned), 1.0),
    ):  # darkened before it is filled, or after
        assert classical(*order).augment(images, labels, seeds)[0, 0, 0, 0] == corner


def test_a_row_names_what_was_done_and_nothing_else() -> None:
    augmenter = classical({"name": "vertical_flip", "probability": 0.5}, {"name": "hue", "probability": 0.5})
    images, seeds = noise(30), torch.arange(30)
    result = augmenter.augment(images, torch.zeros(30), seeds)
    for image, seed, found in zip(images, seeds.tolist(), result, strict=True):
        row = augmenter.drawn(seed)
        assert row["technique"] == "+".join(each["name"] for each in row["operations"])
        assert ("vertical_flip" in row["technique"]) + ("hue" in row["technique"]) == len(row["operations"])
        assert torch.equal(image, found) == (row["technique"] == "")
    assert augmenter.kind == "classical"
    assert augmenter.name == "vertical_flip+hue"
    assert augmenter.describe()["techniques"][1] == {"name": "hue", "probability": 0.5, "shift": [-0.05, 0.05]}


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_mixing_is_torchvisions_with_the_drawn_share(kind: type[Mixing]) -> None:
    images, technique = noise(30), kind(alpha=0.7)
    others = images.roll(1, 0)
    _, drawn = technique.draw(torch.arange(30))
    mixed, share = technique.mix(images, others, drawn)
    reference = (v2.MixUp if kind is MixUp else v2.CutMix)(alpha=1.0, num_classes=2)
    for row in range(30):
        pair, lam = torch.stack([images[row], others[row]]), float(drawn["share"][row])
        if kind is MixUp:
            parameters: dict[str, Any] = {"lam": lam, "labels": None, "batch_size": 2}
        else:
            middle = [int(drawn[axis][row] * side) for axis, side in (("x", WIDTH), ("y", HEIGHT))]
            half = [int(0.5 * (1 - lam) ** 0.5 * side) for side in (WIDTH, HEIGHT)]
            low = [max(0, m - h) for m, h in zip(middle, half, strict=True)]
            high = [min(s, m + h) for s, m, h in zip((WIDTH, HEIGHT), middle, half, strict=True)]
            lam = 1 - (high[0] - low[0]) * (high[1] - low[1]) / (WIDTH * HEIGHT)
            parameters = {"box": (*low, *high), "lam_adjusted": lam, "labels": None, "batch_size": 2}
        torch.testing.assert_close(mixed[row], reference.transform(pair, parameters)[0], atol=1e-6, rtol=0)
        assert abs(float(share[row]) - lam) < 1e-6


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_share_follows_its_beta_distribution(alpha: float) -> None:
    from scipy.stats import beta, kstest  # noqa: PLC0415

    _, drawn = MixUp(alpha=alpha).draw(torch.arange(3000))
    assert kstest(drawn["share"].numpy(), beta(alpha, alpha).cdf).pvalue > 0.001
