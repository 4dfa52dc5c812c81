# SPDX-License-Identifier: Apache-2.0
"""Whatever is asked, consented and allowed: what leaves is the intersection, exactly.

Random consents, policies and queries go through the whole stack: resident's desk, home
node, three brokers, holder, requester. A second, much simpler reckoning of the same
rules says what must come back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from protocol.decision import HolderPolicy
from protocol.ids import PurposeName, RecordId
from tests.simulation.town import (
    CHECKUP,
    CLINIC,
    FAR_CLINIC,
    RELEASED,
    Resident,
    Town,
    play,
    result_of,
    said,
)

FIELDS = (
    "date",
    "facility_name",
    "doctor_name",
    "systolic_mmhg",
    "hba1c_percent",
    "weight_kg",
    "doctor_comment",
    "note",
)
PURPOSES = ("treatment", "health-guidance", "emergency", "personal-record")
RECORDS = (0, 1, 2)


@dataclass(frozen=True)
class Wish:
    """One consent, one policy, one query; None stands for "all"."""

    consented_fields: frozenset[str] | None
    consented_purposes: frozenset[str]
    consented_records: frozenset[int] | None
    hidden: bool
    withheld: frozenset[str]
    policy_purposes: frozenset[str] | None
    purpose: str
    fields: frozenset[str] | None
    records: frozenset[int] | None


def _some(values: tuple[Any, ...], least: int = 1) -> st.SearchStrategy[Any]:
    return st.frozensets(st.sampled_from(values), min_size=least)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


WISHES = st.builds(
    Wish,
    consented_fields=_maybe(_some(FIELDS)),
    consented_purposes=_some(PURPOSES),
    consented_records=_maybe(_some(RECORDS)),
    hidden=st.booleans(),
    withheld=_some(FIELDS, 0),
    policy_purposes=_maybe(_some(PURPOSES)),
    purpose=st.sampled_from(PURPOSES),
    fields=_maybe(_some(FIELDS)),
    records=_maybe(_some(RECORDS)),
).filter(lambda w: not (w.hidden and (w.consented_records or w.records)))


def _reckon(wish: Wish, needed: frozenset[str], every: frozenset[str]) -> Any:
    """Say what must come back: a code, or fields and records."""
    if wish.fields is not None and wish.fields - needed:
        return "field-outside-purpose"
    if wish.policy_purposes is not None and wish.purpose not in wish.policy_purposes:
        return "policy-denied"
    if wish.purpose not in wish.consented_purposes:
        return "purpose-not-consented"
    named, asked = wish.consented_records, wish.records
    if named is not None and asked is not None and not named & asked:
        return "consent-record"
    fields = set(needed)
    for clause in (wish.fields, wish.consented_fields):
        fields &= every if clause is None else clause
    fields -= wish.withheld
    if wish.hidden:
        fields -= {"facility_name", "doctor_name"}
    if not fields:
        return "nothing-left"
    records = set(RECORDS)
    for numbers in (named, asked):
        records &= set(RECORDS) if numbers is None else numbers
    return fields, records


async def _hold(town: Town, hanako: Resident, ids: list[RecordId], wish: Wish) -> None:
    """Play one wish and hold what comes back to the reckoning."""
    parts = town.parts(CLINIC)
    dataset = parts.vault.types.get(CHECKUP)
    await _set_policy(town, wish)
    scope: dict[str, Any] = {"dataset_type": CHECKUP}
    if wish.consented_fields is not None:
        scope["fields"] = sorted(wish.consented_fields)
    if wish.consented_records is not None:
        scope["records"] = [ids[number] for number in sorted(wish.consented_records)]
    consent = await town.consent(
        hanako,
        scope=[scope],
        purposes=sorted(wish.consented_purposes),
        hidden_holder=wish.hidden,
    )
    query: dict[str, Any] = {}
    if wish.fields is not None:
        query["fields"] = tuple(sorted(wish.fields))
    if wish.records is not None:
        query["records"] = tuple(ids[number] for number in sorted(wish.records))
    answer = await town.read(FAR_CLINIC, consent, purpose=wish.purpose, **query)
    needed = frozenset(dataset.purposes[PurposeName(wish.purpose)].fields)
    expected = _reckon(wish, needed, dataset.fields)
    if isinstance(expected, str):
        assert said(answer) == expected
        return
    assert said(answer) == RELEASED
    fields, records = expected
    result = result_of(answer)
    assert set(result.fields) == fields
    assert len(result.records) == len(records)
    if not wish.hidden:
        assert {record.id for record in result.records} == {ids[n] for n in records}
    for record in result.records:
        assert set(json.loads(record.content)) == fields & set(FIELDS)


async def _set_policy(town: Town, wish: Wish) -> None:
    parts, purposes = town.parts(CLINIC), wish.policy_purposes
    policy = HolderPolicy(
        purposes=None if purposes is None else frozenset(map(PurposeName, purposes)),
        withheld_fields=wish.withheld,
    )
    await parts.database.write(
        lambda c: parts.vault.types.set_policy(c, CHECKUP, policy, 0)
    )
    parts.database.read(parts.vault.types.load)


def _content(number: int) -> dict[str, Any]:
    """Return a record in which every field has a value."""
    return {
        "date": f"2026-0{number + 1}-01",
        "facility_name": "星野クリニック",
        "doctor_name": "佐藤",
        "systolic_mmhg": 120,
        "hba1c_percent": 5.4,
        "weight_kg": 55.5,
        "doctor_comment": "fine",
        "note": "internal",
    }


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(WISHES, min_size=6, max_size=6))
def test_released_is_the_intersection_of_all_clauses(wishes: list[Wish]) -> None:
    """Never a field or record more, and never one less without a reason."""

    async def story(town: Town) -> None:
        hanako = await town.register()
        ids = [await town.store(CLINIC, "H-1", _content(n)) for n in RECORDS]
        await town.link(hanako, CLINIC, "H-1")
        for wish in wishes:
            await _hold(town, hanako, ids, wish)

    play(story)
