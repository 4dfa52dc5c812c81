# SPDX-License-Identifier: Apache-2.0
"""This node's standing in its city: its own membership, kept and shown.

Which of our keys is the present one follows from it (`identity.node_keys`).
"""

from __future__ import annotations

from functools import partial

from identity.errors import NotAMember
from identity.node_keys import NodeKeys
from identity.trust import TrustStore
from identity.trust_documents import (
    OwnMembership,
    accept_own,
    load_known,
    load_lines,
    load_newest,
    load_own,
    load_pins,
    save_known,
    save_own,
)
from node.database import Database
from protocol.errors import Replayed
from protocol.ids import NodeId
from protocol.membership import Credentials, Membership


class Standing:
    """Our membership now; taken up at start, replaced when it is renewed."""

    def __init__(
        self,
        *,
        node: NodeId,
        keys: NodeKeys,
        trust: TrustStore,
        database: Database,
    ) -> None:
        """Take the parts; nothing is known before `load`."""
        self._node = node
        self._keys = keys
        self._trust = trust
        self._database = database
        self._own: OwnMembership | None = None

    def load(self, now: int) -> None:
        """Take up what was kept: certificate, bundle, membership."""
        self._database.read(lambda c: load_pins(c, self._trust))
        self._database.read(lambda c: load_lines(c, self._trust))
        self._database.read(lambda c: load_known(c, self._trust, now))
        self._database.read(lambda c: load_newest(c, self._trust, now))
        self._own = self._database.read(
            lambda c: load_own(c, self._trust, self._node, self._keys.has, now)
        )
        if self._own is not None:
            self._keys.use(self._own.body, now)

    @property
    def admitted(self) -> bool:
        """Whether we have a membership at all."""
        return self._own is not None

    def own(self) -> OwnMembership:
        """Return our membership.

        Raises:
            NotAMember: the city has not admitted us yet.
        """
        if self._own is None:
            raise NotAMember(f"{self._node} has no membership yet")
        return self._own

    def membership(self) -> Membership:
        """Return our membership's claims."""
        return self.own().body

    def credentials(self) -> Credentials:
        """Return what we show to others."""
        return self.own().credentials

    async def accept(self, credentials: Credentials, now: int) -> Membership:
        """Take a membership that our city gave us, durably.

        Raises:
            ProtocolViolation: it is not for us, or does not verify.
        """
        self._trust.accept_operating(credentials.operating, now)
        own = accept_own(self._trust, self._node, self._keys.has, credentials, now)
        if self._own is not None and own.body.iat < self._own.body.iat:
            raise Replayed("there is a newer membership already")
        await self._database.write(partial(save_own, own=own))
        await self.keep_known()
        # Both at once: what is signed from now on fits what is shown.
        self._own = own
        self._keys.use(own.body, now)
        return own.body

    def sweep(self, now: int) -> None:
        """Destroy our keys whose overlap is over."""
        if self._own is not None:
            self._keys.use(self._own.body, now)

    async def keep_known(self) -> None:
        """Keep our city's certificate and bundle as they are now."""
        await self._database.write(partial(save_known, known=self._trust))
