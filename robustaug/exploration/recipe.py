"""The advice as a configuration for ``robustaug run``."""

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from robustaug.exploration.advice import ALL_ARMS, Advice, working_size

_BATCH = 128


def recipe_of(
    facts: Mapping[str, Any], advice: Iterable[Advice], root: Path | None = None, labels: Path | None = None
) -> str:
    """TOML that ``experiment.load_config`` takes, the reasons above it as comments.

    Args:
        facts: the content of ``explore.json``.
        advice: what follows from it.
        root: where named sets are kept, if the user said so.
        labels: the table of labels, if there is one.
    """
    advice = list(advice)
    name = facts["data"]["name"]
    folder = Path(name).expanduser()
    data: dict[str, Any] = {"source": str(folder.resolve()) if folder.is_dir() else name}
    if labels is not None:
        data["labels"] = str(labels.resolve())
    if root is not None:
        data["root"] = str(root.resolve())
    if (size := working_size(facts)) is not None:
        data["size"] = size
    train = next(iter(facts["data"]["parts"].values()))
    content: dict[str, Any] = {"name": f"explored {folder.name}", "seed": 0, "data": data}
    content["training"] = {"batch_size": max(8, min(_BATCH, 2 ** (max(1, train // 8)).bit_length()))}
    content["arms"] = {"clean": {}}
    for each in advice:
        _merge(content, each.settings)
    of_all = content["arms"].pop(ALL_ARMS, {})
    content["arms"] = {name: arm | of_all for name, arm in content["arms"].items()}
    lines = [f"# {line}" for each in advice for line in _comment(each)]
    return "\n".join(["# What robustaug explore advises, and why.", *lines, "", tomli_w.dumps(content)])


def _merge(content: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Put settings into a configuration: tables are merged, lists grow."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            _merge(content.setdefault(key, {}), value)
        elif isinstance(value, list):
            content[key] = [*content.get(key, []), *value]
        else:
            content[key] = value


def _comment(advice: Advice) -> list[str]:
    text = f"{'First: ' if advice.first else ''}{advice.title}. {advice.why}"
    printable = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return textwrap.wrap(printable, 116, subsequent_indent="  ")
