# SPDX-License-Identifier: Apache-2.0
"""Signed batches and alarms on disk.

All functions take the caller's connection. Leaves are sealed under a key of the node
and bound to the place of their batch, so that rows cannot be exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import (
    Connection,
    RowMapping,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from federation.evidence import Finding, Key
from federation.evidence_tables import alarms, batches, signers, state
from protocol.box import NONCE_BYTES, Box
from protocol.evidence import (
    LINK_BATCH,
    REQUEST,
    Leaf,
    LinkBatch,
    decode_leaf,
    split,
)
from protocol.ids import NodeId
from protocol.membership import Credentials
from protocol.signature import Received

OWN, PEER = "own", "peer"
MAX_ALARMS = 1_000
"""Alarms of one peer by name; further ones are counted in one alarm, `many`."""
_LOOKED_AT = 64
_SEARCHED = 256


@dataclass(frozen=True)
class Head:
    """The newest batch of a chain."""

    stream: str
    seq: int
    digest: str


@dataclass(frozen=True)
class Batch:
    """One signed batch with its leaves.

    Attributes:
        peer: with whom, whoever signed.
        side: `OWN` or `PEER`.
        open: own leaves that the peer has not confirmed.
    """

    peer: NodeId
    side: str
    body: LinkBatch
    token: str
    digest: str
    kid: str
    leaves: bytes
    open: int = 0

    def read(self) -> list[Leaf]:
        """Return the leaves; they were checked before they were kept."""
        return [decode_leaf(part) for part in split(self.leaves)]


@dataclass(frozen=True)
class Alarm:
    """Something an operator must look at."""

    id: int
    peer: str
    kind: str
    subject: str
    detail: str
    count: int
    first_ms: int
    last_ms: int
    acknowledged_ms: int | None
    has_proof: bool


class EvidenceStore:
    """Reads and writes batches, signers, alarms and the journal's own state."""

    def __init__(self, *, box: Box, entropy: Callable[[int], bytes]) -> None:
        """Take the key under which leaves are sealed, and chance for nonces."""
        self._box = box
        self._entropy = entropy

    # ------------------------------------------------------------------ batches

    def add(self, connection: Connection, batch: Batch) -> None:
        """Keep a batch; its place must be free."""
        body = batch.body
        place = _place(batch.peer, batch.side, body.stream, body.seq)
        connection.execute(
            insert(batches).values(
                peer=batch.peer,
                side=batch.side,
                stream=body.stream,
                seq=body.seq,
                from_ms=body.from_ms,
                to_ms=body.to_ms,
                open=batch.open,
                digest=batch.digest,
                kid=batch.kid,
                statement=batch.token,
                leaves=self._box.seal(self._entropy(NONCE_BYTES), batch.leaves, *place),
            )
        )

    def close(self, connection: Connection, peer: NodeId, seqs: Iterable[int]) -> None:
        """Note that the peer has confirmed everything in own batches."""
        wanted = list(seqs)
        if wanted:
            c = batches.c
            connection.execute(
                update(batches)
                .where(c.peer == peer, c.side == OWN, c.seq.in_(wanted))
                .values(open=0)
            )

    def head(
        self, connection: Connection, peer: NodeId, side: str, stream: str
    ) -> Head | None:
        """Return the newest batch of a chain, None if there is none."""
        c = batches.c
        row = connection.execute(
            select(c.seq, c.digest)
            .where(c.peer == peer, c.side == side, c.stream == stream)
            .order_by(c.seq.desc())
            .limit(1)
        ).first()
        return None if row is None else Head(stream, row.seq, row.digest)

    def get(
        self, connection: Connection, peer: NodeId, side: str, stream: str, seq: int
    ) -> Batch | None:
        """Return one batch, None if it is not kept."""
        c = batches.c
        row = connection.execute(
            select(batches).where(
                c.peer == peer, c.side == side, c.stream == stream, c.seq == seq
            )
        ).first()
        return None if row is None else self._batch(row._mapping)

    def oldest(self, connection: Connection, peer: NodeId, stream: str) -> int:
        """Return the lowest number of an own chain that is still kept."""
        c = batches.c
        found = connection.execute(
            select(func.min(c.seq)).where(
                c.peer == peer, c.side == OWN, c.stream == stream
            )
        ).scalar()
        return int(found or 0)

    def between(
        self,
        connection: Connection,
        peer: NodeId,
        side: str,
        since_ms: int,
        until_ms: int,
        *,
        after: tuple[str, int] | None = None,
        limit: int = _LOOKED_AT,
    ) -> list[Batch]:
        """Return batches that touch a time, by chain and number."""
        c = batches.c
        query = select(batches).where(
            c.peer == peer,
            c.side == side,
            c.to_ms >= since_ms,
            c.from_ms <= until_ms,
        )
        if after is not None:
            stream, seq = after
            query = query.where(
                or_(c.stream > stream, and_(c.stream == stream, c.seq > seq))
            )
        rows = connection.execute(query.order_by(c.stream, c.seq).limit(limit))
        return [self._batch(row._mapping) for row in rows]

    def unsettled(self, connection: Connection, peer: NodeId) -> list[Batch]:
        """Return the newest own batches with something that the peer must confirm."""
        c = batches.c
        rows = connection.execute(
            select(batches)
            .where(c.peer == peer, c.side == OWN, c.open > 0)
            .order_by(c.to_ms.desc())
            .limit(_LOOKED_AT)
        ).fetchall()
        return [self._batch(row._mapping) for row in reversed(rows)]

    def find(
        self, connection: Connection, peer: NodeId, requests: Collection[bytes]
    ) -> dict[Key, Leaf]:
        """Return own leaves by the digests of their requests, from the newest batches.

        At most `_SEARCHED` batches are opened.
        """
        c = batches.c
        rows = connection.execute(
            select(c.stream, c.seq, c.leaves)
            .where(c.peer == peer, c.side == OWN)
            .order_by(c.to_ms.desc())
            .limit(_SEARCHED)
        )
        found: dict[Key, Leaf] = {}
        for row in rows:
            place = _place(peer, OWN, row.stream, row.seq)
            for part in split(self._box.open(bytes(row.leaves), *place)):
                if part[REQUEST] in requests:
                    leaf = decode_leaf(part)
                    found.setdefault((leaf.asked, leaf.request), leaf)
        return found

    def peers(self, connection: Connection) -> list[NodeId]:
        """Return everybody with whom there are batches."""
        rows = connection.execute(select(batches.c.peer).distinct())
        return sorted(NodeId(row.peer) for row in rows)

    def _batch(self, row: RowMapping) -> Batch:
        peer, side = NodeId(row["peer"]), row["side"]
        place = _place(peer, side, row["stream"], row["seq"])
        received = Received.parse(row["statement"], LINK_BATCH)
        return Batch(
            peer,
            side,
            received.peek(LinkBatch),
            row["statement"],
            row["digest"],
            row["kid"],
            self._box.open(bytes(row["leaves"]), *place),
            row["open"],
        )

    # ------------------------------------------------------------------ signers

    def note_signer(
        self, connection: Connection, kid: str, node: NodeId, shown: Credentials
    ) -> None:
        """Keep the credentials that a key was proven with, once."""
        c = signers.c
        if connection.execute(select(c.kid).where(c.kid == kid)).first() is None:
            connection.execute(
                insert(signers).values(kid=kid, node=node, credentials=shown.encode())
            )

    def signer(self, connection: Connection, kid: str) -> Credentials | None:
        """Return the credentials of a key that signed a batch."""
        row = connection.execute(
            select(signers.c.credentials).where(signers.c.kid == kid)
        ).first()
        return None if row is None else Credentials.decode(bytes(row.credentials))

    # ------------------------------------------------------------------- alarms

    def alarm(
        self,
        connection: Connection,
        peer: NodeId,
        finding: Finding,
        now_ms: int,
        proof: bytes | None = None,
    ) -> bool:
        """Raise an alarm; one that is there is counted, and open again.

        Returns:
            Whether it is new.
        """
        c = alarms.c
        kind, subject = finding.kind, finding.subject
        here = and_(c.peer == peer, c.kind == kind, c.subject == subject)
        changed = connection.execute(
            update(alarms)
            .where(here)
            .values(last_ms=now_ms, count=c.count + 1, acknowledged_ms=None)
        )
        if changed.rowcount:
            return False
        if subject != "many":
            number = connection.execute(
                select(func.count()).select_from(alarms).where(c.peer == peer)
            ).scalar()
            if int(number or 0) >= MAX_ALARMS:
                many = Finding(kind, "many", "more than are kept by name")
                return self.alarm(connection, peer, many, now_ms)
        connection.execute(
            insert(alarms).values(
                peer=peer,
                kind=kind,
                subject=subject,
                detail=finding.detail[:512],
                count=1,
                first_ms=now_ms,
                last_ms=now_ms,
                proof=proof,
            )
        )
        return True

    def alarms(
        self, connection: Connection, *, everything: bool = False, limit: int = 1000
    ) -> list[Alarm]:
        """Return open alarms, or all, the newest first."""
        query = select(alarms).order_by(alarms.c.last_ms.desc(), alarms.c.id.desc())
        if not everything:
            query = query.where(alarms.c.acknowledged_ms.is_(None))
        return [
            Alarm(
                id=row.id,
                peer=row.peer,
                kind=row.kind,
                subject=row.subject,
                detail=row.detail,
                count=row._mapping["count"],
                first_ms=row.first_ms,
                last_ms=row.last_ms,
                acknowledged_ms=row.acknowledged_ms,
                has_proof=row.proof is not None,
            )
            for row in connection.execute(query.limit(limit))
        ]

    def count_open(self, connection: Connection) -> int:
        """Return how many alarms nobody has acknowledged."""
        open_ = alarms.c.acknowledged_ms.is_(None)
        query = select(func.count()).select_from(alarms).where(open_)
        return int(connection.execute(query).scalar() or 0)

    def acknowledge(self, connection: Connection, number: int, now_ms: int) -> bool:
        """Note that an operator has seen an alarm; False if there is none."""
        changed = connection.execute(
            update(alarms).where(alarms.c.id == number).values(acknowledged_ms=now_ms)
        )
        return changed.rowcount > 0

    def proof(self, connection: Connection, number: int) -> bytes | None:
        """Return what was kept with an alarm as proof."""
        row = connection.execute(
            select(alarms.c.proof).where(alarms.c.id == number)
        ).first()
        return None if row is None or row.proof is None else bytes(row.proof)

    # -------------------------------------------------------------------- state

    def value(self, connection: Connection, name: str) -> str | None:
        """Return a value that outlives the process."""
        row = connection.execute(
            select(state.c.value).where(state.c.name == name)
        ).first()
        return None if row is None else str(row.value)

    def set_value(self, connection: Connection, name: str, value: str) -> None:
        """Keep a value."""
        connection.execute(delete(state).where(state.c.name == name))
        connection.execute(insert(state).values(name=name, value=value))

    def purge(self, connection: Connection, before_ms: int) -> int:
        """Delete batches and seen alarms of before a time; return how many.

        The newest batch of each chain stays: the next one is numbered after it.
        """
        c, newer = batches.c, batches.alias("newer")
        has_newer = (
            select(newer.c.seq)
            .where(
                newer.c.peer == c.peer,
                newer.c.side == c.side,
                newer.c.stream == c.stream,
                newer.c.seq > c.seq,
            )
            .exists()
        )
        gone = connection.execute(
            delete(batches).where(c.to_ms < before_ms, has_newer)
        ).rowcount
        seen = and_(alarms.c.acknowledged_ms.is_not(None), alarms.c.last_ms < before_ms)
        return gone + connection.execute(delete(alarms).where(seen)).rowcount


def _place(peer: NodeId, side: str, stream: str, seq: int) -> tuple[str, ...]:
    return "evidence", peer, side, stream, str(seq)
