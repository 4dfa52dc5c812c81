# SPDX-License-Identifier: Apache-2.0
"""Who we are on a link, and who may link to us.

Credentials are the node's membership and its city's operating certificate. A member
links to brokers of its own city; a broker to members of its city and to brokers of
cities with an agreement in force. Everyone else is refused in the handshake.
"""

from __future__ import annotations

from collections.abc import Callable

from federation.exchange import Trust
from federation.handshake import PeerIdentity
from federation.peers import Peer
from federation.relay import Agreed
from protocol.errors import MachikuraError
from protocol.ids import NodeId
from protocol.membership import Credentials, Role
from protocol.suites import Signer


class NotAllowedHere(MachikuraError):
    """A proven peer that has no business on a link with us."""

    slug = "not-a-member"


class NodeLinkIdentity:
    """Satisfies `federation.handshake.LinkIdentity`."""

    def __init__(
        self,
        *,
        node: NodeId,
        is_broker: bool,
        signer: Signer,
        credentials: Callable[[], Credentials],
        trust: Trust,
        agreed: Agreed,
        now_ms: Callable[[], int],
    ) -> None:
        """Take the parts.

        Args:
            node: who we are.
            is_broker: whether we carry other nodes' exchanges.
            signer: our key.
            credentials: our membership and our city's operating certificate, now.
            trust: judges others' credentials.
            agreed: the agreement in force with a city.
            now_ms: clock.
        """
        self._node = node
        self._is_broker = is_broker
        self._signer = signer
        self._credentials = credentials
        self._trust = trust
        self._agreed = agreed
        self._now_ms = now_ms

    @property
    def node(self) -> str:
        """Our node id."""
        return self._node

    def credentials(self) -> bytes:
        """Return what we show."""
        return self._credentials().encode()

    def sign(self, data: bytes, /) -> bytes:
        """Sign with our key."""
        return self._signer.sign(data)

    def verify_peer(self, credentials: bytes, /) -> PeerIdentity:
        """Judge what a peer shows.

        Raises:
            MachikuraError: not proven, or proven and yet not allowed here.
        """
        shown = Credentials.decode(credentials)
        now = self._now_ms() // 1000
        member = self._trust.verify_sender(shown.membership, shown.operating, now)
        is_broker = Role.BROKER in member.roles
        if member.sub.city != self._node.city:
            if not (self._is_broker and is_broker):
                raise NotAllowedHere("only brokers link across cities")
            if self._agreed(member.sub.city) is None:
                raise NotAllowedHere("no agreement in force with that city")
        elif not (self._is_broker or is_broker):
            raise NotAllowedHere("members link to their broker only")
        key = member.verifying_key()
        return PeerIdentity(
            node=member.sub,
            verify=lambda data, signature: key.verify(signature, data),
            expires_ms=member.exp * 1000,
            attributes=Peer(member.sub, member, shown.membership, shown.operating),
        )
