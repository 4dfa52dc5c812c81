# SPDX-License-Identifier: Apache-2.0
"""Agreements: proposed, compared over the phone, in force, replaced, ended."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from identity.agreements import ENDED, INSTALLED, RECEIVED, AgreementStore
from identity.errors import Conflict, NotFound
from identity.root import fingerprint
from protocol.agreement import Agreement
from protocol.errors import BadSignature, Expired, Malformed, Misuse, WrongAudience
from protocol.membership import OPERATING
from tests.protocol.cities import (
    HOSHINO,
    MINATO,
    NOW,
    YAMANAMI,
    City,
    agreement_body,
    resign,
    signing,
)

FINGERPRINT = fingerprint(MINATO.root.public)


def store(city: City = HOSHINO) -> AgreementStore:
    """Return the agreements of a city."""
    return AgreementStore(city=city.id, root=city.root.public)


def proposal(**changes: object) -> bytes:
    """Return Minato's proposal to Hoshino."""
    body = agreement_body().model_copy(update=changes)
    return Agreement.propose(body, MINATO.id, MINATO.root).wire


def complete(**changes: object) -> bytes:
    """Return an agreement with both signatures."""
    return (
        Agreement.parse(proposal(**changes)).countersign(HOSHINO.id, HOSHINO.root).wire
    )


def countersign(connection: Connection, confirmed: str = FINGERPRINT) -> bytes:
    """Receive and countersign Minato's proposal."""
    store().receive(connection, proposal(), now=NOW)
    return (
        store()
        .countersign(
            connection, "hoshino-minato-1", HOSHINO.root, confirmed=confirmed, now=NOW
        )
        .agreement.wire
    )


def test_proposal_becomes_an_agreement_on_both_sides(connection: Connection) -> None:
    """The whole way, with one file there and one back."""
    wire = countersign(connection)
    (ours,) = store().in_force(connection, now=NOW)
    assert ours.complete
    assert ours.wire == wire
    # The other side has a database of its own; here its rows would be in the way.
    assert Agreement.parse(wire).in_force(NOW)


def test_own_proposal_is_installed_when_it_comes_back(connection: Connection) -> None:
    """The first signer's side."""
    body = agreement_body()
    sent = store().propose(connection, body, HOSHINO.root, now=NOW).agreement
    back = sent.countersign(MINATO.id, MINATO.root)
    assert store().install(connection, back.wire, now=NOW).state == INSTALLED
    assert [e.state for e in store().entries(connection)] == [INSTALLED]


def test_received_proposal_shows_the_others_fingerprint(
    connection: Connection,
) -> None:
    """What two people read to each other."""
    entry = store().receive(connection, proposal(), now=NOW)
    assert entry.fingerprint == FINGERPRINT
    assert entry.state == RECEIVED


def test_text_that_is_not_ours_is_not_proposed(connection: Connection) -> None:
    """Between others, or over before it is signed."""
    foreign = agreement_body(MINATO, YAMANAMI)
    with pytest.raises(WrongAudience):
        store().propose(connection, foreign, HOSHINO.root, now=NOW)
    with pytest.raises(Expired):
        body = agreement_body()
        store().propose(connection, body, HOSHINO.root, now=body.ends)


def test_proposal_alone_is_not_in_force(connection: Connection) -> None:
    """Nothing is trusted before both have signed."""
    store().receive(connection, proposal(), now=NOW)
    assert store().in_force(connection, now=NOW) == ()


def test_countersigning_needs_the_fingerprint_from_the_phone(
    connection: Connection,
) -> None:
    """A proposal that was swapped on the way ends here."""
    wrong = fingerprint(YAMANAMI.root.public)
    with pytest.raises(Misuse, match="fingerprint"):
        countersign(connection, wrong)
    assert store().in_force(connection, now=NOW) == ()


@pytest.mark.parametrize("typed", [FINGERPRINT.upper(), FINGERPRINT.replace(" ", "")])
def test_fingerprint_may_be_typed_in_other_case_and_spacing(
    connection: Connection, typed: str
) -> None:
    """People type what they hear."""
    assert countersign(connection, typed)


@pytest.mark.parametrize("typed", ["", FINGERPRINT[:19]])
def test_part_of_the_fingerprint_is_not_enough(
    connection: Connection, typed: str
) -> None:
    """Half of it could be found by trying keys."""
    with pytest.raises(Misuse):
        countersign(connection, typed)


def test_proposal_with_another_root_for_our_city_is_refused(
    connection: Connection,
) -> None:
    """Signing it would make somebody else us."""
    root = signing("impostor root")
    party = HOSHINO.party().model_copy(
        update={
            "root": root.public.jwk,
            "operating": resign(HOSHINO.certificate(), OPERATING, root),
        }
    )
    wire = proposal(a=party)
    with pytest.raises(WrongAudience, match="another root"):
        store().receive(connection, wire, now=NOW)
    forged = Agreement.parse(wire).countersign(HOSHINO.id, root).wire
    with pytest.raises(WrongAudience, match="another root"):
        store().install(connection, forged, now=NOW)


def test_agreement_between_others_is_refused(connection: Connection) -> None:
    """It would be trusted as ours."""
    body = agreement_body(MINATO, YAMANAMI)
    wire = Agreement.propose(body, MINATO.id, MINATO.root).wire
    with pytest.raises(WrongAudience):
        store().receive(connection, wire, now=NOW)


def test_ended_text_is_refused(connection: Connection) -> None:
    """Neither as a proposal nor with both signatures."""
    with pytest.raises(Expired):
        store().receive(connection, proposal(), now=agreement_body().ends)
    with pytest.raises(Expired):
        store().install(connection, complete(), now=agreement_body().ends)


def test_single_signature_is_not_installed(connection: Connection) -> None:
    """A neighbor cannot put its own wishes in force."""
    with pytest.raises(Malformed, match="lacks a signature"):
        store().install(connection, proposal(), now=NOW)


def test_altered_agreement_is_refused(connection: Connection) -> None:
    """Both signatures cover the same bytes."""
    wire = bytearray(complete())
    place = wire.index(b'"payload":"') + 40
    wire[place] = ord("A") if wire[place] != ord("A") else ord("B")
    with pytest.raises((BadSignature, Malformed)):
        store().install(connection, bytes(wire), now=NOW)


def test_installing_again_changes_nothing(connection: Connection) -> None:
    """Files are sent twice."""
    for _ in range(2):
        store().install(connection, complete(), now=NOW)
    assert len(store().entries(connection)) == 1


def test_newer_version_replaces_the_older(connection: Connection) -> None:
    """One agreement per city at a time."""
    store().install(connection, complete(), now=NOW)
    store().install(connection, complete(version=2), now=NOW)
    (held,) = store().in_force(connection, now=NOW)
    assert held.body.version == 2


def test_older_version_does_not_come_back(connection: Connection) -> None:
    """Rollback to wider terms that were given up."""
    store().install(connection, complete(version=2), now=NOW)
    with pytest.raises(Conflict, match="newer"):
        store().install(connection, complete(), now=NOW)


def test_version_that_starts_later_leaves_the_present_one_in_force(
    connection: Connection,
) -> None:
    """A change can be agreed on ahead of time."""
    store().install(connection, complete(), now=NOW)
    store().install(connection, complete(version=2, starts=NOW + 100), now=NOW)
    assert store().in_force(connection, now=NOW)[0].body.version == 1
    assert store().in_force(connection, now=NOW + 100)[0].body.version == 2


def test_ended_agreement_is_out_of_force_at_once(connection: Connection) -> None:
    """The kill switch."""
    store().install(connection, complete(), now=NOW)
    (ended,) = store().stop(connection, "hoshino-minato-1", now=NOW)
    assert ended.state == ENDED
    assert store().in_force(connection, now=NOW) == ()


def test_ended_agreement_does_not_come_back(connection: Connection) -> None:
    """Replay: the file still has both signatures."""
    store().install(connection, complete(), now=NOW)
    store().stop(connection, "hoshino-minato-1", now=NOW)
    with pytest.raises(Conflict, match="ended"):
        store().install(connection, complete(), now=NOW)
    store().install(connection, complete(version=2), now=NOW)
    assert len(store().in_force(connection, now=NOW)) == 1


def test_proposal_cannot_overwrite_what_is_kept(connection: Connection) -> None:
    """A second text under the same id and version is refused."""
    store().install(connection, complete(), now=NOW)
    with pytest.raises(Conflict):
        store().receive(connection, proposal(), now=NOW)
    assert len(store().in_force(connection, now=NOW)) == 1


def test_agreement_signed_by_us_already_is_not_received_as_a_proposal(
    connection: Connection,
) -> None:
    """It is for `install`."""
    with pytest.raises(Conflict):
        store().receive(connection, complete(), now=NOW)


def test_ending_or_signing_what_is_not_there_is_refused(
    connection: Connection,
) -> None:
    """The operator reads that nothing happened."""
    with pytest.raises(NotFound):
        store().stop(connection, "x", now=NOW)
    with pytest.raises(NotFound):
        store().countersign(connection, "x", HOSHINO.root, confirmed="", now=NOW)
