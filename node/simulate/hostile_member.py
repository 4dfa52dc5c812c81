# SPDX-License-Identifier: Apache-2.0
"""What an organization or a hall in hostile hands does to others.

It is a genuine member with genuine keys. It may hold documents that leaked: warrants,
handles, consents of others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from federation.exchange import About, Asked, Reply
from node.simulate.draft import Draft
from node.simulate.events import Event, Group, event
from node.simulate.hostile import send_raw
from node.simulate.people import outcome
from node.simulate.scene import ABSENT, Scene
from protocol.answer import Done, ReadResult
from protocol.canonical import b64url
from protocol.consent import CONSENT, WITHDRAWAL, Consent, State, Ticket, Withdrawal
from protocol.consent import StatusReference as Place
from protocol.envelope import Envelope, Kind, RoutingHeader
from protocol.ids import (
    DatasetTypeName,
    ExchangeId,
    NodeId,
    PurposeName,
    RecordId,
    uuid7,
)
from protocol.membership import DataClass
from protocol.pseudonym import Handle, commitment
from protocol.request import Body, Ping, Read, Revoke, Warrant, WireRecord
from protocol.session import NONCE_BYTES, AskerSession
from protocol.signature import digest_of, sign
from protocol.status import STATUS_LIST, Status, StatusList, pack
from vault.ledger import KeptConsent

_SALT = bytes(16)
_KEY = bytes(32)
LIES = ("sender", "signature", "over", "future", "hops", "noise", "version", "cut")


def villain(draft: Draft, *, hall: bool = False) -> str | None:
    """Return the hostile organization (or hall), None if the villain is none."""
    is_hall = draft.villain.endswith("/hall")
    is_member = bool(draft.villain) and not draft.villain.endswith("/broker")
    return draft.villain if is_member and (is_hall or not hall) else None


@event
@dataclass(frozen=True, kw_only=True)
class Flood(Event):
    """A hostile member sends far more than anybody needs, all at once."""

    node: str
    to: str
    count: int
    group: ClassVar[Group] = Group.HOSTILE

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose whom."""
        node = villain(draft)
        if node is None:
            return None
        to = draft.pick(draft.cast.everybody)
        return cls(at_ms=at_ms, node=node, to=to, count=40 + draft.below(100))

    async def happen(self, scene: Scene) -> str:
        """Send them; each must end by its deadline all the same."""
        if not scene.runs(self.node) or self.to == self.node:
            return ABSENT
        parts = scene.parts(self.node)
        target = await parts.addressbook.target(NodeId(self.to))
        await asyncio.gather(
            *(
                parts.exchanges.ask(target, Kind.MANAGE, Ping(), timeout_ms=4_000)
                for _ in range(self.count)
            )
        )
        return f"{self.count} sent"


@event
@dataclass(frozen=True, kw_only=True)
class Lie(Event):
    """A hostile member sends an envelope that no honest node would make."""

    node: str
    to: str
    lie: str
    group: ClassVar[Group] = Group.HOSTILE
    weight = 2.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose the lie."""
        node = villain(draft)
        if node is None:
            return None
        others = [n for n in draft.cast.everybody if n != node]
        return cls(at_ms=at_ms, node=node, to=draft.pick(others), lie=draft.pick(LIES))

    async def happen(self, scene: Scene) -> str:
        """Make it by hand and send it over the genuine link."""
        if not scene.runs(self.node):
            return ABSENT
        payload = await self._payload(scene)
        broker = f"{self.node.partition('/')[0]}/broker"
        await send_raw(scene, self.node, broker, payload)
        return "sent"

    async def _payload(self, scene: Scene) -> bytes:
        parts = scene.parts(self.node)
        target = await parts.addressbook.target(NodeId(self.to))
        now_ms = parts.world.clock.now_ms()
        shift_ms = {"over": -600_000, "future": 600_000}.get(self.lie, 0)
        other = scene.cast.brokers[0] if self.lie == "sender" else self.node
        header = RoutingHeader(
            id=ExchangeId(str(uuid7(now_ms, parts.world.entropy(10)))),
            kind=Kind.MANAGE,
            sender=NodeId(other),
            to=target.address,
            hops=1 if self.lie == "hops" else 6,
            iat_ms=now_ms + shift_ms,
            deadline_ms=now_ms + shift_ms + 4_000,
        )
        shown = parts.standing.credentials()
        session = AskerSession.start(target.sealing, shown, _KEY, now_ms // 1000 + 600)
        body = Body(_KEY, Ping()).encode()
        signing = scene.cast.halls[0] if self.lie == "signature" else self.node
        signer = scene.parts(signing).exchanges.signer
        envelope = Envelope.seal(header, body, session, signer, bytes(NONCE_BYTES))
        payload = envelope.pack()
        changed = {
            "noise": b"\0" * 64,
            "version": b"\x07" + payload[1:],
            "cut": payload[:200],
        }
        return changed.get(self.lie, payload)


@event
@dataclass(frozen=True, kw_only=True)
class Silence(Event):
    """A hostile member takes requests and never answers."""

    node: str
    seconds: int
    group: ClassVar[Group] = Group.HOSTILE

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose how long."""
        node = villain(draft)
        if node is None:
            return None
        return cls(at_ms=at_ms, node=node, seconds=int(draft.between(5, 40)))

    async def happen(self, scene: Scene) -> str:
        """Let every handler wait for nothing."""

        async def wait(asked: Asked) -> Reply:
            await asyncio.get_running_loop().create_future()
            return Reply(Done())

        handlers = scene.parts(self.node).exchanges.handlers
        honest = dict(handlers)
        for name in handlers:
            handlers[name] = wait
        await scene.sleep(self.seconds)
        handlers.update(honest)
        return "over"


@event
@dataclass(frozen=True, kw_only=True)
class Nonsense(Event):
    """A hostile holder answers reads with something else, or with undeclared fields."""

    node: str
    wide: bool
    seconds: int
    group: ClassVar[Group] = Group.HOSTILE

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose which."""
        node = villain(draft)
        if node is None:
            return None
        seconds = int(draft.between(5, 40))
        return cls(at_ms=at_ms, node=node, wide=draft.often(0.5), seconds=seconds)

    async def happen(self, scene: Scene) -> str:
        """Sign nonsense: no requester may take it."""
        record = WireRecord(
            id=RecordId(f"urn:machikura:{self.node.replace('/', ':')}:{_SERIAL}"),
            dataset_type=DatasetTypeName("health.checkup"),
            version=1,
            content='{"date":"2025-01-01","note":"undeclared"}',
        )
        wide = ReadResult(records=(record,), fields=("date",), cut={}, more=False)

        async def answer(asked: Asked) -> Reply:
            return Reply(wide if self.wide else Done())

        handlers = scene.parts(self.node).exchanges.handlers
        honest = handlers.get("read")
        if honest is None:
            return ABSENT
        handlers["read"] = answer
        await scene.sleep(self.seconds)
        handlers["read"] = honest
        return "over"


_SERIAL = "01890000-0000-7000-8000-000000000000"


@event
@dataclass(frozen=True, kw_only=True)
class StolenWarrant(Event):
    """A hostile member reads under a consent that was given to somebody else."""

    node: str
    consent: str
    holder: str
    recipient: str
    name: str
    purpose: str
    widened: bool
    group: ClassVar[Group] = Group.HOSTILE
    weight = 3.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose a consent that does not name it."""
        node, planned = villain(draft), draft.consent()
        if node is None or planned is None or planned.hidden:
            return None
        if node in (*planned.recipients, *planned.holders):
            return None
        if draft.people[planned.resident].home == node:
            return None  # A home node speaks for its own residents, whatever it says.
        return cls(
            at_ms=at_ms,
            node=node,
            consent=planned.key,
            holder=draft.pick(planned.holders),
            recipient=draft.pick(planned.recipients),
            name=planned.name,
            purpose=draft.pick(planned.purposes),
            widened=draft.often(0.5),
        )

    async def happen(self, scene: Scene) -> str:
        """Use the leaked warrant, as it is or signed anew with more recipients."""
        kept = _leaked(scene, self.consent, self.recipient)
        if kept is None or not scene.runs(self.node):
            return ABSENT
        warrant = await self._warrant(scene, kept)
        return await _read(
            scene, self.node, self.holder, warrant, self.name, self.purpose
        )

    async def _warrant(self, scene: Scene, kept: KeptConsent) -> Warrant:
        token, home = kept.package.consent, kept.package.home
        if self.widened:
            parts = scene.parts(self.node)
            recipients = (*kept.consent.recipients, NodeId(self.node))
            forged = kept.consent.model_copy(
                update={"iss": NodeId(self.node), "recipients": recipients}
            )
            token = sign(parts.exchanges.signer, CONSENT, forged).token
            home = parts.standing.credentials()
        ticket = kept.package.holders[0].ticket
        proof = await scene.parts(self.recipient).proofs.fresh(kept.consent)
        return Warrant(consent=token, ticket=ticket, proof=proof, home=home)


@event
@dataclass(frozen=True, kw_only=True)
class ForeignConsent(Event):
    """A hostile hall consents for a resident of another hall, whose handle leaked."""

    node: str
    consent: str
    holder: str
    recipient: str
    name: str
    purpose: str
    group: ClassVar[Group] = Group.HOSTILE
    weight = 3.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose a consent to copy."""
        node, planned = villain(draft, hall=True), draft.consent()
        if node is None or planned is None or planned.hidden:
            return None
        if draft.people[planned.resident].home == node:
            return None
        return cls(
            at_ms=at_ms,
            node=node,
            consent=planned.key,
            holder=draft.pick(planned.holders),
            recipient=draft.pick(planned.recipients),
            name=planned.name,
            purpose=draft.pick(planned.purposes),
        )

    async def happen(self, scene: Scene) -> str:
        """Sign everything that the right hall would sign, and let it be used."""
        kept = _leaked(scene, self.consent, self.recipient)
        found = scene.agreed(self.consent)
        if kept is None or found is None or not scene.runs(self.recipient):
            return ABSENT
        handle = _handle(scene, self.holder, found[1].person)
        if handle is None:
            return ABSENT
        warrant = await self._warrant(scene, kept.consent, handle)
        return await _read(
            scene, self.recipient, self.holder, warrant, self.name, self.purpose
        )

    async def _warrant(self, scene: Scene, model: Consent, handle: Handle) -> Warrant:
        parts, holder = scene.parts(self.node), NodeId(self.holder)
        signer, now = parts.exchanges.signer, scene.now_ms() // 1000
        forged = model.model_copy(
            update={
                "iss": NodeId(self.node),
                "jti": f"forged-{self.at_ms}",
                "subjects": (commitment(_SALT, holder, handle),),
                "status": Place(list=0, index=0),
            }
        )
        proof = StatusList(
            iss=NodeId(self.node),
            aud="machikura",
            jti="s-1",
            iat=now,
            exp=now + 60,
            list=0,
            epoch=1,
            lst=pack({0: Status.VALID}),
        )
        member = await parts.addressbook.member(holder)
        ticket = Ticket(
            consent=forged.jti, party=holder, handle=handle, salt=b64url(_SALT)
        )
        return Warrant(
            consent=sign(signer, CONSENT, forged).token,
            ticket=ticket.seal(member.sealing.load()),
            proof=sign(signer, STATUS_LIST, proof).token,
            home=parts.standing.credentials(),
        )


@event
@dataclass(frozen=True, kw_only=True)
class ForeignWithdrawal(Event):
    """A hostile hall ends or pauses consents of another hall's residents."""

    node: str
    consent: str
    party: str
    paused: bool
    version: int
    obligation: Literal["stop", "delete"]
    group: ClassVar[Group] = Group.HOSTILE
    weight = 3.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose a consent of another hall."""
        node, planned = villain(draft, hall=True), draft.consent()
        if node is None or planned is None:
            return None
        if draft.people[planned.resident].home == node:
            return None
        obligation: Literal["stop", "delete"] = "delete" if draft.often(0.5) else "stop"
        return cls(
            at_ms=at_ms,
            node=node,
            consent=planned.key,
            party=draft.pick((*planned.holders, *planned.recipients)),
            paused=draft.often(0.3),
            version=draft.pick((1, 2, 99)),
            obligation=obligation,
        )

    async def happen(self, scene: Scene) -> str:
        """Sign it with the hostile hall's own key: it must change nothing."""
        consent = scene.consents.get(self.consent)
        if consent is None or not scene.runs(self.node):
            return ABSENT
        parts, now = scene.parts(self.node), scene.now_ms() // 1000
        body = Withdrawal(
            iss=NodeId(self.node),
            aud=NodeId(self.party),
            jti=f"w-{self.at_ms}",
            iat=now,
            exp=now + 3_600,
            consent=consent,
            version=self.version,
            state=State.PAUSED if self.paused else State.WITHDRAWN,
            at=now,
            obligation=self.obligation,
        )
        target = await parts.addressbook.target(NodeId(self.party))
        token = sign(parts.exchanges.signer, WITHDRAWAL, body).token
        await parts.exchanges.ask(target, Kind.REVOKE, Revoke(withdrawal=token))
        return "sent"


def _leaked(scene: Scene, key: str, recipient: str) -> KeptConsent | None:
    consent = scene.consents.get(key)
    if consent is None or not scene.runs(recipient):
        return None
    kept = scene.people.kept(recipient, consent)
    return kept if kept is not None and kept.package.holders else None


def _handle(scene: Scene, holder: str, local_id: str) -> Handle | None:
    """Return a resident's handle at a holder, as if it had leaked."""
    if not scene.runs(holder):
        return None
    parts = scene.parts(holder)
    subjects = parts.vault.subjects
    subject = parts.database.read(lambda c: subjects.find_local(c, local_id))
    if subject is None:
        return None
    link = parts.database.read(lambda c: subjects.link_of(c, subject))
    return None if link is None else link.grant.handle


async def _read(
    scene: Scene, node: str, holder: str, warrant: Warrant, name: str, purpose: str
) -> str:
    parts = scene.parts(node)
    classes: Mapping[str, DataClass] = {"health.checkup": DataClass.SPECIAL_CARE}
    about: dict[str, Any] = {
        "dataset_type": DatasetTypeName(name),
        "purpose": PurposeName(purpose),
        "data_class": classes.get(name, DataClass.PERSONAL),
        "consent": digest_of(warrant.consent.encode()),
    }
    target = await parts.addressbook.target(NodeId(holder))
    asked = await parts.exchanges.ask(
        target, Kind.READ, Read(warrant=warrant), About(**about)
    )
    return outcome(asked)
