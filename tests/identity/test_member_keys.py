# SPDX-License-Identifier: Apache-2.0
"""Nameless keys: certified without a name, fresh, short, known to the city alone."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, text

from identity.errors import Conflict, NotFound
from identity.key_owners import MemberKeyOwners
from identity.key_register import claim, kids_of
from identity.member_keys import MemberKeys
from identity.nameless import NamelessKeys
from protocol.errors import BadKey, Misuse, UnsupportedSuite
from protocol.membership import MemberKey, verify_member_key
from protocol.sealed import PublicSealingKey
from protocol.signature import Signed
from protocol.suites import Suite
from tests.identity.home import CLINIC, Chance
from tests.protocol.cities import HOSHINO, MINATO, NOW, SKEW, opening, seed, signing

DAY = 86_400


def owners() -> MemberKeyOwners:
    """Return who keeps whose the keys are."""
    return MemberKeyOwners(secret=seed("city", 32), entropy=Chance())


def keys(suites: frozenset[Suite] = frozenset(Suite)) -> MemberKeys:
    """Return the city's desk for nameless keys."""
    return MemberKeys(
        city=HOSHINO.id,
        operating=HOSHINO.operating,
        owners=owners(),
        entropy=Chance(),
        suites=suites,
    )


def certify(
    connection: Connection,
    name: str = "hidden",
    sealing: str | None = None,
    consent: str = "consent-1",
    until: int = NOW + 3600,
    suites: frozenset[Suite] = frozenset(Suite),
) -> Signed[MemberKey]:
    """Certify keys that the clinic brings."""
    return keys(suites).certify(
        connection,
        HOSHINO.member("clinic"),
        consent=consent,
        key=signing(name).public,
        sealing=opening(sealing or name).public.document,
        until=until,
        now=NOW,
    )


def test_certificate_verifies_and_names_the_consent(connection: Connection) -> None:
    """A requester accepts it for that consent."""
    token = certify(connection).token
    body = verify_member_key(
        token, HOSHINO.id, HOSHINO.operating.public, NOW, SKEW
    ).body
    assert (body.iss, body.aud) == ("hoshino", "consent-1")
    assert body.verifying_key() == signing("hidden").public


def test_certificate_does_not_name_the_holder(connection: Connection) -> None:
    """Neither in clear nor by its known keys (requirement 7)."""
    shown = certify(connection).body.encode()
    assert b"clinic" not in shown
    assert HOSHINO.member("clinic").verifying_key().kid.encode() not in shown


def test_city_knows_who_stands_behind_a_key(connection: Connection) -> None:
    """For its own investigations."""
    kid = certify(connection).body.verifying_key().kid
    assert owners().behind(connection, kid) == CLINIC


def test_stored_register_does_not_show_who_it_is(connection: Connection) -> None:
    """The name is sealed; a stolen database links no key to a holder."""
    certify(connection)
    for table in ("city_member_keys", "city_keys"):
        rows = connection.execute(text(f"select * from {table}")).all()  # noqa: S608  # fixed names
        assert rows
        assert "clinic" not in repr(rows)


@pytest.mark.parametrize(("name", "sealing"), [("hidden", "x"), ("x", "hidden")])
def test_one_key_does_not_serve_two_consents(
    connection: Connection, name: str, sealing: str
) -> None:
    """It would link them."""
    certify(connection)
    with pytest.raises(Conflict):
        certify(connection, name, sealing, consent="consent-2")


@pytest.mark.parametrize(("name", "sealing"), [("clinic", "x"), ("x", "clinic")])
def test_registered_key_of_a_node_is_not_certified(
    connection: Connection, name: str, sealing: str
) -> None:
    """It would name the node."""
    member = HOSHINO.member("clinic")
    kids = (signing("clinic").public.kid,)
    claim(connection, member.sub, kids)
    sealing_key = opening("clinic").public.document
    claim(connection, member.sub, [kid_of(sealing_key)])
    with pytest.raises(Conflict):
        certify(connection, name, sealing)


def kid_of(sealing: PublicSealingKey) -> str:
    """Return the name under which a sealing key is registered."""
    return kids_of(signing("clinic").public, sealing)[1]


def test_nameless_key_is_not_registered_to_a_node_later(
    connection: Connection,
) -> None:
    """A node that shows it as its own would uncover itself, or frame another."""
    kid = certify(connection).body.verifying_key().kid
    with pytest.raises(Conflict):
        claim(connection, CLINIC, [kid])


def test_life_is_cut_to_the_citys_limit(connection: Connection) -> None:
    """A removed holder stops answering within a day."""
    assert certify(connection, until=NOW + 90 * DAY).body.exp == NOW + DAY


def test_key_for_the_past_is_refused(connection: Connection) -> None:
    """A slip of the caller."""
    with pytest.raises(Misuse):
        certify(connection, until=NOW)


def test_member_of_another_city_is_refused(connection: Connection) -> None:
    """A city vouches for its own."""
    with pytest.raises(Misuse):
        keys().certify(
            connection,
            MINATO.member("nursery"),
            consent="consent-1",
            key=signing("hidden").public,
            sealing=opening("hidden").public.document,
            until=NOW + 60,
            now=NOW,
        )


def test_strict_city_does_not_certify_other_suites(connection: Connection) -> None:
    """Requirement 69 holds for hidden reads too."""
    with pytest.raises(UnsupportedSuite):
        certify(connection, suites=frozenset({Suite.STRICT}))


def test_unusable_sealing_key_is_refused(connection: Connection) -> None:
    """Found at registration, not at the first read."""
    with pytest.raises(BadKey):
        keys().certify(
            connection,
            HOSHINO.member("clinic"),
            consent="consent-1",
            key=signing("hidden").public,
            sealing=PublicSealingKey(suite=Suite.HYBRID, pub="AAAA"),
            until=NOW + 60,
            now=NOW,
        )


def test_ended_keys_are_forgotten(connection: Connection) -> None:
    """Nothing is kept longer than it can matter."""
    kid = certify(connection).body.verifying_key().kid
    owners().forget(connection, before=NOW + DAY)
    with pytest.raises(NotFound):
        owners().behind(connection, kid)
    assert certify(connection).body.aud == "consent-1"


def test_holder_finds_its_private_halves_again(connection: Connection) -> None:
    """Also after a restart, and only under its own secret."""
    first = NamelessKeys(secret=seed("nameless", 32), entropy=Chance())
    pair = first.create(connection, Suite.HYBRID, consent="c1", ends=NOW + DAY)
    again = NamelessKeys(secret=seed("nameless", 32), entropy=Chance())
    found = again.find(connection, pair.signing.public.kid, now=NOW)
    assert found == pair
    assert pair.consent == "c1"
    assert again.find(connection, "unknown", now=NOW) is None


def test_holder_forgets_ended_pairs(connection: Connection) -> None:
    """The private halves go as well."""
    nameless = NamelessKeys(secret=seed("nameless", 32), entropy=Chance(), cache=1)
    pair = nameless.create(connection, Suite.HYBRID, consent="c1", ends=NOW)
    assert nameless.forget(connection, before=NOW + 1) == 1
    assert nameless.find(connection, pair.signing.public.kid, now=NOW - 1) is None


def test_ended_pair_is_not_used_even_from_the_cache(connection: Connection) -> None:
    """A hidden holder stops answering when its certificate ends."""
    nameless = NamelessKeys(secret=seed("nameless", 32), entropy=Chance())
    pair = nameless.create(connection, Suite.HYBRID, consent="c1", ends=NOW)
    kid = pair.signing.public.kid
    assert nameless.find(connection, kid, now=NOW - 1) == pair
    assert nameless.find(connection, kid, now=NOW) is None
