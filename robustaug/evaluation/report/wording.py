"""How numbers, metrics and arms are written and drawn: the same in the page, the figures, the table and the verdict."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

METRIC_TITLES = {
    "clean": "Clean",
    "noise": "Random noise",
    "fgsm": "FGSM",
    "pgd": "PGD",
    "autoattack": "AutoAttack",
    "autoattack_l2": "AutoAttack L2",
    "square": "Square",
    "transfer": "Transfer",
    "corruptions": "Corruptions",
    "unseen_style": "Unseen style",
}
METRIC_MEANINGS = {
    "clean": "unchanged images",
    "noise": "random noise of the stated eps, no attack",
    "fgsm": "one gradient step",
    "pgd": "many gradient steps, the worst restart",
    "autoattack": "an ensemble of attacks",
    "autoattack_l2": "an ensemble of attacks in another norm",
    "square": "random search, without gradients",
    "transfer": "adversarial images made on other classifiers",
    "corruptions": "mean over common corruptions and severities",
    "unseen_style": "restyled with paintings that training never saw",
}
ROBUST_METRICS = ("autoattack", "pgd", "fgsm")  # strongest first

SPLIT_IMAGES = {"test": "test image", "train": "training image", "validation": "validation image", "all": "image"}

_CHOSEN_BY = {
    "validation_clean": "clean validation accuracy",
    "validation_robust": "validation accuracy under attack",
}

SIGNIFICANCE = 0.05
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class ArmLook:
    """One arm's colour, marker and line style; the last two carry the difference in black and white."""

    colour: str
    marker: str
    line: Literal["-", "--", "-.", ":"]


# After Okabe and Ito (2008), without the hues that are too light for white paper.
_KNOWN_LOOKS = {
    "clean": ArmLook("#7c8794", "o", "-"),
    "adversarial": ArmLook("#0f79c2", "s", "-"),
    "style": ArmLook("#d95f02", "^", "--"),
    "adversarial+style": ArmLook("#009e73", "D", "-."),
}
_OTHER_LOOKS = (
    ArmLook("#cc79a7", "v", "-"),
    ArmLook("#b8860b", "P", "--"),
    ArmLook("#5e4fa2", "X", "-."),
    ArmLook("#56b4e9", "<", ":"),
)


def arm_looks(arms: Iterable[str]) -> dict[str, ArmLook]:
    """A look for each arm; the four arms of the design keep theirs in every report."""
    unknown = [arm for arm in arms if arm not in _KNOWN_LOOKS]
    return _KNOWN_LOOKS | {arm: _OTHER_LOOKS[i % len(_OTHER_LOOKS)] for i, arm in enumerate(unknown)}


def metric_names(report: Mapping[str, Any]) -> list[str]:
    """All metrics that at least one arm has, in reading order."""
    found = dict.fromkeys(name for arm in report["arms"].values() for name in arm["metrics"])
    return [name for name in METRIC_TITLES if name in found] + [name for name in found if name not in METRIC_TITLES]


def metric_title(name: str) -> str:
    """A metric's name as a heading."""
    return METRIC_TITLES.get(name, name.replace("_", " "))


def meaning(report: Mapping[str, Any], metric: str) -> str:
    """What a metric measures, in a few words; empty for one that a protocol named."""
    is_auto = (report["attacks"].get(metric) or {}).get("attack") == "APGD"
    auto = "many steps of Auto-PGD, the worst restart" if metric == "pgd" and is_auto else ""
    return auto or METRIC_MEANINGS.get(metric, "")


def own_radius(report: Mapping[str, Any], metric: str) -> str:
    """``L2 eps 0.5`` for an attack of another norm or eps than the threat model's; else empty."""
    parameters, threat = report["attacks"].get(metric) or {}, report["threat"]
    if "norm" not in parameters or "eps" not in parameters:
        return ""
    own, stated = (f"{fact('norm', each['norm'])} eps {fact('eps', each['eps'])}" for each in (parameters, threat))
    return own if own != stated else ""


def effort(report: Mapping[str, Any], metric: str) -> str:
    """What an attack was allowed, as stated in the report: ``40 steps, 5 restarts``, ``L2 eps 0.5``; else empty."""
    parameters = report["attacks"].get(metric) or {}
    told = [own_radius(report, metric)]
    for name, one in (("steps", "step"), ("restarts", "restart"), ("queries", "query")):
        count = parameters.get(name)
        if isinstance(count, int) and count > 0:
            told.append(f"{count:,} {one if count == 1 else name}")
    return ", ".join(filter(None, told))


def percent(fraction: float) -> str:
    """A fraction as a percentage with one decimal, without the sign."""
    return f"{100 * fraction:.1f}"


def interval(metric: Mapping[str, Any]) -> str:
    """``[low, high]`` in percent."""
    return f"[{percent(metric['low'])}, {percent(metric['high'])}]"


def accuracy(metric: Mapping[str, Any] | None) -> str:
    """``97.4 [96.2, 98.2]`` in percent, or the words for a metric that was not measured."""
    return NOT_MEASURED if metric is None else f"{percent(metric['value'])} {interval(metric)}"


def signed_points(value: float) -> str:
    """A difference of fractions in points of percent: ``+1.2``, ``-0.4``, ``0.0``."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def p_value(p: float) -> str:
    """``p = 0.034``; small ones as ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def plural(count: int, noun: str) -> str:
    """``1 step``, ``1,200 steps``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def measured_image(report: Mapping[str, Any]) -> str:
    """What one measured image is called, after the part of the data in ``data.split``: ``training image``."""
    return SPLIT_IMAGES.get(report["data"].get("split", "test"), "image")


def images(report: Mapping[str, Any], count: int) -> str:
    """A count of measured images: ``63 training images``."""
    return plural(count, measured_image(report))


def duration(seconds: float) -> str:
    """``48 s``, ``5 min 12 s``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def energy(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What processors and GPU took, in joules and watt hours, or why that is not known."""
    reasons = found.get("not_readable") or {}
    titles = {"cpu": "processors", "gpu": "GPU"}
    return [
        (
            title,
            f"not known: {reasons.get(kind, 'no reason given')}"
            if found[f"{kind}_joules"] is None
            else f"{found[f'{kind}_joules']:,.0f} J ({found[f'{kind}_joules'] / 3600:.3g} Wh)",
        )
        for kind, title in titles.items()
    ]


def eps_number(eps: float | str) -> float:
    """An eps of the report as a number; ``"8/255"`` is read as a fraction."""
    if isinstance(eps, str) and "/" in eps:
        above, below = eps.split("/", 1)
        return float(above) / float(below)
    return float(eps)


def eps_text(eps: float | str) -> str:
    """An eps as people write it: ``0.2``, or ``8/255`` where the decimal is not short."""
    if isinstance(eps, str) and "/" in eps:
        return eps
    value = float(eps)
    levels = value * 255
    is_long = abs(value - round(value, 3)) > 1e-9
    return f"{round(levels)}/255" if is_long and abs(levels - round(levels)) < 1e-4 else f"{value:.4g}"


def norm_text(norm: str) -> str:
    """A norm's name with its subscript written out."""
    return {"linf": "L-infinity", "l2": "L2", "l1": "L1"}.get(norm, norm)


def plain(value: Any) -> str:
    """Any leaf of the report as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    if isinstance(value, list):
        return ", ".join(map(plain, value)) or "none"
    return str(value)


def words(name: str) -> str:
    """A key of the report in words: ``batch_size`` is ``batch size``."""
    return name.replace("_", " ").replace(" gib", " GiB")


def fact(name: str, value: Any) -> str:
    """The value of a named parameter as text: eps and step sizes as people write them, paintings by their names."""
    if name == "step_size" and value is None:
        return "follows from eps and steps"
    if name in ("eps", "step_size") and isinstance(value, int | float | str) and value != "":
        return eps_text(value) if _is_eps(value) else plain(value)
    if name == "norm":
        return norm_text(plain(value))
    if name == "chosen_by":
        return _chosen_by(plain(value))
    if name.endswith("paintings") and isinstance(value, list):
        return words(plain(value))
    return plain(value)


def _chosen_by(score: str) -> str:
    """A score in words: ``validation_clean_ema`` is ``clean validation accuracy, EMA weights``."""
    for known, text in _CHOSEN_BY.items():
        if score == known:
            return text
        if score.startswith(f"{known}_"):
            return f"{text}, {score.removeprefix(f'{known}_').upper()} weights"
    return words(score)


def _is_eps(value: float | str) -> bool:
    try:
        return math.isfinite(eps_number(value)) and not isinstance(value, bool)
    except (ValueError, ZeroDivisionError):
        return False


def shortened(text: str, length: int = 26) -> str:
    """Text cut to a length, with an ellipsis where something was cut; line breaks become spaces."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"
