"""What to do with a data set, each piece of advice with the number that it rests on.

The settings follow the field's habits (a crop padded by an eighth of the side and mirroring for CIFAR-10, eps 8/255
there, 4/255 for larger images, adversarial rows alone as in Madry et al. 2018); what this page measures decides which
of them fit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from robustaug.style.settings import MIN_SIDE

ALL_ARMS = "*"
UNEVEN = 1.5  # largest over smallest class, from which balance is advised
_BALANCE = 0.5  # the share of the largest class that the small ones are brought up to, unless they have more
_FEW = 100  # images of a class
_SMALL = 128  # px, up to which all images keep their size, and a shift in pixels is advised
_TINY = 48  # px, up to which the eps of CIFAR-10 is advised
_DRAWN = 0.6  # of all pixels are black or white: digits and drawings
_LISTED = 0.005  # of the examined labels
_COLOUR = 0.05  # of accuracy lost on grey copies
_SAVED = 600  # stylised variants: what the recipes of this project take


@dataclass(frozen=True)
class Advice:
    """One piece of advice.

    Attributes:
        title: what to do, or to leave.
        why: the reason, with the number that it rests on.
        do: False for something to leave.
        first: whether it comes before any augmentation.
        settings: tables of a configuration; ``ALL_ARMS`` stands for each of its arms.
    """

    title: str
    why: str
    do: bool = True
    first: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


Facts = Mapping[str, Any]


def advise(facts: Facts) -> list[Advice]:
    """All advice that follows from the content of ``explore.json``: first what to repair, then what to use."""
    return [advice for rule in _RULES for advice in [rule(facts)] if advice is not None]


def _unreadable(facts: Facts) -> Advice | None:
    count = facts["findings"]["counts"]["unreadable"]
    why = (
        f"{count:,} of {facts['data']['listed']:,} files cannot be used. They are skipped by every command, and listed."
    )
    return Advice("Repair or remove the broken files", why, first=True) if count else None


def _missing(facts: Facts) -> Advice | None:
    missing = facts["counts"]["missing"]
    if not missing:
        return None
    example = f"'{missing[0]['class']}' has no image in {missing[0]['part']}"
    why = f"{example} ({len(missing)} such gaps). Nothing is trained or measured on parts with different classes."
    return Advice("Give every part every class", why, first=True)


def _straddling(facts: Facts) -> Advice | None:
    found = facts["duplicates"]["straddling"]
    why = f"{found:,} images, or near copies of them, lie in more than one part: accuracy on them is memory."
    return Advice("Take duplicates out of the test part", why, first=True) if found else None


def _contradicting(facts: Facts) -> Advice | None:
    found = facts["duplicates"]["contradicting"]
    why = f"Groups of equal or nearly equal images with more than one label: {found:,}."
    return Advice("Settle the labels of duplicates", why, first=True) if found else None


def _labels(facts: Facts) -> Advice | None:
    labels = facts["labels"]
    if labels is None or len(labels["listed"]) < max(2, _LISTED * labels["examined"]):
        return None
    why = (
        f"A classifier on small features, right for {_percent(labels['accuracy']['value'])}, doubts "
        f"{len(labels['listed']):,} of {labels['examined']:,} labels; a rate of {_percent(labels['noise'])} wrong "
        "labels fits all of them best. Variants inherit a wrong label as often as they are made."
    )
    return Advice("Look through the doubted labels", why, first=True)


def _shortcut(facts: Facts) -> Advice | None:
    strong = [each for each in facts["shortcuts"] if each["level"] == "strong"]
    if not strong:
        return None
    worst = strong[0]
    given = f" It gives away {', '.join(worst['gives_away'])}." if worst["gives_away"] else ""
    why = (
        f"{worst['name'].capitalize()} alone predicts the class of {_percent(worst['accuracy']['value'])} "
        f"[{_percent(worst['accuracy']['low'])}, {_percent(worst['accuracy']['high'])}] of the images; the largest "
        f"class is {_percent(worst['majority'])}.{given} A network will learn that first."
    )
    return Advice(f"Break the link between class and {worst['name']}", why, first=True)


def _balance(facts: Facts) -> Advice | None:
    counts = facts["counts"]
    ratio = counts["imbalance"]
    if ratio is None:
        return None
    if ratio == 1:
        return Advice("No balancing", "All classes have the same number of training images.", do=False)
    sizes = f"{counts['largest']} has {ratio:.3g} times as many training images as {counts['smallest']}"
    if ratio < UNEVEN:
        return Advice("No balancing", f"{sizes}; below {UNEVEN:g} times it does no harm.", do=False)
    share = max(_BALANCE, round(1 / ratio, 2))
    return Advice(
        f"Balance: bring small classes up to {share:.0%} of the largest",
        f"{sizes}.",
        settings={"arms": {ALL_ARMS: {"balance": share}}},
    )


def _mirror(facts: Facts) -> Advice | None:
    measured = facts["invariances"].get("mirrored")
    if measured is None:
        return Advice("No mirroring", "There are too few images to measure whether it keeps the class.", do=False)
    why = f"On mirrored held-out images the feature model has {_change(measured)}."
    if measured["verdict"] == "keeps":
        return Advice("Mirror left to right", why, settings={"training": {"flip": True}})
    return Advice("No mirroring", f"{why} For some classes it makes another thing.", do=False)


def _upside_down(facts: Facts) -> Advice | None:
    measured = facts["invariances"].get("upside down")
    if measured is None or measured["verdict"] != "keeps":
        return None
    settings = _augmented("vertical_flip")
    return Advice("Turn upside down", f"Upside down the feature model has {_change(measured)}.", settings=settings)


def _shift(facts: Facts) -> Advice | None:
    side = _working_side(facts)
    pixels = round(side / 8)
    why = (
        f"Images are worked on at {side} px; an eighth of that is the usual padded crop, and leaves the class in sight."
    )
    return Advice(f"Shift by up to {pixels} px", why, settings={"training": {"shift": pixels}})


def _colour(facts: Facts) -> Advice | None:
    grey = facts["invariances"].get("grey")
    mirrored = facts["invariances"].get("mirrored")
    drawn = facts["looks"]["black_or_white"]
    if mirrored is None:
        return None
    if drawn > _DRAWN:
        why = f"{_percent(drawn)} of all pixels are black or white: drawings, in which colour and light say nothing."
        return Advice("No colour changes", why, do=False)
    spread = facts["looks"]["brightness"]["high"] - facts["looks"]["brightness"]["low"]
    if facts["looks"]["grey"] == 1:
        why = f"Every image is grey; 90% of them lie within {spread:.2f} of each other in brightness, from 0 to 1."
        return Advice("Brightness and contrast", why, settings=_augmented("brightness", "contrast"))
    if grey is not None and _loss(grey) >= _COLOUR:
        why = f"In grey the feature model has {_change(grey)}: colour tells classes apart, so hue and saturation stay."
        return Advice("Brightness and contrast", why, settings=_augmented("brightness", "contrast"))
    why = (
        f"In grey the feature model {'has ' + _change(grey) if grey else 'was not measured'}; 90% of the images lie "
        f"within {spread:.2f} of each other in brightness, which goes from 0 to 1."
    )
    settings = _augmented("brightness", "contrast", "saturation", "hue")
    return Advice("Brightness, contrast, saturation, hue", why, settings=settings)


def _erase(facts: Facts) -> Advice | None:
    telling = [each for each in facts["shortcuts"] if each["level"] in ("strong", "notable")]
    border = next((each for each in telling if each["name"] == "border colour"), None)
    if border is None or "mirrored" not in facts["invariances"]:
        return None
    predicted = _percent(border["accuracy"]["value"])
    why = f"The border's colour alone predicts the class of {predicted} of the images; covered parts weaken that."
    return Advice("Erase random parts", why, settings=_augmented("erasing"))


def _adversarial(facts: Facts) -> Advice:
    side, drawn = _working_side(facts), facts["looks"]["black_or_white"]
    if drawn > _DRAWN:
        eps: float | str = 0.2
        why = f"{_percent(drawn)} of all pixels are black or white: grey changes of 0.2 leave a drawing readable."
    else:
        eps = "8/255" if side <= _TINY else "4/255"
        why = f"At {side} px the field measures at eps {eps}."
    settings = {
        "threat": {"norm": "linf", "eps": eps},
        "training": {"eps_warmup": 0.3},
        "arms": {"adversarial": {"adversarial": 1.0}},
    }
    return Advice(f"Adversarial rows at l-infinity {eps}, the whole batch of an arm of its own", why, settings=settings)


def _stylised(facts: Facts) -> Advice:
    train = next(iter(facts["data"]["parts"].values()))
    variants = min(_SAVED, train)
    grey = facts["invariances"].get("grey")
    keep = grey is not None and _loss(grey) >= _COLOUR
    strong = any(each["level"] == "strong" and each["name"] == "border colour" for each in facts["shortcuts"])
    share = 0.5 if strong or facts["counts"]["per_class"] < _FEW else 0.25
    reasons = [f"{facts['counts']['per_class']:,.0f} images a class"]
    if strong:
        reasons.append("the background gives classes away, and a painting's texture covers it")
    if keep:
        reasons.append(f"grey images lose {100 * _loss(grey):.1f} points, so variants keep the image's own colours")
    settings = {
        "style": {"variants": variants} | ({"preserve_color": True} if keep else {}),
        "arms": {"style": {"stylised": 0.5}, "adversarial+style": {"adversarial": 1 - share, "stylised": share}},
    }
    why = f"{'; '.join(reasons).capitalize()}. {variants:,} variants are what this project's recipes make at most."
    return Advice(
        f"Stylised rows: half of the batch alone, {share:.0%} beside adversarial ones", why, settings=settings
    )


_RULES: tuple[Callable[[Facts], Advice | None], ...] = (
    _unreadable, _missing, _straddling, _contradicting, _labels, _shortcut,
    _balance, _mirror, _upside_down, _shift, _colour, _erase, _adversarial, _stylised,
)  # fmt: skip


def working_size(facts: Facts) -> int | None:
    """The side to work at, in px; None where all images are alike, neither large nor too small for style transfer."""
    files = facts["files"]
    fits = max(files["width"]["most"], files["height"]["most"]) <= _SMALL and files["shorter_side"]["least"] >= MIN_SIDE
    if files["different_sizes"] == 1 and fits:
        return None
    return 32 if files["shorter_side"]["median"] <= _TINY else 64


def _working_side(facts: Facts) -> int:
    return working_size(facts) or int(facts["files"]["shorter_side"]["median"])


def _augmented(*techniques: str) -> dict[str, Any]:
    return {"training": {"augmentation": list(techniques)}}


def _loss(measured: Mapping[str, Any]) -> float:
    return float(measured["before"] - measured["after"])


def _change(measured: Mapping[str, Any]) -> str:
    return (
        f"{_percent(measured['after'])} right, {_percent(measured['before'])} on the same {measured['n']:,} unchanged "
        f"(a loss of {100 * _loss(measured):.1f} points [{100 * measured['low']:.1f}, {100 * measured['high']:.1f}])"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
