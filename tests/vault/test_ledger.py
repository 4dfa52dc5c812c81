# SPDX-License-Identifier: Apache-2.0
"""What the node knows of consents, as recipient and as holder."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection

from protocol.consent import State, Withdrawal
from protocol.errors import CannotOpen, Malformed
from protocol.status import Status
from tests.vault.world import (
    CONSENT_ID,
    HALL,
    NOW,
    NOW_MS,
    World,
    consent,
    keep,
    push,
    wire,
)
from vault.keyring import SubjectId
from vault.ledger import Obligation
from vault.queries import Held
from vault.tables import received_consents, records


def withdrawal(**changes: Any) -> Withdrawal:
    """Return a withdrawal of the consent."""
    values: dict[str, Any] = {
        "iss": HALL,
        "aud": "hoshino/clinic",
        "jti": "w",
        "iat": NOW,
        "exp": NOW + 60,
        "consent": CONSENT_ID,
        "version": 2,
        "state": State.WITHDRAWN,
        "at": NOW,
    }
    return Withdrawal(**{**values, **changes})


def revoke(world: World, **changes: Any) -> bool:
    """Tell the node of a withdrawal."""
    return world.write(
        lambda c: world.vault.ledger.mark_revoked(c, withdrawal(**changes), NOW_MS)
    )


def usable(world: World, person: SubjectId) -> int:
    """Return how many received records may be used."""
    return len(
        world.read(
            lambda c: world.vault.queries.of_subject(
                c, person, "health.checkup", held=Held.RECEIVED
            )
        )
    )


# As holder.


def test_nothing_is_known_of_a_consent_in_force(world: World) -> None:
    """The usual case costs one look into memory."""
    assert world.vault.ledger.revocation_of(consent()) == (None, 0)


def test_withdrawal_counts_at_once_and_after_a_restart(world: World) -> None:
    """For every version, whatever is shown."""
    assert revoke(world)
    for _ in range(2):
        for version in (1, 2, 9):
            status, _ = world.vault.ledger.revocation_of(consent(version=version))
            assert status is Status.WITHDRAWN
        world.restart()


def test_withdrawal_counts_even_if_it_cannot_be_written(world: World) -> None:
    """Refusing is the safe side."""
    with pytest.raises(RuntimeError), world.engine.begin() as connection:
        world.vault.ledger.mark_revoked(connection, withdrawal(), NOW_MS)
        raise RuntimeError
    assert world.vault.ledger.revocation_of(consent())[0] is Status.WITHDRAWN


def test_word_that_could_not_be_written_is_written_when_it_comes_again(
    world: World,
) -> None:
    """A full disk took the first back; the second is acknowledged, so it must last."""

    def fails(connection: Connection) -> None:
        world.vault.ledger.mark_revoked(connection, withdrawal(), NOW_MS)
        world.vault.ledger.note_version(connection, consent(version=3), NOW_MS)
        raise RuntimeError("no space left")

    with pytest.raises(RuntimeError):
        world.write(fails)
    assert not revoke(world)
    world.restart()
    status, newest = world.vault.ledger.revocation_of(consent())
    assert (status, newest) == (Status.WITHDRAWN, 3)


def test_later_version_resumes_a_paused_consent(world: World) -> None:
    """The paused versions stay refused, the withdrawn never come back."""
    revoke(world, state=State.PAUSED, version=2)
    look = world.vault.ledger.revocation_of
    assert look(consent(version=1)) == (Status.PAUSED, 2)
    assert look(consent(version=2)) == (Status.PAUSED, 2)
    assert look(consent(version=3)) == (None, 2)
    revoke(world, version=3)
    assert look(consent(version=4))[0] is Status.WITHDRAWN


@pytest.mark.parametrize("state", [State.PAUSED, State.WITHDRAWN])
def test_same_news_again_says_nothing_new(world: World, state: State) -> None:
    """Delivered at least once."""
    assert revoke(world, state=state)
    assert not revoke(world, state=state)


def test_stale_pause_does_not_undo_what_came_later(world: World) -> None:
    """A withdrawal is final, and a newer version has resumed."""
    revoke(world)
    assert not revoke(world, state=State.PAUSED, version=9)
    assert world.vault.ledger.revocation_of(consent())[0] is Status.WITHDRAWN


def test_pause_older_than_a_version_in_use_is_stale(world: World) -> None:
    """Messages may overtake each other."""
    world.write(
        lambda c: world.vault.ledger.note_version(c, consent(version=5), NOW_MS)
    )
    assert not revoke(world, state=State.PAUSED, version=4)
    assert world.vault.ledger.revocation_of(consent(version=5)) == (None, 5)


def test_newest_version_is_remembered(world: World) -> None:
    """Rollback: an older version of a consent shows itself."""
    ledger = world.vault.ledger
    for version in (1, 3, 2):
        with world.engine.begin() as connection:
            ledger.note_version(connection, consent(version=version), NOW_MS)
    world.restart()
    assert world.vault.ledger.revocation_of(consent()) == (None, 3)


def test_withdrawal_must_say_what_ended(world: World) -> None:
    """An active state ends nothing."""
    with pytest.raises(Malformed):
        revoke(world, state=State.ACTIVE)


# As recipient.


def test_received_consent_is_found_by_id_and_by_person(world: World) -> None:
    """With its package as it came."""
    person = world.person()
    assert keep(world, person, consent())
    world.restart()
    found = world.read(lambda c: world.vault.ledger.package(c, CONSENT_ID))
    assert found is not None
    assert (found.subject, found.consent) == (person, consent())
    assert found.package.own_ticket == "ticket"
    of_person = world.read(lambda c: world.vault.ledger.packages_of(c, person))
    assert of_person == [found]
    assert world.read(lambda c: world.vault.ledger.package(c, "other")) is None


def test_same_version_brings_fresh_tickets_and_an_older_one_nothing(
    world: World,
) -> None:
    """The newest package is kept, whatever the order of arrival."""
    person = world.person()
    keep(world, person, consent(version=2))
    assert keep(world, person, consent(version=2), "fresh")
    assert not keep(world, person, consent(version=1), "old")
    found = world.read(lambda c: world.vault.ledger.package(c, CONSENT_ID))
    assert found is not None
    assert (found.consent.version, found.package.own_ticket) == (2, "fresh")


def test_withdrawn_consent_is_not_taken_again(world: World) -> None:
    """A late notice does not revive it."""
    revoke(world)
    assert not keep(world, world.person(), consent())


def test_deletion_leaves_nothing_received_under_the_consent(world: World) -> None:
    """Records, versions and the package go; other records stay."""
    person = world.person()
    keep(world, person, consent())
    own = world.store(person, {}).record
    push(world, person, wire())
    asked = withdrawal(obligation="delete")
    done = world.write(lambda c: world.vault.ledger.carry_out(c, asked))
    assert done == Obligation("deleted", 1)
    assert [row["id"] for row in world.rows(records)] == [own[-36:]]
    assert world.rows(received_consents) == []
    assert world.write(lambda c: world.vault.ledger.carry_out(c, asked)).records == 0


@pytest.mark.parametrize("state", [State.PAUSED, State.WITHDRAWN])
def test_stopped_records_are_kept_and_not_used(world: World, state: State) -> None:
    """Until the obligation is to delete, or the retention ends."""
    person = world.person()
    push(world, person, wire())
    stop = withdrawal(state=state)
    done = world.write(lambda c: world.vault.ledger.carry_out(c, stop))
    assert done == Obligation("stopped", 1)
    assert usable(world, person) == 0
    assert len(world.rows(records)) == 1


def test_resumed_consent_lets_records_be_used_again(world: World) -> None:
    """By its next version, which must be active."""
    person = world.person()
    push(world, person, wire())
    pause = withdrawal(state=State.PAUSED)
    world.write(lambda c: world.vault.ledger.mark_revoked(c, pause, NOW_MS))
    world.write(lambda c: world.vault.ledger.carry_out(c, pause))
    keep(world, person, consent(version=2, state=State.PAUSED))
    assert usable(world, person) == 0
    keep(world, person, consent(version=3))
    assert usable(world, person) == 1


def test_acknowledgement_is_given_the_same_again(world: World) -> None:
    """The home node may ask twice; the first answer stands."""
    ledger = world.vault.ledger
    assert world.read(lambda c: ledger.acknowledgement_of(c, withdrawal())) is None
    for token in ("first", "second"):
        with world.engine.begin() as connection:
            ledger.keep_acknowledgement(connection, withdrawal(), token, NOW_MS)
    kept = world.read(lambda c: ledger.acknowledgement_of(c, withdrawal()))
    assert kept == "first"
    later = withdrawal(version=3)
    assert world.read(lambda c: ledger.acknowledgement_of(c, later)) is None


@pytest.mark.parametrize("column", ["version", "received_ms", "subject"])
def test_altered_consent_row_is_noticed(world: World, column: str) -> None:
    """It cannot be given to another person or made newer."""
    person = world.person("P-1")
    keep(world, person, consent())
    altered: Any = world.person("P-2") if column == "subject" else 9
    world.write(
        lambda c: c.execute(received_consents.update().values({column: altered}))
    )
    with pytest.raises(CannotOpen):
        world.read(lambda c: world.vault.ledger.package(c, CONSENT_ID))


def test_consents_do_not_stand_on_the_disk(world: World) -> None:
    """Neither received ones, nor withdrawn ones, nor acknowledgements."""
    canary = "canary-consent"
    keep(world, world.person(), consent(jti=canary), "canary-ticket")
    revoke(world, consent=canary)
    world.write(
        lambda c: world.vault.ledger.keep_acknowledgement(
            c, withdrawal(consent=canary), "canary-token", NOW_MS
        )
    )
    assert b"canary" not in world.bytes_on_disk()
