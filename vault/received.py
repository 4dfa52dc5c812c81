# SPDX-License-Identifier: Apache-2.0
"""Records received from other organizations, and what a withdrawal does to them.

They lie among the own records, marked by the blind index of the consent they came
under. They are never released as own data; a stopped one is not read by anybody but
the person; a deleted one is gone with its versions. (The stop is a mark beside the
seal, the only column of a record that is not bound into it: it is set without opening.)
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, select, update

from vault.keyring import Keyring
from vault.records import Records
from vault.tables import records

_c = records.c


class ReceivedRecords:
    """Obligations on what was received."""

    def __init__(self, *, keyring: Keyring, store: Records) -> None:
        self._keyring = keyring
        self._store = store

    def index(self, issuer: str, consent: str) -> bytes:
        """Return the blind index of a consent: of its home node and its id.

        With the issuer, so that no home node can touch what came under a consent of
        another by using its id.
        """
        return self._keyring.index("consent", issuer, consent)

    def stop(self, connection: Connection, issuer: str, consent: str) -> int:
        """Keep the records but let nobody use them; return how many."""
        return self._mark(connection, issuer, consent, 1)

    def resume(self, connection: Connection, issuer: str, consent: str) -> int:
        """Let stopped records be used again; return how many."""
        return self._mark(connection, issuer, consent, 0)

    def delete(self, connection: Connection, issuer: str, consent: str) -> int:
        """Delete the records; return how many."""
        return self._delete(connection, _c.consent_index == self.index(issuer, consent))

    def purge(self, connection: Connection, now_s: int) -> int:
        """Delete records whose retention has ended; return how many."""
        return self._delete(connection, _c.retain_until <= now_s)

    def _mark(
        self, connection: Connection, issuer: str, consent: str, stopped: int
    ) -> int:
        changed = connection.execute(
            update(records)
            .where(
                _c.consent_index == self.index(issuer, consent), _c.stopped != stopped
            )
            .values(stopped=stopped)
        )
        return changed.rowcount

    def _delete(self, connection: Connection, which: ColumnElement[bool]) -> int:
        serials = list(connection.execute(select(_c.id).where(which)).scalars())
        self._store.delete_serials(connection, serials)
        return len(serials)
