# SPDX-License-Identifier: Apache-2.0
"""A small world: cities, brokers and members in memory, with the real code.

    world = World()
    hoshino, minato = world.city("hoshino"), world.city("minato")
    world.agree(hoshino, minato)
    clinic = world.member(minato, "clinic")
    world.connect(hoshino, minato)
    world.settle()

A link is a `Wire`: it hands bytes to the other side's `Broker.carry` or
`Endpoint.answer` and can be cut, silenced, or told to alter what passes. Each party
keeps every byte string that reached it, so that tests can search what it has learned.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from federation.announcer import MAX_NOTICE_BYTES, Announcer, Notice
from federation.broker import Broker, BrokerLimits
from federation.exchange import (
    About,
    Answer,
    Asked,
    Endpoint,
    ExchangeLimits,
    MemberSecret,
    Refused,
    Reply,
    Target,
    target_of,
)
from federation.outcome import DeadlinePassed, LinkLost, LinkProblem
from federation.peers import Carrier, Peer, Peers
from federation.routing import RouteTable
from federation.virtual import START_MS, SeededEntropy
from protocol.agreement import AgreementBody, Party, Terms
from protocol.answer import Done, ReadResult
from protocol.canonical import b64url, unb64url
from protocol.envelope import Kind
from protocol.errors import Malformed, ProtocolViolation
from protocol.ids import CityId, DatasetTypeName, NodeId, PurposeName, RecordId, uuid7
from protocol.location import TokenBody
from protocol.membership import (
    MEMBERSHIP,
    OPERATING,
    Credentials,
    DataClass,
    Membership,
    OperatingCertificate,
    Role,
    verify_membership,
    verify_operating,
)
from protocol.model import ANYONE
from protocol.request import Ping, Query, Read, WireRecord
from protocol.route import CityKeys, verify_announcement
from protocol.sealed import SEALING_SEED_BYTES, OpeningKey
from protocol.signature import Owner, Received, Signed, sign
from protocol.suites import SIGNING_SEED_BYTES, SigningKey, Suite, VerifyingKey

SKEW_S = 5
DAY_S = 86_400
CHECKUP = DatasetTypeName("health.checkup")
TREATMENT = PurposeName("treatment")
CONSENT = "c" * 43
"""Stands for the digest of a consent."""
ABOUT = About(CHECKUP, TREATMENT, DataClass.SPECIAL_CARE, CONSENT)
CONTENT = '{"note":"CANARY-CONTENT"}'
SHARED = (DataClass.OPEN, DataClass.PERSONAL, DataClass.SPECIAL_CARE)
EVERYTHING = Terms(
    dataset_types=("*",),
    purposes=("*",),
    data_classes=SHARED,
    transit=True,
    hop_limit=8,
)


class SetClock:
    """Time that moves when it is told to."""

    def __init__(self, now_ms: int = START_MS) -> None:
        """Stand at `now_ms`."""
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""
        return self._now_ms

    @property
    def now(self) -> int:
        """Seconds since 1970."""
        return self._now_ms // 1000

    def move(self, ms: int) -> None:
        """Move by so many milliseconds."""
        self._now_ms += ms

    def move_to(self, now_ms: int) -> None:
        """Move to a later time; an earlier one changes nothing."""
        self._now_ms = max(self._now_ms, now_ms)

    async def sleep(self, seconds: float) -> None:
        """Let the others run; the time asked for has passed then."""
        self.move(round(seconds * 1000))
        await asyncio.sleep(0)


def _same(data: bytes) -> bytes:
    return data


@dataclass(eq=False)
class Wire:
    """One direction of a link in memory. Satisfies `federation.peers.Carrier`.

    Attributes:
        source, target: the two parties.
        up: False once it is cut.
        silent: takes requests and never answers.
        delay_ms: how long an answer takes.
        on_request, on_answer: may alter what passes.
        carried: how many requests went through.
    """

    world: World
    source: Party_
    target: Party_
    up: bool = True
    silent: bool = False
    delay_ms: int = 0
    on_request: Callable[[bytes], bytes] = _same
    on_answer: Callable[[bytes], bytes] = _same
    carried: int = 0

    async def request(self, payload: bytes, *, deadline_ms: int) -> bytes:
        """Carry one request and return its answer."""
        clock = self.world.clock
        if not self.up:
            raise LinkLost("closed")
        if self.silent:
            clock.move_to(deadline_ms)
        if clock.now_ms() >= deadline_ms:
            raise DeadlinePassed
        self.carried += 1
        payload = self.on_request(payload)
        self.target.received.append(payload)
        try:
            answer = await self.target.serve(self.source.peer, payload)
        except LinkProblem as problem:
            raise LinkProblem.decode(problem.encode()) from problem
        clock.move(self.delay_ms)
        if clock.now_ms() >= deadline_ms:
            raise DeadlinePassed
        answer = self.on_answer(answer)
        self.source.received.append(answer)
        return answer

    def notify(self, payload: bytes) -> None:
        """Carry one notice."""
        if not self.up:
            raise LinkLost("closed")
        self.target.received.append(payload)
        self.target.notice(self.source.peer, payload)


class Party_:
    """What every node has: keys, a membership, an endpoint, and what it has seen."""

    def __init__(self, world: World, city: City, label: str, **grant: object) -> None:
        """Be admitted by a city; see `City.admit` for the grant."""
        raise NotImplementedError
