"""The data card of a composed data set: what was added, from what, by what, and which bias is known."""

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from robustaug import __version__
from robustaug.experiment.compose.layouts import Layout, shard_ranges
from robustaug.experiment.compose.originals import PARTS
from robustaug.experiment.compose.plan import Composition

CARD, README = "DATACARD.md", "README.md"

_VERDICTS = {"accept": "accepted", "reject": "rejected", "relabel": "relabelled", "undecided": "not looked at"}
_UNKNOWN = "not known to robustaug: name both before you publish the data"


def data_card(composition: Composition, layout: Layout) -> str:
    """The card as Markdown."""
    before, after = composition.count(before=True), composition.count()
    name = Path(composition.source).name
    lines = [
        f"# Data card: {name} with variants",
        "",
        f"{after.total()} images: {before.total()} originals of `{name}` and {after.total() - before.total()} variants "
        "of its training images, each under its source's label unless a person gave it another. Validation and test "
        "parts hold originals alone, and no variant has its source there.",
        "",
        f"Every file's origin stands in `manifest.jsonl`. {_how_to_load(composition, layout)}",
        "",
        "## Images by class and part",
        "",
        *_class_table(composition, before, after),
        *_made_by(composition),
        *_styles(composition),
        *_origins(composition),
        *_bias(composition, before, after),
        *_skipped(composition),
        "## How to make it again",
        "",
        f"With robustaug {__version__}, once the folders of variants are there (what made them stands below):",
        "",
        "```sh",
        _command(composition, layout),
        "```",
        "",
    ]
    for origin in composition.origins:
        job = json.dumps(origin.job, ensure_ascii=False, indent=2)
        lines += [f"`job.json` of `{origin.path}`:", "", "```json", job, "```", ""]
    return "\n".join(lines)


def readme(composition: Composition, card: str) -> str:
    """The card under the head that the Hugging Face Hub reads."""
    parts = [{"split": part, "path": f"{part}/**"} for part in PARTS]
    head = {
        "pretty_name": f"{Path(composition.source).name} with variants",
        "task_categories": ["image-classification"],
        "size_categories": [_size_category(len(composition.files))],
        "configs": [{"config_name": "default", "data_files": parts}],
    }
    # A JSON value is YAML, and needs no further library.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    return "\n".join(["---", *lines, "---", "", card])


def _how_to_load(composition: Composition, layout: Layout) -> str:
    if layout == "webdataset":
        shards = ", ".join(f"`{shards}`" for shards in shard_ranges(composition).values())
        return f"Shards for the library webdataset: {shards}; `cls` is the index of the class in `classes.json`."
    own = 'Train on it with `[data] source = "THIS FOLDER"`'
    if layout == "imagefolder":
        return f'{own}, or load it with `datasets.load_dataset("imagefolder", data_dir="THIS FOLDER")`.'
    return f"{own}."


def _class_table(
    composition: Composition, before: Counter[tuple[str, str]], after: Counter[tuple[str, str]]
) -> list[str]:
    def row(name: str, classes: Sequence[str]) -> list[object]:
        totals = [sum(counts["train", label] for label in classes) for counts in (before, after)]
        return [name, *totals, *(sum(after[part, label] for label in classes) for part in PARTS[1:])]

    rows = [row(label, [label]) for label in composition.classes]
    head = ["class", "train before", "train after", *PARTS[1:]]
    return _table(head, [*rows, row("**all**", composition.classes)])


def _made_by(composition: Composition) -> list[str]:
    counts = Counter(
        (row["variants"], row["kind"], technique) for row in _variants(composition) for technique in _techniques(row)
    )
    rows = [[folder, kind, technique, count] for (folder, kind, technique), count in sorted(counts.items())]
    head = ["folder of variants", "kind", "made by", "variants"]
    return ["## What made the variants", "", "A variant may owe itself to several.", "", *_table(head, rows)]


def _techniques(row: Mapping[str, Any]) -> set[str]:
    if row["kind"] == "adversarial":
        return {f"{row.get('attack', 'an attack')}, {row.get('norm')} eps {_number(row.get('eps'))}"}
    made_by = str(row.get("technique") or "").split("+") if row["kind"] == "classical" else [row.get("method")]
    return {str(name or "not said in the manifest") for name in made_by}


def _styles(composition: Composition) -> list[str]:
    counts: Counter[tuple[str, str]] = Counter()
    for row in _variants(composition):
        hashes = row.get("style_sha256") or []
        hashes = [hashes] if isinstance(hashes, str) else hashes
        names = str(row.get("style", "")).split("+")
        counts.update(zip(names if len(names) == len(hashes) else hashes, hashes, strict=True))
    if not counts:
        return []
    rows = [
        [name, digest[:12], count, "public domain, embedded in robustaug" if digest in embedded() else _UNKNOWN]
        for (name, digest), count in sorted(counts.items())
    ]
    return ["## Paintings", "", *_table(["painting", "SHA-256", "variants", "source and licence"], rows)]


def _origins(composition: Composition) -> list[str]:
    rows = [
        [origin.number, f"`{origin.path}`", origin.manifest_sha256[:12], origin.added, sum(origin.left_out.values()),
         *(origin.decided.get(verdict, 0) for verdict in _VERDICTS)]
        for origin in composition.origins
    ]  # fmt: skip
    lines = [
        "## Folders of variants, and what the review decided",
        "",
        "The number stands in the names of the folders that hold the variants: `stylised-1`.",
        "",
        *_table(["number", "folder", "manifest", "added", "left out", *_VERDICTS.values()], rows),
    ]
    reasons = [
        [f"`{origin.path}`", reason, count]
        for origin in composition.origins
        for reason, count in origin.left_out.items()
    ]
    return [*lines, *(_table(["folder", "why left out", "variants"], sorted(reasons, key=str)) if reasons else [])]


def _bias(composition: Composition, before: Counter[tuple[str, str]], after: Counter[tuple[str, str]]) -> list[str]:
    train = [[counts["train", label] for label in composition.classes] for counts in (before, after)]
    ratios = [max(counts) / min(counts) for counts in train]
    made = {label: 1 - b / a for label, b, a in zip(composition.classes, *train, strict=True)}
    least, most = min(made, key=made.__getitem__), max(made, key=made.__getitem__)
    lines = [
        "## Known bias",
        "",
        f"- Largest class to smallest in training: {ratios[0]:.2f} before, {ratios[1]:.2f} after.",
        f"- Share of variants in a training class: {made[least]:.0%} (`{least}`) to {made[most]:.0%} (`{most}`). "
        + (
            "Where it differs by class, traces of how an image was made tell about its class."
            if made[most] - made[least] > 0.05
            else "It is about the same for all, so how an image was made tells little about its class."
        ),
        "- Variants show what their sources show: what the originals lack (places, cameras, people) the variants lack "
        "too, and what they have too much of is multiplied.",
        "- Numbers on validation and test parts are about originals alone.",
    ]
    if earlier := sum("made" in file.row for file in composition.files):
        lines.append(
            f"- {earlier} of the originals are variants that an earlier composition added; `made` in their lines of "
            "the manifest says what made them."
        )
    if composition.twins:
        lines.append(
            f"- {composition.twins} training images equal a validation or test image: the originals come so, and "
            "numbers on those parts flatter. None of their variants joined."
        )
    lines.append("")
    if composition.attributes is None:
        return [*lines, "No table of attributes was given (`--attributes`), so no other group was counted.", ""]
    for column, name in enumerate(composition.attributes.names):
        lines += [f"### {name}", "", *_attribute_table(composition, column)]
    return lines


def _attribute_table(composition: Composition, column: int) -> list[str]:
    assert composition.attributes is not None
    values = composition.attributes.values
    counts: dict[str, Counter[str]] = {when: Counter() for when in ("before", "after", *PARTS[1:])}
    for file in composition.files:
        row, value = file.row, values[file.row["source"]][column]
        if row["part"] == "train":
            counts["after"][value] += 1
            counts["before"][value] += row["kind"] == "original"
        else:
            counts[row["part"]][value] += 1
    rows = [
        [value or "(not known)", *(_with_share(counts[when], value) for when in counts)]
        for value in sorted(set().union(*counts.values()))
    ]
    return _table(["value", "train before", "train after", *PARTS[1:]], rows)


def _skipped(composition: Composition) -> list[str]:
    if not composition.skipped:
        return []
    rows = [[_relative(composition, Path(item.path)), item.reason] for item in composition.skipped]
    return ["## Files that could not be used", "", *_table(["file", "reason"], rows)]


def _relative(composition: Composition, path: Path) -> str:
    """A path from the image folder or the folder of variants on that it lies in: the rest is of one machine alone."""
    for folder in (Path(composition.source).expanduser(), *(origin.path for origin in composition.origins)):
        if path.is_relative_to(folder):
            return (Path(folder.resolve().name) / path.relative_to(folder)).as_posix()
    return path.name


def _command(composition: Composition, layout: Layout) -> str:
    words = ["robustaug", "compose", composition.source, "OUT"]
    for origin in composition.origins:
        words += ["--variants", str(origin.path)]
    words += ["--layout", layout]
    for name, value in composition.cut.items():
        words += [f"--{name.replace('_', '-')}", f"{value:g}"]
    if composition.labels is not None:
        words += ["--labels", str(composition.labels)]
    if composition.attributes is not None:
        words += ["--attributes", str(composition.attributes.path)]
    return shlex.join(words)


@cache
def embedded() -> frozenset[str]:
    """SHA-256 of the paintings inside the package, all in the public domain (see NOTICE)."""
    listed = files("robustaug.style").joinpath("assets", "paintings", "manifest.json").read_text(encoding="utf-8")
    return frozenset(painting["sha256"] for painting in json.loads(listed))


def _variants(composition: Composition) -> Iterator[dict[str, Any]]:
    return (file.row for file in composition.files if file.row["kind"] != "original")


def _with_share(counts: Counter[str], value: str) -> str:
    return f"{counts[value]} ({counts[value] / counts.total():.1%})"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _size_category(count: int) -> str:
    names = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M")
    return names[min(len(names) - 1, max(0, len(str(count)) - 3))]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    def line(cells: Iterable[object]) -> str:
        shown = (" ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
        return f"| {' | '.join(shown)} |"

    return [line(head), line("---" for _ in head), *map(line, rows), ""]
