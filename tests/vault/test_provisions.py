# SPDX-License-Identifier: Apache-2.0
"""The history of provision, for the person and for the operator."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import CannotOpen, Replayed
from protocol.ids import DatasetTypeName, NodeId, PurposeName
from tests.vault.world import (
    DIGEST,
    NOW_MS,
    PHARMACY,
    World,
    exchange,
    provision,
    write_history,
)
from vault.holdings import holdings
from vault.provisions import RefusalRecord
from vault.tables import provisions


def refusal(number: int) -> RefusalRecord:
    """Return the record of a refusal."""
    return RefusalRecord(
        exchange=exchange(number),
        at_ms=NOW_MS + number * 1000,
        requester="minato/energy",
        reason="consent-missing",
        request=DIGEST,
    )


def test_history_is_newest_first_and_paged(world: World) -> None:
    """The portal shows a page at a time."""
    person = world.person()
    records = [provision(n) for n in range(5)]
    write_history(world, person, *records)
    read = world.vault.provisions.of_subject
    first = world.read(lambda c: read(c, person, limit=2))
    rest = world.read(lambda c: read(c, person, before_ms=first[-1].at_ms))
    assert [*first, *rest] == records[::-1]


def test_history_is_of_one_person(world: World) -> None:
    """Nobody sees another's."""
    one, other = world.person("P-1"), world.person("P-2")
    write_history(world, one, provision(1))
    assert world.read(lambda c: world.vault.provisions.of_subject(c, other)) == []


def test_both_roles_of_an_exchange_have_their_place(world: World) -> None:
    """A node that asks itself keeps both sides; each only once."""
    person = world.person()
    reception = provision(1, role="reception")
    write_history(world, person, provision(1), reception)
    found = world.read(
        lambda c: world.vault.provisions.find(c, exchange(1), "reception")
    )
    assert found == reception
    for again in (provision(1), reception):
        with pytest.raises(Replayed):
            write_history(world, person, again)


def test_known_exchange_is_recognized_early(world: World) -> None:
    """Before the work is done; the insert stays the judge."""
    person = world.person()
    write_history(world, person, provision(1))
    known = world.vault.provisions.is_known
    assert world.read(lambda c: known(c, exchange(1), "provision"))
    assert not world.read(lambda c: known(c, exchange(1), "reception"))
    assert not world.read(lambda c: known(c, exchange(2), "provision"))


def test_refusal_without_a_proven_person_is_kept_apart(world: World) -> None:
    """The operator sees it in the period; no person is named by it."""
    refuse = world.vault.provisions.refuse
    assert world.write(lambda c: refuse(c, None, refusal(1)))
    (entry,) = world.read(
        lambda c: world.vault.provisions.between(c, NOW_MS, NOW_MS + 9999)
    )
    assert entry.record == refusal(1)


def test_sharing_is_counted_by_recipient_purpose_and_consent(world: World) -> None:
    """The resident sees how often and when last; refusals do not count."""
    person = world.person()
    other = {"counterparty": NodeId("minato/energy"), "purpose": "statistics"}
    write_history(world, person, provision(1), provision(2), provision(3, **other))
    world.write(lambda c: world.vault.provisions.refuse(c, person, refusal(4)))
    found = world.read(lambda c: world.vault.provisions.sharing(c, person))
    (name, shared) = next(iter(found.items()))
    assert name == DatasetTypeName("health.checkup")
    assert [(s.recipient, s.purpose, s.releases, s.last) for s in shared] == [
        ("hoshino/pharmacy", PurposeName("treatment"), 2, NOW_MS // 1000 + 2),
        ("minato/energy", PurposeName("statistics"), 1, NOW_MS // 1000 + 3),
    ]


def test_holdings_tell_what_is_held_and_with_whom_it_is_shared(world: World) -> None:
    """The answer to the resident's question (requirement 20)."""
    person = world.person()
    record = world.store(person, {}).record
    world.commit(world.prepare(person))
    vault = world.vault

    def answer(records: bool) -> Any:
        return world.read(
            lambda c: holdings(
                c,
                person,
                node=NodeId("hoshino/clinic"),
                queries=vault.queries,
                provisions=vault.provisions,
                records=records,
            )
        ).holdings

    (found,) = answer(records=True)
    assert (found.dataset_type, found.count) == ("health.checkup", 1)
    assert found.records == (record,)
    assert [s.recipient for s in found.sharing] == [PHARMACY]
    assert answer(records=False)[0].records == ()


@pytest.mark.parametrize(
    "altered",
    [
        {"at_ms": 0},
        {"group_index": b"g" * 16},
        {"role": "reception"},
        {"exchange": exchange(9)},
        {"sealed": b"s" * 99},
    ],
    ids=lambda altered: next(iter(altered)),
)
def test_altered_history_is_noticed(world: World, altered: dict[str, Any]) -> None:
    """No column can be changed behind the person's back."""
    person = world.person()
    write_history(world, person, provision(1))
    world.write(lambda c: c.execute(provisions.update().values(altered)))
    with pytest.raises(CannotOpen):
        world.read(lambda c: world.vault.provisions.of_subject(c, person))


def test_recipient_purpose_and_consent_do_not_stand_on_the_disk(world: World) -> None:
    """Whoever steals it sees that something was released, and when."""
    person = world.person()
    canary = {
        "counterparty": "canary/recipient",
        "purpose": "canary-purpose",
        "consent": "canary-consent",
        "fields": ("canary-field",),
        "route": ("canary/broker",),
    }
    write_history(world, person, provision(1, **canary))
    disk = world.bytes_on_disk()
    assert exchange(1).encode() in disk
    assert b"canary" not in disk


def test_old_history_is_purged(world: World) -> None:
    """After the legal period."""
    person = world.person()
    write_history(world, person, provision(1), provision(5))
    before = NOW_MS + 3000
    assert world.write(lambda c: world.vault.provisions.purge(c, before)) == 1
    found = world.read(lambda c: world.vault.provisions.of_subject(c, person))
    assert found == [provision(5)]
