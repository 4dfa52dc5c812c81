# SPDX-License-Identifier: Apache-2.0
"""Result sets of any size, as lines of JSON while they are read."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from aiohttp import web

from node.api.content import send
from node.api.exchanges import Read, wished
from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from node.pages import Broken, Page, Pages
from node.reader import ReadRequest
from node.results import refusal_of, released
from protocol.errors import Malformed

MEDIA = "application/x-ndjson"


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoint."""
    parts = core.parts
    pages = Pages(
        reader=parts.reader,
        clock=parts.world.clock,
        patience_s=parts.settings.limits.stream_patience_s,
    )

    @registry.route(
        "POST",
        "/v1/exchanges/read-all",
        scope=Scope.EXCHANGE_READ,
        summary=("Read every record, in lines of JSON", "全件の参照(NDJSON)"),
        tag="exchanges",
        problems=("not-found", "unknown-dataset-type", "malformed"),
        media=MEDIA,
    )
    async def read_all(body: Read, request: web.Request) -> web.StreamResponse:
        if body.wait_until is not None or body.callback is not None:
            raise Malformed("a set is read now; wait for single reads")
        asked = wished(body)
        # What cannot even begin is a problem document, not a line.
        parts.vault.types.get(asked.dataset_type)
        holders = parts.reader.concerned(asked)
        if asked.after is not None and len(holders) > 1:
            raise Malformed("say which holder to go on with")
        headers = {"Content-Type": MEDIA, "Cache-Control": "no-store"}
        return await send(request, _lines(pages, asked), headers)


async def _lines(pages: Pages, asked: ReadRequest) -> AsyncGenerator[bytes]:
    """Yield a page of lines at a time; the last line tells that it is the last."""
    count, complete = 0, True
    of_holder = 0
    async with aclosing(pages.all(asked)) as found:
        async for page in found:
            if isinstance(page, Page):
                of_holder += len(page.result.records)
                yield _records(page)
                continue
            line: dict[str, object] = {"holder": page.holder, "records": of_holder}
            if isinstance(page, Broken):
                complete = False
                told = refusal_of(page.holder, page.refusal, "", 0, ())["problem"]
                line |= {"problem": told, "after": page.after}
            else:
                line["done"] = True
            count, of_holder = count + of_holder, 0
            yield orjson.dumps(line) + b"\n"
    yield orjson.dumps({"end": True, "complete": complete, "records": count}) + b"\n"


def _records(page: Page) -> bytes:
    holder, exchange = page.holder, page.answer.exchange
    return b"".join(
        orjson.dumps(
            {"holder": holder, "exchange": exchange, "record": released(record)}
        )
        + b"\n"
        for record in page.result.records
    )
