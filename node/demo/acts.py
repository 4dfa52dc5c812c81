# SPDX-License-Identifier: Apache-2.0
"""What all acts of the demo share: the stage, its people, and calls with checks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from node.commands.api_client import ApiClient, NodeProblem
from node.demo.cities import CLOCK, Cities
from node.demo.report import Line, Report, Step
from node.system import system_entropy

HALL, CLINIC = "hoshino/hall", "hoshino/clinic"
FAR_CLINIC, FAR_HOSPITAL = "yamanami/clinic", "yamanami/hospital"
CHECKUP = "health.checkup"
DAY_S = 86_400


@dataclass
class Stage:
    """The running cities, the report, and what acts hand on to each other."""

    cities: Cities
    report: Report
    started: float
    session: str = ""
    account: str = ""
    totp: bytes = b""
    canaries: dict[str, str] = field(default_factory=dict)
    consents: dict[str, str] = field(default_factory=dict)
    records: list[str] = field(default_factory=list)

    def api(self, node: str) -> ApiClient:
        """Return the operator's way into a node."""
        return self.cities.nodes[node].api

    def me(self) -> ApiClient:
        """Return the resident's way into the home node."""
        return self.cities.nodes[HALL].client(self.session)

    def plant(self, name: str) -> str:
        """Return a fresh canary string and remember it."""
        text = f"CANARY-{name.upper()}-{system_entropy(8).hex()}"
        self.canaries[name] = text
        return text

    def now(self) -> int:
        """Seconds since 1970."""
        return CLOCK.now_ms() // 1000

    async def read(self, node: str, **wish: Any) -> Read:
        """Let a node read from others, and time it."""
        started = CLOCK.monotonic()
        try:
            document = await asyncio.to_thread(
                self.api(node).post, "/v1/exchanges/read", wish
            )
        except NodeProblem as problem:
            document = problem.document
        return Read(document, 1000 * (CLOCK.monotonic() - started))

    async def consent(self, recipient: str, **wish: Any) -> str:
        """Give a consent and wait until the recipient has it."""
        body = {
            "recipients": [recipient],
            "holders": [CLINIC],
            "scope": [{"dataset_type": CHECKUP}],
            "purposes": ["treatment"],
            "ends": self.now() + 30 * DAY_S,
            **wish,
        }
        given = await asyncio.to_thread(self.me().post, "/v1/me/consents", body)
        identifier = str(given["id"])
        await self.until_received(recipient, identifier)
        return identifier

    async def until_received(self, recipient: str, consent: str) -> None:
        """Wait until a recipient has a consent."""
        end = CLOCK.monotonic() + 30
        while CLOCK.monotonic() < end:
            try:
                await asyncio.to_thread(
                    self.api(recipient).get, f"/v1/consents/{consent}"
                )
            except NodeProblem:
                await CLOCK.sleep(0.02)
            else:
                return
        raise TimeoutError(f"{recipient} did not get the consent")

    def check(self, step: Step, text: str, good: bool, **more: Any) -> Line:
        """Add a line to a step."""
        return self.report.line(step, Line(text, good, **more))


@dataclass(frozen=True)
class Read:
    """The outcome of one federated read, as the application sees it."""

    document: dict[str, Any]
    took_ms: float

    @property
    def first(self) -> dict[str, Any]:
        """What the first holder said."""
        results = self.document.get("results") or [{}]
        return dict(results[0])

    @property
    def records(self) -> list[dict[str, Any]]:
        """Released records."""
        return list(self.first.get("records") or [])

    @property
    def code(self) -> str | None:
        """Problem code, None if records were released."""
        problem = self.first.get("problem")
        if problem:
            return str(problem["code"])
        return self.document.get("code")

    @property
    def hops(self) -> list[str]:
        """Brokers that carried it."""
        return [str(hop["by"]) for hop in self.first.get("hops") or []]

    def explained(self) -> list[str]:
        """Cause and remedy of a refusal, in both languages."""
        problem = self.first.get("problem") or self.document
        by = problem.get("by")
        who = f" (said by {by}, signed)" if by and problem.get("signed") else ""
        return [
            f"cause: {problem.get('title_en', '')} {problem.get('title_ja', '')}{who}",
            f"remedy: {problem.get('remedy_en', '')} {problem.get('remedy_ja', '')}",
        ]
