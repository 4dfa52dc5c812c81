# SPDX-License-Identifier: Apache-2.0
"""Cities with fixed keys, and the documents by which they trust each other.

Every key comes from a seed made of its name, so a run is like the one before. Each
function returns a *valid* document; a test changes the one thing that it is about.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from protocol.agreement import AgreementBody, Party, Terms
from protocol.canonical import canonical, parse_canonical
from protocol.ids import CityId, DatasetTypeName, NodeId
from protocol.membership import (
    MEMBER_KEY,
    MEMBERSHIP,
    OPERATING,
    DataClass,
    JoinRequest,
    MemberKey,
    Membership,
    OperatingCertificate,
    Qualification,
    Role,
)
from protocol.model import ANYONE
from protocol.route import ROUTE, Announcement, CityKeys
from protocol.sealed import OpeningKey
from protocol.signature import Owner, Received, sign, sign_bytes
from protocol.suites import Signer, SigningKey, Suite, VerifyingKey

NOW = 1_900_000_000
SKEW = 5


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


def claims_of(token: str, kind: str) -> dict[str, Any]:
    """Return the claims of a token."""
    return parse_canonical(Received.parse(token, kind).payload)


def resign(token: str, kind: str, signer: Signer, **changes: object) -> str:
    """Sign a token's claims anew, with changes that need not make sense.

    A change to `...` takes the member away.
    """
    claims = {**claims_of(token, kind), **changes}
    kept = {name: value for name, value in claims.items() if value is not ...}
    return sign_bytes(signer, kind, canonical(kept))


@dataclass(frozen=True)
class Registry:
    """A directory of several keys."""

    owners: Mapping[str, Owner]

    def owner_of(self, kid: str) -> Owner | None:
        """Return the registered owner."""
        return self.owners.get(kid)


def registry(owners: Mapping[str, VerifyingKey]) -> Registry:
    """Return a directory that knows these owners by name."""
    return Registry({key.kid: Owner(name, key) for name, key in owners.items()})


@dataclass(frozen=True)
class City:
    """A city and all its secrets."""

    name: str
    suite: Suite = Suite.HYBRID

    @property
    def id(self) -> CityId:
        """Its id."""
        return CityId(self.name)

    @property
    def root(self) -> SigningKey:
        """Its root key."""
        return signing(f"{self.name} root", self.suite)

    @property
    def operating(self) -> SigningKey:
        """Its operating key."""
        return signing(f"{self.name} operating", self.suite)

    def node(self, label: str) -> NodeId:
        """Name one of its nodes."""
        return NodeId(f"{self.name}/{label}")

    def certificate(self) -> str:
        """Return its operating certificate."""
        certificate = OperatingCertificate(
            **_common(self.name), sub=self.id, key=self.operating.public.jwk
        )
        return sign(self.root, OPERATING, certificate).token

    def member(self, label: str, roles: tuple[Role, ...] = (Role.VAULT,)) -> Membership:
        """Return what the city says of a node."""
        node = self.node(label)
        return Membership(
            **_common(self.name),
            sub=node,
            title={"en": label},
            key=signing(node, self.suite).public.jwk,
            sealing=opening(node, self.suite).public.document,
            roles=roles,
            qualifications=(
                Qualification(scheme="privacy-mark", number="1", until=NOW + 100),
            ),
            data_classes=(DataClass.PERSONAL, DataClass.SPECIAL_CARE),
        )

    def membership(self, label: str, roles: tuple[Role, ...] = (Role.VAULT,)) -> str:
        """Return a node's membership, signed."""
        return sign(self.operating, MEMBERSHIP, self.member(label, roles)).token

    def member_key(self, name: str, consent: str) -> str:
        """Return a nameless member key for a consent."""
        body = MemberKey(
            **{**_common(self.name), "aud": consent},
            key=signing(name, self.suite).public.jwk,
            sealing=opening(name, self.suite).public.document,
        )
        return sign(self.operating, MEMBER_KEY, body).token

    def keys(self) -> CityKeys:
        """Return what others know of it, each time the same."""
        return _keys(self)

    def party(self) -> Party:
        """Return it as a party of an agreement."""
        return Party(
            city=self.id,
            title={"en": self.name},
            root=self.root.public.jwk,
            operating=self.certificate(),
            links=(f"wss://broker.{self.name}.example/link",),
            contact=f"office@{self.name}.example",
        )


@cache
def _keys(city: City) -> CityKeys:
    # ECDSA signs with chance, so the documents of a strict city are made once.
    return CityKeys(
        city=city.id,
        root=city.root.public.jwk,
        operating=city.certificate(),
        broker=city.membership("broker", (Role.BROKER,)),
        directory=city.membership("directory", (Role.DIRECTORY,)),
    )


HOSHINO = City("hoshino")
MINATO = City("minato")
YAMANAMI = City("yamanami")
STRICT_CITY = City("kawabe", Suite.STRICT)


def _common(issuer: str) -> dict[str, Any]:
    return {
        "iss": issuer,
        "aud": ANYONE,
        "jti": f"{issuer} 1",
        "iat": NOW - 60,
        "exp": NOW + 3600,
    }


def agreement_body(a: City = HOSHINO, b: City = MINATO) -> AgreementBody:
    """Return the text of an agreement; what `b` may ask of `a` is less."""
    wide = Terms(
        dataset_types=("*",),
        purposes=("*",),
        data_classes=(DataClass.PERSONAL, DataClass.SPECIAL_CARE),
        transit=True,
        hop_limit=6,
    )
    narrow = Terms(
        dataset_types=(DatasetTypeName("health.checkup"),),
        purposes=("*",),
        data_classes=(DataClass.PERSONAL,),
    )
    return AgreementBody(
        id="hoshino-minato-1",
        a=a.party(),
        b=b.party(),
        a_to_b=wide,
        b_to_a=narrow,
        starts=NOW - 1000,
        ends=NOW + 1_000_000,
    )


def join_request(suite: Suite = Suite.HYBRID, **changes: object) -> str:
    """Return the request of a bakery to join Hoshino, with changes."""
    request = JoinRequest(
        iss="hoshino/bakery",
        aud="hoshino",
        jti="join 1",
        iat=NOW,
        exp=NOW + 600,
        sub=HOSHINO.node("bakery"),
        title={"ja": "パン屋"},
        key=signing("bakery", suite).public.jwk,
        sealing=opening("bakery", suite).public.document,
        roles=(Role.VAULT,),
    )
    token = sign(signing("bakery", suite), "join-request", request).token
    return resign(token, "join-request", signing("bakery", suite), **changes)


def announcement(
    path: Sequence[City],
    audience: City,
    changes: Mapping[int, Mapping[str, object]] | None = None,
    signers: Mapping[int, Signer] | None = None,
) -> str:
    """Return the announcement by which `path[0]` tells `audience` of `path[-1]`.

    Args:
        path: cities from the announcing one to the origin.
        audience: neighbor that is told.
        changes: claims to change, by layer; 0 is the outermost. A change to `...`
            takes the claim away.
        signers: keys to sign with instead, by layer.
    """
    origin = path[-1]
    token = ""
    for layer in reversed(range(len(path))):
        city = path[layer]
        body = Announcement(
            **{
                **_common(city.name),
                "aud": (path[layer - 1] if layer else audience).name,
            },
            origin=origin.id,
            path=tuple(c.id for c in path[layer:]),
            sequence=7,
            keys=origin.keys(),
            inner=token or None,
            next_city=path[layer + 1].keys() if token else None,
        )
        signer = (signers or {}).get(layer, city.operating)
        token = sign(city.operating, ROUTE, body).token
        changed = (changes or {}).get(layer, {})
        if changed or signer is not city.operating:
            token = resign(token, ROUTE, signer, **changed)
    return token
