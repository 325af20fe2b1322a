"""The part of JSON Schema that ``schema.json`` uses, checked in one small function.

A reader is lenient: fields that the schema does not know are let pass here, so that a report with an added field can be
shown; the schema itself (and the tests, with a full validator) forbid them.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent / "schema.json").read_text(encoding="utf-8"))

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def first_problem(value: Any) -> str | None:
    """What is wrong with a report, as ``where: what``, or None."""
    return next(_problems(value, SCHEMA, "report"), None)


def _problems(value: Any, rule: dict[str, Any], where: str) -> Iterator[str]:
    if "$ref" in rule:
        yield from _problems(value, SCHEMA["$defs"][rule["$ref"].rsplit("/", 1)[1]], where)
    if "anyOf" in rule:
        branches = [list(_problems(value, branch, where)) for branch in rule["anyOf"]]
        if all(branches):
            yield branches[-1][0]
    kind = rule.get("type")
    if kind is not None and not _is_a(value, kind):
        yield f"{where} is not of type {kind}"
        return
    if "const" in rule and value != rule["const"]:
        yield f"{where} is not {rule['const']!r}"
    if "enum" in rule and value not in rule["enum"]:
        yield f"{where} is not one of {', '.join(rule['enum'])}"
    if isinstance(value, dict):
        yield from _in_object(value, rule, where)
    elif isinstance(value, list):
        yield from _in_array(value, rule, where)
    elif isinstance(value, str):
        if len(value) < rule.get("minLength", 0) or ("pattern" in rule and not re.search(rule["pattern"], value)):
            yield f"{where} has no valid text"
    elif _is_a(value, "number") and not rule.get("minimum", value) <= value <= rule.get("maximum", value):
        yield f"{where} is out of range"


def _in_object(value: dict[str, Any], rule: dict[str, Any], where: str) -> Iterator[str]:
    yield from (f"{where} lacks {key!r}" for key in rule.get("required", []) if key not in value)
    if len(value) < rule.get("minProperties", 0):
        yield f"{where} is empty"
    others = rule.get("additionalProperties")
    for key, item in value.items():
        if key in rule.get("properties", {}):
            yield from _problems(item, rule["properties"][key], f"{where}.{key}")
        elif isinstance(others, dict):
            yield from _problems(item, others, f"{where}.{key}")


def _in_array(value: list[Any], rule: dict[str, Any], where: str) -> Iterator[str]:
    if not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", len(value)):
        yield f"{where} has a wrong number of entries"
    if rule.get("uniqueItems") and len({repr(item) for item in value}) < len(value):
        yield f"{where} has repeated entries"
    for number, item in enumerate(value):
        yield from _problems(item, rule.get("items", {}), f"{where}[{number}]")


def _is_a(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
