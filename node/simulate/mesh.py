# SPDX-License-Identifier: Apache-2.0
"""Four cities, all connected both ways, with aliases: is each party asked once?

Every broker is linked with every other, listens under a second address as well, and
every city's card names besides its own broker a mirror that does not exist and, at its
own address, the broker of another city. A resident asks where her data is: the question
goes to the directory of each city and to every holder. Counted is what each of them was
asked, and what every broker carried.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from federation.simulation import SCHEME, Network, run
from node.simulate.federation import Federation
from node.simulate.people import People
from protocol.agreement import Party
from protocol.membership import Role

CITIES = ("hoshino", "kawabe", "minato", "yamanami")
HOME = "hoshino/hall"
HOLDERS = tuple(f"{city}/clinic" for city in CITIES)
CHECKUP = "health.checkup"


@dataclass(frozen=True)
class Counted:
    """What was counted while one question was answered.

    Attributes:
        asked: times that each directory and each holder was asked.
        answered: how many of the parties that the resident sees have answered.
        parties: how many parties she sees.
        carried: exchanges that a broker took up, for each broker.
        exchanges: how many there were.
        loops: exchanges that came to a broker again, or were refused as a loop.
        links: links of each broker with brokers of other cities.
        misled: brokers that a broker dials at another city's address.
        took_ms: from question to merged answer, in virtual time.
    """

    asked: dict[str, int]
    answered: int
    parties: int
    carried: dict[str, int]
    exchanges: int
    loops: int
    links: dict[str, int]
    misled: int
    took_ms: int


class Aliased(Federation):
    """Cities whose cards name more than they have."""

    def _party(self, city: str) -> Party:
        """Return the city as it stands in agreements, with its false names."""
        own = f"{SCHEME}{city}/broker"
        other = CITIES[(CITIES.index(city) + 1) % len(CITIES)]
        entries = (
            f"{city}/broker@{own}",
            f"{city}/broker@{SCHEME}{_alias(city)}",
            f"{city}/mirror@{own}",
            f"{other}/broker@{own}",
        )
        return super()._party(city).model_copy(update={"links": entries})

    async def start(self) -> None:
        """Start everybody, and let each broker listen under its alias as well."""
        for city in CITIES:
            serve = self.nodes[f"{city}/broker"].core.links.serve
            # The same process shows the same certificate, whatever it is called.
            self.network.listen(_alias(city), serve, f"{city}/broker".encode())
        await super().start()


def _alias(city: str) -> str:
    return f"alias-of-{city}"


async def _build(world: Aliased) -> None:
    for city in CITIES:
        await world.city(city)
    await world.node(HOME, Role.IDENTITY)
    for holder in HOLDERS:
        await world.node(holder, qualifications=("medical-institution",))
    for one, other in combinations(CITIES, 2):
        await world.agree(one, other)


async def _count(people: People, world: Aliased) -> Counted:
    resident = await people.register("hanako", "山田花子", HOME)
    for number, holder in enumerate(HOLDERS):
        await people.store(holder, f"H-{number}", {"date": "2026-01-05"}, CHECKUP)
        await people.link(resident, holder, f"H-{number}")
    await world.drained()
    # Who the holders are is known from now on: only the question itself is counted.
    await people.locate(resident)
    before = _outcomes(world)
    started = world.clock.now_ms()
    found = await people.locate(resident)
    took_ms = world.clock.now_ms() - started
    new = _outcomes(world) - before
    brokers = [f"{city}/broker" for city in CITIES]
    asked = {n: new[n, "locate-locator", "ok"] for n in brokers}
    asked |= {n: new[n, "locate-handle", "ok"] for n in HOLDERS}
    return Counted(
        asked=asked,
        answered=sum(party.status == "answer" for party in found.asked),
        parties=len(found.asked),
        carried={n: new[n, "relay", "forward"] for n in brokers},
        exchanges=len(found.asked),
        loops=sum(
            new[n, "relay", code]
            for n in brokers
            for code in ("loop", "again", "path-lost")
        ),
        links={n: _neighbors(world, n) for n in brokers},
        misled=sum(_misled(world, n) for n in brokers),
        took_ms=took_ms,
    )


def _outcomes(world: Aliased) -> Counter[tuple[str, str, str]]:
    return Counter(
        {
            (name, what, code): number
            for name in world.nodes
            for (what, code), number in world.parts(name).outcomes.items()
        }
    )


def _neighbors(world: Aliased, broker: str) -> int:
    peers = world.parts(broker).peers
    return sum(
        peers.broker_of(world.parts(f"{city}/broker").node.city) is not None
        for city in CITIES
        if not broker.startswith(f"{city}/")
    )


def _misled(world: Aliased, broker: str) -> int:
    targets = (status.target for status in world.nodes[broker].core.dialer.status())
    return sum(t.node.partition("/")[0] not in t.url for t in targets)


def count(folder: Path, *, seed: int = 0) -> Counted:
    """Build the cities in memory, ask once, and return what was counted.

    Args:
        folder: for key files; empty, and the caller's to delete.
        seed: decides every delay and random byte.
    """

    async def world(network: Network) -> Counted:
        cities = Aliased(network, folder)
        try:
            await _build(cities)
            await cities.start()
            await cities.settled()
            # Every dialer has tried every name by now, and has been told what it is.
            await cities.clock.sleep(60)
            return await _count(People(cities), cities)
        finally:
            await cities.close()

    return run(world, seed=seed)
