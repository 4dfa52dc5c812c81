# SPDX-License-Identifier: Apache-2.0
"""What this node knows of consents: those it received, those that ended.

As recipient it keeps consent packages, sealed under the person's key, found by the
consent's id or by the person. As holder it keeps what home nodes told it directly: a
withdrawal, a pause, the newest version. That is looked up at every release and so held
in memory; a withdrawal counts from the moment it is known, before it is on disk.

A consent's id stands nowhere in clear: rows are found by its blind index. What a home
node says counts for its own consents alone, so states, acknowledgements and received
records are found by home node and id together.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from protocol.consent import CONSENT, Consent, State, Withdrawal
from protocol.errors import Malformed
from protocol.request import ConsentPackage
from protocol.signature import Received
from protocol.status import Status
from vault.keyring import NOBODY, Keyring, SubjectId
from vault.received import ReceivedRecords
from vault.statements import Hot
from vault.tables import acknowledgements, consent_states, received_consents

_ENDED = {State.WITHDRAWN: Status.WITHDRAWN, State.PAUSED: Status.PAUSED}
_c = received_consents.c
_ROW = (_c.consent_index, _c.subject, _c.version, _c.received_ms, _c.sealed)
_FIND = Hot(select(*_ROW).where(_c.consent_index == bindparam("consent_index")))


@dataclass(frozen=True, slots=True)
class KeptConsent:
    """A consent that this node may use as recipient.

    Attributes:
        subject: whom it is about.
        consent: the consent, verified when it came.
        package: tokens and tickets, as they came.
    """

    subject: SubjectId
    consent: Consent
    package: ConsentPackage


@dataclass(frozen=True, slots=True)
class Obligation:
    """What was done about a withdrawal.

    Attributes:
        done: `deleted` or `stopped`; what the acknowledgement says.
        records: how many received records it was done to.
    """

    done: str
    records: int


@dataclass(frozen=True, slots=True)
class _Known:
    status: Status
    status_version: int
    newest_version: int


_NOTHING = _Known(Status.VALID, 0, 0)


class Ledger:
    """Consents as recipient and as holder. One per process."""

    def __init__(self, *, keyring: Keyring, received: ReceivedRecords) -> None:
        self._keyring = keyring
        self._received = received
        self._states: dict[bytes, _Known] = {}

    def load(self, connection: Connection) -> None:
        """Read every ended consent into memory: at start, or after a restore."""
        columns = consent_states.c
        rows = connection.execute(
            select(
                columns.consent_index,
                columns.status,
                columns.status_version,
                columns.newest_version,
            )
        )
        self._states = {
            bytes(index): _Known(Status(status), version, newest)
            for index, status, version, newest in rows
        }

    def revocation_of(self, consent: Consent) -> tuple[Status | None, int]:
        """Return what home nodes said directly of a consent, and its newest version.

        A withdrawal is final. A pause holds for the versions up to the one that paused;
        a later version resumes. Both values go into `decision.Freshness`.
        """
        known = self._states.get(self._received.index(consent.iss, consent.jti))
        if known is None:
            return None, 0
        if known.status is Status.WITHDRAWN:
            return Status.WITHDRAWN, known.newest_version
        if known.status is Status.PAUSED and consent.version <= known.status_version:
            return Status.PAUSED, known.newest_version
        return None, known.newest_version

    def mark_revoked(
        self, connection: Connection, withdrawal: Withdrawal, now_ms: int
    ) -> bool:
        """Note a verified withdrawal or pause; return False if it says nothing new.

        It counts at once, also should the transaction fail: refusing is the safe side.
        The next word of it then writes down what memory knows already.
        """
        status = _ENDED.get(withdrawal.state)
        if status is None:
            raise Malformed("a withdrawal says withdrawn or paused")
        index = self._received.index(withdrawal.iss, withdrawal.consent)
        known = self._states.get(index, _NOTHING)
        final = known.status is Status.WITHDRAWN
        told = status is known.status and withdrawal.version <= known.status_version
        late = status is Status.PAUSED and withdrawal.version < known.newest_version
        if final or told or late:
            self._put(connection, index, known, now_ms)
            return False
        newest = max(known.newest_version, withdrawal.version)
        self._put(connection, index, _Known(status, withdrawal.version, newest), now_ms)
        return True

    def note_version(
        self, connection: Connection, consent: Consent, now_ms: int
    ) -> None:
        """Remember the newest version seen, so that an older one is refused.

        Version 1 supersedes nothing and takes no room.
        """
        index = self._received.index(consent.iss, consent.jti)
        known = self._states.get(index, _NOTHING)
        if consent.version > max(known.newest_version, 1):
            known = _Known(known.status, known.status_version, consent.version)
        if known != _NOTHING:
            self._put(connection, index, known, now_ms)

    def carry_out(self, connection: Connection, withdrawal: Withdrawal) -> Obligation:
        """Do what a withdrawal asks with the records received under the consent.

        A pause stops them. A withdrawal deletes them, with the consent package, where
        the obligation is `delete`; else it stops them. Doing it again does no harm.
        """
        issuer, consent = withdrawal.iss, withdrawal.consent
        ended = withdrawal.state is State.WITHDRAWN
        if ended and withdrawal.obligation == "delete":
            count = self._received.delete(connection, issuer, consent)
            kept = self.package(connection, consent)
            if kept is not None and kept.consent.iss == issuer:
                index, table = self._package_index(consent), received_consents
                connection.execute(delete(table).where(table.c.consent_index == index))
            return Obligation("deleted", count)
        return Obligation("stopped", self._received.stop(connection, issuer, consent))

    def keep_package(
        self,
        connection: Connection,
        *,
        subject: SubjectId,
        consent: Consent,
        package: ConsentPackage,
        now_ms: int,
    ) -> bool:
        """Keep a consent received from its home node.

        The same version again brings fresh tickets and replaces the package. A version
        that is active again lets stopped records be used again.

        Args:
            connection: a write transaction.
            subject: whom the own ticket names.
            consent: the consent in the package, verified.
            package: as it came.
            now_ms: the time.

        Returns:
            False if a newer version is there already, or the consent was withdrawn.

        Raises:
            Malformed: another home node's consent has this id.
        """
        index, table = self._package_index(consent.jti), received_consents
        present = self.package(connection, consent.jti)
        if present is not None and present.consent.iss != consent.iss:
            raise Malformed("another home node's consent has this id")
        row = connection.execute(
            select(table.c.version).where(table.c.consent_index == index)
        ).first()
        status, newest = self.revocation_of(consent)
        if status is Status.WITHDRAWN or consent.version < newest:
            return False
        if row is not None and row.version > consent.version:
            return False
        values = {
            "subject": subject,
            "version": consent.version,
            "received_ms": now_ms,
            "sealed": self._keyring.seal(
                connection,
                subject,
                package.encode(),
                "consent",
                _place(index, consent.version, now_ms),
            ),
        }
        if row is None:
            connection.execute(insert(table).values(consent_index=index, **values))
        else:
            connection.execute(
                update(table).where(table.c.consent_index == index).values(values)
            )
        self.note_version(connection, consent, now_ms)
        if consent.state is State.ACTIVE and status is None:
            self._received.resume(connection, consent.iss, consent.jti)
        elif consent.state is not State.ACTIVE:
            self._received.stop(connection, consent.iss, consent.jti)
        return True

    def package(self, connection: Connection, consent: str) -> KeptConsent | None:
        """Return a received consent by its id, None if there is none."""
        index = self._package_index(consent)
        row = _FIND.run(connection, consent_index=index).fetchone()
        return None if row is None else self._open(connection, *row)

    def packages_of(
        self, connection: Connection, subject: SubjectId
    ) -> list[KeptConsent]:
        """Return every consent received about a person, newest first."""
        rows = connection.execute(
            select(*_ROW).where(_c.subject == subject).order_by(_c.received_ms.desc())
        ).fetchall()
        return [self._open(connection, *row) for row in rows]

    def ending(
        self, connection: Connection, after: int, before: int, limit: int
    ) -> tuple[int, int]:
        """Count received consents that end in a span of time, and say when the first.

        Args:
            connection: any; reads the whole table up to the limit.
            after: seconds since 1970, exclusive.
            before: seconds since 1970, exclusive.
            limit: look at so many at most, those received last.
        """
        rows = connection.execute(
            select(*_ROW).order_by(_c.received_ms.desc()).limit(limit)
        )
        ends = [self._open(connection, *row).consent.ends for row in rows.fetchall()]
        found = [at for at in ends if at is not None and after < at < before]
        return len(found), min(found, default=0)

    def keep_acknowledgement(
        self, connection: Connection, withdrawal: Withdrawal, token: str, now_ms: int
    ) -> None:
        """Keep our signed acknowledgement, to give the same again when asked again."""
        if self.acknowledgement_of(connection, withdrawal) is not None:
            return
        index = self._received.index(withdrawal.iss, withdrawal.consent)
        version = withdrawal.version
        sealed = self._keyring.seal(
            connection,
            NOBODY,
            token.encode(),
            "acknowledgement",
            _place(index, version, now_ms),
        )
        connection.execute(
            insert(acknowledgements).values(
                consent_index=index, version=version, at_ms=now_ms, sealed=sealed
            )
        )

    def acknowledgement_of(
        self, connection: Connection, withdrawal: Withdrawal
    ) -> str | None:
        """Return the acknowledgement that was given, None if there is none yet."""
        columns = acknowledgements.c
        index = self._received.index(withdrawal.iss, withdrawal.consent)
        row = connection.execute(
            select(columns.at_ms, columns.sealed).where(
                columns.consent_index == index, columns.version == withdrawal.version
            )
        ).first()
        if row is None:
            return None
        place = _place(index, withdrawal.version, row.at_ms)
        return self._keyring.open(
            connection, NOBODY, row.sealed, "acknowledgement", place
        ).decode()

    def remove(self, connection: Connection, subject: SubjectId) -> int:
        """Delete every consent received about a person; return how many."""
        table = received_consents
        return connection.execute(
            delete(table).where(table.c.subject == subject)
        ).rowcount

    def move(
        self, connection: Connection, source: SubjectId, target: SubjectId
    ) -> None:
        """Seal the consents of `source` anew as ones of `target`."""
        table = received_consents
        rows = connection.execute(
            select(table).where(table.c.subject == source)
        ).fetchall()
        for index, _, version, received_ms, sealed in rows:
            place = _place(index, version, received_ms)
            document = self._keyring.open(connection, source, sealed, "consent", place)
            again = self._keyring.seal(connection, target, document, "consent", place)
            connection.execute(
                update(table)
                .where(table.c.consent_index == index)
                .values(subject=target, sealed=again)
            )

    def _package_index(self, consent: str) -> bytes:
        return self._keyring.index("package", consent)

    def _put(
        self, connection: Connection, index: bytes, known: _Known, now_ms: int
    ) -> None:
        table = consent_states
        values = {
            "status": int(known.status),
            "status_version": known.status_version,
            "newest_version": known.newest_version,
            "changed_ms": now_ms,
        }
        changed = connection.execute(
            update(table).where(table.c.consent_index == index).values(values)
        )
        if changed.rowcount == 0:
            connection.execute(insert(table).values(consent_index=index, **values))
        self._states[index] = known

    def _open(
        self,
        connection: Connection,
        index: bytes,
        subject: str,
        version: int,
        received_ms: int,
        sealed: bytes,
    ) -> KeptConsent:
        owner, place = SubjectId(subject), _place(index, version, received_ms)
        package, consent = self._keyring.parsed(
            connection, owner, bytes(sealed), _read_package, "consent", place
        )
        return KeptConsent(owner, consent, package)


def _read_package(document: bytes) -> tuple[ConsentPackage, Consent]:
    package = ConsentPackage.decode(document)
    # Verified when it came.
    return package, Received.parse(package.consent, CONSENT).peek(Consent)


def _place(index: bytes, version: int, at_ms: int) -> str:
    """Say where a ciphertext belongs: all that stands in clear beside it."""
    return f"{bytes(index).hex()}|{version}|{at_ms}"
