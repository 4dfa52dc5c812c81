# SPDX-License-Identifier: Apache-2.0
"""The people this node holds data about, by the names that lead to them.

A subject (本人) has a random id inside the vault. Two kinds of name lead to it: the
organization's own number (*local id*, such as a patient number), and the *handle* that
the home node gives once the resident has linked the organization. Names are sealed
under the person's key and found by blind index; the index rows go with the key at an
erasure. A subject may exist without a handle (imported, not linked yet) or without a
local id (its data came by push).

The My Number (個人番号) is refused as a local id.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sqlalchemy import Connection, bindparam, delete, insert, select

from protocol.ids import looks_like_my_number, uuid7
from protocol.location import LinkGrant
from vault.errors import Conflict, Fault, MyNumberRefused, Rejected
from vault.keyring import Entropy, Keyring, SubjectId
from vault.statements import Hot
from vault.tables import subject_links, subject_names

Kind: TypeAlias = Literal["local", "handle"]
MAX_LOCAL_ID = 200

_FIND = Hot(
    select(subject_names.c.subject).where(
        subject_names.c.name_index == bindparam("name_index")
    )
)
_NAME = Hot(insert(subject_names))
_LINK = Hot(
    select(subject_links.c.linked_ms, subject_links.c.sealed).where(
        subject_links.c.subject == bindparam("subject")
    )
)


@dataclass(frozen=True)
class Link:
    """A resident's link to this organization.

    Attributes:
        subject: who.
        grant: home node, handle and location grant.
        linked_ms: since when.
    """

    subject: SubjectId
    grant: LinkGrant
    linked_ms: int


def normal_local_id(text: str) -> str:
    """Return the one spelling of a local id: NFKC, trimmed.

    Raises:
        MyNumberRefused: it has the form and check digit of a 個人番号.
        Rejected: empty, or longer than 200 characters.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    if not plain or len(plain) > MAX_LOCAL_ID:
        raise Rejected((Fault("subject-invalid", None),))
    if looks_like_my_number(plain):
        raise MyNumberRefused("a local id must not be a My Number")
    return plain


class Subjects:
    """Finds, makes and links subjects."""

    def __init__(self, *, keyring: Keyring, entropy: Entropy) -> None:
        self._keyring = keyring
        self._entropy = entropy

    def find_local(self, connection: Connection, local_id: str) -> SubjectId | None:
        """Return the subject with this local id, None if there is none."""
        return self._find(connection, "local", normal_local_id(local_id))

    def find_handle(self, connection: Connection, handle: str) -> SubjectId | None:
        """Return the subject with this handle, None if there is none."""
        return self._find(connection, "handle", handle)

    def ensure_local(
        self, connection: Connection, local_id: str, now_ms: int
    ) -> SubjectId:
        """Return the subject with this local id; make it when it is new.

        Raises:
            MyNumberRefused, Rejected: see `normal_local_id`.
        """
        return self._ensure(connection, "local", normal_local_id(local_id), now_ms)

    def ensure_handle(
        self, connection: Connection, handle: str, now_ms: int
    ) -> SubjectId:
        """Return the subject with this handle; make it when it is new."""
        return self._ensure(connection, "handle", handle, now_ms)

    def link(
        self,
        connection: Connection,
        subject: SubjectId,
        grant: LinkGrant,
        now_ms: int,
    ) -> None:
        """Give the subject its handle, home node and location grant; or renew them.

        Raises:
            Conflict: the handle leads to another subject (see `vault.linking`), or the
                subject is linked under another handle.
        """
        known = self.find_handle(connection, grant.handle)
        if known is not None and known != subject:
            raise Conflict("the handle belongs to another subject of this node")
        if known is None:
            if self.names(connection, subject, "handle"):
                raise Conflict("the subject is linked under another handle")
            self._name(connection, subject, "handle", grant.handle)
        self._put_link(connection, subject, grant, now_ms)

    def unlink(self, connection: Connection, subject: SubjectId) -> LinkGrant | None:
        """Forget handle, home node and grant; return what was there.

        A subject without a local id keeps its records but is found by nobody.
        """
        link = self.link_of(connection, subject)
        names, links = subject_names.c, subject_links.c
        connection.execute(
            delete(subject_names).where(
                names.subject == subject, names.kind == "handle"
            )
        )
        connection.execute(delete(subject_links).where(links.subject == subject))
        return None if link is None else link.grant

    def link_of(self, connection: Connection, subject: SubjectId) -> Link | None:
        """Return the subject's link, None when the resident has not linked us."""
        row = _LINK.run(connection, subject=subject).fetchone()
        return None if row is None else self._open_link(connection, subject, *row)

    def links(self, connection: Connection) -> Iterator[Link]:
        """Yield every link: to register locations anew at the directory."""
        columns = subject_links.c
        rows = connection.execute(
            select(columns.subject, columns.linked_ms, columns.sealed)
        )
        for subject, linked_ms, sealed in rows.fetchall():
            yield self._open_link(connection, SubjectId(subject), linked_ms, sealed)

    def names(
        self, connection: Connection, subject: SubjectId, kind: Kind
    ) -> tuple[str, ...]:
        """Return the subject's local ids or handle."""
        columns = subject_names.c
        rows = connection.execute(
            select(columns.name_index, columns.sealed).where(
                columns.subject == subject, columns.kind == kind
            )
        ).fetchall()
        return tuple(
            self._keyring.open(
                connection, subject, sealed, "name", kind, index.hex()
            ).decode()
            for index, sealed in rows
        )

    def remove(self, connection: Connection, subject: SubjectId) -> None:
        """Delete every name and link of the subject."""
        for table in (subject_names, subject_links):
            connection.execute(delete(table).where(table.c.subject == subject))

    def move(
        self, connection: Connection, source: SubjectId, target: SubjectId
    ) -> None:
        """Let the names of `source` lead to `target`; its link is dropped."""
        local = self.names(connection, source, "local")
        handles = self.names(connection, source, "handle")
        self.remove(connection, source)
        for name in local:
            self._name(connection, target, "local", name)
        for name in handles:
            self._name(connection, target, "handle", name)

    def _find(self, connection: Connection, kind: Kind, name: str) -> SubjectId | None:
        index = self._keyring.index("name", kind, name)
        row = _FIND.run(connection, name_index=index).fetchone()
        return None if row is None else SubjectId(row[0])

    def _ensure(
        self, connection: Connection, kind: Kind, name: str, now_ms: int
    ) -> SubjectId:
        known = self._find(connection, kind, name)
        if known is not None:
            return known
        subject = SubjectId(str(uuid7(now_ms, self._entropy(10))))
        self._keyring.create(connection, subject, now_ms)
        self._name(connection, subject, kind, name)
        return subject

    def _name(
        self, connection: Connection, subject: SubjectId, kind: Kind, name: str
    ) -> None:
        index = self._keyring.index("name", kind, name)
        sealed = self._keyring.seal(
            connection, subject, name.encode(), "name", kind, index.hex()
        )
        _NAME.run(
            connection, name_index=index, subject=subject, kind=kind, sealed=sealed
        )

    def _put_link(
        self,
        connection: Connection,
        subject: SubjectId,
        grant: LinkGrant,
        now_ms: int,
    ) -> None:
        known = self.link_of(connection, subject)
        linked_ms = now_ms if known is None else known.linked_ms
        sealed = self._keyring.seal(
            connection, subject, grant.encode(), "link", str(linked_ms)
        )
        links = subject_links
        connection.execute(delete(links).where(links.c.subject == subject))
        connection.execute(
            insert(links).values(subject=subject, linked_ms=linked_ms, sealed=sealed)
        )

    def _open_link(
        self,
        connection: Connection,
        subject: SubjectId,
        linked_ms: int,
        sealed: bytes,
    ) -> Link:
        grant = self._keyring.parsed(
            connection, subject, bytes(sealed), _read_grant, "link", str(linked_ms)
        )
        return Link(subject, grant, linked_ms)


def _read_grant(document: bytes) -> LinkGrant:
    return LinkGrant.decode(document)
