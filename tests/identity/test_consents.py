# SPDX-License-Identifier: Apache-2.0
"""The life of a consent: given, changed, paused, resumed, withdrawn for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from identity.errors import Conflict, EvidenceTooLow, LegalLimit, NotFound
from identity.sessions import assisted
from identity.tables import consent_versions, consents
from protocol.canonical import unb64url
from protocol.consent import CONSENT, Consent, State
from protocol.errors import CannotOpen, Misuse
from protocol.ids import NodeId
from protocol.pseudonym import commitment
from protocol.signature import Received, Signed, SingleKey, digest_of
from protocol.status import Status
from tests.identity.home import (
    BOTH_FACTORS,
    CLINIC,
    HALL,
    NURSERY,
    PHARMACY,
    Home,
    draft,
)
from tests.protocol.cities import NOW, signing

BANK = NodeId("minato/bank")


def issue(home: Home, account: str, **changes: Any) -> Signed[Consent]:
    """Give a consent."""
    return home.consents.issue(
        home.connection, account, draft(**changes), BOTH_FACTORS, now=NOW
    )


def status_of(home: Home, consent: Consent) -> Status:
    """Return what a holder would learn about a version."""
    shown = home.statuses.current(home.connection, consent.status.list, now=NOW)
    return shown.body.status(consent.status.index)


def test_consent_verifies_under_the_home_nodes_key(home: Home) -> None:
    """Any holder checks it offline."""
    token = issue(home, home.resident()).token
    key = SingleKey(HALL, signing(HALL).public)
    consent = Received.parse(token, CONSENT).verify(Consent, key).body
    assert (consent.iss, consent.version, consent.state) == (HALL, 1, State.ACTIVE)
    assert consent.evidence == BOTH_FACTORS
    assert status_of(home, consent) is Status.VALID


def test_consent_holds_a_commitment_for_each_party(home: Home) -> None:
    """Which its ticket opens, and no other party's."""
    account = home.resident()
    consent = issue(home, account).body
    entry = home.store.get(home.connection, consent.jti)
    made = {
        commitment(
            unb64url(entry.salts[party]),
            party,
            home.residents.handle_at(home.connection, account, party),
        )
        for party in (CLINIC, NURSERY)
    }
    assert set(consent.subjects) == made


def test_consent_shows_no_handle_and_no_account(home: Home) -> None:
    """A consent is read by several parties."""
    account = home.resident()
    shown = issue(home, account).body.encode().decode()
    for party in (CLINIC, NURSERY):
        handle = home.residents.handle_at(home.connection, account, party)
        assert handle not in shown
    assert account not in shown


def test_two_consents_of_one_person_cannot_be_linked(home: Home) -> None:
    """Fresh salts: the same parties, other commitments."""
    account = home.resident()
    first, second = issue(home, account).body, issue(home, account).body
    assert set(first.subjects).isdisjoint(second.subjects)


def test_holder_that_is_not_linked_cannot_be_named(home: Home) -> None:
    """It would not know who is meant."""
    account = home.resident()
    with pytest.raises(Misuse, match="not linked"):
        issue(home, account, holders=(BANK,))
    home.residents.unlink(home.connection, account, CLINIC)
    with pytest.raises(Misuse, match="not linked"):
        issue(home, account)


def test_consent_with_too_little_evidence_is_not_signed(home: Home) -> None:
    """Health data needs more than a counter."""
    account = home.resident()
    with pytest.raises(EvidenceTooLow):
        home.consents.issue(
            home.connection, account, draft(), assisted("officer-7"), now=NOW
        )
    assert home.store.of_account(home.connection, account) == ()


def test_consent_against_the_law_is_not_signed(home: Home) -> None:
    """Special-care data is never opt-out."""
    with pytest.raises(LegalLimit):
        issue(home, home.resident(), opt="out")


def test_each_consent_has_a_place_of_its_own(home: Home) -> None:
    """One withdrawal must not end two."""
    account = home.resident()
    places = {
        (issue(home, account).body.status.list, issue(home, account).body.status.index)
        for _ in range(3)
    }
    assert len(places) == 3


def test_withdrawal_sets_the_bit_and_signs_a_new_version(home: Home) -> None:
    """In one transaction, under the same place."""
    account = home.resident()
    first = issue(home, account)
    ended = home.consents.withdraw(home.connection, account, first.body.jti, now=NOW)
    assert ended.body.state is State.WITHDRAWN
    assert ended.body.version == 2
    assert ended.body.previous == digest_of(first.token.encode())
    assert ended.body.status == first.body.status
    assert status_of(home, first.body) is Status.WITHDRAWN


def test_withdrawal_that_is_rolled_back_leaves_nothing(home: Home) -> None:
    """Neither version nor bit."""
    account = home.resident()
    first = issue(home, account)
    savepoint = home.connection.begin_nested()
    home.consents.withdraw(home.connection, account, first.body.jti, now=NOW)
    savepoint.rollback()
    assert status_of(home, first.body) is Status.VALID
    assert home.store.get(home.connection, first.body.jti).consent.version == 1


def test_withdrawn_consent_is_never_revived(home: Home) -> None:
    """Not by resuming, changing, pausing, or withdrawing again."""
    account = home.resident()
    identifier = home.consent(account)
    home.consents.withdraw(home.connection, account, identifier, now=NOW)
    life, connection = home.consents, home.connection
    whose = (connection, account, identifier)
    steps: tuple[Callable[[], object], ...] = (
        lambda: life.resume(*whose, BOTH_FACTORS, now=NOW),
        lambda: life.amend(*whose, draft(), BOTH_FACTORS, now=NOW),
        lambda: life.pause(*whose, now=NOW),
        lambda: life.withdraw(*whose, now=NOW),
    )
    for call in steps:
        with pytest.raises(Conflict):
            call()


def test_paused_consent_is_resumed_with_evidence(home: Home) -> None:
    """Allowing again is allowing; stopping needs nothing."""
    account = home.resident()
    first = issue(home, account)
    identifier = first.body.jti
    home.consents.pause(home.connection, account, identifier, now=NOW)
    assert status_of(home, first.body) is Status.PAUSED
    with pytest.raises(EvidenceTooLow):
        home.consents.resume(
            home.connection, account, identifier, assisted("officer-7"), now=NOW
        )
    resumed = home.consents.resume(
        home.connection, account, identifier, BOTH_FACTORS, now=NOW
    )
    assert (resumed.body.version, resumed.body.state) == (3, State.ACTIVE)
    assert status_of(home, first.body) is Status.VALID


def test_paused_consent_whose_end_has_passed_cannot_be_resumed(home: Home) -> None:
    """Nobody could be told of it any more; a new one is given instead."""
    account = home.resident()
    identifier = issue(home, account, ends=NOW + 60).body.jti
    home.consents.pause(home.connection, account, identifier, now=NOW)
    whose = (home.connection, account, identifier)
    with pytest.raises(Conflict):
        home.consents.resume(*whose, BOTH_FACTORS, now=NOW + 60)
    resumed = home.consents.resume(*whose, BOTH_FACTORS, now=NOW + 59)
    assert resumed.body.state is State.ACTIVE


def test_active_consent_cannot_be_resumed_nor_a_paused_one_paused(home: Home) -> None:
    """Each step has the state it starts from."""
    account = home.resident()
    identifier = home.consent(account)
    with pytest.raises(Conflict):
        home.consents.resume(
            home.connection, account, identifier, BOTH_FACTORS, now=NOW
        )
    home.consents.pause(home.connection, account, identifier, now=NOW)
    with pytest.raises(Conflict):
        home.consents.pause(home.connection, account, identifier, now=NOW)


def test_changed_consent_voids_the_old_text(home: Home) -> None:
    """A recipient cannot go on with the wider version."""
    account = home.resident()
    first = issue(home, account, recipients=(NURSERY, BANK))
    changed = home.consents.amend(
        home.connection, account, first.body.jti, draft(), BOTH_FACTORS, now=NOW
    )
    assert changed.body.jti == first.body.jti
    assert changed.body.version == 2
    assert changed.body.previous == first.digest
    assert changed.body.recipients == (NURSERY,)
    assert status_of(home, first.body) is Status.SUPERSEDED
    assert status_of(home, changed.body) is Status.VALID
    assert set(changed.body.subjects).isdisjoint(first.body.subjects)


def test_change_needs_evidence(home: Home) -> None:
    """Else a counter could widen what two factors allowed."""
    account = home.resident()
    identifier = home.consent(account)
    with pytest.raises(EvidenceTooLow):
        home.consents.amend(
            home.connection,
            account,
            identifier,
            draft(),
            assisted("officer-7"),
            now=NOW,
        )


def test_withdrawing_after_a_change_ends_every_version(home: Home) -> None:
    """The old one stays superseded, the new one is withdrawn."""
    account = home.resident()
    first = issue(home, account)
    second = home.consents.amend(
        home.connection, account, first.body.jti, draft(), BOTH_FACTORS, now=NOW
    )
    home.consents.withdraw(home.connection, account, first.body.jti, now=NOW)
    assert status_of(home, first.body) is Status.SUPERSEDED
    assert status_of(home, second.body) is Status.WITHDRAWN


def test_consent_of_another_account_looks_like_none(home: Home) -> None:
    """Neither seen nor changed."""
    identifier = home.consent(home.resident("first"))
    other = home.resident("second")
    for call in (
        lambda: home.store.owned(home.connection, other, identifier),
        lambda: home.consents.withdraw(home.connection, other, identifier, now=NOW),
        lambda: home.consents.pause(home.connection, other, identifier, now=NOW),
        lambda: home.store.owned(home.connection, other, "unknown"),
    ):
        with pytest.raises(NotFound) as refused:
            call()
        assert str(refused.value) == "no such consent"


def test_consents_of_an_account_are_listed(home: Home) -> None:
    """Oldest first, each in its newest version."""
    account = home.resident()
    first, second = home.consent(account), home.consent(account, holders=(PHARMACY,))
    home.consents.withdraw(home.connection, account, first, now=NOW)
    listed = home.store.of_account(home.connection, account)
    assert {(e.consent.jti, e.consent.state) for e in listed} == {
        (first, State.WITHDRAWN),
        (second, State.ACTIVE),
    }


def test_history_holds_every_version(home: Home) -> None:
    """Linked by digest, so that none can be left out."""
    account = home.resident()
    identifier = home.consent(account)
    home.consents.pause(home.connection, account, identifier, now=NOW)
    home.consents.withdraw(home.connection, account, identifier, now=NOW)
    tokens = home.store.history(home.connection, identifier)
    versions = [Received.parse(t, CONSENT).peek(Consent) for t in tokens]
    assert [v.version for v in versions] == [1, 2, 3]
    assert [v.previous for v in versions[1:]] == [
        digest_of(token.encode()) for token in tokens[:2]
    ]


def test_everybody_that_any_version_named_is_a_party(home: Home) -> None:
    """Who must be told of an end."""
    account = home.resident()
    identifier = home.consent(account, recipients=(NURSERY, BANK))
    home.consents.amend(
        home.connection,
        account,
        identifier,
        draft(holders=(PHARMACY,)),
        BOTH_FACTORS,
        now=NOW,
    )
    parties = home.store.parties(home.connection, identifier)
    assert parties == (CLINIC, PHARMACY, BANK, NURSERY)


def test_rows_show_nobody(home: Home) -> None:
    """Recipients, holders, purposes and text are sealed."""
    home.consent(home.resident())
    rows = repr(home.connection.execute(select(consent_versions)).all())
    rows += repr(home.connection.execute(select(consents)).all())
    for word in ("clinic", "nursery", "checkup", "treatment", "eyJ"):
        assert word not in rows


def test_version_moved_to_another_consent_does_not_open(home: Home) -> None:
    """Swapping rows in the database is noticed."""
    account = home.resident()
    first, second = home.consent(account), home.consent(account)
    sealed = select(consent_versions.c.sealed).where(
        consent_versions.c.consent == first
    )
    home.connection.execute(
        update(consent_versions)
        .where(consent_versions.c.consent == second)
        .values(sealed=home.connection.execute(sealed).scalar_one())
    )
    with pytest.raises(CannotOpen):
        home.store.get(home.connection, second)


def test_consents_of_a_deleted_account_cannot_be_opened(home: Home) -> None:
    """The rows stay, the key is gone."""
    account = home.resident()
    identifier = home.consent(account)
    home.accounts.delete(home.connection, account)
    with pytest.raises(NotFound):
        home.store.get(home.connection, identifier)
