"""The documentation is true: its Python runs, its links lead somewhere, commands, tables and signatures are the code's.

Fences: ``python`` is run, ``py`` lists signatures, ``toml`` is a configuration, ``sh`` or none may hold command lines.
"""

import ast
import inspect
import pkgutil
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from pydantic import BaseModel

import robustaug
from robustaug.attacks import PGD
from robustaug.cli import app
from robustaug.data.augmentation import build_techniques
from robustaug.evaluation import PROTOCOLS
from robustaug.evaluation.protocol import Protocol
from robustaug.experiment.config import ArmSection, ExperimentConfig, parse_config

ROOT = Path(__file__).parent.parent
PACKAGE = Path(robustaug.__file__).parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
COMMANDS = typer.main.get_command(app)
NO_DEFAULT = inspect.Parameter.empty

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of each fenced block."""
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield match[1], match[2]


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def tables(text: str) -> dict[str, list[list[str]]]:
    """Cells of all table rows (without head and rule), by the heading above."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in prose(text).splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip("`")
        elif line.startswith("|"):
            found.setdefault(heading, []).append([cell.strip() for cell in line.strip("|").split("|")])
    return {name: rows[2:] for name, rows in found.items()}


@each_page
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": page.stem}
    with torch.random.fork_rng():
        for number, (language, content) in enumerate(blocks(page.read_text(encoding="utf-8")), 1):
            if language == "python":
                exec(compile(content, f"{page.name}, block {number}", "exec"), namespace)


@each_page
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    text = prose(page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.is_relative_to(ROOT), f"{target} leads out of the project"
        assert path.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in anchors(path), f"{target} names no heading"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_files_named_in_the_text_exist(page: Path) -> None:
    for name in re.findall(r"`((?:robustaug/)?[\w/]+/[\w]*\.py|[\w/]+/)`", prose(page.read_text(encoding="utf-8"))):
        if name.endswith(".py"):
            assert (PACKAGE / name.removeprefix("robustaug/")).is_file(), name


def test_the_map_names_every_room() -> None:
    rows = tables((DOCS / "architecture.md").read_text(encoding="utf-8"))["Where each thing lives"]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row[1])}
    modules = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name[0] != "_"}
    unnamed = {name for name in modules - named if not any(name.startswith(f) for f in named if f.endswith("/"))}
    assert unnamed == set()
    assert {name for name in named if not (PACKAGE / name).exists()} == set()


def command_lines(text: str) -> Iterator[list[str]]:
    """Arguments of each ``robustaug`` command in the blocks that a shell would take."""
    for language, content in blocks(text):
        if language not in ("", "sh", "console"):
            continue
        for line in content.replace("\\\n", " ").splitlines():
            for part in re.split(r" && | \|\|? |; | > ", line.removeprefix("$ ")):
                if re.match(r" *(\S*/)?robustaug( |$)", part):
                    yield shlex.split(part, comments=True)[1:]


@each_page
def test_command_lines_name_commands_and_options_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for words in command_lines(text):
        arguments = [word for word in words if word != "--debug"]
        if arguments in ([], ["--help"], ["--version"]):
            continue
        command = COMMANDS.commands[arguments[0]]  # type: ignore[attr-defined]
        command.make_context(arguments[0], arguments[1:])  # parses, checks choices and numbers, runs nothing
    for mentioned in re.findall(r"`robustaug ([^`]*)`", prose(text)):  # in a sentence, arguments may be left out
        name, *words = mentioned.split()
        command = COMMANDS.commands[name]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts} | {"--debug", "--help"}
        assert {word for word in words if word.startswith("--")} <= known, mentioned


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    lines = "\n".join(content for language, content in blocks(text) if language in ("", "sh", "console"))
    assert set(re.findall(r"^(?:\$ )?make ([\w-]+)", lines, re.MULTILINE)) <= targets
    assert set(re.findall(r"`make ([\w-]+)`", prose(text))) <= targets


@each_page
def test_toml_blocks_are_configurations(page: Path) -> None:
    for language, content in blocks(page.read_text(encoding="utf-8")):
        if language == "toml":
            given = tomllib.loads(content)
            if "techniques" in given:  # a recipe of augmentation
                build_techniques(given.pop("techniques"), "techniques")
                assert not given
                continue
            given.setdefault("data", {}).setdefault("source", "photos")
            parse_config(given, page.name)


def keys_of(section: type) -> dict[str, Any]:
    """Key to default of a section's own keys, without its sub-sections."""
    if not issubclass(section, BaseModel):
        return {entry.name: NO_DEFAULT if entry.default is MISSING else entry.default for entry in fields(section)}
    return {
        name: NO_DEFAULT if field.is_required() else field.get_default(call_default_factory=True)
        for name, field in section.model_fields.items()
        if not sub_section(field.annotation) and name != "arms"
    }


def sub_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and annotation.__name__.endswith("Section")


def documented_default(text: str) -> Any:
    if text in ("required", "not set"):
        return NO_DEFAULT if text == "required" else None
    value = tomllib.loads(f"value = {text.strip('`')}")["value"]
    return tuple(value) if isinstance(value, list) else value


def test_the_configuration_tables_are_the_code() -> None:
    in_code = {"Top level": keys_of(ExperimentConfig), "[arms.NAME]": keys_of(ArmSection)}
    for name, field in ExperimentConfig.model_fields.items():
        if sub_section(field.annotation):
            in_code[f"[{name}]"] = keys_of(field.annotation)  # type: ignore[arg-type]
    documented = tables((DOCS / "configuration.md").read_text(encoding="utf-8"))
    del documented["Exit codes"]
    assert {
        section: {row[0].strip("`"): documented_default(row[1]) for row in rows} for section, rows in documented.items()
    } == in_code


def test_the_four_arms_are_the_defaults() -> None:
    content = [content for language, content in blocks((DOCS / "configuration.md").read_text()) if language == "toml"]
    (arms,) = [tomllib.loads(text) for text in content if "arms" in tomllib.loads(text)]
    assert parse_config({"data": {"source": "x"}, **arms}, "").arms == parse_config({"data": {"source": "x"}}, "").arms


def test_the_protocol_table_is_the_code() -> None:
    rows = tables((DOCS / "evaluation.md").read_text(encoding="utf-8"))["What is measured"]
    rows = [row for row in rows if row[0].strip("`") in {entry.name for entry in fields(Protocol)} and len(row) == 3]
    documented = {name: {row[0].strip("`"): row[i] for row in rows} for i, name in ((1, "quick"), (2, "standard"))}
    differing = {
        entry.name
        for entry in fields(Protocol)
        if len({str(getattr(protocol, entry.name)) for protocol in PROTOCOLS.values()}) > 1
    }
    assert set(documented["quick"]) == differing - {"name", "version", "attacks"}  # told in the section on protocols
    for name, settings in documented.items():
        assert settings == {key: str(getattr(PROTOCOLS[name], key)) for key in settings}


def test_the_table_of_pgd_is_the_code() -> None:
    rows = tables((DOCS / "attacks.md").read_text(encoding="utf-8"))["FGSM, PGD and their relatives"]
    documented = {row[0].strip("`"): ast.literal_eval(row[1].strip("`")) for row in rows}
    assert documented == {entry.name: entry.default for entry in fields(PGD) if entry.default is not MISSING}


def signatures() -> list[tuple[str, str]]:
    """Dotted name and parameters of each entry in the map's ``py`` blocks; an entry goes on in indented lines."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    listing = "".join(content for language, content in blocks(text) if language == "py")
    entries = re.sub(r" *#.*| *\n(?=[ ])", "", listing).split("\n")
    return [match.groups() for entry in entries if (match := re.match(r"([\w.]+)\((.*?)\)(?: *->.*)?$", entry))]  # type: ignore[misc]


@pytest.mark.parametrize(("name", "parameters"), signatures(), ids=lambda value: value.partition("(")[0][:50])
def test_signatures_are_the_code(name: str, parameters: str) -> None:
    stated: dict[str, Any] = {}
    exec(f"def function({parameters}): ...", stated)
    ours = inspect.signature(stated["function"]).parameters
    theirs = inspect.signature(pkgutil.resolve_name(f"robustaug.{name}")).parameters
    assert [(p.name, p.kind) for p in ours.values()] == [(p.name, p.kind) for p in theirs.values()]
    for key, parameter in ours.items():
        assert parameter.default in (..., theirs[key].default), key


def test_every_entry_of_the_interfaces_is_read() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    listing = "".join(content for language, content in blocks(text) if language == "py")
    assert len(signatures()) == len(re.findall(r"^[a-z]", listing, re.MULTILINE))
