# SPDX-License-Identifier: Apache-2.0
"""What survives a restart, and that a forged database makes nobody believe."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, update

from identity.errors import NotAMember
from identity.tables import trust_documents
from identity.trust_documents import (
    accept_own,
    forget_ended,
    load_known,
    load_member,
    load_own,
    save_known,
    save_member,
    save_own,
)
from protocol.errors import WrongAudience
from protocol.ids import NodeId
from protocol.membership import MEMBERSHIP, Credentials
from protocol.route import TRUST_BUNDLE
from tests.identity.test_trust import bundle, trust
from tests.protocol.cities import HOSHINO, MINATO, NOW, resign, signing

CLINIC = NodeId("hoshino/clinic")


def credentials(label: str = "clinic") -> Credentials:
    """Return what a member of Hoshino shows."""
    return Credentials(
        membership=HOSHINO.membership(label), operating=HOSHINO.certificate()
    )


def test_bundle_and_certificate_survive_a_restart(connection: Connection) -> None:
    """Exchanges go on while the city's broker is down."""
    before, after = trust(), trust()
    before.accept_bundle(bundle(), NOW)
    save_known(connection, before)
    load_known(connection, after, NOW)
    assert after.names(NOW) == (HOSHINO.id, MINATO.id)
    assert after.operating is not None


def test_ended_bundle_is_not_taken_up(connection: Connection) -> None:
    """A long outage ends trust in other cities, quietly."""
    before, after = trust(), trust()
    before.accept_bundle(bundle(life_s=60), NOW)
    save_known(connection, before)
    load_known(connection, after, NOW + 60)
    assert after.bundle is None


def test_forged_bundle_in_the_database_is_not_believed(connection: Connection) -> None:
    """Whoever can write to the disk is not the city."""
    before, after = trust(), trust()
    before.accept_bundle(bundle(), NOW)
    save_known(connection, before)
    forged = resign(bundle(), TRUST_BUNDLE, signing("thief"))
    connection.execute(
        update(trust_documents)
        .where(trust_documents.c.name == "bundle")
        .values(document=forged)
    )
    load_known(connection, after, NOW)
    assert after.bundle is None


def test_own_membership_survives_a_restart(connection: Connection) -> None:
    """The node can speak at once."""
    key = signing(CLINIC).public.__eq__
    own = accept_own(trust(), CLINIC, key, credentials(), NOW)
    save_own(connection, own)
    again = load_own(connection, trust(), CLINIC, key, NOW)
    assert again == own
    assert load_own(connection, trust(), CLINIC, key, own.body.exp) is None


def test_node_without_membership_has_none(connection: Connection) -> None:
    """Before it has joined."""
    assert (
        load_own(connection, trust(), CLINIC, signing(CLINIC).public.__eq__, NOW)
        is None
    )


@pytest.mark.parametrize(
    ("node", "key"), [("hoshino/hall", CLINIC), (CLINIC, "another key")]
)
def test_membership_for_another_node_or_key_is_not_ours(node: str, key: str) -> None:
    """The city's answer was mixed up, or the key file was."""
    with pytest.raises(WrongAudience):
        accept_own(
            trust(), NodeId(node), signing(key).public.__eq__, credentials(), NOW
        )


def test_renewal_is_due_in_the_second_half() -> None:
    """Early enough to survive an outage of half its life."""
    own = accept_own(trust(), CLINIC, signing(CLINIC).public.__eq__, credentials(), NOW)
    half = (own.body.iat + own.body.exp) // 2
    assert not own.renewal_due(half - 1)
    assert own.renewal_due(half)


def test_member_is_found_again_and_verified_anew(connection: Connection) -> None:
    """A kept membership counts as long as it would if shown now."""
    ours = trust()
    shown = credentials()
    member = ours.verify_sender(shown.membership, shown.operating, NOW)
    save_member(connection, member, shown)
    assert load_member(connection, trust(), CLINIC, NOW) == (member, shown)
    assert load_member(connection, trust(), CLINIC, member.exp) is None
    ours.set_removed([CLINIC])
    with pytest.raises(NotAMember):
        ours.verify_sender(shown.membership, shown.operating, NOW)
    assert load_member(connection, ours, CLINIC, NOW) is None


def test_another_members_row_does_not_pass_for_it(connection: Connection) -> None:
    """Rows swapped in the database seal nothing to the wrong node."""
    shown = credentials("pharmacy")
    member = trust().verify_sender(shown.membership, shown.operating, NOW)
    save_member(connection, member, shown)
    connection.execute(update(trust_documents).values(name=f"member:{CLINIC}"))
    assert load_member(connection, trust(), CLINIC, NOW) is None


def test_ended_documents_are_forgotten(connection: Connection) -> None:
    """Nothing is kept for ever."""
    shown = credentials()
    member = trust().verify_sender(shown.membership, shown.operating, NOW)
    save_member(connection, member, shown)
    forget_ended(connection, before=member.exp + 1)
    assert load_member(connection, trust(), CLINIC, NOW) is None


def test_forged_member_in_the_database_is_not_believed(connection: Connection) -> None:
    """A membership of the thief's making."""
    shown = credentials()
    member = trust().verify_sender(shown.membership, shown.operating, NOW)
    forged = resign(shown.membership, MEMBERSHIP, signing("thief"))
    save_member(connection, member, shown.model_copy(update={"membership": forged}))
    assert load_member(connection, trust(), CLINIC, NOW) is None
