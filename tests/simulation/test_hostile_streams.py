# SPDX-License-Identifier: Apache-2.0
"""Hostile brokers, lying holders and bad weather against a transfer.

Minato's broker is in hostile hands: it cuts, moves, doubles, mixes and alters what it
carries. The requester gets exactly the holder's bytes or a stable code, and never one
byte that is not the holder's in its place.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import pytest

from federation.exchange import Asked, Reply
from federation.peers import Carrier
from federation.replies import Chunked
from federation.simulation import Weather
from node.attachments import WrongDigest
from node.fetcher import FetchRequest
from node.problems import Refused as RefusedError
from node.simulate.meddler import Meddle, take_over
from node.transfers import State
from protocol.answer import AnswerEnvelope, AnswerType, Segment
from protocol.envelope import Kind
from protocol.errors import MachikuraError
from protocol.ids import RecordId
from protocol.stream import CHUNK_BYTES, TAG_BYTES, join_answer, split_answer
from tests.simulation.test_streams import (
    CONTENT,
    FIELD,
    SIZE,
    attach,
    fetched,
    prepared,
    sha256,
)
from tests.simulation.town import BROKER, CLINIC, FAR_CLINIC, TRANSIT, Town, play

pytestmark = pytest.mark.slow
SEALED = CHUNK_BYTES + TAG_BYTES

Alter = Callable[[bytes, bytes], tuple[bytes, bytes]]
"""Gets the sealed answer and its chunks; returns what the broker passes on."""


class Hostile:
    """Minato's broker: does what it is told with every answer to a fetch."""

    def __init__(self) -> None:
        """Honest before `does`."""
        self.does: Meddle = _honest

    async def __call__(self, link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
        """Do it."""
        return await self.does(link, payload, deadline_ms)


async def _honest(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
    return await link.request(payload, deadline_ms=deadline_ms)


async def _attacked(town: Town, request: FetchRequest) -> str:
    """Fetch; return `whole` or the code it ended with; what came is the holder's."""
    came = bytearray()
    try:
        fetching = await town.parts(FAR_CLINIC).fetcher.open(request)
        async for piece in fetching.pieces():
            came += piece
    except MachikuraError as error:
        assert sha256(came) == sha256(CONTENT[: len(came)])
        return error.slug
    assert sha256(came) == sha256(CONTENT)
    return "whole"


async def _hostile(town: Town) -> tuple[Hostile, FetchRequest]:
    """Return the broker in hostile hands, and what is fetched through it."""
    _, request = await prepared(town)
    town.parts(FAR_CLINIC).fetcher.patience_s = 3
    broker = Hostile()
    take_over(town.parts(TRANSIT), BROKER, broker, Kind.READ)
    return broker, request


def _altering(alter: Alter, after: int = 0) -> Meddle:
    """Return a broker that alters answers with chunks, from number `after` on."""
    seen = 0

    async def meddle(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
        nonlocal seen
        answer = await link.request(payload, deadline_ms=deadline_ms)
        parts = AnswerEnvelope.unpack(answer, 1 << 24)
        if parts.type is not AnswerType.CHUNKS:
            return answer
        seen += 1
        if seen <= after:
            return answer
        sealed, chunks = split_answer(parts.payload)
        changed = join_answer(*alter(sealed, bytes(chunks)))
        return AnswerEnvelope(parts.type, parts.hops, changed).pack()

    return meddle


def _swapped(sealed: bytes, chunks: bytes) -> tuple[bytes, bytes]:
    first, second = chunks[:SEALED], chunks[SEALED : 2 * SEALED]
    return sealed, second + first + chunks[2 * SEALED :]


def _flipped(sealed: bytes, chunks: bytes) -> tuple[bytes, bytes]:
    place = len(chunks) // 2
    return sealed, chunks[:place] + bytes([chunks[place] ^ 1]) + chunks[place + 1 :]


ALTERED: dict[str, Alter] = {
    "truncated": lambda sealed, chunks: (sealed, chunks[:-SEALED]),
    "cut": lambda sealed, chunks: (sealed, chunks[:-1]),
    "emptied": lambda sealed, chunks: (sealed, b""),
    "longer": lambda sealed, chunks: (sealed, chunks + chunks[-SEALED:]),
    "doubled": lambda sealed, chunks: (
        sealed,
        chunks[:SEALED] * (len(chunks) // SEALED),
    ),
    "reordered": _swapped,
    "flipped": _flipped,
}


def test_altered_chunks_are_refused() -> None:
    """At once or in the middle; what came before is the holder's."""

    async def story(town: Town) -> None:
        broker, request = await _hostile(town)
        for name, alter in ALTERED.items():
            for after in (0, 2):
                broker.does = _altering(alter, after)
                assert await _attacked(town, request) == "answer-invalid", name
        broker.does = _honest
        assert await _attacked(town, request) == "whole"

    play(story)


def _mixing() -> Meddle:
    """Return a broker that puts earlier chunks behind each later answer."""
    kept: list[bytes] = []

    def mixed(sealed: bytes, chunks: bytes) -> tuple[bytes, bytes]:
        kept.append(chunks)
        return sealed, kept[0]

    return _altering(mixed)


def _replaying() -> Meddle:
    """Return a broker that answers every fetch with the answer to the first."""
    kept: list[bytes] = []

    async def meddle(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
        kept.append(await link.request(payload, deadline_ms=deadline_ms))
        return kept[0]

    return meddle


def _chunkless() -> Meddle:
    """Return a broker that passes the sealed answer on as one without chunks."""

    async def meddle(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
        answer = await link.request(payload, deadline_ms=deadline_ms)
        parts = AnswerEnvelope.unpack(answer, 1 << 24)
        sealed, _ = split_answer(parts.payload)
        return AnswerEnvelope(AnswerType.SEALED, parts.hops, sealed).pack()

    return meddle


def test_mixed_and_replayed_answers_are_refused() -> None:
    """Chunks open behind their own answer, and an answer to its own request."""

    async def story(town: Town) -> None:
        broker, request = await _hostile(town)
        for make in (_mixing, _replaying, _chunkless):
            broker.does = make()
            assert await _attacked(town, request) == "answer-invalid", make.__name__

    play(story)


def test_chunks_of_another_transfer_are_refused() -> None:
    """Two streams of one requester through one broker cannot be mixed."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        other = await attach(town, request.record, bytes(SIZE))
        fetcher = town.parts(FAR_CLINIC).fetcher
        fetcher.patience_s = 3
        kept: list[bytes] = []

        def mixed(sealed: bytes, chunks: bytes) -> tuple[bytes, bytes]:
            kept.append(chunks)
            return sealed, kept[0]

        take_over(town.parts(TRANSIT), BROKER, _altering(mixed), Kind.READ)
        first = await fetcher.open(replace(request, attachment=other.id))
        assert first.info.size == SIZE
        with pytest.raises(RefusedError) as refused:
            await fetcher.open(request)
        assert refused.value.slug == "answer-invalid"

    play(story)


def _lost(every: int) -> Meddle:
    """Return a broker that loses every so many answers without a word."""
    count = 0

    async def meddle(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
        nonlocal count
        count += 1
        if count % every == 0:
            link.end()
        return await link.request(payload, deadline_ms=deadline_ms)

    return meddle


def test_broker_that_drops_its_link_now_and_then_only_delays() -> None:
    """The lost part is asked for again, with the same transfer."""

    async def story(town: Town) -> None:
        broker, request = await _hostile(town)
        town.parts(FAR_CLINIC).fetcher.patience_s = 60
        broker.does = _lost(2)
        assert await _attacked(town, request) == "whole"

    play(story)


@pytest.mark.parametrize("seed", range(2))
def test_bad_weather_only_delays(seed: int) -> None:
    """Links that stall and break: every byte arrives once and in its place."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        town.network.weather = Weather(
            delay_s=(0.001, 0.2), stall_rate=0.01, stall_s=5, cut_rate=0.01
        )
        fetcher = town.parts(FAR_CLINIC).fetcher
        fetcher.patience_s = 3600
        assert sha256(await fetched(town, request)) == sha256(CONTENT)

    play(story, seed=seed)


def test_slow_way_is_met_with_smaller_parts() -> None:
    """Where a mebibyte does not arrive by its deadline, a chunk does."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        lengths: list[int] = []

        async def slow(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            answer = await link.request(payload, deadline_ms=deadline_ms)
            # A quarter of a second for each chunk; a part has two.
            await town.sleep(len(answer) // CHUNK_BYTES * 0.25)
            lengths.append(len(answer))
            return answer

        take_over(town.parts(TRANSIT), BROKER, slow, Kind.READ)
        wish = replace(request, timeout_ms=2_000)
        assert sha256(await fetched(town, wish)) == sha256(CONTENT)
        assert min(lengths) < 1 << 19

    play(story)


def test_slow_application_makes_nobody_wait() -> None:
    """At most a window of parts is asked for ahead; reads pass meanwhile."""

    async def story(town: Town) -> None:
        consent, request = await prepared(town)
        fetcher = town.parts(FAR_CLINIC).fetcher
        fetcher.segment_bytes, fetcher.window = CHUNK_BYTES, 4
        fetching = await fetcher.open(request)
        pieces = fetching.pieces()
        came = bytearray()
        for _ in range(6):
            came += await anext(pieces)
        for _ in range(20):
            await town.sleep(60)
            assert fetching.transfer.carried <= len(came) + 4 * CHUNK_BYTES
            began = town.clock.now_ms()
            await town.read(FAR_CLINIC, consent)
            assert town.clock.now_ms() - began < 1_000
        async for piece in pieces:
            came += piece
        assert sha256(came) == sha256(CONTENT)

    play(story)


def test_transfer_that_is_given_up_leaves_nothing_running() -> None:
    """Parts on their way are cancelled, at the holder too."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        fetching = await town.parts(FAR_CLINIC).fetcher.open(request)
        pieces: AsyncGenerator[Any] = fetching.pieces()
        await anext(pieces)
        await pieces.aclose()
        carried = fetching.transfer.carried
        await town.sleep(120)
        assert fetching.transfer.carried == carried

    play(story)


def test_transfer_of_somebody_else_cannot_be_joined() -> None:
    """Naming another's transfer releases nothing without a provision of one's own."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        fetcher = town.parts(FAR_CLINIC).fetcher
        first = await fetcher.open(request)
        again = await fetcher.open(replace(request, offset=1 << 20))
        assert first.transfer.id != again.transfer.id
        other = await attach(town, request.record, bytes(100))
        third = await fetcher.open(replace(request, attachment=other.id))
        before = len(town.provisions(CLINIC))
        third._opened = first._opened
        third._request = replace(request, attachment=other.id)
        assert (await third._ask(0)).code == "transfer-unknown"  # type: ignore[union-attr]
        assert len(town.provisions(CLINIC)) == before

    play(story)


def test_holder_that_lies_about_the_digest_is_found_out() -> None:
    """The last piece is not given out: nobody takes the rest for the whole."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        parts = town.parts(CLINIC)
        desk, store = parts.attachments, parts.vault.attachments
        upload = await parts.database.write(
            lambda c: store.begin(c, request.record, FIELD, "image/png", None, 1)
        )
        writer = desk.files.writer(upload.id, upload.key)
        writer.write(CONTENT)
        writer.finish()
        await parts.database.write(lambda c: store.finish(c, upload, SIZE, "A" * 43, 1))
        wish = replace(request, attachment=upload.id)
        fetching = await town.parts(FAR_CLINIC).fetcher.open(wish)
        came = 0
        with pytest.raises(WrongDigest):
            async for piece in fetching.pieces():
                came += len(piece)
        assert 0 < came < SIZE
        assert fetching.transfer.state is State.ENDED

    play(story)


def test_holder_that_answers_something_else_is_found_out() -> None:
    """Another place, another attachment, more than was asked for, another digest."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        other = await attach(town, request.record, bytes(SIZE))
        exchanges = town.parts(CLINIC).exchanges
        honest = exchanges.handlers["fetch"]
        changes: list[dict[str, Any]] = [
            {"offset": CHUNK_BYTES},
            {"record": RecordId(request.record[:-4] + "ffff")},
            {"attachment": other},
        ]
        for change in changes:

            async def lying(asked: Asked, change: dict[str, Any] = change) -> Reply:
                reply = await honest(asked)
                outcome, chunked = reply.outcome, reply.chunked
                assert isinstance(outcome, Segment)
                assert chunked is not None
                told = outcome.model_copy(update=change)
                return replace(
                    reply, outcome=told, chunked=Chunked(chunked.content, told.span)
                )

            exchanges.on({"fetch": lying})
            assert await _attacked(town, request) == "answer-invalid", change
        exchanges.on({"fetch": honest})
        assert await _attacked(town, request) == "whole"

    play(story)


def test_content_that_changes_in_the_middle_is_found_out() -> None:
    """Each part names the digest of the whole: they are of one content."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        exchanges = town.parts(CLINIC).exchanges
        honest = exchanges.handlers["fetch"]

        async def changing(asked: Asked) -> Reply:
            reply = await honest(asked)
            outcome = reply.outcome
            assert isinstance(outcome, Segment)
            if outcome.offset == 0:
                return reply
            told = outcome.attachment.model_copy(update={"sha256": "A" * 43})
            return replace(
                reply, outcome=outcome.model_copy(update={"attachment": told})
            )

        exchanges.on({"fetch": changing})
        assert await _attacked(town, request) == "answer-invalid"

    play(story)


def test_request_is_what_the_application_asked_for() -> None:
    """Another record or another type than the attachment's gives nothing."""

    async def story(town: Town) -> None:
        _, request = await prepared(town)
        (other,) = [
            r.id
            for r in town.records_of(CLINIC, _subject(town))
            if r.id != request.record
        ]
        for wrong in (
            replace(request, record=other),
            FetchRequest(**{**vars(request), "attachment": _other_id(request)}),
        ):
            with pytest.raises(RefusedError) as refused:
                await fetched(town, wrong)
            assert refused.value.slug == "not-found"

    play(story)


def _subject(town: Town) -> str:
    parts = town.parts(CLINIC)
    found = parts.database.read(lambda c: parts.vault.subjects.find_local(c, "H-1"))
    assert found is not None
    return found


def _other_id(request: FetchRequest) -> Any:
    return type(request.attachment)(request.attachment[:-4] + "ffff")
