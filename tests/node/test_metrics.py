# SPDX-License-Identifier: Apache-2.0
"""Figures for Prometheus: a registry of our own, labels that cannot leak or grow."""

from __future__ import annotations

from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from pytest_aiohttp import AiohttpClient

from node.database import InlineDatabase
from node.metrics import Metrics
from node.system import SystemClock


def figures(metrics: Metrics) -> dict[str, float]:
    """Return all samples by name and labels, as a scraper reads them."""
    body = metrics.response().body
    assert isinstance(body, bytes)
    return {
        sample.name + "".join(f",{v}" for v in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


async def test_requests_are_counted_by_route_not_by_path(
    aiohttp_client: AiohttpClient,
) -> None:
    """A path names a record; a route does not."""
    metrics = Metrics()

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=201)

    app = web.Application(middlewares=[metrics.middleware(SystemClock().monotonic)])
    app.router.add_get("/records/{id}", handler)
    client = await aiohttp_client(app)
    for path in ("/records/1", "/records/2", "/nowhere/3"):
        await client.get(path)
    found = figures(metrics)
    assert found["machikura_http_requests_total,GET,/records/{id},201"] == 2
    assert found["machikura_http_requests_total,GET,unknown,404"] == 1
    assert found["machikura_http_request_seconds_count,GET,/records/{id}"] == 2


async def test_database_writer_is_watched(database: InlineDatabase) -> None:
    """Read at each scrape, not copied."""
    metrics = Metrics()
    metrics.watch_database(database.counters)
    await database.write(lambda c: None)
    assert figures(metrics)["machikura_database_jobs"] == 1


def test_two_nodes_in_one_process_have_figures_of_their_own() -> None:
    """The demo and the tests run many."""
    first, second = Metrics(), Metrics()
    first.counter("things", "Things.").inc()
    second.counter("things", "Things.")
    assert figures(first)["machikura_things_total"] == 1
    assert figures(second)["machikura_things_total"] == 0


def test_process_figures_are_there() -> None:
    """Memory and processor time, which every operator looks at first."""
    assert figures(Metrics())["process_resident_memory_bytes"] > 0
