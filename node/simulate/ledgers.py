# SPDX-License-Identifier: Apache-2.0
"""Reads what nodes wrote down of releases and arrivals, and holds it to the truth.

After every step only nodes that have written since are read. Each new provision is
judged by the oracle; a row that was seen once must never be missing again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from node.simulate.federation import Federation, MortalDatabase
from node.simulate.truth import Released, Truth
from node.simulate.wire import Complain, Wire
from node.sqlite import driver
from protocol.envelope import Kind
from protocol.provision import ProvisionRecord
from vault.errors import Erased
from vault.provisions import Provisions
from vault.tables import provisions

_KEYS = select(provisions.c.exchange, provisions.c.role)


@dataclass
class Ledgers:
    """Every provision and reception record of a story.

    Attributes:
        provided, received: by node, then by exchange.
    """

    federation: Federation
    truth: Truth
    wire: Wire
    complain: Complain
    provided: dict[str, dict[str, ProvisionRecord]] = field(default_factory=dict)
    received: dict[str, dict[str, ProvisionRecord]] = field(default_factory=dict)
    _rows: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    _written: dict[str, tuple[MortalDatabase, int]] = field(default_factory=dict)

    def scan(self) -> None:
        """Read what is new, everywhere."""
        for name, node in self.federation.nodes.items():
            mark = (node.database, node.database.writes)
            if self._written.get(name) != mark:
                self._written[name] = mark
                if node.database.read(_count) != len(self._rows.get(name, ())):
                    self._scan(name)

    def _scan(self, name: str) -> None:
        node = self.federation.nodes[name]
        ledger = node.core.parts.vault.provisions
        known = self._rows.setdefault(name, set())

        def read(connection: Connection) -> list[ProvisionRecord]:
            rows = {(row.exchange, row.role) for row in connection.execute(_KEYS)}
            for _, role in sorted(known - rows):
                self.complain("durable", f"{name} has lost a {role} record")
            fresh = sorted(rows - known)
            known.update(rows)
            found = (_find(connection, ledger, *row) for row in fresh)
            return [record for record in found if record is not None]

        for record in node.database.read(read):
            if record.role == "provision":
                self.provided.setdefault(name, {})[record.exchange] = record
                self._judge(name, record)
            else:
                self.received.setdefault(name, {})[record.exchange] = record

    def _judge(self, holder: str, record: ProvisionRecord) -> None:
        sent = self.wire.exchanges.get(record.exchange)
        skew_ms = self.federation.network.clock(holder).skew_ms
        push = sent is not None and sent.kind is Kind.PUSH
        decided_ms = record.at_ms - skew_ms
        release = Released(
            holder=holder,
            recipient=record.counterparty,
            consent=record.consent,
            name=record.dataset_type,
            purpose=str(record.purpose),
            fields=frozenset(record.fields),
            records=tuple(record.records),
            # A push counts when it leaves, however early it was decided on.
            at_ms=sent.began_ms if sent is not None and push else decided_ms,
            push=push,
        )
        if sent is None and holder not in self.truth.distrusted:
            self.complain("ledger", f"{holder} released in an exchange nobody began")
        for fault in self.truth.judge(release):
            rule = "bound" if "after the resident" in fault else "intersection"
            self.complain(rule, f"{holder} to {release.recipient}: {fault}")

    # -------------------------------------------------------------- both sides

    def compare(self, reads: frozenset[str]) -> None:
        """Hold the records of both sides against each other.

        Args:
            reads: exchanges of reads that ended with records at the requester.
        """
        given = {
            exchange: (holder, record)
            for holder, records in self.provided.items()
            for exchange, record in records.items()
        }
        for recipient, records in self.received.items():
            for exchange, got in records.items():
                self._agree(recipient, got, given.get(exchange))
        arrived = {e for records in self.received.values() for e in records}
        for exchange in sorted(reads - arrived):
            self.complain("ledger", f"read {exchange} left no reception record")
        for exchange in sorted(reads - given.keys()):
            self.complain("ledger", f"read {exchange} left no provision record")

    def _agree(
        self,
        recipient: str,
        got: ProvisionRecord,
        given: tuple[str, ProvisionRecord] | None,
    ) -> None:
        if got.counterparty in self.truth.distrusted:
            return
        if given is None:
            self.complain("ledger", f"{recipient} received what nobody provided")
            return
        holder, gave = given
        sent = self.wire.exchanges.get(got.exchange)
        push = sent is not None and sent.kind is Kind.PUSH
        # A recipient does not know the holder's policy, so a push may say less there.
        fields_agree = (
            set(gave.fields) <= set(got.fields) if push else gave.fields == got.fields
        )
        same = {
            "recipient": gave.counterparty == recipient,
            "request": gave.request == got.request,
            "answer": push or gave.answer == got.answer,
            "consent": (gave.consent, gave.consent_version)
            == (got.consent, got.consent_version),
            "purpose": gave.purpose == got.purpose,
            "type": gave.dataset_type == got.dataset_type,
            "fields": fields_agree,
            "records": len(gave.records) == len(got.records),
        }
        for what, agree in same.items():
            if not agree:
                self.complain("ledger", f"{holder} and {recipient} differ on {what}")


def _count(connection: Connection) -> int:
    """Return how many rows there are: most writes are about something else."""
    (count,) = driver(connection).execute("SELECT count(*) FROM provisions").fetchone()
    return int(count)


def _find(
    connection: Connection, ledger: Provisions, exchange: str, role: str
) -> ProvisionRecord | None:
    if role not in ("provision", "reception"):
        return None
    try:
        found = ledger.find(
            connection, exchange, "provision" if role == "provision" else "reception"
        )
    except Erased:
        return None
    return found if isinstance(found, ProvisionRecord) else None
