# SPDX-License-Identifier: Apache-2.0
"""A small world of cities for the protocol's tests: fixed keys, valid documents.

Every key comes from a seed made of its name, so a run is like the one before. Each
function returns a *valid* document; a test changes the one thing that it is about.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from protocol.agreement import AgreementBody, Party, Terms
from protocol.canonical import b64url, canonical
from protocol.consent import (
    Consent,
    Evidence,
    Notice,
    Operation,
    Scope,
    State,
    StatusReference,
    Ticket,
)
from protocol.dataset import DatasetType
from protocol.envelope import Address, Envelope, Kind, RoutingHeader
from protocol.hop import HopRecord, append, last_digest
from protocol.ids import (
    CityId,
    DatasetTypeName,
    ExchangeId,
    NodeId,
    PurposeName,
    RecordId,
)
from protocol.membership import (
    MEMBER_KEY,
    MEMBERSHIP,
    OPERATING,
    DataClass,
    MemberKey,
    Membership,
    OperatingCertificate,
    Qualification,
    Role,
)
from protocol.model import ANYONE, Claims
from protocol.pseudonym import handle
from protocol.request import Body, Credentials, Ping, Query
from protocol.route import ROUTE, Announcement, CityKeys
from protocol.sealed import OpeningKey
from protocol.signature import Owner, Received, sign, sign_bytes
from protocol.status import Status, StatusList, pack
from protocol.suites import Signer, SigningKey, Suite, VerifyingKey

NOW = 1_900_000_000
NOW_MS = NOW * 1000
SKEW = 5
EXCHANGE = ExchangeId("0197aaaa-bbbb-7ccc-8ddd-eeeeffff0001")


def seed(name: str, size: int) -> bytes:
    """Return `size` fixed bytes that look random."""
    return hashlib.shake_256(f"machikura test {name}".encode()).digest(size)


@cache
def signing(name: str, suite: Suite = Suite.HYBRID) -> SigningKey:
    """Return the signing key of that name."""
    return SigningKey(suite, seed(f"sign {name}", 48))


@cache
def opening(name: str, suite: Suite = Suite.HYBRID) -> OpeningKey:
    """Return the opening key of that name."""
    return OpeningKey(suite, seed(f"open {name}", 96))


def resign(token: str, kind: str, signer: Signer, **changes: object) -> str:
    """Sign the token's claims anew, with changes that need not make sense."""
    payload = Received.parse(token, kind).payload
    claims = {**_parsed(payload), **changes}
    kept = {name: value for name, value in claims.items() if value is not None}
    return sign_bytes(signer, kind, canonical(kept))


def _parsed(payload: bytes) -> dict[str, Any]:
    from protocol.canonical import parse_canonical

    return parse_canonical(payload)


@dataclass(frozen=True)
class Registry:
    """A directory of several keys."""

    owners: Mapping[str, Owner]

    def owner_of(self, kid: str) -> Owner | None:
        """Return the registered owner."""
        return self.owners.get(kid)


def registry(**names: VerifyingKey) -> Registry:
    """Return a directory; `hoshino__clinic=key` stands for `hoshino/clinic`."""
    owners = [Owner(name.replace("__", "/"), key) for name, key in names.items()]
    return Registry({owner.key.kid: owner for owner in owners})
