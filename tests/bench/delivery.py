# SPDX-License-Identifier: Apache-2.0
"""Durable messages to 100 peers behind one broker, of which half are dead.

    python3 run.py bench delivery [--peers 100] [--each 50] [--json FILE]

A home node gives consents, each of which is a durable message to 50 recipients: by
default 2,500 to peers that are up and 2,500 to peers that are not. Sender, broker and
holder are processes of their own; the peers are whole nodes, half of them in one
process, the other half in one that is started later: they return. Measured: how long
the live ones take, what the sender keeps in memory, how long the returned ones take.
At the end every peer's consents are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from node.demo.cities import Member, free_port
from node.new_city import CityAnswers, create_city
from node.schema import prepare
from node.sqlite import file_engine
from node.system import system_entropy
from protocol.ids import CityId
from protocol.membership import Role
from protocol.suites import Suite
from tests.bench import cpu
from tests.bench.world import CHECKUP, CLOCK, HOLDER, HOME, LOCAL_ID, MEDICAL, World

CITY = "hoshino"
ROOT = Path(__file__).resolve().parents[2]
PASSPHRASE = b"lives as long as the measurement"
PER_CONSENT = 50
"""Recipients of one consent; 64 are allowed."""


def main(arguments: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="run.py bench delivery", description=__doc__)
    parser.add_argument("--peers", type=int, default=100, help="half of them are dead")
    parser.add_argument("--each", type=int, default=50, help="messages to each peer")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="machikura-bench-") as folder:
        crowd = Crowd(Path(folder), next(iter(Suite)), count=options.peers)
        _tell("founding a city")
        crowd.found()
        report = asyncio.run(_measure(crowd, options.each))
    _show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


@dataclass
class Crowd(World):
    """One city with a home node, a holder and many recipients."""

    count: int = 100
    template: Path = field(default=Path(), repr=False)

    @property
    def peers(self) -> list[str]:
        """All recipients; the first half is alive."""
        return [f"{CITY}/peer-{number:03}" for number in range(self.count)]

    def found(self) -> None:
        """Make the city; nothing runs yet."""
        folder = self.folder / CITY
        made = create_city(
            CityAnswers(
                city=CityId(CITY),
                title_ja="星野市",
                title_en="Hoshino",
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
        self._made[CITY] = made
        self._add(f"{CITY}/broker", made.broker)
        self.template = self.folder / "empty.sqlite3"
        engine = file_engine(self.template)
        prepare(engine)
        engine.dispose()

    async def start(self) -> None:
        """Start broker, home node and holder; admit the peers, which do not run."""
        await self.nodes[f"{CITY}/broker"].start()
        await self.answering(f"{CITY}/broker")
        for member in (
            Member(HOME, "星野市役所", "Hoshino City Hall", (Role.IDENTITY,)),
            Member(HOLDER, "星野クリニック", "Clinic", qualifications=MEDICAL),
        ):
            await asyncio.to_thread(self._admit, member)
            await self.nodes[member.node].start()
        for peer in self.peers:
            # Else each would migrate a database of its own.
            file = self.folder / CITY / peer.partition("/")[2] / "node.sqlite3"
            file.parent.mkdir(mode=0o700)
            shutil.copy(self.template, file)
            await asyncio.to_thread(
                self._admit, Member(peer, peer, peer, qualifications=MEDICAL)
            )
        await asyncio.gather(*(self.ready(node) for node in (HOME, HOLDER)))

    async def ready(self, node: str, seconds: float = 60) -> None:
        """Wait until a node can work."""
        await self._until(node, "/readyz", seconds)

    async def link(self) -> None:
        """Store a record, register and link the resident."""
        await self._post(
            HOLDER,
            "/v1/records",
            {
                "dataset_type": CHECKUP,
                "subject": LOCAL_ID,
                "content": {"date": "2026-10-01"},
            },
        )
        self._session = await self._sign_in()
        me = self.nodes[HOME].client(self._session)
        code = await asyncio.to_thread(me.post, "/v1/me/link-codes", {"holder": HOLDER})
        shown = {"home": HOME, "code": code["code"], "subject": LOCAL_ID}
        await self._post(HOLDER, "/v1/links", shown)

    async def give(self, recipients: list[str]) -> None:
        """Give a consent: a durable message to each recipient, and to the holder."""
        me = self.nodes[HOME].client(self._session)
        wish = {
            "recipients": recipients,
            "holders": [HOLDER],
            "scope": [{"dataset_type": CHECKUP}],
            "purposes": ["treatment"],
            "ends": CLOCK.now_ms() // 1000 + 30 * 86_400,
        }
        await asyncio.to_thread(me.post, "/v1/me/consents", wish)

    async def waiting(self) -> dict[str, int]:
        """Return how many messages wait at the sender, by destination."""
        outbox = await asyncio.to_thread(self.nodes[HOME].api.get, "/v1/outbox")
        if outbox["dead"]:
            raise RuntimeError(f"refused: {outbox['dead'][0]['reason']}")
        return {queue["destination"]: queue["waiting"] for queue in outbox["waiting"]}

    @asynccontextmanager
    async def running(self, peers: list[str]) -> AsyncIterator[None]:
        """Run some of the peers meanwhile, in one process."""
        files = [str(self.settings[peer].data_dir / "node.toml") for peer in peers]
        with (self.folder / "crowd.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.bench.crowd",
                *files,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
            )
        try:
            assert process.stdout is not None
            if await process.stdout.readline() != b"ready\n":
                raise RuntimeError((self.folder / "crowd.log").read_text()[-2_000:])
            yield
        finally:
            process.terminate()
            await process.wait()

    def received(self, peers: list[str]) -> list[int]:
        """Return how many consents each of these has on its disk."""
        counts = []
        for peer in peers:
            with closing(sqlite3.connect(self.settings[peer].database_file)) as file:
                query = "SELECT count(*) FROM received_consents"
                counts.append(int(file.execute(query).fetchone()[0]))
        return counts


async def _measure(crowd: Crowd, each: int) -> dict[str, Any]:
    half = crowd.count // 2
    live, dead = crowd.peers[:half], crowd.peers[half:]
    try:
        _tell(f"admitting {crowd.count} peers")
        await crowd.start()
        await crowd.link()
        _tell(f"starting {len(live)} peers")
        async with crowd.running(live):
            pid = crowd.pid(HOME)
            before = _start_peak(pid)
            spent = cpu.cpu_s(pid)
            _tell(f"queueing {each * crowd.count} messages")
            began = time.perf_counter()
            for _ in range(each):
                for group in (live, dead):
                    for first in range(0, len(group), PER_CONSENT):
                        await crowd.give(group[first : first + PER_CONSENT])
            queued_s = time.perf_counter() - began
            await _until(crowd, lambda left: not set(left) - set(dead), 300)
            live_s = time.perf_counter() - began
            spent = cpu.cpu_s(pid) - spent
            left = await crowd.waiting()
            peak = cpu.memory_kib(pid, "VmHWM")
            counts = crowd.received(live)
            _tell(f"{live_s:.1f} s; the others return")
            async with crowd.running(dead):
                returned = time.perf_counter()
                await _until(crowd, lambda left: not left, 600)
                back_s = time.perf_counter() - returned
                counts += crowd.received(dead)
            last = cpu.memory_kib(pid, "VmHWM")
    finally:
        await crowd.stop()
    if counts != [each] * crowd.count or left != dict.fromkeys(dead, each):
        raise RuntimeError(f"lost or doubled: {counts}, waiting {left}")
    return {
        "pace": asdict(cpu.pace()),
        "peers": crowd.count,
        "messages": each * crowd.count,
        "queued_s": queued_s,
        "live_drained_s": live_s,
        "sender_cpu_s": spent,
        "sender_mib": {
            "before": before / 1024,
            "peak_while_half_is_dead": peak / 1024,
            "peak_after_their_return": last / 1024,
        },
        "returned_drained_s": back_s,
    }


def _start_peak(pid: int) -> int:
    """Let the kernel count the peak anew: so far it is that of a sign-in (Argon2id)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return cpu.memory_kib(pid)


async def _until(crowd: Crowd, true: Any, seconds: float) -> None:
    end = time.perf_counter() + seconds
    while not true(left := await crowd.waiting()):
        if time.perf_counter() > end:
            raise TimeoutError(f"still waiting: {left}")
        await CLOCK.sleep(0.1)


def _tell(step: str) -> None:
    print(f"... {step}", file=sys.stderr, flush=True)


def _show(report: dict[str, Any]) -> None:
    half, live_s = report["messages"] // 2, report["live_drained_s"]
    lines = {
        "queued within, s": report["queued_s"],
        "live peers have all after, s": live_s,
        "  messages a second": half / live_s,
        "  sender's processor time, s": report["sender_cpu_s"],
        "returned peers have all after, s": report["returned_drained_s"],
        "sender's memory before, MiB": report["sender_mib"]["before"],
        "  peak while half is dead, MiB": report["sender_mib"][
            "peak_while_half_is_dead"
        ],
        "  peak after their return, MiB": report["sender_mib"][
            "peak_after_their_return"
        ],
    }
    print(
        f"{report['messages']} durable messages to {report['peers']} peers, half dead"
    )
    for words, figure in lines.items():
        print(f"  {words:34}{figure:8.1f}")
