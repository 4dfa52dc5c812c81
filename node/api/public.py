# SPDX-License-Identifier: Apache-2.0
"""What anyone may ask: alive, ready, figures, and where the brokers of a city are."""

from __future__ import annotations

from aiohttp import web

from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from node.health import Checks
from node.metrics import Metrics
from protocol.model import Request


class Alive(Request):
    """The process answers."""

    status: str


class Ready(Request):
    """Whether the node can work, and what is missing."""

    ready: bool
    missing: list[str]


class WellKnown(Request):
    """How to reach this city: discovery, never trust."""

    city: str
    node: str
    links: list[str]
    protocol: list[int]


def well_known(core: Core) -> WellKnown:
    """Return what a broker says of itself."""
    parts = core.parts
    if parts.city is not None:
        links = parts.city.brokers()
    else:
        bundle = parts.trust.bundle
        links = () if bundle is None else bundle.body.brokers
    return WellKnown(
        city=parts.node.city,
        node=parts.node,
        links=list(links),
        protocol=[1],
    )


def register(
    registry: Registry, *, core: Core, metrics: Metrics, checks: Checks
) -> None:
    """Describe the endpoints."""

    @registry.route(
        "GET", "/healthz", summary=("Is it alive", "稼働確認"), tag="health"
    )
    async def alive() -> Alive:
        return Alive(status="alive")

    @registry.route(
        "GET",
        "/readyz",
        summary=("Is it ready", "準備完了の確認"),
        tag="health",
        returns=Ready,
        problems=("not-ready",),
    )
    async def ready() -> web.Response:
        report = await checks.run()
        missing = [f.check.id for f in report.findings if not f.ok]
        body = Ready(ready=report.ready, missing=missing)
        return web.Response(
            status=200 if report.ready else 503,
            body=body.model_dump_json().encode(),
            content_type="application/json",
        )

    settings = core.parts.settings.metrics
    if settings.enabled:

        @registry.route(
            "GET",
            "/metrics",
            scope=None if settings.open else Scope.STATUS_READ,
            summary=("Figures for Prometheus", "Prometheus 用の指標"),
            tag="health",
            returns=Alive,
            media="text/plain",
        )
        async def figures() -> web.Response:
            await checks.run()
            return metrics.response()

    if core.parts.desk is not None:

        @registry.route(
            "GET",
            "/.well-known/machikura",
            summary=("Where this city's brokers are", "都市ブローカーの所在"),
            tag="discovery",
        )
        async def whereabouts() -> WellKnown:
            return well_known(core)
