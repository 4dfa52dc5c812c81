# SPDX-License-Identifier: Apache-2.0
"""Figures of this process for Prometheus, in a registry of its own.

Labels are routes, codes, roles and node ids: never a record, a person or a path as it
came in, which would leak and would grow without bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from node.database import WriteCounters

PREFIX = "machikura_"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Makes figures and writes them out."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._before: list[Callable[[], None]] = []
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = self.counter(
            "http_requests", "HTTP requests.", ("method", "route", "status")
        )
        self._durations = self.histogram(
            "http_request_seconds", "Time to answer a request.", ("method", "route")
        )

    def counter(self, name: str, help_: str, labels: Sequence[str] = ()) -> Counter:
        """Make a figure that only grows; `_total` is added to its name."""
        return Counter(PREFIX + name, help_, labels, registry=self.registry)

    def histogram(
        self,
        name: str,
        help_: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = SECONDS,
    ) -> Histogram:
        """Make a distribution, of seconds unless `buckets` says otherwise."""
        return Histogram(
            PREFIX + name, help_, labels, registry=self.registry, buckets=buckets
        )

    def gauge(
        self, name: str, help_: str, read: Callable[[], float] | None = None
    ) -> Gauge:
        """Make a figure that goes up and down; `read` is asked at each scrape."""
        gauge = Gauge(PREFIX + name, help_, registry=self.registry)
        if read is not None:
            gauge.set_function(read)
        return gauge

    def labeled_gauge(self, name: str, help_: str, labels: Sequence[str]) -> Gauge:
        """Make a gauge for each value of its labels."""
        return Gauge(PREFIX + name, help_, labels, registry=self.registry)

    def watch_database(self, counters: WriteCounters) -> None:
        """Show what the database writer does."""
        self.gauge("database_jobs", "Writes so far.", lambda: counters.jobs)
        self.gauge("database_commits", "Commits so far.", lambda: counters.groups)
        self.gauge("database_waiting", "Writes that wait.", lambda: counters.waiting)
        self.gauge(
            "database_failed_jobs", "Writes that failed.", lambda: counters.failed_jobs
        )

    def middleware(self, monotonic: Callable[[], float]) -> Middleware:
        """Return the middleware that counts requests; the outermost one."""

        @web.middleware
        async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
            started = monotonic()
            status = 500
            try:
                response = await handler(request)
                status = response.status
                return response
            except web.HTTPException as error:
                status = error.status
                raise
            finally:
                route = _route(request)
                self._requests.labels(request.method, route, str(status)).inc()
                self._durations.labels(request.method, route).observe(
                    monotonic() - started
                )

        return measure

    def before_scrape(self, work: Callable[[], None]) -> None:
        """Have work done each time before the figures are written out."""
        self._before.append(work)

    def response(self) -> web.Response:
        """Return all figures in the text format."""
        for work in self._before:
            work()
        return web.Response(
            body=generate_latest(self.registry),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
