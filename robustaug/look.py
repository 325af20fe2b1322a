"""The look that all charts and pages share: matplotlib's settings, how a chart is saved, and how it enters a page."""

import html
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from robustaug.files import writing

INK, MUTED, RULE, PAPER = "#1b1f24", "#646d78", "#dfe3e8", "#ffffff"
WIDTH = 7.4  # inches, of every chart

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "robustaug",
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so the layout is the same everywhere
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
}


@contextmanager
def chart_style() -> Iterator[None]:
    """The look of all charts; matplotlib's settings are as before afterwards."""
    fonts = logging.getLogger("matplotlib.font_manager")
    level = fonts.level
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # Class names in other scripts: the browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        fonts.setLevel(logging.ERROR)
        try:
            yield
        finally:
            fonts.setLevel(level)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG at twice the usual resolution, without metadata."""
    with writing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=180, metadata={"Software": None})


def save_svg(figure: Figure, path: Path) -> None:
    """Write a figure as SVG without metadata; the same figure gives the same bytes."""
    with writing(path) as temporary:
        figure.savefig(temporary, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))


def inline_svg(svg: str, name: str, description: str) -> Markup:
    """A chart as an inline element: its own ids, the page's colours (for dark mode), a text for readers."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    for colour, variable in {INK: "--ink", MUTED: "--muted", RULE: "--rule", PAPER: "--paper"}.items():
        body = re.sub(rf"((?:fill|stroke): ){colour}", rf"\g<1>var({variable})", body)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    return Markup(body.replace("<svg", f'<svg role="img" aria-label="{html.escape(description)}"', 1))
