"""A run folder as the pipeline writes it, with made-up but plausible numbers."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustaug.evaluation.report import build_report

Change = Callable[[dict[str, Any]], None]

ARMS = {
    "clean": {"clean": 0.986, "noise": 0.957, "fgsm": 0.118, "pgd": 0.003, "unseen_style": 0.402},
    "adversarial": {"clean": 0.974, "noise": 0.971, "fgsm": 0.903, "pgd": 0.851, "unseen_style": 0.533},
    "style": {"clean": 0.981, "noise": 0.962, "fgsm": 0.187, "pgd": 0.009, "unseen_style": 0.868},
    "adversarial+style": {"clean": 0.969, "noise": 0.966, "fgsm": 0.894, "pgd": 0.843},
}
MIXES = {"clean": (1.0, 0.0, 0.0), "adversarial": (0.5, 0.0, 0.5), "style": (0.5, 0.5, 0.0)}
CLASSES = [str(digit) for digit in range(10)]
CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
EPS = [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5]


def wilson(value: float, n: int) -> dict[str, Any]:
    """Wilson's (1927) 95% interval of a share that is a whole count of n."""
    share, z = round(value * n) / n, 1.959963984540054
    centre, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((centre + sign * spread) / (1 + z * z / n) for sign in (-1, 1))
    return {"value": share, "low": max(0.0, min(low, share)), "high": min(1.0, max(high, share)), "n": n}


def worst(classes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    name = min(classes, key=lambda each: classes[each]["value"])
    return {"class": name, **classes[name]}


def confusion(value: float) -> list[list[int]]:
    """Of 50 images of each class the rest goes to the next two classes, two thirds of them to the first."""
    counts = [[0] * 10 for _ in range(10)]
    for label in range(10):
        wrong = round(50 * (1 - value)) - label % 3 if value < 0.9 else 0
        counts[label][(label + 1) % 10] = 2 * wrong // 3
        counts[label][(label + 2) % 10] = wrong - 2 * wrong // 3
        counts[label][label] = 50 - wrong
    return counts


def stages(values: dict[str, float]) -> dict[str, dict[str, Any]]:
    after = {"clean": values["clean"], "apgd-ce": values["pgd"], "apgd-t": 0.98 * values["pgd"]}
    return {name: wilson(value, 500) for name, value in after.items()}


def distances(values: dict[str, float]) -> dict[str, Any]:
    """Of 200 images, those wrong unattacked at 0, some at each radius up to 0.4, and five unbroken."""
    wrong = round(200 * (1 - values["clean"]))
    end = 0.1 + 0.3 * values["pgd"]
    eps = [0.0] * wrong + [round(end * (place + 1) / (195 - wrong), 6) for place in range(195 - wrong)]
    quantiles = {f"{share:g}": eps[math.ceil(share * 200) - 1] for share in (0.05, 0.25, 0.5, 0.75, 0.95)}
    return {"n": 200, "unbroken": 5, "quantiles": quantiles, "eps": eps}


def corruptions(clean: float) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [
            {"severity": severity, **wilson(clean / (1 + 0.02 * number * severity), 100)} for severity in range(1, 6)
        ]
        for number, name in enumerate(CORRUPTIONS)
    }


def shape_bias(shape: int) -> dict[str, Any]:
    """Of 200 images 150 count, 120 were decided, six of each class in two."""
    return {
        "bias": wilson(shape / 120, 120), "neither": wilson(30 / 150, 150),
        "shape": shape, "texture": 120 - shape, "images": 150, "made": 200,
        "per_class": {name: wilson(shape / 120, 12) for name in CLASSES if name != "9"},
    }  # fmt: skip


def comparison(metric: str, arms: tuple[str, str], only: tuple[int, int], p: float) -> dict[str, Any]:
    row = {"metric": metric, "arm_a": arms[0], "arm_b": arms[1], "only_a": only[0], "only_b": only[1], "n": 1000}
    return row | {"p_value": p, "p_value_holm": min(1.0, 2 * p)}


def check(name: str, arm: str | None, passed: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "arm": arm, "passed": passed, "detail": detail}


def groups(arms: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Two sites and one that is too small; style widens the gap of the sites under no attack."""
    values = {
        arm: {
            "north": wilson(entry["metrics"]["clean"]["value"], 600),
            "south": wilson(0.7 - 0.2 * (arm == "style"), 390),
        }
        for arm, entry in arms.items()
    }
    rows: dict[str, Any] = {}
    for arm, found in values.items():
        gap = round(found["north"]["value"] - found["south"]["value"], 6)
        entry = {
            "values": found | {"east": wilson(0.5, 10)},
            "too_small": ["east"],
            "gap": {"best": "north", "worst": "south", "value": gap, "low": gap - 0.06, "high": gap + 0.06},
        }
        if arm != "clean":
            wider = 0.2 if arm == "style" else 0.0
            entry["widening"] = {"value": wider, "low": wider - 0.07, "high": wider + 0.07}
        rows[arm] = {"clean": entry}
    training = [
        {"value": value, "original": count, "variants": {arm: {"stylised": 90 * (arm == "style"), "balance": 0}
                                                         for arm in arms}}
        for value, count in (("", 7), ("east", 20), ("north", 3000), ("south", 473))
    ]  # fmt: skip
    return [{"attribute": "site", "against": "clean", "training": training, "arms": rows}]


def balance() -> dict[str, Any]:
    """The style arm as if it were the balanced one: class 3 was small."""
    change = {"clean": {"value": 0.11, "low": 0.031, "high": 0.187, "n": 100}}
    classes = [
        {"class": name, "before": 40 if name == "3" else 380, "after": 380, "difference": change if name == "3" else {}}
        for name in CLASSES
    ]
    told = ["Class '3' has 40 training images for 380: a made-up warning"]
    arm = {"ratio": 1.0, "against": "clean", "warnings": told, "classes": classes}
    return {"kind": "classical", "techniques": [{"name": "affine", "probability": 1.0}], "arms": {"style": arm}}


def report_content() -> dict[str, Any]:
    arms = {}
    for number, (name, values) in enumerate(ARMS.items()):
        original, stylised, adversarial = MIXES.get(name, (0.4, 0.2, 0.4))
        drop = 4 if values["pgd"] < 0.1 else 1
        per_class = {
            kind: {c: wilson(max(0.0, values[kind] - 0.012 * (i % 4)), 100) for i, c in enumerate(CLASSES)}
            for kind in ("clean", "pgd")
        }
        arms[name] = {
            "description": f"trained on the {name} mix",
            "mix": {"original": original, "stylised": stylised, "adversarial": adversarial},
            "training": {
                "steps": 600, "batch_size": 64, "chosen_step": 500, "chosen_by": "validation_robust",
                "seconds": 48.25 + number, "optimizer": {"name": "sgd", "learning_rate": 0.1},
            },
            "training_curve": history_rows(name),
            "metrics": {metric: wilson(value, 1000) for metric, value in values.items()},
            "per_class": per_class,
            "worst_class": {kind: worst(classes) for kind, classes in per_class.items()},
            "confusion": {"pgd": confusion(values["pgd"])},
            "stages": {"autoattack": stages(values)},
            "transfer": {other: wilson(0.9 * values["clean"], 200) for other in ARMS if other != name},
            "distances": distances(values),
            "corruptions": corruptions(values["clean"]),
            **({} if name == "clean" else {"corruption_error": {"value": 0.7 + 0.1 * number, "baseline": "clean"}}),
            "style_strength": [
                {"strength": 0.25 * step, **wilson(values["clean"] * (1 - 0.15 * step), 200)} for step in range(5)
            ],
            "shape_bias": shape_bias(60 + 10 * number),
            "not_measured": {"corruptions_l2": "the protocol has none"} if name == "style" else {},
            "eps_curve": [
                {"eps": eps, **wilson(values["clean"] / (1 + (eps * 3 * drop) ** (2 + 2 / drop)), 500)} for eps in EPS
            ],
        }  # fmt: skip
    return {
        "schema_version": 1, "name": "mnist5k demo", "created": "2025-03-01T12:34:56+00:00",
        "robustaug": "0.1.0", "seed": 7,
        "data": {
            "name": "mnist5k", "classes": list(CLASSES), "image_size": [28, 28], "train": 3500,
            "validation": 500, "test": 1000,
            "fingerprint": "9f2c" * 16, "skipped": [{"path": "3/broken.png", "reason": "truncated image"}],
        },
        "threat": {"norm": "linf", "eps": 0.2, "bounds": [0.0, 1.0]},
        "attacks": {
            "fgsm": {}, "pgd": {"steps": 40, "step_size": 0.0125, "restarts": 5, "random_start": True},
            "noise": {"draws": 1}, "unseen_style": {"paintings": 4},
            "eps_curve": {"attack": "pgd", "steps": 20, "restarts": 1},
        },
        "style": {
            "training_paintings": ["wheat-field", "great-wave"], "held_out_paintings": ["starry-night"],
            "variants": 700, "steps": 150, "layers": ["conv1_1", "conv2_1"],
        },
        "arms": arms,
        "groups": groups(arms),
        "balance": balance(),
        "comparisons": [
            comparison("pgd", ("clean", "adversarial"), (1, 849), 1e-200),
            comparison("clean", ("adversarial", "clean"), (9, 21), 0.0428),
            comparison("pgd", ("adversarial", "adversarial+style"), (60, 52), 0.51),
        ],
        "checks": [
            check("more steps find no more", "adversarial", True, "85.1 at 40 steps, 85.0 at 80"),
            check("large eps reaches zero", "style", False, "still 4.1 percent at eps 0.5"),
            check("test split untouched", None, True, "no test image among the training images"),
        ],
        "chance": 0.1,
        "versions": {"python": "3.12.3", "torch": "2.11.0", "robustaug": "0.1.0"},
        "hardware": {"processor": "Example CPU", "threads": 2, "memory_gib": 4.0, "accelerator": None},
        "energy": {"cpu_joules": 12345.6, "gpu_joules": None, "not_readable": {"gpu": "no GPU is used"}},
        "seconds": {"data": 1.21, "style": 61.0, "training": 195.5, "evaluation": 60.2, "total": 317.9},
        "config": {"name": "mnist5k demo", "seed": 7, "data": {"source": "mnist5k"}},
    }  # fmt: skip


def history_rows(arm: str) -> list[dict[str, Any]]:
    rows = []
    pace = 90 + 20 * list(ARMS).index(arm)
    for step in range(10, 601, 10):
        row = {"step": step, "loss": 2.3 * math.exp(-step / pace) + 0.05, "train_accuracy": 1 - math.exp(-step / 80)}
        row |= {"learning_rate": 0.1 * (1 - step / 601), "seconds": 0.08 * step}
        if step % 100 == 0:
            row["validation_clean"] = 1 - 0.5 * math.exp(-step / pace)
            if "adversarial" in arm:
                row["validation_robust"] = 0.85 - 0.7 * math.exp(-step / pace / 2)
        rows.append(row)
    return rows


def write_run_folder(folder: Path, change: Change | None = None, side: int = 28, per_arm: int = 3) -> Path:
    """Write a run folder; ``change`` edits the report first."""
    report = report_content()
    if change is not None:
        change(report)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=2))
    (folder / "config.toml").write_text('name = "mnist5k demo"\nseed = 7\n')
    _write_samples(folder / "samples", side, per_arm)
    return folder


def _write_samples(folder: Path, side: int, per_arm: int) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side] / side
    adversarial, stylised = [], []
    for arm in ARMS:
        for number in range(per_arm):
            ring = np.exp(-((((x - 0.5) ** 2 + (y - 0.5) ** 2) ** 0.5 - 0.2 - 0.05 * number) ** 2) * 200)
            original = np.repeat(ring[..., None], 3, axis=2)
            change = 0.2 * random.choice([-1.0, 1.0], size=original.shape)
            stem = f"{arm}-{number}"
            pictures = {
                "original": original,
                "perturbation": 0.5 + 2 * change,
                "adversarial": (original + change).clip(0, 1),
            }
            for part, picture in pictures.items():
                _save(folder / f"{stem}-{part}.png", picture)
            names = {part: f"{stem}-{part}.png" for part in pictures}
            after = "0" if "adversarial" in arm else "8"
            row = {
                "arm": arm,
                "key": f"mnist5k/{number:05d}",
                "label": "0",
                "prediction_before": "0",
                "prediction_after": after,
            }
            adversarial.append(row | names)
    for number in range(per_arm):
        waves = np.stack([np.sin(12 * x + number), np.sin(15 * y), np.sin(9 * (x + y))], axis=2) / 2 + 0.5
        pictures = {
            "content": np.repeat(x[..., None], 3, axis=2),
            "painting": waves,
            "stylised": 0.5 * waves + 0.5 * x[..., None],
        }
        for part, picture in pictures.items():
            _save(folder / f"style-{number}-{part}.png", picture)
        names = {part: f"style-{number}-{part}.png" for part in pictures}
        stylised.append({"key": f"mnist5k/{number:05d}", "label": str(number), "style": "starry-night"} | names)
    (folder / "adversarial.json").write_text(
        json.dumps({"eps": 0.2, "norm": "linf", "amplification": 2.5, "rows": adversarial})
    )
    (folder / "stylised.json").write_text(json.dumps({"rows": stylised}))
    conflicts = []
    for arm in ARMS:
        for number, decision in enumerate(("shape", "texture", "neither")):
            pictures = {"content": x[..., None] * np.ones(3), "texture": y[..., None] * np.ones(3)}
            pictures["conflict"] = np.stack([x, y, 0.3 * number * np.ones_like(x)], axis=2)
            for part, picture in pictures.items():
                _save(folder / f"conflict-{number}-{part}.png", picture)
            about = {"arm": arm, "key": f"mnist5k/1{number:04d}", "label": "3", "texture_label": "4"}
            about |= {"prediction": str(3 + number), "decision": decision}
            conflicts.append(about | {part: f"conflict-{number}-{part}.png" for part in pictures})
    (folder / "conflicts.json").write_text(json.dumps({"rows": conflicts}))


def measure_as_standard(report: dict[str, Any]) -> None:
    """All ten metrics of the protocol ``standard``, AutoAttack also at another norm."""
    for entry in report["arms"].values():
        for metric in ("autoattack", "autoattack_l2", "square", "transfer", "corruptions"):
            entry["metrics"][metric] = wilson(0.4, 1000)
    linf = {"norm": "linf", "eps": 0.2}
    report["attacks"] |= {"autoattack": linf, "autoattack_l2": {"norm": "l2", "eps": 2.8}}
    report["attacks"] |= {"square": linf | {"queries": 1000}, "transfer": linf | {"steps": 40, "restarts": 1}}


def _save(path: Path, picture: np.ndarray) -> None:
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(path)


HOSTILE = "</style><script>alert(1)</script>\"'&--><img src=x onerror=alert(1)>{{ 7 * 7 }}"


def _hostile(report: dict[str, Any]) -> None:
    """Give everything that others may name a name that is HTML and script."""
    report.update(name=HOSTILE)
    report["data"] |= {"name": HOSTILE, "skipped": [{"path": HOSTILE, "reason": HOSTILE}]}
    report["data"]["classes"][3] = HOSTILE
    for entry in report["arms"].values():
        for table in entry["per_class"].values():
            table[HOSTILE] = table.pop("3")
        entry["worst_class"]["pgd"]["class"] = HOSTILE
        entry["shape_bias"]["per_class"][HOSTILE] = entry["shape_bias"]["per_class"].pop("3")
        entry["metrics"][HOSTILE] = entry["metrics"]["clean"]
        for name in ("confusion", "stages", "transfer", "corruptions"):
            entry[name][HOSTILE] = entry[name].pop(next(iter(entry[name])))
        entry["stages"][HOSTILE][HOSTILE] = entry["stages"][HOSTILE].pop("apgd-t")
        entry["not_measured"] = {HOSTILE: HOSTILE}
        entry["corruption_error"] = {"value": 1.0, "baseline": HOSTILE}
    report["arms"][HOSTILE] = report["arms"].pop("style")
    sites = report["groups"][0]
    sites["attribute"] = HOSTILE
    sites["training"][1]["value"] = HOSTILE
    sites["arms"][HOSTILE] = sites["arms"].pop("style")
    for metrics in sites["arms"].values():
        metrics["clean"]["values"][HOSTILE] = metrics["clean"]["values"].pop("south")
        metrics["clean"]["gap"]["worst"] = HOSTILE
        metrics["clean"]["too_small"] = [HOSTILE]
    balanced = report["balance"]
    balanced["techniques"][0]["name"] = HOSTILE
    balanced["arms"] = {HOSTILE: balanced["arms"]["style"] | {"warnings": [HOSTILE]}}
    balanced["arms"][HOSTILE]["classes"][3]["class"] = HOSTILE
    report["comparisons"][0] |= {"metric": HOSTILE, "arm_a": HOSTILE}
    report["checks"][1] |= {"name": HOSTILE, "arm": HOSTILE, "detail": HOSTILE}
    report["attacks"][HOSTILE] = {HOSTILE: [HOSTILE]}
    report["versions"][HOSTILE] = HOSTILE
    report["hardware"][HOSTILE] = HOSTILE
    report["energy"]["not_readable"]["gpu"] = HOSTILE
    report["protocol"] = {"name": HOSTILE, "version": 1, "hash": "0" * 12}
    report["config"] = {"checkpoint": HOSTILE, HOSTILE: HOSTILE}


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built run in which every name is HTML and script, two pictures are missing and one lies outside."""
    folder = tmp_path_factory.mktemp("hostile")
    run = write_run_folder(folder / "run", _hostile)
    (run / "config.toml").unlink()
    Image.new("RGB", (8, 8)).save(folder / "outside.png")
    samples = json.loads((run / "samples" / "adversarial.json").read_text())
    samples |= {"eps": HOSTILE, "norm": HOSTILE, "amplification": HOSTILE}
    row = {"label": HOSTILE, "prediction_after": HOSTILE, "robustness": HOSTILE, "smallest_eps": HOSTILE}
    samples["rows"][0] |= row | {"key": HOSTILE}
    samples["rows"][1] |= {"original": "../../outside.png", "adversarial": "gone.png"}
    del samples["rows"][2]["key"], samples["rows"][2]["prediction_before"]
    (run / "samples" / "adversarial.json").write_text(json.dumps(samples))
    conflicts = json.loads((run / "samples" / "conflicts.json").read_text())
    conflicts["rows"][0] |= dict.fromkeys(("key", "label", "texture_label", "prediction", "decision"), HOSTILE)
    (run / "samples" / "conflicts.json").write_text(json.dumps(conflicts))
    build_report(run)
    return run


@pytest.fixture(scope="session")
def content() -> dict[str, Any]:
    """The fixture's report.json, not to be changed."""
    return report_content()


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """``write_run(folder, change=None, side=28, per_arm=3)`` writes a run folder and returns it."""
    return write_run_folder


@pytest.fixture(scope="session")
def standard_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built run that was measured by the protocol ``standard``, not to be changed."""
    folder = write_run_folder(tmp_path_factory.mktemp("standard") / "run", measure_as_standard)
    build_report(folder)
    return folder


@pytest.fixture(scope="session")
def built_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose report has been built, not to be changed."""
    folder = write_run_folder(tmp_path_factory.mktemp("run") / "demo")
    build_report(folder)
    return folder
