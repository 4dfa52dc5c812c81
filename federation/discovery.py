# SPDX-License-Identifier: Apache-2.0
"""Finding nodes on the local network, over multicast DNS (RFC 6762, RFC 6763).

A node announces `_machikura._tcp.local.` with its node id, city, port and the hash of
its TLS certificate in the TXT record; others browse for it. What is found is a hint
where to dial and nothing more: anyone on the network can announce anything, and who
answers there is settled by the handshake of the link alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from zeroconf import Error as ZeroconfError
from zeroconf import (
    EventLoopBlocked,
    IPVersion,
    ServiceStateChange,
    Zeroconf,
)
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from federation.ports import LinkError
from protocol.errors import Malformed
from protocol.ids import NodeId

_logger = logging.getLogger(__name__)

SERVICE: Final = "_machikura._tcp.local."

_RESOLVE_MS: Final = 3_000
"""Milliseconds to wait for the details of a node that was seen."""

_MAX_FOUND: Final = 1_024
"""Nodes remembered; anyone on the network can announce any number."""

_HEX_DIGITS: Final = frozenset("0123456789abcdef")


class CannotDiscover(LinkError):
    """This machine has no multicast on the interfaces given."""

    slug = "cannot-connect"


@dataclass(frozen=True)
class Announcement:
    """What a node says of itself on the local network; unverified when received.

    Attributes:
        node: its id, `city/node`.
        port: of its link listener.
        fingerprint: SHA-256 of its TLS certificate, 64 lower-case hex digits.
        addresses: where it can be dialed, IPv4 and IPv6.
    """

    node: NodeId
    port: int
    fingerprint: str
    addresses: tuple[str, ...]

    def urls(self) -> tuple[str, ...]:
        """Returns a URL to dial for each address."""
        return tuple(
            f"wss://[{address}]:{self.port}/link"
            if ":" in address
            else f"wss://{address}:{self.port}/link"
            for address in self.addresses
        )


class Discovery:
    """Announces this node, and knows the nodes announced by others."""

    def __init__(
        self,
        *,
        interfaces: Sequence[str],
        on_found: Callable[[Announcement], None],
        on_gone: Callable[[NodeId], None],
    ) -> None:
        """Prepares; nothing is sent before `open`.

        Args:
            interfaces: IP addresses of the interfaces to use.
            on_found: is told of a node that is new or has changed; must not raise.
            on_gone: is told the id of a node that left; must not raise.
        """
        self._interfaces = list(interfaces)
        self._on_found = on_found
        self._on_gone = on_gone
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._info: AsyncServiceInfo | None = None
        self._found: dict[str, Announcement] = {}
        self._resolving: dict[str, asyncio.Task[None]] = {}

    @property
    def found(self) -> tuple[Announcement, ...]:
        """The nodes announced now, in the order first seen."""
        return tuple(self._found.values())

    async def open(self) -> None:
        """Begins to browse.

        Raises:
            CannotDiscover: no multicast here.
        """
        try:
            for interface in self._interfaces:
                _check_interface(interface)
            self._zeroconf = AsyncZeroconf(interfaces=self._interfaces)
            self._browser = AsyncServiceBrowser(
                self._zeroconf.zeroconf, SERVICE, handlers=[self._changed]
            )
        except (OSError, ZeroconfError, RuntimeError) as error:
            raise CannotDiscover(str(error)) from error

    async def announce(self, announcement: Announcement) -> None:
        """Announces this node until `close`; needs `open`.

        Raises:
            CannotDiscover: multicast has failed, or the name is taken.
        """
        if self._zeroconf is None:
            raise CannotDiscover("not open")
        self._info = to_service(announcement)
        try:
            await (await self._zeroconf.async_register_service(self._info))
        except (OSError, ZeroconfError, EventLoopBlocked) as error:
            raise CannotDiscover(str(error)) from error

    async def close(self) -> None:
        """Withdraws the announcement and stops browsing."""
        for task in list(self._resolving.values()):
            task.cancel()
        if self._browser is not None:
            await self._browser.async_cancel()
        if self._zeroconf is not None:
            await self._zeroconf.async_unregister_all_services()
            await self._zeroconf.async_close()
        self._zeroconf = self._browser = None

    def _changed(
        self,
        zeroconf: Zeroconf,
        service_type: str,
        name: str,
        state_change: ServiceStateChange,
    ) -> None:
        """Is called by the browser, in the event loop."""
        if state_change is ServiceStateChange.Removed:
            gone = self._found.pop(name, None)
            if gone is not None:
                self._on_gone(gone.node)
            return
        known = name in self._found or name in self._resolving
        if not known and len(self._found) + len(self._resolving) >= _MAX_FOUND:
            _logger.warning("more than %s nodes announced, ignoring one", _MAX_FOUND)
            return
        if name not in self._resolving:
            task = asyncio.get_running_loop().create_task(self._resolve(zeroconf, name))
            self._resolving[name] = task
            task.add_done_callback(lambda _: self._resolving.pop(name))

    async def _resolve(self, zeroconf: Zeroconf, name: str) -> None:
        """Asks for the details of a node and tells of it."""
        info = AsyncServiceInfo(SERVICE, name)
        if not await info.async_request(zeroconf, _RESOLVE_MS):
            return
        announcement = from_service(info)
        if announcement is None:
            _logger.info("an announcement on the local network is malformed")
        elif self._found.get(name) != announcement:
            self._found[name] = announcement
            self._on_found(announcement)


def _check_interface(address: str) -> None:
    """Raises `OSError` unless this machine has the address.

    The library notices that too, but forgets to close the socket that it had opened.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))


def to_service(announcement: Announcement) -> AsyncServiceInfo:
    """Returns the DNS-SD form of an announcement."""
    # A label holds 63 bytes and must be unique; the id itself is in the TXT record.
    label = hashlib.sha256(announcement.node.encode()).hexdigest()[:32]
    return AsyncServiceInfo(
        SERVICE,
        f"{label}.{SERVICE}",
        port=announcement.port,
        parsed_addresses=list(announcement.addresses),
        server=f"{label}.local.",
        properties={
            "node": announcement.node,
            "city": announcement.node.city,
            "fp": announcement.fingerprint,
        },
    )


def from_service(info: AsyncServiceInfo) -> Announcement | None:
    """Returns the announcement in a DNS-SD record, None when it is malformed."""
    try:
        node = NodeId(_text(info, b"node"))
        addresses = tuple(
            str(ipaddress.ip_address(address.partition("%")[0]))
            for address in info.parsed_addresses(IPVersion.All)
        )
    except (Malformed, ValueError):
        return None
    fingerprint = _text(info, b"fp")
    well_formed = len(fingerprint) == 64 and _HEX_DIGITS.issuperset(fingerprint)
    if not well_formed or _text(info, b"city") != node.city:
        return None
    if not info.port or not addresses:
        return None
    return Announcement(node, info.port, fingerprint, addresses)


def _text(info: AsyncServiceInfo, key: bytes) -> str:
    """Returns a TXT property as text; empty when it is absent or not ASCII."""
    value = info.properties.get(key)
    return value.decode(errors="replace") if value else ""
