# SPDX-License-Identifier: Apache-2.0
"""Two small cities of real processes, and what people do in them.

    async with started() as pair:
        consent = await pair.give()
        await pair.cities.nodes[CLINIC].kill()

Five processes: a broker in each city, a home node and a clinic in Hoshino, a clinic in
Minato that reads. Everything runs on loopback in a temporary folder, and is ended and
removed also when a test fails.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from identity.totp import code_at
from node.commands.api_client import ApiClient, NodeProblem, NodeUnreachable
from node.demo.cities import CITIES, CLOCK, MEMBERS, Cities
from protocol.canonical import unb64url
from protocol.suites import Suite

T = TypeVar("T")

HALL, CLINIC, READER = "hoshino/hall", "hoshino/clinic", "minato/clinic"
BROKER, FAR_BROKER = "hoshino/broker", "minato/broker"
ROLES = (FAR_BROKER, BROKER, CLINIC, READER, HALL)
CHECKUP, TREATMENT = "health.checkup", "treatment"
DAY_S = 86_400
RELEASED = "released"
PASSWORD = "tsuki-ga-kirei-desu-ne"
"""Of the one resident, who lives as long as a test."""


class TwoCities(Cities):
    """The demo's first two cities with three members."""

    @classmethod
    def at(cls, folder: Path) -> TwoCities:
        """Prepare them in a folder."""
        by_name = {member.node: member for member in MEMBERS}
        reader = by_name["yamanami/clinic"]
        members = (by_name[HALL], by_name[CLINIC], replace(reader, node=READER))
        return cls(folder, Suite.HYBRID, cities=CITIES[:2], members=members)

    def _common(self, folder: Path) -> tuple[tuple[str, object], ...]:
        """Nothing is captured, as in real operation."""
        settings = super()._common(folder)
        return tuple(pair for pair in settings if pair[0] != "capture.path")

    async def ready(self, node: str, seconds: float = 120) -> None:
        """Wait longer than the demo does: tests run beside each other."""
        await super().ready(node, seconds)

    async def federate(self) -> None:
        """Let the two agree; nothing hangs on a cable."""
        await asyncio.to_thread(self.agree, "hoshino", "minato")


@dataclass
class Pair:
    """The running cities and the resident who lives there."""

    cities: TwoCities
    account: str = ""
    totp: bytes = b""
    session: str = ""
    stored: set[str] = field(default_factory=set)

    def api(self, node: str) -> ApiClient:
        """Return the operator's way into a node."""
        return self.cities.nodes[node].api

    def me(self) -> ApiClient:
        """Return the resident's way into the home node."""
        return self.cities.nodes[HALL].client(self.session)

    async def call(self, work: Callable[[], T]) -> T:
        """Make a call without holding up the others."""
        return await asyncio.to_thread(work)

    # ---------------------------------------------------------------- resident

    async def settle(self) -> None:
        """Store a checkup, register the resident, link the clinic."""
        await self.store()
        body = {"login": "hanako", "password": PASSWORD, "name": "山田花子"}
        made = await self.call(lambda: self.api(HALL).post("/v1/residents", body))
        self.account, self.totp = made["account"], unb64url(made["totp_secret"])
        now = CLOCK.now_ms() // 1000
        await self.call(
            lambda: self.api(HALL).post(
                f"/v1/residents/{self.account}/second-factor",
                {"code": code_at(self.totp, now - 30)},
            )
        )
        await self.sign_in()
        await self.link()

    async def sign_in(self, ahead_s: int = 0) -> None:
        """Sign the resident in; a node's clock may have been set ahead."""
        code = code_at(self.totp, CLOCK.now_ms() // 1000 + ahead_s)
        body = {"login": "hanako", "password": PASSWORD, "code": code}
        session = await self.call(lambda: self.api(HALL).post("/v1/sessions", body))
        self.session = session["token"]

    async def link(self, holder: str = CLINIC, number: str = "H-1") -> None:
        """Link a holder by one-time code."""
        await self.claim(holder, await self.link_code(holder), number)

    async def link_code(self, holder: str) -> str:
        """Return a one-time code to show at a holder."""
        path = "/v1/me/link-codes"
        code = await self.call(lambda: self.me().post(path, {"holder": holder}))
        return str(code["code"])

    async def claim(self, holder: str, code: str, number: str) -> None:
        """Show a code at a holder."""
        body = {"home": HALL, "code": code, "subject": number}
        await self.call(lambda: self.api(holder).post("/v1/links", body))

    async def store(self, number: int = 0) -> str:
        """Store a checkup at the clinic; return its id."""
        body = {
            "dataset_type": CHECKUP,
            "subject": "H-1",
            "content": {"date": "2026-04-01", "systolic_mmhg": 90 + number % 90},
        }
        made = await self.call(lambda: self.api(CLINIC).post("/v1/records", body))
        self.stored.add(made["id"])
        return str(made["id"])

    async def give(self, **wish: Any) -> str:
        """Give a consent to the reader."""
        body = {
            "recipients": [READER],
            "holders": [CLINIC],
            "scope": [{"dataset_type": CHECKUP}],
            "purposes": [TREATMENT],
            "ends": CLOCK.now_ms() // 1000 + 30 * DAY_S,
            **wish,
        }
        given = await self.call(lambda: self.me().post("/v1/me/consents", body))
        return str(given["id"])

    async def withdraw(self, consent: str) -> None:
        """Withdraw a consent."""
        path = f"/v1/me/consents/{consent}/withdraw"
        await self.call(lambda: self.me().post(path, {"obligation": "stop"}))

    async def locate(self) -> set[str]:
        """Ask where the resident's data is; return who holds some."""
        found = await self.call(lambda: self.me().get("/v1/me/locations"))
        return {holding["holder"] for holding in found["holdings"]}

    async def told(self, consent: str) -> bool:
        """Tell whether everybody has acknowledged a withdrawal."""
        state = await self.call(lambda: self.me().get(f"/v1/me/consents/{consent}"))
        return bool(state["told"]) and all(t["acknowledged"] for t in state["told"])

    # ------------------------------------------------------------ applications

    async def read(self, consent: str, timeout_ms: int = 5_000) -> str:
        """Read under a consent; return `released` or the code."""
        body = {
            "consent": consent,
            "dataset_type": CHECKUP,
            "purpose": TREATMENT,
            "timeout_ms": timeout_ms,
        }
        path = "/v1/exchanges/read"
        try:
            answer = await self.call(lambda: self.api(READER).post(path, body))
        except NodeProblem as problem:
            return str(problem.document.get("code"))
        first = answer["results"][0]
        return str(first["problem"]["code"]) if first.get("problem") else RELEASED

    async def push(self, consent: str) -> None:
        """Queue a push of everything that the consent allows."""
        body = {
            "consent": consent,
            "recipient": READER,
            "dataset_type": CHECKUP,
            "purpose": TREATMENT,
        }
        await self.call(lambda: self.api(CLINIC).post("/v1/exchanges/push", body))

    async def has(self, node: str, consent: str) -> bool:
        """Tell whether a node has a consent."""
        try:
            await self.call(lambda: self.api(node).get(f"/v1/consents/{consent}"))
        except NodeProblem:
            return False
        return True

    async def history(self, role: str) -> list[dict[str, Any]]:
        """Return what the clinic has on record about the resident."""
        query: dict[str, str | int] = {"subject": "H-1", "limit": 1000}
        found = await self.call(lambda: self.api(CLINIC).get("/v1/provisions", query))
        return [entry for entry in found["provisions"] if entry["role"] == role]

    async def drained(self) -> bool:
        """Tell whether no message waits anywhere; one that is dead is a fault."""
        for node in ROLES:
            api = self.api(node)
            box = await self.call(partial(api.get, "/v1/outbox"))
            assert box["dead"] == [], (node, box["dead"])
            if box["waiting"]:
                return False
        return True

    # ------------------------------------------------------------------ waiting

    async def until(
        self, true: Callable[[], Awaitable[object]], what: str, seconds: float = 90
    ) -> float:
        """Wait until something is true; nodes that are away make it false."""
        started = CLOCK.monotonic()
        while True:
            with suppress(NodeProblem, NodeUnreachable, OSError):
                if await true():
                    return CLOCK.monotonic() - started
            waited = CLOCK.monotonic() - started
            assert waited < seconds, f"not within {seconds} s: {what}"
            await CLOCK.sleep(0.05)

    async def until_read(self, consent: str, wanted: str = RELEASED) -> float:
        """Read again and again, as an application would."""

        async def reads() -> bool:
            return await self.read(consent, 2_000) == wanted

        return await self.until(reads, f"a read ends in {wanted}")


@asynccontextmanager
async def started(
    prepare: Callable[[TwoCities], object] = lambda cities: None,
    make: Callable[[Path], TwoCities] = TwoCities.at,
) -> AsyncIterator[Pair]:
    """Found the cities, start them, and end them in any case."""
    folder = Path(tempfile.mkdtemp(prefix="mk"))
    cities = make(folder)
    try:
        await asyncio.to_thread(cities.found)
        prepare(cities)
        await cities.start()
        pair = Pair(cities)
        await pair.settle()
        yield pair
    finally:
        for node in cities.nodes.values():
            node.resume()
        await cities.stop()
        shutil.rmtree(folder, ignore_errors=True)
