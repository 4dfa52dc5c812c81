# SPDX-License-Identifier: Apache-2.0
"""The only way out: decided, cut to what is permitted, recorded before it leaves."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.consent import Operation
from protocol.decision import Deny, HolderPolicy
from protocol.errors import CannotOpen, Malformed, Replayed
from protocol.ids import NodeId, PurposeName, RecordId
from protocol.provision import ProvisionRecord
from protocol.request import Read, WireRecord
from protocol.status import Status
from tests.vault.world import (
    CHECKUP,
    CLINIC,
    DIGEST,
    NOW,
    PHARMACY,
    World,
    asked,
    case,
    consent,
    exchange,
    freshness,
    membership,
    push,
    scope,
    wire,
)
from vault.keyring import SubjectId
from vault.provisions import RefusalRecord
from vault.release import Prepared
from vault.tables import records

FULL = {"weight": 54.3, "result": "A", "facility": "Hoshino Clinic", "note": "fine"}


def released(world: World, subject: SubjectId | None, **terms: Any) -> list[WireRecord]:
    """Return the records of a release that is permitted."""
    prepared = world.prepare(subject, **terms)
    assert isinstance(prepared, Prepared), prepared
    return list(prepared.result.records)


def content(record: WireRecord) -> dict[str, Any]:
    """Return what a released record says."""
    value: dict[str, Any] = orjson.loads(record.content)
    return value


def test_permitted_record_leaves(world: World) -> None:
    """With its id, version, time, and the fields of the purpose."""
    person = world.person()
    record = world.store(person, FULL).record
    world.restart()
    (found,) = released(world, person)
    assert (found.id, found.version, found.time) == (record, 1, "2025-04-01")
    assert content(found) == {"date": "2025-04-01", **FULL}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"consent": None}, "consent-missing"),
        ({"subject_bound": False}, "consent-not-for-subject"),
        ({"purpose": "statistics"}, "purpose-not-consented"),
        ({"recipient": membership(NodeId("minato/energy"))}, "consent-not-for-recipi"),
        ({"consent": consent(ends=NOW - 1)}, "consent-expired"),
        ({"freshness": freshness(proof=None)}, "proof-missing"),
        ({"freshness": freshness(revoked=Status.WITHDRAWN)}, "consent-withdrawn"),
        ({"policy": HolderPolicy(shared=False)}, "policy-denied"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusal_opens_nothing(
    world: World, changes: dict[str, Any], reason: str
) -> None:
    """Each clause refuses, also where the stored rows are broken."""
    person = world.person()
    world.store(person, FULL)
    world.write(lambda c: c.execute(records.update().values(sealed=b"")))
    denied = world.prepare(person, **changes)
    assert isinstance(denied, Deny)
    assert denied.reason.startswith(reason)


_SOME = st.none() | st.frozensets(st.sampled_from(sorted(CHECKUP.fields)), min_size=1)
_HOLDS = st.fixed_dictionaries(
    {"date": st.just("2025-04-01")},
    optional={
        "weight": st.floats(1, 200),
        "result": st.text(st.characters(codec="utf-8", categories=["L"])),
        "facility": st.just("here"),
        "note": st.just("n"),
        "tags": st.just([1]),
    },
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    held=_HOLDS,
    asked_for=_SOME,
    agreed=_SOME,
    withheld=st.frozensets(st.sampled_from(sorted(CHECKUP.fields))),
    hidden=st.booleans(),
)
def test_release_never_holds_a_field_outside_the_intersection(
    world: World,
    held: dict[str, Any],
    asked_for: frozenset[str] | None,
    agreed: frozenset[str] | None,
    withheld: frozenset[str],
    hidden: bool,
) -> None:
    """Whatever the clauses say, the least of them holds; and all of it is there."""
    person = world.person(f"P-{len(world.rows(records))}")
    world.store(person, held)
    prepared = world.prepare(
        person,
        Read(fields=None if asked_for is None else tuple(asked_for)),
        consent=consent(
            scope=(scope(fields=None if agreed is None else tuple(agreed)),)
        ),
        policy=HolderPolicy(withheld_fields=withheld),
        hidden=hidden,
    )
    allowed = set(CHECKUP.purposes[PurposeName("treatment")].fields) - withheld
    allowed &= allowed if asked_for is None else asked_for
    allowed &= allowed if agreed is None else agreed
    allowed -= {"facility"} if hidden else set()
    if isinstance(prepared, Deny):
        assert prepared.reason in ("nothing-left", "field-outside-purpose")
        return
    (found,) = prepared.result.records
    assert content(found).keys() == held.keys() & allowed
    assert set(prepared.result.fields) == allowed
    assert (found.time is not None) == ("date" in allowed)


def test_untouched_content_leaves_byte_for_byte(world: World) -> None:
    """A source's signature over the record still verifies."""
    text = b'{ "note":"\\u5065",  "date":"2025-04-01" }'
    person = world.person()
    world.write(
        lambda c: world.vault.intake.store(
            c, "health.checkup", person, text, now_ms=NOW * 1000
        )
    )
    assert released(world, person)[0].content.encode() == text


def test_time_that_may_not_leave_cannot_be_asked_for(world: World) -> None:
    """Narrowing the range step by step would tell it."""
    person = world.person()
    world.store(person, FULL)
    agreed = consent(scope=(scope(fields=("weight",)),))
    denied = world.prepare(person, Read(since="2025"), consent=agreed)
    assert denied == Deny("field-outside-purpose", "date")


def test_range_and_limit_are_kept(world: World) -> None:
    """Oldest first, and the answer says that there is more."""
    person = world.person()
    for day in (3, 1, 2, 4):
        world.store(person, {"date": f"2025-04-0{day}"})
    query = Read(since="2025-04-02", until="2025-04-04", limit=1)
    result = world.prepare(person, query).result
    assert [r.time for r in result.records] == ["2025-04-02"]
    assert result.more
    result = world.prepare(person, Read(since="2025-04-02", limit=3)).result
    assert [r.time[-1] for r in result.records] == ["2", "3", "4"]
    assert not result.more


def test_large_records_leave_in_several_answers(world: World) -> None:
    """An answer has a bounded size, and every record fits into one of its own."""
    person = world.person()
    named = tuple(
        world.store(person, {"date": f"2025-04-0{day}", "note": "x" * 600}).record
        for day in (1, 2, 3, 4, 5)
    )
    world.vault = world.assemble(max_answer_bytes=1500)
    for query in (Read(), Read(records=named)):
        result = world.prepare(person, query).result
        assert [r.id for r in result.records] == list(named[:2])
        assert result.more
    world.vault = world.assemble(max_answer_bytes=1)
    result = world.prepare(person, Read(since="2025-04-05")).result
    assert (len(result.records), result.more) == (1, False)


def test_time_that_is_none_is_malformed(world: World) -> None:
    """The requester is told that it asked wrongly."""
    with pytest.raises(Malformed):
        world.prepare(world.person(), Read(until="tomorrow"))


def test_nobody_elses_records_leave(world: World) -> None:
    """Neither of another person, nor of another type, nor by naming their ids."""
    person = world.person("P-1")
    other = world.store(world.person("P-2"), FULL).record
    assert released(world, person) == []
    assert released(world, person, query=Read(records=(other,))) == []
    assert released(world, None) == []


def test_only_the_records_in_scope_leave(world: World) -> None:
    """Consent for a single record (requirement 23)."""
    person = world.person()
    first, second = (world.store(person, FULL).record for _ in range(2))
    agreed = consent(scope=(scope(records=(second,)),))
    assert [r.id for r in released(world, person, consent=agreed)] == [second]
    query = Read(records=(first,))
    denied = world.prepare(person, query, consent=agreed)
    assert denied == Deny("consent-record")


def test_altered_row_is_never_released(world: World) -> None:
    """The answer is an error, not less data."""
    person = world.person()
    world.store(person, FULL)
    world.write(lambda c: c.execute(records.update().values(time_s=0)))
    with pytest.raises(CannotOpen):
        world.prepare(person)


# Hidden reads.


def test_hidden_read_does_not_name_the_holder(world: World) -> None:
    """Neither the id nor a field says where it comes from (requirement 7)."""
    person = world.person()
    world.store(person, FULL)
    prepared = world.prepare(person, hidden=True)
    text = prepared.result.encode().decode()
    assert "clinic" not in text.lower()
    assert prepared.result.records[0].id.node is None
    assert prepared.result.cut["holder"] == ("facility",)


def test_hidden_id_is_stable_under_one_consent_and_unlinkable_to_another(
    world: World,
) -> None:
    """The requester can update its copy; two requesters cannot compare notes."""
    person = world.person()
    world.store(person, FULL)
    first = released(world, person, hidden=True)[0].id
    world.restart()
    assert released(world, person, hidden=True)[0].id == first
    other = consent(jti="0199c000-0000-7000-8000-00000000beef")
    assert released(world, person, hidden=True, consent=other)[0].id != first


def test_record_is_asked_for_by_its_hidden_id(world: World) -> None:
    """Also where the consent names the real one."""
    person = world.person()
    world.store(person, {"note": "other"})
    wanted = world.store(person, {"note": "wanted"}).record
    hidden = world.vault.release.hidden_id(consent().jti, wanted)
    query = Read(records=(hidden,))
    for agreed in (
        consent(),
        consent(scope=(scope(records=(wanted,)),)),
        consent(scope=(scope(records=(hidden,)),)),
    ):
        found = released(world, person, query=query, hidden=True, consent=agreed)
        assert [(r.id, content(r)["note"]) for r in found] == [(hidden, "wanted")]


# What was received from others.


def test_received_record_is_not_released_as_an_own_one(world: World) -> None:
    """Passing on needs a consent that says re-provide (requirement 110)."""
    person = world.person()
    push(world, person, wire())
    assert released(world, person) == []
    again = Operation.RE_PROVIDE
    assert world.prepare(person, operation=again) == Deny("consent-operation")
    agreed = consent(operations=(again,))
    found = released(world, person, consent=agreed, operation=again)
    assert [content(r)["note"] for r in found] == ["pushed"]
    assert found[0].id.node == CLINIC


# The record of it.


def test_release_is_recorded(world: World) -> None:
    """To whom, what, when, under which consent; with real ids also when hidden."""
    person = world.person()
    record = world.store(person, FULL).record
    world.commit(world.prepare(person, hidden=True))
    (entry,) = world.read(lambda c: world.vault.provisions.of_subject(c, person))
    assert isinstance(entry, ProvisionRecord)
    assert (entry.counterparty, entry.purpose) == (PHARMACY, "treatment")
    assert (entry.consent, entry.consent_version) == (consent().jti, 1)
    assert entry.records == (RecordId(record),)
    assert entry.fields == ("date", "note", "result", "weight")
    assert (entry.exchange, entry.answer) == (exchange(1), DIGEST)
    assert entry.route == ("hoshino/broker",)


def test_exchange_answered_before_is_a_replay_after_a_restart(world: World) -> None:
    """Nothing leaves twice under one exchange id."""
    person = world.person()
    world.store(person, FULL)
    world.commit(world.prepare(person))
    world.restart()
    with pytest.raises(Replayed):
        world.commit(world.prepare(person))
    world.commit(world.prepare(person, number=2))


def test_release_about_an_unknown_handle_is_recorded_too(world: World) -> None:
    """The answer says that there is nothing; that is an answer."""
    world.commit(world.prepare(None))
    with pytest.raises(Replayed):
        world.commit(world.prepare(None))


def test_refusal_is_recorded_once(world: World) -> None:
    """The person sees who tried and why it failed."""
    person = world.person()
    refuse = world.vault.release.refuse
    denied = Deny("consent-paused")
    for expected in (True, False):
        with world.engine.begin() as connection:
            noted = refuse(connection, case(), person, denied, asked())
        assert noted is expected
    (entry,) = world.read(lambda c: world.vault.provisions.of_subject(c, person))
    assert isinstance(entry, RefusalRecord)
    assert (entry.requester, entry.reason) == (PHARMACY, "consent-paused")


def test_prepared_release_shows_no_content_in_logs(world: World) -> None:
    """Its representation may end up in a traceback."""
    person = world.person()
    world.store(person, {"note": "CANARY"})
    assert "CANARY" not in repr(world.prepare(person))
