# SPDX-License-Identifier: Apache-2.0
"""What a broker in hostile hands does to the exchanges that it carries.

One node of a story is hostile, its villain; here it is a broker. Everything else about
it is production code, so its links and signatures are genuine.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Self

from federation.peers import Carrier
from node.simulate.draft import Draft
from node.simulate.events import Event, Group, event
from node.simulate.meddler import Meddle
from node.simulate.scene import ABSENT, Scene
from protocol.answer import AnswerEnvelope, AnswerType
from protocol.envelope import Envelope
from protocol.errors import MachikuraError
from protocol.ids import NodeId
from protocol.problem import PROBLEM, ProblemBody, SignedProblem
from protocol.signature import sign

_MOST_BYTES = 1 << 24
PLACES = ("token", "hops", "body", "answer")
CODES = ("no-route", "malformed", "forbidden", "consent-withdrawn", "not-found")


def hostile_link(draft: Draft) -> tuple[str, str] | None:
    """Return the hostile broker and a peer of it, None if the villain is no broker."""
    city, _, label = draft.villain.partition("/")
    if label != "broker":
        return None
    around = [b if a == city else a for a, b in draft.cast.neighbors if city in (a, b)]
    members = [n for n in draft.cast.everybody if n.startswith(f"{city}/")]
    brokers = [f"{other}/broker" for other in around]
    among = brokers if draft.often(0.6) else [m for m in members if m != draft.villain]
    return draft.villain, draft.pick(among)


async def while_meddling(
    scene: Scene, broker: str, peer: str, meddle: Meddle, seconds: int
) -> str:
    """Meddle with a link for a while."""
    hand = scene.meddle(broker, peer, meddle)
    if hand is None:
        return ABSENT
    await scene.sleep(seconds)
    scene.unhand(broker, hand)
    return "over"


@event
@dataclass(frozen=True, kw_only=True)
class Tamper(Event):
    """A hostile broker alters one bit of what it carries."""

    broker: str
    peer: str
    place: str
    at: int
    seconds: int
    group: ClassVar[Group] = Group.HOSTILE
    weight = 3.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose where."""
        link = hostile_link(draft)
        if link is None:
            return None
        return cls(
            at_ms=at_ms,
            broker=link[0],
            peer=link[1],
            place=draft.pick(PLACES),
            at=draft.below(2_000),
            seconds=int(draft.between(3, 25)),
        )

    async def happen(self, scene: Scene) -> str:
        """Alter every request, or every answer."""

        async def alter(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            if self.place == "answer":
                answer = await link.request(payload, deadline_ms=deadline_ms)
                return self._flip(answer)
            whole = Envelope.unpack(payload, _MOST_BYTES)
            parts = {"token": whole.token, "hops": whole.hops, "body": whole.body}
            parts[self.place] = self._flip(parts[self.place])
            forged = Envelope(parts["token"], parts["hops"], parts["body"])
            return await link.request(forged.pack(), deadline_ms=deadline_ms)

        return await while_meddling(scene, self.broker, self.peer, alter, self.seconds)

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return b"\xff"
        place = self.at % len(data)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@event
@dataclass(frozen=True, kw_only=True)
class WrongAnswer(Event):
    """A hostile broker gives each asker the answer to somebody else's request."""

    broker: str
    peer: str
    seconds: int
    group: ClassVar[Group] = Group.HOSTILE
    weight = 2.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose a link."""
        link = hostile_link(draft)
        if link is None:
            return None
        seconds = int(draft.between(3, 25))
        return cls(at_ms=at_ms, broker=link[0], peer=link[1], seconds=seconds)

    async def happen(self, scene: Scene) -> str:
        """Keep each answer and give the one before."""
        kept: list[bytes] = []

        async def swap(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            kept.append(await link.request(payload, deadline_ms=deadline_ms))
            return kept[0] if len(kept) == 1 else kept.pop(0)

        return await while_meddling(scene, self.broker, self.peer, swap, self.seconds)


@event
@dataclass(frozen=True, kw_only=True)
class FalseRefusal(Event):
    """A hostile broker refuses what it should carry, in its own or another's name."""

    broker: str
    peer: str
    name: str
    code: str
    seconds: int
    group: ClassVar[Group] = Group.HOSTILE
    weight = 2.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose what it says."""
        link = hostile_link(draft)
        if link is None:
            return None
        return cls(
            at_ms=at_ms,
            broker=link[0],
            peer=link[1],
            name=draft.pick(link),
            code=draft.pick(CODES),
            seconds=int(draft.between(3, 25)),
        )

    async def happen(self, scene: Scene) -> str:
        """Answer each request with a problem of our own making."""

        async def refuse(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            envelope = Envelope.unpack(payload, _MOST_BYTES)
            now = scene.now_ms() // 1000
            problem = SignedProblem(
                iss=NodeId(self.name),
                aud=envelope.header.sender,
                jti=envelope.header.id,
                iat=now,
                exp=now + 60,
                request=envelope.digest,
                problem=ProblemBody(code=self.code, detail="forged"),
            )
            signer = scene.parts(self.broker).exchanges.signer
            token = sign(signer, PROBLEM, problem).token
            shown = scene.parts(self.name).standing.credentials().membership
            content = f"{token}\n{shown}".encode()
            return AnswerEnvelope(AnswerType.PROBLEM, b"", content).pack()

        return await while_meddling(scene, self.broker, self.peer, refuse, self.seconds)


@event
@dataclass(frozen=True, kw_only=True)
class Replay(Event):
    """A hostile broker keeps requests and plays them again, now and much later."""

    broker: str
    peer: str
    seconds: int
    later_s: int
    group: ClassVar[Group] = Group.HOSTILE
    weight = 2.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose how much later."""
        link = hostile_link(draft)
        if link is None:
            return None
        return cls(
            at_ms=at_ms,
            broker=link[0],
            peer=link[1],
            seconds=int(draft.between(3, 25)),
            later_s=draft.pick((1, 5, 30)),
        )

    async def happen(self, scene: Scene) -> str:
        """Carry honestly, keep copies, play them again."""
        copies: list[bytes] = []

        async def copy(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            if len(copies) < 20:
                copies.append(payload)
            return await link.request(payload, deadline_ms=deadline_ms)

        ended = await while_meddling(scene, self.broker, self.peer, copy, self.seconds)
        await scene.sleep(self.later_s)
        for payload in copies:
            await send_raw(scene, self.broker, self.peer, payload)
        return f"{ended}, {len(copies)} played again"


async def send_raw(scene: Scene, node: str, peer: str, payload: bytes) -> None:
    """Send bytes over a genuine link; what comes back is nobody's business."""
    if not scene.runs(node):
        return
    found = scene.parts(node).peers.find(NodeId(peer))
    if found is None:
        return
    deadline_ms = scene.parts(node).world.clock.now_ms() + 2_000
    with suppress(MachikuraError):
        await found[1].request(payload, deadline_ms=deadline_ms)
