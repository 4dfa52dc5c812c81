# SPDX-License-Identifier: Apache-2.0
"""The demo's three cities: who is in them, how they are set up and started.

Set-up uses the same functions as the command line; running, each node is an
operating-system process of its own with its own keys, database, capture and log.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from pathlib import Path

from identity.root import fingerprint, open_root
from node.admission import accept_offline
from node.city_root import CityCard, write_root
from node.commands.api_client import NodeProblem, NodeUnreachable
from node.config import Settings
from node.demo.cable import Cable
from node.demo.processes import NodeProcess
from node.federating import Deal, countersign, propose
from node.new_city import CityAnswers, NewCity, create_city
from node.new_node import Answers, create
from node.system import SystemClock, system_entropy
from protocol.agreement import Terms
from protocol.ids import CityId, MunicipalCode, NodeId
from protocol.membership import Credentials, DataClass, Role
from protocol.suites import Suite

CLOCK = SystemClock()
MAX_AGE_S, EPOCH_S = 6, 2
"""T in the demo; in real cities 60 s (settings `trust.status_max_age_s`)."""

PASSPHRASE = b"demo only: this root key protects nothing"
YEAR_S = 366 * 86_400

CITIES = (
    ("hoshino", "011002", "星野市", "Hoshino"),
    ("minato", "131016", "湊市", "Minato"),
    ("yamanami", "222003", "山並市", "Yamanami"),
)


HALL = (Role.IDENTITY, Role.PORTAL)


@dataclass(frozen=True)
class Member:
    """A node of the demo."""

    node: str
    ja: str
    en: str
    roles: tuple[Role, ...] = (Role.VAULT,)
    qualifications: tuple[str, ...] = ("privacy-mark",)


MEMBERS = (
    Member("hoshino/hall", "星野市役所", "Hoshino City Hall", HALL),
    Member("minato/hall", "湊市役所", "Minato City Hall", HALL),
    Member("yamanami/hall", "山並市役所", "Yamanami City Hall", HALL),
    Member(
        "hoshino/clinic",
        "星野クリニック",
        "Hoshino Clinic",
        qualifications=("medical-institution",),
    ),
    Member(
        "hoshino/pharmacy",
        "星野薬局",
        "Hoshino Pharmacy",
        qualifications=("medical-institution",),
    ),
    Member("hoshino/market", "ほしのマーケット", "Hoshino Market"),
    Member("hoshino/transit", "星野市交通", "Hoshino Transit"),
    Member("minato/nursery", "みなと保育園", "Minato Nursery"),
    Member("minato/energy", "みなとエナジー", "Minato Energy"),
    Member(
        "yamanami/clinic",
        "山並診療所",
        "Yamanami Clinic",
        qualifications=("medical-institution",),
    ),
    Member(
        "yamanami/hospital",
        "山並総合病院",
        "Yamanami Hospital",
        qualifications=("medical-institution",),
    ),
    Member("yamanami/bosai", "山並防災センター", "Yamanami Bosai", qualifications=()),
)

_SHARED = Terms(
    dataset_types=("*",),
    purposes=("*",),
    data_classes=(DataClass.OPEN, DataClass.PERSONAL, DataClass.SPECIAL_CARE),
    transit=True,
    hop_limit=4,
)
_HEALTH_ONLY = _SHARED.model_copy(
    update={"data_classes": (DataClass.OPEN, DataClass.SPECIAL_CARE)}
)


def free_port() -> int:
    """Return a port on loopback that nobody uses now.

    Below those that systems give to callers: between now and the node's start, a
    connection of anybody could take one of these.
    """
    for _ in range(1000):
        port = 20_000 + int.from_bytes(system_entropy(2), "big") % 12_000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free on loopback")


@dataclass
class Cities:
    """Everything that runs."""

    folder: Path
    suite: Suite
    cities: tuple[tuple[str, str, str, str], ...] = CITIES
    members: tuple[Member, ...] = MEMBERS
    nodes: dict[str, NodeProcess] = field(default_factory=dict)
    settings: dict[str, Settings] = field(default_factory=dict)
    cable: Cable | None = None
    _made: dict[str, NewCity] = field(default_factory=dict)

    # ---------------------------------------------------------------- set-up

    def found(self) -> None:
        """Make the cities and their agreements' keys; nothing runs yet."""
        for city, code, ja, en in self.cities:
            folder = self.folder / city
            made = create_city(
                CityAnswers(
                    city=CityId(city),
                    code=MunicipalCode(code),
                    title_ja=ja,
                    title_en=en,
                    suite=self.suite,
                    hosts=(self.host(f"{city}/broker"),),
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

    def host(self, node: str) -> str:
        """Return the address of the machine that a node runs on."""
        return "127.0.0.1"

    def _common(self, folder: Path) -> tuple[tuple[str, object], ...]:
        return (
            ("api.host", "127.0.0.1"),
            ("api.port", free_port()),
            ("link.host", "127.0.0.1"),
            ("trust.status_max_age_s", MAX_AGE_S),
            ("trust.status_epoch_s", EPOCH_S),
            ("metrics.open", True),
            ("capture.path", str(folder / "capture")),
        )

    def _add(self, node: str, settings: Settings) -> None:
        self.settings[node] = settings
        self.nodes[node] = NodeProcess(node, settings.data_dir)

    async def start(self) -> None:
        """Start brokers, conclude agreements, admit and start every member."""
        brokers = [self.nodes[f"{city}/broker"] for city, *_ in self.cities]
        for broker in brokers:
            await broker.start()
        await asyncio.gather(*(self.answering(b.node) for b in brokers))
        await self.federate()
        for member in self.members:
            await asyncio.to_thread(self._admit, member)
        for member in self.members:
            await self.nodes[member.node].start()
        await asyncio.gather(*(self.ready(node) for node in self.nodes))

    async def federate(self) -> None:
        """Let the cities agree, and plug in the home node's cable."""
        await asyncio.to_thread(self._agree, "hoshino", "minato", _SHARED, _SHARED)
        # Yamanami may ask for health data, not for shopping or mobility.
        await asyncio.to_thread(
            self._agree, "yamanami", "minato", _HEALTH_ONLY, _SHARED
        )
        self.cable = Cable(self._link_port("hoshino"))
        await self.cable.plug()

    def agree(self, a: str, b: str) -> None:
        """Let two running cities agree on everything."""
        self._agree(a, b, _SHARED, _SHARED)

    def _link_port(self, city: str) -> int:
        return self._made[city].broker.link.port

    def _agree(self, a: str, b: str, a_to_b: Terms, b_to_a: Terms) -> None:
        """One signed file each way, as docs/operations.md tells it."""
        ours, theirs = self._made[a], self._made[b]
        proposal = propose(
            ours.card,
            theirs.card,
            open_root(ours.root_file, PASSPHRASE),
            Deal(we_may=a_to_b, they_may=b_to_a),
            now_ms=CLOCK.now_ms(),
            entropy=system_entropy,
        )
        agreement = countersign(
            proposal.wire,
            open_root(theirs.root_file, PASSPHRASE),
            fingerprint(ours.card.root_key()),
        )
        for city in (a, b):
            self.nodes[f"{city}/broker"].api.upload("/v1/agreements", agreement.wire)

    def _admit(self, member: Member) -> None:
        node = NodeId(member.node)
        folder = self.folder / node.city / node.label
        card = self._made[node.city].card
        made = create(
            Answers(
                node=node,
                title_ja=member.ja,
                title_en=member.en,
                roles=member.roles,
                suite=self.suite,
                brokers=(self._broker_url(member.node, card),),
                key_file=self.folder / node.city / f"{node.label}.key",
                settings=self._common(folder),
            ),
            folder,
            now_ms=CLOCK.now_ms(),
            entropy=system_entropy,
        )
        write_root(made.settings.root_key_file, card.root_key())
        now = CLOCK.now_ms() // 1000
        admitted = self.nodes[f"{node.city}/broker"].api.post(
            "/v1/members",
            {
                "request": made.join_request.read_text(),
                "roles": list(member.roles),
                "qualifications": [
                    {"scheme": scheme, "until": now + YEAR_S}
                    for scheme in member.qualifications
                ],
                "data_classes": [str(c) for c in DataClass],
            },
        )
        accept_offline(
            made.settings, Credentials(**admitted), now=now, entropy=system_entropy
        )
        self._add(member.node, made.settings)

    def _broker_url(self, node: str, card: CityCard) -> str:
        """Return where a node dials; the hall of Hoshino hangs on the cable."""
        if node == "hoshino/hall" and self.cable is not None:
            return f"hoshino/broker@wss://127.0.0.1:{self.cable.port}/link"
        return card.brokers[0]

    def card(self, city: str) -> CityCard:
        """Return what a city hands out."""
        return self._made[city].card

    # ---------------------------------------------------------------- waiting

    async def answering(self, node: str, seconds: float = 60) -> None:
        """Wait until a node's operator can talk to it."""
        await self._until(node, "/healthz", seconds)

    async def ready(self, node: str, seconds: float = 60) -> None:
        """Wait until a node can work and knows all the cities."""
        await self._until(node, "/readyz", seconds)
        end = CLOCK.monotonic() + seconds
        while CLOCK.monotonic() < end:
            status = await asyncio.to_thread(self.nodes[node].api.get, "/v1/status")
            known = [c for c in status["cities"] if c["broker"]]
            if len(known) == len(self.cities):
                return
            await CLOCK.sleep(0.05)
        raise TimeoutError(f"{node} does not know all cities")

    async def _until(self, node: str, path: str, seconds: float) -> None:
        process, end = self.nodes[node], CLOCK.monotonic() + seconds
        while CLOCK.monotonic() < end:
            try:
                await asyncio.to_thread(process.api.get, path)
            except (NodeUnreachable, NodeProblem):
                if not process.running:
                    raise RuntimeError(f"{node} has ended; see {process.log}") from None
                await CLOCK.sleep(0.05)
            else:
                return
        raise TimeoutError(f"{node} is not ready; see {process.log}")

    async def stop(self) -> None:
        """End every process."""
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))
        if self.cable is not None:
            await self.cable.cut()

    def files(self) -> dict[str, dict[str, list[Path]]]:
        """Return what each node received, stored and logged."""
        return {
            name: {
                "received": [node.directory / "capture" / "received.bin"],
                "stored": sorted(node.directory.glob("node.sqlite3*")),
                "logged": [node.log],
            }
            for name, node in self.nodes.items()
        }
