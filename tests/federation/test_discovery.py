# SPDX-License-Identifier: Apache-2.0
"""Discovery: nodes find each other on a real, if very local, network."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zeroconf.asyncio import AsyncServiceInfo

from federation.discovery import (
    SERVICE,
    Announcement,
    CannotDiscover,
    Discovery,
    from_service,
    to_service,
)
from protocol.ids import NodeId

LOOPBACK = "127.0.0.1"

# The loopback interface is shared with whatever else runs on this machine, another
# run of these tests included: the names are our own, and others may be heard.
OURS = os.getpid()
CLINIC = Announcement(NodeId(f"hoshino/clinic-{OURS}"), 8443, "a1" * 32, (LOOPBACK,))
MARKET = replace(
    CLINIC,
    node=NodeId(f"hoshino/market-{OURS}"),
    port=8444,
    addresses=(LOOPBACK, "::1"),
)


class Neighbor:
    """A node that listens to what others announce."""

    def __init__(self) -> None:
        """Has heard nothing."""
        self._found: asyncio.Queue[Announcement] = asyncio.Queue()
        self._gone: asyncio.Queue[NodeId] = asyncio.Queue()
        self.discovery = Discovery(
            interfaces=[LOOPBACK],
            on_found=self._found.put_nowait,
            on_gone=self._gone.put_nowait,
        )

    async def found(self, node: NodeId) -> Announcement:
        """Returns what a node announces, once it is found."""
        async with asyncio.timeout(20):
            while (announcement := await self._found.get()).node != node:
                pass
        return announcement

    async def gone(self, node: NodeId) -> None:
        """Returns once a node has left."""
        async with asyncio.timeout(20):
            while await self._gone.get() != node:
                pass

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Neighbor]:
        """Listens meanwhile; skips the test where that is impossible."""
        try:
            await self.discovery.open()
        except CannotDiscover as error:
            pytest.skip(f"no multicast on the loopback interface: {error}")
        try:
            yield self
        finally:
            await self.discovery.close()


@pytest.mark.slow
async def test_announced_node_is_found_and_its_leaving_noticed() -> None:
    """The whole life of an announcement, over multicast on loopback."""
    async with Neighbor().open() as watcher:
        async with Neighbor().open() as clinic:
            await clinic.discovery.announce(CLINIC)
            assert await watcher.found(CLINIC.node) == CLINIC
            assert CLINIC in watcher.discovery.found
        await watcher.gone(CLINIC.node)
        assert CLINIC not in watcher.discovery.found


@pytest.mark.slow
async def test_node_that_was_announced_before_is_found_too() -> None:
    """Whoever comes later asks who is there."""
    async with Neighbor().open() as market:
        await market.discovery.announce(MARKET)
        async with Neighbor().open() as watcher:
            assert (await watcher.found(MARKET.node)).port == MARKET.port


async def test_announcing_needs_an_open_discovery() -> None:
    """The order of calls is checked."""
    with pytest.raises(CannotDiscover):
        await Neighbor().discovery.announce(CLINIC)


async def test_interface_that_is_not_there_is_an_error_of_ours() -> None:
    """A wrong setting is named at start."""
    discovery = Discovery(interfaces=["192.0.2.77"], on_found=print, on_gone=print)
    with pytest.raises(CannotDiscover):
        await discovery.open()
    await discovery.close()


def test_announcement_gives_urls_to_dial() -> None:
    """Addresses of both families become URLs."""
    assert MARKET.urls() == ("wss://127.0.0.1:8444/link", "wss://[::1]:8444/link")


@pytest.mark.parametrize("announcement", [CLINIC, MARKET])
def test_record_is_read_as_it_was_written(announcement: Announcement) -> None:
    """The DNS-SD form keeps everything."""
    assert from_service(to_service(announcement)) == announcement


def test_longest_node_id_fits_a_label() -> None:
    """A DNS label holds 63 bytes, a node id may be longer."""
    node = NodeId(f"{'c' * 32}/{'n' * 32}")
    assert from_service(to_service(replace(CLINIC, node=node))) is not None


def service(**changes: str | None) -> AsyncServiceInfo:
    """Returns the record of the clinic with properties changed."""
    properties = {"node": CLINIC.node, "city": "hoshino", "fp": CLINIC.fingerprint}
    return AsyncServiceInfo(
        SERVICE,
        f"x.{SERVICE}",
        port=CLINIC.port,
        parsed_addresses=[LOOPBACK],
        properties={**properties, **changes},
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"node": None},
        {"node": "hoshino"},
        {"node": "hoshino/clinic\n"},
        {"node": "Hoshino/Clinic"},
        {"city": "minato"},
        {"fp": None},
        {"fp": "a1" * 31},
        {"fp": "A1" * 32},
    ],
)
def test_malformed_record_is_no_announcement(changes: dict[str, str | None]) -> None:
    """Anyone on the network can announce anything."""
    assert from_service(service(**changes)) is None


def test_record_without_port_or_address_is_no_announcement() -> None:
    """There is nothing to dial."""
    info = service()
    info.port = 0
    assert from_service(info) is None
    assert from_service(AsyncServiceInfo(SERVICE, f"x.{SERVICE}")) is None


@given(st.dictionaries(st.sampled_from(["node", "city", "fp"]), st.binary(max_size=80)))
def test_arbitrary_properties_never_raise(properties: dict[str, bytes]) -> None:
    """What comes from the network is read or left alone."""
    info = AsyncServiceInfo(
        SERVICE,
        f"x.{SERVICE}",
        port=1,
        parsed_addresses=[LOOPBACK],
        properties=dict(properties.items()),
    )
    from_service(info)
