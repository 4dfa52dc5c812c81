# SPDX-License-Identifier: Apache-2.0
"""A consent as it is asked for, and as it is answered.

Data class and evidence level come from the dataset types that this home node knows,
never from the caller: a caller could otherwise call special-care data harmless.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from identity.consent_store import ConsentEntry
from identity.drafts import ConsentDraft, DraftScope
from protocol.consent import Operation
from protocol.errors import Misuse
from protocol.ids import DatasetTypeName, NodeId, PurposeName, RecordId
from protocol.model import Request, Seconds
from vault.dataset_types import DatasetTypes


class NewScope(Request):
    """One dataset type, whole or in part."""

    dataset_type: DatasetTypeName
    fields: list[str] | None = None
    records: list[RecordId] | None = None


class NewConsent(Request):
    """What a resident agrees to."""

    recipients: Annotated[list[NodeId], Field(min_length=1, max_length=64)]
    holders: Annotated[list[NodeId], Field(min_length=1, max_length=64)]
    operations: Annotated[list[Operation], Field(min_length=1)] = [Operation.SHARE]
    scope: Annotated[list[NewScope], Field(min_length=1, max_length=64)]
    purposes: Annotated[list[PurposeName], Field(min_length=1, max_length=32)]
    starts: Seconds | None = None
    ends: Seconds | None = None
    retention_days: Annotated[int, Field(ge=0, le=36500)] | None = None
    hidden_holder: bool = False
    opt: Literal["in", "out"] = "in"
    language: Literal["ja", "en"] = "ja"


class ConsentResult(Request):
    """A consent in its newest version."""

    id: str
    version: int
    state: str
    recipients: list[str]
    holders: list[str]
    dataset_types: list[str]
    purposes: list[str]
    operations: list[str]
    starts: int
    ends: int | None
    hidden_holder: bool
    evidence_level: int
    evidence_method: str
    notice_digest: str
    document: str


def draft_of(wish: NewConsent, types: DatasetTypes, now: int) -> ConsentDraft:
    """Complete a wish from the registry.

    Raises:
        UnknownDatasetType: a type that this node does not know.
        Misuse: a purpose that a type does not declare, or a field that it has not.
    """
    scopes, titles = [], {}
    for part in wish.scope:
        dataset = types.get(part.dataset_type)
        titles[str(dataset.name)] = dict(dataset.title)
        for purpose in wish.purposes:
            if purpose not in dataset.purposes:
                raise Misuse(f"{dataset.name} declares no purpose {purpose}")
            titles[str(purpose)] = dict(dataset.purposes[purpose].title)
        if part.fields is not None and not set(part.fields) <= dataset.fields:
            raise Misuse(f"{dataset.name} has no such field")
        scopes.append(
            DraftScope(
                dataset_type=dataset.name,
                data_class=dataset.data_class,
                evidence_level=dataset.evidence_level,
                fields=None if part.fields is None else tuple(part.fields),
                records=None if part.records is None else tuple(part.records),
            )
        )
    return ConsentDraft(
        recipients=tuple(wish.recipients),
        holders=tuple(wish.holders),
        operations=tuple(wish.operations),
        scope=tuple(scopes),
        purposes=tuple(wish.purposes),
        starts=now if wish.starts is None else wish.starts,
        ends=wish.ends,
        retention_days=wish.retention_days,
        hidden_holder=wish.hidden_holder,
        opt=wish.opt,
        language=wish.language,
        titles=titles,
    )


def consent_result(entry: ConsentEntry) -> ConsentResult:
    """Return a consent as the resident sees it."""
    consent, draft = entry.consent, entry.draft
    return ConsentResult(
        id=consent.jti,
        version=consent.version,
        state=consent.state,
        recipients=list(draft.recipients),
        holders=list(draft.holders),
        dataset_types=[str(scope.dataset_type) for scope in draft.scope],
        purposes=list(draft.purposes),
        operations=[str(operation) for operation in draft.operations],
        starts=draft.starts,
        ends=draft.ends,
        hidden_holder=draft.hidden_holder,
        evidence_level=consent.evidence.level,
        evidence_method=consent.evidence.method,
        notice_digest=consent.notice.digest,
        document=entry.token,
    )
