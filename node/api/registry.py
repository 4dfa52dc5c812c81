# SPDX-License-Identifier: Apache-2.0
"""Endpoints described once: routing, parsing, permission and OpenAPI follow from it.

    @registry.route(
        "POST", "/v1/records", scope=Scope.RECORDS_WRITE, status=201, tag="records",
        summary=("Store a record", "記録を蓄積する"), problems=("schema-violation",),
    )
    async def store_record(body: NewRecord, caller: Caller) -> StoredRecord: ...

A handler asks by parameter name for what it needs: `body` (a `protocol.model.Request`),
`params` (one model over path and query), `caller`, and `request` for streams. The
annotations are the models; nothing is said twice. Input is strict: duplicate or unknown
members, unknown query parameters and numbers written as text are refused.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, get_args, get_type_hints

from aiohttp import web
from pydantic import BaseModel

from node.api.openapi import Endpoint, document
from node.auth import Caller, Gate
from node.clients import Scope
from protocol.canonical import parse_json
from protocol.errors import MachikuraError, Malformed
from protocol.model import Request

OPENAPI_PATH = "/openapi.json"
_logger = logging.getLogger(__name__)


class NoParameters(Request):
    """The parameters of an endpoint that has none."""


@dataclass(frozen=True)
class Reply:
    """An answer that is more than its body.

    Attributes:
        body: the model, or None for an answer without body.
        status: HTTP status, where it is not the endpoint's usual one.
        headers: further headers.
    """

    body: BaseModel | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


Answer: TypeAlias = BaseModel | Reply | web.StreamResponse | None
ApiHandler = TypeVar("ApiHandler", bound=Callable[..., Awaitable[Answer]])

_PARAMETERS = {"caller": Caller, "request": web.Request}


class Registry:
    """All endpoints of one program."""

    def __init__(self, *, title: str, version: str) -> None:
        self._title, self._version = title, version
        self.endpoints: list[Endpoint] = []

    def route(
        self,
        method: str,
        path: str,
        *,
        summary: tuple[str, str],
        tag: str,
        scope: Scope | None = None,
        resident: bool = False,
        problems: tuple[str, ...] = (),
        status: int = 200,
        returns: type[BaseModel] | None = None,
        media: str = "application/json",
        abandoned: bool = False,
    ) -> Callable[[ApiHandler], ApiHandler]:
        """Describe an endpoint; the handler itself is returned unchanged.

        Args:
            method: HTTP method.
            path: with `{name}` for parts that `params` holds.
            summary: one sentence in English and in Japanese.
            tag: the resource, for grouping.
            scope: what an application needs.
            resident: a signed-in resident may call it. Without `scope` and `resident`
                anyone may.
            problems: codes it may answer with, besides those every endpoint has.
            status: status of success.
            returns: model of the answer, where the handler returns a `Reply` or a
                response of its own.
            media: media type of the answer.
            abandoned: work on it ends when the caller hangs up, as for every GET.
        """

        def register(handler: ApiHandler) -> ApiHandler:
            hints = get_type_hints(handler)
            # Who returns nothing is answered with 204; the document must say so too.
            silent = returns is None and hints.get("return") is type(None)
            endpoint = Endpoint(
                method=method,
                path=path,
                handler=handler,
                summary=summary,
                tag=tag,
                scope=scope,
                resident=resident,
                problems=problems,
                status=204 if silent and status == 200 else status,
                body=_model(hints, "body"),
                params=_model(hints, "params") or NoParameters,
                returns=returns or _returned(hints.get("return")),
                media=media,
                abandoned=abandoned,
                takes=_takes(handler, hints),
            )
            self.endpoints.append(endpoint)
            return handler

        return register

    def build(self, gate: Gate, *, max_body_bytes: int) -> list[web.RouteDef]:
        """Return the routes for an application, the API document among them."""
        routes = [
            web.route(e.method, e.path, _served(e, gate, max_body_bytes))
            for e in self.endpoints
        ]
        openapi = self.openapi()

        async def serve_document(request: web.Request) -> web.Response:
            return web.json_response(openapi)

        return [*routes, web.get(OPENAPI_PATH, serve_document)]

    def openapi(self) -> dict[str, Any]:
        """Return the API document (OpenAPI 3.1)."""
        return document(self.endpoints, title=self._title, version=self._version)


def _model(hints: dict[str, Any], name: str) -> type[BaseModel] | None:
    model = hints.get(name)
    if model is None:
        return None
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError(f"{name} must be a model")
    if not (model.model_config.get("strict") and model.model_config.get("frozen")):
        raise TypeError(f"{model.__name__} must be strict and frozen: use Request")
    if model.model_config.get("extra") != "forbid":
        raise TypeError(f"{model.__name__} must forbid unknown members: use Request")
    return model


def _returned(hint: Any) -> type[BaseModel] | None:
    options = get_args(hint) or (hint,)
    models = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
    return models[0] if models else None


def _takes(handler: Callable[..., object], hints: dict[str, Any]) -> frozenset[str]:
    names = frozenset(inspect.signature(handler).parameters)
    for name in names - {"body", "params"}:
        if hints.get(name) is not _PARAMETERS.get(name, ...):
            raise TypeError(f"a handler cannot ask for {name}")
    return names


def _served(
    endpoint: Endpoint, gate: Gate, max_body_bytes: int
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the aiohttp handler: permission first, then parsing, then the work."""

    async def serve(request: web.Request) -> web.StreamResponse:
        caller = await gate.admit(
            request, scope=endpoint.scope, resident=endpoint.resident
        )
        given: dict[str, object] = {"caller": caller, "request": request}
        given["params"] = _parameters(request, endpoint.params)
        if endpoint.body is not None:
            given["body"] = await _body(request, endpoint.body, max_body_bytes)
        with gate.at_work(caller):
            work = endpoint.handler(**{name: given[name] for name in endpoint.takes})
            if endpoint.method != "GET" and not endpoint.abandoned:
                # What changes something is carried to its end, also if the caller
                # hangs up in the middle of it.
                work = _to_the_end(work)
            answer = await work
        return _response(answer, endpoint)

    return serve


async def _to_the_end(work: Awaitable[Answer]) -> Answer:
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_unheard)
        raise


def _unheard(task: asyncio.Future[Answer]) -> None:
    """Log how work ended that nobody waits for any more, if it failed."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, MachikuraError):
        _logger.error("work went on after its caller left, and failed", exc_info=error)


def _parameters(request: web.Request, model: type[BaseModel]) -> BaseModel:
    values: dict[str, Any] = dict(request.match_info)
    for name, value in request.query.items():
        if name in values:
            raise Malformed("a query parameter stands twice")
        values[name] = value
    return model.model_validate_strings(values)


async def _body(
    request: web.Request, model: type[BaseModel], max_bytes: int
) -> BaseModel:
    if request.content_type != "application/json" or (
        (request.charset or "utf-8").lower() != "utf-8"
    ):
        raise web.HTTPUnsupportedMediaType
    data = await request.read()
    # pydantic's parser takes the last of two equal members, and NaN; this one neither.
    parse_json(data, max_bytes=max_bytes)
    return model.model_validate_json(data)


def _response(answer: Answer, endpoint: Endpoint) -> web.StreamResponse:
    if isinstance(answer, web.StreamResponse):
        return answer
    reply = answer if isinstance(answer, Reply) else Reply(answer)
    if reply.body is None:
        return web.Response(status=reply.status or 204, headers=reply.headers)
    return web.Response(
        status=reply.status or endpoint.status,
        body=reply.body.model_dump_json().encode("utf-8"),
        content_type="application/json",
        headers=reply.headers,
    )
