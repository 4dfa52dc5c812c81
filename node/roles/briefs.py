# SPDX-License-Identifier: Apache-2.0
"""The briefs that an authority signs for the relays of its city.

A brief is signed anew when something in it has changed, and every ten minutes, so that
a relay that loses its authority has nearly the whole life of one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from weakref import WeakKeyDictionary

from federation.peers import Carrier, Peer
from federation.token_keys import TokenKeys
from identity.entropy import new_id
from protocol.agreement import Agreement
from protocol.brief import BRIEF, Brief, seal_token_key
from protocol.ids import NodeId
from protocol.signature import digest_of, sign
from protocol.suites import Signer

_AGAIN_S = 600


class Briefs:
    """Writes briefs, and remembers what each link was told."""

    def __init__(
        self,
        *,
        node: NodeId,
        operating: Signer,
        agreements: Callable[[], Iterable[Agreement]],
        tokens: TokenKeys,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        life_s: int,
    ) -> None:
        """Take the parts.

        Args:
            node: the authority.
            operating: its operating key.
            agreements: those in force.
            tokens: what opens location tokens, the newest first.
            now_ms: clock.
            entropy: chance.
            life_s: how long a relay may go by a brief.
        """
        self._node = node
        self._operating = operating
        self._agreements = agreements
        self._tokens = tokens
        self._now_ms = now_ms
        self._entropy = entropy
        self._life_s = life_s
        self._told: WeakKeyDictionary[Carrier, tuple[str, int]] = WeakKeyDictionary()

    def newer_than_told(self, relay: Peer, link: Carrier) -> str | None:
        """Return a brief for a relay, None if what this link was told still serves."""
        now = self._now_ms() // 1000
        wires = tuple(sorted(a.wire.decode("ascii") for a in self._agreements()))
        sealing = relay.membership.sealing.load()
        keys = [digest_of(key.public.raw) for key in self._tokens.keys]
        name = digest_of("\n".join([*wires, *keys]).encode("ascii"))
        told = self._told.get(link)
        if told is not None and told[0] == name and now < told[1]:
            return None
        self._told[link] = name, now + _AGAIN_S
        claims = Brief(
            iss=self._node.city,
            aud=relay.node,
            jti=new_id(now, self._entropy),
            iat=now,
            exp=now + self._life_s,
            authority=self._node,
            agreements=wires,
            tokens=tuple(
                seal_token_key(key, relay.node, sealing) for key in self._tokens.keys
            ),
        )
        return sign(self._operating, BRIEF, claims).token
