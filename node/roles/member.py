# SPDX-License-Identifier: Apache-2.0
"""What every member does toward its city: keep its membership and its trust fresh."""

from __future__ import annotations

import logging
from collections.abc import Callable

from federation.exchange import Answer, Asked, Endpoint, Handler, Reply
from federation.notice import MAX_NOTICE_BYTES, Notice
from federation.peers import Peer
from identity.trust import TrustStore
from node.addressbook import Addressbook
from node.standing import Standing
from protocol.answer import Done, OneToken
from protocol.envelope import Kind
from protocol.errors import Malformed, Replayed
from protocol.ids import CityId, NodeId
from protocol.membership import Credentials
from protocol.request import RenewQuery

_logger = logging.getLogger(__name__)


class MemberDesk:
    """Takes trust bundles and renews the membership over the link."""

    def __init__(
        self,
        *,
        node: NodeId,
        trust: TrustStore,
        exchanges: Endpoint,
        addressbook: Addressbook,
        standing: Standing,
        now_ms: Callable[[], int],
        found: Callable[[CityId, tuple[str, ...]], None] = lambda city, urls: None,
    ) -> None:
        """Take the parts.

        Args:
            node: who we are.
            trust: takes bundles.
            exchanges: our end of exchanges.
            addressbook: knows our broker.
            standing: our membership.
            now_ms: clock.
            found: is told where the brokers of our city listen.
        """
        self._node = node
        self._trust = trust
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._standing = standing
        self._now_ms = now_ms
        self._found = found

    def handlers(self) -> dict[str, Handler]:
        """Return what every node answers."""
        return {"ping": self._ping}

    async def _ping(self, asked: Asked) -> Reply:
        return Reply(Done())

    async def on_notice(self, peer: Peer, data: bytes) -> bool:
        """Take a trust bundle of our city; returns whether it is a new one.

        Every broker of the city shows its own; an older one than ours is no news.

        Raises:
            ProtocolViolation: it is none, or does not verify.
        """
        notice = Notice.decode(data, MAX_NOTICE_BYTES)
        if notice.kind != "trust" or notice.token is None:
            raise Malformed("members take trust bundles only")
        before = self._trust.bundle
        try:
            accepted = self._trust.accept_bundle(notice.token, self._now_ms() // 1000)
        except Replayed:
            return False
        if before is not None and before.digest == accepted.digest:
            return False
        self._found(self._node.city, accepted.body.brokers)
        await self._standing.keep_known()
        return True

    async def renew(self) -> bool:
        """Ask our city for a newer membership; returns whether one came.

        The city gives the present one back while more than half of its life is left.
        """
        asked = await self._exchanges.ask(
            self._addressbook.broker(self._node.city), Kind.MANAGE, RenewQuery()
        )
        if not isinstance(asked, Answer) or not isinstance(asked.result, OneToken):
            code = "" if isinstance(asked, Answer) else asked.refusal.code
            _logger.warning("membership was not renewed: %s", code)
            return False
        # By the time now: it may have been signed while we waited for it.
        now = self._now_ms() // 1000
        operating = self._trust.city_keys(self._node.city, now).operating
        present = self._standing.membership()
        fresh = await self._standing.accept(
            Credentials(membership=asked.result.token, operating=operating), now
        )
        return fresh.exp > present.exp
