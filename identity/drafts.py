# SPDX-License-Identifier: Apache-2.0
"""The draft of a consent: what the resident is shown and asked.

The portal (or an officer at a counter) fills it in; `identity.consents` turns it into a
signed consent. Classes and evidence levels come from the dataset types, titles from the
catalog and memberships: the caller looks them up, the resident does not type them.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from protocol.consent import Operation, Scope
from protocol.errors import Misuse
from protocol.ids import DatasetTypeName, NodeId, PurposeName, RecordId
from protocol.membership import DataClass
from protocol.model import Request, ShortText

Instant: TypeAlias = Annotated[int, Field(ge=0, le=2**36)]
"""Seconds since 1970, within what calendars can show."""

FieldName: TypeAlias = Annotated[str, Field(min_length=1, max_length=128)]


class DraftScope(Request):
    """One dataset type, whole or in part.

    Attributes:
        dataset_type: which type.
        data_class, evidence_level: of that type.
        fields: only these; None means all that the purposes need.
        records: only these; None means all of the type.
    """

    dataset_type: DatasetTypeName
    data_class: DataClass
    evidence_level: Annotated[int, Field(ge=1, le=3)]
    fields: Annotated[tuple[FieldName, ...], Field(max_length=256)] | None = None
    records: Annotated[tuple[RecordId, ...], Field(max_length=1000)] | None = None

    def scope(self) -> Scope:
        """Return the scope as it stands in the consent."""
        return Scope(
            dataset_type=self.dataset_type,
            data_class=self.data_class,
            fields=self.fields,
            records=self.records,
        )


class ConsentDraft(Request):
    """A consent before it is given.

    Attributes:
        recipients: who may receive.
        holders: who may release; each must be linked.
        operations, scope, purposes, opt: what is agreed to.
        starts, ends: when; `ends` None means until withdrawn.
        retention_days: how long the recipient may keep it.
        hidden_holder: the recipients must not learn who the holders are.
        language: of the text shown.
        titles: words for node ids, dataset types and purposes, by language.
    """

    recipients: Annotated[tuple[NodeId, ...], Field(min_length=1, max_length=64)]
    holders: Annotated[tuple[NodeId, ...], Field(min_length=1, max_length=64)]
    operations: Annotated[tuple[Operation, ...], Field(min_length=1, max_length=4)]
    scope: Annotated[tuple[DraftScope, ...], Field(min_length=1, max_length=64)]
    purposes: Annotated[tuple[PurposeName, ...], Field(min_length=1, max_length=32)]
    starts: Instant
    ends: Instant | None = None
    retention_days: Annotated[int, Field(ge=0, le=36500)] | None = None
    hidden_holder: bool = False
    opt: Literal["in", "out"] = "in"
    language: Literal["ja", "en"] = "ja"
    titles: Annotated[
        dict[Annotated[str, Field(max_length=160)], dict[str, ShortText]],
        Field(max_length=512),
    ] = Field(default_factory=dict)

    @property
    def evidence_level(self) -> int:
        """The highest level that one of its dataset types asks for."""
        return max(scope.evidence_level for scope in self.scope)

    @property
    def parties(self) -> tuple[NodeId, ...]:
        """Holders and recipients, each once, sorted."""
        return tuple(sorted({*self.holders, *self.recipients}))

    def check(self, now: int) -> None:
        """Refuse a draft that makes no sense.

        Raises:
            Misuse: repeated parties, a party on both sides, an empty or past period,
                empty lists of fields or records, records that name a hidden or foreign
                holder.
        """
        for what, names in (
            ("recipient", self.recipients),
            ("holder", self.holders),
            ("purpose", self.purposes),
            ("operation", self.operations),
            ("dataset type", tuple(s.dataset_type for s in self.scope)),
        ):
            if len(set(names)) != len(names):
                raise Misuse(f"a {what} is named twice")
        if not set(self.holders).isdisjoint(self.recipients):
            raise Misuse("a party cannot be holder and recipient of one consent")
        if self.ends is not None and self.ends <= max(self.starts, now):
            raise Misuse("the consent would end before it starts, or is over")
        for scope in self.scope:
            self._check_scope(scope)

    def _check_scope(self, scope: DraftScope) -> None:
        if scope.fields == () or scope.records == ():
            raise Misuse("an empty list of fields or records allows nothing")
        if scope.records is None:
            return
        if self.hidden_holder:
            # A record id carries its holder's name (requirement 46).
            raise Misuse("single records would name the hidden holder")
        if not all(record.node in self.holders for record in scope.records):
            raise Misuse("a record is held by nobody that the consent names")
