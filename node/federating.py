# SPDX-License-Identifier: Apache-2.0
"""How two cities come to an agreement: propose, countersign, install.

Signing takes the city's root key and happens at the operator's desk, not in the running
broker. Before countersigning, two people compare fingerprints by telephone.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from identity.root import RootKey, fingerprint
from node.city_root import CityCard
from protocol.agreement import Agreement, AgreementBody, Party, Terms
from protocol.ending import Ending, end_word
from protocol.errors import Misuse
from protocol.ids import uuid7

_DAY_S = 86_400


@dataclass(frozen=True)
class Deal:
    """What one city proposes.

    Attributes:
        we_may: what we may ask of, or through, the other.
        they_may: what the other may ask of, or through, us.
        days: how long it holds.
        replaces: id and version of the agreement that this one replaces.
        notice_days: how long before its end one city alone must say so; None for 30.
    """

    we_may: Terms
    they_may: Terms
    days: int = 365
    replaces: tuple[str, int] | None = None
    notice_days: int | None = None


def propose(
    own: CityCard,
    other: CityCard,
    root: RootKey,
    deal: Deal,
    *,
    now_ms: int,
    entropy: Callable[[int], bytes],
) -> Agreement:
    """Write an agreement and sign it as the first of two.

    Raises:
        Misuse: the cards are of one city, or the root key is another city's.
    """
    if own.city == other.city:
        raise Misuse("an agreement needs two cities")
    if root.city != own.city:
        raise Misuse("this root key is another city's")
    identifier, version = deal.replaces or (str(uuid7(now_ms, entropy(10))), 0)
    body = AgreementBody(
        id=identifier,
        version=version + 1,
        a=_party(own),
        b=_party(other),
        a_to_b=deal.we_may,
        b_to_a=deal.they_may,
        starts=now_ms // 1000,
        ends=now_ms // 1000 + deal.days * _DAY_S,
        notice_days=deal.notice_days,
    )
    return Agreement.propose(body, own.city, root.signer)


def amend(
    old: Agreement,
    root: RootKey,
    deal: Deal | None,
    *,
    days: int,
    now_ms: int,
) -> Agreement:
    """Write the next version of an agreement and sign it as the first of two.

    Args:
        old: the agreement, with both signatures.
        root: our root key.
        deal: other terms; None keeps those that there are and only renews.
        days: how long it holds, from now.
        now_ms: milliseconds since 1970.

    Raises:
        Misuse: it lacks a signature, or our city is no party.
    """
    body, city = old.body, root.city
    if not old.complete or not body.concerns(city):
        raise Misuse("not an agreement that our city has made")
    now = now_ms // 1000
    changes: dict[str, object] = {
        "version": body.version + 1,
        "starts": now,
        "ends": now + days * _DAY_S,
    }
    if deal is not None:
        ours, theirs = "a_to_b", "b_to_a"
        if city == body.b.city:
            ours, theirs = theirs, ours
        changes.update({ours: deal.we_may, theirs: deal.they_may})
    return Agreement.propose(body.model_copy(update=changes), city, root.signer)


def end(
    old: Agreement,
    root: RootKey,
    *,
    at: int,
    now_ms: int,
    entropy: Callable[[int], bytes],
    other: Ending | None = None,
) -> Ending:
    """Sign our word that an agreement ends; with the other city's it ends as it says.

    Args:
        old: the agreement.
        root: our root key.
        at: when it shall end, seconds since 1970.
        now_ms: milliseconds since 1970.
        entropy: random bytes.
        other: the other city's word, to which ours is added.
    """
    word = end_word(
        old.body,
        root.city,
        root.signer,
        at=at,
        now=now_ms // 1000,
        identifier=str(uuid7(now_ms, entropy(10))),
    )
    return Ending(words=(word,) if other is None else (*other.words, word))


def countersign(wire: bytes, root: RootKey, confirmed: str) -> Agreement:
    """Add the second signature.

    Args:
        wire: the proposal file.
        root: our root key.
        confirmed: fingerprint of the other city's root, as read over the telephone.

    Raises:
        Misuse: the fingerprint is not the one in the text, or it is not for us.
        ProtocolViolation: the proposal is forged or broken.
    """
    proposal = Agreement.parse(wire)
    body = proposal.body
    if not body.concerns(root.city):
        raise Misuse("this proposal is between other cities")
    found = fingerprint(body.other(root.city).root_key())
    if not hmac.compare_digest(_plain(found), _plain(confirmed)):
        raise Misuse("the fingerprint is not that of the other city's root key")
    return proposal.countersign(root.city, root.signer)


def _plain(text: str) -> bytes:
    return "".join(text.lower().split()).encode("utf-8")


def _party(card: CityCard) -> Party:
    return Party(
        city=card.city,
        code=card.code,
        title=dict(card.title),
        root=card.root,
        operating=card.operating,
        links=card.brokers,
        contact=card.contact,
    )
