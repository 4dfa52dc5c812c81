# SPDX-License-Identifier: Apache-2.0
"""The newest status list of each home node that this holder was shown.

A requester that has shown a list with a withdrawal must not get further with an older
one that is still fresh by its date: the holder judges by the newest it has seen. What
it has answered by is on disk with the answer's own record, so a restart changes
nothing. A list that is over makes room for any other, so a home node that comes back
from a backup, with lower numbers, is locked out no longer than T.

Bounded: in memory by number; on disk rows go when their list is over.
"""

from __future__ import annotations

from collections import OrderedDict

from sqlalchemy import Connection, delete, insert, select

from protocol.ids import NodeId
from protocol.status import StatusList
from vault.keyring import NOBODY, Keyring
from vault.tables import seen_lists

_MOST = 10_000
_USE = "seen list"


class SeenLists:
    """What the decision judges by. One per process."""

    def __init__(self, *, keyring: Keyring) -> None:
        self._keyring = keyring
        self._kept: OrderedDict[tuple[str, int], StatusList] = OrderedDict()
        self._saved: dict[tuple[str, int], int] = {}

    def load(self, connection: Connection) -> None:
        """Read into memory what was kept: at start, or after a restore."""
        table = seen_lists
        self._kept.clear()
        self._saved.clear()
        for index, sealed in connection.execute(
            select(table.c.place_index, table.c.sealed)
        ):
            place = bytes(index).hex()
            document = self._keyring.open(connection, NOBODY, sealed, _USE, place)
            body = StatusList.decode(document)
            self._kept[body.iss, body.list] = body
            self._saved[body.iss, body.list] = body.epoch

    def newest(self, shown: StatusList, now: int) -> StatusList:
        """Return the list to judge by: the one shown, or a newer one seen before.

        Args:
            shown: verified, not over.
            now: seconds since 1970.
        """
        place = shown.iss, shown.list
        kept = self._kept.get(place)
        if kept is not None and kept.epoch >= shown.epoch and kept.exp > now:
            return kept
        self._kept[place] = shown
        self._saved.pop(place, None)
        if len(self._kept) > _MOST:
            gone, _ = self._kept.popitem(last=False)
            self._saved.pop(gone, None)
        return shown

    def is_saved(self, judged: StatusList) -> bool:
        """Tell whether a restart would find this list or a newer one."""
        return self._saved.get((judged.iss, judged.list), -1) >= judged.epoch

    def save(self, connection: Connection, judged: StatusList) -> None:
        """Write a list down, in the transaction that records what it decided.

        Call `saved` when that transaction is on disk.
        """
        index = self._index(judged.iss, judged.list)
        sealed = self._keyring.seal(
            connection, NOBODY, judged.encode(), _USE, index.hex()
        )
        table = seen_lists
        connection.execute(delete(table).where(table.c.place_index == index))
        connection.execute(
            insert(table).values(place_index=index, ends_s=judged.exp, sealed=sealed)
        )

    def saved(self, judged: StatusList) -> None:
        """Note that `save` is on disk."""
        place = judged.iss, judged.list
        self._saved[place] = max(judged.epoch, self._saved.get(place, -1))

    def forget(self, connection: Connection, now: int) -> None:
        """Delete rows of lists that are over: no older one can be shown any more."""
        table = seen_lists
        connection.execute(delete(table).where(table.c.ends_s <= now))

    def _index(self, home: NodeId | str, number: int) -> bytes:
        return self._keyring.index("seen-list", str(home), str(number))
