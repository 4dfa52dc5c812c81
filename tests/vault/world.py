# SPDX-License-Identifier: Apache-2.0
"""A vault on a real SQLite file, with the documents that a decision looks at.

Time and entropy are given, so every run writes the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from protocol.answer import Stored
from protocol.canonical import b64url
from protocol.consent import (
    CONSENT,
    Consent,
    Evidence,
    Notice,
    Operation,
    Scope,
    State,
    StatusReference,
)
from protocol.dataset import DatasetType
from protocol.decision import Case, Freshness
from protocol.ids import ExchangeId, NodeId, RecordId, uuid7
from protocol.location import LinkGrant
from protocol.membership import DataClass, Membership, Qualification, Role
from protocol.provision import ProvisionRecord
from protocol.request import ConsentPackage, Read, WireRecord
from protocol.sealed import PublicSealingKey
from protocol.signature import sign
from protocol.status import StatusList, pack
from protocol.suites import SigningKey, Suite
from vault.intake import Delivery
from vault.keyring import SubjectId
from vault.parts import Vault
from vault.release import Asked, Prepared
from vault.tables import metadata

T = TypeVar("T")

NOW = 1_760_000_000
NOW_MS = NOW * 1000
CLINIC = NodeId("hoshino/clinic")
PHARMACY = NodeId("hoshino/pharmacy")
KEY = SigningKey(Suite.HYBRID, b"k" * 48)
HALL = NodeId("hoshino/hall")
SHOP = NodeId("minato/energy")
THERE = RecordId("urn:machikura:minato:energy:0199c000-0000-7000-8000-00000000000a")
DIGEST = b64url(bytes(32))
HANDLE = "h" * 43
CONSENT_ID = "0199c000-0000-7000-8000-00000000c0de"

CHECKUP = DatasetType.model_validate_json(
    """{
    "name": "health.checkup", "version": 1,
    "title": {"en": "Checkup", "ja": "健診"},
    "field": "health", "data_class": "personal", "evidence_level": 2,
    "time_field": "date", "holder_fields": ["facility"], "searchable": ["result"],
    "purposes": {
      "treatment": {"title": {"en": "Treatment"},
        "fields": ["date", "weight", "result", "facility", "note"]},
      "statistics": {"title": {"en": "Statistics"}, "fields": ["weight"]}
    },
    "schema": {
      "type": "object", "additionalProperties": false, "required": ["date"],
      "properties": {
        "date": {"type": "string"}, "weight": {"type": "number"},
        "result": {"type": "string"}, "facility": {"type": "string"},
        "note": {"type": "string"}, "tags": {"type": "array"}
      }
    }}"""
)
PLACES = DatasetType.model_validate_json(
    """{
    "name": "city.places", "version": 1, "title": {"en": "Places"},
    "field": "city", "data_class": "open",
    "purposes": {"any": {"title": {"en": "Any"}, "fields": ["name"]}},
    "schema": {"type": "object", "additionalProperties": false,
      "properties": {"name": {"type": "string"}, "notes": {}}}}"""
)


class Chance:
    """Entropy that is the same in every run."""

    def __init__(self, seed: int = 0) -> None:
        self._calls = seed << 32

    def __call__(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        self._calls += 1
        return hashlib.shake_256(self._calls.to_bytes(8, "big")).digest(size)


def _durable(driver: Any, _: object) -> None:  # the event passes the driver's own type
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
        driver.execute(f"PRAGMA {pragma}")


def open_engine(path: Path) -> sa.Engine:
    """Open a database file as a node does."""
    engine = sa.create_engine(f"sqlite:///{path}")
    sa.event.listen(engine, "connect", _durable)
    return engine


class World:
    """One node's vault and its database."""

    def __init__(self, path: Path, seed: int = 0) -> None:
        self.path = path
        self.chance = Chance(seed)
        self.engine = open_engine(path)
        metadata.create_all(self.engine)
        self.vault = self.assemble()

    def assemble(self, **settings: Any) -> Vault:
        """Build the parts anew, as a restart does: nothing is left in memory."""
        keys: dict[str, Any] = {"vault_key": b"v" * 32, "index_key": b"i" * 32}
        vault = Vault.assemble(
            node=CLINIC,
            entropy=self.chance,
            built_in=(CHECKUP, PLACES),
            **{**keys, **settings},
        )
        self.write(lambda c: vault.start(c, NOW_MS))
        self.read(vault.load)
        return vault

    def restart(self) -> None:
        """Forget everything in memory."""
        self.vault = self.assemble()

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in one transaction."""
        with self.engine.begin() as connection:
            return work(connection)

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` on a connection of its own."""
        with self.engine.connect() as connection:
            return work(connection)

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        """Return what a thief of the disk sees of a table."""
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(table.select()).mappings()]

    def bytes_on_disk(self) -> bytes:
        """Return the database file with its write-ahead log."""
        files = sorted(self.path.parent.glob(self.path.name + "*"))
        return b"".join(file.read_bytes() for file in files)

    def person(self, local_id: str = "P-1") -> SubjectId:
        """Return the subject with this patient number."""
        return self.write(
            lambda c: self.vault.subjects.ensure_local(c, local_id, NOW_MS)
        )

    def store(
        self, subject: SubjectId, content: dict[str, Any], source_id: str | None = None
    ) -> Any:
        """Store a checkup; `date` is filled in."""
        return self.write(
            lambda c: self.vault.intake.store(
                c,
                "health.checkup",
                subject,
                {"date": "2025-04-01", **content},
                now_ms=NOW_MS,
                source_id=source_id,
            )
        )

    def prepare(
        self,
        subject: SubjectId | None,
        query: Read | None = None,
        number: int = 1,
        **changes: Any,
    ) -> Any:
        """Prepare a release to the pharmacy; `changes` are of the case."""
        return self.read(
            lambda c: self.vault.release.prepare(
                c, case(**changes), subject, query or Read(), asked(number)
            )
        )

    def commit(self, prepared: Prepared) -> bytes:
        """Record a release."""
        return self.write(lambda c: self.vault.release.commit(c, prepared, DIGEST))


def exchange(number: int) -> ExchangeId:
    """Return the id of the exchange with this number."""
    return ExchangeId(str(uuid7(NOW_MS, number.to_bytes(10, "big"))))


def asked(number: int = 1, at_ms: int = NOW_MS) -> Asked:
    """Return what an envelope says of exchange `number`."""
    return Asked(exchange(number), DIGEST, ("hoshino/broker",), at_ms)


def grant(handle: str = HANDLE, home: NodeId = HALL, token: str = "token") -> LinkGrant:
    """Return what the home node gives on linking."""
    return LinkGrant(home=home, handle=handle, grant=token)


def membership(node: NodeId = PHARMACY, **changes: Any) -> Membership:
    """Return a membership in force."""
    values: dict[str, Any] = {
        "iss": "hoshino",
        "aud": "machikura",
        "jti": "1",
        "iat": NOW - 10,
        "exp": NOW + 86_400,
        "sub": node,
        "key": {},
        "sealing": PublicSealingKey(suite=Suite.HYBRID, pub=""),
        "roles": (Role.VAULT,),
        "qualifications": (Qualification(scheme="privacy-mark", until=NOW + 999),),
        "data_classes": tuple(DataClass),
    }
    return Membership(**{**values, **changes})


def consent(**changes: Any) -> Consent:
    """Return a consent to read checkups for treatment."""
    values: dict[str, Any] = {
        "iss": HALL,
        "aud": "machikura",
        "jti": CONSENT_ID,
        "iat": NOW - 100,
        "exp": NOW + 86_400,
        "version": 1,
        "state": State.ACTIVE,
        "recipients": (PHARMACY,),
        "holders": ("any",),
        "subjects": (DIGEST,),
        "operations": (Operation.SHARE,),
        "scope": (scope(),),
        "purposes": ("treatment",),
        "starts": NOW - 100,
        "ends": NOW + 86_400,
        "notice": Notice(digest=DIGEST, language="ja", version="1"),
        "evidence": Evidence(level=2, method="password+totp"),
        "status": StatusReference(list=0, index=0),
    }
    return Consent(**{**values, **changes})


def scope(**changes: Any) -> Scope:
    """Return a scope of all checkups."""
    values: dict[str, Any] = {
        "dataset_type": "health.checkup",
        "data_class": DataClass.PERSONAL,
    }
    return Scope(**{**values, **changes})


def freshness(**changes: Any) -> Freshness:
    """Return a fresh proof that says valid."""
    proof = StatusList(
        iss=HALL,
        aud="machikura",
        jti="s",
        iat=NOW - 5,
        exp=NOW + 55,
        list=0,
        epoch=1,
        lst=pack({}),
    )
    return replace(Freshness(proof, max_age_s=60, skew_s=5), **changes)


def case(**changes: Any) -> Case:
    """Return a case that is permitted."""
    values: dict[str, Any] = {
        "now": NOW,
        "holder": CLINIC,
        "recipient": membership(),
        "dataset": CHECKUP,
        "purpose": "treatment",
        "data_class": DataClass.PERSONAL,
        "consent": consent(),
        "freshness": freshness(),
        "subject_bound": True,
    }
    return Case(**{**values, **changes})


def wire(**changes: Any) -> WireRecord:
    """Return a pushed record."""
    values: dict[str, Any] = {
        "id": THERE,
        "dataset_type": "health.checkup",
        "version": 1,
        "content": '{"date":"2025-04-01","note":"pushed"}',
    }
    return WireRecord(**{**values, **changes})


def push(world: World, subject: SubjectId, *pushed: WireRecord, **terms: Any) -> Stored:
    """Take in pushed records."""
    agreed = consent(retention_days=terms.pop("days", None))
    fields = frozenset({"date", "note"})
    delivery = Delivery(SHOP, exchange(1), agreed, "health.checkup", fields)
    return world.write(
        lambda c: world.vault.intake.receive(
            c, pushed, subject=subject, delivery=delivery, now_ms=NOW_MS
        )
    )


def keep(
    world: World, person: SubjectId, agreed: Consent, ticket: str = "ticket"
) -> bool:
    """Keep a consent package."""
    package = ConsentPackage(
        consent=sign(KEY, CONSENT, agreed).token, own_ticket=ticket, holders=()
    )
    return world.write(
        lambda c: world.vault.ledger.keep_package(
            c, subject=person, consent=agreed, package=package, now_ms=NOW_MS
        )
    )


def provision(number: int, **changes: Any) -> ProvisionRecord:
    """Return the record of release `number`, a second after the one before."""
    values: dict[str, Any] = {
        "role": "provision",
        "exchange": exchange(number),
        "at_ms": NOW_MS + number * 1000,
        "counterparty": PHARMACY,
        "consent": CONSENT_ID,
        "consent_version": 1,
        "purpose": "treatment",
        "dataset_type": "health.checkup",
        "fields": ("date",),
        "records": (),
        "request": DIGEST,
        "answer": DIGEST,
    }
    return ProvisionRecord(**{**values, **changes})


def write_history(world: World, person: SubjectId, *records: ProvisionRecord) -> None:
    """Write records of releases."""
    with world.engine.begin() as connection:
        for record in records:
            world.vault.provisions.write(connection, person, record)
