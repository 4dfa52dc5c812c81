# SPDX-License-Identifier: Apache-2.0
"""What the content of a record must be before it is stored. Pure.

In this order: size, strict JSON, no forbidden or unprintable text, the dataset type's
schema, no My Number (個人番号) where an identifier is expected, a readable time. All
faults are collected, and none repeats a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from protocol.canonical import Json, parse_json
from protocol.dataset import DatasetType
from protocol.errors import Malformed
from protocol.problem import describe
from vault.errors import Fault, RecordTooLarge, Rejected
from vault.formats.problems import texts
from vault.formats.screen import content_problem, is_my_number
from vault.moments import seconds_of
from vault.schema import Validator

_RULES_OF_A_PART = frozenset({"type", "properties", "additionalProperties", "$defs"})


@dataclass(frozen=True, slots=True)
class Checked:
    """Content that passed.

    Attributes:
        dataset: its type.
        text: JSON text; as it came in, where it came as text.
        content: the same, parsed.
        time: the record's time as written, None where the type has none.
        time_s: the same in seconds, None where the type has none.
    """

    dataset: DatasetType
    text: bytes = field(repr=False)
    content: dict[str, Json] = field(repr=False)
    time: str | None
    time_s: int | None


def check(
    dataset: DatasetType,
    validator: Validator,
    given: bytes | Mapping[str, Json],
    max_bytes: int,
) -> Checked:
    """Check one record.

    Args:
        dataset: its type.
        validator: the type's compiled schema.
        given: JSON text, or what it means.
        max_bytes: most bytes of JSON text.

    Raises:
        Rejected: with every fault.
        RecordTooLarge: more than `max_bytes`.
    """
    text, content = _parsed(given, max_bytes)
    faults = []
    if wrong := content_problem(content):
        # A member's name is repeated only if the dataset type knows it.
        known = wrong[1] if wrong[1] in dataset.fields else None
        faults.append(fault(wrong[0], known))
    faults += [
        Fault(p.code, p.field, p.detail_en, p.detail_ja)
        for p in validator.problems(content)
    ]
    faults += [
        fault("my-number-refused", name)
        for name in dataset.searchable
        if is_my_number(content.get(name))
    ]
    time, time_s = None, None
    if dataset.time_field is not None:
        time, time_s = _time(content.get(dataset.time_field))
        if time is not None and time_s is None:
            faults.append(fault("time-invalid", dataset.time_field))
    if faults:
        raise Rejected(tuple(faults))
    return Checked(dataset, text, content, time, time_s)


def fault(code: str, field: str | None = None) -> Fault:
    """Return a fault with the sentences that belong to its code."""
    if code in texts():
        _, english, japanese = texts()[code]
        return Fault(code, field, english, japanese)
    entry = describe(code)
    return Fault(code, field, entry.title_en, entry.title_ja)


def partial_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema for a part of a record: fields may be missing, none is foreign.

    What another organization pushes has been cut to what consent and purpose allow, so
    rules over the whole record (`required`, `if`, `allOf` and so on) cannot be asked.
    """
    return {k: v for k, v in schema.items() if k in _RULES_OF_A_PART}


def same_content(one: bytes, other: bytes) -> bool:
    """Tell whether two JSON texts mean the same; 1 and 1.0 and true all differ."""
    if one == other:
        return True
    sort = orjson.OPT_SORT_KEYS
    return orjson.dumps(orjson.loads(one), option=sort) == orjson.dumps(
        orjson.loads(other), option=sort
    )


def _parsed(
    given: bytes | Mapping[str, Json], max_bytes: int
) -> tuple[bytes, dict[str, Json]]:
    if isinstance(given, bytes):
        if len(given) > max_bytes:
            raise RecordTooLarge(f"record of {len(given)} bytes, limit {max_bytes}")
        try:
            value = parse_json(given, max_bytes=max_bytes)
        except Malformed as error:
            raise Rejected((fault("line-not-json"),)) from error
        if not isinstance(value, dict):
            raise Rejected((fault("not-an-object"),))
        return given, value
    try:
        text = orjson.dumps(given, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError) as error:
        raise Rejected((fault("line-not-json"),)) from error
    if len(text) > max_bytes:
        raise RecordTooLarge(f"record of {len(text)} bytes, limit {max_bytes}")
    return text, dict(given)


def _time(value: Json) -> tuple[str | None, int | None]:
    if value is None:
        return None, None
    if not isinstance(value, str):
        return str(value), None
    try:
        return value, seconds_of(value)
    except (ValueError, OverflowError):
        return value, None
