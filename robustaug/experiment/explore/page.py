"""The page about a data set: one self-contained HTML file, with the look of the report page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from robustaug.evaluation.report.frame import environment, style_and_script
from robustaug.experiment.explore.figures import LOOKS, MOST_CLASSES
from robustaug.experiment.explore.pictures import Sheet, address, png_address
from robustaug.exploration.listing import KINDS
from robustaug.exploration.scan import Scan
from robustaug.files import write_text

_SHEETS, _GROUPS, _MEMBERS, _DOUBTS, _FILES = 100, 24, 4, 60, 200  # shown on the page; explore.json has all


def write_page(
    path: Path,
    facts: Mapping[str, Any],
    recipe: str,
    charts: Mapping[str, Markup],
    sheets: Sequence[Sheet],
    scan: Scan,
) -> None:
    """Write the page; names of files and classes are shown as text, whatever they hold.

    Raises:
        RobustAugError: the file cannot be written.
    """
    place = {key: index for index, key in enumerate(scan.keys)}
    groups = [
        {**group, "pictures": [address(scan, place[key]) for key in group["keys"][:_MEMBERS]]}
        for group in facts["duplicates"]["groups"][:_GROUPS]
    ]
    doubts = [] if facts["labels"] is None else facts["labels"]["listed"][:_DOUBTS]
    templates = environment(Path(__file__).parent)
    text = templates.get_template("page.html.j2").render(
        facts=facts,
        summary=summary(facts),
        recipe=recipe,
        charts=charts,
        sheets=[{"sheet": sheet, "picture": png_address(sheet.path.read_bytes())} for sheet in sheets[:_SHEETS]],
        sheets_in_all=len(sheets),
        groups=groups,
        doubts=[{**row, "picture": address(scan, place[row["key"]])} for row in doubts],
        files=facts["findings"]["files"][:_FILES],
        kinds=KINDS,
        look_titles=LOOKS,
        most_classes=MOST_CLASSES,
        looks={},
        **style_and_script(),
    )
    write_text(path, text)


def summary(facts: Mapping[str, Any]) -> list[str]:
    """What to know first, in sentences; the command line prints them too."""
    data, counts = facts["data"], facts["counts"]
    parts = ", ".join(f"{count:,} {part}" for part, count in data["parts"].items())
    if counts["imbalance"] is None:
        uneven = "a class has no training image"
    elif counts["largest"] == counts["smallest"]:
        uneven = "all classes are of one size"
    else:
        uneven = f"the largest class has {counts['imbalance']:.3g} times the images of the smallest"
    lines = [f"{data['images']:,} images in {len(data['classes'])} classes ({parts}); {uneven}."]
    found = [f"{count:,} {KINDS[kind]}" for kind, count in facts["findings"]["counts"].items() if count]
    lines.append(f"Files to look at: {'; '.join(found)}." if found else "No file is broken or suspicious.")
    twins = facts["duplicates"]
    lines.append(
        f"Groups of equal images: {twins['exact']:,}; of nearly equal ones: {twins['near']:,}; of them across parts: "
        f"{twins['straddling']:,}; with different labels: {twins['contradicting']:,}."
        if twins["groups"]
        else "No image stands in the data twice."
    )
    if facts["labels"] is not None:
        labels = facts["labels"]
        doubted = f"Doubted labels: {len(labels['listed']):,} of {labels['examined']:,}"
        lines.append(f"{doubted}; look at them before you change any." if labels["listed"] else "No label is doubted.")
    telling = [
        f"{each['name'].capitalize()} alone predicts the class of {100 * each['accuracy']['value']:.1f}% of the "
        f"images, where the largest class is {100 * each['majority']:.1f}%."
        for each in facts["shortcuts"]
        if each["level"] in ("strong", "notable")
    ]
    if facts["shortcuts"] and not telling:
        telling = ["No shortcut stands out: neither border colour nor sizes nor formats tell the classes apart."]
    return lines + telling
