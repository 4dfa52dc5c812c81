# SPDX-License-Identifier: Apache-2.0
"""A broker on the way drops, repeats, reorders, alters: it can only refuse.

Minato's broker is in hostile hands. Whatever it does with a read from Yamanami to
Hoshino, the requester gets the true answer or a stable problem code by its deadline,
nothing is released twice, and nobody keeps half of anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from federation.peers import Carrier
from node.simulate.meddler import Meddle, give_back, take_over
from protocol.answer import AnswerEnvelope, AnswerType
from protocol.envelope import Envelope, Kind
from protocol.hop import HopRecord
from protocol.ids import NodeId
from protocol.problem import PROBLEM, ProblemBody, SignedProblem
from protocol.problem_catalog import CATALOG
from protocol.signature import sign
from tests.simulation.town import (
    BROKER,
    CLINIC,
    FAR_CLINIC,
    RELEASED,
    TRANSIT,
    Town,
    play,
    said,
)

pytestmark = pytest.mark.slow

Alter = Callable[[bytes], bytes]


async def _attack(town: Town, meddle: Meddle) -> tuple[str, int, int]:
    """Read through the hostile broker; return outcome, releases, arrivals."""
    hanako = await town.resident_with_checkups()
    consent = await town.consent(hanako)
    await town.warrant(FAR_CLINIC, consent)  # The proof is there before the attack.
    take_over(town.parts(TRANSIT), BROKER, meddle, Kind.READ)
    began = town.clock.now_ms()
    outcome = said(await town.read(FAR_CLINIC, consent, timeout_ms=4_000))
    assert town.clock.now_ms() - began <= 4_100
    assert outcome == RELEASED or outcome in CATALOG
    releases = len(town.provisions(CLINIC))
    arrivals = len(town.provisions(FAR_CLINIC, "reception"))
    assert (outcome == RELEASED) == (arrivals == 1)
    return outcome, releases, arrivals


def _play(meddle: Meddle) -> tuple[str, int, int]:
    return play(lambda town: _attack(town, meddle))


async def _drop(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
    await asyncio.Event().wait()
    return b""


def test_dropped_request_ends_by_its_deadline() -> None:
    """And the code says who was silent: the neighbor that was asked last."""
    assert _play(_drop) == ("timeout", 0, 0)


async def _drop_answer(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
    await link.request(payload, deadline_ms=deadline_ms)
    return await _drop(link, payload, deadline_ms)


def test_dropped_answer_leaves_a_release_on_record() -> None:
    """The resident sees it, the requester has nothing."""
    assert _play(_drop_answer) == ("timeout", 1, 0)


async def _twice(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
    answers = await asyncio.gather(
        *(link.request(payload, deadline_ms=deadline_ms) for _ in range(3))
    )
    return answers[0]


def test_repeated_request_is_carried_out_once() -> None:
    """Whoever comes second waits for the first and gets the same answer."""
    assert _play(_twice) == (RELEASED, 1, 1)


async def _late(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
    await link.request(payload, deadline_ms=deadline_ms)
    return await link.request(payload, deadline_ms=deadline_ms)


def test_repetition_gets_the_same_answer_and_is_one_release() -> None:
    """As after a path has failed; both sides' records name one answer."""
    assert _play(_late) == (RELEASED, 1, 1)


def _altering(place: str, change: Alter) -> Meddle:
    """Alter one part of the request."""

    async def meddle(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
        envelope = Envelope.unpack(payload, 1 << 24)
        parts = {
            "token": envelope.token,
            "hops": envelope.hops,
            "body": envelope.body,
        }
        parts[place] = change(parts[place])
        altered = Envelope(parts["token"], parts["hops"], parts["body"])
        return await link.request(altered.pack(), deadline_ms=deadline_ms)

    return meddle


def _flip(at: int) -> Alter:
    def change(data: bytes) -> bytes:
        place = at % len(data)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    return change


def _without_last_line(hops: bytes) -> bytes:
    return b"".join(line + b"\n" for line in hops.splitlines()[:-1])


ALTERED_REQUESTS: dict[str, Meddle] = {
    "protected header": _altering("token", _flip(40)),
    "claims": _altering("token", _flip(400)),
    "signature": _altering("token", _flip(-5)),
    "shorter header": _altering("token", lambda token: token[:-30]),
    "no header": _altering("token", lambda token: b""),
    "seal": _altering("body", _flip(0)),
    "tag": _altering("body", _flip(-1)),
    "shorter body": _altering("body", lambda body: body[:-1]),
    "longer body": _altering("body", lambda body: body + b"\0"),
    "no body": _altering("body", lambda body: b""),
    "hop record": _altering("hops", _flip(30)),
    "a hop less": _altering("hops", _without_last_line),
    "no hops": _altering("hops", lambda hops: b""),
    "hops twice": _altering("hops", lambda hops: hops + hops),
    "noise for hops": _altering("hops", lambda hops: b"\xff" * 100),
}


def _answering(change: Alter) -> Meddle:
    """Alter the answer."""

    async def meddle(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
        return change(await link.request(payload, deadline_ms=deadline_ms))

    return meddle


ALTERED_ANSWERS: dict[str, Meddle] = {
    "type": _answering(_flip(0)),
    "length": _answering(_flip(3)),
    "tag": _answering(_flip(-1)),
    "content": _answering(_flip(-200)),
    "shorter": _answering(lambda answer: answer[:-1]),
    "longer": _answering(lambda answer: answer + b"\0"),
    "stump": _answering(lambda answer: answer[:3]),
    "nothing": _answering(lambda answer: b""),
    "problem instead": _answering(lambda answer: b"\x02" + answer[1:]),
    "noise": _answering(lambda answer: b"\xff" * 300),
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, tuple[str, int, int]]:
    """Return outcome, releases and arrivals of each alteration, tried in one world."""

    async def story(town: Town) -> dict[str, tuple[str, int, int]]:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        found = {}
        for what, attacks in (
            ("request", ALTERED_REQUESTS),
            ("answer", ALTERED_ANSWERS),
        ):
            for name, meddle in attacks.items():
                before = _counts(town)
                take_over(town.parts(TRANSIT), BROKER, meddle, Kind.READ)
                code = said(await town.read(FAR_CLINIC, consent, timeout_ms=4_000))
                give_back(town.parts(TRANSIT), BROKER)
                after = _counts(town)
                counts = after[0] - before[0], after[1] - before[1]
                found[f"{what}: {name}"] = (code, *counts)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        return found

    return play(story)


def _counts(town: Town) -> tuple[int, int]:
    return len(town.provisions(CLINIC)), len(town.provisions(FAR_CLINIC, "reception"))


@pytest.mark.parametrize("name", ALTERED_REQUESTS)
def test_altered_request_releases_nothing(
    outcomes: dict[str, tuple[str, int, int]], name: str
) -> None:
    """Header, body and hop records are bound together, by seal or by hash."""
    code, releases, arrivals = outcomes[f"request: {name}"]
    assert code in CATALOG
    assert (releases, arrivals) == (0, 0)


@pytest.mark.parametrize("name", ALTERED_ANSWERS)
def test_altered_answer_is_refused_by_the_requester(
    outcomes: dict[str, tuple[str, int, int]], name: str
) -> None:
    """It was released and is on record; what came is not believed."""
    code, releases, arrivals = outcomes[f"answer: {name}"]
    assert code in CATALOG
    assert (releases, arrivals) == (1, 0)


def test_answers_cannot_be_exchanged() -> None:
    """Attack: two reads at once, and each gets the other's answer."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(1)
        taro = await town.resident_with_checkups(1, login="taro", local_id="H-2")
        consents = [await town.consent(one) for one in (hanako, taro)]
        await town.warrant(FAR_CLINIC, consents[0])
        waiting: list[asyncio.Future[bytes]] = []

        async def swap(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            mine: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            waiting.append(mine)
            answer = await link.request(payload, deadline_ms=deadline_ms)
            other = waiting[1 - waiting.index(mine)] if len(waiting) == 2 else mine
            other.set_result(answer)
            return await mine

        take_over(town.parts(TRANSIT), BROKER, swap, Kind.READ)
        answers = await asyncio.gather(
            *(town.read(FAR_CLINIC, one, timeout_ms=4_000) for one in consents)
        )
        assert [said(answer) for answer in answers] == ["answer-invalid"] * 2
        assert town.provisions(FAR_CLINIC, "reception") == []

    play(story)


def test_answer_of_yesterday_answers_nothing_today() -> None:
    """Attack: keep an answer and give it to the next request."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(1)
        consent = await town.consent(hanako)
        await town.warrant(FAR_CLINIC, consent)
        kept: list[bytes] = []

        async def replay(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            if not kept:
                kept.append(await link.request(payload, deadline_ms=deadline_ms))
            return kept[0]

        take_over(town.parts(TRANSIT), BROKER, replay, Kind.READ)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        assert said(await town.read(FAR_CLINIC, consent)) == "answer-invalid"
        assert len(town.provisions(CLINIC)) == 1

    play(story)


def _forging(town: Town, by: str, code: str) -> Meddle:
    """Answer with a problem in another's name, signed with our own key."""

    async def meddle(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
        parts = town.parts(TRANSIT)
        envelope = Envelope.unpack(payload, 1 << 24)
        now = town.now()
        problem = SignedProblem(
            iss=by,
            aud=envelope.header.sender,
            jti=envelope.header.id,
            iat=now,
            exp=now + 60,
            request=envelope.digest,
            problem=ProblemBody(code=code, detail="forged"),
        )
        signed = sign(parts.exchanges.signer, PROBLEM, problem)
        shown = town.parts(by).standing.credentials().membership
        content = f"{signed.token}\n{shown}".encode()
        return AnswerEnvelope(AnswerType.PROBLEM, b"", content).pack()

    return meddle


@pytest.mark.parametrize("by", [BROKER, CLINIC])
def test_refusal_cannot_be_made_up_in_anothers_name(by: str) -> None:
    """A broker that says "the holder refused" is not believed."""

    async def story(town: Town) -> tuple[str, int, int]:
        return await _attack(town, _forging(town, by, "consent-withdrawn"))

    assert play(story) == ("answer-invalid", 0, 0)


def test_broker_may_refuse_in_its_own_name() -> None:
    """It is seen who did: that is all a hostile broker can bring about."""

    async def story(town: Town) -> str | None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.warrant(FAR_CLINIC, consent)
        take_over(
            town.parts(TRANSIT),
            BROKER,
            _forging(town, TRANSIT, "policy-denied"),
            Kind.READ,
        )
        answer = await town.read(FAR_CLINIC, consent)
        assert said(answer) == "policy-denied"
        return getattr(getattr(answer.outcome, "refusal", None), "by", None)

    assert play(story) == TRANSIT


def test_made_up_hop_records_do_not_pass() -> None:
    """Attack: lengthen the chain, or put another broker's name into it."""

    async def story(town: Town) -> str:
        async def meddle(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            envelope = Envelope.unpack(payload, 1 << 24)
            record = HopRecord(
                by=NodeId("yamanami/broker"),
                next="hoshino",
                at_ms=town.clock.now_ms(),
                decision="forward",
                prev=envelope.digest,
            )
            forged = Envelope(envelope.token, record.encode() + b"\n", envelope.body)
            return await link.request(forged.pack(), deadline_ms=deadline_ms)

        outcome, releases, _ = await _attack(town, meddle)
        assert releases == 0
        return outcome

    # Neither by the next broker, nor does its refusal fit the forged chain.
    assert play(story) == "answer-invalid"


def test_flood_of_one_broker_is_bounded_for_its_neighbor() -> None:
    """It is told to wait before anything costs a signature check."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.warrant(FAR_CLINIC, consent)

        async def flood(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            copies = [
                link.request(payload, deadline_ms=deadline_ms) for _ in range(1_500)
            ]
            answers = await asyncio.gather(*copies, return_exceptions=True)
            return next(a for a in answers if isinstance(a, bytes))

        take_over(town.parts(TRANSIT), BROKER, flood, Kind.READ)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        assert len(town.provisions(CLINIC)) == 1

    play(story)
