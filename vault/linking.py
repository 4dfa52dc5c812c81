# SPDX-License-Identifier: Apache-2.0
"""Linking: a resident shows that a local id here is theirs.

The home node gives this organization its handle for the resident. Data of that handle
may have come before, pushed by another organization under consent; then two subjects
turn out to be one person. Everything of the pushed one is sealed anew under the key of
the local one, and the emptied key is destroyed.
"""

from __future__ import annotations

from sqlalchemy import Connection

from protocol.location import LinkGrant
from vault.attachments import Attachments
from vault.errors import Conflict
from vault.keyring import Keyring, SubjectId
from vault.ledger import Ledger
from vault.provisions import Provisions
from vault.records import Records
from vault.subjects import Subjects
from vault.waiting import WaitingReads


class Linking:
    """Links local ids to handles."""

    def __init__(
        self,
        *,
        keyring: Keyring,
        subjects: Subjects,
        store: Records,
        attachments: Attachments,
        provisions: Provisions,
        ledger: Ledger,
        waiting: WaitingReads,
    ) -> None:
        self._keyring = keyring
        self._subjects = subjects
        self._movers = (store, attachments, provisions, ledger, waiting)

    def link(
        self, connection: Connection, local_id: str, grant: LinkGrant, now_ms: int
    ) -> SubjectId:
        """Link the person with `local_id`, made if new, to the handle of `grant`.

        Linking again renews home node and grant. After the commit the caller SHOULD
        register the location under the new grant.

        Raises:
            MyNumberRefused, Rejected: the local id.
            Conflict: the person is linked under another handle, or the handle belongs
                to a person with another local id; unlink first.
        """
        subject = self._subjects.ensure_local(connection, local_id, now_ms)
        other = self._subjects.find_handle(connection, grant.handle)
        if other is not None and other != subject:
            self._join(connection, other, subject, now_ms)
        self._subjects.link(connection, subject, grant, now_ms)
        return subject

    def _join(
        self,
        connection: Connection,
        source: SubjectId,
        target: SubjectId,
        now_ms: int,
    ) -> None:
        if self._subjects.names(connection, source, "local"):
            raise Conflict("the handle belongs to a person with another local id")
        if self._subjects.names(connection, target, "handle"):
            raise Conflict("the person is linked under another handle")
        for store in self._movers:
            store.move(connection, source, target)
        self._subjects.move(connection, source, target)
        self._keyring.erase(connection, source, now_ms)
