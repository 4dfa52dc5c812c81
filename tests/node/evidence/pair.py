# SPDX-License-Identifier: Apache-2.0
"""Two nodes with their journals and a wire between them that a test may meddle with."""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from sqlalchemy import Engine

from federation.evidence_store import OWN, PEER, Alarm, Batch, EvidenceStore
from federation.outcome import LinkLost
from federation.peers import Peer
from node.database import InlineDatabase
from node.evidence.alarms import Alarms
from node.evidence.desk import EvidenceDesk
from node.evidence.parties import EvidenceLimits, Journal
from node.schema import create_all
from node.sqlite import memory_engine
from protocol.box import Box
from protocol.canonical import b64url, canonical
from protocol.envelope import VERSION
from protocol.errors import UnknownKey
from protocol.evidence import (
    LIFE_S,
    LINK_BATCH,
    BatchMessage,
    Leaf,
    LinkBatch,
    Seen,
    root_of,
)
from protocol.ids import NodeId
from protocol.membership import Credentials, Membership, Role
from protocol.signature import Signed, sign
from tests.protocol.cities import HOSHINO, MINATO, NOW, City, seed, signing

Wire: TypeAlias = Callable[[bytes], Awaitable[bytes]]
BROKER = (Role.BROKER,)
MEMBERS = {
    city.membership("broker", BROKER): city.member("broker", BROKER)
    for city in (HOSHINO, MINATO)
}


class Clock:
    """Time stands still until a test moves it."""

    def __init__(self) -> None:
        self.ms = NOW * 1000

    def now_ms(self) -> int:
        """Return the time."""
        return self.ms

    async def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self.ms += round(seconds * 1000)


class Trusting:
    """Knows the two brokers by their membership."""

    def verify_sender(self, membership: str, operating: str, now: int) -> Membership:
        """Return whose it is."""
        if membership not in MEMBERS:
            raise UnknownKey(membership[:16])
        return MEMBERS[membership]

    def verify_broker(self, membership: str, now: int) -> Membership:
        """Return whose it is."""
        return self.verify_sender(membership, "", now)


def request(exchange: str, *, hops: bytes = b"", body: bytes = b"body") -> bytes:
    """Return an envelope as a journal sees one: header, hop records, body."""
    claims = b64url(canonical({"id": exchange}))
    token = f"e30.{claims}.c2ln".encode()
    return struct.pack(">BII", VERSION, len(token), len(hops)) + token + hops + body


def answer(text: bytes = b"answer") -> bytes:
    """Return an answer without hop records."""
    return struct.pack(">BI", 1, 0) + text


def exchange(number: int) -> str:
    """Return an exchange's id."""
    return str(uuid.UUID(int=number + (7 << 76) + (2 << 62)))


@dataclass
class Pipe:
    """A link: what is sent goes through `wire`, which a test may replace."""

    wire: Wire
    up: bool = True
    rtt_ms: float | None = None

    async def request(self, payload: bytes, *, deadline_ms: int) -> bytes:
        """Carry a request."""
        if not self.up:
            raise LinkLost("closed")
        return await self.wire(payload)

    def notify(self, payload: bytes) -> None:
        """Carry nothing."""

    def end(self) -> None:
        """End it."""
        self.up = False


@dataclass
class Side:
    """One node: a disk that outlives its process, and the process."""

    city: City
    clock: Clock
    engine: Engine = field(default_factory=memory_engine)
    raised: list[str] = field(default_factory=list)
    starts: int = 0

    def __post_init__(self) -> None:
        create_all(self.engine)
        self.node: NodeId = self.city.node("broker")
        self.signer = signing(self.node)
        self.shown = Credentials(
            membership=self.city.membership("broker", BROKER),
            operating=self.city.certificate(),
        )
        self.member = self.city.member("broker", BROKER)
        self.peer = Peer(self.node, self.member, self.shown.membership)

    async def start(self) -> None:
        """Start a process on the disk."""
        self.starts += 1
        name = f"{self.node} {self.starts}"
        self.calls = 0

        def entropy(size: int) -> bytes:
            self.calls += 1
            return seed(f"{name} {self.calls}", size)

        self.database = InlineDatabase(self.engine)
        store = EvidenceStore(box=Box(seed(self.node, 32)), entropy=entropy)
        self.desk = EvidenceDesk(
            Journal(
                node=self.node,
                signer=self.signer,
                credentials=lambda: self.shown,
                trust=Trusting(),
                database=self.database,
                store=store,
                clock=self.clock,
                entropy=entropy,
                relays=True,
                limits=EvidenceLimits(keep_s=3600),
                alarms=Alarms(
                    store=store,
                    database=self.database,
                    now_ms=self.clock.now_ms,
                    raised=self.raised.append,
                ),
            )
        )
        await self.desk.load()

    @property
    def store(self) -> EvidenceStore:
        """What is kept."""
        return self.desk.store

    def alarms(self) -> list[Alarm]:
        """Return the open alarms."""
        return self.database.read(self.store.alarms)

    def kinds(self) -> set[str]:
        """Return the kinds of the open alarms."""
        return {alarm.kind for alarm in self.alarms()}

    def batches(self, peer: Side, side: str = OWN) -> list[Batch]:
        """Return the batches on disk."""
        return self.database.read(
            lambda c: self.store.between(c, peer.node, side, 0, 1 << 50)
        )

    def leaves(self, peer: Side, side: str = OWN) -> list[Leaf]:
        """Return all leaves on disk."""
        return [leaf for batch in self.batches(peer, side) for leaf in batch.read()]

    def forged(
        self,
        peer: Side,
        leaves: Iterable[Leaf],
        *,
        stream: str = "forgedforgedforgedforg",
        seq: int = 0,
        prev: str | None = None,
        seen: tuple[Seen, ...] = (),
        root: str | None = None,
    ) -> tuple[Signed[LinkBatch], bytes]:
        """Sign whatever one likes, as a hostile node can; return it and the message."""
        encoded = [leaf.encode() for leaf in leaves]
        now_ms = self.clock.now_ms()
        body = LinkBatch(
            iss=self.node,
            aud=peer.node,
            jti=f"{stream}.{seq}",
            iat=now_ms // 1000,
            exp=now_ms // 1000 + LIFE_S,
            stream=stream,
            seq=seq,
            prev=prev,
            count=len(encoded),
            root=root or root_of(encoded),
            from_ms=now_ms,
            to_ms=now_ms,
            seen=seen,
        )
        signed = sign(self.signer, LINK_BATCH, body)
        message = BatchMessage(
            statement=signed.token,
            leaves=b64url(b"".join(encoded)),
            credentials=self.shown,
            oldest=0,
        )
        return signed, message.encode()


class Pair:
    """Two sides and a link."""

    def __init__(self) -> None:
        """Nothing runs before `start`."""
        self.clock = Clock()
        self.near, self.far = Side(HOSHINO, self.clock), Side(MINATO, self.clock)
        self.links: list[tuple[Pipe, Pipe]] = []

    async def start(self) -> Pair:
        """Start both and link them."""
        await self.near.start()
        await self.far.start()
        self.link()
        return self

    def link(self, *, speaks: bool = True) -> None:
        """Link them, once more if they are linked."""
        near, far = self.near, self.far

        async def echo(payload: bytes) -> bytes:
            return answer(hashlib.sha256(payload).digest())

        there = Pipe(lambda data: far.desk.serve(near.peer, data, echo))
        back = Pipe(lambda data: near.desk.serve(far.peer, data, echo))
        self.links.append((there, back))
        self.out = near.desk.on_up(far.peer, there, speaks)
        self.back = far.desk.on_up(near.peer, back, speaks)

    def cut(self) -> None:
        """End all links."""
        for there, back in self.links:
            there.up = back.up = False
            self.near.desk.on_down(self.far.peer, there)
            self.far.desk.on_down(self.near.peer, back)
        self.links.clear()

    async def ask(self, *numbers: int) -> None:
        """Let the near side ask."""
        for number in numbers:
            data = request(exchange(number))
            await self.out.request(data, deadline_ms=self.clock.ms + 10_000)

    async def ask_back(self, *numbers: int) -> None:
        """Let the far side ask."""
        for number in numbers:
            data = request(exchange(number))
            await self.back.request(data, deadline_ms=self.clock.ms + 10_000)

    async def settle(self, rounds: int = 3) -> None:
        """Let a few batches go by."""
        for _ in range(rounds):
            self.clock.ms += 5_000
            await self.near.desk.flush()
            await self.far.desk.flush()

    def agree(self) -> bool:
        """Tell whether both have the same exchanges, own and the other's, on disk."""
        near, far = self.near, self.far
        ours = {leaf.id for leaf in near.leaves(far)}
        return (
            ours
            == {leaf.id for leaf in near.leaves(far, PEER)}
            == {leaf.id for leaf in far.leaves(near)}
            == {leaf.id for leaf in far.leaves(near, PEER)}
        )
