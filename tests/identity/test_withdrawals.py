# SPDX-License-Identifier: Apache-2.0
"""Who is told of an end, and whose answer counts."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from identity.errors import NotFound
from identity.tables import withdrawal_notices
from identity.withdrawals import ACKNOWLEDGEMENT, WITHDRAWAL
from protocol.consent import Acknowledgement, State, Withdrawal
from protocol.errors import Expired, UnknownKey, WrongAudience, WrongIssuer
from protocol.ids import NodeId
from protocol.membership import Membership
from protocol.signature import Received, SingleKey, sign
from tests.identity.home import BOTH_FACTORS, CLINIC, HALL, NURSERY, Home, draft
from tests.protocol.cities import HOSHINO, MINATO, NOW, signing

BANK = NodeId("minato/bank")


def withdrawn(home: Home, account: str) -> str:
    """Give and withdraw a consent, and tell its parties."""
    consent = home.consent(account)
    home.consents.withdraw(home.connection, account, consent, now=NOW)
    home.withdrawals.tell(home.connection, consent, now=NOW)
    return consent


def answer(
    consent: str,
    party: NodeId = NURSERY,
    signer: str | None = None,
    **changes: object,
) -> str:
    """Return a party's signed answer."""
    plain = Acknowledgement(
        iss=party,
        aud=HALL,
        jti="1",
        iat=NOW,
        exp=NOW + 3600,
        consent=consent,
        version=2,
        done="deleted",
    )
    claims = plain.model_copy(update=changes)
    return sign(signing(signer or party), ACKNOWLEDGEMENT, claims).token


def member(party: NodeId = NURSERY) -> Membership:
    """Return the verified membership of a party."""
    city = MINATO if party.city == MINATO.id else HOSHINO
    return city.member(party.label)


def test_every_party_is_told_in_its_own_document(home: Home) -> None:
    """Holders and recipients, each as audience."""
    account = home.resident()
    consent = home.consent(account)
    home.consents.withdraw(home.connection, account, consent, now=NOW)
    told = home.withdrawals.tell(home.connection, consent, now=NOW, obligation="delete")
    assert [party for party, _ in told] == [CLINIC, NURSERY]
    for party, signed in told:
        key = SingleKey(HALL, signing(HALL).public)
        body = Received.parse(signed.token, WITHDRAWAL).verify(Withdrawal, key).body
        assert (body.aud, body.consent, body.version) == (party, consent, 2)
        assert (body.state, body.obligation) == (State.WITHDRAWN, "delete")


def test_pause_is_told_as_a_pause(home: Home) -> None:
    """Nobody deletes for a pause."""
    account = home.resident()
    consent = home.consent(account)
    home.consents.pause(home.connection, account, consent, now=NOW)
    (_, signed), _ = home.withdrawals.tell(home.connection, consent, now=NOW)
    assert signed.body.state is State.PAUSED


def test_party_that_a_change_left_out_is_told(home: Home) -> None:
    """For it the consent has ended; for the others it goes on."""
    account = home.resident()
    consent = home.consent(account, recipients=(NURSERY, BANK))
    home.consents.amend(
        home.connection, account, consent, draft(), BOTH_FACTORS, now=NOW
    )
    ((party, signed),) = home.withdrawals.tell(home.connection, consent, now=NOW)
    assert party == BANK
    assert signed.body.state is State.WITHDRAWN


def test_nobody_is_told_of_an_active_consent(home: Home) -> None:
    """There is nothing to say."""
    consent = home.consent(home.resident())
    assert home.withdrawals.tell(home.connection, consent, now=NOW) == ()


def test_telling_again_does_not_lose_answers(home: Home) -> None:
    """The same news twice would start the waiting anew."""
    account = home.resident()
    consent = withdrawn(home, account)
    home.withdrawals.acknowledge(home.connection, member(), answer(consent), now=NOW)
    assert home.withdrawals.tell(home.connection, consent, now=NOW + 1) == ()
    (_, nursery) = home.withdrawals.told(home.connection, account, consent)
    assert nursery.acknowledged == NOW


def test_withdrawal_after_a_pause_is_told_anew(home: Home) -> None:
    """Another version is other news."""
    account = home.resident()
    consent = home.consent(account)
    home.consents.pause(home.connection, account, consent, now=NOW)
    home.withdrawals.tell(home.connection, consent, now=NOW)
    home.consents.withdraw(home.connection, account, consent, now=NOW)
    told = home.withdrawals.tell(home.connection, consent, now=NOW)
    assert {signed.body.state for _, signed in told} == {State.WITHDRAWN}


def test_stronger_obligation_is_told_anew(home: Home) -> None:
    """First stop, later delete."""
    consent = withdrawn(home, home.resident())
    told = home.withdrawals.tell(
        home.connection, consent, now=NOW + 1, obligation="delete"
    )
    assert len(told) == 2


def test_resident_sees_who_has_answered_and_what(home: Home) -> None:
    """And who has not."""
    account = home.resident()
    consent = withdrawn(home, account)
    token = answer(consent, done="kept", basis="Medical Practitioners Act")
    home.withdrawals.acknowledge(home.connection, member(), token, now=NOW + 7)
    clinic, nursery = home.withdrawals.told(home.connection, account, consent)
    assert (clinic.party, clinic.acknowledged) == (CLINIC, None)
    assert (nursery.party, nursery.acknowledged) == (NURSERY, NOW + 7)
    assert (nursery.done, nursery.basis) == ("kept", "Medical Practitioners Act")
    assert nursery.acknowledgement == token


def test_second_answer_changes_nothing(home: Home) -> None:
    """At least once: messages come twice."""
    account = home.resident()
    consent = withdrawn(home, account)
    for seconds in (1, 2):
        home.withdrawals.acknowledge(
            home.connection, member(), answer(consent), now=NOW + seconds
        )
    _, nursery = home.withdrawals.told(home.connection, account, consent)
    assert nursery.acknowledged == NOW + 1


def test_answer_signed_by_another_is_refused(home: Home) -> None:
    """Nobody answers in a recipient's name."""
    consent = withdrawn(home, home.resident())
    with pytest.raises(UnknownKey):
        home.withdrawals.acknowledge(
            home.connection, member(), answer(consent, signer="thief"), now=NOW
        )


def test_answer_in_another_partys_name_is_refused(home: Home) -> None:
    """The sender is the owner of the key, never a field."""
    consent = withdrawn(home, home.resident())
    forged = answer(consent, iss=CLINIC)
    with pytest.raises(WrongIssuer):
        home.withdrawals.acknowledge(home.connection, member(), forged, now=NOW)


def test_answer_for_another_home_node_is_refused(home: Home) -> None:
    """Every signature says for whom it is."""
    consent = withdrawn(home, home.resident())
    with pytest.raises(WrongAudience):
        home.withdrawals.acknowledge(
            home.connection, member(), answer(consent, aud="minato/hall"), now=NOW
        )


def test_late_answer_is_refused(home: Home) -> None:
    """An expired document proves nothing."""
    consent = withdrawn(home, home.resident())
    with pytest.raises(Expired):
        home.withdrawals.acknowledge(
            home.connection, member(), answer(consent), now=NOW + 3600
        )


@pytest.mark.parametrize("version", [1, 3])
def test_answer_about_another_version_does_not_count(home: Home, version: int) -> None:
    """An answer to the pause is none to the withdrawal."""
    consent = withdrawn(home, home.resident())
    token = answer(consent, version=version)
    with pytest.raises(NotFound):
        home.withdrawals.acknowledge(home.connection, member(), token, now=NOW)


def test_answer_of_somebody_who_was_not_asked_is_refused(home: Home) -> None:
    """It learns nothing about the consent either."""
    consent = withdrawn(home, home.resident())
    for identifier in (consent, "unknown"):
        with pytest.raises(NotFound, match="nothing was asked"):
            home.withdrawals.acknowledge(
                home.connection, member(BANK), answer(identifier, BANK), now=NOW
            )


def test_another_resident_does_not_see_who_was_told(home: Home) -> None:
    """Not yours and not there look alike."""
    consent = withdrawn(home, home.resident("first"))
    other = home.resident("second")
    with pytest.raises(NotFound):
        home.withdrawals.told(home.connection, other, consent)


def test_rows_do_not_show_who_was_told(home: Home) -> None:
    """Recipients say much about a person."""
    withdrawn(home, home.resident())
    rows = repr(home.connection.execute(select(withdrawal_notices)).all())
    for word in ("clinic", "nursery", "eyJ"):
        assert word not in rows
