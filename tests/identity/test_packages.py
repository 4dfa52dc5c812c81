# SPDX-License-Identifier: Apache-2.0
"""Packages: usable by the party they are for alone, and hidden means hidden."""

from __future__ import annotations

import pytest

from identity.errors import NotActive, NotFound
from identity.packages import HiddenWay, OpenWay, Way
from protocol.canonical import unb64url
from protocol.consent import CONSENT, Consent, open_ticket
from protocol.errors import CannotOpen, Malformed, Misuse
from protocol.ids import NodeId
from protocol.location import open_token
from protocol.membership import (
    MEMBER_KEY,
    Credentials,
    MemberKey,
    verify_membership,
)
from protocol.request import ConsentPackage
from protocol.signature import Received, SingleKey, digest_of
from tests.identity.home import CLINIC, NURSERY, PHARMACY, Home, draft
from tests.protocol.cities import (
    HOSHINO,
    MINATO,
    NOW,
    SKEW,
    City,
    opening,
)

BROKER = opening("hoshino/broker")


def open_way(label: str = "clinic", city: City = HOSHINO) -> OpenWay:
    """Return the way to a party that may be named."""
    token = city.membership(label)
    operating = city.operating.public
    return OpenWay(verify_membership(token, city.id, operating, NOW, SKEW))


def hidden_way(consent: str, name: str = "hidden", city: City = HOSHINO) -> HiddenWay:
    """Return the way to a holder that must not be named."""
    key = SingleKey(city.name, city.operating.public)
    received = Received.parse(city.member_key(name, consent), MEMBER_KEY)
    return HiddenWay(received.verify(MemberKey, key), BROKER.public)


def package(
    home: Home,
    consent: str,
    ways: dict[NodeId, Way],
    label: str = "nursery",
    city: City = MINATO,
) -> ConsentPackage:
    """Make the package for a party, by default the recipient."""
    return home.packages.package(
        home.connection, consent, city.member(label), ways, now=NOW
    )


def consent_of(made: ConsentPackage) -> Consent:
    """Return the consent in a package."""
    return Received.parse(made.consent, CONSENT).peek(Consent)


def test_recipient_learns_who_is_meant_in_its_own_name(home: Home) -> None:
    """And the holder in its own; the two handles differ."""
    account = home.resident()
    made = package(home, home.consent(account), {CLINIC: open_way()})
    consent = consent_of(made)
    own = open_ticket(made.own_ticket, opening(NURSERY), NURSERY, consent)
    held = open_ticket(made.holders[0].ticket, opening(CLINIC), CLINIC, consent)
    for ticket, party in ((own, NURSERY), (held, CLINIC)):
        handle = home.residents.handle_at(home.connection, account, party)
        assert ticket.handle == handle
    assert own.handle != held.handle


def test_recipient_cannot_open_the_holders_ticket(home: Home) -> None:
    """It never learns the handle at another organization (DESIGN section 2)."""
    made = package(home, home.consent(home.resident()), {CLINIC: open_way()})
    with pytest.raises(CannotOpen):
        open_ticket(made.holders[0].ticket, opening(NURSERY), CLINIC, consent_of(made))


def test_ticket_of_one_consent_does_not_open_another(home: Home) -> None:
    """Swapped person: a ticket of somebody else under this consent."""
    first, second = home.resident("first"), home.resident("second")
    mine = package(home, home.consent(first), {CLINIC: open_way()})
    other = package(home, home.consent(second), {CLINIC: open_way()})
    with pytest.raises((CannotOpen, Malformed)):
        open_ticket(other.holders[0].ticket, opening(CLINIC), CLINIC, consent_of(mine))


def test_open_package_names_the_holder_and_how_to_reach_it(home: Home) -> None:
    """With its membership."""
    made = package(home, home.consent(home.resident()), {CLINIC: open_way()})
    (ticket,) = made.holders
    assert (ticket.node, ticket.city) == (CLINIC, "hoshino")
    assert ticket.membership == HOSHINO.membership("clinic")
    assert ticket.token is None


def hidden_package(home: Home, account: str) -> ConsentPackage:
    """Make a package of a consent whose holders stay hidden."""
    consent = home.consent(account, hidden_holder=True, holders=(CLINIC, PHARMACY))
    ways: dict[NodeId, Way] = {
        CLINIC: hidden_way(consent, "hidden 1"),
        PHARMACY: hidden_way(consent, "hidden 2"),
    }
    return package(home, consent, ways)


def test_hidden_package_does_not_name_the_holder(home: Home) -> None:
    """Not in any byte that the recipient gets (requirement 7)."""
    made = hidden_package(home, home.resident()).encode()
    tokens = [
        unb64url(part)
        for token in made.decode().split('"')
        for part in token.split(".")[:2]
        if token.count(".") == 2 and part.isascii() and token.startswith("eyJ")
    ]
    for seen in (made, *tokens):
        for word in (b"clinic", b"pharmacy"):
            assert word not in seen


def test_hidden_holders_ticket_opens_with_its_nameless_key(home: Home) -> None:
    """And the token leads the city's broker, and it alone, to the holder."""
    made = hidden_package(home, home.resident())
    consent, found = consent_of(made), set()
    for ticket in made.holders:
        assert ticket.node is None
        assert ticket.membership is None
        assert ticket.token is not None
        body = open_token(ticket.token, HOSHINO.id, BROKER, NOW)
        found.add(body.node)
        assert body.consent == digest_of(made.consent.encode())
        name = "hidden 1" if body.node == CLINIC else "hidden 2"
        held = open_ticket(ticket.ticket, opening(name), body.node, consent)
        assert held.party == body.node
        with pytest.raises(CannotOpen):
            open_token(ticket.token, HOSHINO.id, opening(NURSERY), NOW)
    assert found == {CLINIC, PHARMACY}


def test_hidden_holders_stand_in_no_order(home: Home) -> None:
    """Sorted by ciphertext: the first is not always the first named."""
    account = home.resident()
    firsts = set()
    for _ in range(12):
        first = hidden_package(home, account).holders[0]
        assert first.token is not None
        firsts.add(open_token(first.token, HOSHINO.id, BROKER, NOW).node)
    assert firsts == {CLINIC, PHARMACY}


def test_token_ends_with_the_member_key(home: Home) -> None:
    """A removed holder is not reached for longer than its key counts."""
    consent = home.consent(home.resident(), hidden_holder=True)
    way = hidden_way(consent)
    made = package(home, consent, {CLINIC: way})
    token = made.holders[0].token
    assert token is not None
    body = open_token(token, HOSHINO.id, BROKER, NOW)
    assert body.exp == way.member_key.body.exp


def test_open_way_to_a_hidden_holder_is_refused(home: Home) -> None:
    """A slip of the caller must not uncover it."""
    consent = home.consent(home.resident(), hidden_holder=True)
    with pytest.raises(Misuse, match="hidden"):
        package(home, consent, {CLINIC: open_way()})


def test_member_key_of_another_consent_is_refused(home: Home) -> None:
    """It would link the two."""
    account = home.resident()
    consent = home.consent(account, hidden_holder=True)
    with pytest.raises(Misuse, match="another consent"):
        package(home, consent, {CLINIC: hidden_way("another")})


def test_member_key_of_another_city_is_refused(home: Home) -> None:
    """The answer would not verify, or verify for the wrong city."""
    consent = home.consent(home.resident(), hidden_holder=True)
    with pytest.raises(Misuse):
        package(home, consent, {CLINIC: hidden_way(consent, city=MINATO)})


def test_nameless_key_in_an_open_consent_is_refused(home: Home) -> None:
    """The recipient could not tell whom it asks."""
    consent = home.consent(home.resident())
    with pytest.raises(Misuse):
        package(home, consent, {CLINIC: hidden_way(consent)})


def test_membership_of_another_node_is_refused(home: Home) -> None:
    """The ticket would be sealed to the wrong party."""
    consent = home.consent(home.resident())
    with pytest.raises(Misuse, match="another node"):
        package(home, consent, {CLINIC: open_way("pharmacy")})


def test_way_to_a_stranger_is_refused(home: Home) -> None:
    """Only holders that the consent names get tickets."""
    consent = home.consent(home.resident())
    with pytest.raises(Misuse, match="other side"):
        package(home, consent, {PHARMACY: open_way("pharmacy")})


def test_stranger_gets_no_package_and_learns_nothing(home: Home) -> None:
    """It looks as if there were no such consent."""
    consent = home.consent(home.resident())
    refusals = []
    for identifier in (consent, "unknown"):
        with pytest.raises(NotFound) as refused:
            package(home, identifier, {}, "bank")
        refusals.append(str(refused.value))
    assert len(set(refusals)) == 1


@pytest.mark.parametrize(
    ("step", "slug"), [("pause", "consent-paused"), ("withdraw", "consent-withdrawn")]
)
def test_no_package_of_a_consent_that_is_not_active(
    home: Home, step: str, slug: str
) -> None:
    """Fresh tickets would keep it usable."""
    account = home.resident()
    consent = home.consent(account)
    getattr(home.consents, step)(home.connection, account, consent, now=NOW)
    with pytest.raises(NotActive) as refused:
        package(home, consent, {CLINIC: open_way()})
    assert refused.value.slug == slug


def test_no_package_of_a_consent_that_is_over(home: Home) -> None:
    """Its end is its end."""
    consent = home.consent(home.resident())
    ends = draft().ends
    assert ends is not None
    with pytest.raises(NotActive) as refused:
        home.packages.package(
            home.connection, consent, MINATO.member("nursery"), {}, now=ends
        )
    assert refused.value.slug == "consent-expired"


def test_tickets_are_made_fresh_each_time(home: Home) -> None:
    """Two packages of one consent have no ciphertext in common."""
    consent = home.consent(home.resident())
    first, second = (package(home, consent, {CLINIC: open_way()}) for _ in range(2))
    assert first.own_ticket != second.own_ticket
    assert first.holders[0].ticket != second.holders[0].ticket


def test_holder_that_is_to_push_gets_the_ways_to_recipients(home: Home) -> None:
    """The same package, seen from the other side."""
    account = home.resident()
    made = package(
        home,
        home.consent(account),
        {NURSERY: open_way("nursery", MINATO)},
        "clinic",
        HOSHINO,
    )
    (ticket,) = made.holders
    held = open_ticket(ticket.ticket, opening(NURSERY), NURSERY, consent_of(made))
    assert held.party == NURSERY
    own = open_ticket(made.own_ticket, opening(CLINIC), CLINIC, consent_of(made))
    assert own.party == CLINIC


def test_hidden_holder_gets_no_way_to_push(home: Home) -> None:
    """A push would show who it is."""
    consent = home.consent(home.resident(), hidden_holder=True)
    with pytest.raises(Misuse):
        package(
            home,
            consent,
            {NURSERY: open_way("nursery", MINATO)},
            "clinic",
            HOSHINO,
        )
    made = package(home, consent, {}, "clinic", HOSHINO)
    assert made.holders == ()


def test_proof_and_credentials_travel_along(home: Home) -> None:
    """The recipient can use the package at once, and the holder verify it offline."""
    shown = Credentials(membership="m", operating="o")
    consent = home.consent(home.resident())
    made = home.packages.package(
        home.connection,
        consent,
        MINATO.member("nursery"),
        {},
        now=NOW,
        proof="proof",
        home=shown,
    )
    assert (made.proof, made.home) == ("proof", shown)
