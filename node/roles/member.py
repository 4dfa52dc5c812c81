# SPDX-License-Identifier: Apache-2.0
"""What every member does toward its city: keep its membership and its trust fresh."""

from __future__ import annotations

import logging
from collections.abc import Callable

from federation.exchange import Answer, Asked, Endpoint, Handler, Reply
from federation.notice import MAX_NOTICE_BYTES, Notice
from federation.peers import Peer
from identity.errors import NotReady
from identity.key_changes import NewKeys, change_keys
from identity.node_keys import NodeKeys
from identity.trust import TrustStore
from node.addressbook import Addressbook
from node.standing import Standing
from protocol.answer import Done, OneToken
from protocol.envelope import Kind
from protocol.errors import Malformed, Replayed
from protocol.ids import CityId, NodeId
from protocol.membership import Credentials, Membership
from protocol.request import RenewQuery
from protocol.suites import Suite

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
        keys: NodeKeys,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        found: Callable[[CityId, tuple[str, ...]], None] = lambda city, urls: None,
    ) -> None:
        """Take the parts.

        Args:
            node: who we are.
            trust: takes bundles.
            exchanges: our end of exchanges.
            addressbook: knows our broker.
            standing: our membership.
            keys: our key pairs.
            now_ms: clock.
            entropy: random bytes.
            found: is told where the brokers of our city listen.
        """
        self._node = node
        self._trust = trust
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._standing = standing
        self._keys = keys
        self._now_ms = now_ms
        self._entropy = entropy
        self._found = found

    def handlers(self) -> dict[str, Handler]:
        """Return what every node answers."""
        return {"ping": self._ping}

    async def _ping(self, asked: Asked) -> Reply:
        return Reply(Done(at_ms=asked.now_ms))

    async def on_notice(self, peer: Peer, data: bytes) -> bool:
        """Take a trust bundle of our city; returns whether it is a new one.

        Every broker of the city shows its own; an older one than ours is no news.

        Raises:
            ProtocolViolation: it is none, or does not verify.
        """
        notice = Notice.decode(data, MAX_NOTICE_BYTES)
        if notice.kind == "membership" and notice.token and notice.operating:
            await self._standing.accept(
                Credentials(membership=notice.token, operating=notice.operating),
                self._now_ms() // 1000,
            )
            return False
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
        present = self._standing.membership()
        fresh = await self._ask(RenewQuery())
        return fresh is not None and fresh.exp > present.exp

    def wish(self, suite: Suite) -> str:
        """Return our wish to change keys, signed by the present and the new ones.

        The new keys are on disk before anybody hears of them. The same wish can be made
        again and again until the city has answered.
        """
        shown, pair = self._standing.membership(), self._keys.fresh(suite)
        return change_keys(
            self._node,
            self._keys.signer,
            NewKeys(pair.signer, pair.opening.public),
            title=shown.title,
            roles=shown.roles,
            now=self._now_ms() // 1000,
            entropy=self._entropy,
        ).token

    async def rotate(self, suite: Suite) -> Membership:
        """Change our keys: the city accepts both for the overlap.

        Raises:
            NotReady: the city did not answer, or refused; asking again is harmless.
        """
        fresh = await self._ask(RenewQuery(change=self.wish(suite)))
        if fresh is None:
            raise NotReady("the city has not changed the keys; try again")
        return fresh

    async def _ask(self, query: RenewQuery) -> Membership | None:
        """Ask our city for a membership and take it; None if none came."""
        asked = await self._exchanges.ask(
            self._addressbook.broker(self._node.city), Kind.MANAGE, query
        )
        if not isinstance(asked, Answer) or not isinstance(asked.result, OneToken):
            code = "" if isinstance(asked, Answer) else asked.refusal.code
            _logger.warning("membership was not renewed: %s", code)
            return None
        # By the time now: it may have been signed while we waited for it.
        now = self._now_ms() // 1000
        operating = self._trust.city_keys(self._node.city, now).operating
        return await self._standing.accept(
            Credentials(membership=asked.result.token, operating=operating), now
        )
