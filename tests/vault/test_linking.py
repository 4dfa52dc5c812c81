# SPDX-License-Identifier: Apache-2.0
"""Linking a local id to a handle, also when data came by push before."""

from __future__ import annotations

import pytest

from tests.vault.world import (
    CONSENT_ID,
    HANDLE,
    NOW_MS,
    World,
    consent,
    grant,
    keep,
)
from vault.errors import Conflict, Erased
from vault.keyring import SubjectId
from vault.queries import Held


def link(world: World, local_id: str, handle: str = HANDLE) -> SubjectId:
    """Link a patient number."""
    return world.write(
        lambda c: world.vault.linking.link(c, local_id, grant(handle), NOW_MS)
    )


def test_patient_number_and_handle_lead_to_one_person(world: World) -> None:
    """The usual way: imported first, linked later."""
    person = world.person("P-1")
    assert link(world, "P-1") == person
    assert world.read(lambda c: world.vault.subjects.find_handle(c, HANDLE)) == person


def test_data_that_came_by_push_joins_the_patient(world: World) -> None:
    """Records, history and consents of the pushed person are those of the patient."""
    vault = world.vault
    pushed = world.write(lambda c: vault.subjects.ensure_handle(c, HANDLE, NOW_MS))
    record = world.store(pushed, {"note": "pushed"}, "s1").record
    world.store(pushed, {"note": "changed"}, "s1")
    world.commit(world.prepare(pushed))
    keep(world, pushed, consent())
    patient = world.person("P-1")
    assert link(world, "P-1") == patient
    world.restart()
    versions = world.read(lambda c: world.vault.records.versions(c, record))
    assert [v.subject for v in versions] == [patient, patient]
    assert b"changed" in versions[1].content
    history = world.read(lambda c: world.vault.provisions.of_subject(c, patient))
    assert [entry.role for entry in history] == ["provision"]
    kept = world.read(lambda c: world.vault.ledger.package(c, CONSENT_ID))
    assert kept is not None
    assert kept.subject == patient
    with pytest.raises(Erased):
        world.read(lambda c: world.vault.keyring.person(c, pushed))
    counts = world.read(lambda c: world.vault.queries.counts(c, patient, Held.OWN))
    assert [count.count for count in counts] == [1]


def test_handle_of_another_patient_is_not_taken_over(world: World) -> None:
    """A stolen link code must not merge two patients."""
    link(world, "P-1")
    with pytest.raises(Conflict):
        link(world, "P-2")


def test_linked_patient_is_not_joined_with_another_resident(world: World) -> None:
    """The pushed person of a second resident stays apart."""
    link(world, "P-1")
    other = "k" * 43
    ensure = world.vault.subjects.ensure_handle
    world.write(lambda c: ensure(c, other, NOW_MS))
    with pytest.raises(Conflict):
        link(world, "P-1", other)
