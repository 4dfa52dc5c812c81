# SPDX-License-Identifier: Apache-2.0
"""Nodes on machines of their own, as far as the network goes: one namespace each.

A cable is pulled for real: packets vanish, nobody is told, TCP repeats itself. Where
the kernel has `netem`, every cable is slow and loses packets as well. Needs root and
`ip`; elsewhere the tests of the other files run on loopback, and the simulator
(`federation.simulation`) has delay, loss and partition everywhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from node.config import Settings
from tests.network.pair import (
    BROKER,
    CLINIC,
    FAR_BROKER,
    HALL,
    READER,
    RELEASED,
    Pair,
    TwoCities,
    started,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ADDRESSES = {
    BROKER: "10.77.0.1",
    FAR_BROKER: "10.77.0.2",
    HALL: "10.77.0.3",
    CLINIC: "10.77.0.4",
    READER: "10.77.0.5",
}
NETEM = ("netem", "delay", "20ms", "10ms", "loss", "2%")


def ip(*words: str) -> None:
    """Run `ip`; raises `CalledProcessError`."""
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


@dataclass
class Wires:
    """A switch, and a cable from it to each node's namespace.

    Attributes:
        prefix: of every namespace that this process makes.
    """

    prefix: str = field(default_factory=lambda: f"mk{os.getpid()}")

    def lay(self) -> None:
        """Make all namespaces and cables."""
        switch = f"{self.prefix}-switch"
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "hub", "type", "bridge")
        ip("-n", switch, "link", "set", "hub", "up")
        for node, address in ADDRESSES.items():
            name, port = self.name(node), self.port(node)
            ip("netns", "add", name)
            peer = ("peer", "name", port, "netns", switch)
            ip("-n", name, "link", "add", "eth0", "type", "veth", *peer)
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")
            ip("-n", switch, "link", "set", port, "master", "hub", "up")

    def name(self, node: str) -> str:
        """Return the namespace of a node."""
        return f"{self.prefix}-{node.replace('/', '-')}"

    def port(self, node: str) -> str:
        """Return the switch's end of a node's cable."""
        return f"p{list(ADDRESSES).index(node)}"

    def pull(self, node: str) -> None:
        """Pull a node's cable: what is sent is gone, and neither side is told."""
        ip("-n", f"{self.prefix}-switch", "link", "set", self.port(node), "nomaster")

    def plug(self, node: str) -> None:
        """Plug it in again."""
        switch = f"{self.prefix}-switch"
        ip("-n", switch, "link", "set", self.port(node), "master", "hub")

    def remove(self) -> None:
        """Remove every namespace, with all that is in it."""
        for name in [*map(self.name, ADDRESSES), f"{self.prefix}-switch"]:
            words = ["ip", "netns", "delete", name]
            subprocess.run(words, check=False, capture_output=True, timeout=20)

    def spoil(self) -> bool:
        """Make every cable slow and lossy; False where the kernel cannot."""
        return all(self._netem(node) for node in ADDRESSES)

    def _netem(self, node: str) -> bool:
        words = ["tc", "-n", self.name(node), "qdisc", "add", "dev", "eth0", "root"]
        try:
            done = subprocess.run(
                [*words, *NETEM], check=False, capture_output=True, timeout=20
            )
        except OSError:
            return False
        return done.returncode == 0


class Separate(TwoCities):
    """Two cities whose nodes run in namespaces of their own."""

    def host(self, node: str) -> str:
        """Return a node's own address."""
        return ADDRESSES[node]

    def _common(self, folder: Path) -> tuple[tuple[str, object], ...]:
        settings = dict(super()._common(folder))
        return tuple({**settings, "link.host": ""}.items())

    def _add(self, node: str, settings: Settings) -> None:
        super()._add(node, settings)
        process = self.nodes[node]
        inside = ("ip", "netns", "exec", f"mk{os.getpid()}-{node.replace('/', '-')}")
        process.command = (*inside, *process.command)


@contextmanager
def wired() -> Iterator[Wires]:
    """Lay the wires, or skip with the reason; remove them in any case."""
    if shutil.which("ip") is None:
        pytest.skip("no `ip` command here (package iproute2)")
    wires = Wires()
    try:
        try:
            wires.lay()
        except subprocess.CalledProcessError as error:
            why = error.stderr.decode(errors="replace").strip()
            pytest.skip(f"network namespaces are not allowed here: {why}")
        yield wires
    finally:
        wires.remove()


@pytest.mark.parametrize("lossy", [False, True])
async def test_pulled_cables_between_separate_machines_heal_by_themselves(
    lossy: bool,
) -> None:
    """Of a member, and of the broker between; cables are good, or slow and lossy."""
    with wired() as wires:
        if lossy and not wires.spoil():
            pytest.skip("no `netem` in this kernel: cables without delay and loss only")
        async with started(make=Separate.at) as pair:
            consent = await pair.give()
            ended = await pair.give()
            await pair.until_read(consent)
            await pair.until_read(ended)
            await _partition(pair, wires, consent, ended)


async def _partition(pair: Pair, wires: Wires, consent: str, ended: str) -> None:
    """Pull the holder's cable and the far broker's; withdraw meanwhile."""
    for victim in (CLINIC, FAR_BROKER):
        wires.pull(victim)
        if victim == CLINIC:
            await pair.withdraw(ended)
        answer = await pair.read(consent, 1_500)
        assert answer in ("timeout", "peer-unreachable", "no-route"), answer
        wires.plug(victim)
        await pair.until_read(consent)
    await pair.until(partial(pair.told, ended), "the withdrawal is acknowledged", 120)
    await pair.until(pair.drained, "every outbox is empty")
    assert await pair.read(ended) == "consent-withdrawn"
    assert await pair.read(consent) == RELEASED
