"""Everything that was found, as plain values: the content of ``explore.json``."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from robustaug import __version__
from robustaug.exploration.duplicates import Duplicates
from robustaug.exploration.explored import Explored, LabelStudy
from robustaug.exploration.listing import KINDS
from robustaug.exploration.scan import Scan
from robustaug.hardware import describe_hardware, describe_versions

SCHEMA_VERSION = 1
_QUANTILES = {"least": 0.0, "low": 0.05, "median": 0.5, "high": 0.95, "most": 1.0}
_SATURATED = 16  # levels of 255 from black or white
_GREY = 4.0  # levels of 255 that the channels of a grey image differ by, in the mean
_STEPS = 24
_PARTS = ("train", "validation", "test", "")


def facts_of(explored: Explored) -> dict[str, Any]:
    """The content of ``explore.json`` but for the advice; docs/explore.md describes it. Shares are fractions."""
    scan = explored.scan
    looks = _looks(scan)
    return {
        "schema_version": SCHEMA_VERSION,
        "robustaug": __version__,
        "data": {
            "name": scan.name,
            "classes": list(scan.class_names),
            "images": len(scan),
            "listed": scan.listed,
            "parts": {part or "all": count for part, count in _ordered(Counter(scan.parts)).items()},
        },
        "counts": _counts(scan),
        "files": _files(scan),
        "looks": {
            name: _quantiles(values) | _histogram(values) for name, values in looks.items() if name != "saturated"
        }
        | {
            "channel_mean": _by_channel(scan.images)[0],
            "channel_std": _by_channel(scan.images)[1],
            "grey": float((looks["saturation"] * 255 < _GREY).float().mean()),
            "black_or_white": float(looks["saturated"].mean()),
        },
        "looks_by_class": {
            name: {look: float(values[own].median()) for look, values in looks.items() if look != "saturated"}
            for label, name in enumerate(scan.class_names)
            if bool((own := scan.labels == label).any())
        },
        "findings": {
            "counts": {kind: sum(each.kind == kind for each in scan.findings) for kind in KINDS},
            "files": [asdict(finding) for finding in scan.findings],
        },
        "duplicates": _duplicates(scan, explored.duplicates),
        "labels": None if explored.study is None else _labels(scan, explored.study),
        "shortcuts": [asdict(each) | {"lift": each.lift} for each in explored.shortcuts],
        "invariances": {}
        if explored.study is None
        else {name: asdict(each) | {"verdict": each.verdict} for name, each in explored.study.invariances.items()},
        "versions": describe_versions(),
        "hardware": describe_hardware(),
        "seconds": dict(explored.seconds),
    }


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return {part: counts[part] for part in _PARTS if part in counts}


def _counts(scan: Scan) -> dict[str, Any]:
    table: dict[str, Counter[str]] = {name: Counter() for name in scan.class_names}
    for part, label in zip(scan.parts, scan.labels.tolist(), strict=True):
        table[scan.class_names[label]][part] += 1
    parts = list(_ordered(Counter(scan.parts)))
    trained = parts[0]  # the training part where there is one
    sizes = {name: counts[trained] for name, counts in table.items()}
    largest, smallest = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
    return {
        "by_class": {name: {part or "all": counts[part] for part in parts} for name, counts in table.items()},
        "largest": largest,
        "smallest": smallest,
        "imbalance": sizes[largest] / sizes[smallest] if sizes[smallest] else None,
        "per_class": float(torch.tensor(list(sizes.values())).float().median()),
        "missing": [
            {"class": name, "part": part or "all"}
            for name, counts in table.items()
            for part in parts
            if not counts[part]
        ],
    }


def _files(scan: Scan) -> dict[str, Any]:
    height, width = scan.sizes.float().unbind(1)
    sizes = Counter(f"{w}x{h}" for h, w in scan.sizes.tolist())
    return {
        "width": _quantiles(width),
        "height": _quantiles(height),
        "shorter_side": _quantiles(scan.sizes.amin(1).float()),
        "aspect": _quantiles(width / height),
        "different_sizes": len(sizes),
        "sizes": dict(sizes.most_common(10)),
        "bytes": _quantiles(scan.bytes.float()) if scan.has_files else None,
        "formats": dict(Counter(filter(None, scan.formats)).most_common()),
        "modes": dict(Counter(scan.modes).most_common()),
        "looked_at": scan.images.shape[2],
    }


def _looks(scan: Scan) -> dict[str, Tensor]:
    """Numbers of each image, (N,): of the small copies, in [0, 1], and the sharpness of the files' own pixels."""
    found: dict[str, list[Tensor]] = {name: [] for name in ("brightness", "contrast", "saturation", "saturated")}
    weights = torch.tensor([0.299, 0.587, 0.114])  # luma of ITU-R BT.601
    for part in torch.split(scan.images, 2048):
        values = part.flatten(2).float() / 255
        luma = (values * weights[:, None]).sum(1)
        found["brightness"].append(luma.mean(1))
        found["contrast"].append(luma.std(1))
        found["saturation"].append((values.amax(1) - values.amin(1)).mean(1))
        ends = (luma < _SATURATED / 255) | (luma > 1 - _SATURATED / 255)
        found["saturated"].append(ends.float().mean(1))
    return {name: torch.cat(parts) for name, parts in found.items()} | {"sharpness": scan.sharpness}


def _by_channel(images: Tensor) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel over all pixels, in [0, 1]."""
    sums = torch.zeros(3, dtype=torch.float64)
    squares = torch.zeros(3, dtype=torch.float64)
    for part in torch.split(images, 2048):
        values = part.float() / 255
        sums += values.sum((0, 2, 3), dtype=torch.float64)
        squares += values.square().sum((0, 2, 3), dtype=torch.float64)
    n = images.numel() / 3
    mean = sums / n
    return mean.tolist(), (squares / n - mean.square()).clamp(min=0).sqrt().tolist()


def _quantiles(values: Tensor) -> dict[str, float]:
    ordered = values.float().sort().values
    return {name: float(ordered[round(share * (len(ordered) - 1))]) for name, share in _QUANTILES.items()}


def _histogram(values: Tensor) -> dict[str, list[float]]:
    """Counts of images in 24 equal steps up to the 99th percentile; what is larger counts in the last one."""
    end = max(float(values.sort().values[round(0.99 * (len(values) - 1))]), 1e-6)
    counts = torch.histc(values.clamp(0, end), _STEPS, 0, end)
    return {"edges": torch.linspace(0, end, _STEPS + 1).tolist(), "counts": counts.tolist()}


def _duplicates(scan: Scan, groups: Iterable[Duplicates]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {
            "keys": [scan.keys[index] for index in group.members],
            "exact": group.exact,
            "parts": [part or "all" for part in group.parts],
            "labels": [scan.class_names[label] for label in group.labels],
            "straddles": group.straddles,
            "contradicts": group.contradicts,
        }
        for group in sorted(groups, key=lambda each: (not each.straddles, not each.contradicts, each.members))
    ]
    return {
        "groups": rows,
        "exact": sum(row["exact"] for row in rows),
        "near": sum(not row["exact"] for row in rows),
        "straddling": sum(row["straddles"] for row in rows),
        "contradicting": sum(row["contradicts"] for row in rows),
        "redundant": sum(len(row["keys"]) - 1 for row in rows),
    }


def _labels(scan: Scan, study: LabelStudy) -> dict[str, Any]:
    doubts = study.doubts
    rows = [
        {
            "key": scan.keys[int(study.examined[row])],
            "label": scan.class_names[int(scan.labels[study.examined[row]])],
            "suggested": scan.class_names[int(doubts.suggested[row])],
            "probability": float(doubts.wrong[row]),
        }
        for row in doubts.listed().tolist()
    ]
    return {
        "examined": len(study.examined),
        "accuracy": asdict(study.accuracy),
        "noise": doubts.noise,
        "expected_right": sum(row["probability"] for row in rows),
        "listed": rows,
    }
