# SPDX-License-Identifier: Apache-2.0
"""The parts of one vault, put together.

    vault = Vault.assemble(node=..., vault_key=..., index_key=..., entropy=...)
    db.write(lambda c: vault.start(c, now_ms))      # once, committed, before any use
    db.read(vault.load)                             # after start, and after a restore

Whoever needs one part is given that part, not this collection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from protocol.dataset import DatasetType
from protocol.ids import NodeId
from vault.attachments import Attachments
from vault.dataset_types import DatasetTypes, built_in_types
from vault.erasure import Erasure
from vault.importing import Importer
from vault.intake import Intake
from vault.keyring import Entropy, Keyring
from vault.ledger import Ledger
from vault.linking import Linking
from vault.provisions import Provisions
from vault.queries import Queries
from vault.received import ReceivedRecords
from vault.records import Records
from vault.release import Release
from vault.retention import Retention
from vault.search import Search
from vault.seen_lists import SeenLists
from vault.segments import Segments
from vault.subjects import Subjects
from vault.waiting import WaitingReads


@dataclass(frozen=True)
class Vault:
    """Every part, by name."""

    keyring: Keyring
    types: DatasetTypes
    subjects: Subjects
    records: Records
    attachments: Attachments
    queries: Queries
    search: Search
    received: ReceivedRecords
    intake: Intake
    importer: Importer
    provisions: Provisions
    release: Release
    segments: Segments
    ledger: Ledger
    lists: SeenLists
    linking: Linking
    retention: Retention
    erasure: Erasure
    waiting: WaitingReads

    @classmethod
    def assemble(
        cls,
        *,
        node: NodeId,
        vault_key: bytes,
        index_key: bytes,
        entropy: Entropy,
        older_vault_keys: tuple[bytes, ...] = (),
        built_in: Iterable[DatasetType] | None = None,
        max_record_bytes: int = 1 << 20,
        max_answer_bytes: int = 4 << 20,
        cached_person_keys: int = 10_000,
    ) -> Vault:
        """Build the parts; touches no database.

        Args:
            node: this node.
            vault_key: 32 bytes from the node's key store; opens.
            index_key: 32 bytes from the node's key store; finds.
            entropy: source of random bytes.
            older_vault_keys: see `Keyring`.
            built_in: dataset types that come with the product; None reads them.
            max_record_bytes: most bytes of one record's JSON text.
            max_answer_bytes: most bytes of record content in one answer; the requester
                asks for the rest.
            cached_person_keys: see `Keyring`.
        """
        keyring = Keyring(
            vault_key=vault_key,
            index_key=index_key,
            entropy=entropy,
            older_vault_keys=older_vault_keys,
            cache_size=cached_person_keys,
        )
        types = DatasetTypes(
            built_in=built_in_types() if built_in is None else built_in
        )
        subjects = Subjects(keyring=keyring, entropy=entropy)
        records = Records(node=node, keyring=keyring, entropy=entropy)
        attachments = Attachments(
            node=node, keyring=keyring, types=types, entropy=entropy
        )
        queries = Queries(store=records)
        search = Search(keyring=keyring, store=records)
        received = ReceivedRecords(keyring=keyring, store=records)
        provisions = Provisions(keyring=keyring)
        ledger = Ledger(keyring=keyring, received=received)
        waiting = WaitingReads(keyring=keyring, received=received)
        intake = Intake(
            types=types,
            store=records,
            search=search,
            received=received,
            max_record_bytes=max_record_bytes,
        )
        release = Release(
            node=node,
            keyring=keyring,
            store=records,
            queries=queries,
            attachments=attachments,
            provisions=provisions,
            entropy=entropy,
            max_answer_bytes=max_answer_bytes,
        )
        return cls(
            keyring=keyring,
            types=types,
            subjects=subjects,
            records=records,
            attachments=attachments,
            queries=queries,
            search=search,
            received=received,
            intake=intake,
            importer=Importer(intake=intake, subjects=subjects),
            provisions=provisions,
            release=release,
            segments=Segments(
                node=node,
                release=release,
                attachments=attachments,
                provisions=provisions,
            ),
            ledger=ledger,
            lists=SeenLists(keyring=keyring),
            linking=Linking(
                keyring=keyring,
                subjects=subjects,
                store=records,
                attachments=attachments,
                provisions=provisions,
                ledger=ledger,
                waiting=waiting,
            ),
            retention=Retention(
                types=types, store=records, received=received, provisions=provisions
            ),
            erasure=Erasure(
                keyring=keyring,
                subjects=subjects,
                store=records,
                ledger=ledger,
                waiting=waiting,
            ),
            waiting=waiting,
        )

    def start(self, connection: Connection, now_ms: int) -> None:
        """Make what must exist; MUST be committed before the vault is used."""
        self.keyring.start(connection, now_ms)

    def load(self, connection: Connection) -> None:
        """Read into memory what every request looks at."""
        self.types.load(connection)
        self.ledger.load(connection)
        self.lists.load(connection)
