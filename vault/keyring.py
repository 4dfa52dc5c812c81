# SPDX-License-Identifier: Apache-2.0
"""Person keys: everything of a person opens with one key, and dies with it.

    record key  <-  person key  <-  the node's vault key (handed in, 32 bytes)

Rules:
 1. A person key is random and stored wrapped under the vault key, in a table of its own
    with a backup of its own.
 2. `erase` destroys the wrapped key and leaves a tombstone. Rows that a backup of the
    records brings back stay closed, also to the node's current keys.
 3. Unwrapped keys are kept in memory, the least recently used leaves first; what was
    parsed of a person's documents goes with the key.
 4. Indexes and secrets are derived from a second key (`index_key`), so that finding is
    never opening.

On SQLite the connections MUST run with `PRAGMA secure_delete = ON`, and the write-ahead
log MUST be truncated (`PRAGMA wal_checkpoint(TRUNCATE)`) after an erasure; otherwise
the wrapped key survives in free pages until they are written again.
"""

from __future__ import annotations

import hmac
import re
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TypeAlias, TypeVar, cast

from sqlalchemy import Connection, bindparam, insert, select, update

from protocol.box import KEY_BYTES, NONCE_BYTES, Box, blind_index
from protocol.errors import CannotOpen
from protocol.ids import Identifier
from vault.errors import Conflict, Erased, NotFound
from vault.statements import Hot
from vault.tables import person_keys

Entropy: TypeAlias = Callable[[int], bytes]
T = TypeVar("T")

_PARSED_PER_PERSON = 32
"""Documents of one person that stay parsed beside their key."""


class SubjectId(Identifier):
    """A person as this node's tables know them: a random UUID, used nowhere else."""

    __slots__ = ()
    grammar = re.compile(
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    )


NOBODY = SubjectId("00000000-0000-0000-0000-000000000000")
"""Owner of data that is about no person. Has a key like a person, is never erased."""

_WRAPPED = Hot(
    select(person_keys.c.wrapped, person_keys.c.wrapped_by).where(
        person_keys.c.subject == bindparam("subject")
    )
)
_INSERT = Hot(insert(person_keys))


class _VaultKey:
    """One generation of the node's vault key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("a vault key has 32 bytes")
        self.name = hmac.digest(key, b"machikura vault key name 1", "sha256").hex()[:16]
        self.box = Box(hmac.digest(key, b"machikura person keys 1", "sha256"))


class Keyring:
    """Makes, finds and destroys person keys. One per process; safe between threads."""

    def __init__(
        self,
        *,
        vault_key: bytes,
        index_key: bytes,
        entropy: Entropy,
        older_vault_keys: tuple[bytes, ...] = (),
        cache_size: int = 10_000,
    ) -> None:
        """Take the node's keys.

        Args:
            vault_key: 32 bytes; wraps person keys.
            index_key: 32 bytes; blind indexes and derived secrets.
            entropy: source of random bytes.
            older_vault_keys: keys before a rotation, until `rewrap` has returned 0.
            cache_size: how many person keys stay unwrapped in memory.
        """
        self._current = _VaultKey(vault_key)
        older = [_VaultKey(key) for key in older_vault_keys]
        self._vault_keys = {key.name: key for key in [*older, self._current]}
        self._index_key = hmac.digest(index_key, b"machikura vault index 1", "sha256")
        self._secrets = hmac.digest(index_key, b"machikura vault secrets 1", "sha256")
        self._entropy = entropy
        self._cache: OrderedDict[str, Box] = OrderedDict()
        self._parsed: dict[str, OrderedDict[tuple[object, ...], object]] = {}
        self._cache_size = cache_size
        self._forgotten = 0
        self._lock = Lock()

    def start(self, connection: Connection, now_ms: int) -> None:
        """Make the key of `NOBODY` if it is not there. Once, before anything else.

        The transaction MUST be committed before the vault is used.
        """
        if _WRAPPED.run(connection, subject=NOBODY).fetchone() is None:
            self.create(connection, NOBODY, now_ms)

    def create(self, connection: Connection, subject: SubjectId, now_ms: int) -> None:
        """Make the key of a new person.

        Raises:
            Conflict: the subject has, or had, a key.
        """
        wrapped = self._current.box.seal(
            self._entropy(NONCE_BYTES), self._entropy(KEY_BYTES), "person-key", subject
        )
        _INSERT.run(
            connection,
            subject=subject,
            wrapped=wrapped,
            wrapped_by=self._current.name,
            created_ms=now_ms,
            erased_ms=None,
        )

    def person(self, connection: Connection, subject: SubjectId) -> Box:
        """Return the person's key.

        Raises:
            Erased: the key was destroyed.
            NotFound: there never was one.
            CannotOpen: the key row was altered, or belongs to another vault key.
        """
        with self._lock:
            box = self._cache.get(subject)
            if box is not None:
                self._cache.move_to_end(subject)
                return box
            before = self._forgotten
        box = Box(self._unwrap(connection, subject))
        with self._lock:
            # An erasure in another thread meanwhile: use the key once, do not keep it.
            if self._forgotten == before:
                self._cache[subject] = box
                if len(self._cache) > self._cache_size:
                    oldest, _ = self._cache.popitem(last=False)
                    self._parsed.pop(oldest, None)
        return box

    def _unwrap(self, connection: Connection, subject: SubjectId) -> bytes:
        row = _WRAPPED.run(connection, subject=subject).fetchone()
        if row is None:
            raise NotFound("no such person")
        wrapped, name = row
        if wrapped is None:
            raise Erased("no such person")
        key = self._vault_keys.get(name)
        if key is None:
            raise CannotOpen("the person's key is wrapped by an unknown vault key")
        return key.box.open(bytes(wrapped), "person-key", subject)

    def erase(self, connection: Connection, subject: SubjectId, now_ms: int) -> None:
        """Destroy the person's key for good and keep a tombstone.

        The caller MUST call `forget` once more after the transaction is committed, and
        truncate the write-ahead log (see the module's text). Erasing twice is the same
        as once; the first time stays.

        Raises:
            Conflict: `NOBODY` cannot be erased.
            NotFound: no such person.
        """
        if subject == NOBODY:
            raise Conflict("this key belongs to no person")
        table = person_keys
        changed = connection.execute(
            update(table)
            .where(table.c.subject == subject, table.c.erased_ms.is_(None))
            .values(wrapped=None, erased_ms=now_ms)
        )
        self.forget(subject)
        if changed.rowcount == 0 and not self.is_erased(connection, subject):
            raise NotFound("no such person")

    def forget(self, subject: SubjectId) -> None:
        """Drop the person's key from memory."""
        with self._lock:
            self._forgotten += 1
            self._cache.pop(subject, None)
            self._parsed.pop(subject, None)

    def is_erased(self, connection: Connection, subject: SubjectId) -> bool:
        """Tell whether there is a tombstone."""
        row = _WRAPPED.run(connection, subject=subject).fetchone()
        return row is not None and row[0] is None

    def tombstones(self, connection: Connection) -> dict[SubjectId, int]:
        """Return every erased subject with the time of erasure (ms): for the backup."""
        rows = connection.execute(
            select(person_keys.c.subject, person_keys.c.erased_ms).where(
                person_keys.c.erased_ms.is_not(None)
            )
        )
        return {SubjectId(subject): erased_ms for subject, erased_ms in rows}

    def rewrap(self, connection: Connection, limit: int) -> int:
        """Wrap up to `limit` keys of older vault keys anew; return how many were left.

        After a rotation of the vault key, until it returns 0; then the old key can go.
        """
        table, current = person_keys, self._current
        rows = connection.execute(
            select(table.c.subject)
            .where(table.c.wrapped_by != current.name, table.c.wrapped.is_not(None))
            .limit(limit)
        ).fetchall()
        for (subject,) in rows:
            key = self._unwrap(connection, SubjectId(subject))
            nonce = self._entropy(NONCE_BYTES)
            connection.execute(
                update(table)
                .where(table.c.subject == subject)
                .values(
                    wrapped=current.box.seal(nonce, key, "person-key", subject),
                    wrapped_by=current.name,
                )
            )
        return len(rows)

    def seal(
        self,
        connection: Connection,
        subject: SubjectId,
        plaintext: bytes,
        *context: str,
    ) -> bytes:
        """Seal a small document under the person's key, bound to subject and place."""
        box = self.person(connection, subject)
        return box.seal(self._entropy(NONCE_BYTES), plaintext, subject, *context)

    def open(
        self, connection: Connection, subject: SubjectId, sealed: bytes, *context: str
    ) -> bytes:
        """Open what `seal` made.

        Raises:
            CannotOpen: altered, or moved to another person or place.
            Erased, NotFound: no key.
        """
        return self.person(connection, subject).open(sealed, subject, *context)

    def parsed(
        self,
        connection: Connection,
        subject: SubjectId,
        sealed: bytes,
        parse: Callable[[bytes], T],
        *context: str,
    ) -> T:
        """Open and parse a document that is needed at every request.

        What was parsed is kept beside the person's key and goes with it, at an erasure
        too. The row is the caller's, so a deleted or replaced one is not found here.

        Args:
            connection: where the person's key is.
            subject: whose.
            sealed: as stored.
            parse: a pure function; its value MUST NOT be changed.
            context: as given to `seal`.

        Raises:
            CannotOpen: altered, or moved to another person or place.
            Erased, NotFound: no key.
        """
        name = (parse, context, sealed)
        with self._lock:
            kept = self._parsed.get(subject)
            if kept is not None and name in kept:
                return cast("T", kept[name])
            before = self._forgotten
        value = parse(self.open(connection, subject, sealed, *context))
        with self._lock:
            if self._forgotten == before and subject in self._cache:
                kept = self._parsed.setdefault(subject, OrderedDict())
                kept[name] = value
                if len(kept) > _PARSED_PER_PERSON:
                    kept.popitem(last=False)
        return value

    def index(self, use: str, *values: str) -> bytes:
        """Return the 16-byte blind index of `values` (framed, so they cannot blend)."""
        text = "".join(f"{len(value)}:{value}" for value in values)
        return blind_index(self._index_key, use, text)

    def secret(self, use: str, value: str) -> bytes:
        """Derive a 32-byte secret of this node, the same for the same words."""
        message = f"{len(use)}:{use}{value}".encode()
        return hmac.digest(self._secrets, message, "sha256")
