# SPDX-License-Identifier: Apache-2.0
"""The authority takes new keys of its city from the root's desk, while it runs.

    request -> (file to the offline root) -> certificate back -> install -> in use

A new certificate is *told* first, in the city's keys, and *used* after a short while
(`settle_s`): so nobody meets a membership or an announcement under a key that it has
not heard of. Then all memberships are signed anew and handed to whoever is linked, and
the old private key is destroyed. In haste, when the old key was stolen, it is used at
once. What is waiting survives a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from federation.notice import Notice
from federation.peers import Peers
from identity.city import Authority
from identity.errors import Conflict, NotAMember
from identity.operating_keys import OperatingKeys, read_change
from identity.trust import TrustStore
from identity.trust_documents import drop_next, load_next, save_next
from node.database import Database
from node.roles.siblings import tell
from node.standing import Standing
from protocol.ids import CityId, NodeId
from protocol.membership import Credentials, OperatingCertificate
from protocol.suites import Suite, VerifyingKey

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Waiting:
    """A certificate that others are told of, and that is not used yet.

    Attributes:
        token: the certificate.
        use_at: when it is used, seconds since 1970.
    """

    token: str
    use_at: int


class CityChanges:
    """Replaces the operating key, and follows a new root. Lives at the authority."""

    def __init__(
        self,
        *,
        city: CityId,
        suite: Suite,
        operating: OperatingKeys,
        authority: Authority,
        trust: TrustStore,
        standing: Standing,
        peers: Peers,
        database: Database,
        changed: Callable[[], None],
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
    ) -> None:
        """Take the parts.

        Args:
            city: ours.
            suite: of fresh keys.
            operating: the city's operating keys.
            authority: signs memberships.
            trust: knows our root and what followed it.
            standing: our own membership.
            peers: who is linked.
            database: where everything is kept.
            changed: tells everybody what follows.
            now_ms: clock.
            entropy: random bytes.
        """
        self._city = city
        self._suite = suite
        self._operating = operating
        self._authority = authority
        self._trust = trust
        self._standing = standing
        self._peers = peers
        self._database = database
        self._changed = changed
        self._now_ms = now_ms
        self._entropy = entropy
        self.waiting: Waiting | None = None

    def load(self) -> None:
        """Take up which key is in use, and what is waiting."""
        if self._standing.admitted:
            self._operating.use(self._shown())
        kept = self._database.read(load_next)
        self.waiting = None if kept is None else Waiting(*kept)

    def _shown(self) -> VerifyingKey:
        token = self._standing.credentials().operating
        found = self._trust.certificate(token, self._city, self._now())
        return found.body.verifying_key()

    def request(self, *, fresh: bool) -> tuple[str, VerifyingKey]:
        """Return a request for the root to certify a fresh key, or the present one.

        With it the key, whose fingerprint is compared at the root's desk.
        """
        asked = self._operating.request(
            self._city,
            self._suite,
            fresh=fresh,
            now=self._now(),
            entropy=self._entropy,
        )
        return asked.token, VerifyingKey.from_jwk(asked.body.key)

    async def install(self, wire: bytes, *, settle_s: int) -> OperatingCertificate:
        """Take a new certificate, and with it perhaps a new root.

        Args:
            wire: the file from the root's desk.
            settle_s: how long it is told before it is used; 0 in haste.

        Raises:
            Conflict: not for a key of ours, or older than the one in use.
            ProtocolViolation: not by our root, or by one that follows it.
        """
        change, now = read_change(wire), self._now()
        if change.succession is not None:
            self._trust.accept_line((change.succession,))
        certificate = self._trust.certificate(change.operating, self._city, now).body
        if not self._operating.has(certificate.verifying_key()):
            raise Conflict("the certificate is for another operating key than ours")
        newest = self._trust.chains.newest(self._city)
        if newest is not None and newest.token != change.operating:
            raise Conflict("a newer operating certificate is installed")
        waiting = Waiting(change.operating, now + settle_s)
        self.waiting = waiting
        await self._database.write(
            lambda c: save_next(c, waiting.token, waiting.use_at, certificate.exp)
        )
        await self._standing.keep_known()
        if settle_s:
            self._changed()
        else:
            await self.due()
        return certificate

    async def due(self) -> bool:
        """Use what has waited long enough; True if something was."""
        waiting, now = self.waiting, self._now()
        if waiting is None or waiting.use_at > now:
            return False
        body = self._trust.certificate(waiting.token, self._city, now).body
        self._operating.use(body.verifying_key())
        count = await self._database.write(
            lambda c: self._authority.reissue(c, now=now)
        )
        own = self._standing.membership()
        fresh = self._database.read(
            lambda c: self._authority.membership_of(c, own.sub, now=now)
        )
        credentials = Credentials(membership=fresh.token, operating=waiting.token)
        await self._standing.accept(credentials, now)
        await self._database.write(drop_next)
        self.waiting = None
        _logger.warning("a new operating certificate is in use; %d signed anew", count)
        self._changed()
        self._hand_out(now)
        return True

    def _hand_out(self, now: int) -> None:
        """Give everybody of our city who is linked its new membership."""
        for peer, link in self._peers.all():
            if peer.city == self._city:
                notice = self.membership_notice(peer.node, now)
                if notice is not None:
                    tell(link, notice)

    def membership_notice(self, node: NodeId, now: int) -> bytes | None:
        """Return a member's newest membership as a notice, None if it has none."""
        try:
            found = self._database.read(
                lambda c: self._authority.membership_of(c, node, now=now)
            )
        except NotAMember:
            return None
        operating = self._standing.credentials().operating
        return Notice(
            kind="membership", token=found.token, operating=operating
        ).encode()

    def _now(self) -> int:
        return self._now_ms() // 1000
