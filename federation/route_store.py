# SPDX-License-Identifier: Apache-2.0
"""Hop batches of a broker, and routes of our own exchanges, on disk."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from federation.evidence_store import Head
from federation.evidence_tables import hop_batches, routes
from protocol.box import NONCE_BYTES, Box
from protocol.ids import ExchangeId
from protocol.model import Digest, Document, Millis
from protocol.route_proof import HOP_BATCH, HopBatch, HopProof
from protocol.signature import Received

_LOOKED_AT = 64
_MAX_ENTRIES_BYTES = 32 << 20


class HopEntry(NamedTuple):
    """One line that this broker has added.

    Attributes:
        line: as it travelled.
        sender: whose exchange it was.
        member: node of our city that it was handed over to, None for another broker.
    """

    line: bytes
    sender: str
    member: str | None


@dataclass(frozen=True)
class KeptHops:
    """A hop batch with its lines."""

    body: HopBatch
    token: str
    digest: str
    kid: str
    entries: Sequence[HopEntry]


class KeptRoute(Document):
    """What is kept of an exchange that we asked or answered.

    Attributes:
        exchange, asked, at_ms: which, whether we asked, and when.
        request: digest of the routing header.
        chain: hop records as they travelled.
        proofs: what the brokers have said, in the order of the chain.
        checked_ms: when that was, absent before.
    """

    exchange: ExchangeId
    asked: bool
    at_ms: Millis
    request: Digest
    chain: str
    proofs: tuple[HopProof, ...] = ()
    checked_ms: Millis | None = None


class RouteStore:
    """Reads and writes them, sealed under a key of the node."""

    def __init__(self, *, box: Box, entropy: Callable[[int], bytes]) -> None:
        """Take the key, and chance for nonces."""
        self._box = box
        self._entropy = entropy

    # -------------------------------------------------------------- hop batches

    def add_hops(self, connection: Connection, batch: KeptHops) -> None:
        """Keep a hop batch of our own."""
        body = batch.body
        rows = [(e.line.decode(), e.sender, e.member) for e in batch.entries]
        packed = zlib.compress(orjson.dumps(rows), 1)
        place = "hops", body.stream, str(body.seq)
        connection.execute(
            insert(hop_batches).values(
                stream=body.stream,
                seq=body.seq,
                from_ms=body.from_ms,
                to_ms=body.to_ms,
                digest=batch.digest,
                kid=batch.kid,
                statement=batch.token,
                entries=self._box.seal(self._entropy(NONCE_BYTES), packed, *place),
            )
        )

    def hops_head(self, connection: Connection, stream: str) -> Head | None:
        """Return the newest hop batch of a chain."""
        c = hop_batches.c
        row = connection.execute(
            select(c.seq, c.digest)
            .where(c.stream == stream)
            .order_by(c.seq.desc())
            .limit(1)
        ).first()
        return None if row is None else Head(stream, row.seq, row.digest)

    def hops_between(
        self, connection: Connection, since_ms: int, until_ms: int
    ) -> list[KeptHops]:
        """Return hop batches that touch a time, the newest first, at most 64."""
        c = hop_batches.c
        rows = connection.execute(
            select(hop_batches)
            .where(c.to_ms >= since_ms, c.from_ms <= until_ms)
            .order_by(c.to_ms.desc())
            .limit(_LOOKED_AT)
        )
        found = []
        for row in rows:
            place = "hops", row.stream, str(row.seq)
            packed = self._box.open(bytes(row.entries), *place)
            unpacked = zlib.decompressobj().decompress(packed, _MAX_ENTRIES_BYTES)
            entries = [
                HopEntry(line.encode(), sender, member)
                for line, sender, member in orjson.loads(unpacked)
            ]
            body = Received.parse(row.statement, HOP_BATCH).peek(HopBatch)
            found.append(KeptHops(body, row.statement, row.digest, row.kid, entries))
        return found

    # ------------------------------------------------------------------- routes

    def add_routes(self, connection: Connection, kept: Iterable[KeptRoute]) -> None:
        """Keep routes of exchanges; the last of one exchange and role stays."""
        rows = {(route.exchange, route.asked): route for route in kept}
        if not rows:
            return
        c, made = routes.c, [self._row(route) for route in rows.values()]
        same = c.exchange == bindparam("kept"), c.role == bindparam("as_role")
        # Both are compiled once and run by the driver for all rows.
        connection.execute(
            delete(routes).where(*same),
            [{"kept": row["exchange"], "as_role": row["role"]} for row in made],
        )
        connection.execute(insert(routes), made)

    def update_route(
        self, connection: Connection, route: KeptRoute, verdict: str
    ) -> None:
        """Keep what brokers have said about a route."""
        c, row = routes.c, self._row(route)
        connection.execute(
            update(routes)
            .where(c.exchange == route.exchange, c.role == row["role"])
            .values(sealed=row["sealed"], verdict=verdict)
        )

    def routes_of(
        self, connection: Connection, exchange: ExchangeId
    ) -> list[tuple[KeptRoute, str]]:
        """Return what is kept of an exchange, with its verdict, empty if unknown."""
        found = connection.execute(
            select(routes).where(routes.c.exchange == exchange)
        ).fetchall()
        return [
            (
                KeptRoute.decode(
                    self._box.open(bytes(r.sealed), "route", r.exchange, r.role),
                    _MAX_ENTRIES_BYTES,
                ),
                r.verdict,
            )
            for r in found
        ]

    def _row(self, route: KeptRoute) -> dict[str, object]:
        role = _role(route.asked)
        sealed = self._box.seal(
            self._entropy(NONCE_BYTES), route.encode(), "route", route.exchange, role
        )
        return {
            "exchange": route.exchange,
            "role": role,
            "at_ms": route.at_ms,
            "verdict": "",
            "sealed": sealed,
        }

    def purge(self, connection: Connection, before_ms: int) -> None:
        """Delete hop batches, but the newest of each chain, and routes of before."""
        c, newer = hop_batches.c, hop_batches.alias("newer")
        has_newer = (
            select(newer.c.seq)
            .where(newer.c.stream == c.stream, newer.c.seq > c.seq)
            .exists()
        )
        connection.execute(delete(hop_batches).where(c.to_ms < before_ms, has_newer))
        connection.execute(delete(routes).where(routes.c.at_ms < before_ms))


def _role(asked: bool) -> str:
    return "asked" if asked else "answered"
