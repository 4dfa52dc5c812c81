# SPDX-License-Identifier: Apache-2.0
"""Identifiers: one grammar, the city inside (requirement 46).

    city        hoshino                         DNS-like label
    node        hoshino/clinic                  city "/" label
    record      urn:machikura:hoshino:clinic:0197…  URN that carries both
    type        health.checkup                  dotted lower-case words

Identifiers are `str` subclasses that can only exist in valid form. The My Number
(個人番号) is never an identifier; `looks_like_my_number` finds it.
"""

from __future__ import annotations

import re
import uuid
from functools import lru_cache
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from protocol.errors import Malformed

_LABEL = r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class Identifier(str):
    """A string that matches its class's grammar; anything else is `Malformed`."""

    __slots__ = ()
    grammar: ClassVar[re.Pattern[str]]

    def __new__(cls, value: str) -> Self:
        """Check the grammar and return the identifier."""
        if not cls.grammar.fullmatch(value):
            raise Malformed(f"not a valid {cls.__name__}")
        return super().__new__(cls, value)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Let frozen models hold the identifier and JSON Schema show its pattern."""
        return core_schema.no_info_after_validator_function(
            cls._validated,
            core_schema.str_schema(pattern=f"^(?:{cls.grammar.pattern})$"),
            serialization=core_schema.to_string_ser_schema(),
        )

    @classmethod
    def _validated(cls, value: str) -> Self:
        return str.__new__(cls, value)


class CityId(Identifier):
    """A city's label, such as `hoshino`."""

    __slots__ = ()
    grammar = re.compile(_LABEL)


class NodeId(Identifier):
    """A node of a city, such as `hoshino/clinic`."""

    __slots__ = ()
    grammar = re.compile(f"{_LABEL}/{_LABEL}")

    @property
    def city(self) -> CityId:
        """The city that admitted the node."""
        return _city_of(self)

    @property
    def label(self) -> str:
        """The node's own name within its city."""
        return self.partition("/")[2]


@lru_cache(maxsize=4096)
def _city_of(node: str) -> CityId:
    # Brokers ask for it a dozen times per exchange, of few nodes.
    return CityId._validated(node.partition("/")[0])


class DatasetTypeName(Identifier):
    """A dataset type, such as `health.checkup`."""

    __slots__ = ()
    grammar = re.compile(r"[a-z][a-z0-9-]{0,30}(?:\.[a-z0-9][a-z0-9-]{0,40}){1,3}")


class PurposeName(Identifier):
    """A purpose of use, such as `treatment`."""

    __slots__ = ()
    grammar = re.compile(r"[a-z][a-z0-9-]{0,60}")


class ExchangeId(Identifier):
    """The id of one exchange: a UUID of version 7 (RFC 9562) in canonical form."""

    __slots__ = ()
    grammar = re.compile(_UUID)


class AttachmentId(Identifier):
    """An attachment of a record: a UUID in canonical form."""

    __slots__ = ()
    grammar = re.compile(_UUID)


class RecordId(Identifier):
    """A record anywhere: URN with city and node, or a pairwise one that hides the node.

    `urn:machikura:hoshino:clinic:<uuid>` names the holder;
    `urn:machikura:hoshino::<uuid>` stands in hidden reads (requirement 7).
    """

    __slots__ = ()
    grammar = re.compile(f"urn:machikura:{_LABEL}:(?:{_LABEL})?:{_UUID}")

    @classmethod
    def of(cls, node: NodeId, serial: uuid.UUID) -> Self:
        """Name the record that `node` holds under `serial`."""
        return cls(f"urn:machikura:{node.city}:{node.label}:{serial}")

    @property
    def city(self) -> CityId:
        """The city of the holder."""
        return CityId._validated(self.split(":")[2])

    @property
    def node(self) -> NodeId | None:
        """The holder, or None for a pairwise id of a hidden read."""
        label = self.split(":")[3]
        return NodeId._validated(f"{self.city}/{label}") if label else None


def uuid7(now_ms: int, random: bytes) -> uuid.UUID:
    """Build a time-ordered UUID (RFC 9562, section 5.7).

    Args:
        now_ms: milliseconds since 1970, UTC.
        random: 10 random bytes.
    """
    value = (now_ms & (1 << 48) - 1) << 80 | int.from_bytes(random[:10], "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return uuid.UUID(int=value)


_MUNICIPAL_WEIGHTS = (6, 5, 4, 3, 2)


class MunicipalCode(Identifier):
    """全国地方公共団体コード: six digits of which the last is a check digit."""

    __slots__ = ()
    grammar = re.compile(r"[0-9]{6}")

    def __new__(cls, value: str) -> Self:
        """Check the grammar and the check digit."""
        code = super().__new__(cls, value)
        if code[5] != municipal_check_digit(code[:5]):
            raise Malformed("the municipal code's check digit is wrong")
        return code

    @classmethod
    def _validated(cls, value: str) -> Self:
        if value[5] != municipal_check_digit(value[:5]):
            raise ValueError("the municipal code's check digit is wrong")
        return str.__new__(cls, value)


def municipal_check_digit(five: str) -> str:
    """Return the sixth digit for the first five digits of a municipal code."""
    weighted = sum(int(d) * w for d, w in zip(five, _MUNICIPAL_WEIGHTS, strict=True))
    return str((11 - weighted % 11) % 10)


def looks_like_my_number(text: str) -> bool:
    """Tell whether `text` is a 12-digit string with a 個人番号's check digit.

    One random 12-digit string in eleven passes, so callers refuse only where the
    context (a key field, a column name) says that an identifier is expected.
    """
    digits = text.replace("-", "").replace(" ", "")
    if len(digits) != 12 or not digits.isascii() or not digits.isdigit():
        return False
    rest = 0
    for position, digit in enumerate(reversed(digits[:11]), start=1):
        weight = position + 1 if position <= 6 else position - 5
        rest += int(digit) * weight
    rest %= 11
    return int(digits[11]) == (0 if rest <= 1 else 11 - rest)
