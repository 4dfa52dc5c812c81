# SPDX-License-Identifier: Apache-2.0
"""Attachments across cities: whole and in order, or not at all, whatever happens."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from node.fetcher import Fetching, FetchRequest
from node.problems import Refused as RefusedError
from node.transfers import Side, State
from protocol.attachment import AttachmentInfo
from protocol.canonical import b64url
from protocol.ids import AttachmentId, DatasetTypeName, PurposeName, RecordId
from protocol.stream import CHUNK_BYTES
from tests.simulation.town import (
    CHECKUP,
    CLINIC,
    FAR_CLINIC,
    TREATMENT,
    Town,
    checkup,
    play,
    result_of,
)

pytestmark = pytest.mark.slow
FIELD = "ecg_finding"
SIZE = 3 * (1 << 20) + 4_321
CONTENT = hashlib.shake_256(b"an electrocardiogram").digest(SIZE)


def sha256(content: bytes | bytearray) -> str:
    """Return a digest as documents have it."""
    return b64url(hashlib.sha256(content).digest())


async def attach(
    town: Town,
    record: RecordId,
    content: bytes = CONTENT,
    *,
    field: str = FIELD,
    node: str = CLINIC,
) -> AttachmentInfo:
    """Attach a file to a record."""

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(content), 100_000):
            yield content[at : at + 100_000]

    return await town.parts(node).attachments.store(
        pieces(), record=record, field=field, media_type="image/png", name="ecg.png"
    )


async def prepared(town: Town, **wish: Any) -> tuple[str, FetchRequest]:
    """Return a consent, and what fetches the attachment of a checkup under it."""
    resident = await town.resident_with_checkups(1)
    record = await town.store(CLINIC, "H-1", checkup(1))
    await attach(town, record)
    consent = await town.consent(resident, **wish)
    answer = await town.read(FAR_CLINIC, consent, attachments=True)
    listed = [r for r in result_of(answer).records if r.attachments]
    assert listed, "no attachment is told"
    told = listed[0].attachments
    assert told is not None
    return consent, wanted(consent, listed[0].id, told[0].id)


def wanted(consent: str, record: str, attachment: str, **more: Any) -> FetchRequest:
    """Return a request for an attachment."""
    return FetchRequest(
        DatasetTypeName(CHECKUP),
        PurposeName(TREATMENT),
        consent,
        RecordId(record),
        AttachmentId(attachment),
        **more,
    )


async def fetched(town: Town, request: FetchRequest) -> bytes:
    """Fetch everything."""
    fetching = await town.parts(FAR_CLINIC).fetcher.open(request)
    return await rest(fetching)


async def rest(fetching: Fetching) -> bytes:
    """Take every piece that is left."""
    return b"".join([bytes(piece) async for piece in fetching.pieces()])


def test_attachment_arrives_whole_through_brokers_of_three_cities() -> None:
    """One provision and one reception stand for it, under the same exchange."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        before = len(town.provisions(CLINIC))
        assert sha256(await fetched(town, request)) == sha256(CONTENT)
        (provision,) = town.provisions(CLINIC)[before:]
        (reception,) = town.provisions(FAR_CLINIC, "reception")[before:]
        assert provision.exchange == reception.exchange
        assert provision.answer == reception.answer
        assert provision.fields == reception.fields == (FIELD,)
        assert provision.attachment == reception.attachment == request.attachment

    play(story)


def test_withdrawal_stops_a_running_transfer() -> None:
    """At the next part; what was given out before stays, and both sides show why."""

    async def story(town: Town) -> None:
        consent, request = await prepared(town)
        resident = town.people["hanako"]
        fetcher = town.parts(FAR_CLINIC).fetcher
        fetcher.window = 1
        fetching = await fetcher.open(request)
        pieces = fetching.pieces()
        first = await anext(pieces)
        await town.withdraw(resident, consent)
        await town.acknowledged(resident, consent)
        with pytest.raises(RefusedError) as refused:
            while True:
                await anext(pieces)
        assert refused.value.slug == "consent-withdrawn"
        assert first == CONTENT[: len(first)]
        shown = town.parts(FAR_CLINIC).transfers.find(
            Side.REQUESTER, fetching.transfer.id
        )
        assert shown is not None
        assert (shown.state, shown.problem) == (State.ENDED, "consent-withdrawn")
        assert town.parts(CLINIC).transfers.all()[0].problem == "consent-withdrawn"
        with pytest.raises(RefusedError):
            await fetched(town, request)

    play(story)


def test_progress_shows_at_both_sides_under_one_id() -> None:
    """Position and size; done when everything has left and arrived."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        fetching = await town.parts(FAR_CLINIC).fetcher.open(request)
        halfway = [
            town.parts(node).transfers.find(side, fetching.transfer.id)
            for node, side in ((CLINIC, Side.HOLDER), (FAR_CLINIC, Side.REQUESTER))
        ]
        for seen in halfway:
            assert seen is not None
            assert (seen.state, seen.position) == (State.RUNNING, 1 << 20)
        await rest(fetching)
        for seen in halfway:
            assert seen is not None
            assert (seen.state, seen.position) == (State.DONE, SIZE)
            assert seen.carried == SIZE

    play(story)


def test_hidden_holder_stays_hidden_in_a_transfer() -> None:
    """Under ids for this consent alone, and without the name of the file."""

    async def story(town: Town) -> None:
        resident = await town.resident_with_checkups(1)
        record = await town.store(CLINIC, "H-1", checkup(1))
        info = await attach(town, record)
        consent = await town.consent(resident, hidden_holder=True)
        answer = await town.read(FAR_CLINIC, consent, attachments=True)
        (listed,) = [r for r in result_of(answer).records if r.attachments]
        assert listed.attachments is not None
        (told,) = listed.attachments
        assert told.id != info.id
        assert told.name is None
        fetching = await town.parts(FAR_CLINIC).fetcher.open(
            wanted(consent, listed.id, told.id)
        )
        assert sha256(await rest(fetching)) == sha256(CONTENT)
        assert fetching.transfer.counterparty == "hoshino"
        with pytest.raises(RefusedError) as refused:
            await fetched(town, wanted(consent, listed.id, info.id))
        assert refused.value.slug == "not-found"

    play(story)


@pytest.mark.parametrize("offset", [CHUNK_BYTES, SIZE - 1])
def test_fetch_goes_on_from_any_byte(offset: int) -> None:
    """As a new transfer with records of its own."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        later = FetchRequest(**{**vars(request), "offset": offset})
        assert sha256(await fetched(town, later)) == sha256(CONTENT[offset:])

    play(story)


def test_link_that_breaks_is_survived() -> None:
    """Nothing is lost or doubled; the transfer goes on when the link is back."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        fetching = await town.parts(FAR_CLINIC).fetcher.open(request)
        came = bytearray()
        async for piece in fetching.pieces():
            came += piece
            town.network.cut("yamanami/broker")
        assert sha256(came) == sha256(CONTENT)

    play(story)


def test_holder_that_restarts_goes_on_with_the_same_transfer() -> None:
    """Its provision record is on disk: no second one is written."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        fetcher = town.parts(FAR_CLINIC).fetcher
        fetcher.window = 1
        fetching = await fetcher.open(request)
        before = len(town.provisions(CLINIC))
        pieces = fetching.pieces()
        came = bytearray(await anext(pieces))
        await town.federation.restart(CLINIC)
        async for piece in pieces:
            came += piece
        assert sha256(came) == sha256(CONTENT)
        assert len(town.provisions(CLINIC)) == before

    play(story)


def test_content_is_learned_by_its_recipient_alone() -> None:
    """Neither brokers nor home nodes see a chunk, the file's name or its digest."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        await fetched(town, request)
        words = (CONTENT[:64], CONTENT[-64:], b"ecg.png", sha256(CONTENT).encode())
        for name, node in town.federation.nodes.items():
            learned = bytes(node.learned)
            found = [word in learned for word in words]
            # The requester's papers are in base64; what it opened is not.
            mine = name == FAR_CLINIC
            assert all(found[:2]) if mine else not any(found), name
            # The holder's own content lies sealed on its disk.
            assert not any(w in town.federation.on_disk(name) for w in words), name

    play(story)
