# SPDX-License-Identifier: Apache-2.0
"""`machikura trace`: a real exchange to a node, then one to each broker on its way.

The first one proves the way; its hop records, which the destination's answer covers,
say which brokers carried it. Then each of these is asked in turn, so every hop has a
round trip, measured by this node's clock alone, and its share there and back, by the
time at which the party asked says that the probe reached it. Where the clocks of two
parties differ, that share is off by as much, and the round trip is not.

Brokers may be named by anybody; a member of another city is reached as in any other
exchange, by a token that no broker on the way can read. A holder that hides has no name
here: nothing is learned of who holds what.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from federation.exchange import Answer, Endpoint, Refused, Target, target_of
from node.addressbook import Addressbook
from protocol.answer import Done
from protocol.envelope import Kind
from protocol.errors import MachikuraError
from protocol.hop import HopRecord
from protocol.ids import NodeId
from protocol.problem import Refusal
from protocol.request import Ping


@dataclass(frozen=True)
class Probe:
    """One party on the way, and how long it takes to ask it.

    Attributes:
        node: the party.
        decision: what its hop record says; empty for the destination.
        round_ms: there and back; None if it did not answer, then `code` says why.
        there_ms, back_ms: by its clock and ours; None where it does not say when.
        code: of the refusal; empty if it answered.
    """

    node: NodeId
    decision: str
    round_ms: int | None
    there_ms: int | None
    back_ms: int | None
    code: str = ""


@dataclass(frozen=True)
class Trace:
    """The way to a node.

    Attributes:
        probes: brokers in the order of the way, then the destination.
        refusal: why the destination did not answer; None if it did.
    """

    probes: tuple[Probe, ...]
    refusal: Refusal | None


class Tracer:
    """Asks a node, and everybody who carries what is asked."""

    def __init__(
        self,
        *,
        node: NodeId,
        exchanges: Endpoint,
        addressbook: Addressbook,
        now_ms: Callable[[], int],
    ) -> None:
        """Take the parts."""
        self._node = node
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._now_ms = now_ms

    async def trace(self, node: NodeId) -> Trace:
        """Trace the way; ends after as many deadlines as there are parties, at most.

        Raises:
            NoWay: the node's city, or the node in it, is not known.
        """
        target = await self._addressbook.target(node)
        started = self._now_ms()
        outcome = await self._ping(target)
        last = self._probe(node, "", outcome, started)
        probes = [await self._broker(hop) for hop in outcome.hops if hop.by != node]
        refusal = outcome.refusal if isinstance(outcome, Refused) else None
        return Trace((*probes, last), refusal)

    async def _broker(self, hop: HopRecord) -> Probe:
        """Ask one broker, by name."""
        if hop.by == self._node:
            return Probe(hop.by, hop.decision, 0, 0, 0)
        try:
            target = target_of(await self._addressbook.member(hop.by), None)
        except MachikuraError as error:
            return Probe(hop.by, hop.decision, None, None, None, error.slug)
        started = self._now_ms()
        outcome = await self._ping(target)
        return self._probe(hop.by, hop.decision, outcome, started)

    async def _ping(self, target: Target) -> Answer | Refused:
        return await self._exchanges.ask(target, Kind.MANAGE, Ping())

    def _probe(
        self, node: NodeId, decision: str, outcome: Answer | Refused, started: int
    ) -> Probe:
        if isinstance(outcome, Refused):
            return Probe(node, decision, None, None, None, outcome.refusal.code)
        at_ms = outcome.result.at_ms if isinstance(outcome.result, Done) else None
        if at_ms is None:
            return Probe(node, decision, outcome.took_ms, None, None)
        there = at_ms - started
        back = outcome.took_ms - there
        return Probe(node, decision, outcome.took_ms, there, back)
