"""The JSON Schema that an answer must fit: a declared part of 2020-12, and a schema that uses more of it is refused when it is read.

Of our own because a schema's `pattern` is held against what a model wrote: here it is RE2's. Sizes and depths are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from penstock.guardrails.text import Verdicts, stopped
from penstock.guardrails.walk import Json, Object
from penstock.patterns import Pattern

STEP = "answer_schema"
LARGEST = 1024 * 1024
"""Characters that an answer may have to be held and checked."""
DEPTH = 64
EFFORT = 200_000
"""Looks at a value by a schema that one answer may take."""

_NOTES = frozenset({"$schema", "$id", "title", "description", "examples", "default", "$comment", "$defs", "format"})
_TYPES: Mapping[str, Callable[[Json], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer())),
    "number": lambda value: not isinstance(value, bool) and isinstance(value, int | float),
}  # fmt: skip
_BOUNDS: Mapping[str, Callable[[Json, float], bool]] = {
    "minimum": lambda value, bound: not _number(value) or value >= bound,  # type: ignore[operator]  # a number here
    "maximum": lambda value, bound: not _number(value) or value <= bound,  # type: ignore[operator]
    "exclusiveMinimum": lambda value, bound: not _number(value) or value > bound,  # type: ignore[operator]
    "exclusiveMaximum": lambda value, bound: not _number(value) or value < bound,  # type: ignore[operator]
    "minLength": lambda value, bound: not isinstance(value, str) or len(value) >= bound,
    "maxLength": lambda value, bound: not isinstance(value, str) or len(value) <= bound,
    "minItems": lambda value, bound: not isinstance(value, list) or len(value) >= bound,
    "maxItems": lambda value, bound: not isinstance(value, list) or len(value) <= bound,
    "minProperties": lambda value, bound: not isinstance(value, dict) or len(value) >= bound,
    "maxProperties": lambda value, bound: not isinstance(value, dict) or len(value) <= bound,
}
_PARTS = frozenset(
    {"type", "enum", "const", "properties", "required", "additionalProperties", "items", "pattern", "anyOf", "oneOf", "allOf", "not", "$ref"}
)  # fmt: skip
Where = str


def _number(value: Json) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float)


class Schema:
    """One schema, checked when it is made."""

    def __init__(self, data: bytes) -> None:
        """`ValueError` says what is wrong with it."""
        try:
            self._root: Json = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            msg = f"it is no JSON ({error})"
            raise ValueError(msg) from None
        self._patterns: dict[str, Pattern] = {}
        self._left = 0
        self._check(self._root, "#", 0)
        definitions = self._root.get("$defs", {}) if isinstance(self._root, dict) else {}
        for name, one in definitions.items() if isinstance(definitions, dict) else ():
            self._check(one, f"#/$defs/{name}", 0)

    def problem(self, text: str) -> str:
        """Why this answer does not fit; empty where it does. Never a word of the answer but names of its members."""
        try:
            value: Json = msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "it is no JSON"
        self._left = EFFORT
        return self._against(self._root, value, "", 0)

    # ── the schema ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _check(self, schema: Json, where: Where, depth: int) -> None:
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict) or depth > DEPTH:
            msg = f"{where} is no schema" if depth <= DEPTH else f"{where} is nested too deeply"
            raise ValueError(msg)
        for name, value in schema.items():
            if name not in _PARTS and name not in _NOTES and name not in _BOUNDS:
                msg = f"{where} uses {name!r}, which is not checked here"
                raise ValueError(msg)
            self._check_part(name, value, f"{where}/{name}", depth)

    def _check_part(self, name: str, value: Json, where: Where, depth: int) -> None:
        below: list[tuple[str, Json]] = []
        if name == "properties":
            if not isinstance(value, dict):
                raise ValueError(f"{where} is no object")
            below = [(f"{where}/{one}", part) for one, part in value.items()]
        elif name in {"anyOf", "oneOf", "allOf"}:
            if not isinstance(value, list) or not value:
                raise ValueError(f"{where} is no list of schemas")
            below = [(f"{where}/{place}", part) for place, part in enumerate(value)]
        elif name in {"items", "additionalProperties", "not"}:
            below = [(where, value)]
        elif not self._fits(name, value):
            raise ValueError(f"{where} has a value that it cannot have")
        for place, part in below:
            self._check(part, place, depth + 1)

    def _fits(self, name: str, value: Json) -> bool:
        if name == "type":
            return all(one in _TYPES for one in (value if isinstance(value, list) else [value]))
        if name == "required":
            return isinstance(value, list) and all(isinstance(one, str) for one in value)
        if name == "enum":
            return isinstance(value, list)
        if name in _BOUNDS:
            return _number(value)
        if name == "pattern":
            self._patterns[str(value)] = Pattern(str(value))
        return name != "$ref" or self._target(value) is not None

    def _target(self, ref: Json) -> Json:
        if ref == "#":
            return self._root
        parts = str(ref).split("/")
        definitions = self._root.get("$defs") if isinstance(self._root, dict) else None
        if len(parts) == 3 and parts[:2] == ["#", "$defs"] and isinstance(definitions, dict):
            return definitions.get(parts[2])
        return None

    # ── a value ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _against(self, schema: Json, value: Json, where: Where, depth: int) -> str:
        self._left -= 1
        if self._left < 0:
            return "checking it takes too long"
        if schema is True:
            return ""
        if not isinstance(schema, dict) or depth > DEPTH:
            return f"{where or 'it'} is not allowed" if depth <= DEPTH else "it is nested too deeply"
        return (
            self._plain(schema, value, where)
            or self._inside(schema, value, where, depth)
            or self._joined(schema, value, where, depth)
        )

    def _plain(self, schema: Object, value: Json, where: Where) -> str:
        here = where or "it"
        kinds = schema.get("type")
        if kinds is not None and not any(
            _TYPES[str(one)](value) for one in (kinds if isinstance(kinds, list) else [kinds])
        ):
            return f"{here} is not of type {kinds}"
        choices = schema.get("enum")
        if isinstance(choices, list) and not any(_same(value, one) for one in choices):
            return f"{here} is none of the values that it may be"
        if "const" in schema and not _same(value, schema["const"]):
            return f"{here} is not the value that it must be"
        for name, holds in _BOUNDS.items():
            bound = schema.get(name)
            if isinstance(bound, int | float) and not holds(value, bound):
                return f"{here} goes against {name}"
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and isinstance(value, str) and self._patterns[pattern].search(value, 0) is None:
            return f"{here} does not match its pattern"
        return ""

    def _inside(self, schema: Object, value: Json, where: Where, depth: int) -> str:
        found = ""
        if isinstance(value, list) and "items" in schema:
            for place, one in enumerate(value):
                found = found or self._against(schema["items"], one, f"{where}[{place}]", depth + 1)
        if not isinstance(value, dict):
            return found
        required, parts = schema.get("required"), schema.get("properties")
        for name in required if isinstance(required, list) else ():
            if name not in value:
                return f"{where or 'it'} lacks {str(name)!r}"
        own = parts if isinstance(parts, dict) else {}
        for name, one in value.items():
            below = own[name] if name in own else schema.get("additionalProperties", True)
            told = f"{where}.{name}"[:100] if name in own else f"a member of {where or 'it'} that is not named"
            found = found or self._against(below, one, told, depth + 1)
        return found

    def _joined(self, schema: Object, value: Json, where: Where, depth: int) -> str:
        if "$ref" in schema:
            found = self._against(self._target(schema["$ref"]), value, where, depth + 1)
            if found:
                return found
        for name in ("allOf", "anyOf", "oneOf"):
            parts = schema.get(name)
            if isinstance(parts, list):
                fits = sum(not self._against(part, value, where, depth + 1) for part in parts)
                if not (fits == len(parts) if name == "allOf" else fits == 1 if name == "oneOf" else fits):
                    return f"{where or 'it'} goes against {name}"
        if "not" in schema and not self._against(schema["not"], value, where, depth + 1):
            return f"{where or 'it'} goes against not"
        return ""


def _same(one: Json, other: Json) -> bool:
    """1 and 1.0 are one number, and true is none."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


class Held:
    """A text held until it is whole, and checked: a step whose end gives all of it or refuses."""

    __slots__ = ("_parts", "_schema", "_size", "_verdicts")

    def __init__(self, schema: Schema, verdicts: Verdicts) -> None:
        self._schema = schema
        self._verdicts = verdicts
        self._parts: list[str] = []
        self._size = 0

    def feed(self, text: str) -> str:
        """Nothing yet."""
        self._size += len(text)
        if self._size > LARGEST:
            raise stopped(STEP, "output", self._verdicts, f"it has more than {LARGEST} characters")
        self._parts.append(text)
        return ""

    def end(self) -> str:
        """All of it."""
        text, self._parts, self._size = "".join(self._parts), [], 0
        problem = self._schema.problem(text)
        if problem:
            raise stopped(STEP, "output", self._verdicts, problem)
        self._verdicts.note(STEP, "fits")
        return text
