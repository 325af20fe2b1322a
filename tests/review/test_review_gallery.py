"""The manifest as the page gets it: every file inside the folder, every original the one that the variant is of."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from robustaug.data.images import decode_image
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.files import read_jsonl, sha256, write_jsonl
from robustaug.review.desk import Desk
from robustaug.review.gallery import read_gallery, variants_folder
from robustaug.review.sources import find_sources


def change(folder: Path, **changes: Any) -> None:
    """Edit the first line of the manifest."""
    rows = read_jsonl(folder / "manifest.jsonl")
    write_jsonl(folder / "manifest.jsonl", [{**rows[0], **changes}, *rows[1:]])


def test_what_the_manifest_says(variants: Path) -> None:
    gallery = read_gallery(variants)
    assert [variant.path for variant in gallery.variants[:4]] == [f"cat/{number:04d}_0.png" for number in (0, 3, 6, 9)]
    stylised, classical, adversarial = gallery.variants[:3]
    assert (stylised.techniques, stylised.strength, stylised.label_probability) == (("painting_0",), 0.0, 1.0)
    assert (classical.techniques, classical.strength) == (("rotation", "blur"), None)
    assert classical.facts == (("operations", "blur (sigma 0.5)"),)
    assert (adversarial.techniques, adversarial.strength) == (("pgd",), 0.1)
    assert adversarial.facts == (("norm", "linf"), ("eps", "0.1"), ("success", "true"))
    assert gallery.classes == ["cat", "dog", "fish"]
    assert gallery.manifest_sha256 == sha256((variants / "manifest.jsonl").read_bytes())


@pytest.mark.parametrize(
    ("changes", "techniques", "facts"),
    [
        (
            {
                "technique": "horizontal_flip+affine+affine",
                "operations": [
                    {"name": "horizontal_flip"},
                    {"name": "affine", "degrees": -1.42851, "translate_x": 0.25},
                    {"name": "affine", "seed": 12345},
                ],
            },
            ("horizontal_flip", "affine"),
            {"operations": "horizontal flip; affine (degrees -1.429, translate x 0.25); affine (seed 12345)"},
        ),
        ({"technique": "flip", "operations": [], "made": None}, ("flip",), {"operations": "none", "made": "none"}),
        (
            {"style": "Sea+Night", "style_sha256": ["a", "b"], "style_weights": [0.25, 0.75]},
            ("Sea", "Night"),
            {"style_weights": "0.25, 0.75"},
        ),
        (
            {"style": "Sea+Sky", "style_sha256": "a", "size": {"low": 0.1, "top_k": 3}},
            ("Sea+Sky",),
            {"size": "low 0.1, top k 3"},
        ),
        ({"attack": "apgd", "style": ""}, ("apgd",), {}),
        ({}, ("stylised",), {}),
    ],
)
def test_techniques_stand_apart_and_values_are_words(
    variants: Path, changes: dict[str, Any], techniques: tuple[str, ...], facts: dict[str, str]
) -> None:
    change(variants, **({"style": "", "technique": ""} | changes))
    variant = read_gallery(variants).variants[0]
    assert variant.techniques == techniques
    assert {name: dict(variant.facts)[name] for name in facts} == facts


def test_numbers_that_are_none_are_not_taken_for_one(variants: Path) -> None:
    (variants / "manifest.jsonl").write_text(
        (variants / "manifest.jsonl").read_text().replace('"strength": 0.0,', '"strength": NaN,')
    )
    assert read_gallery(variants).variants[0].strength is None
    for value in ("0.5", True, [0.1, 0.2]):
        change(variants, strength=value)
        assert read_gallery(variants).variants[0].strength is None
    change(variants, strength=1)
    assert math.isclose(read_gallery(variants).variants[0].strength or 0, 1.0)


def test_a_run_folder_means_its_training_variants(variants: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "variants").mkdir(parents=True)
    variants.rename(run / "variants" / "train")
    assert variants_folder(run) == run / "variants" / "train"
    assert variants_folder(run / "variants" / "train") == run / "variants" / "train"
    with pytest.raises(RobustAugError, match=r"holds neither manifest.jsonl nor variants/train/manifest.jsonl; name a"):
        variants_folder(run / "variants")
    with pytest.raises(RobustAugError, match="none does not exist; name a folder"):
        variants_folder(tmp_path / "none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "../data/cat/0000.png"}, r"\.\./data/cat/0000.png lies outside the folder or goes there"),
        ({"path": "/etc/passwd"}, "/etc/passwd lies outside the folder"),
        ({"path": "cat/../../data/cat/0000.png"}, "lies outside the folder"),
        ({"path": "link.png"}, "link.png lies outside the folder"),
        ({"path": "a\0b"}, "lies outside the folder"),
        ({"label": 3}, "no text under 'label'"),
        ({"kind": None}, "no text under 'kind'"),
    ],
)
def test_an_edited_manifest_is_refused(variants: Path, changes: dict[str, Any], message: str) -> None:
    (variants / "link.png").symlink_to(variants.parent / "data" / "cat" / "0000.png")
    change(variants, **changes)
    with pytest.raises(RobustAugError, match=message) as caught:
        Desk(variants)
    assert "\n" not in str(caught.value)
    assert not (variants / "review.jsonl").exists()


@pytest.mark.parametrize("source", ["../variants/cat/0000_0.png", "/etc/passwd", "cat/../../x.png", "a\0b"])
def test_an_edited_source_is_refused(variants: Path, source: str) -> None:
    change(variants, source=source)
    with pytest.raises(RobustAugError, match=r"names the source .* which lies outside any image folder; make"):
        Desk(variants, str(variants.parent / "data"))


def test_no_variants(variants: Path) -> None:
    (variants / "manifest.jsonl").write_bytes(b"")
    with pytest.raises(RobustAugError, match=r"no variants in .*: manifest.jsonl is missing or empty; make them first"):
        Desk(variants)


@pytest.mark.parametrize("sample", [0, -1, 13])
def test_a_sample_that_cannot_be(variants: Path, sample: int) -> None:
    with pytest.raises(RobustAugError, match=rf"--sample {sample} is not possible with 12 variants; take 1 to 12"):
        Desk(variants, sample=sample)


def test_originals_of_a_folder(variants: Path) -> None:
    data = variants.parent / "data"
    gallery = read_gallery(variants)
    sources = find_sources(gallery, str(data), None)
    assert decode_image(sources.png(gallery.variants[1])).unique().tolist() == [3]
    (data / "cat" / "0003.png").write_bytes((data / "cat" / "0006.png").read_bytes())
    with pytest.raises(RobustAugError, match=r"cat/0003.png has changed since the variant was made"):
        sources.png(gallery.variants[1])
    (data / "cat" / "0003.png").unlink()
    with pytest.raises(RobustAugError, match=r"cannot read .*cat/0003.png: No such file"):
        sources.png(gallery.variants[1])


def test_originals_of_a_part_are_found_below_the_whole_folder(variants: Path) -> None:
    data, whole = variants.parent / "data", variants.parent / "photos"
    whole.mkdir()
    data.rename(whole / "train")  # variants were made of photos/train; the review is given photos
    gallery = read_gallery(variants)
    shown = find_sources(gallery, str(whole), None).png(gallery.variants[1])
    assert decode_image(shown).unique().tolist() == [3]


def test_a_folder_without_any_of_the_originals_is_refused(variants: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "cat").mkdir(parents=True)
    with pytest.raises(RobustAugError, match=r"other has none of the originals, such as cat/0000.png; name the folder"):
        find_sources(read_gallery(variants), str(tmp_path / "other"), None)


def test_large_originals_are_shown_smaller(variants: Path) -> None:
    path = variants.parent / "data" / "cat" / "0000.png"
    Image.effect_noise((2048, 100), 50).convert("RGB").save(path)
    change(variants, source_sha256=sha256(path.read_bytes()))
    gallery = read_gallery(variants)
    shown = decode_image(find_sources(gallery, str(variants.parent / "data"), None).png(gallery.variants[0]))
    assert shown.shape == (3, 50, 1024)


def test_originals_of_a_named_set(variants: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.arange(3 * 3 * 28 * 28).view(3, 3, 28, 28).to(torch.uint8)
    hashes = tuple(sha256(image.numpy().tobytes()) for image in pixels)
    digits = ImageSet(pixels, torch.tensor([0, 1, 0]), ("mnist5k/0", "mnist5k/1", "mnist5k/2"), hashes, ("0", "1"))
    monkeypatch.setattr("robustaug.review.sources.load_images", lambda name, root: (digits, ()))
    change(variants, source=digits.keys[0], source_sha256=digits.sha256[0])
    gallery = read_gallery(variants)
    sources = find_sources(gallery, "mnist5k", None)
    assert len(sources.images) == 1  # nothing else stays in memory
    assert torch.equal(decode_image(sources.png(gallery.variants[0])), digits.images[0])
    with pytest.raises(RobustAugError, match=r"cat/0003.png is not in mnist5k, or has changed"):
        sources.png(gallery.variants[1])


def test_originals_are_found_through_the_run(variants: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "variants").mkdir(parents=True)
    variants.rename(run / "variants" / "train")
    gallery = read_gallery(run / "variants" / "train")
    assert "name the folder that the variants were made from with --data" in find_sources(gallery, None, None).note
    (run / "config.toml").write_text(f'[data]\nsource = "{tmp_path / "data"}"\n')
    sources = find_sources(gallery, None, None)
    assert (sources.name, sources.note) == (str(tmp_path / "data"), "")
    (run / "config.toml").write_text('[data]\nsource = "gone"\n')
    missing = find_sources(gallery, None, None)
    assert missing.note == (
        "The originals are not shown: there is no image folder gone; name the one that the variants were made from. "
        "Name their folder with --data."
    )
    with pytest.raises(RobustAugError, match="The originals are not shown"):
        missing.png(gallery.variants[0])
    with pytest.raises(RobustAugError, match="there is no image folder gone"):
        find_sources(gallery, "gone", None)
