"""What pages share: where templates lie, how numbers are written in them, style and script."""

import base64
import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from robustaug.evaluation.report import wording

_TEMPLATES = Path(__file__).parent / "templates"


def environment(*folders: Path) -> Environment:
    """The templates of the report page, and those in further folders."""
    found = Environment(
        loader=FileSystemLoader([*folders, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "percent": wording.percent,
        "interval": wording.interval,
        "duration": wording.duration,
        "energy": wording.energy,
        "eps": partial(wording.fact, "eps"),
        "norm_text": partial(wording.fact, "norm"),
        "p_value": wording.p_value,
        "plain": wording.plain,
        "metric_title": wording.metric_title,
        "words": wording.words,
    }
    return found


def style_and_script() -> Mapping[str, Any]:
    """``css``, ``script`` and ``script_hash`` for a page whose policy allows this script alone."""
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    return {
        "css": Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
