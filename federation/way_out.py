# SPDX-License-Identifier: Apache-2.0
"""A member's way out: over any broker of its city, and over the next when one fails.

A broker that is lost, or that cannot go on, says nothing about the others. So the same
bytes go out over the next one, at once and under the same exchange id: what was refused
was not executed, and after a lost link whoever answers gives the same answer again and
executes nothing twice (`federation.answered`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from federation.outcome import LinkLost, LinkProblem
from federation.peers import Carrier, Peer, Peers
from protocol.answer import AnswerEnvelope, AnswerType
from protocol.errors import MachikuraError
from protocol.ids import NodeId
from protocol.problem import PROBLEM, SignedProblem
from protocol.signature import Received

_CANNOT_GO_ON = frozenset(
    {"loop", "no-agreement", "no-route", "overloaded", "peer-unreachable"}
)
"""Refusals of a broker of ours that say something about it, not about the exchange."""


class WayOut:
    """The brokers of our city, as one of its members uses them."""

    def __init__(
        self, node: NodeId, peers: Peers, observe: Callable[[str, str], None]
    ) -> None:
        """Take who we are, our links, and what counts outcomes for the metrics."""
        self._node = node
        self._peers = peers
        self._observe = observe
        self._ranks: dict[NodeId, bytes] = {}

    async def send(self, payload: bytes, deadline_ms: int) -> bytes:
        """Hand an exchange to a broker of our city and return the answer.

        Raises:
            LinkLost: there is no broker left to hand it to.
            LinkProblem, DeadlinePassed: as `federation.link.Link.request`.
        """
        tried: set[NodeId] = set()
        refusal: bytes | None = None
        failure: LinkLost | LinkProblem | None = None
        while (found := self._next(tried)) is not None:
            if tried:
                self._observe("way-out", "next-broker")
            tried.add(found[0].node)
            try:
                answer = await found[1].request(payload, deadline_ms=deadline_ms)
            except LinkLost as lost:
                failure = lost
                continue
            except LinkProblem as problem:
                if problem.slug != "overloaded":
                    raise
                failure = problem
                continue
            if not self._cannot_go_on(answer):
                return answer
            refusal = refusal or answer
        if refusal is not None:
            return refusal
        raise failure or LinkLost("closed", "no link to a broker of our city")

    def _next(self, tried: set[NodeId]) -> tuple[Peer, Carrier] | None:
        """Return the broker that comes first for us among those not tried."""
        left = [
            pair
            for pair in self._peers.brokers_of(self._node.city)
            if pair[0].node not in tried
        ]
        if len(left) < 2:
            return left[0] if left else None
        return min(left, key=lambda pair: self._rank(pair[0].node))

    def _rank(self, broker: NodeId) -> bytes:
        """Return what orders brokers for us: each member another way, always alike."""
        known = self._ranks.get(broker)
        if known is None:
            name = f"{self._node} {broker}".encode("ascii")
            known = self._ranks[broker] = hashlib.sha256(name).digest()
        return known

    def _cannot_go_on(self, answer: bytes) -> bool:
        """Tell whether a broker of our own city turned it back for its own reasons.

        Who refused is not verified here: at worst we ask another broker in vain.
        """
        if answer[:1] != bytes([AnswerType.PROBLEM]):
            return False
        try:
            parts = AnswerEnvelope.unpack(answer, len(answer))
            token = parts.payload.partition(b"\n")[0]
            refused = Received.parse(token, PROBLEM).peek(SignedProblem)
            own = NodeId(refused.iss).city == self._node.city
        except (MachikuraError, ValueError):
            return False
        return own and refused.problem.code in _CANNOT_GO_ON
