# SPDX-License-Identifier: Apache-2.0
"""Location tokens: for one broker, one city, and a short time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.canonical import b64url, canonical, unb64url
from protocol.errors import CannotOpen, Expired, Malformed, ProtocolViolation
from protocol.ids import CityId, NodeId
from protocol.location import TokenBody, open_token
from protocol.sealed import OpeningKey
from protocol.suites import Suite
from tests.protocol.cities import HOSHINO, MINATO, NOW, opening

BROKER = opening("hoshino/broker")
BODY = TokenBody(
    node=HOSHINO.node("clinic"), exp=NOW + 600, consent="consent 1", nonce="n1"
)
LABEL = "machikura location token 1"


def opened(
    token: str, city: CityId = HOSHINO.id, key: OpeningKey = BROKER, now: int = NOW
) -> TokenBody:
    """Open a token as Hoshino's broker."""
    return open_token(token, city, key, now)


@pytest.mark.parametrize("suite", list(Suite))
def test_token_tells_the_node_to_its_broker(suite: Suite) -> None:
    """The round trip."""
    key = opening("hoshino/broker", suite)
    assert opened(BODY.seal(HOSHINO.id, key.public), key=key) == BODY


def test_token_shows_nothing_on_the_way() -> None:
    """Two tokens for one node cannot be told from two for two nodes."""
    one = BODY.seal(HOSHINO.id, BROKER.public)
    other = BODY.seal(HOSHINO.id, BROKER.public)
    assert one != other
    assert b"clinic" not in unb64url(one)


def test_token_of_the_wrong_city_does_not_open() -> None:
    """A broker key that serves two cities cannot mix them up."""
    token = BODY.seal(MINATO.id, BROKER.public)
    with pytest.raises(CannotOpen):
        opened(token)


def test_token_does_not_open_for_another_broker() -> None:
    """A transit broker learns the city and nothing else."""
    token = BODY.seal(HOSHINO.id, BROKER.public)
    with pytest.raises(CannotOpen):
        opened(token, key=opening("minato/broker"))


def test_token_that_names_a_node_of_another_city_is_refused() -> None:
    """Sealed for Hoshino, pointing at Minato: no open relay."""
    elsewhere = BODY.model_copy(update={"node": NodeId("minato/nursery")})
    with pytest.raises(Malformed, match="its own city"):
        opened(elsewhere.seal(HOSHINO.id, BROKER.public))


def test_token_ends() -> None:
    """Until the second before its end."""
    token = BODY.seal(HOSHINO.id, BROKER.public)
    assert opened(token, now=NOW + 599) == BODY
    with pytest.raises(Expired):
        opened(token, now=NOW + 600)


def test_ticket_is_no_token() -> None:
    """Something else that was sealed to the broker, with the same content."""
    sealed = BROKER.public.seal("machikura ticket 1", b"hoshino", BODY.encode())
    with pytest.raises(CannotOpen):
        opened(b64url(sealed))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"not JSON",
        canonical({"node": "hoshino/clinic", "exp": "1", "nonce": "n"}),
        canonical({"node": "hoshino", "exp": NOW + 1, "nonce": "n"}),
        canonical({"node": "hoshino/clinic", "exp": NOW + 1, "nonce": "n" * 65}),
        BODY.encode() + b" ",
    ],
)
def test_odd_content_is_refused(content: bytes) -> None:
    """Anybody can seal to a broker, so anything can be inside."""
    with pytest.raises(Malformed):
        opened(b64url(BROKER.public.seal(LABEL, b"hoshino", content)))


@given(st.text(max_size=40) | st.binary(max_size=1300).map(b64url))
def test_any_text_is_no_token(text: str) -> None:
    """Whatever stands in the routing header."""
    with pytest.raises(ProtocolViolation):
        opened(text)


@given(st.integers(0, 1300), st.integers(1, 255))
def test_altered_token_does_not_open(position: int, change: int) -> None:
    """A requester cannot turn its token towards another node."""
    raw = bytearray(unb64url(BODY.seal(HOSHINO.id, BROKER.public)))
    raw[position % len(raw)] ^= change
    with pytest.raises(CannotOpen):
        opened(b64url(bytes(raw)))
