# SPDX-License-Identifier: Apache-2.0
"""Sessions: one key agreement, many bodies, each bound to its header."""

import pytest

from protocol.errors import CannotOpen, Malformed
from protocol.membership import Credentials
from protocol.sealed import OpeningKey
from protocol.session import AskerSession, HolderSession, Offer, split
from protocol.suites import Suite
from tests.protocol.cities import MINATO, NOW, opening, seed
from tests.protocol.exchanges import HOLDER

SHOWN = Credentials(
    membership=MINATO.membership("nursery"), operating=MINATO.certificate()
)
SECRET, NONCE = seed("session", 32), seed("nonce", 12)


def start(key: OpeningKey) -> AskerSession:
    """Start a session with the owner of a key."""
    return AskerSession.start(key.public, SHOWN, SECRET, NOW + 600)


@pytest.mark.parametrize("suite", list(Suite))
def test_many_bodies_open_in_one_session(suite: Suite) -> None:
    """The offer is the same each time, and opened once."""
    key = opening(HOLDER, suite)
    asker = start(key)
    bodies = [asker.seal(b"H", text, seed(text.decode(), 12)) for text in (b"1", b"2")]
    offers = {split(body)[0] for body in bodies}
    assert len(offers) == 1
    holder = HolderSession.accept(key, offers.pop())
    assert holder.offer.sender == SHOWN
    assert [holder.open(b"H", split(body)[1]) for body in bodies] == [b"1", b"2"]


def test_body_belongs_to_its_header() -> None:
    """Byte for byte."""
    key = opening(HOLDER)
    offer, sealed = split(start(key).seal(b"H", b"text", NONCE))
    with pytest.raises(CannotOpen):
        HolderSession.accept(key, offer).open(b"h", sealed)


def test_body_of_another_session_does_not_open() -> None:
    """An offer put in front of somebody else's body."""
    key = opening(HOLDER)
    other = AskerSession.start(key.public, SHOWN, seed("other", 32), NOW + 600)
    offer, _ = split(start(key).seal(b"H", b"text", NONCE))
    _, sealed = split(other.seal(b"H", b"text", NONCE))
    with pytest.raises(CannotOpen):
        HolderSession.accept(key, offer).open(b"H", sealed)


def test_offer_opens_for_its_receiver_alone() -> None:
    """Another node of the same city learns nothing from it."""
    offer, _ = split(start(opening(HOLDER)).seal(b"H", b"text", NONCE))
    with pytest.raises(CannotOpen):
        HolderSession.accept(opening("hoshino/market"), offer)


@pytest.mark.parametrize("key", ["A" * 42, "A" * 44, "+" * 43])
def test_key_of_a_session_has_32_bytes(key: str) -> None:
    """A shorter one would be guessable."""
    holder = opening(HOLDER)
    offer = Offer.model_construct(sender=SHOWN, key=key, exp=NOW)
    sealed = holder.public.seal("machikura session 1", b"", offer.encode())
    with pytest.raises(Malformed):
        HolderSession.accept(holder, sealed)


def test_truncation_shows_at_every_length() -> None:
    """No length field leads beyond the bytes that came."""
    key = opening(HOLDER)
    body = start(key).seal(b"H", b"text", NONCE)
    for size in range(len(body)):
        with pytest.raises(CannotOpen):
            offer, sealed = split(body[:size])
            HolderSession.accept(key, offer).open(b"H", sealed)
