# SPDX-License-Identifier: Apache-2.0
"""Trust documents that survive a restart: bundle, own membership, other members.

Everything is verified again when it is loaded, as if it had just arrived: whoever can
write to the database still cannot make this node believe anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from identity.known import KnownCities
from identity.tables import trust_documents
from identity.trust import TrustStore
from protocol.canonical import canonical, parse_canonical
from protocol.errors import ProtocolViolation, WrongAudience
from protocol.ids import CityId, NodeId
from protocol.membership import Credentials, Membership
from protocol.succession import Succession
from protocol.suites import VerifyingKey

_BUNDLE = "bundle"
_OPERATING = "operating"
_OWN = "own"
_PIN = "pin:"
_NEXT = "next-operating"
_LINE = "line:"
_NEWEST = "newest:"
_FOR_EVER = 2**40


@dataclass(frozen=True)
class OwnMembership:
    """This node's own standing in its city.

    Attributes:
        body: the membership.
        credentials: what it shows to others.
    """

    body: Membership
    credentials: Credentials

    def renewal_due(self, now: int) -> bool:
        """Tell whether less than half of its life is left."""
        return self.body.exp - now <= (self.body.exp - self.body.iat) // 2


def accept_own(
    trust: TrustStore,
    node: NodeId,
    ours: Callable[[VerifyingKey], bool],
    credentials: Credentials,
    now: int,
) -> OwnMembership:
    """Check a membership that our city gave us.

    Args:
        trust: this node's trust.
        node: our node id.
        ours: whether a signing key is one of ours.
        credentials: the membership and the operating certificate it verifies with.
        now: seconds since 1970.

    Raises:
        WrongAudience: for another node, or for a key that is not ours.
        ProtocolViolation: any other fault.
    """
    body = trust.verify_sender(credentials.membership, credentials.operating, now)
    if body.sub != node or not ours(body.verifying_key()):
        raise WrongAudience("this membership is not for this node and its key")
    return OwnMembership(body, credentials)


def save_own(connection: Connection, own: OwnMembership) -> None:
    """Keep our own membership."""
    _save(connection, _OWN, own.credentials, own.body.exp)


def load_own(
    connection: Connection,
    trust: TrustStore,
    node: NodeId,
    ours: Callable[[VerifyingKey], bool],
    now: int,
) -> OwnMembership | None:
    """Return our kept membership, None if there is none that still holds."""
    credentials = _load(connection, _OWN)
    if credentials is None:
        return None
    try:
        return accept_own(trust, node, ours, credentials, now)
    except ProtocolViolation:
        return None


def save_known(connection: Connection, known: KnownCities) -> None:
    """Keep our city's operating certificate and bundle as they are now."""
    save_chains(connection, known)
    if known.operating is not None:
        operating = known.operating
        _put(connection, _OPERATING, operating.token, None, operating.body.exp)
    if known.bundle is not None:
        _put(connection, _BUNDLE, known.bundle.token, None, known.bundle.body.exp)


def save_chains(connection: Connection, known: KnownCities) -> None:
    """Keep what the roots of cities have said of their keys, so it is not undone."""
    for city in known.chains.cities():
        line, newest = known.chains.successions(city), known.chains.newest(city)
        if line is not None:
            told = json.dumps([one.model_dump() for one in line])
            _put(connection, f"{_LINE}{city}", told, None, _FOR_EVER)
        if newest is not None and newest.body.sequence is not None:
            ends = newest.body.exp
            _put(connection, f"{_NEWEST}{city}", newest.token, None, ends)


def load_lines(connection: Connection, known: KnownCities) -> None:
    """Take up the lines of roots; each says itself whom it follows."""
    for city, told in _named(connection, _LINE):
        line = [
            Succession.model_validate(one, strict=False) for one in json.loads(told)
        ]
        start = line[0].verify(city).body.old_key()
        known.chains.take_line(city, start, line)


def load_newest(connection: Connection, known: KnownCities, now: int) -> None:
    """Take up the newest operating certificates of the cities that are known."""
    for city, token in _named(connection, _NEWEST):
        try:
            known.certificate(token, city, now)
        except ProtocolViolation:
            # Over, or of a city that nobody vouches for at present.
            continue


def _named(connection: Connection, prefix: str) -> list[tuple[CityId, str]]:
    rows = connection.execute(
        select(trust_documents.c.name, trust_documents.c.document).where(
            trust_documents.c.name.startswith(prefix)
        )
    )
    return [(CityId(name.removeprefix(prefix)), told) for name, told in rows]


def save_next(connection: Connection, token: str, use_at: int, ends: int) -> None:
    """Keep an operating certificate that is told already and not used yet."""
    _put(connection, _NEXT, token, str(use_at), ends)


def load_next(connection: Connection) -> tuple[str, int] | None:
    """Return the certificate that is waiting and when it is used."""
    query = select(trust_documents).where(trust_documents.c.name == _NEXT)
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.document, int(row.companion))


def drop_next(connection: Connection) -> None:
    """Forget the waiting certificate: it is in use."""
    connection.execute(delete(trust_documents).where(trust_documents.c.name == _NEXT))


def save_pins(connection: Connection, known: KnownCities) -> None:
    """Keep which root key each introduced city had, for ever."""
    save_chains(connection, known)
    connection.execute(
        delete(trust_documents).where(trust_documents.c.name.startswith(_PIN))
    )
    for city, root in known.pins.items():
        document = canonical(root.jwk).decode("ascii")
        _put(connection, f"{_PIN}{city}", document, None, _FOR_EVER)


def load_pins(connection: Connection, known: KnownCities) -> None:
    """Take up the root keys of cities that were introduced before."""
    rows = connection.execute(
        select(trust_documents.c.name, trust_documents.c.document).where(
            trust_documents.c.name.startswith(_PIN)
        )
    )
    for name, document in rows:
        jwk = parse_canonical(document.encode("ascii"))
        known.pins[CityId(name.removeprefix(_PIN))] = VerifyingKey.from_jwk(jwk)


def load_known(connection: Connection, known: KnownCities, now: int) -> None:
    """Take up what was kept; what is over or no longer verifies is left out."""
    for name, accept in (
        (_OPERATING, known.accept_operating),
        (_BUNDLE, known.accept_bundle),
    ):
        query = select(trust_documents.c.document).where(trust_documents.c.name == name)
        token: str | None = connection.execute(query).scalar_one_or_none()
        if token is not None:
            try:
                accept(token, now)
            except ProtocolViolation:
                # Over while we were down: the city's broker sends a new one.
                continue


def save_member(
    connection: Connection, membership: Membership, credentials: Credentials
) -> None:
    """Keep a verified member's credentials, so it can be sealed to while away."""
    _save(connection, f"member:{membership.sub}", credentials, membership.exp)


def load_member(
    connection: Connection, trust: TrustStore, node: NodeId, now: int
) -> tuple[Membership, Credentials] | None:
    """Return a kept member, verified again; None if unknown, over, or removed."""
    credentials = _load(connection, f"member:{node}")
    if credentials is None:
        return None
    try:
        membership = trust.verify_sender(
            credentials.membership, credentials.operating, now
        )
    except ProtocolViolation:
        return None
    return (membership, credentials) if membership.sub == node else None


def forget_ended(connection: Connection, *, before: int) -> None:
    """Delete documents that ended before `before`, seconds since 1970."""
    connection.execute(delete(trust_documents).where(trust_documents.c.ends < before))


def _save(
    connection: Connection, name: str, credentials: Credentials, ends: int
) -> None:
    _put(connection, name, credentials.membership, credentials.operating, ends)


def _put(
    connection: Connection, name: str, document: str, companion: str | None, ends: int
) -> None:
    connection.execute(delete(trust_documents).where(trust_documents.c.name == name))
    connection.execute(
        insert(trust_documents).values(
            name=name, document=document, companion=companion, ends=ends
        )
    )


def _load(connection: Connection, name: str) -> Credentials | None:
    row = connection.execute(
        select(trust_documents).where(trust_documents.c.name == name)
    ).one_or_none()
    if row is None or row.companion is None:
        return None
    return Credentials(membership=row.document, operating=row.companion)
