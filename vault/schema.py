# SPDX-License-Identifier: Apache-2.0
"""A record is checked against its dataset type's JSON Schema (2020-12).

Messages of validators quote the value, and with it personal data, so the sentences here
are our own. A schema comes from a catalog that others may have written: it may not
fetch anything, and its patterns run in linear time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jsonschema_rs
import orjson

from protocol.errors import Misuse

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_MAX_SCHEMA_BYTES: Final = 256 << 10
_MAX_DEPTH: Final = 64


class SchemaRefused(Misuse):
    """A schema that is not one, or that would reach outside itself."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field, without its value.

    Attributes:
        field: the top-level property, or None if the schema does not know the name.
        code: stable slug, a key of `TEXTS`.
    """

    field: str | None
    code: str
    detail_en: str
    detail_ja: str


TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "required": ("The field is missing.", "必須の項目がありません。"),
    "wrong-type": ("The value has another type.", "値の型が違います。"),
    "unknown-field": ("The type has no such field.", "この種別にない項目です。"),
    "not-listed": (
        "The value is none of those listed.",
        "一覧にない値です。",
    ),
    "wrong-format": (
        "The value is not written as it must be.",
        "値の書式が違います。",
    ),
    "out-of-range": ("The number is out of range.", "数値が範囲外です。"),
    "wrong-length": (
        "The text or list is too short or too long.",
        "文字数または要素数が範囲外です。",
    ),
    "incomplete": (
        "Fields that belong together are missing.",
        "組で必要な項目が足りません。",
    ),
    "not-json": ("The record is not JSON.", "JSONとして表せない値です。"),
    "invalid": ("The value breaks the type's rules.", "種別の規則に合いません。"),
}
"""Code → English, Japanese."""

_CODES: Final[Mapping[str, str]] = {
    "required": "required",
    "dependentRequired": "required",
    "type": "wrong-type",
    "additionalProperties": "unknown-field",
    "unevaluatedProperties": "unknown-field",
    "propertyNames": "unknown-field",
    "enum": "not-listed",
    "const": "not-listed",
    "format": "wrong-format",
    "pattern": "wrong-format",
    "minimum": "out-of-range",
    "maximum": "out-of-range",
    "exclusiveMinimum": "out-of-range",
    "exclusiveMaximum": "out-of-range",
    "multipleOf": "out-of-range",
    "minLength": "wrong-length",
    "maxLength": "wrong-length",
    "minItems": "wrong-length",
    "maxItems": "wrong-length",
    "minProperties": "wrong-length",
    "maxProperties": "wrong-length",
    "anyOf": "incomplete",
    "oneOf": "incomplete",
}


class Validator:
    """A compiled schema; make it with `compile_schema`. Safe to share."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._properties = frozenset(schema.get("properties", ()))
        self._compiled = jsonschema_rs.Draft202012Validator(
            dict(schema),
            validate_formats=True,
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(),
        )

    def problems(self, content: Mapping[str, Any]) -> list[FieldProblem]:
        """Return what is wrong with a record, sorted by field; empty if nothing is.

        A field that is wrong in several ways is named once for each.
        """
        try:
            # What cannot be encoded, such as NaN or half a character, is not JSON,
            # and the compiled validator does not look at it with the same eyes.
            if orjson.loads(orjson.dumps(content)) != content:
                return [_problem(None, "not-json")]
            if self._compiled.is_valid(content):
                return []
            errors = list(self._compiled.iter_errors(content))
        except (TypeError, ValueError, OverflowError, RecursionError):
            return [_problem(None, "not-json")]
        found = {p for error in errors for p in self._of(error)}
        return sorted(found, key=lambda p: (p.field or "", p.code))

    def _of(self, error: jsonschema_rs.ValidationError) -> list[FieldProblem]:
        """Name the fields that an error is about, without its message."""
        code = _CODES.get(error.kind.name, "invalid")
        path = error.instance_path
        if path:
            return [_problem(self._known(path[0]), code)]
        if code == "required":
            return [_problem(self._known(error.kind.value), code)]
        return [_problem(None, code)]

    def _known(self, name: object) -> str | None:
        """Return the name if the schema has it: any other comes from the record."""
        return name if isinstance(name, str) and name in self._properties else None


def _problem(field: str | None, code: str) -> FieldProblem:
    return FieldProblem(field, code, *TEXTS[code])


def compile_schema(schema: Mapping[str, Any]) -> Validator:
    """Compile the schema of a dataset type.

    Raises:
        SchemaRefused: too large or deep, another dialect, a reference that leaves the
            schema, or no valid schema.
    """
    try:
        encoded = orjson.dumps(schema)
    except (TypeError, ValueError) as error:
        raise SchemaRefused("the schema is not JSON") from error
    if len(encoded) > _MAX_SCHEMA_BYTES:
        raise SchemaRefused(f"the schema is larger than {_MAX_SCHEMA_BYTES} bytes")
    _check_references(schema, _MAX_DEPTH)
    try:
        return Validator(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        raise SchemaRefused("the schema is not valid") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise SchemaRefused("the schema cannot be compiled") from error


def _check_references(node: object, depth: int) -> None:
    """Refuse what would make the meaning depend on something outside."""
    if depth == 0:
        raise SchemaRefused("the schema is nested too deeply")
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name in _REFERENCES and not str(value).startswith("#"):
                raise SchemaRefused("the schema refers to something outside itself")
            if name == "$schema" and value != _DIALECT:
                raise SchemaRefused("the schema is of another dialect than 2020-12")
            if name in ("$id", "$vocabulary") and isinstance(value, str | Mapping):
                raise SchemaRefused(f"the schema may not have {name}")
            _check_references(value, depth - 1)
    elif isinstance(node, list | tuple):
        for value in node:
            _check_references(value, depth - 1)
