# SPDX-License-Identifier: Apache-2.0
"""Base models of everything that crosses a border.

`Document` is for payloads that somebody else signed: unknown members are ignored, since
the signed bytes are kept as they came. `Request` is for input to our own interfaces:
unknown members are refused, since they are mistakes. Both are frozen and strict: the
number 0 is never `false`, the text "1" is never a number.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from protocol.canonical import canonical, canonical_of_closed, parse_canonical
from protocol.errors import (
    Expired,
    Malformed,
    NotYetValid,
    TooLarge,
    UnsupportedVersion,
)

Seconds: TypeAlias = Annotated[int, Field(ge=0, le=2**40)]
"""Whole seconds since 1970, UTC (NumericDate of RFC 7519)."""

Millis: TypeAlias = Annotated[int, Field(ge=0, le=2**50)]
"""Milliseconds since 1970, UTC."""

Digest: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
"""SHA-256 as unpadded base64url."""

ShortText: TypeAlias = Annotated[str, Field(max_length=512)]


class Request(BaseModel):
    """Input to our own interfaces: closed, frozen, strict."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Document(BaseModel):
    """Payload of a signed document: open to unknown members, frozen, strict."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    _is_open: ClassVar[bool | None] = None

    def encode(self) -> bytes:
        """Return the canonical bytes, without members that are None."""
        # As model_dump and model_validate_json do it, without their frames: these two
        # are called a score of times for one exchange.
        dump = self.__pydantic_serializer__.to_python
        members = dump(self, mode="json", exclude_none=True)
        is_open = self._is_open
        if is_open is None:
            is_open = self._judge()
        return canonical(members) if is_open else canonical_of_closed(members)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        """Judge each type by itself: a child may be open where its parent is not."""
        cls._is_open = None

    @classmethod
    def _judge(cls) -> bool:
        """Find out once whether values outside the canonical profile fit this type."""
        cls._is_open = _may_hold_anything(cls.__pydantic_core_schema__)
        return cls._is_open

    @classmethod
    def decode(cls, data: bytes, max_bytes: int = 1 << 20) -> Self:
        """Read canonical bytes.

        Raises:
            UnsupportedVersion: it names a version, or a kind of query, that came
                later than this code. Whatever else is odd in it then is no fault.
            Malformed: not canonical, or a member missing, of wrong type or range.
        """
        if len(data) > max_bytes:
            raise TooLarge(f"document of {len(data)} bytes, limit {max_bytes}")
        try:
            decoded: Self = cls.__pydantic_validator__.validate_json(data)
        except ValidationError as error:
            parse_canonical(data, max_bytes)
            raise _refused(cls.__name__, error) from error
        # What we would write ourselves is canonical. All else is looked at closely:
        # members that we do not know, and types that anything fits.
        if decoded._is_open or decoded.encode() != data:
            parse_canonical(data, max_bytes)
        return decoded


def _may_hold_anything(schema: object) -> bool:
    """Tell whether a type leaves room for floats, odd member names or any value.

    Args:
        schema: pydantic's core schema of the type, or a part of it.
    """
    if isinstance(schema, list | tuple):
        return any(_may_hold_anything(part) for part in schema)
    if not isinstance(schema, dict):
        return False
    kind = schema.get("type")
    if kind in _OPEN_KINDS:
        return True
    if kind == "dict" and schema["keys_schema"].get("pattern") != _MEMBER:
        return True
    return any(_may_hold_anything(part) for part in schema.values())


_OPEN_KINDS = frozenset({"any", "float", "json", "is-instance", "custom-error"})
_MEMBER = "^[ -~]*$"

MemberName: TypeAlias = Annotated[str, Field(pattern=_MEMBER, max_length=512)]
"""Name of a member where peers choose it: ASCII, as the canonical form asks."""

_AGES = {
    "less_than_equal": "v",
    "literal_error": "schema_version",
    "union_tag_invalid": "query",
}
"""How an unknown one fails of the members that say of which age a document is."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


def _newer(error: ErrorDetails) -> bool:
    """Tell whether a member names what may have come later than this code."""
    tag = str(error.get("ctx", {}).get("tag", "name"))
    named = error["loc"][-1:] == (_AGES.get(error["type"]),)
    return named and _NAME.fullmatch(tag) is not None


def _refused(name: str, error: ValidationError) -> Malformed | UnsupportedVersion:
    """Return what is wrong with a document; an unknown version comes first."""
    errors = error.errors(include_url=False, include_input=False)
    first = next((e for e in errors if _newer(e)), errors[0])
    kind = UnsupportedVersion if _newer(first) else Malformed
    place = ".".join(str(part) for part in first["loc"])
    # Both can hold the peer's own words, of any length.
    return kind(f"{name}: {place[:96]}: {first['msg'][:160]}")


class Claims(Document):
    """What every signature covers: issuer, audience, id, issue time, expiry."""

    iss: ShortText
    aud: ShortText
    jti: ShortText
    iat: Seconds
    exp: Seconds

    def check_times(self, now: int, skew_s: int) -> None:
        """Refuse the document outside its time.

        Args:
            now: seconds since 1970.
            skew_s: how far two clocks may differ.

        Raises:
            Expired, NotYetValid: as named.
        """
        if self.exp <= now:
            raise Expired(f"{type(self).__name__} ended {now - self.exp} s ago")
        if self.iat > now + skew_s:
            raise NotYetValid(f"{type(self).__name__} is from {self.iat - now} s ahead")


ANYONE = "machikura"
"""Audience of documents that any party may rely on."""
