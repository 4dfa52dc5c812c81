# SPDX-License-Identifier: Apache-2.0
"""Reads of this organization that wait for their holders, and what came of them.

A waiting read is a wish and, for each holder that it asks, a place: when it is tried
next, or how it ended. Wish and results are sealed under the key of the person whom they
are about, so they die with it; when the consent ends, the results go and the places say
why. An outcome is kept in the transaction that records the reception.

Wish and outcome are bytes here; what stands in them is the caller's matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from sqlalchemy import Connection, delete, func, insert, select, update

from vault.keyring import Keyring, SubjectId
from vault.received import ReceivedRecords
from vault.tables import waiting_holders, waiting_reads

State: TypeAlias = Literal["waiting", "answered", "refused"]
_MAX_REASON: Final = 64
_r, _h = waiting_reads.c, waiting_holders.c


@dataclass(frozen=True, slots=True)
class Place:
    """One holder of a waiting read.

    Attributes:
        number: its place in the consent.
        wait: the name of this wait between us and its city's broker.
        city: of the holder.
        state: `waiting`, `answered` or `refused`.
        failures: attempts in vain.
        next_ms: when it is tried next; None once it has ended.
        reason: code of the last refusal, empty without.
    """

    number: int
    wait: str
    city: str
    state: State = "waiting"
    failures: int = 0
    next_ms: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WaitingRead:
    """A waiting read without its results.

    Attributes:
        id: its name toward the application.
        subject: whom it is about; `NOBODY` where no consent says.
        client: who asked.
        created_ms, until_ms, ended_ms: when; None while it waits.
        wish: what was asked, as given.
    """

    id: str
    subject: SubjectId
    client: str
    created_ms: int
    until_ms: int
    ended_ms: int | None
    callback_failures: int
    wish: bytes


class WaitingReads:
    """Keeps waiting reads."""

    def __init__(self, *, keyring: Keyring, received: ReceivedRecords) -> None:
        self._keyring = keyring
        self._received = received

    # ------------------------------------------------------------------ beginning

    def add(
        self,
        connection: Connection,
        read: WaitingRead,
        places: list[Place],
        *,
        issuer: str,
        consent: str,
    ) -> None:
        """Keep a read that is to wait; every place is due at `next_ms`."""
        connection.execute(
            insert(waiting_reads).values(
                id=read.id,
                subject=read.subject,
                consent_index=self._received.index(issuer, consent),
                client=read.client,
                created_ms=read.created_ms,
                until_ms=read.until_ms,
                callback_failures=0,
                sealed=self._seal(connection, read.subject, read.wish, read.id),
            )
        )
        for place in places:
            connection.execute(
                insert(waiting_holders).values(
                    read=read.id,
                    place=place.number,
                    wait=place.wait,
                    city=place.city,
                    state=place.state,
                    failures=0,
                    next_ms=place.next_ms,
                )
            )

    def count(self, connection: Connection, client: str | None = None) -> int:
        """Return how many reads are kept, of one client or of all."""
        query = select(func.count()).select_from(waiting_reads)
        if client is not None:
            query = query.where(_r.client == client)
        return connection.execute(query).scalar() or 0

    # --------------------------------------------------------------------- looking

    def get(
        self, connection: Connection, read: str, client: str | None = None
    ) -> WaitingRead | None:
        """Return a read, None if there is none, or it is another client's."""
        row = connection.execute(select(waiting_reads).where(_r.id == read)).first()
        if row is None or client not in (None, row.client):
            return None
        subject = SubjectId(row.subject)
        wish = self._keyring.open(connection, subject, row.sealed, "waiting", read)
        return WaitingRead(
            id=row.id,
            subject=subject,
            client=row.client,
            created_ms=row.created_ms,
            until_ms=row.until_ms,
            ended_ms=row.ended_ms,
            callback_failures=row.callback_failures,
            wish=wish,
        )

    def ids(self, connection: Connection, client: str | None, limit: int) -> list[str]:
        """Return the reads of a client, or all, the newest first."""
        query = select(_r.id).order_by(_r.created_ms.desc(), _r.id.desc())
        if client is not None:
            query = query.where(_r.client == client)
        return list(connection.execute(query.limit(limit)).scalars())

    def places(self, connection: Connection, read: str) -> list[Place]:
        """Return the holders of a read, in their order."""
        rows = connection.execute(
            select(*_PLACE).where(_h.read == read).order_by(_h.place)
        )
        return [Place(*row) for row in rows]

    def outcome(
        self, connection: Connection, read: WaitingRead, place: int
    ) -> bytes | None:
        """Return what came of one place; None while it waits, or if it was removed."""
        sealed = connection.execute(
            select(_h.sealed).where(_h.read == read.id, _h.place == place)
        ).scalar()
        if sealed is None:
            return None
        where = _where(read.id, place)
        return self._keyring.open(connection, read.subject, sealed, "waiting", where)

    # ---------------------------------------------------------------------- working

    def due(self, connection: Connection, limit: int) -> list[tuple[str, int, int]]:
        """Return read, place and time of the attempts that are due first."""
        rows = connection.execute(
            select(_h.read, _h.place, _h.next_ms)
            .where(_h.next_ms.is_not(None))
            .order_by(_h.next_ms)
            .limit(limit)
        )
        return [(read, place, next_ms) for read, place, next_ms in rows]

    def postpone(
        self,
        connection: Connection,
        read: str,
        place: int,
        *,
        failures: int,
        next_ms: int,
        reason: str,
    ) -> None:
        """Say when a place that still waits is tried next."""
        connection.execute(
            update(waiting_holders)
            .where(_h.read == read, _h.place == place, _h.state == "waiting")
            .values(failures=failures, next_ms=next_ms, reason=reason[:_MAX_REASON])
        )

    def told(
        self, connection: Connection, wait: str, city: str, now_ms: int
    ) -> tuple[str, int] | None:
        """Make the place due whose holder's city says that it is back.

        Returns:
            Read and place; None where nothing of ours waits there under that name.
        """
        row = connection.execute(
            select(_h.read, _h.place).where(
                _h.wait == wait, _h.city == city, _h.state == "waiting"
            )
        ).first()
        if row is None:
            return None
        self.postpone(
            connection,
            row.read,
            row.place,
            failures=0,
            next_ms=now_ms,
            reason="node-away",
        )
        return row.read, row.place

    def settle(
        self,
        connection: Connection,
        read: WaitingRead,
        place: int,
        *,
        state: State,
        reason: str,
        outcome: bytes,
        now_ms: int,
        callback: bool,
    ) -> bool:
        """Keep how a place ended, once; the last one ends the read.

        Args:
            connection: the transaction that records the reception.
            read: which read.
            place: which of its holders.
            state: `answered` or `refused`.
            reason: code of a refusal.
            outcome: to be shown to the application.
            now_ms: clock.
            callback: the application wants to be called when all have ended.

        Returns:
            False if it has ended before, or the read is gone.
        """
        where = _where(read.id, place)
        sealed = self._keyring.seal(connection, read.subject, outcome, "waiting", where)
        changed = connection.execute(
            update(waiting_holders)
            .where(_h.read == read.id, _h.place == place, _h.state == "waiting")
            .values(
                state=state, next_ms=None, reason=reason[:_MAX_REASON], sealed=sealed
            )
        )
        self._end(connection, read.id, now_ms, callback)
        return changed.rowcount == 1

    def _end(
        self, connection: Connection, read: str, now_ms: int, callback: bool
    ) -> None:
        left = select(_h.place).where(_h.read == read, _h.state == "waiting")
        if connection.execute(left.limit(1)).first() is None:
            connection.execute(
                update(waiting_reads)
                .where(_r.id == read, _r.ended_ms.is_(None))
                .values(ended_ms=now_ms, callback_ms=now_ms if callback else None)
            )

    # -------------------------------------------------------------------- callbacks

    def due_callbacks(
        self, connection: Connection, limit: int
    ) -> list[tuple[str, int]]:
        """Return reads whose application is to be called, and when, the first first."""
        rows = connection.execute(
            select(_r.id, _r.callback_ms)
            .where(_r.callback_ms.is_not(None))
            .order_by(_r.callback_ms)
            .limit(limit)
        )
        return [(read, at_ms) for read, at_ms in rows]

    def set_callback(
        self, connection: Connection, read: str, at_ms: int | None, failures: int
    ) -> None:
        """Say when an application is called next; None never again."""
        connection.execute(
            update(waiting_reads)
            .where(_r.id == read)
            .values(callback_ms=at_ms, callback_failures=failures)
        )

    # ----------------------------------------------------------------------- ending

    def remove(self, connection: Connection, read: str) -> bool:
        """Delete a read with what came of it; return whether it was there."""
        connection.execute(delete(waiting_holders).where(_h.read == read))
        gone = connection.execute(delete(waiting_reads).where(_r.id == read))
        return gone.rowcount == 1

    def remove_person(self, connection: Connection, subject: SubjectId) -> int:
        """Delete every read about a person; return how many."""
        of_person = select(_r.id).where(_r.subject == subject)
        connection.execute(delete(waiting_holders).where(_h.read.in_(of_person)))
        return connection.execute(
            delete(waiting_reads).where(_r.subject == subject)
        ).rowcount

    def end_consent(
        self,
        connection: Connection,
        issuer: str,
        consent: str,
        *,
        reason: str,
        now_ms: int,
    ) -> int:
        """Remove every result under a consent that has ended; return how many reads.

        The reads stay, so that the application learns why; nothing of them waits.
        """
        which = _r.consent_index == self._received.index(issuer, consent)
        reads = list(connection.execute(select(_r.id).where(which)).scalars())
        for read in reads:
            connection.execute(
                update(waiting_holders)
                .where(_h.read == read)
                .values(state="refused", next_ms=None, reason=reason, sealed=None)
            )
            self._end(connection, read, now_ms, callback=False)
        return len(reads)

    def purge(self, connection: Connection, ended_before_ms: int) -> int:
        """Delete reads that ended before some time; return how many."""
        ended = select(_r.id).where(_r.ended_ms < ended_before_ms).limit(1_000)
        reads = list(connection.execute(ended).scalars())
        return sum(self.remove(connection, read) for read in reads)

    def move(
        self, connection: Connection, source: SubjectId, target: SubjectId
    ) -> None:
        """Seal the reads about `source` anew as ones about `target`."""
        which = select(_r.id).where(_r.subject == source)
        for read in list(connection.execute(which).scalars()):
            kept = self.get(connection, read)
            if kept is None:
                continue
            for place in self.places(connection, read):
                outcome = self.outcome(connection, kept, place.number)
                if outcome is None:
                    continue
                where = _where(read, place.number)
                again = self._keyring.seal(
                    connection, target, outcome, "waiting", where
                )
                connection.execute(
                    update(waiting_holders)
                    .where(_h.read == read, _h.place == place.number)
                    .values(sealed=again)
                )
            connection.execute(
                update(waiting_reads)
                .where(_r.id == read)
                .values(
                    subject=target,
                    sealed=self._seal(connection, target, kept.wish, read),
                )
            )

    def _seal(
        self, connection: Connection, subject: SubjectId, wish: bytes, read: str
    ) -> bytes:
        return self._keyring.seal(connection, subject, wish, "waiting", read)


_PLACE = (_h.place, _h.wait, _h.city, _h.state, _h.failures, _h.next_ms, _h.reason)


def _where(read: str, place: int) -> str:
    return f"{read} {place}"
