# SPDX-License-Identifier: Apache-2.0
"""Attachments of other organizations in a stream; and how far transfers are."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from node.api.content import content_headers, send
from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from node.fetcher import FetchRequest
from node.transfers import Transfer
from protocol.errors import Malformed
from protocol.ids import (
    AttachmentId,
    DatasetTypeName,
    NodeId,
    PurposeName,
    RecordId,
)
from protocol.membership import DataClass
from protocol.model import Request, ShortText


class FetchOrder(Request):
    """Which attachment to fetch, why, under which consent, and from which byte on.

    `record` and `attachment` are as a read has told them. The answer has the digest of
    the whole in `Repr-Digest`; where it starts at byte 0 the node has held the content
    to it before the last piece, else the application does. `timeout_ms` is for each
    part.
    """

    dataset_type: DatasetTypeName
    purpose: PurposeName
    consent: ShortText
    record: RecordId
    attachment: AttachmentId
    holder: NodeId | None = None
    offset: Annotated[int, Field(ge=0, lt=2**48)] = 0
    hops: Annotated[int, Field(ge=1, le=16)] | None = None
    timeout_ms: Annotated[int, Field(ge=100, le=120_000)] | None = None
    data_class: DataClass | None = None


class TransferEntry(Request):
    """One transfer, as this side sees it.

    `id` is the exchange that opened it, the same at both sides. `position` is up to
    where bytes have left or arrived, `carried` counts those that went twice too.
    """

    id: str
    side: str
    counterparty: str
    consent: str
    purpose: str
    attachment: str
    size: int
    position: int
    carried: int
    bytes_per_s: int
    started_ms: int
    changed_ms: int
    state: str
    problem: str


class TransferList(Request):
    """The last transfers, the one that moved last first."""

    transfers: list[TransferEntry]


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoints."""
    parts = core.parts

    @registry.route(
        "POST",
        "/v1/exchanges/fetch",
        scope=Scope.EXCHANGE_READ,
        summary=("Fetch an attachment from a holder", "他組織の添付ファイルの取得"),
        tag="exchanges",
        problems=(
            "not-found",
            "consent-withdrawn",
            "field-outside-purpose",
            "proof-stale",
            "peer-unreachable",
            "timeout",
        ),
        media="application/octet-stream",
    )
    async def fetch(body: FetchOrder, request: web.Request) -> web.StreamResponse:
        fetching = await parts.fetcher.open(FetchRequest(**dict(body)))
        info = fetching.info
        if body.offset > info.size:
            raise Malformed("the attachment is shorter")
        headers = content_headers(info, body.offset)
        headers["Machikura-Exchange"] = fetching.transfer.id
        return await send(request, fetching.pieces(), headers)

    @registry.route(
        "GET",
        "/v1/transfers",
        scope=Scope.STATUS_READ,
        summary=("How far transfers are", "転送の進み具合"),
        tag="exchanges",
    )
    async def transfers() -> TransferList:
        return TransferList(
            transfers=[_entry(transfer) for transfer in parts.transfers.all()]
        )


def _entry(transfer: Transfer) -> TransferEntry:
    took_ms = max(1, transfer.changed_ms - transfer.started_ms)
    return TransferEntry(
        id=transfer.id,
        side=transfer.side,
        counterparty=transfer.counterparty,
        consent=transfer.consent,
        purpose=transfer.purpose,
        attachment=transfer.attachment,
        size=transfer.size,
        position=transfer.position,
        carried=transfer.carried,
        bytes_per_s=transfer.carried * 1000 // took_ms,
        started_ms=transfer.started_ms,
        changed_ms=transfer.changed_ms,
        state=transfer.state,
        problem=transfer.problem,
    )
