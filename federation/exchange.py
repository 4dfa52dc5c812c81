# SPDX-License-Identifier: Apache-2.0
"""One exchange seen from its two ends: ask, answer, deadline.

Asking: seal the body to the other end, sign the routing header, send it over a link,
open the answer, hold it to the key it must come from and to the request it must name.
The outcome is an `Answer` or a `Refusal`, never an exception.

Answering: open the body, verify the sender's credentials and signature, hand the query
to the handler of its kind, sign and seal what it returns. A handler may give a `commit`
that is run, durably, after the answer is signed and before it leaves: so a release is
on disk before anybody can read it. The same request again, by another path after one
has failed, gets the same answer and is not executed again (`federation.answered`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from federation.outcome import DeadlinePassed, LinkLost, LinkProblem
from federation.relay import check_times
from federation.replies import Asked as Asked
from federation.replies import Handler as Handler
from federation.replies import Replies
from federation.replies import Reply as Reply
from federation.sessions import Elders, KeptWarrants, Offers, Sessions
from protocol import hop
from protocol.answer import (
    ANSWER,
    AnswerBody,
    AnswerEnvelope,
    AnswerType,
    Result,
    Segment,
)
from protocol.canonical import unb64url
from protocol.envelope import Address, Envelope, Kind, RoutingHeader, Wait
from protocol.errors import (
    CannotOpen,
    MachikuraError,
    Malformed,
    Misuse,
    UnsupportedVersion,
    WrongAudience,
    WrongIssuer,
)
from protocol.first_body import FIRST, open_first, seal_first
from protocol.hop import HopRecord
from protocol.ids import DatasetTypeName, ExchangeId, NodeId, PurposeName, uuid7
from protocol.membership import Credentials, DataClass, Membership
from protocol.problem import PROBLEM, ProblemBody, Refusal, SignedProblem
from protocol.request import Body, Query
from protocol.sealed import (
    RESPONSE_KEY_BYTES,
    Opener,
    SealingKey,
    open_answer,
    seal_answer,
)
from protocol.session import NONCE_BYTES, HolderSession
from protocol.signature import Owner, Received, Signed, SingleKey, digest_of
from protocol.stream import join_answer, split_answer, stream_cipher
from protocol.suites import Signer, VerifyingKey

Q = TypeVar("Q")


class Trust(Protocol):
    """What an exchange must know about others (see `identity.trust`)."""

    def verify_sender(self, membership: str, operating: str, now: int) -> Membership:
        """Return the membership that these credentials prove, or raise."""

    def verify_broker(self, membership: str, now: int) -> Membership:
        """Return the broker's membership, under its city's operating key, or raise."""

    def key_directory_for(self, membership: Membership) -> SingleKey:
        """Return the key directory that holds this member's key, and no other."""


@dataclass(frozen=True)
class Target:
    """The other end, as the asker knows it.

    Attributes:
        address: where to.
        sealing: seal the body to this key.
        answers: key that the answer must verify against, and whose it is.
        member: name of the member key in hidden reads.
    """

    address: Address
    sealing: SealingKey
    answers: Owner
    member: str | None = None


@dataclass(frozen=True)
class About:
    """What the exchange is about, for brokers on the way; all None for housekeeping."""

    dataset_type: DatasetTypeName | None = None
    purpose: PurposeName | None = None
    data_class: DataClass | None = None
    consent: str | None = None


@dataclass(frozen=True)
class Answer:
    """A verified answer.

    Attributes:
        result: what was asked for.
        exchange: id of the exchange.
        hops: brokers that carried it, the nearest first.
        request, digest: names of request and answer, for both sides' records.
        repeat: where the answer was given again, by a later path, the name of what
            came; `digest` is then that of the first, which the other side recorded.
        took_ms: from asking to having verified the answer.
        by: who answered: a node, or a city in a hidden read.
        content: what the chunks of a `Segment` hold.
    """

    result: Result
    exchange: ExchangeId
    hops: tuple[HopRecord, ...]
    request: str
    digest: str
    took_ms: int
    by: str
    repeat: str | None = None
    content: bytes | bytearray = field(default=b"", repr=False)


@dataclass(frozen=True)
class Refused:
    """How an exchange ended otherwise, with the route as far as it is known."""

    refusal: Refusal
    exchange: ExchangeId
    hops: tuple[HopRecord, ...] = ()
    took_ms: int = 0


R = TypeVar("R")
_ABOUT_DATA = {"read": Kind.READ, "fetch": Kind.READ, "push": Kind.PUSH}
Send = Callable[[bytes, int], Awaitable[bytes]]
Routed = Callable[[bool, RoutingHeader, str, bytes], None]
"""Takes whether we asked, the header, its digest, and the hop records as they came."""


@dataclass(frozen=True)
class MemberSecret:
    """Private halves of a member key, for answering a hidden read."""

    signer: Signer
    opening: Opener


@dataclass(frozen=True)
class ExchangeLimits:
    """Bounds of both ends, see settings of the same names."""

    max_answer_bytes: int = 8 * 1024 * 1024
    max_request_bytes: int = 8 * 1024 * 1024
    longest_ms: int = 120_000
    skew_ms: int = 5_000
    hops: int = 6
    deadline_ms: int = 10_000
    answers_kept_bytes: int = 32 * 1024 * 1024


@dataclass
class Endpoint:
    """This node as one end of exchanges.

    Attributes:
        node: who we are.
        signer, opening: our keys.
        credentials: our membership and our city's operating certificate, now.
        trust: judges others.
        send: hands bytes to our broker (payload, deadline in ms); returns the answer.
        now_ms, entropy: clock and chance.
        member_secret: finds the private halves of a member key by its name.
        pairs: our keys while a change of keys is going on: the present pair, then those
            in overlap. What was sealed to an old one is answered under the same one,
            since the asker knows no other yet.
        handlers: by the query's `op`.
        observe: told the kind and outcome of each exchange, for metrics.
        tap: given what was opened, to show what a party could learn.
        heard: told who has sent us a request that verifies.
        routed: given the hop records of each exchange, once they are checked.
    """

    node: NodeId
    signer: Signer
    opening: Opener
    credentials: Callable[[], Credentials]
    trust: Trust
    send: Send
    now_ms: Callable[[], int]
    entropy: Callable[[int], bytes]
    member_secret: Callable[[str], MemberSecret | None] = lambda kid: None
    pairs: Callable[[], Sequence[MemberSecret]] | None = None
    limits: ExchangeLimits = field(default_factory=ExchangeLimits)
    handlers: dict[str, Handler] = field(default_factory=dict)
    observe: Callable[[str, str], None] = lambda op, code: None
    tap: Callable[[bytes], None] = lambda opened: None
    heard: Callable[[NodeId], None] = lambda sender: None
    routed: Routed = lambda asked, header, request, hops: None
    _replies: Replies = field(init=False)
    _offers: Offers = field(init=False)
    _sessions: Sessions = field(init=False)
    _warrants: KeptWarrants = field(default_factory=KeptWarrants)
    _elders: Elders = field(default_factory=Elders)

    def __post_init__(self) -> None:
        """Start without sessions, with nothing answered."""
        self._replies = Replies(
            handle=self._handle,
            observe=lambda op, code: self.observe(op, code),
            now_ms=self.now_ms,
            skew_ms=self.limits.skew_ms,
            max_answer_bytes=lambda: self.limits.max_answer_bytes,
            kept_bytes=self.limits.answers_kept_bytes,
        )
        self._sessions = Sessions(self.entropy)
        self._offers = Offers(self.limits.skew_ms // 1000, self.tap)

    def close(self) -> None:
        """Drop what is still being executed."""
        self._replies.close()

    def on(self, handlers: Mapping[str, Handler]) -> None:
        """Offer more kinds of query."""
        self.handlers.update(handlers)

    # ------------------------------------------------------------------ asking

    async def ask(
        self,
        target: Target,
        kind: Kind,
        query: Query,
        about: About | None = None,
        *,
        hops: int | None = None,
        timeout_ms: int | None = None,
        before: Callable[[ExchangeId, str], Awaitable[None]] | None = None,
        wait: Wait | None = None,
    ) -> Answer | Refused:
        """Carry out one exchange; ends by its deadline, never raises for a peer.

        Args:
            target: the other end.
            kind: kind of exchange.
            query: what is asked.
            about: what brokers must know of it.
            hops: brokers that it may pass; None for the setting.
            timeout_ms: from now; None for the setting.
            before: run with the exchange's id and the request's digest before anything
                is sent; what it raises is raised, and nothing is sent.
            wait: where the other end is away, be told when it is back.
        """
        started, first = self.now_ms(), self._elders.includes(target, self.now_ms())
        timeout_ms = timeout_ms or self.limits.deadline_ms
        limit = hops or self.limits.hops
        asking = (target, kind, query, about or About(), limit)
        outcome = await self._ask(*asking, timeout_ms, before, wait=wait, first=first)
        if first or not _is_older(outcome):
            return outcome
        # An older node at the other end, or on the way. Nothing was opened there.
        self._elders.add(target, self.now_ms())
        left_ms = started + timeout_ms - self.now_ms()
        if before is not None or left_ms <= 0:
            return outcome  # Whoever asks in this way asks again.
        again = await self._ask(*asking, left_ms, None, wait=wait, first=True)
        if _is_older(again):
            self._elders.discard(target)
        return again

    async def _ask(
        self,
        target: Target,
        kind: Kind,
        query: Query,
        about: About,
        hops: int,
        timeout_ms: int,
        before: Callable[[ExchangeId, str], Awaitable[None]] | None,
        *,
        wait: Wait | None,
        first: bool,
    ) -> Answer | Refused:
        """Ask once, in an envelope of version 1 or of the present one."""
        started = self.now_ms()
        header = RoutingHeader(
            id=ExchangeId(str(uuid7(started, self.entropy(10)))),
            kind=kind,
            sender=self.node,
            to=target.address,
            dataset_type=about.dataset_type,
            purpose=about.purpose,
            data_class=about.data_class,
            consent=about.consent,
            member=target.member,
            hops=hops,
            iat_ms=started,
            deadline_ms=started + timeout_ms,
            wait=wait,
        )
        response_key = self.entropy(RESPONSE_KEY_BYTES)
        body, sender = Body(response_key, query), self.credentials()
        if first:
            envelope = seal_first(header, body, sender, target.sealing, self.signer)
        else:
            envelope = Envelope.seal(
                header,
                body.encode(),
                self._sessions.with_party(target, sender, started // 1000),
                self.signer,
                self.entropy(NONCE_BYTES),
            )
        payload = envelope.pack()
        if len(payload) > self.limits.max_request_bytes:
            raise Misuse("the request is larger than an exchange may be")
        if before is not None:
            await before(header.id, envelope.digest)
        try:
            raw = await self.send(payload, header.deadline_ms)
            return self._read(raw, envelope, target, response_key, started)
        except DeadlinePassed:
            refusal = Refusal("timeout", "no answer by the deadline")
        except LinkLost:
            refusal = Refusal("peer-unreachable", "our link to the broker was lost")
        except LinkProblem as problem:
            refusal = Refusal(
                problem.slug, "link", retry_after_ms=problem.retry_after_ms
            )
        except MachikuraError as error:
            refusal = Refusal("answer-invalid", error.slug)
        return Refused(refusal, header.id, (), self.now_ms() - started)

    def _read(
        self,
        raw: bytes,
        envelope: Envelope,
        target: Target,
        response_key: bytes,
        started: int,
    ) -> Answer | Refused:
        parts = AnswerEnvelope.unpack(raw, self.limits.max_answer_bytes)
        hops = hop.parse(parts.hops, envelope.digest)
        if parts.type is AnswerType.PROBLEM:
            refusal = self._broker_problem(parts.payload, envelope)
            self.routed(True, envelope.header, envelope.digest, parts.hops)
            took = self.now_ms() - started
            return Refused(refusal, envelope.header.id, hops, took)
        binding = unb64url(envelope.digest)
        sealed, chunks = parts.payload, None
        if parts.type is AnswerType.CHUNKS:
            sealed, chunks = split_answer(parts.payload)
        opened = open_answer(response_key, binding, sealed)
        self.tap(opened)
        owner = target.answers
        received = Received.parse(
            opened, ANSWER, max_bytes=self.limits.max_answer_bytes
        )
        received.check(SingleKey(owner.name, owner.key))
        body = AnswerBody.decode(received.payload, self.limits.max_answer_bytes)
        if body.iss != owner.name:
            raise WrongIssuer("the answer names another party")
        if body.aud != self.node or body.request != envelope.digest:
            raise WrongAudience("the answer is to another request")
        if body.hops != digest_of(parts.hops):
            raise Malformed("the hop records are not those that reached the other end")
        hop.check_route(hops, self.node.city, envelope.header.to.city)
        self.routed(True, envelope.header, envelope.digest, parts.hops)
        took = self.now_ms() - started
        if body.problem is not None:
            problem = body.problem
            refusal = Refusal(
                problem.code, problem.detail, body.iss, True, problem.retry_after_ms
            )
            return Refused(refusal, envelope.header.id, hops, took)
        if body.result is None:
            raise Malformed("an answer without result or problem")
        digest, content = digest_of(opened), bytearray()
        if isinstance(body.result, Segment) is (chunks is None):
            raise Malformed("chunks belong to a segment")
        if isinstance(body.result, Segment) and chunks is not None:
            cipher = stream_cipher(response_key, binding, unb64url(digest))
            content = cipher.open(chunks, body.result.span)
            self.tap(bytes(content))
        return Answer(
            result=body.result,
            exchange=envelope.header.id,
            hops=hops,
            request=envelope.digest,
            digest=body.first or digest,
            took_ms=took,
            by=body.iss,
            repeat=digest if body.first else None,
            content=content,
        )

    def _broker_problem(self, payload: bytes, envelope: Envelope) -> Refusal:
        token, _, membership = payload.decode("ascii", "replace").partition("\n")
        broker = self.trust.verify_broker(membership, self.now_ms() // 1000)
        owner = SingleKey(broker.sub, broker.verifying_key())
        signed: Signed[SignedProblem] = Received.parse(token, PROBLEM).verify(
            SignedProblem, owner
        )
        if signed.body.request != envelope.digest or signed.body.aud != self.node:
            raise WrongAudience("the problem is about another request")
        problem = signed.body.problem
        return Refusal(
            problem.code, problem.detail, broker.sub, True, problem.retry_after_ms
        )

    # --------------------------------------------------------------- answering

    async def answer(self, payload: bytes) -> bytes:
        """Answer one request; a fault that leaves no key to seal to is in clear."""
        try:
            asked, response_key, signer, issuer = self._open(payload)
            self.heard(asked.sender.sub)
            token, chunked = await self._replies.to(asked, signer, issuer)
        except MachikuraError as error:
            self.observe("unopened", error.slug)
            problem = error.slug.encode("ascii")
            return AnswerEnvelope(AnswerType.PROBLEM, b"", problem).pack()
        binding = unb64url(asked.request)
        sealed, kind = seal_answer(response_key, binding, token), AnswerType.SEALED
        if chunked is not None:
            cipher = stream_cipher(response_key, binding, unb64url(digest_of(token)))
            chunks = cipher.seal(chunked.content, chunked.span)
            sealed, kind = join_answer(sealed, chunks), AnswerType.CHUNKS
        return AnswerEnvelope(kind, b"", sealed).pack()

    def _open(self, payload: bytes) -> tuple[Asked, bytes, Signer, str]:
        now_ms, limits = self.now_ms(), self.limits
        envelope = Envelope.unpack(payload, limits.max_request_bytes)
        header = envelope.header
        turned = check_times(header, now_ms, limits.skew_ms, limits.longest_ms)
        if turned is not None:
            raise _Turned(turned.code, turned.detail)
        to = header.to
        if to.city != self.node.city or (to.token is None and to.node != self.node):
            # Brokers judged another exchange than the one that is sealed to us.
            raise WrongAudience("the exchange is addressed to another node")
        issuer = str(self.node)
        secrets: Sequence[MemberSecret]
        if header.member is not None:
            nameless = self.member_secret(header.member)
            if nameless is None:
                raise _Turned("token-invalid", "unknown member key")
            secrets, issuer = (nameless,), self.node.city
        elif self.pairs is not None:
            secrets = self.pairs()
        else:
            secrets = (MemberSecret(self.signer, self.opening),)
        envelope.check_body()
        kept: HolderSession | None = None
        if envelope.version == FIRST:
            (opened, shown, body), secret = _by_any(
                secrets,
                lambda key: open_first(envelope, key, limits.max_request_bytes),
            )
            self.tap(opened)
        else:
            session, secret = _by_any(
                secrets, lambda key: self._offers.open(envelope, key, now_ms // 1000)
            )
            opened = envelope.open(session)
            self.tap(opened)
            body = Body.decode(opened, limits.max_request_bytes, self._warrants.read)
            kept, shown = session, session.offer.sender
        sender = self.trust.verify_sender(
            shown.membership, shown.operating, now_ms // 1000
        )
        envelope.verify(self.trust.key_directory_for(sender))
        if kept is not None:
            self._offers.keep(envelope, secret.opening, kept)
        hops = hop.parse(envelope.hops, envelope.digest)
        hop.check_route(hops, header.sender.city, self.node.city)
        self.routed(False, header, envelope.digest, envelope.hops)
        asked = Asked(
            header,
            body.query,
            sender,
            envelope.digest,
            hops,
            now_ms,
            digest_of(envelope.hops),
        )
        return asked, body.response_key, secret.signer, issuer

    async def _handle(self, asked: Asked) -> Reply:
        handler = self.handlers.get(asked.query.op)
        if handler is None:
            return Reply(ProblemBody(code="kind-not-offered", detail=asked.query.op))
        kind = _ABOUT_DATA.get(asked.query.op)
        if kind and (asked.header.kind != kind or asked.header.dataset_type is None):
            # Brokers judged the header: it must say what the body asks for.
            detail = f"the header hides that this is a {kind}"
            return Reply(ProblemBody(code="malformed", detail=detail))
        try:
            return await handler(asked)
        except MachikuraError as error:
            # The words of a failure could name the holder of a hidden read.
            detail = "" if asked.header.member else error.detail[:512]
            return Reply(ProblemBody(code=error.slug, detail=detail))


def _by_any(
    secrets: Sequence[MemberSecret], open_with: Callable[[Opener], R]
) -> tuple[R, MemberSecret]:
    """Open with the key that fits; return it as well: the asker knows us by it."""
    *others, last = secrets
    for secret in others:
        try:
            return open_with(secret.opening), secret
        except CannotOpen:
            continue
    return open_with(last.opening), last


def _is_older(outcome: Answer | Refused) -> bool:
    """Tell whether somebody on the way, or the other end, is of an older version."""
    return isinstance(outcome, Refused) and (
        outcome.refusal.code == UnsupportedVersion.slug
    )


class _Turned(MachikuraError):
    """A refusal inside `_open`, carried to the one place that answers in clear."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.slug = code


def target_of(
    membership: Membership, token: str | None, *, key: VerifyingKey | None = None
) -> Target:
    """Return the target for a node whose membership is verified.

    Args:
        membership: of the node.
        token: location token; None addresses it by name.
        key: overrides the signing key (after a rotation).
    """
    address = Address(
        city=membership.sub.city,
        token=token,
        node=None if token is not None else membership.sub,
    )
    owner = Owner(membership.sub, key or membership.verifying_key())
    return Target(address, membership.sealing.load(), owner)
