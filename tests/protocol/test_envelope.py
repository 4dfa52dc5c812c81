# SPDX-License-Identifier: Apache-2.0
"""The envelope: header, hops and body that cannot be moved under one another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.canonical import b64url, canonical
from protocol.envelope import (
    MAX_HEADER_BYTES,
    MAX_HOPS_BYTES,
    ROUTING,
    Address,
    Envelope,
    Kind,
    RoutingHeader,
)
from protocol.errors import (
    BadSignature,
    CannotOpen,
    Malformed,
    ProtocolViolation,
    TooLarge,
    UnknownKey,
    UnsupportedVersion,
    WrongIssuer,
    WrongType,
)
from protocol.hop import last_record, parse
from protocol.membership import DataClass
from protocol.request import Body
from protocol.signature import digest_of, sign_bytes
from protocol.suites import Suite
from tests.protocol.cities import MINATO, opening, registry, signing
from tests.protocol.exchanges import (
    HOLDER,
    NOW_MS,
    RECIPIENT,
    body,
    envelope,
    header,
    hop_chain,
    opened,
    sealed,
)

KEYS = registry(
    {
        RECIPIENT: signing(RECIPIENT).public,
        "minato/energy": signing("minato/energy").public,
    }
)
LIMIT = 1 << 20
SENT = envelope()


def test_envelope_reaches_the_holder() -> None:
    """Packed, unpacked, verified and opened, it says what was asked."""
    arrived = Envelope.unpack(SENT.pack(), LIMIT)
    assert arrived == SENT
    verified = arrived.verify(KEYS)
    assert verified.header == header(to=SENT.header.to)
    inside = Body.decode(opened(arrived, opening(HOLDER)))
    assert inside.response_key == body().response_key


@pytest.mark.parametrize("sender", list(Suite))
@pytest.mark.parametrize("receiver", list(Suite))
def test_suites_can_be_mixed(sender: Suite, receiver: Suite) -> None:
    """A default node talks with a strict one in both directions."""
    key = signing(RECIPIENT, sender)
    sent = sealed(header(), b"body", opening(HOLDER, receiver).public, key)
    sent.verify(registry({RECIPIENT: key.public}))
    assert opened(sent, opening(HOLDER, receiver)) == b"body"


def test_sender_keeps_the_header_that_others_read() -> None:
    """Who wrote it need not parse it; what it has is what its bytes say."""
    assert SENT.header == Envelope(SENT.token, SENT.hops, SENT.body).header


def test_hops_are_added_without_touching_the_rest() -> None:
    """A broker re-serializes nothing."""
    record = last_record(hop_chain(SENT.digest, "minato/broker"))
    carried = SENT.with_hop(record)
    assert (carried.token, carried.body) == (SENT.token, SENT.body)
    assert parse(carried.hops, SENT.digest) == (record,)
    carried.verify(KEYS)


def test_sender_cannot_use_the_name_of_another() -> None:
    """The header names Minato's energy company, the key is the nursery's."""
    forged = envelope(sender=MINATO.node("energy"))
    with pytest.raises(WrongIssuer):
        forged.verify(KEYS)


def test_sender_with_an_unregistered_key_is_refused() -> None:
    """A right signature by nobody in particular."""
    forged = sealed(header(), b"", opening(HOLDER).public, signing("minato/stranger"))
    with pytest.raises(UnknownKey):
        forged.verify(KEYS)


def test_altered_header_is_refused() -> None:
    """A broker that widens the hop budget breaks the signature."""
    head, _, signature = SENT.token.split(b".")
    wider = b64url(header(hops=16).encode()).encode()
    forged = Envelope(b".".join((head, wider, signature)), SENT.hops, SENT.body)
    with pytest.raises(BadSignature):
        forged.verify(KEYS)


def test_body_moved_under_another_header_is_refused() -> None:
    """Also when the new header was signed by the same sender."""
    other = envelope(deadline_ms=NOW_MS + 9_000)
    moved = Envelope(other.token, b"", SENT.body)
    with pytest.raises(Malformed, match="not the one that was signed for"):
        moved.verify(KEYS)
    with pytest.raises(CannotOpen):
        opened(moved, opening(HOLDER))


def test_body_signed_for_under_another_header_does_not_open() -> None:
    """A thief signs a header of its own over somebody else's sealed body."""
    stolen = {"body": digest_of(SENT.body), "size": len(SENT.body)}
    own = header(sender=MINATO.node("energy")).encode()
    token = sign_bytes(signing("minato/energy"), ROUTING, own, stolen)
    forged = Envelope(token.encode(), b"", SENT.body)
    forged.verify(KEYS)
    with pytest.raises(CannotOpen):
        opened(forged, opening(HOLDER))


def test_body_does_not_open_for_a_swapped_receiver() -> None:
    """A broker that delivers it to another node gains nothing."""
    with pytest.raises(CannotOpen):
        opened(SENT, opening("hoshino/market"))


@pytest.mark.parametrize("left", [0, 1, 1135, -1])
def test_truncated_body_is_refused(left: int) -> None:
    """By a broker that compares digests, and by the holder."""
    cut = Envelope(SENT.token, b"", SENT.body[:left])
    with pytest.raises(Malformed):
        cut.check_body()
    with pytest.raises(CannotOpen):
        opened(cut, opening(HOLDER))


def test_body_of_equal_size_is_told_apart() -> None:
    """The digest counts, not only the size."""
    swapped = Envelope(SENT.token, b"", bytes(len(SENT.body)))
    with pytest.raises(Malformed, match="not the one"):
        swapped.check_body()


@pytest.mark.parametrize(
    ("name", "value"), [("size", "1"), ("size", [1]), ("body", 5), ("body", None)]
)
def test_stated_size_and_digest_of_another_type_never_fit(
    name: str, value: object
) -> None:
    """They are compared, so nothing else than the right value passes."""
    extra = {"body": digest_of(b"x"), "size": 1, name: value}
    token = sign_bytes(signing(RECIPIENT), ROUTING, header().encode(), extra)
    with pytest.raises(Malformed):
        Envelope(token.encode(), b"", b"x").check_body()


def test_document_of_another_kind_is_no_header() -> None:
    """A signed consent in the place of the header."""
    token = sign_bytes(signing(RECIPIENT), "consent", header().encode())
    with pytest.raises(WrongType):
        Envelope(token.encode(), b"", b"").verify(KEYS)


def test_header_needs_the_digest_of_its_body() -> None:
    """Without it a body could be swapped unseen by brokers."""
    token = sign_bytes(signing(RECIPIENT), ROUTING, header().encode())
    with pytest.raises(Malformed, match="unexpected"):
        Envelope(token.encode(), b"", b"").verify(KEYS)


def test_version_of_another_protocol_is_refused() -> None:
    """Clearly, so that the operator knows which node is older."""
    for version in (0, 3, 255):
        with pytest.raises(UnsupportedVersion, match=f"version {version}"):
            Envelope.unpack(bytes([version]) + SENT.pack()[1:], LIMIT)


@pytest.mark.parametrize("size", range(0, 10))
def test_truncated_prefix_is_refused(size: int) -> None:
    """Nine bytes and what they promise."""
    with pytest.raises(Malformed, match="truncated"):
        Envelope.unpack(SENT.pack()[:size], LIMIT)


def test_promised_lengths_are_held_to_limits() -> None:
    """Before anything of that length is looked at."""
    token, hops = MAX_HEADER_BYTES + 1, MAX_HOPS_BYTES + 1
    for lengths in ((token, 0), (0, hops), (2**32 - 1, 2**32 - 1)):
        prefix = b"\x02" + b"".join(n.to_bytes(4, "big") for n in lengths)
        with pytest.raises(TooLarge):
            Envelope.unpack(prefix + bytes(100), LIMIT)
    with pytest.raises(Malformed, match="truncated"):
        Envelope.unpack(b"\x02" + (200).to_bytes(4, "big") * 2 + bytes(399), LIMIT)


def test_lengths_at_their_limits_are_taken() -> None:
    """Also an envelope with nothing in it; what it lacks is found when it is read."""
    full = Envelope(bytes(MAX_HEADER_BYTES), bytes(MAX_HOPS_BYTES), b"")
    assert Envelope.unpack(full.pack(), LIMIT) == full
    assert Envelope.unpack(b"\x02" + bytes(8), LIMIT) == Envelope(b"", b"", b"")


def test_long_envelope_is_refused_unread() -> None:
    """The limit is the caller's."""
    packed = SENT.pack()
    assert Envelope.unpack(packed, len(packed)) == SENT
    with pytest.raises(TooLarge):
        Envelope.unpack(packed, len(packed) - 1)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 0},
        {"v": True},
        {"id": "not-a-uuid"},
        {"kind": "steal"},
        {"sender": "minato"},
        {"sender": "minato/nursery/x"},
        {"to": {"city": "HOSHINO"}},
        {"to": "hoshino"},
        {"dataset_type": "*"},
        {"purpose": "*"},
        {"data_class": "secret"},
        {"consent": "short"},
        {"member": "A" * 44},
        {"hops": 0},
        {"hops": 17},
        {"hops": True},
        {"hops": "4"},
        {"iat_ms": -1},
        {"deadline_ms": 2**50 + 1},
    ],
)
def test_member_of_the_header_out_of_range_is_refused(
    change: dict[str, object],
) -> None:
    """A wildcard, a name, a number that no honest sender writes."""
    members = {**header().model_dump(mode="json", exclude_none=True), **change}
    with pytest.raises(Malformed, match="RoutingHeader"):
        RoutingHeader.decode(canonical(members))


def test_header_of_a_newer_version_is_refused_as_such() -> None:
    """Also where its other members are none that this version has."""
    members = {**header().model_dump(mode="json", exclude_none=True), "v": 2}
    with pytest.raises(UnsupportedVersion, match="RoutingHeader: v"):
        RoutingHeader.decode(canonical(members))
    with pytest.raises(UnsupportedVersion):
        RoutingHeader.decode(canonical({**members, "kind": "divine", "hops": "all"}))


def test_header_without_dataset_is_valid() -> None:
    """Housekeeping: a renewal, a locate, a canary."""
    plain = RoutingHeader(
        id=header().id,
        kind=Kind.MANAGE,
        sender=RECIPIENT,
        to=Address(city=MINATO.id, node=MINATO.node("broker")),
        hops=1,
        iat_ms=NOW_MS,
        deadline_ms=NOW_MS + 1,
    )
    assert RoutingHeader.decode(plain.encode()) == plain
    assert header().data_class is DataClass.SPECIAL_CARE


def test_header_shows_nothing_of_resident_and_holder() -> None:
    """What every broker on the way may read."""
    seen = SENT.received.payload
    assert b"clinic" not in seen
    assert body().response_key not in SENT.pack()


@given(st.data())
def test_damaged_envelope_is_refused_or_does_not_open(data: st.DataObject) -> None:
    """Any byte changed, anywhere outside the hop records."""
    packed = bytearray(SENT.pack())
    position = data.draw(st.integers(0, len(packed) - 1))
    packed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProtocolViolation):
        Envelope.unpack(bytes(packed), LIMIT).verify(KEYS)
