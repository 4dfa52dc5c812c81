# SPDX-License-Identifier: Apache-2.0
"""Who we are on a link, and who may link to us.

Credentials are the node's membership and its city's operating certificate. A member
links to brokers of its own city; a broker to members of its city and to brokers of
cities with an agreement in force. Everyone else is refused in the handshake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from federation.exchange import Trust
from federation.handshake import PeerIdentity
from federation.peers import Peer
from federation.relay import Agreed
from protocol.errors import MachikuraError
from protocol.ids import CityId, NodeId
from protocol.membership import MEMBERSHIP, Credentials, Membership, Role
from protocol.signature import Received
from protocol.succession import MAX_SUCCESSIONS, Succession
from protocol.suites import Signer, thumbprint


class Shown(Credentials):
    """What stands in the handshake: credentials, and the line of the city's roots."""

    successions: (
        Annotated[
            tuple[Succession, ...], Field(min_length=1, max_length=MAX_SUCCESSIONS)
        ]
        | None
    ) = None


def _follow_nobody(city: CityId, told: tuple[Succession, ...]) -> None:
    """Move no root."""


def _knows_nobody(node: NodeId, kid: str) -> Membership | None:
    """Have no register."""
    return None


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
        line: Callable[[], tuple[Succession, ...] | None] = lambda: None,
        follow: Callable[[CityId, tuple[Succession, ...]], None] = _follow_nobody,
        registered: Callable[[NodeId, str], Membership | None] = _knows_nobody,
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
            line: how our city's root came to be what it is, for peers that were away.
            follow: is given what a peer shows of its own city's root.
            registered: at the authority: a member's newest membership, if that is the
                name of the key in its register.
        """
        self._node = node
        self._is_broker = is_broker
        self._signer = signer
        self._credentials = credentials
        self._trust = trust
        self._agreed = agreed
        self._now_ms = now_ms
        self._line = line
        self._follow = follow
        self._registered = registered

    @property
    def node(self) -> str:
        """Our node id."""
        return self._node

    def credentials(self) -> bytes:
        """Return what we show."""
        own = self._credentials()
        return Shown(
            membership=own.membership,
            operating=own.operating,
            successions=self._line(),
        ).encode()

    def sign(self, data: bytes, /) -> bytes:
        """Sign with our key."""
        return self._signer.sign(data)

    def verify_peer(self, credentials: bytes, /) -> PeerIdentity:
        """Judge what a peer shows.

        Raises:
            MachikuraError: not proven, or proven and yet not allowed here.
        """
        shown = Shown.decode(credentials)
        now = self._now_ms() // 1000
        member = self._verified(shown, now)
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

    def _verified(self, shown: Shown, now: int) -> Membership:
        """Verify a peer's credentials; a member of ours may be known better than it.

        Whoever was away while its city replaced an operating key, or its root, shows
        what nobody accepts any more. The authority knows its members by their own keys,
        which the handshake then proves, and hands out a newer membership on the link.
        """
        claimed = Received.parse(shown.membership, MEMBERSHIP).peek(Membership)
        if shown.successions is not None:
            self._follow(claimed.sub.city, shown.successions)
        try:
            return self._trust.verify_sender(shown.membership, shown.operating, now)
        except MachikuraError:
            known = self._registered(claimed.sub, thumbprint(claimed.key))
            if known is None:
                raise
            return known
