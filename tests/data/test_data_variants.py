"""Variants on disk: every line of the manifest is checked against its original."""

from pathlib import Path
from typing import Any

import pytest
import torch

from robustaug.data.images import write_png
from robustaug.data.imageset import ImageSet
from robustaug.data.variants import load_variants
from robustaug.errors import RobustAugError
from robustaug.files import write_jsonl


@pytest.fixture
def originals() -> ImageSet:
    images = torch.zeros(3, 3, 8, 9, dtype=torch.uint8)
    return ImageSet(
        images, torch.tensor([0, 0, 1]), ("cat/1.png", "cat/2.png", "dog/1.png"), ("h1", "h2", "h3"), ("cat", "dog")
    )


def row(**changes: Any) -> dict[str, Any]:
    made = {"path": "dog/1_0.png", "source": "dog/1.png", "source_sha256": "h3", "label": "dog", "kind": "stylised"}
    return {**made, "style": "waves", "style_sha256": "s", **changes}


def test_variants_come_in_the_order_of_their_paths(tmp_path: Path, originals: ImageSet) -> None:
    write_png(tmp_path / "dog" / "1_0.png", torch.full((3, 8, 9), 7, dtype=torch.uint8))
    write_png(tmp_path / "cat" / "2_0.png", torch.full((3, 8, 9), 5, dtype=torch.uint8))
    cat = row(path="cat/2_0.png", source="cat/2.png", source_sha256="h2", label="cat", style="night")
    write_jsonl(tmp_path / "manifest.jsonl", [row(), row(style="sea"), cat])
    found = load_variants(tmp_path, originals)
    assert found.images[:, 0, 0, 0].tolist() == [5, 7]
    assert found.labels.tolist() == [0, 1]
    assert found.sources == ("cat/2.png", "dog/1.png")
    assert [parameters["style"] for parameters in found.parameters] == ["night", "sea"]  # the later line counts
    assert found.parameters[0]["path"] == "cat/2_0.png"
    assert not {"source", "label", "kind"} & set(found.parameters[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "../outside.png"}, "outside.png lies outside the folder"),
        ({"path": "/etc/hostname"}, "lies outside the folder"),
        ({"path": "dog/../dog/1_0.png"}, "lies outside the folder or goes there"),
        ({"path": "dog/\0.png"}, "lies outside the folder"),
        ({"path": "circle.png"}, "lies outside the folder|circle.png is missing"),
        ({"path": "dog/none.png"}, "dog/none.png is missing"),
        ({"source": "test/dog/9.png"}, "test/dog/9.png is not among the training images"),
        ({"source_sha256": "other"}, "dog/1.png has changed since its variant dog/1_0.png was made"),
        ({"label": "cat"}, "dog/1_0.png has label 'cat', its source dog/1.png has 'dog'"),
        ({"kind": "adversarial"}, "is of kind 'adversarial'"),
        ({"source": None}, "no text under 'source'"),
        ({"label": 1}, "no text under 'label'"),
    ],
)
def test_wrong_lines_are_refused(tmp_path: Path, originals: ImageSet, changes: dict[str, Any], message: str) -> None:
    folder = tmp_path / "variants"
    write_png(folder / "dog" / "1_0.png", torch.zeros(3, 8, 9, dtype=torch.uint8))
    write_png(tmp_path / "outside.png", torch.zeros(3, 8, 9, dtype=torch.uint8))
    (folder / "circle.png").symlink_to("circle.png")
    write_jsonl(folder / "manifest.jsonl", [row(**changes)])
    with pytest.raises(RobustAugError, match=message) as caught:
        load_variants(folder, originals)
    assert "\n" not in str(caught.value)


def test_wrong_images_are_refused(tmp_path: Path, originals: ImageSet) -> None:
    write_jsonl(tmp_path / "manifest.jsonl", [row()])
    write_png(tmp_path / "dog" / "1_0.png", torch.zeros(3, 9, 9, dtype=torch.uint8))
    with pytest.raises(RobustAugError, match="has 9x9 px, the originals have 8x9"):
        load_variants(tmp_path, originals)
    (tmp_path / "dog" / "1_0.png").write_bytes(b"torn")
    with pytest.raises(RobustAugError, match=r"cannot use .*1_0.png: not an image"):
        load_variants(tmp_path, originals)


@pytest.mark.parametrize("content", ["", "[1]\n3\n"])
def test_no_variants(tmp_path: Path, originals: ImageSet, content: str) -> None:
    (tmp_path / "manifest.jsonl").write_text(content)
    with pytest.raises(RobustAugError, match=r"no variants in .*manifest.jsonl is missing or empty"):
        load_variants(tmp_path, originals)
