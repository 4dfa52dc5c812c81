# SPDX-License-Identifier: Apache-2.0
"""JSON as reproducible bytes: RFC 8785 on a profile that is cheap and unambiguous.

Profile: no floats, integers below 2**53, ASCII member names. On it, orjson's sorted
output equals RFC 8785 byte for byte (the tests compare with another implementation).
Signed documents arrive as bytes and MUST equal their own canonical form, so a
duplicate member, white space, NaN, an odd escape or a second spelling of a number is
refused before anything is looked at. `parse_json` is for JSON from people's own
systems: any valid JSON, but strictly (no duplicates, no NaN, bounded depth and size).
"""

from __future__ import annotations

import binascii
import json
import math
from typing import Any, TypeAlias

import orjson
from pydantic_core import SchemaValidator, ValidationError, core_schema

from protocol.errors import Malformed, TooLarge

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

MAX_DEPTH = 32
MAX_SAFE_INTEGER = 2**53 - 1


def canonical(value: object) -> bytes:
    """Encode `value` (str keys; str, int, bool, None, list, dict) canonically.

    Raises:
        Malformed: the value is outside the profile.
    """
    try:
        encoded = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError) as error:
        raise Malformed("not encodable as canonical JSON") from error
    _check_profile(value, MAX_DEPTH)
    return encoded


def canonical_of_closed(value: object) -> bytes:
    """Encode a value whose type leaves room for nothing outside the profile.

    Only for who knows that there are no floats and no member names but ASCII ones in
    it (`protocol.model`); the encoder itself refuses integers beyond 2**53.

    Raises:
        Malformed: an integer is too large, or text has lone surrogates.
    """
    try:
        return orjson.dumps(value, option=_SORTED_53_BITS)
    except (TypeError, ValueError) as error:
        raise Malformed("not encodable as canonical JSON") from error


_SORTED_53_BITS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


def parse_canonical(data: bytes, max_bytes: int = 1 << 20) -> dict[str, Any]:
    """Parse an object that must be in canonical form.

    Raises:
        TooLarge: more than `max_bytes`.
        Malformed: not JSON, not an object, not canonical, or outside the profile.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"document of {len(data)} bytes, limit {max_bytes}")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Malformed("not valid JSON") from error
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    _check_profile(value, MAX_DEPTH)
    if orjson.dumps(value, option=orjson.OPT_SORT_KEYS) != data:
        raise Malformed("JSON is not in canonical form (RFC 8785)")
    return value


def _check_profile(value: object, depth: int) -> None:
    kind = type(value)
    if kind is dict:
        if depth == 0:
            raise Malformed("JSON is nested too deeply")
        for key, member in value.items():  # type: ignore[attr-defined]  # narrowed by type()
            if not key.isascii():
                raise Malformed("member names must be ASCII")
            kind = type(member)
            # Text, nothing and small numbers need no call of their own.
            if kind is int:
                if not -MAX_SAFE_INTEGER <= member <= MAX_SAFE_INTEGER:
                    raise Malformed("integer beyond 2**53")
            elif kind is not str and member is not None:
                _check_profile(member, depth - 1)
    elif kind is list or kind is tuple:
        if depth == 0:
            raise Malformed("JSON is nested too deeply")
        for member in value:  # type: ignore[attr-defined]  # narrowed by type()
            if type(member) is not str:
                _check_profile(member, depth - 1)
    elif kind is float:
        raise Malformed("floats are not allowed in signed documents")
    elif kind is int and not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:  # type: ignore[operator]  # narrowed by type()
        raise Malformed("integer beyond 2**53")
    elif value is not None and not isinstance(value, (str, int)):
        # orjson would also encode dates, UUIDs and data classes, in its own spelling.
        raise Malformed("only JSON values have a canonical form")


def parse_json(
    data: bytes, *, max_bytes: int = 1 << 20, max_depth: int = MAX_DEPTH
) -> Json:
    """Parse any JSON text strictly (RFC 8259, I-JSON's duplicate rule).

    Raises:
        TooLarge: more bytes or levels than allowed.
        Malformed: invalid JSON or UTF-8, duplicate members, NaN, infinite numbers,
            lone surrogates.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"JSON of {len(data)} bytes, limit {max_bytes}")
    _check_depth(data, max_depth)
    try:
        value: Json = _DECODER.decode(data.decode("utf-8"))
        # Lone surrogates survive json.loads and cannot be encoded again.
        orjson.dumps(value)
    except Malformed:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise Malformed("not valid JSON") from error
    return value


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("JSON object with a duplicate member")
    return members


def _refuse_constant(name: str) -> Json:
    raise Malformed("NaN and Infinity are not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        # 1e400: encoded again it would be `null`.
        raise Malformed("number beyond the range of a double")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite
)


def _check_depth(data: bytes, max_depth: int) -> None:
    """Bound the nesting before a recursive parser sees the text."""
    depth = 0
    inside = escaped = False
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    for byte in data:
        if inside:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                inside = False
        elif byte == 0x22:
            inside = True
        elif byte in b"[{":
            depth += 1
            if depth > max_depth:
                raise TooLarge(f"JSON nested deeper than {max_depth} levels")
        elif byte in b"]}":
            depth -= 1


# pydantic's decoder is four times as fast as the standard library's: 1.5 against 6.4 µs
# for a routing header, which every party decodes. It refuses stray bits by itself.
_BASE64 = SchemaValidator(
    core_schema.bytes_schema(strict=True),
    core_schema.CoreConfig(val_json_bytes="base64"),
)


def b64url(data: bytes) -> str:
    """Encode as unpadded base64url (RFC 4648, section 5)."""
    encoded = binascii.b2a_base64(data, newline=False).rstrip(b"=")
    return encoded.replace(b"+", b"-").replace(b"/", b"_").decode("ascii")


def unb64url(text: str | bytes, *, length: int | None = None) -> bytes:
    """Decode unpadded base64url; every other spelling of the same bytes is refused.

    Raises:
        Malformed: padding, foreign characters, stray bits, or not `length` bytes.
    """
    raw = text.encode("ascii", "replace") if isinstance(text, str) else text
    # The decoder would take plain base64 and padding too, and escapes, since it reads
    # a JSON string; a quotation mark ends that string too early and fails there.
    if b"+" in raw or b"/" in raw or b"=" in raw or b"\\" in raw:
        raise Malformed("not base64url")
    try:
        data: bytes = _BASE64.validate_json(b'"' + raw + b'"')
    except ValidationError as error:
        raise Malformed("not base64url") from error
    if length is not None and len(data) != length:
        raise Malformed(f"expected {length} bytes, got {len(data)}")
    return data
