"""The first block of docs/compose.md as it stands there: variants, decisions, the larger data set, a run."""

import re
import shlex
from pathlib import Path

import numpy as np
from cli_cases import CommandLine
from PIL import Image

from robustaug.data import load_data
from robustaug.data.decisions import DecisionLog
from robustaug.files import read_json, read_jsonl

PAGE = (Path(__file__).parents[2] / "docs" / "compose.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    block = re.search(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    return [shlex.split(line)[1:] for line in block[1].splitlines()]


def look(folder: str) -> set[str]:
    """The review: a person rejects the variants of one class that look too dark, and accepts the rest of it."""
    log, rejected = DecisionLog(Path(folder)), set()
    for row in read_jsonl(Path(folder) / "manifest.jsonl"):
        if row["label"] == "blue":
            is_dark = np.asarray(Image.open(Path(folder) / row["path"])).mean() < 90
            log.decide(row["path"], "reject" if is_dark else "accept")
            rejected |= {row["path"]} if is_dark else set()
    log.close()
    return rejected


def test_from_photographs_to_a_report(cli: CommandLine, work: Path) -> None:
    (work / "images").rename(work / "photos")
    recipe = re.search(r"^    (techniques = .*)$", PAGE, re.MULTILINE)
    assert recipe is not None
    (work / "flips.toml").write_text(recipe[1])
    rejected: set[str] = set()
    names = []
    for words in commands():
        names.append(words[0])
        if words[0] == "review":
            rejected = look(words[1])
        else:
            answer = cli(*words)
            assert answer.code == 0, answer.err
    assert names == ["augment", "review", "compose", "run"]
    data, larger = load_data("photos"), load_data("larger")
    made = read_jsonl(Path("flipped/manifest.jsonl"))
    expected = {row["path"] for row in made if row["source"] in data.train.keys} - rejected
    joined = [row for row in read_jsonl(Path("larger/manifest.jsonl")) if row["kind"] == "classical"]
    assert rejected
    assert {row["variant_path"] for row in joined} == expected
    assert all({operation["name"] for operation in row["operations"]} for row in joined)
    told = read_json(Path("runs/job/report.json"))["data"]
    assert told["train"] == len(larger.train) == len(data.train) + len(expected)
    assert (told["validation"], told["test"]) == (len(data.validation), len(data.test))
