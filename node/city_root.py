# SPDX-License-Identifier: Apache-2.0
"""The city's public root key as a file, and the city card that a city hands out.

A *city card* says what a new member or a neighbor city must know before anything can be
verified: the city's id and root key, and where its brokers listen. It holds nothing
secret; its fingerprint is compared by telephone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from protocol.canonical import parse_json
from protocol.errors import Malformed, Misuse
from protocol.ids import CityId, MunicipalCode
from protocol.membership import OPERATING, OperatingCertificate
from protocol.model import Request, ShortText
from protocol.signature import Received, SingleKey
from protocol.suites import VerifyingKey

_MAX_BYTES = 64 * 1024


class CityCard(Request):
    """What others must know of a city.

    Attributes:
        brokers: where its brokers listen, `NODE@wss://host:port/link`.
        successions: how often its root key was followed by another one.
    """

    city: CityId
    code: MunicipalCode | None = None
    title: dict[str, ShortText] = Field(default_factory=dict)
    root: dict[str, str]
    operating: str = ""
    brokers: Annotated[tuple[ShortText, ...], Field(max_length=16)] = ()
    contact: ShortText = ""
    successions: Annotated[int, Field(ge=0)] = 0

    def root_key(self) -> VerifyingKey:
        """Return the city's root key."""
        return VerifyingKey.from_jwk(self.root)

    def operating_ends(self) -> int | None:
        """Return the end of the operating certificate, seconds since 1970.

        None where the card has none.

        Raises:
            ProtocolViolation: it is not by the city's root.
        """
        certificate = self.operating_certificate()
        return None if certificate is None else certificate.exp

    def operating_certificate(self) -> OperatingCertificate | None:
        """Return what the operating certificate says; None where the card has none.

        Raises:
            ProtocolViolation: it is not by the city's root.
        """
        if not self.operating:
            return None
        received = Received.parse(self.operating, OPERATING)
        owner = SingleKey(self.city, self.root_key())
        return received.verify(OperatingCertificate, owner).body

    def write(self, path: Path) -> None:
        """Write the card."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> CityCard:
        """Read a card and check its key.

        Raises:
            Misuse: the file is missing or is no city card.
        """
        try:
            data = path.read_bytes()
            parse_json(data, max_bytes=_MAX_BYTES)
            card = cls.model_validate_json(data)
            card.root_key()
        except (OSError, Malformed, ValidationError) as error:
            raise Misuse(f"{path.name} is no city card") from error
        return card


def write_root(path: Path, root: VerifyingKey) -> None:
    """Write a city's public root key (JWK)."""
    path.write_text(json.dumps(root.jwk) + "\n", encoding="utf-8")


def read_root(path: Path) -> VerifyingKey:
    """Read a city's public root key.

    Raises:
        Misuse: the file is missing or is no key.
    """
    try:
        jwk = parse_json(path.read_bytes(), max_bytes=_MAX_BYTES)
    except (OSError, Malformed) as error:
        raise Misuse(
            f"{path.name}: the city's root key is missing; take it from the city card"
        ) from error
    if not isinstance(jwk, dict):
        raise Misuse(f"{path.name} is no key")
    return VerifyingKey.from_jwk(dict(jwk))
