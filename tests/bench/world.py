# SPDX-License-Identifier: Apache-2.0
"""Two cities with one agreement, as they are set up and run in earnest.

    requester minato/clinic -> minato/broker -> hoshino/broker -> holder hoshino/clinic

and hoshino/hall, the resident's home node. Every node is a `machikura serve` of its own
with its own keys, TLS links and durable database. Settings are the defaults (T = 60 s)
but for the local application's rate, which would otherwise be what is measured.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aiohttp import ClientSession, TCPConnector, encode_basic_auth

from identity.totp import code_at
from node.commands.api_client import NodeProblem
from node.demo.cities import PASSPHRASE, Cities, Member, free_port
from node.new_city import CityAnswers, create_city
from node.system import SystemClock, system_entropy
from protocol.agreement import Terms
from protocol.canonical import unb64url
from protocol.ids import CityId
from protocol.membership import DataClass, Role

HOLDER_CITY, REQUESTER_CITY = "hoshino", "minato"
CITIES = (
    (HOLDER_CITY, "星野市", "Hoshino"),
    (REQUESTER_CITY, "湊市", "Minato"),
)
HOME = "hoshino/hall"
HOLDER = "hoshino/clinic"
REQUESTER = "minato/clinic"
PATH = (REQUESTER, "minato/broker", "hoshino/broker", HOLDER)
"""The four processes of a read, in the order in which a request passes them."""

MEDICAL = ("medical-institution",)
MEMBERS = (
    Member(HOME, "星野市役所", "Hoshino City Hall", (Role.IDENTITY,)),
    Member(HOLDER, "星野クリニック", "Hoshino Clinic", qualifications=MEDICAL),
    Member(REQUESTER, "湊クリニック", "Minato Clinic", qualifications=MEDICAL),
)
TERMS = Terms(
    dataset_types=("*",),
    purposes=("*",),
    data_classes=(DataClass.OPEN, DataClass.PERSONAL, DataClass.SPECIAL_CARE),
    transit=False,
    hop_limit=2,
)
CHECKUP = "health.checkup"
LOCAL_ID = "H-0001"
CLOCK = SystemClock()

RECORD: dict[str, object] = {
    "date": "2026-10-01",
    "facility_name": "星野クリニック",
    "doctor_name": "佐藤一郎",
    "height_cm": 158.2,
    "weight_kg": 52.4,
    "bmi": 20.9,
    "waist_cm": 71.5,
    "systolic_mmhg": 118,
    "diastolic_mmhg": 74,
    "triglyceride_mgdl": 88,
    "hdl_mgdl": 64,
    "ldl_mgdl": 112,
    "ast_ul": 21,
    "alt_ul": 18,
    "ggt_ul": 24,
    "fasting_glucose_mgdl": 92,
    "hba1c_percent": 5.4,
    "creatinine_mgdl": 0.62,
    "egfr": 81.5,
    "uric_acid_mgdl": 4.4,
    "hemoglobin_gdl": 13.1,
    "ecg_finding": "洞調律。明らかな異常所見なし。" * 5,
    "chest_xray_finding": "肺野に活動性病変を認めない。心拡大なし。" * 5,
    "doctor_comment": "血圧、血糖とも基準範囲内。来年も受診すること。" * 7,
}
"""Some 1,500 bytes, all of them fields that the purpose `treatment` needs."""


@dataclass
class World(Cities):
    """The two cities; set up by the functions that the demo and the operators use.

    Attributes:
        places: the cities, with their names.
        agreed: which of them have an agreement, on `terms` both ways.
        people: the nodes beside the brokers.
        consent: id of the resident's consent.
        token: the requester's local application's bearer token.
    """

    places: tuple[tuple[str, str, str], ...] = CITIES
    agreed: tuple[tuple[str, str], ...] = ((HOLDER_CITY, REQUESTER_CITY),)
    terms: Terms = TERMS
    people: tuple[Member, ...] = MEMBERS
    consent: str = ""
    token: str = ""
    _session: str = field(default="", repr=False)

    # ---------------------------------------------------------------- set-up

    def found(self) -> None:
        """Make the two cities; nothing runs yet. Not on an event loop."""
        for city, ja, en in self.places:
            folder = self.folder / city
            made = create_city(
                CityAnswers(
                    city=CityId(city),
                    title_ja=ja,
                    title_en=en,
                    suite=self.suite,
                    hosts=("127.0.0.1",),
                    port=free_port(),
                    key_file=folder / "broker.key",
                    settings=self._common(folder / "broker"),
                ),
                folder,
                PASSPHRASE,
                now_ms=CLOCK.now_ms(),
                entropy=system_entropy,
            )
            self._made[city] = made
            self._add(f"{city}/broker", made.broker)

    def _common(self, folder: Path) -> tuple[tuple[str, object], ...]:
        return (
            ("api.host", "127.0.0.1"),
            ("api.port", free_port()),
            ("link.host", "127.0.0.1"),
            ("limits.client_rate_per_s", 1_000_000.0),
            ("limits.client_burst", 1_000_000),
        )

    async def start(self) -> None:
        """Start the brokers, conclude the agreements, admit and start the members."""
        brokers = [f"{city}/broker" for city, *_ in self.places]
        for broker in brokers:
            await self.nodes[broker].start()
        await asyncio.gather(*(self.answering(broker) for broker in brokers))
        for one, other in self.agreed:
            await asyncio.to_thread(self._agree, one, other, self.terms, self.terms)
        for member in self.people:
            await asyncio.to_thread(self._admit, member)
            await self.nodes[member.node].start()
        await asyncio.gather(*(self.ready(node) for node in self.nodes))

    async def ready(self, node: str, seconds: float = 60) -> None:
        """Wait until a node can work and knows every city."""
        await self._until(node, "/readyz", seconds)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = await asyncio.to_thread(self.nodes[node].api.get, "/v1/status")
            if sum(bool(c["broker"]) for c in status["cities"]) == len(self.places):
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(f"{node} does not know every city")

    # ------------------------------------------------------------- what is read

    async def fill(self) -> None:
        """Store the record, register and link the resident, take the consent."""
        await self._post(
            HOLDER,
            "/v1/records",
            {"dataset_type": CHECKUP, "subject": LOCAL_ID, "content": RECORD},
        )
        self._session = await self._sign_in()
        me = self.nodes[HOME].client(self._session)
        code = await asyncio.to_thread(me.post, "/v1/me/link-codes", {"holder": HOLDER})
        await self._post(
            HOLDER,
            "/v1/links",
            {"home": HOME, "code": code["code"], "subject": LOCAL_ID},
        )
        given = await asyncio.to_thread(
            me.post,
            "/v1/me/consents",
            {
                "recipients": [REQUESTER],
                "holders": [HOLDER],
                "scope": [{"dataset_type": CHECKUP}],
                "purposes": ["treatment"],
                "ends": CLOCK.now_ms() // 1000 + 30 * 86_400,
            },
        )
        self.consent = str(given["id"])
        await self._until_received()
        self.token = await self._register_application()

    async def _sign_in(self) -> str:
        password = "tsuki-ga-kirei-desu-ne"  # lives as long as the measurement
        account = await self._post(
            HOME,
            "/v1/residents",
            {"login": "hanako", "password": password, "name": "山田花子"},
        )
        secret = unb64url(account["totp_secret"])
        now = CLOCK.now_ms() // 1000
        await self._post(
            HOME,
            f"/v1/residents/{account['account']}/second-factor",
            {"code": code_at(secret, now - 30)},
        )
        session = await self._post(
            HOME,
            "/v1/sessions",
            {"login": "hanako", "password": password, "code": code_at(secret, now)},
        )
        return str(session["token"])

    async def _until_received(self) -> None:
        requester, end = self.nodes[REQUESTER].api, time.monotonic() + 30
        while True:
            try:
                await asyncio.to_thread(requester.get, f"/v1/consents/{self.consent}")
            except NodeProblem:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.02)
            else:
                return

    async def _register_application(self) -> str:
        """Register an application at the requester and get its access token."""
        client = await self._post(
            REQUESTER, "/v1/clients", {"id": "bench", "scopes": ["exchange:read"]}
        )
        form = {"grant_type": "client_credentials", "scope": "exchange:read"}
        basic = encode_basic_auth("bench", client["secret"])
        async with (
            ClientSession() as session,
            session.post(
                f"{self.api_url(REQUESTER)}/oauth/token",
                data=urlencode(form),
                headers={
                    "Authorization": basic,
                    "Content-Type": "application/x-www-form-urlencoded",
                },
            ) as answer,
        ):
            answer.raise_for_status()
            granted = await answer.json()
        return str(granted["access_token"])

    async def _post(self, node: str, path: str, body: object) -> Any:
        return await asyncio.to_thread(self.nodes[node].api.post, path, body)

    # ------------------------------------------------------------------ handles

    def api_url(self, node: str) -> str:
        """Return where a node's local applications reach it."""
        return f"http://127.0.0.1:{self.settings[node].api.port}"

    def pid(self, node: str) -> int:
        """Return the process id of a node."""
        pid = self.nodes[node].pid
        if pid is None:
            raise LookupError(f"{node} does not run")
        return pid

    @property
    def wish(self) -> bytes:
        """The body of one read."""
        return json.dumps(
            {"dataset_type": CHECKUP, "purpose": "treatment", "consent": self.consent}
        ).encode()


def kept_connections() -> TCPConnector:
    """Return a connector that keeps as many connections as there are requests."""
    return TCPConnector(limit=0)


def record_bytes() -> int:
    """Return the size of the record as the vault keeps it."""
    return len(json.dumps(RECORD, ensure_ascii=False).encode())
