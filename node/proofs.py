# SPDX-License-Identifier: Apache-2.0
"""Freshness proofs for asking: the newest status list of each home node.

A proof is fetched before it is half used up, once for all requests that wait for it.
If the home node is silent the old one is used as long as there is one; whether it is
still fresh enough the holder decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable

from federation.exchange import Answer, Endpoint
from identity.trust import TrustStore
from node.addressbook import Addressbook
from protocol.answer import OneToken
from protocol.consent import Consent
from protocol.envelope import Kind
from protocol.errors import MachikuraError, Malformed, UnknownKey
from protocol.ids import NodeId
from protocol.membership import Membership
from protocol.request import StatusQuery
from protocol.signature import Signed
from protocol.status import STATUS_LIST, StatusList

_logger = logging.getLogger(__name__)

Place = tuple[NodeId, int]
_SILENT_MS = 5_000
"""After a home node let somebody wait, requests do not wait for it so long."""


class Proofs:
    """Keeps status lists of home nodes fresh while they are used."""

    def __init__(
        self,
        *,
        exchanges: Endpoint,
        addressbook: Addressbook,
        trust: TrustStore,
        now_ms: Callable[[], int],
        size: int = 10_000,
    ) -> None:
        """Take the parts; at most `size` lists are kept."""
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._trust = trust
        self._now_ms = now_ms
        self._size = size
        self._kept: OrderedDict[Place, Signed[StatusList]] = OrderedDict()
        self._fetching: dict[Place, asyncio.Task[None]] = {}
        self._silent_until: dict[Place, int] = {}

    async def fresh(
        self, consent: Consent, *, patience_s: float | None = None
    ) -> str | None:
        """Return the newest proof that can be had for a consent, None without any.

        Args:
            consent: whose status is to be shown.
            patience_s: wait no longer than this for the home node; None waits until
                the question's own deadline.
        """
        ready = self.ready(consent)
        if ready is not None:
            return ready
        place = _place(consent)
        if not self._is_silent(place):
            try:
                async with asyncio.timeout(patience_s):
                    await self._fetch(place)
            except TimeoutError:
                if place in self._kept:
                    self._silent_until[place] = self._now_ms() + _SILENT_MS
        kept = self._kept.get(place)
        return None if kept is None else kept.token

    def _is_silent(self, place: Place) -> bool:
        """Tell whether to go on with a proof that holds rather than wait again."""
        kept = self._kept.get(place)
        now_ms = self._now_ms()
        holds = kept is not None and kept.body.exp > now_ms // 1000
        return holds and now_ms < self._silent_until.get(place, 0)

    def ready(self, consent: Consent) -> str | None:
        """Return a proof that can be shown without asking for a newer one."""
        kept = self._kept.get(_place(consent))
        return None if kept is None or self._half_used(kept.body) else kept.token

    def offer(self, home: NodeId, proof: Signed[StatusList]) -> None:
        """Take a verified list that came along with something else."""
        place = (home, proof.body.list)
        kept = self._kept.get(place)
        over = kept is not None and kept.body.exp <= self._now_ms() // 1000
        # Over: a home node that came back from a backup counts from a lower number.
        if kept is None or over or kept.body.epoch < proof.body.epoch:
            self._kept[place] = proof
            self._kept.move_to_end(place)
            self._silent_until.pop(place, None)
            if len(self._kept) > self._size:
                gone, _ = self._kept.popitem(last=False)
                self._silent_until.pop(gone, None)

    def _half_used(self, proof: StatusList) -> bool:
        return self._now_ms() // 1000 * 2 >= proof.iat + proof.exp

    async def _fetch(self, place: Place) -> None:
        """Fetch a list; requests that come meanwhile wait for the same answer."""
        task = self._fetching.get(place)
        if task is None:
            task = asyncio.create_task(self._ask(place))
            self._fetching[place] = task
            task.add_done_callback(lambda _: self._fetching.pop(place, None))
        await asyncio.shield(task)

    async def _ask(self, place: Place) -> None:
        home, number = place
        try:
            target = await self._addressbook.target(home)
            asked = await self._exchanges.ask(
                target, Kind.MANAGE, StatusQuery(list=number)
            )
            if not isinstance(asked, Answer):
                _logger.info("no proof from %s: %s", home, asked.refusal.code)
                return
            if not isinstance(asked.result, OneToken):
                raise Malformed("a status list was asked for")
            token = asked.result.token
            try:
                proof = self._verified(token, await self._addressbook.member(home))
            except UnknownKey:
                # It has changed its keys since its city told us who it is.
                self._addressbook.forget(home)
                member = (await self._addressbook.signed_member(home)).body
                proof = self._verified(token, member)
            if proof.body.list != number:
                raise Malformed("another list was asked for")
            self.offer(home, proof)
        except MachikuraError as error:
            _logger.info("no proof from %s: %s", home, error.slug)

    def _verified(self, token: str, home: Membership) -> Signed[StatusList]:
        now = self._now_ms() // 1000
        return self._trust.verify_home_document(
            token, STATUS_LIST, StatusList, home, now
        )


def _place(consent: Consent) -> Place:
    return NodeId(consent.iss), consent.status.list
