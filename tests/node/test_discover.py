# SPDX-License-Identifier: Apache-2.0
"""Nodes find their city's broker on the local network, and trust nothing for that."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from identity.city import Allowance
from node.app import start
from node.city_root import write_root
from node.config import Settings
from node.core import Core
from node.new_city import CityAnswers, NewCity, create_city
from node.new_node import Answers, create
from node.system import SystemClock, system_entropy
from protocol.ids import CityId, NodeId
from protocol.membership import Credentials, DataClass, Role


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def folder() -> Path:
    """Return a folder whose path is short enough for Unix sockets."""
    return Path(tempfile.mkdtemp(prefix="mk"))


def city(folder: Path) -> NewCity:
    """Return a city whose broker announces itself."""
    return create_city(
        CityAnswers(
            city=CityId("hoshino"),
            hosts=("127.0.0.1",),
            port=free_port(),
            key_file=folder / "broker.key",
            settings=(
                ("api.port", free_port()),
                ("link.host", "127.0.0.1"),
                ("discovery.zeroconf", True),
            ),
        ),
        folder,
        b"a passphrase for a test",
        now_ms=SystemClock().now_ms(),
        entropy=system_entropy,
    )


async def admit(broker: Core, settings: Settings, request: str) -> Credentials:
    """Admit a node at a running broker."""
    authority, parts = broker.parts.authority, broker.parts
    if authority is None:
        raise AssertionError("the broker has no authority")
    allowance = Allowance(roles=(Role.VAULT,), data_classes=tuple(DataClass))
    membership = await parts.database.write(
        lambda c: authority.admit(c, request, allowance, now=parts.now())
    )
    return Credentials(
        membership=membership.token, operating=parts.standing.credentials().operating
    )


async def test_a_member_without_configured_broker_finds_it_by_zeroconf(
    folder: Path,
) -> None:
    """The address comes from the network, the trust from the handshake."""
    made = await asyncio.to_thread(city, folder)
    node = create(
        Answers(
            node=NodeId("hoshino/clinic"),
            key_file=folder / "clinic.key",
            settings=(("api.port", free_port()), ("discovery.zeroconf", True)),
        ),
        folder / "clinic",
        now_ms=SystemClock().now_ms(),
        entropy=system_entropy,
    )
    write_root(node.settings.root_key_file, made.card.root_key())
    async with AsyncExitStack() as stack:
        broker = await start(made.broker, stack)
        clinic = await start(node.settings, stack)
        credentials = await admit(broker, node.settings, node.join_request.read_text())
        await clinic.parts.standing.accept(credentials, clinic.parts.now())
        async with asyncio.timeout(60):
            while (  # noqa: ASYNC110  nothing signals it
                clinic.parts.peers.broker_of(CityId("hoshino")) is None
            ):
                await asyncio.sleep(0.05)
        assert clinic.links.link_to("hoshino/broker") is not None
