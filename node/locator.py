# SPDX-License-Identifier: Apache-2.0
"""Where is my data: the home node asks all directories and holders for a resident.

First the directory of every city that we can reach or where a holder is linked, then
each holder that a directory named or that the resident linked. The answer lists every
party asked with its answer, refusal or timeout, so silent omission shows (DESIGN
section 6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from federation.exchange import Answer, Endpoint, Target
from identity.residents import LinkState
from identity.trust import TrustStore
from node.addressbook import Addressbook
from node.database import Database
from node.home_parts import HomeParts
from protocol.answer import Entries, Holding, Holdings
from protocol.envelope import Kind
from protocol.errors import MachikuraError
from protocol.ids import CityId, NodeId
from protocol.problem import Refusal
from protocol.request import LocateHandle, LocateLocator, Query


@dataclass(frozen=True)
class Party:
    """One party that was asked.

    Attributes:
        party: a city's directory, or a holder.
        kind: `directory` or `holder`.
        status: `answer`, `refusal` or `timeout`.
        code: why, where it did not answer.
        took_ms: how long it took.
        hops: brokers that carried it.
    """

    party: str
    kind: str
    status: str
    code: str
    took_ms: int
    hops: tuple[str, ...]


@dataclass(frozen=True)
class Located:
    """What one holder holds of one dataset type."""

    holder: NodeId
    holding: Holding


@dataclass(frozen=True)
class Whereabouts:
    """The merged answer."""

    found: tuple[Located, ...]
    asked: tuple[Party, ...]


class Locator:
    """Asks on behalf of residents."""

    def __init__(
        self,
        *,
        parts: HomeParts,
        exchanges: Endpoint,
        addressbook: Addressbook,
        trust: TrustStore,
        database: Database,
        now_ms: Callable[[], int],
    ) -> None:
        """Take the parts."""
        self._parts = parts
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._trust = trust
        self._database = database
        self._now_ms = now_ms

    async def locate(self, account: str, *, records: bool = False) -> Whereabouts:
        """Ask everybody.

        Args:
            account: whose data.
            records: also ask for the ids of single records.
        """
        residents = self._parts.residents
        links = self._database.read(lambda c: residents.links(c, account))
        # Cities without a route now count too: an outage must not look like "nothing".
        cities = {*self._trust.names(self._now_ms() // 1000)}
        cities |= {link.holder.city for link in links}
        directories = await asyncio.gather(
            *(self._city(account, c) for c in sorted(cities))
        )
        holders = {link.holder for link in links if link.state is LinkState.LINKED}
        for _, nodes in directories:
            holders.update(nodes)
        answers = await asyncio.gather(
            *(self._holder(account, node, records) for node in sorted(holders))
        )
        return Whereabouts(
            found=tuple(located for _, held in answers for located in held),
            asked=tuple(party for party, _ in (*directories, *answers)),
        )

    async def _city(self, account: str, city: CityId) -> tuple[Party, set[NodeId]]:
        locator = self._database.read(
            lambda c: self._parts.residents.locator_in(c, account, city)
        )

        async def target() -> Target:
            return self._addressbook.directory(city)

        party, result = await self._ask(
            f"{city} directory", "directory", target, LocateLocator(locator=locator)
        )
        if not isinstance(result, Entries):
            return party, set()
        # A directory speaks for nodes of its own city only.
        return party, {e.node for e in result.entries if e.node.city == city}

    async def _holder(
        self, account: str, node: NodeId, records: bool
    ) -> tuple[Party, list[Located]]:
        handle = self._database.read(
            lambda c: self._parts.residents.handle_at(c, account, node)
        )

        async def target() -> Target:
            return await self._addressbook.target(node)

        query = LocateHandle(handle=handle, records=records)
        party, result = await self._ask(node, "holder", target, query)
        if not isinstance(result, Holdings):
            return party, []
        return party, [Located(node, holding) for holding in result.holdings]

    async def _ask(
        self,
        name: str,
        kind: str,
        target: Callable[[], Awaitable[Target]],
        query: Query,
    ) -> tuple[Party, object]:
        started = self._now_ms()
        try:
            asked = await self._exchanges.ask(await target(), Kind.LOCATE, query)
        except MachikuraError as error:
            took = self._now_ms() - started
            return Party(name, kind, "refusal", error.slug, took, ()), None
        hops = tuple(str(hop.by) for hop in asked.hops)
        if isinstance(asked, Answer):
            return Party(name, kind, "answer", "", asked.took_ms, hops), asked.result
        status = _status(asked.refusal)
        return (
            Party(name, kind, status, asked.refusal.code, asked.took_ms, hops),
            None,
        )


def _status(refusal: Refusal) -> str:
    return "timeout" if refusal.code in ("timeout", "deadline-passed") else "refusal"
