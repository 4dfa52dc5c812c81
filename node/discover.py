# SPDX-License-Identifier: Apache-2.0
"""Finds the city's broker on the local network, and lets others find ours.

What is announced is never a source of trust: a found address is only dialed, and the
handshake shows whether the broker of our city listens there.
"""

from __future__ import annotations

import logging

from federation.dialer import DialTarget
from federation.discovery import Announcement, CannotDiscover, Discovery
from node.core import Core
from node.tls import certificate_hash
from protocol.ids import NodeId
from protocol.membership import Role

_logger = logging.getLogger(__name__)


class Discoverer:
    """Zeroconf for one node."""

    def __init__(self, core: Core) -> None:
        """Take the running node."""
        self._core = core
        self._interfaces = core.parts.settings.discovery.interfaces
        self._discovery = Discovery(
            interfaces=self._interfaces,
            on_found=self._found,
            on_gone=self._gone,
        )

    async def start(self) -> None:
        """Browse, and announce ourselves if we are a broker; no network is no fault."""
        parts = self._core.parts
        settings = parts.settings
        try:
            await self._discovery.open()
            if Role.BROKER in settings.node.roles:
                certificate, _ = settings.link_certificate
                await self._discovery.announce(
                    Announcement(
                        node=parts.node,
                        port=settings.link.port,
                        fingerprint=certificate_hash(certificate).hex(),
                        addresses=self._interfaces,
                    )
                )
        except CannotDiscover as error:
            _logger.warning("no discovery on this network: %s", error)

    async def close(self) -> None:
        """Withdraw and stop."""
        await self._discovery.close()

    def _found(self, announcement: Announcement) -> None:
        parts = self._core.parts
        configured = bool(parts.settings.brokers)
        ours = announcement.node.city == parts.node.city
        if configured or not ours or announcement.node == parts.node:
            return
        for url in announcement.urls()[:1]:
            _logger.info("found %s on the local network", announcement.node)
            self._core.dialer.add(DialTarget(announcement.node, url))

    def _gone(self, node: NodeId) -> None:
        _logger.info("%s is no longer announced", node)
