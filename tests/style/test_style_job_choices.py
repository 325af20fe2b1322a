"""What the job can be asked for: sizes, strengths, blends, parts of paintings, a judge; and its contact sheet."""

import dataclasses
from pathlib import Path

import pytest
import torch
from job_cases import tree
from style_cases import photos

from robustaug.data import jobs
from robustaug.data.images import read_image, write_png
from robustaug.data.jobs import JobFolder
from robustaug.errors import RobustAugError
from robustaug.files import read_json, read_jsonl, sha256
from robustaug.style import Blend, Gatys, Painting, StyleBank, folder_items
from robustaug.style.job import Item, JobSettings, LabelCheck, stylize
from robustaug.style.plan import Plan
from robustaug.style.sheet import write_sheet


@pytest.fixture
def bank(stripes: Painting, dots: Painting) -> StyleBank:
    plain = torch.linspace(0, 1, 64 * 64).view(64, 64).expand(3, -1, -1)
    return StyleBank((dots, Painting.from_tensor(plain, "fade"), Painting.from_tensor(plain.mT, "side"), stripes))


def rows_of(out: Path) -> list[dict[str, object]]:
    return read_jsonl(out / "manifest.jsonl")


def alone(style: Gatys, source: Path, given: Painting | Blend, strength: float) -> torch.Tensor:
    """The 8-bit image that the method gives outside of any job."""
    image = read_image(source).float()[None] / 255
    return (style(image, given, strength=strength)[0] * 255).round().to(torch.uint8)


def test_strengths_are_drawn_for_each_variant(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    settings = JobSettings(per_image=3, strength=(0.2, 0.9))
    stylize(folder_items(content)[0], tmp_path / "out", bank, tiny, settings)
    rows = rows_of(tmp_path / "out")
    strengths = [float(str(row["strength"])) for row in rows]
    assert len(set(strengths)) == 18
    assert 0.2 <= min(strengths) < 0.4
    assert 0.7 < max(strengths) <= 0.9
    paintings = {painting.name: painting for painting in bank.paintings}
    for row, strength in zip(rows, strengths, strict=True):
        expected = alone(tiny, content / str(row["source"]), paintings[str(row["style"])], strength)
        assert torch.equal(read_image(tmp_path / "out" / str(row["path"])), expected)
    other = Plan(folder_items(content)[0], bank, dataclasses.replace(settings, seed=1)).variants(0, "")
    assert {variant.strength for variant in other}.isdisjoint(strengths)


def test_without_a_strength_the_method_has_one_for_each_size(tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    sizes = {"small": (48, 60), "middle": (96, 49), "large": (97, 120)}
    content = tmp_path / "content"
    for name, (height, width) in sizes.items():
        image = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(0))
        write_png(content / "a" / f"{name}.png", image.byte())
    stylize(folder_items(content)[0], tmp_path / "out", bank, tiny)
    found = {Path(str(row["source"])).stem: row["strength"] for row in rows_of(tmp_path / "out")}
    assert found == {"small": 0.65, "middle": 1.0, "large": 0.85}
    paintings = {painting.name: painting for painting in bank.paintings}
    for row in rows_of(tmp_path / "out"):
        strength = float(str(row["strength"]))
        expected = alone(tiny, content / str(row["source"]), paintings[str(row["style"])], strength)
        assert torch.equal(read_image(tmp_path / "out" / str(row["path"])), expected)


def test_blends(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    stylize(folder_items(content)[0], tmp_path / "out", bank, tiny, JobSettings(per_image=2, blend=2, strength=1.0))
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 12
    of_image: dict[object, list[str]] = {}
    for row in rows:
        names, weights, hashes = str(row["style"]).split("+"), row["style_weights"], row["style_sha256"]
        assert isinstance(weights, list)
        assert isinstance(hashes, list)
        chosen = [next(painting for painting in bank.paintings if painting.name == name) for name in names]
        assert hashes == [painting.sha256 for painting in chosen]
        assert str(row["path"]).endswith(f"__{'+'.join(names)}.png")
        assert sum(weights) == pytest.approx(1, abs=1e-5)
        assert max(weights) / min(weights) < 5  # none is there in name only
        of_image.setdefault(row["source"], []).extend(names)
        plan = Plan(folder_items(content)[0], bank, JobSettings(per_image=2, blend=2, strength=1.0))
        position = [item.key for item in plan.items].index(str(row["source"]))
        variant = next(each for each in plan.variants(position, "") if each.path == row["path"])
        assert variant.style.weights == pytest.approx(weights, abs=1e-6)
        expected = alone(tiny, content / str(row["source"]), variant.style, 1.0)
        assert torch.equal(read_image(tmp_path / "out" / str(row["path"])), expected)
    assert all(len(set(names)) == 4 for names in of_image.values())  # no painting twice in an image
    assert len({tuple(row["style_weights"]) for row in rows}) == 12  # type: ignore[arg-type]


def test_parts_of_paintings(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    settings = JobSettings(per_image=2, strength=1.0, style_scale=(0.4, 0.8))
    stylize(folder_items(content)[0], tmp_path / "out", bank, tiny, settings)
    paintings = {painting.name: painting for painting in bank.paintings}
    boxes = set()
    for row in rows_of(tmp_path / "out"):
        painting = paintings[str(row["style"])]
        assert row["style_sha256"] == painting.sha256  # that of the whole: what is held out stays so
        ((top, left, height, width),) = row["style_boxes"]  # type: ignore[attr-defined]
        whole = painting.image.shape[1:]
        assert 0.4 * whole[0] - 1 <= height <= 0.8 * whole[0] + 1
        assert width / height == pytest.approx(whole[1] / whole[0], rel=0.05)
        assert 0 <= top <= whole[0] - height
        assert 0 <= left <= whole[1] - width
        part = Painting.from_tensor(painting.image[:, top : top + height, left : left + width])
        expected = alone(tiny, content / str(row["source"]), part, 1.0)
        assert torch.equal(read_image(tmp_path / "out" / str(row["path"])), expected)
        boxes.add((top, left, height, width))
    assert len(boxes) == 12


@pytest.mark.parametrize(
    ("shape", "settings", "expected"),
    [
        ((40, 20), JobSettings(longest=32), (32, 16)),
        ((20, 40), JobSettings(longest=64), (32, 64)),
        ((40, 40), JobSettings(longest=40), (40, 40)),
        ((40, 20), JobSettings(size=18), (18, 18)),
        ((40, 20), JobSettings(), (40, 20)),
    ],
)
def test_sizes(shape: tuple[int, int], settings: JobSettings, expected: tuple[int, int]) -> None:
    image = torch.arange(3 * 40 * 20 * 2, dtype=torch.float32).mul(0.05).to(torch.uint8)[: 3 * shape[0] * shape[1]]
    resized = settings.resized(image.view(3, *shape))
    assert resized.shape == (3, *expected)
    assert resized.dtype == torch.uint8
    if shape == expected:
        assert torch.equal(resized, image.view(3, *shape))


def test_a_strip_too_narrow_once_it_is_resized_is_listed(tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    strip = Item("strip.png", "", lambda: torch.zeros(3, 200, 20, dtype=torch.uint8))
    style = Gatys(encoder=tiny.encoder)
    result = stylize([strip], tmp_path / "out", bank, style, JobSettings(longest=64))
    assert [item.reason for item in result.skipped] == [
        "6x64 px is too small for style transfer; at least 16 px are needed"
    ]
    assert not (tmp_path / "out" / "contact_sheet.png").exists()
    assert rows_of(tmp_path / "out") == []


def brightness(calls: list[int]) -> LabelCheck:
    """A judge that takes an image's mean for the probability of its label, and knows its classes."""

    def judge(images: torch.Tensor, labels: list[str]) -> torch.Tensor:
        assert images.dtype == torch.uint8
        assert set(labels) <= {"class0", "class1"}
        calls.append(len(images))
        return images.float().mean((1, 2, 3)) / 255

    return LabelCheck(judge, 0.5, "mean")


def test_variants_that_lose_their_label_are_dropped(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, settings, calls = folder_items(content)[0], JobSettings(per_image=2), list[int]()
    stylize(items, tmp_path / "all", bank, tiny, settings)
    result = stylize(items, tmp_path / "out", bank, tiny, settings, check=brightness(calls))
    assert sum(calls) == 12
    shares = {
        str(row["path"]): float(read_image(tmp_path / "all" / str(row["path"])).float().mean()) / 255
        for row in rows_of(tmp_path / "all")
    }
    kept, dropped = rows_of(tmp_path / "out"), read_jsonl(tmp_path / "out" / "dropped.jsonl")
    assert {row["path"] for row in kept} == {path for path, share in shares.items() if share > 0.5}
    assert {row["path"] for row in dropped} == {path for path, share in shares.items() if share <= 0.5}
    assert 0 < len(dropped) == result.dropped == 12 - result.written
    for row in (*kept, *dropped):
        assert row["label_probability"] == pytest.approx(shares[str(row["path"])], abs=1e-4)
        assert row["kind"] == ("dropped" if row in dropped else "stylised")
        assert (tmp_path / "out" / str(row["path"])).exists() == (row in kept)
    assert [row["path"] for row in dropped] == sorted(str(row["path"]) for row in dropped)
    again = stylize(items, tmp_path / "out", bank, tiny, settings, check=brightness(calls))
    assert (again.written, again.dropped, again.already_done) == (0, 0, 12)
    assert sum(calls) == 12

    for index in (1, 0):
        stylize(items, tmp_path / "shards", bank, tiny, settings, shard=(index, 2), check=brightness(calls))
    shards = tree(tmp_path / "shards")
    assert {name: shards[name] for name in tree(tmp_path / "out")} == tree(tmp_path / "out")

    with monkeypatch.context() as patch:  # the disk is full after the first image; those dropped before it are known
        patch.setattr(jobs, "encode_png", lambda image: (_ for _ in ()).throw(RobustAugError("full")))
        with pytest.raises(RobustAugError, match="full"):
            stylize(items, tmp_path / "stopped", bank, tiny, settings, check=brightness(calls))
    assert stylize(items, tmp_path / "stopped", bank, tiny, settings, check=brightness(calls)).written == len(kept)
    assert tree(tmp_path / "stopped") == tree(tmp_path / "out")


def test_another_judge_is_another_job(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    items, check = folder_items(content)[0], brightness([])
    stylize(items, tmp_path / "out", bank, tiny, check=check)
    for other, names in (
        (dataclasses.replace(check, above=0.4), "keep_label_above"),
        (dataclasses.replace(check, fingerprint="other"), "classifier"),
        (None, "keep_label_above, classifier"),
    ):
        with pytest.raises(RobustAugError, match=rf"\(its {names} differ\)"):
            stylize(items, tmp_path / "out", bank, tiny, check=other)
    result = stylize(items, tmp_path / "out", bank, tiny, overwrite=True)  # and no list of the dropped is left
    assert result.written == 6
    assert set(tree(tmp_path / "out")) == {str(row["path"]) for row in rows_of(tmp_path / "out")} | {
        "job.json",
        "manifest.jsonl",
        "contact_sheet.png",
    }


def test_overwriting_takes_away_the_jobs_files_and_no_others(
    content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys
) -> None:
    items, out = folder_items(content)[0], tmp_path / "out"
    for index in (0, 1):
        stylize(items, out, bank, tiny, shard=(index, 2))
    foreign = ("notes.txt", "class0/mine.png", "manifests/manifest.jsonl", "manifest.csv")
    for name in foreign:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    outside = tmp_path / "outside.png"
    outside.write_text("mine")
    with (out / "manifest-1-of-2.jsonl").open("a") as file:
        file.write('{"path": "../outside.png"}\n{"path": ""}\n{"path": "class0"}\n')
    moved = [item for item in items if item.label == "class0"]
    stylize(moved, out, bank, tiny, JobSettings(seed=5), overwrite=True)
    rows = rows_of(out)
    assert len(rows) == 3
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {*foreign, *(str(row["path"]) for row in rows), "job.json", "manifest.jsonl", "contact_sheet.png"}
    assert not (out / "class1").exists()
    assert outside.read_text() == "mine"
    assert all((out / name).read_text() == "mine" for name in foreign)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "job.json").write_text('{"of": "another program"}')
    with pytest.raises(RobustAugError, match="holds another job"):
        stylize(items, tmp_path / "other", bank, tiny, overwrite=True)
    assert read_json(tmp_path / "other" / "job.json") == {"of": "another program"}


def test_the_contact_sheet_shows_what_the_manifest_says(tmp_path: Path, tiny: Gatys, bank: StyleBank) -> None:
    """Cells of 144 px every 150: original, painting, variant, painting, variant; pictures centred, by whole factors."""
    for number in range(20):
        write_png(tmp_path / "content" / f"{number:02}.png", photos(1, 16, 20, seed=number)[0])
    items, _ = folder_items(tmp_path / "content")
    stylize(items, tmp_path / "out", bank, tiny, JobSettings(per_image=2))
    sheet = read_image(tmp_path / "out" / "contact_sheet.png")
    assert sheet.shape == (3, 6 + 12 * 180, 6 + 5 * 150)
    rows = rows_of(tmp_path / "out")
    shown = []
    for y in range(12):

        def cell(x: int, y: int = y) -> torch.Tensor:
            """A 20x16 picture, enlarged seven times."""
            top, left = 6 + y * 180 + (144 - 112) // 2, 6 + x * 150 + (144 - 140) // 2
            return sheet[:, top + 3 : top + 112 : 7, left + 3 : left + 140 : 7]

        (source,) = [item.key for item in items if torch.equal(item.load(), cell(0))]
        of_source = [row for row in rows if row["source"] == source]
        assert [
            torch.equal(read_image(tmp_path / "out" / str(row["path"])), cell(x))
            for row, x in zip(of_source, (2, 4), strict=True)
        ] == [True] * 2
        shown.append(source)
    assert shown == sorted(shown)
    assert shown != [item.key for item in items][:12]
    assert sheet[:, 6 + 144 : 6 + 180].float().std() > 0  # names are written there
    for text_row in range(12):
        band = sheet[:, 6 + text_row * 180 + 146 : 6 + text_row * 180 + 178]
        assert all((band[:, :, 6 + x * 150 : 6 + x * 150 + 100] < 128).any() for x in range(5))


def test_a_sheet_of_files_that_are_gone_is_grey(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    items, out = folder_items(content)[0], tmp_path / "out"
    stylize(items, out, bank, tiny)
    row = rows_of(out)[0]
    (content / str(row["source"])).unlink()
    (out / str(row["path"])).unlink()
    write_sheet(JobFolder(out, read_json(out / "job.json")), Plan(items, bank, JobSettings()))
    sheet = read_image(out / "contact_sheet.png")
    assert (sheet[:, 6:150, 6:150] == 200).all()
    assert (sheet[:, 6:150, 306:450] == 200).all()
    assert not (sheet[:, 186:330, 306:450] == 200).all()


def test_a_lost_sheet_is_made_again(content: Path, tmp_path: Path, bank: StyleBank, tiny: Gatys) -> None:
    items, out = folder_items(content)[0], tmp_path / "out"
    stylize(items, out, bank, tiny)
    before = sha256((out / "contact_sheet.png").read_bytes())
    (out / "contact_sheet.png").unlink()
    assert stylize(items, out, bank, tiny).written == 0
    assert sha256((out / "contact_sheet.png").read_bytes()) == before
