# SPDX-License-Identifier: Apache-2.0
"""What the holders said, in the form in which applications get it."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import Field

from federation.exchange import Answer, Refused
from node.reader import HolderAnswer
from protocol.answer import ReadResult
from protocol.attachment import AttachmentInfo
from protocol.hop import HopRecord
from protocol.ids import NodeId
from protocol.model import Request
from protocol.problem import Refusal, describe
from protocol.request import WireRecord


class Hop(Request):
    """One broker that carried the exchange."""

    by: str
    next: str
    at_ms: int
    decision: str


class AttachmentEntry(Request):
    """An attachment. `sha256` is base64url without padding."""

    id: str
    field: str
    media_type: str
    size: int
    sha256: str
    name: str | None


class ReadRecord(Request):
    """A released record."""

    id: str
    dataset_type: str
    version: int
    time: str | None
    content: dict[str, Any]
    attachments: list[AttachmentEntry] = Field(default_factory=list)


class ReadProblem(Request):
    """Why a holder gave nothing; who said so, and whether its signature verified."""

    code: str
    detail: str
    by: str | None
    signed: bool
    title_en: str
    title_ja: str
    remedy_en: str
    remedy_ja: str
    retry_after_ms: int | None = None


class HolderResult(Request):
    """What one holder said. `holder` is null when it stays hidden."""

    holder: str | None
    by: str | None
    exchange: str
    took_ms: int
    hops: list[Hop]
    records: list[ReadRecord] = Field(default_factory=list)
    fields: list[str] = Field(default_factory=list)
    cut: dict[str, list[str]] = Field(default_factory=dict)
    more: bool = False
    next: str | None = None
    problem: ReadProblem | None = None


class ReadResults(Request):
    """What each holder said."""

    results: list[HolderResult]


def result_of(answer: HolderAnswer) -> dict[str, Any]:
    """Return what one holder said, in the form of `HolderResult`."""
    outcome = answer.outcome
    if isinstance(outcome, Refusal):
        return refusal_of(answer.holder, outcome, "", 0, ())
    if isinstance(outcome, Refused):
        return refusal_of(
            answer.holder,
            outcome.refusal,
            outcome.exchange,
            outcome.took_ms,
            outcome.hops,
        )
    return _released(answer.holder, outcome)


def _released(holder: NodeId | None, outcome: Answer) -> dict[str, Any]:
    result = outcome.result
    if not isinstance(result, ReadResult):
        return refusal_of(holder, Refusal("answer-invalid"), outcome.exchange, 0, ())
    # Every part has been verified and is the bulk of the answer, so it is not put
    # through a model again; the content stays the JSON text that the source wrote,
    # which the reader has held to what JSON may be.
    return {
        "holder": holder,
        "by": outcome.by,
        "exchange": outcome.exchange,
        "took_ms": outcome.took_ms,
        "hops": _hops(outcome.hops),
        "records": [released(record) for record in result.records],
        "fields": result.fields,
        "cut": result.cut,
        "more": result.more,
        "next": result.next,
        "problem": None,
    }


def released(record: WireRecord) -> dict[str, Any]:
    """Return a record in the form of `ReadRecord`; its content as the source wrote."""
    return {
        "id": record.id,
        "dataset_type": record.dataset_type,
        "version": record.version,
        "time": record.time,
        "content": orjson.Fragment(record.content),
        "attachments": [told(info).model_dump() for info in record.attachments or ()],
    }


def told(info: AttachmentInfo) -> AttachmentEntry:
    """Return an attachment in the form that applications get."""
    return AttachmentEntry(
        id=info.id,
        field=info.field,
        media_type=info.media_type,
        size=info.size,
        sha256=info.sha256,
        name=info.name,
    )


def refusal_of(
    holder: NodeId | None,
    refusal: Refusal,
    exchange: str,
    took_ms: int,
    hops: tuple[HopRecord, ...],
) -> dict[str, Any]:
    """Return a refusal in the form of `HolderResult`."""
    entry = describe(refusal.code)
    result = HolderResult(
        holder=holder,
        by=refusal.by,
        exchange=exchange,
        took_ms=took_ms,
        hops=[Hop(**hop) for hop in _hops(hops)],
        problem=ReadProblem(
            code=refusal.code,
            detail=refusal.detail,
            by=refusal.by,
            signed=refusal.signed,
            title_en=entry.title_en,
            title_ja=entry.title_ja,
            remedy_en=entry.remedy_en,
            remedy_ja=entry.remedy_ja,
            retry_after_ms=refusal.retry_after_ms,
        ),
    )
    return result.model_dump(mode="json")


def _hops(hops: tuple[HopRecord, ...]) -> list[dict[str, Any]]:
    return [
        {
            "by": hop.by,
            "next": hop.next,
            "at_ms": hop.at_ms,
            "decision": hop.decision,
        }
        for hop in hops
    ]
