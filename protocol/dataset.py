# SPDX-License-Identifier: Apache-2.0
"""Dataset types: what a record of a kind is, and what each purpose needs of it.

A dataset type (データセット種別) has a JSON Schema, a data class, purposes with the
fields each needs (requirement 116: minimum necessary data), a legal basis, the evidence
level that a consent must have, and the qualifications one of which a recipient must
hold (requirements 109, 110). "Field" is always a top-level property of the record.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from protocol.ids import DatasetTypeName, PurposeName
from protocol.membership import DataClass
from protocol.model import Request, ShortText


class Purpose(Request):
    """A purpose of use (利用目的) and the fields it needs."""

    title: dict[str, ShortText]
    fields: Annotated[tuple[str, ...], Field(min_length=1)]


class DatasetType(Request):
    """A named, versioned kind of record. Shape of the files in `vault/catalog`.

    Attributes:
        evidence_level: 1 counter, 2 multi-factor sign-in, 3 passkey over the text.
        qualifications: the recipient needs one of these; empty asks for none.
        time_field: the field that says when the record is of.
        holder_fields: fields that would name the holder; cut in hidden reads.
        searchable: fields that get a blind index.
        freshness_s: longest age of a freshness proof; None means the node's setting.
    """

    name: DatasetTypeName
    version: Annotated[int, Field(ge=1)]
    title: dict[str, ShortText]
    field: ShortText
    data_class: DataClass
    legal_basis: tuple[ShortText, ...] = ("consent",)
    evidence_level: Annotated[int, Field(ge=1, le=3)] = 1
    qualifications: tuple[ShortText, ...] = ()
    time_field: str | None = None
    holder_fields: tuple[str, ...] = ()
    searchable: tuple[str, ...] = ()
    freshness_s: Annotated[int, Field(ge=1, le=86400)] | None = None
    purposes: Annotated[dict[PurposeName, Purpose], Field(min_length=1)]
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]

    @property
    def fields(self) -> frozenset[str]:
        """All fields that records of this type may have."""
        return frozenset(self.json_schema["properties"])

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        schema = self.json_schema
        properties = schema.get("properties")
        if schema.get("type") != "object" or not isinstance(properties, dict):
            raise ValueError("the schema must describe an object with properties")
        if schema.get("additionalProperties") is not False:
            raise ValueError("the schema must set additionalProperties to false")
        used = {f for p in self.purposes.values() for f in p.fields}
        used.update(self.holder_fields, self.searchable)
        if self.time_field is not None:
            used.add(self.time_field)
        if not used <= properties.keys():
            raise ValueError("a purpose, index or holder field is not in the schema")
        special = self.data_class in (DataClass.SPECIAL_CARE, DataClass.CLOSED)
        if special and not self.qualifications:
            raise ValueError("special-care data needs qualified recipients")
        return self


class RecordHeader(Request):
    """What is known of a record without opening it."""

    id: str
    dataset_type: DatasetTypeName
    version: int
    time: str | None
