# SPDX-License-Identifier: Apache-2.0
"""The holder's side: releases records, tells the resident, obeys withdrawals.

The vault decides and opens; here the parts of the request are verified and put into a
`protocol.decision.Case`. A consent counts only if it comes from the home node that the
resident linked: any other node with the same role could otherwise consent in the
resident's name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from federation.exchange import Answer, Asked, Endpoint, Handler, MemberSecret, Reply
from federation.outcome import DeadlinePassed
from identity.nameless import NamelessKeys, NamelessPair
from node.addressbook import Addressbook
from node.database import Database
from node.warrants import Verified, Warrants
from protocol.answer import Holdings, OneToken
from protocol.decision import Case, Deny, Freshness
from protocol.envelope import Kind
from protocol.errors import Malformed
from protocol.ids import NodeId
from protocol.membership import Role
from protocol.problem import ProblemBody
from protocol.request import (
    CertifyKey,
    LocateHandle,
    MemberKeyQuery,
    Read,
    Warrant,
)
from protocol.suites import Suite
from vault import release
from vault.holdings import holdings
from vault.keyring import SubjectId
from vault.parts import Vault

T = TypeVar("T")

_MEMBER_KEY_LIFE_S = 86_400


class HolderDesk:
    """Answers reads, the resident's questions, and requests for nameless keys."""

    def __init__(
        self,
        *,
        node: NodeId,
        suite: Suite,
        vault: Vault,
        warrants: Warrants,
        nameless: NamelessKeys,
        exchanges: Endpoint,
        addressbook: Addressbook,
        database: Database,
        max_age_s: int,
        skew_s: int,
        now_ms: Callable[[], int],
    ) -> None:
        """Take the parts.

        Args:
            node: who we are.
            suite: suite of fresh nameless keys.
            vault: the vault's parts.
            warrants: verifies consents that come with requests.
            nameless: our nameless keys.
            exchanges: our end of exchanges.
            addressbook: knows our broker.
            database: where everything is kept.
            max_age_s: T, the greatest age of a freshness proof.
            skew_s: how far two clocks may differ.
            now_ms: clock.
        """
        self._node = node
        self._suite = suite
        self._vault = vault
        self._warrants = warrants
        self._nameless = nameless
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._database = database
        self._max_age_s = max_age_s
        self._skew_s = skew_s
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        """Return what a holder answers."""
        return {
            "read": self._read,
            "locate-handle": self._locate,
            "member-key": self._member_key,
        }

    def member_secret(self, kid: str) -> MemberSecret | None:
        """Return the private halves of one of our nameless keys."""
        pair = self._nameless_pair(kid)
        return None if pair is None else MemberSecret(pair.signing, pair.opening)

    def _nameless_pair(self, kid: str | None) -> NamelessPair | None:
        if kid is None:
            return None
        now = self._now_ms() // 1000
        return self._database.read(lambda c: self._nameless.find(c, kid, now=now))

    def forget(self, connection: Connection, now: int) -> None:
        """Delete nameless keys and status lists that have ended."""
        self._nameless.forget(connection, before=now - self._skew_s)
        self._vault.lists.forget(connection, now)

    # ------------------------------------------------------------------ reads

    async def _read(self, asked: Asked) -> Reply:
        """Release records, or refuse; either is on disk before the answer leaves."""
        query = asked.expect(Read)
        facts = release.Asked(
            exchange=asked.header.id,
            request=asked.request,
            route=tuple(str(hop.by) for hop in asked.hops),
            at_ms=asked.now_ms,
        )
        verified = self.verified(query.warrant, asked)
        parts = verified if isinstance(verified, Verified) else None
        subject, prepared = self._database.read(
            partial(self._prepare, asked=asked, parts=parts, query=query, facts=facts)
        )
        if isinstance(verified, Deny):
            prepared = verified
        if isinstance(prepared, Deny):
            deny, case = prepared, self.case(asked, parts, subject is not None)
            await self.write(
                lambda c: self._vault.release.refuse(c, case, subject, deny, facts),
                parts,
            )
            return Reply(ProblemBody(code=deny.reason, detail=deny.detail[:512]))
        ready = prepared

        def commit(answer: str) -> asyncio.Future[bytes]:
            def release(connection: Connection) -> bytes:
                # Writes may have had to wait: what comes too late is no release.
                if self._now_ms() >= asked.header.deadline_ms:
                    raise DeadlinePassed
                return self._vault.release.commit(connection, ready, answer)

            return self.write(release, parts)

        return Reply(ready.result, commit)

    def write(
        self, record: Callable[[Connection], T], parts: Verified | None
    ) -> asyncio.Future[T]:
        """Write a release or refusal down, with the list that decided it if it is new.

        No answer by a list leaves before a restart would find that list.
        """
        lists, newest = self._vault.lists, None if parts is None else parts.proof
        if newest is None or self.is_noted(parts):
            return self._database.write(record)

        def write(connection: Connection) -> T:
            lists.save(connection, newest)
            return record(connection)

        def note(done: asyncio.Future[T]) -> None:
            if not done.cancelled() and done.exception() is None:
                lists.saved(newest)

        written = self._database.write(write)
        written.add_done_callback(note)
        return written

    def is_noted(self, parts: Verified | None) -> bool:
        """Tell whether the list that decides is on disk already."""
        judged = None if parts is None else parts.proof
        return judged is None or self._vault.lists.is_saved(judged)

    def verified(self, warrant: Warrant | None, asked: Asked) -> Verified | Deny | None:
        """Verify the warrant; in a hidden read under the member key of this consent."""
        if warrant is None:
            return None
        pair = self._nameless_pair(asked.header.member)
        opening = None if pair is None else pair.opening
        verified = self._warrants.verify(warrant, asked, opening)
        if pair is None or isinstance(verified, Deny):
            return verified
        # One key, one consent: else answers under two could be linked.
        if pair.consent != verified.consent.body.jti:
            return Deny("token-invalid", "the member key is for another consent")
        return verified

    def _prepare(
        self,
        connection: Connection,
        *,
        asked: Asked,
        parts: Verified | None,
        query: Read,
        facts: release.Asked,
    ) -> tuple[SubjectId | None, release.Prepared | Deny]:
        subject = self.subject(connection, parts)
        case = self.case(asked, parts, subject is not None)
        prepared = self._vault.release.prepare(connection, case, subject, query, facts)
        return subject, prepared

    def subject(
        self, connection: Connection, parts: Verified | None
    ) -> SubjectId | None:
        """Return whom the ticket names, if this resident's home node signed."""
        if parts is None or parts.ticket is None:
            return None
        subjects = self._vault.subjects
        subject = subjects.find_handle(connection, parts.ticket.handle)
        if subject is None:
            return None
        link = subjects.link_of(connection, subject)
        if link is None or link.grant.home != parts.home.sub:
            return None
        return subject

    def case(self, asked: Asked, parts: Verified | None, bound: bool) -> Case:
        """Put together what is decided on; `bound`: the ticket names one of ours."""
        header, types = asked.header, self._vault.types
        if header.dataset_type is None:
            raise Malformed("a read needs a dataset type")
        dataset = types.get(header.dataset_type)
        consent = None if parts is None else parts.consent.body
        revoked, newest = None, 0
        if consent is not None:
            revoked, newest = self._vault.ledger.revocation_of(consent)
        return Case(
            now=asked.now,
            holder=self._node,
            recipient=asked.sender,
            dataset=dataset,
            purpose=header.purpose,
            data_class=header.data_class,
            consent=consent,
            subject_bound=bound,
            freshness=Freshness(
                proof=None if parts is None else parts.proof,
                max_age_s=dataset.freshness_s or self._max_age_s,
                skew_s=self._skew_s,
                revoked=revoked,
                newest_version=newest,
            ),
            policy=types.policy(dataset.name),
            hidden=header.member is not None,
        )

    # ----------------------------------------------------------- the resident

    async def _locate(self, asked: Asked) -> Reply:
        """Tell the resident's home node what we hold and with whom it was shared.

        A handle that we do not know and one linked through another home node look
        alike: nothing.
        """
        query = asked.expect(LocateHandle)
        held = await self._database.scan(
            partial(self._holdings, query=query, home=asked.sender.sub)
        )
        return Reply(held)

    def _holdings(
        self, connection: Connection, *, query: LocateHandle, home: NodeId
    ) -> Holdings:
        vault = self._vault
        subject = vault.subjects.find_handle(connection, query.handle)
        link = None if subject is None else vault.subjects.link_of(connection, subject)
        if subject is None or link is None or link.grant.home != home:
            return Holdings(holdings=())
        return holdings(
            connection,
            subject,
            node=self._node,
            queries=vault.queries,
            provisions=vault.provisions,
            records=query.records,
        )

    # ---------------------------------------------------------- hidden reads

    async def _member_key(self, asked: Asked) -> Reply:
        """Make fresh keys for one consent and have our city certify them."""
        query = asked.expect(MemberKeyQuery)
        if Role.IDENTITY not in asked.sender.roles:
            return Reply(ProblemBody(code="forbidden", detail="not a home node"))
        until = min(query.until, asked.now + _MEMBER_KEY_LIFE_S)
        pair = await self._database.write(
            lambda c: self._nameless.create(
                c, self._suite, consent=query.consent, ends=until
            )
        )
        certified = await self._exchanges.ask(
            self._addressbook.broker(self._node.city),
            Kind.MANAGE,
            CertifyKey(
                consent=query.consent,
                key=pair.signing.public.jwk,
                sealing=pair.opening.public.document,
                until=until,
            ),
        )
        if not isinstance(certified, Answer):
            return Reply(ProblemBody(code=certified.refusal.code))
        if not isinstance(certified.result, OneToken):
            return Reply(ProblemBody(code="answer-invalid"))
        return Reply(certified.result)
