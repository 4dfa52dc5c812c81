# SPDX-License-Identifier: Apache-2.0
"""The brokers of our own city, as this node sees them: for status and doctor."""

from __future__ import annotations

from dataclasses import dataclass

from node.core import Core
from protocol.errors import ProtocolViolation
from protocol.ids import NodeId


@dataclass(frozen=True)
class BrokerState:
    """One broker of our city.

    Attributes:
        node: its id.
        url: where it listens; empty if it has not said so.
        authority: whether it speaks for the city.
        linked: whether we have a link with it, or are it.
        nodes: how many nodes are linked with it; None where we are not told.
    """

    node: NodeId
    url: str
    authority: bool
    linked: bool
    nodes: int | None


def city_brokers(core: Core) -> list[BrokerState]:
    """Return all brokers of our city that we know of, the authority first."""
    parts = core.parts
    authority = _authority(core)
    urls = {} if authority is None else {authority: ""}
    for entry in _listed(core):
        name, _, url = entry.rpartition("@")
        urls[NodeId(name)] = url
    told = {} if parts.presence is None else parts.presence.by_sibling()
    counts = {node: len(nodes) for node, nodes in told.items()}
    if parts.broker is not None:
        counts[parts.node] = len(parts.peers.nodes())
    return [
        BrokerState(
            node=node,
            url=url,
            authority=node == authority,
            linked=node == parts.node or core.links.link_to(node) is not None,
            nodes=counts.get(node),
        )
        for node, url in sorted(urls.items(), key=lambda pair: pair[0] != authority)
    ]


def _listed(core: Core) -> tuple[str, ...]:
    parts = core.parts
    if parts.city is not None:
        return parts.city.brokers()
    bundle = parts.trust.bundle
    return () if bundle is None else bundle.body.brokers


def _authority(core: Core) -> NodeId | None:
    parts = core.parts
    try:
        return parts.trust.city_of(parts.node.city, parts.now()).broker.sub
    except ProtocolViolation:
        return None
