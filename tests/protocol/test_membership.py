# SPDX-License-Identifier: Apache-2.0
"""Who belongs to a city: certificates, memberships, nameless keys, and forgeries."""

import pytest

from protocol.errors import (
    BadKey,
    BadSignature,
    Expired,
    Malformed,
    NotYetValid,
    ProtocolViolation,
    UnknownKey,
    WrongIssuer,
    WrongType,
)
from protocol.membership import (
    MEMBER_KEY,
    MEMBERSHIP,
    OPERATING,
    JoinRequest,
    verify_member_key,
    verify_membership,
    verify_operating,
)
from protocol.suites import Suite
from tests.protocol.cities import (
    HOSHINO,
    MINATO,
    NOW,
    SKEW,
    STRICT_CITY,
    City,
    join_request,
    resign,
    signing,
)

CITIES = pytest.mark.parametrize("city", [HOSHINO, STRICT_CITY], ids=lambda c: c.name)
ROOT, OPERATES = HOSHINO.root.public, HOSHINO.operating.public
CERTIFICATE = HOSHINO.certificate()
MEMBER = HOSHINO.membership("clinic")
MEMBER_KEYED = HOSHINO.member_key("nameless 1", "consent 1")
LOW_ORDER = {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}


@CITIES
def test_chain_from_root_to_node_holds(city: City) -> None:
    """Root key, operating key, membership: in both suites."""
    certificate = verify_operating(
        city.certificate(), city.id, city.root.public, NOW, SKEW
    )
    operating = certificate.body.verifying_key()
    member = verify_membership(city.membership("clinic"), city.id, operating, NOW, SKEW)
    assert member.body.sub == city.node("clinic")
    assert member.body.verifying_key() == signing(member.body.sub, city.suite).public
    key = verify_member_key(city.member_key("n", "c"), city.id, operating, NOW, SKEW)
    assert key.body.aud == "c"


def test_certificate_by_a_foreign_root_is_refused() -> None:
    """Only the city's own root can name its operating key."""
    forged = resign(CERTIFICATE, OPERATING, MINATO.root)
    with pytest.raises(UnknownKey):
        verify_operating(forged, HOSHINO.id, ROOT, NOW, SKEW)


def test_operating_key_cannot_name_its_successor() -> None:
    """The online key is not the root: stealing it must not last."""
    forged = resign(CERTIFICATE, OPERATING, HOSHINO.operating)
    with pytest.raises(UnknownKey):
        verify_operating(forged, HOSHINO.id, ROOT, NOW, SKEW)


def test_certificate_of_another_city_is_refused() -> None:
    """Minato's certificate does not make Minato's key ours."""
    with pytest.raises(UnknownKey):
        verify_operating(MINATO.certificate(), HOSHINO.id, ROOT, NOW, SKEW)
    with pytest.raises(WrongIssuer):
        verify_operating(CERTIFICATE, MINATO.id, ROOT, NOW, SKEW)


def test_certificate_for_another_city_is_refused() -> None:
    """A root cannot name the operating key of a city that is not its own."""
    forged = resign(CERTIFICATE, OPERATING, HOSHINO.root, sub="minato")
    with pytest.raises(Malformed, match="another city"):
        verify_operating(forged, HOSHINO.id, ROOT, NOW, SKEW)


def test_certificate_with_an_unusable_key_is_refused() -> None:
    """When it is registered, not when the first signature comes."""
    forged = resign(CERTIFICATE, OPERATING, HOSHINO.root, key=LOW_ORDER)
    with pytest.raises(BadKey):
        verify_operating(forged, HOSHINO.id, ROOT, NOW, SKEW)


def test_membership_for_a_node_of_another_city_is_refused() -> None:
    """A city can only admit its own nodes."""
    forged = resign(MEMBER, MEMBERSHIP, HOSHINO.operating, sub="minato/clinic")
    with pytest.raises(Malformed, match="own nodes"):
        verify_membership(forged, HOSHINO.id, OPERATES, NOW, SKEW)


def test_membership_by_the_key_of_another_city_is_refused() -> None:
    """Also where it says that Hoshino issued it."""
    for forged in (
        resign(MEMBER, MEMBERSHIP, MINATO.operating),
        MINATO.membership("clinic"),
    ):
        with pytest.raises(UnknownKey):
            verify_membership(forged, HOSHINO.id, OPERATES, NOW, SKEW)


def test_membership_by_a_member_is_refused() -> None:
    """A node cannot admit another."""
    forged = resign(MEMBER, MEMBERSHIP, signing("hoshino/clinic"))
    with pytest.raises(UnknownKey):
        verify_membership(forged, HOSHINO.id, OPERATES, NOW, SKEW)


def test_membership_in_the_name_of_another_city_is_refused() -> None:
    """Signed by Hoshino, issued by Minato, it says."""
    forged = resign(MEMBER, MEMBERSHIP, HOSHINO.operating, iss="minato")
    with pytest.raises(WrongIssuer):
        verify_membership(forged, HOSHINO.id, OPERATES, NOW, SKEW)


@pytest.mark.parametrize("member", ["key", "sealing"])
def test_membership_with_an_unusable_key_is_refused(member: str) -> None:
    """Low-order keys are refused at registration."""
    bad = {"key": LOW_ORDER, "sealing": {"suite": "hybrid", "pub": "A" * 1622}}
    forged = resign(MEMBER, MEMBERSHIP, HOSHINO.operating, **{member: bad[member]})
    with pytest.raises(ProtocolViolation):
        verify_membership(forged, HOSHINO.id, OPERATES, NOW, SKEW)


@pytest.mark.parametrize(
    "change",
    [
        {"roles": []},
        {"roles": ["king"]},
        {"roles": ["vault"] * 9},
        {"data_classes": ["any"]},
        {"qualifications": [{"scheme": "privacy-mark"}]},
        {"qualifications": [{"scheme": "a", "until": 1}] * 33},
        {"key": {"kty": 1}},
        {"sub": "hoshino"},
    ],
)
def test_membership_with_odd_members_is_refused(change: dict[str, object]) -> None:
    """A qualification without an end, an unknown role, too many of anything."""
    forged = resign(MEMBER, MEMBERSHIP, HOSHINO.operating, **change)
    with pytest.raises(Malformed):
        verify_membership(forged, HOSHINO.id, OPERATES, NOW, SKEW)


def test_member_key_by_the_key_of_another_city_is_refused() -> None:
    """Else anybody could answer hidden reads."""
    forged = resign(MEMBER_KEYED, MEMBER_KEY, MINATO.operating)
    with pytest.raises(UnknownKey):
        verify_member_key(forged, HOSHINO.id, OPERATES, NOW, SKEW)


@pytest.mark.parametrize("member", ["key", "sealing"])
def test_member_key_that_is_unusable_is_refused(member: str) -> None:
    """Before a request is sealed to it."""
    bad = {"key": LOW_ORDER, "sealing": {"suite": "hybrid", "pub": "A" * 1622}}
    forged = resign(
        MEMBER_KEYED, MEMBER_KEY, HOSHINO.operating, **{member: bad[member]}
    )
    with pytest.raises(ProtocolViolation):
        verify_member_key(forged, HOSHINO.id, OPERATES, NOW, SKEW)


def test_member_key_names_nobody() -> None:
    """Requirement 7: city, consent, keys; no node."""
    key = verify_member_key(MEMBER_KEYED, HOSHINO.id, OPERATES, NOW, SKEW)
    assert key.body.iss == "hoshino"
    assert b"hoshino/" not in key.body.encode()


def test_documents_of_trust_do_not_pass_for_one_another() -> None:
    """Typ confusion among documents of one signer."""
    with pytest.raises(WrongType):
        verify_membership(MEMBER_KEYED, HOSHINO.id, OPERATES, NOW, SKEW)
    with pytest.raises(WrongType):
        verify_member_key(MEMBER, HOSHINO.id, OPERATES, NOW, SKEW)
    with pytest.raises(WrongType):
        verify_operating(MEMBER, HOSHINO.id, OPERATES, NOW, SKEW)


def test_every_document_of_trust_ends_and_starts() -> None:
    """A node that the city removes is gone when its last membership ends."""
    for late in (NOW + 3600, NOW + 99_999):
        with pytest.raises(Expired):
            verify_operating(CERTIFICATE, HOSHINO.id, ROOT, late, SKEW)
        with pytest.raises(Expired):
            verify_membership(MEMBER, HOSHINO.id, OPERATES, late, SKEW)
        with pytest.raises(Expired):
            verify_member_key(MEMBER_KEYED, HOSHINO.id, OPERATES, late, SKEW)
    early = NOW - 60 - SKEW - 1
    with pytest.raises(NotYetValid):
        verify_operating(CERTIFICATE, HOSHINO.id, ROOT, early, SKEW)
    with pytest.raises(NotYetValid):
        verify_membership(MEMBER, HOSHINO.id, OPERATES, early, SKEW)
    with pytest.raises(NotYetValid):
        verify_member_key(MEMBER_KEYED, HOSHINO.id, OPERATES, early, SKEW)


def test_qualification_counts_until_its_end() -> None:
    """Requirements 109, 110: one of those asked for, and not over."""
    member = HOSHINO.member("clinic")
    assert member.qualified((), NOW)
    assert member.qualified(("privacy-mark",), NOW + 99)
    assert member.qualified(("jis-q-15001", "privacy-mark"), NOW)
    assert not member.qualified(("privacy-mark",), NOW + 100)
    assert not member.qualified(("jis-q-15001",), NOW)
    assert not member.model_copy(update={"qualifications": ()}).qualified(
        ("privacy-mark",), NOW
    )


@pytest.mark.parametrize("suite", list(Suite))
def test_join_request_proves_its_own_key(suite: Suite) -> None:
    """It is signed by the key that it brings."""
    assert JoinRequest.verify(join_request(suite)).owner == "hoshino/bakery"


def test_join_request_with_the_key_of_another_is_refused() -> None:
    """Nobody registers a key that it does not hold."""
    stolen = join_request(key=signing("hoshino/clinic").public.jwk)
    with pytest.raises(UnknownKey):
        JoinRequest.verify(stolen)


def test_join_request_for_another_name_than_its_issuer_is_refused() -> None:
    """`iss` and `sub` are the same node."""
    with pytest.raises(WrongIssuer):
        JoinRequest.verify(join_request(iss="hoshino/clinic"))


def test_join_request_with_unusable_keys_is_refused() -> None:
    """Signing or sealing."""
    with pytest.raises(BadKey):
        JoinRequest.verify(join_request(key=LOW_ORDER))
    with pytest.raises(BadKey):
        JoinRequest.verify(join_request(sealing={"suite": "strict", "pub": "AAAA"}))


def test_altered_join_request_is_refused() -> None:
    """A broker on the way cannot add a role."""
    token = join_request()
    head, _, signature = token.split(".")
    _, other, _ = join_request(roles=["vault", "broker"]).split(".")
    with pytest.raises(BadSignature):
        JoinRequest.verify(f"{head}.{other}.{signature}")
