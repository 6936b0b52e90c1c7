"""Whether a document is as ``findings.schema.json`` says, by the words of JSON Schema that the file uses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from pixfold.util.text import short_repr

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


@cache
def schema() -> dict[str, Any]:
    """Return the schema of ``findings.json``."""
    text = files(__package__).joinpath("findings.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def fault_of(value: Any, rule: Mapping[str, Any], at: str = "") -> str | None:
    """Say where a document breaks a schema, or None where it keeps it.

    Readers of reports need not install a validator for this. It knows ``type``, ``const``, ``enum``, ``minimum``,
    ``maximum``, ``required``, ``properties``, ``additionalProperties`` and ``items``.
    """

    def said(expected: str) -> str:
        return f"{at or 'it'} must be {expected}, got {short_repr(value)}"

    if "const" in rule and (value != rule["const"] or isinstance(value, bool)):
        return said(repr(rule["const"]))
    if "enum" in rule and value not in rule["enum"]:
        return said(f"one of {', '.join(rule['enum'])}")
    if "type" in rule:
        names = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
        if not any(_is(value, name) for name in names):
            return said(" or ".join(names))
    if "minimum" in rule and _is(value, "number") and value < rule["minimum"]:
        return said(f"at least {rule['minimum']}")
    if "maximum" in rule and _is(value, "number") and value > rule["maximum"]:
        return said(f"at most {rule['maximum']}")
    if isinstance(value, dict):
        return _fault_of_object(value, rule, at)
    if isinstance(value, list) and "items" in rule:
        faults = (fault_of(item, rule["items"], f"{at}[{number}]") for number, item in enumerate(value))
        return next((fault for fault in faults if fault is not None), None)
    return None


def _fault_of_object(value: dict[str, Any], rule: Mapping[str, Any], at: str) -> str | None:
    for name in rule.get("required", ()):
        if name not in value:
            return f"{at or 'it'} must have {name!r}, got none"
    known, others = rule.get("properties", {}), rule.get("additionalProperties", {})
    for name, item in value.items():
        place = f"{at}.{name}" if at else name
        if name not in known and others is False:
            return f"{at or 'it'} must have no {name!r}, got one"
        fault = fault_of(item, known.get(name, others), place)
        if fault is not None:
            return fault
    return None


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name in ("boolean",) or not isinstance(value, bool))
