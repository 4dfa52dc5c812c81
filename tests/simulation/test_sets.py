# SPDX-License-Identifier: Apache-2.0
"""Result sets larger than an answer: every record once, in order, or told otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from federation.exchange import Asked, Reply
from node.pages import Broken, Done, Page, Pages
from node.reader import ReadRequest
from protocol.answer import ReadResult
from protocol.ids import DatasetTypeName, PurposeName
from tests.simulation.town import (
    CHECKUP,
    CLINIC,
    FAR_BOSAI,
    FAR_CLINIC,
    TREATMENT,
    Town,
    checkup,
    play,
    result_of,
    said,
)

pytestmark = pytest.mark.slow
COUNT = 23


def request(consent: str, **more: Any) -> ReadRequest:
    """Return a request for every checkup, in pages of five."""
    return ReadRequest(
        DatasetTypeName(CHECKUP),
        PurposeName(TREATMENT),
        consent=consent,
        **{"limit": 5, **more},
    )


def pages(town: Town, patience_s: float = 60) -> Pages:
    """Return what reads whole sets at the far clinic."""
    parts = town.parts(FAR_CLINIC)
    return Pages(reader=parts.reader, clock=parts.world.clock, patience_s=patience_s)


async def taken(town: Town, wish: ReadRequest) -> tuple[list[str], list[Broken | Done]]:
    """Return the ids of all records, and how each holder's set ended."""
    ids: list[str] = []
    ends: list[Broken | Done] = []
    async for page in pages(town).all(wish):
        if isinstance(page, Page):
            ids += [record.id for record in page.result.records]
        else:
            ends.append(page)
    return ids, ends


@pytest.mark.parametrize("hidden", [False, True])
def test_every_record_comes_once_and_in_order(hidden: bool) -> None:
    """Also from a hidden holder, and where many have the same time."""

    async def story(town: Town) -> None:
        resident = await town.resident_with_checkups(COUNT)
        consent = await town.consent(resident, hidden_holder=hidden)
        whole = result_of(await town.read(FAR_CLINIC, consent, limit=1000))
        before = len(town.provisions(CLINIC))
        ids, ends = await taken(town, request(consent))
        assert ids == [record.id for record in whole.records]
        assert len(set(ids)) == COUNT
        assert [type(end) for end in ends] == [Done]
        assert len(town.provisions(CLINIC)) - before == 5

    play(story)


def test_named_records_come_in_pages_too() -> None:
    """A page counts what is left after the selection."""

    async def story(town: Town) -> None:
        resident = await town.resident_with_checkups(COUNT)
        consent = await town.consent(resident)
        whole = result_of(await town.read(FAR_CLINIC, consent, limit=1000))
        wanted = tuple(record.id for record in whole.records[1::2])
        ids, _ = await taken(town, request(consent, records=wanted))
        assert tuple(ids) == wanted

    play(story)


def test_record_that_is_deleted_in_between_moves_nothing() -> None:
    """The next page starts behind a place, not behind a record or a number."""

    async def story(town: Town) -> None:
        resident = await town.resident_with_checkups(12)
        consent = await town.consent(resident)
        first = result_of(await town.read(FAR_CLINIC, consent, limit=5))
        rest = result_of(await town.read(FAR_CLINIC, consent, limit=1000)).records[5:]
        parts = town.parts(CLINIC)
        for gone in (first.records[4].id, rest[0].id):
            await parts.database.write(
                lambda c, gone=gone: parts.vault.records.delete(c, gone)  # type: ignore[misc]
            )
        ids, _ = await taken(town, request(consent, after=first.next))
        assert ids == [record.id for record in rest[1:]]

    play(story)


def test_withdrawal_ends_the_set_at_the_next_page() -> None:
    """It is told, with the place to go on from; what came before stays."""

    async def story(town: Town) -> None:
        resident = await town.resident_with_checkups(COUNT)
        consent = await town.consent(resident)
        found = pages(town).all(request(consent))
        first = await anext(found)
        assert isinstance(first, Page)
        await town.withdraw(resident, consent)
        await town.acknowledged(resident, consent)
        last = [page async for page in found][-1]
        assert isinstance(last, Broken)
        assert last.refusal.code == "consent-withdrawn"
        assert last.after == first.result.next

    play(story)


def test_place_of_one_consent_is_of_no_use_under_another() -> None:
    """Nor is an invented one: `next` is sealed for the consent and the type."""

    async def story(town: Town) -> None:
        resident = await town.resident_with_checkups(12)
        one = await town.consent(resident)
        other = await town.consent(resident)
        page = result_of(await town.read(FAR_CLINIC, one, limit=5))
        again = await town.read(FAR_CLINIC, one, limit=5, after=page.next)
        assert len(result_of(again).records) == 5
        for after in (page.next, "A" * 60, "not base64!"):
            answer = await town.read(
                FAR_CLINIC, other if after == page.next else one, after=after
            )
            assert said(answer) == "malformed"

    play(story)


def test_broken_links_lose_and_double_nothing() -> None:
    """A page that is lost is read again."""

    async def story(town: Town) -> None:
        resident = await town.resident_with_checkups(COUNT)
        consent = await town.consent(resident)
        ids: list[str] = []
        async for page in pages(town).all(request(consent)):
            town.network.cut("yamanami/broker")
            if isinstance(page, Page):
                ids += [record.id for record in page.result.records]
        assert len(ids) == len(set(ids)) == COUNT

    play(story)


def test_sets_of_several_holders_come_one_after_the_other() -> None:
    """One that is away is told, and does not keep the others' records back."""

    async def story(town: Town) -> None:
        resident = await town.resident_with_checkups(7)
        for number in range(3):
            await town.store(FAR_BOSAI, "B-1", checkup(number))
        await town.link(resident, FAR_BOSAI, "B-1")
        consent = await town.consent(resident, holders=[FAR_BOSAI, CLINIC])
        await town.federation.stop(FAR_BOSAI)
        wish = replace(request(consent), timeout_ms=1000)
        ids, ends = await taken(town, wish)
        assert len(ids) == 7
        kinds = {str(end.holder): type(end) for end in ends}
        assert kinds == {FAR_BOSAI: Broken, CLINIC: Done}

    play(story)


@pytest.mark.parametrize(
    "change",
    [{"next": None}, {"more": False}, {"records": ()}],
    ids=["no place", "not more", "empty"],
)
def test_holder_whose_pages_make_no_set_is_found_out(change: dict[str, Any]) -> None:
    """Neither cut off unseen, nor without an end."""

    async def story(town: Town) -> None:
        resident = await town.resident_with_checkups(12)
        consent = await town.consent(resident)
        exchanges = town.parts(CLINIC).exchanges
        honest = exchanges.handlers["read"]

        async def lying(asked: Asked) -> Reply:
            reply = await honest(asked)
            assert isinstance(reply.outcome, ReadResult)
            return replace(reply, outcome=reply.outcome.model_copy(update=change))

        exchanges.on({"read": lying})
        ids, ends = await taken(town, request(consent))
        assert ids == []
        (end,) = ends
        assert isinstance(end, Broken)
        assert end.refusal.code == "answer-invalid"

    play(story)
