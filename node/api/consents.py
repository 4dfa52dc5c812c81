# SPDX-License-Identifier: Apache-2.0
"""Consents that this organization received and may use."""

from __future__ import annotations

from sqlalchemy import Connection

from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from protocol.model import Request, ShortText
from vault.errors import NotFound
from vault.ledger import KeptConsent


class ReceivedConsent(Request):
    """One consent, as far as this organization may know it."""

    id: str
    version: int
    state: str
    home: str
    recipients: list[str]
    purposes: list[str]
    dataset_types: list[str]
    operations: list[str]
    starts: int
    ends: int | None
    hidden_holder: bool
    parties: list[str | None]
    subject: str | None


class ReceivedConsents(Request):
    """Consents about one person, newest first."""

    consents: list[ReceivedConsent]


class PersonQuery(Request):
    """Whose consents, by the organization's own number."""

    subject: ShortText


class ConsentName(Request):
    """Which consent."""

    id: ShortText


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoints."""
    parts, vault = core.parts, core.parts.vault

    def describe(connection: Connection, kept: KeptConsent) -> ReceivedConsent:
        consent = kept.consent
        names = vault.subjects.names(connection, kept.subject, "local")
        return ReceivedConsent(
            id=consent.jti,
            version=consent.version,
            state=consent.state,
            home=consent.iss,
            recipients=list(consent.recipients),
            purposes=list(consent.purposes),
            dataset_types=[scope.dataset_type for scope in consent.scope],
            operations=[str(operation) for operation in consent.operations],
            starts=consent.starts,
            ends=consent.ends,
            hidden_holder=consent.hidden_holder,
            parties=[ticket.node for ticket in kept.package.holders],
            subject=names[0] if names else None,
        )

    @registry.route(
        "GET",
        "/v1/consents",
        scope=Scope.CONSENTS_READ,
        summary=("Consents received about a person", "受領した同意の一覧"),
        tag="consents",
        problems=("not-found",),
    )
    async def list_consents(params: PersonQuery) -> ReceivedConsents:
        def find(connection: Connection) -> list[ReceivedConsent]:
            subject = vault.subjects.find_local(connection, params.subject)
            if subject is None:
                raise NotFound("no such person here")
            kept = vault.ledger.packages_of(connection, subject)
            return [describe(connection, one) for one in kept]

        return ReceivedConsents(consents=await parts.database.scan(find))

    @registry.route(
        "GET",
        "/v1/consents/{id}",
        scope=Scope.CONSENTS_READ,
        summary=("One consent received", "受領した同意"),
        tag="consents",
        problems=("not-found",),
    )
    async def get_consent(params: ConsentName) -> ReceivedConsent:
        def find(connection: Connection) -> ReceivedConsent:
            kept = vault.ledger.package(connection, params.id)
            if kept is None:
                raise NotFound("no such consent was received here")
            return describe(connection, kept)

        return parts.database.read(find)
