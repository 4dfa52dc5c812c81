# SPDX-License-Identifier: Apache-2.0
"""Who the evidence is about: one `Party` for each peer, and what all of them share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sqlalchemy import Connection

from federation.evidence import Book
from federation.evidence_store import OWN, EvidenceStore, Head
from federation.peers import Carrier
from federation.ports import Clock
from federation.witness import AnswerDigests, Witness, WitnessedLink
from node.database import Database
from node.evidence.alarms import Alarms
from protocol.canonical import b64url
from protocol.ids import NodeId
from protocol.membership import Credentials, Membership
from protocol.suites import Signer


@dataclass(frozen=True)
class EvidenceLimits:
    """Bounds, see the settings of the table `evidence`.

    Attributes:
        batch_s: seconds between two batches of one link.
        silent_s: how long a peer that is linked may keep its batches back.
        keep_s: how long evidence is kept.
        skew_ms: how far two clocks may differ.
        settle_ms: how long an exchange may stay in doubt while its peer sends batches.
        answer_ms: how long a peer may take to acknowledge a batch.
    """

    batch_s: float = 5.0
    silent_s: float = 60.0
    keep_s: int = 90 * 86_400
    skew_ms: int = 5_000
    settle_ms: int = 150_000
    answer_ms: int = 10_000


class Trust(Protocol):
    """What must be known of others (see `identity.trust`)."""

    def verify_sender(self, membership: str, operating: str, now: int) -> Membership:
        """Return the membership that these credentials prove, or raise."""


class Up(NamedTuple):
    """A link that is up; `speaks` tells whether batches go over it."""

    link: Carrier
    witnessed: WitnessedLink
    speaks: bool


@dataclass
class Party:
    """Everything about one peer.

    Attributes:
        book: what both sides have signed.
        lock: held while batches are made or compared.
        sending: held while batches are sent, to keep their order.
        links: those that are up.
        up_ms: since when there is a link.
        taken_ms: when its last batch was taken.
        head: our newest batch, None if not looked up yet.
        acknowledged: number of our newest batch that it has, None if unknown.
        told_silent: whether the alarm about its silence was raised.
    """

    book: Book
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    links: list[Up] = field(default_factory=list)
    up_ms: int = 0
    taken_ms: int = 0
    head: Head | None = None
    acknowledged: int | None = None
    told_silent: bool = False

    @property
    def waits(self) -> bool:
        """Whether there is something to do when some time has passed."""
        return bool(self.book.unbatched or (self.links and self.book.count))

    @property
    def idle(self) -> bool:
        """Whether there is nothing to sign, to send or to wait for."""
        known = self.head is not None and self.acknowledged == self.head.seq
        new = self.book.witness.fresh or self.book.unbatched
        return not new and not self.book.count and (known or not self.links)

    def link(self) -> Carrier | None:
        """Return a link for batches, past the witness; None if there is none."""
        found = [up.link for up in self.links if up.speaks and up.link.up]
        return found[-1] if found else None


class Journal:
    """What making, sending and taking batches share.

    Attributes:
        node, signer, credentials: who we are.
        trust: judges others.
        database, store: where everything is kept.
        clock: the time of day.
        limits: bounds.
        alarms: where findings go.
        stream: name of our own chains.
        crash_ms: until when notes may have been lost; 0 if none were.
        parties: by peer.
        hops: returns the digest of the newest hop batch, for brokers.
        wake: called with True when batches must be made at once.
    """

    def __init__(
        self,
        *,
        node: NodeId,
        signer: Signer,
        credentials: Callable[[], Credentials],
        trust: Trust,
        database: Database,
        store: EvidenceStore,
        clock: Clock,
        entropy: Callable[[int], bytes],
        relays: bool,
        limits: EvidenceLimits,
        alarms: Alarms,
    ) -> None:
        """Take the parts.

        Args:
            node: who we are.
            signer: our key.
            credentials: what we show of ourselves, now.
            trust: judges others.
            database: where everything is kept.
            store: how.
            clock: the time of day.
            entropy: names new chains.
            relays: whether answers pass through this node.
            limits: bounds.
            alarms: where findings go.
        """
        self.node = node
        self.signer = signer
        self.credentials = credentials
        self.trust = trust
        self.database = database
        self.store = store
        self.clock = clock
        self.limits = limits
        self.alarms = alarms
        self.stream = ""
        self.crash_ms = 0
        self.parties: dict[NodeId, Party] = {}
        self.hops: Callable[[], str | None] = lambda: None
        self.due, self.at_once = asyncio.Event(), asyncio.Event()
        self._entropy = entropy
        self._digests = AnswerDigests(relays=relays)

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self.clock.now_ms()

    def wake(self, at_once: bool) -> None:
        """Tell that there is something to make a batch of."""
        self.due.set()
        if at_once:
            self.at_once.set()

    def new_stream(self) -> str:
        """Return a name for new chains."""
        return b64url(self._entropy(16))

    def party(self, peer: NodeId) -> Party:
        """Return what there is about a peer."""
        party = self.parties.get(peer)
        if party is None:
            witness = Witness(self._digests, self.clock.now_ms, self.wake)
            party = Party(Book(witness, crash_ms=self.crash_ms))
            self.parties[peer] = party
        return party

    def head(self, peer: NodeId) -> Head | None:
        """Return our newest batch for a peer."""
        party, stream = self.party(peer), self.stream
        if party.head is None or party.head.stream != stream:
            party.head = self.database.read(
                lambda c: self.store.head(c, peer, OWN, stream)
            )
        return party.head

    def begin(self, connection: Connection) -> None:
        """Keep the name of our chains, and that we run."""
        self.store.set_value(connection, "stream", self.stream)
        self.store.set_value(connection, "clean", "no")
