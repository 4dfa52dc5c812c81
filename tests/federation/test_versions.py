# SPDX-License-Identifier: Apache-2.0
"""Version 1 of the link protocol, as it was recorded, meets today's code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from docs.examples import make_example
from docs.examples.parties import NEAR, PHARMACY, credentials, seed
from federation.handshake import DialerHandshake, ListenerHandshake
from federation.versions import VERSIONS, Abilities, HandshakeRefused, LinkTerms
from protocol.membership import Role
from protocol.problem import describe

RECORDED = Path(__file__).with_name("link_v1.json")
SUITES = ("hybrid", "strict")


def recorded() -> dict[str, bytes]:
    """Returns the messages of a handshake of version 1."""
    given = cast(dict[str, str], json.loads(RECORDED.read_text("utf-8")))
    return {name: text.encode() for name, text in given.items()}


def certificate() -> bytes:
    """Returns the certificate hash that it was bound to."""
    return bytes.fromhex(recorded()["certificate hash (hex)"].decode())


def listener(abilities: Abilities) -> ListenerHandshake:
    """Returns the broker of the recording, with the same key and nonce."""
    shown = credentials(NEAR, Role.BROKER, Role.DIRECTORY)
    return ListenerHandshake(
        identity=make_example.LinkParty(NEAR, PHARMACY, shown),
        certificate_hash=certificate(),
        nonce=seed("listener nonce", 32),
        abilities=abilities,
    )


def dialer(abilities: Abilities) -> DialerHandshake:
    """Returns the pharmacy of the recording, with the same key and nonce."""
    return DialerHandshake(
        identity=make_example.LinkParty(PHARMACY, NEAR, credentials(PHARMACY)),
        certificate_hash=certificate(),
        nonce=seed("dialer nonce", 32),
        abilities=abilities,
        expected=NEAR,
    )


def test_dialer_of_version_one_is_answered_as_version_one_did() -> None:
    """Byte for byte, by a broker that speaks every version."""
    messages, broker = recorded(), listener(Abilities(SUITES, VERSIONS))
    assert broker.greeted(messages["hello"]) == messages["answer"]
    peer, done = broker.authenticated(messages["auth"])
    assert (peer.node, done) == (PHARMACY, messages["done"])
    assert broker.terms == LinkTerms(1)


def test_node_held_to_version_one_writes_what_version_one_wrote() -> None:
    """The whole of the dialer's side is the recording."""
    messages, pharmacy = recorded(), dialer(Abilities(SUITES, (1,)))
    assert pharmacy.hello() == messages["hello"]
    assert pharmacy.answered(messages["answer"]) == messages["auth"]
    assert pharmacy.done(messages["done"]).node == NEAR


def test_operator_may_require_the_newer_version() -> None:
    """Version 1 is then refused in words that say who has to be updated."""
    with pytest.raises(HandshakeRefused) as refused:
        listener(Abilities(SUITES, (2,))).greeted(recorded()["hello"])
    assert refused.value.slug == "unsupported-version"
    assert "the peer speaks [1], this side (2,)" in str(refused.value)
    assert "older of the two" in describe(refused.value.slug).remedy_en
