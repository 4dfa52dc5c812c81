# SPDX-License-Identifier: Apache-2.0
"""The way to a node, hop by hop."""

from __future__ import annotations

from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from node.tracer import Probe, Trace, Tracer
from protocol.ids import NodeId
from protocol.model import Request


class TraceQuestion(Request):
    """Which node to trace."""

    node: NodeId


class TraceHop(Request):
    """One party on the way; times in milliseconds.

    `round_ms` is measured by this node's clock; `there_ms` and `back_ms` also by that
    of the party, and off by as much as the clocks differ.
    """

    node: str
    decision: str
    round_ms: int | None
    there_ms: int | None
    back_ms: int | None
    code: str

    @classmethod
    def of(cls, probe: Probe) -> TraceHop:
        """Return a probe as it stands in answers."""
        return cls(
            node=probe.node,
            decision=probe.decision,
            round_ms=probe.round_ms,
            there_ms=probe.there_ms,
            back_ms=probe.back_ms,
            code=probe.code,
        )


class TraceReport(Request):
    """The whole way; `code` and `by` where the node was not reached."""

    hops: list[TraceHop]
    reached: bool
    code: str = ""
    detail: str = ""
    by: str = ""

    @classmethod
    def of(cls, trace: Trace) -> TraceReport:
        """Return a trace as it stands in answers."""
        refusal = trace.refusal
        return cls(
            hops=[TraceHop.of(probe) for probe in trace.probes],
            reached=refusal is None,
            code="" if refusal is None else refusal.code,
            detail="" if refusal is None else refusal.detail,
            by="" if refusal is None else refusal.by or "",
        )


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoint."""
    parts = core.parts
    tracer = Tracer(
        node=parts.node,
        exchanges=parts.exchanges,
        addressbook=parts.addressbook,
        now_ms=parts.world.clock.now_ms,
    )

    @registry.route(
        "POST",
        "/v1/trace",
        scope=Scope.STATUS_READ,
        summary=("The way to a node, hop by hop", "ノードまでの経路と所要時間"),
        tag="status",
    )
    async def trace(body: TraceQuestion) -> TraceReport:
        return TraceReport.of(await tracer.trace(body.node))
