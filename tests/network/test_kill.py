# SPDX-License-Identifier: Apache-2.0
"""`kill -9` of each role while exchanges of every kind are in the middle of it.

Read, push, withdrawal, locate, link, consent issue and import run all the time; one
process after the other is killed among them and started again. Whatever was answered
before is there afterwards, and the rest drains without help.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import pytest

from node.commands.api_client import NodeProblem, NodeUnreachable
from node.demo.cities import CLOCK
from tests.network.pair import CLINIC, READER, RELEASED, ROLES, Pair, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

BEFORE = 1
"""Exchanges of each kind that end before each kill, and after it."""


@dataclass
class Traffic:
    """Exchanges of every kind, without pause, and what was answered.

    Attributes:
        pair: the cities.
        consent: under which is read and pushed.
        done: how many of each kind were answered.
        given, ended: consents whose issue, and whose withdrawal, was answered.
        imported: rows that were reported as stored.
    """

    pair: Pair
    consent: str
    done: Counter[str] = field(default_factory=Counter)
    given: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    imported: int = 0
    over: bool = False
    _files: int = 0
    _code: str = ""

    def kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return one act for each kind of exchange."""
        return {
            "read": self._read,
            "push": self._push,
            "withdraw": self._withdraw,
            "locate": self._locate,
            "link": self._link,
            "issue": self._issue,
            "import": self._import,
        }

    async def run(self, kind: str) -> None:
        """Do one kind again and again, whatever comes of it."""
        act = self.kinds()[kind]
        while not self.over:
            with suppress(NodeProblem, NodeUnreachable, OSError):
                await act()
                self.done[kind] += 1
            await CLOCK.sleep(0.2)

    async def _read(self) -> None:
        if await self.pair.read(self.consent, 2_000) != RELEASED:
            raise OSError("refused")

    async def _push(self) -> None:
        await self.pair.push(self.consent)

    async def _issue(self) -> None:
        self.given.add(await self.pair.give())

    async def _withdraw(self) -> None:
        consent = await self.pair.give()
        await self.pair.withdraw(consent)
        self.ended.add(consent)

    async def _locate(self) -> None:
        if CLINIC not in await self.pair.locate():
            raise OSError("incomplete")

    async def _link(self) -> None:
        """A code stays good until it was used, also by a claim that had no answer."""
        if not self._code:
            self._code = await self.pair.link_code(READER)
        try:
            await self.pair.claim(READER, self._code, "Y-1")
        except NodeProblem as problem:
            if problem.document.get("code") == "link-code-wrong":
                self._code = ""
            raise
        self._code = ""

    async def _import(self) -> None:
        self._files += 1
        rows = [_row(self._files, number) for number in range(20)]
        report = await self.pair.call(
            lambda: self.pair.api(CLINIC).upload(
                "/v1/import", "\n".join(rows).encode(), {"format": "ndjson"}
            )
        )
        self.imported += report["stored"]


def _row(file: int, number: int) -> str:
    content = {"date": "2026-04-02", "systolic_mmhg": 100}
    return json.dumps(
        {
            "dataset_type": "health.checkup",
            "subject": f"I-{file}",
            "source_id": f"{file}-{number}",
            "content": content,
        }
    )


async def test_kill_of_any_role_in_the_middle_of_every_kind_loses_nothing() -> None:
    """Each role once, with all seven kinds under way."""
    async with started() as pair:
        consent = await pair.give(operations=["share", "store"])
        await pair.until_read(consent)
        traffic = Traffic(pair, consent)
        for role in ROLES:
            await _round(traffic, role)
        await pair.until(pair.drained, "every outbox is empty")
        await _nothing_is_lost(traffic)


async def _round(traffic: Traffic, role: str) -> None:
    """Kill one role in the middle of traffic, start it again, see all kinds work."""
    pair, node = traffic.pair, traffic.pair.cities.nodes[role]
    traffic.over = False
    tasks = [asyncio.create_task(traffic.run(kind)) for kind in traffic.kinds()]
    try:
        await _each_kind(traffic, f"before {role} is killed")
        await node.kill()
        await node.start()
        await pair.cities.ready(role)
        await _each_kind(traffic, f"after {role} was killed")
    finally:
        traffic.over = True
        await asyncio.gather(*tasks)


async def _each_kind(traffic: Traffic, when: str) -> None:
    """Wait until some more of each kind were answered."""
    before = Counter(traffic.done)

    async def enough() -> bool:
        return all(traffic.done[k] >= before[k] + BEFORE for k in traffic.kinds())

    try:
        await traffic.pair.until(enough, f"every kind works {when}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {traffic.done - before}") from error


async def _nothing_is_lost(traffic: Traffic) -> None:
    """Look for everything that was answered."""
    pair = traffic.pair
    for consent in traffic.given:
        assert await pair.has(READER, consent), consent
    for consent in traffic.ended:
        assert await pair.told(consent), consent
        assert await pair.read(consent) in ("consent-withdrawn", "not-found")
    for record in pair.stored:
        await pair.call(partial(pair.api(CLINIC).get, f"/v1/records/{record}"))
    released = [e["exchange"] for e in await pair.history("provision")]
    assert len(released) == len(set(released))
    assert len(released) >= traffic.done["read"]
    assert traffic.imported >= 20 * BEFORE
