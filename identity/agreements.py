# SPDX-License-Identifier: Apache-2.0
"""Proposals and agreements with other cities, from the first draft to the end.

    propose -> (file to the other city) -> receive -> countersign -> install (both)

Rules:
 1. Nothing is signed or installed that names another root key for our city than ours.
 2. Before countersigning, a person confirms the fingerprint of the other city's root
    over another channel; the confirmed text comes in as an argument and must fit.
 3. A version is installed once. A newer one replaces it; one that was ended, or is
    older, never comes back, however often the file is sent.
 4. It ends before its day by the word of both cities, or of one with notice
    (`protocol.ending`). Each city may stop serving it at its own brokers at any time.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from identity.chains import Chains
from identity.errors import Conflict, NotFound
from identity.root import fingerprint
from identity.tables import agreements
from protocol.agreement import Agreement, AgreementBody
from protocol.ending import AGREEMENT_END, AgreementEnd, Ending, judge_ending
from protocol.errors import Expired, Malformed, Misuse, WrongAudience
from protocol.ids import CityId
from protocol.signature import Received
from protocol.suites import Signer, VerifyingKey

PROPOSED = "proposed"
RECEIVED = "received"
INSTALLED = "installed"
ENDED = "ended"
_MAX_ENDING_BYTES = 64 * 1024


@dataclass(frozen=True)
class Entry:
    """A proposal or agreement as kept.

    Attributes:
        agreement: the text and its signatures.
        state: `proposed` by us, `received`, `installed`, or `ended`.
        fingerprint: of the other city's root key, to be read over the phone.
        ends: when it ends, perhaps before the day in its text.
        ending: the words that say so, as they came.
    """

    agreement: Agreement
    state: str
    fingerprint: str
    ends: int = 0
    ending: bytes | None = None


class AgreementStore:
    """The agreements of one city. Lives at its broker."""

    def __init__(
        self,
        *,
        city: CityId,
        root: VerifyingKey,
        is_own_root: Callable[[VerifyingKey], bool] | None = None,
        chains: Chains | None = None,
        skew_s: int = 10,
    ) -> None:
        """Take our city and its public root key.

        Args:
            city: ours.
            root: its root key.
            is_own_root: whether a key is our root now, or was before it was followed.
            chains: which roots have followed those in the texts.
            skew_s: how far two clocks may differ.
        """
        self._chains = chains or Chains(skew_s=skew_s)
        self._skew_s = skew_s
        self._city = city
        self._is_own_root = is_own_root or root.__eq__

    def propose(
        self, connection: Connection, body: AgreementBody, root: Signer, *, now: int
    ) -> Entry:
        """Sign a text as the first of two; its `wire` goes to the other city.

        Raises:
            Conflict: this id and version exist.
            ProtocolViolation: the text does not concern us or names another root.
        """
        self._check(body, now)
        agreement = Agreement.propose(body, self._city, root)
        return self._insert(connection, agreement, PROPOSED, now)

    def receive(self, connection: Connection, wire: bytes, *, now: int) -> Entry:
        """Take the other city's proposal, for a person to read and compare.

        Raises:
            Conflict: this id and version exist, or is complete already.
            ProtocolViolation: any fault.
        """
        agreement = Agreement.parse(wire)
        self._check(agreement.body, now)
        if self._city in agreement.signed_by:
            raise Conflict("our city has signed this already; install it")
        return self._insert(connection, agreement, RECEIVED, now)

    def countersign(
        self,
        connection: Connection,
        agreement_id: str,
        root: Signer,
        *,
        confirmed: str,
        now: int,
    ) -> Entry:
        """Sign a received proposal and install it.

        Args:
            connection: transaction of the caller.
            agreement_id: which.
            root: our root key.
            confirmed: the other root's fingerprint as read over the phone.
            now: seconds since 1970.

        Returns:
            The installed agreement; its `wire` goes back to the other city.

        Raises:
            Misuse: the fingerprint is not the one in the text.
            NotFound: no such proposal.
        """
        entry = self.find(connection, agreement_id, state=RECEIVED)
        typed = confirmed.lower().split()
        if not hmac.compare_digest(
            "".join(typed).encode(), entry.fingerprint.replace(" ", "").encode()
        ):
            raise Misuse("the fingerprint is not that of the other city's root key")
        complete = entry.agreement.countersign(self._city, root)
        return self.install(connection, complete.wire, now=now)

    def install(self, connection: Connection, wire: bytes, *, now: int) -> Entry:
        """Put an agreement with both signatures in force; again changes nothing.

        Raises:
            Malformed: a signature is missing.
            Conflict: this version was ended, or a newer one is in force.
            ProtocolViolation: any other fault.
        """
        agreement = Agreement.parse(wire)
        body = agreement.body
        self._check(body, now)
        if not agreement.complete:
            raise Malformed("the agreement lacks a signature")
        present: Entry | None = None
        for row in connection.execute(
            select(agreements).where(agreements.c.id == body.id)
        ).all():
            older = row.version < body.version
            if row.state == ENDED and not older:
                raise Conflict("this version of the agreement was ended")
            if row.state == INSTALLED and row.version > body.version:
                raise Conflict("a newer version of the agreement is installed")
            if row.state == INSTALLED and row.version == body.version:
                present = self._row_entry(row)
        if present is not None:
            return present  # With the end that it may have been given.
        connection.execute(
            delete(agreements).where(
                agreements.c.id == body.id, agreements.c.version == body.version
            )
        )
        return self._insert(connection, agreement, INSTALLED, now)

    def end(self, connection: Connection, ending: bytes, *, now: int) -> Entry:
        """Take the words by which an agreement ends before its day.

        Args:
            connection: transaction of the caller.
            ending: one city's word, or both (JSON).
            now: seconds since 1970.

        Returns:
            The agreement with its new end.

        Raises:
            NotFound: no such agreement is installed.
            Conflict: it ends sooner already.
            OneSided: one city alone, with too little notice.
            ProtocolViolation: any other fault.
        """
        words = Ending.decode(ending, _MAX_ENDING_BYTES)
        named = Received.parse(words.words[0], AGREEMENT_END).peek(AgreementEnd)
        entry = self.find(connection, named.agreement, state=INSTALLED)
        body = entry.agreement.body
        at = judge_ending(
            words,
            body,
            lambda city, known, root: self._chains.accepts(city, known, root, now),
            self._chains.root_named,
            now,
            self._skew_s,
        )
        if entry.ending is not None and entry.ends <= at:
            if entry.ending == ending:
                return entry
            raise Conflict("the agreement ends sooner already")
        of_id = agreements.c.id == body.id
        connection.execute(
            update(agreements)
            .where(of_id, agreements.c.version <= body.version)
            .values(ends=at, ending=ending, changed=now)
        )
        return self.find(connection, body.id, state=INSTALLED)

    def stop(
        self, connection: Connection, agreement_id: str, *, now: int
    ) -> tuple[Entry, ...]:
        """Stop serving an agreement here, in all its versions, at once and for good.

        The other city need not agree: each may narrow what its own brokers carry.

        Raises:
            NotFound: nothing to end.
        """
        ended = connection.execute(
            update(agreements)
            .where(agreements.c.id == agreement_id, agreements.c.state != ENDED)
            .values(state=ENDED, changed=now)
        )
        if ended.rowcount == 0:
            raise NotFound("no such agreement")
        return tuple(
            e for e in self.entries(connection) if e.agreement.body.id == agreement_id
        )

    def entries(self, connection: Connection) -> tuple[Entry, ...]:
        """Return everything kept, by id and version."""
        query = select(agreements).order_by(agreements.c.id, agreements.c.version)
        return tuple(self._row_entry(row) for row in connection.execute(query))

    def find(self, connection: Connection, agreement_id: str, *, state: str) -> Entry:
        """Return the newest version of an agreement in one state.

        Raises:
            NotFound: there is none.
        """
        for entry in reversed(self.entries(connection)):
            if entry.agreement.body.id == agreement_id and entry.state == state:
                return entry
        raise NotFound("no such agreement")

    def in_force(self, connection: Connection, *, now: int) -> tuple[Agreement, ...]:
        """Return one agreement per other city: of those in force the newest version.

        A version that starts later leaves the one before in force until then.
        """
        present: dict[str, Entry] = {}
        for entry in self.entries(connection):
            started = entry.agreement.body.starts <= now
            if entry.state == ENDED or (entry.state == INSTALLED and started):
                # By id and version: a newer one has taken the older one's place for
                # good, also after it has ended.
                present[entry.agreement.body.id] = entry
        newest: dict[CityId, Agreement] = {}
        for entry in present.values():
            agreement = entry.agreement
            if entry.ends != agreement.body.ends:
                sooner = agreement.body.model_copy(update={"ends": entry.ends})
                agreement = agreement.model_copy(update={"body": sooner})
            if entry.state == ENDED or not agreement.in_force(now):
                continue
            other = agreement.body.other(self._city).city
            held = newest.get(other)
            if held is None or _rank(held) < _rank(agreement):
                newest[other] = agreement
        return tuple(newest[city] for city in sorted(newest))

    def _check(self, body: AgreementBody, now: int) -> None:
        if not body.concerns(self._city):
            raise WrongAudience("the agreement is between other cities")
        ours = body.a if body.a.city == self._city else body.b
        if not self._is_own_root(ours.root_key()):
            raise WrongAudience("the agreement names another root key for our city")
        if body.ends <= now:
            raise Expired("the agreement has ended")

    def _insert(
        self, connection: Connection, agreement: Agreement, state: str, now: int
    ) -> Entry:
        body = agreement.body
        exists = select(agreements.c.id).where(
            agreements.c.id == body.id, agreements.c.version == body.version
        )
        if connection.execute(exists).one_or_none() is not None:
            raise Conflict("this version of the agreement is here already")
        connection.execute(
            insert(agreements).values(
                id=body.id,
                version=body.version,
                city=body.other(self._city).city,
                state=state,
                wire=agreement.wire,
                changed=now,
            )
        )
        return self._entry(agreement, state, body.ends, None)

    def _row_entry(self, row: Row[Any]) -> Entry:
        agreement = Agreement.parse(row.wire)
        ends = agreement.body.ends if row.ends is None else row.ends
        sooner = min(ends, agreement.body.ends)
        return self._entry(agreement, row.state, sooner, row.ending)

    def _entry(
        self, agreement: Agreement, state: str, ends: int, ending: bytes | None
    ) -> Entry:
        other = agreement.body.other(self._city)
        root = self._chains.follow(other.city, other.root_key())
        return Entry(agreement, state, fingerprint(root), ends, ending)


def _rank(agreement: Agreement) -> tuple[int, int]:
    return agreement.body.starts, agreement.body.version
