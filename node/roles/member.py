# SPDX-License-Identifier: Apache-2.0
"""What every member does toward its city: keep its membership and its trust fresh."""

from __future__ import annotations

import logging
from collections.abc import Callable

from federation.announcer import MAX_NOTICE_BYTES, Notice
from federation.exchange import Answer, Asked, Endpoint, Handler, Reply
from federation.peers import Peer
from identity.trust import TrustStore
from node.addressbook import Addressbook
from protocol.answer import Done, OneToken
from protocol.envelope import Kind
from protocol.errors import Malformed
from protocol.ids import NodeId
from protocol.membership import Membership, verify_membership
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
        membership: Callable[[], Membership],
        keep_membership: Callable[[str], None],
        keep_bundle: Callable[[str], None],
        now_ms: Callable[[], int],
        skew_s: int,
    ) -> None:
        """Take the parts.

        Args:
            node: who we are.
            trust: takes bundles.
            exchanges: our end of exchanges.
            addressbook: knows our broker.
            membership: our present membership.
            keep_membership: keeps a newer one durably.
            keep_bundle: keeps a newer bundle durably.
            now_ms: clock.
            skew_s: how far two clocks may differ.
        """
        self._node = node
        self._trust = trust
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._membership = membership
        self._keep_membership = keep_membership
        self._keep_bundle = keep_bundle
        self._now_ms = now_ms
        self._skew_s = skew_s

    def handlers(self) -> dict[str, Handler]:
        """Return what every node answers."""
        return {"ping": self._ping}

    async def _ping(self, asked: Asked) -> Reply:
        return Reply(Done())

    def on_notice(self, peer: Peer, data: bytes) -> None:
        """Take a trust bundle of our city.

        Raises:
            ProtocolViolation: it is none, or does not verify.
        """
        notice = Notice.decode(data, MAX_NOTICE_BYTES)
        if notice.kind != "trust" or notice.token is None:
            raise Malformed("members take trust bundles only")
        before = self._trust.bundle
        accepted = self._trust.accept_bundle(notice.token, self._now_ms() // 1000)
        if before is None or before.digest != accepted.digest:
            self._keep_bundle(notice.token)

    async def renew(self) -> bool:
        """Ask our city for a newer membership; returns whether one came.

        The city gives the present one back while more than half of its life is left.
        """
        now = self._now_ms() // 1000
        asked = await self._exchanges.ask(
            self._addressbook.broker(self._node.city), Kind.MANAGE, RenewQuery()
        )
        if not isinstance(asked, Answer) or not isinstance(asked.result, OneToken):
            code = "" if isinstance(asked, Answer) else asked.refusal.code
            _logger.warning("membership was not renewed: %s", code)
            return False
        city = self._trust.city_of(self._node.city, now)
        fresh = verify_membership(
            asked.result.token, self._node.city, city.operating, now, self._skew_s
        )
        present = self._membership()
        if fresh.body.sub != self._node or fresh.body.exp <= present.exp:
            return False
        if fresh.body.key != present.key:
            raise Malformed("the renewed membership is for another key")
        self._keep_membership(fresh.token)
        return True
