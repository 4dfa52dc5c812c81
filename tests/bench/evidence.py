# SPDX-License-Identifier: Apache-2.0
"""What batch evidence costs: each exchange on its path, and each batch beside it.

    python3 run.py bench evidence [--json FILE]

Processor time of one party, without links and cryptography of the exchange itself: a
request of 4.5 kB with one hop record, an answer of 3 kB. The path is measured against
the same calls without a witness. The batch is made, signed, kept in a database in
memory, sent, verified, compared and kept by the other side.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from federation.route_store import KeptRoute, RouteStore
from federation.witness import AnswerDigests, Witness, WitnessedLink
from node.evidence.hops import HopDesk
from protocol.box import Box
from protocol.canonical import b64url, canonical
from protocol.envelope import VERSION
from protocol.hop import HopRecord, line
from protocol.ids import ExchangeId, NodeId
from protocol.request import HopProofQuery
from protocol.route_proof import HopProof
from protocol.signature import digest_of
from tests.bench.cpu import pace
from tests.node.evidence.pair import Pair, Side, exchange

_CALLS = 20_000
_BATCH = 1_000
_HOP = line(
    HopRecord(
        by=NodeId("hoshino/broker"),
        next="minato",
        at_ms=1_800_000_000_000,
        decision="forward",
        prev="A" * 43,
    )
)
_SEALED = bytes(range(256)) * 12
ANSWER = struct.pack(">BI", 1, 2 * len(_HOP)) + 2 * _HOP + _SEALED
PASSED = struct.pack(">BI", 1, 3 * len(_HOP)) + 3 * _HOP + _SEALED


def request(number: int) -> bytes:
    """Return a request as a second broker gets it."""
    claims = b64url(canonical({"id": exchange(number), "padding": "x" * 500}))
    token = f"{'h' * 200}.{claims}.{'s' * 86}".encode()
    prefix = struct.pack(">BII", VERSION, len(token), len(_HOP))
    return prefix + token + _HOP + bytes(3_000)


class Still:
    """A link that answers at once."""

    up = True
    rtt_ms: float | None = None

    async def request(self, payload: bytes, *, deadline_ms: int) -> bytes:
        """Answer."""
        return ANSWER

    def notify(self, payload: bytes) -> None:
        """Carry nothing."""

    def end(self) -> None:
        """End nothing."""


async def _timed(call: Callable[[], Awaitable[object]], witness: Witness) -> float:
    """Return microseconds of processor time for one call."""
    started = time.process_time_ns()
    for _ in range(_CALLS):
        await call()
        if len(witness.fresh) > 4_000:
            witness.fresh.clear()
    return (time.process_time_ns() - started) / _CALLS / 1000


async def path() -> dict[str, float]:
    """Return what an exchange costs on its path, for each party."""
    payload, link = request(1), Still()

    async def handle(_: bytes) -> bytes:
        return ANSWER

    def parts(relays: bool) -> tuple[Witness, WitnessedLink]:
        witness = Witness(AnswerDigests(relays=relays), lambda: 0, lambda now: None)
        return witness, WitnessedLink(link, witness)

    near, out = parts(False)
    relay, on = parts(True)
    bare_ask = await _timed(lambda: link.request(payload, deadline_ms=0), near)
    bare_answer = await _timed(lambda: handle(payload), near)

    async def passed(_: bytes) -> bytes:
        await on.request(payload, deadline_ms=0)
        return PASSED

    asked = await _timed(lambda: out.request(payload, deadline_ms=0), near)
    answered = await _timed(lambda: near.serve(payload, handle), near)
    relayed = await _timed(lambda: relay.serve(payload, passed), relay)
    return {
        "requester": asked - bare_ask,
        "holder": answered - bare_answer,
        "broker, both links": relayed - bare_ask - bare_answer,
    }


async def batch() -> dict[str, float]:
    """Return what a batch costs each exchange, at each side."""
    pair = await Pair().start()

    async def cost(side: Side, first: int) -> float:
        other = pair.far if side is pair.near else pair.near
        witness = side.desk.journal.party(other.node).book.witness
        for number in range(first, first + _BATCH):
            data = request(number)
            await (pair.out if side is pair.near else pair.back).request(
                data, deadline_ms=pair.clock.ms + 10_000
            )
        assert len(witness.fresh) == _BATCH
        started = time.process_time_ns()
        await side.desk.flush()
        await other.desk.flush()
        return (time.process_time_ns() - started) / 2 / _BATCH / 1000

    found = [await cost(pair.near, 10_000 * n) for n in range(1, 6)]
    assert not pair.near.alarms()
    return {f"batch of {_BATCH}, each side": median(found)}


async def kept() -> dict[str, float]:
    """Return what keeping hop records and routes costs each exchange."""
    pair = await Pair().start()
    side, count = pair.near, _BATCH
    box = Box(bytes(32))
    store = RouteStore(box=box, entropy=bytes)

    async def nobody(broker: NodeId, query: HopProofQuery) -> HopProof:
        return HopProof(broker=broker)

    hops = HopDesk(journal=side.desk.journal, routes=store, ask=nobody)
    lines = [
        line(
            HopRecord.decode(_HOP[:-1]).model_copy(
                update={"prev": digest_of(b"%d" % n)}
            )
        )
        for n in range(count)
    ]
    started = time.process_time_ns()
    for one in lines:
        hops.note(one, pair.clock.ms, side.node, None)
    await hops.make()
    broker = (time.process_time_ns() - started) / count / 1000
    chain = (3 * _HOP).decode()
    started = time.process_time_ns()
    routes = [
        KeptRoute(
            exchange=ExchangeId(exchange(n)),
            asked=True,
            at_ms=pair.clock.ms,
            request="A" * 43,
            chain=chain,
        )
        for n in range(count)
    ]
    await side.database.write(lambda c: store.add_routes(c, routes))
    end = (time.process_time_ns() - started) / count / 1000
    return {"hop record signed, broker": broker, "route kept, each end": end}


def main(arguments: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="run.py bench evidence")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    rounds = [asyncio.run(path()) for _ in range(3)]
    figures = {name: median(r[name] for r in rounds) for name in rounds[0]}
    figures.update(asyncio.run(batch()))
    figures.update(asyncio.run(kept()))
    slower = pace().slower
    print(f"microseconds of processor time an exchange; machine {slower:.2f} times the")
    print("quiet reference machine's loop")
    for name, value in figures.items():
        print(f"  {name:32} {value:6.1f}")
    if options.json:
        options.json.write_text(json.dumps({**figures, "pace": slower}, indent=1))


if __name__ == "__main__":
    raise SystemExit("python3 run.py bench evidence")
