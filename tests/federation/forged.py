# SPDX-License-Identifier: Apache-2.0
"""Requests as a liar would seal them, and what came back, in one word."""

from __future__ import annotations

from federation.exchange import About, Answer, Refused, Target
from protocol.answer import AnswerEnvelope, AnswerType
from protocol.envelope import Envelope, Kind, RoutingHeader
from protocol.ids import ExchangeId, NodeId, uuid7
from protocol.membership import Credentials
from protocol.problem import PROBLEM, SignedProblem
from protocol.request import Body, Query, Read
from protocol.sealed import RESPONSE_KEY_BYTES
from protocol.session import NONCE_BYTES, SECRET_BYTES, AskerSession
from protocol.signature import Received
from protocol.suites import Signer
from tests.federation.world import ABOUT, Node


def sealed(
    asker: Node,
    target: Target,
    query: Query | None = None,
    about: About = ABOUT,
    *,
    kind: Kind = Kind.READ,
    sender: NodeId | None = None,
    signer: Signer | None = None,
    credentials: Credentials | None = None,
    body: bytes | None = None,
    exchange: str | None = None,
    hops: int = 6,
    iat_ms: int | None = None,
    lasts_ms: int = 10_000,
) -> Envelope:
    """Seal a request as `Endpoint.ask` does, with whatever lies the test tells."""
    world = asker.city.world
    started = asker.clock.now_ms() if iat_ms is None else iat_ms
    header = RoutingHeader(
        id=ExchangeId(exchange or str(uuid7(started, world.entropy(10)))),
        kind=kind,
        sender=sender or asker.node,
        to=target.address,
        dataset_type=about.dataset_type,
        purpose=about.purpose,
        data_class=about.data_class,
        consent=about.consent,
        member=target.member,
        hops=hops,
        iat_ms=started,
        deadline_ms=started + lasts_ms,
    )
    if body is None:
        body = Body(world.entropy(RESPONSE_KEY_BYTES), query or Read()).encode()
    session = AskerSession.start(
        target.sealing,
        credentials or asker.credentials(),
        world.entropy(SECRET_BYTES),
        asker.clock.now + 600,
    )
    nonce = world.entropy(NONCE_BYTES)
    return Envelope.seal(header, body, session, signer or asker.signing, nonce)


def problem_of(answer: bytes) -> str:
    """Return the code of a problem in clear, signed or not; `sealed` for an answer."""
    parts = AnswerEnvelope.unpack(answer, 1 << 24)
    if parts.type is AnswerType.SEALED:
        return "sealed"
    token, signed, _ = parts.payload.partition(b"\n")
    if not signed:
        return token.decode()
    return Received.parse(token, PROBLEM).peek(SignedProblem).problem.code


def code_of(outcome: Answer | Refused) -> str:
    """Return the code of a refusal; `ok` for an answer."""
    return outcome.refusal.code if isinstance(outcome, Refused) else "ok"
