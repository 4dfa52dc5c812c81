# SPDX-License-Identifier: Apache-2.0
"""A resident's names elsewhere: handles, locators, and the holders that are linked.

The resident key is drawn once and never leaves the home node; every name derives from
it (`protocol.pseudonym`), so no two organizations can tell that they mean the same
person. Who is linked where is sealed under the account's key and found by blind index.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from sqlalchemy import Connection, insert, select, update

from identity.accounts import Accounts
from identity.entropy import Entropy
from identity.errors import Conflict, NotFound
from identity.tables import links, residents
from protocol import pseudonym
from protocol.box import NONCE_BYTES, blind_index
from protocol.ids import CityId, NodeId
from protocol.model import Document, Seconds


class LinkState(StrEnum):
    """Whether a holder and a resident know each other."""

    LINKED = "linked"
    UNLINKED = "unlinked"


class _LinkBody(Document):
    holder: NodeId
    handle: pseudonym.Handle
    since: Seconds


@dataclass(frozen=True)
class Link:
    """One holder that knows the resident.

    Attributes:
        holder: which node.
        handle: the resident's name there.
        since: when it was linked, seconds since 1970.
        state: linked, or not any more.
    """

    holder: NodeId
    handle: str
    since: int
    state: LinkState


class Residents:
    """The resident keys and links of a home node."""

    def __init__(self, *, accounts: Accounts, index: bytes, entropy: Entropy) -> None:
        """Take the parts; `index` is 32 bytes for blind indexes."""
        self._accounts = accounts
        self._index = index
        self._entropy = entropy

    def create(self, connection: Connection, account: str) -> None:
        """Draw the resident key of a new account.

        Raises:
            Conflict: it has one; another key would change all names.
        """
        known = select(residents.c.account).where(residents.c.account == account)
        if connection.execute(known).one_or_none() is not None:
            raise Conflict("the resident has a key already")
        key = self._entropy(pseudonym.RESIDENT_KEY_BYTES)
        sealed = self._accounts.box(connection, account).seal(
            self._entropy(NONCE_BYTES), key, "resident-key", account
        )
        connection.execute(insert(residents).values(account=account, sealed=sealed))

    def handle_at(self, connection: Connection, account: str, node: NodeId) -> str:
        """Return the resident's name at one organization; raises `NotFound`."""
        return pseudonym.handle(self._key(connection, account), node)

    def handles_of(
        self, connection: Connection, account: str
    ) -> Callable[[NodeId], str]:
        """Return what tells the resident's name at any organization.

        The key is read once, for many names; raises `NotFound`.
        """
        return partial(pseudonym.handle, self._key(connection, account))

    def locator_in(self, connection: Connection, account: str, city: CityId) -> str:
        """Return the resident's name in one city's directory; raises `NotFound`."""
        return pseudonym.locator(self._key(connection, account), city)

    def link(
        self, connection: Connection, account: str, holder: NodeId, *, now: int
    ) -> Link:
        """Note that a holder knows the resident; again renews the link."""
        handle = self.handle_at(connection, account, holder)
        body = _LinkBody(holder=holder, handle=handle, since=now)
        name = self._link_index(account, holder)
        values = {
            "state": LinkState.LINKED.value,
            "sealed": self._accounts.box(connection, account).seal(
                self._entropy(NONCE_BYTES), body.encode(), "link", account
            ),
        }
        renewed = connection.execute(
            update(links).where(links.c.link_index == name).values(**values)
        )
        if renewed.rowcount == 0:
            connection.execute(
                insert(links).values(
                    link_index=name,
                    account=account,
                    handle_index=self._handle_index(holder, handle),
                    **values,
                )
            )
        return Link(holder, handle, now, LinkState.LINKED)

    def unlink(self, connection: Connection, account: str, holder: NodeId) -> None:
        """Note that the resident ended a link.

        Raises:
            NotFound: it is not linked.
        """
        ended = connection.execute(
            update(links)
            .where(
                links.c.link_index == self._link_index(account, holder),
                links.c.state == LinkState.LINKED.value,
            )
            .values(state=LinkState.UNLINKED.value)
        )
        if ended.rowcount != 1:
            raise NotFound("this holder is not linked")

    def links(self, connection: Connection, account: str) -> tuple[Link, ...]:
        """Return all links of an account, ended ones included, by holder."""
        rows = connection.execute(select(links).where(links.c.account == account)).all()
        if not rows:
            return ()
        box = self._accounts.box(connection, account)
        found = []
        for row in rows:
            body = _LinkBody.decode(box.open(row.sealed, "link", account))
            state = LinkState(row.state)
            found.append(Link(body.holder, body.handle, body.since, state))
        return tuple(sorted(found, key=lambda link: link.holder))

    def is_linked(self, connection: Connection, account: str, holder: NodeId) -> bool:
        """Tell whether a holder knows the resident now."""
        query = select(links.c.state).where(
            links.c.link_index == self._link_index(account, holder)
        )
        state = connection.execute(query).scalar_one_or_none()
        return state == LinkState.LINKED.value

    def find(self, connection: Connection, holder: NodeId, handle: str) -> str | None:
        """Return the account that a holder knows by `handle`.

        Args:
            connection: transaction of the caller.
            holder: the proven sender, so that nobody asks with another's handles.
            handle: its name for the resident.
        """
        query = select(links.c.account).where(
            links.c.handle_index == self._handle_index(holder, handle),
            links.c.state == LinkState.LINKED.value,
        )
        account: str | None = connection.execute(query).scalar_one_or_none()
        return account

    def _key(self, connection: Connection, account: str) -> bytes:
        query = select(residents.c.sealed).where(residents.c.account == account)
        sealed: bytes | None = connection.execute(query).scalar_one_or_none()
        if sealed is None:
            raise NotFound("no such resident")
        box = self._accounts.box(connection, account)
        return box.open(sealed, "resident-key", account)

    def _link_index(self, account: str, holder: NodeId) -> bytes:
        return blind_index(self._index, "link", f"{account}\0{holder}")

    def _handle_index(self, holder: NodeId, handle: str) -> bytes:
        return blind_index(self._index, "handle", f"{holder}\0{handle}")
